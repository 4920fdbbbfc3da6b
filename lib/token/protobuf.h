/* SPDX-License-Identifier: MIT
 *
 * Fields of a protobuf message (protobuf.dev/programming-guides/encoding), one after the other.
 */
#ifndef OTIMES_TOKEN_PROTOBUF_H
#define OTIMES_TOKEN_PROTOBUF_H

#include <stdbool.h>
#include <stdint.h>

typedef struct otimes_message {
    const unsigned char *at, *end;
    bool broken;
} otimes_message;

typedef struct otimes_field {
    uint64_t number;
    int wire;             /* 0 varint, 1 eight bytes, 2 bytes, 5 four bytes */
    uint64_t value;       /* of all but bytes, little-endian */
    otimes_message bytes; /* of wire 2 */
} otimes_field;

/* Reads the next field; false at the end, and when the message is broken, which then says so. */
bool otimes_message_next(otimes_message *message, otimes_field *field);

#endif
