/* SPDX-License-Identifier: MIT
 *
 * Real trained checkpoints and the figures that come with them (../shared/weights, read in place).
 * Where that folder is absent the tests are skipped.
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/heads.h>

#include "format/open.h"
#include "format/json.h"

static const char *needed(const char *relative)
{
    const char *path = shared_path(relative);
    if (!path) {
        print_message("skipped: ../shared/weights/%s is not here\n", relative);
        skip();
    }
    return path;
}

/* tinystories656k: eleven values as others published them, at a flat index of the stored tensor. */
static void spot_values(void **state)
{
    (void)state;
    static const struct {
        const char *key, *tensor;
        int64_t index;
    } spots[] = {
        {"embed_tokens[50] (= lm_head)", "model.embed_tokens.weight", 50},
        {"layers.0.input_layernorm[10]", "model.layers.0.input_layernorm.weight", 10},
        {"layers.1.post_attention_layernorm[10]", "model.layers.1.post_attention_layernorm.weight",
         10},
        {"norm[100]", "model.norm.weight", 100},
        {"layers.0.mlp.down_proj[100]", "model.layers.0.mlp.down_proj.weight", 100},
        {"layers.0.mlp.up_proj[100]", "model.layers.0.mlp.up_proj.weight", 100},
        {"layers.1.mlp.gate_proj[100]", "model.layers.1.mlp.gate_proj.weight", 100},
        {"layers.1.self_attn.q_proj[100]", "model.layers.1.self_attn.q_proj.weight", 100},
        {"layers.1.self_attn.k_proj[100]", "model.layers.1.self_attn.k_proj.weight", 100},
        {"layers.0.self_attn.v_proj[100]", "model.layers.0.self_attn.v_proj.weight", 100},
        {"layers.0.self_attn.o_proj[100]", "model.layers.0.self_attn.o_proj.weight", 100},
    };
    otimes_err err = {0};
    otimes_store store;
    json_t *expected;
    assert_ok(otimes_json_load(&expected, needed("tinystories656k/expected.json"), &err), &err);
    assert_ok(otimes_store_open(&store, shared_path("tinystories656k"), &err), &err);
    for (size_t i = 0; i < sizeof spots / sizeof spots[0]; i++) {
        const json_t *value = json_object_get(expected, spots[i].key);
        const otimes_entry *entry = otimes_store_find(&store, spots[i].tensor);
        float got;
        assert_true(json_is_number(value));
        assert_non_null(entry);
        const otimes_source source = {entry->dtype, entry->data, entry->scales};
        otimes_dtype_gather(source, spots[i].index, 1, 1, 1, 1, &got);
        /* published with the digits of a float32 print: half a unit of the last one */
        assert_true(fabs((double)got - json_number_value(value)) <= 5e-9);
    }
    otimes_store_close(&store);
    json_decref(expected);
}

static double copying_of(const json_t *model, int layer, int head)
{
    char key[16];
    snprintf(key, sizeof key, "%d.%d", layer, head);
    const json_t *scores =
        json_object_get(model, "OV copying score sum(eig)/sum|eig| of W_E W_V W_O W_U");
    assert_true(json_is_number(json_object_get(scores, key)));
    return json_number_value(json_object_get(scores, key));
}

static otimes_memory_sink *raw_heads(const char *path)
{
    otimes_err err = {0};
    otimes_model *model;
    otimes_memory_sink *memory;
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    settings.fold_ln = settings.center_writing_weights = 0;
    settings.center_unembed = settings.fold_value_biases = 0;
    assert_ok(otimes_model_open(&model, path, &settings, &err), &err);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_heads(model, NULL, otimes_memory_sink_sink(memory), &err), &err);
    otimes_model_close(&model);
    return memory;
}

/* grokking_induction: copying scores of both models, computed in float64 by their keeper. */
static void copying_scores(void **state)
{
    (void)state;
    static const char *const names[] = {"induction_head_infinite", "induction_head_finite"};
    otimes_err err = {0};
    json_t *computed;
    assert_ok(otimes_json_load(&computed, needed("grokking_induction/computed.json"), &err), &err);
    for (int m = 0; m < 2; m++) {
        char relative[128];
        int64_t count;
        snprintf(relative, sizeof relative, "grokking_induction/%s.tl.safetensors", names[m]);
        otimes_memory_sink *memory = raw_heads(needed(relative));
        double *scores = sink_values(memory, "full_OV_copying", &count);
        assert_int_equal(count, 8);
        for (int i = 0; i < 8; i++) {
            const double want = copying_of(json_object_get(computed, names[m]), i / 4, i % 4);
            assert_true(fabs(scores[i] - want) < 1e-9);
        }
        free(scores);
        otimes_memory_sink_free(&memory);
    }
    json_decref(computed);
}

/* tracr_induction is compiled, so its circuits are known by construction: each head moves the eight
 * letters unchanged (singular values 1, eight of them), the previous-token head's scores have no
 * term between tokens and positions, and the vocabularies differ. */
static void compiled_circuits(void **state)
{
    (void)state;
    int64_t count;
    otimes_memory_sink *memory = raw_heads(needed("tracr_induction"));
    double *singular = sink_values(memory, "OV_singular_values", &count);
    assert_int_equal(count, 2 * 10);
    for (int64_t i = 0; i < count; i++) {
        assert_true(fabs(singular[i] - (i % 10 < 8 ? 1 : 0)) < 1e-6);
    }
    double *token_position = sink_values(memory, "QK_position_token_position", &count);
    double *position_token = sink_values(memory, "QK_position_position_token", &count);
    double *positions = sink_values(memory, "QK_position_position_position", &count);
    assert_true(positions[0] > 100);
    assert_true(token_position[0] < 1e-5 && position_token[0] < 1e-5);
    assert_null(sink_values(memory, "full_OV_eigenvalues_real", &count));
    free(singular);
    free(token_position);
    free(position_token);
    free(positions);
    otimes_memory_sink_free(&memory);
}

/* gpt_nano_sort stores no attention input biases; all its parameters are accounted for. */
static void sorted_letters(void **state)
{
    (void)state;
    otimes_err err = {0};
    otimes_model *model;
    assert_ok(otimes_model_open(&model, needed("gpt_nano_sort"), NULL, &err), &err);
    const otimes_model_info *info = otimes_model_describe(model);
    assert_int_equal(info->n_layers, 3);
    assert_int_equal(info->n_heads, 3);
    assert_int_equal(info->d_vocab, 3);
    assert_false(info->tied);
    assert_false(info->qkv_bias);
    assert_int_equal(info->fold_value_biases, OTIMES_STEP_APPLIED); /* folding makes b_V */
    otimes_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spot_values),
        cmocka_unit_test(copying_scores),
        cmocka_unit_test(compiled_circuits),
        cmocka_unit_test(sorted_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
