/* SPDX-License-Identifier: MIT
 *
 * Added tokens in a text: at each place the longest, left to right, as the AddedVocabulary of
 * huggingface/tokenizers finds them.
 */
#include "token/run.h"
#include "token/unicode.h"
#include "token/utf8.h"

static bool word_before(const char *text, int64_t end)
{
    int length;
    return end > 0 && otimes_is_word(otimes_utf8_before(text, end, &length));
}

static bool word_behind(const char *text, int64_t length, int64_t begin)
{
    int step;
    return begin < length && otimes_is_word(otimes_utf8_get(text + begin, &step));
}

/* Takes the blanks in, of those on the left what no token before has taken. */
static void take_blanks(otimes_found_token *found, const char *text, int64_t length, int64_t taken)
{
    int step;
    while (found->token->left && found->begin > taken &&
           otimes_is_space(otimes_utf8_before(text, found->begin, &step))) {
        found->begin -= step;
    }
    if (found->token->right && found->end < taken) { /* among the blanks that a token before took */
        found->end = taken;
    }
    while (found->token->right && found->end < length &&
           otimes_is_space(otimes_utf8_get(text + found->end, &step))) {
        found->end += step;
    }
}

otimes_found_token otimes_added_find(const otimes_added *added, const otimes_trie *trie,
                                     const char *text, int64_t length, int64_t *from, int64_t taken)
{
    for (int64_t at = *from; trie->nodes > 1 && at < length;) {
        int32_t index;
        if (!trie->first[(unsigned char)text[at]]) {
            at++;
            continue;
        }
        const int64_t size = otimes_trie_longest(trie, text + at, length - at, &index);
        if (size == 0) {
            at++;
            continue;
        }
        otimes_found_token found = {&added->token[index], at, at + size};
        at += size;
        if (found.token->single_word &&
            (word_before(text, found.begin) || word_behind(text, length, found.end))) {
            continue;
        }
        *from = at;
        take_blanks(&found, text, length, taken);
        return found;
    }
    *from = length;
    return (otimes_found_token){0};
}
