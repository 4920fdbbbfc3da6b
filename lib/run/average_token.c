/* SPDX-License-Identifier: MIT */
#include "run/average_token.h"

#include <math.h>
#include <string.h>

#include "model/model.h"
#include "num/la.h"
#include "run/rope.h"
#include "run/vocab.h"

enum { AVERAGE_POSITIONS = 128 };

/* ---- what the average token is ---- */

const char *otimes_scores_untold(const otimes_model_info *info)
{
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
    return NULL;
}

static const char *why_untold(const otimes_model_info *info)
{
    if (info->positions == OTIMES_POSITIONS_NONE || info->positions == OTIMES_POSITIONS_ALIBI) {
        return "not told: positions are not in the weights";
    }
    if (info->bidirectional) {
        return "not told: attention looks both ways";
    }
    const char *scores = otimes_scores_untold(info);
    return !scores && info->n_ctx == 1 ? "not told: there is one position" : scores;
}

/* Mean row of W_E; *square, the mean square length of its rows, centred ones with `centre`. */
static int average_embedding(otimes_average_token *average, bool centre, double *square,
                             otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(average->model);
    const int64_t d = info->d_model, vocab = info->d_vocab;
    const int64_t tile = otimes_vocab_tile_rows(d, vocab);
    float *rows = NULL;
    int rc = OTIMES_NEW(&rows, tile * d, err);
    *square = 0;
    for (int64_t first = 0; rc == OTIMES_OK && first < vocab; first += tile) {
        const int64_t count = vocab - first < tile ? vocab - first : tile;
        rc = otimes_embed_rows(average->model, first, count, rows, err);
        for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
            double sum = 0, squares = 0;
            for (int64_t j = 0; j < d; j++) {
                const double x = (double)rows[i * d + j];
                average->mean[j] += x / (double)vocab;
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
static double mean_square(const otimes_average_token *average, bool centre, double square,
                          const float *position)
{
    const int64_t d = otimes_model_describe(average->model)->d_model;
    double cross = 0, own = 0, sum = 0, sum_mean = 0;
    for (int64_t j = 0; position && j < d; j++) {
        const double p = (double)position[j];
        cross += average->mean[j] * p;
        own += p * p;
        sum += p;
        sum_mean += average->mean[j];
    }
    if (centre) {
        cross -= sum * sum_mean / (double)d;
        own -= sum * sum / (double)d;
    }
    return (square + 2 * cross + own) / (double)d;
}

/* Rows of W_pos, NULL where positions are not learned. */
static int read_positions(const otimes_average_token *average, int64_t count, float **position,
                          otimes_err *err)
{
    *position = NULL;
    if (!otimes_has_positions(average->model)) {
        return OTIMES_OK;
    }
    const int rc =
        OTIMES_NEW(position, count * otimes_model_describe(average->model)->d_model, err);
    return rc == OTIMES_OK ? otimes_position_rows(average->model, 0, count, *position, err) : rc;
}

int otimes_average_token_make(const otimes_model *model, otimes_average_token *average,
                              otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    *average = (otimes_average_token){.model = model};
    const int64_t d = info->d_model;
    const int64_t n =
        info->n_ctx > 0 && info->n_ctx < AVERAGE_POSITIONS ? info->n_ctx : AVERAGE_POSITIONS;
    const bool centre = info->norm == OTIMES_NORM_LN;
    const bool norm = info->norm != OTIMES_NORM_NONE && info->pre_norm;
    const bool behind = info->positions == OTIMES_POSITIONS_SHORTFORMER; /* the norm */
    double embedding = 0;
    float *position = NULL;
    int rc = OTIMES_OK;
    average->mean = otimes_pool_new(&average->pool, d, sizeof *average->mean, &rc, err);
    average->rows = otimes_pool_new(&average->pool, n * d, sizeof *average->rows, &rc, err);
    rc = rc == OTIMES_OK ? average_embedding(average, centre, &embedding, err) : rc;
    rc = rc == OTIMES_OK ? read_positions(average, n, &position, err) : rc;
    for (int64_t p = 0; rc == OTIMES_OK && p < n; p++) {
        const float *row = position ? position + p * d : NULL;
        const double square =
            norm ? mean_square(average, centre, embedding, behind ? NULL : row) + info->eps : 1;
        const double scale = sqrt(square);
        average->square += square / (double)n;
        for (int64_t j = 0; j < d; j++) {
            const double own = row ? (double)row[j] / (behind ? 1 : scale) : 0;
            average->rows[p * d + j] = average->mean[j] / scale + own;
        }
    }
    average->untold = why_untold(info);
    average->positions = average->untold ? 0 : n;
    otimes_free(position);
    return rc;
}

/* ---- the pattern ---- */

/* out [positions, d_head] = average side + bias. */
static void project_average(const otimes_average_token *average, const otimes_side *side,
                            const float *bias, double *out)
{
    const otimes_model_info *info = otimes_model_describe(average->model);
    const int64_t n = average->positions, e = info->d_head, d = info->d_model;
    for (int64_t i = 0; i < n * e; i++) {
        out[i] = bias ? (double)bias[i % e] : 0;
    }
    otimes_la_default->dgemm(false, false, n, e, d, 1.0, average->rows, d, side->x, e, 1.0, out, e);
}

/* Mean weight of position p - 1 from p = 1, 2 ..., each query's softmax over what it may see. */
static double previous_weight(const otimes_average_token *average, int64_t window,
                              const double *query, const double *key, const double *rotated)
{
    const otimes_model_info *info = otimes_model_describe(average->model);
    const int64_t n = average->positions, e = info->d_head;
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
                score /= info->attn_scale;
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

int otimes_average_token_previous(const otimes_average_token *average, const otimes_layer *layer,
                                  int64_t head, const otimes_side *query_side,
                                  const otimes_side *key_side, double *previous, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(average->model);
    const int64_t n = average->positions, e = info->d_head;
    const int64_t kv_head = head / (info->n_heads / info->n_kv_heads);
    const otimes_rope *rope = otimes_layer_rope(average->model, layer->layer);
    double *query, *frequency = NULL;
    otimes_layer_info kind;
    *previous = NAN;
    if (n == 0 || (info->positions == OTIMES_POSITIONS_ROPE && !rope)) {
        return OTIMES_OK;
    }
    int rc = OTIMES_NEW(&query, 3 * n * e, err);
    double *key = query + n * e, *rotated = key + n * e;
    if (rc == OTIMES_OK) {
        rc = otimes_layer_describe(average->model, layer->layer, &kind, err);
    }
    if (rc == OTIMES_OK && rope) {
        rc = OTIMES_NEW(&frequency, e, err);
        rc = rc == OTIMES_OK ? otimes_rope_frequencies(average->model, rope, frequency, err) : rc;
    }
    if (rc == OTIMES_OK) {
        project_average(average, query_side, layer->b_Q.data ? layer->b_Q.data + head * e : NULL,
                        query);
        project_average(average, key_side, layer->b_K.data ? layer->b_K.data + kv_head * e : NULL,
                        key);
        for (int64_t delta = 0; rope && delta < n; delta++) {
            memcpy(rotated + delta * e, key, (size_t)e * sizeof *key);
            otimes_rope_rotate_key(rope, frequency, (double)delta, 1, e, rotated + delta * e);
        }
        *previous = previous_weight(average, kind.window, query, key, rope ? rotated : NULL);
    }
    otimes_free(frequency);
    otimes_free(query);
    return rc;
}

void otimes_average_token_free(otimes_average_token *average)
{
    otimes_pool_free(&average->pool);
}
