/* SPDX-License-Identifier: MIT
 *
 * A view of float32 numbers in memory. It never owns what it shows.
 */
#ifndef OTIMES_TENSOR_H
#define OTIMES_TENSOR_H

#include <otimes/common.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OTIMES_MAX_DIMS 6

/* Element (i, j, ...) lies at data[i * stride[0] + j * stride[1] + ...]; strides count elements.
 * data is NULL when a model has no such tensor (then ndim is 0). */
typedef struct otimes_tensor {
    float *data;
    int ndim;
    int64_t dim[OTIMES_MAX_DIMS], stride[OTIMES_MAX_DIMS];
} otimes_tensor;

#ifdef __cplusplus
}
#endif

#endif
