/* SPDX-License-Identifier: MIT
 *
 * The table by its screen: strips are searched (table_search.c), what they find is settled in double, each
 * column's vector read once a sheet, and rows that the search lost go by blocks.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/par.h"
#include "num/dot.h"
#include "run/table_job.h"
#include "run/table_search.h"

enum {
    CHUNK = 256, /* columns that a worker settles at a time */
    WAVE = 8     /* strips a worker between two ticks */
};

/* Smaller tables are done before their columns are narrow. */
enum { FEWEST_COLUMNS = 2048, FEWEST_ROWS = 192, LEAST_RANK = 16, COLUMNS_A_PLACE = 16 };

typedef struct state {
    otimes_table_job *job;
    otimes_table_columns columns;
    otimes_table_search search;
    otimes_table_strip **strip; /* [workers] */
    int64_t workers;
    float *vectors;            /* a worker's [CHUNK, rank] */
    bool *lost;                /* [sheet rows] */
    otimes_table_finds *finds; /* [strips] */
    int64_t strips;            /* of the largest sheet */
    bool learnt;               /* a first wave, a short one, is over */
    bool useless;              /* most rows of a sheet were lost */
    /* Of the sheet at hand. */
    otimes_table_found **found; /* all finds by column */
    int64_t *column_end;        /* [columns + 1] where those of each column end among them */
    int64_t *ids;               /* [id_count] columns with finds, ascending */
    int64_t id_count, wave_first;
    int64_t *entry_row;
    int32_t *entry_column;
    float *entry_value;
    otimes_pool pool;
} state;

int otimes_table_screen_pays(const otimes_table *table, const otimes_table_ask *ask)
{
    const int64_t places = ask->top + ask->bottom;
    return otimes_screen_choice(0)->fast && (places > 0 || ask->threshold != 0) &&
           table->rank >= LEAST_RANK && table->rank <= OTIMES_SCREEN_RANK &&
           table->column.count >= FEWEST_COLUMNS && table->row.count >= FEWEST_ROWS &&
           places <= table->column.count / COLUMNS_A_PLACE;
}

static void close_screen(void *memory)
{
    state *s = memory;
    if (!s) {
        return;
    }
    for (int64_t w = 0; s->strip && w < s->workers; w++) {
        otimes_table_strip_free(&s->strip[w]);
    }
    for (int64_t i = 0; s->finds && i < s->strips; i++) {
        otimes_free(s->finds[i].found);
    }
    otimes_free(s->found);
    otimes_free(s->entry_row);
    otimes_free(s->entry_column);
    otimes_free(s->entry_value);
    otimes_table_columns_free(&s->columns);
    otimes_pool_free(&s->pool);
    otimes_free(s);
}

static int64_t common_factor(int64_t a, int64_t b)
{
    while (b > 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Panels in an order that has nothing to do with that of their columns: steps of about the golden section
 * of their number, with which it has no common factor. */
static void order_visits(int64_t count, int64_t *visits)
{
    int64_t step = (int64_t)((double)count * 0.6180339887) + 1;
    while (common_factor(count, step) > 1) {
        step++;
    }
    for (int64_t i = 0, at = 0; i < count; i++) {
        visits[i] = at;
        at = (at + step) % count;
    }
}

static int new_state(state *s, otimes_err *err)
{
    const otimes_table *table = s->job->table;
    const int64_t rows = otimes_table_sheet_rows(table);
    otimes_pool *pool = &s->pool;
    int rc = OTIMES_OK;
    s->search.strip_rows = otimes_table_strip_rows(s->columns.steps);
    s->strips = (rows + s->search.strip_rows - 1) / s->search.strip_rows;
    s->workers = otimes_par_workers(s->strips, table->threads);
    const int64_t chunkers = otimes_par_workers(table->column.count, table->threads);
    int64_t *visits = otimes_pool_new(pool, s->columns.panel_count, sizeof *visits, &rc, err);
    s->strip = otimes_pool_new(pool, s->workers, sizeof *s->strip, &rc, err);
    s->vectors = otimes_pool_new(pool, chunkers * CHUNK * table->rank, sizeof(float), &rc, err);
    s->lost = otimes_pool_new(pool, rows, sizeof *s->lost, &rc, err);
    s->finds = otimes_pool_new(pool, s->strips, sizeof *s->finds, &rc, err);
    s->column_end = otimes_pool_new(pool, table->column.count + 1, sizeof(int64_t), &rc, err);
    s->ids = otimes_pool_new(pool, table->column.count, sizeof(int64_t), &rc, err);
    if (rc == OTIMES_OK) {
        order_visits(s->columns.panel_count, visits);
        s->search.visits = visits;
    }
    for (int64_t w = 0; rc == OTIMES_OK && w < s->workers; w++) {
        rc = otimes_table_strip_new(&s->strip[w], &s->search, err);
    }
    return rc;
}

static int open_screen(otimes_table_job *job, void **memory, otimes_err *err)
{
    state *s = NULL;
    int rc = OTIMES_NEW(&s, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    *memory = s;
    s->job = job;
    if (job->table->rank < 1 || job->table->rank > OTIMES_SCREEN_RANK) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "table: expected a rank of 1 to %d for the screen, got %lld",
                           OTIMES_SCREEN_RANK, (long long)job->table->rank);
    }
    rc = otimes_table_columns_make(job->table, &s->columns, err);
    s->search = (otimes_table_search){.columns = &s->columns,
                                      .screen = otimes_screen_choice(0),
                                      .top = job->top,
                                      .bottom = job->bottom,
                                      .threshold = job->ask->threshold};
    return rc == OTIMES_OK ? new_state(s, err) : rc;
}

/* ---- the search ---- */

static int search_strip(void *context, int64_t item, int worker, otimes_err *err)
{
    const state *s = context;
    const otimes_table_sheet *sheet = &s->job->sheet;
    const int64_t strip = s->wave_first + item, first = strip * s->search.strip_rows;
    const int64_t left = sheet->rows - first;
    return otimes_table_search_strip(&s->search, s->strip[worker], first,
                                     left < s->search.strip_rows ? left : s->search.strip_rows,
                                     sheet->vectors + first * s->columns.rank, &s->finds[strip],
                                     s->lost + first, err);
}

/* Bars that were set too high too often are set so no more; other rows' results are none the worse. */
static void learn(state *s, int64_t first, int64_t end)
{
    enum { MOST_LOST = 32 }; /* one in so many */
    int64_t lost = 0;
    for (int64_t i = first; i < end; i++) {
        lost += s->lost[i];
    }
    s->search.cautious = s->search.cautious || lost > (end - first) / MOST_LOST;
    s->learnt = true;
}

static int search_sheet(state *s, otimes_err *err)
{
    otimes_table_job *job = s->job;
    const int64_t each = s->search.strip_rows, rows = job->sheet.rows;
    const int64_t strips = (rows + each - 1) / each;
    int rc = OTIMES_OK;
    for (int64_t i = 0; i < s->strips; i++) {
        s->finds[i].count = 0;
    }
    for (int64_t done = 0; rc == OTIMES_OK && done < strips;) {
        const int64_t wave = s->learnt ? WAVE * s->workers : s->workers;
        const int64_t count = strips - done < wave ? strips - done : wave;
        const int64_t first = done * each, most = (done + count) * each;
        const int64_t end = most < rows ? most : rows;
        s->wave_first = done;
        rc = otimes_par_for(count, job->table->threads, search_strip, s, err);
        if (rc == OTIMES_OK) {
            learn(s, first, end);
            rc = otimes_table_tick(job, (double)(end - first) * (double)s->columns.count, err);
        }
        done += count;
    }
    return rc;
}

/* ---- settling ---- */

/* All finds by column, and the columns that have some. */
static int gather(state *s, otimes_err *err)
{
    const int64_t columns = s->columns.count;
    int64_t count = 0;
    memset(s->column_end, 0, (size_t)(columns + 1) * sizeof *s->column_end);
    for (int64_t i = 0; i < s->strips; i++) {
        for (int64_t k = 0; k < s->finds[i].count; k++) {
            s->column_end[s->finds[i].found[k].column + 1]++;
        }
        count += s->finds[i].count;
    }
    s->id_count = 0;
    for (int64_t j = 0; j < columns; j++) {
        if (s->column_end[j + 1] > 0) {
            s->ids[s->id_count++] = j;
        }
        s->column_end[j + 1] += s->column_end[j];
    }
    otimes_free(s->found);
    const int rc = OTIMES_NEW(&s->found, count, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < s->strips; i++) {
        for (int64_t k = 0; k < s->finds[i].count; k++) {
            otimes_table_found *found = &s->finds[i].found[k];
            s->found[s->column_end[found->column]++] = found;
        }
    }
    return rc;
}

static int settle_chunk(void *context, int64_t item, int worker, otimes_err *err)
{
    const state *s = context;
    const otimes_table_side *side = &s->job->table->column;
    const int64_t rank = s->columns.rank, first = item * CHUNK;
    const int64_t count = s->id_count - first < CHUNK ? s->id_count - first : CHUNK;
    float *vectors = s->vectors + worker * CHUNK * rank;
    const int rc = otimes_table_read(side, rank, s->ids + first, 0, count, vectors, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        const int64_t id = s->ids[first + i]; /* column_end moved on by one column */
        for (int64_t k = id > 0 ? s->column_end[id - 1] : 0; k < s->column_end[id]; k++) {
            otimes_table_found *found = s->found[k];
            const float *row = s->job->sheet.vectors + found->row * rank;
            found->value = (float)otimes_dot(row, vectors + i * rank, rank);
        }
    }
    return rc;
}

static int in_order(const void *left, const void *right)
{
    const otimes_table_found *a = left, *b = right;
    if (a->kind != b->kind) {
        return a->kind < b->kind ? -1 : 1;
    }
    if (a->row != b->row) {
        return a->row < b->row ? -1 : 1;
    }
    if (a->kind != OTIMES_TABLE_BEYOND && a->value != b->value) {
        return (a->value > b->value) == (a->kind == OTIMES_TABLE_TOP) ? -1 : 1;
    }
    return a->column < b->column ? -1 : a->column > b->column;
}

static void put(float *value, int32_t *column, int64_t most, int64_t at,
                const otimes_table_found *found)
{
    if (at < most) {
        value[found->row * most + at] = found->value;
        column[found->row * most + at] = found->column;
    }
}

/* A strip's finds into the sheet's results; those beyond the threshold move to the front of the finds. */
static int place_strip(void *context, int64_t strip, int worker, otimes_err *err)
{
    const state *s = context;
    const otimes_table_sheet *sheet = &s->job->sheet;
    const double threshold = s->search.threshold;
    otimes_table_finds *finds = &s->finds[strip];
    int64_t at = 0, beyond = 0;
    (void)worker;
    (void)err;
    if (finds->count > 0) {
        qsort(finds->found, (size_t)finds->count, sizeof *finds->found, in_order);
    }
    for (int64_t k = 0; k < finds->count; k++) {
        const otimes_table_found found = finds->found[k];
        const otimes_table_found *before = k > 0 ? &finds->found[k - 1] : NULL;
        at = before && before->kind == found.kind && before->row == found.row ? at + 1 : 0;
        if (found.kind == OTIMES_TABLE_TOP) {
            put(sheet->top_value, sheet->top_column, s->job->ask->top, at, &found);
        } else if (found.kind == OTIMES_TABLE_BOTTOM) {
            put(sheet->bottom_value, sheet->bottom_column, s->job->ask->bottom, at, &found);
        } else if (threshold > 0 ? (double)found.value >= threshold
                                 : (double)found.value <= threshold) {
            finds->found[beyond++] = found;
        }
    }
    finds->count = beyond;
    return OTIMES_OK;
}

static int place_entries(state *s, otimes_err *err)
{
    otimes_table_sheet *sheet = &s->job->sheet;
    int64_t count = 0;
    for (int64_t i = 0; i < s->strips; i++) {
        count += s->finds[i].count;
    }
    otimes_free(s->entry_row);
    otimes_free(s->entry_column);
    otimes_free(s->entry_value);
    s->entry_row = NULL;
    s->entry_column = NULL;
    s->entry_value = NULL;
    int rc = OTIMES_NEW(&s->entry_row, count, err);
    rc = rc == OTIMES_OK ? OTIMES_NEW(&s->entry_column, count, err) : rc;
    rc = rc == OTIMES_OK ? OTIMES_NEW(&s->entry_value, count, err) : rc;
    count = 0;
    for (int64_t i = 0; rc == OTIMES_OK && i < s->strips; i++) {
        for (int64_t k = 0; k < s->finds[i].count; k++, count++) {
            const otimes_table_found *found = &s->finds[i].found[k];
            s->entry_row[count] = sheet->first_row + found->row;
            s->entry_column[count] = found->column;
            s->entry_value[count] = found->value;
        }
    }
    sheet->entry_count = rc == OTIMES_OK ? count : 0;
    sheet->entry_row = s->entry_row;
    sheet->entry_column = s->entry_column;
    sheet->entry_value = s->entry_value;
    return rc;
}

static int settle(state *s, otimes_err *err)
{
    const int threads = s->job->table->threads;
    int rc = gather(s, err);
    if (rc == OTIMES_OK) {
        rc = otimes_par_for((s->id_count + CHUNK - 1) / CHUNK, threads, settle_chunk, s, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_par_for(s->strips, threads, place_strip, s, err);
    }
    return rc == OTIMES_OK ? place_entries(s, err) : rc;
}

/* ---- rows that were lost ---- */

/* The same job for these rows alone, as a sheet of its own. */
static int run_by_blocks(const otimes_table_job *job, otimes_table_sheet *sheet, otimes_err *err)
{
    otimes_table_ask ask = {.top = job->ask->top, .bottom = job->ask->bottom};
    otimes_table_job part = {
        .table = job->table, .ask = &ask, .top = job->top, .bottom = job->bottom, .sheet = *sheet};
    part.sheet.entry_count = 0; /* the screen's own */
    part.sheet.entry_row = NULL;
    part.sheet.entry_column = NULL;
    part.sheet.entry_value = NULL;
    void *memory = NULL;
    int rc = otimes_table_blocks.open(&part, &memory, err);
    if (rc == OTIMES_OK) {
        rc = otimes_table_blocks.run_sheet(&part, memory, err);
    }
    otimes_table_blocks.close(memory);
    otimes_pool_free(&part.pool);
    return rc;
}

static int find_lost(state *s, int64_t count, otimes_err *err)
{
    const otimes_table_job *job = s->job;
    const otimes_table_sheet *all = &job->sheet;
    const int64_t rank = s->columns.rank, top = job->ask->top, bottom = job->ask->bottom;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    otimes_table_sheet part = {.rows = count};
    float *vectors = otimes_pool_new(&pool, count * rank, sizeof(float), &rc, err);
    int64_t *row = otimes_pool_new(&pool, count, sizeof *row, &rc, err);
    part.top_value = otimes_pool_new(&pool, count * top, sizeof(float), &rc, err);
    part.top_column = otimes_pool_new(&pool, count * top, sizeof(int32_t), &rc, err);
    part.bottom_value = otimes_pool_new(&pool, count * bottom, sizeof(float), &rc, err);
    part.bottom_column = otimes_pool_new(&pool, count * bottom, sizeof(int32_t), &rc, err);
    part.vectors = vectors;
    for (int64_t i = 0, at = 0; rc == OTIMES_OK && i < all->rows; i++) {
        if (s->lost[i]) {
            memcpy(vectors + at * rank, all->vectors + i * rank, (size_t)rank * sizeof(float));
            row[at++] = i;
        }
    }
    if (rc == OTIMES_OK) {
        rc = run_by_blocks(job, &part, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        const size_t tops = (size_t)top * sizeof(float), bottoms = (size_t)bottom * sizeof(float);
        memcpy(all->top_value + row[i] * top, part.top_value + i * top, tops);
        memcpy(all->top_column + row[i] * top, part.top_column + i * top, tops);
        memcpy(all->bottom_value + row[i] * bottom, part.bottom_value + i * bottom, bottoms);
        memcpy(all->bottom_column + row[i] * bottom, part.bottom_column + i * bottom, bottoms);
    }
    otimes_pool_free(&pool);
    return rc;
}

/* Places that no entry takes, in tables of fewer columns. */
static void begin_results(const otimes_table_job *job)
{
    const otimes_table_sheet *sheet = &job->sheet;
    for (int64_t i = 0; i < sheet->rows * job->ask->top; i++) {
        sheet->top_value[i] = NAN;
        sheet->top_column[i] = -1;
    }
    for (int64_t i = 0; i < sheet->rows * job->ask->bottom; i++) {
        sheet->bottom_value[i] = NAN;
        sheet->bottom_column[i] = -1;
    }
}

static int run_sheet(otimes_table_job *job, void *memory, otimes_err *err)
{
    state *s = memory;
    int64_t lost = 0;
    if (s->useless && s->search.threshold == 0) {
        return run_by_blocks(job, &job->sheet, err);
    }
    begin_results(job);
    int rc = search_sheet(s, err);
    if (rc == OTIMES_OK) {
        rc = settle(s, err);
    }
    for (int64_t i = 0; i < job->sheet.rows; i++) {
        lost += s->lost[i];
    }
    s->useless = lost > job->sheet.rows / 2;
    return rc == OTIMES_OK && lost > 0 ? find_lost(s, lost, err) : rc;
}

const otimes_table_engine otimes_table_screen = {open_screen, run_sheet, close_screen};
