/* SPDX-License-Identifier: MIT
 *
 * A forward pass in float64, one sequence and one head at a time, on the canonical weights of a
 * model: tests/golden/forward.py again, with every activation kept. It shares no arithmetic with
 * the library but for the rotary frequencies, which test_rope.c holds against their formulas.
 */
#ifndef TESTS_PLAIN_PASS_H
#define TESTS_PLAIN_PASS_H

#include "trace.h"

/* Runs every sequence of t->batch and puts all activations into t, edited
 * as t says. logits [rows, d_vocab_out] is
 * freed by the caller with free(). `name` is of the golden: what its configuration says and
 * otimes_model_info does not. */
double *plain_pass(trace *t, const char *name);

/* How well a model is conditioned on a batch: by how much a relative change of the first residual
 * stream grows on its way, seen in the activation where it has grown most, relative to the largest
 * of that. Rounding in float32 grows alike: tests allow eps times it. 1 at least. */
double plain_growth(const otimes_model *model, const otimes_sequences *batch, const char *name);

#endif
