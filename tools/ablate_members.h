/* SPDX-License-Identifier: MIT
 *
 * What to ablate, as it is written on the command line.
 */
#ifndef ABLATE_MEMBERS_H
#define ABLATE_MEMBERS_H

#include <otimes/ablate.h>

/* Ablations and the members that they show. */
typedef struct ablate_members {
    otimes_ablate_member *member;
    int64_t *begin;         /* [count] first member of each */
    otimes_ablate_set *set; /* [count]; set by ablate_members_end */
    int64_t used, count;
} ablate_members;

/* Adds one ablation of all members of "0.3,0.7,1.mlp,2.attn,3.n512,4.0-11". OTIMES_ERR_ARGUMENT,
 * OTIMES_ERR_MEMORY. What a model does not have is found by otimes_ablate. */
OTIMES_MUST_CHECK int ablate_members_add_set(ablate_members *all, const char *text,
                                             otimes_err *err);

/* Adds an ablation for each neuron of "0.12,3.500-511". */
OTIMES_MUST_CHECK int ablate_members_add_neurons(ablate_members *all, const char *text,
                                                 otimes_err *err);

/* Makes all->set, behind the last addition. */
OTIMES_MUST_CHECK int ablate_members_end(ablate_members *all, otimes_err *err);

/* Zeroed is fine. */
void ablate_members_free(ablate_members *all);

#endif
