/* SPDX-License-Identifier: MIT
 *
 * Composition over several panels, stopped behind every block and resumed: the target gets the same
 * blocks in the same order, byte for byte, and panels that were complete are not computed twice.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/compose.h>
#include <otimes/sink.h>

#include "journal.h"

enum { MOST_BLOCKS = 512 };

/* What a target gets: a checksum of every block. It keeps nothing. */
typedef struct received {
    int arrays;
    int blocks;
    uint64_t sum[MOST_BLOCKS];
    int finished;
    size_t size[64];
    int ndim[64];
} received;

static uint64_t mix(uint64_t sum, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i++) {
        sum = (sum ^ at[i]) * UINT64_C(1099511628211); /* FNV-1a */
    }
    return sum;
}

static int get_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    (void)sink, (void)attr, (void)err;
    return 0;
}

static int get_array(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    received *r = sink->state;
    (void)err;
    assert_in_range(r->arrays, 0, 63);
    r->size[r->arrays] = otimes_type_size(array->type);
    r->ndim[r->arrays] = array->ndim;
    *id = r->arrays++;
    return 0;
}

static int get_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                     const void *data, otimes_err *err)
{
    received *r = sink->state;
    size_t bytes = r->size[id];
    (void)err;
    for (int i = 0; i < r->ndim[id]; i++) {
        bytes *= (size_t)count[i];
    }
    uint64_t sum = mix(UINT64_C(14695981039346656037), &id, sizeof id);
    sum = mix(sum, start, (size_t)r->ndim[id] * sizeof *start);
    sum = mix(sum, count, (size_t)r->ndim[id] * sizeof *count);
    assert_in_range(r->blocks, 0, MOST_BLOCKS - 1);
    r->sum[r->blocks++] = mix(sum, data, bytes);
    return 0;
}

static int get_end(otimes_sink *sink, otimes_err *err)
{
    (void)err;
    ((received *)sink->state)->finished = 1;
    return 0;
}

static const otimes_sink_ops target_ops = {
    .attribute = get_attribute, .declare = get_array, .write = get_block, .finish = get_end};

/* ---- between the analysis and the journal ---- */

typedef struct stopping {
    otimes_sink *journal;
    int stop_at; /* blocks; 0: never */
    int blocks;  /* that the analysis wrote */
} stopping;

static otimes_sink *behind(otimes_sink *sink)
{
    return ((stopping *)sink->state)->journal;
}

static int pass_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    return behind(sink)->ops->attribute(behind(sink), attr, err);
}

static int pass_array(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    return behind(sink)->ops->declare(behind(sink), array, id, err);
}

static int pass_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                      const void *data, otimes_err *err)
{
    stopping *s = sink->state;
    const int rc = behind(sink)->ops->write(behind(sink), id, start, count, data, err);
    s->blocks++;
    return rc == 0 && s->blocks == s->stop_at ? OTIMES_ERR_CANCELLED : rc;
}

static int pass_question(otimes_sink *sink, int id, const int64_t *start, const int64_t *count)
{
    return behind(sink)->ops->has(behind(sink), id, start, count);
}

static int pass_end(otimes_sink *sink, otimes_err *err)
{
    return behind(sink)->ops->finish(behind(sink), err);
}

static const otimes_sink_ops front_ops = {.attribute = pass_attribute,
                                          .declare = pass_array,
                                          .write = pass_block,
                                          .has = pass_question,
                                          .finish = pass_end};

/* Blocks that the analysis wrote. */
static int compose(const otimes_model *model, const otimes_compose_settings *settings, int resume,
                   int stop_at, received *got)
{
    otimes_err err = {0};
    otimes_sink target = {&target_ops, got}, journal = {NULL, NULL};
    stopping s = {&journal, stop_at, 0};
    otimes_sink front = {&front_ops, &s};
    memset(got, 0, sizeof *got);
    assert_ok(journal_open(&journal, &target, in_folder("x.h5"), "version 1\n", resume, &err),
              &err);
    const int rc = otimes_compose(model, settings, &front, &err);
    if (stop_at > 0) {
        assert_int_equal(rc, OTIMES_ERR_CANCELLED);
    } else {
        assert_ok(rc, &err);
    }
    assert_int_equal(got->finished, stop_at == 0);
    journal_close(&journal);
    return s.blocks;
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
    received whole, now;
    golden_open_on(1, &g, "gemma3_text", true);
    settings.memory = memory_of_two_layers(g.model, settings);
    const int blocks = compose(g.model, &settings, 0, 0, &whole);
    int last = blocks;
    assert_int_equal(whole.blocks, blocks);
    for (int at = 1; at < blocks; at++) {
        compose(g.model, &settings, 0, at, &now);
        const int rest = compose(g.model, &settings, 1, 0, &now);
        assert_int_equal(now.blocks, whole.blocks);
        assert_memory_equal(now.sum, whole.sum, (size_t)blocks * sizeof *whole.sum);
        assert_in_range(rest, 1, last);
        last = rest;
    }
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
