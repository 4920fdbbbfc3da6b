/* SPDX-License-Identifier: MIT */
#include "model/bind.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/layout.h"

enum {
    OF_MODEL = OTIMES_SLOT_FIRST_OF_LAYER,
    OF_LAYER = OTIMES_SLOT_COUNT - OTIMES_SLOT_FIRST_OF_LAYER
};

static int64_t binding_index(otimes_slot slot, int64_t layer)
{
    return slot < OTIMES_SLOT_FIRST_OF_LAYER
               ? (int64_t)slot
               : OF_MODEL + layer * OF_LAYER + ((int64_t)slot - OTIMES_SLOT_FIRST_OF_LAYER);
}

const otimes_binding *otimes_model_binding(const otimes_model *model, otimes_slot slot,
                                           int64_t layer)
{
    return &model->bindings[binding_index(slot, layer)];
}

/* The name without the first of the row's prefixes that it has. */
static const char *strip_prefix(const char *name, const char *prefixes)
{
    for (const char *prefix = prefixes; prefix;) {
        const size_t length = strcspn(prefix, "|");
        if (strncmp(name, prefix, length) == 0) {
            return name + length;
        }
        prefix = prefix[length] ? prefix + length + 1 : NULL;
    }
    return name;
}

static void match_entry(otimes_model *model, int64_t index)
{
    const otimes_arch *arch = model->arch;
    const otimes_entry *entry = &model->store.entries[index];
    const char *name = strip_prefix(entry->name, arch->prefixes);
    model->claim_layer[index] = -1;
    const otimes_tensor_rule *rule;
    for (int r = 0; (rule = otimes_arch_rule(arch, r)); r++) {
        int64_t layer;
        if (otimes_names_match(rule->name, name, &layer)) {
            model->claims[index] |= 1u << rule->slot;
            model->claim_layer[index] = layer;
            otimes_layout_infer(rule->layout, entry->ndim, entry->dim, model->dims);
        }
    }
}

int otimes_bind_match(otimes_model *model, otimes_err *err)
{
    const int64_t count = model->store.entry_count;
    int rc = OTIMES_NEW(&model->claims, count, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&model->claim_layer, count, err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    int64_t layers = 0;
    for (int64_t i = 0; i < count; i++) {
        match_entry(model, i);
        layers = model->claim_layer[i] >= layers ? model->claim_layer[i] + 1 : layers;
    }
    if (!model->info.n_layers) {
        model->info.n_layers = layers;
    }
    return OTIMES_OK;
}

bool otimes_bind_has(const otimes_model *model, otimes_slot slot)
{
    for (int64_t i = 0; i < model->store.entry_count; i++) {
        if (model->claims[i] >> slot & 1 && model->claim_layer[i] <= 0) {
            return true;
        }
    }
    return false;
}

/* What is wrong, listed once each until the text is long enough, then counted. */
typedef struct problems {
    otimes_text text;
    int64_t count, unlisted;
} problems;

enum { PROBLEM_TEXT = OTIMES_ERR_TEXT - 512 };

static int add_problem(problems *list, const char *kind, const char *name, const char *detail,
                       otimes_err *err)
{
    list->count++;
    if (list->text.length > PROBLEM_TEXT) {
        list->unlisted++;
        return OTIMES_OK;
    }
    return otimes_text_add(&list->text, err, "%s%s %s%s", list->count > 1 ? "; " : "", kind, name,
                           detail);
}

static int add_shape(otimes_text *text, const char *before, int ndim, const int64_t *dim,
                     otimes_err *err)
{
    int rc = otimes_text_add(text, err, "%s[", before);
    for (int i = 0; rc == OTIMES_OK && i < ndim; i++) {
        rc = otimes_text_add(text, err, "%s%lld", i ? "," : "", (long long)dim[i]);
    }
    return rc == OTIMES_OK ? otimes_text_add(text, err, "]") : rc;
}

static int check_shape(const otimes_entry *entry, const otimes_layout *layout, problems *list,
                       otimes_err *err)
{
    if (!otimes_dtype_is_weight(entry->dtype)) {
        return add_problem(list, "unreadable type of", entry->name,
                           ": expected F32, F16, BF16 or F64", err);
    }
    bool same = entry->ndim == layout->ndim;
    for (int i = 0; same && i < entry->ndim; i++) {
        same = entry->dim[i] == layout->dim[i];
    }
    if (same) {
        return OTIMES_OK;
    }
    otimes_text detail = {0};
    int rc = add_shape(&detail, ": shape ", entry->ndim, entry->dim, err);
    if (rc == OTIMES_OK) {
        rc = add_shape(&detail, ", expected ", layout->ndim, layout->dim, err);
    }
    if (rc == OTIMES_OK) {
        rc = add_problem(list, "wrong shape of", entry->name, detail.data, err);
    }
    otimes_text_free(&detail);
    return rc;
}

/* Points the canonical weight of a rule into an entry, also into one that does not fit: it is
 * reported as such and not as absent on top. */
static void bind_rule(otimes_model *model, const otimes_tensor_rule *rule, int64_t layer,
                      const otimes_entry *entry, const otimes_layout *stored)
{
    otimes_binding *binding = &model->bindings[binding_index(rule->slot, layer)];
    const char *canonical = otimes_slot_layout(rule->slot);
    *binding = (otimes_binding){
        .entry = entry, .ndim = otimes_layout_ndim(canonical), .offset = stored->offset};
    for (int i = 0; i < binding->ndim; i++) {
        const otimes_dim dim = otimes_layout_axis(canonical, i);
        binding->dim[i] = model->dims[dim];
        binding->stride[i] = stored->stride[dim];
    }
}

static bool is_needed(const otimes_model *model, otimes_need need)
{
    const otimes_model_info *info = &model->info;
    const bool norm = model->norm_has_weights;
    const bool ln = norm && info->norm == OTIMES_NORM_LN;
    const bool mlp = info->mlp != OTIMES_MLP_NONE;
    switch (need) {
    case OTIMES_NEED_ALWAYS:
        return true;
    case OTIMES_NEED_OPTIONAL:
        return false;
    case OTIMES_NEED_POSITIONS:
        return info->positions == OTIMES_POSITIONS_LEARNED ||
               info->positions == OTIMES_POSITIONS_SHORTFORMER;
    case OTIMES_NEED_NORM:
        return norm;
    case OTIMES_NEED_LN:
        return ln;
    case OTIMES_NEED_MLP:
        return mlp;
    case OTIMES_NEED_GATE:
        return info->mlp == OTIMES_MLP_GATED;
    case OTIMES_NEED_MLP_NORM:
        return mlp && norm;
    case OTIMES_NEED_MLP_LN:
        return mlp && ln;
    }
    return false;
}

/* Points all that entry number `index` was matched with. */
static int bind_entry(otimes_model *model, int64_t index, problems *list, otimes_err *err)
{
    const otimes_arch *arch = model->arch;
    const otimes_entry *entry = &model->store.entries[index];
    const char *name = strip_prefix(entry->name, arch->prefixes);
    int64_t layer;
    if (!model->claims[index] || model->claim_layer[index] >= model->info.n_layers) {
        model->claims[index] = 0;
        return otimes_names_match(arch->ignored, name, &layer)
                   ? OTIMES_OK
                   : add_problem(list, "unexpected", entry->name, "", err);
    }
    bool checked = false; /* the pieces of a fused tensor have one shape */
    const otimes_tensor_rule *rule;
    for (int r = 0; (rule = otimes_arch_rule(arch, r)); r++) {
        if (!otimes_names_match(rule->name, name, &layer)) {
            continue;
        }
        if (rule->need != OTIMES_NEED_OPTIONAL && !is_needed(model, rule->need)) {
            return add_problem(list, "unexpected", entry->name,
                               " (the configuration has no place for it)", err);
        }
        otimes_layout stored;
        int rc = otimes_layout_resolve(rule->layout, rule->piece, model->dims, &stored, err);
        if (rc == OTIMES_OK && !checked) {
            rc = check_shape(entry, &stored, list, err);
        }
        if (rc != OTIMES_OK) {
            return rc;
        }
        checked = true;
        const otimes_entry *first =
            otimes_model_binding(model, rule->slot, layer < 0 ? 0 : layer)->entry;
        if (first && first->data != entry->data) { /* two names of one weight, and no alias */
            return add_problem(list, "second tensor of one weight:", entry->name, "", err);
        }
        bind_rule(model, rule, layer < 0 ? 0 : layer, entry, &stored);
    }
    return OTIMES_OK;
}

/* Where both ends are one matrix, either name serves, and the embedding's wins. */
static void tie(otimes_model *model)
{
    otimes_binding *embed = &model->bindings[OTIMES_SLOT_W_E];
    otimes_binding *unembed = &model->bindings[OTIMES_SLOT_W_U];
    if (!model->info.tied) {
        return;
    }
    if (!embed->entry) {
        *embed = *unembed;
    } else {
        *unembed = *embed;
    }
}

/* The name that was looked for: the first of a rule's patterns, with its layer. */
static int add_absent(problems *list, const char *pattern, int64_t layer, otimes_err *err)
{
    const char *mark = strstr(pattern, "{l}");
    const int length = (int)strcspn(pattern, "|");
    otimes_text name = {0};
    int rc = mark && mark < pattern + length
                 ? otimes_text_add(&name, err, "%.*s%lld%.*s", (int)(mark - pattern), pattern,
                                   (long long)layer, (int)(pattern + length - mark - 3), mark + 3)
                 : otimes_text_add(&name, err, "%.*s", length, pattern);
    if (rc == OTIMES_OK) {
        rc = add_problem(list, "absent", name.data, "", err);
    }
    otimes_text_free(&name);
    return rc;
}

static int list_absent(otimes_model *model, problems *list, otimes_err *err)
{
    const otimes_tensor_rule *rule;
    for (int r = 0; (rule = otimes_arch_rule(model->arch, r)); r++) {
        const bool of_layer = rule->slot >= OTIMES_SLOT_FIRST_OF_LAYER;
        if (rule->slot == OTIMES_SLOT_W_U && model->info.tied) {
            continue; /* W_E's absence is told already */
        }
        const int64_t layers = of_layer ? model->info.n_layers : 1;
        for (int64_t layer = 0; is_needed(model, rule->need) && layer < layers; layer++) {
            if (otimes_model_binding(model, rule->slot, layer)->entry) {
                continue;
            }
            const int rc = add_absent(list, rule->name, layer, err);
            if (rc != OTIMES_OK) {
                return rc;
            }
        }
    }
    return OTIMES_OK;
}

int otimes_bind_resolve(otimes_model *model, otimes_err *err)
{
    problems list = {0};
    int64_t count;
    if (!otimes_mul_i64(model->info.n_layers, OF_LAYER, &count)) {
        return otimes_fail(err, OTIMES_ERR_MODEL, "%s: too many layers", model->path);
    }
    int rc = OTIMES_NEW(&model->bindings, count + OF_MODEL, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < model->store.entry_count; i++) {
        rc = bind_entry(model, i, &list, err);
    }
    if (rc == OTIMES_OK) {
        tie(model);
        rc = list_absent(model, &list, err);
    }
    if (rc == OTIMES_OK && list.count > 0) {
        char more[64] = "";
        if (list.unlisted > 0) {
            snprintf(more, sizeof more, "; and %lld more", (long long)list.unlisted);
        }
        rc = otimes_fail(err, OTIMES_ERR_MODEL, "%s: not a %s model: %lld problem%s: %s%s",
                         model->path, model->arch->name, (long long)list.count,
                         list.count > 1 ? "s" : "", list.text.data, more);
    }
    otimes_text_free(&list.text);
    return rc;
}
