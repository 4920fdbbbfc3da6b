/* SPDX-License-Identifier: MIT */
#include "commands_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {
    [OPT_FLAG] = "flag",     [OPT_SWITCH] = "switch", [OPT_TEXT] = "text", [OPT_TEXTS] = "texts",
    [OPT_NUMBER] = "number", [OPT_CHOICE] = "choice", [OPT_SET] = "set",   [OPT_HELP] = "help",
};
static const char *const taken[] = {
    [TAKES_ANY] = "any",       [TAKES_MODEL] = "model",   [TAKES_TOKENIZER] = "tokenizer",
    [TAKES_RESULT] = "result", [TAKES_CONFIG] = "config", [TAKES_FILE] = "file",
    [TAKES_LAYERS] = "layers", [TAKES_HEADS] = "heads",   [TAKES_EXPERTS] = "experts",
    [TAKES_LABELS] = "labels", [TAKES_PARTS] = "parts",   [TAKES_CIRCUIT] = "circuit",
    [TAKES_POINT] = "point",   [TAKES_HOOKS] = "hooks",
};

/* NULL is null. */
static void put_text(FILE *to, const char *text)
{
    if (!text) {
        fputs("null", to);
        return;
    }
    putc('"', to);
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\') {
            fprintf(to, "\\%c", *c);
        } else if ((unsigned char)*c < ' ') {
            fprintf(to, "\\u%04x", (unsigned)*c);
        } else {
            putc(*c, to);
        }
    }
    putc('"', to);
}

/* A member of an object behind another one. */
static void put_member(FILE *to, const char *name, const char *text)
{
    fprintf(to, ", \"%s\": ", name);
    put_text(to, text);
}

static void put_truth(FILE *to, const char *name, int value)
{
    fprintf(to, ", \"%s\": %s", name, value ? "true" : "false");
}

/* What the field of an option says when it is not given; null where that means something else. */
static void put_default(FILE *to, const opt *o, const char *options)
{
    int64_t number;
    int value;
    fputs(", \"default\": ", to);
    if (o->kind == OPT_NUMBER) {
        memcpy(&number, options + o->offset, sizeof number);
        if (number >= o->low && number <= o->high) {
            fprintf(to, "%" PRId64, number);
            return;
        }
    }
    if (o->kind == OPT_CHOICE && !o->optional) {
        memcpy(&value, options + o->offset, sizeof value);
        for (const opt_word *w = o->words; w->name; w++) {
            if (w->value == value) {
                put_text(to, w->name);
                return;
            }
        }
    }
    put_text(to, NULL);
}

static void put_option(FILE *to, const opt *o, const char *options)
{
    char form[192];
    opts_describe(o, form, sizeof form);
    fputs("    {\"name\": ", to);
    put_text(to, o->name);
    put_member(to, "form", form);
    put_member(to, "kind", kinds[o->kind]);
    put_member(to, "argument", o->argument);
    put_member(to, "takes", taken[o->takes]);
    put_member(to, "help", o->help);
    put_truth(to, "optional", o->optional);
    put_default(to, o, options);
    if (o->kind == OPT_NUMBER) {
        fprintf(to, ", \"low\": %" PRId64 ", \"high\": %" PRId64, o->low, o->high);
    }
    fputs(", \"words\": [", to);
    for (const opt_word *w = o->words; w && w->name; w++) {
        fputs(w == o->words ? "" : ", ", to);
        put_text(to, w->name);
    }
    fputs("]}", to);
}

static void put_sections(FILE *to, const command *cmd, const char *options)
{
    opt room[OPTS_SHARED_MAX];
    const char *heading;
    int sections = 0;
    fputs(", \"sections\": [", to);
    for (int i = 0; i < OPTS_SECTIONS; i++) {
        const opt *table = opts_section(cmd, i, room, &heading);
        if (!table->name) {
            continue;
        }
        fprintf(to, "%s\n   {\"heading\": ", sections++ ? "," : "");
        put_text(to, heading);
        fputs(", \"options\": [\n", to);
        for (const opt *o = table; o->name; o++) {
            fputs(o == table ? "" : ",\n", to);
            put_option(to, o, options);
        }
        fputs("]}", to);
    }
    fputs("]", to);
}

static int put_command(FILE *to, const command *cmd)
{
    char *options = calloc(1, cmd->size);
    if (!options) {
        return -1;
    }
    opts_defaults(cmd, options);
    fputs("  {\"name\": ", to);
    put_text(to, cmd->name);
    put_member(to, "group", cmd->group);
    put_member(to, "summary", cmd->summary);
    put_member(to, "about", cmd->about);
    put_member(to, "operands", cmd->operands.usage ? cmd->operands.usage : "MODEL");
    put_member(to, "operands_about", opts_operands(cmd));
    put_member(to, "example", cmd->example);
    put_member(to, "exits", opts_exits(cmd));
    put_truth(to, "resumes", (cmd->shared & OPTS_RESUME) != 0);
    put_sections(to, cmd, options);
    fputs("}", to);
    free(options);
    return 0;
}

int commands_json(const command *const *commands, const char *about, const char *exits, FILE *to)
{
    int rc = 0;
    fputs("{\"version\": ", to);
    put_text(to, otimes_version());
    put_member(to, "about", about);
    put_member(to, "exits", exits);
    fputs(", \"commands\": [\n", to);
    for (const command *const *c = commands; *c && !rc; c++) {
        fputs(c == commands ? "" : ",\n", to);
        rc = put_command(to, *c);
    }
    fputs("]}\n", to);
    return rc;
}
