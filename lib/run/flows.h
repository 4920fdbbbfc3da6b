/* SPDX-License-Identifier: MIT
 *
 * What flows to a target through each part of a pass made linear: one sweep of its adjoint from the
 * target back. All paths through a part are summed, without listing any.
 *
 * With g_l [n, d_model] the adjoint of the target behind layer l, out_h what head h writes, and
 * r_h = N* diag(1/s) (A^h^T g W_O^T) W_V^T what the target asks of the stream by h's values:
 *   through head h:                 <g, out_h>
 *   edge h1 -> h2 by values:        <out_h1, r_h2>         an exact sum of paths
 *   edges by queries and keys:      <out_h1, dtarget/dx>   by the linear term: the pattern of h2
 *                                   moves, everything else is frozen
 *   source s at position t:         <g_s[t], source_s[t]>  exact; all add up to the target
 */
#ifndef OTIMES_RUN_FLOWS_H
#define OTIMES_RUN_FLOWS_H

#include "run/linear.h"

/* By what of the later head an edge goes. */
typedef enum otimes_edge_way {
    OTIMES_EDGE_Q,
    OTIMES_EDGE_K,
    OTIMES_EDGE_V,
    OTIMES_EDGE_WAYS
} otimes_edge_way;

/* In all of these biases of attention are sources' and no head's; offset is the target's own. Sums:
 *     source, all entries + offset = the target's value = all direct + offset
 *     head h2 = all of its edges by V: from heads, sources and MLPs that are links
 *     head h1 = its direct + all edges by V to later heads, where no MLP is a link */
typedef struct otimes_flows {
    int64_t heads;   /* n_layers * n_heads */
    int64_t sources; /* of the linear pass */
    double *head;    /* [heads] */
    double *mlp;     /* [n_layers] through MLPs that are links; NaN of others */
    /* By way, from heads [heads, heads], sources [heads, sources] and MLPs that are links [heads,
     * n_layers] into each head, the later part's row; NaN where the earlier does not precede. Those
     * by Q and K are NULL if left out. */
    double *edge[OTIMES_EDGE_WAYS];
    double *source_edge[OTIMES_EDGE_WAYS];
    double *mlp_edge[OTIMES_EDGE_WAYS];
    double *head_direct;   /* [heads] from the head straight to the target */
    double *source_direct; /* [sources] likewise */
    double *mlp_direct;    /* [n_layers] likewise; NaN of those that are no links */
    double *source;        /* [sources, n] by position */
    otimes_pool pool;
} otimes_flows;

/* What queries and keys of the pass are needed for the edges by them; NULL there: left out. */
typedef struct otimes_flow_scores otimes_flow_scores;

/* Hooks that otimes_linear_init is to be given so that edges by queries and keys can be computed.
 * Released by otimes_flow_scores_free. OTIMES_ERR_MEMORY. */
int otimes_flow_scores_init(otimes_flow_scores **scores, const otimes_model *model, int64_t n,
                            otimes_hooks *hooks, otimes_err *err);
void otimes_flow_scores_free(otimes_flow_scores **scores);

/* One sweep. `linear` kept OTIMES_LINEAR_Z; scores may be NULL. About 2 d_model^2 flops a row,
 * layer and matrix, and for edges of each way d_model heads^2 a row. Memory: n n_heads d_head floats a
 * layer and way, n d_model a layer where MLPs are links, and tiles of 128 MiB or one position.
 * Layers are read once a tile: let them be resident. Released by otimes_flows_free in any case.
 * OTIMES_ERR_MEMORY, those of otimes_layers_get. */
int otimes_flows_sweep(otimes_linear *linear, const otimes_linear_target *target,
                       const otimes_flow_scores *scores, otimes_flows *flows, otimes_err *err);
void otimes_flows_free(otimes_flows *flows);

#endif
