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

/* Where a canonical weight lies: element (i, j, k) at entry->data[offset + i*stride[0] + ...]. */
typedef struct otimes_binding {
    const otimes_entry *entry; /* NULL: the model has no such weight */
    int ndim;
    int64_t dim[OTIMES_CANONICAL_DIMS], stride[OTIMES_CANONICAL_DIMS];
    int64_t offset;
} otimes_binding;

typedef enum otimes_rope_scaling {
    OTIMES_ROPE_PLAIN,
    OTIMES_ROPE_LINEAR, /* positions divided by factor */
    OTIMES_ROPE_LLAMA3, /* low frequencies divided by factor, with a smooth band between */
    OTIMES_ROPE_OTHER   /* opened, but nothing that rotates can be computed */
} otimes_rope_scaling;

typedef struct otimes_rope {
    double theta;
    int64_t dim;   /* leading entries of a head that are rotated */
    bool adjacent; /* pairs (2i, 2i+1); otherwise (i, i + dim/2) */
    otimes_rope_scaling scaling;
    char *scaling_name; /* as the configuration has it; owned by the model */
    double factor, low_freq_factor, high_freq_factor, original_n_ctx; /* llama3 */
} otimes_rope;

struct otimes_model {
    otimes_store store;
    const otimes_arch *arch;
    otimes_model_info info;
    char *path, *dtype, *activation; /* owned text behind info */
    int64_t dims[OTIMES_DIM_COUNT];
    otimes_rope rope;
    bool norm_has_weights;
    int threads;
    otimes_binding *bindings;         /* see otimes_model_binding */
    uint32_t *claims;                 /* [store.entry_count] bit s: holds slot s */
    int64_t *claim_layer;             /* [store.entry_count] -1: of no layer */
    otimes_vocab vocab, output_vocab; /* output_vocab is empty when it is the same */
};

/* A weight of the model (layer < 0 for those before OTIMES_SLOT_FIRST_OF_LAYER) or of a layer. */
const otimes_binding *otimes_model_binding(const otimes_model *model, otimes_slot slot,
                                           int64_t layer);

/* Reads rows first .. first+count-1 of a one- or two-dimensional weight into out as float32, checks
 * that all are finite and lets go of the file's pages. OTIMES_ERR_VALUE names the tensor. */
int otimes_binding_read(const otimes_model *model, const otimes_binding *binding, int64_t first,
                        int64_t count, float *out, otimes_err *err);

#endif
