/* SPDX-License-Identifier: MIT
 *
 * What a run must have in common with an interrupted one to go on with it.
 */
#ifndef IDENTITY_H
#define IDENTITY_H

#include "opts.h"

/* Lines "<what> <value>": version, command line, size and time of the last change of the files of
 * MODEL, of --config and of --text-file. *text is released with free. OTIMES_ERR_MEMORY. */
OTIMES_MUST_CHECK int identity_of(char **text, const common_options *options,
                                  const char *command_line, otimes_err *err);

/* Whether a word of a command line changes no result: --resume, --quiet, --progress and such. */
int identity_ignores(const char *word);

#endif
