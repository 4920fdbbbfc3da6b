/* SPDX-License-Identifier: MIT
 *
 * Matrices of `heads` and the tokens at the ends of its singular directions, held against plain loops in
 * double on every golden.
 */
#include "accuracy.h"
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/heads.h>

#include "spectra.h"

#define EPS ((double)FLT_EPSILON)

enum { COMPONENTS = 2, TOP = 3, ENDS = 2 };

/* A golden's result, and both ends of its vocabulary, [tokens, d_model]. */
typedef struct result {
    const otimes_model *model;
    const otimes_model_info *info;
    otimes_memory_sink *memory;
    double *E, *U;
} result;

static double *zeros(int64_t count)
{
    double *x = calloc((size_t)count + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static const void *data_of(const result *r, const char *name)
{
    const void *data = NULL;
    if (!otimes_memory_sink_array(r->memory, name, &data)) {
        fail_msg("%s is not written", name);
    }
    return data;
}

static double *rows_of(const otimes_model *model, int64_t count, bool out)
{
    const int64_t d = otimes_model_describe(model)->d_model;
    float *rows = calloc((size_t)(count * d), sizeof *rows);
    double *wide = zeros(count * d);
    otimes_unembed unembed;
    otimes_err err = {0};
    assert_non_null(rows);
    assert_ok(otimes_unembed_open(model, &unembed, &err), &err);
    assert_ok(out ? otimes_unembed_rows(&unembed, 0, count, rows, &err)
                  : otimes_embed_rows(model, 0, count, rows, &err),
              &err);
    for (int64_t i = 0; i < count * d; i++) {
        wide[i] = (double)rows[i];
    }
    otimes_unembed_free(&unembed);
    free(rows);
    return wide;
}

/* ---- matrices ---- */

/* A head's factors A [d, e] and B [e, d] as written are its weights; their product W [d, d], freed by the
 * caller, is what the product written is. */
static double *hold_circuit(const result *r, const char *circuit, int64_t at, const float *left,
                            const float *right, bool turned)
{
    const int64_t d = r->info->d_model, e = r->info->d_head;
    char name[3][16];
    snprintf(name[0], sizeof name[0], "%s_A", circuit);
    snprintf(name[1], sizeof name[1], "%s_B", circuit);
    snprintf(name[2], sizeof name[2], "%s", circuit);
    const float *A = (const float *)data_of(r, name[0]) + at * d * e;
    const float *B = (const float *)data_of(r, name[1]) + at * d * e;
    const float *product = (const float *)data_of(r, name[2]) + at * d * d;
    double *W = zeros(d * d), largest = 0;
    for (int64_t i = 0; i < d * e; i++) {
        accuracy_exact(name[0], (double)A[i], (double)left[i]);
        accuracy_exact(name[1], (double)B[i],
                       (double)(turned ? right[i % d * e + i / d] : right[i]));
    }
    for (int64_t i = 0; i < d * d; i++) {
        for (int64_t k = 0; k < e; k++) {
            W[i] += (double)A[i / d * e + k] * (double)B[k * d + i % d];
        }
        largest = fmax(largest, fabs(W[i]));
    }
    for (int64_t i = 0; i < d * d; i++) {
        accuracy(name[2], "largest of the matrix", (double)product[i], W[i], largest, 4 * EPS);
    }
    return W;
}

static void hold_positions(const result *r, int64_t at, const double *W)
{
    const int64_t d = r->info->d_model, n = r->info->n_ctx;
    const float *got = (const float *)data_of(r, "QK_positions") + at * n * n;
    float *pos = calloc((size_t)(n * d), sizeof *pos);
    double *want = zeros(n * n), largest = 0;
    otimes_err err = {0};
    assert_non_null(pos);
    assert_ok(otimes_position_rows(r->model, 0, n, pos, &err), &err);
    for (int64_t i = 0; i < n * n; i++) {
        for (int64_t a = 0; a < d * d; a++) {
            want[i] += (double)pos[i / n * d + a / d] * W[a] * (double)pos[i % n * d + a % d];
        }
        want[i] /= r->info->attn_scale;
        largest = fmax(largest, fabs(want[i]));
    }
    for (int64_t i = 0; i < n * n; i++) {
        accuracy("QK_positions", "largest of the matrix", (double)got[i], want[i], largest,
                 4 * EPS);
    }
    free(pos);
    free(want);
}

/* ---- directions ---- */

/* The sign that makes the entry of u of largest modulus positive; 0 where two are as large but for rounding. */
static double sign_of(const spectrum *s, int64_t d, int64_t k)
{
    double most = 0, other = 0;
    for (int64_t i = 0; i < d; i++) {
        const double x = s->u[i * d + k];
        other = fabs(x) > fabs(most) ? fabs(most) : fmax(other, fabs(x));
        most = fabs(x) > fabs(most) ? x : most;
    }
    return fabs(most) - other < 1e-5 ? 0 : most > 0 ? 1 : -1;
}

/* The tokens of `rows` at both ends of a direction (a column of `vectors`). */
static void hold_ends(const result *r, const char *side, int64_t at, int64_t k, const double *rows,
                      int64_t count, const double *vectors, double sign, double turns)
{
    const int64_t d = r->info->d_model;
    double *dots = zeros(count), longest = 0;
    char value_name[32], id_name[32];
    snprintf(value_name, sizeof value_name, "%s_value", side);
    snprintf(id_name, sizeof id_name, "%s_id", side);
    for (int64_t t = 0; t < count; t++) {
        double square = 0;
        for (int64_t i = 0; i < d; i++) {
            dots[t] += sign * rows[t * d + i] * vectors[i * d + k];
            square += rows[t * d + i] * rows[t * d + i];
        }
        longest = fmax(longest, sqrt(square));
    }
    for (int64_t i = 0; i < ENDS * TOP; i++) {
        const int64_t place = (at * COMPONENTS + k) * ENDS * TOP + i;
        const double way = i < TOP ? 1 : -1, bound = 8 * EPS;
        const int32_t id = ((const int32_t *)data_of(r, id_name))[place];
        const double got = (double)((const float *)data_of(r, value_name))[place];
        int64_t beyond = 0;
        for (int64_t t = 0; t < count; t++) {
            beyond += way * dots[t] > way * dots[id] + 2 * bound * longest * turns;
        }
        assert_true(beyond <= i % TOP);
        accuracy(value_name, "longest row, times sigma_1 over the gap", got, dots[id],
                 longest * turns, bound);
        accuracy(id_name, "longest row, times sigma_1 over the gap", got, dots[id], longest * turns,
                 bound);
    }
    free(dots);
}

static void hold_directions(const result *r, bool ov, int64_t at, const double *W)
{
    const int64_t d = r->info->d_model;
    spectrum s = spectra_svd(d, W);
    for (int64_t k = 0; k < COMPONENTS; k++) {
        const double sign = sign_of(&s, d, k), turns = spectra_turning(&s, d, k);
        if (sign != 0 && turns < 1e4) {
            hold_ends(r, ov ? "OV_read" : "QK_query", at, k, r->E, r->info->d_vocab, s.u, sign,
                      turns);
            hold_ends(r, ov ? "OV_write" : "QK_key", at, k, ov ? r->U : r->E,
                      ov ? r->info->d_vocab_out : r->info->d_vocab, s.v, sign, turns);
        }
    }
    spectra_free(&s);
}

/* ---- every golden ---- */

static void hold_heads(const result *r)
{
    const int64_t d = r->info->d_model, e = r->info->d_head;
    const int64_t group = r->info->n_heads / r->info->n_kv_heads;
    for (int64_t at = 0; at < r->info->n_layers * r->info->n_heads; at++) {
        const int64_t h = at % r->info->n_heads, kv = h / group;
        otimes_layer w;
        otimes_err err = {0};
        assert_ok(
            otimes_layer_load(r->model, at / r->info->n_heads, OTIMES_PART_ATTENTION, &w, &err),
            &err);
        double *OV =
            hold_circuit(r, "OV", at, w.W_V.data + kv * d * e, w.W_O.data + h * d * e, false);
        double *QK =
            hold_circuit(r, "QK", at, w.W_Q.data + h * d * e, w.W_K.data + kv * d * e, true);
        hold_directions(r, true, at, OV);
        hold_directions(r, false, at, QK);
        if (r->info->positions == OTIMES_POSITIONS_LEARNED) {
            hold_positions(r, at, QK);
        }
        otimes_layer_free(&w);
        free(OV);
        free(QK);
    }
}

static void matrices(void **state)
{
    (void)state;
    accuracy_of("heads");
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        otimes_err err = {0};
        otimes_heads_settings settings;
        golden_open_on(1, &g, golden_names[i], i % 3 != 2);
        result r = {.model = g.model, .info = otimes_model_describe(g.model)};
        otimes_heads_settings_default(&settings);
        settings.top = TOP;
        settings.components = COMPONENTS;
        settings.matrices = OTIMES_HEADS_FACTORS | OTIMES_HEADS_PRODUCTS;
        if (r.info->positions == OTIMES_POSITIONS_LEARNED) {
            settings.matrices |= OTIMES_HEADS_POSITIONS;
        }
        assert_ok(otimes_memory_sink_new(&r.memory, &err), &err);
        assert_ok(otimes_heads(g.model, &settings, otimes_memory_sink_sink(r.memory), &err), &err);
        r.E = rows_of(g.model, r.info->d_vocab, false);
        r.U = rows_of(g.model, r.info->d_vocab_out, true);
        hold_heads(&r);
        free(r.E);
        free(r.U);
        otimes_memory_sink_free(&r.memory);
        golden_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
