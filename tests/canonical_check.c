/* SPDX-License-Identifier: MIT */
#include "canonical_check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/convert.h>

void canonical_make(canonical *c, const otimes_model *model)
{
    otimes_err err = {0};
    *c = (canonical){.model = model};
    assert_ok(otimes_memory_sink_new(&c->memory, &err), &err);
    assert_ok(otimes_convert(model, NULL, otimes_memory_sink_sink(c->memory), &err), &err);
    assert_ok(otimes_lens_tensors(model, &c->list, &err), &err);
}

void canonical_free(canonical *c)
{
    otimes_memory_sink_free(&c->memory);
    otimes_lens_list_free(&c->list);
}

static int64_t elements(const otimes_array *array)
{
    int64_t count = 1;
    for (int i = 0; i < array->ndim; i++) {
        count *= array->axis[i]->length;
    }
    return count;
}

const float *canonical_values(const canonical *c, const char *name, int64_t *count)
{
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(c->memory, name, &data);
    if (!array) {
        return NULL;
    }
    assert_int_equal(array->type, OTIMES_F32);
    *count = elements(array);
    return data;
}

/* A golden's weight and where the file form keeps it. */
typedef struct place {
    char name[128];
    bool turned; /* [in, out] of the golden is [out, in] */
    bool first;  /* one row for all heads */
} place;

static bool ends_in(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Everything up to the last dot, then `rest`. */
static void rename_last(const char *name, const char *rest, place *to)
{
    const char *dot = strrchr(name, '.');
    assert_non_null(dot);
    snprintf(to->name, sizeof to->name, "%.*s%s", (int)(dot - name), name, rest);
}

static bool rows_agree(const otimes_entry *entry)
{
    const int64_t size = entry->bytes / entry->dim[0];
    for (int64_t i = 1; i < entry->dim[0]; i++) {
        if (memcmp(entry->data, entry->data + i * size, (size_t)size) != 0) {
            return false;
        }
    }
    return entry->dim[0] > 1;
}

/* tools/schema/convert.md in other words. */
static place place_of(const canonical *c, const char *name, const otimes_entry *entry)
{
    const otimes_model_info *info = otimes_model_describe(c->model);
    const char *const last = strrchr(name, '.') + 1;
    const bool grouped = info->n_kv_heads != info->n_heads;
    char rest[64];
    place to = {.turned = false};
    snprintf(to.name, sizeof to.name, "%s", name);
    if (strstr(name, ".mlp.experts.")) {
        snprintf(rest, sizeof rest, last[0] == 'W' ? ".%s.weight" : ".W%s.bias",
                 last[0] == 'W' ? last : last + 1);
        rename_last(name, rest, &to);
        to.turned = last[0] == 'W';
    } else if (ends_in(name, ".mlp.router.W")) {
        snprintf(to.name, sizeof to.name, "%.*sW_gate.weight", (int)(strlen(name) - 8), name);
        to.turned = true;
    } else if (ends_in(name, ".mlp.router.b")) {
        snprintf(to.name, sizeof to.name, "%.*sW_gate.bias", (int)(strlen(name) - 8), name);
    } else if (grouped && (ends_in(name, ".attn.W_K") || ends_in(name, ".attn.W_V") ||
                           ends_in(name, ".attn.b_K") || ends_in(name, ".attn.b_V"))) {
        snprintf(rest, sizeof rest, "._%s", last);
        rename_last(name, rest, &to);
    } else if (ends_in(name, ".q_norm.w") || ends_in(name, ".k_norm.w")) {
        const void *data;
        to.first = rows_agree(entry) ||
                   (entry->dim[0] == 1 && otimes_memory_sink_array(c->memory, name, &data));
        if (!to.first) {
            rename_last(name, ".heads", &to);
        }
    }
    return to;
}

static bool all_zero(const double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (values[i] != 0) {
            return false;
        }
    }
    return true;
}

static void check_shape(const char *what, const otimes_array *array, const otimes_entry *entry,
                        const place *at)
{
    const int skipped = at->first ? 1 : 0;
    assert_int_equal(array->ndim, entry->ndim - skipped);
    for (int i = 0; i < array->ndim; i++) {
        const int64_t expected = entry->dim[at->turned ? 1 - i : i + skipped];
        if (array->axis[i]->length != expected) {
            fail_msg("%s: axis %d: expected %lld, got %lld", what, i, (long long)expected,
                     (long long)array->axis[i]->length);
        }
    }
}

/* One weight of the golden; false when there is no array of it. */
static bool check_weight(const canonical *c, const golden *g, const char *name,
                         const otimes_entry *entry, double tolerance)
{
    int64_t count = 0, expected_count;
    const void *data;
    const double *expected = golden_values(g, entry->name, &expected_count);
    const place at = place_of(c, name, entry);
    char what[256];
    snprintf(what, sizeof what, "%s: %s as %s", g->name, entry->name, at.name);
    const otimes_array *array = otimes_memory_sink_array(c->memory, at.name, &data);
    const float *got = canonical_values(c, at.name, &count);
    if (!array) {
        if (!all_zero(expected, expected_count)) {
            fail_msg("%s: not there", what);
        }
        return false;
    }
    check_shape(what, array, entry, &at);
    double *wide = calloc((size_t)count + 1, sizeof *wide);
    assert_non_null(wide);
    for (int64_t i = 0; i < count; i++) {
        const int64_t rows = entry->dim[0], columns = count / rows;
        const int64_t from = at.turned ? i % columns * rows + i / columns : i;
        wide[i] = (double)got[from];
    }
    assert_close(what, wide, expected, count, tolerance, 0);
    free(wide);
    return true;
}

void assert_golden(const canonical *c, const golden *g, const char *prefix, double tolerance)
{
    const size_t skipped = strlen(prefix);
    int64_t found = 0;
    for (int64_t i = 0; i < g->expected.entry_count; i++) {
        const otimes_entry *entry = &g->expected.entries[i];
        if (strncmp(entry->name, prefix, skipped) == 0 && entry->name[skipped] == '/') {
            found += check_weight(c, g, entry->name + skipped + 1, entry, tolerance);
        }
    }
    if (found != c->list.count) {
        fail_msg("%s: %s: %lld arrays, of which the golden has %lld", g->name, prefix,
                 (long long)c->list.count, (long long)found);
    }
}

void assert_same(const char *what, const canonical *a, const canonical *b, double tolerance)
{
    if (a->list.count != b->list.count) {
        fail_msg("%s: %lld arrays against %lld", what, (long long)a->list.count,
                 (long long)b->list.count);
    }
    for (int64_t i = 0; i < a->list.count; i++) {
        const char *name = a->list.tensor[i].name;
        const void *data;
        int64_t count;
        const otimes_array *one = otimes_memory_sink_array(a->memory, name, &data);
        const float *x = data;
        const otimes_array *other = otimes_memory_sink_array(b->memory, name, &data);
        const float *y = data;
        if (!one || !other || one->ndim != other->ndim) {
            fail_msg("%s: %s: there once, or of other axes", what, name);
        }
        for (int k = 0; k < one->ndim; k++) {
            assert_int_equal(one->axis[k]->length, other->axis[k]->length);
        }
        count = elements(one);
        float largest = 0;
        for (int64_t k = 0; k < count; k++) {
            largest = fmaxf(largest, fabsf(y[k]));
        }
        for (int64_t k = 0; k < count; k++) {
            const double gap = fabs((double)x[k] - (double)y[k]);
            if (tolerance > 0 ? !(gap <= tolerance * (double)largest)
                              : memcmp(&x[k], &y[k], sizeof *x) != 0) {
                fail_msg("%s: %s[%lld]: %.9g against %.9g", what, name, (long long)k, (double)x[k],
                         (double)y[k]);
            }
        }
    }
}

/* Rotary frequencies, of layers with a window or of the others. */
static void assert_same_rope(const char *what, const otimes_rope *a, const otimes_rope *b)
{
    const double numbers[][2] = {
        {a->theta, b->theta},
        {(double)a->dim, (double)b->dim},
        {a->adjacent, b->adjacent},
        {a->scaling, b->scaling},
        {a->factor, b->factor},
        {a->original_n_ctx, b->original_n_ctx},
        {a->low_freq_factor, b->low_freq_factor},
        {a->high_freq_factor, b->high_freq_factor},
        {a->beta_fast, b->beta_fast},
        {a->beta_slow, b->beta_slow},
        {a->truncate, b->truncate},
        {a->magnitude, b->magnitude},
    };
    static const char *const names[] = {
        "theta",    "dim",       "adjacent",  "scaling",   "factor",   "original_n_ctx",
        "low_freq", "high_freq", "beta_fast", "beta_slow", "truncate", "magnitude",
    };
    const size_t count = a->scaling == OTIMES_ROPE_PLAIN ? 4 : sizeof numbers / sizeof numbers[0];
    for (size_t i = 0; i < count; i++) {
        if (numbers[i][0] != numbers[i][1]) {
            fail_msg("%s: rotary %s: %.17g against %.17g", what, names[i], numbers[i][0],
                     numbers[i][1]);
        }
    }
}

static void assert_same_layers(const char *what, const otimes_model *a, const otimes_model *b)
{
    otimes_err err = {0};
    for (int64_t layer = 0; layer < otimes_model_describe(a)->n_layers; layer++) {
        otimes_layer_info one, other;
        assert_ok(otimes_layer_describe(a, layer, &one, &err), &err);
        assert_ok(otimes_layer_describe(b, layer, &other, &err), &err);
        if (one.window != other.window || one.rope_theta != other.rope_theta ||
            one.experts != other.experts) {
            fail_msg("%s: layer %lld: window %lld against %lld, base %g against %g, experts %d "
                     "against %d",
                     what, (long long)layer, (long long)one.window, (long long)other.window,
                     one.rope_theta, other.rope_theta, one.experts, other.experts);
        }
    }
}

void assert_same_kind(const char *what, const otimes_model *a, const otimes_model *b)
{
    const otimes_model_info *x = otimes_model_describe(a), *y = otimes_model_describe(b);
#define FIELDS(X)                                                                                 \
    X(n_layers)                                                                                   \
    X(n_heads)                                                                                    \
    X(n_kv_heads) X(d_model) X(d_head) X(d_mlp) X(d_vocab) X(d_vocab_out) X(n_ctx) X(norm) X(eps) \
        X(positions) X(rope_theta) X(rotary_dim) X(attn_scale) X(sliding_window) X(mlp)           \
            X(parallel) X(bidirectional) X(pre_norm) X(post_norm) X(embed_norm) X(qk_norm)        \
                X(attn_softcap) X(final_softcap) X(clip_qkv) X(attention_sinks) X(n_experts)      \
                    X(n_experts_active) X(d_expert) X(d_shared_expert) X(routing)
#define FIELD(field)                                                                               \
    if (x->field != y->field) {                                                                    \
        fail_msg("%s: %s: %.17g against %.17g", what, #field, (double)x->field, (double)y->field); \
    }
    FIELDS(FIELD)
#undef FIELD
#undef FIELDS
    assert_string_equal(x->activation, y->activation);
    if (x->positions == OTIMES_POSITIONS_ROPE) {
        assert_same_rope(what, &a->rope, &b->rope);
        assert_same_rope(what, &a->local_rope, &b->local_rope);
    }
    assert_same_layers(what, a, b);
}

double raw_tolerance(const otimes_model *model)
{
    for (int64_t i = 0; i < model->binding_count; i++) {
        if (model->bindings[i].entry &&
            (model->bindings[i].scale != 1 || model->bindings[i].shift != 0)) {
            return (double)FLT_EPSILON;
        }
    }
    return 0;
}

otimes_model *open_with(const char *path, int steps)
{
    otimes_model *model;
    otimes_err err = {0};
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    settings.fold_ln = (steps & STEP_FOLD_LN) != 0;
    settings.center_writing_weights = (steps & STEP_CENTER_WRITING) != 0;
    settings.center_unembed = (steps & STEP_CENTER_UNEMBED) != 0;
    settings.fold_value_biases = (steps & STEP_FOLD_BIASES) != 0;
    assert_ok(otimes_model_open(&model, path, &settings, &err), &err);
    return model;
}

void steps_of(const otimes_model *model, otimes_step steps[4])
{
    const otimes_model_info *info = otimes_model_describe(model);
    steps[0] = info->fold_ln;
    steps[1] = info->center_writing_weights;
    steps[2] = info->center_unembed;
    steps[3] = info->fold_value_biases;
}
