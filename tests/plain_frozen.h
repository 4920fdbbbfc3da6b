/* SPDX-License-Identifier: MIT
 *
 * A plain pass of one text, frozen: with its patterns, norm scales and gates held, what it does to a stream
 * is linear. Its operators in double, one by one.
 */
#ifndef TESTS_PLAIN_FROZEN_H
#define TESTS_PLAIN_FROZEN_H

#include "plain_pass.h"

typedef struct plain_frozen {
    const otimes_model *model;
    const otimes_model_info *info;
    const char *name; /* of the golden */
    const otimes_sequences *text;
    int64_t n, d;
    bool links; /* MLPs with frozen gates are links; else, and where there are experts, sources */
    trace pass, nothing; /* of the text, and of what is written when every block reads zeros */
    double *logits;      /* [n, d_vocab_out] */
    otimes_layer *layer; /* [n_layers] */
    otimes_unembed unembed;
    float *U; /* [d_vocab_out, d_model] */
} plain_frozen;

/* `text` is of one sequence and must outlive it, as `model` and `name`. */
void plain_frozen_open(plain_frozen *f, const otimes_model *model, const char *name,
                       const otimes_sequences *text, bool links);
void plain_frozen_close(plain_frozen *f);

/* Recorded rows of a hook; fails the test where there are none. Of one head where the hook is by heads. */
double *plain_frozen_rows(const trace *pass, otimes_hook hook, int64_t layer, int64_t head);

/* Whether an activation is held, for changes of one's own: values are then put in its place. */
bool plain_frozen_holds(const plain_frozen *f, trace_key key, int64_t count, double *values);

bool plain_frozen_links(const plain_frozen *f, int64_t layer);

/* out [n, d_model] := what a head, or a layer's MLP that is a link, makes of x, without biases. */
void plain_frozen_head(const plain_frozen *f, int64_t layer, int64_t head, const double *x,
                       double *out);
void plain_frozen_mlp(const plain_frozen *f, int64_t layer, const double *x, double *out);

/* x := what a norm behind attention (LN1_POST_SCALE) or an MLP (LN2_POST_SCALE) makes of a part of what it
 * gets; as it is where there is none. */
void plain_frozen_post(const plain_frozen *f, otimes_hook scale, int64_t layer, double *x);

/* What rows x [n, d_model] at the end are worth at a position to the logit of a token, or (against >= 0) to a
 * difference of two, before any soft cap; and what that logit has that is not of the stream. */
double plain_frozen_worth(const plain_frozen *f, int64_t position, int64_t token, int64_t against,
                          const double *x);
double plain_frozen_bias(const plain_frozen *f, int64_t token, int64_t against);

#endif
