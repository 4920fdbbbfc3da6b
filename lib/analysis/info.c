/* SPDX-License-Identifier: MIT */
#include <otimes/info.h>

#include <otimes/forward.h>

#include <stdio.h>

#include "base/mem.h"
#include "base/sink.h"
#include "model/arch.h"
#include "model/model.h"
#include "run/plan.h"

void otimes_info_settings_default(otimes_info_settings *settings)
{
    *settings = (otimes_info_settings){{0}};
}

/* Whether a weight is one that was counted before: a tied end, a norm that two readers share. */
static bool is_second(const otimes_model *model, const otimes_binding *binding)
{
    switch (binding->slot) {
    case OTIMES_SLOT_W_U:
        return model->info.tied;
    case OTIMES_SLOT_LN2_W:
        return otimes_model_binding(model, OTIMES_SLOT_LN1_W, binding->layer)->entry ==
               binding->entry;
    case OTIMES_SLOT_LN2_B:
        return otimes_model_binding(model, OTIMES_SLOT_LN1_B, binding->layer)->entry ==
               binding->entry;
    default:
        return false;
    }
}

/* Elements of each part, each weight once. */
static void count_parameters(const otimes_model *model, int64_t count[OTIMES_MODEL_PART_COUNT])
{
    for (int part = 0; part < OTIMES_MODEL_PART_COUNT; part++) {
        count[part] = 0;
    }
    for (int64_t i = 0; i < model->binding_count; i++) {
        const otimes_binding *binding = &model->bindings[i];
        int64_t elements = 1;
        if (!binding->entry || is_second(model, binding)) {
            continue;
        }
        for (int axis = 0; axis < binding->ndim; axis++) { /* one norm for all heads counts once */
            const int64_t stride = axis == 0 ? binding->group_stride : binding->stride[axis];
            elements *= stride || binding->dim[axis] < 2 ? binding->dim[axis] : 1;
        }
        count[otimes_slot_part(binding->slot)] += elements;
    }
}

static int write_parameters(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    static const char *const labels[OTIMES_MODEL_PART_COUNT] = {
#define PART_LABEL(name, label) label,
        OTIMES_MODEL_PARTS(PART_LABEL)
#undef PART_LABEL
    };
    int64_t count[OTIMES_MODEL_PART_COUNT];
    const otimes_axis part = {"part", OTIMES_MODEL_PART_COUNT, labels, NULL, "part of the model"};
    const otimes_array array = {.name = "parameters",
                                .type = OTIMES_I64,
                                .ndim = 1,
                                .axis = {&part},
                                .long_name = "number of weights in each part",
                                .units = "1",
                                .formula = "sum over its tensors of the product of their shapes",
                                .orientation = "one entry a part"};
    int id;
    count_parameters(model, count);
    int rc = otimes_sink_declare(sink, &array, &id, err);
    return rc == OTIMES_OK ? otimes_sink_slab(sink, &array, id, 0, part.length, count, err) : rc;
}

static int write_plan(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    static const char *const labels[] = {"bigram", "heads", "logits"};
    enum { COUNT = sizeof labels / sizeof *labels, MOST_TOKENS = 1024 };
    const int64_t n_ctx = model->info.n_ctx;
    const int64_t tokens = n_ctx < 1 || n_ctx > MOST_TOKENS ? MOST_TOKENS : n_ctx;
    otimes_forward_plan pass;
    otimes_forward_plan_of(model, NULL, tokens, tokens, &pass);
    const int64_t bytes[] = {otimes_plan_bigram(&model->info, model->threads),
                             otimes_plan_heads(&model->info, model->threads), pass.total};
    const otimes_axis analysis = {"analysis", COUNT, labels, NULL,
                                  "analysis with its defaults; logits of one text of 1024 tokens, "
                                  "or of n_ctx if that is less"};
    const otimes_array array = {.name = "memory_bytes",
                                .type = OTIMES_I64,
                                .ndim = 1,
                                .axis = {&analysis},
                                .long_name = "peak memory beside the mapped file, estimated",
                                .units = "byte",
                                .formula = "sum of the buffers that are alive together",
                                .orientation = "one entry an analysis"};
    int id;
    int rc = otimes_sink_declare(sink, &array, &id, err);
    return rc == OTIMES_OK ? otimes_sink_slab(sink, &array, id, 0, COUNT, bytes, err) : rc;
}

enum { SHAPE_TEXT = 128 };

/* One column of the table of tensors and the facts it shows. */
typedef struct tensor_table {
    const char **name, **part, **dtype, **shape;
    char (*shape_text)[SHAPE_TEXT];
    int64_t *bytes, *layer;
} tensor_table;

static void shape_text(const otimes_tensor_info *info, char text[SHAPE_TEXT])
{
    int at = snprintf(text, SHAPE_TEXT, "[");
    for (int i = 0; i < info->ndim; i++) {
        at += snprintf(text + at, (size_t)(SHAPE_TEXT - at), "%s%lld", i ? "," : "",
                       (long long)info->dim[i]);
    }
    snprintf(text + at, (size_t)(SHAPE_TEXT - at), "]");
}

static int fill_tensors(const otimes_model *model, tensor_table *table, otimes_err *err)
{
    const int64_t count = model->info.tensor_count;
    int rc = OTIMES_NEW(&table->name, count, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&table->part, count, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&table->dtype, count, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&table->shape, count, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&table->shape_text, count, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&table->bytes, count, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&table->layer, count, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        otimes_tensor_info info;
        rc = otimes_model_tensor(model, i, &info, err);
        if (rc == OTIMES_OK) {
            shape_text(&info, table->shape_text[i]);
            table->name[i] = info.name;
            table->part[i] = info.part ? info.part : "ignored";
            table->dtype[i] = info.dtype;
            table->shape[i] = table->shape_text[i];
            table->bytes[i] = info.bytes;
            table->layer[i] = info.layer;
        }
    }
    return rc;
}

static int write_tensors(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    tensor_table table = {0};
    int rc = fill_tensors(model, &table, err);
    const otimes_axis tensor = {"tensor", model->info.tensor_count, table.name, NULL,
                                "tensor of the file"};
    const struct {
        const char *name, *long_name, *units;
        otimes_type type;
        const void *data;
    } list[] = {
        {"tensor_bytes", "size in the file", "byte", OTIMES_I64, table.bytes},
        {"tensor_layer", "layer it belongs to", "1", OTIMES_I64, table.layer},
        {"tensor_part", "canonical weights it holds", "1", OTIMES_TEXT, table.part},
        {"tensor_dtype", "number format in the file", "1", OTIMES_TEXT, table.dtype},
        {"tensor_shape", "shape in the file", "1", OTIMES_TEXT, table.shape},
    };
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof list / sizeof list[0]; i++) {
        const otimes_array array = {.name = list[i].name,
                                    .type = list[i].type,
                                    .ndim = 1,
                                    .axis = {&tensor},
                                    .long_name = list[i].long_name,
                                    .units = list[i].units,
                                    .formula = "as in the file",
                                    .orientation = "one entry a tensor"};
        int id;
        rc = otimes_sink_declare(sink, &array, &id, err);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_slab(sink, &array, id, 0, tensor.length, list[i].data, err);
        }
    }
    otimes_free(table.name);
    otimes_free(table.part);
    otimes_free(table.dtype);
    otimes_free(table.shape);
    otimes_free(table.shape_text);
    otimes_free(table.bytes);
    otimes_free(table.layer);
    return rc;
}

int otimes_info(const otimes_model *model, const otimes_info_settings *settings, otimes_sink *sink,
                otimes_err *err)
{
    (void)settings;
    int rc = otimes_model_attributes(model, sink, err);
    if (rc == OTIMES_OK) {
        rc = write_parameters(model, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_plan(model, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_tensors(model, sink, err);
    }
    return rc == OTIMES_OK ? otimes_sink_finish(sink, err) : rc;
}
