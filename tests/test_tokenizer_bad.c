/* SPDX-License-Identifier: MIT
 *
 * Tokenizer files and texts that are wrong: one clear error, or a tokenizer that works; never a
 * crash, a wait or memory without bound.
 */
#include "support.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include <otimes/tokenizer.h>

#include "sanitized.h"

/* ---- helpers ---- */

static char *read_all(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        fail_msg("%s: cannot be opened", path);
        return NULL;
    }
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*bytes + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, *bytes, file), *bytes);
    fclose(file);
    text[*bytes] = '\0';
    return text;
}

static char *read_golden(const char *name, size_t *bytes)
{
    char relative[256];
    snprintf(relative, sizeof relative, "tests/data/tokens/%s", name);
    return read_all(source_path(relative), bytes);
}

/* A tokenizer that opened must work on whatever text. */
static void use(const otimes_tokenizer *t)
{
    static const char text[] =
        "\0 It's 12\t\xc3\xa9\xff\xe2\x96\x81 <s></s>[MASK]\r\n  \xf0\x9f\x98\x80x";
    for (int bos = OTIMES_BOS_AS_TRAINED; bos <= OTIMES_BOS_ALWAYS; bos++) {
        otimes_encoding e = {0};
        otimes_err err = {0};
        if (otimes_encode(t, text, sizeof text - 1, (otimes_bos)bos, &e, &err)) {
            assert_true(err.code == OTIMES_ERR_UNSUPPORTED || err.code == OTIMES_ERR_FORMAT);
            assert_true(*err.msg);
            continue;
        }
        char *decoded = NULL;
        int64_t bytes = 0;
        for (int64_t i = 0; i < e.count; i++) {
            assert_true(0 <= e.begin[i] && e.begin[i] <= e.end[i]);
            assert_true(e.end[i] <= (int64_t)sizeof text - 1);
            assert_non_null(otimes_token_text(t, e.id[i]));
        }
        assert_ok(otimes_decode(t, e.id, e.count, bos == OTIMES_BOS_NEVER, &decoded, &bytes, &err),
                  &err);
        otimes_text_release(&decoded);
        otimes_encoding_free(&e);
    }
}

/* The code of opening a file of the temporary folder; an error must have its text and file. */
static int try_open(const char *name, char *text, size_t size)
{
    otimes_tokenizer *t = NULL;
    static otimes_err err;
    memset(&err, 0, sizeof err);
    const int rc = otimes_tokenizer_open(&t, in_folder(name), &err);
    if (rc) {
        assert_null(t);
        assert_int_equal(err.code, rc);
        if (!strstr(err.msg, in_folder(name)) && !strstr(err.msg, temp_folder)) {
            fail_msg("an error that does not name its file: '%s'", err.msg);
        }
        assert_null(strchr(err.msg, '\n'));
        snprintf(text, size, "%s", err.msg);
    } else {
        use(t);
        *text = '\0';
    }
    otimes_tokenizer_close(&t);
    return rc;
}

static int open_bytes(const char *name, const void *bytes, size_t length)
{
    char text[OTIMES_ERR_TEXT];
    write_file(name, bytes, length);
    return try_open(name, text, sizeof text);
}

static int open_json(const json_t *json, char *text, size_t size)
{
    char *dump = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_non_null(dump);
    write_file("tokenizer.json", dump, strlen(dump));
    free(dump);
    return try_open("tokenizer.json", text, size);
}

static json_t *load_kind(const char *kind)
{
    char relative[256];
    snprintf(relative, sizeof relative, "tests/data/tokens/%s/tokenizer.json", kind);
    json_t *json = json_load_file(source_path(relative), 0, NULL);
    assert_non_null(json);
    return json;
}

static void expect(int rc, int code, const char *text, const char *word)
{
    if (rc != code || !strstr(text, word)) {
        fail_msg("expected error %d that names '%s', got %d: '%s'", code, word, rc, text);
    }
}

/* ---- cut and changed files ---- */

static void cut_json(void **state)
{
    static const char *const kinds[] = {"gpt2", "llama2", "bert", "xlmr", "wordlevel"};
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char name[64];
        size_t bytes;
        snprintf(name, sizeof name, "%s/tokenizer.json", kinds[k]);
        char *text = read_golden(name, &bytes);
        for (size_t cut = 0; cut < bytes - 2; cut += bytes / 101) {
            assert_int_equal(open_bytes("tokenizer.json", text, cut), OTIMES_ERR_FORMAT);
        }
        free(text);
    }
}

/* Cut at every byte: a .model can end between two fields and still be one. */
static void cut_model(void **state)
{
    static const char *const kinds[] = {"sp_bpe", "sp_unigram_bytes"};
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char name[64];
        size_t bytes, opened = 0;
        snprintf(name, sizeof name, "%s/tokenizer.model", kinds[k]);
        char *text = read_golden(name, &bytes);
        /* Every byte of both ends, and a seventh of the many pieces between. */
        for (size_t cut = 0; cut < bytes; cut += cut < 2000 || cut + 2000 > bytes ? 1 : 7) {
            const int rc = open_bytes("tokenizer.model", text, cut);
            assert_true(!rc || rc == OTIMES_ERR_FORMAT || rc == OTIMES_ERR_UNSUPPORTED);
            opened += !rc;
        }
        assert_true(opened < bytes / 2);
        free(text);
    }
}

static void cut_llama2c(void **state)
{
    (void)state;
    if (!shared_path("stories260K/tok512.bin")) {
        skip();
        return;
    }
    size_t bytes;
    char *text = read_all(shared_path("stories260K/tok512.bin"), &bytes);
    for (size_t cut = 0; cut < bytes; cut++) {
        const int rc = open_bytes("tok512.bin", text, cut);
        assert_true(!rc || rc == OTIMES_ERR_FORMAT || rc == OTIMES_ERR_UNSUPPORTED);
    }
    /* A length that is negative, or reaches beyond the file. */
    static const int32_t wrong[] = {-1, INT32_MIN, INT32_MAX, 100000};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *copy = malloc(bytes);
        assert_non_null(copy);
        memcpy(copy, text, bytes);
        memcpy(copy + 8, &wrong[i], sizeof wrong[i]);
        assert_int_not_equal(open_bytes("tok512.bin", copy, bytes), 0);
        free(copy);
    }
    free(text);
}

static uint64_t chance(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Some bytes changed. */
static void changed_bytes(void **state)
{
    static const char *const files[] = {
        "sp_bpe/tokenizer.model", "sp_unigram_bytes/tokenizer.model", "qwen2/tokenizer.json",
        "xlmr/tokenizer.json",    "mistral3/tokenizer.json",          "bert/tokenizer.json"};
    uint64_t seed = 88172645463325252u;
    (void)state;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        size_t bytes;
        char *text = read_golden(files[f], &bytes);
        char *copy = malloc(bytes);
        assert_non_null(copy);
        for (int trial = 0; trial < 400; trial++) {
            memcpy(copy, text, bytes);
            for (uint64_t n = 1 + chance(&seed) % 4; n; n--) {
                copy[chance(&seed) % bytes] = (char)chance(&seed);
            }
            const int rc = open_bytes(strchr(files[f], '/') + 1, copy, bytes);
            assert_true(!rc || rc == OTIMES_ERR_FORMAT || rc == OTIMES_ERR_UNSUPPORTED);
        }
        free(copy);
        free(text);
    }
}

/* The charsmap is a length, an array of trie units and texts: cut, changed, all of one byte. */
static void charsmaps(void **state)
{
    static const char *const wrong[] = {"",
                                        "!",
                                        "AAAA",
                                        "AAAAAA==",
                                        "BAAAAAAAAAA=",
                                        "/////w==",
                                        "/////////////////w==",
                                        "BAAAAP////8=",
                                        "AAQAAAAAAAA=",
                                        "BAAAAAAAAAAAAAAA"};
    char text[OTIMES_ERR_TEXT];
    uint64_t seed = 2463534242u;
    json_t *json = load_kind("t5");
    json_t *steps = json_object_get(json_object_get(json, "normalizer"), "normalizers");
    json_t *step = json_array_get(steps, 0);
    (void)state;
    char *map = strdup(json_string_value(json_object_get(step, "precompiled_charsmap")));
    assert_non_null(map);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_object_set_new(step, "precompiled_charsmap", json_string(wrong[i]));
        const int rc = open_json(json, text, sizeof text);
        assert_true(!rc || rc == OTIMES_ERR_FORMAT);
    }
    const size_t length = strlen(map);
    for (int trial = 0; trial < 60; trial++) {
        char *copy = strdup(map);
        assert_non_null(copy);
        for (int n = 0; n < 200; n++) {
            copy[chance(&seed) % (length - 4)] = (char)('A' + chance(&seed) % 26);
        }
        if (trial % 3 == 0) {
            copy[chance(&seed) % length & ~(uint64_t)3] = '\0';
        }
        json_object_set_new(step, "precompiled_charsmap", json_string(copy));
        const int rc = open_json(json, text, sizeof text);
        assert_true(!rc || rc == OTIMES_ERR_FORMAT);
        free(copy);
    }
    free(map);
    json_decref(json);
}

/* ---- members of a wrong type ---- */

enum { STAND_INS = 10 };

static json_t *stand_in(int which)
{
    switch (which) {
    case 0:
        return json_null();
    case 1:
        return json_true();
    case 2:
        return json_integer(-1);
    case 3:
        return json_integer(INT64_MAX);
    case 4:
        return json_real(0.5);
    case 5:
        return json_string("x");
    case 6:
        return json_array();
    case 7:
        return json_object();
    case 8:
        return json_integer(70000);
    default:
        return json_string("");
    }
}

static int64_t tried;

static void try_all(const json_t *root)
{
    char text[OTIMES_ERR_TEXT];
    const int rc = open_json(root, text, sizeof text);
    if (rc && rc != OTIMES_ERR_FORMAT && rc != OTIMES_ERR_UNSUPPORTED) {
        fail_msg("error %d: '%s'", rc, text);
    }
    tried++;
}

/* Puts each stand-in into every place below `at`; of long lists into the first three alone. */
static void replace_below(json_t *root, json_t *at)
{
    const size_t size = json_is_array(at) ? json_array_size(at) : 0;
    for (size_t i = 0; i < size && i < 3; i++) {
        json_t *was = json_incref(json_array_get(at, i));
        for (int w = 0; w < STAND_INS; w++) {
            json_array_set_new(at, i, stand_in(w));
            try_all(root);
        }
        json_array_set(at, i, was);
        replace_below(root, was);
        json_decref(was);
    }
    const char *keys[32];
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach (at, key, value) {
        if (n < (json_object_size(at) > 40 ? 3 : 32)) {
            keys[n++] = key;
        }
    }
    for (size_t i = 0; i < n; i++) {
        json_t *was = json_incref(json_object_get(at, keys[i]));
        char *name = strdup(keys[i]);
        assert_non_null(name);
        for (int w = 0; w < STAND_INS; w++) {
            json_object_set_new(at, name, stand_in(w));
            try_all(root);
        }
        json_object_del(at, name);
        try_all(root);
        json_object_set(at, name, was);
        free(name);
        replace_below(root, was);
        json_decref(was);
    }
}

static void wrong_types(void **state)
{
    json_t *json = load_kind(*state);
    tried = 0;
    replace_below(json, json);
    assert_true(tried > 200);
    json_decref(json);
}

/* A step of a kind that does not exist is named. */
static void unknown_steps(void **state)
{
    static const char *const places[] = {"normalizer", "pre_tokenizer", "post_processor",
                                         "decoder"};
    char text[OTIMES_ERR_TEXT];
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        json_t *json = load_kind("qwen2");
        json_object_set_new(json, places[i], json_pack("{s:s}", "type", "Nonsense"));
        const int rc = open_json(json, text, sizeof text);
        expect(rc, OTIMES_ERR_UNSUPPORTED, text, "Nonsense");
        json_decref(json);
    }
    json_t *json = load_kind("qwen2");
    json_object_set_new(json_object_get(json, "model"), "type", json_string("Nonsense"));
    const int rc = open_json(json, text, sizeof text);
    expect(rc, OTIMES_ERR_UNSUPPORTED, text, "Nonsense");
    json_decref(json);
}

/* ---- ids and merges ---- */

static void wrong_ids(void **state)
{
    static const json_int_t wrong[] = {-1, INT64_MIN, INT64_MAX, 1000000000000};
    char text[OTIMES_ERR_TEXT];
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *json = load_kind("gpt2");
        json_t *vocab = json_object_get(json_object_get(json, "model"), "vocab");
        json_object_set_new(vocab, "the", json_integer(wrong[i]));
        assert_int_equal(open_json(json, text, sizeof text), OTIMES_ERR_FORMAT);
        json_decref(json);
        json = load_kind("gpt2");
        json_object_set_new(json_array_get(json_object_get(json, "added_tokens"), 0), "id",
                            json_integer(wrong[i]));
        assert_int_equal(open_json(json, text, sizeof text), OTIMES_ERR_FORMAT);
        json_decref(json);
    }
    json_t *json = load_kind("gpt2"); /* 2^63 is no integer of JSON readers */
    char *dump = json_dumps(json, JSON_COMPACT);
    assert_non_null(dump);
    char *at = strstr(dump, "\"!\":");
    assert_non_null(at);
    char *changed = NULL;
    assert_true(asprintf(&changed, "%.*s\"!\":9223372036854775808,\"?!?\":%s", (int)(at - dump),
                         dump, at + 4) > 0);
    assert_int_equal(open_bytes("tokenizer.json", changed, strlen(changed)), OTIMES_ERR_FORMAT);
    free(changed);
    free(dump);
    json_decref(json);

    json = load_kind("gpt2"); /* one id for two pieces */
    json_object_set_new(json_object_get(json_object_get(json, "model"), "vocab"), "the",
                        json_integer(300));
    assert_int_equal(open_json(json, text, sizeof text), OTIMES_ERR_FORMAT);
    json_decref(json);
}

static void wrong_merges(void **state)
{
    static const char *const wrong[] = {"", "a", " a", "a ", "a b c", "nosuch piece", "zq zq"};
    char text[OTIMES_ERR_TEXT];
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *json = load_kind("gpt2");
        json_array_append_new(json_object_get(json_object_get(json, "model"), "merges"),
                              json_string(wrong[i]));
        expect(open_json(json, text, sizeof text), OTIMES_ERR_FORMAT, text, "merge");
        json_decref(json);
    }
    json_t *json = load_kind("llama3");
    json_array_append_new(json_object_get(json_object_get(json, "model"), "merges"),
                          json_pack("[sss]", "a", "b", "c"));
    expect(open_json(json, text, sizeof text), OTIMES_ERR_FORMAT, text, "merge");
    json_decref(json);

    size_t bytes;
    empty_folder(state);
    char *vocab = read_golden("gpt2_files/vocab.json", &bytes);
    write_file("vocab.json", vocab, bytes);
    expect(try_open("vocab.json", text, sizeof text), OTIMES_ERR_IO, text, "merges.txt");
    expect(try_open(".", text, sizeof text), OTIMES_ERR_IO, text, "merges.txt");
    write_file("merges.txt", "#version: 0.2\nnosuch piece\n", 27);
    expect(try_open("vocab.json", text, sizeof text), OTIMES_ERR_FORMAT, text, "merges.txt");
    write_file("merges.txt", "\0\xff\n\n\r\n \n", 8);
    assert_int_equal(try_open("vocab.json", text, sizeof text), OTIMES_ERR_FORMAT);
    free(vocab);
}

/* ---- steps that could run away ---- */

static json_t *nested(json_t *inside, const char *list, int depth)
{
    for (int i = 0; i < depth; i++) {
        inside = json_pack("{s:s, s:[o]}", "type", "Sequence", list, inside);
    }
    return inside;
}

static void deep_sequences(void **state)
{
    char text[OTIMES_ERR_TEXT];
    (void)state;
    for (int depth = 1; depth < 2000; depth *= 3) {
        json_t *json = load_kind("qwen2");
        json_object_set_new(json, "normalizer",
                            nested(json_pack("{s:s}", "type", "NFC"), "normalizers", depth));
        const int rc = open_json(json, text, sizeof text);
        assert_true(!rc || rc == OTIMES_ERR_FORMAT || rc == OTIMES_ERR_UNSUPPORTED);
        assert_true(depth > 3 || !rc);
        json_decref(json);
    }
    char *brackets = malloc(200000);
    assert_non_null(brackets);
    memset(brackets, '[', 200000);
    assert_int_equal(open_bytes("tokenizer.json", brackets, 200000), OTIMES_ERR_FORMAT);
    free(brackets);
}

static json_t *with_pattern(const char *pattern)
{
    json_t *json = load_kind("gpt2");
    json_object_set_new(json, "pre_tokenizer",
                        json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b}]}", "type",
                                  "Sequence", "pretokenizers", "type", "Split", "pattern", "Regex",
                                  pattern, "behavior", "Isolated", "invert", 0, "type", "ByteLevel",
                                  "add_prefix_space", 0, "use_regex", 0));
    return json;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void patterns(void **state)
{
    static const char *const wrong[] = {"(",  "[",    "*",     "a{2,1}",
                                        "\\", "(?<n", "[z-a]", "\\p{Nonsense}"};
    static const char *const slow[] = {"(a+)+$", "(a|a)*b", "(a*)*c", "((a+)(a+))+d"};
    char text[OTIMES_ERR_TEXT];
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *json = with_pattern(wrong[i]);
        expect(open_json(json, text, sizeof text), OTIMES_ERR_FORMAT, text, wrong[i]);
        json_decref(json);
    }
    char *letters = malloc(100000);
    assert_non_null(letters);
    memset(letters, 'a', 100000);
    letters[99999] = '!';
    for (size_t i = 0; i < sizeof slow / sizeof *slow; i++) {
        otimes_tokenizer *t = NULL;
        otimes_encoding e = {0};
        otimes_err err = {0};
        json_t *json = with_pattern(slow[i]);
        assert_int_equal(open_json(json, text, sizeof text), 0);
        assert_ok(otimes_tokenizer_open(&t, in_folder("tokenizer.json"), &err), &err);
        const double start = seconds();
        const int rc = otimes_encode(t, letters, 100000, OTIMES_BOS_NEVER, &e, &err);
        assert_true(!rc || rc == OTIMES_ERR_UNSUPPORTED || rc == OTIMES_ERR_FORMAT);
        assert_true(!rc || *err.msg);
        if (seconds() - start > 60) {
            fail_msg("%s: took %.0f s", slow[i], seconds() - start);
        }
        otimes_encoding_free(&e);
        otimes_tokenizer_close(&t);
        json_decref(json);
    }
    free(letters);
}

/* Patterns that match nothing, at every place or at none, must still end and lose no text. */
static void empty_matches(void **state)
{
    static const char *const empty[] = {"", "x*", "(?=a)", "\\b", "^", "$"};
    static const char string[] = "a xx b";
    char text[OTIMES_ERR_TEXT];
    (void)state;
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        otimes_tokenizer *t = NULL;
        otimes_encoding e = {0};
        otimes_err err = {0};
        json_t *json = with_pattern(empty[i]);
        assert_int_equal(open_json(json, text, sizeof text), 0);
        assert_ok(otimes_tokenizer_open(&t, in_folder("tokenizer.json"), &err), &err);
        assert_ok(otimes_encode(t, string, sizeof string - 1, OTIMES_BOS_NEVER, &e, &err), &err);
        char *decoded = NULL;
        int64_t bytes;
        assert_ok(otimes_decode(t, e.id, e.count, 0, &decoded, &bytes, &err), &err);
        assert_string_equal(decoded, string);
        otimes_text_release(&decoded);
        otimes_encoding_free(&e);
        otimes_tokenizer_close(&t);
        json_decref(json);
    }
}

/* ---- large texts ---- */

#ifdef SANITIZED
enum { LARGE = 1000000 };
#else
enum { LARGE = 10000000 };
#endif

static void one_word(const otimes_tokenizer *t, const char *kind, const char *text)
{
    otimes_encoding e;
    otimes_err err = {0};
    const double start = seconds();
    assert_ok(otimes_encode(t, text, LARGE, OTIMES_BOS_NEVER, &e, &err), &err);
    if (seconds() - start > 60) {
        fail_msg("%s: %d bytes took %.0f s", kind, (int)LARGE, seconds() - start);
    }
    int64_t covered = 0;
    for (int64_t i = 0; i < e.count; i++) {
        assert_true(e.begin[i] <= covered && e.end[i] >= covered);
        covered = e.end[i];
    }
    assert_int_equal(covered, LARGE);
    otimes_encoding_free(&e);
}

static void large_words(void **state)
{
    static const char *const kinds[] = {"gpt2",   "llama2",     "bpe_unknown", "t5",
                                        "sp_bpe", "sp_unigram", "bert",        "wordlevel"};
    uint64_t seed = 362436069;
    char *text = malloc(LARGE);
    (void)state;
    assert_non_null(text);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char relative[256];
        otimes_tokenizer *t = NULL;
        otimes_err err = {0};
        snprintf(relative, sizeof relative, "tests/data/tokens/%s", kinds[k]);
        assert_ok(otimes_tokenizer_open(&t, source_path(relative), &err), &err);
        memset(text, 'a', LARGE);
        one_word(t, kinds[k], text);
        for (size_t i = 0; i < LARGE; i++) {
            text[i] = "theandofintoudxst"[chance(&seed) % 17];
        }
        one_word(t, kinds[k], text);
        otimes_tokenizer_close(&t);
    }
    free(text);
}

/* ---- files that are none, arguments that are wrong ---- */

static void not_tokenizers(void **state)
{
    char text[OTIMES_ERR_TEXT];
    (void)state;
    assert_int_equal(try_open("nothing-here", text, sizeof text), OTIMES_ERR_IO);
    assert_int_equal(try_open(".", text, sizeof text), OTIMES_ERR_IO);
    assert_int_equal(open_bytes("tokenizer.json", "", 0), OTIMES_ERR_FORMAT);
    assert_int_not_equal(open_bytes("tokenizer.json", "{}", 2), 0);
    assert_int_equal(open_bytes("tokenizer.json", "[]", 2), OTIMES_ERR_FORMAT);
    assert_int_equal(open_bytes("tokenizer.json", "{\"model\":\"\\u0000\"}", 18),
                     OTIMES_ERR_FORMAT);
    assert_int_equal(open_bytes("tokenizer.json", "{\"model\":\"\xff\xfe\"}", 14),
                     OTIMES_ERR_FORMAT);
    assert_int_equal(open_bytes("tokenizer.model", "", 0), OTIMES_ERR_FORMAT);
    assert_int_equal(
        open_bytes("tokenizer.model", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11),
        OTIMES_ERR_FORMAT);
    assert_int_not_equal(open_bytes("x.bin", "not a tokenizer of any kind", 27), 0);
    assert_int_not_equal(open_bytes("x.gguf", "GGUF", 4), 0);
}

static void arguments(void **state)
{
    static const int64_t outside[] = {-1, 513, INT64_MAX, INT64_MIN};
    otimes_tokenizer *t = NULL;
    otimes_err err = {0};
    char *text = NULL;
    int64_t bytes;
    (void)state;
    otimes_tokenizer_close(&t);
    otimes_tokenizer_close(NULL);
    otimes_encoding none = {0};
    otimes_encoding_free(&none);
    otimes_encoding_free(NULL);
    assert_ok(otimes_tokenizer_open(&t, source_path("tests/data/tokens/gpt2"), &err), &err);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        char number[32];
        const int64_t ids[] = {5, outside[i]};
        assert_int_equal(otimes_decode(t, ids, 2, 0, &text, &bytes, &err), OTIMES_ERR_ARGUMENT);
        snprintf(number, sizeof number, "%" PRId64, outside[i]);
        assert_non_null(strstr(err.msg, number));
        assert_null(text);
        assert_null(otimes_token_text(t, outside[i]));
    }
    assert_ok(otimes_decode(t, NULL, 0, 0, &text, &bytes, &err), &err);
    assert_int_equal(bytes, 0);
    assert_string_equal(text, "");
    otimes_text_release(&text);
    otimes_tokenizer_close(&t);
}

#define IN_FOLDER(test) cmocka_unit_test_teardown(test, empty_folder)

int main(void)
{
    static const char *const kinds[] = {"gpt2",          "llama3",     "qwen2",     "falcon",
                                        "splits",        "roberta",    "llama2",    "gemma",
                                        "unigram_bytes", "bert_cased", "wordlevel", "xlmr"};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    const struct CMUnitTest fixed[] = {
        IN_FOLDER(cut_json),       IN_FOLDER(cut_model),     IN_FOLDER(cut_llama2c),
        IN_FOLDER(changed_bytes),  IN_FOLDER(charsmaps),     IN_FOLDER(unknown_steps),
        IN_FOLDER(wrong_ids),      IN_FOLDER(wrong_merges),  IN_FOLDER(deep_sequences),
        IN_FOLDER(patterns),       IN_FOLDER(empty_matches), IN_FOLDER(large_words),
        IN_FOLDER(not_tokenizers), IN_FOLDER(arguments),
    };
    enum { FIXED = sizeof fixed / sizeof *fixed };
    struct CMUnitTest tests[FIXED + KINDS];
    memcpy(tests, fixed, sizeof fixed);
    for (size_t i = 0; i < KINDS; i++) {
        tests[FIXED + i] = (struct CMUnitTest){"wrong_types", wrong_types, NULL, empty_folder,
                                               (void *)(uintptr_t)kinds[i]};
    }
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
