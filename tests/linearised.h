/* SPDX-License-Identifier: MIT
 *
 * Passes made linear for tests, and their parts applied one by one.
 */
#ifndef OTIMES_TESTS_LINEARISED_H
#define OTIMES_TESTS_LINEARISED_H

#include "forwarding.h"

#include "run/linear.h"

typedef struct linearised {
    const char *name;
    golden g; /* where it is one */
    otimes_model *model;
    const otimes_model_info *info;
    otimes_forward *forward;
    made_batch batch;
    otimes_linear linear;
    otimes_linear_target target; /* a logit of the last position unless set otherwise */
    int64_t n, d, q;
} linearised;

/* Every golden with and without processing, in both roles, then what lies under shared/weights and
 * the bundled model: number `which`, from 0; on a text of at most `length` random tokens, its target
 * at a position before the last where `early`. `hooks` may be NULL. False: there are no more. Those
 * whose values were clipped or that are absent come with linear.n 0. */
bool linearised_begin(linearised *made, int which, int64_t length, bool early,
                      otimes_hooks (*hooks)(void *context, const otimes_model *, int64_t n),
                      void *context);
void linearised_end(linearised *made);

/* One that has a path of its own. */
void linearised_open(linearised *made, const char *name, otimes_model *model, otimes_mlp_role role,
                     int64_t length, bool early, const otimes_hooks *hooks);

/* Zeroed floats, freed with free(). */
float *floats(int64_t count);
void add_floats(int64_t count, const float *x, float *y);

/* Sources that heads (mlp false) or the MLP of a layer are the first to read, added to stream. */
void add_new_sources(const linearised *made, int64_t layer, bool mlp, float *stream);

#endif
