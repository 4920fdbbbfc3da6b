/* SPDX-License-Identifier: MIT
 *
 * A tokenizer as an object: made, filled in by a format, settled, closed.
 */
#include "token/tokenizer.h"

#include <string.h>

#include "token/quote.h"
#include "token/run.h"
#include "token/utf8.h"

int otimes_tokenizer_new(otimes_tokenizer **tokenizer, const char *path, otimes_err *err)
{
    *tokenizer = NULL;
    otimes_tokenizer *t;
    const int rc = OTIMES_NEW(&t, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    t->path = otimes_strdup(path);
    if (!t->path) {
        otimes_free(t);
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: %s", path);
    }
    t->info =
        (otimes_tokenizer_info){.kind = "", .path = t->path, .bos = -1, .eos = -1, .unknown = -1};
    t->speller.unknown = -1;
    memset(t->speller.byte_id, -1, sizeof t->speller.byte_id);
    memset(t->speller.ascii_id, -1, sizeof t->speller.ascii_id);
    *tokenizer = t;
    return OTIMES_OK;
}

static void free_steps(otimes_steps *steps)
{
    for (int64_t i = 0; i < steps->count; i++) {
        otimes_pattern_free(steps->step[i].pattern);
        otimes_charsmap_free(steps->step[i].charsmap);
    }
    otimes_free(steps->step);
}

void otimes_tokenizer_close(otimes_tokenizer **tokenizer)
{
    if (!tokenizer || !*tokenizer) {
        return;
    }
    otimes_tokenizer *t = *tokenizer;
    *tokenizer = NULL;
    otimes_pieces_free(&t->pieces);
    free_steps(&t->normalizer);
    free_steps(&t->splitter);
    free_steps(&t->decoder);
    otimes_free(t->added.token);
    otimes_trie_free(&t->added.raw);
    otimes_trie_free(&t->added.normalized);
    otimes_merges_free(&t->speller.merges);
    otimes_trie_free(&t->speller.frozen);
    otimes_trie_free(&t->speller.joins);
    otimes_trie_free(&t->speller.trie);
    otimes_free(t->speller.score);
    otimes_free(t->before.id);
    otimes_free(t->after.id);
    otimes_free(t->hidden.id);
    otimes_free(t->special);
    otimes_free(t->label);
    otimes_text_free(&t->label_text);
    otimes_pool_free(&t->pool);
    otimes_free(t->path);
    otimes_free(t);
}

otimes_step *otimes_steps_add(otimes_steps *steps, otimes_step_kind kind, int *rc, otimes_err *err)
{
    if (*rc == OTIMES_OK) {
        *rc = OTIMES_GROW(&steps->step, steps->count, &steps->capacity, err);
    }
    if (*rc != OTIMES_OK) {
        return NULL;
    }
    otimes_step *step = &steps->step[steps->count++];
    *step = (otimes_step){.kind = kind, .behaviour = OTIMES_ISOLATED, .cut = true};
    return step;
}

int otimes_string_set(otimes_tokenizer *tokenizer, otimes_string *string, const char *text,
                      int64_t length, otimes_err *err)
{
    int rc = OTIMES_OK;
    string->data = otimes_pool_new(&tokenizer->pool, length + 1, 1, &rc, err);
    if (rc == OTIMES_OK) {
        memcpy(string->data, text, (size_t)length);
        string->length = length;
    }
    return rc;
}

int otimes_ids_add(otimes_ids *ids, int64_t id, otimes_err *err)
{
    const int rc = OTIMES_GROW(&ids->id, ids->count, &ids->capacity, err);
    if (rc == OTIMES_OK) {
        ids->id[ids->count++] = (int32_t)id;
    }
    return rc;
}

int otimes_added_add(otimes_tokenizer *tokenizer, const char *text, int64_t length,
                     otimes_added_token token, otimes_err *err)
{
    otimes_added *added = &tokenizer->added;
    const int32_t known = otimes_pieces_find(&tokenizer->pieces, text, length);
    int rc = OTIMES_OK;
    if (known >= 0 && known != token.id) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: added token %s: id %d, but in the vocabulary it is %d",
                           tokenizer->path, otimes_quoted(text, length).text, token.id, known);
    }
    if (known < 0) {
        rc = otimes_pieces_add(&tokenizer->pieces, token.id, text, length, tokenizer->path, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_GROW(&added->token, added->count, &added->capacity, err);
    }
    if (rc == OTIMES_OK) {
        added->token[added->count++] = token;
    }
    return rc;
}

/* Patterns of added tokens: as they are, or as the normalizer makes them. */
static int make_added(otimes_tokenizer *t, otimes_err *err)
{
    otimes_scratch scratch = {0};
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < t->added.count; i++) {
        const otimes_added_token *token = &t->added.token[i];
        otimes_flow flow = {otimes_pieces_text(&t->pieces, token->id), t->pieces.length[token->id],
                            NULL, 0};
        if (token->normalized) {
            rc = otimes_normalize(&t->normalizer, &scratch, &flow, err);
        }
        if (rc == OTIMES_OK && flow.length > 0) {
            rc = otimes_trie_add(token->normalized ? &t->added.normalized : &t->added.raw,
                                 flow.text, flow.length, (int32_t)i, err);
        }
    }
    otimes_scratch_free(&scratch);
    return rc;
}

/* Ids of single characters and bytes. */
static void make_units(otimes_tokenizer *t)
{
    static const char digits[] = "0123456789ABCDEF";
    otimes_speller *speller = &t->speller;
    char text[8] = "<0x00>";
    for (int i = 0; i < 256; i++) {
        if (speller->byte_level) {
            const int length = otimes_utf8_put(text, otimes_byte_to_code((unsigned char)i));
            speller->byte_id[i] = otimes_pieces_find(&t->pieces, text, length);
        } else if (speller->byte_fallback && speller->byte_id[i] < 0) {
            text[3] = digits[i >> 4];
            text[4] = digits[i & 15];
            speller->byte_id[i] = otimes_pieces_find(&t->pieces, text, 6);
        }
    }
    for (int i = 0; i < 128; i++) {
        const char c = (char)i;
        speller->ascii_id[i] = otimes_pieces_find(&t->pieces, &c, 1);
    }
}

static int mark_special(otimes_tokenizer *t, otimes_err *err)
{
    const int rc = OTIMES_NEW(&t->special, t->info.vocab_size, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < t->added.count; i++) {
        const otimes_added_token *token = &t->added.token[i];
        t->special[token->id] = t->special[token->id] || token->special;
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < t->hidden.count; i++) {
        t->special[t->hidden.id[i]] = true;
    }
    return rc;
}

int otimes_tokenizer_settle(otimes_tokenizer *t, otimes_err *err)
{
    static const char *const kinds[] = {"BPE", "Unigram", "WordLevel", "WordPiece"};
    otimes_speller *speller = &t->speller;
    t->info.kind = speller->rule == OTIMES_RULE_BPE && t->byte_labels ? "byte-level BPE"
                                                                      : kinds[speller->rule];
    if (t->info.vocab_size == 0) {
        t->info.vocab_size = t->pieces.count;
    }
    if (t->info.vocab_size == 0) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: its vocabulary is empty", t->path);
    }
    t->info.unknown = t->info.unknown < 0 ? speller->unknown : t->info.unknown;
    if (t->info.bos < 0 && t->before.count > 0) {
        t->info.bos = t->before.id[0];
    }
    t->info.adds_bos = t->before.count > 0 && t->before.id[0] == t->info.bos;
    make_units(t);
    int rc = make_added(t, err);
    if (rc == OTIMES_OK) {
        rc = mark_special(t, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_cuts_make(t, err);
    }
    return rc == OTIMES_OK ? otimes_labels_make(t, err) : rc;
}

const otimes_tokenizer_info *otimes_tokenizer_describe(const otimes_tokenizer *tokenizer)
{
    return &tokenizer->info;
}

int64_t otimes_token_id(const otimes_tokenizer *tokenizer, const char *piece)
{
    const int64_t id = otimes_pieces_find(&tokenizer->pieces, piece, (int64_t)strlen(piece));
    return id < tokenizer->info.vocab_size ? id : -1;
}
