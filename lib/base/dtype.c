/* SPDX-License-Identifier: MIT */
#include "base/dtype.h"

#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/quant.h"

static const struct {
    const char *name;
    int64_t block; /* elements */
    size_t size;   /* bytes of a block */
    bool weight;
} types[OTIMES_DTYPE_COUNT] = {
    [OTIMES_DTYPE_F32] = {"F32", 1, 4, true},
    [OTIMES_DTYPE_F16] = {"F16", 1, 2, true},
    [OTIMES_DTYPE_BF16] = {"BF16", 1, 2, true},
    [OTIMES_DTYPE_F64] = {"F64", 1, 8, true},
    [OTIMES_DTYPE_F8_E4M3] = {"F8_E4M3", 1, 1, false},
    [OTIMES_DTYPE_F8_E5M2] = {"F8_E5M2", 1, 1, false},
    [OTIMES_DTYPE_I64] = {"I64", 1, 8, false},
    [OTIMES_DTYPE_I32] = {"I32", 1, 4, false},
    [OTIMES_DTYPE_I16] = {"I16", 1, 2, false},
    [OTIMES_DTYPE_I8] = {"I8", 1, 1, false},
    [OTIMES_DTYPE_U64] = {"U64", 1, 8, false},
    [OTIMES_DTYPE_U32] = {"U32", 1, 4, false},
    [OTIMES_DTYPE_U16] = {"U16", 1, 2, false},
    [OTIMES_DTYPE_U8] = {"U8", 1, 1, false},
    [OTIMES_DTYPE_BOOL] = {"BOOL", 1, 1, false},
    [OTIMES_DTYPE_Q4_0] = {"Q4_0", 32, 18, true},
    [OTIMES_DTYPE_Q4_1] = {"Q4_1", 32, 20, true},
    [OTIMES_DTYPE_Q5_0] = {"Q5_0", 32, 22, true},
    [OTIMES_DTYPE_Q5_1] = {"Q5_1", 32, 24, true},
    [OTIMES_DTYPE_Q8_0] = {"Q8_0", 32, 34, true},
    [OTIMES_DTYPE_Q2_K] = {"Q2_K", 256, 84, true},
    [OTIMES_DTYPE_Q3_K] = {"Q3_K", 256, 110, true},
    [OTIMES_DTYPE_Q4_K] = {"Q4_K", 256, 144, true},
    [OTIMES_DTYPE_Q5_K] = {"Q5_K", 256, 176, true},
    [OTIMES_DTYPE_Q6_K] = {"Q6_K", 256, 210, true},
    [OTIMES_DTYPE_MXFP4] = {"MXFP4", 32, 17, true},
    [OTIMES_DTYPE_MXFP4_APART] = {"MXFP4", 32, 16, true},
};

const char *otimes_dtype_name(otimes_dtype dtype)
{
    return types[dtype].name;
}

int64_t otimes_dtype_block(otimes_dtype dtype)
{
    return types[dtype].block;
}

size_t otimes_dtype_size(otimes_dtype dtype)
{
    return types[dtype].size;
}

bool otimes_dtype_bytes(otimes_dtype dtype, int64_t elements, int64_t *bytes)
{
    return elements % types[dtype].block == 0 &&
           otimes_mul_i64(elements / types[dtype].block, (int64_t)types[dtype].size, bytes);
}

bool otimes_dtype_is_weight(otimes_dtype dtype)
{
    return types[dtype].weight;
}

bool otimes_dtype_parse(const char *name, otimes_dtype *dtype)
{
    for (int i = 0; i < OTIMES_DTYPE_COUNT; i++) {
        if (types[i].block == 1 && strcmp(name, types[i].name) == 0) {
            *dtype = (otimes_dtype)i;
            return true;
        }
    }
    return false;
}

/* The elements from number `first` of a block type on: pieces of blocks at both ends, whole blocks
 * between them. */
static void read_blocks(otimes_source source, int64_t first, int64_t count, float *out)
{
    const int64_t block = types[source.dtype].block, skip = first % block;
    int64_t at = first / block;
    float piece[OTIMES_QUANT_LONGEST];
    if (skip > 0 && count > 0) {
        const int64_t head = count < block - skip ? count : block - skip;
        otimes_quant_decode(source, at, 1, piece);
        memcpy(out, piece + skip, (size_t)head * sizeof *out);
        at++;
        out += head;
        count -= head;
    }
    otimes_quant_decode(source, at, count / block, out);
    if (count % block > 0) {
        otimes_quant_decode(source, at + count / block, 1, piece);
        memcpy(out + count / block * block, piece, (size_t)(count % block) * sizeof *out);
    }
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
            out[i] = otimes_float_of_half(half);
        }
        return;
    case OTIMES_DTYPE_BF16:
        for (int64_t i = 0; i < count; i++) {
            uint16_t upper;
            memcpy(&upper, bytes + 2 * i, sizeof upper);
            out[i] = otimes_float_of_bits((uint32_t)upper << 16);
        }
        return;
    case OTIMES_DTYPE_F64:
        for (int64_t i = 0; i < count; i++) {
            double value;
            memcpy(&value, bytes + 8 * i, sizeof value);
            out[i] = (float)value;
        }
        return;
    case OTIMES_DTYPE_Q4_0:
    case OTIMES_DTYPE_Q4_1:
    case OTIMES_DTYPE_Q5_0:
    case OTIMES_DTYPE_Q5_1:
    case OTIMES_DTYPE_Q8_0:
    case OTIMES_DTYPE_Q2_K:
    case OTIMES_DTYPE_Q3_K:
    case OTIMES_DTYPE_Q4_K:
    case OTIMES_DTYPE_Q5_K:
    case OTIMES_DTYPE_Q6_K:
    case OTIMES_DTYPE_MXFP4:
        read_blocks((otimes_source){.dtype = dtype, .data = bytes}, 0, count, out);
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
    case OTIMES_DTYPE_MXFP4_APART:
    case OTIMES_DTYPE_COUNT:
        break; /* unreached: callers ask otimes_dtype_is_weight, and gather where scales are apart */
    }
    memset(out, 0, (size_t)count * sizeof *out); /* unreached: as above */
}

/* `count` elements from number `first` on. */
static void read_run(otimes_source source, int64_t first, int64_t count, float *out)
{
    if (types[source.dtype].block > 1) {
        read_blocks(source, first, count, out);
    } else {
        const int64_t size = (int64_t)types[source.dtype].size;
        otimes_dtype_read(source.dtype, source.data + first * size, count, out);
    }
}

enum { RUN = 64, LONGEST_RUN = OTIMES_QUANT_LONGEST, ACROSS = 16 };

/* Stored columns run along memory where rows were wanted to: read short runs, write them across. A
 * run ends with a block of the first column, which decodes each block once where columns begin at
 * blocks. */
static void gather_transposed(otimes_source source, int64_t offset, int64_t rows, int64_t columns,
                              int64_t column_stride, float *out)
{
    const int64_t block = types[source.dtype].block, most = block > RUN ? block : RUN;
    float runs[ACROSS * LONGEST_RUN]; /* one every `most` */
    for (int64_t row = 0, run; row < rows; row += run) {
        run = most - (offset + row) % most;
        run = rows - row < run ? rows - row : run;
        for (int64_t column = 0; column < columns; column += ACROSS) {
            const int64_t across = columns - column < ACROSS ? columns - column : ACROSS;
            for (int64_t j = 0; j < across; j++) {
                read_run(source, offset + (column + j) * column_stride + row, run, runs + j * most);
            }
            for (int64_t i = 0; i < run; i++) {
                for (int64_t j = 0; j < across; j++) {
                    out[(row + i) * columns + column + j] = runs[j * most + i];
                }
            }
        }
    }
}

/* Neither stride is 1: element by element along the shorter one, and a block is decoded again only
 * when another one came between. */
static void gather_scattered(otimes_source source, int64_t offset, int64_t rows, int64_t columns,
                             int64_t row_stride, int64_t column_stride, float *out)
{
    const int64_t block = types[source.dtype].block;
    const bool down = row_stride < column_stride;
    const int64_t outer = down ? columns : rows, inner = down ? rows : columns;
    float held[OTIMES_QUANT_LONGEST];
    int64_t held_block = -1;
    for (int64_t a = 0; a < outer; a++) {
        for (int64_t b = 0; b < inner; b++) {
            const int64_t i = down ? b : a, j = down ? a : b;
            const int64_t place = offset + i * row_stride + j * column_stride;
            if (place / block != held_block) {
                held_block = place / block;
                read_run(source, held_block * block, block, held);
            }
            out[i * columns + j] = held[place % block];
        }
    }
}

void otimes_dtype_gather(otimes_source source, int64_t offset, int64_t rows, int64_t columns,
                         int64_t row_stride, int64_t column_stride, float *out)
{
    if (column_stride == 1 || (columns == 1 && row_stride == 1)) {
        if (row_stride == columns || rows == 1) {
            read_run(source, offset, rows * columns, out);
            return;
        }
        for (int64_t i = 0; i < rows; i++) {
            read_run(source, offset + i * row_stride, columns, out + i * columns);
        }
    } else if (row_stride == 1) {
        gather_transposed(source, offset, rows, columns, column_stride, out);
    } else {
        gather_scattered(source, offset, rows, columns, row_stride, column_stride, out);
    }
}

static uint16_t half_of_float(float value)
{
    const uint32_t bits = otimes_bits_of_float(value);
    const uint32_t sign = bits >> 16 & 0x8000;
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude >= 0x7f800000) { /* infinity, or a NaN that stays one */
        return (uint16_t)(sign | 0x7c00 | (magnitude > 0x7f800000 ? 0x200 : 0));
    }
    if (magnitude < 0x38800000) { /* subnormal: adding .5 lets the FPU round at the right bit */
        const float shifted = otimes_float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (otimes_bits_of_float(shifted) - 0x3f000000));
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
    enum { PIECE = 1024 };
    for (int64_t first = 0; first < count; first += PIECE) {
        const int64_t end = count - first < PIECE ? count : first + PIECE;
        int bad = 0; /* an or over a run is vectorised; a search is not */
        for (int64_t i = first; i < end; i++) {
            bad |= (otimes_bits_of_float(values[i]) & 0x7f800000) == 0x7f800000;
        }
        for (int64_t i = first; bad && i < end; i++) {
            if ((otimes_bits_of_float(values[i]) & 0x7f800000) == 0x7f800000) {
                return i;
            }
        }
    }
    return -1;
}
