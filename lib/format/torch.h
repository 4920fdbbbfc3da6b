/* SPDX-License-Identifier: MIT */
#ifndef OTIMES_FORMAT_TORCH_H
#define OTIMES_FORMAT_TORCH_H

#include <stdbool.h>

#include "format/store.h"

/* Whether a file begins like a zip archive, a pickle, or the tar archive of torch's first years. */
bool otimes_torch_recognise(const otimes_map *map);

/* Adds every tensor of what torch.save wrote, and its plain values to the configuration (see
 * torch_gather.h). Two containers: a zip archive with data.pkl and an entry for each storage (1.6
 * and later), or pickles followed by the storages (before). Tensors are views into the file.
 * Nothing that a pickle names is imported or called: state dicts open, whole modules are refused.
 * OTIMES_ERR_FORMAT, OTIMES_ERR_MEMORY. */
int otimes_torch_add(otimes_store *store, const otimes_file *file, otimes_err *err);

#endif
