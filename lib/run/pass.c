/* SPDX-License-Identifier: MIT */
#include "run/pass.h"

#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/product.h"
#include "run/norm.h"
#include "run/space.h"

int otimes_pass_init(otimes_pass *pass, otimes_layers *layers, const otimes_batch *batch,
                     const otimes_hooks *hooks, int64_t chunk_rows, otimes_err *err)
{
    const otimes_model *model = layers->model;
    *pass = (otimes_pass){.model = model,
                          .info = &model->info,
                          .layers = layers,
                          .batch = batch,
                          .hooks = hooks,
                          .chunk_rows = chunk_rows > 0 ? chunk_rows : OTIMES_CHUNK_ROWS};
    const int rc = otimes_activation_of(model, &pass->activation, err);
    return rc == OTIMES_OK && model->info.positions == OTIMES_POSITIONS_ROPE
               ? otimes_rope_check(model, err)
               : rc;
}

void otimes_pass_free(otimes_pass *pass)
{
    otimes_space_free(&pass->space);
}

int otimes_pass_visit(const otimes_pass *pass, otimes_hook hook, int64_t layer, int64_t first,
                      int64_t rows, int64_t columns, float *data, int64_t stride, otimes_err *err)
{
    if (!otimes_pass_wants(pass, (uint64_t)1 << hook)) {
        return OTIMES_OK;
    }
    const otimes_activation activation = {.hook = hook,
                                          .layer = layer,
                                          .head = -1,
                                          .sequence = -1,
                                          .expert = -1,
                                          .first = first,
                                          .rows = rows,
                                          .columns = columns,
                                          .data = data,
                                          .stride = stride};
    return pass->hooks->visit(pass->hooks->context, &activation, err);
}

void otimes_pass_add(const otimes_pass *pass, int64_t count, const float *x, float *y)
{
    otimes_add(pass->model->threads, count, x, y);
}

int otimes_pass_norm(otimes_pass *pass, const otimes_norm_site *site, int64_t first, int64_t rows,
                     const float *x, float *out, otimes_err *err)
{
    const int64_t d = pass->info->d_model;
    struct otimes_workspace *space = pass->space;
    otimes_norm_statistics(site->norm, pass->info->eps, pass->model->threads, rows, d, x, d,
                           space->mean, space->scale);
    int rc = site->scale == OTIMES_HOOK_COUNT
                 ? OTIMES_OK
                 : otimes_pass_visit(pass, site->scale, site->layer, first, rows, 1, space->scale,
                                     1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_norm_apply(pass->model->threads, rows, d, x, d, space->mean, space->scale, site->w,
                      site->b, out, d);
    return site->normalized == OTIMES_HOOK_COUNT
               ? OTIMES_OK
               : otimes_pass_visit(pass, site->normalized, site->layer, first, rows, d, out, d,
                                   err);
}

/* ---- the embedding ---- */

/* W_E by id, one row at a time: a batch rarely has two neighbours. */
static int read_tokens(const otimes_pass *pass, float *stream, otimes_err *err)
{
    const int64_t d = pass->info->d_model;
    int rc = OTIMES_OK;
    for (int64_t row = 0; rc == OTIMES_OK && row < pass->batch->rows; row++) {
        rc = otimes_embed_rows(pass->model, pass->batch->id[row], 1, stream + row * d, err);
    }
    return rc;
}

/* W_pos of a sequence at a time, seen by the hook and added where it belongs to the stream. */
static int add_positions(otimes_pass *pass, float *stream, otimes_err *err)
{
    const otimes_batch *batch = pass->batch;
    const int64_t d = pass->info->d_model;
    const bool into = pass->info->positions == OTIMES_POSITIONS_LEARNED;
    float *rows;
    int64_t longest = 0;
    for (int64_t s = 0; s < batch->count; s++) {
        const int64_t length = batch->start[s + 1] - batch->start[s];
        longest = length > longest ? length : longest;
    }
    int rc = OTIMES_NEW(&rows, longest * d, err);
    for (int64_t s = 0; rc == OTIMES_OK && s < batch->count; s++) {
        const int64_t first = batch->start[s], length = batch->start[s + 1] - first;
        rc = otimes_position_rows(pass->model, batch->position[first], length, rows, err);
        if (rc == OTIMES_OK) {
            rc = otimes_pass_visit(pass, OTIMES_HOOK_POS_EMBED, -1, first, length, d, rows, d, err);
        }
        if (rc == OTIMES_OK && into) {
            otimes_pass_add(pass, length * d, rows, stream + first * d);
        }
    }
    otimes_free(rows);
    return rc;
}

/* BLOOM's norm between the embedding and the first layer. */
static int norm_embedding(otimes_pass *pass, float *stream, otimes_err *err)
{
    const otimes_model_info *info = pass->info;
    const int64_t d = info->d_model, total = pass->batch->rows;
    float *w;
    int rc = OTIMES_NEW(&w, 2 * d, err);
    if (rc == OTIMES_OK) {
        rc = otimes_embed_norm(pass->model, w, w + d, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_space_need(pass, total < pass->chunk_rows ? total : pass->chunk_rows, 1, err);
    }
    for (int64_t first = 0; rc == OTIMES_OK && first < total;) {
        const int64_t room = pass->space->rows, left = total - first;
        const int64_t rows = left < room ? left : room;
        const otimes_norm_site site = {.norm = info->norm,
                                       .scale = OTIMES_HOOK_EMBED_LN_SCALE,
                                       .normalized = OTIMES_HOOK_COUNT,
                                       .layer = -1,
                                       .w = w,
                                       .b = w + d};
        rc =
            otimes_pass_norm(pass, &site, first, rows, stream + first * d, stream + first * d, err);
        first += rows;
    }
    otimes_free(w);
    return rc;
}

int otimes_pass_embed(otimes_pass *pass, float *stream, otimes_err *err)
{
    const int64_t d = pass->info->d_model;
    int rc = read_tokens(pass, stream, err);
    if (rc == OTIMES_OK) {
        rc =
            otimes_pass_visit(pass, OTIMES_HOOK_EMBED, -1, 0, pass->batch->rows, d, stream, d, err);
    }
    if (rc == OTIMES_OK &&
        (pass->info->positions == OTIMES_POSITIONS_LEARNED ||
         otimes_pass_wants(pass, OTIMES_HOOK_BIT(POS_EMBED))) &&
        otimes_has_positions(pass->model)) {
        rc = add_positions(pass, stream, err);
    }
    return rc == OTIMES_OK && pass->info->embed_norm ? norm_embedding(pass, stream, err) : rc;
}

/* ---- layers ---- */

/* Whole sequences from `first` on that fit a chunk, one at least. */
static int64_t chunk_end(const otimes_pass *pass, int64_t first)
{
    const otimes_batch *batch = pass->batch;
    int64_t end = first + 1;
    while (end < batch->count && batch->start[end + 1] - batch->start[first] <= pass->chunk_rows) {
        end++;
    }
    return end;
}

static int64_t largest_chunk(const otimes_pass *pass)
{
    const otimes_batch *batch = pass->batch;
    int64_t largest = 0;
    for (int64_t first = 0, end; first < batch->count; first = end) {
        end = chunk_end(pass, first);
        const int64_t rows = batch->start[end] - batch->start[first];
        largest = rows > largest ? rows : largest;
    }
    return largest;
}

/* What attention has written and what the MLP adds to it; in a parallel block both read the stream
 * before either writes. */
static int add_blocks(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first,
                      int64_t rows, float *stream, otimes_err *err)
{
    const int64_t d = pass->info->d_model;
    struct otimes_workspace *space = pass->space;
    int rc = OTIMES_OK;
    if (pass->info->mlp == OTIMES_MLP_NONE) {
        otimes_pass_add(pass, rows * d, space->out, stream);
    } else if (pass->info->parallel) {
        rc = otimes_pass_mlp_out(pass, layer, first, rows, stream, space->mlp_out, err);
        if (rc == OTIMES_OK) {
            otimes_pass_add(pass, rows * d, space->out, stream);
            otimes_pass_add(pass, rows * d, space->mlp_out, stream);
        }
    } else {
        otimes_pass_add(pass, rows * d, space->out, stream);
        rc = otimes_pass_visit(pass, OTIMES_HOOK_RESID_MID, layer->layer, first, rows, d, stream, d,
                               err);
        if (rc == OTIMES_OK) {
            rc = otimes_pass_mlp_out(pass, layer, first, rows, stream, space->out, err);
        }
        if (rc == OTIMES_OK) {
            otimes_pass_add(pass, rows * d, space->out, stream);
        }
    }
    return rc;
}

static int run_chunk(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first_sequence,
                     int64_t count, float *stream, otimes_err *err)
{
    const int64_t d = pass->info->d_model, first = pass->batch->start[first_sequence];
    const int64_t rows = pass->batch->start[first_sequence + count] - first;
    float *at = stream + first * d;
    int rc =
        otimes_pass_visit(pass, OTIMES_HOOK_RESID_PRE, layer->layer, first, rows, d, at, d, err);
    if (rc == OTIMES_OK) {
        rc = otimes_pass_attention_z(pass, layer, first_sequence, count, at, pass->space->z, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pass_attention_out(pass, layer, first, rows, pass->space->z, pass->space->out,
                                       err);
    }
    if (rc == OTIMES_OK) {
        rc = add_blocks(pass, layer, first, rows, at, err);
    }
    return rc == OTIMES_OK ? otimes_pass_visit(pass, OTIMES_HOOK_RESID_POST, layer->layer, first,
                                               rows, d, at, d, err)
                           : rc;
}

int otimes_pass_layers(otimes_pass *pass, int64_t first, int64_t last, float *stream,
                       otimes_err *err)
{
    int rc = otimes_space_need(pass, largest_chunk(pass), pass->batch->longest, err);
    for (int64_t layer = first; rc == OTIMES_OK && layer < last; layer++) {
        const otimes_ready_layer *ready;
        rc = otimes_layers_get(pass->layers, layer, &ready, err);
        for (int64_t s = 0, end; rc == OTIMES_OK && s < pass->batch->count; s = end) {
            end = chunk_end(pass, s);
            rc = run_chunk(pass, ready, s, end - s, stream, err);
        }
    }
    return rc;
}

/* ---- the end ---- */

int otimes_pass_final(otimes_pass *pass, const otimes_unembed *unembed, int64_t first_row,
                      int64_t rows, const float *stream, float *normal, float *scale,
                      otimes_err *err)
{
    const int64_t d = pass->info->d_model;
    if (pass->info->norm == OTIMES_NORM_NONE) {
        if (normal != stream) {
            memcpy(normal, stream, (size_t)(rows * d) * sizeof *normal);
        }
        for (int64_t i = 0; scale && i < rows; i++) {
            scale[i] = 1;
        }
        return OTIMES_OK;
    }
    int rc = otimes_space_need(pass, rows < pass->chunk_rows ? rows : pass->chunk_rows, 1, err);
    for (int64_t at = 0; rc == OTIMES_OK && at < rows;) {
        const int64_t room = pass->space->rows;
        const int64_t count = rows - at < room ? rows - at : room;
        const otimes_norm_site site = {.norm = pass->info->norm,
                                       .scale = OTIMES_HOOK_LN_FINAL_SCALE,
                                       .normalized = OTIMES_HOOK_LN_FINAL_NORMALIZED,
                                       .layer = -1,
                                       .w = unembed->ln_w,
                                       .b = unembed->ln_b};
        rc = otimes_pass_norm(pass, &site, first_row + at, count, stream + at * d, normal + at * d,
                              err);
        if (rc == OTIMES_OK && scale) {
            memcpy(scale + at, pass->space->scale, (size_t)count * sizeof *scale);
        }
        at += count;
    }
    return rc;
}

void otimes_final_norm(const otimes_model *model, const otimes_unembed *unembed, int64_t rows,
                       const float *stream, float *normal, float *scale)
{
    const otimes_model_info *info = &model->info;
    const int64_t d = info->d_model;
    for (int64_t i = 0; i < rows; i++) {
        double mean;
        float root = 1;
        if (info->norm == OTIMES_NORM_NONE) {
            memmove(normal + i * d, stream + i * d, (size_t)d * sizeof *normal);
        } else {
            otimes_norm_statistics(info->norm, info->eps, 1, 1, d, stream + i * d, d, &mean, &root);
            otimes_norm_apply(1, 1, d, stream + i * d, d, &mean, &root, unembed->ln_w,
                              unembed->ln_b, normal + i * d, d);
        }
        if (scale) {
            scale[i] = root;
        }
    }
}
