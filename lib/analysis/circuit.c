/* SPDX-License-Identifier: MIT */
#include <otimes/circuit.h>

#include <math.h>

#include "analysis/circuit_job.h"
#include "base/index.h"
#include "base/sink.h"
#include "run/rope.h"

void otimes_circuit_settings_default(otimes_circuit_settings *settings)
{
    *settings = (otimes_circuit_settings){.top = 10, .bottom = 10, .sides = OTIMES_CIRCUIT_ROWS};
}

/* ---- the request ---- */

static int check_head(const otimes_model_info *info, const char *what, const otimes_circuit_head *h,
                      otimes_err *err)
{
    return h->layer >= 0 && h->layer < info->n_layers && h->head >= 0 && h->head < info->n_heads
               ? OTIMES_OK
               : otimes_fail(err, OTIMES_ERR_ARGUMENT,
                             "%s: expected 0.0 to %lld.%lld, got %lld.%lld", what,
                             (long long)info->n_layers - 1, (long long)info->n_heads - 1,
                             (long long)h->layer, (long long)h->head);
}

static int check_heads(const circuit_job *job, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    const bool composed = s->which == OTIMES_CIRCUIT_K_COMPOSED;
    int rc = composed ? check_head(job->info, "earlier head", &s->earlier, err) : OTIMES_OK;
    if (rc == OTIMES_OK && s->heads && s->head_count < 1) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "heads: expected at least one, got none");
    }
    for (int64_t i = 0; rc == OTIMES_OK && s->heads && i < s->head_count; i++) {
        rc = check_head(job->info, "heads", &s->heads[i], err);
        if (rc == OTIMES_OK && composed && s->heads[i].layer <= s->earlier.layer) {
            rc = otimes_fail(err, OTIMES_ERR_ARGUMENT,
                             "heads: expected layers after %lld, that of the earlier head, got "
                             "%lld.%lld",
                             (long long)s->earlier.layer, (long long)s->heads[i].layer,
                             (long long)s->heads[i].head);
        }
    }
    if (rc == OTIMES_OK && composed && !s->heads && s->earlier.layer == job->info->n_layers - 1) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT,
                         "earlier head: expected a layer before the last, got %lld.%lld",
                         (long long)s->earlier.layer, (long long)s->earlier.head);
    }
    return rc;
}

static int check_tokens(const char *what, const int64_t *ids, int64_t count, int64_t limit,
                        otimes_err *err)
{
    return ids && count < 1
               ? otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: expected at least one, got none", what)
               : otimes_index_check(what, ids, count, limit, err);
}

static int check_offset(const circuit_job *job, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    if (s->offset == 0) {
        return OTIMES_OK;
    }
    if (s->which == OTIMES_CIRCUIT_OV) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "offset: expected a circuit of QK, which positions turn, got OV");
    }
    if (job->info->positions != OTIMES_POSITIONS_ROPE) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: offset: expected rotary positions, got %s", job->info->path,
                           otimes_positions_name(job->info->positions));
    }
    if (s->offset < 0 && !job->info->bidirectional) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "offset: expected query - key of at least 0, got %lld: no head sees "
                           "what comes after",
                           (long long)s->offset);
    }
    return OTIMES_OK;
}

static int check_numbers(const circuit_job *job, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    if (s->top < 0 || s->bottom < 0 || s->largest < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "top, bottom, largest: expected at least 0, got %lld, %lld, %lld",
                           (long long)s->top, (long long)s->bottom, (long long)s->largest);
    }
    if (!(s->sides & (OTIMES_CIRCUIT_ROWS | OTIMES_CIRCUIT_COLUMNS))) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "sides: expected rows, columns or both");
    }
    if (!isfinite(s->threshold)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "threshold: expected a number, got %g",
                           s->threshold);
    }
    if (s->bins < 0 || s->bins > OTIMES_CIRCUIT_BINS_MAX) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "histogram: expected 0 to %d bins, got %lld",
                           OTIMES_CIRCUIT_BINS_MAX, (long long)s->bins);
    }
    return s->bins > 0 && !(isfinite(s->low) && isfinite(s->high) && s->low < s->high)
               ? otimes_fail(err, OTIMES_ERR_ARGUMENT,
                             "histogram: expected the low end below the high one, got %g and %g",
                             s->low, s->high)
               : OTIMES_OK;
}

static int check_settings(const circuit_job *job, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    int rc = check_heads(job, err);
    if (rc == OTIMES_OK) {
        rc = check_tokens("rows", s->rows, s->row_count, info->d_vocab, err);
    }
    if (rc == OTIMES_OK) {
        rc = check_tokens("columns", s->columns, s->column_count,
                          job->to_output ? info->d_vocab_out : info->d_vocab, err);
    }
    if (rc == OTIMES_OK) {
        rc = check_numbers(job, err);
    }
    return rc == OTIMES_OK ? check_offset(job, err) : rc;
}

/* Every head, of a composed circuit every one that comes later, layer by layer. */
static int choose_heads(circuit_job *job, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    const int64_t first = s->which == OTIMES_CIRCUIT_K_COMPOSED ? s->earlier.layer + 1 : 0;
    int rc = OTIMES_OK;
    job->heads = s->heads;
    job->head_count = s->head_count;
    if (!job->heads) {
        job->head_count = (info->n_layers - first) * info->n_heads;
        otimes_circuit_head *all =
            otimes_pool_new(&job->pool, job->head_count, sizeof *all, &rc, err);
        for (int64_t i = 0; rc == OTIMES_OK && i < job->head_count; i++) {
            all[i] = (otimes_circuit_head){first + i / info->n_heads, i % info->n_heads};
        }
        job->heads = all;
    }
    return rc;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int begin(circuit_job *job, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    job->to_output = s->which == OTIMES_CIRCUIT_OV;
    int rc = check_settings(job, err);
    if (rc == OTIMES_OK) {
        rc = choose_heads(job, err);
    }
    job->rank = least(info->d_head, info->d_model);
    job->row_count = s->rows ? s->row_count : info->d_vocab;
    job->column_count = s->columns       ? s->column_count
                        : job->to_output ? info->d_vocab_out
                                         : info->d_vocab;
    const int64_t longest = job->row_count > job->column_count ? job->row_count : job->column_count;
    const bool kept = s->top > 0 || s->bottom > 0;
    job->top = least(s->top, longest);
    job->bottom = least(s->bottom, longest);
    job->listed[CIRCUIT_ROWS] = kept && s->sides & OTIMES_CIRCUIT_ROWS;
    job->listed[CIRCUIT_COLUMNS] = kept && s->sides & OTIMES_CIRCUIT_COLUMNS;
    job->wanted[CIRCUIT_COLUMNS] = job->listed[CIRCUIT_COLUMNS];
    job->wanted[CIRCUIT_ROWS] = job->listed[CIRCUIT_ROWS] || s->threshold != 0 || s->statistics ||
                                s->bins > 0 || s->full != OTIMES_CIRCUIT_FULL_NONE;
    job->walked = job->wanted[CIRCUIT_ROWS] || job->wanted[CIRCUIT_COLUMNS];
    const int passes =
        job->wanted[CIRCUIT_ROWS] + job->wanted[CIRCUIT_COLUMNS] + (s->largest > 0 ? 2 : 0);
    job->total = (double)job->head_count * (double)job->row_count * (double)job->column_count *
                 (double)passes;
    return rc == OTIMES_OK && job->to_output ? otimes_unembed_open(job->model, &job->unembed, err)
                                             : rc;
}

/* ---- groups of heads ---- */

/* Whether an interrupted run left nothing to do for a head. */
static bool is_done(const circuit_job *job, int64_t at)
{
    const otimes_circuit_settings *s = job->settings;
    return s->threshold == 0 && otimes_circuit_has(job, at, CIRCUIT_ROWS, 0, job->row_count) &&
           otimes_circuit_has(job, at, CIRCUIT_COLUMNS, 0, job->column_count) &&
           otimes_circuit_has_histogram(job, at) && otimes_circuit_has_strongest(job, at, false) &&
           otimes_circuit_has_strongest(job, at, true);
}

static int run_group(circuit_job *job, circuit_sides *sides, int64_t first, otimes_err *err)
{
    const int64_t left = job->head_count - first, count = least(left, sides->capacity);
    const double each = job->total / (double)job->head_count;
    int64_t done = 0;
    job->done = each * (double)first;
    while (done < count && is_done(job, first + done)) {
        done++;
    }
    int rc = done < count ? otimes_circuit_sides_make(sides, first, count, err) : OTIMES_OK;
    for (int64_t i = done; rc == OTIMES_OK && i < count; i++) {
        job->done = each * (double)(first + i);
        rc = otimes_circuit_tables(job, sides, i, first + i, err);
    }
    return rc == OTIMES_OK
               ? otimes_sink_progress(job->sink, each * (double)(first + count), job->total, err)
               : rc;
}

int otimes_circuit(const otimes_model *model, const otimes_circuit_settings *settings,
                   otimes_sink *sink, otimes_err *err)
{
    otimes_circuit_settings defaults;
    otimes_circuit_settings_default(&defaults);
    circuit_job job = {.model = model,
                       .info = otimes_model_describe(model),
                       .settings = settings ? settings : &defaults,
                       .sink = sink};
    circuit_sides sides = {0};
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_attributes(model, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_circuit_writer_new(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_circuit_sides_open(&job, &sides, err);
    }
    for (int64_t first = 0; rc == OTIMES_OK && first < job.head_count; first += sides.capacity) {
        rc = run_group(&job, &sides, first, err);
    }
    if (rc == OTIMES_OK && job.settings->threshold != 0) {
        rc = otimes_circuit_put_entries(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_circuit_sides_close(&sides);
    otimes_circuit_writer_free(&job.writer);
    otimes_free(job.entry);
    otimes_unembed_free(&job.unembed);
    otimes_pool_free(&job.pool);
    return rc;
}
