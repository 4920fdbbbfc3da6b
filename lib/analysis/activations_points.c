/* SPDX-License-Identifier: MIT
 *
 * Points of a model by name: which there are, which were asked for, what their arrays look like.
 */
#include <stdio.h>
#include <string.h>

#include "analysis/activations_job.h"
#include "base/glob.h"
#include "base/sink.h"

/* Shapes of arrays, by what the list of hooks calls the columns. */
enum shape {
    SHAPE_D_MODEL,
    SHAPE_ONE,
    SHAPE_HEADS,
    SHAPE_KV_HEADS,
    SHAPE_KEYS,
    SHAPE_N_EXPERTS,
    SHAPE_D_EXPERT,
    SHAPE_D_MLP,
    SHAPE_D_SHARED,
    SHAPE_RESULT
};

static const activations_axis axes[][ACTIVATIONS_DIMS + 1] = {
    [SHAPE_D_MODEL] = {AXIS_TEXT, AXIS_POSITION, AXIS_D_MODEL},
    [SHAPE_ONE] = {AXIS_TEXT, AXIS_POSITION},
    [SHAPE_HEADS] = {AXIS_TEXT, AXIS_POSITION, AXIS_HEAD, AXIS_D_HEAD},
    [SHAPE_KV_HEADS] = {AXIS_TEXT, AXIS_POSITION, AXIS_KV_HEAD, AXIS_D_HEAD},
    [SHAPE_KEYS] = {AXIS_TEXT, AXIS_HEAD, AXIS_QUERY, AXIS_KEY},
    [SHAPE_N_EXPERTS] = {AXIS_TEXT, AXIS_POSITION, AXIS_EXPERT},
    [SHAPE_D_EXPERT] = {AXIS_TEXT, AXIS_POSITION, AXIS_EXPERT, AXIS_EXPERT_NEURON},
    [SHAPE_D_MLP] = {AXIS_TEXT, AXIS_POSITION, AXIS_NEURON},
    [SHAPE_D_SHARED] = {AXIS_TEXT, AXIS_POSITION, AXIS_SHARED_NEURON},
    [SHAPE_RESULT] = {AXIS_TEXT, AXIS_POSITION, AXIS_HEAD, AXIS_D_MODEL},
};

const activations_axis *otimes_activations_axes(otimes_hook hook)
{
    static const enum shape shapes[OTIMES_HOOK_COUNT] = {
#define SHAPE_OF(name, text, columns) SHAPE_##columns,
        OTIMES_HOOKS(SHAPE_OF)
#undef SHAPE_OF
    };
    return axes[hook == OTIMES_HOOK_RESULT ? SHAPE_RESULT : shapes[hook]];
}

static void fill_axes(const otimes_model_info *m, otimes_axis *axis)
{
    axis[AXIS_D_MODEL] =
        (otimes_axis){"d_model", m->d_model, NULL, NULL, "dimension of the stream"};
    axis[AXIS_HEAD] = (otimes_axis){"head", m->n_heads, NULL, NULL, "query head"};
    axis[AXIS_KV_HEAD] =
        (otimes_axis){"kv_head", m->n_kv_heads, NULL, NULL, "head of keys and values"};
    axis[AXIS_D_HEAD] = (otimes_axis){"d_head", m->d_head, NULL, NULL, "dimension of a head"};
    axis[AXIS_EXPERT] = (otimes_axis){"expert", m->n_experts, NULL, NULL, "expert of a layer"};
    axis[AXIS_EXPERT_NEURON] =
        (otimes_axis){"expert_neuron", m->d_expert, NULL, NULL, "neuron of an expert"};
    axis[AXIS_NEURON] = (otimes_axis){"neuron", m->d_mlp, NULL, NULL, "neuron of the MLP"};
    axis[AXIS_SHARED_NEURON] = (otimes_axis){"shared_neuron", m->d_shared_expert, NULL, NULL,
                                             "neuron of the shared expert"};
}

void otimes_activations_shape(const otimes_model *model, otimes_hook hook, char *text, size_t size)
{
    otimes_axis axis[AXIS_COUNT] = {[AXIS_TEXT] = {.name = "text"},
                                    [AXIS_POSITION] = {.name = "position"},
                                    [AXIS_QUERY] = {.name = "query"},
                                    [AXIS_KEY] = {.name = "key"}};
    size_t used = 0;
    fill_axes(otimes_model_describe(model), axis);
    for (const activations_axis *a = otimes_activations_axes(hook); used < size; a++) {
        const char *lead = used ? ", " : "[";
        const otimes_axis *own = &axis[*a];
        const int n = *a == AXIS_NONE ? snprintf(text + used, size - used, "]")
                      : own->length   ? snprintf(text + used, size - used, "%s%s %lld", lead,
                                                 own->name, (long long)own->length)
                                      : snprintf(text + used, size - used, "%s%s", lead, own->name);
        used += (size_t)n;
        if (*a == AXIS_NONE) {
            break;
        }
    }
}

/* "experts.3.hook_post" without the number. */
static void drop_expert(char *text)
{
    char *from = strstr(text, ".experts.");
    char *to = from ? from + strlen(".experts") : NULL;
    from = to ? strchr(to + 1, '.') : NULL;
    if (from) {
        memmove(to, from, strlen(from) + 1);
    }
}

void otimes_activations_name(otimes_hook hook, int64_t layer, char *text, size_t size)
{
    otimes_hook_text(hook, layer, 0, text, size);
    drop_expert(text);
}

void otimes_activations_pattern(otimes_hook hook, char *text, size_t size)
{
    snprintf(text, size, "%s", otimes_hook_name(hook));
    drop_expert(text);
}

/* ---- what was asked for ---- */

static int fail_names(const activations_job *job, const char *got, size_t length, otimes_err *err)
{
    otimes_text list = {0};
    int rc = OTIMES_OK;
    for (int h = 0; rc == OTIMES_OK && h < OTIMES_HOOK_COUNT; h++) {
        if (otimes_hook_columns(job->model, (otimes_hook)h) != 0) {
            char name[ACTIVATIONS_NAME];
            otimes_activations_pattern((otimes_hook)h, name, sizeof name);
            rc = otimes_text_add(&list, err, "%s%s", list.length ? " " : "", name);
        }
    }
    if (rc == OTIMES_OK) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT,
                         "names: expected some of the points of this model, * and ? for any "
                         "characters, got '%.*s'; it has, {l} for the layer: %s",
                         (int)length, got, list.data);
    }
    otimes_text_free(&list);
    return rc;
}

static bool has_point(const activations_job *job, const char *pattern, size_t length)
{
    char name[ACTIVATIONS_NAME];
    for (int h = 0; h < OTIMES_HOOK_COUNT; h++) {
        for (int64_t l = -1; l < job->info->n_layers; l++) {
            if (otimes_hook_reached(job->model, (otimes_hook)h, l)) {
                otimes_activations_name((otimes_hook)h, l, name, sizeof name);
                if (otimes_glob(pattern, length, name)) {
                    return true;
                }
            }
        }
    }
    return false;
}

/* Each pattern must match something: a misspelt one is an error, not an empty result. */
static int check_names(const activations_job *job, otimes_err *err)
{
    const char *pattern = job->settings->names ? job->settings->names : "";
    for (;;) {
        const size_t length = strcspn(pattern, ",");
        if (!has_point(job, pattern, length)) {
            return fail_names(job, pattern, length < 200 ? length : 200, err);
        }
        if (!pattern[length]) {
            return OTIMES_OK;
        }
        pattern += length + 1;
    }
}

static void choose(activations_job *job, otimes_hook hook, int64_t layer)
{
    activations_point *point = &job->points[job->count];
    if (!otimes_hook_reached(job->model, hook, layer)) {
        return;
    }
    otimes_activations_name(hook, layer, point->name, sizeof point->name);
    if (!otimes_glob_list(job->settings->names, point->name)) {
        return;
    }
    point->hook = hook;
    point->layer = layer;
    job->place[(int64_t)hook * (job->info->n_layers + 1) + layer + 1] = (int32_t)job->count++;
    job->chosen |= (uint64_t)1 << hook;
}

int otimes_activations_choose(activations_job *job, otimes_err *err)
{
    const int64_t layers = job->info->n_layers, places = (int64_t)OTIMES_HOOK_COUNT * (layers + 1);
    int rc = check_names(job, err);
    job->points = otimes_pool_new(&job->pool, places, sizeof *job->points, &rc, err);
    job->place = otimes_pool_new(&job->pool, places, sizeof *job->place, &rc, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    memset(job->place, 0xff, (size_t)places * sizeof *job->place);
    for (int h = 0; h < OTIMES_HOOK_LN_FINAL_SCALE; h++) {
        choose(job, (otimes_hook)h, -1);
    }
    for (int64_t l = 0; l < layers; l++) {
        for (int h = 0; h < OTIMES_HOOK_COUNT; h++) {
            choose(job, (otimes_hook)h, l);
        }
    }
    for (int h = OTIMES_HOOK_LN_FINAL_SCALE; h < OTIMES_HOOK_COUNT; h++) {
        choose(job, (otimes_hook)h, -1);
    }
    return OTIMES_OK;
}

const activations_point *otimes_activations_point(const activations_job *job, otimes_hook hook,
                                                  int64_t layer)
{
    const int32_t at = job->place[(int64_t)hook * (job->info->n_layers + 1) + layer + 1];
    return at < 0 ? NULL : &job->points[at];
}

/* ---- arrays ---- */

static const char *long_name(otimes_hook hook)
{
    switch (hook) {
    case OTIMES_HOOK_EMBED:
        return "embedding of each token";
    case OTIMES_HOOK_POS_EMBED:
        return "embedding of each position";
    case OTIMES_HOOK_EMBED_LN_SCALE:
    case OTIMES_HOOK_LN1_SCALE:
    case OTIMES_HOOK_LN2_SCALE:
    case OTIMES_HOOK_LN1_POST_SCALE:
    case OTIMES_HOOK_LN2_POST_SCALE:
    case OTIMES_HOOK_LN_FINAL_SCALE:
        return "what a norm divides by";
    case OTIMES_HOOK_RESID_PRE:
        return "residual stream before the layer";
    case OTIMES_HOOK_RESID_MID:
        return "residual stream between attention and MLP";
    case OTIMES_HOOK_RESID_POST:
        return "residual stream after the layer";
    case OTIMES_HOOK_LN1_NORMALIZED:
        return "what attention reads";
    case OTIMES_HOOK_LN2_NORMALIZED:
        return "what the MLP reads";
    case OTIMES_HOOK_LN_FINAL_NORMALIZED:
        return "what the unembedding reads";
    case OTIMES_HOOK_Q:
        return "queries";
    case OTIMES_HOOK_K:
        return "keys";
    case OTIMES_HOOK_V:
        return "values";
    case OTIMES_HOOK_ROT_Q:
        return "queries, rotated by position";
    case OTIMES_HOOK_ROT_K:
        return "keys, rotated by position";
    case OTIMES_HOOK_SCORES:
        return "attention scores";
    case OTIMES_HOOK_PATTERN:
        return "attention pattern";
    case OTIMES_HOOK_Z:
        return "values summed by the pattern";
    case OTIMES_HOOK_RESULT:
        return "what each head writes";
    case OTIMES_HOOK_ATTN_OUT:
        return "what attention writes";
    case OTIMES_HOOK_EXPERT_WEIGHTS:
        return "weight of each expert";
    case OTIMES_HOOK_EXPERT_POST:
        return "neurons of experts after the activation";
    case OTIMES_HOOK_MLP_PRE:
        return "neurons before the activation";
    case OTIMES_HOOK_MLP_PRE_LINEAR:
        return "what the gate multiplies";
    case OTIMES_HOOK_MLP_GATE:
        return "by how much each neuron is let through";
    case OTIMES_HOOK_MLP_POST:
        return "neurons after the activation";
    case OTIMES_HOOK_SHARED_POST:
        return "neurons of the shared expert after the activation";
    case OTIMES_HOOK_MLP_OUT:
        return "what the MLP writes";
    case OTIMES_HOOK_COUNT:
        break;
    }
    return ""; /* unreached: all cases return */
}

static int declare(activations_job *job, activations_point *point, otimes_err *err)
{
    const activations_axis *list = otimes_activations_axes(point->hook);
    otimes_array *array = &point->array;
    *array = (otimes_array){.name = point->name,
                            .type = OTIMES_F32,
                            .long_name = long_name(point->hook),
                            .units = "1",
                            .formula = otimes_hook_name(point->hook),
                            .orientation =
                                list[1] == AXIS_HEAD ? "row = query, column = key" : "row = token",
                            .chunk = {1}};
    for (; list[array->ndim] != AXIS_NONE; array->ndim++) {
        const activations_axis a = list[array->ndim];
        array->axis[array->ndim] = a == AXIS_TEXT       ? &job->texts.text
                                   : a == AXIS_POSITION ? &job->texts.position
                                                        : &job->axis[a];
    }
    return otimes_sink_declare(job->sink, array, &point->id, err);
}

int otimes_activations_declare(activations_job *job, otimes_err *err)
{
    const int64_t longest = job->texts.longest;
    fill_axes(job->info, job->axis);
    job->axis[AXIS_QUERY] = (otimes_axis){"query", longest, NULL, NULL, "position that attends"};
    job->axis[AXIS_KEY] = (otimes_axis){"key", longest, NULL, NULL, "position attended to"};
    int rc = otimes_model_attributes(job->model, job->sink, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(job->sink, "names", job->settings->names, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_texts_write(&job->texts, job->model, job->sink, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < job->count; i++) {
        rc = declare(job, &job->points[i], err);
    }
    return rc;
}
