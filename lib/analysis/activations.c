/* SPDX-License-Identifier: MIT */
#include <otimes/activations.h>

#include <math.h>
#include <string.h>

#include "analysis/activations_job.h"
#include "base/sink.h"
#include "run/forward.h"

void otimes_activations_settings_default(otimes_activations_settings *settings)
{
    *settings = (otimes_activations_settings){0};
    otimes_forward_settings_default(&settings->forward);
}

/* ---- rows, written as the pass comes to them ---- */

/* Row i of the batch belongs to which of its sequences. */
static int64_t sequence_of(const activations_job *job, int64_t row)
{
    int64_t low = 0, high = job->batch.count - 1;
    while (low < high) {
        const int64_t middle = low + (high - low + 1) / 2;
        if (job->start[middle] <= row) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

static int64_t row_of(const otimes_activation *a, int64_t i)
{
    return a->row_of ? a->row_of[i] : a->first + i;
}

/* Rows as a sink takes them, without gaps. */
static int pack(activations_job *job, const otimes_activation *a, int64_t first, int64_t rows,
                const float **data, otimes_err *err)
{
    const int64_t need = rows * a->columns;
    *data = a->data + first * a->stride;
    if (rows == 1 || a->stride == a->columns) {
        return OTIMES_OK;
    }
    if (need > job->packed_capacity) {
        otimes_free(job->packed);
        job->packed_capacity = 0;
        const int rc = OTIMES_NEW(&job->packed, need, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
        job->packed_capacity = need;
    }
    for (int64_t i = 0; i < rows; i++) {
        memcpy(job->packed + i * a->columns, a->data + (first + i) * a->stride,
               (size_t)a->columns * sizeof *job->packed);
    }
    *data = job->packed;
    return OTIMES_OK;
}

/* Rows first .. first+count-1 of what the visitor sees, which follow each other in one text. */
static int write_run(activations_job *job, const activations_point *point,
                     const otimes_activation *a, int64_t first, int64_t count, otimes_err *err)
{
    const int64_t row = row_of(a, first), s = sequence_of(job, row);
    const int64_t one = a->head >= 0 ? a->head : a->expert; /* on the third axis; -1: all of it */
    int64_t start[OTIMES_MAX_DIMS] = {job->first_text + s, row - job->start[s], one >= 0 ? one : 0};
    int64_t extent[OTIMES_MAX_DIMS] = {1, count};
    const float *data;
    for (int i = 2; i < point->array.ndim; i++) {
        extent[i] = i == 2 && one >= 0 ? 1 : point->array.axis[i]->length;
    }
    const int rc = pack(job, a, first, count, &data, err);
    return rc == OTIMES_OK ? job->sink->ops->write(job->sink, point->id, start, extent, data, err)
                           : rc;
}

static int write_rows(activations_job *job, const activations_point *point,
                      const otimes_activation *a, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t first = 0, end; rc == OTIMES_OK && first < a->rows; first = end) {
        const int64_t s = sequence_of(job, row_of(a, first));
        const int64_t behind = job->start[s] + job->batch.length[s];
        end = first + 1;
        while (end < a->rows && row_of(a, end) == row_of(a, end - 1) + 1 &&
               row_of(a, end) < behind) {
            end++;
        }
        rc = write_run(job, point, a, first, end - first, err);
    }
    return rc;
}

/* ---- scores and patterns, held until the calling thread comes by ---- */

static void hold(activations_job *job, const otimes_activation *a)
{
    const int64_t n = job->batch.length[a->sequence];
    const bool scores = a->hook == OTIMES_HOOK_SCORES;
    float *to = (scores ? job->scores : job->pattern) + job->held[a->sequence] +
                (a->head * n + a->first) * n;
    for (int64_t i = 0; i < a->rows; i++, to += n) {
        memcpy(to, a->data + i * a->stride, (size_t)a->columns * sizeof *to);
        for (int64_t k = a->columns; k < n; k++) {
            to[k] = scores ? -INFINITY : 0;
        }
    }
}

static int write_held(const activations_job *job, const activations_point *point, int64_t s,
                      const float *values, otimes_err *err)
{
    const int64_t n = job->batch.length[s];
    const int64_t start[OTIMES_MAX_DIMS] = {job->first_text + s};
    const int64_t extent[OTIMES_MAX_DIMS] = {1, job->info->n_heads, n, n};
    return point ? job->sink->ops->write(job->sink, point->id, start, extent, values + job->held[s],
                                         err)
                 : OTIMES_OK;
}

/* z of whole sequences has come: so have their scores and patterns. */
static int release(const activations_job *job, const otimes_activation *z, otimes_err *err)
{
    const activations_point *scores = otimes_activations_point(job, OTIMES_HOOK_SCORES, z->layer);
    const activations_point *pattern = otimes_activations_point(job, OTIMES_HOOK_PATTERN, z->layer);
    const int64_t end = z->first + z->rows;
    int rc = OTIMES_OK;
    for (int64_t s = sequence_of(job, z->first);
         rc == OTIMES_OK && s < job->batch.count && job->start[s] < end; s++) {
        rc = write_held(job, scores, s, job->scores, err);
        if (rc == OTIMES_OK) {
            rc = write_held(job, pattern, s, job->pattern, err);
        }
    }
    return rc;
}

static int visit(void *context, const otimes_activation *a, otimes_err *err)
{
    activations_job *job = context;
    const activations_point *point = otimes_activations_point(job, a->hook, a->layer);
    int rc = OTIMES_OK;
    if (a->hook == OTIMES_HOOK_SCORES || a->hook == OTIMES_HOOK_PATTERN) {
        if (point) {
            hold(job, a);
        }
        return OTIMES_OK;
    }
    if (a->hook == OTIMES_HOOK_Z) {
        rc = release(job, a, err);
    }
    if (rc == OTIMES_OK && point) {
        rc = write_rows(job, point, a, err);
    }
    if (rc == OTIMES_OK && a->hook == OTIMES_HOOK_RESID_POST) {
        const double layers = (double)job->info->n_layers;
        const double part = (double)(a->layer * job->start[job->batch.count] + a->first + a->rows);
        rc = otimes_sink_progress(job->sink, (double)job->done_rows + part / layers,
                                  (double)job->total_rows, err);
    }
    return rc;
}

/* ---- batches ---- */

/* Numbers of scores or patterns that a batch of texts holds. */
static double held_of(const activations_job *job, int64_t first, int64_t count)
{
    double held = 0;
    for (int64_t t = first; t < first + count; t++) {
        const double n = (double)job->settings->sequences.length[t];
        held += n * n * (double)job->info->n_heads;
    }
    return held;
}

static int kinds_held(const activations_job *job)
{
    return ((job->chosen & OTIMES_HOOK_BIT(SCORES)) != 0) +
           ((job->chosen & OTIMES_HOOK_BIT(PATTERN)) != 0);
}

/* Refuses before it starts what would not fit in the middle. */
static int check_memory(const activations_job *job, otimes_err *err)
{
    const otimes_forward_settings *forward = &job->settings->forward;
    const otimes_sequences *all = &job->settings->sequences;
    int rc = OTIMES_OK;
    for (int64_t first = 0, count; rc == OTIMES_OK && first < all->count; first += count) {
        int64_t rows = 0, longest = 0;
        count = otimes_texts_batch(&job->texts, first, job->max_rows);
        for (int64_t t = first; t < first + count; t++) {
            rows += all->length[t];
            longest = all->length[t] > longest ? all->length[t] : longest;
        }
        const double own = 4.0 * kinds_held(job) * held_of(job, first, count);
        rc = otimes_forward_plan_check(job->model, forward, rows, longest,
                                       own < 0x1p62 ? (int64_t)own : INT64_MAX / 2, err);
    }
    return rc;
}

/* The last point of a pass is there only when all of a text is. */
static bool is_done(const activations_job *job, int64_t text)
{
    const activations_point *last = &job->points[job->count - 1];
    const bool square = last->array.axis[1] == &job->axis[AXIS_HEAD];
    const int64_t n = job->settings->sequences.length[text];
    const int64_t start[OTIMES_MAX_DIMS] = {text};
    int64_t count[OTIMES_MAX_DIMS] = {1};
    for (int i = 1; i < last->array.ndim; i++) {
        count[i] = (square ? i > 1 : i == 1) ? n : last->array.axis[i]->length;
    }
    return otimes_sink_has(job->sink, last->id, start, count);
}

/* A batch is left out where the sink has all of it; otherwise it runs as a whole, so that every row
 * is rounded as in a run that was not interrupted. */
static bool take_texts(activations_job *job, int64_t first, int64_t count)
{
    int64_t row = 0;
    bool done = true;
    job->first_text = first;
    job->batch = otimes_texts_slice(&job->texts, first, count);
    job->held_count = 0;
    for (int64_t s = 0; s < count; s++) {
        const int64_t n = job->batch.length[s];
        job->start[s] = row;
        job->held[s] = job->held_count;
        row += n;
        job->held_count += n * n * job->info->n_heads;
        done = done && is_done(job, first + s);
    }
    job->start[count] = row;
    return !done;
}

static int run_batch(activations_job *job, otimes_forward *forward, otimes_err *err)
{
    const uint64_t always =
        OTIMES_HOOK_BIT(RESID_POST) | (kinds_held(job) ? OTIMES_HOOK_BIT(Z) : 0);
    const otimes_hooks hooks = {job->chosen | always, visit, job};
    int rc = OTIMES_OK;
    if (job->chosen & OTIMES_HOOK_BIT(SCORES)) {
        rc = OTIMES_NEW(&job->scores, job->held_count, err);
    }
    if (rc == OTIMES_OK && (job->chosen & OTIMES_HOOK_BIT(PATTERN))) {
        rc = OTIMES_NEW(&job->pattern, job->held_count, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_forward_run(forward, &job->batch, &hooks, err);
    }
    otimes_free(job->scores);
    otimes_free(job->pattern);
    job->scores = job->pattern = NULL;
    return rc;
}

static int run_all(activations_job *job, otimes_err *err)
{
    const otimes_sequences *all = &job->settings->sequences;
    otimes_forward *forward = NULL;
    int rc = otimes_forward_open(&forward, job->model, &job->settings->forward, err);
    for (int64_t t = 0; t < all->count; t++) {
        job->total_rows += all->length[t];
    }
    for (int64_t first = 0, count; rc == OTIMES_OK && first < all->count; first += count) {
        count = otimes_texts_batch(&job->texts, first, job->max_rows);
        if (take_texts(job, first, count)) {
            rc = run_batch(job, forward, err);
        }
        for (int64_t t = first; t < first + count; t++) {
            job->done_rows += all->length[t];
        }
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(job->sink, (double)job->done_rows, (double)job->total_rows,
                                      err);
        }
    }
    otimes_forward_close(&forward);
    return rc;
}

static int begin(activations_job *job, otimes_err *err)
{
    const otimes_activations_settings *s = job->settings;
    const int64_t count = s->sequences.count;
    job->max_rows = s->forward.chunk_rows > 0 ? s->forward.chunk_rows : OTIMES_CHUNK_ROWS;
    int rc = otimes_activations_choose(job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_texts_init(&job->texts, job->model, &s->sequences, err);
    }
    job->start = otimes_pool_new(&job->pool, count + 1, sizeof *job->start, &rc, err);
    job->held = otimes_pool_new(&job->pool, count, sizeof *job->held, &rc, err);
    return rc == OTIMES_OK ? check_memory(job, err) : rc;
}

int otimes_activations(const otimes_model *model, const otimes_activations_settings *settings,
                       otimes_sink *sink, otimes_err *err)
{
    activations_job job = {
        .model = model, .info = otimes_model_describe(model), .settings = settings, .sink = sink};
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_activations_declare(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_all(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_free(job.packed);
    otimes_texts_free(&job.texts);
    otimes_pool_free(&job.pool);
    return rc;
}
