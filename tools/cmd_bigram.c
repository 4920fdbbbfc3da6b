/* SPDX-License-Identifier: MIT */
#include <otimes/bigram.h>

#include <stddef.h>

#include "command.h"
#include "corpus.h"
#include "fail.h"
#include "select.h"
#include "text.h"

typedef struct options {
    common_options common;
    const char *rows, *columns, *corpus;
    int exact, full, statistics;
    int64_t position, bottom;
} options;

static const opt_word full_types[] = {
    {"float32", OTIMES_BIGRAM_FULL_F32}, {"float16", OTIMES_BIGRAM_FULL_F16}, {NULL, 0}};

static const opt own[] = {
    {.name = "rows",
     .argument = "LIST",
     .help = "source tokens (default: those of --tokens or the text)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, rows)},
    {.name = "columns",
     .argument = "LIST",
     .help = "output tokens that each row and all of its statistics are restricted to "
             "(default: those of --tokens or the text)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, columns)},
    {.name = "exact",
     .help = "apply the final norm to each row and add the output bias: the logits of the model "
             "without its layers",
     .kind = OPT_FLAG,
     .offset = offsetof(options, exact)},
    {.name = "position",
     .argument = "N",
     .help = "with --exact: add the embedding of position N first (default: none)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, position),
     .low = 0,
     .high = INT32_MAX},
    {.name = "bottom",
     .argument = "K",
     .help = "smallest entries kept of each row; 0: none (default: as many as --top)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, bottom),
     .low = 0,
     .high = INT32_MAX},
    {.name = "statistics",
     .help =
         "what only the whole row tells: log-probabilities, mean, standard deviation, logsumexp, "
         "rank of the token itself (default: on); without it the extremes are found several "
         "times faster",
     .kind = OPT_SWITCH,
     .offset = offsetof(options, statistics)},
    {.name = "full",
     .help = "also write the table itself (default type: float32)",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, full),
     .words = full_types,
     .optional = 1},
    {.name = "corpus",
     .argument = "FILE",
     .help = "also count the bigrams of FILE, a text in each line or JSON as with --text-file, and "
             "hold the softmax of each row against them",
     .kind = OPT_TEXT,
     .offset = offsetof(options, corpus),
     .takes = TAKES_FILE},
    {.name = "json-field",
     .argument = "NAME",
     .help = "member of JSON objects that holds the text (default: text); FILE then holds JSON "
             "whatever its name",
     .kind = OPT_TEXT,
     .offset = offsetof(options, common.json_field)},
    {.name = NULL},
};

static void defaults(void *memory)
{
    options *o = memory;
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    o->position = settings.position;
    o->bottom = settings.bottom;
    o->statistics = settings.statistics;
}

/* What --tokens or the text restrict rows and columns to that have no option of their own. */
static int read_shared(const options *o, const otimes_model_info *info, otimes_index_list *list,
                       otimes_err *err)
{
    const int64_t rows = o->rows ? INT64_MAX : info->d_vocab;
    const int64_t columns = o->columns ? INT64_MAX : info->d_vocab_out;
    const int64_t limit = rows < columns ? rows : columns;
    return limit == INT64_MAX ? 0 : text_vocabulary(&o->common, limit, list, err);
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_index_list rows = {NULL, 0}, columns = {NULL, 0}, shared = {NULL, 0};
    otimes_bigram_counts *counts = NULL;
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    if (o->common.json_field && !o->common.text_file && !o->corpus) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--json-field: expected a --text-file or a --corpus, got neither");
    }
    int rc = select_indices(o->rows, "--rows", info->d_vocab, &rows, err);
    if (!rc) {
        rc = select_indices(o->columns, "--columns", info->d_vocab_out, &columns, err);
    }
    if (!rc) {
        rc = read_shared(o, info, &shared, err);
    }
    if (rc) {
        goto done;
    }
    if (o->common.top >= 0) {
        settings.top = o->common.top;
    }
    settings.rows = o->rows ? rows.index : shared.index;
    settings.row_count = o->rows ? rows.count : shared.count;
    settings.columns = o->columns ? columns.index : shared.index;
    settings.column_count = o->columns ? columns.count : shared.count;
    settings.exact = o->exact;
    settings.position = o->position;
    settings.full = (otimes_bigram_full)o->full;
    settings.bottom = o->bottom;
    settings.statistics = o->statistics;
    if (o->corpus) {
        rc = settings.columns
                 ? fail(err, OTIMES_ERR_ARGUMENT, "--corpus: expected every output token, got %s",
                        o->columns ? "--columns" : "a text or --tokens")
                 : corpus_read(&counts, &o->common, o->corpus, info->d_vocab, sink, err);
    }
    settings.corpus = counts;
    if (!rc) {
        rc = otimes_bigram(model, &settings, sink, err);
    }
done:
    otimes_bigram_counts_free(&counts);
    otimes_index_list_free(&rows);
    otimes_index_list_free(&columns);
    otimes_index_list_free(&shared);
    return rc;
}

const command command_bigram = {
    .name = "bigram",
    .group = "Circuits from weights",
    .summary = "the direct path W_E W_U: what each token alone makes likely next",
    .about =
        "The direct path T = W_E W_U: row = source token, column = output token. For every source "
        "token the --top (default 10) output tokens with the largest and smallest entries, their "
        "log-probability under the softmax of the row, mean, standard deviation and logsumexp of "
        "the row, and value and rank of the entry of the token itself. The table is computed in "
        "tiles and never held. With --corpus also how well the rows predict the bigrams of a text: "
        "entropy, cross-entropy, divergence and correlations of each row, and in total.",
    .example = "otimes bigram model/ -o bigram.h5 --top 20",
    .shared = OPTS_TOKENS | OPTS_TEXT | OPTS_TOP | OPTS_RESUME,
    .own = own,
    .size = sizeof(options),
    .defaults = defaults,
    .run = run,
};
