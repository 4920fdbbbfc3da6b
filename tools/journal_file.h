/* SPDX-License-Identifier: MIT
 *
 * The file of a journal: what the run is, then records that are only ever appended.
 */
#ifndef JOURNAL_FILE_H
#define JOURNAL_FILE_H

#include <otimes/common.h>
#include <otimes/tensor.h>

typedef enum journal_kind {
    JOURNAL_ARRAY = 0x41525241,
    JOURNAL_BLOCK = 0x424c4f43,
    JOURNAL_KEPT = 0x4b455054 /* a block that lies elsewhere; the data is journal_sum of it */
} journal_kind;

/* A record as it lies in the file, before its data. */
typedef struct journal_record {
    uint32_t kind;
    int32_t id;    /* arrays are numbered as they were declared */
    int64_t bytes; /* of the data */
    int64_t start[OTIMES_MAX_DIMS], count[OTIMES_MAX_DIMS]; /* of a block; 0 beyond its axes */
    uint64_t check; /* of the record before, of what stands before it, and of the data */
} journal_record;

typedef struct journal_file {
    char *path, *identity;
    int fd;
    int begun;   /* it holds this run's records, or those of the run that this one goes on with */
    int resumed; /* it held records of an earlier run */
    int64_t next, end;              /* the record to be read next; the end of the last */
    uint64_t next_after, end_after; /* checks of the records before these: what was taken out of the
                                       file, or stands in it twice, breaks the chain */
    char *data;                     /* of the record at `next` */
    int64_t capacity;
    int loaded; /* data is read and right */
} journal_file;

/* Opens path, or creates it empty; what it holds stays until the first record is appended. With
 * resume its records can then be read, if identity is the same. Zeroed before; released with
 * journal_file_close in any case. OTIMES_ERR_ARGUMENT, OTIMES_ERR_IO, OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int journal_file_open(journal_file *file, const char *path, const char *identity,
                                        int resume, otimes_err *err);

/* The record to be read next: 1, and its data, with a NUL behind, in file->data; 0: there is no
 * more. It stays the next until journal_file_advance. */
OTIMES_MUST_CHECK int journal_file_peek(journal_file *file, journal_record *record,
                                        otimes_err *err);
void journal_file_advance(journal_file *file, const journal_record *record);

/* The record to be read next and all behind it are not to be trusted: there is no more. */
void journal_file_drop(journal_file *file);

/* Appends a record, of which `check` is filled in. */
OTIMES_MUST_CHECK int journal_file_append(journal_file *file, journal_record *record,
                                          const void *data, otimes_err *err);

uint64_t journal_sum(const void *data, int64_t bytes);
/* `before` is the check of the record before. */
uint64_t journal_check(uint64_t before, const journal_record *record, const void *data);

/* Releases everything. The file is removed unless it is kept, or was never this run's. */
void journal_file_close(journal_file *file, int keep);

#endif
