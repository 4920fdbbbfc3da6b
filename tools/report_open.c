/* SPDX-License-Identifier: MIT
 *
 * What a page is of: its text, its target, the part of the vocabulary that there is time for.
 */
#include "report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "fail.h"
#include "random_tokens.h"
#include "select.h"

/* Multiplications of both circuits of all heads, and of the bigram table: some twenty seconds each on two
 * processors. */
#define CIRCUIT_MOST 7e11
#define BIGRAM_MOST 2e12
#define KEPT_MOST 2e9
enum { ROUND = 500 };

static int has_text(const common_options *o)
{
    return o->text || o->text_file || o->tokens;
}

double report_weights(const otimes_model_info *info)
{
    const double d = (double)info->d_model, h = (double)info->d_head;
    const double attention = 2 * d * h * (double)(info->n_heads + info->n_kv_heads);
    const double width =
        info->n_experts ? (double)(info->n_experts_active * info->d_expert + info->d_shared_expert)
                        : (double)info->d_mlp;
    const double mlp = width * d * (info->mlp == OTIMES_MLP_GATED ? 3 : 2);
    return (double)info->n_layers * (attention + mlp) + d * (double)info->d_vocab_out;
}

int report_keeps_weights(const otimes_model_info *info)
{
    return report_weights(info) <= KEPT_MOST;
}

/* The first text, as long as it may be. */
static int read_text(report *r, otimes_err *err)
{
    const common_options *o = &r->options->common;
    if (!has_text(o)) {
        return r->options->target
                   ? fail(err, OTIMES_ERR_ARGUMENT, "--target: expected a text beside it, got none")
                   : 0;
    }
    int rc = sequences_read(&r->texts, o, r->info->d_vocab, 0, err);
    if (!rc && !r->texts.of[0].count) {
        rc = fail(err, OTIMES_ERR_ARGUMENT, "--text: expected at least one token, got none");
    }
    if (rc) {
        return rc;
    }
    otimes_encoding *first = &r->texts.of[0];
    const int64_t limit = r->options->max_tokens, n_ctx = r->info->n_ctx;
    const int64_t most = n_ctx && n_ctx < limit ? n_ctx : limit;
    r->text_cut = first->count > most ? first->count - most : 0;
    first->count -= r->text_cut;
    rc = sequences_view(&r->texts, &r->text, err);
    if (!rc && !o->quiet && r->text.count > 1) {
        fprintf(stderr, "otimes report: of %lld texts the first alone is looked at\n",
                (long long)r->text.count);
    }
    if (!rc && !o->quiet && r->text_cut) {
        fprintf(stderr, "otimes report: the text was cut to its first %lld of %lld tokens%s\n",
                (long long)most, (long long)(most + r->text_cut),
                most == limit ? " (--max-tokens)" : ", which is all that the model takes");
    }
    r->text.count = 1;
    return rc;
}

/* Ids below `first`, which in vocabularies of merges and of pieces by frequency are the common ones, and
 * those of the text, as long as they are below `limit`. Nothing where that is all there are. */
static int choose(const report *r, int64_t first, int64_t limit, otimes_index_list *list,
                  otimes_err *err)
{
    const int64_t length = r->text.count ? r->text.length[0] : 0;
    if (first >= limit) {
        return 0;
    }
    list->index = malloc((size_t)(first + length + 1) * sizeof *list->index);
    if (!list->index) {
        return fail_memory(err, "vocabulary");
    }
    for (int64_t id = 0; id < first; id++) {
        list->index[list->count++] = id;
    }
    for (int64_t i = 0; i < length; i++) {
        if (r->text.id[0][i] >= first && r->text.id[0][i] < limit) {
            list->index[list->count++] = r->text.id[0][i];
        }
    }
    select_distinct(list);
    return 0;
}

static int64_t rounded(double count)
{
    return count < ROUND ? ROUND : (int64_t)(count / ROUND) * ROUND;
}

/* How many of the first tokens, where there is time for `affordable` of `all`. */
static int64_t share_of(const report *r, double affordable, int64_t all)
{
    const report_options *o = r->options;
    return o->vocab > 0                          ? o->vocab
           : o->all || affordable >= (double)all ? INT64_MAX
                                                 : rounded(affordable);
}

static int choose_vocabulary(report *r, otimes_err *err)
{
    const otimes_model_info *m = r->info;
    const int64_t in = m->d_vocab, out = m->d_vocab_out;
    const double tables = 2 * (double)(m->n_layers * m->n_heads) * (double)m->d_head;
    const double side = tables > 0 ? sqrt(CIRCUIT_MOST / tables) : INFINITY;
    const double rows = BIGRAM_MOST / ((double)out * (double)m->d_model);
    /* Rows and columns of a circuit are of one list. */
    const int rc =
        choose(r, share_of(r, side, in > out ? in : out), in < out ? in : out, &r->circuit, err);
    return rc ? rc : choose(r, share_of(r, rows, in), in, &r->rows, err);
}

int report_open(report *r, otimes_err *err)
{
    const common_options *o = &r->options->common;
    r->info = otimes_model_describe(r->model);
    r->target = r->bos = -1;
    int rc = read_text(r, err);
    if (!rc && r->options->target) {
        rc = token_by_text(r->model, o, r->options->target, "--target", &r->target, err);
    }
    if (!rc) {
        rc = random_tokens_read(o, r->info, NULL, "--random-tokens", &r->random, &r->bos, err);
    }
    return rc ? rc : choose_vocabulary(r, err);
}

void report_close(report *r)
{
    sequences_free(&r->texts);
    otimes_index_list_free(&r->circuit);
    otimes_index_list_free(&r->rows);
    otimes_index_list_free(&r->random);
}
