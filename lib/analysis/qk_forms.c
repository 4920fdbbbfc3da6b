/* SPDX-License-Identifier: MIT
 *
 * The four forms A B^T of a pair, A one of W_Q and W_V(h1) Cq with Cq = W_O(h1) W_Q, B likewise of
 * W_K. With V = Q R (and E V = Q' R') every norm is that of a d_head core; A^T E^T E B [d_head,
 * d_head] has the eigenvalues of the table over the vocabulary, and a rotation by an offset turns
 * nothing but its rows.
 */
#include <math.h>
#include <string.h>

#include "analysis/qk_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"
#include "num/la.h"
#include "run/spectrum.h"
#include "run/strongest.h"

/* One pair at work. Squares are [d_head, d_head]. */
typedef struct pair_work {
    const qk_job *job;
    const qk_head *first, *second;
    const otimes_rope *rope;
    double *frequency;
    double *into_query, *into_key;        /* Cq, Ck */
    double *table[OTIMES_QK_FORMS];       /* A^T E^T E B */
    double *left[2], *right[2];           /* R of A and B: direct, composed; in the stream or over
                                              the vocabulary, in turn; rows as the sides have */
    double *mean_left[2], *mean_right[2]; /* [d_head] */
    double *turned, *core;                /* scratch */
    double *memory;
} pair_work;

static bool composes_query(int form)
{
    return form == OTIMES_QK_Q || form == OTIMES_QK_BOTH;
}

static bool composes_key(int form)
{
    return form == OTIMES_QK_K || form == OTIMES_QK_BOTH;
}

static int new_work(const qk_job *job, int64_t pair, pair_work *w, otimes_err *err)
{
    const int64_t e = job->info->d_head, square = e * e;
    *w = (pair_work){
        .job = job, .first = &job->node[job->first[pair]], .second = &job->node[job->second[pair]]};
    w->rope = otimes_layer_rope(job->model, w->second->layer);
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
    return w->rope ? otimes_rope_frequencies(job->model, w->rope, w->frequency, err) : OTIMES_OK;
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
    const int64_t e = w->job->info->d_head, d = w->job->info->d_model;
    const qk_head *a = w->first, *b = w->second;
    const int64_t rank = b->full_query.rows;
    cross(d, e, e, a->output.x, b->query.x, w->into_query);
    cross(d, e, e, a->output.x, b->key.x, w->into_key);
    cross(rank, e, e, b->full_query.x, b->full_key.x, w->table[OTIMES_QK_DIRECT]);
    cross(rank, e, e, a->full_value.x, b->full_key.x, w->core);
    cross(e, e, e, w->into_query, w->core, w->table[OTIMES_QK_Q]);
    cross(rank, e, e, b->full_query.x, a->full_value.x, w->core);
    multiply(e, e, e, w->core, w->into_key, w->table[OTIMES_QK_K]);
    cross(rank, e, e, a->full_value.x, a->full_value.x, w->turned);
    multiply(e, e, e, w->turned, w->into_key, w->core);
    cross(e, e, e, w->into_query, w->core, w->table[OTIMES_QK_BOTH]);
    memcpy(w->mean_left[0], b->mean_query, (size_t)e * sizeof(double));
    multiply(1, e, e, a->mean_value, w->into_query, w->mean_left[1]);
}

/* B's parts at an offset. */
static void turn(const pair_work *w, double offset, int64_t rows, double *x)
{
    if (w->rope) {
        otimes_rope_rotate_key(w->rope, w->frequency, offset, rows, w->job->info->d_head, x);
    }
}

/* Norms of the forms asked for, of sides as they are seen from one space, times 1 / attn_scale. */
static void norms(pair_work *w, const otimes_side *query, const otimes_side *key,
                  const otimes_side *value, double offset, int first, int count, int what,
                  int64_t place)
{
    const int64_t e = w->job->info->d_head, offsets = w->job->offset_count;
    const int64_t rows_q[2] = {query->r_rows, value->r_rows};
    const int64_t rows_k[2] = {key->r_rows, value->r_rows};
    memcpy(w->left[0], query->r, (size_t)(rows_q[0] * e) * sizeof(double));
    memcpy(w->right[0], key->r, (size_t)(rows_k[0] * e) * sizeof(double));
    multiply(rows_q[1], e, e, value->r, w->into_query, w->left[1]);
    multiply(rows_k[1], e, e, value->r, w->into_key, w->right[1]);
    turn(w, offset, rows_k[0], w->right[0]);
    turn(w, offset, rows_k[1], w->right[1]);
    for (int form = first; form < first + count; form++) {
        const int l = composes_query(form), r = composes_key(form);
        otimes_la_default->dgemm(false, true, rows_q[l], rows_k[r], e, 1.0, w->left[l], e,
                                 w->right[r], e, 0.0, w->core, rows_k[r]);
        w->job->value[what][place + form * offsets] =
            otimes_norm_of_singular_values(w->core, rows_q[l] * rows_k[r]) /
            w->job->info->attn_scale;
    }
}

/* Eigenvalues and means of one form over the vocabulary. */
static int over_vocabulary(pair_work *w, double offset, int form, int64_t place, otimes_err *err)
{
    const qk_job *job = w->job;
    const int64_t e = job->info->d_head;
    const double vocab = (double)job->info->d_vocab, scale = job->info->attn_scale;
    double *const mean = w->mean_right[composes_key(form)], sum = 0;
    otimes_spectrum spectrum = {0};
    memcpy(w->turned, w->table[form], (size_t)(e * e) * sizeof(double));
    turn(w, offset, e, w->turned);
    const int rc = otimes_spectrum_eigen(e, w->turned, scale, &spectrum, job->re + place * e,
                                         job->im + place * e, err);
    for (int64_t j = 0; j < e; j++) {
        sum += w->mean_left[composes_query(form)][j] * mean[j];
    }
    const double entry = sum / scale, diagonal = spectrum.trace / vocab;
    const double norm = job->value[QK_FULL_NORM][place];
    const double variance = norm * norm / (vocab * vocab) - entry * entry;
    job->value[QK_FULL_TRACE][place] = spectrum.trace;
    job->value[QK_FULL_COPYING][place] = spectrum.positivity;
    job->value[QK_ENTRY_MEAN][place] = entry;
    job->value[QK_DIAGONAL_MEAN][place] = diagonal;
    job->value[QK_DIAGONAL_EXCESS][place] =
        variance > 0 ? (diagonal - entry) / sqrt(variance) : NAN;
    return rc;
}

/* Forms first .. first+count-1 of a pair at every offset. */
static int measure(const qk_job *job, int64_t pair, int first, int count, otimes_err *err)
{
    const int64_t e = job->info->d_head, offsets = job->offset_count;
    pair_work w;
    int rc = new_work(job, pair, &w, err);
    if (rc == OTIMES_OK) {
        compose(&w);
    }
    for (int64_t o = 0; rc == OTIMES_OK && o < offsets; o++) {
        const double offset = (double)job->offsets[o];
        const int64_t place = pair * OTIMES_QK_FORMS * offsets + o;
        const qk_head *a = w.first, *b = w.second;
        norms(&w, &b->query, &b->key, &a->value, offset, first, count, QK_NORM, place);
        norms(&w, &b->full_query, &b->full_key, &a->full_value, offset, first, count, QK_FULL_NORM,
              place);
        memcpy(w.mean_right[0], b->mean_key, (size_t)e * sizeof(double));
        multiply(1, e, e, a->mean_value, w.into_key, w.mean_right[1]);
        turn(&w, offset, 1, w.mean_right[0]);
        turn(&w, offset, 1, w.mean_right[1]);
        for (int form = first; rc == OTIMES_OK && form < first + count; form++) {
            rc = over_vocabulary(&w, offset, form, place + form * offsets, err);
        }
    }
    otimes_free(w.memory);
    return rc;
}

static int measure_direct(void *context, int64_t item, int worker, otimes_err *err)
{
    const qk_job *job = context;
    (void)worker;
    return job->node[item].start < 0 ? OTIMES_OK : measure(job, job->node[item].start, 0, 1, err);
}

/* Pairs between two reports of progress. */
typedef struct qk_part {
    const qk_job *job;
    int64_t first;
} qk_part;

/* The composed forms, and the direct one as it was measured with the later head's first pair. */
static int measure_pair(void *context, int64_t item, int worker, otimes_err *err)
{
    const qk_part *part = context;
    const qk_job *job = part->job;
    const int64_t pair = part->first + item;
    const int64_t e = job->info->d_head, offsets = job->offset_count;
    const int64_t each = OTIMES_QK_FORMS * offsets;
    const int64_t from = job->node[job->second[pair]].start;
    const double ov = job->node[job->first[pair]].ov_norm;
    (void)worker;
    for (int v = 0; from != pair && v < QK_VALUES; v++) {
        if (v == QK_SCORE) { /* of the other pair, which may be at work */
            continue;
        }
        memcpy(job->value[v] + pair * each, job->value[v] + from * each,
               (size_t)offsets * sizeof(double));
    }
    if (from != pair) {
        const size_t size = (size_t)(offsets * e) * sizeof(double);
        memcpy(job->re + pair * each * e, job->re + from * each * e, size);
        memcpy(job->im + pair * each * e, job->im + from * each * e, size);
    }
    const int rc = measure(job, pair, OTIMES_QK_Q, OTIMES_QK_FORMS - 1, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < each; i++) {
        const int form = (int)(i / offsets);
        const double direct = job->value[QK_NORM][pair * each + i % offsets];
        const double parts =
            direct * (composes_query(form) ? ov : 1) * (composes_key(form) ? ov : 1);
        job->value[QK_SCORE][pair * each + i] =
            parts > 0 ? job->value[QK_NORM][pair * each + i] / parts : NAN;
    }
    return rc;
}

int otimes_qk_pairs(qk_job *job, otimes_err *err)
{
    enum { PART = 256 };
    int rc = otimes_par_for(job->nodes, job->model->threads, measure_direct, job, err);
    for (int64_t first = 0; rc == OTIMES_OK && first < job->pairs; first += PART) {
        const int64_t left = job->pairs - first, count = left < PART ? left : PART;
        qk_part part = {job, first};
        rc = otimes_par_for(count, job->model->threads, measure_pair, &part, err);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(job->sink, 2 + (double)(first + count) / (double)job->pairs,
                                      4, err);
        }
    }
    return rc;
}

/* ---- strongest entries ---- */

/* A and B of a form, [d_model, d_head]. */
static void make_ends(const pair_work *w, int form, double *left, double *right)
{
    const qk_job *job = w->job;
    const int64_t d = job->info->d_model, e = job->info->d_head;
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
    turn(w, (double)job->offsets[0], d, right);
}

static int find_entries(qk_job *job, int64_t listed, otimes_err *err)
{
    const otimes_qk_settings *s = job->settings;
    const int64_t d = job->info->d_model, e = job->info->d_head, n = s->entries;
    pair_work w;
    double *ends = NULL;
    otimes_strongest_entry *entry = NULL;
    int rc = new_work(job, job->order[listed], &w, err);
    rc = rc == OTIMES_OK ? OTIMES_NEW(&ends, 2 * d * e, err) : rc;
    rc = rc == OTIMES_OK ? OTIMES_NEW(&entry, n, err) : rc;
    if (rc == OTIMES_OK) {
        compose(&w);
    }
    for (int form = 0; rc == OTIMES_OK && form < OTIMES_QK_FORMS; form++) {
        const otimes_vocab_end end = {NULL, s->tokens, s->token_count};
        const otimes_strongest_ask ask = {.row = end,
                                          .column = end,
                                          .left = ends,
                                          .right = ends + d * e,
                                          .rank = e,
                                          .scale = 1 / job->info->attn_scale,
                                          .top = n};
        make_ends(&w, form, ends, ends + d * e);
        rc = otimes_strongest(job->model, &ask, entry, NULL, err);
        for (int64_t i = 0; rc == OTIMES_OK && i < n; i++) {
            const int64_t at = (listed * OTIMES_QK_FORMS + form) * n + i;
            job->entry_value[at] = (float)entry[i].value;
            job->entry_destination[at] = entry[i].row;
            job->entry_source[at] = entry[i].column;
        }
    }
    otimes_free(entry);
    otimes_free(ends);
    otimes_free(w.memory);
    return rc;
}

int otimes_qk_entries(qk_job *job, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && job->settings->entries > 0 && i < job->listed; i++) {
        rc = find_entries(job, i, err);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(job->sink, 3 + (double)(i + 1) / (double)job->listed, 4, err);
        }
    }
    return rc;
}
