/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_FORMAT_GGUF_H
#define OTIMES_FORMAT_GGUF_H

#include <stdbool.h>

#include "format/store.h"

/* Whether a file begins with "GGUF". */
bool otimes_gguf_recognise(const otimes_map *map);

/* Adds every tensor of a mapped GGUF file to the store, and its metadata as store->config. Format:
 * versions 1, 2 and 3, little-endian (docs/gguf.md of github.com/ggml-org/ggml): magic, version,
 * two counts, metadata, tensor infos, and the data from the next multiple of general.alignment on.
 *
 * Tensors: sizes are turned round, so that dim[0] is the slowest as everywhere here; names are left
 * as they are ("blk.0.attn_q.weight"). They must follow one another as ggml demands it: each begins
 * at the next multiple of the alignment. A type without a reader is refused by name.
 *
 * Metadata: the dots of a key are steps into nested objects, and a first step that is the
 * architecture's own name reads "arch": config.general.architecture, config.arch.block_count,
 * config.tokenizer.ggml.tokens. A key that is also the beginning of others
 * (tokenizer.chat_template) keeps its value under "" in the object of the others. Bytes that are no
 * UTF-8 read U+FFFD; a text may hold NUL (json_string_length). Numbers beyond the 63 bits of JSON's
 * integers are rounded to real ones, and those that are not finite are null.
 *
 * OTIMES_ERR_FORMAT, OTIMES_ERR_MEMORY. */
int otimes_gguf_add(otimes_store *store, const otimes_file *file, otimes_err *err);

#endif
