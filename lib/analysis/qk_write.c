/* SPDX-License-Identifier: MIT
 *
 * The arrays of `qk`: pairs by falling induction score.
 */
#include <stdint.h>
#include <string.h>

#include "analysis/qk_job.h"
#include "base/sink.h"
#include "model/labels.h"

static const char *const form_labels[OTIMES_QK_FORMS] = {"direct", "Q-composed", "K-composed",
                                                         "both"};

typedef struct writer {
    const qk_job *job;
    otimes_axis pair, form, offset, component, listed, rank, token;
    otimes_text names;
    const char **pair_labels, **token_labels;
    char *rows; /* scratch: an array in the order it is written in */
} writer;

/* The same for data by pair, `each` bytes a pair. */
static int put_pairs(const writer *w, const otimes_array *array, const void *data, size_t each,
                     otimes_err *err)
{
    for (int64_t i = 0; i < w->job->pairs; i++) {
        memcpy(w->rows + (size_t)i * each, (const char *)data + (size_t)w->job->order[i] * each,
               each);
    }
    return otimes_sink_whole(w->job->sink, array, w->rows, err);
}

/* ---- axes and facts ---- */

static int name_pairs(writer *w, otimes_err *err)
{
    const qk_job *job = w->job;
    int rc = OTIMES_NEW(&w->pair_labels, job->pairs, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->pairs; i++) {
        const otimes_head_sides *a = &job->node[job->first[job->order[i]]];
        const otimes_head_sides *b = &job->node[job->second[job->order[i]]];
        rc = otimes_text_add(&w->names, err, "L%lldH%lld L%lldH%lld\n", (long long)a->layer,
                             (long long)a->head, (long long)b->layer, (long long)b->head);
    }
    char *at = w->names.data;
    for (int64_t i = 0; rc == OTIMES_OK && i < job->pairs; i++) {
        w->pair_labels[i] = at;
        at = strchr(at, '\n');
        *at++ = '\0';
    }
    return rc;
}

static int make_axes(writer *w, otimes_err *err)
{
    const qk_job *job = w->job;
    const otimes_model_info *info = job->info;
    int rc = name_pairs(w, err);
    w->pair = (otimes_axis){"pair", job->pairs, w->pair_labels, NULL,
                            "earlier and later head, by falling induction score"};
    w->form = (otimes_axis){"form", OTIMES_QK_FORMS, form_labels, NULL,
                            "sides of QK that read the earlier head"};
    w->offset =
        (otimes_axis){"offset", job->offset_count, NULL, job->offsets, "query minus key position"};
    w->component = (otimes_axis){"component", info->d_head, NULL, NULL, "eigenvalue, by modulus"};
    w->listed = (otimes_axis){"listed", job->listed, w->pair_labels, NULL, "the first pairs"};
    w->rank = (otimes_axis){"rank", job->settings->entries, NULL, NULL, "place, the largest first"};
    if (rc == OTIMES_OK && job->settings->entries > 0 && job->listed > 0) {
        rc = otimes_token_labels(job->model, false, NULL, info->d_vocab, &w->token_labels, err);
        w->token = (otimes_axis){"token", info->d_vocab, w->token_labels, NULL, "input token"};
        rc = rc == OTIMES_OK ? otimes_sink_axis(job->sink, &w->token, err) : rc;
    }
    return rc;
}

static int write_facts(const qk_job *job, otimes_err *err)
{
    static const struct {
        const char *name;
        double value;
    } least[] = {{"least_previous_token", OTIMES_QK_LEAST_PREVIOUS},
                 {"least_copying", OTIMES_QK_LEAST_COPYING},
                 {"least_K_ratio", OTIMES_QK_LEAST_RATIO},
                 {"least_match", OTIMES_QK_LEAST_MATCH}};
    const otimes_model_info *info = job->info;
    const otimes_average_token *average = &job->space.average;
    const bool unfolded = info->norm != OTIMES_NORM_NONE && info->fold_ln == OTIMES_STEP_OFF;
    int rc =
        otimes_sink_text(job->sink, "previous_token_score",
                         average->untold ? average->untold : "pattern of the average token", err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(job->sink, "average_positions", average->positions, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(job->sink, "reading_side",
                              unfolded ? "W_Q, W_K, W_V without the weights and the centring of "
                                         "their norm"
                                       : "W_Q, W_K, W_V as processed",
                              err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(job->sink, "baseline_dimension", (int64_t)job->dimension, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(job->sink, "common_tokens", job->space.common_tokens, err);
    }
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof least / sizeof least[0]; i++) {
        rc = otimes_sink_f64(job->sink, least[i].name, least[i].value, err);
    }
    return rc;
}

/* ---- pairs ---- */

static int write_heads(const writer *w, otimes_err *err)
{
    static const struct {
        const char *name, *long_name;
        bool later, head;
    } list[] = {{"earlier_layer", "layer of the earlier head", false, false},
                {"earlier_head", "earlier query head", false, true},
                {"later_layer", "layer of the later head", true, false},
                {"later_head", "later query head", true, true}};
    const qk_job *job = w->job;
    int64_t *column = (int64_t *)(void *)w->rows;
    int rc = OTIMES_OK;
    for (size_t k = 0; rc == OTIMES_OK && k < sizeof list / sizeof list[0]; k++) {
        for (int64_t i = 0; i < job->pairs; i++) {
            const int64_t *of = list[k].later ? job->second : job->first;
            const otimes_head_sides *node = &job->node[of[job->order[i]]];
            column[i] = list[k].head ? node->head : node->layer;
        }
        const otimes_array array = {.name = list[k].name,
                                    .type = OTIMES_I64,
                                    .ndim = 1,
                                    .axis = {&w->pair},
                                    .long_name = list[k].long_name,
                                    .formula = "h1, h2",
                                    .orientation = "index in the model"};
        rc = otimes_sink_whole(w->job->sink, &array, column, err);
    }
    return rc;
}

static const char orientation[] = "row = destination, column = source";

static int write_roles(const writer *w, otimes_err *err)
{
    static const struct {
        const char *name, *long_name, *formula;
    } list[QK_ROLES] = {
        [QK_PREVIOUS] = {"previous_token", "weight of the earlier head on the previous token",
                         "mean over q of A[q, q - 1], A the pattern of the average token"},
        [QK_K_COPYING] = {"K_copying", "copying score of the K-composed form over the vocabulary",
                          "mean over offsets of Re(sum lambda) / sum |lambda|"},
        [QK_OV_COPYING] = {"OV_copying", "copying score of the later head's OV",
                           "Re(sum lambda) / sum |lambda| of W_E W_OV W_U"},
        [QK_K_RATIO] = {"K_ratio", "K-composition score over that of random subspaces",
                        "mean over offsets of score * sqrt(baseline_dimension)"},
        [QK_MATCH] =
            {"match", "attention score that a match of tokens adds, K-composed",
             "mean over offsets of diagonal_mean - entry_mean, over the mean square of the "
             "first norm"},
        [QK_INDUCTION] =
            {"induction", "induction score: what is defined of four factors, multiplied",
             "previous_token * max(K_copying, 0) * max(OV_copying, 0) * max(match, 0)"},
    };
    int rc = OTIMES_OK;
    for (int r = 0; rc == OTIMES_OK && r < QK_ROLES; r++) {
        const otimes_array array = {.name = list[r].name,
                                    .type = OTIMES_F64,
                                    .ndim = 1,
                                    .axis = {&w->pair},
                                    .long_name = list[r].long_name,
                                    .formula = list[r].formula,
                                    .orientation = orientation};
        rc = put_pairs(w, &array, w->job->role[r], sizeof(double), err);
    }
    const otimes_array label = {.name = "is_induction",
                                .type = OTIMES_I32,
                                .ndim = 1,
                                .axis = {&w->pair},
                                .long_name = "1: an induction pair; 0: not; -1: cannot be told",
                                .formula = "previous_token, copying scores and K_ratio at least "
                                           "least_previous_token, least_copying, least_K_ratio, "
                                           "match at least least_match",
                                .orientation = orientation};
    return rc == OTIMES_OK
               ? put_pairs(w, &label, w->job->is_induction, sizeof *w->job->is_induction, err)
               : rc;
}

static int write_forms(const writer *w, otimes_err *err)
{
    const qk_job *job = w->job;
    double *const *value = job->value;
    const struct {
        const char *name, *long_name, *formula;
        const double *data;
        bool by_component;
    } list[] = {
        {"norm", "Frobenius norm in the stream", "|form|", value[OTIMES_FORM_NORM], false},
        {"score", "composition score", "norm / (|direct| |W_OV| of each side composed)", job->score,
         false},
        {"full_norm", "Frobenius norm over the vocabulary", "|W_E form W_E^T|",
         value[OTIMES_FORM_FULL_NORM], false},
        {"full_trace", "trace over the vocabulary", "sum lambda", value[OTIMES_FORM_FULL_TRACE],
         false},
        {"full_copying", "copying score over the vocabulary", "Re(sum lambda) / sum |lambda|",
         value[OTIMES_FORM_FULL_COPYING], false},
        {"diagonal_mean", "mean of the diagonal over the vocabulary", "sum lambda / d_vocab",
         value[OTIMES_FORM_DIAGONAL_MEAN], false},
        {"entry_mean", "mean of all entries over the vocabulary", "mean(W_E) form mean(W_E)^T",
         value[OTIMES_FORM_ENTRY_MEAN], false},
        {"diagonal_excess", "diagonal above the rest in deviations of the entries",
         "(diagonal_mean - entry_mean) / sqrt(full_norm^2 / d_vocab^2 - entry_mean^2)",
         value[OTIMES_FORM_DIAGONAL_EXCESS], false},
        {"full_eigenvalues_real", "real parts of the non-zero eigenvalues over the vocabulary",
         "eig(B^T W_E^T W_E A), form = A B^T", job->re, true},
        {"full_eigenvalues_imag", "imaginary parts of the non-zero eigenvalues over the vocabulary",
         "eig(B^T W_E^T W_E A), form = A B^T", job->im, true},
    };
    const size_t each = (size_t)(OTIMES_QK_FORMS * job->offset_count) * sizeof(double);
    int rc = OTIMES_OK;
    for (size_t v = 0; rc == OTIMES_OK && v < sizeof list / sizeof list[0]; v++) {
        const bool values = list[v].by_component;
        const otimes_array array = {
            .name = list[v].name,
            .type = OTIMES_F64,
            .ndim = values ? 4 : 3,
            .axis = {&w->pair, &w->form, &w->offset, values ? &w->component : NULL},
            .long_name = list[v].long_name,
            .formula = list[v].formula,
            .orientation = orientation};
        rc = put_pairs(w, &array, list[v].data, values ? each * (size_t)job->info->d_head : each,
                       err);
    }
    return rc;
}

static int write_entries(const writer *w, otimes_err *err)
{
    const qk_job *job = w->job;
    const struct {
        const char *name, *long_name;
        otimes_type type;
        const void *data;
    } list[] = {
        {"entry_destination_id", "destination token of a strongest entry", OTIMES_I32,
         job->entry_destination},
        {"entry_source_id", "source token of a strongest entry", OTIMES_I32, job->entry_source},
        {"entry_value", "strongest entries, at the first offset", OTIMES_F32, job->entry_value},
    };
    int rc = OTIMES_OK;
    if (job->settings->entries == 0 || job->listed == 0) {
        return OTIMES_OK;
    }
    for (size_t k = 0; rc == OTIMES_OK && k < sizeof list / sizeof list[0]; k++) {
        const otimes_array array = {.name = list[k].name,
                                    .type = list[k].type,
                                    .ndim = 3,
                                    .axis = {&w->listed, &w->form, &w->rank},
                                    .long_name = list[k].long_name,
                                    .formula = "largest of W_E form W_E^T",
                                    .orientation = orientation,
                                    .labels_of = list[k].type == OTIMES_I32 ? "token" : NULL};
        rc = otimes_sink_whole(w->job->sink, &array, list[k].data, err);
    }
    return rc;
}

int otimes_qk_write(qk_job *job, otimes_err *err)
{
    writer w = {.job = job};
    const int64_t widest = OTIMES_QK_FORMS * job->offset_count * job->info->d_head;
    int rc = OTIMES_NEW(&w.rows, job->pairs * widest * (int64_t)sizeof(double), err);
    int (*const steps[])(const writer *, otimes_err *) = {write_heads, write_roles, write_forms,
                                                          write_entries};
    rc = rc == OTIMES_OK ? make_axes(&w, err) : rc;
    rc = rc == OTIMES_OK ? write_facts(job, err) : rc;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof steps / sizeof steps[0]; i++) {
        rc = steps[i](&w, err);
    }
    otimes_text_free(&w.names);
    otimes_free(w.pair_labels);
    otimes_free(w.token_labels);
    otimes_free(w.rows);
    return rc;
}
