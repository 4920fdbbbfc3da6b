/* SPDX-License-Identifier: MIT
 *
 * Tokenizers that GGUF files carry: the two kinds made from metadata, and metadata that is wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "token/gguf.h"

static const char gpt2[] = "{\"model\":\"gpt2\",\"tokens\":"
                           "[\"h\",\"e\",\"l\",\"o\",\"\\u0120\",\"w\",\"r\",\"d\",\"he\",\"ll\","
                           "\"hell\",\"hello\",\"\\u0120w\",\"1\",\"2\",\"12\",\"<s>\",\"wo\"],"
                           "\"token_type\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,3,1],"
                           "\"merges\":[\"h e\",\"l l\",\"he ll\",\"hell o\",\"\\u0120 w\","
                           "\"1 2\"],\"bos_token_id\":16,\"eos_token_id\":7}";
static const char llama[] = "{\"model\":\"llama\",\"tokens\":[\"<unk>\",\"<s>\",\"</s>\",\"a\","
                            "\"b\",\"ab\",\"\\u2581\"],\"scores\":[0,0,0,-3,-4,-1,-5],"
                            "\"token_type\":[2,3,3,1,1,1,1]}";

/* Of the metadata under tokenizer.ggml; NULL where they are refused. */
static otimes_tokenizer *made_from(const char *metadata, otimes_err *err)
{
    json_t *keys = json_loads(metadata, JSON_DECODE_ANY, NULL);
    assert_non_null(keys);
    json_t *config = json_pack("{s:{s:o}}", "tokenizer", "ggml", keys);
    assert_non_null(config);
    otimes_tokenizer *t = NULL;
    *err = (otimes_err){0};
    const int rc = otimes_tokenizer_from_gguf(&t, config, "made.gguf", err);
    assert_int_equal(rc, err->code);
    assert_true(rc ? !t : t != NULL);
    json_decref(config);
    return t;
}

/* The same with `pre`, where not NULL, and what else is there. */
static otimes_tokenizer *made(const char *metadata, const char *pre, const char *more)
{
    static otimes_err err;
    json_t *keys = json_loads(metadata, 0, NULL), *others = json_loads(more, 0, NULL);
    assert_true(keys && others);
    assert_int_equal(json_object_update(keys, others), 0);
    if (pre) {
        json_object_set_new(keys, "pre", json_string(pre));
    }
    char *text = json_dumps(keys, 0);
    assert_non_null(text);
    otimes_tokenizer *t = made_from(text, &err);
    assert_string_equal(err.msg, "");
    free(text);
    json_decref(keys);
    json_decref(others);
    return t;
}

/* Encodes, and decodes back to `back`. */
static void check(const otimes_tokenizer *t, const char *text, const char *back, int64_t count,
                  const int64_t *expected)
{
    otimes_encoding e;
    otimes_err err = {0};
    char *decoded = NULL;
    int64_t bytes;
    assert_int_equal(otimes_encode(t, text, (int64_t)strlen(text), OTIMES_BOS_AS_TRAINED, &e, &err),
                     0);
    assert_int_equal(e.count, count);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(e.id[i], expected[i]);
    }
    assert_int_equal(otimes_decode(t, e.id, e.count, 1, &decoded, &bytes, &err), 0);
    assert_string_equal(decoded, back);
    otimes_text_release(&decoded);
    otimes_encoding_free(&e);
}

static void byte_level(void **state)
{
    (void)state;
    otimes_tokenizer *t = made(gpt2, "gpt-2", "{}");
    check(t, "hello wlo12", "hello wlo12", 5, (int64_t[]){11, 12, 2, 3, 15});
    check(t, "hello<s>he", "hellohe", 3, (int64_t[]){11, 16, 8});
    otimes_tokenizer_close(&t);
}

/* Llama 3's takes whole words of the vocabulary before merges, and begins with <s>. */
static void whole_words(void **state)
{
    (void)state;
    otimes_tokenizer *t = made(gpt2, "llama-bpe", "{}");
    check(t, "wo", "wo", 2, (int64_t[]){16, 17});
    otimes_tokenizer_close(&t);
    t = made(gpt2, "gpt-2", "{}");
    check(t, "wo", "wo", 2, (int64_t[]){5, 3});
    otimes_tokenizer_close(&t);
}

static void ends(void **state)
{
    (void)state;
    otimes_tokenizer *t = made(gpt2, "gpt-2", "{\"add_bos_token\":true,\"add_eos_token\":true}");
    check(t, "he", "hed", 3, (int64_t[]){16, 8, 7});
    otimes_tokenizer_close(&t);
    t = made(llama, NULL, "{\"add_eos_token\":true}");
    check(t, "ab", "ab", 4, (int64_t[]){1, 6, 5, 2});
    otimes_tokenizer_close(&t);
    t = made(llama, NULL, "{\"add_bos_token\":false,\"add_space_prefix\":false}");
    check(t, "ab a", "ab a", 3, (int64_t[]){5, 6, 3});
    otimes_tokenizer_close(&t);
}

static void refused(void **state)
{
    static const struct {
        const char *metadata, *why;
        int code;
    } wrong[] = {
        {"{}", "the file carries no tokenizer", OTIMES_ERR_UNSUPPORTED},
        {"{\"model\":\"t5\"}", "tokenizer.ggml.model 't5' is not supported",
         OTIMES_ERR_UNSUPPORTED},
        {"{\"model\":\"llama\"}", "tokens: expected a list of texts", OTIMES_ERR_FORMAT},
        {"{\"model\":\"llama\",\"tokens\":[\"a\",1]}", "tokens: expected a list of texts",
         OTIMES_ERR_FORMAT},
        {"{\"model\":\"llama\",\"tokens\":[\"a\"]}", "scores: expected a number for each token",
         OTIMES_ERR_FORMAT},
        {"{\"model\":\"llama\",\"tokens\":[\"a\"],\"scores\":[0,1]}",
         "scores: expected as many as there are tokens", OTIMES_ERR_FORMAT},
        {"{\"model\":\"llama\",\"tokens\":[\"a\"],\"scores\":[null]}",
         "scores: expected numbers that are finite", OTIMES_ERR_FORMAT},
        {"{\"model\":\"llama\",\"tokens\":[\"a\"],\"scores\":[0],\"token_type\":[1,1]}",
         "token_type: expected as many as there are tokens", OTIMES_ERR_FORMAT},
        {"{\"model\":\"llama\",\"tokens\":[\"a\"],\"scores\":[0],\"token_type\":[\"x\"]}",
         "token_type: expected integers", OTIMES_ERR_FORMAT},
        {"{\"model\":\"llama\",\"tokens\":[\"a\"],\"scores\":[0],\"bos_token_id\":1}",
         "bos_token_id: expected the id of a token", OTIMES_ERR_FORMAT},
        {"{\"model\":\"llama\",\"tokens\":[\"a\"],\"scores\":[0],\"eos_token_id\":-1}",
         "eos_token_id: expected the id of a token", OTIMES_ERR_FORMAT},
        {"{\"model\":\"llama\",\"tokens\":[\"a\"],\"scores\":[0],\"add_bos_token\":1}",
         "add_bos_token: expected true or false", OTIMES_ERR_FORMAT},
        {"{\"model\":\"llama\",\"tokens\":[\"a\"],\"scores\":[0],\"add_eos_token\":\"\"}",
         "add_eos_token: expected true or false", OTIMES_ERR_FORMAT},
        {"{\"model\":\"gpt2\",\"tokens\":[\"a\"]}", "pre: missing: how it cuts texts is not known",
         OTIMES_ERR_UNSUPPORTED},
        {"{\"model\":\"gpt2\",\"tokens\":[\"a\"],\"pre\":\"gpt\"}",
         "pre: 'gpt': how it cuts texts is not known", OTIMES_ERR_UNSUPPORTED},
        {"{\"model\":\"gpt2\",\"tokens\":[\"a\"],\"pre\":\"gpt-2\"}",
         "merges: expected a list of pairs", OTIMES_ERR_FORMAT},
        {"{\"model\":\"gpt2\",\"tokens\":[\"a\"],\"pre\":\"gpt-2\",\"merges\":[7]}",
         "merges: expected a list of pairs", OTIMES_ERR_FORMAT},
        {"{\"model\":\"gpt2\",\"tokens\":[\"a\"],\"pre\":\"gpt-2\",\"merges\":[\"a b\"]}",
         "made.gguf", OTIMES_ERR_FORMAT},
    };
    char piece[1024];
    otimes_err long_piece;
    (void)state;
    snprintf(piece, sizeof piece, "{\"model\":\"llama\",\"scores\":[0],\"tokens\":[\"%0513d\"]}",
             0);
    assert_null(made_from(piece, &long_piece));
    assert_string_equal(long_piece.msg, "made.gguf: token 0: expected at most 512 bytes, got 513");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        otimes_err err;
        assert_null(made_from(wrong[i].metadata, &err));
        if (err.code != wrong[i].code || !strstr(err.msg, wrong[i].why) ||
            !strstr(err.msg, "made.gguf: ")) {
            fail_msg("%s: got %d: %s", wrong[i].metadata, err.code, err.msg);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level),
        cmocka_unit_test(whole_words),
        cmocka_unit_test(ends),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
