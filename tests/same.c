/* SPDX-License-Identifier: MIT */
#include "same.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

otimes_model *open_with(const char *path, int steps)
{
    otimes_model *model;
    otimes_model_settings settings;
    otimes_err err = {0};
    otimes_model_settings_default(&settings);
    settings.fold_ln = steps & 1;
    settings.center_writing_weights = steps >> 1 & 1;
    settings.center_unembed = steps >> 2 & 1;
    settings.fold_value_biases = steps >> 3 & 1;
    assert_ok(otimes_model_open(&model, path, &settings, &err), &err);
    return model;
}

otimes_model *open_as(const char *path, bool processed)
{
    return open_with(path, processed ? ALL_STEPS : NO_STEPS);
}

void steps_of(const otimes_model *model, otimes_step steps[4])
{
    const otimes_model_info *info = otimes_model_describe(model);
    steps[0] = info->fold_ln;
    steps[1] = info->center_writing_weights;
    steps[2] = info->center_unembed;
    steps[3] = info->fold_value_biases;
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

typedef struct comparison {
    const otimes_model *a, *b;
    double relative;
    const char *but;
    int differ, excused; /* how many facts differ, and how many of those may */
} comparison;

static bool is_named(const char *names, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = names; at && (at = strstr(at, name)); at += length) {
        if ((at == names || at[-1] == '|') && (at[length] == '\0' || at[length] == '|')) {
            return true;
        }
    }
    return false;
}

static void compare_fact(comparison *c, const char *name, double x, double y)
{
    if (fabs(x - y) <= c->relative * fabs(x)) {
        return;
    }
    if (is_named(c->but, name)) {
        c->excused++;
        return;
    }
    print_error("%s: %s: %.17g, and %.17g in %s\n", c->a->path, name, x, y, c->b->path);
    c->differ++;
}

#define FACT(field) compare_fact(c, #field, (double)x->field, (double)y->field)

static void compare_rope(comparison *c, const otimes_rope *x, const otimes_rope *y)
{
    FACT(theta);
    FACT(dim);
    FACT(adjacent);
    FACT(scaling);
    if (x->scaling != y->scaling || x->scaling == OTIMES_ROPE_PLAIN ||
        x->scaling == OTIMES_ROPE_OTHER) {
        return;
    }
    FACT(factor);
    FACT(original_n_ctx);
    FACT(low_freq_factor);
    FACT(high_freq_factor);
    FACT(beta_fast);
    FACT(beta_slow);
    FACT(truncate);
    FACT(magnitude);
}

static void compare_layer_facts(comparison *c, int64_t layer)
{
    otimes_layer_info p, q, *x = &p, *y = &q;
    otimes_err err = {0};
    assert_ok(otimes_layer_describe(c->a, layer, x, &err), &err);
    assert_ok(otimes_layer_describe(c->b, layer, y, &err), &err);
    FACT(window);
    FACT(rope_theta);
    FACT(experts);
}

static void compare_info(comparison *c, const otimes_model_info *x, const otimes_model_info *y)
{
    FACT(n_layers);
    FACT(n_heads);
    FACT(n_kv_heads);
    FACT(d_model);
    FACT(d_head);
    FACT(d_mlp);
    FACT(d_vocab);
    FACT(d_vocab_out);
    FACT(n_ctx);
    FACT(norm);
    FACT(eps);
    FACT(positions);
    FACT(rope_theta);
    FACT(rotary_dim);
    FACT(attn_scale);
    FACT(sliding_window);
    FACT(mlp);
    FACT(parallel);
    FACT(bidirectional);
    FACT(pre_norm);
    FACT(post_norm);
    FACT(embed_norm);
    FACT(qk_norm);
    FACT(attn_softcap);
    FACT(final_softcap);
    FACT(clip_qkv);
    FACT(attention_sinks);
    FACT(n_experts);
    FACT(n_experts_active);
    FACT(d_expert);
    FACT(d_shared_expert);
    FACT(routing);
    compare_fact(c, "activation", 0, strcmp(x->activation, y->activation) != 0);
}

#undef FACT

void same_description(const otimes_model *a, const otimes_model *b, double relative,
                      const char *but)
{
    const otimes_model_info *x = otimes_model_describe(a), *y = otimes_model_describe(b);
    comparison c = {.a = a, .b = b, .relative = relative, .but = but};
    compare_info(&c, x, y);
    if (x->positions == OTIMES_POSITIONS_ROPE) {
        compare_rope(&c, &a->rope, &b->rope);
        compare_rope(&c, &a->local_rope, &b->local_rope);
    }
    for (int64_t layer = 0; layer < x->n_layers && x->n_layers == y->n_layers; layer++) {
        compare_layer_facts(&c, layer);
    }
    if (c.differ || (but && !c.excused)) {
        fail_msg("%s: %d facts differ from those of %s%s", a->path, c.differ, b->path,
                 but && !c.excused ? "; those that should do not" : "");
    }
}
