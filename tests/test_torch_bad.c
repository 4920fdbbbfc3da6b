/* SPDX-License-Identifier: MIT
 *
 * Checkpoints that almost are and are not: truncated, lying, hostile. Each is one error that names
 * the file, or opens; never a crash, a wrong pointer or memory without bound (run under ASan and
 * UBSan).
 */
#include "torch_bytes.h"

#include "format/open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST ((int64_t)0x7fffffffffffffff)

static void put_small_zip(bytes *b, const zip_end *end)
{
    bytes pickle = {0};
    unsigned char numbers[64] = {0};
    put_state_dict(&pickle, false);
    const zip_part parts[] = {
        {.name = "r/data.pkl", .data = pickle.data, .length = pickle.length},
        {.name = "r/byteorder", .data = "little", .length = 6},
        {.name = "r/data/0", .data = numbers, .length = sizeof numbers},
    };
    put_zip(b, parts, COUNT(parts), end);
    release(&pickle);
}

static void put_small_legacy(bytes *b)
{
    put_legacy_header(b);
    put_state_dict(b, true);
    PUT_OPS(b, "\x80\x02]X\x01\x00\x00\x00"
               "0a.");
    put_le(b, 16, 8);
    for (int i = 0; i < 64; i++) {
        put_le(b, (uint64_t)i, 1);
    }
}

/* ---- every byte ---- */

static void cut_at_every_byte(void **state)
{
    (void)state;
    static const zip_end zip64 = {.zip64 = true};
    for (int form = 0; form < 3; form++) {
        bytes whole = {0};
        otimes_store store;
        if (form == 2) {
            put_small_legacy(&whole);
        } else {
            put_small_zip(&whole, form == 1 ? &zip64 : NULL);
        }
        opens_bytes(&store, &whole);
        assert_int_equal(store.entry_count, 1);
        otimes_store_close(&store);
        for (size_t length = 0; length < whole.length; length++) {
            char what[48];
            snprintf(what, sizeof what, "form %d cut at %zu", form, length);
            const bytes cut = {.data = whole.data, .length = length};
            refused_bytes(&cut, OTIMES_ERR_FORMAT, "checkpoint", what);
            survives(&cut);
        }
        release(&whole);
    }
}

static void every_byte_changed(void **state)
{
    (void)state;
    static const zip_end zip64 = {.zip64 = true};
    static const unsigned char others[] = {0x00, 0xff, 0x7f, 0x80, '.', '(', 't', 'R',
                                           'Q',  'h',  '0',  '2',  'b', 'a', '\n'};
    for (int form = 0; form < 3; form++) {
        bytes file = {0};
        if (form == 2) {
            put_small_legacy(&file);
        } else {
            put_small_zip(&file, form == 1 ? &zip64 : NULL);
        }
        for (size_t at = 0; at < file.length; at++) {
            const unsigned char kept = file.data[at];
            for (size_t k = 0; k < COUNT(others); k++) {
                file.data[at] = others[k];
                survives(&file);
            }
            file.data[at] = kept;
        }
        release(&file);
    }
}

/* Files of the real torch with bytes drawn at random; always the same ones. */
static void random_bytes_changed(void **state)
{
    (void)state;
    static const char *const files[] = {"zip_protocol5.pt", "legacy.pt", "float8.pt",
                                        "nested_protocol4.pt"};
    uint64_t random = 1;
    for (size_t f = 0; f < COUNT(files); f++) {
        char relative[128];
        otimes_map map;
        bytes file = {0};
        otimes_err err = {0};
        snprintf(relative, sizeof relative, "tests/data/torch/%s", files[f]);
        assert_ok(otimes_map_open(&map, source_path(relative), &err), &err);
        for (int round = 0; round < 2000; round++) {
            file.length = 0;
            put(&file, map.data, (size_t)map.bytes);
            for (int change = 0; change < 3; change++) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                file.data[(random >> 40) % file.length] = (unsigned char)(random >> 32);
            }
            survives(&file);
        }
        otimes_map_close(&map);
        release(&file);
    }
}

/* ---- zip ---- */

static void zip_entries(void **state)
{
    (void)state;
    bytes pickle = {0};
    unsigned char numbers[64] = {0};
    put_state_dict(&pickle, false);
    const zip_part good[] = {
        {.name = "r/data.pkl", .data = pickle.data, .length = pickle.length},
        {.name = "r/data/0", .data = numbers, .length = sizeof numbers},
        {.name = "r/byteorder", .data = "little", .length = 6},
    };
    const struct {
        size_t at;
        zip_part part;
        const char *words;
    } cases[] = {
        {0, {.name = "r/data.pk"}, "without data.pkl|not a torch checkpoint"},
        {0, {.name = "data.pkl"}, "without data.pkl|not a torch checkpoint"},
        {0, {.name = "r/data.pkl", .method = 8}, "r/data.pkl|compressed|method 8"},
        {0, {.name = "r/data.pkl", .claimed = 1}, "r/data.pkl|to end where the next begins"},
        {0, {.name = "r/data.pkl", .local_name = "r/data.pkx"}, "r/data.pkl|another name"},
        {0, {.name = "r/data.pkl", .local_name = "r/data"}, "r/data.pkl|another name"},
        {1, {.name = "r/data/0", .method = 8}, "r/data/0|compressed"},
        {1, {.name = "r/data/0", .method = 99}, "r/data/0|method 99"},
        {1, {.name = "r/data/0", .flags = 1}, "r/data/0|encrypted"},
        {1, {.name = "r/data/0", .claimed = 63}, "r/data/0|to end where the next begins"},
        {1, {.name = "r/data/0", .local_extra = 3}, "r/data/0|to end where the next begins"},
        {1, {.name = "r/data/0", .local_extra = -5}, "r/data/0|to end where the next begins"},
        {1, {.name = "r/data/0", .flags = 8, .local_extra = -4}, "r/data/0|to end where the next"},
        {1, {.name = "r/data/0", .data = numbers, .length = 63}, "r/data/0|64 bytes, got 63"},
        {1, {.name = "r/data/0", .claimed = 100000}, "r/data/0|100000 bytes inside the file"},
        {1, {.name = "r/data/0", .header = 1}, "r/data/0|header at byte 1,"},
        {1, {.name = "r/data/0", .header = 100000}, "r/data/0|header at byte 100000"},
        {1, {.name = "r/data/1"}, "r/data/0|no such entry"},
        {1, {.name = "r/data.pkl"}, "r/data.pkl|more than once"},
        {2, {.name = "r/byteorder", .data = "big", .length = 3}, "byteorder|little, got big"},
        {2, {.name = "r/byteorder", .data = "", .length = 0}, "byteorder|little, got "},
        {2, {.name = "r/byteorder", .method = 8}, "r/byteorder|compressed"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        zip_part parts[COUNT(good)];
        bytes file = {0};
        memcpy(parts, good, sizeof parts);
        parts[cases[i].at] = cases[i].part;
        if (!cases[i].part.data) {
            parts[cases[i].at].data = good[cases[i].at].data;
            parts[cases[i].at].length = good[cases[i].at].length;
        }
        put_zip(&file, parts, COUNT(parts), NULL);
        refused_bytes(&file, OTIMES_ERR_FORMAT, cases[i].words, cases[i].words);
        release(&file);
    }
    release(&pickle);
}

/* Whatever the length of a descriptor, and where only the flag of one is there: a header whose own length is another shifts no data. */
static void zip_descriptors(void **state)
{
    (void)state;
    static const int sizes[] = {0, 12, 16, 20, 24}, shifts[] = {-5, -4, -1, 0, 1, 4, 8, 12, 16, 24};
    unsigned char numbers[64] = {0};
    bytes pickle = {0};
    put_state_dict(&pickle, false);
    for (size_t i = 0; i < COUNT(sizes) * COUNT(shifts); i++) {
        const int shift = shifts[i % COUNT(shifts)], size = sizes[i / COUNT(shifts)];
        const zip_part parts[] = {
            {.name = "r/data.pkl", .data = pickle.data, .length = pickle.length},
            {.name = "r/data/0",
             .data = numbers,
             .length = sizeof numbers,
             .flags = 8,
             .local_extra = shift,
             .descriptor = size},
        };
        bytes file = {0};
        put_zip(&file, parts, COUNT(parts), NULL);
        if (shift != 0) {
            refused_bytes(&file, OTIMES_ERR_FORMAT, "r/data/0|to end where the next", "shifted");
        } else {
            otimes_store store;
            opens_bytes(&store, &file);
            otimes_store_close(&store);
        }
        release(&file);
    }
    release(&pickle);
}

static void zip64_entries(void **state)
{
    (void)state;
    static const struct {
        uint64_t claimed, header;
        const char *words;
    } cases[] = {
        {UINT64_MAX, 0, "r/data/0|inside the file"},
        {UINT64_MAX / 2, 0, "r/data/0|inside the file"},
        {UINT64_MAX - 40, 0, "r/data/0|inside the file"},
        {0, UINT64_MAX, "r/data/0|header at byte 18446744073709551615"},
        {0, UINT64_MAX / 2, "r/data/0|header at byte"},
    };
    bytes pickle = {0};
    put_state_dict(&pickle, false);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const zip_end end = {.zip64 = true};
        const zip_part parts[] = {
            {.name = "r/data.pkl", .data = pickle.data, .length = pickle.length},
            {.name = "r/data/0",
             .data = "x",
             .length = 1,
             .claimed = cases[i].claimed,
             .header = cases[i].header},
        };
        bytes file = {0};
        put_zip(&file, parts, COUNT(parts), &end);
        refused_bytes(&file, OTIMES_ERR_FORMAT, cases[i].words, cases[i].words);
        release(&file);
    }
    release(&pickle);
}

static void zip_ends(void **state)
{
    (void)state;
    static const struct {
        zip_end end;
        const char *words;
    } cases[] = {
        {{.count = 4}, "directory entry 3 of 4"},
        {{.count = 60000}, "directory of|60000 entries"},
        {{.bytes = 100000}, "directory: expected inside"},
        {{.offset = 100000}, "directory: expected inside"},
        {{.offset = 3}, "directory entry 0 of 3"},
        {{.bytes = 46}, "directory of 46 bytes"},
        {{.disk = 1}, "a part of several"},
        {{.zip64 = true, .extra = 25}, "directory entry 0 of 3"},
        {{.zip64 = true, .extra = 23}, "directory entry 0 of 3"},
        {{.zip64 = true, .count = UINT64_MAX}, "18446744073709551615 entries"},
        {{.zip64 = true, .count = (uint64_t)1 << 60}, "entries"},
        {{.zip64 = true, .bytes = UINT64_MAX}, "directory: expected inside"},
        {{.zip64 = true, .offset = UINT64_MAX}, "directory: expected inside"},
        {{.zip64 = true, .offset = UINT64_MAX - 3, .bytes = 8}, "directory: expected inside"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        bytes file = {0};
        put_small_zip(&file, &cases[i].end);
        refused_bytes(&file, OTIMES_ERR_FORMAT, cases[i].words, cases[i].words);
        release(&file);
    }
    const bytes empty = {.data = (unsigned char *)"PK\005\006\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                         .length = 22};
    refused_bytes(&empty, OTIMES_ERR_FORMAT, "not a torch checkpoint", "an empty zip");
}

/* ---- tensors ---- */

static void tensors_outside_their_storage(void **state)
{
    (void)state;
    static const struct {
        tensor_spec spec;
        const char *words; /* NULL: opens */
    } cases[] = {
        {{"FloatStorage", "0", 16, 0, 1, {16}, {1}}, NULL},
        {{"FloatStorage", "0", 16, 15, 2, {1, 1}, {MOST, MOST}}, NULL},
        {{"FloatStorage", "0", 16, 15, 1, {5}, {0}}, NULL},
        {{"FloatStorage", "0", 16, 15, 1, {1 << 16}, {0}}, NULL},
        {{"FloatStorage", "0", 16, MOST, 2, {0, MOST}, {MOST, MOST}}, NULL},
        {{"FloatStorage", "0", 0, 0, 1, {0}, {1}}, NULL},
        {{"FloatStorage", "0", 15, 0, 1, {16}, {1}}, "w: expected it inside its storage of 60"},
        {{"FloatStorage", "0", 0, 0, 0, {0}, {0}}, "w: expected it inside its storage of 0"},
        {{"FloatStorage", "0", 16, 1, 1, {16}, {1}}, "w: expected it inside"},
        {{"FloatStorage", "0", 16, 15, 1, {(1 << 16) + 1}, {0}},
         "w: sizes: expected no more elements"},
        {{"FloatStorage", "0", 16, 0, 2, {MOST / 4, 1}, {0, 1}},
         "w: sizes: expected no more elements"},
        {{"FloatStorage", "0", 16, 16, 0, {0}, {0}}, "w: expected it inside"},
        {{"FloatStorage", "0", 16, -1, 1, {2}, {1}}, "w: expected it inside|element -1"},
        {{"FloatStorage", "0", 16, MOST, 1, {2}, {1}}, "w: expected it inside"},
        {{"FloatStorage", "0", 16, MOST / 4, 1, {2}, {1}}, "w: expected it inside"},
        {{"FloatStorage", "0", 16, 0, 2, {2, 3}, {14, 1}}, "w: expected it inside|17 elements"},
        {{"FloatStorage", "0", 16, 0, 1, {-1}, {1}}, "w: sizes and strides|not negative"},
        {{"FloatStorage", "0", 16, 0, 1, {2}, {-1}}, "w: sizes and strides|not negative"},
        {{"FloatStorage", "0", 16, 0, 1, {MOST}, {1}}, "w: sizes: expected a product"},
        {{"FloatStorage", "0", 16, 0, 2, {MOST / 8, 8}, {0, 0}}, "w: sizes: expected a product"},
        {{"FloatStorage", "0", 16, 0, 1, {2}, {MOST}}, "w: strides: expected an extent"},
        {{"FloatStorage", "0", 16, 0, 1, {3}, {MOST}}, "w: strides: expected an extent"},
        {{"FloatStorage", "0", 16, 0, 2, {2, 2}, {MOST, MOST}}, "w: strides: expected an extent"},
        {{"FloatStorage", "0", 16, 0, 7, {1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1}},
         "w: expected at most 6 sizes|got 7"},
        {{"ComplexFloatStorage", "0", 8, MOST, 1, {9}, {1}}, NULL}, /* left out */
        {{"Float", "0", 16, 0, 1, {2}, {1}}, "global torch.Float is not part"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        bytes pickle = {0}, file = {0};
        PUT_OPS(&pickle, "}");
        put_string(&pickle, "w");
        put_tensor(&pickle, &cases[i].spec, false);
        put_text(&pickle, "s.");
        put_zip_of(&file, &pickle, 1);
        if (cases[i].words) {
            refused_bytes(&file, OTIMES_ERR_FORMAT, cases[i].words, cases[i].words);
        } else {
            otimes_store store;
            opens_bytes(&store, &file);
            otimes_store_close(&store);
            survives(&file);
        }
        release(&pickle);
        release(&file);
    }
}

/* Keys that are no names, and names that meet. */
static void names(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        size_t length;
        int64_t tensors;
    } cases[] = {
#define CASE(ops, tensors) {ops, sizeof(ops) - 1, tensors}
        CASE("U\x00", 1),
        CASE("U\x03"
             "a.b",
             1),
        CASE("U\x03"
             "a\x00"
             "b",
             0),
        CASE("N", 0),
        CASE("G\x3f\xf8\x00\x00\x00\x00\x00\x00", 0),
        CASE("K\x01K\x02\x86", 0),
        CASE("I-9223372036854775808\n", 1),
        CASE("\x89", 1),
#undef CASE
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int nested = 0; nested < 2; nested++) {
            bytes pickle = {0}, file = {0};
            otimes_store store;
            put_text(&pickle, "}");
            put(&pickle, cases[i].key, cases[i].length);
            if (nested) {
                PUT_OPS(&pickle, "}U\x01x");
            }
            put_tensor(&pickle, &two_rows, false);
            put_text(&pickle, nested ? "ss." : "s.");
            put_zip_of(&file, &pickle, 1);
            opens_bytes(&store, &file);
            assert_int_equal(store.entry_count, cases[i].tensors);
            otimes_store_close(&store);
            release(&pickle);
            release(&file);
        }
    }
    bytes pickle = {0}, file = {0};
    PUT_OPS(&pickle, "}U\x02\xff\xfe");
    put_tensor(&pickle, &two_rows, false);
    put_text(&pickle, "s.");
    put_zip_of(&file, &pickle, 1);
    refused_bytes(&file, OTIMES_ERR_FORMAT, "the tensor's name: expected UTF-8", "not UTF-8");
    pickle.length = file.length = 0;
    PUT_OPS(&pickle, "}(U\x01w");
    put_tensor(&pickle, &two_rows, false);
    PUT_OPS(&pickle, "U\x01w");
    put_tensor(&pickle, &two_rows, false);
    PUT_OPS(&pickle, "u.");
    put_zip_of(&file, &pickle, 1);
    write_file("checkpoint.pt", file.data, file.length);
    refused_path(in_folder("checkpoint.pt"), OTIMES_ERR_FORMAT, "w is there more than once",
                 "twice");
    release(&pickle);
    release(&file);
}

/* A configuration of more values than any has, in lists that are short enough for one. */
static void many_plain_values(void **state)
{
    enum { LIST = 4096, LISTS = (1 << 22) / LIST + 1 };
    char none[LIST];
    bytes pickle = {0}, file = {0};
    (void)state;
    memset(none, 'N', sizeof none);
    PUT_OPS(&pickle, "}(U\x01w");
    put_tensor(&pickle, &two_rows, false);
    PUT_OPS(&pickle, "U\x01n](");
    for (int i = 0; i < LISTS; i++) {
        PUT_OPS(&pickle, "](");
        put(&pickle, none, sizeof none);
        put_text(&pickle, "e");
    }
    put_text(&pickle, "eu.");
    put_zip_of(&file, &pickle, 1);
    refused_bytes(&file, OTIMES_ERR_FORMAT,
                  "pickle: expected at most 4194304 plain values, got more", "values");
    release(&pickle);
    release(&file);
}

/* ---- legacy ---- */

static void legacy_headers(void **state)
{
    (void)state;
    static const struct {
        const char *ops;
        size_t length;
        const char *words;
    } cases[] = {
#define MAGIC "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
#define CASE(ops, words) {ops, sizeof(ops) - 1, words}
        CASE("\x80\x02}.", "magic number"),
        CASE("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x18.", "magic number"),
        CASE("\x80\x04\x95", "magic number"),
        CASE("L119547037146038801333357L\n.", "unknown format"),
        CASE(MAGIC "M\xea\x03.", "protocol version 1001"),
        CASE(MAGIC "}.", "protocol version 1001"),
        CASE(MAGIC "M\xe9\x03.N.", "little_endian|no word"),
        CASE(MAGIC "M\xe9\x03.}.", "little_endian|no word"),
        CASE(MAGIC "M\xe9\x03.}U\x0dlittle_endian\x89s.", "little_endian|big-endian"),
        CASE(MAGIC "M\xe9\x03.}U\x0dlittle_endianK\x01s.", "little_endian"),
        CASE(MAGIC "M\xe9\x03.}U\x0dlittle_endian\x88s.", "truncated"),
        CASE(MAGIC "M\xe9\x03.}U\x0dlittle_endian\x88s.}.", "truncated"),
        CASE(MAGIC "M\xe9\x03.}U\x0dlittle_endian\x88s.}.}.", "a list of storage keys"),
        CASE(MAGIC "M\xe9\x03.}U\x0dlittle_endian\x88s.}.]K\x01"
                   "a.",
             "storage keys: expected texts"),
        CASE(MAGIC "M\xe9\x03.}U\x0dlittle_endian\x88s.}.]U\x01"
                   "7a.",
             "storage 7: expected one use"),
        CASE(MAGIC "M\xe9\x03.}U\x0dlittle_endian\x88s.h\x00.", "memo: nothing was put"),
#undef CASE
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const bytes file = {.data = (unsigned char *)cases[i].ops, .length = cases[i].length};
        refused_bytes(&file, OTIMES_ERR_FORMAT, cases[i].words, cases[i].words);
    }
}

static void legacy_storages(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        uint64_t count;
        size_t data;
        const char *words;
    } cases[] = {
        {"].", 16, 64, "storage 0 is not in the file"},
        {"](U\x01"
         "0U\x01"
         "0e.",
         16, 200, "storage 0: expected one use, got another"},
        {"](U\x01"
         "1e.",
         16, 64, "storage 1: expected one use, got none"},
        {"](U\x01"
         "0e.",
         15, 64, "storage 0: expected 16 elements of 4 bytes, got 15"},
        {"](U\x01"
         "0e.",
         17, 64, "storage 0: expected 16 elements of 4 bytes, got 17"},
        {"](U\x01"
         "0e.",
         16, 63, "storage 0|63 bytes to the end"},
        {"](U\x01"
         "0e.",
         UINT64_MAX, 64, "storage 0|got 18446744073709551615"},
        {"](U\x01"
         "0e.",
         (uint64_t)1 << 63, 64, "storage 0|got 9223372036854775808"},
        {"](U\x01"
         "0e.",
         ((uint64_t)1 << 62) + 16, 64, "storage 0|got 4611686018427387920"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        bytes file = {0};
        unsigned char numbers[256] = {0};
        put_legacy_header(&file);
        put_state_dict(&file, true);
        put_text(&file, cases[i].keys);
        put_le(&file, cases[i].count, 8);
        put(&file, numbers, cases[i].data);
        refused_bytes(&file, OTIMES_ERR_FORMAT, cases[i].words, cases[i].words);
        release(&file);
    }
    bytes file = {0}; /* one key as two types */
    put_legacy_header(&file);
    PUT_OPS(&file, "}(U\x01"
                   "a");
    put_tensor(&file, &(tensor_spec){"FloatStorage", "0", 4, 0, 1, {4}, {1}}, true);
    PUT_OPS(&file, "U\x01"
                   "b");
    put_tensor(&file, &(tensor_spec){"DoubleStorage", "0", 4, 0, 1, {4}, {1}}, true);
    PUT_OPS(&file, "u.](U\x01"
                   "0e.");
    put_le(&file, 4, 8);
    put(&file, (const unsigned char[64]){0}, 64);
    refused_bytes(&file, OTIMES_ERR_FORMAT, "storage 0: expected 4 elements", "two types");
    release(&file);
}

static void tar(void **state)
{
    (void)state;
    unsigned char block[1024] = "sys_info";
    memcpy(block + 257, "ustar", 5);
    const bytes file = {.data = block, .length = sizeof block};
    refused_bytes(&file, OTIMES_ERR_FORMAT, "a tar archive|torch before", "tar");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(cut_at_every_byte, empty_folder),
        cmocka_unit_test_teardown(every_byte_changed, empty_folder),
        cmocka_unit_test_teardown(random_bytes_changed, empty_folder),
        cmocka_unit_test_teardown(zip_entries, empty_folder),
        cmocka_unit_test_teardown(zip_descriptors, empty_folder),
        cmocka_unit_test_teardown(zip64_entries, empty_folder),
        cmocka_unit_test_teardown(zip_ends, empty_folder),
        cmocka_unit_test_teardown(tensors_outside_their_storage, empty_folder),
        cmocka_unit_test_teardown(names, empty_folder),
        cmocka_unit_test_teardown(many_plain_values, empty_folder),
        cmocka_unit_test_teardown(legacy_headers, empty_folder),
        cmocka_unit_test_teardown(legacy_storages, empty_folder),
        cmocka_unit_test_teardown(tar, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
