/* SPDX-License-Identifier: MIT
 *
 * Tensors that lie in memory of the caller's already.
 */
#ifndef OTIMES_FORMAT_MEMORY_H
#define OTIMES_FORMAT_MEMORY_H

#include <otimes/model.h>

#include "base/sha256.h"
#include "base/sink.h"
#include "format/store.h"

/* A store whose entries show the caller's tensors. `name` stands where a file's path would. On error
 * the store is empty. OTIMES_ERR_ARGUMENT, OTIMES_ERR_FORMAT, OTIMES_ERR_MEMORY. */
int otimes_store_lend(otimes_store *store, const otimes_memory_tensor *tensors, int64_t count,
                      const char *name, otimes_err *err);

/* The digest of all entries, as otimes_model_sha256 documents it; the pulse's total becomes their bytes. */
int otimes_store_digest(const otimes_store *store, otimes_pulse *pulse, char hex[OTIMES_SHA256_HEX],
                        otimes_err *err);

#endif
