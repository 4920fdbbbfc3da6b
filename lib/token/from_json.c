/* SPDX-License-Identifier: MIT
 *
 * tokenizer.json of Hugging Face tokenizers: model and added tokens; json_steps.c reads the rest.
 */
#include <math.h>
#include <string.h>

#include "token/formats.h"
#include "token/json_steps.h"
#include "token/quote.h"

enum { SPARSE_FACTOR = 8, SPARSE_EXTRA = 65536, ADDED_MOST = 4096 };

int otimes_vocab_read(otimes_tokenizer *t, const json_t *vocab, otimes_err *err)
{
    if (!json_is_object(vocab)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: vocab: expected an object of ids", t->path);
    }
    const json_int_t limit = SPARSE_FACTOR * (json_int_t)json_object_size(vocab) + SPARSE_EXTRA;
    const char *text;
    json_t *id;
    json_object_foreach ((json_t *)vocab, text, id) {
        if (!json_is_integer(id)) {
            return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: vocab: %s: expected an integer id",
                               t->path, otimes_quoted(text, -1).text);
        }
        const json_int_t value = json_integer_value(id);
        if (value >= limit) {
            return otimes_fail(
                err, OTIMES_ERR_FORMAT, "%s: vocab: %s: id %lld is far beyond the %zu tokens",
                t->path, otimes_quoted(text, -1).text, (long long)value, json_object_size(vocab));
        }
        const int rc =
            otimes_pieces_add(&t->pieces, value, text, (int64_t)strlen(text), t->path, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
    }
    return OTIMES_OK;
}

/* ---- merges ---- */

int otimes_merge_read(otimes_tokenizer *t, const char *where, const char *left, int64_t left_length,
                      const char *right, int64_t right_length, int64_t rank, otimes_err *err)
{
    const int64_t skip = t->speller.prefix.length;
    char short_text[256], *text = short_text;
    const int64_t kept = right_length > skip ? right_length - skip : 0;
    const int64_t length = left_length + kept;
    const int32_t a = otimes_pieces_find(&t->pieces, left, left_length);
    const int32_t b = otimes_pieces_find(&t->pieces, right, right_length);
    if (length > (int64_t)sizeof short_text) {
        const int rc = OTIMES_NEW(&text, length, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
    }
    memcpy(text, left, (size_t)left_length);
    memcpy(text + left_length, right + right_length - kept, (size_t)kept);
    const int32_t joint = otimes_pieces_find(&t->pieces, text, length);
    if (text != short_text) {
        otimes_free(text);
    }
    if (a < 0 || b < 0 || joint < 0) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: merge %lld, %s and %s: %s is not in the vocabulary", where,
                           (long long)rank, otimes_quoted(left, left_length).text,
                           otimes_quoted(right, right_length).text,
                           a < 0   ? "the first"
                           : b < 0 ? "the second"
                                   : "what they make");
    }
    otimes_merges_put(&t->speller.merges, (uint32_t)a, (uint32_t)b, (int32_t)rank, joint, 0);
    return OTIMES_OK;
}

int otimes_merge_line(otimes_tokenizer *t, const char *where, const char *line, int64_t length,
                      int64_t rank, otimes_err *err)
{
    const char *blank = length > 0 ? memchr(line, ' ', (size_t)length) : NULL;
    const char *right = blank ? blank + 1 : NULL;
    if (!blank || memchr(right, ' ', (size_t)(line + length - right))) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: merge %lld: expected two pieces with a blank between, got %s",
                           where, (long long)rank, otimes_quoted(line, length).text);
    }
    return otimes_merge_read(t, where, line, blank - line, right, line + length - right, rank, err);
}

static int read_merges(otimes_tokenizer *t, const json_t *merges, otimes_err *err)
{
    if (!json_is_array(merges)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: model.merges: expected a list", t->path);
    }
    int rc = otimes_merges_reserve(&t->speller.merges, (int64_t)json_array_size(merges), err);
    int64_t rank = 0;
    size_t index;
    json_t *item;
    json_array_foreach (merges, index, item) {
        const json_t *left = json_array_get(item, 0), *right = json_array_get(item, 1);
        if (rc != OTIMES_OK) {
            return rc;
        }
        if (json_is_string(item)) {
            const char *line = json_string_value(item);
            if (strncmp(line, "#version", 8) != 0) {
                rc = otimes_merge_line(t, t->path, line, (int64_t)strlen(line), rank++, err);
            }
        } else if (json_array_size(item) == 2 && json_is_string(left) && json_is_string(right)) {
            const char *a = json_string_value(left), *b = json_string_value(right);
            rc = otimes_merge_read(t, t->path, a, (int64_t)strlen(a), b, (int64_t)strlen(b), rank++,
                                   err);
        } else {
            rc = otimes_fail(err, OTIMES_ERR_FORMAT,
                             "%s: model.merges: entry %zu: expected two pieces", t->path, index);
        }
    }
    return rc;
}

/* ---- models ---- */

/* The text of a member into a string of the tokenizer's; empty when absent. */
static int read_affix(otimes_tokenizer *t, const json_t *model, const char *key,
                      const char *fallback, otimes_string *string, otimes_err *err)
{
    const char *text = fallback;
    const int rc = otimes_member_text(model, key, &text, t->path, err);
    return rc == OTIMES_OK && text ? otimes_string_set(t, string, text, (int64_t)strlen(text), err)
                                   : rc;
}

static int read_unknown(otimes_tokenizer *t, const json_t *model, otimes_err *err)
{
    const char *text = NULL;
    const int rc = otimes_member_text(model, "unk_token", &text, t->path, err);
    if (rc != OTIMES_OK || !text) {
        return rc;
    }
    t->speller.unknown = otimes_pieces_find(&t->pieces, text, (int64_t)strlen(text));
    return OTIMES_OK;
}

static int read_bpe(otimes_tokenizer *t, const json_t *model, otimes_err *err)
{
    otimes_speller *speller = &t->speller;
    int rc = otimes_vocab_read(t, json_object_get(model, "vocab"), err);
    if (rc == OTIMES_OK) {
        rc = read_affix(t, model, "continuing_subword_prefix", NULL, &speller->prefix, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_affix(t, model, "end_of_word_suffix", NULL, &speller->suffix, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_member_bool(model, "ignore_merges", &speller->ignore_merges, t->path, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_member_bool(model, "byte_fallback", &speller->byte_fallback, t->path, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_member_bool(model, "fuse_unk", &speller->fuse_unknown, t->path, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_unknown(t, model, err);
    }
    return rc == OTIMES_OK ? read_merges(t, json_object_get(model, "merges"), err) : rc;
}

/* [["piece", score], ...], ids in order. */
static int read_unigram(otimes_tokenizer *t, const json_t *model, otimes_err *err)
{
    otimes_speller *speller = &t->speller;
    const json_t *vocab = json_object_get(model, "vocab");
    int64_t unknown = -1;
    if (!json_is_array(vocab)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: model.vocab: expected a list", t->path);
    }
    const int64_t count = (int64_t)json_array_size(vocab);
    int rc = OTIMES_NEW(&speller->score, count, err);
    if (rc == OTIMES_OK) {
        rc = otimes_member_i64(model, "unk_id", &unknown, t->path, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_member_bool(model, "byte_fallback", &speller->byte_fallback, t->path, err);
    }
    if (rc == OTIMES_OK && (unknown < -1 || unknown >= count)) {
        rc = otimes_fail(err, OTIMES_ERR_FORMAT, "%s: model.unk_id: expected 0 to %lld, got %lld",
                         t->path, (long long)count - 1, (long long)unknown);
    }
    speller->rule = OTIMES_RULE_UNIGRAM;
    speller->unknown = (int32_t)unknown;
    speller->fuse_unknown = true;
    double lowest = INFINITY;
    for (int64_t id = 0; rc == OTIMES_OK && id < count; id++) {
        const json_t *entry = json_array_get(vocab, (size_t)id);
        const json_t *text = json_array_get(entry, 0), *score = json_array_get(entry, 1);
        if (!json_is_string(text) || !json_is_number(score)) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: model.vocab: entry %lld: expected [text, score]", t->path,
                               (long long)id);
        }
        const char *piece = json_string_value(text);
        const int64_t length = (int64_t)json_string_length(text);
        rc = otimes_pieces_add(&t->pieces, id, piece, length, t->path, err);
        if (rc == OTIMES_OK && length > 0) {
            rc = otimes_trie_add(&speller->trie, piece, length, (int32_t)id, err);
        }
        speller->score[id] = json_number_value(score);
        lowest = speller->score[id] < lowest ? speller->score[id] : lowest;
    }
    speller->unknown_score = lowest - 10;
    return rc;
}

/* Pieces are looked for by their beginnings: those within a word behind their prefix. */
static int make_wordpiece(otimes_tokenizer *t, otimes_err *err)
{
    otimes_speller *speller = &t->speller;
    int rc = OTIMES_OK;
    for (int64_t id = 0; rc == OTIMES_OK && id < t->pieces.count; id++) {
        if (t->pieces.length[id] > 0) {
            rc = otimes_trie_add(&speller->trie, otimes_pieces_text(&t->pieces, id),
                                 t->pieces.length[id], (int32_t)id, err);
        }
    }
    speller->within =
        otimes_trie_node(&speller->trie, speller->prefix.data, speller->prefix.length);
    return rc;
}

static int read_words(otimes_tokenizer *t, const json_t *model, bool wordpiece, otimes_err *err)
{
    otimes_speller *speller = &t->speller;
    speller->rule = wordpiece ? OTIMES_RULE_WORDPIECE : OTIMES_RULE_WORDLEVEL;
    speller->word_most = 100;
    int rc = otimes_vocab_read(t, json_object_get(model, "vocab"), err);
    if (rc == OTIMES_OK && wordpiece) {
        rc = read_affix(t, model, "continuing_subword_prefix", "##", &speller->prefix, err);
    }
    if (rc == OTIMES_OK && wordpiece) {
        rc =
            otimes_member_i64(model, "max_input_chars_per_word", &speller->word_most, t->path, err);
    }
    if (rc == OTIMES_OK && wordpiece) {
        rc = make_wordpiece(t, err);
    }
    return rc == OTIMES_OK ? read_unknown(t, model, err) : rc;
}

static int read_model(otimes_tokenizer *t, const json_t *model, otimes_err *err)
{
    const char *type = NULL;
    const int rc = otimes_member_text(model, "type", &type, t->path, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (!type) { /* older files say by their members what they are */
        type = json_object_get(model, "merges")                      ? "BPE"
               : json_is_array(json_object_get(model, "vocab"))      ? "Unigram"
               : json_object_get(model, "continuing_subword_prefix") ? "WordPiece"
                                                                     : "WordLevel";
    }
    if (strcmp(type, "BPE") == 0) {
        return read_bpe(t, model, err);
    }
    if (strcmp(type, "Unigram") == 0) {
        return read_unigram(t, model, err);
    }
    if (strcmp(type, "WordLevel") == 0 || strcmp(type, "WordPiece") == 0) {
        return read_words(t, model, type[4] == 'P', err);
    }
    return otimes_fail(err, OTIMES_ERR_UNSUPPORTED, "%s: model type %s is not supported", t->path,
                       otimes_quoted(type, -1).text);
}

/* ---- added tokens ---- */

static int read_added(otimes_tokenizer *t, const json_t *entry, size_t index, otimes_err *err)
{
    otimes_added_token token = {0};
    const json_t *id = json_object_get(entry, "id");
    const json_t *content = json_object_get(entry, "content");
    const struct {
        const char *key;
        bool *value;
    } flags[] = {{"special", &token.special},
                 {"lstrip", &token.left},
                 {"rstrip", &token.right},
                 {"single_word", &token.single_word},
                 {"normalized", &token.normalized}};
    const json_int_t limit = SPARSE_FACTOR * t->pieces.count + SPARSE_EXTRA;
    if (!json_is_integer(id) || !json_is_string(content) || json_integer_value(id) < 0 ||
        json_integer_value(id) >= limit || json_string_length(content) > ADDED_MOST) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: added_tokens: entry %zu: expected an id below %lld and content of "
                           "at most %d bytes",
                           t->path, index, (long long)limit, ADDED_MOST);
    }
    int rc = OTIMES_OK;
    token.id = (int32_t)json_integer_value(id);
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof flags / sizeof flags[0]; i++) {
        rc = otimes_member_bool(entry, flags[i].key, flags[i].value, t->path, err);
    }
    return rc == OTIMES_OK ? otimes_added_add(t, json_string_value(content),
                                              (int64_t)json_string_length(content), token, err)
                           : rc;
}

/* The last step may leave bytes as they are: spelling reads them as the byte alphabet. */
static void read_as_bytes(otimes_tokenizer *t)
{
    const otimes_steps *steps = &t->splitter;
    t->speller.byte_level =
        steps->count > 0 && steps->step[steps->count - 1].kind == OTIMES_STEP_BYTE_LEVEL;
}

int otimes_tokenizer_from_json(otimes_tokenizer *t, const json_t *root, otimes_err *err)
{
    int rc = read_model(t, json_object_get(root, "model"), err);
    size_t index;
    json_t *entry;
    json_array_foreach (json_object_get(root, "added_tokens"), index, entry) {
        if (rc == OTIMES_OK) {
            rc = read_added(t, entry, index, err);
        }
    }
    if (rc == OTIMES_OK) {
        rc = otimes_json_normalizer(t, json_object_get(root, "normalizer"), err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_json_splitter(t, json_object_get(root, "pre_tokenizer"), err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_json_post(t, json_object_get(root, "post_processor"), err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_json_decoder(t, json_object_get(root, "decoder"), err);
    }
    read_as_bytes(t);
    return rc;
}
