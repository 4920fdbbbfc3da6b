/* SPDX-License-Identifier: MIT
 *
 * What flows to a target, and the largest edges of that graph as a list: from a source or a head to
 * a head, by its queries, keys or values, or to the target.
 */
#include "analysis/paths_job.h"

#include <math.h>

enum { TO_TARGET = OTIMES_EDGE_WAYS }; /* beside the ways into a head */

static const char *const via_name[] = {
    [OTIMES_EDGE_Q] = "q", [OTIMES_EDGE_K] = "k", [OTIMES_EDGE_V] = "v", [TO_TARGET] = "out"};

/* Ends of an edge: heads are counted, then MLPs; source s is -1 - s; to the target: -1. */
typedef struct edge {
    int64_t from, to;
    int via;
    double value;
} edge;

typedef struct ranking {
    edge *list;
    int64_t count, capacity;
} ranking;

static void rank(ranking *r, int64_t from, int64_t to, int via, double value)
{
    int64_t k = r->count;
    if (isnan(value) || r->capacity == 0 ||
        (k == r->capacity && fabs(r->list[k - 1].value) >= fabs(value))) {
        return;
    }
    k = r->count < r->capacity ? r->count++ : k - 1;
    for (; k > 0 && fabs(r->list[k - 1].value) < fabs(value); k--) {
        r->list[k] = r->list[k - 1];
    }
    r->list[k] = (edge){from, to, via, value};
}

int64_t otimes_paths_edge_count(const paths_job *job, const otimes_linear *linear)
{
    const int64_t each = job->info->n_heads, layers = job->info->n_layers;
    int64_t into_heads = each * each * (layers * (layers - 1) / 2), links = 0;
    for (int64_t l = 0; l < layers; l++) {
        const bool linked = otimes_linear_has_mlp(linear, l);
        into_heads += linked ? each * (layers - 1 - l) : 0;
        links += linked;
    }
    for (int64_t s = 0; s < linear->source_count; s++) {
        into_heads += each * (layers - 1 - linear->source[s].layer);
    }
    return OTIMES_EDGE_WAYS * into_heads + layers * each + links + linear->source_count;
}

/* What goes into one head. */
static void rank_into(ranking *r, const otimes_flows *f, int64_t layers, int64_t head)
{
    for (int via = 0; via < OTIMES_EDGE_WAYS; via++) {
        for (int64_t e = 0; e < f->heads; e++) {
            rank(r, e, head, via, f->edge[via][head * f->heads + e]);
        }
        for (int64_t l = 0; l < layers; l++) {
            rank(r, f->heads + l, head, via, f->mlp_edge[via][head * layers + l]);
        }
        for (int64_t s = 0; s < f->sources; s++) {
            rank(r, -1 - s, head, via, f->source_edge[via][head * f->sources + s]);
        }
    }
}

static void rank_all(ranking *r, const otimes_flows *f, int64_t layers)
{
    for (int64_t h = 0; h < f->heads; h++) {
        rank_into(r, f, layers, h);
        rank(r, h, -1, TO_TARGET, f->head_direct[h]);
    }
    for (int64_t l = 0; l < layers; l++) {
        rank(r, f->heads + l, -1, TO_TARGET, f->mlp_direct[l]);
    }
    for (int64_t s = 0; s < f->sources; s++) {
        rank(r, -1 - s, -1, TO_TARGET, f->source_direct[s]);
    }
}

static const char *label_of(const paths_job *job, int64_t from)
{
    return from < 0 ? job->source_label[-1 - from] : job->part_label[from];
}

static void list_edges(paths_case *c, const paths_job *job, const ranking *r)
{
    for (int64_t i = 0; i < job->edges; i++) {
        const edge *e = i < r->count ? &r->list[i] : NULL;
        c->edge_case[i] = c->index;
        c->edge_from[i] = e ? label_of(job, e->from) : "";
        c->edge_to[i] = !e ? "" : e->to >= 0 ? job->part_label[e->to] : "target";
        c->edge_via[i] = !e ? "" : via_name[e->via];
        c->edge_value[i] = e ? e->value : NAN;
    }
}

int otimes_paths_flows(paths_case *c, const paths_job *job, otimes_linear *linear,
                       const otimes_flow_scores *scores, otimes_err *err)
{
    ranking r = {.capacity = job->edges};
    int rc = otimes_flows_sweep(linear, &c->target, scores, &c->flows, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&r.list, r.capacity, err);
    }
    if (rc == OTIMES_OK) {
        rank_all(&r, &c->flows, job->info->n_layers);
        list_edges(c, job, &r);
    }
    otimes_free(r.list);
    return rc;
}
