/* SPDX-License-Identifier: MIT
 *
 * Memory that an analysis will take, told before it runs.
 */
#ifndef OTIMES_RUN_PLAN_H
#define OTIMES_RUN_PLAN_H

#include <otimes/model.h>

/* The tile shapes of the bigram table; see analysis/bigram.c for why. */
enum { OTIMES_TILE_ROWS = 1024, OTIMES_STRIP_ROWS = 128, OTIMES_BLOCK_COLUMNS = 1024 };

/* Bytes at the peak with default settings, beside the mapped file and the BLAS' own buffers. */
int64_t otimes_plan_bigram(const otimes_model_info *info, int threads);
int64_t otimes_plan_heads(const otimes_model_info *info, int threads);

#endif
