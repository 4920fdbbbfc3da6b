/* SPDX-License-Identifier: MIT
 *
 * Every golden compared with two copies of itself whose weights are disturbed, against whole matrices in
 * double: pairs across models, matching, drift.
 */
#include "accuracy.h"
#include "comparing.h"
#include "edited.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MODELS = 3, MOST = 16 }; /* heads of a golden */

static const char *const labels[MODELS] = {"as it is", "disturbed", "disturbed again"};

/* Every number of a checkpoint times something in [0.75, 1.25], in whatever bits it is kept. */
static void disturb(checkpoint *c, uint64_t *state)
{
    const char *name;
    json_t *tensor;
    json_object_foreach (c->header, name, tensor) {
        const json_t *offsets = json_object_get(tensor, "data_offsets");
        const char *dtype = json_string_value(json_object_get(tensor, "dtype"));
        const size_t from = (size_t)json_integer_value(json_array_get(offsets, 0));
        const size_t to = (size_t)json_integer_value(json_array_get(offsets, 1));
        const size_t width = dtype && !strcmp(dtype, "F32") ? 4 : 2;
        for (size_t at = from; dtype && at + width <= to && dtype[0] != 'U'; at += width) {
            *state = *state * 6364136223846793005U + 1442695040888963407U;
            const unsigned bits = (unsigned)(*state >> 40);
            if (width == 4) {
                float x;
                memcpy(&x, c->data + at, 4);
                x *= 0.75F + (float)(bits & 0xffff) / 131072;
                memcpy(c->data + at, &x, 4);
            } else { /* the last bits of the mantissa */
                c->data[at] ^= (unsigned char)(bits & (strcmp(dtype, "BF16") ? 0xff : 0x1f));
            }
        }
    }
}

static otimes_model *disturbed(const char *name, uint64_t seed)
{
    checkpoint c;
    read_golden(&c, name);
    disturb(&c, &seed);
    write_config(c.config);
    write_weights(&c);
    otimes_model *model = opens();
    drop_checkpoint(&c);
    return model;
}

/* Whether the golden is a checkpoint of one file. */
static bool is_one_file(const char *name)
{
    char file[128];
    snprintf(file, sizeof file, "tests/golden/%s/model.safetensors", name);
    return access(source_path(file), F_OK) == 0;
}

/* ---- matching ---- */

/* The largest sum of s [n, n] over one-to-one matchings. */
static double best_sum(const double *s, int64_t n)
{
    double *best = calloc((size_t)1 << n, sizeof *best); /* of the first rows with these columns */
    assert_non_null(best);
    for (int64_t taken = 1; taken < (int64_t)1 << n; taken++) {
        const int row = __builtin_popcountll((unsigned long long)taken) - 1;
        best[taken] = -INFINITY;
        for (int64_t j = 0; j < n; j++) {
            if (taken >> j & 1) {
                const double sum = best[taken & ~((int64_t)1 << j)] + s[row * n + j];
                best[taken] = fmax(best[taken], sum);
            }
        }
    }
    const double sum = best[((int64_t)1 << n) - 1];
    free(best);
    return sum;
}

static void hold_matches(const otimes_memory_sink *memory, const otimes_model_info *info, int64_t k)
{
    const int64_t n = info->n_layers * info->n_heads;
    const double *s = compared(memory, "similarity") + k * n * n;
    const double *match = compared(memory, "match_similarity") + k * n;
    const int64_t *layer = compared_numbers(memory, "match_layer") + k * n;
    const int64_t *head = compared_numbers(memory, "match_head") + k * n;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += match[i];
        accuracy_exact("match_similarity", match[i], s[i * n + layer[i] * info->n_heads + head[i]]);
    }
    accuracy("match_layer", "largest sum of similarity", sum, best_sum(s, n), sum,
             8 * (double)n * DBL_EPSILON);
    accuracy("match_head", "largest sum of similarity", sum, best_sum(s, n), sum,
             8 * (double)n * DBL_EPSILON);
}

static void hold_layers(const otimes_memory_sink *memory, const otimes_model_info *info, int64_t k)
{
    const int64_t L = info->n_layers, H = info->n_heads, n = L * H;
    const double *s = compared(memory, "similarity") + k * n * n;
    const double *mean = compared(memory, "layer_similarity") + k * L * L;
    const int64_t *matched = compared_numbers(memory, "matched_layer") + k * L;
    double block[MOST * MOST], sum = 0;
    for (int64_t at = 0; at < L * L; at++) {
        for (int64_t i = 0; i < H * H; i++) {
            block[i] = s[(at / L * H + i / H) * n + at % L * H + i % H];
        }
        accuracy("layer_similarity", "1", mean[at], best_sum(block, H) / (double)H, 1,
                 8 * (double)n * DBL_EPSILON);
    }
    for (int64_t l = 0; l < L; l++) {
        sum += mean[l * L + matched[l]];
    }
    accuracy("matched_layer", "largest sum of layer_similarity", sum, best_sum(mean, L), sum,
             8 * (double)n * DBL_EPSILON);
}

/* ---- drift ---- */

static void hold_drift(const otimes_memory_sink *memory, const dense_model *dense, double close)
{
    static const char *const circuits[CIRCUITS] = {"OV", "QK"};
    static const char *const beside[] = {"previous", "first", "last"};
    const int64_t n = dense->nodes;
    for (int64_t at = 0; at < MODELS * n * CIRCUITS; at++) {
        const int64_t c = at % CIRCUITS, i = at / CIRCUITS % n, m = at / CIRCUITS / n;
        char name[64];
        for (int b = 0; b < 3; b++) {
            const int64_t to = b == 0 ? m - 1 : b == 1 ? 0 : MODELS - 1;
            snprintf(name, sizeof name, "%s_cosine_%s", circuits[c], beside[b]);
            accuracy(name, "1", compared(memory, name)[m * n + i],
                     to < 0 ? NAN : dense_cosine(&dense[to], &dense[m], (int)c, i), 1, close);
            snprintf(name, sizeof name, "%s_cka_%s", circuits[c], beside[b]);
            accuracy(name, "1", compared(memory, name)[m * n + i],
                     to < 0 ? NAN : dense_cka(&dense[to], &dense[m], (int)c, i), 1, close);
        }
        snprintf(name, sizeof name, "%s_norm_ratio", circuits[c]);
        double ratio = NAN;
        if (m > 0) {
            const int64_t count = dense->rows[SIDE_Q] * dense->rows[SIDE_Q];
            double *now = dense_circuit(&dense[m], (int)c, i);
            double *before = dense_circuit(&dense[m - 1], (int)c, i);
            ratio = sqrt(dense_dot(now, now, count) / dense_dot(before, before, count));
            free(now);
            free(before);
        }
        accuracy(name, "its value", compared(memory, name)[m * n + i], ratio, ratio,
                 16 * (double)dense->rows[SIDE_Q] * DBL_EPSILON);
    }
}

static void hold_k_composition(const otimes_memory_sink *memory, const dense_model *dense,
                               double close)
{
    const int64_t n = dense->nodes;
    for (int64_t at = 0; at < MODELS * n * n; at++) {
        const int64_t i = at / n % n, j = at % n;
        accuracy("k_composition", "1", compared(memory, "k_composition")[at],
                 j / dense->heads > i / dense->heads ? dense_k_composition(&dense[at / n / n], i, j)
                                                     : NAN,
                 1, close);
    }
}

/* ---- every golden ---- */

static void hold_models(const golden *g)
{
    const otimes_model_info *info = otimes_model_describe(g->model);
    otimes_model *other[] = {disturbed(g->name, 3), disturbed(g->name, 4)};
    const otimes_model *const models[MODELS] = {g->model, other[0], other[1]};
    const double close = dense_close(info);
    otimes_compare_settings s;
    dense_model dense[MODELS];
    double dimension[SIDES];
    otimes_compare_settings_default(&s);
    s.cosines = 1;
    s.labels = labels;
    s.space = OTIMES_COMPARE_STREAM;
    dense_dimensions(info, dimension);
    for (int m = 0; m < MODELS; m++) {
        dense_make(&dense[m], models[m], false);
    }
    otimes_memory_sink *memory = compare(models, MODELS, &s);
    for (int64_t k = 0; k + 1 < MODELS; k++) {
        pairs_are_dense(memory, k, &dense[0], &dense[k + 1], dimension, true, close);
        heads_are_dense(memory, "other_", &dense[k + 1], k * dense->nodes);
        hold_matches(memory, info, k);
        for (int x = 0; x < SIDES; x++) {
            accuracy("kernel_expected", "1", compared(memory, "kernel_expected")[k * SIDES + x],
                     (double)info->d_head / dimension[x], 1, 4 * DBL_EPSILON);
        }
    }
    hold_drift(memory, dense, close);
    if (info->n_layers > 1) {
        hold_k_composition(memory, dense, close);
    }
    otimes_memory_sink_free(&memory);
    s.match = OTIMES_COMPARE_MATCH_LAYERS;
    memory = compare(models, MODELS, &s);
    hold_layers(memory, info, 0);
    hold_layers(memory, info, 1);
    otimes_memory_sink_free(&memory);
    for (int m = 0; m < MODELS; m++) {
        dense_free(&dense[m]);
    }
    otimes_model_close(&other[0]);
    otimes_model_close(&other[1]);
}

static void goldens(void **state)
{
    int held = 0;
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        golden_open_on(1, &g, golden_names[i], true);
        if (is_one_file(golden_names[i])) {
            hold_models(&g);
            held++;
        }
        golden_close(&g);
    }
    assert_true(held > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(goldens, empty_folder),
    };
    accuracy_of("compare");
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
