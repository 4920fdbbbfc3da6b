/* SPDX-License-Identifier: MIT
 *
 * Composition over several panels, stopped behind every block and resumed: the target gets the same
 * blocks in the same order, byte for byte, and panels that were complete are not computed twice.
 */
#include "resuming.h"

#include <stdio.h>
#include <stdlib.h>

#include <otimes/compose.h>

typedef struct composition {
    const otimes_model *model;
    const otimes_compose_settings *settings;
} composition;

static int compose(const void *context, otimes_sink *sink, otimes_err *err)
{
    const composition *c = context;
    return otimes_compose(c->model, c->settings, sink, err);
}

/* Bytes that let panels be one layer each: what the refusal of a single byte says. */
static int64_t memory_of_two_layers(const otimes_model *model, otimes_compose_settings settings)
{
    otimes_memory_sink *memory = NULL;
    otimes_err err = {0};
    long long bytes = 0;
    settings.memory = 1;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_int_equal(otimes_compose(model, &settings, otimes_memory_sink_sink(memory), &err),
                     OTIMES_ERR_UNSUPPORTED);
    assert_int_equal(sscanf(err.msg, "memory: expected at least %lld bytes", &bytes), 1);
    otimes_memory_sink_free(&memory);
    return bytes;
}

static void stopped_anywhere(otimes_compose_settings settings)
{
    golden g;
    int blocks;
    golden_open_on(1, &g, "gemma3_text", true);
    settings.memory = memory_of_two_layers(g.model, settings);
    const composition context = {g.model, &settings};
    const int last = stop_anywhere(&(resumable){compose, &context}, &blocks);
    assert_in_range(last, 1, blocks / 2); /* the last panel alone */
    golden_close(&g);
}

static void heads(void **state)
{
    (void)state;
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    stopped_anywhere(settings);
}

static void everything(void **state)
{
    (void)state;
    const int64_t layers[] = {0, 1, 3}, offsets[] = {3}, one[] = {0, 1};
    const otimes_compose_set set = {1, one, 2};
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    settings.layers = layers;
    settings.layer_count = 3;
    settings.offsets = offsets;
    settings.offset_count = 1;
    settings.components = 2;
    settings.sets = &set;
    settings.set_count = 1;
    settings.ends = 1;
    stopped_anywhere(settings);
}

/* Five layers in panels of two, two and one: the numbers of one panel. */
static void last_panel_smaller(void **state)
{
    const char *path = shared_path("stories260K/tinyllamas-stories-260k-f32.gguf");
    const char *const names[] = {
        "score", "z", "to_score", "from_score", "between_score", "component_score_k", "ov_norm"};
    otimes_compose_settings settings;
    otimes_memory_sink *result[2] = {NULL, NULL};
    otimes_model_settings how;
    otimes_model *model = NULL;
    otimes_err err = {0};
    (void)state;
    if (!path) {
        skip();
    }
    otimes_model_settings_default(&how);
    how.threads = 1;
    assert_ok(otimes_model_open(&model, path, &how, &err), &err);
    assert_int_equal(otimes_model_describe(model)->n_layers, 5);
    otimes_compose_settings_default(&settings);
    settings.ends = 1;
    settings.components = 1;
    for (int i = 0; i < 2; i++) {
        assert_ok(otimes_memory_sink_new(&result[i], &err), &err);
        assert_ok(otimes_compose(model, &settings, otimes_memory_sink_sink(result[i]), &err), &err);
        settings.memory = 2 * memory_of_two_layers(model, settings);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t count, other;
        double *a = sink_values(result[0], names[i], &count);
        double *b = sink_values(result[1], names[i], &other);
        assert_int_equal(count, other);
        /* Sums of float products of up to d_model terms in another order. */
        assert_close(names[i], b, a, count, 1e-6, 0);
        free(a);
        free(b);
    }
    otimes_memory_sink_free(&result[0]);
    otimes_memory_sink_free(&result[1]);
    otimes_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(heads, empty_folder),
        cmocka_unit_test_teardown(everything, empty_folder),
        cmocka_unit_test(last_panel_smaller),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
