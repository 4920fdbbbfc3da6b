/* SPDX-License-Identifier: MIT
 *
 * Measures of one pair of circuits, from cores and the cross Grams of their sides.
 */
#include <math.h>

#include "analysis/compare_job.h"
#include "num/la.h"

/* Product, widened cross Gram and one step between, or singular values. */
int64_t otimes_compare_scratch(int64_t rows)
{
    return 3 * rows * rows + rows;
}

static void widen(int64_t rows, int64_t columns, const float *from, int64_t ld, double *to)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            to[i * columns + j] = (double)from[i * ld + j];
        }
    }
}

static const double *core_of(const compare_circuit *circuit, int64_t node, int64_t left,
                             int64_t right)
{
    return circuit->core + node * left * right;
}

void otimes_compare_product(const compare_pair *p, double *scratch)
{
    const otimes_la *la = otimes_la_default;
    const int64_t l1 = p->rows_left[0], l2 = p->rows_left[1];
    const int64_t r1 = p->rows_right[0], r2 = p->rows_right[1];
    double *product = scratch, *wide = product + r1 * r2, *half = wide + l1 * l2;
    widen(l1, l2, p->left, p->ld_left, wide);
    la->dgemm(false, false, l1, r2, l2, 1, wide, l2, core_of(p->two, p->j, l2, r2), r2, 0, half,
              r2);
    la->dgemm(true, false, r1, r2, l1, 1, core_of(p->one, p->i, l1, r1), r1, half, r2, 0, product,
              r2);
}

/* The quotient, or NaN: a circuit of norm 0 has no direction. */
static double over(double value, double one, double two)
{
    return one > 0 && two > 0 ? value / (one * two) : NAN;
}

double otimes_compare_cosine(const compare_pair *p, const double *product)
{
    const int64_t r1 = p->rows_right[0], r2 = p->rows_right[1];
    double sum = 0;
    for (int64_t i = 0; i < r1; i++) {
        for (int64_t j = 0; j < r2; j++) {
            sum += product[i * r2 + j] * (double)p->right[i * p->ld_right + j];
        }
    }
    return over(sum, p->one->norm[p->i], p->two->norm[p->j]);
}

double otimes_compare_cka(const compare_pair *p, const double *product)
{
    double sum = 0;
    for (int64_t k = 0; k < p->rows_right[0] * p->rows_right[1]; k++) {
        sum += product[k] * product[k];
    }
    return over(sum, p->one->squares[p->i], p->two->squares[p->j]);
}

int otimes_compare_procrustes(const compare_pair *p, double *scratch, double *similarity,
                              otimes_err *err)
{
    const int64_t r1 = p->rows_right[0], r2 = p->rows_right[1], r = r1 < r2 ? r1 : r2;
    double *values = scratch + r1 * r2, sum = 0;
    const int rc = otimes_la_default->dsvd(r1, r2, scratch, r2, values, NULL, r, NULL, r);
    if (rc != OTIMES_OK) {
        return otimes_fail(err, rc, "SVD of a cross product: %s", otimes_strerror(rc));
    }
    for (int64_t k = 0; k < r; k++) {
        sum += values[k];
    }
    *similarity = over(sum, p->one->norm[p->i], p->two->norm[p->j]);
    return OTIMES_OK;
}
