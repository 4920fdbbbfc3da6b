/* SPDX-License-Identifier: MIT
 *
 * Steps of tokenizer.json that no small tokenizer under tests/data/tokens has, one at a time: ids, and
 * what they decode to, as the library tokenizers (0.23.3) says.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/tokenizer.h>

enum { MOST = 8 };

#define LETTERS(vocab) "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{" vocab "}}"
#define WORDS(vocab) \
    "\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"[U]\",\"vocab\":{\"[U]\":0," vocab "}}"

static const struct {
    const char *json, *text, *decoded;
    int64_t count, id[MOST];
} cases[] = {
    {"{\"model\":{\"type\":\"BPE\",\"continuing_subword_prefix\":\"##\",\"merges\":[\"a ##b\"],"
     "\"vocab\":{\"a\":0,\"##b\":1,\"ab\":2,\"##c\":3,\"##a\":4}}}",
     "abca",
     "ab ##c ##a",
     3,
     {2, 3, 4}},
    {"{\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"decoder\":{\"type\":\"BPEDecoder\",\"suffix\":"
     "\"</w>\"},"
     "\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",\"merges\":[\"a b</w>\",\"c "
     "d</w>\"],\"vocab\":{\"a\":0,\"b\":1,\"b</w>\":2,\"c\":3,\"d</w>\":4,\"ab</w>\":5,\"cd</"
     "w>\":6}}"
     "}",
     "ab cd ab",
     "ab cd ab",
     3,
     {5, 6, 5}},
    {"{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\","
     "\"content\":\"x\",\"start\":1,\"stop\":2}]}," LETTERS("\"x\":0,\"y\":1,\"z\":2") "}",
     "xxyxxx",
     "xyx",
     6,
     {0, 0, 1, 0, 0, 0}},
    {"{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\","
     "\"content\":\"x\",\"start\":1,\"stop\":2}]}," LETTERS("\"x\":0,\"y\":1,\"z\":2") "}",
     "y",
     "y",
     1,
     {1}},
    {"{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\","
     "\"content\":\"x\",\"start\":1,\"stop\":2}]}," LETTERS("\"x\":0,\"y\":1,\"z\":2") "}",
     "zx",
     "z",
     2,
     {2, 0}},
    {"{\"decoder\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[xy]+\"},\"content\":\"-\"}"
     "," LETTERS("\"x\":0,\"y\":1,\"z\":2") "}",
     "zxyzz",
     "z--zz",
     5,
     {2, 0, 1, 2, 2}},
    {"{\"normalizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"}," LETTERS(
         "\"a\":0,\"\xc4\xa0\":1,\"\xc3\x83\":2,\"\xc2\xa9\":3") "}",
     "a \xc3\xa9",
     "a \xc3\xa9",
     4,
     {0, 1, 2, 3}},
    {"{\"pre_tokenizer\":{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"-\"}," WORDS(
         "\"ab\":1,\"c\":2,\"-\":3") "}",
     "ab-c--ab",
     "ab c ab",
     3,
     {1, 2, 1}},
    {"{\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false}," LETTERS(
         "\"a\":0,\" \":1") "}",
     "  a a ",
     "a   a  ",
     4,
     {0, 1, 0, 1}},
    {"{\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false}," LETTERS(
         "\"a\":0,\" \":1") "}",
     "\xc2\xa0\ta",
     "a",
     1,
     {0}},
    {"{\"normalizer\":{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true}," LETTERS(
         "\"a\":0,\" \":1") "}",
     "  a a  ",
     "    a   a",
     5,
     {1, 1, 0, 1, 0}},
    {"{\"normalizer\":{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true}," LETTERS(
         "\"a\":0,\" \":1") "}",
     "   ",
     "",
     0,
     {}},
    {"{\"normalizer\":{\"type\":\"Lowercase\"}," LETTERS(
         "\"i\":0,\"\xcc\x87\":1,\"a\":2,\"\xc3\x9f\":3,\"\xcf\x83\":4,\"\xc3\xa9\":5") "}",
     "\xc4\xb0"
     "A",
     "i \xcc\x87 a",
     3,
     {0, 1, 2}},
    {"{\"normalizer\":{\"type\":\"Lowercase\"}," LETTERS(
         "\"i\":0,\"\xcc\x87\":1,\"a\":2,\"\xc3\x9f\":3,\"\xcf\x83\":4,\"\xc3\xa9\":5") "}",
     "\xe1\xba\x9e\xc3\x89\xce\xa3",
     "\xc3\x9f \xc3\xa9 \xcf\x83",
     3,
     {3, 5, 4}},
    {"{\"pre_tokenizer\":{\"type\":\"Whitespace\"}," WORDS(
         "\"\xc3\xa9"
         "a_9\":1,\"\xe2\x93\x90\":2,\"\xe6\x97\xa5\":3,\"-\":4,\"a\xe2\x80\x8d"
         "b\":5,\"a\xcc\x80\":6,\"\xe2\x85\xa7\":7,\"\xc2\xbd\":8") "}",
     "\xc3\xa9"
     "a_9 \xe2\x93\x90-\xe6\x97\xa5",
     "\xc3\xa9"
     "a_9 \xe2\x93\x90 - \xe6\x97\xa5",
     4,
     {1, 2, 4, 3}},
    {"{\"pre_tokenizer\":{\"type\":\"Whitespace\"}," WORDS(
         "\"\xc3\xa9"
         "a_9\":1,\"\xe2\x93\x90\":2,\"\xe6\x97\xa5\":3,\"-\":4,\"a\xe2\x80\x8d"
         "b\":5,\"a\xcc\x80\":6,\"\xe2\x85\xa7\":7,\"\xc2\xbd\":8") "}",
     "a\xe2\x80\x8d"
     "b a\xcc\x80 \xe2\x85\xa7 \xc2\xbd",
     "a\xe2\x80\x8d"
     "b a\xcc\x80 \xe2\x85\xa7 \xc2\xbd",
     4,
     {5, 6, 7, 8}},
};

static otimes_tokenizer *opened(const char *json)
{
    otimes_tokenizer *t = NULL;
    otimes_err err = {0};
    write_file("tokenizer.json", json, strlen(json));
    assert_ok(otimes_tokenizer_open(&t, in_folder("tokenizer.json"), &err), &err);
    return t;
}

static void each_step(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        otimes_tokenizer *t = opened(cases[i].json);
        otimes_encoding e;
        otimes_err err = {0};
        char *decoded = NULL;
        int64_t bytes;
        const int64_t length = (int64_t)strlen(cases[i].text);
        assert_ok(otimes_encode(t, cases[i].text, length, OTIMES_BOS_NEVER, &e, &err), &err);
        assert_int_equal(e.count, cases[i].count);
        for (int64_t k = 0; k < e.count; k++) {
            assert_int_equal(e.id[k], cases[i].id[k]);
        }
        assert_ok(otimes_decode(t, e.id, e.count, 0, &decoded, &bytes, &err), &err);
        assert_string_equal(decoded, cases[i].decoded);
        otimes_text_release(&decoded);
        otimes_encoding_free(&e);
        otimes_tokenizer_close(&t);
    }
}

/* A token that is found as a word of its own alone, by what Unicode calls a word. */
static void single_words(void **state)
{
    static const char added[] =
        "{\"added_tokens\":[{\"id\":8,\"content\":\"ab\",\"single_word\":true,\"lstrip\":false,"
        "\"rstrip\":false,\"normalized\":false,\"special\":false}]," LETTERS(
            "\"a\":0,\"b\":1,\" \":2,\"\xc3\xa9\":3,\"\xe2\x93\x90\":4,\"-\":5,"
            "\"\xe2\x80\x8d\":6,\"\xc2\xbd\":7") "}";
    static const struct {
        const char *text;
        int64_t count, id[MOST];
    } texts[] = {
        {"ab \xc3\xa9"
         "ab",
         5,
         {8, 2, 3, 0, 1}},
        {"ab\xc3\xa9 ab", 5, {0, 1, 3, 2, 8}},
        {"\xe2\x93\x90"
         "ab ab",
         5,
         {4, 0, 1, 2, 8}},
        {"\xc2\xbd"
         "ab-ab",
         4,
         {7, 8, 5, 8}},
        {"ab\xe2\x80\x8d"
         "ab",
         5,
         {0, 1, 6, 0, 1}},
    };
    (void)state;
    otimes_tokenizer *t = opened(added);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        otimes_encoding e;
        otimes_err err = {0};
        const int64_t length = (int64_t)strlen(texts[i].text);
        assert_ok(otimes_encode(t, texts[i].text, length, OTIMES_BOS_NEVER, &e, &err), &err);
        assert_int_equal(e.count, texts[i].count);
        assert_memory_equal(e.id, texts[i].id, (size_t)e.count * sizeof *e.id);
        otimes_encoding_free(&e);
    }
    otimes_tokenizer_close(&t);
}

static void refused(const char *json, int code, const char *why)
{
    otimes_tokenizer *t = NULL;
    otimes_err err = {0};
    write_file("tokenizer.json", json, strlen(json));
    assert_int_equal(otimes_tokenizer_open(&t, in_folder("tokenizer.json"), &err), code);
    if (!strstr(err.msg, why)) {
        fail_msg("%s: got %s", json, err.msg);
    }
    assert_null(t);
}

static void refused_files(void **state)
{
    static const char ends[] =
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
        "\"pair\":[],\"special_tokens\":{}}";
    char json[1024];
    (void)state;
    refused("{" WORDS("\"a\":1") ",\"decoder\":{\"type\":\"Nonsense\"}}", OTIMES_ERR_UNSUPPORTED,
            "Nonsense");
    refused("{" LETTERS("") "}", OTIMES_ERR_FORMAT, "its vocabulary is empty");
    snprintf(json, sizeof json,
             "{\"post_processor\":{\"type\":\"Sequence\",\"processors\":[%s,%s]}," LETTERS(
                 "\"a\":0") "}",
             ends, ends);
    refused(json, OTIMES_ERR_UNSUPPORTED, "more than one step puts tokens at the ends");
}

static void refused_texts(void **state)
{
    otimes_encoding e;
    otimes_err err = {0};
    (void)state;
    otimes_tokenizer *t = opened("{" LETTERS("\"a\":0") "}");
    assert_int_equal(otimes_encode(t, "a", -1, OTIMES_BOS_NEVER, &e, &err), OTIMES_ERR_ARGUMENT);
    assert_int_equal(otimes_encode(t, "a", (int64_t)INT32_MAX + 1, OTIMES_BOS_NEVER, &e, &err),
                     OTIMES_ERR_ARGUMENT);
    assert_int_equal(otimes_encode(t, NULL, 1, OTIMES_BOS_NEVER, &e, &err), OTIMES_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "got 1"));
    otimes_tokenizer_close(&t);
    t = opened("{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0}}}");
    assert_int_equal(otimes_encode(t, "z", 1, OTIMES_BOS_NEVER, &e, &err), OTIMES_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "no piece for 'z' and no unknown token"));
    otimes_tokenizer_close(&t);
}

/* tokenizer_config.json asks for the end token where the file itself does not say. */
static void end_from_settings(void **state)
{
    static const char config[] =
        "{\"tokenizer_class\":\"LlamaTokenizer\",\"eos_token\":\"</s>\",\"add_eos_token\":true}";
    otimes_encoding e;
    otimes_err err = {0};
    (void)state;
    write_file("tokenizer_config.json", config, strlen(config));
    otimes_tokenizer *t = opened("{" LETTERS("\"a\":0,\"</s>\":1") "}");
    assert_ok(otimes_encode(t, "aa", 2, OTIMES_BOS_AS_TRAINED, &e, &err), &err);
    assert_int_equal(e.count, 3);
    assert_int_equal(e.id[2], 1);
    otimes_encoding_free(&e);
    otimes_tokenizer_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_step, empty_folder),
        cmocka_unit_test_teardown(single_words, empty_folder),
        cmocka_unit_test_teardown(refused_files, empty_folder),
        cmocka_unit_test_teardown(refused_texts, empty_folder),
        cmocka_unit_test_teardown(end_from_settings, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
