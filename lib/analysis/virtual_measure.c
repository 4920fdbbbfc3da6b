/* SPDX-License-Identifier: MIT
 *
 * Listed chains as heads of their own: W = L R^T with L = U1 Z and R = Yn, [d_model, rank] each.
 */
#include <math.h>

#include "analysis/virtual_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"
#include "num/la.h"
#include "run/spectrum.h"
#include "run/strongest.h"

static int new_results(virtual_job *job, otimes_err *err)
{
    virtual_results *x = &job->results;
    const int64_t n = job->chains, each = n * job->rank, links = n * job->longest;
    const int64_t entries = n * job->settings->entries;
    const size_t size = sizeof(double);
    otimes_pool *pool = &job->pool;
    int rc = OTIMES_OK;
    x->length = otimes_pool_new(pool, n, sizeof *x->length, &rc, err);
    x->layer = otimes_pool_new(pool, links, sizeof *x->layer, &rc, err);
    x->head = otimes_pool_new(pool, links, sizeof *x->head, &rc, err);
    double **const by_chain[] = {&x->norm,           &x->expected, &x->score,  &x->ratio,
                                 &x->effective_rank, &x->trace,    &x->copying};
    for (size_t i = 0; i < sizeof by_chain / sizeof by_chain[0]; i++) {
        *by_chain[i] = otimes_pool_new(pool, n, size, &rc, err);
    }
    x->singular_values = otimes_pool_new(pool, each, size, &rc, err);
    if (!job->settings->vocab) {
        return rc;
    }
    x->full_norm = otimes_pool_new(pool, n, size, &rc, err);
    x->full_singular_values = otimes_pool_new(pool, each, size, &rc, err);
    x->entry_value = otimes_pool_new(pool, entries, sizeof(float), &rc, err);
    x->entry_source = otimes_pool_new(pool, entries, sizeof(int32_t), &rc, err);
    x->entry_output = otimes_pool_new(pool, entries, sizeof(int32_t), &rc, err);
    if (job->info->d_vocab == job->info->d_vocab_out) {
        x->full_trace = otimes_pool_new(pool, n, size, &rc, err);
        x->full_copying = otimes_pool_new(pool, n, size, &rc, err);
        x->full_eigenvalues_real = otimes_pool_new(pool, each, size, &rc, err);
        x->full_eigenvalues_imag = otimes_pool_new(pool, each, size, &rc, err);
    }
    return rc;
}

/* Z = S1 (Y1^T U2) S2 ... of the chain, with its own weights. */
static int make_core(const virtual_job *job, const int32_t *node, int64_t length, double *core,
                     otimes_err *err)
{
    const otimes_la *la = otimes_la_default;
    const int64_t r = job->rank, d = job->info->d_model;
    double *next, *link;
    int rc = OTIMES_NEW(&next, 2 * r * r, err);
    link = next ? next + r * r : NULL;
    for (int64_t a = 0; rc == OTIMES_OK && a < r * r; a++) {
        core[a] = a / r == a % r ? job->sigma[node[0] * r + a / r] : 0;
    }
    for (int64_t k = 1; rc == OTIMES_OK && k < length; k++) {
        la->dgemm(false, true, r, r, d, 1.0, job->write + node[k - 1] * r * d, d,
                  job->read + node[k] * r * d, d, 0.0, link, r);
        la->dgemm(false, false, r, r, r, 1.0, core, r, link, r, 0.0, next, r);
        for (int64_t a = 0; a < r * r; a++) {
            core[a] = next[a] * job->sigma[node[k] * r + a % r];
        }
    }
    otimes_free(next);
    return rc;
}

static int empty_side(int64_t rows, int64_t rank, otimes_side *side, otimes_err *err)
{
    *side = (otimes_side){.rows = rows, .rank = rank, .r_rows = rows < rank ? rows : rank};
    return OTIMES_NEW(&side->x, rows * rank, err);
}

/* L and R of a chain. */
static int make_sides(const virtual_job *job, int64_t chain, otimes_side *left, otimes_side *right,
                      otimes_err *err)
{
    const int64_t r = job->rank, d = job->info->d_model;
    const int32_t *node = job->chain + chain * job->longest;
    const int64_t length = job->results.length[chain];
    double *core;
    int rc = OTIMES_NEW(&core, r * r, err);
    if (rc == OTIMES_OK) {
        rc = make_core(job, node, length, core, err);
    }
    if (rc == OTIMES_OK) {
        rc = empty_side(d, r, left, err);
    }
    if (rc == OTIMES_OK) {
        rc = empty_side(d, r, right, err);
    }
    if (rc == OTIMES_OK) {
        const double *last = job->write + node[length - 1] * r * d;
        otimes_la_default->dgemm(true, false, d, r, r, 1.0, job->read + node[0] * r * d, d, core, r,
                                 0.0, left->x, r);
        for (int64_t a = 0; a < d * r; a++) {
            right->x[a] = last[a % r * d + a / r];
        }
    }
    otimes_free(core);
    return rc;
}

static int factorise(otimes_side *left, otimes_side *right, otimes_err *err)
{
    const int rc = otimes_side_factorise(left, false, err);
    return rc == OTIMES_OK ? otimes_side_factorise(right, false, err) : rc;
}

/* Norms, and what random subspaces would have given. */
static void compare(virtual_job *job, int64_t chain, double norm)
{
    virtual_results *x = &job->results;
    double heads = 1, expected = 1;
    for (int64_t k = 0; k < x->length[chain]; k++) {
        heads *= job->norm[job->chain[chain * job->longest + k]];
        expected /= k > 0 ? sqrt(job->dimension) : 1;
    }
    expected *= heads;
    x->norm[chain] = norm;
    x->expected[chain] = expected;
    x->score[chain] = heads > 0 ? norm / heads : NAN;
    x->ratio[chain] = expected > 0 ? norm / expected : NAN;
}

/* Scratch of one chain: two lists of eigenvalues and a small product. */
typedef struct scratch {
    double *inner, *re, *im;
} scratch;

static int measure_stream(virtual_job *job, int64_t chain, otimes_factored w, scratch *s,
                          otimes_err *err)
{
    virtual_results *x = &job->results;
    otimes_spectrum spectrum = {0};
    int rc = otimes_spectrum_singular(w, 1, &spectrum, x->singular_values + chain * job->rank, err);
    if (rc == OTIMES_OK) {
        otimes_factored_inner(w, s->inner);
        rc = otimes_spectrum_eigen(job->rank, s->inner, 1, &spectrum, s->re, s->im, err);
    }
    if (rc == OTIMES_OK) {
        compare(job, chain, spectrum.norm);
        x->effective_rank[chain] = spectrum.effective_rank;
        x->trace[chain] = spectrum.trace;
        x->copying[chain] = spectrum.positivity;
    }
    return rc;
}

/* Singular values over the vocabulary, through the roots of both Grams. */
static int measure_full(virtual_job *job, int64_t chain, otimes_factored w, otimes_err *err)
{
    virtual_results *x = &job->results;
    const otimes_vocab_forms *f = &job->forms;
    otimes_side left = {0}, right = {0};
    otimes_spectrum spectrum = {0};
    int rc = otimes_side_map(&left, f->embed_rank, f->embed_root, w.a, err);
    if (rc == OTIMES_OK) {
        rc = otimes_side_map(&right, f->unembed_rank, f->unembed_root, w.b, err);
    }
    if (rc == OTIMES_OK) {
        rc = factorise(&left, &right, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_spectrum_singular((otimes_factored){&left, &right}, 1, &spectrum,
                                      x->full_singular_values + chain * job->rank, err);
        x->full_norm[chain] = spectrum.norm;
    }
    otimes_side_free(&left);
    otimes_side_free(&right);
    return rc;
}

/* eig(R^T M L), M = W_U W_E. */
static int measure_full_eigenvalues(virtual_job *job, int64_t chain, otimes_factored w, scratch *s,
                                    otimes_err *err)
{
    virtual_results *x = &job->results;
    const int64_t d = job->info->d_model;
    otimes_side crossed = {0};
    otimes_spectrum spectrum = {0};
    int rc = otimes_side_map(&crossed, d, job->forms.cross, w.a, err);
    if (rc == OTIMES_OK) {
        otimes_factored_inner((otimes_factored){&crossed, w.b}, s->inner);
        rc = otimes_spectrum_eigen(job->rank, s->inner, 1, &spectrum,
                                   x->full_eigenvalues_real + chain * job->rank,
                                   x->full_eigenvalues_imag + chain * job->rank, err);
        x->full_trace[chain] = spectrum.trace;
        x->full_copying[chain] = spectrum.positivity;
    }
    otimes_side_free(&crossed);
    return rc;
}

static int measure_chain(void *context, int64_t chain, int worker, otimes_err *err)
{
    virtual_job *job = context;
    const int64_t r = job->rank;
    otimes_side left = {0}, right = {0};
    scratch s = {0};
    int rc = OTIMES_NEW(&s.inner, r * r + 2 * r, err);
    (void)worker;
    if (rc == OTIMES_OK) {
        s.re = s.inner + r * r;
        s.im = s.re + r;
        rc = make_sides(job, chain, &left, &right, err);
    }
    const otimes_factored w = {&left, &right};
    if (rc == OTIMES_OK) {
        rc = factorise(&left, &right, err);
    }
    if (rc == OTIMES_OK) {
        rc = measure_stream(job, chain, w, &s, err);
    }
    if (rc == OTIMES_OK && job->settings->vocab) {
        rc = measure_full(job, chain, w, err);
    }
    if (rc == OTIMES_OK && job->results.full_trace) {
        rc = measure_full_eigenvalues(job, chain, w, &s, err);
    }
    otimes_side_free(&left);
    otimes_side_free(&right);
    otimes_free(s.inner);
    return rc;
}

/* The strongest entries of W_E L R^T W_U. */
static int read_entries(virtual_job *job, int64_t chain, otimes_strongest_entry *entry,
                        otimes_err *err)
{
    const otimes_virtual_settings *settings = job->settings;
    const int64_t first = chain * settings->entries;
    otimes_side left = {0}, right = {0};
    int rc = make_sides(job, chain, &left, &right, err);
    const otimes_vocab_end tokens = {NULL, settings->tokens, settings->token_count};
    otimes_strongest_ask ask = {.row = tokens,
                                .column = tokens,
                                .left = left.x,
                                .right = right.x,
                                .rank = job->rank,
                                .scale = 1,
                                .top = settings->entries};
    ask.column.unembed = &job->unembed;
    if (rc == OTIMES_OK) {
        rc = otimes_strongest(job->model, &ask, entry, NULL, err);
    }
    for (int64_t k = 0; rc == OTIMES_OK && k < settings->entries; k++) {
        job->results.entry_value[first + k] = (float)entry[k].value;
        job->results.entry_source[first + k] = entry[k].row;
        job->results.entry_output[first + k] = entry[k].column;
    }
    otimes_side_free(&left);
    otimes_side_free(&right);
    return rc;
}

static int read_tables(virtual_job *job, otimes_err *err)
{
    otimes_strongest_entry *entry;
    int rc = OTIMES_NEW(&entry, job->settings->entries, err);
    for (int64_t i = 0; rc == OTIMES_OK && job->settings->entries > 0 && i < job->chains; i++) {
        rc = read_entries(job, i, entry, err);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(job->sink, 3 + (double)i / (double)job->chains, 4, err);
        }
    }
    otimes_free(entry);
    return rc;
}

static int tick(void *context, double share, otimes_err *err)
{
    (void)share; /* as much as the search, which came to an end at 3 */
    return otimes_sink_progress(context, 3, 4, err);
}

static int read_vocabulary(virtual_job *job, otimes_err *err)
{
    const int rc = otimes_unembed_open(job->model, &job->unembed, err);
    return rc == OTIMES_OK ? otimes_vocab_forms_compute(job->model, &job->unembed, tick, job->sink,
                                                        &job->forms, err)
                           : rc;
}

static void name_links(virtual_job *job)
{
    virtual_results *x = &job->results;
    for (int64_t i = 0; i < job->chains * job->longest; i++) {
        const int32_t node = job->chain[i];
        x->length[i / job->longest] += node >= 0;
        x->layer[i] = node >= 0 ? job->layers[node / job->head_count] : -1;
        x->head[i] = node >= 0 ? job->heads[node % job->head_count] : -1;
    }
}

int otimes_virtual_measure(virtual_job *job, otimes_err *err)
{
    const bool vocab = job->settings->vocab && job->chains > 0;
    int rc = new_results(job, err);
    if (rc == OTIMES_OK) {
        name_links(job);
        rc = vocab ? read_vocabulary(job, err) : OTIMES_OK;
    }
    if (rc == OTIMES_OK) {
        rc = otimes_par_for(job->chains, job->model->threads, measure_chain, job, err);
    }
    return rc == OTIMES_OK && vocab ? read_tables(job, err) : rc;
}
