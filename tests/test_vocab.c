/* SPDX-License-Identifier: MIT
 *
 * Labels of tokens: byte-level, metaspace, added tokens, ids that nothing names, files that are no
 * vocabulary.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/vocab.h"

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static void write_json(const char *name, json_t *root)
{
    assert_non_null(root);
    assert_int_equal(json_dump_file(root, in_folder(name), 0), 0);
    json_decref(root);
}

static void load(otimes_vocab *vocab, int64_t count)
{
    otimes_err err = {0};
    assert_ok(otimes_vocab_load(vocab, temp_folder, count, &err), &err);
    assert_int_equal(vocab->count, count);
}

/* A tokenizer with a pre-tokenizer of that type over {token: id}; takes tokens over. */
static void write_tokenizer(const char *type, json_t *tokens)
{
    write_json("tokenizer.json", json_pack("{s:{s:s}, s:{s:o}}", "pre_tokenizer", "type", type,
                                           "model", "vocab", tokens));
}

/* ---- byte-level ---- */

/* GPT-2's encoder.py: printable bytes are themselves, the rest take 256, 257 ... in order. */
static unsigned code_point_of(int byte)
{
    unsigned next = 256;
    for (int b = 0; b <= 255; b++) {
        const bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte) {
            return printable ? (unsigned)b : next;
        }
        next += !printable;
    }
    return 0;
}

static void add_character(char *token, unsigned code)
{
    const size_t length = strlen(token);
    if (code < 0x80) {
        token[length] = (char)code;
        token[length + 1] = '\0';
    } else {
        token[length] = (char)(0xc0 | code >> 6);
        token[length + 1] = (char)(0x80 | (code & 0x3f));
        token[length + 2] = '\0';
    }
}

static void encode(char *token, const char *bytes, size_t count)
{
    token[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        add_character(token, code_point_of((unsigned char)bytes[i]));
    }
}

static void every_byte(void **state)
{
    (void)state;
    json_t *tokens = json_object();
    for (int b = 0; b < 256; b++) {
        char token[8] = "";
        add_character(token, code_point_of(b));
        assert_int_equal(json_object_set_new(tokens, token, json_integer(b)), 0);
    }
    assert_int_equal(json_object_size(tokens), 256);
    write_tokenizer("ByteLevel", tokens);
    otimes_vocab vocab;
    load(&vocab, 256);
    for (int b = 0; b < 256; b++) {
        char expected[8];
        if (b > 0 && b < 0x80) {
            snprintf(expected, sizeof expected, "%c", b);
        } else {
            snprintf(expected, sizeof expected, "<0x%02X>", (unsigned)b);
        }
        assert_string_equal(vocab.text[b], expected);
    }
    otimes_vocab_free(&vocab);
    assert_int_equal(vocab.count, 0);
}

/* Bytes that form characters and bytes that do not (RFC 3629). */
static void runs_of_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *label;
    } cases[] = {
        {" the", " the"},
        {"\n\t", "\n\t"},
        {"\xc3\xa9", "\xc3\xa9"},
        {"\xe2\x82\xac", "\xe2\x82\xac"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\xe2\x82", "<0xE2><0x82>"},
        {"\x82\xac", "<0x82><0xAC>"},
        {"a\xc3", "a<0xC3>"},
        {"\xc3\xc3\xa9", "<0xC3>\xc3\xa9"},
        {"\xc0\x80", "<0xC0><0x80>"},                     /* overlong */
        {"\xe0\x9f\xbf", "<0xE0><0x9F><0xBF>"},           /* overlong */
        {"\xf0\x8f\xbf\xbf", "<0xF0><0x8F><0xBF><0xBF>"}, /* overlong */
        {"\xed\xa0\x80", "<0xED><0xA0><0x80>"},           /* a surrogate */
        {"\xed\x9f\xbf", "\xed\x9f\xbf"},                 /* the last before them */
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},         /* U+10FFFF */
        {"\xf4\x90\x80\x80", "<0xF4><0x90><0x80><0x80>"}, /* beyond */
        {"\xf0\x9f\x98", "<0xF0><0x9F><0x98>"},
        {"\xff\xfe", "<0xFF><0xFE>"},
        {"", ""},
    };
    json_t *tokens = json_object();
    for (size_t i = 0; i < COUNT(cases); i++) {
        char token[64];
        encode(token, cases[i].bytes, strlen(cases[i].bytes));
        json_object_set_new(tokens, token, json_integer((json_int_t)i));
    }
    write_json("vocab.json", tokens);
    otimes_vocab vocab;
    load(&vocab, (int64_t)COUNT(cases));
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_string_equal(vocab.text[i], cases[i].label);
    }
    otimes_vocab_free(&vocab);
}

/* A token with a character that stands for no byte was put there as text. */
static void texts_among_byte_level_tokens(void **state)
{
    (void)state;
    write_json(
        "tokenizer.json",
        json_pack("{s:{s:s, s:[{s:s}, {s:s}]}, s:{s:{s:i, s:i, s:i}}, s:[{s:i, s:s}, {s:i, s:s}]}",
                  "pre_tokenizer", "type", "Sequence", "pretokenizers", "type", "Split", "type",
                  "ByteLevel", "model", "vocab", "\xe6\x97\xa5", 0, "\xc4\xa0x", 1, "a b", 2,
                  "added_tokens", "id", 3, "content", "<|end\xc4\xa0|>", "id", 1, "content",
                  "taken over"));
    otimes_vocab vocab;
    load(&vocab, 5);
    assert_string_equal(vocab.text[0], "\xe6\x97\xa5");
    assert_string_equal(vocab.text[1], "taken over"); /* an added token replaces */
    assert_string_equal(vocab.text[2], "a b");        /* a blank is no byte-level character */
    assert_string_equal(vocab.text[3], "<|end\xc4\xa0|>");
    assert_string_equal(vocab.text[4], "[4]");
    otimes_vocab_free(&vocab);
}

/* Escapes that JSON allows and no text has: NUL, and halves of a surrogate pair. */
static void escapes_of_no_character(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\\u0000b\": 0, \"\\uD800\": 1, \"\\udfffx\": 2, \"\\ud83d\\ude00\": 3, "
        "\"\\ud800\\ud83d\\ude00\": 4, \"\\\\ud800\": 5, \"\\u00e9\\n\": 6, \"\\ud800\\u0041\": 7}";
    static const char *const labels[] = {
        "a<U+0000>b", "<U+D800>",   "<U+DFFF>x", "\xf0\x9f\x98\x80", "<U+D800>\xf0\x9f\x98\x80",
        "\\ud800",    "\xc3\xa9\n", "<U+D800>A"};
    otimes_vocab vocab;
    write_file("vocab.json", text, sizeof text - 1);
    load(&vocab, (int64_t)COUNT(labels));
    for (size_t i = 0; i < COUNT(labels); i++) {
        assert_string_equal(vocab.text[i], labels[i]);
    }
    otimes_vocab_free(&vocab);
}

/* ---- metaspace ---- */

static void metaspace(void **state)
{
    (void)state;
    static const struct {
        const char *token, *label;
    } cases[] = {
        {"\xe2\x96\x81the", " the"},
        {"\xe2\x96\x81\xe2\x96\x81", "  "},
        {"a\xe2\x96\x81"
         "b",
         "a b"},
        {"the\xe2\x96\x81", "the "},
        {"\xc4\xa0", "\xc4\xa0"}, /* means nothing here */
        {"<0x0A>", "<0x0A>"},
        {"", ""},
    };
    json_t *tokens = json_object(), *pairs = json_array();
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_object_set_new(tokens, cases[i].token, json_integer((json_int_t)i));
        json_array_append_new(pairs, json_pack("[s, f]", cases[i].token, -1.5));
    }
    json_t *const both[] = {tokens, pairs}; /* as BPE and as Unigram keep it */
    for (int b = 0; b < 2; b++) {
        otimes_vocab vocab;
        write_tokenizer("Metaspace", both[b]);
        load(&vocab, (int64_t)COUNT(cases));
        for (size_t i = 0; i < COUNT(cases); i++) {
            assert_string_equal(vocab.text[i], cases[i].label);
        }
        otimes_vocab_free(&vocab);
    }
}

/* ---- ids ---- */

static void ids_beside_the_vocabulary(void **state)
{
    (void)state;
    json_t *tokens =
        json_pack("{s:i, s:i, s:i, s:I}", "a", 1, "b", 4, "c", -1, "d", (json_int_t)INT64_MAX);
    write_tokenizer("Metaspace", tokens);
    otimes_vocab vocab;
    load(&vocab, 4);
    assert_string_equal(vocab.text[0], "[0]");
    assert_string_equal(vocab.text[1], "a");
    assert_string_equal(vocab.text[2], "[2]");
    assert_string_equal(vocab.text[3], "[3]");
    otimes_vocab_free(&vocab);
}

static void which_file(void **state)
{
    (void)state;
    otimes_vocab vocab;
    load(&vocab, 0);
    assert_null(vocab.text);
    write_json("vocab.json", json_pack("{s:i}", "from_vocab", 0));
    load(&vocab, 1);
    assert_string_equal(vocab.text[0], "from_vocab");
    otimes_vocab_free(&vocab);
    write_tokenizer("Metaspace", json_pack("{s:i}", "from_tokenizer", 0));
    load(&vocab, 1);
    assert_string_equal(vocab.text[0], "from_tokenizer");
    otimes_vocab_free(&vocab);
}

static void lists_of_the_configuration(void **state)
{
    (void)state;
    otimes_vocab vocab;
    otimes_err err = {0};
    json_t *list = json_pack("[s, s, s, s]", "a", "\xc4\xa0", "\xe2\x96\x81", "beyond");
    assert_ok(otimes_vocab_from_list(&vocab, list, 3, "config.json", &err), &err);
    assert_string_equal(vocab.text[1], "\xc4\xa0");
    assert_string_equal(vocab.text[2], "\xe2\x96\x81");
    otimes_vocab_free(&vocab);
    assert_ok(otimes_vocab_from_list(&vocab, list, 6, "config.json", &err), &err);
    assert_string_equal(vocab.text[3], "beyond");
    assert_string_equal(vocab.text[5], "[5]");
    otimes_vocab_free(&vocab);
    assert_ok(otimes_vocab_from_list(&vocab, NULL, 3, "config.json", &err), &err);
    assert_int_equal(vocab.count, 0);
    json_array_set_new(list, 1, json_integer(5));
    assert_int_equal(otimes_vocab_from_list(&vocab, list, 3, "config.json", &err),
                     OTIMES_ERR_FORMAT);
    assert_string_equal(err.msg, "config.json: entry 1: expected text");
    assert_true(vocab.count == 0 && !vocab.text);
    json_decref(list);
}

/* ---- no vocabularies ---- */

static void malformed_files(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text, *words;
    } cases[] = {
        {"vocab.json", "", "not valid JSON"},
        {"vocab.json", "{", "not valid JSON"},
        {"vocab.json", "[]", "expected a JSON object"},
        {"vocab.json", "7", "not valid JSON"},
        {"vocab.json", "{\"a\": 0} x", "not valid JSON"},
        {"vocab.json", "{\"a\": 0, \"a\": 1}", "not valid JSON"},
        {"vocab.json", "{\"\xff\": 0}", "not valid JSON"},
        {"vocab.json", "{\"a\\ud800\": 0", "not valid JSON"},
        {"vocab.json", "{\"a\\ud80\": 0}", "not valid JSON"},
        {"vocab.json", "{\"\\", "not valid JSON"},
        {"vocab.json", "{\"a\": \"0\"}", "a: expected an integer id"},
        {"vocab.json", "{\"a\": 0.5}", "a: expected an integer id"},
        {"vocab.json", "{\"a\": null}", "a: expected an integer id"},
        {"vocab.json", "{\"a\": 99999999999999999999}", "not valid JSON"},
        {"tokenizer.json", "{}", "expected model.vocab"},
        {"tokenizer.json", "{\"model\": []}", "expected model.vocab"},
        {"tokenizer.json", "{\"model\": {\"vocab\": 3}}", "expected model.vocab"},
        {"tokenizer.json", "{\"model\": {\"vocab\": [\"a\"]}}", "entry 0: expected [text, score]"},
        {"tokenizer.json", "{\"model\": {\"vocab\": [[]]}}", "entry 0: expected [text, score]"},
        {"tokenizer.json", "{\"model\": {\"vocab\": [[\"a\", 0], [1, 0]]}}", "entry 1: expected"},
        {"tokenizer.json", "{\"model\": {\"vocab\": {}}, \"added_tokens\": [{}]}",
         "added_tokens: entry 0: expected id and content"},
        {"tokenizer.json",
         "{\"model\": {\"vocab\": {}}, \"added_tokens\": [{\"id\": 0, \"content\": \"x\"}, 5]}",
         "added_tokens: entry 1: expected id and content"},
        {"tokenizer.json",
         "{\"model\": {\"vocab\": {}}, \"added_tokens\": [{\"id\": \"0\", \"content\": \"x\"}]}",
         "added_tokens: entry 0: expected id and content"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        otimes_vocab vocab;
        otimes_err err = {0};
        write_file(cases[i].file, cases[i].text, strlen(cases[i].text));
        assert_int_equal(otimes_vocab_load(&vocab, temp_folder, 3, &err), OTIMES_ERR_FORMAT);
        assert_int_equal(err.code, OTIMES_ERR_FORMAT);
        if (!strstr(err.msg, cases[i].words) || !strstr(err.msg, cases[i].file)) {
            fail_msg("%s: expected '%s' in '%s'", cases[i].text, cases[i].words, err.msg);
        }
        assert_true(vocab.count == 0 && !vocab.text);
        empty_folder(NULL);
    }
}

/* Odd but well-formed parts that say nothing are passed over. */
static void parts_of_other_types(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"model\": {\"vocab\": {\"a\": 0}}, \"pre_tokenizer\": null, \"decoder\": 5}",
        "{\"model\": {\"vocab\": {\"a\": 0}}, \"pre_tokenizer\": {\"type\": 1}, \"added_tokens\": "
        "{}}",
        "{\"model\": {\"vocab\": {\"a\": 0}}, \"decoder\": {\"type\": \"Sequence\", \"decoders\": "
        "[1]}}",
        "{\"model\": {\"vocab\": {\"a\": 0}}, \"added_tokens\": null}",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        otimes_vocab vocab;
        write_file("tokenizer.json", texts[i], strlen(texts[i]));
        load(&vocab, 1);
        assert_string_equal(vocab.text[0], "a");
        otimes_vocab_free(&vocab);
    }
}

/* Cut at every byte, a tokenizer is an error or, never, a crash. */
static void truncated_files(void **state)
{
    (void)state;
    static const char text[] =
        "{\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"model\": {\"vocab\": {\"\\u0120a\": 0, "
        "\"\xc4\xa0\": 1}}, \"added_tokens\": [{\"id\": 2, \"content\": \"x\"}]}";
    for (size_t length = 0; length < sizeof text - 1; length++) {
        otimes_vocab vocab;
        otimes_err err = {0};
        write_file("tokenizer.json", text, length);
        assert_int_equal(otimes_vocab_load(&vocab, temp_folder, 3, &err), OTIMES_ERR_FORMAT);
        assert_int_equal(vocab.count, 0);
    }
    otimes_vocab vocab;
    write_file("tokenizer.json", text, sizeof text - 1);
    load(&vocab, 3);
    assert_string_equal(vocab.text[0], " a");
    assert_string_equal(vocab.text[1], " ");
    otimes_vocab_free(&vocab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_byte, empty_folder),
        cmocka_unit_test_teardown(runs_of_bytes, empty_folder),
        cmocka_unit_test_teardown(texts_among_byte_level_tokens, empty_folder),
        cmocka_unit_test_teardown(escapes_of_no_character, empty_folder),
        cmocka_unit_test_teardown(metaspace, empty_folder),
        cmocka_unit_test_teardown(ids_beside_the_vocabulary, empty_folder),
        cmocka_unit_test_teardown(which_file, empty_folder),
        cmocka_unit_test(lists_of_the_configuration),
        cmocka_unit_test(malformed_files),
        cmocka_unit_test_teardown(parts_of_other_types, empty_folder),
        cmocka_unit_test_teardown(truncated_files, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
