/* SPDX-License-Identifier: MIT
 *
 * The arrays of `paths` and the blocks they are written in: a case at a time.
 */
#include "analysis/paths_job.h"

#include <stddef.h>
#include <string.h>

#include "base/sink.h"
#include "model/model.h"

typedef enum axis {
    NO_AXIS,
    CASE,
    PATH,
    EDGE,
    ORDER,
    LAYER_SET,
    LINK,
    CARRIER,
    LAYER,
    HEAD,
    VIA,
    LATER,
    EARLIER,
    SOURCE,
    POSITION,
    AXIS_COUNT
} axis;

/* When an array is there. */
typedef enum when { ALWAYS, LOSS, TOKENS, CARRIERS, FLOWS, LINKED_MLPS } when;

/* Where its numbers lie in a case: in it, behind a pointer, or behind one pointer for each `via`. */
typedef enum place { IN_CASE, BEHIND, BY_VIA } place;

/* An array whose first axis counts through the cases. */
typedef struct row {
    const char *name;
    otimes_type type;
    when when;
    place place;
    axis axis[4];
    size_t data; /* the case's member */
    const char *units, *long_name, *formula, *orientation;
} row;

#define IN(member) IN_CASE, {CASE}, offsetof(paths_case, member)
#define AT(member) offsetof(paths_case, member)
#define NUMBER "1"

static const row rows[] = {
    {"case_text", OTIMES_I64, ALWAYS, IN(text), NUMBER, "text of each case", "as given",
     "one entry a case"},
    {"case_position", OTIMES_I64, ALWAYS, IN(at), NUMBER, "position at which its target is read",
     "counted from the text's first token", "one entry a case"},
    {"target_id", OTIMES_I64, ALWAYS, IN(target_id), NUMBER, "output token of each case",
     "as given, the one with the largest logit, or the one that follows", "one entry a case"},
    {"against_id", OTIMES_I64, ALWAYS, IN(against_id), NUMBER,
     "output token whose logit is subtracted; -1: none", "as given", "one entry a case"},
    {"model_value", OTIMES_F64, ALWAYS, IN(model_value), NUMBER,
     "what the model itself says: logit, difference of logits, or loss",
     "logit (soft-capped if the model does that), or logsumexp - logit", "one entry a case"},
    {"frozen_value", OTIMES_F64, ALWAYS, IN(frozen_value), NUMBER,
     "what is taken apart: the same by patterns, norm scales and gates of the pass, before a cap",
     "<u, x> + b; of the loss sum_j p_j logit_j - logit_target, p frozen", "one entry a case"},
    {"entropy", OTIMES_F64, LOSS, IN(entropy), "nat",
     "entropy of the model's output there; loss = frozen_value + entropy without a soft cap",
     "-sum_j p_j log p_j", "one entry a case"},
    {"order_total",
     OTIMES_F64,
     ALWAYS,
     BEHIND,
     {CASE, ORDER},
     AT(order_total),
     NUMBER,
     "sum of all paths through exactly so many heads",
     "sum over chains of n heads of (A[hn]..A[h1] ⊗ u OV[hn]..OV[h1]) sources",
     "row = case, column = heads of a path"},
    {"order_residue", OTIMES_F64, ALWAYS, IN(order_residue), NUMBER,
     "what the orders leave: rounding, and paths through layers that were left out",
     "frozen_value - sum_n order_total", "one entry a case"},
    {"set_total",
     OTIMES_F64,
     ALWAYS,
     BEHIND,
     {CASE, LAYER_SET},
     AT(set_total),
     NUMBER,
     "sum of all paths through one head of each layer of a set and no other",
     "the same, chains with one head in each of these layers",
     "row = case, column = set"},
    {"path_count", OTIMES_F64, ALWAYS, IN(path_count), NUMBER, "paths that are listed",
     "rows of `path` of this case that are defined", "one entry a case"},
    {"path_total", OTIMES_F64, ALWAYS, IN(path_total), NUMBER, "paths that there are",
     "counted, with those of the target's bias", "one entry a case"},
    {"path_bound", OTIMES_F64, ALWAYS, IN(path_bound), NUMBER,
     "no path that is not listed is larger in modulus",
     "largest bound of what the search left, or smallest listed value", "one entry a case"},
    {"path_complete", OTIMES_I32, ALWAYS, IN(path_complete), NUMBER,
     "1: the listed paths are the largest there are", "path_bound <= smallest listed modulus",
     "one entry a case"},
    {"path_expanded", OTIMES_F64, ALWAYS, IN(path_expanded), NUMBER,
     "chains of heads whose continuations were all looked at", "counted", "one entry a case"},
    {"path_listed", OTIMES_F64, ALWAYS, IN(path_listed), NUMBER, "what listed paths come to",
     "sum of path_value", "one entry a case"},
    {"certificate", OTIMES_TEXT, ALWAYS, IN(certificate), NUMBER, "what the list is worth",
     "path_complete, path_bound, path_expanded and path_total in words", "one entry a case"},
    {"path_case",
     OTIMES_I64,
     ALWAYS,
     BEHIND,
     {PATH},
     AT(path_case),
     NUMBER,
     "case of each path",
     "index into `case`",
     "by falling modulus within a case"},
    {"path_order",
     OTIMES_I32,
     ALWAYS,
     BEHIND,
     {PATH},
     AT(path_order),
     NUMBER,
     "heads that a path goes through",
     "n",
     "as path_value"},
    {"path_source",
     OTIMES_I32,
     ALWAYS,
     BEHIND,
     {PATH},
     AT(path_source),
     NUMBER,
     "where a path begins; -1: the target's own bias",
     "index into `source`",
     "as path_value"},
    {"path_layer",
     OTIMES_I32,
     ALWAYS,
     BEHIND,
     {PATH, LINK},
     AT(path_layer),
     NUMBER,
     "layers of a path's links; -1 beyond its end",
     "L of L{l}H{h}, from the source on",
     "row = path, column = link"},
    {"path_head",
     OTIMES_I32,
     ALWAYS,
     BEHIND,
     {PATH, LINK},
     AT(path_head),
     NUMBER,
     "their heads; -1 of an MLP and beyond the end",
     "H of L{l}H{h}",
     "row = path, column = link"},
    {"path_value",
     OTIMES_F64,
     ALWAYS,
     BEHIND,
     {PATH},
     AT(path_value),
     NUMBER,
     "what a path is worth to the target",
     "(A[hn]..A[h1] ⊗ u OV[hn]..OV[h1]) source",
     "by falling modulus within a case"},
    {"path_share",
     OTIMES_F64,
     ALWAYS,
     BEHIND,
     {PATH},
     AT(path_share),
     NUMBER,
     "its share of the whole",
     "path_value / frozen_value",
     "as path_value"},
    {"path_running",
     OTIMES_F64,
     ALWAYS,
     BEHIND,
     {PATH},
     AT(path_running),
     NUMBER,
     "running total of the case",
     "sum of path_value up to this path",
     "as path_value"},
    {"path_running_share",
     OTIMES_F64,
     ALWAYS,
     BEHIND,
     {PATH},
     AT(running_share),
     NUMBER,
     "running share of the whole",
     "path_running / frozen_value",
     "as path_value"},
    {"path_left",
     OTIMES_F64,
     ALWAYS,
     BEHIND,
     {PATH},
     AT(path_left),
     NUMBER,
     "what all other paths come to",
     "frozen_value - path_running",
     "as path_value"},
    {"path_label",
     OTIMES_TEXT,
     ALWAYS,
     BEHIND,
     {PATH},
     AT(path_label),
     NUMBER,
     "a path from its source on",
     "source → head → ...",
     "as path_value"},
    {"path_formula",
     OTIMES_TEXT,
     ALWAYS,
     BEHIND,
     {PATH},
     AT(formula),
     NUMBER,
     "a path as an operator",
     "positions ⊗ features; A[l.h] and OV[l.h] of head h of layer l",
     "as path_value"},
    {"carrier_position",
     OTIMES_I32,
     CARRIERS,
     BEHIND,
     {PATH, CARRIER},
     AT(carrier_position),
     NUMBER,
     "source positions that carry most of a path",
     "argsort of |carried|",
     "row = path, by falling modulus"},
    {"carrier_value",
     OTIMES_F64,
     CARRIERS,
     BEHIND,
     {PATH, CARRIER},
     AT(carrier_value),
     NUMBER,
     "what it brings from there",
     "e_q^T A[hn]..A[h1][:, t] u OV[hn]..OV[h1] source[t]",
     "row = path, by falling modulus"},
    {"carrier_token",
     OTIMES_TEXT,
     TOKENS,
     BEHIND,
     {PATH, CARRIER},
     AT(carrier_token),
     NUMBER,
     "the token there",
     "token at carrier_position",
     "row = path, by falling modulus"},
    {"head_flow",
     OTIMES_F64,
     FLOWS,
     BEHIND,
     {CASE, LAYER, HEAD},
     AT(flows.head),
     NUMBER,
     "what flows to the target through each head",
     "<g, out_h>: sum of all paths through it",
     "entry = head of a layer"},
    {"head_direct",
     OTIMES_F64,
     FLOWS,
     BEHIND,
     {CASE, LAYER, HEAD},
     AT(flows.head_direct),
     NUMBER,
     "of that, what goes from the head straight to the target",
     "<u, out_h>: direct attribution",
     "entry = head of a layer"},
    {"mlp_flow",
     OTIMES_F64,
     LINKED_MLPS,
     BEHIND,
     {CASE, LAYER},
     AT(flows.mlp),
     NUMBER,
     "what flows to the target through each MLP that is a link",
     "<g, out>",
     "row = case, column = layer"},
    {"head_edge",
     OTIMES_F64,
     FLOWS,
     BY_VIA,
     {CASE, VIA, LATER, EARLIER},
     AT(flows.edge),
     NUMBER,
     "what flows from an earlier head to a later one",
     "v: <out_earlier, r_later>, all paths over it; q, k: <out_earlier, gradient through the later "
     "head's pattern>, the linear term",
     "row = later head, column = earlier head; NaN where it does not precede"},
    {"mlp_direct",
     OTIMES_F64,
     LINKED_MLPS,
     BEHIND,
     {CASE, LAYER},
     AT(flows.mlp_direct),
     NUMBER,
     "of that, what goes from the MLP straight to the target",
     "<u, out>",
     "row = case, column = layer"},
    {"mlp_edge",
     OTIMES_F64,
     LINKED_MLPS,
     BY_VIA,
     {CASE, VIA, LATER, LAYER},
     AT(flows.mlp_edge),
     NUMBER,
     "what flows from an MLP that is a link to a head",
     "as head_edge",
     "row = head, column = layer of the MLP; NaN where it does not precede"},
    {"source_flow",
     OTIMES_F64,
     FLOWS,
     BEHIND,
     {CASE, SOURCE, POSITION},
     AT(flows.source),
     NUMBER,
     "what flows to the target from each source at each position",
     "<g[t], source[t]>; their sum and the target's bias are frozen_value",
     "row = source, column = position"},
    {"source_direct",
     OTIMES_F64,
     FLOWS,
     BEHIND,
     {CASE, SOURCE},
     AT(flows.source_direct),
     NUMBER,
     "of that, what goes from the source straight to the target",
     "<u, source[q]>",
     "row = case, column = source"},
    {"source_edge",
     OTIMES_F64,
     FLOWS,
     BY_VIA,
     {CASE, VIA, LATER, SOURCE},
     AT(flows.source_edge),
     NUMBER,
     "what flows from a source to a head",
     "as head_edge",
     "row = head, column = source; NaN where it is not there yet"},
    {"edge_case",
     OTIMES_I64,
     FLOWS,
     BEHIND,
     {EDGE},
     AT(edge_case),
     NUMBER,
     "case of each edge",
     "index into `case`",
     "by falling modulus within a case"},
    {"edge_from",
     OTIMES_TEXT,
     FLOWS,
     BEHIND,
     {EDGE},
     AT(edge_from),
     NUMBER,
     "where an edge begins",
     "label of a head or a source",
     "as edge_value"},
    {"edge_to",
     OTIMES_TEXT,
     FLOWS,
     BEHIND,
     {EDGE},
     AT(edge_to),
     NUMBER,
     "where it ends",
     "label of a head, or target",
     "as edge_value"},
    {"edge_via",
     OTIMES_TEXT,
     FLOWS,
     BEHIND,
     {EDGE},
     AT(edge_via),
     NUMBER,
     "how it goes into a head; out: straight to the target",
     "q, k, v or out",
     "as edge_value"},
    {"edge_value",
     OTIMES_F64,
     FLOWS,
     BEHIND,
     {EDGE},
     AT(edge_value),
     NUMBER,
     "the largest of all edges and of what goes straight to the target",
     "as head_edge, head_direct and their kin",
     "by falling modulus within a case"},
};
enum { ROWS = sizeof rows / sizeof *rows };

struct paths_writer {
    const paths_job *job;
    otimes_axis axis[AXIS_COUNT];
    otimes_array array[ROWS], case_count;
    int id[ROWS], count_id;
    bool there[ROWS];
};

static bool is_wanted(const paths_job *job, when condition)
{
    switch (condition) {
    case ALWAYS:
        return true;
    case LOSS:
        return job->settings->loss;
    case CARRIERS:
        return job->carriers > 0;
    case TOKENS:
        return job->carriers > 0 && otimes_model_token(job->model, 0);
    case FLOWS:
        return job->settings->flows;
    case LINKED_MLPS:
        return job->settings->flows && job->settings->mlp;
    }
    return false; /* unreached: all cases return */
}

static void set_axes(paths_writer *w)
{
    static const char *const via[] = {"q", "k", "v"};
    const paths_job *job = w->job;
    const int64_t layers = job->info->n_layers, each = job->info->n_heads;
    const char *const *heads = (const char *const *)job->part_label;
    const char *const *sources = (const char *const *)job->source_label;
    otimes_axis *a = w->axis;
    a[CASE] = (otimes_axis){.name = "case", job->cases, .long_name = "positions of texts"};
    a[PATH] = (otimes_axis){
        .name = "path", job->cases * job->rows, .long_name = "paths of all cases, case by case"};
    a[EDGE] = (otimes_axis){
        .name = "edge", job->cases * job->edges, .long_name = "largest edges of all cases"};
    a[ORDER] = (otimes_axis){
        .name = "order", job->allowed_count + 1, .long_name = "heads that a path goes through"};
    a[LAYER_SET] = (otimes_axis){"layer_set", job->sets, job->set_label, NULL,
                                 "layers that a path goes through, {} none"};
    a[LINK] = (otimes_axis){.name = "link",
                            job->links,
                            .long_name = "place among the links of a path, from its source"};
    a[CARRIER] = (otimes_axis){
        .name = "carrier", job->carriers, .long_name = "place in the ordering by size"};
    a[LAYER] = (otimes_axis){.name = "layer", layers, .long_name = "layer"};
    a[HEAD] = (otimes_axis){.name = "head", each, .long_name = "query head"};
    a[VIA] = (otimes_axis){"via", 3, via, NULL, "queries, keys or values of the later head"};
    a[LATER] = (otimes_axis){"later_head", layers * each, heads, NULL, "head that reads"};
    a[EARLIER] = (otimes_axis){"earlier_head", layers * each, heads, NULL, "head that is read"};
    a[SOURCE] = (otimes_axis){"source", job->source_count, sources, NULL, "where paths begin"};
    a[POSITION] = job->texts.position;
}

static int declare(paths_writer *w, int i, otimes_err *err)
{
    const row *r = &rows[i];
    otimes_array *array = &w->array[i];
    *array = (otimes_array){.name = r->name,
                            .type = r->type,
                            .long_name = r->long_name,
                            .units = r->units,
                            .formula = r->formula,
                            .orientation = r->orientation,
                            .labels_of = r->data == AT(path_source) ? "source"
                                         : r->data == AT(target_id) || r->data == AT(against_id)
                                             ? "output_token"
                                             : NULL};
    for (int a = 0; a < 4 && r->axis[a] != NO_AXIS; a++) {
        array->axis[array->ndim++] =
            r->axis[a] == POSITION ? &w->job->texts.position : &w->axis[r->axis[a]];
    }
    w->there[i] = true;
    return otimes_sink_declare(w->job->sink, array, &w->id[i], err);
}

static int declare_counts(paths_writer *w, otimes_err *err)
{
    w->case_count = (otimes_array){.name = "case_count",
                                   .type = OTIMES_I64,
                                   .ndim = 1,
                                   .axis = {&w->job->texts.text},
                                   .long_name = "cases of each text",
                                   .units = "1",
                                   .formula = "positions that were asked for",
                                   .orientation = "one entry a text"};
    return otimes_sink_declare(w->job->sink, &w->case_count, &w->count_id, err);
}

static int write_attributes(const paths_job *job, otimes_err *err)
{
    static const char *const whose[] = {"the token with the largest logit",
                                        "the token that follows", "given"};
    const otimes_paths_settings *s = job->settings;
    otimes_text layers = {0};
    int rc = otimes_text_add(&layers, err, "%s", job->allowed ? "" : "all");
    for (int64_t l = 0; rc == OTIMES_OK && job->allowed && l < job->info->n_layers; l++) {
        if (job->allowed[l]) {
            rc = otimes_text_add(&layers, err, "%s%lld", layers.length ? "," : "", (long long)l);
        }
    }
    const struct {
        const char *name, *text;
    } facts[] = {{"value", s->loss           ? "linear term of the loss"
                           : s->against >= 0 ? "difference of logits"
                                             : "logit"},
                 {"targets", whose[s->whose]},
                 {"mlps", s->mlp ? "links, gates frozen" : "sources"},
                 {"link_layers", layers.data}};
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof facts / sizeof *facts; i++) {
        rc = otimes_sink_text(job->sink, facts[i].name, facts[i].text, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(job->sink, "listed_order", s->order, err);
    }
    otimes_text_free(&layers);
    return rc == OTIMES_OK
               ? otimes_sink_f64(job->sink, "final_softcap", job->info->final_softcap, err)
               : rc;
}

int otimes_paths_declare(paths_writer **writer, paths_job *job, otimes_err *err)
{
    int rc = OTIMES_NEW(writer, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    paths_writer *w = *writer;
    w->job = job;
    set_axes(w);
    rc = write_attributes(job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_axis(job->sink, &w->axis[SOURCE], err);
    }
    for (int i = 0; rc == OTIMES_OK && i < ROWS; i++) {
        if (is_wanted(job, rows[i].when)) {
            rc = declare(w, i, err);
        }
    }
    return rc == OTIMES_OK ? declare_counts(w, err) : rc;
}

/* One array's block of a case, for one `via` where there are several. */
static int write_block(const paths_writer *w, int i, const paths_case *c, int64_t length, int via,
                       otimes_err *err)
{
    const row *r = &rows[i];
    const axis first = r->axis[0];
    const int64_t rows_of = first == PATH ? w->job->rows : first == EDGE ? w->job->edges : 1;
    int64_t start[OTIMES_MAX_DIMS] = {c->index * rows_of}, count[OTIMES_MAX_DIMS] = {rows_of};
    int64_t entries = rows_of;
    const char *data = (const char *)c + r->data;
    for (int a = 1; a < w->array[i].ndim; a++) {
        count[a] = r->axis[a] == POSITION ? length
                   : r->axis[a] == VIA    ? 1
                                          : w->array[i].axis[a]->length;
        start[a] = r->axis[a] == VIA ? via : 0;
        entries *= count[a];
    }
    if (r->place != IN_CASE) {
        data = ((const char *const *)(const void *)data)[via];
    }
    return entries > 0 ? w->job->sink->ops->write(w->job->sink, w->id[i], start, count, data, err)
                       : OTIMES_OK;
}

int otimes_paths_write(const paths_writer *w, const paths_case *c, int64_t length, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < ROWS; i++) {
        const int vias = rows[i].place == BY_VIA ? 3 : 1;
        for (int via = 0; rc == OTIMES_OK && w->there[i] && via < vias; via++) {
            rc = write_block(w, i, c, length, via, err);
        }
    }
    return rc;
}

int otimes_paths_end_text(const paths_writer *w, int64_t text, otimes_err *err)
{
    const int64_t one = 1;
    return w->job->sink->ops->write(w->job->sink, w->count_id, &text, &one,
                                    &w->job->case_count[text], err);
}

bool otimes_paths_text_done(const paths_writer *w, int64_t text)
{
    const int64_t one = 1;
    return otimes_sink_has(w->job->sink, w->count_id, &text, &one);
}

void otimes_paths_writer_free(paths_writer **writer)
{
    if (*writer) {
        otimes_free(*writer);
        *writer = NULL;
    }
}
