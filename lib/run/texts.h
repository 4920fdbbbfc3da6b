/* SPDX-License-Identifier: MIT
 *
 * What every analysis that runs a model on texts writes alike: the axes `text` and `position`, the
 * tokens at them, and how texts of different length lie in one array.
 *
 * Arrays over texts have `text` as first axis and are written text by text; entries beyond a text's
 * length are never written, so a reader finds them undefined (NaN, -1).
 */
#ifndef OTIMES_RUN_TEXTS_H
#define OTIMES_RUN_TEXTS_H

#include <stdbool.h>

#include <otimes/forward.h>
#include <otimes/sink.h>

#include "base/mem.h"

typedef struct otimes_texts {
    const otimes_sequences *sequences; /* the caller's */
    int64_t longest;
    otimes_axis text, position; /* shared by the caller's arrays; live as long as this */
    otimes_array token_id, token, mask, length;
    otimes_pool pool;
} otimes_texts;

/* Checks the sequences (at least one; lengths and ids as otimes_batch_init does) and sets up the
 * axes. The struct must stay where it is until the sink is finished. OTIMES_ERR_ARGUMENT,
 * OTIMES_ERR_MEMORY. */
int otimes_texts_init(otimes_texts *texts, const otimes_model *model,
                      const otimes_sequences *sequences, otimes_err *err);
void otimes_texts_free(otimes_texts *texts);

/* Declares and writes
 *   token_id [text, position] int64, token [text, position] text (where the model has a vocabulary),
 *   mask [text, position] int32 (1 where there is a token, 0 beyond), length [text] int64. */
int otimes_texts_write(otimes_texts *texts, const otimes_model *model, otimes_sink *sink,
                       otimes_err *err);

/* Cuts the texts into batches: as many from `first` on as have at most max_rows tokens together,
 * one at least. */
int64_t otimes_texts_batch(const otimes_texts *texts, int64_t first, int64_t max_rows);

/* Texts first .. first+count-1 as sequences; views of the caller's arrays. */
otimes_sequences otimes_texts_slice(const otimes_texts *texts, int64_t first, int64_t count);

#endif
