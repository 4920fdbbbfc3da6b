/* SPDX-License-Identifier: MIT
 *
 * Ablations that travel together against the plain way: a whole pass for each, with a hook that
 * replaces. On every golden, raw and processed.
 */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/ablate.h>

enum { TEXTS = 3, LONGEST = 8, MEMBERS = 8, ABLATIONS = 64, POINTS = 3 };

static const otimes_hook hooks_of[POINTS] = {OTIMES_HOOK_Z, OTIMES_HOOK_MLP_OUT,
                                             OTIMES_HOOK_MLP_POST};
static const char *const methods[] = {"zero", "mean", "mean by position", "resample"};

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
    const otimes_ablate_settings *settings;
    float *kept[POINTS]; /* [n_layers, rows, columns] of the clean run */
    int64_t columns[POINTS], rows;
    int64_t text_of[TEXTS * LONGEST], position[TEXTS * LONGEST], start[TEXTS + 1];
    const otimes_ablate_set *set; /* NULL: keep */
} plain;

static double kept_at(const plain *p, int point, int64_t layer, int64_t row, int64_t column)
{
    return (double)p->kept[point][(layer * p->rows + row) * p->columns[point] + column];
}

static float replaced(const plain *p, int point, int64_t layer, int64_t row, int64_t column,
                      float own)
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
        return (float)(sum / (double)count);
    case OTIMES_ABLATE_RESAMPLE:
        return at < p->start[other + 1] - p->start[other]
                   ? (float)kept_at(p, point, layer, p->start[other] + at, column)
                   : own;
    }
    return NAN;
}

static int visit(void *context, const otimes_activation *a, otimes_err *err)
{
    plain *p = context;
    const int64_t d_head = otimes_model_describe(p->model)->d_head;
    int point = 0;
    (void)err;
    while (hooks_of[point] != a->hook) {
        point++;
    }
    for (int64_t i = 0; i < a->rows; i++) {
        float *row = a->data + i * a->stride;
        if (!p->set) {
            memcpy(p->kept[point] + (a->layer * p->rows + a->first + i) * a->columns, row,
                   (size_t)a->columns * sizeof *row);
            continue;
        }
        for (int64_t m = 0; m < p->set->count; m++) {
            const otimes_ablate_member *x = &p->set->member[m];
            for (int64_t c = 0; x->layer == a->layer && c < a->columns; c++) {
                const int hit = x->kind == OTIMES_ABLATE_HEAD ? point == 0 && c / d_head == x->index
                                : x->kind == OTIMES_ABLATE_MLP    ? point == 1
                                : x->kind == OTIMES_ABLATE_NEURON ? point == 2 && c == x->index
                                                                  : point == 0;
                row[c] = hit ? replaced(p, point, a->layer, a->first + i, c, row[c]) : row[c];
            }
        }
    }
    return 0;
}

static void begin_plain(plain *p, const otimes_model *model, const otimes_ablate_settings *settings)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const otimes_sequences *s = &settings->sequences;
    *p = (plain){.model = model, .settings = settings};
    for (int64_t t = 0; t < TEXTS; t++) {
        for (int64_t i = 0; i < s->length[t]; i++) {
            p->text_of[p->rows] = t;
            p->position[p->rows++] = i;
        }
        p->start[t + 1] = p->rows;
    }
    for (int i = 0; i < POINTS; i++) {
        p->columns[i] = otimes_hook_columns(model, hooks_of[i]);
        p->kept[i] = calloc((size_t)(info->n_layers * p->rows * p->columns[i]) + 1, sizeof(float));
        assert_non_null(p->kept[i]);
    }
}

/* Loss and logits at each row of a pass, with one set replaced or (NULL) everything kept; the
 * largest logit. */
static double run_plain(plain *p, otimes_forward *forward, const otimes_ablate_set *set,
                        double *loss, double *logit)
{
    const otimes_model_info *info = otimes_model_describe(p->model);
    const otimes_sequences *s = &p->settings->sequences;
    const int64_t vocab = info->d_vocab_out;
    otimes_err err = {0};
    const otimes_hooks hooks = {
        OTIMES_HOOK_BIT(Z) | OTIMES_HOOK_BIT(MLP_OUT) | OTIMES_HOOK_BIT(MLP_POST), visit, p};
    double largest = 0;
    float *logits = malloc((size_t)(p->rows * vocab) * sizeof *logits);
    assert_non_null(logits);
    p->set = set;
    assert_ok(otimes_forward_run(forward, s, &hooks, &err), &err);
    assert_ok(otimes_forward_logits(forward, 0, p->rows, logits, &err), &err);
    for (int64_t r = 0; r < p->rows; r++) {
        const int64_t t = p->text_of[r], at = p->position[r];
        const float *row = logits + r * vocab;
        double max = -INFINITY, sum = 0;
        for (int64_t o = 0; o < vocab; o++) {
            max = fmax(max, (double)row[o]);
            largest = fmax(largest, fabs((double)row[o]));
        }
        for (int64_t o = 0; o < vocab; o++) {
            sum += exp((double)row[o] - max);
        }
        loss[r] = NAN;
        if (p->settings->loss && at + 1 < s->length[t]) {
            loss[r] = max + log(sum) - (double)row[s->id[t][at + 1]];
        }
        logit[r] = (double)row[p->settings->target[t]] - (double)row[p->settings->against[t]];
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

static double worst; /* of all comparisons, in units of what is allowed */

static void compare(const char *what, double got, double expected, double allowed)
{
    if (isnan(expected) ? !isnan(got) : !(fabs(got - expected) <= allowed)) {
        fail_msg("%s: expected %.9g, got %.9g, allowed %.3g", what, expected, got, allowed);
    }
    if (!isnan(expected)) {
        worst = fmax(worst, fabs(got - expected) / allowed);
    }
}

/* One measure of one ablation against the rows of a plain pass. */
static void compare_measure(const char *label, const otimes_memory_sink *memory, const char *name,
                            const plain *p, int64_t a, int64_t count, const double *rows,
                            const double *clean, int last, double allowed)
{
    char what[512], full[64], changes[64];
    snprintf(full, sizeof full, "%s_change_at", name);
    snprintf(changes, sizeof changes, "%s_change", name);
    const double *values = data_of(memory, name, 2), *change = data_of(memory, changes, 2);
    const float *at = data_of(memory, full, 3);
    for (int64_t t = 0; t < TEXTS; t++) {
        double sum = 0, before = 0;
        int64_t measured = 0;
        for (int64_t r = p->start[t]; r < p->start[t + 1]; r++) {
            const int here = last ? r + 1 == p->start[t + 1] : !isnan(rows[r]);
            sum += here ? rows[r] : 0;
            before += here ? clean[r] : 0;
            measured += here;
            snprintf(what, sizeof what, "%s: %s at %lld of text %lld", label, full,
                     (long long)p->position[r], (long long)t);
            compare(what, (double)at[(t * count + a) * LONGEST + p->position[r]],
                    here ? rows[r] - clean[r] : NAN, 2 * allowed);
        }
        for (int64_t i = p->start[t + 1] - p->start[t]; i < LONGEST; i++) {
            assert_true(isnan(at[(t * count + a) * LONGEST + i]));
        }
        snprintf(what, sizeof what, "%s: %s of text %lld", label, name, (long long)t);
        compare(what, values[t * count + a], sum / (double)measured, allowed);
        compare(what, change[t * count + a], (sum - before) / (double)measured, 2 * allowed);
    }
}

static void check_golden(const golden *g, bool processed, otimes_ablate_method method)
{
    corpus c;
    plain p;
    request r;
    otimes_err err = {0};
    otimes_forward *forward;
    otimes_ablate_set all[ABLATIONS];
    otimes_ablate_member single[ABLATIONS];
    double loss[TEXTS * LONGEST], logit[TEXTS * LONGEST];
    double clean_loss[TEXTS * LONGEST], clean_logit[TEXTS * LONGEST];
    make_corpus(&c, g);
    make_request(&r, g->model, &c);
    r.settings.method = method;
    begin_plain(&p, g->model, &r.settings);
    const int64_t count = list_all(&r, g->model, all, single);
    const otimes_forward_settings kept = {.resident = 1};
    assert_ok(otimes_forward_open(&forward, g->model, &kept, &err), &err);
    otimes_memory_sink *memory = run(g->model, &r.settings);
    const double largest = run_plain(&p, forward, NULL, clean_loss, clean_logit);
    const otimes_array *array = otimes_memory_sink_array(memory, "size", &(const void *){NULL});
    assert_int_equal(array->axis[0]->length, count);
    for (int64_t a = 0; a < count; a++) {
        char label[256];
        snprintf(label, sizeof label, "%s, %s, %s, %s", g->name, processed ? "processed" : "raw",
                 methods[method], array->axis[0]->text[a]);
        /* Products of other shapes round otherwise: a few float32 roundings of each of some dozens
         * of steps, at the size of the logits. */
        const double scale = fmax(largest, run_plain(&p, forward, &all[a], loss, logit));
        const double allowed = 32 * FLT_EPSILON * fmax(scale, 1);
        if (r.settings.loss) {
            compare_measure(label, memory, "loss", &p, a, count, loss, clean_loss, 0, allowed);
        }
        compare_measure(label, memory, "logit", &p, a, count, logit, clean_logit, 1, 2 * allowed);
    }
    for (int i = 0; i < POINTS; i++) {
        free(p.kept[i]);
    }
    otimes_memory_sink_free(&memory);
    otimes_forward_close(&forward);
}

/* A golden on one thread: the models are so small that threads would only wait for each other. */
static void open_alone(golden *g, const char *name, bool processed)
{
    char relative[256];
    otimes_err err = {0};
    otimes_model_settings settings;
    golden_open(g, name, processed);
    otimes_model_close(&g->model);
    otimes_model_settings_default(&settings);
    settings.threads = 1;
    if (!processed) {
        settings.fold_ln = settings.center_writing_weights = 0;
        settings.center_unembed = settings.fold_value_biases = 0;
    }
    snprintf(relative, sizeof relative, "tests/golden/%s", name);
    assert_ok(otimes_model_open(&g->model, source_path(relative), &settings, &err), &err);
}

static void equals_the_plain_way(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            open_alone(&g, golden_names[i], processed);
            for (int m = OTIMES_ABLATE_ZERO; m <= OTIMES_ABLATE_RESAMPLE; m++) {
                check_golden(&g, processed, (otimes_ablate_method)m);
            }
            golden_close(&g);
        }
    }
    print_message("largest difference: %.3f of what is allowed\n", worst);
}

int main(void)
{
    otimes_set_blas_threads(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_plain_way),
    };
    return cmocka_run_group_tests_name("ablate", tests, NULL, NULL);
}
