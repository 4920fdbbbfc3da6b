/* SPDX-License-Identifier: MIT
 *
 * A checkpoint as named tensors in mapped files, whatever format they came in, or in memory of the
 * caller's. Loaders fill a store; the floors above know nothing else of files.
 */
#ifndef OTIMES_FORMAT_STORE_H
#define OTIMES_FORMAT_STORE_H

#include <otimes/tensor.h>

#include "base/dtype.h"
#include "format/json.h"
#include "format/map.h"

typedef struct otimes_entry {
    char *name;
    char *group; /* where it stood in a nested checkpoint: the keys that lead to its dictionary,
                    joined by dots; "" at the top */
    otimes_dtype dtype;
    int ndim;
    int64_t dim[OTIMES_MAX_DIMS], stride[OTIMES_MAX_DIMS]; /* strides in elements, none negative */
    const unsigned char *data;   /* element 0, inside a mapped file or lent */
    const unsigned char *scales; /* of the first block, where they lie apart; else NULL */
    int64_t bytes;               /* from the first to the last element, and of the scales apart */
    char *alias_of; /* another entry's name when the file says that this one is the same */
} otimes_entry;

typedef struct otimes_file {
    char *path;
    otimes_map map;
} otimes_file;

typedef struct otimes_store {
    const char *format; /* "safetensors" */
    char *directory;    /* of the checkpoint, for configuration and tokenizer; what the caller
                           calls it when lent */
    bool lent; /* the entries show memory of the caller's: nothing there is let go, there are no
                  files */
    json_t *config; /* what the weight files themselves say of the model; NULL if nothing */
    otimes_file *files;
    int64_t file_count;
    otimes_entry *entries; /* by group and name, ascending */
    int64_t entry_count, entry_capacity;
} otimes_store;

/* For loaders: appends an entry (name, group and alias_of are copied, a NULL group is ""); order
 * and duplicates are settled at the end. */
int otimes_store_add(otimes_store *store, const otimes_entry *entry, otimes_err *err);

/* For loaders: strides of row-major order; 0 when there are no elements. */
void otimes_entry_row_major(otimes_entry *entry);

/* For loaders whose files or callers give strides: that of an axis of one element is anything, and so
 * are all when there are no elements (bytes 0); made row-major, or 0. */
void otimes_entry_settle_strides(otimes_entry *entry);

/* When all loaders are done: sorts, refuses duplicates. OTIMES_ERR_FORMAT. */
int otimes_store_settle(otimes_store *store, otimes_err *err);

/* When a store is settled and held against its index: what is MXFP4 in two tensors, X_blocks U8
 * [..., k, 16] and X_scales U8 [..., k], becomes the one entry X_blocks of MXFP4 [..., 32 k]. Pairs
 * that do not fit, and halves of pairs, stay what they are. */
void otimes_store_join(otimes_store *store);

/* How many entries from number `first` on are of one group, which stands together; 0 at the end. */
int64_t otimes_store_group(const otimes_store *store, int64_t first);

/* Drops the entries of every other group. */
void otimes_store_choose(otimes_store *store, const char *group);

/* By exact name, in a store of one group; or NULL. */
const otimes_entry *otimes_store_find(const otimes_store *store, const char *name);

/* Bytes of its files, or of the tensors lent, each once. */
int64_t otimes_store_bytes(const otimes_store *store);

/* directory/name in new memory, or NULL with err filled. */
char *otimes_path_join(const char *directory, const char *name, otimes_err *err);

/* Whether the files in which an entry lies are as they were when the store was opened; NULL: all
 * files. What is lent is. OTIMES_ERR_IO. */
int otimes_store_unchanged(const otimes_store *store, const otimes_entry *entry, otimes_err *err);

/* otimes_map_mend over all files. */
bool otimes_store_mend(otimes_store *store, const void *address);

/* Accepts NULL and zeroed. */
void otimes_store_close(otimes_store *store);

#endif
