/* SPDX-License-Identifier: MIT
 *
 * Paths one by one against plain loops in double, and what is known of trained weights.
 */
#include "found_paths.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/flows.h"
#include "run/frozen.h"

/* ---- paths one by one ---- */

typedef struct dense {
    otimes_frozen frozen;
    otimes_layer layer[2];
    otimes_unembed unembed;
    float *W_E;
} dense;

/* x := what a head makes of it, in double, by loops; LayerNorm is folded and centring. */
static void apply_head(const fixture *f, const dense *w, int64_t l, int64_t h, double *x)
{
    const int64_t d = f->info->d_model, e = f->info->d_head, n = f->n;
    const float *scale = otimes_frozen_at(&w->frozen, OTIMES_HOOK_LN1_SCALE, l);
    const float *pattern = otimes_frozen_at(&w->frozen, OTIMES_HOOK_PATTERN, l) + h * n * n;
    const float *W_V = w->layer[l].W_V.data + h * d * e, *W_O = w->layer[l].W_O.data + h * e * d;
    double *v = calloc((size_t)(n * e), sizeof *v);
    for (int64_t t = 0; t < n; t++) {
        double mean = 0;
        for (int64_t i = 0; i < d; i++) {
            mean += x[t * d + i] / (double)d;
        }
        for (int64_t i = 0; i < d; i++) {
            for (int64_t j = 0; j < e; j++) {
                v[t * e + j] += (x[t * d + i] - mean) / (double)scale[t] * (double)W_V[i * e + j];
            }
        }
    }
    memset(x, 0, (size_t)(n * d) * sizeof *x);
    for (int64_t q = 0; q < n; q++) {
        for (int64_t j = 0; j < e; j++) {
            double z = 0;
            for (int64_t k = 0; k <= q; k++) {
                z += (double)pattern[q * n + k] * v[k * e + j];
            }
            for (int64_t i = 0; i < d; i++) {
                x[q * d + i] += z * (double)W_O[j * d + i];
            }
        }
    }
    free(v);
}

static double worth(const fixture *f, const dense *w, const double *x)
{
    const int64_t d = f->info->d_model;
    const float s = otimes_frozen_at(&w->frozen, OTIMES_HOOK_LN_FINAL_SCALE, -1)[f->n - 1];
    float *u = calloc((size_t)d, sizeof *u);
    otimes_err err = {0};
    double mean = 0, sum = 0;
    assert_ok(otimes_unembed_rows(&w->unembed, f->settings.target, 1, u, &err), &err);
    for (int64_t i = 0; i < d; i++) {
        mean += x[(f->n - 1) * d + i] / (double)d;
    }
    for (int64_t i = 0; i < d; i++) {
        sum += (x[(f->n - 1) * d + i] - mean) / (double)s * (double)u[i];
    }
    free(u);
    return sum;
}

static void dense_open(dense *w, const fixture *f)
{
    otimes_err err = {0};
    otimes_forward *forward;
    assert_ok(otimes_frozen_init(&w->frozen, f->model, &f->batch.sequences,
                                 OTIMES_FREEZE_PATTERNS | OTIMES_FREEZE_SCALES, &err),
              &err);
    const otimes_hooks hooks = otimes_frozen_hooks(&w->frozen);
    assert_ok(otimes_forward_open(&forward, f->model, NULL, &err), &err);
    assert_ok(otimes_forward_run(forward, &f->batch.sequences, &hooks, &err), &err);
    otimes_forward_close(&forward);
    for (int64_t l = 0; l < 2; l++) {
        assert_ok(otimes_layer_load(f->model, l, OTIMES_PART_V | OTIMES_PART_O, &w->layer[l], &err),
                  &err);
    }
    assert_ok(otimes_unembed_open(f->model, &w->unembed, &err), &err);
}

static void dense_close(dense *w)
{
    otimes_frozen_free(&w->frozen);
    otimes_layer_free(&w->layer[0]);
    otimes_layer_free(&w->layer[1]);
    otimes_unembed_free(&w->unembed);
}

/* The bundled model's paths from its embedding. */
static void one_by_one(void **state)
{
    fixture f = {0};
    dense w = {0};
    otimes_err err = {0};
    int seen = 0;
    (void)state;
    open_bundled(&f);
    dense_open(&w, &f);
    assert_ok(run(&f, &err), &err);
    const int64_t d = f.info->d_model;
    const values value = get(&f, "path_value"), source = get(&f, "path_source");
    const values layer = get(&f, "path_layer"), head = get(&f, "path_head");
    double *x = calloc((size_t)(f.n * d), sizeof *x);
    float *row = calloc((size_t)d, sizeof *row);
    for (int64_t i = 0; i < value.count; i++) {
        if (strcmp(source.x[i] < 0 ? "" : "embed", "embed") != 0 || source.x[i] > 0) {
            continue;
        }
        for (int64_t t = 0; t < f.n; t++) {
            assert_ok(otimes_embed_rows(f.model, f.batch.ids[0][t], 1, row, &err), &err);
            for (int64_t j = 0; j < d; j++) {
                x[t * d + j] = (double)row[j];
            }
        }
        for (int64_t k = 0; k < 2 && layer.x[i * 2 + k] >= 0; k++) {
            apply_head(&f, &w, (int64_t)layer.x[i * 2 + k], (int64_t)head.x[i * 2 + k], x);
        }
        assert_true(is_near(&f, text_at(&f, "path_label", i), value.x[i], worth(&f, &w, x), 1));
        seen++;
    }
    assert_int_equal(seen, 1 + 4 + 4 + 16);
    free(x);
    free(row);
    free(value.x);
    free(source.x);
    free(layer.x);
    free(head.x);
    dense_close(&w);
    close_model(&f);
}

/* ---- induction ---- */

enum { PERIOD = 16, REPEATS = 8 };

/* Texts of random tokens (from 5 on) that begin again, their next token the target. */
static void repeat(fixture *f)
{
    const int64_t length[REPEATS] = {28, 28, 28, 28, 28, 28, 28, 28};
    batch_random(&f->batch, f->model, length, REPEATS, 9);
    for (int t = 0; t < REPEATS; t++) {
        for (int64_t i = PERIOD; i < 28; i++) {
            f->batch.ids[t][i] = f->batch.ids[t][i - PERIOD];
        }
    }
    f->settings.sequences = f->batch.sequences;
    f->settings.whose = OTIMES_PATHS_NEXT;
}

/* Sums over texts of the edges into a head of layer 1 from each of layer 0. */
static int64_t strongest(const values *edge, int64_t each, int64_t head, int64_t via)
{
    const int64_t heads = 2 * each;
    int64_t best = 0;
    double most = -INFINITY;
    for (int64_t e = 0; e < each; e++) {
        double sum = 0;
        for (int64_t c = 0; c < REPEATS; c++) {
            sum += edge->x[((c * 3 + via) * heads + each + head) * heads + e];
        }
        best = sum > most ? e : best;
        most = sum > most ? sum : most;
    }
    return best;
}

/* Of how many texts the path embed → 1.`head` brings most from the token that came next the first
 * time, in favour of the target. */
static int count_texts(const fixture *f, int head)
{
    const values at = get(f, "carrier_position"), value = get(f, "carrier_value");
    const values of = get(f, "path_case");
    const int64_t carriers = at.array->axis[1]->length;
    char label[32];
    int found = 0;
    snprintf(label, sizeof label, "embed → L1H%d", head);
    for (int64_t i = 0; i < of.count; i++) {
        if (!strcmp(text_at(f, "path_label", i), label)) {
            found += (int64_t)at.x[i * carriers] == 27 - PERIOD && value.x[i * carriers] > 0;
        }
    }
    free(at.x);
    free(value.x);
    free(of.x);
    return found;
}

/* Induction heads move the token that came next the first time; what lets them see it is the
 * previous-token head 0.2, by their keys. */
static void check_induction(fixture *f, const int *induction, int count)
{
    otimes_err err = {0};
    repeat(f);
    assert_ok(run(f, &err), &err);
    const values edge = get(f, "head_edge");
    for (int i = 0; i < count; i++) {
        const int64_t from = strongest(&edge, f->info->n_heads, induction[i], OTIMES_EDGE_K);
        const int texts = count_texts(f, induction[i]);
        print_message("%s: 1.%d brings most from the induced token in %d of %d texts\n", f->name,
                      induction[i], texts, REPEATS);
        if (from != 2 || texts <= REPEATS / 2) {
            fail_msg("%s: 1.%d: key edge from 0.%lld, %d texts", f->name, induction[i],
                     (long long)from, texts);
        }
    }
    free(edge.x);
}

static void bundled_induction(void **state)
{
    static const int heads[] = {0, 1};
    fixture f = {0};
    (void)state;
    open_bundled(&f);
    check_induction(&f, heads, 2);
    close_model(&f);
}

static void grokking_induction(void **state)
{
    static const int heads[] = {1, 2, 3};
    const char *path = shared_path("grokking_induction/induction_head_infinite.tl.safetensors");
    fixture f = {0};
    otimes_err err = {0};
    otimes_model *model;
    (void)state;
    if (!path) {
        skip();
    }
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    set_up(&f, "grokking_induction", model);
    check_induction(&f, heads, 3);
    close_model(&f);
}

/* Compiled weights: "f a d h d" -> "h" is one path from the "h"; head 0.0 is composed with by keys
 * alone. */
static void tracr_induction(void **state)
{
    static const int64_t ids[] = {3, 7, 0, 5, 9, 5}, length[] = {6};
    static const int64_t *const id[] = {ids};
    const char *path = shared_path("tracr_induction");
    fixture f = {0};
    otimes_err err = {0};
    otimes_model *model;
    (void)state;
    if (!path) {
        skip();
    }
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    set_up(&f, "tracr_induction", model);
    f.settings.sequences = (otimes_sequences){1, length, id};
    f.settings.whose = OTIMES_PATHS_PREDICTED;
    assert_ok(run(&f, &err), &err);
    const values share = get(&f, "path_share"), at = get(&f, "carrier_position");
    const values edge = get(&f, "head_edge"), target = get(&f, "target_id");
    assert_string_equal(otimes_model_output_token(model, (int64_t)target.x[0]), "h");
    assert_string_equal(text_at(&f, "path_label", 0), "embed → L1H0");
    assert_true(fabs(share.x[0] - 1) < 1e-5);
    assert_int_equal((int64_t)at.x[0], 4);
    assert_true(fabs(edge.x[2]) <= fabs(edge.x[6]) && fabs(edge.x[10]) < 1e-6);
    free(share.x);
    free(at.x);
    free(edge.x);
    free(target.x);
    close_model(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_by_one),
        cmocka_unit_test(bundled_induction),
        cmocka_unit_test(grokking_induction),
        cmocka_unit_test(tracr_induction),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
