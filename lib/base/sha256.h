/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_BASE_SHA256_H
#define OTIMES_BASE_SHA256_H

#include "base/err.h"

#define OTIMES_SHA256_HEX 65 /* 64 digits and the NUL */

typedef struct otimes_sha256 {
    void *context;
} otimes_sha256;

/* A running digest: begin, add any number of times, finish. finish releases the context in any
 * case; a zeroed one may be finished with hex NULL. */
int otimes_sha256_begin(otimes_sha256 *sha, otimes_err *err);
int otimes_sha256_add(otimes_sha256 *sha, const void *data, int64_t bytes, otimes_err *err);
int otimes_sha256_finish(otimes_sha256 *sha, char hex[OTIMES_SHA256_HEX], otimes_err *err);

#endif
