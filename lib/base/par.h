/* SPDX-License-Identifier: MIT
 *
 * The one parallel loop.
 */
#ifndef OTIMES_BASE_PAR_H
#define OTIMES_BASE_PAR_H

#include "base/err.h"

/* What runs for one item. `worker` is below the number of threads and unique among those running
 * at the same time: an index for scratch memory. Each item writes only what is its own. */
typedef int (*otimes_par_item)(void *context, int64_t item, int worker, otimes_err *err);

/* Runs item 0 .. count-1 on `threads` threads (0: otimes_threads_available()). Items are handed out
 * one by one, so results must not depend on which worker runs what. When items fail, the rest is
 * skipped and the error of the failing item with the lowest index is returned. */
int otimes_par_for(int64_t count, int threads, otimes_par_item run, void *context, otimes_err *err);

/* How many workers otimes_par_for uses for that many items. */
int otimes_par_workers(int64_t count, int threads);

/* threads, or 1 where so little is to be done (in operations of about a nanosecond) that waking others
 * would take longer. */
int otimes_par_worth(int threads, double operations);

/* Starts the threads, of which loops of as many use the same from then on: OpenMP ends the process where
 * it cannot. OTIMES_ERR_MEMORY. */
int otimes_par_start(int threads, otimes_err *err);

#endif
