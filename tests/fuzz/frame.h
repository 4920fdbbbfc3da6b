/* SPDX-License-Identifier: MIT
 *
 * The frame of an execution, which all targets have: an account of the library's memory, and findings.
 */
#ifndef OTIMES_TESTS_FUZZ_FRAME_H
#define OTIMES_TESTS_FUZZ_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include <otimes/common.h>

/* The target. 0: the input may be kept for mutation. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Begins an execution on an input of so many bytes. Until its end the library may hold no more than
 * FUZZ_FACTOR bytes for each of them and FUZZ_CONSTANT besides.
 *
 * The factor: an empty dictionary is one byte of a pickle, and takes a value of the machine's and an
 * object of the configuration, 252 bytes in all as measured; keys of many steps take 90 for a byte of
 * GGUF, "{}," again and again 65 for one of JSON. The constant: what a tensor may be larger than its
 * storage (torch_gather.c), in all matrices of a layer and as labels of a vocabulary. */
enum { FUZZ_FACTOR = 256, FUZZ_CONSTANT = 4 << 20 };
void fuzz_begin(size_t bytes);

/* Ends it: every byte that was asked for is given back, every map and every file closed. */
void fuzz_end(void);

/* Ends the process as a finding. */
_Noreturn void fuzz_fail(const char *format, ...) OTIMES_PRINTF(1, 2);

#endif
