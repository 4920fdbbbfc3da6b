/* SPDX-License-Identifier: MIT */
#include "model/layout.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

static otimes_dim dim_of_letter(char letter)
{
    switch (letter) {
#define LETTER_CASE(name, character) \
    case character:                  \
        return OTIMES_DIM_##name;
        OTIMES_DIMS(LETTER_CASE)
#undef LETTER_CASE
    default:
        assert(!"letter of a layout");
        return OTIMES_DIM_COUNT;
    }
}

/* One factor of an axis: a dimension, a concatenation of which we are one piece, or a count of
 * interleaved pieces. */
typedef struct factor {
    int64_t extent;  /* elements of this factor along the axis */
    int64_t skipped; /* those before our piece */
    otimes_dim dim;  /* OTIMES_DIM_COUNT for interleaved pieces */
} factor;

/* Reads one factor; returns what is behind it. */
static const char *read_factor(const char *at, int piece, const int64_t *dims, factor *out)
{
    *out = (factor){.dim = OTIMES_DIM_COUNT};
    if (*at >= '2' && *at <= '9') {
        out->extent = *at - '0';
        out->skipped = piece;
        return at + 1;
    }
    if (*at != '[') {
        out->dim = dim_of_letter(*at);
        out->extent = dims[out->dim];
        return at + 1;
    }
    for (at++; *at != ']'; at++) {
        if (*at == ' ') {
            continue;
        }
        const otimes_dim dim = dim_of_letter(*at);
        if (piece == 0) {
            out->dim = dim;
            out->skipped = out->extent;
        }
        out->extent += dims[dim];
        piece--;
    }
    return at + 1;
}

/* One axis: the factors between parentheses, or a single one. */
static const char *read_axis(const char *at, int piece, const int64_t *dims, factor *factors,
                             int *count)
{
    *count = 0;
    if (*at != '(') {
        return read_factor(at, piece, dims, &factors[(*count)++]);
    }
    for (at++; *at != ')';) {
        if (*at == ' ') {
            at++;
            continue;
        }
        assert(*count < OTIMES_MAX_DIMS);
        at = read_factor(at, piece, dims, &factors[(*count)++]);
    }
    return at + 1;
}

static int too_large(const char *layout, otimes_err *err)
{
    return otimes_fail(err, OTIMES_ERR_MODEL, "dimensions of the configuration are too large (%s)",
                       layout);
}

int otimes_layout_resolve(const char *layout, int piece, const int64_t dims[OTIMES_DIM_COUNT],
                          otimes_layout *out, otimes_err *err)
{
    factor factors[OTIMES_MAX_DIMS][OTIMES_MAX_DIMS];
    int counts[OTIMES_MAX_DIMS];
    *out = (otimes_layout){0};
    for (const char *at = layout; *at;) {
        if (*at == ' ') {
            at++;
            continue;
        }
        assert(out->ndim < OTIMES_MAX_DIMS);
        at = read_axis(at, piece, dims, factors[out->ndim], &counts[out->ndim]);
        out->ndim++;
    }
    int64_t stride = 1;
    for (int axis = out->ndim - 1; axis >= 0; axis--) {
        out->dim[axis] = 1;
        for (int f = counts[axis] - 1; f >= 0; f--) {
            const factor *const one = &factors[axis][f];
            if (one->dim != OTIMES_DIM_COUNT) {
                out->stride[one->dim] = stride;
            }
            out->offset += one->skipped * stride;
            if (!otimes_mul_i64(stride, one->extent, &stride)) {
                return too_large(layout, err);
            }
            out->dim[axis] *= one->extent;
        }
    }
    return OTIMES_OK;
}

void otimes_layout_infer(const char *layout, int ndim, const int64_t *shape,
                         int64_t dims[OTIMES_DIM_COUNT])
{
    if (strpbrk(layout, "([0123456789") || otimes_layout_ndim(layout) != ndim) {
        return;
    }
    for (int axis = 0; axis < ndim; axis++) {
        int64_t *dim = &dims[otimes_layout_axis(layout, axis)];
        *dim = *dim ? *dim : shape[axis];
    }
}

otimes_dim otimes_layout_axis(const char *layout, int axis)
{
    return dim_of_letter(layout[2 * axis]); /* single letters, single blanks */
}

int otimes_layout_ndim(const char *layout)
{
    return (int)(strlen(layout) + 1) / 2;
}
