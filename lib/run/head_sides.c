/* SPDX-License-Identifier: MIT */
#include "run/head_sides.h"

#include <math.h>

#include "num/la.h"
#include "run/circuit.h"
#include "run/common_tokens.h"
#include "run/spectrum.h"

static int find_common(otimes_head_space *space, otimes_err *err)
{
    const int64_t d = space->info->d_model;
    int rc = OTIMES_OK;
    if (space->forms.cross) {
        space->common = space->forms.cross;
        space->common_tokens = space->info->d_vocab;
        return OTIMES_OK;
    }
    double *sum = otimes_pool_new(&space->pool, d * d, sizeof *sum, &rc, err);
    if (rc == OTIMES_OK) {
        rc = otimes_common_form(space->model, &space->unembed, sum, &space->common_tokens, err);
    }
    space->common = space->common_tokens > 0 ? sum : NULL;
    return rc;
}

int otimes_head_space_open(const otimes_model *model,
                           int (*tick)(void *context, double share, otimes_err *err), void *context,
                           otimes_head_space *space, otimes_err *err)
{
    *space = (otimes_head_space){.model = model, .info = otimes_model_describe(model)};
    int rc = otimes_unembed_open(model, &space->unembed, err);
    if (rc == OTIMES_OK) {
        rc = otimes_vocab_forms_compute(model, &space->unembed, tick, context, &space->forms, err);
    }
    rc = rc == OTIMES_OK ? find_common(space, err) : rc;
    return rc == OTIMES_OK ? otimes_average_token_make(model, &space->average, err) : rc;
}

void otimes_head_space_close(otimes_head_space *space)
{
    otimes_average_token_free(&space->average);
    otimes_vocab_forms_free(&space->forms);
    otimes_unembed_free(&space->unembed);
    otimes_pool_free(&space->pool);
}

/* Copying score of W_E W_OV W_U from eig(W_O M W_V), M = W_U W_E over common tokens. */
static int tell_copying(const otimes_head_space *space, otimes_head_sides *sides, otimes_err *err)
{
    const int64_t e = space->info->d_head;
    otimes_side cross = {0};
    otimes_spectrum spectrum = {0};
    double *inner;
    sides->copying = NAN;
    if (!space->common) {
        return OTIMES_OK;
    }
    int rc = OTIMES_NEW(&inner, e * (e + 2), err);
    if (rc == OTIMES_OK) {
        rc = otimes_side_map(&cross, space->info->d_model, space->common, &sides->value, err);
    }
    if (rc == OTIMES_OK) {
        otimes_factored_inner((otimes_factored){&cross, &sides->output}, inner);
        rc = otimes_spectrum_eigen(e, inner, 1, &spectrum, inner + e * e, inner + e * (e + 1), err);
        sides->copying = spectrum.positivity;
    }
    otimes_side_free(&cross);
    otimes_free(inner);
    return rc;
}

/* The side's other views: its R, that of E times it, the mean token's row. */
static int view_side(const otimes_head_space *space, otimes_side *side, otimes_side *full,
                     double *mean, otimes_err *err)
{
    const int64_t d = space->info->d_model, e = space->info->d_head;
    int rc = otimes_side_factorise(side, false, err);
    if (rc == OTIMES_OK) {
        rc = otimes_side_map(full, space->forms.embed_rank, space->forms.embed_root, side, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_side_factorise(full, false, err);
    }
    if (rc == OTIMES_OK) {
        otimes_la_default->dgemm(false, false, 1, e, d, 1.0, space->average.mean, d, side->x, e,
                                 0.0, mean, e);
    }
    return rc;
}

int otimes_head_sides_make(const otimes_head_space *space, const otimes_layer *layer, int64_t head,
                           otimes_head_sides *sides, otimes_err *err)
{
    const int64_t e = space->info->d_head;
    const int64_t kv_head = head / (space->info->n_heads / space->info->n_kv_heads);
    double *mean;
    *sides = (otimes_head_sides){.layer = layer->layer, .head = head};
    int rc = OTIMES_NEW(&mean, 3 * e, err);
    if (rc == OTIMES_OK) {
        sides->mean_query = mean;
        sides->mean_key = mean + e;
        sides->mean_value = mean + 2 * e;
        rc = otimes_query_side(layer, sides->head, false, &sides->query, err);
    }
    rc = rc == OTIMES_OK ? otimes_key_side(layer, kv_head, false, &sides->key, err) : rc;
    rc = rc == OTIMES_OK ? otimes_value_side(layer, kv_head, &sides->value, err) : rc;
    rc = rc == OTIMES_OK ? otimes_output_side(layer, sides->head, &sides->output, err) : rc;
    rc = rc == OTIMES_OK ? otimes_side_factorise(&sides->output, false, err) : rc;
    rc = rc == OTIMES_OK
             ? view_side(space, &sides->query, &sides->full_query, sides->mean_query, err)
             : rc;
    rc = rc == OTIMES_OK ? view_side(space, &sides->key, &sides->full_key, sides->mean_key, err)
                         : rc;
    rc = rc == OTIMES_OK
             ? view_side(space, &sides->value, &sides->full_value, sides->mean_value, err)
             : rc;
    if (rc == OTIMES_OK) {
        rc = otimes_factored_norm((otimes_factored){&sides->value, &sides->output}, &sides->ov_norm,
                                  err);
    }
    rc = rc == OTIMES_OK
             ? otimes_average_token_previous(&space->average, layer, head, &sides->query,
                                             &sides->key, &sides->previous, err)
             : rc;
    return rc == OTIMES_OK ? tell_copying(space, sides, err) : rc;
}

void otimes_head_sides_free(otimes_head_sides *sides)
{
    otimes_side *list[] = {&sides->query,      &sides->key,      &sides->value,     &sides->output,
                           &sides->full_query, &sides->full_key, &sides->full_value};
    for (size_t s = 0; s < sizeof list / sizeof list[0]; s++) {
        otimes_side_free(list[s]);
    }
    otimes_free(sides->mean_query);
    *sides = (otimes_head_sides){0};
}
