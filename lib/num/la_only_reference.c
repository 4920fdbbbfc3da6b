/* SPDX-License-Identifier: MIT
 *
 * Stands in for la_blas.c in builds with -Dblas=reference.
 */
#include "num/la.h"

const otimes_la *const otimes_la_default = &otimes_la_reference;

const char *otimes_build_blas(void)
{
    return "plain C (-Dblas=reference)";
}

int otimes_la_reserve(int threads, otimes_err *err)
{
    (void)threads, (void)err; /* keeps nothing */
    return OTIMES_OK;
}

void otimes_set_blas_threads(int threads)
{
    (void)threads;
}
