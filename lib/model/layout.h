/* SPDX-License-Identifier: MIT
 *
 * Layout strings of the architecture table, made into strides.
 */
#ifndef OTIMES_MODEL_LAYOUT_H
#define OTIMES_MODEL_LAYOUT_H

#include "base/err.h"
#include "model/arch.h"

/* A stored tensor seen through a layout. */
typedef struct otimes_layout {
    int ndim;
    int64_t dim[OTIMES_MAX_DIMS];    /* what the stored shape must be */
    int64_t offset[OTIMES_MAX_DIMS]; /* of the piece along each axis */
    struct {
        int axis;     /* -1: no axis has it, entries repeat */
        int64_t step; /* along that axis */
    } of[OTIMES_DIM_COUNT];
    bool pairs;   /* d_head is in adjacent rotary pairs */
    bool grouped; /* heads are members of groups: of N_KV_HEADS and of GROUP */
} otimes_layout;

/* Resolves a layout with all its dimensions known. OTIMES_ERR_MODEL on overflow. A malformed layout
 * string is our own bug. */
int otimes_layout_resolve(const char *layout, int piece, const int64_t dims[OTIMES_DIM_COUNT],
                          otimes_layout *out, otimes_err *err);

/* Learns dimensions that are still 0 from the stored shape, where the layout gives an axis to one
 * dimension alone. */
void otimes_layout_infer(const char *layout, int ndim, const int64_t *shape,
                         int64_t dims[OTIMES_DIM_COUNT]);

/* Dimension of a canonical layout's axis number `axis`, and how many axes it has. */
otimes_dim otimes_layout_axis(const char *layout, int axis);
int otimes_layout_ndim(const char *layout);

#endif
