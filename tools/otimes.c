/* SPDX-License-Identifier: MIT
 *
 * The program: finds the command in the table that the build made from its list of analyses.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "commands_json.h"
#include "complete.h"
#include "opened.h"
#include "quote.h"
#include "sink_h5.h"
#include "stop.h"

#if defined(__has_include)
#if __has_include("tools_config.h")
#include "tools_config.h"
#endif
#endif

#ifndef OTIMES_BUILD_INFO
#ifdef __VERSION__
#define OTIMES_BUILD_INFO "compiler " __VERSION__
#else
#define OTIMES_BUILD_INFO "compiler unknown"
#endif
#endif

#define COMMAND_ADDRESS(name) &command_##name,
static const command *const commands[] = {OTIMES_COMMANDS(COMMAND_ADDRESS) NULL};

static void put_group(FILE *to, const char *group)
{
    fprintf(to, "\n%s:\n", group);
    for (const command *const *c = commands; *c; c++) {
        if (!strcmp((*c)->group, group)) {
            fprintf(to, "  %-11s %s\n", (*c)->name, (*c)->summary);
        }
    }
}

static int is_first_of_group(const command *const *at)
{
    for (const command *const *c = commands; c < at; c++) {
        if (!strcmp((*c)->group, (*at)->group)) {
            return 0;
        }
    }
    return 1;
}

static const char about[] = "Reads what a transformer computes out of its trained weights.";

static void put_usage(FILE *to)
{
    fprintf(to,
            "usage: otimes COMMAND [options] MODEL\n"
            "       otimes help COMMAND\n"
            "       otimes --version | --help\n\n"
            "%s\n",
            about);
    for (const command *const *c = commands; *c; c++) {
        if (is_first_of_group(c)) {
            put_group(to, (*c)->group);
        }
    }
    fprintf(to, "\nExit status: %s.\n", OPTS_EXITS);
}

static void put_version(FILE *to)
{
    char hdf5[32];
    sink_h5_version(hdf5, sizeof hdf5);
    fprintf(to,
            "otimes %s\n"
            "build    %s\n"
            "blas     %s\n"
            "hdf5     %s\n"
            "threads  %d\n"
            "formats  hdf5 (netCDF-4), tsv, null\n",
            otimes_version(), OTIMES_BUILD_INFO, otimes_build_blas(), hdf5,
            otimes_threads_available());
}

static int fail_command(const char *name)
{
    const char *names[sizeof commands / sizeof *commands];
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        names[i] = commands[i] ? commands[i]->name : NULL;
    }
    const char *near = nearest_word(name, names);
    fputs("otimes: ", stderr);
    put_shown(stderr, name, "");
    if (near) {
        fprintf(stderr, ": unknown command; did you mean %s?\n", near);
    } else {
        fputs(": unknown command; otimes --help lists them\n", stderr);
    }
    return EXIT_USAGE;
}

static int help(int argc, char **argv)
{
    if (argc < 2) {
        put_usage(stdout);
        return EXIT_OK;
    }
    const command *cmd = command_find(commands, argv[1]);
    if (!cmd) {
        return fail_command(argv[1]);
    }
    opts_help(cmd, stdout);
    return EXIT_OK;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        put_usage(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        put_version(stdout);
        return EXIT_OK;
    }
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        return help(argc - 1, argv + 1);
    }
    if (!strcmp(word, "--commands") && argc == 2) {
        if (commands_json(commands, about, OPTS_EXITS, stdout)) {
            fputs("otimes: --commands: expected memory for options, got none\n", stderr);
            return EXIT_FAILED;
        }
        return EXIT_OK;
    }
    if (!strcmp(word, "--complete")) {
        complete(commands, argc - 2, argv + 2, stdout);
        return EXIT_OK;
    }
    if (word[0] == '-') {
        fputs("otimes: ", stderr);
        put_shown(stderr, word, "");
        fputs(": unknown option; otimes --help lists commands\n", stderr);
        return EXIT_USAGE;
    }
    const command *cmd = command_find(commands, word);
    return cmd ? command_run(cmd, argc - 1, argv + 1) : fail_command(word);
}

/* A result file must not become descriptor 1 or 2, or messages would end up inside it. Each closed
 * one is opened the wrong way round, so that using it fails as it would have. */
static int hold_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd) {
            return -1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (hold_standard_descriptors()) {
        return EXIT_FAILED;
    }
    stop_install();
    opened_install();
    int status = dispatch(argc, argv);
    const int failed = ferror(stdout);
    const command *cmd = argc > 1 ? command_find(commands, argv[1]) : NULL;
    const int answers = cmd && cmd->failed; /* its status 1 is no failure that was told of */
    errno = 0;
    if ((fclose(stdout) || failed) && (status == EXIT_OK || (answers && status == EXIT_DIFFERS))) {
        fprintf(stderr, "otimes: standard output: cannot be written: %s\n",
                errno ? strerror(errno) : "an earlier write failed");
        status = answers ? cmd->failed : EXIT_FAILED;
    }
    return status;
}
