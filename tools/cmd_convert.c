/* SPDX-License-Identifier: MIT */
#include <otimes/convert.h>

#include "command.h"

typedef struct options {
    common_options common;
} options;

static const opt own[] = {{.name = NULL}};

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    otimes_convert_settings settings;
    (void)memory;
    otimes_convert_settings_default(&settings);
    return otimes_convert(model, &settings, sink, err);
}

const command command_convert = {
    .name = "convert",
    .group = "Models",
    .summary = "the canonical weights, processed or raw, as one safetensors file",
    .about =
        "Every weight under TransformerLens' state dict names and in its shapes, float32, "
        "processed as the switches below say (--raw: as they are). The file says what was done "
        "to it, opens again with every command, and is never processed twice. Weights stream "
        "layer by layer. With --format hdf5 the same arrays go to HDF5.",
    .example = "otimes convert model/ -o folded.safetensors",
    .weights = 1,
    .own = own,
    .size = sizeof(options),
    .run = run,
};
