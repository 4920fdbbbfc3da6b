/* SPDX-License-Identifier: MIT
 *
 * Canonical weights of every architecture, raw and processed, against values made with Hugging Face
 * transformers and TransformerLens (tests/golden/README.md).
 */
#include "support.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

/* A row of the table without a golden model is not tested: it does not pass. */
static void every_row_has_a_golden(void **state)
{
    (void)state;
    for (int i = 0; i < otimes_arch_count; i++) {
        golden g;
        golden_open(&g, otimes_archs[i].name, false);
        assert_string_equal(otimes_model_describe(g.model)->architecture, otimes_archs[i].name);
        golden_close(&g);
    }
    for (int i = 1; i < otimes_arch_count; i++) {
        assert_true(strcmp(otimes_archs[i - 1].name, otimes_archs[i].name) < 0);
    }
}

static void compare(const golden *g, const char *prefix, const char *name, const float *got,
                    int64_t count, double tolerance)
{
    char key[128];
    int64_t expected_count;
    snprintf(key, sizeof key, "%s/%s", prefix, name);
    const double *expected = golden_values(g, key, &expected_count);
    if (!got) { /* a bias that is gone is zero */
        for (int64_t i = 0; expected && i < expected_count; i++) {
            assert_true(expected[i] == 0);
        }
        return;
    }
    if (!expected) {
        fail_msg("%s: %s: the library has it, the reference does not", g->name, key);
    }
    assert_int_equal(expected_count, count);
    double *wide = malloc((size_t)count * sizeof *wide);
    assert_non_null(wide);
    for (int64_t i = 0; i < count; i++) {
        wide[i] = (double)got[i];
    }
    char what[256];
    snprintf(what, sizeof what, "%s: %s", g->name, key);
    assert_close(what, wide, expected, count, tolerance, 0);
    free(wide);
}

static int64_t elements(const otimes_tensor *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->ndim; i++) {
        count *= tensor->dim[i];
    }
    return count;
}

/* The reference keeps no norms that folding takes away. */
static bool is_folded(otimes_slot slot)
{
    return slot == OTIMES_SLOT_LN1_W || slot == OTIMES_SLOT_LN1_B || slot == OTIMES_SLOT_LN2_W ||
           slot == OTIMES_SLOT_LN2_B;
}

/* Of experts with matrices of this size the reference keeps the last one of the last layer, raw. */
enum { LARGE_EXPERT = 1000 };

static void compare_expert(const golden *g, const char *prefix, int64_t layer, int64_t number,
                           double tolerance)
{
    const otimes_model_info *info = otimes_model_describe(g->model);
    const bool last = layer == info->n_layers - 1 && number == info->n_experts - 1;
    const bool kept = last && strcmp(prefix, "raw") == 0;
    otimes_expert expert;
    otimes_err err = {0};
    assert_ok(otimes_expert_load(g->model, layer, number, &expert, &err), &err);
    for (int slot = OTIMES_SLOT_FIRST_OF_EXPERT; slot < OTIMES_SLOT_COUNT; slot++) {
        const otimes_tensor *tensor = otimes_expert_tensor(&expert, (otimes_slot)slot);
        char name[128];
        if (elements(tensor) >= LARGE_EXPERT && !kept) {
            continue;
        }
        snprintf(name, sizeof name, "blocks.%lld.mlp.experts.%lld.%s", (long long)layer,
                 (long long)number, otimes_slot_path((otimes_slot)slot));
        compare(g, prefix, name, tensor->data, elements(tensor), tolerance);
    }
    otimes_expert_free(&expert);
}

static void compare_layer(const golden *g, const char *prefix, int64_t index, double tolerance)
{
    otimes_layer layer;
    otimes_layer_info info;
    otimes_err err = {0};
    assert_ok(otimes_layer_load(g->model, index, OTIMES_PART_ALL, &layer, &err), &err);
    for (int slot = OTIMES_SLOT_FIRST_OF_LAYER; slot < OTIMES_SLOT_FIRST_OF_EXPERT; slot++) {
        const otimes_tensor *tensor = otimes_layer_tensor(&layer, (otimes_slot)slot);
        char name[128];
        snprintf(name, sizeof name, "blocks.%lld.%s", (long long)index,
                 otimes_slot_path((otimes_slot)slot));
        if (!is_folded((otimes_slot)slot)) {
            compare(g, prefix, name, tensor->data, elements(tensor), tolerance);
        }
    }
    otimes_layer_free(&layer);
    assert_ok(otimes_layer_describe(g->model, index, &info, &err), &err);
    const int64_t experts = info.experts ? otimes_model_describe(g->model)->n_experts : 0;
    for (int64_t e = 0; e < experts; e++) {
        compare_expert(g, prefix, index, e, tolerance);
    }
}

/* W_U is read by output token: [d_vocab_out, d_model] against the reference's transpose. */
static void compare_unembed(const golden *g, const char *prefix, double tolerance)
{
    const otimes_model_info *info = otimes_model_describe(g->model);
    const int64_t vocab = info->d_vocab_out, d = info->d_model;
    otimes_unembed unembed;
    otimes_err err = {0};
    float *rows = malloc((size_t)(vocab * d) * sizeof *rows);
    float *columns = malloc((size_t)(vocab * d) * sizeof *columns);
    assert_non_null(rows);
    assert_non_null(columns);
    assert_ok(otimes_unembed_open(g->model, &unembed, &err), &err);
    assert_ok(otimes_unembed_rows(&unembed, 0, vocab, rows, &err), &err);
    for (int64_t v = 0; v < vocab; v++) {
        for (int64_t i = 0; i < d; i++) {
            columns[i * vocab + v] = rows[v * d + i];
        }
    }
    compare(g, prefix, "unembed.W_U", columns, vocab * d, tolerance);
    compare(g, prefix, "unembed.b_U", unembed.bias, vocab, tolerance);
    otimes_unembed_free(&unembed);
    free(rows);
    free(columns);
}

static void compare_embeddings(const golden *g, const char *prefix, double tolerance)
{
    const otimes_model_info *info = otimes_model_describe(g->model);
    const int64_t d = info->d_model;
    const int64_t most = info->d_vocab > info->n_ctx ? info->d_vocab : info->n_ctx;
    otimes_err err = {0};
    float *rows = malloc((size_t)(most * d) * sizeof *rows);
    assert_non_null(rows);
    assert_ok(otimes_embed_rows(g->model, 0, info->d_vocab, rows, &err), &err);
    compare(g, prefix, "embed.W_E", rows, info->d_vocab * d, tolerance);
    if (info->positions == OTIMES_POSITIONS_LEARNED) {
        assert_ok(otimes_position_rows(g->model, 0, info->n_ctx, rows, &err), &err);
        compare(g, prefix, "pos_embed.W_pos", rows, info->n_ctx * d, tolerance);
    }
    free(rows);
}

/* Reading is exact, every bit of the file's numbers, but where a multiplier of the model or an
 * offset of a norm is taken in, which is one rounding. */
static double raw_tolerance(const otimes_model *model)
{
    for (int64_t i = 0; i < model->binding_count; i++) {
        if (model->bindings[i].entry &&
            (model->bindings[i].scale != 1 || model->bindings[i].shift != 0)) {
            return (double)FLT_EPSILON;
        }
    }
    return 0;
}

static void compare_all(const char *prefix, bool processed)
{
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        golden_open(&g, golden_names[i], processed);
        /* Processing is float32 with sums in double: a few roundings of the largest entry. */
        const double tolerance = processed ? 4 * (double)FLT_EPSILON : raw_tolerance(g.model);
        compare_embeddings(&g, prefix, tolerance);
        compare_unembed(&g, prefix, tolerance);
        for (int64_t l = 0; l < otimes_model_describe(g.model)->n_layers; l++) {
            compare_layer(&g, prefix, l, tolerance);
        }
        golden_close(&g);
    }
}

static void raw_weights(void **state)
{
    (void)state;
    compare_all("raw", false);
}

static void processed_weights(void **state)
{
    (void)state;
    compare_all("processed", true);
}

/* A part asked for alone is the same as in the whole layer. */
static void parts_alone(void **state)
{
    (void)state;
    static const int parts[] = {OTIMES_PART_Q, OTIMES_PART_K, OTIMES_PART_V, OTIMES_PART_O,
                                OTIMES_PART_MLP};
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        otimes_layer whole, part;
        otimes_err err = {0};
        golden_open(&g, golden_names[i], true);
        const int64_t last = otimes_model_describe(g.model)->n_layers - 1;
        assert_ok(otimes_layer_load(g.model, last, OTIMES_PART_ALL, &whole, &err), &err);
        for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
            assert_ok(otimes_layer_load(g.model, last, parts[p], &part, &err), &err);
            const otimes_tensor *a = &part.W_Q, *b = &whole.W_Q;
            for (; a <= &part.shared_W_router; a++, b++) {
                if (a->data) {
                    assert_non_null(b->data);
                    assert_memory_equal(a->data, b->data, (size_t)elements(a) * sizeof(float));
                }
            }
            assert_int_equal(part.W_Q.data != NULL, parts[p] == OTIMES_PART_Q);
            assert_int_equal(part.W_V.data != NULL, parts[p] == OTIMES_PART_V);
            otimes_layer_free(&part);
        }
        otimes_layer_free(&whole);
        golden_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_golden),
        cmocka_unit_test(raw_weights),
        cmocka_unit_test(processed_weights),
        cmocka_unit_test(parts_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
