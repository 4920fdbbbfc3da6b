/* SPDX-License-Identifier: MIT
 *
 * Functions of arrays by every table that this machine can run, against libm in double: the bounds
 * that vmath.h states, values that have a name, and that an entry's bits do not know their place.
 */
#include "la_matrix.h"

#include "num/vmath.h"
#include "num/vmath_table.h"

enum { MOST = 1600, SHORT = 70, GUARD = 24 };

/* ---- what is computed ---- */

static double exact_exp(double x, double unused)
{
    (void)unused;
    return exp(x);
}

static double exact_tanh(double x, double unused)
{
    (void)unused;
    return tanh(x);
}

static double exact_erf(double x, double unused)
{
    (void)unused;
    return erf(x);
}

static double exact_swish(double x, double alpha)
{
    return x / (1 + exp(-alpha * x));
}

static double exact_gelu(double x, double unused)
{
    (void)unused;
    return 0.5 * x * erfc(-x * 0.70710678118654752440);
}

static double exact_gelu_tanh(double x, double slope)
{
    return x / (1 + exp(-2 * slope * (x + 0.044715 * x * x * x)));
}

/* What exp is taken of: its rounding counts by its size. */
static double no_inner(double x, double unused)
{
    (void)x, (void)unused;
    return 0;
}

static double inner_swish(double x, double alpha)
{
    return alpha * x;
}

static double inner_gelu_tanh(double x, double slope)
{
    return 2 * slope * (x + 0.044715 * x * x * x);
}

static double exact_softcap(double x, double cap)
{
    return cap * tanh(x / cap);
}

#define EPS 0x1p-24
#define STEP 0x1p-149 /* of subnormal numbers */

/* |error| <= (relative + roundings EPS |inner|) |exact| + per_x |x| + (2 + steps) STEP. */
typedef struct function {
    const char *name;
    otimes_vmath_kind kind;
    float parameter;
    double (*exact)(double x, double parameter);
    double relative, roundings;
    double (*inner)(double x, double parameter);
    double per_x, steps;
    float at_zero, at_minus_inf, at_inf;
} function;

static const function functions[] = {
    {"exp", OTIMES_VMATH_EXP, 0, exact_exp, 4e-7, 0, no_inner, 0, 0, 1, 0, INFINITY},
    {"tanh", OTIMES_VMATH_TANH, 0, exact_tanh, 4e-7, 0, no_inner, 0, 0, 0, -1, 1},
    {"erf", OTIMES_VMATH_ERF, 0, exact_erf, 4e-7, 0, no_inner, 0, 0, 0, -1, 1},
    {"silu", OTIMES_VMATH_SWISH, 1, exact_swish, 4e-7, 0, no_inner, STEP, 0, 0, 0, INFINITY},
    {"swish", OTIMES_VMATH_SWISH, 1.702f, exact_swish, 4e-7, 1, inner_swish, STEP, 0, 0, 0,
     INFINITY},
    {"gelu", OTIMES_VMATH_GELU, 0, exact_gelu, 0, 0, no_inner, 2e-7, 0, 0, 0, INFINITY},
    {"gelu_tanh", OTIMES_VMATH_GELU_TANH, 0.79788456f, exact_gelu_tanh, 4e-7, 4, inner_gelu_tanh,
     STEP, 0, 0, 0, INFINITY},
    {"softcap 50", OTIMES_VMATH_SOFTCAP, 50, exact_softcap, 4e-7, 0, no_inner, 0, 50, 0, -50, 50},
    {"softcap 0.3", OTIMES_VMATH_SOFTCAP, 0.3f, exact_softcap, 4e-7, 0, no_inner, 0, 0.3, 0, -0.3f,
     0.3f},
};

enum { FUNCTIONS = sizeof functions / sizeof functions[0] };

static void run(const otimes_vmath *table, const function *f, int64_t count, float *x)
{
    otimes_vmath_map(table, f->kind, f->parameter, count, x);
}

/* ---- numbers ---- */

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Of every size: half of them where the functions bend, the others any finite bit pattern. */
static float any_number(void)
{
    if (below(2)) {
        return (float)(normal() * pow(10, (double)below(4) - 1));
    }
    float x = from_bits((uint32_t)random_bits());
    while (!isfinite(x)) {
        x = from_bits((uint32_t)random_bits());
    }
    return x;
}

static const float ends[] = {
    0,      -0.0f,   1,       -1,      0x1p-149f, -0x1p-149f, 0x1p-126f, -0x1p-126f,
    1e-30f, -1e-30f, 1e-8f,   -1e-8f,  FLT_MAX,   -FLT_MAX,   1e30f,     -1e30f,
    88.72f, 88.73f,  -87.33f, -87.34f, -88.73f,   -91.9f,     -103.9f,   -104.1f,
    104.1f, -150,    150,     -1e4f,   1e4f,      9.01f,      -9.02f,    3.92f,
    -3.93f, 5.6f,    -5.6f,   0x1p24f, -0x1p24f,  0.5f,       -0.5f,     -60,
};

enum { ENDS = sizeof ends / sizeof ends[0] };

static void check_value(const otimes_vmath *table, const function *f, float x, float got)
{
    const double exact = f->exact((double)x, (double)f->parameter), size = fabs((double)x);
    const double inner = fabs(f->inner((double)x, (double)f->parameter));
    const double bound = exact == 0 ? 0 : (f->relative + f->roundings * EPS * inner) * fabs(exact);
    if (fabs(exact) > (double)FLT_MAX) { /* the last value below infinity may be rounded to it */
        assert_true(isinf(got) && (got > 0) == (exact > 0));
        return;
    }
    const double error = fabs((double)got - exact);
    if (!(error <= bound + f->per_x * size + (2 + f->steps) * STEP)) {
        fail_msg("%s, %s(%.9g): %.9g, expected %.12g", table->name, f->name, (double)x, (double)got,
                 exact);
    }
}

/* The array and what surrounds it. Half the guards are NaN, as la_matrix.h has it. */
static struct {
    float all[GUARD + MOST + GUARD];
    unsigned char guard;
} room;

static float *place(int64_t offset, int64_t count, const float *values)
{
    room.guard = below(2) ? 0xff : 0x2a;
    memset(room.all, room.guard, sizeof room.all);
    return memcpy(room.all + offset, values, (size_t)count * sizeof *values);
}

static void check_guards(const float *x, int64_t count)
{
    const unsigned char *all = (const unsigned char *)room.all;
    const unsigned char *from = (const unsigned char *)x;
    const unsigned char *to = (const unsigned char *)(x + count);
    for (const unsigned char *at = all; at < all + sizeof room.all; at++) {
        assert_true(*at == room.guard || (at >= from && at < to));
    }
}

/* ---- tests ---- */

static void tables_of_this_machine(void **state)
{
    (void)state;
    int count = 0;
    while (otimes_vmath_choice(count)) {
        const otimes_vmath *t = otimes_vmath_choice(count++);
        assert_true(strlen(t->name) > 3 && t->exp && t->tanh && t->erf);
        assert_true((t == &otimes_vmath_reference) == !otimes_vmath_choice(count));
        for (int other = 0; other < count - 1; other++) {
            assert_ptr_not_equal(t, otimes_vmath_choice(other));
        }
    }
    assert_in_range(count, 1, 4);
    assert_null(otimes_vmath_choice(count + 1));
}

static void random_values(void **state)
{
    (void)state;
    static float x[MOST], y[MOST];
    for (int t = 0; otimes_vmath_choice(t); t++) {
        for (int f = 0; f < FUNCTIONS; f++) {
            for (int round = 0; round < 200; round++) {
                for (int i = 0; i < MOST; i++) {
                    x[i] = y[i] = round == 0 && i < ENDS ? ends[i] : any_number();
                }
                run(otimes_vmath_choice(t), &functions[f], MOST, y);
                for (int i = 0; i < MOST; i++) {
                    check_value(otimes_vmath_choice(t), &functions[f], x[i], y[i]);
                }
            }
        }
    }
}

static void limits(void **state)
{
    (void)state;
    const float nans[] = {NAN, -NAN, from_bits(0x7fa00001u)};
    for (int t = 0; otimes_vmath_choice(t); t++) {
        const otimes_vmath *table = otimes_vmath_choice(t);
        for (const function *f = functions; f < functions + FUNCTIONS; f++) {
            float x[] = {0, -0.0f, -INFINITY, INFINITY, nans[0], nans[1], nans[2]};
            run(table, f, 7, x);
            assert_true(x[0] == f->at_zero && x[1] == f->at_zero);
            assert_true(f->at_zero != 0 || (!signbit(x[0]) && signbit(x[1])));
            assert_true(x[2] == f->at_minus_inf && x[3] == f->at_inf);
            assert_true(isnan(x[4]) && isnan(x[5]) && isnan(x[6]));
        }
    }
}

/* A value alone, then everywhere in arrays of every short length and of a few blocks. */
static void place_is_nothing(void **state)
{
    (void)state;
    static float values[MOST], alone[MOST];
    for (int i = 0; i < MOST; i++) {
        values[i] = i < ENDS ? ends[i] : any_number();
    }
    for (int t = 0; otimes_vmath_choice(t); t++) {
        const otimes_vmath *table = otimes_vmath_choice(t);
        for (const function *f = functions; f < functions + FUNCTIONS; f++) {
            for (int i = 0; i < MOST; i++) {
                alone[i] = values[i];
                run(table, f, 1, &alone[i]);
            }
            for (int round = 0; round < 6 * (SHORT + 1); round++) {
                const int64_t count = round % 6 ? round / 6 : MOST / 2 + below(MOST / 2);
                const int64_t from = below(MOST - count + 1);
                float *x = place(GUARD / 2 + below(16), count, values + from);
                run(table, f, count, x);
                assert_memory_equal(x, alone + from, (size_t)count * sizeof *x);
                check_guards(x, count);
            }
        }
    }
}

/* The names of vmath.h are the first table's functions. */
static void public_names(void **state)
{
    (void)state;
    for (const function *f = functions; f < functions + FUNCTIONS; f++) {
        float got[SHORT], expected[SHORT];
        for (int i = 0; i < SHORT; i++) {
            got[i] = expected[i] = (float)normal();
        }
        run(otimes_vmath_choice(0), f, SHORT, expected);
        switch (f->kind) {
        case OTIMES_VMATH_EXP:
            otimes_vexp(SHORT, got);
            break;
        case OTIMES_VMATH_TANH:
            otimes_vtanh(SHORT, got);
            break;
        case OTIMES_VMATH_ERF:
            otimes_verf(SHORT, got);
            break;
        case OTIMES_VMATH_SWISH:
            if (f->parameter == 1) {
                otimes_vsilu(SHORT, got);
            } else {
                otimes_vswish(SHORT, got, f->parameter);
            }
            break;
        case OTIMES_VMATH_GELU:
            otimes_vgelu(SHORT, got);
            break;
        case OTIMES_VMATH_GELU_TANH:
            otimes_vgelu_tanh(SHORT, got, f->parameter);
            break;
        case OTIMES_VMATH_SOFTCAP:
            otimes_vsoftcap(SHORT, got, f->parameter);
            break;
        }
        assert_memory_equal(got, expected, sizeof got);
    }
    float row[] = {1, 2, 3}, other[] = {1, 2, 3};
    otimes_softmax(3, row, 0.5f);
    otimes_vmath_softmax(otimes_vmath_choice(0), 3, other, 0.5f);
    assert_memory_equal(row, other, sizeof row);
}

/* ---- softmax ---- */

static void check_softmax(const float *scores, float sink, const float *got, int64_t count)
{
    double most = (double)sink, total = 0, sum = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, (double)scores[i]);
    }
    for (int64_t i = 0; i < count; i++) {
        total += exp((double)scores[i] - most);
    }
    const double extra = exp((double)sink - most);
    for (int64_t i = 0; i < count; i++) {
        const double below_most = most - (double)scores[i];
        const double exact = exp(-below_most) / (total + extra);
        if (isinf(scores[i])) {
            assert_true(got[i] == 0 && !signbit(got[i]));
            continue;
        }
        assert_at_most(fabs((double)got[i] - exact), (4e-7 + EPS * below_most) * exact + 2 * STEP);
        sum += (double)got[i];
    }
    assert_at_most(fabs(sum - total / (total + extra)), 4e-7);
}

static void softmax_of_rows(void **state)
{
    (void)state;
    static float scores[MOST], once[MOST];
    for (int round = 0; round < 3000; round++) {
        const otimes_vmath *table = otimes_vmath_choice(0);
        for (int t = (int)below(4); t > 0; t--) {
            table = otimes_vmath_choice(t) ? otimes_vmath_choice(t) : table;
        }
        const int64_t count = round % 20 ? 1 + below(SHORT) : 1 + below(MOST);
        const double spread = pow(10, (double)below(5) - 2), offset = (double)below(2000) - 1000;
        for (int64_t i = 0; i < count; i++) {
            scores[i] = round % 3 == 0 && i > 0 && below(2) ? -INFINITY
                                                            : (float)(offset + spread * normal());
        }
        const float near = (float)(offset + spread * normal());
        const float sinks[] = {-INFINITY, near, near + 200, near - 200};
        const float sink = sinks[below(4)];
        float *x = place(GUARD / 2 + below(16), count, scores);
        otimes_vmath_softmax(table, count, x, sink);
        check_guards(x, count);
        check_softmax(scores, sink, x, count);
        memcpy(once, x, (size_t)count * sizeof *x);
        x = place(GUARD / 2 + below(16), count, scores);
        otimes_vmath_softmax(table, count, x, sink);
        assert_memory_equal(x, once, (size_t)count * sizeof *x);
    }
}

static void softmax_of_nothing(const otimes_vmath *table)
{
    for (int64_t count = 0; count <= SHORT; count++) {
        float x[SHORT];
        for (int sink = 0; sink < 2; sink++) {
            for (int64_t i = 0; i < count; i++) {
                x[i] = -INFINITY;
            }
            otimes_vmath_softmax(table, count, x, sink ? -3 : -INFINITY);
            for (int64_t i = 0; i < count; i++) {
                assert_true(x[i] == 0 && !signbit(x[i]));
            }
        }
        /* What is not a number is not passed over, wherever it lies. */
        for (int64_t i = 0; i < count; i++) {
            x[i] = -INFINITY;
        }
        if (count > 0) {
            x[below(count)] = count % 2 ? NAN : INFINITY;
        }
        otimes_vmath_softmax(table, count, x, -INFINITY);
        for (int64_t i = 0; i < count; i++) {
            assert_true(isnan(x[i]));
        }
    }
}

static void softmax_of_few(void **state)
{
    (void)state;
    for (int t = 0; otimes_vmath_choice(t); t++) {
        const otimes_vmath *table = otimes_vmath_choice(t);
        softmax_of_nothing(table);
        static const float singles[] = {0, -1e30f, FLT_MAX, -FLT_MAX, 0x1p-149f};
        for (int i = 0; i < 5; i++) {
            float one = singles[i], shared = singles[i];
            otimes_vmath_softmax(table, 1, &one, -INFINITY);
            otimes_vmath_softmax(table, 1, &shared, singles[i]);
            assert_true(one == 1 && shared == 0.5f);
        }
        float far[] = {FLT_MAX, -FLT_MAX, 0}, drowned[] = {1, 2}, spoilt[] = {1, 2};
        otimes_vmath_softmax(table, 3, far, -INFINITY);
        assert_true(far[0] == 1 && far[1] == 0 && far[2] == 0);
        otimes_vmath_softmax(table, 2, drowned, FLT_MAX);
        assert_true(drowned[0] == 0 && drowned[1] == 0);
        otimes_vmath_softmax(table, 2, spoilt, NAN);
        assert_true(isnan(spoilt[0]) && isnan(spoilt[1]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_of_this_machine),
        cmocka_unit_test(random_values),
        cmocka_unit_test(limits),
        cmocka_unit_test(place_is_nothing),
        cmocka_unit_test(public_names),
        cmocka_unit_test(softmax_of_rows),
        cmocka_unit_test(softmax_of_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
