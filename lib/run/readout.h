/* SPDX-License-Identifier: MIT
 *
 * From normalised rows to what one asks of their logits, without a row of them in memory unless it
 * is asked for.
 */
#ifndef OTIMES_RUN_READOUT_H
#define OTIMES_RUN_READOUT_H

#include <otimes/forward.h>

#include "run/layers.h"

/* What is asked of each row; pointers are the caller's, NULL: not asked. */
typedef struct otimes_readout {
    double *logsumexp;     /* [rows] */
    double *entropy;       /* [rows] of the softmax, nats */
    const int64_t *target; /* [rows] an output token each; -1: none. Needed by the two below */
    float *target_logit;   /* [rows]; NaN without a target */
    int64_t *target_rank;  /* [rows] how many logits are larger; -1 without a target, or of NaN */
    int64_t top;           /* the largest of each row: */
    float *top_value;      /* [rows, top] descending, ties by lower id; NaN beyond d_vocab_out */
    int32_t *top_id;       /* [rows, top]; -1 beyond, where NaN is left out */
    float *logits;         /* [rows, d_vocab_out] */
} otimes_readout;

/* Logits of normal [rows, d_model] (otimes_pass_final's): normal W_U + b_U, soft-capped. Threads
 * split rows; blocks do not depend on their number. OTIMES_ERR_MEMORY, those of
 * otimes_layers_unembed. */
int otimes_readout_run(otimes_layers *layers, int64_t rows, const float *normal,
                       const otimes_readout *readout, otimes_err *err);

/* Bytes that it takes beside what is asked for. */
int64_t otimes_readout_bytes(const otimes_model *model, bool resident, int64_t rows);

#endif
