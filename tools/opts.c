/* SPDX-License-Identifier: MIT
 *
 * The parser is our own because getopt_long takes abbreviations, which break scripts when an
 * option is added.
 */
#include "opts.h"

#include <otimes/parse.h>

#include <string.h>

#include "command.h"
#include "fail.h"

void opts_collect(const command *cmd, opts_known *all)
{
    opt shared[OPTS_SHARED_MAX];
    all->count = 0;
    for (const opt *o = cmd->own; o && o->name && all->count < OPTS_KNOWN_MAX; o++) {
        all->option[all->count++] = *o;
    }
    opts_shared(cmd->shared | OPTS_ALWAYS | (cmd->no_weights ? 0 : OPTS_WEIGHTS), shared);
    for (const opt *o = shared; o->name && all->count < OPTS_KNOWN_MAX; o++) {
        all->option[all->count++] = *o;
    }
}

int opts_takes_argument(const opt *o)
{
    return o->kind == OPT_TEXT || o->kind == OPT_TEXTS || o->kind == OPT_NUMBER ||
           o->kind == OPT_CHOICE || o->kind == OPT_SET;
}

static int same(const char *name, const char *word, size_t length)
{
    return strlen(name) == length && !memcmp(name, word, length);
}

const opt *opts_find_long(const opts_known *all, const char *word, size_t length, int *off)
{
    for (int i = 0; i < all->count; i++) {
        const opt *o = &all->option[i];
        *off = 0;
        if (same(o->name, word, length)) {
            return o;
        }
        *off = 1;
        if (o->kind == OPT_SWITCH && length > 3 && !memcmp(word, "no-", 3) &&
            same(o->name, word + 3, length - 3)) {
            return o;
        }
    }
    return NULL;
}

const opt *opts_find_letter(const opts_known *all, char letter)
{
    for (int i = 0; i < all->count; i++) {
        if (all->option[i].letter == letter) {
            return &all->option[i];
        }
    }
    return NULL;
}

/* The value of one word; the error lists all of them. */
static int find_word(const opt *o, const char *text, size_t length, int *value, otimes_err *err)
{
    char list[256] = "";
    size_t used = 0;
    for (const opt_word *w = o->words; w->name; w++) {
        if (same(w->name, text, length)) {
            *value = w->value;
            return 0;
        }
        const int n = snprintf(list + used, sizeof list - used, "%s%s",
                               w == o->words ? ""
                               : w[1].name   ? ", "
                                             : " or ",
                               w->name);
        used += n > 0 && (size_t)n < sizeof list - used ? (size_t)n : 0;
    }
    return fail(err, OTIMES_ERR_ARGUMENT, "--%s: expected %s, got '%.*s'", o->name, list,
                (int)length, text);
}

static int parse_set(const opt *o, const char *text, int *set, otimes_err *err)
{
    *set = 0;
    for (;;) {
        int value;
        const size_t length = strcspn(text, ",");
        const int rc = find_word(o, text, length, &value, err);
        if (rc) {
            return rc;
        }
        *set |= value;
        if (!text[length]) {
            return 0;
        }
        text += length + 1;
    }
}

static int add_text(const opt *o, const char *text, opt_texts *list, otimes_err *err)
{
    if (list->count == OPT_TEXTS_MAX) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--%s: expected at most %d of them, got more",
                    o->name, OPT_TEXTS_MAX);
    }
    list->item[list->count++] = text;
    return 0;
}

/* Puts an option with its argument (NULL: none) into its field. */
static int store(const opt *o, int off, const char *argument, char *options, otimes_err *err)
{
    char name[64];
    int64_t number;
    int *as_int = (int *)(void *)(options + o->offset), value = 0, rc;
    switch (o->kind) {
    case OPT_FLAG:
        *as_int = 1;
        return 0;
    case OPT_SWITCH:
        *as_int = !off;
        return 0;
    case OPT_TEXT:
        memcpy(options + o->offset, &argument, sizeof argument);
        return 0;
    case OPT_TEXTS:
        return add_text(o, argument, (opt_texts *)(void *)(options + o->offset), err);
    case OPT_NUMBER:
        snprintf(name, sizeof name, "--%s", o->name);
        rc = otimes_parse_i64(argument, name, o->low, o->high, &number, err);
        if (!rc) {
            memcpy(options + o->offset, &number, sizeof number);
        }
        return rc;
    case OPT_CHOICE:
        rc = argument ? find_word(o, argument, strlen(argument), &value, err) : 0;
        if (!rc) {
            *as_int = argument ? value : o->words->value;
        }
        return rc;
    case OPT_SET:
        rc = parse_set(o, argument, &value, err);
        if (!rc) {
            *as_int = value;
        }
        return rc;
    case OPT_HELP:
        return OPTS_HELP;
    }
    return 0;
}

/* Why an option is not known here: it belongs to other commands, or is misspelt. */
static int fail_unknown(const opts_known *all, const char *word, otimes_err *err)
{
    char name[80], spelt[OPTS_KNOWN_MAX * 2][80];
    const char *candidates[OPTS_KNOWN_MAX * 2 + 1];
    opt shared[OPTS_SHARED_MAX];
    int n = 0;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    opts_shared(~0u, shared);
    for (const opt *o = shared; o->name; o++) {
        if (!strncmp(name, "--", 2) && !strcmp(name + 2, o->name)) {
            return fail(err, OTIMES_ERR_ARGUMENT, "%s: not an option of this command", name);
        }
    }
    for (int i = 0; i < all->count; i++) {
        snprintf(spelt[n++], sizeof *spelt, "--%s", all->option[i].name);
        if (all->option[i].kind == OPT_SWITCH) {
            snprintf(spelt[n++], sizeof *spelt, "--no-%s", all->option[i].name);
        }
    }
    for (int i = 0; i < n; i++) {
        candidates[i] = spelt[i];
    }
    candidates[n] = NULL;
    const char *near = nearest_word(name, candidates);
    return near ? fail(err, OTIMES_ERR_ARGUMENT, "%s: unknown option; did you mean %s?", name, near)
                : fail(err, OTIMES_ERR_ARGUMENT, "%s: unknown option; --help lists them", name);
}

/* The argument that follows as a word of its own; NULL when there is none. What begins with two
 * dashes is the next option: a forgotten argument is likelier than such a file name, and
 * --name=--file says the other. */
static const char *next_word(int argc, char **argv, int *at)
{
    if (*at + 1 >= argc || !strncmp(argv[*at + 1], "--", 2)) {
        return NULL;
    }
    return argv[++*at];
}

static int parse_long(const opts_known *all, int argc, char **argv, int *at, char *options,
                      otimes_err *err)
{
    const char *word = argv[*at] + 2;
    const size_t length = strcspn(word, "=");
    const char *argument = word[length] ? word + length + 1 : NULL;
    int off;
    const opt *o = opts_find_long(all, word, length, &off);
    if (!o) {
        return fail_unknown(all, argv[*at], err);
    }
    if (argument && !opts_takes_argument(o)) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--%.*s: expected no argument, got '%s'", (int)length,
                    word, argument);
    }
    if (!argument && opts_takes_argument(o) && !o->optional) {
        argument = next_word(argc, argv, at);
        if (!argument) {
            return fail(err, OTIMES_ERR_ARGUMENT, "--%s: expected an argument, got none", o->name);
        }
    }
    return store(o, off, argument, options, err);
}

/* -q, -o FILE, -oFILE, and -qo FILE. */
static int parse_letters(const opts_known *all, int argc, char **argv, int *at, char *options,
                         otimes_err *err)
{
    int rc = 0;
    for (const char *c = argv[*at] + 1; *c && !rc; c++) {
        const opt *o = opts_find_letter(all, *c);
        if (!o) {
            return fail(err, OTIMES_ERR_ARGUMENT, "-%c: unknown option; --help lists them", *c);
        }
        if (!opts_takes_argument(o)) {
            rc = store(o, 0, NULL, options, err);
            continue;
        }
        const char *argument = c[1] ? c + 1 : next_word(argc, argv, at);
        if (!argument) {
            return fail(err, OTIMES_ERR_ARGUMENT, "-%c: expected an argument, got none", *c);
        }
        return store(o, 0, argument, options, err);
    }
    return rc;
}

static int take_operand(const command *cmd, common_options *common, const char *word,
                        otimes_err *err)
{
    const int most = cmd->operands.max ? cmd->operands.max : 1;
    if (common->operand_count == most && !cmd->operands.max) {
        return fail(err, OTIMES_ERR_ARGUMENT, "%s: expected one MODEL, got a second operand", word);
    }
    if (common->operand_count == most) {
        return fail(err, OTIMES_ERR_ARGUMENT, "%s: expected at most %d operands (%s), got one more",
                    word, most, cmd->operands.usage);
    }
    common->operand[common->operand_count++] = word;
    common->model = common->operand[0];
    return 0;
}

static int check_operands(const command *cmd, const common_options *common, otimes_err *err)
{
    const operands *o = &cmd->operands;
    char range[32], got[16] = "none";
    if (!o->max && !common->operand_count) {
        return fail(err, OTIMES_ERR_ARGUMENT, "MODEL: expected a directory or file, got none");
    }
    if (common->operand_count >= o->min) {
        return 0;
    }
    snprintf(range, sizeof range, "%d", o->min);
    if (o->max > o->min) {
        snprintf(range, sizeof range, "%d to %d", o->min, o->max);
    }
    if (common->operand_count) {
        snprintf(got, sizeof got, "%d", common->operand_count);
    }
    return fail(err, OTIMES_ERR_ARGUMENT, "%s: expected %s operands, got %s", o->usage, range, got);
}

void opts_defaults(const command *cmd, void *options)
{
    common_options *common = options;
    common->top = common->bos = -1;
    common->fold_ln = common->center_writing_weights = -1;
    common->center_unembed = common->fold_value_biases = -1;
    common->progress = common->resume = -1;
    common->space_check = 1;
    if (cmd->defaults) {
        cmd->defaults(options);
    }
}

int opts_parse(const command *cmd, int argc, char **argv, void *options, otimes_err *err)
{
    common_options *common = options;
    opts_known all;
    int only_operands = 0, rc = 0;
    opts_collect(cmd, &all);
    opts_defaults(cmd, options);
    for (int i = 1; i < argc && !rc; i++) {
        const char *word = argv[i];
        if (only_operands || word[0] != '-' || !word[1]) {
            rc = take_operand(cmd, common, word, err);
        } else if (!strcmp(word, "--")) {
            only_operands = 1;
        } else if (word[1] == '-') {
            rc = parse_long(&all, argc, argv, &i, options, err);
        } else {
            rc = parse_letters(&all, argc, argv, &i, options, err);
        }
    }
    return rc ? rc : check_operands(cmd, common, err);
}
