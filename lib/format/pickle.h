/* SPDX-License-Identifier: MIT
 *
 * Python pickles as far as state dicts need them: a stack machine that builds values and calls
 * nothing. The few globals it knows (pickle_known.c) are names for values; any other ends the
 * reading. Opcodes, protocols 0 to 5: Lib/pickletools.py of CPython.
 *
 * Values point to one another as the file says, so they may be shared and may form cycles: who
 * walks them bounds depth and steps. They live in the machine's memory and in the mapped file.
 */
#ifndef OTIMES_FORMAT_PICKLE_H
#define OTIMES_FORMAT_PICKLE_H

#include <stdbool.h>

#include "base/dtype.h"
#include "base/mem.h"

typedef struct otimes_pickle_value otimes_pickle_value;

/* What torch's storages hold: "FloatStorage", "float32". */
typedef struct otimes_torch_type {
    const char *storage; /* NULL: has none of its own */
    const char *dtype;   /* NULL: bytes without a type */
    int size;            /* bytes of an element */
    bool readable;       /* whether `as` says how; complex and quantized numbers are not read */
    otimes_dtype as;
} otimes_torch_type;

/* A persistent id ('storage', type, key, location, numel[, view]). */
typedef struct otimes_torch_storage {
    const otimes_torch_type *type;
    const otimes_pickle_value *key; /* text */
    int64_t numel;
    int64_t view_offset; /* elements, into the storage that the file keeps under key */
    int64_t view_numel;
    const unsigned char *data; /* NULL until its container says where; of the whole, not the view */
} otimes_torch_storage;

/* Arguments of _rebuild_tensor_v2; sizes and strides are tuples not looked into yet. */
typedef struct otimes_torch_tensor {
    const otimes_torch_storage *storage;
    const otimes_torch_type *type;
    int64_t offset; /* elements */
    const otimes_pickle_value *size, *stride;
} otimes_torch_tensor;

struct otimes_pickle_global; /* pickle_known.h */

typedef enum otimes_pickle_kind {
    OTIMES_PICKLE_NONE,
    OTIMES_PICKLE_BOOL,
    OTIMES_PICKLE_INT,
    OTIMES_PICKLE_BIG, /* an integer beyond 64 bits: its bytes, or its digits */
    OTIMES_PICKLE_FLOAT,
    OTIMES_PICKLE_TEXT,
    OTIMES_PICKLE_BYTES,
    OTIMES_PICKLE_TUPLE,
    OTIMES_PICKLE_LIST,
    OTIMES_PICKLE_SET,
    OTIMES_PICKLE_DICT,
    OTIMES_PICKLE_GLOBAL,
    OTIMES_PICKLE_STORAGE_TYPE,
    OTIMES_PICKLE_DTYPE,
    OTIMES_PICKLE_STORAGE,
    OTIMES_PICKLE_TENSOR,
    OTIMES_PICKLE_NUMPY_DTYPE,
    OTIMES_PICKLE_OPAQUE /* known to exist, of no use: devices, arrays, complex numbers */
} otimes_pickle_kind;

/* Items of a tuple, list or set in order; of a dict key and value in turn. */
typedef struct otimes_pickle_items {
    otimes_pickle_value **item;
    int64_t count, capacity;
} otimes_pickle_items;

typedef struct otimes_pickle_text {
    const char *data; /* not ended by a NUL */
    int64_t length;
} otimes_pickle_text;

struct otimes_pickle_value {
    otimes_pickle_kind kind;
    union {
        int64_t integer; /* BOOL, INT */
        double real;
        otimes_pickle_text text; /* BIG, TEXT, BYTES, NUMPY_DTYPE */
        otimes_pickle_items items;
        const struct otimes_pickle_global *global;
        const otimes_torch_type *type; /* STORAGE_TYPE, DTYPE */
        otimes_torch_storage *storage;
        otimes_torch_tensor *tensor;
    };
};

/* A machine over bytes that outlive it. Zeroed but for path, data and bytes it is ready. */
typedef struct otimes_pickle {
    const char *path;
    const unsigned char *data;
    int64_t bytes, at; /* the next byte to read */
    otimes_err *err;   /* of the call under way */

    otimes_pool pool; /* chunks that values are cut from */
    char *chunk;
    int64_t chunk_left;
    int64_t used; /* bytes handed out */

    otimes_pickle_value **stack, **memo;
    int64_t stack_count, stack_capacity;
    int64_t memo_count, memo_capacity, memo_used; /* NULL where nothing was put */
    int64_t *marks;                               /* heights of the stack */
    int64_t mark_count, mark_capacity;

    otimes_torch_storage **storages; /* all that persistent ids made */
    int64_t storage_count, storage_capacity;
} otimes_pickle;

/* Reads one pickle up to its STOP, behind which `at` is left for the next one; *value lives until
 * the machine is freed. Memory and time are in proportion to the bytes read.
 * OTIMES_ERR_FORMAT, OTIMES_ERR_MEMORY. */
int otimes_pickle_load(otimes_pickle *machine, otimes_pickle_value **value, otimes_err *err);

/* The value under a text key, or NULL when there is none or dict is no dict. */
const otimes_pickle_value *otimes_pickle_member(const otimes_pickle_value *dict, const char *key);

/* Whether a text value is these words. */
bool otimes_pickle_text_is(const otimes_pickle_value *value, const char *words);

/* Accepts NULL and zeroed; path, data and bytes stay. */
void otimes_pickle_free(otimes_pickle *machine);

#endif
