/* SPDX-License-Identifier: MIT */
#include "run/directions.h"

#include <string.h>

#include "run/vocab_side.h"

typedef struct reading {
    otimes_vocab_side vocab;
    int64_t top;
    float *value; /* [count, 2, top] */
    int32_t *id;
} reading;

static int finish(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    const reading *r = context;
    const int64_t top = r->top;
    const size_t bytes = (size_t)top * sizeof *r->value;
    (void)err;
    for (int64_t i = 0; i < sheet->rows; i++) {
        const int64_t at = 2 * (sheet->first_row + i) * top;
        memcpy(r->value + at, sheet->top_value + i * top, bytes);
        memcpy(r->value + at + top, sheet->bottom_value + i * top, bytes);
        otimes_vocab_side_tokens(&r->vocab, sheet->top_column + i * top, top, r->id + at);
        otimes_vocab_side_tokens(&r->vocab, sheet->bottom_column + i * top, top, r->id + at + top);
    }
    return OTIMES_OK;
}

int otimes_directions_read(const otimes_model *model, const otimes_unembed *unembed,
                           const int64_t *tokens, int64_t token_count, int64_t count,
                           const float *directions, int64_t top, int threads, float *value,
                           int32_t *id, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t vocab = unembed ? info->d_vocab_out : info->d_vocab;
    reading r = {{model, unembed, tokens}, top, value, id};
    const otimes_table_vectors rows = {info->d_model, directions};
    const otimes_table table = {
        .rank = info->d_model,
        .row = otimes_table_side_in_memory(&rows, count),
        .column = otimes_vocab_side_of_table(&r.vocab, tokens ? token_count : vocab),
        .threads = threads,
    };
    const otimes_table_ask ask = {.top = top, .bottom = top, .finish = finish, .context = &r};
    return otimes_table_run(&table, &ask, err);
}
