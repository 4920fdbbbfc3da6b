/* SPDX-License-Identifier: MIT
 *
 * Number formats of weight files and their conversion. Above this file every weight is float32.
 */
#ifndef OTIMES_BASE_DTYPE_H
#define OTIMES_BASE_DTYPE_H

#include <stdbool.h>

#include "base/err.h"

typedef enum otimes_dtype {
    OTIMES_DTYPE_F32,
    OTIMES_DTYPE_F16,
    OTIMES_DTYPE_BF16,
    OTIMES_DTYPE_F64,
    OTIMES_DTYPE_F8_E4M3,
    OTIMES_DTYPE_F8_E5M2,
    OTIMES_DTYPE_I64,
    OTIMES_DTYPE_I32,
    OTIMES_DTYPE_I16,
    OTIMES_DTYPE_I8,
    OTIMES_DTYPE_U64,
    OTIMES_DTYPE_U32,
    OTIMES_DTYPE_U16,
    OTIMES_DTYPE_U8,
    OTIMES_DTYPE_BOOL,
    OTIMES_DTYPE_COUNT
} otimes_dtype;

/* "F32", "BF16" ... as safetensors spells them. */
const char *otimes_dtype_name(otimes_dtype dtype);
size_t otimes_dtype_size(otimes_dtype dtype);
/* By name; false when there is no such type. */
bool otimes_dtype_parse(const char *name, otimes_dtype *dtype);
/* Whether weights of this type can be read as float32. */
bool otimes_dtype_is_weight(otimes_dtype dtype);

/* Converts count consecutive numbers to float32. dtype must be a weight type; F64 is rounded to
 * nearest. source need not be aligned. */
void otimes_dtype_read(otimes_dtype dtype, const void *source, int64_t count, float *out);

/* Reads a matrix out[i * columns + j] = source[offset + i * row_stride + j * column_stride],
 * strides and offset in elements, in blocks, so that transposed layouts cost a pass over memory and
 * not a cache miss an element. */
void otimes_dtype_gather(otimes_dtype dtype, const void *source, int64_t offset, int64_t rows,
                         int64_t columns, int64_t row_stride, int64_t column_stride, float *out);

/* float32 to IEEE half, to nearest even; overflow gives infinity. */
void otimes_f32_to_f16(const float *source, int64_t count, uint16_t *out);

/* Index of the first NaN or infinity, or -1. */
int64_t otimes_first_nonfinite(const float *values, int64_t count);

#endif
