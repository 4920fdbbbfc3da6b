/* SPDX-License-Identifier: MIT
 *
 * What a page consists of, between the sink that fills it and what writes it.
 */
#ifndef PAGE_PARTS_H
#define PAGE_PARTS_H

#include <stdio.h>

#include "arena.h"
#include "sink_page.h"

/* As the page has it. */
typedef enum page_type { PAGE_F16, PAGE_F32, PAGE_F64, PAGE_U16, PAGE_I32, PAGE_TEXT } page_type;

/* Bytes that grow. */
typedef struct page_block {
    unsigned char *data;
    size_t used, room;
} page_block;

typedef struct page_fact {
    struct page_fact *next;
    const char *group; /* NULL: none */
    otimes_attr attr;
} page_fact;

typedef struct page_axis {
    struct page_axis *next;
    const char *name, *long_name; /* long_name may be NULL */
    int64_t length;
    int labels;            /* index of a list; -1: none */
    const int64_t *number; /* NULL: none, or 0, 1, 2 ... */
    int used;              /* an array has it or points into it */
} page_axis;

typedef struct page_array {
    struct page_array *next;
    otimes_array about; /* its texts are copies; no axes */
    page_axis *axis[OTIMES_MAX_DIMS];
    page_pack pack;
    int64_t count;
    void *data;        /* as it was written; NULL once it is packed */
    const char **text; /* [count] */
    page_type type;    /* once it is packed */
    size_t at;         /* in the block */
} page_array;

typedef struct page_section {
    struct page_section *next;
    const char *name;
    const page_rule *rules;
    page_fact *facts;
    page_axis *axes;
    page_array *arrays;
    page_array **by_id;
    int declared;
    int labels;  /* lists of labels before it */
    size_t used; /* of the block, before it */
} page_section;

typedef struct page_labels {
    int64_t count;
    const char *const *text;
} page_labels;

struct page {
    arena memory;
    page_fact *facts;
    page_section *sections, *last;
    page_labels *labels;
    int label_count;
    page_block block;
};

/* Appends an array's numbers to the block in the type that its pack and its numbers ask for.
 * OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int page_pack_array(page_block *block, page_array *array, otimes_err *err);

/* The half that is nearest, ties to even, as bits; beyond 65504 infinity. */
uint16_t page_half(double value);

/* Text as a JSON string that ends no element: what is no character becomes <0xHH>, as in labels. */
void page_put_string(FILE *to, const char *text);

/* The shortest decimal that reads back as the same number; null for what is none. */
void page_put_real(FILE *to, double value);

void page_put_base64(FILE *to, const unsigned char *data, size_t bytes);

#endif
