/* SPDX-License-Identifier: MIT
 *
 * Heads as the pairs of `qk` need them, and what each does on its own: how much it attends to the
 * previous token, how much its OV copies.
 *
 * The previous-token score is that of the average token: at every position stands the mean row of
 * W_E, with the position's row of W_pos where there is one, over the norm's scale that tokens have
 * there in the root of the mean square. Its pattern is exact in content-free heads of layer 0.
 */
#include <math.h>
#include <string.h>

#include "analysis/qk_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"
#include "num/la.h"
#include "run/circuit.h"
#include "run/spectrum.h"

enum { AVERAGE_POSITIONS = 128 };

/* ---- what the average token is ---- */

static const char *why_untold(const otimes_model_info *info)
{
    if (info->positions == OTIMES_POSITIONS_NONE || info->positions == OTIMES_POSITIONS_ALIBI) {
        return "not told: positions are not in the weights";
    }
    if (info->bidirectional) {
        return "not told: attention looks both ways";
    }
    if (info->qk_norm != OTIMES_QK_NORM_NONE || info->attn_softcap > 0 || info->clip_qkv > 0 ||
        info->attention_sinks) {
        return "not told: scores are not the bilinear form alone";
    }
    if (info->embed_norm) {
        return "not told: a norm stands between W_E and the stream";
    }
    if (info->pre_norm && info->fold_ln == OTIMES_STEP_OFF) {
        return "not told: the norm's weights are not folded";
    }
    return info->n_ctx == 1 ? "not told: there is one position" : NULL;
}

/* Mean row of W_E; *square, the mean square length of its rows, centred ones with `centre`. */
static int average_embedding(qk_job *job, bool centre, double *square, otimes_err *err)
{
    const int64_t d = job->info->d_model, vocab = job->info->d_vocab;
    const int64_t tile = otimes_vocab_tile_rows(d);
    float *rows = NULL;
    int rc = OTIMES_NEW(&rows, (tile < vocab ? tile : vocab) * d, err);
    *square = 0;
    for (int64_t first = 0; rc == OTIMES_OK && first < vocab; first += tile) {
        const int64_t count = vocab - first < tile ? vocab - first : tile;
        rc = otimes_embed_rows(job->model, first, count, rows, err);
        for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
            double sum = 0, squares = 0;
            for (int64_t j = 0; j < d; j++) {
                const double x = (double)rows[i * d + j];
                job->mean[j] += x / (double)vocab;
                sum += x;
                squares += x * x;
            }
            *square += (squares - (centre ? sum * sum / (double)d : 0)) / (double)vocab;
        }
    }
    otimes_free(rows);
    return rc;
}

/* Mean square over tokens at a position, (square + 2 mean.pos + pos.pos) / d_model. */
static double mean_square(const qk_job *job, bool centre, double square, const float *position)
{
    const int64_t d = job->info->d_model;
    double cross = 0, own = 0, sum = 0, sum_mean = 0;
    for (int64_t j = 0; position && j < d; j++) {
        const double p = (double)position[j];
        cross += job->mean[j] * p;
        own += p * p;
        sum += p;
        sum_mean += job->mean[j];
    }
    if (centre) {
        cross -= sum * sum_mean / (double)d;
        own -= sum * sum / (double)d;
    }
    return (square + 2 * cross + own) / (double)d;
}

/* Rows of W_pos, NULL where positions are not learned. */
static int read_positions(const qk_job *job, int64_t count, float **position, otimes_err *err)
{
    *position = NULL;
    if (!otimes_has_positions(job->model)) {
        return OTIMES_OK;
    }
    const int rc = OTIMES_NEW(position, count * job->info->d_model, err);
    return rc == OTIMES_OK ? otimes_position_rows(job->model, 0, count, *position, err) : rc;
}

static int make_average(qk_job *job, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    const int64_t d = info->d_model;
    const int64_t n =
        info->n_ctx > 0 && info->n_ctx < AVERAGE_POSITIONS ? info->n_ctx : AVERAGE_POSITIONS;
    const bool centre = info->norm == OTIMES_NORM_LN;
    const bool norm = info->norm != OTIMES_NORM_NONE && info->pre_norm;
    double embedding = 0;
    float *position = NULL;
    int rc = OTIMES_OK;
    job->mean = otimes_pool_new(&job->pool, d, sizeof *job->mean, &rc, err);
    job->average = otimes_pool_new(&job->pool, n * d, sizeof *job->average, &rc, err);
    rc = rc == OTIMES_OK ? average_embedding(job, centre, &embedding, err) : rc;
    rc = rc == OTIMES_OK ? read_positions(job, n, &position, err) : rc;
    for (int64_t p = 0; rc == OTIMES_OK && p < n; p++) {
        const float *row = position ? position + p * d : NULL;
        const double square = norm ? mean_square(job, centre, embedding, row) + info->eps : 1;
        job->square += square / (double)n;
        for (int64_t j = 0; j < d; j++) {
            job->average[p * d + j] = (job->mean[j] + (row ? (double)row[j] : 0)) / sqrt(square);
        }
    }
    job->untold = why_untold(info);
    job->positions = job->untold ? 0 : n;
    otimes_free(position);
    return rc;
}

/* ---- one head ---- */

/* out [positions, d_head] = average side + bias. */
static void project_average(const qk_job *job, const otimes_side *side, const float *bias,
                            double *out)
{
    const int64_t n = job->positions, e = job->info->d_head, d = job->info->d_model;
    for (int64_t i = 0; i < n * e; i++) {
        out[i] = bias ? (double)bias[i % e] : 0;
    }
    otimes_la_default->dgemm(false, false, n, e, d, 1.0, job->average, d, side->x, e, 1.0, out, e);
}

/* Mean weight of position p - 1 from p = 1, 2 ..., each query's softmax over what it may see. */
static double previous_weight(const qk_job *job, int64_t window, const double *query,
                              const double *key, const double *rotated)
{
    const int64_t n = job->positions, e = job->info->d_head;
    double total = 0;
    for (int64_t q = 1; q < n; q++) {
        const int64_t low = window > 0 && q - window + 1 > 0 ? q - window + 1 : 0;
        double largest = -INFINITY, sum = 0, previous = 0;
        for (int turn = 0; turn < 2; turn++) {
            for (int64_t k = low; k <= q; k++) {
                const double *at = rotated ? rotated + (q - k) * e : key + k * e;
                double score = 0;
                for (int64_t j = 0; j < e; j++) {
                    score += query[q * e + j] * at[j];
                }
                score /= job->info->attn_scale;
                if (turn == 0) {
                    largest = score > largest ? score : largest;
                } else {
                    sum += exp(score - largest);
                    previous = k == q - 1 ? exp(score - largest) : previous;
                }
            }
        }
        total += previous / sum;
    }
    return total / (double)(n - 1);
}

static int tell_previous(const qk_job *job, const otimes_layer *layer, qk_head *node,
                         otimes_err *err)
{
    const otimes_model_info *info = job->info;
    const int64_t n = job->positions, e = info->d_head;
    const int64_t kv_head = node->head / (info->n_heads / info->n_kv_heads);
    const otimes_rope *rope = otimes_layer_rope(job->model, node->layer);
    double *query, *frequency = NULL;
    otimes_layer_info kind;
    node->previous = NAN;
    if (n == 0 || (info->positions == OTIMES_POSITIONS_ROPE && !rope)) {
        return OTIMES_OK;
    }
    int rc = OTIMES_NEW(&query, 3 * n * e, err);
    double *key = query + n * e, *rotated = key + n * e;
    if (rc == OTIMES_OK) {
        rc = otimes_layer_describe(job->model, node->layer, &kind, err);
    }
    if (rc == OTIMES_OK && rope) {
        rc = OTIMES_NEW(&frequency, e, err);
        rc = rc == OTIMES_OK ? otimes_rope_frequencies(job->model, rope, frequency, err) : rc;
    }
    if (rc == OTIMES_OK) {
        project_average(job, &node->query,
                        layer->b_Q.data ? layer->b_Q.data + node->head * e : NULL, query);
        project_average(job, &node->key, layer->b_K.data ? layer->b_K.data + kv_head * e : NULL,
                        key);
        for (int64_t delta = 0; rope && delta < n; delta++) {
            memcpy(rotated + delta * e, key, (size_t)e * sizeof *key);
            otimes_rope_rotate_key(rope, frequency, (double)delta, 1, e, rotated + delta * e);
        }
        node->previous = previous_weight(job, kind.window, query, key, rope ? rotated : NULL);
    }
    otimes_free(frequency);
    otimes_free(query);
    return rc;
}

/* Copying score of W_E W_OV W_U from eig(W_O M W_V), M = W_U W_E over common tokens. */
static int tell_copying(const qk_job *job, qk_head *node, otimes_err *err)
{
    const int64_t e = job->info->d_head;
    otimes_side cross = {0};
    otimes_spectrum spectrum = {0};
    double *inner;
    node->copying = NAN;
    if (!job->common) {
        return OTIMES_OK;
    }
    int rc = OTIMES_NEW(&inner, e * (e + 2), err);
    if (rc == OTIMES_OK) {
        rc = otimes_side_map(&cross, job->info->d_model, job->common, &node->value, err);
    }
    if (rc == OTIMES_OK) {
        otimes_factored_inner((otimes_factored){&cross, &node->output}, inner);
        rc = otimes_spectrum_eigen(e, inner, 1, &spectrum, inner + e * e, inner + e * (e + 1), err);
        node->copying = spectrum.positivity;
    }
    otimes_side_free(&cross);
    otimes_free(inner);
    return rc;
}

/* The side's other views: its R, that of E times it, the mean token's row. */
static int view_side(const qk_job *job, otimes_side *side, otimes_side *full, double *mean,
                     otimes_err *err)
{
    const int64_t d = job->info->d_model, e = job->info->d_head;
    int rc = otimes_side_factorise(side, false, err);
    if (rc == OTIMES_OK) {
        rc = otimes_side_map(full, job->forms.embed_rank, job->forms.embed_root, side, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_side_factorise(full, false, err);
    }
    if (rc == OTIMES_OK) {
        otimes_la_default->dgemm(false, false, 1, e, d, 1.0, job->mean, d, side->x, e, 0.0, mean,
                                 e);
    }
    return rc;
}

typedef struct layer_work {
    qk_job *job;
    const otimes_layer *layer;
    int64_t layer_at;
} layer_work;

static int make_head(void *context, int64_t item, int worker, otimes_err *err)
{
    const layer_work *work = context;
    qk_job *job = work->job;
    qk_head *node = &job->node[work->layer_at * job->head_count + item];
    const otimes_layer *layer = work->layer;
    (void)worker;
    const int64_t kv_head = job->heads[item] / (job->info->n_heads / job->info->n_kv_heads);
    node->head = job->heads[item];
    int rc = otimes_query_side(layer, node->head, false, &node->query, err);
    rc = rc == OTIMES_OK ? otimes_key_side(layer, kv_head, false, &node->key, err) : rc;
    rc = rc == OTIMES_OK ? otimes_value_side(layer, kv_head, &node->value, err) : rc;
    rc = rc == OTIMES_OK ? otimes_output_side(layer, node->head, &node->output, err) : rc;
    rc = rc == OTIMES_OK ? otimes_side_factorise(&node->output, false, err) : rc;
    rc = rc == OTIMES_OK ? view_side(job, &node->query, &node->full_query, node->mean_query, err)
                         : rc;
    rc = rc == OTIMES_OK ? view_side(job, &node->key, &node->full_key, node->mean_key, err) : rc;
    rc = rc == OTIMES_OK ? view_side(job, &node->value, &node->full_value, node->mean_value, err)
                         : rc;
    if (rc == OTIMES_OK) {
        rc = otimes_factored_norm((otimes_factored){&node->value, &node->output}, &node->ov_norm,
                                  err);
    }
    rc = rc == OTIMES_OK ? tell_previous(job, layer, node, err) : rc;
    return rc == OTIMES_OK ? tell_copying(job, node, err) : rc;
}

int otimes_qk_heads(qk_job *job, otimes_err *err)
{
    const int64_t e = job->info->d_head;
    int rc = make_average(job, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->nodes; i++) {
        double *mean = otimes_pool_new(&job->pool, 3 * e, sizeof *mean, &rc, err);
        if (rc == OTIMES_OK) {
            job->node[i].layer = job->layers[i / job->head_count];
            job->node[i].mean_query = mean;
            job->node[i].mean_key = mean + e;
            job->node[i].mean_value = mean + 2 * e;
        }
    }
    for (int64_t at = 0; rc == OTIMES_OK && at < job->layer_count; at++) {
        otimes_layer layer;
        layer_work work = {job, &layer, at};
        rc = otimes_layer_load(job->model, job->layers[at], OTIMES_PART_ATTENTION, &layer, err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(job->head_count, job->model->threads, make_head, &work, err);
        }
        otimes_layer_free(&layer);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(job->sink, 1 + (double)(at + 1) / (double)job->layer_count, 4,
                                      err);
        }
    }
    return rc;
}

void otimes_qk_heads_free(qk_job *job)
{
    for (int64_t i = 0; job->node && i < job->nodes; i++) {
        qk_head *node = &job->node[i];
        otimes_side *sides[] = {&node->query,      &node->key,      &node->value,     &node->output,
                                &node->full_query, &node->full_key, &node->full_value};
        for (size_t s = 0; s < sizeof sides / sizeof sides[0]; s++) {
            otimes_side_free(sides[s]);
        }
    }
}
