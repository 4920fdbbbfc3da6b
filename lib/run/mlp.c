/* SPDX-License-Identifier: MIT
 *
 * MLPs, plain and gated, a strip of rows at a time.
 */
#include <string.h>

#include "base/par.h"
#include "model/model.h"
#include "num/product.h"
#include "run/mlp.h"

enum { RUN = 1 << 13 }; /* entries that a thread takes at a time */

typedef struct run {
    const otimes_pass *pass;
    int64_t count;
    const float *gate;
    float *x;
} run;

static int64_t end_of(const run *r, int64_t first)
{
    return r->count - first < RUN ? r->count : first + RUN;
}

static int activate_item(void *context, int64_t item, int worker, otimes_err *err)
{
    const run *r = context;
    const otimes_pass *pass = r->pass;
    const int64_t first = item * RUN, end = end_of(r, first);
    (void)worker, (void)err;
    if (pass->activation == OTIMES_ACT_CLAMPED_SWIGLU) { /* from above alone */
        const float limit = (float)pass->model->swiglu_limit;
        for (int64_t i = first; i < end; i++) {
            r->x[i] = r->x[i] < limit ? r->x[i] : limit;
        }
    }
    otimes_activate(pass->activation, end - first, r->x + first);
    return OTIMES_OK;
}

/* x := gate x; gpt-oss clamps x on both sides and adds 1 to it. */
static int multiply_item(void *context, int64_t item, int worker, otimes_err *err)
{
    const run *r = context;
    const int64_t first = item * RUN, end = end_of(r, first);
    const bool clamped = r->pass->activation == OTIMES_ACT_CLAMPED_SWIGLU;
    const float limit = (float)r->pass->model->swiglu_limit;
    (void)worker, (void)err;
    for (int64_t i = first; i < end; i++) {
        float x = r->x[i];
        if (clamped) {
            x = (x > limit ? limit : x < -limit ? -limit : x) + 1;
        }
        r->x[i] = x * r->gate[i];
    }
    return OTIMES_OK;
}

static void each(const otimes_pass *pass, int64_t count, const float *gate, float *x,
                 otimes_par_item what)
{
    run r = {pass, count, gate, x};
    (void)otimes_par_for((count + RUN - 1) / RUN,
                         otimes_par_worth(pass->model->threads, (double)count), what, &r, NULL);
}

static void project(const otimes_pass *pass, int64_t rows, const float *read,
                    const otimes_tensor *W, const otimes_tensor *b, float *to)
{
    const int64_t d = W->dim[0], m = W->dim[1];
    otimes_product(pass->model->threads, false, rows, m, d, read, d, W->data, m, b->data, false, to,
                   m);
}

/* For the gate hook of a plain MLP: the factor act(x) / x, 0 where x is 0, seen and multiplied in.
 */
static int by_factor(otimes_pass *pass, const otimes_mlp_weights *mlp, int64_t first, int64_t rows,
                     float *inner, otimes_err *err)
{
    const int64_t m = mlp->W_in->dim[1], count = rows * m;
    struct otimes_workspace *space = pass->space;
    int rc = space->factor ? OTIMES_OK : OTIMES_NEW(&space->factor, OTIMES_MLP_ROWS * m, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    memcpy(space->factor, inner, (size_t)count * sizeof *inner);
    each(pass, count, NULL, space->factor, activate_item);
    for (int64_t i = 0; i < count; i++) {
        space->factor[i] = inner[i] != 0 ? space->factor[i] / inner[i] : 0;
    }
    rc = otimes_pass_visit(pass, OTIMES_HOOK_MLP_GATE, mlp->layer, first, rows, m, space->factor, m,
                           err);
    each(pass, count, space->factor, inner, multiply_item);
    return rc;
}

int otimes_mlp_neurons(otimes_pass *pass, const otimes_mlp_weights *mlp, int64_t first,
                       int64_t rows, const float *read, float *inner, otimes_err *err)
{
    const int64_t m = mlp->W_in->dim[1], count = rows * m;
    float *gate = pass->space->gate;
    int rc = OTIMES_OK;
    if (!mlp->W_gate->data) {
        project(pass, rows, read, mlp->W_in, mlp->b_in, inner);
        if (mlp->seen) {
            rc = otimes_pass_visit(pass, OTIMES_HOOK_MLP_PRE, mlp->layer, first, rows, m, inner, m,
                                   err);
        }
        if (rc == OTIMES_OK && mlp->seen && otimes_pass_wants(pass, OTIMES_HOOK_BIT(MLP_GATE))) {
            return by_factor(pass, mlp, first, rows, inner, err);
        }
        each(pass, count, NULL, inner, activate_item);
        return rc;
    }
    project(pass, rows, read, mlp->W_gate, mlp->b_gate, gate);
    project(pass, rows, read, mlp->W_in, mlp->b_in, inner);
    if (mlp->seen) {
        rc = otimes_pass_visit(pass, OTIMES_HOOK_MLP_PRE, mlp->layer, first, rows, m, gate, m, err);
    }
    if (rc == OTIMES_OK && mlp->seen) {
        rc = otimes_pass_visit(pass, OTIMES_HOOK_MLP_PRE_LINEAR, mlp->layer, first, rows, m, inner,
                               m, err);
    }
    each(pass, count, NULL, gate, activate_item);
    if (rc == OTIMES_OK && mlp->seen) {
        rc =
            otimes_pass_visit(pass, OTIMES_HOOK_MLP_GATE, mlp->layer, first, rows, m, gate, m, err);
    }
    each(pass, count, gate, inner, multiply_item);
    return rc;
}

/* A dense MLP, strip by strip. */
static int dense(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first, int64_t rows,
                 const float *read, float *out, otimes_err *err)
{
    const otimes_layer *weights = &layer->rest;
    const otimes_mlp_weights mlp = {.W_in = &weights->W_in,
                                    .W_gate = &weights->W_gate,
                                    .b_in = &weights->b_in,
                                    .b_gate = &weights->b_gate,
                                    .layer = layer->layer,
                                    .seen = true};
    const int64_t d = pass->info->d_model, m = weights->W_in.dim[1];
    float *inner = pass->space->inner;
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < rows; at += OTIMES_MLP_ROWS) {
        const int64_t count = rows - at < OTIMES_MLP_ROWS ? rows - at : OTIMES_MLP_ROWS;
        rc = otimes_mlp_neurons(pass, &mlp, first + at, count, read + at * d, inner, err);
        if (rc == OTIMES_OK) {
            rc = otimes_pass_visit(pass, OTIMES_HOOK_MLP_POST, layer->layer, first + at, count, m,
                                   inner, m, err);
        }
        if (rc == OTIMES_OK) {
            otimes_product(pass->model->threads, false, count, d, m, inner, m, weights->W_out.data,
                           d, weights->b_out.data, false, out + at * d, d);
        }
    }
    return rc;
}

int otimes_pass_mlp_out(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first_row,
                        int64_t rows, const float *stream, float *out, otimes_err *err)
{
    const otimes_model_info *info = pass->info;
    const int64_t d = info->d_model;
    const float *read = stream;
    if (info->mlp == OTIMES_MLP_NONE) {
        memset(out, 0, (size_t)(rows * d) * sizeof *out);
        return OTIMES_OK;
    }
    int rc = otimes_space_need(pass, rows, 1, err);
    if (rc == OTIMES_OK && info->pre_norm) {
        const otimes_norm_site site = {.norm = info->norm,
                                       .scale = OTIMES_HOOK_LN2_SCALE,
                                       .normalized = OTIMES_HOOK_LN2_NORMALIZED,
                                       .layer = layer->layer,
                                       .w = layer->rest.ln2_w.data,
                                       .b = layer->rest.ln2_b.data};
        read = pass->space->read;
        rc = otimes_pass_norm(pass, &site, first_row, rows, stream, pass->space->read, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_layer_has_experts(pass->model, layer->layer)
                 ? otimes_pass_experts(pass, layer, first_row, rows, read, out, err)
                 : dense(pass, layer, first_row, rows, read, out, err);
    }
    if (rc == OTIMES_OK && layer->rest.ln2_post_w.data) {
        const otimes_norm_site site = {.norm = info->norm,
                                       .scale = OTIMES_HOOK_LN2_POST_SCALE,
                                       .normalized = OTIMES_HOOK_COUNT,
                                       .layer = layer->layer,
                                       .w = layer->rest.ln2_post_w.data};
        rc = otimes_pass_norm(pass, &site, first_row, rows, out, out, err);
    }
    return rc == OTIMES_OK ? otimes_pass_visit(pass, OTIMES_HOOK_MLP_OUT, layer->layer, first_row,
                                               rows, d, out, d, err)
                           : rc;
}
