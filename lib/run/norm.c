/* SPDX-License-Identifier: MIT */
#include "run/norm.h"

#include <math.h>

#include "base/par.h"
#include "num/stats.h"

enum { ROWS = 32 }; /* that a thread takes at a time */

typedef struct job {
    otimes_norm norm;
    double eps;
    int64_t rows, d, stride_x, stride_out;
    const float *x, *w, *b;
    double *mean;
    float *scale, *out;
} job;

static double mean_of(otimes_norm norm, const float *x, int64_t d)
{
    return norm == OTIMES_NORM_LN ? otimes_sum(x, d) / (double)d : 0;
}

static double root_of(double eps, const float *x, int64_t d, double mean)
{
    return sqrt(otimes_sum_square_deviations(x, d, mean) / (double)d + eps);
}

static void apply(int64_t d, const float *x, double mean, double scale, const float *w,
                  const float *b, float *out)
{
    const double factor = 1 / scale;
    if (!w && !b) {
        for (int64_t i = 0; i < d; i++) {
            out[i] = (float)(((double)x[i] - mean) * factor);
        }
        return;
    }
    for (int64_t i = 0; i < d; i++) {
        const double y = ((double)x[i] - mean) * factor;
        out[i] = (float)(y * (w ? (double)w[i] : 1) + (b ? (double)b[i] : 0));
    }
}

void otimes_norm_rows(otimes_norm norm, double eps, const float *w, const float *b, int64_t rows,
                      int64_t d, float *x)
{
    for (int64_t row = 0; norm != OTIMES_NORM_NONE && row < rows; row++) {
        const double mean = mean_of(norm, x + row * d, d);
        apply(d, x + row * d, mean, root_of(eps, x + row * d, d, mean), w, b, x + row * d);
    }
}

static int64_t end_of(const job *j, int64_t item)
{
    return (item + 1) * ROWS < j->rows ? (item + 1) * ROWS : j->rows;
}

static int statistics_item(void *context, int64_t item, int worker, otimes_err *err)
{
    const job *j = context;
    (void)worker, (void)err;
    for (int64_t row = item * ROWS; row < end_of(j, item); row++) {
        const float *x = j->x + row * j->stride_x;
        j->mean[row] = mean_of(j->norm, x, j->d);
        j->scale[row] = (float)root_of(j->eps, x, j->d, j->mean[row]);
    }
    return OTIMES_OK;
}

static int apply_item(void *context, int64_t item, int worker, otimes_err *err)
{
    const job *j = context;
    (void)worker, (void)err;
    for (int64_t row = item * ROWS; row < end_of(j, item); row++) {
        apply(j->d, j->x + row * j->stride_x, j->mean[row], (double)j->scale[row], j->w, j->b,
              j->out + row * j->stride_out);
    }
    return OTIMES_OK;
}

void otimes_norm_statistics(otimes_norm norm, double eps, int threads, int64_t rows, int64_t d,
                            const float *x, int64_t stride_x, double *mean, float *scale)
{
    job j = {.norm = norm,
             .eps = eps,
             .rows = rows,
             .d = d,
             .stride_x = stride_x,
             .x = x,
             .mean = mean,
             .scale = scale};
    (void)otimes_par_for((rows + ROWS - 1) / ROWS, otimes_par_worth(threads, (double)(rows * d)),
                         statistics_item, &j, NULL);
}

void otimes_norm_apply(int threads, int64_t rows, int64_t d, const float *x, int64_t stride_x,
                       const double *mean, const float *scale, const float *w, const float *b,
                       float *out, int64_t stride_out)
{
    job j = {.rows = rows,
             .d = d,
             .stride_x = stride_x,
             .stride_out = stride_out,
             .x = x,
             .w = w,
             .b = b,
             .mean = (double *)mean,
             .scale = (float *)scale,
             .out = out};
    (void)otimes_par_for((rows + ROWS - 1) / ROWS, otimes_par_worth(threads, (double)(rows * d)),
                         apply_item, &j, NULL);
}
