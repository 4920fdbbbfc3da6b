/* SPDX-License-Identifier: MIT
 *
 * What reads or writes the stream, over the vocabulary. With the rows of W_E (or of W_U^T) minus their
 * mean over the tokens E = Y S V^T, Y [d_vocab, rank] orthonormal, a side X [d_model, n] is E X = Y Z
 * over the vocabulary, Z = S V^T X: all that Y is needed for between two models is Y_1^T Y_2, which
 * comes from W_E1^T W_E2 by tiles (Dar et al. 2022, arXiv 2209.02535).
 */
#ifndef OTIMES_RUN_VOCAB_FRAME_H
#define OTIMES_RUN_VOCAB_FRAME_H

#include <otimes/model.h>

#include "base/err.h"
#include "base/sink.h"

/* Directions of E below this share of its largest singular value are left out: S comes from a Gram in
 * double, whose small eigenvalues are noise from 1e-15 of the largest. */
#define OTIMES_VOCAB_FRAME_SHARE 1e-5

/* The end of a model that a frame is of: the embedding, or the unembedding where that is not NULL. */
typedef struct otimes_vocab_end {
    const otimes_model *model;
    const otimes_unembed *unembed;
    otimes_pulse *pulse; /* beats with each tile of tokens; NULL: none */
} otimes_vocab_end;

typedef struct otimes_vocab_frame {
    int64_t d_model, rank;
    double *coordinates; /* S V^T [rank, d_model] */
    double *inverse;     /* S^-1 V^T [rank, d_model] */
} otimes_vocab_frame;

/* 2 d_vocab d_model^2 flops, and the SVD of a [d_model, d_model] matrix. OTIMES_ERR_MEMORY,
 * OTIMES_ERR_CONVERGENCE, those of reading weights. */
int otimes_vocab_frame_make(otimes_vocab_end end, otimes_vocab_frame *frame, otimes_err *err);

/* Accepts zeroed. */
void otimes_vocab_frame_free(otimes_vocab_frame *frame);

/* cross [a->rank, b->rank] = Y_a^T Y_b; both ends are of one vocabulary. */
int otimes_vocab_frame_cross(otimes_vocab_end end_a, const otimes_vocab_frame *a,
                             otimes_vocab_end end_b, const otimes_vocab_frame *b, double *cross,
                             otimes_err *err);

#endif
