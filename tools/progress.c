/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TTY_PERIOD 0.16 /* seconds between two prints */
#define PLAIN_PERIOD 2.0
#define PLAIN_SHARE 0.01 /* of the time since the beginning: some hundred lines in all */
#define SETTLE 0.5       /* seconds before a forecast says anything */
#define WINDOW 30.0      /* seconds that speed is measured over at least */
#define WINDOW_SHARE 0.1 /* of the time since the beginning */
#define MANY_BYTES 1e7   /* results whose speed is worth a word */

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
    bar->before.time = bar->next.time = bar->begin;
}

static void format_seconds(char *text, size_t size, double seconds)
{
    const long s = seconds < 1e9 ? (long)(seconds + 0.5) : 1000000000;
    if (s >= 86400) {
        snprintf(text, size, "%ld d %ld h", s / 86400, s / 3600 % 24);
    } else if (s >= 3600) {
        snprintf(text, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    } else {
        snprintf(text, size, "%ld:%02ld", s / 60, s % 60);
    }
}

/* Percent in the unit of time in which there is at least one. */
static void format_speed(char *text, size_t size, double percent)
{
    if (percent >= 1) {
        snprintf(text, size, "%.3g %%/s", percent);
    } else if (percent >= 1.0 / 60) {
        snprintf(text, size, "%.3g %%/min", 60 * percent);
    } else {
        snprintf(text, size, "%.3g %%/h", 3600 * percent);
    }
}

void progress_note(progress *bar, const progress_mark *at)
{
    const double share = WINDOW_SHARE * (at->time - bar->begin);
    if (bar->skipped) {
        bar->before = bar->next = *at;
        bar->skipped = 0;
    } else if (at->time - bar->next.time >= (share > WINDOW ? share : WINDOW)) {
        bar->before = bar->next;
        bar->next = *at;
    }
}

void progress_text(const progress *bar, const progress_mark *at, char *text, size_t size)
{
    char speed[32], left[32], bytes[32] = "";
    const double time = at->time - bar->before.time, part = at->part - bar->before.part;
    if (time <= SETTLE || part <= 0) {
        snprintf(text, size, "otimes %s: %5.1f %%", bar->name, 100 * at->part);
        return;
    }
    format_speed(speed, sizeof speed, 100 * part / time);
    format_seconds(left, sizeof left, time * (1 - at->part) / part);
    if (at->bytes >= MANY_BYTES) {
        snprintf(bytes, sizeof bytes, ", %.3g MB/s", 1e-6 * (at->bytes - bar->before.bytes) / time);
    }
    snprintf(text, size, "otimes %s: %5.1f %%, %s%s, %s left", bar->name, 100 * at->part, speed,
             bytes, left);
}

void progress_update(progress *bar, double done, double total)
{
    char text[160];
    if (!bar->shown) {
        return;
    }
    const double part = total > 0 ? done / total : 0;
    const progress_mark at = {now(), part < 0 ? 0 : part > 1 ? 1 : part, bar->bytes};
    const double longer = PLAIN_SHARE * (at.time - bar->begin);
    const double plain = longer > PLAIN_PERIOD ? longer : PLAIN_PERIOD;
    progress_note(bar, &at);
    if (at.time - bar->last < (bar->tty ? TTY_PERIOD : plain)) {
        return;
    }
    bar->last = at.time;
    progress_text(bar, &at, text, sizeof text);
    fprintf(stderr, "%s%s%s", bar->tty ? "\r" : "", text, bar->tty ? "\033[K" : "\n");
    fflush(stderr);
    bar->dirty = bar->tty;
}

void progress_wrote(progress *bar, double bytes)
{
    bar->bytes += bytes;
}

void progress_skip(progress *bar)
{
    bar->skipped = 1;
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
