/* SPDX-License-Identifier: MIT */
#include "model/model.h"

#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sha256.h"
#include "base/sink.h"
#include "format/memory.h"
#include "format/open.h"
#include "model/bind.h"
#include "model/config.h"
#include "model/describe.h"
#include "model/kinds.h"
#include "model/labels.h"

void otimes_model_settings_default(otimes_model_settings *settings)
{
    *settings = (otimes_model_settings){
        .fold_ln = 1,
        .center_writing_weights = 1,
        .center_unembed = 1,
        .fold_value_biases = 1,
        .token_text = 1,
    };
}

/* Loads directory/name if it is there. */
static int load_beside(const otimes_model *model, const char *name, json_t **config, char **where,
                       otimes_err *err)
{
    *where = otimes_path_join(model->store.directory, name, err);
    if (!*where) {
        return OTIMES_ERR_MEMORY;
    }
    if (access(*where, F_OK) == 0) {
        return otimes_json_load(config, *where, err);
    }
    otimes_free(*where);
    *where = NULL;
    return OTIMES_OK;
}

/* The file that was asked for; else what a file says that describes itself; else config.json or
 * params.json beside the weights; else what else the weight files say. *config is NULL when there
 * is nothing. */
static int load_config(const otimes_model *model, const otimes_model_settings *settings,
                       json_t **config, char **where, otimes_err *err)
{
    json_t *own = model->store.config;
    int rc = OTIMES_OK;
    *config = NULL;
    *where = NULL;
    if (settings->config_path) {
        *where = otimes_strdup(settings->config_path);
        return *where ? otimes_json_load(config, *where, err)
                      : otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: path");
    }
    if (!otimes_json_member(own, "model_type|general.architecture")) {
        rc = load_beside(model, "config.json", config, where, err);
        if (rc == OTIMES_OK && !*where) {
            rc = load_beside(model, "params.json", config, where, err);
        }
    }
    if (rc == OTIMES_OK && !*where) {
        *config = json_incref(own);
        *where = otimes_strdup(model->path);
        rc = *where ? OTIMES_OK : otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: path");
    }
    return rc;
}

/* Step number `index`: done already, or possible and wanted or not. */
static otimes_step step(const otimes_model *model, int index, int wanted, bool applicable)
{
    if (model->done[index]) {
        return OTIMES_STEP_DONE_IN_FILE;
    }
    if (!applicable) {
        return OTIMES_STEP_NOT_APPLICABLE;
    }
    return wanted ? OTIMES_STEP_APPLIED : OTIMES_STEP_OFF;
}

static bool any_layer_has(const otimes_model *model, otimes_slot slot)
{
    for (int64_t layer = 0; layer < model->info.n_layers; layer++) {
        if (otimes_model_binding(model, slot, layer)->entry) {
            return true;
        }
    }
    return false;
}

/* What each step of processing can do for this model. A LayerNorm without weights centres what it
 * reads, which reading weights can take over; TransformerLens' files without norm weights are
 * folded already. Value biases reach the output unchanged only while the weights of a pattern sum
 * to 1. A soft cap is not blind to a constant in all logits. Shortformer positions come in between
 * a norm and what reads it, and would be scaled by a norm that is folded behind them. */
static void settle_steps(otimes_model *model, const otimes_model_settings *settings)
{
    otimes_model_info *info = &model->info;
    const bool ln = info->norm == OTIMES_NORM_LN;
    const bool bare = info->norm != OTIMES_NORM_NONE && !model->norm_has_weights;
    const bool stays_bare = model->arch->norm_without_weights || model->recorded;
    info->fold_ln = step(model, 0, settings->fold_ln,
                         info->positions != OTIMES_POSITIONS_SHORTFORMER &&
                             (model->norm_has_weights || (bare && ln && stays_bare)));
    if (bare && !stays_bare) {
        info->fold_ln = OTIMES_STEP_DONE_IN_FILE;
    }
    info->center_writing_weights =
        step(model, 1, settings->center_writing_weights, ln && !info->post_norm);
    info->center_unembed = step(model, 2, settings->center_unembed, info->final_softcap == 0);
    const bool folded_bias =
        info->fold_ln == OTIMES_STEP_APPLIED && any_layer_has(model, OTIMES_SLOT_LN1_B);
    model->done[3] = model->done[3] && !folded_bias; /* folding a norm makes value biases anew */
    info->fold_value_biases = step(model, 3, settings->fold_value_biases,
                                   (folded_bias || any_layer_has(model, OTIMES_SLOT_B_V)) &&
                                       !info->attention_sinks && info->clip_qkv == 0);
}

/* The types of the claimed tensors, each named once. */
static int list_dtypes(otimes_model *model, otimes_err *err)
{
    otimes_text text = {0};
    uint64_t seen = 0;
    int rc = otimes_text_add(&text, err, "%s", "");
    for (int64_t i = 0; rc == OTIMES_OK && i < model->store.entry_count; i++) {
        const otimes_dtype dtype = model->store.entries[i].dtype;
        if (model->claims[i] && !(seen >> dtype & 1)) {
            rc = otimes_text_add(&text, err, "%s%s", seen ? ", " : "", otimes_dtype_name(dtype));
            seen |= (uint64_t)1 << dtype;
        }
    }
    model->dtype = text.data;
    return rc;
}

static void describe(otimes_model *model)
{
    otimes_model_info *info = &model->info;
    const int64_t *dims = model->dims;
    info->path = model->path;
    info->architecture = model->arch->name;
    info->format = model->store.format;
    info->dtype = model->dtype;
    info->activation = model->activation;
    info->n_heads = dims[OTIMES_DIM_N_HEADS];
    info->n_kv_heads = dims[OTIMES_DIM_N_KV_HEADS];
    info->d_model = dims[OTIMES_DIM_D_MODEL];
    info->d_head = dims[OTIMES_DIM_D_HEAD];
    info->d_mlp = info->mlp == OTIMES_MLP_NONE ? 0 : dims[OTIMES_DIM_D_MLP];
    info->d_vocab = dims[OTIMES_DIM_D_VOCAB];
    info->d_vocab_out = dims[OTIMES_DIM_D_VOCAB_OUT];
    info->n_ctx = dims[OTIMES_DIM_N_CTX];
    info->rope_theta = model->rope.theta;
    info->rotary_dim = model->rope.dim;
    info->pre_norm = info->norm != OTIMES_NORM_NONE && model->pre_norm &&
                     (!model->norm_has_weights || any_layer_has(model, OTIMES_SLOT_LN1_W));
    info->post_norm = any_layer_has(model, OTIMES_SLOT_LN1_POST_W) ||
                      any_layer_has(model, OTIMES_SLOT_LN2_POST_W);
    info->embed_norm = otimes_model_binding(model, OTIMES_SLOT_EMBED_LN_W, -1)->entry != NULL;
    info->attention_sinks = any_layer_has(model, OTIMES_SLOT_SINKS);
    if (any_layer_has(model, OTIMES_SLOT_Q_NORM_W)) {
        info->qk_norm = model->arch->qk_norm ? model->arch->qk_norm
                        : info->qk_norm      ? info->qk_norm
                                             : OTIMES_QK_NORM_HEAD;
    }
    if (any_layer_has(model, OTIMES_SLOT_ROUTER_W)) {
        info->n_experts = dims[OTIMES_DIM_N_EXPERTS];
        info->d_expert = dims[OTIMES_DIM_D_EXPERT];
        info->d_shared_expert =
            any_layer_has(model, OTIMES_SLOT_SHARED_IN) ? dims[OTIMES_DIM_D_SHARED] : 0;
    }
    info->qkv_bias = any_layer_has(model, OTIMES_SLOT_B_Q) ||
                     any_layer_has(model, OTIMES_SLOT_B_K) || any_layer_has(model, OTIMES_SLOT_B_V);
    info->tensor_count = model->store.entry_count;
    info->file_bytes = otimes_store_bytes(&model->store);
}

/* All that tensors and configuration tell. */
static int understand(otimes_model *model, const otimes_model_settings *settings,
                      const json_t *config, const char *where, otimes_err *err)
{
    int rc = otimes_config_arch(model, config, settings->state_dict, where, err);
    if (rc == OTIMES_OK) {
        rc = otimes_config_numbers(model, config, where, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_bind_match(model, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_config_settle(model, config, where, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_config_kinds(model, config, where, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_bind_resolve(model, err);
    }
    if (rc == OTIMES_OK) {
        rc = list_dtypes(model, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_part_texts(model, err);
    }
    if (rc == OTIMES_OK) {
        describe(model);
        settle_steps(model, settings);
    }
    return rc;
}

static int open_files(otimes_model *model, const otimes_model_settings *settings, otimes_err *err)
{
    json_t *config = NULL;
    char *where = NULL;
    int rc = otimes_store_open(&model->store, model->path, err);
    if (rc == OTIMES_OK) {
        rc = load_config(model, settings, &config, &where, err);
    }
    if (rc == OTIMES_OK) {
        rc = understand(model, settings, config, where, err);
    }
    if (rc == OTIMES_OK && settings->token_text) {
        rc = otimes_labels_load(model, config, where, err);
    }
    json_decref(config);
    otimes_free(where);
    return rc;
}

/* The file that was asked for, else the text that came with the tensors. */
static int parse_config(const otimes_model *model, const otimes_memory_model *source,
                        const otimes_model_settings *settings, json_t **config, otimes_text *where,
                        otimes_err *err)
{
    *config = NULL;
    if (settings->config_path) {
        const int rc = otimes_text_add(where, err, "%s", settings->config_path);
        return rc == OTIMES_OK ? otimes_json_load(config, where->data, err) : rc;
    }
    int rc = otimes_text_add(where, err, "%s: config", model->path);
    if (rc != OTIMES_OK || !source->config) {
        return rc;
    }
    rc = otimes_json_parse(config, source->config, (int64_t)strlen(source->config), where->data,
                           err);
    return rc != OTIMES_OK || json_is_object(*config)
               ? rc
               : otimes_fail(err, OTIMES_ERR_FORMAT, "%s: expected a JSON object", where->data);
}

static int open_memory(otimes_model *model, const otimes_memory_model *source,
                       const otimes_model_settings *settings, otimes_err *err)
{
    json_t *config = NULL;
    otimes_text where = {0};
    int rc =
        otimes_store_lend(&model->store, source->tensor, source->tensor_count, model->path, err);
    if (rc == OTIMES_OK) {
        rc = parse_config(model, source, settings, &config, &where, err);
    }
    if (rc == OTIMES_OK) {
        rc = understand(model, settings, config, where.data, err);
    }
    if (rc == OTIMES_OK && settings->token_text) {
        rc = otimes_labels_take(model, source, config, where.data, err);
    }
    json_decref(config);
    otimes_text_free(&where);
    return rc;
}

/* A model that nothing is known of but what it is called. */
static int begin(otimes_model **model, const char *path, const otimes_model_settings *settings,
                 otimes_err *err)
{
    const int rc = OTIMES_NEW(model, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    (*model)->threads = settings->threads;
    (*model)->path = otimes_strdup(path);
    return (*model)->path ? OTIMES_OK : otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: path");
}

int otimes_model_open(otimes_model **model, const char *path, const otimes_model_settings *settings,
                      otimes_err *err)
{
    otimes_model_settings defaults;
    otimes_model_settings_default(&defaults);
    const otimes_model_settings *chosen = settings ? settings : &defaults;
    *model = NULL;
    if (!path || path[0] == '\0') {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "model: expected a path, got none");
    }
    int rc = begin(model, path, chosen, err);
    if (rc == OTIMES_OK) {
        rc = open_files(*model, chosen, err);
    }
    if (rc != OTIMES_OK) {
        otimes_model_close(model);
    }
    return rc;
}

int otimes_model_open_memory(otimes_model **model, const otimes_memory_model *source,
                             const otimes_model_settings *settings, otimes_err *err)
{
    otimes_model_settings defaults;
    otimes_model_settings_default(&defaults);
    const otimes_model_settings *chosen = settings ? settings : &defaults;
    *model = NULL;
    if (!source) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "model: expected tensors, got none");
    }
    const bool named = source->name && source->name[0] != '\0';
    int rc = begin(model, named ? source->name : "<memory>", chosen, err);
    if (rc == OTIMES_OK) {
        rc = open_memory(*model, source, chosen, err);
    }
    if (rc != OTIMES_OK) {
        otimes_model_close(model);
    }
    return rc;
}

void otimes_model_close(otimes_model **model)
{
    if (!model || !*model) {
        return;
    }
    otimes_model *m = *model;
    otimes_vocab_free(&m->vocab);
    otimes_vocab_free(&m->output_vocab);
    otimes_store_close(&m->store);
    otimes_free(m->bindings);
    otimes_free(m->claims);
    otimes_free(m->place);
    otimes_free(m->layers);
    otimes_part_texts_free(m);
    otimes_free(m->rope.scaling_name);
    otimes_free(m->path);
    otimes_free(m->dtype);
    otimes_free(m->activation);
    otimes_free(m);
    *model = NULL;
}

const char *otimes_model_file(const otimes_model *model, int64_t index)
{
    return index >= 0 && index < model->store.file_count ? model->store.files[index].path : NULL;
}

int otimes_model_unchanged(const otimes_model *model, otimes_err *err)
{
    return otimes_store_unchanged(&model->store, NULL, err);
}

int otimes_model_mend(const otimes_model *model, const void *address)
{
    /* The maps are the model's own, and made to be written where they are mended. */
    return otimes_store_mend((otimes_store *)&model->store, address);
}

const otimes_model_info *otimes_model_describe(const otimes_model *model)
{
    return &model->info;
}

bool otimes_has_positions(const otimes_model *model)
{
    return model->info.positions == OTIMES_POSITIONS_LEARNED ||
           model->info.positions == OTIMES_POSITIONS_SHORTFORMER;
}

static int hash_file(const otimes_file *file, otimes_pulse *pulse, char hex[OTIMES_SHA256_HEX],
                     otimes_err *err)
{
    enum { RUN = 4 << 20 }; /* let go of the pages run by run */
    otimes_sha256 sha = {0};
    int rc = otimes_sha256_begin(&sha, err);
    for (int64_t at = 0; rc == OTIMES_OK && at < file->map.bytes; at += RUN) {
        const int64_t run = file->map.bytes - at < RUN ? file->map.bytes - at : RUN;
        rc = otimes_sha256_add(&sha, file->map.data + at, run, err);
        otimes_map_release(file->map.data + at, run);
        rc = rc == OTIMES_OK ? otimes_map_unchanged(&file->map, file->path, err) : rc;
        rc = rc == OTIMES_OK ? otimes_pulse_say(pulse, pulse->done + (double)run, err) : rc;
    }
    const int finish = otimes_sha256_finish(&sha, rc == OTIMES_OK ? hex : NULL, err);
    return rc == OTIMES_OK ? finish : rc;
}

int otimes_model_sha256_watched(const otimes_model *model, otimes_sink *sink, char **text,
                                otimes_err *err)
{
    otimes_text lines = {0};
    otimes_pulse pulse = {.sink = sink};
    int rc = OTIMES_OK;
    for (int64_t i = 0; i < model->store.file_count; i++) {
        pulse.total += (double)model->store.files[i].map.bytes;
    }
    if (model->store.lent) {
        char hex[OTIMES_SHA256_HEX];
        rc = otimes_store_digest(&model->store, &pulse, hex, err);
        if (rc == OTIMES_OK) {
            rc = otimes_text_add(&lines, err, "%s  %s", hex, model->path);
        }
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < model->store.file_count; i++) {
        const otimes_file *file = &model->store.files[i];
        const char *slash = strrchr(file->path, '/');
        char hex[OTIMES_SHA256_HEX];
        rc = hash_file(file, &pulse, hex, err);
        if (rc == OTIMES_OK) {
            rc = otimes_text_add(&lines, err, "%s%s  %s", i ? "\n" : "", hex,
                                 slash ? slash + 1 : file->path);
        }
    }
    if (rc != OTIMES_OK) {
        otimes_text_free(&lines);
    }
    *text = lines.data;
    return rc;
}

int otimes_model_sha256(const otimes_model *model, char **text, otimes_err *err)
{
    return otimes_model_sha256_watched(model, NULL, text, err);
}
