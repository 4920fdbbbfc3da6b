/* SPDX-License-Identifier: MIT
 *
 * numpy's scalars, which learning rates and losses often are. Arrays stay opaque: numbers worth
 * reading are in tensors (numpy/core/src/multiarray/scalartypes.c.src and descriptor.c).
 */
#include "format/pickle_known.h"

#include <string.h>

#include "format/le.h"

/* dtype('f8', False, True) */
int otimes_numpy_dtype(otimes_pickle *machine, const otimes_pickle_items *args,
                       otimes_pickle_value **result)
{
    const otimes_pickle_value *code = otimes_pickle_arg(args, 0, OTIMES_PICKLE_TEXT);
    return code ? otimes_pickle_new_text(machine, OTIMES_PICKLE_NUMPY_DTYPE, code->text.data,
                                         code->text.length, result)
                : OTIMES_PICKLE_FAIL(machine, "numpy.dtype: expected %s",
                                     otimes_pickle_kind_name(OTIMES_PICKLE_TEXT));
}

/* (version, byte order, ...). Other orders than ours and those of no order make it opaque. */
int otimes_numpy_build_dtype(otimes_pickle *machine, otimes_pickle_value *dtype,
                             const otimes_pickle_value *state)
{
    if (state->kind != OTIMES_PICKLE_TUPLE || state->items.count < 2) {
        return OTIMES_PICKLE_FAIL(machine, "numpy.dtype: expected a tuple as its state, got %s",
                                  otimes_pickle_kind_name(state->kind));
    }
    const otimes_pickle_value *order = state->items.item[1];
    if (!otimes_pickle_text_is(order, "<") && !otimes_pickle_text_is(order, "|")) {
        dtype->kind = OTIMES_PICKLE_OPAQUE;
    }
    return OTIMES_OK;
}

/* scalar(dtype, bytes) */
int otimes_numpy_scalar(otimes_pickle *machine, const otimes_pickle_items *args,
                        otimes_pickle_value **result)
{
    enum { FLOAT, SIGNED, UNSIGNED, BOOLEAN };
    static const struct {
        char code[3];
        unsigned char bytes, kind;
    } codes[] = {
        {"f2", 2, FLOAT},    {"f4", 4, FLOAT},    {"f8", 8, FLOAT},    {"i1", 1, SIGNED},
        {"i2", 2, SIGNED},   {"i4", 4, SIGNED},   {"i8", 8, SIGNED},   {"u1", 1, UNSIGNED},
        {"u2", 2, UNSIGNED}, {"u4", 4, UNSIGNED}, {"u8", 8, UNSIGNED}, {"b1", 1, BOOLEAN},
    };
    const otimes_pickle_value *dtype = otimes_pickle_arg(args, 0, OTIMES_PICKLE_NUMPY_DTYPE);
    const otimes_pickle_value *bytes = otimes_pickle_arg(args, 1, OTIMES_PICKLE_BYTES);
    bytes = bytes ? bytes : otimes_pickle_arg(args, 1, OTIMES_PICKLE_TEXT); /* Python 2 */
    for (size_t i = 0; dtype && bytes && i < sizeof codes / sizeof codes[0]; i++) {
        if (dtype->text.length != 2 || memcmp(dtype->text.data, codes[i].code, 2) != 0 ||
            bytes->text.length != codes[i].bytes) {
            continue;
        }
        const int width = codes[i].bytes;
        const uint64_t raw = otimes_le((const unsigned char *)bytes->text.data, width);
        float number;
        double wide;
        switch (codes[i].kind) {
        case FLOAT:
            if (width == 8) {
                memcpy(&wide, bytes->text.data, sizeof wide);
                return otimes_pickle_new_float(machine, wide, result);
            }
            otimes_dtype_read(width == 2 ? OTIMES_DTYPE_F16 : OTIMES_DTYPE_F32, bytes->text.data, 1,
                              &number);
            return otimes_pickle_new_float(machine, (double)number, result);
        case BOOLEAN:
            *result = otimes_pickle_bool(raw != 0);
            return OTIMES_OK;
        case SIGNED: /* the sign bit is moved to the top and back */
            return otimes_pickle_new_int(
                machine, (int64_t)(raw << (64 - 8 * width)) >> (64 - 8 * width), result);
        default:
            if (raw <= INT64_MAX) {
                return otimes_pickle_new_int(machine, (int64_t)raw, result);
            }
        }
    }
    return otimes_pickle_new(machine, OTIMES_PICKLE_OPAQUE, result);
}
