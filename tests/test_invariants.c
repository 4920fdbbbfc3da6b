/* SPDX-License-Identifier: MIT
 *
 * Weight processing keeps the function: a plain float64 forward pass over the weights that the
 * library hands out gives the same log-probabilities raw, fully processed, and with each step
 * alone.
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "run/rope.h"

enum { POSITIONS = 7, MOST = 64 }; /* of a golden's d_model, d_mlp, d_vocab and heads x d_head */

typedef struct run {
    const otimes_model *model;
    const otimes_model_info *info;
    double stream[POSITIONS][MOST];
    double frequency[MOST];
} run;

static void normalise(const run *r, const double *x, const otimes_tensor *w, const otimes_tensor *b,
                      double *y)
{
    const int64_t d = r->info->d_model;
    double mean = 0, squares = 0;
    for (int64_t i = 0; r->info->norm == OTIMES_NORM_LN && i < d; i++) {
        mean += x[i] / (double)d;
    }
    for (int64_t i = 0; i < d; i++) {
        squares += (x[i] - mean) * (x[i] - mean) / (double)d;
    }
    const double scale = r->info->norm == OTIMES_NORM_NONE ? 1 : 1 / sqrt(squares + r->info->eps);
    for (int64_t i = 0; i < d; i++) {
        y[i] = (x[i] - mean) * scale * (w->data ? (double)w->data[i] : 1) +
               (b->data ? (double)b->data[i] : 0);
    }
}

/* y = x W + b for W [rows, columns]. */
static void affine(const double *x, int64_t rows, int64_t columns, const float *W, const float *b,
                   double *y)
{
    for (int64_t j = 0; j < columns; j++) {
        y[j] = b ? (double)b[j] : 0;
        for (int64_t i = 0; i < rows; i++) {
            y[j] += x[i] * (double)W[i * columns + j];
        }
    }
}

/* Half-split rotation by the position, written out apart from the library's. */
static void rotate(const run *r, int64_t position, double *x)
{
    const int64_t half = r->info->rotary_dim / 2;
    for (int64_t i = 0; i < half; i++) {
        const double angle = (double)position * r->frequency[i];
        const double a = x[i], b = x[i + half];
        x[i] = a * cos(angle) - b * sin(angle);
        x[i + half] = b * cos(angle) + a * sin(angle);
    }
}

static const float *bias_of(const otimes_tensor *b, int64_t head, int64_t d_head)
{
    return b->data ? b->data + head * d_head : NULL;
}

static void attend(run *r, const otimes_layer *layer, double normed[POSITIONS][MOST])
{
    const int64_t d = r->info->d_model, e = r->info->d_head;
    const int64_t group = r->info->n_heads / r->info->n_kv_heads;
    const int64_t window = r->info->sliding_window ? r->info->sliding_window : POSITIONS;
    double q[POSITIONS][MOST], k[POSITIONS][MOST], v[POSITIONS][MOST];
    for (int64_t h = 0; h < r->info->n_heads; h++) {
        const int64_t kv = h / group;
        for (int64_t p = 0; p < POSITIONS; p++) {
            affine(normed[p], d, e, layer->W_Q.data + h * d * e, bias_of(&layer->b_Q, h, e), q[p]);
            affine(normed[p], d, e, layer->W_K.data + kv * d * e, bias_of(&layer->b_K, kv, e),
                   k[p]);
            affine(normed[p], d, e, layer->W_V.data + kv * d * e, bias_of(&layer->b_V, kv, e),
                   v[p]);
            rotate(r, p, q[p]);
            rotate(r, p, k[p]);
        }
        for (int64_t p = 0; p < POSITIONS; p++) {
            double weight[POSITIONS], total = 0, z[MOST] = {0}, written[MOST];
            for (int64_t s = 0; s <= p; s++) {
                double score = 0;
                for (int64_t j = 0; j < e; j++) {
                    score += q[p][j] * k[s][j] / r->info->attn_scale;
                }
                weight[s] = p - s < window ? exp(score) : 0;
                total += weight[s];
            }
            for (int64_t s = 0; s <= p; s++) {
                for (int64_t j = 0; j < e; j++) {
                    z[j] += weight[s] / total * v[s][j];
                }
            }
            affine(z, e, d, layer->W_O.data + h * e * d, NULL, written);
            for (int64_t i = 0; i < d; i++) {
                r->stream[p][i] += written[i];
            }
        }
    }
    for (int64_t p = 0; layer->b_O.data && p < POSITIONS; p++) {
        for (int64_t i = 0; i < d; i++) {
            r->stream[p][i] += (double)layer->b_O.data[i];
        }
    }
}

static double activate(const char *name, double x)
{
    if (strcmp(name, "silu") == 0) {
        return x / (1 + exp(-x));
    }
    if (strcmp(name, "relu") == 0) {
        return x > 0 ? x : 0;
    }
    if (strncmp(name, "gelu", 4) != 0) {
        fail_msg("activation %s", name);
    }
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static void mix(run *r, const otimes_layer *layer, double normed[POSITIONS][MOST])
{
    const int64_t d = r->info->d_model, m = r->info->d_mlp;
    for (int64_t p = 0; p < POSITIONS; p++) {
        double inner[MOST], gate[MOST], written[MOST];
        affine(normed[p], d, m, layer->W_in.data, layer->b_in.data, inner);
        if (layer->W_gate.data) {
            affine(normed[p], d, m, layer->W_gate.data, layer->b_gate.data, gate);
        }
        for (int64_t j = 0; j < m; j++) {
            inner[j] = layer->W_gate.data ? activate(r->info->activation, gate[j]) * inner[j]
                                          : activate(r->info->activation, inner[j]);
        }
        affine(inner, m, d, layer->W_out.data, layer->b_out.data, written);
        for (int64_t i = 0; i < d; i++) {
            r->stream[p][i] += written[i];
        }
    }
}

static void embed(run *r)
{
    const int64_t d = r->info->d_model;
    otimes_err err = {0};
    float row[MOST];
    for (int64_t p = 0; p < POSITIONS; p++) {
        const int64_t token = (5 * p * p + 3) % r->info->d_vocab;
        assert_ok(otimes_embed_rows(r->model, token, 1, row, &err), &err);
        for (int64_t i = 0; i < d; i++) {
            r->stream[p][i] = (double)row[i];
        }
        if (r->info->positions == OTIMES_POSITIONS_LEARNED) {
            assert_ok(otimes_position_rows(r->model, p, 1, row, &err), &err);
            for (int64_t i = 0; i < d; i++) {
                r->stream[p][i] += (double)row[i];
            }
        }
    }
}

static void unembed(run *r, double log_probs[POSITIONS][MOST])
{
    const int64_t vocab = r->info->d_vocab_out, d = r->info->d_model;
    otimes_unembed u;
    otimes_err err = {0};
    assert_ok(otimes_unembed_open(r->model, &u, &err), &err);
    const otimes_tensor w = {.data = u.ln_w}, b = {.data = u.ln_b};
    for (int64_t p = 0; p < POSITIONS; p++) {
        double x[MOST], total = 0;
        float row[MOST];
        normalise(r, r->stream[p], &w, &b, x);
        for (int64_t t = 0; t < vocab; t++) {
            assert_ok(otimes_unembed_rows(&u, t, 1, row, &err), &err);
            log_probs[p][t] = u.bias ? (double)u.bias[t] : 0;
            for (int64_t i = 0; i < d; i++) {
                log_probs[p][t] += x[i] * (double)row[i];
            }
            total += exp(log_probs[p][t]);
        }
        for (int64_t t = 0; t < vocab; t++) {
            log_probs[p][t] -= log(total);
        }
    }
    otimes_unembed_free(&u);
}

static void forward(const char *name, int steps, double log_probs[POSITIONS][MOST])
{
    char relative[128];
    otimes_err err = {0};
    otimes_model *model;
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    settings.fold_ln = steps & 1;
    settings.center_writing_weights = steps >> 1 & 1;
    settings.center_unembed = steps >> 2 & 1;
    settings.fold_value_biases = steps >> 3 & 1;
    snprintf(relative, sizeof relative, "tests/golden/%s", name);
    assert_ok(otimes_model_open(&model, source_path(relative), &settings, &err), &err);
    run r = {.model = model, .info = otimes_model_describe(model)};
    assert_true(r.info->d_model <= MOST && r.info->d_mlp <= MOST && r.info->d_vocab <= MOST);
    if (r.info->positions == OTIMES_POSITIONS_ROPE) {
        assert_ok(otimes_rope_frequencies(model, &model->rope, r.frequency, &err), &err);
    }
    embed(&r);
    for (int64_t l = 0; l < r.info->n_layers; l++) {
        otimes_layer layer;
        double normed[POSITIONS][MOST];
        assert_ok(otimes_layer_load(model, l, OTIMES_PART_ALL, &layer, &err), &err);
        for (int64_t p = 0; p < POSITIONS; p++) {
            normalise(&r, r.stream[p], &layer.ln1_w, &layer.ln1_b, normed[p]);
        }
        attend(&r, &layer, normed);
        for (int64_t p = 0; p < POSITIONS; p++) {
            normalise(&r, r.stream[p], &layer.ln2_w, &layer.ln2_b, normed[p]);
        }
        if (r.info->mlp != OTIMES_MLP_NONE) {
            mix(&r, &layer, normed);
        }
        otimes_layer_free(&layer);
    }
    unembed(&r, log_probs);
    otimes_model_close(&model);
}

/* Invariant 6. The bound is float32 rounding of the weights carried through a few layers; a wrong
 * fold is off by tenths. */
static void processing_keeps_the_function(void **state)
{
    (void)state;
    /* Those this file's forward pass can compute. */
    static const char *const names[] = {"gpt2",
                                        "gpt2_old",
                                        "gpt_bigcode",
                                        "llama",
                                        "llama_scaled",
                                        "llama_sharded",
                                        "mistral",
                                        "mingpt",
                                        "nanogpt",
                                        "opt",
                                        "qwen2",
                                        "starcoder2",
                                        "granite",
                                        "gpt_neox_sequential",
                                        "transformer_lens",
                                        "transformer_lens_mlp",
                                        "transformer_lens_none",
                                        NULL};
    static const int steps[] = {15, 1, 2, 4, 8, 15 - 1, 15 - 2, 15 - 4, 15 - 8};
    double largest = 0;
    for (int g = 0; names[g]; g++) {
        double raw[POSITIONS][MOST] = {{0}};
        forward(names[g], 0, raw);
        for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
            double got[POSITIONS][MOST] = {{0}};
            forward(names[g], steps[s], got);
            for (int i = 0; i < POSITIONS * MOST; i++) {
                const double off = fabs((&got[0][0])[i] - (&raw[0][0])[i]);
                largest = fmax(largest, off);
                if (!(off < 1e-5)) {
                    fail_msg("%s, steps %d: log-probability %d is off by %g", names[g], steps[s], i,
                             off);
                }
            }
        }
    }
    print_message("largest difference of a log-probability: %g\n", largest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(processing_keeps_the_function)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
