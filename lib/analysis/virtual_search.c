/* SPDX-License-Identifier: MIT
 *
 * The strongest chains of each length among numbers that could never be listed: depth first from
 * every pair, the most promising pairs first, without the continuations that cannot enter a list
 * (virtual_links.c has the bound).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/virtual_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"
#include "num/la.h"

/* ---- a list ---- */

static bool before(const virtual_list *list, double value, const int32_t *node, int64_t at)
{
    if (value != list->value[at]) {
        return value > list->value[at];
    }
    const int32_t *other = list->node + at * list->length;
    for (int64_t k = 0; k < list->length; k++) {
        if (node[k] != other[k]) {
            return node[k] < other[k];
        }
    }
    return false;
}

static int make_room(virtual_list *list, otimes_err *err)
{
    if (list->count < list->room) {
        return OTIMES_OK;
    }
    const int64_t room = list->room ? 2 * list->room : 16;
    double *value = otimes_realloc(list->value, room, sizeof *value);
    list->value = value ? value : list->value;
    int32_t *node = value ? otimes_realloc(list->node, room * list->length, sizeof *node) : NULL;
    list->node = node ? node : list->node;
    if (!node) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "chains: no memory for %lld of them",
                           (long long)room);
    }
    list->room = room;
    return OTIMES_OK;
}

int otimes_virtual_offer(virtual_list *list, double value, const int32_t *node, otimes_err *err)
{
    const int64_t length = list->length, last = list->count - 1;
    if (list->capacity == 0 ||
        (list->count == list->capacity && !before(list, value, node, last))) {
        return OTIMES_OK;
    }
    int64_t low = 0, high = list->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (before(list, value, node, middle)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if (list->count == list->capacity) {
        list->count--;
    } else {
        const int rc = make_room(list, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
    }
    const size_t behind = (size_t)(list->count - low);
    memmove(list->value + low + 1, list->value + low, behind * sizeof *list->value);
    memmove(list->node + (low + 1) * length, list->node + low * length,
            behind * (size_t)length * sizeof *list->node);
    list->value[low] = value;
    memcpy(list->node + low * length, node, (size_t)length * sizeof *node);
    list->count++;
    return OTIMES_OK;
}

double otimes_virtual_least(const virtual_list *list)
{
    if (list->capacity == 0) {
        return INFINITY;
    }
    return list->count < list->capacity ? 0 : list->value[list->count - 1];
}

void otimes_virtual_list_free(virtual_list *list)
{
    otimes_free(list->value);
    otimes_free(list->node);
}

/* ---- one pair and all that follows it ---- */

/* Bounds are products of rounded numbers. */
#define SLACK (1 + 1e-12)

typedef struct root {
    double promise;
    int32_t first, second;
} root;

typedef struct descent {
    const virtual_job *job;
    virtual_list *own;      /* [length + 1] of this descent */
    virtual_census *census; /* [length + 1] of this descent */
    int64_t budget;         /* chains it may still examine */
    double *core;           /* [length + 1, rank, rank] Z of the chain at hand by length */
    int32_t *node;          /* [length] the chain at hand */
} descent;

static double needed(const descent *t, int64_t length)
{
    return fmax(otimes_virtual_least(&t->job->list[length]), otimes_virtual_least(&t->own[length]));
}

/* Whether a chain of `length` and of this norm bound, ending in node, can go on to enter a list;
 * where nothing may be examined any more, what is left out is noted instead. */
static bool promising(descent *t, int64_t length, double most, int64_t node)
{
    const virtual_job *job = t->job;
    for (int64_t n = length; n <= job->length; n++) {
        const double bound = most * job->reach[(n - length) * job->nodes + node] * SLACK;
        if (!(bound >= needed(t, n))) {
            continue;
        }
        if (t->budget > 0) {
            return true;
        }
        t->census[n].unlisted = fmax(t->census[n].unlisted, bound);
    }
    return false;
}

static int descend(descent *t, int64_t length, double norm, otimes_err *err)
{
    const virtual_job *job = t->job;
    const int64_t r = job->rank, last = t->node[length - 1];
    const double *core = t->core + length * r * r;
    int rc = OTIMES_OK;
    if (length == job->length) {
        return OTIMES_OK;
    }
    for (int64_t j = otimes_virtual_later(job, last); rc == OTIMES_OK && j < job->nodes; j++) {
        if (!promising(t, length + 1, norm * job->link_largest[last * job->nodes + j], j)) {
            continue;
        }
        double *next = t->core + (length + 1) * r * r;
        otimes_la_default->dgemm(false, false, r, r, r, 1.0, core, r,
                                 otimes_virtual_link_of(job, last, j), r, 0.0, next, r);
        const double found = otimes_norm_of_singular_values(next, r * r);
        t->budget--;
        t->census[length + 1].examined++;
        t->node[length] = (int32_t)j;
        rc = otimes_virtual_offer(&t->own[length + 1], found, t->node, err);
        if (rc == OTIMES_OK) {
            rc = descend(t, length + 1, found, err);
        }
    }
    return rc;
}

/* Descents that start side by side; fixed, so that what each knows of the others' finds does not
 * depend on the number of threads. */
enum { WAVE = 32 };

typedef struct wave {
    const virtual_job *job;
    const root *root;
    int64_t budget;         /* of each descent */
    virtual_list *list;     /* [WAVE, length + 1] */
    virtual_census *census; /* [WAVE, length + 1] */
} wave;

static int run_descent(void *context, int64_t item, int worker, otimes_err *err)
{
    const wave *w = context;
    const virtual_job *job = w->job;
    const int64_t r = job->rank, i = w->root[item].first, j = w->root[item].second;
    descent t = {.job = job,
                 .own = w->list + item * (job->length + 1),
                 .census = w->census + item * (job->length + 1),
                 .budget = w->budget};
    int rc = OTIMES_NEW(&t.core, (job->length + 1) * r * r, err);
    (void)worker;
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&t.node, job->length, err);
    }
    if (rc == OTIMES_OK) {
        const double *link = otimes_virtual_link_of(job, i, j);
        for (int64_t a = 0; a < r * r; a++) {
            t.core[2 * r * r + a] = job->sigma[i * r + a / r] / job->unit[i] * link[a];
        }
        t.node[0] = (int32_t)i;
        t.node[1] = (int32_t)j;
        rc = descend(&t, 2, otimes_virtual_strength(job, i, j), err);
    }
    otimes_free(t.core);
    otimes_free(t.node);
    return rc;
}

/* What the descents found goes into the lists of all. */
static int gather(virtual_job *job, wave *w, int64_t *budget, otimes_err *err)
{
    const int64_t stride = job->length + 1;
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < WAVE * stride; at++) {
        virtual_list *own = &w->list[at];
        virtual_census *all = &job->census[at % stride], *part = &w->census[at];
        for (int64_t k = 0; rc == OTIMES_OK && k < own->count; k++) {
            rc = otimes_virtual_offer(&job->list[at % stride], own->value[k],
                                      own->node + k * own->length, err);
        }
        all->examined += part->examined;
        all->unlisted = fmax(all->unlisted, part->unlisted);
        *budget -= (int64_t)part->examined;
        *part = (virtual_census){0};
        own->count = 0;
    }
    return rc;
}

static int by_promise(const void *left, const void *right)
{
    const root *a = left, *b = right;
    if (a->promise != b->promise) {
        return a->promise > b->promise ? -1 : 1;
    }
    return a->first != b->first ? (a->first < b->first ? -1 : 1)
                                : (a->second < b->second ? -1 : a->second > b->second);
}

/* All pairs: into their list, and as the beginnings of longer chains. */
static int take_pairs(virtual_job *job, root *roots, int64_t *count, otimes_err *err)
{
    int rc = OTIMES_OK;
    *count = 0;
    for (int64_t i = 0; rc == OTIMES_OK && i < job->nodes; i++) {
        for (int64_t j = otimes_virtual_later(job, i); rc == OTIMES_OK && j < job->nodes; j++) {
            const double strength = otimes_virtual_strength(job, i, j);
            const int32_t node[] = {(int32_t)i, (int32_t)j};
            rc = otimes_virtual_offer(&job->list[2], strength, node, err);
            job->census[2].examined++;
            if (job->length > 2) {
                roots[(*count)++] = (root){strength * job->reach[job->nodes + j], node[0], node[1]};
            }
        }
    }
    qsort(roots, (size_t)*count, sizeof *roots, by_promise);
    return rc;
}

static int search_longer(virtual_job *job, const root *roots, int64_t count, otimes_err *err)
{
    const int64_t stride = job->length + 1;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    wave w = {.job = job};
    int64_t budget = job->settings->budget;
    w.list = otimes_pool_new(&pool, WAVE * stride, sizeof *w.list, &rc, err);
    w.census = otimes_pool_new(&pool, WAVE * stride, sizeof *w.census, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < WAVE * stride; i++) {
        w.list[i] = (virtual_list){.length = i % stride, .capacity = job->settings->top};
    }
    for (int64_t at = 0; rc == OTIMES_OK && at < count; at += WAVE) {
        const int64_t items = count - at < WAVE ? count - at : WAVE;
        w.root = roots + at;
        w.budget = budget > 0 ? (budget + items - 1) / items : 0;
        rc = otimes_par_for(items, job->model->threads, run_descent, &w, err);
        if (rc == OTIMES_OK) {
            rc = gather(job, &w, &budget, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(job->sink, 2 + (double)at / (double)count, 4, err);
        }
    }
    for (int64_t i = 0; w.list && i < WAVE * stride; i++) {
        otimes_virtual_list_free(&w.list[i]);
    }
    otimes_pool_free(&pool);
    return rc;
}

/* n heads in ascending layers: (layers choose n) heads^n. */
static double chains_of(const virtual_job *job, int64_t n)
{
    double total = 1;
    for (int64_t k = 0; k < n; k++) {
        total *= (double)job->head_count * (double)(job->layer_count - k) / (double)(k + 1);
    }
    return round(total);
}

/* What bounded the search may since have been overtaken by the list. A score becomes a ratio. */
static void settle(virtual_job *job)
{
    for (int64_t n = 2; n <= job->length; n++) {
        virtual_census *c = &job->census[n];
        c->total = chains_of(job, n);
        if (c->unlisted < otimes_virtual_least(&job->list[n])) {
            c->unlisted = 0;
        }
        if (job->settings->order == OTIMES_VIRTUAL_BY_RATIO) {
            c->unlisted *= pow(job->dimension, (double)(n - 1) / 2);
        }
    }
}

int otimes_virtual_search(virtual_job *job, otimes_err *err)
{
    const int64_t n = job->nodes;
    root *roots = NULL;
    int64_t count = 0;
    int rc = OTIMES_NEW(&roots, job->length > 2 ? n * n : 1, err);
    if (rc == OTIMES_OK) {
        rc = take_pairs(job, roots, &count, err);
    }
    if (rc == OTIMES_OK && job->length > 2) {
        rc = search_longer(job, roots, count, err);
    }
    if (rc == OTIMES_OK) {
        settle(job);
    }
    otimes_free(roots);
    return rc;
}
