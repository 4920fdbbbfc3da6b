/* SPDX-License-Identifier: MIT
 *
 * The handler uses only what is safe in one: after a crash nothing else of the process can be
 * trusted.
 */
#include "guard.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

enum { SIGNALS = 4 };

static const int crashes[SIGNALS] = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
static struct sigaction before[SIGNALS];
static const char *speaker = "", *written, *reading;
static int exit_status = 1;

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        return; /* nobody listens */
    }
}

static void crashed(int signal_number)
{
    (void)signal_number;
    say("otimes ");
    say(speaker);
    say(": ");
    say(reading);
    say(": damaged: the HDF5 library fails on it\n");
    if (written) {
        unlink(written);
    }
    _exit(exit_status);
}

void guard_command(const char *command, int status)
{
    speaker = command;
    exit_status = status;
}

void guard_output(const char *path)
{
    written = path;
}

void guard_begin(const char *path)
{
    /* Of its own: a loop in a damaged file may have used up the stack. */
    static char stack[65536];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action;
    reading = path;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = crashed;
    action.sa_flags = SA_ONSTACK;
    sigaltstack(&other, NULL);
    for (int i = 0; i < SIGNALS; i++) {
        sigaction(crashes[i], &action, &before[i]);
    }
}

void guard_end(void)
{
    for (int i = 0; i < SIGNALS; i++) {
        sigaction(crashes[i], &before[i], NULL);
    }
}
