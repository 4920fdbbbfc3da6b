/* SPDX-License-Identifier: MIT
 *
 * Loops that several threads take part in, for ThreadSanitizer: over a golden model a loop ends before
 * a second thread is awake, and what one thread does alone is no race. Here the first two items of a
 * loop wait for each other. Linked with --wrap=otimes_par_for.
 */
#include "base/par.h"

#include <sched.h>
#include <stdatomic.h>

/* Far longer than a thread takes to wake, and no hang where there is none to wake. */
enum { PATIENCE = 10000 };

typedef struct loop {
    otimes_par_item run;
    void *context;
    atomic_int arrived;
} loop;

int __real_otimes_par_for(int64_t count, int threads, otimes_par_item run, void *context,
                          otimes_err *err);
int __wrap_otimes_par_for(int64_t count, int threads, otimes_par_item run, void *context,
                          otimes_err *err);

static int meet(void *context, int64_t item, int worker, otimes_err *err)
{
    loop *l = context;
    if (item < 2) {
        /* Relaxed: a wait that ordered the threads' memory would hide their races. */
        atomic_fetch_add_explicit(&l->arrived, 1, memory_order_relaxed);
        for (int i = 0; i < PATIENCE; i++) {
            if (atomic_load_explicit(&l->arrived, memory_order_relaxed) == 2) {
                break;
            }
            sched_yield();
        }
    }
    return l->run(l->context, item, worker, err);
}

int __wrap_otimes_par_for(int64_t count, int threads, otimes_par_item run, void *context,
                          otimes_err *err)
{
    if (otimes_par_workers(count, threads) < 2) {
        return __real_otimes_par_for(count, threads, run, context, err);
    }
    loop l = {.run = run, .context = context};
    return __real_otimes_par_for(count, threads, meet, &l, err);
}
