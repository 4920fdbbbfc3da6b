/* SPDX-License-Identifier: MIT
 *
 * Results in HDF5 as a reader: netCDF-4 files as the program writes them, and others of the same
 * plain kind.
 */
#ifndef H5READ_H
#define H5READ_H

#include <otimes/reader.h>

/* What a file may have: arrays, axes and facts of each so many, and bytes of a text. */
enum { H5READ_PARTS_MOST = 1 << 14, H5READ_TEXT_MOST = 1 << 24 };

/* Opens a file: every dimension scale of its root group with its labels, every other dataset with
 * its axes, every fact. What it holds is not trusted: labels, texts and chunks larger than memory
 * bears are refused. Half precision is read as float, 32 bits unsigned as int64. `path` must outlive the
 * reader. Call from the main thread alone, while no array is being written.
 * OTIMES_ERR_IO (no such file, no HDF5, damaged), OTIMES_ERR_FORMAT (a dataset without dimension
 * scales, of another type, too large), OTIMES_ERR_MEMORY. Release with h5read_close. */
OTIMES_MUST_CHECK int h5read_open(otimes_reader *reader, const char *path, otimes_err *err);

/* Releases everything; a zeroed reader is fine. */
void h5read_close(otimes_reader *reader);

#endif
