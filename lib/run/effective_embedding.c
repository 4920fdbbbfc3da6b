/* SPDX-License-Identifier: MIT
 *
 * Each token is a sequence of its own through the first layer of an ordinary pass: positions are
 * taken out before it and attention's output is made 0, so that every kind of MLP and block is the
 * pass's own.
 */
#include "run/effective_embedding.h"

#include <string.h>

#include "base/mem.h"

enum { TOKENS_AT_ONCE = 1024, ENOUGH = 1 };

typedef struct walk {
    int64_t d, rows;
    float *base, *effective; /* of the tokens at hand */
} walk;

const char *otimes_effective_untold(const otimes_model_info *info)
{
    return info->embed_norm && info->positions == OTIMES_POSITIONS_LEARNED
               ? "not told: positions enter before the embedding's norm"
               : NULL;
}

static int visit(void *context, const otimes_activation *a, otimes_err *err)
{
    const walk *w = context;
    const size_t size = (size_t)(a->rows * w->d) * sizeof(float);
    (void)err;
    if (a->layer > 0) {
        return OTIMES_OK;
    }
    switch (a->hook) {
    case OTIMES_HOOK_POS_EMBED:
    case OTIMES_HOOK_ATTN_OUT:
        memset(a->data, 0, size);
        return OTIMES_OK;
    case OTIMES_HOOK_RESID_PRE:
        memcpy(w->base + a->first * w->d, a->data, size);
        return OTIMES_OK;
    case OTIMES_HOOK_RESID_POST:
        memcpy(w->effective + a->first * w->d, a->data, size);
        return a->first + a->rows == w->rows ? ENOUGH : OTIMES_OK;
    default:
        return OTIMES_OK;
    }
}

int otimes_effective_embedding(otimes_forward *forward, const otimes_model *model,
                               const int64_t *ids, int64_t count, float *base, float *effective,
                               otimes_err *err)
{
    const int64_t d = otimes_model_describe(model)->d_model;
    int64_t length[TOKENS_AT_ONCE];
    const int64_t *id[TOKENS_AT_ONCE];
    int rc = OTIMES_OK;
    for (int64_t first = 0; rc == OTIMES_OK && first < count; first += TOKENS_AT_ONCE) {
        const int64_t left = count - first, rows = left < TOKENS_AT_ONCE ? left : TOKENS_AT_ONCE;
        walk w = {d, rows, base + first * d, effective + first * d};
        const otimes_hooks hooks = {OTIMES_HOOK_BIT(POS_EMBED) | OTIMES_HOOK_BIT(ATTN_OUT) |
                                        OTIMES_HOOK_BIT(RESID_PRE) | OTIMES_HOOK_BIT(RESID_POST),
                                    visit, &w};
        for (int64_t i = 0; i < rows; i++) {
            length[i] = 1;
            id[i] = ids + first + i;
        }
        rc = otimes_forward_run(forward, &(otimes_sequences){rows, length, id}, &hooks, err);
        rc = rc == ENOUGH ? OTIMES_OK : rc;
    }
    return rc;
}
