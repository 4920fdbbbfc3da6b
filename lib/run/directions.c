/* SPDX-License-Identifier: MIT */
#include "run/directions.h"

#include "base/mem.h"
#include "base/par.h"
#include "num/la.h"
#include "num/topk.h"
#include "run/vocab.h"

enum { GROUP = 32 }; /* directions of one product */

typedef struct pass {
    int64_t count, d_model, tile_rows, first, rows; /* directions; of the present tile */
    const float *directions, *tile;
    float *product;    /* a worker's [GROUP, tile_rows] */
    otimes_topk *tops; /* [count, 2] */
} pass;

static int read_group(void *context, int64_t group, int worker, otimes_err *err)
{
    pass *p = context;
    const int64_t from = group * GROUP;
    const int64_t count = p->count - from < GROUP ? p->count - from : GROUP;
    float *product = p->product + worker * GROUP * p->tile_rows;
    (void)err;
    otimes_la_default->sgemm(false, true, count, p->rows, p->d_model, 1.0f,
                             p->directions + from * p->d_model, p->d_model, p->tile, p->d_model,
                             0.0f, product, p->rows);
    for (int64_t i = 0; i < 2 * count; i++) {
        otimes_topk_scan(&p->tops[2 * from + i], product + i / 2 * p->rows, p->rows,
                         (int32_t)p->first);
    }
    return OTIMES_OK;
}

/* Positions in the chosen vocabulary become token ids. */
static void finish(const pass *p, const int64_t *tokens)
{
    for (int64_t i = 0; i < 2 * p->count; i++) {
        otimes_topk *top = &p->tops[i];
        otimes_topk_finish(top);
        for (int64_t k = 0; tokens && k < top->count; k++) {
            top->index[k] = (int32_t)tokens[top->index[k]];
        }
    }
}

int otimes_directions_read(const otimes_model *model, const otimes_unembed *unembed,
                           const int64_t *tokens, int64_t token_count, int64_t count,
                           const float *directions, int64_t top, int threads, float *value,
                           int32_t *id, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t vocab = unembed ? info->d_vocab_out : info->d_vocab;
    const int64_t total = tokens ? token_count : vocab, d = info->d_model;
    const int64_t tile_rows = otimes_vocab_tile_rows(d, total);
    const int64_t groups = (count + GROUP - 1) / GROUP;
    pass p = {.count = count, .d_model = d, .tile_rows = tile_rows, .directions = directions};
    float *tile = NULL;
    int rc = OTIMES_NEW(&tile, tile_rows * d, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&p.product, otimes_par_workers(groups, threads) * GROUP * tile_rows, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&p.tops, 2 * count, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < 2 * count; i++) {
        p.tops[i] = (otimes_topk){.capacity = top,
                                  .sign = i % 2 == 0 ? 1.0f : -1.0f,
                                  .value = value + i * top,
                                  .index = id + i * top};
    }
    p.tile = tile;
    for (p.first = 0; rc == OTIMES_OK && p.first < total; p.first += tile_rows) {
        p.rows = total - p.first < tile_rows ? total - p.first : tile_rows;
        rc = otimes_vocab_rows(model, unembed, tokens, p.first, p.rows, tile, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(groups, threads, read_group, &p, err);
        }
    }
    if (rc == OTIMES_OK) {
        finish(&p, tokens);
    }
    otimes_free(tile);
    otimes_free(p.product);
    otimes_free(p.tops);
    return rc;
}
