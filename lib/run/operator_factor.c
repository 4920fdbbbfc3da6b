/* SPDX-License-Identifier: MIT
 *
 * Factors: views with names. What cannot be made is none, bears its name all the same, and is
 * refused when it is added to an operator.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <otimes/operator.h>

/* Cut before a character that would not fit whole. */
static otimes_factor named(const char *name, otimes_factor factor)
{
    name = name ? name : "";
    size_t length = strlen(name);
    if (length >= OTIMES_FACTOR_NAME) {
        length = OTIMES_FACTOR_NAME - 1;
        while (length > 0 && ((unsigned char)name[length] & 0xc0) == 0x80) {
            length--;
        }
    }
    for (size_t i = 0; i < length; i++) {
        factor.name[i] = name[i];
    }
    factor.name[length] = '\0';
    return factor;
}

static otimes_factor of_head(const char *name, int64_t layer, int64_t head, otimes_factor factor)
{
    char text[64];
    snprintf(text, sizeof text, "%s[%" PRId64 ".%" PRId64 "]", name, layer, head);
    return named(text, factor);
}

otimes_factor otimes_factor_dense(const char *name, const float *data, int64_t rows,
                                  int64_t columns, int64_t row_stride, int64_t column_stride)
{
    const otimes_factor factor = {.kind = data ? OTIMES_FACTOR_DENSE : OTIMES_FACTOR_NONE,
                                  .rows = rows,
                                  .columns = columns,
                                  .data = data,
                                  .stride = {row_stride, column_stride}};
    return named(name, factor);
}

otimes_factor otimes_factor_pair(const char *name, const otimes_factor *left,
                                 const otimes_factor *right)
{
    const bool fits = left->kind == OTIMES_FACTOR_DENSE && right->kind == OTIMES_FACTOR_DENSE &&
                      left->columns == right->rows;
    const otimes_factor factor = {.kind = fits ? OTIMES_FACTOR_PAIR : OTIMES_FACTOR_NONE,
                                  .rows = left->rows,
                                  .columns = right->columns,
                                  .rank = left->columns,
                                  .data = left->data,
                                  .right = right->data,
                                  .stride = {left->stride[0], left->stride[1]},
                                  .right_stride = {right->stride[0], right->stride[1]}};
    return named(name, factor);
}

static otimes_factor square(const char *name, otimes_factor_kind kind, const float *data, int64_t n)
{
    const otimes_factor factor = {
        .kind = kind, .rows = n, .columns = n, .data = data, .stride = {1, 0}};
    return named(name, factor);
}

otimes_factor otimes_factor_diagonal(const char *name, const float *v, int64_t n)
{
    return square(name, v ? OTIMES_FACTOR_DIAGONAL : OTIMES_FACTOR_NONE, v, n);
}

otimes_factor otimes_factor_inverse_diagonal(const char *name, const float *v, int64_t n)
{
    return square(name, v ? OTIMES_FACTOR_INVERSE_DIAGONAL : OTIMES_FACTOR_NONE, v, n);
}

otimes_factor otimes_factor_centring(const char *name, int64_t n)
{
    return square(name, OTIMES_FACTOR_CENTRING, NULL, n);
}

otimes_factor otimes_factor_selection(const char *name, int64_t q, int64_t n)
{
    const otimes_factor factor = {.kind = q >= 0 && q < n ? OTIMES_FACTOR_SELECTION
                                                          : OTIMES_FACTOR_NONE,
                                  .rows = 1,
                                  .columns = n,
                                  .index = q};
    return named(name, factor);
}

otimes_factor otimes_factor_pattern(int64_t layer, int64_t head, const float *pattern, int64_t n)
{
    return of_head("A", layer, head, otimes_factor_dense(NULL, pattern, n, n, n, 1));
}

otimes_factor otimes_factor_transpose(otimes_factor factor)
{
    otimes_factor t = factor;
    t.rows = factor.columns;
    t.columns = factor.rows;
    switch (factor.kind) {
    case OTIMES_FACTOR_NONE:
    case OTIMES_FACTOR_DIAGONAL:
    case OTIMES_FACTOR_INVERSE_DIAGONAL:
    case OTIMES_FACTOR_CENTRING:
        return t; /* symmetric */
    case OTIMES_FACTOR_DENSE:
    case OTIMES_FACTOR_SELECTION:
        t.stride[0] = factor.stride[1];
        t.stride[1] = factor.stride[0];
        break;
    case OTIMES_FACTOR_PAIR:
        t.data = factor.right;
        t.right = factor.data;
        for (int i = 0; i < 2; i++) {
            t.stride[i] = factor.right_stride[1 - i];
            t.right_stride[i] = factor.stride[1 - i];
        }
        break;
    }
    t.transposed = !factor.transposed;
    return t;
}

/* ---- heads ---- */

/* W[head] of [heads, rows, columns], or none. */
static otimes_factor slice(const otimes_tensor *W, int64_t head)
{
    if (!W->data || head < 0 || head >= W->dim[0]) {
        return otimes_factor_dense(NULL, NULL, 0, 0, 0, 0);
    }
    return otimes_factor_dense(NULL, W->data + head * W->stride[0], W->dim[1], W->dim[2],
                               W->stride[1], W->stride[2]);
}

/* The key/value head that a query head reads; W is one of W_Q, W_O, shared one of W_K, W_V. */
static int64_t group_of(const otimes_tensor *W, const otimes_tensor *shared, int64_t head)
{
    const bool grouped = W->data && shared->data && shared->dim[0] > 0 &&
                         W->dim[0] >= shared->dim[0] && W->dim[0] % shared->dim[0] == 0;
    return grouped ? head / (W->dim[0] / shared->dim[0]) : -1;
}

otimes_factor otimes_factor_ov(const otimes_layer *layer, int64_t head)
{
    const otimes_factor left = otimes_factor_transpose(slice(&layer->W_O, head));
    const otimes_factor right =
        otimes_factor_transpose(slice(&layer->W_V, group_of(&layer->W_O, &layer->W_V, head)));
    return of_head("OV", layer->layer, head, otimes_factor_pair(NULL, &left, &right));
}

otimes_factor otimes_factor_qk(const otimes_layer *layer, int64_t head)
{
    const otimes_factor left = slice(&layer->W_Q, head);
    const otimes_factor right =
        otimes_factor_transpose(slice(&layer->W_K, group_of(&layer->W_Q, &layer->W_K, head)));
    return of_head("QK", layer->layer, head, otimes_factor_pair(NULL, &left, &right));
}

otimes_factor otimes_factor_side(const otimes_layer *layer, int part, int64_t head)
{
    static const otimes_tensor nothing;
    const otimes_tensor *W = &nothing;
    const char *name = "W";
    if (part == OTIMES_PART_Q) {
        W = &layer->W_Q;
        name = "W_Q";
    } else if (part == OTIMES_PART_K) {
        W = &layer->W_K;
        name = "W_K";
    } else if (part == OTIMES_PART_V) {
        W = &layer->W_V;
        name = "W_V";
    } else if (part == OTIMES_PART_O) {
        W = &layer->W_O;
        name = "W_O";
    }
    otimes_factor side = otimes_factor_transpose(slice(W, head));
    side.transposed = 0; /* W_Q names the map x -> x W_Q */
    return of_head(name, layer->layer, head, side);
}
