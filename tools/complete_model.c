/* SPDX-License-Identifier: MIT
 *
 * Layers, heads and activations of the model that stands on the line. Only its headers are read.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/activations.h>

#include "complete.h"

enum { NAME = 96 };

/* Names of several parts are offered part by part: of 0.0 ... 11.11 first 0. ... 11., then the heads of one
 * layer. */
typedef struct steps {
    const complete_place *at;
    size_t list;     /* where the list begins in the word */
    char last[NAME]; /* what was offered last */
} steps;

static void step(steps *s, const char *name)
{
    char part[NAME];
    const size_t typed = strlen(s->at->word + s->at->before);
    if (strlen(name) >= sizeof part || strlen(name) < typed) {
        return;
    }
    const size_t end = typed + strcspn(name + typed, ".");
    snprintf(part, sizeof part, "%.*s", (int)(end + (name[end] == '.')), name);
    if (strcmp(part, s->last) != 0 && !complete_listed(s->at, s->list, name)) {
        complete_offer(s->at, part, NULL);
        memcpy(s->last, part, sizeof part);
    }
}

/* 0,3-5: numbers below `count`, behind a dash those beyond what stands before it. */
static void offer_numbers(complete_place *at, int64_t count)
{
    const size_t list = complete_list(at);
    const char *item = at->word + at->before, *dash = strchr(item, '-');
    int64_t first = 0;
    if (dash) {
        const int64_t from = strtoll(item, NULL, 10);
        first = from >= 0 && from < count ? from + 1 : count;
        at->before = (size_t)(dash + 1 - at->word);
    }
    for (int64_t i = first; i < count; i++) {
        char number[24];
        snprintf(number, sizeof number, "%" PRId64, i);
        if (!complete_listed(at, list, number)) {
            complete_offer(at, number, NULL);
        }
    }
}

/* LAYER.HEAD, and as parts LAYER.attn and LAYER.mlp. */
static void offer_labels(complete_place *at, const otimes_model_info *info, int parts)
{
    steps s = {.at = at, .list = complete_list(at)};
    for (int64_t l = 0; l < info->n_layers; l++) {
        char name[NAME];
        for (int64_t h = 0; h < info->n_heads; h++) {
            snprintf(name, sizeof name, "%" PRId64 ".%" PRId64, l, h);
            step(&s, name);
        }
        if (parts) {
            snprintf(name, sizeof name, "%" PRId64 ".attn", l);
            step(&s, name);
            snprintf(name, sizeof name, "%" PRId64 ".mlp", l);
            step(&s, name);
        }
    }
}

static void offer_circuits(complete_place *at, const otimes_model_info *info)
{
    static const char composed[] = "kcomp:";
    const char *value = at->word + at->before;
    if (!strncmp(value, composed, strlen(composed))) {
        at->before += strlen(composed);
        steps s = {.at = at, .list = at->before};
        for (int64_t l = 0; l + 1 < info->n_layers; l++) { /* the last layer is no one's earlier */
            for (int64_t h = 0; h < info->n_heads; h++) {
                char name[NAME];
                snprintf(name, sizeof name, "%" PRId64 ".%" PRId64, l, h);
                step(&s, name);
            }
        }
    }
}

static void offer_points(const complete_place *at, const otimes_model_info *info)
{
    for (int64_t l = 0; l < info->n_layers; l++) {
        char name[NAME];
        snprintf(name, sizeof name, "%" PRId64, l);
        complete_offer(at, name, NULL);
        snprintf(name, sizeof name, "%" PRId64 ".mid", l);
        complete_offer(at, name, NULL);
    }
}

static void offer_hooks(complete_place *at, const otimes_model *model)
{
    const int64_t layers = otimes_model_describe(model)->n_layers;
    steps s = {.at = at, .list = complete_list(at)};
    for (int64_t l = -1; l < layers; l++) {
        for (int h = 0; h < OTIMES_HOOK_COUNT; h++) {
            char name[NAME];
            if (otimes_hook_columns(model, (otimes_hook)h) &&
                otimes_hook_reached(model, (otimes_hook)h, l)) {
                otimes_activations_name((otimes_hook)h, l, name, sizeof name);
                step(&s, name);
            }
        }
    }
}

static void offer(complete_place *at, opt_takes takes, const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    switch (takes) {
    case TAKES_LAYERS:
        offer_numbers(at, info->n_layers);
        break;
    case TAKES_HEADS:
        offer_numbers(at, info->n_heads);
        break;
    case TAKES_EXPERTS:
        offer_numbers(at, info->n_experts + (info->d_shared_expert > 0));
        break;
    case TAKES_LABELS:
        offer_labels(at, info, 0);
        break;
    case TAKES_PARTS:
        offer_labels(at, info, 1);
        break;
    case TAKES_CIRCUIT:
        offer_circuits(at, info);
        break;
    case TAKES_POINT:
        offer_points(at, info);
        break;
    case TAKES_HOOKS:
        offer_hooks(at, model);
        break;
    case TAKES_ANY:
    case TAKES_MODEL:
    case TAKES_TOKENIZER:
    case TAKES_RESULT:
    case TAKES_CONFIG:
    case TAKES_FILE:
        break;
    }
}

void complete_of_model(complete_place *at, opt_takes takes)
{
    otimes_model *model = NULL;
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    settings.config_path = at->config;
    settings.state_dict = at->state_dict;
    settings.token_text = 0;
    if (at->model && !otimes_model_open(&model, at->model, &settings, NULL)) {
        offer(at, takes, model);
    }
    otimes_model_close(&model);
}
