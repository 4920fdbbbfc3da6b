/* SPDX-License-Identifier: MIT
 *
 * A sink that keeps nothing of a result but a digest: facts, names, shapes, labels and every number,
 * in the order in which they come.
 */
#ifndef OTIMES_TESTS_DIGEST_SINK_H
#define OTIMES_TESTS_DIGEST_SINK_H

#include <otimes/sink.h>

/* FNV-1a, 64 bits: to tell differences, not attacks. */
typedef struct digest {
    uint64_t value;
} digest;

void digest_begin(digest *d);
void digest_bytes(digest *d, const void *bytes, size_t count);
void digest_number(digest *d, int64_t number);

/* NULL is a text of its own. */
void digest_text(digest *d, const char *text);

enum { DIGEST_ARRAYS = 256 };

typedef struct digest_sink {
    otimes_sink sink; /* what an analysis is given */
    digest *digest;
    int64_t heard, stop; /* words about progress, and at which it says stop; 0: never */
    int count;           /* of declared arrays */
    otimes_type type[DIGEST_ARRAYS];
    int ndim[DIGEST_ARRAYS];
} digest_sink;

/* stop: the word about progress at which the analysis is stopped; 0: none. */
void digest_sink_begin(digest_sink *sink, digest *d, int64_t stop);

#endif
