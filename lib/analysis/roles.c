/* SPDX-License-Identifier: MIT */
#include <otimes/roles.h>

#include <math.h>

#include "analysis/roles_job.h"
#include "base/index.h"
#include "base/sink.h"
#include "model/model.h"
#include "run/circuit.h"
#include "run/effective_embedding.h"
#include "run/repeated.h"

static const int64_t no_offset[] = {0}, some_offsets[] = {0, 8, 32};

enum { USUAL_PERIOD = 32, USUAL_COUNT = 16, USUAL_ROWS = 512 };

void otimes_roles_settings_default(otimes_roles_settings *settings)
{
    *settings = (otimes_roles_settings){
        .row_count = USUAL_ROWS, .repeated = -1, .repeated_count = USUAL_COUNT, .bos = -1};
    otimes_forward_settings_default(&settings->forward);
}

/* ---- the request ---- */

static int64_t most_repeated(const roles_job *job)
{
    const otimes_model_info *info = job->info;
    const bool bounded = otimes_has_positions(job->model) && info->n_ctx > 0;
    return bounded ? (info->n_ctx - (job->settings->bos >= 0)) / 2 : INT32_MAX;
}

static int64_t period_of(const roles_job *job)
{
    const int64_t most = most_repeated(job);
    const int64_t asked = job->settings->repeated;
    return asked >= 0 ? asked : most < USUAL_PERIOD ? most : USUAL_PERIOD;
}

static int check_repeated(const roles_job *job, otimes_err *err)
{
    const otimes_roles_settings *s = job->settings;
    if (s->repeated > most_repeated(job) || s->repeated < -1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "repeated: expected at most %lld tokens, which twice are what the model "
                           "has positions for, got %lld",
                           (long long)most_repeated(job), (long long)s->repeated);
    }
    if (s->repeated_count < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "repeated: expected one sequence at least, got %lld",
                           (long long)s->repeated_count);
    }
    if (s->bos < -1 || s->bos >= job->info->d_vocab) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "bos: expected an id below %lld, got %lld",
                           (long long)job->info->d_vocab, (long long)s->bos);
    }
    if (s->random_tokens && s->random_token_count < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "random tokens: expected one at least");
    }
    return otimes_index_check("random tokens", s->random_tokens, s->random_token_count,
                              job->info->d_vocab, err);
}

static int check_settings(const roles_job *job, otimes_err *err)
{
    const otimes_roles_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    if (info->n_layers < 1) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED, "%s: expected layers, the model has none",
                           info->path);
    }
    int rc = otimes_index_check("layers", s->layers, s->layer_count, info->n_layers, err);
    if (rc == OTIMES_OK) {
        rc = otimes_index_check("heads", s->heads, s->head_count, info->n_heads, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_index_check("rows", s->rows, s->rows ? s->row_count : 0, info->d_vocab, err);
    }
    if (rc == OTIMES_OK && s->row_count < 0) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "rows: expected a number of tokens, got %lld",
                         (long long)s->row_count);
    }
    if (rc == OTIMES_OK && ((s->layers && s->layer_count < 1) || (s->heads && s->head_count < 1))) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "roles: expected layers and heads, got none");
    }
    return rc == OTIMES_OK ? check_repeated(job, err) : rc;
}

/* ---- what cannot be told ---- */

/* Why W_V W_O is not all that is between two norms' readings; NULL where it is. */
static const char *write_untold(const otimes_model_info *info)
{
    if (info->post_norm) {
        return "not told: a norm stands between W_O and the stream";
    }
    if (info->norm != OTIMES_NORM_NONE && info->fold_ln == OTIMES_STEP_OFF) {
        return "not told: the norms' weights are not folded";
    }
    return info->clip_qkv > 0 ? "not told: values are clipped" : NULL;
}

static const char *either(const char *a, const char *b)
{
    return a ? a : b;
}

static void find_untold(roles_job *job)
{
    const otimes_model_info *info = job->info;
    const char *write = write_untold(info);
    const char *common =
        job->space.common ? NULL : "not told: no output token is known to be an input token";
    const char *scores = otimes_scores_untold(info);
    const char *embedding =
        info->embed_norm ? "not told: a norm stands between W_E and the stream" : NULL;
    job->untold = (roles_untold){
        .previous = job->space.average.untold,
        .same = scores,
        .copying = either(either(write, embedding), common),
        .induction = either(either(job->space.average.untold, write), common),
        .suppression = either(either(write, otimes_effective_untold(info)), common),
    };
}

/* ---- the job ---- */

static int64_t *slots_of(roles_job *job, const int64_t *chosen, int64_t count, int64_t all, int *rc,
                         otimes_err *err)
{
    int64_t *slot = otimes_pool_new(&job->pool, all, sizeof *slot, rc, err);
    for (int64_t i = 0; *rc == OTIMES_OK && i < all; i++) {
        slot[i] = -1;
    }
    for (int64_t i = 0; *rc == OTIMES_OK && i < count; i++) {
        slot[chosen[i]] = i;
    }
    return slot;
}

static int new_results(roles_job *job, otimes_err *err)
{
    const int64_t n = job->nodes;
    const size_t size = sizeof(double);
    int rc = OTIMES_OK;
    for (int w = 0; w < ROLES_BY_WEIGHTS; w++) {
        job->weight[w] = otimes_pool_new(&job->pool, n, size, &rc, err);
        for (int64_t i = 0; rc == OTIMES_OK && i < n; i++) {
            job->weight[w][i] = NAN;
        }
    }
    for (int r = 0; r < ROLES_RUNS; r++) {
        for (int a = 0; a < ROLES_BY_ATTENTION; a++) {
            job->attention[r][a] = otimes_pool_new(&job->pool, n, size, &rc, err);
            job->attended[r][a] = otimes_pool_new(&job->pool, n, size, &rc, err);
        }
    }
    job->induction_layer = otimes_pool_new(&job->pool, n, sizeof(int64_t), &rc, err);
    job->induction_head = otimes_pool_new(&job->pool, n, sizeof(int64_t), &rc, err);
    job->is_induction = otimes_pool_new(&job->pool, n, sizeof(int32_t), &rc, err);
    job->label = otimes_pool_new(&job->pool, n * OTIMES_ROLES, sizeof(int32_t), &rc, err);
    job->label_side = otimes_pool_new(&job->pool, n * OTIMES_ROLES * OTIMES_ROLE_SIDES,
                                      sizeof(int32_t), &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < n; i++) {
        job->induction_layer[i] = job->induction_head[i] = job->is_induction[i] = -1;
    }
    return rc;
}

static int begin(roles_job *job, otimes_err *err)
{
    const otimes_roles_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    int rc = check_settings(job, err);
    job->layer_count = s->layers ? s->layer_count : info->n_layers;
    job->head_count = s->heads ? s->head_count : info->n_heads;
    job->nodes = job->layer_count * job->head_count;
    job->layers = otimes_index_chosen(&job->pool, s->layers, job->layer_count, &rc, err);
    job->heads = otimes_index_chosen(&job->pool, s->heads, job->head_count, &rc, err);
    job->layer_slot = slots_of(job, job->layers, job->layer_count, info->n_layers, &rc, err);
    job->head_slot = slots_of(job, job->heads, job->head_count, info->n_heads, &rc, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    job->last = job->layers[job->layer_count - 1];
    const bool rotary = info->positions == OTIMES_POSITIONS_ROPE;
    job->offsets = rotary ? some_offsets : no_offset;
    job->offset_count = rotary ? 3 : 1;
    job->dimension = (double)otimes_link_dimension(info);
    return new_results(job, err);
}

/* Checked before the weights are looked at, which may take long. */
static int begin_runs(roles_job *job, otimes_err *err)
{
    const otimes_roles_settings *s = job->settings;
    const otimes_repeated ask = {s->repeated_count,
                                 period_of(job),
                                 s->bos,
                                 s->seed,
                                 s->random_tokens,
                                 s->random_tokens ? s->random_token_count : job->info->d_vocab};
    int64_t numbers;
    int rc = OTIMES_OK;
    job->ran[ROLES_TEXTS] = s->sequences.count > 0;
    job->ran[ROLES_REPEATED] = ask.period > 0;
    job->repeated_length = otimes_repeated_length(&ask);
    if (job->ran[ROLES_TEXTS]) {
        rc = otimes_texts_init(&job->texts, job->model, &s->sequences, err);
    }
    if (rc == OTIMES_OK && job->ran[ROLES_REPEATED]) {
        if (!otimes_mul_i64(ask.count, job->repeated_length,
                            &numbers)) { /* unreached: too many to hold */
            return otimes_fail(err, OTIMES_ERR_MEMORY, "repeated: too many sequences");
        }
        job->repeated_ids = otimes_pool_new(&job->pool, numbers, sizeof(int64_t), &rc, err);
        if (rc == OTIMES_OK) {
            otimes_repeated_draw(&ask, job->repeated_ids);
        }
    }
    return rc == OTIMES_OK ? otimes_forward_open(&job->forward, job->model, &s->forward, err) : rc;
}

static int tick(void *context, double share, otimes_err *err)
{
    return otimes_sink_progress(context, share, 3, err);
}

static int open_space(roles_job *job, otimes_err *err)
{
    const int rc = otimes_head_space_open(job->model, tick, job->sink, &job->space, err);
    if (rc == OTIMES_OK) {
        find_untold(job);
    }
    return rc;
}

int otimes_roles(const otimes_model *model, const otimes_roles_settings *settings,
                 otimes_sink *sink, otimes_err *err)
{
    otimes_roles_settings defaults;
    otimes_roles_settings_default(&defaults);
    roles_job job = {.model = model,
                     .info = otimes_model_describe(model),
                     .settings = settings ? settings : &defaults,
                     .sink = sink};
    int (*const steps[])(roles_job *, otimes_err *) = {
        begin_runs,           open_space,
        otimes_roles_sources, otimes_roles_thresholds,
        otimes_roles_weights, otimes_roles_attention,
    };
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_attributes(model, sink, err);
    }
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof steps / sizeof steps[0]; i++) {
        rc = steps[i](&job, err);
    }
    if (rc == OTIMES_OK) {
        otimes_roles_label(&job);
        rc = otimes_roles_write(&job, err);
    }
    otimes_texts_free(&job.texts);
    otimes_forward_close(&job.forward);
    otimes_head_space_close(&job.space);
    otimes_pool_free(&job.pool);
    return rc;
}
