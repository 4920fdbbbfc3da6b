/* SPDX-License-Identifier: MIT
 *
 * What the targets share that read results back.
 */
#ifndef OTIMES_TESTS_FUZZ_RESULTS_H
#define OTIMES_TESTS_FUZZ_RESULTS_H

#include <otimes/reader.h>

/* Reads all facts, labels and texts, and a corner of each array. */
void fuzz_read_result(const otimes_reader *reader);

#endif
