/* SPDX-License-Identifier: MIT */
#include "model/bind.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/layout.h"

enum {
    OF_MODEL = OTIMES_SLOT_FIRST_OF_LAYER,
    OF_LAYER = OTIMES_SLOT_FIRST_OF_EXPERT - OTIMES_SLOT_FIRST_OF_LAYER,
    OF_EXPERT = OTIMES_SLOT_COUNT - OTIMES_SLOT_FIRST_OF_EXPERT
};

/* Bindings stand by model, layer and expert. */
static int64_t binding_index(const otimes_model *model, otimes_slot slot, int64_t layer,
                             int64_t expert)
{
    const int64_t layers = model->info.n_layers, experts = model->dims[OTIMES_DIM_N_EXPERTS];
    if (slot < OTIMES_SLOT_FIRST_OF_LAYER) {
        return slot;
    }
    if (slot < OTIMES_SLOT_FIRST_OF_EXPERT) {
        return OF_MODEL + layer * OF_LAYER + (int64_t)slot - OTIMES_SLOT_FIRST_OF_LAYER;
    }
    return OF_MODEL + layers * OF_LAYER + (layer * experts + expert) * OF_EXPERT + (int64_t)slot -
           OTIMES_SLOT_FIRST_OF_EXPERT;
}

const otimes_binding *otimes_model_binding(const otimes_model *model, otimes_slot slot,
                                           int64_t layer)
{
    return &model->bindings[binding_index(model, slot, layer, 0)];
}

const otimes_binding *otimes_expert_binding(const otimes_model *model, otimes_slot slot,
                                            int64_t layer, int64_t expert)
{
    return &model->bindings[binding_index(model, slot, layer, expert)];
}

bool otimes_layer_has_experts(const otimes_model *model, int64_t layer)
{
    return otimes_model_binding(model, OTIMES_SLOT_ROUTER_W, layer)->entry != NULL;
}

const char *otimes_bind_name(const char *name, const char *prefixes)
{
    for (const char *prefix = prefixes; prefix;) {
        const size_t length = strcspn(prefix, "|");
        if (strncmp(name, prefix, length) == 0) {
            name += length;
        }
        prefix = prefix[length] ? prefix + length + 1 : NULL;
    }
    return name;
}

int64_t otimes_bind_known(const otimes_model *model, int64_t first, int64_t count)
{
    int64_t known = 0;
    for (int64_t i = first; i < first + count; i++) {
        const otimes_entry *entry = &model->store.entries[i];
        const char *name = otimes_bind_name(entry->name, model->naming->prefixes);
        const otimes_tensor_rule *rule;
        otimes_place place;
        bool matches = false;
        for (int r = 0; !matches && (rule = otimes_naming_rule(model->naming, r)); r++) {
            matches = otimes_names_match(rule->name, name, &place);
        }
        known += matches;
    }
    return known;
}

static void match_entry(otimes_model *model, int64_t index)
{
    const otimes_entry *entry = &model->store.entries[index];
    const char *name = otimes_bind_name(entry->name, model->naming->prefixes);
    model->place[index] = (otimes_place){-1, -1};
    const otimes_tensor_rule *rule;
    for (int r = 0; (rule = otimes_naming_rule(model->naming, r)); r++) {
        otimes_place place;
        if (otimes_names_match(rule->name, name, &place)) {
            model->claims[index] |= (uint64_t)1 << rule->slot;
            model->place[index] = place;
            otimes_layout_infer(rule->layout, entry->ndim, entry->dim, model->dims);
        }
    }
}

int otimes_bind_match(otimes_model *model, otimes_err *err)
{
    const int64_t count = model->store.entry_count;
    int rc = OTIMES_NEW(&model->claims, count, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&model->place, count, err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    int64_t layers = 0, experts = 0;
    for (int64_t i = 0; i < count; i++) {
        match_entry(model, i);
        layers = model->place[i].layer >= layers ? model->place[i].layer + 1 : layers;
        experts = model->place[i].expert >= experts ? model->place[i].expert + 1 : experts;
    }
    if (!model->info.n_layers) {
        model->info.n_layers = layers;
    }
    if (!model->dims[OTIMES_DIM_N_EXPERTS]) {
        model->dims[OTIMES_DIM_N_EXPERTS] = experts;
    }
    return OTIMES_OK;
}

bool otimes_bind_has(const otimes_model *model, otimes_slot slot)
{
    for (int64_t i = 0; i < model->store.entry_count; i++) {
        if (model->claims[i] >> slot & 1) {
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
                           ": expected a floating-point or block type", err);
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

/* What reading multiplies a weight by: multipliers of the forward pass are taken into the matrices
 * before them. */
static double scale_of(const otimes_model *model, otimes_slot slot)
{
    const double *numbers = model->numbers;
    double scale = 0;
    switch (slot) {
    case OTIMES_SLOT_W_E:
        scale = numbers[OTIMES_NUMBER_EMBED_SCALE];
        if (scale == OTIMES_ROOT_D_MODEL) {
            scale = sqrt((double)model->dims[OTIMES_DIM_D_MODEL]);
        }
        break;
    case OTIMES_SLOT_W_O:
    case OTIMES_SLOT_B_O:
    case OTIMES_SLOT_W_OUT:
    case OTIMES_SLOT_B_OUT:
    case OTIMES_SLOT_EXPERT_OUT:
    case OTIMES_SLOT_EXPERT_B_OUT:
    case OTIMES_SLOT_SHARED_OUT:
        scale = numbers[OTIMES_NUMBER_RESIDUAL_SCALE];
        break;
    case OTIMES_SLOT_W_U:
    case OTIMES_SLOT_B_U:
        scale = numbers[OTIMES_NUMBER_LOGIT_SCALE];
        if (numbers[OTIMES_NUMBER_LOGIT_DIVISOR] > 0) {
            scale = 1 / numbers[OTIMES_NUMBER_LOGIT_DIVISOR];
        }
        break;
    default:
        break;
    }
    return scale > 0 ? scale : 1;
}

/* Gemma keeps w - 1 of its norms. */
static float shift_of(const otimes_model *model, otimes_slot slot)
{
    const char *name = otimes_slot_label(slot);
    const size_t length = strlen(name);
    return model->norm_offset && length > 2 && strcmp(name + length - 2, ".w") == 0 ? 1 : 0;
}

/* Points the canonical weight of a rule into an entry, also into one that does not fit: it is
 * reported as such and not as absent on top. */
static void bind_rule(otimes_model *model, const otimes_tensor_rule *rule, otimes_place place,
                      const otimes_entry *entry, const otimes_layout *stored)
{
    const char *canonical = otimes_slot_layout(rule->slot);
    otimes_binding binding = {
        .slot = rule->slot,
        .layer = place.layer,
        .expert = place.expert,
        .entry = entry,
        .ndim = otimes_layout_ndim(canonical),
        .group = 1,
        .scale = (float)scale_of(model, rule->slot),
        .shift = shift_of(model, rule->slot),
    };
    int64_t stride[OTIMES_DIM_COUNT];
    for (int dim = 0; dim < OTIMES_DIM_COUNT; dim++) {
        const int axis = stored->of[dim].axis;
        stride[dim] = axis < 0 ? 0 : stored->of[dim].step * entry->stride[axis];
    }
    for (int axis = 0; axis < stored->ndim; axis++) {
        binding.offset += stored->offset[axis] * entry->stride[axis];
    }
    if (stored->of[OTIMES_DIM_N_EXPERTS].axis >= 0 && place.expert >= 0) {
        binding.offset += place.expert * stride[OTIMES_DIM_N_EXPERTS];
    }
    for (int i = 0; i < binding.ndim; i++) {
        const otimes_dim dim = otimes_layout_axis(canonical, i);
        binding.dim[i] = model->dims[dim];
        binding.stride[i] = stride[dim];
    }
    binding.group_stride = binding.stride[0];
    if (stored->grouped && otimes_layout_axis(canonical, 0) == OTIMES_DIM_N_HEADS) {
        binding.group = model->dims[OTIMES_DIM_GROUP];
        binding.group_stride = stride[OTIMES_DIM_N_KV_HEADS];
        binding.stride[0] = stride[OTIMES_DIM_GROUP];
    }
    binding.pairs = stored->pairs ? model->rope.dim : 0;
    model->bindings[binding_index(model, rule->slot, place.layer, place.expert)] = binding;
}

static bool is_needed(const otimes_model *model, const otimes_tensor_rule *rule, int64_t layer)
{
    const otimes_model_info *info = &model->info;
    const bool final = rule->slot == OTIMES_SLOT_LNF_W || rule->slot == OTIMES_SLOT_LNF_B;
    const bool norm = model->norm_has_weights && (final || model->pre_norm);
    const bool ln = norm && info->norm == OTIMES_NORM_LN && model->norm_has_biases;
    const bool mlp = info->mlp != OTIMES_MLP_NONE;
    /* A layer with neither an MLP nor experts lacks what its family has. */
    const bool experts =
        layer >= 0 && (otimes_layer_has_experts(model, layer) ||
                       (info->routing != OTIMES_ROUTING_NONE &&
                        !otimes_model_binding(model, OTIMES_SLOT_W_IN, layer)->entry));
    switch (rule->need) {
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
        return mlp && !experts;
    case OTIMES_NEED_GATE:
        return info->mlp == OTIMES_MLP_GATED && !experts;
    case OTIMES_NEED_MLP_NORM:
        return mlp && norm;
    case OTIMES_NEED_MLP_LN:
        return mlp && ln;
    case OTIMES_NEED_EXPERTS:
        return mlp && experts;
    case OTIMES_NEED_SHARED:
        return mlp && experts && model->dims[OTIMES_DIM_D_SHARED] > 0;
    }
    return false; /* unreached: all cases return */
}

/* Whether the configuration has a place for a tensor of this need at all; of layers it is not known
 * yet which have experts. */
static bool has_place(const otimes_model *model, const otimes_tensor_rule *rule)
{
    switch (rule->need) {
    case OTIMES_NEED_OPTIONAL:
        return true;
    case OTIMES_NEED_MLP:
        return model->info.mlp != OTIMES_MLP_NONE;
    case OTIMES_NEED_GATE:
        return model->info.mlp == OTIMES_MLP_GATED;
    case OTIMES_NEED_EXPERTS:
    case OTIMES_NEED_SHARED:
        return model->info.routing != OTIMES_ROUTING_NONE;
    case OTIMES_NEED_ALWAYS:
    case OTIMES_NEED_POSITIONS:
    case OTIMES_NEED_NORM:
    case OTIMES_NEED_LN:
    case OTIMES_NEED_MLP_NORM:
    case OTIMES_NEED_MLP_LN:
        return is_needed(model, rule, -1);
    }
    return false; /* unreached: all cases return */
}

/* One weight, or that of each expert when one tensor holds them all. */
static int bind_places(otimes_model *model, const otimes_tensor_rule *rule, otimes_place place,
                       const otimes_entry *entry, const otimes_layout *stored, problems *list,
                       otimes_err *err)
{
    const bool of_expert = rule->slot >= OTIMES_SLOT_FIRST_OF_EXPERT;
    const bool all = of_expert && place.expert < 0;
    const int64_t count = all ? model->dims[OTIMES_DIM_N_EXPERTS] : 1;
    for (int64_t i = 0; i < count; i++) {
        const otimes_place at = {place.layer < 0 ? 0 : place.layer, all ? i : place.expert};
        const otimes_binding *bound =
            &model->bindings[binding_index(model, rule->slot, at.layer, of_expert ? at.expert : 0)];
        if (bound->entry && bound->entry->data != entry->data) { /* two names, and no alias */
            return add_problem(list, "second tensor of one weight:", entry->name, "", err);
        }
        bind_rule(model, rule, at, entry, stored);
    }
    return OTIMES_OK;
}

/* Points all that entry number `index` was matched with. */
static int bind_entry(otimes_model *model, int64_t index, problems *list, otimes_err *err)
{
    const otimes_naming *naming = model->naming;
    const otimes_entry *entry = &model->store.entries[index];
    const char *name = otimes_bind_name(entry->name, naming->prefixes);
    otimes_place place = model->place[index];
    if (!model->claims[index] || place.layer >= model->info.n_layers ||
        place.expert >= model->dims[OTIMES_DIM_N_EXPERTS]) {
        if (model->claims[index]) {
            model->claims[index] = 0;
        } else if (otimes_names_match(naming->ignored, name, &place)) {
            return OTIMES_OK;
        }
        return add_problem(list, "unexpected", entry->name, "", err);
    }
    bool checked = false; /* the pieces of a fused tensor have one shape */
    const otimes_tensor_rule *rule;
    for (int r = 0; (rule = otimes_naming_rule(naming, r)); r++) {
        if (!otimes_names_match(rule->name, name, &place)) {
            continue;
        }
        if (!has_place(model, rule)) {
            return add_problem(list, "unexpected", entry->name,
                               " (the configuration has no place for it)", err);
        }
        otimes_layout stored;
        int rc = otimes_layout_resolve(rule->layout, rule->piece, model->dims, &stored, err);
        if (rc == OTIMES_OK && !checked) {
            rc = check_shape(entry, &stored, list, err);
        }
        if (rc == OTIMES_OK) {
            rc = bind_places(model, rule, place, entry, &stored, list, err);
        }
        if (rc != OTIMES_OK) {
            return rc;
        }
        checked = true;
    }
    return OTIMES_OK;
}

/* The same tensor as another weight, with that one's own scale. */
static void bind_as(otimes_model *model, otimes_slot slot, otimes_slot other, int64_t layer)
{
    otimes_binding *binding = &model->bindings[binding_index(model, slot, layer, 0)];
    *binding = *otimes_model_binding(model, other, layer);
    binding->slot = slot;
    binding->scale = (float)scale_of(model, slot);
}

/* Where both ends are one matrix, either name serves, and the embedding's wins. Where a parallel
 * block has one norm, the MLP reads it too. */
static void tie(otimes_model *model)
{
    const otimes_binding *embed = otimes_model_binding(model, OTIMES_SLOT_W_E, -1);
    const otimes_binding *unembed = otimes_model_binding(model, OTIMES_SLOT_W_U, -1);
    if (model->info.tied && embed->entry) {
        bind_as(model, OTIMES_SLOT_W_U, OTIMES_SLOT_W_E, -1);
    } else if (model->info.tied && unembed->entry) {
        bind_as(model, OTIMES_SLOT_W_E, OTIMES_SLOT_W_U, -1);
    }
    for (int64_t layer = 0; model->info.parallel && layer < model->info.n_layers; layer++) {
        const bool first = otimes_model_binding(model, OTIMES_SLOT_LN1_W, layer)->entry;
        const bool second = otimes_model_binding(model, OTIMES_SLOT_LN2_W, layer)->entry;
        if (first && !second) {
            bind_as(model, OTIMES_SLOT_LN2_W, OTIMES_SLOT_LN1_W, layer);
            bind_as(model, OTIMES_SLOT_LN2_B, OTIMES_SLOT_LN1_B, layer);
        } else if (second && !first) {
            bind_as(model, OTIMES_SLOT_LN1_W, OTIMES_SLOT_LN2_W, layer);
            bind_as(model, OTIMES_SLOT_LN1_B, OTIMES_SLOT_LN2_B, layer);
        }
    }
}

/* The name that was looked for: the first of a rule's patterns, with its layer and expert. */
static int add_absent(problems *list, const char *pattern, otimes_place place, otimes_err *err)
{
    const char *const end = pattern + strcspn(pattern, "|");
    otimes_text name = {0};
    int rc = OTIMES_OK;
    while (rc == OTIMES_OK && pattern < end) {
        if (end - pattern >= 3 && pattern[0] == '{') {
            rc = otimes_text_add(&name, err, "%lld",
                                 (long long)(pattern[1] == 'l' ? place.layer : place.expert));
            pattern += 3;
        } else {
            rc = otimes_text_add(&name, err, "%c", *pattern++);
        }
    }
    if (rc == OTIMES_OK) {
        rc = add_problem(list, "absent", name.data, "", err);
    }
    otimes_text_free(&name);
    return rc;
}

static int list_absent_of(otimes_model *model, const otimes_tensor_rule *rule, int64_t layer,
                          problems *list, otimes_err *err)
{
    const bool of_expert = rule->slot >= OTIMES_SLOT_FIRST_OF_EXPERT;
    const bool apart = of_expert && strstr(rule->name, "{x}");
    const int64_t count = apart ? model->dims[OTIMES_DIM_N_EXPERTS] : 1;
    int rc = OTIMES_OK;
    if (of_expert && model->dims[OTIMES_DIM_N_EXPERTS] == 0) {
        return add_absent(list, rule->name, (otimes_place){layer, 0}, err);
    }
    for (int64_t expert = 0; rc == OTIMES_OK && expert < count; expert++) {
        const int64_t index = binding_index(model, rule->slot, layer, expert);
        if (!model->bindings[index].entry) {
            rc = add_absent(list, rule->name, (otimes_place){layer, expert}, err);
        }
    }
    return rc;
}

static int list_absent(otimes_model *model, problems *list, otimes_err *err)
{
    const otimes_tensor_rule *rule;
    for (int r = 0; (rule = otimes_naming_rule(model->naming, r)); r++) {
        const bool of_layer = rule->slot >= OTIMES_SLOT_FIRST_OF_LAYER;
        if (rule->slot == OTIMES_SLOT_W_U && model->info.tied) {
            continue; /* W_E's absence is told already */
        }
        const int64_t layers = of_layer ? model->info.n_layers : 1;
        for (int64_t layer = 0; layer < layers; layer++) {
            if (!is_needed(model, rule, of_layer ? layer : -1)) {
                continue;
            }
            const int rc = list_absent_of(model, rule, layer, list, err);
            if (rc != OTIMES_OK) {
                return rc;
            }
        }
    }
    return OTIMES_OK;
}

/* Room for every binding there can be. */
static int make_bindings(otimes_model *model, otimes_err *err)
{
    int64_t experts;
    if (!otimes_mul_i64(model->info.n_layers, model->dims[OTIMES_DIM_N_EXPERTS], &experts) ||
        !otimes_mul_i64(experts, OF_EXPERT, &experts)) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_MODEL, "%s: too many layers of experts", model->path);
    }
    model->binding_count = OF_MODEL + model->info.n_layers * OF_LAYER + experts;
    return OTIMES_NEW(&model->bindings, model->binding_count, err);
}

int otimes_bind_resolve(otimes_model *model, otimes_err *err)
{
    problems list = {0};
    int rc = make_bindings(model, err);
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
