/* SPDX-License-Identifier: MIT
 *
 * Statistics, own entries and histograms of the rows of a table against plain loops. The vectors are small
 * integers, whose products have no rounding.
 */
#include "support.h"

#include "la_matrix.h"

#include "num/dot.h"
#include "num/stats.h"
#include "run/table_rows.h"

enum { RANK = 7, ROWS = 8000, COLUMNS = 1500, BINS = 9 };

typedef struct fixture {
    float x[ROWS * RANK], y[COLUMNS * RANK];
    otimes_table table;
    otimes_table_rows rows;
    int64_t sheets, counts[BINS + 2], expected_counts[BINS + 2];
    float values[COLUMNS]; /* of a row, by plain loops */
} fixture;

static int64_t own_of(const void *context, int64_t row)
{
    (void)context;
    return row % 3 == 0 && row / 4 < COLUMNS ? row / 4 : -1;
}

static int begin(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    fixture *f = context;
    return otimes_table_rows_begin(&f->rows, sheet, err);
}

static void strip(void *context, const otimes_table_values *values)
{
    fixture *f = context;
    otimes_table_rows_strip(&f->rows, values);
}

/* -11 to 11, no edge between which is an integer. */
static int cell_of(float value)
{
    const int bin = (int)floor(((double)value + 11) * BINS / 22);
    return value > 11 ? BINS + 1 : value < -11 ? 0 : bin < BINS ? bin + 1 : BINS;
}

static void check_row(fixture *f, int64_t row, int64_t at)
{
    const otimes_table_rows *r = &f->rows;
    const int64_t own = own_of(NULL, row);
    int64_t above = 0;
    for (int64_t j = 0; j < COLUMNS; j++) {
        f->values[j] = (float)otimes_dot(f->x + row * RANK, f->y + j * RANK, RANK);
        f->expected_counts[cell_of(f->values[j])]++;
    }
    for (int64_t j = 0; own >= 0 && j < COLUMNS; j++) {
        above += f->values[j] > f->values[own];
    }
    otimes_row_stats stats = {0};
    otimes_row_stats_add(&stats, f->values, COLUMNS);
    assert_true(r->max[at] == (float)stats.max && r->min[at] == otimes_min(f->values, COLUMNS));
    assert_at_most(fabs(r->mean[at] - stats.mean), 1e-12);
    assert_at_most(fabs(r->std[at] - otimes_row_stats_std(&stats)), 1e-12);
    assert_at_most(fabs(r->logsumexp[at] - otimes_row_stats_logsumexp(&stats)), 1e-6);
    assert_int_equal(r->own_rank[at], own < 0 ? -1 : above);
    assert_true(own < 0 ? isnan(r->own_value[at]) : r->own_value[at] == f->values[own]);
}

static int finish(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    fixture *f = context;
    (void)err;
    otimes_table_rows_finish(&f->rows);
    f->sheets++;
    for (int64_t i = 0; i < sheet->rows; i++) {
        check_row(f, sheet->first_row + i, i);
    }
    for (int i = 0; i < BINS + 2; i++) {
        f->counts[i] += f->rows.counts[i];
    }
    return OTIMES_OK;
}

static void run(fixture *f, int threads)
{
    static const otimes_table_consumer every = {.strip = strip};
    const otimes_table_vectors x = {RANK, f->x}, y = {RANK, f->y};
    const otimes_table_rows_ask rows = {.own = own_of, .bins = BINS, .low = -11, .high = 11};
    const otimes_table_ask ask = {.every = &every, .begin = begin, .finish = finish, .context = f};
    otimes_err err = {0};
    f->table = (otimes_table){.rank = RANK,
                              .row = otimes_table_side_in_memory(&x, ROWS),
                              .column = otimes_table_side_in_memory(&y, COLUMNS),
                              .threads = threads};
    f->sheets = 0;
    memset(f->counts, 0, sizeof f->counts);
    memset(f->expected_counts, 0, sizeof f->expected_counts);
    assert_ok(otimes_table_rows_new(&f->rows, &f->table, &rows, &err), &err);
    assert_true(f->rows.edge[0] == -11 && f->rows.edge[BINS] == 11);
    assert_ok(otimes_table_run(&f->table, &ask, &err), &err);
    otimes_table_rows_free(&f->rows);
    assert_int_equal(f->sheets, 2);
    assert_memory_equal(f->counts, f->expected_counts, sizeof f->counts);
}

static void rows_of_sheets(void **state)
{
    (void)state;
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    for (int64_t i = 0; i < ROWS * RANK; i++) {
        f->x[i] = (float)(below(5) - 2);
    }
    for (int64_t i = 0; i < COLUMNS * RANK; i++) {
        f->y[i] = (float)(below(5) - 2);
    }
    run(f, 1);
    run(f, 3);
    free(f);
}

/* ---- entries at edges ---- */

static int keep_counts(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    fixture *f = context;
    (void)sheet, (void)err;
    otimes_table_rows_finish(&f->rows);
    return OTIMES_OK;
}

/* How many of the numbers lie where, as the entries of one row. */
static void count_numbers(const otimes_table_rows_ask *bins, const float *numbers, int64_t count,
                          int64_t counts[BINS + 2], double edge[BINS + 1])
{
    static const float one = 1;
    static const otimes_table_consumer every = {.strip = strip};
    const otimes_table_vectors x = {1, &one}, y = {1, numbers};
    const otimes_table table = {.rank = 1,
                                .row = otimes_table_side_in_memory(&x, 1),
                                .column = otimes_table_side_in_memory(&y, count),
                                .threads = 1};
    fixture *f = calloc(1, sizeof *f);
    otimes_err err = {0};
    assert_non_null(f);
    const otimes_table_ask ask = {
        .every = &every, .begin = begin, .finish = keep_counts, .context = f};
    assert_ok(otimes_table_rows_new(&f->rows, &table, bins, &err), &err);
    assert_ok(otimes_table_run(&table, &ask, &err), &err);
    memcpy(counts, f->rows.counts, (BINS + 2) * sizeof *counts);
    memcpy(edge, f->rows.edge, (BINS + 1) * sizeof *edge);
    otimes_table_rows_free(&f->rows);
    free(f);
}

/* Numbers at an edge and beside it lie where the edges say, though division may put them a bin too
 * low or too high. */
static void edges_decide(void **state)
{
    enum { ROUNDS = 2000 };
    int low = 0, high = 0;
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const float at_edge = (float)(8 * normal());
        const float numbers[] = {nextafterf(at_edge, -INFINITY), at_edge,
                                 nextafterf(at_edge, INFINITY)};
        const double width = 0.1 + fabs(normal());
        otimes_table_rows_ask bins = {
            .bins = BINS, .low = (double)at_edge - (double)(1 + below(BINS - 1)) * width};
        bins.high = bins.low + BINS * width;
        int64_t counts[BINS + 2];
        double edge[BINS + 1];
        count_numbers(&bins, numbers, 3, counts, edge);
        for (int i = 0; i < 3; i++) {
            const double number = (double)numbers[i], per_unit = BINS / (bins.high - bins.low);
            const int64_t divided = (int64_t)((number - bins.low) * per_unit);
            int64_t bin = 0;
            while (bin + 1 < BINS && number >= edge[bin + 1]) {
                bin++;
            }
            counts[bin + 1]--;
            low += divided < bin;
            high += divided > bin;
        }
        for (int i = 0; i < BINS + 2; i++) {
            assert_int_equal(counts[i], 0);
        }
    }
    assert_true(low > 0 && high > 0);
}

int main(void)
{
    otimes_set_blas_threads(1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_of_sheets),
                                       cmocka_unit_test(edges_decide)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
