/* SPDX-License-Identifier: MIT
 *
 * How fast a text is encoded, in one thread: bench_tokens TOKENIZER FILE [REPEATS]. FILE holds
 * documents with NUL between them. Prints one line of JSON: the seconds of each repeat, and bytes,
 * tokens and a checksum of all ids, by which run_tokens.py holds them against its peer's.
 */
#include <otimes/parse.h>
#include <otimes/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    if (file && !fseek(file, 0, SEEK_END)) {
        const long size = ftell(file);
        rewind(file);
        text = size >= 0 ? malloc((size_t)size + 1) : NULL;
        *bytes = text ? fread(text, 1, (size_t)size, file) : 0;
    }
    if (file) {
        fclose(file);
    }
    return text;
}

/* Ids of every document into a sum that depends on their order. */
static int encode_all(const otimes_tokenizer *tokenizer, const char *text, size_t bytes,
                      int64_t *tokens, uint64_t *sum, otimes_err *err)
{
    *tokens = 0;
    *sum = 0;
    for (const char *at = text, *end = text + bytes; at < end;) {
        const char *stop = memchr(at, '\0', (size_t)(end - at));
        stop = stop ? stop : end;
        otimes_encoding e;
        const int rc = otimes_encode(tokenizer, at, stop - at, OTIMES_BOS_NEVER, &e, err);
        if (rc) {
            return rc;
        }
        for (int64_t i = 0; i < e.count; i++) {
            *sum += (uint64_t)e.id[i] * (uint64_t)(++*tokens);
        }
        otimes_encoding_free(&e);
        at = stop + 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    otimes_tokenizer *tokenizer = NULL;
    otimes_err err = {0};
    int64_t tokens = 0, repeats = 1;
    uint64_t sum = 0;
    size_t bytes = 0;
    int rc = argc < 3 || argc > 4;
    if (rc) {
        fputs("usage: bench_tokens TOKENIZER FILE [REPEATS]\n", stderr);
        return 2;
    }
    if (argc == 4) {
        rc = otimes_parse_i64(argv[3], "REPEATS", 1, 1000, &repeats, &err);
    }
    char *text = read_file(argv[2], &bytes);
    if (!text) {
        fprintf(stderr, "bench_tokens: %s: cannot be read\n", argv[2]);
        return 1;
    }
    if (!rc) {
        rc = otimes_tokenizer_open(&tokenizer, argv[1], &err);
    }
    for (int64_t i = 0; i < repeats && !rc; i++) {
        const double start = seconds();
        rc = encode_all(tokenizer, text, bytes, &tokens, &sum, &err);
        if (!rc) {
            printf("%s%.6f", i ? ", " : "{\"seconds\": [", seconds() - start);
        }
    }
    if (rc) {
        fprintf(stderr, "bench_tokens: %s\n", err.msg);
    } else {
        printf("], \"bytes\": %zu, \"tokens\": %lld, \"sum\": %llu}\n", bytes, (long long)tokens,
               (unsigned long long)sum);
    }
    otimes_tokenizer_close(&tokenizer);
    free(text);
    return rc ? 1 : 0;
}
