/* SPDX-License-Identifier: MIT */
#include "torch_bytes.h"

#include "format/open.h"
#include "format/torch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "checkpoint.pt"

void put(bytes *b, const void *data, size_t length)
{
    if (b->length + length > b->capacity) {
        b->capacity = 2 * (b->length + length);
        b->data = realloc(b->data, b->capacity);
        assert_non_null(b->data);
    }
    if (length > 0) {
        memcpy(b->data + b->length, data, length);
    }
    b->length += length;
}

void put_le(bytes *b, uint64_t value, int width)
{
    for (int i = 0; i < width; i++) {
        const unsigned char byte = (unsigned char)(i < 8 ? value >> 8 * i : 0);
        put(b, &byte, 1);
    }
}

void put_text(bytes *b, const char *text)
{
    put(b, text, strlen(text));
}

void release(bytes *b)
{
    free(b->data);
    *b = (bytes){0};
}

/* ---- pickle opcodes ---- */

void put_int(bytes *b, int64_t value)
{
    PUT_OPS(b, "\x8a\x08");
    put_le(b, (uint64_t)value, 8);
}

void put_string(bytes *b, const char *text)
{
    put_text(b, "X");
    put_le(b, strlen(text), 4);
    put_text(b, text);
}

void put_global(bytes *b, const char *module, const char *name)
{
    put_text(b, "c");
    put_text(b, module);
    put_text(b, "\n");
    put_text(b, name);
    put_text(b, "\n");
}

static void put_ints(bytes *b, const int64_t *values, int count)
{
    put_text(b, "(");
    for (int i = 0; i < count; i++) {
        put_int(b, values[i]);
    }
    put_text(b, "t");
}

void put_tensor(bytes *b, const tensor_spec *spec, bool legacy)
{
    put_global(b, "torch._utils", "_rebuild_tensor_v2");
    put_text(b, "((");
    put_string(b, "storage");
    put_global(b, "torch", spec->type);
    put_string(b, spec->key);
    put_string(b, "cuda:0");
    put_int(b, spec->numel);
    put_text(b, legacy ? "NtQ" : "tQ");
    put_int(b, spec->offset);
    put_ints(b, spec->dim, spec->ndim);
    put_ints(b, spec->stride, spec->ndim);
    PUT_OPS(b, "\x89"); /* requires_grad */
    put_global(b, "collections", "OrderedDict");
    put_text(b, ")RtR");
}

const tensor_spec two_rows = {"FloatStorage", "0", 16, 2, 2, {2, 3}, {4, 1}};

void put_state_dict(bytes *b, bool legacy)
{
    PUT_OPS(b, "\x80\x02}q\x01(");
    put_string(b, "w");
    put_tensor(b, &two_rows, legacy);
    put_string(b, "n");
    PUT_OPS(b, "K\x03u.");
}

/* ---- zip ---- */

static void put_central(bytes *b, const zip_part *part, uint64_t at, const zip_end *end)
{
    const bool zip64 = end->zip64;
    const uint64_t length = part->claimed ? part->claimed : part->length;
    at = part->header ? part->header : at;
    put_le(b, 0x02014b50, 4);
    put_le(b, 0, 4); /* versions */
    put_le(b, part->flags, 2);
    put_le(b, part->method, 2);
    put_le(b, 0, 8); /* time, checksum */
    put_le(b, zip64 ? UINT32_MAX : length, 4);
    put_le(b, zip64 ? UINT32_MAX : length, 4);
    put_le(b, strlen(part->name), 2);
    put_le(b, zip64 ? 28 + 6 : 6, 2);
    put_le(b, 3, 2); /* comment */
    put_le(b, 0, 8); /* disk, attributes */
    put_le(b, zip64 ? UINT32_MAX : at, 4);
    put_text(b, part->name);
    put_le(b, 0x7777, 2); /* an extra field of no one's */
    put_le(b, 2, 2);
    put_le(b, 0, 2);
    if (zip64) {
        put_le(b, 1, 2);
        put_le(b, end->extra ? end->extra : 24, 2);
        put_le(b, length, 8);
        put_le(b, length, 8);
        put_le(b, at, 8);
    }
    put_text(b, "abc");
}

static void put_end(bytes *b, const zip_end *end, uint64_t count, uint64_t length, uint64_t at)
{
    const size_t comment = end->comment ? strlen(end->comment) : 0;
    const uint64_t record = b->length;
    count = end->count ? end->count : count;
    length = end->bytes ? end->bytes : length;
    at = end->offset ? end->offset : at;
    if (end->zip64) {
        put_le(b, 0x06064b50, 4);
        put_le(b, 44, 8);
        put_le(b, 0, 12);
        put_le(b, count, 8);
        put_le(b, count, 8);
        put_le(b, length, 8);
        put_le(b, at, 8);
        put_le(b, 0x07064b50, 4);
        put_le(b, 0, 4);
        put_le(b, record, 8);
        put_le(b, 1, 4);
    }
    put_le(b, 0x06054b50, 4);
    put_le(b, end->disk, 2);
    put_le(b, end->disk, 2);
    put_le(b, end->zip64 ? UINT16_MAX : count, 2);
    put_le(b, end->zip64 ? UINT16_MAX : count, 2);
    put_le(b, end->zip64 ? UINT32_MAX : length, 4);
    put_le(b, end->zip64 ? UINT32_MAX : at, 4);
    put_le(b, comment, 2);
    put(b, end->comment ? end->comment : "", comment);
}

static void put_descriptor(bytes *b, const zip_part *part)
{
    const int wide = part->descriptor >= 20 ? 8 : 4;
    if (part->descriptor % 8 == 0) {
        put_le(b, 0x08074b50, 4);
    }
    put_le(b, 0x12345678, 4); /* a checksum */
    put_le(b, part->length, wide);
    put_le(b, part->length, wide);
}

void put_zip(bytes *b, const zip_part *parts, size_t count, const zip_end *end)
{
    const zip_end plain = {0};
    bytes directory = {0};
    end = end ? end : &plain;
    for (size_t i = 0; i < count; i++) {
        const char *name = parts[i].local_name ? parts[i].local_name : parts[i].name;
        put_central(&directory, &parts[i], b->length, end);
        put_le(b, 0x04034b50, 4);
        put_le(b, 0, 22); /* the directory knows better */
        put_le(b, strlen(name), 2);
        put_le(b, (uint64_t)(5 + parts[i].local_extra), 2); /* extra bytes, as torch pads with */
        put_text(b, name);
        put_text(b, "FBxxx");
        put(b, parts[i].data, parts[i].length);
        if (parts[i].descriptor) {
            put_descriptor(b, &parts[i]);
        }
    }
    const uint64_t at = b->length;
    put(b, directory.data, directory.length);
    put_end(b, end, count, directory.length, at);
    release(&directory);
}

void put_zip_of(bytes *b, const bytes *pickle, size_t storages)
{
    enum { MOST = 4 };
    static const char *const names[MOST] = {"r/data/0", "r/data/1", "r/data/2", "r/data/3"};
    unsigned char numbers[64];
    zip_part parts[MOST + 2] = {
        {.name = "r/data.pkl", .data = pickle->data, .length = pickle->length},
        {.name = "r/version", .data = "3\n", .length = 2},
    };
    assert_true(storages <= MOST);
    for (size_t i = 0; i < sizeof numbers; i++) {
        numbers[i] = (unsigned char)i;
    }
    for (size_t i = 0; i < storages; i++) {
        parts[2 + i] = (zip_part){.name = names[i], .data = numbers, .length = sizeof numbers};
    }
    put_zip(b, parts, 2 + storages, NULL);
}

/* ---- legacy ---- */

void put_legacy_header(bytes *b)
{
    PUT_OPS(b, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    PUT_OPS(b, "\x80\x02M\xe9\x03.");
    PUT_OPS(b, "\x80\x02}(");
    put_string(b, "protocol_version");
    PUT_OPS(b, "M\xe9\x03");
    put_string(b, "little_endian");
    PUT_OPS(b, "\x88u.");
}

/* ---- checks ---- */

void opens_bytes(otimes_store *store, const bytes *b)
{
    otimes_err err = {0};
    write_file(FILE_NAME, b->data, b->length);
    assert_ok(otimes_store_open(store, in_folder(FILE_NAME), &err), &err);
}

void refused_path(const char *path, int code, const char *words, const char *what)
{
    otimes_store store;
    otimes_err err = {0};
    const int rc = otimes_store_open(&store, path, &err);
    if (rc != code || err.code != code) {
        fail_msg("%s: expected error %d, got %d: %s", what, code, rc, err.msg);
    }
    char list[512];
    snprintf(list, sizeof list, "%s", words);
    for (char *word = strtok(list, "|"); word; word = strtok(NULL, "|")) {
        if (!strstr(err.msg, word)) {
            fail_msg("%s: expected '%s' in '%s'", what, word, err.msg);
        }
    }
    assert_null(strchr(err.msg, '\n'));
    assert_true(!store.files && !store.entries && !store.directory && !store.config);
    assert_int_equal(otimes_store_open(&store, path, NULL), code);
}

void refused_bytes(const bytes *b, int code, const char *words, const char *what)
{
    write_file(FILE_NAME, b->data, b->length);
    refused_path(in_folder(FILE_NAME), code, words, what);
    refused_path(in_folder(FILE_NAME), code, FILE_NAME, what);
}

/* Reads what the entries point to, so that ASan sees a wrong pointer. */
static void touch(const otimes_store *store, const otimes_map *map)
{
    unsigned sum = 0;
    for (int64_t i = 0; i < store->entry_count; i++) {
        const otimes_entry *entry = &store->entries[i];
        assert_true(entry->data >= map->data && entry->bytes >= 0 &&
                    entry->bytes <= map->data + map->bytes - entry->data);
        for (int64_t k = 0; k < entry->bytes; k++) {
            sum += entry->data[k];
        }
    }
    assert_true(sum < UINT32_MAX);
}

/* From memory that ends where the file does: of a mapped file ASan does not know the end. */
void survives(const bytes *b)
{
    otimes_store store = {0};
    otimes_err err = {0};
    unsigned char *copy = malloc(b->length ? b->length : 1);
    const otimes_file file = {(char *)FILE_NAME, {.data = copy, .bytes = (int64_t)b->length}};
    assert_non_null(copy);
    memcpy(copy, b->data, b->length);
    if (otimes_torch_recognise(&file.map)) {
        const int rc = otimes_torch_add(&store, &file, &err);
        assert_true(rc == OTIMES_OK || (rc == OTIMES_ERR_FORMAT && strstr(err.msg, FILE_NAME)));
        assert_null(strchr(err.msg, '\n'));
        touch(&store, &file.map);
    }
    otimes_store_close(&store);
    free(copy);
}

const otimes_entry *entry_of(const otimes_store *store, const char *group, const char *name)
{
    for (int64_t i = 0; i < store->entry_count; i++) {
        const otimes_entry *entry = &store->entries[i];
        if (strcmp(entry->group, group) == 0 && strcmp(entry->name, name) == 0) {
            return entry;
        }
    }
    fail_msg("no tensor %s in group '%s'", name, group);
    return NULL;
}
