/* SPDX-License-Identifier: MIT
 *
 * Changes of bytes, which know of a format no more than where its numbers stand.
 */
#include "mutation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 */
static uint64_t next(dice *d)
{
    uint64_t z = d->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

dice dice_of(const char *name, uint64_t seed)
{
    uint64_t hash = 14695981039346656037u;
    for (; *name; name++) {
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    }
    return (dice){hash ^ seed * 0xd6e8feb86659fd93u};
}

uint64_t roll(dice *d, uint64_t below)
{
    return next(d) % below;
}

/* Half of all places are in what describes the tensors, which is a small part of the file. */
static size_t roll_at(dice *d, const bytes *content, const located *where)
{
    const size_t structure = where && where->structure < content->length ? where->structure : 0;
    if (structure > 0 && roll(d, 2) == 0) {
        return (size_t)roll(d, structure);
    }
    if (where && where->place_count > 0 && where->place[0].also > 0 && roll(d, 2) == 0) {
        const place *named = &where->place[roll(d, (uint64_t)where->place_count)];
        const size_t at = named->also + (size_t)roll(d, named->also_end - named->also);
        return at < content->length ? at : content->length - 1;
    }
    return (size_t)roll(d, content->length);
}

static size_t at_most(dice *d, size_t limit, size_t length)
{
    const size_t least = limit < length ? limit : length;
    return least > 0 ? 1 + (size_t)roll(d, least) : 0;
}

static void flip(bytes *content, const located *where, dice *d, change *did)
{
    const int count = roll(d, 2) ? 1 : 1 + (int)roll(d, 16);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        at = roll_at(d, content, where);
        content->data[at] ^= (unsigned char)(1 << roll(d, 8));
    }
    snprintf(did->what, sizeof did->what, "%d bits flipped, the last at byte %zu", count, at);
}

static void overwrite(bytes *content, const located *where, dice *d, change *did)
{
    const size_t at = roll_at(d, content, where);
    const size_t length = at_most(d, roll(d, 2) ? 1 : 512, content->length - at);
    const int way = (int)roll(d, 4);
    for (size_t i = 0; i < length; i++) {
        content->data[at + i] = way == 0 ? 0 : way == 1 ? 0xff : (unsigned char)roll(d, 256);
    }
    snprintf(did->what, sizeof did->what, "%zu bytes overwritten at byte %zu, way %d", length, at,
             way);
}

static void truncate_at(bytes *content, const located *where, dice *d, change *did)
{
    content->length =
        roll(d, 2) ? roll_at(d, content, where) : content->length - at_most(d, 64, content->length);
    snprintf(did->what, sizeof did->what, "cut to %zu bytes", content->length);
}

/* Puts `length` bytes in at `at`; NULL: random ones. */
static void put_in(bytes *content, size_t at, const unsigned char *from, size_t length, dice *d)
{
    bytes wider = bytes_new(content->length + length);
    memcpy(wider.data, content->data, at);
    for (size_t i = 0; i < length; i++) {
        wider.data[at + i] = from ? from[i] : (unsigned char)roll(d, 256);
    }
    memcpy(wider.data + at + length, content->data + at, content->length - at);
    free(content->data);
    *content = wider;
}

static void insert(bytes *content, const located *where, dice *d, change *did)
{
    const size_t at = roll(d, 4) ? roll_at(d, content, where) : content->length;
    const size_t length = at_most(d, 64, 64);
    put_in(content, at, NULL, length, d);
    snprintf(did->what, sizeof did->what, "%zu bytes put in at byte %zu", length, at);
}

static void take_out(bytes *content, const located *where, dice *d, change *did)
{
    const size_t at = roll_at(d, content, where);
    const size_t length = at_most(d, 64, content->length - at);
    memmove(content->data + at, content->data + at + length, content->length - at - length);
    content->length -= length;
    snprintf(did->what, sizeof did->what, "%zu bytes taken out at byte %zu", length, at);
}

static void repeat_run(bytes *content, const located *where, dice *d, change *did)
{
    const size_t from = roll_at(d, content, where), to = roll_at(d, content, where);
    const size_t last = from > to ? from : to;
    const size_t length = at_most(d, 256, content->length - last);
    memmove(content->data + to, content->data + from, length);
    snprintf(did->what, sizeof did->what, "%zu bytes copied from byte %zu to %zu", length, from,
             to);
}

/* The head of one file and the tail of another, or a run of the other in its place. */
static void mix(bytes *content, const located *where, const bytes *other, dice *d, change *did)
{
    const size_t at = roll_at(d, content, where);
    const size_t there = other->length > at ? other->length - at : 0;
    if (roll(d, 2)) {
        bytes mixed = bytes_new(at + there);
        memcpy(mixed.data, content->data, at);
        memcpy(mixed.data + at, other->data + at, there);
        free(content->data);
        *content = mixed;
        snprintf(did->what, sizeof did->what, "another file's bytes from byte %zu on", at);
        return;
    }
    const size_t here = content->length - at;
    const size_t length = at_most(d, 4096, here < there ? here : there);
    memcpy(content->data + at, other->data + at, length);
    snprintf(did->what, sizeof did->what, "%zu bytes of another file at byte %zu", length, at);
}

static uint64_t edited_number(uint64_t value, dice *d)
{
    const uint64_t choices[] = {value + 1,     value - 1,  2 * value,
                                value / 2,     0,          UINT64_MAX,
                                INT64_MAX,     UINT32_MAX, value ^ (uint64_t)1 << roll(d, 64),
                                roll(d, 4096), next(d)};
    return choices[roll(d, sizeof choices / sizeof *choices)];
}

static void edit_number(bytes *content, const located *where, dice *d, change *did)
{
    const field *f = &where->field[roll(d, (uint64_t)where->field_count)];
    uint64_t value = 0;
    if (f->at + (size_t)f->width > content->length) {
        flip(content, where, d, did);
        return;
    }
    for (int i = f->width - 1; i >= 0; i--) {
        value = value << 8 | content->data[f->at + (size_t)i];
    }
    const uint64_t edited = edited_number(value, d);
    for (int i = 0; i < f->width; i++) {
        content->data[f->at + (size_t)i] = (unsigned char)(edited >> 8 * i);
    }
    snprintf(did->what, sizeof did->what, "the number at byte %zu from %llu to %llu", f->at,
             (unsigned long long)value, (unsigned long long)edited);
}

/* The bytes of two tensors, as far as both go. */
static void swap_tensors(bytes *content, const located *where, dice *d, change *did)
{
    const place *a = &where->place[roll(d, (uint64_t)where->place_count)];
    const place *b = &where->place[roll(d, (uint64_t)where->place_count)];
    const size_t first = a->end - a->begin, second = b->end - b->begin;
    for (size_t i = 0; i < (first < second ? first : second); i++) {
        const unsigned char kept = content->data[a->begin + i];
        content->data[a->begin + i] = content->data[b->begin + i];
        content->data[b->begin + i] = kept;
    }
    snprintf(did->what, sizeof did->what, "%s and %s exchanged", a->name, b->name);
}

/* Two names of one length, wherever they stand before the data. */
static void swap_names(bytes *content, const located *where, dice *d, change *did)
{
    const place *a = &where->place[roll(d, (uint64_t)where->place_count)];
    const place *b = &where->place[roll(d, (uint64_t)where->place_count)];
    const size_t length = strlen(a->name);
    unsigned char *first = memmem(content->data, content->length, a->name, length);
    unsigned char *second = memmem(content->data, content->length, b->name, strlen(b->name));
    if (length != strlen(b->name) || !first || !second || first == second) {
        flip(content, where, d, did);
        return;
    }
    memcpy(first, b->name, length);
    memcpy(second, a->name, length);
    snprintf(did->what, sizeof did->what, "the names %s and %s exchanged", a->name, b->name);
}

void change_bytes(bytes *content, const located *where, const bytes *other, dice *d, change *did)
{
    const uint64_t way = roll(d, 12);
    if (content->length == 0) {
        insert(content, NULL, d, did);
    } else if (way < 3) {
        flip(content, where, d, did);
    } else if (way < 5) {
        overwrite(content, where, d, did);
    } else if (way == 5) {
        truncate_at(content, where, d, did);
    } else if (way == 6) {
        insert(content, where, d, did);
    } else if (way == 7) {
        take_out(content, where, d, did);
    } else if (way == 8 || !where || where->place_count == 0) {
        repeat_run(content, where, d, did);
    } else if (way == 9) {
        mix(content, where, other, d, did);
    } else if (way == 10 && where->field_count > 0) {
        edit_number(content, where, d, did);
    } else if (roll(d, 2)) {
        swap_tensors(content, where, d, did);
    } else {
        swap_names(content, where, d, did);
    }
}
