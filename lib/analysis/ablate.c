/* SPDX-License-Identifier: MIT */
#include <otimes/ablate.h>

#include "analysis/ablate_job.h"
#include "base/sink.h"

void otimes_ablate_settings_default(otimes_ablate_settings *settings)
{
    *settings = (otimes_ablate_settings){.components = OTIMES_ABLATE_HEADS, .seed = -1, .loss = 1};
    otimes_forward_settings_default(&settings->forward);
}

/* ---- settings ---- */

static int check_positions(const ablate_job *job, otimes_err *err)
{
    const otimes_ablate_settings *s = job->settings;
    for (int64_t t = 0; t < s->sequences.count; t++) {
        const int64_t length = s->sequences.length[t];
        for (int64_t i = 0; i < s->position_count; i++) {
            const int64_t p = s->positions[i];
            if (p < -length || p >= length) {
                return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                                   "positions: text %lld: expected %lld to %lld, got %lld",
                                   (long long)t, -(long long)length, (long long)length - 1,
                                   (long long)p);
            }
        }
    }
    return OTIMES_OK;
}

static int check_tokens(const ablate_job *job, const char *what, const int64_t *ids,
                        otimes_err *err)
{
    for (int64_t t = 0; ids && t < job->settings->sequences.count; t++) {
        if (ids[t] < 0 || ids[t] >= job->info->d_vocab_out) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "%s: text %lld: expected an output token from 0 to %lld, got %lld",
                               what, (long long)t, (long long)job->info->d_vocab_out - 1,
                               (long long)ids[t]);
        }
    }
    return OTIMES_OK;
}

/* Behind otimes_texts_init, which has checked the sequences. */
static int check_settings(const ablate_job *job, otimes_err *err)
{
    const otimes_ablate_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    if ((unsigned)s->method > OTIMES_ABLATE_RESAMPLE) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "method: expected zero, mean, mean by position or resample, got %d",
                           (int)s->method);
    }
    if (s->method == OTIMES_ABLATE_RESAMPLE && s->sequences.count < 2) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "resample: expected at least 2 texts, got %lld",
                           (long long)s->sequences.count);
    }
    if (s->against && !s->target) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "against: expected a target too, got none");
    }
    if (!s->loss && !s->target) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "measures: expected the loss or a target, got neither");
    }
    if (s->loss && info->d_vocab_out != info->d_vocab) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: loss: expected one vocabulary, got %lld input and %lld output "
                           "tokens; the logit of a target can be measured",
                           info->path, (long long)info->d_vocab, (long long)info->d_vocab_out);
    }
    int rc = check_positions(job, err);
    if (rc == OTIMES_OK) {
        rc = check_tokens(job, "target", s->target, err);
    }
    return rc == OTIMES_OK ? check_tokens(job, "against", s->against, err) : rc;
}

/* ---- where resampled activations come from ---- */

/* splitmix64, a public-domain generator by S. Vigna. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* The next text, or by Sattolo's shuffle, whose permutations are single cycles: no text is its own
 * source. */
static int choose_sources(ablate_job *job, otimes_err *err)
{
    const otimes_ablate_settings *s = job->settings;
    const int64_t n = s->sequences.count;
    uint64_t state = (uint64_t)s->seed;
    int rc = OTIMES_OK;
    if (s->method != OTIMES_ABLATE_RESAMPLE) {
        return rc;
    }
    job->source = otimes_pool_new(&job->pool, n, sizeof *job->source, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < n; i++) {
        job->source[i] = s->seed < 0 ? (i + 1) % n : i;
    }
    for (int64_t i = n - 1; rc == OTIMES_OK && s->seed >= 0 && i > 0; i--) {
        const int64_t k = (int64_t)(next_random(&state) % (uint64_t)i), kept = job->source[i];
        job->source[i] = job->source[k];
        job->source[k] = kept;
    }
    return rc;
}

/* ---- the whole ---- */

/* The request, checked, and how it goes. */
static int begin(ablate_job *job, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    job->columns[ABLATE_AT_Z] = info->n_heads * info->d_head;
    job->columns[ABLATE_AT_MLP] = info->d_model;
    job->columns[ABLATE_AT_POST] = otimes_hook_columns(job->model, OTIMES_HOOK_MLP_POST);
    job->has_mlp = info->mlp != OTIMES_MLP_NONE;
    int rc = otimes_texts_init(&job->texts, job->model, &job->settings->sequences, err);
    if (rc == OTIMES_OK) {
        rc = check_settings(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_ablate_list_init(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = choose_sources(job, err);
    }
    return rc == OTIMES_OK ? otimes_ablate_fit(job, err) : rc;
}

/* What runs the model. */
static int begin_run(ablate_job *job, otimes_err *err)
{
    const otimes_sequences *all = &job->settings->sequences;
    int rc = otimes_ablate_count(job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_layers_open(&job->layers, job->model, &job->settings->forward, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pass_init(&job->pass, &job->layers, NULL, NULL, job->group_rows, err);
    }
    for (int64_t t = 0; rc == OTIMES_OK && t < all->count; t++) {
        job->total += (double)(all->length[t] * job->list.count);
    }
    job->pulse = (otimes_pulse){.sink = job->sink, .total = job->total};
    job->layers.pulse = &job->pulse;
    return rc;
}

static void end(ablate_job *job)
{
    otimes_ablate_free_group(job);
    otimes_pass_free(&job->pass);
    otimes_layers_close(&job->layers);
    otimes_texts_free(&job->texts);
    otimes_pool_free(&job->pool);
}

int otimes_ablate(const otimes_model *model, const otimes_ablate_settings *settings,
                  otimes_sink *sink, otimes_err *err)
{
    ablate_job job = {
        .model = model, .info = otimes_model_describe(model), .settings = settings, .sink = sink};
    int64_t next = 0;
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = begin_run(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_ablate_gather(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_ablate_declare(&job, err);
    }
    while (rc == OTIMES_OK && next < settings->sequences.count) {
        rc = otimes_ablate_next_group(&job, &next, err);
        if (rc == OTIMES_OK && job.group.texts > 0) {
            rc = otimes_ablate_run_group(&job, err);
        }
        if (rc == OTIMES_OK && job.group.texts > 0) {
            rc = otimes_ablate_write_group(&job, err);
        }
        otimes_ablate_free_group(&job);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    end(&job);
    return rc;
}

int otimes_ablate_plan_of(const otimes_model *model, const otimes_ablate_settings *settings,
                          otimes_ablate_plan *plan, otimes_err *err)
{
    ablate_job job = {.model = model, .info = otimes_model_describe(model), .settings = settings};
    const int rc = begin(&job, err);
    *plan = (otimes_ablate_plan){0};
    if (rc == OTIMES_OK) {
        otimes_ablate_fill_plan(&job, plan);
    }
    end(&job);
    return rc;
}
