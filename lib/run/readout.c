/* SPDX-License-Identifier: MIT */
#include "run/readout.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "num/product.h"
#include "num/stats.h"
#include "num/topk.h"
#include "num/vmath.h"
#include "run/table_keep.h"

/* A block of W_U is read once for all rows; slabs of rows bound the products that exist at once. */
enum { SLAB_ROWS = 2048, BLOCK_TOKENS = 2048 };

/* Of the bias and the soft cap behind a product. */
#define FEW_ROUNDINGS (4 * (double)FLT_EPSILON)

/* What is known of a row so far. */
typedef struct row_state {
    otimes_topk top;
    double max, sum, weighted; /* sum exp(x - max), sum x exp(x - max) */
    float target, exact;       /* the target's logit as the product has it; by otimes_dot */
    int64_t above;
} row_state;

typedef struct job {
    otimes_layers *layers;
    const otimes_readout *ask;
    const float *normal, *W_U; /* of the block at hand */
    int64_t rows, first, tokens, first_row;
    double norm; /* the largest of the block's rows of W_U, where ranks are asked for */
    row_state *states;
    float *product; /* [SLAB_ROWS, BLOCK_TOKENS] */
    float *scratch; /* [workers][BLOCK_TOKENS] */
    bool sums;
} job;

static void finish_logits(const job *j, int64_t first, int64_t count, float *x)
{
    const float *bias = j->layers->unembed.bias;
    for (int64_t i = 0; bias && i < count; i++) {
        x[i] += bias[first + i];
    }
    if (j->layers->model->info.final_softcap > 0) {
        otimes_vsoftcap(count, x, (float)j->layers->model->info.final_softcap);
    }
}

/* The target's logit first, since its rank is counted as the row streams by. */
static int begin_row(job *j, int64_t i, float *scratch, otimes_err *err)
{
    const otimes_model_info *info = &j->layers->model->info;
    const int64_t target = j->ask->target ? j->ask->target[i] : -1;
    row_state *state = &j->states[i];
    *state = (row_state){.max = -INFINITY, .target = NAN};
    state->top = (otimes_topk){.capacity = j->ask->top,
                               .sign = 1,
                               .value = j->ask->top_value + i * j->ask->top,
                               .index = j->ask->top_id + i * j->ask->top};
    if (target < 0 || !j->ask->target_rank) {
        return OTIMES_OK;
    }
    const float *row;
    const int rc = otimes_layers_unembed(j->layers, target, 1, scratch, &row, err);
    if (rc == OTIMES_OK) {
        state->target = (float)otimes_dot(j->normal + i * info->d_model, row, info->d_model);
        finish_logits(j, target, 1, &state->target);
        state->exact = state->target;
    }
    return rc;
}

/* sum exp(x - max) and sum x exp(x - max), as the maximum grows. */
static void add_sums(const job *j, row_state *state, const float *x, float *scratch)
{
    const double here = (double)otimes_max(x, j->tokens);
    const double max = here > state->max ? here : state->max;
    if (max > state->max && state->sum > 0) {
        const double shrink = exp(state->max - max);
        state->sum *= shrink;
        state->weighted *= shrink;
    }
    state->max = max;
    for (int64_t i = 0; i < j->tokens; i++) {
        scratch[i] = x[i] - (float)max;
    }
    otimes_vexp(j->tokens, scratch);
    state->sum += otimes_sum(scratch, j->tokens);
    state->weighted += j->ask->entropy ? otimes_dot(scratch, x, j->tokens) : 0;
}

/* Logits of the block that are larger than the target's. What is no further from it than the rounding of
 * products is computed again, as the target's was: of equal columns of W_U none is larger. */
static int64_t count_larger(const job *j, int64_t row, int64_t target, const float *x)
{
    const int64_t d = j->layers->model->info.d_model;
    const float *normal = j->normal + row * d, exact = j->states[row].exact;
    const double norms = otimes_table_norm(normal, d) * j->norm;
    const double margin = 2 * otimes_table_margin(d, norms) + FEW_ROUNDINGS * fabs((double)exact);
    const float high = (float)((double)exact + margin), low = (float)((double)exact - margin);
    int64_t above = otimes_count_above(x, j->tokens, high);
    if (otimes_count_above(x, j->tokens, low) == above) {
        return above;
    }
    for (int64_t i = 0; i < j->tokens; i++) {
        if (x[i] > low && x[i] <= high && j->first + i != target) {
            float logit = (float)otimes_dot(normal, j->W_U + i * d, d);
            finish_logits(j, j->first + i, 1, &logit);
            above += logit > exact;
        }
    }
    return above;
}

static void consume(const job *j, int64_t row, const float *x, float *scratch)
{
    row_state *state = &j->states[row];
    const otimes_readout *ask = j->ask;
    const int64_t target = ask->target ? ask->target[row] : -1;
    const int64_t own = target - j->first;
    const bool here = target >= 0 && own >= 0 && own < j->tokens;
    if (ask->logits) {
        memcpy(ask->logits + row * j->layers->model->info.d_vocab_out + j->first, x,
               (size_t)j->tokens * sizeof *x);
    }
    if (ask->top > 0) {
        otimes_topk_scan(&state->top, x, j->tokens, (int32_t)j->first);
    }
    if (j->sums) {
        add_sums(j, state, x, scratch);
    }
    if (target >= 0 && ask->target_rank) {
        state->above += count_larger(j, row, target, x);
    }
    if (here) {
        state->target = x[own];
    }
}

static int consume_row(void *context, int64_t item, int worker, otimes_err *err)
{
    const job *j = context;
    float *x = j->product + item * j->tokens;
    (void)err;
    finish_logits(j, j->first, j->tokens, x);
    consume(j, j->first_row + item, x, j->scratch + worker * BLOCK_TOKENS);
    return OTIMES_OK;
}

static double largest_norm(const job *j)
{
    const int64_t d = j->layers->model->info.d_model;
    double largest = 0;
    for (int64_t i = 0; i < j->tokens; i++) {
        largest = fmax(largest, otimes_dot(j->W_U + i * d, j->W_U + i * d, d));
    }
    return sqrt(largest);
}

/* The block at hand for all rows. */
static int run_block(job *j, otimes_err *err)
{
    const int64_t d = j->layers->model->info.d_model;
    const int threads = j->layers->model->threads;
    int rc = OTIMES_OK;
    j->norm = j->ask->target_rank ? largest_norm(j) : 0;
    for (j->first_row = 0; rc == OTIMES_OK && j->first_row < j->rows; j->first_row += SLAB_ROWS) {
        const int64_t left = j->rows - j->first_row, rows = left < SLAB_ROWS ? left : SLAB_ROWS;
        otimes_product(threads, true, rows, j->tokens, d, j->normal + j->first_row * d, d, j->W_U,
                       d, NULL, false, j->product, j->tokens);
        const double operations = (double)rows * (double)j->tokens;
        (void)otimes_par_for(rows, otimes_par_worth(threads, operations), consume_row, j, NULL);
        rc = otimes_pulse_beat(j->layers->pulse, err);
    }
    return rc;
}

static void finish_row(const job *j, int64_t i)
{
    row_state *state = &j->states[i];
    const otimes_readout *ask = j->ask;
    const bool target = ask->target && ask->target[i] >= 0;
    const double logsumexp = state->max + log(state->sum);
    if (ask->top > 0) {
        otimes_topk_finish(&state->top);
    }
    if (ask->logsumexp) {
        ask->logsumexp[i] = logsumexp;
    }
    if (ask->entropy) {
        ask->entropy[i] = logsumexp - state->weighted / state->sum;
    }
    if (ask->target_logit) {
        ask->target_logit[i] = target ? state->target : NAN;
    }
    if (ask->target_rank) {
        ask->target_rank[i] = target && !isnan(state->target) ? state->above : -1;
    }
}

int otimes_readout_run(otimes_layers *layers, int64_t rows, const float *normal,
                       const otimes_readout *readout, otimes_err *err)
{
    const otimes_model *model = layers->model;
    const int64_t d = model->info.d_model, vocab = model->info.d_vocab_out;
    const int64_t slab = rows < SLAB_ROWS ? rows : SLAB_ROWS;
    job j = {.layers = layers,
             .ask = readout,
             .normal = normal,
             .rows = rows,
             .sums = readout->logsumexp || readout->entropy};
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    float *block =
        layers->resident ? NULL : otimes_pool_new(&pool, BLOCK_TOKENS * d, sizeof *block, &rc, err);
    float *row = otimes_pool_new(&pool, d, sizeof *row, &rc, err);
    j.states = otimes_pool_new(&pool, rows, sizeof *j.states, &rc, err);
    j.product = otimes_pool_new(&pool, slab * BLOCK_TOKENS, sizeof(float), &rc, err);
    j.scratch = otimes_pool_new(&pool, otimes_par_workers(slab, model->threads) * BLOCK_TOKENS,
                                sizeof(float), &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < rows; i++) {
        rc = begin_row(&j, i, row, err);
    }
    for (j.first = 0; rc == OTIMES_OK && j.first < vocab; j.first += BLOCK_TOKENS) {
        j.tokens = vocab - j.first < BLOCK_TOKENS ? vocab - j.first : BLOCK_TOKENS;
        rc = otimes_layers_unembed(layers, j.first, j.tokens, block, &j.W_U, err);
        if (rc == OTIMES_OK) {
            rc = run_block(&j, err);
        }
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < rows; i++) {
        finish_row(&j, i);
    }
    otimes_pool_free(&pool);
    return rc;
}

int64_t otimes_readout_bytes(const otimes_model *model, bool resident, int64_t rows)
{
    const int64_t slab = rows < SLAB_ROWS ? rows : SLAB_ROWS, d = model->info.d_model;
    const int64_t block = resident ? 0 : BLOCK_TOKENS * d;
    const int64_t workers = otimes_par_workers(slab, model->threads);
    return (block + d + (slab + workers) * BLOCK_TOKENS) * (int64_t)sizeof(float) +
           rows * (int64_t)sizeof(row_state);
}
