/* SPDX-License-Identifier: MIT
 *
 * How far an analysis is, on stderr: share done, speed, time left. Speed is that of the last while,
 * which grows with the run: half a minute at least, a tenth to a fifth of it later on.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stddef.h>

/* A moment of the run. */
typedef struct progress_mark {
    double time;  /* seconds of a monotonic clock */
    double part;  /* of the work that is done, 0 to 1 */
    double bytes; /* of results that were written */
} progress_mark;

typedef struct progress {
    const char *name;     /* of the command */
    int shown;            /* 0: prints nothing */
    int tty;              /* one line that is rewritten; otherwise plain lines, fewer of them */
    int dirty;            /* a rewritten line is on the screen */
    int skipped;          /* the part up to the next update was done before */
    double begin, last;   /* seconds; last print */
    double bytes;         /* written up to now */
    progress_mark before; /* where speed is measured from */
    progress_mark next;   /* what `before` becomes */
} progress;

/* wanted: 1, 0, or -1 for "when stderr is a terminal". */
void progress_begin(progress *bar, const char *name, int wanted);

/* done of total, any unit. */
void progress_update(progress *bar, double done, double total);

/* Results were written. */
void progress_wrote(progress *bar, double bytes);

/* An interrupted run did what the next update adds; speed is measured from there. */
void progress_skip(progress *bar);

/* Removes the line, so that something else can be printed. */
void progress_clear(progress *bar);

/* What progress_update keeps of a moment, and the text that it shows then, of at most `size` bytes. */
void progress_note(progress *bar, const progress_mark *at);
void progress_text(const progress *bar, const progress_mark *at, char *text, size_t size);

#endif
