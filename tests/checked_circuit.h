/* SPDX-License-Identifier: MIT
 *
 * Full circuits by plain float64 loops from the weights, and a result held against them.
 */
#ifndef TESTS_CHECKED_CIRCUIT_H
#define TESTS_CHECKED_CIRCUIT_H

#include "support.h"

#include <otimes/circuit.h>

/* Fails the test on error. */
otimes_memory_sink *run_circuit(const otimes_model *model, const otimes_circuit_settings *settings);

/* Data of an array that must be there. */
const void *circuit_data(const otimes_memory_sink *memory, const char *name);

/* The table over both vocabularies. */
typedef struct plain {
    int64_t rows, columns;
    double *value;         /* the caller's */
    double largest, close; /* its largest entry, and how far off an entry may be */
} plain;

plain plain_table(const otimes_model *model, const otimes_circuit_settings *s,
                  const otimes_circuit_head *head);

/* Runs a request and holds everything that it wrote of its heads against the table of each. */
void check_circuit(const otimes_model *model, const otimes_circuit_settings *s,
                   const otimes_circuit_head *heads, int64_t head_count);

#endif
