/* SPDX-License-Identifier: MIT
 *
 * The analysis tokens: what it writes is what the tokenizer says, laid out in one row.
 */
#include "gguf_writer.h"

#include <stdlib.h>
#include <string.h>

#include <otimes/tokens.h>

static otimes_tokenizer *open_kind(const char *kind)
{
    char relative[128] = "tests/data/tokens/";
    otimes_tokenizer *t = NULL;
    otimes_err err = {0};
    strcat(relative, kind);
    assert_ok(otimes_tokenizer_open(&t, source_path(relative), &err), &err);
    return t;
}

static otimes_memory_sink *run(const otimes_tokenizer *t, const otimes_tokens_settings *settings)
{
    otimes_memory_sink *result;
    otimes_err err = {0};
    assert_ok(otimes_memory_sink_new(&result, &err), &err);
    assert_ok(otimes_tokens(t, settings, otimes_memory_sink_sink(result), &err), &err);
    return result;
}

static const int64_t *numbers(const otimes_memory_sink *result, const char *name, int64_t length)
{
    const void *data = NULL;
    const otimes_array *array = otimes_memory_sink_array(result, name, &data);
    assert_non_null(array);
    assert_int_equal(array->type, OTIMES_I64);
    assert_int_equal(array->ndim, 1);
    assert_int_equal(array->axis[0]->length, length);
    return data;
}

static const char *const *words(const otimes_memory_sink *result, const char *name, int64_t length)
{
    const void *data = NULL;
    const otimes_array *array = otimes_memory_sink_array(result, name, &data);
    assert_non_null(array);
    assert_int_equal(array->type, OTIMES_TEXT);
    assert_int_equal(array->axis[0]->length, length);
    return data;
}

/* Several texts, one of them empty, one with NUL and broken bytes. */
static void texts_in_a_row(void **state)
{
    static const char *const text[] = {"The key is 12.", "", "a\0b\xff\x80 \xc3\xa9"};
    static const int64_t bytes[] = {14, 0, 8};
    otimes_tokens_settings settings;
    otimes_err err = {0};
    (void)state;
    otimes_tokens_settings_default(&settings);
    assert_int_equal(settings.bos, OTIMES_BOS_AS_TRAINED);
    settings.text = text;
    settings.bytes = bytes;
    settings.text_count = 3;
    otimes_tokenizer *t = open_kind("llama3");
    for (int bos = OTIMES_BOS_AS_TRAINED; bos <= OTIMES_BOS_ALWAYS; bos++) {
        otimes_encoding e[3];
        int64_t total = 0, at = 0;
        settings.bos = (otimes_bos)bos;
        for (int i = 0; i < 3; i++) {
            assert_ok(otimes_encode(t, text[i], bytes[i], settings.bos, &e[i], &err), &err);
            total += e[i].count;
        }
        otimes_memory_sink *result = run(t, &settings);
        const int64_t *input = numbers(result, "input_index", total);
        const int64_t *position = numbers(result, "position", total);
        const int64_t *id = numbers(result, "id", total);
        const int64_t *begin = numbers(result, "begin", total);
        const int64_t *end = numbers(result, "end", total);
        const int64_t *count = numbers(result, "token_count", 3);
        const char *const *token = words(result, "token", total);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(count[i], e[i].count);
            for (int64_t n = 0; n < e[i].count; n++, at++) {
                assert_int_equal(input[at], i);
                assert_int_equal(position[at], n);
                assert_int_equal(id[at], e[i].id[n]);
                assert_int_equal(begin[at], e[i].begin[n]);
                assert_int_equal(end[at], e[i].end[n]);
                assert_string_equal(token[at], otimes_token_text(t, id[at]));
            }
            otimes_encoding_free(&e[i]);
        }
        const char *const *given = words(result, "text", 3);
        const char *const *decoded = words(result, "decoded", 3);
        static const char last[] = "a<0x00>b\xef\xbf\xbd\xef\xbf\xbd \xc3\xa9";
        assert_string_equal(given[0], text[0]);
        assert_string_equal(given[1], "");
        assert_string_equal(given[2], last);
        assert_string_equal(decoded[0], text[0]);
        assert_string_equal(decoded[1], "");
        assert_string_equal(decoded[2], last);
        static const char *const names[] = {"as trained", "never", "always"};
        assert_string_equal(otimes_memory_sink_attr(result, "bos")->text, names[bos]);
        assert_int_equal(otimes_memory_sink_attr(result, "bos_added")->i64,
                         bos != OTIMES_BOS_NEVER);
        assert_int_equal(otimes_memory_sink_attr(result, "bos_id")->i64,
                         otimes_token_id(t, "<|begin_of_text|>"));
        otimes_memory_sink_free(&result);
    }
    otimes_tokenizer_close(&t);
}

/* Ids as they stand, twice the same; no ranges, no word about BOS. */
static void ids(void **state)
{
    otimes_tokens_settings settings;
    otimes_err err = {0};
    (void)state;
    otimes_tokens_settings_default(&settings);
    otimes_tokenizer *t = open_kind("gpt2");
    const int64_t id[] = {otimes_token_id(t, "t"), otimes_token_id(t, "he"),
                          otimes_token_id(t, "<|endoftext|>"), otimes_token_id(t, "t"),
                          otimes_token_id(t, "\xc3\x83")}; /* byte 0xc3 */
    settings.id = id;
    settings.id_count = 5;
    otimes_memory_sink *result = run(t, &settings);
    assert_memory_equal(numbers(result, "id", 5), id, sizeof id);
    const char *const *token = words(result, "token", 5);
    assert_string_equal(token[1], "he");
    assert_string_equal(token[4], "<0xC3>");
    assert_string_equal(words(result, "decoded", 1)[0], "thet\xef\xbf\xbd");
    const void *none;
    assert_null(otimes_memory_sink_array(result, "begin", &none));
    assert_null(otimes_memory_sink_array(result, "text", &none));
    assert_null(otimes_memory_sink_attr(result, "bos"));
    assert_int_equal(otimes_memory_sink_attr(result, "vocab_size")->i64, 513);
    assert_int_equal(strlen(otimes_memory_sink_attr(result, "tokenizer_sha256")->text), 64);
    otimes_memory_sink_free(&result);

    static const int64_t wrong[] = {0, 513};
    assert_ok(otimes_memory_sink_new(&result, &err), &err);
    settings.id = wrong;
    settings.id_count = 2;
    assert_int_equal(otimes_tokens(t, &settings, otimes_memory_sink_sink(result), &err),
                     OTIMES_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "513"));
    settings.id = NULL;
    assert_int_equal(otimes_tokens(t, &settings, otimes_memory_sink_sink(result), &err),
                     OTIMES_ERR_ARGUMENT);
    otimes_memory_sink_free(&result);
    otimes_tokenizer_close(&t);
}

/* No texts and no tokens at all are results too. */
static void nothing(void **state)
{
    static const char *const text[] = {""};
    otimes_tokens_settings settings;
    otimes_err err = {0};
    (void)state;
    otimes_tokens_settings_default(&settings);
    otimes_tokenizer *t = open_kind("starcoder2");
    settings.text = text;
    for (settings.text_count = 0; settings.text_count < 2; settings.text_count++) {
        otimes_memory_sink *result = run(t, &settings);
        (void)numbers(result, "id", 0);
        (void)numbers(result, "token_count", settings.text_count);
        otimes_memory_sink_free(&result);
    }
    settings.text_count = -1;
    otimes_memory_sink *result;
    assert_ok(otimes_memory_sink_new(&result, &err), &err);
    assert_int_equal(otimes_tokens(t, &settings, otimes_memory_sink_sink(result), &err),
                     OTIMES_ERR_ARGUMENT);
    otimes_memory_sink_free(&result);
    settings.text_count = 1;
    settings.bos = OTIMES_BOS_ALWAYS;
    assert_ok(otimes_memory_sink_new(&result, &err), &err);
    assert_int_equal(otimes_tokens(t, &settings, otimes_memory_sink_sink(result), &err),
                     OTIMES_ERR_UNSUPPORTED);
    otimes_memory_sink_free(&result);
    otimes_tokenizer_close(&t);
}

/* Weights that hold their tokenizer are not hashed: they are gigabytes. */
static void tokenizer_of_weights(void **state)
{
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", "\xe2\x96\x81", "a"};
    static const int types[] = {2, 3, 3, 1, 1};
    static const char *const text[] = {"aa"};
    static gguf_writer w;
    otimes_tokenizer *t = NULL;
    otimes_tokens_settings settings;
    otimes_err err = {0};
    (void)state;
    gguf_header(&w, 3, 0, 5);
    gguf_key_text(&w, "general.architecture", "llama");
    gguf_key_text(&w, "tokenizer.ggml.model", "llama");
    gguf_key_array(&w, "tokenizer.ggml.tokens", GGUF_TEXT, 5);
    for (int i = 0; i < 5; i++) {
        gguf_put_text(&w, tokens[i]);
    }
    gguf_key_array(&w, "tokenizer.ggml.scores", GGUF_F32, 5);
    gguf_put_bytes(&w, (const float[]){0, 0, 0, -1, -2}, 5 * sizeof(float));
    gguf_key_array(&w, "tokenizer.ggml.token_type", GGUF_I32, 5);
    gguf_put_bytes(&w, types, sizeof types);
    write_file("model.gguf", w.bytes, w.length);
    assert_ok(otimes_tokenizer_open(&t, in_folder("model.gguf"), &err), &err);
    otimes_tokens_settings_default(&settings);
    settings.text = text;
    settings.text_count = 1;
    settings.bos = OTIMES_BOS_NEVER;
    otimes_memory_sink *result = run(t, &settings);
    const int64_t expected[] = {3, 4, 4};
    assert_memory_equal(numbers(result, "id", 3), expected, sizeof expected);
    assert_null(otimes_memory_sink_attr(result, "tokenizer_sha256"));
    otimes_memory_sink_free(&result);
    otimes_tokenizer_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_in_a_row),
        cmocka_unit_test(ids),
        cmocka_unit_test(nothing),
        cmocka_unit_test_teardown(tokenizer_of_weights, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
