/* SPDX-License-Identifier: MIT */
#include "model/labels.h"

#include <stdio.h>
#include <unistd.h>

#include <otimes/tokenizer.h>

#include "base/mem.h"

/* Where a tokenizer is that is no JSON: in the weight file itself, or beside it. NULL: nowhere. */
static int find_tokenizer(const otimes_model *model, char **path, otimes_err *err)
{
    static const char *const beside[] = {"tokenizer.model", "tokenizer.bin"};
    *path = NULL;
    if (otimes_json_member(model->store.config, "tokenizer.ggml.tokens")) {
        *path = otimes_strdup(model->store.files[0].path);
        return *path ? OTIMES_OK : otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: path");
    }
    for (size_t i = 0; !*path && i < sizeof beside / sizeof beside[0]; i++) {
        *path = otimes_path_join(model->store.directory, beside[i], err);
        if (!*path) {
            return OTIMES_ERR_MEMORY;
        }
        if (access(*path, F_OK) != 0) {
            otimes_free(*path);
            *path = NULL;
        }
    }
    return OTIMES_OK;
}

/* A tokenizer of an unknown kind is no reason not to look at weights: then there are no labels. */
static int load_vocab_by_tokenizer(otimes_model *model, otimes_err *err)
{
    otimes_tokenizer *tokenizer = NULL;
    char *path;
    int rc = find_tokenizer(model, &path, err);
    if (rc == OTIMES_OK && path) {
        rc = otimes_tokenizer_open(&tokenizer, path, err);
        rc = rc == OTIMES_ERR_UNSUPPORTED ? OTIMES_OK : rc;
    }
    if (rc == OTIMES_OK && tokenizer) {
        rc = OTIMES_NEW(&model->vocab.text, model->info.d_vocab, err);
        model->vocab.count = rc == OTIMES_OK ? model->info.d_vocab : 0;
    }
    for (int64_t id = 0; rc == OTIMES_OK && id < model->vocab.count; id++) {
        const char *text = otimes_token_text(tokenizer, id);
        char number[32];
        snprintf(number, sizeof number, "[%lld]", (long long)id);
        model->vocab.text[id] = otimes_strdup(text ? text : number);
        rc = model->vocab.text[id] ? OTIMES_OK
                                   : otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: labels");
    }
    otimes_tokenizer_close(&tokenizer);
    otimes_free(path);
    return rc;
}

/* Token texts: from the tokenizer beside the weights or in them, or lists in the configuration. */
int otimes_labels_load(otimes_model *model, const json_t *config, const char *where,
                       otimes_err *err)
{
    const int64_t in = model->info.d_vocab, out = model->info.d_vocab_out;
    const json_t *tokens = json_object_get(config, "tokens");
    const json_t *outputs = json_object_get(config, "outputs");
    int rc = otimes_vocab_load(&model->vocab, model->store.directory, in, err);
    if (rc == OTIMES_OK && !model->vocab.count && json_is_array(tokens)) {
        rc = otimes_vocab_from_list(&model->vocab, tokens, in, where, err);
    }
    if (rc == OTIMES_OK && !model->vocab.count) {
        rc = load_vocab_by_tokenizer(model, err);
    }
    if (rc == OTIMES_OK && in != out && json_is_array(outputs)) {
        rc = otimes_vocab_from_list(&model->output_vocab, outputs, out, where, err);
    }
    return rc;
}

int otimes_labels_take(otimes_model *model, const otimes_memory_model *source, const json_t *config,
                       const char *where, otimes_err *err)
{
    const int64_t in = model->info.d_vocab, out = model->info.d_vocab_out;
    const json_t *tokens = json_object_get(config, "tokens");
    const json_t *outputs = json_object_get(config, "outputs");
    int rc = otimes_vocab_from_texts(&model->vocab, source->token, source->token_count, in, err);
    if (rc == OTIMES_OK && !model->vocab.count && json_is_array(tokens)) {
        rc = otimes_vocab_from_list(&model->vocab, tokens, in, where, err);
    }
    if (rc == OTIMES_OK && in != out) {
        rc = otimes_vocab_from_texts(&model->output_vocab, source->output_token,
                                     source->output_token_count, out, err);
    }
    if (rc == OTIMES_OK && in != out && !model->output_vocab.count && json_is_array(outputs)) {
        rc = otimes_vocab_from_list(&model->output_vocab, outputs, out, where, err);
    }
    return rc;
}

static const char *text_of(const otimes_vocab *vocab, int64_t id)
{
    return id >= 0 && id < vocab->count ? vocab->text[id] : NULL;
}

const char *otimes_model_token(const otimes_model *model, int64_t id)
{
    return text_of(&model->vocab, id);
}

const char *otimes_model_output_token(const otimes_model *model, int64_t id)
{
    return model->info.d_vocab == model->info.d_vocab_out ? text_of(&model->vocab, id)
                                                          : text_of(&model->output_vocab, id);
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
