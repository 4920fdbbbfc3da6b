/* SPDX-License-Identifier: MIT
 *
 * The directory of a zip archive whose entries are stored, not compressed: each is then a range of
 * the mapped file. Format: PKWARE's APPNOTE.TXT 6.3.10, with zip64.
 */
#ifndef OTIMES_FORMAT_ZIP_H
#define OTIMES_FORMAT_ZIP_H

#include "format/map.h"

typedef struct otimes_zip_entry {
    const char *name; /* in the mapped file, not ended by a NUL */
    int64_t name_length;
    uint64_t bytes, packed_bytes;
    uint64_t header, next; /* where its local header begins, and what follows the entry */
    unsigned method, flags;
} otimes_zip_entry;

typedef struct otimes_zip {
    const char *path;
    const otimes_map *map;
    otimes_zip_entry *entries; /* by name, ascending */
    int64_t count;
    const char *first; /* name of the directory's first entry as the archive orders them */
    int64_t first_length;
} otimes_zip;

/* Reads the directory; path and map outlive the zip. Entries themselves are looked at when their
 * data is asked for. OTIMES_ERR_FORMAT, OTIMES_ERR_MEMORY. */
int otimes_zip_open(otimes_zip *zip, const char *path, const otimes_map *map, otimes_err *err);

/* By exact name, or NULL. */
const otimes_zip_entry *otimes_zip_find(const otimes_zip *zip, const char *name, int64_t length);

/* Where the entry's bytes lie in the mapped file. OTIMES_ERR_FORMAT for an entry that is
 * compressed, encrypted, not all in the file, or does not end where the next one begins. */
int otimes_zip_data(const otimes_zip *zip, const otimes_zip_entry *entry,
                    const unsigned char **data, otimes_err *err);

/* Accepts NULL and zeroed. */
void otimes_zip_close(otimes_zip *zip);

#endif
