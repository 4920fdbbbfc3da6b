/* SPDX-License-Identifier: MIT
 *
 * What later layers find of a token on its own: its embedding, and what the first MLP makes of it.
 */
#ifndef OTIMES_RUN_EFFECTIVE_EMBEDDING_H
#define OTIMES_RUN_EFFECTIVE_EMBEDDING_H

#include <otimes/forward.h>

#include "base/err.h"

/* Why there is none; NULL where there is: positions that enter before the embedding's norm. */
const char *otimes_effective_untold(const otimes_model_info *info);

/* Of `count` tokens, base [count, d_model]: W_E, behind the norm that stands there in some models,
 * without positions; effective [count, d_model]: base plus what the first layer's MLP (or experts)
 * writes when it reads it through its norm, attention writing nothing. Without MLPs that is base.
 * Errors of otimes_forward_run. */
int otimes_effective_embedding(otimes_forward *forward, const otimes_model *model,
                               const int64_t *ids, int64_t count, float *base, float *effective,
                               otimes_err *err);

#endif
