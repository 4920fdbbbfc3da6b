/* SPDX-License-Identifier: MIT */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "jsonl.h"

static int is_standard(const char *path)
{
    return !strcmp(path, "-");
}

/* All of a stream, whatever it is: a pipe has no size to ask for. */
static int read_stream(FILE *from, const char *name, char **memory, size_t *bytes, otimes_err *err)
{
    size_t capacity = 0;
    *bytes = 0;
    for (;;) {
        if (*bytes == capacity) {
            capacity = capacity ? 2 * capacity : 65536;
            char *grown = realloc(*memory, capacity);
            if (!grown) {
                return fail_memory(err, name);
            }
            *memory = grown;
        }
        const size_t got = fread(*memory + *bytes, 1, capacity - *bytes, from);
        *bytes += got;
        if (!got) {
            return ferror(from) ? fail_errno(err, name, "cannot be read") : 0;
        }
    }
}

static int read_file(const char *path, char **memory, size_t *bytes, otimes_err *err)
{
    if (is_standard(path)) {
        return read_stream(stdin, "standard input", memory, bytes, err);
    }
    FILE *file = fopen(path, "rb");
    if (!file) {
        return fail_errno(err, path, "cannot be opened");
    }
    const int rc = read_stream(file, path, memory, bytes, err);
    fclose(file);
    return rc;
}

/* Each line a text; what follows the last newline is one too unless it is empty. */
static int cut_lines(texts *out, size_t bytes, const char *path, otimes_err *err)
{
    const char *end = out->memory + bytes;
    size_t lines = bytes && end[-1] != '\n';
    for (const char *c = out->memory; c < end && (c = memchr(c, '\n', (size_t)(end - c))); c++) {
        lines++;
    }
    if (!lines) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--text-file: %s: expected a text a line, got none",
                    path);
    }
    out->text = malloc(lines * sizeof *out->text);
    out->bytes = malloc(lines * sizeof *out->bytes);
    if (!out->text || !out->bytes) {
        return fail_memory(err, path);
    }
    for (const char *line = out->memory; line < end; out->count++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        out->text[out->count] = line;
        out->bytes[out->count] = (stop ? stop : end) - line;
        line = stop ? stop + 1 : end;
    }
    return 0;
}

text_place text_place_of(const texts *all, int64_t i)
{
    text_place where = {"--text"};
    if (all->path) {
        snprintf(where.name, sizeof where.name, "--text-file: %.400s:%lld", all->path,
                 (long long)i + 1);
    }
    return where;
}

/* Lines that were cut become what they say. */
static int read_json(texts *out, const char *field, otimes_err *err)
{
    jsonl_line line;
    out->ids = calloc((size_t)out->count, sizeof *out->ids);
    if (!out->ids) {
        return fail_memory(err, out->path);
    }
    for (int64_t i = 0; i < out->count; i++) {
        char *at = out->memory + (out->text[i] - out->memory);
        const text_place where = text_place_of(out, i);
        const int rc =
            jsonl_read(&line, at, out->bytes[i], field ? field : "text", where.name, err);
        out->ids[i] = line.ids;
        out->bytes[i] = line.bytes;
        if (rc) {
            return rc;
        }
    }
    return 0;
}

int texts_read_lines(texts *out, const common_options *options, otimes_err *err)
{
    size_t bytes = 0;
    if (options->text && options->text_file) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--text: cannot stand beside --text-file");
    }
    if (options->json_field && !options->text_file) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--json-field: expected a --text-file, got none");
    }
    if (options->text_file) {
        const int json = options->json_field || jsonl_is_name(options->text_file);
        int rc = read_file(options->text_file, &out->memory, &bytes, err);
        out->path = options->text_file;
        if (!rc) {
            rc = cut_lines(out, bytes, options->text_file, err);
        }
        return rc || !json ? rc : read_json(out, options->json_field, err);
    }
    if (options->text) {
        out->text = malloc(sizeof *out->text);
        out->bytes = malloc(sizeof *out->bytes);
        if (!out->text || !out->bytes) {
            return fail_memory(err, "--text");
        }
        out->text[0] = options->text;
        out->bytes[0] = (int64_t)strlen(options->text);
        out->count = 1;
    }
    return 0;
}

int texts_read(texts *out, const common_options *options, otimes_err *err)
{
    int rc = texts_read_lines(out, options, err);
    for (int64_t i = 0; !rc && out->ids && i < out->count; i++) {
        if (out->ids[i].index) {
            rc = fail(err, OTIMES_ERR_ARGUMENT, "%s: expected a text, got token ids",
                      text_place_of(out, i).name);
        }
    }
    return rc;
}

void text_free_lists(otimes_index_list *list, int64_t count)
{
    for (int64_t i = 0; list && i < count; i++) {
        otimes_index_list_free(&list[i]);
    }
    free(list);
}

void texts_free(texts *all)
{
    text_free_lists(all->ids, all->count);
    free(all->text);
    free(all->bytes);
    free(all->memory);
    *all = (texts){0};
}

otimes_bos text_bos(const common_options *options)
{
    return options->bos < 0 ? OTIMES_BOS_AS_TRAINED
           : options->bos   ? OTIMES_BOS_ALWAYS
                            : OTIMES_BOS_NEVER;
}

/* ---- ids ---- */

static int add_range(otimes_index_list *list, int64_t first, int64_t last, const char *option,
                     otimes_err *err)
{
    int64_t *grown = realloc(list->index, (size_t)(list->count + last - first + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, option);
    }
    list->index = grown;
    for (int64_t id = first; id <= last; id++) {
        list->index[list->count++] = id;
    }
    return 0;
}

/* "7" or "3-5", cut out of its list. */
static int add_item(otimes_index_list *list, char *item, const char *option, int64_t limit,
                    otimes_err *err)
{
    int64_t first, last;
    char *dash = strchr(item, '-');
    if (dash && dash > item) {
        *dash = '\0';
    } else {
        dash = NULL;
    }
    int rc = otimes_parse_i64(item, option, 0, limit - 1, &first, err);
    last = first;
    if (!rc && dash) {
        rc = otimes_parse_i64(dash + 1, option, first, limit - 1, &last, err);
    }
    return rc ? rc : add_range(list, first, last, option, err);
}

int text_ids(const char *text, const char *option, int64_t limit, otimes_index_list *list,
             otimes_err *err)
{
    int rc = 0;
    *list = (otimes_index_list){NULL, 0};
    if (!text) {
        return 0;
    }
    char *copy = strdup(text), *item = copy;
    if (!copy) {
        return fail_memory(err, option);
    }
    for (int more = 1; more && !rc;) {
        char *end = item + strcspn(item, ",");
        more = *end != '\0';
        *end = '\0';
        rc = add_item(list, item, option, limit, err);
        item = end + 1;
    }
    free(copy);
    if (rc) {
        free(list->index);
        *list = (otimes_index_list){NULL, 0};
    }
    return rc;
}

/* ---- one token ---- */

/* A number below limit that is all there is of the text, or -1. */
static int64_t plain_id(const char *text, int64_t limit)
{
    int64_t id;
    if (!*text || text[strspn(text, "0123456789")] ||
        otimes_parse_i64(text, "id", 0, limit - 1, &id, NULL)) {
        return -1;
    }
    return id;
}

static int64_t labelled_id(const otimes_model *model, int output, const char *text, int64_t limit)
{
    for (int64_t id = 0; id < limit; id++) {
        const char *label =
            output ? otimes_model_output_token(model, id) : otimes_model_token(model, id);
        if (label && !strcmp(label, text)) {
            return id;
        }
    }
    return -1;
}

/* "it is cut into 'Mar' 'y'": the pieces of a text that is not one token. */
static void describe_pieces(const otimes_tokenizer *tokenizer, const otimes_encoding *e, char *text,
                            size_t size)
{
    size_t used = 0;
    for (int64_t i = 0; i < e->count && used + 1 < size; i++) {
        const char *piece = otimes_token_text(tokenizer, e->id[i]);
        const int n =
            snprintf(text + used, size - used, "%s'%s'", i ? " " : "", piece ? piece : "");
        used += n > 0 ? (size_t)n : 0;
    }
}

/* What the tokenizer makes of the text where that is one token. */
static int encoded_id(const common_options *options, const char *text, const char *option,
                      int64_t limit, int64_t *id, otimes_err *err)
{
    char pieces[200] = "";
    otimes_tokenizer *tokenizer = NULL;
    otimes_encoding e = {0};
    if (text_tokenizer(&tokenizer, options, NULL) ||
        otimes_encode(tokenizer, text, (int64_t)strlen(text), OTIMES_BOS_NEVER, &e, NULL)) {
        otimes_tokenizer_close(&tokenizer);
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "%s: '%s': expected a token of the vocabulary or an id from 0 to %lld, as 7 or "
                    "#7",
                    option, text, (long long)limit - 1);
    }
    *id = e.count == 1 && e.id[0] < limit ? e.id[0] : -1;
    describe_pieces(tokenizer, &e, pieces, sizeof pieces);
    const int64_t count = e.count;
    otimes_encoding_free(&e);
    otimes_tokenizer_close(&tokenizer);
    return *id >= 0 ? 0
                    : fail(err, OTIMES_ERR_ARGUMENT,
                           "%s: '%s': expected one token of the vocabulary, got %lld: %s", option,
                           text, (long long)count, pieces);
}

int token_by_text(const otimes_model *model, const common_options *options, const char *text,
                  const char *option, int64_t *id, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    *id = labelled_id(model, 1, text, info->d_vocab_out);
    if (*id < 0) {
        *id = plain_id(text + (text[0] == '#'), info->d_vocab_out);
    }
    if (*id >= 0) {
        return 0;
    }
    if (info->d_vocab != info->d_vocab_out) { /* the tokenizer knows input tokens alone */
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "%s: '%s': expected an output token or an id from 0 to %lld, as 7 or #7",
                    option, text, (long long)info->d_vocab_out - 1);
    }
    return encoded_id(options, text, option, info->d_vocab_out, id, err);
}

int input_token_by_text(const otimes_model *model, const common_options *options, const char *text,
                        const char *option, int64_t *id, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    *id = labelled_id(model, 0, text, info->d_vocab);
    if (*id < 0) {
        *id = plain_id(text + (text[0] == '#'), info->d_vocab);
    }
    return *id >= 0 ? 0 : encoded_id(options, text, option, info->d_vocab, id, err);
}
