/* SPDX-License-Identifier: MIT
 *
 * The four forms A B^T of a pair of heads, A one of W_Q and W_V(h1) Cq with Cq = W_O(h1) W_Q, B
 * likewise of W_K, and what makes a pair an induction pair.
 */
#ifndef OTIMES_RUN_QK_FORMS_H
#define OTIMES_RUN_QK_FORMS_H

#include "run/head_sides.h"

/* The forms: direct, with h1 on the query side, on the key side, on both. */
enum { OTIMES_FORM_DIRECT, OTIMES_FORM_Q, OTIMES_FORM_K, OTIMES_FORM_BOTH, OTIMES_FORMS };

/* What is measured of a form at an offset. */
enum {
    OTIMES_FORM_NORM,
    OTIMES_FORM_FULL_NORM,
    OTIMES_FORM_FULL_TRACE,
    OTIMES_FORM_FULL_COPYING,
    OTIMES_FORM_DIAGONAL_MEAN,
    OTIMES_FORM_ENTRY_MEAN,
    OTIMES_FORM_DIAGONAL_EXCESS,
    OTIMES_FORM_VALUES
};

typedef struct otimes_form_ask {
    const otimes_head_space *space;
    const otimes_head_sides *first, *second; /* first NULL: the direct form alone */
    const int64_t *offsets;
    int64_t offset_count;
} otimes_form_ask;

/* Of one pair; the caller's memory. */
typedef struct otimes_form_values {
    double *value[OTIMES_FORM_VALUES]; /* [form, offset] */
    double *re, *im;                   /* [form, offset, d_head] eigenvalues */
} otimes_form_values;

/* Forms first_form .. first_form+count-1 at every offset. */
int otimes_qk_forms(const otimes_form_ask *ask, int first_form, int count,
                    const otimes_form_values *out, otimes_err *err);

/* A and B of every form at the first offset into ends [form][2, d_model, d_head]. */
int otimes_qk_ends(const otimes_form_ask *ask, double *ends, otimes_err *err);

/* The induction test, and the least that each of its five scores must be. */
typedef struct otimes_induction_least {
    double previous, copying, K_ratio, match;
} otimes_induction_least;

typedef struct otimes_induction {
    double previous;   /* of the earlier head */
    double K_copying;  /* copying score, mean over offsets */
    double OV_copying; /* of the later head */
    double K_ratio;    /* composition score over random ones */
    double match;      /* what a match adds to the score */
    double product;    /* of what is defined */
    int is; /* 1: all thresholds are met, 0: one is not, -1: what is defined meets them */
} otimes_induction;

/* From scores and values of the K-composed form at each offset, [offset]; `dimension` is that of the
 * space in which random subspaces lie. */
void otimes_induction_judge(const otimes_form_ask *ask, const otimes_induction_least *least,
                            double dimension, const double *score, const double *copying,
                            const double *diagonal_mean, const double *entry_mean,
                            otimes_induction *induction);

#endif
