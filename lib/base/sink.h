/* SPDX-License-Identifier: MIT
 *
 * Short forms for what analyses do with a sink.
 */
#ifndef OTIMES_BASE_SINK_H
#define OTIMES_BASE_SINK_H

#include <stdbool.h>

#include <otimes/sink.h>

#include "base/err.h"

int otimes_sink_text(otimes_sink *sink, const char *name, const char *text, otimes_err *err);
int otimes_sink_i64(otimes_sink *sink, const char *name, int64_t value, otimes_err *err);
int otimes_sink_f64(otimes_sink *sink, const char *name, double value, otimes_err *err);

/* Announces an axis for its labels alone. */
int otimes_sink_axis(otimes_sink *sink, const otimes_axis *axis, otimes_err *err);

/* Declares an array whose axes fit together; checks the caller's own mistakes too. */
int otimes_sink_declare(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err);

/* Writes entries first .. first+count-1 along the first axis, all of the others. */
int otimes_sink_slab(otimes_sink *sink, const otimes_array *array, int id, int64_t first,
                     int64_t count, const void *data, otimes_err *err);

/* Declares an array and writes all of it; units NULL: "1". */
int otimes_sink_whole(otimes_sink *sink, const otimes_array *array, const void *data,
                      otimes_err *err);

/* Whether a block is there from an interrupted run; false where the sink keeps none. A run over texts
 * asks once a text, for the block that it writes last. */
bool otimes_sink_has(otimes_sink *sink, int id, const int64_t *start, const int64_t *count);

/* Reports progress; OTIMES_ERR_CANCELLED when the sink says stop. */
int otimes_sink_progress(otimes_sink *sink, double done, double total, otimes_err *err);

/* An analysis' progress, for work on lower floors that knows nothing of the whole: it beats, which says
 * again what was said last, or a little more, so that the sink can stop it there. What is said never
 * falls. */
typedef struct otimes_pulse {
    otimes_sink *sink;
    double done, total;
    double each, until; /* what a beat adds, and up to where */
} otimes_pulse;

/* `done` of the total, or what was said before if that is more. Without a sink nothing is said. */
int otimes_pulse_say(otimes_pulse *pulse, double done, otimes_err *err);

/* Work of about so many beats begins, which ends at `until`. */
void otimes_pulse_part(otimes_pulse *pulse, double until, double beats);

/* From the thread that called the analysis. NULL: nothing is said. */
int otimes_pulse_beat(otimes_pulse *pulse, otimes_err *err);

int otimes_sink_finish(otimes_sink *sink, otimes_err *err);

#endif
