/* SPDX-License-Identifier: MIT
 *
 * With V = Q R (and E V = Q' R') every norm is that of a d_head core; A^T E^T E B [d_head, d_head]
 * has the eigenvalues of the table over the vocabulary, and a rotation by an offset turns nothing
 * but its rows.
 */
#include "run/qk_forms.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "model/model.h"
#include "num/la.h"
#include "run/rope.h"
#include "run/spectrum.h"

/* One pair at work. Squares are [d_head, d_head]. */
typedef struct pair_work {
    const otimes_form_ask *ask;
    const otimes_form_values *out;
    const otimes_head_space *space;
    const otimes_head_sides *first, *second; /* first may be NULL */
    const otimes_rope *rope;
    double *frequency;
    double *into_query, *into_key;        /* Cq, Ck */
    double *table[OTIMES_FORMS];          /* A^T E^T E B */
    double *left[2], *right[2];           /* R of A and B: direct, composed; in the stream or over
                                              the vocabulary, in turn; rows as the sides have */
    double *mean_left[2], *mean_right[2]; /* [d_head] */
    double *turned, *core;                /* scratch */
    double *memory;
} pair_work;

static bool composes_query(int form)
{
    return form == OTIMES_FORM_Q || form == OTIMES_FORM_BOTH;
}

static bool composes_key(int form)
{
    return form == OTIMES_FORM_K || form == OTIMES_FORM_BOTH;
}

static int new_work(const otimes_form_ask *ask, const otimes_form_values *out, pair_work *w,
                    otimes_err *err)
{
    const int64_t e = ask->space->info->d_head, square = e * e;
    *w = (pair_work){
        .ask = ask, .out = out, .space = ask->space, .first = ask->first, .second = ask->second};
    w->rope = otimes_layer_rope(w->space->model, w->second->layer);
    int rc = OTIMES_NEW(&w->memory, 12 * square + 5 * e, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    double *at = w->memory;
    double **const squares[] = {&w->into_query, &w->into_key, &w->table[0], &w->table[1],
                                &w->table[2],   &w->table[3], &w->left[0],  &w->left[1],
                                &w->right[0],   &w->right[1], &w->turned,   &w->core};
    for (size_t i = 0; i < sizeof squares / sizeof squares[0]; i++, at += square) {
        *squares[i] = at;
    }
    double **const rows[] = {&w->mean_left[0], &w->mean_left[1], &w->mean_right[0],
                             &w->mean_right[1], &w->frequency};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++, at += e) {
        *rows[i] = at;
    }
    return w->rope ? otimes_rope_frequencies(w->space->model, w->rope, w->frequency, err)
                   : OTIMES_OK;
}

/* C [m, n] = X^T Y of matrices with `rows` rows. */
static void cross(int64_t rows, int64_t m, int64_t n, const double *x, const double *y, double *c)
{
    otimes_la_default->dgemm(true, false, m, n, rows, 1.0, x, m, y, n, 0.0, c, n);
}

static void multiply(int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c)
{
    otimes_la_default->dgemm(false, false, m, n, k, 1.0, a, k, b, n, 0.0, c, n);
}

static void compose(pair_work *w)
{
    const int64_t e = w->space->info->d_head, d = w->space->info->d_model;
    const otimes_head_sides *a = w->first, *b = w->second;
    const int64_t rank = b->full_query.rows;
    cross(rank, e, e, b->full_query.x, b->full_key.x, w->table[OTIMES_FORM_DIRECT]);
    memcpy(w->mean_left[0], b->mean_query, (size_t)e * sizeof(double));
    if (!a) {
        return;
    }
    cross(d, e, e, a->output.x, b->query.x, w->into_query);
    cross(d, e, e, a->output.x, b->key.x, w->into_key);
    cross(rank, e, e, a->full_value.x, b->full_key.x, w->core);
    cross(e, e, e, w->into_query, w->core, w->table[OTIMES_FORM_Q]);
    cross(rank, e, e, b->full_query.x, a->full_value.x, w->core);
    multiply(e, e, e, w->core, w->into_key, w->table[OTIMES_FORM_K]);
    cross(rank, e, e, a->full_value.x, a->full_value.x, w->turned);
    multiply(e, e, e, w->turned, w->into_key, w->core);
    cross(e, e, e, w->into_query, w->core, w->table[OTIMES_FORM_BOTH]);
    multiply(1, e, e, a->mean_value, w->into_query, w->mean_left[1]);
}

/* B's parts at an offset. */
static void turn(const pair_work *w, double offset, int64_t rows, double *x)
{
    if (w->rope) {
        otimes_rope_rotate_key(w->rope, w->frequency, offset, rows, w->space->info->d_head, x);
    }
}

/* Norms of the forms asked for, of sides as they are seen from one space, times 1 / attn_scale. */
static void norms(pair_work *w, const otimes_side *query, const otimes_side *key,
                  const otimes_side *value, double offset, int first, int count, int what,
                  int64_t place)
{
    const int64_t e = w->space->info->d_head, offsets = w->ask->offset_count;
    const int64_t composed = value ? value->r_rows : 0;
    const int64_t rows_q[2] = {query->r_rows, composed}, rows_k[2] = {key->r_rows, composed};
    memcpy(w->left[0], query->r, (size_t)(rows_q[0] * e) * sizeof(double));
    memcpy(w->right[0], key->r, (size_t)(rows_k[0] * e) * sizeof(double));
    turn(w, offset, rows_k[0], w->right[0]);
    if (value) {
        multiply(rows_q[1], e, e, value->r, w->into_query, w->left[1]);
        multiply(rows_k[1], e, e, value->r, w->into_key, w->right[1]);
        turn(w, offset, rows_k[1], w->right[1]);
    }
    for (int form = first; form < first + count; form++) {
        const int l = composes_query(form), r = composes_key(form);
        otimes_la_default->dgemm(false, true, rows_q[l], rows_k[r], e, 1.0, w->left[l], e,
                                 w->right[r], e, 0.0, w->core, rows_k[r]);
        w->out->value[what][place + form * offsets] =
            otimes_norm_of_singular_values(w->core, rows_q[l] * rows_k[r]) /
            w->space->info->attn_scale;
    }
}

/* Eigenvalues and means of one form over the vocabulary. */
static int over_vocabulary(pair_work *w, double offset, int form, int64_t place, otimes_err *err)
{
    const otimes_form_values *out = w->out;
    const int64_t e = w->space->info->d_head;
    const double vocab = (double)w->space->info->d_vocab, scale = w->space->info->attn_scale;
    double *const mean = w->mean_right[composes_key(form)], sum = 0;
    otimes_spectrum spectrum = {0};
    memcpy(w->turned, w->table[form], (size_t)(e * e) * sizeof(double));
    turn(w, offset, e, w->turned);
    const int rc = otimes_spectrum_eigen(e, w->turned, scale, &spectrum, out->re + place * e,
                                         out->im + place * e, err);
    for (int64_t j = 0; j < e; j++) {
        sum += w->mean_left[composes_query(form)][j] * mean[j];
    }
    const double entry = sum / scale, diagonal = spectrum.trace / vocab;
    const double norm = out->value[OTIMES_FORM_FULL_NORM][place];
    const double variance = norm * norm / (vocab * vocab) - entry * entry;
    out->value[OTIMES_FORM_FULL_TRACE][place] = spectrum.trace;
    out->value[OTIMES_FORM_FULL_COPYING][place] = spectrum.positivity;
    out->value[OTIMES_FORM_ENTRY_MEAN][place] = entry;
    out->value[OTIMES_FORM_DIAGONAL_MEAN][place] = diagonal;
    out->value[OTIMES_FORM_DIAGONAL_EXCESS][place] =
        variance > 0 ? (diagonal - entry) / sqrt(variance) : NAN;
    return rc;
}

int otimes_qk_forms(const otimes_form_ask *ask, int first, int count, const otimes_form_values *out,
                    otimes_err *err)
{
    const int64_t e = ask->space->info->d_head, offsets = ask->offset_count;
    const otimes_head_sides *a = ask->first, *b = ask->second;
    pair_work w;
    int rc = new_work(ask, out, &w, err);
    if (rc == OTIMES_OK) {
        compose(&w);
    }
    for (int64_t o = 0; rc == OTIMES_OK && o < offsets; o++) {
        const double offset = (double)ask->offsets[o];
        norms(&w, &b->query, &b->key, a ? &a->value : NULL, offset, first, count, OTIMES_FORM_NORM,
              o);
        norms(&w, &b->full_query, &b->full_key, a ? &a->full_value : NULL, offset, first, count,
              OTIMES_FORM_FULL_NORM, o);
        memcpy(w.mean_right[0], b->mean_key, (size_t)e * sizeof(double));
        turn(&w, offset, 1, w.mean_right[0]);
        if (a) {
            multiply(1, e, e, a->mean_value, w.into_key, w.mean_right[1]);
            turn(&w, offset, 1, w.mean_right[1]);
        }
        for (int form = first; rc == OTIMES_OK && form < first + count; form++) {
            rc = over_vocabulary(&w, offset, form, o + form * offsets, err);
        }
    }
    otimes_free(w.memory);
    return rc;
}

/* A and B of a form, [d_model, d_head]. */
static void make_ends(const pair_work *w, int form, double *left, double *right)
{
    const int64_t d = w->space->info->d_model, e = w->space->info->d_head;
    const size_t size = (size_t)(d * e) * sizeof(double);
    if (composes_query(form)) {
        multiply(d, e, e, w->first->value.x, w->into_query, left);
    } else {
        memcpy(left, w->second->query.x, size);
    }
    if (composes_key(form)) {
        multiply(d, e, e, w->first->value.x, w->into_key, right);
    } else {
        memcpy(right, w->second->key.x, size);
    }
    turn(w, (double)w->ask->offsets[0], d, right);
}

int otimes_qk_ends(const otimes_form_ask *ask, double *ends, otimes_err *err)
{
    const int64_t size = ask->space->info->d_model * ask->space->info->d_head;
    pair_work w;
    const int rc = new_work(ask, NULL, &w, err);
    if (rc == OTIMES_OK) {
        compose(&w);
        for (int form = 0; form < OTIMES_FORMS; form++) {
            make_ends(&w, form, ends + 2 * form * size, ends + (2 * form + 1) * size);
        }
    }
    otimes_free(w.memory);
    return rc;
}

/* ---- the induction test ---- */

static double positive(double x)
{
    return x > 0 ? x : 0;
}

void otimes_induction_judge(const otimes_form_ask *ask, const otimes_induction_least *least,
                            double dimension, const double *score, const double *copying,
                            const double *diagonal_mean, const double *entry_mean,
                            otimes_induction *induction)
{
    const int64_t offsets = ask->offset_count;
    double copies = 0, composes = 0, match = 0;
    for (int64_t o = 0; o < offsets; o++) {
        copies += copying[o] / (double)offsets;
        composes += score[o] / (double)offsets;
        match +=
            (diagonal_mean[o] - entry_mean[o]) / ((double)offsets * ask->space->average.square);
    }
    const double ratio = composes * sqrt(dimension);
    const double part[] = {ask->first->previous, copies, ask->second->copying, ratio, match};
    const double wanted[] = {least->previous, least->copying, least->copying, least->K_ratio,
                             least->match};
    double product = 1;
    bool unknown = false, failed = false;
    for (int i = 0; i < 5; i++) {
        unknown |= isnan(part[i]);
        failed |= part[i] < wanted[i];
        product *= i == 3 || isnan(part[i]) ? 1 : positive(part[i]);
    }
    *induction = (otimes_induction){
        part[0], part[1], part[2], part[3], part[4], product, failed ? 0 : unknown ? -1 : 1};
}
