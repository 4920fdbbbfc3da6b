/* SPDX-License-Identifier: MIT
 *
 * A head's circuits as sides of factored matrices:
 *   W_OV = W_V W_O   = (value side) (output side)^T
 *   W_QK = W_Q W_K^T = (query side) (key side)^T
 * Key and value sides belong to a key/value head and are shared by its group of query heads.
 */
#ifndef OTIMES_RUN_CIRCUIT_H
#define OTIMES_RUN_CIRCUIT_H

#include <stdbool.h>

#include <otimes/model.h>

#include "num/factored.h"

/* Sides [d_model, d_head] of a loaded layer; head is a query head for query and output, a key/value
 * head for key and value. With `bias`, b_Q or b_K is one more row (zeros if the model has none):
 * (x, 1) W_QK (y, 1)^T is then the score with its biases. */
int otimes_query_side(const otimes_layer *layer, int64_t head, bool bias, otimes_side *side,
                      otimes_err *err);
int otimes_key_side(const otimes_layer *layer, int64_t kv_head, bool bias, otimes_side *side,
                    otimes_err *err);
int otimes_value_side(const otimes_layer *layer, int64_t kv_head, otimes_side *side,
                      otimes_err *err);
int otimes_output_side(const otimes_layer *layer, int64_t head, otimes_side *side, otimes_err *err);

/* The output side as the stream receives it: where a norm stands behind W_O it is put through
 * otimes_written_columns with that norm's weight. */
int otimes_written_side(const otimes_layer *layer, const otimes_model_info *info, int64_t head,
                        otimes_side *side, otimes_err *err);

/* x [d_model, columns], each column a write in front of a norm with weight w, as what the norm makes of
 * it up to a positive factor at each position: the mean away (LayerNorm), times w. */
void otimes_written_columns(const otimes_model_info *info, const float *w, int64_t columns,
                            double *x);

/* The dimension of the space in which writers and readers of the stream would lie if they were random:
 * d_model, less 1 once LayerNorm is folded and both lack the mean direction. */
int64_t otimes_link_dimension(const otimes_model_info *info);

#endif
