/* SPDX-License-Identifier: MIT */
#include "model/kinds.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/bind.h"
#include "model/config.h"

/* Runs over '|'-separated keys; the first whose value is not as wanted. */
static const char *first_wrong_key(const json_t *config, const char *keys, bool wanted, char *key,
                                   size_t size)
{
    while (keys) {
        const size_t length = strcspn(keys, "|");
        if (length < size) {
            memcpy(key, keys, length);
            key[length] = '\0';
            if (otimes_config_flag(config, key, wanted) != wanted) {
                return key;
            }
        }
        keys = keys[length] ? keys + length + 1 : NULL;
    }
    return NULL;
}

static int check_refused(const otimes_model *model, const json_t *config, const char *where,
                         otimes_err *err)
{
    char key[64];
    if (first_wrong_key(config, model->arch->refused, false, key, sizeof key)) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: %s: expected off, which is all that is known for %s", where, key,
                           model->arch->name);
    }
    if (first_wrong_key(config, model->arch->demanded, true, key, sizeof key)) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: %s: expected true, which is all that is known for %s", where, key,
                           model->arch->name);
    }
    return OTIMES_OK;
}

/* attn_scale as a number (TransformerLens' -1 means the default) or in words. */
static int read_lens_scale(otimes_model *model, const json_t *config, const char *where,
                           otimes_err *err)
{
    const json_t *scale = otimes_json_member(config, "attn_scale");
    if (json_is_number(scale) && json_number_value(scale) > 0) {
        model->info.attn_scale = json_number_value(scale);
    } else if (scale && !json_is_number(scale) &&
               (!json_is_string(scale) ||
                strcmp(json_string_value(scale), "1/sqrt(d_head)") != 0)) {
        return otimes_config_wrong(where, "attn_scale", "a number or \"1/sqrt(d_head)\"", err);
    }
    return OTIMES_OK;
}

static int read_scale(otimes_model *model, const json_t *config, const char *where, otimes_err *err)
{
    const double *numbers = model->numbers;
    const int64_t *dims = model->dims;
    double query = numbers[OTIMES_NUMBER_QUERY_SCALAR];
    if (query == OTIMES_WIDTH_OF_HEAD) { /* the 27B models alone have heads of 128 */
        query = dims[OTIMES_DIM_D_HEAD] == 128
                    ? (double)dims[OTIMES_DIM_D_MODEL] / (double)dims[OTIMES_DIM_N_HEADS]
                    : (double)dims[OTIMES_DIM_D_HEAD];
    }
    model->info.attn_scale = sqrt((double)dims[OTIMES_DIM_D_HEAD]);
    if (model->arch->scale_switch && !otimes_config_flag(config, model->arch->scale_switch, true)) {
        model->info.attn_scale = 1;
    } else if (numbers[OTIMES_NUMBER_ATTN_DIVISOR] > 0) {
        model->info.attn_scale = numbers[OTIMES_NUMBER_ATTN_DIVISOR];
    } else if (numbers[OTIMES_NUMBER_ATTN_MULTIPLIER] > 0) {
        model->info.attn_scale = 1 / numbers[OTIMES_NUMBER_ATTN_MULTIPLIER];
    } else if (query > 0) {
        model->info.attn_scale = sqrt(query);
    } else if (model->arch->config_says_kind) {
        return read_lens_scale(model, config, where, err);
    }
    return OTIMES_OK;
}

/* A number of the scaling, or what it is without. */
static double scaling_number(const json_t *scaling, const char *name, double fallback)
{
    const json_t *member = otimes_json_member(scaling, name);
    return json_is_number(member) ? json_number_value(member) : fallback;
}

static void read_scaling_numbers(otimes_model *model, const json_t *scaling)
{
    otimes_rope *rope = &model->rope;
    rope->factor = scaling_number(scaling, "factor", 0);
    rope->low_freq_factor = scaling_number(scaling, "low_freq_factor", 0);
    rope->high_freq_factor = scaling_number(scaling, "high_freq_factor", 0);
    rope->original_n_ctx = scaling_number(scaling, "original_max_position_embeddings", 0);
    rope->beta_fast = scaling_number(scaling, "beta_fast", 32);
    rope->beta_slow = scaling_number(scaling, "beta_slow", 1);
    rope->truncate = otimes_config_flag(scaling, "truncate", true);
    rope->magnitude = 1;
}

/* YaRN's growth of queries and keys, 0.1 m ln(factor) + 1, or what the configuration gives. */
static double yarn_magnitude(const json_t *scaling, double factor)
{
    const double given = scaling_number(scaling, "attention_factor", 0);
    const double m = scaling_number(scaling, "mscale", 0);
    const double m_all = scaling_number(scaling, "mscale_all_dim", 0);
    const double log_factor = factor > 1 ? log(factor) : 0;
    if (given > 0) {
        return given;
    }
    return m > 0 && m_all > 0 ? (0.1 * m * log_factor + 1) / (0.1 * m_all * log_factor + 1)
                              : 0.1 * log_factor + 1;
}

/* The rule by which frequencies are rescaled; GGUF may keep the result as a tensor instead. */
static int read_rope_scaling(otimes_model *model, const json_t *config, otimes_err *err)
{
    otimes_rope *rope = &model->rope;
    const json_t *scaling = otimes_json_member(
        config, "rope_scaling|rope_parameters.full_attention|rope_parameters|arch.rope.scaling");
    const json_t *kind = otimes_json_member(scaling, "rope_type|type");
    const char *name = json_is_string(kind) ? json_string_value(kind) : "default";
    if (otimes_store_find(&model->store, "rope_freqs.weight")) {
        name = "a tensor of factors";
    } else if (otimes_config_flag(config, "use_scaled_rope", false)) {
        name = "use_scaled_rope";
    }
    rope->scaling_name = otimes_strdup(name);
    if (!rope->scaling_name) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: configuration");
    }
    read_scaling_numbers(model, scaling);
    if (strcmp(name, "default") == 0 || strcmp(name, "none") == 0) {
        rope->scaling = OTIMES_ROPE_PLAIN;
    } else if (strcmp(name, "linear") == 0 && rope->factor > 0) {
        rope->scaling = OTIMES_ROPE_LINEAR;
    } else if (strcmp(name, "llama3") == 0 && rope->factor > 0 && rope->original_n_ctx > 0 &&
               rope->low_freq_factor > 0 && rope->high_freq_factor > rope->low_freq_factor) {
        rope->scaling = OTIMES_ROPE_LLAMA3;
    } else if (strcmp(name, "yarn") == 0 && rope->factor > 0 && rope->original_n_ctx > 0 &&
               model->naming == &model->arch->files) {
        rope->scaling = OTIMES_ROPE_YARN;
        rope->magnitude = yarn_magnitude(scaling, rope->factor);
    } else {
        rope->scaling = OTIMES_ROPE_OTHER;
    }
    return OTIMES_OK;
}

static int read_rope(otimes_model *model, const json_t *config, const char *where, otimes_err *err)
{
    otimes_rope *rope = &model->rope;
    const double *numbers = model->numbers;
    const int64_t d_head = model->dims[OTIMES_DIM_D_HEAD];
    if (model->info.positions != OTIMES_POSITIONS_ROPE) {
        return OTIMES_OK;
    }
    rope->theta = numbers[OTIMES_NUMBER_ROPE_THETA];
    rope->dim = (int64_t)numbers[OTIMES_NUMBER_ROTARY_DIM];
    if (!rope->dim) {
        const double fraction = numbers[OTIMES_NUMBER_ROTARY_FRACTION];
        rope->dim = (int64_t)((double)d_head * (fraction > 0 ? fraction : 1));
    }
    if (rope->dim > d_head || rope->dim % 2 != 0) {
        return otimes_fail(err, OTIMES_ERR_MODEL,
                           "%s: rotary dimensions: expected an even number up to d_head = %lld, "
                           "got %lld",
                           where, (long long)d_head, (long long)rope->dim);
    }
    rope->adjacent =
        model->arch->rotary_adjacent || otimes_config_flag(config, "rotary_adjacent_pairs", false);
    const int rc = read_rope_scaling(model, config, err);
    model->local_rope = *rope;
    if (numbers[OTIMES_NUMBER_ROPE_THETA_LOCAL] > 0) {
        model->local_rope.theta = numbers[OTIMES_NUMBER_ROPE_THETA_LOCAL];
        model->local_rope.scaling = OTIMES_ROPE_PLAIN;
    }
    return rc;
}

static int read_tied(otimes_model *model, const json_t *config, const char *where, otimes_err *err)
{
    const bool own = model->naming == &model->arch->files;
    const bool without = !otimes_bind_has(model, OTIMES_SLOT_W_U);
    const bool fallback = model->arch->tied || (model->arch->tied_without_unembed && without);
    model->info.tied = own ? otimes_config_flag(config, "tie_word_embeddings", fallback) : without;
    if (model->info.tied &&
        model->dims[OTIMES_DIM_D_VOCAB] != model->dims[OTIMES_DIM_D_VOCAB_OUT]) {
        return otimes_fail(
            err, OTIMES_ERR_MODEL,
            "%s: tie_word_embeddings: expected one vocabulary at both ends, got %lld "
            "input and %lld output tokens",
            where, (long long)model->dims[OTIMES_DIM_D_VOCAB],
            (long long)model->dims[OTIMES_DIM_D_VOCAB_OUT]);
    }
    return OTIMES_OK;
}

static void read_experts(otimes_model *model, const json_t *config)
{
    const otimes_arch *arch = model->arch;
    if (!model->dims[OTIMES_DIM_N_EXPERTS]) {
        return;
    }
    model->info.routing = arch->routing;
    const bool gguf = model->naming != &arch->files;
    if (otimes_config_flag(config, arch->norm_top.names,
                           gguf ? arch->gguf_norm_top : arch->norm_top.fallback)) {
        model->info.routing = OTIMES_ROUTING_TOP_SOFTMAX; /* the same numbers */
    }
    model->info.n_experts_active = (int64_t)model->numbers[OTIMES_NUMBER_N_ACTIVE];
}

/* What the row says, where the configuration has no say. */
static void take_row(otimes_model *model, const json_t *config)
{
    const otimes_arch *arch = model->arch;
    otimes_model_info *info = &model->info;
    info->norm = arch->norm;
    const bool alibi = arch->alibi.fallback && !otimes_bind_has(model, OTIMES_SLOT_W_POS);
    info->positions = otimes_config_flag(config, arch->alibi.names, alibi) ? OTIMES_POSITIONS_ALIBI
                                                                           : arch->positions;
    info->mlp = arch->mlp;
    info->parallel = otimes_config_flag(config, arch->parallel.names, arch->parallel.fallback);
    info->eps = model->numbers[OTIMES_NUMBER_EPS];
    info->attn_softcap = model->numbers[OTIMES_NUMBER_ATTN_SOFTCAP];
    info->final_softcap = model->numbers[OTIMES_NUMBER_FINAL_SOFTCAP];
    info->clip_qkv = model->numbers[OTIMES_NUMBER_CLIP_QKV];
    model->norm_has_weights = arch->norm != OTIMES_NORM_NONE && !arch->norm_without_weights;
    model->norm_has_biases = true;
    model->pre_norm = true;
    model->norm_offset = arch->norm_offset && model->naming == &arch->files;
}

int otimes_config_kinds(otimes_model *model, const json_t *config, const char *where,
                        otimes_err *err)
{
    const otimes_arch *arch = model->arch;
    take_row(model, config);
    read_experts(model, config);
    int rc = check_refused(model, config, where, err);
    if (rc == OTIMES_OK) {
        rc = read_tied(model, config, where, err);
    }
    if (rc == OTIMES_OK && arch->config_says_kind) {
        rc = otimes_config_lens_kinds(model, config, where, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_scale(model, config, where, err);
    }
    model->alibi_scale = arch->alibi_scaled ? 1 / model->info.attn_scale : 1;
    model->swiglu_limit = model->numbers[OTIMES_NUMBER_SWIGLU_LIMIT] > 0
                              ? model->numbers[OTIMES_NUMBER_SWIGLU_LIMIT]
                              : 7;
    if (rc == OTIMES_OK) {
        rc = read_rope(model, config, where, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_config_layers(model, config, where, err);
    }
    if (rc == OTIMES_OK) {
        const json_t *named = otimes_json_member(config, arch->activation_names);
        const char *name = json_string_value(named);
        model->activation = otimes_strdup(name                        ? name
                                          : arch->activation_fallback ? arch->activation_fallback
                                                                      : "");
        rc = model->activation
                 ? OTIMES_OK
                 : otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: configuration");
    }
    return rc;
}
