/* SPDX-License-Identifier: MIT
 *
 * The arrays of `virtual`.
 */
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "analysis/virtual_job.h"
#include "base/sink.h"
#include "model/labels.h"

typedef struct writer {
    virtual_job *job;
    otimes_axis layer, head, later_layer, later_head, chain, link, component, rank, length;
    otimes_axis token, output_token;
    const char **token_labels, **output_labels, **chain_labels;
    otimes_text names; /* what chain_labels show */
    int64_t *lengths;
    double *column; /* scratch of pairs and of the census */
} writer;

/* ---- axes ---- */

static int name_chains(writer *w, otimes_err *err)
{
    const virtual_job *job = w->job;
    const virtual_results *x = &job->results;
    int rc = OTIMES_NEW(&w->chain_labels, job->chains, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->chains; i++) {
        for (int64_t k = 0; rc == OTIMES_OK && k < x->length[i]; k++) {
            rc = otimes_text_add(&w->names, err, "%sL%lldH%lld", k ? " " : "",
                                 (long long)x->layer[i * job->longest + k],
                                 (long long)x->head[i * job->longest + k]);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_text_add(&w->names, err, "\n");
        }
    }
    char *at = w->names.data;
    for (int64_t i = 0; rc == OTIMES_OK && i < job->chains; i++) {
        w->chain_labels[i] = at;
        while (*at != '\n') {
            at++;
        }
        *at++ = '\0';
    }
    return rc;
}

static int name_tokens(writer *w, otimes_err *err)
{
    const virtual_job *job = w->job;
    const otimes_model_info *info = job->info;
    if (!job->results.entry_value) {
        return OTIMES_OK;
    }
    int rc = otimes_token_labels(job->model, false, NULL, info->d_vocab, &w->token_labels, err);
    if (rc == OTIMES_OK) {
        rc = otimes_token_labels(job->model, true, NULL, info->d_vocab_out, &w->output_labels, err);
    }
    w->token = (otimes_axis){"token", info->d_vocab, w->token_labels, NULL, "input token"};
    w->output_token =
        (otimes_axis){"output_token", info->d_vocab_out, w->output_labels, NULL, "output token"};
    if (rc == OTIMES_OK) {
        rc = otimes_sink_axis(job->sink, &w->token, err);
    }
    return rc == OTIMES_OK ? otimes_sink_axis(job->sink, &w->output_token, err) : rc;
}

static int make_axes(writer *w, otimes_err *err)
{
    const virtual_job *job = w->job;
    const int64_t lengths = job->length - 1;
    int rc = OTIMES_NEW(&w->lengths, lengths, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < lengths; i++) {
        w->lengths[i] = i + 2;
    }
    if (rc == OTIMES_OK) {
        rc = name_chains(w, err);
    }
    w->layer =
        (otimes_axis){"layer", job->layer_count, NULL, job->layers, "layer of the earlier head"};
    w->head = (otimes_axis){"head", job->head_count, NULL, job->heads, "query head"};
    w->later_layer = (otimes_axis){"later_layer", job->layer_count, NULL, job->layers,
                                   "layer of the later head"};
    w->later_head =
        (otimes_axis){"later_head", job->head_count, NULL, job->heads, "later query head"};
    w->chain = (otimes_axis){"chain", job->chains, w->chain_labels, NULL, "heads in their order"};
    w->link =
        (otimes_axis){"link", job->longest, NULL, NULL, "place in the chain, first head first"};
    w->component = (otimes_axis){"component", job->rank, NULL, NULL, "component, largest first"};
    w->rank = (otimes_axis){"rank", job->settings->entries, NULL, NULL, "place, the largest first"};
    w->length = (otimes_axis){"length", lengths, NULL, w->lengths, "heads in a chain"};
    return rc == OTIMES_OK ? name_tokens(w, err) : rc;
}

/* ---- facts ---- */

static int write_facts(const virtual_job *job, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    const bool unfolded = info->norm != OTIMES_NORM_NONE && info->fold_ln == OTIMES_STEP_OFF;
    bool complete = true;
    for (int64_t n = 2; n <= job->length; n++) {
        complete &= job->census[n].unlisted <= 0;
    }
    int rc = otimes_sink_text(job->sink, "chains",
                              job->settings->chain_count > 0 ? "chosen" : "the strongest", err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(job->sink, "strength",
                              job->settings->order == OTIMES_VIRTUAL_BY_NORM ? "norm" : "ratio",
                              err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(job->sink, "reading_side",
                              unfolded ? "W_V without the weights and the centring of its norm"
                                       : "W_V as processed",
                              err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(job->sink, "baseline_dimension", (int64_t)job->dimension, err);
    }
    return rc == OTIMES_OK ? otimes_sink_i64(job->sink, "complete", complete, err) : rc;
}

static int write_census(writer *w, otimes_err *err)
{
    static const struct {
        const char *name, *long_name, *formula;
        size_t field;
    } list[] = {
        {"chains_of_length", "chains of heads in ascending layers", "(layers choose n) heads^n",
         offsetof(virtual_census, total)},
        {"examined", "chains whose norm was computed", "count", offsetof(virtual_census, examined)},
        {"unlisted", "strength that no chain left out exceeds; 0: the list is complete",
         "max |Z| prod sigma_1(K)", offsetof(virtual_census, unlisted)},
    };
    const virtual_job *job = w->job;
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof list / sizeof list[0]; i++) {
        for (int64_t n = 2; n <= job->length; n++) {
            const void *field = (const char *)&job->census[n] + list[i].field;
            w->column[n - 2] = *(const double *)field;
        }
        const otimes_array array = {.name = list[i].name,
                                    .type = OTIMES_F64,
                                    .ndim = 1,
                                    .axis = {&w->length},
                                    .long_name = list[i].long_name,
                                    .formula = list[i].formula,
                                    .orientation = "number of heads in a chain"};
        rc = otimes_sink_whole(w->job->sink, &array, w->column, err);
    }
    return rc;
}

/* ---- pairs ---- */

enum { PAIR_NORM, PAIR_EXPECTED, PAIR_SCORE, PAIR_RATIO, PAIR_ARRAYS };

static const struct {
    const char *name, *long_name, *formula;
} pair_list[PAIR_ARRAYS] = {
    [PAIR_NORM] = {"pair_norm", "Frobenius norm of the virtual head", "|L R|"},
    [PAIR_EXPECTED] = {"pair_expected", "norm expected of random subspaces",
                       "|L| |R| / sqrt(baseline_dimension)"},
    [PAIR_SCORE] = {"pair_score", "V-composition score", "|L R| / (|L| |R|)"},
    [PAIR_RATIO] = {"pair_ratio", "norm over the expected one",
                    "|L R| sqrt(baseline_dimension) / (|L| |R|)"},
};

static double pair_value(const virtual_job *job, int which, int64_t i, int64_t j)
{
    const double norm = job->pair_norm[i * job->nodes + j], both = job->norm[i] * job->norm[j];
    const double expected = both / sqrt(job->dimension);
    switch (which) {
    case PAIR_NORM:
        return norm;
    case PAIR_EXPECTED:
        return isnan(norm) ? NAN : expected;
    case PAIR_SCORE:
        return both > 0 ? norm / both : NAN;
    default:
        return expected > 0 ? norm / expected : NAN;
    }
}

static int write_pairs(writer *w, otimes_err *err)
{
    const virtual_job *job = w->job;
    const int64_t n = job->nodes;
    const otimes_array norms = {.name = "head_norm",
                                .type = OTIMES_F64,
                                .ndim = 2,
                                .axis = {&w->layer, &w->head},
                                .long_name = "Frobenius norm of W_OV",
                                .formula = "|W_V W_O|",
                                .orientation = "row = source residual, column = written"};
    int rc = otimes_sink_whole(w->job->sink, &norms, job->norm, err);
    for (int which = 0; rc == OTIMES_OK && which < PAIR_ARRAYS; which++) {
        for (int64_t at = 0; at < n * n; at++) {
            w->column[at] = pair_value(job, which, at / n, at % n);
        }
        const otimes_array array = {.name = pair_list[which].name,
                                    .type = OTIMES_F64,
                                    .ndim = 4,
                                    .axis = {&w->layer, &w->head, &w->later_layer, &w->later_head},
                                    .long_name = pair_list[which].long_name,
                                    .formula = pair_list[which].formula,
                                    .orientation =
                                        "L = W_OV of the earlier head, R = W_OV of the later"};
        rc = otimes_sink_whole(w->job->sink, &array, w->column, err);
    }
    return rc;
}

/* ---- chains ---- */

static const struct {
    const char *name;
    otimes_type type;
    size_t axis; /* the second, in writer; 0: none */
    const char *long_name, *formula, *labels_of;
    size_t field; /* in virtual_results */
} chain_list[] = {
#define OF(field) offsetof(virtual_results, field)
#define ALONG(axis) offsetof(writer, axis)
    {"chain_length", OTIMES_I64, 0, "heads in the chain", "n", NULL, OF(length)},
    {"chain_layer", OTIMES_I64, ALONG(link), "layer of each head", "h1 h2 ... hn", NULL, OF(layer)},
    {"chain_head", OTIMES_I64, ALONG(link), "each head", "h1 h2 ... hn", NULL, OF(head)},
    {"norm", OTIMES_F64, 0, "Frobenius norm", "|W_OV(h1) ... W_OV(hn)|", NULL, OF(norm)},
    {"expected", OTIMES_F64, 0, "norm expected of random subspaces",
     "prod |W_OV(h)| / sqrt(baseline_dimension)^(n - 1)", NULL, OF(expected)},
    {"score", OTIMES_F64, 0, "composition score", "norm / prod |W_OV(h)|", NULL, OF(score)},
    {"ratio", OTIMES_F64, 0, "norm over the expected one", "norm / expected", NULL, OF(ratio)},
    {"singular_values", OTIMES_F64, ALONG(component), "singular values (descending)",
     "SVD of the core", NULL, OF(singular_values)},
    {"effective_rank", OTIMES_F64, 0, "effective rank", "exp(entropy(sigma / sum sigma))", NULL,
     OF(effective_rank)},
    {"trace", OTIMES_F64, 0, "trace in the stream", "sum lambda", NULL, OF(trace)},
    {"copying", OTIMES_F64, 0, "copying score in the stream", "Re(sum lambda) / sum |lambda|", NULL,
     OF(copying)},
    {"full_norm", OTIMES_F64, 0, "Frobenius norm over the vocabulary", "|W_E W W_U|", NULL,
     OF(full_norm)},
    {"full_singular_values", OTIMES_F64, ALONG(component),
     "singular values over the vocabulary (descending)", "W_E W W_U", NULL,
     OF(full_singular_values)},
    {"full_trace", OTIMES_F64, 0, "trace over the vocabulary", "sum lambda of W_E W W_U", NULL,
     OF(full_trace)},
    {"full_copying", OTIMES_F64, 0, "copying score over the vocabulary",
     "Re(sum lambda) / sum |lambda| of W_E W W_U", NULL, OF(full_copying)},
    {"full_eigenvalues_real", OTIMES_F64, ALONG(component),
     "real parts of the non-zero eigenvalues over the vocabulary (by falling modulus)",
     "eig(R^T W_U W_E L)", NULL, OF(full_eigenvalues_real)},
    {"full_eigenvalues_imag", OTIMES_F64, ALONG(component),
     "imaginary parts of the non-zero eigenvalues over the vocabulary (by falling modulus)",
     "eig(R^T W_U W_E L)", NULL, OF(full_eigenvalues_imag)},
    {"entry_source_id", OTIMES_I32, ALONG(rank), "source token of a strongest entry",
     "largest of W_E W W_U", "token", OF(entry_source)},
    {"entry_output_id", OTIMES_I32, ALONG(rank), "output token of a strongest entry",
     "largest of W_E W W_U", "output_token", OF(entry_output)},
    {"entry_value", OTIMES_F32, ALONG(rank), "strongest entries of the table", "W_E W W_U", NULL,
     OF(entry_value)},
#undef OF
#undef ALONG
};

static int write_chains(writer *w, otimes_err *err)
{
    const char *results = (const char *)&w->job->results;
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof chain_list / sizeof chain_list[0]; i++) {
        const void *field = results + chain_list[i].field;
        const void *data = *(const void *const *)field;
        otimes_array array = {.name = chain_list[i].name,
                              .type = chain_list[i].type,
                              .ndim = 1,
                              .axis = {&w->chain},
                              .long_name = chain_list[i].long_name,
                              .formula = chain_list[i].formula,
                              .orientation =
                                  "W = W_OV(h1) ... W_OV(hn): row = source residual or token, "
                                  "column = written or output token",
                              .labels_of = chain_list[i].labels_of};
        if (chain_list[i].axis) {
            array.axis[array.ndim++] = (const void *)((const char *)w + chain_list[i].axis);
        }
        if (data) {
            rc = otimes_sink_whole(w->job->sink, &array, data, err);
        }
    }
    return rc;
}

static void free_writer(writer *w)
{
    otimes_text_free(&w->names);
    otimes_free(w->token_labels);
    otimes_free(w->output_labels);
    otimes_free(w->chain_labels);
    otimes_free(w->lengths);
    otimes_free(w->column);
}

int otimes_virtual_write(virtual_job *job, otimes_err *err)
{
    writer w = {.job = job};
    const int64_t cells = job->nodes * job->nodes;
    int rc = OTIMES_NEW(&w.column, cells > job->length ? cells : job->length, err);
    if (rc == OTIMES_OK) {
        rc = make_axes(&w, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_facts(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_census(&w, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_pairs(&w, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_chains(&w, err);
    }
    free_writer(&w);
    return rc;
}
