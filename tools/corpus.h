/* SPDX-License-Identifier: MIT
 *
 * A corpus read line by line, of which only the counts stay.
 */
#ifndef CORPUS_H
#define CORPUS_H

#include <otimes/bigram_counts.h>
#include <otimes/sink.h>

#include "opts.h"

/* Counts the bigrams of the texts that FILE holds: a text in each line or JSON lines, as texts_read_lines
 * takes them, "-" is standard input; empty ones count for nothing. Texts are encoded by the tokenizer of
 * MODEL, as --bos says; ids stand as they are. One line is held at a time. `sink` is asked whether to go
 * on. *counts is released with otimes_bigram_counts_free, NULL after an error.
 * OTIMES_ERR_FORMAT, OTIMES_ERR_IO, OTIMES_ERR_UNSUPPORTED (ids not below `limit`), OTIMES_ERR_MEMORY,
 * OTIMES_ERR_CANCELLED, errors of the tokenizer; what is wrong with a text names its line. */
OTIMES_MUST_CHECK int corpus_read(otimes_bigram_counts **counts, const common_options *options,
                                  const char *path, int64_t limit, otimes_sink *sink,
                                  otimes_err *err);

#endif
