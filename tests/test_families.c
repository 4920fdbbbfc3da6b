/* SPDX-License-Identifier: MIT
 *
 * Configurations and weights of single families that contradict each other.
 */
#include "edited.h"

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
        {"mixtral", NULL, "{\"model.layers.1.block_sparse_moe.experts.2.w3.weight\":\"DELETE\"}",
         MODEL, "1 problem|absent layers.1.block_sparse_moe.experts.2.w3.weight"},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(families, empty_folder),
        cmocka_unit_test_teardown(state_dictionaries, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
