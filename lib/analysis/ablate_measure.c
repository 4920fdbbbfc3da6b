/* SPDX-License-Identifier: MIT
 *
 * Loss and logits of final streams, at the rows that are asked for alone.
 */
#include <math.h>
#include <string.h>

#include "analysis/ablate_job.h"
#include "run/readout.h"

/* Marks the measured positions of a text of `length` tokens. */
static void mark(const otimes_ablate_settings *s, int64_t length, bool *marked)
{
    for (int64_t i = 0; i < s->position_count; i++) {
        const int64_t p = s->positions[i];
        marked[p < 0 ? length + p : p] = true;
    }
}

/* What is measured at a position. */
typedef struct measured {
    bool loss, logit;
} measured;

/* All positions of text t, into at [length]. */
static void choose(const ablate_job *job, int64_t t, bool *marked, measured *at)
{
    const otimes_ablate_settings *s = job->settings;
    const int64_t length = s->sequences.length[t];
    memset(marked, 0, (size_t)length * sizeof *marked);
    mark(s, length, marked);
    for (int64_t p = 0; p < length; p++) {
        at[p] = (measured){s->loss && p + 1 < length && (!s->positions || marked[p]),
                           s->target && (s->positions ? marked[p] : p + 1 == length)};
    }
}

int otimes_ablate_count(ablate_job *job, otimes_err *err)
{
    const int64_t texts = job->settings->sequences.count, longest = job->texts.longest;
    int rc = OTIMES_OK;
    bool *marked = otimes_pool_new(&job->pool, longest, sizeof *marked, &rc, err);
    measured *at = otimes_pool_new(&job->pool, longest, sizeof *at, &rc, err);
    job->loss_count = otimes_pool_new(&job->pool, texts, sizeof *job->loss_count, &rc, err);
    job->logit_count = otimes_pool_new(&job->pool, texts, sizeof *job->logit_count, &rc, err);
    for (int64_t t = 0; rc == OTIMES_OK && t < texts; t++) {
        choose(job, t, marked, at);
        for (int64_t p = 0; p < job->settings->sequences.length[t]; p++) {
            job->loss_count[t] += at[p].loss;
            job->logit_count[t] += at[p].logit;
        }
    }
    return rc;
}

int otimes_ablate_choose_rows(ablate_job *job, otimes_err *err)
{
    ablate_group *g = &job->group;
    int rc = OTIMES_OK;
    bool *marked = otimes_pool_new(&g->pool, job->texts.longest, sizeof *marked, &rc, err);
    measured *at = otimes_pool_new(&g->pool, job->texts.longest, sizeof *at, &rc, err);
    g->loss_row = otimes_pool_new(&g->pool, g->rows, sizeof *g->loss_row, &rc, err);
    g->loss_text = otimes_pool_new(&g->pool, g->rows, sizeof *g->loss_text, &rc, err);
    g->loss_next = otimes_pool_new(&g->pool, g->rows, sizeof *g->loss_next, &rc, err);
    g->logit_row = otimes_pool_new(&g->pool, g->rows, sizeof *g->logit_row, &rc, err);
    g->logit_text = otimes_pool_new(&g->pool, g->rows, sizeof *g->logit_text, &rc, err);
    for (int64_t t = 0; rc == OTIMES_OK && t < g->texts; t++) {
        const int64_t *id = job->settings->sequences.id[g->text[t]];
        choose(job, g->text[t], marked, at);
        for (int64_t p = 0; p < g->start[t + 1] - g->start[t]; p++) {
            if (at[p].loss) {
                g->loss_row[g->loss_count] = g->start[t] + p;
                g->loss_text[g->loss_count] = t;
                g->loss_next[g->loss_count++] = id[p + 1];
            }
            if (at[p].logit) {
                g->logit_row[g->logit_count] = g->start[t] + p;
                g->logit_text[g->logit_count++] = t;
            }
        }
    }
    return rc;
}

/* Rows of W_U that the group's logits need. Only now: kept weights are then all there already, and
 * what reading them takes is free again. */
static int read_targets(ablate_job *job, otimes_err *err)
{
    const otimes_ablate_settings *s = job->settings;
    const int64_t d = job->info->d_model;
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && s->target && i < 2 * job->group.texts; i++) {
        const int64_t text = job->group.text[i / 2];
        const int64_t *ids = i % 2 ? s->against : s->target;
        float *to = job->token_rows + i * d;
        const float *row = NULL;
        if (ids) {
            rc = otimes_layers_unembed(&job->layers, ids[text], 1, to, &row, err);
            if (rc == OTIMES_OK && row != to) {
                memcpy(to, row, (size_t)d * sizeof *to);
            }
        }
    }
    return rc;
}

/* A logit of a normalised row: W_U's row times it, and what the model does with that. */
static double logit_of(const ablate_job *job, const float *normal, const float *token_row,
                       int64_t token)
{
    const float *bias = job->layers.unembed.bias;
    const double cap = job->info->final_softcap;
    double sum = bias ? (double)bias[token] : 0;
    for (int64_t i = 0; i < job->info->d_model; i++) {
        sum += (double)normal[i] * (double)token_row[i];
    }
    return cap > 0 ? cap * tanh(sum / cap) : sum;
}

/* Logits at the measured rows of one slot. */
static void logits_of(const ablate_job *job, const float *normal, double *out)
{
    const otimes_ablate_settings *s = job->settings;
    const ablate_group *g = &job->group;
    const int64_t d = job->info->d_model;
    for (int64_t j = 0; j < g->logit_count; j++) {
        const int64_t t = g->logit_text[j], text = g->text[t];
        const float *row = normal + g->logit_row[j] * d, *rows = job->token_rows + 2 * t * d;
        out[j] = logit_of(job, row, rows, s->target[text]);
        if (s->against) {
            out[j] -= logit_of(job, row, rows + d, s->against[text]);
        }
    }
}

/* The same for the losses of `count` slots, into job->logsumexp and job->next_logit. */
static int losses_of(ablate_job *job, const float *normal, int64_t count, otimes_err *err)
{
    const ablate_group *g = &job->group;
    const int64_t d = job->info->d_model, K = g->loss_count;
    float *packed = job->mlp;
    for (int64_t i = 0; i < count * K; i++) {
        memcpy(packed + i * d, normal + (i / K * g->rows + g->loss_row[i % K]) * d,
               (size_t)d * sizeof *packed);
        job->next[i] = g->loss_next[i % K];
    }
    const otimes_readout readout = {
        .logsumexp = job->logsumexp, .target = job->next, .target_logit = job->next_logit};
    return count * K > 0 ? otimes_readout_run(&job->layers, count * K, packed, &readout, err)
                         : OTIMES_OK;
}

/* Normalises rows of the stream and reads out what they hold in common. */
static int read_rows(ablate_job *job, int64_t row, int64_t slots, otimes_err *err)
{
    const int64_t d = job->info->d_model;
    int rc = otimes_pass_final(&job->pass, &job->layers.unembed, row, slots * job->group.rows,
                               job->stream + row * d, job->out, NULL, err);
    return rc == OTIMES_OK ? losses_of(job, job->out, slots, err) : rc;
}

/* Loss and logits at the rows of the slot'th slot that was read. */
static void values_of(const ablate_job *job, int64_t slot, double *loss, double *logit)
{
    const ablate_group *g = &job->group;
    for (int64_t k = 0; k < g->loss_count; k++) {
        const int64_t i = slot * g->loss_count + k;
        loss[k] = job->logsumexp[i] - (double)job->next_logit[i];
    }
    logits_of(job, job->out + slot * g->rows * job->info->d_model, logit);
}

/* Means over the rows of each text, into out[text * stride]; NaN where there are none. */
static void mean_by_text(int64_t count, const int64_t *text, const double *values, int64_t texts,
                         double *out, int64_t stride)
{
    int64_t i = 0;
    for (int64_t t = 0; t < texts; t++) {
        double sum = 0;
        const int64_t first = i;
        for (; i < count && text[i] == t; i++) {
            sum += values[i];
        }
        out[t * stride] = i > first ? sum / (double)(i - first) : NAN;
    }
}

/* One measure of several ablations, at the rows where it is taken. */
typedef struct taken {
    const struct ablate_output *output;
    const double *values, *clean; /* [ablations, count], [count] */
    const int64_t *row, *text;    /* [count] */
    int64_t count;
} taken;

/* Changes at each position of text t, whose rows are first .. end-1 of those of the measure, for
 * `n` ablations from number `slot` of the values on, which are neighbours along the axis. */
static int write_block(ablate_job *job, const taken *m, int64_t t, int64_t first, int64_t end,
                       int64_t slot, int64_t n, int64_t ablation, otimes_err *err)
{
    const ablate_group *g = &job->group;
    const int64_t length = g->start[t + 1] - g->start[t];
    for (int64_t i = 0; i < n * length; i++) {
        job->change[i] = NAN;
    }
    for (int64_t a = 0; a < n; a++) {
        const double *values = m->values + (slot + a) * m->count;
        for (int64_t i = first; i < end; i++) {
            job->change[a * length + m->row[i] - g->start[t]] = (float)(values[i] - m->clean[i]);
        }
    }
    return otimes_ablate_write_at(job, m->output, t, ablation, n, job->change, err);
}

/* Changes of ablations order[first ..], text by text, neighbours along the axis together. */
static int write_changes(ablate_job *job, const taken *m, int64_t first, int64_t count,
                         otimes_err *err)
{
    const int64_t *order = job->list.order + first;
    int rc = OTIMES_OK;
    for (int64_t t = 0, i = 0, end; rc == OTIMES_OK && t < job->group.texts; t++, i = end) {
        for (end = i; end < m->count && m->text[end] == t; end++) {
        }
        for (int64_t slot = 0, n; rc == OTIMES_OK && slot < count; slot += n) {
            for (n = 1; slot + n < count && order[slot + n] == order[slot] + n; n++) {
            }
            rc = write_block(job, m, t, i, end, slot, n, order[slot], err);
        }
    }
    return rc;
}

int otimes_ablate_measure_clean(ablate_job *job, otimes_err *err)
{
    const ablate_group *g = &job->group;
    int rc = read_targets(job, err);
    if (rc == OTIMES_OK) {
        rc = read_rows(job, 0, 1, err);
    }
    if (rc == OTIMES_OK) {
        values_of(job, 0, job->clean_loss_at, job->clean_logit_at);
        mean_by_text(g->loss_count, g->loss_text, job->clean_loss_at, g->texts, job->loss_clean, 1);
        mean_by_text(g->logit_count, g->logit_text, job->clean_logit_at, g->texts, job->logit_clean,
                     1);
    }
    return rc;
}

int otimes_ablate_measure(ablate_job *job, int64_t first, int64_t slot, int64_t count,
                          otimes_err *err)
{
    const ablate_group *g = &job->group;
    const int64_t total = job->list.count;
    int rc = read_rows(job, g->clean.rows + slot * g->rows, count, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        const int64_t a = job->list.order[first + slot + i];
        double *loss = job->loss_at + i * g->loss_count,
               *logit = job->logit_at + i * g->logit_count;
        values_of(job, i, loss, logit);
        mean_by_text(g->loss_count, g->loss_text, loss, g->texts, job->loss + a, total);
        mean_by_text(g->logit_count, g->logit_text, logit, g->texts, job->logit + a, total);
    }
    if (rc == OTIMES_OK && job->settings->full && job->settings->loss) {
        const taken m = {&job->arrays.loss_at, job->loss_at, job->clean_loss_at,
                         g->loss_row,          g->loss_text, g->loss_count};
        rc = write_changes(job, &m, first + slot, count, err);
    }
    if (rc == OTIMES_OK && job->settings->full && job->settings->target) {
        const taken m = {&job->arrays.logit_at, job->logit_at, job->clean_logit_at,
                         g->logit_row,          g->logit_text, g->logit_count};
        rc = write_changes(job, &m, first + slot, count, err);
    }
    return rc;
}
