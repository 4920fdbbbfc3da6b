/* SPDX-License-Identifier: MIT
 *
 * Number formats: every half and bfloat16 both ways, rounding from double, strided gathers against
 * a naive loop, nothing read or written beside what was asked for.
 */
#include "support.h"

#include <stdio.h>

#include "la_matrix.h"

#include "base/dtype.h"

static const otimes_dtype weight_types[] = {OTIMES_DTYPE_F32, OTIMES_DTYPE_F16, OTIMES_DTYPE_BF16,
                                            OTIMES_DTYPE_F64};

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* IEEE 754: (-1)^s 2^(e-15) 1.f, 2^-14 0.f for e = 0, infinity and NaN for e = 31. */
static double half_by_definition(unsigned half)
{
    const int exponent = half >> 10 & 31;
    const double fraction = (half & 1023) / 1024.0, sign = half >> 15 ? -1 : 1;
    if (exponent == 31) {
        return fraction > 0 ? NAN : sign * INFINITY;
    }
    return sign * (exponent ? ldexp(1 + fraction, exponent - 15) : ldexp(fraction, -14));
}

static float read_one(otimes_dtype dtype, const void *source)
{
    float out = -77;
    otimes_dtype_read(dtype, source, 1, &out);
    return out;
}

static void all_halves(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 65536; i++) {
        const uint16_t half = (uint16_t)i;
        const double expected = half_by_definition(i);
        const float got = read_one(OTIMES_DTYPE_F16, &half);
        uint16_t back = 0;
        otimes_f32_to_f16(&got, 1, &back);
        if (isnan(expected)) {
            assert_true(isnan(got) && (back & 0x7c00) == 0x7c00 && (back & 0x3ff) != 0);
        } else {
            assert_true((double)got == expected && !signbit(got) == !signbit(expected));
            assert_int_equal(back, half);
        }
        assert_int_equal(signbit(got) != 0, half >> 15);
    }
}

/* In bulk as one by one: the vectorised loop and its rest. */
static void all_halves_in_bulk(void **state)
{
    (void)state;
    static uint16_t halves[65537], back[65537];
    static float wide[65537];
    for (unsigned i = 0; i < 65536; i++) {
        halves[i] = (uint16_t)i;
    }
    halves[65536] = back[65536] = 0x5555;
    wide[65536] = 0.125f;
    otimes_dtype_read(OTIMES_DTYPE_F16, halves, 65536, wide);
    for (unsigned i = 0; i < 65536; i++) {
        const float one = read_one(OTIMES_DTYPE_F16, &halves[i]);
        assert_true(bits_of(one) == bits_of(wide[i]) || (isnan(one) && isnan(wide[i])));
    }
    otimes_f32_to_f16(wide, 65536, back);
    for (unsigned i = 0; i < 65536; i++) {
        assert_true(back[i] == halves[i] || isnan(wide[i]));
    }
    assert_true(wide[65536] == 0.125f && back[65536] == 0x5555);
}

/* Nearest half, ties to even, by scaling to the quantum of its binade: exact in double. */
static double nearest_half(double x)
{
    int exponent;
    frexp(x, &exponent);
    const double quantum = ldexp(1, (exponent > -13 ? exponent : -13) - 11);
    const double rounded = nearbyint(x / quantum) * quantum;
    return fabs(rounded) >= 65520 ? copysign(INFINITY, x) : rounded;
}

static void check_to_half(float x)
{
    uint16_t half = 0;
    otimes_f32_to_f16(&x, 1, &half);
    const double got = half_by_definition(half), expected = nearest_half((double)x);
    if (got != expected || signbit(got) != signbit(expected)) {
        fail_msg("%a: expected half %a, got %a", (double)x, expected, got);
    }
}

static void rounding_to_half(void **state)
{
    (void)state;
    /* Each half, each midpoint to the next one, and their neighbours. */
    for (unsigned i = 0; i < 0x7c00; i++) {
        const double low = half_by_definition(i);
        const double high = i == 0x7bff ? 65536 : half_by_definition(i + 1);
        const float points[] = {(float)low, (float)((low + high) / 2), (float)high};
        for (int p = 0; p < 3; p++) {
            check_to_half(points[p]);
            check_to_half(-points[p]);
            check_to_half(nextafterf(points[p], INFINITY));
            check_to_half(nextafterf(points[p], -INFINITY));
        }
    }
    for (int i = 0; i < 200000; i++) {
        check_to_half((float)ldexp(normal(), (int)below(60) - 40));
    }
    static const float special[] = {0.0f,      -0.0f,  FLT_MIN, FLT_MAX,    -FLT_MAX, INFINITY,
                                    -INFINITY, 1e-45f, -1e-45f, 65519.996f, 65520.0f};
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
        check_to_half(special[i]);
    }
}

static void all_bfloats(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 65536; i++) {
        const uint16_t upper = (uint16_t)i;
        assert_true(bits_of(read_one(OTIMES_DTYPE_BF16, &upper)) == (uint32_t)i << 16);
    }
}

/* strtof rounds text correctly, and %a is exact. */
static void check_double(double value)
{
    char text[64];
    snprintf(text, sizeof text, "%a", value);
    const float expected = strtof(text, NULL);
    assert_true(bits_of(read_one(OTIMES_DTYPE_F64, &value)) == bits_of(expected));
}

static void doubles_round_to_nearest(void **state)
{
    (void)state;
    static const double special[] = {
        0.0,
        -0.0,
        1 + 0x1p-24,
        1 + 0x3p-24,
        1 + 0x1p-24 + 0x1p-52,
        1e40,
        -1e40,
        0x1.fffffefp127,
        0x1.ffffffp127,
        0x1.fffffffp127,
        0x1p-150,
        0x1.8p-150,
        0x1.0000000000001p-150,
        0x1.8p-149,
        5e-324,
        INFINITY,
        -INFINITY,
        0x1.fffffffffffffp-127,
    };
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
        check_double(special[i]);
    }
    for (int i = 0; i < 50000; i++) {
        check_double(ldexp(normal(), (int)below(300) - 170));
    }
    const double nan_value = NAN;
    assert_true(isnan(read_one(OTIMES_DTYPE_F64, &nan_value)));
}

static void singles_keep_their_bits(void **state)
{
    (void)state;
    for (int i = 0; i < 10000; i++) {
        const uint32_t bits = (uint32_t)random_bits();
        assert_true(bits_of(read_one(OTIMES_DTYPE_F32, &bits)) == bits);
    }
}

static void names(void **state)
{
    (void)state;
    static const char *const unknown[] = {"", "f32", "F33", "F3", "F32 ", "float32", "F8", "I128"};
    otimes_dtype got = OTIMES_DTYPE_COUNT;
    for (int i = 0; i < OTIMES_DTYPE_COUNT; i++) {
        const otimes_dtype dtype = (otimes_dtype)i;
        const bool plain = otimes_dtype_block(dtype) == 1;
        assert_int_equal(plain, i < OTIMES_DTYPE_Q4_0);
        assert_int_equal(otimes_dtype_parse(otimes_dtype_name(dtype), &got), plain);
        assert_true(!plain || got == dtype);
        assert_in_range(otimes_dtype_size(dtype), 1, plain ? 8 : 210);
    }
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        assert_false(otimes_dtype_parse(unknown[i], &got));
    }
    int readable = 0;
    for (int i = 0; i < OTIMES_DTYPE_COUNT; i++) {
        readable += otimes_dtype_is_weight((otimes_dtype)i);
    }
    assert_int_equal(readable, 4 + 12);
}

/* ---- gather ---- */

typedef struct pattern {
    int64_t rows, columns, row_stride, column_stride, offset;
} pattern;

/* Source of exactly the elements that are reached, one byte off alignment; a read beyond is ASan's.
 */
static unsigned char *make_source(otimes_dtype dtype, const pattern *p, unsigned char **block)
{
    const int64_t size = (int64_t)otimes_dtype_size(dtype);
    const int64_t reached = p->rows && p->columns ? p->offset + (p->rows - 1) * p->row_stride +
                                                        (p->columns - 1) * p->column_stride + 1
                                                  : p->offset;
    *block = malloc((size_t)(reached * size) + 1);
    assert_non_null(*block);
    for (int64_t i = 0; i < reached; i++) {
        const double value = normal();
        const float single = (float)value;
        uint16_t half = (uint16_t)(bits_of(single) >> 16);
        if (dtype == OTIMES_DTYPE_F16) {
            otimes_f32_to_f16(&single, 1, &half);
        }
        const void *from = dtype == OTIMES_DTYPE_F64   ? (const void *)&value
                           : dtype == OTIMES_DTYPE_F32 ? (const void *)&single
                                                       : (const void *)&half;
        memcpy(*block + 1 + i * size, from, (size_t)size);
    }
    return *block + 1;
}

static void check_gather(otimes_dtype dtype, const pattern *p)
{
    enum { GUARD = 8 };
    const int64_t size = (int64_t)otimes_dtype_size(dtype), count = p->rows * p->columns;
    unsigned char *block;
    const unsigned char *source = make_source(dtype, p, &block);
    float *out = malloc((size_t)(count + 2 * GUARD) * sizeof *out);
    assert_non_null(out);
    for (int64_t i = 0; i < count + 2 * GUARD; i++) {
        out[i] = -777;
    }
    otimes_dtype_gather((otimes_source){.dtype = dtype, .data = source}, p->offset, p->rows,
                        p->columns, p->row_stride, p->column_stride, out + GUARD);
    for (int64_t i = 0; i < GUARD; i++) {
        assert_true(out[i] == -777 && out[GUARD + count + i] == -777);
    }
    for (int64_t i = 0; i < p->rows; i++) {
        for (int64_t j = 0; j < p->columns; j++) {
            const int64_t place = p->offset + i * p->row_stride + j * p->column_stride;
            const float expected = read_one(dtype, source + place * size);
            assert_true(bits_of(out[GUARD + i * p->columns + j]) == bits_of(expected));
        }
    }
    free(out);
    free(block);
}

static void gather_of_every_pattern(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 130};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    for (int a = 0; a < SIZES; a++) {
        for (int b = 0; b < SIZES; b++) {
            const int64_t rows = sizes[a], columns = sizes[b], offset = below(5);
            const pattern patterns[] = {
                {rows, columns, columns, 1, offset},         /* whole */
                {rows, columns, columns + 3, 1, offset},     /* a part of wider rows */
                {rows, columns, 1, rows, offset},            /* transposed */
                {rows, columns, 1, rows + 5, offset},        /* transposed part */
                {rows, columns, 2 * columns + 1, 2, offset}, /* every second column */
                {rows, columns, 3, 3 * rows + 1, offset},    /* every third row, transposed */
                {rows, columns, 1, 1, offset},               /* diagonals */
                {rows, columns, 0, 1, offset},               /* one row over and over */
                {rows, columns, 1, 0, offset},               /* one column over and over */
            };
            for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++) {
                for (int t = 0; t < 4; t++) {
                    check_gather(weight_types[t], &patterns[p]);
                }
            }
        }
    }
}

static void first_nonfinite(void **state)
{
    (void)state;
    enum { SIZE = 2100 };
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    float values[SIZE];
    for (int i = 0; i < SIZE; i++) {
        values[i] = i % 3 ? (float)normal() : i % 2 ? FLT_MAX : -1e-45f;
    }
    for (int count = 0; count <= SIZE; count += 50) {
        assert_int_equal(otimes_first_nonfinite(values, count), -1);
    }
    for (int i = 0; i < SIZE; i++) {
        const float kept = values[i], later = values[SIZE - 1];
        values[SIZE - 1] = NAN;
        values[i] = bad[i % 4];
        assert_int_equal(otimes_first_nonfinite(values, SIZE), i);
        values[SIZE - 1] = later;
        values[i] = bad[i % 4];
        assert_int_equal(otimes_first_nonfinite(values, i), -1);
        assert_int_equal(otimes_first_nonfinite(values, i + 1), i);
        values[i] = kept;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_halves),
        cmocka_unit_test(all_halves_in_bulk),
        cmocka_unit_test(rounding_to_half),
        cmocka_unit_test(all_bfloats),
        cmocka_unit_test(doubles_round_to_nearest),
        cmocka_unit_test(singles_keep_their_bits),
        cmocka_unit_test(names),
        cmocka_unit_test(gather_of_every_pattern),
        cmocka_unit_test(first_nonfinite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
