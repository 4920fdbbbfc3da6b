/* SPDX-License-Identifier: MIT
 *
 * One layer made canonical: gathered from the file, processed in float32 with sums in double.
 */
#include <string.h>

#include "base/mem.h"
#include "model/model.h"
#include "num/stats.h"

/* Which tensors of a layer a part needs, and where they go. */
typedef struct piece {
    otimes_slot slot;
    int parts; /* any of these asks for it */
    otimes_tensor *tensor;
} piece;

enum { PIECE_COUNT = OTIMES_SLOT_COUNT - OTIMES_SLOT_FIRST_OF_LAYER };

static void list_pieces(otimes_layer *layer, piece pieces[PIECE_COUNT])
{
    enum {
        Q = OTIMES_PART_Q,
        K = OTIMES_PART_K,
        V = OTIMES_PART_V,
        O = OTIMES_PART_O,
        MLP = OTIMES_PART_MLP
    };
    const piece all[PIECE_COUNT] = {
        {OTIMES_SLOT_LN1_W, Q | K | V, &layer->ln1_w},
        {OTIMES_SLOT_LN1_B, Q | K | V, &layer->ln1_b},
        {OTIMES_SLOT_W_Q, Q, &layer->W_Q},
        {OTIMES_SLOT_W_K, K, &layer->W_K},
        {OTIMES_SLOT_W_V, V, &layer->W_V},
        {OTIMES_SLOT_W_O, O, &layer->W_O},
        {OTIMES_SLOT_B_Q, Q, &layer->b_Q},
        {OTIMES_SLOT_B_K, K, &layer->b_K},
        {OTIMES_SLOT_B_V, V, &layer->b_V},
        {OTIMES_SLOT_B_O, O, &layer->b_O},
        {OTIMES_SLOT_LN2_W, MLP, &layer->ln2_w},
        {OTIMES_SLOT_LN2_B, MLP, &layer->ln2_b},
        {OTIMES_SLOT_W_IN, MLP, &layer->W_in},
        {OTIMES_SLOT_W_GATE, MLP, &layer->W_gate},
        {OTIMES_SLOT_W_OUT, MLP, &layer->W_out},
        {OTIMES_SLOT_B_IN, MLP, &layer->b_in},
        {OTIMES_SLOT_B_GATE, MLP, &layer->b_gate},
        {OTIMES_SLOT_B_OUT, MLP, &layer->b_out},
    };
    memcpy(pieces, all, sizeof all);
}

static void shape(otimes_tensor *tensor, const otimes_binding *binding)
{
    tensor->ndim = binding->ndim;
    int64_t stride = 1;
    for (int i = binding->ndim - 1; i >= 0; i--) {
        tensor->dim[i] = binding->dim[i];
        tensor->stride[i] = stride;
        stride *= binding->dim[i];
    }
}

static int64_t elements(const otimes_tensor *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->ndim; i++) {
        count *= tensor->dim[i]; /* checked when it was bound */
    }
    return count;
}

/* Biases that folding makes where the file has none: b W of a norm's bias b. */
static bool folding_makes(const otimes_model *model, otimes_slot slot, int64_t layer)
{
    const bool reads_ln1 =
        slot == OTIMES_SLOT_B_Q || slot == OTIMES_SLOT_B_K || slot == OTIMES_SLOT_B_V;
    const bool reads_ln2 = slot == OTIMES_SLOT_B_IN ||
                           (slot == OTIMES_SLOT_B_GATE && model->info.mlp == OTIMES_MLP_GATED);
    if (slot == OTIMES_SLOT_B_O) {
        return model->info.fold_value_biases == OTIMES_STEP_APPLIED;
    }
    if (model->info.fold_ln != OTIMES_STEP_APPLIED || (!reads_ln1 && !reads_ln2)) {
        return false;
    }
    return otimes_model_binding(model, reads_ln1 ? OTIMES_SLOT_LN1_B : OTIMES_SLOT_LN2_B, layer)
               ->entry != NULL;
}

static void shape_made_bias(otimes_tensor *tensor, const otimes_model *model, otimes_slot slot)
{
    const int64_t *dims = model->dims;
    const int64_t heads =
        slot == OTIMES_SLOT_B_Q ? dims[OTIMES_DIM_N_HEADS] : dims[OTIMES_DIM_N_KV_HEADS];
    if (slot == OTIMES_SLOT_B_O) {
        *tensor = (otimes_tensor){.ndim = 1, .dim = {dims[OTIMES_DIM_D_MODEL]}, .stride = {1}};
    } else if (slot == OTIMES_SLOT_B_IN || slot == OTIMES_SLOT_B_GATE) {
        *tensor = (otimes_tensor){.ndim = 1, .dim = {dims[OTIMES_DIM_D_MLP]}, .stride = {1}};
    } else {
        *tensor = (otimes_tensor){.ndim = 2,
                                  .dim = {heads, dims[OTIMES_DIM_D_HEAD]},
                                  .stride = {dims[OTIMES_DIM_D_HEAD], 1}};
    }
}

/* Shapes of what is wanted, one block of memory for all of it, and the file's numbers in it. */
static int read_pieces(const otimes_model *model, int64_t index, int parts, otimes_layer *layer,
                       otimes_err *err)
{
    piece pieces[PIECE_COUNT];
    int64_t total = 0;
    list_pieces(layer, pieces);
    for (int i = 0; i < PIECE_COUNT; i++) {
        const otimes_binding *binding = otimes_model_binding(model, pieces[i].slot, index);
        if (!(pieces[i].parts & parts)) {
            continue;
        }
        if (binding->entry) {
            shape(pieces[i].tensor, binding);
        } else if (folding_makes(model, pieces[i].slot, index)) {
            shape_made_bias(pieces[i].tensor, model, pieces[i].slot);
        } else {
            continue;
        }
        total += elements(pieces[i].tensor);
    }
    float *next = NULL;
    int rc = OTIMES_NEW(&next, total, err);
    layer->memory = next;
    for (int i = 0; rc == OTIMES_OK && i < PIECE_COUNT; i++) {
        const otimes_binding *binding = otimes_model_binding(model, pieces[i].slot, index);
        otimes_tensor *tensor = pieces[i].tensor;
        if (tensor->ndim == 0) {
            continue;
        }
        tensor->data = next;
        next += elements(tensor);
        if (binding->entry) {
            rc = otimes_binding_read(model, binding, 0, binding->dim[0], tensor->data, err);
        }
    }
    return rc;
}

/* b_r += b W, W' = diag(w) W, then (LayerNorm) every column minus its mean: what the reader sees of
 * the mean is zero. W is blocks x [d_model, columns], b_r [blocks, columns]. */
static void fold_reader(const otimes_model *model, const otimes_tensor *W, const otimes_tensor *b_r,
                        const otimes_tensor *w, const otimes_tensor *b, double *scratch)
{
    if (!W->data) {
        return;
    }
    const int64_t blocks = W->ndim == 3 ? W->dim[0] : 1;
    const int64_t rows = W->dim[W->ndim - 2], columns = W->dim[W->ndim - 1];
    for (int64_t block = 0; block < blocks; block++) {
        float *matrix = W->data + block * rows * columns;
        memset(scratch, 0, (size_t)columns * sizeof *scratch);
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; b->data && j < columns; j++) {
                scratch[j] += (double)b->data[i] * (double)matrix[i * columns + j];
            }
            for (int64_t j = 0; j < columns; j++) {
                matrix[i * columns + j] *= w->data[i];
            }
        }
        for (int64_t j = 0; b->data && j < columns; j++) {
            float *bias = &b_r->data[block * columns + j];
            *bias = (float)((double)*bias + scratch[j]);
        }
        if (model->info.norm == OTIMES_NORM_LN) {
            otimes_center_columns(matrix, rows, columns, scratch);
        }
    }
}

static int fold_norms(const otimes_model *model, otimes_layer *layer, otimes_err *err)
{
    const int64_t widest = model->dims[OTIMES_DIM_D_HEAD] > model->dims[OTIMES_DIM_D_MLP]
                               ? model->dims[OTIMES_DIM_D_HEAD]
                               : model->dims[OTIMES_DIM_D_MLP];
    double *scratch;
    int rc = OTIMES_NEW(&scratch, widest, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    if (layer->ln1_w.data) {
        fold_reader(model, &layer->W_Q, &layer->b_Q, &layer->ln1_w, &layer->ln1_b, scratch);
        fold_reader(model, &layer->W_K, &layer->b_K, &layer->ln1_w, &layer->ln1_b, scratch);
        fold_reader(model, &layer->W_V, &layer->b_V, &layer->ln1_w, &layer->ln1_b, scratch);
    }
    if (layer->ln2_w.data) {
        fold_reader(model, &layer->W_in, &layer->b_in, &layer->ln2_w, &layer->ln2_b, scratch);
        fold_reader(model, &layer->W_gate, &layer->b_gate, &layer->ln2_w, &layer->ln2_b, scratch);
    }
    layer->ln1_w = layer->ln1_b = layer->ln2_w = layer->ln2_b = (otimes_tensor){0};
    otimes_free(scratch);
    return OTIMES_OK;
}

static void center_writers(otimes_layer *layer)
{
    const otimes_tensor *const writers[] = {&layer->W_O, &layer->b_O, &layer->W_out, &layer->b_out};
    for (size_t i = 0; i < sizeof writers / sizeof writers[0]; i++) {
        if (writers[i]->data) {
            const int64_t columns = writers[i]->dim[writers[i]->ndim - 1];
            otimes_center_rows(writers[i]->data, elements(writers[i]) / columns, columns);
        }
    }
}

/* b_O += sum over query heads of b_V[its key/value head] W_O[h]; b_V is gone. */
static int fold_value_biases(const otimes_model *model, otimes_layer *layer, otimes_err *err)
{
    const int64_t d_model = model->dims[OTIMES_DIM_D_MODEL],
                  d_head = model->dims[OTIMES_DIM_D_HEAD];
    const int64_t n_heads = model->dims[OTIMES_DIM_N_HEADS];
    const int64_t group = n_heads / model->dims[OTIMES_DIM_N_KV_HEADS];
    double *sum;
    const int rc = OTIMES_NEW(&sum, d_model, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t h = 0; h < n_heads; h++) {
        for (int64_t e = 0; e < d_head; e++) {
            const double bias = (double)layer->b_V.data[h / group * d_head + e];
            const float *row = layer->W_O.data + (h * d_head + e) * d_model;
            for (int64_t d = 0; d < d_model; d++) {
                sum[d] += bias * (double)row[d];
            }
        }
    }
    for (int64_t d = 0; d < d_model; d++) {
        layer->b_O.data[d] = (float)((double)layer->b_O.data[d] + sum[d]);
    }
    otimes_free(sum);
    return OTIMES_OK;
}

/* What was read only because another part's processing needed it. */
static void drop_unasked(otimes_layer *layer, int parts)
{
    piece pieces[PIECE_COUNT];
    list_pieces(layer, pieces);
    for (int i = 0; i < PIECE_COUNT; i++) {
        if (!(pieces[i].parts & parts)) {
            *pieces[i].tensor = (otimes_tensor){0};
        }
    }
}

int otimes_layer_load(const otimes_model *model, int64_t index, int parts, otimes_layer *layer,
                      otimes_err *err)
{
    *layer = (otimes_layer){.layer = index};
    if (index < 0 || index >= model->info.n_layers) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "layer: expected 0 to %lld, got %lld",
                           (long long)model->info.n_layers - 1, (long long)index);
    }
    const bool folds_values = parts & (OTIMES_PART_V | OTIMES_PART_O) &&
                              model->info.fold_value_biases == OTIMES_STEP_APPLIED;
    int needed = parts;
    if (folds_values && parts & OTIMES_PART_O) {
        needed |= OTIMES_PART_V; /* the output bias takes the value biases in */
    }
    int rc = read_pieces(model, index, needed, layer, err);
    if (rc == OTIMES_OK && model->info.fold_ln == OTIMES_STEP_APPLIED) {
        rc = fold_norms(model, layer, err);
    }
    if (rc == OTIMES_OK && model->info.center_writing_weights == OTIMES_STEP_APPLIED) {
        center_writers(layer);
    }
    if (rc == OTIMES_OK && folds_values) {
        if (layer->b_V.data && layer->b_O.data) {
            rc = fold_value_biases(model, layer, err);
        }
        layer->b_V = (otimes_tensor){0};
    }
    if (rc != OTIMES_OK) {
        otimes_layer_free(layer);
        return rc;
    }
    drop_unasked(layer, parts);
    return OTIMES_OK;
}

void otimes_layer_free(otimes_layer *layer)
{
    if (layer) {
        otimes_free(layer->memory);
        *layer = (otimes_layer){0};
    }
}
