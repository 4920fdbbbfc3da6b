/* SPDX-License-Identifier: MIT
 *
 * Of a row x, a = 2^-e D R x, T is 2^(e + e_c) (shift + a . c) to within bounds (table_columns.h). Here all
 * is in units of 2^(e + e_c), and what is looked for at the bottom is looked for at the top of -T.
 */
#include "run/table_search.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "num/dot.h"
#include "run/table_keep.h"

enum { COLUMNS = OTIMES_SCREEN_COLUMNS, ENDS = 2 };

/* A strip's rows stay in the second cache beside a panel. */
enum { STRIP_BYTES = 3 << 17, MOST_ROWS = 192 };

/* What 8 bits let through: a row of the strip, a column of the panel. */
typedef struct maybe {
    int32_t row, lane;
} maybe;

struct otimes_table_strip {
    int64_t rows;
    float *vector, *scratch;       /* [rank] a of one row */
    int16_t *integers;             /* [strip_rows, wide] a over wide_step */
    double *wide_step, *wide_lost; /* [strip_rows]; |a - wide_step integers| */
    int8_t *narrow; /* [strip_rows, 4 steps] q with a = q / finer + what 8 bits lose */
    double *offset; /* [strip_rows] what adding 128 to the columns adds to sums */
    double *finer, *shift, *norm, *lost_norm, *least_error, *highest; /* [strip_rows] */
    double *reach[ENDS]; /* [strip_rows] what T, or -T, must reach to be looked at */
    double *beyond;      /* [strip_rows] the threshold in the row's units; INFINITY: none */
    int32_t *above, *below,
        *alive;     /* [strip_rows] limits of sums with the panel at hand; 0: no row */
    uint64_t *mask; /* [strip_rows] */
    otimes_table_pick *pick[ENDS]; /* [strip_rows] */
    double guess[ENDS]; /* at which share of its norm a row's bar begins; -INFINITY: not known */
    maybe *maybe;       /* [strip_rows, COLUMNS] of a panel */
    bool *zero;         /* [strip_rows] rows of zeros */
    otimes_pool pool;
};

int64_t otimes_table_strip_rows(int64_t steps)
{
    const int64_t fit = STRIP_BYTES / (steps * OTIMES_SCREEN_STEP);
    const int64_t rows = fit < MOST_ROWS ? fit : MOST_ROWS;
    return rows > OTIMES_SCREEN_ROWS ? rows - rows % OTIMES_SCREEN_ROWS : OTIMES_SCREEN_ROWS;
}

static int new_picks(otimes_table_strip *s, int end, int64_t capacity, int64_t rows,
                     otimes_err *err)
{
    const int64_t room = otimes_table_pick_room(capacity);
    int rc = OTIMES_OK;
    s->pick[end] = otimes_pool_new(&s->pool, rows, sizeof(otimes_table_pick), &rc, err);
    double *least = otimes_pool_new(&s->pool, rows * capacity, sizeof(double), &rc, err);
    double *most = otimes_pool_new(&s->pool, rows * room, sizeof(double), &rc, err);
    int32_t *column = otimes_pool_new(&s->pool, rows * room, sizeof(int32_t), &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < rows; i++) {
        s->pick[end][i] = (otimes_table_pick){.capacity = capacity,
                                              .least = least + i * capacity,
                                              .room = room,
                                              .column = column + i * room,
                                              .most = most + i * room};
    }
    return rc;
}

int otimes_table_strip_new(otimes_table_strip **strip, const otimes_table_search *search,
                           otimes_err *err)
{
    const int64_t rows = search->strip_rows, rank = search->columns->rank;
    const int64_t bytes = search->columns->steps * OTIMES_SCREEN_STEP;
    int rc = OTIMES_NEW(strip, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_table_strip *s = *strip;
    s->guess[0] = s->guess[1] = -INFINITY;
    double **const numbers[] = {&s->wide_step, &s->wide_lost, &s->offset,    &s->finer,
                                &s->shift,     &s->norm,      &s->lost_norm, &s->least_error,
                                &s->highest,   &s->beyond,    &s->reach[0],  &s->reach[1]};
    int32_t **const integers[] = {&s->above, &s->below, &s->alive};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        *numbers[i] = otimes_pool_new(&s->pool, rows, sizeof(double), &rc, err);
    }
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        *integers[i] = otimes_pool_new(&s->pool, rows, sizeof(int32_t), &rc, err);
    }
    s->vector = otimes_pool_new(&s->pool, rank, sizeof(float), &rc, err);
    s->integers =
        otimes_pool_new(&s->pool, rows * search->columns->wide, sizeof(int16_t), &rc, err);
    s->scratch = otimes_pool_new(&s->pool, rank, sizeof(float), &rc, err);
    s->narrow = otimes_pool_new(&s->pool, rows * bytes, sizeof(int8_t), &rc, err);
    s->mask = otimes_pool_new(&s->pool, rows, sizeof(uint64_t), &rc, err);
    s->maybe = otimes_pool_new(&s->pool, rows * COLUMNS, sizeof *s->maybe, &rc, err);
    s->zero = otimes_pool_new(&s->pool, rows, sizeof(bool), &rc, err);
    if (rc == OTIMES_OK && search->top > 0) {
        rc = new_picks(s, OTIMES_TABLE_TOP, search->top, rows, err);
    }
    if (rc == OTIMES_OK && search->bottom > 0) {
        rc = new_picks(s, OTIMES_TABLE_BOTTOM, search->bottom, rows, err);
    }
    return rc;
}

void otimes_table_strip_free(otimes_table_strip **strip)
{
    if (*strip) {
        otimes_pool_free(&(*strip)->pool);
    }
    otimes_free(*strip);
    *strip = NULL;
}

/* ---- a row in 8 bits ---- */

static void narrow(const otimes_table_search *search, otimes_table_strip *s, int64_t i)
{
    const otimes_table_columns *c = search->columns;
    const int64_t rank = c->rank, bytes = c->steps * OTIMES_SCREEN_STEP;
    const float most = otimes_table_largest(rank, s->vector);
    const double step = most > 0 ? (double)most / (double)search->screen->levels : 1;
    int16_t *integers = s->integers + i * c->wide;
    int8_t *q = s->narrow + i * bytes;
    int32_t sum = 0;
    s->lost_norm[i] = otimes_screen_narrow(rank, s->vector, step, integers);
    for (int64_t k = 0; k < rank; k++) {
        q[k] = (int8_t)integers[k];
        sum += q[k];
    }
    memset(q + rank, 0, (size_t)(bytes - rank));
    s->finer[i] = 1 / step;
    s->offset[i] = 128 * sum;
    s->shift[i] = otimes_dot(s->vector, c->mean, rank);
    s->wide_step[i] = most > 0 ? (double)most / (double)c->levels : 1;
    s->wide_lost[i] = otimes_screen_narrow(rank, s->vector, s->wide_step[i], integers);
    /* Of a and of what either number of bits makes of it. */
    s->norm[i] = otimes_table_norm(s->vector, rank) + fmax(s->lost_norm[i], s->wide_lost[i]);
}

/* The lower of the row's bar and the threshold, where those are. */
static void set_reach(const otimes_table_search *search, otimes_table_strip *s, int end, int64_t i)
{
    const bool beyond = end == OTIMES_TABLE_TOP ? search->threshold > 0 : search->threshold < 0;
    const double bar = s->pick[end] && !s->zero[i] ? s->pick[end][i].bar : INFINITY;
    s->reach[end][i] = beyond && s->beyond[i] < bar ? s->beyond[i] : bar;
}

static void begin_row(const otimes_table_search *search, otimes_table_strip *s, int64_t i,
                      const float *vector)
{
    const otimes_table_columns *c = search->columns;
    float *a = s->vector;
    memcpy(a, vector, (size_t)c->rank * sizeof *a);
    const int exponent = otimes_table_normalise(c->rank, a) + c->exponent;
    s->zero[i] = otimes_table_largest(c->rank, a) == 0;
    otimes_mix_apply(&c->mix, 0, a, s->scratch);
    narrow(search, s, i);
    /* Values below float32's smallest round to it, those above its largest are all alike. */
    s->least_error[i] = s->norm[i] * otimes_table_least_error(c->rank) + ldexp(1, -149 - exponent);
    s->highest[i] = ldexp(FLT_MAX, -exponent);
    s->beyond[i] = search->threshold != 0 && !s->zero[i]
                       ? fmin(ldexp(fabs(search->threshold), -exponent), s->highest[i])
                       : INFINITY;
    for (int end = 0; end < ENDS; end++) {
        if (s->pick[end]) {
            const double shift = end == OTIMES_TABLE_TOP ? s->shift[i] : -s->shift[i];
            otimes_table_pick_begin(&s->pick[end][i], shift + s->norm[i] * s->guess[end]);
        }
        set_reach(search, s, end, i);
    }
}

/* Rows that fill up the last six look for nothing. */
static void begin_empty(otimes_table_strip *s, int64_t i, int64_t bytes)
{
    memset(s->narrow + i * bytes, 0, (size_t)bytes);
    s->finer[i] = 1;
    s->offset[i] = s->shift[i] = s->norm[i] = s->lost_norm[i] = s->least_error[i] = 0;
    s->reach[0][i] = s->reach[1][i] = INFINITY;
}

/* ---- the panels ---- */

/* One more than rounding, and within 32 bits: no sum is that large. */
static inline int32_t limit(double x, int32_t further)
{
    const double bound = 2147483646;
    const double low = x > -bound ? x : -bound;
    return (int32_t)(low < bound ? low : bound) + further;
}

/* Sums that can reach what must be reached: the least for the top, the most for the bottom; and which rows
 * can reach it at all, by the norms. */
static void set_limits(const otimes_table_strip *s, const otimes_table_panel *panel, int64_t rows)
{
    const double *restrict lost_norm = s->lost_norm, *restrict norm = s->norm;
    const double *restrict finer = s->finer, *restrict shift = s->shift;
    const double *restrict least_error = s->least_error, *restrict offset = s->offset;
    const double *restrict top = s->reach[0], *restrict bottom = s->reach[1];
    int32_t *restrict above = s->above, *restrict below = s->below, *restrict alive = s->alive;
    const double per_step = 1 / panel->step, size = panel->norm, lost = panel->error;
    for (int64_t i = 0; i < rows; i++) {
        const double error = lost_norm[i] * size + norm[i] * lost + least_error[i];
        const double scale = finer[i] * per_step;
        above[i] = limit((top[i] - shift[i] - error) * scale + offset[i], -1);
        below[i] = limit((error - bottom[i] - shift[i]) * scale + offset[i], 1);
    }
    for (int64_t i = 0; i < rows; i++) {
        const double most = norm[i] * (size + lost) + least_error[i];
        alive[i] = (shift[i] + most >= top[i]) | (most - shift[i] >= bottom[i]);
    }
}

static void offer(const otimes_table_search *search, otimes_table_strip *s, int end, int64_t i,
                  int32_t column, double value, double error, int64_t place)
{
    otimes_table_pick *pick = &s->pick[end][i];
    const double least = value - error, highest = s->highest[i];
    if (value + error >= pick->bar) {
        otimes_table_pick_add(pick, column, least < -highest ? -INFINITY : fmin(least, highest),
                              value + error);
        otimes_table_pick_raise(pick, place);
        set_reach(search, s, end, i);
    }
}

/* The walk through the panels: what one let through is looked at after the next, while whose products
 * run its columns are fetched. */
typedef struct visit {
    const int32_t *order; /* of the panel that let it through */
    int64_t count;        /* of maybes */
    int64_t place[ENDS];  /* of the bar among the lower bounds */
    int64_t first;        /* of the strip in the sheet */
} visit;

static int keep(otimes_table_finds *finds, int64_t row, int32_t column, otimes_table_kind kind,
                otimes_err *err)
{
    const int rc = OTIMES_GROW(&finds->found, finds->count, &finds->capacity, err);
    if (rc == OTIMES_OK) {
        finds->found[finds->count++] = (otimes_table_found){(int32_t)row, column, kind, 0};
    }
    return rc;
}

/* An entry that 8 bits let through, in 16. */
static int consider(const otimes_table_search *search, otimes_table_strip *s, const visit *v,
                    int64_t i, int32_t column, otimes_table_finds *finds, otimes_err *err)
{
    const otimes_table_columns *c = search->columns;
    const otimes_table_column *of = &c->column[column];
    const double product = (double)search->screen->dot(c->wide, s->integers + i * c->wide,
                                                       c->integers + column * c->wide);
    const double value = s->shift[i] + product * s->wide_step[i] * of->step;
    const double error = s->wide_lost[i] * of->norm + s->norm[i] * of->error + s->least_error[i];
    if (s->pick[OTIMES_TABLE_TOP]) {
        offer(search, s, OTIMES_TABLE_TOP, i, column, value, error, v->place[OTIMES_TABLE_TOP]);
    }
    if (s->pick[OTIMES_TABLE_BOTTOM]) {
        offer(search, s, OTIMES_TABLE_BOTTOM, i, column, -value, error,
              v->place[OTIMES_TABLE_BOTTOM]);
    }
    if ((search->threshold > 0 ? value : -value) + error < s->beyond[i]) {
        return OTIMES_OK;
    }
    return keep(finds, v->first + i, column, OTIMES_TABLE_BEYOND, err);
}

/* What the masks say, column by column: each column's vector is fetched once. */
static int64_t list_maybes(otimes_table_strip *s)
{
    int64_t end[COLUMNS + 1] = {0};
    for (int64_t i = 0; i < s->rows; i++) {
        for (uint64_t left = s->mask[i]; left; left &= left - 1) {
            end[__builtin_ctzll(left) + 1]++;
        }
    }
    for (int j = 0; j < COLUMNS; j++) {
        end[j + 1] += end[j];
    }
    const int64_t count = end[COLUMNS];
    for (int64_t i = 0; i < s->rows; i++) {
        for (uint64_t left = s->mask[i]; left; left &= left - 1) {
            const int lane = __builtin_ctzll(left);
            s->maybe[end[lane]++] = (maybe){(int32_t)i, lane};
        }
    }
    return count;
}

/* Asks for the vectors of the next `most` columns that are waited for, from *at on. */
static void fetch(const otimes_table_search *search, const otimes_table_strip *s, const visit *v,
                  int64_t most, int64_t *at)
{
    enum { LINE = 64 / sizeof(int16_t) };
    const otimes_table_columns *c = search->columns;
    for (int32_t lane = -1; *at < v->count && most > 0; ++*at) {
        const int32_t column = v->order[s->maybe[*at].lane];
        if (s->maybe[*at].lane == lane || column < 0) {
            continue;
        }
        lane = s->maybe[*at].lane;
        most--;
        for (int64_t k = 0; k < c->wide; k += LINE) {
            __builtin_prefetch(c->integers + column * c->wide + k);
        }
    }
}

/* Masks of all rows with a panel. */
static void find_in_panel(const otimes_table_search *search, otimes_table_strip *s, const visit *v,
                          int64_t panel, int64_t rows)
{
    enum { SIX = OTIMES_SCREEN_ROWS, EACH = 2 };
    const otimes_table_columns *c = search->columns;
    const int64_t bytes = c->steps * OTIMES_SCREEN_STEP;
    int64_t fetched = 0;
    set_limits(s, &c->panel[panel], rows);
    for (int64_t i = 0; i < rows; i += SIX) {
        int32_t alive = 0;
        for (int r = 0; r < SIX; r++) {
            alive |= s->alive[i + r];
            s->mask[i + r] = 0;
        }
        if (alive) {
            search->screen->find(SIX, c->steps, s->narrow + i * bytes,
                                 c->panels + panel * bytes * COLUMNS, s->above + i, s->below + i,
                                 s->mask + i);
        }
        fetch(search, s, v, EACH, &fetched);
    }
}

static int look_at(const otimes_table_search *search, otimes_table_strip *s, const visit *v,
                   otimes_table_finds *finds, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t k = 0; rc == OTIMES_OK && k < v->count; k++) {
        const int32_t column = v->order[s->maybe[k].lane];
        if (column >= 0) {
            rc = consider(search, s, v, s->maybe[k].row, column, finds, err);
        }
    }
    return rc;
}

/* What is left of a row. One of zeros has zeros alone, of which the first count. */
static int end_row(otimes_table_strip *s, int64_t first, int64_t i, otimes_table_finds *finds,
                   bool *lost, otimes_err *err)
{
    int rc = OTIMES_OK;
    *lost = false;
    for (int end = 0; end < ENDS && !s->zero[i]; end++) {
        if (s->pick[end]) {
            otimes_table_pick_end(&s->pick[end][i]);
            *lost = *lost || s->pick[end][i].lost;
        }
    }
    for (int end = 0; end < ENDS && !*lost; end++) {
        const otimes_table_pick *pick = s->pick[end] ? &s->pick[end][i] : NULL;
        const int64_t count = !pick ? 0 : s->zero[i] ? pick->capacity : pick->count;
        for (int64_t k = 0; rc == OTIMES_OK && k < count; k++) {
            rc = keep(finds, first + i, s->zero[i] ? (int32_t)k : pick->column[k],
                      (otimes_table_kind)end, err);
        }
    }
    return rc;
}

/* Rows of a vocabulary are much alike: the next strip's bars begin a little below where the lowest of these
 * has ended, over its norm. */
static void guess_next(otimes_table_strip *s, int end, int64_t rows)
{
    double least = INFINITY;
    int64_t lost = 0, found = 0;
    for (int64_t i = 0; s->pick[end] && i < rows; i++) {
        const otimes_table_pick *pick = &s->pick[end][i];
        const double shift = end == OTIMES_TABLE_TOP ? s->shift[i] : -s->shift[i];
        lost += pick->lost;
        if (!s->zero[i] && !pick->lost && pick->sure == pick->capacity) {
            least = fmin(least, (pick->least[pick->capacity - 1] - shift) / s->norm[i]);
            found++;
        }
    }
    s->guess[end] =
        found >= MOST_ROWS / 4 && lost < found / 16 ? least - 0.02 * fabs(least) : -INFINITY;
}

int otimes_table_search_strip(const otimes_table_search *search, otimes_table_strip *strip,
                              int64_t first, int64_t rows, const float *vectors,
                              otimes_table_finds *finds, bool *lost, otimes_err *err)
{
    const otimes_table_columns *c = search->columns;
    const int64_t bytes = c->steps * OTIMES_SCREEN_STEP;
    const int64_t whole = (rows + OTIMES_SCREEN_ROWS - 1) / OTIMES_SCREEN_ROWS * OTIMES_SCREEN_ROWS;
    visit v = {.first = first};
    int rc = OTIMES_OK;
    strip->rows = rows;
    for (int64_t i = 0; i < rows; i++) {
        begin_row(search, strip, i, vectors + i * c->rank);
    }
    for (int64_t i = rows; i < whole; i++) {
        begin_empty(strip, i, bytes);
    }
    for (int64_t p = 0; rc == OTIMES_OK && p < c->panel_count; p++) {
        const int64_t panel = search->cautious ? p : search->visits[p];
        const double share = search->cautious ? 1 : (double)p / (double)c->panel_count;
        v.place[OTIMES_TABLE_TOP] = otimes_table_pick_place(search->top, share);
        v.place[OTIMES_TABLE_BOTTOM] = otimes_table_pick_place(search->bottom, share);
        find_in_panel(search, strip, &v, panel, whole);
        rc = look_at(search, strip, &v, finds, err);
        v.order = c->order + panel * COLUMNS;
        v.count = list_maybes(strip);
    }
    v.place[OTIMES_TABLE_TOP] = search->top - 1;
    v.place[OTIMES_TABLE_BOTTOM] = search->bottom - 1;
    rc = rc == OTIMES_OK ? look_at(search, strip, &v, finds, err) : rc;
    for (int64_t i = 0; rc == OTIMES_OK && i < rows; i++) {
        rc = end_row(strip, first, i, finds, &lost[i], err);
    }
    for (int end = 0; end < ENDS; end++) {
        guess_next(strip, end, rows);
    }
    return rc;
}
