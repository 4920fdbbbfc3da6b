/* SPDX-License-Identifier: MIT
 *
 * Layer by layer: each head on its own, and with the previous-token heads of the layers before it.
 * Of earlier layers those heads alone are kept, so memory holds one layer and them.
 */
#include <math.h>
#include <string.h>

#include "analysis/roles_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"

typedef struct earlier_heads {
    otimes_head_sides *head;
    int64_t count, capacity;
} earlier_heads;

/* A layer at work. */
typedef struct layer_work {
    roles_job *job;
    const otimes_layer *layer;
    otimes_head_sides *head; /* [n_heads] */
    const earlier_heads *earlier;
    bool last; /* nothing comes behind it that would need its heads */
} layer_work;

/* Room for what is measured of one pair. */
static int new_values(const roles_job *job, otimes_form_values *out, double **memory,
                      otimes_err *err)
{
    const int64_t each = OTIMES_FORMS * job->offset_count, e = job->info->d_head;
    const int rc = OTIMES_NEW(memory, each * (OTIMES_FORM_VALUES + 2 * e), err);
    double *at = *memory;
    for (int v = 0; rc == OTIMES_OK && v < OTIMES_FORM_VALUES; v++, at += each) {
        out->value[v] = at;
    }
    out->re = at;
    out->im = rc == OTIMES_OK ? at + each * e : NULL;
    return rc;
}

static double mean_of(const double *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += x[i];
    }
    return sum / (double)count;
}

static double least_previous(const roles_job *job)
{
    return job->threshold[OTIMES_ROLE_PREVIOUS][OTIMES_ROLE_WEIGHTS];
}

/* The best of the earlier heads. out has the direct form. */
static int find_induction(const layer_work *work, const otimes_head_sides *head, int64_t node,
                          const otimes_form_values *out, otimes_err *err)
{
    const otimes_induction_least least = {least_previous(work->job), OTIMES_ROLES_LEAST_COPYING,
                                          OTIMES_ROLES_LEAST_RATIO, OTIMES_ROLES_LEAST_MATCH};
    roles_job *job = work->job;
    const int64_t offsets = job->offset_count, K = OTIMES_FORM_K * offsets;
    double *best = &job->weight[ROLES_INDUCTION][node], *score;
    int32_t *is = &job->is_induction[node]; /* of the pairs: 1 if one is, else -1 if one may be */
    int rc = OTIMES_NEW(&score, offsets, err);
    *best = 0;
    *is = 0;
    for (int64_t i = 0; rc == OTIMES_OK && i < work->earlier->count; i++) {
        const otimes_head_sides *first = &work->earlier->head[i];
        const otimes_form_ask ask = {&job->space, first, head, job->offsets, offsets};
        otimes_induction found = {.product = NAN};
        rc = otimes_qk_forms(&ask, OTIMES_FORM_K, 1, out, err);
        for (int64_t o = 0; rc == OTIMES_OK && o < offsets; o++) {
            const double parts = out->value[OTIMES_FORM_NORM][o] * first->ov_norm;
            score[o] = parts > 0 ? out->value[OTIMES_FORM_NORM][K + o] / parts : NAN;
        }
        if (rc == OTIMES_OK) {
            otimes_induction_judge(&ask, &least, job->dimension, score,
                                   out->value[OTIMES_FORM_FULL_COPYING] + K,
                                   out->value[OTIMES_FORM_DIAGONAL_MEAN] + K,
                                   out->value[OTIMES_FORM_ENTRY_MEAN] + K, &found);
        }
        if (found.product > *best) {
            *best = found.product;
            job->induction_layer[node] = first->layer;
            job->induction_head[node] = first->head;
        }
        *is = found.is == 1 ? 1 : *is == 0 && rc == OTIMES_OK ? found.is : *is;
    }
    otimes_free(score);
    return rc;
}

/* A chosen head. */
static int measure_head(const layer_work *work, const otimes_head_sides *head, int64_t node,
                        otimes_err *err)
{
    roles_job *job = work->job;
    const roles_untold *untold = &job->untold;
    const otimes_form_ask ask = {&job->space, NULL, head, job->offsets, job->offset_count};
    otimes_form_values out;
    double *memory = NULL;
    int rc = new_values(job, &out, &memory, err);
    if (rc == OTIMES_OK) {
        rc = otimes_qk_forms(&ask, OTIMES_FORM_DIRECT, 1, &out, err);
    }
    if (rc == OTIMES_OK) {
        const double same = mean_of(out.value[OTIMES_FORM_DIAGONAL_EXCESS], job->offset_count);
        job->weight[ROLES_PREVIOUS][node] = head->previous;
        job->weight[ROLES_SAME][node] = untold->same ? NAN : same;
        job->weight[ROLES_COPYING][node] = untold->copying ? NAN : head->copying;
    }
    if (rc == OTIMES_OK && !untold->induction) {
        rc = find_induction(work, head, node, &out, err);
    }
    otimes_free(memory);
    return rc;
}

static int make_head(void *context, int64_t item, int worker, otimes_err *err)
{
    const layer_work *work = context;
    const roles_job *job = work->job;
    otimes_head_sides *head = &work->head[item];
    const int64_t layer_slot = job->layer_slot[work->layer->layer];
    const int64_t head_slot = job->head_slot[item];
    const bool chosen = layer_slot >= 0 && head_slot >= 0;
    (void)worker;
    if (!chosen && (work->last || job->untold.induction)) {
        return OTIMES_OK;
    }
    const int rc = otimes_head_sides_make(&job->space, work->layer, item, head, err);
    return rc == OTIMES_OK && chosen
               ? measure_head(work, head, layer_slot * job->head_count + head_slot, err)
               : rc;
}

/* Previous-token heads stay for later layers, the others go. */
static int keep_heads(const roles_job *job, otimes_head_sides *head, earlier_heads *earlier,
                      otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t h = 0; rc == OTIMES_OK && h < job->info->n_heads; h++) {
        const bool previous = head[h].query.x && head[h].previous >= least_previous(job);
        if (previous && !job->untold.induction) {
            rc = OTIMES_GROW(&earlier->head, earlier->count, &earlier->capacity, err);
            if (rc == OTIMES_OK) {
                earlier->head[earlier->count++] = head[h];
                head[h] = (otimes_head_sides){0};
            }
        }
    }
    return rc;
}

int otimes_roles_say(const roles_job *job, double layers, otimes_err *err)
{
    return otimes_sink_progress(job->sink, 1 + layers / (double)(job->last + 1), 3, err);
}

static int run_layer(roles_job *job, int64_t at, earlier_heads *earlier, otimes_err *err)
{
    const int64_t heads = job->info->n_heads;
    otimes_layer layer;
    otimes_head_sides *head;
    int rc = OTIMES_NEW(&head, heads, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    rc = otimes_layer_load(job->model, at, OTIMES_PART_ATTENTION, &layer, err);
    if (rc == OTIMES_OK) {
        layer_work work = {job, &layer, head, earlier, at == job->last};
        rc = otimes_par_for(heads, job->model->threads, make_head, &work, err);
        rc = rc == OTIMES_OK ? keep_heads(job, head, earlier, err) : rc;
        rc = rc == OTIMES_OK ? otimes_roles_say(job, (double)at + 0.5, err) : rc;
    }
    for (int64_t h = 0; h < heads; h++) {
        otimes_head_sides_free(&head[h]);
    }
    otimes_free(head);
    if (rc == OTIMES_OK && !job->untold.suppression && job->layer_slot[at] >= 0) {
        rc = otimes_roles_suppression(job, &layer, err);
    }
    otimes_layer_free(&layer);
    return rc;
}

int otimes_roles_weights(roles_job *job, otimes_err *err)
{
    const bool earlier_matter = !job->untold.induction;
    earlier_heads earlier = {NULL, 0, 0};
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at <= job->last; at++) {
        if (earlier_matter || job->layer_slot[at] >= 0) {
            rc = run_layer(job, at, &earlier, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_roles_say(job, (double)at + 1, err);
        }
    }
    for (int64_t i = 0; i < earlier.count; i++) {
        otimes_head_sides_free(&earlier.head[i]);
    }
    otimes_free(earlier.head);
    return rc;
}
