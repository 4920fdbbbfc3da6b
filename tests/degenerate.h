/* SPDX-License-Identifier: MIT
 *
 * Degenerate models in memory: weights and shapes at which a formula has a limit, a tie, or no value.
 * Each is one change to one of three small models.
 */
#ifndef OTIMES_TESTS_DEGENERATE_H
#define OTIMES_TESTS_DEGENERATE_H

#include "support.h"

/* What is changed. A base has 2 layers of 2 heads (rotary: 4, which share one head of keys and values),
 * d_model 8, d_head 4, d_mlp 12, 11 tokens and n_ctx 9. */
typedef enum degenerate_change {
    PLAIN,        /* nothing: what the others are held against */
    ZERO_HEAD,    /* L0H1: queries and what it writes are 0 (its keys too where they are its own) */
    ZERO_Q,       /* W_Q and b_Q of every head */
    ZERO_V,       /* W_V and b_V of every head */
    ZERO_ALL,     /* every weight of the model */
    RANK_ONE,     /* every matrix of a head */
    TWIN_COLUMNS, /* columns of W_Q, W_K, W_V and rows of W_O come in equal pairs */
    EQUAL_HEADS,  /* the heads of a layer are one head */
    EQUAL_TOKENS, /* rows of W_E are one row, columns of W_U one column */
    CONSTANT_STREAM, /* each row of W_E and W_pos is one number: variance 0 into LayerNorm */
    WIDE_HEADS,      /* d_head 16, twice d_model */
    NARROW_HEADS,    /* d_head 1, of which no pair can be rotated: no rotary base has it */
    ONE_DIMENSION,   /* d_model 1 */
    ONE_TOKEN,       /* d_vocab 1 */
    ONE_LAYER,
    ONE_HEAD,
    NO_LAYERS,
    NO_MLP,
    ONE_NEURON,
    ONE_POSITION,     /* n_ctx 1 */
    OTHER_OUTPUT,     /* five output tokens, other ones */
    HUGE_WEIGHTS,     /* times 1e30: products of two leave float32 */
    LARGEST_WEIGHTS,  /* every weight +-FLT_MAX */
    DENORMAL_WEIGHTS, /* times 1e-40 */
    LARGEST_BF16,     /* every weight +-3.39e38, in the file's own 16 bits */
    LARGEST_F16,      /* +-65504 */
    SMALLEST_BF16,    /* +-9.2e-41 */
    SMALLEST_F16,     /* +-6.0e-8 */
    NAN_WEIGHT,       /* one entry of W_O of the last layer */
    INFINITE_WEIGHT,
    NAN_EMBEDDING, /* one entry of W_E's last row */
    CHANGES
} degenerate_change;

/* LayerNorm with biases, learned positions, a plain MLP; RMSNorm, rotary, grouped keys, a gated MLP;
 * neither norm nor MLP, learned positions. */
typedef enum degenerate_base { LAYER_NORM, ROTARY, BARE, BASES } degenerate_base;

typedef struct degenerate {
    otimes_memory_model source;
    struct degenerate_store *store;
    otimes_model *model; /* of degenerate_open */
} degenerate;

/* "ln-zero_head"; static text of this call. */
const char *degenerate_name(degenerate_base base, degenerate_change change);

/* Whether the base can be so changed. */
bool degenerate_exists(degenerate_base base, degenerate_change change);

/* Tensors and configuration, from a fixed seed. Fails the test on error. */
void degenerate_make(degenerate *d, degenerate_base base, degenerate_change change);

/* The same, opened with all processing or with none. */
void degenerate_open(degenerate *d, degenerate_base base, degenerate_change change, bool processed);
void degenerate_free(degenerate *d);

/* Writes model.safetensors and config.json into a folder that is there. 0 on success. */
int degenerate_write(const degenerate *d, const char *folder);

#endif
