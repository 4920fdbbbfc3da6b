/* SPDX-License-Identifier: MIT */
#include "model/model.h"
#include "run/pass.h"

/* One sequence's length and ids; `past` tokens stand before it. */
static int check_sequence(const otimes_model *model, const otimes_sequences *all, int64_t s,
                          int64_t past, otimes_err *err)
{
    const otimes_model_info *info = &model->info;
    const int64_t length = all->length[s];
    if (length < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "sequence %lld: length: expected at least 1, got %lld", (long long)s,
                           (long long)length);
    }
    if (otimes_has_positions(model) && length > info->n_ctx - past) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "sequence %lld: length: expected at most %lld tokens (n_ctx), got %lld",
                           (long long)s, (long long)info->n_ctx, (long long)(past + length));
    }
    for (int64_t i = 0; i < length; i++) {
        if (all->id[s][i] < 0 || all->id[s][i] >= info->d_vocab) {
            return otimes_fail(
                err, OTIMES_ERR_ARGUMENT, "sequence %lld: token %lld: expected 0 to %lld, got %lld",
                (long long)s, (long long)i, (long long)info->d_vocab - 1, (long long)all->id[s][i]);
        }
    }
    return OTIMES_OK;
}

static int count_rows(otimes_batch *batch, const otimes_model *model,
                      const otimes_sequences *sequences, const int64_t *past, otimes_err *err)
{
    if (sequences->count < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "sequences: expected at least 1, got %lld",
                           (long long)sequences->count);
    }
    for (int64_t s = 0; s < sequences->count; s++) {
        const int64_t before = past ? past[s] : 0, length = sequences->length[s];
        int rc = check_sequence(model, sequences, s, before, err);
        if (rc == OTIMES_OK &&
            length > INT64_MAX / 2 - before - batch->rows) { /* unreached: too many to hold */
            rc =
                otimes_fail(err, OTIMES_ERR_ARGUMENT, "sequences: more tokens than can be counted");
        }
        if (rc != OTIMES_OK) {
            return rc;
        }
        batch->rows += length;
        batch->longest = length + before > batch->longest ? length + before : batch->longest;
    }
    batch->count = sequences->count;
    return OTIMES_OK;
}

int otimes_batch_init(otimes_batch *batch, const otimes_model *model,
                      const otimes_sequences *sequences, const int64_t *past, otimes_err *err)
{
    *batch = (otimes_batch){0};
    int rc = count_rows(batch, model, sequences, past, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&batch->start, batch->count + 1, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&batch->position, batch->rows, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&batch->id, batch->rows, err);
    }
    if (rc != OTIMES_OK) {
        otimes_batch_free(batch);
        return rc;
    }
    int64_t row = 0;
    for (int64_t s = 0; s < sequences->count; s++) {
        batch->start[s] = row;
        for (int64_t i = 0; i < sequences->length[s]; i++, row++) {
            batch->position[row] = i + (past ? past[s] : 0);
            batch->id[row] = sequences->id[s][i];
        }
    }
    batch->start[batch->count] = row;
    return OTIMES_OK;
}

void otimes_batch_free(otimes_batch *batch)
{
    if (batch) {
        otimes_free(batch->start);
        otimes_free(batch->position);
        otimes_free(batch->id);
        *batch = (otimes_batch){0};
    }
}

int otimes_kv_init(otimes_kv *kv, const otimes_model *model, int64_t count, int64_t capacity,
                   otimes_err *err)
{
    const otimes_model_info *info = &model->info;
    int64_t places = 0;
    *kv = (otimes_kv){.capacity = capacity, .count = count};
    if (!otimes_mul_i64(count, capacity, &places) ||
        !otimes_mul_i64(places, info->n_kv_heads * info->d_head,
                        &places)) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "cache: %lld sequences of %lld tokens cannot be counted",
                           (long long)count, (long long)capacity);
    }
    int rc = OTIMES_NEW(&kv->length, count, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&kv->k, info->n_layers, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&kv->v, info->n_layers, err);
    }
    kv->layers = rc == OTIMES_OK ? info->n_layers : 0;
    for (int64_t layer = 0; rc == OTIMES_OK && layer < info->n_layers; layer++) {
        rc = OTIMES_NEW(&kv->k[layer], places, err);
        if (rc == OTIMES_OK) {
            rc = OTIMES_NEW(&kv->v[layer], places, err);
        }
    }
    if (rc != OTIMES_OK) {
        otimes_kv_free(kv);
    }
    return rc;
}

void otimes_kv_free(otimes_kv *kv)
{
    if (!kv) {
        return;
    }
    for (int64_t layer = 0; layer < kv->layers; layer++) {
        otimes_free(kv->k[layer]);
        otimes_free(kv->v[layer]);
    }
    otimes_free(kv->k);
    otimes_free(kv->v);
    otimes_free(kv->length);
    *kv = (otimes_kv){0};
}

void otimes_kv_advance(otimes_kv *kv, const otimes_batch *batch)
{
    for (int64_t s = 0; s < batch->count; s++) {
        kv->length[s] += batch->start[s + 1] - batch->start[s];
    }
}
