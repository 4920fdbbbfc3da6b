/* SPDX-License-Identifier: MIT
 *
 * One case: the target at a position of a text, its value, and the sums over paths that make it up.
 */
#include "analysis/paths_job.h"

#include <math.h>
#include <string.h>

#include "num/dot.h"
#include "run/order_streams.h"
#include "run/pass.h"
#include "run/readout.h"

/* ---- memory ---- */

static void new_lists(paths_case *c, const paths_job *job, int *rc, otimes_err *err)
{
    const int64_t rows = job->rows, links = rows * job->links, carriers = rows * job->carriers;
    otimes_pool *pool = &c->pool;
    c->path_case = otimes_pool_new(pool, rows, sizeof *c->path_case, rc, err);
    c->path_order = otimes_pool_new(pool, rows, sizeof *c->path_order, rc, err);
    c->path_source = otimes_pool_new(pool, rows, sizeof *c->path_source, rc, err);
    c->path_layer = otimes_pool_new(pool, links, sizeof *c->path_layer, rc, err);
    c->path_head = otimes_pool_new(pool, links, sizeof *c->path_head, rc, err);
    c->path_value = otimes_pool_new(pool, rows, sizeof *c->path_value, rc, err);
    c->path_share = otimes_pool_new(pool, rows, sizeof *c->path_share, rc, err);
    c->path_running = otimes_pool_new(pool, rows, sizeof *c->path_running, rc, err);
    c->running_share = otimes_pool_new(pool, rows, sizeof *c->running_share, rc, err);
    c->path_left = otimes_pool_new(pool, rows, sizeof *c->path_left, rc, err);
    c->path_label = otimes_pool_new(pool, rows, sizeof *c->path_label, rc, err);
    c->formula = otimes_pool_new(pool, rows, sizeof *c->formula, rc, err);
    c->carrier_position = otimes_pool_new(pool, carriers, sizeof *c->carrier_position, rc, err);
    c->carrier_value = otimes_pool_new(pool, carriers, sizeof *c->carrier_value, rc, err);
    c->carrier_token = otimes_pool_new(pool, carriers, sizeof *c->carrier_token, rc, err);
    c->edge_case = otimes_pool_new(pool, job->edges, sizeof *c->edge_case, rc, err);
    c->edge_from = otimes_pool_new(pool, job->edges, sizeof *c->edge_from, rc, err);
    c->edge_to = otimes_pool_new(pool, job->edges, sizeof *c->edge_to, rc, err);
    c->edge_via = otimes_pool_new(pool, job->edges, sizeof *c->edge_via, rc, err);
    c->edge_value = otimes_pool_new(pool, job->edges, sizeof *c->edge_value, rc, err);
}

int otimes_paths_case_init(paths_case *c, const paths_job *job, const otimes_linear *linear,
                           otimes_err *err)
{
    const int64_t d = linear->info->d_model;
    int rc = OTIMES_OK;
    c->target.position = c->at;
    c->target.direction = otimes_pool_new(&c->pool, d, sizeof *c->target.direction, &rc, err);
    c->order_total =
        otimes_pool_new(&c->pool, job->allowed_count + 1, sizeof *c->order_total, &rc, err);
    c->set_total = otimes_pool_new(&c->pool, job->sets, sizeof *c->set_total, &rc, err);
    new_lists(c, job, &rc, err);
    return rc;
}

void otimes_paths_case_free(paths_case *c)
{
    otimes_flows_free(&c->flows);
    otimes_text_free(&c->words);
    otimes_pool_free(&c->pool);
}

int64_t otimes_paths_case_bytes(const paths_job *job, int64_t n, int64_t sources)
{
    enum { ROW = 120, WORDS = 60, WORDS_A_LINK = 32 };
    const double heads = (double)job->info->n_layers * (double)job->info->n_heads;
    const double orders = (double)job->allowed_count + 1, from = (double)sources;
    const double rows = (double)(job->settings->top > 0 ? job->settings->top : 0);
    const double links = 2 * (double)job->info->n_layers;
    double bytes = orders * (double)n * (double)job->info->d_model * sizeof(float);
    bytes += rows * (ROW + WORDS + links * (WORDS_A_LINK + 2 * sizeof(int32_t)) +
                     (double)job->settings->carriers * 20);
    if (job->settings->flows) {
        bytes += sizeof(double) * (3 * heads * (heads + from) + from * (double)n + 3 * heads);
    }
    return bytes < 0x1p62 ? (int64_t)bytes : INT64_MAX / 2;
}

/* ---- the target ---- */

/* What the pass itself says at the position. */
typedef struct own {
    double logsumexp, entropy;
    float logit[2];
    int64_t best;
} own;

static int read_own(const paths_case *c, const otimes_linear *linear, const int64_t token[2],
                    own *said, otimes_err *err)
{
    const int64_t d = linear->info->d_model;
    double logsumexp[2], entropy[2];
    float top_value[2], *normal = NULL;
    int32_t top_id[2];
    const otimes_readout ask = {.logsumexp = logsumexp,
                                .entropy = entropy,
                                .target = token,
                                .target_logit = said->logit,
                                .top = 1,
                                .top_value = top_value,
                                .top_id = top_id};
    int rc = OTIMES_NEW(&normal, 2 * d, err);
    if (rc == OTIMES_OK) {
        otimes_final_norm(linear->model, &linear->layers->unembed, 1, linear->stream + c->at * d,
                          normal, NULL);
        memcpy(normal + d, normal, (size_t)d * sizeof *normal);
        rc = otimes_readout_run(linear->layers, 2, normal, &ask, err);
    }
    otimes_free(normal);
    if (rc == OTIMES_OK && !isfinite(logsumexp[0])) { /* of which no sum and no order is left */
        rc = otimes_fail(err, OTIMES_ERR_VALUE,
                         "%s: text %lld, position %lld: expected logits that float32 holds, got "
                         "some beyond",
                         linear->info->path, (long long)c->text, (long long)c->at);
    }
    if (rc == OTIMES_OK) {
        said->logsumexp = logsumexp[0];
        said->entropy = entropy[0];
        said->best = top_id[0];
    }
    return rc;
}

static int choose_target(paths_case *c, const paths_job *job, const otimes_linear *linear,
                         otimes_err *err)
{
    const otimes_paths_settings *s = job->settings;
    const int64_t none[] = {-1, -1};
    own said;
    c->against_id = s->against;
    switch (s->whose) {
    case OTIMES_PATHS_GIVEN:
        c->target_id = s->target;
        return OTIMES_OK;
    case OTIMES_PATHS_NEXT:
        c->target_id = s->sequences.id[c->text][c->at + 1];
        return OTIMES_OK;
    case OTIMES_PATHS_PREDICTED:
        break;
    }
    const int rc = read_own(c, linear, none, &said, err);
    c->target_id = rc == OTIMES_OK ? said.best : -1;
    return rc;
}

static int set_target(paths_case *c, const paths_job *job, const otimes_linear *linear,
                      otimes_err *err)
{
    own said = {0};
    int rc = choose_target(c, job, linear, err);
    const int64_t token[] = {c->target_id, c->against_id};
    if (rc == OTIMES_OK) {
        rc = read_own(c, linear, token, &said, err);
    }
    if (rc == OTIMES_OK) {
        rc = job->settings->loss
                 ? otimes_linear_target_loss(linear, c->at, c->target_id, &c->target, err)
                 : otimes_linear_target_logit(linear, c->at, c->target_id, c->against_id,
                                              &c->target, err);
    }
    if (rc == OTIMES_OK) {
        const double logit = (double)said.logit[0];
        c->frozen_value = otimes_linear_target_value(linear, &c->target);
        c->entropy = said.entropy;
        c->model_value = job->settings->loss  ? said.logsumexp - logit
                         : c->against_id >= 0 ? logit - (double)said.logit[1]
                                              : logit;
    }
    return rc;
}

/* ---- sums ---- */

static void sum_orders(paths_case *c, const paths_job *job, const otimes_linear *linear,
                       const float *streams)
{
    const int64_t d = linear->info->d_model, orders = job->allowed_count + 1;
    double sum = 0;
    for (int64_t k = 0; k < orders; k++) {
        c->order_total[k] =
            otimes_dot(streams + (k * linear->n + c->at) * d, c->target.direction, d) +
            (k == 0 ? c->target.offset : 0);
        sum += c->order_total[k];
    }
    c->order_residue = c->frozen_value - sum;
}

typedef struct sets {
    paths_case *c;
    const paths_job *job;
} sets;

static int take_set(void *context, int64_t members, const int64_t *layer, double value,
                    otimes_err *err)
{
    const sets *w = context;
    const int64_t index = otimes_paths_set_index(w->job, members, layer);
    (void)err;
    if (index >= 0) {
        w->c->set_total[index] = value;
    }
    return OTIMES_OK;
}

typedef struct shared_tick {
    paths_tick tick;
    void *context;
} shared_tick;

enum { FLOWS_OF = 4 }; /* flows are about a quarter of a case's work, the search the rest */

static int tick_search(void *context, double share, otimes_err *err)
{
    const shared_tick *t = context;
    return t->tick(t->context, (1 + share * (FLOWS_OF - 1)) / FLOWS_OF, err);
}

int otimes_paths_case_run(paths_case *c, paths_job *job, otimes_linear *linear,
                          const float *streams, const otimes_flow_scores *scores, paths_tick tick,
                          void *context, otimes_err *err)
{
    shared_tick shared = {tick, context};
    sets all = {c, job};
    int rc = set_target(c, job, linear, err);
    if (rc == OTIMES_OK) {
        sum_orders(c, job, linear, streams);
        rc = otimes_layer_sets(linear, &c->target, job->subsets, take_set, &all, err);
    }
    if (rc == OTIMES_OK && job->settings->flows) {
        rc = otimes_paths_flows(c, job, linear, scores, err);
    }
    if (rc == OTIMES_OK) {
        rc = tick(context, 1.0 / FLOWS_OF, err);
    }
    return rc == OTIMES_OK ? otimes_paths_list(c, job, linear, tick_search, &shared, err) : rc;
}
