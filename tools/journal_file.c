/* SPDX-License-Identifier: MIT
 *
 * A preamble, the identity, records. Numbers lie as they do in memory: a journal is read by the
 * program that wrote it. A record that the end of the process cut off ends the journal.
 */
#include "journal_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"

typedef struct preamble {
    char magic[16];
    uint64_t order; /* of bytes */
    int64_t identity_bytes;
} preamble;

static const preamble expected = {"otimes journal\n", 0x0102030405060708, 0};

/* FNV-1a over words, with a shift that carries high bits down. It need only notice accidents. */
static uint64_t mix(uint64_t hash, const void *data, int64_t bytes)
{
    const unsigned char *at = data;
    uint64_t word;
    for (; bytes >= (int64_t)sizeof word; bytes -= (int64_t)sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        hash = (hash ^ word) * 0x100000001b3;
        hash ^= hash >> 29;
    }
    for (; bytes > 0; bytes--, at++) {
        hash = (hash ^ *at) * 0x100000001b3;
    }
    return hash;
}

uint64_t journal_sum(const void *data, int64_t bytes)
{
    return mix(0xcbf29ce484222325, data, bytes);
}

uint64_t journal_check(uint64_t before, const journal_record *record, const void *data)
{
    uint64_t hash = mix(0xcbf29ce484222325, &before, sizeof before);
    hash = mix(hash, record, offsetof(journal_record, check));
    return mix(hash, data, record->bytes);
}

/* 1 when all was read, 0 when the file ends before or cannot be read. */
static int read_at(const journal_file *file, void *to, int64_t bytes, int64_t from)
{
    for (char *at = to; bytes > 0;) {
        const ssize_t got = pread(file->fd, at, (size_t)bytes, from);
        if (got <= 0 && !(got < 0 && errno == EINTR)) {
            return 0;
        }
        if (got > 0) {
            at += got;
            from += got;
            bytes -= got;
        }
    }
    return 1;
}

static int write_at(const journal_file *file, const void *data, int64_t bytes, int64_t to,
                    otimes_err *err)
{
    for (const char *at = data; bytes > 0;) {
        const ssize_t put = pwrite(file->fd, at, (size_t)bytes, to);
        if (put <= 0 && !(put < 0 && errno == EINTR)) {
            return fail_errno(err, file->path, "cannot be written");
        }
        if (put > 0) {
            at += put;
            to += put;
            bytes -= put;
        }
    }
    return 0;
}

/* ---- opening ---- */

/* Says the first line in which the run before and this one differ; its first word is what. */
static int fail_identity(const journal_file *file, const char *before, otimes_err *err)
{
    const char *now = file->identity;
    size_t was = strcspn(before, "\n"), is = strcspn(now, "\n");
    while (was == is && before[was] && now[is] && !memcmp(before, now, was)) {
        before += was + 1;
        now += is + 1;
        was = strcspn(before, "\n");
        is = strcspn(now, "\n");
    }
    return fail(err, OTIMES_ERR_ARGUMENT,
                "--resume: %s: expected '%.*s' as in the interrupted run, got '%.*s'; without "
                "--resume it starts anew",
                file->path, (int)was, before, (int)is, now);
}

static int check_identity(const journal_file *file, int64_t bytes, otimes_err *err)
{
    char *before = calloc(1, (size_t)bytes + 1);
    int rc = 0;
    if (!before) {
        return fail_memory(err, file->path);
    }
    if (!read_at(file, before, bytes, sizeof(preamble))) {
        rc = fail_errno(err, file->path, "cannot be read");
    } else if (strcmp(before, file->identity) != 0) {
        rc = fail_identity(file, before, err);
    }
    free(before);
    return rc;
}

/* Finds the end of the records that are whole, and cuts what is not. */
static int find_end(journal_file *file, int64_t size, otimes_err *err)
{
    journal_record r;
    int64_t at = file->next;
    while (read_at(file, &r, sizeof r, at) &&
           (r.kind == JOURNAL_ARRAY || r.kind == JOURNAL_BLOCK || r.kind == JOURNAL_KEPT) &&
           r.id >= 0 && r.bytes >= 0 && r.bytes <= size - at - (int64_t)sizeof r) {
        at += (int64_t)sizeof r + r.bytes;
        file->end_after = r.check;
    }
    file->end = at;
    file->resumed = at > file->next;
    return ftruncate(file->fd, at) ? fail_errno(err, file->path, "cannot be written") : 0;
}

/* Nobody's file is overwritten, and a run that still goes on keeps its own. */
static int open_own(journal_file *file, preamble *first, int64_t *size, otimes_err *err)
{
    struct stat about;
    file->fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file->fd < 0) {
        return fail_errno(err, file->path, "cannot be written");
    }
    if (flock(file->fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
        close(file->fd); /* not ours to remove */
        file->fd = -1;
        return fail(err, OTIMES_ERR_IO, "%s: another run is writing this output", file->path);
    }
    if (fstat(file->fd, &about)) {
        return fail_errno(err, file->path, "cannot be read");
    }
    *size = about.st_size;
    const int64_t there = *size < (int64_t)sizeof *first ? *size : (int64_t)sizeof *first;
    const size_t named = offsetof(preamble, identity_bytes);
    if (!read_at(file, first, there, 0) ||
        memcmp(first, &expected, (size_t)there < named ? (size_t)there : named) != 0) {
        return fail(err, OTIMES_ERR_IO, "%s: expected a journal of this program, got another file",
                    file->path);
    }
    return 0;
}

int journal_file_open(journal_file *file, const char *path, const char *identity, int resume,
                      otimes_err *err)
{
    preamble first = {"", 0, 0};
    int64_t size = 0;
    file->fd = -1;
    file->path = strdup(path);
    file->identity = strdup(identity);
    if (!file->path || !file->identity) {
        return fail_memory(err, path);
    }
    int rc = open_own(file, &first, &size, err);
    const int64_t room = size - (int64_t)sizeof first;
    if (rc || !resume || room < 0 || first.identity_bytes < 0 || first.identity_bytes > room) {
        return rc; /* without an identity it was cut off before its first record */
    }
    rc = check_identity(file, first.identity_bytes, err);
    if (!rc) {
        file->begun = 1;
        file->next = (int64_t)sizeof first + first.identity_bytes;
        rc = find_end(file, size, err);
    }
    return rc;
}

/* ---- records ---- */

int journal_file_peek(journal_file *file, journal_record *record, otimes_err *err)
{
    if (file->next >= file->end) {
        return 0;
    }
    if (!read_at(file, record, sizeof *record, file->next)) {
        return fail_errno(err, file->path, "cannot be read");
    }
    if (file->loaded) {
        return 1;
    }
    if (record->bytes >= file->capacity) {
        free(file->data);
        file->capacity = record->bytes + 1;
        file->data = malloc((size_t)file->capacity);
        if (!file->data) {
            file->capacity = 0;
            return fail_memory(err, file->path);
        }
    }
    /* What is damaged is dropped with all that follows, and computed again. */
    if (!read_at(file, file->data, record->bytes, file->next + (int64_t)sizeof *record) ||
        journal_check(file->next_after, record, file->data) != record->check) {
        journal_file_drop(file);
        return 0;
    }
    file->data[record->bytes] = '\0';
    file->loaded = 1;
    return 1;
}

void journal_file_drop(journal_file *file)
{
    file->end = file->next;
    file->end_after = file->next_after;
    file->loaded = 0;
}

void journal_file_advance(journal_file *file, const journal_record *record)
{
    file->next += (int64_t)sizeof *record + record->bytes;
    file->next_after = record->check;
    file->loaded = 0;
}

static int begin(journal_file *file, otimes_err *err)
{
    preamble first = expected;
    first.identity_bytes = (int64_t)strlen(file->identity);
    if (ftruncate(file->fd, 0)) {
        return fail_errno(err, file->path, "cannot be written");
    }
    file->begun = 1;
    int rc = write_at(file, &first, sizeof first, 0, err);
    if (!rc) {
        rc = write_at(file, file->identity, first.identity_bytes, sizeof first, err);
    }
    file->next = file->end = (int64_t)sizeof first + first.identity_bytes;
    file->next_after = file->end_after = 0;
    return rc;
}

int journal_file_append(journal_file *file, journal_record *record, const void *data,
                        otimes_err *err)
{
    const int reads = file->next < file->end;
    int rc = file->begun ? 0 : begin(file, err);
    record->check = journal_check(file->end_after, record, data);
    if (!rc) {
        rc = write_at(file, record, sizeof *record, file->end, err);
    }
    if (!rc) {
        rc = write_at(file, data, record->bytes, file->end + (int64_t)sizeof *record, err);
    }
    if (!rc) {
        file->end += (int64_t)sizeof *record + record->bytes;
        file->end_after = record->check;
        if (!reads) { /* what this run wrote it need not read */
            file->next = file->end;
            file->next_after = file->end_after;
        }
    }
    return rc;
}

void journal_file_close(journal_file *file, int keep)
{
    struct stat about;
    if (file->fd >= 0) {
        const int empty = !fstat(file->fd, &about) && !about.st_size;
        if (empty || (file->begun && !keep)) {
            unlink(file->path);
        }
        close(file->fd);
    }
    free(file->path);
    free(file->identity);
    free(file->data);
    *file = (journal_file){.fd = -1};
}
