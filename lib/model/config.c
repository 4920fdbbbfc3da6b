/* SPDX-License-Identifier: MIT */
#include "model/config.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/bind.h"

/* More than any model has; keeps products of dimensions far from overflow. */
#define LARGEST_DIM 1000000000

/* An unrecoverable list of the rows a user could have meant. */
static int unknown_arch(const char *where, const char *got, otimes_err *err)
{
    otimes_text known = {0};
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < otimes_arch_count; i++) {
        rc = otimes_text_add(&known, err, "%s%s", i ? ", " : "", otimes_archs[i].name);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_fail(err, OTIMES_ERR_MODEL,
                         "%s: unknown architecture: expected one of %s; got %s", where, known.data,
                         got);
    }
    otimes_text_free(&known);
    return rc;
}

static bool has_signature(const otimes_model *model, const otimes_arch *arch)
{
    const char *name = arch->signature;
    if (!name) {
        return false;
    }
    if (otimes_store_find(&model->store, name)) {
        return true;
    }
    for (int64_t i = 0; arch->prefixes[0] && i < model->store.entry_count; i++) {
        const char *entry = model->store.entries[i].name;
        const size_t prefix = strcspn(arch->prefixes, "|");
        if (strncmp(entry, arch->prefixes, prefix) == 0 && strcmp(entry + prefix, name) == 0) {
            return true;
        }
    }
    return false;
}

int otimes_config_arch(otimes_model *model, const json_t *config, const char *where,
                       otimes_err *err)
{
    const json_t *type = otimes_json_member(config, "model_type");
    if (type) {
        const char *name = json_string_value(type);
        model->arch = name ? otimes_arch_by_type(name) : NULL;
        return model->arch ? OTIMES_OK
                           : unknown_arch(where, name ? name : "a model_type that is no text", err);
    }
    for (int i = 0; i < otimes_arch_count; i++) {
        if (has_signature(model, &otimes_archs[i])) {
            model->arch = &otimes_archs[i];
            return OTIMES_OK;
        }
    }
    return unknown_arch(where,
                        config ? "no model_type and tensor names of none of them"
                               : "no configuration and tensor names of none of them",
                        err);
}

static int wrong_type(const char *where, const char *names, const char *expected, otimes_err *err)
{
    return otimes_fail(err, OTIMES_ERR_MODEL, "%s: %.*s: expected %s", where,
                       (int)strcspn(names, "|"), names, expected);
}

static int read_number(const json_t *config, const otimes_config_rule *rule, const char *where,
                       double *value, otimes_err *err)
{
    const json_t *member = otimes_json_member(config, rule->names);
    const bool integral = rule->key < OTIMES_DIM_COUNT || rule->key == OTIMES_NUMBER_N_LAYERS ||
                          rule->key == OTIMES_NUMBER_SLIDING_WINDOW;
    if (!member) {
        *value = rule->fallback;
        return *value == OTIMES_REQUIRED
                   ? otimes_fail(err, OTIMES_ERR_MODEL, "%s: expected %.*s, got none", where,
                                 (int)strcspn(rule->names, "|"), rule->names)
                   : OTIMES_OK;
    }
    if (integral ? !json_is_integer(member) : !json_is_number(member)) {
        return wrong_type(where, rule->names, integral ? "an integer" : "a number", err);
    }
    *value = json_number_value(member);
    /* 0 leaves a number to be settled, where that is possible at all. */
    const bool may_be_0 = rule->fallback == OTIMES_DERIVED || rule->key == OTIMES_NUMBER_EPS;
    if (!(*value >= 0 && *value <= LARGEST_DIM) || (*value == 0 && !may_be_0)) {
        return wrong_type(where, rule->names,
                          may_be_0 ? "a number from 0 to 1000000000"
                                   : "a number above 0, at most 1000000000",
                          err);
    }
    return OTIMES_OK;
}

int otimes_config_numbers(otimes_model *model, const json_t *config, const char *where,
                          otimes_err *err)
{
    for (const otimes_config_rule *rule = model->arch->config; rule->names; rule++) {
        double value = 0;
        const int rc = read_number(config, rule, where, &value, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
        switch (rule->key) {
        case OTIMES_NUMBER_N_LAYERS:
            model->info.n_layers = (int64_t)value;
            break;
        case OTIMES_NUMBER_EPS:
            model->info.eps = value;
            break;
        case OTIMES_NUMBER_ROPE_THETA:
            model->rope.theta = value;
            break;
        case OTIMES_NUMBER_SLIDING_WINDOW:
            model->info.sliding_window = (int64_t)value;
            break;
        default:
            model->dims[rule->key] = (int64_t)value;
            break;
        }
    }
    return OTIMES_OK;
}

/* A flag; absent gives fallback. Numbers count as flags, as Python would have it. */
static bool flag(const json_t *config, const char *names, bool fallback)
{
    const json_t *member = otimes_json_member(config, names);
    if (!member) {
        return fallback;
    }
    return json_is_boolean(member) ? json_is_true(member) : json_number_value(member) != 0;
}

/* TransformerLens' normalization_type; without one, what the weights show. */
static int tl_norm(otimes_model *model, const json_t *config, const char *where, otimes_err *err)
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
    return wrong_type(where, "normalization_type", "LN, LNPre, RMS, RMSPre or null", err);
}

static int tl_positions(otimes_model *model, const json_t *config, const char *where,
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
    return wrong_type(where, names, "standard, shortformer, rotary or none", err);
}

static void tl_mlp(otimes_model *model, const json_t *config)
{
    const bool has = otimes_bind_has(model, OTIMES_SLOT_W_IN);
    if (flag(config, "attn_only", !has)) {
        model->info.mlp = OTIMES_MLP_NONE;
    } else {
        model->info.mlp = flag(config, "gated_mlp", otimes_bind_has(model, OTIMES_SLOT_W_GATE))
                              ? OTIMES_MLP_GATED
                              : OTIMES_MLP_PLAIN;
    }
}

/* attn_scale as a number (TransformerLens' -1 means the default) or in words. */
static int read_scale(otimes_model *model, const json_t *config, const char *where, otimes_err *err)
{
    const double usual = sqrt((double)model->dims[OTIMES_DIM_D_HEAD]);
    const json_t *scale =
        model->arch->config_says_kind ? otimes_json_member(config, "attn_scale") : NULL;
    model->info.attn_scale = usual;
    if (model->arch->scale_switch && !flag(config, model->arch->scale_switch, true)) {
        model->info.attn_scale = 1;
    } else if (json_is_number(scale)) {
        const double value = json_number_value(scale);
        model->info.attn_scale = value > 0 ? value : usual;
    } else if (scale && (!json_is_string(scale) ||
                         strcmp(json_string_value(scale), "1/sqrt(d_head)") != 0)) {
        return wrong_type(where, "attn_scale", "a number or \"1/sqrt(d_head)\"", err);
    }
    return OTIMES_OK;
}

static int read_rope(otimes_model *model, const json_t *config, otimes_err *err)
{
    otimes_rope *rope = &model->rope;
    if (model->info.positions != OTIMES_POSITIONS_ROPE) {
        rope->theta = 0;
        return OTIMES_OK;
    }
    const json_t *dim = otimes_json_member(config, "rotary_dim");
    rope->dim = json_is_integer(dim) ? json_integer_value(dim) : model->dims[OTIMES_DIM_D_HEAD];
    rope->adjacent = flag(config, "rotary_adjacent_pairs", false);

    const json_t *scaling = otimes_json_member(config, "rope_scaling|rope_parameters");
    const json_t *kind = otimes_json_member(scaling, "rope_type|type");
    const char *name = json_is_string(kind) ? json_string_value(kind) : "default";
    rope->scaling_name = otimes_strdup(name);
    if (!rope->scaling_name) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: configuration");
    }
    rope->factor = json_number_value(otimes_json_member(scaling, "factor"));
    rope->low_freq_factor = json_number_value(otimes_json_member(scaling, "low_freq_factor"));
    rope->high_freq_factor = json_number_value(otimes_json_member(scaling, "high_freq_factor"));
    rope->original_n_ctx =
        json_number_value(otimes_json_member(scaling, "original_max_position_embeddings"));
    if (strcmp(name, "default") == 0) {
        rope->scaling = OTIMES_ROPE_PLAIN;
    } else if (strcmp(name, "linear") == 0 && rope->factor > 0) {
        rope->scaling = OTIMES_ROPE_LINEAR;
    } else if (strcmp(name, "llama3") == 0 && rope->factor > 0 && rope->original_n_ctx > 0 &&
               rope->low_freq_factor > 0 && rope->high_freq_factor > rope->low_freq_factor) {
        rope->scaling = OTIMES_ROPE_LLAMA3;
    } else {
        rope->scaling = OTIMES_ROPE_OTHER;
    }
    return OTIMES_OK;
}

static int check_refused(const otimes_model *model, const json_t *config, const char *where,
                         otimes_err *err)
{
    const char *name = model->arch->refused;
    while (name) {
        const size_t length = strcspn(name, "|");
        const json_t *member = json_object_getn(config, name, length);
        if (member && !json_is_null(member) && !json_is_false(member) &&
            !(json_is_number(member) && json_number_value(member) == 0)) {
            return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                               "%s: %.*s: expected off, which is all that is known for %s", where,
                               (int)length, name, model->arch->name);
        }
        name = name[length] ? name + length + 1 : NULL;
    }
    return OTIMES_OK;
}

int otimes_config_kinds(otimes_model *model, const json_t *config, const char *where,
                        otimes_err *err)
{
    const otimes_arch *arch = model->arch;
    model->info.norm = arch->norm;
    model->info.positions = arch->positions;
    model->info.mlp = arch->mlp;
    model->norm_has_weights = arch->norm != OTIMES_NORM_NONE;
    model->info.tied = flag(config, "tie_word_embeddings", arch->tied);
    if (arch->window_switch && !flag(config, arch->window_switch, false)) {
        model->info.sliding_window = 0;
    }
    if (model->info.tied &&
        model->dims[OTIMES_DIM_D_VOCAB] != model->dims[OTIMES_DIM_D_VOCAB_OUT]) {
        return otimes_fail(
            err, OTIMES_ERR_MODEL,
            "%s: tie_word_embeddings: expected one vocabulary at both ends, got %lld "
            "input and %lld output tokens",
            where, (long long)model->dims[OTIMES_DIM_D_VOCAB],
            (long long)model->dims[OTIMES_DIM_D_VOCAB_OUT]);
    }
    int rc = check_refused(model, config, where, err);
    if (rc == OTIMES_OK && arch->config_says_kind) {
        rc = tl_norm(model, config, where, err);
        if (rc == OTIMES_OK) {
            rc = tl_positions(model, config, where, err);
        }
        tl_mlp(model, config);
    }
    if (rc == OTIMES_OK) {
        rc = read_scale(model, config, where, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_rope(model, config, err);
    }
    const json_t *activation = otimes_json_member(config, arch->activation_names);
    if (rc == OTIMES_OK) {
        model->activation =
            otimes_strdup(json_is_string(activation) ? json_string_value(activation) : "");
        rc = model->activation
                 ? OTIMES_OK
                 : otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: configuration");
    }
    return rc;
}

int otimes_config_settle(otimes_model *model, const char *where, otimes_err *err)
{
    int64_t *dims = model->dims;
    const int64_t d_model = dims[OTIMES_DIM_D_MODEL], n_heads = dims[OTIMES_DIM_N_HEADS];
    if (d_model < 1 || n_heads < 1 || dims[OTIMES_DIM_D_VOCAB] < 1) {
        return otimes_fail(
            err, OTIMES_ERR_MODEL,
            "%s: expected d_model, n_heads and d_vocab of at least 1, got %lld, %lld "
            "and %lld",
            where, (long long)d_model, (long long)n_heads, (long long)dims[OTIMES_DIM_D_VOCAB]);
    }
    if (!dims[OTIMES_DIM_D_HEAD]) {
        if (d_model % n_heads != 0) {
            return otimes_fail(err, OTIMES_ERR_MODEL,
                               "%s: d_model: expected a multiple of %lld heads, got %lld", where,
                               (long long)n_heads, (long long)d_model);
        }
        dims[OTIMES_DIM_D_HEAD] = d_model / n_heads;
    }
    if (!dims[OTIMES_DIM_N_KV_HEADS]) {
        dims[OTIMES_DIM_N_KV_HEADS] = n_heads;
    }
    if (n_heads % dims[OTIMES_DIM_N_KV_HEADS] != 0) {
        return otimes_fail(err, OTIMES_ERR_MODEL,
                           "%s: heads: expected a multiple of %lld key/value heads, got %lld",
                           where, (long long)dims[OTIMES_DIM_N_KV_HEADS], (long long)n_heads);
    }
    if (!dims[OTIMES_DIM_D_MLP] && model->arch->mlp != OTIMES_MLP_NONE) {
        dims[OTIMES_DIM_D_MLP] = 4 * d_model;
    }
    if (!dims[OTIMES_DIM_D_VOCAB_OUT]) {
        dims[OTIMES_DIM_D_VOCAB_OUT] = dims[OTIMES_DIM_D_VOCAB];
    }
    if (model->info.n_layers > model->store.entry_count) {
        return otimes_fail(err, OTIMES_ERR_MODEL,
                           "%s: expected tensors for %lld layers, got %lld tensors in all", where,
                           (long long)model->info.n_layers, (long long)model->store.entry_count);
    }
    return OTIMES_OK;
}
