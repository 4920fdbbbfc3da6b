/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "fail.h"
#include "outfile.h"
#include "output.h"
#include "report.h"
#include "report_page.h"
#include "stop.h"

enum { DEFAULT_ENTRIES = 20, DEFAULT_PATHS = 300, DEFAULT_TOKENS = 256 };

static const opt_word sections[] = {{"heads", REPORT_HEADS},       {"circuits", REPORT_CIRCUITS},
                                    {"compose", REPORT_COMPOSE},   {"roles", REPORT_ROLES},
                                    {"bigram", REPORT_BIGRAM},     {"logits", REPORT_LOGITS},
                                    {"patterns", REPORT_PATTERNS}, {"decompose", REPORT_DECOMPOSE},
                                    {"paths", REPORT_PATHS},       {NULL, 0}};

static const opt own[] = {
    {.name = "tokens",
     .argument = "LIST",
     .help = "token ids instead of a text, in this order",
     .kind = OPT_TEXT,
     .offset = offsetof(report_options, common.tokens)},
    {.name = "max-tokens",
     .argument = "N",
     .help = "so many tokens of the text at most; the rest is left out (default: 256)",
     .kind = OPT_NUMBER,
     .offset = offsetof(report_options, max_tokens),
     .low = 1,
     .high = INT32_MAX},
    {.name = "target",
     .argument = "TOKEN",
     .help = "token whose logit is taken apart, by its text or as #ID (default: the one with the "
             "largest logit at each position)",
     .kind = OPT_TEXT,
     .offset = offsetof(report_options, target)},
    {.name = "top",
     .argument = "K",
     .help = "tokens kept at each end of a row of the bigram table (default: 10)",
     .kind = OPT_NUMBER,
     .offset = offsetof(report_options, common.top),
     .low = 0,
     .high = INT32_MAX},
    {.name = "entries",
     .argument = "N",
     .help = "largest and smallest entries of each OV and QK circuit (default: 20)",
     .kind = OPT_NUMBER,
     .offset = offsetof(report_options, entries),
     .low = 1,
     .high = 10000},
    {.name = "paths",
     .argument = "M",
     .help = "largest paths to the last position's logit (default: 300)",
     .kind = OPT_NUMBER,
     .offset = offsetof(report_options, paths),
     .low = 1,
     .high = 100000},
    {.name = "vocab",
     .argument = "N",
     .help = "tokens, those with the lowest ids and those of the text, whose circuits and bigram "
             "rows are looked at (default: all, or as many as there is time for)",
     .kind = OPT_NUMBER,
     .offset = offsetof(report_options, vocab),
     .low = 1,
     .high = INT32_MAX},
    {.name = "all",
     .help = "leave nothing out for the time that it takes",
     .kind = OPT_FLAG,
     .offset = offsetof(report_options, all)},
    {.name = "without",
     .argument = "PARTS",
     .help = "leave out some of heads, circuits, compose, roles, bigram, logits, patterns, "
             "decompose and paths",
     .kind = OPT_SET,
     .offset = offsetof(report_options, without),
     .words = sections},
    {.name = NULL},
};

static void defaults(void *memory)
{
    report_options *o = memory;
    o->entries = DEFAULT_ENTRIES;
    o->paths = DEFAULT_PATHS;
    o->max_tokens = DEFAULT_TOKENS;
}

static int check(const report_options *o, otimes_err *err)
{
    if (o->common.format != FORMAT_DEFAULT) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--format: a report is a page of HTML; the other commands write results");
    }
    return o->common.output ? 0
                            : fail(err, OTIMES_ERR_ARGUMENT,
                                   "-o: expected a file to write (-o report.html) or -, got none");
}

/* The last part of a path, without slashes behind it. */
static int put_model(const report *r, otimes_err *err)
{
    const char *path = r->info->path;
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    char *name = strndup(path + begin, end - begin);
    const int rc = name ? page_text(r->page, NULL, "model", name, err) : fail_memory(err, "model");
    free(name);
    return rc;
}

/* What names the page; the sum of the weights, a pass over all of them, comes last. */
static int put_facts(report *r, const char *line, otimes_err *err)
{
    char date[32];
    int rc = output_date(date, sizeof date, err);
    if (!rc) {
        rc = page_text(r->page, NULL, "otimes", otimes_version(), err);
    }
    if (!rc) {
        rc = put_model(r, err);
    }
    if (!rc) {
        rc = page_text(r->page, NULL, "command_line", line, err);
    }
    if (!rc) {
        rc = page_text(r->page, NULL, "date", date, err);
    }
    return !rc && r->text_cut ? page_number(r->page, "text_cut", r->text_cut, err) : rc;
}

static int put_sha256(report *r, otimes_err *err)
{
    char *text = NULL;
    int rc = output_sha256(r->model, &text, err);
    if (!rc) {
        rc = page_text(r->page, NULL, "model_sha256", text, err);
    }
    otimes_text_release(&text);
    return rc;
}

static int write_page(const report *r, FILE *to, const char *name, otimes_err *err)
{
    errno = 0;
    fwrite(report_before, 1, sizeof report_before, to);
    page_write(r->page, to);
    fwrite(report_after, 1, sizeof report_after, to);
    return fflush(to) || ferror(to) ? fail_errno(err, name, "cannot be written") : 0;
}

static int write_file(const report *r, outfile *file, otimes_err *err)
{
    const char *path = r->options->common.output;
    if (!file->path) {
        return write_page(r, stdout, "standard output", err);
    }
    FILE *to = fopen(outfile_name(file), "w");
    if (!to) {
        return fail_errno(err, path, "cannot be opened");
    }
    int rc = write_page(r, to, path, err);
    if (fclose(to) && !rc) {
        rc = fail_errno(err, path, "cannot be written");
    }
    /* Last chance of a signal: from here on the page appears. */
    if (!rc && stop_signal()) {
        rc = fail(err, OTIMES_ERR_CANCELLED, "%s", otimes_strerror(OTIMES_ERR_CANCELLED));
    }
    return rc ? rc : outfile_commit(file, err);
}

static int make(report *r, outfile *file, const char *line, otimes_err *err)
{
    const common_options *o = &r->options->common;
    progress bar;
    progress_begin(&bar, "report", o->quiet ? 0 : o->progress);
    int rc = report_open(r, err);
    if (!rc) {
        rc = put_facts(r, line, err);
    }
    if (!rc) {
        rc = report_run(r, &bar, err);
    }
    if (!rc) {
        rc = put_sha256(r, err);
    }
    progress_clear(&bar);
    if (!rc) {
        rc = write_file(r, file, err);
    }
    return rc == OTIMES_ERR_CANCELLED && stop_signal()
               ? fail(err, rc, "stopped by signal %d, nothing was written", stop_signal())
               : rc;
}

static int act(const otimes_model *model, const void *memory, const char *line, otimes_err *err)
{
    const report_options *o = memory;
    report r = {.model = model, .options = o};
    outfile file = {0};
    int rc = check(o, err);
    if (!rc && strcmp(o->common.output, "-") != 0) {
        stop_ignore_pipes();
        rc = outfile_begin(&file, o->common.output, 1, err);
    }
    if (!rc) {
        rc = page_new(&r.page, err);
    }
    if (!rc) {
        rc = make(&r, &file, line, err);
    }
    page_free(&r.page);
    report_close(&r);
    outfile_end(&file);
    return rc;
}

const command command_report = {
    .name = "report",
    .group = "Pictures",
    .summary = "one page that shows a model's circuits, to open in a browser",
    .about =
        "Runs the analyses of heads, circuits, composition, roles and the bigram table, and with a "
        "text those of patterns, residual stream and paths, and writes them as one HTML page that "
        "needs no network: a grid of heads to click on, their tokens and spectra, a graph of "
        "composition, a table to search, where a prediction came from. What would take long is "
        "bounded or left out, and the page says so. What it shows lies in it as data.",
    .example = "otimes report model/ --text \"When Mary and John went\" -o report.html",
    .shared = OPTS_TEXT,
    .own = own,
    .size = sizeof(report_options),
    .defaults = defaults,
    .act = act,
};
