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
    /* Quantised in blocks (base/quant.h); the rest are plain: a block is one element. */
    OTIMES_DTYPE_Q4_0,
    OTIMES_DTYPE_Q4_1,
    OTIMES_DTYPE_Q5_0,
    OTIMES_DTYPE_Q5_1,
    OTIMES_DTYPE_Q8_0,
    OTIMES_DTYPE_Q2_K,
    OTIMES_DTYPE_Q3_K,
    OTIMES_DTYPE_Q4_K,
    OTIMES_DTYPE_Q5_K,
    OTIMES_DTYPE_Q6_K,
    OTIMES_DTYPE_MXFP4,
    OTIMES_DTYPE_MXFP4_APART, /* as Hugging Face keeps it: scales in a tensor of their own */
    OTIMES_DTYPE_COUNT
} otimes_dtype;

/* Numbers as they lie in a file; need not be aligned. */
typedef struct otimes_source {
    otimes_dtype dtype;
    const unsigned char *data;
    const unsigned char *scales; /* one byte a block for MXFP4_APART; else NULL */
} otimes_source;

/* "F32", "BF16" ... as safetensors spells them, "Q4_K" ... as GGUF does. Both forms of MXFP4 are
 * "MXFP4". */
const char *otimes_dtype_name(otimes_dtype dtype);
/* Elements and bytes of one block, without a scale kept apart; a plain type's block is one
 * element. */
int64_t otimes_dtype_block(otimes_dtype dtype);
size_t otimes_dtype_size(otimes_dtype dtype);
/* Bytes of `elements` elements; false when these are negative or no whole number of blocks, or when
 * the product exceeds INT64_MAX. */
bool otimes_dtype_bytes(otimes_dtype dtype, int64_t elements, int64_t *bytes);
/* A plain type by name; false when there is no such type. */
bool otimes_dtype_parse(const char *name, otimes_dtype *dtype);
/* Whether weights of this type can be read as float32. */
bool otimes_dtype_is_weight(otimes_dtype dtype);

/* Converts count consecutive numbers to float32, from the beginning of a block on. dtype must be a
 * weight type that keeps no scales apart; F64 is rounded to nearest. source need not be aligned and
 * holds whole blocks. */
void otimes_dtype_read(otimes_dtype dtype, const void *source, int64_t count, float *out);

/* Reads a matrix out[i * columns + j] = source[offset + i * row_stride + j * column_stride],
 * strides and offset in elements and none negative, in runs along memory, so that transposed
 * layouts cost a pass over memory and not a cache miss (or the decoding of a block) an element. */
void otimes_dtype_gather(otimes_source source, int64_t offset, int64_t rows, int64_t columns,
                         int64_t row_stride, int64_t column_stride, float *out);

/* float32 to IEEE half, to nearest even; overflow gives infinity. */
void otimes_f32_to_f16(const float *source, int64_t count, uint16_t *out);

/* Index of the first NaN or infinity, or -1. */
int64_t otimes_first_nonfinite(const float *values, int64_t count);

#endif
