/* SPDX-License-Identifier: MIT
 *
 * What is reported where a quantity is not determined, or by less than its digits: ties and zeros of singular
 * values, eigenvalues that vanish or that a small change moves far, constant rows, probabilities of 0, angles
 * at both ends. tests/accuracy/README.md says the same in words.
 */
#include "comparing.h"
#include "counted.h"
#include "edited.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/bigram.h>
#include <otimes/compose.h>
#include <otimes/heads.h>

#include "num/factored.h"
#include "num/haar.h"
#include "num/vmath.h"
#include "run/links.h"

#define EPS ((double)FLT_EPSILON)

/* ---- singular values ---- */

enum { ROWS = 6, RANK = 3 };

/* Singular values and left vectors [RANK, ROWS] of A B^T, B the first RANK columns of the identity. */
static void svd_of(const float *A, double *values, double *u)
{
    static const float identity[ROWS * RANK] = {[0] = 1, [RANK + 1] = 1, [2 * RANK + 2] = 1};
    otimes_side a, b;
    otimes_err err = {0};
    double v[RANK * ROWS];
    assert_ok(otimes_side_init(&a, ROWS, RANK, A, RANK, 1, &err), &err);
    assert_ok(otimes_side_init(&b, ROWS, RANK, identity, RANK, 1, &err), &err);
    assert_ok(otimes_side_factorise(&a, true, &err), &err);
    assert_ok(otimes_side_factorise(&b, true, &err), &err);
    assert_ok(otimes_factored_svd((otimes_factored){&a, &b}, values, RANK, u, v, &err), &err);
    otimes_side_free(&a);
    otimes_side_free(&b);
}

/* A change of an ulp turns the vectors of a tie by 45 degrees; the values and what the two span stay. */
static void ties(void **state)
{
    const float tie[ROWS * RANK] = {[0] = 2, [RANK + 1] = 2, [2 * RANK + 2] = 1};
    float near[ROWS * RANK];
    double values[RANK], u[RANK * ROWS];
    (void)state;
    memcpy(near, tie, sizeof near);
    near[1] = near[RANK] = 0x1p-22F;
    svd_of(tie, values, u);
    assert_true(fabs(values[0] - 2) < 1e-15 && fabs(values[1] - 2) < 1e-15);
    assert_true(fabs(fabs(u[0]) + fabs(u[1]) - 1) < 1e-12); /* one axis or the other */
    svd_of(near, values, u);
    assert_true(fabs(values[0] - 2 - 0x1p-22) < 1e-15 && fabs(values[1] - 2 + 0x1p-22) < 1e-15);
    assert_true(fabs(fabs(u[0]) - sqrt(0.5)) < 1e-8 && fabs(fabs(u[1]) - sqrt(0.5)) < 1e-8);
    for (int64_t i = 0; i < ROWS * ROWS; i++) { /* the projector on both */
        const int64_t r = i / ROWS, c = i % ROWS;
        const double sum = u[r] * u[c] + u[ROWS + r] * u[ROWS + c];
        assert_true(fabs(sum - (r == c && r < 2)) < 1e-14);
    }
}

/* A singular value that the float32 weights do not hold is off by eps of the largest, whatever it is. */
static void small_values(void **state)
{
    static const double one[ROWS] = {1, -2, 3, 1, 1, -1}, other[ROWS] = {2, 1, 0, -1, 1, 0};
    const double norm = dense_dot(one, one, ROWS), cross = dense_dot(one, other, ROWS);
    const double rest = sqrt(dense_dot(other, other, ROWS) - cross * cross / norm);
    const double scale = 1e-9, want = scale * rest / sqrt(2);
    float A[ROWS * RANK] = {0};
    double values[RANK], u[RANK * ROWS];
    (void)state;
    for (int64_t i = 0; i < ROWS; i++) { /* two columns that differ by 1e-9 */
        A[i * RANK] = (float)(one[i] / 3);
        A[i * RANK + 1] = (float)(one[i] / 3 + scale * other[i]);
    }
    svd_of(A, values, u);
    assert_true(fabs(values[0] - sqrt(2 * norm) / 3) < 2 * EPS * values[0]);
    assert_true(fabs(values[1] - want) < EPS * values[0]);
    assert_true(fabs(values[1] - want) > want / 2); /* not one digit of it is there */
    assert_true(values[2] >= 0 && values[2] < 1e-15 * values[0]);
}

/* ---- eigenvalues ---- */

/* A block of Jordan's: an error of 1e-12 of the norm moves eigenvalues by its root. */
static void not_normal(void **state)
{
    double jordan[4] = {0, 1, 1e-12, 0}, re[2], im[2], sum;
    otimes_err err = {0};
    (void)state;
    assert_ok(otimes_inner_eigenvalues(2, jordan, re, im, &sum, &err), &err);
    assert_true(fabs(fabs(re[0]) - 1e-6) < 1e-12 && fabs(re[0] + re[1]) < 1e-12 && sum == 0);
}

static void copying_of_nothing(void **state)
{
    static const double zero[3] = {0}, tiny[3] = {1e-300, 0, 0}, pair[3] = {1e-9, -1e-9, 0};
    (void)state;
    assert_true(isnan(otimes_positivity(zero, zero, 3)) != 0);
    assert_true(otimes_positivity(tiny, zero, 3) == 1); /* a ratio: its size is not in it */
    assert_true(otimes_positivity(pair, zero, 3) == 0);
}

/* ---- models with weights of our own ---- */

static const char plain_model[] =
    "transformer_lens_shortformer"; /* no norm, no MLP, one vocabulary */

/* A tensor of it as floats in the checkpoint's bytes; *count of them. */
static float *tensor_of(checkpoint *c, const char *name, int64_t *count)
{
    const json_t *tensor = json_object_get(c->header, name);
    const json_t *offsets = json_object_get(tensor, "data_offsets");
    assert_non_null(offsets);
    *count = (int64_t)(bytes_of(tensor) / sizeof(float));
    return (float *)(void *)(c->data + json_integer_value(json_array_get(offsets, 0)));
}

static void write_checkpoint(checkpoint *c)
{
    write_config(c->config);
    write_weights(c);
    drop_checkpoint(c);
}

/* The model with a tensor multiplied. */
static otimes_model *scaled_model(const char *name, float factor)
{
    checkpoint c;
    int64_t count;
    read_golden(&c, plain_model);
    float *x = tensor_of(&c, name, &count);
    for (int64_t i = 0; i < count; i++) {
        x[i] *= factor;
    }
    write_checkpoint(&c);
    return opens();
}

static double first_of(const otimes_memory_sink *memory, const char *name)
{
    int64_t count;
    double *values = sink_values(memory, name, &count);
    assert_true(values && count > 0);
    const double first = values[0];
    free(values);
    return first;
}

/* A head that writes nothing: norms and ranks of 0, scores that are no number. */
static void zero_head(void **state)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    (void)state;
    otimes_model *model = scaled_model("blocks.0.attn.W_V", 0);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_heads(model, NULL, otimes_memory_sink_sink(memory), &err), &err);
    static const char *const zeros[] = {"OV_norm",           "OV_singular_values",
                                        "OV_effective_rank", "full_OV_norm",
                                        "OV_trace",          "OV_eigenvalues_real"};
    for (size_t i = 0; i < COUNT(zeros); i++) {
        assert_true(first_of(memory, zeros[i]) == 0);
    }
    assert_true(isnan(first_of(memory, "OV_copying")) != 0);
    assert_true(isnan(first_of(memory, "full_OV_copying")) != 0);
    assert_true(isnan(first_of(memory, "QK_positivity")) == 0);
    otimes_memory_sink_free(&memory);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_compose(model, NULL, otimes_memory_sink_sink(memory), &err), &err);
    int64_t count;
    double *score = sink_values(memory, "score", &count), *z = sink_values(memory, "z", &count);
    for (int64_t i = 0; i < count; i++) { /* every earlier head writes nothing */
        assert_true(isnan(score[i]) && isnan(z[i]) != 0);
    }
    free(score);
    free(z);
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

/* ---- deviations of 0 ---- */

static void no_deviation(void **state)
{
    const otimes_link_end flat = {.spread = 0}, other = {.spread = 0.5};
    (void)state;
    assert_true(isnan(otimes_link_z(16, &flat, &other, 0.25)) != 0);
    assert_true(isnan(otimes_haar_z(otimes_haar_kernel(8, 8, 3), 3)) != 0); /* all of the space */
}

/* ---- rows of logits ---- */

static otimes_memory_sink *bigrams_of(const otimes_model *model, const otimes_bigram_counts *counts)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    settings.corpus = counts;
    settings.full = OTIMES_BIGRAM_FULL_F32;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_bigram(model, &settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

/* A table of one value: no correlation, cross-entropies of the uniform distribution. */
static void constant_rows(void **state)
{
    enum { V = 20 };
    static double n[V * V];
    int64_t count;
    (void)state;
    otimes_model *model = scaled_model("unembed.W_U", 0);
    otimes_bigram_counts *counts = counted_texts(3, V, 4, n);
    otimes_memory_sink *memory = bigrams_of(model, counts);
    double *ranks = sink_values(memory, "corpus_rank_correlation", &count);
    double *logs = sink_values(memory, "corpus_log_correlation", &count);
    double *cross = sink_values(memory, "corpus_cross_entropy", &count);
    double *kl = sink_values(memory, "corpus_kl", &count);
    double *times = sink_values(memory, "corpus_count", &count);
    for (int64_t i = 0; i < V; i++) {
        assert_true(isnan(ranks[i]) && isnan(logs[i]) != 0);
        assert_true(times[i] == 0 ? isnan(cross[i]) : fabs(cross[i] - log(V)) < 4 * EPS);
        assert_true(times[i] == 0 || kl[i] > -4 * EPS);
    }
    assert_true(fabs(first_of(memory, "row_logsumexp") - log(V)) < 4 * EPS);
    assert_true(first_of(memory, "row_std") == 0);
    free(ranks);
    free(logs);
    free(cross);
    free(kl);
    free(times);
    otimes_memory_sink_free(&memory);
    otimes_bigram_counts_free(&counts);
    otimes_model_close(&model);
}

/* Logits that are thousands apart: probabilities are 0 in any floating point, what they are logarithms of is
 * not, and p = 0 adds nothing. */
static void no_probability(void **state)
{
    enum { V = 20 };
    static double n[V * V];
    int64_t count;
    double highest = 0;
    (void)state;
    otimes_model *model = scaled_model("unembed.W_U", 1e5F);
    otimes_bigram_counts *counts = counted_texts(3, V, 4, n);
    otimes_memory_sink *memory = bigrams_of(model, counts);
    double *table = sink_values(memory, "table", &count);
    double *cross = sink_values(memory, "corpus_cross_entropy", &count);
    double *whole = sink_values(memory, "row_logsumexp", &count);
    for (int64_t i = 0; i < V; i++) {
        double most = -INFINITY, sum = 0, total = 0, want = 0;
        for (int64_t j = 0; j < V; j++) {
            most = fmax(most, table[i * V + j]);
            total += n[i * V + j];
        }
        for (int64_t j = 0; j < V; j++) {
            sum += exp(table[i * V + j] - most);
            want += n[i * V + j] / total * (most - table[i * V + j]);
        }
        assert_true(fabs(whole[i] - most - log(sum)) < 4 * EPS * most);
        assert_true(total == 0 || fabs(cross[i] - want - log(sum)) < 4 * EPS * (want + most));
        highest = fmax(highest, total > 0 ? cross[i] : 0);
    }
    assert_true(highest > 1000 && exp(-highest) == 0);
    free(table);
    free(cross);
    free(whole);
    otimes_memory_sink_free(&memory);
    otimes_bigram_counts_free(&counts);
    otimes_model_close(&model);
}

static void large_scores(void **state)
{
    float scores[4] = {1e30F, -1e30F, 1e30F, -INFINITY}, all[2] = {-INFINITY, -INFINITY};
    (void)state;
    otimes_softmax(4, scores, -INFINITY);
    assert_true(scores[0] == 0.5F && scores[1] == 0 && scores[2] == 0.5F && scores[3] == 0);
    otimes_softmax(2, all, -INFINITY);
    assert_true(all[0] == 0 && all[1] == 0);
}

/* ---- angles ---- */

enum { D = 13, E = 5, HEADS = 3 };

/* Queries of head 1 read the axes of head 0, each turned towards the next five by `angle`. */
static double cosines_of(double angle, double *least, double *distance)
{
    checkpoint c;
    int64_t count;
    read_golden(&c, plain_model);
    float *Q = tensor_of(&c, "blocks.0.attn.W_Q", &count);
    float *K = tensor_of(&c, "blocks.0.attn.W_K", &count);
    assert_int_equal(count, HEADS * D * E);
    memset(Q, 0, (size_t)count * sizeof *Q);
    for (int64_t j = 0; j < E; j++) {
        Q[j * E + j] = 1;
        Q[D * E + j * E + j] = (float)cos(angle);
        Q[D * E + (j + E) * E + j] = (float)sin(angle);
        Q[2 * D * E + j * E + j] = 1;
    }
    memcpy(K + D * E, K, D * E * sizeof *K); /* keys of both heads are one */
    write_checkpoint(&c);
    otimes_model *model = opens();
    otimes_compare_settings settings;
    otimes_compare_settings_default(&settings);
    settings.cosines = 1;
    otimes_memory_sink *memory = compare((const otimes_model *const *)&model, 1, &settings);
    const double *cosines = compared(memory, "Q_angle_cosines") + E; /* heads 0 and 1 */
    const double most = cosines[0];
    *least = cosines[E - 1];
    *distance = compared(memory, "QK_procrustes_distance")[1];
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
    return most;
}

/* Cosines are known to eps. Near 0 an angle is so to the root of that, near a right one to eps. */
static void angles(void **state)
{
    double least, distance;
    (void)state;
    const double same = cosines_of(0, &least, &distance);
    assert_true(same <= 1 && 1 - least < 8 * EPS && distance <= sqrt(16 * EPS));
    const double near = cosines_of(1e-4, &least, &distance);
    assert_true(near <= 1 && fabs(near - cos(1e-4)) < 8 * EPS);
    assert_true(fabs(acos(near) - 1e-4) < sqrt(16 * EPS));
    const double wide = cosines_of(acos(1e-9), &least, &distance);
    assert_true(fabs(wide - 1e-9) < EPS && least >= 0);
    assert_true(fabs(acos(wide) - acos(1e-9)) < EPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ties),
        cmocka_unit_test(small_values),
        cmocka_unit_test(not_normal),
        cmocka_unit_test(copying_of_nothing),
        cmocka_unit_test_teardown(zero_head, empty_folder),
        cmocka_unit_test(no_deviation),
        cmocka_unit_test_teardown(constant_rows, empty_folder),
        cmocka_unit_test_teardown(no_probability, empty_folder),
        cmocka_unit_test(large_scores),
        cmocka_unit_test_teardown(angles, empty_folder),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
