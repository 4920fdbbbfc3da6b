/* SPDX-License-Identifier: MIT
 *
 * The tables over SLEEF (https://sleef.org), whose functions ending in u10 err by at most 1.0 unit
 * in the last place. N. Shibata, F. Petrogalli, "SLEEF: A Portable Vectorized Library of C Standard
 * Mathematical Functions", IEEE Trans. Parallel Distrib. Syst. 31 (2020) 1316.
 */
#include "num/vmath_table.h"

#include <stddef.h>

#include <sleef.h>

/* One function over whole vectors; `target` names the instruction set it may use. */
#define KERNEL(name, target, lanes, load, store, sleef) \
    target static void name(int64_t count, float *x)    \
    {                                                   \
        for (int64_t i = 0; i < count; i += (lanes)) {  \
            store(x + i, sleef(load(x + i)));           \
        }                                               \
    }

#define BASELINE /* of the processor family: no attribute */

#if defined(__x86_64__)

#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f")))

/* sleef.h hides these from a file that is not compiled for their processors as a whole. */
#ifndef __AVX__
AVX2 __m256 Sleef_expf8_u10avx2(__m256);
AVX2 __m256 Sleef_tanhf8_u10avx2(__m256);
AVX2 __m256 Sleef_erff8_u10avx2(__m256);
#endif
#ifndef __AVX512F__
AVX512 __m512 Sleef_expf16_u10avx512f(__m512);
AVX512 __m512 Sleef_tanhf16_u10avx512f(__m512);
AVX512 __m512 Sleef_erff16_u10avx512f(__m512);
#endif

KERNEL(exp4, BASELINE, 4, _mm_loadu_ps, _mm_storeu_ps, Sleef_expf4_u10sse2)
KERNEL(tanh4, BASELINE, 4, _mm_loadu_ps, _mm_storeu_ps, Sleef_tanhf4_u10sse2)
KERNEL(erf4, BASELINE, 4, _mm_loadu_ps, _mm_storeu_ps, Sleef_erff4_u10sse2)
KERNEL(exp8, AVX2, 8, _mm256_loadu_ps, _mm256_storeu_ps, Sleef_expf8_u10avx2)
KERNEL(tanh8, AVX2, 8, _mm256_loadu_ps, _mm256_storeu_ps, Sleef_tanhf8_u10avx2)
KERNEL(erf8, AVX2, 8, _mm256_loadu_ps, _mm256_storeu_ps, Sleef_erff8_u10avx2)
KERNEL(exp16, AVX512, 16, _mm512_loadu_ps, _mm512_storeu_ps, Sleef_expf16_u10avx512f)
KERNEL(tanh16, AVX512, 16, _mm512_loadu_ps, _mm512_storeu_ps, Sleef_tanhf16_u10avx512f)
KERNEL(erf16, AVX512, 16, _mm512_loadu_ps, _mm512_storeu_ps, Sleef_erff16_u10avx512f)

static const otimes_vmath sse2 = {"SLEEF, SSE2", exp4, tanh4, erf4};
static const otimes_vmath avx2 = {"SLEEF, AVX2", exp8, tanh8, erf8};
static const otimes_vmath avx512 = {"SLEEF, AVX-512", exp16, tanh16, erf16};

const otimes_vmath *otimes_vmath_choice(int rank)
{
    const otimes_vmath *fit[4];
    int count = 0;
    if (__builtin_cpu_supports("avx512f")) {
        fit[count++] = &avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        fit[count++] = &avx2;
    }
    fit[count++] = &sse2;
    fit[count++] = &otimes_vmath_reference;
    return rank < count ? fit[rank] : NULL;
}

#else /* aarch64: meson.build takes this file for no third family */

KERNEL(exp4, BASELINE, 4, vld1q_f32, vst1q_f32, Sleef_expf4_u10advsimd)
KERNEL(tanh4, BASELINE, 4, vld1q_f32, vst1q_f32, Sleef_tanhf4_u10advsimd)
KERNEL(erf4, BASELINE, 4, vld1q_f32, vst1q_f32, Sleef_erff4_u10advsimd)

static const otimes_vmath advsimd = {"SLEEF, Advanced SIMD", exp4, tanh4, erf4};

const otimes_vmath *otimes_vmath_choice(int rank)
{
    return rank == 0 ? &advsimd : rank == 1 ? &otimes_vmath_reference : NULL;
}

#endif
