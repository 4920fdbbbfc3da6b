/* SPDX-License-Identifier: MIT
 *
 * Kernels of x86: what is summed stays in registers from the first step to the comparison, so that no
 * product is ever stored. Panels stream from the second cache, rows stay in the first.
 */
#include "num/screen_x86.h"

#include <stddef.h>

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

enum { COLUMNS = OTIMES_SCREEN_COLUMNS, ROWS = OTIMES_SCREEN_ROWS, STEP = OTIMES_SCREEN_STEP };

/* Four entries of a row, to stand beside those of each column. */
static inline int32_t entries_at(const int8_t *row)
{
    int32_t four;
    memcpy(&four, row, sizeof four);
    return four;
}

/* ---- AVX-512 with VNNI ---- */

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

/* sum += column . row of four bytes each, sixteen times. By hand, since compilers that take the intrinsic
 * for a three-operand form copy every sum and spill them all, which halves the speed (GCC 12). */
VNNI static inline __m512i add_products(__m512i sum, __m512i columns, __m512i row)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(columns), "v"(row));
    return sum;
}

VNNI static inline uint64_t outside(__m512i sum, __m512i above, __m512i below, int at)
{
    const __mmask16 found = _mm512_cmp_epi32_mask(sum, above, _MM_CMPINT_NLT) |
                            _mm512_cmp_epi32_mask(sum, below, _MM_CMPINT_LE);
    return (uint64_t)found << at;
}

/* Six rows by four registers of sixteen columns: 24 sums, of 32 registers. */
#define ROW_SUMS(i)                                                                 \
    __m512i s##i##0 = _mm512_setzero_si512(), s##i##1 = s##i##0, s##i##2 = s##i##0, \
            s##i##3 = s##i##0
#define ROW_STEP(i)                                        \
    x = _mm512_set1_epi32(entries_at(row + (i) * stride)); \
    s##i##0 = add_products(s##i##0, c0, x);                \
    s##i##1 = add_products(s##i##1, c1, x);                \
    s##i##2 = add_products(s##i##2, c2, x);                \
    s##i##3 = add_products(s##i##3, c3, x)
#define ROW_MASK(i)                                                    \
    a = _mm512_set1_epi32(above[i]), b = _mm512_set1_epi32(below[i]);  \
    mask[i] = outside(s##i##0, a, b, 0) | outside(s##i##1, a, b, 16) | \
              outside(s##i##2, a, b, 32) | outside(s##i##3, a, b, 48)

VNNI static void find_six_vnni(int64_t steps, const int8_t *row, const uint8_t *panel,
                               const int32_t *above, const int32_t *below, uint64_t *mask)
{
    const int64_t stride = STEP * steps;
    ROW_SUMS(0);
    ROW_SUMS(1);
    ROW_SUMS(2);
    ROW_SUMS(3);
    ROW_SUMS(4);
    ROW_SUMS(5);
    for (int64_t k = 0; k < steps; k++, row += STEP, panel += COLUMNS * STEP) {
        const __m512i c0 = _mm512_loadu_si512(panel), c1 = _mm512_loadu_si512(panel + 64),
                      c2 = _mm512_loadu_si512(panel + 128), c3 = _mm512_loadu_si512(panel + 192);
        __m512i x;
        ROW_STEP(0);
        ROW_STEP(1);
        ROW_STEP(2);
        ROW_STEP(3);
        ROW_STEP(4);
        ROW_STEP(5);
    }
    __m512i a, b;
    ROW_MASK(0);
    ROW_MASK(1);
    ROW_MASK(2);
    ROW_MASK(3);
    ROW_MASK(4);
    ROW_MASK(5);
}

static void find_vnni(int64_t rows, int64_t steps, const int8_t *row, const uint8_t *panel,
                      const int32_t *above, const int32_t *below, uint64_t *mask)
{
    for (int64_t i = 0; i < rows; i += ROWS) {
        find_six_vnni(steps, row + i * STEP * steps, panel, above + i, below + i, mask + i);
    }
}

VNNI static int64_t dot_vnni(int64_t count, const int16_t *a, const int16_t *b)
{
    __m512i sum = _mm512_setzero_si512();
    for (int64_t k = 0; k < count; k += OTIMES_SCREEN_WIDE) {
        sum = _mm512_dpwssd_epi32(sum, _mm512_loadu_si512(a + k), _mm512_loadu_si512(b + k));
    }
    return _mm512_reduce_add_epi64(
        _mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(sum)),
                         _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(sum, 1))));
}

static const otimes_screen vnni = {
    .name = "AVX-512 VNNI", .fast = 1, .levels = 127, .find = find_vnni, .dot = dot_vnni};

/* ---- AVX2 ---- */

#define AVX2 __attribute__((target("avx2")))

/* Sums of products of neighbours are 16 bits wide here and saturate: 2 * 255 * 63 fits. */
enum { AVX2_LEVELS = 63 };

/* Two rows by four registers of eight columns, half a panel: 8 sums of 16 registers. */
AVX2 static void find_two_avx2(int64_t steps, const int8_t *row, const uint8_t *panel, int half,
                               const int32_t *above, const int32_t *below, uint64_t *mask)
{
    enum { LANES = 8, REGISTERS = 4, PAIR = 2 };
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum[PAIR][REGISTERS];
    for (int r = 0; r < REGISTERS; r++) {
        sum[0][r] = sum[1][r] = _mm256_setzero_si256();
    }
    panel += half * COLUMNS * STEP / 2;
    for (int64_t k = 0; k < steps; k++, panel += COLUMNS * STEP) {
        const __m256i x0 = _mm256_set1_epi32(entries_at(row + STEP * k));
        const __m256i x1 = _mm256_set1_epi32(entries_at(row + STEP * (steps + k)));
        for (int r = 0; r < REGISTERS; r++) {
            const __m256i c = _mm256_loadu_si256((const void *)(panel + 32 * r));
            sum[0][r] =
                _mm256_add_epi32(sum[0][r], _mm256_madd_epi16(_mm256_maddubs_epi16(c, x0), ones));
            sum[1][r] =
                _mm256_add_epi32(sum[1][r], _mm256_madd_epi16(_mm256_maddubs_epi16(c, x1), ones));
        }
    }
    for (int i = 0; i < PAIR; i++) {
        const __m256i a = _mm256_set1_epi32(above[i]), b = _mm256_set1_epi32(below[i]);
        for (int r = 0; r < REGISTERS; r++) {
            const __m256i inside = _mm256_and_si256(_mm256_cmpgt_epi32(a, sum[i][r]),
                                                    _mm256_cmpgt_epi32(sum[i][r], b));
            const uint64_t found =
                0xff & ~(uint64_t)_mm256_movemask_ps(_mm256_castsi256_ps(inside));
            mask[i] |= found << (LANES * (REGISTERS * half + r));
        }
    }
}

static void find_avx2(int64_t rows, int64_t steps, const int8_t *row, const uint8_t *panel,
                      const int32_t *above, const int32_t *below, uint64_t *mask)
{
    for (int64_t i = 0; i < rows; i += 2) {
        mask[i] = mask[i + 1] = 0;
        for (int half = 0; half < 2; half++) {
            find_two_avx2(steps, row + i * STEP * steps, panel, half, above + i, below + i,
                          mask + i);
        }
    }
}

AVX2 static int64_t dot_avx2(int64_t count, const int16_t *a, const int16_t *b)
{
    enum { LANES = 8, HALF = OTIMES_SCREEN_WIDE / 2 };
    __m256i even = _mm256_setzero_si256(), odd = even;
    int32_t lane[2 * LANES];
    int64_t sum = 0;
    for (int64_t k = 0; k < count; k += OTIMES_SCREEN_WIDE) {
        const __m256i *x = (const void *)(a + k), *y = (const void *)(b + k);
        even =
            _mm256_add_epi32(even, _mm256_madd_epi16(_mm256_loadu_si256(x), _mm256_loadu_si256(y)));
        odd = _mm256_add_epi32(
            odd, _mm256_madd_epi16(_mm256_loadu_si256(x + 1), _mm256_loadu_si256(y + 1)));
    }
    _mm256_storeu_si256((void *)lane, even);
    _mm256_storeu_si256((void *)(lane + LANES), odd);
    for (int j = 0; j < HALF; j++) {
        sum += lane[j];
    }
    return sum;
}

static const otimes_screen avx2 = {
    .name = "AVX2", .fast = 1, .levels = AVX2_LEVELS, .find = find_avx2, .dot = dot_avx2};

const otimes_screen *otimes_screen_x86(int which)
{
    if (which == 0) {
        return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512vl")
                   ? &vnni
                   : NULL;
    }
    return __builtin_cpu_supports("avx2") ? &avx2 : NULL;
}

#else

const otimes_screen *otimes_screen_x86(int which)
{
    (void)which;
    return NULL;
}

#endif
