/* SPDX-License-Identifier: MIT
 *
 * The command table as JSON, for what is made from it: manual pages, and tests that hold other places to it.
 */
#ifndef COMMANDS_JSON_H
#define COMMANDS_JSON_H

#include <stdio.h>

#include "command.h"

/* `about` is what the program is, `exits` what its exit statuses mean. -1: no memory. */
int commands_json(const command *const *commands, const char *about, const char *exits, FILE *to);

#endif
