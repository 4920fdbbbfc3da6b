/* SPDX-License-Identifier: MIT */
#include <otimes/tokens.h>

#include <otimes/model.h>

#include <string.h>

#include "base/mem.h"
#include "base/sha256.h"
#include "base/sink.h"
#include "format/map.h"
#include "token/shown.h"

/* Everything of one call, in the order of its places. */
typedef struct job {
    const otimes_tokenizer *tokenizer;
    const otimes_tokens_settings *settings;
    int64_t inputs, places;
    otimes_encoding *encoding; /* [inputs] of texts; NULL: ids */
    int64_t *input, *position, *id, *begin, *end, *token_count;
    const char **token, **text, **decoded;
    otimes_text *spelt; /* [2 * inputs] what text and decoded show */
    otimes_pool pool;
} job;

void otimes_tokens_settings_default(otimes_tokens_settings *settings)
{
    *settings = (otimes_tokens_settings){0};
}

static void free_job(job *j)
{
    for (int64_t i = 0; j->encoding && i < j->inputs; i++) {
        otimes_encoding_free(&j->encoding[i]);
    }
    for (int64_t i = 0; j->spelt && i < 2 * j->inputs; i++) {
        otimes_text_free(&j->spelt[i]);
    }
    otimes_pool_free(&j->pool);
}

static int64_t bytes_of(const otimes_tokens_settings *settings, int64_t i)
{
    return settings->bytes ? settings->bytes[i] : (int64_t)strlen(settings->text[i]);
}

static int encode(job *j, otimes_err *err)
{
    const otimes_tokens_settings *s = j->settings;
    int rc = OTIMES_OK;
    j->places = s->text ? 0 : s->id_count;
    if (!s->text) {
        return rc;
    }
    j->encoding = otimes_pool_new(&j->pool, j->inputs, sizeof *j->encoding, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < j->inputs; i++) {
        rc = otimes_encode(j->tokenizer, s->text[i], bytes_of(s, i), s->bos, &j->encoding[i], err);
        j->places += j->encoding[i].count;
    }
    return rc;
}

static int make_room(job *j, otimes_err *err)
{
    otimes_pool *pool = &j->pool;
    int rc = OTIMES_OK;
    j->input = otimes_pool_new(pool, j->places, sizeof *j->input, &rc, err);
    j->position = otimes_pool_new(pool, j->places, sizeof *j->position, &rc, err);
    j->id = otimes_pool_new(pool, j->places, sizeof *j->id, &rc, err);
    j->begin = otimes_pool_new(pool, j->places, sizeof *j->begin, &rc, err);
    j->end = otimes_pool_new(pool, j->places, sizeof *j->end, &rc, err);
    j->token = otimes_pool_new(pool, j->places, sizeof *j->token, &rc, err);
    j->token_count = otimes_pool_new(pool, j->inputs, sizeof *j->token_count, &rc, err);
    j->text = otimes_pool_new(pool, j->inputs, sizeof *j->text, &rc, err);
    j->decoded = otimes_pool_new(pool, j->inputs, sizeof *j->decoded, &rc, err);
    j->spelt = otimes_pool_new(pool, 2 * j->inputs, sizeof *j->spelt, &rc, err);
    return rc;
}

/* The ids of one input into its places, which begin at `at`. */
static int fill_places(job *j, int64_t input, int64_t at, otimes_err *err)
{
    const otimes_encoding *e = j->encoding ? &j->encoding[input] : NULL;
    const int64_t count = e ? e->count : j->settings->id_count;
    for (int64_t i = 0; i < count; i++) {
        const int64_t id = e ? e->id[i] : j->settings->id[i];
        j->input[at + i] = input;
        j->position[at + i] = i;
        j->id[at + i] = id;
        j->begin[at + i] = e ? e->begin[i] : -1;
        j->end[at + i] = e ? e->end[i] : -1;
        j->token[at + i] = otimes_token_text(j->tokenizer, id);
        if (!j->token[at + i]) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT, "id: expected 0 to %lld, got %lld",
                               (long long)otimes_tokenizer_describe(j->tokenizer)->vocab_size - 1,
                               (long long)id);
        }
    }
    j->token_count[input] = count;
    return OTIMES_OK;
}

static int fill_texts(job *j, int64_t input, int64_t at, otimes_err *err)
{
    otimes_text *text = &j->spelt[2 * input], *decoded = &j->spelt[2 * input + 1];
    char *whole = NULL;
    int64_t bytes = 0;
    int rc = OTIMES_OK;
    if (j->settings->text) {
        rc = otimes_shown_add(text, j->settings->text[input], bytes_of(j->settings, input), err);
        j->text[input] = text->data;
    }
    if (rc == OTIMES_OK) {
        rc = otimes_decode(j->tokenizer, j->id + at, j->token_count[input], 1, &whole, &bytes, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_shown_add(decoded, whole, bytes, err);
        j->decoded[input] = decoded->data;
    }
    otimes_text_release(&whole);
    return rc;
}

static int fill(job *j, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t input = 0, at = 0; rc == OTIMES_OK && input < j->inputs; input++) {
        rc = fill_places(j, input, at, err);
        if (rc == OTIMES_OK) {
            rc = fill_texts(j, input, at, err);
            at += j->token_count[input];
        }
    }
    return rc;
}

/* The digest of the tokenizer's own file. Weights that hold their tokenizer are left out: hashing
 * them takes longer than everything else here. */
static int write_digest(const char *path, otimes_sink *sink, otimes_err *err)
{
    otimes_map map = {0};
    otimes_sha256 sha = {0};
    char hex[OTIMES_SHA256_HEX];
    int rc = otimes_map_open(&map, path, err);
    if (rc != OTIMES_OK || (map.bytes >= 4 && !memcmp(map.data, "GGUF", 4))) {
        otimes_map_close(&map);
        return rc;
    }
    rc = otimes_sha256_begin(&sha, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sha256_add(&sha, map.data, map.bytes, err);
    }
    const int finish = otimes_sha256_finish(&sha, rc == OTIMES_OK ? hex : NULL, err);
    rc = rc == OTIMES_OK ? finish : rc;
    otimes_map_close(&map);
    return rc == OTIMES_OK ? otimes_sink_text(sink, "tokenizer_sha256", hex, err) : rc;
}

static const char *bos_name(otimes_bos bos)
{
    switch (bos) {
    case OTIMES_BOS_AS_TRAINED:
        return "as trained";
    case OTIMES_BOS_NEVER:
        return "never";
    case OTIMES_BOS_ALWAYS:
        return "always";
    }
    return "unknown"; /* unreached: all cases return */
}

static int write_facts(const job *j, otimes_sink *sink, otimes_err *err)
{
    const otimes_tokenizer_info *info = otimes_tokenizer_describe(j->tokenizer);
    const otimes_bos bos = j->settings->bos;
    const int added = bos == OTIMES_BOS_AS_TRAINED ? info->adds_bos : bos == OTIMES_BOS_ALWAYS;
    int rc = otimes_sink_text(sink, "otimes_version", otimes_version(), err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(sink, "tokenizer_path", info->path, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_digest(info->path, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(sink, "tokenizer_kind", info->kind, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(sink, "vocab_size", info->vocab_size, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(sink, "bos_id", info->bos, err);
    }
    if (rc == OTIMES_OK && j->settings->text) {
        rc = otimes_sink_text(sink, "bos", bos_name(bos), err);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_i64(sink, "bos_added", added, err);
        }
    }
    return rc;
}

static int write_arrays(const job *j, otimes_sink *sink, otimes_err *err)
{
    const otimes_axis place = {"place", j->places, NULL, NULL, "tokens of all inputs in order"};
    const otimes_axis input = {"input", j->inputs, NULL, NULL, "texts, or the one list of ids"};
    const bool texts = j->settings->text != NULL;
    const struct {
        const otimes_axis *axis;
        const char *name;
        otimes_type type;
        const void *data;
        const char *long_name, *units, *formula;
        bool given;
    } rows[] = {
        {&place, "input_index", OTIMES_I64, j->input, "input that a token belongs to", "1",
         "row of the axis input", true},
        {&place, "position", OTIMES_I64, j->position, "place of a token in its input", "1",
         "counted from 0, special tokens included", true},
        {&place, "id", OTIMES_I64, j->id, "token", "1", "row of the vocabulary", true},
        {&place, "token", OTIMES_TEXT, j->token, "what a token stands for", "1",
         "UTF-8; <0xHH> for a byte that is no character", true},
        {&place, "begin", OTIMES_I64, j->begin, "first byte of the text that a token stands for",
         "byte", "counted from 0; the whole of a character that is divided", texts},
        {&place, "end", OTIMES_I64, j->end, "byte behind the last one that a token stands for",
         "byte", "begin for an added special token", texts},
        {&input, "text", OTIMES_TEXT, j->text, "text as it was given", "1",
         "U+FFFD for what is no UTF-8, <0x00> for NUL", texts},
        {&input, "decoded", OTIMES_TEXT, j->decoded, "text that the ids decode to", "1",
         "special tokens left out; <0x00> for NUL", true},
        {&input, "token_count", OTIMES_I64, j->token_count, "tokens of an input", "1",
         "special tokens included", true},
    };
    otimes_array array[sizeof rows / sizeof *rows];
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof rows / sizeof *rows; i++) {
        int id;
        array[i] = (otimes_array){.name = rows[i].name,
                                  .type = rows[i].type,
                                  .ndim = 1,
                                  .axis = {rows[i].axis},
                                  .long_name = rows[i].long_name,
                                  .units = rows[i].units,
                                  .formula = rows[i].formula,
                                  .orientation = rows[i].axis == &place ? "one entry a token"
                                                                        : "one entry an input"};
        if (!rows[i].given) {
            continue;
        }
        rc = otimes_sink_declare(sink, &array[i], &id, err);
        if (rc == OTIMES_OK && rows[i].axis->length > 0) {
            rc = otimes_sink_slab(sink, &array[i], id, 0, rows[i].axis->length, rows[i].data, err);
        }
    }
    return rc == OTIMES_OK ? otimes_sink_finish(sink, err) : rc;
}

int otimes_tokens(const otimes_tokenizer *tokenizer, const otimes_tokens_settings *settings,
                  otimes_sink *sink, otimes_err *err)
{
    job j = {.tokenizer = tokenizer, .settings = settings};
    if (settings->text ? settings->text_count < 0 : !settings->id || settings->id_count < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "tokens: expected texts or ids, got neither");
    }
    j.inputs = settings->text ? settings->text_count : 1;
    int rc = encode(&j, err);
    if (rc == OTIMES_OK) {
        rc = make_room(&j, err);
    }
    if (rc == OTIMES_OK) {
        rc = fill(&j, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_facts(&j, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_arrays(&j, sink, err);
    }
    free_job(&j);
    return rc;
}
