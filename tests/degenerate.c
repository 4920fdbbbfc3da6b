/* SPDX-License-Identifier: MIT */
#include "degenerate.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { MOST_TENSORS = 64, NAME = 48 };

/* What a model is made by. */
typedef struct shape {
    int64_t layers, heads, kv_heads, d_model, d_head, d_mlp, d_vocab, d_vocab_out, n_ctx;
} shape;

struct degenerate_store {
    degenerate_base base;
    degenerate_change change;
    shape shape;
    otimes_memory_tensor tensor[MOST_TENSORS];
    char name[MOST_TENSORS][NAME];
    float *value[MOST_TENSORS];     /* F32 */
    uint16_t *narrow[MOST_TENSORS]; /* NULL, or what is handed over instead */
    uint64_t state;
};

static const char *const base_names[BASES] = {"ln", "rotary", "bare"};
static const char *const change_names[CHANGES] = {
    "plain",        "zero_head",     "zero_q",        "zero_v",       "zero_all",
    "rank_one",     "twin_columns",  "equal_heads",   "equal_tokens", "constant_stream",
    "wide_heads",   "narrow_heads",  "one_dimension", "one_token",    "one_layer",
    "one_head",     "no_layers",     "no_mlp",        "one_neuron",   "one_position",
    "other_output", "huge",          "largest",       "denormal",     "largest_bf16",
    "largest_f16",  "smallest_bf16", "smallest_f16",  "nan_weight",   "infinite_weight",
    "nan_embedding"};

const char *degenerate_name(degenerate_base base, degenerate_change change)
{
    static char name[NAME];
    snprintf(name, sizeof name, "%s-%s", base_names[base], change_names[change]);
    return name;
}

bool degenerate_exists(degenerate_base base, degenerate_change change)
{
    switch (base) {
    case ROTARY:
        return change != NARROW_HEADS;
    case BARE:
        return change != NO_MLP && change != ONE_NEURON;
    default:
        return true;
    }
}

static shape shape_of(degenerate_base base, degenerate_change change)
{
    shape s = {.layers = 2,
               .heads = base == ROTARY ? 4 : 2,
               .kv_heads = base == ROTARY ? 1 : 2,
               .d_model = 8,
               .d_head = 4,
               .d_mlp = base == BARE ? 0 : 12,
               .d_vocab = 11,
               .d_vocab_out = 11,
               .n_ctx = 9};
    switch (change) {
    case WIDE_HEADS:
        s.d_head = 2 * s.d_model;
        break;
    case NARROW_HEADS:
        s.d_head = 1;
        break;
    case ONE_DIMENSION:
        s.d_model = 1;
        break;
    case ONE_TOKEN:
        s.d_vocab = s.d_vocab_out = 1;
        break;
    case ONE_LAYER:
        s.layers = 1;
        break;
    case ONE_HEAD:
        s.heads = s.kv_heads = 1;
        break;
    case NO_LAYERS:
        s.layers = 0;
        break;
    case NO_MLP:
        s.d_mlp = 0;
        break;
    case ONE_NEURON:
        s.d_mlp = 1;
        break;
    case ONE_POSITION:
        s.n_ctx = 1;
        break;
    case OTHER_OUTPUT:
        s.d_vocab_out = 5;
        break;
    default:
        break;
    }
    return s;
}

/* ---- seeded weights ---- */

/* Uniform in +-0.5. */
static float draw(struct degenerate_store *s)
{
    s->state = s->state * 6364136223846793005U + 1442695040888963407U;
    return (float)(s->state >> 40) / 0x1p24F - 0.5F;
}

/* A tensor of 1 to 3 axes; a norm's weights are about 1. */
static void add(degenerate *d, const char *name, int64_t a, int64_t b, int64_t c)
{
    struct degenerate_store *s = d->store;
    const int64_t at = d->source.tensor_count++, dim[] = {a, b, c};
    const bool norm = strstr(name, "ln") && name[strlen(name) - 1] == 'w';
    assert_true(at < MOST_TENSORS);
    otimes_memory_tensor *t = &s->tensor[at];
    snprintf(s->name[at], NAME, "%s", name);
    *t = (otimes_memory_tensor){.name = s->name[at], .dtype = "F32", .ndim = b ? c ? 3 : 2 : 1};
    int64_t count = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        t->dim[i] = dim[i];
        t->stride[i] = count;
        count *= dim[i];
    }
    s->value[at] = calloc((size_t)count, sizeof(float));
    assert_non_null(s->value[at]);
    for (int64_t i = 0; i < count; i++) {
        s->value[at][i] = norm ? 1 + draw(s) / 4 : draw(s);
    }
    t->bytes = count * (int64_t)sizeof(float);
}

static void add_in_layer(degenerate *d, int64_t layer, const char *part, int64_t a, int64_t b,
                         int64_t c)
{
    char name[NAME];
    snprintf(name, sizeof name, "blocks.%d.%s", (int)layer, part);
    add(d, name, a, b, c);
}

static void add_layer(degenerate *d, int64_t l)
{
    const shape *s = &d->store->shape;
    const degenerate_base base = d->store->base;
    add_in_layer(d, l, "attn.W_Q", s->heads, s->d_model, s->d_head);
    add_in_layer(d, l, "attn.W_K", s->kv_heads, s->d_model, s->d_head);
    add_in_layer(d, l, "attn.W_V", s->kv_heads, s->d_model, s->d_head);
    add_in_layer(d, l, "attn.W_O", s->heads, s->d_head, s->d_model);
    if (base != BARE) {
        add_in_layer(d, l, "ln1.w", s->d_model, 0, 0);
    }
    if (base != BARE && s->d_mlp) {
        add_in_layer(d, l, "ln2.w", s->d_model, 0, 0);
        add_in_layer(d, l, "mlp.W_in", s->d_model, s->d_mlp, 0);
        add_in_layer(d, l, "mlp.W_out", s->d_mlp, s->d_model, 0);
    }
    if (base == ROTARY && s->d_mlp) {
        add_in_layer(d, l, "mlp.W_gate", s->d_model, s->d_mlp, 0);
    }
    if (base == LAYER_NORM) {
        add_in_layer(d, l, "ln1.b", s->d_model, 0, 0);
        add_in_layer(d, l, "attn.b_Q", s->heads, s->d_head, 0);
        add_in_layer(d, l, "attn.b_K", s->kv_heads, s->d_head, 0);
        add_in_layer(d, l, "attn.b_V", s->kv_heads, s->d_head, 0);
        add_in_layer(d, l, "attn.b_O", s->d_model, 0, 0);
    }
    if (base == LAYER_NORM && s->d_mlp) {
        add_in_layer(d, l, "ln2.b", s->d_model, 0, 0);
        add_in_layer(d, l, "mlp.b_in", s->d_mlp, 0, 0);
        add_in_layer(d, l, "mlp.b_out", s->d_model, 0, 0);
    }
}

static void add_all(degenerate *d)
{
    const shape *s = &d->store->shape;
    add(d, "embed.W_E", s->d_vocab, s->d_model, 0);
    if (d->store->base != ROTARY) {
        add(d, "pos_embed.W_pos", s->n_ctx, s->d_model, 0);
    }
    for (int64_t l = 0; l < s->layers; l++) {
        add_layer(d, l);
    }
    if (d->store->base != BARE) {
        add(d, "ln_final.w", s->d_model, 0, 0);
    }
    if (d->store->base == LAYER_NORM) {
        add(d, "ln_final.b", s->d_model, 0, 0);
        add(d, "unembed.b_U", s->d_vocab_out, 0, 0);
    }
    add(d, "unembed.W_U", s->d_model, s->d_vocab_out, 0);
}

/* ---- changes of weights ---- */

static bool is(const otimes_memory_tensor *t, const char *part)
{
    return strstr(t->name, part) != NULL;
}

static int64_t size_of(const otimes_memory_tensor *t)
{
    return t->dim[0] * t->stride[0];
}

static void fill(float *x, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] = value;
    }
}

static void scale(float *x, int64_t count, float factor)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] *= factor;
    }
}

/* Every row becomes a multiple of the first one, by its own first entry. */
static void make_rank_one(float *x, int64_t rows, int64_t columns)
{
    for (int64_t i = 1; i < rows; i++) {
        const float factor = x[i * columns];
        for (int64_t j = 0; j < columns; j++) {
            x[i * columns + j] = factor * x[j];
        }
    }
}

/* Entry 2 i + 1 of an axis becomes entry 2 i. */
static void pair_up(float *x, int64_t before, int64_t length, int64_t after)
{
    for (int64_t i = 0; i < before; i++) {
        for (int64_t j = 1; j < length; j += 2) {
            float *entry = x + (i * length + j) * after;
            memcpy(entry, entry - after, (size_t)after * sizeof *x);
        }
    }
}

static void first_everywhere(float *x, int64_t rows, int64_t each)
{
    for (int64_t i = 1; i < rows; i++) {
        memcpy(x + i * each, x, (size_t)each * sizeof *x);
    }
}

/* Entry j of a row becomes the row's first. */
static void constant_rows(float *x, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++) {
        fill(x + i * columns, columns, x[i * columns]);
    }
}

static void change_head(const otimes_memory_tensor *t, float *x, degenerate_change change)
{
    const int64_t heads = t->dim[0], each = t->stride[0];
    const bool out = is(t, "W_O");
    switch (change) {
    case ZERO_HEAD:
        if (is(t, "blocks.0") && heads > 1) {
            fill(x + each, each, 0);
        }
        break;
    case ZERO_Q:
        fill(x, is(t, "_Q") ? heads * each : 0, 0);
        break;
    case ZERO_V:
        fill(x, is(t, "_V") ? heads * each : 0, 0);
        break;
    case RANK_ONE:
        for (int64_t h = 0; t->ndim == 3 && h < heads; h++) {
            make_rank_one(x + h * each, t->dim[1], t->dim[2]);
        }
        break;
    case TWIN_COLUMNS:
        if (t->ndim == 3) {
            pair_up(x, out ? heads : heads * t->dim[1], out ? t->dim[1] : t->dim[2],
                    out ? t->dim[2] : 1);
        }
        break;
    case EQUAL_HEADS:
        first_everywhere(x, heads, each);
        break;
    default:
        break;
    }
}

static void change_ends(const otimes_memory_tensor *t, float *x, degenerate_change change)
{
    switch (change) {
    case EQUAL_TOKENS:
        if (is(t, "W_E")) {
            first_everywhere(x, t->dim[0], t->dim[1]);
        } else if (is(t, "W_U")) {
            constant_rows(x, t->dim[0], t->dim[1]);
        } else if (is(t, "b_U")) {
            fill(x, t->dim[0], x[0]);
        }
        break;
    case CONSTANT_STREAM:
        if (is(t, "W_E") || is(t, "W_pos")) {
            constant_rows(x, t->dim[0], t->dim[1]);
        }
        break;
    case NAN_EMBEDDING:
        if (is(t, "W_E")) {
            x[size_of(t) - 1] = NAN;
        }
        break;
    case NAN_WEIGHT:
    case INFINITE_WEIGHT:
        if (is(t, "blocks.1.attn.W_O")) {
            x[5] = change == NAN_WEIGHT ? NAN : -INFINITY;
        }
        break;
    default:
        break;
    }
}

static void change_size(float *x, int64_t count, degenerate_change change)
{
    switch (change) {
    case ZERO_ALL:
        fill(x, count, 0);
        break;
    case HUGE_WEIGHTS:
        scale(x, count, 1e30F);
        break;
    case DENORMAL_WEIGHTS:
        scale(x, count, 1e-40F);
        break;
    case LARGEST_WEIGHTS:
        for (int64_t i = 0; i < count; i++) {
            x[i] = copysignf(FLT_MAX, x[i]);
        }
        break;
    default:
        break;
    }
}

/* Signs of the values, one magnitude, 16 bits. */
static void narrow(struct degenerate_store *s, int64_t at, const char *dtype, uint16_t magnitude)
{
    otimes_memory_tensor *t = &s->tensor[at];
    const int64_t count = size_of(t);
    s->narrow[at] = calloc((size_t)count, sizeof(uint16_t));
    assert_non_null(s->narrow[at]);
    for (int64_t i = 0; i < count; i++) {
        s->narrow[at][i] = (uint16_t)(signbit(s->value[at][i]) ? magnitude | 0x8000 : magnitude);
    }
    t->dtype = dtype;
    t->bytes = count * (int64_t)sizeof(uint16_t);
}

static void change_dtype(struct degenerate_store *s, int64_t at)
{
    switch (s->change) {
    case LARGEST_BF16:
        narrow(s, at, "BF16", 0x7f7f);
        break;
    case SMALLEST_BF16:
        narrow(s, at, "BF16", 1);
        break;
    case LARGEST_F16:
        narrow(s, at, "F16", 0x7bff);
        break;
    case SMALLEST_F16:
        narrow(s, at, "F16", 1);
        break;
    default:
        break;
    }
}

/* ---- the model ---- */

static char *config_text(const struct degenerate_store *s)
{
    const shape *n = &s->shape;
    json_t *config = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:b}", "model_type", "transformer_lens",
        "n_layers", (json_int_t)n->layers, "n_heads", (json_int_t)n->heads, "d_model",
        (json_int_t)n->d_model, "d_head", (json_int_t)n->d_head, "d_vocab", (json_int_t)n->d_vocab,
        "d_vocab_out", (json_int_t)n->d_vocab_out, "n_ctx", (json_int_t)n->n_ctx,
        "n_key_value_heads", (json_int_t)n->kv_heads, "eps", 1e-5, "attn_only", n->d_mlp == 0);
    assert_non_null(config);
    json_object_set_new(config, "normalization_type",
                        s->base == LAYER_NORM ? json_string("LN")
                        : s->base == ROTARY   ? json_string("RMS")
                                              : json_null());
    json_object_set_new(config, "positional_embedding_type",
                        json_string(s->base == ROTARY ? "rotary" : "standard"));
    if (s->base == ROTARY) {
        json_object_set_new(config, "rotary_dim", json_integer(n->d_head));
    }
    if (n->d_mlp) {
        json_object_set_new(config, "d_mlp", json_integer(n->d_mlp));
        json_object_set_new(config, "act_fn", json_string(s->base == ROTARY ? "silu" : "gelu"));
        json_object_set_new(config, "gated_mlp", json_boolean(s->base == ROTARY));
    }
    char *text = json_dumps(config, 0);
    assert_non_null(text);
    json_decref(config);
    return text;
}

void degenerate_make(degenerate *d, degenerate_base base, degenerate_change change)
{
    *d = (degenerate){.store = calloc(1, sizeof *d->store)};
    struct degenerate_store *s = d->store;
    assert_non_null(s);
    *s = (struct degenerate_store){
        .base = base, .change = change, .shape = shape_of(base, change), .state = 1};
    add_all(d);
    for (int64_t i = 0; i < d->source.tensor_count; i++) {
        if (is(&s->tensor[i], ".attn.")) {
            change_head(&s->tensor[i], s->value[i], change);
        }
        change_ends(&s->tensor[i], s->value[i], change);
        change_size(s->value[i], size_of(&s->tensor[i]), change);
        change_dtype(s, i);
        s->tensor[i].data = s->narrow[i] ? (const void *)s->narrow[i] : s->value[i];
    }
    d->source.tensor = s->tensor;
    d->source.config = config_text(s);
    d->source.name = base_names[base];
}

void degenerate_open(degenerate *d, degenerate_base base, degenerate_change change, bool processed)
{
    otimes_model_settings settings;
    otimes_err err = {0};
    degenerate_make(d, base, change);
    otimes_model_settings_default(&settings);
    settings.fold_ln = settings.center_writing_weights = settings.center_unembed =
        settings.fold_value_biases = processed;
    settings.threads = 1;
    const int rc = otimes_model_open_memory(&d->model, &d->source, &settings, &err);
    if (rc != OTIMES_OK) {
        fail_msg("%s: %s", degenerate_name(base, change), err.msg);
    }
}

void degenerate_free(degenerate *d)
{
    otimes_model_close(&d->model);
    for (int64_t i = 0; i < d->source.tensor_count; i++) {
        free(d->store->value[i]);
        free(d->store->narrow[i]);
    }
    free((char *)d->source.config);
    free(d->store);
    *d = (degenerate){0};
}

/* ---- files ---- */

static char *header_text(const degenerate *d)
{
    json_t *header = json_object();
    json_int_t offset = 0;
    for (int64_t i = 0; i < d->source.tensor_count; i++) {
        const otimes_memory_tensor *t = &d->source.tensor[i];
        json_t *dims = json_array();
        for (int axis = 0; axis < t->ndim; axis++) {
            json_array_append_new(dims, json_integer(t->dim[axis]));
        }
        json_object_set_new(header, t->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->dtype, "shape", dims,
                                      "data_offsets", offset, offset + (json_int_t)t->bytes));
        offset += t->bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    return text;
}

static FILE *create(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return fopen(path, "wb");
}

int degenerate_write(const degenerate *d, const char *folder)
{
    FILE *config = create(folder, "config.json"), *weights = create(folder, "model.safetensors");
    char *header = header_text(d);
    bool right = config && weights && header;
    if (right) {
        const uint64_t length = strlen(header);
        unsigned char size[8];
        for (int i = 0; i < 8; i++) {
            size[i] = (unsigned char)(length >> 8 * i);
        }
        right = fputs(d->source.config, config) >= 0 &&
                fwrite(size, 1, sizeof size, weights) == sizeof size && fputs(header, weights) >= 0;
    }
    for (int64_t i = 0; right && i < d->source.tensor_count; i++) {
        const otimes_memory_tensor *t = &d->source.tensor[i];
        right = fwrite(t->data, 1, (size_t)t->bytes, weights) == (size_t)t->bytes;
    }
    right = (!config || fclose(config) == 0) && right;
    right = (!weights || fclose(weights) == 0) && right;
    free(header);
    return right ? 0 : -1;
}
