/* SPDX-License-Identifier: MIT */
#include "token/protobuf.h"

static bool varint(otimes_message *message, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && message->at < message->end; shift += 7) {
        const unsigned char byte = *message->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return true;
        }
    }
    return false;
}

static bool fixed(otimes_message *message, int width, uint64_t *value)
{
    *value = 0;
    if (message->end - message->at < width) {
        return false;
    }
    for (int i = 0; i < width; i++) {
        *value |= (uint64_t)*message->at++ << 8 * i;
    }
    return true;
}

bool otimes_message_next(otimes_message *message, otimes_field *field)
{
    uint64_t key;
    if (message->broken || message->at == message->end) {
        return false;
    }
    *field = (otimes_field){0};
    bool good = varint(message, &key);
    field->number = key >> 3;
    field->wire = (int)(key & 7);
    switch (good && field->number > 0 ? field->wire : -1) {
    case 0:
        good = varint(message, &field->value);
        break;
    case 1:
        good = fixed(message, 8, &field->value);
        break;
    case 2:
        good = varint(message, &field->value) &&
               field->value <= (uint64_t)(message->end - message->at);
        if (good) {
            field->bytes.at = message->at;
            field->bytes.end = message->at += field->value;
        }
        break;
    case 5:
        good = fixed(message, 4, &field->value);
        break;
    default: /* groups went out of use before SentencePiece came */
        good = false;
        break;
    }
    message->broken = !good;
    return good;
}
