/* SPDX-License-Identifier: MIT */
#include "run/plan.h"

#include "base/par.h"
#include "run/table_job.h"
#include "run/vocab.h"

int64_t otimes_plan_bigram(const otimes_model_info *info, int threads)
{
    const otimes_table table = {.rank = info->d_model, .row.count = info->d_vocab};
    const int64_t rows = otimes_table_sheet_rows(&table);
    const int64_t strips = (rows + OTIMES_TABLE_STRIP - 1) / OTIMES_TABLE_STRIP;
    const int64_t strip = (int64_t)OTIMES_TABLE_STRIP * (OTIMES_TABLE_BLOCK + info->d_model);
    const int64_t tiles =
        (rows + OTIMES_TABLE_BLOCK) * info->d_model + otimes_par_workers(strips, threads) * strip;
    const int64_t results = 768 * rows;            /* extremes, statistics and their states */
    const int64_t labels = 2 * info->d_vocab * 24; /* pointer and a short text a token */
    return tiles * (int64_t)sizeof(float) + results + labels;
}

int64_t otimes_plan_heads(const otimes_model_info *info, int threads)
{
    const int64_t d = info->d_model, e = info->d_head;
    const int64_t word = (int64_t)sizeof(double);
    /* Grams of both ends and of positions, M and one root while the vocabulary is read, and tiles.
     */
    const int64_t grams = info->positions == OTIMES_POSITIONS_LEARNED ||
                                  info->positions == OTIMES_POSITIONS_SHORTFORMER
                              ? 5
                              : 4;
    const int64_t forms = grams * d * d * word;
    const int64_t vocab = info->d_vocab > info->d_vocab_out ? info->d_vocab : info->d_vocab_out;
    const int64_t rows = otimes_vocab_tile_rows(d, info->n_ctx > vocab ? info->n_ctx : vocab);
    const int64_t tiles = rows * d * (2 * word + (int64_t)sizeof(float));
    /* Then the forms stay, beside one layer's attention and each worker's sides. */
    const int64_t layer =
        (2 * info->n_heads + 2 * info->n_kv_heads) * d * e * (int64_t)sizeof(float);
    const int64_t workers = otimes_par_workers(info->n_kv_heads, threads);
    const int64_t sides = workers * 12 * d * e * word;
    const int64_t first = forms + tiles, second = 3 * d * d * word + layer + sides;
    return first > second ? first : second;
}
