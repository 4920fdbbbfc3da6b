/* SPDX-License-Identifier: MIT
 *
 * How arrays lie in a result file.
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <otimes/sink.h>

/* Fills chunk[ndim], of an array without empty axes: what the analysis suggests as far as it fits;
 * axes it leaves open are cut from the first on until a chunk has at most 1 MiB, so that it is a run
 * of whole rows, and into chunks as equal as they can be: little of the last is beyond the array. */
void layout_chunk(const otimes_array *about, int64_t *chunk);

/* Bytes that the array takes in an HDF5 file once all of it is written, without its texts, which
 * nobody knows before; INT64_MAX when there are more. */
int64_t layout_bytes(const otimes_array *about);

/* Bytes of its entries alone. */
int64_t layout_entry_bytes(const otimes_array *about);

/* Whether the entries are so many that a second copy of them is to be saved, and all will be
 * written: they then lie in one run of chunks, whose place is known from the beginning. */
int layout_is_run(const otimes_array *about);

#endif
