/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_FORMAT_SAFETENSORS_H
#define OTIMES_FORMAT_SAFETENSORS_H

#include <stdbool.h>

#include "format/store.h"

/* Whether a file begins like safetensors: a header length and an opening brace. */
bool otimes_safetensors_recognise(const otimes_map *map);

/* Adds every tensor of a mapped safetensors file to the store, and the aliases of __metadata__.
 * Format: 8 bytes little-endian header length, JSON header {name: {dtype, shape, data_offsets}},
 * data without holes or overlaps (github.com/huggingface/safetensors).
 * OTIMES_ERR_FORMAT, OTIMES_ERR_MEMORY. */
int otimes_safetensors_add(otimes_store *store, const otimes_file *file, otimes_err *err);

#endif
