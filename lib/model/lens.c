/* SPDX-License-Identifier: MIT */
#include "model/lens.h"

#include <string.h>

#include "base/mem.h"
#include "format/json.h"
#include "model/arch_names.h"

/* Grouped keys and values go by a name with a leading underscore, and a norm that is the heads' own
 * by another than one they share. */
static bool is_ours(const otimes_model *model, const otimes_tensor_rule *rule, int64_t layer)
{
    const otimes_binding *binding = otimes_expert_binding(model, rule->slot, layer, 0);
    const bool norm = rule->slot == OTIMES_SLOT_Q_NORM_W || rule->slot == OTIMES_SLOT_K_NORM_W;
    const bool own = norm && binding->group_stride != 0;
    return !norm || own == (rule->layout[0] != 'e');
}

/* The name that a rule gives, {l} and {x} filled in. */
static int write_name(const otimes_model *model, const otimes_tensor_rule *rule, otimes_place place,
                      otimes_text *name, otimes_err *err)
{
    const bool grouped = model->info.n_kv_heads != model->info.n_heads;
    const char *pattern = rule->name, *second = strchr(rule->name, '|');
    if (second && grouped) {
        pattern = second + 1;
    }
    const char *const end = pattern + strcspn(pattern, "|");
    int rc = OTIMES_OK;
    while (rc == OTIMES_OK && pattern < end) {
        if (*pattern == '{') {
            rc = otimes_text_add(name, err, "%lld",
                                 (long long)(pattern[1] == 'l' ? place.layer : place.expert));
            pattern += 3;
        } else {
            rc = otimes_text_add(name, err, "%c", *pattern++);
        }
    }
    return rc;
}

static int add_tensor(const otimes_model *model, const otimes_tensor_rule *rule, otimes_place place,
                      otimes_lens_list *list, otimes_err *err)
{
    otimes_text name = {0};
    if (!otimes_slot_is_there(model, rule->slot, place.layer, place.expert) ||
        !is_ours(model, rule, place.layer)) {
        return OTIMES_OK;
    }
    int rc = OTIMES_GROW(&list->tensor, list->count, &list->capacity, err);
    if (rc == OTIMES_OK) {
        rc = write_name(model, rule, place, &name, err);
    }
    if (rc != OTIMES_OK) {
        otimes_text_free(&name);
        return rc;
    }
    list->tensor[list->count++] =
        (otimes_lens_tensor){rule->slot, place.layer, place.expert, name.data, rule->layout};
    return OTIMES_OK;
}

/* Those of the model (layer and expert -1), of a layer, or of one expert. */
static int add_place(const otimes_model *model, otimes_place place, otimes_lens_list *list,
                     otimes_err *err)
{
    int rc = OTIMES_OK;
    const otimes_tensor_rule *rule = otimes_names_transformer_lens;
    for (; rc == OTIMES_OK && rule->name; rule++) {
        const bool of_layer = rule->slot >= OTIMES_SLOT_FIRST_OF_LAYER;
        const bool of_expert = rule->slot >= OTIMES_SLOT_FIRST_OF_EXPERT;
        if (of_layer == (place.layer >= 0) && of_expert == (place.expert >= 0)) {
            rc = add_tensor(model, rule, place, list, err);
        }
    }
    return rc;
}

int otimes_lens_tensors(const otimes_model *model, otimes_lens_list *list, otimes_err *err)
{
    *list = (otimes_lens_list){0};
    int rc = add_place(model, (otimes_place){-1, -1}, list, err);
    for (int64_t layer = 0; rc == OTIMES_OK && layer < model->info.n_layers; layer++) {
        const int64_t experts =
            otimes_layer_has_experts(model, layer) ? model->dims[OTIMES_DIM_N_EXPERTS] : 0;
        for (int64_t expert = -1; rc == OTIMES_OK && expert < experts; expert++) {
            rc = add_place(model, (otimes_place){layer, expert}, list, err);
        }
    }
    if (rc != OTIMES_OK) {
        otimes_lens_list_free(list);
    }
    return rc;
}

void otimes_lens_list_free(otimes_lens_list *list)
{
    for (int64_t i = 0; i < list->count; i++) {
        otimes_free(list->tensor[i].name);
    }
    otimes_free(list->tensor);
    *list = (otimes_lens_list){0};
}

static const char *norm_type(const otimes_model *model)
{
    const bool weights =
        model->norm_has_weights && (model->info.fold_ln == OTIMES_STEP_OFF ||
                                    model->info.fold_ln == OTIMES_STEP_NOT_APPLICABLE);
    switch (model->info.norm) {
    case OTIMES_NORM_NONE:
        return NULL;
    case OTIMES_NORM_LN:
        return weights ? "LN" : "LNPre";
    case OTIMES_NORM_RMS:
        return weights ? "RMS" : "RMSPre";
    }
    return NULL;
}

static const char *positions_type(otimes_positions positions)
{
    switch (positions) {
    case OTIMES_POSITIONS_NONE:
        return "none";
    case OTIMES_POSITIONS_LEARNED:
        return "standard";
    case OTIMES_POSITIONS_SHORTFORMER:
        return "shortformer";
    case OTIMES_POSITIONS_ROPE:
        return "rotary";
    case OTIMES_POSITIONS_ALIBI:
        return "alibi";
    }
    return "none";
}

static json_t *processing(const otimes_model_info *info)
{
    const otimes_step steps[] = {info->fold_ln, info->center_writing_weights, info->center_unembed,
                                 info->fold_value_biases};
    static const char *const names[] = {"fold_ln", "center_writing_weights", "center_unembed",
                                        "fold_value_biases"};
    json_t *object = json_object();
    for (int i = 0; i < 4; i++) {
        const bool done = steps[i] == OTIMES_STEP_APPLIED || steps[i] == OTIMES_STEP_DONE_IN_FILE;
        json_object_set_new(object, names[i], json_boolean(done));
    }
    return object;
}

/* Lists with an entry for each layer. */
static void put_layers(const otimes_model *model, json_t *config)
{
    json_t *windows = json_array(), *rotations = json_array();
    for (int64_t layer = 0; layer < model->info.n_layers; layer++) {
        const otimes_layer_kind *kind = &model->layers[layer];
        json_array_append_new(windows, json_string(kind->window ? "local" : "global"));
        json_array_append_new(rotations, json_integer(kind->rotary));
    }
    if (model->info.sliding_window) {
        json_object_set_new(config, "window_size", json_integer(model->info.sliding_window));
        json_object_set_new(config, "use_local_attn", json_true());
        json_object_set(config, "attn_types", windows);
    }
    if (model->info.positions == OTIMES_POSITIONS_ROPE) {
        json_object_set(config, "no_rope_layers", rotations);
    }
    json_decref(windows);
    json_decref(rotations);
}

static void put_rope(const otimes_model *model, json_t *config)
{
    const otimes_rope *rope = &model->rope;
    if (model->info.positions != OTIMES_POSITIONS_ROPE) {
        return;
    }
    json_object_set_new(config, "rotary_dim", json_integer(rope->dim));
    json_object_set_new(config, "rotary_base", json_real(rope->theta));
    if (model->local_rope.theta != rope->theta || model->local_rope.scaling != rope->scaling) {
        json_object_set_new(config, "rotary_base_local", json_real(model->local_rope.theta));
    }
    json_object_set_new(config, "rotary_adjacent_pairs", json_boolean(rope->adjacent));
    if (rope->scaling == OTIMES_ROPE_LLAMA3) { /* as TransformerLens calls it */
        json_object_set_new(config, "use_NTK_by_parts_rope", json_true());
        json_object_set_new(config, "NTK_by_parts_factor", json_real(rope->factor));
        json_object_set_new(config, "NTK_by_parts_low_freq_factor",
                            json_real(rope->low_freq_factor));
        json_object_set_new(config, "NTK_by_parts_high_freq_factor",
                            json_real(rope->high_freq_factor));
        json_object_set_new(config, "NTK_original_ctx_len",
                            json_integer((json_int_t)rope->original_n_ctx));
    }
    if (rope->scaling != OTIMES_ROPE_PLAIN) {
        json_object_set_new(config, "rope_scaling",
                            json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:b, s:f}", "rope_type",
                                      rope->scaling_name, "factor", rope->factor, "low_freq_factor",
                                      rope->low_freq_factor, "high_freq_factor",
                                      rope->high_freq_factor, "original_max_position_embeddings",
                                      rope->original_n_ctx, "beta_fast", rope->beta_fast,
                                      "beta_slow", rope->beta_slow, "truncate", rope->truncate,
                                      "attention_factor", rope->magnitude));
    }
}

static void put_sizes(const otimes_model_info *info, json_t *config)
{
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = {
        {"n_layers", info->n_layers},
        {"n_heads", info->n_heads},
        /* with it TransformerLens expects the names of grouped heads */
        {"n_key_value_heads", info->n_kv_heads != info->n_heads ? info->n_kv_heads : 0},
        {"d_model", info->d_model},
        {"d_head", info->d_head},
        {"d_mlp", info->d_mlp},
        {"d_vocab", info->d_vocab},
        {"d_vocab_out", info->d_vocab_out},
        {"n_ctx", info->n_ctx},
        {"num_experts", info->n_experts},
        {"experts_per_token", info->n_experts_active},
    };
    const struct {
        const char *name;
        double value;
    } reals[] = {
        {"attn_scale", info->attn_scale},
        {"attn_scores_soft_cap", info->attn_softcap},
        {"output_logits_soft_cap", info->final_softcap},
        {"clip_qkv", info->clip_qkv},
    };
    json_object_set_new(config, "eps", json_real(info->eps)); /* 0 is a value here */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i].value > 0) {
            json_object_set_new(config, sizes[i].name, json_integer(sizes[i].value));
        }
    }
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        if (reals[i].value > 0) {
            json_object_set_new(config, reals[i].name, json_real(reals[i].value));
        }
    }
}

static json_t *make_config(const otimes_model *model)
{
    const otimes_model_info *info = &model->info;
    const char *norm = norm_type(model);
    json_t *config = json_object();
    json_object_set_new(config, "model_type", json_string(otimes_arch_lens()->name));
    json_object_set_new(config, "original_architecture", json_string(info->architecture));
    json_object_set_new(config, "normalization_type", norm ? json_string(norm) : json_null());
    json_object_set_new(config, "pre_norm", json_boolean(info->pre_norm));
    json_object_set_new(
        config, "norm_bias",
        json_boolean(otimes_model_binding(model, OTIMES_SLOT_LNF_B, -1)->entry != NULL));
    json_object_set_new(config, "positional_embedding_type",
                        json_string(positions_type(info->positions)));
    json_object_set_new(config, "attention_dir",
                        json_string(info->bidirectional ? "bidirectional" : "causal"));
    json_object_set_new(config, "act_fn", json_string(info->activation));
    json_object_set_new(config, "attn_only", json_boolean(info->mlp == OTIMES_MLP_NONE));
    json_object_set_new(config, "gated_mlp", json_boolean(info->mlp == OTIMES_MLP_GATED));
    json_object_set_new(config, "parallel_attn_mlp", json_boolean(info->parallel));
    json_object_set_new(config, "post_embedding_ln", json_boolean(info->embed_norm));
    json_object_set_new(config, "use_normalization_before_and_after",
                        json_boolean(info->post_norm));
    json_object_set_new(config, "use_attn_scale", json_true());
    if (info->qk_norm != OTIMES_QK_NORM_NONE) {
        json_object_set_new(config, "use_qk_norm", json_true());
        json_object_set_new(config, "qk_norm", json_string(otimes_qk_norm_name(info->qk_norm)));
    }
    if (info->routing != OTIMES_ROUTING_NONE) {
        json_object_set_new(config, "norm_topk_prob",
                            json_boolean(info->routing == OTIMES_ROUTING_TOP_SOFTMAX));
    }
    put_sizes(info, config);
    put_rope(model, config);
    put_layers(model, config);
    json_object_set_new(config, "otimes_processing", processing(info));
    return config;
}

int otimes_lens_config(const otimes_model *model, char **text, otimes_err *err)
{
    json_t *config = make_config(model);
    const int rc = otimes_json_text(config, text, err);
    json_decref(config);
    return rc;
}
