/* SPDX-License-Identifier: MIT
 *
 * The arrays of `neurons`: the part of one MLP at a time.
 */
#include <stddef.h>
#include <stdio.h>

#include "analysis/neurons_job.h"
#include "base/sink.h"
#include "model/labels.h"
#include "run/circuit.h"

enum { SIDE_ARRAYS = 11, MOST_ARRAYS = SIDES * SIDE_ARRAYS + 2 * WAYS + 8, NAME = 32, TEXT = 96 };

/* An array, the texts it shows, and where the part of the unit at hand lies. */
typedef struct output {
    otimes_array array;
    char name[NAME], long_name[TEXT], formula[TEXT];
    const void *data;
    int id;
} output;

struct neurons_writer {
    neurons_job *job;
    otimes_axis layer, neuron, rank, head_layer, head, model_head, token, output_token, component;
    const char **token_labels, **output_labels, **head_labels;
    otimes_text heads; /* what head_labels show */
    output output[MOST_ARRAYS], table[WAYS];
    int count;
};

static const char *const side_names[SIDES] = {"out", "in", "gate"};
static const char *const side_rows[SIDES] = {"w_out W_U", "W_E w_in", "W_E w_gate"};
static const char *const way_names[WAYS] = {"q", "k", "v", "in", "gate"};

/* ---- axes ---- */

static int name_heads(neurons_writer *w, otimes_err *err)
{
    const otimes_model_info *info = w->job->info;
    const int64_t count = info->n_layers * info->n_heads;
    int rc = OTIMES_NEW(&w->head_labels, count, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        rc = otimes_text_add(&w->heads, err, "L%lldH%lld\n", (long long)(i / info->n_heads),
                             (long long)(i % info->n_heads));
    }
    char *at = w->heads.data;
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        w->head_labels[i] = at;
        while (*at != '\n') {
            at++;
        }
        *at++ = '\0';
    }
    return rc;
}

static int make_token_axes(neurons_writer *w, otimes_err *err)
{
    const neurons_job *job = w->job;
    int rc = OTIMES_OK;
    if (job->seen[SIDE_IN]) {
        rc =
            otimes_token_labels(job->model, false, NULL, job->info->d_vocab, &w->token_labels, err);
        w->token = (otimes_axis){"token", job->info->d_vocab, w->token_labels, NULL, "input token"};
        rc = rc == OTIMES_OK ? otimes_sink_axis(job->sink, &w->token, err) : rc;
    }
    if (rc == OTIMES_OK && job->seen[SIDE_OUT]) {
        rc = otimes_token_labels(job->model, true, NULL, job->info->d_vocab_out, &w->output_labels,
                                 err);
        w->output_token = (otimes_axis){"output_token", job->info->d_vocab_out, w->output_labels,
                                        NULL, "output token"};
        rc = rc == OTIMES_OK ? otimes_sink_axis(job->sink, &w->output_token, err) : rc;
    }
    return rc;
}

static int make_axes(neurons_writer *w, otimes_err *err)
{
    const neurons_job *job = w->job;
    const otimes_model_info *info = job->info;
    int rc = make_token_axes(w, err);
    w->layer = (otimes_axis){"layer", job->layer_count, NULL, job->layers, "layer"};
    w->neuron = (otimes_axis){"neuron", job->neuron_count, NULL, job->neurons, "neuron of a layer"};
    w->rank = (otimes_axis){"rank", job->top, NULL, NULL, "place, the extreme first"};
    w->head_layer = (otimes_axis){"head_layer", info->n_layers, NULL, NULL, "layer of the head"};
    w->head = (otimes_axis){"head", info->n_heads, NULL, NULL, "query head"};
    w->component =
        (otimes_axis){"component", info->d_model, NULL, NULL, "component, largest first"};
    if (rc == OTIMES_OK && job->settings->heads != OTIMES_NEURONS_HEADS_NONE) {
        rc = name_heads(w, err);
        w->model_head = (otimes_axis){"model_head", info->n_layers * info->n_heads, w->head_labels,
                                      NULL, "query head of the model"};
        rc = rc == OTIMES_OK ? otimes_sink_axis(job->sink, &w->model_head, err) : rc;
    }
    return rc;
}

/* ---- arrays ---- */

typedef struct text {
    const char *name, *long_name, *formula, *orientation;
} text;

static int declare(neurons_writer *w, const text *t, otimes_type type, bool ranked,
                   const char *labels_of, const void *data, otimes_err *err)
{
    output *o = &w->output[w->count++];
    snprintf(o->name, NAME, "%s", t->name);
    snprintf(o->long_name, TEXT, "%s", t->long_name);
    snprintf(o->formula, TEXT, "%s", t->formula);
    o->data = data;
    o->array = (otimes_array){.name = o->name,
                              .type = type,
                              .ndim = ranked ? 3 : 2,
                              .axis = {&w->layer, &w->neuron, &w->rank},
                              .long_name = o->long_name,
                              .units = "1",
                              .formula = o->formula,
                              .orientation = t->orientation,
                              .labels_of = labels_of};
    return otimes_sink_declare(w->job->sink, &o->array, &o->id, err);
}

static int declare_simple(neurons_writer *w, otimes_err *err)
{
    const neurons_job *job = w->job;
    const char *each = "one entry a neuron";
    const struct {
        text text;
        const void *data;
        otimes_type type;
        bool wanted;
    } list[] = {
        {{"cos_in_out", "cosine of what it reads and what it writes",
          "w_in . w_out / (|w_in| |w_out|)", each},
         job->cos_in_out,
         OTIMES_F64,
         true},
        {{"cos_gate_out", "cosine of its gate and what it writes",
          "w_gate . w_out / (|w_gate| |w_out|)", each},
         job->cos_gate_out,
         OTIMES_F64,
         job->has[SIDE_GATE]},
        {{"cos_in_gate", "cosine of what it reads and its gate",
          "w_in . w_gate / (|w_in| |w_gate|)", each},
         job->cos_in_gate,
         OTIMES_F64,
         job->has[SIDE_GATE]},
        {{"b_in", "bias before the activation", "b_in", each}, job->b_in, OTIMES_F64, true},
        {{"b_gate", "bias of the gate", "b_gate", each},
         job->b_gate,
         OTIMES_F64,
         job->has[SIDE_GATE]},
        {{"expert", "expert that the neuron is of", "n_experts: the shared expert", each},
         job->expert,
         OTIMES_I64,
         job->info->n_experts > 0},
        {{"null_share", "share of w_out in the smallest singular directions of W_U",
          "sum_k (w_out . u_k)^2 / |w_out|^2", each},
         job->null_share,
         OTIMES_F64,
         job->null_share != NULL},
    };
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof list / sizeof *list; i++) {
        if (list[i].wanted) {
            rc = declare(w, &list[i].text, list[i].type, false, NULL, list[i].data, err);
        }
    }
    return rc;
}

/* Norm and vocabulary of one side. */
static int declare_side(neurons_writer *w, neurons_side side, otimes_err *err)
{
    const neurons_job *job = w->job;
    const neurons_found *f = &job->found[side];
    const char *vector = side_names[side], *ids = side == SIDE_OUT ? "output_token" : "token";
    const struct {
        const char *name, *long_name, *formula;
        const void *data;
        otimes_type type;
        bool ranked;
    } list[SIDE_ARRAYS] = {
        {"norm", "length of", NULL, f->norm, OTIMES_F64, false},
        {"mean", "mean over the vocabulary of", "mean(x)", f->mean, OTIMES_F64, false},
        {"variance", "population variance over the vocabulary of", "m2 = mean((x - mean(x))^2)",
         f->variance, OTIMES_F64, false},
        {"skew", "skew over the vocabulary of", "m3 / m2^(3/2)", f->skew, OTIMES_F64, false},
        {"kurtosis", "excess kurtosis over the vocabulary of", "m4 / m2^2 - 3", f->kurtosis,
         OTIMES_F64, false},
        {"max", "largest entry over the vocabulary of", "max(x)", f->max, OTIMES_F64, false},
        {"min", "smallest entry over the vocabulary of", "min(x)", f->min, OTIMES_F64, false},
        {"top_value", "largest entries over the vocabulary of", "x", f->top_value, OTIMES_F32,
         true},
        {"top_id", "tokens of the largest entries of", "argmax(x)", f->top_id, OTIMES_I32, true},
        {"bottom_value", "smallest entries over the vocabulary of", "x", f->bottom_value,
         OTIMES_F32, true},
        {"bottom_id", "tokens of the smallest entries of", "argmin(x)", f->bottom_id, OTIMES_I32,
         true},
    };
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < (job->seen[side] ? SIDE_ARRAYS : 1); i++) {
        char name[NAME], long_name[TEXT], formula[TEXT];
        snprintf(name, NAME, "%s_%s", vector, list[i].name);
        snprintf(long_name, TEXT, "%s w_%s", list[i].long_name, vector);
        if (list[i].formula) {
            snprintf(formula, TEXT, "%s, x = %s", list[i].formula, side_rows[side]);
        } else {
            snprintf(formula, TEXT, "|w_%s|", vector);
        }
        const text t = {name, long_name, formula, "one row a neuron, along its tokens"};
        if (!list[i].ranked || job->top > 0) {
            rc = declare(w, &t, list[i].type, list[i].ranked,
                         list[i].type == OTIMES_I32 ? ids : NULL, list[i].data, err);
        }
    }
    return rc;
}

static const struct {
    const char *long_name, *formula;
} way_texts[WAYS] = {
    [WAY_Q] = {"later heads whose queries read", "|w_out W_QK| / (|w_out| |W_QK|)"},
    [WAY_K] = {"later heads whose keys read", "|w_out W_QK^T| / (|w_out| |W_QK|)"},
    [WAY_V] = {"later heads whose values read", "|w_out W_OV| / (|w_out| |W_OV|)"},
    [WAY_IN] = {"earlier heads that write to the input of", "|W_OV w_in| / (|W_OV| |w_in|)"},
    [WAY_GATE] = {"earlier heads that write to the gate of", "|W_OV w_gate| / (|W_OV| |w_gate|)"},
};

static int declare_table(neurons_writer *w, int way, otimes_err *err)
{
    output *o = &w->table[way];
    snprintf(o->name, NAME, "%s_table", way_names[way]);
    snprintf(o->long_name, TEXT, "scores of all %s a neuron", way_texts[way].long_name);
    o->array = (otimes_array){.name = o->name,
                              .type = OTIMES_F32,
                              .ndim = 4,
                              .axis = {&w->layer, &w->neuron, &w->head_layer, &w->head},
                              .long_name = o->long_name,
                              .units = "1",
                              .formula = way_texts[way].formula,
                              .orientation = "neuron by head",
                              .chunk = {1, 256, 1, w->job->info->n_heads}};
    return otimes_sink_declare(w->job->sink, &o->array, &o->id, err);
}

static int declare_way(neurons_writer *w, int way, otimes_err *err)
{
    const neurons_job *job = w->job;
    char score[NAME], head[NAME], scores[TEXT], heads[TEXT];
    snprintf(score, NAME, "%s_score", way_names[way]);
    snprintf(head, NAME, "%s_head", way_names[way]);
    snprintf(scores, TEXT, "largest scores of %s it", way_texts[way].long_name);
    snprintf(heads, TEXT, "%s it most", way_texts[way].long_name);
    const char *order = "one row a neuron, along its heads";
    const text values = {score, scores, way_texts[way].formula, order};
    const text ids = {head, heads, way_texts[way].formula, order};
    int rc = OTIMES_OK;
    if (job->top > 0) {
        rc = declare(w, &values, OTIMES_F32, true, NULL, job->score[way], err);
    }
    if (rc == OTIMES_OK && job->top > 0) {
        rc = declare(w, &ids, OTIMES_I32, true, "model_head", job->head[way], err);
    }
    return rc == OTIMES_OK && job->settings->heads == OTIMES_NEURONS_HEADS_FULL
               ? declare_table(w, way, err)
               : rc;
}

static int declare_arrays(neurons_writer *w, otimes_err *err)
{
    const neurons_job *job = w->job;
    int rc = declare_simple(w, err);
    for (int side = 0; rc == OTIMES_OK && side < SIDES; side++) {
        rc = job->has[side] ? declare_side(w, (neurons_side)side, err) : rc;
    }
    for (int way = 0; rc == OTIMES_OK && way < WAYS; way++) {
        rc = job->score[way] ? declare_way(w, way, err) : rc;
    }
    return rc;
}

/* ---- facts ---- */

static int write_spectrum(const neurons_writer *w, otimes_err *err)
{
    const neurons_job *job = w->job;
    const otimes_array array = {.name = "unembed_singular_values",
                                .type = OTIMES_F64,
                                .ndim = 1,
                                .axis = {&w->component},
                                .long_name = "singular values of W_U (descending)",
                                .units = "1",
                                .formula = "sqrt(eig(W_U W_U^T))",
                                .orientation = "one entry a component"};
    int id;
    if (!job->singular_values) {
        return OTIMES_OK;
    }
    const int rc = otimes_sink_declare(job->sink, &array, &id, err);
    return rc == OTIMES_OK ? otimes_sink_slab(job->sink, &array, id, 0, job->info->d_model,
                                              job->singular_values, err)
                           : rc;
}

static int write_facts(const neurons_writer *w, otimes_err *err)
{
    const neurons_job *job = w->job;
    const otimes_model_info *info = job->info;
    const bool unfolded = info->norm != OTIMES_NORM_NONE && info->fold_ln == OTIMES_STEP_OFF;
    const struct {
        const char *name, *value;
    } list[] = {
        {"reading_side", unfolded ? "weights without the weights and the centring of their norm"
                                  : "weights as processed"},
        {"writing_side",
         info->post_norm
             ? "W_out and W_O times the weight of the norm behind them, without its scale"
             : "W_out and W_O as they are"},
        {"neurons_of", info->n_experts > 0
                           ? "experts: of expert x from x d_expert on, the shared expert last"
                           : "MLPs"},
    };
    int rc = otimes_model_attributes(job->model, job->sink, err);
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof list / sizeof *list; i++) {
        rc = otimes_sink_text(job->sink, list[i].name, list[i].value, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(job->sink, "n_experts", info->n_experts, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(job->sink, "null_directions", job->settings->null_directions, err);
    }
    return rc == OTIMES_OK
               ? otimes_sink_i64(job->sink, "baseline_dimension", otimes_link_dimension(info), err)
               : rc;
}

int otimes_neurons_writer_new(neurons_writer **writer, neurons_job *job, otimes_err *err)
{
    int rc = OTIMES_NEW(writer, 1, err);
    neurons_writer *w = *writer;
    if (rc == OTIMES_OK) {
        w->job = job;
        rc = write_facts(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_axes(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_arrays(w, err);
    }
    return rc == OTIMES_OK ? write_spectrum(w, err) : rc;
}

void otimes_neurons_writer_free(neurons_writer **writer)
{
    neurons_writer *w = *writer;
    if (w) {
        otimes_text_free(&w->heads);
        otimes_free(w->token_labels);
        otimes_free(w->output_labels);
        otimes_free(w->head_labels);
        otimes_free(w);
        *writer = NULL;
    }
}

/* ---- parts ---- */

int otimes_neurons_write_unit(const neurons_writer *w, otimes_err *err)
{
    const neurons_job *job = w->job;
    const int64_t start[OTIMES_MAX_DIMS] = {job->unit.layer_at, job->unit.first, 0};
    const int64_t count[OTIMES_MAX_DIMS] = {1, job->unit.count, job->top};
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < w->count; i++) {
        rc =
            job->sink->ops->write(job->sink, w->output[i].id, start, count, w->output[i].data, err);
    }
    return rc;
}

int otimes_neurons_write_tables(const neurons_writer *w, int64_t head_layer, neurons_way from,
                                neurons_way to, otimes_err *err)
{
    const neurons_job *job = w->job;
    const int64_t start[OTIMES_MAX_DIMS] = {job->unit.layer_at, job->unit.first, head_layer, 0};
    const int64_t count[OTIMES_MAX_DIMS] = {1, job->unit.count, 1, job->info->n_heads};
    int rc = OTIMES_OK;
    for (int way = (int)from; rc == OTIMES_OK && way < (int)to; way++) {
        rc = job->sink->ops->write(job->sink, w->table[way].id, start, count,
                                   job->table[way - (int)from], err);
    }
    return rc;
}
