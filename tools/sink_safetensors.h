/* SPDX-License-Identifier: MIT
 *
 * Weights as a safetensors file: names, shapes and numbers, the facts as texts of __metadata__.
 */
#ifndef SINK_SAFETENSORS_H
#define SINK_SAFETENSORS_H

#include <otimes/sink.h>

/* Writes <path>.tmp, which takes the name at finish. Arrays and facts must all be known before the
 * first block is written, since the header stands in front; labels of axes are not kept.
 * OTIMES_ERR_IO, OTIMES_ERR_MEMORY; texts are refused, OTIMES_ERR_UNSUPPORTED. Release with
 * sink_safetensors_close. */
OTIMES_MUST_CHECK int sink_safetensors_open(otimes_sink *sink, const char *path, otimes_err *err);

/* Releases everything; a file that was not finished is removed. A zeroed sink is fine. */
void sink_safetensors_close(otimes_sink *sink);

#endif
