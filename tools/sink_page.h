/* SPDX-License-Identifier: MIT
 *
 * Results as the data of one HTML page (schema/report.md): what analyses write is kept in memory, section by
 * section, and comes out as a JSON object and a block of numbers, each inside an element of its own.
 */
#ifndef SINK_PAGE_H
#define SINK_PAGE_H

#include <stdio.h>

#include <otimes/sink.h>

typedef struct page page;

/* What becomes of an array. */
typedef enum page_pack {
    PAGE_LEAVE, /* it is not kept */
    PAGE_KEEP,  /* float32, or the narrowest integers that hold it */
    PAGE_HALF   /* float16 where three digits of its largest entries survive that */
} page_pack;

/* Names of arrays as for the shell ("path_*"); the first that fits holds, an array that none fits is left. */
typedef struct page_rule {
    const char *name; /* NULL ends a list */
    page_pack pack;
} page_rule;

/* Empty; release with page_free. OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int page_new(page **out, otimes_err *err);
void page_free(page **all);

/* Begins a section; *sink is for one analysis and is the page's own. A fact that the first section has with
 * the same value is left out. Names of axes and arrays are copied, and so is all else. */
OTIMES_MUST_CHECK int page_begin(page *all, const char *section, const page_rule *rules,
                                 otimes_sink *sink, otimes_err *err);

/* The section that was begun last is no part of the page. */
void page_drop(page *all);

/* A text among the page's own facts, or with `group` one of a group of them, as {"left_out": {name: text}}. */
OTIMES_MUST_CHECK int page_text(page *all, const char *group, const char *name, const char *text,
                                otimes_err *err);
OTIMES_MUST_CHECK int page_number(page *all, const char *name, int64_t value, otimes_err *err);

/* Writes both elements; the stream's own error says whether that went well. */
void page_write(const page *all, FILE *to);

#endif
