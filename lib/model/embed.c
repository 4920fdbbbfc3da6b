/* SPDX-License-Identifier: MIT
 *
 * Both ends of the model, read by rows.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/model.h"
#include "num/stats.h"

/* Rows read at once when the whole matrix is passed over. */
enum { PASS_ROWS = 256 };

/* Where row i of a weight begins. */
static int64_t row_offset(const otimes_binding *b, int64_t i)
{
    return b->offset + i / b->group * b->group_stride + i % b->group * b->stride[0];
}

static void gather(const otimes_binding *b, int64_t first, int64_t count, float *out)
{
    const otimes_source source = {b->entry->dtype, b->entry->data, b->entry->scales};
    const int64_t rows = b->ndim == 3 ? b->dim[1] : 1,
                  columns = b->ndim > 1 ? b->dim[b->ndim - 1] : 1;
    const int64_t row_stride = b->ndim == 3 ? b->stride[1] : 0;
    const int64_t column_stride = b->ndim > 1 ? b->stride[b->ndim - 1] : 0;
    if (b->ndim < 3 && b->group == 1) { /* the first axis is one run of rows */
        if (b->ndim == 1) {
            otimes_dtype_gather(source, row_offset(b, first), 1, count, 0, b->group_stride, out);
        } else {
            otimes_dtype_gather(source, row_offset(b, first), count, columns, b->group_stride,
                                column_stride, out);
        }
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        otimes_dtype_gather(source, row_offset(b, first + i), rows, columns, row_stride,
                            column_stride, out + i * rows * columns);
    }
}

/* Adjacent rotary pairs at the head of each row become halves. */
static int split_pairs(const otimes_binding *b, int64_t rows, float *out, otimes_err *err)
{
    const int64_t columns = b->dim[b->ndim - 1], half = b->pairs / 2;
    float *row = NULL;
    const int rc = b->pairs ? OTIMES_NEW(&row, b->pairs, err) : OTIMES_OK;
    if (rc != OTIMES_OK || !b->pairs) {
        return rc;
    }
    for (int64_t i = 0; i < rows; i++) {
        float *const at = out + i * columns;
        memcpy(row, at, (size_t)b->pairs * sizeof *row);
        for (int64_t j = 0; j < half; j++) {
            at[j] = row[2 * j];
            at[half + j] = row[2 * j + 1];
        }
    }
    otimes_free(row);
    return OTIMES_OK;
}

static void scale_and_shift(const otimes_binding *b, int64_t count, float *out)
{
    for (int64_t i = 0; b->scale != 1 && i < count; i++) {
        out[i] *= b->scale;
    }
    for (int64_t i = 0; b->shift != 0 && i < count; i++) {
        out[i] += b->shift;
    }
}

/* Lets go of the bytes between the first and the last element read, unless they are many times what
 * was read: rows of a matrix that is stored by columns would drop all of it for each tile. */
static void release(const otimes_binding *binding, int64_t first, int64_t count, int64_t elements)
{
    const int64_t size = (int64_t)otimes_dtype_size(binding->entry->dtype);
    const int64_t block = otimes_dtype_block(binding->entry->dtype);
    const int64_t begin = row_offset(binding, first);
    int64_t end = row_offset(binding, first + count - 1) + 1;
    for (int i = 1; i < binding->ndim; i++) {
        end += (binding->dim[i] - 1) * binding->stride[i];
    }
    if (end - begin <= 4 * elements) {
        const int64_t blocks = end / block - begin / block;
        otimes_map_release(binding->entry->data + begin / block * size, blocks * size);
        if (binding->entry->scales) {
            otimes_map_release(binding->entry->scales + begin / block, blocks);
        }
    }
}

int otimes_binding_read(const otimes_model *model, const otimes_binding *binding, int64_t first,
                        int64_t count, float *out, otimes_err *err)
{
    int64_t each = 1;
    for (int i = 1; i < binding->ndim; i++) {
        each *= binding->dim[i];
    }
    if (count == 0 || each == 0) {
        return OTIMES_OK;
    }
    gather(binding, first, count, out);
    if (!model->store.lent) { /* there it would not come back from a file */
        release(binding, first, count, count * each);
    }
    int rc = otimes_store_unchanged(&model->store, binding->entry, err);
    if (rc == OTIMES_OK) {
        rc = split_pairs(binding, count * each / binding->dim[binding->ndim - 1], out, err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    scale_and_shift(binding, count * each, out);
    const int64_t bad = otimes_first_nonfinite(out, count * each);
    if (bad >= 0) {
        return otimes_fail(err, OTIMES_ERR_VALUE,
                           "%s: %s: expected finite numbers, got %f at canonical element %lld",
                           model->path, binding->entry->name, (double)out[bad],
                           (long long)(first * each + bad));
    }
    return OTIMES_OK;
}

int otimes_check_processed(const otimes_model *model, otimes_slot slot, int64_t layer,
                           const float *values, int64_t count, otimes_err *err)
{
    const int64_t bad = otimes_first_nonfinite(values, count);
    char where[32] = "";
    if (bad < 0) {
        return OTIMES_OK;
    }
    if (layer >= 0) {
        snprintf(where, sizeof where, "layer %lld: ", (long long)layer);
    }
    return otimes_fail(err, OTIMES_ERR_VALUE,
                       "%s: %s%s: expected numbers that float32 holds after processing, got %f "
                       "(raw weights may do)",
                       model->path, where, otimes_slot_label(slot),
                       isnan(values[bad]) ? (double)NAN : (double)values[bad]); /* no "-nan" */
}

static int check_rows(const char *what, int64_t first, int64_t count, int64_t rows, otimes_err *err)
{
    if (first < 0 || count < 0 || first > rows - count) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "%s: rows: expected 0 to %lld, got %lld from %lld", what,
                           (long long)rows - 1, (long long)count, (long long)first);
    }
    return OTIMES_OK;
}

/* W_E or W_pos: what is written to the stream is centred when the writers are. */
static int read_writer(const otimes_model *model, otimes_slot slot, int64_t first, int64_t count,
                       float *out, otimes_err *err)
{
    const otimes_binding *binding = otimes_model_binding(model, slot, -1);
    int rc = check_rows(otimes_slot_label(slot), first, count, binding->dim[0], err);
    if (rc == OTIMES_OK) {
        rc = otimes_binding_read(model, binding, first, count, out, err);
    }
    const bool writes =
        slot == OTIMES_SLOT_W_E || model->info.positions != OTIMES_POSITIONS_SHORTFORMER;
    if (rc == OTIMES_OK && writes && model->info.center_writing_weights == OTIMES_STEP_APPLIED) {
        otimes_center_rows(out, count, model->info.d_model);
        rc = otimes_check_processed(model, slot, -1, out, count * model->info.d_model, err);
    }
    return rc;
}

int otimes_embed_rows(const otimes_model *model, int64_t first, int64_t count, float *out,
                      otimes_err *err)
{
    return read_writer(model, OTIMES_SLOT_W_E, first, count, out, err);
}

int otimes_embed_norm(const otimes_model *model, float *w, float *b, otimes_err *err)
{
    const int64_t d = model->info.d_model;
    const otimes_binding *weight = otimes_model_binding(model, OTIMES_SLOT_EMBED_LN_W, -1);
    const otimes_binding *bias = otimes_model_binding(model, OTIMES_SLOT_EMBED_LN_B, -1);
    if (!weight->entry) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: expected a norm after the embedding, got none", model->path);
    }
    memset(b, 0, (size_t)d * sizeof *b);
    const int rc = otimes_binding_read(model, weight, 0, d, w, err);
    return rc == OTIMES_OK && bias->entry ? otimes_binding_read(model, bias, 0, d, b, err) : rc;
}

int otimes_position_rows(const otimes_model *model, int64_t first, int64_t count, float *out,
                         otimes_err *err)
{
    if (!otimes_model_binding(model, OTIMES_SLOT_W_POS, -1)->entry) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED, "%s: expected learned positions, got %s",
                           model->path, otimes_positions_name(model->info.positions));
    }
    return read_writer(model, OTIMES_SLOT_W_POS, first, count, out, err);
}

/* A vector of the model, or NULL when it has none. */
static int read_vector(const otimes_model *model, otimes_slot slot, float **out, otimes_err *err)
{
    const otimes_binding *binding = otimes_model_binding(model, slot, -1);
    *out = NULL;
    if (!binding->entry) {
        return OTIMES_OK;
    }
    int rc = OTIMES_NEW(out, binding->dim[0], err);
    if (rc == OTIMES_OK) {
        rc = otimes_binding_read(model, binding, 0, binding->dim[0], *out, err);
    }
    return rc;
}

static double dot(const float *a, const float *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

/* The final norm's weight into each row, and (LayerNorm) the row minus its mean. */
static void fold_rows(const otimes_unembed *unembed, int64_t count, float *rows)
{
    const otimes_model *model = unembed->model;
    const int64_t d = model->info.d_model;
    for (int64_t i = 0; unembed->fold && i < count; i++) {
        for (int64_t j = 0; j < d; j++) {
            rows[i * d + j] *= unembed->fold[j];
        }
    }
    if (model->info.fold_ln == OTIMES_STEP_APPLIED && model->info.norm == OTIMES_NORM_LN) {
        otimes_center_rows(rows, count, d);
    }
}

/* One pass over W_U: b_U += b_f W_U from the raw rows, the mean over the vocabulary from the folded
 * ones. */
static int pass_over(otimes_unembed *unembed, const float *ln_b, otimes_err *err)
{
    const otimes_model *model = unembed->model;
    const otimes_binding *W_U = otimes_model_binding(model, OTIMES_SLOT_W_U, -1);
    const int64_t d = model->info.d_model, vocab = model->info.d_vocab_out;
    float *rows;
    int rc = OTIMES_NEW(&rows, PASS_ROWS * d, err);
    for (int64_t first = 0; rc == OTIMES_OK && first < vocab; first += PASS_ROWS) {
        const int64_t count = vocab - first < PASS_ROWS ? vocab - first : PASS_ROWS;
        rc = otimes_binding_read(model, W_U, first, count, rows, err);
        for (int64_t i = 0; rc == OTIMES_OK && ln_b && i < count; i++) {
            float *bias = &unembed->bias[first + i];
            *bias = (float)((double)*bias + dot(rows + i * d, ln_b, d));
        }
        fold_rows(unembed, rc == OTIMES_OK ? count : 0, rows);
        for (int64_t i = 0; rc == OTIMES_OK && unembed->mean && i < count; i++) {
            for (int64_t j = 0; j < d; j++) {
                unembed->mean[j] += (double)rows[i * d + j] / (double)vocab;
            }
        }
    }
    otimes_free(rows);
    return rc;
}

int otimes_unembed_open(const otimes_model *model, otimes_unembed *out, otimes_err *err)
{
    const otimes_model_info *info = &model->info;
    const bool folds = info->fold_ln == OTIMES_STEP_APPLIED;
    const bool centres = info->center_unembed == OTIMES_STEP_APPLIED;
    float *ln_w = NULL, *ln_b = NULL;
    *out = (otimes_unembed){.model = model};
    int rc = read_vector(model, OTIMES_SLOT_LNF_W, &ln_w, err);
    if (rc == OTIMES_OK) {
        rc = read_vector(model, OTIMES_SLOT_LNF_B, &ln_b, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_vector(model, OTIMES_SLOT_B_U, &out->bias, err);
    }
    if (rc == OTIMES_OK && folds && ln_b && !out->bias) {
        rc = OTIMES_NEW(&out->bias, info->d_vocab_out, err);
    }
    if (rc == OTIMES_OK && centres) {
        rc = OTIMES_NEW(&out->mean, info->d_model, err);
    }
    if (rc != OTIMES_OK) {
        goto fail;
    }
    out->fold = folds ? ln_w : NULL;
    if (centres || (folds && ln_b)) {
        rc = pass_over(out, folds ? ln_b : NULL, err);
    }
    if (rc != OTIMES_OK) {
        goto fail;
    }
    if (centres && out->bias) {
        otimes_center_rows(out->bias, 1, info->d_vocab_out);
    }
    if ((centres || folds) && out->bias) {
        rc = otimes_check_processed(model, OTIMES_SLOT_B_U, -1, out->bias, info->d_vocab_out, err);
    }
    if (rc != OTIMES_OK) {
        goto fail;
    }
    if (folds) {
        otimes_free(ln_b);
    } else {
        out->ln_w = ln_w;
        out->ln_b = ln_b;
    }
    return OTIMES_OK;
fail:
    if (out->fold != ln_w) {
        otimes_free(ln_w);
    }
    otimes_free(ln_b);
    otimes_unembed_free(out);
    return rc;
}

int otimes_unembed_rows(const otimes_unembed *unembed, int64_t first, int64_t count, float *out,
                        otimes_err *err)
{
    const otimes_model *model = unembed->model;
    const otimes_binding *W_U = otimes_model_binding(model, OTIMES_SLOT_W_U, -1);
    const int64_t d = model->info.d_model;
    int rc = check_rows("W_U", first, count, W_U->dim[0], err);
    if (rc == OTIMES_OK) {
        rc = otimes_binding_read(model, W_U, first, count, out, err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    fold_rows(unembed, count, out);
    for (int64_t i = 0; unembed->mean && i < count; i++) {
        for (int64_t j = 0; j < d; j++) {
            out[i * d + j] = (float)((double)out[i * d + j] - unembed->mean[j]);
        }
    }
    return unembed->mean || model->info.fold_ln == OTIMES_STEP_APPLIED
               ? otimes_check_processed(model, OTIMES_SLOT_W_U, -1, out, count * d, err)
               : OTIMES_OK;
}

void otimes_unembed_free(otimes_unembed *unembed)
{
    if (unembed) {
        otimes_free(unembed->mean);
        otimes_free(unembed->fold);
        otimes_free(unembed->bias);
        otimes_free(unembed->ln_w);
        otimes_free(unembed->ln_b);
        *unembed = (otimes_unembed){0};
    }
}
