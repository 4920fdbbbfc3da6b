/* SPDX-License-Identifier: MIT
 *
 * Heads of goldens compared, against whole matrices in double; what chance gives; bad input.
 */
#include "accuracy.h"
#include "comparing.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

static otimes_compare_settings everything(void)
{
    otimes_compare_settings s;
    otimes_compare_settings_default(&s);
    s.cosines = 1;
    return s;
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

enum { MOST = 16 }; /* heads of a golden */

/* Average linkage by definition: the two clusters with the smallest mean of 1 - similarity. */
static void check_linkage(const double *s, int64_t n, const double *linkage)
{
    int64_t cluster[MOST], left = n;
    for (int64_t i = 0; i < n; i++) {
        cluster[i] = i;
    }
    for (; left > 1; left--) {
        const double *row = linkage + (n - left) * 4;
        double nearest = INFINITY;
        int64_t pair[2] = {-1, -1}, size = 0;
        for (int64_t a = 0; a < n; a++) {
            for (int64_t b = 0; b < a; b++) {
                double sum = 0, count = 0;
                for (int64_t k = 0; k < n * n; k++) {
                    const bool across =
                        cluster[k / n] == cluster[a] && cluster[k % n] == cluster[b];
                    sum += across ? 1 - s[k] : 0;
                    count += across;
                }
                if (cluster[a] != cluster[b] && sum / count < nearest) {
                    nearest = sum / count;
                    pair[0] = cluster[a];
                    pair[1] = cluster[b];
                }
            }
        }
        for (int64_t i = 0; i < n; i++) {
            cluster[i] = cluster[i] == pair[0] ? pair[1] : cluster[i];
            size += cluster[i] == pair[1];
        }
        accuracy("linkage", "1", row[2], nearest, 1, 8 * (double)n * DBL_EPSILON);
        accuracy("linkage", "1", row[3], (double)size, 1, 0);
    }
}

/* Leaves below a node of the tree, the halves in their order or turned as a bit of `turned` says. */
static int64_t leaves(const double *linkage, int64_t n, int64_t node, int64_t turned, int64_t *out)
{
    if (node < n) {
        *out = node;
        return 1;
    }
    const double *row = linkage + (node - n) * 4;
    const int64_t turn = turned >> (node - n) & 1;
    const int64_t first = leaves(linkage, n, (int64_t)row[turn], turned, out);
    return first + leaves(linkage, n, (int64_t)row[1 - turn], turned, out + first);
}

static double way_along(const double *s, int64_t n, const int64_t *order)
{
    double sum = 0;
    for (int64_t i = 0; i + 1 < n; i++) {
        sum += 1 - s[order[i] * n + order[i + 1]];
    }
    return sum;
}

/* The shortest of all orders that the tree allows. */
static void check_tree(const double *s, int64_t n, const double *linkage, const int64_t *order)
{
    int64_t leaf[MOST], seen = 0;
    double shortest = INFINITY;
    assert_true(n <= MOST);
    check_linkage(s, n, linkage);
    for (int64_t turned = 0; turned < (int64_t)1 << (n - 1); turned++) {
        assert_int_equal(leaves(linkage, n, 2 * n - 2, turned, leaf), n);
        shortest = fmin(shortest, way_along(s, n, leaf));
    }
    for (int64_t i = 0; i < n; i++) {
        seen |= (int64_t)1 << order[i];
    }
    assert_int_equal(seen, ((int64_t)1 << n) - 1);
    accuracy("cluster_order", "sum of distances along it", way_along(s, n, order), shortest,
             shortest, 8 * (double)n * DBL_EPSILON);
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
            accuracy_exact("similarity", at(s, info, i, j),
                           (at(ov, info, i, j) + at(qk, info, i, j)) / 2);
            for (int64_t k = 0; k < n; k++) {
                const double gap = at(s, info, i, k) - at(s, info, i, j);
                better += k != i && (gap > 0 || (gap == 0 && k < j));
            }
            for (int64_t k = 0; k < 3; k++) {
                if (layer[i * 3 + k] * info->n_heads + head[i * 3 + k] == j &&
                    layer[i * 3 + k] >= 0) {
                    accuracy_exact("neighbor_similarity", near[i * 3 + k], at(s, info, i, j));
                    place = k;
                }
            }
            accuracy_exact("neighbor_layer", (double)place,
                           (double)(i != j && better < 3 ? better : -1));
            accuracy_exact("neighbor_head", (double)place,
                           (double)(i != j && better < 3 ? better : -1));
        }
    }
    if (n < 2) {
        return;
    }
    check_tree(s, n, compared(memory, "linkage"), compared_numbers(memory, "cluster_order"));
}

static void goldens_against_dense(void **state)
{
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
            dense_dimensions(info, dimension);
        }
        otimes_memory_sink *memory = compare(one, 1, &s);
        /* Over the vocabulary directions come out of a Gram: its noise against the smallest kept. */
        const double close = dense_close(info) * (vocab ? 4 : 1);
        pairs_are_dense(memory, 0, &dense, &dense, dimension, true, close);
        check_self(memory, info, close);
        check_lists(memory, info);
        grouped += info->n_kv_heads < info->n_heads;
        checked++;
        otimes_memory_sink_free(&memory);
        dense_free(&dense);
        golden_close(&g);
    }
    assert_true(checked > 40 && grouped > 5);
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
    static const int64_t far[] = {99}, back[] = {1, 0}, first[] = {0};
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
    s.heads = first;
    s.head_count = 1;
    refused(both, 2, &s, OTIMES_ERR_UNSUPPORTED,
            "chosen heads: expected groups of 1 query heads for each key and value head");
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
