/* SPDX-License-Identifier: MIT
 *
 * What `bigram` says of a corpus: each row, and all rows by how often their tokens occur.
 */
#include <math.h>

#include "analysis/bigram_corpus.h"
#include "base/sink.h"

/* sum over rows of n(s) value / sum of n(s), over the rows where it is defined; NaN without. */
static double weighted(const bigram_corpus *c, const double *value)
{
    double sum = 0, weight = 0;
    for (int64_t i = 0; i < c->job->row_count; i++) {
        if (!isnan(value[i])) {
            sum += (double)c->results.count[i] * value[i];
            weight += (double)c->results.count[i];
        }
    }
    return weight > 0 ? sum / weight : NAN;
}

/* Cross-entropy of the corpus' own unigrams, on the pairs of the rows. */
static double unigram_cross_entropy(const bigram_corpus *c)
{
    const otimes_bigram_counts *counts = c->job->settings->corpus;
    const int64_t *unigrams = otimes_bigram_counts_unigrams(counts);
    const double tokens = (double)otimes_bigram_counts_tokens(counts);
    double sum = 0, pairs = 0;
    for (int64_t i = 0; i < c->rows.first[c->rows.count]; i++) {
        const otimes_bigram_successor *s = &c->rows.successor[i];
        sum -= (double)s->count * log((double)unigrams[s->token] / tokens);
        pairs += (double)s->count;
    }
    return pairs > 0 ? sum / pairs : NAN;
}

static int write_totals(const bigram_corpus *c, otimes_sink *sink, otimes_err *err)
{
    const bigram_corpus_results *r = &c->results;
    int64_t pairs = 0, same = 0;
    for (int64_t i = 0; i < c->job->row_count; i++) {
        pairs += r->count[i];
        same += r->top_same[i] ? r->count[i] : 0;
    }
    const struct {
        const char *name;
        int64_t value;
    } counts[] = {
        {"corpus_tokens", otimes_bigram_counts_tokens(c->job->settings->corpus)},
        {"corpus_pairs", pairs},
        {"corpus_distinct_pairs", c->rows.first[c->rows.count]},
    };
    const struct {
        const char *name;
        double value;
    } measures[] = {
        {"corpus_total_entropy", weighted(c, r->entropy)},
        {"corpus_total_cross_entropy", weighted(c, r->cross_entropy)},
        {"corpus_total_kl", weighted(c, r->kl)},
        {"corpus_unigram_cross_entropy", unigram_cross_entropy(c)},
        {"corpus_uniform_cross_entropy", log((double)c->job->column_count)},
        {"corpus_top_agreement", pairs ? (double)same / (double)pairs : NAN},
        {"corpus_mean_rank_correlation", weighted(c, r->rank_correlation)},
        {"corpus_mean_log_correlation", weighted(c, r->log_correlation)},
    };
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof counts / sizeof *counts; i++) {
        rc = otimes_sink_i64(sink, counts[i].name, counts[i].value, err);
    }
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof measures / sizeof *measures; i++) {
        rc = otimes_sink_f64(sink, measures[i].name, measures[i].value, err);
    }
    return rc;
}

int otimes_bigram_corpus_write(const bigram_corpus *corpus, otimes_err *err)
{
    const bigram_writer *writer = &corpus->job->writer;
    const bigram_corpus_results *r = &corpus->results;
    const struct {
        const char *name, *long_name, *units, *formula, *labels_of;
        otimes_type type;
        const void *data;
    } list[] = {
        {"corpus_count", "how often the token has a successor in the corpus", "1", "n(s)", NULL,
         OTIMES_I64, r->count},
        {"corpus_top_id", "its most frequent successor", "1", "argmax_o n(s, o)", "output_token",
         OTIMES_I32, r->top_id},
        {"corpus_entropy", "entropy of its successors in the corpus", "nat",
         "-sum_o p(o|s) log p(o|s)", NULL, OTIMES_F64, r->entropy},
        {"corpus_cross_entropy", "cross-entropy of the row's softmax on its successors", "nat",
         "-sum_o p(o|s) log softmax(T[s])[o]", NULL, OTIMES_F64, r->cross_entropy},
        {"corpus_kl", "divergence of the row's softmax from its successors", "nat",
         "cross-entropy - entropy", NULL, OTIMES_F64, r->kl},
        {"corpus_rank_correlation", "Spearman's correlation of the row and the counts", "1",
         "corr(rank T[s], rank n(s, .))", NULL, OTIMES_F64, r->rank_correlation},
        {"corpus_log_correlation", "Pearson's correlation of the row and the log counts", "1",
         "corr(T[s], log(1 + n(s, .)))", NULL, OTIMES_F64, r->log_correlation},
    };
    int rc = write_totals(corpus, writer->sink, err);
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof list / sizeof *list; i++) {
        const otimes_array array = {.name = list[i].name,
                                    .type = list[i].type,
                                    .ndim = 1,
                                    .axis = {&writer->token},
                                    .long_name = list[i].long_name,
                                    .units = list[i].units,
                                    .formula = list[i].formula,
                                    .orientation = "one entry a source token",
                                    .labels_of = list[i].labels_of};
        rc = otimes_sink_whole(writer->sink, &array, list[i].data, err);
    }
    return rc;
}
