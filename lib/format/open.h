/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_FORMAT_OPEN_H
#define OTIMES_FORMAT_OPEN_H

#include "format/store.h"

/* Opens a directory or a file, recognised by content. On error the store is empty.
 * OTIMES_ERR_IO, OTIMES_ERR_FORMAT, OTIMES_ERR_MEMORY. */
int otimes_store_open(otimes_store *store, const char *path, otimes_err *err);

#endif
