/* SPDX-License-Identifier: MIT
 *
 * What the test of neurons knows by itself, in double: their vectors, dense heads, the vocabulary.
 */
#ifndef OTIMES_TESTS_NEURON_VECTORS_H
#define OTIMES_TESTS_NEURON_VECTORS_H

#include "support.h"

#include <math.h>
#include <stdlib.h>

#include <otimes/neurons.h>

#include "analysis/neurons_job.h"

/* Vectors of a layer's neurons, [count, d_model] each. */
typedef struct vectors {
    int64_t count, d;
    double *w[SIDES], *b_in, *b_gate;
    int64_t *expert;
} vectors;

static double *numbers(int64_t count)
{
    double *memory = calloc((size_t)count + 1, sizeof *memory);
    assert_non_null(memory);
    return memory;
}

static double dot(const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

static double length_of(const double *a, int64_t count)
{
    return sqrt(dot(a, a, count));
}

static void put_mlp(vectors *v, int64_t base, int64_t expert, const otimes_tensor *in,
                    const otimes_tensor *gate, const otimes_tensor *out, const otimes_tensor *b_in,
                    const otimes_tensor *b_gate, const float *post)
{
    const int64_t width = in->dim[1], d = v->d;
    for (int64_t n = 0; n < width; n++) {
        for (int64_t j = 0; j < d; j++) {
            const int64_t at = (base + n) * d + j;
            v->w[SIDE_IN][at] = (double)in->data[j * width + n];
            v->w[SIDE_GATE][at] = gate->data ? (double)gate->data[j * width + n] : NAN;
            v->w[SIDE_OUT][at] = (double)out->data[n * d + j] * (post ? (double)post[j] : 1);
        }
        v->b_in[base + n] = b_in && b_in->data ? (double)b_in->data[n] : NAN;
        v->b_gate[base + n] = b_gate && b_gate->data ? (double)b_gate->data[n] : NAN;
        v->expert[base + n] = expert;
    }
}

static void read_vectors(const otimes_model *model, int64_t l, vectors *v)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_layer_info kind;
    otimes_layer layer;
    otimes_err err = {0};
    *v = (vectors){.d = info->d_model};
    assert_ok(otimes_neurons_of(model, l, &v->count, &err), &err);
    assert_ok(otimes_layer_describe(model, l, &kind, &err), &err);
    assert_ok(otimes_layer_load(model, l, OTIMES_PART_MLP, &layer, &err), &err);
    for (int side = 0; side < SIDES; side++) {
        v->w[side] = numbers(v->count * v->d);
    }
    v->b_in = numbers(v->count);
    v->b_gate = numbers(v->count);
    v->expert = calloc((size_t)v->count, sizeof *v->expert);
    const float *post = layer.ln2_post_w.data;
    if (!kind.experts) {
        assert_int_equal(v->count, layer.W_in.dim[1]);
        put_mlp(v, 0, -1, &layer.W_in, &layer.W_gate, &layer.W_out, &layer.b_in, &layer.b_gate,
                post);
    }
    for (int64_t x = 0; kind.experts && x < info->n_experts; x++) {
        otimes_expert e;
        assert_ok(otimes_expert_load(model, l, x, &e, &err), &err);
        put_mlp(v, x * info->d_expert, x, &e.W_in, &e.W_gate, &e.W_out, &e.b_in, &e.b_gate, post);
        otimes_expert_free(&e);
    }
    if (kind.experts && layer.shared_W_in.data) {
        put_mlp(v, info->n_experts * info->d_expert, info->n_experts, &layer.shared_W_in,
                &layer.shared_W_gate, &layer.shared_W_out, NULL, NULL, post);
    }
    otimes_layer_free(&layer);
}

static void free_vectors(vectors *v)
{
    for (int side = 0; side < SIDES; side++) {
        free(v->w[side]);
    }
    free(v->b_in);
    free(v->b_gate);
    free(v->expert);
}

/* W_QK and W_OV of every head, dense [layers, heads, d, d]; W_O times the weight of the norm behind. */
typedef struct dense {
    double *QK, *OV;
} dense;

static dense dense_heads(const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, e = info->d_head, group = info->n_heads / info->n_kv_heads;
    const int64_t all = info->n_layers * info->n_heads * d * d;
    dense out = {numbers(all), numbers(all)};
    for (int64_t l = 0; l < info->n_layers; l++) {
        otimes_layer layer;
        otimes_err err = {0};
        assert_ok(otimes_layer_load(model, l, OTIMES_PART_ATTENTION, &layer, &err), &err);
        const float *post = layer.ln1_post_w.data;
        for (int64_t h = 0; h < info->n_heads; h++) {
            const float *Q = layer.W_Q.data + h * d * e, *K = layer.W_K.data + h / group * d * e;
            const float *V = layer.W_V.data + h / group * d * e, *O = layer.W_O.data + h * d * e;
            const int64_t at = (l * info->n_heads + h) * d * d;
            for (int64_t a = 0; a < d * d; a++) {
                for (int64_t j = 0; j < e; j++) {
                    out.QK[at + a] += (double)Q[a / d * e + j] * (double)K[a % d * e + j];
                    out.OV[at + a] += (double)V[a / d * e + j] * (double)O[j * d + a % d] *
                                      (post ? (double)post[a % d] : 1);
                }
            }
        }
        otimes_layer_free(&layer);
    }
    return out;
}

/* |w M| / (|w| |M|), or with M transposed. */
static double score(const double *w, const double *M, int64_t d, bool transposed)
{
    double squares = 0;
    for (int64_t j = 0; j < d; j++) {
        double sum = 0;
        for (int64_t i = 0; i < d; i++) {
            sum += w[i] * M[transposed ? j * d + i : i * d + j];
        }
        squares += sum * sum;
    }
    const double norms = length_of(w, d) * length_of(M, d * d);
    return norms > 0 ? sqrt(squares) / norms : NAN;
}

/* Rows of W_E, or of W_U by output token, in double. */
static double *vocabulary(const otimes_model *model, bool output)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t count = output ? info->d_vocab_out : info->d_vocab;
    float *rows = calloc((size_t)(count * info->d_model), sizeof *rows);
    double *out = numbers(count * info->d_model);
    otimes_err err = {0};
    otimes_unembed unembed = {0};
    if (output) {
        assert_ok(otimes_unembed_open(model, &unembed, &err), &err);
        assert_ok(otimes_unembed_rows(&unembed, 0, count, rows, &err), &err);
    } else {
        assert_ok(otimes_embed_rows(model, 0, count, rows, &err), &err);
    }
    for (int64_t i = 0; i < count * info->d_model; i++) {
        out[i] = (double)rows[i];
    }
    otimes_unembed_free(&unembed);
    free(rows);
    return out;
}

#endif
