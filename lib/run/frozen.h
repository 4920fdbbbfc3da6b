/* SPDX-License-Identifier: MIT
 *
 * Frozen quantities of a pass: what makes a transformer's layers nonlinear, recorded in one pass
 * and put in place of its own in another. With patterns, scales and gates frozen, what a pass ends
 * in is an affine function of what it begins with; logits then have their soft cap alone. Clipped
 * values remain clipped, and the gates inside experts are not reached: otimes_frozen_is_affine.
 */
#ifndef OTIMES_RUN_FROZEN_H
#define OTIMES_RUN_FROZEN_H

#include <stdbool.h>

#include <otimes/forward.h>

#include "base/mem.h"

enum {
    OTIMES_FREEZE_PATTERNS = 1,    /* attention patterns of all heads */
    OTIMES_FREEZE_SCALES = 2,      /* divisors of all norms of the stream, post-norms and the final
                                      one included */
    OTIMES_FREEZE_GATES = 4,       /* gates of MLPs, and what each expert's output is weighted by */
    OTIMES_FREEZE_POST_SCALES = 8, /* of scales, those of post-norms alone */
    OTIMES_FREEZE_ALL = OTIMES_FREEZE_PATTERNS | OTIMES_FREEZE_SCALES | OTIMES_FREEZE_GATES
};

typedef struct otimes_frozen {
    const otimes_model *model;
    int64_t count, rows; /* sequences and all of their tokens */
    int64_t *start;      /* [count + 1] first row of each sequence */
    int64_t *square;     /* [count + 1] first entry of each sequence's pattern of one head */
    bool replay;         /* otimes_frozen_visit writes into the pass; false: it reads */
    uint64_t points;     /* hooks that otimes_frozen_visit is to be called for */
    /* By hook and layer (layer 0 of what is the model's own), NULL where nothing is kept:
     * patterns [n_heads][square], scales [rows], gates [rows, d_mlp], weights [rows, n_experts]. */
    float **kept[OTIMES_HOOK_COUNT];
    otimes_pool pool;
} otimes_frozen;

/* Bytes that `what` (an OR of the above) takes for these sequences; INT64_MAX beyond that. */
int64_t otimes_frozen_bytes(const otimes_model *model, const otimes_sequences *sequences, int what);

/* Makes room for what passes over these sequences are to record; it begins as a recorder.
 * OTIMES_ERR_MEMORY. */
int otimes_frozen_init(otimes_frozen *frozen, const otimes_model *model,
                       const otimes_sequences *sequences, int what, otimes_err *err);
/* Accepts zeroed. */
void otimes_frozen_free(otimes_frozen *frozen);

/* A visitor of hooks: records, or with `replay` puts what was recorded in the place of what the
 * pass computed. A visitor that has more to do calls it for points it does not know. */
int otimes_frozen_visit(void *context, const otimes_activation *a, otimes_err *err);

/* Hooks that do only this. */
otimes_hooks otimes_frozen_hooks(otimes_frozen *frozen);

/* What was recorded at a point of a layer (-1: of the model), or NULL. */
const float *otimes_frozen_at(const otimes_frozen *frozen, otimes_hook hook, int64_t layer);

/* Whether a pass with everything frozen is affine in its beginning. */
bool otimes_frozen_is_affine(const otimes_model *model);

#endif
