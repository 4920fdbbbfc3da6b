/* SPDX-License-Identifier: MIT
 *
 * paths: a logit, a difference of logits or the loss as a sum over paths through heads.
 */
#ifndef OTIMES_PATHS_H
#define OTIMES_PATHS_H

#include <otimes/forward.h>
#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whose value is taken apart at a position. */
typedef enum otimes_paths_target {
    OTIMES_PATHS_PREDICTED = 0, /* the output token with the largest logit there */
    OTIMES_PATHS_NEXT = 1,      /* the token that follows in the text */
    OTIMES_PATHS_GIVEN = 2      /* settings->target */
} otimes_paths_target;

typedef struct otimes_paths_settings {
    otimes_sequences sequences;      /* the texts, run one at a time */
    otimes_forward_settings forward; /* chunk_rows is not used */
    const int64_t *positions;        /* [position_count] of each text, negative ones from its end;
                                        NULL (the default): the last one that has a target */
    int64_t position_count;
    otimes_paths_target whose; /* default: OTIMES_PATHS_PREDICTED; with `loss` it must be one of the
                                  others */
    int64_t target;            /* output token; used with OTIMES_PATHS_GIVEN alone */
    int64_t against;           /* output token whose logit is subtracted; -1 (the default): none */
    int loss;                  /* 1: the linear term of the target's loss instead of its logit */
    int mlp;               /* 0 (the default): what MLPs write is a source of paths; 1: MLPs with
                                  frozen gates are links of paths */
    const int64_t *layers; /* [layer_count] whose heads may be links; NULL (the
                                  default): all */
    int64_t layer_count;
    int64_t order;    /* paths through at most that many heads are listed; -1 (the default): any */
    int64_t top;      /* the largest paths of each position, default 1000; 0: all of them */
    int64_t limit;    /* all of them are at most that many; default 1000000 */
    int64_t budget;   /* chains that the search expands at most; 0 (the default): until the list is
                         exact */
    double seconds;   /* likewise of wall time, for each position; 0 (the default): any */
    int64_t subsets;  /* totals for every set of at most that many layers; -1 (the default): for all
                         sets of up to four layers, otherwise for single layers */
    int64_t carriers; /* source positions listed for each path; default 3 */
    int flows;        /* 1 (the default): what flows through heads, edges and sources */
    int64_t edges;    /* largest edges listed beside the full arrays; default 100 */
    uint8_t reserved[64]; /* zero */
} otimes_paths_settings;

OTIMES_API void otimes_paths_settings_default(otimes_paths_settings *settings);

/* Runs the model once on each text and freezes its patterns, norm scales and gates. The target's
 * value (its logit before a soft cap, the difference of two, or the linear term of its loss,
 * sum_j p_j logit_j - logit_target with p frozen) is then exactly a sum over paths: a source s (W_E,
 * positions, what an MLP or a bias writes), heads h1 < h2 < ... < hn in ascending layers, the
 * target's direction u:
 *     (A[hn] ... A[h1] ⊗ u OV[hn] ... OV[h1]) s, read at the target's position.
 * Each text and position is a case. Entries that are not defined are NaN or -1.
 *   case_count [text]; case_text, case_position, target_id, against_id [case]
 *   model_value, frozen_value [case]: the model's own (soft-capped; the loss itself), and the sum
 *     that is taken apart; entropy [case]: with `loss`, loss = frozen value + entropy
 *   order_total [case, order]: all paths through exactly so many heads; order_residue [case]: what
 *     they leave of the frozen value, rounding unless `layers` excludes some
 *   set_total [case, layer_set]: all paths through one head of each layer of the set and no other
 *   path_count, path_total, path_bound, path_complete, path_expanded, path_listed, certificate
 *     [case]: how many are listed of how many; no path that is not listed (and obeys `order` and
 *     `layers`) is larger in modulus than the bound; whether these are exactly the largest
 *   path_case, path_order, path_source, path_value, path_share, path_running, path_running_share,
 *     path_left, path_label, path_formula [path]: one row a path, by falling modulus within a case
 *   path_layer, path_head [path, link]: from the source on; head -1 of an MLP
 *   carrier_position, carrier_value, carrier_token [path, carrier]: what a path brings from where
 *   with `flows`: head_flow, head_direct [case, layer, head], mlp_flow, mlp_direct [case, layer],
 *     head_edge [case, via, later_head, earlier_head], source_flow [case, source, position],
 *     source_direct [case, source], source_edge [case, via, later_head, source], mlp_edge [case, via,
 *     later_head, layer], and the largest edges as a list: edge_case, edge_from, edge_to, edge_via, edge_value [edge]
 *
 * Cost: a pass with recording for each text, about (n_layers + 1) / 2 passes for the order totals,
 * for each case a sweep of adjoints, at most four passes, and the search (run/path_search.h).
 * Memory: the weights, patterns of all heads, n_layers + 1 residual streams of one text.
 * Errors: OTIMES_ERR_ARGUMENT (settings; a position out of range or without a target; more paths
 * than `limit`, with their number; a text that needs more memory than allowed, with the need),
 * OTIMES_ERR_UNSUPPORTED (values were clipped), OTIMES_ERR_VALUE (logits that leave float32), those of otimes_forward_run and of the sink. */
OTIMES_API OTIMES_MUST_CHECK int otimes_paths(const otimes_model *model,
                                              const otimes_paths_settings *settings,
                                              otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
