/* SPDX-License-Identifier: MIT
 *
 * A model's page: the analyses it consists of, on one opened model and one text.
 */
#ifndef REPORT_H
#define REPORT_H

#include <otimes/model.h>
#include <otimes/parse.h>

#include "opts.h"
#include "progress.h"
#include "sink_page.h"
#include "text.h"

/* Sections that may be left out, each a bit. */
enum {
    REPORT_HEADS = 1,
    REPORT_CIRCUITS = 2,
    REPORT_COMPOSE = 4,
    REPORT_ROLES = 8,
    REPORT_BIGRAM = 16,
    REPORT_LOGITS = 32,
    REPORT_PATTERNS = 64,
    REPORT_DECOMPOSE = 128,
    REPORT_PATHS = 256
};

typedef struct report_options {
    common_options common;
    const char *target;
    int64_t entries, paths, max_tokens, vocab;
    int without, all;
} report_options;

typedef struct report {
    const otimes_model *model;
    const otimes_model_info *info;
    const report_options *options;
    page *page;
    sequences texts;
    otimes_sequences text;     /* one, or none */
    int64_t text_cut;          /* tokens left out of it */
    int64_t target;            /* output token; -1: what the model predicts */
    otimes_index_list circuit; /* tokens that circuits are looked for among; empty: all */
    otimes_index_list rows;    /* the same of the bigram table's rows */
    otimes_index_list random;  /* tokens that random sequences are drawn from; empty: all */
    int64_t bos;               /* before these; -1: none */
} report;

/* One analysis. */
typedef struct report_section {
    const char *name;
    int bit;                /* REPORT_*, 0: always there */
    int needs_text, layers; /* how many layers at least */
    int keeps_weights;      /* in memory, all of them */
    const page_rule *rules;
    /* Operations it takes, roughly: for its part of the progress, and to be held against `most`. */
    double (*cost)(const report *r);
    double most; /* beyond it the section is left out; 0: never */
    void (*bounded)(const report *r, char *text,
                    size_t size); /* what is there in part; empty: all */
    int (*run)(const report *r, otimes_sink *sink, otimes_err *err);
} report_section;

/* Ended by name NULL; `info` comes first. */
extern const report_section report_sections[];

/* Numbers of weights of the model, without those of experts that do not run: what a token passes. */
double report_weights(const otimes_model_info *info);

/* Whether they may stay in memory for more than one pass: 8 GB of them. */
int report_keeps_weights(const otimes_model_info *info);

/* What the options say of text, target and vocabulary. Released with report_close in any case. */
OTIMES_MUST_CHECK int report_open(report *r, otimes_err *err);
void report_close(report *r);

/* Runs all sections into r->page. OTIMES_ERR_CANCELLED when a signal asks for it. */
OTIMES_MUST_CHECK int report_run(report *r, progress *bar, otimes_err *err);

#endif
