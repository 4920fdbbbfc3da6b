/* SPDX-License-Identifier: MIT */
#include <otimes/diff.h>

#include <stddef.h>

#include "command.h"
#include "diff_card.h"
#include "fail.h"
#include "result.h"
#include "select.h"

typedef struct options {
    common_options common;
    const char *rtol, *atol;
    int only_common, any_processing;
} options;

static const opt own[] = {
    {.name = "rtol",
     .argument = "R",
     .help = "a and b are equal where |a - b| <= A + R |b| (default: 0)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, rtol)},
    {.name = "atol",
     .argument = "A",
     .help = "the same A (default: 0)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, atol)},
    {.name = "common",
     .help = "compare what both have: arrays and labels of one alone are no difference",
     .kind = OPT_FLAG,
     .offset = offsetof(options, only_common)},
    {.name = "any-processing",
     .help = "compare results of weights that were processed otherwise, or of other settings or "
             "schemas, instead of refusing them",
     .kind = OPT_FLAG,
     .offset = offsetof(options, any_processing)},
    {.name = NULL},
};

static int read_settings(const options *o, otimes_diff_settings *s, otimes_err *err)
{
    otimes_diff_settings_default(s);
    s->common = o->only_common;
    s->any_processing = o->any_processing;
    int rc = o->rtol ? parse_real(o->rtol, "--rtol", 0, 1e300, &s->rtol, err) : 0;
    if (!rc && o->atol) {
        rc = parse_real(o->atol, "--atol", 0, 1e300, &s->atol, err);
    }
    return rc;
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    otimes_diff_settings settings;
    otimes_reader a = {0}, b = {0};
    int equal = 0;
    (void)model;
    int rc = read_settings(o, &settings, err);
    if (!rc) {
        rc = result_open(&a, o->common.operand[0], err);
    }
    if (!rc) {
        rc = result_open(&b, o->common.operand[1], err);
    }
    if (!rc) {
        rc = otimes_diff(&a, &b, &settings, sink, &equal, err);
    }
    result_close(&a);
    result_close(&b);
    return !rc && !equal ? COMMAND_DIFFERS : rc;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    const options *o = memory;
    otimes_memory_sink *result = NULL;
    int rc = command_result(run, model, memory, &result, err);
    if (rc >= 0 && !o->common.quiet) {
        const int failed = diff_card(result, to, err);
        rc = failed ? failed : rc;
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_diff = {
    .name = "diff",
    .group = "Results",
    .summary = "two results compared array by array, by labels",
    .about =
        "Compares two results in HDF5: arrays by name, axes by name, entries by label, so that "
        "heads in another order or a part of them still meet their own. NaN equals NaN; integers "
        "and texts must be the same; indices are compared by the labels that they point at. "
        "Results "
        "of weights that were processed otherwise, or of other settings, are refused. Without -o "
        "and --format it prints each array that differs, the worst first; with -q nothing.",
    .example = "otimes diff before.h5 after.h5 --rtol 1e-5",
    .operands = {.min = 2,
                 .max = 2,
                 .usage = "A B",
                 .about = "\nA and B are results that -o FILE.h5 of a command wrote; no model is "
                          "opened.\n",
                 .takes = TAKES_RESULT},
    .failed = 2,
    .exits = "0 equal, 1 not equal, 2 trouble, 128 + signal when stopped",
    .no_weights = 1,
    .own = own,
    .size = sizeof(options),
    .run = run,
    .card = card,
};
