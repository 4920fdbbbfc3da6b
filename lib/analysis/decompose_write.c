/* SPDX-License-Identifier: MIT
 *
 * The arrays of `decompose` and the blocks they are written in.
 */
#include "analysis/decompose_job.h"

#include <stddef.h>
#include <string.h>

#include "base/sink.h"

typedef enum axis {
    NO_AXIS,
    COMPONENT,
    TARGET,
    POINT,
    LAYER,
    HEAD,
    KEY,
    NEURON,
    NEURON_RANK,
    AXIS_COUNT
} axis;

/* When an array is there. */
typedef enum when { ALWAYS, NORMS, LENS, SOURCES, NEURONS, FULL } when;

/* An array [text, position, ...]. The last of the table is the last that is written of a text. */
typedef struct row {
    const char *name;
    otimes_type type;
    when when;
    axis axis[4];
    size_t data; /* the batch's member */
    const char *long_name, *formula, *orientation;
} row;

#define DATA(member) offsetof(decompose_batch, member)
#define AT "entry = at this text and position"

static const row rows[] = {
    {"residual_norm",
     OTIMES_F32,
     ALWAYS,
     {NO_AXIS},
     DATA(residual_norm),
     "norm of the residual stream at the point",
     "|x|",
     AT},
    {"norm_scale",
     OTIMES_F32,
     ALWAYS,
     {NO_AXIS},
     DATA(scale),
     "divisor of the final norm at the point, frozen for the attributions",
     "sqrt(var(x) + eps), under RMSNorm sqrt(mean(x^2) + eps), without a norm 1",
     AT},
    {"target_id",
     OTIMES_I64,
     ALWAYS,
     {TARGET},
     DATA(target_id),
     "output token of each target",
     "as given, the token that follows, or the one with the largest logit",
     AT},
    {"against_id",
     OTIMES_I64,
     ALWAYS,
     {TARGET},
     DATA(against_id),
     "output token whose logit is subtracted; -1: none",
     "as given",
     AT},
    {"component_norm",
     OTIMES_F32,
     NORMS,
     {COMPONENT},
     DATA(norm),
     "norm of what each component wrote to the stream",
     "|c|; w_post c / s_post behind a post-norm",
     AT},
    {"component_cosine",
     OTIMES_F32,
     NORMS,
     {COMPONENT},
     DATA(cosine),
     "cosine of each component with the stream",
     "c . x / (|c| |x|)",
     AT},
    {"logit_lens",
     OTIMES_F32,
     ALWAYS,
     {TARGET, POINT},
     DATA(lens),
     "logit (difference) of each target read off the stream at each point",
     "LN_f(x) (W_U[:, target] - W_U[:, against]) + b, statistics of the point, before a soft cap",
     AT},
    {"lens_rank",
     OTIMES_I64,
     LENS,
     {TARGET, POINT},
     DATA(rank),
     "how many logits are larger than the target's at each point",
     "#{v: logit[v] > logit[target]}",
     AT},
    {"lens_log_prob",
     OTIMES_F32,
     LENS,
     {TARGET, POINT},
     DATA(log_prob),
     "log-probability of the target at each point",
     "log_softmax(logits of the point)[target]",
     AT},
    {"source_attribution",
     OTIMES_F32,
     SOURCES,
     {TARGET, LAYER, HEAD, KEY},
     DATA(source),
     "what each head moved from each position, by what it is worth to the target",
     "A[q, k] (v_k W_O[h]) . p / s",
     "entry = from the key to this text's position"},
    {"neuron_value",
     OTIMES_F32,
     NEURONS,
     {TARGET, NEURON_RANK},
     DATA(neuron_value),
     "neurons worth most to the target, for it or against",
     "a_n (W_out[n] . p) / s",
     "descending by size"},
    {"neuron_layer",
     OTIMES_I32,
     NEURONS,
     {TARGET, NEURON_RANK},
     DATA(neuron_layer),
     "their layers",
     "L of L{l}N{n}",
     "as neuron_value"},
    {"neuron_index",
     OTIMES_I32,
     NEURONS,
     {TARGET, NEURON_RANK},
     DATA(neuron_index),
     "their places in the layer",
     "N of L{l}N{n}; experts counted through, the shared one last",
     "as neuron_value"},
    {"neuron_sum",
     OTIMES_F32,
     NEURONS,
     {TARGET, LAYER},
     DATA(neuron_sum),
     "what all neurons of each layer are worth",
     "sum_n a_n (W_out[n] . p) / s",
     AT},
    {"neuron_rest",
     OTIMES_F32,
     NEURONS,
     {TARGET, LAYER},
     DATA(neuron_rest),
     "what is left of each MLP: its output bias",
     "b_out . p / s",
     AT},
    {"neuron_attribution",
     OTIMES_F32,
     FULL,
     {TARGET, LAYER, NEURON},
     DATA(neuron),
     "what each neuron is worth to the target",
     "a_n (W_out[n] . p) / s",
     AT},
    {"target_value",
     OTIMES_F32,
     ALWAYS,
     {TARGET},
     DATA(value),
     "logit (difference) of each target at the point, before a soft cap",
     "LN_f(x) (W_U[:, target] - W_U[:, against]) + b",
     AT},
    {"attribution_residue",
     OTIMES_F32,
     ALWAYS,
     {TARGET},
     DATA(residue),
     "what the attributions leave of it by rounding",
     "target_value - sum_c attribution",
     AT},
    {"attribution",
     OTIMES_F32,
     ALWAYS,
     {TARGET, COMPONENT},
     DATA(attribution),
     "direct logit attribution: what each component adds to the logit (difference)",
     "c . p / s, p = w (W_U[:, target] - W_U[:, against]), under LayerNorm minus its mean; the "
     "bias is b_U and the final norm's",
     "entries of a position sum to target_value"},
};
enum { ROWS = sizeof rows / sizeof *rows };

struct decompose_writer {
    otimes_sink *sink;
    const decompose_job *job;
    otimes_axis axis[AXIS_COUNT];
    otimes_array array[ROWS];
    int id[ROWS];
    bool there[ROWS];
};

static bool is_wanted(const decompose_job *job, when condition)
{
    const otimes_decompose_settings *s = job->settings;
    switch (condition) {
    case ALWAYS:
        return true;
    case NORMS:
        return s->norms;
    case LENS:
        return s->lens;
    case SOURCES:
        return s->sources;
    case NEURONS:
        return job->by_neurons;
    case FULL:
        return job->by_neurons && s->full;
    }
    return false; /* unreached: all cases return */
}

static void set_axes(decompose_writer *w)
{
    const decompose_job *job = w->job;
    w->axis[COMPONENT] = (otimes_axis){"component", job->component_count, job->component, NULL,
                                       "what the stream is a sum of, and the output bias"};
    w->axis[TARGET] = (otimes_axis){"target", job->target_count, job->target, NULL,
                                    "tokens or differences of tokens"};
    w->axis[POINT] = (otimes_axis){"point", job->point_count, job->point, NULL,
                                   "points of the stream, the last is what is decomposed"};
    w->axis[LAYER] = (otimes_axis){"layer", job->run_layers, NULL, NULL, "layer"};
    w->axis[HEAD] = (otimes_axis){"head", job->info->n_heads, NULL, NULL, "query head"};
    w->axis[KEY] = (otimes_axis){"key", job->texts.longest, NULL, NULL, "position that is read"};
    w->axis[NEURON] = (otimes_axis){"neuron", job->neuron_count, NULL, NULL, "neuron of a layer"};
    w->axis[NEURON_RANK] = (otimes_axis){"neuron_rank", job->settings->top, NULL, NULL,
                                         "place in the ordering by size"};
}

static int declare(decompose_writer *w, int i, otimes_err *err)
{
    const row *r = &rows[i];
    otimes_array *array = &w->array[i];
    *array = (otimes_array){.name = r->name,
                            .type = r->type,
                            .ndim = 2,
                            .axis = {&w->job->texts.text, &w->job->texts.position},
                            .long_name = r->long_name,
                            .units = "1",
                            .formula = r->formula,
                            .orientation = r->orientation};
    for (int a = 0; a < 4 && r->axis[a] != NO_AXIS; a++) {
        array->axis[array->ndim++] = &w->axis[r->axis[a]];
    }
    /* A few positions of many: what is not written takes no room. */
    for (int a = 0; w->job->settings->positions && a < array->ndim; a++) {
        array->chunk[a] = a < 2 ? 1 : array->axis[a]->length;
    }
    w->there[i] = true;
    return otimes_sink_declare(w->sink, array, &w->id[i], err);
}

static int write_attributes(const decompose_writer *w, otimes_err *err)
{
    static const char *const parts[] = {"layers", "heads", "neurons", "all"};
    const decompose_job *job = w->job;
    const otimes_decompose_settings *s = job->settings;
    int rc = otimes_sink_text(w->sink, "components", parts[s->parts], err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(w->sink, "point", job->point[job->point_count - 1], err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(w->sink, "targets",
                              s->target        ? "given"
                              : s->text_target ? "each text's own"
                              : s->predicted   ? "the token with the largest logit at the point"
                                               : "the token that follows",
                              err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(
            w->sink, "component_write",
            job->info->post_norm ? "w_post c / s_post, s_post frozen" : "as it is", err);
    }
    return rc == OTIMES_OK
               ? otimes_sink_f64(w->sink, "final_softcap", job->info->final_softcap, err)
               : rc;
}

int otimes_decompose_declare(decompose_writer **writer, decompose_job *job, otimes_sink *sink,
                             otimes_err *err)
{
    int rc = OTIMES_NEW(writer, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    decompose_writer *w = *writer;
    w->sink = sink;
    w->job = job;
    set_axes(w);
    rc = write_attributes(w, err);
    for (int i = 0; rc == OTIMES_OK && i < ROWS; i++) {
        if (is_wanted(job, rows[i].when)) {
            rc = declare(w, i, err);
        }
    }
    return rc;
}

bool otimes_decompose_is_done(const decompose_writer *w, int64_t text, const bool *chosen,
                              int64_t length)
{
    const int last = ROWS - 1;
    int64_t end = length, first;
    while (end > 0 && !chosen[end - 1]) {
        end--;
    }
    for (first = end; first > 0 && chosen[first - 1]; first--) {
    }
    const int64_t start[OTIMES_MAX_DIMS] = {text, first};
    const int64_t count[OTIMES_MAX_DIMS] = {1, end - first, w->array[last].axis[2]->length,
                                            w->array[last].axis[3]->length};
    return otimes_sink_has(w->sink, w->id[last], start, count);
}

/* Chosen rows first .. first+count-1, neighbours in one text of `length` tokens. */
static int write_run(const decompose_writer *w, const decompose_batch *batch, int64_t text,
                     int64_t position, int64_t length, int64_t first, int64_t count,
                     otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < ROWS; i++) {
        int64_t start[OTIMES_MAX_DIMS] = {text, position}, extent[OTIMES_MAX_DIMS] = {1, count};
        int64_t each = 1;
        const char *data;
        memcpy(&data, (const char *)batch + rows[i].data, sizeof data);
        for (int a = 2; a < w->array[i].ndim; a++) {
            extent[a] = rows[i].axis[a - 2] == KEY ? length : w->array[i].axis[a]->length;
            each *= extent[a];
        }
        const int64_t at =
            rows[i].when == SOURCES && batch->source_at ? batch->source_at[first] : first * each;
        if (w->there[i] && each > 0) {
            rc = w->sink->ops->write(w->sink, w->id[i], start, extent,
                                     data + at * (int64_t)otimes_type_size(rows[i].type), err);
        }
    }
    return rc;
}

int otimes_decompose_write(const decompose_writer *w, const decompose_batch *batch,
                           const bool *done, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t s = 0; rc == OTIMES_OK && s < batch->sequences.count; s++) {
        const int64_t start = batch->rows.start[s], end = batch->rows.start[s + 1];
        int64_t i = batch->before[start];
        const int64_t text = batch->first_text + s;
        while (rc == OTIMES_OK && !done[text] && i < batch->before[end]) {
            int64_t count = 1;
            while (i + count < batch->before[end] &&
                   batch->chosen[i + count] == batch->chosen[i] + count) {
                count++;
            }
            rc = write_run(w, batch, text, batch->chosen[i] - start, end - start, i, count, err);
            i += count;
        }
    }
    return rc;
}

void otimes_decompose_writer_free(decompose_writer **writer)
{
    if (*writer) {
        otimes_free(*writer);
        *writer = NULL;
    }
}
