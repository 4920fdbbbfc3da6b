/* SPDX-License-Identifier: MIT */
#include "num/assign.h"

#include <math.h>

#include "base/mem.h"

/* The problem as the work sees it: no more rows than columns, least sum. Row prices u follow from
 * column prices v: u(i) = cost(i, j) - v(j) at the pairs. A column that stays free keeps v = 0. */
typedef struct job {
    int64_t n, m;
    double *cost; /* [n, m] */
    int64_t *column_of, *row_of;
    double *u, *v;
    int64_t *unmatched; /* rows without a partner, ascending */
    int64_t unmatched_count;
    /* Of one search for a shortest path: */
    double *open;     /* [m] v, -INFINITY once a column is reached, so that its label stays */
    double *label;    /* [m] length of the shortest path found so far, INFINITY once reached */
    int64_t *before;  /* [m] the last row on that path */
    int64_t *reached; /* [m] columns in the order they were reached */
    double *length;   /* [m] and how far away each was */
} job;

static void pair(job *w, int64_t i, int64_t j)
{
    w->column_of[i] = j;
    w->row_of[j] = i;
}

static void list_unmatched(job *w)
{
    w->unmatched_count = 0;
    for (int64_t i = 0; i < w->n; i++) {
        if (w->column_of[i] < 0) {
            w->unmatched[w->unmatched_count++] = i;
        }
    }
}

/* Each row takes its least entry where that is free. */
static void reduce(job *w)
{
    for (int64_t i = 0; i < w->n; i++) {
        const double *cost = w->cost + i * w->m;
        int64_t best = 0;
        for (int64_t j = 1; j < w->m; j++) {
            if (cost[j] < cost[best] ||
                (cost[j] == cost[best] && w->row_of[best] >= 0 && w->row_of[j] < 0)) {
                best = j;
            }
        }
        if (cost[best] < INFINITY && w->row_of[best] < 0) {
            pair(w, i, best);
        }
    }
    list_unmatched(w);
}

/* The two cheapest columns of a row, equal ones by lower index; [1] is -1 without a second. */
static void two_cheapest(const job *w, int64_t i, int64_t at[2], double least[2])
{
    const double *cost = w->cost + i * w->m;
    at[0] = at[1] = -1;
    least[0] = least[1] = INFINITY;
    for (int64_t j = 0; j < w->m; j++) {
        const double reduced = cost[j] - w->v[j];
        if (reduced < least[1]) {
            const int first = reduced < least[0];
            least[1] = first ? least[0] : reduced;
            at[1] = first ? at[0] : j;
            least[0] = first ? reduced : least[0];
            at[0] = first ? j : at[0];
        }
    }
}

/* Augmenting row reduction: a row without partner takes its cheapest column and lowers the price
 * there until the second is as cheap; who was there looks again, at once where that was progress.
 * Each step keeps the prices feasible, so that to stop anywhere is safe: the number of steps has a
 * bound, since close values can make them many and small. */
static void reduce_augmenting(job *w)
{
    int64_t next = 0, steps = 4 * w->n;
    while (next < w->unmatched_count) {
        const int64_t i = w->unmatched[next++];
        int64_t at[2];
        double least[2];
        two_cheapest(w, i, at, least);
        if (least[1] == INFINITY || steps-- <= 0) {
            continue;
        }
        const double lower = w->v[at[0]] - (least[1] - least[0]);
        const bool progress = lower < w->v[at[0]];
        const int64_t j = progress || w->row_of[at[0]] < 0 ? at[0] : at[1];
        const int64_t other = w->row_of[j];
        w->v[j] = progress ? lower : w->v[j];
        pair(w, i, j);
        if (other >= 0) {
            w->column_of[other] = -1;
            if (progress) {
                w->unmatched[--next] = other;
            }
        }
    }
    list_unmatched(w);
}

/* Labels through row i, which is `far` away; the least of all labels. */
static double relabel(job *w, int64_t i, double far)
{
    enum { SIDE = 4 }; /* least values side by side, so that the loop is one of vectors */
    const double *restrict cost = w->cost + i * w->m, *restrict open = w->open;
    double *restrict label = w->label, least[SIDE] = {INFINITY, INFINITY, INFINITY, INFINITY};
    int64_t *restrict before = w->before;
    int64_t j = 0;
    for (; j + SIDE <= w->m; j += SIDE) {
        for (int64_t k = 0; k < SIDE; k++) {
            const double length = cost[j + k] - open[j + k] + far;
            const bool nearer = length < label[j + k];
            before[j + k] = nearer ? i : before[j + k];
            label[j + k] = nearer ? length : label[j + k];
            least[k] = label[j + k] < least[k] ? label[j + k] : least[k];
        }
    }
    for (; j < w->m; j++) {
        const double length = cost[j] - open[j] + far;
        if (length < label[j]) {
            before[j] = i;
            label[j] = length;
        }
        least[0] = label[j] < least[0] ? label[j] : least[0];
    }
    for (int64_t k = 1; k < SIDE; k++) {
        least[0] = least[k] < least[0] ? least[k] : least[0];
    }
    return least[0];
}

/* The column with this label: of equal ones a free one, of those the lowest. */
static int64_t column_at(const job *w, double least)
{
    int64_t found = -1;
    for (int64_t j = 0; j < w->m; j++) {
        if (w->label[j] == least) {
            if (w->row_of[j] < 0) {
                return j;
            }
            found = found < 0 ? j : found;
        }
    }
    return found;
}

/* Prices after a path of length `end`: what was nearer moves by the difference. */
static void reprice(job *w, int64_t start, int64_t count, double end)
{
    w->u[start] += end;
    for (int64_t k = 0; k < count; k++) {
        const int64_t j = w->reached[k];
        w->u[w->row_of[j]] += end - w->length[k];
        w->v[j] -= end - w->length[k];
    }
}

/* Dijkstra's search from a row without partner to a free column, along whose path all pairs change.
 * *count: columns reached; false when there is no path. */
static bool augment(job *w, int64_t start, int64_t *count)
{
    double far = 0;
    int64_t i = start, j;
    w->u[start] = 0;
    for (j = 0; j < w->m; j++) {
        w->label[j] = INFINITY;
        w->open[j] = w->v[j];
    }
    for (*count = 0;; ++*count) {
        const double least = relabel(w, i, far - w->u[i]);
        if (least == INFINITY) {
            return false;
        }
        j = column_at(w, least);
        far = least;
        if (w->row_of[j] < 0) {
            break;
        }
        w->reached[*count] = j;
        w->length[*count] = far;
        w->label[j] = INFINITY;
        w->open[j] = -INFINITY;
        i = w->row_of[j];
    }
    reprice(w, start, *count, far);
    while (j >= 0) {
        const int64_t row = w->before[j], left = w->column_of[row];
        pair(w, row, j);
        j = left;
    }
    return true;
}

static int solve(job *w, bool turned, otimes_err *err)
{
    reduce(w);
    for (int pass = 0; pass < 2; pass++) {
        reduce_augmenting(w);
    }
    for (int64_t j = 0; j < w->m; j++) {
        if (w->row_of[j] >= 0) {
            w->u[w->row_of[j]] = w->cost[w->row_of[j] * w->m + j] - w->v[j];
        }
    }
    for (int64_t k = 0; k < w->unmatched_count; k++) {
        int64_t count;
        if (!augment(w, w->unmatched[k], &count)) {
            return otimes_fail(
                err, OTIMES_ERR_ARGUMENT,
                "assignment: %s %lld is one of %lld %ss that have partners, expected "
                "as many %ss that are not forbidden to them, got %lld",
                turned ? "column" : "row", (long long)w->unmatched[k], (long long)(count + 1),
                turned ? "column" : "row", turned ? "row" : "column", (long long)count);
        }
    }
    for (int64_t i = 0; i < w->n; i++) { /* without what rounding the steps added */
        w->u[i] = w->cost[i * w->m + w->column_of[i]] - w->v[w->column_of[i]];
    }
    return OTIMES_OK;
}

static int fill(job *w, const double *value, int64_t ld, bool turned, double sign, otimes_err *err)
{
    const int64_t rows = turned ? w->m : w->n, columns = turned ? w->n : w->m;
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            const double cost = sign * value[i * ld + j];
            if (!(cost > -INFINITY)) {
                return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                                   "assignment: entry [%lld, %lld]: expected a number or %g "
                                   "(forbidden), got %g",
                                   (long long)i, (long long)j, sign * INFINITY, value[i * ld + j]);
            }
            w->cost[turned ? j * w->m + i : i * w->m + j] = cost;
        }
    }
    for (int64_t i = 0; i < w->n; i++) {
        w->column_of[i] = -1;
    }
    for (int64_t j = 0; j < w->m; j++) {
        w->row_of[j] = -1;
    }
    return OTIMES_OK;
}

static void copy_prices(int64_t count, const double *from, double sign, double *to)
{
    for (int64_t i = 0; to && i < count; i++) {
        to[i] = sign * from[i] + 0; /* no -0 */
    }
}

int otimes_assign(int64_t rows, int64_t columns, const double *value, int64_t ld, bool largest,
                  int64_t *column_of, double *row_price, double *column_price, double *total,
                  otimes_err *err)
{
    const bool turned = rows > columns;
    const double sign = largest ? -1 : 1;
    job w = {.n = turned ? columns : rows, .m = turned ? rows : columns};
    otimes_pool pool = {0};
    int64_t entries = 0;
    int rc = otimes_mul_i64(rows, columns, &entries)
                 ? OTIMES_OK
                 : otimes_fail(err, OTIMES_ERR_MEMORY, "assignment: too many entries");
    w.cost = otimes_pool_new(&pool, entries, sizeof *w.cost, &rc, err);
    w.column_of = otimes_pool_new(&pool, w.n, sizeof *w.column_of, &rc, err);
    w.row_of = otimes_pool_new(&pool, w.m, sizeof *w.row_of, &rc, err);
    w.u = otimes_pool_new(&pool, w.n, sizeof *w.u, &rc, err);
    w.v = otimes_pool_new(&pool, w.m, sizeof *w.v, &rc, err);
    w.unmatched = otimes_pool_new(&pool, w.n, sizeof *w.unmatched, &rc, err);
    w.open = otimes_pool_new(&pool, w.m, sizeof *w.open, &rc, err);
    w.label = otimes_pool_new(&pool, w.m, sizeof *w.label, &rc, err);
    w.before = otimes_pool_new(&pool, w.m, sizeof *w.before, &rc, err);
    w.reached = otimes_pool_new(&pool, w.m, sizeof *w.reached, &rc, err);
    w.length = otimes_pool_new(&pool, w.m, sizeof *w.length, &rc, err);
    rc = rc == OTIMES_OK ? fill(&w, value, ld, turned, sign, err) : rc;
    rc = rc == OTIMES_OK ? solve(&w, turned, err) : rc;
    if (rc == OTIMES_OK) {
        double sum = 0;
        for (int64_t i = 0; i < rows; i++) {
            column_of[i] = turned ? w.row_of[i] : w.column_of[i];
            sum += column_of[i] >= 0 ? value[i * ld + column_of[i]] : 0;
        }
        if (total) {
            *total = sum;
        }
        copy_prices(rows, turned ? w.v : w.u, sign, row_price);
        copy_prices(columns, turned ? w.u : w.v, sign, column_price);
    }
    otimes_pool_free(&pool);
    return rc;
}
