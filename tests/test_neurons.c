/* SPDX-License-Identifier: MIT
 *
 * Neurons against plain loops in double: what each reads and writes, moments and extremes over the
 * vocabulary, composition with heads; tiles of any size, threads, requests.
 */
#include "accuracy.h"
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "neuron_vectors.h"

/* ---- a result ---- */

typedef struct result {
    otimes_memory_sink *memory;
    const otimes_model *model;
    const otimes_model_info *info;
    int64_t layers, neurons, top; /* of its axes */
} result;

static result run_tiled(const otimes_model *model, const otimes_neurons_settings *settings,
                        int64_t rows)
{
    otimes_err err = {0};
    result r = {.model = model, .info = otimes_model_describe(model)};
    const void *data;
    assert_ok(otimes_memory_sink_new(&r.memory, &err), &err);
    assert_ok(otimes_neurons_tiled(model, settings, rows, otimes_memory_sink_sink(r.memory), &err),
              &err);
    const otimes_array *norm = otimes_memory_sink_array(r.memory, "out_norm", &data);
    const otimes_array *ids = otimes_memory_sink_array(r.memory, "out_top_id", &data);
    assert_non_null(norm);
    r.layers = norm->axis[0]->length;
    r.neurons = norm->axis[1]->length;
    r.top = ids ? ids->axis[2]->length : 0;
    return r;
}

static const void *array(const result *r, const char *prefix, const char *name)
{
    const void *data = NULL;
    char whole[64];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    if (!otimes_memory_sink_array(r->memory, whole, &data)) {
        fail_msg("%s: %s is not written", r->info->path, whole);
    }
    return data;
}

static bool is_written(const result *r, const char *name)
{
    const void *data;
    return otimes_memory_sink_array(r->memory, name, &data) != NULL;
}

/* An entry of the array `prefix``name`, to `tolerance`, which is a share of `scale`. */
static void near(const char *prefix, const char *name, const char *to, double got, double want,
                 double scale, double tolerance)
{
    char whole[64];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    accuracy(whole, to, got, want, scale, tolerance / scale);
}

static const char *const prefixes[SIDES] = {"out_", "in_", "gate_"};

/* Weights of a norm behind the MLP are multiplied in float32: half an ulp of each entry. */
static double rounding(const result *r)
{
    return r->info->post_norm ? 0x1p-24 : 0;
}

static void check_alone(const result *r, const vectors *v, int64_t l, int64_t n)
{
    static const struct {
        const char *name;
        neurons_side a, b;
    } cosines[] = {{"cos_in_out", SIDE_IN, SIDE_OUT},
                   {"cos_gate_out", SIDE_GATE, SIDE_OUT},
                   {"cos_in_gate", SIDE_IN, SIDE_GATE}};
    const int64_t d = v->d, at = l * r->neurons + n;
    const bool gated = r->info->mlp == OTIMES_MLP_GATED;
    /* sums of d terms in double, and the rounding of the vector's entries */
    const double eps = (double)d * DBL_EPSILON + 2 * rounding(r);
    for (int side = 0; side < (gated ? SIDES : SIDE_GATE); side++) {
        const double want = length_of(v->w[side] + n * d, d);
        near(prefixes[side], "norm", "its value",
             ((const double *)array(r, prefixes[side], "norm"))[at], want, want, eps * want);
    }
    for (int i = 0; i < (gated ? 3 : 1); i++) {
        const double *a = v->w[cosines[i].a] + n * d, *b = v->w[cosines[i].b] + n * d;
        const double norms = length_of(a, d) * length_of(b, d);
        near(cosines[i].name, "", "1", ((const double *)array(r, cosines[i].name, ""))[at],
             norms > 0 ? dot(a, b, d) / norms : NAN, 1, 4 * eps);
    }
    assert_int_equal(is_written(r, "cos_gate_out"), gated);
    accuracy_exact("b_in", ((const double *)array(r, "b_in", ""))[at], v->b_in[n]);
    if (gated) {
        accuracy_exact("b_gate", ((const double *)array(r, "b_gate", ""))[at], v->b_gate[n]);
    }
    if (r->info->n_experts > 0) {
        accuracy_exact("expert", (double)((const int64_t *)array(r, "expert", ""))[at],
                       (double)v->expert[n]);
    }
}

/* A product of d float32 terms, each sum of which rounds by half an ulp, and its operands: a share of the
 * lengths of both. */
#define PRODUCT "lengths of both vectors"
static double product_share(const result *r)
{
    return ((double)r->info->d_model + 2) * 0x1p-24;
}

/* The `top` kept entries of x at one end: the right values in the right order, and none left out that
 * is better by more than rounding. */
static void check_extremes(const result *r, const char *prefix, const double *x, int64_t count,
                           double unit, const float *value, const int32_t *id, double sign)
{
    static const char *const names[2][2] = {{"bottom_value", "bottom_id"}, {"top_value", "top_id"}};
    const double close = product_share(r) * unit;
    char *taken = calloc((size_t)count, 1);
    double left = -INFINITY;
    const int64_t kept = r->top < count ? r->top : count;
    for (int64_t k = 0; k < kept; k++) {
        assert_true(id[k] >= 0 && id[k] < count && !taken[id[k]]);
        taken[id[k]] = 1;
        for (int i = 0; i < 2; i++) {
            near(prefix, names[sign > 0][i], PRODUCT, (double)value[k], x[id[k]], unit, close);
        }
        assert_true(k == 0 || sign * (double)value[k] < sign * (double)value[k - 1] ||
                    (value[k] == value[k - 1] && id[k] > id[k - 1]));
    }
    for (int64_t t = 0; t < count; t++) {
        left = !taken[t] && sign * x[t] > left ? sign * x[t] : left;
    }
    assert_true(kept == 0 || left <= sign * (double)value[kept - 1] + close);
    for (int64_t k = kept; k < r->top; k++) {
        assert_true(isnan(value[k]) && id[k] == -1);
    }
    free(taken);
}

#define MOMENT PRODUCT " over the deviation, times the fourth moment"

/* One side of a neuron over `count` tokens. Returns 1 where its moments could be compared. */
static int check_vocabulary(const result *r, neurons_side side, const double *w, const double *rows,
                            int64_t count, int64_t at)
{
    const int64_t d = r->info->d_model;
    const char *prefix = prefixes[side];
    double *x = numbers(count), longest = 0, mean = 0, m2 = 0, m3 = 0, m4 = 0, max = -INFINITY,
           min = INFINITY;
    for (int64_t t = 0; t < count; t++) {
        x[t] = dot(w, rows + t * d, d);
        const double size = length_of(rows + t * d, d);
        longest = size > longest ? size : longest;
        mean += x[t] / (double)count;
        max = x[t] > max ? x[t] : max;
        min = x[t] < min ? x[t] : min;
    }
    for (int64_t t = 0; t < count; t++) {
        const double y = x[t] - mean;
        m2 += y * y / (double)count;
        m3 += y * y * y / (double)count;
        m4 += y * y * y * y / (double)count;
    }
    const double unit = length_of(w, d) * longest + 1e-290, close = product_share(r) * unit;
    const double spread = sqrt(m2), z = close / spread;
    near(prefix, "mean", PRODUCT, ((const double *)array(r, prefix, "mean"))[at], mean, unit,
         close);
    near(prefix, "max", PRODUCT, ((const double *)array(r, prefix, "max"))[at], max, unit, close);
    near(prefix, "min", PRODUCT, ((const double *)array(r, prefix, "min"))[at], min, unit, close);
    near(prefix, "variance", PRODUCT " times the deviation",
         ((const double *)array(r, prefix, "variance"))[at], m2, unit * (spread + close),
         4 * close * (spread + close));
    const bool compared = z < 0.01;
    if (compared) { /* entries that err by z standard deviations move the sum of p-th powers by p z
                       times that of p - 1-st, and the standard deviation by z */
        const double tail = m4 / (m2 * m2);
        near(prefix, "skew", MOMENT, ((const double *)array(r, prefix, "skew"))[at],
             m3 / (m2 * spread), unit / spread * tail, 8 * z * tail);
        near(prefix, "kurtosis", MOMENT, ((const double *)array(r, prefix, "kurtosis"))[at],
             tail - 3, unit / spread * tail, 10 * z * tail);
    }
    if (r->top > 0) {
        const float *top = array(r, prefix, "top_value"),
                    *bottom = array(r, prefix, "bottom_value");
        const int32_t *top_id = array(r, prefix, "top_id");
        const int32_t *bottom_id = array(r, prefix, "bottom_id");
        check_extremes(r, prefix, x, count, unit, top + at * r->top, top_id + at * r->top, 1);
        check_extremes(r, prefix, x, count, unit, bottom + at * r->top, bottom_id + at * r->top,
                       -1);
    }
    free(x);
    return compared;
}

/* Heads of one way: all scores, and the strongest among them. */
static void check_way(const result *r, const char *way, const double *w, const dense *heads,
                      neurons_way which, int64_t layer, int64_t at)
{
    const int64_t H = r->info->n_heads, L = r->info->n_layers, d = r->info->d_model;
    const bool later = which <= WAY_V;
    const float *table = array(r, way, "_table"), *strongest = array(r, way, "_score");
    const int32_t *id = array(r, way, "_head");
    double *want = numbers(L * H);
    int64_t there = 0;
    /* products of d float32 terms with rows whose squares sum to 1, themselves products of d_head */
    const double close = ((double)(d + r->info->d_head) + 6) * 0x1p-24 + rounding(r);
    for (int64_t h = 0; h < L * H; h++) {
        const int64_t m = h / H;
        const bool linked = later ? m > layer : m < layer || (m == layer && !r->info->parallel);
        const double *M = (which == WAY_Q || which == WAY_K ? heads->QK : heads->OV) + h * d * d;
        want[h] = linked ? score(w, M, d, which != WAY_Q && which != WAY_V) : NAN;
        near(way, "_table", "1", (double)table[at * L * H + h], want[h], 1, close);
        there += !isnan(want[h]);
    }
    for (int64_t k = 0; k < r->top; k++) {
        const float value = strongest[at * r->top + k];
        const int32_t head = id[at * r->top + k];
        if (k >= there) {
            assert_true(isnan(value) && head == -1);
            continue;
        }
        assert_true(head >= 0);
        near(way, "_score", "1", (double)value, want[head], 1, close);
        near(way, "_head", "1", (double)value, want[head], 1, close);
        assert_true(value == table[at * L * H + head]);
        assert_true(k == 0 || value <= strongest[at * r->top + k - 1]);
        want[head] = NAN; /* taken */
        for (int64_t h = 0; h < L * H; h++) {
            assert_true(isnan(want[h]) || table[at * L * H + h] <= value);
        }
    }
    free(want);
}

/* Every `step`-th neuron of every layer. */
static int check_result(const result *r, int64_t step)
{
    static const char *const ways[WAYS] = {"q", "k", "v", "in", "gate"};
    const bool gated = r->info->mlp == OTIMES_MLP_GATED;
    const int64_t d = r->info->d_model;
    double *E = vocabulary(r->model, false), *U = vocabulary(r->model, true);
    dense heads = dense_heads(r->model);
    int compared = 0;
    for (int64_t l = 0; l < r->layers; l++) {
        vectors v;
        read_vectors(r->model, l, &v);
        for (int64_t n = 0; n < v.count; n += step) {
            const int64_t at = l * r->neurons + n;
            check_alone(r, &v, l, n);
            compared +=
                check_vocabulary(r, SIDE_OUT, v.w[SIDE_OUT] + n * d, U, r->info->d_vocab_out, at);
            for (int side = SIDE_IN; side < (gated ? SIDES : SIDE_GATE); side++) {
                compared += check_vocabulary(r, (neurons_side)side, v.w[side] + n * d, E,
                                             r->info->d_vocab, at);
            }
            for (int way = 0; way < (gated ? WAYS : WAY_GATE); way++) {
                const neurons_side side = way == WAY_IN     ? SIDE_IN
                                          : way == WAY_GATE ? SIDE_GATE
                                                            : SIDE_OUT;
                check_way(r, ways[way], v.w[side] + n * d, &heads, (neurons_way)way, l, at);
            }
        }
        for (int64_t n = v.count; n < r->neurons; n++) { /* a layer of fewer neurons */
            assert_true(isnan(((const double *)array(r, "out_norm", ""))[l * r->neurons + n]));
            assert_true(isnan(((const double *)array(r, "cos_in_out", ""))[l * r->neurons + n]));
        }
        free_vectors(&v);
    }
    free(E);
    free(U);
    free(heads.QK);
    free(heads.OV);
    return compared;
}

static otimes_neurons_settings everything(int64_t top)
{
    otimes_neurons_settings s;
    otimes_neurons_settings_default(&s);
    s.top = top;
    s.heads = OTIMES_NEURONS_HEADS_FULL;
    return s;
}

/* ---- goldens and checkpoints ---- */

static void goldens_against_loops(void **state)
{
    static const int64_t tiles[] = {MOST_TILE_ROWS, 7, 3};
    int checked = 0, without = 0, compared = 0, experts = 0, parallel = 0, behind = 0;
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        golden_open_on(1, &g, golden_names[i], i % 3 != 2);
        const otimes_model_info *info = otimes_model_describe(g.model);
        const otimes_neurons_settings settings = everything(i % 5 == 4 ? 100 : 1 + i % 5);
        if (info->mlp == OTIMES_MLP_NONE) {
            otimes_err err = {0};
            otimes_memory_sink *memory;
            assert_int_equal(otimes_neurons_most(g.model), 0);
            assert_ok(otimes_memory_sink_new(&memory, &err), &err);
            assert_int_equal(
                otimes_neurons(g.model, &settings, otimes_memory_sink_sink(memory), &err),
                OTIMES_ERR_UNSUPPORTED);
            assert_non_null(strstr(err.msg, "expected a model with MLPs, got attention alone"));
            otimes_memory_sink_free(&memory);
            without++;
        } else {
            result r = run_tiled(g.model, &settings, tiles[i % 3]);
            compared += check_result(&r, 1);
            otimes_memory_sink_free(&r.memory);
            checked++;
            experts += info->n_experts > 0;
            parallel += info->parallel;
            behind += info->post_norm;
        }
        golden_close(&g);
    }
    assert_true(checked > 40 && without > 3 && compared > 3000);
    assert_true(experts > 3 && parallel > 3 && behind > 2);
}

/* Trained weights, of several blocks of the vocabulary and strips of neurons. */
static void checkpoints_against_loops(void **state)
{
    static const char *const names[] = {"gpt_nano_sort", "tinystories656k"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        const char *path = shared_path(names[i]);
        otimes_model *model;
        otimes_err err = {0};
        const otimes_neurons_settings settings = everything(6);
        if (!path) {
            print_message("%s is not there\n", names[i]);
            continue;
        }
        otimes_model_settings one;
        otimes_model_settings_default(&one);
        one.threads = 1; /* small loops on many would wait for one another */
        assert_ok(otimes_model_open(&model, path, &one, &err), &err);
        result r = run_tiled(model, &settings, i ? 300 : MOST_TILE_ROWS);
        assert_true(check_result(&r, i ? 7 : 1) > 200);
        otimes_memory_sink_free(&r.memory);
        otimes_model_close(&model);
    }
}

static void same_on_any_threads(void **state)
{
    static const char *const names[] = {"gpt2", "qwen2_moe"};
    static const char *const arrays[] = {"out_kurtosis", "in_skew", "q_table", "in_score"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        golden one, four;
        golden_open_on(1, &one, names[i], true);
        golden_open_on(4, &four, names[i], true);
        const otimes_neurons_settings settings = everything(3);
        result a = run_tiled(one.model, &settings, 4), b = run_tiled(four.model, &settings, 4);
        for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++) {
            int64_t count, other;
            double *x = sink_values(a.memory, arrays[k], &count);
            double *y = sink_values(b.memory, arrays[k], &other);
            assert_int_equal(count, other);
            assert_memory_equal(x, y, (size_t)count * sizeof *x);
            free(x);
            free(y);
        }
        otimes_memory_sink_free(&a.memory);
        otimes_memory_sink_free(&b.memory);
        golden_close(&one);
        golden_close(&four);
    }
}

/* ---- small singular directions ---- */

/* Eigenvalues on the diagonal of A [d, d] and eigenvectors as columns of V, by Jacobi's rotations. */
static void jacobi(int64_t d, double *A, double *V)
{
    for (int64_t i = 0; i < d; i++) {
        V[i * d + i] = 1;
    }
    for (int sweep = 0; sweep < 60; sweep++) {
        for (int64_t p = 0; p < d; p++) {
            for (int64_t q = p + 1; q < d; q++) {
                if (A[p * d + q] == 0) {
                    continue;
                }
                const double angle = 0.5 * atan2(2 * A[p * d + q], A[q * d + q] - A[p * d + p]);
                const double c = cos(angle), s = sin(angle);
                for (int64_t k = 0; k < d; k++) {
                    const double x = A[k * d + p], y = A[k * d + q];
                    A[k * d + p] = c * x - s * y;
                    A[k * d + q] = s * x + c * y;
                }
                for (int64_t k = 0; k < d; k++) {
                    const double x = A[p * d + k], y = A[q * d + k];
                    A[p * d + k] = c * x - s * y;
                    A[q * d + k] = s * x + c * y;
                    const double v = V[k * d + p], w = V[k * d + q];
                    V[k * d + p] = c * v - s * w;
                    V[k * d + q] = s * v + c * w;
                }
            }
        }
    }
}

/* Whether the smallest directions are told from the others, which is when their span is known. */
static bool shares_of_golden(const golden *g, int64_t null)
{
    otimes_neurons_settings settings;
    otimes_neurons_settings_default(&settings);
    settings.heads = OTIMES_NEURONS_HEADS_NONE;
    settings.reads = settings.vocab = 0;
    settings.null_directions = null;
    result r = run_tiled(g->model, &settings, MOST_TILE_ROWS);
    const int64_t d = r.info->d_model, out = r.info->d_vocab_out;
    double *U = vocabulary(g->model, true), *G = numbers(d * d), *V = numbers(d * d);
    for (int64_t a = 0; a < d * d; a++) {
        for (int64_t t = 0; t < out; t++) {
            G[a] += U[t * d + a / d] * U[t * d + a % d];
        }
    }
    jacobi(d, G, V);
    const double *sigma = array(&r, "unembed_singular_values", "");
    const double *share = array(&r, "null_share", "");
    bool *small = calloc((size_t)d, sizeof *small);
    for (int64_t k = d - 1; k >= 0; k--) { /* the smallest left, `null` times */
        int64_t least = -1;
        for (int64_t i = 0; i < d; i++) {
            if (!small[i] && (least < 0 || G[i * d + i] < G[least * d + least])) {
                least = i;
            }
        }
        /* a Gram knows singular values to the root of eps times the largest */
        const double want = sqrt(fmax(G[least * d + least], 0));
        near("unembed_singular_values", "", "largest singular value", sigma[k], want, sigma[0],
             1e-7 * sigma[0]);
        if (k < d - null) {
            break;
        }
        small[least] = true;
    }
    const bool apart = null == d || sigma[d - null - 1] - sigma[d - null] > 1e-3 * sigma[0];
    for (int64_t l = 0; apart && l < r.layers; l++) {
        vectors v;
        read_vectors(g->model, l, &v);
        for (int64_t n = 0; n < v.count; n++) {
            const double *w = v.w[SIDE_OUT] + n * d;
            double want = 0;
            for (int64_t k = 0; k < d; k++) {
                double part = 0;
                for (int64_t j = 0; j < d; j++) {
                    part += w[j] * V[j * d + k];
                }
                want += small[k] ? part * part / dot(w, w, d) : 0;
            }
            /* directions are float32, and known to 1e-16 / 1e-3^2 by the gap */
            near("null_share", "", "1", share[l * r.neurons + n], want, 1,
                 (double)d * 0x1p-22 + 1e-9);
        }
        free_vectors(&v);
    }
    free(small);
    free(U);
    free(G);
    free(V);
    otimes_memory_sink_free(&r.memory);
    return apart;
}

static void small_directions(void **state)
{
    int told = 0;
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        golden_open_on(1, &g, golden_names[i], true);
        const otimes_model_info *info = otimes_model_describe(g.model);
        const int64_t counts[] = {2, 3, info->d_model};
        for (int k = 0; k < 3 && info->mlp != OTIMES_MLP_NONE; k++) {
            told += shares_of_golden(&g, counts[k]);
        }
        golden_close(&g);
    }
    assert_true(told > 120);
}

/* ---- requests ---- */

/* Chosen neurons of chosen layers are those of the whole. */
static void chosen(void **state)
{
    static const int64_t layers[] = {1, 2}, neurons[] = {0, 4, 5, 11, 14, 15, 18, 20};
    golden g;
    (void)state;
    golden_open_on(1, &g, "qwen2_moe_dense", true);
    otimes_neurons_settings settings = everything(2);
    result all = run_tiled(g.model, &settings, MOST_TILE_ROWS);
    settings.layers = layers;
    settings.layer_count = 2;
    settings.neurons = neurons;
    settings.neuron_count = sizeof neurons / sizeof *neurons;
    result some = run_tiled(g.model, &settings, MOST_TILE_ROWS);
    assert_int_equal(some.layers, 2);
    assert_int_equal(some.neurons, settings.neuron_count);
    static const char *const names[] = {"out_kurtosis", "gate_norm", "in_score",
                                        "expert",       "b_in",      "out_top_id"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t count, whole;
        double *part = sink_values(some.memory, names[i], &count);
        double *of = sink_values(all.memory, names[i], &whole);
        const int64_t each = count / (some.layers * some.neurons);
        for (int64_t at = 0; at < count; at++) {
            const int64_t l = at / each / some.neurons, n = at / each % some.neurons;
            const double want = of[(layers[l] * all.neurons + neurons[n]) * each + at % each];
            assert_true(isnan(want) ? isnan(part[at])
                                    : fabs(part[at] - want) <= 1e-5 * (1 + fabs(want)));
        }
        free(part);
        free(of);
    }
    otimes_memory_sink_free(&all.memory);
    otimes_memory_sink_free(&some.memory);
    golden_close(&g);
}

static void left_out(void **state)
{
    golden g;
    (void)state;
    golden_open_on(1, &g, "llama", true);
    otimes_neurons_settings settings;
    otimes_neurons_settings_default(&settings);
    settings.top = 0;
    result r = run_tiled(g.model, &settings, MOST_TILE_ROWS);
    assert_true(is_written(&r, "out_kurtosis") && is_written(&r, "gate_max"));
    assert_false(is_written(&r, "out_top_id") || is_written(&r, "q_score"));
    assert_false(is_written(&r, "q_table") || is_written(&r, "null_share"));
    otimes_memory_sink_free(&r.memory);
    settings.top = 2;
    settings.vocab = 0;
    settings.heads = OTIMES_NEURONS_HEADS_NONE;
    r = run_tiled(g.model, &settings, MOST_TILE_ROWS);
    assert_false(is_written(&r, "out_kurtosis") || is_written(&r, "q_score"));
    assert_true(is_written(&r, "in_top_id") && is_written(&r, "out_norm"));
    otimes_memory_sink_free(&r.memory);
    golden_close(&g);
}

static void space_of_vectors(void **state)
{
    static const struct {
        const char *name;
        bool processed;
        int less;
    } cases[] = {{"gpt2", true, 1}, {"gpt2", false, 0}, {"llama", true, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        golden g;
        golden_open_on(1, &g, cases[i].name, cases[i].processed);
        result r = run_tiled(g.model, NULL, MOST_TILE_ROWS);
        assert_int_equal(otimes_memory_sink_attr(r.memory, "baseline_dimension")->i64,
                         r.info->d_model - cases[i].less);
        otimes_memory_sink_free(&r.memory);
        golden_close(&g);
    }
}

static void refused(void **state)
{
    static const int64_t far[] = {99}, twice[] = {1, 1};
    otimes_neurons_settings s[6];
    otimes_err err = {0};
    int64_t count;
    golden g;
    (void)state;
    golden_open_on(1, &g, "gpt2", true);
    for (int i = 0; i < 6; i++) {
        otimes_neurons_settings_default(&s[i]);
    }
    s[0].layers = far;
    s[0].layer_count = 1;
    s[1].neurons = far;
    s[1].neuron_count = 1;
    s[2].neurons = twice;
    s[2].neuron_count = 2;
    s[3].top = -1;
    s[4].null_directions = 13;
    s[5].null_directions = -1;
    for (int i = 0; i < 6; i++) {
        otimes_memory_sink *memory;
        assert_ok(otimes_memory_sink_new(&memory, &err), &err);
        assert_int_equal(otimes_neurons(g.model, &s[i], otimes_memory_sink_sink(memory), &err),
                         OTIMES_ERR_ARGUMENT);
        assert_non_null(strstr(err.msg, "expected "));
        otimes_memory_sink_free(&memory);
    }
    assert_int_equal(otimes_neurons_of(g.model, 2, &count, &err), OTIMES_ERR_ARGUMENT);
    assert_ok(otimes_neurons_of(g.model, 1, &count, &err), &err);
    assert_int_equal(count, 20);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_against_loops),
        cmocka_unit_test(checkpoints_against_loops),
        cmocka_unit_test(same_on_any_threads),

        cmocka_unit_test(small_directions),
        cmocka_unit_test(chosen),
        cmocka_unit_test(left_out),
        cmocka_unit_test(space_of_vectors),
        cmocka_unit_test(refused),
    };
    accuracy_of("neurons");
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
