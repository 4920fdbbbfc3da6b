/* SPDX-License-Identifier: MIT
 *
 * Composition scores of every golden against dense products in double, published figures, and what is
 * refused.
 */
#include "accuracy.h"
#include "composed.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* score and z [l, h, c, l2, h2], c over Q, K and, of three, V. */
static void check_scores(const char *prefix, const dense *m, int64_t circuits, int64_t D,
                         const float *score, const float *z)
{
    const int64_t n = m->layers * m->heads, square = m->d * m->d;
    for (int64_t at = 0; at < n * circuits * n; at++) {
        const int64_t i = at / (circuits * n), c = at / n % circuits, j = at % n;
        const double *R[] = {m->QK + j * square, m->KQ + j * square, m->OV + j * square};
        const composed_link want = composed_link_of(D, m->d, m->d, m->d, m->OV + i * square, R[c]);
        composed_hold(prefix, (double)score[at], (double)z[at],
                      j / m->heads > i / m->heads ? &want : NULL);
    }
}

static void check_excess(const otimes_memory_sink *memory, int64_t count)
{
    const float *score = composed_array(memory, "score"),
                *excess = composed_array(memory, "excess");
    const double baseline = 1 / sqrt((double)composed_dimension(memory));
    for (int64_t i = 0; i < count; i++) {
        accuracy("excess", "1", (double)excess[i], (double)score[i] - baseline, 1,
                 (double)FLT_EPSILON);
    }
}

static double norm_of(const double *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += x[i] * x[i];
    }
    return sqrt(sum);
}

static void check_model(const otimes_model *model)
{
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    dense m = dense_of(model, 0);
    const int64_t n = m.layers * m.heads, square = m.d * m.d;
    const double exact = 4 * (double)m.d * DBL_EPSILON;
    static const otimes_compose_route routes[] = {OTIMES_COMPOSE_BY_CORES, OTIMES_COMPOSE_BY_GRAMS};
    for (int r = 0; r < 2; r++) {
        settings.route = routes[r];
        otimes_memory_sink *memory = composed(model, &settings);
        check_scores("", &m, 3, composed_dimension(memory), composed_array(memory, "score"),
                     composed_array(memory, "z"));
        check_excess(memory, 3 * n * n);
        const double *ov = composed_array(memory, "ov_norm"),
                     *qk = composed_array(memory, "qk_norm");
        for (int64_t i = 0; i < n; i++) {
            const double want_ov = norm_of(m.OV + i * square, square);
            const double want_qk = norm_of(m.QK + i * square, square);
            accuracy("ov_norm", "its value", ov[i], want_ov, want_ov, exact);
            accuracy("qk_norm", "its value", qk[i], want_qk, want_qk, exact);
        }
        otimes_memory_sink_free(&memory);
    }
    dense_free(&m);
}

static void check_offsets(const otimes_model *model)
{
    static const int64_t offsets[] = {0, 3, -2};
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t n = info->n_layers * info->n_heads;
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    settings.offsets = offsets;
    settings.offset_count = 3;
    otimes_memory_sink *memory = composed(model, &settings);
    const float *score = composed_array(memory, "offset_score"),
                *z = composed_array(memory, "offset_z");
    for (int64_t o = 0; o < 3; o++) {
        const int64_t first = o * n * 2 * n;
        dense m = dense_of(model, offsets[o]);
        check_scores("offset_", &m, 2, composed_dimension(memory), score + first, z + first);
        dense_free(&m);
    }
    otimes_memory_sink_free(&memory);
}

static void goldens(void **state)
{
    (void)state;
    int rotary = 0, grouped = 0, post = 0;
    for (const char *const *name = golden_names; *name; name++) {
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            golden_open(&g, *name, processed);
            const otimes_model_info *info = otimes_model_describe(g.model);
            if (info->n_layers > 1) {
                check_model(g.model);
                grouped += info->n_kv_heads < info->n_heads;
                post += info->post_norm;
                if (info->positions == OTIMES_POSITIONS_ROPE && processed) {
                    check_offsets(g.model);
                    rotary++;
                }
            }
            golden_close(&g);
        }
    }
    assert_true(rotary > 5 && grouped > 5 && post > 1);
}

/* ---- models with figures ---- */

static otimes_model *open_model(const char *path, const char *config)
{
    otimes_model *model;
    otimes_err err = {0};
    otimes_model_settings s;
    otimes_model_settings_default(&s);
    s.config_path = config;
    assert_ok(otimes_model_open(&model, path, &s, &err), &err);
    return model;
}

static const json_t *starting_with(const json_t *object, const char *start)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)object, key, value) {
        if (!strncmp(key, start, strlen(start))) {
            return value;
        }
    }
    fail_msg("no %s", start);
    return NULL;
}

static void check_published(const char *file, const json_t *figures)
{
    otimes_model *model = open_model(file, NULL);
    otimes_memory_sink *memory = composed(model, NULL);
    const int64_t heads = otimes_model_describe(model)->n_heads;
    const float *score = composed_array(memory, "score");
    static const char *const circuit[] = {"Q", "K", "V"};
    for (int64_t c = 0; c < 3; c++) {
        const json_t *table = json_object_get(figures, circuit[c]);
        assert_true(json_is_array(table));
        for (int64_t j = 0; j < heads; j++) {
            for (int64_t i = 0; i < heads; i++) {
                const double want =
                    json_number_value(json_array_get(json_array_get(table, (size_t)j), (size_t)i));
                const double got = (double)score[(i * 3 + c) * 2 * heads + heads + j];
                assert_true(fabs(got - want) <= 1e-5);
            }
        }
    }
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

static void grokking(void **state)
{
    (void)state;
    const char *path = shared_path("grokking_induction/computed.json");
    if (!path) {
        skip();
    }
    json_t *computed = json_load_file(path, 0, NULL);
    assert_non_null(computed);
    static const char *const names[] = {"induction_head_infinite", "induction_head_finite"};
    for (int i = 0; i < 2; i++) {
        char file[128];
        snprintf(file, sizeof file, "grokking_induction/%s.tl.safetensors", names[i]);
        check_published(shared_path(file),
                        starting_with(json_object_get(computed, names[i]), "composition"));
    }
    json_decref(computed);
}

static void tracr(void **state)
{
    (void)state;
    const char *path = shared_path("tracr_induction");
    if (!path) {
        skip();
    }
    otimes_model *model = open_model(path, NULL);
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    for (int r = 0; r < 3; r++) {
        settings.route = (otimes_compose_route)r;
        otimes_memory_sink *memory = composed(model, &settings);
        const float *score = composed_array(memory, "score"); /* [2, 1, 3, 2, 1] */
        assert_true(score[1] == 0 && score[5] == 0);
        assert_true(fabs((double)score[3] - .348155) <= 1e-6);
        otimes_memory_sink_free(&memory);
    }
    otimes_model_close(&model);
}

/* Both pairs of previous-token and induction head stand above all others. */
static void bundled(void **state)
{
    (void)state;
    otimes_model *model = open_model(source_path("notebooks-data/induction-2l"), NULL);
    otimes_memory_sink *memory = composed(model, NULL);
    const float *score = composed_array(memory, "score"), *z = composed_array(memory, "z");
    for (int64_t at = 0; at < 4 * 4; at++) {
        const int64_t i = at / 4, j = at % 4, place = (i * 3 + 1) * 8 + 4 + j;
        const bool pair = i == 2 && j < 2;
        assert_true(pair ? score[place] > .16F : score[place] < .12F);
        assert_true(pair ? z[place] > 50 : z[place] < 25);
    }
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

/* ---- what is refused ---- */

static void refused(const otimes_model *model, const otimes_compose_settings *settings, int code,
                    const char *text)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_int_equal(otimes_compose(model, settings, otimes_memory_sink_sink(memory), &err), code);
    if (!strstr(err.msg, text)) {
        fail_msg("expected '%s', got '%s'", text, err.msg);
    }
    otimes_memory_sink_free(&memory);
}

static void bad_input(void **state)
{
    (void)state;
    golden g, rotary;
    static const int64_t far[] = {99}, one[] = {0}, apart[] = {0, 3}, none[] = {0};
    otimes_compose_settings s, plain;
    golden_open(&g, "gpt2", true);
    golden_open(&rotary, "llama", true);
    otimes_compose_settings_default(&plain);
    s = plain;
    s.layers = far;
    s.layer_count = 1;
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "layers");
    s.layers = one;
    refused(g.model, &s, OTIMES_ERR_UNSUPPORTED, "expected at least 2 layers, got 1");
    s = plain;
    s.heads = far;
    s.head_count = 1;
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "heads");
    s = plain;
    s.offsets = one;
    s.offset_count = 1;
    refused(g.model, &s, OTIMES_ERR_UNSUPPORTED, "offsets: expected rotary positions, got learned");
    s = plain;
    s.components = 10000;
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "components");
    const otimes_compose_set sets[] = {{99, none, 1}, {0, far, 1}, {0, apart, 2}, {0, NULL, 0}};
    s = plain;
    s.set_count = 1;
    s.sets = &sets[0];
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "set 0: expected heads of one of");
    s.sets = &sets[1];
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "set");
    s.sets = &sets[3];
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "set 0");
    s.sets = &sets[2];
    assert_true(otimes_model_describe(rotary.model)->n_kv_heads <
                otimes_model_describe(rotary.model)->n_heads);
    refused(rotary.model, &s, OTIMES_ERR_ARGUMENT,
            "expected heads that share a key/value head, got 0 and 1");
    golden_close(&g);
    golden_close(&rotary);
}

int main(void)
{
    accuracy_of("compose");
    otimes_set_blas_threads(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens), cmocka_unit_test(grokking),  cmocka_unit_test(tracr),
        cmocka_unit_test(bundled), cmocka_unit_test(bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
