/* SPDX-License-Identifier: MIT
 *
 * A sink that counts what it gets and keeps nothing, for timing.
 */
#ifndef SINK_NULL_H
#define SINK_NULL_H

#include <otimes/sink.h>

/* OTIMES_ERR_MEMORY. Release with sink_null_close. */
OTIMES_MUST_CHECK int sink_null_open(otimes_sink *sink, otimes_err *err);

/* Bytes of numbers and text written so far. */
int64_t sink_null_bytes(const otimes_sink *sink);

void sink_null_close(otimes_sink *sink);

#endif
