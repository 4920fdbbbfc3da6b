/* SPDX-License-Identifier: MIT
 *
 * compare: heads against heads, within a model or across models and checkpoints, from weights alone.
 */
#ifndef OTIMES_COMPARE_H
#define OTIMES_COMPARE_H

#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is measured of each pair of heads. */
enum {
    OTIMES_COMPARE_COSINE = 1,     /* Frobenius cosine of W_OV and of W_QK */
    OTIMES_COMPARE_CKA = 2,        /* linear CKA of the same */
    OTIMES_COMPARE_PROCRUSTES = 4, /* what is left after the best rotation of what they write */
    OTIMES_COMPARE_KERNEL = 8,     /* projection kernel of what Q, K, V read and O writes */
    OTIMES_COMPARE_ANGLES = 16,    /* principal angles of the same */
    OTIMES_COMPARE_ALL = 31
};

/* The space in which heads are compared. */
typedef enum otimes_compare_space {
    OTIMES_COMPARE_AUTO, /* the stream where all models have one d_model, else the vocabulary */
    OTIMES_COMPARE_STREAM, /* the residual stream, in its own basis: of one d_model; across models only
                              of meaning where they are related (checkpoints, fine-tunes) */
    OTIMES_COMPARE_VOCAB /* the vocabulary, centred over its tokens */
} otimes_compare_space;

/* Which heads may be matched with which. */
typedef enum otimes_compare_match {
    OTIMES_COMPARE_MATCH_HEADS,  /* any with any */
    OTIMES_COMPARE_MATCH_LAYERS, /* layers with layers, then heads within those */
    OTIMES_COMPARE_MATCH_NONE
} otimes_compare_match;

/* The one number by which heads are matched, ordered and listed as neighbours. */
typedef enum otimes_compare_similarity {
    OTIMES_COMPARE_BY_CKA,        /* mean of OV and QK */
    OTIMES_COMPARE_BY_COSINE,     /* mean of OV and QK */
    OTIMES_COMPARE_BY_PROCRUSTES, /* mean of OV and QK */
    OTIMES_COMPARE_BY_KERNEL      /* mean of Q, K, V and O */
} otimes_compare_similarity;

/* Singular values of a side below this share of its largest count as 0: about a hundred times what
 * rounding weights to float32 leaves in a direction that is not there. */
#define OTIMES_COMPARE_RANK_SHARE 1e-5

typedef struct otimes_compare_settings {
    const int64_t *layers; /* of every model, ascending; NULL (the default): all */
    int64_t layer_count;
    const int64_t *heads; /* query heads of every model, ascending; NULL (the default): all */
    int64_t head_count;
    int measures;               /* OTIMES_COMPARE_*, combined; default all; that of `similarity` is
                                   computed in any case */
    otimes_compare_space space; /* default: OTIMES_COMPARE_AUTO */
    otimes_compare_match match; /* of several models; default: OTIMES_COMPARE_MATCH_HEADS */
    otimes_compare_similarity similarity; /* default: OTIMES_COMPARE_BY_CKA */
    int64_t top;                          /* nearest heads listed for each; default 3 */
    int cosines;    /* 1: also the cosines of all principal angles; 0 (the default): the largest
                       and the mean */
    int same_vocab; /* 1: vocabularies of one size are one even if their texts are unknown or differ;
                       0 (the default) */
    const char *const *labels; /* of the models, for axes; NULL (the default): their paths */
    uint8_t reserved[64];      /* zero */
} otimes_compare_settings;

OTIMES_API void otimes_compare_settings_default(otimes_compare_settings *settings);

/* Compares the heads of models[0] with those of each other model, or with themselves where count is
 * 1. With W = B_left^T M B_right of every circuit (W_OV: left V, right O; W_QK: left Q, right K),
 * orthonormal rows B and a core M of d_head x d_head, and T = B_1 B_2^T of a side,
 *   cosine:     <W1, W2> / (|W1| |W2|) = <P, T_right> / (|M1| |M2|),  P = M1^T T_left M2
 *   CKA:        |W1^T W2|^2 / (|W1^T W1| |W2^T W2|) = |P|^2 / (|M1^T M1| |M2^T M2|): Kornblith et
 *               al. 2019 of what both maps make of one isotropic input with mean 0
 *   procrustes: |W1^T W2|_* / (|W1| |W2|) = |P|_* / (|M1| |M2|), the largest cosine of W1 and W2 Z
 *               with Z orthogonal, and the distance sqrt(2 - 2 s) of the normalised maps then
 *   kernel:     |T|^2 / min(rank_1, rank_2), the mean squared cosine of the principal angles
 *   angles:     singular values of T, their cosines, at most 1
 * Bases are float32: a cosine is known to some eps, and so is an angle near a right one; an angle near 0
 * and a distance near 0 are known to the root of that. A z without a deviation is NaN.
 * No d_model x d_model matrix is formed. Over the vocabulary each side X is E X, or W_U^T X for O, with
 * columns minus their mean over the tokens; sides of two models meet through W_E1^T W_E2 and
 * W_U1 W_U2^T (Dar et al. 2022).
 *
 * With several models heads are matched one to one; where all have one shape the first model's list is
 * read as checkpoints in order, and drift and K-composition are followed along it. Of one model the
 * heads are clustered (average linkage on 1 - similarity). A head whose circuit is 0 has NaN.
 * tools/schema/compare.md lists the arrays.
 *
 * Cost: cross Grams 2 n1 n2 d_head^2 d_model flops a side in float, and two SVDs of
 * [d_head, d_head] (procrustes) and four more (angles) for each pair; 4 n d_head d_model bytes a side
 * and model, of at most four models at a time, and 8 n1 n2 bytes an array.
 * Errors: OTIMES_ERR_ARGUMENT (settings; heads that are not there), OTIMES_ERR_UNSUPPORTED (models that
 * share neither d_model nor vocabulary, or are not processed alike), OTIMES_ERR_CONVERGENCE, those of reading weights, the
 * sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_compare(const otimes_model *const *models, int64_t count,
                                                const otimes_compare_settings *settings,
                                                otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
