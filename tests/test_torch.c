/* SPDX-License-Identifier: MIT
 *
 * Checkpoints of torch.save that open: files of the real torch (tests/golden/make_torch.py), real
 * trained models, and both containers made by hand in their rarer forms.
 */
#include "torch_bytes.h"

#include "format/open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *fixture(const char *name)
{
    char relative[128];
    snprintf(relative, sizeof relative, "tests/data/torch/%s", name);
    return source_path(relative);
}

static void opens(otimes_store *store, const char *path)
{
    otimes_err err = {0};
    assert_ok(otimes_store_open(store, path, &err), &err);
    assert_string_equal(store->format, "pytorch");
}

/* Element [i, j, k] of an entry; unused indices are 0. */
static double element(const otimes_entry *entry, int64_t i, int64_t j, int64_t k)
{
    const int64_t index[3] = {i, j, k};
    int64_t at = 0, integer = 0;
    for (int d = 0; d < entry->ndim; d++) {
        assert_true(index[d] < entry->dim[d]);
        at += index[d] * entry->stride[d];
    }
    const size_t size = otimes_dtype_size(entry->dtype);
    assert_true((at + 1) * (int64_t)size <= entry->bytes);
    if (otimes_dtype_is_weight(entry->dtype)) {
        float value;
        otimes_dtype_read(entry->dtype, entry->data + at * (int64_t)size, 1, &value);
        return (double)value;
    }
    memcpy(&integer, entry->data + at * (int64_t)size, size); /* none of them negative */
    return (double)integer;
}

static void has_shape(const otimes_entry *entry, int ndim, int64_t a, int64_t b, int64_t c)
{
    const int64_t dim[3] = {a, b, c};
    assert_int_equal(entry->ndim, ndim);
    for (int d = 0; d < ndim; d++) {
        assert_int_equal(entry->dim[d], dim[d]);
    }
}

/* ---- files of torch ---- */

static void check_views(const otimes_store *store)
{
    const otimes_entry *embed = entry_of(store, "", "embed.weight");
    const otimes_entry *tied = entry_of(store, "", "unembed.weight");
    const otimes_entry *transposed = entry_of(store, "", "view.transposed");
    const otimes_entry *slice = entry_of(store, "", "view.slice");
    const otimes_entry *expanded = entry_of(store, "", "view.expanded");
    const otimes_entry *permuted = entry_of(store, "", "view.permuted");
    has_shape(embed, 2, 3, 4, 0);
    has_shape(transposed, 2, 6, 4, 0);
    has_shape(slice, 2, 3, 3, 0);
    has_shape(expanded, 2, 2, 3, 0);
    has_shape(permuted, 3, 4, 2, 3);
    assert_true(embed->data == tied->data && embed->bytes == 48);
    assert_true(element(embed, 2, 3, 0) == 11 / 4.0);
    for (int64_t i = 0; i < 6; i++) {
        for (int64_t j = 0; j < 4; j++) {
            assert_true(element(transposed, i, j, 0) == (double)(6 * j + i) / 4);
        }
    }
    for (int64_t i = 0; i < 3; i++) {
        for (int64_t j = 0; j < 3; j++) {
            assert_true(element(slice, i, j, 0) == (double)(6 * (i + 1) + 2 * j + 1) / 4);
            assert_true(element(expanded, i % 2, j, 0) == (double)j / 4);
            assert_true(element(permuted, i, j % 2, i) == (double)(12 * (j % 2) + 4 * i + i) / 4);
        }
    }
}

static void check_types(const otimes_store *store)
{
    static const struct {
        const char *name;
        otimes_dtype dtype;
        double step;
    } types[] = {
        {"type.float64", OTIMES_DTYPE_F64, 0.25},   {"type.float16", OTIMES_DTYPE_F16, 0.25},
        {"type.bfloat16", OTIMES_DTYPE_BF16, 0.25}, {"type.int64", OTIMES_DTYPE_I64, 1},
        {"type.int32", OTIMES_DTYPE_I32, 1},        {"type.int16", OTIMES_DTYPE_I16, 1},
        {"type.int8", OTIMES_DTYPE_I8, 1},          {"type.uint8", OTIMES_DTYPE_U8, 1},
    };
    for (size_t i = 0; i < COUNT(types); i++) {
        const otimes_entry *entry = entry_of(store, "", types[i].name);
        assert_int_equal(entry->dtype, types[i].dtype);
        has_shape(entry, 1, 3, 0, 0);
        for (int64_t k = 0; k < 3; k++) {
            assert_true(element(entry, k, 0, 0) == types[i].step * (double)k);
        }
    }
    const otimes_entry *truth = entry_of(store, "", "type.bool");
    assert_int_equal(truth->dtype, OTIMES_DTYPE_BOOL);
    assert_true(truth->data[0] == 0 && truth->data[1] == 1 && truth->data[2] == 1);
}

static void every_kind_of_tensor(void **state)
{
    (void)state;
    static const char *const files[] = {"zip.pt", "zip_protocol5.pt", "legacy.pt",
                                        "legacy_protocol1.pt", "legacy_protocol4.pt"};
    for (size_t i = 0; i < COUNT(files); i++) {
        otimes_store store;
        opens(&store, fixture(files[i]));
        assert_int_equal(store.entry_count, 20); /* all but the complex one */
        assert_null(store.config);
        check_views(&store);
        check_types(&store);
        const otimes_entry *scalar = otimes_store_find(&store, "shape.scalar");
        has_shape(scalar, 0, 0, 0, 0);
        assert_true(scalar->bytes == 4 && element(scalar, 0, 0, 0) == 2.5);
        const otimes_entry *empty = otimes_store_find(&store, "shape.empty");
        has_shape(empty, 2, 0, 3, 0);
        assert_true(empty->bytes == 0 && empty->data);
        has_shape(otimes_store_find(&store, "shape.ones"), 3, 1, 2, 1);
        assert_true(element(otimes_store_find(&store, "parameter"), 1, 1, 0) == 0.75);
        assert_true(element(otimes_store_find(&store, "noted"), 1, 0, 0) == 0.25);
        otimes_store_close(&store);
    }
}

static void types_without_a_storage_class(void **state)
{
    (void)state;
    static const char *const files[] = {"float8.pt", "float8_legacy.pt"};
    for (size_t i = 0; i < COUNT(files); i++) {
        otimes_store store;
        opens(&store, fixture(files[i]));
        assert_int_equal(store.entry_count, 4);
        const otimes_entry *e4m3 = entry_of(&store, "", "e4m3"),
                           *e5m2 = entry_of(&store, "", "e5m2");
        assert_int_equal(e4m3->dtype, OTIMES_DTYPE_F8_E4M3);
        assert_int_equal(e5m2->dtype, OTIMES_DTYPE_F8_E5M2);
        /* 1/2 as torch has it: sign, exponent with bias 7 and 3 bits, with bias 15 and 2 bits */
        assert_true(e4m3->data[2] == 0x30 && e5m2->data[2] == 0x38);
        assert_true(element(entry_of(&store, "", "uint16"), 2, 0, 0) == 2);
        const otimes_entry *shifted = entry_of(&store, "", "uint32");
        has_shape(shifted, 1, 2, 0, 0);
        assert_true(element(shifted, 0, 0, 0) == 1 && element(shifted, 1, 0, 0) == 2);
        otimes_store_close(&store);
    }
}

static void a_training_checkpoint(void **state)
{
    (void)state;
    static const char *const files[] = {"nested.pt", "nested_protocol4.pt"};
    static const char expected[] =
        "{\"model_args\":{\"n_layer\":2,\"n_head\":4,\"bias\":false,\"name\":\"caf\xc3\xa9\"},"
        "\"iter_num\":5,\"config\":{\"none\":null,\"float\":0.1,\"negative\":-7,"
        "\"wide\":1099511627776,\"tuple\":[1,\"two\",3.0],\"set\":[3],\"dtype\":\"bfloat16\","
        "\"size\":[2,3],\"numpy\":{\"f8\":0.25,\"f4\":0.5,\"f2\":0.75,\"i8\":-3,\"u1\":200,"
        "\"b1\":true},\"empty_list\":[],\"empty_dict\":{},\"mixed\":[1,null,null],\"0\":\"zero\"},"
        "\"losses\":{\"train\":[1.5,1.25]},\"counter\":{\"a\":2,\"b\":1}}";
    json_t *wanted = json_loads(expected, 0, NULL);
    assert_non_null(wanted);
    for (size_t i = 0; i < COUNT(files); i++) {
        otimes_store store;
        opens(&store, fixture(files[i]));
        assert_int_equal(store.entry_count, 12);
        assert_true(element(entry_of(&store, "model", "weight"), 1, 2, 0) == 1.25);
        assert_true(element(entry_of(&store, "model", "bias"), 1, 0, 0) == 0.25);
        assert_true(element(entry_of(&store, "", "best_val_loss"), 0, 0, 0) == 2.5);
        has_shape(entry_of(&store, "optimizer.state.0", "exp_avg"), 2, 2, 3, 0);
        assert_true(element(entry_of(&store, "optimizer.state.1", "step"), 0, 0, 0) == 1);
        has_shape(entry_of(&store, "blocks.1", "w"), 1, 3, 0, 0);
        has_shape(entry_of(&store, "config.mixed", "2"), 1, 1, 0, 0);
        /* of the optimizer a version of torch decides what there is */
        const json_t *optimizer = json_object_get(store.config, "optimizer");
        const json_t *group = json_array_get(json_object_get(optimizer, "param_groups"), 0);
        assert_true(json_real_value(json_object_get(group, "lr")) == 0.5);
        assert_int_equal(json_object_del(store.config, "optimizer"), 0);
        if (!json_equal(store.config, wanted)) {
            char *got = json_dumps(store.config, JSON_COMPACT);
            fail_msg("%s: configuration %s", files[i], got);
        }
        otimes_store_close(&store);
    }
    json_decref(wanted);
}

static void a_list(void **state)
{
    (void)state;
    otimes_store store;
    opens(&store, fixture("list.pt"));
    assert_int_equal(store.entry_count, 2);
    has_shape(entry_of(&store, "", "0"), 1, 2, 0, 0);
    has_shape(entry_of(&store, "1", "a"), 1, 3, 0, 0);
    assert_null(store.config);
    otimes_store_close(&store);
}

static void files_of_torch_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *file, *words;
    } cases[] = {
        {"module.pt", "__main__.Model|whole pickled module|save model.state_dict()"},
        {"module_legacy.pt", "__main__.Model|whole pickled module|save model.state_dict()"},
        {"script.pt", "__torch__.Model|whole pickled module"},
        {"tensor.pt", "expected a state dict, got a single tensor"},
        {"negated.pt", "conj or neg"},
        {"quantized.pt", "global torch._utils._rebuild_qtensor is not part of a state dict"},
        {"plain.pkl", "not written by torch.save"},
        {"arrays.npz", "without data.pkl|not a torch checkpoint"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        refused_path(fixture(cases[i].file), OTIMES_ERR_FORMAT, cases[i].words, cases[i].file);
    }
}

/* ---- trained models ---- */

static const char *needed(const char *relative)
{
    const char *path = shared_path(relative);
    if (!path) {
        print_message("skipped: ../shared/weights/%s is not here\n", relative);
        skip();
    }
    return path;
}

static void sorted_list(void **state)
{
    (void)state;
    otimes_store store;
    opens(&store, needed("arena_sorted_list/sorted_list_model.pt"));
    assert_int_equal(store.entry_count, 18);
    has_shape(entry_of(&store, "", "blocks.0.attn.W_Q"), 3, 2, 96, 48);
    assert_int_equal(entry_of(&store, "", "blocks.0.attn.mask")->dtype, OTIMES_DTYPE_BOOL);
    const otimes_entry *ignore = entry_of(&store, "", "blocks.0.attn.IGNORE");
    assert_true(ignore->ndim == 0 && element(ignore, 0, 0, 0) == -1e5);
    assert_null(store.config);
    otimes_store_close(&store);
}

/* All of `twin`, whose axis d lies along the axis order[d] of `raw`. */
static void same_numbers(const otimes_entry *twin, const otimes_entry *raw, const int order[3],
                         const char *name)
{
    int64_t index[3], count = 1;
    assert_true(twin->dtype == OTIMES_DTYPE_F32 && raw->dtype == OTIMES_DTYPE_F32);
    assert_int_equal(twin->ndim, raw->ndim);
    for (int d = 0; d < twin->ndim; d++) {
        assert_int_equal(twin->dim[d], raw->dim[order[d]]);
        count *= twin->dim[d];
    }
    for (int64_t n = 0; n < count; n++) {
        int64_t left = n, a = 0, b = 0;
        for (int d = twin->ndim - 1; d >= 0; d--) {
            index[d] = left % twin->dim[d];
            left /= twin->dim[d];
            a += index[d] * twin->stride[d];
            b += index[d] * raw->stride[order[d]];
        }
        if (memcmp(twin->data + 4 * a, raw->data + 4 * b, 4) != 0) {
            fail_msg("%s: element %lld differs", name, (long long)n);
        }
    }
}

/* W_O of the raw file is [d_model, head d_head]: as [d_model, head, d_head] it is a view. */
static otimes_entry split_heads(const otimes_entry *raw, const otimes_entry *twin)
{
    otimes_entry split = *raw;
    assert_true(raw->ndim == 2 && raw->dim[1] == twin->dim[0] * twin->dim[1]);
    split.ndim = 3;
    split.dim[1] = twin->dim[0];
    split.dim[2] = twin->dim[1];
    split.stride[1] = twin->dim[1] * raw->stride[1];
    split.stride[2] = raw->stride[1];
    return split;
}

static void twins_of_safetensors(void **state)
{
    (void)state;
    static const char *const runs[] = {"infinite", "finite"};
    static const int straight[] = {0, 1, 2}, transposed[] = {1, 0, 2}, per_head[] = {0, 2, 1},
                     heads_first[] = {1, 2, 0};
    for (size_t r = 0; r < COUNT(runs); r++) {
        char path[128];
        otimes_store raw, twin;
        otimes_err err = {0};
        int64_t seen = 0;
        snprintf(path, sizeof path, "grokking_induction/induction_head_%s.pth", runs[r]);
        opens(&raw, needed(path));
        snprintf(path, sizeof path, "grokking_induction/induction_head_%s.tl.safetensors", runs[r]);
        assert_ok(otimes_store_open(&twin, needed(path), &err), &err);
        for (int64_t i = 0; i < twin.entry_count; i++) {
            const otimes_entry *entry = &twin.entries[i];
            char name[128] = "";
            if (strncmp(entry->name, "blocks.", 7) == 0) {
                strcpy(name, "attn_");
            }
            strcat(name, entry->name);
            const otimes_entry *of = entry_of(&raw, "model", name);
            if (strstr(name, "W_O")) {
                const otimes_entry split = split_heads(of, entry);
                same_numbers(entry, &split, heads_first, name);
            } else if (strstr(name, "attn.W_")) {
                same_numbers(entry, of, per_head, name);
            } else {
                same_numbers(entry, of, strstr(name, "W_E") ? transposed : straight, name);
            }
            seen++;
        }
        assert_int_equal(seen, 11);
        const json_t *config = json_object_get(raw.config, "model_config");
        assert_int_equal(json_integer_value(json_object_get(config, "d_model")), 48);
        assert_null(json_object_get(raw.config, "train_losses")); /* 6000 and more of them */
        otimes_store_close(&raw);
        otimes_store_close(&twin);
    }
}

/* ---- containers by hand ---- */

static void check_two_rows(const otimes_store *store, unsigned char first)
{
    const otimes_entry *w = entry_of(store, "", "w");
    has_shape(w, 2, 2, 3, 0);
    assert_true(store->entry_count == 1 && w->data[0] == first && w->bytes == 28);
    assert_int_equal(json_integer_value(json_object_get(store->config, "n")), 3);
}

static void forms_of_zip(void **state)
{
    (void)state;
    static const zip_end ends[] = {
        {.comment = NULL},
        {.comment = "a comment with PK\005\006 in it, and some bytes behind that"},
        {.zip64 = true},
        {.zip64 = true, .comment = "both"},
    };
    static const char *const roots[] = {"archive", "model.epoch-3", "\xc3\xa9 \xe2\x82\xac", ""};
    bytes pickle = {0};
    unsigned char numbers[64];
    for (size_t i = 0; i < sizeof numbers; i++) {
        numbers[i] = (unsigned char)i;
    }
    put_state_dict(&pickle, false);
    for (size_t e = 0; e < COUNT(ends); e++) {
        for (size_t r = 0; r < COUNT(roots); r++) {
            char names[3][64];
            bytes file = {0};
            otimes_store store;
            snprintf(names[0], sizeof names[0], "%s/data.pkl", roots[r]);
            snprintf(names[1], sizeof names[1], "%s/byteorder", roots[r]);
            snprintf(names[2], sizeof names[2], "%s/data/0", roots[r]);
            const zip_part parts[] = {
                {.name = names[0], .data = pickle.data, .length = pickle.length},
                {.name = names[1], .data = "little", .length = 6},
                {.name = names[2], .data = numbers, .length = sizeof numbers},
                {.name = "other/compressed", .data = "?", .length = 1, .method = 8},
            };
            put_zip(&file, parts, COUNT(parts), &ends[e]);
            opens_bytes(&store, &file);
            check_two_rows(&store, 8);
            otimes_store_close(&store);
            release(&file);
        }
    }
    release(&pickle);
}

/* Shared storages, a part of another storage, keys in another order than the ids. */
static void legacy_storages(void **state)
{
    (void)state;
    bytes file = {0};
    otimes_store store;
    put_legacy_header(&file);
    PUT_OPS(&file, "\x80\x02}(");
    put_string(&file, "a");
    put_tensor(&file, &(tensor_spec){"HalfStorage", "2", 3, 1, 1, {2}, {1}}, true);
    put_string(&file, "b");
    put_tensor(&file, &(tensor_spec){"FloatStorage", "1", 2, 0, 1, {2}, {1}}, true);
    put_string(&file, "c");
    put_tensor(&file, &(tensor_spec){"HalfStorage", "2", 3, 0, 1, {3}, {1}}, true);
    put_string(&file, "d");
    put_global(&file, "torch._utils", "_rebuild_tensor");
    put_text(&file, "((");
    put_string(&file, "storage");
    put_global(&file, "torch", "HalfStorage");
    put_string(&file, "2");
    put_string(&file, "cpu");
    PUT_OPS(&file, "K\x03(");
    put_string(&file, "view");
    PUT_OPS(&file, "K\x01K\x02ttQK\x01K\x01\x85K\x01\x85tRu.");
    PUT_OPS(&file, "\x80\x02](");
    put_string(&file, "1");
    put_string(&file, "2");
    put_text(&file, "e.");
    put_le(&file, 2, 8);
    put_text(&file, "ABCDEFGH");
    put_le(&file, 3, 8);
    put_text(&file, "abcdef");
    opens_bytes(&store, &file);
    assert_int_equal(store.entry_count, 4);
    assert_memory_equal(entry_of(&store, "", "a")->data, "cdef", 4);
    assert_memory_equal(entry_of(&store, "", "b")->data, "ABCDEFGH", 8);
    assert_memory_equal(entry_of(&store, "", "c")->data, "abcdef", 6);
    assert_memory_equal(entry_of(&store, "", "d")->data, "ef", 2);
    otimes_store_close(&store);
    release(&file);
}

/* Opcodes that torch's own files have no use for. */
static void opcodes(void **state)
{
    (void)state;
    static const struct {
        const char *ops;
        size_t length;
        const char *config; /* of a list of one value */
    } cases[] = {
#define CASE(ops, config) {ops, sizeof(ops) - 1, config}
        CASE("I-12\n", "[-12]"),
        CASE("I01\n", "[true]"),
        CASE("I00\n", "[false]"),
        CASE("I1\n", "[1]"),
        CASE("L9223372036854775807L\n", "[9223372036854775807]"),
        CASE("L-9223372036854775808L\n", "[-9223372036854775808]"),
        CASE("(L9223372036854775808L\nI1\nl", "[[null,1]]"),
        CASE("\x8a\x00", "[0]"),
        CASE("\x8a\x01\xff", "[-1]"),
        CASE("\x8a\x02\xff\x00", "[255]"),
        CASE("\x8b\x01\x00\x00\x00\x7f", "[127]"),
        CASE("(\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01K\x01l", "[[null,1]]"),
        CASE("K\xff", "[255]"),
        CASE("M\xff\xff", "[65535]"),
        CASE("J\xff\xff\xff\xff", "[-1]"),
        CASE("F-1.5e3\n", "[-1500.0]"),
        CASE("(Fnan\nFinf\nK\x01l", "[[null,null,1]]"),
        CASE("G\x3f\xf8\x00\x00\x00\x00\x00\x00", "[1.5]"),
        CASE("S'quoted'\n", "[\"quoted\"]"),
        CASE("S\"\"\n", "[\"\"]"),
        CASE("Vbare text\n", "[\"bare text\"]"),
        CASE("U\x02hi", "[\"hi\"]"),
        CASE("T\x02\x00\x00\x00hi", "[\"hi\"]"),
        CASE("\x8c\x02hi", "[\"hi\"]"),
        CASE("\x8d\x02\x00\x00\x00\x00\x00\x00\x00hi", "[\"hi\"]"),
        CASE("(C\x01xB\x01\x00\x00\x00x\x8e\x01\x00\x00\x00\x00\x00\x00\x00x"
             "\x96\x01\x00\x00\x00\x00\x00\x00\x00xK\x01l",
             "[[null,null,null,null,1]]"),
        CASE("(U\x01\xffK\x01l", "[[null,1]]"), /* not UTF-8 */
        CASE("(I1\nI2\nd", "[{\"1\":2}]"),
        CASE("}(U\x01\xffK\x01U\x01xK\x02u", "[{\"x\":2}]"),
        CASE("}(NK\x01U\x01xK\x02\x88K\x03u", "[{\"x\":2,\"True\":3}]"),
        CASE("(K\x01\x91", "[[1]]"),
        CASE("\x8f(K\x01K\x02\x90", "[[1,2]]"),
        CASE("]K\x01"
             "a",
             "[[1]]"),
        CASE("K\x01K\x02K\x03\x87", "[[1,2,3]]"),
        CASE("K\x01(K\x02K\x03"
             "1",
             "[1]"),
        CASE("K\x01K\x02"
             "0",
             "[1]"),
        CASE("K\x01(0", "[1]"),
        CASE("K\x01"
             "2\x86",
             "[[1,1]]"),
        CASE("K\x07p5\n0g5\n", "[7]"),
        CASE("K\x07q\x05"
             "0h\x05",
             "[7]"),
        CASE("K\x07r\x05\x00\x00\x00"
             "0j\x05\x00\x00\x00",
             "[7]"),
        CASE("K\x07\x94"
             "0K\x08\x94"
             "0h\x00h\x01\x86",
             "[[7,8]]"),
        CASE("c__builtin__\nset\n(K\x01l\x85R", "[[1]]"),
        CASE("c__builtin__\nlist\n(K\x01K\x02t\x85R", "[[1,2]]"),
        CASE("c__builtin__\nlist\n)R", "[[]]"),
        CASE("ccollections\nOrderedDict\n(((U\x01xK\x01llt\x52", "[{\"x\":1}]"),
        CASE("ccollections\ndefaultdict\ncbuiltins\nint\n\x85R", "[{}]"),
        CASE("ccollections\nCounter\n}U\x01xK\x01s\x85R", "[{\"x\":1}]"),
        CASE("\x8c\x0b"
             "collections\x8c\x0bOrderedDict\x93)R}b",
             "[{}]"),
        CASE("ctorch\nSize\nK\x01\x85\x85\x81", "[[1]]"),
        CASE("(ctorch\ndevice\nU\x03"
             "cpu\x85RK\x01l",
             "[[null,1]]"),
        CASE("(c_codecs\nencode\nX\x03\x00\x00\x00"
             "a\xc3\xbfU\x06latin1\x86RK\x01l",
             "[[null,1]]"),
        CASE("(cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02i2\x89\x88\x87R(K\x03U\x01>NNNtb"
             "U\x02"
             "ab\x86RK\x01l",
             "[[null,1]]"), /* big-endian */
        CASE("cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\nU\x02i2\x89\x88\x87R(K\x03U\x01<NNNtb"
             "C\x02\xfe\xff\x86R",
             "[-2]"),
#undef CASE
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        bytes pickle = {0}, file = {0};
        PUT_OPS(&pickle, "\x80\x02}U\x01v(");
        put(&pickle, cases[i].ops, cases[i].length);
        put_text(&pickle, "ls.");
        put_zip_of(&file, &pickle, 0);
        otimes_store store;
        opens_bytes(&store, &file);
        json_t *wanted = json_loads(cases[i].config, 0, NULL);
        json_t *got = json_object_get(store.config, "v");
        assert_non_null(wanted);
        if (!json_equal(wanted, got)) {
            char *text = json_dumps(got, JSON_COMPACT | JSON_ENCODE_ANY);
            fail_msg("case %zu: expected %s, got %s", i, cases[i].config, text ? text : "none");
        }
        json_decref(wanted);
        otimes_store_close(&store);
        release(&pickle);
        release(&file);
    }
}

/* A folder of shards: one store, the first configuration counts. */
static void shards(void **state)
{
    (void)state;
    static const char index[] =
        "{\"weight_map\": {\"a\": \"1.bin\", \"b\": \"2.bin\", \"c\": \"2.bin\"}}";
    static const char *const names[] = {"1.bin", "2.bin"};
    static const char *const keys[] = {"a", "b"};
    otimes_store store;
    otimes_err err = {0};
    for (int i = 0; i < 2; i++) {
        bytes pickle = {0}, file = {0};
        PUT_OPS(&pickle, "\x80\x02}(");
        put_string(&pickle, keys[i]);
        put_tensor(&pickle, &two_rows, false);
        if (i == 1) {
            put_string(&pickle, "c");
            put_tensor(&pickle, &two_rows, false);
            put_string(&pickle, "more");
            put_int(&pickle, 1);
        }
        put_string(&pickle, "n");
        put_int(&pickle, i);
        put_text(&pickle, "u.");
        put_zip_of(&file, &pickle, 1);
        write_file(names[i], file.data, file.length);
        release(&pickle);
        release(&file);
    }
    write_file("pytorch_model.bin.index.json", index, sizeof index - 1);
    assert_ok(otimes_store_open(&store, temp_folder, &err), &err);
    assert_int_equal(store.entry_count, 3);
    assert_int_equal(store.file_count, 2);
    assert_int_equal(json_integer_value(json_object_get(store.config, "n")), 0);
    assert_int_equal(json_integer_value(json_object_get(store.config, "more")), 1);
    otimes_store_close(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_tensor),
        cmocka_unit_test(types_without_a_storage_class),
        cmocka_unit_test(a_training_checkpoint),
        cmocka_unit_test(a_list),
        cmocka_unit_test(files_of_torch_that_are_refused),
        cmocka_unit_test(sorted_list),
        cmocka_unit_test(twins_of_safetensors),
        cmocka_unit_test_teardown(forms_of_zip, empty_folder),
        cmocka_unit_test_teardown(legacy_storages, empty_folder),
        cmocka_unit_test_teardown(opcodes, empty_folder),
        cmocka_unit_test_teardown(shards, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
