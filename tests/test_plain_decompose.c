/* SPDX-License-Identifier: MIT
 *
 * decompose held against a pass in double on every golden: each part of the stream, the lens, what heads
 * moved from each position, neurons.
 */
#include "accuracy.h"
#include "decomposed.h"
#include "plain_frozen.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTS "sum of the sizes of all parts, 1 at least"
#define NORM "norm of the stream"
#define LOGIT "largest logit, 1 at least"

/* A run and one text's pass. */
typedef struct held {
    const fixture *f;
    const otimes_memory_sink *memory;
    plain_frozen pass;
    int64_t text;
    double size, largest,
        share; /* sum of attributions' sizes; largest logit; of both, what may be off */
} held;

static double *zeros(int64_t count)
{
    double *x = calloc((size_t)count + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

/* ---- parts ---- */

static void subtract(double *x, const double *y, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        x[i] -= y[i];
    }
}

/* Rows [n, d_model] that a component writes; false where it is the target's bias. */
static bool component(const plain_frozen *p, const char *label, double *rows)
{
    const bool apart = p->info->positions == OTIMES_POSITIONS_LEARNED && !p->info->embed_norm;
    const int64_t count = p->n * p->d;
    long long l = 0, h = 0;
    char what[32] = "";
    const double *from;
    if (strcmp(label, "bias") == 0) {
        return false;
    }
    if (strcmp(label, "pos_embed") == 0) {
        from = plain_frozen_rows(&p->pass, OTIMES_HOOK_POS_EMBED, -1, -1);
    } else if (strcmp(label, "embed") == 0) {
        from = apart ? plain_frozen_rows(&p->pass, OTIMES_HOOK_EMBED, -1, -1)
                     : plain_frozen_rows(&p->pass, OTIMES_HOOK_RESID_PRE, 0, -1);
    } else if (sscanf(label, "L%lldH%lld", &l, &h) == 2) {
        from = plain_frozen_rows(&p->pass, OTIMES_HOOK_RESULT, l, h);
    } else {
        assert_int_equal(sscanf(label, "L%lld %31[^\n]", &l, what), 2);
        from = plain_frozen_rows(
            &p->pass, strcmp(what, "MLP") == 0 ? OTIMES_HOOK_MLP_OUT : OTIMES_HOOK_ATTN_OUT, l, -1);
    }
    memcpy(rows, from, (size_t)count * sizeof *rows);
    if (strchr(label, 'H')) {
        plain_frozen_post(p, OTIMES_HOOK_LN1_POST_SCALE, l, rows);
    }
    for (int64_t i = 0; strcmp(what, "attn bias") == 0 && i < p->info->n_heads; i++) {
        char head[48];
        double *part = zeros(count);
        snprintf(head, sizeof head, "L%lldH%lld", l, (long long)i);
        component(p, head, part);
        subtract(rows, part, count);
        free(part);
    }
    return true;
}

static double dot(const double *x, const double *y, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}

static int64_t where(const held *h, int64_t position)
{
    return h->text * h->f->longest + position;
}

static void hold_component(const held *h, const values *part, int64_t c)
{
    const plain_frozen *p = &h->pass;
    const int64_t d = p->d;
    const double *end =
        plain_frozen_rows(&p->pass, OTIMES_HOOK_RESID_POST, p->info->n_layers - 1, -1);
    const values norm = get(h->memory, "component_norm"),
                 cosine = get(h->memory, "component_cosine");
    double *rows = zeros(p->n * d);
    const bool written = component(p, part->array->axis[3]->text[c], rows);
    for (int64_t i = 0; i < p->n; i++) {
        for (int64_t t = 0; t < TARGETS; t++) {
            const int64_t token = h->f->target[t], against = h->f->against[t];
            accuracy("attribution", PARTS, part->x[(where(h, i) * TARGETS + t) * part->last + c],
                     written ? plain_frozen_worth(p, i, token, against, rows)
                             : plain_frozen_bias(p, token, against),
                     h->size, h->share);
        }
        const double own = sqrt(dot(rows + i * d, rows + i * d, d));
        const double whole = sqrt(dot(end + i * d, end + i * d, d));
        accuracy("component_norm", NORM ", or its own", norm.x[where(h, i) * norm.last + c],
                 written ? own : NAN, fmax(own, whole), h->share);
        accuracy("component_cosine", NORM " over its own, 1 at least",
                 cosine.x[where(h, i) * cosine.last + c],
                 written && own > 0 ? dot(rows + i * d, end + i * d, d) / (own * whole) : NAN,
                 own > 0 ? fmax(1, whole / own) : 1, h->share);
    }
    free(rows);
    free(norm.x);
    free(cosine.x);
}

static void hold_stream(const held *h)
{
    const plain_frozen *p = &h->pass;
    const int64_t d = p->d, u = p->info->d_vocab_out;
    const double *end =
        plain_frozen_rows(&p->pass, OTIMES_HOOK_RESID_POST, p->info->n_layers - 1, -1);
    const double cap = p->info->final_softcap;
    const values norm = get(h->memory, "residual_norm"), scale = get(h->memory, "norm_scale");
    const values value = get(h->memory, "target_value");
    const values residue = get(h->memory, "attribution_residue");
    const values target = get(h->memory, "target_id"), against = get(h->memory, "against_id");
    for (int64_t i = 0; i < p->n; i++) {
        const double want = sqrt(dot(end + i * d, end + i * d, d));
        accuracy("residual_norm", "its value", norm.x[where(h, i)], want, want, h->share);
        if (p->info->norm != OTIMES_NORM_NONE) {
            const double s = plain_frozen_rows(&p->pass, OTIMES_HOOK_LN_FINAL_SCALE, -1, -1)[i];
            accuracy("norm_scale", "its value", scale.x[where(h, i)], s, s, h->share);
        }
        for (int64_t t = 0; t < TARGETS; t++) {
            const double *row = p->logits + i * u;
            double logit[2] = {row[h->f->target[t]],
                               h->f->against[t] < 0 ? 0 : row[h->f->against[t]]};
            for (int k = 0; k < 2; k++) {
                logit[k] = cap > 0 ? cap * atanh(logit[k] / cap) : logit[k];
            }
            const int64_t at = where(h, i) * TARGETS + t;
            accuracy("target_value", PARTS, value.x[at], logit[0] - logit[1], h->size, h->share);
            accuracy("attribution_residue", PARTS, residue.x[at], 0, h->size, h->share);
            accuracy_exact("target_id", target.x[at], (double)h->f->target[t]);
            accuracy_exact("against_id", against.x[at], (double)h->f->against[t]);
        }
    }
    const values all[] = {norm, scale, value, residue, target, against};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i].x);
    }
}

/* ---- the lens ---- */

/* Logits of a row of the stream by the final norm with statistics of its own, before a soft cap. */
static void lens_of(const plain_frozen *p, const double *x, double *logits)
{
    const int64_t d = p->d;
    double mean = 0, square = 0, *y = zeros(d);
    for (int64_t j = 0; p->info->norm == OTIMES_NORM_LN && j < d; j++) {
        mean += x[j] / (double)d;
    }
    for (int64_t j = 0; j < d; j++) {
        y[j] = x[j] - mean;
        square += y[j] * y[j] / (double)d;
    }
    const double s = p->info->norm == OTIMES_NORM_NONE ? 1 : sqrt(square + p->info->eps);
    for (int64_t j = 0; j < d; j++) {
        y[j] = y[j] / s * (p->unembed.ln_w ? (double)p->unembed.ln_w[j] : 1);
        y[j] += p->unembed.ln_b ? (double)p->unembed.ln_b[j] : 0;
    }
    for (int64_t v = 0; v < p->info->d_vocab_out; v++) {
        logits[v] = p->unembed.bias ? (double)p->unembed.bias[v] : 0;
        for (int64_t j = 0; j < d; j++) {
            logits[v] += y[j] * (double)p->U[v * d + j];
        }
    }
    free(y);
}

/* Rows of the stream at "2_pre", "2_mid" or "final_post". */
static const double *point_rows(const plain_frozen *p, const char *label)
{
    long long l;
    char what[8];
    if (strcmp(label, "final_post") == 0) {
        return plain_frozen_rows(&p->pass, OTIMES_HOOK_RESID_POST, p->info->n_layers - 1, -1);
    }
    assert_int_equal(sscanf(label, "%lld_%7s", &l, what), 2);
    return plain_frozen_rows(
        &p->pass, strcmp(what, "pre") ? OTIMES_HOOK_RESID_MID : OTIMES_HOOK_RESID_PRE, l, -1);
}

static void hold_lens_at(const held *h, const values *lens, int64_t point, int64_t i)
{
    const plain_frozen *p = &h->pass;
    const int64_t u = p->info->d_vocab_out;
    const double cap = p->info->final_softcap;
    const values rank = get(h->memory, "lens_rank"), log_prob = get(h->memory, "lens_log_prob");
    double *logits = zeros(u), most = h->largest, sum = 0;
    lens_of(p, point_rows(p, lens->array->axis[3]->text[point]) + i * p->d, logits);
    for (int64_t v = 0; v < u; v++) {
        most = fmax(most, fabs(logits[v]));
        sum += exp((cap > 0 ? cap * tanh(logits[v] / cap) : logits[v]) - h->largest);
    }
    for (int64_t t = 0; t < TARGETS; t++) {
        const int64_t at = (where(h, i) * TARGETS + t) * lens->last + point;
        const double own = logits[h->f->target[t]], off = 2 * h->share * most;
        const double capped = cap > 0 ? cap * tanh(own / cap) : own;
        int64_t surely = 0, perhaps = 0;
        for (int64_t v = 0; v < u; v++) {
            surely += logits[v] > own + off;
            perhaps += v != h->f->target[t] && logits[v] > own - off;
        }
        accuracy("logit_lens", LOGIT, lens->x[at],
                 own - (h->f->against[t] < 0 ? 0 : logits[h->f->against[t]]), most, 2 * h->share);
        accuracy("lens_log_prob", LOGIT, log_prob.x[at], capped - h->largest - log(sum), most,
                 2 * h->share);
        accuracy_between("lens_rank", (int64_t)rank.x[at], surely, perhaps);
    }
    free(logits);
    free(rank.x);
    free(log_prob.x);
}

/* ---- sources and neurons ---- */

/* What a head moved from key k, [n, d_model]. */
static void source_rows(const plain_frozen *p, int64_t l, int64_t head, int64_t k, double *rows)
{
    const int64_t e = p->info->d_head, d = p->d, kv = p->info->n_kv_heads;
    const double *v = plain_frozen_rows(&p->pass, OTIMES_HOOK_V, l, -1) +
                      (k * kv + head / (p->info->n_heads / kv)) * e;
    const double *pattern = plain_frozen_rows(&p->pass, OTIMES_HOOK_PATTERN, l, head);
    const float *O = p->layer[l].W_O.data + head * e * d;
    memset(rows, 0, (size_t)(p->n * d) * sizeof *rows);
    for (int64_t i = 0; i < p->n * d; i++) {
        for (int64_t c = 0; c < e; c++) {
            rows[i] += pattern[i / d * p->n + k] * v[c] * (double)O[c * d + i % d];
        }
    }
    plain_frozen_post(p, OTIMES_HOOK_LN1_POST_SCALE, l, rows);
}

static void hold_moved(const held *h, int64_t l, int64_t head)
{
    const plain_frozen *p = &h->pass;
    const values moved = get(h->memory, "source_attribution");
    const int64_t heads = p->info->n_heads, layers = p->info->n_layers;
    double *rows = zeros(p->n * p->d);
    for (int64_t k = 0; k < p->n; k++) {
        source_rows(p, l, head, k, rows);
        for (int64_t at = 0; at < p->n * TARGETS; at++) {
            const int64_t i = at / TARGETS, t = at % TARGETS;
            const int64_t place = ((where(h, i) * TARGETS + t) * layers + l) * heads + head;
            accuracy("source_attribution", PARTS, moved.x[place * moved.last + k],
                     plain_frozen_worth(p, i, h->f->target[t], h->f->against[t], rows), h->size,
                     h->share);
        }
    }
    free(rows);
    free(moved.x);
}

/* One neuron (-1: the output bias) of a layer without experts at every position, [n, d_model]. */
static void neuron_rows(const plain_frozen *p, int64_t l, int64_t neuron, double *rows)
{
    const otimes_layer *w = &p->layer[l];
    const int64_t d = p->d, m = w->W_in.dim[1];
    const double *post = plain_frozen_rows(&p->pass, OTIMES_HOOK_MLP_POST, l, -1);
    for (int64_t i = 0; i < p->n * d; i++) {
        rows[i] = neuron >= 0 ? post[i / d * m + neuron] * (double)w->W_out.data[neuron * d + i % d]
                  : w->b_out.data ? (double)w->b_out.data[i % d]
                                  : 0;
    }
    plain_frozen_post(p, OTIMES_HOOK_LN2_POST_SCALE, l, rows);
}

static void hold_neurons(const held *h, int64_t l)
{
    const plain_frozen *p = &h->pass;
    const values all = get(h->memory, "neuron_attribution"), sums = get(h->memory, "neuron_sum");
    const values rest = get(h->memory, "neuron_rest");
    const int64_t layers = p->info->n_layers, m = p->layer[l].W_in.dim[1];
    double *rows = zeros(p->n * p->d), *sum = zeros(p->n * TARGETS);
    for (int64_t neuron = 0; neuron <= m; neuron++) {
        neuron_rows(p, l, neuron < m ? neuron : -1, rows);
        for (int64_t at = 0; at < p->n * TARGETS; at++) {
            const int64_t i = at / TARGETS, t = at % TARGETS;
            const int64_t place = (where(h, i) * TARGETS + t) * layers + l;
            const double want = plain_frozen_worth(p, i, h->f->target[t], h->f->against[t], rows);
            if (neuron < m) {
                sum[at] += want;
                accuracy("neuron_attribution", PARTS, all.x[place * all.last + neuron], want,
                         h->size, h->share);
            } else {
                accuracy("neuron_rest", PARTS, rest.x[place], want, h->size, h->share);
                accuracy("neuron_sum", PARTS, sums.x[place], sum[at], h->size, h->share);
            }
        }
    }
    free(rows);
    free(sum);
    free(all.x);
    free(sums.x);
    free(rest.x);
}

/* ---- a text ---- */

static void hold_text(held *h)
{
    const plain_frozen *p = &h->pass;
    const values part = get(h->memory, "attribution"), lens = get(h->memory, "logit_lens");
    const int64_t layers = p->info->n_layers;
    h->size = h->largest = 1;
    for (int64_t at = where(h, 0) * TARGETS; at < (where(h, 0) + p->n) * TARGETS; at++) {
        double sum = 0;
        for (int64_t c = 0; c < part.last; c++) {
            sum += fabs(part.x[at * part.last + c]);
        }
        h->size = fmax(h->size, sum);
    }
    for (int64_t i = 0; i < p->n * p->info->d_vocab_out; i++) {
        h->largest = fmax(h->largest, fabs(p->logits[i]));
    }
    hold_stream(h);
    for (int64_t c = 0; c < part.last; c++) {
        hold_component(h, &part, c);
    }
    for (int64_t at = 0; at < p->n * lens.last; at++) {
        hold_lens_at(h, &lens, at % lens.last, at / lens.last);
    }
    for (int64_t at = 0; at < layers * p->info->n_heads; at++) {
        hold_moved(h, at / p->info->n_heads, at % p->info->n_heads);
    }
    for (int64_t l = 0; l < layers; l++) {
        if (p->layer[l].W_in.data && !p->layer[l].W_router.data) {
            hold_neurons(h, l);
        }
    }
    free(part.x);
    free(lens.x);
}

static void parts_of(const char *name, bool processed)
{
    fixture f;
    begin(&f, name, processed);
    f.settings.parts = OTIMES_DECOMPOSE_ALL;
    f.settings.lens = f.settings.sources = f.settings.full = 1;
    otimes_memory_sink *memory = decompose(&f);
    for (int64_t s = 0; s < TEXTS; s++) {
        const int64_t *const id = f.id[s];
        const otimes_sequences text = {1, &f.length[s], &id};
        held h = {.f = &f, .memory = memory, .text = s};
        h.share = 16 * (double)FLT_EPSILON * plain_growth(f.g.model, &text, name);
        plain_frozen_open(&h.pass, f.g.model, name, &text, false);
        hold_text(&h);
        plain_frozen_close(&h.pass);
    }
    otimes_memory_sink_free(&memory);
    end(&f);
}

static void parts(void **state)
{
    (void)state;
    accuracy_of("decompose");
    each_golden(parts_of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
