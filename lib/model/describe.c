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
    return "unknown"; /* unreached: all cases return */
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
    return "unknown"; /* unreached: all cases return */
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
    case OTIMES_POSITIONS_ALIBI:
        return "ALiBi";
    }
    return "unknown"; /* unreached: all cases return */
}

const char *otimes_qk_norm_name(otimes_qk_norm norm)
{
    switch (norm) {
    case OTIMES_QK_NORM_NONE:
        return "none";
    case OTIMES_QK_NORM_HEAD:
        return "per head";
    case OTIMES_QK_NORM_LN:
        return "per head (LayerNorm)";
    case OTIMES_QK_NORM_ALL:
        return "over all heads";
    }
    return "unknown"; /* unreached: all cases return */
}

/* What tensors with these claims hold; NULL without any. */
static const char *part_text(const otimes_model *model, uint64_t claims)
{
    for (int64_t i = 0; i < model->part_text_count; i++) {
        if (model->part_texts[i].claims == claims) {
            return model->part_texts[i].text;
        }
    }
    return NULL;
}

static int add_part_text(otimes_model *model, uint64_t claims, otimes_err *err)
{
    otimes_text text = {0};
    int rc =
        OTIMES_GROW(&model->part_texts, model->part_text_count, &model->part_text_capacity, err);
    for (int slot = 0; rc == OTIMES_OK && slot < OTIMES_SLOT_COUNT; slot++) {
        if (claims >> slot & 1) {
            rc = otimes_text_add(&text, err, "%s%s", text.length ? ", " : "",
                                 otimes_slot_label((otimes_slot)slot));
        }
    }
    if (rc != OTIMES_OK) {
        otimes_text_free(&text);
        return rc;
    }
    model->part_texts[model->part_text_count++] = (struct otimes_part_text){claims, text.data};
    return OTIMES_OK;
}

int otimes_part_texts(otimes_model *model, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < model->store.entry_count; i++) {
        if (model->claims[i] && !part_text(model, model->claims[i])) {
            rc = add_part_text(model, model->claims[i], err);
        }
    }
    return rc;
}

void otimes_part_texts_free(otimes_model *model)
{
    for (int64_t i = 0; i < model->part_text_count; i++) {
        otimes_free(model->part_texts[i].text);
    }
    otimes_free(model->part_texts);
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
        .part = part_text(model, model->claims[index]),
        .layer = model->place[index].layer,
    };
    memcpy(info->dim, entry->dim, sizeof info->dim);
    return OTIMES_OK;
}

/* What stands between the weights and what the model computes with them, in words that every result
 * carries. */
static const char *residual_write(const otimes_model_info *info)
{
    return info->post_norm ? "not W_O and W_out: a norm after each block rescales what they write"
                           : "W_O and W_out as they are";
}

static const char *attention_score(const otimes_model_info *info)
{
    if (info->qk_norm != OTIMES_QK_NORM_NONE) {
        return "not bilinear: queries and keys are normalised before their product; W_QK is the "
               "form before that";
    }
    if (info->clip_qkv > 0) {
        return "not bilinear: queries, keys and values are clipped; W_QK is the form before that";
    }
    return info->attn_softcap > 0 ? "bilinear before a soft cap" : "bilinear";
}

static const char *embedding_write(const otimes_model_info *info)
{
    return info->embed_norm ? "not W_E: a norm follows the embedding" : "W_E as it is";
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
        {"residual_write", residual_write(info)},
        {"attention_score", attention_score(info)},
        {"embedding_write", embedding_write(info)},
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
