/* SPDX-License-Identifier: MIT
 *
 * The four forms of every pair, and the strongest entries of the first ones.
 */
#include <math.h>
#include <string.h>

#include "analysis/qk_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"
#include "run/strongest.h"

_Static_assert((int)OTIMES_QK_DIRECT == OTIMES_FORM_DIRECT && (int)OTIMES_QK_Q == OTIMES_FORM_Q &&
                   (int)OTIMES_QK_K == OTIMES_FORM_K && (int)OTIMES_QK_BOTH == OTIMES_FORM_BOTH &&
                   (int)OTIMES_QK_FORMS == OTIMES_FORMS,
               "forms are numbered alike");

static otimes_form_ask ask_for(const qk_job *job, int64_t pair)
{
    return (otimes_form_ask){&job->space, &job->node[job->first[pair]],
                             &job->node[job->second[pair]], job->offsets, job->offset_count};
}

static int measure(const qk_job *job, int64_t pair, int first, int count, otimes_err *err)
{
    const int64_t each = OTIMES_QK_FORMS * job->offset_count, e = job->info->d_head;
    const otimes_form_ask ask = ask_for(job, pair);
    otimes_form_values out = {.re = job->re + pair * each * e, .im = job->im + pair * each * e};
    for (int v = 0; v < OTIMES_FORM_VALUES; v++) {
        out.value[v] = job->value[v] + pair * each;
    }
    return otimes_qk_forms(&ask, first, count, &out, err);
}

static int measure_direct(void *context, int64_t item, int worker, otimes_err *err)
{
    const qk_job *job = context;
    (void)worker;
    return job->start[item] < 0 ? OTIMES_OK : measure(job, job->start[item], 0, 1, err);
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
    const int64_t from = job->start[job->second[pair]];
    const double ov = job->node[job->first[pair]].ov_norm;
    (void)worker;
    for (int v = 0; from != pair && v < OTIMES_FORM_VALUES; v++) {
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
        const bool query = form == OTIMES_QK_Q || form == OTIMES_QK_BOTH;
        const bool key = form == OTIMES_QK_K || form == OTIMES_QK_BOTH;
        const double direct = job->value[OTIMES_FORM_NORM][pair * each + i % offsets];
        const double parts = direct * (query ? ov : 1) * (key ? ov : 1);
        job->score[pair * each + i] =
            parts > 0 ? job->value[OTIMES_FORM_NORM][pair * each + i] / parts : NAN;
    }
    return rc;
}

int otimes_qk_pairs(qk_job *job, otimes_err *err)
{
    enum { PART = 64 };
    int rc = otimes_par_for(job->nodes, job->model->threads, measure_direct, job, err);
    rc = rc == OTIMES_OK ? otimes_sink_progress(job->sink, 2, 4, err) : rc;
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

static int find_entries(qk_job *job, int64_t listed, otimes_err *err)
{
    const otimes_qk_settings *s = job->settings;
    const int64_t d = job->info->d_model, e = job->info->d_head, n = s->entries;
    const otimes_form_ask pair = ask_for(job, job->order[listed]);
    double *ends = NULL;
    otimes_strongest_entry *entry = NULL;
    int rc = OTIMES_NEW(&ends, OTIMES_QK_FORMS * 2 * d * e, err);
    rc = rc == OTIMES_OK ? OTIMES_NEW(&entry, n, err) : rc;
    rc = rc == OTIMES_OK ? otimes_qk_ends(&pair, ends, err) : rc;
    for (int form = 0; rc == OTIMES_OK && form < OTIMES_QK_FORMS; form++) {
        const otimes_vocab_end end = {NULL, s->tokens, s->token_count};
        const otimes_strongest_ask ask = {.row = end,
                                          .column = end,
                                          .left = ends + 2 * form * d * e,
                                          .right = ends + (2 * form + 1) * d * e,
                                          .rank = e,
                                          .scale = 1 / job->info->attn_scale,
                                          .top = n};
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
