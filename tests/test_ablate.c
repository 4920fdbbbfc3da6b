/* SPDX-License-Identifier: MIT
 *
 * Ablations that travel together against the plain way: a whole pass in double for each, in which values
 * are replaced. On every golden, raw and processed.
 */
#include "accuracy.h"
#include "plain_pass.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/ablate.h>

enum { TEXTS = 3, LONGEST = 8, MEMBERS = 8, ABLATIONS = 64, POINTS = 3 };

static const otimes_hook hooks_of[POINTS] = {OTIMES_HOOK_Z, OTIMES_HOOK_MLP_OUT,
                                             OTIMES_HOOK_MLP_POST};

/* ---- texts ---- */

typedef struct corpus {
    int64_t ids[TEXTS][LONGEST], length[TEXTS];
    const int64_t *id[TEXTS];
    otimes_sequences sequences;
} corpus;

/* The golden's two sequences and between them a part of the second: ragged. */
static void make_corpus(corpus *c, const golden *g)
{
    static const int64_t row[] = {0, 1, 1}, length[] = {LONGEST, 5, LONGEST};
    int64_t count;
    const double *tokens = golden_values(g, "tokens", &count);
    assert_non_null(tokens);
    const int64_t n = count / 2;
    assert_true(n <= LONGEST && n >= 6);
    for (int t = 0; t < TEXTS; t++) {
        c->length[t] = length[t] < n ? length[t] : n;
        for (int64_t i = 0; i < c->length[t]; i++) {
            c->ids[t][i] = (int64_t)tokens[row[t] * n + i];
        }
        c->id[t] = c->ids[t];
    }
    c->sequences = (otimes_sequences){TEXTS, c->length, c->id};
}

/* ---- ablations ---- */

typedef struct request {
    otimes_ablate_member member[ABLATIONS][MEMBERS];
    otimes_ablate_set set[ABLATIONS];
    int64_t target[TEXTS], against[TEXTS];
    otimes_ablate_settings settings;
} request;

static void add_set(request *r, const otimes_ablate_member *members, int64_t count)
{
    const int64_t a = r->settings.set_count++;
    assert_true(a < ABLATIONS && count <= MEMBERS);
    memcpy(r->member[a], members, (size_t)count * sizeof *members);
    r->set[a] = (otimes_ablate_set){r->member[a], count};
}

static int has_neurons(const otimes_model *model, int64_t layer)
{
    return otimes_hook_reached(model, OTIMES_HOOK_MLP_POST, layer);
}

/* Sets within a layer and across layers, of every kind that the model has. */
static void add_sets(request *r, const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t last = info->n_layers - 1, h = info->n_heads - 1;
    const otimes_ablate_member across[] = {{OTIMES_ABLATE_HEAD, last, 0},
                                           {OTIMES_ABLATE_HEAD, 0, h}};
    const otimes_ablate_member end = {OTIMES_ABLATE_ATTENTION, last, 0};
    add_set(r, across, last > 0 || h > 0 ? 2 : 1);
    add_set(r, &end, 1);
    if (info->mlp == OTIMES_MLP_NONE) {
        return;
    }
    const otimes_ablate_member mixed[] = {
        {OTIMES_ABLATE_MLP, 0, 0}, {OTIMES_ABLATE_HEAD, last, h}, {OTIMES_ABLATE_ATTENTION, 0, 0}};
    add_set(r, mixed, 3);
    for (int64_t l = 0; l <= last; l++) {
        const int64_t n = info->d_mlp - 1;
        const otimes_ablate_member neurons[] = {{OTIMES_ABLATE_NEURON, l, n},
                                                {OTIMES_ABLATE_HEAD, last, 0},
                                                {OTIMES_ABLATE_NEURON, l, 0},
                                                {OTIMES_ABLATE_NEURON, l, 2}};
        if (has_neurons(model, l)) {
            add_set(r, neurons, 1);
            add_set(r, neurons, 4);
        }
    }
}

static void make_request(request *r, const otimes_model *model, const corpus *c)
{
    const otimes_model_info *info = otimes_model_describe(model);
    *r = (request){0};
    otimes_ablate_settings_default(&r->settings);
    r->settings.sequences = c->sequences;
    r->settings.components = OTIMES_ABLATE_HEADS | OTIMES_ABLATE_LAYERS;
    if (info->mlp != OTIMES_MLP_NONE) {
        r->settings.components |= OTIMES_ABLATE_MLPS;
    }
    r->settings.loss = info->d_vocab == info->d_vocab_out;
    for (int t = 0; t < TEXTS; t++) {
        r->target[t] = t;
        r->against[t] = info->d_vocab_out - 1 - t;
    }
    r->settings.target = r->target;
    r->settings.against = r->against;
    r->settings.sets = r->set;
    r->settings.full = 1;
    add_sets(r, model);
}

/* The same ablations as one list, in the order of the axis. */
static int64_t list_all(const request *r, const otimes_model *model, otimes_ablate_set *all,
                        otimes_ablate_member *single)
{
    const otimes_model_info *info = otimes_model_describe(model);
    int64_t n = 0;
    for (int kind = OTIMES_ABLATE_HEAD; kind <= OTIMES_ABLATE_MLP; kind++) {
        const int64_t each = kind == OTIMES_ABLATE_HEAD ? info->n_heads : 1;
        for (int64_t i = 0; r->settings.components >> kind & 1 && i < each * info->n_layers; i++) {
            single[n] = (otimes_ablate_member){(otimes_ablate_kind)kind, i / each, i % each};
            all[n] = (otimes_ablate_set){&single[n], 1};
            n++;
        }
    }
    for (int64_t s = 0; s < r->settings.set_count; s++) {
        all[n++] = r->set[s];
    }
    assert_true(n <= ABLATIONS);
    return n;
}

/* ---- the plain way ---- */

typedef struct plain {
    const otimes_model *model;
    const char *name; /* of the golden */
    const otimes_ablate_settings *settings;
    double *kept[POINTS]; /* [n_layers, rows, columns] of the clean run */
    int64_t columns[POINTS], rows;
    int64_t text_of[TEXTS * LONGEST], position[TEXTS * LONGEST], start[TEXTS + 1];
    const otimes_ablate_set *set; /* NULL: keep */
    double share;                 /* of the largest logit, what results may be off by */
} plain;

static double kept_at(const plain *p, int point, int64_t layer, int64_t row, int64_t column)
{
    return p->kept[point][(layer * p->rows + row) * p->columns[point] + column];
}

static double replaced(const plain *p, int point, int64_t layer, int64_t row, int64_t column,
                       double own)
{
    const int64_t t = p->text_of[row], at = p->position[row];
    const int64_t other = (t + 1) % TEXTS;
    double sum = 0;
    int64_t count = 0;
    switch (p->settings->method) {
    case OTIMES_ABLATE_ZERO:
        return 0;
    case OTIMES_ABLATE_MEAN:
    case OTIMES_ABLATE_MEAN_POSITION:
        for (int64_t i = 0; i < p->rows; i++) {
            if (p->settings->method == OTIMES_ABLATE_MEAN || p->position[i] == at) {
                sum += kept_at(p, point, layer, i, column);
                count++;
            }
        }
        return sum / (double)count;
    case OTIMES_ABLATE_RESAMPLE:
        return at < p->start[other + 1] - p->start[other]
                   ? kept_at(p, point, layer, p->start[other] + at, column)
                   : own;
    }
    return NAN;
}

static void change(void *context, trace_key key, int64_t first, int64_t rows, int64_t columns,
                   double *values)
{
    plain *p = context;
    const int64_t d_head = otimes_model_describe(p->model)->d_head;
    int point = 0;
    while (point < POINTS && hooks_of[point] != key.hook) {
        point++;
    }
    for (int64_t i = 0; point < POINTS && i < rows; i++) {
        double *row = values + i * columns;
        if (!p->set) {
            memcpy(p->kept[point] + (key.layer * p->rows + first + i) * columns, row,
                   (size_t)columns * sizeof *row);
            continue;
        }
        for (int64_t m = 0; m < p->set->count; m++) {
            const otimes_ablate_member *x = &p->set->member[m];
            for (int64_t c = 0; x->layer == key.layer && c < columns; c++) {
                const int hit = x->kind == OTIMES_ABLATE_HEAD ? point == 0 && c / d_head == x->index
                                : x->kind == OTIMES_ABLATE_MLP    ? point == 1
                                : x->kind == OTIMES_ABLATE_NEURON ? point == 2 && c == x->index
                                                                  : point == 0;
                row[c] = hit ? replaced(p, point, key.layer, first + i, c, row[c]) : row[c];
            }
        }
    }
}

static void begin_plain(plain *p, const golden *g, const otimes_ablate_settings *settings)
{
    const otimes_model *model = g->model;
    const otimes_model_info *info = otimes_model_describe(model);
    const otimes_sequences *s = &settings->sequences;
    *p = (plain){.model = model, .name = g->name, .settings = settings};
    for (int64_t t = 0; t < TEXTS; t++) {
        for (int64_t i = 0; i < s->length[t]; i++) {
            p->text_of[p->rows] = t;
            p->position[p->rows++] = i;
        }
        p->start[t + 1] = p->rows;
    }
    for (int i = 0; i < POINTS; i++) {
        p->columns[i] = otimes_hook_columns(model, hooks_of[i]);
        p->kept[i] = calloc((size_t)(info->n_layers * p->rows * p->columns[i]) + 1, sizeof(double));
        assert_non_null(p->kept[i]);
    }
}

/* Loss and logits at each row of a pass, with one set replaced or (NULL) everything kept; the
 * largest logit. */
static double run_plain(plain *p, const otimes_ablate_set *set, double *loss, double *logit)
{
    const otimes_model_info *info = otimes_model_describe(p->model);
    const otimes_sequences *s = &p->settings->sequences;
    const int64_t vocab = info->d_vocab_out;
    trace pass;
    double largest = 0;
    p->set = set;
    trace_init(&pass, p->model, s);
    pass.change = change;
    pass.context = p;
    double *logits = plain_pass(&pass, p->name);
    trace_free(&pass);
    for (int64_t r = 0; r < p->rows; r++) {
        const int64_t t = p->text_of[r], at = p->position[r];
        const double *row = logits + r * vocab;
        double max = -INFINITY, sum = 0;
        for (int64_t o = 0; o < vocab; o++) {
            max = fmax(max, row[o]);
            largest = fmax(largest, fabs(row[o]));
        }
        for (int64_t o = 0; o < vocab; o++) {
            sum += exp(row[o] - max);
        }
        loss[r] = NAN;
        if (p->settings->loss && at + 1 < s->length[t]) {
            loss[r] = max + log(sum) - row[s->id[t][at + 1]];
        }
        logit[r] = row[p->settings->target[t]] - row[p->settings->against[t]];
    }
    free(logits);
    return largest;
}

/* ---- comparing ---- */

static otimes_memory_sink *run(const otimes_model *model, const otimes_ablate_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_ablate(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

static const void *data_of(const otimes_memory_sink *memory, const char *name, int ndim)
{
    const void *data = NULL;
    const otimes_array *array = otimes_memory_sink_array(memory, name, &data);
    if (!array) {
        fail_msg("%s is not there", name);
    }
    assert_int_equal(array->ndim, ndim);
    return data;
}

#define SIZE "largest logit, 1 at least"

/* One measure of one ablation (`head`: its place among those of heads, -1: it is none) against the rows of
 * plain passes; `scale`, the largest logit. */
static void compare_measure(const otimes_memory_sink *memory, const char *name, const plain *p,
                            int64_t a, int64_t count, int64_t head, const double *rows,
                            const double *clean, double scale)
{
    const bool last = !strcmp(name, "logit");
    const otimes_model_info *info = otimes_model_describe(p->model);
    char full[64], changes[64], cleans[64], heads[64], counts[64];
    snprintf(full, sizeof full, "%s_change_at", name);
    snprintf(changes, sizeof changes, "%s_change", name);
    snprintf(cleans, sizeof cleans, "%s_clean", name);
    snprintf(heads, sizeof heads, "head_%s_change", name);
    snprintf(counts, sizeof counts, "%s_count", name);
    const double *values = data_of(memory, name, 2), *change = data_of(memory, changes, 2);
    const double *before_all = data_of(memory, cleans, 1), *by_head = data_of(memory, heads, 3);
    const float *at = data_of(memory, full, 3);
    for (int64_t t = 0; t < TEXTS; t++) {
        double sum = 0, before = 0;
        int64_t measured = 0;
        for (int64_t r = p->start[t]; r < p->start[t + 1]; r++) {
            const int here = last ? r + 1 == p->start[t + 1] : !isnan(rows[r]);
            sum += here ? rows[r] : 0;
            before += here ? clean[r] : 0;
            measured += here;
            accuracy(full, SIZE, (double)at[(t * count + a) * LONGEST + p->position[r]],
                     here ? rows[r] - clean[r] : NAN, scale, 2 * p->share);
        }
        for (int64_t i = p->start[t + 1] - p->start[t]; i < LONGEST; i++) {
            assert_true(isnan(at[(t * count + a) * LONGEST + i]));
        }
        const double n = (double)measured, changed = (sum - before) / n;
        accuracy_exact(counts, (double)((const int64_t *)data_of(memory, counts, 1))[t], n);
        accuracy(name, SIZE, values[t * count + a], sum / n, scale, p->share);
        accuracy(cleans, SIZE, before_all[t], before / n, scale, p->share);
        accuracy(changes, SIZE, change[t * count + a], changed, scale, 2 * p->share);
        if (head >= 0) {
            accuracy(heads, SIZE, by_head[t * info->n_layers * info->n_heads + head], changed,
                     scale, 2 * p->share);
        }
    }
}

/* What each ablation and text is. */
static void check_facts(const otimes_memory_sink *memory, const request *r,
                        const otimes_ablate_set *all, int64_t count)
{
    const int64_t *layer = data_of(memory, "first_layer", 1), *size = data_of(memory, "size", 1);
    const int64_t *target = data_of(memory, "target_id", 1);
    const int64_t *against = data_of(memory, "against_id", 1);
    for (int64_t a = 0; a < count; a++) {
        int64_t first = all[a].member[0].layer;
        for (int64_t m = 1; m < all[a].count; m++) {
            first = all[a].member[m].layer < first ? all[a].member[m].layer : first;
        }
        accuracy_exact("first_layer", (double)layer[a], (double)first);
        accuracy_exact("size", (double)size[a], (double)all[a].count);
    }
    for (int64_t t = 0; t < TEXTS; t++) {
        accuracy_exact("target_id", (double)target[t], (double)r->target[t]);
        accuracy_exact("against_id", (double)against[t], (double)r->against[t]);
        if (r->settings.method == OTIMES_ABLATE_RESAMPLE) {
            const int64_t *source = data_of(memory, "source", 1);
            accuracy_exact("source", (double)source[t], (double)((t + 1) % TEXTS));
        }
    }
}

static void check_golden(const golden *g, otimes_ablate_method method, double growth)
{
    corpus c;
    plain p;
    request r;
    otimes_ablate_set all[ABLATIONS];
    otimes_ablate_member single[ABLATIONS];
    double loss[TEXTS * LONGEST], logit[TEXTS * LONGEST];
    double clean_loss[TEXTS * LONGEST], clean_logit[TEXTS * LONGEST];
    make_corpus(&c, g);
    make_request(&r, g->model, &c);
    r.settings.method = method;
    begin_plain(&p, g, &r.settings);
    /* A few roundings of each of some dozens of steps, which grow on their way. */
    p.share = 32 * (double)FLT_EPSILON * growth;
    const int64_t count = list_all(&r, g->model, all, single);
    const otimes_model_info *info = otimes_model_describe(g->model);
    otimes_memory_sink *memory = run(g->model, &r.settings);
    const double largest = run_plain(&p, NULL, clean_loss, clean_logit);
    check_facts(memory, &r, all, count);
    for (int64_t a = 0; a < count; a++) {
        const double scale = fmax(1, fmax(largest, run_plain(&p, &all[a], loss, logit)));
        const int64_t head = a < info->n_layers * info->n_heads ? a : -1;
        if (r.settings.loss) {
            compare_measure(memory, "loss", &p, a, count, head, loss, clean_loss, scale);
        }
        compare_measure(memory, "logit", &p, a, count, head, logit, clean_logit, scale);
    }
    for (int i = 0; i < POINTS; i++) {
        free(p.kept[i]);
    }
    otimes_memory_sink_free(&memory);
}

/* Every golden by two methods raw and by the others processed. */
static void equals_the_plain_way(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        for (int m = OTIMES_ABLATE_ZERO; m <= OTIMES_ABLATE_RESAMPLE; m++) {
            corpus c;
            golden g;
            golden_open_on(1, &g, golden_names[i], (i + m) % 2);
            make_corpus(&c, &g);
            check_golden(&g, (otimes_ablate_method)m, plain_growth(g.model, &c.sequences, g.name));
            golden_close(&g);
        }
    }
}

int main(void)
{
    accuracy_of("ablate");
    otimes_set_blas_threads(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_plain_way),
    };
    return cmocka_run_group_tests_name("ablate", tests, NULL, NULL);
}
