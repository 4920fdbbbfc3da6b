/* SPDX-License-Identifier: MIT
 *
 * Within the torch loader: from a pickle's values to a store.
 */
#ifndef OTIMES_FORMAT_TORCH_GATHER_H
#define OTIMES_FORMAT_TORCH_GATHER_H

#include "format/pickle.h"
#include "format/store.h"

/* Adds every tensor below root, which is a dict or a list, under the keys that lead to it, and
 * merges plain values (numbers, texts, None, containers of them) into the store's configuration.
 * Left out: members whose key is no text, integer or bool, with all below them; tensors of complex
 * or quantized numbers; from the configuration, lists of more than 4096 items, NaN and infinities,
 * text that is not UTF-8. Where such a thing is an item of a list, null keeps its place.
 *
 * A file that unfolds to many times its size by sharing, or nests too deep, is refused:
 * pickle_bytes is what the pickles took. OTIMES_ERR_FORMAT, OTIMES_ERR_MEMORY. */
int otimes_torch_gather(otimes_store *store, const otimes_pickle_value *root, int64_t pickle_bytes,
                        const char *path, otimes_err *err);

#endif
