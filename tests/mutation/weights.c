/* SPDX-License-Identifier: MIT */
#include "mutation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

const char *check_message(int rc, const otimes_err *err, const char *where)
{
    const size_t length = strnlen(err->msg, sizeof err->msg);
    if (rc < OTIMES_ERR_CANCELLED || rc >= 0 || rc == OTIMES_ERR_ARGUMENT ||
        rc == OTIMES_ERR_MEMORY || rc == OTIMES_ERR_CANCELLED) {
        return "an error that bytes cannot be the cause of";
    }
    if (err->code != rc || length == 0) {
        return "an error without its text";
    }
    if (length >= sizeof err->msg - 1) {
        return "a message that was cut off";
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)err->msg[i] < ' ' || err->msg[i] == 0x7f) {
            return "a control character in a message";
        }
    }
    return strstr(err->msg, where) ? NULL : "a message that does not name the file";
}

static void *grown(void *list, int64_t count, int64_t *capacity, size_t size)
{
    if (count < *capacity) {
        return list;
    }
    *capacity = 2 * *capacity + 64;
    void *more = realloc(list, (size_t)*capacity * size);
    if (!more) {
        perror("mutation");
        exit(EXIT_FAILURE);
    }
    return more;
}

static void add_failure(weights *all, const weight *like, int code)
{
    all->failure = grown(all->failure, all->failures, &all->failure_capacity, sizeof *all->failure);
    all->failure[all->failures++] =
        (failure){like->slot, like->part, like->layer, like->expert, code};
}

/* Keeps a copy of values; nothing of a weight that is not there. */
static void keep(weights *all, weight like, const otimes_tensor *tensor)
{
    if (!tensor->data) {
        return;
    }
    like.ndim = tensor->ndim;
    like.count = 1;
    for (int i = 0; i < tensor->ndim; i++) {
        like.dim[i] = tensor->dim[i];
        like.count *= tensor->dim[i];
    }
    like.data = malloc((size_t)like.count * sizeof *like.data + 1);
    if (like.data) {
        memcpy(like.data, tensor->data, (size_t)like.count * sizeof *like.data);
    }
    all->weight = grown(all->weight, all->count, &all->capacity, sizeof *all->weight);
    all->weight[all->count++] = like;
}

static const char *read_part(weights *all, const otimes_model *model, int64_t layer, int part,
                             const char *where)
{
    otimes_layer loaded;
    otimes_err err = {0};
    weight like = {.slot = OTIMES_SLOT_FIRST_OF_LAYER, .part = part, .layer = layer, .expert = -1};
    const int rc = otimes_layer_load(model, layer, part, &loaded, &err);
    if (rc != OTIMES_OK) {
        add_failure(all, &like, rc);
        return check_message(rc, &err, where);
    }
    for (int slot = OTIMES_SLOT_FIRST_OF_LAYER; slot < OTIMES_SLOT_FIRST_OF_EXPERT; slot++) {
        like.slot = (otimes_slot)slot;
        keep(all, like, otimes_layer_tensor(&loaded, like.slot));
    }
    otimes_layer_free(&loaded);
    return NULL;
}

static const char *read_expert(weights *all, const otimes_model *model, int64_t layer,
                               int64_t expert, const char *where)
{
    otimes_expert loaded;
    otimes_err err = {0};
    weight like = {.slot = OTIMES_SLOT_FIRST_OF_EXPERT, .layer = layer, .expert = expert};
    const int rc = otimes_expert_load(model, layer, expert, &loaded, &err);
    if (rc != OTIMES_OK) {
        add_failure(all, &like, rc);
        return check_message(rc, &err, where);
    }
    for (int slot = OTIMES_SLOT_FIRST_OF_EXPERT; slot < OTIMES_SLOT_COUNT; slot++) {
        like.slot = (otimes_slot)slot;
        keep(all, like, otimes_expert_tensor(&loaded, like.slot));
    }
    otimes_expert_free(&loaded);
    return NULL;
}

static const char *read_layer(weights *all, const otimes_model *model, int64_t layer,
                              const char *where)
{
    static const int parts[] = {OTIMES_PART_Q, OTIMES_PART_K, OTIMES_PART_V, OTIMES_PART_O,
                                OTIMES_PART_MLP};
    otimes_layer_info info;
    otimes_err err = {0};
    const char *wrong = NULL;
    for (size_t i = 0; !wrong && i < sizeof parts / sizeof *parts; i++) {
        wrong = read_part(all, model, layer, parts[i], where);
    }
    if (otimes_layer_describe(model, layer, &info, &err) != OTIMES_OK) {
        return "a layer that cannot be described";
    }
    const int64_t experts = info.experts ? otimes_model_describe(model)->n_experts : 0;
    for (int64_t e = 0; !wrong && e < experts; e++) {
        wrong = read_expert(all, model, layer, e, where);
    }
    return wrong;
}

typedef int row_reader(const void *from, int64_t first, int64_t count, float *out, otimes_err *err);

static int read_embedding(const void *model, int64_t first, int64_t count, float *out,
                          otimes_err *err)
{
    return otimes_embed_rows(model, first, count, out, err);
}

static int read_positions(const void *model, int64_t first, int64_t count, float *out,
                          otimes_err *err)
{
    return otimes_position_rows(model, first, count, out, err);
}

static int read_unembedding(const void *unembed, int64_t first, int64_t count, float *out,
                            otimes_err *err)
{
    return otimes_unembed_rows(unembed, first, count, out, err);
}

static const char *read_rows(weights *all, otimes_slot slot, row_reader *read, const void *from,
                             int64_t rows, int64_t columns, const char *where)
{
    const weight like = {.slot = slot, .layer = -1, .expert = -1};
    otimes_tensor table = {.ndim = 2, .dim = {rows, columns}};
    otimes_err err = {0};
    table.data = malloc((size_t)rows * (size_t)columns * sizeof *table.data + 1);
    if (!table.data) {
        return "a table larger than memory";
    }
    const int rc = read(from, 0, rows, table.data, &err);
    if (rc == OTIMES_OK) {
        keep(all, like, &table);
    } else {
        add_failure(all, &like, rc);
    }
    free(table.data);
    return rc == OTIMES_OK ? NULL : check_message(rc, &err, where);
}

static void keep_vector(weights *all, otimes_slot slot, float *data, int64_t count)
{
    keep(all, (weight){.slot = slot, .layer = -1, .expert = -1},
         &(otimes_tensor){.data = data, .ndim = 1, .dim = {count}});
}

static const char *read_embed_norm(weights *all, const otimes_model *model, const char *where)
{
    const int64_t d_model = otimes_model_describe(model)->d_model;
    const weight like = {.slot = OTIMES_SLOT_EMBED_LN_W, .layer = -1, .expert = -1};
    float *w = malloc((size_t)(2 * d_model) * sizeof *w);
    otimes_err err = {0};
    const int rc = w ? otimes_embed_norm(model, w, w + d_model, &err) : OTIMES_ERR_MEMORY;
    if (rc == OTIMES_OK) {
        keep_vector(all, OTIMES_SLOT_EMBED_LN_W, w, d_model);
        keep_vector(all, OTIMES_SLOT_EMBED_LN_B, w + d_model, d_model);
    } else {
        add_failure(all, &like, rc);
    }
    free(w);
    return rc == OTIMES_OK ? NULL : check_message(rc, &err, where);
}

static const char *read_unembed(weights *all, const otimes_model *model, const char *where)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const weight like = {.slot = OTIMES_SLOT_LNF_W, .layer = -1, .expert = -1};
    otimes_unembed unembed;
    otimes_err err = {0};
    const int rc = otimes_unembed_open(model, &unembed, &err);
    if (rc != OTIMES_OK) {
        add_failure(all, &like, rc);
        return check_message(rc, &err, where);
    }
    keep_vector(all, OTIMES_SLOT_B_U, unembed.bias, info->d_vocab_out);
    keep_vector(all, OTIMES_SLOT_LNF_W, unembed.ln_w, info->d_model);
    keep_vector(all, OTIMES_SLOT_LNF_B, unembed.ln_b, info->d_model);
    const char *wrong = read_rows(all, OTIMES_SLOT_W_U, read_unembedding, &unembed,
                                  info->d_vocab_out, info->d_model, where);
    otimes_unembed_free(&unembed);
    return wrong;
}

const char *weights_read(weights *all, const otimes_model *model, const char *where)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const char *wrong =
        read_rows(all, OTIMES_SLOT_W_E, read_embedding, model, info->d_vocab, info->d_model, where);
    if (!wrong && (info->positions == OTIMES_POSITIONS_LEARNED ||
                   info->positions == OTIMES_POSITIONS_SHORTFORMER)) {
        wrong = read_rows(all, OTIMES_SLOT_W_POS, read_positions, model, info->n_ctx, info->d_model,
                          where);
    }
    if (!wrong && info->embed_norm) {
        wrong = read_embed_norm(all, model, where);
    }
    if (!wrong) {
        wrong = read_unembed(all, model, where);
    }
    for (int64_t layer = 0; !wrong && layer < info->n_layers; layer++) {
        wrong = read_layer(all, model, layer, where);
    }
    return wrong;
}

const weight *weights_find(const weights *all, const weight *like)
{
    for (int64_t i = 0; i < all->count; i++) {
        const weight *w = &all->weight[i];
        if (w->slot == like->slot && w->part == like->part && w->layer == like->layer &&
            w->expert == like->expert) {
            return w;
        }
    }
    return NULL;
}

/* Slots outside layers and experts that one call reads. */
static bool read_together(otimes_slot first, otimes_slot slot)
{
    return first == slot || (first == OTIMES_SLOT_EMBED_LN_W && slot == OTIMES_SLOT_EMBED_LN_B) ||
           (first == OTIMES_SLOT_LNF_W &&
            (slot == OTIMES_SLOT_LNF_B || slot == OTIMES_SLOT_B_U || slot == OTIMES_SLOT_W_U));
}

const failure *weights_failure(const weights *all, const weight *like)
{
    for (int64_t i = 0; i < all->failures; i++) {
        const failure *f = &all->failure[i];
        if (f->part == like->part && f->layer == like->layer && f->expert == like->expert &&
            (like->layer >= 0 || read_together(f->slot, like->slot))) {
            return f;
        }
    }
    return NULL;
}

void weights_free(weights *all)
{
    for (int64_t i = 0; i < all->count; i++) {
        free(all->weight[i].data);
    }
    free(all->weight);
    free(all->failure);
    *all = (weights){0};
}
