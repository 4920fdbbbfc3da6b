/* SPDX-License-Identifier: MIT */
#include "plain_frozen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double *plain_frozen_rows(const trace *pass, otimes_hook hook, int64_t layer, int64_t head)
{
    const bool keys = hook == OTIMES_HOOK_SCORES || hook == OTIMES_HOOK_PATTERN;
    const trace_array *a = trace_find(pass, (trace_key){hook, layer, head, keys ? 0 : -1, -1});
    if (!a) {
        fail_msg("%s, layer %d: not there", otimes_hook_name(hook), (int)layer);
        return NULL;
    }
    return a->data;
}

bool plain_frozen_links(const plain_frozen *f, int64_t layer)
{
    return f->links && f->layer[layer].W_in.data && !f->layer[layer].W_router.data;
}

bool plain_frozen_holds(const plain_frozen *f, trace_key key, int64_t count, double *values)
{
    static const uint64_t always = OTIMES_HOOK_BIT(PATTERN) | OTIMES_HOOK_BIT(EMBED_LN_SCALE) |
                                   OTIMES_HOOK_BIT(LN1_SCALE) | OTIMES_HOOK_BIT(LN1_POST_SCALE) |
                                   OTIMES_HOOK_BIT(LN2_SCALE) | OTIMES_HOOK_BIT(LN2_POST_SCALE) |
                                   OTIMES_HOOK_BIT(LN_FINAL_SCALE);
    const bool mlp = key.hook == OTIMES_HOOK_MLP_OUT || key.hook == OTIMES_HOOK_MLP_GATE;
    const bool held = mlp ? plain_frozen_links(f, key.layer) == (key.hook == OTIMES_HOOK_MLP_GATE)
                          : always >> key.hook & 1;
    if (held) {
        memcpy(values, trace_find(&f->pass, key)->data, (size_t)count * sizeof *values);
    }
    return held;
}

/* Frozen, and every block reads zeros. */
static void silence(void *context, trace_key key, int64_t first, int64_t rows, int64_t columns,
                    double *values)
{
    (void)first;
    if (!plain_frozen_holds(context, key, rows * columns, values) &&
        (key.hook == OTIMES_HOOK_RESID_PRE || key.hook == OTIMES_HOOK_RESID_MID)) {
        memset(values, 0, (size_t)(rows * columns) * sizeof *values);
    }
}

void plain_frozen_open(plain_frozen *f, const otimes_model *model, const char *name,
                       const otimes_sequences *text, bool links)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_err err = {0};
    *f = (plain_frozen){.model = model,
                        .info = info,
                        .name = name,
                        .text = text,
                        .n = text->length[0],
                        .d = info->d_model,
                        .links = links};
    f->layer = calloc((size_t)info->n_layers, sizeof *f->layer);
    f->U = calloc((size_t)(info->d_vocab_out * f->d), sizeof *f->U);
    assert_true(f->layer && f->U);
    for (int64_t l = 0; l < info->n_layers; l++) {
        assert_ok(otimes_layer_load(model, l, OTIMES_PART_ALL, &f->layer[l], &err), &err);
    }
    assert_ok(otimes_unembed_open(model, &f->unembed, &err), &err);
    assert_ok(otimes_unembed_rows(&f->unembed, 0, info->d_vocab_out, f->U, &err), &err);
    trace_init(&f->pass, model, text);
    f->logits = plain_pass(&f->pass, name);
    trace_init(&f->nothing, model, text);
    f->nothing.change = silence;
    f->nothing.context = f;
    free(plain_pass(&f->nothing, name));
}

void plain_frozen_close(plain_frozen *f)
{
    for (int64_t l = 0; l < f->info->n_layers; l++) {
        otimes_layer_free(&f->layer[l]);
    }
    otimes_unembed_free(&f->unembed);
    trace_free(&f->pass);
    trace_free(&f->nothing);
    free(f->logits);
    free(f->layer);
    free(f->U);
}

/* Rows through a norm by its recorded scale, without its bias. */
static void through_norm(const plain_frozen *f, otimes_hook scale, int64_t layer, const float *w,
                         double *x)
{
    const double *s = plain_frozen_rows(&f->pass, scale, layer, -1);
    for (int64_t i = 0; i < f->n; i++) {
        double mean = 0;
        for (int64_t j = 0; f->info->norm == OTIMES_NORM_LN && j < f->d; j++) {
            mean += x[i * f->d + j] / (double)f->d;
        }
        for (int64_t j = 0; j < f->d; j++) {
            x[i * f->d + j] = (x[i * f->d + j] - mean) / s[i] * (w ? (double)w[j] : 1);
        }
    }
}

static bool has_norm(const plain_frozen *f)
{
    return f->info->pre_norm && f->info->norm != OTIMES_NORM_NONE;
}

void plain_frozen_post(const plain_frozen *f, otimes_hook scale, int64_t layer, double *x)
{
    const otimes_layer *w = &f->layer[layer];
    const float *weight =
        scale == OTIMES_HOOK_LN1_POST_SCALE ? w->ln1_post_w.data : w->ln2_post_w.data;
    if (weight) {
        through_norm(f, scale, layer, weight, x);
    }
}

static double *copy_of(const plain_frozen *f, const double *x)
{
    double *copy = calloc((size_t)(f->n * f->d), sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, x, (size_t)(f->n * f->d) * sizeof *copy);
    return copy;
}

void plain_frozen_head(const plain_frozen *f, int64_t layer, int64_t head, const double *x,
                       double *out)
{
    const otimes_layer *w = &f->layer[layer];
    const int64_t n = f->n, d = f->d, e = f->info->d_head;
    const int64_t kv = head / (f->info->n_heads / f->info->n_kv_heads);
    const float *V = w->W_V.data + kv * d * e, *O = w->W_O.data + head * e * d;
    const double *pattern = plain_frozen_rows(&f->pass, OTIMES_HOOK_PATTERN, layer, head);
    double *read = copy_of(f, x), *v = calloc((size_t)(n * e), sizeof *v);
    assert_non_null(v);
    if (has_norm(f)) {
        through_norm(f, OTIMES_HOOK_LN1_SCALE, layer, w->ln1_w.data, read);
    }
    for (int64_t i = 0; i < n * e; i++) {
        for (int64_t k = 0; k < d; k++) {
            v[i] += read[i / e * d + k] * (double)V[k * e + i % e];
        }
    }
    memset(out, 0, (size_t)(n * d) * sizeof *out);
    for (int64_t q = 0; q < n; q++) {
        for (int64_t j = 0; j < e; j++) {
            double z = 0;
            for (int64_t k = 0; k < n; k++) {
                z += pattern[q * n + k] * v[k * e + j];
            }
            for (int64_t i = 0; i < d; i++) {
                out[q * d + i] += z * (double)O[j * d + i];
            }
        }
    }
    plain_frozen_post(f, OTIMES_HOOK_LN1_POST_SCALE, layer, out);
    free(read);
    free(v);
}

void plain_frozen_mlp(const plain_frozen *f, int64_t layer, const double *x, double *out)
{
    const otimes_layer *w = &f->layer[layer];
    const int64_t n = f->n, d = f->d, m = w->W_in.dim[1];
    const double *gate = plain_frozen_rows(&f->pass, OTIMES_HOOK_MLP_GATE, layer, -1);
    double *read = copy_of(f, x);
    if (has_norm(f)) {
        through_norm(f, OTIMES_HOOK_LN2_SCALE, layer, w->ln2_w.data, read);
    }
    memset(out, 0, (size_t)(n * d) * sizeof *out);
    for (int64_t i = 0; i < n * m; i++) {
        double post = 0;
        for (int64_t k = 0; k < d; k++) {
            post += read[i / m * d + k] * (double)w->W_in.data[k * m + i % m];
        }
        for (int64_t k = 0; k < d; k++) {
            out[i / m * d + k] += gate[i] * post * (double)w->W_out.data[i % m * d + k];
        }
    }
    plain_frozen_post(f, OTIMES_HOOK_LN2_POST_SCALE, layer, out);
    free(read);
}

static double direction(const plain_frozen *f, int64_t token, int64_t against, int64_t j)
{
    return (double)f->U[token * f->d + j] - (against < 0 ? 0 : (double)f->U[against * f->d + j]);
}

double plain_frozen_worth(const plain_frozen *f, int64_t position, int64_t token, int64_t against,
                          const double *x)
{
    double *end = copy_of(f, x), sum = 0;
    if (f->info->norm != OTIMES_NORM_NONE) {
        through_norm(f, OTIMES_HOOK_LN_FINAL_SCALE, -1, f->unembed.ln_w, end);
    }
    for (int64_t j = 0; j < f->d; j++) {
        sum += end[position * f->d + j] * direction(f, token, against, j);
    }
    free(end);
    return sum;
}

double plain_frozen_bias(const plain_frozen *f, int64_t token, int64_t against)
{
    const float *b = f->unembed.bias, *ln_b = f->unembed.ln_b;
    double sum = b ? (double)b[token] - (against < 0 ? 0 : (double)b[against]) : 0;
    for (int64_t j = 0; ln_b && j < f->d; j++) {
        sum += (double)ln_b[j] * direction(f, token, against, j);
    }
    return sum;
}
