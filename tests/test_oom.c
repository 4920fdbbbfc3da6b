/* SPDX-License-Identifier: MIT
 *
 * Memory that ends while files are opened, read, and taken apart without running the model; oom.h
 * says how.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/bigram.h>
#include <otimes/diff.h>
#include <otimes/heads.h>
#include <otimes/info.h>
#include <otimes/parse.h>
#include <otimes/tokens.h>

#include "format/open.h"
#include "gguf_writer.h"
#include "lent.h"
#include "oom.h"

/* ---- opening ---- */

static int open_and_close(void *context, otimes_err *err)
{
    otimes_model *model = context;
    const int rc = otimes_model_open(&model, context, NULL, err);
    assert_true(rc == OTIMES_OK || !model);
    otimes_model_close(&model);
    return rc;
}

static void opening_models(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        char relative[128] = "tests/golden/", path[4096];
        strcat(relative, golden_names[i]);
        strcpy(path, source_path(relative));
        until_it_succeeds(golden_names[i], open_and_close, path, 10);
    }
}

static int open_store(void *context, otimes_err *err)
{
    otimes_store store;
    const int rc = otimes_store_open(&store, context, err);
    assert_true(rc == OTIMES_OK || (!store.files && !store.entries && !store.config));
    otimes_store_close(&store);
    return rc;
}

static int refuse_store(void *context, otimes_err *err)
{
    otimes_store store;
    const int rc = otimes_store_open(&store, context, err);
    assert_true(rc == OTIMES_ERR_MEMORY || rc == OTIMES_ERR_FORMAT);
    return rc == OTIMES_ERR_FORMAT ? OTIMES_OK : rc;
}

/* Two tensors, two keys, a text to repair. */
static void opening_gguf(void **state)
{
    (void)state;
    static gguf_writer w;
    static const uint64_t dim[] = {32, 2};
    gguf_header(&w, 3, 2, 2);
    gguf_key_text(&w, "general.architecture", "made");
    gguf_key_text(&w, "made.text", "a\xff");
    gguf_tensor(&w, "a", 2, dim, 8, 0);
    gguf_tensor(&w, "b", 1, dim, 24, 96);
    gguf_align(&w, 32);
    gguf_data(&w, 96 + 32);
    write_file("model.gguf", w.bytes, w.length);
    until_it_succeeds("a GGUF file", open_store, (char *)in_folder("model.gguf"), 15);
    /* An error that is made of text. */
    gguf_header(&w, 3, 1, 0);
    gguf_tensor(&w, "a", 1, dim, 16, 0);
    write_file("unread.gguf", w.bytes, w.length);
    until_it_succeeds("a type not supported", refuse_store, (char *)in_folder("unread.gguf"), 4);
}

static void opening_llama2c(void **state)
{
    (void)state;
    static unsigned char bytes[28 + 32 * 4] = {
        [0] = 2, [4] = 1, [8] = 1, [12] = 1, [16] = 1, [20] = 1, [24] = 1};
    write_file("model.bin", bytes, sizeof bytes);
    until_it_succeeds("a llama2.c file", open_store, (char *)in_folder("model.bin"), 25);
}

static void opening_checkpoints(void **state)
{
    (void)state;
    static const char *const files[] = {"zip.pt", "legacy.pt", "nested.pt", "float8.pt"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char relative[128] = "tests/data/torch/", path[4096];
        strcat(relative, files[i]);
        strcpy(path, source_path(relative));
        until_it_succeeds(files[i], open_store, path, 20);
    }
}

/* With the digest, which is their own. */
static int open_memory(void *context, otimes_err *err)
{
    const lent *l = context;
    otimes_model *model = context;
    char *text = NULL;
    int rc = otimes_model_open_memory(&model, &l->source, NULL, err);
    assert_true(rc == OTIMES_OK || !model);
    if (rc == OTIMES_OK) {
        rc = otimes_model_sha256(model, &text, err);
        assert_true(rc == OTIMES_OK ? text != NULL : text == NULL);
    }
    otimes_text_release(&text);
    otimes_model_close(&model);
    return rc;
}

static void opening_memory(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        lent l;
        otimes_model *model = oom_golden(golden_names[i]);
        lent_make(&l, model, LAY_STRANGE);
        l.source.token_count -= l.source.token_count > 0; /* one that is named by its number */
        until_it_succeeds(golden_names[i], open_memory, &l, 10);
        if (strcmp(golden_names[i], "gpt2") == 0) {
            otimes_memory_tensor *tied = &l.tensor[l.source.tensor_count++];
            *tied = *lent_find(&l, "transformer.wte.weight");
            tied->name = "lm_head.weight";
            until_it_succeeds("tied weights", open_memory, &l, 10);
            l.source.tensor_count--;
        }
        lent_free(&l);
        otimes_model_close(&model);
    }
}

/* `begin`, so many times `item` with commas between and its number for #, `end`; released by the caller. */
static char *repeated(const char *begin, const char *item, int count, const char *end)
{
    const size_t room = strlen(item) + 16;
    char *text = malloc(strlen(begin) + (size_t)count * room + strlen(end) + 1);
    assert_non_null(text);
    char *at = stpcpy(text, begin);
    for (int i = 0; i < count; i++) {
        const char *number = strchr(item, '#');
        at += number ? snprintf(at, room, "%.*s%d%s", (int)(number - item), item, i, number + 1)
                     : snprintf(at, room, "%s", item);
        at = stpcpy(at, i + 1 < count ? "," : end);
    }
    return text;
}

/* What is seen to be there before jansson begins is more than it takes. */
static void room_for_json(void **state)
{
    (void)state;
    static const struct {
        const char *begin, *item, *end;
    } texts[] = {
        {"[", "[]", "]"},           {"[", "{}", "]"},       {"[", "1", "]"},
        {"[", "\"\"", "]"},         {"[", "1.5", "]"},      {"[", "null", "]"},
        {"{", "\"#\":1", "}"},      {"{", "\"#\":{}", "}"}, {"{", "\"#\":[]", "}"},
        {"{", "\"#\":\"x\"", "}"},  {"[", "[[[]]]", "]"},   {"[", "{\"a\":{\"b\":[]}}", "]"},
        {"[\"", "xxxxxxxx", "\"]"},
    };
    static const int counts[] = {1, 2, 9, 100, 1025, 70000};
    for (size_t i = 0; i < sizeof texts / sizeof *texts * 6; i++) {
        const size_t t = i / 6;
        char *text = repeated(texts[t].begin, texts[t].item, counts[i % 6], texts[t].end);
        int64_t taken, seen;
        json_t *json;
        otimes_err err = {0};
        oom_sizes(&taken, &seen);
        assert_ok(otimes_json_parse(&json, text, (int64_t)strlen(text), "text", &err), &err);
        oom_sizes(&taken, &seen);
        if (taken > seen) {
            fail_msg("%.40s...: %d bytes of room, %d taken", text, (int)seen, (int)taken);
        }
        json_decref(json);
        free(text);
    }
}

/* An error that is made of text must not turn into none when that text finds no memory. */
static int open_wrong_model(void *context, otimes_err *err)
{
    otimes_model *model = NULL;
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    char other[4096];
    strcpy(other, source_path("tests/golden/llama/config.json"));
    settings.config_path = other;
    const int rc = otimes_model_open(&model, context, &settings, err);
    assert_null(model);
    assert_true(rc == OTIMES_ERR_MEMORY || rc == OTIMES_ERR_MODEL);
    return rc == OTIMES_ERR_MODEL ? OTIMES_OK : rc;
}

static void reporting_problems(void **state)
{
    (void)state;
    char path[4096];
    strcpy(path, source_path("tests/golden/gpt2"));
    until_it_succeeds("a model of another architecture", open_wrong_model, path, 10);
}

/* ---- reading ---- */

static int load_layer(void *context, otimes_err *err)
{
    otimes_layer layer;
    const int64_t last = otimes_model_describe(context)->n_layers - 1;
    const int rc = otimes_layer_load(context, last, OTIMES_PART_ALL, &layer, err);
    assert_true(rc == OTIMES_OK || (!layer.memory && !layer.W_Q.data && !layer.b_O.data));
    otimes_layer_free(&layer);
    return rc;
}

static int open_unembed(void *context, otimes_err *err)
{
    otimes_unembed unembed;
    const int rc = otimes_unembed_open(context, &unembed, err);
    assert_true(rc == OTIMES_OK || (!unembed.mean && !unembed.fold && !unembed.bias));
    otimes_unembed_free(&unembed);
    return rc;
}

static int read_rows(void *context, otimes_err *err)
{
    float rows[2 * 32];
    return otimes_embed_rows(context, 1, 2, rows, err);
}

static int hash(void *context, otimes_err *err)
{
    char *text = (char *)context;
    const int rc = otimes_model_sha256(context, &text, err);
    assert_true(rc == OTIMES_OK ? text != NULL : text == NULL);
    otimes_text_release(&text);
    return rc;
}

static void reading_weights(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        otimes_model *model = oom_golden(golden_names[i]);
        until_it_succeeds("otimes_layer_load", load_layer, model, 1);
        until_it_succeeds("otimes_unembed_open", open_unembed, model, 1);
        until_it_succeeds("otimes_embed_rows", read_rows, model, 0);
        until_it_succeeds("otimes_model_sha256", hash, model, 1);
        otimes_model_close(&model);
    }
}

/* ---- small calls ---- */

static int parse(void *context, otimes_err *err)
{
    otimes_index_list list;
    const int rc = otimes_parse_indices(context, "layers", 10, &list, err);
    assert_true(rc == OTIMES_OK || (!list.index && list.count == 0));
    otimes_index_list_free(&list);
    return rc;
}

static void parsing(void **state)
{
    (void)state;
    char text[] = "0,3-5";
    until_it_succeeds("otimes_parse_indices", parse, text, 2);
    until_it_succeeds("otimes_parse_indices of all", parse, NULL, 2);
}

/* Everything a memory sink keeps copies of. */
static int fill_sink(void *context, otimes_err *err)
{
    static const char *const labels[] = {"a", "b"};
    static const int64_t numbers[] = {3, 4};
    static const int64_t start[OTIMES_MAX_DIMS] = {0}, count[OTIMES_MAX_DIMS] = {2, 2};
    static const char *const words[] = {"w", "x", "y", "z"};
    const otimes_axis named = {"named", 2, labels, NULL, "labels"};
    const otimes_axis numbered = {"numbered", 2, NULL, numbers, NULL};
    const otimes_attr attr = {.name = "who", .kind = OTIMES_ATTR_TEXT, .text = "us"};
    const otimes_array array = {.name = "array",
                                .type = OTIMES_TEXT,
                                .ndim = 2,
                                .axis = {&named, &numbered},
                                .long_name = "long",
                                .units = "1",
                                .formula = "f",
                                .orientation = "o",
                                .labels_of = "l"};
    otimes_memory_sink *memory = context;
    int id = -1, rc = otimes_memory_sink_new(&memory, err);
    assert_true(rc == OTIMES_OK || !memory);
    otimes_sink *sink = memory ? otimes_memory_sink_sink(memory) : NULL;
    for (int i = 0; rc == OTIMES_OK && i < 40; i++) { /* beyond the first room of each list */
        rc = sink->ops->attribute(sink, &attr, err);
        if (rc == OTIMES_OK) {
            rc = sink->ops->declare(sink, &array, &id, err);
        }
        if (rc == OTIMES_OK) {
            rc = sink->ops->write(sink, id, start, count, words, err);
        }
    }
    otimes_memory_sink_free(&memory);
    return rc;
}

static void memory_sink(void **state)
{
    (void)state;
    int anything;
    until_it_succeeds("otimes_memory_sink", fill_sink, &anything, 500);
}

/* Asking whether files have changed takes no memory. */
static void unchanged(void **state)
{
    golden g;
    otimes_err err = {0};
    (void)state;
    golden_open(&g, "llama_sharded", true);
    oom_allow(0);
    const int rc = otimes_model_unchanged(g.model, &err);
    oom_allow(INT64_MAX);
    assert_ok(rc, &err);
    golden_close(&g);
}

/* ---- tokenizers ---- */

static const char *const tokenizers[] = {
    "gpt2",  "gpt2_files", "llama3",    "falcon", "mistral3",         "t5",
    "xlmr",  "bert",       "wordlevel", "splits", "sp_unigram_bytes", "sp_bpe",
    "qwen2", "gemma",      "sp_unigram"};
enum { TOKENIZERS = sizeof tokenizers / sizeof *tokenizers };

static const char *tokenizer_path(const char *kind)
{
    char relative[128] = "tests/data/tokens/";
    strcat(relative, kind);
    return source_path(relative);
}

static int open_tokenizer(void *context, otimes_err *err)
{
    otimes_tokenizer *tokenizer = context;
    const int rc = otimes_tokenizer_open(&tokenizer, context, err);
    assert_true(rc == OTIMES_OK || !tokenizer);
    otimes_tokenizer_close(&tokenizer);
    return rc;
}

static void opening_tokenizers(void **state)
{
    (void)state;
    for (int i = 0; i < TOKENIZERS; i++) {
        char path[4096];
        strcpy(path, tokenizer_path(tokenizers[i]));
        until_it_succeeds(tokenizers[i], open_tokenizer, path, 5);
    }
    if (shared_path("stories260K/tok512.bin")) {
        char path[4096];
        strcpy(path, shared_path("stories260K/tok512.bin"));
        until_it_succeeds("tok512.bin", open_tokenizer, path, 5);
    }
}

static const char some_text[] =
    "It's 12 \t caf\xc3\xa9 e\xcc\x81\0\xff <s> \xf0\x9f\x98\x80 attention!";

static int encode(void *context, otimes_err *err)
{
    otimes_encoding e;
    const int rc =
        otimes_encode(context, some_text, sizeof some_text - 1, OTIMES_BOS_AS_TRAINED, &e, err);
    assert_true(rc == OTIMES_OK || (!e.id && !e.memory && e.count == 0));
    otimes_encoding_free(&e);
    return rc;
}

static int decode(void *context, otimes_err *err)
{
    static const int64_t ids[] = {1, 0, 40, 300, 2, 7, 299, 41, 42};
    char *text = context;
    int64_t bytes = 0;
    const int rc = otimes_decode(context, ids, 9, 1, &text, &bytes, err);
    assert_true(rc == OTIMES_OK ? text != NULL : text == NULL);
    otimes_text_release(&text);
    return rc;
}

static void using_tokenizers(void **state)
{
    (void)state;
    for (int i = 0; i < TOKENIZERS; i++) {
        otimes_tokenizer *tokenizer = NULL;
        otimes_err err = {0};
        assert_ok(otimes_tokenizer_open(&tokenizer, tokenizer_path(tokenizers[i]), &err), &err);
        until_it_succeeds("otimes_encode", encode, tokenizer, 1);
        until_it_succeeds("otimes_decode", decode, tokenizer, 1);
        otimes_tokenizer_close(&tokenizer);
    }
}

/* Pieces whose characters are none, and pieces that end words. */
static void small_tokenizers(void **state)
{
    static const char suffixed[] =
        "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"end_of_word_suffix\":\"</w>\","
        "\"merges\":[],\"vocab\":{\"?\":0,\"a\":1,\"a</w>\":2}}}";
    static const char *const pieces[] = {"<unk>", "<s>", "</s>", "it", "on"};
    static const int types[] = {2, 3, 3, 1, 1};
    static gguf_writer w;
    otimes_tokenizer *tokenizer = NULL;
    otimes_err err = {0};
    char path[4096];
    (void)state;
    write_file("tokenizer.json", suffixed, sizeof suffixed - 1);
    assert_ok(otimes_tokenizer_open(&tokenizer, in_folder("tokenizer.json"), &err), &err);
    until_it_succeeds("a suffix", encode, tokenizer, 1);
    otimes_tokenizer_close(&tokenizer);
    gguf_header(&w, 3, 0, 5);
    gguf_key_text(&w, "general.architecture", "llama");
    gguf_key_text(&w, "tokenizer.ggml.model", "llama");
    gguf_key_array(&w, "tokenizer.ggml.tokens", GGUF_TEXT, 5);
    for (int i = 0; i < 5; i++) {
        gguf_put_text(&w, pieces[i]);
    }
    gguf_key_array(&w, "tokenizer.ggml.scores", GGUF_F32, 5);
    gguf_put_bytes(&w, (const float[]){0, 0, 0, -1, -2}, 5 * sizeof(float));
    gguf_key_array(&w, "tokenizer.ggml.token_type", GGUF_I32, 5);
    gguf_put_bytes(&w, types, sizeof types);
    write_file("model.gguf", w.bytes, w.length);
    strcpy(path, in_folder("model.gguf"));
    until_it_succeeds("characters", open_tokenizer, path, 5);
}

static int run_tokens(void *context, otimes_err *err)
{
    static const char *const text[] = {some_text, "the"};
    otimes_tokens_settings settings;
    otimes_memory_sink *memory;
    otimes_tokens_settings_default(&settings);
    settings.text = text;
    settings.text_count = 2;
    int rc = otimes_memory_sink_new(&memory, err);
    if (rc == OTIMES_OK) {
        rc = otimes_tokens(context, &settings, otimes_memory_sink_sink(memory), err);
    }
    otimes_memory_sink_free(&memory);
    return rc;
}

static void tokens(void **state)
{
    otimes_tokenizer *tokenizer = NULL;
    otimes_err err = {0};
    (void)state;
    assert_ok(otimes_tokenizer_open(&tokenizer, tokenizer_path("llama3"), &err), &err);
    until_it_succeeds("otimes_tokens", run_tokens, tokenizer, 30);
    otimes_tokenizer_close(&tokenizer);
}

/* ---- analyses ---- */

static int run_info(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_info(a->model, a->settings, sink, err);
}

static int run_bigram(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_bigram(a->model, a->settings, sink, err);
}

static int run_heads(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_heads(a->model, a->settings, sink, err);
}

static void info(void **state)
{
    (void)state;
    otimes_info_settings settings;
    otimes_info_settings_default(&settings);
    otimes_model *model = oom_golden("gpt2");
    until_it_succeeds("otimes_info", oom_analyse, &(oom_analysis){model, &settings, run_info}, 100);
    otimes_model_close(&model);
}

static void bigram(void **state)
{
    (void)state;
    static const int64_t rows[] = {0, 3, 4}, columns[] = {1, 2, 3, 11};
    otimes_bigram_settings plain, all;
    otimes_bigram_settings_default(&plain);
    otimes_bigram_settings_default(&all);
    all = (otimes_bigram_settings){.top = 3,
                                   .bottom = 2,
                                   .statistics = 1,
                                   .rows = rows,
                                   .row_count = 3,
                                   .columns = columns,
                                   .column_count = 4,
                                   .exact = 1,
                                   .position = 2,
                                   .full = OTIMES_BIGRAM_FULL_F16};
    otimes_model *model = oom_golden("gpt2");
    until_it_succeeds("otimes_bigram", oom_analyse, &(oom_analysis){model, &plain, run_bigram}, 50);
    until_it_succeeds("otimes_bigram, every option", oom_analyse,
                      &(oom_analysis){model, &all, run_bigram}, 50);
    otimes_model_close(&model);
    model = oom_golden("transformer_lens_none");
    until_it_succeeds("otimes_bigram, two vocabularies", oom_analyse,
                      &(oom_analysis){model, &plain, run_bigram}, 50);
    otimes_model_close(&model);
}

/* Enough pairs for the table of counts to grow, tokens in rising order for that of tokens to. */
static int count_bigrams(void *context, otimes_err *err)
{
    otimes_bigram_counts *counts;
    int64_t id[100];
    int rc = otimes_bigram_counts_new(&counts, err);
    assert_true((rc == OTIMES_OK) == (counts != NULL));
    (void)context;
    for (int64_t t = 1; rc == OTIMES_OK && t < 80; t++) {
        for (int64_t i = 0; i < 100; i++) {
            id[i] = i * t % 101 + 10 * t;
        }
        rc = otimes_bigram_counts_add(counts, id, 100, err);
    }
    otimes_bigram_counts_free(&counts);
    return rc;
}

static void bigram_corpus(void **state)
{
    (void)state;
    static const int64_t text[] = {1, 2, 1, 3, 7};
    otimes_err err = {0};
    otimes_bigram_counts *counts;
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    until_it_succeeds("otimes_bigram_counts", count_bigrams, NULL, 5);
    assert_ok(otimes_bigram_counts_new(&counts, &err), &err);
    assert_ok(otimes_bigram_counts_add(counts, text, 5, &err), &err);
    settings.corpus = counts;
    otimes_model *model = oom_golden("gpt2");
    until_it_succeeds("otimes_bigram, corpus", oom_analyse,
                      &(oom_analysis){model, &settings, run_bigram}, 80);
    otimes_model_close(&model);
    otimes_bigram_counts_free(&counts);
}

static void heads(void **state)
{
    (void)state;
    static const int64_t layers[] = {1}, chosen[] = {0, 2}, tokens[] = {0, 5, 6, 7},
                         offsets[] = {0, 3};
    otimes_heads_settings settings;
    otimes_heads_settings_default(&settings);
    otimes_model *model = oom_golden("transformer_lens_none");
    until_it_succeeds("otimes_heads", oom_analyse, &(oom_analysis){model, &settings, run_heads},
                      100);
    otimes_model_close(&model);

    settings.layers = layers;
    settings.layer_count = 1;
    settings.heads = chosen;
    settings.head_count = 2;
    settings.top = 3;
    settings.components = 2;
    settings.tokens = tokens;
    settings.token_count = 4;
    settings.biases = 1;
    settings.matrices = OTIMES_HEADS_FACTORS | OTIMES_HEADS_PRODUCTS | OTIMES_HEADS_POSITIONS;
    model = oom_golden("gpt2");
    until_it_succeeds("otimes_heads, every option", oom_analyse,
                      &(oom_analysis){model, &settings, run_heads}, 100);
    otimes_model_close(&model);

    settings.matrices = OTIMES_HEADS_FACTORS;
    settings.offsets = offsets;
    settings.offset_count = 2;
    model = oom_golden("llama_scaled");
    until_it_succeeds("otimes_heads, offsets", oom_analyse,
                      &(oom_analysis){model, &settings, run_heads}, 100);
    otimes_model_close(&model);
}

/* ---- comparing ---- */

/* Arrays of real and whole numbers and of texts, of chosen labels in a chosen order. */
static otimes_memory_sink *make_result(const char *const *labels, const double *value)
{
    static const char *const texts[] = {"a", "b", "c"};
    const otimes_axis axis = {.name = "l", .length = 3, .text = labels};
    const int64_t start = 0, count = 3, index[] = {2, 1, 0};
    const struct {
        otimes_array array;
        const void *data;
    } list[] = {
        {{.name = "x", .type = OTIMES_F64, .ndim = 1, .axis = {&axis}}, value},
        {{.name = "id", .type = OTIMES_I64, .ndim = 1, .axis = {&axis}, .labels_of = "l"}, index},
        {{.name = "t", .type = OTIMES_TEXT, .ndim = 1, .axis = {&axis}}, texts}};
    const otimes_attr schema = {.name = "schema", .kind = OTIMES_ATTR_TEXT, .text = "s"};
    const otimes_attr date = {.name = "date", .kind = OTIMES_ATTR_TEXT, .text = labels[0]};
    otimes_memory_sink *memory;
    assert_int_equal(otimes_memory_sink_new(&memory, NULL), 0);
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    assert_int_equal(sink->ops->attribute(sink, &schema, NULL), 0);
    assert_int_equal(sink->ops->attribute(sink, &date, NULL), 0);
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        int id;
        assert_int_equal(sink->ops->declare(sink, &list[i].array, &id, NULL), 0);
        assert_int_equal(sink->ops->write(sink, id, &start, &count, list[i].data, NULL), 0);
    }
    return memory;
}

static int run_diff(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    const otimes_reader *reader = a->settings;
    const otimes_diff_settings s = {.block = 2};
    int equal = -1;
    const int rc = otimes_diff(&reader[0], &reader[1], &s, sink, &equal, err);
    assert_int_equal(equal, rc == OTIMES_OK ? 0 : -1);
    return rc;
}

static void results(void **state)
{
    static const char *const a[] = {"one", "two", "three"}, *const b[] = {"three", "one", "four"};
    static const double x[] = {1, 2, 3}, y[] = {4, 5, 6};
    (void)state;
    otimes_memory_sink *memory[2] = {make_result(a, x), make_result(b, y)};
    otimes_reader reader[2];
    for (int i = 0; i < 2; i++) {
        otimes_memory_sink_reader(memory[i], "r", &reader[i]);
    }
    until_it_succeeds("otimes_diff", oom_analyse, &(oom_analysis){NULL, reader, run_diff}, 100);
    for (int i = 0; i < 2; i++) {
        otimes_memory_sink_free(&memory[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(opening_models, oom_end),
        cmocka_unit_test_teardown(opening_gguf, oom_end),
        cmocka_unit_test_teardown(opening_llama2c, oom_end),
        cmocka_unit_test_teardown(opening_checkpoints, oom_end),
        cmocka_unit_test_teardown(opening_memory, oom_end),
        cmocka_unit_test_teardown(room_for_json, oom_end),
        cmocka_unit_test_teardown(reporting_problems, oom_end),
        cmocka_unit_test_teardown(reading_weights, oom_end),
        cmocka_unit_test_teardown(parsing, oom_end),
        cmocka_unit_test_teardown(memory_sink, oom_end),
        cmocka_unit_test_teardown(opening_tokenizers, oom_end),
        cmocka_unit_test_teardown(small_tokenizers, oom_end),
        cmocka_unit_test_teardown(unchanged, oom_end),
        cmocka_unit_test_teardown(using_tokenizers, oom_end),
        cmocka_unit_test_teardown(tokens, oom_end),
        cmocka_unit_test_teardown(info, oom_end),
        cmocka_unit_test_teardown(bigram, oom_end),
        cmocka_unit_test_teardown(bigram_corpus, oom_end),
        cmocka_unit_test_teardown(heads, oom_end),
        cmocka_unit_test_teardown(results, oom_end),
    };
    oom_count_json();
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
