/* SPDX-License-Identifier: MIT
 *
 * info: what a checkpoint holds, as data.
 */
#ifndef OTIMES_INFO_H
#define OTIMES_INFO_H

#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct otimes_info_settings {
    uint8_t reserved[64]; /* zero */
} otimes_info_settings;

OTIMES_API void otimes_info_settings_default(otimes_info_settings *settings);

/* Parameters and bytes of each part of the model, every tensor with its place in it, and the
 * memory that analyses would take. Reads headers only.
 *   parameters [part], part = embedding, positions, attention, mlp, norms, unembedding
 *   tensor_bytes, tensor_layer [tensor], tensor_part, tensor_shape, tensor_dtype [tensor] (text)
 *   memory_bytes [analysis]: peak beside the mapped file, an estimate from the dimensions
 * A tied unembedding counts 0. Errors: the sink's, OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_info(const otimes_model *model,
                                             const otimes_info_settings *settings,
                                             otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
