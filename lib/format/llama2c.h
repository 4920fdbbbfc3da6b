/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_FORMAT_LLAMA2C_H
#define OTIMES_FORMAT_LLAMA2C_H

#include <stdbool.h>

#include "format/store.h"

/* Whether a file begins with the "ak42" of version 1 on, or with the seven sizes of version 0,
 * which has no magic: all plausible and consistent with one another. Must be asked last. */
bool otimes_llama2c_recognise(const otimes_map *map);

/* Adds every tensor of a mapped llama2.c model to the store, and its sizes as store->config.
 * Format: export.py and run.c of github.com/karpathy/llama2.c: seven int32 (dim, hidden_dim,
 * n_layers, n_heads, n_kv_heads, vocab_size, seq_len), then float32 matrices, each kind for all
 * layers together. Version 0 says by a negative vocab_size that the classifier is not shared, and
 * carries two tables of rotary angles that are left out; version 1 has a header of 256 bytes.
 * Version 2 (8 bits) is refused by name. The file must have exactly the length that its sizes make.
 *
 * Tensors bear the names of llama2.c's PyTorch checkpoints (tok_embeddings.weight,
 * layers.0.attention.wq.weight ...). Rows of wq and wk are in the order of interleaved rotary
 * pairs. config: model_type "llama2.c", dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size,
 * max_seq_len, tie_word_embeddings.
 *
 * OTIMES_ERR_FORMAT, OTIMES_ERR_MEMORY. */
int otimes_llama2c_add(otimes_store *store, const otimes_file *file, otimes_err *err);

#endif
