/* SPDX-License-Identifier: MIT
 *
 * What is in a file of results: facts, axes with labels, arrays. For h5read.c alone.
 */
#ifndef H5READ_PARTS_H
#define H5READ_PARTS_H

#include <hdf5.h>

#include <otimes/sink.h>

#include "arena.h"

typedef struct h5_array {
    otimes_array about;
    char *name;
} h5_array;

typedef struct h5_axis {
    otimes_axis about;
    char *name;
    const char **text;
    int64_t *number;
} h5_axis;

typedef struct h5_file {
    const char *path;
    hid_t id, text; /* -1: not open */
    hid_t transfer; /* with `target` behind it */
    arena *target;  /* where texts of the next read go */
    arena facts, labels, block;
    otimes_attr *attrs;
    int64_t attr_count, attr_room;
    h5_axis **axes; /* by pointer: arrays point at them */
    int64_t axis_count, axis_room;
    h5_array **arrays;
    int64_t array_count, array_room;
    hid_t open; /* the dataset that was read last; -1: none */
    int64_t open_index;
    int status; /* of an iteration that HDF5 runs */
    otimes_err *err;
} h5_file;

/* Reads all that is known of an open file without its numbers. */
OTIMES_MUST_CHECK int h5read_parts(h5_file *self, otimes_err *err);
void h5read_parts_free(h5_file *self);

int h5read_fail(const h5_file *self, const char *what, otimes_err *err);

#endif
