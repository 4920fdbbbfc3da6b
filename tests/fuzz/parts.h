/* SPDX-License-Identifier: MIT
 *
 * What targets share whose inputs are texts: properties, and inputs made of parts.
 */
#ifndef OTIMES_TESTS_FUZZ_PARTS_H
#define OTIMES_TESTS_FUZZ_PARTS_H

#include "frame.h"

/* Where a property does not hold the input is a finding. */
#define FUZZ_REQUIRE(what) \
    ((what) ? (void)0 : fuzz_fail("%s:%d: expected %s", __FILE__, __LINE__, #what))

/* An input is made of parts with a NUL between: the next, NUL-terminated in memory of its own,
 * which the caller frees. The last takes what is left, NULs included. */
char *fuzz_part(const uint8_t **data, size_t *size, int last, int64_t *length);

/* Damages a file of so many bytes in room for `most`: each four bytes of the input say what, where,
 * and a value. Returns how many bytes it has then. */
size_t fuzz_damage(unsigned char *file, size_t bytes, size_t most, const uint8_t *data,
                   size_t size);

#endif
