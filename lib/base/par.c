/* SPDX-License-Identifier: MIT */
#include "base/par.h"

#include <omp.h>
#include <sched.h>

int otimes_threads_available(void)
{
    /* Not omp_get_max_threads(): an OpenBLAS built on OpenMP changes that as a side effect. */
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) {
        return omp_get_num_procs();
    }
    const int count = CPU_COUNT(&cpus);
    return count > 0 ? count : 1;
}

int otimes_par_workers(int64_t count, int threads)
{
    const int wanted = threads > 0 ? threads : otimes_threads_available();
    return count < wanted ? (count > 0 ? (int)count : 1) : wanted;
}

int otimes_par_for(int64_t count, int threads, otimes_par_item run, void *context, otimes_err *err)
{
    const int workers = otimes_par_workers(count, threads);
    int64_t failed = count; /* lowest failing item so far */
    int code = OTIMES_OK;

#pragma omp parallel for num_threads(workers) schedule(dynamic, 1) if (workers > 1)
    for (int64_t item = 0; item < count; item++) {
        int64_t first_failure;
#pragma omp atomic read
        first_failure = failed;
        if (item > first_failure) {
            continue;
        }
        otimes_err item_err = {0};
        const int item_code = run(context, item, omp_get_thread_num(), &item_err);
        if (item_code != OTIMES_OK) {
#pragma omp critical(otimes_par_failure)
            if (item < failed) {
                code = item_code;
                if (err) {
                    *err = item_err;
                }
#pragma omp atomic write
                failed = item;
            }
        }
    }
    return code;
}

int otimes_par_worth(int threads, double operations)
{
    return operations < 1e5 ? 1 : threads;
}
