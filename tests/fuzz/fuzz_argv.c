/* SPDX-License-Identifier: MIT
 *
 * Arguments of a command: words with a NUL between, read with options of every kind and all that
 * commands share. The first byte says how many operands the command takes.
 */
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "parts.h"

enum { WORDS = 80 };

typedef struct options {
    common_options common;
    int flag, on, choice, set;
    const char *text;
    opt_texts texts;
    int64_t number;
} options;

static const opt_word some[] = {{"one", 1}, {"two", 2}, {"four", 4}, {NULL, 0}};

static const opt own[] = {
    {.name = "flag", .letter = 'f', .kind = OPT_FLAG, .offset = offsetof(options, flag)},
    {.name = "on", .kind = OPT_SWITCH, .offset = offsetof(options, on)},
    {.name = "choice",
     .letter = 'c',
     .kind = OPT_CHOICE,
     .offset = offsetof(options, choice),
     .words = some},
    {.name = "maybe",
     .kind = OPT_CHOICE,
     .offset = offsetof(options, choice),
     .words = some,
     .optional = 1},
    {.name = "set", .kind = OPT_SET, .offset = offsetof(options, set), .words = some},
    {.name = "own", .letter = 't', .kind = OPT_TEXT, .offset = offsetof(options, text)},
    {.name = "each", .letter = 'e', .kind = OPT_TEXTS, .offset = offsetof(options, texts)},
    {.name = "number",
     .letter = 'n',
     .kind = OPT_NUMBER,
     .offset = offsetof(options, number),
     .low = -3,
     .high = 300},
    {0}};

static void look(const options *got, const operands *taken, int rc, const otimes_err *err)
{
    FUZZ_REQUIRE(rc == 0 || rc == OPTS_HELP || (err->code == rc && err->msg[0]));
    FUZZ_REQUIRE(got->number >= -3 && got->number <= 300);
    FUZZ_REQUIRE(got->set >= 0 && got->set <= 7 && got->choice >= 0 && got->choice <= 4);
    FUZZ_REQUIRE(got->texts.count <= OPT_TEXTS_MAX);
    FUZZ_REQUIRE(got->common.top >= -1 && got->common.batch >= 0 && got->common.threads >= 0);
    if (rc == 0) {
        const int most = taken->max ? taken->max : 1;
        FUZZ_REQUIRE(got->common.operand_count >= taken->min);
        FUZZ_REQUIRE(got->common.operand_count <= most);
        FUZZ_REQUIRE(got->common.model == got->common.operand[0]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const operands counts[] = {
        {0}, {.min = 2, .max = 2, .usage = "A B"}, {.min = 1, .max = 64, .usage = "MODEL ..."}};
    if (size == 0) {
        return 0;
    }
    command cmd = {.name = "test",
                   .operands = counts[*data % 3],
                   .shared =
                       OPTS_LAYERS | OPTS_HEADS | OPTS_TEXT | OPTS_RUN | OPTS_TOP | OPTS_RESUME,
                   .own = own,
                   .size = sizeof(options)};
    char name[] = "test", *argv[WORDS + 1] = {name};
    int argc = 1;
    int64_t bytes;
    options got = {0};
    otimes_err err = {0};
    data++;
    size--;
    while (size > 0 && argc < WORDS) {
        argv[argc++] = fuzz_part(&data, &size, 0, &bytes);
    }
    look(&got, &cmd.operands, opts_parse(&cmd, argc, argv, &got, &err), &err);
    for (int i = 1; i < argc; i++) {
        free(argv[i]);
    }
    return 0;
}
