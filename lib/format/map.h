/* SPDX-License-Identifier: MIT
 *
 * Read-only maps of files.
 */
#ifndef OTIMES_FORMAT_MAP_H
#define OTIMES_FORMAT_MAP_H

#include <stdbool.h>
#include <time.h>

#include "base/err.h"

typedef struct otimes_map {
    const unsigned char *data; /* NULL when closed or empty */
    int64_t bytes;
    int file;                /* descriptor, as long as data is there */
    struct timespec written; /* the file's time of writing when it was mapped */
    int mended;              /* set in a signal handler */
} otimes_map;

/* Maps a regular file whole. OTIMES_ERR_IO. */
int otimes_map_open(otimes_map *map, const char *path, otimes_err *err);

/* Lets go of the pages that lie wholly inside the range: they leave the process' memory, stay in
 * the system's cache and come back when touched. So resident memory does not grow with the file. */
void otimes_map_release(const void *data, int64_t bytes);

/* Whether the file is as it was when it was mapped, by its size and its time of writing: 0, or
 * OTIMES_ERR_IO. The time of its last change of any kind is no sign: that also moves with the file's
 * names and rights. */
int otimes_map_unchanged(const otimes_map *map, const char *path, otimes_err *err);

/* Inside a handler of SIGBUS: puts zeros in the place of all of the file when the address lies in the
 * map, so that who reads there can go on to otimes_map_unchanged. False when it does not. */
bool otimes_map_mend(otimes_map *map, const void *address);

/* Accepts NULL and zeroed. */
void otimes_map_close(otimes_map *map);

#endif
