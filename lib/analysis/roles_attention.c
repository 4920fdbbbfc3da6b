/* SPDX-License-Identifier: MIT
 *
 * Where heads attend. Patterns come strip by strip from several threads; each query's scores go to
 * slots of its own and are added up in the order of the queries once all of a chunk are there, so
 * neither strips nor threads are seen in the bits.
 */
#include <math.h>

#include "analysis/roles_job.h"
#include "base/sink.h"
#include "run/pattern_row.h"

enum { ROWS_AT_ONCE = 2048, ENOUGH = 1 };

typedef struct attend {
    roles_job *job;
    int run;               /* ROLES_TEXTS or ROLES_REPEATED */
    int64_t first, period; /* of repeated sequences: where the first copy begins, its length */
    otimes_sequences batch;
    int64_t *start;  /* [sequence] row */
    int64_t *before; /* [row], see run/pattern_row.h */
    int64_t *seen;   /* [d_vocab] scratch of it */
    double *slot;    /* [row, head, score] of the layer at hand */
    int64_t rows;
    double even[ROLES_BY_ATTENTION], queries[ROLES_BY_ATTENTION]; /* of the run, so far */
    double done, total;                                           /* tokens */
} attend;

static void score_row(const attend *w, const otimes_pattern_row *row, double *slot)
{
    const int64_t q = row->query;
    slot[ROLES_AT_PREVIOUS] = q >= 1 ? otimes_pattern_at(row, q - 1) : OTIMES_PATTERN_ABSENT;
    slot[ROLES_AT_CURRENT] = otimes_pattern_at(row, q);
    slot[ROLES_AT_FIRST] = q >= 1 ? otimes_pattern_at(row, 0) : OTIMES_PATTERN_ABSENT;
    if (w->run == ROLES_TEXTS) {
        slot[ROLES_AT_DUPLICATE] = otimes_pattern_earlier_same(row, 0);
        slot[ROLES_AT_INDUCTION] = otimes_pattern_earlier_same(row, 1);
        return;
    }
    const bool second = q >= w->first + w->period;
    slot[ROLES_AT_DUPLICATE] =
        second ? otimes_pattern_at(row, q - w->period) : OTIMES_PATTERN_ABSENT;
    slot[ROLES_AT_INDUCTION] =
        second ? otimes_pattern_at(row, q - w->period + 1) : OTIMES_PATTERN_ABSENT;
}

static void score_strip(const attend *w, const otimes_activation *strip)
{
    const roles_job *job = w->job;
    const int64_t head = job->head_slot[strip->head], start = w->start[strip->sequence];
    for (int64_t i = 0; i < strip->rows; i++) {
        const otimes_pattern_row row = {.weight = strip->data + i * strip->stride,
                                        .columns = strip->columns,
                                        .query = strip->first + i,
                                        .before = w->before + start};
        score_row(w, &row,
                  w->slot + ((start + row.query) * job->head_count + head) * ROLES_BY_ATTENTION);
    }
}

/* z of a chunk stands behind all of its patterns. */
static int finish_chunk(attend *w, const otimes_activation *z, otimes_err *err)
{
    roles_job *job = w->job;
    const int64_t layer = job->layer_slot[z->layer], heads = job->head_count;
    for (int64_t row = z->first; layer >= 0 && row < z->first + z->rows; row++) {
        for (int64_t h = 0; h < heads; h++) {
            const double *slot = w->slot + (row * heads + h) * ROLES_BY_ATTENTION;
            for (int a = 0; a < ROLES_BY_ATTENTION; a++) {
                if (slot[a] != OTIMES_PATTERN_ABSENT) {
                    job->attention[w->run][a][layer * heads + h] += slot[a];
                    job->attended[w->run][a][layer * heads + h]++;
                }
            }
        }
    }
    w->done += (double)z->rows / (double)(job->last + 1);
    const int rc = otimes_sink_progress(job->sink, 2 + w->done / w->total, 3, err);
    const bool last = z->layer == job->last && z->first + z->rows == w->rows;
    return rc == OTIMES_OK && last ? ENOUGH : rc;
}

static int visit(void *context, const otimes_activation *activation, otimes_err *err)
{
    attend *w = context;
    const roles_job *job = w->job;
    if (activation->hook == OTIMES_HOOK_Z) {
        return finish_chunk(w, activation, err);
    }
    if (job->layer_slot[activation->layer] >= 0 && job->head_slot[activation->head] >= 0) {
        score_strip(w, activation);
    }
    return OTIMES_OK;
}

/* What even attention gives: every query's keys alike, windows left aside. */
static int add_even(attend *w, otimes_err *err)
{
    const roles_job *job = w->job;
    double slot[ROLES_BY_ATTENTION];
    float *weight;
    int64_t longest = 0;
    for (int64_t s = 0; s < w->batch.count; s++) {
        longest = w->batch.length[s] > longest ? w->batch.length[s] : longest;
    }
    const int rc = OTIMES_NEW(&weight, longest, err);
    for (int64_t s = 0; rc == OTIMES_OK && s < w->batch.count; s++) {
        const int64_t n = w->batch.length[s];
        for (int64_t q = 0; q < n; q++) {
            const int64_t seen = job->info->bidirectional ? n : q + 1;
            for (int64_t k = 0; k < seen; k++) {
                weight[k] = 1 / (float)seen;
            }
            score_row(w, &(otimes_pattern_row){weight, seen, q, w->before + w->start[s]}, slot);
            for (int a = 0; a < ROLES_BY_ATTENTION; a++) {
                w->even[a] += slot[a] != OTIMES_PATTERN_ABSENT ? slot[a] : 0;
                w->queries[a] += slot[a] != OTIMES_PATTERN_ABSENT;
            }
        }
    }
    otimes_free(weight);
    return rc;
}

static int run_batch(attend *w, otimes_err *err)
{
    const otimes_hooks hooks = {OTIMES_HOOK_BIT(PATTERN) | OTIMES_HOOK_BIT(Z), visit, w};
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    w->rows = 0;
    for (int64_t s = 0; s < w->batch.count; s++) {
        w->rows += w->batch.length[s];
    }
    w->start = otimes_pool_new(&pool, w->batch.count, sizeof *w->start, &rc, err);
    w->before = otimes_pool_new(&pool, w->rows, sizeof *w->before, &rc, err);
    w->slot = otimes_pool_new(&pool, w->rows * w->job->head_count * ROLES_BY_ATTENTION,
                              sizeof *w->slot, &rc, err);
    for (int64_t s = 0, row = 0; rc == OTIMES_OK && s < w->batch.count; s++) {
        w->start[s] = row;
        otimes_pattern_link(w->batch.id[s], w->batch.length[s], w->seen, w->before + row);
        row += w->batch.length[s];
    }
    rc = rc == OTIMES_OK ? add_even(w, err) : rc;
    if (rc == OTIMES_OK) {
        rc = otimes_forward_run(w->job->forward, &w->batch, &hooks, err);
    }
    otimes_pool_free(&pool);
    return rc == ENOUGH ? OTIMES_OK : rc;
}

static int64_t rows_at_once(const roles_job *job)
{
    const int64_t asked = job->settings->forward.chunk_rows;
    return asked > 0 ? asked : ROWS_AT_ONCE;
}

static int run_texts(attend *w, otimes_err *err)
{
    const otimes_texts *texts = &w->job->texts;
    int rc = OTIMES_OK;
    w->run = ROLES_TEXTS;
    for (int64_t first = 0; rc == OTIMES_OK && first < texts->sequences->count;
         first += w->batch.count) {
        const int64_t count = otimes_texts_batch(texts, first, rows_at_once(w->job));
        w->batch = otimes_texts_slice(texts, first, count);
        rc = run_batch(w, err);
    }
    return rc;
}

static int run_repeated(attend *w, otimes_err *err)
{
    const roles_job *job = w->job;
    const int64_t n = job->repeated_length, all = job->settings->repeated_count;
    const int64_t fit = rows_at_once(job) / n, at_once = fit < 1 ? 1 : fit < all ? fit : all;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    int64_t *length = otimes_pool_new(&pool, at_once, sizeof *length, &rc, err);
    const int64_t **id = otimes_pool_new(&pool, at_once, sizeof *id, &rc, err);
    w->run = ROLES_REPEATED;
    w->first = job->settings->bos >= 0;
    w->period = n / 2;
    for (int64_t first = 0; rc == OTIMES_OK && first < all; first += at_once) {
        const int64_t count = all - first < at_once ? all - first : at_once;
        for (int64_t s = 0; s < count; s++) {
            length[s] = n;
            id[s] = job->repeated_ids + (first + s) * n;
        }
        w->batch = (otimes_sequences){count, length, id};
        rc = run_batch(w, err);
    }
    otimes_pool_free(&pool);
    return rc;
}

static double tokens_of(const roles_job *job)
{
    double tokens = 0;
    for (int64_t s = 0; job->ran[ROLES_TEXTS] && s < job->settings->sequences.count; s++) {
        tokens += (double)job->settings->sequences.length[s];
    }
    return tokens + (job->ran[ROLES_REPEATED]
                         ? (double)job->settings->repeated_count * (double)job->repeated_length
                         : 0);
}

static void finish_run(attend *w)
{
    roles_job *job = w->job;
    for (int a = 0; a < ROLES_BY_ATTENTION; a++) {
        job->even[w->run][a] = w->queries[a] > 0 ? w->even[a] / w->queries[a] : 0;
        w->even[a] = w->queries[a] = 0;
        for (int64_t i = 0; i < job->nodes; i++) {
            const double queries = job->attended[w->run][a][i];
            job->attention[w->run][a][i] =
                queries > 0 ? job->attention[w->run][a][i] / queries : (double)NAN;
        }
    }
}

int otimes_roles_attention(roles_job *job, otimes_err *err)
{
    attend w = {.job = job, .total = tokens_of(job)};
    int rc = OTIMES_NEW(&w.seen, job->info->d_vocab, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->info->d_vocab; i++) {
        w.seen[i] = -1;
    }
    if (rc == OTIMES_OK && job->ran[ROLES_REPEATED]) {
        rc = run_repeated(&w, err);
        finish_run(&w);
    }
    if (rc == OTIMES_OK && job->ran[ROLES_TEXTS]) {
        rc = run_texts(&w, err);
        finish_run(&w);
    }
    otimes_free(w.seen);
    return rc;
}
