/* SPDX-License-Identifier: MIT
 *
 * Flows to a target: sums that must close, each part taken out of the pass or sent along alone, and
 * edges by queries and keys against differences of passes whose one pattern moves.
 */
#include "linearised.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "num/dot.h"
#include "run/flows_job.h"
#include "run/forward.h"
#include "run/rope.h"

enum { TEXT = 9 };

typedef struct swept {
    linearised m;
    otimes_flow_scores *scores;
    otimes_flows flows;
    double size; /* of the target: what its terms are rounded against */
} swept;

static otimes_hooks score_hooks(void *context, const otimes_model *model, int64_t n)
{
    otimes_err err = {0};
    otimes_hooks hooks;
    assert_ok(otimes_flow_scores_init(context, model, n, &hooks, &err), &err);
    return hooks;
}

static bool begin(swept *s, int way, int64_t length, bool with_scores)
{
    otimes_err err = {0};
    memset(s, 0, sizeof *s);
    if (!linearised_begin(&s->m, way, length, way % 3 == 0, with_scores ? score_hooks : NULL,
                          &s->scores)) {
        return false;
    }
    if (s->m.n > 0) {
        assert_ok(otimes_flows_sweep(&s->m.linear, &s->m.target, s->scores, &s->flows, &err), &err);
        for (int64_t i = 0; i < s->flows.sources * s->m.n; i++) {
            s->size += fabs(s->flows.source[i]);
        }
        s->size += fabs(s->m.target.offset);
    }
    return true;
}

static void end(swept *s)
{
    otimes_flows_free(&s->flows);
    otimes_flow_scores_free(&s->scores);
    linearised_end(&s->m);
}

static void hold(const swept *s, const char *what, int64_t which, double got, double expected,
                 double size)
{
    if (!(fabs(got - expected) <= 1e-5 * size)) {
        fail_msg("%s (%s): %s %d is %.9g, expected %.9g (of %g)", s->m.name,
                 s->m.linear.role == OTIMES_MLP_AS_LINK ? "link" : "source", what, (int)which, got,
                 expected, size);
    }
}

/* ---- sums ---- */

static double sum(const double *x, int64_t count, int64_t stride, double *size)
{
    double total = 0;
    for (int64_t i = 0; x && i < count; i++) {
        if (!isnan(x[i * stride])) {
            total += x[i * stride];
            *size += fabs(x[i * stride]);
        }
    }
    return total;
}

static void hold_sums(const swept *s)
{
    const otimes_flows *f = &s->flows;
    const int64_t layers = s->m.info->n_layers, heads = f->heads;
    const double value = otimes_linear_target_value(&s->m.linear, &s->m.target);
    double size = s->size, total = s->m.target.offset;
    for (int64_t i = 0; i < f->sources * s->m.n; i++) {
        total += f->source[i];
    }
    hold(s, "all sources", 0, total, value, size);
    total = s->m.target.offset + sum(f->head_direct, heads, 1, &size) +
            sum(f->source_direct, f->sources, 1, &size) + sum(f->mlp_direct, layers, 1, &size);
    hold(s, "all that is direct", 0, total, value, size);
    for (int64_t h = 0; h < heads; h++) {
        double in = s->size, out = s->size;
        total = sum(f->edge[OTIMES_EDGE_V] + h * heads, heads, 1, &in) +
                sum(f->source_edge[OTIMES_EDGE_V] + h * f->sources, f->sources, 1, &in) +
                sum(f->mlp_edge[OTIMES_EDGE_V] + h * layers, layers, 1, &in);
        hold(s, "edges into head", h, total, f->head[h], in);
        total = f->head_direct[h] + sum(f->edge[OTIMES_EDGE_V] + h, heads, heads, &out);
        bool links = false;
        for (int64_t l = 0; l < layers; l++) {
            links = links || otimes_linear_has_mlp(&s->m.linear, l);
        }
        if (!links) {
            hold(s, "edges out of head", h, total, f->head[h], out);
        }
    }
}

/* What is undefined, and nothing else, is NaN. */
static void hold_undefined(const swept *s)
{
    const otimes_flows *f = &s->flows;
    const int64_t layers = s->m.info->n_layers, own = s->m.info->n_heads;
    for (int way = 0; way < OTIMES_EDGE_WAYS; way++) {
        assert_true((f->edge[way] != NULL) == (way == OTIMES_EDGE_V || s->scores));
        for (int64_t h = 0; f->edge[way] && h < f->heads; h++) {
            for (int64_t e = 0; e < f->heads; e++) {
                assert_true(isnan(f->edge[way][h * f->heads + e]) == (e / own >= h / own));
            }
            for (int64_t i = 0; i < f->sources; i++) {
                assert_true(isnan(f->source_edge[way][h * f->sources + i]) ==
                            (s->m.linear.source[i].layer >= h / own));
            }
            for (int64_t l = 0; l < layers; l++) {
                assert_true(isnan(f->mlp_edge[way][h * layers + l]) ==
                            (l >= h / own || !otimes_linear_has_mlp(&s->m.linear, l)));
            }
        }
    }
    for (int64_t l = 0; l < layers; l++) {
        assert_true(isnan(f->mlp[l]) == !otimes_linear_has_mlp(&s->m.linear, l));
        assert_true(isnan(f->mlp_direct[l]) == isnan(f->mlp[l]));
    }
}

/* ---- parts taken out, or sent along alone ---- */

/* One run over the layers by operators alone. */
typedef struct route {
    bool sources;                  /* begin with them; otherwise with what `from` writes */
    int64_t without_head;          /* -1: none */
    int64_t without_mlp;           /* -1: none */
    int64_t only_layer, only_head; /* the head that alone reads what was sent; -1: none */
} route;

/* Adds what a layer makes of x; `sent` is what one head alone reads. */
static void layer_step(linearised *m, const route *r, int64_t l, const float *sent, float *x)
{
    otimes_err err = {0};
    const otimes_model_info *info = m->info;
    const int64_t count = m->n * m->d, heads = info->n_heads;
    const otimes_ready_layer *layer;
    float *z = floats(m->n * heads * info->d_head), *out = floats(count), *mlp = floats(count);
    bool *taken = calloc((size_t)heads, sizeof *taken);
    assert_ok(otimes_layers_get(m->linear.layers, l, &layer, &err), &err);
    for (int64_t h = 0; h < heads; h++) {
        taken[h] = sent ? h == r->only_head : l * heads + h != r->without_head;
    }
    if (r->sources) {
        add_new_sources(m, l, false, x);
    }
    assert_ok(otimes_linear_attention(&m->linear, layer, 1, sent ? sent : x, taken, z, out, &err),
              &err);
    if (!info->parallel) {
        add_floats(count, out, x);
        if (r->sources) {
            add_new_sources(m, l, true, x);
        }
    }
    assert_ok(otimes_linear_mlp(&m->linear, layer, 1, x, mlp, &err), &err);
    if (info->parallel) {
        add_floats(count, out, x);
    }
    if (l != r->without_mlp) {
        add_floats(count, mlp, x);
    }
    free(taken);
    free(z);
    free(out);
    free(mlp);
}

static double at_end(const linearised *m, const float *x)
{
    return otimes_dot(m->target.direction, x + m->q * m->d, m->d);
}

static double value_without(linearised *m, int64_t head, int64_t mlp)
{
    const route r = {true, head, mlp, -1, -1};
    float *x = floats(m->n * m->d);
    for (int64_t l = 0; l < m->info->n_layers; l++) {
        layer_step(m, &r, l, NULL, x);
    }
    add_new_sources(m, m->info->n_layers, false, x);
    const double value = at_end(m, x) + m->target.offset;
    free(x);
    return value;
}

/* What a head writes, biases apart; also as an array [heads][n * d_model] of all of them. */
static float *written(linearised *m)
{
    otimes_err err = {0};
    const otimes_model_info *info = m->info;
    const int64_t count = m->n * m->d, heads = info->n_heads;
    const route r = {true, -1, -1, -1, -1};
    float *x = floats(count), *all = floats(info->n_layers * heads * count);
    float *z = floats(m->n * heads * info->d_head);
    bool *taken = calloc((size_t)heads, sizeof *taken);
    for (int64_t l = 0; l < info->n_layers; l++) {
        const otimes_ready_layer *layer;
        float *before = floats(count);
        memcpy(before, x, (size_t)count * sizeof *x);
        add_new_sources(m, l, false, before);
        assert_ok(otimes_layers_get(m->linear.layers, l, &layer, &err), &err);
        for (int64_t h = 0; h < heads; h++) {
            taken[h] = true;
            assert_ok(otimes_linear_attention(&m->linear, layer, 1, before, taken, z,
                                              all + (l * heads + h) * count, &err),
                      &err);
            taken[h] = false;
        }
        layer_step(m, &r, l, NULL, x);
        free(before);
    }
    free(taken);
    free(z);
    free(x);
    return all;
}

/* What is sent into one head alone is worth at the target. */
static double value_of_edge(linearised *m, const float *sent, int64_t later)
{
    const int64_t heads = m->info->n_heads;
    const route r = {false, -1, -1, later / heads, later % heads};
    float *x = floats(m->n * m->d);
    /* In a parallel block the layer's MLP reads nothing of it. */
    for (int64_t l = later / heads; l < m->info->n_layers; l++) {
        layer_step(m, &r, l, l == r.only_layer ? sent : NULL, x);
    }
    const double value = at_end(m, x);
    free(x);
    return value;
}

static void hold_parts(swept *s)
{
    linearised *m = &s->m;
    const otimes_flows *f = &s->flows;
    const int64_t count = m->n * m->d, layers = m->info->n_layers;
    const double all = value_without(m, -1, -1);
    float *writes = written(m);
    for (int64_t h = 0; h < f->heads; h++) {
        const double size = s->size + fabs(f->head[h]);
        hold(s, "flow through head", h, f->head[h], all - value_without(m, h, -1), size);
        hold(s, "direct from head", h, f->head_direct[h], at_end(m, writes + h * count), size);
        for (int64_t e = h % 3; e < h / m->info->n_heads * m->info->n_heads; e += 3) {
            const double edge = f->edge[OTIMES_EDGE_V][h * f->heads + e];
            hold(s, "edge by values", h * f->heads + e, edge,
                 value_of_edge(m, writes + e * count, h), size + fabs(edge));
        }
        for (int64_t i = 0; i < f->sources; i++) {
            const double edge = f->source_edge[OTIMES_EDGE_V][h * f->sources + i];
            if (!isnan(edge)) {
                hold(s, "edge from source", i, edge, value_of_edge(m, m->linear.source[i].rows, h),
                     size + fabs(edge));
            }
        }
    }
    for (int64_t l = 0; l < layers; l++) {
        if (!isnan(f->mlp[l])) {
            hold(s, "flow through MLP", l, f->mlp[l], all - value_without(m, -1, l),
                 s->size + fabs(f->mlp[l]));
        }
    }
    free(writes);
}

static void parts(void **state)
{
    int compared = 0;
    swept s;
    (void)state;
    for (int way = 0; begin(&s, way, TEXT, way % 5 != 0); way++) {
        if (s.m.n > 0) {
            hold_sums(&s);
            hold_undefined(&s);
            hold_parts(&s);
            compared++;
        }
        end(&s);
    }
    print_message("%d passes\n", compared);
    assert_true(compared > 220);
}

/* Many positions: several parts and strips. */
static void long_texts(void **state)
{
    int compared = 0;
    swept s;
    (void)state;
    for (int way = 0; begin(&s, way, 150 + 7 * (way % 8), way % 5 != 0); way += 7) {
        if (s.m.n > 0) {
            hold_sums(&s);
            hold_undefined(&s);
            compared++;
        }
        end(&s);
    }
    assert_true(compared > 30);
}

/* Tiles of any size give the same. */
static void tiles(void **state)
{
    swept s;
    (void)state;
    for (int way = 1; begin(&s, way, 40, true); way += 29) {
        for (int64_t bytes = 1; s.m.n > 0 && bytes < 1 << 20; bytes *= 64) {
            otimes_err err = {0};
            const otimes_flows first = s.flows;
            assert_ok(
                otimes_flows_sweep_tiled(&s.m.linear, &s.m.target, s.scores, bytes, &s.flows, &err),
                &err);
            hold_sums(&s);
            hold_undefined(&s);
            for (int64_t i = 0; i < s.flows.heads * s.flows.heads; i++) {
                for (int edge = 0; edge < OTIMES_EDGE_WAYS; edge++) {
                    const double got = s.flows.edge[edge][i], expected = first.edge[edge][i];
                    if (!isnan(expected)) {
                        hold(&s, "edge of tiles", i, got, expected, s.size + fabs(expected));
                    }
                }
            }
            otimes_flows_free(&s.flows);
            s.flows = first;
        }
        end(&s);
    }
}

/* ---- queries and keys ---- */

/* A pass in which everything is put back but one head's pattern. */
typedef struct moved {
    swept *s;
    otimes_hook point; /* where queries or keys are changed */
    int64_t layer, head;
    int64_t from; /* column of the change */
    float *delta; /* [n, d_head] */
    double other; /* about how far a score moves for 1 in each entry */
    float eps;
    float *end; /* [n, d_model] the stream behind the last layer */
} moved;

static int move(void *context, const otimes_activation *a, otimes_err *err)
{
    const moved *m = context;
    const linearised *l = &m->s->m;
    const int64_t e = l->info->d_head;
    if (a->hook == OTIMES_HOOK_PATTERN && a->layer == m->layer && a->head == m->head) {
        return OTIMES_OK;
    }
    for (int64_t i = 0; a->hook == m->point && a->layer == m->layer && i < a->rows; i++) {
        for (int64_t k = 0; k < e; k++) {
            a->data[i * a->stride + m->from + k] += m->eps * m->delta[(a->first + i) * e + k];
        }
    }
    for (int64_t i = 0; i < l->linear.source_count && a->hook == OTIMES_HOOK_MLP_OUT; i++) {
        const otimes_linear_source *source = &l->linear.source[i];
        if (source->kind == OTIMES_SOURCE_MLP && source->layer == a->layer) {
            for (int64_t j = 0; j < a->rows; j++) {
                memcpy(a->data + j * a->stride, source->rows + (a->first + j) * l->d,
                       (size_t)l->d * sizeof(float));
            }
        }
    }
    if (a->hook == OTIMES_HOOK_RESID_POST && a->layer == l->info->n_layers - 1) {
        for (int64_t i = 0; i < a->rows; i++) {
            memcpy(m->end + (a->first + i) * l->d, a->data + i * a->stride,
                   (size_t)l->d * sizeof(float));
        }
    }
    return l->linear.frozen.points >> a->hook & 1
               ? otimes_frozen_visit((void *)(uintptr_t)&l->linear.frozen, a, err)
               : OTIMES_OK;
}

static double value_moved(moved *m, double eps)
{
    otimes_err err = {0};
    linearised *l = &m->s->m;
    const otimes_hooks hooks = {.points = l->linear.frozen.points | OTIMES_HOOK_BIT(MLP_OUT) |
                                          OTIMES_HOOK_BIT(RESID_POST) | OTIMES_HOOK_BIT(PATTERN) |
                                          (uint64_t)1 << m->point,
                                .visit = move,
                                .context = m};
    m->eps = (float)eps;
    l->linear.frozen.replay = true;
    assert_ok(otimes_forward_run(l->forward, &l->batch.sequences, &hooks, &err), &err);
    l->linear.frozen.replay = false;
    return at_end(l, m->end);
}

/* What queries and keys of a layer were before norms and turns. */
typedef struct raw {
    otimes_hook hook;
    int64_t layer;
    float *rows;
} raw;

static int keep_raw(void *context, const otimes_activation *a, otimes_err *err)
{
    const raw *r = context;
    (void)err;
    for (int64_t i = 0; a->hook == r->hook && a->layer == r->layer && i < a->rows; i++) {
        memcpy(r->rows + (a->first + i) * a->columns, a->data + i * a->stride,
               (size_t)a->columns * sizeof(float));
    }
    return OTIMES_OK;
}

static float *raw_rows(linearised *m, otimes_hook hook, int64_t layer, int64_t columns)
{
    otimes_err err = {0};
    raw r = {hook, layer, floats(m->n * columns)};
    const otimes_hooks hooks = {(uint64_t)1 << hook, keep_raw, &r};
    assert_ok(otimes_forward_run(m->forward, &m->batch.sequences, &hooks, &err), &err);
    return r.rows;
}

/* delta [n, d_head] through the norm of queries or keys, its scale frozen. */
static void through_norm(linearised *m, const float *rows, const float *w, int64_t heads,
                         int64_t own, double *delta)
{
    const otimes_model_info *info = m->info;
    const int64_t e = info->d_head;
    const bool all = info->qk_norm == OTIMES_QK_NORM_ALL,
               centre = info->qk_norm == OTIMES_QK_NORM_LN;
    const int64_t width = all ? heads * e : e;
    for (int64_t t = 0; t < m->n; t++) {
        const float *x = rows + t * heads * e + (all ? 0 : own * e);
        double mean = 0, square = 0, shift = 0;
        for (int64_t k = 0; centre && k < width; k++) {
            mean += (double)x[k] / (double)width;
        }
        for (int64_t k = 0; k < width; k++) {
            square += ((double)x[k] - mean) * ((double)x[k] - mean) / (double)width;
        }
        for (int64_t k = 0; centre && k < e; k++) {
            shift += delta[t * e + k] / (double)e;
        }
        for (int64_t k = 0; k < e; k++) {
            delta[t * e + k] =
                (delta[t * e + k] - shift) / sqrt(square + info->eps) * (double)w[own * e + k];
        }
    }
}

static void through_turn(linearised *m, const otimes_rope *rope, double *delta)
{
    otimes_err err = {0};
    const int64_t e = m->info->d_head, half = rope->dim / 2;
    double *frequency = calloc((size_t)half, sizeof *frequency);
    assert_ok(otimes_rope_frequencies(m->model, rope, frequency, &err), &err);
    for (int64_t t = 0; t < m->n; t++) {
        for (int64_t i = 0; i < half; i++) {
            const double angle = (double)t * frequency[i];
            const double c = rope->magnitude * cos(angle), s = rope->magnitude * sin(angle);
            double *a = delta + t * e + (rope->adjacent ? 2 * i : i);
            double *b = delta + t * e + (rope->adjacent ? 2 * i + 1 : i + half);
            const double x = *a, y = *b;
            *a = x * c - y * s;
            *b = y * c + x * s;
        }
    }
    free(frequency);
}

static double largest_of(const float *x, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)x[i]));
    }
    return most;
}

/* The change of one head's queries (keys) that rows `x` of the stream make. */
static void set_delta(moved *m, const otimes_ready_layer *layer, bool queries, const float *x)
{
    linearised *l = &m->s->m;
    const otimes_model_info *info = l->info;
    const int64_t e = info->d_head, d = l->d, heads = queries ? info->n_heads : info->n_kv_heads;
    const int64_t own = queries ? m->head : m->head / (info->n_heads / info->n_kv_heads);
    const int64_t width = (info->n_heads + 2 * info->n_kv_heads) * e;
    const float *W = layer->W_QKV + (queries ? 0 : info->n_heads * e) + own * e;
    const float *w = queries ? layer->rest.q_norm_w.data : layer->rest.k_norm_w.data;
    const otimes_rope *rope = otimes_layer_rope(l->model, m->layer);
    float *read = floats(l->n * d), *rows = NULL;
    double *delta = calloc((size_t)(l->n * e), sizeof *delta);
    otimes_linear_norm(&l->linear, layer, false, 0, l->n, x, read);
    for (int64_t t = 0; t < l->n; t++) {
        for (int64_t k = 0; k < e; k++) {
            for (int64_t i = 0; i < d; i++) {
                delta[t * e + k] += (double)read[t * d + i] * (double)W[i * width + k];
            }
        }
    }
    if (w || info->clip_qkv > 0) {
        rows = raw_rows(l, queries ? OTIMES_HOOK_Q : OTIMES_HOOK_K, m->layer, heads * e);
    }
    for (int64_t i = 0; info->clip_qkv > 0 && i < l->n * e; i++) {
        const float raw_entry = rows[i / e * heads * e + own * e + i % e];
        delta[i] *= fabsf(raw_entry) < (float)info->clip_qkv;
    }
    if (w) {
        through_norm(l, rows, w, heads, own, delta);
    }
    if (rope) {
        through_turn(l, rope, delta);
    }
    assert_true(rope || !w); /* otherwise nothing shows them behind the norm */
    m->point = queries ? (rope ? OTIMES_HOOK_ROT_Q : OTIMES_HOOK_Q)
                       : (rope ? OTIMES_HOOK_ROT_K : OTIMES_HOOK_K);
    m->from = own * e;
    const otimes_hook other = queries ? (rope ? OTIMES_HOOK_ROT_K : OTIMES_HOOK_K)
                                      : (rope ? OTIMES_HOOK_ROT_Q : OTIMES_HOOK_Q);
    const int64_t columns = (queries ? info->n_kv_heads : info->n_heads) * e;
    float *others = raw_rows(l, other, m->layer, columns);
    m->other = largest_of(others, l->n * columns) * sqrt((double)e) / info->attn_scale;
    free(others);
    for (int64_t i = 0; i < l->n * e; i++) {
        m->delta[i] = (float)delta[i];
    }
    free(rows);
    free(read);
    free(delta);
}

/* d target / d eps by five points: the error is of fourth order. */
static double slope_of(moved *m, double step)
{
    const double near = value_moved(m, step) - value_moved(m, -step);
    const double far = value_moved(m, 2 * step) - value_moved(m, -2 * step);
    return (8 * near - far) / (12 * step);
}

typedef struct tally {
    int compared, told; /* edges, and those larger than what is allowed by ten times */
    double worst;
} tally;

static void hold_slope(moved *m, const char *what, int64_t which, double got, tally *t)
{
    const linearised *l = &m->s->m;
    const double size = largest_of(m->delta, l->n * l->info->d_head);
    if (size == 0) {
        assert_true(fabs(got) == 0);
        return;
    }
    /* Scores move by tenths at most; what the float pass rounds is divided by that. */
    const double step = 0.5 / (size * m->other), slope = slope_of(m, step);
    const double allowed = 3e-6 * m->s->size / step + 2e-3 * fabs(slope);
    if (!(fabs(got - slope) <= allowed)) {
        fail_msg("%s: %s %d into head %d of layer %d is %.9g, expected %.9g (+-%g)", l->name, what,
                 (int)which, (int)m->head, (int)m->layer, got, slope, allowed);
    }
    t->compared++;
    t->told += fabs(slope) > 10 * allowed;
    t->worst = fmax(t->worst, fabs(got - slope) / allowed);
}

/* Edges into some heads, each from some head and some source. */
static void hold_scores(swept *s, tally *t)
{
    linearised *l = &s->m;
    const otimes_flows *f = &s->flows;
    const int64_t count = l->n * l->d, own = l->info->n_heads;
    float *writes = written(l);
    for (int64_t h = 0; h < f->heads; h += own > 4 ? 3 : 1) {
        otimes_err err = {0};
        const otimes_ready_layer *layer;
        moved m = {.s = s,
                   .layer = h / own,
                   .head = h % own,
                   .delta = floats(l->n * l->info->d_head),
                   .end = floats(count)};
        assert_ok(otimes_layers_get(l->linear.layers, m.layer, &layer, &err), &err);
        for (int way = OTIMES_EDGE_Q; way <= OTIMES_EDGE_K; way++) {
            const bool queries = way == OTIMES_EDGE_Q;
            const int64_t earlier = m.layer * own > 0 ? (5 * h + way) % (m.layer * own) : -1;
            const int64_t source = (h + way) % f->sources;
            if (earlier >= 0) {
                set_delta(&m, layer, queries, writes + earlier * count);
                hold_slope(&m, queries ? "edge by queries" : "edge by keys", earlier,
                           f->edge[way][h * f->heads + earlier], t);
            }
            if (l->linear.source[source].layer < m.layer) {
                set_delta(&m, layer, queries, l->linear.source[source].rows);
                hold_slope(&m, queries ? "source by queries" : "source by keys", source,
                           f->source_edge[way][h * f->sources + source], t);
            }
        }
        free(m.delta);
        free(m.end);
    }
    free(writes);
}

static void scores(void **state)
{
    tally t = {0};
    swept s;
    (void)state;
    for (int way = 0; begin(&s, way, TEXT, true); way++) {
        if (s.m.n > 0) {
            hold_scores(&s, &t);
        }
        end(&s);
    }
    /* More than one strip of queries. */
    for (int way = 2; begin(&s, way, 140, true); way += 101) {
        if (s.m.n > 0) {
            hold_scores(&s, &t);
        }
        end(&s);
    }
    print_message("%d edges by queries and keys, %d of them told from zero, worst %.2g of what is "
                  "allowed\n",
                  t.compared, t.told, t.worst);
    assert_true(t.compared > 2000 && t.told > 1000);
}

/* Where queries and keys are clipped and values are not, what is clipped does not move. */
static void clipped(void **state)
{
    int found = 0;
    tally t = {0};
    (void)state;
    /* Any architecture will do, at a limit between its largest value and its largest query. */
    for (int way = 0; golden_names[way / 16] && found < 4; way++) {
        otimes_err err = {0};
        int64_t held = 0;
        swept s;
        memset(&s, 0, sizeof s);
        golden_open(&s.m.g, golden_names[way / 16], true);
        s.m.g.model->info.clip_qkv = 0.1 * pow(1.4, way % 16);
        const otimes_hooks hooks = score_hooks(&s.scores, s.m.g.model, TEXT);
        linearised_open(&s.m, golden_names[way / 16], s.m.g.model, OTIMES_MLP_AS_LINK, TEXT, false,
                        &hooks);
        for (int64_t l = 0; s.m.n > 0 && l < s.m.info->n_layers; l++) {
            for (int64_t i = 0; i < s.m.n * s.m.info->n_heads * s.m.info->d_head; i++) {
                held += !s.scores->q_free[l][i];
            }
        }
        if (held > 0) {
            assert_ok(otimes_flows_sweep(&s.m.linear, &s.m.target, s.scores, &s.flows, &err), &err);
            for (int64_t i = 0; i < s.flows.sources * s.m.n; i++) {
                s.size += fabs(s.flows.source[i]);
            }
            hold_sums(&s);
            hold_scores(&s, &t);
            found++;
        }
        end(&s);
    }
    assert_true(found > 0 && t.told > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts),  cmocka_unit_test(long_texts), cmocka_unit_test(tiles),
        cmocka_unit_test(scores), cmocka_unit_test(clipped),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
