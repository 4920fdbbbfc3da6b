/* SPDX-License-Identifier: MIT
 *
 * Read-only maps of files.
 */
#ifndef OTIMES_FORMAT_MAP_H
#define OTIMES_FORMAT_MAP_H

#include "base/err.h"

typedef struct otimes_map {
    const unsigned char *data; /* NULL when closed or empty */
    int64_t bytes;
} otimes_map;

/* Maps a regular file whole. OTIMES_ERR_IO. */
int otimes_map_open(otimes_map *map, const char *path, otimes_err *err);

/* Lets go of the pages that lie wholly inside the range: they leave the process' memory, stay in
 * the system's cache and come back when touched. So resident memory does not grow with the file. */
void otimes_map_release(const void *data, int64_t bytes);

/* Accepts NULL and zeroed. */
void otimes_map_close(otimes_map *map);

#endif
