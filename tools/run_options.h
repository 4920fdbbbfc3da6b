/* SPDX-License-Identifier: MIT
 *
 * What the options of OPTS_RUN make of a forward pass.
 */
#ifndef RUN_OPTIONS_H
#define RUN_OPTIONS_H

#include <otimes/forward.h>

#include "opts.h"

/* --memory, --stream and --batch as the library takes them. Weights are kept in memory where there
 * is more than one batch to read them for. With --plan it prints what the passes will take and
 * returns RUN_PLANNED: there is nothing more to do. OTIMES_ERR_ARGUMENT: --memory is no size. */
#define RUN_PLANNED 2 /* beside OPTS_HELP */
OTIMES_MUST_CHECK int run_options_forward(const common_options *options, const otimes_model *model,
                                          const otimes_sequences *texts,
                                          otimes_forward_settings *settings, otimes_err *err);

#endif
