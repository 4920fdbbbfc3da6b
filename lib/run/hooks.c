/* SPDX-License-Identifier: MIT */
#include <otimes/forward.h>

#include <stdio.h>
#include <string.h>

#include "model/model.h"

enum columns {
    COLUMNS_D_MODEL,
    COLUMNS_ONE,
    COLUMNS_HEADS,
    COLUMNS_KV_HEADS,
    COLUMNS_KEYS,
    COLUMNS_N_EXPERTS,
    COLUMNS_D_EXPERT,
    COLUMNS_D_MLP,
    COLUMNS_D_SHARED
};

static const struct {
    const char *name;
    enum columns columns;
} hooks[OTIMES_HOOK_COUNT] = {
#define HOOK_ROW(name, text, columns) {text, COLUMNS_##columns},
    OTIMES_HOOKS(HOOK_ROW)
#undef HOOK_ROW
};

static bool is_hook(otimes_hook hook)
{
    return (int)hook >= 0 && hook < OTIMES_HOOK_COUNT;
}

const char *otimes_hook_name(otimes_hook hook)
{
    return is_hook(hook) ? hooks[hook].name : NULL;
}

void otimes_hook_text(otimes_hook hook, int64_t layer, int64_t expert, char *text, size_t size)
{
    size_t length = 0;
    for (const char *c = is_hook(hook) ? hooks[hook].name : ""; *c && length + 1 < size;) {
        if (*c == '{') {
            const int n = snprintf(text + length, size - length, "%lld",
                                   (long long)(c[1] == 'l' ? layer : expert));
            length = length + (size_t)n < size ? length + (size_t)n : size - 1;
            c += 3;
        } else {
            text[length++] = *c++;
        }
    }
    if (size > 0) {
        text[length] = '\0';
    }
}

int64_t otimes_hook_columns(const otimes_model *model, otimes_hook hook)
{
    const otimes_model_info *info = &model->info;
    bool reached = is_hook(hook) && otimes_hook_reached(model, hook, -1);
    for (int64_t layer = 0; is_hook(hook) && !reached && layer < info->n_layers; layer++) {
        reached = otimes_hook_reached(model, hook, layer);
    }
    if (!reached) {
        return 0;
    }
    switch (hooks[hook].columns) {
    case COLUMNS_D_MODEL:
        return info->d_model;
    case COLUMNS_ONE:
        return 1;
    case COLUMNS_HEADS:
        return info->n_heads * info->d_head;
    case COLUMNS_KV_HEADS:
        return info->n_kv_heads * info->d_head;
    case COLUMNS_KEYS:
        return -1;
    case COLUMNS_N_EXPERTS:
        return info->n_experts;
    case COLUMNS_D_EXPERT:
        return info->d_expert;
    case COLUMNS_D_MLP:
        return info->d_mlp;
    case COLUMNS_D_SHARED:
        return info->d_shared_expert;
    }
    return 0; /* unreached: all cases return */
}

/* Whether a layer has an MLP, of whatever kind. */
static bool has_mlp(const otimes_model *model)
{
    return model->info.mlp != OTIMES_MLP_NONE;
}

int otimes_hook_reached(const otimes_model *model, otimes_hook hook, int64_t layer)
{
    const otimes_model_info *info = &model->info;
    if (!is_hook(hook) || layer < -1 || layer >= info->n_layers ||
        (layer >= 0) != (strstr(hooks[hook].name, "{l}") != NULL)) {
        return 0;
    }
    const bool experts = layer >= 0 && otimes_layer_has_experts(model, layer);
    const bool shared =
        experts && otimes_model_binding(model, OTIMES_SLOT_SHARED_IN, layer)->entry != NULL;
    switch (hook) {
    case OTIMES_HOOK_POS_EMBED:
        return otimes_has_positions(model);
    case OTIMES_HOOK_EMBED_LN_SCALE:
        return info->embed_norm;
    case OTIMES_HOOK_LN1_SCALE:
    case OTIMES_HOOK_LN1_NORMALIZED:
        return info->pre_norm;
    case OTIMES_HOOK_LN2_SCALE:
    case OTIMES_HOOK_LN2_NORMALIZED:
        return info->pre_norm && has_mlp(model);
    case OTIMES_HOOK_ROT_Q:
    case OTIMES_HOOK_ROT_K:
        return info->positions == OTIMES_POSITIONS_ROPE && model->layers[layer].rotary;
    case OTIMES_HOOK_LN1_POST_SCALE:
        return otimes_model_binding(model, OTIMES_SLOT_LN1_POST_W, layer)->entry != NULL;
    case OTIMES_HOOK_LN2_POST_SCALE:
        return otimes_model_binding(model, OTIMES_SLOT_LN2_POST_W, layer)->entry != NULL;
    case OTIMES_HOOK_RESID_MID:
        return has_mlp(model) && !info->parallel;
    case OTIMES_HOOK_MLP_OUT:
        return has_mlp(model);
    case OTIMES_HOOK_EXPERT_WEIGHTS:
    case OTIMES_HOOK_EXPERT_POST:
        return experts;
    case OTIMES_HOOK_SHARED_POST:
        return shared;
    case OTIMES_HOOK_MLP_PRE:
    case OTIMES_HOOK_MLP_GATE:
    case OTIMES_HOOK_MLP_POST:
        return has_mlp(model) && !experts;
    case OTIMES_HOOK_MLP_PRE_LINEAR:
        return info->mlp == OTIMES_MLP_GATED && !experts;
    case OTIMES_HOOK_LN_FINAL_SCALE:
    case OTIMES_HOOK_LN_FINAL_NORMALIZED:
        return info->norm != OTIMES_NORM_NONE;
    case OTIMES_HOOK_EMBED:
    case OTIMES_HOOK_RESID_PRE:
    case OTIMES_HOOK_Q:
    case OTIMES_HOOK_K:
    case OTIMES_HOOK_V:
    case OTIMES_HOOK_SCORES:
    case OTIMES_HOOK_PATTERN:
    case OTIMES_HOOK_Z:
    case OTIMES_HOOK_RESULT:
    case OTIMES_HOOK_ATTN_OUT:
    case OTIMES_HOOK_RESID_POST:
        return 1;
    case OTIMES_HOOK_COUNT:
        break;
    }
    return 0; /* unreached: all cases return */
}
