/* SPDX-License-Identifier: MIT */
#include "output.h"

#include <otimes/parse.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "fail.h"
#include "identity.h"
#include "journal.h"
#include "layout.h"
#include "opened.h"
#include "sink_h5.h"
#include "sink_null.h"
#include "sink_safetensors.h"
#include "sink_tsv.h"
#include "space.h"
#include "stop.h"

static output *output_of(otimes_sink *sink)
{
    return sink->state;
}

/* What everything goes to first. */
static otimes_sink *first_of(output *out)
{
    return out->journal.ops ? &out->journal : &out->target;
}

int output_date(char *text, size_t size, otimes_err *err)
{
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    int64_t seconds = (int64_t)time(NULL);
    struct tm parts;
    /* Up to the year 9999. */
    if (epoch && *epoch) {
        const int rc = otimes_parse_i64(epoch, "SOURCE_DATE_EPOCH", 0, 253402300799, &seconds, err);
        if (rc) {
            return rc;
        }
    }
    const time_t t = (time_t)seconds;
    if (!gmtime_r(&t, &parts) || !strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &parts)) {
        return fail(err, OTIMES_ERR_IO, "date: the system's time is not a date");
    }
    return 0;
}

static int put_text(output *out, const char *name, const char *text, otimes_err *err)
{
    const otimes_attr attr = {.name = name, .kind = OTIMES_ATTR_TEXT, .text = text};
    return first_of(out)->ops->attribute(first_of(out), &attr, err);
}

int output_stops(otimes_sink *sink, double done, double total)
{
    (void)sink, (void)done, (void)total;
    return stop_signal() || opened_changed();
}

int output_sha256(const otimes_model *model, char **text, otimes_err *err)
{
    static const otimes_sink_ops watch = {.progress = output_stops}; /* the bar is at its end */
    otimes_sink sink = {.ops = &watch};
    return otimes_model_sha256_watched(model, &sink, text, err);
}

/* A pass over all weights, which can take longer than the analysis. */
static int put_sha256(output *out, otimes_err *err)
{
    char *text = NULL;
    if (!out->model) {
        return 0;
    }
    int rc = output_sha256(out->model, &text, err);
    if (!rc) {
        rc = put_text(out, "model_sha256", text, err);
    }
    otimes_text_release(&text);
    return rc;
}

/* What names the result, before anything else in it. Not at opening: a selection that turns out to
 * be wrong must leave standard output empty. */
static int begin(output *out, otimes_err *err)
{
    char schema[64], date[32];
    const otimes_attr version = {
        .name = "schema_version", .kind = OTIMES_ATTR_I64, .i64 = OUTPUT_SCHEMA_VERSION};
    if (out->begun) {
        return 0;
    }
    int rc = output_date(date, sizeof date, err);
    snprintf(schema, sizeof schema, "otimes-%s", out->command);
    if (!rc) {
        rc = put_text(out, "schema", schema, err);
    }
    if (!rc) {
        rc = first_of(out)->ops->attribute(first_of(out), &version, err);
    }
    if (!rc) {
        rc = put_text(out, "command_line", out->command_line, err);
    }
    if (!rc) {
        rc = put_text(out, "date", date, err);
    }
    if (!rc && out->format == FORMAT_SAFETENSORS) { /* facts stand in front of numbers there */
        rc = put_sha256(out, err);
    }
    out->begun = !rc;
    return rc;
}

static int attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    otimes_sink *to = first_of(output_of(sink));
    const int rc = begin(output_of(sink), err);
    return rc ? rc : to->ops->attribute(to, attr, err);
}

static int announce_axis(otimes_sink *sink, const otimes_axis *axis, otimes_err *err)
{
    otimes_sink *to = first_of(output_of(sink));
    const int rc = begin(output_of(sink), err);
    return rc || !to->ops->axis ? rc : to->ops->axis(to, axis, err);
}

static int64_t plus(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* Of a run that knows all of its arrays before it computes the first, the whole result. Once it is
 * complete what surrounds large arrays is copied between them (partfile.h), and is there twice. */
static int check_space(output *out, const otimes_array *array, otimes_err *err)
{
    const int run = out->format == FORMAT_HDF5 && layout_is_run(array);
    if (!out->path) {
        return 0;
    }
    out->runs += run;
    out->all = plus(out->all, layout_bytes(array));
    out->rest = plus(out->rest, run ? 0 : layout_bytes(array));
    const space_need need = {plus(out->all, out->runs ? out->rest : 0),
                             out->journal.ops ? out->rest : 0};
    return space_check(out->path, &need, err);
}

static int declare(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    output *out = output_of(sink);
    otimes_sink *to = first_of(out);
    int rc = begin(out, err);
    if (!rc) {
        rc = check_space(out, array, err);
    }
    if (!rc) {
        rc = to->ops->declare(to, array, id, err);
    }
    if (rc) {
        return rc;
    }
    output_array *grown = realloc(out->arrays, (size_t)(*id + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, array->name);
    }
    out->arrays = grown;
    out->arrays[*id] = (output_array){array->ndim, (double)otimes_type_size(array->type)};
    return 0;
}

static int write_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                       const void *data, otimes_err *err)
{
    output *out = output_of(sink);
    otimes_sink *to = first_of(out);
    if (output_stops(sink, 0, 0)) {
        return fail(err, OTIMES_ERR_CANCELLED, "%s", otimes_strerror(OTIMES_ERR_CANCELLED));
    }
    double bytes = out->arrays[id].entry;
    for (int i = 0; i < out->arrays[id].ndim; i++) {
        bytes *= (double)count[i];
    }
    progress_wrote(&out->bar, bytes);
    return to->ops->write(to, id, start, count, data, err);
}

static int has(otimes_sink *sink, int id, const int64_t *start, const int64_t *count)
{
    output *out = output_of(sink);
    otimes_sink *to = first_of(out);
    const int there = to->ops->has && to->ops->has(to, id, start, count);
    if (there) {
        progress_skip(&out->bar);
    }
    return there;
}

static int show_progress(otimes_sink *sink, double done, double total)
{
    progress_update(&output_of(sink)->bar, done, total);
    return output_stops(sink, done, total);
}

static int finish_nothing(otimes_sink *sink, otimes_err *err)
{
    /* The analysis has no more to say; output_finish completes the target. */
    (void)sink, (void)err;
    return 0;
}

static const otimes_sink_ops ops = {.attribute = attribute,
                                    .axis = announce_axis,
                                    .declare = declare,
                                    .write = write_block,
                                    .has = has,
                                    .progress = show_progress,
                                    .finish = finish_nothing};

int output_wanted(const common_options *options)
{
    return options->output || options->format != FORMAT_DEFAULT || options->resume == 1;
}

static int ends_in(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* By the file's name where no format is asked for. */
static int format_of_name(const char *path, int weights)
{
    const int none = !path || !strcmp(path, "-");
    if (weights) {
        return !none && (ends_in(path, ".h5") || ends_in(path, ".hdf5") || ends_in(path, ".nc"))
                   ? FORMAT_HDF5
                   : FORMAT_SAFETENSORS;
    }
    return none || ends_in(path, ".tsv") ? FORMAT_TSV : FORMAT_HDF5;
}

int output_format(const common_options *options, int weights, int *format, otimes_err *err)
{
    const char *path = options->output;
    *format = options->format ? options->format : format_of_name(path, weights);
    if (options->resume == 1 && *format != FORMAT_HDF5) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--resume: expected a result in HDF5 (-o FILE.h5), got %s",
                    *format == FORMAT_TSV ? "tsv" : "null");
    }
    if (*format == FORMAT_TSV && weights) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--format: expected safetensors, hdf5 or null for weights, got tsv");
    }
    if (*format == FORMAT_SAFETENSORS && !weights) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--format: safetensors holds weights (otimes convert), not results");
    }
    if ((*format == FORMAT_HDF5 || *format == FORMAT_SAFETENSORS) &&
        (!path || !strcmp(path, "-"))) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--format: %s expects a file to write (-o FILE), got none",
                    *format == FORMAT_HDF5 ? "hdf5" : "safetensors");
    }
    if (*format == FORMAT_NULL && path) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--format: null writes nothing, got -o %s", path);
    }
    return 0;
}

/* Before the file itself is touched, which another run may be writing. An empty name is refused
 * when that is opened. */
static int open_journal(output *out, const common_options *options, otimes_err *err)
{
    char *identity;
    if (options->resume == 0 || !*options->output) {
        return 0;
    }
    int rc = identity_of(&identity, options, out->command_line, err);
    if (!rc) {
        rc = journal_open(&out->journal, &out->target, options->output, identity,
                          options->resume == 1, err);
        free(identity);
    }
    if (!rc) {
        journal_keep_by(&out->journal, &sink_h5_keeper);
    }
    return rc;
}

int output_open(output *out, const command *cmd, const common_options *options,
                const otimes_model *model, const char *command_line, otimes_err *err)
{
    memset(out, 0, sizeof *out);
    out->command = cmd->name;
    out->command_line = command_line;
    out->model = model;
    out->sink = (otimes_sink){&ops, out};
    int rc = output_format(options, cmd->weights, &out->format, err);
    if (rc) {
        return rc;
    }
    if (options->output && strcmp(options->output, "-") != 0) {
        stop_ignore_pipes();
    }
    if (options->space_check && (out->format == FORMAT_HDF5 || out->format == FORMAT_SAFETENSORS)) {
        out->path = options->output; /* how long a text in lines becomes nobody knows before */
    }
    if (out->format == FORMAT_HDF5 && (cmd->shared & OPTS_RESUME)) {
        rc = open_journal(out, options, err);
    }
    if (rc) {
        return rc;
    }
    switch (out->format) {
    case FORMAT_HDF5:
        rc = sink_h5_open(&out->target, options->output, err);
        break;
    case FORMAT_TSV:
        rc = sink_tsv_open(&out->target, options->output, err);
        break;
    case FORMAT_SAFETENSORS:
        rc = sink_safetensors_open(&out->target, options->output, err);
        break;
    default:
        rc = sink_null_open(&out->target, err);
    }
    progress_begin(&out->bar, cmd->name, options->quiet ? 0 : options->progress);
    return rc;
}

int output_finish(output *out, otimes_err *err)
{
    int rc = begin(out, err);
    if (!rc && out->format == FORMAT_HDF5) { /* where a result stays */
        rc = put_sha256(out, err);
    }
    if (rc) {
        return rc;
    }
    rc = opened_unchanged(err);
    if (rc) {
        return rc;
    }
    /* Last chance of a signal: from here on the result appears. */
    if (stop_signal()) {
        return fail(err, OTIMES_ERR_CANCELLED, "%s", otimes_strerror(OTIMES_ERR_CANCELLED));
    }
    return first_of(out)->ops->finish(first_of(out), err);
}

int output_keeps(const output *out, int64_t *text)
{
    return journal_keeps(&out->journal, text);
}

void output_close(output *out)
{
    int64_t text;
    if (out->format == FORMAT_HDF5 && output_keeps(out, &text)) {
        sink_h5_keep_part(&out->target);
    }
    progress_clear(&out->bar);
    free(out->arrays);
    out->arrays = NULL;
    journal_close(&out->journal);
    switch (out->format) {
    case FORMAT_HDF5:
        sink_h5_close(&out->target);
        break;
    case FORMAT_TSV:
        sink_tsv_close(&out->target);
        break;
    case FORMAT_NULL:
        sink_null_close(&out->target);
        break;
    case FORMAT_SAFETENSORS:
        sink_safetensors_close(&out->target);
        break;
    }
}
