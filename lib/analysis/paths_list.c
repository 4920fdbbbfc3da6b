/* SPDX-License-Identifier: MIT
 *
 * The paths of a case: found, then for each its links, its share of the whole, and where it brings
 * its value from.
 */
#include "analysis/paths_job.h"

#include <math.h>

#include "model/model.h"

static int find(const paths_case *c, const paths_job *job, otimes_linear *linear,
                otimes_path_list *list, paths_tick tick, void *context, otimes_err *err)
{
    const otimes_paths_settings *s = job->settings;
    const bool all = s->top == 0 || (double)job->rows >= job->total;
    const otimes_path_settings ask = {.count = all ? 0 : job->rows,
                                      .max_order = s->order,
                                      .budget = s->budget,
                                      .seconds = s->seconds,
                                      .layers = job->allowed,
                                      .tick = tick,
                                      .context = context};
    return all ? otimes_paths_all(linear, &c->target, &ask, job->rows, list, err)
               : otimes_paths_search(linear, &c->target, &ask, list, err);
}

/* Rows that a search may leave empty. */
static void clear_rows(paths_case *c, const paths_job *job)
{
    for (int64_t i = 0; i < job->rows; i++) {
        c->path_case[i] = c->index;
        c->path_order[i] = c->path_source[i] = -1;
        c->path_value[i] = c->path_share[i] = c->path_running[i] = c->running_share[i] =
            c->path_left[i] = NAN;
        c->path_label[i] = c->formula[i] = "";
    }
    for (int64_t i = 0; i < job->rows * job->links; i++) {
        c->path_layer[i] = c->path_head[i] = -1;
    }
    for (int64_t i = 0; i < job->rows * job->carriers; i++) {
        c->carrier_position[i] = -1;
        c->carrier_value[i] = NAN;
        c->carrier_token[i] = "";
    }
}

static void set_rows(paths_case *c, const paths_job *job, const otimes_path_list *list)
{
    const int64_t each = job->info->n_heads, heads = job->info->n_layers * each;
    double running = 0;
    for (int64_t i = 0; i < list->count; i++) {
        running += list->value[i];
        c->path_order[i] = list->order[i];
        c->path_source[i] = list->source[i];
        c->path_value[i] = list->value[i];
        c->path_share[i] = list->value[i] / c->frozen_value;
        c->path_running[i] = running;
        c->running_share[i] = running / c->frozen_value;
        c->path_left[i] = c->frozen_value - running;
        for (int64_t k = 0; k < list->links && k < job->links; k++) {
            const int32_t link = list->link[i * list->links + k];
            c->path_layer[i * job->links + k] = (int32_t)(link < 0       ? -1
                                                          : link < heads ? link / each
                                                                         : link - heads);
            c->path_head[i * job->links + k] =
                (int32_t)(link < 0 || link >= heads ? -1 : link % each);
        }
    }
    c->path_count = (double)list->count;
    c->path_total = list->total;
    c->path_bound = list->bound;
    c->path_complete = list->complete;
    c->path_expanded = (double)list->expanded;
    c->path_listed = running;
}

/* Labels, formulas and the certificate, which grow into one text before anything points into it. */
static int describe(paths_case *c, const paths_job *job, const otimes_linear *linear,
                    const otimes_path_list *list, otimes_err *err)
{
    int rc = otimes_paths_certify(job, list, &c->words, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < list->count; i++) {
        rc = otimes_paths_label(job, list, i, &c->words, err);
        if (rc == OTIMES_OK) {
            rc = otimes_paths_formula(job, linear, list, i, &c->words, err);
        }
    }
    const char *at = c->words.data;
    for (int64_t i = -1; rc == OTIMES_OK && i < 2 * list->count; i++) {
        *(i < 0 ? &c->certificate : i % 2 ? &c->formula[i / 2] : &c->path_label[i / 2]) = at;
        while (*at++) {
        }
    }
    return rc;
}

/* The `carriers` largest of one path. */
static void rank_carriers(paths_case *c, const paths_job *job, int64_t path, int64_t n,
                          const double *carried)
{
    const int64_t *id = job->settings->sequences.id[c->text];
    int32_t *position = c->carrier_position + path * job->carriers;
    double *value = c->carrier_value + path * job->carriers;
    for (int64_t t = 0; t < n; t++) {
        int64_t k = job->carriers;
        if (carried[t] == 0) {
            continue; /* it is not seen from here */
        }
        while (k > 0 && (position[k - 1] < 0 || fabs(value[k - 1]) < fabs(carried[t]))) {
            if (k < job->carriers) {
                position[k] = position[k - 1];
                value[k] = value[k - 1];
            }
            k--;
        }
        if (k < job->carriers) {
            position[k] = (int32_t)t;
            value[k] = carried[t];
        }
    }
    for (int64_t k = 0; k < job->carriers && position[k] >= 0; k++) {
        const char *token = otimes_model_token(job->model, id[position[k]]);
        c->carrier_token[path * job->carriers + k] = token ? token : "";
    }
}

typedef struct carrying {
    paths_case *c;
    const paths_job *job;
    int64_t n;
} carrying;

static int take_carried(void *context, int64_t path, const double *carried, otimes_err *err)
{
    const carrying *w = context;
    (void)err;
    rank_carriers(w->c, w->job, path, w->n, carried);
    return OTIMES_OK;
}

static int find_carriers(paths_case *c, const paths_job *job, otimes_linear *linear,
                         const otimes_path_list *list, otimes_err *err)
{
    carrying w = {c, job, linear->n};
    return job->carriers > 0
               ? otimes_path_positions(linear, &c->target, list, take_carried, &w, err)
               : OTIMES_OK;
}

int otimes_paths_list(paths_case *c, const paths_job *job, otimes_linear *linear, paths_tick tick,
                      void *context, otimes_err *err)
{
    otimes_path_list list = {0};
    clear_rows(c, job);
    int rc = find(c, job, linear, &list, tick, context, err);
    if (rc == OTIMES_OK) {
        set_rows(c, job, &list);
        rc = describe(c, job, linear, &list, err);
    }
    if (rc == OTIMES_OK) {
        rc = find_carriers(c, job, linear, &list, err);
    }
    otimes_paths_free(&list);
    return rc;
}
