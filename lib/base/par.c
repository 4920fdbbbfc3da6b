/* SPDX-License-Identifier: MIT */
#include "base/par.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/mem.h"

int otimes_threads_available(void)
{
    /* Not omp_get_max_threads(): an OpenBLAS built on OpenMP changes that as a side effect. */
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) { /* unreached: more than 1024 processors */
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

static void *wait_for_all(void *context)
{
    pthread_mutex_lock(context); /* held by who tries until all are there */
    pthread_mutex_unlock(context);
    return NULL;
}

/* As many threads at once as a loop would begin; returns 0 or why one did not begin. */
static int try_threads(pthread_t *thread, int count)
{
    pthread_mutex_t all;
    int begun = 0, error = pthread_mutex_init(&all, NULL);
    if (error) {
        return error;
    }
    pthread_mutex_lock(&all);
    while (begun < count && !error) {
        error = pthread_create(&thread[begun], NULL, wait_for_all, &all);
        begun += !error;
    }
    pthread_mutex_unlock(&all);
    for (int i = 0; i < begun; i++) {
        pthread_join(thread[i], NULL);
    }
    pthread_mutex_destroy(&all);
    return error;
}

int otimes_par_start(int threads, otimes_err *err)
{
    const int workers = threads > 0 ? threads : otimes_threads_available();
    pthread_t *thread;
    const int rc = OTIMES_NEW(&thread, workers, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    const int error = try_threads(thread, workers - 1);
    otimes_free(thread);
    if (error) {
        return otimes_fail(err, OTIMES_ERR_MEMORY,
                           "out of memory: expected %d threads to start, got: %s; fewer may do",
                           workers, strerror(error));
    }
#pragma omp parallel num_threads(workers) if (workers > 1)
    {
#pragma omp barrier
    }
    return OTIMES_OK;
}
