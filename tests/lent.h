/* SPDX-License-Identifier: MIT
 *
 * An opened model's tensors, configuration and labels, laid out in memory as a caller would have
 * them.
 */
#ifndef OTIMES_TESTS_LENT_H
#define OTIMES_TESTS_LENT_H

#include "support.h"

#include "model/model.h"

/* How tensors lie: as in the file, or axes the other way round with gaps between their elements. */
typedef enum lay { LAY_ROWS, LAY_STRANGE } lay;

typedef struct lent {
    otimes_memory_model source; /* what to open */
    otimes_memory_tensor *tensor;
    unsigned char **bytes, **kept; /* [source.tensor_count] the memory, and a copy of it */
} lent;

/* Copies everything; the last name comes first, and there is room for as many tensors again. Fails the
 * test on error. */
void lent_make(lent *l, const otimes_model *model, lay how);

/* By name; fails the test when it is not there. */
otimes_memory_tensor *lent_find(const lent *l, const char *name);

/* Fails the test where a byte has been changed. */
void lent_is_untouched(const lent *l);
void lent_free(lent *l);

#endif
