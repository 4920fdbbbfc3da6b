/* SPDX-License-Identifier: MIT
 *
 * One row of the table against the counts of its token. Nearly all of the row was never counted, so sums
 * over it are sums over the successors and one term for the rest.
 */
#include <math.h>
#include <stdlib.h>

#include "analysis/bigram_corpus.h"

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* How many of the sorted counts are below `limit`. */
static int64_t counts_below(const bigram_corpus_row *row, int64_t limit)
{
    int64_t low = 0, high = row->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (row->sorted[middle] < limit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int64_t level_of(const bigram_corpus_row *row, float value)
{
    int64_t low = 0, high = row->levels - 1;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (row->level[middle] < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* n equal ranks take (n^3 - n) / 12 off the sum of squares of all. */
static double cubes(int64_t n)
{
    const double x = (double)n;
    return x * x * x - x;
}

/* Pearson's correlation of ranks, equal values sharing the mean of theirs. sum (x - mean x) y over the
 * row is sum (x - mean x) (y - y0) for any y0: with that of what was never counted, successors alone
 * remain. `seen` becomes its running sum. */
static double rank_correlation(bigram_corpus_row *row, int64_t columns)
{
    const int64_t unseen = columns - row->count;
    double table_square = cubes(columns), count_square = table_square - cubes(unseen), product = 0;
    for (int64_t i = 0; i < row->levels; i++) {
        table_square -= cubes(row->seen[2 * i + 1]);
        row->seen[2 * i + 1] += row->seen[2 * i];
        row->seen[2 * i + 2] += row->seen[2 * i + 1];
    }
    for (int64_t i = 0, same; i < row->count; i += same) {
        for (same = 1; i + same < row->count && row->sorted[i + same] == row->sorted[i];) {
            same++;
        }
        count_square -= cubes(same);
    }
    for (int64_t i = 0; i < row->count; i++) {
        const int32_t *seen = row->seen + 2 * level_of(row, row->value[i]);
        const int64_t n = row->successor[i].count;
        const double x = 0.5 * ((double)seen[0] + (double)seen[1] + 1);
        const double y =
            (double)unseen + 0.5 * (double)(counts_below(row, n) + counts_below(row, n + 1) + 1);
        product += (x - 0.5 * (double)(columns + 1)) * (y - 0.5 * (double)(unseen + 1));
    }
    return table_square > 0 && count_square > 0
               ? 12 * product / (sqrt(table_square) * sqrt(count_square))
               : NAN;
}

/* Pearson's of T and log(1 + n), 0 for what was never counted. */
static double log_correlation(const bigram_corpus_row *row, int64_t columns)
{
    const double unseen = (double)(columns - row->count);
    double mean = 0, square = 0, product = 0;
    for (int64_t i = 0; i < row->count; i++) {
        const double x = log1p((double)row->successor[i].count);
        mean += x / (double)columns;
        product += x * ((double)row->value[i] - row->stats.mean);
    }
    for (int64_t i = 0; i < row->count; i++) {
        const double x = log1p((double)row->successor[i].count) - mean;
        square += x * x;
    }
    square += unseen * mean * mean;
    return product / (sqrt(square) * sqrt(row->stats.square_deviations));
}

/* n(s, token). */
static int64_t count_of(const bigram_corpus_row *row, int64_t token)
{
    int64_t low = 0, high = row->count - 1;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (row->successor[middle].token < token) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return row->successor[low].token == token ? row->successor[low].count : 0;
}

void otimes_bigram_corpus_measure(bigram_corpus_row *row, int64_t columns,
                                  const bigram_corpus_results *results, int64_t at)
{
    const double total = (double)row->total, lse = otimes_row_stats_logsumexp(&row->stats);
    const otimes_bigram_successor *most = row->successor;
    double own = 0, table = 0;
    for (int64_t i = 0; i < row->count; i++) {
        const double n = (double)row->successor[i].count;
        row->sorted[i] = row->successor[i].count;
        most = row->successor[i].count > most->count ? &row->successor[i] : most;
        own += n * log(n);
        table += n * (lse - (double)row->value[i]);
    }
    qsort(row->sorted, (size_t)row->count, sizeof *row->sorted, ascending);
    results->count[at] = row->total;
    results->entropy[at] = log(total) - own / total;
    results->cross_entropy[at] = table / total;
    results->kl[at] = results->cross_entropy[at] - results->entropy[at];
    results->top_id[at] = (int32_t)most->token;
    results->top_same[at] = count_of(row, row->largest) == most->count;
    const double ranks = rank_correlation(row, columns);
    const bool varies = isfinite(row->stats.square_deviations) && !isnan(ranks);
    results->rank_correlation[at] = varies ? ranks : NAN;
    results->log_correlation[at] = varies ? log_correlation(row, columns) : NAN;
}
