/* SPDX-License-Identifier: MIT
 *
 * Where tensors lie, read here and not by the library: safetensors and GGUF.
 */
#include "mutation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static void *longer(void *list, int count, size_t size)
{
    if (count % 64 != 0) {
        return list;
    }
    void *more = realloc(list, (size_t)(count + 64) * size);
    if (!more) {
        perror("mutation");
        exit(EXIT_FAILURE);
    }
    return more;
}

static place *add_place(located *where, const char *name, size_t begin, size_t end)
{
    where->place = longer(where->place, where->place_count, sizeof *where->place);
    place *added = &where->place[where->place_count++];
    *added = (place){.begin = begin, .end = end};
    snprintf(added->name, sizeof added->name, "%s", name);
    return added;
}

static void add_field(located *where, size_t at, int width)
{
    where->field = longer(where->field, where->field_count, sizeof *where->field);
    where->field[where->field_count++] = (field){at, width};
}

const place *located_find(const located *where, const char *name)
{
    for (int i = 0; i < where->place_count; i++) {
        if (strcmp(where->place[i].name, name) == 0) {
            return &where->place[i];
        }
    }
    return NULL;
}

void located_free(located *where)
{
    free(where->place);
    free(where->field);
    free(where->fact);
    *where = (located){0};
}

static uint64_t number(const bytes *content, size_t at, int width)
{
    uint64_t value = 0;
    for (int i = width - 1; i >= 0; i--) {
        value = value << 8 | content->data[at + (size_t)i];
    }
    return value;
}

/* ---- safetensors ---- */

static bool locate_described(located *where, const char *name, const json_t *tensor, size_t data,
                             size_t length)
{
    const json_t *offsets = json_object_get(tensor, "data_offsets");
    const json_int_t begin = json_integer_value(json_array_get(offsets, 0));
    const json_int_t end = json_integer_value(json_array_get(offsets, 1));
    if (begin < 0 || end < begin || (size_t)end > length - data) {
        return false;
    }
    place *added = add_place(where, name, data + (size_t)begin, data + (size_t)end);
    char *shape = json_dumps(json_object_get(tensor, "shape"), JSON_COMPACT | JSON_ENCODE_ANY);
    const char *dtype = json_string_value(json_object_get(tensor, "dtype"));
    snprintf(added->kind, sizeof added->kind, "%s %s", dtype ? dtype : "?", shape ? shape : "?");
    free(shape);
    return true;
}

static void locate_safetensors(located *where, const bytes *content)
{
    add_field(where, 0, 8);
    const uint64_t length = content->length >= 8 ? number(content, 0, 8) : UINT64_MAX;
    if (length > content->length - 8) {
        return;
    }
    json_t *header =
        json_loadb((const char *)content->data + 8, (size_t)length, JSON_REJECT_DUPLICATES, NULL);
    const char *name;
    json_t *tensor;
    where->structure = 8 + (size_t)length;
    where->readable = json_is_object(header);
    json_object_foreach (header, name, tensor) {
        if (where->readable && strcmp(name, "__metadata__") != 0) {
            where->readable =
                locate_described(where, name, tensor, where->structure, content->length);
        }
    }
    json_decref(header);
}

/* ---- GGUF ---- */

typedef struct gguf {
    const bytes *content;
    size_t at;
    bool good;
    located *where;
    uint64_t alignment;
    int wide; /* bytes of a count */
} gguf;

static uint64_t gguf_number(gguf *g, int width)
{
    g->good = g->good && g->content->length - g->at >= (size_t)width;
    if (!g->good) {
        return 0;
    }
    add_field(g->where, g->at, width);
    g->at += (size_t)width;
    return number(g->content, g->at - (size_t)width, width);
}

static void gguf_skip(gguf *g, uint64_t count)
{
    g->good = g->good && count <= g->content->length - g->at;
    g->at += g->good ? (size_t)count : 0;
}

static void gguf_text(gguf *g, char *text, size_t room)
{
    const uint64_t length = gguf_number(g, g->wide);
    const size_t begin = g->at;
    gguf_skip(g, length);
    if (g->good && text) {
        snprintf(text, room, "%.*s", (int)length, (const char *)g->content->data + begin);
    }
}

static void gguf_value(gguf *g, uint64_t type, const char *key)
{
    static const int widths[] = {1, 1, 2, 2, 4, 4, 4, 1, -1, -1, 8, 8, 8};
    enum { TEXT = 8, LIST = 9, TYPES = 13 };
    if (type >= TYPES) {
        g->good = false;
    } else if (type == TEXT) {
        gguf_text(g, NULL, 0);
    } else if (type == LIST) {
        const uint64_t of = gguf_number(g, 4), count = gguf_number(g, g->wide);
        g->good = g->good && of != LIST;
        for (uint64_t i = 0; g->good && i < count; i++) {
            gguf_value(g, of, "");
        }
    } else {
        const uint64_t value = gguf_number(g, widths[type]);
        g->alignment = strcmp(key, "general.alignment") == 0 ? value : g->alignment;
    }
}

static void gguf_key(gguf *g)
{
    fact key = {.key = ""};
    gguf_text(g, key.key, sizeof key.key);
    key.begin = g->at;
    const uint64_t type = gguf_number(g, 4);
    gguf_value(g, type, key.key);
    key.end = g->at;
    if (g->good) {
        g->where->fact = longer(g->where->fact, g->where->fact_count, sizeof key);
        g->where->fact[g->where->fact_count++] = key;
    }
}

static void gguf_tensor(gguf *g)
{
    char name[sizeof((place *)0)->name] = "";
    gguf_text(g, name, sizeof name);
    const uint64_t ndim = gguf_number(g, 4);
    uint64_t dim[4] = {0};
    g->good = g->good && ndim <= 4;
    for (uint64_t i = 0; g->good && i < ndim; i++) {
        dim[i] = gguf_number(g, g->wide);
    }
    const uint64_t type = gguf_number(g, 4), offset = gguf_number(g, 8);
    if (g->good && offset < g->content->length) {
        place *added = add_place(g->where, name, (size_t)offset, 0);
        snprintf(added->kind, sizeof added->kind, "%llu [%llu,%llu,%llu,%llu] of %llu",
                 (unsigned long long)type, (unsigned long long)dim[0], (unsigned long long)dim[1],
                 (unsigned long long)dim[2], (unsigned long long)dim[3], (unsigned long long)ndim);
    } else {
        g->good = false;
    }
}

static int by_begin(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Tensors follow each other: each ends where the next begins. */
static void locate_gguf(located *where, const bytes *content)
{
    gguf g = {.content = content, .at = 8, .where = where, .alignment = 32};
    g.good = content->length >= 24 && memcmp(content->data, "GGUF", 4) == 0;
    add_field(where, 4, 4);
    g.wide = g.good && number(content, 4, 4) == 1 ? 4 : 8;
    const uint64_t tensors = gguf_number(&g, g.wide), keys = gguf_number(&g, g.wide);
    for (uint64_t i = 0; g.good && i < keys; i++) {
        gguf_key(&g);
    }
    for (uint64_t i = 0; g.good && i < tensors; i++) {
        gguf_tensor(&g);
    }
    g.good = g.good && g.alignment > 0 && g.alignment < ((uint64_t)1 << 32);
    where->readable = g.good;
    where->structure = g.at;
    if (!g.good) {
        return;
    }
    const size_t data = (size_t)((g.at + g.alignment - 1) / g.alignment * g.alignment);
    qsort(where->place, (size_t)where->place_count, sizeof *where->place, by_begin);
    for (int i = 0; i < where->place_count; i++) {
        place *at = &where->place[i];
        const size_t next =
            i + 1 < where->place_count ? where->place[i + 1].begin + data : content->length;
        at->begin += data;
        at->end = next < content->length ? next : content->length;
        where->readable = where->readable && at->begin <= at->end;
    }
}

void locate(located *where, file_kind kind, const bytes *content)
{
    *where = (located){0};
    if (kind == FILE_SAFETENSORS) {
        locate_safetensors(where, content);
    } else {
        locate_gguf(where, content);
    }
}

/* ---- other formats: from the intact model ---- */

/* A name in the pickle of a checkpoint: 'X', its length in 4 bytes, its text. What stands between
 * one and the next describes its tensor. */
static void locate_names(located *where, const bytes *content)
{
    for (int i = 0; i < where->place_count; i++) {
        place *named = &where->place[i];
        const size_t length = strlen(named->name);
        char pattern[sizeof named->name + 5];
        memcpy(pattern, "X\0\0\0\0", 5);
        pattern[1] = (char)length;
        memcpy(pattern + 5, named->name, length);
        const unsigned char *found = memmem(content->data, content->length, pattern, length + 5);
        named->also = found ? (size_t)(found - content->data) : 0;
    }
    for (int i = 0; i < where->place_count; i++) {
        place *named = &where->place[i];
        named->also_end = content->length;
        for (int j = 0; j < where->place_count; j++) {
            if (where->place[j].also > named->also && where->place[j].also < named->also_end) {
                named->also_end = where->place[j].also;
            }
        }
        /* The last one's end is where the pickle ends: "e." or "u." follow soon. */
        if (named->also_end == content->length) {
            named->also_end = named->also + 400;
        }
    }
}

static void add_zip_fields(located *where, const bytes *content)
{
    static const field central[] = {{20, 4}, {24, 4}, {28, 2}, {30, 2}, {32, 2}, {42, 4}};
    static const field local[] = {{18, 4}, {22, 4}, {26, 2}, {28, 2}};
    static const field end[] = {{8, 2}, {10, 2}, {12, 4}, {16, 4}, {20, 2}};
    for (size_t at = 0; at + 50 < content->length; at++) {
        const bool head = memcmp(content->data + at, "PK\3\4", 4) == 0;
        const bool entry = memcmp(content->data + at, "PK\1\2", 4) == 0;
        const field *list = head ? local : entry ? central : NULL;
        const size_t count = head ? 4 : entry ? 6 : 0;
        for (size_t i = 0; i < count; i++) {
            add_field(where, at + list[i].at, list[i].width);
        }
    }
    for (size_t i = 0; i < sizeof end / sizeof *end; i++) {
        add_field(where, content->length - 22 + end[i].at, end[i].width);
    }
}

void locate_opened(located *where, const otimes_model *model, const model_file *file)
{
    const unsigned char *begin = model->store.files[0].map.data;
    *where = (located){.readable = true, .structure = file->content.length};
    for (int64_t i = 0; i < model->store.entry_count; i++) {
        const otimes_entry *entry = &model->store.entries[i];
        const size_t at = (size_t)(entry->data - begin);
        add_place(where, entry->name, at, at + (size_t)entry->bytes);
        where->structure = at < where->structure ? at : where->structure;
    }
    if (file->kind == FILE_TORCH) {
        locate_names(where, &file->content);
        add_zip_fields(where, &file->content);
    } else {
        for (size_t at = 0; at < 28; at += 4) { /* the seven sizes */
            add_field(where, at, 4);
        }
    }
}
