/* SPDX-License-Identifier: MIT
 *
 * Texts of the command line and of files, as lines and as JSON lines, and the ids they come to.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

enum { LIMIT = 512 };

static common_options options_of(const char *name)
{
    static char model[512];
    snprintf(model, sizeof model, "%s", source_path("tests/data/tokens/gpt2"));
    return (common_options){.model = model, .text_file = name ? in_folder(name) : NULL, .bos = -1};
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

/* The texts of a file. */
static texts read_texts(const char *name, const char *field)
{
    common_options options = options_of(name);
    texts all = {0};
    otimes_err err = {0};
    options.json_field = field;
    assert_ok(texts_read(&all, &options, &err), &err);
    return all;
}

static void assert_text(const texts *all, int64_t i, const char *expected, size_t bytes)
{
    assert_in_range(i, 0, all->count - 1);
    assert_int_equal(all->bytes[i], bytes);
    assert_memory_equal(all->text[i], expected, bytes);
}

static void json_lines(void **state)
{
    (void)state;
    write_text("x.jsonl", "\"the key\"\n"
                          "{\"id\": 7, \"text\": \"caf\\u00e9 \\ud83d\\ude00\\n\\t\\\"\"}\r\n"
                          "  {\"text\":\"nul\\u0000 inside\",\"tokens\":[\"nul\"]}\n"
                          "\"\"\n"
                          "{\"text\": \"no newline at the end\"}");
    texts all = read_texts("x.jsonl", NULL);
    assert_int_equal(all.count, 5);
    assert_text(&all, 0, "the key", 7);
    assert_text(&all, 1, "caf\xc3\xa9 \xf0\x9f\x98\x80\n\t\"", 13);
    assert_text(&all, 2, "nul\0 inside", 11);
    assert_text(&all, 3, "", 0);
    assert_text(&all, 4, "no newline at the end", 21);
    texts_free(&all);
}

/* By its name, or because a member is named. */
static void what_is_json(void **state)
{
    (void)state;
    static const char line[] = "{\"q\": \"a\", \"text\": \"b\"}\n";
    static const struct {
        const char *name, *field, *text;
    } cases[] = {{"x.jsonl", NULL, "b"}, {"x.ndjson", NULL, "b"}, {"x.jsonl", "q", "a"},
                 {"x.txt", "q", "a"},    {"x.json", NULL, NULL},  {"jsonl", NULL, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *expected = cases[i].text ? cases[i].text : line;
        write_text(cases[i].name, line);
        texts all = read_texts(cases[i].name, cases[i].field);
        assert_int_equal(all.count, 1);
        assert_text(&all, 0, expected, cases[i].text ? 1 : sizeof line - 2);
        texts_free(&all);
    }
}

/* ---- what is wrong ---- */

static void assert_part(const otimes_err *err, const char *part)
{
    if (!strstr(err->msg, part) || strchr(err->msg, '\n')) {
        fail_msg("expected '%s' in one line: %s", part, err->msg);
    }
}

static void bad_json_lines(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *part;
    } cases[] = {
        {"\"a\"\n\n\"b\"\n", "x.jsonl:2: expected JSON, got an empty line"},
        {"\"a\"\n \r\n", "x.jsonl:2: expected JSON, got an empty line"},
        {"\n", "x.jsonl:1: expected JSON, got an empty line"},
        {"\"a\"\n\"\xff\"\n", "x.jsonl:2: expected UTF-8, got 0xff at byte 1"},
        {"{\"text\": \"a\"\n", "x.jsonl:1: expected JSON, got at byte "},
        {"\"a\" \"b\"\n", "x.jsonl:1: expected JSON, got at byte "},
        {"\"\\ud800\"\n", "x.jsonl:1: expected JSON, got at byte "},
        {"\"a\033[31m\"\n", "x.jsonl:1: expected JSON, got at byte "},
        {"{\"text\": \"a\", \"text\": \"b\"}\n", "x.jsonl:1: expected JSON, got at byte "},
        {"[1, 2]\n", "x.jsonl:1: expected a string or an object, got an array"},
        {"7\n", "x.jsonl:1: expected a string or an object, got a number"},
        {"null\n", "x.jsonl:1: expected a string or an object, got null"},
        {"{\"txt\": \"a\"}\n", "x.jsonl:1: expected a member \"text\" or \"tokens\", got neither"},
        {"{\"text\": true}\n",
         "x.jsonl:1: text: expected a string or an array of ids, got a boolean"},
        {"{\"tokens\": \"a\"}\n", "x.jsonl:1: tokens: expected a"},
        {"{\"tokens\": [1, \"a\"]}\n", "x.jsonl:1: tokens[1]: expected a token id, got a string"},
        {"{\"tokens\": [1.0]}\n", "x.jsonl:1: tokens[0]: expected a token id, got a number"},
        {"{\"tokens\": [-1]}\n", "x.jsonl:1: tokens[0]: expected a token id, got a negative"},
        {"{\"tokens\": [99999999999999999999]}\n", "x.jsonl:1: expected JSON, got at byte "},
        {"\"a\"\n{\"tokens\": [1]}\n", "x.jsonl:2: expected a text, got token ids"},
        {"", "x.jsonl: expected a text a line, got none"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("x.jsonl", cases[i].bytes);
        const common_options options = options_of("x.jsonl");
        texts all = {0};
        otimes_err err = {0};
        assert_true(texts_read(&all, &options, &err) < 0);
        assert_part(&err, cases[i].part);
        texts_free(&all);
    }
}

/* Every prefix of a line, and the line with each of its bytes changed: a text or an error. */
static void damaged_json(void **state)
{
    (void)state;
    static const char line[] = "{\"a\":[1,{}],\"text\":\"\\u00e9\xc3\xa9\\n\",\"tokens\":[1,22]}";
    const common_options options = options_of("x.jsonl");
    for (size_t i = 1; i < 3 * sizeof line; i++) {
        char bytes[sizeof line];
        texts all = {0};
        otimes_err err = {0};
        memcpy(bytes, line, sizeof line);
        if (i >= sizeof line) {
            bytes[i % sizeof line] ^= (char)(i < 2 * sizeof line ? 1 : -128);
        }
        write_file("x.jsonl", bytes, i < sizeof line ? i : sizeof line - 1);
        if (texts_read(&all, &options, &err)) {
            assert_part(&err, "x.jsonl:");
        } else {
            assert_in_range(all.bytes[0], 0, sizeof line);
        }
        texts_free(&all);
    }
}

/* ---- ids ---- */

static int read_ids(sequences *all, const common_options *options, int64_t n_ctx, otimes_err *err)
{
    memset(all, 0, sizeof *all);
    return sequences_read(all, options, LIMIT, n_ctx, err);
}

static void expect_ids(const common_options *options, int64_t n_ctx, int64_t count,
                       const int64_t *lengths)
{
    sequences all;
    otimes_err err = {0};
    assert_ok(read_ids(&all, options, n_ctx, &err), &err);
    assert_int_equal(all.count, count);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(all.of[i].count, lengths[i]);
        for (int64_t k = 0; k < all.of[i].count; k++) {
            assert_in_range(all.of[i].id[k], 0, LIMIT - 1);
        }
    }
    sequences_free(&all);
}

static void expect_error(const common_options *options, int64_t n_ctx, int code, const char *part)
{
    sequences all;
    otimes_err err = {0};
    assert_int_equal(read_ids(&all, options, n_ctx, &err), code);
    assert_part(&err, part);
    sequences_free(&all);
}

/* Lines of ids stand as they are; no tokenizer is opened where there are no others. */
static void ids_of_json(void **state)
{
    (void)state;
    sequences all;
    otimes_err err = {0};
    common_options options = options_of("x.jsonl");
    write_text("x.jsonl", "{\"tokens\": [3, 511, 3]}\n\"abc\"\n{\"tokens\": [0]}\n");
    assert_ok(read_ids(&all, &options, 0, &err), &err);
    assert_int_equal(all.count, 3);
    assert_int_equal(all.of[0].count, 3);
    assert_int_equal(all.of[0].id[1], 511);
    assert_in_range(all.of[1].count, 1, 3);
    assert_non_null(all.of[1].begin);
    assert_int_equal(all.of[2].count, 1);
    assert_int_equal(all.of[2].id[0], 0);
    sequences_free(&all);
    write_text("x.jsonl", "{\"ids\": [3, 4]}\n{\"ids\": [5], \"text\": \"a\"}\n");
    options.json_field = "ids";
    options.model = "/no/such/model";
    expect_ids(&options, 2, 2, (int64_t[]){2, 1});
    options = options_of("x.jsonl");
    write_text("x.jsonl", "{\"tokens\": [1]}\n{\"tokens\": [512]}\n");
    expect_error(&options, 0, OTIMES_ERR_UNSUPPORTED,
                 "x.jsonl:2: expected ids below 512, the model's vocabulary, got 512");
    write_text("x.jsonl", "{\"tokens\": [1]}\n{\"tokens\": []}\n");
    expect_error(&options, 0, OTIMES_ERR_ARGUMENT,
                 "x.jsonl:2: expected at least one token, got none");
}

static void too_long(void **state)
{
    (void)state;
    common_options options = options_of("x.jsonl");
    write_text("x.jsonl", "{\"tokens\": [1, 2]}\n{\"tokens\": [1, 2, 3, 4, 5]}\n");
    expect_ids(&options, 0, 2, (int64_t[]){2, 5});
    expect_ids(&options, 5, 2, (int64_t[]){2, 5});
    expect_error(&options, 4, OTIMES_ERR_ARGUMENT,
                 "x.jsonl:2: expected at most 4 tokens (n_ctx), got 5; --truncate cuts it");
    options.truncate = 1;
    expect_ids(&options, 4, 2, (int64_t[]){2, 4});
    expect_ids(&options, 1, 2, (int64_t[]){1, 1});
    options = options_of(NULL);
    options.text = "one two three four";
    expect_error(&options, 1, OTIMES_ERR_ARGUMENT,
                 "--text: expected at most 1 tokens (n_ctx), got");
    options.truncate = 1;
    expect_ids(&options, 1, 1, (int64_t[]){1});
    options = options_of(NULL);
    options.tokens = "1,2,3";
    expect_error(&options, 2, OTIMES_ERR_ARGUMENT,
                 "--tokens: expected at most 2 tokens (n_ctx), got 3");
    options.truncate = 1;
    expect_ids(&options, 2, 1, (int64_t[]){2});
}

static void nothing_and_not_utf8(void **state)
{
    (void)state;
    common_options options = options_of("lines");
    write_text("lines", "one\n\nthree\n");
    expect_error(&options, 0, OTIMES_ERR_ARGUMENT,
                 "lines:2: expected at least one token, got none");
    otimes_index_list list = {NULL, 0};
    otimes_err err = {0};
    assert_ok(text_vocabulary(&options, LIMIT, &list, &err),
              &err); /* a set of tokens has no lines */
    assert_in_range(list.count, 1, 8);
    otimes_index_list_free(&list);
    write_text("lines", "one\nt\xc3\xa9\xffwo\n");
    expect_error(&options, 0, OTIMES_ERR_FORMAT, "lines:2: expected UTF-8, got 0xff at byte 3");
    assert_int_equal(text_vocabulary(&options, LIMIT, &list, &err), OTIMES_ERR_FORMAT);
    options = options_of(NULL);
    options.text = "a\xe2\x82";
    expect_error(&options, 0, OTIMES_ERR_ARGUMENT, "--text: expected UTF-8, got 0xe2 at byte 1");
    options.text = "";
    expect_error(&options, 0, OTIMES_ERR_ARGUMENT, "--text: expected at least one token, got none");
    options.text = NULL;
    expect_error(&options, 0, OTIMES_ERR_ARGUMENT, "--text: expected a text, a --text-file or");
    options.json_field = "x";
    options.text = "a";
    expect_error(&options, 0, OTIMES_ERR_ARGUMENT,
                 "--json-field: expected a --text-file, got none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(json_lines, empty_folder),
        cmocka_unit_test_teardown(what_is_json, empty_folder),
        cmocka_unit_test_teardown(bad_json_lines, empty_folder),
        cmocka_unit_test_teardown(damaged_json, empty_folder),
        cmocka_unit_test_teardown(ids_of_json, empty_folder),
        cmocka_unit_test_teardown(too_long, empty_folder),
        cmocka_unit_test_teardown(nothing_and_not_utf8, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
