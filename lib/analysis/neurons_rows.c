/* SPDX-License-Identifier: MIT
 *
 * Neurons as rows: columns of W_in and W_gate and rows of W_out gathered, and what is said of each by
 * itself.
 */
#include <math.h>
#include <string.h>

#include "analysis/neurons_job.h"
#include "base/par.h"
#include "model/model.h"
#include "num/dot.h"
#include "run/circuit.h"

enum { GROUP = 16 }; /* columns that are gathered in one pass over a matrix: a cache line */

int otimes_neurons_rows_begin(neurons_job *job, otimes_err *err)
{
    const int64_t room = job->room;
    double **const columns[] = {&job->cos_in_out, &job->cos_gate_out, &job->cos_in_gate, &job->b_in,
                                &job->b_gate};
    int rc = OTIMES_OK;
    for (int side = 0; side < SIDES; side++) {
        if (job->has[side]) {
            job->row[side] = otimes_pool_new(&job->pool, job->tile_rows * job->info->d_model,
                                             sizeof(float), &rc, err);
            job->found[side].norm = otimes_pool_new(&job->pool, room, sizeof(double), &rc, err);
        }
    }
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        *columns[i] = otimes_pool_new(&job->pool, room, sizeof(double), &rc, err);
    }
    job->expert = otimes_pool_new(&job->pool, room, sizeof *job->expert, &rc, err);
    if (job->settings->null_directions > 0) {
        job->null_share = otimes_pool_new(&job->pool, room, sizeof(double), &rc, err);
    }
    return rc;
}

/* Number in its own MLP of the unit's i-th chosen neuron. */
static int64_t place(const neurons_job *job, int64_t i)
{
    return job->neurons[job->unit.first + i] - job->unit.base;
}

static void gather_columns(const neurons_job *job, const otimes_tensor *W, int64_t from,
                           int64_t count, float *to)
{
    const int64_t d = job->info->d_model;
    for (int64_t j = 0; j < d; j++) {
        const float *line = W->data + j * W->stride[0];
        for (int64_t i = 0; i < count; i++) {
            to[i * d + j] = line[place(job, from + i) * W->stride[1]];
        }
    }
}

/* Rows of W_out as the stream receives them, but for the scale of a norm behind. */
static int gather_written(const neurons_job *job, int64_t from, int64_t count, float *to,
                          otimes_err *err)
{
    const neurons_unit *unit = &job->unit;
    const int64_t d = job->info->d_model;
    double *wide = NULL;
    const int rc = unit->post ? OTIMES_NEW(&wide, d, err) : OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        const float *row = unit->W_out->data + place(job, from + i) * d;
        if (!unit->post) {
            memcpy(to + i * d, row, (size_t)d * sizeof *to);
            continue;
        }
        for (int64_t j = 0; j < d; j++) {
            wide[j] = (double)row[j];
        }
        otimes_written_columns(job->info, unit->post, 1, wide);
        for (int64_t j = 0; j < d; j++) {
            to[i * d + j] = (float)wide[j];
        }
    }
    otimes_free(wide);
    return rc;
}

static int gather_group(void *context, int64_t group, int worker, otimes_err *err)
{
    const neurons_job *job = context;
    const neurons_unit *unit = &job->unit;
    const int64_t at = group * GROUP, offset = at * job->info->d_model;
    const int64_t count = job->rows - at < GROUP ? job->rows - at : GROUP;
    (void)worker;
    gather_columns(job, unit->W_in, job->tile_first + at, count, job->row[SIDE_IN] + offset);
    if (job->has[SIDE_GATE]) {
        gather_columns(job, unit->W_gate, job->tile_first + at, count,
                       job->row[SIDE_GATE] + offset);
    }
    return gather_written(job, job->tile_first + at, count, job->row[SIDE_OUT] + offset, err);
}

int otimes_neurons_rows_gather(neurons_job *job, int64_t first, int64_t rows, otimes_err *err)
{
    if (job->rows == rows && job->tile_first == first) {
        return OTIMES_OK; /* a unit of one tile is gathered once */
    }
    job->tile_first = first;
    job->rows = rows;
    return otimes_par_for((rows + GROUP - 1) / GROUP, job->model->threads, gather_group, job, err);
}

static double cosine(const neurons_job *job, neurons_side a, neurons_side b, int64_t i)
{
    const int64_t d = job->info->d_model, at = job->tile_first + i;
    if (!job->has[a] || !job->has[b]) {
        return NAN;
    }
    const double norms = job->found[a].norm[at] * job->found[b].norm[at];
    return norms > 0 ? otimes_dot(job->row[a] + i * d, job->row[b] + i * d, d) / norms : NAN;
}

static double null_share(const neurons_job *job, int64_t i)
{
    const int64_t d = job->info->d_model;
    const double norm = job->found[SIDE_OUT].norm[job->tile_first + i];
    double sum = 0;
    for (int64_t k = 0; k < job->settings->null_directions; k++) {
        const double part = otimes_dot(job->row[SIDE_OUT] + i * d, job->null_rows + k * d, d);
        sum += part * part;
    }
    return norm > 0 ? sum / (norm * norm) : NAN;
}

static double bias(const otimes_tensor *b, int64_t n)
{
    return b && b->data ? (double)b->data[n] : NAN;
}

static int measure_row(void *context, int64_t i, int worker, otimes_err *err)
{
    const neurons_job *job = context;
    const int64_t d = job->info->d_model, at = job->tile_first + i;
    (void)worker, (void)err;
    for (int side = 0; side < SIDES; side++) {
        if (job->has[side]) {
            const float *row = job->row[side] + i * d;
            job->found[side].norm[at] = sqrt(otimes_dot(row, row, d));
        }
    }
    job->cos_in_out[at] = cosine(job, SIDE_IN, SIDE_OUT, i);
    job->cos_gate_out[at] = cosine(job, SIDE_GATE, SIDE_OUT, i);
    job->cos_in_gate[at] = cosine(job, SIDE_IN, SIDE_GATE, i);
    job->b_in[at] = bias(job->unit.b_in, place(job, at));
    job->b_gate[at] = bias(job->unit.b_gate, place(job, at));
    job->expert[at] = job->unit.expert;
    if (job->null_share) {
        job->null_share[at] = null_share(job, i);
    }
    return OTIMES_OK;
}

int otimes_neurons_rows_measure(neurons_job *job, otimes_err *err)
{
    return otimes_par_for(job->rows, job->model->threads, measure_row, job, err);
}
