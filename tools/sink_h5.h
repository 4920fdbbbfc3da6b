/* SPDX-License-Identifier: MIT
 *
 * Results as HDF5 that is valid netCDF-4: each axis is a dimension scale with labels, each array
 * names its axes. Files appear under their name complete or not at all.
 */
#ifndef SINK_H5_H
#define SINK_H5_H

#include <otimes/sink.h>

#include "journal.h"

/* Creates <path>.tmp; finish gives it the final name. Call from the main thread alone.
 * OTIMES_ERR_IO (path, system's or HDF5's reason), OTIMES_ERR_MEMORY. Release with
 * sink_h5_close. */
OTIMES_MUST_CHECK int sink_h5_open(otimes_sink *sink, const char *path, otimes_err *err);

/* Large arrays that will be written in full (`whole`) lie in <path>.part until then (partfile.h),
 * where a journal finds their blocks again; closing leaves that file behind if it is to be kept. */
extern const journal_keeper sink_h5_keeper;
void sink_h5_keep_part(otimes_sink *sink);

/* Releases everything; what was not finished is removed. A zeroed sink is fine. */
void sink_h5_close(otimes_sink *sink);

/* "1.10.8", of the HDF5 library that is running. */
void sink_h5_version(char *text, size_t size);

#endif
