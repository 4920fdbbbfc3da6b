/* SPDX-License-Identifier: MIT
 *
 * The vocabulary seen from the residual stream. A circuit over the vocabulary, W_E W W_U, has
 * d_vocab^2 entries, but its norm and singular values are those of E W U^T with E^T E = W_E^T W_E
 * and U^T U = W_U W_U^T, and its eigenvalues those of W M with M = W_U W_E: three d_model x d_model
 * matrices, made in one pass over both ends.
 */
#ifndef OTIMES_RUN_VOCAB_H
#define OTIMES_RUN_VOCAB_H

#include <otimes/model.h>

#include "base/err.h"

typedef struct otimes_vocab_forms {
    int64_t d_model;
    int64_t embed_rank, unembed_rank, position_rank;
    double *embed_root;    /* E [embed_rank, d_model] */
    double *unembed_root;  /* U [unembed_rank, d_model] */
    double *position_root; /* [position_rank, d_model] of W_pos; NULL without learned positions */
    double *cross;         /* M [d_model, d_model]; NULL where the vocabularies differ */
} otimes_vocab_forms;

/* Rows of the vocabulary that fit a tile of the usual size; no more than the `most` that there are, at
 * least 1. */
int64_t otimes_vocab_tile_rows(int64_t d_model, int64_t most);

/* Computes all of it in double; release with otimes_vocab_forms_free. Singular values of full
 * circuits are exact to eps times the norms involved, so those 1e-8 times the largest and smaller
 * are noise. 2 d_vocab d_model^2 flops a Gram, twice that for M; 4 d_model^2 doubles at the peak.
 * `tick` is called with the share done so far and may stop the work (OTIMES_ERR_CANCELLED, err
 * filled by it). */
int otimes_vocab_forms_compute(const otimes_model *model, const otimes_unembed *unembed,
                               int (*tick)(void *context, double share, otimes_err *err),
                               void *context, otimes_vocab_forms *forms, otimes_err *err);

/* Accepts zeroed. */
void otimes_vocab_forms_free(otimes_vocab_forms *forms);

/* Rows of W_E (unembed NULL) or of W_U by output token: those of ids[0 .. count-1], ascending, or
 * with ids NULL those of tokens first .. first+count-1 (first counts into ids otherwise). */
int otimes_vocab_rows(const otimes_model *model, const otimes_unembed *unembed, const int64_t *ids,
                      int64_t first, int64_t count, float *out, otimes_err *err);

#endif
