/* SPDX-License-Identifier: MIT
 *
 * The opened model as the floors above see it.
 */
#ifndef OTIMES_MODEL_MODEL_H
#define OTIMES_MODEL_MODEL_H

#include <stdbool.h>

#include <otimes/model.h>

#include "format/store.h"
#include "format/vocab.h"
#include "model/arch.h"

#define OTIMES_CANONICAL_DIMS 3

/* Where a canonical weight lies. Its entry (i, j, k) is the file's element number
 *   offset + i / group * group_stride + i % group * stride[0] + j * stride[1] + k * stride[2],
 * but for the first `pairs` entries of the last axis, of which entry k < pairs / 2 is stored as
 * number 2k and entry k + pairs / 2 as number 2k + 1; times scale plus shift. */
typedef struct otimes_binding {
    otimes_slot slot;
    int64_t layer, expert;     /* -1: of the model, of the block */
    const otimes_entry *entry; /* NULL: the model has no such weight */
    int ndim;
    int64_t dim[OTIMES_CANONICAL_DIMS], stride[OTIMES_CANONICAL_DIMS];
    int64_t offset, group, group_stride, pairs;
    float scale, shift;
} otimes_binding;

typedef enum otimes_rope_scaling {
    OTIMES_ROPE_PLAIN,
    OTIMES_ROPE_LINEAR, /* positions divided by factor */
    OTIMES_ROPE_LLAMA3, /* low frequencies divided by factor, with a smooth band between */
    OTIMES_ROPE_YARN,   /* the same by turns within the original context, and a magnitude */
    OTIMES_ROPE_OTHER   /* opened, but nothing that rotates can be computed */
} otimes_rope_scaling;

typedef struct otimes_rope {
    double theta;
    int64_t dim;   /* leading entries of a head that are rotated; 0: none */
    bool adjacent; /* pairs (2i, 2i+1); otherwise (i, i + dim/2) */
    otimes_rope_scaling scaling;
    char *scaling_name; /* as the configuration has it; owned by the model, once for both */
    double factor, original_n_ctx;            /* of every scaling but plain */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn: turns at either end of the band */
    bool truncate;                            /* yarn: the band's ends become whole numbers */
    double magnitude;                         /* rotated queries and keys are multiplied by it */
} otimes_rope;

/* What differs from layer to layer. */
typedef struct otimes_layer_kind {
    int64_t window; /* keys further back are masked; 0: none */
    bool rotary;    /* queries and keys are rotated */
    bool local;     /* by the base for layers with a window */
} otimes_layer_kind;

struct otimes_model {
    otimes_store store;
    const otimes_arch *arch;
    const otimes_naming *naming; /* of its file's format */
    otimes_model_info info;
    char *path, *dtype, *activation; /* owned text behind info */
    int64_t dims[OTIMES_DIM_COUNT];
    double numbers[OTIMES_KEY_COUNT]; /* by otimes_number; 0: not given */
    otimes_rope rope, local_rope;
    double alibi_scale;        /* factor of ALiBi's slopes */
    double swiglu_limit;       /* of "clamped swiglu" */
    otimes_layer_kind *layers; /* [n_layers] */
    bool norm_has_weights, norm_has_biases, norm_offset, pre_norm;
    bool recorded; /* the file says which steps its weights have been through: */
    bool done[4];  /* fold_ln, center_writing_weights, center_unembed, fold_value_biases */
    int threads;
    otimes_binding *bindings; /* of the model, then of each layer, then of each expert */
    int64_t binding_count;
    uint64_t *claims;    /* [store.entry_count] bit s: holds slot s */
    otimes_place *place; /* [store.entry_count] */
    struct otimes_part_text {
        uint64_t claims;
        char *text;
    } *part_texts; /* one for each set of claims that occurs */
    int64_t part_text_count, part_text_capacity;
    otimes_vocab vocab, output_vocab; /* output_vocab is empty when it is the same */
};

/* A weight of the model, of a layer, or of an expert of a layer; what does not apply is ignored. */
const otimes_binding *otimes_model_binding(const otimes_model *model, otimes_slot slot,
                                           int64_t layer);
const otimes_binding *otimes_expert_binding(const otimes_model *model, otimes_slot slot,
                                            int64_t layer, int64_t expert);

/* Whether queries and keys see W_pos: added to the embedding, or to their inputs. */
bool otimes_has_positions(const otimes_model *model);

/* Whether a layer's MLP is one of experts. */
bool otimes_layer_has_experts(const otimes_model *model, int64_t layer);

/* Whether the processed model has a weight: folding takes some away and makes others. */
bool otimes_slot_is_there(const otimes_model *model, otimes_slot slot, int64_t layer,
                          int64_t expert);

/* A loaded layer's or expert's tensor by its slot. */
const otimes_tensor *otimes_layer_tensor(otimes_layer *layer, otimes_slot slot);
const otimes_tensor *otimes_expert_tensor(const otimes_expert *expert, otimes_slot slot);

/* Reads rows first .. first+count-1 along the first axis of a weight into out as float32, checks
 * that all are finite and lets go of the file's pages. OTIMES_ERR_VALUE names the tensor. */
int otimes_binding_read(const otimes_model *model, const otimes_binding *binding, int64_t first,
                        int64_t count, float *out, otimes_err *err);

/* Whether processing left numbers that float32 holds. Layer -1: of none. OTIMES_ERR_VALUE names the
 * weight. */
int otimes_check_processed(const otimes_model *model, otimes_slot slot, int64_t layer,
                           const float *values, int64_t count, otimes_err *err);

#endif
