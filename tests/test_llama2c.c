/* SPDX-License-Identifier: MIT
 *
 * llama2.c models: where each tensor stands, in both versions, and files that are almost ones. A
 * sample's numbers are their own places, so that a tensor's first number tells where it was read.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/llama2c.h"
#include "format/open.h"

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

enum { DIM = 4, HIDDEN = 6, LAYERS = 2, HEADS = 2, KV_HEADS = 1, VOCAB = 5, CONTEXT = 3 };

static const int32_t sizes[7] = {DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, VOCAB, CONTEXT};

static unsigned char content[4096];
static size_t length;

static void put_int(int32_t value)
{
    for (int i = 0; i < 4; i++) {
        content[length++] = (unsigned char)((uint32_t)value >> 8 * i);
    }
}

static void put_places(int count)
{
    for (int i = 0; i < count; i++) {
        const float place = (float)i;
        memcpy(content + length, &place, 4);
        length += 4;
    }
}

static void compose_0(const int32_t header[7], int numbers)
{
    length = 0;
    for (int i = 0; i < 7; i++) {
        put_int(header[i]);
    }
    put_places(numbers);
}

static void compose_1(int version, const int32_t header[7], bool shared, int numbers)
{
    memset(content, 0, 256);
    length = 0;
    put_int(0x616b3432);
    put_int(version);
    for (int i = 0; i < 7; i++) {
        put_int(header[i]);
    }
    content[36] = shared;
    length = 256;
    put_places(numbers);
}

/* Place of the first number of layer 0 in version 0 and in version 1; -1: not there. */
static const struct {
    const char *name;
    int ndim, rows, columns, place_0, place_1;
} expected[] = {
    {"tok_embeddings.weight", 2, 5, 4, 0, 20},
    {"layers.0.attention_norm.weight", 1, 4, 0, 20, 0},
    {"layers.1.attention_norm.weight", 1, 4, 0, 24, 4},
    {"layers.0.attention.wq.weight", 2, 4, 4, 28, 40},
    {"layers.1.attention.wq.weight", 2, 4, 4, 44, 56},
    {"layers.0.attention.wk.weight", 2, 2, 4, 60, 72},
    {"layers.1.attention.wk.weight", 2, 2, 4, 68, 80},
    {"layers.0.attention.wv.weight", 2, 2, 4, 76, 88},
    {"layers.1.attention.wv.weight", 2, 2, 4, 84, 96},
    {"layers.0.attention.wo.weight", 2, 4, 4, 92, 104},
    {"layers.1.attention.wo.weight", 2, 4, 4, 108, 120},
    {"layers.0.ffn_norm.weight", 1, 4, 0, 124, 8},
    {"layers.1.ffn_norm.weight", 1, 4, 0, 128, 12},
    {"layers.0.feed_forward.w1.weight", 2, 6, 4, 132, 136},
    {"layers.1.feed_forward.w1.weight", 2, 6, 4, 156, 160},
    {"layers.0.feed_forward.w2.weight", 2, 4, 6, 180, 184},
    {"layers.1.feed_forward.w2.weight", 2, 4, 6, 204, 208},
    {"layers.0.feed_forward.w3.weight", 2, 6, 4, 228, 232},
    {"layers.1.feed_forward.w3.weight", 2, 6, 4, 252, 256},
    {"norm.weight", 1, 4, 0, 276, 16},
    {"output.weight", 2, 5, 4, 286, 280}, /* the last: left out when shared */
};

enum { SHARED_0 = 286, OWN_0 = 306, SHARED_1 = 280, OWN_1 = 300 };

static void check_sample(int version, bool shared)
{
    otimes_store store;
    otimes_err err = {0};
    write_file("model.bin", content, length);
    assert_ok(otimes_store_open(&store, in_folder("model.bin"), &err), &err);
    assert_string_equal(store.format, "llama2.c");
    assert_int_equal(store.entry_count, COUNT(expected) - shared);
    for (size_t i = 0; i < COUNT(expected) - shared; i++) {
        const otimes_entry *entry = otimes_store_find(&store, expected[i].name);
        assert_non_null(entry);
        assert_true(entry->dtype == OTIMES_DTYPE_F32 && entry->ndim == expected[i].ndim);
        assert_int_equal(entry->dim[0], expected[i].rows);
        assert_int_equal(entry->dim[1], expected[i].columns);
        assert_int_equal(entry->stride[0], entry->ndim == 2 ? expected[i].columns : 1);
        assert_int_equal(entry->bytes, 4 * entry->dim[0] * (entry->ndim == 2 ? entry->dim[1] : 1));
        float first;
        memcpy(&first, entry->data, 4);
        assert_true((int)first == (version ? expected[i].place_1 : expected[i].place_0));
    }
    char *text = json_dumps(store.config, JSON_COMPACT);
    char wanted[256];
    snprintf(wanted, sizeof wanted,
             "{\"model_type\":\"llama2.c\",\"dim\":4,\"hidden_dim\":6,\"n_layers\":2,\"n_heads\":2,"
             "\"n_kv_heads\":1,\"vocab_size\":5,\"max_seq_len\":3,\"tie_word_embeddings\":%s}",
             shared ? "true" : "false");
    assert_string_equal(text, wanted);
    free(text);
    otimes_store_close(&store);
}

static void both_versions(void **state)
{
    (void)state;
    int32_t own[7];
    memcpy(own, sizes, sizeof own);
    own[5] = -VOCAB;
    compose_0(sizes, SHARED_0);
    check_sample(0, true);
    compose_0(own, OWN_0);
    check_sample(0, false);
    compose_1(1, sizes, true, SHARED_1);
    check_sample(1, true);
    compose_1(1, sizes, false, OWN_1);
    check_sample(1, false);
}

static void refused(const char *words, const char *what)
{
    otimes_store store;
    otimes_err err = {0};
    write_file("bad.bin", content, length);
    const int rc = otimes_store_open(&store, in_folder("bad.bin"), &err);
    if (rc != OTIMES_ERR_FORMAT || err.code != rc) {
        fail_msg("%s: expected a format error, got %d: %s", what, rc, err.msg);
    }
    char list[256];
    snprintf(list, sizeof list, "bad.bin: |%s", words);
    for (char *word = strtok(list, "|"); word; word = strtok(NULL, "|")) {
        if (!strstr(err.msg, word)) {
            fail_msg("%s: expected '%s' in '%s'", what, word, err.msg);
        }
    }
    assert_true(!store.files && !store.entries && !store.config);
}

/* What is composed, in memory of just that size, where a read beyond is ASan's. */
static int read_from_memory(void)
{
    unsigned char *block = malloc(length + (length == 0));
    assert_non_null(block);
    memcpy(block, content, length);
    otimes_store store = {0};
    otimes_file file = {.path = (char *)"memory.bin",
                        .map = {.data = block, .bytes = (int64_t)length}};
    otimes_err err = {0};
    const int rc = otimes_llama2c_recognise(&file.map) ? otimes_llama2c_add(&store, &file, &err)
                                                       : OTIMES_ERR_FORMAT;
    assert_true(rc == OTIMES_OK || rc == OTIMES_ERR_FORMAT);
    for (int64_t i = 0; i < store.entry_count; i++) {
        const otimes_entry *entry = &store.entries[i];
        assert_true(entry->data >= block && entry->data + entry->bytes <= block + length);
    }
    otimes_store_close(&store);
    free(block);
    return rc;
}

/* From its header on a cut file is told as such; before that nothing is recognised. */
static void cut_at_every_byte(void **state)
{
    (void)state;
    for (int version = 0; version < 2; version++) {
        if (version == 0) {
            compose_0(sizes, SHARED_0);
        } else {
            compose_1(1, sizes, true, SHARED_1);
        }
        const size_t whole = length;
        for (length = 0; length < whole; length++) {
            char what[64];
            snprintf(what, sizeof what, "version %d cut at %zu", version, length);
            refused(length < (version ? 8 : 28) ? "unknown format|llama2.c" : "truncated", what);
            assert_int_equal(read_from_memory(), OTIMES_ERR_FORMAT);
        }
        assert_int_equal(read_from_memory(), OTIMES_OK);
        content[whole] = 0;
        length = whole + 1;
        refused("truncated or too long|expected 1", "one byte more");
    }
    compose_0(sizes, OWN_0);
    refused("too long|expected 1172 bytes|got 1252", "a classifier that the header does not say");
    compose_1(1, sizes, false, SHARED_1);
    refused("truncated|expected 1456 bytes|got 1376", "a classifier that is not there");
}

static void sizes_that_lie(void **state)
{
    (void)state;
    static const struct {
        int which;
        int32_t value;
        const char *words;
    } cases[] = {
        {0, 0, "dim of 1 to 2^20, got 0"},
        {0, -4, "dim"},
        {0, INT32_MIN, "dim"},
        {0, INT32_MAX, "dim|got 2147483647"},
        {0, 6, "n_heads that divides half of dim, got 2"},
        {0, 5, "n_heads that divides half of dim"},
        {1, 0, "hidden_dim"},
        {1, -6, "hidden_dim"},
        {1, INT32_MAX, "hidden_dim"},
        {2, 0, "n_layers"},
        {2, -1, "n_layers"},
        {2, 4097, "n_layers"},
        {3, 0, "n_heads of 1"},
        {3, -2, "n_heads"},
        {3, 3, "n_heads that divides"},
        {3, INT32_MAX, "n_heads"},
        {4, 0, "n_kv_heads"},
        {4, -1, "n_kv_heads"},
        {4, 3, "n_kv_heads of 1 to n_heads, got 3"},
        {5, 0, "vocab_size"},
        {5, INT32_MIN, "vocab_size"},
        {5, INT32_MAX, "vocab_size"},
        {6, 0, "seq_len"},
        {6, -1, "seq_len"},
        {6, INT32_MAX, "seq_len"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int32_t header[7];
        memcpy(header, sizes, sizeof header);
        header[cases[i].which] = cases[i].value;
        compose_1(1, header, true, SHARED_1);
        refused(cases[i].words, cases[i].words);
        compose_0(header, SHARED_0);
        refused("unknown format", cases[i].words);
    }
    static const int32_t largest[7] = {1 << 20, 1 << 20, 1 << 12, 2, 2, 1 << 24, 1 << 24};
    compose_0(largest, SHARED_0);
    refused("truncated", "the largest sizes");
    static const int32_t uneven[7] = {12, 6, 2, 6, 4, 5, 3};
    compose_1(1, uneven, true, SHARED_1);
    refused("n_kv_heads that divides n_heads, got 4", "uneven groups");
    compose_1(1, sizes, false, SHARED_1);
    content[32] = 0xfb; /* -5: only version 0 says so that the classifier is not shared */
    memset(content + 29, 0xff, 3);
    refused("vocab_size of 1 to 2^24", "a negative vocabulary in version 1");
}

static void other_versions(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *words;
    } cases[] = {{2, "version: expected 0 or 1 (float32), got 2 (8 bits)"},
                 {0, "version|got 0"},
                 {3, "version|got 3"},
                 {-1, "version|got -1"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        compose_1(cases[i].version, sizes, true, SHARED_1);
        refused(cases[i].words, cases[i].words);
    }
}

static void every_byte_changed(void **state)
{
    (void)state;
    static const unsigned char others[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    for (int version = 0; version < 2; version++) {
        if (version == 0) {
            compose_0(sizes, SHARED_0);
        } else {
            compose_1(1, sizes, true, SHARED_1);
        }
        for (size_t at = 0; at < 40; at++) {
            const unsigned char kept = content[at];
            for (size_t k = 0; k < COUNT(others); k++) {
                content[at] = others[k];
                read_from_memory();
            }
            content[at] = kept;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(both_versions, empty_folder),
        cmocka_unit_test_teardown(cut_at_every_byte, empty_folder),
        cmocka_unit_test_teardown(sizes_that_lie, empty_folder),
        cmocka_unit_test_teardown(other_versions, empty_folder),
        cmocka_unit_test_teardown(every_byte_changed, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
