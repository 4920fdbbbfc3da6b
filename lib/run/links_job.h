/* SPDX-License-Identifier: MIT
 *
 * What both routes of links share.
 */
#ifndef OTIMES_RUN_LINKS_JOB_H
#define OTIMES_RUN_LINKS_JOB_H

#include <math.h>

#include "run/links.h"

static inline bool otimes_link_exists(const otimes_link_end *writer, const otimes_link_end *reader)
{
    return writer->root && reader->root && writer->place < reader->place;
}

static inline double otimes_links_dimension(const otimes_links *links)
{
    return (double)(links->d_model - (links->centred && links->d_model > 1));
}

/* Pairs that otimes_links_by_cores computes; NULL: all. */
typedef bool otimes_link_wanted(const otimes_links *links, const double *square, int64_t writer,
                                int64_t reader);

/* Fills square where it is wanted; only the whole of it, wanted NULL, is told to tick. */
int otimes_links_by_cores(const otimes_links *links, otimes_link_wanted *wanted, double *square,
                          otimes_err *err);

int otimes_links_by_grams(const otimes_links *links, double *square, otimes_err *err);

/* Flops of the Gram route: products of tiles and forming the blocks. */
double otimes_links_gram_flops(const otimes_links *links);

#endif
