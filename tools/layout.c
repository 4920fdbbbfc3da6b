/* SPDX-License-Identifier: MIT */
#include "layout.h"

#define CHUNK_BYTES ((int64_t)1 << 20)
/* A text in HDF5: its length, and where in which heap it lies. */
#define TEXT_REFERENCE 16
#define RUN_BYTES ((int64_t)4 << 20)

static int64_t element_bytes(const otimes_array *about)
{
    return about->type == OTIMES_TEXT ? TEXT_REFERENCE : (int64_t)otimes_type_size(about->type);
}

static int64_t times(int64_t a, int64_t b)
{
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

void layout_chunk(const otimes_array *about, int64_t *chunk)
{
    int64_t bytes = element_bytes(about);
    for (int i = 0; i < about->ndim; i++) {
        const int64_t length = about->axis[i]->length, wish = about->chunk[i];
        chunk[i] = wish > 0 && wish < length ? wish : length;
        bytes = times(bytes, chunk[i]);
    }
    for (int i = 0; i < about->ndim && bytes > CHUNK_BYTES; i++) {
        if (about->chunk[i] > 0) {
            continue;
        }
        int64_t row = element_bytes(about);
        for (int k = 0; k < about->ndim; k++) {
            row = times(row, k == i ? 1 : chunk[k]);
        }
        chunk[i] = row >= CHUNK_BYTES ? 1 : CHUNK_BYTES / row;
        bytes = times(row, chunk[i]);
    }
    for (int i = 0; i < about->ndim; i++) {
        const int64_t length = about->axis[i]->length;
        if (about->chunk[i] <= 0) {
            chunk[i] = divide_up(length, divide_up(length, chunk[i]));
        }
    }
}

int64_t layout_entry_bytes(const otimes_array *about)
{
    int64_t bytes = element_bytes(about);
    for (int i = 0; i < about->ndim; i++) {
        bytes = times(bytes, about->axis[i]->length);
    }
    return bytes;
}

int64_t layout_bytes(const otimes_array *about)
{
    int64_t chunk[OTIMES_MAX_DIMS], bytes = element_bytes(about);
    if (layout_entry_bytes(about) <= 0) {
        return 0;
    }
    layout_chunk(about, chunk);
    for (int i = 0; i < about->ndim; i++) {
        bytes = times(bytes, times(divide_up(about->axis[i]->length, chunk[i]), chunk[i]));
    }
    return bytes;
}

int layout_is_run(const otimes_array *about)
{
    return about->whole && about->ndim > 0 && about->type != OTIMES_TEXT &&
           layout_entry_bytes(about) >= RUN_BYTES && layout_bytes(about) < INT64_MAX;
}
