/* SPDX-License-Identifier: MIT
 *
 * The arrays of `roles`.
 */
#include "analysis/roles_job.h"
#include "base/sink.h"

static const char *const side_names[OTIMES_ROLE_SIDES] = {"weights", "attention"};

typedef struct writer {
    const roles_job *job;
    otimes_axis layer, head, role, side, row, sequence, position;
} writer;

/* ---- facts ---- */

static int write_told(const roles_job *job, otimes_err *err)
{
    const roles_untold *untold = &job->untold;
    const struct {
        const char *name, *untold, *told;
    } list[] = {
        {"previous_token_score", untold->previous, "pattern of the average token"},
        {"same_token_score", untold->same, "diagonal of W_E W_QK W_E^T"},
        {"copying_score", untold->copying, "eigenvalues of W_E W_OV W_U"},
        {"induction_score", untold->induction, "K-composition with earlier previous-token heads"},
        {"copy_suppression_score", untold->suppression, "diagonal in rows of E W_OV W_U"},
    };
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof list / sizeof list[0]; i++) {
        rc = otimes_sink_text(job->sink, list[i].name,
                              list[i].untold ? list[i].untold : list[i].told, err);
    }
    return rc == OTIMES_OK
               ? otimes_sink_text(job->sink, "effective_embedding",
                                  job->info->mlp == OTIMES_MLP_NONE ? "W_E" : "W_E + MLP_0(W_E)",
                                  err)
               : rc;
}

static int write_numbers(const roles_job *job, otimes_err *err)
{
    const otimes_roles_settings *s = job->settings;
    const bool repeated = job->ran[ROLES_REPEATED], texts = job->ran[ROLES_TEXTS];
    int64_t tokens = 0;
    for (int64_t i = 0; texts && i < s->sequences.count; i++) {
        tokens += s->sequences.length[i];
    }
    const struct {
        const char *name;
        int64_t value;
    } facts[] = {
        {"average_positions", job->space.average.positions},
        {"common_tokens", job->space.common_tokens},
        {"baseline_dimension", (int64_t)job->dimension},
        {"source_rows", job->sources.count},
        {"extreme_count", job->sources.extreme},
        {"repeated", repeated ? (job->repeated_length - (s->bos >= 0)) / 2 : 0},
        {"repeated_count", repeated ? s->repeated_count : 0},
        {"repeated_bos", repeated ? s->bos : -1},
        {"seed", (int64_t)s->seed},
        {"texts", texts ? s->sequences.count : 0},
        {"text_tokens", tokens},
    };
    static const struct {
        const char *name;
        double value;
    } least[] = {{"least_previous_token", OTIMES_ROLES_LEAST_PREVIOUS},
                 {"least_copying", OTIMES_ROLES_LEAST_COPYING},
                 {"least_K_ratio", OTIMES_ROLES_LEAST_RATIO},
                 {"least_match", OTIMES_ROLES_LEAST_MATCH}};
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof facts / sizeof facts[0]; i++) {
        rc = otimes_sink_i64(job->sink, facts[i].name, facts[i].value, err);
    }
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof least / sizeof least[0]; i++) {
        rc = otimes_sink_f64(job->sink, least[i].name, least[i].value, err);
    }
    return rc;
}

/* ---- scores ---- */

typedef struct named {
    const char *name, *long_name, *formula;
} named;

static int put_scores(const writer *w, const named *names, double *const *data, int count,
                      otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < count; i++) {
        const otimes_array array = {.name = names[i].name,
                                    .type = OTIMES_F64,
                                    .ndim = 2,
                                    .axis = {&w->layer, &w->head},
                                    .long_name = names[i].long_name,
                                    .formula = names[i].formula,
                                    .orientation = "one entry a head"};
        rc = otimes_sink_whole(w->job->sink, &array, data[i], err);
    }
    return rc;
}

static int write_weights(const writer *w, otimes_err *err)
{
    static const named names[ROLES_BY_WEIGHTS] = {
        [ROLES_PREVIOUS] = {"previous_token", "weight on the previous token, from weights",
                            "mean over q of A[q, q - 1], A the pattern of the average token"},
        [ROLES_SAME] = {"same_token", "diagonal of QK over the vocabulary above its entries",
                        "mean over offsets of (diagonal mean - entry mean) / deviation of the "
                        "entries of W_E W_QK W_E^T"},
        [ROLES_COPYING] = {"OV_copying", "copying score of OV over the vocabulary",
                           "Re(sum lambda) / sum |lambda| of W_E W_OV W_U"},
        [ROLES_INDUCTION] = {"induction",
                             "induction score with the best of the earlier previous-token heads",
                             "max over h1 of previous_token(h1) * max(K_copying, 0) * "
                             "max(OV_copying, 0) * max(match, 0)"},
        [ROLES_LOWEST_SHARE] = {"lowest_share", "tokens whose own output is among the lowest",
                                "mean over t of [lowest_rank(t) < extreme_count]"},
        [ROLES_HIGHEST_SHARE] = {"highest_share", "tokens whose own output is among the highest",
                                 "mean over t of [highest_rank(t) < extreme_count]"},
        [ROLES_LOWEST_RANK] = {"lowest_rank", "outputs as low as the token's own, or lower",
                               "median over t of #{o != t: T[t, o] <= T[t, t]}, T = E W_OV W_U"},
        [ROLES_HIGHEST_RANK] = {"highest_rank", "outputs as high as the token's own, or higher",
                                "median over t of #{o != t: T[t, o] >= T[t, t]}, T = E W_OV W_U"},
    };
    static const named heads[] = {
        {"induction_layer", "layer of that previous-token head", "arg max of induction"},
        {"induction_head", "that head", "arg max of induction"}};
    const roles_job *job = w->job;
    int rc = put_scores(w, names, job->weight, ROLES_BY_WEIGHTS, err);
    for (int i = 0; rc == OTIMES_OK && i < 2; i++) {
        const otimes_array array = {.name = heads[i].name,
                                    .type = OTIMES_I64,
                                    .ndim = 2,
                                    .axis = {&w->layer, &w->head},
                                    .long_name = heads[i].long_name,
                                    .formula = heads[i].formula,
                                    .orientation = "index in the model; -1: none"};
        rc = otimes_sink_whole(w->job->sink, &array, i ? job->induction_head : job->induction_layer,
                               err);
    }
    if (rc == OTIMES_OK && job->sources.count > 0) {
        const otimes_array rows = {.name = "row_id",
                                   .type = OTIMES_I64,
                                   .ndim = 1,
                                   .axis = {&w->row},
                                   .long_name = "tokens t of the shares and ranks",
                                   .formula = "as asked for, or at even distances",
                                   .orientation = "input tokens"};
        rc = otimes_sink_whole(w->job->sink, &rows, job->sources.id, err);
    }
    return rc;
}

static int write_attention(const writer *w, otimes_err *err)
{
    static const named names[ROLES_RUNS][ROLES_BY_ATTENTION] = {
        [ROLES_TEXTS] =
            {[ROLES_AT_PREVIOUS] = {"text_previous_token",
                                    "attention to the token before, on texts",
                                    "mean over q >= 1 of A[q, q-1]"},
             [ROLES_AT_CURRENT] = {"text_current_token", "attention to the token itself, on texts",
                                   "mean over q of A[q, q]"},
             [ROLES_AT_FIRST] = {"text_first_token", "attention to the first token, on texts",
                                 "mean over q >= 1 of A[q, 0]"},
             [ROLES_AT_DUPLICATE] =
                 {"text_duplicate_token", "attention to earlier places of the same token, on texts",
                  "mean over q with some k < q, t[k] = t[q], of the sum of these "
                  "A[q, k]"},
             [ROLES_AT_INDUCTION] = {"text_induction",
                                     "attention to what came behind earlier places of the token, "
                                     "on texts",
                                     "mean over q with some k < q-1, t[k] = t[q], of the sum of "
                                     "these A[q, k+1]"}},
        [ROLES_REPEATED] =
            {[ROLES_AT_PREVIOUS] = {"repeated_previous_token",
                                    "attention to the token before, on random tokens written twice",
                                    "mean over q >= 1 of A[q, q-1]"},
             [ROLES_AT_CURRENT] = {"repeated_current_token",
                                   "attention to the token itself, on random tokens written twice",
                                   "mean over q of A[q, q]"},
             [ROLES_AT_FIRST] = {"repeated_first_token",
                                 "attention to the first token, on random tokens written twice",
                                 "mean over q >= 1 of A[q, 0]"},
             [ROLES_AT_DUPLICATE] = {"repeated_duplicate_token",
                                     "attention to the same token in the first copy, on r random "
                                     "tokens written twice",
                                     "mean over q of the second copy of A[q, q-r]"},
             [ROLES_AT_INDUCTION] = {"repeated_induction",
                                     "attention to the token behind the same token in the first "
                                     "copy, on r random tokens written twice",
                                     "mean over q of the second copy of A[q, q-(r-1)]"}},
    };
    const roles_job *job = w->job;
    int rc = OTIMES_OK;
    for (int r = 0; rc == OTIMES_OK && r < ROLES_RUNS; r++) {
        if (job->ran[r]) {
            rc = put_scores(w, names[r], job->attention[r], ROLES_BY_ATTENTION, err);
        }
    }
    if (rc == OTIMES_OK && job->ran[ROLES_REPEATED]) {
        const otimes_array ids = {.name = "repeated_id",
                                  .type = OTIMES_I64,
                                  .ndim = 2,
                                  .axis = {&w->sequence, &w->position},
                                  .long_name = "tokens of the sequences that are written twice",
                                  .formula = "uniform draws of splitmix64 from `seed`",
                                  .orientation = "row = sequence, column = position"};
        rc = otimes_sink_whole(w->job->sink, &ids, job->repeated_ids, err);
    }
    return rc;
}

static int write_labels(const writer *w, otimes_err *err)
{
    const roles_job *job = w->job;
    const otimes_array least = {.name = "threshold",
                                .type = OTIMES_F64,
                                .ndim = 2,
                                .axis = {&w->role, &w->side},
                                .long_name = "what the role's score must be at least",
                                .formula =
                                    "see the page: fixed numbers, raised to what chance and even "
                                    "attention would meet",
                                .orientation = "row = role, column = side"};
    const otimes_array sides = {.name = "label_side",
                                .type = OTIMES_I32,
                                .ndim = 4,
                                .axis = {&w->layer, &w->head, &w->role, &w->side},
                                .long_name = "1: meets the side's threshold; 0: not; -1: not told",
                                .formula = "score >= threshold",
                                .orientation = "one entry a head, role and side"};
    const otimes_array label = {.name = "label",
                                .type = OTIMES_I32,
                                .ndim = 3,
                                .axis = {&w->layer, &w->head, &w->role},
                                .long_name = "1: every side that is told meets its threshold; 0: "
                                             "one does not; -1: not told",
                                .formula = "label_side",
                                .orientation = "one entry a head and role"};
    int rc = otimes_sink_whole(w->job->sink, &least, job->threshold, err);
    rc = rc == OTIMES_OK ? otimes_sink_whole(w->job->sink, &sides, job->label_side, err) : rc;
    return rc == OTIMES_OK ? otimes_sink_whole(w->job->sink, &label, job->label, err) : rc;
}

int otimes_roles_write(roles_job *job, otimes_err *err)
{
    writer w = {.job = job};
    int (*const steps[])(const writer *, otimes_err *) = {write_weights, write_attention,
                                                          write_labels};
    w.layer = (otimes_axis){"layer", job->layer_count, NULL, job->layers, "layer"};
    w.head = (otimes_axis){"head", job->head_count, NULL, job->heads, "query head"};
    w.role = (otimes_axis){"role", OTIMES_ROLES, otimes_role_names, NULL, "what a head is for"};
    w.side = (otimes_axis){"side", OTIMES_ROLE_SIDES, side_names, NULL, "what it is told by"};
    w.row = (otimes_axis){"row", job->sources.count, NULL, NULL, "row of E W_OV W_U"};
    w.sequence = (otimes_axis){"sequence", job->settings->repeated_count, NULL, NULL,
                               "sequences of random tokens written twice"};
    w.position =
        (otimes_axis){"repeated_position", job->repeated_length, NULL, NULL, "position in them"};
    int rc = write_told(job, err);
    rc = rc == OTIMES_OK ? write_numbers(job, err) : rc;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof steps / sizeof steps[0]; i++) {
        rc = steps[i](&w, err);
    }
    return rc == OTIMES_OK ? otimes_sink_finish(job->sink, err) : rc;
}
