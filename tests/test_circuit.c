/* SPDX-License-Identifier: MIT
 *
 * Full circuits against the whole table in plain float64 loops from the weights.
 */
#include "checked_circuit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <otimes/heads.h>
#include <otimes/qk.h>

#include "run/circuit.h"
#include "seeded.h"

static double threshold_for(const otimes_model *model, const otimes_circuit_settings *s,
                            const otimes_circuit_head *head, double sign)
{
    plain p = plain_table(model, s, head);
    free(p.value);
    return sign * p.largest / 2;
}

/* Two heads' OV, QK and, of the last layer, K-composed table with all that there is. */
static void check_golden(const golden *g)
{
    const otimes_model_info *info = otimes_model_describe(g->model);
    const otimes_circuit_head heads[] = {{info->n_layers - 1, info->n_heads - 1}, {0, 0}};
    otimes_circuit_settings s;
    otimes_circuit_settings_default(&s);
    s.heads = heads;
    s.head_count = 2;
    s.top = 7;
    s.bottom = 3;
    s.sides = OTIMES_CIRCUIT_ROWS | OTIMES_CIRCUIT_COLUMNS;
    s.largest = 9;
    s.statistics = 1;
    s.full = OTIMES_CIRCUIT_FULL_F32;
    s.threshold = threshold_for(g->model, &s, &heads[1], 1) / 4;
    s.bins = 5;
    s.low = -s.threshold;
    s.high = 2 * s.threshold;
    check_circuit(g->model, &s, heads, 2);
    s.which = OTIMES_CIRCUIT_QK;
    s.offset = info->positions == OTIMES_POSITIONS_ROPE ? 3 : 0;
    s.threshold = threshold_for(g->model, &s, &heads[1], 1) / 4;
    check_circuit(g->model, &s, heads, 2);
    if (info->n_layers > 1) {
        s.which = OTIMES_CIRCUIT_K_COMPOSED;
        s.earlier = (otimes_circuit_head){0, info->n_heads - 1};
        s.head_count = 1;
        s.threshold = threshold_for(g->model, &s, &heads[0], -1) / 4;
        check_circuit(g->model, &s, heads, 1);
    }
}

/* Every kind of model. */
static void goldens(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        for (int processed = 0; processed < 2 && !golden_left_out(i); processed++) {
            golden g;
            golden_open(&g, golden_names[i], processed);
            check_golden(&g);
            golden_close(&g);
        }
    }
}

static void chosen_tokens(void **state)
{
    (void)state;
    static const int64_t rows[] = {0, 5, 6, 11, 20}, columns[] = {1, 5, 7, 20};
    static const otimes_circuit_head head = {1, 2};
    golden g;
    golden_open(&g, "gpt2", true);
    otimes_circuit_settings s;
    otimes_circuit_settings_default(&s);
    s.heads = &head;
    s.head_count = 1;
    s.rows = rows;
    s.row_count = 5;
    s.top = 6; /* more than there are */
    s.sides = OTIMES_CIRCUIT_ROWS | OTIMES_CIRCUIT_COLUMNS;
    s.largest = 25;
    s.statistics = 1;
    s.full = OTIMES_CIRCUIT_FULL_F32;
    for (int which = 0; which < 3; which++) {
        s.which = (otimes_circuit_which)which;
        s.columns = NULL;
        s.threshold = threshold_for(g.model, &s, &head, 1) / 4;
        check_circuit(g.model, &s, &head, 1);
        s.columns = columns;
        s.column_count = 4;
        s.threshold = 0;
        check_circuit(g.model, &s, &head, 1);
        s.rows = NULL;
        check_circuit(g.model, &s, &head, 1);
        s.rows = rows;
    }
    otimes_memory_sink *memory = run_circuit(g.model, &s);
    const int64_t *id = circuit_data(memory, "row_id");
    assert_memory_equal(id, rows, sizeof rows);
    id = circuit_data(memory, "column_id");
    assert_memory_equal(id, columns, sizeof columns);
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

/* Arrays by name: the same bytes in both. */
static void same_arrays(const otimes_memory_sink *a, const otimes_memory_sink *b,
                        const char *const *names)
{
    for (; *names; names++) {
        const void *x, *y;
        const otimes_array *array = otimes_memory_sink_array(a, *names, &x);
        assert_non_null(array);
        assert_non_null(otimes_memory_sink_array(b, *names, &y));
        size_t bytes = otimes_type_size(array->type);
        for (int i = 0; i < array->ndim; i++) {
            bytes *= (size_t)array->axis[i]->length;
        }
        if (memcmp(x, y, bytes) != 0) {
            fail_msg("%s: differs", *names);
        }
    }
}

static const char *const listed[] = {"top_value",
                                     "top_id",
                                     "bottom_value",
                                     "bottom_id",
                                     "entry_row",
                                     "entry_column",
                                     "entry_value",
                                     "column_top_id",
                                     "column_top_value",
                                     "column_bottom_id",
                                     NULL};

static otimes_circuit_settings lists_alone(void)
{
    static const otimes_circuit_head head = {1, 7};
    otimes_circuit_settings s;
    otimes_circuit_settings_default(&s);
    s.heads = &head;
    s.head_count = 1;
    s.top = 20;
    s.bottom = 5;
    s.sides = OTIMES_CIRCUIT_ROWS | OTIMES_CIRCUIT_COLUMNS;
    s.threshold = 1e-3;
    return s;
}

/* By a screen, by blocks, with other things asked for beside: the same lists. */
static void every_way(void **state)
{
    (void)state;
    otimes_model *model = seeded_model(&seeded_gpt2, 2);
    otimes_circuit_settings s = lists_alone();
    for (int which = 0; which < 2; which++) {
        otimes_memory_sink *by[4];
        s.which = (otimes_circuit_which)which;
        for (int way = 0; way < 3; way++) {
            s.way = (otimes_circuit_way)way;
            by[way] = run_circuit(model, &s);
        }
        s.way = OTIMES_CIRCUIT_FASTEST;
        s.statistics = 1;
        by[3] = run_circuit(model, &s);
        s.statistics = 0;
        for (int i = 0; i < 4; i++) {
            same_arrays(by[OTIMES_CIRCUIT_BLOCKS], by[i], listed);
        }
        for (int i = 0; i < 4; i++) {
            otimes_memory_sink_free(&by[i]);
        }
    }
    otimes_model_close(&model);
}

/* What a norm behind W_O makes of what is written: centred by LayerNorm alone, and weighed. */
static void written_columns(void **state)
{
    enum { D = 5, COLUMNS = 3 };
    static const float w[D] = {1, 2, 0.5F, -1, 3};
    (void)state;
    for (int centres = 0; centres < 2; centres++) {
        const otimes_model_info info = {.d_model = D,
                                        .norm = centres ? OTIMES_NORM_LN : OTIMES_NORM_RMS};
        double x[D * COLUMNS];
        for (int i = 0; i < D * COLUMNS; i++) {
            x[i] = i * i % 7;
        }
        otimes_written_columns(&info, w, COLUMNS, x);
        for (int j = 0; j < COLUMNS; j++) {
            double mean = 0;
            for (int i = 0; i < D && centres; i++) {
                const int at = i * COLUMNS + j;
                mean += (double)(at * at % 7) / D;
            }
            for (int i = 0; i < D; i++) {
                const int at = i * COLUMNS + j;
                assert_true(fabs(x[at] - (at * at % 7 - mean) * (double)w[i]) < 1e-14);
            }
        }
    }
}

/* More entries beyond the threshold than there is room for at first. */
static void many_entries(void **state)
{
    static const char *const entries[] = {"entry_row", "entry_column", "entry_value", NULL};
    (void)state;
    otimes_model *model = seeded_model(&seeded_gpt2, 2);
    otimes_circuit_settings s = lists_alone();
    otimes_memory_sink *by[2];
    int64_t count, above = 0;
    s.top = s.bottom = 0;
    s.sides = OTIMES_CIRCUIT_ROWS;
    plain p = plain_table(model, &s, s.heads);
    s.threshold = p.largest / 2;
    for (int way = 0; way < 2; way++) {
        s.way = way ? OTIMES_CIRCUIT_SCREEN : OTIMES_CIRCUIT_BLOCKS;
        by[way] = run_circuit(model, &s);
    }
    same_arrays(by[0], by[1], entries);
    double *value = sink_values(by[0], "entry_value", &count);
    for (int64_t i = 0; i < SEEDED_VOCAB * SEEDED_VOCAB; i++) {
        above += (double)p.value[i] >= s.threshold;
    }
    assert_true(count > 2048 && llabs(count - above) < 3);
    for (int64_t i = 0; i < count; i++) {
        assert_true(value[i] >= s.threshold);
    }
    free(value);
    free(p.value);
    otimes_memory_sink_free(&by[0]);
    otimes_memory_sink_free(&by[1]);
    otimes_model_close(&model);
}

static void any_threads(void **state)
{
    (void)state;
    static const char *const all[] = {
        "top_value",     "top_id",        "column_top_id", "row_mean",  "row_std",
        "row_logsumexp", "row_max",       "diagonal_rank", "histogram", "entry_value",
        "entry_row",     "largest_value", "table",         NULL};
    otimes_circuit_settings s = lists_alone();
    s.which = OTIMES_CIRCUIT_QK;
    s.offset = 5;
    s.threshold = 2e-3;
    s.statistics = 1;
    s.bins = 12;
    s.low = -1e-3;
    s.high = 1e-3;
    s.largest = 12;
    s.full = OTIMES_CIRCUIT_FULL_F32;
    otimes_memory_sink *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        otimes_model *model = seeded_model(&seeded_llama, threads);
        otimes_memory_sink *now = run_circuit(model, &s);
        first = first ? first : now;
        same_arrays(first, now, all);
        if (now != first) {
            otimes_memory_sink_free(&now);
        }
        otimes_model_close(&model);
    }
    otimes_memory_sink_free(&first);
}

/* float16 is float32 rounded; an ordinary run writes no more than it is asked for. */
static void half_tables(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, "qwen2", true);
    const void *half, *none;
    otimes_circuit_settings s;
    otimes_circuit_settings_default(&s);
    s.top = s.bottom = 0;
    s.full = OTIMES_CIRCUIT_FULL_F32;
    otimes_memory_sink *wide = run_circuit(g.model, &s);
    s.full = OTIMES_CIRCUIT_FULL_F16;
    otimes_memory_sink *narrow = run_circuit(g.model, &s);
    int64_t count;
    double *expected = sink_values(wide, "table", &count);
    const otimes_array *array = otimes_memory_sink_array(narrow, "table", &half);
    assert_int_equal(array->type, OTIMES_F16);
    for (int64_t i = 0; i < count; i++) {
        const uint16_t bits = ((const uint16_t *)half)[i];
        const int exponent = bits >> 10 & 31;
        const double fraction = (bits & 1023) / 1024.0;
        const double got = (bits >> 15 ? -1 : 1) *
                           (exponent ? ldexp(1 + fraction, exponent - 15) : ldexp(fraction, -14));
        assert_true(fabs(got - expected[i]) <= fabs(expected[i]) / 2048 + ldexp(1, -25));
    }
    assert_null(otimes_memory_sink_array(narrow, "top_value", &none));
    assert_null(otimes_memory_sink_array(narrow, "row_mean", &none));
    free(expected);
    otimes_memory_sink_free(&wide);
    otimes_memory_sink_free(&narrow);
    golden_close(&g);
}

/* ---- against what other analyses say of the same tables ---- */

/* Frobenius norm from the rows' moments, trace from the diagonals. */
static void norm_and_trace(const otimes_memory_sink *memory, int64_t at, double *norm,
                           double *trace)
{
    int64_t count;
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(memory, "row_mean", &data);
    const int64_t rows = array->axis[1]->length;
    double *mean = sink_values(memory, "row_mean", &count);
    double *std = sink_values(memory, "row_std", &count);
    double *own = sink_values(memory, "diagonal_value", &count), square = 0;
    const double columns = (double)otimes_memory_sink_attr(memory, "column_count")->i64;
    *trace = 0;
    for (int64_t i = at * rows; i < (at + 1) * rows; i++) {
        square += columns * (mean[i] * mean[i] + std[i] * std[i]);
        *trace += own[i];
    }
    *norm = sqrt(square);
    free(mean);
    free(std);
    free(own);
}

/* On the bundled model: norms and traces of `heads`, and of `qk` for a composed table. OV of
 * two of its induction heads (layer 1: 0, 1) copies: the token itself is the first of its row nearly
 * everywhere, in layer 0 nearly nowhere. */
static void bundled_model(void **state)
{
    (void)state;
    otimes_model *model;
    otimes_err err = {0};
    const char *path = source_path("notebooks-data/induction-2l");
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    otimes_memory_sink *heads, *pairs;
    assert_ok(otimes_memory_sink_new(&heads, &err), &err);
    assert_ok(otimes_heads(model, NULL, otimes_memory_sink_sink(heads), &err), &err);
    assert_ok(otimes_memory_sink_new(&pairs, &err), &err);
    otimes_qk_settings unlisted;
    otimes_qk_settings_default(&unlisted);
    unlisted.top = 0;
    assert_ok(otimes_qk(model, &unlisted, otimes_memory_sink_sink(pairs), &err), &err);
    otimes_circuit_settings s;
    otimes_circuit_settings_default(&s);
    s.statistics = 1;
    s.top = s.bottom = 0;
    int64_t count;
    for (int which = 0; which < 2; which++) {
        s.which = (otimes_circuit_which)which;
        otimes_memory_sink *memory = run_circuit(model, &s);
        double *norms = sink_values(heads, which ? "full_QK_norm" : "full_OV_norm", &count);
        double *traces = sink_values(heads, which ? "full_QK_trace" : "full_OV_trace", &count);
        const int64_t *rank = circuit_data(memory, "diagonal_rank");
        assert_int_equal(count, 8);
        for (int64_t at = 0; at < 8; at++) {
            double norm, trace;
            norm_and_trace(memory, at, &norm, &trace);
            assert_close("norm", &norm, &norms[at], 1, 1e-6, 0);
            assert_close("trace", &trace, &traces[at], 1, 0, 1e-6 * norm);
            int64_t own = 0;
            for (int64_t i = 0; i < 1024; i++) {
                own += rank[at * 1024 + i] == 0;
            }
            const bool copies = at == 4 || at == 5;
            assert_true(which || (copies ? own > 900 : at > 4 || own < 10));
        }
        free(norms);
        free(traces);
        otimes_memory_sink_free(&memory);
    }
    s.which = OTIMES_CIRCUIT_K_COMPOSED;
    double *norms = sink_values(pairs, "full_norm", &count);
    double *traces = sink_values(pairs, "full_trace", &count);
    double *earlier = sink_values(pairs, "earlier_head", &count);
    double *later = sink_values(pairs, "later_head", &count);
    for (s.earlier.head = 0; s.earlier.head < 4; s.earlier.head++) {
        otimes_memory_sink *memory = run_circuit(model, &s);
        for (int64_t pair = 0; pair < count; pair++) {
            double norm, trace;
            if ((int64_t)earlier[pair] != s.earlier.head) {
                continue;
            }
            const int64_t at = pair * OTIMES_QK_FORMS + OTIMES_QK_K;
            norm_and_trace(memory, (int64_t)later[pair], &norm, &trace);
            assert_close("norm", &norm, &norms[at], 1, 1e-6, 0);
            assert_close("trace", &trace, &traces[at], 1, 0, 1e-6 * norm);
        }
        otimes_memory_sink_free(&memory);
    }
    free(norms);
    free(traces);
    free(earlier);
    free(later);
    otimes_memory_sink_free(&heads);
    otimes_memory_sink_free(&pairs);
    otimes_model_close(&model);
}

/* ---- trained models ---- */

/* What is under ../shared/weights, in one way or the other; d_vocab of 3 to 2048. */
static void trained(void **state)
{
    (void)state;
    static const char *const names[] = {"arena_sorted_list",
                                        "gpt_nano_sort",
                                        "grokking_induction/induction_head_finite.tl.safetensors",
                                        "grokking_induction/induction_head_infinite.pth",
                                        "stories260K/stories260K.bin",
                                        "tinystories656k",
                                        "tracr_induction"};
    if (!shared_path("README.md")) {
        print_message("skipped: ../shared/weights is not here\n");
        skip();
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        otimes_model *model;
        otimes_err err = {0};
        assert_ok(otimes_model_open(&model, shared_path(names[i]), NULL, &err), &err);
        const otimes_model_info *info = otimes_model_describe(model);
        const otimes_circuit_head head = {info->n_layers - 1, info->n_heads - 1};
        otimes_circuit_settings s;
        otimes_circuit_settings_default(&s);
        s.heads = &head;
        s.head_count = 1;
        s.top = 10;
        s.bottom = 1;
        s.sides = OTIMES_CIRCUIT_ROWS | OTIMES_CIRCUIT_COLUMNS;
        for (int which = 0; which < (info->n_layers > 1 ? 3 : 2); which++) {
            s.which = (otimes_circuit_which)which;
            s.offset = which && info->positions == OTIMES_POSITIONS_ROPE ? 2 : 0;
            s.way = i % 2 ? OTIMES_CIRCUIT_BLOCKS : OTIMES_CIRCUIT_SCREEN;
            check_circuit(model, &s, &head, 1);
        }
        otimes_model_close(&model);
    }
}

static void hold_table(const char *what, const json_t *published, const double *table, int64_t side,
                       double scale)
{
    double *expected = calloc((size_t)(side * side), sizeof *expected);
    assert_non_null(expected);
    for (int64_t i = 0; i < side * side; i++) {
        const json_t *row = json_array_get(published, (size_t)(i / side));
        expected[i] = json_number_value(json_array_get(row, (size_t)(i % side))) / scale;
    }
    /* The author's own were made in float32, by way of d_model x d_model products. */
    assert_close(what, table, expected, side * side, 1e-6, 0);
    free(expected);
}

/* Full OV and QK of both heads as the author of the model published them, QK before its scale. */
static void published(void **state)
{
    (void)state;
    static const char *const names[] = {"OV_full[W_E W_V W_O W_U] (head,in,out)",
                                        "QK_full[W_E W_Q W_K^T W_E^T] unscaled (head,query,key)"};
    const char *path = shared_path("arena_sorted_list/expected.json");
    otimes_model *model;
    otimes_err err = {0};
    if (!path) {
        print_message("skipped: ../shared/weights/arena_sorted_list is not here\n");
        skip();
    }
    json_t *expected = json_load_file(path, 0, NULL);
    assert_non_null(expected);
    path = shared_path("arena_sorted_list");
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_circuit_settings s;
    otimes_circuit_settings_default(&s);
    s.full = OTIMES_CIRCUIT_FULL_F32;
    for (int which = 0; which < 2; which++) {
        int64_t count;
        s.which = (otimes_circuit_which)which;
        otimes_memory_sink *memory = run_circuit(model, &s);
        double *table = sink_values(memory, "table", &count);
        const json_t *heads = json_object_get(expected, names[which]);
        const int64_t side = info->d_vocab;
        assert_int_equal(count, 2 * side * side);
        assert_int_equal(json_array_size(heads), 2);
        for (int64_t head = 0; head < 2; head++) {
            hold_table(names[which], json_array_get(heads, (size_t)head),
                       table + head * side * side, side, which ? info->attn_scale : 1);
        }
        free(table);
        otimes_memory_sink_free(&memory);
    }
    json_decref(expected);
    otimes_model_close(&model);
}

/* ---- what is refused ---- */

static void expect_refusal(const otimes_model *model, const otimes_circuit_settings *s, int code,
                           const char *text)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    const int rc = otimes_circuit(model, s, otimes_memory_sink_sink(memory), &err);
    if (rc != code || !strstr(err.msg, text)) {
        fail_msg("expected %d '%s', got %d '%s'", code, text, rc, err.msg);
    }
    otimes_memory_sink_free(&memory);
}

static void refused(void **state)
{
    (void)state;
    static const int64_t falls[] = {5, 4}, beyond[] = {1 << 20};
    static const otimes_circuit_head first = {0, 0}, none = {0, 99};
    golden g;
    golden_open(&g, "gpt2", true);
    otimes_circuit_settings base, s;
    otimes_circuit_settings_default(&base);
#define REFUSED(code, text, ...)                              \
    do {                                                      \
        s = base;                                             \
        __VA_ARGS__;                                          \
        expect_refusal(g.model, &s, OTIMES_ERR_##code, text); \
    } while (0)
    REFUSED(ARGUMENT, "heads: expected 0.0 to", s.heads = &none; s.head_count = 1);
    REFUSED(ARGUMENT, "heads: expected at least one", s.heads = &first);
    REFUSED(ARGUMENT, "earlier head: expected 0.0 to", s.which = OTIMES_CIRCUIT_K_COMPOSED;
            s.earlier = none);
    REFUSED(ARGUMENT, "heads: expected layers after 0, that of the earlier head, got 0.0",
            s.which = OTIMES_CIRCUIT_K_COMPOSED;
            s.heads = &first; s.head_count = 1);
    REFUSED(ARGUMENT, "earlier head: expected a layer before the last",
            s.which = OTIMES_CIRCUIT_K_COMPOSED;
            s.earlier.layer = otimes_model_describe(g.model)->n_layers - 1);
    REFUSED(ARGUMENT, "rows: ", s.rows = falls; s.row_count = 2);
    REFUSED(ARGUMENT, "rows: expected at least one", s.rows = falls);
    REFUSED(ARGUMENT, "columns: ", s.columns = beyond; s.column_count = 1);
    REFUSED(ARGUMENT, "top, bottom, largest: expected at least 0", s.bottom = -1);
    REFUSED(ARGUMENT, "sides: ", s.sides = 0);
    REFUSED(ARGUMENT, "threshold: ", s.threshold = NAN);
    REFUSED(ARGUMENT, "histogram: expected 0 to", s.bins = -1);
    REFUSED(ARGUMENT, "histogram: expected the low end below", s.bins = 3);
    REFUSED(ARGUMENT, "offset: expected a circuit of QK", s.offset = 1);
    REFUSED(UNSUPPORTED, "offset: expected rotary positions, got learned",
            s.which = OTIMES_CIRCUIT_QK;
            s.offset = 1);
    REFUSED(ARGUMENT, "table: expected extremes alone", s.way = OTIMES_CIRCUIT_SCREEN;
            s.statistics = 1);
    golden_close(&g);
    golden_open(&g, "llama", true);
    REFUSED(ARGUMENT, "offset: expected query - key of at least 0", s.which = OTIMES_CIRCUIT_QK;
            s.offset = -1);
#undef REFUSED
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens),
        cmocka_unit_test(chosen_tokens),
        cmocka_unit_test_teardown(every_way, empty_folder),
        cmocka_unit_test(written_columns),
        cmocka_unit_test_teardown(many_entries, empty_folder),
        cmocka_unit_test_teardown(any_threads, empty_folder),
        cmocka_unit_test(half_tables),
        cmocka_unit_test(bundled_model),
        cmocka_unit_test(trained),
        cmocka_unit_test(published),
        cmocka_unit_test(refused),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
