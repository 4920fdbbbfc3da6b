/* SPDX-License-Identifier: MIT
 *
 * The arrays of `ablate`: what each is called, and the texts of a group in it.
 */
#include <string.h>

#include "analysis/ablate_job.h"
#include "base/sink.h"

static const char *method_name(const otimes_ablate_settings *s)
{
    switch (s->method) {
    case OTIMES_ABLATE_ZERO:
        return "zero";
    case OTIMES_ABLATE_MEAN:
        return "mean";
    case OTIMES_ABLATE_MEAN_POSITION:
        return "mean by position";
    case OTIMES_ABLATE_RESAMPLE:
        return "resample";
    }
    return "unknown"; /* unreached: all cases return */
}

static int write_attributes(const ablate_job *job, otimes_err *err)
{
    const otimes_ablate_settings *s = job->settings;
    otimes_sink *sink = job->sink;
    int rc = otimes_model_attributes(job->model, sink, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(sink, "method", method_name(s), err);
    }
    if (rc == OTIMES_OK && s->method == OTIMES_ABLATE_RESAMPLE) {
        rc = otimes_sink_i64(sink, "seed", s->seed, err);
    }
    if (rc == OTIMES_OK && job->means.positions > 0) {
        const int64_t other = s->mean_sequences.count;
        rc = otimes_sink_i64(sink, "mean_texts", other > 0 ? other : s->sequences.count, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(sink, "measured_positions",
                              s->positions ? "chosen" : "loss: all; logits: last", err);
    }
    return rc;
}

/* An array of facts that are there from the start. */
static int write_facts(ablate_job *job, struct ablate_output *output, const char *name,
                       const otimes_axis *axis, const char *long_name, const int64_t *data,
                       otimes_err *err)
{
    output->array = (otimes_array){.name = name,
                                   .type = OTIMES_I64,
                                   .ndim = 1,
                                   .axis = {axis},
                                   .long_name = long_name,
                                   .units = "1",
                                   .formula = "as requested",
                                   .orientation = "one entry a place of the axis"};
    const int rc = otimes_sink_declare(job->sink, &output->array, &output->id, err);
    return rc == OTIMES_OK
               ? otimes_sink_slab(job->sink, &output->array, output->id, 0, axis->length, data, err)
               : rc;
}

static int write_all_facts(ablate_job *job, otimes_err *err)
{
    ablate_arrays *a = &job->arrays;
    const otimes_ablate_settings *s = job->settings;
    int rc = write_facts(job, &a->first_layer, "first_layer", &a->ablation,
                         "first layer that is changed", job->list.first_layer, err);
    if (rc == OTIMES_OK) {
        rc = write_facts(job, &a->size, "size", &a->ablation, "members that go at once",
                         job->list.size, err);
    }
    if (rc == OTIMES_OK && s->loss) {
        rc = write_facts(job, &a->loss_count, "loss_count", &job->texts.text,
                         "positions that loss is the mean of", job->loss_count, err);
    }
    if (rc == OTIMES_OK && s->target) {
        rc = write_facts(job, &a->logit_count, "logit_count", &job->texts.text,
                         "positions that logit is the mean of", job->logit_count, err);
    }
    if (rc == OTIMES_OK && job->source) {
        rc = write_facts(job, &a->source, "source", &job->texts.text,
                         "the text whose activations stand in the place of its own", job->source,
                         err);
    }
    if (rc == OTIMES_OK && s->target) {
        rc = write_facts(job, &a->target_id, "target_id", &job->texts.text,
                         "output token whose logit is measured", s->target, err);
    }
    if (rc == OTIMES_OK && s->target && s->against) {
        rc = write_facts(job, &a->against_id, "against_id", &job->texts.text,
                         "output token whose logit is taken from it", s->against, err);
    }
    return rc;
}

static void make_axes(ablate_job *job)
{
    ablate_arrays *a = &job->arrays;
    const otimes_ablate_settings *s = job->settings;
    a->ablation = (otimes_axis){"ablation", job->list.count, job->list.label, NULL,
                                "what is taken out, one ablation at a time"};
    a->layer = (otimes_axis){"layer", job->list.layers, NULL, s->layers, "layer of the head"};
    a->head = (otimes_axis){"head", job->list.heads, NULL, s->heads, "query head"};
}

static int declare_results(ablate_job *job, otimes_err *err)
{
    ablate_arrays *a = &job->arrays;
    const otimes_ablate_settings *s = job->settings;
    const otimes_axis *text = &job->texts.text, *ablation = &a->ablation;
    const otimes_axis *layer = &a->layer, *head = &a->head, *position = &job->texts.position;
    const bool loss = s->loss, logit = s->target != NULL;
    const bool head_loss = loss && (s->components & OTIMES_ABLATE_HEADS);
    const bool head_logit = logit && (s->components & OTIMES_ABLATE_HEADS);
    const char *of_logit = s->against ? "logit[target] - logit[against], mean over positions"
                                      : "logit[target], mean over positions";
    const char *of_loss = "-log p(next token), mean over positions";
    const struct {
        struct ablate_output *output;
        bool wanted;
        otimes_type type;
        const otimes_axis *first, *second, *third;
        const char *name, *long_name, *formula;
    } rows[] = {
        {&a->loss_clean, loss, OTIMES_F64, text, NULL, NULL, "loss_clean", "loss, nothing ablated",
         of_loss},
        {&a->loss, loss, OTIMES_F64, text, ablation, NULL, "loss", "loss", of_loss},
        {&a->loss_change, loss, OTIMES_F64, text, ablation, NULL, "loss_change",
         "what the ablation adds to the loss", "loss - loss_clean"},
        {&a->head_loss, head_loss, OTIMES_F64, text, layer, head, "head_loss_change",
         "loss_change by the place of the head", "loss - loss_clean"},
        {&a->loss_at, loss && s->full, OTIMES_F32, text, ablation, position, "loss_change_at",
         "what the ablation adds to the loss at each position", "loss - loss_clean"},
        {&a->logit_clean, logit, OTIMES_F64, text, NULL, NULL, "logit_clean",
         "logit, nothing ablated", of_logit},
        {&a->logit, logit, OTIMES_F64, text, ablation, NULL, "logit", "logit", of_logit},
        {&a->logit_change, logit, OTIMES_F64, text, ablation, NULL, "logit_change",
         "what the ablation adds to the logit", "logit - logit_clean"},
        {&a->head_logit, head_logit, OTIMES_F64, text, layer, head, "head_logit_change",
         "logit_change by the place of the head", "logit - logit_clean"},
        {&a->logit_at, logit && s->full, OTIMES_F32, text, ablation, position, "logit_change_at",
         "what the ablation adds to the logit at each position", "logit - logit_clean"},
    };
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof rows / sizeof *rows; i++) {
        struct ablate_output *o = rows[i].output;
        const bool nats = strstr(rows[i].name, "loss") != NULL;
        o->array = (otimes_array){.name = rows[i].name,
                                  .type = rows[i].type,
                                  .axis = {rows[i].first, rows[i].second, rows[i].third},
                                  .long_name = rows[i].long_name,
                                  .units = nats ? "nat" : "1",
                                  .formula = rows[i].formula,
                                  .orientation = "every ablation by itself, of the same texts"};
        while (o->array.ndim < 3 && o->array.axis[o->array.ndim]) {
            o->array.ndim++;
        }
        if (rows[i].wanted) {
            rc = otimes_sink_declare(job->sink, &o->array, &o->id, err);
        }
    }
    return rc;
}

int otimes_ablate_declare(ablate_job *job, otimes_err *err)
{
    make_axes(job);
    int rc = write_attributes(job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_texts_write(&job->texts, job->model, job->sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_all_facts(job, err);
    }
    return rc == OTIMES_OK ? declare_results(job, err) : rc;
}

/* The array that a text's results end with. */
static const struct ablate_output *last_output(const ablate_job *job)
{
    return job->settings->target ? &job->arrays.logit_change : &job->arrays.loss_change;
}

bool otimes_ablate_is_done(const ablate_job *job, int64_t text)
{
    const int64_t start[OTIMES_MAX_DIMS] = {text}, count[OTIMES_MAX_DIMS] = {1, job->list.count};
    return otimes_sink_has(job->sink, last_output(job)->id, start, count);
}

int otimes_ablate_write_at(ablate_job *job, const struct ablate_output *output, int64_t text,
                           int64_t ablation, int64_t ablations, const float *change,
                           otimes_err *err)
{
    const ablate_group *g = &job->group;
    const int64_t start[OTIMES_MAX_DIMS] = {g->text[text], ablation};
    const int64_t count[OTIMES_MAX_DIMS] = {1, ablations, g->start[text + 1] - g->start[text]};
    return job->sink->ops->write(job->sink, output->id, start, count, change, err);
}

/* One measure of a text: clean value, values, changes; the changes overwrite `values`. */
static int write_text(ablate_job *job, int64_t text, const double *clean, double *values,
                      const struct ablate_output *of_clean, const struct ablate_output *of_values,
                      const struct ablate_output *of_heads, const struct ablate_output *of_change,
                      otimes_err *err)
{
    otimes_sink *sink = job->sink;
    int rc = otimes_sink_slab(sink, &of_clean->array, of_clean->id, text, 1, clean, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_slab(sink, &of_values->array, of_values->id, text, 1, values, err);
    }
    for (int64_t a = 0; a < job->list.count; a++) {
        values[a] -= *clean;
    }
    if (rc == OTIMES_OK && (job->settings->components & OTIMES_ABLATE_HEADS)) {
        /* Heads are the first family: the beginning of the row is their grid. */
        rc = otimes_sink_slab(sink, &of_heads->array, of_heads->id, text, 1, values, err);
    }
    return rc == OTIMES_OK
               ? otimes_sink_slab(sink, &of_change->array, of_change->id, text, 1, values, err)
               : rc;
}

int otimes_ablate_write_group(ablate_job *job, otimes_err *err)
{
    const ablate_arrays *a = &job->arrays;
    const ablate_group *g = &job->group;
    const int64_t count = job->list.count;
    int rc = OTIMES_OK;
    for (int64_t t = 0; rc == OTIMES_OK && t < g->texts; t++) {
        double *loss = job->loss + t * count, *logit = job->logit + t * count;
        if (job->settings->loss) {
            rc = write_text(job, g->text[t], job->loss_clean + t, loss, &a->loss_clean, &a->loss,
                            &a->head_loss, &a->loss_change, err);
        }
        if (rc == OTIMES_OK && job->settings->target) {
            rc = write_text(job, g->text[t], job->logit_clean + t, logit, &a->logit_clean,
                            &a->logit, &a->head_logit, &a->logit_change, err);
        }
    }
    return rc;
}
