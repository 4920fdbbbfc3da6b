/* SPDX-License-Identifier: MIT
 *
 * Two models that must be one: canonical weights and what is known of them.
 */
#ifndef OTIMES_TESTS_SAME_H
#define OTIMES_TESTS_SAME_H

#include "support.h"

#include "model/model.h"

/* Steps of processing, bit by bit in their order. */
enum { NO_STEPS = 0, ALL_STEPS = 15 };

/* Opens with these steps and no others, or with all or none; fails the test on error. */
otimes_model *open_with(const char *path, int steps);
otimes_model *open_as(const char *path, bool processed);

/* What became of each step, in their order. */
void steps_of(const otimes_model *model, otimes_step steps[4]);

/* Every canonical weight of both: |a - b| <= relative * largest of the tensor (0: the same bits).
 * Fails the test with the name of the first that differs; returns the largest difference found,
 * relative to its tensor. */
double same_weights(const otimes_model *a, const otimes_model *b, double relative);

/* Dimensions, kinds, constants, frequencies, and what differs from layer to layer; numbers to
 * `relative` (0: the same). Facts named in the '|'-separated `but` (NULL: none) must differ. Lists
 * all that is wrong and fails the test. */
void same_description(const otimes_model *a, const otimes_model *b, double relative,
                      const char *but);

#endif
