/* SPDX-License-Identifier: MIT
 *
 * A command of the program as data: what it is called, what it takes, what it runs.
 */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdio.h>

#include <otimes/model.h>

#include "commands.h"
#include "opts.h"

/* What a command takes beside options. Zeroed: one MODEL. */
typedef struct operands {
    int min, max;      /* how many, at most OPTS_OPERANDS_MAX */
    const char *usage; /* as the usage line has them, e.g. "A B" or "MODEL [MODEL ...]" */
    const char *about; /* what they are, lines for help; NULL: as of one MODEL */
    opt_takes takes;   /* TAKES_ANY: as of one MODEL */
} operands;

typedef struct command {
    const char *name;
    const char *group;   /* heading under which the program's help lists it */
    const char *summary; /* one line there */
    const char *about;   /* one paragraph in its own help */
    const char *example; /* one command line */
    operands operands;
    unsigned shared;                 /* OPTS_* it takes beside OPTS_ALWAYS */
    int weights;                     /* it writes weights: to safetensors unless asked otherwise */
    const opt *own;                  /* options of its own */
    size_t size;                     /* of its options, whose first member is common_options */
    void (*defaults)(void *options); /* of its own options; all zero before. NULL: zero it is */
    int no_weights;                  /* MODEL is not opened: run and card get NULL for it */
    int failed;                      /* exit status of a failure; 0: EXIT_FAILED */
    const char *exits;               /* what its exit statuses mean; NULL: as of all commands */
    /* The analysis: everything it finds goes to sink. */
    int (*run)(const otimes_model *model, const void *options, otimes_sink *sink, otimes_err *err);
    /* Instead of run, a text for people, when neither file nor format is asked for; NULL: none. */
    int (*card)(const otimes_model *model, const void *options, FILE *to, otimes_err *err);
    /* Instead of both: all of its output is its own. `line` is the command line as results carry it. */
    int (*act)(const otimes_model *model, const void *options, const char *line, otimes_err *err);
} command;

#define OTIMES_DECLARE_COMMAND(name) extern const command command_##name;
OTIMES_COMMANDS(OTIMES_DECLARE_COMMAND)
#undef OTIMES_DECLARE_COMMAND

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* What run or card returns when all is done and the answer is no: exit status 1. Beside OPTS_HELP
 * and RUN_PLANNED. */
#define COMMAND_DIFFERS 3
enum { EXIT_DIFFERS = 1 };

/* By name in a list that NULL ends, or NULL. */
const command *command_find(const command *const *commands, const char *name);

/* Parses options, opens the model and the output, runs; an exit status. argv[0] is the command. */
int command_run(const command *cmd, int argc, char **argv);

/* How the options of OPTS_WEIGHTS open a model: a command that takes several opens the others so. */
void command_model_settings(const common_options *options, otimes_model_settings *settings);

/* Runs a command's `run` into memory, for its card. Release *result with otimes_memory_sink_free, also
 * after an error. What run returns, OTIMES_ERR_MEMORY, OTIMES_ERR_IO when the model changed. */
OTIMES_MUST_CHECK int command_result(int (*run)(const otimes_model *model, const void *options,
                                                otimes_sink *sink, otimes_err *err),
                                     const otimes_model *model, const void *options,
                                     otimes_memory_sink **result, otimes_err *err);

/* The candidate nearest to word, or NULL when none is near; NULL ends the candidates. */
const char *nearest_word(const char *word, const char *const *candidates);

#endif
