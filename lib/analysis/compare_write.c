/* SPDX-License-Identifier: MIT
 *
 * The arrays of `compare`: declared once, filled model by model.
 */
#include <math.h>
#include <stdio.h>

#include "analysis/compare_job.h"
#include "base/sink.h"
#include "run/circuit.h"

static const char *const side_names[OTIMES_SIDES] = {"Q", "K", "V", "O"};
static const char *const circuit_names[COMPARE_CIRCUITS] = {"OV", "QK"};
static const char *const linkage_columns[] = {"left", "right", "height", "size"};

enum { MOST_ARRAYS = 96 };

/* When an array is filled, and along what. */
typedef enum phase { ONCE, EACH_OTHER, EACH_MODEL } phase;

typedef struct entry {
    otimes_array array;
    phase phase;
    int id;
    const void *data;
    char name[48], long_name[128];
} entry;

struct compare_writer {
    compare_job *job;
    otimes_axis model, other_model, layer, head, kv_head, other_layer, other_head, other_kv_head;
    otimes_axis later_layer, later_head, component, rank, side, circuit, node, merge, column, place;
    const char **labels, **node_labels;
    otimes_text node_names;
    const compare_model *first;
    double *norms[COMPARE_CIRCUITS]; /* [columns' layers, heads] of the other model at hand */
    int64_t *ranks[OTIMES_SIDES];
    entry *list; /* [count] */
    int64_t count;
    otimes_pool pool;
};

/* ---- axes ---- */

static int name_nodes(compare_writer *w, otimes_err *err)
{
    const compare_model *a = w->first;
    int rc = OTIMES_OK;
    w->node_labels = otimes_pool_new(&w->pool, a->nodes, sizeof *w->node_labels, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < a->nodes; i++) {
        rc = otimes_text_add(&w->node_names, err, "L%lldH%lld\n", (long long)a->layer[i / a->heads],
                             (long long)a->head[i % a->heads]);
    }
    char *at = w->node_names.data;
    for (int64_t i = 0; rc == OTIMES_OK && i < a->nodes; i++) {
        w->node_labels[i] = at;
        while (*at != '\n') {
            at++;
        }
        *at++ = '\0';
    }
    return rc;
}

static int name_models(compare_writer *w, otimes_err *err)
{
    const compare_job *job = w->job;
    int rc = OTIMES_OK;
    w->labels = otimes_pool_new(&w->pool, job->count, sizeof *w->labels, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->count; i++) {
        w->labels[i] = job->settings->labels ? job->settings->labels[i]
                                             : otimes_model_describe(job->models[i])->path;
    }
    return rc;
}

static int make_axes(compare_writer *w, otimes_err *err)
{
    const compare_job *job = w->job;
    const compare_pairs *p = &job->pairs;
    const compare_model *a = w->first;
    const otimes_compare_settings *s = job->settings;
    int rc = name_models(w, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    w->model = (otimes_axis){"model", job->count, w->labels, NULL, "models in the order given"};
    w->other_model = (otimes_axis){"other_model", job->others, w->labels + job->count - job->others,
                                   NULL, "model that the first is compared with"};
    w->layer = (otimes_axis){"layer", a->layers, NULL, a->layer, "layer of the first model"};
    w->head = (otimes_axis){"head", a->heads, NULL, a->head, "query head of the first model"};
    w->kv_head = (otimes_axis){"kv_head", a->kv_heads, NULL, a->kv_head,
                               "key and value head of the first model"};
    w->other_layer =
        (otimes_axis){"other_layer", p->layers, NULL, s->layers, "layer of the other model"};
    w->other_head =
        (otimes_axis){"other_head", p->heads, NULL, s->heads, "query head of the other model"};
    w->other_kv_head =
        (otimes_axis){"other_kv_head", p->kv_heads, NULL, s->heads ? a->kv_head : NULL,
                      "key and value head of the other model"};
    w->later_layer =
        (otimes_axis){"later_layer", a->layers, NULL, a->layer, "layer of the later head"};
    w->later_head = (otimes_axis){"later_head", a->heads, NULL, a->head, "later query head"};
    w->component =
        (otimes_axis){"component", p->components, NULL, NULL, "principal angle, smallest first"};
    w->rank = (otimes_axis){"rank", s->top, NULL, NULL, "place, the nearest first"};
    w->side = (otimes_axis){"side", OTIMES_SIDES, side_names, NULL, "what a head reads or writes"};
    w->circuit = (otimes_axis){"circuit", COMPARE_CIRCUITS, circuit_names, NULL, "circuit"};
    w->node = (otimes_axis){"node", a->nodes, w->node_labels, NULL, "heads layer by layer"};
    w->merge = (otimes_axis){"merge", a->nodes - 1, NULL, NULL, "merger of two clusters"};
    w->column = (otimes_axis){"linkage_column", 4, linkage_columns, NULL, "of scipy's linkage"};
    w->place = (otimes_axis){"place", a->nodes, NULL, NULL, "place in a plot, left to right"};
    return rc;
}

/* ---- what there is ---- */

/* One more array; NULL where there is nothing to show. Text that is put together is kept in it. */
static entry *add(compare_writer *w, phase when, otimes_type type, const void *data,
                  const char *name, const char *long_name, const char *formula)
{
    entry *e = &w->list[w->count];
    if (!data) {
        return NULL;
    }
    w->count++;
    *e = (entry){.phase = when, .data = data};
    snprintf(e->name, sizeof e->name, "%s", name);
    snprintf(e->long_name, sizeof e->long_name, "%s", long_name);
    e->array = (otimes_array){.type = type,
                              .units = "1",
                              .formula = formula,
                              .orientation = "head of the first model by head of the other"};
    if (when != ONCE) {
        e->array.axis[e->array.ndim++] = when == EACH_OTHER ? &w->other_model : &w->model;
    }
    return e;
}

static void along(entry *e, const otimes_axis *axis)
{
    if (e) {
        e->array.axis[e->array.ndim++] = axis;
    }
}

/* Heads of the first model, or of the other. */
static void along_heads(compare_writer *w, entry *e, bool other, bool shared)
{
    along(e, other ? &w->other_layer : &w->layer);
    along(e, other ? (shared ? &w->other_kv_head : &w->other_head)
                   : (shared ? &w->kv_head : &w->head));
}

static const struct {
    int first;
    const char *stem, *long_name, *formula;
} pair_list[] = {
    {PAIR_COSINE, "cosine", "Frobenius cosine of W_%s", "<W1, W2> / (|W1| |W2|)"},
    {PAIR_COSINE_Z, "cosine_z", "Frobenius cosine of W_%s in standard deviations of random maps",
     "cosine sqrt(D_left D_right)"},
    {PAIR_CKA, "cka", "linear CKA of W_%s as maps of isotropic inputs",
     "|W1^T W2|^2 / (|W1^T W1| |W2^T W2|)"},
    {PAIR_CKA_EXPECTED, "cka_expected", "linear CKA of W_%s expected of random input subspaces",
     "|W1|^2 |W2|^2 / (D_left |W1^T W1| |W2^T W2|)"},
    {PAIR_CKA_Z, "cka_z", "linear CKA of W_%s in standard deviations above the expected",
     "(cka - cka_expected) / deviation"},
    {PAIR_PROCRUSTES, "procrustes", "largest cosine of W_%s over rotations of what is written",
     "|W1^T W2|_* / (|W1| |W2|)"},
    {PAIR_DISTANCE, "procrustes_distance", "distance of W_%s, normalised, after the best rotation",
     "sqrt(2 - 2 procrustes)"},
};

static const struct {
    int first;
    const char *stem, *long_name, *formula;
} side_list[] = {
    {PAIR_KERNEL, "kernel", "projection kernel of the subspaces of W_%s",
     "|B1 B2^T|^2 / min(rank1, rank2)"},
    {PAIR_KERNEL_Z, "kernel_z", "projection kernel of W_%s in standard deviations above chance",
     "(|T|^2 - p q / D) / sqrt(2 p q (D-p) (D-q) / (D^2 (D-1) (D+2)))"},
    {PAIR_LARGEST, "largest_cosine", "cosine of the smallest principal angle of W_%s",
     "sigma_1(B1 B2^T)"},
    {PAIR_MEAN, "mean_cosine", "mean cosine of the principal angles of W_%s",
     "|B1 B2^T|_* / min(rank1, rank2)"},
    {PAIR_COSINES, "angle_cosines", "cosines of the principal angles of W_%s (descending)",
     "singular values of B1 B2^T"},
};

#define LENGTH(list) (sizeof(list) / sizeof *(list))

/* "<prefix>_<stem>", and what it says with the prefix in its place. */
static void name_by(entry *e, const char *prefix, const char *stem, const char *long_name)
{
    const char *gap = long_name;
    if (!e) {
        return;
    }
    while (*gap && !(gap[0] == '%' && gap[1] == 's')) {
        gap++;
    }
    snprintf(e->name, sizeof e->name, "%s_%s", prefix, stem);
    snprintf(e->long_name, sizeof e->long_name, "%.*s%s%s", (int)(gap - long_name), long_name,
             *gap ? prefix : "", *gap ? gap + 2 : "");
}

static void add_pairs(compare_writer *w)
{
    double *const *array = w->job->pairs.array;
    for (size_t i = 0; i < LENGTH(pair_list); i++) {
        for (int c = 0; c < COMPARE_CIRCUITS; c++) {
            entry *e = add(w, EACH_OTHER, OTIMES_F64, array[pair_list[i].first + c], "", "",
                           pair_list[i].formula);
            name_by(e, circuit_names[c], pair_list[i].stem, pair_list[i].long_name);
            along_heads(w, e, false, false);
            along_heads(w, e, true, false);
        }
    }
    for (size_t i = 0; i < LENGTH(side_list); i++) {
        for (int x = 0; x < OTIMES_SIDES; x++) {
            entry *e = add(w, EACH_OTHER, OTIMES_F64, array[side_list[i].first + x], "", "",
                           side_list[i].formula);
            name_by(e, side_names[x], side_list[i].stem, side_list[i].long_name);
            along_heads(w, e, false, compare_shared(x));
            along_heads(w, e, true, compare_shared(x));
            if (side_list[i].first == PAIR_COSINES) {
                along(e, &w->component);
            }
        }
    }
    entry *e = add(w, EACH_OTHER, OTIMES_F64, array[PAIR_SIMILARITY], "similarity",
                   "similarity that matching, neighbors and clusters go by", "see similarity_is");
    along_heads(w, e, false, false);
    along_heads(w, e, true, false);
}

/* Norms and ranks of the heads of both models. */
static void add_heads(compare_writer *w)
{
    for (int c = 0; c < COMPARE_CIRCUITS; c++) {
        entry *e = add(w, ONCE, OTIMES_F64, w->first->circuit[c].norm, "", "", "|W|");
        name_by(e, circuit_names[c], "norm", "Frobenius norm of W_%s in the space compared");
        along_heads(w, e, false, false);
        e = add(w, EACH_OTHER, OTIMES_F64, w->norms[c], "", "", "|W|");
        name_by(e, c == COMPARE_OV ? "other_OV" : "other_QK", "norm",
                "Frobenius norm of W in the space compared: %s");
        along_heads(w, e, true, false);
    }
    for (int x = 0; x < OTIMES_SIDES; x++) {
        static const char *const others[] = {"other_Q", "other_K", "other_V", "other_O"};
        const char *formula = "singular values above rank_share of the largest";
        entry *e = add(w, ONCE, OTIMES_I64, w->first->side[x].rank, "", "", formula);
        name_by(e, side_names[x], "rank", "numerical rank of W_%s");
        along_heads(w, e, false, compare_shared(x));
        e = add(w, EACH_OTHER, OTIMES_I64, w->ranks[x], "", "", formula);
        name_by(e, others[x], "rank", "numerical rank: %s");
        along_heads(w, e, true, compare_shared(x));
    }
}

static void add_expected(compare_writer *w)
{
    const compare_expected *x = &w->job->expected;
    const int measures = w->job->measures;
    if (measures & OTIMES_COMPARE_KERNEL) {
        along(add(w, EACH_OTHER, OTIMES_F64, x->kernel, "kernel_expected",
                  "projection kernel of random subspaces of full rank", "p q / (D min(p, q))"),
              &w->side);
    }
    if (measures & OTIMES_COMPARE_ANGLES) {
        along(add(w, EACH_OTHER, OTIMES_F64, x->largest, "largest_cosine_expected",
                  "cosine of the smallest principal angle of random subspaces of full rank",
                  "mean of 64 draws"),
              &w->side);
        along(add(w, EACH_OTHER, OTIMES_F64, x->mean, "mean_cosine_expected",
                  "mean cosine of the principal angles of random subspaces of full rank",
                  "mean of 64 draws"),
              &w->side);
    }
    if (measures & OTIMES_COMPARE_PROCRUSTES) {
        along(add(w, EACH_OTHER, OTIMES_F64, x->procrustes, "procrustes_expected",
                  "Procrustes similarity of random input subspaces and mean spectra",
                  "mean of 64 draws"),
              &w->circuit);
    }
}

static void add_lists(compare_writer *w)
{
    const compare_job *job = w->job;
    const compare_neighbors *n = &job->neighbors;
    const compare_matches *m = &job->matches;
    entry *near[] = {add(w, EACH_OTHER, OTIMES_I64, n->layer, "neighbor_layer",
                         "layer of a nearest head", "largest similarity"),
                     add(w, EACH_OTHER, OTIMES_I64, n->head, "neighbor_head", "a nearest head",
                         "largest similarity"),
                     add(w, EACH_OTHER, OTIMES_F64, n->similarity, "neighbor_similarity",
                         "similarity of a nearest head", "largest similarity")};
    for (size_t i = 0; i < LENGTH(near); i++) {
        along_heads(w, near[i], false, false);
        along(near[i], &w->rank);
    }
    const char *formula = "assignment of the largest sum of similarity";
    along_heads(w,
                add(w, EACH_OTHER, OTIMES_I64, m->layer, "match_layer", "layer of the head matched",
                    formula),
                false, false);
    along_heads(w, add(w, EACH_OTHER, OTIMES_I64, m->head, "match_head", "head matched", formula),
                false, false);
    along_heads(w,
                add(w, EACH_OTHER, OTIMES_F64, m->similarity, "match_similarity",
                    "similarity of the head matched", formula),
                false, false);
    entry *e = add(w, EACH_OTHER, OTIMES_F64, m->layer_similarity, "layer_similarity",
                   "mean similarity of the heads of two layers, matched best", formula);
    along(e, &w->layer);
    along(e, &w->other_layer);
    along(add(w, EACH_OTHER, OTIMES_I64, m->matched_layer, "matched_layer", "layer matched",
              "assignment of the largest sum of layer_similarity"),
          &w->layer);
    e = add(w, ONCE, OTIMES_F64, job->tree.linkage, "linkage",
            "hierarchical clustering of the heads", "average linkage on 1 - similarity");
    along(e, &w->merge);
    along(e, &w->column);
    e = add(w, ONCE, OTIMES_I64, job->tree.order, "cluster_order",
            "heads in the order of the clustering", "leaves of linkage");
    along(e, &w->place);
    if (e) {
        e->array.labels_of = "node";
    }
}

static void add_drift(compare_writer *w)
{
    static const char *const stems[2][DRIFT_REFERENCES] = {
        {"cosine_previous", "cosine_first", "cosine_last"},
        {"cka_previous", "cka_first", "cka_last"}};
    static const char *const said[2][DRIFT_REFERENCES] = {
        {"Frobenius cosine of W_%s with the previous model",
         "Frobenius cosine of W_%s with the first model",
         "Frobenius cosine of W_%s with the last model"},
        {"linear CKA of W_%s with the previous model", "linear CKA of W_%s with the first model",
         "linear CKA of W_%s with the last model"}};
    const compare_drift *d = &w->job->drift;
    for (int c = 0; c < COMPARE_CIRCUITS; c++) {
        for (int k = 0; k < DRIFT_REFERENCES; k++) {
            entry *e =
                add(w, EACH_MODEL, OTIMES_F64, d->cosine[c][k], "", "", "<W1, W2> / (|W1| |W2|)");
            name_by(e, circuit_names[c], stems[0][k], said[0][k]);
            along_heads(w, e, false, false);
            e = add(w, EACH_MODEL, OTIMES_F64, d->cka[c][k], "", "",
                    "|W1^T W2|^2 / (|W1^T W1| |W2^T W2|)");
            name_by(e, circuit_names[c], stems[1][k], said[1][k]);
            along_heads(w, e, false, false);
        }
        entry *e = add(w, EACH_MODEL, OTIMES_F64, d->norm_ratio[c], "", "", "|W| / |W previous|");
        name_by(e, circuit_names[c], "norm_ratio", "norm of W_%s over that of the previous model");
        along_heads(w, e, false, false);
    }
    entry *e = add(w, EACH_MODEL, OTIMES_F64, d->k_composition, "k_composition",
                   "K-composition score", "|W_OV W_QK^T| / (|W_OV| |W_QK|)");
    along_heads(w, e, false, false);
    along(e, &w->later_layer);
    along(e, &w->later_head);
    for (int64_t i = 0; i < w->count; i++) {
        if (w->list[i].phase == EACH_MODEL) {
            w->list[i].array.orientation = &w->list[i] == e
                                               ? "W_OV of the earlier head, W_QK of the later"
                                               : "a head beside itself in another model";
        }
    }
}

/* ---- writing ---- */

static int put(const compare_writer *w, phase when, int64_t at, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < w->count; i++) {
        const entry *e = &w->list[i];
        if (e->phase == when) {
            rc = otimes_sink_slab(w->job->sink, &e->array, e->id, at,
                                  when == ONCE ? e->array.axis[0]->length : 1, e->data, err);
        }
    }
    return rc;
}

static int declare_all(compare_writer *w, otimes_err *err)
{
    int rc = otimes_sink_axis(w->job->sink, &w->node, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < w->count; i++) {
        w->list[i].array.name = w->list[i].name;
        w->list[i].array.long_name = w->list[i].long_name;
        rc = otimes_sink_declare(w->job->sink, &w->list[i].array, &w->list[i].id, err);
    }
    return rc;
}

static int write_facts(const compare_job *job, otimes_err *err)
{
    static const char *const by[] = {
        [OTIMES_COMPARE_BY_CKA] = "mean of OV_cka and QK_cka",
        [OTIMES_COMPARE_BY_COSINE] = "mean of OV_cosine and QK_cosine",
        [OTIMES_COMPARE_BY_PROCRUSTES] = "mean of OV_procrustes and QK_procrustes",
        [OTIMES_COMPARE_BY_KERNEL] = "mean of Q_kernel, K_kernel, V_kernel and O_kernel"};
    static const char *const match[] = {[OTIMES_COMPARE_MATCH_HEADS] = "heads with heads",
                                        [OTIMES_COMPARE_MATCH_LAYERS] =
                                            "layers with layers, then heads within them",
                                        [OTIMES_COMPARE_MATCH_NONE] = "none"};
    const otimes_compare_settings *s = job->settings;
    const otimes_model_info *info = otimes_model_describe(job->models[0]);
    int rc = otimes_sink_text(job->sink, "space",
                              job->vocab ? "the vocabulary, centred over its tokens"
                                         : "the residual stream in its own basis",
                              err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(job->sink, "similarity_is", by[s->similarity], err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(job->sink, "matching", job->self ? "none" : match[s->match], err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_f64(job->sink, "rank_share", OTIMES_COMPARE_RANK_SHARE, err);
    }
    if (rc == OTIMES_OK && job->drift.k_composition) {
        rc = otimes_sink_f64(job->sink, "k_composition_expected",
                             1 / sqrt((double)otimes_link_dimension(info)), err);
    }
    return rc;
}

int otimes_compare_writer_new(compare_job *job, compare_writer **writer, otimes_err *err)
{
    compare_writer *w;
    int rc = OTIMES_NEW(&w, 1, err);
    *writer = rc == OTIMES_OK ? w : NULL;
    if (rc != OTIMES_OK) {
        return rc;
    }
    w->job = job;
    w->first = &job->model[0];
    w->list = otimes_pool_new(&w->pool, MOST_ARRAYS, sizeof *w->list, &rc, err);
    for (int c = 0; c < COMPARE_CIRCUITS; c++) {
        w->norms[c] = otimes_pool_new(&w->pool, job->pairs.layers * job->pairs.heads,
                                      sizeof(double), &rc, err);
    }
    for (int x = 0; x < OTIMES_SIDES; x++) {
        const int64_t heads = compare_shared(x) ? job->pairs.kv_heads : job->pairs.heads;
        w->ranks[x] =
            otimes_pool_new(&w->pool, job->pairs.layers * heads, sizeof(int64_t), &rc, err);
    }
    if (rc == OTIMES_OK) {
        rc = name_nodes(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_axes(w, err);
    }
    if (rc == OTIMES_OK) {
        add_heads(w);
        add_pairs(w);
        add_expected(w);
        add_lists(w);
        add_drift(w);
        rc = write_facts(job, err);
    }
    return rc == OTIMES_OK ? declare_all(w, err) : rc;
}

void otimes_compare_writer_free(compare_writer *writer)
{
    if (writer) {
        otimes_text_free(&writer->node_names);
        otimes_pool_free(&writer->pool);
        otimes_free(writer);
    }
}

/* Norms and ranks of the other model, with nothing in the columns that it lacks. */
static void lay_out_other(compare_writer *w, const compare_model *b)
{
    const compare_pairs *p = &w->job->pairs;
    for (int64_t l = 0; l < p->layers; l++) {
        for (int64_t h = 0; h < p->heads; h++) {
            for (int c = 0; c < COMPARE_CIRCUITS; c++) {
                w->norms[c][l * p->heads + h] =
                    l < b->layers && h < b->heads ? b->circuit[c].norm[l * b->heads + h] : NAN;
            }
        }
        for (int x = 0; x < OTIMES_SIDES; x++) {
            const compare_side *s = &b->side[x];
            const int64_t heads = compare_shared(x) ? p->kv_heads : p->heads;
            for (int64_t h = 0; h < heads; h++) {
                w->ranks[x][l * heads + h] =
                    l < b->layers && h < s->heads ? s->rank[l * s->heads + h] : -1;
            }
        }
    }
}

int otimes_compare_write_other(compare_writer *writer, int64_t at, const compare_model *other,
                               otimes_err *err)
{
    lay_out_other(writer, other);
    /* What stands once for all is known by then too. */
    const int rc = at == 0 ? put(writer, ONCE, 0, err) : OTIMES_OK;
    return rc == OTIMES_OK ? put(writer, EACH_OTHER, at, err) : rc;
}

int otimes_compare_write_drift(compare_writer *writer, int64_t at, otimes_err *err)
{
    return put(writer, EACH_MODEL, at, err);
}
