/* SPDX-License-Identifier: MIT
 *
 * Memory of a pickle's values: cut from chunks that are freed together, so that no value has to be
 * found again, however deep or circular the structure.
 */
#include "format/pickle_value.h"

#include <string.h>

enum {
    CHUNK_BYTES = 65536,
    ALIGNMENT = 8,
    BYTES_PER_BYTE = 256, /* an opcode of one byte makes a value of 32 and a pointer to it */
    BYTES_AT_LEAST = 1 << 20,
};

/* A pickle whose values take more is no state dict. */
#define MOST_BYTES ((int64_t)1 << 32)

void *otimes_pickle_memory(otimes_pickle *machine, int64_t count, size_t size, int *rc)
{
    int64_t bytes;
    if (*rc != OTIMES_OK) {
        return NULL;
    }
    if (!otimes_mul_i64(count, (int64_t)size, &bytes) ||
        bytes > INT64_MAX - ALIGNMENT) { /* unreached: too many to hold */
        *rc = otimes_fail(machine->err, OTIMES_ERR_MEMORY, "%s: pickle: out of memory: %lld items",
                          machine->path, (long long)count);
        return NULL;
    }
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    const int64_t limit = machine->at < MOST_BYTES / BYTES_PER_BYTE
                              ? machine->at * BYTES_PER_BYTE + BYTES_AT_LEAST
                              : MOST_BYTES;
    if (bytes > limit - machine->used) {
        *rc = OTIMES_PICKLE_FAIL(machine, "values take many times the bytes read, more than %lld",
                                 (long long)limit);
        return NULL;
    }
    machine->used += bytes;
    if (bytes > CHUNK_BYTES / 4) {
        return otimes_pool_new(&machine->pool, bytes, 1, rc, machine->err);
    }
    if (bytes > machine->chunk_left) {
        machine->chunk = otimes_pool_new(&machine->pool, CHUNK_BYTES, 1, rc, machine->err);
        machine->chunk_left = machine->chunk ? CHUNK_BYTES : 0;
        if (!machine->chunk) {
            return NULL;
        }
    }
    void *block = machine->chunk;
    machine->chunk += bytes;
    machine->chunk_left -= bytes;
    return block;
}

int otimes_pickle_new(otimes_pickle *machine, otimes_pickle_kind kind, otimes_pickle_value **value)
{
    int rc = OTIMES_OK;
    *value = otimes_pickle_memory(machine, 1, sizeof **value, &rc);
    if (rc == OTIMES_OK) {
        (*value)->kind = kind;
    }
    return rc;
}

int otimes_pickle_new_int(otimes_pickle *machine, int64_t integer, otimes_pickle_value **value)
{
    const int rc = otimes_pickle_new(machine, OTIMES_PICKLE_INT, value);
    if (rc == OTIMES_OK) {
        (*value)->integer = integer;
    }
    return rc;
}

int otimes_pickle_new_float(otimes_pickle *machine, double real, otimes_pickle_value **value)
{
    const int rc = otimes_pickle_new(machine, OTIMES_PICKLE_FLOAT, value);
    if (rc == OTIMES_OK) {
        (*value)->real = real;
    }
    return rc;
}

int otimes_pickle_new_text(otimes_pickle *machine, otimes_pickle_kind kind, const void *data,
                           int64_t length, otimes_pickle_value **value)
{
    const int rc = otimes_pickle_new(machine, kind, value);
    if (rc == OTIMES_OK) {
        (*value)->text = (otimes_pickle_text){data, length};
    }
    return rc;
}

int otimes_pickle_new_items(otimes_pickle *machine, otimes_pickle_kind kind,
                            otimes_pickle_value **item, int64_t count, otimes_pickle_value **value)
{
    const int rc = otimes_pickle_new(machine, kind, value);
    return rc == OTIMES_OK ? otimes_pickle_extend(machine, *value, item, count) : rc;
}

/* Shared by all machines and never written to: only containers change after they were made. */
otimes_pickle_value *otimes_pickle_none(void)
{
    static const otimes_pickle_value none = {.kind = OTIMES_PICKLE_NONE};
    return (otimes_pickle_value *)&none;
}

otimes_pickle_value *otimes_pickle_bool(bool value)
{
    static const otimes_pickle_value truth[] = {
        {.kind = OTIMES_PICKLE_BOOL, .integer = 0},
        {.kind = OTIMES_PICKLE_BOOL, .integer = 1},
    };
    return (otimes_pickle_value *)&truth[value];
}

/* Room doubles; what was outgrown stays in the chunks, at most as much again. */
int otimes_pickle_extend(otimes_pickle *machine, otimes_pickle_value *container,
                         otimes_pickle_value **item, int64_t count)
{
    otimes_pickle_items *items = &container->items;
    int rc = OTIMES_OK;
    if (count == 0) {
        return OTIMES_OK;
    }
    if (items->count + count > items->capacity) {
        int64_t wanted = items->capacity ? 2 * items->capacity : count;
        wanted = wanted < items->count + count ? items->count + count : wanted;
        otimes_pickle_value **grown =
            otimes_pickle_memory(machine, wanted, sizeof(otimes_pickle_value *), &rc);
        if (rc != OTIMES_OK) {
            return rc;
        }
        if (items->count > 0) {
            memcpy(grown, items->item, (size_t)items->count * sizeof *grown);
        }
        items->item = grown;
        items->capacity = wanted;
    }
    memcpy(items->item + items->count, item, (size_t)count * sizeof *item);
    items->count += count;
    return OTIMES_OK;
}

const char *otimes_pickle_kind_name(otimes_pickle_kind kind)
{
    switch (kind) {
    case OTIMES_PICKLE_NONE:
        return "None";
    case OTIMES_PICKLE_BOOL:
        return "a bool";
    case OTIMES_PICKLE_INT:
    case OTIMES_PICKLE_BIG:
        return "an integer";
    case OTIMES_PICKLE_FLOAT:
        return "a float";
    case OTIMES_PICKLE_TEXT:
        return "a text";
    case OTIMES_PICKLE_BYTES:
        return "bytes";
    case OTIMES_PICKLE_TUPLE:
        return "a tuple";
    case OTIMES_PICKLE_LIST:
        return "a list";
    case OTIMES_PICKLE_SET:
        return "a set";
    case OTIMES_PICKLE_DICT:
        return "a dict";
    case OTIMES_PICKLE_GLOBAL:
        return "a global";
    case OTIMES_PICKLE_STORAGE_TYPE:
        return "a storage type";
    case OTIMES_PICKLE_DTYPE:
    case OTIMES_PICKLE_NUMPY_DTYPE:
        return "a dtype";
    case OTIMES_PICKLE_STORAGE:
        return "a storage";
    case OTIMES_PICKLE_TENSOR:
        return "a tensor";
    case OTIMES_PICKLE_OPAQUE:
        return "an object";
    }
    return "no value"; /* unreached: all cases return */
}
