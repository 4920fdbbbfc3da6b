/* SPDX-License-Identifier: MIT
 *
 * Canonical weights written down: what comes out is what the model holds, under the names that the
 * schema page has, and opening it again gives the same model, without a step applied twice.
 */
#include "same.h"
#include "written.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A few roundings of the largest entry: processing is float32 with sums in double. */
#define PROCESSED (4 * (double)FLT_EPSILON)

static const char *golden_path(const char *name)
{
    static char path[4096];
    char relative[128];
    snprintf(relative, sizeof relative, "tests/golden/%s", name);
    snprintf(path, sizeof path, "%s", source_path(relative));
    return path;
}

/* Runs the program: `otimes convert <model> <options> -o <folder>/x.safetensors`. */
static void convert(const char *model, const char *options)
{
    const char *program = getenv("OTIMES");
    char line[16384];
    snprintf(line, sizeof line, "'%s' convert '%s' %s -q -o '%s'",
             program ? program : "build/otimes", model, options, in_folder("x.safetensors"));
    if (system(line) != 0) {
        fail_msg("%s failed", line);
    }
}

static otimes_model *open_written(int steps)
{
    return open_with(in_folder("x.safetensors"), steps);
}

/* Reading is exact, every bit of the file's numbers, but where a multiplier of the model or an
 * offset of a norm is taken in, which is one rounding. */
static double raw_tolerance(const otimes_model *model)
{
    for (int64_t i = 0; i < model->binding_count; i++) {
        if (model->bindings[i].entry &&
            (model->bindings[i].scale != 1 || model->bindings[i].shift != 0)) {
            return (double)FLT_EPSILON;
        }
    }
    return 0;
}

static void raw_arrays(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        written w;
        golden_open(&g, golden_names[i], false);
        written_make(&w, g.model);
        written_is_golden(&w, &g, "raw", raw_tolerance(g.model));
        written_free(&w);
        golden_close(&g);
    }
}

static void processed_arrays(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        written w;
        golden_open(&g, golden_names[i], true);
        written_make(&w, g.model);
        written_is_golden(&w, &g, "processed", PROCESSED);
        written_free(&w);
        golden_close(&g);
    }
}

/* What was applied is done, whatever is asked for now; the rest is as it was. */
static void check_steps(const char *what, const otimes_model *before, const otimes_model *after)
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

/* Written by the program, opened with the same processing and with none, written again: the same
 * model, the same bits. The file stays. */
static void round_trip(const char *name, const char *options, int steps)
{
    char what[256];
    written first, again;
    snprintf(what, sizeof what, "%s %s", name, options);
    otimes_model *original = open_with(golden_path(name), steps);
    written_make(&first, original);
    convert(golden_path(name), options);
    written_is_file(&first, in_folder("x.safetensors"));
    otimes_model *reopened = open_written(steps), *untouched = open_written(NO_STEPS);
    same_description(original, reopened, 0, NULL);
    check_steps(what, original, reopened);
    same_weights(original, reopened, 0);
    same_weights(original, untouched, 0);
    written_make(&again, reopened);
    written_is_file(&again, in_folder("x.safetensors"));
    written_free(&again);
    written_free(&first);
    otimes_model_close(&untouched);
    otimes_model_close(&reopened);
    otimes_model_close(&original);
}

static void processed_and_back(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        round_trip(golden_names[i], "", ALL_STEPS);
    }
}

/* A raw file is the model: it can be processed still, and gives the bits of the original. */
static void raw_and_back(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        otimes_step was[4], is[4];
        round_trip(golden_names[i], "--raw", NO_STEPS);
        otimes_model *original = open_as(golden_path(golden_names[i]), true);
        otimes_model *reopened = open_written(ALL_STEPS);
        steps_of(original, was);
        steps_of(reopened, is);
        assert_memory_equal(was, is, sizeof was);
        same_weights(original, reopened, 0);
        otimes_model_close(&original);
        otimes_model_close(&reopened);
    }
}

/* Each step alone on disk, the others when it is read: the same as all at once, to rounding, since
 * the steps meet float32 once more in between. */
static void step_by_step(void **state)
{
    (void)state;
    static const char *const options[] = {"--raw --fold-ln", "--raw --center-writing-weights",
                                          "--raw --center-unembed", "--raw --fold-value-biases"};
    for (int i = 0; golden_names[i]; i++) {
        otimes_model *original = open_as(golden_path(golden_names[i]), true);
        for (int s = 0; s < 4; s++) {
            round_trip(golden_names[i], options[s], 1 << s);
            otimes_model *reopened = open_written(ALL_STEPS);
            same_weights(original, reopened, 2 * PROCESSED);
            otimes_model_close(&reopened);
        }
        otimes_model_close(&original);
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
    write_file("config", config, sizeof config - 1);
    snprintf(options, sizeof options, "--raw --config '%s'", in_folder("config"));
    convert(golden_path("gpt2"), options);
    otimes_model *model = open_written(NO_STEPS);
    assert_true(otimes_model_describe(model)->eps == 0);
    otimes_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_arrays),
        cmocka_unit_test(processed_arrays),
        cmocka_unit_test_teardown(processed_and_back, empty_folder),
        cmocka_unit_test_teardown(raw_and_back, empty_folder),
        cmocka_unit_test_teardown(step_by_step, empty_folder),
        cmocka_unit_test_teardown(epsilon_of_zero, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
