/* SPDX-License-Identifier: MIT */
#include "format/zip.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/le.h"

enum {
    END_BYTES = 22,       /* end of central directory record, without its comment */
    COMMENT_MOST = 65535, /* bytes of that comment */
    LOCATOR_BYTES = 20,   /* zip64 end of central directory locator */
    END64_BYTES = 56,     /* zip64 end of central directory record, without extensible data */
    CENTRAL_BYTES = 46,   /* central directory header, without name, extra fields and comment */
    LOCAL_BYTES = 30,     /* local file header, without name and extra fields */
    ENCRYPTED = 1,        /* bits of the flags */
    DESCRIBED = 8,        /* sizes follow the data */
    ZIP64_EXTRA = 1,      /* id of the extra field */
    WIDE_DESCRIPTOR_BYTES = 24,
};

#define END_SIGNATURE 0x06054b50u
#define LOCATOR_SIGNATURE 0x07064b50u
#define END64_SIGNATURE 0x06064b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define LOCAL_SIGNATURE 0x04034b50u
#define DESCRIPTOR_SIGNATURE 0x08074b50u

/* What the end record says of the directory. */
typedef struct directory {
    uint64_t offset, bytes, count;
} directory;

/* Whether [offset, offset + bytes) lies in the first `limit` bytes. */
static bool within(uint64_t offset, uint64_t bytes, uint64_t limit)
{
    return offset <= limit && bytes <= limit - offset;
}

/* The end record stands at the very end but for a comment, whose length must come out right.
 * Searched backwards; -1 when there is none. */
static int64_t find_end(const otimes_map *map)
{
    for (int64_t comment = 0; comment <= COMMENT_MOST; comment++) {
        const int64_t at = map->bytes - END_BYTES - comment;
        if (at < 0) {
            break;
        }
        if (otimes_le32(map->data + at) == END_SIGNATURE &&
            otimes_le16(map->data + at + 20) == comment) {
            return at;
        }
    }
    return -1;
}

/* The zip64 record replaces what the old one has no room for. The locator before the old record
 * tells where it is. */
static int read_end64(const otimes_zip *zip, int64_t end, directory *dir, otimes_err *err)
{
    const unsigned char *data = zip->map->data, *locator = data + end - LOCATOR_BYTES;
    const uint64_t at = otimes_le64(locator + 8);
    if (!within(at, END64_BYTES, (uint64_t)(end - LOCATOR_BYTES)) ||
        otimes_le32(data + at) != END64_SIGNATURE) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: zip: expected a zip64 end record at byte %llu, got other bytes",
                           zip->path, (unsigned long long)at);
    }
    *dir = (directory){
        .count = otimes_le64(data + at + 32),
        .bytes = otimes_le64(data + at + 40),
        .offset = otimes_le64(data + at + 48),
    };
    return OTIMES_OK;
}

static int read_end(const otimes_zip *zip, directory *dir, otimes_err *err)
{
    const int64_t end = find_end(zip->map);
    if (end < 0) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: zip: expected an end of central directory, got none (truncated?)",
                           zip->path);
    }
    const unsigned char *record = zip->map->data + end;
    *dir = (directory){
        .count = otimes_le16(record + 10),
        .bytes = otimes_le32(record + 12),
        .offset = otimes_le32(record + 16),
    };
    if (end >= LOCATOR_BYTES && otimes_le32(record - LOCATOR_BYTES) == LOCATOR_SIGNATURE) {
        const int rc = read_end64(zip, end, dir, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
    } else if (otimes_le16(record + 4) != 0 || otimes_le16(record + 8) != dir->count) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: zip: expected one archive, got a part of several", zip->path);
    }
    if (!within(dir->offset, dir->bytes, (uint64_t)end)) {
        return otimes_fail(
            err, OTIMES_ERR_FORMAT,
            "%s: zip: directory: expected inside the first %lld bytes, got %llu bytes at %llu",
            zip->path, (long long)end, (unsigned long long)dir->bytes,
            (unsigned long long)dir->offset);
    }
    if (dir->count > dir->bytes / CENTRAL_BYTES) {
        return otimes_fail(
            err, OTIMES_ERR_FORMAT, "%s: zip: directory of %llu bytes: got a count of %llu entries",
            zip->path, (unsigned long long)dir->bytes, (unsigned long long)dir->count);
    }
    return OTIMES_OK;
}

/* A 32-bit field of all ones stands for the next 64-bit one of the zip64 extra field. */
static bool widen(uint64_t *field, const unsigned char **extra, const unsigned char *end)
{
    if (*field != UINT32_MAX) {
        return true;
    }
    if (end - *extra < 8) {
        return false;
    }
    *field = otimes_le64(*extra);
    *extra += 8;
    return true;
}

static bool read_extra(otimes_zip_entry *entry, const unsigned char *extra, int64_t length)
{
    const unsigned char *end = extra + length;
    while (end - extra >= 4) {
        const unsigned id = otimes_le16(extra), bytes = otimes_le16(extra + 2);
        extra += 4;
        if (bytes > end - extra) {
            return false;
        }
        if (id == ZIP64_EXTRA) {
            end = extra + bytes;
            return widen(&entry->bytes, &extra, end) && widen(&entry->packed_bytes, &extra, end) &&
                   widen(&entry->header, &extra, end);
        }
        extra += bytes;
    }
    return true;
}

/* One header of the central directory at *at, which moves behind it. */
static bool read_central(otimes_zip_entry *entry, const unsigned char **at,
                         const unsigned char *end)
{
    const unsigned char *head = *at;
    if (end - head < CENTRAL_BYTES || otimes_le32(head) != CENTRAL_SIGNATURE) {
        return false;
    }
    const int64_t name = otimes_le16(head + 28), extra = otimes_le16(head + 30);
    const int64_t whole = CENTRAL_BYTES + name + extra + otimes_le16(head + 32);
    if (end - head < whole) {
        return false;
    }
    *entry = (otimes_zip_entry){
        .name = (const char *)head + CENTRAL_BYTES,
        .name_length = name,
        .flags = otimes_le16(head + 8),
        .method = otimes_le16(head + 10),
        .packed_bytes = otimes_le32(head + 20),
        .bytes = otimes_le32(head + 24),
        .header = otimes_le32(head + 42),
    };
    *at += whole;
    return read_extra(entry, head + CENTRAL_BYTES + name, extra);
}

static int by_name(const void *a, const void *b)
{
    const otimes_zip_entry *x = a, *y = b;
    const int64_t common = x->name_length < y->name_length ? x->name_length : y->name_length;
    const int order = memcmp(x->name, y->name, (size_t)common);
    return order ? order : (x->name_length > y->name_length) - (x->name_length < y->name_length);
}

static int by_header(const void *a, const void *b)
{
    const otimes_zip_entry *x = a, *y = b;
    return (x->header > y->header) - (x->header < y->header);
}

/* Each entry is followed by the next in the file, the last one by the directory. */
static int find_next(otimes_zip *zip, const directory *dir, otimes_err *err)
{
    qsort(zip->entries, (size_t)zip->count, sizeof *zip->entries, by_header);
    for (int64_t i = 0; i < zip->count; i++) {
        otimes_zip_entry *entry = &zip->entries[i];
        entry->next = i + 1 < zip->count ? zip->entries[i + 1].header : dir->offset;
        if (!within(entry->header, LOCAL_BYTES, dir->offset) ||
            otimes_le32(zip->map->data + entry->header) != LOCAL_SIGNATURE) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: zip: entry %.*s: expected its header at byte %llu, got other "
                               "bytes",
                               zip->path, (int)entry->name_length, entry->name,
                               (unsigned long long)entry->header);
        }
    }
    return OTIMES_OK;
}

static int read_entries(otimes_zip *zip, const directory *dir, otimes_err *err)
{
    const unsigned char *at = zip->map->data + dir->offset, *end = at + dir->bytes;
    for (; zip->count < (int64_t)dir->count; zip->count++) {
        if (!read_central(&zip->entries[zip->count], &at, end)) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: zip: directory entry %lld of %llu: expected a header, got "
                               "other bytes or too few",
                               zip->path, (long long)zip->count, (unsigned long long)dir->count);
        }
    }
    if (zip->count == 0) { /* qsort takes no NULL */
        return OTIMES_OK;
    }
    zip->first = zip->entries[0].name;
    zip->first_length = zip->entries[0].name_length;
    const int rc = find_next(zip, dir, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    qsort(zip->entries, (size_t)zip->count, sizeof *zip->entries, by_name);
    for (int64_t i = 1; i < zip->count; i++) {
        const otimes_zip_entry *entry = &zip->entries[i];
        if (by_name(entry - 1, entry) == 0) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: zip: entry %.*s is there more than once", zip->path,
                               (int)entry->name_length, entry->name);
        }
    }
    return OTIMES_OK;
}

int otimes_zip_open(otimes_zip *zip, const char *path, const otimes_map *map, otimes_err *err)
{
    directory dir = {0};
    *zip = (otimes_zip){.path = path, .map = map};
    int rc = read_end(zip, &dir, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&zip->entries, (int64_t)dir.count, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_entries(zip, &dir, err);
    }
    if (rc != OTIMES_OK) {
        otimes_zip_close(zip);
    }
    return rc;
}

const otimes_zip_entry *otimes_zip_find(const otimes_zip *zip, const char *name, int64_t length)
{
    const otimes_zip_entry key = {.name = name, .name_length = length};
    return zip->count ? bsearch(&key, zip->entries, (size_t)zip->count, sizeof key, by_name) : NULL;
}

/* Where an entry's data ends by what follows it: the next entry, or a descriptor of the data, which
 * repeats its sizes in 8 or in 4 bytes each behind a checksum and, mostly, a signature. The local
 * header alone says where data begins: a wrong length there would shift it. */
static uint64_t find_end_of_data(const otimes_zip *zip, const otimes_zip_entry *entry)
{
    const unsigned char *next = zip->map->data + entry->next;
    if (!(entry->flags & DESCRIBED) || entry->next < WIDE_DESCRIPTOR_BYTES) {
        return entry->next;
    }
    const bool wide =
        otimes_le64(next - 16) == entry->bytes && otimes_le64(next - 8) == entry->bytes;
    if (!wide && (otimes_le32(next - 8) != entry->bytes || otimes_le32(next - 4) != entry->bytes)) {
        return entry->next; /* the flag alone */
    }
    const int least = wide ? 20 : 12;
    const bool is_signed = otimes_le32(next - least - 4) == DESCRIPTOR_SIGNATURE;
    return entry->next - (uint64_t)(is_signed ? least + 4 : least);
}

/* Sizes in local headers may be left open until a later descriptor: the directory's count. */
int otimes_zip_data(const otimes_zip *zip, const otimes_zip_entry *entry,
                    const unsigned char **data, otimes_err *err)
{
    const uint64_t bytes = (uint64_t)zip->map->bytes;
    const int length = (int)entry->name_length;
    if (entry->method != 0 || (entry->flags & ENCRYPTED) || entry->packed_bytes != entry->bytes) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: zip: entry %.*s: expected it stored as it is, got %s (method %u)",
                           zip->path, length, entry->name,
                           entry->flags & ENCRYPTED ? "encrypted" : "compressed", entry->method);
    }
    const unsigned char *local = zip->map->data + entry->header;
    const uint64_t head = LOCAL_BYTES + (uint64_t)otimes_le16(local + 26) + otimes_le16(local + 28);
    if (!within(entry->header, head, bytes) || !within(entry->header + head, entry->bytes, bytes)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: zip: entry %.*s: expected %llu bytes inside the file of %llu",
                           zip->path, length, entry->name, (unsigned long long)entry->bytes,
                           (unsigned long long)bytes);
    }
    if (otimes_le16(local + 26) != length ||
        memcmp(local + LOCAL_BYTES, entry->name, (size_t)length) != 0) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: zip: entry %.*s: its header bears another name", zip->path, length,
                           entry->name);
    }
    if (entry->header + head + entry->bytes != find_end_of_data(zip, entry)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: zip: entry %.*s: expected it to end where the next begins, at byte "
                           "%llu, got %llu",
                           zip->path, length, entry->name, (unsigned long long)entry->next,
                           (unsigned long long)(entry->header + head + entry->bytes));
    }
    *data = local + head;
    return OTIMES_OK;
}

void otimes_zip_close(otimes_zip *zip)
{
    if (zip) {
        otimes_free(zip->entries);
        *zip = (otimes_zip){0};
    }
}
