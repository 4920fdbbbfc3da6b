/* SPDX-License-Identifier: MIT
 *
 * The forward pass from inside: for analyses that begin in the middle, carry several streams, or
 * run a layer on a batch of their own making.
 *
 * A pass walks layer by layer over all rows of its batch, within a layer chunk by chunk: only the
 * residual stream is there for all rows, everything else for one chunk.
 */
#ifndef OTIMES_RUN_PASS_H
#define OTIMES_RUN_PASS_H

#include <stdbool.h>

#include <otimes/forward.h>

#include "base/mem.h"
#include "run/activation.h"
#include "run/layers.h"

enum { OTIMES_CHUNK_ROWS = 2048 }; /* that go through a layer together */

/* Rows by sequence: sequence s has rows start[s] .. start[s+1]-1, the first of which stands at
 * position past[s] behind keys and values that a cache holds. */
typedef struct otimes_batch {
    int64_t count, rows, longest;
    int64_t *start;    /* [count + 1] */
    int64_t *position; /* [rows] */
    int64_t *id;       /* [rows] */
} otimes_batch;

/* Copies sequences after checking them: lengths, ids, what a plan needs. past [count] is how many
 * tokens stand before each (NULL: none). OTIMES_ERR_ARGUMENT, OTIMES_ERR_MEMORY. */
int otimes_batch_init(otimes_batch *batch, const otimes_model *model,
                      const otimes_sequences *sequences, const int64_t *past, otimes_err *err);
void otimes_batch_free(otimes_batch *batch);

/* Keys and values of earlier tokens, for generation: [sequence][capacity][n_kv_heads * d_head] of
 * each layer; sequence s is the batch's. A pass appends to them; once all layers have run, its
 * caller advances the lengths, which are the next batch's `past`. */
typedef struct otimes_kv {
    int64_t capacity, count; /* positions a sequence has room for; sequences */
    int64_t layers;
    int64_t *length; /* [count] positions that are there */
    float **k, **v;  /* [n_layers] */
} otimes_kv;

int otimes_kv_init(otimes_kv *kv, const otimes_model *model, int64_t count, int64_t capacity,
                   otimes_err *err);
void otimes_kv_free(otimes_kv *kv);

/* The batch's tokens are there from now on: after a pass over all layers. */
void otimes_kv_advance(otimes_kv *kv, const otimes_batch *batch);

/* One layer's run over the rows of a batch: from `stream` [rows, d_model], changed in place. */
typedef struct otimes_pass {
    const otimes_model *model;
    const otimes_model_info *info;
    otimes_layers *layers;     /* weights */
    const otimes_batch *batch; /* the caller's */
    const otimes_hooks *hooks; /* may be NULL */
    otimes_kv *kv;             /* NULL: each sequence is whole */
    int64_t chunk_rows;
    otimes_activation_kind activation;
    struct otimes_workspace *space; /* grown as chunks need it; otimes_pass_free */
} otimes_pass;

/* A pass over `batch` with the model of `layers`; all borrowed. hooks may be NULL; chunk_rows 0 is the
 * default. OTIMES_ERR_UNSUPPORTED for an activation function or rotary scaling that is not known. */
int otimes_pass_init(otimes_pass *pass, otimes_layers *layers, const otimes_batch *batch,
                     const otimes_hooks *hooks, int64_t chunk_rows, otimes_err *err);
void otimes_pass_free(otimes_pass *pass);

/* W_E, positions and the norm behind them into stream [rows, d_model]; hooks of the embedding. */
int otimes_pass_embed(otimes_pass *pass, float *stream, otimes_err *err);

/* Whole layers first .. last-1, hooks included. */
int otimes_pass_layers(otimes_pass *pass, int64_t first, int64_t last, float *stream,
                       otimes_err *err);

/* The stages of a layer, for rows of sequences first .. first+count-1 of the batch; `stream` points
 * to the first of those rows. otimes_pass_layers is, for each chunk:
 *     attention_z -> z;  attention_out(z) -> out;  stream += out (kept back in a parallel block);
 *     mlp(what the block reads) -> stream.
 * z [rows, n_heads * d_head], out [rows, d_model] (after the post-norm if there is one). */
int otimes_pass_attention_z(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first,
                            int64_t count, const float *stream, float *z, otimes_err *err);
int otimes_pass_attention_out(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first_row,
                              int64_t rows, float *z, float *out, otimes_err *err);
/* out [rows, d_model] := what the MLP writes, reading `stream`; zeros where there is none. */
int otimes_pass_mlp_out(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first_row,
                        int64_t rows, const float *stream, float *out, otimes_err *err);

/* The final norm: normal [rows, d_model] := LN_f(stream), without the final norm's weights where they
 * are folded; scale [rows] may be NULL. Visits hooks of ln_final. In place is fine. */
int otimes_pass_final(otimes_pass *pass, const otimes_unembed *unembed, int64_t first_row,
                      int64_t rows, const float *stream, float *normal, float *scale,
                      otimes_err *err);

/* The same for any point of the stream, with its own statistics and without hooks: the logit lens. */
void otimes_final_norm(const otimes_model *model, const otimes_unembed *unembed, int64_t rows,
                       const float *stream, float *normal, float *scale);

#endif
