/* SPDX-License-Identifier: MIT
 *
 * The frame of an execution: what memory the library and its JSON reader hold, held against the
 * input's size, and all given back at the end.
 */
#include "fuzz.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/mem.h"
#include "system.h"

static size_t held, allowed, size;
static bool counting;

void *__real_otimes_alloc(int64_t count, size_t bytes);
void *__real_otimes_realloc(void *block, int64_t count, size_t bytes);
void __real_otimes_free(void *block);
void *__wrap_otimes_alloc(int64_t count, size_t bytes);
void *__wrap_otimes_realloc(void *block, int64_t count, size_t bytes);
void __wrap_otimes_free(void *block);

void fuzz_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("fuzz: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

/* Asked before the allocation, which may be too large for any machine. */
static void want(size_t bytes)
{
    if (counting && held + bytes > allowed) {
        fuzz_fail("%zu bytes of memory wanted, %zu held, for an input of %zu: expected %zu at most",
                  bytes, held, size, allowed);
    }
}

static void *take(void *block)
{
    held += counting && block ? malloc_usable_size(block) : 0;
    return block;
}

static void *give(void *block)
{
    held -= counting && block ? malloc_usable_size(block) : 0;
    return block;
}

/* A product beyond all memory fails in the library itself. */
static size_t product(int64_t count, size_t bytes)
{
    int64_t all;
    return otimes_mul_i64(count, (int64_t)bytes, &all) ? (size_t)all : 0;
}

void *__wrap_otimes_alloc(int64_t count, size_t bytes)
{
    want(product(count, bytes));
    return take(__real_otimes_alloc(count, bytes));
}

void *__wrap_otimes_realloc(void *block, int64_t count, size_t bytes)
{
    want(product(count, bytes));
    give(block);
    void *grown = __real_otimes_realloc(block, count, bytes);
    take(grown ? grown : block);
    return grown;
}

void __wrap_otimes_free(void *block)
{
    __real_otimes_free(give(block));
}

static void *json_take(size_t bytes)
{
    want(bytes);
    return take(malloc(bytes));
}

static void json_give(void *block)
{
    free(give(block));
}

void fuzz_begin(size_t bytes)
{
    json_set_alloc_funcs(json_take, json_give);
    held = 0;
    size = bytes;
    allowed = FUZZ_FACTOR * bytes + FUZZ_CONSTANT;
    counting = true;
    fuzz_system_begin();
}

void fuzz_end(void)
{
    fuzz_system_end();
    counting = false;
    if (held != 0) {
        fuzz_fail("%zu bytes of memory were not given back", held);
    }
}

void fuzz_gpt2_config(void)
{
    static const char config[] = "{\"model_type\":\"gpt2\",\"n_embd\":2,\"n_head\":1,\"n_layer\":1,"
                                 "\"vocab_size\":3,\"n_positions\":2}";
    fuzz_file("config.json", config, sizeof config - 1);
}

const char *fuzz_path(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", FUZZ_FOLDER, name);
    return path;
}

const void *fuzz_source(const char *relative, size_t *bytes)
{
    char path[4096];
    struct stat st;
    const char *root = getenv("OTIMES_SOURCE");
    snprintf(path, sizeof path, "%s/%s", root ? root : ".", relative);
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &st) != 0 || st.st_size == 0) {
        fuzz_fail("%s: cannot be read (OTIMES_SOURCE is the source tree)", path);
    }
    *bytes = (size_t)st.st_size;
    char *data = malloc(*bytes);
    if (!data || fread(data, 1, *bytes, file) != *bytes) {
        fuzz_fail("%s: cannot be read", path);
    }
    fclose(file);
    return data;
}
