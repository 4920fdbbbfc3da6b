/* SPDX-License-Identifier: MIT */
#include "table_kinds.h"

#include "la_matrix.h"

#include "base/half.h"

static void gaussian(float *v, int64_t count, double scale, double mean)
{
    for (int64_t i = 0; i < count; i++) {
        v[i] = (float)(mean + scale * normal());
    }
}

static void both_gaussian(tabled *t, double scale, double mean)
{
    gaussian(t->x, t->rows * t->rank, scale, mean);
    gaussian(t->y, t->columns * t->rank, scale, mean);
}

/* Vector v of `from`, in place of vector `to`. */
static void copy_vector(float *vectors, int64_t rank, int64_t to, const float *from)
{
    memcpy(vectors + to * rank, from, (size_t)rank * sizeof *from);
}

/* Number k of all vectors of a side. */
static void scale_dimension(float *vectors, int64_t count, int64_t rank, int64_t k, double factor)
{
    for (int64_t i = 0; i < count; i++) {
        vectors[i * rank + k] = (float)(vectors[i * rank + k] * factor);
    }
}

static void scale_vector(float *vector, int64_t rank, double factor)
{
    for (int64_t k = 0; k < rank; k++) {
        vector[k] = (float)(vector[k] * factor);
    }
}

/* Every number by itself. */
static void each(tabled *t, float (*number)(double size), double size)
{
    for (int64_t i = 0; i < t->rows * t->rank; i++) {
        t->x[i] = number(size);
    }
    for (int64_t i = 0; i < t->columns * t->rank; i++) {
        t->y[i] = number(size);
    }
}

/* ---- numbers ---- */

static double either_sign(double x)
{
    return below(2) ? x : -x;
}

static float whole_number(double size)
{
    return (float)(below(2 * (int64_t)size + 1) - (int64_t)size);
}

static float sign_or_zero(double size)
{
    return below(4) ? (float)either_sign(size) : 0.0f;
}

static float signed_zero(double size)
{
    return (float)either_sign(size);
}

/* Below the normal numbers, 2^-149 among them. */
static float subnormal(double size)
{
    return (float)(either_sign((double)below(1 << 20)) * 0x1p-149 * size);
}

static float any_exponent(double size)
{
    const int span = (int)size;
    return (float)either_sign(ldexp(1 + uniform(), (int)below(2 * span + 1) - span));
}

/* Where 8-bit integers round: n + 1/2 of 127 steps. */
static float between_steps(double size)
{
    return (float)(size * ((double)below(509) - 254) / 254);
}

/* Where half precision rounds, overflows, underflows. */
static float edge_of_half(double size)
{
    static const double edges[] = {65504, 65519, 65520, 65536, 0x1p-14, 0x1p-24, 0x1p-25, 0x3p-26,
                                   1,     2049,  2051,  4098,  0.1,     0,       1e-7,    3e-8};
    return (float)either_sign(size * edges[below(sizeof edges / sizeof *edges)]);
}

static float bfloat(double size)
{
    return otimes_float_of_bits(otimes_bits_of_float((float)(size * normal())) & 0xffff0000u);
}

static float heavy_tail(double size)
{
    const double x = normal();
    return (float)(x * pow(fabs(x), size));
}

static float positive(double size)
{
    return (float)(size * uniform());
}

static void whole_numbers(tabled *t, double size)
{
    each(t, whole_number, size);
}

static void signs_and_zeros(tabled *t, double size)
{
    each(t, sign_or_zero, size);
}

static void signed_zeros(tabled *t, double size)
{
    each(t, signed_zero, size);
}

static void subnormals(tabled *t, double size)
{
    each(t, subnormal, size);
}

static void any_exponents(tabled *t, double size)
{
    each(t, any_exponent, size);
}

static void lattice(tabled *t, double size)
{
    each(t, between_steps, size);
}

static void edges_of_half(tabled *t, double size)
{
    each(t, edge_of_half, size);
}

static void bfloats(tabled *t, double size)
{
    each(t, bfloat, size);
}

static void heavy_tails(tabled *t, double size)
{
    each(t, heavy_tail, size);
}

static void all_positive(tabled *t, double size)
{
    each(t, positive, size);
}

/* ---- tables ---- */

static void plain(tabled *t, double size)
{
    both_gaussian(t, size, 0);
}

static void common_mean(tabled *t, double size)
{
    both_gaussian(t, 1, size);
}

static void constant(tabled *t, double size)
{
    both_gaussian(t, 0, size);
}

/* Dimensions that fall by a power, every 17th of them large. */
static void spectrum(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t k = 0; k < t->rank; k++) {
        const double factor = pow((double)k + 1, -size) * (k % 17 == 3 ? 20 : 1);
        scale_dimension(t->x, t->rows, t->rank, k, factor);
        scale_dimension(t->y, t->columns, t->rank, k, factor);
    }
}

static void outlier_dimensions(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t k = below(1 + t->rank / 2); k < t->rank; k += 20) {
        scale_dimension(t->x, t->rows, t->rank, k, size);
    }
}

static void outliers_on_both_sides(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    const int64_t k = below(t->rank);
    scale_dimension(t->x, t->rows, t->rank, k, size);
    scale_dimension(t->y, t->columns, t->rank, k, size);
}

/* X D and Y D^-1. */
static void balanced(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t k = 0; k < t->rank; k++) {
        const double factor = pow(size, 2 * uniform() - 1);
        scale_dimension(t->x, t->rows, t->rank, k, factor);
        scale_dimension(t->y, t->columns, t->rank, k, 1 / factor);
    }
}

/* Lengths of vectors from 1/size to size. */
static void lengths(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t i = 0; i < t->rows; i++) {
        scale_vector(t->x + i * t->rank, t->rank, pow(size, 2 * uniform() - 1));
    }
    for (int64_t j = 0; j < t->columns; j++) {
        scale_vector(t->y + j * t->rank, t->rank, pow(size, 2 * uniform() - 1));
    }
}

static void lengths_of_columns(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t j = 0; j < t->columns; j++) {
        scale_vector(t->y + j * t->rank, t->rank, pow(size, 2 * uniform() - 1));
    }
}

/* The same in pairs of opposite ones, so that their mean is zero. */
static void opposite_columns(tabled *t, double size)
{
    lengths_of_columns(t, size);
    for (int64_t j = 1; j < t->columns; j += 2) {
        copy_vector(t->y, t->rank, j, t->y + (j - 1) * t->rank);
        scale_vector(t->y + j * t->rank, t->rank, -1);
    }
}

/* Columns with a common part, along which every other hundred of rows looks, the others away from it. */
static void turning_rows(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t j = 0; j < t->columns; j++) {
        t->y[j * t->rank] += (float)(size * uniform());
    }
    for (int64_t i = 0; i < t->rows; i++) {
        t->x[i * t->rank] += (float)(i / 100 % 2 ? size : -size);
    }
}

static void outlier_columns(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t j = 0; j < t->columns; j++) {
        scale_vector(t->y + j * t->rank, t->rank, below(10) ? 1 : size);
    }
}

/* X D and Y D^-1, but for the last column, which is large where the others are small: samples of a larger
 * table miss it. */
static void one_large_column(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t k = 0; k < t->rank; k++) {
        const double factor = pow(1e12, uniform());
        scale_dimension(t->x, t->rows, t->rank, k, factor);
        scale_dimension(t->y, t->columns, t->rank, k, 1 / factor);
    }
    if (t->columns > 0) {
        gaussian(t->y + (t->columns - 1) * t->rank, t->rank, size, 0);
    }
}

static void outlier_rows(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t i = 0; i < t->rows; i++) {
        scale_vector(t->x + i * t->rank, t->rank, below(10) ? 1 : size);
    }
}

/* `size` vectors on either side, over and over. */
static void few_vectors(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    const int64_t few = (int64_t)size;
    for (int64_t i = few; i < t->rows; i++) {
        copy_vector(t->x, t->rank, i, t->x + below(few) * t->rank);
    }
    for (int64_t j = few; j < t->columns; j++) {
        copy_vector(t->y, t->rank, j, t->y + below(few) * t->rank);
    }
}

/* That share of the vectors. */
static void zero_vectors(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t i = 0; i < t->rows; i++) {
        scale_vector(t->x + i * t->rank, t->rank, uniform() < size ? 0 : 1);
    }
    for (int64_t j = 0; j < t->columns; j++) {
        scale_vector(t->y + j * t->rank, t->rank, uniform() < size ? 0 : 1);
    }
}

static void subnormal_times_large(tabled *t, double size)
{
    plain(t, size);
    for (int64_t i = 0; i < t->rows * t->rank; i++) {
        t->x[i] = subnormal(1);
    }
}

/* Copies of a column, with numbers up to two units in the last place away. */
static void near_ties(tabled *t, double size)
{
    both_gaussian(t, size, 0);
    for (int64_t j = 1; j < t->columns; j++) {
        copy_vector(t->y, t->rank, j, t->y);
        float *number = t->y + j * t->rank + below(t->rank);
        for (int64_t steps = below(3); steps > 0; steps--) {
            *number = nextafterf(*number, below(2) ? INFINITY : -INFINITY);
        }
    }
}

/* Sums that differ in double and are equal, or one unit apart, in float32. */
static void ties_once_rounded(tabled *t, double size)
{
    both_gaussian(t, size, 0);
    for (int64_t i = 0; i < t->rows; i++) {
        t->x[i * t->rank] = 1;
    }
    for (int64_t j = 0; j < t->columns; j++) {
        t->y[j * t->rank] = 1 + (float)below(2) * 0x1p-23f;
    }
}

/* Pairs of dimensions that cancel but for what the roundings of double leave, beside small ones. */
static void cancelling(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t k = 0; k + 1 < t->rank / 2; k += 2) {
        for (int64_t i = 0; i < t->rows; i++) {
            t->x[i * t->rank + k + 1] = t->x[i * t->rank + k] =
                (float)(t->x[i * t->rank + k] * size);
        }
        for (int64_t j = 0; j < t->columns; j++) {
            t->y[j * t->rank + k + 1] = -t->y[j * t->rank + k];
        }
    }
}

/* Columns along the rows (size 1) or against them (-1), with that much noise beside. */
static void aligned(tabled *t, double size)
{
    both_gaussian(t, 1e-3, 0);
    gaussian(t->x, t->rows * t->rank, 1, 0);
    for (int64_t j = 0; t->rows > 0 && j < t->columns; j++) {
        for (int64_t k = 0; k < t->rank; k++) {
            t->y[j * t->rank + k] += (float)size * t->x[j % t->rows * t->rank + k];
        }
    }
}

static void rank_one(tabled *t, double size)
{
    both_gaussian(t, size, 0);
    for (int64_t i = 1; i < t->rows; i++) {
        copy_vector(t->x, t->rank, i, t->x);
        scale_vector(t->x + i * t->rank, t->rank, normal());
    }
    for (int64_t j = 1; j < t->columns; j++) {
        copy_vector(t->y, t->rank, j, t->y);
        scale_vector(t->y + j * t->rank, t->rank, normal());
    }
}

static void one_hot(tabled *t, double size)
{
    for (int64_t i = 0; i < t->rows; i++) {
        t->x[i * t->rank + below(t->rank)] = (float)(size * normal());
    }
    for (int64_t j = 0; j < t->columns; j++) {
        t->y[j * t->rank + below(t->rank)] = (float)(size * normal());
    }
}

/* Each column a little above the last one, or below it: every one of them enters the best on one side. */
static void ordered(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t j = 1; j < t->columns; j++) {
        copy_vector(t->y, t->rank, j, t->y);
        scale_vector(t->y + j * t->rank, t->rank, 1 + size * (double)j);
    }
}

/* All columns alike but one, by a unit in the last place of one number. */
static void best_by_a_unit(tabled *t, double size)
{
    constant(t, size);
    if (t->columns > 0) {
        float *number = t->y + below(t->columns * t->rank);
        *number = nextafterf(*number, INFINITY);
    }
}

/* Gaussian, with a few columns of the largest numbers: entries of either infinity beside usual ones. */
static void outside_float32(tabled *t, double size)
{
    both_gaussian(t, 1, 0);
    for (int64_t n = 0; t->columns > 0 && n < 1 + t->columns / 8; n++) {
        float *y = t->y + below(t->columns) * t->rank;
        for (int64_t k = 0; k < t->rank; k++) {
            y[k] = sign_or_zero(size);
        }
    }
}

const table_kind table_kinds[] = {
    {"gaussian", plain, 1, false},
    {"gaussian, small", plain, 1e-12, false},
    {"gaussian, products underflow", plain, 1e-22, false},
    {"gaussian, products vanish", plain, 1e-30, false},
    {"gaussian, products overflow", plain, 1e19, false},
    {"positive", all_positive, 1, false},
    {"bfloat16", bfloats, 0.02, false},
    {"spectrum", spectrum, 0.5, false},
    {"steep spectrum", spectrum, 4, false},
    {"heavy tails", heavy_tails, 4, false},
    {"outlier dimensions 1e4", outlier_dimensions, 1e4, false},
    {"outlier dimensions 1e15", outlier_dimensions, 1e15, false},
    {"outlier dimensions 1e30", outlier_dimensions, 1e30, false},
    {"outliers on both sides 1e4", outliers_on_both_sides, 1e4, false},
    {"outliers on both sides 1e19", outliers_on_both_sides, 1e19, false},
    {"outlier columns", outlier_columns, 1e6, false},
    {"outlier columns 1e30", outlier_columns, 1e30, false},
    {"one large column 1e12", one_large_column, 1e12, false},
    {"one large column 1e35", one_large_column, 1e35, false},
    {"outlier rows", outlier_rows, 1e6, false},
    {"balanced 1e3", balanced, 1e3, false},
    {"balanced 1e25", balanced, 1e25, false},
    {"lengths 1e2", lengths, 1e2, false},
    {"lengths 1e18", lengths, 1e18, false},
    {"lengths of columns 1e36", lengths_of_columns, 1e36, false},
    {"opposite columns to 1e10", opposite_columns, 1e10, false},
    {"opposite columns to 1e36", opposite_columns, 1e36, false},
    {"turning rows", turning_rows, 10, false},
    {"one vector", few_vectors, 1, false},
    {"three vectors", few_vectors, 3, false},
    {"some zero vectors", zero_vectors, 0.3, false},
    {"most zero vectors", zero_vectors, 0.98, false},
    {"zeros", constant, 0, true},
    {"zeros of both signs", signed_zeros, 0, true},
    {"constant", constant, 0.3, false},
    {"subnormal", subnormals, 1, false},
    {"subnormal times large", subnormal_times_large, 1e30, false},
    {"subnormal times ones", subnormal_times_large, 1, false},
    {"near ties", near_ties, 1, false},
    {"near ties of large numbers", near_ties, 1e18, false},
    {"ties once rounded", ties_once_rounded, 1e-5, false},
    {"ties once rounded, closer", ties_once_rounded, 1e-9, false},
    {"best by a unit", best_by_a_unit, 1, false},
    {"cancelling 1e4", cancelling, 1e4, false},
    {"cancelling 1e16", cancelling, 1e16, false},
    {"+-1 and zeros", signs_and_zeros, 1, true},
    {"+-largest and zeros", signs_and_zeros, FLT_MAX, false},
    {"outside of float32", outside_float32, FLT_MAX, false},
    {"integers to 3", whole_numbers, 3, true},
    {"integers to 100", whole_numbers, 100, true},
    {"common mean 1", common_mean, 1, false},
    {"common mean 1000", common_mean, 1000, false},
    {"correlated", aligned, 1, false},
    {"anticorrelated", aligned, -1, false},
    {"rank one", rank_one, 1, false},
    {"one hot", one_hot, 1, false},
    {"rising", ordered, 1e-3, false},
    {"falling", ordered, -1e-3, false},
    {"rising by units", ordered, 1e-7, false},
    {"exponents to 10", any_exponents, 10, false},
    {"exponents to 60", any_exponents, 60, false},
    {"exponents to 120", any_exponents, 120, false},
    {"between steps of 8 bits", lattice, 1, false},
    {"edges of half precision", edges_of_half, 1, false},
    {"edges of half precision, scaled", edges_of_half, 0x1p-16, false},
    {NULL, NULL, 0, false},
};

int64_t table_kind_count(void)
{
    return sizeof table_kinds / sizeof *table_kinds - 1;
}

const table_kind *table_kind_named(const char *name)
{
    const table_kind *kind = table_kinds;
    while (strcmp(kind->name, name) != 0) {
        kind++;
    }
    return kind;
}

tabled table_of_kind(const table_kind *kind, int64_t rows, int64_t columns, int64_t rank,
                     uint64_t seed)
{
    tabled t = tabled_new(rows, columns, rank);
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
    kind->fill(&t, kind->size);
    tabled_multiply(&t);
    return t;
}
