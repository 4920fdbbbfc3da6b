/* SPDX-License-Identifier: MIT
 *
 * What stands in the HDF5 library's place: its functions as far as a reader of results calls them,
 * which take each answer from an input. They keep what HDF5 promises a caller and nothing else: a
 * file may have any names, types and shapes, say something else when it is asked again, and fail at
 * any step.
 */
#ifndef OTIMES_TESTS_FUZZ_HDF5_STAND_IN_H
#define OTIMES_TESTS_FUZZ_HDF5_STAND_IN_H

#include <stddef.h>
#include <stdint.h>

/* What is answered from here on; where the input ends nothing more is found. */
void fuzz_hdf5_begin(const uint8_t *data, size_t size);

/* Every identifier that was given out has been closed, each once: where not, the input is a finding. */
void fuzz_hdf5_end(void);

#endif
