/* SPDX-License-Identifier: MIT
 *
 * The two sides X and Y of each head's table. Projections are summed in double: they take 2 d_model / d_vocab
 * of the flops of the table, and so it is as near to the weights as float32 sides can be.
 */
#include <math.h>

#include "analysis/circuit_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "num/la.h"
#include "run/circuit.h"
#include "run/rope.h"
#include "run/vocab.h"

/* What the sides of a group may take, if it has more than one head. */
#define GROUP_BYTES (INT64_C(1) << 28)

/* Rows of the vocabulary that one worker projects at once, strips between two reports of progress. */
enum { STRIP_ROWS = 128, WAVE = 64 };

static void multiply(bool ta, int64_t m, int64_t n, int64_t k, const double *a, const double *b,
                     double *c)
{
    otimes_la_default->dgemm(ta, false, m, n, k, 1.0, a, ta ? m : k, b, n, 0.0, c, n);
}

static int64_t kv_of(const otimes_model_info *info, int64_t head)
{
    return head / (info->n_heads / info->n_kv_heads);
}

/* ---- a head in the stream ---- */

static void take_side(otimes_side *side, double *out)
{
    for (int64_t i = 0; i < side->rows * side->rank; i++) {
        out[i] = side->x[i];
    }
    otimes_side_free(side);
}

/* V' and what the stream gets of O'. */
static int read_earlier(circuit_sides *s, otimes_err *err)
{
    const otimes_model_info *info = s->job->info;
    const otimes_circuit_head *earlier = &s->job->settings->earlier;
    otimes_layer layer;
    otimes_side side = {0};
    int rc = otimes_layer_load(s->job->model, earlier->layer, OTIMES_PART_ATTENTION, &layer, err);
    if (rc == OTIMES_OK) {
        rc = otimes_value_side(&layer, kv_of(info, earlier->head), &side, err);
    }
    if (rc == OTIMES_OK) {
        take_side(&side, s->earlier_value);
        rc = otimes_written_side(&layer, info, earlier->head, &side, err);
    }
    if (rc == OTIMES_OK) {
        take_side(&side, s->earlier_output);
    }
    otimes_side_free(&side);
    otimes_layer_free(&layer);
    return rc;
}

/* The key side as the earlier head fills it, V' (O'^T W_K), in the place of W_K. */
static int compose_key(const circuit_sides *s, otimes_side *key, otimes_err *err)
{
    const int64_t d = key->rows, e = key->rank;
    double *inner;
    const int rc = OTIMES_NEW(&inner, e * e, err);
    if (rc == OTIMES_OK) {
        multiply(true, e, e, d, s->earlier_output, key->x, inner);
        multiply(false, d, e, e, s->earlier_value, inner, key->x);
    }
    otimes_free(inner);
    return rc;
}

static int turn_key(const circuit_sides *s, const otimes_layer *layer, otimes_side *key,
                    otimes_err *err)
{
    const otimes_rope *rope = otimes_layer_rope(s->job->model, layer->layer);
    if (!rope) {
        return OTIMES_OK;
    }
    const int rc = otimes_rope_frequencies(s->job->model, rope, s->frequency, err);
    if (rc == OTIMES_OK) {
        otimes_rope_rotate_key(rope, s->frequency, (double)s->job->settings->offset, key->rows,
                               key->rank, key->x);
    }
    return rc;
}

/* A and B [d_model, d_head] of the circuit in the stream. */
static int make_ends(const circuit_sides *s, const otimes_layer *layer, int64_t head,
                     otimes_side *left, otimes_side *right, otimes_err *err)
{
    const otimes_model_info *info = s->job->info;
    const otimes_circuit_which which = s->job->settings->which;
    if (which == OTIMES_CIRCUIT_OV) {
        const int rc = otimes_value_side(layer, kv_of(info, head), left, err);
        return rc == OTIMES_OK ? otimes_written_side(layer, info, head, right, err) : rc;
    }
    int rc = otimes_query_side(layer, head, false, left, err);
    if (rc == OTIMES_OK) {
        rc = otimes_key_side(layer, kv_of(info, head), false, right, err);
    }
    if (rc == OTIMES_OK && which == OTIMES_CIRCUIT_K_COMPOSED) {
        rc = compose_key(s, right, err);
    }
    return rc == OTIMES_OK ? turn_key(s, layer, right, err) : rc;
}

/* Balanced factors of A B^T over attn_scale: with sqrt(sigma) on either side the norms of the table's
 * vectors say the most about its entries, and neither side's scale can run out of float32. */
static int make_factors(const circuit_sides *s, const otimes_layer *layer, int64_t head,
                        double *left, double *right, otimes_err *err)
{
    const int64_t d = s->job->info->d_model, rank = s->job->rank;
    const double scale =
        s->job->settings->which == OTIMES_CIRCUIT_OV ? 1 : s->job->info->attn_scale;
    otimes_side a = {0}, b = {0};
    double *values = NULL;
    int rc = make_ends(s, layer, head, &a, &b, err);
    if (rc == OTIMES_OK) {
        rc = otimes_side_factorise(&a, true, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_side_factorise(&b, true, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&values, rank, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_factored_svd((otimes_factored){&a, &b}, values, rank, left, right, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < rank * d; i++) {
        const double root = sqrt(values[i / d] / scale);
        left[i] *= root;
        right[i] *= root;
    }
    otimes_free(values);
    otimes_side_free(&a);
    otimes_side_free(&b);
    return rc;
}

static int make_group_factors(circuit_sides *s, int64_t first, otimes_err *err)
{
    const int64_t each = s->job->rank * s->job->info->d_model;
    otimes_layer layer = {.layer = -1};
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < s->count; i++) {
        const otimes_circuit_head *wanted = &s->job->heads[first + i];
        if (wanted->layer != layer.layer || !layer.memory) {
            otimes_layer_free(&layer);
            rc =
                otimes_layer_load(s->job->model, wanted->layer, OTIMES_PART_ATTENTION, &layer, err);
        }
        if (rc == OTIMES_OK) {
            rc = make_factors(s, &layer, wanted->head, s->factor + i * each,
                              s->factor + (s->count + i) * each, err);
        }
    }
    otimes_layer_free(&layer);
    return rc;
}

const double *otimes_circuit_factor(const circuit_sides *s, int64_t member, circuit_side side)
{
    const int64_t place = side == CIRCUIT_ROWS ? member : s->count + member;
    return s->factor + place * s->job->rank * s->job->info->d_model;
}

/* ---- over the vocabulary ---- */

/* Some heads' factors [heads * rank, d_model] times the chosen tokens of one end, into [heads][tokens,
 * rank]. */
typedef struct projection {
    const circuit_job *job;
    const otimes_unembed *unembed; /* NULL: rows of W_E */
    const int64_t *ids;            /* NULL: all */
    int64_t tokens, heads, first_strip;
    const double *factor;
    float *narrow, *out;   /* narrow: a worker's [STRIP_ROWS, d_model] */
    double *wide, *summed; /* a worker's [STRIP_ROWS, d_model], [STRIP_ROWS, heads * rank] */
} projection;

static int project_strip(void *context, int64_t strip, int worker, otimes_err *err)
{
    const projection *p = context;
    const int64_t d = p->job->info->d_model, rank = p->job->rank, all = p->heads * rank;
    const int64_t first = (p->first_strip + strip) * STRIP_ROWS, left = p->tokens - first;
    const int64_t rows = left < STRIP_ROWS ? left : STRIP_ROWS;
    float *narrow = p->narrow + worker * STRIP_ROWS * d;
    double *wide = p->wide + worker * STRIP_ROWS * d;
    double *summed = p->summed + worker * STRIP_ROWS * all;
    const int rc = otimes_vocab_rows(p->job->model, p->unembed, p->ids, first, rows, narrow, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t i = 0; i < rows * d; i++) {
        wide[i] = (double)narrow[i];
    }
    otimes_la_default->dgemm(false, true, rows, all, d, 1.0, wide, d, p->factor, d, 0.0, summed,
                             all);
    for (int64_t h = 0; h < p->heads; h++) {
        float *out = p->out + (h * p->tokens + first) * rank;
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t k = 0; k < rank; k++) {
                out[i * rank + k] = (float)summed[i * all + h * rank + k];
            }
        }
    }
    return OTIMES_OK;
}

static int project(projection *p, otimes_err *err)
{
    const int64_t d = p->job->info->d_model, strips = (p->tokens + STRIP_ROWS - 1) / STRIP_ROWS;
    const circuit_job *job = p->job;
    const int64_t each = otimes_par_workers(WAVE, job->model->threads) * STRIP_ROWS;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    p->narrow = otimes_pool_new(&pool, each * d, sizeof(float), &rc, err);
    p->wide = otimes_pool_new(&pool, each * d, sizeof(double), &rc, err);
    p->summed = otimes_pool_new(&pool, each * p->heads * job->rank, sizeof(double), &rc, err);
    for (p->first_strip = 0; rc == OTIMES_OK && p->first_strip < strips; p->first_strip += WAVE) {
        const int64_t left = strips - p->first_strip;
        rc = otimes_par_for(left < WAVE ? left : WAVE, job->model->threads, project_strip, p, err);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(job->sink, job->done, job->total, err);
        }
    }
    otimes_pool_free(&pool);
    return rc;
}

int otimes_circuit_sides_make(circuit_sides *s, int64_t first, int64_t count, otimes_err *err)
{
    const circuit_job *job = s->job;
    const otimes_circuit_settings *settings = job->settings;
    const bool one_end = !job->to_output && !settings->rows && !settings->columns;
    s->count = count;
    s->column = s->row + count * job->row_count * job->rank;
    projection rows = {.job = job,
                       .ids = settings->rows,
                       .tokens = job->row_count,
                       .heads = one_end ? 2 * count : count,
                       .factor = s->factor,
                       .out = s->row};
    projection columns = {.job = job,
                          .unembed = job->to_output ? &job->unembed : NULL,
                          .ids = settings->columns,
                          .tokens = job->column_count,
                          .heads = count,
                          .factor = otimes_circuit_factor(s, 0, CIRCUIT_COLUMNS),
                          .out = s->column};
    int rc = make_group_factors(s, first, err);
    if (rc == OTIMES_OK && job->walked) {
        rc = project(&rows, err);
    }
    return rc == OTIMES_OK && job->walked && !one_end ? project(&columns, err) : rc;
}

int otimes_circuit_sides_open(const circuit_job *job, circuit_sides *s, otimes_err *err)
{
    const int64_t d = job->info->d_model, e = job->info->d_head, rank = job->rank;
    int64_t each = 0;
    int rc = OTIMES_OK;
    *s = (circuit_sides){.job = job};
    if (!otimes_mul_i64(job->row_count + job->column_count, rank,
                        &each)) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_MEMORY, "%s: a head over the vocabulary: too large",
                           job->info->path);
    }
    const int64_t fit = each > 0 ? GROUP_BYTES / (int64_t)sizeof(float) / each : job->head_count;
    s->capacity = fit > job->head_count ? job->head_count : fit > 0 ? fit : 1;
    s->factor = otimes_pool_new(&s->pool, s->capacity * 2 * rank * d, sizeof(double), &rc, err);
    s->row =
        otimes_pool_new(&s->pool, job->walked ? s->capacity * each : 0, sizeof(float), &rc, err);
    s->frequency = otimes_pool_new(&s->pool, e, sizeof(double), &rc, err);
    if (job->settings->which == OTIMES_CIRCUIT_K_COMPOSED) {
        s->earlier_value = otimes_pool_new(&s->pool, d * e, sizeof(double), &rc, err);
        s->earlier_output = otimes_pool_new(&s->pool, d * e, sizeof(double), &rc, err);
        rc = rc == OTIMES_OK ? read_earlier(s, err) : rc;
    }
    return rc;
}

void otimes_circuit_sides_close(circuit_sides *s)
{
    otimes_pool_free(&s->pool);
}
