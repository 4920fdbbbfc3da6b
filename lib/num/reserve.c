/* SPDX-License-Identifier: MIT */
#include "base/par.h"
#include "num/la.h"

int otimes_reserve_threads(int threads, otimes_err *err)
{
    if (threads < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "threads: expected 0 or more, got %d",
                           threads);
    }
    const int workers = threads > 0 ? threads : otimes_threads_available();
    const int rc = otimes_la_reserve(workers, err);
    return rc == OTIMES_OK ? otimes_par_start(workers, err) : rc;
}
