/* SPDX-License-Identifier: MIT */
#include "run/circuit.h"

/* One head of W [heads, d_model, d_head]. */
static int reader_side(const otimes_tensor *W, const otimes_tensor *b, int64_t head, bool bias,
                       otimes_side *side, otimes_err *err)
{
    int rc = otimes_side_init(side, W->dim[1], W->dim[2], W->data + head * W->stride[0],
                              W->stride[1], W->stride[2], err);
    if (rc == OTIMES_OK && bias) {
        rc = otimes_side_append_row(side, b->data ? b->data + head * b->stride[0] : NULL, err);
    }
    return rc;
}

int otimes_query_side(const otimes_layer *layer, int64_t head, bool bias, otimes_side *side,
                      otimes_err *err)
{
    return reader_side(&layer->W_Q, &layer->b_Q, head, bias, side, err);
}

int otimes_key_side(const otimes_layer *layer, int64_t kv_head, bool bias, otimes_side *side,
                    otimes_err *err)
{
    return reader_side(&layer->W_K, &layer->b_K, kv_head, bias, side, err);
}

int otimes_value_side(const otimes_layer *layer, int64_t kv_head, otimes_side *side,
                      otimes_err *err)
{
    return reader_side(&layer->W_V, &layer->b_V, kv_head, false, side, err);
}

int otimes_output_side(const otimes_layer *layer, int64_t head, otimes_side *side, otimes_err *err)
{
    const otimes_tensor *W = &layer->W_O; /* [heads, d_head, d_model]: transposed */
    return otimes_side_init(side, W->dim[2], W->dim[1], W->data + head * W->stride[0], W->stride[2],
                            W->stride[1], err);
}

int otimes_written_side(const otimes_layer *layer, const otimes_model_info *info, int64_t head,
                        otimes_side *side, otimes_err *err)
{
    const int rc = otimes_output_side(layer, head, side, err);
    const float *w = layer->ln1_post_w.data;
    if (rc == OTIMES_OK && w) {
        otimes_written_columns(info, w, side->rank, side->x);
    }
    return rc;
}

void otimes_written_columns(const otimes_model_info *info, const float *w, int64_t columns,
                            double *x)
{
    const int64_t d = info->d_model;
    for (int64_t j = 0; j < columns; j++) {
        double mean = 0;
        for (int64_t i = 0; info->norm == OTIMES_NORM_LN && i < d; i++) {
            mean += x[i * columns + j] / (double)d;
        }
        for (int64_t i = 0; i < d; i++) {
            x[i * columns + j] = (x[i * columns + j] - mean) * (double)w[i];
        }
    }
}

static bool done(otimes_step step)
{
    return step == OTIMES_STEP_APPLIED || step == OTIMES_STEP_DONE_IN_FILE;
}

int64_t otimes_link_dimension(const otimes_model_info *info)
{
    const bool centred =
        info->norm == OTIMES_NORM_LN && done(info->fold_ln) && done(info->center_writing_weights);
    return info->d_model - (centred && info->d_model > 1);
}
