/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TTY_PERIOD 0.16 /* seconds between two prints */
#define PLAIN_PERIOD 2.0
#define SETTLE 0.5 /* seconds before a forecast says anything */

static double now(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t)) {
        return 0;
    }
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_begin(progress *bar, const char *name, int wanted)
{
    memset(bar, 0, sizeof *bar);
    bar->name = name;
    bar->tty = isatty(STDERR_FILENO);
    bar->shown = wanted < 0 ? bar->tty : wanted;
    bar->begin = now();
    /* What is over within the first period prints nothing. */
    bar->last = bar->begin;
}

static void format_seconds(char *text, size_t size, double seconds)
{
    const long s = seconds < 359999 ? (long)(seconds + 0.5) : 359999;
    if (s >= 3600) {
        snprintf(text, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    } else {
        snprintf(text, size, "%ld:%02ld", s / 60, s % 60);
    }
}

void progress_update(progress *bar, double done, double total)
{
    char left[32], forecast[80] = "";
    if (!bar->shown) {
        return;
    }
    const double t = now(), elapsed = t - bar->begin;
    if (t - bar->last < (bar->tty ? TTY_PERIOD : PLAIN_PERIOD)) {
        return;
    }
    bar->last = t;
    double part = total > 0 ? done / total : 0;
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    if (part > 0 && elapsed > SETTLE) {
        format_seconds(left, sizeof left, elapsed * (1 - part) / part);
        snprintf(forecast, sizeof forecast, ", %.3g %%/s, %s left", 100 * part / elapsed, left);
    }
    fprintf(stderr, "%sotimes %s: %3.0f %%%s%s", bar->tty ? "\r" : "", bar->name, 100 * part,
            forecast, bar->tty ? "\033[K" : "\n");
    fflush(stderr);
    bar->dirty = bar->tty;
}

void progress_clear(progress *bar)
{
    if (!bar->dirty) {
        return;
    }
    fputs("\r\033[K", stderr);
    fflush(stderr);
    bar->dirty = 0;
}
