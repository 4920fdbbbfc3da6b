/* SPDX-License-Identifier: MIT
 *
 * A model under TransformerLens' names: how it is written down so that it opens again, and is never
 * processed twice.
 */
#ifndef OTIMES_MODEL_LENS_H
#define OTIMES_MODEL_LENS_H

#include "model/model.h"

/* One tensor of such a file. */
typedef struct otimes_lens_tensor {
    otimes_slot slot;
    int64_t layer, expert; /* -1: of the model, of the block */
    char *name;            /* the list's own */
    const char *layout;    /* plain letters: the canonical order or its transpose */
} otimes_lens_tensor;

typedef struct otimes_lens_list {
    otimes_lens_tensor *tensor;
    int64_t count, capacity;
} otimes_lens_list;

/* Every tensor that the processed model has, those of the model first, then layer by layer, a
 * layer's experts one after another. Release
 * with otimes_lens_list_free. */
int otimes_lens_tensors(const otimes_model *model, otimes_lens_list *list, otimes_err *err);

/* Accepts zeroed. */
void otimes_lens_list_free(otimes_lens_list *list);

/* The configuration as JSON text in new memory: TransformerLens' keys where it has them, and under
 * "otimes_processing" which steps the weights have been through. */
int otimes_lens_config(const otimes_model *model, char **text, otimes_err *err);

#endif
