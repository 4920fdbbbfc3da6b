/* SPDX-License-Identifier: MIT
 *
 * The same weights in several formats are the same canonical weights.
 */
#include "same.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

/* A golden as GGUF, or NULL when there is none; static text. */
static const char *gguf_path(const char *name)
{
    static char path[4096];
    char relative[128];
    snprintf(relative, sizeof relative, "tests/data/gguf/%s/model.gguf", name);
    snprintf(path, sizeof path, "%s", source_path(relative));
    return access(path, F_OK) == 0 ? path : NULL;
}

/* Every golden that exists as GGUF: the bits of its own files, or one rounding where a multiplier or
 * an offset of a norm is taken in on one side and kept apart on the other. */
static void goldens_as_gguf(void **state)
{
    (void)state;
    int found = 0;
    for (int i = 0; golden_names[i]; i++) {
        char relative[128];
        const char *path = gguf_path(golden_names[i]);
        if (!path) {
            continue;
        }
        snprintf(relative, sizeof relative, "tests/golden/%s", golden_names[i]);
        for (int processed = 0; processed < 2; processed++) {
            otimes_model *own = open_as(source_path(relative), processed);
            otimes_model *gguf = open_as(path, processed);
            assert_string_equal(otimes_model_describe(gguf)->format, "gguf");
            same_weights(own, gguf, processed ? 4 * (double)FLT_EPSILON : (double)FLT_EPSILON);
            otimes_model_close(&own);
            otimes_model_close(&gguf);
        }
        found++;
    }
    assert_true(found >= 30);
}

/* The facts agree too, but for what GGUF has no word for and llama.cpp supposes: scores divided by
 * the root of d_head, which layers have windows or rotate. Rescaled frequencies are a tensor of
 * factors there, or lack a flag. */
static void descriptions_of_gguf(void **state)
{
    (void)state;
    static const struct {
        const char *name, *but;
    } unsaid[] = {
        {"gemma2", "attn_scale"}, {"gemma3_text", "attn_scale|window|rope_theta"},
        {"gpt_oss", "scaling"},   {"llama_scaled", "scaling"},
        {"mpt", "attn_scale"},    {"smollm3", "rope_theta"},
    };
    for (int i = 0; golden_names[i]; i++) {
        char relative[128];
        const char *but = NULL, *path = gguf_path(golden_names[i]);
        for (size_t u = 0; u < sizeof unsaid / sizeof unsaid[0]; u++) {
            but = strcmp(unsaid[u].name, golden_names[i]) == 0 ? unsaid[u].but : but;
        }
        if (!path) {
            continue;
        }
        otimes_model *gguf = open_as(path, false);
        snprintf(relative, sizeof relative, "tests/golden/%s", golden_names[i]);
        otimes_model *own = open_as(source_path(relative), false);
        same_description(own, gguf, (double)FLT_EPSILON, but);
        assert_int_equal(otimes_model_describe(own)->tied, otimes_model_describe(gguf)->tied);
        otimes_model_close(&own);
        otimes_model_close(&gguf);
    }
}

static otimes_model *open_shared(const char *relative, bool processed)
{
    const char *path = shared_path(relative);
    if (!path) {
        print_message("skipped: ../shared/weights/%s is not here\n", relative);
        skip();
    }
    return open_as(path, processed);
}

/* One trained model in llama2.c's format and in GGUF of three kinds. */
static void stories260K(void **state)
{
    (void)state;
    otimes_model *own = open_shared("stories260K/stories260K.bin", false);
    static const struct {
        const char *path;
        double relative; /* a block of Q8_0: half a step of 1/127 of its largest entry, and the step
                            itself rounded to 11 bits */
    } others[] = {{"stories260K/tinyllamas-stories-260k-f32.gguf", 0},
                  {"stories260K/stories260k-v3-f32.derived.gguf", 0},
                  {"stories260K/stories260k-v3-q8_0.derived.gguf", 0.5 / 127 + 1.0 / 2048}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        otimes_model *other = open_shared(others[i].path, false);
        const double worst = same_weights(own, other, others[i].relative);
        print_message("%s: largest difference %g of the largest entry\n", others[i].path, worst);
        assert_true((worst == 0) == (others[i].relative == 0));
        otimes_model_close(&other);
    }
    otimes_model_close(&own);
}

/* Nested checkpoints as their authors saved them, beside the same weights in another layout. */
static void grokking_induction(void **state)
{
    (void)state;
    static const char *const names[] = {"finite", "infinite"};
    for (int i = 0; i < 2; i++) {
        char relative[128];
        snprintf(relative, sizeof relative, "grokking_induction/induction_head_%s.pth", names[i]);
        otimes_model *nested = open_shared(relative, false);
        snprintf(relative, sizeof relative, "grokking_induction/induction_head_%s.tl.safetensors",
                 names[i]);
        otimes_model *twin = open_shared(relative, false);
        assert_string_equal(otimes_model_describe(nested)->format, "pytorch");
        same_weights(twin, nested, 0);
        same_description(twin, nested, 0, NULL);
        otimes_model_close(&nested);
        otimes_model_close(&twin);
    }
}

/* out [rows, columns] = A [rows, inner] B, in double; B is [inner, columns], or its transpose. */
static void product(const double *A, const float *B, bool transposed, int64_t rows, int64_t inner,
                    int64_t columns, double *out)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            double sum = 0;
            for (int64_t k = 0; k < inner; k++) {
                sum +=
                    A[i * inner + k] * (double)(transposed ? B[j * inner + k] : B[k * columns + j]);
            }
            out[i * columns + j] = sum;
        }
    }
}

enum { TOKENS = 52, CONTEXT = 21, D = 96, HEAD = 48, HEADS = 2 };

/* Every entry within 1e-6 of the author's figures, which are of float32. */
static void hold(const json_t *published, int64_t rows, int64_t columns, const double *got,
                 const char *what)
{
    double worst = 0;
    assert_int_equal(json_array_size(published), rows);
    for (int64_t i = 0; i < rows; i++) {
        const json_t *row = json_array_get(published, (size_t)i);
        assert_int_equal(json_array_size(row), columns);
        for (int64_t j = 0; j < columns; j++) {
            const double expected = json_number_value(json_array_get(row, (size_t)j));
            worst = fmax(worst, fabs(got[i * columns + j] - expected));
        }
    }
    print_message("%s: largest difference %g\n", what, worst);
    assert_true(worst < 1e-6);
}

static double a_side[TOKENS * D], b_side[TOKENS * D], c_side[TOKENS * D], result[TOKENS * TOKENS];
static float W_E[TOKENS * D], W_U[TOKENS * D], W_pos[CONTEXT * D];

/* x W_V W_O W_U, or x W_Q W_K^T W_E^T. */
static void published_circuits(const otimes_layer *layer, const json_t *expected)
{
    const json_t *ov = json_object_get(expected, "OV_full[W_E W_V W_O W_U] (head,in,out)");
    const json_t *qk =
        json_object_get(expected, "QK_full[W_E W_Q W_K^T W_E^T] unscaled (head,query,key)");
    const json_t *positions = json_object_get(expected, "QK_pos[W_pos W_Q W_K^T W_E^T]");
    for (int64_t h = 0; h < HEADS; h++) {
        const int64_t at = h * D * HEAD;
        for (int64_t i = 0; i < TOKENS * D; i++) {
            a_side[i] = (double)W_E[i];
        }
        product(a_side, layer->W_V.data + at, false, TOKENS, D, HEAD, b_side);
        product(b_side, layer->W_O.data + at, false, TOKENS, HEAD, D, c_side);
        product(c_side, W_U, true, TOKENS, D, TOKENS, result);
        hold(json_array_get(ov, (size_t)h), TOKENS, TOKENS, result, "full OV");
        product(a_side, layer->W_Q.data + at, false, TOKENS, D, HEAD, b_side);
        /* (x W_Q) W_K^T: W_K is [d_model, d_head], the transpose of what is wanted. */
        product(b_side, layer->W_K.data + at, true, TOKENS, HEAD, D, c_side);
        product(c_side, W_E, true, TOKENS, D, TOKENS, result);
        hold(json_array_get(qk, (size_t)h), TOKENS, TOKENS, result, "full QK");
        for (int64_t i = 0; i < CONTEXT * D; i++) {
            a_side[i] = (double)W_pos[i];
        }
        product(a_side, layer->W_Q.data + at, false, CONTEXT, D, HEAD, b_side);
        product(b_side, layer->W_K.data + at, true, CONTEXT, HEAD, D, c_side);
        product(c_side, W_E, true, CONTEXT, D, TOKENS, result);
        hold(json_array_get(positions, (size_t)h), CONTEXT, TOKENS, result, "positional QK");
    }
}

/* The figures that the author of the model published, from the file as the author saved it. */
static void arena_sorted_list(void **state)
{
    (void)state;
    otimes_model *model = open_shared("arena_sorted_list/sorted_list_model.pt", true);
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_layer layer;
    otimes_unembed unembed;
    otimes_err err = {0};
    json_t *expected = json_load_file(shared_path("arena_sorted_list/expected.json"), 0, NULL);
    assert_non_null(expected);
    assert_true(info->d_vocab == TOKENS && info->d_model == D && info->n_ctx == CONTEXT &&
                info->d_head == HEAD && info->n_heads == HEADS);
    assert_int_equal(info->fold_ln, OTIMES_STEP_APPLIED);
    assert_ok(otimes_layer_load(model, 0, OTIMES_PART_ATTENTION, &layer, &err), &err);
    assert_ok(otimes_unembed_open(model, &unembed, &err), &err);
    assert_ok(otimes_embed_rows(model, 0, TOKENS, W_E, &err), &err);
    assert_ok(otimes_position_rows(model, 0, CONTEXT, W_pos, &err), &err);
    assert_ok(otimes_unembed_rows(&unembed, 0, TOKENS, W_U, &err), &err);
    published_circuits(&layer, expected);
    for (int64_t i = 0; i < TOKENS * D; i++) {
        a_side[i] = (double)W_E[i];
    }
    product(a_side, W_U, true, TOKENS, D, TOKENS, result);
    hold(json_object_get(expected, "direct[W_E W_U]"), TOKENS, TOKENS, result, "direct path");
    otimes_layer_free(&layer);
    otimes_unembed_free(&unembed);
    otimes_model_close(&model);
    json_decref(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_as_gguf),   cmocka_unit_test(descriptions_of_gguf),
        cmocka_unit_test(stories260K),       cmocka_unit_test(grokking_induction),
        cmocka_unit_test(arena_sorted_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
