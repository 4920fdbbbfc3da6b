/* SPDX-License-Identifier: MIT
 *
 * Composition with what is no head: the ends of the stream, sets, singular components; and panels of
 * layers.
 */
#include "accuracy.h"
#include "composed.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spectra.h"

/* rows [n, d] of W_E, W_U or W_pos. */
static double *vocabulary(const otimes_model *model, int what, int64_t *count)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_err err = {0};
    otimes_unembed unembed = {0};
    *count = what == 0 ? info->d_vocab : what == 1 ? info->d_vocab_out : info->n_ctx;
    float *rows = calloc((size_t)(*count * info->d_model), sizeof *rows);
    if (what == 0) {
        assert_ok(otimes_embed_rows(model, 0, *count, rows, &err), &err);
    } else if (what == 1) {
        assert_ok(otimes_unembed_open(model, &unembed, &err), &err);
        assert_ok(otimes_unembed_rows(&unembed, 0, *count, rows, &err), &err);
        otimes_unembed_free(&unembed);
    } else {
        assert_ok(otimes_position_rows(model, 0, *count, rows, &err), &err);
    }
    double *wide = composed_widen(rows, *count * info->d_model);
    free(rows);
    return wide;
}

static void turn(int64_t rows, int64_t columns, double *x)
{
    double *copy = composed_matrix(rows * columns);
    for (int64_t i = 0; i < rows * columns; i++) {
        copy[i % columns * rows + i / columns] = x[i];
    }
    memcpy(x, copy, (size_t)(rows * columns) * sizeof *x);
    free(copy);
}

/* The matrix that a part's label names: writers [n, d], readers [d, n]. */
static double *part_matrix(const otimes_model *model, const char *label, bool writer, int64_t *n,
                           int64_t *layer)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model;
    char which[16] = "";
    long long l = 0;
    *layer = -1;
    if (!strcmp(label, "embedding") || !strcmp(label, "positions")) {
        return vocabulary(model, label[0] == 'e' ? 0 : 2, n);
    }
    if (!strcmp(label, "unembedding")) {
        double *W = vocabulary(model, 1, n);
        turn(*n, d, W);
        *layer = info->n_layers;
        return W;
    }
    assert_true(sscanf(label, "L%lld mlp %15s", &l, which) >= 1);
    otimes_layer weights;
    otimes_err err = {0};
    *layer = l;
    assert_ok(otimes_layer_load(model, l, OTIMES_PART_MLP, &weights, &err), &err);
    const otimes_tensor *W = writer                   ? &weights.W_out
                             : !strcmp(which, "gate") ? &weights.W_gate
                                                      : &weights.W_in;
    *n = writer ? W->dim[0] : W->dim[1];
    double *wide = composed_widen(W->data, W->dim[0] * W->dim[1]);
    if (writer) {
        composed_through_norm(info, weights.ln2_post_w.data, *n, wide);
    }
    otimes_layer_free(&weights);
    return wide;
}

static void check_ends(const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, n = info->n_layers * info->n_heads, square = d * d;
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    settings.ends = 1;
    otimes_memory_sink *memory = composed(model, &settings);
    dense m = dense_of(model, 0);
    const void *data;
    const otimes_array *from = otimes_memory_sink_array(memory, "from_score", &data);
    const float *from_score = data, *between = composed_array(memory, "between_score");
    const float *from_z = composed_array(memory, "from_z"), *to_z = composed_array(memory, "to_z");
    const float *between_z = composed_array(memory, "between_z");
    const int64_t D = composed_dimension(memory);
    const otimes_array *to = otimes_memory_sink_array(memory, "to_score", &data);
    const float *to_score = data;
    const int64_t tos = to->axis[0]->length;
    for (int64_t p = 0; p < from->axis[0]->length; p++) {
        int64_t rows, at;
        double *L = part_matrix(model, from->axis[0]->text[p], true, &rows, &at);
        for (int64_t j = 0; j < n; j++) {
            const double *R[] = {m.QK + j * square, m.KQ + j * square, m.OV + j * square};
            for (int64_t c = 0; c < 3; c++) {
                const composed_link want = composed_link_of(D, rows, d, d, L, R[c]);
                const int64_t entry = (p * 3 + c) * n + j;
                composed_hold("from_", (double)from_score[entry], (double)from_z[entry],
                              at < j / info->n_heads ? &want : NULL);
            }
        }
        for (int64_t q = 0; q < tos; q++) {
            int64_t columns, where;
            double *R = part_matrix(model, to->axis[0]->text[q], false, &columns, &where);
            const composed_link want = composed_link_of(D, rows, d, columns, L, R);
            composed_hold("between_", (double)between[p * tos + q], (double)between_z[p * tos + q],
                          at < where ? &want : NULL);
            free(R);
        }
        free(L);
    }
    for (int64_t q = 0; q < tos; q++) {
        int64_t columns, where;
        double *R = part_matrix(model, to->axis[0]->text[q], false, &columns, &where);
        for (int64_t i = 0; i < n; i++) {
            const int64_t l = i / info->n_heads;
            const bool reads = info->parallel ? l < where : l <= where;
            const composed_link want = composed_link_of(D, d, d, columns, m.OV + i * square, R);
            composed_hold("to_", (double)to_score[q * n + i], (double)to_z[q * n + i],
                          reads ? &want : NULL);
        }
        free(R);
    }
    dense_free(&m);
    otimes_memory_sink_free(&memory);
}

static void ends(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        golden_open(&g, golden_names[i], i % 3 != 2);
        check_ends(g.model);
        golden_close(&g);
    }
}

/* A set's W_OV is the sum of its heads'. */
static void sets(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, "gpt2", true);
    static const int64_t first[] = {0, 2}, second[] = {1}, third[] = {0, 1, 2};
    const otimes_compose_set list[] = {{0, first, 2}, {0, second, 1}, {1, third, 3}};
    const otimes_model_info *info = otimes_model_describe(g.model);
    const int64_t d = info->d_model, square = d * d, heads = info->n_heads;
    const int64_t n = info->n_layers * heads;
    assert_true(heads >= 3 && info->n_layers >= 2);
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    settings.sets = list;
    settings.set_count = 3;
    otimes_memory_sink *memory = composed(g.model, &settings);
    dense m = dense_of(g.model, 0);
    const float *from = composed_array(memory, "from_score"),
                *to = composed_array(memory, "to_score");
    const float *between = composed_array(memory, "between_score");
    const float *from_z = composed_array(memory, "from_z"), *to_z = composed_array(memory, "to_z");
    const float *between_z = composed_array(memory, "between_z");
    const int64_t D = composed_dimension(memory);
    double *sum[3];
    for (int s = 0; s < 3; s++) {
        sum[s] = composed_matrix(square);
        for (int64_t i = 0; i < list[s].count; i++) {
            for (int64_t k = 0; k < square; k++) {
                sum[s][k] += m.OV[(list[s].layer * heads + list[s].heads[i]) * square + k];
            }
        }
    }
    for (int s = 0; s < 3; s++) {
        for (int64_t j = 0; j < n; j++) {
            const double *R[] = {m.QK + j * square, m.KQ + j * square, m.OV + j * square};
            for (int64_t c = 0; c < 3; c++) {
                const composed_link want = composed_link_of(D, d, d, d, sum[s], R[c]);
                const int64_t at = (s * 3 + c) * n + j;
                composed_hold("from_", (double)from[at], (double)from_z[at],
                              list[s].layer < j / heads ? &want : NULL);
            }
            const composed_link want = composed_link_of(D, d, d, d, m.OV + j * square, sum[s]);
            composed_hold("to_", (double)to[s * n + j], (double)to_z[s * n + j],
                          j / heads < list[s].layer ? &want : NULL);
        }
        for (int t = 0; t < 3; t++) {
            const composed_link want = composed_link_of(D, d, d, d, sum[s], sum[t]);
            composed_hold("between_", (double)between[s * 3 + t], (double)between_z[s * 3 + t],
                          list[s].layer < list[t].layer ? &want : NULL);
        }
    }
    for (int s = 0; s < 3; s++) {
        free(sum[s]);
    }
    dense_free(&m);
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

/* |<v, u>| of what piece a of `from` writes and piece b of `to` reads, on its left side or its right one. */
static void hold_pieces(const char *name, int64_t d, int64_t k, const spectrum *from,
                        const spectrum *to, bool right, const float *score)
{
    for (int64_t a = 0; a < k; a++) {
        for (int64_t b = 0; b < k; b++) {
            const double turns = fmax(spectra_turning(from, d, a), spectra_turning(to, d, b));
            double dot = 0;
            for (int64_t i = 0; i < d; i++) {
                dot += from->v[i * d + a] * (right ? to->v : to->u)[i * d + b];
            }
            accuracy(name, "largest singular value over its gap", (double)score[a * k + b],
                     fabs(dot), turns, 16 * (double)FLT_EPSILON);
        }
    }
}

static void check_pieces(const otimes_model *model, const otimes_memory_sink *memory, int64_t k)
{
    static const char *const names[] = {"component_score_q", "component_score_k",
                                        "component_score_v"};
    static const char *const shares[] = {"component_share_ov", "component_share_qk"};
    dense m = dense_of(model, 0);
    const int64_t d = m.d, n = m.layers * m.heads;
    spectrum *ov = calloc((size_t)n, sizeof *ov), *qk = calloc((size_t)n, sizeof *qk);
    for (int64_t i = 0; i < n; i++) {
        ov[i] = spectra_svd(d, m.OV + i * d * d);
        qk[i] = spectra_svd(d, m.QK + i * d * d);
        for (int s = 0; s < 2; s++) {
            const double *sigma = s ? qk[i].sigma : ov[i].sigma,
                         *got = composed_array(memory, shares[s]);
            double square = 0;
            for (int64_t a = 0; a < d; a++) {
                square += sigma[a] * sigma[a];
            }
            for (int64_t a = 0; a < k; a++) {
                accuracy(shares[s], "1", got[i * k + a], sigma[a] / sqrt(square), 1,
                         8 * (double)d * DBL_EPSILON);
            }
        }
    }
    for (int64_t at = 0; at < 3 * n * n; at++) {
        const int64_t c = at / (n * n), i = at / n % n, j = at % n;
        const float *score = (const float *)composed_array(memory, names[c]) + (i * n + j) * k * k;
        if (j / m.heads > i / m.heads) {
            hold_pieces(names[c], d, k, &ov[i], c == 2 ? &ov[j] : &qk[j], c == 1, score);
        }
    }
    for (int64_t i = 0; i < n; i++) {
        spectra_free(&ov[i]);
        spectra_free(&qk[i]);
    }
    free(ov);
    free(qk);
    dense_free(&m);
}

/* Each piece, and with all components: the sum over pairs of (share share score)^2 is score^2. */
static void components(void **state)
{
    (void)state;
    for (int g_at = 0; golden_names[g_at]; g_at++) {
        golden g;
        golden_open(&g, golden_names[g_at], g_at % 3 != 2);
        const otimes_model_info *info = otimes_model_describe(g.model);
        if (info->n_layers < 2) {
            golden_close(&g);
            continue;
        }
        const int64_t n = info->n_layers * info->n_heads, k = info->d_head;
        otimes_compose_settings settings;
        otimes_compose_settings_default(&settings);
        settings.components = k;
        otimes_memory_sink *memory = composed(g.model, &settings);
        check_pieces(g.model, memory, k);
        const float *score = composed_array(memory, "score");
        const float *piece[] = {composed_array(memory, "component_score_q"),
                                composed_array(memory, "component_score_k"),
                                composed_array(memory, "component_score_v")};
        const double *ov = composed_array(memory, "component_share_ov");
        const double *qk = composed_array(memory, "component_share_qk");
        double largest = 0;
        for (int64_t at = 0; at < n * 3 * n; at++) {
            const int64_t i = at / (3 * n), c = at / n % 3, j = at % n;
            double sum = 0;
            for (int64_t a = 0; a < k; a++) {
                for (int64_t b = 0; b < k; b++) {
                    const double s = (double)piece[c][((i * n + j) * k + a) * k + b];
                    sum += pow(ov[i * k + a] * (c == 2 ? ov : qk)[j * k + b] * s, 2);
                    largest = s > largest ? s : largest;
                }
            }
            accuracy("score", "its value, 0.1 at least", (double)score[at], sqrt(sum),
                     fmax(sqrt(sum), 0.1), 24 * (double)FLT_EPSILON);
        }
        assert_true(largest > 0.1 && largest <= 1 + 1e-6);
        otimes_memory_sink_free(&memory);
        golden_close(&g);
    }
}

/* Panels of layers give what all layers together give. */
static void panels(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, "gemma3_text", true);
    otimes_compose_settings settings;
    otimes_err err = {0};
    otimes_compose_settings_default(&settings);
    static const int64_t heads[] = {0, 1}, offsets[] = {1};
    const otimes_compose_set set = {1, heads, 2};
    settings.route = OTIMES_COMPOSE_BY_CORES;
    settings.components = 2;
    settings.ends = 1;
    settings.sets = &set;
    settings.set_count = otimes_model_describe(g.model)->n_kv_heads == 1;
    settings.offsets = offsets;
    settings.offset_count = 1;
    otimes_memory_sink *whole = composed(g.model, &settings);
    settings.memory = 1;
    otimes_memory_sink *parts;
    assert_ok(otimes_memory_sink_new(&parts, &err), &err);
    assert_int_equal(otimes_compose(g.model, &settings, otimes_memory_sink_sink(parts), &err),
                     OTIMES_ERR_UNSUPPORTED);
    long long least;
    assert_int_equal(sscanf(err.msg, "memory: expected at least %lld bytes", &least), 1);
    otimes_memory_sink_free(&parts);
    settings.memory = least; /* panels of one layer */
    parts = composed(g.model, &settings);
    static const char *const names[] = {"score",        "excess",   "z",
                                        "offset_score", "ov_norm",  "component_score_k",
                                        "from_score",   "to_score", "between_score"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int64_t count, other;
        double *a = sink_values(whole, names[i], &count), *b = sink_values(parts, names[i], &other);
        assert_int_equal(count, other);
        assert_close(names[i], b, a, count, 1e-6, 1e-6);
        free(a);
        free(b);
    }
    otimes_memory_sink_free(&whole);
    otimes_memory_sink_free(&parts);
    golden_close(&g);
}

int main(void)
{
    accuracy_of("compose");
    otimes_set_blas_threads(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends),
        cmocka_unit_test(sets),
        cmocka_unit_test(components),
        cmocka_unit_test(panels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
