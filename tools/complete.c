/* SPDX-License-Identifier: MIT */
#include "complete.h"

#include <stdlib.h>
#include <string.h>

#include <otimes/parse.h>

/* A line as far as it is understood. */
typedef struct line {
    const command *cmd;
    opts_known known;
    int given[OPTS_KNOWN_MAX];
    const opt *waiting; /* for its argument, which is the word at the place */
    int only_operands;
    int operands; /* before the place */
    complete_place at;
} line;

void complete_offer(const complete_place *at, const char *candidate, const char *about)
{
    const char *typed = at->word + at->before;
    if (strncmp(candidate, typed, strlen(typed)) != 0) {
        return;
    }
    fprintf(at->to, "%.*s%s", (int)at->before, at->word, candidate);
    if (about) {
        fprintf(at->to, "\t%s", about);
    }
    putc('\n', at->to);
}

size_t complete_list(complete_place *at)
{
    const size_t list = at->before;
    const char *comma = strrchr(at->word + list, ',');
    fputs("\tlist\n", at->to);
    at->before = comma ? (size_t)(comma + 1 - at->word) : list;
    return list;
}

int complete_listed(const complete_place *at, size_t list, const char *candidate)
{
    const size_t length = strlen(candidate);
    for (size_t i = list; i < at->before; i += strcspn(at->word + i, ",") + 1) {
        if (strcspn(at->word + i, ",") == length && !memcmp(at->word + i, candidate, length)) {
            return 1;
        }
    }
    return 0;
}

static void offer_commands(const command *const *commands, const complete_place *at)
{
    for (; *commands; commands++) {
        complete_offer(at, (*commands)->name, (*commands)->summary);
    }
}

static void offer_files(const complete_place *at, const char *suffixes)
{
    fprintf(at->to, "\tfiles\t%zu\t%s\n", at->before, suffixes);
}

/* A file that a command or an option takes; 0: it takes something else. */
static int offer_taken_files(const complete_place *at, opt_takes takes)
{
    switch (takes) {
    case TAKES_MODEL:
        offer_files(at, ".safetensors .safetensors.index.json .gguf .pt .pth .ckpt .bin");
        return 1;
    case TAKES_TOKENIZER:
        offer_files(at, ".json .model .gguf .bin");
        return 1;
    case TAKES_RESULT:
        offer_files(at, ".h5 .nc .hdf5");
        return 1;
    case TAKES_CONFIG:
        offer_files(at, ".json");
        return 1;
    case TAKES_FILE:
        offer_files(at, "");
        return 1;
    default:
        return 0;
    }
}

static void offer_words(complete_place *at, const opt *o)
{
    const size_t list = o->kind == OPT_SET ? complete_list(at) : at->before;
    for (const opt_word *w = o->words; w->name; w++) {
        if (!complete_listed(at, list, w->name)) {
            complete_offer(at, w->name, NULL);
        }
    }
}

/* What stands behind the first `before` bytes of the word is the argument of o. */
static void offer_argument(complete_place *at, const opt *o, size_t before)
{
    at->before = before;
    if (o->words) {
        offer_words(at, o);
        return;
    }
    if (offer_taken_files(at, o->takes)) {
        return;
    }
    if (o->takes == TAKES_CIRCUIT) {
        complete_offer(at, "ov", "what attending to a token does to the logits");
        complete_offer(at, "qk", "what a token attends to");
        if (strcmp(at->word + before, "kcomp:") != 0) {
            complete_offer(at, "kcomp:", "the same with keys that an earlier head wrote");
        }
    }
    if (o->takes == TAKES_POINT) {
        complete_offer(at, "final", NULL);
    }
    if (o->takes != TAKES_ANY) {
        complete_of_model(at, o->takes);
    }
}

static void offer_option(const complete_place *at, const opt *o)
{
    char name[128], off[512];
    snprintf(name, sizeof name, "--%s", o->name);
    complete_offer(at, name, o->help);
    if (o->kind == OPT_SWITCH) {
        snprintf(name, sizeof name, "--no-%s", o->name);
        snprintf(off, sizeof off, "not: %s", o->help);
        complete_offer(at, name, off);
    }
    for (const opt_word *w = o->optional ? o->words : NULL; w && w->name; w++) {
        snprintf(name, sizeof name, "--%s=%s", o->name, w->name);
        complete_offer(at, name, o->help);
    }
    if (o->letter && strlen(at->word) < 3) {
        snprintf(name, sizeof name, "-%c", o->letter);
        complete_offer(at, name, o->help);
    }
}

static void offer_options(const line *l)
{
    for (int i = 0; i < l->known.count; i++) {
        const opt *o = &l->known.option[i];
        if (!l->given[i] || o->kind == OPT_TEXTS) {
            offer_option(&l->at, o);
        }
    }
}

static void offer_operand(const line *l)
{
    const operands *o = &l->cmd->operands;
    if (l->operands < (o->max ? o->max : 1)) {
        offer_taken_files(&l->at, o->takes != TAKES_ANY ? o->takes
                                  : l->cmd->no_weights  ? TAKES_TOKENIZER
                                                        : TAKES_MODEL);
    } else if (!l->only_operands) {
        offer_options(l);
    }
}

/* The option whose argument begins in the middle of the word, behind *before bytes: --head=1.0, -oFILE,
 * -qoFILE. */
static const opt *find_glued(const line *l, const char *word, size_t *before)
{
    int off;
    const opt *o = NULL;
    if (word[0] != '-' || !word[1]) {
        return NULL;
    }
    if (word[1] == '-') {
        const size_t length = strcspn(word, "=");
        o = word[length] ? opts_find_long(&l->known, word + 2, length - 2, &off) : NULL;
        *before = length + 1;
        return o && opts_takes_argument(o) ? o : NULL;
    }
    for (size_t i = 1; word[i]; i++) {
        o = opts_find_letter(&l->known, word[i]);
        if (!o || opts_takes_argument(o)) {
            *before = i + 1;
            return o && word[i + 1] ? o : NULL;
        }
    }
    return NULL;
}

static void keep(line *l, const opt *o, const char *argument)
{
    if (o && argument && !strcmp(o->name, "config")) {
        l->at.config = argument;
    } else if (o && argument && !strcmp(o->name, "state-dict")) {
        l->at.state_dict = argument;
    }
}

/* What an option word says; the option that still waits for its argument, or NULL. */
static const opt *read_option(line *l, const char *word)
{
    size_t before = 0;
    int off;
    const opt *glued = find_glued(l, word, &before), *o = NULL;
    if (word[1] == '-') {
        o = opts_find_long(&l->known, word + 2, strcspn(word + 2, "="), &off);
    }
    for (size_t i = 1; word[1] != '-' && word[i] && !(glued && i >= before); i++) {
        o = opts_find_letter(&l->known, word[i]);
        if (o) {
            l->given[o - l->known.option] = 1;
        }
    }
    if (o) {
        l->given[o - l->known.option] = 1;
    }
    keep(l, glued, word + before);
    return o && !glued && !o->optional && opts_takes_argument(o) ? o : NULL;
}

/* The words of a line behind its command, as opts_parse goes through them, from `i` up to `end`. */
static void read_words(line *l, char **words, int i, int end)
{
    l->waiting = NULL;
    for (; i < end; i++) {
        const char *word = words[i];
        if (l->waiting && strncmp(word, "--", 2) != 0) {
            keep(l, l->waiting, word);
            l->waiting = NULL;
        } else if (l->only_operands || word[0] != '-' || !word[1]) {
            l->at.model = l->at.model ? l->at.model : word;
            l->operands++;
            l->waiting = NULL;
        } else if (!strcmp(word, "--")) {
            l->only_operands = 1;
            l->waiting = NULL;
        } else {
            l->waiting = read_option(l, word);
        }
    }
}

/* Words behind the place are read as well: --head may be completed in front of its MODEL. */
static void read_line(line *l, char **words, int count, int index)
{
    read_words(l, words, 2, index < count ? index : count);
    const opt *waiting = l->waiting;
    const int before = l->operands, only = l->only_operands;
    read_words(l, words, index + 1, count);
    l->waiting = waiting;
    l->operands = before;
    l->only_operands = only;
}

static void complete_line(line *l)
{
    size_t before;
    const opt *o = NULL;
    if (l->waiting && strncmp(l->at.word, "--", 2) != 0) {
        offer_argument(&l->at, l->waiting, 0);
    } else if (!l->only_operands && (o = find_glued(l, l->at.word, &before))) {
        offer_argument(&l->at, o, before);
    } else if (!l->only_operands && l->at.word[0] == '-') {
        offer_options(l);
    } else {
        offer_operand(l);
    }
}

static void complete_first(const command *const *commands, const complete_place *at)
{
    offer_commands(commands, at);
    complete_offer(at, "help", "what a command does and takes");
    if (at->word[0] == '-') {
        complete_offer(at, "--help", "the commands");
        complete_offer(at, "--version", "of the program and what it was built with");
    }
}

void complete(const command *const *commands, int argc, char **argv, FILE *to)
{
    int64_t index = 0;
    line l = {.at = {.to = to}};
    const int count = argc - 1;
    char **words = argv + 1;
    if (argc < 2 || otimes_parse_i64(argv[0], "INDEX", 1, count, &index, NULL) != 0) {
        return;
    }
    l.at.word = index < count ? words[index] : "";
    if (index == 1) {
        complete_first(commands, &l.at);
        return;
    }
    if (!strcmp(words[1], "help") || !strcmp(words[1], "--help") || !strcmp(words[1], "-h")) {
        if (index == 2) {
            offer_commands(commands, &l.at);
        }
        return;
    }
    l.cmd = command_find(commands, words[1]);
    if (l.cmd) {
        opts_collect(l.cmd, &l.known);
        read_line(&l, words, count, (int)index);
        complete_line(&l);
    }
}
