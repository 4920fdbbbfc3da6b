/* SPDX-License-Identifier: MIT */
#include "run/vocab_side.h"

#include "model/model.h"
#include "run/vocab.h"

int otimes_vocab_side_read(const otimes_vocab_side *side, const int64_t *ids, int64_t first,
                           int64_t count, float *out, otimes_err *err)
{
    enum { PIECE = 128 };
    const int64_t d = otimes_model_describe(side->model)->d_model;
    int64_t list[PIECE];
    int rc = OTIMES_OK;
    if (!ids) {
        return otimes_vocab_rows(side->model, side->unembed, side->tokens, first, count, out, err);
    }
    if (!side->tokens) {
        return otimes_vocab_rows(side->model, side->unembed, ids, 0, count, out, err);
    }
    for (int64_t at = 0; rc == OTIMES_OK && at < count; at += PIECE) {
        const int64_t n = count - at < PIECE ? count - at : PIECE;
        for (int64_t i = 0; i < n; i++) {
            list[i] = side->tokens[ids[at + i]];
        }
        rc = otimes_vocab_rows(side->model, side->unembed, list, 0, n, out + at * d, err);
    }
    return rc;
}

static int read_side(const void *context, const int64_t *ids, int64_t first, int64_t count,
                     float *out, otimes_err *err)
{
    return otimes_vocab_side_read(context, ids, first, count, out, err);
}

otimes_table_side otimes_vocab_side_of_table(const otimes_vocab_side *side, int64_t count)
{
    return (otimes_table_side){.count = count, .read = read_side, .context = side};
}

void otimes_vocab_side_tokens(const otimes_vocab_side *side, const int32_t *places, int64_t count,
                              int32_t *tokens)
{
    for (int64_t i = 0; i < count; i++) {
        tokens[i] = places[i] < 0 ? -1 : (int32_t)otimes_vocab_side_token(side, places[i]);
    }
}
