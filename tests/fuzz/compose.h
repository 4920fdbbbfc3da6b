/* SPDX-License-Identifier: MIT
 *
 * Files around an input that is a part of one. All are freed with free() and end where the file does.
 */
#ifndef OTIMES_TESTS_FUZZ_COMPOSE_H
#define OTIMES_TESTS_FUZZ_COMPOSE_H

#include <stddef.h>

/* A safetensors file of this header, with data up to the furthest end that its data_offsets name. */
void *fuzz_safetensors(const char *header, size_t length, size_t *bytes);

/* The two pieces of an input that a NUL parts; without one the second is empty. Each in memory of its
 * own that ends where it does, the first with the NUL. */
void fuzz_split(const void *data, size_t bytes, char **first, void **second, size_t *second_bytes);

#endif
