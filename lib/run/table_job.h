/* SPDX-License-Identifier: MIT
 *
 * The two ways through a table, and what they share.
 */
#ifndef OTIMES_RUN_TABLE_JOB_H
#define OTIMES_RUN_TABLE_JOB_H

#include "base/mem.h"
#include "run/table.h"

/* Rows that a worker carries through the columns at once, by blocks. */
enum { OTIMES_TABLE_STRIP = 128, OTIMES_TABLE_BLOCK = 1024 };

/* One sheet at a time: the vectors of its rows and its results. */
typedef struct otimes_table_job {
    const otimes_table *table;
    const otimes_table_ask *ask;
    int64_t top, bottom; /* no more than there are columns */
    float *vectors;      /* [sheet rows, rank] behind sheet.vectors */
    otimes_table_sheet sheet;
    double done, total; /* entries, for tick */
    otimes_pool pool;
} otimes_table_job;

/* What a way does: once before the first sheet, for each sheet whose vectors were read (fills its results,
 * entries included, whose memory is the way's until the next sheet), and at the end. `state` is its own. */
typedef struct otimes_table_engine {
    int (*open)(otimes_table_job *job, void **state, otimes_err *err);
    int (*run_sheet)(otimes_table_job *job, void *state, otimes_err *err);
    void (*close)(void *state); /* accepts NULL */
} otimes_table_engine;

extern const otimes_table_engine otimes_table_blocks, otimes_table_screen;

/* Whether the screen would be the faster way here: a kernel for this machine, and enough to do. */
int otimes_table_screen_pays(const otimes_table *table, const otimes_table_ask *ask);

/* Adds to what is done and tells it. */
int otimes_table_tick(otimes_table_job *job, double entries, otimes_err *err);

#endif
