/* SPDX-License-Identifier: MIT
 *
 * The same bits at any number of threads.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/bigram.h>
#include <otimes/forward.h>
#include <otimes/heads.h>

static otimes_memory_sink *run(const char *name, int threads, bool heads)
{
    static const int64_t offsets[] = {0, 5};
    char relative[128];
    otimes_err err = {0};
    otimes_model *model;
    otimes_memory_sink *memory;
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    settings.threads = threads;
    snprintf(relative, sizeof relative, "tests/golden/%s", name);
    assert_ok(otimes_model_open(&model, source_path(relative), &settings, &err), &err);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    if (heads) {
        otimes_heads_settings request;
        otimes_heads_settings_default(&request);
        request.top = 4;
        request.biases = 1;
        if (otimes_model_describe(model)->positions == OTIMES_POSITIONS_ROPE) {
            request.offsets = offsets;
            request.offset_count = 2;
        }
        assert_ok(otimes_heads(model, &request, sink, &err), &err);
    } else {
        otimes_bigram_settings request;
        otimes_bigram_settings_default(&request);
        request.full = OTIMES_BIGRAM_FULL_F32;
        assert_ok(otimes_bigram(model, &request, sink, &err), &err);
    }
    otimes_model_close(&model);
    return memory;
}

static void compare(const otimes_memory_sink *a, const otimes_memory_sink *b,
                    const char *const names[], const char *model)
{
    for (int i = 0; names[i]; i++) {
        const void *one = NULL, *other = NULL;
        const otimes_array *array = otimes_memory_sink_array(a, names[i], &one);
        if (!array) {
            continue;
        }
        size_t bytes = otimes_type_size(array->type);
        assert_non_null(otimes_memory_sink_array(b, names[i], &other));
        for (int k = 0; k < array->ndim; k++) {
            bytes *= (size_t)array->axis[k]->length;
        }
        if (memcmp(one, other, bytes) != 0) {
            fail_msg("%s: %s depends on the number of threads", model, names[i]);
        }
    }
}

static void same_bits(void **state)
{
    (void)state;
    static const char *const of_heads[] = {"OV_singular_values",
                                           "OV_eigenvalues_real",
                                           "QK_norm",
                                           "full_OV_singular_values",
                                           "full_OV_eigenvalues_imag",
                                           "full_QK_trace",
                                           "QK_offset_singular_values",
                                           "QK_bias_singular_values",
                                           "QK_position_token_position",
                                           "OV_write_value",
                                           "QK_query_id",
                                           NULL};
    static const char *const of_bigram[] = {"table",   "top_value",     "top_log_prob",  "row_mean",
                                            "row_std", "row_logsumexp", "diagonal_rank", NULL};
    otimes_set_blas_threads(1);
    for (int m = 0; golden_names[m]; m++) {
        for (int heads = 0; heads < 2; heads++) {
            otimes_memory_sink *one = run(golden_names[m], 1, heads);
            for (int threads = 2; threads <= 5; threads += 3) {
                otimes_memory_sink *many = run(golden_names[m], threads, heads);
                compare(one, many, heads ? of_heads : of_bigram, golden_names[m]);
                otimes_memory_sink_free(&many);
            }
            otimes_memory_sink_free(&one);
        }
    }
}

/* Logits of a few texts; with hooks that are looked at, attention keeps more than without. */
static int look(void *context, const otimes_activation *activation, otimes_err *err)
{
    (void)context, (void)activation, (void)err;
    return OTIMES_OK;
}

static float *forward(const char *name, int threads, uint64_t points, int64_t *count)
{
    static const int64_t lengths[] = {8, 1, 5, 7, 2};
    enum { TEXTS = 5, ROWS = 23 };
    const otimes_hooks hooks = {points, look, NULL};
    int64_t ids[8];
    const int64_t *id[TEXTS] = {ids, ids, ids, ids, ids};
    const otimes_sequences texts = {TEXTS, lengths, id};
    otimes_forward *pass;
    golden g;
    otimes_err err = {0};
    golden_open_on(threads, &g, name, true);
    const otimes_model_info *info = otimes_model_describe(g.model);
    for (int64_t i = 0; i < 8; i++) {
        ids[i] = i * i % info->d_vocab;
    }
    *count = ROWS * info->d_vocab_out;
    float *logits = calloc((size_t)*count, sizeof *logits);
    assert_non_null(logits);
    assert_ok(otimes_forward_open(&pass, g.model, NULL, &err), &err);
    assert_ok(otimes_forward_run(pass, &texts, &hooks, &err), &err);
    assert_ok(otimes_forward_logits(pass, 0, ROWS, logits, &err), &err);
    otimes_forward_close(&pass);
    golden_close(&g);
    return logits;
}

static void same_logits(void **state)
{
    (void)state;
    static const uint64_t points[] = {0, OTIMES_HOOK_BIT(PATTERN), OTIMES_HOOK_BIT(RESULT)};
    otimes_set_blas_threads(1);
    for (int m = 0; golden_names[m]; m++) {
        for (size_t p = 0; p < sizeof points / sizeof points[0]; p++) {
            int64_t count;
            float *one = forward(golden_names[m], 1, points[p], &count);
            for (int threads = 2; threads <= 5; threads += 3) {
                float *many = forward(golden_names[m], threads, points[p], &count);
                if (memcmp(one, many, (size_t)count * sizeof *one) != 0) {
                    fail_msg("%s: logits depend on the number of threads", golden_names[m]);
                }
                free(many);
            }
            free(one);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits), cmocka_unit_test(same_logits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
