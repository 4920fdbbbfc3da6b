/* SPDX-License-Identifier: MIT */
#include "base/dtype.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size;
    bool weight;
} types[OTIMES_DTYPE_COUNT] = {
    [OTIMES_DTYPE_F32] = {"F32", 4, true},          [OTIMES_DTYPE_F16] = {"F16", 2, true},
    [OTIMES_DTYPE_BF16] = {"BF16", 2, true},        [OTIMES_DTYPE_F64] = {"F64", 8, true},
    [OTIMES_DTYPE_F8_E4M3] = {"F8_E4M3", 1, false}, [OTIMES_DTYPE_F8_E5M2] = {"F8_E5M2", 1, false},
    [OTIMES_DTYPE_I64] = {"I64", 8, false},         [OTIMES_DTYPE_I32] = {"I32", 4, false},
    [OTIMES_DTYPE_I16] = {"I16", 2, false},         [OTIMES_DTYPE_I8] = {"I8", 1, false},
    [OTIMES_DTYPE_U64] = {"U64", 8, false},         [OTIMES_DTYPE_U32] = {"U32", 4, false},
    [OTIMES_DTYPE_U16] = {"U16", 2, false},         [OTIMES_DTYPE_U8] = {"U8", 1, false},
    [OTIMES_DTYPE_BOOL] = {"BOOL", 1, false},
};

const char *otimes_dtype_name(otimes_dtype dtype)
{
    return types[dtype].name;
}

size_t otimes_dtype_size(otimes_dtype dtype)
{
    return types[dtype].size;
}

bool otimes_dtype_is_weight(otimes_dtype dtype)
{
    return types[dtype].weight;
}

bool otimes_dtype_parse(const char *name, otimes_dtype *dtype)
{
    for (int i = 0; i < OTIMES_DTYPE_COUNT; i++) {
        if (strcmp(name, types[i].name) == 0) {
            *dtype = (otimes_dtype)i;
            return true;
        }
    }
    return false;
}

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Without branches, so that the loop over it is vectorised: the half's exponent and fraction are
 * moved into place and the product with 2^112 corrects the bias, subnormals included. */
static float float_of_half(uint16_t half)
{
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    const uint32_t scaled = bits_of_float(float_of_bits(magnitude) * 0x1p112f);
    const uint32_t special = magnitude >= 0x0f800000 ? 0x7f800000 | magnitude : scaled;
    return float_of_bits(special | (uint32_t)(half & 0x8000) << 16);
}

void otimes_dtype_read(otimes_dtype dtype, const void *source, int64_t count, float *out)
{
    const unsigned char *bytes = source;
    switch (dtype) {
    case OTIMES_DTYPE_F32:
        memcpy(out, source, (size_t)count * sizeof *out);
        return;
    case OTIMES_DTYPE_F16:
        for (int64_t i = 0; i < count; i++) {
            uint16_t half;
            memcpy(&half, bytes + 2 * i, sizeof half);
            out[i] = float_of_half(half);
        }
        return;
    case OTIMES_DTYPE_BF16:
        for (int64_t i = 0; i < count; i++) {
            uint16_t upper;
            memcpy(&upper, bytes + 2 * i, sizeof upper);
            out[i] = float_of_bits((uint32_t)upper << 16);
        }
        return;
    case OTIMES_DTYPE_F64:
        for (int64_t i = 0; i < count; i++) {
            double value;
            memcpy(&value, bytes + 8 * i, sizeof value);
            out[i] = (float)value;
        }
        return;
    case OTIMES_DTYPE_F8_E4M3:
    case OTIMES_DTYPE_F8_E5M2:
    case OTIMES_DTYPE_I64:
    case OTIMES_DTYPE_I32:
    case OTIMES_DTYPE_I16:
    case OTIMES_DTYPE_I8:
    case OTIMES_DTYPE_U64:
    case OTIMES_DTYPE_U32:
    case OTIMES_DTYPE_U16:
    case OTIMES_DTYPE_U8:
    case OTIMES_DTYPE_BOOL:
    case OTIMES_DTYPE_COUNT:
        break; /* callers ask otimes_dtype_is_weight first */
    }
    memset(out, 0, (size_t)count * sizeof *out);
}

enum { BLOCK_RUN = 64, BLOCK_ACROSS = 16 };

/* Stored columns run along memory where rows were wanted to: read short runs, write them across. */
static void gather_transposed(otimes_dtype dtype, const unsigned char *base, int64_t rows,
                              int64_t columns, int64_t column_stride, float *out)
{
    const int64_t size = (int64_t)otimes_dtype_size(dtype);
    float block[BLOCK_ACROSS][BLOCK_RUN];
    for (int64_t row = 0; row < rows; row += BLOCK_RUN) {
        const int64_t run = rows - row < BLOCK_RUN ? rows - row : BLOCK_RUN;
        for (int64_t column = 0; column < columns; column += BLOCK_ACROSS) {
            const int64_t across =
                columns - column < BLOCK_ACROSS ? columns - column : BLOCK_ACROSS;
            for (int64_t j = 0; j < across; j++) {
                otimes_dtype_read(dtype, base + ((column + j) * column_stride + row) * size, run,
                                  block[j]);
            }
            for (int64_t i = 0; i < run; i++) {
                for (int64_t j = 0; j < across; j++) {
                    out[(row + i) * columns + column + j] = block[j][i];
                }
            }
        }
    }
}

void otimes_dtype_gather(otimes_dtype dtype, const void *source, int64_t offset, int64_t rows,
                         int64_t columns, int64_t row_stride, int64_t column_stride, float *out)
{
    const int64_t size = (int64_t)otimes_dtype_size(dtype);
    const unsigned char *base = (const unsigned char *)source + offset * size;
    if (column_stride == 1 || columns == 1) {
        if (row_stride == columns || rows == 1) {
            otimes_dtype_read(dtype, base, rows * columns, out);
            return;
        }
        for (int64_t i = 0; i < rows; i++) {
            otimes_dtype_read(dtype, base + i * row_stride * size, columns, out + i * columns);
        }
    } else if (row_stride == 1) {
        gather_transposed(dtype, base, rows, columns, column_stride, out);
    } else {
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < columns; j++) {
                otimes_dtype_read(dtype, base + (i * row_stride + j * column_stride) * size, 1,
                                  out + i * columns + j);
            }
        }
    }
}

static uint16_t half_of_float(float value)
{
    const uint32_t bits = bits_of_float(value);
    const uint32_t sign = bits >> 16 & 0x8000;
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude >= 0x7f800000) { /* infinity, or a NaN that stays one */
        return (uint16_t)(sign | 0x7c00 | (magnitude > 0x7f800000 ? 0x200 : 0));
    }
    if (magnitude < 0x38800000) { /* subnormal: adding .5 lets the FPU round at the right bit */
        const float shifted = float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(shifted) - 0x3f000000));
    }
    const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    if (rounded >= 0x47800000) {
        return (uint16_t)(sign | 0x7c00);
    }
    return (uint16_t)(sign | (rounded - 0x38000000) >> 13);
}

void otimes_f32_to_f16(const float *source, int64_t count, uint16_t *out)
{
    for (int64_t i = 0; i < count; i++) {
        out[i] = half_of_float(source[i]);
    }
}

int64_t otimes_first_nonfinite(const float *values, int64_t count)
{
    enum { RUN = 1024 };
    for (int64_t first = 0; first < count; first += RUN) {
        const int64_t end = count - first < RUN ? count : first + RUN;
        int bad = 0; /* an or over a run is vectorised; a search is not */
        for (int64_t i = first; i < end; i++) {
            bad |= (bits_of_float(values[i]) & 0x7f800000) == 0x7f800000;
        }
        for (int64_t i = first; bad && i < end; i++) {
            if ((bits_of_float(values[i]) & 0x7f800000) == 0x7f800000) {
                return i;
            }
        }
    }
    return -1;
}
