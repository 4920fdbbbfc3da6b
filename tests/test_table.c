/* SPDX-License-Identifier: MIT
 *
 * The table engine against whole tables, entry by entry: both ways, on every kind of data, all numbers of
 * extremes, thresholds, threads, sets of kernels, shapes drawn by thousands. `test_table N` draws those from
 * number N on. Linked with --wrap.
 */
#include "support.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "num/screen.h"
#include "sanitized.h"
#include "table_kinds.h"

#ifdef SANITIZED
enum { SHAPES = 400, K_STEP = 9, SHARE = 8 };
#else
enum { SHAPES = 2200, K_STEP = 1, SHARE = 1 };
#endif

static const otimes_table_way ways[] = {OTIMES_TABLE_BLOCKS, OTIMES_TABLE_SCREEN};
enum { WAYS = sizeof ways / sizeof *ways };
static const int thread_counts[] = {1, 2, 3, 7};
static uint64_t first_shape;

/* The screen takes the fastest kernels there are, but for the first `kernels` of them. */
static int kernels;
const otimes_screen *__real_otimes_screen_choice(int rank);
const otimes_screen *__wrap_otimes_screen_choice(int rank);
const otimes_screen *__wrap_otimes_screen_choice(int rank)
{
    const otimes_screen *slower = __real_otimes_screen_choice(rank + kernels);
    return slower ? slower : &otimes_screen_reference;
}

/* Its own, so that what is drawn does not depend on how much a table took. */
static uint64_t draw_state;

static int64_t draw(int64_t below)
{
    uint64_t z = draw_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (int64_t)((z ^ (z >> 31)) % (uint64_t)below);
}

/* Every k from 1 to 100 at one end, the others at the other, on each kind, by each way. The columns end
 * in the middle of a run, and for the largest k there are fewer of them. */
static void every_kind_and_k(void **state)
{
    (void)state;
    for (const table_kind *kind = table_kinds; kind->name; kind++) {
        const int64_t number = kind - table_kinds, columns = number % 4 ? 190 + number : 97;
        tabled t = table_of_kind(kind, 5 + number % 5, columns, 9 + number % 32, 77);
        for (int64_t k = 1 + number % K_STEP; k <= 100; k += K_STEP) {
            for (int w = 0; w < WAYS; w++) {
                const tabled_ask ask = {.top = k,
                                        .bottom = 101 - k,
                                        .way = ways[w],
                                        .threads = thread_counts[k % 2],
                                        .transposed = k % 8 == 5};
                tabled_hold(&t, &ask, kind->name);
            }
        }
        tabled_free(&t);
    }
}

/* ---- shapes ---- */

/* As many small as large ones, and often what ends at an edge of a tile. */
static int64_t draw_size(int64_t most)
{
    static const int64_t edges[] = {1,  2,  15,  16,  17,  31,  32,  33, 63,
                                    64, 65, 127, 128, 129, 255, 256, 257};
    const int64_t edge = edges[draw(sizeof edges / sizeof *edges)];
    if (draw(3) == 0 && edge <= most) {
        return edge;
    }
    const int64_t limit = 1 + most / (1 << draw(6));
    return 1 + draw(limit < most ? limit : most);
}

/* An entry's value, or what is next to it, or beyond all, or of a size that some are. */
static double draw_threshold(const tabled *t)
{
    const int64_t entries = t->rows * t->columns;
    const double entry = entries ? (double)t->entry[draw(entries)] : 1;
    switch (draw(7)) {
    case 0:
        return nextafter(entry, INFINITY);
    case 1:
        return nextafter(entry, -INFINITY);
    case 2:
        return entry > 0 ? INFINITY : -INFINITY;
    case 3:
        return draw(2) ? 5e-324 : -5e-324;
    case 4:
        return draw(2) ? 1e300 : -1e300;
    case 5:
        return 0;
    default:
        return entry;
    }
}

static void random_shapes(void **state)
{
    (void)state;
    for (uint64_t n = first_shape; n < first_shape + SHAPES; n++) {
        draw_state = n;
        const table_kind *kind = &table_kinds[draw(table_kind_count())];
        const int64_t rows = draw(40) ? draw_size(300) : 0, columns = draw_size(300),
                      rank = draw_size(100);
        tabled t = table_of_kind(kind, rows, columns, rank, n);
        char what[128];
        snprintf(what, sizeof what, "shape %" PRIu64 ", %s", n, kind->name);
        for (int times = 0; times < 2; times++) {
            tabled_ask ask = {.top = draw(4) ? draw_size(100) : 0,
                              .bottom = draw(2) ? draw_size(100) : 0,
                              .threshold = draw_threshold(&t),
                              .threads = thread_counts[draw(4)],
                              .transposed = draw(3) == 0};
            kernels = (int)draw(3);
            for (int w = 0; w < WAYS; w++) {
                ask.way = ways[w];
                tabled_hold(&t, &ask, what);
            }
        }
        tabled_free(&t);
    }
    kernels = 0;
}

/* Around strips of rows and blocks of columns. */
static void edges_of_tiles(void **state)
{
    static const int64_t rows[] = {0, 1, 2, 127, 128, 129, 256, 257};
    static const int64_t columns[] = {0, 1, 2, 99, 100, 1023, 1024, 1025, 2047, 2048, 2049};
    static const int64_t ranks[] = {1, 7, 8, 9, 63, 64, 65};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t j = 0; j < sizeof columns / sizeof *columns; j++) {
            const size_t number = i * sizeof columns / sizeof *columns + j;
            const table_kind *kind = &table_kinds[number % (size_t)table_kind_count()];
            tabled t = table_of_kind(kind, rows[i], columns[j], ranks[number % 7], number);
            kernels = (int)(number % 5 % 3);
            for (int w = 0; w < WAYS; w++) {
                const tabled_ask ask = {.top = 100,
                                        .bottom = 3,
                                        .threshold = number % 2 ? 1 : -1,
                                        .way = ways[w],
                                        .threads = thread_counts[number % 4],
                                        .transposed = number % 3 == 0};
                tabled_hold(&t, &ask, kind->name);
            }
            tabled_free(&t);
        }
    }
    kernels = 0;
}

/* A table of vectors without numbers, which the screen refuses: all zeros. */
static void no_rank(void **state)
{
    (void)state;
    tabled t = tabled_new(5, 7, 0);
    tabled_ask ask = {.top = 3, .bottom = 9, .threshold = 1, .threads = 1};
    tabled_hold(&t, &ask, "rank 0");
    ask.way = OTIMES_TABLE_BLOCKS;
    tabled_hold(&t, &ask, "rank 0");
    ask.way = OTIMES_TABLE_SCREEN;
    tabled_refused(&t, &ask);
    tabled_free(&t);
}

/* Sums of 8-bit products as large as 32 bits hold, then larger ones: those the screen refuses. */
static void high_rank(void **state)
{
    static const char *const names[] = {"constant", "+-1 and zeros", "positive", "anticorrelated"};
    (void)state;
    for (int i = 0; i < 4; i++) {
        const table_kind *kind = table_kind_named(names[i]);
        for (int above = 0; above < 2; above++) {
            const int64_t rank = OTIMES_SCREEN_RANK + above;
            tabled t = table_of_kind(kind, 3, 37, rank, 5);
            for (otimes_table_way way = OTIMES_TABLE_EITHER; way <= OTIMES_TABLE_SCREEN; way++) {
                kernels = i % 3;
                const tabled_ask ask = {.top = 5, .bottom = 5, .way = way, .threads = 2};
                if (above && way == OTIMES_TABLE_SCREEN) {
                    tabled_refused(&t, &ask);
                } else {
                    tabled_hold(&t, &ask, kind->name);
                }
            }
            tabled_free(&t);
        }
    }
    kernels = 0;
}

/* Several sheets, many blocks; each number of threads gives the same because each gives the right one. */
static void larger(void **state)
{
    static const struct {
        const char *kind;
        int64_t rows, columns, rank, top, bottom;
        double threshold;
    } tables[] = {
        {"gaussian", 2000, 9000, 64, 20, 0, 0},
        {"spectrum", 1000, 9000, 64, 10, 10, 60},
        {"turning rows", 1200, 2000, 20, 30, 0, 0},
        {"turning rows", 1000, 1500, 40, 10, 20, 100},
        {"one large column 1e12", 130, 4000, 9, 4, 4, 2},
        {"one large column 1e35", 130, 4000, 9, 4, 4, -1e30},
        {"outlier dimensions 1e4", 40, 50257, 64, 20, 5, 0},
        {"near ties", 40, 50257, 33, 100, 100, 0},
        {"gaussian", 15500, 150, 7, 3, 3, 9},
        {"integers to 3", 8000, 600, 12, 7, 0, -40},
        {"three vectors", 300, 5000, 40, 100, 1, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const table_kind *kind = table_kind_named(tables[i].kind);
        /* Tables of several sheets keep their rows. */
        const int64_t share = tables[i].rows > 300 && tables[i].rows < 7000 ? SHARE : 1;
        tabled t =
            table_of_kind(kind, tables[i].rows / share, tables[i].columns, tables[i].rank, i);
        for (int n = 0; n < 6; n++) {
            kernels = n % 2; /* the plain-C ones would take long */
            const tabled_ask ask = {.top = tables[i].top,
                                    .bottom = tables[i].bottom,
                                    .threshold = tables[i].threshold,
                                    .way = n < 4 ? OTIMES_TABLE_SCREEN : OTIMES_TABLE_BLOCKS,
                                    .threads = thread_counts[n < 4 ? n : 3 * (n - 4)]};
            tabled_hold(&t, &ask, kind->name);
        }
        tabled_free(&t);
    }
    kernels = 0;
}

/* Beside the float32 product, which users would sort: integers give the same lists; elsewhere columns
 * change places within its rounding. */
static void float32_product(void **state)
{
    tabled_moved all = {0}, gaussian = {0};
    (void)state;
    for (const table_kind *kind = table_kinds; kind->name; kind++) {
        tabled_moved *moved = strcmp(kind->name, "gaussian") == 0 ? &gaussian : &all;
        for (int64_t rank = 3; rank < 100; rank += 40) {
            tabled t = table_of_kind(kind, 40, 700, rank, (uint64_t)rank);
            tabled_beside_product(&t, 100, kind->whole, kind->name, moved);
            tabled_free(&t);
        }
    }
    print_message(
        "the float32 product has another column in %d of %d places, on gaussian data in %d of "
        "%d; %d rows of it overflow\n",
        (int)all.moved, (int)all.places, (int)gaussian.moved, (int)gaussian.places,
        (int)all.rows_not_finite);
    assert_true(all.moved > 0 && gaussian.moved < gaussian.places / 1000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_and_k), cmocka_unit_test(edges_of_tiles),
        cmocka_unit_test(no_rank),          cmocka_unit_test(high_rank),
        cmocka_unit_test(random_shapes),    cmocka_unit_test(larger),
        cmocka_unit_test(float32_product),
    };
    first_shape = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
