/* SPDX-License-Identifier: MIT
 *
 * The arrays of `orders`.
 */
#include <math.h>
#include <stddef.h>

#include "analysis/orders_job.h"
#include "base/sink.h"
#include "model/model.h"

/* Which axis stands behind the texts, and with it whether an array is there. */
typedef enum extent { TEXT_ALONE, ORDER, LAYER, ORDER_POSITION } extent;

typedef struct about {
    const char *name, *long_name, *units, *formula;
    otimes_type type;
    extent along;
    size_t field;
    bool direct; /* the field is the value; otherwise a pointer to the values */
} about;

#define FIELD(name) offsetof(orders_results, name)

/* The last one says that a text is there. */
static const about list[ORDERS_OUTPUTS] = {
    {"token_loss", "loss of the next token, of paths through at most so many heads", "nat",
     "-log softmax(LN_f(sum of streams 0 .. order) W_U + b_U)[next]", OTIMES_F32, ORDER_POSITION,
     FIELD(token), false},
    {"loss", "mean loss of paths through at most so many heads", "nat", "mean of token_loss",
     OTIMES_F64, ORDER, FIELD(loss), false},
    {"gain", "what the order takes off the loss", "nat",
     "loss[order - 1] - loss[order]; of order 0, log d_vocab_out - loss[0]", OTIMES_F64, ORDER,
     FIELD(gain), false},
    {"loss_only", "mean loss of paths through no head, or one head of the layer", "nat",
     "as loss, of the layers {} and {layer}", OTIMES_F64, LAYER, FIELD(only), false},
    {"loss_without", "mean loss of paths through no head of the layer", "nat",
     "as loss, of all sets of other layers", OTIMES_F64, LAYER, FIELD(without), false},
    {"marginal", "what the layer's heads alone take off the loss of order 0", "nat",
     "loss[0] - loss_only", OTIMES_F64, LAYER, FIELD(marginal), false},
    {"conditional", "what the loss rises by without the layer's heads", "nat",
     "loss_without - loss[n_layers]", OTIMES_F64, LAYER, FIELD(conditional), false},
    {"predicted_tokens", "how many tokens the means are over", "1", "max(length - 1 - first, 0)",
     OTIMES_I64, TEXT_ALONE, FIELD(predicted), true},
    {"model_loss", "mean loss of the model itself", "nat", "mean of -log p(next)", OTIMES_F64,
     TEXT_ALONE, FIELD(model), true},
};

static const char *const orientations[] = {
    [TEXT_ALONE] = "one entry a text",
    [ORDER] = "row = text, column = order",
    [LAYER] = "row = text, column = layer",
    [ORDER_POSITION] = "row = order, column = position of the token that is read"};

static bool is_asked(const orders_job *job, extent along)
{
    return along == LAYER ? job->shares : along == ORDER_POSITION ? job->settings->full : true;
}

static int declare_arrays(orders_writer *w, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < ORDERS_OUTPUTS; i++) {
        const about *a = &list[i];
        if (!is_asked(w->job, a->along)) {
            continue;
        }
        orders_output *o = &w->outputs[w->count++];
        const otimes_axis *second = a->along == LAYER ? &w->layer : &w->order;
        *o = (orders_output){
            .array = {.name = a->name,
                      .type = a->type,
                      .ndim = a->along == TEXT_ALONE       ? 1
                              : a->along == ORDER_POSITION ? 3
                                                           : 2,
                      .axis = {&w->job->texts.text, second, &w->job->texts.position},
                      .long_name = a->long_name,
                      .units = a->units,
                      .formula = a->formula,
                      .orientation = orientations[a->along]},
            .about = i,
        };
        rc = otimes_sink_declare(w->job->sink, &o->array, &o->id, err);
    }
    return rc;
}

static const char *mlps_of(const orders_job *job)
{
    bool experts = false;
    for (int64_t l = 0; l < job->info->n_layers; l++) {
        experts = experts || otimes_layer_has_experts(job->model, l);
    }
    return job->info->mlp == OTIMES_MLP_NONE ? "none"
           : !job->settings->mlp_links       ? "sources"
           : experts                         ? "links, gates frozen; layers of experts sources"
                                             : "links, gates frozen";
}

static int write_facts(orders_job *job, otimes_err *err)
{
    const otimes_orders_settings *s = job->settings;
    otimes_sink *sink = job->sink;
    int rc = otimes_model_attributes(job->model, sink, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(sink, "mlps", mlps_of(job), err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(sink, "final_norm", s->recompute_norm ? "recomputed" : "frozen", err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(sink, "first_position", s->first, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_f64(sink, "uniform_loss", log((double)job->info->d_vocab_out), err);
    }
    return rc == OTIMES_OK ? otimes_texts_write(&job->texts, job->model, sink, err) : rc;
}

int otimes_orders_declare(orders_writer *writer, orders_job *job, otimes_err *err)
{
    const int64_t layers = job->info->n_layers;
    writer->job = job;
    writer->order = (otimes_axis){"order", layers + 1, NULL, NULL, "heads that paths go through"};
    writer->layer = (otimes_axis){"layer", layers, NULL, NULL, "layer of heads"};
    const int rc = write_facts(job, err);
    return rc == OTIMES_OK ? declare_arrays(writer, err) : rc;
}

bool otimes_orders_is_done(const orders_writer *writer, int64_t text)
{
    const int64_t start[OTIMES_MAX_DIMS] = {text}, count[OTIMES_MAX_DIMS] = {1};
    return otimes_sink_has(writer->job->sink, writer->outputs[writer->count - 1].id, start, count);
}

int otimes_orders_write(const orders_writer *writer, int64_t text, otimes_err *err)
{
    const orders_job *job = writer->job;
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < writer->count; i++) {
        const orders_output *o = &writer->outputs[i];
        const void *field = (const char *)&job->results + list[o->about].field;
        const void *values = list[o->about].direct ? field : *(const void *const *)field;
        rc = otimes_sink_slab(job->sink, &o->array, o->id, text, 1, values, err);
    }
    return rc;
}
