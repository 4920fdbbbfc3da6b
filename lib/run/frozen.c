/* SPDX-License-Identifier: MIT */
#include "run/frozen.h"

#include <string.h>

#include "model/model.h"

/* Which points belong to what is frozen. */
static const struct {
    otimes_hook hook;
    int what;
} points[] = {
    {OTIMES_HOOK_PATTERN, OTIMES_FREEZE_PATTERNS},
    {OTIMES_HOOK_EMBED_LN_SCALE, OTIMES_FREEZE_SCALES},
    {OTIMES_HOOK_LN1_SCALE, OTIMES_FREEZE_SCALES},
    {OTIMES_HOOK_LN2_SCALE, OTIMES_FREEZE_SCALES},
    {OTIMES_HOOK_LN1_POST_SCALE, OTIMES_FREEZE_SCALES | OTIMES_FREEZE_POST_SCALES},
    {OTIMES_HOOK_LN2_POST_SCALE, OTIMES_FREEZE_SCALES | OTIMES_FREEZE_POST_SCALES},
    {OTIMES_HOOK_LN_FINAL_SCALE, OTIMES_FREEZE_SCALES},
    {OTIMES_HOOK_MLP_GATE, OTIMES_FREEZE_GATES},
    {OTIMES_HOOK_EXPERT_WEIGHTS, OTIMES_FREEZE_GATES},
};
enum { POINTS = sizeof points / sizeof *points };

static bool of_model(otimes_hook hook)
{
    return hook == OTIMES_HOOK_EMBED_LN_SCALE || hook == OTIMES_HOOK_LN_FINAL_SCALE;
}

/* Entries kept at a point; -1 beyond INT64_MAX. */
static int64_t entries(const otimes_model *model, otimes_hook hook, int64_t rows, int64_t square)
{
    int64_t total;
    const bool patterns = hook == OTIMES_HOOK_PATTERN;
    const int64_t columns = patterns ? model->info.n_heads : otimes_hook_columns(model, hook);
    return otimes_mul_i64(columns, patterns ? square : rows, &total) ? total : -1;
}

/* Tokens of all sequences, and entries of their patterns. False beyond INT64_MAX. */
static bool measure(const otimes_sequences *sequences, int64_t *rows, int64_t *square)
{
    *rows = *square = 0;
    for (int64_t s = 0; s < sequences->count; s++) {
        int64_t own;
        if (!otimes_mul_i64(sequences->length[s], sequences->length[s], &own) ||
            __builtin_add_overflow(*square, own, square) ||
            __builtin_add_overflow(*rows, sequences->length[s],
                                   rows)) { /* unreached: too many to hold */
            return false;
        }
    }
    return true;
}

int64_t otimes_frozen_bytes(const otimes_model *model, const otimes_sequences *sequences, int what)
{
    int64_t rows, square, total = 0;
    if (!measure(sequences, &rows, &square)) {
        return INT64_MAX;
    }
    for (int p = 0; p < POINTS; p++) {
        const otimes_hook hook = points[p].hook;
        const int64_t layers = of_model(hook) ? 1 : model->info.n_layers;
        for (int64_t l = 0; points[p].what & what && l < layers; l++) {
            int64_t bytes = 0;
            if (otimes_hook_reached(model, hook, of_model(hook) ? -1 : l) &&
                (!otimes_mul_i64(entries(model, hook, rows, square), sizeof(float), &bytes) ||
                 __builtin_add_overflow(total, bytes, &total))) {
                return INT64_MAX;
            }
        }
    }
    return total;
}

static void new_point(otimes_frozen *frozen, otimes_hook hook, int *rc, otimes_err *err)
{
    const otimes_model *model = frozen->model;
    const int64_t layers = of_model(hook) ? 1 : model->info.n_layers;
    const int64_t count = entries(model, hook, frozen->rows, frozen->square[frozen->count]);
    float **kept = otimes_pool_new(&frozen->pool, layers, sizeof *kept, rc, err);
    for (int64_t l = 0; *rc == OTIMES_OK && l < layers; l++) {
        if (otimes_hook_reached(model, hook, of_model(hook) ? -1 : l)) {
            kept[l] = otimes_pool_new(&frozen->pool, count, sizeof **kept, rc, err);
            frozen->points |= (uint64_t)1 << hook;
        }
    }
    frozen->kept[hook] = kept;
}

int otimes_frozen_init(otimes_frozen *frozen, const otimes_model *model,
                       const otimes_sequences *sequences, int what, otimes_err *err)
{
    int rc = OTIMES_OK;
    int64_t square;
    *frozen = (otimes_frozen){.model = model, .count = sequences->count};
    if (!measure(sequences, &frozen->rows, &square)) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_MEMORY, "frozen quantities: too many tokens");
    }
    frozen->start = otimes_pool_new(&frozen->pool, sequences->count + 1, sizeof(int64_t), &rc, err);
    frozen->square =
        otimes_pool_new(&frozen->pool, sequences->count + 1, sizeof(int64_t), &rc, err);
    for (int64_t s = 0; rc == OTIMES_OK && s < sequences->count; s++) {
        const int64_t length = sequences->length[s];
        frozen->start[s + 1] = frozen->start[s] + length;
        frozen->square[s + 1] = frozen->square[s] + length * length;
    }
    for (int p = 0; rc == OTIMES_OK && p < POINTS; p++) {
        if (points[p].what & what) {
            new_point(frozen, points[p].hook, &rc, err);
        }
    }
    if (rc != OTIMES_OK) {
        otimes_frozen_free(frozen);
    }
    return rc;
}

void otimes_frozen_free(otimes_frozen *frozen)
{
    otimes_pool_free(&frozen->pool);
    *frozen = (otimes_frozen){0};
}

static float *kept_at(const otimes_frozen *frozen, otimes_hook hook, int64_t layer)
{
    return frozen->kept[hook] ? frozen->kept[hook][layer < 0 ? 0 : layer] : NULL;
}

const float *otimes_frozen_at(const otimes_frozen *frozen, otimes_hook hook, int64_t layer)
{
    return kept_at(frozen, hook, layer);
}

/* Columns between the pass and the store. */
static void copy_row(bool replay, int64_t count, float *store, float *pass)
{
    memcpy(replay ? pass : store, replay ? store : pass, (size_t)count * sizeof *store);
}

int otimes_frozen_visit(void *context, const otimes_activation *a, otimes_err *err)
{
    otimes_frozen *frozen = context;
    (void)err;
    float *store = kept_at(frozen, a->hook, a->layer);
    if (!store) {
        return OTIMES_OK;
    }
    int64_t width = a->columns;
    if (a->hook == OTIMES_HOOK_PATTERN) { /* keys behind a->columns stay 0 */
        const int64_t s = a->sequence;
        width = frozen->start[s + 1] - frozen->start[s];
        store += a->head * frozen->square[frozen->count] + frozen->square[s];
    }
    for (int64_t i = 0; i < a->rows; i++) {
        copy_row(frozen->replay, a->columns, store + (a->first + i) * width,
                 a->data + i * a->stride);
    }
    return OTIMES_OK;
}

otimes_hooks otimes_frozen_hooks(otimes_frozen *frozen)
{
    return (otimes_hooks){
        .points = frozen->points, .visit = otimes_frozen_visit, .context = frozen};
}

bool otimes_frozen_is_affine(const otimes_model *model)
{
    const otimes_model_info *info = &model->info;
    bool affine = info->clip_qkv <= 0;
    for (int64_t l = 0; l < info->n_layers; l++) {
        affine = affine && !otimes_layer_has_experts(model, l);
    }
    return affine;
}
