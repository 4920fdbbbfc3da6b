/* SPDX-License-Identifier: MIT
 *
 * GGUF files that are, almost are and are not: metadata as JSON, tensors in their places, and each
 * malformed file one error with file and place named, never a crash (run under ASan and UBSan).
 */
#include "gguf_writer.h"

#include <stdio.h>
#include <stdlib.h>

#include "format/gguf.h"
#include "format/open.h"

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static gguf_writer w;

static void opens(otimes_store *store)
{
    otimes_err err = {0};
    write_file("model.gguf", w.bytes, w.length);
    assert_ok(otimes_store_open(store, in_folder("model.gguf"), &err), &err);
    assert_string_equal(store->format, "gguf");
}

/* One error with all of the '|'-separated words; nothing is left open. */
static void refused(const char *words, const char *what)
{
    otimes_store store;
    otimes_err err = {0};
    write_file("bad.gguf", w.bytes, w.length);
    const int rc = otimes_store_open(&store, in_folder("bad.gguf"), &err);
    if (rc != OTIMES_ERR_FORMAT || err.code != rc) {
        fail_msg("%s: expected a format error, got %d: %s", what, rc, err.msg);
    }
    char list[512];
    snprintf(list, sizeof list, "bad.gguf: |%s", words);
    for (char *word = strtok(list, "|"); word; word = strtok(NULL, "|")) {
        if (!strstr(err.msg, word)) {
            fail_msg("%s: expected '%s' in '%s'", what, word, err.msg);
        }
    }
    assert_null(strchr(err.msg, '\n'));
    assert_true(!store.files && !store.entries && !store.directory && !store.config);
}

/* The first `length` bytes in memory of just that size, where a read beyond is ASan's: behind the
 * end of a mapped file there is the rest of a page. Either opens, or is one error. */
static int read_from_memory(size_t length, const char *what)
{
    unsigned char *block = malloc(length + (length == 0));
    assert_non_null(block);
    memcpy(block, w.bytes, length);
    otimes_store store = {0};
    otimes_file file = {.path = (char *)"memory.gguf",
                        .map = {.data = block, .bytes = (int64_t)length}};
    otimes_err err = {0};
    const int rc =
        otimes_gguf_recognise(&file.map) ? otimes_gguf_add(&store, &file, &err) : OTIMES_ERR_IO;
    if (rc == OTIMES_ERR_IO ? memcmp(w.bytes, "GGUF", 4) == 0 && length >= 4
                            : rc != OTIMES_OK && (rc != OTIMES_ERR_FORMAT || err.code != rc ||
                                                  strncmp(err.msg, "memory.gguf: ", 13) != 0)) {
        fail_msg("%s: error %d: %s", what, rc, err.msg);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < store.entry_count; i++) {
        const otimes_entry *entry = &store.entries[i];
        assert_true(entry->data >= block && entry->data + entry->bytes <= block + length);
    }
    otimes_store_close(&store);
    free(block);
    return rc;
}

/* ---- files that are ---- */

/* Every value type; two tensors, 24 and 2 * 34 bytes of data. */
static void compose_sample(int version)
{
    static const uint64_t a[] = {3, 2}, b[] = {32, 1, 2};
    gguf_header(&w, version, 2, 21);
    gguf_key(&w, "made.u8", GGUF_U8); /* before the architecture is known */
    gguf_put(&w, 1, 200);
    gguf_key_text(&w, "general.architecture", "made");
    gguf_key(&w, "made.i8", GGUF_I8);
    gguf_put(&w, 1, 200);
    gguf_key(&w, "made.u16", GGUF_U16);
    gguf_put(&w, 2, 60000);
    gguf_key(&w, "made.i16", GGUF_I16);
    gguf_put(&w, 2, 60000);
    gguf_key(&w, "made.deep.u32", GGUF_U32);
    gguf_put(&w, 4, 4000000000);
    gguf_key(&w, "made.deep.i32", GGUF_I32);
    gguf_put(&w, 4, 4000000000);
    gguf_key(&w, "made.f32", GGUF_F32);
    gguf_put(&w, 4, 0x3e000000);
    gguf_key(&w, "made.yes", GGUF_BOOL);
    gguf_put(&w, 1, 1);
    gguf_key(&w, "made.no", GGUF_BOOL);
    gguf_put(&w, 1, 0);
    gguf_key(&w, "made.u64", GGUF_U64);
    gguf_put(&w, 8, INT64_MAX);
    gguf_key(&w, "made.large", GGUF_U64);
    gguf_put(&w, 8, (uint64_t)1 << 63);
    gguf_key(&w, "made.i64", GGUF_I64);
    gguf_put(&w, 8, UINT64_MAX);
    gguf_key(&w, "made.f64", GGUF_F64);
    gguf_put(&w, 8, 0xbff8000000000000);
    gguf_key(&w, "made.infinite", GGUF_F32);
    gguf_put(&w, 4, 0x7f800000);
    gguf_key_array(&w, "tokenizer.ggml.tokens", GGUF_TEXT, 4);
    gguf_put_text(&w, "");
    gguf_put_text(&w, "\xc4\xa0the \xe2\x82\xac");
    gguf_put_text(&w, "a\xff\xc3(\xe2\x82");
    gguf_put_count(&w, 3);
    gguf_put_bytes(&w, "x\0y", 3);
    gguf_key_array(&w, "tokenizer.ggml.scores", GGUF_F32, 2);
    gguf_put(&w, 4, 0x3f800000);
    gguf_put(&w, 4, 0xff800000);
    gguf_key_array(&w, "made.nested", GGUF_ARRAY, 2);
    gguf_put(&w, 4, GGUF_BOOL);
    gguf_put_count(&w, 2);
    gguf_put(&w, 2, 1);
    gguf_put(&w, 4, GGUF_I16);
    gguf_put_count(&w, 0);
    gguf_key_text(&w, "tokenizer.chat_template", "default");
    gguf_key_text(&w, "tokenizer.chat_template.tool", "other");
    gguf_key(&w, "general.alignment", GGUF_U32);
    gguf_put(&w, 4, 64);
    gguf_tensor(&w, "a.weight", 2, a, 0, 0);
    gguf_tensor(&w, "b.weight", 3, b, 8, 64);
    gguf_align(&w, 64);
    gguf_data(&w, 64 + 68);
}

static const char sample_config[] =
    "{\"arch\":{\"deep\":{\"i32\":-294967296,\"u32\":4000000000},\"f32\":0.125,\"f64\":-1.5,"
    "\"i16\":-5536,\"i64\":-1,\"i8\":-56,\"infinite\":null,\"large\":9.2233720368547758e18,"
    "\"nested\":[[true,false],[]],\"no\":false,\"u16\":60000,\"u64\":9223372036854775807,"
    "\"u8\":200,\"yes\":true},"
    "\"general\":{\"alignment\":64,\"architecture\":\"made\"},"
    "\"tokenizer\":{\"chat_template\":{\"\":\"default\",\"tool\":\"other\"},"
    "\"ggml\":{\"scores\":[1.0,null],\"tokens\":[\"\",\"\xc4\xa0the \xe2\x82\xac\","
    "\"a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\",\"x\\u0000y\"]}}}";

static void check_config(const otimes_store *store, const char *wanted)
{
    char *text = json_dumps(store->config, JSON_COMPACT | JSON_SORT_KEYS);
    assert_non_null(text);
    assert_string_equal(text, wanted);
    free(text);
}

static void all_versions(void **state)
{
    (void)state;
    for (int version = 1; version <= 3; version++) {
        otimes_store store;
        compose_sample(version);
        opens(&store);
        check_config(&store, sample_config);
        const otimes_entry *a = otimes_store_find(&store, "a.weight");
        const otimes_entry *b = otimes_store_find(&store, "b.weight");
        assert_int_equal(store.entry_count, 2);
        assert_true(a && a->dtype == OTIMES_DTYPE_F32 && a->ndim == 2 && a->bytes == 24);
        assert_true(a->dim[0] == 2 && a->dim[1] == 3 && a->stride[0] == 3 && a->stride[1] == 1);
        assert_true(b && b->dtype == OTIMES_DTYPE_Q8_0 && b->ndim == 3 && b->bytes == 68);
        assert_true(b->dim[0] == 2 && b->dim[1] == 1 && b->dim[2] == 32);
        assert_true(b->stride[0] == 32 && b->stride[1] == 32 && b->stride[2] == 1);
        assert_true(a->data[0] == 0 && a->data[23] == 23);
        assert_true(b->data[0] == 64 && b->data[67] == 131);
        assert_ptr_equal(a->data, store.files[0].map.data + w.length - 132);
        otimes_store_close(&store);
    }
}

/* Header, tensors, data; no metadata. */
static void compose_tensor(int ndim, const uint64_t *dim, uint64_t type, uint64_t offset,
                           size_t data)
{
    gguf_header(&w, 3, 1, 0);
    gguf_tensor(&w, "w", ndim, dim, type, offset);
    gguf_align(&w, 32);
    gguf_data(&w, data);
}

static void every_type(void **state)
{
    (void)state;
    static const struct {
        uint64_t type;
        const char *name;
        size_t bytes; /* of 512 elements; 0: refused */
    } types[] = {
        {0, "F32", 2048},   {1, "F16", 1024},   {2, "Q4_0", 288},  {3, "Q4_1", 320},
        {4, "Q4_2", 0},     {5, "Q4_3", 0},     {6, "Q5_0", 352},  {7, "Q5_1", 384},
        {8, "Q8_0", 544},   {9, "Q8_1", 0},     {10, "Q2_K", 168}, {11, "Q3_K", 220},
        {12, "Q4_K", 288},  {13, "Q5_K", 352},  {14, "Q6_K", 420}, {15, "Q8_K", 0},
        {16, "IQ2_XXS", 0}, {17, "IQ2_XS", 0},  {23, "IQ4_XS", 0}, {24, "I8", 512},
        {25, "I16", 1024},  {26, "I32", 2048},  {27, "I64", 4096}, {28, "F64", 4096},
        {29, "IQ1_M", 0},   {30, "BF16", 1024}, {34, "TQ1_0", 0},  {39, "MXFP4", 272},
        {40, "NVFP4", 0},
    };
    static const uint64_t dim[] = {256, 2};
    for (size_t i = 0; i < COUNT(types); i++) {
        char words[128];
        compose_tensor(2, dim, types[i].type, 0, types[i].bytes);
        if (types[i].bytes == 0) {
            snprintf(words, sizeof words, "w: type %s is not supported: expected F32, F16, Q4_0",
                     types[i].name);
            refused(words, types[i].name);
            continue;
        }
        otimes_store store;
        opens(&store);
        assert_string_equal(otimes_dtype_name(store.entries[0].dtype), types[i].name);
        assert_int_equal(store.entries[0].bytes, types[i].bytes);
        otimes_store_close(&store);
        compose_tensor(2, dim, types[i].type, 0, types[i].bytes - 1);
        refused("w: truncated", types[i].name);
    }
    static const uint64_t unknown[] = {42, 99, UINT32_MAX};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        compose_tensor(2, dim, unknown[i], 0, 4096);
        refused("w: type |is not known: expected F32", "a type never given");
    }
}

static void unusual_but_valid(void **state)
{
    (void)state;
    otimes_store store;
    gguf_header(&w, 3, 0, 0);
    opens(&store);
    assert_int_equal(store.entry_count, 0);
    check_config(&store, "{}");
    otimes_store_close(&store);

    compose_tensor(0, NULL, 0, 0, 4); /* one number */
    opens(&store);
    assert_true(store.entries[0].ndim == 0 && store.entries[0].bytes == 4);
    otimes_store_close(&store);

    /* 123 tensors: byte 8 is then the brace that safetensors begin with. */
    static const uint64_t one[] = {1};
    gguf_header(&w, 3, 123, 0);
    for (uint64_t i = 0; i < 123; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%03d", (int)i);
        gguf_tensor(&w, name, 1, one, 0, 32 * i);
    }
    gguf_align(&w, 32);
    gguf_data(&w, 32 * 122 + 4);
    assert_int_equal(w.bytes[8], '{');
    opens(&store);
    assert_int_equal(store.entry_count, 123);
    assert_int_equal(store.entries[122].data[0], 122 * 32 % 256);
    otimes_store_close(&store);

    gguf_header(&w, 3, 2, 1); /* alignment 1, the second tensor at an odd place */
    gguf_key(&w, "general.alignment", GGUF_U32);
    gguf_put(&w, 4, 1);
    gguf_tensor(&w, "b", 1, one, 24, 0);
    gguf_tensor(&w, "f", 1, one, 0, 1);
    gguf_data(&w, 5);
    opens(&store);
    assert_int_equal(store.entries[1].data[0], 1);
    otimes_store_close(&store);
}

/* ---- files that are cut or changed ---- */

static void cut_at_every_byte(void **state)
{
    (void)state;
    for (int version = 1; version <= 3; version++) {
        compose_sample(version);
        const size_t whole = w.length;
        for (w.length = 0; w.length < whole; w.length++) {
            char what[64];
            snprintf(what, sizeof what, "version %d cut at %zu", version, w.length);
            refused(w.length < 4 ? "unknown format|gguf" : "", what);
            assert_true(read_from_memory(w.length, what) != OTIMES_OK);
        }
        assert_int_equal(read_from_memory(whole, "whole"), OTIMES_OK);
        otimes_store store;
        opens(&store);
        otimes_store_close(&store);
    }
}

static void every_byte_changed(void **state)
{
    (void)state;
    static const unsigned char others[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '.'};
    for (int version = 1; version <= 3; version += 2) {
        compose_sample(version);
        for (size_t at = 0; at < w.length - 132; at++) {
            const unsigned char kept = w.bytes[at];
            for (size_t k = 0; k < COUNT(others); k++) {
                char what[64];
                snprintf(what, sizeof what, "byte %zu is 0x%02x", at, others[k]);
                w.bytes[at] = others[k];
                read_from_memory(w.length, what);
            }
            w.bytes[at] = kept;
        }
    }
}

/* ---- headers ---- */

static void versions_that_are_none(void **state)
{
    (void)state;
    static const struct {
        uint64_t version;
        const char *words;
    } cases[] = {
        {0, "GGUF version: expected 1 to 3, got 0"},
        {4, "expected 1 to 3, got 4"},
        {UINT32_MAX, "got 4294967295"},
        {0x03000000, "big-endian|little-endian"},
        {0x02000000, "big-endian"},
        {0x04000000, "got 67108864"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        gguf_header(&w, 3, 0, 0);
        w.length = 4;
        gguf_put(&w, 4, cases[i].version);
        gguf_put(&w, 8, 0);
        gguf_put(&w, 8, 0);
        refused(cases[i].words, cases[i].words);
    }
    static const char *const magics[] = {"GGUE", "gguf", "FUGG", "GGML", "tjgg"};
    for (size_t i = 0; i < COUNT(magics); i++) {
        compose_sample(3);
        memcpy(w.bytes, magics[i], 4);
        refused("unknown format", magics[i]);
    }
}

static void counts_that_lie(void **state)
{
    (void)state;
    static const uint64_t counts[] = {
        1u << 16,          1u << 31,        UINT32_MAX,          (uint64_t)1 << 32,
        (uint64_t)1 << 60, INT64_MAX,       (uint64_t)1 << 63,   UINT64_MAX,
        UINT64_MAX - 7,    UINT64_MAX / 24, UINT64_MAX / 24 + 1, 1000,
    };
    for (size_t i = 0; i < COUNT(counts); i++) {
        gguf_header(&w, 3, counts[i], 0);
        refused("header: tensors: expected at most 0 in the rest of the file", "tensors");
        gguf_header(&w, 3, 0, counts[i]);
        refused("header: keys: expected at most 0", "keys");
        gguf_header(&w, 3, 0, 1);
        gguf_put_count(&w, counts[i]);
        gguf_data(&w, 100);
        refused("metadata 0: truncated", "a key's length");
        gguf_header(&w, 3, 0, 1);
        gguf_key(&w, "k.text", GGUF_TEXT);
        gguf_put_count(&w, counts[i]);
        gguf_data(&w, 100);
        refused("k.text: truncated", "a text's length");
        for (uint64_t type = 0; type <= GGUF_F64; type++) {
            gguf_header(&w, 3, 0, 1);
            gguf_key_array(&w, "k.list", type, counts[i]);
            gguf_data(&w, 100);
            refused("k.list: array: expected at most", "an array's length");
        }
        gguf_header(&w, 3, 1, 0);
        gguf_put_count(&w, counts[i]);
        gguf_data(&w, 100);
        refused("tensor 0: truncated", "a tensor's name");
    }
    gguf_header(&w, 3, 2, 0); /* one too many: the second would be read from the data */
    static const uint64_t one[] = {1};
    gguf_tensor(&w, "w", 1, one, 0, 0);
    gguf_align(&w, 32);
    gguf_data(&w, 4);
    refused("tensor", "a tensor too many");
}

/* ---- metadata ---- */

static void values_that_lie(void **state)
{
    (void)state;
    static const uint64_t unknown[] = {13, 14, 255, UINT32_MAX};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        gguf_header(&w, 3, 0, 1);
        gguf_key(&w, "k", unknown[i]);
        gguf_data(&w, 64);
        refused("k: value type: expected 0 to 12", "an unknown type");
        gguf_header(&w, 3, 0, 1);
        gguf_key_array(&w, "k", unknown[i], 0);
        refused("k: value type", "an array of an unknown type");
    }
    gguf_header(&w, 3, 0, 1);
    gguf_key(&w, "k", GGUF_BOOL);
    gguf_put(&w, 1, 2);
    refused("k: expected a BOOL of 0 or 1, got 2", "a bool of 2");
    for (int depth = 7; depth <= 9; depth++) { /* the innermost array makes one more */
        gguf_header(&w, 3, 0, 1);
        gguf_key(&w, "k", GGUF_ARRAY);
        for (int i = 1; i < depth; i++) {
            gguf_put(&w, 4, GGUF_ARRAY);
            gguf_put_count(&w, 1);
        }
        gguf_put(&w, 4, GGUF_U8);
        gguf_put_count(&w, 1);
        gguf_put(&w, 1, 5);
        if (depth > 8) {
            refused("k: arrays in arrays: expected at most 8, got 9", "deep arrays");
        } else {
            otimes_store store;
            opens(&store);
            otimes_store_close(&store);
        }
    }
    gguf_header(&w, 3, 0, 1);
    gguf_key(&w, "k", GGUF_ARRAY);
    while (w.length < sizeof w.bytes - 64) {
        gguf_put(&w, 4, GGUF_ARRAY);
        gguf_put_count(&w, 1);
    }
    refused("k: arrays in arrays", "arrays without end");
}

/* Texts are empty, so that the keys stand alone. */
static void compose_keys(size_t count, const char *const *keys)
{
    gguf_header(&w, 3, 0, count);
    for (size_t i = 0; i < count; i++) {
        gguf_key_text(&w, keys[i], i ? "second" : "first");
    }
}

static void keys_that_lie(void **state)
{
    (void)state;
    static const char *const names[] = {"", "\n", "a\tb", "a\x7f", "\xff", "a.\xe2\x82"};
    for (size_t i = 0; i < COUNT(names); i++) {
        compose_keys(1, &names[i]);
        refused("metadata 0: name: expected UTF-8", "no name");
    }
    static const char *const paths[] = {".",    "a.", ".a",
                                        "a..b", "..", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        compose_keys(1, &paths[i]);
        refused("key: expected at most 16 names joined by dots", paths[i]);
    }
    static const char *const twice[][2] = {{"a", "a"}, {"a.b", "a.b"}};
    for (size_t i = 0; i < COUNT(twice); i++) {
        compose_keys(2, twice[i]);
        refused("key: expected each but once", twice[i][0]);
    }
    static const char *const thrice[] = {"a", "a.b", "a"};
    compose_keys(3, thrice);
    refused("a: key: expected each but once", "a leaf beside a path, again");
    static const struct {
        const char *keys[2], *config;
    } both[] = {
        {{"a", "a.b"}, "{\"a\":{\"\":\"first\",\"b\":\"second\"}}"},
        {{"a.b", "a"}, "{\"a\":{\"\":\"second\",\"b\":\"first\"}}"},
        {{"a", "a.b.c"}, "{\"a\":{\"\":\"first\",\"b\":{\"c\":\"second\"}}}"},
        {{"first.x", "general.architecture"},
         "{\"first\":{\"x\":\"first\"},\"general\":{\"architecture\":\"second\"}}"},
        {{"second.x", "general.architecture"},
         "{\"arch\":{\"x\":\"first\"},\"general\":{\"architecture\":\"second\"}}"},
        {{"second", "general.architecture"},
         "{\"arch\":\"first\",\"general\":{\"architecture\":\"second\"}}"},
    };
    for (size_t i = 0; i < COUNT(both); i++) {
        otimes_store store;
        compose_keys(2, both[i].keys);
        opens(&store);
        check_config(&store, both[i].config);
        otimes_store_close(&store);
    }
    static const char *const arch[] = {"arch.x", "general.architecture", "second.x"};
    compose_keys(3, arch);
    refused("arch: key: expected none of this name", "two that would be arch");
}

static void alignments(void **state)
{
    (void)state;
    static const uint64_t bad[] = {
        0, 3, 33, 48, (uint64_t)1 << 32, (uint64_t)1 << 40, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < COUNT(bad); i++) {
        gguf_header(&w, 3, 0, 1);
        gguf_key(&w, "general.alignment", GGUF_U64);
        gguf_put(&w, 8, bad[i]);
        refused("general.alignment: expected a power of two", "an alignment");
    }
    gguf_header(&w, 3, 0, 1);
    gguf_key_text(&w, "general.alignment", "32");
    refused("general.alignment: expected a power of two", "an alignment of text");
    static const uint64_t one[] = {1};
    gguf_header(&w, 3, 1, 1); /* the data would begin far beyond the file */
    gguf_key(&w, "general.alignment", GGUF_U32);
    gguf_put(&w, 4, (uint64_t)1 << 31);
    gguf_tensor(&w, "w", 1, one, 0, 0);
    gguf_data(&w, 64);
    refused("w: truncated: expected 4 bytes of data, got 0", "the largest alignment");
    gguf_header(&w, 3, 0, 1);
    gguf_key(&w, "split.count", GGUF_U16);
    gguf_put(&w, 2, 3);
    refused("expected a whole model, got one of 3 parts", "a part");
}

/* ---- tensors ---- */

/* The second one with this name at this offset; each takes 4 bytes. */
static void compose_two(const char *name, uint64_t offset)
{
    static const uint64_t one[] = {1};
    gguf_header(&w, 3, 2, 0);
    gguf_tensor(&w, "a", 1, one, 0, 0);
    gguf_tensor(&w, name, 1, one, 0, offset);
    gguf_align(&w, 32);
    gguf_data(&w, offset + 4);
}

static void tensors_that_lie(void **state)
{
    (void)state;
    static const uint64_t huge = (uint64_t)1 << 62, top = (uint64_t)1 << 63;
    static const struct {
        int ndim;
        uint64_t dim[5], type, offset;
        const char *words;
    } cases[] = {
        {5, {1, 1, 1, 1, 1}, 0, 0, "w: expected at most 4 dimensions, got 5"},
        {1, {0}, 0, 0, "w: expected sizes of at least 1"},
        {3, {4, 0, 2}, 0, 0, "w: expected sizes of at least 1|got 0"},
        {1, {top}, 0, 0, "w: expected sizes|63 bits, got 9223372036854775808"},
        {1, {UINT64_MAX}, 0, 0, "w: expected sizes"},
        {2, {huge, 2}, 24, 0, "w: expected sizes"},
        {4, {65536, 65536, 65536, 65536}, 0, 0, "w: expected sizes"},
        {1, {huge}, 0, 0, "w: expected bytes that fit 63 bits"},
        {1, {INT64_MAX}, 24, 0, "w: truncated: expected 9223372036854775807 bytes of data, got 64"},
        {1, {17}, 0, 0, "w: truncated: expected 68 bytes of data, got 64"},
        {1, {31}, 8, 0, "w: expected rows of a multiple of 32 elements for Q8_0, got 31"},
        {2, {2, 32}, 8, 0, "w: expected rows of a multiple of 32|got 2"},
        {2, {16, 2}, 2, 0, "w: expected rows of a multiple of 32 elements for Q4_0, got 16"},
        {2, {128, 2}, 12, 0, "w: expected rows of a multiple of 256 elements for Q4_K, got 128"},
        {0, {0}, 8, 0, "w: expected rows of a multiple of 32|got 1"},
        {1, {4}, 0, 1, "w: offset: expected a multiple of 32, got 1"},
        {1, {4}, 0, 16, "w: offset: expected a multiple of 32"},
        {1, {4}, 0, 32, "w: offset: expected 0, where the tensor before it ends, got 32"},
        {1, {4}, 0, 1024, "w: offset: expected 0"},
        {1, {4}, 0, top, "w: offset: expected 0|got 9223372036854775808"},
        {1, {4}, 0, UINT64_MAX, "w: offset: expected a multiple of 32"},
        {1, {4}, 0, UINT64_MAX - 31, "w: offset: expected 0"},
        {1, {4}, 0, 0, "too long: expected 32 bytes of tensors, got 64"},
        {1, {8}, 0, 0, "too long: expected 32 bytes of tensors, got 64"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        compose_tensor(cases[i].ndim, cases[i].dim, cases[i].type, cases[i].offset, 64);
        refused(cases[i].words, cases[i].words);
    }
    static const char *const names[] = {"", "a\nb", "\xff", "\x01"};
    static const uint64_t one[] = {1};
    for (size_t i = 0; i < COUNT(names); i++) {
        gguf_header(&w, 3, 1, 0);
        gguf_tensor(&w, names[i], 1, one, 0, 0);
        gguf_align(&w, 32);
        gguf_data(&w, 4);
        refused("tensor 0: name: expected UTF-8", "a tensor's name");
    }
    static const uint64_t offsets[] = {0, 64};
    for (size_t i = 0; i < COUNT(offsets); i++) {
        compose_two("b", offsets[i]);
        refused("b: offset: expected 32", i ? "a hole" : "overlap");
    }
    otimes_store store;
    otimes_err err = {0};
    compose_two("a", 32);
    write_file("twice.gguf", w.bytes, w.length);
    assert_int_equal(otimes_store_open(&store, in_folder("twice.gguf"), &err), OTIMES_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "tensor a is there more than once"));
}

/* An index of shards may name one file with metadata, not two. */
static void two_files_with_metadata(void **state)
{
    (void)state;
    static const char index[] = "{\"weight_map\":{\"a\":\"one.gguf\",\"b\":\"two.gguf\"}}";
    otimes_store store;
    otimes_err err = {0};
    compose_two("b", 32);
    write_file("one.gguf", w.bytes, w.length);
    write_file("two.gguf", w.bytes, w.length);
    write_file("model.safetensors.index.json", index, sizeof index - 1);
    assert_int_equal(otimes_store_open(&store, temp_folder, &err), OTIMES_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "two.gguf: expected one file with metadata, got two"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(all_versions, empty_folder),
        cmocka_unit_test_teardown(every_type, empty_folder),
        cmocka_unit_test_teardown(unusual_but_valid, empty_folder),
        cmocka_unit_test_teardown(cut_at_every_byte, empty_folder),
        cmocka_unit_test_teardown(every_byte_changed, empty_folder),
        cmocka_unit_test_teardown(versions_that_are_none, empty_folder),
        cmocka_unit_test_teardown(counts_that_lie, empty_folder),
        cmocka_unit_test_teardown(values_that_lie, empty_folder),
        cmocka_unit_test_teardown(keys_that_lie, empty_folder),
        cmocka_unit_test_teardown(alignments, empty_folder),
        cmocka_unit_test_teardown(tensors_that_lie, empty_folder),
        cmocka_unit_test_teardown(two_files_with_metadata, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
