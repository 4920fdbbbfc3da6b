/* SPDX-License-Identifier: MIT
 *
 * A checkpoint as named tensors in mapped files, whatever format they came in. Loaders fill a
 * store; the floors above know nothing else of files.
 */
#ifndef OTIMES_FORMAT_STORE_H
#define OTIMES_FORMAT_STORE_H

#include <otimes/tensor.h>

#include "base/dtype.h"
#include "format/map.h"

typedef struct otimes_entry {
    char *name;
    otimes_dtype dtype;
    int ndim;
    int64_t dim[OTIMES_MAX_DIMS];
    const unsigned char *data; /* inside a mapped file; row-major */
    int64_t bytes;
    const char *alias_of; /* another entry's name when the file says that this one is the same */
} otimes_entry;

typedef struct otimes_file {
    char *path;
    otimes_map map;
} otimes_file;

typedef struct otimes_store {
    const char *format; /* "safetensors" */
    char *directory;    /* of the checkpoint, for configuration and tokenizer */
    otimes_file *files;
    int64_t file_count;
    otimes_entry *entries; /* by name, ascending */
    int64_t entry_count, entry_capacity;
} otimes_store;

/* For loaders: appends an entry (name is copied); order and duplicates are settled at the
 * end. */
int otimes_store_add(otimes_store *store, const otimes_entry *entry, otimes_err *err);

/* When all loaders are done: sorts, refuses duplicates. OTIMES_ERR_FORMAT. */
int otimes_store_settle(otimes_store *store, otimes_err *err);

/* By exact name, or NULL. */
const otimes_entry *otimes_store_find(const otimes_store *store, const char *name);

/* directory/name in new memory, or NULL with err filled. */
char *otimes_path_join(const char *directory, const char *name, otimes_err *err);

/* Accepts NULL and zeroed. */
void otimes_store_close(otimes_store *store);

#endif
