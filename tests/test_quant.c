/* SPDX-License-Identifier: MIT
 *
 * Quantised types against values of the gguf package (tests/golden/make_quant.py), to the bit: a
 * decoder does the same float32 operations in the same order. Then runs and strides that begin and
 * end anywhere in a block, against the values decoded whole; memory holds exactly the blocks that
 * are reached, so a read beyond is ASan's.
 */
#include "support.h"

#include <math.h>
#include <stdio.h>

#include "la_matrix.h"

#include "base/dtype.h"
#include "format/open.h"

enum { FIRST = OTIMES_DTYPE_Q4_0, LAST = OTIMES_DTYPE_MXFP4, APART = LAST + 1, GUARD = 8 };

typedef struct sample {
    otimes_dtype dtype;
    const unsigned char *blocks, *scales; /* the latter for MXFP4_APART */
    unsigned char *made;                  /* these two, where the fixture has them otherwise */
    float *values;
    int64_t elements;
} sample;

static otimes_store fixture;

static int open_fixture(void **state)
{
    (void)state;
    otimes_err err = {0};
    return otimes_store_open(&fixture, source_path("tests/data/quant/blocks.safetensors"), &err);
}

static int close_fixture(void **state)
{
    (void)state;
    otimes_store_close(&fixture);
    return 0;
}

static const otimes_entry *entry_of(otimes_dtype dtype, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "%s/%s", otimes_dtype_name(dtype), what);
    const otimes_entry *entry = otimes_store_find(&fixture, name);
    assert_non_null(entry);
    return entry;
}

static sample sample_of(otimes_dtype dtype)
{
    const otimes_entry *blocks = entry_of(dtype, "blocks"), *values = entry_of(dtype, "values");
    const int64_t count = blocks->dim[0];
    sample s = {.dtype = dtype, .blocks = blocks->data, .elements = count * values->dim[1]};
    assert_int_equal(blocks->dim[1], otimes_dtype_size(dtype));
    assert_int_equal(values->dim[1], otimes_dtype_block(dtype));
    assert_int_equal(values->bytes, 4 * s.elements);
    s.values = malloc((size_t)values->bytes);
    assert_non_null(s.values);
    memcpy(s.values, values->data, (size_t)values->bytes);
    return s;
}

/* The fixture's blocks of MXFP4 as Hugging Face would keep them: pairs in 16 bytes, then scales. */
static sample sample_apart(void)
{
    sample s = sample_of(OTIMES_DTYPE_MXFP4);
    const int64_t count = s.elements / 32;
    s.made = malloc((size_t)(17 * count));
    assert_non_null(s.made);
    for (int64_t i = 0; i < count; i++) {
        const unsigned char *halves = s.blocks + 17 * i + 1;
        for (int j = 0; j < 16; j++) {
            const int shift = j < 8 ? 0 : 4, at = 2 * j % 16;
            s.made[16 * i + j] =
                (unsigned char)((halves[at] >> shift & 15) | (halves[at + 1] >> shift & 15) << 4);
        }
        s.made[16 * count + i] = s.blocks[17 * i];
    }
    s.dtype = OTIMES_DTYPE_MXFP4_APART;
    s.blocks = s.made;
    s.scales = s.made + 16 * count;
    return s;
}

static void free_sample(sample *s)
{
    free(s->values);
    free(s->made);
}

static bool same_bits(const float *a, const float *b, int64_t count)
{
    return count == 0 || memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

static void values_to_the_bit(void **state)
{
    (void)state;
    for (int t = FIRST; t <= LAST; t++) {
        sample s = sample_of((otimes_dtype)t);
        float *out = malloc((size_t)s.elements * sizeof *out);
        assert_non_null(out);
        otimes_dtype_read(s.dtype, s.blocks, s.elements, out);
        for (int64_t i = 0; i < s.elements; i++) {
            if (!same_bits(out + i, s.values + i, 1)) {
                fail_msg("%s[%lld]: expected %a, got %a", otimes_dtype_name(s.dtype), (long long)i,
                         (double)s.values[i], (double)out[i]);
            }
        }
        free(out);
        free_sample(&s);
    }
}

/* Every count from the beginning, out of memory that holds just the blocks needed. */
static void every_count(void **state)
{
    (void)state;
    for (int t = FIRST; t <= LAST; t++) {
        sample s = sample_of((otimes_dtype)t);
        const int64_t block = otimes_dtype_block(s.dtype),
                      size = (int64_t)otimes_dtype_size(s.dtype);
        for (int64_t count = 0; count <= 2 * block + 1; count++) {
            const int64_t bytes = (count + block - 1) / block * size;
            unsigned char *source = malloc((size_t)bytes + 1);
            float *out = malloc((size_t)count * sizeof *out + 1);
            assert_true(source && out);
            memcpy(source + 1, s.blocks, (size_t)bytes);
            otimes_dtype_read(s.dtype, source + 1, count, out);
            assert_true(same_bits(out, s.values, count));
            free(out);
            free(source);
        }
        free_sample(&s);
    }
}

typedef struct pattern {
    int64_t rows, columns, row_stride, column_stride, offset;
} pattern;

static void check_gather(const sample *s, const pattern *p)
{
    const int64_t count = p->rows * p->columns;
    const int64_t last =
        p->offset + (p->rows - 1) * p->row_stride + (p->columns - 1) * p->column_stride;
    if (count == 0 || last >= s->elements) {
        return;
    }
    /* Memory from the first block that is reached to the last one; the rest is out of bounds. */
    const int64_t block = otimes_dtype_block(s->dtype), size = (int64_t)otimes_dtype_size(s->dtype);
    const int64_t first = p->offset / block, blocks = last / block + 1 - first;
    unsigned char *source = malloc((size_t)(blocks * size));
    unsigned char *scales = malloc((size_t)blocks);
    float *out = malloc((size_t)(count + 2 * GUARD) * sizeof *out);
    assert_true(source && scales && out);
    memcpy(source, s->blocks + first * size, (size_t)(blocks * size));
    if (s->scales) {
        memcpy(scales, s->scales + first, (size_t)blocks);
    }
    for (int64_t i = 0; i < count + 2 * GUARD; i++) {
        out[i] = -777;
    }
    otimes_dtype_gather((otimes_source){s->dtype, source, s->scales ? scales : NULL},
                        p->offset % block, p->rows, p->columns, p->row_stride, p->column_stride,
                        out + GUARD);
    for (int64_t i = 0; i < GUARD; i++) {
        assert_true(out[i] == -777 && out[GUARD + count + i] == -777);
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t place =
            p->offset + i / p->columns * p->row_stride + i % p->columns * p->column_stride;
        if (!same_bits(&out[GUARD + i], &s->values[place], 1)) {
            fail_msg("%s: %lld by %lld, strides %lld, %lld from %lld: element %lld",
                     otimes_dtype_name(s->dtype), (long long)p->rows, (long long)p->columns,
                     (long long)p->row_stride, (long long)p->column_stride, (long long)p->offset,
                     (long long)i);
        }
    }
    free(out);
    free(scales);
    free(source);
}

static void gather_of_every_pattern(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 2, 7, 16, 17, 31, 32, 33, 63, 64, 65, 256, 257};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    for (int t = FIRST; t <= APART; t++) {
        sample s = t == APART ? sample_apart() : sample_of((otimes_dtype)t);
        for (int pair = 0; pair < SIZES * SIZES; pair++) {
            const int64_t rows = sizes[pair / SIZES], columns = sizes[pair % SIZES];
            const int64_t offsets[] = {0, 1, otimes_dtype_block(s.dtype), below(s.elements)};
            for (int o = 0; o < 4; o++) {
                const int64_t offset = offsets[o];
                const pattern patterns[] = {
                    {rows, columns, columns, 1, offset},         /* whole */
                    {rows, columns, columns + 3, 1, offset},     /* a part of wider rows */
                    {rows, columns, 256, 1, offset},             /* rows that begin at blocks */
                    {rows, columns, 1, rows, offset},            /* transposed */
                    {rows, columns, 1, rows + 5, offset},        /* transposed part */
                    {rows, columns, 1, 32, offset},              /* columns that begin at blocks */
                    {rows, columns, 2 * columns + 1, 2, offset}, /* every second column */
                    {rows, columns, 3, 3 * rows + 1, offset},    /* every third row, transposed */
                    {rows, columns, 1, 1, offset},               /* diagonals */
                    {rows, columns, 0, 1, offset},               /* one row over and over */
                    {rows, columns, 1, 0, offset},               /* one column over and over */
                    {rows, columns, 0, 2, offset},               /* as a vector with a stride */
                };
                for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++) {
                    check_gather(&s, &patterns[p]);
                }
            }
        }
        free_sample(&s);
    }
}

/* Every scale with every nibble, in both forms, against 2^(e - 127) times the number in double. */
static void every_number_of_mxfp4(void **state)
{
    (void)state;
    static const double numbers[8] = {0, .5, 1, 1.5, 2, 3, 4, 6};
    unsigned char block[17], pairs[16];
    float whole[32], apart[32];
    for (int i = 0; i < 16; i++) {
        block[1 + i] = (unsigned char)(i | (15 - i) << 4);
        pairs[i] = (unsigned char)((2 * i + 1) % 16 << 4 | 2 * i % 16);
    }
    for (int e = 0; e < 256; e++) {
        const unsigned char scale = block[0] = (unsigned char)e;
        otimes_dtype_read(OTIMES_DTYPE_MXFP4, block, 32, whole);
        otimes_dtype_gather((otimes_source){OTIMES_DTYPE_MXFP4_APART, pairs, &scale}, 0, 1, 32, 32,
                            1, apart);
        for (int i = 0; i < 32; i++) {
            const int of_whole = i < 16 ? i : 31 - i, of_apart = i % 16;
            const double wide = ldexp(numbers[of_whole % 8], e - 127);
            const double pair = ldexp(numbers[of_apart % 8], e - 127);
            if (e == 255) {
                assert_true(isnan(whole[i]) && isnan(apart[i]));
            } else { /* beyond float32's range: infinity */
                assert_true(whole[i] == (float)(of_whole < 8 ? wide : -wide));
                assert_true(apart[i] == (float)(of_apart < 8 ? pair : -pair));
            }
        }
    }
}

static void bytes_of_elements(void **state)
{
    (void)state;
    static const struct {
        otimes_dtype dtype;
        int64_t elements, bytes; /* -1: refused */
    } cases[] = {
        {OTIMES_DTYPE_F32, 0, 0},
        {OTIMES_DTYPE_F32, 3, 12},
        {OTIMES_DTYPE_F64, INT64_MAX / 8, INT64_MAX / 8 * 8},
        {OTIMES_DTYPE_F64, INT64_MAX / 8 + 1, -1},
        {OTIMES_DTYPE_U8, INT64_MAX, INT64_MAX},
        {OTIMES_DTYPE_U8, -1, -1},
        {OTIMES_DTYPE_Q8_0, 0, 0},
        {OTIMES_DTYPE_Q8_0, 31, -1},
        {OTIMES_DTYPE_Q8_0, 32, 34},
        {OTIMES_DTYPE_Q8_0, -32, -1},
        {OTIMES_DTYPE_Q8_0, INT64_MAX / 32 * 32, -1}, /* 34 bytes for 32 elements */
        {OTIMES_DTYPE_Q4_0, 64, 36},
        {OTIMES_DTYPE_Q4_K, 32, -1},
        {OTIMES_DTYPE_Q4_K, 512, 288},
        {OTIMES_DTYPE_Q6_K, INT64_MAX / 256 * 256, INT64_MAX / 256 * 210},
        {OTIMES_DTYPE_MXFP4, 16, -1},
        {OTIMES_DTYPE_MXFP4, 96, 51},
        {OTIMES_DTYPE_MXFP4_APART, 96, 48},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t bytes = -1;
        const bool fits = otimes_dtype_bytes(cases[i].dtype, cases[i].elements, &bytes);
        assert_int_equal(fits, cases[i].bytes >= 0);
        assert_true(!fits || bytes == cases[i].bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_to_the_bit),       cmocka_unit_test(every_count),
        cmocka_unit_test(gather_of_every_pattern), cmocka_unit_test(every_number_of_mxfp4),
        cmocka_unit_test(bytes_of_elements),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
