/* SPDX-License-Identifier: MIT */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fail.h"
#include "select.h"

/* ---- texts ---- */

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

int texts_read(texts *out, const common_options *options, otimes_err *err)
{
    size_t bytes = 0;
    if (options->text && options->text_file) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--text: cannot stand beside --text-file");
    }
    if (options->text_file) {
        const int rc = read_file(options->text_file, &out->memory, &bytes, err);
        return rc ? rc : cut_lines(out, bytes, options->text_file, err);
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

void texts_free(texts *all)
{
    free(all->text);
    free(all->bytes);
    free(all->memory);
    *all = (texts){0};
}

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

static int open_tokenizer(otimes_tokenizer **tokenizer, const common_options *options,
                          otimes_err *err)
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

static int from_ids(sequences *out, const common_options *options, int64_t limit, otimes_err *err)
{
    otimes_index_list list;
    const int rc = text_ids(options->tokens, "--tokens", limit, &list, err);
    if (rc) {
        return rc;
    }
    out->ids = list.index;
    out->of = calloc(1, sizeof *out->of);
    if (!out->of) {
        return fail_memory(err, "--tokens");
    }
    out->count = 1;
    out->of[0].id = list.index;
    out->of[0].count = list.count;
    return 0;
}

/* A tokenizer may know more tokens than the model has rows. */
static int check_ids(const otimes_encoding *e, int64_t limit, const otimes_tokenizer *tokenizer,
                     otimes_err *err)
{
    for (int64_t i = 0; i < e->count; i++) {
        if (e->id[i] >= limit) {
            return fail(err, OTIMES_ERR_UNSUPPORTED,
                        "%s: token %lld: expected ids below %lld, the model's vocabulary",
                        otimes_tokenizer_describe(tokenizer)->path, (long long)e->id[i],
                        (long long)limit);
        }
    }
    return 0;
}

static int from_texts(sequences *out, const texts *all, const common_options *options,
                      int64_t limit, otimes_err *err)
{
    otimes_tokenizer *tokenizer = NULL;
    int rc = open_tokenizer(&tokenizer, options, err);
    if (rc) {
        return rc;
    }
    out->of = calloc((size_t)all->count, sizeof *out->of);
    if (!out->of) {
        rc = fail_memory(err, "--text");
    }
    for (int64_t i = 0; i < all->count && !rc; i++) {
        rc = otimes_encode(tokenizer, all->text[i], all->bytes[i], text_bos(options), &out->of[i],
                           err);
        out->count = i + 1;
        if (!rc) {
            rc = check_ids(&out->of[i], limit, tokenizer, err);
        }
    }
    otimes_tokenizer_close(&tokenizer);
    return rc;
}

int sequences_read(sequences *out, const common_options *options, int64_t limit, otimes_err *err)
{
    texts all = {0};
    if (options->tokens && (options->text || options->text_file)) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--tokens: cannot stand beside --text%s",
                    options->text ? "" : "-file");
    }
    if (options->tokens) {
        return from_ids(out, options, limit, err);
    }
    int rc = texts_read(&all, options, err);
    if (!rc && !all.count) {
        rc = fail(err, OTIMES_ERR_ARGUMENT,
                  "--text: expected a text, a --text-file or --tokens, got none");
    }
    if (!rc) {
        rc = from_texts(out, &all, options, limit, err);
    }
    texts_free(&all);
    return rc;
}

void sequences_free(sequences *all)
{
    for (int64_t i = 0; !all->ids && i < all->count; i++) {
        otimes_encoding_free(&all->of[i]);
    }
    free(all->of);
    free(all->ids);
    *all = (sequences){0};
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int distinct(const sequences *all, otimes_index_list *list, otimes_err *err)
{
    int64_t total = 0, kept = 0;
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
    qsort(list->index, (size_t)total, sizeof *list->index, by_value);
    for (int64_t i = 0; i < total; i++) {
        if (!kept || list->index[i] != list->index[kept - 1]) {
            list->index[kept++] = list->index[i];
        }
    }
    list->count = kept;
    return 0;
}

int text_vocabulary(const common_options *options, int64_t limit, otimes_index_list *list,
                    otimes_err *err)
{
    sequences all = {0};
    if (!options->text && !options->text_file) {
        return select_indices(options->tokens, "--tokens", limit, list, err);
    }
    int rc = sequences_read(&all, options, limit, err);
    if (!rc) {
        rc = distinct(&all, list, err);
    }
    sequences_free(&all);
    return rc;
}
