/* SPDX-License-Identifier: MIT
 *
 * Results in HDF5, read in a process of their own. On damaged files the HDF5 library reads and writes
 * beyond its memory, or comes to no end; here it does so where nothing of the program's lies. That
 * process hands over what h5read finds; when it dies the file is damaged.
 */
#ifndef RESULT_H
#define RESULT_H

#include <otimes/reader.h>

/* As h5read_open, and OTIMES_ERR_IO where the library fails on the file. `path` must outlive the
 * reader. Release with result_close. */
OTIMES_MUST_CHECK int result_open(otimes_reader *reader, const char *path, otimes_err *err);

/* Releases everything; a zeroed reader is fine. */
void result_close(otimes_reader *reader);

#endif
