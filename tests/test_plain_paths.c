/* SPDX-License-Identifier: MIT
 *
 * paths held against plain loops in double on every golden: each path one by one, and what flows.
 */
#include "accuracy.h"
#include "found_paths.h"
#include "plain_frozen.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE "sum of the sizes of all paths, 1 at least"

/* A run and the pass that it is of. */
typedef struct held {
    fixture *f;
    plain_frozen frozen;
    double size, share; /* of errors */
} held;

static double *zeros(int64_t count)
{
    double *x = calloc((size_t)count + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static void add(double *x, const double *y, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] += y[i];
    }
}

static double worth(const held *h, const double *x)
{
    return plain_frozen_worth(&h->frozen, h->frozen.n - 1, h->f->settings.target,
                              h->f->settings.against, x);
}

/* ---- sources ---- */

/* Layers that the source of a label is there for: heads above the first, MLPs from the second on. */
typedef struct place {
    int64_t heads, mlps;
} place;

/* What "embed", "pos_embed", "L3 attn bias", "L3 mlp" or "L3 mlp bias" writes, [n, d_model]. */
static place source_rows(const held *h, const char *label, double *rows)
{
    const plain_frozen *p = &h->frozen;
    const bool apart = p->info->positions == OTIMES_POSITIONS_LEARNED && !p->info->embed_norm;
    const int64_t count = p->n * p->d;
    const double *from;
    char what[32] = "";
    long long l = -1;
    if (strcmp(label, "pos_embed") == 0) {
        from = plain_frozen_rows(&p->pass, OTIMES_HOOK_POS_EMBED, -1, -1);
    } else if (strcmp(label, "embed") == 0) {
        from = apart ? plain_frozen_rows(&p->pass, OTIMES_HOOK_EMBED, -1, -1)
                     : plain_frozen_rows(&p->pass, OTIMES_HOOK_RESID_PRE, 0, -1);
    } else {
        assert_int_equal(sscanf(label, "L%lld %31[^\n]", &l, what), 2);
        from = strcmp(what, "attn bias") == 0
                   ? plain_frozen_rows(&p->nothing, OTIMES_HOOK_ATTN_OUT, l, -1)
               : strcmp(what, "mlp") == 0
                   ? plain_frozen_rows(&p->pass, OTIMES_HOOK_MLP_OUT, l, -1)
                   : plain_frozen_rows(&p->nothing, OTIMES_HOOK_MLP_OUT, l, -1);
    }
    memcpy(rows, from, (size_t)count * sizeof *rows);
    const bool before_mlp = strcmp(what, "attn bias") == 0 && !p->info->parallel;
    return (place){l, l < 0 ? 0 : before_mlp ? l : l + 1};
}

/* All that comes of x, which is there for heads above layer `from.heads` and MLPs from `from.mlps` on. */
static double flow(const held *h, place from, const double *x)
{
    const plain_frozen *p = &h->frozen;
    const int64_t count = p->n * p->d;
    double *stream = zeros(count), *read = zeros(count), *out = zeros(count);
    memcpy(stream, x, (size_t)count * sizeof *x);
    for (int64_t l = 0; l < p->info->n_layers; l++) {
        memcpy(read, stream, (size_t)count * sizeof *x);
        for (int64_t i = 0; l > from.heads && i < p->info->n_heads; i++) {
            plain_frozen_head(p, l, i, read, out);
            add(stream, out, count);
        }
        if (l >= from.mlps && plain_frozen_links(p, l)) {
            plain_frozen_mlp(p, l, p->info->parallel ? read : stream, out);
            add(stream, out, count);
        }
    }
    const double value = worth(h, stream);
    free(stream);
    free(read);
    free(out);
    return value;
}

static place behind_head(const held *h, int64_t layer)
{
    return (place){layer, h->frozen.info->parallel ? layer + 1 : layer};
}

/* ---- paths ---- */

/* Rows of a source through the links of path i. */
static double path_worth(const held *h, const values *layer, const values *head, int64_t i,
                         const double *source)
{
    const int64_t count = h->frozen.n * h->frozen.d, links = layer->array->axis[1]->length;
    double *x = zeros(count), *out = zeros(count);
    memcpy(x, source, (size_t)count * sizeof *x);
    for (int64_t k = i * links; k < (i + 1) * links && layer->x[k] >= 0; k++) {
        if (head->x[k] >= 0) {
            plain_frozen_head(&h->frozen, (int64_t)layer->x[k], (int64_t)head->x[k], x, out);
        } else {
            plain_frozen_mlp(&h->frozen, (int64_t)layer->x[k], x, out);
        }
        memcpy(x, out, (size_t)count * sizeof *x);
    }
    const double value = worth(h, x);
    free(x);
    free(out);
    return value;
}

/* The set of layers whose heads path i goes through. */
static int64_t set_of(const values *sets, const values *layer, const values *head, int64_t i)
{
    const int64_t links = layer->array->axis[1]->length;
    char label[64] = "";
    size_t at = 0;
    int64_t set = 0;
    for (int64_t k = i * links; k < (i + 1) * links; k++) {
        if (head->x[k] >= 0) {
            at += (size_t)snprintf(label + at, sizeof label - at, "%sL%.0f", at ? " " : "",
                                   layer->x[k]);
        }
    }
    while (strcmp(sets->array->axis[1]->text[set], at ? label : "{}") != 0) {
        set++;
    }
    return set;
}

/* Each path, and from each position alone what it carries. Sums by order and by set of layers are added. */
static void hold_paths(const held *h, double *order, double *by_set)
{
    const values value = get(h->f, "path_value"), source = get(h->f, "path_source");
    const values layer = get(h->f, "path_layer"), head = get(h->f, "path_head");
    const values orders = get(h->f, "path_order"), carried = get(h->f, "carrier_value");
    const values where = get(h->f, "carrier_position"), share = get(h->f, "path_share");
    const values running = get(h->f, "path_running"), left = get(h->f, "path_left");
    const values so_far = get(h->f, "path_running_share"), count = get(h->f, "path_count");
    const values flows = get(h->f, "source_flow"), frozen = get(h->f, "frozen_value");
    const values sets = get(h->f, "set_total"), cases = get(h->f, "path_case");
    const int64_t each = carried.array->axis[1]->length, n = h->frozen.n, d = h->frozen.d;
    const double whole = frozen.x[0];
    double *rows = zeros(n * d), *one = zeros(n * d), sum = 0;
    for (int64_t i = 0; i < (int64_t)count.x[0]; i++) {
        double want = plain_frozen_bias(&h->frozen, h->f->settings.target, h->f->settings.against);
        if (source.x[i] >= 0) {
            source_rows(h, flows.array->axis[1]->text[(int64_t)source.x[i]], rows);
            want = path_worth(h, &layer, &head, i, rows);
        }
        sum += want;
        order[(int64_t)orders.x[i]] += want;
        by_set[set_of(&sets, &layer, &head, i)] += want;
        accuracy_exact("path_case", cases.x[i], 0);
        accuracy("path_value", SIZE, value.x[i], want, h->size, h->share);
        accuracy("path_running", SIZE, running.x[i], sum, h->size, h->share);
        accuracy("path_left", SIZE, left.x[i], whole - sum, h->size, h->share);
        accuracy("path_share", SIZE ", over the value", share.x[i], want / whole,
                 h->size / fabs(whole), h->share);
        accuracy("path_running_share", SIZE ", over the value", so_far.x[i], sum / whole,
                 h->size / fabs(whole), h->share);
        for (int64_t k = i * each; k < (i + 1) * each && where.x[k] >= 0; k++) {
            const int64_t at = (int64_t)where.x[k] * d;
            memset(one, 0, (size_t)(n * d) * sizeof *one);
            memcpy(one + at, rows + at, (size_t)d * sizeof *one);
            const double part = path_worth(h, &layer, &head, i, one);
            accuracy("carrier_value", SIZE, carried.x[k], part, h->size, h->share);
            accuracy("carrier_position", SIZE, carried.x[k], part, h->size, h->share);
        }
    }
    const values all[] = {value,   source, layer,  head,  orders, carried, where, share,
                          running, left,   so_far, count, flows,  frozen,  sets,  cases};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i].x);
    }
    free(rows);
    free(one);
}

/* The first entry of an array. */
static double first_of(const held *h, const char *name)
{
    const values v = get(h->f, name);
    const double x = v.x[0];
    free(v.x);
    return x;
}

static void hold_totals(const held *h, const double *order, const double *by_set)
{
    const values orders = get(h->f, "order_total"), sets = get(h->f, "set_total");
    const double *row = h->frozen.logits + (h->frozen.n - 1) * h->frozen.info->d_vocab_out;
    const double cap = h->frozen.info->final_softcap, own = row[h->f->settings.target];
    double sum = 0;
    for (int64_t k = 0; k < orders.array->axis[1]->length; k++) {
        accuracy("order_total", SIZE, orders.x[k], order[k], h->size, h->share);
        sum += order[k];
    }
    for (int64_t k = 0; k < sets.array->axis[1]->length; k++) {
        accuracy("set_total", SIZE, sets.x[k], by_set[k], h->size, h->share);
    }
    accuracy("path_listed", SIZE, first_of(h, "path_listed"), sum, h->size, h->share);
    accuracy("order_residue", SIZE, first_of(h, "order_residue"), 0, h->size, h->share);
    accuracy("model_value", SIZE, first_of(h, "model_value"), own, h->size, h->share);
    accuracy("frozen_value", SIZE, first_of(h, "frozen_value"),
             cap > 0 ? cap * atanh(own / cap) : own, h->size, h->share);
    free(orders.x);
    free(sets.x);
}

/* What is said of the case, which has all of its paths. */
static void hold_case(const held *h)
{
    const double count = first_of(h, "path_count");
    const values value = get(h->f, "path_value");
    accuracy_exact("case_count", first_of(h, "case_count"), 1);
    accuracy_exact("case_text", first_of(h, "case_text"), 0);
    accuracy_exact("case_position", first_of(h, "case_position"), (double)h->frozen.n - 1);
    accuracy_exact("target_id", first_of(h, "target_id"), (double)h->f->settings.target);
    accuracy_exact("against_id", first_of(h, "against_id"), (double)h->f->settings.against);
    accuracy_exact("path_count", count, first_of(h, "path_total"));
    accuracy_exact("path_total", count, first_of(h, "path_total"));
    accuracy_exact("path_complete", first_of(h, "path_complete"), 1);
    assert_true(first_of(h, "path_bound") <= fabs(value.x[(int64_t)count - 1]));
    free(value.x);
}

/* ---- flows ---- */

static void hold_sources(const held *h)
{
    const values flows = get(h->f, "source_flow"), direct = get(h->f, "source_direct");
    const values edge = get(h->f, "source_edge");
    const plain_frozen *p = &h->frozen;
    const int64_t sources = flows.array->axis[1]->length, n = p->n, d = p->d;
    const int64_t heads = p->info->n_layers * p->info->n_heads;
    double *rows = zeros(n * d), *one = zeros(n * d);
    for (int64_t s = 0; s < sources; s++) {
        const place from = source_rows(h, flows.array->axis[1]->text[s], rows);
        accuracy("source_direct", SIZE, direct.x[s], worth(h, rows), h->size, h->share);
        for (int64_t i = 0; i < n; i++) {
            memset(one, 0, (size_t)(n * d) * sizeof *one);
            memcpy(one + i * d, rows + i * d, (size_t)d * sizeof *one);
            accuracy("source_flow", SIZE, flows.x[s * n + i], flow(h, from, one), h->size,
                     h->share);
        }
        for (int64_t later = 0; later < heads; later++) {
            const int64_t l = later / p->info->n_heads;
            double want = NAN;
            if (l > from.heads) {
                plain_frozen_head(p, l, later % p->info->n_heads, rows, one);
                want = flow(h, behind_head(h, l), one);
            }
            accuracy("source_edge", SIZE, edge.x[(2 * heads + later) * sources + s], want, h->size,
                     h->share);
        }
    }
    free(rows);
    free(one);
    free(flows.x);
    free(direct.x);
    free(edge.x);
}

/* What a head, or an MLP that is a link (`from` = heads + layer), makes of the stream it reads. */
static place part_rows(const held *h, int64_t from, double *rows)
{
    const plain_frozen *p = &h->frozen;
    const int64_t heads = p->info->n_layers * p->info->n_heads;
    const int64_t l = from < heads ? from / p->info->n_heads : from - heads;
    const bool mid = from >= heads && !p->info->parallel;
    const double *read =
        plain_frozen_rows(&p->pass, mid ? OTIMES_HOOK_RESID_MID : OTIMES_HOOK_RESID_PRE, l, -1);
    if (from < heads) {
        plain_frozen_head(p, l, from % p->info->n_heads, read, rows);
        return behind_head(h, l);
    }
    plain_frozen_mlp(p, l, read, rows);
    return (place){l, l + 1};
}

static void hold_part(const held *h, int64_t from, const char *const names[3], int64_t at,
                      int64_t columns)
{
    const plain_frozen *p = &h->frozen;
    const values flows = get(h->f, names[0]), direct = get(h->f, names[1]);
    const values edge = get(h->f, names[2]);
    const int64_t heads = p->info->n_layers * p->info->n_heads;
    double *rows = zeros(p->n * p->d), *out = zeros(p->n * p->d);
    const place behind = part_rows(h, from, rows);
    accuracy(names[0], SIZE, flows.x[at], flow(h, behind, rows), h->size, h->share);
    accuracy(names[1], SIZE, direct.x[at], worth(h, rows), h->size, h->share);
    for (int64_t later = 0; later < heads; later++) {
        const int64_t l = later / p->info->n_heads;
        double want = NAN;
        if (l > behind.heads) {
            plain_frozen_head(p, l, later % p->info->n_heads, rows, out);
            want = flow(h, behind_head(h, l), out);
        }
        accuracy(names[2], SIZE, edge.x[(2 * heads + later) * columns + at], want, h->size,
                 h->share);
    }
    free(rows);
    free(out);
    free(flows.x);
    free(direct.x);
    free(edge.x);
}

static void hold_flows(const held *h)
{
    static const char *const of_heads[] = {"head_flow", "head_direct", "head_edge"};
    static const char *const of_mlps[] = {"mlp_flow", "mlp_direct", "mlp_edge"};
    const plain_frozen *p = &h->frozen;
    const int64_t layers = p->info->n_layers, heads = layers * p->info->n_heads;
    hold_sources(h);
    for (int64_t i = 0; i < heads; i++) {
        hold_part(h, i, of_heads, i, heads);
    }
    for (int64_t l = 0; l < layers; l++) {
        if (plain_frozen_links(p, l)) {
            hold_part(h, heads + l, of_mlps, l, layers);
        }
    }
}

static int falling(const void *a, const void *b)
{
    const double x = fabs(*(const double *)a), y = fabs(*(const double *)b);
    return (x < y) - (x > y);
}

/* Listed edges are the largest of the arrays. */
static void hold_edges(const held *h)
{
    static const char *const names[] = {"head_edge",     "source_edge", "head_direct",
                                        "source_direct", "mlp_edge",    "mlp_direct"};
    const values listed = get(h->f, "edge_value"), cases = get(h->f, "edge_case");
    double *all = NULL;
    int64_t count = 0;
    for (int i = 0; i < (h->f->settings.mlp && h->frozen.info->mlp != OTIMES_MLP_NONE ? 6 : 4);
         i++) {
        int64_t more;
        double *x = sink_values(h->f->memory, names[i], &more);
        all = realloc(all, (size_t)(count + (x ? more : 0) + 1) * sizeof *all);
        assert_non_null(all);
        for (int64_t k = 0; x && k < more; k++) {
            all[count] = x[k];
            count += !isnan(x[k]);
        }
        free(x);
    }
    qsort(all, (size_t)count, sizeof *all, falling);
    for (int64_t k = 0; k < listed.count && k < count; k++) {
        accuracy_exact("edge_value", fabs(listed.x[k]), fabs(all[k]));
        accuracy_exact("edge_case", cases.x[k], 0);
    }
    free(all);
    free(listed.x);
    free(cases.x);
}

static void hold_run(fixture *f)
{
    otimes_err err = {0};
    const int rc = run(f, &err);
    if (rc == OTIMES_ERR_UNSUPPORTED) { /* values were clipped */
        return;
    }
    assert_ok(rc, &err);
    held h = {.f = f, .size = 1};
    const values value = get(f, "path_value");
    double order[16] = {0}, by_set[64] = {0};
    for (int64_t i = 0; i < value.count; i++) {
        h.size += isnan(value.x[i]) ? 0 : fabs(value.x[i]);
    }
    h.share = 16 * (double)FLT_EPSILON * plain_growth(f->model, &f->batch.sequences, f->name);
    plain_frozen_open(&h.frozen, f->model, f->name, &f->batch.sequences, f->settings.mlp);
    hold_paths(&h, order, by_set);
    hold_totals(&h, order, by_set);
    hold_case(&h);
    hold_flows(&h);
    hold_edges(&h);
    plain_frozen_close(&h.frozen);
    free(value.x);
}

static void paths(void **state)
{
    (void)state;
    accuracy_of("paths");
    for (int i = 0; golden_names[i]; i++) {
        for (int links = 0; links < 2 && !golden_left_out(i); links++) {
            fixture f = {0};
            golden_open_on(1, &f.g, golden_names[i], (i + links) % 2);
            set_up(&f, golden_names[i], f.g.model);
            f.settings.mlp = links;
            hold_run(&f);
            otimes_memory_sink_free(&f.memory);
            golden_close(&f.g);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
