/* SPDX-License-Identifier: MIT
 *
 * Results as tab-separated text in long form, one line a number, for awk and for eyes.
 */
#ifndef SINK_TSV_H
#define SINK_TSV_H

#include <otimes/sink.h>

/* path NULL or "-": stdout; otherwise <path>.tmp, which takes the name at finish. OTIMES_ERR_IO,
 * OTIMES_ERR_MEMORY. Release with sink_tsv_close. */
OTIMES_MUST_CHECK int sink_tsv_open(otimes_sink *sink, const char *path, otimes_err *err);

/* Releases everything; a file that was not finished is removed. A zeroed sink is fine. */
void sink_tsv_close(otimes_sink *sink);

#endif
