/* SPDX-License-Identifier: MIT
 *
 * Rows of W_E, or of W_U by output token, as a side of a table.
 */
#ifndef OTIMES_RUN_VOCAB_SIDE_H
#define OTIMES_RUN_VOCAB_SIDE_H

#include <otimes/model.h>

#include "run/table.h"

typedef struct otimes_vocab_side {
    const otimes_model *model;
    const otimes_unembed *unembed; /* rows of W_U; NULL: of W_E */
    const int64_t *tokens;         /* the only ones, ascending; NULL: all */
} otimes_vocab_side;

/* The token at a place of the side. */
static inline int64_t otimes_vocab_side_token(const otimes_vocab_side *side, int64_t place)
{
    return side->tokens ? side->tokens[place] : place;
}

/* As otimes_table_side's read. */
int otimes_vocab_side_read(const otimes_vocab_side *side, const int64_t *ids, int64_t first,
                           int64_t count, float *out, otimes_err *err);

/* The side, which must outlive it, with `count` tokens. */
otimes_table_side otimes_vocab_side_of_table(const otimes_vocab_side *side, int64_t count);

/* Places that the table found, of columns on that side, to tokens; -1 stays. */
void otimes_vocab_side_tokens(const otimes_vocab_side *side, const int32_t *places, int64_t count,
                              int32_t *tokens);

#endif
