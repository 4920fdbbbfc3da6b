/* SPDX-License-Identifier: MIT
 *
 * Eigenvalues of a general real matrix: balancing, reduction to Hessenberg form, Francis' implicit
 * double-shift QR. After the routines balanc, orthes and hqr of EISPACK (B. T. Smith et al., Matrix
 * Eigensystem Routines, 1976; from J. H. Wilkinson, C. Reinsch, Handbook for Automatic Computation
 * II, 1971, contributions 11, 13 and 14).
 */
#include "num/la_reference.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"
#include "num/la_order.h"

/* Subdiagonal entries below this (the largest entry of the matrix is near 1) count as zero: among
 * smaller ones the products that make the shifts would vanish, and the iteration stall. */
static const double negligible = 1e-140;

/* A window of the Hessenberg matrix that has not split: rows and columns low..high. */
typedef struct hessenberg {
    double *h;
    int64_t ld, low, high;
    double norm;
} hessenberg;

/* Column i of A times f, row i by 1/f, where that makes both together markedly shorter. f is a
 * power of two, so nothing rounds. Norms take in the diagonal: without it a matrix with tiny
 * off-diagonal entries can be balanced into a worse one (R. James, J. Langou, B. Lowery, "On matrix
 * balancing and eigenvector computation", 2014). */
static bool balance_one(int64_t n, double *a, int64_t lda, int64_t i)
{
    double column = 0, row = 0;
    for (int64_t j = 0; j < n; j++) {
        column += a[j * lda + i] * a[j * lda + i];
        row += a[i * lda + j] * a[i * lda + j];
    }
    column = sqrt(column);
    row = sqrt(row);
    if (column == 0 || row == 0) {
        return false;
    }
    double f = 1, scaled = column;
    for (; scaled < row / f / 2; f *= 2) {
        scaled *= 2;
    }
    for (; scaled / 2 >= row / f; f /= 2) {
        scaled /= 2;
    }
    if (scaled + row / f >= 0.95 * (column + row)) {
        return false;
    }
    for (int64_t j = 0; j < n; j++) {
        a[j * lda + i] *= f;
    }
    for (int64_t j = 0; j < n; j++) {
        a[i * lda + j] /= f;
    }
    return true;
}

/* EISPACK also permutes rows that isolate an eigenvalue out of the way, which saves work and is
 * left out; for a reducible matrix the sweeps need not end, so their number is bounded. */
static void balance(int64_t n, double *a, int64_t lda)
{
    bool changed = true;
    for (int sweep = 0; sweep < 20 && changed; sweep++) {
        changed = false;
        for (int64_t i = 0; i < n; i++) {
            changed |= balance_one(n, a, lda, i);
        }
    }
}

/* Reflectors and not EISPACK's elimination (elmhes): twice the work, but no growth of entries. */
static void reduce(int64_t n, double *a, int64_t lda, double *v, double *work)
{
    for (int64_t k = 0; k + 2 < n; k++) {
        const int64_t length = n - k - 1;
        double *below = a + (k + 1) * lda + k, tau;
        below[0] = otimes_reference_reflector(length, below, lda, v, &tau);
        for (int64_t i = 1; i < length; i++) {
            below[i * lda] = 0;
        }
        otimes_reference_reflect(length, length, v, tau, below + 1, lda, work);
        for (int64_t i = 0; i < n && tau != 0; i++) {
            double *row = a + i * lda + k + 1, sum = 0;
            for (int64_t j = 0; j < length; j++) {
                sum += row[j] * v[j];
            }
            for (int64_t j = 0; j < length; j++) {
                row[j] -= tau * sum * v[j];
            }
        }
    }
}

/* The lowest row of the unsplit block that ends at high: a subdiagonal entry splits the matrix once
 * adding it to its diagonal neighbours changes nothing. */
static int64_t find_split(const hessenberg *w)
{
    int64_t k = w->high;
    for (; k > 0; k--) {
        const double *d = w->h + k * w->ld + k;
        double near = fabs(d[0]) + fabs(d[-w->ld - 1]);
        if (near == 0) {
            near = w->norm;
        }
        if (fabs(d[-1]) <= DBL_EPSILON * near || fabs(d[-1]) < negligible) {
            break;
        }
    }
    return k;
}

/* Both eigenvalues of [a b; c d]; the one nearer d comes from the product of the two where the
 * sum would cancel. */
static void eigenvalues_2x2(double a, double b, double c, double d, double *re, double *im)
{
    const double p = (a - d) / 2, bc = b * c, disc = p * p + bc;
    if (disc < 0) {
        re[0] = re[1] = d + p;
        im[0] = sqrt(-disc);
        im[1] = -im[0];
        return;
    }
    const double z = p + copysign(sqrt(disc), p);
    re[0] = d + z;
    re[1] = z != 0 ? d - bc / z : re[0];
    im[0] = im[1] = 0;
}

/* The row where a double step may start: two small subdiagonal entries in sequence split the window
 * for its purpose. first = start of the first column of (H - shift1)(H - shift2), scaled; the
 * shifts have sum x + y and product x y - w. */
static int64_t find_start(const hessenberg *win, double x, double y, double w, double first[3])
{
    const int64_t ld = win->ld;
    for (int64_t m = win->high - 2;; m--) {
        const double *d = win->h + m * ld + m;
        const double z = d[0], r = x - z, s = y - z;
        first[0] = (r * s - w) / d[ld] + d[1];
        first[1] = d[ld + 1] - z - r - s;
        first[2] = d[2 * ld + 1];
        const double sum = fabs(first[0]) + fabs(first[1]) + fabs(first[2]);
        for (int i = 0; i < 3; i++) {
            first[i] /= sum;
        }
        if (m == win->low ||
            fabs(d[-1]) * (fabs(first[1]) + fabs(first[2])) <=
                DBL_EPSILON * fabs(first[0]) * (fabs(d[-ld - 1]) + fabs(z) + fabs(d[ld + 1]))) {
            return m;
        }
    }
}

/* Rows and columns k, k+1 (and k+2 when size is 3) reflected so that x maps to its first axis; x is
 * scaled to a sum of 1. Returns the factor that x[0] gets. Only the window itself is kept up to
 * date: the rest of the matrix serves eigenvectors. */
static double chase(const hessenberg *w, int64_t k, int size, const double x[3])
{
    const int64_t ld = w->ld;
    const double s = copysign(sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]), x[0]);
    const double left[3] = {(x[0] + s) / s, x[1] / s, x[2] / s};
    const double right[3] = {1, x[1] / (x[0] + s), x[2] / (x[0] + s)};
    for (int64_t j = k; j <= w->high; j++) {
        double *h = w->h + k * ld + j, sum = 0;
        for (int i = 0; i < size; i++) {
            sum += right[i] * h[i * ld];
        }
        for (int i = 0; i < size; i++) {
            h[i * ld] -= sum * left[i];
        }
    }
    const int64_t last = k + 3 < w->high ? k + 3 : w->high;
    for (int64_t i = w->low; i <= last; i++) {
        double *h = w->h + i * ld + k, sum = 0;
        for (int j = 0; j < size; j++) {
            sum += left[j] * h[j];
        }
        for (int j = 0; j < size; j++) {
            h[j] -= sum * right[j];
        }
    }
    return -s;
}

/* One implicit QR step with two shifts, three rows or more. At steps 10 and 20 without a split the
 * shifts are Wilkinson's exceptional ones, which break cycles. */
static void double_step(const hessenberg *win, int steps)
{
    const int64_t ld = win->ld, high = win->high;
    double *h = win->h, *end = h + high * ld + high;
    double x = end[0], y = end[-ld - 1], w = end[-1] * end[-ld];
    if (steps % 10 == 0 && steps > 0) {
        const double size = fabs(end[-1]) + fabs(end[-ld - 2]);
        x = y = end[0] + 0.75 * size;
        w = -0.4375 * size * size;
    }
    double first[3];
    const int64_t start = find_start(win, x, y, w, first);
    for (int64_t i = start + 2; i <= high; i++) {
        for (int64_t j = i > start + 2 ? i - 3 : i - 2; j < i - 1; j++) {
            h[i * ld + j] = 0;
        }
    }
    for (int64_t k = start; k < high; k++) {
        const int size = k + 1 < high ? 3 : 2;
        double *d = h + k * ld + k, sum = 1;
        if (k > start) {
            first[0] = d[-1];
            first[1] = d[ld - 1];
            first[2] = size == 3 ? d[2 * ld - 1] : 0;
            sum = fabs(first[0]) + fabs(first[1]) + fabs(first[2]);
            if (sum == 0) {
                continue;
            }
            for (int i = 0; i < 3; i++) {
                first[i] /= sum;
            }
        }
        const double image = chase(win, k, size, first);
        if (k > start) {
            d[-1] = image * sum;
            d[ld - 1] = 0;
            if (size == 3) {
                d[2 * ld - 1] = 0;
            }
        } else if (start > win->low) {
            d[-1] = -d[-1];
        }
    }
}

/* Sets subdiagonal entries below rounding of the whole matrix to zero; whether there was one. The
 * test of find_split keeps small eigenvalues of graded matrices accurate, but inside the null space
 * of a matrix of low rank, where all entries are rounding of rounding, it waits for nothing. */
static bool drop_rounding(const hessenberg *w)
{
    bool found = false;
    for (int64_t k = w->low + 1; k <= w->high; k++) {
        double *below = w->h + k * w->ld + k - 1;
        if (fabs(*below) <= DBL_EPSILON * w->norm) {
            *below = 0;
            found = true;
        }
    }
    return found;
}

static int francis(int64_t n, double *h, int64_t ld, double *re, double *im)
{
    hessenberg w = {.h = h, .ld = ld, .high = n - 1};
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = i > 0 ? i - 1 : 0; j < n; j++) {
            w.norm += h[i * ld + j] * h[i * ld + j];
        }
    }
    w.norm = sqrt(w.norm);
    int steps = 0;
    while (w.high >= 0) {
        w.low = find_split(&w);
        const double *end = h + w.high * ld + w.high;
        if (w.low == w.high) {
            re[w.high] = end[0];
            im[w.high] = 0;
            w.high -= 1;
            steps = 0;
        } else if (w.low + 1 == w.high) {
            eigenvalues_2x2(end[-ld - 1], end[-ld], end[-1], end[0], re + w.low, im + w.low);
            w.high -= 2;
            steps = 0;
        } else if (steps == 20 && drop_rounding(&w)) {
            steps = 0;
        } else if (steps == 60) {
            return OTIMES_ERR_CONVERGENCE;
        } else {
            double_step(&w, steps++);
        }
    }
    return OTIMES_OK;
}

int otimes_reference_deig(int64_t n, double *a, int64_t lda, double *re, double *im)
{
    if (!otimes_matrix_is_finite(n, n, a, lda)) {
        return OTIMES_ERR_VALUE;
    }
    double *v = otimes_alloc(n, sizeof *v);
    double *work = otimes_alloc(n, sizeof *work);
    int rc = OTIMES_ERR_MEMORY;
    if (v && work) {
        const double power = otimes_reference_scale(n, n, a, lda);
        balance(n, a, lda);
        reduce(n, a, lda, v, work);
        rc = francis(n, a, lda, re, im);
        for (int64_t i = 0; i < n && rc == OTIMES_OK; i++) {
            re[i] /= power;
            im[i] /= power;
        }
    }
    if (rc == OTIMES_OK) {
        otimes_eigenvalue_sort(n, re, im);
    }
    otimes_free(v);
    otimes_free(work);
    return rc;
}
