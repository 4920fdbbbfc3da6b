/* SPDX-License-Identifier: MIT
 *
 * The table of `bigram` held against the bigrams of a corpus.
 */
#ifndef OTIMES_ANALYSIS_BIGRAM_CORPUS_H
#define OTIMES_ANALYSIS_BIGRAM_CORPUS_H

#include "analysis/bigram_job.h"
#include "num/stats.h"
#include "run/bigram_counts.h"
#include "run/table.h"

/* What is said of each row of the request, NaN, 0 and -1 where it does not occur. */
typedef struct bigram_corpus_results {
    int64_t *count; /* [rows] n(s) */
    double *entropy, *cross_entropy, *kl, *rank_correlation, *log_correlation;
    int32_t *top_id;   /* the most frequent successor, the lowest of several */
    int32_t *top_same; /* 1: the row's largest entry is one of the most frequent successors */
} bigram_corpus_results;

/* A row of the sheet at hand. Successors of a row stand together in all the lists of the sheet. */
typedef struct bigram_corpus_row {
    const otimes_bigram_successor *successor; /* [count] */
    int64_t count, total;                     /* n(s) */
    float *value;                             /* [count] T at the successors */
    float *level;                             /* [levels] these ascending, each once */
    int64_t levels;
    /* Where a value can be among the levels: those of bucket b are start[b] .. start[b + 1] - 1, and b
     * rises with the value. */
    int32_t *start; /* [buckets + 1] */
    int32_t buckets;
    float scale;
    int32_t *seen; /* [2 levels + 1] entries of the row below the first level, at it, between ... */
    int64_t *sorted; /* [count] scratch: n(s, o) ascending */
    int64_t next;    /* the successor whose column comes next */
    int32_t largest; /* column of the largest entry */
    otimes_row_stats stats;
} bigram_corpus_row;

typedef struct bigram_corpus {
    const bigram_job *job;
    otimes_bigram_rows rows; /* that occur: those of the table here */
    otimes_table table;
    bigram_corpus_row *sheet;
    bigram_corpus_results results;
    float *value, *level; /* of the sheet's rows, one after another */
    int32_t *start, *seen;
    int64_t *sorted;
    float *vectors; /* a worker's piece of columns */
    int64_t *ids;   /* and their places */
    otimes_pool pool;
} bigram_corpus;

/* Checks the request and its corpus, and finds the rows that occur. Nothing without a corpus. Release with
 * otimes_bigram_corpus_free in any case. */
int otimes_bigram_corpus_open(bigram_corpus *corpus, bigram_job *job, otimes_err *err);

/* One pass over the rows that occur, all columns; then what it found is declared and written. */
int otimes_bigram_corpus_run(bigram_corpus *corpus, otimes_err *err);

/* Accepts zeroed. */
void otimes_bigram_corpus_free(bigram_corpus *corpus);

/* Everything about one row of a table of `columns`, to place `at` of the results. */
void otimes_bigram_corpus_measure(bigram_corpus_row *row, int64_t columns,
                                  const bigram_corpus_results *results, int64_t at);

/* Totals as attributes and the arrays. */
int otimes_bigram_corpus_write(const bigram_corpus *corpus, otimes_err *err);

#endif
