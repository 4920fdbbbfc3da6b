/* SPDX-License-Identifier: MIT
 *
 * Where the result of a command goes, chosen from its options, with what every result carries.
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <otimes/model.h>

#include "opts.h"
#include "progress.h"

/* What was declared. */
typedef struct output_array {
    int ndim;
    double entry; /* bytes */
} output_array;

typedef struct output {
    otimes_sink sink;    /* for the analysis: passes on to target, shows progress, can cancel */
    otimes_sink target;  /* zeroed: not open */
    otimes_sink journal; /* in front of target where a run can be resumed; zeroed: none */
    int format;          /* enum opts_format, FORMAT_DEFAULT resolved */
    progress bar;
    const char *path;  /* of the result; NULL: none, or no disk is to be held against it */
    int64_t all, rest; /* bytes of the arrays declared so far; of those that are no run of chunks */
    int runs;          /* arrays that are */
    struct output_array *arrays;
    const char *command, *command_line;
    const otimes_model *model;
    int begun; /* the naming attributes are written */
} output;

/* Of every command's result. */
#define OUTPUT_SCHEMA_VERSION 1

/* ISO 8601 in UTC; SOURCE_DATE_EPOCH stands for now, so that a result can be reproduced.
 * OTIMES_ERR_ARGUMENT: that is no time. */
OTIMES_MUST_CHECK int output_date(char *text, size_t size, otimes_err *err);

/* Whether options ask for a result in a file or a format. */
int output_wanted(const common_options *options);

/* The format that options mean, for weights or for results. OTIMES_ERR_ARGUMENT when they
 * contradict each other. */
OTIMES_MUST_CHECK int output_format(const common_options *options, int weights, int *format,
                                    otimes_err *err);

/* Opens the sink. The first thing in it will be what names the result: schema, schema_version,
 * command_line, date (the analysis itself adds otimes_version and the model's facts). The
 * command line is that of a run that could go on with this one. Pointers must outlive it. Without
 * weights model is NULL. Release with output_close. */
OTIMES_MUST_CHECK int output_open(output *out, const struct command *command,
                                  const common_options *options, const otimes_model *model,
                                  const char *command_line, otimes_err *err);

/* Whether a run has to end before its time: a signal asks for it, or what it reads has changed. The
 * form of a sink's word about progress, for sinks that have nothing to show. */
int output_stops(otimes_sink *sink, double done, double total);

/* otimes_model_sha256, which output_stops ends. */
OTIMES_MUST_CHECK int output_sha256(const otimes_model *model, char **text, otimes_err *err);

/* Adds what is costly (the sha256 of the weights), and completes the result. */
OTIMES_MUST_CHECK int output_finish(output *out, otimes_err *err);

/* Whether what was not finished can be resumed, and from which text; 0 where that is not known. */
int output_keeps(const output *out, int64_t *text);

/* Releases everything; a result that was not finished leaves nothing behind but its journal, if it
 * can be resumed. Zeroed is fine. */
void output_close(output *out);

#endif
