/* SPDX-License-Identifier: MIT */
#include "run/head_bases.h"

#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "model/model.h"
#include "num/la.h"
#include "num/orthonormal.h"
#include "run/circuit.h"

typedef struct layer_work {
    const otimes_model *model;
    const otimes_layer *layer;
    otimes_head_bases *bases;
    int64_t at; /* of the layer, from 0 */
} layer_work;

static int read_side(const otimes_layer *layer, const otimes_model_info *info, int side,
                     int64_t head, otimes_side *out, otimes_err *err)
{
    switch (side) {
    case OTIMES_SIDE_Q:
        return otimes_query_side(layer, head, false, out, err);
    case OTIMES_SIDE_K:
        return otimes_key_side(layer, head, false, out, err);
    case OTIMES_SIDE_V:
        return otimes_value_side(layer, head, out, err);
    default:
        return otimes_written_side(layer, info, head, out, err);
    }
}

/* Item: one head of one of the sides, those of a side after one another. */
static int make_side(void *context, int64_t item, int worker, otimes_err *err)
{
    const layer_work *work = context;
    otimes_head_bases *b = work->bases;
    int side = 0;
    int64_t head = item;
    (void)worker;
    while (!b->basis[side] || head >= b->heads[side]) {
        head -= b->basis[side] ? b->heads[side] : 0;
        side++;
    }
    const int64_t place = (work->at * b->heads[side] + head) * b->rank;
    otimes_side x = {0};
    int rc = read_side(work->layer, &work->model->info, side, head, &x, err);
    if (rc == OTIMES_OK) {
        rc =
            otimes_orthonormal_rows(b->d_model, b->d_head, x.x, b->basis[side] + place * b->d_model,
                                    b->factor[side] + place * b->d_head, err);
    }
    otimes_side_free(&x);
    return rc;
}

static int new_bases(const otimes_model_info *info, int parts, otimes_head_bases *b,
                     otimes_err *err)
{
    const int part[OTIMES_SIDES] = {OTIMES_PART_Q, OTIMES_PART_K, OTIMES_PART_V, OTIMES_PART_O};
    int rc = OTIMES_OK;
    for (int side = 0; rc == OTIMES_OK && side < OTIMES_SIDES; side++) {
        const bool shared = side == OTIMES_SIDE_K || side == OTIMES_SIDE_V;
        b->heads[side] = shared ? info->n_kv_heads : info->n_heads;
        if (!(parts & part[side])) {
            continue;
        }
        const int64_t rows = b->layers * b->heads[side] * b->rank;
        rc = OTIMES_NEW(&b->basis[side], rows * b->d_model, err);
        if (rc == OTIMES_OK) {
            rc = OTIMES_NEW(&b->factor[side], rows * b->d_head, err);
        }
    }
    return rc;
}

int otimes_head_bases_load(const otimes_model *model, int64_t first, int64_t layers, int parts,
                           otimes_head_bases *bases, otimes_err *err)
{
    const otimes_model_info *info = &model->info;
    *bases =
        (otimes_head_bases){.d_model = info->d_model,
                            .d_head = info->d_head,
                            .rank = info->d_head < info->d_model ? info->d_head : info->d_model,
                            .first = first,
                            .layers = layers};
    int rc = new_bases(info, parts, bases, err);
    int64_t items = 0;
    for (int side = 0; side < OTIMES_SIDES; side++) {
        items += bases->basis[side] ? bases->heads[side] : 0;
    }
    for (int64_t at = 0; rc == OTIMES_OK && at < layers; at++) {
        otimes_layer layer;
        layer_work work = {model, &layer, bases, at};
        rc = otimes_layer_load(model, first + at, parts, &layer, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(items, model->threads, make_side, &work, err);
        }
        otimes_layer_free(&layer);
    }
    if (rc != OTIMES_OK) {
        otimes_head_bases_free(bases);
    }
    return rc;
}

void otimes_head_bases_free(otimes_head_bases *bases)
{
    for (int side = 0; side < OTIMES_SIDES; side++) {
        otimes_free(bases->basis[side]);
        otimes_free(bases->factor[side]);
    }
    *bases = (otimes_head_bases){0};
}
