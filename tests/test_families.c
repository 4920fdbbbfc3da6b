/* SPDX-License-Identifier: MIT
 *
 * What single families say of themselves, and configurations and weights that contradict each other.
 */
#include "edited.h"
#include "gguf_writer.h"

#include <math.h>
#include <string.h>

#include "model/model.h"
#include "run/rope.h"

/* What only some families have: windows, experts, rotary parts, norms of queries. */
static void families(void **state)
{
    (void)state;
    static const bad_case cases[] = {
        {"gemma2", "{\"layer_types\":[\"full_attention\"]}", NULL, MODEL,
         "layer_types: expected a list with an entry for each layer"},
        {"gemma2", "{\"layer_types\":\"full_attention\"}", NULL, MODEL, "layer_types"},
        {"qwen3", "{\"layer_types\":[\"full_attention\",\"linear_attention\"]}", NULL, MODEL,
         "layer_types: expected sliding_attention or full_attention"},
        {"qwen3", "{\"layer_types\":[\"full_attention\",1]}", NULL, MODEL, "layer_types"},
        {"gpt_neo", "{\"attention_layers\":\"DELETE\",\"attention_types\":[[[\"global\"],1]]}",
         NULL, MODEL, "attention_types: expected a kind for each layer"},
        {"gpt_neo", "{\"attention_layers\":\"DELETE\",\"attention_types\":[[[],9]]}", NULL, MODEL,
         "attention_types"},
        {"gpt_neo",
         "{\"attention_layers\":\"DELETE\",\"attention_types\":[[[\"global\",\"local\"],"
         "9223372036854775807]]}",
         NULL, MODEL, "attention_types"},
        {"gpt_neo", "{\"attention_layers\":\"DELETE\",\"attention_types\":{\"a\":1}}", NULL, MODEL,
         "attention_types"},
        {"smollm3", "{\"no_rope_layers\":[1]}", NULL, MODEL, "no_rope_layers"},
        {"gptj", "{\"rotary_dim\":3}", NULL, MODEL, "rotary dimensions: expected an even number"},
        {"gptj", "{\"rotary_dim\":1000}", NULL, MODEL,
         "rotary dimensions: expected an even number"},
        {"gpt_neox", "{\"rope_parameters\":null,\"rotary_pct\":7}", NULL, MODEL,
         "rotary dimensions"},
        {"mixtral", "{\"num_local_experts\":4}", NULL, MODEL,
         "block_sparse_moe.gate.weight: shape [3,|absent layers.0.block_sparse_moe.experts.3.w1"},
        {"mixtral", "{\"num_local_experts\":2}", NULL, MODEL, "unexpected model.layers.0.block"},
        {"mixtral", "{\"num_local_experts\":1000000}", NULL, MODEL,
         "experts: expected at most 4096"},
        {"mixtral", "{\"num_local_experts\":4096}", NULL, MODEL,
         "expected weights for 4096 experts in each of 2 layers|bytes in all"},
        {"mixtral", NULL, "{\"model.layers.1.block_sparse_moe.experts.2.w3.weight\":\"DELETE\"}",
         MODEL, "1 problem|absent layers.1.block_sparse_moe.experts.2.w3.weight"},
        {"transformer_lens_mlp", NULL,
         "{\"blocks.0.mlp.W_gate.weight\":{\"dtype\":\"F32\",\"shape\":[0,11]}}", MODEL,
         "absent blocks.0.mlp.experts.0.W_in.weight"},
        {"mixtral", NULL, "{\"model.layers.1.block_sparse_moe.gate.weight\":\"DELETE\"}", MODEL,
         "absent layers.1.block_sparse_moe.gate.weight"},
        {"gpt_oss", "{\"num_local_experts\":2}", NULL, MODEL, "gate_up_proj: shape [3,"},
        {"gpt_oss", NULL, "{\"model.layers.0.mlp.experts.down_proj\":\"DELETE\"}", MODEL,
         "1 problem|absent layers.0.mlp.experts.down_proj"},
        /* MXFP4: blocks without fitting scales stay bytes, which are no weights */
        {"gpt_oss_mxfp4", NULL, "{\"model.layers.0.mlp.experts.down_proj_scales\":\"DELETE\"}",
         MODEL, "1 problem|unreadable type of model.layers.0.mlp.experts.down_proj_blocks"},
        {"gpt_oss_mxfp4", NULL, "{\"model.layers.0.mlp.experts.down_proj_blocks\":\"DELETE\"}",
         MODEL,
         "2 problems|unexpected model.layers.0.mlp.experts.down_proj_scales|"
         "absent layers.0.mlp.experts.down_proj"},
        {"gpt_oss_mxfp4", NULL,
         "{\"model.layers.0.mlp.experts.gate_up_proj_scales\":"
         "{\"dtype\":\"U8\",\"shape\":[3,32,1]}}",
         MODEL,
         "2 problems|unreadable type of model.layers.0.mlp.experts.gate_up_proj_blocks|"
         "unexpected model.layers.0.mlp.experts.gate_up_proj_scales"},
        {"gpt_oss_mxfp4", NULL,
         "{\"model.layers.0.mlp.experts.down_proj_blocks\":"
         "{\"dtype\":\"U8\",\"shape\":[3,32,2,16]},"
         "\"model.layers.0.mlp.experts.down_proj_scales\":"
         "{\"dtype\":\"U8\",\"shape\":[3,32,2]}}",
         MODEL, "1 problem|down_proj_blocks: shape [3,32,64]|[3,32,32]"},
        {"gpt_oss_mxfp4", NULL,
         "{\"model.layers.0.mlp.experts.down_proj\":"
         "{\"dtype\":\"F16\",\"shape\":[3,32,32]}}",
         MODEL, "second tensor of one weight"},
        {"olmo2", NULL, "{\"model.layers.0.self_attn.q_norm.weight\":\"DELETE\"}", MODEL,
         "absent layers.0.self_attn.q_norm.weight"},
        {"gemma2", NULL, "{\"model.layers.0.post_feedforward_layernorm.weight\":\"DELETE\"}", MODEL,
         "absent layers.0.post_feedforward_layernorm.weight"},
        {"opt", "{\"do_layer_norm_before\":false}", NULL, UNSUPPORTED,
         "do_layer_norm_before: expected true"},
        {"mpt", "{\"attn_config\":{\"qk_ln\":true}}", NULL, UNSUPPORTED, "attn_config.qk_ln"},
        {"bloom", "{\"apply_residual_connection_post_layernorm\":true}", NULL, UNSUPPORTED,
         "apply_residual_connection_post_layernorm"},
        {"gemma", "{\"use_bidirectional_attention\":true}", NULL, UNSUPPORTED,
         "use_bidirectional_attention"},
        {"stablelm_qk_norm", NULL, NULL, UNSUPPORTED, "qk_layernorm: expected off"},
        {"transformer_lens", "{\"attention_dir\":\"sideways\"}", NULL, MODEL,
         "attention_dir: expected causal or bidirectional"},
        {"transformer_lens", "{\"post_embedding_ln\":true}", NULL, MODEL,
         "post_embedding_ln|embed.ln.w, got none"},
    };
    run_cases(cases, COUNT(cases));
}

/* A dictionary of a checkpoint that is asked for and not there. */
static void state_dictionaries(void **state)
{
    (void)state;
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    write_edited("gpt2", NULL, NULL);
    settings.state_dict = "model";
    refused_path(temp_folder, &settings, MODEL,
                 "no state dictionary \"model\"|expected one of \"\"", "--state-dict");
    settings.state_dict = "";
    otimes_model *model;
    otimes_err err = {0};
    assert_ok(otimes_model_open(&model, temp_folder, &settings, &err), &err);
    otimes_model_close(&model);
}

/* The layers of GPT-Neo by its other spelling: global, local, local. An item may cover none. */
static void kinds_of_layers(void **state)
{
    (void)state;
    static const char *const spelt[] = {
        "[[[\"global\",\"local\"],1],[[\"local\"],1]]",
        "[[[\"local\"],0],[[\"global\"],1],[[],7],[[\"local\"],2]]",
        "[[[\"global\",\"local\",\"local\"],5]]",
    };
    for (size_t i = 0; i < COUNT(spelt); i++) {
        char config[256];
        otimes_model *model;
        otimes_err err = {0};
        snprintf(config, sizeof config, "{\"attention_layers\":\"DELETE\",\"attention_types\":%s}",
                 spelt[i]);
        write_edited("gpt_neo", config, NULL);
        assert_ok(otimes_model_open(&model, temp_folder, NULL, &err), &err);
        for (int64_t layer = 0; layer < 3; layer++) {
            otimes_layer_info info;
            assert_ok(otimes_layer_describe(model, layer, &info, &err), &err);
            assert_int_equal(info.window > 0, layer > 0);
        }
        otimes_model_close(&model);
    }
}

/* Opens a golden with another configuration. */
static otimes_model *opened(const char *golden_name, const char *config)
{
    otimes_model *model;
    otimes_err err = {0};
    write_edited(golden_name, config, NULL);
    assert_ok(otimes_model_open(&model, temp_folder, NULL, &err), &err);
    return model;
}

/* What scores are divided by, where a switch says so. */
static void scales(void **state)
{
    (void)state;
    otimes_model *model = opened("gpt2", "{\"scale_attn_weights\":false}");
    assert_true(otimes_model_describe(model)->attn_scale == 1);
    otimes_model_close(&model);
    model = opened("gpt2", "{\"scale_attn_weights\":true}");
    assert_true(otimes_model_describe(model)->attn_scale ==
                sqrt((double)otimes_model_describe(model)->d_head));
    otimes_model_close(&model);
}

/* One layer of Gemma 2 in GGUF: d_model 8, 2 heads of d_head that share keys and values. */
static otimes_model *gemma_of_heads(uint64_t d_head)
{
    static gguf_writer w;
    const struct {
        const char *name;
        uint64_t value;
    } keys[] = {{"embedding_length", 8},    {"block_count", 1},
                {"feed_forward_length", 3}, {"attention.head_count", 2},
                {"context_length", 4},      {"attention.head_count_kv", 1},
                {"vocab_size", 5},          {"attention.key_length", d_head}};
    const struct {
        const char *name;
        uint64_t dim[2];
    } tensors[] = {{"token_embd", {8, 5}},
                   {"output_norm", {8}},
                   {"blk.0.attn_norm", {8}},
                   {"blk.0.ffn_norm", {8}},
                   {"blk.0.post_attention_norm", {8}},
                   {"blk.0.post_ffw_norm", {8}},
                   {"blk.0.attn_q", {8, 2 * d_head}},
                   {"blk.0.attn_k", {8, d_head}},
                   {"blk.0.attn_v", {8, d_head}},
                   {"blk.0.attn_output", {2 * d_head, 8}},
                   {"blk.0.ffn_gate", {8, 3}},
                   {"blk.0.ffn_up", {8, 3}},
                   {"blk.0.ffn_down", {3, 8}}};
    uint64_t bytes = 0;
    char name[64];
    gguf_header(&w, 3, COUNT(tensors), COUNT(keys) + 1);
    gguf_key_text(&w, "general.architecture", "gemma2");
    for (size_t i = 0; i < COUNT(keys); i++) {
        snprintf(name, sizeof name, "gemma2.%s", keys[i].name);
        gguf_key(&w, name, GGUF_U32);
        gguf_put(&w, 4, keys[i].value);
    }
    for (size_t i = 0; i < COUNT(tensors); i++) {
        const uint64_t *dim = tensors[i].dim;
        snprintf(name, sizeof name, "%s.weight", tensors[i].name);
        gguf_tensor(&w, name, dim[1] ? 2 : 1, dim, 0, bytes);
        bytes += 4 * dim[0] * (dim[1] ? dim[1] : 1);
        bytes = (bytes + 31) / 32 * 32;
    }
    gguf_align(&w, 32);
    gguf_data(&w, bytes);
    otimes_model *model;
    otimes_err err = {0};
    write_file("model.gguf", w.bytes, w.length);
    assert_ok(otimes_model_open(&model, in_folder("model.gguf"), NULL, &err), &err);
    return model;
}

/* Files that do not say what scores are divided by: the root of d_head, and where heads are 128 wide of
 * d_model / n_heads. */
static void scales_by_width(void **state)
{
    (void)state;
    otimes_model *model = gemma_of_heads(64);
    assert_true(otimes_model_describe(model)->attn_scale == 8);
    otimes_model_close(&model);
    model = gemma_of_heads(128);
    assert_true(otimes_model_describe(model)->attn_scale == 2);
    otimes_model_close(&model);
}

/* YaRN's growth of queries and keys: by its factor, by two numbers that divide each other, or given. */
static void growths(void **state)
{
    static const struct {
        const char *numbers;
        double magnitude;
    } cases[] = {
        {"", 1.1386294361119891}, /* 0.1 ln 4 + 1 */
        {",\"mscale\":0.7,\"mscale_all_dim\":1.3", 0.9295234923939468},
        {",\"mscale\":0.7", 1.1386294361119891},
        {",\"attention_factor\":1.5,\"mscale\":0.7,\"mscale_all_dim\":1.3", 1.5},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char config[256];
        snprintf(config, sizeof config,
                 "{\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,"
                 "\"original_max_position_embeddings\":64%s}}",
                 cases[i].numbers);
        otimes_model *model = opened("llama", config);
        assert_true(fabs(model->rope.magnitude - cases[i].magnitude) < 1e-12);
        otimes_model_close(&model);
    }
}

/* A rule that is known by its name alone: weights can be read, rotations cannot be made. */
static void nameless_scaling(void **state)
{
    double frequency[64];
    otimes_err err = {0};
    (void)state;
    otimes_model *model = opened("llama", "{\"use_scaled_rope\":true}");
    assert_true(otimes_model_describe(model)->d_head <= 64);
    assert_int_equal(otimes_rope_frequencies(model, &model->rope, frequency, &err), UNSUPPORTED);
    check_words("use_scaled_rope", err.msg, "scaling");
    otimes_model_close(&model);
}

/* A checkpoint's configuration that names no architecture, as its training script wrote it. */
static void arguments_of_a_script(void **state)
{
    (void)state;
    otimes_model *model = opened(
        "nanogpt", "{\"model_type\":\"DELETE\",\"block_size\":\"DELETE\",\"n_embd\":\"DELETE\","
                   "\"n_head\":\"DELETE\",\"n_layer\":\"DELETE\",\"vocab_size\":\"DELETE\","
                   "\"model_args\":{\"block_size\":9,\"n_embd\":9,\"n_head\":3,\"n_layer\":2,"
                   "\"vocab_size\":20}}");
    const otimes_model_info *info = otimes_model_describe(model);
    assert_string_equal(info->architecture, "nanogpt");
    assert_true(info->n_ctx == 9 && info->n_heads == 3 && info->d_head == 3 && info->n_layers == 2);
    otimes_model_close(&model);
}

/* Tensors whose names begin so leave the header. */
static void drop_tensors(checkpoint *c, const char *prefix)
{
    const char *name;
    json_t *tensor;
    void *next;
    json_object_foreach_safe(c->header, next, name, tensor)
    {
        if (strncmp(name, prefix, strlen(prefix)) == 0) {
            json_object_del(c->header, name);
        }
    }
}

/* Writes and opens it, with all processing or with none. */
static otimes_model *written(checkpoint *c, int processed)
{
    otimes_model *model;
    otimes_model_settings settings;
    otimes_err err = {0};
    otimes_model_settings_default(&settings);
    settings.fold_ln = settings.center_writing_weights = settings.center_unembed =
        settings.fold_value_biases = processed;
    write_config(c->config);
    write_weights(c);
    drop_checkpoint(c);
    assert_ok(otimes_model_open(&model, temp_folder, &settings, &err), &err);
    return model;
}

/* Without a layer no tensor tells d_mlp: it is what the architecture has where nothing is said. */
static void no_layers(void **state)
{
    (void)state;
    checkpoint c;
    read_golden(&c, "nanogpt");
    edit(c.config, "{\"n_layer\":0}");
    drop_tensors(&c, "transformer.h.");
    otimes_model *model = written(&c, 1);
    const otimes_model_info *info = otimes_model_describe(model);
    assert_true(info->n_layers == 0 && info->d_mlp == 4 * info->d_model);
    otimes_model_close(&model);
}

/* Where both ends are one matrix, the file may have it under the name of either. */
static void tied_by_the_other_name(void **state)
{
    (void)state;
    golden g;
    checkpoint c;
    otimes_unembed unembed;
    otimes_err err = {0};
    float embedding[64], expected[64];
    golden_open(&g, "llama", false);
    const int64_t d = otimes_model_describe(g.model)->d_model;
    assert_ok(otimes_unembed_open(g.model, &unembed, &err), &err);
    assert_ok(otimes_unembed_rows(&unembed, 3, 1, expected, &err), &err);
    otimes_unembed_free(&unembed);
    golden_close(&g);
    read_golden(&c, "llama");
    edit(c.config, "{\"tie_word_embeddings\":true}");
    drop_tensors(&c, "model.embed_tokens.");
    otimes_model *model = written(&c, 0);
    assert_true(otimes_model_describe(model)->tied);
    assert_ok(otimes_embed_rows(model, 3, 1, embedding, &err), &err);
    assert_memory_equal(embedding, expected, (size_t)d * sizeof *embedding);
    otimes_model_close(&model);
}

/* The golden with an MLP has experts in its place: two of 9, the halves of what it was. */
static void make_experts(checkpoint *c)
{
    static const char *const changed[] = {"mlp.experts.0.W_in.weight", "mlp.experts.1.W_in.weight",
                                          "mlp.experts.0.W_gate.weight",
                                          "mlp.experts.1.W_gate.weight"};
    read_golden(c, "transformer_lens_mlp");
    edit(c->config, "{\"num_experts\":2,\"experts_per_token\":1,\"d_mlp\":9}");
    for (int layer = 0; layer < 2; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blocks.%d.mlp.W_out", layer);
        json_t *data = json_object_get(json_object_get(c->header, name), "data_offsets");
        const json_int_t first = json_integer_value(json_array_get(data, 0));
        for (int i = 0; i < 6; i++) {
            const bool out = i >= 4;
            if (out) {
                snprintf(name, sizeof name, "blocks.%d.mlp.experts.%d.W_out.weight", layer, i - 4);
            } else {
                snprintf(name, sizeof name, "blocks.%d.%s", layer, changed[i]);
            }
            const json_int_t at = first + 396 * (i % 2);
            json_object_set_new(c->header, name,
                                json_pack("{s:s, s:[i, i], s:[I, I]}", "dtype", "F32", "shape",
                                          out ? 11 : 9, out ? 9 : 11, "data_offsets", at,
                                          at + 396));
        }
        snprintf(name, sizeof name, "blocks.%d.mlp.W_gate.weight", layer);
        json_object_set_new(c->header, name,
                            json_pack("{s:s, s:[i, i], s:[I, I]}", "dtype", "F32", "shape", 2, 11,
                                      "data_offsets", first, first + 88));
        for (int i = 0; i < 4; i++) {
            static const char *const gone[] = {"W_in", "W_out", "b_in", "b_out"};
            snprintf(name, sizeof name, "blocks.%d.mlp.%s", layer, gone[i]);
            json_object_del(c->header, name);
        }
    }
}

/* What experts write into a stream that LayerNorm reads is centred as what an MLP writes. */
static void centred_experts(void **state)
{
    (void)state;
    otimes_err err = {0};
    otimes_expert expert[2];
    for (int processed = 0; processed < 2; processed++) {
        checkpoint c;
        make_experts(&c);
        otimes_model *model = written(&c, processed);
        assert_ok(otimes_expert_load(model, 1, 1, &expert[processed], &err), &err);
        otimes_model_close(&model);
    }
    const otimes_tensor *raw = &expert[0].W_out, *centred = &expert[1].W_out;
    for (int64_t i = 0; i < 9; i++) {
        double mean = 0;
        for (int64_t k = 0; k < 11; k++) {
            mean += (double)raw->data[i * raw->stride[0] + k * raw->stride[1]] / 11;
        }
        assert_true(fabs(mean) > 1e-4);
        for (int64_t k = 0; k < 11; k++) {
            const double got =
                (double)centred->data[i * centred->stride[0] + k * centred->stride[1]];
            const double was = (double)raw->data[i * raw->stride[0] + k * raw->stride[1]];
            assert_true(fabs(got - (was - mean)) < 1e-6);
        }
    }
    for (int processed = 0; processed < 2; processed++) {
        otimes_expert_free(&expert[processed]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(families, empty_folder),
        cmocka_unit_test_teardown(state_dictionaries, empty_folder),
        cmocka_unit_test_teardown(kinds_of_layers, empty_folder),
        cmocka_unit_test_teardown(scales, empty_folder),
        cmocka_unit_test_teardown(scales_by_width, empty_folder),
        cmocka_unit_test_teardown(growths, empty_folder),
        cmocka_unit_test_teardown(nameless_scaling, empty_folder),
        cmocka_unit_test_teardown(arguments_of_a_script, empty_folder),
        cmocka_unit_test_teardown(no_layers, empty_folder),
        cmocka_unit_test_teardown(tied_by_the_other_name, empty_folder),
        cmocka_unit_test_teardown(centred_experts, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
