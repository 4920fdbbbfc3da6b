/* SPDX-License-Identifier: MIT */
#include "run/forward.h"

#include "base/mem.h"
#include "model/model.h"
#include "run/space.h"
#include "run/readout.h"

void otimes_forward_settings_default(otimes_forward_settings *settings)
{
    *settings = (otimes_forward_settings){0};
}

static int check_settings(const otimes_forward_settings *settings, otimes_err *err)
{
    if (settings->chunk_rows < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "chunk_rows: expected at least 0, got %lld",
                           (long long)settings->chunk_rows);
    }
    return settings->memory < 0
               ? otimes_fail(err, OTIMES_ERR_ARGUMENT, "memory: expected at least 0, got %lld",
                             (long long)settings->memory)
               : OTIMES_OK;
}

int otimes_forward_open(otimes_forward **forward, const otimes_model *model,
                        const otimes_forward_settings *settings, otimes_err *err)
{
    otimes_forward_settings defaults;
    otimes_forward_settings_default(&defaults);
    *forward = NULL;
    int rc = check_settings(settings ? settings : &defaults, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(forward, 1, err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    (*forward)->model = model;
    (*forward)->settings = settings ? *settings : defaults;
    rc = otimes_layers_open(&(*forward)->layers, model, &(*forward)->settings, err);
    if (rc == OTIMES_OK) {
        rc = otimes_pass_init(&(*forward)->pass, &(*forward)->layers, &(*forward)->batch, NULL,
                              (*forward)->settings.chunk_rows, err);
    }
    if (rc != OTIMES_OK) {
        otimes_forward_close(forward);
    }
    return rc;
}

void otimes_forward_close(otimes_forward **forward)
{
    if (!forward || !*forward) {
        return;
    }
    otimes_forward *f = *forward;
    otimes_pass_free(&f->pass);
    otimes_batch_free(&f->batch);
    otimes_layers_close(&f->layers);
    otimes_free(f->stream);
    otimes_free(f->scale);
    otimes_free(f);
    *forward = NULL;
}

static int64_t total_of(const otimes_model *model, const otimes_forward_settings *settings,
                        int64_t rows, int64_t longest)
{
    otimes_forward_plan plan;
    otimes_forward_plan_of(model, settings, rows, longest < rows ? longest : rows, &plan);
    return plan.total;
}

int otimes_forward_plan_check(const otimes_model *model, const otimes_forward_settings *settings,
                              int64_t rows, int64_t longest, int64_t own_bytes, otimes_err *err)
{
    const int64_t limit = settings ? settings->memory : 0;
    const int64_t total = total_of(model, settings, rows, longest) + own_bytes;
    if (limit == 0 || total <= limit) {
        return OTIMES_OK;
    }
    int64_t low = 0, high = rows; /* the largest number whose plan stays within the limit */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        *(total_of(model, settings, middle, longest) + own_bytes <= limit ? &low : &high) = middle;
    }
    return low > 0
               ? otimes_fail(err, OTIMES_ERR_ARGUMENT,
                             "memory: expected at most %lld bytes, but %lld tokens take %lld; "
                             "%lld tokens would fit",
                             (long long)limit, (long long)rows, (long long)total, (long long)low)
               : otimes_fail(err, OTIMES_ERR_ARGUMENT,
                             "memory: expected at most %lld bytes, but one token takes %lld",
                             (long long)limit,
                             (long long)(total_of(model, settings, 1, 1) + own_bytes));
}

static int need_rows(otimes_forward *f, int64_t rows, otimes_err *err)
{
    if (rows <= f->capacity) {
        return OTIMES_OK;
    }
    otimes_free(f->stream);
    otimes_free(f->scale);
    f->stream = f->scale = NULL;
    f->capacity = 0;
    int rc = OTIMES_NEW(&f->stream, rows * f->model->info.d_model, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&f->scale, rows, err);
    }
    f->capacity = rc == OTIMES_OK ? rows : 0;
    return rc;
}

int otimes_forward_run(otimes_forward *forward, const otimes_sequences *batch,
                       const otimes_hooks *hooks, otimes_err *err)
{
    otimes_forward *f = forward;
    otimes_batch_free(&f->batch);
    int rc = otimes_batch_init(&f->batch, f->model, batch, NULL, err);
    if (rc == OTIMES_OK) {
        rc = otimes_forward_plan_check(f->model, &f->settings, f->batch.rows, f->batch.longest, 0,
                                       err);
    }
    if (rc == OTIMES_OK) {
        rc = need_rows(f, f->batch.rows, err);
    }
    f->pass.hooks = hooks;
    if (rc == OTIMES_OK) {
        rc = otimes_pass_embed(&f->pass, f->stream, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pass_layers(&f->pass, 0, f->model->info.n_layers, f->stream, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pass_final(&f->pass, &f->layers.unembed, 0, f->batch.rows, f->stream, f->stream,
                               f->scale, err);
    }
    f->pass.hooks = NULL;
    if (rc != OTIMES_OK) {
        otimes_batch_free(&f->batch);
    }
    return rc;
}

otimes_layers *otimes_forward_layers(otimes_forward *forward)
{
    return forward->layers.owner ? forward->layers.owner : &forward->layers;
}

int64_t otimes_forward_rows(const otimes_forward *forward)
{
    return forward->batch.rows;
}

int otimes_forward_logits(otimes_forward *forward, int64_t first, int64_t count, float *out,
                          otimes_err *err)
{
    const otimes_readout ask = {.logits = out};
    if (first < 0 || count < 0 || first > forward->batch.rows - count) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "rows: expected 0 to %lld, got %lld from %lld",
                           (long long)forward->batch.rows - 1, (long long)count, (long long)first);
    }
    return otimes_readout_run(&forward->layers, count,
                              forward->stream + first * forward->model->info.d_model, &ask, err);
}

void otimes_forward_plan_of(const otimes_model *model, const otimes_forward_settings *settings,
                            int64_t rows, int64_t longest, otimes_forward_plan *plan)
{
    const otimes_model_info *info = &model->info;
    const int64_t word = (int64_t)sizeof(float);
    const int64_t limit =
        settings && settings->chunk_rows > 0 ? settings->chunk_rows : OTIMES_CHUNK_ROWS;
    const int64_t W_U = info->d_vocab_out * info->d_model * word;
    int64_t chunk = rows < limit ? rows : limit;
    chunk = chunk < longest ? longest : chunk;
    const bool borrowed = settings && settings->weights;
    const bool resident = borrowed || (settings && settings->resident);
    *plan = (otimes_forward_plan){.streams = rows * (info->d_model + 1) * word +
                                             rows * 2 * (int64_t)sizeof(int64_t)};
    plan->weights = borrowed   ? 0
                    : resident ? otimes_layers_bytes(model)
                               : otimes_layers_largest(model);
    plan->weights += !borrowed && otimes_slot_is_there(model, OTIMES_SLOT_B_U, -1, 0)
                         ? info->d_vocab_out * word
                         : 0;
    plan->loading = borrowed ? 0 : otimes_layers_loading(model, resident);
    plan->readout = otimes_readout_bytes(model, resident, rows) + (resident && !borrowed ? W_U : 0);
    otimes_space_bytes(model, chunk, longest, &plan->chunk, &plan->workers);
    plan->total = plan->weights + plan->streams + plan->chunk + plan->workers +
                  (plan->loading > plan->readout ? plan->loading : plan->readout);
}
