/* SPDX-License-Identifier: MIT
 *
 * The bigram table against dense float64 on every golden model, and its consumers against plain
 * loops.
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/bigram.h>

static otimes_memory_sink *run(const otimes_model *model, const otimes_bigram_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_bigram(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
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
        char what[128];
        snprintf(what, sizeof what, "%s: %s", g.name, key);
        assert_close(what, got, expected, count, 2e-6, 0);
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

/* All consumers of one row, by plain loops over the table itself. */
static void check_row(const otimes_memory_sink *memory, const double *row, int64_t columns,
                      int64_t at, int64_t top, int64_t diagonal)
{
    int64_t count;
    double *values = sink_values(memory, "top_value", &count);
    double *ids = sink_values(memory, "top_id", &count);
    double *log_probs = sink_values(memory, "top_log_prob", &count);
    double *low = sink_values(memory, "bottom_value", &count);
    double *low_ids = sink_values(memory, "bottom_id", &count);
    double *mean = sink_values(memory, "row_mean", &count);
    double *std = sink_values(memory, "row_std", &count);
    double *lse = sink_values(memory, "row_logsumexp", &count);
    double *rank = sink_values(memory, "diagonal_rank", &count);
    long double sum = 0, squares = 0, exps = 0;
    int64_t above = 0;
    for (int64_t c = 0; c < columns; c++) {
        sum += row[c];
        exps += expl((long double)row[c]);
        above += diagonal >= 0 && row[c] > row[diagonal];
    }
    for (int64_t c = 0; c < columns; c++) {
        squares += (row[c] - sum / columns) * (row[c] - sum / columns);
    }
    assert_true(fabsl(mean[at] - sum / columns) < 1e-12L * (1 + fabsl(sum)));
    assert_true(fabsl(std[at] - sqrtl(squares / columns)) < 1e-12L * (1 + sqrtl(squares)));
    assert_true(fabsl(lse[at] - logl(exps)) < 1e-6L);
    assert_int_equal(rank[at], diagonal >= 0 ? above : -1);
    for (int64_t k = 0; k < top; k++) {
        int64_t better = 0, worse = 0;
        const int64_t id = (int64_t)ids[at * top + k], low_id = (int64_t)low_ids[at * top + k];
        for (int64_t c = 0; c < columns; c++) {
            better += row[c] > row[id] || (row[c] == row[id] && c < id);
            worse += row[c] < row[low_id] || (row[c] == row[low_id] && c < low_id);
        }
        assert_int_equal(better, k);
        assert_int_equal(worse, k);
        assert_true(values[at * top + k] == row[id] && low[at * top + k] == row[low_id]);
        assert_true(fabs(log_probs[at * top + k] - (row[id] - lse[at])) < 1e-5);
    }
    free(values);
    free(ids);
    free(log_probs);
    free(low);
    free(low_ids);
    free(mean);
    free(std);
    free(lse);
    free(rank);
}

static void consumers(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        int64_t count;
        golden_open(&g, golden_names[i], true);
        const otimes_model_info *info = otimes_model_describe(g.model);
        otimes_bigram_settings settings;
        otimes_bigram_settings_default(&settings);
        settings.full = OTIMES_BIGRAM_FULL_F32;
        settings.top = 5;
        otimes_memory_sink *memory = run(g.model, &settings);
        double *table = sink_values(memory, "table", &count);
        for (int64_t t = 0; t < info->d_vocab; t++) {
            check_row(memory, table + t * info->d_vocab_out, info->d_vocab_out, t, 5,
                      info->d_vocab == info->d_vocab_out ? t : -1);
        }
        free(table);
        otimes_memory_sink_free(&memory);
        golden_close(&g);
    }
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
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_of_goldens),
        cmocka_unit_test(consumers),
        cmocka_unit_test(chosen_rows_and_columns),
        cmocka_unit_test(half_table),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(requests_that_cannot_be_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
