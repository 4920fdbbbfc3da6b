/* SPDX-License-Identifier: MIT
 *
 * --help, printed from the same tables that are parsed.
 */
#include "opts.h"

#include <string.h>

#include "command.h"

#define WIDTH 80
#define HELP_COLUMN 26

/* Words of text from column `at` on, each further line from `indent`; ends the line. */
static void put_wrapped(FILE *to, const char *text, size_t at, size_t indent)
{
    int first = 1;
    while (*text) {
        const size_t length = strcspn(text, " ");
        if (!first && at + 1 + length > WIDTH) {
            fprintf(to, "\n%*s", (int)indent, "");
            at = indent;
            first = 1;
        }
        fprintf(to, "%s%.*s", first ? "" : " ", (int)length, text);
        at += length + !first;
        first = 0;
        text += length + strspn(text + length, " ");
    }
    putc('\n', to);
}

static void append(char *text, size_t size, const char *a, const char *b)
{
    const size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", a, b);
}

void opts_describe(const opt *o, char *text, size_t size)
{
    char argument[128] = "";
    if (o->argument) {
        append(argument, sizeof argument, "", o->argument);
    }
    for (const opt_word *w = o->argument ? NULL : o->words; w && w->name; w++) {
        append(argument, sizeof argument,
               w == o->words        ? ""
               : o->kind == OPT_SET ? ","
                                    : "|",
               w->name);
    }
    *text = '\0';
    if (o->letter) {
        snprintf(text, size, "-%c, ", o->letter);
    }
    append(text, size, o->kind == OPT_SWITCH ? "--[no-]" : "--", o->name);
    if (!*argument) {
        return;
    }
    append(text, size, o->optional ? "[=" : " ", argument);
    append(text, size, o->optional ? "]" : "", "");
}

static void put_options(FILE *to, const char *heading, const opt *table)
{
    char left[192];
    if (!table->name) {
        return;
    }
    fprintf(to, "\n%s:\n", heading);
    for (const opt *o = table; o->name; o++) {
        opts_describe(o, left, sizeof left);
        const int indent = o->letter ? 2 : 6;
        const size_t used = (size_t)indent + strlen(left);
        fprintf(to, "%*s%s", indent, "", left);
        if (used + 2 > HELP_COLUMN) {
            fprintf(to, "\n%*s", HELP_COLUMN, "");
        } else {
            fprintf(to, "%*s", (int)(HELP_COLUMN - used), "");
        }
        put_wrapped(to, o->help, HELP_COLUMN, HELP_COLUMN);
    }
}

const char *opts_operands(const command *cmd)
{
    return cmd->operands.about ? cmd->operands.about
           : cmd->no_weights
               ? "\nMODEL is a directory with tokenizer.json, tokenizer.model, or vocab.json and\n"
                 "merges.txt, or one such file; its weights are not opened. LIST is like 0,3-5,9.\n"
               : "\nMODEL is a directory with config.json and model.safetensors (or shards and "
                 "their\n"
                 "index), or one .safetensors file. LIST is like 0,3-5,9.\n";
}

const char *opts_exits(const command *cmd)
{
    return cmd->exits ? cmd->exits : OPTS_EXITS;
}

const opt *opts_section(const command *cmd, int section, opt *room, const char **heading)
{
    static const opt none[] = {{.name = NULL}};
    const unsigned texts = OPTS_TEXT | OPTS_RUN | OPTS_RESUME;
    const unsigned masks[OPTS_SECTIONS] = {0, cmd->shared & ~texts, cmd->shared & texts,
                                           cmd->no_weights ? 0 : OPTS_WEIGHTS, OPTS_ALWAYS};
    const char *const headings[OPTS_SECTIONS] = {"Options of this command", "Selection",
                                                 cmd->shared & OPTS_RUN    ? "Texts and runs"
                                                 : cmd->shared & OPTS_TEXT ? "Text"
                                                                           : "Interrupted runs",
                                                 "Weights", "Options of every command"};
    *heading = headings[section];
    if (section == 0) {
        return cmd->own ? cmd->own : none;
    }
    opts_shared(masks[section], room);
    return room;
}

void opts_help(const command *cmd, FILE *to)
{
    opt room[OPTS_SHARED_MAX];
    const char *heading;
    fprintf(to, "usage: otimes %s [options] %s\n\n", cmd->name,
            cmd->operands.usage ? cmd->operands.usage : "MODEL");
    put_wrapped(to, cmd->about, 0, 0);
    fputs(opts_operands(cmd), to);
    for (int i = 0; i < OPTS_SECTIONS; i++) {
        const opt *table = opts_section(cmd, i, room, &heading);
        put_options(to, heading, table);
    }
    fprintf(to, "\nExample:\n  %s\n", cmd->example);
    fprintf(to, "\nExit status: %s.\n", opts_exits(cmd));
}
