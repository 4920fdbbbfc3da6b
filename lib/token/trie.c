/* SPDX-License-Identifier: MIT */
#include "token/trie.h"

#include "base/mem.h"

enum { MOST_NODES = 1 << 24 }; /* a key holds 24 bits of node */

static void put(otimes_trie_slot *slots, int64_t count, otimes_trie_slot entry)
{
    const uint64_t mask = (uint64_t)count - 1;
    uint64_t i = otimes_hash_mix(entry.key) & mask;
    while (slots[i].child) {
        i = (i + 1) & mask;
    }
    slots[i] = entry;
}

static int widen(otimes_trie *trie, otimes_err *err)
{
    otimes_trie_slot *slot;
    const int64_t slots = otimes_hash_slots(2 * trie->nodes);
    const int rc = OTIMES_NEW(&slot, slots, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t i = 0; i < trie->slots; i++) {
        if (trie->slot[i].child) {
            put(slot, slots, trie->slot[i]);
        }
    }
    otimes_free(trie->slot);
    trie->slot = slot;
    trie->slots = slots;
    return OTIMES_OK;
}

static int new_node(otimes_trie *trie, int32_t *node, otimes_err *err)
{
    if (trie->nodes >= MOST_NODES) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "vocabulary: its texts have more than %d different beginnings",
                           MOST_NODES);
    }
    const int rc = OTIMES_GROW(&trie->value, trie->nodes, &trie->capacity, err);
    if (rc == OTIMES_OK) {
        trie->value[trie->nodes] = OTIMES_TRIE_NONE;
        *node = (int32_t)trie->nodes++;
    }
    return rc;
}

int otimes_trie_add(otimes_trie *trie, const char *text, int64_t length, int32_t value,
                    otimes_err *err)
{
    int32_t node = OTIMES_TRIE_ROOT;
    if (length > OTIMES_TRIE_LONGEST) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "vocabulary: expected texts of at most %d bytes, got %lld",
                           OTIMES_TRIE_LONGEST, (long long)length);
    }
    int rc = trie->nodes == 0 ? new_node(trie, &node, err) : OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < length; i++) {
        if (trie->slots <= 2 * trie->nodes) {
            rc = widen(trie, err);
            if (rc != OTIMES_OK) {
                return rc;
            }
        }
        int32_t child = otimes_trie_step(trie, node, text[i]);
        if (child == OTIMES_TRIE_NONE) {
            rc = new_node(trie, &child, err);
            if (rc != OTIMES_OK) {
                return rc;
            }
            put(trie->slot, trie->slots,
                (otimes_trie_slot){(uint32_t)node << 8 | (unsigned char)text[i], child});
        }
        node = child;
    }
    if (rc == OTIMES_OK) {
        trie->first[(unsigned char)text[0]] = true;
        trie->value[node] = value;
    }
    return rc;
}

int64_t otimes_trie_longest(const otimes_trie *trie, const char *text, int64_t length,
                            int32_t *value)
{
    return otimes_trie_longest_from(trie, OTIMES_TRIE_ROOT, text, length, value);
}

int32_t otimes_trie_node(const otimes_trie *trie, const char *text, int64_t length)
{
    int32_t node = OTIMES_TRIE_ROOT;
    for (int64_t i = 0; i < length && node != OTIMES_TRIE_NONE; i++) {
        node = trie->slots > 0 ? otimes_trie_step(trie, node, text[i]) : OTIMES_TRIE_NONE;
    }
    return node;
}

int64_t otimes_trie_longest_from(const otimes_trie *trie, int32_t node, const char *text,
                                 int64_t length, int32_t *value)
{
    int64_t longest = 0;
    for (int64_t i = 0; trie->slots > 0 && i < length; i++) {
        node = otimes_trie_step(trie, node, text[i]);
        if (node == OTIMES_TRIE_NONE) {
            break;
        }
        if (trie->value[node] != OTIMES_TRIE_NONE) {
            *value = trie->value[node];
            longest = i + 1;
        }
    }
    return longest;
}

void otimes_trie_free(otimes_trie *trie)
{
    otimes_free(trie->slot);
    otimes_free(trie->value);
    *trie = (otimes_trie){0};
}
