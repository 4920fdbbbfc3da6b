/* SPDX-License-Identifier: MIT */
#include "run/space.h"

#include <math.h>

#include "base/par.h"
#include "model/model.h"

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* What the counts of OTIMES_SPACE are made of. */
typedef struct measure {
    const otimes_model_info *info;
    int64_t r, k, s, w, widest, rotated, local;
    int64_t shortformer, parallel, gated, experts;
} measure;

static measure measure_of(const otimes_model *model, int64_t rows, int64_t keys)
{
    const otimes_model_info *info = &model->info;
    measure m = {
        .info = info,
        .r = rows,
        .k = keys,
        .s = rows < OTIMES_MLP_ROWS ? rows : OTIMES_MLP_ROWS,
        .w = otimes_par_workers(INT32_MAX, model->threads),
        .widest = info->mlp == OTIMES_MLP_NONE
                      ? 0
                      : most(info->d_mlp, most(info->d_expert, info->d_shared_expert)),
        .shortformer = info->positions == OTIMES_POSITIONS_SHORTFORMER,
        .parallel = info->parallel != 0,
        .gated = info->mlp == OTIMES_MLP_GATED,
        .experts = info->n_experts > 0,
    };
    for (int64_t layer = 0; layer < info->n_layers; layer++) {
        m.local |= model->layers[layer].rotary && model->layers[layer].local;
    }
    m.rotated = info->positions == OTIMES_POSITIONS_ROPE ? model->rope.dim / 2 : 0;
    m.rotated += m.rotated && m.local ? model->local_rope.dim / 2 : 0;
    return m;
}

static void free_buffers(struct otimes_workspace *space)
{
#define FREE(name, type, count) otimes_free(space->name);
    OTIMES_SPACE(FREE)
#undef FREE
    otimes_free(space->factor);
    otimes_free(space->slopes);
    *space = (struct otimes_workspace){0};
}

static void fill_rotation(const otimes_rope *rope, const double *frequency, int64_t keys, float *to)
{
    const int64_t half = rope->dim / 2;
    for (int64_t p = 0; p < keys; p++) {
        for (int64_t i = 0; i < half; i++) {
            const double angle = (double)p * frequency[i];
            to[p * 2 * half + i] = (float)(rope->magnitude * cos(angle));
            to[p * 2 * half + half + i] = (float)(rope->magnitude * sin(angle));
        }
    }
}

static int make_rotation(const otimes_model *model, const measure *m,
                         struct otimes_workspace *space, otimes_err *err)
{
    const otimes_rope *const ropes[] = {&model->rope, &model->local_rope};
    double *frequency;
    int rc = OTIMES_NEW(&frequency, m->rotated, err);
    float *next = space->rotation;
    for (int i = 0; rc == OTIMES_OK && i < (m->local ? 2 : 1); i++) {
        space->local_rotation = i ? next : NULL;
        rc = otimes_rope_frequencies(model, ropes[i], frequency, err);
        if (rc == OTIMES_OK) {
            fill_rotation(ropes[i], frequency, m->k, next);
            next += m->k * ropes[i]->dim;
        }
    }
    otimes_free(frequency);
    return rc;
}

/* ALiBi (arXiv 2108.12409): 2^(-m/n), 2^(-2m/n), ... with m = 8 for n a power of 2; otherwise those
 * of the power of 2 below, then every other one of the power of 2 above. */
static int make_slopes(const otimes_model *model, struct otimes_workspace *space, otimes_err *err)
{
    const int64_t heads = model->info.n_heads;
    const double max = model->numbers[OTIMES_NUMBER_ALIBI_MAX];
    int64_t below = 1;
    while (2 * below <= heads) {
        below *= 2;
    }
    const int rc = OTIMES_NEW(&space->slopes, heads, err);
    for (int64_t h = 0; rc == OTIMES_OK && h < heads; h++) {
        const double power = h < below ? max * (double)(h + 1) / (double)below
                                       : max * (double)(2 * (h - below) + 1) / (double)(2 * below);
        space->slopes[h] = model->alibi_scale * exp2(-power);
    }
    return rc;
}

static int allocate(const otimes_model *model, int64_t rows, int64_t keys,
                    struct otimes_workspace *space, otimes_err *err)
{
    const measure m = measure_of(model, rows, keys);
    const otimes_model_info *info = m.info;
    const int64_t r = m.r, k = m.k, s = m.s, w = m.w, widest = m.widest, rotated = m.rotated;
    const int64_t shortformer = m.shortformer, parallel = m.parallel, gated = m.gated,
                  experts = m.experts;
    int rc = OTIMES_OK;
#define ALLOCATE(name, type, count)                  \
    if (rc == OTIMES_OK) {                           \
        rc = OTIMES_NEW(&space->name, (count), err); \
    }
    OTIMES_SPACE(ALLOCATE)
#undef ALLOCATE
    if (rc == OTIMES_OK && rotated > 0) {
        rc = make_rotation(model, &m, space, err);
    }
    if (rc == OTIMES_OK && info->positions == OTIMES_POSITIONS_ALIBI) {
        rc = make_slopes(model, space, err);
    }
    space->rows = rows;
    space->keys = keys;
    return rc;
}

int otimes_space_need(otimes_pass *pass, int64_t rows, int64_t keys, otimes_err *err)
{
    int rc = pass->space ? OTIMES_OK : OTIMES_NEW(&pass->space, 1, err);
    if (rc != OTIMES_OK || (rows <= pass->space->rows && keys <= pass->space->keys)) {
        return rc;
    }
    const int64_t more_rows = most(rows, pass->space->rows);
    const int64_t more_keys = most(keys, pass->space->keys);
    free_buffers(pass->space);
    rc = allocate(pass->model, more_rows, more_keys, pass->space, err);
    if (rc != OTIMES_OK) {
        free_buffers(pass->space);
    }
    return rc;
}

void otimes_space_bytes(const otimes_model *model, int64_t rows, int64_t keys, int64_t *chunk,
                        int64_t *strips)
{
    const measure m = measure_of(model, rows, keys);
    const otimes_model_info *info = m.info;
    const int64_t r = m.r, k = m.k, s = m.s, w = m.w, widest = m.widest, rotated = m.rotated;
    const int64_t shortformer = m.shortformer, parallel = m.parallel, gated = m.gated,
                  experts = m.experts;
    int64_t bytes = 0;
#define ADD(name, type, count) bytes += (int64_t)sizeof(type) * (count);
    OTIMES_SPACE(ADD)
#undef ADD
    *strips = (int64_t)sizeof(float) * w * OTIMES_QUERY_ROWS * k;
    *chunk = bytes - *strips;
}

void otimes_space_free(struct otimes_workspace **space)
{
    if (*space) {
        free_buffers(*space);
        otimes_free(*space);
        *space = NULL;
    }
}
