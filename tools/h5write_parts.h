/* SPDX-License-Identifier: MIT
 *
 * What the HDF5 sink makes files, datasets and attributes of.
 */
#ifndef H5WRITE_PARTS_H
#define H5WRITE_PARTS_H

#include <hdf5.h>

#include <otimes/sink.h>

/* Types in file and memory, and the value of an entry nobody wrote. */
typedef struct h5_storage {
    hid_t file_type, memory_type; /* borrowed */
    const void *fill;             /* NULL: none */
} h5_storage;

/* Of an array; text and half are types that h5_make_text and h5_make_half made. */
h5_storage h5_storage_of(otimes_type type, hid_t text, hid_t half);

/* Variable-length UTF-8, and binary16 in the byte order of this machine, which is how blocks of it
 * arrive; -1 on failure. Closed by the caller. */
hid_t h5_make_text(void);
hid_t h5_make_half(void);

/* An attribute of one value, in place of one of that name; netCDF wants _FillValue as a list of one and
 * the rest as scalars. -1 on failure. */
int h5_put(hid_t object, const char *name, hid_t file_type, hid_t memory_type, H5S_class_t kind,
           const void *value);

/* Creation properties of a dataset; chunked where `about` is not NULL. -1 on failure. */
hid_t h5_make_properties(const otimes_array *about, const h5_storage *kind);

/* A new file, with the name of who wrote it where netCDF looks for it; -1 on failure. */
hid_t h5_create_file(const char *name);

#endif
