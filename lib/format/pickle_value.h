/* SPDX-License-Identifier: MIT
 *
 * Within the pickle reader: making values. All of them fail into machine->err.
 */
#ifndef OTIMES_FORMAT_PICKLE_VALUE_H
#define OTIMES_FORMAT_PICKLE_VALUE_H

#include "format/pickle.h"

/* Values on the stack, marks, numbers of the memo. */
enum { OTIMES_PICKLE_MOST = 1 << 26 };

/* Fails with the file, the place and a text of at least one argument. */
#define OTIMES_PICKLE_FAIL(machine, format, ...)                                            \
    otimes_fail((machine)->err, OTIMES_ERR_FORMAT, "%s: pickle: before byte %lld: " format, \
                (machine)->path, (long long)(machine)->at, __VA_ARGS__)

/* Zeroed memory of the machine's for count items, or NULL with *rc and err set. Held against the
 * bytes read so far: copies of copies come to an end. */
void *otimes_pickle_memory(otimes_pickle *machine, int64_t count, size_t size, int *rc);

/* A new value, all zero but its kind. None, True and False are not made anew. */
int otimes_pickle_new(otimes_pickle *machine, otimes_pickle_kind kind, otimes_pickle_value **value);
int otimes_pickle_new_int(otimes_pickle *machine, int64_t integer, otimes_pickle_value **value);
int otimes_pickle_new_float(otimes_pickle *machine, double real, otimes_pickle_value **value);
/* TEXT, BYTES or BIG; data is kept by reference. */
int otimes_pickle_new_text(otimes_pickle *machine, otimes_pickle_kind kind, const void *data,
                           int64_t length, otimes_pickle_value **value);
/* TUPLE, LIST, SET or DICT of copies of count pointers. */
int otimes_pickle_new_items(otimes_pickle *machine, otimes_pickle_kind kind,
                            otimes_pickle_value **item, int64_t count, otimes_pickle_value **value);

otimes_pickle_value *otimes_pickle_none(void);
otimes_pickle_value *otimes_pickle_bool(bool value);

/* Appends count pointers to a container. */
int otimes_pickle_extend(otimes_pickle *machine, otimes_pickle_value *container,
                         otimes_pickle_value **item, int64_t count);

/* "a dict", for messages. */
const char *otimes_pickle_kind_name(otimes_pickle_kind kind);

#endif
