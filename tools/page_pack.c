/* SPDX-License-Identifier: MIT
 *
 * Numbers as the page has them: no wider than what it shows of them.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "page_parts.h"

#define HALF_MAX 65504.0
/* From here on a half has its 11 bits down to entries of a two hundredth, and three digits that far. */
#define HALF_LEAST (1.0 / 64)
enum { ALIGNMENT = 8, UNDEFINED_U16 = 65535 };

static unsigned char *take(page_block *block, size_t bytes)
{
    if (bytes > block->room - block->used) {
        const size_t room = 2 * block->room + bytes + 4096;
        unsigned char *grown = room > bytes ? realloc(block->data, room) : NULL;
        if (!grown) {
            return NULL;
        }
        block->data = grown;
        block->room = room;
    }
    unsigned char *taken = block->data + block->used;
    memset(taken, 0, bytes);
    block->used += bytes;
    return taken;
}

static void put_bytes(unsigned char *to, uint64_t bits, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        to[i] = (unsigned char)(bits >> 8 * i);
    }
}

uint16_t page_half(double value)
{
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    const double size = fabs(value);
    int exponent;
    if (isnan(value)) {
        return 0x7e00;
    }
    if (size >= HALF_MAX + 16) { /* half of the last place above */
        return sign | 0x7c00;
    }
    (void)frexp(size, &exponent);
    exponent = exponent < -13 ? -13 : exponent; /* below 2^-14 the step stays that of 2^-14 */
    /* nearbyint rounds ties to even; a carry into the next exponent comes out right by adding. */
    const int steps = (int)nearbyint(ldexp(size, 11 - exponent));
    const int bits = steps < 1024 ? steps : ((exponent + 13) << 10) + steps;
    return (uint16_t)(sign | bits);
}

static double real_at(const page_array *a, int64_t i)
{
    switch (a->about.type) {
    case OTIMES_F32:
        return (double)((const float *)a->data)[i];
    case OTIMES_F64:
        return ((const double *)a->data)[i];
    default:
        return NAN;
    }
}

static int64_t integer_at(const page_array *a, int64_t i)
{
    return a->about.type == OTIMES_I32 ? ((const int32_t *)a->data)[i]
                                       : ((const int64_t *)a->data)[i];
}

static page_type type_of_reals(const page_array *a)
{
    double largest = 0;
    for (int64_t i = 0; i < a->count; i++) {
        const double size = fabs(real_at(a, i));
        largest = isfinite(size) && size > largest ? size : largest;
    }
    if (a->pack == PAGE_HALF && largest <= HALF_MAX && (largest >= HALF_LEAST || largest == 0)) {
        return PAGE_F16;
    }
    return largest <= FLT_MAX ? PAGE_F32 : PAGE_F64;
}

static page_type type_of_integers(const page_array *a)
{
    int64_t least = 0, most = 0;
    for (int64_t i = 0; i < a->count; i++) {
        const int64_t value = integer_at(a, i);
        least = value < least ? value : least;
        most = value > most ? value : most;
    }
    if (a->about.labels_of && least >= -1 && most < UNDEFINED_U16) {
        return PAGE_U16;
    }
    return least >= INT32_MIN && most <= INT32_MAX ? PAGE_I32 : PAGE_F64;
}

static page_type type_of(const page_array *a)
{
    switch (a->about.type) {
    case OTIMES_TEXT:
        return PAGE_TEXT;
    case OTIMES_F16:
        return PAGE_F16;
    case OTIMES_F32:
    case OTIMES_F64:
        return type_of_reals(a);
    default:
        return type_of_integers(a);
    }
}

static int is_integer(const page_array *a)
{
    return a->about.type == OTIMES_I32 || a->about.type == OTIMES_I64;
}

static void put_entry(const page_array *a, int64_t i, unsigned char *to)
{
    uint64_t bits = 0;
    float single;
    double value;
    switch (a->type) {
    case PAGE_F16:
        bits =
            a->about.type == OTIMES_F16 ? ((const uint16_t *)a->data)[i] : page_half(real_at(a, i));
        put_bytes(to, bits, 2);
        break;
    case PAGE_U16:
        put_bytes(to, (uint16_t)integer_at(a, i), 2); /* -1 becomes 65535 */
        break;
    case PAGE_F32:
        single = (float)real_at(a, i);
        memcpy(&bits, &single, sizeof single);
        put_bytes(to, bits, 4);
        break;
    case PAGE_I32:
        put_bytes(to, (uint32_t)integer_at(a, i), 4);
        break;
    case PAGE_F64:
        value = is_integer(a) ? (double)integer_at(a, i) : real_at(a, i);
        memcpy(&bits, &value, sizeof value);
        put_bytes(to, bits, 8);
        break;
    case PAGE_TEXT:
        break;
    }
}

int page_pack_array(page_block *block, page_array *array, otimes_err *err)
{
    static const size_t size[] = {
        [PAGE_F16] = 2, [PAGE_F32] = 4, [PAGE_F64] = 8, [PAGE_U16] = 2, [PAGE_I32] = 4};
    array->type = type_of(array);
    if (array->type == PAGE_TEXT) {
        return 0;
    }
    const size_t each = size[array->type], gap = -block->used % ALIGNMENT;
    unsigned char *to = take(block, gap + each * (size_t)array->count);
    if (!to) {
        return fail_memory(err, array->about.name);
    }
    array->at = block->used - each * (size_t)array->count;
    for (int64_t i = 0; i < array->count; i++) {
        put_entry(array, i, to + gap + each * (size_t)i);
    }
    return 0;
}
