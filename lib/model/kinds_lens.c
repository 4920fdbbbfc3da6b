/* SPDX-License-Identifier: MIT
 *
 * Configurations in the manner of TransformerLens' HookedTransformerConfig.
 */
#include <string.h>

#include "model/bind.h"
#include "model/config.h"
#include "model/kinds.h"

/* TransformerLens' normalization_type; without one, what the weights show. */
static int read_norm(otimes_model *model, const json_t *config, const char *where, otimes_err *err)
{
    static const struct {
        const char *name;
        otimes_norm norm;
        bool weights;
    } kinds[] = {
        {"LN", OTIMES_NORM_LN, true},
        {"LNPre", OTIMES_NORM_LN, false},
        {"RMS", OTIMES_NORM_RMS, true},
        {"RMSPre", OTIMES_NORM_RMS, false},
    };
    const json_t *type = json_object_get(config, "normalization_type");
    if (!type && otimes_bind_has(model, OTIMES_SLOT_LN1_W)) {
        model->info.norm =
            otimes_bind_has(model, OTIMES_SLOT_LN1_B) ? OTIMES_NORM_LN : OTIMES_NORM_RMS;
        model->norm_has_weights = true;
        return OTIMES_OK;
    }
    if (!type && model->arch->refused) {
        return OTIMES_OK; /* a row that has no place for norms */
    }
    if (!type) {
        return otimes_fail(
            err, OTIMES_ERR_MODEL,
            "%s: normalization_type: expected LN, LNPre, RMS, RMSPre or null; weights "
            "without norm parameters cannot tell (give a configuration file)",
            where);
    }
    if (json_is_null(type)) {
        model->info.norm = OTIMES_NORM_NONE;
        return OTIMES_OK;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (json_is_string(type) && strcmp(json_string_value(type), kinds[i].name) == 0) {
            model->info.norm = kinds[i].norm;
            model->norm_has_weights = kinds[i].weights;
            return OTIMES_OK;
        }
    }
    return otimes_config_wrong(where, "normalization_type", "LN, LNPre, RMS, RMSPre or null", err);
}

static int read_positions(otimes_model *model, const json_t *config, const char *where,
                          otimes_err *err)
{
    static const struct {
        const char *name;
        otimes_positions positions;
    } kinds[] = {
        {"standard", OTIMES_POSITIONS_LEARNED},
        {"learned absolute", OTIMES_POSITIONS_LEARNED},
        {"shortformer", OTIMES_POSITIONS_SHORTFORMER},
        {"rotary", OTIMES_POSITIONS_ROPE},
        {"alibi", OTIMES_POSITIONS_ALIBI},
        {"none", OTIMES_POSITIONS_NONE},
    };
    static const char names[] = "positional_embedding_type|positional";
    const json_t *type = otimes_json_member(config, names);
    if (!type) {
        model->info.positions = otimes_bind_has(model, OTIMES_SLOT_W_POS) ? OTIMES_POSITIONS_LEARNED
                                                                          : OTIMES_POSITIONS_NONE;
        return OTIMES_OK;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (json_is_string(type) && strcmp(json_string_value(type), kinds[i].name) == 0) {
            model->info.positions = kinds[i].positions;
            return OTIMES_OK;
        }
    }
    return otimes_config_wrong(where, names, "standard, shortformer, rotary, alibi or none", err);
}

static void read_mlp(otimes_model *model, const json_t *config)
{
    const bool experts = otimes_bind_has(model, OTIMES_SLOT_ROUTER_W);
    const bool has = otimes_bind_has(model, OTIMES_SLOT_W_IN) || experts;
    if (otimes_config_flag(config, "attn_only", !has)) {
        model->info.mlp = OTIMES_MLP_NONE;
        return;
    }
    model->info.mlp = otimes_config_flag(config, "gated_mlp",
                                         otimes_bind_has(model, OTIMES_SLOT_W_GATE) || experts)
                          ? OTIMES_MLP_GATED
                          : OTIMES_MLP_PLAIN;
    if (experts) {
        model->info.routing = OTIMES_ROUTING_TOP_SOFTMAX;
    }
}

/* What `convert` adds to TransformerLens' keys. */
static void read_record(otimes_model *model, const json_t *config)
{
    static const char *const steps[] = {"fold_ln", "center_writing_weights", "center_unembed",
                                        "fold_value_biases"};
    const json_t *record = otimes_json_member(config, "otimes_processing");
    const char *qk_norm = json_string_value(otimes_json_member(config, "qk_norm"));
    model->recorded = record != NULL;
    for (int i = 0; i < 4; i++) {
        model->done[i] = otimes_config_flag(record, steps[i], false);
    }
    model->pre_norm = otimes_config_flag(config, "pre_norm", true);
    model->norm_has_biases = otimes_config_flag(config, "norm_bias", true);
    for (int kind = OTIMES_QK_NORM_NONE; qk_norm && kind <= OTIMES_QK_NORM_ALL; kind++) {
        if (strcmp(qk_norm, otimes_qk_norm_name((otimes_qk_norm)kind)) == 0) {
            model->info.qk_norm = (otimes_qk_norm)kind;
        }
    }
    if (model->info.routing != OTIMES_ROUTING_NONE &&
        !otimes_config_flag(config, "norm_topk_prob", true)) {
        model->info.routing = OTIMES_ROUTING_SOFTMAX_TOP;
    }
}

/* Flags that promise a weight. */
static int check_promises(const otimes_model *model, const json_t *config, const char *where,
                          otimes_err *err)
{
    static const struct {
        const char *flag;
        otimes_slot slot;
    } promises[] = {
        {"post_embedding_ln", OTIMES_SLOT_EMBED_LN_W},
        {"use_normalization_before_and_after", OTIMES_SLOT_LN1_POST_W},
        {"use_qk_norm", OTIMES_SLOT_Q_NORM_W},
        {"num_experts", OTIMES_SLOT_ROUTER_W},
    };
    for (size_t i = 0; i < sizeof promises / sizeof promises[0]; i++) {
        if (otimes_config_flag(config, promises[i].flag, false) &&
            !otimes_bind_has(model, promises[i].slot)) {
            return otimes_fail(err, OTIMES_ERR_MODEL, "%s: %s: expected tensors %s, got none",
                               where, promises[i].flag, otimes_slot_path(promises[i].slot));
        }
    }
    return OTIMES_OK;
}

static int read_direction(otimes_model *model, const json_t *config, const char *where,
                          otimes_err *err)
{
    const json_t *direction = otimes_json_member(config, "attention_dir");
    const char *name = json_string_value(direction);
    if (direction &&
        (!name || (strcmp(name, "causal") != 0 && strcmp(name, "bidirectional") != 0))) {
        return otimes_config_wrong(where, "attention_dir", "causal or bidirectional", err);
    }
    model->info.bidirectional = name && strcmp(name, "bidirectional") == 0;
    return OTIMES_OK;
}

int otimes_config_lens_kinds(otimes_model *model, const json_t *config, const char *where,
                             otimes_err *err)
{
    int rc = read_norm(model, config, where, err);
    if (rc == OTIMES_OK) {
        rc = read_positions(model, config, where, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_direction(model, config, where, err);
    }
    if (rc == OTIMES_OK) {
        rc = check_promises(model, config, where, err);
    }
    read_mlp(model, config);
    read_record(model, config);
    return rc;
}
