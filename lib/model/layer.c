/* SPDX-License-Identifier: MIT
 *
 * One layer made canonical: gathered from the file, processed in float32 with sums in double.
 */
#include <string.h>

#include "base/mem.h"
#include "model/layout.h"
#include "model/model.h"
#include "num/stats.h"

/* Which tensors a part needs, and where they go. */
typedef struct piece {
    otimes_slot slot;
    int parts; /* any of these asks for it */
    otimes_tensor *tensor;
} piece;

enum {
    LAYER_PIECES = OTIMES_SLOT_FIRST_OF_EXPERT - OTIMES_SLOT_FIRST_OF_LAYER,
    EXPERT_PIECES = OTIMES_SLOT_COUNT - OTIMES_SLOT_FIRST_OF_EXPERT
};

static void list_pieces(otimes_layer *layer, piece pieces[LAYER_PIECES])
{
    enum {
        Q = OTIMES_PART_Q,
        K = OTIMES_PART_K,
        V = OTIMES_PART_V,
        O = OTIMES_PART_O,
        MLP = OTIMES_PART_MLP
    };
    const piece all[LAYER_PIECES] = {
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
        {OTIMES_SLOT_Q_NORM_W, Q, &layer->q_norm_w},
        {OTIMES_SLOT_K_NORM_W, K, &layer->k_norm_w},
        {OTIMES_SLOT_SINKS, Q | K, &layer->sinks},
        {OTIMES_SLOT_LN1_POST_W, O, &layer->ln1_post_w},
        {OTIMES_SLOT_LN2_W, MLP, &layer->ln2_w},
        {OTIMES_SLOT_LN2_B, MLP, &layer->ln2_b},
        {OTIMES_SLOT_W_IN, MLP, &layer->W_in},
        {OTIMES_SLOT_W_GATE, MLP, &layer->W_gate},
        {OTIMES_SLOT_W_OUT, MLP, &layer->W_out},
        {OTIMES_SLOT_B_IN, MLP, &layer->b_in},
        {OTIMES_SLOT_B_GATE, MLP, &layer->b_gate},
        {OTIMES_SLOT_B_OUT, MLP, &layer->b_out},
        {OTIMES_SLOT_ROUTER_W, MLP, &layer->W_router},
        {OTIMES_SLOT_ROUTER_B, MLP, &layer->b_router},
        {OTIMES_SLOT_SHARED_IN, MLP, &layer->shared_W_in},
        {OTIMES_SLOT_SHARED_GATE, MLP, &layer->shared_W_gate},
        {OTIMES_SLOT_SHARED_OUT, MLP, &layer->shared_W_out},
        {OTIMES_SLOT_SHARED_ROUTER, MLP, &layer->shared_W_router},
        {OTIMES_SLOT_LN2_POST_W, MLP, &layer->ln2_post_w},
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
    const otimes_model_info *info = &model->info;
    const bool ln1 = otimes_model_binding(model, OTIMES_SLOT_LN1_B, layer)->entry != NULL;
    const bool ln2 = otimes_model_binding(model, OTIMES_SLOT_LN2_B, layer)->entry != NULL;
    const bool experts = otimes_layer_has_experts(model, layer);
    const bool folds = info->fold_ln == OTIMES_STEP_APPLIED;
    switch (slot) {
    case OTIMES_SLOT_B_O:
        return info->fold_value_biases == OTIMES_STEP_APPLIED;
    case OTIMES_SLOT_B_Q:
    case OTIMES_SLOT_B_K:
    case OTIMES_SLOT_B_V:
        return folds && ln1;
    case OTIMES_SLOT_B_IN:
        return folds && ln2 && otimes_model_binding(model, OTIMES_SLOT_W_IN, layer)->entry;
    case OTIMES_SLOT_B_GATE:
        return folds && ln2 && otimes_model_binding(model, OTIMES_SLOT_W_GATE, layer)->entry;
    case OTIMES_SLOT_ROUTER_B:
    case OTIMES_SLOT_EXPERT_B_IN:
        return folds && ln2 && experts;
    case OTIMES_SLOT_EXPERT_B_GATE:
        return folds && ln2 && experts && info->mlp == OTIMES_MLP_GATED;
    default:
        return false;
    }
}

bool otimes_slot_is_there(const otimes_model *model, otimes_slot slot, int64_t layer,
                          int64_t expert)
{
    const bool folds = model->info.fold_ln == OTIMES_STEP_APPLIED;
    const bool there = otimes_expert_binding(model, slot, layer, expert)->entry != NULL;
    switch (slot) {
    case OTIMES_SLOT_LN1_W:
    case OTIMES_SLOT_LN1_B:
    case OTIMES_SLOT_LN2_W:
    case OTIMES_SLOT_LN2_B:
    case OTIMES_SLOT_LNF_W:
    case OTIMES_SLOT_LNF_B:
        return there && !folds;
    case OTIMES_SLOT_B_U:
        return there ||
               (folds && otimes_model_binding(model, OTIMES_SLOT_LNF_B, -1)->entry != NULL);
    case OTIMES_SLOT_B_V:
        return model->info.fold_value_biases != OTIMES_STEP_APPLIED &&
               (there || folding_makes(model, slot, layer));
    default:
        return there || (layer >= 0 && folding_makes(model, slot, layer));
    }
}

/* A bias that is made has the shape of one that is read. */
static void shape_made_bias(otimes_tensor *tensor, const otimes_model *model, otimes_slot slot)
{
    const char *layout = otimes_slot_layout(slot);
    tensor->ndim = otimes_layout_ndim(layout);
    int64_t stride = 1;
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        tensor->dim[i] = model->dims[otimes_layout_axis(layout, i)];
        tensor->stride[i] = stride;
        stride *= tensor->dim[i];
    }
}

/* Shapes of what is wanted, one block of memory for all of it, and the file's numbers in it. */
static int read_pieces(const otimes_model *model, const piece *pieces, int piece_count, int parts,
                       int64_t layer, int64_t expert, void **memory, otimes_err *err)
{
    int64_t total = 0;
    for (int i = 0; i < piece_count; i++) {
        const otimes_binding *binding = otimes_expert_binding(model, pieces[i].slot, layer, expert);
        if (!(pieces[i].parts & parts)) {
            continue;
        }
        if (binding->entry) {
            shape(pieces[i].tensor, binding);
        } else if (folding_makes(model, pieces[i].slot, layer)) {
            shape_made_bias(pieces[i].tensor, model, pieces[i].slot);
        } else {
            continue;
        }
        total += elements(pieces[i].tensor);
    }
    float *next = NULL;
    int rc = OTIMES_NEW(&next, total, err);
    *memory = next;
    for (int i = 0; rc == OTIMES_OK && i < piece_count; i++) {
        const otimes_binding *binding = otimes_expert_binding(model, pieces[i].slot, layer, expert);
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

/* One reader of a norm's output: b_r += b W, W' = diag(w) W, then (LayerNorm) every column minus its
 * mean: what the reader sees of the mean is zero. W is blocks x [d_model, columns], b_r
 * [blocks, columns]; w and b are NULL where the norm has none. */
static void fold_reader(const otimes_model *model, const otimes_tensor *W, const otimes_tensor *b_r,
                        const float *w, const float *b, double *scratch)
{
    if (!W->data) {
        return;
    }
    const int64_t blocks = W->ndim == 3 ? W->dim[0] : 1;
    const int64_t columns = W->ndim == 1 ? 1 : W->dim[W->ndim - 1];
    const int64_t rows = model->info.d_model;
    for (int64_t block = 0; block < blocks; block++) {
        float *matrix = W->data + block * rows * columns;
        memset(scratch, 0, (size_t)columns * sizeof *scratch);
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; b && j < columns; j++) {
                scratch[j] += (double)b[i] * (double)matrix[i * columns + j];
            }
            for (int64_t j = 0; w && j < columns; j++) {
                matrix[i * columns + j] *= w[i];
            }
        }
        for (int64_t j = 0; b && b_r && b_r->data && j < columns; j++) {
            float *bias = &b_r->data[block * columns + j];
            *bias = (float)((double)*bias + scratch[j]);
        }
        if (model->info.norm == OTIMES_NORM_LN) {
            otimes_center_columns(matrix, rows, columns, scratch);
        }
    }
}

typedef struct reader {
    const otimes_tensor *W, *b;
} reader;

/* All readers of one norm, when it is there to be folded: a LayerNorm without weights still takes
 * the mean away. */
static int fold_norm(const otimes_model *model, const otimes_tensor *w, const otimes_tensor *b,
                     const reader *readers, int count, otimes_err *err)
{
    const bool bare = model->info.norm == OTIMES_NORM_LN && !model->norm_has_weights;
    double *scratch;
    int64_t widest = 1;
    if (!w->data && !bare) {
        return OTIMES_OK;
    }
    for (int i = 0; i < count; i++) {
        const otimes_tensor *W = readers[i].W;
        widest =
            W->data && W->ndim > 1 && W->dim[W->ndim - 1] > widest ? W->dim[W->ndim - 1] : widest;
    }
    const int rc = OTIMES_NEW(&scratch, widest, err);
    for (int i = 0; rc == OTIMES_OK && i < count; i++) {
        fold_reader(model, readers[i].W, readers[i].b, w->data, b->data, scratch);
    }
    otimes_free(rc == OTIMES_OK ? scratch : NULL);
    return rc;
}

static int fold_norms(const otimes_model *model, otimes_layer *layer, otimes_err *err)
{
    const reader ln1[] = {
        {&layer->W_Q, &layer->b_Q}, {&layer->W_K, &layer->b_K}, {&layer->W_V, &layer->b_V}};
    const reader ln2[] = {{&layer->W_in, &layer->b_in},         {&layer->W_gate, &layer->b_gate},
                          {&layer->W_router, &layer->b_router}, {&layer->shared_W_in, NULL},
                          {&layer->shared_W_gate, NULL},        {&layer->shared_W_router, NULL}};
    int rc = fold_norm(model, &layer->ln1_w, &layer->ln1_b, ln1, 3, err);
    if (rc == OTIMES_OK) {
        rc = fold_norm(model, &layer->ln2_w, &layer->ln2_b, ln2, 6, err);
    }
    layer->ln1_w = layer->ln1_b = layer->ln2_w = layer->ln2_b = (otimes_tensor){0};
    return rc;
}

static void center_rows(const otimes_tensor *writer)
{
    if (writer->data) {
        const int64_t columns = writer->dim[writer->ndim - 1];
        otimes_center_rows(writer->data, elements(writer) / columns, columns);
    }
}

static void center_writers(otimes_layer *layer)
{
    center_rows(&layer->W_O);
    center_rows(&layer->b_O);
    center_rows(&layer->W_out);
    center_rows(&layer->b_out);
    center_rows(&layer->shared_W_out);
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

static bool is_processed(const otimes_model *model)
{
    const otimes_model_info *info = &model->info;
    return info->fold_ln == OTIMES_STEP_APPLIED ||
           info->center_writing_weights == OTIMES_STEP_APPLIED ||
           info->fold_value_biases == OTIMES_STEP_APPLIED;
}

static int check_pieces(const otimes_model *model, const piece *pieces, int count, int64_t layer,
                        otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < count; i++) {
        const otimes_tensor *tensor = pieces[i].tensor;
        if (tensor->data) {
            rc = otimes_check_processed(model, pieces[i].slot, layer, tensor->data,
                                        elements(tensor), err);
        }
    }
    return rc;
}

/* What was read only because another part's processing needed it. */
static void drop_unasked(const piece *pieces, int count, int parts)
{
    for (int i = 0; i < count; i++) {
        if (!(pieces[i].parts & parts)) {
            *pieces[i].tensor = (otimes_tensor){0};
        }
    }
}

static int check_layer(const otimes_model *model, int64_t index, otimes_err *err)
{
    return index >= 0 && index < model->info.n_layers
               ? OTIMES_OK
               : otimes_fail(err, OTIMES_ERR_ARGUMENT, "layer: expected 0 to %lld, got %lld",
                             (long long)model->info.n_layers - 1, (long long)index);
}

int otimes_layer_load(const otimes_model *model, int64_t index, int parts, otimes_layer *layer,
                      otimes_err *err)
{
    piece pieces[LAYER_PIECES];
    *layer = (otimes_layer){.layer = index};
    int rc = check_layer(model, index, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    const bool folds_values = parts & (OTIMES_PART_V | OTIMES_PART_O) &&
                              model->info.fold_value_biases == OTIMES_STEP_APPLIED;
    int needed = parts;
    if (folds_values && parts & OTIMES_PART_O) {
        needed |= OTIMES_PART_V; /* the output bias takes the value biases in */
    }
    list_pieces(layer, pieces);
    rc = read_pieces(model, pieces, LAYER_PIECES, needed, index, 0, &layer->memory, err);
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
    if (rc == OTIMES_OK) {
        drop_unasked(pieces, LAYER_PIECES, parts);
        rc =
            is_processed(model) ? check_pieces(model, pieces, LAYER_PIECES, index, err) : OTIMES_OK;
    }
    if (rc != OTIMES_OK) {
        otimes_layer_free(layer);
    }
    return rc;
}

void otimes_layer_free(otimes_layer *layer)
{
    if (layer) {
        otimes_free(layer->memory);
        *layer = (otimes_layer){0};
    }
}

const otimes_tensor *otimes_layer_tensor(otimes_layer *layer, otimes_slot slot)
{
    piece pieces[LAYER_PIECES];
    list_pieces(layer, pieces);
    int i = 0;
    while (pieces[i].slot != slot) {
        i++;
    }
    return pieces[i].tensor;
}

const otimes_tensor *otimes_expert_tensor(const otimes_expert *expert, otimes_slot slot)
{
    const otimes_tensor *const tensors[EXPERT_PIECES] = {&expert->W_in,   &expert->W_gate,
                                                         &expert->W_out,  &expert->b_in,
                                                         &expert->b_gate, &expert->b_out};
    return tensors[slot - OTIMES_SLOT_FIRST_OF_EXPERT];
}

/* The norm before the experts, read for folding alone. */
static int fold_expert(const otimes_model *model, otimes_expert *expert, otimes_err *err)
{
    otimes_tensor w = {0}, b = {0};
    void *memory = NULL;
    const piece norm[] = {{OTIMES_SLOT_LN2_W, 1, &w}, {OTIMES_SLOT_LN2_B, 1, &b}};
    const reader readers[] = {{&expert->W_in, &expert->b_in}, {&expert->W_gate, &expert->b_gate}};
    int rc = read_pieces(model, norm, 2, 1, expert->layer, 0, &memory, err);
    if (rc == OTIMES_OK) {
        rc = fold_norm(model, &w, &b, readers, 2, err);
    }
    otimes_free(memory);
    return rc;
}

int otimes_expert_load(const otimes_model *model, int64_t layer, int64_t index, otimes_expert *out,
                       otimes_err *err)
{
    const piece pieces[EXPERT_PIECES] = {
        {OTIMES_SLOT_EXPERT_IN, 1, &out->W_in},       {OTIMES_SLOT_EXPERT_GATE, 1, &out->W_gate},
        {OTIMES_SLOT_EXPERT_OUT, 1, &out->W_out},     {OTIMES_SLOT_EXPERT_B_IN, 1, &out->b_in},
        {OTIMES_SLOT_EXPERT_B_GATE, 1, &out->b_gate}, {OTIMES_SLOT_EXPERT_B_OUT, 1, &out->b_out},
    };
    *out = (otimes_expert){.layer = layer, .expert = index};
    int rc = check_layer(model, layer, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    const int64_t count =
        otimes_layer_has_experts(model, layer) ? model->dims[OTIMES_DIM_N_EXPERTS] : 0;
    if (index < 0 || index >= count) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "layer %lld: expert: expected one of %lld, got %lld", (long long)layer,
                           (long long)count, (long long)index);
    }
    rc = read_pieces(model, pieces, EXPERT_PIECES, 1, layer, index, &out->memory, err);
    if (rc == OTIMES_OK && model->info.fold_ln == OTIMES_STEP_APPLIED) {
        rc = fold_expert(model, out, err);
    }
    if (rc == OTIMES_OK && model->info.center_writing_weights == OTIMES_STEP_APPLIED) {
        center_rows(&out->W_out);
        center_rows(&out->b_out);
    }
    if (rc == OTIMES_OK && is_processed(model)) {
        rc = check_pieces(model, pieces, EXPERT_PIECES, layer, err);
    }
    if (rc != OTIMES_OK) {
        otimes_expert_free(out);
    }
    return rc;
}

void otimes_expert_free(otimes_expert *expert)
{
    if (expert) {
        otimes_free(expert->memory);
        *expert = (otimes_expert){0};
    }
}
