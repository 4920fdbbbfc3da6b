/* SPDX-License-Identifier: MIT
 *
 * Memory that an analysis will take, told before it runs.
 */
#ifndef OTIMES_RUN_PLAN_H
#define OTIMES_RUN_PLAN_H

#include <otimes/model.h>

/* Bytes at the peak with default settings, beside the mapped file and the BLAS' own buffers. */
int64_t otimes_plan_bigram(const otimes_model_info *info, int threads);
int64_t otimes_plan_heads(const otimes_model_info *info, int threads);

#endif
