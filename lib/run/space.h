/* SPDX-License-Identifier: MIT
 *
 * What one chunk of a pass works on: allocated for the largest chunk so far, told beforehand.
 */
#ifndef OTIMES_RUN_SPACE_H
#define OTIMES_RUN_SPACE_H

#include "run/pass.h"
#include "run/rope.h"

enum {
    OTIMES_QUERY_ROWS = 128, /* queries whose scores a worker holds at once */
    OTIMES_MLP_ROWS = 1024   /* rows that go through an MLP together */
};

/* Buffers by name, element type and count. r rows of a chunk, k keys of the longest sequence, s rows
 * in the MLP, w workers; sizes of the model in info. */
#define OTIMES_SPACE(X)                                                             \
    X(read, float, r * info->d_model) /* what a block reads */                      \
    X(positional, float, shortformer *r * info->d_model)                            \
    X(qkv, float, r *(info->n_heads + 2 * info->n_kv_heads) * info->d_head)         \
    X(z, float, r * info->n_heads * info->d_head)                                   \
    X(out, float, r * info->d_model) /* what attention writes */                    \
    X(mlp_out, float, parallel *r * info->d_model)                                  \
    X(mean, double, r)                                                              \
    X(scale, float, r)                                                              \
    X(inner, float, s *widest) /* neurons before and after activation */            \
    X(gate, float, gated *s *widest)                                                \
    X(expert_weights, float, r * info->n_experts)                                   \
    X(expert_rows, int64_t, experts *s) /* rows of the batch that an expert sees */ \
    X(gathered, float, experts *s * info->d_model)                                  \
    X(expert_out, float, experts *s * info->d_model)                                \
    X(strips, float, w *OTIMES_QUERY_ROWS *k) /* scores */                          \
    X(items, int64_t, r + 1)                  /* of attention, by sequence */       \
    X(rotation, float, k * 2 * rotated)       /* cosines and sines by position, of either base */

struct otimes_workspace {
    int64_t rows, keys; /* there is room for */
#define OTIMES_SPACE_FIELD(name, type, count) type *name;
    OTIMES_SPACE(OTIMES_SPACE_FIELD)
#undef OTIMES_SPACE_FIELD
    float *local_rotation; /* behind `rotation`: of layers with the other base */
    float *factor;         /* [s, d_mlp] for the gate hook of a plain MLP, made when it is wanted */
    double *slopes;        /* [n_heads] of ALiBi */
};

/* Room for chunks of `rows` rows with up to `keys` keys; what was there is lost when it grows. */
int otimes_space_need(otimes_pass *pass, int64_t rows, int64_t keys, otimes_err *err);

/* Bytes of it: all but the strips, and the strips. */
void otimes_space_bytes(const otimes_model *model, int64_t rows, int64_t keys, int64_t *chunk,
                        int64_t *strips);

void otimes_space_free(struct otimes_workspace **space);

/* The visitor's turn, if it asked for the hook. first counts rows of the batch. */
int otimes_pass_visit(const otimes_pass *pass, otimes_hook hook, int64_t layer, int64_t first,
                      int64_t rows, int64_t columns, float *data, int64_t stride, otimes_err *err);

/* Whether the visitor asked for any of these points. */
static inline bool otimes_pass_wants(const otimes_pass *pass, uint64_t points)
{
    return pass->hooks && (pass->hooks->points & points) != 0;
}

/* The model's norm over rows [rows, d_model] into out, with the hooks of its scale and of its result
 * (OTIMES_HOOK_COUNT: none). */
typedef struct otimes_norm_site {
    otimes_norm norm;
    otimes_hook scale, normalized;
    int64_t layer;
    const float *w, *b;
} otimes_norm_site;

int otimes_pass_norm(otimes_pass *pass, const otimes_norm_site *site, int64_t first, int64_t rows,
                     const float *x, float *out, otimes_err *err);

/* y += x over count entries, shared among threads. */
void otimes_pass_add(const otimes_pass *pass, int64_t count, const float *x, float *y);

#endif
