/* SPDX-License-Identifier: MIT
 *
 * Selections as commands need them.
 */
#ifndef SELECT_H
#define SELECT_H

#include <otimes/parse.h>

/* Indices of an option; `text` NULL, not given, leaves *list empty: the analysis takes all. */
OTIMES_MUST_CHECK int select_indices(const char *text, const char *option, int64_t limit,
                                     otimes_index_list *list, otimes_err *err);

/* "0,1,-2,5-9" into integers of modulus below `limit`, in the order written, each at most once; text
 * NULL leaves *list empty. Released with otimes_index_list_free. */
OTIMES_MUST_CHECK int select_integers(const char *text, const char *option, int64_t limit,
                                      otimes_index_list *list, otimes_err *err);

/* Sorts, and keeps each number once; of a list that is not empty. */
void select_distinct(otimes_index_list *list);

typedef struct select_head {
    int64_t layer, head;
} select_head;

/* "0.3,1.5": heads as LAYER.HEAD of a model of n_layers of n_heads, in the order written; *heads is
 * released with free. */
OTIMES_MUST_CHECK int select_heads(const char *text, const char *option, int64_t n_layers,
                                   int64_t n_heads, select_head **heads, int64_t *count,
                                   otimes_err *err);

/* A number from low to high, nothing after it. */
OTIMES_MUST_CHECK int parse_real(const char *text, const char *option, double low, double high,
                                 double *value, otimes_err *err);

/* "800000", "500M": a whole number of bytes, KiB, MiB, GiB or TiB. */
OTIMES_MUST_CHECK int parse_bytes(const char *text, const char *option, int64_t *bytes,
                                  otimes_err *err);

#endif
