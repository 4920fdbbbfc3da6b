/* SPDX-License-Identifier: MIT
 *
 * What tokenizers may cost: hostile files that make much of little, and long texts of one character.
 * Steps of patterns, nodes that are walked and memory are counted; nothing is timed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "token/formats.h"
#include "token/pattern.h"
#include "token/trie.h"
#include "token/unicode.h"

enum { LONG = 20000 };

static int64_t walked, largest, looked_at;

/* Linked in the place of the library's: counts what each walk may cost. */
int64_t __real_otimes_trie_longest_from(const otimes_trie *trie, int32_t node, const char *text,
                                        int64_t length, int32_t *value);
int64_t __wrap_otimes_trie_longest_from(const otimes_trie *trie, int32_t node, const char *text,
                                        int64_t length, int32_t *value);
bool __real_otimes_is_space(uint32_t code);
bool __wrap_otimes_is_space(uint32_t code);
void *__real_otimes_realloc(void *block, int64_t count, size_t size);
void *__wrap_otimes_realloc(void *block, int64_t count, size_t size);

int64_t __wrap_otimes_trie_longest_from(const otimes_trie *trie, int32_t node, const char *text,
                                        int64_t length, int32_t *value)
{
    walked += length < OTIMES_TRIE_LONGEST ? length : OTIMES_TRIE_LONGEST;
    return __real_otimes_trie_longest_from(trie, node, text, length, value);
}

bool __wrap_otimes_is_space(uint32_t code)
{
    looked_at++;
    return __real_otimes_is_space(code);
}

void *__wrap_otimes_realloc(void *block, int64_t count, size_t size)
{
    const int64_t bytes = count * (int64_t)size;
    largest = bytes > largest ? bytes : largest;
    return __real_otimes_realloc(block, count, size);
}

/* ---- helpers ---- */

static void assert_ok(int rc, const otimes_err *err)
{
    if (rc) {
        fail_msg("error %d: %s", rc, err->msg);
    }
}

/* From the text of a tokenizer.json; NULL where it is refused. */
static otimes_tokenizer *opened(const char *json, otimes_err *err)
{
    otimes_tokenizer *t;
    json_t *root;
    assert_ok(otimes_json_parse_tokens(&root, json, (int64_t)strlen(json), "t.json", err), err);
    assert_ok(otimes_tokenizer_new(&t, "t.json", err), err);
    int rc = otimes_tokenizer_from_json(t, root, err);
    if (!rc) {
        rc = otimes_tokenizer_settle(t, err);
    }
    json_decref(root);
    if (rc) {
        otimes_tokenizer_close(&t);
    }
    return t;
}

/* `one` again and again. */
static char *repeated(const char *one, int64_t times)
{
    const size_t length = strlen(one);
    char *text = malloc((size_t)times * length + 1);
    assert_non_null(text);
    for (int64_t i = 0; i < times; i++) {
        memcpy(text + (size_t)i * length, one, length);
    }
    text[(size_t)times * length] = '\0';
    return text;
}

static void expect_refused(const char *json, const char *text, const char *part)
{
    otimes_err err = {0};
    otimes_encoding e = {0};
    otimes_tokenizer *t = opened(json, &err);
    if (!t) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(otimes_encode(t, text, (int64_t)strlen(text), OTIMES_BOS_NEVER, &e, &err),
                     OTIMES_ERR_UNSUPPORTED);
    if (!strstr(err.msg, part)) {
        fail_msg("expected '%s' in: %s", part, err.msg);
    }
    otimes_tokenizer_close(&t);
}

#define WORDS "\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1}}"

/* ---- memory ---- */

/* Each step doubles what it is given: forty of them would make a terabyte of one letter. */
static void doubled_again_and_again(void **state)
{
    (void)state;
    static const char step[] =
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aa\"},";
    char *steps = repeated(step, 40), json[8192];
    steps[strlen(steps) - 1] = '\0';
    largest = 0;
    snprintf(json, sizeof json,
             "{" WORDS ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s]}}", steps);
    expect_refused(json, "aaaa", "steps make more than 4352 bytes of a part of it");
    snprintf(json, sizeof json, "{" WORDS ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[%s]}}",
             steps);
    otimes_err err = {0};
    otimes_tokenizer *t = opened(json, &err);
    const int64_t id = 1;
    char *text;
    int64_t bytes;
    assert_non_null(t);
    assert_int_equal(otimes_decode(t, &id, 1, 0, &text, &bytes, &err), OTIMES_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "decoder makes more than 4224 bytes of them"));
    assert_null(text);
    otimes_tokenizer_close(&t);
    assert_in_range(largest, 1, 256 * 1024);
    free(steps);
}

/* Words that each get a blank in front, again and again. */
static void cut_and_lengthened(void **state)
{
    (void)state;
    char *steps = repeated("{\"type\":\"Metaspace\",\"replacement\":\"a\",\"prepend_scheme\":"
                           "\"always\"},{\"type\":\"Digits\",\"individual_digits\":true},"
                           "{\"type\":\"Metaspace\",\"replacement\":\"b\",\"prepend_scheme\":"
                           "\"always\"},{\"type\":\"Split\",\"pattern\":{\"Regex\":\".\"},"
                           "\"behavior\":\"Isolated\",\"invert\":false},",
                           16);
    char json[8192];
    steps[strlen(steps) - 1] = '\0';
    largest = 0;
    snprintf(json, sizeof json,
             "{" WORDS ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[%s]}}", steps);
    expect_refused(json, "1234", "steps make more than 4352 bytes of a part of it");
    assert_in_range(largest, 1, 256 * 1024);
    free(steps);
}

/* ---- time ---- */

/* One walk for each token of WordPiece, however long its pieces are. */
static void wordpiece(void **state)
{
    (void)state;
    char *piece = repeated("a", 4000), *text = repeated("a", LONG);
    char *json = malloc(16384);
    assert_non_null(json);
    snprintf(json, 16384,
             "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"?\",\"max_input_chars_per_word\":"
             "1000000,\"vocab\":{\"?\":0,\"a\":1,\"##a\":2,\"##%sb\":3}}}",
             piece);
    otimes_err err = {0};
    otimes_encoding e;
    otimes_tokenizer *t = opened(json, &err);
    assert_non_null(t);
    walked = 0;
    assert_ok(otimes_encode(t, text, LONG, OTIMES_BOS_NEVER, &e, &err), &err);
    assert_int_equal(e.count, LONG);
    assert_int_equal(e.id[0], 1);
    assert_int_equal(e.id[1], 2);
    assert_in_range(walked, LONG, (int64_t)OTIMES_TRIE_LONGEST * LONG);
    otimes_encoding_free(&e);
    otimes_tokenizer_close(&t);
    free(json);
    free(text);
    free(piece);
}

/* What is followed at each place of a text has an end. */
static void too_long_pieces(void **state)
{
    (void)state;
    static const char *const before[] = {
        "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"?\":0,\"",
        "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",0],[\""};
    static const char *const behind[] = {"\":1}}}", "\",-1]]}}"};
    char *piece = repeated("a", OTIMES_TRIE_LONGEST + 1), *json = malloc(16384);
    assert_non_null(json);
    for (int i = 0; i < 4; i++) {
        const int more = i / 2;
        otimes_err err = {0};
        snprintf(json, 16384, "%s%s%s", before[i % 2], piece + 1 - more, behind[i % 2]);
        otimes_tokenizer *t = opened(json, &err);
        assert_int_equal(t == NULL, more);
        assert_true(!more || strstr(err.msg, "texts of at most 4096 bytes, got 4097"));
        otimes_tokenizer_close(&t);
    }
    free(json);
    free(piece);
}

/* A blank that takes the blanks behind it in: each is looked at once. */
static void blanks_taken_in(void **state)
{
    (void)state;
    otimes_err err = {0};
    otimes_encoding e;
    otimes_tokenizer *t =
        opened("{" WORDS ",\"added_tokens\":[{\"id\":2,\"content\":\" \",\"special\":"
               "false,\"lstrip\":false,\"rstrip\":true,\"single_word\":false,"
               "\"normalized\":false}]}",
               &err);
    char *text = repeated(" ", LONG);
    assert_non_null(t);
    looked_at = 0;
    assert_ok(otimes_encode(t, text, LONG, OTIMES_BOS_NEVER, &e, &err), &err);
    assert_int_equal(e.count, LONG);
    assert_in_range(looked_at, LONG - 1, 2 * LONG);
    for (int64_t i = 0; i < e.count; i++) {
        assert_int_equal(e.begin[i], i);
        assert_int_equal(e.end[i], LONG);
    }
    otimes_encoding_free(&e);
    otimes_tokenizer_close(&t);
    free(text);
}

/* PCRE2's own limit holds for each place at which a match is tried: a text of many would have none. */
static void steps_of_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        int stopped;
    } cases[] = {{"(a+)+b", 1}, {"a*a*a*b", 1}, {"(?:a|a)*?c", 1}, {"a+", 0}, {"(?:a|b)+c?", 0}};
    char *text = repeated("a", LONG);
    memcpy(text + LONG - 3, ".bc", 3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        otimes_err err = {0};
        otimes_pattern *pattern;
        otimes_matcher matcher = {0};
        bool found;
        int64_t begin, end;
        assert_ok(otimes_pattern_new(&pattern, cases[i].pattern, (int64_t)strlen(cases[i].pattern),
                                     "t.json", &err),
                  &err);
        const int rc =
            otimes_pattern_match(pattern, &matcher, text, LONG, 0, &found, &begin, &end, &err);
        assert_int_equal(rc, cases[i].stopped ? OTIMES_ERR_UNSUPPORTED : 0);
        assert_true(matcher.spent <= 1000000 + 64 * LONG);
        assert_int_equal(end, cases[i].stopped ? end : LONG - 3);
        otimes_matcher_free(&matcher);
        otimes_pattern_free(pattern);
    }
    free(text);
}

/* What takes many steps at the first places of a text, and matches further on. */
static void slow_matches(void **state)
{
    static const char text[] = "\xc3\xa9"
                               "aaaaaaaaaaaaaaaaaaaaaab";
    static const char pattern_text[] = "(?:a|aa)+c|ab";
    (void)state;
    otimes_err err = {0};
    otimes_pattern *pattern;
    otimes_matcher matcher = {0};
    bool found;
    int64_t begin, end;
    assert_ok(otimes_pattern_new(&pattern, pattern_text, sizeof pattern_text - 1, "t.json", &err),
              &err);
    assert_ok(otimes_pattern_match(pattern, &matcher, text, sizeof text - 1, 0, &found, &begin,
                                   &end, &err),
              &err);
    assert_true(found && matcher.spent > 0);
    assert_int_equal(begin, sizeof text - 3);
    assert_int_equal(end, sizeof text - 1);
    otimes_matcher_free(&matcher);
    otimes_pattern_free(pattern);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubled_again_and_again),
        cmocka_unit_test(cut_and_lengthened),
        cmocka_unit_test(wordpiece),
        cmocka_unit_test(too_long_pieces),
        cmocka_unit_test(blanks_taken_in),
        cmocka_unit_test(steps_of_patterns),
        cmocka_unit_test(slow_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
