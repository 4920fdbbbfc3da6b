/* SPDX-License-Identifier: MIT
 *
 * Kinds of tables that are hard to get right: one line each in table_kinds.c.
 */
#ifndef OTIMES_TESTS_TABLE_KINDS_H
#define OTIMES_TESTS_TABLE_KINDS_H

#include "tabled.h"

typedef struct table_kind {
    const char *name;
    void (*fill)(tabled *t, double size);
    double size;
    bool whole; /* integers whose sums float32 holds: any order of summation gives the same */
} table_kind;

extern const table_kind table_kinds[]; /* ends with name NULL */
int64_t table_kind_count(void);
const table_kind *table_kind_named(const char *name);

/* A table of the kind, the same for the same seed. Freed with tabled_free. */
tabled table_of_kind(const table_kind *kind, int64_t rows, int64_t columns, int64_t rank,
                     uint64_t seed);

#endif
