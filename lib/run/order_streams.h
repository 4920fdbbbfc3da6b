/* SPDX-License-Identifier: MIT
 *
 * The residual stream by the number of heads that what is in it has gone through: stream k is the
 * sum of all paths through exactly k heads, and their sum the pass' own stream. One sweep over the
 * layers carries all of them:
 *   x_{k+1} += heads(x_k),   x_k += mlp(x_k) where MLPs are links,   x_0 += sources
 * so that n_layers + 1 streams cost about n_layers / 2 frozen passes, however many paths there are.
 */
#ifndef OTIMES_RUN_ORDER_STREAMS_H
#define OTIMES_RUN_ORDER_STREAMS_H

#include "run/linear.h"

/* streams [orders + 1][n, d_model] at the end, those of paths of 0 .. orders heads (what is of higher
 * order is left out); orders at most n_layers. `layers` [n_layers] says whose heads take part
 * (NULL: all); sources of all layers do. OTIMES_ERR_MEMORY, those of otimes_layers_get. */
int otimes_order_streams(otimes_linear *linear, int64_t orders, const bool *layers, float *streams,
                         otimes_err *err);

/* For every set of layers of at most `most` members: what all paths through exactly one head of each
 * of these layers and of no other are worth at the target. visit is called once a set, members
 * ascending, sets in the order of a depth-first walk from the empty one, which has the
 * target's offset as well. Cost: one layer's adjoint a set. Memory: n d_model (n_layers + most)
 * floats. Layers are read once a set: let them be resident. OTIMES_ERR_MEMORY, what visit
 * returned. */
typedef int (*otimes_layer_set_visit)(void *context, int64_t members, const int64_t *layer,
                                      double value, otimes_err *err);
int otimes_layer_sets(otimes_linear *linear, const otimes_linear_target *target, int64_t most,
                      otimes_layer_set_visit visit, void *context, otimes_err *err);

/* How many sets that is. */
double otimes_layer_sets_count(int64_t n_layers, int64_t most);

#endif
