/* SPDX-License-Identifier: MIT */
#include "tabled.h"

#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "num/dot.h"
#include "num/la.h"
#include "num/topk.h"

tabled tabled_new(int64_t rows, int64_t columns, int64_t rank)
{
    tabled t = {.rows = rows, .columns = columns, .rank = rank};
    t.x = calloc((size_t)(rows * rank) + 1, sizeof *t.x);
    t.y = calloc((size_t)(columns * rank) + 1, sizeof *t.y);
    t.entry = calloc((size_t)(rows * columns) + 1, sizeof *t.entry);
    assert_true(t.x && t.y && t.entry);
    return t;
}

void tabled_multiply(tabled *t)
{
    for (int64_t i = 0; i < t->rows; i++) {
        for (int64_t j = 0; j < t->columns; j++) {
            t->entry[i * t->columns + j] =
                (float)otimes_dot(t->x + i * t->rank, t->y + j * t->rank, t->rank);
        }
    }
}

void tabled_free(tabled *t)
{
    free(t->x);
    free(t->y);
    free(t->entry);
    memset(t, 0, sizeof *t);
}

const char *tabled_way(otimes_table_way way)
{
    return way == OTIMES_TABLE_SCREEN ? "screen" : way == OTIMES_TABLE_BLOCKS ? "blocks" : "either";
}

void tabled_open(tabled_sides *sides, const tabled *t, const tabled_ask *ask)
{
    sides->x = (otimes_table_vectors){t->rank, t->x};
    sides->y = (otimes_table_vectors){t->rank, t->y};
    sides->table = (otimes_table){
        .rank = t->rank,
        .row = otimes_table_side_in_memory(&sides->x, t->rows),
        .column = otimes_table_side_in_memory(&sides->y, t->columns),
        .threads = ask->threads,
    };
    if (ask->transposed) {
        sides->table = otimes_table_transposed(&sides->table);
    }
}

/* ---- one row ---- */

/* A row of T, or of T^T, as it lies among the entries. */
typedef struct strided {
    const float *first;
    int64_t step, count;
} strided;

static strided row_of(const tabled *t, bool transposed, int64_t row)
{
    return transposed ? (strided){t->entry + row, t->columns, t->rows}
                      : (strided){t->entry + row * t->columns, 1, t->columns};
}

static float at(const strided *row, int64_t column)
{
    return row->first[column * row->step];
}

static bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static bool comes_before(float sign, float value, int64_t column, float than, int64_t than_column)
{
    return sign * value > sign * than || (value == than && column < than_column);
}

/* A list in order, of entries that are there, with nothing before its last that it lacks, is the
 * beginning of the sorted row. */
static bool extremes_hold(const strided *row, float sign, int64_t k, const float *value,
                          const int32_t *column, char why[TABLED_WHY])
{
    const int64_t kept = k < row->count ? k : row->count;
    const char *which = sign > 0 ? "top" : "bottom";
    for (int64_t p = 0; p < k; p++) {
        if (p >= kept) {
            if (!isnan(value[p]) || column[p] != -1) {
                snprintf(why, TABLED_WHY, "%s %d beyond the row: %a at %d", which, (int)p, value[p],
                         column[p]);
                return false;
            }
            continue;
        }
        if (column[p] < 0 || column[p] >= row->count) {
            snprintf(why, TABLED_WHY, "%s %d: column %d", which, (int)p, column[p]);
            return false;
        }
        if (!same_bits(value[p], at(row, column[p]))) {
            snprintf(why, TABLED_WHY, "%s %d: column %d is %a, got %a", which, (int)p, column[p],
                     at(row, column[p]), value[p]);
            return false;
        }
        if (p > 0 && !comes_before(sign, value[p - 1], column[p - 1], value[p], column[p])) {
            snprintf(why, TABLED_WHY, "%s %d: %a at %d after %a at %d", which, (int)p, value[p],
                     column[p], value[p - 1], column[p - 1]);
            return false;
        }
    }
    int64_t before = 0;
    for (int64_t j = 0; kept > 0 && j < row->count; j++) {
        before += comes_before(sign, at(row, j), j, value[kept - 1], column[kept - 1]);
    }
    if (kept > 0 && before != kept - 1) {
        snprintf(why, TABLED_WHY, "%s: %d entries come before the last of %d", which, (int)before,
                 (int)kept);
        return false;
    }
    return true;
}

static bool beyond(double threshold, float value)
{
    return threshold > 0   ? (double)value >= threshold
           : threshold < 0 ? (double)value <= threshold
                           : false;
}

bool tabled_sheet_holds(const tabled *t, const tabled_ask *ask, const otimes_table_sheet *sheet,
                        char why[TABLED_WHY])
{
    int64_t entry = 0;
    for (int64_t i = 0; i < sheet->rows; i++) {
        char in_row[TABLED_WHY / 2] = "";
        const int64_t row_number = sheet->first_row + i;
        const strided row = row_of(t, ask->transposed, row_number);
        const float *vector = (ask->transposed ? t->y : t->x) + row_number * t->rank;
        if (memcmp(vector, sheet->vectors + i * t->rank, (size_t)t->rank * sizeof *vector) != 0) {
            snprintf(why, TABLED_WHY, "row %d: another vector", (int)row_number);
            return false;
        }
        char detail[TABLED_WHY];
        if (!extremes_hold(&row, 1, ask->top, sheet->top_value + i * ask->top,
                           sheet->top_column + i * ask->top, detail) ||
            !extremes_hold(&row, -1, ask->bottom, sheet->bottom_value + i * ask->bottom,
                           sheet->bottom_column + i * ask->bottom, detail)) {
            snprintf(in_row, sizeof in_row, "%.*s", (int)sizeof in_row - 1, detail);
        }
        for (int64_t j = 0; !in_row[0] && j < row.count; j++) {
            if (!beyond(ask->threshold, at(&row, j))) {
                continue;
            }
            if (entry >= sheet->entry_count || sheet->entry_row[entry] != row_number ||
                sheet->entry_column[entry] != j ||
                !same_bits(sheet->entry_value[entry], at(&row, j))) {
                snprintf(in_row, sizeof in_row, "entry %d is not %a at %d", (int)entry, at(&row, j),
                         (int)j);
            }
            entry++;
        }
        if (in_row[0]) {
            snprintf(why, TABLED_WHY, "row %d: %s", (int)row_number, in_row);
            return false;
        }
    }
    if (entry != sheet->entry_count) {
        snprintf(why, TABLED_WHY, "%d entries beyond the threshold, got %d", (int)entry,
                 (int)sheet->entry_count);
        return false;
    }
    return true;
}

/* ---- a whole run ---- */

typedef struct run {
    const tabled *t;
    const tabled_ask *ask;
    int64_t next, sheet_rows, rows;
    char *why;
} run;

static int finish(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    run *r = context;
    const int64_t left = r->rows - r->next, rows = left < r->sheet_rows ? left : r->sheet_rows;
    if (sheet->first_row != r->next || sheet->rows != rows) {
        snprintf(r->why, TABLED_WHY, "%d rows from %d, expected %d from %d", (int)sheet->rows,
                 (int)sheet->first_row, (int)rows, (int)r->next);
        return otimes_fail(err, OTIMES_ERR_VALUE, "%s", r->why);
    }
    r->next += sheet->rows;
    return tabled_sheet_holds(r->t, r->ask, sheet, r->why)
               ? OTIMES_OK
               : otimes_fail(err, OTIMES_ERR_VALUE, "%s", r->why);
}

bool tabled_holds(const tabled *t, const tabled_ask *ask, char why[TABLED_WHY])
{
    tabled_sides sides;
    otimes_err err = {0};
    tabled_open(&sides, t, ask);
    run r = {.t = t,
             .ask = ask,
             .sheet_rows = otimes_table_sheet_rows(&sides.table),
             .rows = sides.table.row.count,
             .why = why};
    const otimes_table_ask asked = {
        .top = ask->top,
        .bottom = ask->bottom,
        .threshold = ask->threshold,
        .way = ask->way,
        .finish = finish,
        .context = &r,
    };
    const int rc = otimes_table_run(&sides.table, &asked, &err);
    if (rc != OTIMES_OK) {
        snprintf(why, TABLED_WHY, "error %d: %.200s", rc, err.msg);
        return false;
    }
    if (r.next != r.rows) {
        snprintf(why, TABLED_WHY, "%d rows of %d", (int)r.next, (int)r.rows);
        return false;
    }
    return true;
}

void tabled_refused(const tabled *t, const tabled_ask *ask)
{
    tabled_sides sides;
    otimes_err err = {0};
    tabled_open(&sides, t, ask);
    const otimes_table_ask asked = {.top = ask->top, .bottom = ask->bottom, .way = ask->way};
    assert_int_equal(otimes_table_run(&sides.table, &asked, &err), OTIMES_ERR_ARGUMENT);
    assert_true(err.msg[0] != 0);
}

/* ---- what fails, made small ---- */

/* Without vectors, or dimensions, first .. first+count-1 along one of three axes. */
static tabled without(const tabled *t, int axis, int64_t first, int64_t count)
{
    tabled s = tabled_new(t->rows - (axis == 0 ? count : 0), t->columns - (axis == 1 ? count : 0),
                          t->rank - (axis == 2 ? count : 0));
    for (int side = 0; side < 2; side++) {
        const float *from = side ? t->y : t->x;
        float *to = side ? s.y : s.x;
        const int64_t vectors = side ? t->columns : t->rows;
        for (int64_t i = 0; i < vectors; i++) {
            if (axis == side && i >= first && i < first + count) {
                continue;
            }
            for (int64_t k = 0; k < t->rank; k++) {
                if (axis != 2 || k < first || k >= first + count) {
                    *to++ = from[i * t->rank + k];
                }
            }
        }
    }
    tabled_multiply(&s);
    return s;
}

/* Cuts runs of half the axis, a quarter ... one, while it goes on failing and *tries last. */
static bool cut(tabled *t, const tabled_ask *ask, int axis, int *tries)
{
    char why[TABLED_WHY];
    bool smaller = false;
    const int64_t *size = axis == 0 ? &t->rows : axis == 1 ? &t->columns : &t->rank;
    for (int64_t count = *size / 2; count > 0; count /= 2) {
        int64_t first = 0;
        while (count < *size && first + count <= *size && --*tries > 0) {
            tabled s = without(t, axis, first, count);
            if (tabled_holds(&s, ask, why)) {
                tabled_free(&s);
                first += count;
            } else {
                tabled_free(t);
                *t = s;
                smaller = true;
            }
        }
    }
    return smaller;
}

static void print_vectors(const char *side, const float *v, int64_t count, int64_t rank)
{
    enum { MOST = 64 };
    if (count * rank > MOST) {
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        print_message("  %s[%d] =", side, (int)i);
        for (int64_t k = 0; k < rank; k++) {
            print_message(" %a", v[i * rank + k]);
        }
        print_message("\n");
    }
}

void tabled_hold(const tabled *t, const tabled_ask *ask, const char *what)
{
    int tries = 2000;
    char why[TABLED_WHY], small_why[TABLED_WHY] = "";
    if (tabled_holds(t, ask, why)) {
        return;
    }
    tabled s = without(t, 0, 0, 0);
    for (bool smaller = true; smaller;) {
        smaller = false;
        for (int axis = 0; axis < 3; axis++) {
            smaller |= cut(&s, ask, axis, &tries);
        }
    }
    const bool holds = tabled_holds(&s, ask, small_why);
    print_message("cut down to %d x %d x %d: %s\n", (int)s.rows, (int)s.columns, (int)s.rank,
                  holds ? "but it does not fail each time" : small_why);
    print_vectors("x", s.x, s.rows, s.rank);
    print_vectors("y", s.y, s.columns, s.rank);
    tabled_free(&s);
    fail_msg("%s, %d x %d x %d%s by %s on %d threads, top %d, bottom %d, threshold %a: %s", what,
             (int)t->rows, (int)t->columns, (int)t->rank, ask->transposed ? " transposed" : "",
             tabled_way(ask->way), ask->threads, (int)ask->top, (int)ask->bottom, ask->threshold,
             why);
}

/* ---- the float32 product ---- */

enum { MOST_PLACES = 100 };

typedef struct best {
    float value[MOST_PLACES];
    int32_t column[MOST_PLACES];
} best;

static void best_of(const float *row, int64_t count, int64_t k, best *b)
{
    otimes_topk top = {.capacity = k, .sign = 1, .value = b->value, .index = b->column};
    otimes_topk_scan(&top, row, count, 0);
    otimes_topk_finish(&top);
}

/* By how much a float32 sum of a row's products, in any order, may be off (float)otimes_dot. */
static double rounding(const tabled *t, int64_t i, int64_t j)
{
    const double unit = 0x1p-24, gamma = (double)t->rank * unit / (1 - (double)t->rank * unit);
    double sum = 0;
    for (int64_t k = 0; k < t->rank; k++) {
        sum += fabs((double)t->x[i * t->rank + k] * (double)t->y[j * t->rank + k]);
    }
    return (gamma + 1e-15 * (double)t->rank) * sum +
           unit * fabs((double)t->entry[i * t->columns + j]) + (double)(t->rank + 1) * 0x1p-149;
}

static void row_beside_product(const tabled *t, int64_t i, const float *product, int64_t k,
                               bool whole, const char *what, tabled_moved *moved)
{
    const float *entry = t->entry + i * t->columns;
    best ours, its;
    double off[MOST_PLACES] = {0}, largest = 0;
    best_of(entry, t->columns, k, &ours);
    best_of(product, t->columns, k, &its);
    for (int64_t j = 0; j < t->columns; j++) {
        const double most = rounding(t, i, j);
        const double difference = fabs((double)product[j] - (double)entry[j]);
        if (difference > most || (whole && difference > 0)) {
            fail_msg("%s: [%d, %d] is %a, its float32 product %a, expected %a apart at most", what,
                     (int)i, (int)j, entry[j], product[j], whole ? 0 : most);
        }
        largest = fmax(largest, most);
        for (int64_t p = 0; p < k; p++) {
            off[p] = its.column[p] == j ? most : off[p];
        }
    }
    for (int64_t p = 0; p < k; p++) {
        const int32_t column = its.column[p];
        moved->places++;
        if (column == ours.column[p]) {
            continue;
        }
        moved->moved++;
        const double apart = fabs((double)entry[column] - (double)ours.value[p]);
        if (whole || apart > off[p] + largest) {
            fail_msg("%s: row %d, place %d: column %d, %a; the float32 product has %d, %a", what,
                     (int)i, (int)p, ours.column[p], ours.value[p], column, entry[column]);
        }
    }
}

void tabled_beside_product(const tabled *t, int64_t k, bool whole, const char *what,
                           tabled_moved *moved)
{
    float *product = calloc((size_t)(t->rows * t->columns) + 1, sizeof *product);
    assert_non_null(product);
    k = k < t->columns ? k : t->columns;
    otimes_la_default->sgemm(false, true, t->rows, t->columns, t->rank, 1, t->x, t->rank, t->y,
                             t->rank, 0, product, t->columns);
    for (int64_t i = 0; i < t->rows; i++) {
        bool finite = true;
        for (int64_t j = 0; j < t->columns; j++) {
            finite &=
                isfinite(product[i * t->columns + j]) && isfinite(t->entry[i * t->columns + j]);
        }
        if (finite) {
            row_beside_product(t, i, product + i * t->columns, k, whole, what, moved);
        } else {
            moved->rows_not_finite++;
        }
    }
    free(product);
}
