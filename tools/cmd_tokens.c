/* SPDX-License-Identifier: MIT */
#include <otimes/tokens.h>

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "command.h"
#include "fail.h"
#include "quote.h"
#include "text.h"

typedef struct options {
    common_options common;
} options;

static const opt own[] = {
    {.name = "tokens",
     .argument = "LIST",
     .help = "token ids instead of a text, in this order: what they stand for and decode to",
     .kind = OPT_TEXT,
     .offset = offsetof(options, common.tokens)},
    {.name = NULL},
};

static int of_texts(const otimes_tokenizer *tokenizer, const common_options *common,
                    otimes_sink *sink, otimes_err *err)
{
    texts all = {0};
    otimes_tokens_settings settings;
    otimes_tokens_settings_default(&settings);
    int rc = texts_read(&all, common, err);
    if (!rc && !all.count) {
        rc = fail(err, OTIMES_ERR_ARGUMENT,
                  "--text: expected a text, a --text-file or --tokens, got none");
    }
    if (!rc) {
        settings.text = all.text;
        settings.bytes = all.bytes;
        settings.text_count = all.count;
        settings.bos = text_bos(common);
        rc = otimes_tokens(tokenizer, &settings, sink, err);
    }
    texts_free(&all);
    return rc;
}

static int of_ids(const otimes_tokenizer *tokenizer, const common_options *common,
                  otimes_sink *sink, otimes_err *err)
{
    otimes_index_list list;
    otimes_tokens_settings settings;
    otimes_tokens_settings_default(&settings);
    if (common->text || common->text_file || common->bos >= 0) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--tokens: cannot stand beside %s",
                    common->text        ? "--text"
                    : common->text_file ? "--text-file"
                    : common->bos       ? "--bos"
                                        : "--no-bos");
    }
    int rc = text_ids(common->tokens, "--tokens", otimes_tokenizer_describe(tokenizer)->vocab_size,
                      &list, err);
    if (!rc) {
        settings.id = list.index;
        settings.id_count = list.count;
        rc = otimes_tokens(tokenizer, &settings, sink, err);
        otimes_index_list_free(&list);
    }
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const common_options *common = memory;
    otimes_tokenizer *tokenizer = NULL;
    (void)model;
    int rc = otimes_tokenizer_open(&tokenizer, common->model, err);
    if (!rc) {
        rc = (common->tokens ? of_ids : of_texts)(tokenizer, common, sink, err);
    }
    otimes_tokenizer_close(&tokenizer);
    return rc;
}

/* ---- the table for people ---- */

/* An array of the result; NULL data where it was not written. */
static const void *data_of(const otimes_memory_sink *result, const char *name, int64_t *count)
{
    const void *data = NULL;
    const otimes_array *array = otimes_memory_sink_array(result, name, &data);
    if (array && count) {
        *count = array->axis[0]->length;
    }
    return array ? data : NULL;
}

static int digits(int64_t value)
{
    int n = 1;
    for (; value > 9; value /= 10) {
        n++;
    }
    return n;
}

/* Width of a column: of its title, or of the largest of its numbers. */
static int width_of(const char *title, const int64_t *value, int64_t count)
{
    int width = (int)strlen(title);
    for (int64_t i = 0; value && i < count; i++) {
        width = width < digits(value[i]) ? digits(value[i]) : width;
    }
    return width;
}

static void put_table(FILE *to, const otimes_memory_sink *result)
{
    static const char *const titles[] = {"position", "id", "begin", "end"};
    enum { COLUMNS = sizeof titles / sizeof *titles };
    int64_t places = 0, inputs = 0;
    const int64_t *column[COLUMNS], *input = data_of(result, "input_index", &places);
    const char *const *token = data_of(result, "token", NULL);
    const char *const *decoded = data_of(result, "decoded", &inputs);
    int width[COLUMNS];
    for (int c = 0; c < COLUMNS; c++) {
        column[c] = data_of(result, titles[c], NULL);
        width[c] = width_of(titles[c], column[c], places);
    }
    int64_t i = 0;
    for (int64_t n = 0; n < inputs; n++) {
        if (inputs > 1) {
            fprintf(to, "%stext %" PRId64 "\n", n ? "\n" : "", n);
        }
        for (int c = 0; c < COLUMNS; c++) {
            if (column[c]) {
                fprintf(to, "%*s  ", width[c], titles[c]);
            }
        }
        fputs("token\n", to);
        for (; i < places && input[i] == n; i++) {
            for (int c = 0; c < COLUMNS; c++) {
                if (column[c]) {
                    fprintf(to, "%*" PRId64 "  ", width[c], column[c][i]);
                }
            }
            put_quoted(to, token[i]);
            putc('\n', to);
        }
        if (!column[2]) {
            fputs("\ndecoded  ", to);
            put_quoted(to, decoded[n]);
            putc('\n', to);
        }
    }
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    otimes_memory_sink *result = NULL;
    int rc = command_result(run, model, memory, &result, err);
    if (!rc) {
        put_table(to, result);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_tokens = {
    .name = "tokens",
    .group = "Models",
    .summary = "text to token ids and back, as the model's own tokenizer does it",
    .about = "What the model's own tokenizer makes of texts: id of each token, what it stands for, "
             "and the bytes of the text from begin up to end that it covers. With --tokens the "
             "other way: what ids stand for and decode to. Without -o and --format it prints a "
             "table to read.",
    .example = "otimes tokens model/ --text \"When Mary and John went\"",
    .shared = OPTS_TEXT,
    .no_weights = 1,
    .own = own,
    .size = sizeof(options),
    .run = run,
    .card = card,
};
