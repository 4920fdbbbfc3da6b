/* SPDX-License-Identifier: MIT
 *
 * The entries of large arrays that will be written in full, in a file <path>.part: each where it lies
 * in the result. A killed run leaves them there, so its journal need not hold them a second time; in
 * the end all else that the result consists of is put between them, and the file is the result.
 *
 * Blocks go to the file with one call for each piece that lies in one, so blocks that chunks divide
 * take few.
 */
#ifndef PARTFILE_H
#define PARTFILE_H

#include <otimes/sink.h>

typedef struct partfile {
    char *path;
    int fd;    /* -1: not open */
    int begun; /* what it holds is of this run, or of the one that this one goes on with */
    struct part_array *arrays;
    int count;
} partfile;

/* Touches nothing on disk. Release with partfile_close, also after an error. OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int partfile_open(partfile *part, const char *path, otimes_err *err);

/* Takes an array up, whose chunks lie one behind the other from `base` on; *id is its number.
 * OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int partfile_add(partfile *part, const otimes_array *about, int64_t base, int *id,
                                   otimes_err *err);

/* OTIMES_ERR_ARGUMENT (a block that leaves the array), OTIMES_ERR_IO. */
OTIMES_MUST_CHECK int partfile_write(partfile *part, int id, const int64_t *start,
                                     const int64_t *count, const void *data, otimes_err *err);

/* What a block within the array was left as by an interrupted run: 1; 0 where it cannot be read. */
int partfile_read(partfile *part, int id, const int64_t *start, const int64_t *count, void *data);

/* A block that was read and is right counts as written. */
void partfile_adopt(partfile *part, int id, const int64_t *count);

/* Puts all else of the complete file `other` between the arrays. OTIMES_ERR_VALUE when the entries
 * written are not as many as the arrays have, OTIMES_ERR_IO. */
OTIMES_MUST_CHECK int partfile_complete(partfile *part, const char *other, otimes_err *err);

/* Removes what an earlier run has left: this result is complete without it. */
void partfile_discard(const partfile *part);

/* Releases everything. A file that was read or written is removed unless it is to be kept. */
void partfile_close(partfile *part, int keep);

#endif
