/* SPDX-License-Identifier: MIT
 *
 * A result file that appears under its name complete or not at all.
 */
#ifndef OUTFILE_H
#define OUTFILE_H

#include <otimes/common.h>

typedef struct outfile {
    char *path; /* the final name */
    char *tmp;  /* <path>.tmp, where it is written; NULL: `path` is a device or pipe and is written
                   directly */
    int own;    /* descriptor of .tmp, locked, as long as there is one */
} outfile;

/* Finds out before anything is computed whether path can be written, and creates <path>.tmp empty.
 * A device or pipe is refused unless allow_device, and so is what another run is writing.
 * OTIMES_ERR_IO, OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int outfile_begin(outfile *file, const char *path, int allow_device,
                                    otimes_err *err);

/* What to open for writing. */
const char *outfile_name(const outfile *file);

/* For HDF5, which locks what it writes itself: until the file is committed the lock is let go. */
void outfile_unlock(const outfile *file);

/* The closed .tmp file goes to disk and takes the final name. */
OTIMES_MUST_CHECK int outfile_commit(outfile *file, otimes_err *err);

/* The closed file `other` of the same folder takes the final name instead, and .tmp is removed. */
OTIMES_MUST_CHECK int outfile_commit_other(outfile *file, const char *other, otimes_err *err);

/* Releases file; a .tmp that was not committed is removed. A zeroed file is fine. */
void outfile_end(outfile *file);

#endif
