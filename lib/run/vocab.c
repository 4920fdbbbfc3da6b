/* SPDX-License-Identifier: MIT */
#include "run/vocab.h"

#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "model/model.h"
#include "num/la.h"

enum { TILE_BYTES = 8 << 20, FEWEST_ROWS = 64 };

int64_t otimes_vocab_tile_rows(int64_t d_model, int64_t most)
{
    const int64_t fit = TILE_BYTES / (int64_t)sizeof(double) / (d_model ? d_model : 1);
    const int64_t rows = fit < FEWEST_ROWS ? FEWEST_ROWS : fit;
    return rows < most ? rows : most > 0 ? most : 1;
}

static int read_run(const otimes_model *model, const otimes_unembed *unembed, int64_t first,
                    int64_t count, float *out, otimes_err *err)
{
    return unembed ? otimes_unembed_rows(unembed, first, count, out, err)
                   : otimes_embed_rows(model, first, count, out, err);
}

int otimes_vocab_rows(const otimes_model *model, const otimes_unembed *unembed, const int64_t *ids,
                      int64_t first, int64_t count, float *out, otimes_err *err)
{
    const int64_t d = otimes_model_describe(model)->d_model;
    if (!ids) {
        return read_run(model, unembed, first, count, out, err);
    }
    int rc = OTIMES_OK;
    for (int64_t at = 0, run; rc == OTIMES_OK && at < count; at += run) {
        const int64_t *id = ids + first + at;
        for (run = 1; at + run < count && id[run] == id[0] + run;) {
            run++;
        }
        rc = read_run(model, unembed, id[0], run, out + at * d, err);
    }
    return rc;
}

static void widen(const float *source, int64_t count, double *out)
{
    for (int64_t i = 0; i < count; i++) {
        out[i] = (double)source[i];
    }
}

/* One tile of each end and the running sums. */
typedef struct sums {
    int64_t d_model;
    int threads;
    float *narrow;           /* [tile rows, d_model] */
    double *embed, *unembed; /* the same, widened */
    double *G_E, *G_U, *G_P, *M;
} sums;

/* Columns of a sum that one worker adds to: fixed, so that every number is the same at any number
 * of threads. */
enum { SUM_COLUMNS = 128 };

/* sum += left^T right over a tile; left == right adds to the upper triangle alone. */
typedef struct addition {
    int64_t rows, d;
    const double *left, *right;
    double *sum;
} addition;

static int add_columns(void *context, int64_t block, int worker, otimes_err *err)
{
    const addition *a = context;
    const otimes_la *la = otimes_la_default;
    const int64_t first = block * SUM_COLUMNS, d = a->d;
    const int64_t columns = d - first < SUM_COLUMNS ? d - first : SUM_COLUMNS;
    const bool symmetric = a->left == a->right;
    (void)worker;
    (void)err;
    la->dgemm(true, false, symmetric ? first : d, columns, a->rows, 1.0, a->left, d,
              a->right + first, d, 1.0, a->sum + first, d);
    if (symmetric) {
        la->dsyrk(a->rows, columns, a->left + first, d, a->sum + first * d + first, d);
    }
    return OTIMES_OK;
}

static int add_tile(const sums *s, int64_t rows, const double *left, const double *right,
                    double *sum, otimes_err *err)
{
    addition a = {rows, s->d_model, left, right, sum};
    return otimes_par_for((s->d_model + SUM_COLUMNS - 1) / SUM_COLUMNS, s->threads, add_columns, &a,
                          err);
}

static int add_embedding(const otimes_model *model, int64_t first, int64_t count, sums *s,
                         otimes_err *err)
{
    int rc = otimes_embed_rows(model, first, count, s->narrow, err);
    if (rc == OTIMES_OK) {
        widen(s->narrow, count * s->d_model, s->embed);
        rc = add_tile(s, count, s->embed, s->embed, s->G_E, err);
    }
    return rc;
}

static int add_unembedding(const otimes_unembed *unembed, int64_t first, int64_t count, sums *s,
                           otimes_err *err)
{
    int rc = otimes_unembed_rows(unembed, first, count, s->narrow, err);
    if (rc == OTIMES_OK) {
        widen(s->narrow, count * s->d_model, s->unembed);
        rc = add_tile(s, count, s->unembed, s->unembed, s->G_U, err);
    }
    return rc;
}

/* Both ends in step, so that M comes from tiles that are there anyway. */
static int add_tokens(const otimes_model *model, const otimes_unembed *unembed, sums *s,
                      int (*tick)(void *, double, otimes_err *), void *context, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t in = info->d_vocab, out = info->d_vocab_out, d = s->d_model;
    const int64_t longest = in > out ? in : out, rows = otimes_vocab_tile_rows(d, longest);
    int rc = OTIMES_OK;
    for (int64_t first = 0; rc == OTIMES_OK && first < longest; first += rows) {
        const int64_t of_in = in - first < rows ? in - first : rows;
        const int64_t of_out = out - first < rows ? out - first : rows;
        if (of_in > 0) {
            rc = add_embedding(model, first, of_in, s, err);
        }
        if (rc == OTIMES_OK && of_out > 0) {
            rc = add_unembedding(unembed, first, of_out, s, err);
        }
        if (rc == OTIMES_OK && s->M) {
            rc = add_tile(s, of_in, s->unembed, s->embed, s->M, err);
        }
        if (rc == OTIMES_OK && tick) {
            rc = tick(context, (double)first / (double)longest, err);
        }
    }
    return rc;
}

/* The whole of a symmetric matrix whose upper triangle was summed. */
static void mirror(double *G, int64_t d)
{
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j < i; j++) {
            G[i * d + j] = G[j * d + i];
        }
    }
}

/* X C, C the projection that takes away the mean: each row minus its mean. */
static void center_right(double *X, int64_t d)
{
    for (int64_t i = 0; i < d; i++) {
        double mean = 0;
        for (int64_t j = 0; j < d; j++) {
            mean += X[i * d + j] / (double)d;
        }
        for (int64_t j = 0; j < d; j++) {
            X[i * d + j] -= mean;
        }
    }
}

static void transpose(double *X, int64_t d)
{
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j < i; j++) {
            const double x = X[i * d + j];
            X[i * d + j] = X[j * d + i];
            X[j * d + i] = x;
        }
    }
}

/* X L^T, L = C diag(w): what folding the final norm does to each row of W_U^T. */
static void fold_right(const otimes_unembed *unembed, double *X, int64_t d)
{
    for (int64_t i = 0; unembed->fold && i < d; i++) {
        for (int64_t j = 0; j < d; j++) {
            X[i * d + j] *= (double)unembed->fold[j];
        }
    }
    const otimes_model_info *info = otimes_model_describe(unembed->model);
    if (info->fold_ln == OTIMES_STEP_APPLIED && info->norm == OTIMES_NORM_LN) {
        center_right(X, d);
    }
}

/* With one matrix at both ends every form is the raw Gram G of its rows under the projections of
 * the processing: E = G, centred both ways; W_U's rows are L (e - mean e), times what the model
 * multiplies logits by but not embeddings. A quarter of the work of two Grams and M. */
static int add_tied_tokens(const otimes_model *model, const otimes_unembed *unembed, sums *s,
                           int (*tick)(void *, double, otimes_err *), void *context,
                           otimes_err *err)
{
    const otimes_binding *W_E = otimes_model_binding(model, OTIMES_SLOT_W_E, -1);
    const double scale =
        (double)otimes_model_binding(model, OTIMES_SLOT_W_U, -1)->scale / (double)W_E->scale;
    const int64_t vocab = model->info.d_vocab, d = s->d_model;
    const int64_t rows = otimes_vocab_tile_rows(d, vocab);
    double *sum;
    int rc = OTIMES_NEW(&sum, d, err);
    for (int64_t first = 0; rc == OTIMES_OK && first < vocab; first += rows) {
        const int64_t count = vocab - first < rows ? vocab - first : rows;
        rc = otimes_binding_read(model, W_E, first, count, s->narrow, err);
        if (rc == OTIMES_OK) {
            widen(s->narrow, count * d, s->embed);
            for (int64_t i = 0; i < count; i++) {
                for (int64_t j = 0; j < d; j++) {
                    sum[j] += s->embed[i * d + j];
                }
            }
            rc = add_tile(s, count, s->embed, s->embed, s->G_E, err);
        }
        if (rc == OTIMES_OK && tick) {
            rc = tick(context, (double)first / (double)vocab, err);
        }
    }
    if (rc == OTIMES_OK) {
        mirror(s->G_E, d);
        for (int64_t i = 0; i < d; i++) {
            for (int64_t j = 0; j < d; j++) {
                const double common = unembed->mean ? sum[i] * sum[j] / (double)vocab : 0;
                s->M[i * d + j] = s->G_E[i * d + j] - common;
            }
        }
        fold_right(unembed, s->M, d); /* X L^T, whose transpose is L X */
        transpose(s->M, d);
        memcpy(s->G_U, s->M, (size_t)(d * d) * sizeof *s->G_U);
        fold_right(unembed, s->G_U, d); /* L X L^T */
        for (int64_t i = 0; scale != 1 && i < d * d; i++) {
            s->M[i] *= scale;
            s->G_U[i] *= scale * scale;
        }
        if (model->info.center_writing_weights == OTIMES_STEP_APPLIED) {
            center_right(s->M, d);
            center_right(s->G_E, d);
            transpose(s->G_E, d);
            center_right(s->G_E, d);
        }
    }
    otimes_free(sum);
    return rc;
}

static int add_positions(const otimes_model *model, sums *s, otimes_err *err)
{
    const int64_t n_ctx = otimes_model_describe(model)->n_ctx, d = s->d_model;
    const int64_t rows = otimes_vocab_tile_rows(d, n_ctx);
    int rc = OTIMES_OK;
    for (int64_t first = 0; rc == OTIMES_OK && first < n_ctx; first += rows) {
        const int64_t count = n_ctx - first < rows ? n_ctx - first : rows;
        rc = otimes_position_rows(model, first, count, s->narrow, err);
        if (rc == OTIMES_OK) {
            widen(s->narrow, count * d, s->embed);
            rc = add_tile(s, count, s->embed, s->embed, s->G_P, err);
        }
    }
    return rc;
}

/* G becomes its root, in memory of its own; G is freed. */
static int take_root(double **G, int64_t d, double **root, int64_t *rank, otimes_err *err)
{
    int rc = otimes_new_((void **)root, d * d, sizeof **root, "Gram root", err);
    if (rc == OTIMES_OK) {
        const int code = otimes_la_default->dpsqrt(d, *G, d, *root, d, rank);
        rc = code == OTIMES_OK ? code
                               : otimes_fail(err, code, "Gram root: %s", otimes_strerror(code));
    }
    otimes_free(*G);
    *G = NULL;
    return rc;
}

static int new_square(double **matrix, int64_t d, otimes_err *err)
{
    return otimes_new_((void **)matrix, d * d, sizeof **matrix, "Gram", err);
}

static int new_tiles(const otimes_model_info *info, sums *s, otimes_err *err)
{
    const int64_t vocab = info->d_vocab > info->d_vocab_out ? info->d_vocab : info->d_vocab_out;
    const int64_t most = info->n_ctx > vocab ? info->n_ctx : vocab;
    const int64_t count = otimes_vocab_tile_rows(s->d_model, most) * s->d_model;
    int rc = OTIMES_NEW(&s->narrow, count, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&s->embed, count, err);
    }
    return rc == OTIMES_OK ? OTIMES_NEW(&s->unembed, count, err) : rc;
}

static void free_tiles(sums *s)
{
    otimes_free(s->narrow);
    otimes_free(s->embed);
    otimes_free(s->unembed);
    s->narrow = NULL;
    s->embed = s->unembed = NULL;
}

int otimes_vocab_forms_compute(const otimes_model *model, const otimes_unembed *unembed,
                               int (*tick)(void *context, double share, otimes_err *err),
                               void *context, otimes_vocab_forms *forms, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model;
    const bool positions = otimes_has_positions(model);
    sums s = {.d_model = d, .threads = model->threads};
    *forms = (otimes_vocab_forms){.d_model = d};
    int rc = new_tiles(info, &s, err);
    if (rc == OTIMES_OK) {
        rc = new_square(&s.G_E, d, err);
    }
    if (rc == OTIMES_OK) {
        rc = new_square(&s.G_U, d, err);
    }
    if (rc == OTIMES_OK && info->d_vocab == info->d_vocab_out) {
        rc = new_square(&s.M, d, err);
    }
    if (rc == OTIMES_OK) {
        rc = info->tied ? add_tied_tokens(model, unembed, &s, tick, context, err)
                        : add_tokens(model, unembed, &s, tick, context, err);
    }
    if (rc == OTIMES_OK && positions) {
        rc = new_square(&s.G_P, d, err);
    }
    if (rc == OTIMES_OK && positions) {
        rc = add_positions(model, &s, err);
    }
    free_tiles(&s);
    if (rc == OTIMES_OK) {
        rc = take_root(&s.G_E, d, &forms->embed_root, &forms->embed_rank, err);
    }
    if (rc == OTIMES_OK) {
        rc = take_root(&s.G_U, d, &forms->unembed_root, &forms->unembed_rank, err);
    }
    if (rc == OTIMES_OK && positions) {
        rc = take_root(&s.G_P, d, &forms->position_root, &forms->position_rank, err);
    }
    forms->cross = s.M;
    otimes_free(s.G_E);
    otimes_free(s.G_U);
    otimes_free(s.G_P);
    if (rc != OTIMES_OK) {
        otimes_vocab_forms_free(forms);
    }
    return rc;
}

void otimes_vocab_forms_free(otimes_vocab_forms *forms)
{
    otimes_free(forms->embed_root);
    otimes_free(forms->unembed_root);
    otimes_free(forms->position_root);
    otimes_free(forms->cross);
    *forms = (otimes_vocab_forms){0};
}
