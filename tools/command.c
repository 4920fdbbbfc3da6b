/* SPDX-License-Identifier: MIT
 *
 * What all commands do alike: options, model, output, one call, one line when it fails.
 */
#include "command.h"

#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "guard.h"
#include "identity.h"
#include "opened.h"
#include "output.h"
#include "quote.h"
#include "sink_null.h"
#include "stop.h"

static int is_plain(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789_@%+=:,./-";
    return *word && !word[strspn(word, plain)];
}

/* The command line as one would type it into a shell, as far as it says what is computed: a run that was
 * resumed, or shown, gives the same result. Released with free. NULL: no memory. */
static char *quote_line(int argc, char **argv)
{
    size_t size = sizeof "otimes";
    for (int i = 0; i < argc; i++) {
        size += 4 * strlen(argv[i]) + 3; /* ' ' and quotes; each ' inside becomes '\'' */
    }
    char *line = malloc(size), *to = line;
    if (!line) {
        return NULL;
    }
    to = stpcpy(to, "otimes");
    for (int i = 0; i < argc; i++) {
        if (identity_ignores(argv[i])) {
            continue;
        }
        *to++ = ' ';
        if (is_plain(argv[i])) {
            to = stpcpy(to, argv[i]);
            continue;
        }
        *to++ = '\'';
        for (const char *c = argv[i]; *c; c++) {
            if (*c == '\'') {
                to = stpcpy(to, "'\\''");
            } else {
                *to++ = *c;
            }
        }
        *to++ = '\'';
    }
    *to = '\0';
    return line;
}

void command_model_settings(const common_options *options, otimes_model_settings *settings)
{
    const int other = !options->raw;
    otimes_model_settings_default(settings);
    settings->fold_ln = options->fold_ln < 0 ? other : options->fold_ln;
    settings->center_writing_weights =
        options->center_writing_weights < 0 ? other : options->center_writing_weights;
    settings->center_unembed = options->center_unembed < 0 ? other : options->center_unembed;
    settings->fold_value_biases =
        options->fold_value_biases < 0 ? other : options->fold_value_biases;
    settings->threads = (int)options->threads;
    settings->config_path = options->config;
    settings->state_dict = options->state_dict;
}

/* Where a file of weights changed under the run, that is what is wrong, whatever came of it. */
static int blame_change(int rc, otimes_err *err)
{
    const int stopped = rc == OTIMES_ERR_CANCELLED && stop_signal();
    const int changed = stopped ? 0 : opened_unchanged(err);
    return changed ? changed : rc;
}

/* One line that says why the run ended, and what is left of it. */
static void say_kept(const output *out, int code, otimes_err *err)
{
    char why[sizeof err->msg], from[48] = "";
    int64_t text;
    const int stopped = code == OTIMES_ERR_CANCELLED && stop_signal();
    const int kept = output_keeps(out, &text) && code != OTIMES_ERR_ARGUMENT;
    if (stopped) {
        snprintf(why, sizeof why, "stopped by signal %d", stop_signal());
    } else if (kept) {
        memcpy(why, err->msg, sizeof why);
    } else {
        return;
    }
    if (text > 0) {
        snprintf(from, sizeof from, " from text %lld", (long long)text);
    }
    if (kept) {
        fail(err, code, "%.*s; --resume goes on%s%s", (int)(sizeof why - 80), why, from,
             opened_unchanged(NULL) ? " once it is as it was" : "");
    } else {
        fail(err, code, "%.*s, nothing was written", (int)(sizeof why - 80), why);
    }
}

static int run_to_output(const command *cmd, const common_options *options,
                         const otimes_model *model, const char *line, otimes_err *err)
{
    output out = {.format = FORMAT_DEFAULT};
    int answer = 0;
    int rc = output_open(&out, cmd, options, model, line, err);
    if (!rc) {
        rc = cmd->run(model, options, &out.sink, err);
    }
    if (rc == COMMAND_DIFFERS) { /* a complete result */
        answer = rc;
        rc = 0;
    }
    if (!rc) {
        rc = output_finish(&out, err);
    }
    progress_clear(&out.bar);
    if (rc) {
        rc = blame_change(rc, err);
        say_kept(&out, rc, err);
    }
    if (!rc && out.format == FORMAT_NULL && !options->quiet) {
        fprintf(stderr, "otimes %s: %lld bytes of results computed and not kept\n", cmd->name,
                (long long)sink_null_bytes(&out.target));
    }
    output_close(&out);
    return rc ? rc : answer;
}

/* What a command is told to read must not be what it is told to write. Weights in a folder are looked at
 * when they are open. */
static int check_inputs(const common_options *o, otimes_err *err)
{
    const char *const files[] = {o->config, o->text_file};
    int same = 0;
    for (int i = 0; o->output && i < o->operand_count; i++) {
        same = same || opened_same(o->operand[i], o->output);
    }
    for (size_t i = 0; o->output && i < sizeof files / sizeof *files; i++) {
        same = same || (files[i] && opened_same(files[i], o->output));
    }
    return same ? fail(err, OTIMES_ERR_IO, "%s: expected another file than what is read", o->output)
                : 0;
}

/* Everything between parsed options and an exit; a code of the library. */
static int run_parsed(const command *cmd, const common_options *options, const char *line,
                      otimes_err *err)
{
    otimes_model *model = NULL;
    otimes_model_settings settings;
    const int card = cmd->card && !output_wanted(options);
    int format, rc = card || cmd->act ? 0 : output_format(options, cmd->weights, &format, err);
    rc = rc ? rc : check_inputs(options, err);
    if (rc) {
        return rc;
    }
    if (!cmd->no_weights) {
        command_model_settings(options, &settings);
        /* The library's own loops use the threads; products inside them are one thread's, so that
         * every bit is the same at any number of threads. */
        otimes_set_blas_threads(1);
        rc = otimes_reserve_threads(settings.threads, err);
        rc = rc ? rc : opened_open(&model, options->model, &settings, err);
    }
    if (rc) {
        return rc;
    }
    rc = cmd->act ? cmd->act(model, options, line, err)
         : card   ? cmd->card(model, options, stdout, err)
                  : run_to_output(cmd, options, model, line, err);
    rc = cmd->act || card ? blame_change(rc, err) : rc;
    opened_close(&model);
    return rc;
}

int command_result(int (*run)(const otimes_model *model, const void *options, otimes_sink *sink,
                              otimes_err *err),
                   const otimes_model *model, const void *options, otimes_memory_sink **result,
                   otimes_err *err)
{
    int rc = otimes_memory_sink_new(result, err);
    if (rc) {
        return rc;
    }
    otimes_sink_ops ops = *otimes_memory_sink_sink(*result)->ops;
    otimes_sink sink = {&ops, otimes_memory_sink_sink(*result)->state};
    ops.progress = output_stops;
    rc = run(model, options, &sink, err);
    return rc ? rc : opened_unchanged(err);
}

/* One line on stderr, and the exit status that goes with the code. */
static int report(const command *cmd, int code, const otimes_err *err)
{
    fprintf(stderr, "otimes %s: ", cmd->name);
    put_shown(stderr, err->msg, "");
    putc('\n', stderr);
    if (code == OTIMES_ERR_CANCELLED && stop_signal()) {
        return 128 + stop_signal();
    }
    return code == OTIMES_ERR_ARGUMENT ? EXIT_USAGE : cmd->failed ? cmd->failed : EXIT_FAILED;
}

const command *command_find(const command *const *commands, const char *name)
{
    while (*commands && strcmp((*commands)->name, name) != 0) {
        commands++;
    }
    return *commands;
}

int command_run(const command *cmd, int argc, char **argv)
{
    otimes_err err = {0};
    char *line = quote_line(argc, argv);
    void *options = calloc(1, cmd->size);
    int rc = line && options ? 0 : fail_memory(&err, "options");
    if (!rc) {
        rc = opts_parse(cmd, argc, argv, options, &err);
    }
    guard_command(cmd->name, cmd->failed ? cmd->failed : EXIT_FAILED);
    if (!rc) {
        rc = run_parsed(cmd, options, line, &err);
    }
    free(options);
    free(line);
    if (rc == OPTS_HELP) {
        opts_help(cmd, stdout);
    }
    return rc < 0 ? report(cmd, rc, &err) : rc == COMMAND_DIFFERS ? EXIT_DIFFERS : EXIT_OK;
}
