/* SPDX-License-Identifier: MIT */
#include "token/charsmap.h"

#include <string.h>

#include "base/mem.h"
#include "token/utf8.h"

enum { POOL_MOST = 1 << 28 };

void otimes_charsmap_free(otimes_charsmap *map)
{
    if (map) {
        otimes_free(map->unit);
        otimes_free(map->pool);
        otimes_free(map);
    }
}

static uint32_t little_u32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

int otimes_charsmap_new(otimes_charsmap **map, const void *bytes, int64_t length, const char *where,
                        otimes_err *err)
{
    const unsigned char *data = bytes;
    *map = NULL;
    const int64_t trie = length >= 4 ? (int64_t)little_u32(data) : 0;
    if (length < 4 || length > POOL_MOST || trie > length - 4 || trie % 4 != 0 || trie == 0) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: precompiled_charsmap: a trie of %lld bytes does not fit in %lld",
                           where, (long long)trie, (long long)length);
    }
    otimes_charsmap *made;
    int rc = OTIMES_NEW(&made, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    made->units = trie / 4;
    made->pool_length = length - 4 - trie;
    rc = OTIMES_NEW(&made->unit, made->units, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&made->pool, made->pool_length + 1, err);
    }
    if (rc != OTIMES_OK) {
        otimes_charsmap_free(made);
        return rc;
    }
    for (int64_t i = 0; i < made->units; i++) {
        made->unit[i] = little_u32(data + 4 + 4 * i);
    }
    memcpy(made->pool, data + 4 + trie, (size_t)made->pool_length);
    if (otimes_utf8_valid(made->pool, made->pool_length) != made->pool_length) {
        otimes_charsmap_free(made);
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: precompiled_charsmap: its strings are not UTF-8", where);
    }
    *map = made;
    return OTIMES_OK;
}

static int digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

int otimes_charsmap_from_base64(otimes_charsmap **map, const char *text, const char *where,
                                otimes_err *err)
{
    const size_t length = strlen(text);
    unsigned char *bytes;
    *map = NULL;
    int rc = OTIMES_NEW(&bytes, (int64_t)(length / 4 * 3 + 3), err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    int64_t count = 0;
    uint32_t bits = 0;
    size_t i = 0;
    for (; i < length && digit(text[i]) >= 0; i++) {
        bits = bits << 6 | (uint32_t)digit(text[i]);
        if (i % 4 > 0) {
            bytes[count++] = (unsigned char)(bits >> (6 - 2 * (i % 4)));
        }
    }
    const size_t padding = strspn(text + i, "=");
    if (length % 4 != 0 || i + padding != length || padding > 2) {
        rc = otimes_fail(err, OTIMES_ERR_FORMAT, "%s: precompiled_charsmap: not base64", where);
    } else {
        rc = otimes_charsmap_new(map, bytes, count, where, err);
    }
    otimes_free(bytes);
    return rc;
}

/* The fields of a unit. */
static uint64_t offset_of(uint32_t unit)
{
    return (uint64_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

const char *otimes_charsmap_find(const otimes_charsmap *map, const char *text, int64_t length,
                                 int longest, int64_t *used)
{
    const char *found = NULL;
    uint64_t node = offset_of(map->unit[0]);
    const int64_t most =
        length < map->units ? length : map->units; /* what is longer goes in circles */
    for (int64_t i = 0; i < most; i++) {
        const unsigned char byte = (unsigned char)text[i];
        node ^= byte;
        if (node >= (uint64_t)map->units || (map->unit[node] & 0x800000ffu) != byte) {
            break;
        }
        const uint32_t unit = map->unit[node];
        node ^= offset_of(unit);
        if (node >= (uint64_t)map->units) {
            break;
        }
        if (unit >> 8 & 1) {
            const uint32_t value = map->unit[node] & 0x7fffffffu;
            /* Only whole characters, of the text and of the pool, whatever the trie says. */
            if (value <= (uint64_t)map->pool_length && !otimes_utf8_continues(map->pool[value]) &&
                (i + 1 == length || !otimes_utf8_continues(text[i + 1]))) {
                found = map->pool + value;
                *used = i + 1;
            }
            if (!longest) {
                break;
            }
        }
    }
    return found;
}
