/* SPDX-License-Identifier: MIT
 *
 * What makes a killed run resumable: a sink in front of another that also appends every block it
 * passes on to <path>.journal. A later run gives those blocks to its own target in the order in
 * which they came, tells the analysis that they are there, and goes on; so the file it writes is
 * the one that an uninterrupted run writes, whatever state the first run's own file was left in.
 *
 * The blocks are handed to the system one by one and survive the end of the process in any form.
 * They are not forced to disk: what a loss of power leaves is held against checksums, and what
 * was damaged is computed again. While it runs the journal takes as much room as those blocks that the
 * target does not keep itself; it is removed when the result is complete.
 */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <otimes/sink.h>

/* The first axis of arrays that are written text by text: of these alone it is known how far a run came. */
#define JOURNAL_AXIS "text"

/* Opens the sink, which passes on to `target`; that must be open before the first call and outlive
 * it. `identity` is what two runs must have in common: lines "<what> <value>", copied. With resume
 * blocks of an interrupted run are taken over, and a run that differs is refused with the line in
 * which it does; the journal is then left as it is, as it is by any run that fails before its first
 * block. Without resume, or where nothing was interrupted, a new journal is begun.
 * OTIMES_ERR_ARGUMENT (another identity), OTIMES_ERR_IO (not writable, or in use by another run),
 * OTIMES_ERR_MEMORY. Release with journal_close. */
OTIMES_MUST_CHECK int journal_open(otimes_sink *sink, otimes_sink *target, const char *path,
                                   const char *identity, int resume, otimes_err *err);

/* A target that itself leaves blocks of some arrays where a killed run put them: of these the journal
 * has a checksum alone. Blocks are within their arrays. */
typedef struct journal_keeper {
    int (*keeps)(const otimes_sink *target, int id);
    /* The block as it is there now: 1; 0 where it cannot be read. */
    int (*read)(otimes_sink *target, int id, const int64_t *start, const int64_t *count,
                void *data);
    /* What was read is right, and as if it had been written. */
    void (*adopt)(otimes_sink *target, int id, const int64_t *count);
} journal_keeper;

/* Says that the target is such a one, before anything is written. */
void journal_keep_by(otimes_sink *sink, const journal_keeper *keeper);

/* Whether closing now keeps the journal, because a later run has use for it; *texts is the text it
 * would go on from, 0 where that is not known or the run is over no texts. */
int journal_keeps(const otimes_sink *sink, int64_t *texts);

/* Releases everything but the target. A zeroed sink is fine. */
void journal_close(otimes_sink *sink);

#endif
