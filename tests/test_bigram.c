/* SPDX-License-Identifier: MIT
 *
 * The bigram table against dense float64 on every golden model, and its consumers against plain
 * loops.
 */
#include "accuracy.h"
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/bigram.h>

#include "num/dot.h"

static otimes_memory_sink *run(const otimes_model *model, const otimes_bigram_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_bigram(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

#define EPS ((double)FLT_EPSILON)

static double largest_of(const double *x, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs(x[i]));
    }
    return most;
}

static void full_table(const char *key, int exact, int64_t position)
{
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        int64_t count, expected_count;
        golden_open(&g, golden_names[i], true);
        const double *expected = golden_values(&g, key, &expected_count);
        if (!expected) {
            golden_close(&g);
            continue;
        }
        otimes_bigram_settings settings;
        otimes_bigram_settings_default(&settings);
        settings.full = OTIMES_BIGRAM_FULL_F32;
        settings.exact = exact;
        settings.position = position;
        otimes_memory_sink *memory = run(g.model, &settings);
        double *got = sink_values(memory, "table", &count);
        assert_non_null(got);
        assert_int_equal(count, expected_count);
        accuracy_all("table", "largest of the table", count, got, expected,
                     largest_of(expected, count), 8 * EPS);
        free(got);
        otimes_memory_sink_free(&memory);
        golden_close(&g);
    }
}

static void tables_of_goldens(void **state)
{
    (void)state;
    full_table("bigram", 0, -1);
    full_table("exact_logits", 1, -1);
    full_table("exact_logits_pos3", 1, 3);
}

/* Row of the bare product, each entry summed in double: what extremes and diagonal are taken from, rounded to
 * float32. The table has the product's own rounding. `plain`: by a loop, not rounded. */
static void exact_row(const otimes_model *model, const otimes_unembed *unembed, int64_t token,
                      double *row, double *plain)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model;
    otimes_err err = {0};
    float *x = malloc((size_t)d * sizeof *x);
    float *y = malloc((size_t)(info->d_vocab_out * d) * sizeof *y);
    assert_true(x && y);
    assert_ok(otimes_embed_rows(model, token, 1, x, &err), &err);
    assert_ok(otimes_unembed_rows(unembed, 0, info->d_vocab_out, y, &err), &err);
    for (int64_t c = 0; c < info->d_vocab_out; c++) {
        row[c] = (double)(float)otimes_dot(x, y + c * d, d);
        plain[c] = 0;
        for (int64_t k = 0; k < d; k++) {
            plain[c] += (double)x[k] * (double)y[c * d + k];
        }
    }
    free(x);
    free(y);
}

#define ROW "largest of the row"

/* The extremes of one row, ids and values, bit for bit. */
static void check_end(const otimes_memory_sink *memory, const char *end, const double *row,
                      const double *plain, int64_t columns, int64_t at, int64_t kept)
{
    const double sign = strcmp(end, "top") ? -1 : 1;
    char value_name[32], id_name[32];
    int64_t count;
    snprintf(value_name, sizeof value_name, "%s_value", end);
    double *values = sink_values(memory, value_name, &count);
    snprintf(id_name, sizeof id_name, "%s_id", end);
    double *ids = sink_values(memory, id_name, &count);
    for (int64_t k = 0; k < kept; k++) {
        const int64_t id = (int64_t)ids[at * kept + k];
        int64_t better = 0;
        assert_in_range(id, 0, columns - 1);
        for (int64_t c = 0; c < columns; c++) {
            better += sign * row[c] > sign * row[id] || (row[c] == row[id] && c < id);
        }
        assert_int_equal(better, k);
        assert_true(values[at * kept + k] == row[id]);
        accuracy(value_name, ROW, values[at * kept + k], plain[id], largest_of(plain, columns),
                 EPS);
        accuracy(id_name, ROW, values[at * kept + k], plain[id], largest_of(plain, columns), EPS);
    }
    free(values);
    free(ids);
}

/* Everything else of one row, against the plain one. */
static void check_row(const otimes_memory_sink *memory, const double *row, const double *exact,
                      const double *plain, int64_t columns, int64_t at, int64_t top,
                      int64_t diagonal)
{
    int64_t count;
    double *values = sink_values(memory, "top_value", &count);
    double *log_probs = sink_values(memory, "top_log_prob", &count);
    double *mean = sink_values(memory, "row_mean", &count);
    double *std = sink_values(memory, "row_std", &count);
    double *lse = sink_values(memory, "row_logsumexp", &count);
    double *own = sink_values(memory, "diagonal_value", &count);
    double *rank = sink_values(memory, "diagonal_rank", &count);
    long double sum = 0, squares = 0, exps = 0;
    int64_t above = 0;
    for (int64_t c = 0; c < columns; c++) {
        sum += plain[c];
        exps += expl((long double)plain[c]);
        above += diagonal >= 0 && c != diagonal && row[c] > exact[diagonal];
    }
    for (int64_t c = 0; c < columns; c++) {
        squares += (plain[c] - sum / columns) * (plain[c] - sum / columns);
    }
    const double size = largest_of(plain, columns);
    accuracy("row_mean", ROW, mean[at], (double)(sum / columns), size, 4 * EPS);
    accuracy("row_std", ROW, std[at], (double)sqrtl(squares / columns), size, 4 * EPS);
    accuracy("row_logsumexp", ROW ", 1 at least", lse[at], (double)logl(exps), fmax(size, 1),
             8 * EPS);
    accuracy_exact("diagonal_rank", rank[at], diagonal >= 0 ? (double)above : -1);
    assert_true(diagonal >= 0 ? own[at] == exact[diagonal] : isnan(own[at]));
    accuracy("diagonal_value", ROW, own[at], diagonal >= 0 ? plain[diagonal] : NAN, size, EPS);
    for (int64_t k = 0; k < top; k++) {
        accuracy("top_log_prob", ROW ", 1 at least", log_probs[at * top + k],
                 values[at * top + k] - (double)logl(exps), fmax(size, 1), 8 * EPS);
    }
    free(values);
    free(log_probs);
    free(mean);
    free(std);
    free(lse);
    free(own);
    free(rank);
}

static void consumers_of(const golden *g)
{
    enum { TOP = 5 };
    int64_t count;
    otimes_err err = {0};
    const otimes_model_info *info = otimes_model_describe(g->model);
    const int64_t columns = info->d_vocab_out;
    otimes_unembed unembed;
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    settings.full = OTIMES_BIGRAM_FULL_F32;
    settings.top = TOP;
    otimes_memory_sink *memory = run(g->model, &settings);
    double *table = sink_values(memory, "table", &count);
    double *ids = sink_values(memory, "token_id", &count);
    double *exact = malloc(2 * (size_t)columns * sizeof *exact), *plain = exact + columns;
    assert_non_null(exact);
    assert_ok(otimes_unembed_open(g->model, &unembed, &err), &err);
    for (int64_t t = 0; t < info->d_vocab; t++) {
        exact_row(g->model, &unembed, t, exact, plain);
        accuracy_exact("token_id", ids[t], (double)t);
        check_end(memory, "top", exact, plain, columns, t, TOP);
        check_end(memory, "bottom", exact, plain, columns, t, TOP);
        check_row(memory, table + t * columns, exact, plain, columns, t, TOP,
                  info->d_vocab == columns ? t : -1);
    }
    otimes_unembed_free(&unembed);
    free(ids);
    free(exact);
    free(table);
    otimes_memory_sink_free(&memory);
}

static void consumers(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        golden_open(&g, golden_names[i], true);
        consumers_of(&g);
        golden_close(&g);
    }
}

/* What is left out changes nothing of what is not. */
static void extremes_alone(void **state)
{
    (void)state;
    static const char *const whole_row[] = {"top_log_prob", "row_mean", "row_std", "row_logsumexp",
                                            "diagonal_rank"};
    static const char *const kept[] = {"top_value", "top_id", "diagonal_value"};
    golden g;
    int64_t count, some_count;
    const void *data;
    golden_open(&g, "gemma2", true);
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    settings.exact = 1; /* with a soft cap */
    settings.top = 4;
    otimes_memory_sink *all = run(g.model, &settings);
    settings.statistics = 0;
    settings.bottom = 2;
    otimes_memory_sink *some = run(g.model, &settings);
    for (size_t i = 0; i < sizeof whole_row / sizeof *whole_row; i++) {
        assert_non_null(otimes_memory_sink_array(all, whole_row[i], &data));
        assert_null(otimes_memory_sink_array(some, whole_row[i], &data));
    }
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        double *a = sink_values(all, kept[i], &count), *b = sink_values(some, kept[i], &some_count);
        assert_int_equal(count, some_count);
        assert_memory_equal(a, b, (size_t)count * sizeof *a);
        free(a);
        free(b);
    }
    double *four = sink_values(all, "bottom_value", &count);
    double *two = sink_values(some, "bottom_value", &some_count);
    assert_true(count == 2 * some_count && count > 0);
    for (int64_t i = 0; i < some_count; i++) {
        assert_true(two[i] == four[i / 2 * 4 + i % 2]);
    }
    free(four);
    free(two);
    otimes_memory_sink_free(&all);
    otimes_memory_sink_free(&some);
    golden_close(&g);
}

/* A restricted table is the corner of the whole one. */
static void chosen_rows_and_columns(void **state)
{
    (void)state;
    static const int64_t rows[] = {0, 3, 4, 11}, columns[] = {1, 2, 3, 11, 17};
    golden g;
    int64_t count;
    golden_open(&g, "llama", true);
    const int64_t vocab = otimes_model_describe(g.model)->d_vocab;
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    settings.full = OTIMES_BIGRAM_FULL_F32;
    otimes_memory_sink *whole = run(g.model, &settings);
    settings.rows = rows;
    settings.row_count = 4;
    settings.columns = columns;
    settings.column_count = 5;
    settings.top = 2;
    otimes_memory_sink *part = run(g.model, &settings);
    double *all = sink_values(whole, "table", &count);
    double *some = sink_values(part, "table", &count);
    double *ids = sink_values(part, "top_id", &count);
    double *rank = sink_values(part, "diagonal_rank", &count);
    for (int64_t r = 0; r < 4; r++) {
        int64_t best = 0;
        for (int64_t c = 0; c < 5; c++) {
            assert_true(fabs(some[r * 5 + c] - all[rows[r] * vocab + columns[c]]) < 1e-5);
            best = some[r * 5 + c] > some[r * 5 + best] ? c : best;
        }
        assert_int_equal(ids[r * 2], columns[best]); /* token ids, not places */
        assert_int_equal(rank[r] >= 0, rows[r] == 3 || rows[r] == 11);
    }
    free(all);
    free(some);
    free(ids);
    free(rank);
    otimes_memory_sink_free(&whole);
    otimes_memory_sink_free(&part);
    golden_close(&g);
}

/* The float16 table is the float32 one, rounded. */
static void half_table(void **state)
{
    (void)state;
    golden g;
    int64_t count;
    golden_open(&g, "gpt2", true);
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    settings.full = OTIMES_BIGRAM_FULL_F32;
    otimes_memory_sink *single = run(g.model, &settings);
    settings.full = OTIMES_BIGRAM_FULL_F16;
    otimes_memory_sink *half = run(g.model, &settings);
    double *values = sink_values(single, "table", &count);
    const void *data = NULL;
    assert_int_equal(otimes_memory_sink_array(half, "table", &data)->type, OTIMES_F16);
    float *wide = malloc((size_t)count * sizeof *wide);
    otimes_dtype_read(OTIMES_DTYPE_F16, data, count, wide);
    for (int64_t i = 0; i < count; i++) {
        assert_true(fabs((double)wide[i] - values[i]) <= fabs(values[i]) / 2048 + 1e-7);
    }
    free(wide);
    free(values);
    otimes_memory_sink_free(&single);
    otimes_memory_sink_free(&half);
    golden_close(&g);
}

/* What an interrupted run left: every array but the one of that name. */
typedef struct leftover {
    otimes_sink *inner;
    const char *missing;
    int64_t ids, missing_id;
    int64_t written;
} leftover;

static int left_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    const leftover *l = sink->state;
    return l->inner->ops->attribute(l->inner, attr, err);
}

static int left_declare(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    leftover *l = sink->state;
    const int rc = l->inner->ops->declare(l->inner, array, id, err);
    l->missing_id = strcmp(array->name, l->missing) ? l->missing_id : *id;
    l->ids = strcmp(array->name, "token_id") ? l->ids : *id;
    return rc;
}

static int left_write(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                      const void *data, otimes_err *err)
{
    leftover *l = sink->state;
    l->written += id != l->ids;
    return l->inner->ops->write(l->inner, id, start, count, data, err);
}

static int left_has(otimes_sink *sink, int id, const int64_t *start, const int64_t *count)
{
    const leftover *l = sink->state;
    (void)start;
    (void)count;
    return id != l->missing_id;
}

static int left_finish(otimes_sink *sink, otimes_err *err)
{
    (void)sink;
    (void)err;
    return OTIMES_OK;
}

/* A sheet of which any array lacks is computed again, one of which none does is not; a block of the table is
 * never written twice. */
static void what_is_there_already(void **state)
{
    (void)state;
    static const otimes_sink_ops ops = {.attribute = left_attribute,
                                        .declare = left_declare,
                                        .write = left_write,
                                        .has = left_has,
                                        .finish = left_finish};
    static const char *const missing[] = {"none", "top_value", "bottom_id", "diagonal_rank",
                                          "table"};
    golden g;
    otimes_err err = {0};
    otimes_bigram_settings settings;
    golden_open(&g, "gpt2", true);
    otimes_bigram_settings_default(&settings);
    settings.full = OTIMES_BIGRAM_FULL_F32;
    for (int i = 0; i < 5; i++) {
        otimes_memory_sink *memory;
        assert_ok(otimes_memory_sink_new(&memory, &err), &err);
        leftover l = {
            .inner = otimes_memory_sink_sink(memory), .missing = missing[i], .missing_id = -1};
        otimes_sink sink = {&ops, &l};
        assert_ok(otimes_bigram(g.model, &settings, &sink, &err), &err);
        assert_int_equal(l.written, i == 0 ? 0 : strcmp(missing[i], "table") ? 10 : 11);
        otimes_memory_sink_free(&memory);
    }
    golden_close(&g);
}

/* A sink that asks to stop is obeyed. */
static int stop_at_once(otimes_sink *sink, double done, double total)
{
    (void)sink;
    (void)done;
    (void)total;
    return 1;
}

static void cancelled(void **state)
{
    (void)state;
    golden g;
    otimes_err err = {0};
    otimes_memory_sink *memory;
    golden_open(&g, "gpt2", true);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    otimes_sink *inner = otimes_memory_sink_sink(memory);
    otimes_sink_ops ops = *inner->ops;
    ops.progress = stop_at_once;
    otimes_sink stopping = {&ops, inner->state};
    assert_int_equal(otimes_bigram(g.model, NULL, &stopping, &err), OTIMES_ERR_CANCELLED);
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

static void requests_that_cannot_be_met(void **state)
{
    (void)state;
    static const int64_t far[] = {1000}, falling[] = {3, 2};
    golden g;
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_bigram_settings settings;
    golden_open(&g, "llama", true);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    otimes_bigram_settings_default(&settings);
    settings.rows = far;
    settings.row_count = 1;
    assert_int_equal(otimes_bigram(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "rows: expected ascending indices from 0 to 18, got 1000"));
    settings.rows = falling;
    settings.row_count = 2;
    assert_int_equal(otimes_bigram(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    otimes_bigram_settings_default(&settings);
    settings.exact = 1;
    settings.position = 0;
    assert_int_equal(otimes_bigram(g.model, &settings, sink, &err), OTIMES_ERR_UNSUPPORTED);
    otimes_bigram_settings_default(&settings);
    settings.top = -1;
    assert_int_equal(otimes_bigram(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    settings.top = 1;
    settings.bottom = -2;
    assert_int_equal(otimes_bigram(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "bottom: expected at least 0"));
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

int main(void)
{
    accuracy_of("bigram");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_of_goldens), cmocka_unit_test(consumers),
        cmocka_unit_test(extremes_alone),    cmocka_unit_test(chosen_rows_and_columns),
        cmocka_unit_test(half_table),        cmocka_unit_test(what_is_there_already),
        cmocka_unit_test(cancelled),         cmocka_unit_test(requests_that_cannot_be_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
