/* SPDX-License-Identifier: MIT
 *
 * What a model says of itself: names of its kinds, its tensors, the facts of every result.
 */
#include <string.h>

#include "base/mem.h"
#include "base/sink.h"
#include "model/describe.h"

const char *otimes_step_name(otimes_step step)
{
    switch (step) {
    case OTIMES_STEP_OFF:
        return "off";
    case OTIMES_STEP_APPLIED:
        return "applied";
    case OTIMES_STEP_NOT_APPLICABLE:
        return "not applicable";
    case OTIMES_STEP_DONE_IN_FILE:
        return "done in the file";
    }
    return "unknown";
}

const char *otimes_norm_name(otimes_norm norm)
{
    switch (norm) {
    case OTIMES_NORM_NONE:
        return "none";
    case OTIMES_NORM_LN:
        return "LayerNorm";
    case OTIMES_NORM_RMS:
        return "RMSNorm";
    }
    return "unknown";
}

const char *otimes_positions_name(otimes_positions positions)
{
    switch (positions) {
    case OTIMES_POSITIONS_NONE:
        return "none";
    case OTIMES_POSITIONS_LEARNED:
        return "learned";
    case OTIMES_POSITIONS_SHORTFORMER:
        return "shortformer";
    case OTIMES_POSITIONS_ROPE:
        return "rotary";
    }
    return "unknown";
}

/* "W_Q, W_K, W_V": every claim a tensor can have is one of few, so the texts are made once. */
static const char *part_name(uint32_t claims)
{
    const uint32_t qkv = 1u << OTIMES_SLOT_W_Q | 1u << OTIMES_SLOT_W_K | 1u << OTIMES_SLOT_W_V;
    const uint32_t biases = 1u << OTIMES_SLOT_B_Q | 1u << OTIMES_SLOT_B_K | 1u << OTIMES_SLOT_B_V;
    if (!claims) {
        return NULL;
    }
    if (claims == qkv) {
        return "W_Q, W_K, W_V";
    }
    if (claims == biases) {
        return "b_Q, b_K, b_V";
    }
    return otimes_slot_label((otimes_slot)__builtin_ctz(claims));
}

int otimes_model_tensor(const otimes_model *model, int64_t index, otimes_tensor_info *info,
                        otimes_err *err)
{
    if (index < 0 || index >= model->store.entry_count) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "tensor: expected 0 to %lld, got %lld",
                           (long long)model->store.entry_count - 1, (long long)index);
    }
    const otimes_entry *entry = &model->store.entries[index];
    *info = (otimes_tensor_info){
        .name = entry->name,
        .dtype = otimes_dtype_name(entry->dtype),
        .ndim = entry->ndim,
        .bytes = entry->alias_of ? 0 : entry->bytes,
        .part = part_name(model->claims[index]),
        .layer = model->claim_layer[index],
    };
    memcpy(info->dim, entry->dim, sizeof info->dim);
    return OTIMES_OK;
}

int otimes_model_attributes(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    const otimes_model_info *info = &model->info;
    const struct {
        const char *name, *text;
    } texts[] = {
        {"model_path", info->path},
        {"architecture", info->architecture},
        {"model_format", info->format},
        {"dtype", info->dtype},
        {"norm", otimes_norm_name(info->norm)},
        {"positions", otimes_positions_name(info->positions)},
        {"fold_ln", otimes_step_name(info->fold_ln)},
        {"center_writing_weights", otimes_step_name(info->center_writing_weights)},
        {"center_unembed", otimes_step_name(info->center_unembed)},
        {"fold_value_biases", otimes_step_name(info->fold_value_biases)},
    };
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"n_layers", info->n_layers},     {"n_heads", info->n_heads},
        {"n_kv_heads", info->n_kv_heads}, {"d_model", info->d_model},
        {"d_head", info->d_head},         {"d_mlp", info->d_mlp},
        {"d_vocab", info->d_vocab},       {"d_vocab_out", info->d_vocab_out},
        {"n_ctx", info->n_ctx},           {"tied", info->tied},
    };
    int rc = otimes_sink_text(sink, "otimes_version", otimes_version(), err);
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof texts / sizeof texts[0]; i++) {
        rc = otimes_sink_text(sink, texts[i].name, texts[i].text, err);
    }
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof numbers / sizeof numbers[0]; i++) {
        rc = otimes_sink_i64(sink, numbers[i].name, numbers[i].value, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_f64(sink, "norm_eps", info->eps, err);
    }
    return rc == OTIMES_OK ? otimes_sink_f64(sink, "attn_scale", info->attn_scale, err) : rc;
}

int otimes_token_labels(const otimes_model *model, bool output, const int64_t *ids, int64_t count,
                        const char ***labels, otimes_err *err)
{
    const otimes_vocab *vocab = output && model->info.d_vocab != model->info.d_vocab_out
                                    ? &model->output_vocab
                                    : &model->vocab;
    *labels = NULL;
    if (!vocab->count) {
        return OTIMES_OK;
    }
    const int rc = OTIMES_NEW(labels, count, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        (*labels)[i] = vocab->text[ids ? ids[i] : i];
    }
    return rc;
}
