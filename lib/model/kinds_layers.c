/* SPDX-License-Identifier: MIT
 *
 * What a configuration says of single layers: which have a window, which rotate.
 */
#include <string.h>

#include "base/mem.h"
#include "model/config.h"
#include "model/kinds.h"

/* A list with one entry a layer, or NULL when there is none; an error when its length is not that
 * of the layers. */
static int layer_list(const otimes_model *model, const json_t *config, const char *names,
                      const char *where, const json_t **list, otimes_err *err)
{
    *list = otimes_json_member(config, names);
    if (*list &&
        (!json_is_array(*list) || (int64_t)json_array_size(*list) != model->info.n_layers)) {
        return otimes_config_wrong(where, names, "a list with an entry for each layer", err);
    }
    return OTIMES_OK;
}

/* How far the layers have come in GPT-Neo's attention_types: [[["global", "local"], 12]] is that pair
 * twelve times. */
typedef struct typed_layers {
    const json_t *types;
    size_t item;
    int64_t layer; /* the item's next */
} typed_layers;

/* The next layer's kind; false when there is none. */
static bool next_windowed(typed_layers *at, bool *windowed)
{
    for (; at->item < json_array_size(at->types); at->item++, at->layer = 0) {
        const json_t *item = json_array_get(at->types, at->item);
        const json_t *names = json_array_get(item, 0);
        const int64_t count = (int64_t)json_array_size(names);
        const int64_t times = json_integer_value(json_array_get(item, 1));
        int64_t span;
        if (!otimes_mul_i64(count, times, &span)) {
            return false;
        }
        if (at->layer < span) {
            const size_t which = (size_t)(at->layer++ % count);
            const char *name = json_string_value(json_array_get(names, which));
            *windowed = name && strcmp(name, "local") == 0;
            return name != NULL;
        }
    }
    return false;
}

/* By the row's rule and the configuration's numbers. */
static bool windowed_by_rule(const otimes_model *model, int64_t layer)
{
    const int64_t every = (int64_t)model->numbers[OTIMES_NUMBER_WINDOW_PATTERN];
    const int64_t pattern = every ? every : model->arch->window_pattern;
    switch (model->arch->windows) {
    case OTIMES_WINDOWS_ALL:
        return true;
    case OTIMES_WINDOWS_PATTERN:
        return (layer + 1) % pattern != 0;
    case OTIMES_WINDOWS_FROM:
        return layer >= (int64_t)model->numbers[OTIMES_NUMBER_WINDOW_FROM];
    }
    return true;
}

static int read_windows(otimes_model *model, const json_t *config, const char *where,
                        otimes_err *err)
{
    const int64_t window = (int64_t)model->numbers[OTIMES_NUMBER_SLIDING_WINDOW];
    typed_layers typed = {.types = otimes_json_member(config, "attention_types")};
    const json_t *listed;
    int rc =
        layer_list(model, config, "layer_types|attention_layers|attn_types", where, &listed, err);
    for (int64_t layer = 0; rc == OTIMES_OK && layer < model->info.n_layers; layer++) {
        bool windowed = false;
        if (listed) {
            const char *name = json_string_value(json_array_get(listed, (size_t)layer));
            windowed = name && (!strcmp(name, "sliding_attention") || !strcmp(name, "local"));
            if (!name ||
                (!windowed && strcmp(name, "full_attention") != 0 && strcmp(name, "global") != 0)) {
                rc = otimes_config_wrong(where, "layer_types",
                                         "sliding_attention or full_attention (local or global)",
                                         err);
            }
        } else if (typed.types) {
            if (!next_windowed(&typed, &windowed)) {
                rc = otimes_config_wrong(where, "attention_types", "a kind for each layer", err);
            }
        } else {
            windowed = windowed_by_rule(model, layer);
        }
        model->layers[layer].window = windowed ? window : 0;
        model->layers[layer].local = windowed && window > 0;
    }
    return rc;
}

/* SmolLM3 leaves every so-many-th layer without positions. */
static int read_rotations(otimes_model *model, const json_t *config, const char *where,
                          otimes_err *err)
{
    const json_t *listed;
    const int rc = layer_list(model, config, "no_rope_layers", where, &listed, err);
    const json_t *interval = otimes_json_member(config, "no_rope_layer_interval");
    const int64_t every = interval ? json_integer_value(interval) : model->arch->no_rope_every;
    for (int64_t layer = 0; rc == OTIMES_OK && layer < model->info.n_layers; layer++) {
        const bool rotates = listed ? json_integer_value(json_array_get(listed, (size_t)layer)) != 0
                                    : every < 1 || (layer + 1) % every != 0;
        model->layers[layer].rotary = rotates && model->info.positions == OTIMES_POSITIONS_ROPE;
    }
    return rc;
}

int otimes_config_layers(otimes_model *model, const json_t *config, const char *where,
                         otimes_err *err)
{
    const char *window_switch = model->arch->window_switch;
    int rc = OTIMES_NEW(&model->layers, model->info.n_layers, err);
    if (window_switch && !otimes_config_flag(config, window_switch, false)) {
        model->numbers[OTIMES_NUMBER_SLIDING_WINDOW] = 0;
    }
    if (rc == OTIMES_OK) {
        rc = read_windows(model, config, where, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_rotations(model, config, where, err);
    }
    model->info.sliding_window = (int64_t)model->numbers[OTIMES_NUMBER_SLIDING_WINDOW];
    return rc;
}

int otimes_layer_describe(const otimes_model *model, int64_t layer, otimes_layer_info *info,
                          otimes_err *err)
{
    if (layer < 0 || layer >= model->info.n_layers) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "layer: expected 0 to %lld, got %lld",
                           (long long)model->info.n_layers - 1, (long long)layer);
    }
    const otimes_layer_kind *kind = &model->layers[layer];
    *info = (otimes_layer_info){
        .window = kind->window,
        .rope_theta = !kind->rotary ? 0
                      : kind->local ? model->local_rope.theta
                                    : model->rope.theta,
        .experts = otimes_layer_has_experts(model, layer),
    };
    return OTIMES_OK;
}
