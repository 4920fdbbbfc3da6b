/* SPDX-License-Identifier: MIT
 *
 * A request to stop from outside.
 */
#ifndef STOP_H
#define STOP_H

#include <signal.h>

/* From here on the first SIGINT, SIGTERM or SIGHUP is remembered instead of ending the program; one
 * that comes more than a second later ends it at once, without its .tmp. Signals that the caller ignores (nohup)
 * stay ignored. A file that grows beyond a limit is a failed write, not a signal. */
void stop_install(void);

/* A reader that goes away is a failed write from here on: for runs whose result is not that pipe,
 * so that a message nobody reads does not end them. */
void stop_ignore_pipes(void);

/* Which signals those are. */
void stop_signals(sigset_t *set);

/* In a child that becomes another program: they are that one's again. */
void stop_uninstall(void);

/* The signal that asked to stop; 0 when none did. */
int stop_signal(void);

#endif
