/* SPDX-License-Identifier: MIT
 *
 * Work that may be killed: in a process of its own.
 */
#ifndef TESTS_FORKED_H
#define TESTS_FORKED_H

#include "support.h"

/* What `body` leaves in *count, below 100, or -1 when it was killed by SIGKILL. An error of the body fails
 * the test, its text on standard error. */
int forked(int (*body)(void *context, otimes_err *err), void *context, const int *count);

#endif
