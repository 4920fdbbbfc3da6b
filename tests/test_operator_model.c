/* SPDX-License-Identifier: MIT
 *
 * Operators of models: every head of every golden, and all of a trained two-layer transformer as one
 * sum of A ⊗ B, whose value is what the forward pass gives.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/forward.h>
#include <otimes/operator.h>

#include "run/frozen.h"

static float *filled(int64_t count)
{
    float *x = malloc((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++) {
        x[i] = (float)sin(1.7 * (double)i + 0.2);
    }
    return x;
}

/* ---- heads of goldens ---- */

static double weight(const otimes_tensor *W, int64_t head, int64_t i, int64_t j)
{
    return (double)W->data[head * W->stride[0] + i * W->stride[1] + j * W->stride[2]];
}

/* y = x W [rows, columns] for x [rows]; or with `transpose` x W^T. size: the same of |.|. */
static void through(const otimes_tensor *W, int64_t head, bool transpose, const double *x,
                    const double *size, double *y, double *y_size)
{
    const int64_t in = W->dim[transpose ? 2 : 1], out = W->dim[transpose ? 1 : 2];
    for (int64_t j = 0; j < out; j++) {
        y[j] = y_size[j] = 0;
        for (int64_t i = 0; i < in; i++) {
            const double w = transpose ? weight(W, head, j, i) : weight(W, head, i, j);
            y[j] += x[i] * w;
            y_size[j] += size[i] * fabs(w);
        }
    }
}

static void assert_maps(const char *name, otimes_factor f, const double *x, const double *expected,
                        const double *size)
{
    otimes_err err = {0};
    otimes_operator *op;
    float *in = malloc((size_t)f.columns * sizeof *in), *out = malloc((size_t)f.rows * sizeof *out);
    for (int64_t i = 0; i < f.columns; i++) {
        in[i] = (float)x[i];
    }
    assert_ok(otimes_operator_new(&op, 1, 1, f.rows, f.columns, &err), &err);
    assert_ok(otimes_operator_add_term(op, 1, NULL, 0, &f, 1, &err), &err);
    assert_ok(otimes_operator_apply(op, 1, in, out, &err), &err);
    for (int64_t i = 0; i < f.rows; i++) {
        if (!(fabs((double)out[i] - expected[i]) <= 64 * 1.2e-7 * size[i])) {
            fail_msg("%s: %s: entry %lld is %g, expected %g", name, f.name, (long long)i,
                     (double)out[i], expected[i]);
        }
    }
    otimes_operator_free(&op);
    free(in);
    free(out);
}

typedef struct vectors {
    double *x, *size, *mid, *mid_size, *y, *y_size;
} vectors;

static void check_heads(const char *name, const otimes_model *model, const otimes_layer *layer,
                        const vectors *v)
{
    const otimes_model_info *info = otimes_model_describe(model);
    for (int64_t h = 0; h < info->n_heads; h++) {
        const int64_t kv = h / (info->n_heads / info->n_kv_heads);
        through(&layer->W_V, kv, false, v->x, v->size, v->mid, v->mid_size);
        assert_maps(name, otimes_factor_side(layer, OTIMES_PART_V, kv), v->x, v->mid, v->mid_size);
        through(&layer->W_O, h, false, v->mid, v->mid_size, v->y, v->y_size);
        assert_maps(name, otimes_factor_ov(layer, h), v->x, v->y, v->y_size);
        through(&layer->W_O, h, false, v->x, v->size, v->y, v->y_size);
        assert_maps(name, otimes_factor_side(layer, OTIMES_PART_O, h), v->x, v->y, v->y_size);
        /* W_QK on the right of a row, W_QK^T on the left of a column: W_K W_Q^T x. */
        through(&layer->W_Q, h, false, v->x, v->size, v->mid, v->mid_size);
        assert_maps(name, otimes_factor_side(layer, OTIMES_PART_Q, h), v->x, v->mid, v->mid_size);
        through(&layer->W_K, kv, true, v->mid, v->mid_size, v->y, v->y_size);
        assert_maps(name, otimes_factor_transpose(otimes_factor_qk(layer, h)), v->x, v->y,
                    v->y_size);
        through(&layer->W_K, kv, false, v->x, v->size, v->mid, v->mid_size);
        assert_maps(name, otimes_factor_side(layer, OTIMES_PART_K, kv), v->x, v->mid, v->mid_size);
        through(&layer->W_Q, h, true, v->mid, v->mid_size, v->y, v->y_size);
        assert_maps(name, otimes_factor_qk(layer, h), v->x, v->y, v->y_size);
    }
}

static void heads_of_goldens(void **state)
{
    (void)state;
    int grouped = 0, layers = 0;
    for (int g_index = 0; golden_names[g_index]; g_index++) {
        golden g;
        otimes_err err = {0};
        golden_open(&g, golden_names[g_index], true);
        const otimes_model_info *info = otimes_model_describe(g.model);
        const int64_t most = info->d_model > info->d_head ? info->d_model : info->d_head;
        vectors v = {0};
        double **room[] = {&v.x, &v.size, &v.mid, &v.mid_size, &v.y, &v.y_size};
        for (int i = 0; i < 6; i++) {
            *room[i] = calloc((size_t)most, sizeof(double));
        }
        for (int64_t i = 0; i < most; i++) {
            v.x[i] = (double)(float)cos(0.7 * (double)i + 1);
            v.size[i] = fabs(v.x[i]);
        }
        for (int64_t l = 0; l < info->n_layers; l++) {
            otimes_layer layer;
            assert_ok(otimes_layer_load(g.model, l, OTIMES_PART_ATTENTION, &layer, &err), &err);
            check_heads(g.name, g.model, &layer, &v);
            layers++;
            grouped += info->n_kv_heads != info->n_heads;
            otimes_layer_free(&layer);
        }
        for (int i = 0; i < 6; i++) {
            free(*room[i]);
        }
        golden_close(&g);
    }
    assert_true(layers > 60 && grouped > 10);
}

/* Heads that are not there, weights that were not loaded. */
static void absent(void **state)
{
    (void)state;
    golden g;
    otimes_err err = {0};
    otimes_layer layer;
    golden_open(&g, "llama", true);
    const int64_t n_heads = otimes_model_describe(g.model)->n_heads;
    assert_ok(otimes_layer_load(g.model, 1, OTIMES_PART_ATTENTION, &layer, &err), &err);
    assert_int_equal(otimes_factor_ov(&layer, n_heads - 1).kind, OTIMES_FACTOR_PAIR);
    assert_int_equal(otimes_factor_ov(&layer, n_heads).kind, OTIMES_FACTOR_NONE);
    assert_int_equal(otimes_factor_ov(&layer, -1).kind, OTIMES_FACTOR_NONE);
    assert_int_equal(otimes_factor_qk(&layer, n_heads).kind, OTIMES_FACTOR_NONE);
    assert_int_equal(otimes_factor_qk(&layer, -1).kind, OTIMES_FACTOR_NONE);
    assert_int_equal(otimes_factor_side(&layer, OTIMES_PART_Q, n_heads).kind, OTIMES_FACTOR_NONE);
    assert_int_equal(otimes_factor_side(&layer, OTIMES_PART_MLP, 0).kind, OTIMES_FACTOR_NONE);
    assert_string_equal(otimes_factor_ov(&layer, 77).name, "OV[1.77]");
    assert_string_equal(otimes_factor_side(&layer, OTIMES_PART_K, 1).name, "W_K[1.1]");
    layer.W_V.dim[0] = 3 * n_heads; /* of no model */
    assert_int_equal(otimes_factor_ov(&layer, 0).kind, OTIMES_FACTOR_NONE);
    otimes_layer_free(&layer);
    assert_ok(otimes_layer_load(g.model, 1, OTIMES_PART_K | OTIMES_PART_V, &layer, &err), &err);
    assert_int_equal(otimes_factor_ov(&layer, 0).kind, OTIMES_FACTOR_NONE);
    assert_int_equal(otimes_factor_qk(&layer, 0).kind, OTIMES_FACTOR_NONE);
    otimes_layer_free(&layer);
    golden_close(&g);
}

/* ---- a transformer as one operator ---- */

typedef struct transformer {
    otimes_model *model;
    const otimes_model_info *info;
    otimes_forward *forward;
    otimes_frozen frozen;
    otimes_layer layer[2];
    otimes_unembed unembed;
    float *W_U; /* [d_vocab, d_model] */
    int64_t n, id[40];
    float *x;                     /* [n, d_model] embedding and positions */
    float *logits;                /* [n, d_vocab] of the forward pass */
    otimes_operator *block[2];    /* Id ⊗ Id + heads */
    otimes_operator *end;         /* diag(1/s_f) ⊗ W_U C */
    otimes_operator *upper, *all; /* end block[1], end block[1] block[0] */
} transformer;

/* Id ⊗ Id + sum_h A^h diag(1/s) ⊗ OV^h C. */
static void make_block(transformer *t, int l)
{
    otimes_err err = {0};
    const int64_t n = t->n, d = t->info->d_model;
    const float *pattern = otimes_frozen_at(&t->frozen, OTIMES_HOOK_PATTERN, l);
    const float *scale = otimes_frozen_at(&t->frozen, OTIMES_HOOK_LN1_SCALE, l);
    assert_ok(otimes_operator_new(&t->block[l], n, n, d, d, &err), &err);
    assert_ok(otimes_operator_add_term(t->block[l], 1, NULL, 0, NULL, 0, &err), &err);
    for (int64_t h = 0; h < t->info->n_heads; h++) {
        const otimes_factor over[] = {
            otimes_factor_pattern(l, h, pattern + h * n * n, n),
            otimes_factor_inverse_diagonal(l ? "diag(1/s[1])" : "diag(1/s[0])", scale, n)};
        const otimes_factor path[] = {otimes_factor_ov(&t->layer[l], h),
                                      otimes_factor_centring("C", d)};
        assert_ok(otimes_operator_add_term(t->block[l], 1, over, 2, path, 2, &err), &err);
    }
}

static void run_once(transformer *t)
{
    otimes_err err = {0};
    const int64_t d = t->info->d_model, V = t->info->d_vocab_out;
    const int64_t *const ids = t->id;
    const otimes_sequences text = {1, &t->n, &ids};
    assert_ok(otimes_frozen_init(&t->frozen, t->model, &text, OTIMES_FREEZE_ALL, &err), &err);
    const otimes_hooks hooks = otimes_frozen_hooks(&t->frozen);
    assert_ok(otimes_forward_open(&t->forward, t->model, NULL, &err), &err);
    assert_ok(otimes_forward_run(t->forward, &text, &hooks, &err), &err);
    t->logits = malloc((size_t)(t->n * V) * sizeof *t->logits);
    assert_ok(otimes_forward_logits(t->forward, 0, t->n, t->logits, &err), &err);
    t->x = malloc((size_t)(t->n * d) * sizeof *t->x);
    for (int64_t i = 0; i < t->n; i++) {
        float position[512];
        assert_ok(otimes_embed_rows(t->model, t->id[i], 1, t->x + i * d, &err), &err);
        assert_ok(otimes_position_rows(t->model, i, 1, position, &err), &err);
        for (int64_t j = 0; j < d; j++) {
            t->x[i * d + j] += position[j];
        }
    }
}

static void begin(transformer *t)
{
    otimes_err err = {0};
    memset(t, 0, sizeof *t);
    assert_ok(otimes_model_open(&t->model, source_path("notebooks-data/induction-2l"), NULL, &err),
              &err);
    t->info = otimes_model_describe(t->model);
    assert_int_equal(t->info->n_layers, 2);
    t->n = 40;
    for (int64_t i = 0; i < t->n; i++) {
        t->id[i] = (i % 17 * 61 + 13) % t->info->d_vocab; /* with repeats */
    }
    run_once(t);
    const int64_t d = t->info->d_model, V = t->info->d_vocab_out;
    for (int l = 0; l < 2; l++) {
        assert_ok(otimes_layer_load(t->model, l, OTIMES_PART_ATTENTION, &t->layer[l], &err), &err);
        make_block(t, l);
    }
    t->W_U = malloc((size_t)(V * d) * sizeof *t->W_U);
    assert_ok(otimes_unembed_open(t->model, &t->unembed, &err), &err);
    assert_ok(otimes_unembed_rows(&t->unembed, 0, V, t->W_U, &err), &err);
    const float *scale = otimes_frozen_at(&t->frozen, OTIMES_HOOK_LN_FINAL_SCALE, -1);
    const otimes_factor over = otimes_factor_inverse_diagonal("diag(1/s[f])", scale, t->n);
    const otimes_factor out[] = {otimes_factor_dense("W_U", t->W_U, V, d, d, 1),
                                 otimes_factor_centring("C", d)};
    assert_ok(otimes_operator_new(&t->end, t->n, t->n, V, d, &err), &err);
    assert_ok(otimes_operator_add_term(t->end, 1, &over, 1, out, 2, &err), &err);
    assert_ok(otimes_operator_compose(&t->upper, t->end, t->block[1], &err), &err);
    assert_ok(otimes_operator_compose(&t->all, t->upper, t->block[0], &err), &err);
}

static void end(transformer *t)
{
    otimes_operator_free(&t->block[0]);
    otimes_operator_free(&t->block[1]);
    otimes_operator_free(&t->end);
    otimes_operator_free(&t->upper);
    otimes_operator_free(&t->all);
    otimes_layer_free(&t->layer[0]);
    otimes_layer_free(&t->layer[1]);
    otimes_unembed_free(&t->unembed);
    otimes_frozen_free(&t->frozen);
    otimes_forward_close(&t->forward);
    otimes_model_close(&t->model);
    free(t->W_U);
    free(t->x);
    free(t->logits);
}

/* sum += op x. */
static void accumulate(const otimes_operator *op, const float *x, int64_t count, float *sum)
{
    otimes_err err = {0};
    float *y = malloc((size_t)count * sizeof *y);
    assert_ok(otimes_operator_apply(op, 0, x, y, &err), &err);
    for (int64_t i = 0; i < count; i++) {
        sum[i] += y[i];
    }
    free(y);
}

static void assert_same(const char *what, const float *got, const float *expected, int64_t count)
{
    double most = 0, off = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)expected[i]));
        off = fmax(off, fabs((double)got[i] - (double)expected[i]));
    }
    if (!(off <= 1e-5 * most)) {
        fail_msg("%s: off by %g where the largest is %g", what, off, most);
    }
}

/* Rows of b_O, n of them. */
static float *bias_rows(const transformer *t, int l)
{
    const int64_t d = t->info->d_model;
    float *rows = malloc((size_t)(t->n * d) * sizeof *rows);
    for (int64_t i = 0; i < t->n * d; i++) {
        rows[i] = t->layer[l].b_O.data[i % d];
    }
    return rows;
}

/* All 25 paths at once, from the embedding and from both layers' biases: the pass' own logits. */
static void logits_of_two_layers(void **state)
{
    (void)state;
    transformer t;
    begin(&t);
    const int64_t V = t.info->d_vocab_out, count = t.n * V;
    float *sum = malloc((size_t)count * sizeof *sum);
    float *first = bias_rows(&t, 0), *second = bias_rows(&t, 1);
    for (int64_t i = 0; i < count; i++) {
        sum[i] = t.unembed.bias ? t.unembed.bias[i % V] : 0;
    }
    assert_int_equal(otimes_operator_terms(t.all), 25);
    accumulate(t.all, t.x, count, sum);
    accumulate(t.upper, first, count, sum);
    accumulate(t.end, second, count, sum);
    assert_same("all paths", sum, t.logits, count);
    char text[4096];
    otimes_operator_print(t.all, text, sizeof text);
    assert_non_null(strstr(text, "diag(1/s[f])·A[1.3]·diag(1/s[1])·A[0.2]·diag(1/s[0]) ⊗ "
                                 "W_U·C·OV[1.3]·C·OV[0.2]·C"));
    free(sum);
    free(first);
    free(second);
    end(&t);
}

/* The product written out is the product applied; its adjoint is its transpose. */
static void one_by_one(void **state)
{
    (void)state;
    transformer t;
    otimes_err err = {0};
    begin(&t);
    const int64_t d = t.info->d_model, V = t.info->d_vocab_out;
    float *a = malloc((size_t)(t.n * V) * sizeof *a), *b = malloc((size_t)(t.n * V) * sizeof *b);
    float *h = malloc((size_t)(t.n * d) * sizeof *h), *g = malloc((size_t)(t.n * d) * sizeof *g);
    float *y = filled(t.n * V);
    otimes_operator *back;
    double left = 0, right = 0, size = 0, terms = 0, stepwise = 0, cost = 0;
    assert_ok(otimes_operator_apply(t.all, 0, t.x, a, &err), &err);
    assert_ok(otimes_operator_apply(t.block[0], 0, t.x, h, &err), &err);
    assert_ok(otimes_operator_apply(t.block[1], 0, h, g, &err), &err);
    assert_ok(otimes_operator_apply(t.end, 0, g, b, &err), &err);
    assert_same("one after the other", b, a, t.n * V);
    assert_ok(otimes_operator_transpose(&back, t.all, &err), &err);
    assert_ok(otimes_operator_apply(back, 0, y, h, &err), &err);
    for (int64_t i = 0; i < t.n * V; i++) {
        left += (double)y[i] * (double)a[i];
        size += fabs((double)y[i] * (double)a[i]);
    }
    for (int64_t i = 0; i < t.n * d; i++) {
        right += (double)h[i] * (double)t.x[i];
        size += fabs((double)h[i] * (double)t.x[i]);
    }
    if (!(fabs(left - right) <= 1e-5 * size)) {
        fail_msg("<y, T x> = %.9g, <T^T y, x> = %.9g", left, right);
    }
    assert_ok(otimes_operator_cost(t.all, &terms, &err), &err);
    const otimes_operator *const steps[] = {t.block[0], t.block[1], t.end};
    for (int i = 0; i < 3; i++) {
        assert_ok(otimes_operator_cost(steps[i], &cost, &err), &err);
        stepwise += cost;
    }
    assert_true(stepwise < terms && terms < 30 * stepwise);
    otimes_operator_free(&back);
    free(a);
    free(b);
    free(h);
    free(g);
    free(y);
    end(&t);
}

/* Columns of y = op x for x = one entry at a time give the norm and the trace, for all pairs of heads
 * of the two layers together: sum_{h2,h1} A^h2 A^h1 ⊗ OV^h2 OV^h1 on 3 positions. */
static void virtual_heads(void **state)
{
    (void)state;
    transformer t;
    otimes_err err = {0};
    enum { N = 3 };
    begin(&t);
    const int64_t d = t.info->d_model, count = N * d;
    otimes_operator *heads[2], *pairs;
    for (int l = 0; l < 2; l++) {
        const float *pattern = otimes_frozen_at(&t.frozen, OTIMES_HOOK_PATTERN, l);
        assert_ok(otimes_operator_new(&heads[l], N, N, d, d, &err), &err);
        for (int64_t h = 0; h < t.info->n_heads; h++) {
            const otimes_factor A =
                otimes_factor_dense("A", pattern + h * t.n * t.n, N, N, t.n, 1); /* its corner */
            const otimes_factor OV = otimes_factor_ov(&t.layer[l], h);
            assert_ok(otimes_operator_add_term(heads[l], 1, &A, 1, &OV, 1, &err), &err);
        }
    }
    assert_ok(otimes_operator_compose(&pairs, heads[1], heads[0], &err), &err);
    float *x = calloc((size_t)count, sizeof *x), *y = calloc((size_t)count, sizeof *y);
    double square = 0, diagonal = 0, size = 0, norm, trace;
    for (int64_t i = 0; i < count; i++) {
        x[i] = 1;
        assert_ok(otimes_operator_apply(pairs, 1, x, y, &err), &err);
        for (int64_t j = 0; j < count; j++) {
            square += (double)y[j] * (double)y[j];
        }
        diagonal += (double)y[i];
        size += fabs((double)y[i]);
        x[i] = 0;
    }
    assert_ok(otimes_operator_norm(pairs, 0, &norm, &err), &err);
    assert_ok(otimes_operator_trace(pairs, 0, &trace, &err), &err);
    if (!(fabs(norm - sqrt(square)) <= 1e-5 * norm && norm > 0.1)) {
        fail_msg("norm: got %.9g, expected %.9g", norm, sqrt(square));
    }
    if (!(fabs(trace - diagonal) <= 1e-5 * size)) {
        fail_msg("trace: got %.9g, expected %.9g", trace, diagonal);
    }
    otimes_operator_free(&pairs);
    otimes_operator_free(&heads[0]);
    otimes_operator_free(&heads[1]);
    free(x);
    free(y);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_of_goldens),     cmocka_unit_test(absent),
        cmocka_unit_test(logits_of_two_layers), cmocka_unit_test(one_by_one),
        cmocka_unit_test(virtual_heads),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
