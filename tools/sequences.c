/* SPDX-License-Identifier: MIT
 *
 * From texts to the ids that a model is run on.
 */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fail.h"
#include "select.h"

/* ---- the tokenizer ---- */

/* Whether a file of weights can hold a tokenizer: GGUF alone does. */
static int holds_tokenizer(const char *path)
{
    char magic[4] = "";
    FILE *file = fopen(path, "rb");
    const int found = file && fread(magic, 1, 4, file) == 4 && !memcmp(magic, "GGUF", 4);
    if (file) {
        fclose(file);
    }
    return found;
}

int text_tokenizer(otimes_tokenizer **tokenizer, const common_options *options, otimes_err *err)
{
    const char *path = options->model, *slash = strrchr(path, '/');
    struct stat about;
    if (stat(path, &about) || !S_ISREG(about.st_mode) || holds_tokenizer(path)) {
        return otimes_tokenizer_open(tokenizer, path, err);
    }
    char *folder = slash ? strndup(path, (size_t)(slash - path) + (slash == path)) : strdup(".");
    const int rc = folder ? otimes_tokenizer_open(tokenizer, folder, err) : fail_memory(err, path);
    free(folder);
    return rc;
}

/* ---- ids ---- */

static int from_ids(sequences *out, const common_options *options, int64_t limit, otimes_err *err)
{
    out->of = calloc(1, sizeof *out->of);
    out->given = calloc(1, sizeof *out->given);
    if (!out->of || !out->given) {
        return fail_memory(err, "--tokens");
    }
    const int rc = text_ids(options->tokens, "--tokens", limit, out->given, err);
    out->count = 1;
    out->of[0] = (otimes_encoding){.count = out->given->count, .id = out->given->index};
    return rc;
}

/* Ids of JSON lines, or of a tokenizer that knows more tokens than the model has rows. */
int text_check_ids(const int64_t *id, int64_t count, int64_t limit, const char *where,
                   otimes_err *err)
{
    for (int64_t i = 0; i < count; i++) {
        if (id[i] >= limit) {
            return fail(err, OTIMES_ERR_UNSUPPORTED,
                        "%s: expected ids below %lld, the model's vocabulary, got %lld", where,
                        (long long)limit, (long long)id[i]);
        }
    }
    return 0;
}

int text_check_utf8(const char *text, int64_t bytes, int code, const char *where, otimes_err *err)
{
    const int64_t valid = otimes_utf8_valid(text, bytes);
    return valid < bytes ? fail(err, code, "%s: expected UTF-8, got 0x%02x at byte %lld", where,
                                (unsigned char)text[valid], (long long)valid)
                         : 0;
}

int text_encode(otimes_encoding *out, const otimes_tokenizer *tokenizer, const char *text,
                int64_t bytes, otimes_bos bos, const char *where, otimes_err *err)
{
    otimes_err why = {0};
    const int rc = otimes_encode(tokenizer, text, bytes, bos, out, &why);
    return rc ? fail(err, rc, "%s: %.3500s", where, why.msg) : 0;
}

static int from_texts(sequences *out, texts *all, const common_options *options, int64_t limit,
                      otimes_err *err)
{
    otimes_tokenizer *tokenizer = NULL;
    int rc = 0;
    out->of = calloc((size_t)all->count, sizeof *out->of);
    if (!out->of) {
        return fail_memory(err, "--text");
    }
    out->count = all->count;
    out->given = all->ids;
    all->ids = NULL;
    for (int64_t i = 0; i < all->count && !rc; i++) {
        const text_place where = text_place_of(all, i);
        if (out->given && out->given[i].index) {
            out->of[i] = (otimes_encoding){.count = out->given[i].count, .id = out->given[i].index};
        } else {
            rc = tokenizer ? 0 : text_tokenizer(&tokenizer, options, err);
            if (!rc) {
                rc = text_check_utf8(all->text[i], all->bytes[i],
                                     all->path ? OTIMES_ERR_FORMAT : OTIMES_ERR_ARGUMENT,
                                     where.name, err);
            }
            if (!rc) {
                rc = text_encode(&out->of[i], tokenizer, all->text[i], all->bytes[i],
                                 text_bos(options), where.name, err);
            }
        }
        if (!rc) {
            rc = text_check_ids(out->of[i].id, out->of[i].count, limit, where.name, err);
        }
    }
    otimes_tokenizer_close(&tokenizer);
    return rc;
}

/* Ids of --tokens or of texts, of which all stays for errors. */
static int read_sequences(sequences *out, texts *all, const common_options *options, int64_t limit,
                          otimes_err *err)
{
    if (options->tokens && (options->text || options->text_file)) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--tokens: cannot stand beside --text%s",
                    options->text ? "" : "-file");
    }
    if (options->tokens) {
        return from_ids(out, options, limit, err);
    }
    int rc = texts_read_lines(all, options, err);
    if (!rc && !all->count) {
        rc = fail(err, OTIMES_ERR_ARGUMENT,
                  "--text: expected a text, a --text-file or --tokens, got none");
    }
    return rc ? rc : from_texts(out, all, options, limit, err);
}

static int check_count(otimes_encoding *e, int64_t n_ctx, int truncate, const char *where,
                       otimes_err *err)
{
    if (!e->count) {
        return fail(err, OTIMES_ERR_ARGUMENT, "%s: expected at least one token, got none", where);
    }
    if (!n_ctx || e->count <= n_ctx) {
        return 0;
    }
    if (!truncate) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "%s: expected at most %lld tokens (n_ctx), got %lld; --truncate cuts it", where,
                    (long long)n_ctx, (long long)e->count);
    }
    e->count = n_ctx;
    return 0;
}

int sequences_read(sequences *out, const common_options *options, int64_t limit, int64_t n_ctx,
                   otimes_err *err)
{
    texts all = {0};
    int rc = read_sequences(out, &all, options, limit, err);
    for (int64_t i = 0; i < out->count && !rc; i++) {
        const text_place where = text_place_of(&all, i);
        rc = check_count(&out->of[i], n_ctx, options->truncate,
                         options->tokens ? "--tokens" : where.name, err);
    }
    texts_free(&all);
    return rc;
}

void sequences_free(sequences *all)
{
    for (int64_t i = 0; i < all->count; i++) {
        otimes_encoding_free(&all->of[i]); /* has no memory of its own where ids were given */
    }
    text_free_lists(all->given, all->count);
    free(all->of);
    free(all->length);
    free(all->id);
    *all = (sequences){0};
}

int sequences_view(sequences *all, otimes_sequences *view, otimes_err *err)
{
    free(all->length);
    free(all->id);
    all->length = calloc((size_t)all->count + 1, sizeof *all->length);
    all->id = calloc((size_t)all->count + 1, sizeof *all->id);
    if (!all->length || !all->id) {
        return fail_memory(err, "--text");
    }
    for (int64_t i = 0; i < all->count; i++) {
        all->length[i] = all->of[i].count;
        all->id[i] = all->of[i].id;
    }
    *view = (otimes_sequences){all->count, all->length, all->id};
    return 0;
}

static int distinct(const sequences *all, otimes_index_list *list, otimes_err *err)
{
    int64_t total = 0;
    for (int64_t s = 0; s < all->count; s++) {
        total += all->of[s].count;
    }
    if (!total) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--text: expected at least one token, got none");
    }
    list->index = malloc((size_t)total * sizeof *list->index);
    if (!list->index) {
        return fail_memory(err, "--text");
    }
    for (int64_t s = 0; s < all->count; s++) {
        for (int64_t i = 0; i < all->of[s].count; i++) {
            list->index[list->count++] = all->of[s].id[i];
        }
    }
    select_distinct(list);
    return 0;
}

int text_vocabulary(const common_options *options, int64_t limit, otimes_index_list *list,
                    otimes_err *err)
{
    sequences all = {0};
    texts lines = {0};
    if (!options->text && !options->text_file) {
        return select_indices(options->tokens, "--tokens", limit, list, err);
    }
    /* Empty lines of a file are no matter here. */
    int rc = read_sequences(&all, &lines, options, limit, err);
    if (!rc) {
        rc = distinct(&all, list, err);
    }
    texts_free(&lines);
    sequences_free(&all);
    return rc;
}

int sequences_positions(const char *text, const otimes_sequences *view,
                        otimes_index_list *positions, otimes_err *err)
{
    int64_t longest = 1;
    for (int64_t i = 0; i < view->count; i++) {
        longest = view->length[i] > longest ? view->length[i] : longest;
    }
    const int last = text && !strcmp(text, "last");
    return select_integers(last ? "-1" : text, "--positions", longest + 1, positions, err);
}
