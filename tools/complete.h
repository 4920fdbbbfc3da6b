/* SPDX-License-Identifier: MIT
 *
 * What may stand at a place of a command line, for the completion of shells: the hidden
 *
 *     otimes --complete INDEX WORD...
 *
 * WORDs are those of the line without their quotes, the program's name first; INDEX counts them from 0 and
 * may point behind the last, at an empty word. Each line of output is a whole word that may stand at INDEX
 * in the place of the one that does, which it begins with, then perhaps a tab and what it means. A line that
 * begins with a tab says something of the place instead:
 *
 *     <tab>files<tab>BYTES<tab>SUFFIXES  behind the first BYTES of the word, names of files that end in one of
 *                                        the SUFFIXES, parted by blanks; of any files where there is none
 *     <tab>list                          a comma and more may follow: no blank behind the word
 *
 * Nor is a word complete that ends in one of . : = . Nothing is ever an error: where nothing is known,
 * nothing is printed.
 */
#ifndef COMPLETE_H
#define COMPLETE_H

#include <stdio.h>

#include "command.h"

/* argv holds INDEX and the WORDs. */
void complete(const command *const *commands, int argc, char **argv, FILE *to);

/* A word that is being completed, and what its line says. */
typedef struct complete_place {
    FILE *to;
    const char *model, *config, *state_dict; /* NULL: not on the line */
    const char *word;
    size_t before; /* bytes of the word in front of what is completed */
} complete_place;

/* Prints a candidate for what stands at word + before, if it begins with that; about may be NULL. */
void complete_offer(const complete_place *at, const char *candidate, const char *about);

/* What is completed is a list: moves `before` behind its last comma and returns where it begins. */
size_t complete_list(complete_place *at);

/* Whether a candidate stands in that list already. */
int complete_listed(const complete_place *at, size_t list, const char *candidate);

/* Candidates that the model on the line alone knows; none where it cannot be opened. */
void complete_of_model(complete_place *at, opt_takes takes);

#endif
