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
    case 'r':
        return OTIMES_DIM_D_HEAD;
    default: /* unreached: layouts are ours */
        assert(false && "letter of a layout");
        return OTIMES_DIM_COUNT;
    }
}

static bool is_count(char letter)
{
    return letter >= '1' && letter <= '9';
}

/* One factor of an axis: a dimension, a concatenation of which we are one piece, or a count of
 * interleaved pieces. */
typedef struct factor {
    int64_t extent;  /* elements of this factor along the axis */
    int64_t skipped; /* those before our piece */
    otimes_dim dim;  /* OTIMES_DIM_COUNT where our piece has none */
    bool pairs;
} factor;

/* The letters between brackets, the piece's own among them. */
static const char *read_pieces(const char *at, int piece, const int64_t *dims, factor *out)
{
    for (; *at != ']'; at++) {
        if (*at == ' ') {
            continue;
        }
        const otimes_dim dim = is_count(*at) ? OTIMES_DIM_COUNT : dim_of_letter(*at);
        if (piece-- == 0) {
            out->dim = dim;
            out->skipped = out->extent;
        }
        out->extent += dim == OTIMES_DIM_COUNT ? *at - '0' : dims[dim];
    }
    return at + 1;
}

/* Reads one factor; returns what is behind it. */
static const char *read_factor(const char *at, int piece, const int64_t *dims, factor *out)
{
    *out = (factor){.dim = OTIMES_DIM_COUNT};
    if (*at == '[') {
        return read_pieces(at + 1, piece, dims, out);
    }
    if (is_count(*at)) {
        out->extent = *at - '0';
        out->skipped = piece;
    } else {
        out->dim = dim_of_letter(*at);
        out->pairs = *at == 'r';
        out->extent = dims[out->dim];
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

/* Factors of one axis, the last one fastest. False on overflow. */
static bool place_axis(const factor *factors, int count, int axis, otimes_layout *out)
{
    int64_t step = 1;
    for (int f = count - 1; f >= 0; f--) {
        const factor *const one = &factors[f];
        int64_t skipped;
        if (one->dim != OTIMES_DIM_COUNT) {
            out->of[one->dim].axis = axis;
            out->of[one->dim].step = step;
            out->pairs |= one->pairs;
            out->grouped |= one->dim == OTIMES_DIM_GROUP;
        }
        if (!otimes_mul_i64(one->skipped, step, &skipped) ||
            !otimes_mul_i64(step, one->extent, &step)) {
            return false;
        }
        out->offset[axis] += skipped;
    }
    out->dim[axis] = step;
    return true;
}

int otimes_layout_resolve(const char *layout, int piece, const int64_t dims[OTIMES_DIM_COUNT],
                          otimes_layout *out, otimes_err *err)
{
    int64_t elements = 1;
    *out = (otimes_layout){0};
    for (int dim = 0; dim < OTIMES_DIM_COUNT; dim++) {
        out->of[dim].axis = -1;
    }
    for (const char *at = layout; *at;) {
        factor factors[OTIMES_MAX_DIMS];
        int count;
        if (*at == ' ') {
            at++;
            continue;
        }
        assert(out->ndim < OTIMES_MAX_DIMS);
        at = read_axis(at, piece, dims, factors, &count);
        if (!place_axis(factors, count, out->ndim, out) ||
            !otimes_mul_i64(elements, out->dim[out->ndim], &elements)) {
            return otimes_fail(err, OTIMES_ERR_MODEL,
                               "dimensions of the configuration are too large (%s)", layout);
        }
        out->ndim++;
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
