/* SPDX-License-Identifier: MIT
 *
 * tokenizer.ggml.* of GGUF files (ggml-org/ggml, docs/gguf.md): "llama", pieces that merge by
 * score, and "gpt2", byte-level BPE. What these names mean is what llama.cpp does with them.
 */
#include "token/gguf.h"

#include <math.h>
#include <string.h>

#include "token/formats.h"
#include "token/quote.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

static const char mark[] = "\xe2\x96\x81"; /* U+2581, for blanks */

typedef struct gguf {
    otimes_tokenizer *tokenizer;
    const json_t *keys; /* tokenizer.ggml */
    int64_t count;
    float *score;
    bool *merges;
} gguf;

static int malformed(const gguf *g, const char *key, const char *expected, otimes_err *err)
{
    return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: tokenizer.ggml.%s: expected %s",
                       g->tokenizer->path, key, expected);
}

/* A list as long as the tokens, or NULL when absent; *rc says when it is something else. */
static const json_t *list_of(const gguf *g, const char *key, int *rc, otimes_err *err)
{
    const json_t *list = otimes_json_member(g->keys, key);
    if (*rc == OTIMES_OK && list &&
        (!json_is_array(list) || (int64_t)json_array_size(list) != g->count)) {
        *rc = malformed(g, key, "as many as there are tokens", err);
    }
    return *rc == OTIMES_OK ? list : NULL;
}

static int read_flag(const gguf *g, const char *key, bool *value, otimes_err *err)
{
    const json_t *member = otimes_json_member(g->keys, key);
    if (member && !json_is_boolean(member)) {
        return malformed(g, key, "true or false", err);
    }
    *value = member ? json_is_true(member) : *value;
    return OTIMES_OK;
}

static int read_id(const gguf *g, const char *key, int64_t fallback, int64_t *id, otimes_err *err)
{
    const json_t *member = otimes_json_member(g->keys, key);
    const int64_t value = json_is_integer(member) ? json_integer_value(member) : -1;
    if (member && (value < 0 || value >= g->count)) {
        return malformed(g, key, "the id of a token", err);
    }
    *id = member ? value : fallback < g->count ? fallback : -1;
    return OTIMES_OK;
}

static int read_tokens(gguf *g, otimes_err *err)
{
    const json_t *tokens = otimes_json_member(g->keys, "tokens");
    size_t id;
    json_t *text;
    if (!json_is_array(tokens)) {
        return malformed(g, "tokens", "a list of texts", err);
    }
    g->count = (int64_t)json_array_size(tokens);
    json_array_foreach (tokens, id, text) {
        if (!json_is_string(text)) {
            return malformed(g, "tokens", "a list of texts", err);
        }
        const int rc =
            otimes_pieces_add(&g->tokenizer->pieces, (int64_t)id, json_string_value(text),
                              (int64_t)json_string_length(text), g->tokenizer->path, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
    }
    g->tokenizer->info.vocab_size = g->count;
    return OTIMES_OK;
}

/* Tokens that are found in texts, by their types. */
static int read_types(const gguf *g, otimes_err *err)
{
    otimes_tokenizer *t = g->tokenizer;
    int rc = OTIMES_OK;
    const json_t *types = list_of(g, "token_type", &rc, err);
    size_t id;
    json_t *type;
    json_array_foreach (types, id, type) {
        const json_int_t is = json_integer_value(type);
        const int64_t length = t->pieces.length[id];
        if (rc != OTIMES_OK) {
            break;
        }
        if (!json_is_integer(type)) {
            rc = malformed(g, "token_type", "integers", err);
        } else if ((is == CONTROL || is == USER_DEFINED || is == UNKNOWN) && length > 0 &&
                   otimes_pieces_find(&t->pieces, otimes_pieces_text(&t->pieces, (int64_t)id),
                                      length) == (int64_t)id) {
            const otimes_added_token token = {.id = (int32_t)id, .special = is != USER_DEFINED};
            rc = otimes_added_add(t, otimes_pieces_text(&t->pieces, (int64_t)id), length, token,
                                  err);
        }
    }
    return rc;
}

/* ---- "llama" ---- */

static int read_scores(gguf *g, otimes_err *err)
{
    int rc = OTIMES_NEW(&g->score, g->count, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&g->merges, g->count, err);
    }
    const json_t *scores = rc == OTIMES_OK ? list_of(g, "scores", &rc, err) : NULL;
    if (rc == OTIMES_OK && !scores) {
        rc = malformed(g, "scores", "a number for each token", err);
    }
    for (int64_t id = 0; rc == OTIMES_OK && id < g->count; id++) {
        const json_t *score = json_array_get(scores, (size_t)id);
        if (!json_is_number(score)) {
            return malformed(g, "scores", "numbers that are finite", err);
        }
        g->score[id] = (float)json_number_value(score);
        g->merges[id] = true;
    }
    return rc;
}

static int make_blanks(gguf *g, bool prefix, otimes_err *err)
{
    otimes_tokenizer *t = g->tokenizer;
    int rc = OTIMES_OK;
    otimes_step *step;
    if (prefix) {
        step = otimes_steps_add(&t->normalizer, OTIMES_STEP_PREPEND, &rc, err);
        rc = rc == OTIMES_OK ? otimes_string_set(t, &step->content, mark, 3, err) : rc;
        step = otimes_steps_add(&t->decoder, OTIMES_STEP_STRIP_FIRST, &rc, err);
        rc = rc == OTIMES_OK ? otimes_string_set(t, &step->content, mark, 3, err) : rc;
    }
    step = otimes_steps_add(&t->normalizer, OTIMES_STEP_REPLACE, &rc, err);
    rc = rc == OTIMES_OK ? otimes_string_set(t, &step->text, " ", 1, err) : rc;
    rc = rc == OTIMES_OK ? otimes_string_set(t, &step->content, mark, 3, err) : rc;
    step = otimes_steps_add(&t->decoder, OTIMES_STEP_REPLACE, &rc, err);
    rc = rc == OTIMES_OK ? otimes_string_set(t, &step->text, mark, 3, err) : rc;
    rc = rc == OTIMES_OK ? otimes_string_set(t, &step->content, " ", 1, err) : rc;
    otimes_steps_add(&t->decoder, OTIMES_STEP_BYTE_FALLBACK, &rc, err);
    otimes_steps_add(&t->decoder, OTIMES_STEP_FUSE, &rc, err);
    return rc;
}

static int make_llama(gguf *g, otimes_err *err)
{
    otimes_tokenizer *t = g->tokenizer;
    bool prefix = true;
    int64_t unknown = -1;
    t->bos_by_default = true;
    t->speller.byte_fallback = t->speller.late_fallback = true;
    int rc = read_scores(g, err);
    if (rc == OTIMES_OK) {
        rc = otimes_merges_from_scores(t, g->score, g->merges, true, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_flag(g, "add_space_prefix", &prefix, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_id(g, "bos_token_id", 1, &t->info.bos, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_id(g, "eos_token_id", 2, &t->info.eos, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_id(g, "unknown_token_id", 0, &unknown, err);
    }
    t->speller.unknown = (int32_t)unknown;
    return rc == OTIMES_OK ? make_blanks(g, prefix, err) : rc;
}

/* ---- "gpt2" ---- */

static int read_merges(const gguf *g, otimes_err *err)
{
    const json_t *merges = otimes_json_member(g->keys, "merges");
    size_t index;
    json_t *line;
    if (!json_is_array(merges)) {
        return malformed(g, "merges", "a list of pairs", err);
    }
    int rc =
        otimes_merges_reserve(&g->tokenizer->speller.merges, (int64_t)json_array_size(merges), err);
    json_array_foreach (merges, index, line) {
        if (rc != OTIMES_OK) {
            break;
        }
        rc = json_is_string(line)
                 ? otimes_merge_line(g->tokenizer, g->tokenizer->path, json_string_value(line),
                                     (int64_t)json_string_length(line), (int64_t)index, err)
                 : malformed(g, "merges", "a list of pairs", err);
    }
    return rc;
}

static int make_splits(otimes_tokenizer *t, const otimes_gguf_pre *pre, otimes_err *err)
{
    int rc = OTIMES_OK;
    const size_t most = sizeof pre->pattern / sizeof pre->pattern[0];
    for (size_t i = 0; rc == OTIMES_OK && i < most && pre->pattern[i]; i++) {
        otimes_step *step = otimes_steps_add(&t->splitter, OTIMES_STEP_SPLIT, &rc, err);
        if (rc == OTIMES_OK) {
            rc = otimes_pattern_new(&step->pattern, pre->pattern[i],
                                    (int64_t)strlen(pre->pattern[i]), t->path, err);
        }
    }
    return rc;
}

static int make_gpt2(gguf *g, otimes_err *err)
{
    otimes_tokenizer *t = g->tokenizer;
    const char *name = json_string_value(otimes_json_member(g->keys, "pre"));
    const otimes_gguf_pre *pre = otimes_gguf_pre_find(name ? name : "");
    if (!pre) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: tokenizer.ggml.pre: %s: how it cuts texts is not known", t->path,
                           name ? otimes_quoted(name, -1).text : "missing");
    }
    t->speller.byte_level = t->byte_labels = true;
    t->speller.ignore_merges = pre->ignore_merges;
    t->bos_by_default = pre->adds_bos;
    int rc = read_merges(g, err);
    if (rc == OTIMES_OK) {
        rc = make_splits(t, pre, err);
    }
    otimes_steps_add(&t->decoder, OTIMES_STEP_BYTE_LEVEL, &rc, err);
    if (rc == OTIMES_OK) {
        rc = read_id(g, "bos_token_id", INT64_MAX, &t->info.bos, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_id(g, "eos_token_id", INT64_MAX, &t->info.eos, err);
    }
    return rc == OTIMES_OK ? read_id(g, "unknown_token_id", INT64_MAX, &t->info.unknown, err) : rc;
}

/* ---- both ---- */

static int make_ends(const gguf *g, otimes_err *err)
{
    otimes_tokenizer *t = g->tokenizer;
    bool bos = t->bos_by_default, eos = false;
    int rc = read_flag(g, "add_bos_token", &bos, err);
    if (rc == OTIMES_OK) {
        rc = read_flag(g, "add_eos_token", &eos, err);
    }
    if (rc == OTIMES_OK && bos && t->info.bos >= 0) {
        rc = otimes_ids_add(&t->before, t->info.bos, err);
    }
    if (rc == OTIMES_OK && eos && t->info.eos >= 0) {
        rc = otimes_ids_add(&t->after, t->info.eos, err);
    }
    return rc;
}

static int make(gguf *g, otimes_err *err)
{
    otimes_tokenizer *t = g->tokenizer;
    const char *model = json_string_value(otimes_json_member(g->keys, "model"));
    if (!model) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED, "%s: the file carries no tokenizer",
                           t->path);
    }
    const bool llama = strcmp(model, "llama") == 0;
    if (!llama && strcmp(model, "gpt2") != 0) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: tokenizer.ggml.model %s is not supported", t->path,
                           otimes_quoted(model, -1).text);
    }
    int rc = read_tokens(g, err);
    if (rc == OTIMES_OK) {
        rc = llama ? make_llama(g, err) : make_gpt2(g, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_types(g, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_ends(g, err);
    }
    return rc == OTIMES_OK ? otimes_tokenizer_settle(t, err) : rc;
}

int otimes_tokenizer_from_gguf(otimes_tokenizer **tokenizer, const json_t *config, const char *path,
                               otimes_err *err)
{
    gguf g = {.keys = otimes_json_member(config, "tokenizer.ggml")};
    int rc = otimes_tokenizer_new(&g.tokenizer, path, err);
    if (rc == OTIMES_OK) {
        rc = make(&g, err);
    }
    otimes_free(g.score);
    otimes_free(g.merges);
    if (rc != OTIMES_OK) {
        otimes_tokenizer_close(&g.tokenizer);
    }
    *tokenizer = g.tokenizer;
    return rc;
}
