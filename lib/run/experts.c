/* SPDX-License-Identifier: MIT
 *
 * A mixture of experts: each token through the few that its router chose, gathered by expert.
 */
#include <math.h>
#include <string.h>

#include "model/model.h"
#include "num/product.h"
#include "run/mlp.h"

/* Scores of one token become weights: the `active` largest (ties: the lower index) keep theirs, the
 * others 0. */
static void choose(otimes_routing routing, int64_t active, int64_t experts, float *score)
{
    float largest = -INFINITY;
    double all = 0, chosen = 0;
    for (int64_t x = 0; x < experts; x++) {
        largest = score[x] > largest ? score[x] : largest;
    }
    for (int64_t x = 0; x < experts; x++) {
        all += exp((double)score[x] - (double)largest);
    }
    if (isnan(all)) { /* no order: the token's output is no number either */
        for (int64_t x = 0; x < experts; x++) {
            score[x] = NAN;
        }
        return;
    }
    /* The k-th largest and how many of its equals belong to them. */
    float threshold = INFINITY;
    int64_t kept = 0, ties = 0;
    while (kept < active && kept < experts) {
        float next = -INFINITY;
        int64_t equals = 0;
        for (int64_t x = 0; x < experts; x++) {
            if (score[x] < threshold && score[x] >= next) {
                equals = score[x] > next ? 1 : equals + 1;
                next = score[x];
            }
        }
        threshold = next;
        ties = equals < active - kept ? equals : active - kept;
        kept += ties;
    }
    for (int64_t x = 0, left = ties; x < experts; x++) {
        const bool in = score[x] > threshold || (score[x] == threshold && left-- > 0);
        score[x] = in ? expf(score[x] - largest) : 0;
        chosen += (double)score[x];
    }
    const double sum = routing == OTIMES_ROUTING_TOP_SOFTMAX ? chosen : all;
    for (int64_t x = 0; x < experts; x++) {
        score[x] = (float)((double)score[x] / sum);
    }
}

static int route(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first, int64_t rows,
                 const float *read, float *weights, otimes_err *err)
{
    const otimes_model_info *info = pass->info;
    const int64_t d = info->d_model, experts = info->n_experts;
    otimes_product(pass->model->threads, false, rows, experts, d, read, d,
                   layer->rest.W_router.data, experts, layer->rest.b_router.data, false, weights,
                   experts);
    for (int64_t i = 0; i < rows; i++) {
        choose(info->routing, info->n_experts_active, experts, weights + i * experts);
    }
    return otimes_pass_visit(pass, OTIMES_HOOK_EXPERT_WEIGHTS, layer->layer, first, rows, experts,
                             weights, experts, err);
}

/* One expert over the gathered rows; its weighted output goes to the rows it came from. */
static int run_expert(otimes_pass *pass, const otimes_expert *expert, int64_t first, int64_t count,
                      float *out, otimes_err *err)
{
    const int64_t d = pass->info->d_model, n = expert->W_in.dim[1];
    struct otimes_workspace *space = pass->space;
    const otimes_mlp_weights mlp = {&expert->W_in,   &expert->W_gate, &expert->b_in,
                                    &expert->b_gate, expert->layer,   false};
    int rc = otimes_mlp_neurons(pass, &mlp, first, count, space->gathered, space->inner, err);
    if (rc == OTIMES_OK && otimes_pass_wants(pass, OTIMES_HOOK_BIT(EXPERT_POST))) {
        const otimes_activation activation = {.hook = OTIMES_HOOK_EXPERT_POST,
                                              .layer = expert->layer,
                                              .head = -1,
                                              .sequence = -1,
                                              .expert = expert->expert,
                                              .row_of = space->expert_rows,
                                              .rows = count,
                                              .columns = n,
                                              .data = space->inner,
                                              .stride = n};
        rc = pass->hooks->visit(pass->hooks->context, &activation, err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_product(pass->model->threads, false, count, d, n, space->inner, n, expert->W_out.data, d,
                   expert->b_out.data, false, space->expert_out, d);
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = space->expert_rows[i] - first;
        const float weight = space->expert_weights[row * pass->info->n_experts + expert->expert];
        for (int64_t j = 0; j < d; j++) {
            out[row * d + j] += weight * space->expert_out[i * d + j];
        }
    }
    return OTIMES_OK;
}

/* Rows that chose the expert, a strip at a time. */
static int gather_and_run(otimes_pass *pass, const otimes_ready_layer *layer, int64_t x,
                          int64_t first, int64_t rows, const float *read, float *out,
                          otimes_err *err)
{
    const int64_t d = pass->info->d_model;
    struct otimes_workspace *space = pass->space;
    const otimes_expert *expert = NULL;
    int rc = OTIMES_OK;
    for (int64_t i = 0, count = 0; rc == OTIMES_OK && i < rows; i++) {
        if (space->expert_weights[i * pass->info->n_experts + x] != 0) {
            space->expert_rows[count] = first + i;
            memcpy(space->gathered + count * d, read + i * d, (size_t)d * sizeof *read);
            count++;
        }
        if (count == OTIMES_MLP_ROWS || (count > 0 && i == rows - 1)) {
            rc = expert ? OTIMES_OK : otimes_layers_expert(pass->layers, layer, x, &expert, err);
            if (rc == OTIMES_OK) {
                rc = run_expert(pass, expert, first, count, out, err);
            }
            count = 0;
        }
    }
    return rc;
}

/* Neurons of the shared expert times its gate, sigmoid(x . router), where it has one. */
static void weigh_shared(const otimes_layer *weights, int64_t d, int64_t rows, int64_t n,
                         const float *read, float *inner)
{
    const float *router = weights->shared_W_router.data;
    for (int64_t i = 0; router && i < rows; i++) {
        double score = 0;
        for (int64_t j = 0; j < d; j++) {
            score += (double)read[i * d + j] * (double)router[j];
        }
        const float gate = (float)(1 / (1 + exp(-score)));
        for (int64_t j = 0; j < n; j++) {
            inner[i * n + j] *= gate;
        }
    }
}

static int shared_expert(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first,
                         int64_t rows, const float *read, float *out, otimes_err *err)
{
    const otimes_layer *weights = &layer->rest;
    const otimes_tensor none = {0};
    const otimes_mlp_weights mlp = {
        &weights->shared_W_in, &weights->shared_W_gate, &none, &none, layer->layer, false};
    const int64_t d = pass->info->d_model, n = weights->shared_W_in.dim[1];
    float *inner = pass->space->inner;
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < rows; at += OTIMES_MLP_ROWS) {
        const int64_t count = rows - at < OTIMES_MLP_ROWS ? rows - at : OTIMES_MLP_ROWS;
        rc = otimes_mlp_neurons(pass, &mlp, first + at, count, read + at * d, inner, err);
        if (rc == OTIMES_OK) {
            weigh_shared(weights, d, count, n, read + at * d, inner);
            rc = otimes_pass_visit(pass, OTIMES_HOOK_SHARED_POST, layer->layer, first + at, count,
                                   n, inner, n, err);
        }
        if (rc == OTIMES_OK) {
            otimes_product(pass->model->threads, false, count, d, n, inner, n,
                           weights->shared_W_out.data, d, NULL, true, out + at * d, d);
        }
    }
    return rc;
}

int otimes_pass_experts(otimes_pass *pass, const otimes_ready_layer *layer, int64_t first_row,
                        int64_t rows, const float *read, float *out, otimes_err *err)
{
    const int64_t d = pass->info->d_model;
    memset(out, 0, (size_t)(rows * d) * sizeof *out);
    int rc = route(pass, layer, first_row, rows, read, pass->space->expert_weights, err);
    for (int64_t x = 0; rc == OTIMES_OK && x < pass->info->n_experts; x++) {
        rc = gather_and_run(pass, layer, x, first_row, rows, read, out, err);
    }
    return rc == OTIMES_OK && layer->rest.shared_W_in.data
               ? shared_expert(pass, layer, first_row, rows, read, out, err)
               : rc;
}
