/* SPDX-License-Identifier: MIT
 *
 * Command line options as data. A table declares each option once; parsing and --help both read
 * the table, so they cannot disagree.
 */
#ifndef OPTS_H
#define OPTS_H

#include <stdio.h>

#include <otimes/common.h>

struct command;

/* What an option does to its field. */
typedef enum opt_kind {
    OPT_FLAG,   /* int: 1 */
    OPT_SWITCH, /* int: 1, or 0 as --no-<name> */
    OPT_TEXT,   /* const char *: the argument */
    OPT_TEXTS,  /* opt_texts: the arguments, in order; the option may stand several times */
    OPT_NUMBER, /* int64_t: the argument, from low to high */
    OPT_CHOICE, /* int: value of the word that the argument is */
    OPT_SET,    /* int: values of all comma-separated words of the argument, combined with | */
    OPT_HELP    /* none: parsing ends with OPTS_HELP */
} opt_kind;

/* What the argument of an option is where its kind does not say, and what operands are: completion and
 * manual pages go by it. */
typedef enum opt_takes {
    TAKES_ANY,       /* a text, a number, a list of which nothing is known beforehand */
    TAKES_MODEL,     /* a folder or file with weights */
    TAKES_TOKENIZER, /* a folder or file with a tokenizer */
    TAKES_RESULT,    /* HDF5 that a command wrote */
    TAKES_CONFIG,    /* JSON */
    TAKES_FILE,      /* any file */
    TAKES_LAYERS,    /* of the model: 0,3-5 */
    TAKES_HEADS,     /* of each layer: 0,3-5 */
    TAKES_EXPERTS,   /* of each layer, and one more for the shared expert: 0,3-5 */
    TAKES_LABELS,    /* heads: 0.3,1.5 */
    TAKES_PARTS,     /* heads, LAYER.attn and LAYER.mlp: 0.3,1.mlp */
    TAKES_CIRCUIT,   /* ov, qk or kcomp:0.3 */
    TAKES_POINT,     /* of the residual stream: final, 5 or 5.mid */
    TAKES_HOOKS      /* names of activations: hook_embed,blocks.0.hook_resid_pre */
} opt_takes;

/* Arguments of an option that is given several times. */
#define OPT_TEXTS_MAX 64
typedef struct opt_texts {
    const char *item[OPT_TEXTS_MAX];
    int count;
} opt_texts;

typedef struct opt_word {
    const char *name;
    int value;
} opt_word;

typedef struct opt {
    const char *name;     /* without dashes; NULL ends a table */
    char letter;          /* 0: none */
    const char *argument; /* its name in help; NULL where the kind takes none */
    const char *help;
    opt_kind kind;
    size_t offset; /* of the field in the command's options */
    int64_t low, high;
    const opt_word *words; /* of a choice or set, ended by NULL; the argument's name may be NULL */
    int optional;          /* a choice may stand without argument and then means its first word */
    opt_takes takes;
} opt;

/* Options that several commands take; a command says which. */
enum {
    OPTS_LAYERS = 1,
    OPTS_HEADS = 2,
    OPTS_TOKENS = 4,
    OPTS_TOP = 8,
    OPTS_TEXT = 16,    /* texts that are encoded to token ids */
    OPTS_RUN = 128,    /* what a model is run with: see run_options.h; with OPTS_TEXT */
    OPTS_WEIGHTS = 32, /* processing, configuration, threads: every command that opens weights */
    OPTS_ALWAYS = 64,  /* output, progress, help: every command takes these */
    OPTS_RESUME = 256 /* of commands that write block by block and ask what is there: an interrupted
                          run can go on */
};

enum opts_format { FORMAT_DEFAULT, FORMAT_HDF5, FORMAT_TSV, FORMAT_NULL, FORMAT_SAFETENSORS };

#define OPTS_OPERANDS_MAX 64

/* First member of every command's options. */
typedef struct common_options {
    const char *model; /* the first operand */
    const char *operand[OPTS_OPERANDS_MAX];
    int operand_count;
    const char *output;                  /* NULL: not given */
    int format;                          /* enum opts_format */
    const char *layers, *heads, *tokens; /* as written; NULL: all */
    const char *text, *text_file;        /* NULL: not given */
    const char *json_field;              /* of the objects in JSON lines; NULL: "text" */
    int truncate;                        /* texts are cut where the model takes no more */
    int bos;                             /* -1: as the tokenizer was trained */
    const char *memory;                  /* bytes as written; NULL: any */
    int stream;                          /* weights are read anew for each batch */
    int plan;                            /* say what a run takes instead of running */
    int64_t batch;                       /* tokens; 0: the library's own default */
    int64_t top;                         /* -1: the analysis' own default */
    int64_t threads;                     /* 0: all */
    const char *config;                  /* NULL: beside the weights */
    const char *state_dict;              /* of a nested checkpoint; NULL: the one that fits */
    int raw;                             /* processing off, except for steps asked for by name */
    int fold_ln, center_writing_weights, center_unembed, fold_value_biases; /* -1: not said */
    int progress; /* -1: when stderr is a terminal */
    int quiet;
    int space_check; /* 0: write although the disk may not hold it */
    int resume; /* 1: go on with an interrupted run; 0: keep nothing to go on with; -1: neither */
} common_options;

#define OPTS_HELP 1

/* Parses the arguments after the command's name into options, which start as the command's
 * defaults. 0, OPTS_HELP, or OTIMES_ERR_ARGUMENT with the option named. Strings point into argv. */
OTIMES_MUST_CHECK int opts_parse(const struct command *cmd, int argc, char **argv, void *options,
                                 otimes_err *err);

/* Every option of a command, its own first. */
#define OPTS_KNOWN_MAX 64
typedef struct opts_known {
    opt option[OPTS_KNOWN_MAX];
    int count;
} opts_known;

void opts_collect(const struct command *cmd, opts_known *all);

/* The option called `name` (length bytes, no dashes) or `letter`, or NULL; *off when it is the negative of
 * a switch. */
const opt *opts_find_long(const opts_known *all, const char *word, size_t length, int *off);
const opt *opts_find_letter(const opts_known *all, char letter);

int opts_takes_argument(const opt *o);

/* What zeroed options are before anything is parsed. */
void opts_defaults(const struct command *cmd, void *options);

/* What --help prints. */
void opts_help(const struct command *cmd, FILE *to);

/* The shared options of these masks, ended by name NULL, in `table` of at least OPTS_SHARED_MAX. */
#define OPTS_SHARED_MAX 32
void opts_shared(unsigned masks, opt *table);

/* The options of a command as help has them, section by section: a table ended by name NULL, which may be
 * empty and may lie in `room`, of at least OPTS_SHARED_MAX. */
#define OPTS_SECTIONS 5
const opt *opts_section(const struct command *cmd, int section, opt *room, const char **heading);

/* "-o, --output FILE", "--[no-]progress", "--format hdf5|tsv|null", "--full[=float32|float16]" */
void opts_describe(const opt *o, char *text, size_t size);

/* What is said of a command's operands, and of its exit statuses: these, unless it has its own. */
#define OPTS_EXITS "0 success, 1 failure, 2 wrong usage, 128 + signal when stopped"
const char *opts_operands(const struct command *cmd);
const char *opts_exits(const struct command *cmd);

#endif
