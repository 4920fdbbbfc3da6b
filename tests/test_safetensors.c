/* SPDX-License-Identifier: MIT
 *
 * Files that are, almost are and are not safetensors: each malformed one is one error with file and
 * tensor named, never a crash (run under ASan and UBSan).
 */
#include "support.h"

#include "format/open.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

enum { FILE_MOST = 8192 };

static unsigned char content[FILE_MOST];

/* Header length, header, data 0 1 2 ...; returns the file's length. */
static size_t compose(uint64_t claimed, const char *header, size_t data)
{
    const size_t length = strlen(header);
    assert_true(8 + length + data <= FILE_MOST);
    for (int i = 0; i < 8; i++) {
        content[i] = (unsigned char)(claimed >> 8 * i);
    }
    memcpy(content + 8, header, length);
    for (size_t i = 0; i < data; i++) {
        content[8 + length + i] = (unsigned char)i;
    }
    return 8 + length + data;
}

static void write_tensors(const char *name, const char *header, size_t data)
{
    write_file(name, content, compose(strlen(header), header, data));
}

static void opens(otimes_store *store, const char *name)
{
    otimes_err err = {0};
    assert_ok(otimes_store_open(store, name ? in_folder(name) : temp_folder, &err), &err);
}

/* One error with that code and all of the '|'-separated words; nothing is left open. */
static void refused(const char *name, int code, const char *words, const char *what)
{
    otimes_store store;
    otimes_err err = {0};
    const int rc = otimes_store_open(&store, name ? in_folder(name) : temp_folder, &err);
    if (rc != code || err.code != code) {
        fail_msg("%s: expected error %d, got %d: %s", what, code, rc, err.msg);
    }
    char list[512];
    snprintf(list, sizeof list, "%s", words);
    for (char *word = strtok(list, "|"); word; word = strtok(NULL, "|")) {
        if (!strstr(err.msg, word)) {
            fail_msg("%s: expected '%s' in '%s'", what, word, err.msg);
        }
    }
    assert_null(strchr(err.msg, '\n'));
    assert_true(!store.files && !store.entries && !store.directory);
    assert_int_equal(otimes_store_open(&store, name ? in_folder(name) : temp_folder, NULL), code);
}

/* ---- files that are ---- */

static const char two_tensors[] =
    "{\"__metadata__\":{\"format\":\"pt\",\"copy\":\"b\",\"a\":\"b\",\"lost\":\"nowhere\"},"
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
    "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}";

static void check_two(const otimes_store *store)
{
    const otimes_entry *a = otimes_store_find(store, "a"), *b = otimes_store_find(store, "b");
    const otimes_entry *copy = otimes_store_find(store, "copy");
    assert_int_equal(store->entry_count, 3);
    assert_true(a && b && copy);
    assert_true(a->dtype == OTIMES_DTYPE_BF16 && a->ndim == 1 && a->dim[0] == 2 && a->bytes == 4);
    assert_true(b->dtype == OTIMES_DTYPE_F32 && b->ndim == 2 && b->dim[0] == 2 && b->dim[1] == 3);
    assert_true(b->bytes == 24 && a->data[0] == 0 && b->data[0] == 4 && b->data[23] == 27);
    assert_true(copy->data == b->data && copy->dim[1] == 3);
    assert_string_equal(copy->alias_of, "b");
    assert_true(!a->alias_of && !b->alias_of);
    assert_null(otimes_store_find(store, "lost"));
    assert_null(otimes_store_find(store, "__metadata__"));
    assert_string_equal(store->format, "safetensors");
}

static void two_tensors_and_an_alias(void **state)
{
    (void)state;
    otimes_store store;
    write_tensors("model.safetensors", two_tensors, 28);
    opens(&store, "model.safetensors");
    check_two(&store);
    otimes_store_close(&store);
    opens(&store, NULL); /* by its temp_folder */
    check_two(&store);
    otimes_store_close(&store);
    otimes_store_close(&store);
    otimes_store_close(NULL);
}

static void unusual_but_valid(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        int64_t tensors;
    } cases[] = {
        {"{}", 0, 0},
        {"{}        ", 0, 0}, /* padded, as files are to align the data */
        {"{\"__metadata__\":{}}", 0, 0},
        {"{\"__metadata__\":7}", 0, 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, 1},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, 1},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,4611686018427387904],\"data_offsets\":[0,0]}}", 0,
         1},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[3,0,2],\"data_offsets\":[0,0]},"
         "\"b\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"c\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]}}",
         1, 3},
        {"{\"a\":{\"dtype\":\"BOOL\",\"shape\":[1,1,1,1,1,1],\"data_offsets\":[0,1],\"more\":[]}}",
         1, 1},
        {"{\"\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2, 1},
        {"{\"\\u00e9 \xe2\x82\xac\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2,
         1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        otimes_store store;
        write_tensors("x.safetensors", cases[i].header, cases[i].data);
        opens(&store, "x.safetensors");
        assert_int_equal(store.entry_count, cases[i].tensors);
        otimes_store_close(&store);
    }
}

/* ---- truncated, padded ---- */

static void cut_at_every_byte(void **state)
{
    (void)state;
    const size_t whole = compose(strlen(two_tensors), two_tensors, 28);
    for (size_t length = 0; length < whole; length++) {
        char what[32];
        snprintf(what, sizeof what, "cut at %zu", length);
        write_file("cut.safetensors", content, length);
        refused("cut.safetensors", OTIMES_ERR_FORMAT,
                length >= 8 + strlen(two_tensors) ? "cut.safetensors|: b: |truncated"
                                                  : "cut.safetensors",
                what);
    }
    write_file("cut.safetensors", content, whole + 1);
    refused("cut.safetensors", OTIMES_ERR_FORMAT, "cut.safetensors|expected 28 bytes|got 29",
            "one byte more");
}

/* The header cut short with its length told right: an unfinished text. */
static void header_cut_at_every_byte(void **state)
{
    (void)state;
    char header[sizeof two_tensors];
    for (size_t length = 0; length < sizeof two_tensors - 1; length++) {
        memcpy(header, two_tensors, length);
        header[length] = '\0';
        write_tensors("cut.safetensors", header, 28);
        refused("cut.safetensors", OTIMES_ERR_FORMAT, "cut.safetensors", header);
    }
}

/* One byte of the header changed: an error or a file that is read, never a crash. */
static void every_byte_changed(void **state)
{
    (void)state;
    static const unsigned char others[] = {0x00, 0xff, '{', '"', '9', '-', ','};
    const size_t whole = compose(strlen(two_tensors), two_tensors, 28);
    for (size_t at = 0; at < whole - 28; at++) {
        const unsigned char kept = content[at];
        for (size_t k = 0; k < COUNT(others); k++) {
            otimes_store store;
            otimes_err err = {0};
            content[at] = others[k];
            write_file("changed.safetensors", content, whole);
            const int rc = otimes_store_open(&store, in_folder("changed.safetensors"), &err);
            assert_true(rc == OTIMES_OK || (rc == OTIMES_ERR_FORMAT && strstr(err.msg, "changed")));
            otimes_store_close(&store);
        }
        content[at] = kept;
    }
}

static void lengths_that_lie(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {
        0,
        1,
        7,
        UINT64_MAX,
        (uint64_t)1 << 63,
        ((uint64_t)1 << 63) - 1,
        100000000,
        100000001,
        1u << 31,
        (uint64_t)1 << 32,
        UINT64_MAX - 7,
        UINT64_MAX - 8,
        sizeof two_tensors - 2,
        sizeof two_tensors,
        sizeof two_tensors + 28,
    };
    for (size_t i = 0; i < COUNT(lengths); i++) {
        char what[64];
        snprintf(what, sizeof what, "length %llu", (unsigned long long)lengths[i]);
        write_file("lie.safetensors", content, compose(lengths[i], two_tensors, 28));
        refused("lie.safetensors", OTIMES_ERR_FORMAT, "lie.safetensors", what);
    }
}

/* ---- headers that are no headers ---- */

#define TENSOR(rest) "{\"w\":{" rest "}}"
#define F32(shape, offsets) \
    TENSOR("\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets)
#define PAIR(a, b)                                                    \
    "{\"v\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a "}," \
    "\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" b "}}"

/* All with 8 bytes of data. */
static void headers_that_lie(void **state)
{
    (void)state;
    static const struct {
        const char *header, *words;
    } cases[] = {
        {"[]", "unknown format"},
        {"x", "unknown format"},
        {"null", "unknown format"},
        {" {}", "unknown format"},
        {"{\"w\"", "not valid JSON"},
        {"{} {}", "not valid JSON"},
        {"{'w':1}", "not valid JSON"},
        {"{\"w\xff\":{}}", "not valid JSON"},
        {"{\"w\\u0000\":{}}", "not valid JSON"},
        {"{\"w\":1e999}", "not valid JSON"},
        /* a tensor's description */
        {"{\"w\":7}", "w: dtype"},
        {"{\"w\":null}", "w: dtype"},
        {"{\"w\":[]}", "w: dtype"},
        {"{\"w\":\"F32\"}", "w: dtype"},
        {TENSOR(""), "w: dtype"},
        {TENSOR("\"shape\":[2],\"data_offsets\":[0,8]"), "w: dtype|got none"},
        {TENSOR("\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]"), "w: dtype"},
        {TENSOR("\"dtype\":null,\"shape\":[2],\"data_offsets\":[0,8]"), "w: dtype"},
        {TENSOR("\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]"), "w: dtype|F31"},
        {TENSOR("\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]"), "w: dtype|f32"},
        {TENSOR("\"dtype\":\"\",\"shape\":[2],\"data_offsets\":[0,8]"), "w: dtype"},
        /* shapes */
        {TENSOR("\"dtype\":\"F32\",\"data_offsets\":[0,8]"), "w: shape"},
        {F32("2", "[0,8]"), "w: shape"},
        {F32("null", "[0,8]"), "w: shape"},
        {F32("{}", "[0,8]"), "w: shape"},
        {F32("\"2\"", "[0,8]"), "w: shape"},
        {F32("[2.0]", "[0,8]"), "w: shape"},
        {F32("[\"2\"]", "[0,8]"), "w: shape"},
        {F32("[null]", "[0,8]"), "w: shape"},
        {F32("[[2]]", "[0,8]"), "w: shape"},
        {F32("[-2]", "[0,8]"), "w: shape"},
        {F32("[-1,-2]", "[0,8]"), "w: shape"},
        {F32("[1,1,1,1,1,1,2]", "[0,8]"), "w: shape|6"},
        {F32("[9223372036854775807]", "[0,8]"), "w: shape|63 bits"},
        {F32("[4294967296,4294967296]", "[0,8]"), "w: shape|63 bits"},
        {F32("[4611686018427387904,2]", "[0,8]"), "w: shape|63 bits"},
        {F32("[2305843009213693952]", "[0,8]"), "w: shape|63 bits"},
        {F32("[9223372036854775808]", "[0,8]"), "not valid JSON"},
        {F32("[2305843009213693951]", "[0,8]"), "w: data_offsets"},
        {F32("[3]", "[0,8]"), "w: data_offsets|expected 12 bytes|got 8"},
        {F32("[1]", "[0,8]"), "w: data_offsets|expected 4 bytes|got 8"},
        {F32("[0]", "[0,8]"), "w: data_offsets|expected 0 bytes|got 8"},
        {F32("[2]", "[0,7]"), "w: data_offsets|expected 8 bytes|got 7"},
        {F32("[2]", "[0,0]"), "w: data_offsets|expected 8 bytes|got 0"},
        /* offsets */
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2]"), "w: data_offsets"},
        {F32("[2]", "8"), "w: data_offsets"},
        {F32("[2]", "null"), "w: data_offsets"},
        {F32("[2]", "{}"), "w: data_offsets"},
        {F32("[2]", "[]"), "w: data_offsets"},
        {F32("[2]", "[8]"), "w: data_offsets"},
        {F32("[2]", "[0,8,8]"), "w: data_offsets"},
        {F32("[2]", "[0,\"8\"]"), "w: data_offsets"},
        {F32("[2]", "[0,8.0]"), "w: data_offsets"},
        {F32("[2]", "[false,8]"), "w: data_offsets"},
        {F32("[2]", "[-8,0]"), "w: data_offsets"},
        {F32("[2]", "[8,0]"), "w: data_offsets"},
        {F32("[2]", "[0,-8]"), "w: data_offsets"},
        {F32("[2]", "[8,16]"), "w: data_offsets|at most 8, got 16"},
        {F32("[2]", "[9223372036854775799,9223372036854775807]"), "w: data_offsets|at most 8"},
        {F32("[0]", "[9,9]"), "w: data_offsets|at most 8, got 9"},
        /* what they cover together */
        {F32("[1]", "[0,4]"), "expected 4 bytes of tensors, got 8"},
        {F32("[1]", "[4,8]"), "w: data_offsets leave a hole|begin at 0, got 4"},
        {"{}", "expected 0 bytes of tensors, got 8"},
        {PAIR("[0,4]", "[0,4]"), "overlap|begin at 4, got 0"},
        {PAIR("[0,4]", "[2,6]"), "w: data_offsets overlap|begin at 4, got 2"},
        {PAIR("[2,6]", "[0,4]"), "v: data_offsets overlap|begin at 4, got 2"},
        {PAIR("[4,8]", "[4,8]"), "leave a hole|begin at 0, got 4"},
        {PAIR("[0,4]", "[5,9]"), "w: data_offsets|at most 8, got 9"},
        /* names */
        {"{\"w\":{},\"w\":{}}", "not valid JSON|duplicate"},
        {"{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}", "not valid JSON|duplicate"},
        {TENSOR("\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"),
         "not valid JSON|duplicate"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char words[256];
        snprintf(words, sizeof words, "lie.safetensors: |%s", cases[i].words);
        write_tensors("lie.safetensors", cases[i].header, 8);
        refused("lie.safetensors", OTIMES_ERR_FORMAT, words, cases[i].header);
    }
}

/* Thousands of brackets: a parser must not recurse without end. */
static void deep_nesting(void **state)
{
    (void)state;
    char header[6001] = "{\"w\":";
    memset(header + 5, '[', sizeof header - 6);
    write_tensors("deep.safetensors", header, 0);
    refused("deep.safetensors", OTIMES_ERR_FORMAT, "deep.safetensors: not valid JSON", "nesting");
}

/* Members of __metadata__ that look like aliases and are none are left alone. */
static void aliases_that_lead_nowhere(void **state)
{
    (void)state;
    static const char *const metadata[] = {
        "{\"x\":\"missing\"}",
        "{\"w\":\"w\"}",
        "{\"x\":7}",
        "{\"x\":null}",
        "{\"x\":[\"w\"]}",
        "{\"x\":{\"w\":1}}",
        "{\"x\":\"__metadata__\"}",
        "[\"w\"]",
        "\"w\"",
        "{\"x\":\"\"}",
        "{\"x\":\"y\",\"y\":\"x\"}",
    };
    for (size_t i = 0; i < COUNT(metadata); i++) {
        char header[256];
        otimes_store store;
        snprintf(
            header, sizeof header,
            "{\"__metadata__\":%s,\"w\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}",
            metadata[i]);
        write_tensors("alias.safetensors", header, 8);
        opens(&store, "alias.safetensors");
        assert_int_equal(store.entry_count, 1);
        otimes_store_close(&store);
    }
}

/* ---- MXFP4 in two tensors ---- */

#define BYTES(name, dtype, shape, begin, end)                                                      \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end \
    "]}"

static void blocks_and_scales(void **state)
{
    (void)state;
    otimes_store store;
    write_tensors(
        "model.safetensors",
        "{\"__metadata__\":{\"b_blocks\":\"a_blocks\",\"b_scales\":\"a_scales\","
        "\"c_scales\":\"a_scales\"}," BYTES("a_blocks", "U8", "[2,3,16]", 6,
                                            102) "," BYTES("a_scales", "U8", "[2,3]", 0, 6) "}",
        102);
    opens(&store, NULL);
    const otimes_entry *a = otimes_store_find(&store, "a_blocks");
    const otimes_entry *b = otimes_store_find(&store, "b_blocks");
    const otimes_entry *c = otimes_store_find(&store, "c_scales");
    assert_int_equal(store.entry_count, 3); /* of each pair the scales are gone */
    assert_true(a && b && c && c->dtype == OTIMES_DTYPE_U8);
    assert_string_equal(otimes_dtype_name(a->dtype), "MXFP4");
    assert_true(a->ndim == 2 && a->dim[0] == 2 && a->dim[1] == 96);
    assert_true(a->stride[0] == 96 && a->stride[1] == 1 && a->bytes == 102);
    assert_true(a->data[0] == 6 && a->scales[0] == 0 && a->scales[5] == 5);
    assert_true(b->data == a->data && b->scales == a->scales && b->dim[1] == 96);
    assert_string_equal(b->alias_of, "a_blocks");
    assert_string_equal(c->alias_of, "a_scales");
    otimes_store_close(&store);
}

static void blocks_and_scales_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
    } cases[] = {
        {"{" BYTES("w_blocks", "U8", "[2,16]", 0, 32) "," BYTES("w_scales", "U8", "[3]", 32,
                                                                35) "}",
         35},
        {"{" BYTES("w_blocks", "U8", "[2,16]", 0, 32) "," BYTES("w_scales", "U8", "[2,1]", 32,
                                                                34) "}",
         34},
        {"{" BYTES("w_blocks", "U8", "[2,16]", 0, 32) "," BYTES("w_scales", "I8", "[2]", 32,
                                                                34) "}",
         34},
        {"{" BYTES("w_blocks", "I8", "[2,16]", 0, 32) "," BYTES("w_scales", "U8", "[2]", 32,
                                                                34) "}",
         34},
        {"{" BYTES("w_blocks", "U8", "[2,8]", 0, 16) "," BYTES("w_scales", "U8", "[2]", 16, 18) "}",
         18},
        {"{" BYTES("w_blocks", "U8", "[16]", 0, 16) "," BYTES("w_scales", "U8", "[]", 16, 17) "}",
         17},
        {"{" BYTES("w_blocks", "U8", "[]", 0, 1) "," BYTES("w_scales", "U8", "[]", 1, 2) "}", 2},
        {"{" BYTES("w_blocks", "U8", "[2,16]", 0, 32) "," BYTES("v_scales", "U8", "[2]", 32,
                                                                34) "}",
         34},
        {"{" BYTES("wblocks", "U8", "[2,16]", 0, 32) "," BYTES("wscales", "U8", "[2]", 32, 34) "}",
         34},
        {"{" BYTES("blocks", "U8", "[2,16]", 0, 32) "," BYTES("scales", "U8", "[2]", 32, 34) "}",
         34},
        /* no elements, and a row whose length would not fit */
        {"{" BYTES("w_blocks", "U8", "[0,576460752303423488,16]", 0,
                   0) "," BYTES("w_scales", "U8", "[0,576460752303423488]", 0, 0) "}",
         0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        otimes_store store;
        write_tensors("model.safetensors", cases[i].header, cases[i].data);
        opens(&store, NULL);
        if (store.entry_count != 2 || store.entries[0].scales || store.entries[1].scales) {
            fail_msg("joined: %s", cases[i].header);
        }
        otimes_store_close(&store);
    }
}

/* ---- shards ---- */

#define INDEX "model.safetensors.index.json"
#define ONE(name) "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}"

static void write_index(const char *text)
{
    write_file(INDEX, text, strlen(text));
}

static void two_shards(void **state)
{
    (void)state;
    otimes_store store;
    write_tensors("one.safetensors", ONE("a"), 2);
    write_tensors("two.safetensors", ONE("b"), 2);
    write_index("{\"metadata\":{\"total_size\":4},\"weight_map\":{\"b\":\"two.safetensors\","
                "\"a\":\"one.safetensors\"}}");
    opens(&store, NULL);
    assert_int_equal(store.file_count, 2);
    assert_int_equal(store.entry_count, 2);
    assert_string_equal(store.entries[0].name, "a");
    assert_string_equal(store.entries[1].name, "b");
    otimes_store_close(&store);
}

/* The index names both, and either may be in another file. */
static void blocks_and_scales_in_two_shards(void **state)
{
    (void)state;
    otimes_store store;
    write_tensors("one.safetensors", "{" BYTES("w_scales", "U8", "[2]", 0, 2) "}", 2);
    write_tensors("two.safetensors", "{" BYTES("w_blocks", "U8", "[2,16]", 0, 32) "}", 32);
    write_index("{\"weight_map\":{\"w_blocks\":\"two.safetensors\","
                "\"w_scales\":\"one.safetensors\"}}");
    opens(&store, NULL);
    assert_int_equal(store.entry_count, 1);
    assert_true(store.entries[0].dim[0] == 64 && store.entries[0].scales[1] == 1);
    otimes_store_close(&store);
}

static void indices_that_lie(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        int code;
        const char *words;
    } cases[] = {
        {"", OTIMES_ERR_FORMAT, INDEX "|not valid JSON"},
        {"{", OTIMES_ERR_FORMAT, INDEX "|not valid JSON"},
        {"[]", OTIMES_ERR_FORMAT, INDEX "|expected a JSON object"},
        {"{}", OTIMES_ERR_FORMAT, INDEX "|weight_map"},
        {"{\"weight_map\":[]}", OTIMES_ERR_FORMAT, INDEX "|weight_map"},
        {"{\"weight_map\":\"one.safetensors\"}", OTIMES_ERR_FORMAT, INDEX "|weight_map"},
        {"{\"weight_map\":{}}", OTIMES_ERR_FORMAT, INDEX "|weight_map"},
        {"{\"weight_map\":{\"a\":1}}", OTIMES_ERR_FORMAT, INDEX "|a: expected a file name"},
        {"{\"weight_map\":{\"a\":null}}", OTIMES_ERR_FORMAT, INDEX "|a: expected a file name"},
        {"{\"weight_map\":{\"a\":\"\"}}", OTIMES_ERR_FORMAT, INDEX "|a: expected a file name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", OTIMES_ERR_FORMAT, INDEX "|a: expected a file name"},
        {"{\"weight_map\":{\"a\":\".\"}}", OTIMES_ERR_FORMAT, INDEX "|a: expected a file name"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", OTIMES_ERR_FORMAT,
         INDEX "|a: expected a file name"},
        {"{\"weight_map\":{\"a\":\"../one.safetensors\"}}", OTIMES_ERR_FORMAT,
         INDEX "|a: expected"},
        {"{\"weight_map\":{\"a\":\"./one.safetensors\"}}", OTIMES_ERR_FORMAT, INDEX "|a: expected"},
        {"{\"weight_map\":{\"a\":\"missing.safetensors\"}}", OTIMES_ERR_IO,
         "missing.safetensors|cannot open"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"missing.safetensors\"}}",
         OTIMES_ERR_IO, "missing.safetensors|cannot open"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"z\":\"one.safetensors\"}}",
         OTIMES_ERR_FORMAT, INDEX "|z is in none of the shards"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"again.safetensors\"}}",
         OTIMES_ERR_FORMAT, "tensor a is there more than once"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"" INDEX "\"}}", OTIMES_ERR_FORMAT,
         INDEX "|unknown format"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}}",
         OTIMES_ERR_FORMAT, INDEX "|duplicate"},
    };
    write_tensors("one.safetensors", ONE("a"), 2);
    write_tensors("again.safetensors", ONE("a"), 2);
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_index(cases[i].index);
        refused(NULL, cases[i].code, cases[i].words, cases[i].index);
    }
}

/* ---- what is no file ---- */

static void paths_that_are_no_model(void **state)
{
    (void)state;
    refused("missing.safetensors", OTIMES_ERR_IO, "missing.safetensors|cannot open", "missing");
    refused(NULL, OTIMES_ERR_IO, "no model in this folder|model.safetensors", "empty folder");
    write_file("empty.safetensors", "", 0);
    refused("empty.safetensors", OTIMES_ERR_FORMAT, "empty.safetensors|unknown format",
            "empty file");
    write_file("text.safetensors", "hello, world\n", 13);
    refused("text.safetensors", OTIMES_ERR_FORMAT, "text.safetensors|unknown format", "text");
    refused("text.safetensors/x", OTIMES_ERR_IO, "text.safetensors/x|cannot open", "below a file");
    assert_int_equal(mkdir(in_folder("model.safetensors"), 0755), 0);
    refused(NULL, OTIMES_ERR_IO, "model.safetensors|regular file", "a folder for a file");
    assert_int_equal(rmdir(in_folder("model.safetensors")), 0);
    alarm(60); /* a pipe that nobody writes to must not be waited for */
    assert_int_equal(mkfifo(in_folder("pipe.safetensors"), 0600), 0);
    refused("pipe.safetensors", OTIMES_ERR_IO, "pipe.safetensors|regular file", "a pipe");
    alarm(0);
    assert_int_equal(symlink("nowhere", in_folder("link.safetensors")), 0);
    refused("link.safetensors", OTIMES_ERR_IO, "link.safetensors|cannot open", "a broken link");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(two_tensors_and_an_alias, empty_folder),
        cmocka_unit_test_teardown(unusual_but_valid, empty_folder),
        cmocka_unit_test_teardown(cut_at_every_byte, empty_folder),
        cmocka_unit_test_teardown(header_cut_at_every_byte, empty_folder),
        cmocka_unit_test_teardown(every_byte_changed, empty_folder),
        cmocka_unit_test_teardown(lengths_that_lie, empty_folder),
        cmocka_unit_test_teardown(headers_that_lie, empty_folder),
        cmocka_unit_test_teardown(deep_nesting, empty_folder),
        cmocka_unit_test_teardown(aliases_that_lead_nowhere, empty_folder),
        cmocka_unit_test_teardown(blocks_and_scales, empty_folder),
        cmocka_unit_test_teardown(blocks_and_scales_that_do_not_fit, empty_folder),
        cmocka_unit_test_teardown(two_shards, empty_folder),
        cmocka_unit_test_teardown(blocks_and_scales_in_two_shards, empty_folder),
        cmocka_unit_test_teardown(indices_that_lie, empty_folder),
        cmocka_unit_test_teardown(paths_that_are_no_model, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
