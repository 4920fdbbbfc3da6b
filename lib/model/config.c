/* SPDX-License-Identifier: MIT */
#include "model/config.h"

#include <string.h>

#include "base/mem.h"
#include "model/bind.h"

/* More than any model has; keeps products of dimensions far from overflow. */
#define LARGEST_DIM 1000000000
#define LARGEST_EXPERTS 4096
/* Bytes: a row of the router and two matrices, a number of each. */
#define LEAST_EXPERT 3

/* An unrecoverable list of the rows a user could have meant. */
static int unknown_arch(const char *where, const char *got, otimes_err *err)
{
    otimes_text known = {0};
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < otimes_arch_count; i++) {
        rc = otimes_text_add(&known, err, "%s%s", i ? ", " : "", otimes_archs[i].name);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_fail(err, OTIMES_ERR_MODEL,
                         "%s: unknown architecture: expected one of %s; got %s", where, known.data,
                         got);
    }
    otimes_text_free(&known);
    return rc;
}

/* A row that needs a key of its own goes before one that does not. */
static const otimes_arch *arch_by_gguf(const json_t *config, const char *name)
{
    const otimes_arch *found = NULL;
    for (int i = 0; i < otimes_arch_count; i++) {
        const otimes_arch *arch = &otimes_archs[i];
        if (!arch->gguf || !otimes_names_contain(arch->gguf, name)) {
            continue;
        }
        if (!arch->gguf_only) {
            found = found ? found : arch;
        } else if (json_number_value(otimes_json_member(config, arch->gguf_only)) > 0) {
            return arch;
        }
    }
    return found;
}

/* Among `count` tensors from number `first` on. */
static bool has_signature(const otimes_model *model, const otimes_arch *arch, int64_t first,
                          int64_t count)
{
    for (int64_t i = first; arch->signature && i < first + count; i++) {
        const otimes_entry *entry = &model->store.entries[i];
        if (otimes_names_contain(arch->signature,
                                 otimes_bind_name(entry->name, arch->files.prefixes)) &&
            (!arch->signature_axes || entry->ndim == arch->signature_axes)) {
            return true;
        }
    }
    return false;
}

static const otimes_arch *arch_by_key(const json_t *config)
{
    for (int i = 0; i < otimes_arch_count; i++) {
        if (otimes_archs[i].config_only &&
            otimes_json_member(config, otimes_archs[i].config_only)) {
            return &otimes_archs[i];
        }
    }
    return NULL;
}

static const otimes_arch *arch_by_signature(const otimes_model *model, const char *state_dict)
{
    const otimes_store *store = &model->store;
    int64_t count;
    for (int64_t first = 0; (count = otimes_store_group(store, first)); first += count) {
        const bool wanted = !state_dict || !strcmp(state_dict, store->entries[first].group);
        for (int i = 0; wanted && i < otimes_arch_count; i++) {
            if (has_signature(model, &otimes_archs[i], first, count)) {
                return &otimes_archs[i];
            }
        }
    }
    return NULL;
}

static int no_group(const otimes_model *model, const char *state_dict, otimes_err *err)
{
    const otimes_store *store = &model->store;
    otimes_text known = {0};
    int64_t count;
    int rc = otimes_text_add(&known, err, "%s", "");
    for (int64_t first = 0; rc == OTIMES_OK && (count = otimes_store_group(store, first));
         first += count) {
        rc = otimes_text_add(&known, err, "%s\"%s\"", first ? ", " : "",
                             store->entries[first].group);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_fail(err, OTIMES_ERR_MODEL,
                         "%s: no state dictionary \"%s\": expected one of %s", model->path,
                         state_dict, known.length ? known.data : "none (there are no tensors)");
    }
    otimes_text_free(&known);
    return rc;
}

/* Keeps one dictionary of a nested checkpoint. */
static int choose_group(otimes_model *model, const char *state_dict, otimes_err *err)
{
    const otimes_store *store = &model->store;
    const char *best = NULL;
    int64_t most = -1, count;
    for (int64_t first = 0; (count = otimes_store_group(store, first)); first += count) {
        const char *group = store->entries[first].group;
        const int64_t known = otimes_bind_known(model, first, count);
        if (state_dict ? strcmp(group, state_dict) == 0 : known > most) {
            best = group;
            most = known;
        }
    }
    if (!best) {
        return state_dict ? no_group(model, state_dict, err)
                          : otimes_fail(err, OTIMES_ERR_MODEL, "%s: no tensors in it", model->path);
    }
    char *kept = otimes_strdup(best); /* its own text goes with its entries */
    if (!kept) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: state dictionary");
    }
    otimes_store_choose(&model->store, kept);
    otimes_free(kept);
    return OTIMES_OK;
}

int otimes_config_arch(otimes_model *model, const json_t *config, const char *state_dict,
                       const char *where, otimes_err *err)
{
    const json_t *type = otimes_json_member(config, "model_type");
    const char *gguf = json_string_value(otimes_json_member(config, "general.architecture"));
    const char *name = json_string_value(type);
    if (type && !name) {
        return unknown_arch(where, "a model_type that is no text", err);
    }
    if (gguf) {
        model->arch = arch_by_gguf(config, gguf);
        model->naming = model->arch ? model->arch->gguf_files : NULL;
    } else if (name) {
        model->arch = otimes_arch_by_type(name);
    } else {
        model->arch = arch_by_key(config);
        model->arch = model->arch ? model->arch : arch_by_signature(model, state_dict);
    }
    if (!model->arch) {
        return unknown_arch(where,
                            gguf     ? gguf
                            : name   ? name
                            : config ? "no model_type and tensor names of none of them"
                                     : "no configuration and tensor names of none of them",
                            err);
    }
    if (!model->naming) {
        model->naming = &model->arch->files;
    }
    return choose_group(model, state_dict, err);
}

int otimes_config_wrong(const char *where, const char *names, const char *expected, otimes_err *err)
{
    return otimes_fail(err, OTIMES_ERR_MODEL, "%s: %.*s: expected %s", where,
                       (int)strcspn(names, "|"), names, expected);
}

bool otimes_config_flag(const json_t *config, const char *names, bool fallback)
{
    const json_t *member = names ? otimes_json_member(config, names) : NULL;
    if (!member) {
        return fallback;
    }
    return json_is_number(member) ? json_number_value(member) != 0 : !json_is_false(member);
}

static bool is_integral(int key)
{
    switch (key) {
#define NUMBER_CASE(name, integral) \
    case OTIMES_NUMBER_##name:      \
        return integral;
        OTIMES_NUMBERS(NUMBER_CASE) /* NOLINT(bugprone-branch-clone): a table's answers */
#undef NUMBER_CASE
    default:
        return true; /* dimensions */
    }
}

static int read_number(const json_t *config, const otimes_config_rule *rule, const char *where,
                       double *value, otimes_err *err)
{
    const json_t *member = otimes_json_member(config, rule->names);
    const bool integral = is_integral(rule->key);
    if (!member) {
        *value = rule->fallback;
        return *value == OTIMES_REQUIRED
                   ? otimes_fail(err, OTIMES_ERR_MODEL, "%s: expected %.*s, got none", where,
                                 (int)strcspn(rule->names, "|"), rule->names)
                   : OTIMES_OK;
    }
    if (integral ? !json_is_integer(member) : !json_is_number(member)) {
        return otimes_config_wrong(where, rule->names, integral ? "an integer" : "a number", err);
    }
    *value = json_number_value(member);
    /* 0 leaves a number to be settled, where that is possible at all. */
    const bool may_be_0 = rule->fallback == OTIMES_DERIVED || rule->key == OTIMES_NUMBER_EPS;
    if (!(*value >= 0 && *value <= LARGEST_DIM) || (*value == 0 && !may_be_0)) {
        return otimes_config_wrong(where, rule->names,
                                   may_be_0 ? "a number from 0 to 1000000000"
                                            : "a number above 0, at most 1000000000",
                                   err);
    }
    return OTIMES_OK;
}

int otimes_config_numbers(otimes_model *model, const json_t *config, const char *where,
                          otimes_err *err)
{
    for (const otimes_config_rule *rule = model->naming->config; rule->names; rule++) {
        double value = 0;
        const int rc = read_number(config, rule, where, &value, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
        if (rule->key < OTIMES_DIM_COUNT) {
            model->dims[rule->key] = (int64_t)value;
        } else {
            model->numbers[rule->key] = value;
        }
    }
    model->info.n_layers = (int64_t)model->numbers[OTIMES_NUMBER_N_LAYERS];
    return OTIMES_OK;
}

/* How many key/value heads: counted, one, or as many as query heads. */
static void settle_kv_heads(otimes_model *model, const json_t *config)
{
    const otimes_arch *arch = model->arch;
    int64_t *kv = &model->dims[OTIMES_DIM_N_KV_HEADS];
    const bool gguf = model->naming != &arch->files;
    if (arch->one_kv.names && !gguf && !otimes_config_flag(config, arch->count_kv.names, false)) {
        *kv = otimes_config_flag(config, arch->one_kv.names, arch->one_kv.fallback)
                  ? 1
                  : model->dims[OTIMES_DIM_N_HEADS];
    }
    if (!*kv) {
        *kv = model->dims[OTIMES_DIM_N_HEADS];
    }
}

static int settle_heads(otimes_model *model, const json_t *config, const char *where,
                        otimes_err *err)
{
    int64_t *dims = model->dims;
    const int64_t d_model = dims[OTIMES_DIM_D_MODEL], n_heads = dims[OTIMES_DIM_N_HEADS];
    if (d_model < 1 || n_heads < 1 || dims[OTIMES_DIM_D_VOCAB] < 1) {
        return otimes_fail(
            err, OTIMES_ERR_MODEL,
            "%s: expected d_model, n_heads and d_vocab of at least 1, got %lld, %lld "
            "and %lld",
            where, (long long)d_model, (long long)n_heads, (long long)dims[OTIMES_DIM_D_VOCAB]);
    }
    if (!dims[OTIMES_DIM_D_HEAD]) {
        if (d_model % n_heads != 0) {
            return otimes_fail(err, OTIMES_ERR_MODEL,
                               "%s: d_model: expected a multiple of %lld heads, got %lld", where,
                               (long long)n_heads, (long long)d_model);
        }
        dims[OTIMES_DIM_D_HEAD] = d_model / n_heads;
    }
    settle_kv_heads(model, config);
    if (n_heads % dims[OTIMES_DIM_N_KV_HEADS] != 0) {
        return otimes_fail(err, OTIMES_ERR_MODEL,
                           "%s: heads: expected a multiple of %lld key/value heads, got %lld",
                           where, (long long)dims[OTIMES_DIM_N_KV_HEADS], (long long)n_heads);
    }
    dims[OTIMES_DIM_GROUP] = n_heads / dims[OTIMES_DIM_N_KV_HEADS];
    return OTIMES_OK;
}

int otimes_config_settle(otimes_model *model, const json_t *config, const char *where,
                         otimes_err *err)
{
    int64_t *dims = model->dims;
    const int rc = settle_heads(model, config, where, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (!dims[OTIMES_DIM_D_MLP] && model->arch->mlp != OTIMES_MLP_NONE) {
        dims[OTIMES_DIM_D_MLP] = 4 * dims[OTIMES_DIM_D_MODEL];
    }
    if (!dims[OTIMES_DIM_D_VOCAB_OUT]) {
        dims[OTIMES_DIM_D_VOCAB_OUT] = dims[OTIMES_DIM_D_VOCAB];
    }
    if (dims[OTIMES_DIM_N_EXPERTS] > LARGEST_EXPERTS) {
        return otimes_fail(err, OTIMES_ERR_MODEL, "%s: experts: expected at most %d, got %lld",
                           where, LARGEST_EXPERTS, (long long)dims[OTIMES_DIM_N_EXPERTS]);
    }
    const int64_t experts = dims[OTIMES_DIM_N_EXPERTS], bytes = otimes_store_bytes(&model->store);
    if (experts > 0 && model->info.n_layers > bytes / LEAST_EXPERT / experts) {
        return otimes_fail(err, OTIMES_ERR_MODEL,
                           "%s: expected weights for %lld experts in each of %lld layers, got %lld "
                           "bytes in all",
                           where, (long long)experts, (long long)model->info.n_layers,
                           (long long)bytes);
    }
    if (model->info.n_layers > model->store.entry_count) {
        return otimes_fail(err, OTIMES_ERR_MODEL,
                           "%s: expected tensors for %lld layers, got %lld tensors in all", where,
                           (long long)model->info.n_layers, (long long)model->store.entry_count);
    }
    return OTIMES_OK;
}
