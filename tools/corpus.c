/* SPDX-License-Identifier: MIT */
#include "corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "jsonl.h"
#include "text.h"

/* Bytes of text between two questions whether to go on. */
enum { ASK_BYTES = 1 << 18 };

typedef struct reading {
    const common_options *options;
    const char *name; /* of the file, in errors */
    int64_t limit;
    otimes_tokenizer *tokenizer; /* once there is a text to encode */
    otimes_bigram_counts *counts;
    int json;
    int64_t line, pairs;
} reading;

static int add_ids(reading *r, const int64_t *id, int64_t count, const char *where, otimes_err *err)
{
    const int rc = text_check_ids(id, count, r->limit, where, err);
    r->pairs += count > 1 ? count - 1 : 0;
    return rc ? rc : otimes_bigram_counts_add(r->counts, id, count, err);
}

static int add_text(reading *r, const char *text, int64_t bytes, const char *where, otimes_err *err)
{
    otimes_encoding e = {0};
    int rc = text_check_utf8(text, bytes, OTIMES_ERR_FORMAT, where, err);
    if (!rc && !r->tokenizer) {
        rc = text_tokenizer(&r->tokenizer, r->options, err);
    }
    if (!rc) {
        rc = text_encode(&e, r->tokenizer, text, bytes, text_bos(r->options), where, err);
    }
    if (!rc) {
        rc = add_ids(r, e.id, e.count, where, err);
    }
    otimes_encoding_free(&e);
    return rc;
}

static int add_line(reading *r, char *line, int64_t bytes, otimes_err *err)
{
    const char *field = r->options->json_field ? r->options->json_field : "text";
    jsonl_line read = {.bytes = bytes};
    char where[512];
    snprintf(where, sizeof where, "--corpus: %.400s:%lld", r->name, (long long)++r->line);
    int rc = r->json ? jsonl_read(&read, line, bytes, field, where, err) : 0;
    if (!rc && read.ids.index) {
        rc = add_ids(r, read.ids.index, read.ids.count, where, err);
    } else if (!rc && read.bytes) {
        rc = add_text(r, line, read.bytes, where, err);
    }
    otimes_index_list_free(&read.ids);
    return rc;
}

static int add_file(reading *r, FILE *file, otimes_sink *sink, otimes_err *err)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes = 0;
    int64_t unasked = 0;
    int rc = 0;
    while (!rc && (bytes = getline(&line, &room, file)) >= 0) {
        rc = add_line(r, line, bytes - (bytes > 0 && line[bytes - 1] == '\n'), err);
        unasked += bytes;
        if (!rc && unasked > ASK_BYTES && sink->ops->progress) {
            unasked = 0;
            rc = sink->ops->progress(sink, 0, 1)
                     ? fail(err, OTIMES_ERR_CANCELLED, "%s", otimes_strerror(OTIMES_ERR_CANCELLED))
                     : 0;
        }
    }
    if (!rc && !feof(file)) {
        rc = ferror(file) ? fail_errno(err, r->name, "cannot be read") : fail_memory(err, r->name);
    }
    free(line);
    return rc;
}

int corpus_read(otimes_bigram_counts **counts, const common_options *options, const char *path,
                int64_t limit, otimes_sink *sink, otimes_err *err)
{
    const int standard = !strcmp(path, "-");
    reading r = {.options = options,
                 .name = standard ? "standard input" : path,
                 .limit = limit,
                 .json = options->json_field || jsonl_is_name(path)};
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (!file) {
        return fail_errno(err, path, "cannot be opened");
    }
    int rc = otimes_bigram_counts_new(&r.counts, err);
    if (!rc) {
        rc = add_file(&r, file, sink, err);
    }
    if (!rc && !r.pairs) {
        rc = fail(err, OTIMES_ERR_FORMAT, "--corpus: %s: expected two tokens in a row, got none",
                  r.name);
    }
    if (!standard) {
        fclose(file);
    }
    otimes_tokenizer_close(&r.tokenizer);
    if (rc) {
        otimes_bigram_counts_free(&r.counts);
    }
    *counts = r.counts;
    return rc;
}
