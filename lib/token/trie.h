/* SPDX-License-Identifier: MIT
 *
 * Texts found by their prefixes. The children of all nodes lie in one hash table: a probe a byte,
 * with nothing to balance and no alphabet to know.
 */
#ifndef OTIMES_TOKEN_TRIE_H
#define OTIMES_TOKEN_TRIE_H

#include <stdbool.h>

#include "base/err.h"
#include "token/hash.h"

enum { OTIMES_TRIE_ROOT = 0, OTIMES_TRIE_NONE = -1 };

typedef struct otimes_trie_slot {
    uint32_t key;  /* node << 8 | byte */
    int32_t child; /* 0, the root, is nobody's child: free */
} otimes_trie_slot;

typedef struct otimes_trie {
    otimes_trie_slot *slot;
    int64_t slots;
    int32_t *value; /* [nodes] of the text that ends here, or -1 */
    int64_t nodes, capacity;
    bool first[256]; /* bytes that texts begin with */
} otimes_trie;

/* Longer texts are refused: at each place of a text one is followed to its end. */
enum { OTIMES_TRIE_LONGEST = 4096 };

/* Adds a text that is not empty; a text that is there already takes the new value. */
int otimes_trie_add(otimes_trie *trie, const char *text, int64_t length, int32_t value,
                    otimes_err *err);
void otimes_trie_free(otimes_trie *trie);

/* The child of a node by a byte, or OTIMES_TRIE_NONE. */
static inline int32_t otimes_trie_step(const otimes_trie *trie, int32_t node, char byte)
{
    const uint32_t key = (uint32_t)node << 8 | (unsigned char)byte;
    const uint64_t mask = (uint64_t)trie->slots - 1;
    for (uint64_t i = otimes_hash_mix(key) & mask;; i = (i + 1) & mask) {
        const otimes_trie_slot *slot = &trie->slot[i];
        if (slot->key == key && slot->child) {
            return slot->child;
        }
        if (!slot->child) {
            return OTIMES_TRIE_NONE;
        }
    }
}

/* Length of the longest text at the start of `text`, its value in *value; 0 when there is none. */
int64_t otimes_trie_longest(const otimes_trie *trie, const char *text, int64_t length,
                            int32_t *value);
/* The same of texts that begin with those bytes which lead to `node`, and are longer. */
int64_t otimes_trie_longest_from(const otimes_trie *trie, int32_t node, const char *text,
                                 int64_t length, int32_t *value);

/* The node that a text leads to, or OTIMES_TRIE_NONE. */
int32_t otimes_trie_node(const otimes_trie *trie, const char *text, int64_t length);

#endif
