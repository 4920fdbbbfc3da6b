/* SPDX-License-Identifier: MIT */
#include <otimes/activations.h>

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "command.h"
#include "fail.h"
#include "number.h"
#include "run_options.h"
#include "text.h"

enum { NAME = 64, SHAPE = 96 };

typedef struct options {
    common_options common;
    const char *names;
    int list;
} options;

static const opt own[] = {
    {.name = "names",
     .argument = "GLOBS",
     .help = "which activations, by TransformerLens' names with * and ?, parted by commas, such as "
             "'blocks.*.attn.hook_pattern'; '*' is all of them",
     .kind = OPT_TEXT,
     .offset = offsetof(options, names),
     .takes = TAKES_HOOKS},
    {.name = "list",
     .help = "print the names that this model has, with shapes, and run nothing",
     .kind = OPT_FLAG,
     .offset = offsetof(options, list)},
    {.name = NULL},
};

static int lists(const options *o)
{
    return o->list || (o->names && !strcmp(o->names, "list"));
}

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    const options *o = memory;
    const otimes_model_info *info = otimes_model_describe(model);
    sequences all = {0};
    otimes_activations_settings settings;
    otimes_activations_settings_default(&settings);
    if (lists(o)) {
        return fail(err, OTIMES_ERR_ARGUMENT, "--list: cannot stand beside -o or --format");
    }
    settings.names = o->names;
    int rc = sequences_read(&all, &o->common, info->d_vocab, info->n_ctx, err);
    if (!rc) {
        rc = sequences_view(&all, &settings.sequences, err);
    }
    if (!rc) {
        rc = run_options_forward(&o->common, model, &settings.sequences, &settings.forward, err);
    }
    if (!rc) {
        rc = otimes_activations(model, &settings, sink, err);
    }
    sequences_free(&all);
    return rc;
}

/* ---- for people ---- */

/* Layers that reach a hook, as "0-11" or "0, 3-5"; nothing for all of them. */
static void put_layers(FILE *to, const otimes_model *model, otimes_hook hook)
{
    const int64_t layers = otimes_model_describe(model)->n_layers;
    int64_t count = 0, shown = 0;
    for (int64_t l = 0; l < layers; l++) {
        count += otimes_hook_reached(model, hook, l) != 0;
    }
    if (count == 0 || count == layers) {
        return;
    }
    fputs("  layers ", to);
    for (int64_t l = 0, end; l < layers; l = end + 1) {
        end = l;
        if (!otimes_hook_reached(model, hook, l)) {
            continue;
        }
        while (end + 1 < layers && otimes_hook_reached(model, hook, end + 1)) {
            end++;
        }
        fprintf(to, "%s%" PRId64, shown++ ? ", " : "", l);
        if (end > l) {
            fprintf(to, "-%" PRId64, end);
        }
    }
}

/* Every point once, {l} for the layer. */
static void put_list(const otimes_model *model, FILE *to)
{
    for (int h = 0; h < OTIMES_HOOK_COUNT; h++) {
        char name[NAME], shape[SHAPE];
        const otimes_hook hook = (otimes_hook)h;
        if (!otimes_hook_columns(model, hook)) {
            continue;
        }
        otimes_activations_pattern(hook, name, sizeof name);
        otimes_activations_shape(model, hook, shape, sizeof shape);
        fprintf(to, "%-36s  %s", name, shape);
        put_layers(to, model, hook);
        putc('\n', to);
    }
}

/* Mean, root mean square and extremes of what is defined. */
static void put_summary(FILE *to, const otimes_array *array, const float *data)
{
    double sum = 0, squares = 0, low = INFINITY, high = -INFINITY;
    int64_t total = 1, count = 0;
    for (int i = 0; i < array->ndim; i++) {
        total *= array->axis[i]->length;
    }
    for (int64_t i = 0; i < total; i++) {
        if (isfinite(data[i])) {
            const double x = (double)data[i];
            sum += x;
            squares += x * x;
            low = x < low ? x : low;
            high = x > high ? x : high;
            count++;
        }
    }
    const double n = count ? (double)count : NAN;
    const double shown[] = {sum / n, sqrt(squares / n), count ? low : NAN, count ? high : NAN};
    fprintf(to, "%-36s %10" PRId64, array->name, count);
    for (int i = 0; i < 4; i++) {
        putc(' ', to);
        number_put_digits(to, 11, 4, shown[i]);
    }
    putc('\n', to);
}

static void put_point(const otimes_model *model, const otimes_memory_sink *result, int hook,
                      int64_t layer, FILE *to)
{
    char name[NAME];
    const void *data;
    if (otimes_hook_reached(model, (otimes_hook)hook, layer)) {
        otimes_activations_name((otimes_hook)hook, layer, name, sizeof name);
        const otimes_array *array = otimes_memory_sink_array(result, name, &data);
        if (array) {
            put_summary(to, array, data);
        }
    }
}

/* In the order in which a pass comes to them. */
static void put_summaries(const otimes_model *model, const otimes_memory_sink *result, FILE *to)
{
    const int64_t layers = otimes_model_describe(model)->n_layers;
    fprintf(to, "%-36s %10s %11s %11s %11s %11s\n", "activation", "numbers", "mean", "rms",
            "smallest", "largest");
    for (int64_t l = -1; l <= layers; l++) {
        for (int h = 0; h < OTIMES_HOOK_COUNT; h++) {
            const int last = h >= OTIMES_HOOK_LN_FINAL_SCALE;
            if (l < layers && !last) {
                put_point(model, result, h, l, to);
            } else if (l == layers && last) {
                put_point(model, result, h, -1, to);
            }
        }
    }
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    otimes_memory_sink *result = NULL;
    if (lists(memory)) {
        put_list(model, to);
        return 0;
    }
    int rc = command_result(run, model, memory, &result, err);
    if (!rc) {
        put_summaries(model, result, to);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

const command command_activations = {
    .name = "activations",
    .group = "Running a model on texts",
    .summary = "what a model computes on its way, at chosen points",
    .about = "Runs the model on texts and writes activations under TransformerLens' names: the "
             "residual stream, queries, keys and values, attention scores and patterns, what heads "
             "and MLPs write, neurons, norm scales, experts. --list shows which there are. Entries "
             "beyond a text's length are NaN. Without -o and --format it prints a summary of each.",
    .example = "otimes activations model/ --text-file texts.txt --names '*.hook_z' -o z.h5",
    .shared = OPTS_TEXT | OPTS_RUN | OPTS_RESUME,
    .own = own,
    .size = sizeof(options),
    .run = run,
    .card = card,
};
