/* SPDX-License-Identifier: MIT */
#include <otimes/qk.h>

#include "analysis/qk_job.h"
#include "base/index.h"
#include "base/sink.h"
#include "model/model.h"
#include "run/circuit.h"

/* Sides of all heads are kept. */
#define MOST_BYTES (INT64_C(8) << 30)

static const int64_t no_offset[] = {0}, some_offsets[] = {0, 8, 32};

void otimes_qk_settings_default(otimes_qk_settings *settings)
{
    *settings = (otimes_qk_settings){.top = 10, .entries = 5};
}

/* ---- the request ---- */

static int check_memory(const qk_job *job, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    int64_t bytes;
    if (__builtin_mul_overflow(job->nodes, info->d_model * info->d_head, &bytes) ||
        __builtin_mul_overflow(bytes, 7 * (int64_t)sizeof(double), &bytes) ||
        bytes > MOST_BYTES) { /* unreached: takes a model larger than tests have */
        return otimes_fail(
            err, OTIMES_ERR_UNSUPPORTED,
            "%s: sides of %lld heads: expected at most 8 GiB; choose layers or heads", info->path,
            (long long)job->nodes);
    }
    return OTIMES_OK;
}

static int check_settings(const qk_job *job, otimes_err *err)
{
    const otimes_qk_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    int rc = otimes_index_check("layers", s->layers, s->layer_count, info->n_layers, err);
    if (rc == OTIMES_OK) {
        rc = otimes_index_check("heads", s->heads, s->head_count, info->n_heads, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_index_check("tokens", s->tokens, s->token_count, info->d_vocab, err);
    }
    if (rc == OTIMES_OK && job->layer_count < 2) {
        rc = otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                         "%s: QK of pairs of heads: expected at least 2 layers, got %lld",
                         info->path, (long long)job->layer_count);
    }
    if (rc == OTIMES_OK && s->offsets && info->positions != OTIMES_POSITIONS_ROPE) {
        rc = otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                         "%s: offsets: expected rotary positions, got %s", info->path,
                         otimes_positions_name(info->positions));
    }
    if (rc == OTIMES_OK && s->offsets && s->offset_count < 1) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "offsets: expected a list of them");
    }
    if (rc == OTIMES_OK && (s->top < 0 || s->entries < 0)) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT,
                         "top, entries: expected at least 0, got %lld, %lld", (long long)s->top,
                         (long long)s->entries);
    }
    return rc == OTIMES_OK ? check_memory(job, err) : rc;
}

static void choose(qk_job *job)
{
    const otimes_qk_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    const bool rotary = info->positions == OTIMES_POSITIONS_ROPE;
    job->layer_count = s->layers ? s->layer_count : info->n_layers;
    job->head_count = s->heads ? s->head_count : info->n_heads;
    job->nodes = job->layer_count * job->head_count;
    job->pairs = job->layer_count * (job->layer_count - 1) / 2 * job->head_count * job->head_count;
    job->listed = s->top < job->pairs ? s->top : job->pairs;
    job->dimension = (double)otimes_link_dimension(info);
    job->offsets = s->offsets ? s->offsets : rotary ? some_offsets : no_offset;
    job->offset_count = s->offsets ? s->offset_count : rotary ? 3 : 1;
}

static int new_results(qk_job *job, otimes_err *err)
{
    const int64_t pairs = job->pairs, e = job->info->d_head;
    const int64_t entries = job->listed * OTIMES_QK_FORMS * job->settings->entries;
    const size_t size = sizeof(double);
    int64_t each, values;
    int rc = OTIMES_OK;
    if (__builtin_mul_overflow(pairs, OTIMES_QK_FORMS * job->offset_count, &each) ||
        __builtin_mul_overflow(each, e, &values)) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_MEMORY, "%lld pairs of heads: too many",
                           (long long)pairs);
    }
    job->node = otimes_pool_new(&job->pool, job->nodes, sizeof *job->node, &rc, err);
    job->first = otimes_pool_new(&job->pool, pairs, sizeof *job->first, &rc, err);
    job->second = otimes_pool_new(&job->pool, pairs, sizeof *job->second, &rc, err);
    job->order = otimes_pool_new(&job->pool, pairs, sizeof *job->order, &rc, err);
    job->is_induction = otimes_pool_new(&job->pool, pairs, sizeof *job->is_induction, &rc, err);
    for (int v = 0; v < OTIMES_FORM_VALUES; v++) {
        job->value[v] = otimes_pool_new(&job->pool, each, size, &rc, err);
    }
    job->score = otimes_pool_new(&job->pool, each, size, &rc, err);
    job->start = otimes_pool_new(&job->pool, job->nodes, sizeof *job->start, &rc, err);
    for (int r = 0; r < QK_ROLES; r++) {
        job->role[r] = otimes_pool_new(&job->pool, pairs, size, &rc, err);
    }
    job->re = otimes_pool_new(&job->pool, values, size, &rc, err);
    job->im = otimes_pool_new(&job->pool, values, size, &rc, err);
    job->entry_value = otimes_pool_new(&job->pool, entries, sizeof(float), &rc, err);
    job->entry_destination = otimes_pool_new(&job->pool, entries, sizeof(int32_t), &rc, err);
    job->entry_source = otimes_pool_new(&job->pool, entries, sizeof(int32_t), &rc, err);
    return rc;
}

static int begin(qk_job *job, otimes_err *err)
{
    choose(job);
    int rc = check_settings(job, err);
    job->layers =
        otimes_index_chosen(&job->pool, job->settings->layers, job->layer_count, &rc, err);
    job->heads = otimes_index_chosen(&job->pool, job->settings->heads, job->head_count, &rc, err);
    if (rc == OTIMES_OK) {
        rc = new_results(job, err);
    }
    int64_t pair = 0;
    for (int64_t j = 0; rc == OTIMES_OK && j < job->nodes; j++) {
        const int64_t earlier = j / job->head_count * job->head_count;
        job->start[j] = earlier > 0 ? pair : -1;
        for (int64_t i = 0; i < earlier; i++, pair++) {
            job->first[pair] = i;
            job->second[pair] = j;
        }
    }
    return rc;
}

static int tick(void *context, double share, otimes_err *err)
{
    return otimes_sink_progress(context, share, 4, err);
}

static int open_space(qk_job *job, otimes_err *err)
{
    return otimes_head_space_open(job->model, tick, job->sink, &job->space, err);
}

/* ---- the induction test ---- */

static void judge(qk_job *job, int64_t pair)
{
    const int64_t place = (pair * OTIMES_QK_FORMS + OTIMES_QK_K) * job->offset_count;
    const otimes_form_ask ask = {&job->space, &job->node[job->first[pair]],
                                 &job->node[job->second[pair]], job->offsets, job->offset_count};
    static const otimes_induction_least least = {OTIMES_QK_LEAST_PREVIOUS, OTIMES_QK_LEAST_COPYING,
                                                 OTIMES_QK_LEAST_RATIO, OTIMES_QK_LEAST_MATCH};
    otimes_induction found;
    otimes_induction_judge(&ask, &least, job->dimension, job->score + place,
                           job->value[OTIMES_FORM_FULL_COPYING] + place,
                           job->value[OTIMES_FORM_DIAGONAL_MEAN] + place,
                           job->value[OTIMES_FORM_ENTRY_MEAN] + place, &found);
    job->role[QK_PREVIOUS][pair] = found.previous;
    job->role[QK_K_COPYING][pair] = found.K_copying;
    job->role[QK_OV_COPYING][pair] = found.OV_copying;
    job->role[QK_K_RATIO][pair] = found.K_ratio;
    job->role[QK_MATCH][pair] = found.match;
    job->role[QK_INDUCTION][pair] = found.product;
    job->is_induction[pair] = found.is;
}

/* By falling score, equal ones as they come: a merge sort, whose order does not depend on more. */
static void sort_pairs(const double *score, int64_t *order, int64_t *scratch, int64_t count)
{
    if (count < 2) {
        return;
    }
    const int64_t half = count / 2;
    sort_pairs(score, order, scratch, half);
    sort_pairs(score, order + half, scratch, count - half);
    for (int64_t at = 0, a = 0, b = half; at < count; at++) {
        const bool left = b == count || (a < half && score[order[a]] >= score[order[b]]);
        scratch[at] = left ? order[a++] : order[b++];
    }
    for (int64_t at = 0; at < count; at++) {
        order[at] = scratch[at];
    }
}

static int rank_pairs(qk_job *job, otimes_err *err)
{
    int64_t *scratch;
    const int rc = OTIMES_NEW(&scratch, job->pairs, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t pair = 0; pair < job->pairs; pair++) {
        judge(job, pair);
        job->order[pair] = pair;
    }
    sort_pairs(job->role[QK_INDUCTION], job->order, scratch, job->pairs);
    otimes_free(scratch);
    return OTIMES_OK;
}

int otimes_qk(const otimes_model *model, const otimes_qk_settings *settings, otimes_sink *sink,
              otimes_err *err)
{
    otimes_qk_settings defaults;
    otimes_qk_settings_default(&defaults);
    qk_job job = {.model = model,
                  .info = otimes_model_describe(model),
                  .settings = settings ? settings : &defaults,
                  .sink = sink};
    int (*const steps[])(qk_job *, otimes_err *) = {
        open_space, otimes_qk_heads,   otimes_qk_pairs,
        rank_pairs, otimes_qk_entries, otimes_qk_write,
    };
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_attributes(model, sink, err);
    }
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof steps / sizeof steps[0]; i++) {
        rc = steps[i](&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_qk_heads_free(&job);
    otimes_head_space_close(&job.space);
    otimes_pool_free(&job.pool);
    return rc;
}
