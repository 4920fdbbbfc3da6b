/* SPDX-License-Identifier: MIT */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

char *otimes_strndup(const char *text, size_t length)
{
    char *copy = otimes_alloc((int64_t)length + 1, 1);
    if (copy) {
        memcpy(copy, text, length);
    }
    return copy;
}

char *otimes_strdup(const char *text)
{
    return otimes_strndup(text, strlen(text));
}

int otimes_new_(void **ptr, int64_t count, size_t size, const char *what, otimes_err *err)
{
    *ptr = otimes_alloc(count, size);
    if (!*ptr) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: %s: %lld items of %zu bytes",
                           what[0] == '&' ? what + 1 : what, (long long)count, size);
    }
    return OTIMES_OK;
}

int otimes_grow_(void **ptr, int64_t count, int64_t *capacity, size_t size, otimes_err *err)
{
    if (count < *capacity) {
        return OTIMES_OK;
    }
    const int64_t wanted = *capacity ? 2 * *capacity : 16;
    void *grown = otimes_realloc(*ptr, wanted, size);
    if (!grown) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: list of %lld items",
                           (long long)wanted);
    }
    *ptr = grown;
    *capacity = wanted;
    return OTIMES_OK;
}

void *otimes_pool_new(otimes_pool *pool, int64_t count, size_t size, int *rc, otimes_err *err)
{
    void *block = NULL;
    if (*rc == OTIMES_OK) {
        *rc = OTIMES_GROW(&pool->block, pool->count, &pool->capacity, err);
    }
    if (*rc == OTIMES_OK) {
        *rc = otimes_new_(&block, count, size, "buffer", err);
    }
    if (*rc == OTIMES_OK) {
        pool->block[pool->count++] = block;
    }
    return block;
}

void otimes_pool_free(otimes_pool *pool)
{
    for (int64_t i = 0; i < pool->count; i++) {
        otimes_free(pool->block[i]);
    }
    otimes_free(pool->block);
    *pool = (otimes_pool){0};
}

/* Room for so many bytes more and a NUL. */
static int reserve(otimes_text *text, int64_t length, otimes_err *err)
{
    if (text->length + length + 1 <= text->capacity) {
        return OTIMES_OK;
    }
    const int64_t capacity = 2 * (text->length + length) + 64;
    char *grown = otimes_realloc(text->data, capacity, 1);
    if (!grown) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: text of %lld bytes",
                           (long long)capacity);
    }
    text->data = grown;
    text->capacity = capacity;
    return OTIMES_OK;
}

int otimes_text_add(otimes_text *text, otimes_err *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) { /* unreached: only for formats that are wrong */
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "text cannot be formatted: %s", format);
    }
    const int rc = reserve(text, length, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    va_start(args, format);
    vsnprintf(text->data + text->length, (size_t)length + 1, format, args);
    va_end(args);
    text->length += length;
    return OTIMES_OK;
}

int otimes_text_put(otimes_text *text, const char *bytes, int64_t length, otimes_err *err)
{
    const int rc = reserve(text, length, err);
    if (rc == OTIMES_OK) {
        memcpy(text->data + text->length, bytes, (size_t)length);
        text->length += length;
        text->data[text->length] = '\0';
    }
    return rc;
}

void otimes_text_free(otimes_text *text)
{
    otimes_free(text->data);
    *text = (otimes_text){0};
}

void otimes_text_release(char **text)
{
    if (text) {
        otimes_free(*text);
        *text = NULL;
    }
}
