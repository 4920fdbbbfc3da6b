/* SPDX-License-Identifier: MIT
 *
 * Two models that must be one: canonical weights and what is known of them.
 */
#ifndef OTIMES_TESTS_SAME_H
#define OTIMES_TESTS_SAME_H

#include "support.h"

#include "model/model.h"

/* Opens with all processing or none; fails the test on error. */
otimes_model *open_as(const char *path, bool processed);

/* Every canonical weight of both: |a - b| <= relative * largest of the tensor (0: the same bits).
 * Fails the test with the name of the first that differs; returns the largest difference found,
 * relative to its tensor. */
double same_weights(const otimes_model *a, const otimes_model *b, double relative);

/* Dimensions, kinds, constants, and what differs from layer to layer. */
void same_description(const otimes_model *a, const otimes_model *b);

#endif
