/* SPDX-License-Identifier: MIT
 *
 * Links by cores: for each writer A = root^T B [depth, d], then for runs of readers whose bases lie one
 * behind the other T = A B_R^T in one product, and |T root_R| for each reader of a basis: readers that
 * share a basis, as the keys of grouped heads do, share T.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/par.h"
#include "num/la.h"
#include "run/links_job.h"

enum { RUN_BASES = 16 };

typedef struct scratch {
    float *a, *t, *u;
    int64_t *list; /* readers wanted of one writer */
} scratch;

typedef struct cores_job {
    const otimes_links *links;
    otimes_link_wanted *wanted;
    double *square;
    int64_t *order; /* [readers] */
    scratch *worker;
} cores_job;

static double square_sum(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return sum;
}

/* A = root^T B [depth, d] of the writer. */
static void write_rows(const otimes_links *links, const otimes_link_end *w, float *a)
{
    const int64_t d = links->d_model;
    if (w->basis) {
        otimes_la_default->sgemm(true, false, w->depth, d, w->rank, 1.0F, w->root, w->depth,
                                 w->basis, d, 0.0F, a, d);
        return;
    }
    for (int64_t i = 0; i < w->depth; i++) {
        for (int64_t k = 0; k < d; k++) {
            a[i * d + k] = w->root[k * w->depth + i];
        }
    }
}

static bool follows(const otimes_links *links, const otimes_link_end *a, const otimes_link_end *b)
{
    return a->basis && b->basis && a->rank == b->rank &&
           b->basis == a->basis + a->rank * links->d_model;
}

/* t points to A B_R^T [depth, .] with rows `stride` apart. */
static double link_square(const otimes_link_end *w, const otimes_link_end *r, const float *t,
                          int64_t stride, float *u)
{
    otimes_la_default->sgemm(false, false, w->depth, r->depth, r->rank, 1.0F, t, stride, r->root,
                             r->depth, 0.0F, u, r->depth);
    return square_sum(u, w->depth * r->depth);
}

/* Readers list[0 .. count-1] of one writer. */
static void link_list(const cores_job *job, int64_t writer, const int64_t *list, int64_t count,
                      scratch *s)
{
    const otimes_links *links = job->links;
    const otimes_link_end *w = &links->writer[writer], *reader = links->reader;
    const int64_t d = links->d_model;
    double *out = job->square + writer * links->readers;
    for (int64_t at = 0; at < count;) {
        const otimes_link_end *first = &reader[list[at]], *last = first;
        int64_t bases = 1, end = at + 1;
        while (end < count && (reader[list[end]].basis == last->basis ||
                               (bases < RUN_BASES && follows(links, last, &reader[list[end]])))) {
            bases += reader[list[end]].basis != last->basis;
            last = &reader[list[end++]];
        }
        const int64_t width = first->basis ? bases * first->rank : d;
        const float *t = s->a;
        if (first->basis) {
            otimes_la_default->sgemm(false, true, w->depth, width, d, 1.0F, s->a, d, first->basis,
                                     d, 0.0F, s->t, width);
            t = s->t;
        }
        for (int64_t column = 0; at < end; at++) {
            const otimes_link_end *r = &reader[list[at]];
            if (r->basis) {
                column = (r->basis - first->basis) / d;
            }
            out[list[at]] = link_square(w, r, t + column, width, s->u);
        }
    }
}

static int one_writer(void *context, int64_t writer, int worker, otimes_err *err)
{
    const cores_job *job = context;
    const otimes_links *links = job->links;
    const otimes_link_end *w = &links->writer[writer];
    scratch *s = &job->worker[worker];
    int64_t count = 0;
    (void)err;
    for (int64_t k = 0; k < links->readers; k++) {
        const int64_t r = job->order[k];
        if (otimes_link_exists(w, &links->reader[r]) &&
            (!job->wanted || job->wanted(links, job->square, writer, r))) {
            s->list[count++] = r;
        }
    }
    if (count > 0) {
        write_rows(links, w, s->a);
        link_list(job, writer, s->list, count, s);
    }
    return OTIMES_OK;
}

/* By basis, and the identity last; equal ones as they stand. */
static int by_basis(const void *a, const void *b, void *context)
{
    const otimes_links *links = context;
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    const uintptr_t p = (uintptr_t)links->reader[i].basis - 1;
    const uintptr_t q = (uintptr_t)links->reader[j].basis - 1;
    return p != q ? (p < q ? -1 : 1) : i < j ? -1 : i > j;
}

static int64_t largest(const otimes_link_end *end, int64_t count, bool depth)
{
    int64_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t value = depth ? end[i].depth : end[i].rank;
        most = value > most ? value : most;
    }
    return most;
}

int otimes_links_by_cores(const otimes_links *links, otimes_link_wanted *wanted, double *square,
                          otimes_err *err)
{
    const int workers = otimes_par_workers(links->writers, links->threads);
    const int64_t depth = largest(links->writer, links->writers, true);
    const int64_t rank = largest(links->reader, links->readers, false);
    const int64_t depth_read = largest(links->reader, links->readers, true);
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    cores_job job = {.links = links, .wanted = wanted, .square = square};
    job.order = otimes_pool_new(&pool, links->readers, sizeof *job.order, &rc, err);
    job.worker = otimes_pool_new(&pool, workers, sizeof *job.worker, &rc, err);
    for (int i = 0; rc == OTIMES_OK && i < workers; i++) {
        scratch *s = &job.worker[i];
        s->a = otimes_pool_new(&pool, depth * links->d_model, sizeof(float), &rc, err);
        s->t = otimes_pool_new(&pool, depth * rank * RUN_BASES, sizeof(float), &rc, err);
        s->u = otimes_pool_new(&pool, depth * depth_read, sizeof(float), &rc, err);
        s->list = otimes_pool_new(&pool, links->readers, sizeof *s->list, &rc, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < links->readers; i++) {
        job.order[i] = i;
    }
    if (rc == OTIMES_OK) {
        qsort_r(job.order, (size_t)links->readers, sizeof *job.order, by_basis, (void *)links);
    }
    /* In pieces, so that it can be stopped. */
    const int64_t piece = 64;
    for (int64_t first = 0; rc == OTIMES_OK && first < links->writers; first += piece) {
        const int64_t count = links->writers - first < piece ? links->writers - first : piece;
        otimes_links part = *links;
        part.writer += first;
        part.writers = count;
        cores_job now = job;
        now.links = &part;
        now.square = square + first * links->readers;
        rc = otimes_par_for(count, links->threads, one_writer, &now, err);
        if (rc == OTIMES_OK && links->tick && !wanted) {
            rc = links->tick(links->context, (double)(first + count) / (double)links->writers, err);
        }
    }
    otimes_pool_free(&pool);
    return rc;
}
