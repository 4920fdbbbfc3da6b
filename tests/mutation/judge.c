/* SPDX-License-Identifier: MIT
 *
 * Whether a changed model was read as it should: what no change touched, bit for bit, or refused.
 */
#include "mutation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* What a change of the configuration may do to weights that it does not name. */
typedef enum scope {
    SCOPE_NONE,   /* nothing */
    SCOPE_SHAPES, /* numbers of a tensor may go to other heads of the same layer, or be scaled */
    SCOPE_ALL     /* another family, which reads the same tensors in its own way */
} scope;

/* Words in keys of configurations that say which of the two: heads, sizes and multipliers; a family,
 * or a kind that decides which tensor is which. */
static const char *const shaping[] = {
    "head",  "kv",     "group",   "dim",   "embd",      "embed", "hidden", "inner",  "width",
    "layer", "vocab",  "scal",    "mult",  "query",     "size",  "ctx",    "length", "rot",
    "rope",  "expert", "pattern", "heads", "positions", "seq",   "block",  "tokens", "outputs"};
static const char *const deciding[] = {"type",     "arch",  "tie",     "norm", "bias",  "attn_only",
                                       "parallel", "alibi", "decoder", "act",  "gated", "mlp"};

static bool has_any(const char *key, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strstr(key, words[i])) {
            return true;
        }
    }
    return false;
}

static scope scope_of(const char *key)
{
    if (strncmp(key, "tokenizer.", 10) == 0) {
        return SCOPE_NONE;
    }
    if (has_any(key, deciding, sizeof deciding / sizeof *deciding)) {
        return SCOPE_ALL;
    }
    return has_any(key, shaping, sizeof shaping / sizeof *shaping) ? SCOPE_SHAPES : SCOPE_NONE;
}

static scope wider(scope a, scope b)
{
    return a > b ? a : b;
}

static scope compare_json(const json_t *a, const json_t *b, const char *key)
{
    scope found = SCOPE_NONE;
    const char *member;
    json_t *value;
    if (!json_is_object(a) || !json_is_object(b)) {
        return json_equal(a, b) ? SCOPE_NONE : scope_of(key);
    }
    json_object_foreach ((json_t *)a, member, value) {
        found = wider(found, compare_json(value, json_object_get(b, member), member));
    }
    json_object_foreach ((json_t *)b, member, value) {
        if (!json_object_get(a, member)) {
            found = wider(found, scope_of(member));
        }
    }
    return found;
}

/* *readable false: no JSON object. */
static scope compare_configs(const bytes *was, const bytes *is, bool *readable)
{
    json_t *a = json_loadb((const char *)was->data, was->length, JSON_REJECT_DUPLICATES, NULL);
    json_t *b = json_loadb((const char *)is->data, is->length, JSON_REJECT_DUPLICATES, NULL);
    *readable = json_is_object(b);
    const scope found = *readable ? compare_json(a, b, "") : SCOPE_NONE;
    json_decref(a);
    json_decref(b);
    return found;
}

/* Of the keys of two GGUF files. */
static scope compare_facts(const located *a, const bytes *was, const located *b, const bytes *is)
{
    scope found = a->fact_count == b->fact_count ? SCOPE_NONE : SCOPE_ALL;
    for (int i = 0; i < a->fact_count; i++) {
        const fact *x = &a->fact[i];
        int at = 0;
        while (at < b->fact_count && strcmp(b->fact[at].key, x->key) != 0) {
            at++;
        }
        const fact *y = at < b->fact_count ? &b->fact[at] : NULL;
        if (!y) {
            found = wider(found, SCOPE_ALL);
        } else if (x->end - x->begin != y->end - y->begin ||
                   memcmp(was->data + x->begin, is->data + y->begin, x->end - x->begin) != 0) {
            found = wider(found, scope_of(x->key));
        }
    }
    return found;
}

/* ---- which tensors a change touched ---- */

typedef struct touch {
    file_kind kind;
    const located *was, *is; /* is: NULL where positions alone tell */
    const bytes *before, *after;
    size_t first, last; /* changed bytes, where positions tell; first == last: none */
} touch;

static bool overlap(size_t begin, size_t end, const touch *t)
{
    return begin < t->last && t->first < end;
}

static bool bytes_differ(const touch *t, size_t begin, size_t end)
{
    return end > t->after->length ||
           memcmp(t->before->data + begin, t->after->data + begin, end - begin) != 0;
}

/* By position: where lengths are the same each byte tells, else all between the first and the last
 * difference. */
static bool range_touched(const touch *t, size_t begin, size_t end)
{
    return t->before->length == t->after->length ? bytes_differ(t, begin, end)
                                                 : overlap(begin, end, t);
}

static bool one_touched(const touch *t, const char *name)
{
    const place *was = located_find(t->was, name);
    if (!was) {
        return false; /* in another file */
    }
    if (!t->is) {
        return range_touched(t, was->begin, was->end) || range_touched(t, was->also, was->also_end);
    }
    const place *is = located_find(t->is, name);
    return !is || strcmp(is->kind, was->kind) != 0 ||
           is->end - is->begin != was->end - was->begin ||
           memcmp(t->before->data + was->begin, t->after->data + is->begin, is->end - is->begin) !=
               0;
}

/* Blocks have their scales beside them. */
static bool is_touched(const touch *t, const char *name)
{
    static const char blocks[] = "_blocks";
    const size_t length = strlen(name), tail = sizeof blocks - 1;
    char scales[256];
    if (one_touched(t, name)) {
        return true;
    }
    if (length < tail || strcmp(name + length - tail, blocks) != 0) {
        return false;
    }
    snprintf(scales, sizeof scales, "%.*s_scales", (int)(length - tail), name);
    return one_touched(t, scales);
}

static void find_changed(touch *t)
{
    const size_t a = t->before->length, b = t->after->length, least = a < b ? a : b;
    size_t head = 0, tail = 0;
    while (head < least && t->before->data[head] == t->after->data[head]) {
        head++;
    }
    while (tail < least - head && t->before->data[a - 1 - tail] == t->after->data[b - 1 - tail]) {
        tail++;
    }
    t->first = head;
    t->last = a - tail > head ? a - tail : head + (a != b);
}

/* ---- values ---- */

static bool same_weight(const weight *a, const weight *b)
{
    return a->ndim == b->ndim && memcmp(a->dim, b->dim, sizeof a->dim) == 0 &&
           memcmp(a->data, b->data, (size_t)a->count * sizeof *a->data) == 0;
}

/* Whether one that was not touched reads as before; a failure is allowed where something that is read
 * with it was touched. */
static const char *judge_weight(const intact *whole, const bool *touched, int64_t i,
                                const weights *now)
{
    const weight *was = &whole->weights.weight[i];
    const failure *failed = weights_failure(now, was);
    if (failed) {
        for (int64_t j = 0; j < whole->weights.count; j++) {
            const weight *beside = &whole->weights.weight[j];
            if (touched[j] && weights_failure(now, beside) == failed) {
                return NULL;
            }
        }
        return "weights of which none was touched could not be read";
    }
    const weight *is = weights_find(now, was);
    if (touched[i]) {
        return NULL;
    }
    return !is                    ? "a weight that was not touched is gone"
           : same_weight(was, is) ? NULL
                                  : "a weight that was not touched has other values";
}

static bool same_facts(const otimes_model_info *a, const otimes_model_info *b)
{
    return strcmp(a->architecture, b->architecture) == 0 && a->n_layers == b->n_layers &&
           a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads && a->d_model == b->d_model &&
           a->d_head == b->d_head && a->d_mlp == b->d_mlp && a->d_vocab == b->d_vocab &&
           a->d_vocab_out == b->d_vocab_out && a->n_ctx == b->n_ctx &&
           a->n_experts == b->n_experts && a->norm == b->norm && a->positions == b->positions;
}

/* Numbers of a layer's weights, whichever way heads divide them. */
static int64_t count_part(const weights *all, int64_t layer, int part)
{
    int64_t count = 0;
    for (int64_t i = 0; i < all->count; i++) {
        const weight *w = &all->weight[i];
        const bool matrix = w->slot == OTIMES_SLOT_W_Q || w->slot == OTIMES_SLOT_W_K ||
                            w->slot == OTIMES_SLOT_W_V || w->slot == OTIMES_SLOT_W_O ||
                            w->slot == OTIMES_SLOT_W_IN || w->slot == OTIMES_SLOT_W_OUT;
        count += matrix && w->layer == layer && (w->part & part) ? w->count : 0;
    }
    return count;
}

/* A changed configuration: every number of the file's matrices is still read. */
static const char *judge_counts(const weights *was, const weights *now, int64_t layers)
{
    static const int parts[] = {OTIMES_PART_Q | OTIMES_PART_K | OTIMES_PART_V, OTIMES_PART_O,
                                OTIMES_PART_MLP};
    for (int64_t layer = 0; layer < layers; layer++) {
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            if (count_part(was, layer, parts[i]) != count_part(now, layer, parts[i])) {
                return "a layer's matrices have more or fewer numbers than before";
            }
        }
    }
    return NULL;
}

/* Shapes fit what the model says of itself. */
static const char *judge_shapes(const weights *now, const otimes_model_info *info)
{
    const struct {
        otimes_slot slot;
        int ndim;
        int64_t dim[3];
    } shapes[] = {{OTIMES_SLOT_W_Q, 3, {info->n_heads, info->d_model, info->d_head}},
                  {OTIMES_SLOT_W_K, 3, {info->n_kv_heads, info->d_model, info->d_head}},
                  {OTIMES_SLOT_W_V, 3, {info->n_kv_heads, info->d_model, info->d_head}},
                  {OTIMES_SLOT_W_O, 3, {info->n_heads, info->d_head, info->d_model}},
                  {OTIMES_SLOT_W_IN, 2, {info->d_model, info->d_mlp}},
                  {OTIMES_SLOT_W_GATE, 2, {info->d_model, info->d_mlp}},
                  {OTIMES_SLOT_W_OUT, 2, {info->d_mlp, info->d_model}},
                  {OTIMES_SLOT_B_V, 2, {info->n_kv_heads, info->d_head}},
                  {OTIMES_SLOT_B_O, 1, {info->d_model}}};
    for (int64_t i = 0; i < now->count; i++) {
        const weight *w = &now->weight[i];
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            if (w->slot == shapes[s].slot &&
                (w->ndim != shapes[s].ndim ||
                 memcmp(w->dim, shapes[s].dim, (size_t)w->ndim * sizeof *w->dim) != 0)) {
                return "a shape that contradicts the model's sizes";
            }
        }
    }
    return NULL;
}

static const char *judge_values(const intact *whole, const otimes_model *model, const touch *t,
                                scope config, const weights *now, outcome *result)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t count = whole->weights.count;
    const char *wrong = judge_shapes(now, info);
    if (wrong || config == SCOPE_ALL) {
        *result = OUTCOME_TOUCHED;
        return wrong;
    }
    bool any = false, *touched = calloc((size_t)count + 1, sizeof *touched);
    for (int64_t i = 0; touched && i < count; i++) {
        touched[i] = t && whole->tensor[i] && is_touched(t, whole->tensor[i]);
        any |= touched[i];
    }
    if (config == SCOPE_SHAPES) {
        *result = OUTCOME_TOUCHED;
        free(touched);
        return now->failures || any ? NULL : judge_counts(&whole->weights, now, info->n_layers);
    }
    for (int64_t i = 0; !wrong && i < count; i++) {
        wrong = judge_weight(whole, touched, i, now);
    }
    free(touched);
    *result = now->failures ? OUTCOME_PARTLY : any ? OUTCOME_TOUCHED : OUTCOME_SAME;
    if (!wrong && !same_facts(info, otimes_model_describe(whole->model))) {
        return "sizes or kinds that no change explains";
    }
    return wrong;
}

/* ---- one run ---- */

static int open_raw(otimes_model **model, const model_files *files, const char *folder,
                    otimes_err *err)
{
    char path[4096];
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    settings.fold_ln = settings.center_writing_weights = settings.center_unembed =
        settings.fold_value_biases = 0;
    settings.threads = 1;
    snprintf(path, sizeof path, "%s%s%s", folder, files->open[0] ? "/" : "", files->open);
    return otimes_model_open(model, path, &settings, err);
}

/* Fills what is known of a changed file. False: it contradicts its own format, or is none. */
static bool find_touched(const intact *whole, int index, const bytes *changed, touch *t,
                         located *is, scope *config)
{
    const model_file *file = &whole->files.file[index];
    bool readable = true;
    *t = (touch){.kind = file->kind,
                 .was = &whole->where[index],
                 .before = &file->content,
                 .after = changed};
    *config = SCOPE_NONE;
    if (file->kind == FILE_CONFIG) {
        *config = compare_configs(&file->content, changed, &readable);
    } else if (file->kind == FILE_SAFETENSORS || file->kind == FILE_GGUF) {
        locate(is, file->kind, changed);
        t->is = is;
        readable = is->readable;
        if (readable && file->kind == FILE_GGUF) {
            *config = compare_facts(t->was, t->before, is, changed);
        }
    } else {
        find_changed(t);
        if (file->kind == FILE_LLAMA2C) {
            const bool header = t->first < 28;
            *config = header ? SCOPE_ALL : SCOPE_NONE;
            readable = header || changed->length == file->content.length;
        }
    }
    return readable;
}

const char *judge(intact *whole, int index, const bytes *changed, const char *folder,
                  outcome *result, int *code)
{
    touch t;
    located is = {0};
    scope config;
    weights now = {0};
    otimes_model *model = NULL;
    static otimes_err err;
    memset(&err, 0, sizeof err);
    file_write(folder, whole->files.file[index].name, changed);
    const bool readable = find_touched(whole, index, changed, &t, &is, &config);
    *code = open_raw(&model, &whole->files, folder, &err);
    *result = OUTCOME_REFUSED;
    const char *wrong = NULL;
    if (*code != OTIMES_OK) {
        wrong = model ? "a model beside an error" : check_message(*code, &err, folder);
    } else if (!readable) {
        wrong = "read although it contradicts its format";
    } else {
        wrong = weights_read(&now, model, folder);
        wrong = wrong ? wrong : judge_values(whole, model, &t, config, &now, result);
        *code = now.failures ? now.failure[0].code : OTIMES_OK;
    }
    otimes_model_close(&model);
    weights_free(&now);
    located_free(&is);
    return wrong;
}

/* ---- as it is ---- */

static const char *tensor_of(const otimes_model *model, const weight *w)
{
    const otimes_binding *binding =
        w->slot >= OTIMES_SLOT_FIRST_OF_EXPERT
            ? otimes_expert_binding(model, w->slot, w->layer, w->expert)
            : otimes_model_binding(model, w->slot, w->layer < 0 ? 0 : w->layer);
    const otimes_entry *entry = binding->entry;
    return !entry ? NULL : entry->alias_of ? entry->alias_of : entry->name;
}

static bool is_located(const intact *whole, const char *tensor)
{
    bool found = false;
    for (int i = 0; i < whole->files.count; i++) {
        found |= located_find(&whole->where[i], tensor) != NULL;
    }
    return found;
}

/* Where everything lies; false: that could not be told. */
static bool locate_all(intact *whole)
{
    bool known = true;
    for (int i = 0; i < whole->files.count; i++) {
        const model_file *file = &whole->files.file[i];
        if (file->kind == FILE_SAFETENSORS || file->kind == FILE_GGUF) {
            locate(&whole->where[i], file->kind, &file->content);
            known = known && whole->where[i].readable;
        } else if (file->kind == FILE_TORCH || file->kind == FILE_LLAMA2C) {
            locate_opened(&whole->where[i], whole->model, file);
        }
    }
    whole->tensor = calloc((size_t)whole->weights.count, sizeof *whole->tensor);
    for (int64_t i = 0; whole->tensor && i < whole->weights.count; i++) {
        whole->tensor[i] = tensor_of(whole->model, &whole->weights.weight[i]);
        known = known && (!whole->tensor[i] || is_located(whole, whole->tensor[i]));
    }
    return known && whole->tensor;
}

bool intact_open(intact *whole, const char *name, const char *path, const char *folder)
{
    otimes_err err = {0};
    *whole = (intact){0};
    if (!files_load(&whole->files, name, path)) {
        fprintf(stderr, "%s: no model\n", path);
        return false;
    }
    for (int i = 0; i < whole->files.count; i++) {
        file_write(folder, whole->files.file[i].name, &whole->files.file[i].content);
    }
    if (open_raw(&whole->model, &whole->files, folder, &err) != OTIMES_OK ||
        weights_read(&whole->weights, whole->model, folder) || whole->weights.failures) {
        fprintf(stderr, "%s: the intact model could not be read: %s\n", path, err.msg);
        return false;
    }
    if (!locate_all(whole)) {
        fprintf(stderr, "%s: not every tensor could be found in its files\n", path);
        return false;
    }
    return true;
}

void intact_close(intact *whole)
{
    otimes_model_close(&whole->model);
    weights_free(&whole->weights);
    for (int i = 0; i < whole->files.count; i++) {
        located_free(&whole->where[i]);
    }
    files_free(&whole->files);
    free(whole->tensor);
    *whole = (intact){0};
}
