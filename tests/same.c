/* SPDX-License-Identifier: MIT */
#include "same.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

otimes_model *open_as(const char *path, bool processed)
{
    otimes_model *model;
    otimes_model_settings settings;
    otimes_err err = {0};
    otimes_model_settings_default(&settings);
    settings.fold_ln = settings.center_writing_weights = settings.center_unembed =
        settings.fold_value_biases = processed;
    assert_ok(otimes_model_open(&model, path, &settings, &err), &err);
    return model;
}

static int64_t elements(const otimes_tensor *tensor)
{
    int64_t count = tensor->data != NULL;
    for (int i = 0; i < tensor->ndim; i++) {
        count *= tensor->dim[i];
    }
    return count;
}

static double compare(const char *what, const float *a, const float *b, int64_t count,
                      double relative)
{
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)a[i]));
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    }
    if (!(worst <= relative * largest)) {
        fail_msg("%s: differs by %g, largest entry %g", what, worst, largest);
    }
    return largest > 0 ? worst / largest : 0;
}

static double compare_tensors(const char *what, const otimes_tensor *a, const otimes_tensor *b,
                              double relative)
{
    if (a->ndim != b->ndim || memcmp(a->dim, b->dim, sizeof a->dim) != 0) {
        fail_msg("%s: in one model only, or of another shape", what);
    }
    return compare(what, a->data, b->data, elements(a), relative);
}

static double compare_experts(const otimes_model *a, const otimes_model *b, int64_t layer,
                              int64_t number, double relative)
{
    otimes_expert x, y;
    otimes_err err = {0};
    double worst = 0;
    assert_ok(otimes_expert_load(a, layer, number, &x, &err), &err);
    assert_ok(otimes_expert_load(b, layer, number, &y, &err), &err);
    for (int slot = OTIMES_SLOT_FIRST_OF_EXPERT; slot < OTIMES_SLOT_COUNT; slot++) {
        char what[128];
        snprintf(what, sizeof what, "%s: layer %lld, expert %lld: %s", b->path, (long long)layer,
                 (long long)number, otimes_slot_label((otimes_slot)slot));
        worst = fmax(worst, compare_tensors(what, otimes_expert_tensor(&x, (otimes_slot)slot),
                                            otimes_expert_tensor(&y, (otimes_slot)slot), relative));
    }
    otimes_expert_free(&x);
    otimes_expert_free(&y);
    return worst;
}

static double compare_layers(const otimes_model *a, const otimes_model *b, int64_t layer,
                             double relative)
{
    otimes_layer x, y;
    otimes_err err = {0};
    double worst = 0;
    assert_ok(otimes_layer_load(a, layer, OTIMES_PART_ALL, &x, &err), &err);
    assert_ok(otimes_layer_load(b, layer, OTIMES_PART_ALL, &y, &err), &err);
    for (int slot = OTIMES_SLOT_FIRST_OF_LAYER; slot < OTIMES_SLOT_FIRST_OF_EXPERT; slot++) {
        char what[128];
        snprintf(what, sizeof what, "%s: layer %lld: %s", b->path, (long long)layer,
                 otimes_slot_label((otimes_slot)slot));
        worst = fmax(worst, compare_tensors(what, otimes_layer_tensor(&x, (otimes_slot)slot),
                                            otimes_layer_tensor(&y, (otimes_slot)slot), relative));
    }
    const int64_t experts =
        otimes_layer_has_experts(a, layer) ? otimes_model_describe(a)->n_experts : 0;
    for (int64_t e = 0; e < experts; e++) {
        worst = fmax(worst, compare_experts(a, b, layer, e, relative));
    }
    otimes_layer_free(&x);
    otimes_layer_free(&y);
    return worst;
}

typedef int (*row_reader)(const otimes_model *model, int64_t first, int64_t count, float *out,
                          otimes_err *err);

static double compare_rows(const char *what, row_reader read, const otimes_model *a,
                           const otimes_model *b, int64_t rows, double relative)
{
    const int64_t count = rows * otimes_model_describe(a)->d_model;
    float *x = malloc((size_t)(count + 1) * sizeof *x),
          *y = malloc((size_t)(count + 1) * sizeof *y);
    otimes_err err = {0};
    assert_true(x && y);
    assert_ok(read(a, 0, rows, x, &err), &err);
    assert_ok(read(b, 0, rows, y, &err), &err);
    const double worst = compare(what, x, y, count, relative);
    free(x);
    free(y);
    return worst;
}

static double compare_vectors(const char *what, const float *a, const float *b, int64_t count,
                              double relative)
{
    if (!a != !b) {
        fail_msg("%s: in one model only", what);
    }
    return a ? compare(what, a, b, count, relative) : 0;
}

static double compare_unembeds(const otimes_model *a, const otimes_model *b, double relative)
{
    const otimes_model_info *info = otimes_model_describe(a);
    const int64_t vocab = info->d_vocab_out, d = info->d_model;
    otimes_unembed u, v;
    otimes_err err = {0};
    float *x = malloc((size_t)(vocab * d) * sizeof *x),
          *y = malloc((size_t)(vocab * d) * sizeof *y);
    assert_true(x && y);
    assert_ok(otimes_unembed_open(a, &u, &err), &err);
    assert_ok(otimes_unembed_open(b, &v, &err), &err);
    assert_ok(otimes_unembed_rows(&u, 0, vocab, x, &err), &err);
    assert_ok(otimes_unembed_rows(&v, 0, vocab, y, &err), &err);
    double worst = compare("W_U", x, y, vocab * d, relative);
    worst = fmax(worst, compare_vectors("b_U", u.bias, v.bias, vocab, relative));
    worst = fmax(worst, compare_vectors("ln_final.w", u.ln_w, v.ln_w, d, relative));
    worst = fmax(worst, compare_vectors("ln_final.b", u.ln_b, v.ln_b, d, relative));
    otimes_unembed_free(&u);
    otimes_unembed_free(&v);
    free(x);
    free(y);
    return worst;
}

double same_weights(const otimes_model *a, const otimes_model *b, double relative)
{
    const otimes_model_info *x = otimes_model_describe(a), *y = otimes_model_describe(b);
    assert_int_equal(x->n_layers, y->n_layers);
    assert_int_equal(x->d_model, y->d_model);
    assert_int_equal(x->d_vocab, y->d_vocab);
    assert_int_equal(x->d_vocab_out, y->d_vocab_out);
    assert_int_equal(x->embed_norm, y->embed_norm);
    double worst = compare_rows("W_E", otimes_embed_rows, a, b, x->d_vocab, relative);
    worst = fmax(worst, compare_unembeds(a, b, relative));
    if (otimes_has_positions(a)) {
        assert_int_equal(x->n_ctx, y->n_ctx);
        worst = fmax(worst, compare_rows("W_pos", otimes_position_rows, a, b, x->n_ctx, relative));
    }
    if (x->embed_norm) {
        float *norms = malloc((size_t)(4 * x->d_model) * sizeof *norms);
        otimes_err err = {0};
        assert_non_null(norms);
        assert_ok(otimes_embed_norm(a, norms, norms + x->d_model, &err), &err);
        assert_ok(otimes_embed_norm(b, norms + 2 * x->d_model, norms + 3 * x->d_model, &err), &err);
        compare("embed.ln", norms, norms + 2 * x->d_model, 2 * x->d_model, relative);
        free(norms);
    }
    for (int64_t layer = 0; layer < x->n_layers; layer++) {
        worst = fmax(worst, compare_layers(a, b, layer, relative));
    }
    return worst;
}

void same_description(const otimes_model *a, const otimes_model *b)
{
    const otimes_model_info *x = otimes_model_describe(a), *y = otimes_model_describe(b);
    const struct {
        const char *name;
        double a, b;
    } facts[] = {
#define FACT(field) {#field, (double)x->field, (double)y->field}
        FACT(n_layers),
        FACT(n_heads),
        FACT(n_kv_heads),
        FACT(d_model),
        FACT(d_head),
        FACT(d_mlp),
        FACT(d_vocab),
        FACT(d_vocab_out),
        FACT(norm),
        FACT(eps),
        FACT(positions),
        FACT(rope_theta),
        FACT(rotary_dim),
        FACT(attn_scale),
        FACT(mlp),
        FACT(parallel),
        FACT(bidirectional),
        FACT(pre_norm),
        FACT(post_norm),
        FACT(embed_norm),
        FACT(qk_norm),
        FACT(attn_softcap),
        FACT(final_softcap),
        FACT(clip_qkv),
        FACT(attention_sinks),
        FACT(n_experts),
        FACT(d_expert),
        FACT(d_shared_expert),
        FACT(n_experts_active),
        FACT(routing),
#undef FACT
    };
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        if (!(fabs(facts[i].a - facts[i].b) <= 1e-6 * fabs(facts[i].a))) {
            fail_msg("%s: %s: %g, and %g in %s", a->path, facts[i].name, facts[i].a, facts[i].b,
                     b->path);
        }
    }
    for (int64_t layer = 0; layer < x->n_layers; layer++) {
        otimes_layer_info p, q;
        otimes_err err = {0};
        assert_ok(otimes_layer_describe(a, layer, &p, &err), &err);
        assert_ok(otimes_layer_describe(b, layer, &q, &err), &err);
        if (p.window != q.window || fabs(p.rope_theta - q.rope_theta) > 1e-6 * p.rope_theta ||
            p.experts != q.experts) {
            fail_msg("%s: layer %lld: window %lld, base %g, experts %d, and %lld, %g, %d in %s",
                     a->path, (long long)layer, (long long)p.window, p.rope_theta, p.experts,
                     (long long)q.window, q.rope_theta, q.experts, b->path);
        }
    }
}
