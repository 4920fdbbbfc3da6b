/* SPDX-License-Identifier: MIT
 *
 * vocab.json with merges.txt, as GPT-2 was published (encoder.json with vocab.bpe).
 */
#include <string.h>
#include <unistd.h>

#include "token/formats.h"

/* The merges beside a vocabulary: by the names that go together, or by any of them. */
static int find_merges(const char *path, char **found, otimes_err *err)
{
    static const char *const names[] = {"merges.txt", "vocab.bpe", "gpt2_vocab.bpe"};
    const char *slash = strrchr(path, '/');
    const int folder = slash ? (int)(slash - path) + 1 : 0;
    *found = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        otimes_text name = {0};
        const int rc = otimes_text_add(&name, err, "%.*s%s", folder, path, names[i]);
        if (rc != OTIMES_OK) {
            return rc;
        }
        if (access(name.data, F_OK) == 0) {
            *found = name.data;
            return OTIMES_OK;
        }
        otimes_text_free(&name);
    }
    return otimes_fail(err, OTIMES_ERR_IO,
                       "%s: a vocabulary without its merges: expected merges.txt or vocab.bpe "
                       "beside it",
                       path);
}

static int read_lines(otimes_tokenizer *t, const char *where, const char *text, int64_t bytes,
                      otimes_err *err)
{
    int64_t lines = 1;
    for (int64_t i = 0; i < bytes; i++) {
        lines += text[i] == '\n';
    }
    int rc = otimes_merges_reserve(&t->speller.merges, lines, err);
    int64_t rank = 0;
    for (int64_t at = 0; rc == OTIMES_OK && at < bytes;) {
        const char *newline = memchr(text + at, '\n', (size_t)(bytes - at));
        const int64_t stop = newline ? newline - text : bytes;
        int64_t length = stop - at;
        length -= length > 0 && text[at + length - 1] == '\r';
        const bool version = length >= 8 && memcmp(text + at, "#version", 8) == 0;
        if (length > 0 && !version) {
            rc = otimes_merge_line(t, where, text + at, length, rank++, err);
        }
        at = stop + 1;
    }
    return rc;
}

int otimes_tokenizer_from_gpt2(otimes_tokenizer *t, const json_t *vocab, const char *path,
                               otimes_err *err)
{
    char *merges = NULL;
    otimes_map map = {0};
    int rc = otimes_vocab_read(t, vocab, err);
    if (rc == OTIMES_OK) {
        rc = find_merges(path, &merges, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_map_open(&map, merges, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_tokenizer_from_merges(t, merges, (const char *)map.data, map.bytes, err);
    }
    otimes_map_close(&map);
    otimes_free(merges);
    return rc;
}

int otimes_tokenizer_from_merges(otimes_tokenizer *t, const char *where, const char *text,
                                 int64_t bytes, otimes_err *err)
{
    static const char end_of_text[] = "<|endoftext|>";
    int rc = read_lines(t, where, text, bytes, err);
    if (rc == OTIMES_OK) {
        rc = otimes_gpt2_split(t, err);
    }
    if (rc == OTIMES_OK) {
        otimes_steps_add(&t->decoder, OTIMES_STEP_BYTE_LEVEL, &rc, err);
    }
    t->speller.byte_level = t->byte_labels = true;
    t->post_decides = true;
    /* GPT-2's one special token begins and ends texts. */
    const int32_t id = otimes_pieces_find(&t->pieces, end_of_text, sizeof end_of_text - 1);
    if (rc == OTIMES_OK && id >= 0) {
        t->info.bos = t->info.eos = t->info.unknown = id;
        const otimes_added_token token = {.id = id, .special = true};
        rc = otimes_added_add(t, end_of_text, sizeof end_of_text - 1, token, err);
    }
    return rc;
}
