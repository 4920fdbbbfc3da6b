/* SPDX-License-Identifier: MIT
 *
 * The `patterns` analysis: texts and repeated sequences, batch by batch.
 */
#include <string.h>

#include "analysis/patterns_job.h"
#include "base/sink.h"
#include "run/pass.h"

void otimes_patterns_settings_default(otimes_patterns_settings *settings)
{
    *settings = (otimes_patterns_settings){.repeated_count = 16, .bos = -1};
    otimes_forward_settings_default(&settings->forward);
}

/* ---- what is asked for ---- */

static int check_list(const char *what, const int64_t *list, int64_t count, int64_t limit,
                      otimes_err *err)
{
    for (int64_t i = 0; list && i < count; i++) {
        if (list[i] < 0 || list[i] >= limit || (i > 0 && list[i] <= list[i - 1])) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "%s: expected ascending numbers from 0 to %lld, got %lld", what,
                               (long long)limit - 1, (long long)list[i]);
        }
    }
    return OTIMES_OK;
}

static int check_repeated(const otimes_patterns_settings *s, const otimes_model_info *info,
                          otimes_err *err)
{
    if (s->repeated < 0 || s->repeated > INT64_MAX / 4) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "repeated: expected a length, got %lld",
                           (long long)s->repeated);
    }
    if (s->repeated == 0) {
        return OTIMES_OK;
    }
    const int64_t length = 2 * s->repeated + (s->bos >= 0);
    const bool bounded = info->positions == OTIMES_POSITIONS_LEARNED ||
                         info->positions == OTIMES_POSITIONS_SHORTFORMER;
    if (bounded && length > info->n_ctx) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "repeated: twice %lld tokens%s: expected at most %lld, the model's "
                           "positions, which is %lld tokens twice",
                           (long long)s->repeated, s->bos >= 0 ? " behind BOS" : "",
                           (long long)info->n_ctx, (long long)(info->n_ctx - (s->bos >= 0)) / 2);
    }
    if (s->repeated_count < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "repeated: expected one sequence at least, got %lld",
                           (long long)s->repeated_count);
    }
    if (s->bos < -1 || s->bos >= info->d_vocab) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "bos: expected an id below %lld, got %lld",
                           (long long)info->d_vocab, (long long)s->bos);
    }
    if (s->random_tokens && s->random_token_count < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "random tokens: expected one at least");
    }
    return check_list("random tokens", s->random_tokens, s->random_token_count, info->d_vocab, err);
}

static int check(const otimes_model *model, const otimes_patterns_settings *s, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    if (s->sequences.count < 1 && s->repeated == 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "patterns: expected texts or repeated sequences, got neither");
    }
    if (info->n_layers < 1) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED, "%s: expected layers, the model has none",
                           info->path);
    }
    if (s->top < 0 || s->top > INT32_MAX) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "top: expected a number of keys, got %lld",
                           (long long)s->top);
    }
    int rc = check_list("layers", s->layers, s->layer_count, info->n_layers, err);
    if (rc == OTIMES_OK) {
        rc = check_list("heads", s->heads, s->head_count, info->n_heads, err);
    }
    return rc == OTIMES_OK ? check_repeated(s, info, err) : rc;
}

/* What refers to the texts, once they are known to be sound. */
static int check_positions(const otimes_patterns_settings *s, int64_t longest, otimes_err *err)
{
    for (int64_t i = 0; s->pattern && i < s->pattern_count; i++) {
        const otimes_pattern_entry *entry = &s->pattern[i];
        if (entry->query < 0 || entry->query >= longest || entry->key < 0 ||
            entry->key >= longest || (i > 0 && entry->query < entry[-1].query)) {
            return otimes_fail(
                err, OTIMES_ERR_ARGUMENT,
                "pattern: entry %lld: expected positions from 0 to %lld by ascending "
                "query, got query %lld, key %lld",
                (long long)i, (long long)longest - 1, (long long)entry->query,
                (long long)entry->key);
        }
    }
    return check_list("positions", s->positions, s->position_count, longest, err);
}

/* ---- the job ---- */

static int fill_selection(patterns_job *job, const int64_t *asked, int64_t count, int64_t all,
                          int64_t **list, int64_t **slot, int64_t *length, otimes_err *err)
{
    int rc = OTIMES_OK;
    *length = asked ? count : all;
    *list = otimes_pool_new(&job->pool, *length, sizeof **list, &rc, err);
    *slot = otimes_pool_new(&job->pool, all, sizeof **slot, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < all; i++) {
        (*slot)[i] = -1;
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < *length; i++) {
        (*list)[i] = asked ? asked[i] : i;
        (*slot)[(*list)[i]] = i;
    }
    return rc;
}

static int fill_pattern(patterns_job *job, int64_t longest, otimes_err *err)
{
    const otimes_patterns_settings *s = job->settings;
    int rc = OTIMES_OK;
    if (!s->pattern) {
        return rc;
    }
    job->pattern_start =
        otimes_pool_new(&job->pool, longest + 1, sizeof *job->pattern_start, &rc, err);
    for (int64_t q = 0, i = 0; rc == OTIMES_OK && q <= longest; q++) {
        while (i < s->pattern_count && s->pattern[i].query < q) {
            i++;
        }
        job->pattern_start[q] = i;
    }
    return rc;
}

static int job_init(patterns_job *job, otimes_err *err)
{
    const otimes_patterns_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    int rc = fill_selection(job, s->layers, s->layer_count, info->n_layers, &job->layer,
                            &job->layer_slot, &job->layer_count, err);
    if (rc == OTIMES_OK) {
        rc = fill_selection(job, s->heads, s->head_count, info->n_heads, &job->head,
                            &job->head_slot, &job->head_count, err);
    }
    if (rc == OTIMES_OK && (job->layer_count == 0 || job->head_count == 0)) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "patterns: expected layers and heads, got none");
    }
    job->slots = PATTERNS_SLOTS + s->offset_count;
    job->max_rows = s->forward.chunk_rows > 0 ? s->forward.chunk_rows : OTIMES_CHUNK_ROWS;
    job->layer_info =
        otimes_pool_new(&job->pool, info->n_layers, sizeof *job->layer_info, &rc, err);
    for (int64_t l = 0; rc == OTIMES_OK && l < info->n_layers; l++) {
        rc = otimes_layer_describe(job->model, l, &job->layer_info[l], err);
    }
    return rc;
}

/* ---- all of it ---- */

static int write_facts(const patterns_job *job, otimes_err *err)
{
    const otimes_patterns_settings *s = job->settings;
    int rc = otimes_model_attributes(job->model, job->sink, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(job->sink, "bidirectional", job->info->bidirectional, err);
    }
    if (rc != OTIMES_OK || s->repeated == 0) {
        return rc;
    }
    const struct {
        const char *name;
        int64_t value;
    } facts[] = {{"repeated", s->repeated},
                 {"repeated_count", s->repeated_count},
                 {"repeated_bos", s->bos},
                 {"seed", (int64_t)s->seed}};
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof facts / sizeof *facts; i++) {
        rc = otimes_sink_i64(job->sink, facts[i].name, facts[i].value, err);
    }
    return rc;
}

/* Everything that has to be freed in the end. */
typedef struct whole {
    patterns_job job;
    otimes_texts texts;
    patterns_kind kind;
    patterns_writer writer;
    patterns_repeated repeated;
    patterns_plan plan;
} whole;

static int begin_texts(whole *w, otimes_err *err)
{
    patterns_job *job = &w->job;
    const otimes_patterns_settings *s = job->settings;
    int rc = otimes_texts_init(&w->texts, job->model, &s->sequences, err);
    if (rc == OTIMES_OK) {
        rc = check_positions(s, w->texts.longest, err);
    }
    if (rc == OTIMES_OK) {
        rc = fill_pattern(job, w->texts.longest, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_texts_write(&w->texts, job->model, job->sink, err);
    }
    w->kind = (patterns_kind){.position = s->positions,
                              .position_count = s->position_count,
                              .full = s->full != 0,
                              .top = s->top};
    w->writer = (patterns_writer){.job = job, .kind = &w->kind, .texts = &w->texts};
    if (rc == OTIMES_OK) {
        rc = otimes_patterns_declare(&w->writer, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_patterns_plan_texts(&w->writer, &w->plan, err);
    }
    return rc;
}

/* Declares everything, then runs: a sink may need to know all arrays before it is written to. */
static int run_whole(whole *w, otimes_err *err)
{
    patterns_job *job = &w->job;
    const otimes_patterns_settings *s = job->settings;
    const bool texts = s->sequences.count > 0, repeated = s->repeated > 0;
    int rc = write_facts(job, err);
    if (rc == OTIMES_OK && texts) {
        rc = begin_texts(w, err);
    }
    if (rc == OTIMES_OK && repeated) {
        rc = otimes_patterns_repeated_declare(&w->repeated, job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_forward_open(&job->forward, job->model, &s->forward, err);
    }
    const double layers = (double)job->layer[job->layer_count - 1] + 1;
    job->total = layers * (double)w->plan.tokens;
    job->total +=
        repeated ? layers * (double)s->repeated_count * (double)w->repeated.position.length : 0;
    if (rc == OTIMES_OK && repeated) {
        rc = otimes_patterns_repeated_run(&w->repeated, job, err);
    }
    if (rc == OTIMES_OK && w->plan.count > 0) {
        rc = otimes_patterns_run_texts(&w->writer, &w->plan, err);
    }
    return rc == OTIMES_OK ? otimes_sink_finish(job->sink, err) : rc;
}

int otimes_patterns(const otimes_model *model, const otimes_patterns_settings *settings,
                    otimes_sink *sink, otimes_err *err)
{
    whole w = {.job = {.model = model,
                       .info = otimes_model_describe(model),
                       .settings = settings,
                       .sink = sink}};
    int rc = check(model, settings, err);
    if (rc == OTIMES_OK) {
        rc = job_init(&w.job, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_whole(&w, err);
    }
    otimes_forward_close(&w.job.forward);
    otimes_texts_free(&w.texts);
    otimes_pool_free(&w.job.pool);
    return rc;
}
