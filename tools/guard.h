/* SPDX-License-Identifier: MIT
 *
 * The end of the program inside a signal handler: one line, and nothing half written left. Only what is
 * safe there is used.
 */
#ifndef GUARD_H
#define GUARD_H

/* Who speaks, and the exit status; `command` must live on. */
void guard_command(const char *command, int status);

/* What is being written and to be removed then; NULL: nothing. The name must live on. */
void guard_output(const char *path);

/* What a handler does about it: removes the output. Safe in one. */
void guard_remove_output(void);

/* In a handler: one line, the output removed, the end of the program. */
void guard_fail(const char *file, const char *what) __attribute__((noreturn));

#endif
