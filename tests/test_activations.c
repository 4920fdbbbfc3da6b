/* SPDX-License-Identifier: MIT
 *
 * Every point of every architecture lies in the result where a pass over that text alone has it,
 * and a published model's activations are those that were published with it.
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <otimes/activations.h>
#include <otimes/logits.h>

#include "base/glob.h"

/* Text alone and together: products of other sizes, each rounded on its own; a norm behind a block
 * (Gemma 3) divides by a scale well below 1 and so makes that a few times larger. */
#define CLOSE 4e-5

static int try_activations(const otimes_model *model, const otimes_activations_settings *settings,
                           otimes_memory_sink **memory, otimes_err *err)
{
    assert_ok(otimes_memory_sink_new(memory, err), err);
    return otimes_activations(model, settings, otimes_memory_sink_sink(*memory), err);
}

static otimes_memory_sink *run(const otimes_model *model, const otimes_sequences *texts,
                               const char *names, int64_t chunk_rows)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_activations_settings settings;
    otimes_activations_settings_default(&settings);
    settings.sequences = *texts;
    settings.names = names;
    settings.forward.chunk_rows = chunk_rows;
    assert_ok(try_activations(model, &settings, &memory, &err), &err);
    return memory;
}

/* ---- a pass over one text, point by point ---- */

typedef struct seen {
    const otimes_model_info *info;
    int64_t length;
    double *value[OTIMES_HOOK_COUNT]; /* of one layer, laid out as the array of one text */
    int64_t count[OTIMES_HOOK_COUNT];
    int64_t layer;
} seen;

static int look(void *context, const otimes_activation *a, otimes_err *err)
{
    seen *s = context;
    const int64_t heads = s->info->n_heads, experts = s->info->n_experts, n = s->length;
    (void)err;
    if (a->layer != s->layer) {
        return 0;
    }
    for (int64_t i = 0; i < a->rows; i++) {
        const int64_t row = a->row_of ? a->row_of[i] : a->first + i;
        for (int64_t j = 0; j < a->columns; j++) {
            const int64_t at = a->sequence >= 0 ? (a->head * n + row) * n + j
                               : a->head >= 0   ? (row * heads + a->head) * a->columns + j
                               : a->expert >= 0 ? (row * experts + a->expert) * a->columns + j
                                                : row * a->columns + j;
            s->value[a->hook][at] = (double)a->data[i * a->stride + j];
        }
    }
    return 0;
}

static void make_seen(seen *s, const otimes_model *model, int64_t layer)
{
    for (int h = 0; h < OTIMES_HOOK_COUNT; h++) {
        const int64_t columns = otimes_hook_columns(model, (otimes_hook)h);
        const int64_t times = h == OTIMES_HOOK_RESULT        ? s->info->n_heads
                              : h == OTIMES_HOOK_EXPERT_POST ? s->info->n_experts
                                                             : 1;
        if (!otimes_hook_reached(model, (otimes_hook)h, layer)) {
            continue;
        }
        s->count[h] =
            columns < 0 ? s->info->n_heads * s->length * s->length : s->length * columns * times;
        s->value[h] = calloc((size_t)s->count[h], sizeof(double));
        for (int64_t i = 0; i < s->count[h]; i++) {
            s->value[h][i] = h == OTIMES_HOOK_SCORES    ? -INFINITY
                             : h == OTIMES_HOOK_PATTERN ? 0
                                                        : NAN;
        }
    }
}

static void free_seen(seen *s)
{
    for (int h = 0; h < OTIMES_HOOK_COUNT; h++) {
        free(s->value[h]);
    }
}

static bool near(double got, double expected, double scale)
{
    return isnan(expected)   ? isnan(got)
           : isinf(expected) ? got == expected
                             : fabs(got - expected) <= CLOSE * scale;
}

/* A text's part of an array against what was seen; all else of its row is NaN. */
static void compare(const otimes_memory_sink *memory, const char *golden_name, const char *name,
                    int64_t text, const seen *s, otimes_hook hook)
{
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(memory, name, &data);
    assert_non_null(array);
    assert_int_equal(array->type, OTIMES_F32);
    const bool square = hook == OTIMES_HOOK_SCORES || hook == OTIMES_HOOK_PATTERN;
    int64_t dim[4] = {1, 1, 1, 1}, extent[4] = {1, 1, 1, 1}, inside = 0;
    double scale = 1;
    for (int i = 1; i < array->ndim; i++) {
        dim[i] = array->axis[i]->length;
        extent[i] = (square ? i > 1 : i == 1) ? s->length : dim[i];
    }
    for (int64_t i = 0; i < s->count[hook]; i++) {
        scale = isfinite(s->value[hook][i]) ? fmax(scale, fabs(s->value[hook][i])) : scale;
    }
    assert_int_equal(s->count[hook], extent[1] * extent[2] * extent[3]);
    const float *from = (const float *)data + text * dim[1] * dim[2] * dim[3];
    for (int64_t i = 0; i < dim[1]; i++) {
        for (int64_t j = 0; j < dim[2]; j++) {
            for (int64_t k = 0; k < dim[3]; k++) {
                const bool in = i < extent[1] && j < extent[2] && k < extent[3];
                const double got = (double)from[(i * dim[2] + j) * dim[3] + k];
                const double expected = in ? s->value[hook][inside++] : (double)NAN;
                if (!near(got, expected, scale)) {
                    fail_msg("%s: %s of text %d [%d, %d, %d]: expected %.9g, got %.9g", golden_name,
                             name, (int)text, (int)i, (int)j, (int)k, expected, got);
                }
            }
        }
    }
}

static void compare_layer(const otimes_model *model, const otimes_memory_sink *memory,
                          const char *golden_name, const otimes_sequences *texts, int64_t text,
                          int64_t layer)
{
    otimes_err err = {0};
    otimes_forward *forward;
    char name[64];
    seen s = {.info = otimes_model_describe(model), .length = texts->length[text], .layer = layer};
    const otimes_sequences alone = {1, &texts->length[text], &texts->id[text]};
    const otimes_hooks hooks = {((uint64_t)1 << OTIMES_HOOK_COUNT) - 1, look, &s};
    make_seen(&s, model, layer);
    assert_ok(otimes_forward_open(&forward, model, NULL, &err), &err);
    assert_ok(otimes_forward_run(forward, &alone, &hooks, &err), &err);
    for (int h = 0; h < OTIMES_HOOK_COUNT; h++) {
        if (s.value[h]) {
            otimes_activations_name((otimes_hook)h, layer, name, sizeof name);
            assert_null(strchr(name, '{'));
            compare(memory, golden_name, name, text, &s, (otimes_hook)h);
        }
    }
    otimes_forward_close(&forward);
    free_seen(&s);
}

/* All points of three texts of different length, run together and by smaller batches. */
static void points_of_goldens(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        int64_t count, id[2][64];
        golden_open(&g, golden_names[i], i % 2);
        const double *tokens = golden_values(&g, "tokens", &count);
        const int64_t n = count / 2, length[3] = {n - 3, n, 1};
        const int64_t *const ids[3] = {id[1], id[0], id[1] + 2};
        const otimes_sequences texts = {3, length, ids};
        for (int64_t p = 0; p < count; p++) {
            id[p / n][p % n] = (int64_t)tokens[p];
        }
        for (int64_t chunk_rows = 0; chunk_rows <= 4; chunk_rows += 4) {
            otimes_memory_sink *memory = run(g.model, &texts, "*", chunk_rows);
            for (int64_t t = 0; t < 3; t++) {
                for (int64_t l = -1; l < otimes_model_describe(g.model)->n_layers; l++) {
                    compare_layer(g.model, memory, g.name, &texts, t, l);
                }
            }
            otimes_memory_sink_free(&memory);
        }
        golden_close(&g);
    }
}

/* A text longer than a strip of queries: what a query does not see is there all the same, and its first
 * tokens are the text that they are alone. */
static void longer_than_a_strip(void **state)
{
    enum { LONG = 200, SHORT = 9 };
    static const char *const names[] = {"blocks.1.attn.hook_pattern",
                                        "blocks.1.attn.hook_attn_scores"};
    int64_t ids[LONG], length[] = {LONG, SHORT}, count;
    static const double hidden[] = {0, -INFINITY};
    const int64_t *const id = ids;
    golden g;
    (void)state;
    golden_open(&g, "llama", true);
    for (int i = 0; i < LONG; i++) {
        ids[i] = i * i % 17;
    }
    const otimes_sequences whole = {1, length, &id}, first = {1, length + 1, &id};
    otimes_memory_sink *memory = run(g.model, &whole, "*", 0), *part = run(g.model, &first, "*", 0);
    for (int p = 0; p < 2; p++) {
        double *all = sink_values(memory, names[p], &count),
               *some = sink_values(part, names[p], &count);
        assert_true(all && some);
        for (int q = 0; q < LONG; q++) {
            double sum = 0;
            for (int k = 0; k < LONG; k++) {
                const double got = all[q * LONG + k];
                sum += p == 0 ? got : 0;
                assert_true(k <= q ? isfinite(got) : got == hidden[p]);
                assert_true(q >= SHORT || k >= SHORT || got == some[q * SHORT + k] ||
                            fabs(got - some[q * SHORT + k]) < CLOSE);
            }
            assert_true(p == 1 || fabs(sum - 1) < 1e-5);
        }
        free(all);
        free(some);
    }
    otimes_memory_sink_free(&memory);
    otimes_memory_sink_free(&part);
    golden_close(&g);
}

/* ---- published activations ---- */

/* Numbers of a tensor in base64; the caller's to free. */
static float *decode(const json_t *tensor, int64_t *count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *text = json_string_value(json_object_get(tensor, "data"));
    const size_t length = strlen(text);
    unsigned char *bytes = malloc(length + sizeof(float));
    uint32_t held = 0;
    size_t used = 0;
    int bits = 0;
    for (size_t i = 0; i < length && text[i] != '='; i++) {
        held = held << 6 | (uint32_t)(strchr(digits, text[i]) - digits);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes[used++] = (unsigned char)(held >> bits);
        }
    }
    *count = (int64_t)(used / sizeof(float));
    return (float *)(void *)bytes;
}

/* Heads before positions, as torch has them, into positions before heads. */
static void swap_heads(float *x, int64_t texts, int64_t heads, int64_t rows, int64_t d)
{
    float *old = malloc((size_t)(texts * heads * rows * d) * sizeof *old);
    memcpy(old, x, (size_t)(texts * heads * rows * d) * sizeof *old);
    for (int64_t i = 0; i < texts * heads * rows; i++) {
        const int64_t t = i / (heads * rows), h = i / rows % heads, r = i % rows;
        memcpy(x + ((t * rows + r) * heads + h) * d, old + i * d, (size_t)d * sizeof *x);
    }
    free(old);
}

/* Largest difference of an array from what was published, where either is a number. */
static void check_published(const otimes_memory_sink *memory, const json_t *all, const char *theirs,
                            const char *ours, bool heads, double *worst)
{
    int64_t count, expected_count;
    double *got = sink_values(memory, ours, &count);
    float *expected = decode(json_object_get(all, theirs), &expected_count);
    assert_non_null(got);
    if (heads) {
        swap_heads(expected, 3, 3, 11, 16);
    }
    assert_true(count % expected_count == 0); /* positions are the same for each text */
    for (int64_t i = 0; i < count; i++) {
        const double wanted = (double)expected[i % expected_count];
        if (isfinite(got[i]) && isfinite(wanted)) {
            *worst = fmax(*worst, fabs(got[i] - wanted));
        } else {
            assert_true(got[i] == wanted); /* scores of keys that are not seen */
        }
    }
    if (!(*worst <= 5e-6)) {
        fail_msg("%s: %s: %.3g apart", theirs, ours, *worst);
    }
    free(got);
    free(expected);
}

static unsigned char *read_all(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*length + 1);
    assert_int_equal(fread(bytes, 1, *length, file), *length);
    fclose(file);
    return bytes;
}

/* The biases of c_attn that the model was published with (gpt-nano-sort-model.json) and that its
 * copy as safetensors lacks, behind the other tensors. */
static unsigned char *add_biases(json_t *header, unsigned char *data, size_t *length)
{
    json_error_t parsed;
    json_t *published =
        json_load_file(shared_path("gpt_nano_sort/gpt-nano-sort-model.json"), 0, &parsed);
    assert_non_null(published);
    for (int layer = 0; layer < 3; layer++) {
        char name[64];
        int64_t count;
        snprintf(name, sizeof name, "transformer.h.%d.attn.c_attn.bias", layer);
        float *bias = decode(json_object_get(published, name), &count);
        const size_t bytes = (size_t)count * sizeof *bias;
        data = realloc(data, *length + bytes);
        memcpy(data + *length, bias, bytes);
        json_object_set_new(header, name,
                            json_pack("{s:s, s:[I], s:[I, I]}", "dtype", "F32", "shape",
                                      (json_int_t)count, "data_offsets", (json_int_t)*length,
                                      (json_int_t)(*length + bytes)));
        *length += bytes;
        free(bias);
    }
    json_decref(published);
    return data;
}

/* The model as it was published, in the test's folder. */
static void complete_model(void)
{
    size_t length, config_length;
    unsigned char *file = read_all(shared_path("gpt_nano_sort/model.safetensors"), &length);
    unsigned char *config = read_all(shared_path("gpt_nano_sort/config.json"), &config_length);
    uint64_t size;
    memcpy(&size, file, sizeof size);
    json_t *header = json_loadb((char *)file + 8, (size_t)size, 0, NULL);
    length -= 8 + (size_t)size;
    unsigned char *data = malloc(length);
    memcpy(data, file + 8 + size, length);
    data = add_biases(header, data, &length);
    char *text = json_dumps(header, JSON_COMPACT);
    size = strlen(text);
    unsigned char *whole = malloc(8 + (size_t)size + length);
    memcpy(whole, &size, 8);
    memcpy(whole + 8, text, (size_t)size);
    memcpy(whole + 8 + size, data, length);
    write_file("model.safetensors", whole, 8 + (size_t)size + length);
    write_file("config.json", config, config_length);
    json_decref(header);
    free(text);
    free(whole);
    free(data);
    free(config);
    free(file);
}

static void sorting_model(void **state)
{
    (void)state;
    static const struct {
        const char *theirs, *ours;
        bool heads;
    } pairs[] = {
        {"tok_emb", "hook_embed", false},
        {"pos_emb", "hook_pos_embed", false},
        {"x", "blocks.0.hook_resid_pre", false},
        {"ln1", "blocks.0.ln1.hook_normalized", false},
        {"q", "blocks.0.attn.hook_q", true},
        {"k", "blocks.0.attn.hook_k", true},
        {"v", "blocks.0.attn.hook_v", true},
        {"att", "blocks.0.attn.hook_attn_scores", false},
        {"attSm", "blocks.0.attn.hook_pattern", false},
        {"y", "blocks.0.attn.hook_z", false},
        {"yProj", "blocks.0.hook_attn_out", false},
        {"attnResid", "blocks.0.hook_resid_mid", false},
        {"ln2", "blocks.0.ln2.hook_normalized", false},
        {"fc", "blocks.0.mlp.hook_pre", false},
        {"gelu", "blocks.0.mlp.hook_post", false},
        {"mlp", "blocks.0.hook_mlp_out", false},
        {"mlpResid", "blocks.0.hook_resid_post", false},
        {"block0", "blocks.0.hook_resid_post", false},
        {"block1", "blocks.1.hook_resid_post", false},
        {"block2", "blocks.2.hook_resid_post", false},
        {"ln_f", "ln_final.hook_normalized", false},
    };
    otimes_err err = {0};
    otimes_model *model;
    otimes_model_settings raw;
    json_error_t parsed;
    int64_t count, id[3][11];
    static const int64_t length[] = {11, 11, 11};
    const int64_t *const ids[] = {id[0], id[1], id[2]};
    const otimes_sequences texts = {3, length, ids};
    double worst = 0;
    const char *path = shared_path("gpt_nano_sort/gpt-nano-sort-t0-partials.json");
    json_t *all = path ? json_load_file(path, 0, &parsed) : NULL;
    if (!all) {
        print_message("skipped: ../shared/weights/gpt_nano_sort is not here\n");
        skip();
    }
    float *tokens = decode(json_object_get(all, "idx"), &count);
    for (int64_t i = 0; i < 33; i++) {
        id[i / 11][i % 11] = (int64_t)tokens[i];
    }
    otimes_model_settings_default(&raw);
    raw.fold_ln = raw.center_writing_weights = raw.center_unembed = raw.fold_value_biases = 0;
    complete_model();
    assert_ok(otimes_model_open(&model, temp_folder, &raw, &err), &err);
    otimes_memory_sink *memory = run(model, &texts, "*", 0);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        check_published(memory, all, pairs[i].theirs, pairs[i].ours, pairs[i].heads, &worst);
    }
    otimes_memory_sink_free(&memory);
    otimes_logits_settings settings;
    otimes_logits_settings_default(&settings);
    settings.sequences = texts;
    settings.full = 1;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_logits(model, &settings, otimes_memory_sink_sink(memory), &err), &err);
    check_published(memory, all, "lm_head", "logits", false, &worst);
    print_message("largest difference from %d published tensors: %.2g\n",
                  (int)(sizeof pairs / sizeof *pairs) + 1, worst);
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
    free(tokens);
    json_decref(all);
}

/* ---- names ---- */

static void globs(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool matches;
    } cases[] = {
        {"*", "", true},          {"*", "a.b", true},         {"", "", true},
        {"", "a", false},         {"a*c", "abc", true},       {"a*c", "ac", true},
        {"a*c", "abcd", false},   {"a?c", "abc", true},       {"a?c", "ac", false},
        {"*b*b*", "abab", true},  {"*b*b*", "aba", false},    {"a**", "a", true},
        {"b.*.q", "b.1.q", true}, {"b.*.q", "b.1.qq", false}, {"b.?.q", "b.10.q", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(otimes_glob(cases[i].pattern, strlen(cases[i].pattern), cases[i].name),
                         cases[i].matches);
    }
    assert_true(otimes_glob_list("x,a*,y", "abc"));
    assert_false(otimes_glob_list("x,b*,y", "abc"));
    char many[4001];
    memset(many, 'a', 4000); /* linear, where trying everything anew would not end */
    many[4000] = '\0';
    assert_false(otimes_glob("*a*a*a*a*a*a*a*a*b", 18, many));
}

static void names_and_shapes(void **state)
{
    (void)state;
    static const int64_t id[] = {1, 2, 3, 4}, length[] = {4};
    const int64_t *const ids[] = {id};
    const otimes_sequences texts = {1, length, ids};
    char text[128];
    const void *data;
    golden g;
    golden_open(&g, "mixtral", true);
    otimes_activations_shape(g.model, OTIMES_HOOK_K, text, sizeof text);
    assert_string_equal(text, "[text, position, kv_head 2, d_head 4]");
    otimes_activations_shape(g.model, OTIMES_HOOK_PATTERN, text, sizeof text);
    assert_string_equal(text, "[text, head 4, query, key]");
    otimes_activations_name(OTIMES_HOOK_EXPERT_POST, 1, text, sizeof text);
    assert_string_equal(text, "blocks.1.mlp.experts.hook_post");
    otimes_activations_pattern(OTIMES_HOOK_EXPERT_POST, text, sizeof text);
    assert_string_equal(text, "blocks.{l}.mlp.experts.hook_post");
    otimes_memory_sink *memory = run(g.model, &texts, "blocks.1.attn.hook_?,hook_embed", 0);
    assert_non_null(otimes_memory_sink_array(memory, "blocks.1.attn.hook_v", &data));
    assert_non_null(otimes_memory_sink_array(memory, "hook_embed", &data));
    assert_null(otimes_memory_sink_array(memory, "blocks.0.attn.hook_v", &data));
    assert_null(otimes_memory_sink_array(memory, "blocks.1.attn.hook_pattern", &data));
    assert_string_equal(otimes_memory_sink_attr(memory, "names")->text,
                        "blocks.1.attn.hook_?,hook_embed");
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

/* ---- what cannot be met ---- */

static void requests_that_cannot_be_met(void **state)
{
    (void)state;
    static const char *const names[] = {NULL, "", "*,", "blocks.?.hook_q", "*,blocks.7.*"};
    static const int64_t id[] = {1, 2, 3, 4}, length[] = {4};
    const int64_t *const ids[] = {id};
    golden g;
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_activations_settings settings;
    golden_open(&g, "gpt2", true);
    otimes_activations_settings_default(&settings);
    settings.sequences = (otimes_sequences){1, length, ids};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        settings.names = names[i];
        assert_int_equal(try_activations(g.model, &settings, &memory, &err), OTIMES_ERR_ARGUMENT);
        assert_non_null(strstr(err.msg, "names: expected some of the points"));
        assert_non_null(strstr(err.msg, " blocks.{l}.attn.hook_z "));
        assert_null(strstr(err.msg, "hook_rot_q"));
        otimes_memory_sink_free(&memory);
    }
    settings.names = "*";
    settings.forward.memory = 100;
    assert_int_equal(try_activations(g.model, &settings, &memory, &err), OTIMES_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "memory: expected at most 100"));
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

/* A sink that asks to stop is obeyed. */
static int stop_at_once(otimes_sink *sink, double done, double total)
{
    (void)sink, (void)done, (void)total;
    return 1;
}

static void cancelled(void **state)
{
    (void)state;
    static const int64_t id[] = {1, 2, 3}, length = 3;
    const int64_t *const ids[] = {id};
    golden g;
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_activations_settings settings;
    otimes_activations_settings_default(&settings);
    settings.sequences = (otimes_sequences){1, &length, ids};
    settings.names = "*.hook_q";
    golden_open(&g, "gpt2", true);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    otimes_sink *inner = otimes_memory_sink_sink(memory);
    otimes_sink_ops ops = *inner->ops;
    ops.progress = stop_at_once;
    otimes_sink stopping = {&ops, inner->state};
    assert_int_equal(otimes_activations(g.model, &settings, &stopping, &err), OTIMES_ERR_CANCELLED);
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_of_goldens),
        cmocka_unit_test(longer_than_a_strip),
        cmocka_unit_test_teardown(sorting_model, empty_folder),
        cmocka_unit_test(globs),
        cmocka_unit_test(names_and_shapes),
        cmocka_unit_test(requests_that_cannot_be_met),
        cmocka_unit_test(cancelled),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
