/* SPDX-License-Identifier: MIT
 *
 * One trained model in four files (../shared/weights/stories260K, read in place): llama2.c's own
 * and three GGUF files hold the same tensors, to the bit or within what they were rounded to. Where
 * that folder is absent the test is skipped.
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/open.h"

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static void open_shared(otimes_store *store, const char *name)
{
    char relative[128];
    otimes_err err = {0};
    snprintf(relative, sizeof relative, "stories260K/%s", name);
    const char *path = shared_path(relative);
    if (!path) {
        print_message("skipped: ../shared/weights/%s is not here\n", relative);
        skip();
    }
    assert_ok(otimes_store_open(store, path, &err), &err);
}

/* The tensor of a GGUF file that llama2.c calls `name`. */
static const otimes_entry *counterpart(const otimes_store *gguf, const char *name)
{
    static const char *const pairs[][2] = {
        {"attention.wq.weight", "attn_q.weight"},
        {"attention.wk.weight", "attn_k.weight"},
        {"attention.wv.weight", "attn_v.weight"},
        {"attention.wo.weight", "attn_output.weight"},
        {"feed_forward.w1.weight", "ffn_gate.weight"},
        {"feed_forward.w2.weight", "ffn_down.weight"},
        {"feed_forward.w3.weight", "ffn_up.weight"},
        {"attention_norm.weight", "attn_norm.weight"},
        {"ffn_norm.weight", "ffn_norm.weight"},
    };
    char wanted[64];
    int layer, at = 0;
    if (sscanf(name, "layers.%d.%n", &layer, &at) == 1 && at > 0) {
        for (size_t i = 0; i < COUNT(pairs); i++) {
            if (strcmp(name + at, pairs[i][0]) == 0) {
                snprintf(wanted, sizeof wanted, "blk.%d.%s", layer, pairs[i][1]);
                return otimes_store_find(gguf, wanted);
            }
        }
    }
    return otimes_store_find(gguf, strcmp(name, "norm.weight") == 0 ? "output_norm.weight"
                                   : strcmp(name, "tok_embeddings.weight") == 0
                                       ? "token_embd.weight"
                                       : name);
}

static void check_stories_config(const json_t *config)
{
    static const struct {
        const char *path;
        int value;
    } numbers[] = {
        {"arch.context_length", 512},     {"arch.embedding_length", 64},
        {"arch.block_count", 5},          {"arch.feed_forward_length", 172},
        {"arch.attention.head_count", 8}, {"arch.attention.head_count_kv", 4},
        {"arch.rope.dimension_count", 8}, {"tokenizer.ggml.bos_token_id", 1},
    };
    for (size_t i = 0; i < COUNT(numbers); i++) {
        const json_t *number = otimes_json_member(config, numbers[i].path);
        assert_true(json_is_integer(number) && json_integer_value(number) == numbers[i].value);
    }
    const json_t *eps = otimes_json_member(config, "arch.attention.layer_norm_rms_epsilon");
    assert_true(json_real_value(eps) == (double)1e-5f);
    const json_t *tokens = otimes_json_member(config, "tokenizer.ggml.tokens");
    assert_int_equal(json_array_size(tokens), 512);
    assert_string_equal(json_string_value(json_array_get(tokens, 3)), "<0x00>");
    assert_int_equal(json_array_size(otimes_json_member(config, "tokenizer.ggml.scores")), 512);
    assert_string_equal(json_string_value(otimes_json_member(config, "general.architecture")),
                        "llama");
}

/* |x - d q| <= d / 2 where the scale was not rounded; as a half it moved by 2^-11 of itself at
 * most, which |q| <= 127 multiplies. */
static double q8_0_error(const otimes_entry *entry, int64_t element)
{
    float d;
    otimes_dtype_read(OTIMES_DTYPE_F16, entry->data + element / 32 * 34, 1, &d);
    return (double)fabsf(d) * (0.5 + 128 * 0x1p-11);
}

/* Returns how many elements differ at all. */
static int64_t compare(const otimes_entry *x, const otimes_entry *y)
{
    assert_true(y && x->dtype == OTIMES_DTYPE_F32 && x->ndim == y->ndim);
    assert_true(x->dim[0] == y->dim[0] && x->dim[1] == y->dim[1]);
    const int64_t count = x->bytes / 4;
    int64_t differ = 0;
    float *exact = malloc((size_t)x->bytes), *got = malloc((size_t)x->bytes);
    assert_true(exact && got);
    otimes_dtype_read(x->dtype, x->data, count, exact);
    otimes_dtype_read(y->dtype, y->data, count, got);
    for (int64_t i = 0; i < count; i++) {
        const double error = fabs((double)exact[i] - (double)got[i]);
        /* a half is rounded to 11 bits, or to 2^-24 where it is subnormal */
        const double allowed = y->dtype == OTIMES_DTYPE_Q8_0 ? q8_0_error(y, i)
                               : y->dtype == OTIMES_DTYPE_F16
                                   ? fmax(fabs((double)exact[i]) * 0x1p-11, 0x1p-25)
                                   : 0;
        if (!(error <= allowed)) {
            fail_msg("%s[%lld]: %g and %g", y->name, (long long)i, (double)exact[i],
                     (double)got[i]);
        }
        differ += error > 0;
    }
    free(exact);
    free(got);
    return differ;
}

static void one_model_in_four_files(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool exact;
    } files[] = {
        {"tinyllamas-stories-260k-f32.gguf", true}, /* version 1 */
        {"stories260k-v3-f32.derived.gguf", true},
        {"stories260k-v3-q8_0.derived.gguf", false},
    };
    otimes_store bin, gguf;
    open_shared(&bin, "stories260K.bin");
    assert_string_equal(bin.format, "llama2.c");
    assert_int_equal(bin.entry_count, 47);
    for (size_t i = 0; i < COUNT(files); i++) {
        int64_t differ = 0;
        open_shared(&gguf, files[i].name);
        assert_string_equal(gguf.format, "gguf");
        assert_int_equal(gguf.entry_count, 48); /* the embedding again as output.weight */
        check_stories_config(gguf.config);
        for (int64_t e = 0; e < bin.entry_count; e++) {
            differ += compare(&bin.entries[e], counterpart(&gguf, bin.entries[e].name));
        }
        assert_int_equal(differ == 0, files[i].exact);
        compare(otimes_store_find(&bin, "tok_embeddings.weight"),
                otimes_store_find(&gguf, "output.weight"));
        otimes_store_close(&gguf);
    }
    otimes_store_close(&bin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_model_in_four_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
