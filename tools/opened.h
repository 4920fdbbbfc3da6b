/* SPDX-License-Identifier: MIT
 *
 * Models that are open. Their files belong to others: one that is cut short while it is read is an
 * error of the run, not its crash, and no result of a file that changed takes its final name.
 */
#ifndef OPENED_H
#define OPENED_H

#include <otimes/model.h>

#include "opts.h"

/* From here on a read beyond the end of a file that was cut short ends no thread: of a model that is
 * open the call fails, of any other file the program ends with one line, without its .tmp. */
void opened_install(void);

/* otimes_model_open and otimes_model_close; at most OPENED_MAX at a time. */
enum { OPENED_MAX = OPTS_OPERANDS_MAX };
OTIMES_MUST_CHECK int opened_open(otimes_model **model, const char *path,
                                  const otimes_model_settings *settings, otimes_err *err);
void opened_close(otimes_model **model);

/* Whether two names are those of one regular file. */
int opened_same(const char *a, const char *b);

/* Whether a path is one of their files, by whatever name. */
int opened_has(const char *path);

/* otimes_model_unchanged of all that are open, or were. */
OTIMES_MUST_CHECK int opened_unchanged(otimes_err *err);

/* Whether one of them has changed, for words that come often: looks ten times a second. */
int opened_changed(void);

#endif
