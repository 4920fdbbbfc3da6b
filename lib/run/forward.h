/* SPDX-License-Identifier: MIT
 *
 * The public forward pass from inside.
 */
#ifndef OTIMES_RUN_FORWARD_H
#define OTIMES_RUN_FORWARD_H

#include "run/pass.h"

struct otimes_forward {
    const otimes_model *model;
    otimes_forward_settings settings;
    otimes_layers layers;
    otimes_batch batch; /* of the last run */
    otimes_pass pass;   /* its workspace stays from run to run */
    float *stream;      /* [rows, d_model]; after a run its final norm */
    float *scale;       /* [rows] of the final norm */
    int64_t capacity;   /* rows there is room for */
};

/* Whether a pass over `rows` tokens, beside own_bytes of the caller's, stays within
 * settings->memory (0: any): OTIMES_ERR_ARGUMENT says what it takes and how many tokens would
 * fit. */
int otimes_forward_plan_check(const otimes_model *model, const otimes_forward_settings *settings,
                              int64_t rows, int64_t longest, int64_t own_bytes, otimes_err *err);

#endif
