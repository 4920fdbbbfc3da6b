/* SPDX-License-Identifier: MIT
 *
 * Weights quantised in blocks that share their scales, as GGUF files store them, and MXFP4 as
 * Hugging Face's do.
 */
#ifndef OTIMES_BASE_QUANT_H
#define OTIMES_BASE_QUANT_H

#include "base/dtype.h"

/* The longest block of any type, in elements. */
#define OTIMES_QUANT_LONGEST 256

/* Decodes `count` whole blocks from number `first` on into count * otimes_dtype_block(dtype)
 * numbers, by the same float32 operations in the same order as ggml's reference. The source must be
 * of a block type. */
void otimes_quant_decode(otimes_source source, int64_t first, int64_t count, float *out);

#endif
