/* SPDX-License-Identifier: MIT
 *
 * Heads of goldens compared, against whole matrices in double; what chance gives; bad input.
 */
#include "comparing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

/* Bases are rounded to float and their cross Grams summed in it: each entry of T errs by some
 * eps sqrt(d_model), and every measure is a sum over T against something of norm 1. */
static double close_for(const otimes_model_info *info)
{
    return 2 * (double)1.2e-7f * sqrt((double)info->d_model);
}

static otimes_compare_settings everything(void)
{
    otimes_compare_settings s;
    otimes_compare_settings_default(&s);
    s.cosines = 1;
    return s;
}

static bool folded(otimes_step step)
{
    return step == OTIMES_STEP_APPLIED || step == OTIMES_STEP_DONE_IN_FILE;
}

/* Readers and writers lack the direction of the mean where LayerNorm is folded. */
static void stream_dimensions(const otimes_model_info *info, double out[SIDES])
{
    const bool ln = info->norm == OTIMES_NORM_LN;
    for (int x = 0; x < SIDES; x++) {
        const bool less = x == SIDE_O ? folded(info->center_writing_weights) && !info->post_norm
                                      : folded(info->fold_ln);
        out[x] = (double)(info->d_model - (ln && less));
    }
}

/* Rank of the centred ends, as the frames of the vocabulary have it. */
static void vocabulary_dimensions(const otimes_model *model, double out[SIDES])
{
    const otimes_model_info *info = otimes_model_describe(model);
    for (int end = 0; end < 2; end++) {
        const int64_t tokens = end ? info->d_vocab_out : info->d_vocab, d = info->d_model;
        double *wide = dense_centred_end(model, end);
        const double rank = (double)dense_basis(tokens, d, wide);
        for (int x = 0; x < SIDES; x++) {
            out[x] = (x == SIDE_O) == end ? rank : out[x];
        }
        free(wide);
    }
}

/* Entry [i, j] of a whole array over pairs of one model with itself. */
static double at(const double *array, const otimes_model_info *info, int64_t i, int64_t j)
{
    return array[i * info->n_layers * info->n_heads + j];
}

static void check_self(const otimes_memory_sink *memory, const otimes_model_info *info,
                       double close)
{
    static const char *const of_one[] = {"OV_cosine",     "QK_cosine",     "OV_cka",   "QK_cka",
                                         "OV_procrustes", "QK_procrustes", "Q_kernel", "O_kernel"};
    const int64_t n = info->n_layers * info->n_heads;
    for (size_t k = 0; k < sizeof of_one / sizeof *of_one; k++) {
        const double *array = compared(memory, of_one[k]);
        for (int64_t i = 0; i < n; i++) {
            assert_true(fabs(at(array, info, i, i) - 1) <= close);
            for (int64_t j = 0; j < n; j++) { /* mirrored to the last bit */
                assert_true(at(array, info, i, j) == at(array, info, j, i));
            }
        }
    }
}

/* Lists follow from the similarities written. */
static void check_lists(const otimes_memory_sink *memory, const otimes_model_info *info)
{
    const int64_t n = info->n_layers * info->n_heads;
    const double *s = compared(memory, "similarity"), *ov = compared(memory, "OV_cka");
    const double *qk = compared(memory, "QK_cka"), *near = compared(memory, "neighbor_similarity");
    const int64_t *layer = compared_numbers(memory, "neighbor_layer");
    const int64_t *head = compared_numbers(memory, "neighbor_head");
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            int64_t better = 0, place = -1;
            assert_true(at(s, info, i, j) == (at(ov, info, i, j) + at(qk, info, i, j)) / 2);
            for (int64_t k = 0; k < n; k++) {
                const double gap = at(s, info, i, k) - at(s, info, i, j);
                better += k != i && (gap > 0 || (gap == 0 && k < j));
            }
            for (int64_t k = 0; k < 3; k++) {
                if (layer[i * 3 + k] * info->n_heads + head[i * 3 + k] == j &&
                    layer[i * 3 + k] >= 0) {
                    assert_true(near[i * 3 + k] == at(s, info, i, j));
                    place = k;
                }
            }
            assert_int_equal(place, i != j && better < 3 ? better : -1);
        }
    }
    if (n < 2) {
        return;
    }
    const double *linkage = compared(memory, "linkage");
    const int64_t *order = compared_numbers(memory, "cluster_order");
    double nearest = -INFINITY;
    int64_t seen = 0;
    for (int64_t i = 0; i < n; i++) {
        seen += order[i];
        for (int64_t j = 0; j < i; j++) {
            nearest = fmax(nearest, at(s, info, i, j));
        }
    }
    assert_int_equal(seen, n * (n - 1) / 2);
    assert_true(fabs(linkage[2] - (1 - nearest)) < 1e-15 && linkage[4 * (n - 2) + 3] == (double)n);
}

static void goldens_against_dense(void **state)
{
    double worst = 0;
    int grouped = 0, checked = 0;
    (void)state;
    for (int k = 0; golden_names[k]; k++) {
        golden g;
        golden_open(&g, golden_names[k], k % 3 != 2);
        const otimes_model_info *info = otimes_model_describe(g.model);
        const otimes_model *const one[] = {g.model};
        const bool vocab = k % 4 == 1;
        otimes_compare_settings s = everything();
        dense_model dense;
        double dimension[SIDES];
        s.space = vocab ? OTIMES_COMPARE_VOCAB : OTIMES_COMPARE_AUTO;
        dense_make(&dense, g.model, vocab);
        if (vocab) {
            vocabulary_dimensions(g.model, dimension);
        } else {
            stream_dimensions(info, dimension);
        }
        otimes_memory_sink *memory = compare(one, 1, &s);
        /* Over the vocabulary directions come out of a Gram: its noise against the smallest kept. */
        const double close = close_for(info) * (vocab ? 4 : 1);
        const double seen =
            pairs_are_dense(memory, 0, &dense, &dense, dimension, true, close) / close;
        worst = seen > worst ? seen : worst;
        check_self(memory, info, close);
        check_lists(memory, info);
        grouped += info->n_kv_heads < info->n_heads;
        checked++;
        otimes_memory_sink_free(&memory);
        dense_free(&dense);
        golden_close(&g);
    }
    assert_true(checked > 40 && grouped > 5);
    print_message("%d goldens, %d grouped; the worst at %.2f of its tolerance\n", checked, grouped,
                  worst);
}

/* ---- choices ---- */

static bool written(const otimes_memory_sink *memory, const char *name)
{
    const void *data;
    return otimes_memory_sink_array(memory, name, &data) != NULL;
}

static void only_what_is_asked_for(void **state)
{
    static const char *const names[] = {"OV_cosine", "OV_cka",           "OV_procrustes",
                                        "V_kernel",  "V_largest_cosine", "V_angle_cosines"};
    (void)state;
    golden g;
    golden_open(&g, "llama", true);
    const otimes_model *const one[] = {g.model};
    otimes_compare_settings s = everything();
    otimes_memory_sink *all = compare(one, 1, &s);
    s.cosines = 0;
    for (int k = 0; k < 5; k++) {
        s.measures = 1 << k;
        s.similarity = k == 0   ? OTIMES_COMPARE_BY_COSINE
                       : k == 2 ? OTIMES_COMPARE_BY_PROCRUSTES
                       : k >= 3 ? OTIMES_COMPARE_BY_KERNEL
                                : OTIMES_COMPARE_BY_CKA;
        otimes_memory_sink *some = compare(one, 1, &s);
        for (int i = 0; i < 6; i++) {
            const bool expected = i == k || (k == 4 && i == 3); /* the similarity's own */
            assert_int_equal(written(some, names[i]), expected);
            int64_t count;
            double *got = sink_values(some, names[i], &count), *want;
            if (expected) {
                want = sink_values(all, names[i], &count);
                assert_memory_equal(got, want, (size_t)count * sizeof *got);
                free(want);
            }
            free(got);
        }
        otimes_memory_sink_free(&some);
    }
    otimes_memory_sink_free(&all);
    golden_close(&g);
}

/* Chosen layers and heads give the entries of the whole. */
static void chosen_heads(void **state)
{
    static const int64_t layer[] = {1}, head[] = {1, 3};
    (void)state;
    golden g;
    golden_open(&g, "llama", true);
    const otimes_model_info *info = otimes_model_describe(g.model);
    const otimes_model *const one[] = {g.model};
    otimes_compare_settings s = everything();
    otimes_memory_sink *all = compare(one, 1, &s);
    s.layers = layer;
    s.layer_count = 1;
    s.heads = head;
    s.head_count = 2;
    otimes_memory_sink *some = compare(one, 1, &s);
    const double *whole = compared(all, "QK_cka"), *part = compared(some, "QK_cka");
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++) {
            assert_true(fabs(part[i * 2 + j] - at(whole, info, info->n_heads + head[i],
                                                  info->n_heads + head[j])) < 1e-6);
        }
    }
    const void *data;
    const otimes_array *kv = otimes_memory_sink_array(some, "K_kernel", &data);
    const int64_t group = info->n_heads / info->n_kv_heads;
    assert_true(kv->axis[2]->number[0] == 1 / group);
    assert_true(kv->axis[4]->number[kv->axis[4]->length - 1] == 3 / group);
    otimes_memory_sink_free(&some);
    otimes_memory_sink_free(&all);
    golden_close(&g);
}

/* ---- bad input ---- */

static void refused(const otimes_model *const *models, int64_t count,
                    const otimes_compare_settings *settings, int code, const char *words)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_int_equal(otimes_compare(models, count, settings, otimes_memory_sink_sink(memory), &err),
                     code);
    if (!strstr(err.msg, words) || strchr(err.msg, '\n')) {
        fail_msg("expected '%s', got '%s'", words, err.msg);
    }
    otimes_memory_sink_free(&memory);
}

static void bad_requests(void **state)
{
    static const int64_t far[] = {99}, back[] = {1, 0};
    (void)state;
    golden g, other, raw;
    golden_open(&g, "gpt2", true);
    golden_open(&other, "llama", true);
    golden_open(&raw, "gpt2", false);
    const otimes_model *const both[] = {g.model, other.model};
    const otimes_model *const unlike[] = {g.model, raw.model};
    otimes_compare_settings s = everything();
    refused(both, 0, &s, OTIMES_ERR_ARGUMENT, "models: expected at least 1, got 0");
    refused(both, 2, &s, OTIMES_ERR_UNSUPPORTED,
            "d_model is 12 and 16; expected one vocabulary, got 23 and 19 tokens");
    s.space = OTIMES_COMPARE_STREAM;
    refused(both, 2, &s, OTIMES_ERR_UNSUPPORTED, "expected one d_model, got 12 and 16");
    s = everything();
    s.top = -1;
    refused(both, 1, &s, OTIMES_ERR_ARGUMENT, "top: expected at least 0, got -1");
    s = everything();
    s.measures = 64;
    refused(both, 1, &s, OTIMES_ERR_ARGUMENT, "measures: expected");
    s = everything();
    s.layers = far;
    s.layer_count = 1;
    refused(both, 1, &s, OTIMES_ERR_ARGUMENT, "layers");
    s = everything();
    s.heads = back;
    s.head_count = 2;
    refused(both, 1, &s, OTIMES_ERR_ARGUMENT, "heads");
    s = everything();
    refused(unlike, 2, &s, OTIMES_ERR_UNSUPPORTED,
            "expected weights processed alike, got fold_ln applied and off");
    golden_close(&g);
    golden_close(&other);
    golden_close(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_against_dense),
        cmocka_unit_test(only_what_is_asked_for),
        cmocka_unit_test(chosen_heads),
        cmocka_unit_test(bad_requests),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
