/* SPDX-License-Identifier: MIT
 *
 * A vocabulary: texts by id and ids by text.
 */
#ifndef OTIMES_TOKEN_PIECES_H
#define OTIMES_TOKEN_PIECES_H

#include <stdbool.h>

#include "base/err.h"

enum { OTIMES_ID_MOST = 1 << 24 };

typedef struct otimes_piece_slot {
    uint32_t hash;
    int32_t id; /* -1: free */
} otimes_piece_slot;

typedef struct otimes_pieces {
    int64_t count;   /* ids are 0 .. count-1 */
    int64_t *start;  /* [count] where the text of an id begins */
    int32_t *length; /* [count] -1: no piece has this id */
    int64_t start_capacity, length_capacity;
    char *bytes; /* all texts, each with a NUL behind it */
    int64_t used, capacity;
    otimes_piece_slot *slot;
    int64_t slots, filled;
} otimes_pieces;

/* Adds a piece of well-formed UTF-8. Of two ids with the same text the later is found. `where` is
 * for the errors: OTIMES_ERR_FORMAT for an id that is taken or out of range. */
int otimes_pieces_add(otimes_pieces *pieces, int64_t id, const char *text, int64_t length,
                      const char *where, otimes_err *err);

/* Id of a text, or -1. */
int32_t otimes_pieces_find(const otimes_pieces *pieces, const char *text, int64_t length);

static inline bool otimes_pieces_has(const otimes_pieces *pieces, int64_t id)
{
    return id >= 0 && id < pieces->count && pieces->length[id] >= 0;
}

/* NUL-terminated; of an id that has one. */
static inline const char *otimes_pieces_text(const otimes_pieces *pieces, int64_t id)
{
    return pieces->bytes + pieces->start[id];
}

void otimes_pieces_free(otimes_pieces *pieces);

#endif
