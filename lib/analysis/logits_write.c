/* SPDX-License-Identifier: MIT
 *
 * The arrays of `logits`: what each is called and where the places of a batch lie.
 */
#include <math.h>

#include "analysis/logits_job.h"
#include "base/sink.h"
#include "model/labels.h"

/* One statement for each array of places. */
typedef struct about {
    const char *name, *long_name, *units, *formula;
    otimes_type type;
    bool ranked, next; /* has the axis rank; is about the next token */
    const char *labels_of;
    size_t field;
} about;

#define FIELD(name) offsetof(logits_results, name)

static const about list[LOGITS_OUTPUTS] = {
    {"top_value", "largest logits", "1", "LN_f(resid_post) W_U + b_U", OTIMES_F32, true, false,
     NULL, FIELD(top_value)},
    {"top_id", "their output tokens", "1", "argsort of logits", OTIMES_I32, true, false,
     "output_token", FIELD(top_id)},
    {"top_log_prob", "their log-probabilities", "nat", "logit - logsumexp", OTIMES_F32, true, false,
     NULL, FIELD(top_log_prob)},
    {"logsumexp", "log of the sum of exponentials of all logits", "nat", "log sum_o exp(logit_o)",
     OTIMES_F64, false, false, NULL, FIELD(logsumexp)},
    {"entropy", "entropy of the distribution over output tokens", "nat", "-sum_o p_o log p_o",
     OTIMES_F64, false, false, NULL, FIELD(entropy)},
    {"next_log_prob", "log-probability of the token that comes next in the text", "nat",
     "logit_next - logsumexp", OTIMES_F32, false, true, NULL, FIELD(next_log_prob)},
    {"next_rank", "how many logits are larger than that of the token that comes next", "1",
     "count(logit > logit_next)", OTIMES_I64, false, true, NULL, FIELD(next_rank)},
};

static const otimes_axis *place_axis(const logits_writer *w)
{
    return w->job->settings->positions ? &w->place : &w->job->texts.position;
}

static int declare_outputs(logits_writer *w, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < LOGITS_OUTPUTS; i++) {
        const about *a = &list[i];
        if (a->next && !w->job->next) {
            continue;
        }
        logits_output *output = &w->outputs[w->output_count++];
        *output = (logits_output){
            .array = {.name = a->name,
                      .type = a->type,
                      .ndim = a->ranked ? 3 : 2,
                      .axis = {&w->job->texts.text, place_axis(w), &w->rank},
                      .long_name = a->long_name,
                      .units = a->units,
                      .formula = a->formula,
                      .orientation = a->ranked ? "row = token read, columns by falling logit"
                                               : "one entry a token read",
                      .labels_of = a->labels_of},
            .field = a->field,
        };
        rc = otimes_sink_declare(w->job->sink, &output->array, &output->id, err);
    }
    return rc;
}

static int declare_table(logits_writer *w, otimes_err *err)
{
    w->table = (otimes_array){.name = "logits",
                              .type = OTIMES_F32,
                              .ndim = 3,
                              .axis = {&w->job->texts.text, place_axis(w), &w->output_token},
                              .long_name = "logits of all output tokens",
                              .units = "1",
                              .formula = "LN_f(resid_post) W_U + b_U",
                              .orientation = "row = token read, column = output token"};
    return otimes_sink_declare(w->job->sink, &w->table, &w->table_id, err);
}

static int declare_losses(logits_writer *w, otimes_err *err)
{
    w->loss = (otimes_array){.name = "loss",
                             .type = OTIMES_F64,
                             .ndim = 1,
                             .axis = {&w->job->texts.text},
                             .long_name = "mean cross-entropy of the tokens that come next",
                             .units = "nat",
                             .formula = "mean of -next_log_prob",
                             .orientation = "one entry a text"};
    w->predicted = w->loss;
    w->predicted.name = "predicted_tokens";
    w->predicted.type = OTIMES_I64;
    w->predicted.long_name = "how many tokens the loss is the mean over";
    w->predicted.units = "1";
    w->predicted.formula = "count of next_log_prob";
    int rc = otimes_sink_declare(w->job->sink, &w->predicted, &w->predicted_id, err);
    return rc == OTIMES_OK ? otimes_sink_declare(w->job->sink, &w->loss, &w->loss_id, err) : rc;
}

/* The positions that a list of them means in each text. */
static int write_places(logits_writer *w, otimes_err *err)
{
    logits_job *job = w->job;
    const int64_t count = job->settings->position_count;
    int64_t *position = NULL;
    w->place_array = (otimes_array){.name = "place_position",
                                    .type = OTIMES_I64,
                                    .ndim = 2,
                                    .axis = {&job->texts.text, &w->place},
                                    .long_name = "position that a place means in each text",
                                    .units = "1",
                                    .formula = "place, or length + place where it is negative",
                                    .orientation = "row = text, column = place"};
    int rc = otimes_sink_declare(job->sink, &w->place_array, &w->place_id, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&position, count, err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t t = 0; rc == OTIMES_OK && t < job->settings->sequences.count; t++) {
        for (int64_t i = 0; i < count; i++) {
            position[i] = otimes_logits_position(job, t, i);
        }
        rc = otimes_sink_slab(job->sink, &w->place_array, w->place_id, t, 1, position, err);
    }
    otimes_free(position);
    return rc;
}

int otimes_logits_output_axis(const logits_job *job, otimes_axis *axis, const char ***labels,
                              otimes_err *err)
{
    const int64_t out = job->info->d_vocab_out;
    const int rc = otimes_token_labels(job->model, true, NULL, out, labels, err);
    *axis = (otimes_axis){"output_token", out, *labels, NULL, "output token"};
    return rc == OTIMES_OK ? otimes_sink_axis(job->sink, axis, err) : rc;
}

static int declare_arrays(logits_writer *w, otimes_err *err)
{
    const otimes_logits_settings *s = w->job->settings;
    w->rank = (otimes_axis){"rank", w->job->top, NULL, NULL, "place, the largest first"};
    w->place = (otimes_axis){"place", s->position_count, NULL, s->positions,
                             "position as asked for; negative from the end"};
    int rc = otimes_logits_output_axis(w->job, &w->output_token, &w->output_labels, err);
    if (rc == OTIMES_OK && s->positions) {
        rc = write_places(w, err);
    }
    if (rc == OTIMES_OK && s->full) {
        rc = declare_table(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_outputs(w, err);
    }
    return rc == OTIMES_OK && w->job->next ? declare_losses(w, err) : rc;
}

int otimes_logits_facts(logits_job *job, otimes_err *err)
{
    int rc = otimes_model_attributes(job->model, job->sink, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(job->sink, "next_token", job->next, err);
    }
    return rc == OTIMES_OK ? otimes_texts_write(&job->texts, job->model, job->sink, err) : rc;
}

int otimes_logits_declare(logits_writer *writer, logits_job *job, otimes_err *err)
{
    writer->job = job;
    const int rc = otimes_logits_facts(job, err);
    return rc == OTIMES_OK ? declare_arrays(writer, err) : rc;
}

void otimes_logits_writer_free(logits_writer *writer)
{
    otimes_free(writer->output_labels);
    *writer = (logits_writer){0};
}

/* ---- what a batch came to ---- */

/* The last array of a text is there only when all of it is. */
bool otimes_logits_done(const logits_writer *writer, int64_t text)
{
    const logits_job *job = writer->job;
    const logits_output *last = &writer->outputs[writer->output_count - 1];
    const int64_t start[OTIMES_MAX_DIMS] = {text};
    const int64_t count[OTIMES_MAX_DIMS] = {1, otimes_logits_places(job, text)};
    return job->next ? otimes_sink_has(job->sink, writer->loss_id, start, count)
                     : otimes_sink_has(job->sink, last->id, start, count);
}

int otimes_logits_write_block(const logits_writer *writer, int64_t text, int64_t first,
                              int64_t count, const float *values, otimes_err *err)
{
    const int64_t start[OTIMES_MAX_DIMS] = {text, first};
    const int64_t extent[OTIMES_MAX_DIMS] = {1, count, writer->output_token.length};
    otimes_sink *sink = writer->job->sink;
    return sink->ops->write(sink, writer->table_id, start, extent, values, err);
}

/* Mean over the places of a text that have a next token. */
static int write_loss(const logits_writer *w, int64_t text, int64_t first, int64_t count,
                      otimes_err *err)
{
    const logits_job *job = w->job;
    double sum = 0;
    int64_t predicted = 0;
    for (int64_t i = first; i < first + count; i++) {
        if (job->target[i] >= 0) {
            sum -= (double)job->results.next_log_prob[i];
            predicted++;
        }
    }
    const double loss = predicted ? sum / (double)predicted : NAN;
    const int rc =
        otimes_sink_slab(job->sink, &w->predicted, w->predicted_id, text, 1, &predicted, err);
    return rc == OTIMES_OK ? otimes_sink_slab(job->sink, &w->loss, w->loss_id, text, 1, &loss, err)
                           : rc;
}

static int write_text(const logits_writer *w, int64_t text, int64_t first, int64_t count,
                      otimes_err *err)
{
    const logits_job *job = w->job;
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < w->output_count; i++) {
        const logits_output *o = &w->outputs[i];
        const int64_t start[OTIMES_MAX_DIMS] = {text};
        const int64_t extent[OTIMES_MAX_DIMS] = {1, count, job->top};
        const int64_t row =
            (int64_t)otimes_type_size(o->array.type) * (o->array.ndim == 3 ? job->top : 1);
        const char *data = *(char *const *)(const void *)((const char *)&job->results + o->field);
        rc = job->sink->ops->write(job->sink, o->id, start, extent, data + first * row, err);
    }
    return rc == OTIMES_OK && job->next ? write_loss(w, text, first, count, err) : rc;
}

int otimes_logits_write_batch(const logits_writer *writer, otimes_err *err)
{
    const logits_job *job = writer->job;
    int rc = OTIMES_OK;
    for (int64_t s = 0, first = 0; rc == OTIMES_OK && s < job->batch.count; s++) {
        const int64_t text = job->first_text + s, count = otimes_logits_places(job, text);
        rc = write_text(writer, text, first, count, err);
        first += count;
    }
    return rc;
}
