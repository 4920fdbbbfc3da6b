/* SPDX-License-Identifier: MIT */
#include <otimes/info.h>

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "command.h"
#include "fail.h"
#include "quote.h"

typedef struct options {
    common_options common;
    int tensors;
} options;

static const opt own[] = {
    {.name = "tensors",
     .help = "list every tensor of the files, with the weights it holds",
     .kind = OPT_FLAG,
     .offset = offsetof(options, tensors)},
    {.name = NULL},
};

static int run(const otimes_model *model, const void *memory, otimes_sink *sink, otimes_err *err)
{
    otimes_info_settings settings;
    (void)memory;
    otimes_info_settings_default(&settings);
    return otimes_info(model, &settings, sink, err);
}

#define LABEL "%-24s "

static void put_number(FILE *to, const char *label, int64_t value)
{
    fprintf(to, LABEL "%" PRId64 "\n", label, value);
}

static void put_bytes(FILE *to, const char *label, int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    fprintf(to, LABEL "%.*f %s\n", label, unit ? 1 : 0, value, units[unit]);
}

static void put_dimensions(FILE *to, const otimes_model_info *m)
{
    const struct {
        const char *name;
        int64_t value;
    } rows[] = {
        {"n_layers", m->n_layers}, {"n_heads", m->n_heads},         {"n_kv_heads", m->n_kv_heads},
        {"d_model", m->d_model},   {"d_head", m->d_head},           {"d_mlp", m->d_mlp},
        {"d_vocab", m->d_vocab},   {"d_vocab_out", m->d_vocab_out}, {"n_ctx", m->n_ctx}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put_number(to, rows[i].name, rows[i].value);
    }
}

static const char *mlp_name(otimes_mlp mlp)
{
    switch (mlp) {
    case OTIMES_MLP_NONE:
        return "none";
    case OTIMES_MLP_PLAIN:
        return "plain";
    case OTIMES_MLP_GATED:
        return "gated";
    }
    return "unknown";
}

static void put_mechanisms(FILE *to, const otimes_model_info *m)
{
    fprintf(to, LABEL "%s", "norm", otimes_norm_name(m->norm));
    if (m->norm != OTIMES_NORM_NONE) {
        fprintf(to, ", eps %g", m->eps);
    }
    fprintf(to, "\n" LABEL "%s", "positions", otimes_positions_name(m->positions));
    if (m->positions == OTIMES_POSITIONS_ROPE) {
        fprintf(to, ", base %g, %" PRId64 " of %" PRId64 " dimensions", m->rope_theta,
                m->rotary_dim, m->d_head);
    }
    fprintf(to, "\n" LABEL "scores / %.6g%s%s", "attention", m->attn_scale,
            m->qkv_bias ? ", with biases" : "", m->bidirectional ? ", in both directions" : "");
    if (m->attn_softcap > 0) {
        fprintf(to, ", soft cap %g", m->attn_softcap);
    }
    if (m->clip_qkv > 0) {
        fprintf(to, ", clipped to %g", m->clip_qkv);
    }
    fputs(m->attention_sinks ? ", with sinks\n" : "\n", to);
    if (m->qk_norm != OTIMES_QK_NORM_NONE) {
        fprintf(to, LABEL "%s\n", "norm of q and k", otimes_qk_norm_name(m->qk_norm));
    }
    if (m->sliding_window) {
        put_number(to, "sliding window", m->sliding_window);
    }
    fprintf(to, LABEL "%s%s", "mlp", mlp_name(m->mlp), *m->activation ? ", " : "");
    put_shown(to, m->activation, "");
    fprintf(to, "%s\n", m->parallel ? ", in parallel with attention" : "");
    if (m->n_experts) {
        fprintf(to, LABEL "%" PRId64 " of %" PRId64 " wide, %" PRId64 " active%s\n", "experts",
                m->n_experts, m->d_expert, m->n_experts_active,
                m->d_shared_expert ? ", and a shared one" : "");
    }
    fprintf(to, LABEL "%s", "unembedding", m->tied ? "tied to the embedding" : "its own");
    if (m->final_softcap > 0) {
        fprintf(to, ", soft cap %g", m->final_softcap);
    }
    putc('\n', to);
    if (m->embed_norm) {
        fprintf(to, LABEL "a norm follows it\n", "embedding");
    }
    if (m->post_norm) {
        fprintf(to, LABEL "a norm follows each: W_O and W_out are not what the stream receives\n",
                "blocks");
    }
}

static void put_processing(FILE *to, const otimes_model_info *m)
{
    fputs("\nProcessing of weights as they are read\n", to);
    fprintf(to, LABEL "%s\n", "fold_ln", otimes_step_name(m->fold_ln));
    fprintf(to, LABEL "%s\n", "center_writing_weights",
            otimes_step_name(m->center_writing_weights));
    fprintf(to, LABEL "%s\n", "center_unembed", otimes_step_name(m->center_unembed));
    fprintf(to, LABEL "%s\n", "fold_value_biases", otimes_step_name(m->fold_value_biases));
}

/* A labelled int64 list of the analysis' result under a heading, with a total if asked for. */
static int put_list(FILE *to, const otimes_memory_sink *result, const char *name,
                    const char *heading, void (*put)(FILE *, const char *, int64_t), int total,
                    otimes_err *err)
{
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(result, name, &data);
    int64_t sum = 0;
    if (!array || array->type != OTIMES_I64 || array->ndim != 1 || !array->axis[0]->text) {
        return fail(err, OTIMES_ERR_ARGUMENT, "%s: expected a labelled list, got none", name);
    }
    fprintf(to, "\n%s\n", heading);
    for (int64_t i = 0; i < array->axis[0]->length; i++) {
        put(to, array->axis[0]->text[i], ((const int64_t *)data)[i]);
        sum += ((const int64_t *)data)[i];
    }
    if (total) {
        put(to, "total", sum);
    }
    return 0;
}

static int put_analysed(const otimes_model *model, FILE *to, otimes_err *err)
{
    otimes_memory_sink *result = NULL;
    int rc = command_result(run, model, NULL, &result, err);
    if (!rc) {
        rc = put_list(to, result, "parameters", "Parameters", put_number, 1, err);
    }
    if (!rc) {
        rc = put_list(to, result, "memory_bytes", "Memory an analysis takes beside the mapped file",
                      put_bytes, 0, err);
    }
    otimes_memory_sink_free(&result);
    return rc;
}

static void put_tensor(FILE *to, const otimes_tensor_info *t)
{
    fputs("  ", to);
    put_shown(to, t->name, "");
    fprintf(to, "  %s [", t->dtype);
    for (int i = 0; i < t->ndim; i++) {
        fprintf(to, "%s%" PRId64, i ? ", " : "", t->dim[i]);
    }
    fprintf(to, "]  %s", t->part ? t->part : "ignored");
    if (t->layer >= 0) {
        fprintf(to, ", layer %" PRId64, t->layer);
    }
    putc('\n', to);
}

static int put_tensors(const otimes_model *model, int list, FILE *to, otimes_err *err)
{
    const int64_t count = otimes_model_describe(model)->tensor_count;
    int64_t ignored = 0;
    otimes_tensor_info tensor;
    for (int64_t i = 0; i < count; i++) {
        const int rc = otimes_model_tensor(model, i, &tensor, err);
        if (rc) {
            return rc;
        }
        ignored += !tensor.part;
    }
    fprintf(to, "\nTensors\n" LABEL "%" PRId64 "\n" LABEL "%" PRId64 "\n", "claimed",
            count - ignored, "ignored", ignored);
    for (int64_t i = 0; i < count; i++) {
        const int rc = otimes_model_tensor(model, i, &tensor, err);
        if (rc) {
            return rc;
        }
        if (list || !tensor.part) {
            put_tensor(to, &tensor);
        }
    }
    return 0;
}

static int card(const otimes_model *model, const void *memory, FILE *to, otimes_err *err)
{
    const options *o = memory;
    const otimes_model_info *m = otimes_model_describe(model);
    fprintf(to, LABEL, "model");
    put_shown(to, m->path, "");
    fprintf(to, "\n" LABEL "%s\n", "architecture", m->architecture);
    fprintf(to, LABEL "%s, %s\n", "weights", m->format, m->dtype);
    put_bytes(to, "file size", m->file_bytes);
    put_dimensions(to, m);
    put_mechanisms(to, m);
    put_processing(to, m);
    int rc = put_analysed(model, to, err);
    if (!rc) {
        rc = put_tensors(model, o->tensors, to, err);
    }
    return rc;
}

const command command_info = {
    .name = "info",
    .group = "Models",
    .summary = "what a checkpoint holds: architecture, dimensions, parameters, processing",
    .about = "What a checkpoint holds, from its headers alone: architecture, dimensions, norm, "
             "positions, parameters of each part, which processing of weights is possible, which "
             "tensors are used and which ignored, and the memory that analyses would take. "
             "Without -o and --format it prints a text to read.",
    .example = "otimes info model/ --tensors",
    .own = own,
    .size = sizeof(options),
    .run = run,
    .card = card,
};
