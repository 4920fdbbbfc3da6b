/* SPDX-License-Identifier: MIT
 *
 * Within the pickle reader: the globals that state dicts need, and what becomes of calling them.
 */
#ifndef OTIMES_FORMAT_PICKLE_KNOWN_H
#define OTIMES_FORMAT_PICKLE_KNOWN_H

#include "format/pickle_value.h"

/* What a global makes of its arguments. */
typedef int otimes_pickle_reduce(otimes_pickle *machine, const otimes_pickle_items *args,
                                 otimes_pickle_value **result);

typedef struct otimes_pickle_global {
    const char *module, *name;
    otimes_pickle_reduce *reduce; /* NULL: only ever named, never called */
} otimes_pickle_global;

/* The value of module.name; any global that is not known ends the reading here. */
int otimes_pickle_find_global(otimes_pickle *machine, otimes_pickle_text module,
                              otimes_pickle_text name, otimes_pickle_value **value);

/* REDUCE and NEWOBJ. */
int otimes_pickle_call(otimes_pickle *machine, const otimes_pickle_value *callable,
                       const otimes_pickle_value *args, otimes_pickle_value **result);

/* BUILD: state that makes no difference to tensors and plain values is dropped. */
int otimes_pickle_build(otimes_pickle *machine, otimes_pickle_value *object,
                        const otimes_pickle_value *state);

/* BINPERSID: torch's storages. */
int otimes_pickle_persistent(otimes_pickle *machine, const otimes_pickle_value *id,
                             otimes_pickle_value **result);

/* A type by the name of its storage class or its dtype, or NULL. */
const otimes_torch_type *otimes_torch_storage_type(otimes_pickle_text name);
const otimes_torch_type *otimes_torch_dtype(otimes_pickle_text name);

/* Argument number index if it is of that kind, or NULL. */
otimes_pickle_value *otimes_pickle_arg(const otimes_pickle_items *args, int64_t index,
                                       otimes_pickle_kind kind);

/* What known globals make. */
otimes_pickle_reduce otimes_torch_rebuild_tensor, otimes_torch_rebuild_tensor_v3,
    otimes_torch_rebuild_parameter, otimes_torch_rebuild_from_type, otimes_numpy_dtype,
    otimes_numpy_scalar;

/* The state of a numpy.dtype: its byte order. */
int otimes_numpy_build_dtype(otimes_pickle *machine, otimes_pickle_value *dtype,
                             const otimes_pickle_value *state);

#endif
