/* SPDX-License-Identifier: MIT
 *
 * Canonical weights written down: the file opens by itself as the same model, and no step is applied
 * twice.
 */
#include "same.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/convert.h>

/* Runs the program: `otimes convert <source> <option> -o <folder>/<name>`. */
static void convert(const char *source, const char *option, const char *name)
{
    const char *program = getenv("OTIMES");
    char line[8192];
    snprintf(line, sizeof line, "'%s' convert '%s' %s -q -o '%s'", program ? program : "otimes",
             source, option, in_folder(name));
    if (system(line) != 0) {
        fail_msg("%s failed", line);
    }
}

/* Steps that were applied are done in the file, the others as possible as before. */
static void check_steps(const otimes_model *original, const otimes_model *written)
{
    const otimes_model_info *a = otimes_model_describe(original);
    const otimes_model_info *b = otimes_model_describe(written);
    const otimes_step before[] = {a->fold_ln, a->center_writing_weights, a->center_unembed,
                                  a->fold_value_biases};
    const otimes_step after[] = {b->fold_ln, b->center_writing_weights, b->center_unembed,
                                 b->fold_value_biases};
    for (int i = 0; i < 4; i++) {
        const bool done = before[i] == OTIMES_STEP_APPLIED || before[i] == OTIMES_STEP_DONE_IN_FILE;
        if ((after[i] == OTIMES_STEP_DONE_IN_FILE) != done) {
            fail_msg("%s: step %d was \"%s\" and is \"%s\"", a->path, i,
                     otimes_step_name(before[i]), otimes_step_name(after[i]));
        }
    }
}

static const char *golden_path(const char *name)
{
    static char path[4096];
    char relative[128];
    snprintf(relative, sizeof relative, "tests/golden/%s", name);
    snprintf(path, sizeof path, "%s", source_path(relative));
    return path;
}

/* Processed weights, read back with the default processing and with none: the same bits. */
static void processed_weights(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        const char *path = golden_path(golden_names[i]);
        convert(path, "", "folded.safetensors");
        otimes_model *original = open_as(path, true);
        for (int again = 0; again < 2; again++) {
            otimes_model *written = open_as(in_folder("folded.safetensors"), again);
            check_steps(original, written);
            same_description(original, written);
            same_weights(original, written, 0);
            otimes_model_close(&written);
        }
        otimes_model_close(&original);
    }
}

/* Raw weights: the same raw, and the same when they are processed later. */
static void raw_weights(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        const char *path = golden_path(golden_names[i]);
        convert(path, "--raw", "raw.safetensors");
        for (int processed = 0; processed < 2; processed++) {
            otimes_model *original = open_as(path, processed);
            otimes_model *written = open_as(in_folder("raw.safetensors"), processed);
            same_description(original, written);
            same_weights(original, written, 0);
            otimes_model_close(&written);
            otimes_model_close(&original);
        }
    }
}

/* One step alone on disk, the others when it is read: the same as all at once, to rounding, since
 * the steps meet float32 once more in between. */
static void one_step_on_disk(void **state)
{
    (void)state;
    static const char *const steps[] = {"--raw --fold-ln", "--raw --center-writing-weights",
                                        "--raw --center-unembed", "--raw --fold-value-biases"};
    static const char *const names[] = {"gpt2", "gpt_neox", "transformer_lens_mlp", NULL};
    for (int i = 0; names[i]; i++) {
        otimes_model *original = open_as(golden_path(names[i]), true);
        for (int s = 0; s < 4; s++) {
            convert(golden_path(names[i]), steps[s], "step.safetensors");
            otimes_model *written = open_as(in_folder("step.safetensors"), false);
            const otimes_model_info *info = otimes_model_describe(written);
            const otimes_step found[] = {info->fold_ln, info->center_writing_weights,
                                         info->center_unembed, info->fold_value_biases};
            for (int t = 0; t < 4; t++) {
                assert_int_equal(found[t] == OTIMES_STEP_DONE_IN_FILE, t == s);
            }
            otimes_model_close(&written);
            written = open_as(in_folder("step.safetensors"), true);
            same_weights(original, written, 1e-6);
            otimes_model_close(&written);
        }
        otimes_model_close(&original);
    }
}

/* Written twice: the second file holds what the first one does. */
static void written_again(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "olmo2", "gemma2", "mixtral", "gpt_oss", NULL};
    for (int i = 0; names[i]; i++) {
        char first[512];
        convert(golden_path(names[i]), "", "first.safetensors");
        snprintf(first, sizeof first, "%s", in_folder("first.safetensors"));
        convert(first, "", "second.safetensors");
        otimes_model *a = open_as(first, true);
        otimes_model *b = open_as(in_folder("second.safetensors"), true);
        same_description(a, b);
        same_weights(a, b, 0);
        otimes_model_close(&a);
        otimes_model_close(&b);
    }
}

/* Names and shapes are TransformerLens'. */
static void names_and_shapes(void **state)
{
    (void)state;
    golden g;
    otimes_memory_sink *memory;
    otimes_err err = {0};
    static const struct {
        const char *name;
        int ndim;
        int64_t dim[3];
    } expected[] = {
        {"embed.W_E", 2, {22, 15}},           {"unembed.W_U", 2, {15, 22}},
        {"blocks.1.attn.W_Q", 3, {4, 15, 4}}, {"blocks.1.attn._W_K", 3, {2, 15, 4}},
        {"blocks.0.attn._b_K", 2, {2, 4}},    {"blocks.0.attn.W_O", 3, {4, 4, 15}},
        {"blocks.0.mlp.W_in", 2, {15, 11}},   {"blocks.0.mlp.W_out", 2, {11, 15}},
    };
    golden_open(&g, "qwen2", true);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_convert(g.model, NULL, otimes_memory_sink_sink(memory), &err), &err);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const void *data;
        const otimes_array *array = otimes_memory_sink_array(memory, expected[i].name, &data);
        assert_non_null(array);
        assert_int_equal(array->ndim, expected[i].ndim);
        for (int j = 0; j < array->ndim; j++) {
            assert_int_equal(array->axis[j]->length, expected[i].dim[j]);
        }
    }
    const void *data;
    assert_null(otimes_memory_sink_array(memory, "blocks.0.ln1.w", &data));
    assert_null(otimes_memory_sink_array(memory, "blocks.0.attn._b_V", &data));
    assert_non_null(otimes_memory_sink_attr(memory, "otimes_config"));
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processed_weights), cmocka_unit_test(raw_weights),
        cmocka_unit_test(one_step_on_disk),  cmocka_unit_test(written_again),
        cmocka_unit_test(names_and_shapes),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
