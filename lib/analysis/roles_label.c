/* SPDX-License-Identifier: MIT
 *
 * Scores against thresholds.
 */
#include <math.h>

#include "analysis/roles_job.h"

const char *const otimes_role_names[OTIMES_ROLES] = {
    [OTIMES_ROLE_PREVIOUS] = "previous-token",   [OTIMES_ROLE_INDUCTION] = "induction",
    [OTIMES_ROLE_DUPLICATE] = "duplicate-token", [OTIMES_ROLE_SAME] = "same-token",
    [OTIMES_ROLE_COPYING] = "copying",           [OTIMES_ROLE_SUPPRESSION] = "copy-suppression",
    [OTIMES_ROLE_CURRENT] = "current-token",     [OTIMES_ROLE_FIRST] = "first-token",
};

enum { NO_SCORE = -1 };

/* What each role asks of each side: a score, its least; for attention also whether text comes first. */
static const struct {
    int weight;
    double least_weight;
    int attention;
    double least_attention;
    bool text_first;
} rules[OTIMES_ROLES] = {
    [OTIMES_ROLE_PREVIOUS] = {ROLES_PREVIOUS, OTIMES_ROLES_LEAST_PREVIOUS, ROLES_AT_PREVIOUS,
                              OTIMES_ROLES_LEAST_ATTENTION, false},
    /* By weights the induction test, which asks for more than one number. */
    [OTIMES_ROLE_INDUCTION] = {NO_SCORE, NAN, ROLES_AT_INDUCTION, OTIMES_ROLES_LEAST_ATTENTION,
                               false},
    [OTIMES_ROLE_DUPLICATE] = {NO_SCORE, NAN, ROLES_AT_DUPLICATE, OTIMES_ROLES_LEAST_ATTENTION,
                               false},
    [OTIMES_ROLE_SAME] = {ROLES_SAME, OTIMES_ROLES_LEAST_SAME, NO_SCORE, NAN, false},
    [OTIMES_ROLE_COPYING] = {ROLES_COPYING, OTIMES_ROLES_LEAST_COPYING, NO_SCORE, NAN, false},
    [OTIMES_ROLE_SUPPRESSION] = {ROLES_LOWEST_SHARE, OTIMES_ROLES_LEAST_LOWEST, NO_SCORE, NAN,
                                 false},
    [OTIMES_ROLE_CURRENT] = {NO_SCORE, NAN, ROLES_AT_CURRENT, OTIMES_ROLES_LEAST_ATTENTION, true},
    [OTIMES_ROLE_FIRST] = {NO_SCORE, NAN, ROLES_AT_FIRST, OTIMES_ROLES_LEAST_REST, true},
};

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* Mean over q >= 1 of 1 / (q + 1): what the token before has of even attention. */
static double even_previous(int64_t positions)
{
    double sum = 0;
    for (int64_t q = 1; q < positions; q++) {
        sum += 1 / (double)(q + 1);
    }
    return positions > 1 ? sum / (double)(positions - 1) : 0;
}

int otimes_roles_thresholds(roles_job *job, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    const double even = even_previous(job->space.average.positions);
    const double chance = (double)job->sources.extreme / (double)info->d_vocab_out;
    (void)err;
    for (int role = 0; role < OTIMES_ROLES; role++) {
        double *least = &job->threshold[role][OTIMES_ROLE_WEIGHTS];
        *least = rules[role].least_weight;
        if (role == OTIMES_ROLE_PREVIOUS) {
            *least = larger(*least, OTIMES_ROLES_OVER_EVEN * even);
        } else if (role == OTIMES_ROLE_SAME) {
            *least = larger(*least, OTIMES_ROLES_OVER_CHANCE / sqrt((double)info->d_vocab));
        } else if (role == OTIMES_ROLE_SUPPRESSION) {
            *least = larger(*least, OTIMES_ROLES_OVER_SHARE * chance);
        }
    }
    return OTIMES_OK;
}

/* Of the two runs the one that a role goes by; -1: neither took place. */
static int run_of(const roles_job *job, int role)
{
    const int first = rules[role].text_first ? ROLES_TEXTS : ROLES_REPEATED;
    const int other = ROLES_TEXTS + ROLES_REPEATED - first;
    return job->ran[first] ? first : job->ran[other] ? other : -1;
}

static double threshold_by_attention(const roles_job *job, int role)
{
    const int run = run_of(job, role), score = rules[role].attention;
    return score < 0 || run < 0 ? rules[role].least_attention
                                : larger(rules[role].least_attention,
                                         OTIMES_ROLES_OVER_EVEN * job->even[run][score]);
}

static int32_t meets(double score, double least)
{
    return isnan(score) ? -1 : score >= least;
}

static int32_t by_weights(const roles_job *job, int role, int64_t node)
{
    if (role == OTIMES_ROLE_INDUCTION) {
        return job->is_induction[node];
    }
    return rules[role].weight < 0 ? -1
                                  : meets(job->weight[rules[role].weight][node],
                                          job->threshold[role][OTIMES_ROLE_WEIGHTS]);
}

static int32_t by_attention(const roles_job *job, int role, int64_t node)
{
    const int run = run_of(job, role);
    return rules[role].attention < 0 || run < 0
               ? -1
               : meets(job->attention[run][rules[role].attention][node],
                       job->threshold[role][OTIMES_ROLE_ATTENTION]);
}

void otimes_roles_label(roles_job *job)
{
    for (int role = 0; role < OTIMES_ROLES; role++) {
        job->threshold[role][OTIMES_ROLE_ATTENTION] = threshold_by_attention(job, role);
    }
    for (int64_t node = 0; node < job->nodes; node++) {
        for (int role = 0; role < OTIMES_ROLES; role++) {
            const int64_t at = node * OTIMES_ROLES + role;
            const int32_t weights = by_weights(job, role, node);
            const int32_t attention = by_attention(job, role, node);
            job->label_side[at * OTIMES_ROLE_SIDES + OTIMES_ROLE_WEIGHTS] = weights;
            job->label_side[at * OTIMES_ROLE_SIDES + OTIMES_ROLE_ATTENTION] = attention;
            job->label[at] = weights == 0 || attention == 0   ? 0
                             : weights == 1 || attention == 1 ? 1
                                                              : -1;
        }
    }
}
