/* SPDX-License-Identifier: MIT
 *
 * What the files of the `orders` analysis share: the request, the streams of a text, its losses.
 */
#ifndef OTIMES_ANALYSIS_ORDERS_JOB_H
#define OTIMES_ANALYSIS_ORDERS_JOB_H

#include <stdbool.h>

#include <otimes/orders.h>

#include "base/mem.h"
#include "base/sink.h"
#include "run/linear.h"
#include "run/texts.h"

/* Means over the measured tokens of one text, as they are written. */
typedef struct orders_results {
    int64_t predicted;
    double model;
    double *loss, *gain;                             /* [n_layers + 1] */
    double *only, *without, *marginal, *conditional; /* [n_layers] */
    float *token;                                    /* [n_layers + 1, longest] with `full` */
} orders_results;

typedef struct orders_job {
    const otimes_model *model;
    const otimes_model_info *info;
    const otimes_orders_settings *settings;
    otimes_sink *sink;
    otimes_pulse pulse; /* in tokens */
    otimes_texts texts;
    otimes_layers layers;
    bool shares;
    int64_t partials; /* streams that are read out, the pass' own included */

    /* Of the text at hand, [longest, d_model] a stream. */
    float *order;          /* [n_layers + 1] paths of exactly, then of at most so many heads */
    float *only, *without; /* [n_layers + 1] otimes_orders_layers'; NULL without shares */
    float *normal;         /* [partials, measured, d_model] */
    int64_t *target;       /* [partials * measured] */
    float *target_logit;
    double *logsumexp;
    double *mean; /* [partials] */
    orders_results results;
    otimes_pool pool; /* every buffer above */
} orders_job;

/* The streams at the end that leave out layers of heads, all in one sweep:
 *   only [n_layers + 1][n, d_model]: [0] all paths through no head, [1 + l] and those through one
 *     head of layer l
 *   without [n_layers + 1][n, d_model]: [0] all paths, [1 + l] those through no head of layer l
 * Each is the same as [0] before its layer and begins there: about n_layers / 2 frozen passes, and
 * as many again of the MLPs where they are links. OTIMES_ERR_MEMORY, those of otimes_layers_get. */
int otimes_orders_layers(otimes_linear *linear, float *only, float *without, otimes_err *err);

/* Bytes that it takes beside the streams. */
int64_t otimes_orders_layers_bytes(const otimes_model *model, int64_t n);

/* An array of results. */
typedef struct orders_output {
    otimes_array array;
    int about; /* place in the list of what there is */
    int id;
} orders_output;

enum { ORDERS_OUTPUTS = 9 };

/* The job and this must outlive the sink. */
typedef struct orders_writer {
    orders_job *job;
    otimes_axis order, layer;
    orders_output outputs[ORDERS_OUTPUTS];
    int count;
} orders_writer;

/* Facts, texts, then every array declared. */
int otimes_orders_declare(orders_writer *writer, orders_job *job, otimes_err *err);

/* Whether the sink has all of a text already. */
bool otimes_orders_is_done(const orders_writer *writer, int64_t text);

/* job->results as those of a text. */
int otimes_orders_write(const orders_writer *writer, int64_t text, otimes_err *err);

#endif
