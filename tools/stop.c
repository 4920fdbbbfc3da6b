/* SPDX-License-Identifier: MIT */
#include "stop.h"

#include <stddef.h>
#include <string.h>
#include <time.h>

#include "guard.h"

/* Seconds within which a further signal is the same request: timeout(1) and batch systems send one
 * to the process and one to its group. */
#define SAME_REQUEST 1

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
enum { SIGNALS = sizeof signals / sizeof *signals };

static volatile sig_atomic_t asked;
static volatile time_t asked_at;

static void remember(int signal_number)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now); /* is safe in a handler */
    if (!asked) {
        asked_at = now.tv_sec;
        asked = signal_number;
    } else if (now.tv_sec - asked_at > SAME_REQUEST) {
        guard_remove_output();
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
}

void stop_install(void)
{
    signal(SIGXFSZ, SIG_IGN); /* a limit on file size is then a failed write, with a message */
    for (size_t i = 0; i < SIGNALS; i++) {
        struct sigaction action, before;
        memset(&action, 0, sizeof action);
        sigemptyset(&action.sa_mask);
        action.sa_handler = remember;
        action.sa_flags = SA_RESTART;
        if (!sigaction(signals[i], NULL, &before) && before.sa_handler != SIG_IGN) {
            sigaction(signals[i], &action, NULL);
        }
    }
}

void stop_signals(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < SIGNALS; i++) {
        sigaddset(set, signals[i]);
    }
}

void stop_uninstall(void)
{
    for (size_t i = 0; i < SIGNALS; i++) {
        struct sigaction action;
        if (!sigaction(signals[i], NULL, &action) && action.sa_handler == remember) {
            signal(signals[i], SIG_DFL);
        }
    }
}

void stop_ignore_pipes(void)
{
    signal(SIGPIPE, SIG_IGN);
}

int stop_signal(void)
{
    return asked;
}
