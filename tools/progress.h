/* SPDX-License-Identifier: MIT
 *
 * How far an analysis is, on stderr.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

typedef struct progress {
    const char *name;   /* of the command */
    int shown;          /* 0: prints nothing */
    int tty;            /* one line that is rewritten; otherwise plain lines, fewer of them */
    int dirty;          /* a rewritten line is on the screen */
    double begin, last; /* seconds of a monotonic clock; last print */
} progress;

/* wanted: 1, 0, or -1 for "when stderr is a terminal". */
void progress_begin(progress *bar, const char *name, int wanted);

/* done of total, any unit. */
void progress_update(progress *bar, double done, double total);

/* Removes the line, so that something else can be printed. */
void progress_clear(progress *bar);

#endif
