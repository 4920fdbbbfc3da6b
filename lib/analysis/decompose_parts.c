/* SPDX-License-Identifier: MIT
 *
 * What the stream is a sum of: components, points of the lens, targets, and their names.
 */
#include "analysis/decompose_job.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "model/model.h"
#include "run/target.h"

enum { NAME_SIZE = 32, LABEL_SIZE = 160 };

/* The next name of a list that the job owns. */
static void add_name(decompose_job *job, const char **list, int64_t *count, int *rc,
                     otimes_err *err, const char *format, ...) OTIMES_PRINTF(6, 7);
static void add_name(decompose_job *job, const char **list, int64_t *count, int *rc,
                     otimes_err *err, const char *format, ...)
{
    va_list arguments;
    char *name = otimes_pool_new(&job->pool, NAME_SIZE, 1, rc, err);
    if (*rc == OTIMES_OK) {
        va_start(arguments, format);
        vsnprintf(name, NAME_SIZE, format, arguments);
        va_end(arguments);
        list[(*count)++] = name;
    }
}

/* ---- the point ---- */

static bool has_mid(const decompose_job *job, int64_t layer)
{
    return otimes_hook_reached(job->model, OTIMES_HOOK_RESID_MID, layer);
}

static int check_point(decompose_job *job, otimes_err *err)
{
    const otimes_decompose_settings *s = job->settings;
    const int64_t layers = job->info->n_layers;
    if (s->layer == -1 && !s->mid) {
        job->run_layers = layers;
        return OTIMES_OK;
    }
    if (s->layer < 0 || s->layer >= layers) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "layer: expected 0 to %" PRId64 ", or -1 for the end, got %" PRId64,
                           layers - 1, s->layer);
    }
    if (s->mid && !has_mid(job, s->layer)) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: layer %" PRId64 ": expected a stream between attention and MLP, "
                           "got %s",
                           job->info->path, s->layer,
                           job->info->parallel ? "a parallel block" : "a layer without MLP");
    }
    job->run_layers = s->layer + (s->mid ? 1 : 0);
    return OTIMES_OK;
}

/* ---- names ---- */

static void name_layer(decompose_job *job, int64_t l, int64_t *points, int *rc, otimes_err *err)
{
    decompose_layer *layer = &job->layer[l];
    const bool half = job->settings->mid && l == job->settings->layer;
    int64_t *count = &job->component_count;
    *layer = (decompose_layer){*count, -1, -1, *points, -1};
    for (int64_t h = 0; job->by_heads && h < job->info->n_heads; h++) {
        add_name(job, job->component, count, rc, err, "L%" PRId64 "H%" PRId64, l, h);
    }
    if (!job->by_heads) {
        add_name(job, job->component, count, rc, err, "L%" PRId64 " attn", l);
    } else if (otimes_slot_is_there(job->model, OTIMES_SLOT_B_O, l, -1)) {
        layer->attention_bias = *count;
        add_name(job, job->component, count, rc, err, "L%" PRId64 " attn bias", l);
    }
    add_name(job, job->point, points, rc, err, "%" PRId64 "_pre", l);
    if (half) {
        return;
    }
    if (job->info->mlp != OTIMES_MLP_NONE) {
        layer->mlp = *count;
        add_name(job, job->component, count, rc, err, "L%" PRId64 " MLP", l);
    }
    if (has_mid(job, l)) {
        layer->mid = *points;
        add_name(job, job->point, points, rc, err, "%" PRId64 "_mid", l);
    }
}

static int name_parts(decompose_job *job, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    const otimes_decompose_settings *s = job->settings;
    const int64_t each = job->by_heads ? info->n_heads + 2 : 2;
    int rc = OTIMES_OK;
    job->layer = otimes_pool_new(&job->pool, info->n_layers, sizeof *job->layer, &rc, err);
    job->component =
        otimes_pool_new(&job->pool, info->n_layers * each + 3, sizeof *job->component, &rc, err);
    job->point = otimes_pool_new(&job->pool, 2 * info->n_layers + 1, sizeof *job->point, &rc, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    job->pos_embed = job->bias = -1;
    job->splits_embedding = info->positions == OTIMES_POSITIONS_LEARNED && !info->embed_norm;
    job->embed = job->component_count;
    add_name(job, job->component, &job->component_count, &rc, err, "embed");
    if (job->splits_embedding) {
        job->pos_embed = job->component_count;
        add_name(job, job->component, &job->component_count, &rc, err, "pos_embed");
    }
    for (int64_t l = 0; rc == OTIMES_OK && l < job->run_layers; l++) {
        name_layer(job, l, &job->point_count, &rc, err);
    }
    if (job->layers.unembed.bias || job->layers.unembed.ln_b) {
        job->bias = job->component_count;
        add_name(job, job->component, &job->component_count, &rc, err, "bias");
    }
    if (s->layer < 0) {
        add_name(job, job->point, &job->point_count, &rc, err, "final_post");
    } else {
        add_name(job, job->point, &job->point_count, &rc, err, "%" PRId64 "_%s", s->layer,
                 s->mid ? "mid" : "pre");
    }
    return rc;
}

/* ---- targets ---- */

static int check_token(const decompose_job *job, const char *what, int64_t token, int64_t lowest,
                       otimes_err *err)
{
    if (token >= lowest && token < job->info->d_vocab_out) {
        return OTIMES_OK;
    }
    return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                       "%s: expected an output token from %" PRId64 " to %" PRId64 ", got %" PRId64,
                       what, lowest, job->info->d_vocab_out - 1, token);
}

/* " Mary", or "#7" without a vocabulary. */
static void token_name(const decompose_job *job, int64_t token, char text[LABEL_SIZE])
{
    const char *label = otimes_model_output_token(job->model, token);
    if (label) {
        snprintf(text, LABEL_SIZE, "%s", label);
    } else {
        snprintf(text, LABEL_SIZE, "#%" PRId64, token);
    }
}

static int name_target(decompose_job *job, int64_t t, otimes_err *err)
{
    const otimes_decompose_settings *s = job->settings;
    const int64_t other = s->against ? s->against[t] : -1;
    char of[LABEL_SIZE], from[LABEL_SIZE];
    int rc = check_token(job, "target", s->target[t], 0, err);
    if (rc == OTIMES_OK) {
        rc = check_token(job, "against", other, -1, err);
    }
    char *name = otimes_pool_new(&job->pool, 2 * LABEL_SIZE + 4, 1, &rc, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    token_name(job, s->target[t], of);
    if (other >= 0) {
        token_name(job, other, from);
        snprintf(name, 2 * LABEL_SIZE + 4, "%s - %s", of, from);
    } else {
        snprintf(name, LABEL_SIZE, "%s", of);
    }
    job->target[t] = name;
    return OTIMES_OK;
}

int otimes_decompose_direction(const decompose_job *job, int64_t target, int64_t against,
                               float *direction, double *offset, otimes_err *err)
{
    return otimes_target_direction(job->model, &job->layers.unembed, target, against, direction,
                                   offset, err);
}

/* Targets that contradict each other or are not there. */
static int check_targets(const decompose_job *job, otimes_err *err)
{
    const otimes_decompose_settings *s = job->settings;
    int rc = OTIMES_OK;
    if ((s->target != NULL) + (s->text_target != NULL) + (s->predicted != 0) > 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "target: expected targets, targets of each text or predicted ones, got "
                           "more than one of them");
    }
    if (s->target && s->target_count < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "target: expected at least one, got none");
    }
    if ((s->against && !s->target) || (s->text_against && !s->text_target)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "against: expected targets, got none");
    }
    for (int64_t i = 0; rc == OTIMES_OK && s->text_target && i < s->sequences.count; i++) {
        rc = check_token(job, "text_target", s->text_target[i], -1, err);
        if (rc == OTIMES_OK && s->text_against) {
            rc = check_token(job, "text_against", s->text_against[i], -1, err);
        }
    }
    if (rc == OTIMES_OK && !s->target && !s->text_target && !s->predicted &&
        job->info->d_vocab != job->info->d_vocab_out) {
        rc = otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                         "%s: expected one vocabulary, as the target is the token that follows, "
                         "got %" PRId64 " input and %" PRId64 " output tokens",
                         job->info->path, job->info->d_vocab, job->info->d_vocab_out);
    }
    return rc;
}

static int read_targets(decompose_job *job, otimes_err *err)
{
    const otimes_decompose_settings *s = job->settings;
    const int64_t d = job->info->d_model;
    int rc = check_targets(job, err);
    job->varying = s->target == NULL;
    job->target_count = s->target ? s->target_count : 1;
    job->target = otimes_pool_new(&job->pool, job->target_count, sizeof *job->target, &rc, err);
    if (rc == OTIMES_OK && job->varying) {
        job->target[0] = s->text_target ? "own target"
                         : s->predicted ? "predicted token"
                                        : "next token";
        return OTIMES_OK;
    }
    job->direction = otimes_pool_new(&job->pool, job->target_count * d, sizeof(float), &rc, err);
    job->offset = otimes_pool_new(&job->pool, job->target_count, sizeof(double), &rc, err);
    for (int64_t t = 0; rc == OTIMES_OK && t < job->target_count; t++) {
        rc = name_target(job, t, err);
        if (rc == OTIMES_OK) {
            rc = otimes_decompose_direction(job, s->target[t], s->against ? s->against[t] : -1,
                                            job->direction + t * d, &job->offset[t], err);
        }
    }
    return rc;
}

/* ---- all of it ---- */

int64_t otimes_decompose_neurons_of(const decompose_job *job, int64_t layer)
{
    const otimes_model_info *info = job->info;
    if (job->layer[layer].mlp < 0) {
        return 0;
    }
    return otimes_layer_has_experts(job->model, layer)
               ? info->n_experts * info->d_expert + info->d_shared_expert
               : info->d_mlp;
}

int otimes_decompose_parts_of(decompose_job *job, otimes_err *err)
{
    const int parts = (int)job->settings->parts;
    if (parts < 0 || parts > (int)OTIMES_DECOMPOSE_ALL) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "parts: expected 0 to 3, got %d", parts);
    }
    job->by_heads = parts & OTIMES_DECOMPOSE_HEADS;
    job->by_neurons = parts & OTIMES_DECOMPOSE_NEURONS && job->info->mlp != OTIMES_MLP_NONE;
    job->twice = job->settings->norms || job->settings->predicted || job->info->post_norm;
    int rc = check_point(job, err);
    if (rc == OTIMES_OK) {
        rc = name_parts(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_targets(job, err);
    }
    for (int64_t l = 0; rc == OTIMES_OK && job->by_neurons && l < job->run_layers; l++) {
        const int64_t count = otimes_decompose_neurons_of(job, l);
        job->neuron_count = count > job->neuron_count ? count : job->neuron_count;
    }
    return rc;
}
