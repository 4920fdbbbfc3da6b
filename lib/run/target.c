/* SPDX-License-Identifier: MIT */
#include "run/target.h"

#include "base/mem.h"
#include "model/model.h"
#include "num/stats.h"

void otimes_target_through_norm(const otimes_model *model, const otimes_unembed *unembed,
                                float *direction, double *offset)
{
    const int64_t d = model->info.d_model;
    double mean = 0;
    for (int64_t i = 0; i < d; i++) {
        *offset += unembed->ln_b ? (double)unembed->ln_b[i] * (double)direction[i] : 0;
        direction[i] *= unembed->ln_w ? unembed->ln_w[i] : 1;
        mean += (double)direction[i] / (double)d;
    }
    for (int64_t i = 0; model->info.norm == OTIMES_NORM_LN && i < d; i++) {
        direction[i] = (float)((double)direction[i] - mean);
    }
}

int otimes_target_direction(const otimes_model *model, const otimes_unembed *unembed, int64_t token,
                            int64_t against, float *direction, double *offset, otimes_err *err)
{
    const int64_t d = model->info.d_model;
    float *other = NULL;
    int rc = otimes_unembed_rows(unembed, token, 1, direction, err);
    *offset = unembed->bias ? (double)unembed->bias[token] : 0;
    if (rc == OTIMES_OK && against >= 0) {
        *offset -= unembed->bias ? (double)unembed->bias[against] : 0;
        rc = OTIMES_NEW(&other, d, err);
    }
    if (rc == OTIMES_OK && other) {
        rc = otimes_unembed_rows(unembed, against, 1, other, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && other && i < d; i++) {
        direction[i] -= other[i];
    }
    otimes_free(other);
    if (rc == OTIMES_OK) {
        otimes_target_through_norm(model, unembed, direction, offset);
    }
    return rc;
}
