/* SPDX-License-Identifier: MIT */
#include "run/spectrum.h"

#include "num/stats.h"

int otimes_spectrum_singular(otimes_factored m, double scale, otimes_spectrum *spectrum,
                             double *values, otimes_err *err)
{
    const int64_t rank = m.a->rank, found = otimes_factored_rank(m);
    const int rc = otimes_factored_svd(m, values, 0, NULL, NULL, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t i = 0; i < rank; i++) {
        values[i] = i < found ? values[i] / scale : 0;
    }
    spectrum->norm = otimes_norm_of_singular_values(values, rank);
    spectrum->effective_rank = otimes_effective_count(values, rank);
    return OTIMES_OK;
}

int otimes_spectrum_eigen(int64_t rank, double *inner, double scale, otimes_spectrum *spectrum,
                          double *re, double *im, otimes_err *err)
{
    const int rc = otimes_inner_eigenvalues(rank, inner, re, im, &spectrum->trace, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    spectrum->trace /= scale;
    for (int64_t i = 0; i < rank; i++) {
        re[i] /= scale;
        im[i] /= scale;
    }
    spectrum->positivity = otimes_positivity(re, im, rank);
    return OTIMES_OK;
}
