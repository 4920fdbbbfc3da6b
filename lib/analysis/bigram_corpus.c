/* SPDX-License-Identifier: MIT
 *
 * The pass over the rows that occur in the corpus. A rank needs its entry before the others stream by, so
 * the entries of successors are computed when a sheet begins, each from its two vectors; they replace the
 * product's own, which are rounded otherwise, and every other entry is only counted between them.
 */
#include "analysis/bigram_corpus.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/par.h"
#include "base/sink.h"
#include "num/dot.h"

enum { PIECE = 64 }; /* columns that a worker reads, and values that it places, at once */

/* Buckets of a row: so many for each successor that most hold no level, no more than stay in cache. */
enum { BUCKETS = 4, MOST_BUCKETS = 1 << 13 };

/* ---- what is asked ---- */

static int check(const bigram_job *job, otimes_err *err)
{
    const otimes_bigram_settings *s = job->settings;
    const int64_t largest = otimes_bigram_counts_largest(s->corpus);
    if (s->columns) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "corpus: expected every output token, got %lld chosen columns",
                           (long long)s->column_count);
    }
    if (job->info->d_vocab != job->info->d_vocab_out) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: corpus: expected one vocabulary, got %lld input and %lld output "
                           "tokens",
                           job->info->path, (long long)job->info->d_vocab,
                           (long long)job->info->d_vocab_out);
    }
    if (largest >= job->info->d_vocab) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "corpus: expected ids below %lld, the model's vocabulary, got %lld",
                           (long long)job->info->d_vocab, (long long)largest);
    }
    return OTIMES_OK;
}

static int new_results(bigram_corpus *c, otimes_err *err)
{
    const int64_t rows = c->job->row_count;
    bigram_corpus_results *r = &c->results;
    double **const measures[] = {&r->entropy, &r->cross_entropy, &r->kl, &r->rank_correlation,
                                 &r->log_correlation};
    int rc = OTIMES_OK;
    r->count = otimes_pool_new(&c->pool, rows, sizeof *r->count, &rc, err);
    r->top_id = otimes_pool_new(&c->pool, rows, sizeof *r->top_id, &rc, err);
    r->top_same = otimes_pool_new(&c->pool, rows, sizeof *r->top_same, &rc, err);
    for (int m = 0; m < 5; m++) {
        *measures[m] = otimes_pool_new(&c->pool, rows, sizeof(double), &rc, err);
        for (int64_t i = 0; rc == OTIMES_OK && i < rows; i++) {
            (*measures[m])[i] = NAN;
            r->top_id[i] = -1;
        }
    }
    return rc;
}

/* Rows of the table here are those of the request that occur. */
static int read_rows(const void *context, const int64_t *ids, int64_t first, int64_t count,
                     float *out, otimes_err *err)
{
    const bigram_corpus *c = context;
    const otimes_table_side *side = &c->job->table.row;
    int rc = OTIMES_OK;
    if (!ids) {
        return side->read(side->context, c->rows.place + first, 0, count, out, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) { /* unreached: rows come in order */
        rc = side->read(side->context, &c->rows.place[ids[i]], 0, 1, out + i * c->table.rank, err);
    }
    return rc;
}

int otimes_bigram_corpus_open(bigram_corpus *corpus, bigram_job *job, otimes_err *err)
{
    const otimes_bigram_settings *s = job->settings;
    *corpus = (bigram_corpus){.job = job};
    if (!s->corpus) {
        return OTIMES_OK;
    }
    int rc = check(job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_bigram_counts_rows(s->corpus, s->rows, job->row_count, job->table.threads,
                                       &corpus->pool, &corpus->rows, err);
    }
    if (rc == OTIMES_OK) {
        rc = new_results(corpus, err);
    }
    job->corpus_rows = corpus->rows.count;
    corpus->table = job->table;
    corpus->table.row = (otimes_table_side){corpus->rows.count, read_rows, corpus};
    return rc;
}

void otimes_bigram_corpus_free(bigram_corpus *corpus)
{
    otimes_pool_free(&corpus->pool);
}

/* ---- buffers ---- */

/* Lists of the sheet with most successors; rows take their parts of them as sheets begin. */
static int new_buffers(bigram_corpus *c, otimes_err *err)
{
    const int64_t rows = otimes_table_sheet_rows(&c->table), *first = c->rows.first;
    const int64_t workers = otimes_par_workers(rows, c->table.threads);
    int64_t most = 0;
    int rc = OTIMES_OK;
    for (int64_t r = 0; r < c->rows.count; r += rows) {
        const int64_t end = c->rows.count - r < rows ? c->rows.count : r + rows;
        most = first[end] - first[r] > most ? first[end] - first[r] : most;
    }
    c->sheet = otimes_pool_new(&c->pool, rows, sizeof *c->sheet, &rc, err);
    c->value = otimes_pool_new(&c->pool, most, sizeof *c->value, &rc, err);
    c->level = otimes_pool_new(&c->pool, most, sizeof *c->level, &rc, err);
    c->start = otimes_pool_new(&c->pool, BUCKETS * most + rows, sizeof *c->start, &rc, err);
    c->seen = otimes_pool_new(&c->pool, 2 * most + rows, sizeof *c->seen, &rc, err);
    c->sorted = otimes_pool_new(&c->pool, most, sizeof *c->sorted, &rc, err);
    c->vectors =
        otimes_pool_new(&c->pool, workers * PIECE * c->table.rank, sizeof *c->vectors, &rc, err);
    c->ids = otimes_pool_new(&c->pool, workers * PIECE, sizeof *c->ids, &rc, err);
    return rc;
}

/* ---- the beginning of a sheet ---- */

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Buckets of values: rising, whatever is rounded or overflows. */
static void find_buckets(const bigram_corpus_row *row, const float *values, int64_t count,
                         int32_t *bucket)
{
    const float low = row->level[0], scale = row->scale, last = (float)(row->buckets - 1);
    for (int64_t i = 0; i < count; i++) {
        float at = (values[i] - low) * scale;
        at = at > 0 ? at : 0; /* of NaN too */
        at = at < last ? at : last;
        bucket[i] = (int32_t)at;
    }
}

static void find_levels(bigram_corpus_row *row)
{
    int32_t bucket[PIECE], next = 0;
    memcpy(row->level, row->value, (size_t)row->count * sizeof *row->level);
    qsort(row->level, (size_t)row->count, sizeof *row->level, ascending);
    row->levels = 1;
    for (int64_t i = 1; i < row->count; i++) {
        if (row->level[i] != row->level[row->levels - 1]) {
            row->level[row->levels++] = row->level[i];
        }
    }
    memset(row->seen, 0, (size_t)(2 * row->levels + 1) * sizeof *row->seen);
    row->buckets =
        (int32_t)(row->levels < MOST_BUCKETS / BUCKETS ? BUCKETS * row->levels : MOST_BUCKETS);
    row->scale = (float)row->buckets / (row->level[row->levels - 1] - row->level[0]);
    for (int64_t i = 0; i < row->levels; i += PIECE) {
        const int64_t count = row->levels - i < PIECE ? row->levels - i : PIECE;
        find_buckets(row, row->level + i, count, bucket);
        for (int64_t k = 0; k < count; k++) {
            for (; next <= bucket[k]; next++) {
                row->start[next] = (int32_t)(i + k);
            }
        }
    }
    for (; next <= row->buckets; next++) {
        row->start[next] = (int32_t)row->levels;
    }
}

typedef struct sheet_call {
    bigram_corpus *corpus;
    const otimes_table_sheet *sheet;
} sheet_call;

static int begin_row(void *context, int64_t i, int worker, otimes_err *err)
{
    const sheet_call *begin = context;
    const bigram_corpus *c = begin->corpus;
    const otimes_table_side *side = &c->table.column;
    const int64_t rank = c->table.rank, base = c->rows.first[begin->sheet->first_row];
    const int64_t at = begin->sheet->first_row + i, first = c->rows.first[at];
    float *vectors = c->vectors + worker * PIECE * rank;
    int64_t *ids = c->ids + worker * PIECE;
    bigram_corpus_row *row = &c->sheet[i];
    int rc = OTIMES_OK;
    *row = (bigram_corpus_row){.successor = c->rows.successor + first,
                               .count = c->rows.first[at + 1] - first,
                               .total = c->rows.total[at],
                               .value = c->value + (first - base),
                               .level = c->level + (first - base),
                               .start = c->start + BUCKETS * (first - base) + i,
                               .seen = c->seen + 2 * (first - base) + i,
                               .sorted = c->sorted + (first - base)};
    for (int64_t k = 0, count; rc == OTIMES_OK && k < row->count; k += count) {
        count = row->count - k < PIECE ? row->count - k : PIECE;
        for (int64_t j = 0; j < count; j++) {
            ids[j] = row->successor[k + j].token;
        }
        rc = side->read(side->context, ids, 0, count, vectors, err);
        for (int64_t j = 0; rc == OTIMES_OK && j < count; j++) {
            row->value[k + j] =
                (float)otimes_dot(begin->sheet->vectors + i * rank, vectors + j * rank, rank);
        }
    }
    otimes_bigram_cap(c->job, row->count, row->value);
    find_levels(row);
    return rc;
}

static int begin_sheet(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    sheet_call begin = {context, sheet};
    return otimes_par_for(sheet->rows, begin.corpus->table.threads, begin_row, &begin, err);
}

/* ---- its entries ---- */

/* Counts values at and between the levels. */
static void count_values(bigram_corpus_row *row, const float *values, int64_t count)
{
    int32_t bucket[PIECE];
    for (int64_t first = 0; first < count; first += PIECE) {
        const int64_t n = count - first < PIECE ? count - first : PIECE;
        find_buckets(row, values + first, n, bucket);
        for (int64_t i = 0; i < n; i++) {
            const float value = values[first + i];
            const int32_t end = row->start[bucket[i] + 1];
            int32_t at = row->start[bucket[i]];
            for (int32_t high = end; at < high;) { /* mostly empty; outliers may crowd one bucket */
                const int32_t middle = at + (high - at) / 2;
                if (row->level[middle] < value) {
                    at = middle + 1;
                } else {
                    high = middle;
                }
            }
            row->seen[2 * at + (at < end && row->level[at] == value)]++;
        }
    }
}

static void see_strip(void *context, const otimes_table_values *strip)
{
    const bigram_corpus *c = context;
    const int64_t sheet_rows = otimes_table_sheet_rows(&c->table),
                  end = strip->first_column + strip->columns;
    for (int64_t i = 0; i < strip->rows; i++) {
        bigram_corpus_row *row = &c->sheet[(strip->first_row + i) % sheet_rows];
        float *values = strip->values + i * strip->columns;
        otimes_bigram_cap(c->job, strip->columns, values);
        for (; row->next < row->count && row->successor[row->next].token < end; row->next++) {
            values[row->successor[row->next].token - strip->first_column] = row->value[row->next];
        }
        otimes_row_stats_add(&row->stats, values, strip->columns);
        count_values(row, values, strip->columns);
    }
}

/* ---- and its end ---- */

static int end_row(void *context, int64_t i, int worker, otimes_err *err)
{
    const sheet_call *end = context;
    const bigram_corpus *c = end->corpus;
    (void)worker;
    (void)err;
    c->sheet[i].largest = end->sheet->top_column[i];
    otimes_bigram_corpus_measure(&c->sheet[i], c->table.column.count, &c->results,
                                 c->rows.place[end->sheet->first_row + i]);
    return OTIMES_OK;
}

static int end_sheet(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    sheet_call end = {context, sheet};
    return otimes_par_for(sheet->rows, end.corpus->table.threads, end_row, &end, err);
}

static int tick(void *context, double share, otimes_err *err)
{
    const bigram_corpus *c = context;
    const double before = (double)c->job->row_count, own = (double)c->rows.count;
    return otimes_sink_progress(c->job->writer.sink, before + share * own, before + own, err);
}

int otimes_bigram_corpus_run(bigram_corpus *corpus, otimes_err *err)
{
    const otimes_table_consumer every = {.strip = see_strip};
    const otimes_table_ask ask = {.top = 1,
                                  .every = &every,
                                  .begin = begin_sheet,
                                  .finish = end_sheet,
                                  .tick = tick,
                                  .context = corpus};
    if (!corpus->job->settings->corpus) {
        return OTIMES_OK;
    }
    int rc = new_buffers(corpus, err);
    if (rc == OTIMES_OK) {
        rc = otimes_table_run(&corpus->table, &ask, err);
    }
    return rc == OTIMES_OK ? otimes_bigram_corpus_write(corpus, err) : rc;
}
