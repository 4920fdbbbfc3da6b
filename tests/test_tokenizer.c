/* SPDX-License-Identifier: MIT
 *
 * Tokenizers against what the libraries that made them say: small ones of every kind under
 * tests/data/tokens, and those of trained checkpoints. golden/make_tokens.py makes the expected
 * values and describes their format.
 */
#include "support.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <otimes/tokenizer.h>

/* ---- reading what is expected ---- */

typedef struct reader {
    const unsigned char *at, *end;
    char *memory;
} reader;

static void read_whole(reader *r, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        fail_msg("%s: cannot be opened", path);
        return;
    }
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const long told = ftell(file);
    const size_t bytes = told > 0 ? (size_t)told : 0;
    rewind(file);
    r->memory = malloc(bytes + 1);
    assert_non_null(r->memory);
    assert_int_equal(fread(r->memory, 1, bytes, file), bytes);
    fclose(file);
    r->memory[bytes] = '\0';
    r->at = (const unsigned char *)r->memory;
    r->end = r->at + bytes;
}

static void close_reader(reader *r)
{
    free(r->memory);
    *r = (reader){NULL, NULL, NULL};
}

static int64_t next_number(reader *r)
{
    int64_t value = 0;
    int shift = 0;
    do {
        assert_true(r->at < r->end && shift < 63);
        value |= (int64_t)(*r->at & 127) << shift;
        shift += 7;
    } while (*r->at++ & 128);
    return value;
}

/* Bytes in a block of exactly their size, so that reading past them shows. Freed by the caller. */
static char *next_bytes(reader *r, int64_t bytes)
{
    if (bytes < 0 || bytes > r->end - r->at) {
        fail_msg("expected values end early");
        return NULL;
    }
    char *copy = malloc((size_t)bytes);
    if (bytes) {
        assert_non_null(copy);
        memcpy(copy, r->at, (size_t)bytes);
    }
    r->at += bytes;
    return copy;
}

typedef struct string {
    char *text;
    int64_t bytes;
    char *valid; /* with U+FFFD for each maximal part of what is no UTF-8 */
    int64_t valid_bytes;
} string;

static struct {
    string *string;
    int64_t count;
} all;

/* Length of the UTF-8 character at `at`, or minus the length of the maximal part of one, by table
 * 3-7 of the Unicode standard. */
static int character(const unsigned char *at, const unsigned char *end)
{
    const unsigned char c = *at;
    const int length = c < 0x80   ? 1
                       : c < 0xc2 ? -1
                       : c < 0xe0 ? 2
                       : c < 0xf0 ? 3
                       : c < 0xf5 ? 4
                                  : -1;
    const unsigned low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    const unsigned high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i < length; i++) {
        if (at + i >= end || at[i] < (i == 1 ? low : 0x80) || at[i] > (i == 1 ? high : 0xbf)) {
            return -i;
        }
    }
    return length;
}

static void make_valid(string *s)
{
    const unsigned char *at = (const unsigned char *)s->text, *end = at + s->bytes;
    s->valid = malloc((size_t)s->bytes * 3 + 1);
    assert_non_null(s->valid);
    while (at < end) {
        const int length = character(at, end);
        memcpy(s->valid + s->valid_bytes, length > 0 ? at : (const unsigned char *)"\xef\xbf\xbd",
               length > 0 ? (size_t)length : 3);
        s->valid_bytes += length > 0 ? length : 3;
        at += abs(length);
    }
}

static int read_strings(void **state)
{
    reader r;
    (void)state;
    read_whole(&r, source_path("tests/data/tokens/strings.bin"));
    all.count = next_number(&r);
    all.string = calloc((size_t)all.count, sizeof *all.string);
    assert_non_null(all.string);
    for (int64_t i = 0; i < all.count; i++) {
        string *s = &all.string[i];
        s->bytes = next_number(&r);
        s->text = next_bytes(&r, s->bytes);
        make_valid(s);
    }
    assert_ptr_equal(r.at, r.end);
    assert_true(all.count >= 1000);
    close_reader(&r);
    return make_folder(state);
}

static int free_strings(void **state)
{
    for (int64_t i = 0; i < all.count; i++) {
        free(all.string[i].text);
        free(all.string[i].valid);
    }
    free(all.string);
    return remove_folder(state);
}

/* What must come of one string. */
typedef struct expected {
    int64_t count, *id, *begin, *end;
    char *decoded, *plain; /* decoded NULL: not given */
    int64_t decoded_bytes, plain_bytes;
} expected;

static char *join(const char *a, int64_t a_bytes, const char *b, int64_t b_bytes, int64_t *bytes)
{
    char *text = malloc((size_t)(a_bytes + b_bytes) + 1);
    assert_non_null(text);
    memcpy(text, a, (size_t)a_bytes);
    memcpy(text + a_bytes, b, (size_t)b_bytes);
    *bytes = a_bytes + b_bytes;
    return text;
}

static char *next_text(reader *r, const string *s, const char *first, int64_t first_bytes,
                       int64_t *bytes)
{
    const int64_t code = next_number(r);
    int64_t lead;
    char *text, *whole;
    *bytes = 0;
    switch (code) {
    case 0:
        return NULL;
    case 1:
        return join("", 0, s->valid, s->valid_bytes, bytes);
    case 2:
        return join("", 0, first, first_bytes, bytes);
    case 3:
        lead = next_number(r);
        text = next_bytes(r, lead);
        whole = join(text, lead, s->valid, s->valid_bytes, bytes);
        free(text);
        return whole;
    default:
        *bytes = code - 4;
        return next_bytes(r, *bytes);
    }
}

static void next_expected(reader *r, const string *s, expected *e)
{
    int64_t last = 0;
    e->count = next_number(r);
    e->id = calloc((size_t)e->count * 3 + 1, sizeof *e->id);
    assert_non_null(e->id);
    e->begin = e->id + e->count;
    e->end = e->begin + e->count;
    for (int64_t i = 0; i < e->count; i++) {
        e->id[i] = next_number(r);
        const int64_t size = next_number(r), gap = size & 1 ? next_number(r) : 0;
        e->begin[i] = last + (gap & 1 ? -(gap + 1) / 2 : gap / 2);
        e->end[i] = last = e->begin[i] + size / 2;
    }
    e->decoded = next_text(r, s, NULL, 0, &e->decoded_bytes);
    e->plain = next_text(r, s, e->decoded, e->decoded_bytes, &e->plain_bytes);
}

static void free_expected(expected *e)
{
    free(e->id);
    free(e->decoded);
    free(e->plain);
}

/* ---- reporting ---- */

static void put_bytes(const char *what, const char *text, int64_t bytes)
{
    fprintf(stderr, "  %-9s \"", what);
    for (int64_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)text[i];
        fprintf(stderr, c >= 0x20 && c < 0x7f && c != '"' && c != '\\' ? "%c" : "\\x%02x", c);
    }
    fputs("\"\n", stderr);
}

static void put_ids(const char *what, const otimes_tokenizer *t, int64_t count, const int64_t *id,
                    const int64_t *begin, const int64_t *end)
{
    fprintf(stderr, "  %-9s", what);
    for (int64_t i = 0; i < count; i++) {
        const char *text = otimes_token_text(t, id[i]);
        fprintf(stderr, " %" PRId64 "[%" PRId64 ",%" PRId64 ")'%s'", id[i], begin[i], end[i],
                text ? text : "?");
    }
    fputc('\n', stderr);
}

/* ---- the comparison ---- */

typedef struct kind {
    const char *name;     /* of its folder */
    const char *file;     /* in it; "" for the folder itself */
    const char *shared;   /* instead: below the shared weights */
    const char *expected; /* folder of expected.bin; NULL: its own */
    const char *leave;    /* strings with this in them are left out */
    bool ids_only;        /* no ranges are known */
} kind;

enum { SHOWN = 3 }; /* of the strings that fail */

static bool same(const int64_t *a, const int64_t *b, int64_t count)
{
    return !memcmp(a, b, (size_t)count * sizeof *a);
}

/* Ids and ranges, or complains; e from its entry `first` on. */
static bool check_ids(const kind *k, const otimes_tokenizer *t, const string *s, const expected *e,
                      int64_t first, int64_t count, otimes_bos bos, bool show)
{
    otimes_encoding got = {0};
    otimes_err err = {0};
    const int rc = otimes_encode(t, s->text, s->bytes, bos, &got, &err);
    const bool good = !rc && got.count == count && same(got.id, e->id + first, count) &&
                      (k->ids_only || (same(got.begin, e->begin + first, count) &&
                                       same(got.end, e->end + first, count)));
    if (!good && show) {
        fprintf(stderr, "%s, bos %d: %s\n", k->name, (int)bos, err.msg);
        put_bytes("text", s->text, s->bytes);
        put_ids("expected", t, count, e->id + first, e->begin + first, e->end + first);
        put_ids("got", t, got.count, got.id, got.begin, got.end);
    }
    otimes_encoding_free(&got);
    return good;
}

static bool check_text(const kind *k, const otimes_tokenizer *t, const string *s, const expected *e,
                       bool skip, bool show)
{
    const char *want = skip ? e->plain : e->decoded;
    const int64_t want_bytes = skip ? e->plain_bytes : e->decoded_bytes;
    char *got = NULL;
    int64_t bytes = 0;
    otimes_err err = {0};
    if (!want) {
        return true;
    }
    const int rc = otimes_decode(t, e->id, e->count, skip, &got, &bytes, &err);
    const bool good =
        !rc && bytes == want_bytes && !memcmp(got, want, (size_t)bytes) && !got[bytes];
    if (!good && show) {
        fprintf(stderr, "%s, decoded, special tokens %s: %s\n", k->name, skip ? "left out" : "kept",
                err.msg);
        put_bytes("text", s->text, s->bytes);
        put_ids("ids", t, e->count, e->id, e->begin, e->end);
        put_bytes("expected", want, want_bytes);
        put_bytes("got", got ? got : "", bytes);
    }
    otimes_text_release(&got);
    return good;
}

static bool contains(const string *s, const char *word)
{
    return word && memmem(s->text, (size_t)s->bytes, word, strlen(word));
}

static void compare(const kind *k, const otimes_tokenizer *t, reader *r)
{
    const otimes_tokenizer_info *info = otimes_tokenizer_describe(t);
    int64_t wrong_ids = 0, wrong_text = 0;
    assert_true(r->end - r->at > 4 && !memcmp(r->at, "OTK1", 4));
    r->at += 4;
    assert_int_equal(next_number(r), all.count);
    const int64_t front = next_number(r), behind = next_number(r), bos = next_number(r) - 1;
    assert_int_equal(info->vocab_size, next_number(r));
    assert_int_equal(info->adds_bos, front > 0);
    if (front) {
        assert_int_equal(info->bos, bos);
    }
    for (int64_t i = 0; i < all.count; i++) {
        const string *s = &all.string[i];
        expected e;
        next_expected(r, s, &e);
        if (!contains(s, k->leave)) {
            bool good =
                check_ids(k, t, s, &e, 0, e.count, OTIMES_BOS_AS_TRAINED, wrong_ids < SHOWN);
            good = good && check_ids(k, t, s, &e, front, e.count - front - behind, OTIMES_BOS_NEVER,
                                     wrong_ids < SHOWN);
            wrong_ids += !good;
            good = check_text(k, t, s, &e, false, wrong_text < SHOWN);
            good = good && check_text(k, t, s, &e, true, wrong_text < SHOWN);
            wrong_text += !good;
        }
        free_expected(&e);
    }
    assert_ptr_equal(r->at, r->end);
    if (wrong_ids || wrong_text) {
        fail_msg("%s: of %d strings %d have other ids or ranges, %d decode to other text", k->name,
                 (int)all.count, (int)wrong_ids, (int)wrong_text);
    }
}

static void golden_kind(void **state)
{
    const kind *k = *state;
    char path[4096], relative[512];
    otimes_tokenizer *t = NULL;
    otimes_err err = {0};
    reader r;
    snprintf(relative, sizeof relative, "tests/data/tokens/%s%s%s", k->name, *k->file ? "/" : "",
             k->file);
    const char *found = k->shared ? shared_path(k->shared) : source_path(relative);
    if (!found) {
        skip();
        return;
    }
    snprintf(path, sizeof path, "%s", found);
    assert_ok(otimes_tokenizer_open(&t, path, &err), &err);
    snprintf(relative, sizeof relative, "tests/data/tokens/%s/expected.bin",
             k->expected ? k->expected : k->name);
    read_whole(&r, source_path(relative));
    compare(k, t, &r);
    close_reader(&r);
    otimes_tokenizer_close(&t);
    assert_null(t);
}

/* Every entry of a tokenizer.json's vocabulary and added tokens by its piece. */
static void pieces(void **state)
{
    static const char *const kinds[] = {"gpt2", "llama3", "gemma", "t5", "bert", "wordlevel"};
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char relative[256];
        otimes_tokenizer *t = NULL;
        otimes_err err = {0};
        const char *piece;
        size_t n;
        json_t *id, *entry;
        snprintf(relative, sizeof relative, "tests/data/tokens/%s/tokenizer.json", kinds[i]);
        json_t *json = json_load_file(source_path(relative), 0, NULL);
        assert_non_null(json);
        assert_ok(otimes_tokenizer_open(&t, source_path(relative), &err), &err);
        json_t *vocab = json_object_get(json_object_get(json, "model"), "vocab");
        json_object_foreach (vocab, piece, id) {
            assert_int_equal(otimes_token_id(t, piece), json_integer_value(id));
        }
        json_array_foreach (vocab, n, entry) {
            assert_int_equal(otimes_token_id(t, json_string_value(json_array_get(entry, 0))), n);
        }
        json_array_foreach (json_object_get(json, "added_tokens"), n, entry) {
            const char *content = json_string_value(json_object_get(entry, "content"));
            assert_int_equal(otimes_token_id(t, content),
                             json_integer_value(json_object_get(entry, "id")));
        }
        const int64_t size = otimes_tokenizer_describe(t)->vocab_size;
        assert_int_equal(otimes_token_id(t, "no such piece"), -1);
        assert_null(otimes_token_text(t, -1));
        assert_null(otimes_token_text(t, size));
        for (int64_t at = 0; at < size; at++) {
            assert_non_null(otimes_token_text(t, at));
        }
        otimes_tokenizer_close(&t);
        json_decref(json);
    }
}

/* ---- the published test of GPT-2's own files ---- */

static int64_t compare_gpt2(const otimes_tokenizer *t, const char *text, int64_t bytes, char *line)
{
    otimes_encoding got;
    otimes_err err = {0};
    int64_t n = 0, differ = 0;
    assert_ok(otimes_encode(t, text, bytes, OTIMES_BOS_AS_TRAINED, &got, &err), &err);
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "), n++) {
        differ += n >= got.count || got.id[n] != atoll(word);
    }
    differ += n != got.count;
    if (differ) {
        put_bytes("text", text, bytes);
        put_ids("got", t, got.count, got.id, got.begin, got.end);
    }
    otimes_encoding_free(&got);
    return differ != 0;
}

static void gpt2_cases(void **state)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    otimes_tokenizer *t = NULL;
    otimes_err err = {0};
    reader in, out;
    int64_t cases = 0, wrong = 0;
    (void)state;
    if (!shared_path("tokenizers/gpt2_encoder.json")) {
        skip();
        return;
    }
    assert_ok(otimes_tokenizer_open(&t, shared_path("tokenizers/gpt2_encoder.json"), &err), &err);
    assert_int_equal(otimes_tokenizer_describe(t)->vocab_size, 50257);
    assert_int_equal(otimes_tokenizer_describe(t)->adds_bos, 0);
    read_whole(&in, shared_path("tokenizers/ggml-vocab-gpt-2.gguf.inp"));
    read_whole(&out, shared_path("tokenizers/ggml-vocab-gpt-2.gguf.out"));
    char *text = in.memory, *line = out.memory;
    for (bool more = true; more; cases++) {
        char *end =
            memmem(text, (size_t)((const char *)in.end - text), separator, sizeof separator - 1);
        char *line_end = line + strcspn(line, "\n");
        more = end != NULL;
        end = end ? end : in.memory + ((const char *)in.end - in.memory);
        const bool last = !*line_end;
        *line_end = '\0';
        wrong += compare_gpt2(t, text, end - text, line);
        text = end + sizeof separator - 1;
        line = last ? line_end : line_end + 1;
    }
    assert_int_equal(cases, 47);
    assert_int_equal(wrong, 0);
    close_reader(&in);
    close_reader(&out);
    otimes_tokenizer_close(&t);
}

/* One vocabulary in a GGUF file and in llama2.c's own: the same ids. */
static void gguf_and_llama2c(void **state)
{
    static const char *const texts[] = {
        "Once upon a time", " two  blanks ",       "Lily's dog said: \"Hi!\" 123",
        "caf\xc3\xa9",      "\xf0\x9f\x98\x80 ok", "a\nb\tc",
        "zzzzqqqq XYZ",
    };
    static const char *const files[] = {"stories260K/tinyllamas-stories-260k-f32.gguf",
                                        "stories260K/stories260k-v3-f32.derived.gguf"};
    (void)state;
    if (!shared_path("stories260K/tok512.bin")) {
        skip();
        return;
    }
    otimes_tokenizer *own = NULL, *gguf = NULL;
    otimes_err err = {0};
    assert_ok(otimes_tokenizer_open(&own, shared_path("stories260K/tok512.bin"), &err), &err);
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        assert_ok(otimes_tokenizer_open(&gguf, shared_path(files[f]), &err), &err);
        assert_int_equal(otimes_tokenizer_describe(gguf)->adds_bos, 1);
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            const int64_t bytes = (int64_t)strlen(texts[i]);
            otimes_encoding a, b;
            assert_ok(otimes_encode(own, texts[i], bytes, OTIMES_BOS_AS_TRAINED, &a, &err), &err);
            assert_ok(otimes_encode(gguf, texts[i], bytes, OTIMES_BOS_AS_TRAINED, &b, &err), &err);
            assert_int_equal(a.count, b.count);
            assert_memory_equal(a.id, b.id, (size_t)a.count * sizeof *a.id);
            otimes_encoding_free(&a);
            otimes_encoding_free(&b);
        }
        otimes_tokenizer_close(&gguf);
    }
    otimes_tokenizer_close(&own);
}

/* ---- settings beside the file ---- */

static void copy_json(const char *kind_name, const char *as)
{
    char relative[256];
    reader r;
    snprintf(relative, sizeof relative, "tests/data/tokens/%s/tokenizer.json", kind_name);
    read_whole(&r, source_path(relative));
    write_file(as, r.memory, (size_t)((const char *)r.end - r.memory));
    close_reader(&r);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static int64_t first_id(const otimes_tokenizer *t, otimes_bos bos)
{
    otimes_encoding e;
    otimes_err err = {0};
    assert_ok(otimes_encode(t, "and", 3, bos, &e, &err), &err);
    const int64_t id = e.id[0];
    otimes_encoding_free(&e);
    return id;
}

/* The post-processor of the json says whether; where it has none, tokenizer_config.json does. */
static void bos_from_settings(void **state)
{
    otimes_tokenizer *t = NULL;
    otimes_encoding e;
    otimes_err err = {0};
    (void)state;
    copy_json("bloom", "tokenizer.json");
    assert_ok(otimes_tokenizer_open(&t, temp_folder, &err), &err);
    assert_int_equal(otimes_tokenizer_describe(t)->adds_bos, 0);
    otimes_tokenizer_close(&t);

    write_text("tokenizer_config.json", "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\","
                                        " \"unk_token\": \"<unk>\", \"add_bos_token\": true}");
    assert_ok(otimes_tokenizer_open(&t, temp_folder, &err), &err);
    const otimes_tokenizer_info *info = otimes_tokenizer_describe(t);
    assert_int_equal(info->adds_bos, 1);
    assert_int_equal(info->bos, 1);
    assert_int_equal(info->eos, 2);
    assert_int_equal(info->unknown, 0);
    assert_int_equal(first_id(t, OTIMES_BOS_AS_TRAINED), 1);
    assert_int_not_equal(first_id(t, OTIMES_BOS_NEVER), 1);
    otimes_tokenizer_close(&t);

    write_text("tokenizer_config.json",
               "{\"bos_token\": {\"content\": \"<s>\"}, \"add_bos_token\": false}");
    assert_ok(otimes_tokenizer_open(&t, temp_folder, &err), &err);
    assert_int_equal(otimes_tokenizer_describe(t)->adds_bos, 0);
    assert_int_not_equal(first_id(t, OTIMES_BOS_AS_TRAINED), 1);
    assert_int_equal(first_id(t, OTIMES_BOS_ALWAYS), 1);
    assert_ok(otimes_encode(t, "", 0, OTIMES_BOS_ALWAYS, &e, &err), &err);
    assert_int_equal(e.count, 1);
    assert_int_equal(e.begin[0], 0);
    assert_int_equal(e.end[0], 0);
    otimes_encoding_free(&e);
    assert_ok(otimes_encode(t, NULL, 0, OTIMES_BOS_NEVER, &e, &err), &err);
    assert_int_equal(e.count, 0);
    otimes_encoding_free(&e);
    otimes_tokenizer_close(&t);

    assert_ok(
        otimes_tokenizer_open(&t, source_path("tests/data/tokens/starcoder2/tokenizer.json"), &err),
        &err);
    assert_int_equal(otimes_encode(t, "a", 1, OTIMES_BOS_ALWAYS, &e, &err), OTIMES_ERR_UNSUPPORTED);
    assert_int_equal(e.count, 0);
    otimes_tokenizer_close(&t);
}

/* BOS for a text that begins with it already: still one more, as trained. */
static void bos_in_text(void **state)
{
    otimes_tokenizer *t = NULL;
    otimes_encoding e;
    otimes_err err = {0};
    (void)state;
    assert_ok(otimes_tokenizer_open(&t, source_path("tests/data/tokens/mistral3"), &err), &err);
    assert_ok(otimes_encode(t, "<s>x", 4, OTIMES_BOS_ALWAYS, &e, &err), &err);
    assert_true(e.count > 2);
    assert_int_equal(e.id[0], 1);
    assert_int_equal(e.end[0], 0);
    assert_int_equal(e.id[1], 1);
    assert_int_equal(e.end[1], 3);
    otimes_encoding_free(&e);
    otimes_tokenizer_close(&t);
}

#define JSON(name) {name, "tokenizer.json", NULL, NULL, NULL, false}
#define MODEL(name) {name, "tokenizer.model", NULL, NULL, NULL, false}

static const kind kinds[] = {
    JSON("gpt2"),
    {"gpt2_files", "", NULL, "gpt2", "<|endoftext|>", false},
    {"gpt2_files", "vocab.json", NULL, "gpt2", "<|endoftext|>", false},
    JSON("opt"),
    JSON("llama3"),
    JSON("qwen2"),
    JSON("falcon"),
    JSON("bloom"),
    JSON("starcoder2"),
    JSON("gpt_oss"),
    JSON("deepseek"),
    JSON("splits"),
    JSON("roberta"),
    JSON("llama2"),
    {"mistral3", "", NULL, NULL, NULL, false},
    JSON("gemma"),
    JSON("bpe_unknown"),
    JSON("t5"),
    JSON("xlmr"),
    JSON("unigram_bytes"),
    JSON("bert"),
    JSON("bert_cased"),
    JSON("wordlevel"),
    MODEL("sp_unigram"),
    MODEL("sp_unigram_bytes"),
    {"sp_bpe", "", NULL, NULL, NULL, false},
    MODEL("sp_bpe_bytes"),
    {"neox", "", "tokenizers/neox_20B_tokenizer.json", NULL, NULL, false},
    {"tinystories656k", "", "tinystories656k", NULL, NULL, false},
    {"tok512", "", "stories260K/tok512.bin", NULL, NULL, true},
};

int main(void)
{
    struct CMUnitTest tests[sizeof kinds / sizeof *kinds + 4] = {
        cmocka_unit_test(pieces),
        cmocka_unit_test(gpt2_cases),
        cmocka_unit_test(gguf_and_llama2c),
        cmocka_unit_test_teardown(bos_from_settings, empty_folder),
        cmocka_unit_test(bos_in_text),
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        tests[i + 4] = (struct CMUnitTest){kinds[i].name, golden_kind, NULL, NULL,
                                           (void *)(uintptr_t)&kinds[i]};
    }
    return cmocka_run_group_tests(tests, read_strings, free_strings);
}
