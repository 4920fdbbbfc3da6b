/* SPDX-License-Identifier: MIT */
#include <otimes/convert.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/sink.h"
#include "model/layout.h"
#include "model/lens.h"

/* Rows of the vocabulary at once: runs long enough to write across a transposed file. */
enum { TILE_ROWS = 2048 };

typedef struct convert_job {
    const otimes_model *model;
    otimes_sink *sink;
    otimes_lens_list list;
    otimes_axis axes[OTIMES_DIM_COUNT];
    otimes_array *arrays; /* [list.count] */
    int *ids;             /* [list.count] */
    float *tile, *turned; /* [TILE_ROWS, d_model], and its transpose */
} convert_job;

void otimes_convert_settings_default(otimes_convert_settings *settings)
{
    *settings = (otimes_convert_settings){{0}};
}

static void make_axes(convert_job *job)
{
    static const char *const names[OTIMES_DIM_COUNT] = {
        [OTIMES_DIM_D_MODEL] = "d_model",    [OTIMES_DIM_N_HEADS] = "head",
        [OTIMES_DIM_N_KV_HEADS] = "kv_head", [OTIMES_DIM_GROUP] = "group",
        [OTIMES_DIM_D_HEAD] = "d_head",      [OTIMES_DIM_D_MLP] = "d_mlp",
        [OTIMES_DIM_D_VOCAB] = "token",      [OTIMES_DIM_D_VOCAB_OUT] = "output_token",
        [OTIMES_DIM_N_CTX] = "position",     [OTIMES_DIM_N_EXPERTS] = "expert",
        [OTIMES_DIM_D_EXPERT] = "d_expert",  [OTIMES_DIM_D_SHARED] = "d_shared_expert",
    };
    for (int dim = 0; dim < OTIMES_DIM_COUNT; dim++) {
        job->axes[dim] = (otimes_axis){.name = names[dim], .length = job->model->dims[dim]};
    }
}

static int declare_one(convert_job *job, int64_t index, otimes_err *err)
{
    const otimes_lens_tensor *tensor = &job->list.tensor[index];
    otimes_array *array = &job->arrays[index];
    *array = (otimes_array){
        .name = tensor->name,
        .type = OTIMES_F32,
        .ndim = otimes_layout_ndim(tensor->layout),
        .long_name = otimes_slot_label(tensor->slot),
        .units = "1",
        .formula = "the weight, processed as the attributes say",
        .orientation = "row vectors, x @ W",
    };
    for (int i = 0; i < array->ndim; i++) {
        array->axis[i] = &job->axes[otimes_layout_axis(tensor->layout, i)];
    }
    return otimes_sink_declare(job->sink, array, &job->ids[index], err);
}

static int begin(convert_job *job, otimes_err *err)
{
    char *config = NULL;
    int rc = otimes_model_attributes(job->model, job->sink, err);
    if (rc == OTIMES_OK) {
        rc = otimes_lens_config(job->model, &config, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(job->sink, "otimes_config", config, err);
    }
    otimes_free(config);
    if (rc == OTIMES_OK) {
        rc = otimes_lens_tensors(job->model, &job->list, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&job->arrays, job->list.count, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&job->ids, job->list.count, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&job->tile, TILE_ROWS * job->model->info.d_model, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&job->turned, TILE_ROWS * job->model->info.d_model, err);
    }
    make_axes(job);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->list.count; i++) {
        rc = declare_one(job, i, err);
    }
    return rc;
}

/* In blocks, so that neither side runs across memory. */
static void transpose(const float *from, int64_t rows, int64_t columns, float *to)
{
    enum { BLOCK = 32 };
    for (int64_t i = 0; i < rows; i += BLOCK) {
        for (int64_t j = 0; j < columns; j += BLOCK) {
            for (int64_t k = i; k < i + BLOCK && k < rows; k++) {
                for (int64_t l = j; l < j + BLOCK && l < columns; l++) {
                    to[l * rows + k] = from[k * columns + l];
                }
            }
        }
    }
}

/* Whether a tensor is written in another order than it is held. */
static bool is_turned(const otimes_lens_tensor *tensor)
{
    const char *canonical = otimes_slot_layout(tensor->slot);
    return otimes_layout_ndim(canonical) == 2 && otimes_layout_ndim(tensor->layout) == 2 &&
           canonical[0] != tensor->layout[0];
}

/* A tensor in memory. Of a norm that heads share, the first head's is all of it. */
static int write_tensor(convert_job *job, int64_t index, const otimes_tensor *tensor,
                        otimes_err *err)
{
    const otimes_array *array = &job->arrays[index];
    const float *data = tensor->data;
    float *turned = NULL;
    int rc = OTIMES_OK;
    if (is_turned(&job->list.tensor[index])) {
        rc = OTIMES_NEW(&turned, tensor->dim[0] * tensor->dim[1], err);
        if (rc == OTIMES_OK) {
            transpose(data, tensor->dim[0], tensor->dim[1], turned);
        }
        data = turned;
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_slab(job->sink, array, job->ids[index], 0, array->axis[0]->length, data,
                              err);
    }
    otimes_free(turned);
    return rc;
}

static int read_rows(const convert_job *job, const otimes_unembed *unembed, otimes_slot slot,
                     int64_t first, int64_t count, otimes_err *err)
{
    switch (slot) {
    case OTIMES_SLOT_W_E:
        return otimes_embed_rows(job->model, first, count, job->tile, err);
    case OTIMES_SLOT_W_POS:
        return otimes_position_rows(job->model, first, count, job->tile, err);
    default:
        return otimes_unembed_rows(unembed, first, count, job->tile, err);
    }
}

/* W_E, W_pos and W_U, by tiles of rows. */
static int write_rows(convert_job *job, const otimes_unembed *unembed, int64_t index,
                      otimes_err *err)
{
    const otimes_lens_tensor *tensor = &job->list.tensor[index];
    const bool turned = is_turned(tensor);
    const int64_t d = job->model->info.d_model;
    const int64_t rows = job->arrays[index].axis[turned ? 1 : 0]->length;
    int rc = OTIMES_OK;
    for (int64_t first = 0; rc == OTIMES_OK && first < rows; first += TILE_ROWS) {
        const int64_t count = rows - first < TILE_ROWS ? rows - first : TILE_ROWS;
        const int64_t start[2] = {turned ? 0 : first, turned ? first : 0};
        const int64_t counts[2] = {turned ? d : count, turned ? count : d};
        rc = read_rows(job, unembed, tensor->slot, first, count, err);
        if (rc == OTIMES_OK && turned) {
            transpose(job->tile, count, d, job->turned);
        }
        if (rc == OTIMES_OK) {
            rc = job->sink->ops->write(job->sink, job->ids[index], start, counts,
                                       turned ? job->turned : job->tile, err);
        }
    }
    return rc;
}

/* A vector of the model: both norms and the output bias. */
static int write_vector(convert_job *job, const otimes_unembed *unembed, int64_t index,
                        otimes_err *err)
{
    const int64_t d = job->model->info.d_model;
    const otimes_array *array = &job->arrays[index];
    const float *data = NULL;
    int rc = OTIMES_OK;
    switch (job->list.tensor[index].slot) {
    case OTIMES_SLOT_EMBED_LN_W:
    case OTIMES_SLOT_EMBED_LN_B:
        rc = otimes_embed_norm(job->model, job->tile, job->tile + d, err);
        data = job->list.tensor[index].slot == OTIMES_SLOT_EMBED_LN_W ? job->tile : job->tile + d;
        break;
    case OTIMES_SLOT_LNF_W:
        data = unembed->ln_w;
        break;
    case OTIMES_SLOT_LNF_B:
        data = unembed->ln_b;
        break;
    default:
        data = unembed->bias;
        break;
    }
    return rc == OTIMES_OK ? otimes_sink_slab(job->sink, array, job->ids[index], 0,
                                              array->axis[0]->length, data, err)
                           : rc;
}

/* Those before the first layer. */
static int write_ends(convert_job *job, int64_t *index, otimes_err *err)
{
    otimes_unembed unembed;
    int rc = otimes_unembed_open(job->model, &unembed, err);
    while (rc == OTIMES_OK && *index < job->list.count && job->list.tensor[*index].layer < 0) {
        rc = job->arrays[*index].ndim == 2 ? write_rows(job, &unembed, *index, err)
                                           : write_vector(job, &unembed, *index, err);
        ++*index;
    }
    otimes_unembed_free(&unembed);
    return rc;
}

/* Whether the next tensor of the list is of this layer and expert (-1: of the layer itself). */
static bool is_next(const convert_job *job, int64_t index, int64_t layer, int64_t expert)
{
    return index < job->list.count && job->list.tensor[index].layer == layer &&
           job->list.tensor[index].expert == expert;
}

static int write_expert(convert_job *job, int64_t layer, int64_t number, int64_t *index,
                        otimes_err *err)
{
    otimes_expert expert;
    int rc = otimes_expert_load(job->model, layer, number, &expert, err);
    for (; rc == OTIMES_OK && is_next(job, *index, layer, number); ++*index) {
        const otimes_slot slot = job->list.tensor[*index].slot;
        rc = write_tensor(job, *index, otimes_expert_tensor(&expert, slot), err);
    }
    otimes_expert_free(&expert);
    return rc;
}

static int write_layer(convert_job *job, int64_t number, int64_t *index, otimes_err *err)
{
    otimes_layer layer;
    int rc = otimes_layer_load(job->model, number, OTIMES_PART_ALL, &layer, err);
    for (; rc == OTIMES_OK && is_next(job, *index, number, -1); ++*index) {
        const otimes_slot slot = job->list.tensor[*index].slot;
        rc = write_tensor(job, *index, otimes_layer_tensor(&layer, slot), err);
    }
    otimes_layer_free(&layer);
    for (int64_t e = 0; rc == OTIMES_OK && is_next(job, *index, number, e); e++) {
        rc = write_expert(job, number, e, index, err);
    }
    return rc;
}

int otimes_convert(const otimes_model *model, const otimes_convert_settings *settings,
                   otimes_sink *sink, otimes_err *err)
{
    const int64_t layers = otimes_model_describe(model)->n_layers;
    convert_job job = {.model = model, .sink = sink};
    int64_t index = 0;
    (void)settings;
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = write_ends(&job, &index, err);
    }
    for (int64_t layer = 0; rc == OTIMES_OK && layer < layers; layer++) {
        rc = otimes_sink_progress(sink, (double)layer, (double)layers, err);
        if (rc == OTIMES_OK) {
            rc = write_layer(&job, layer, &index, err);
        }
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_lens_list_free(&job.list);
    otimes_free(job.arrays);
    otimes_free(job.ids);
    otimes_free(job.tile);
    otimes_free(job.turned);
    return rc;
}
