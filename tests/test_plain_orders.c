/* SPDX-License-Identifier: MIT
 *
 * Losses by order held against A Mathematical Framework's procedure in double, on every golden.
 */
#include "accuracy.h"
#include "forwarding.h"
#include "plain_frozen.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/orders.h>

#define SIZE "largest logit, 1 at least"

static double *zeros(int64_t count)
{
    double *x = calloc((size_t)count + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static double *array_of(const otimes_memory_sink *memory, const char *name, int64_t *count)
{
    double *x = sink_values(memory, name, count);
    if (!x) {
        fail_msg("%s is not written", name);
    }
    return x;
}

static double largest_of(const double *x, int64_t count)
{
    double most = 1;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs(x[i]));
    }
    return most;
}

/* What rounding in float32 may come to: a few eps, which grow on their way. */
static double share_of(const plain_frozen *f)
{
    return 32 * (double)FLT_EPSILON * plain_growth(f->model, f->text, f->name);
}

/* The procedure: passes that write in the place of z what another one saved. */
typedef struct literal {
    const plain_frozen *f;
    bool recompute; /* the final norm of each sum */
    double **write; /* [n_layers] what takes the place of z; NULL: as computed */
    double **saved; /* [n_layers] z as this pass computes it */
    double *losses; /* [n - 1] */
    double largest; /* logit so far */
} literal;

static void rewrite(void *context, trace_key key, int64_t first, int64_t rows, int64_t columns,
                    double *values)
{
    literal *p = context;
    const size_t bytes = (size_t)(rows * columns) * sizeof *values;
    (void)first;
    if (key.hook == OTIMES_HOOK_Z) {
        memcpy(p->saved[key.layer], values, bytes);
        if (p->write[key.layer]) {
            memcpy(values, p->write[key.layer], bytes);
        }
    } else if (key.hook != OTIMES_HOOK_LN_FINAL_SCALE || !p->recompute) {
        plain_frozen_holds(p->f, key, rows * columns, values);
    }
}

static double mean_loss(literal *p, const double *logits)
{
    const int64_t vocab = p->f->info->d_vocab_out, n = p->f->n;
    double mean = 0;
    p->largest = fmax(p->largest, largest_of(logits, n * vocab));
    for (int64_t i = 0; i + 1 < n; i++) {
        const double *row = logits + i * vocab;
        double sum = 0;
        for (int64_t j = 0; j < vocab; j++) {
            sum += exp(row[j] - p->largest);
        }
        p->losses[i] = p->largest + log(sum) - row[p->f->text->id[0][i + 1]];
        mean += p->losses[i] / (double)(n - 1);
    }
    return mean;
}

static double run_literal(literal *p)
{
    trace pass;
    trace_init(&pass, p->f->model, p->f->text);
    pass.change = rewrite;
    pass.context = p;
    double *logits = plain_pass(&pass, p->f->name);
    const double loss = mean_loss(p, logits);
    free(logits);
    trace_free(&pass);
    return loss;
}

/* Where a head's z stands when every block reads zeros. */
static double *nothing_of(const plain_frozen *f, int64_t layer)
{
    return plain_frozen_rows(&f->nothing, OTIMES_HOOK_Z, layer, -1);
}

static void hold_orders(literal *p, const otimes_memory_sink *memory, double share)
{
    const int64_t layers = p->f->info->n_layers, n = p->f->n;
    const int64_t size = n * p->f->info->n_heads * p->f->info->d_head;
    int64_t count;
    double *loss = array_of(memory, "loss", &count), *gain = array_of(memory, "gain", &count);
    double *token = array_of(memory, "token_loss", &count),
           before = log((double)p->f->info->d_vocab_out);
    double **last = calloc((size_t)layers, sizeof *last);
    for (int64_t l = 0; l < layers; l++) {
        last[l] = zeros(size);
    }
    for (int64_t k = 0; k <= layers; k++) {
        for (int64_t l = 0; l < layers; l++) {
            memcpy(last[l], k ? p->saved[l] : nothing_of(p->f, l), (size_t)size * sizeof(double));
            p->write[l] = last[l];
        }
        const double want = run_literal(p);
        accuracy("loss", SIZE, loss[k], want, p->largest, share);
        accuracy("gain", SIZE, gain[k], before - want, p->largest, 2 * share);
        for (int64_t i = 0; i + 1 < n; i++) {
            accuracy("token_loss", SIZE, token[k * n + i], p->losses[i], p->largest, share);
        }
        before = want;
    }
    for (int64_t l = 0; l < layers; l++) {
        free(last[l]);
    }
    free(last);
    free(loss);
    free(gain);
    free(token);
}

/* One pass each with the heads of one layer alone, and without them. */
static void hold_layers(literal *p, const otimes_memory_sink *memory, double share)
{
    const int64_t layers = p->f->info->n_layers;
    static const char *const names[2][2] = {{"loss_only", "marginal"},
                                            {"loss_without", "conditional"}};
    int64_t count;
    for (int way = 0; way < 2; way++) {
        double *loss = array_of(memory, names[way][0], &count);
        double *change = array_of(memory, names[way][1], &count), whole = 0;
        for (int64_t at = -1; at < layers; at++) {
            for (int64_t l = 0; l < layers; l++) {
                p->write[l] = at < 0                    ? (way ? NULL : nothing_of(p->f, l))
                              : (l == at) == (way == 1) ? nothing_of(p->f, l)
                                                        : NULL;
            }
            const double want = run_literal(p);
            whole = at < 0 ? want : whole;
            if (at >= 0) {
                accuracy(names[way][0], SIZE, loss[at], want, p->largest, share);
                accuracy(names[way][1], SIZE, change[at], way ? want - whole : whole - want,
                         p->largest, 2 * share);
            }
        }
        free(loss);
        free(change);
    }
}

static void orders_of(const plain_frozen *f, const otimes_orders_settings *settings)
{
    const int64_t layers = f->info->n_layers;
    otimes_err err = {0};
    otimes_memory_sink *memory;
    int64_t count;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    const int rc = otimes_orders(f->model, settings, otimes_memory_sink_sink(memory), &err);
    if (rc == OTIMES_ERR_UNSUPPORTED) { /* values were clipped, or outputs are other tokens */
        otimes_memory_sink_free(&memory);
        return;
    }
    assert_ok(rc, &err);
    literal p = {.f = f, .recompute = settings->recompute_norm, .losses = zeros(f->n)};
    p.write = calloc((size_t)layers, sizeof *p.write);
    p.saved = calloc((size_t)layers, sizeof *p.saved);
    for (int64_t l = 0; l < layers; l++) {
        p.saved[l] = zeros(f->n * f->info->n_heads * f->info->d_head);
    }
    const double share = share_of(f), own = mean_loss(&p, f->logits);
    double *model = array_of(memory, "model_loss", &count);
    double *predicted = array_of(memory, "predicted_tokens", &count);
    accuracy("model_loss", SIZE, model[0], own, p.largest, share);
    accuracy_exact("predicted_tokens", predicted[0], (double)(f->n - 1));
    hold_orders(&p, memory, share);
    hold_layers(&p, memory, share);
    for (int64_t l = 0; l < layers; l++) {
        free(p.saved[l]);
    }
    free(p.saved);
    free(p.write);
    free(p.losses);
    free(model);
    free(predicted);
    otimes_memory_sink_free(&memory);
}

static void orders(void **state)
{
    (void)state;
    accuracy_of("orders");
    for (int i = 0; golden_names[i]; i++) {
        for (int way = 0; way < 4 && !golden_left_out(i); way++) {
            golden g;
            made_batch batch;
            plain_frozen f;
            otimes_orders_settings settings;
            golden_open_on(1, &g, golden_names[i], (way ^ i) & 1);
            batch_random(&batch, g.model, &(int64_t){7}, 1, 7);
            otimes_orders_settings_default(&settings);
            settings.sequences = batch.sequences;
            settings.mlp_links = way >> 1;
            settings.recompute_norm = way & 1;
            settings.full = 1;
            plain_frozen_open(&f, g.model, g.name, &batch.sequences, settings.mlp_links);
            orders_of(&f, &settings);
            plain_frozen_close(&f);
            golden_close(&g);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
