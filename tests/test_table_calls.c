/* SPDX-License-Identifier: MIT
 *
 * What the table engine calls, when and with what: sheets, those that are skipped, ticks, consumers of every
 * entry, and errors of all of them.
 */
#include "support.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "table_kinds.h"

static const otimes_table_way ways[] = {OTIMES_TABLE_BLOCKS, OTIMES_TABLE_SCREEN};
enum { WAYS = sizeof ways / sizeof *ways, OWN_ERROR = OTIMES_ERR_IO };

/* ---- the order of calls ---- */

enum { MOST_SHEETS = 8 };

typedef struct calls {
    const tabled *t;
    tabled_ask ask;
    int64_t rows, sheet_rows;
    unsigned skipped; /* bit s: sheet s is done already */
    int64_t asked, begun, finished, ticks;
    double share;
    int64_t fail_begin, fail_finish, fail_tick; /* number of the call that fails; -1: none */
    otimes_table_sheet current;
} calls;

static int64_t rows_of(const calls *c, int64_t sheet)
{
    const int64_t left = c->rows - sheet * c->sheet_rows;
    return left < c->sheet_rows ? left : c->sheet_rows;
}

static bool is_skipped(const calls *c, int64_t sheet)
{
    return c->skipped >> sheet & 1;
}

static int skip_done(void *context, int64_t first_row, int64_t rows)
{
    calls *c = context;
    assert_int_equal(first_row, c->asked * c->sheet_rows);
    assert_int_equal(rows, rows_of(c, c->asked));
    return is_skipped(c, c->asked++);
}

static int begin(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    calls *c = context;
    const float *side = c->ask.transposed ? c->t->y : c->t->x;
    assert_int_equal(sheet->first_row, (c->asked - 1) * c->sheet_rows);
    assert_int_equal(sheet->rows, rows_of(c, c->asked - 1));
    assert_false(is_skipped(c, c->asked - 1));
    assert_memory_equal(sheet->vectors, side + sheet->first_row * c->t->rank,
                        (size_t)(sheet->rows * c->t->rank) * sizeof *side);
    assert_int_equal(c->begun, c->finished);
    return c->begun++ == c->fail_begin ? otimes_fail(err, OWN_ERROR, "begin %d", (int)c->begun)
                                       : OTIMES_OK;
}

static int finish(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    calls *c = context;
    char why[TABLED_WHY] = "";
    assert_int_equal(c->begun, c->finished + 1);
    assert_int_equal(sheet->first_row, (c->asked - 1) * c->sheet_rows);
    assert_int_equal(sheet->rows, rows_of(c, c->asked - 1));
    if (!tabled_sheet_holds(c->t, &c->ask, sheet, why)) {
        fail_msg("%s", why);
    }
    return c->finished++ == c->fail_finish
               ? otimes_fail(err, OWN_ERROR, "finish %d", (int)c->finished)
               : OTIMES_OK;
}

static int tick(void *context, double share, otimes_err *err)
{
    calls *c = context;
    assert_true(share >= c->share && share <= 1);
    c->share = share;
    return c->ticks++ == c->fail_tick
               ? otimes_fail(err, OTIMES_ERR_CANCELLED, "tick %d", (int)c->ticks)
               : OTIMES_OK;
}

static int run_calls(calls *c, otimes_err *err)
{
    tabled_sides sides;
    tabled_open(&sides, c->t, &c->ask);
    c->rows = sides.table.row.count;
    c->sheet_rows = otimes_table_sheet_rows(&sides.table);
    assert_true((c->rows + c->sheet_rows - 1) / c->sheet_rows <= MOST_SHEETS);
    c->asked = c->begun = c->finished = c->ticks = 0;
    c->share = 0;
    const otimes_table_ask ask = {
        .top = c->ask.top,
        .bottom = c->ask.bottom,
        .threshold = c->ask.threshold,
        .way = c->ask.way,
        .skip = skip_done,
        .begin = begin,
        .finish = finish,
        .tick = tick,
        .context = c,
    };
    return otimes_table_run(&sides.table, &ask, err);
}

/* A table of three sheets. */
static tabled three_sheets(void)
{
    return table_of_kind(table_kind_named("gaussian"), 2 * 7680 + 130, 41, 3, 3);
}

static calls calls_on(const tabled *t, otimes_table_way way)
{
    return (calls){.t = t,
                   .ask = {.top = 4, .bottom = 2, .threshold = 6, .way = way, .threads = 2},
                   .fail_begin = -1,
                   .fail_finish = -1,
                   .fail_tick = -1};
}

/* Whatever part is done already, the rest comes, as in one go. */
static void skipped_sheets(void **state)
{
    (void)state;
    tabled t = three_sheets();
    for (int w = 0; w < WAYS; w++) {
        for (unsigned done = 0; done < 8; done++) {
            calls c = calls_on(&t, ways[w]);
            otimes_err err = {0};
            c.skipped = done;
            assert_ok(run_calls(&c, &err), &err);
            assert_int_equal(c.sheet_rows, 7680);
            assert_int_equal(c.asked, 3);
            assert_int_equal(c.finished, 3 - __builtin_popcount(done));
            assert_true(c.share == 1);
        }
    }
    tabled_free(&t);
}

/* The sheets of a table are of its own shape alone: those of a resumed run are the same. */
static void same_sheets(void **state)
{
    static const int64_t ranks[] = {0, 1, 64, 768, 4096, 16384, 100000};
    (void)state;
    for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++) {
        for (int64_t rows = 0; rows < 40000; rows += rows < 3 ? 1 : 4999) {
            const otimes_table one = {.rank = ranks[r], .row.count = rows, .threads = 1},
                               other = {.rank = ranks[r], .row.count = rows, .threads = 7};
            const int64_t sheet = otimes_table_sheet_rows(&one);
            assert_int_equal(sheet, otimes_table_sheet_rows(&other));
            assert_true(sheet <= rows && (sheet > 0 || rows == 0));
            assert_true(sheet == rows || sheet % 128 == 0);
        }
    }
}

/* An error of any callback ends the run with that error, and nothing is finished after it. */
static void failing_callbacks(void **state)
{
    (void)state;
    tabled t = three_sheets();
    for (int w = 0; w < WAYS; w++) {
        for (int n = 0; n < 3; n++) {
            calls c = calls_on(&t, ways[w]);
            otimes_err err = {0};
            char text[32];
            c.fail_begin = n;
            assert_int_equal(run_calls(&c, &err), OWN_ERROR);
            snprintf(text, sizeof text, "begin %d", n + 1);
            assert_string_equal(err.msg, text);
            assert_int_equal(c.finished, n);
            c = calls_on(&t, ways[w]);
            c.fail_finish = n;
            assert_int_equal(run_calls(&c, &err), OWN_ERROR);
            snprintf(text, sizeof text, "finish %d", n + 1);
            assert_string_equal(err.msg, text);
            assert_int_equal(c.finished, n + 1);
        }
    }
    tabled_free(&t);
}

/* Each tick may stop it; there is one at least every sheet. */
static void stopped_by_tick(void **state)
{
    (void)state;
    tabled t = three_sheets();
    for (int w = 0; w < WAYS; w++) {
        calls c = calls_on(&t, ways[w]);
        int rc = OTIMES_ERR_CANCELLED;
        for (int n = 0; rc != OTIMES_OK; n++) {
            otimes_err err = {0};
            c.fail_tick = n;
            rc = run_calls(&c, &err);
            if (rc != OTIMES_OK) {
                assert_int_equal(rc, OTIMES_ERR_CANCELLED);
                assert_int_equal(c.ticks, n + 1);
                assert_int_equal(strncmp(err.msg, "tick", 4), 0);
                assert_true(c.finished < 3);
            }
        }
        assert_true(c.ticks >= 3 && c.finished == 3);
    }
    tabled_free(&t);
}

/* ---- sides ---- */

/* A side that cannot read one of its vectors, and looks at what it is asked for. */
typedef struct weak_side {
    otimes_table_vectors vectors;
    int64_t count, bad; /* -1: none is */
    atomic_int *wrong;  /* times it was asked for what is not there, or out of order */
} weak_side;

static int read_weakly(const void *context, const int64_t *ids, int64_t first, int64_t count,
                       float *out, otimes_err *err)
{
    const weak_side *side = context;
    int64_t before = -1;
    for (int64_t i = 0; i < count; i++) {
        const int64_t id = ids ? ids[i] : first + i;
        if (id <= before || id >= side->count) {
            atomic_fetch_add(side->wrong, 1);
            continue;
        }
        if (id == side->bad) {
            return otimes_fail(err, OWN_ERROR, "vector %d", (int)id);
        }
        memcpy(out + i * side->vectors.rank, side->vectors.vectors + id * side->vectors.rank,
               (size_t)side->vectors.rank * sizeof *out);
        before = id;
    }
    return OTIMES_OK;
}

typedef struct weak {
    weak_side x, y;
    otimes_table table;
    atomic_int wrong;
    int64_t finished;
} weak;

static void weak_open(weak *f, const tabled *t, int threads)
{
    memset(f, 0, sizeof *f);
    f->x = (weak_side){.vectors = {t->rank, t->x}, .count = t->rows, .bad = -1, .wrong = &f->wrong};
    f->y =
        (weak_side){.vectors = {t->rank, t->y}, .count = t->columns, .bad = -1, .wrong = &f->wrong};
    f->table = (otimes_table){.rank = t->rank,
                              .row = {t->rows, read_weakly, &f->x},
                              .column = {t->columns, read_weakly, &f->y},
                              .threads = threads};
}

static int count_finished(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    weak *f = context;
    (void)sheet, (void)err;
    f->finished++;
    return OTIMES_OK;
}

/* Whichever vector of either side it is: the error comes out, and no sheet of it is finished. */
static void failing_sides(void **state)
{
    (void)state;
    tabled t = table_of_kind(table_kind_named("gaussian"), 300, 2100, 5, 4);
    for (int n = 0; n < 60 * WAYS; n++) {
        weak f;
        otimes_err err = {0};
        char text[32];
        weak_open(&f, &t, 1 + n % 3);
        weak_side *side = n / WAYS % 2 ? &f.x : &f.y;
        side->bad = n < 2 * WAYS ? side->count - 1 : n * 7919 % side->count;
        const otimes_table_ask ask = {
            .top = 3, .way = ways[n % WAYS], .finish = count_finished, .context = &f};
        assert_int_equal(otimes_table_run(&f.table, &ask, &err), OWN_ERROR);
        snprintf(text, sizeof text, "vector %d", (int)side->bad);
        assert_string_equal(err.msg, text);
        assert_int_equal(f.finished, 0);
        assert_int_equal(f.wrong, 0);
        side->bad = -1;
        assert_ok(otimes_table_run(&f.table, &ask, &err), &err);
        assert_int_equal(f.finished, 1);
    }
    tabled_free(&t);
}

/* ---- consumers ---- */

typedef struct watcher {
    const tabled *t;
    const tabled_ask *ask;
    atomic_uchar *seen;   /* [rows, columns] times an entry came */
    atomic_int *busy;     /* [rows] strips under way */
    int64_t *next_column; /* [rows] */
    atomic_int wrong;     /* out of order, two at once, or not the table's */
    double margin;        /* of a float32 sum */
    int64_t blocks, block_entries, fail_block, finished;
} watcher;

enum { MARK = 1000 }; /* added to what a strip has seen */

static void see_strip(void *context, const otimes_table_values *s)
{
    watcher *w = context;
    const int64_t columns = w->t->columns;
    for (int64_t i = s->first_row; i < s->first_row + s->rows; i++) {
        if (atomic_fetch_add(&w->busy[i], 1) != 0 || w->next_column[i] != s->first_column) {
            atomic_fetch_add(&w->wrong, 1);
        }
        for (int64_t j = s->first_column; j < s->first_column + s->columns; j++) {
            float *value = &s->values[(i - s->first_row) * s->columns + j - s->first_column];
            const float entry = w->t->entry[i * columns + j];
            if (!(fabs((double)*value - (double)entry) <= w->margin)) {
                atomic_fetch_add(&w->wrong, 1);
            }
            atomic_fetch_add(&w->seen[i * columns + j], 1);
            *value = entry + MARK;
        }
        w->next_column[i] = s->first_column + s->columns;
        atomic_fetch_sub(&w->busy[i], 1);
    }
}

static int see_block(void *context, const otimes_table_values *b, otimes_err *err)
{
    watcher *w = context;
    const int64_t columns = w->t->columns;
    for (int64_t i = b->first_row; i < b->first_row + b->rows; i++) {
        for (int64_t j = b->first_column; j < b->first_column + b->columns; j++) {
            const float value = b->values[(i - b->first_row) * b->columns + j - b->first_column];
            assert_int_equal(w->seen[i * columns + j], 1);
            assert_true(value == w->t->entry[i * columns + j] + MARK);
            w->seen[i * columns + j]++;
        }
    }
    w->block_entries += b->rows * b->columns;
    return w->blocks++ == w->fail_block ? otimes_fail(err, OWN_ERROR, "block %d", (int)w->blocks)
                                        : OTIMES_OK;
}

static int hold_sheet(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    watcher *w = context;
    char why[TABLED_WHY] = "";
    (void)err;
    if (!tabled_sheet_holds(w->t, w->ask, sheet, why)) {
        fail_msg("%s", why);
    }
    w->finished++;
    return OTIMES_OK;
}

static watcher watcher_of(const tabled *t, const tabled_ask *ask)
{
    watcher w = {.t = t, .ask = ask, .fail_block = -1, .margin = 1e-4};
    w.seen = calloc((size_t)(t->rows * t->columns) + 1, sizeof *w.seen);
    w.busy = calloc((size_t)t->rows + 1, sizeof *w.busy);
    w.next_column = calloc((size_t)t->rows + 1, sizeof *w.next_column);
    assert_true(w.seen && w.busy && w.next_column);
    return w;
}

static int run_watched(watcher *w, const otimes_table_consumer *consumer, otimes_err *err)
{
    tabled_sides sides;
    tabled_open(&sides, w->t, w->ask);
    const otimes_table_ask ask = {.top = w->ask->top,
                                  .bottom = w->ask->bottom,
                                  .threshold = w->ask->threshold,
                                  .way = w->ask->way,
                                  .every = consumer,
                                  .finish = hold_sheet,
                                  .context = w};
    return otimes_table_run(&sides.table, &ask, err);
}

static void watcher_free(watcher *w)
{
    free(w->seen);
    free(w->busy);
    free(w->next_column);
}

/* Every entry comes once to the strips and once to the blocks, where it is as the strips left it; what is
 * found does not depend on what they leave. */
static void consumers(void **state)
{
    static const otimes_table_consumer both = {see_strip, see_block}, strips = {see_strip, NULL};
    static const int64_t shapes[][3] = {{300, 2100, 9}, {129, 1024, 20}, {128, 1025, 8}, {1, 1, 1},
                                        {7700, 90, 2},  {0, 5, 3},       {5, 0, 3}};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        const int64_t *shape = shapes[i / 2];
        tabled t = table_of_kind(table_kind_named("gaussian"), shape[0], shape[1], shape[2], i);
        const tabled_ask ask = {.top = 5,
                                .bottom = 5,
                                .threshold = 3,
                                .threads = 1 + (int)(i % 4),
                                .way = i % 3 == 0 ? OTIMES_TABLE_BLOCKS : OTIMES_TABLE_EITHER};
        watcher w = watcher_of(&t, &ask);
        otimes_err err = {0};
        assert_ok(run_watched(&w, i % 2 ? &strips : &both, &err), &err);
        assert_int_equal(w.wrong, 0);
        assert_int_equal(w.block_entries, i % 2 ? 0 : t.rows * t.columns);
        for (int64_t e = 0; e < t.rows * t.columns; e++) {
            assert_int_equal(w.seen[e], i % 2 ? 1 : 2);
        }
        watcher_free(&w);
        tabled_free(&t);
    }
}

/* An error of block number n ends the run; the screen has no entries to show. */
static void failing_consumers(void **state)
{
    static const otimes_table_consumer both = {see_strip, see_block};
    (void)state;
    tabled t = table_of_kind(table_kind_named("gaussian"), 200, 2100, 9, 2);
    tabled_ask ask = {.top = 5, .threads = 2};
    for (int n = 0; n < 3; n++) {
        watcher w = watcher_of(&t, &ask);
        otimes_err err = {0};
        char text[32];
        w.fail_block = n;
        assert_int_equal(run_watched(&w, &both, &err), OWN_ERROR);
        snprintf(text, sizeof text, "block %d", n + 1);
        assert_string_equal(err.msg, text);
        assert_int_equal(w.finished, 0);
        watcher_free(&w);
    }
    ask.way = OTIMES_TABLE_SCREEN;
    watcher w = watcher_of(&t, &ask);
    otimes_err err = {0};
    assert_int_equal(run_watched(&w, &both, &err), OTIMES_ERR_ARGUMENT);
    assert_int_equal(w.finished + w.blocks, 0);
    watcher_free(&w);
    tabled_free(&t);
}

/* A table, and what is asked of it. */
typedef struct asked {
    tabled t;
    tabled_ask ask;
    int64_t held; /* rows */
} asked;

static int hold_short_sheet(void *context, const otimes_table_sheet *sheet, otimes_err *err)
{
    asked *a = context;
    char why[TABLED_WHY];
    (void)err;
    if (sheet->rows > 100) {
        return OTIMES_OK;
    }
    if (!tabled_sheet_holds(&a->t, &a->ask, sheet, why)) {
        fail_msg("%s", why);
    }
    a->held += sheet->rows;
    return OTIMES_OK;
}

/* Of one number over and over the screen loses nearly all rows of a sheet: the next one goes by blocks. */
static void useless_screen(void **state)
{
    asked a = {.ask = {.top = 1, .way = OTIMES_TABLE_SCREEN, .threads = 2}};
    otimes_err err = {0};
    tabled_sides sides;
    (void)state;
    a.t = table_of_kind(table_kind_named("constant"), 7680 + 20, 1100, 3, 6);
    tabled_open(&sides, &a.t, &a.ask);
    const otimes_table_ask ask = {
        .top = 1, .way = OTIMES_TABLE_SCREEN, .finish = hold_short_sheet, .context = &a};
    assert_ok(otimes_table_run(&sides.table, &ask, &err), &err);
    assert_int_equal(a.held, 20);
    tabled_free(&a.t);
}

/* The place of a vector that holds no numbers, read in order and by places. */
static void no_numbers(void **state)
{
    enum { COUNT = 6, RANK = 2 };
    static const int64_t ids[] = {0, 3, 5};
    float x[COUNT * RANK] = {0}, out[COUNT * RANK];
    const otimes_table_vectors vectors = {RANK, x};
    const otimes_table_side side = otimes_table_side_in_memory(&vectors, COUNT);
    otimes_err err = {0};
    (void)state;
    x[3 * RANK + 1] = NAN;
    assert_int_equal(otimes_table_read(&side, RANK, NULL, 2, 3, out, &err), OTIMES_ERR_VALUE);
    assert_non_null(strstr(err.msg, "got nan in the one at place 3"));
    x[3 * RANK + 1] = 0;
    x[5 * RANK] = -INFINITY;
    assert_int_equal(otimes_table_read(&side, RANK, ids, 0, 3, out, &err), OTIMES_ERR_VALUE);
    assert_non_null(strstr(err.msg, "got -inf in the one at place 5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(skipped_sheets),    cmocka_unit_test(same_sheets),
        cmocka_unit_test(failing_callbacks), cmocka_unit_test(stopped_by_tick),
        cmocka_unit_test(failing_sides),     cmocka_unit_test(consumers),
        cmocka_unit_test(failing_consumers), cmocka_unit_test(no_numbers),
        cmocka_unit_test(useless_screen),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
