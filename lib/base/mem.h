/* SPDX-License-Identifier: MIT
 *
 * Memory. Sizes are products of counts and are checked; alloc.c alone asks the system.
 */
#ifndef OTIMES_BASE_MEM_H
#define OTIMES_BASE_MEM_H

#include <stdbool.h>

#include "base/err.h"

/* *product = a * b; false when a factor is negative or the product exceeds INT64_MAX. */
static inline bool otimes_mul_i64(int64_t a, int64_t b, int64_t *product)
{
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, product);
}

/* Zeroed memory for count items of size bytes, aligned for vector loads, or NULL; never fails for
 * count 0 (a valid pointer to nothing). Tests replace this function to make it fail. */
void *otimes_alloc(int64_t count, size_t size);

/* Grows or shrinks to count items; what is new is not initialised. NULL leaves the old block. */
void *otimes_realloc(void *block, int64_t count, size_t size);

/* Accepts NULL. */
void otimes_free(void *block);

/* Copies of text; NULL when memory lacks. */
char *otimes_strdup(const char *text);
char *otimes_strndup(const char *text, size_t length);

/* Memory for `count` items of what *ptr points to, or a filled err: the form every caller uses.
 *     int rc = OTIMES_NEW(&rows, n, err);  */
#define OTIMES_NEW(ptr, count, err) \
    otimes_new_((void **)(ptr), (count), sizeof **(ptr), #ptr, (err))
int otimes_new_(void **ptr, int64_t count, size_t size, const char *what, otimes_err *err);

/* Makes room for one more item in an owned array of *capacity items that holds count. */
#define OTIMES_GROW(ptr, count, capacity, err) \
    otimes_grow_((void **)(ptr), (count), (capacity), sizeof **(ptr), (err))
int otimes_grow_(void **ptr, int64_t count, int64_t *capacity, size_t size, otimes_err *err);

/* Blocks that live and die together: the buffers of one piece of work. A zeroed pool is empty. */
typedef struct otimes_pool {
    void **block;
    int64_t count, capacity;
} otimes_pool;

/* A zeroed block of the pool's, or NULL with *rc and err set. Does nothing when *rc is an error
 * already, so that a list of buffers needs one check at its end. */
void *otimes_pool_new(otimes_pool *pool, int64_t count, size_t size, int *rc, otimes_err *err);
void otimes_pool_free(otimes_pool *pool);

/* Text that grows; a zeroed one is empty. data is NUL-terminated once something was added. */
typedef struct otimes_text {
    char *data;
    int64_t length, capacity;
} otimes_text;

int otimes_text_add(otimes_text *text, otimes_err *err, const char *format, ...)
    OTIMES_PRINTF(3, 4);
/* Bytes as they are, NULs too. */
int otimes_text_put(otimes_text *text, const char *bytes, int64_t length, otimes_err *err);
void otimes_text_free(otimes_text *text);

#endif
