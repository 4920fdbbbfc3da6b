/* SPDX-License-Identifier: MIT
 *
 * Vocabularies of karpathy/llama2.c (tokenizer.bin, tok512.bin), written by its tokenizer.py:
 *   int32 length of the longest token
 *   for each token: float score, int32 length, its bytes
 * all little-endian. How run.c encodes: a blank in front of a text that is not empty, characters to
 * tokens, those without one to the tokens of their bytes from id 3 on, then the best pair merges.
 */
#include <math.h>
#include <string.h>

#include "token/formats.h"
#include "token/utf8.h"

enum { BOS = 1, EOS = 2, FIRST_BYTE = 3, LEAST_TOKENS = FIRST_BYTE + 256, HEADER = 8 };

static uint32_t little_u32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static int read_tokens(otimes_tokenizer *t, const otimes_map *map, float *score, otimes_err *err)
{
    const int64_t longest = little_u32(map->data);
    int64_t at = 4, id = 0;
    for (; at < map->bytes; id++) {
        if (map->bytes - at < HEADER) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: token %lld: the file ends after %lld of %d bytes before it",
                               t->path, (long long)id, (long long)(map->bytes - at), HEADER);
        }
        const uint32_t bits = little_u32(map->data + at);
        const int64_t length = little_u32(map->data + at + 4);
        const char *text = (const char *)map->data + at + HEADER;
        at += HEADER;
        if (length > map->bytes - at || length > longest) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: token %lld: length: expected at most %lld, got %lld", t->path,
                               (long long)id,
                               (long long)(longest < map->bytes - at ? longest : map->bytes - at),
                               (long long)length);
        }
        memcpy(&score[id], &bits, sizeof bits);
        if (!isfinite(score[id]) || otimes_utf8_valid(text, length) != length) {
            return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: token %lld: expected %s", t->path,
                               (long long)id,
                               isfinite(score[id]) ? "UTF-8" : "a score that is finite");
        }
        const int rc = otimes_pieces_add(&t->pieces, id, text, length, t->path, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
        at += length;
    }
    return id >= LEAST_TOKENS
               ? OTIMES_OK
               : otimes_fail(err, OTIMES_ERR_FORMAT, "%s: expected at least %d tokens, got %lld",
                             t->path, LEAST_TOKENS, (long long)id);
}

static int make_steps(otimes_tokenizer *t, otimes_err *err)
{
    int rc = OTIMES_OK;
    otimes_step *step = otimes_steps_add(&t->normalizer, OTIMES_STEP_PREPEND, &rc, err);
    if (rc == OTIMES_OK) {
        rc = otimes_string_set(t, &step->content, " ", 1, err);
    }
    step = otimes_steps_add(&t->decoder, OTIMES_STEP_STRIP_FIRST, &rc, err);
    if (rc == OTIMES_OK) {
        step->start = 1;
        rc = otimes_string_set(t, &step->content, " ", 1, err);
    }
    otimes_steps_add(&t->decoder, OTIMES_STEP_BYTE_FALLBACK, &rc, err);
    otimes_steps_add(&t->decoder, OTIMES_STEP_FUSE, &rc, err);
    return rc;
}

int otimes_tokenizer_from_llama2c(otimes_tokenizer *t, const otimes_map *map, otimes_err *err)
{
    float *score = NULL;
    bool *merges = NULL;
    const int64_t most = map->bytes / HEADER + 1;
    int rc = OTIMES_NEW(&score, most, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&merges, most, err);
    }
    if (rc == OTIMES_OK) {
        memset(merges, true, (size_t)most);
        rc = read_tokens(t, map, score, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_merges_from_scores(t, score, merges, false, err);
    }
    otimes_free(score);
    otimes_free(merges);
    t->speller.byte_fallback = true;
    for (int i = 0; i < 256; i++) {
        t->speller.byte_id[i] = FIRST_BYTE + i;
    }
    t->info.bos = BOS;
    t->info.eos = EOS;
    t->info.unknown = 0;
    t->bos_by_default = true;
    if (rc == OTIMES_OK) {
        rc = otimes_ids_add(&t->hidden, BOS, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_ids_add(&t->hidden, EOS, err);
    }
    return rc == OTIMES_OK ? make_steps(t, err) : rc;
}
