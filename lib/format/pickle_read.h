/* SPDX-License-Identifier: MIT
 *
 * Within the pickle reader: bytes, lines and the opcodes that are one literal value each.
 */
#ifndef OTIMES_FORMAT_PICKLE_READ_H
#define OTIMES_FORMAT_PICKLE_READ_H

#include "format/pickle_value.h"

/* The next count bytes, in the mapped file. */
int otimes_pickle_take(otimes_pickle *machine, uint64_t count, const unsigned char **bytes);

/* The next `width` bytes as a little-endian number. */
int otimes_pickle_number(otimes_pickle *machine, int width, uint64_t *number);

/* Up to the next newline, which is left out. */
int otimes_pickle_line(otimes_pickle *machine, otimes_pickle_text *line);

/* A line that is a decimal integer: INT, or BIG when it is beyond 64 bits. */
int otimes_pickle_decimal(otimes_pickle *machine, otimes_pickle_text line,
                          otimes_pickle_value **value);

/* The value of a literal opcode, behind which the machine stands; NULL when opcode is none. */
int otimes_pickle_literal(otimes_pickle *machine, unsigned char opcode,
                          otimes_pickle_value **value);

#endif
