/* SPDX-License-Identifier: MIT
 *
 * What a model says of itself.
 */
#include "accuracy.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/info.h>

/* Parameters of all parts are the elements of all claimed tensors, each once. */
static void parameters_add_up(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        otimes_err err = {0};
        otimes_memory_sink *memory;
        int64_t count;
        golden_open(&g, golden_names[i], true);
        assert_ok(otimes_memory_sink_new(&memory, &err), &err);
        assert_ok(otimes_info(g.model, NULL, otimes_memory_sink_sink(memory), &err), &err);
        double *parts = sink_values(memory, "parameters", &count);
        double total = 0;
        for (int64_t p = 0; p < count; p++) {
            total += parts[p];
        }
        int64_t elements = 0;
        const otimes_model_info *info = otimes_model_describe(g.model);
        for (int64_t t = 0; t < info->tensor_count; t++) {
            otimes_tensor_info tensor;
            assert_ok(otimes_model_tensor(g.model, t, &tensor, &err), &err);
            int64_t size = 1;
            if (tensor.part && strcmp(tensor.part, "W_pos") == 0) {
                tensor.dim[0] = info->n_ctx; /* OPT has two rows before the first */
            }
            for (int k = 0; k < tensor.ndim; k++) {
                size *= tensor.dim[k];
            }
            elements += tensor.part && !(info->tied && strcmp(tensor.part, "W_U") == 0) ? size : 0;
        }
        accuracy_exact("parameters", total, (double)elements);
        free(parts);
        otimes_memory_sink_free(&memory);
        golden_close(&g);
    }
}

static void facts(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, "mistral", true);
    const otimes_model_info *info = otimes_model_describe(g.model);
    assert_string_equal(info->dtype, "BF16");
    assert_int_equal(info->norm, OTIMES_NORM_RMS);
    assert_int_equal(info->positions, OTIMES_POSITIONS_ROPE);
    assert_int_equal(info->sliding_window, 3);
    assert_int_equal(info->n_kv_heads, 2);
    assert_int_equal(info->fold_ln, OTIMES_STEP_APPLIED);
    assert_int_equal(info->center_writing_weights, OTIMES_STEP_NOT_APPLICABLE);
    golden_close(&g);
    golden_open(&g, "qwen2", false);
    info = otimes_model_describe(g.model);
    assert_string_equal(info->dtype, "F16");
    assert_int_equal(info->sliding_window, 0);
    assert_true(info->tied && info->qkv_bias);
    assert_int_equal(info->fold_ln, OTIMES_STEP_OFF);
    golden_close(&g);
    golden_open(&g, "transformer_lens_none", true);
    info = otimes_model_describe(g.model);
    assert_int_equal(info->norm, OTIMES_NORM_NONE);
    assert_int_equal(info->fold_ln, OTIMES_STEP_NOT_APPLICABLE);
    assert_int_equal(info->fold_value_biases, OTIMES_STEP_NOT_APPLICABLE);
    assert_true(info->d_vocab_out != info->d_vocab);
    golden_close(&g);
}

static void buffers_are_ignored(void **state)
{
    (void)state;
    golden g;
    int64_t ignored = 0;
    otimes_err err = {0};
    golden_open(&g, "gpt2_old", true);
    for (int64_t t = 0; t < otimes_model_describe(g.model)->tensor_count; t++) {
        otimes_tensor_info tensor;
        assert_ok(otimes_model_tensor(g.model, t, &tensor, &err), &err);
        ignored += tensor.part == NULL;
    }
    assert_true(ignored > 0);
    otimes_tensor_info tensor;
    assert_int_equal(otimes_model_tensor(g.model, -1, &tensor, &err), OTIMES_ERR_ARGUMENT);
    golden_close(&g);
}

/* sha256 of the files as sha256sum has it. */
static void digest(void **state)
{
    (void)state;
    golden g;
    char *text = NULL;
    otimes_err err = {0};
    char command[8192];
    golden_open(&g, "llama_sharded", true);
    assert_ok(otimes_model_sha256(g.model, &text, &err), &err);
    snprintf(command, sizeof command, "cd '%s' && sha256sum -c --quiet -",
             source_path("tests/golden/llama_sharded"));
    FILE *check = popen(command, "w");
    assert_non_null(check);
    fprintf(check, "%s\n", text);
    assert_int_equal(pclose(check), 0);
    assert_non_null(strchr(text, '\n'));
    otimes_text_release(&text);
    assert_null(text);
    golden_close(&g);
}

int main(void)
{
    accuracy_of("info");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_add_up),
        cmocka_unit_test(facts),
        cmocka_unit_test(buffers_are_ignored),
        cmocka_unit_test(digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
