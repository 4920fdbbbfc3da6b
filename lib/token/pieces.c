/* SPDX-License-Identifier: MIT */
#include "token/pieces.h"

#include <string.h>

#include "base/mem.h"
#include "token/hash.h"
#include "token/quote.h"

static otimes_piece_slot *slot_of(const otimes_pieces *pieces, const char *text, int64_t length,
                                  uint32_t hash)
{
    const uint64_t mask = (uint64_t)pieces->slots - 1;
    for (uint64_t i = hash & mask;; i = (i + 1) & mask) {
        otimes_piece_slot *slot = &pieces->slot[i];
        if (slot->id < 0 ||
            (slot->hash == hash && pieces->length[slot->id] == length &&
             memcmp(otimes_pieces_text(pieces, slot->id), text, (size_t)length) == 0)) {
            return slot;
        }
    }
}

static int rehash(otimes_pieces *pieces, otimes_err *err)
{
    otimes_piece_slot *slot;
    const int64_t slots = otimes_hash_slots(2 * pieces->filled);
    const int rc = OTIMES_NEW(&slot, slots, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t i = 0; i < slots; i++) {
        slot[i].id = -1;
    }
    for (int64_t i = 0; i < pieces->slots; i++) {
        if (pieces->slot[i].id >= 0) {
            uint64_t at = pieces->slot[i].hash & ((uint64_t)slots - 1);
            while (slot[at].id >= 0) {
                at = (at + 1) & ((uint64_t)slots - 1);
            }
            slot[at] = pieces->slot[i];
        }
    }
    otimes_free(pieces->slot);
    pieces->slot = slot;
    pieces->slots = slots;
    return OTIMES_OK;
}

/* Makes ids up to `id` exist. */
static int reach(otimes_pieces *pieces, int64_t id, otimes_err *err)
{
    int rc = OTIMES_OK;
    while (rc == OTIMES_OK && pieces->count <= id) {
        rc = OTIMES_GROW(&pieces->start, pieces->count, &pieces->start_capacity, err);
        if (rc == OTIMES_OK) {
            rc = OTIMES_GROW(&pieces->length, pieces->count, &pieces->length_capacity, err);
        }
        if (rc == OTIMES_OK) {
            pieces->start[pieces->count] = 0;
            pieces->length[pieces->count++] = -1;
        }
    }
    return rc;
}

static int keep_text(otimes_pieces *pieces, const char *text, int64_t length, otimes_err *err)
{
    if (pieces->used + length + 1 > pieces->capacity) {
        const int64_t wanted = 2 * (pieces->used + length + 1);
        char *grown = otimes_realloc(pieces->bytes, wanted, 1);
        if (!grown) {
            return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: texts of tokens");
        }
        pieces->bytes = grown;
        pieces->capacity = wanted;
    }
    memcpy(pieces->bytes + pieces->used, text, (size_t)length);
    pieces->bytes[pieces->used + length] = '\0';
    pieces->used += length + 1;
    return OTIMES_OK;
}

int otimes_pieces_add(otimes_pieces *pieces, int64_t id, const char *text, int64_t length,
                      const char *where, otimes_err *err)
{
    if (id < 0 || id >= OTIMES_ID_MOST || length > INT32_MAX) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: token %s: expected an id from 0 to %d, got %lld", where,
                           otimes_quoted(text, length).text, OTIMES_ID_MOST - 1, (long long)id);
    }
    if (otimes_pieces_has(pieces, id)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: id %lld is given twice: %s and %s", where,
                           (long long)id,
                           otimes_quoted(otimes_pieces_text(pieces, id), pieces->length[id]).text,
                           otimes_quoted(text, length).text);
    }
    int rc = reach(pieces, id, err);
    if (rc == OTIMES_OK && pieces->slots <= 2 * pieces->filled) {
        rc = rehash(pieces, err);
    }
    const int64_t start = pieces->used;
    if (rc == OTIMES_OK) {
        rc = keep_text(pieces, text, length, err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    pieces->start[id] = start;
    pieces->length[id] = (int32_t)length;
    const uint32_t hash = (uint32_t)otimes_hash(text, length);
    otimes_piece_slot *slot = slot_of(pieces, text, length, hash);
    pieces->filled += slot->id < 0;
    *slot = (otimes_piece_slot){hash, (int32_t)id};
    return OTIMES_OK;
}

int32_t otimes_pieces_find(const otimes_pieces *pieces, const char *text, int64_t length)
{
    return pieces->slots == 0
               ? -1
               : slot_of(pieces, text, length, (uint32_t)otimes_hash(text, length))->id;
}

void otimes_pieces_free(otimes_pieces *pieces)
{
    otimes_free(pieces->start);
    otimes_free(pieces->length);
    otimes_free(pieces->bytes);
    otimes_free(pieces->slot);
    *pieces = (otimes_pieces){0};
}
