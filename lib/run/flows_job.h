/* SPDX-License-Identifier: MIT
 *
 * What the files of flows share.
 */
#ifndef OTIMES_RUN_FLOWS_JOB_H
#define OTIMES_RUN_FLOWS_JOB_H

#include "run/flows.h"

/* Queries and keys as scores are made of them, but for the weights of a norm where nothing rotates
 * (otimes_flow_normed), and values, all with their biases. */
struct otimes_flow_scores {
    const otimes_model *model;
    const otimes_model_info *info;
    int64_t n;
    float **q, **k, **v;        /* [n_layers] [n, n_heads * d_head], [n, n_kv_heads * d_head] */
    float **q_scale, **k_scale; /* [n_layers] [n, heads of a norm] what norms of queries and keys
                                    divided by; NULL without */
    unsigned char **q_free,
        **k_free;   /* likewise [n, heads * d_head] 0 where clip_qkv held one; NULL
                                         without */
    float *turn[2]; /* [n, rotary dim] cos, sin by position, of rope and local_rope */
    otimes_pool pool;
};

enum { OTIMES_FLOW_TILE = 128 << 20 }; /* bytes of what a tile of positions writes and asks */

typedef struct flow_job {
    otimes_linear *linear;
    const otimes_model_info *info;
    const otimes_linear_target *target;
    const otimes_flow_scores *scores;
    otimes_flows *flows;
    int64_t tile_bytes;
    int64_t n, d, e, wide, kv;       /* wide = n_heads * d_head, kv = n_kv_heads * d_head */
    int64_t live;                    /* positions that can reach the target's */
    float **asked[OTIMES_EDGE_WAYS]; /* [n_layers] [n, wide] what the target asks of each head's
                                        queries, keys, values, biases out of sight; NULL: left out */
    float **mlp_out;                 /* [n_layers] [n, d_model] what MLPs that are links write */
    float **value_bias; /* [n_layers] [kv] that all values have beside what is linear; NULL: none */
    otimes_pool pool;
} flow_job;

/* otimes_flows_sweep with tiles of another size. */
int otimes_flows_sweep_tiled(otimes_linear *linear, const otimes_linear_target *target,
                             const otimes_flow_scores *scores, int64_t tile_bytes,
                             otimes_flows *flows, otimes_err *err);

/* Of a head's z, rows first .. first+rows-1 without what biases of values made of it. z [rows] with
 * rows `stride` apart. */
void otimes_flow_z(const flow_job *job, int64_t layer, int64_t head, int64_t first, int64_t rows,
                   float *z, int64_t stride);

/* asked[Q], asked[K] of a layer from y [n, wide], the adjoint at z: the pattern moves with its
 * scores, all else is frozen. 6 d_head flops a query, key and head. OTIMES_ERR_MEMORY. */
int otimes_flow_ask_scores(flow_job *job, const otimes_ready_layer *layer, const float *y,
                           otimes_err *err);

/* All edges and what heads and MLPs write straight to the target, a tile of positions at a time.
 * Those of otimes_layers_get, OTIMES_ERR_MEMORY. */
int otimes_flow_edges(flow_job *job, otimes_err *err);

#endif
