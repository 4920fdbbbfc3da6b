/* SPDX-License-Identifier: MIT
 *
 * Canonical weights written down: what comes out is what the model holds, and opening it again
 * gives the same model, without a step applied twice.
 */
#include "canonical_check.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/open.h"

/* A few roundings of the largest entry: processing is float32 with sums in double. */
#define PROCESSED (4 * (double)FLT_EPSILON)

static const char *program(void)
{
    static char path[4096];
    const char *set = getenv("OTIMES");
    snprintf(path, sizeof path, "%s", set ? set : source_path("build/otimes"));
    return path;
}

static const char *golden_path(const char *name)
{
    static char path[4096];
    char relative[128];
    snprintf(relative, sizeof relative, "tests/golden/%s", name);
    snprintf(path, sizeof path, "%s", source_path(relative));
    return path;
}

/* Lets the program convert a model, by options, to a file of the temporary folder. */
static void convert(const char *model, const char *options, const char *file)
{
    char command[16384];
    snprintf(command, sizeof command, "'%s' convert '%s' %s --quiet -o '%s'", program(), model,
             options, in_folder(file));
    if (system(command) != 0) {
        fail_msg("%s: failed", command);
    }
}

/* Opens a file of the folder. */
static otimes_model *open_file(const char *file, int steps)
{
    char path[512];
    snprintf(path, sizeof path, "%s", in_folder(file));
    return open_with(path, steps);
}

static void raw_values(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        canonical c;
        golden_open(&g, golden_names[i], false);
        canonical_make(&c, g.model);
        assert_golden(&c, &g, "raw", raw_tolerance(g.model));
        canonical_free(&c);
        golden_close(&g);
    }
}

static void processed_values(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        canonical c;
        golden_open(&g, golden_names[i], true);
        canonical_make(&c, g.model);
        assert_golden(&c, &g, "processed", PROCESSED);
        canonical_free(&c);
        golden_close(&g);
    }
}

/* The file that the program writes holds the arrays of the memory sink, and no other. */
static void assert_file(const char *what, const char *file, const canonical *c)
{
    otimes_store store;
    otimes_err err = {0};
    assert_ok(otimes_store_open(&store, in_folder(file), &err), &err);
    assert_int_equal(store.entry_count, c->list.count);
    for (int64_t i = 0; i < store.entry_count; i++) {
        const otimes_entry *entry = &store.entries[i];
        const void *data;
        const otimes_array *array = otimes_memory_sink_array(c->memory, entry->name, &data);
        if (!array || array->ndim != entry->ndim || entry->dtype != OTIMES_DTYPE_F32 ||
            memcmp(data, entry->data, (size_t)entry->bytes) != 0) {
            fail_msg("%s: %s: another array in the file", what, entry->name);
        }
        for (int k = 0; k < array->ndim; k++) {
            assert_int_equal(entry->dim[k], array->axis[k]->length);
        }
    }
    otimes_store_close(&store);
}

/* What was applied is done, whatever is asked for now; the rest is as it was. */
static void assert_done(const char *what, const otimes_model *before, const otimes_model *after)
{
    otimes_step was[4], is[4];
    steps_of(before, was);
    steps_of(after, is);
    for (int i = 0; i < 4; i++) {
        const otimes_step expected =
            was[i] == OTIMES_STEP_APPLIED ? OTIMES_STEP_DONE_IN_FILE : was[i];
        if (is[i] != expected) {
            fail_msg("%s: step %d: expected \"%s\", got \"%s\"", what, i,
                     otimes_step_name(expected), otimes_step_name(is[i]));
        }
    }
}

/* Written, opened and written again: the same model, the same bits. */
static void round_trip(const char *name, const char *options, int steps)
{
    char what[256];
    canonical first, again;
    const char *path = golden_path(name);
    snprintf(what, sizeof what, "%s %s", name, options);
    otimes_model *model = open_with(path, steps);
    canonical_make(&first, model);
    convert(path, options, "x.safetensors");
    assert_file(what, "x.safetensors", &first);
    otimes_model *reopened = open_file("x.safetensors", steps);
    assert_same_kind(what, reopened, model);
    assert_done(what, model, reopened);
    canonical_make(&again, reopened);
    assert_same(what, &again, &first, 0);
    canonical_free(&again);
    canonical_free(&first);
    otimes_model_close(&reopened);
    otimes_model_close(&model);
}

static void round_trips(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        round_trip(golden_names[i], "", STEPS_ALL);
        round_trip(golden_names[i], "--raw", 0);
    }
}

/* A raw file is the model: processing it gives the bits of processing the original. */
static void raw_then_processed(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        canonical one, other;
        otimes_step was[4], is[4];
        const char *path = golden_path(golden_names[i]);
        convert(path, "--raw", "x.safetensors");
        otimes_model *model = open_with(path, STEPS_ALL);
        otimes_model *reopened = open_file("x.safetensors", STEPS_ALL);
        steps_of(model, was);
        steps_of(reopened, is);
        assert_memory_equal(was, is, sizeof was);
        canonical_make(&one, model);
        canonical_make(&other, reopened);
        assert_same(golden_names[i], &other, &one, 0);
        canonical_free(&one);
        canonical_free(&other);
        otimes_model_close(&model);
        otimes_model_close(&reopened);
    }
}

/* Each step alone, and the others later. */
static void step_by_step(void **state)
{
    (void)state;
    static const char *const options[] = {"--raw --fold-ln", "--raw --center-writing-weights",
                                          "--raw --center-unembed", "--raw --fold-value-biases"};
    for (int i = 0; golden_names[i]; i++) {
        char what[256];
        canonical whole, parts;
        otimes_model *model = open_with(golden_path(golden_names[i]), STEPS_ALL);
        canonical_make(&whole, model);
        for (int s = 0; s < 4; s++) {
            snprintf(what, sizeof what, "%s %s, then the rest", golden_names[i], options[s]);
            round_trip(golden_names[i], options[s], 1 << s);
            otimes_model *reopened = open_file("x.safetensors", STEPS_ALL);
            canonical_make(&parts, reopened);
            assert_same(what, &parts, &whole, 2 * PROCESSED);
            canonical_free(&parts);
            otimes_model_close(&reopened);
        }
        canonical_free(&whole);
        otimes_model_close(&model);
    }
}

/* An epsilon of 0 is one, not a missing one. */
static void epsilon_of_zero(void **state)
{
    (void)state;
    static const char config[] =
        "{\"model_type\": \"gpt2\", \"n_layer\": 2, \"n_head\": 3, \"n_embd\": 12, "
        "\"n_inner\": 20, \"vocab_size\": 23, \"n_positions\": 9, \"layer_norm_epsilon\": 0}";
    char options[600];
    write_file("config.json", config, sizeof config - 1);
    snprintf(options, sizeof options, "--raw --config '%s'", in_folder("config.json"));
    convert(golden_path("gpt2"), options, "x.safetensors");
    remove(in_folder("config.json"));
    otimes_model *model = open_file("x.safetensors", 0);
    assert_true(otimes_model_describe(model)->eps == 0);
    otimes_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_values),
        cmocka_unit_test(processed_values),
        cmocka_unit_test_teardown(round_trips, empty_folder),
        cmocka_unit_test_teardown(raw_then_processed, empty_folder),
        cmocka_unit_test_teardown(step_by_step, empty_folder),
        cmocka_unit_test_teardown(epsilon_of_zero, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
