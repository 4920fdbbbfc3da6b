/* SPDX-License-Identifier: MIT
 *
 * The strongest entries of circuits over the vocabulary against the whole table in double.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/strongest.h"

enum { TOP = 40, MANY = 6000 };

/* A number in (-1, 1) from its place alone. */
static double number(uint64_t place)
{
    uint64_t x = place * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u;
    x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9u;
    x ^= x >> 29;
    return (double)(int64_t)(x >> 11) / 4503599627370496.0 - 1.0;
}

/* All rows of an end as the model has them. */
static float *rows_of(const otimes_model *model, const otimes_unembed *unembed, int64_t *count)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_err err = {0};
    *count = unembed ? info->d_vocab_out : info->d_vocab;
    float *rows = malloc((size_t)(*count * info->d_model) * sizeof *rows);
    assert_non_null(rows);
    assert_ok(unembed ? otimes_unembed_rows(unembed, 0, *count, rows, &err)
                      : otimes_embed_rows(model, 0, *count, rows, &err),
              &err);
    return rows;
}

/* The table, entry by entry. */
static double *table_of(const otimes_model *model, const otimes_strongest_ask *ask, int64_t *rows,
                        int64_t *columns)
{
    const int64_t d = otimes_model_describe(model)->d_model, rank = ask->rank;
    float *x = rows_of(model, ask->row.unembed, rows),
          *y = rows_of(model, ask->column.unembed, columns);
    double *table = calloc((size_t)(*rows * *columns), sizeof *table);
    double *p = calloc((size_t)(*rows * rank), sizeof *p),
           *q = calloc((size_t)(*columns * rank), sizeof *q);
    assert_true(table && p && q);
    for (int64_t k = 0; k < rank; k++) {
        for (int64_t j = 0; j < d; j++) {
            for (int64_t i = 0; i < *rows; i++) {
                p[i * rank + k] += (double)x[i * d + j] * ask->left[j * rank + k];
            }
            for (int64_t i = 0; i < *columns; i++) {
                q[i * rank + k] += (double)y[i * d + j] * ask->right[j * rank + k];
            }
        }
    }
    for (int64_t i = 0; i < *rows; i++) {
        for (int64_t j = 0; j < *columns; j++) {
            for (int64_t k = 0; k < rank; k++) {
                table[i * *columns + j] += ask->scale * p[i * rank + k] * q[j * rank + k];
            }
        }
    }
    free(x);
    free(y);
    free(p);
    free(q);
    return table;
}

static bool chosen(const otimes_vocab_end *end, int64_t token)
{
    for (int64_t i = 0; end->tokens && i < end->token_count; i++) {
        if (end->tokens[i] == token) {
            return true;
        }
    }
    return !end->tokens;
}

static int falling(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x > y ? -1 : x < y;
}

/* Values in order, each at its place in the table, each place once, the order of equals. */
static void check(const otimes_model *model, const otimes_strongest_ask *ask)
{
    int64_t rows, columns, count = 0, examined;
    otimes_err err = {0};
    double *table = table_of(model, ask, &rows, &columns);
    double *sorted = calloc((size_t)(rows * columns + 1), sizeof *sorted), largest = 0;
    const double sign = ask->smallest ? -1 : 1;
    for (int64_t i = 0; i < rows * columns; i++) {
        largest = fmax(largest, fabs(table[i]));
        if (chosen(&ask->row, i / columns) && chosen(&ask->column, i % columns)) {
            sorted[count++] = sign * table[i];
        }
    }
    qsort(sorted, (size_t)count, sizeof *sorted, falling);
    otimes_strongest_entry *entry = calloc((size_t)ask->top, sizeof *entry);
    assert_ok(otimes_strongest(model, ask, entry, &examined, &err), &err);
    assert_true(examined <= count);
    const double close = 1e-13 * (double)(otimes_model_describe(model)->d_model) * largest;
    for (int64_t k = 0; k < ask->top; k++) {
        if (k >= count) {
            assert_true(isnan(entry[k].value) && entry[k].row == -1 && entry[k].column == -1);
            continue;
        }
        assert_true(fabs(sign * entry[k].value - sorted[k]) <= close);
        assert_true(chosen(&ask->row, entry[k].row) && chosen(&ask->column, entry[k].column));
        assert_true(fabs(entry[k].value - table[entry[k].row * columns + entry[k].column]) <=
                    close);
        const otimes_strongest_entry *before = k ? &entry[k - 1] : NULL;
        if (before && before->value == entry[k].value) {
            assert_true(before->row < entry[k].row ||
                        (before->row == entry[k].row && before->column < entry[k].column));
        }
        for (int64_t other = 0; other < k; other++) {
            assert_false(entry[other].row == entry[k].row &&
                         entry[other].column == entry[k].column);
        }
    }
    free(entry);
    free(sorted);
    free(table);
}

/* Factors whose first columns weigh the most, as those of circuits do. */
static double *factor(int64_t d, int64_t rank, uint64_t seed)
{
    double *f = calloc((size_t)(d * rank), sizeof *f);
    assert_non_null(f);
    for (int64_t i = 0; i < d * rank; i++) {
        f[i] = number(seed + (uint64_t)i) / (double)(1 + i % rank);
    }
    return f;
}

static void equals_the_table(void **state)
{
    static const int64_t few[] = {0, 2, 3, 5};
    (void)state;
    for (int g_at = 0; golden_names[g_at]; g_at++) {
        golden g;
        otimes_unembed unembed;
        otimes_err err = {0};
        golden_open(&g, golden_names[g_at], true);
        const int64_t d = otimes_model_describe(g.model)->d_model, rank = 5;
        double *left = factor(d, rank, 1), *right = factor(d, rank, 5000);
        assert_ok(otimes_unembed_open(g.model, &unembed, &err), &err);
        otimes_strongest_ask ask = {.column = {.unembed = &unembed},
                                    .left = left,
                                    .right = right,
                                    .rank = rank,
                                    .scale = 0.37,
                                    .top = TOP};
        check(g.model, &ask); /* an OV circuit */
        ask.smallest = 1;
        check(g.model, &ask);
        ask.column.unembed = NULL; /* a QK circuit */
        ask.scale = -2;
        check(g.model, &ask);
        ask.row.tokens = few;
        ask.row.token_count = 4;
        check(g.model, &ask);
        ask.column = ask.row;
        ask.smallest = 0;
        check(g.model, &ask); /* fewer entries than asked for */
        memset(left, 0, (size_t)(d * rank) * sizeof *left);
        check(g.model, &ask); /* nothing but ties */
        otimes_unembed_free(&unembed);
        free(left);
        free(right);
        golden_close(&g);
    }
}

/* Many tiles: the bundled vocabulary, on one thread and on three. */
static void leaves_out_tiles(void **state)
{
    (void)state;
    otimes_err err = {0};
    otimes_strongest_entry entry[2][TOP];
    int64_t examined[2];
    for (int i = 0; i < 2; i++) {
        otimes_model *model = NULL;
        otimes_unembed unembed;
        otimes_model_settings settings;
        otimes_model_settings_default(&settings);
        settings.threads = i ? 3 : 1;
        assert_ok(
            otimes_model_open(&model, source_path("notebooks-data/induction-2l"), &settings, &err),
            &err);
        const int64_t d = otimes_model_describe(model)->d_model, rank = 1;
        double *left = factor(d, rank, 1), *right = factor(d, rank, 5000);
        assert_ok(otimes_unembed_open(model, &unembed, &err), &err);
        const otimes_strongest_ask ask = {.column = {.unembed = &unembed},
                                          .left = left,
                                          .right = right,
                                          .rank = rank,
                                          .scale = 1,
                                          .top = TOP};
        if (i == 0) {
            otimes_strongest_ask many = ask;
            check(model, &ask);
            many.top = MANY; /* of several waves */
            check(model, &many);
        }
        assert_ok(otimes_strongest(model, &ask, entry[i], &examined[i], &err), &err);
        otimes_unembed_free(&unembed);
        free(left);
        free(right);
        otimes_model_close(&model);
    }
    assert_int_equal(examined[0], examined[1]);
    assert_true(examined[0] > 0 && examined[0] < 1024 * 1024 / 2);
    for (int k = 0; k < TOP; k++) {
        assert_true(entry[0][k].value == entry[1][k].value && entry[0][k].row == entry[1][k].row &&
                    entry[0][k].column == entry[1][k].column);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_table),
        cmocka_unit_test(leaves_out_tiles),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
