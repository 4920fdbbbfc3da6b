/* SPDX-License-Identifier: MIT */
#include "partfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"
#include "layout.h"

#define COPY_BYTES ((int64_t)1 << 20)

typedef struct part_array {
    char *name;
    int64_t base, end; /* bytes of the file */
    int64_t entry;     /* bytes */
    int ndim;
    int64_t length[OTIMES_MAX_DIMS], chunk[OTIMES_MAX_DIMS];
    int64_t entries, written;
} part_array;

/* Consecutive bytes of the file and of a block. */
typedef struct piece {
    int64_t at, bytes;
    int64_t from; /* of the block */
} piece;

/* Where a block comes from or goes to. */
typedef struct memory {
    const char *source;
    char *target;
} memory;

int partfile_open(partfile *part, const char *path, otimes_err *err)
{
    *part = (partfile){.fd = -1};
    if (asprintf(&part->path, "%s.part", path) < 0) {
        part->path = NULL;
        return fail_memory(err, path);
    }
    return 0;
}

int partfile_add(partfile *part, const otimes_array *about, int64_t base, int *id, otimes_err *err)
{
    part_array *grown = realloc(part->arrays, (size_t)(part->count + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, part->path);
    }
    part->arrays = grown;
    part_array *made = &grown[part->count];
    *made = (part_array){.name = strdup(about->name),
                         .base = base,
                         .end = base + layout_bytes(about),
                         .entry = (int64_t)otimes_type_size(about->type),
                         .ndim = about->ndim,
                         .entries = 1};
    if (!made->name) {
        return fail_memory(err, part->path);
    }
    layout_chunk(about, made->chunk);
    for (int i = 0; i < about->ndim; i++) {
        made->length[i] = about->axis[i]->length;
        made->entries *= made->length[i];
    }
    *id = part->count++;
    return 0;
}

/* ---- blocks ---- */

static int64_t count_entries(const part_array *of, const int64_t *count)
{
    int64_t n = 1;
    for (int i = 0; i < of->ndim; i++) {
        n *= count[i];
    }
    return n;
}

static int is_within(const part_array *of, const int64_t *start, const int64_t *count)
{
    for (int i = 0; i < of->ndim; i++) {
        if (start[i] < 0 || count[i] < 0 || start[i] > of->length[i] ||
            count[i] > of->length[i] - start[i]) {
            return 0;
        }
    }
    return 1;
}

/* Where an entry lies in the file. */
static int64_t place_of(const part_array *of, const int64_t *index)
{
    int64_t chunk = 0, within = 0, volume = 1;
    for (int i = 0; i < of->ndim; i++) {
        const int64_t size = of->chunk[i];
        chunk = chunk * ((of->length[i] + size - 1) / size) + index[i] / size;
        within = within * size + index[i] % size;
        volume *= size;
    }
    return of->base + (chunk * volume + within) * of->entry;
}

typedef int move_piece(int fd, const piece *p, const memory *block);

/* Moves every piece of the block, until one returns not 0, which is returned. */
static int for_pieces(const partfile *part, const part_array *of, const int64_t *start,
                      const int64_t *count, const memory *block, move_piece *move)
{
    const int last = of->ndim - 1;
    const int64_t end = start[last] + count[last];
    int64_t index[OTIMES_MAX_DIMS];
    piece p = {0};
    int rc = 0;
    memcpy(index, start, (size_t)of->ndim * sizeof *index);
    for (int64_t left = count_entries(of, count); left > 0 && !rc;) {
        const int64_t at = place_of(of, index);
        const int64_t room = of->chunk[last] - index[last] % of->chunk[last];
        const int64_t run = room < end - index[last] ? room : end - index[last];
        if (p.at + p.bytes != at && p.bytes > 0) {
            rc = move(part->fd, &p, block);
            p = (piece){at, 0, p.from + p.bytes};
        }
        p.at = p.bytes ? p.at : at;
        p.bytes += run * of->entry;
        left -= run;
        index[last] += run;
        for (int i = last; i > 0 && index[i] == start[i] + count[i]; i--) {
            index[i] = start[i];
            index[i - 1]++;
        }
    }
    return rc || !p.bytes ? rc : move(part->fd, &p, block);
}

static int write_piece(int fd, const piece *p, const memory *block)
{
    for (int64_t done = 0; done < p->bytes;) {
        const ssize_t put =
            pwrite(fd, block->source + p->from + done, (size_t)(p->bytes - done), p->at + done);
        if (put < 0 && errno != EINTR) {
            return -1;
        }
        done += put > 0 ? put : 0;
    }
    return 0;
}

static int read_piece(int fd, const piece *p, const memory *block)
{
    for (int64_t done = 0; done < p->bytes;) {
        const ssize_t got =
            pread(fd, block->target + p->from + done, (size_t)(p->bytes - done), p->at + done);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return -1;
        }
        done += got > 0 ? got : 0;
    }
    return 0;
}

/* What lies between entries must be zeros: an earlier run's file is kept only where it goes on. */
static int begin(partfile *part, otimes_err *err)
{
    if (part->fd < 0) {
        part->fd = open(part->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    }
    if (part->fd < 0) {
        return fail_errno(err, part->path, "cannot be created");
    }
    part->begun = 1;
    return ftruncate(part->fd, 0) ? fail_errno(err, part->path, "cannot be written") : 0;
}

int partfile_write(partfile *part, int id, const int64_t *start, const int64_t *count,
                   const void *data, otimes_err *err)
{
    part_array *to = &part->arrays[id];
    if (!is_within(to, start, count)) {
        return fail(err, OTIMES_ERR_ARGUMENT, "%s: %s: expected a block of the array, got another",
                    part->path, to->name);
    }
    const memory block = {.source = data};
    int rc = part->begun ? 0 : begin(part, err);
    if (!rc && for_pieces(part, to, start, count, &block, write_piece)) {
        rc = fail_errno(err, part->path, to->name);
    }
    if (!rc) {
        to->written += count_entries(to, count);
    }
    return rc;
}

int partfile_read(partfile *part, int id, const int64_t *start, const int64_t *count, void *data)
{
    const part_array *of = &part->arrays[id];
    const memory block = {.target = data};
    if (part->fd < 0) {
        part->fd = open(part->path, O_RDWR | O_CLOEXEC);
    }
    return part->fd >= 0 && is_within(of, start, count) &&
           !for_pieces(part, of, start, count, &block, read_piece);
}

void partfile_adopt(partfile *part, int id, const int64_t *count)
{
    part->begun = 1;
    part->arrays[id].written += count_entries(&part->arrays[id], count);
}

/* ---- the end ---- */

/* Copies bytes of `other` to the same place. */
static int copy(const partfile *part, int other, char *buffer, int64_t from, int64_t to,
                otimes_err *err)
{
    const memory block = {buffer, buffer};
    while (from < to) {
        const int64_t left = to - from;
        const piece p = {from, left < COPY_BYTES ? left : COPY_BYTES, 0};
        if (read_piece(other, &p, &block)) {
            return fail_errno(err, part->path, "cannot read what lies beside it");
        }
        if (write_piece(part->fd, &p, &block)) {
            return fail_errno(err, part->path, "cannot be written");
        }
        from += p.bytes;
    }
    return 0;
}

/* The array that begins first from `at` on; NULL: none does. */
static const part_array *next_array(const partfile *part, int64_t at)
{
    const part_array *next = NULL;
    for (int i = 0; i < part->count; i++) {
        const part_array *a = &part->arrays[i];
        if (a->base >= at && (!next || a->base < next->base)) {
            next = a;
        }
    }
    return next;
}

static int check_written(const partfile *part, otimes_err *err)
{
    for (int i = 0; i < part->count; i++) {
        const part_array *a = &part->arrays[i];
        if (a->written != a->entries) {
            return fail(err, OTIMES_ERR_VALUE, "%s: %s: expected %lld entries, got %lld",
                        part->path, a->name, (long long)a->entries, (long long)a->written);
        }
    }
    return 0;
}

int partfile_complete(partfile *part, const char *other, otimes_err *err)
{
    const part_array *next;
    struct stat about;
    int64_t at = 0;
    int rc = check_written(part, err);
    if (rc) {
        return rc;
    }
    const int fd = open(other, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about)) {
        rc = fail_errno(err, other, "cannot be read");
    }
    char *buffer = malloc((size_t)COPY_BYTES);
    if (!rc && !buffer) {
        rc = fail_memory(err, part->path);
    }
    while (!rc && (next = next_array(part, at))) {
        rc = copy(part, fd, buffer, at, next->base, err);
        at = next->end;
    }
    if (!rc) {
        rc = copy(part, fd, buffer, at, about.st_size, err);
    }
    if (!rc && ftruncate(part->fd, about.st_size)) {
        rc = fail_errno(err, part->path, "cannot be written");
    }
    free(buffer);
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

void partfile_discard(const partfile *part)
{
    unlink(part->path);
}

void partfile_close(partfile *part, int keep)
{
    if (part->fd >= 0) {
        close(part->fd);
        if (!keep) {
            unlink(part->path);
        }
    }
    for (int i = 0; i < part->count; i++) {
        free(part->arrays[i].name);
    }
    free(part->arrays);
    free(part->path);
    *part = (partfile){.fd = -1};
}
