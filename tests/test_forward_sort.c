/* SPDX-License-Identifier: MIT
 *
 * Activations that others have published: PyTorch's for three inputs of a small model that sorts
 * letters (bbycroft/llm-viz, public/gpt-nano-sort-t0-partials.json, base64 of float32).
 */
#include "forwarding.h"
#include "trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"

/* What PyTorch and we round differently in float32, absolute: activations are of order 1. */
static const double limit = 5e-6;

enum { TEXTS = 3, TOKENS = 11, HEADS = 3 };

static int digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Base64 to floats; *count of them. */
static float *decode(const char *text, int64_t *count)
{
    const size_t length = strlen(text);
    unsigned char *bytes = calloc(1, length + 4);
    size_t n = 0;
    unsigned bits = 0;
    assert_non_null(bytes);
    for (size_t i = 0; i < length && text[i] != '='; i++) {
        assert_true(digit(text[i]) >= 0);
        bits = bits << 6 | (unsigned)digit(text[i]);
        if (i % 4 != 0) {
            bytes[n++] = (unsigned char)(bits >> (6 - 2 * (i % 4)));
        }
    }
    assert_int_equal(n % sizeof(float), 0);
    *count = (int64_t)(n / sizeof(float));
    return (float *)(void *)bytes;
}

static float *published(const json_t *partials, const char *name, int64_t expected)
{
    const json_t *data = json_object_get(json_object_get(partials, name), "data");
    int64_t count;
    if (!json_is_string(data)) {
        fail_msg("%s: not published", name);
    }
    float *values = decode(json_string_value(data), &count);
    if (count != expected) {
        fail_msg("%s: expected %d numbers, got %d", name, (int)expected, (int)count);
    }
    return values;
}

/* One published array and where a pass shows it. */
typedef struct point {
    const char *name;
    otimes_hook hook;
    int64_t layer, columns;
    enum { ROWS, FIRST_TEXT, BY_HEAD, KEYS } shape;
} point;

static const point points[] = {
    {"tok_emb", OTIMES_HOOK_EMBED, -1, 48, ROWS},
    {"pos_emb", OTIMES_HOOK_POS_EMBED, -1, 48, FIRST_TEXT},
    {"x", OTIMES_HOOK_RESID_PRE, 0, 48, ROWS},
    {"ln1", OTIMES_HOOK_LN1_NORMALIZED, 0, 48, ROWS},
    {"q", OTIMES_HOOK_Q, 0, 16, BY_HEAD},
    {"k", OTIMES_HOOK_K, 0, 16, BY_HEAD},
    {"v", OTIMES_HOOK_V, 0, 16, BY_HEAD},
    {"att", OTIMES_HOOK_SCORES, 0, TOKENS, KEYS},
    {"attSm", OTIMES_HOOK_PATTERN, 0, TOKENS, KEYS},
    {"y", OTIMES_HOOK_Z, 0, 48, ROWS},
    {"yProj", OTIMES_HOOK_ATTN_OUT, 0, 48, ROWS},
    {"attnResid", OTIMES_HOOK_RESID_MID, 0, 48, ROWS},
    {"ln2", OTIMES_HOOK_LN2_NORMALIZED, 0, 48, ROWS},
    {"fc", OTIMES_HOOK_MLP_PRE, 0, 192, ROWS},
    {"gelu", OTIMES_HOOK_MLP_POST, 0, 192, ROWS},
    {"mlp", OTIMES_HOOK_MLP_OUT, 0, 48, ROWS},
    {"mlpResid", OTIMES_HOOK_RESID_POST, 0, 48, ROWS},
    {"block0", OTIMES_HOOK_RESID_POST, 0, 48, ROWS},
    {"block1", OTIMES_HOOK_RESID_POST, 1, 48, ROWS},
    {"block2", OTIMES_HOOK_RESID_POST, 2, 48, ROWS},
    {"ln_f", OTIMES_HOOK_LN_FINAL_NORMALIZED, -1, 48, ROWS},
};

/* The pass' number behind entry i of a published array. */
static double ours(const trace *t, const point *p, int64_t i)
{
    const int64_t column = i % p->columns;
    int64_t row = i / p->columns, at = column;
    trace_key key = {p->hook, p->layer, -1, -1, -1};
    if (p->shape == BY_HEAD || p->shape == KEYS) { /* [text, head, token, column] */
        const int64_t text = row / TOKENS / HEADS, head = row / TOKENS % HEADS;
        row %= TOKENS;
        if (p->shape == BY_HEAD) {
            row += text * TOKENS;
            at += head * p->columns;
        } else {
            key.sequence = text;
            key.head = head;
        }
    }
    const trace_array *a = trace_find(t, key);
    assert_non_null(a);
    assert_true(row < a->rows && at < a->columns);
    return a->data[row * a->columns + at];
}

static void compare(const trace *t, const json_t *partials, const point *p)
{
    const int64_t texts = p->shape == FIRST_TEXT ? 1 : TEXTS;
    const bool by_head = p->shape == BY_HEAD || p->shape == KEYS;
    const int64_t count = texts * TOKENS * p->columns * (by_head ? HEADS : 1);
    float *want = published(partials, p->name, count);
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        const double got = ours(t, p, i), expected = (double)want[i];
        const double gap = got == expected ? 0 : fabs(got - expected);
        if (!(gap <= limit)) {
            fail_msg("%s[%d]: expected %.9g, got %.9g", p->name, (int)i, expected, got);
        }
        worst = fmax(worst, gap);
    }
    print_message("%-10s %.1e\n", p->name, worst);
    free(want);
}

static void softmax(const float *logits, double *probability)
{
    double sum = 0;
    for (int j = 0; j < 3; j++) {
        sum += probability[j] = exp((double)logits[j]);
    }
    for (int j = 0; j < 3; j++) {
        probability[j] /= sum;
    }
}

/* ---- the model, which is published as base64 too ---- */

/* Tensors one after another behind their header; minGPT's own names and layout. */
static void write_model(const json_t *weights)
{
    json_t *header = json_object();
    json_t *tensor;
    const char *name;
    static unsigned char data[1 << 20];
    size_t at = 0;
    json_object_foreach ((json_t *)weights, name, tensor) {
        if (!json_object_get(tensor, "data")) {
            continue; /* the configuration */
        }
        int64_t count;
        float *values = decode(json_string_value(json_object_get(tensor, "data")), &count);
        const size_t bytes = (size_t)count * sizeof *values;
        assert_true(at + bytes <= sizeof data);
        memcpy(data + at, values, bytes);
        free(values);
        json_object_set_new(header, name,
                            json_pack("{s:s, s:O, s:[I, I]}", "dtype", "F32", "shape",
                                      json_object_get(tensor, "shape"), "data_offsets",
                                      (json_int_t)at, (json_int_t)(at + bytes)));
        at += bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    const size_t length = strlen(text);
    unsigned char *whole = calloc(1, 8 + length + at);
    assert_non_null(whole);
    for (int i = 0; i < 8; i++) {
        whole[i] = (unsigned char)(length >> 8 * i);
    }
    memcpy(whole + 8, text, length);
    memcpy(whole + 8 + length, data, at);
    write_file("model.safetensors", whole, 8 + length + at);
    free(whole);
    free(text);
    json_decref(header);
    static const char config[] = "{\"model_type\": \"mingpt\", \"block_size\": 11, \"n_embd\": 48, "
                                 "\"n_head\": 3, \"n_layer\": 3, \"vocab_size\": 3}";
    write_file("config.json", config, sizeof config - 1);
}

static otimes_model *open_published(const char *folder)
{
    char file[4200];
    json_t *weights;
    otimes_err err = {0};
    otimes_model *model;
    otimes_model_settings settings;
    snprintf(file, sizeof file, "%s/gpt-nano-sort-model.json", folder);
    assert_ok(otimes_json_load(&weights, file, &err), &err);
    write_model(weights);
    json_decref(weights);
    otimes_model_settings_default(&settings);
    settings.fold_ln = settings.center_writing_weights = 0;
    settings.center_unembed = settings.fold_value_biases = 0;
    assert_ok(otimes_model_open(&model, temp_folder, &settings, &err), &err);
    return model;
}

static void published_activations(void **state)
{
    (void)state;
    char folder[4096], file[4200];
    otimes_err err = {0};
    json_t *partials;
    if (!shared_path("gpt_nano_sort")) {
        skip();
    }
    snprintf(folder, sizeof folder, "%s", shared_path("gpt_nano_sort"));
    snprintf(file, sizeof file, "%s/gpt-nano-sort-t0-partials.json", folder);
    assert_ok(otimes_json_load(&partials, file, &err), &err);
    otimes_model *model = open_published(folder);

    static const int64_t lengths[TEXTS] = {TOKENS, TOKENS, TOKENS};
    made_batch batch;
    trace t;
    float *idx = published(partials, "idx", TEXTS * TOKENS);
    batch_random(&batch, model, lengths, TEXTS, 1);
    for (int64_t i = 0; i < TEXTS * TOKENS; i++) {
        batch.ids[i / TOKENS][i % TOKENS] = (int64_t)idx[i];
    }
    trace_init(&t, model, &batch.sequences);
    const otimes_hooks hooks = trace_hooks(&t, ((uint64_t)1 << OTIMES_HOOK_COUNT) - 1);
    float *logits = forward_logits(model, NULL, &batch, &hooks, "gpt-nano");
    trace_is_whole(&t, "gpt-nano");
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        compare(&t, partials, &points[i]);
    }
    float *want = published(partials, "lm_head", TEXTS * TOKENS * 3);
    float *likely = published(partials, "probs", TEXTS * TOKENS * 3);
    for (int64_t i = 0; i < TEXTS * TOKENS * 3; i++) {
        double probability[3];
        softmax(logits + i / 3 * 3, probability);
        assert_true(fabs((double)logits[i] - (double)want[i]) <= 2 * limit); /* up to 12 */
        assert_true(fabs(probability[i % 3] - (double)likely[i]) <= limit);
    }
    free(idx);
    free(logits);
    free(want);
    free(likely);
    trace_free(&t);
    json_decref(partials);
    otimes_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(published_activations, empty_folder)};
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
