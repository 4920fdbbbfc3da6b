/* SPDX-License-Identifier: MIT
 *
 * Skip-trigrams against every triple of toy vocabularies, in plain float64 loops from the weights.
 */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/trigrams.h>

#include "analysis/trigrams_job.h"
#include "model/model.h"
#include "run/rope.h"

static otimes_memory_sink *run(const otimes_model *model, const otimes_trigrams_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_trigrams(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

/* ---- a plain reference ---- */

/* Scores [d_vocab, d_vocab] (destination, source) and effects [d_vocab, d_vocab_out] of a head. */
typedef struct plain {
    int64_t vocab, outs;
    double *score, *effect;
    double largest_score, largest_effect;
} plain;

static void plain_norm(otimes_norm norm, double eps, const float *w, const float *b, int64_t d,
                       double *x)
{
    double mean = 0, square = 0;
    for (int64_t i = 0; norm == OTIMES_NORM_LN && i < d; i++) {
        mean += x[i] / (double)d;
    }
    for (int64_t i = 0; i < d; i++) {
        square += (x[i] - mean) * (x[i] - mean) / (double)d;
    }
    for (int64_t i = 0; norm != OTIMES_NORM_NONE && i < d; i++) {
        x[i] = (x[i] - mean) / sqrt(square + eps) * (w ? (double)w[i] : 1) + (b ? (double)b[i] : 0);
    }
}

/* The token as the head reads it; `pos` NULL: no position. */
static void plain_read(const otimes_model *model, const otimes_layer *layer, int64_t token,
                       const float *pos, bool raw, double *x)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model;
    const bool after = info->positions == OTIMES_POSITIONS_SHORTFORMER;
    float *row = malloc((size_t)(3 * d) * sizeof *row);
    assert_ok(otimes_embed_rows(model, token, 1, row, NULL), NULL);
    for (int64_t i = 0; i < d; i++) {
        x[i] = (double)row[i];
    }
    if (info->embed_norm && !raw) {
        assert_ok(otimes_embed_norm(model, row + d, row + 2 * d, NULL), NULL);
        plain_norm(info->norm, info->eps, row + d, row + 2 * d, d, x);
    }
    for (int64_t i = 0; pos && !after && i < d; i++) {
        x[i] += (double)pos[i];
    }
    if (info->pre_norm && !raw) {
        plain_norm(info->norm, info->eps, layer->ln1_w.data, layer->ln1_b.data, d, x);
    }
    for (int64_t i = 0; pos && after && i < d; i++) {
        x[i] += (double)pos[i];
    }
    free(row);
}

/* x W + b of all heads of one kind, clipped and normed. */
static void plain_project(const otimes_model *model, const otimes_tensor *W, const otimes_tensor *b,
                          const otimes_tensor *norm_w, int64_t heads, bool raw, const double *x,
                          double *out)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, e = info->d_head;
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t j = 0; j < e; j++) {
            double sum = b && b->data && !raw ? (double)b->data[h * e + j] : 0;
            for (int64_t i = 0; i < d; i++) {
                sum += x[i] * (double)W->data[(h * d + i) * e + j];
            }
            out[h * e + j] =
                info->clip_qkv > 0 && !raw ? fmax(-info->clip_qkv, fmin(info->clip_qkv, sum)) : sum;
        }
    }
    if (!norm_w || !norm_w->data || raw) {
        return;
    }
    const bool all = info->qk_norm == OTIMES_QK_NORM_ALL;
    const otimes_norm norm = info->qk_norm == OTIMES_QK_NORM_LN ? OTIMES_NORM_LN : OTIMES_NORM_RMS;
    for (int64_t h = 0; h < (all ? 1 : heads); h++) {
        plain_norm(norm, info->eps, norm_w->data + h * e, NULL, all ? heads * e : e, out + h * e);
    }
}

/* Each column less its mean over the rows; by rows of `columns`. */
static void plain_centre(int64_t rows, int64_t columns, bool across, double *x)
{
    const int64_t n = across ? rows : columns, m = across ? columns : rows;
    for (int64_t i = 0; i < n; i++) {
        double mean = 0;
        for (int64_t j = 0; j < m; j++) {
            mean += x[i * columns + j] / (double)m;
        }
        for (int64_t j = 0; j < m; j++) {
            x[i * columns + j] -= mean;
        }
    }
}

static double largest(const double *x, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs(x[i]));
    }
    return most;
}

static plain plain_head(const otimes_model *model, const otimes_trigrams_settings *s, int64_t l,
                        int64_t h, const int64_t *offset)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, e = info->d_head, V = info->d_vocab, O = info->d_vocab_out;
    const int64_t kv = h / (info->n_heads / info->n_kv_heads), nq = info->n_heads * e;
    const bool raw = s->raw_embedding, short_ = info->positions == OTIMES_POSITIONS_SHORTFORMER;
    plain p = {
        V, O, calloc((size_t)(V * V), sizeof(double)), calloc((size_t)(V * O), sizeof(double)),
        0, 0};
    double *x = calloc((size_t)d, sizeof *x), *all = calloc((size_t)nq, sizeof *all);
    double *q = calloc((size_t)(V * e), sizeof *q), *k = calloc((size_t)(V * e), sizeof *k);
    double *v = calloc((size_t)(V * e), sizeof *v),
           *frequency = calloc((size_t)e, sizeof *frequency);
    float *pos = calloc((size_t)(2 * d), sizeof *pos), *u = calloc((size_t)d, sizeof *u);
    otimes_layer layer;
    otimes_unembed unembed;
    assert_ok(otimes_layer_load(model, l, OTIMES_PART_ATTENTION, &layer, NULL), NULL);
    assert_ok(otimes_unembed_open(model, &unembed, NULL), NULL);
    if (s->query_position >= 0) {
        assert_ok(otimes_position_rows(model, s->query_position, 1, pos, NULL), NULL);
        assert_ok(otimes_position_rows(model, s->key_position, 1, pos + d, NULL), NULL);
    }
    for (int64_t t = 0; t < V; t++) {
        plain_read(model, &layer, t, s->query_position >= 0 ? pos : NULL, raw, x);
        plain_project(model, &layer.W_Q, &layer.b_Q, &layer.q_norm_w, info->n_heads, raw, x, all);
        memcpy(q + t * e, all + h * e, (size_t)e * sizeof *q);
        plain_read(model, &layer, t, s->key_position >= 0 ? pos + d : NULL, raw, x);
        plain_project(model, &layer.W_K, &layer.b_K, &layer.k_norm_w, info->n_kv_heads, raw, x,
                      all);
        memcpy(k + t * e, all + kv * e, (size_t)e * sizeof *k);
        plain_read(model, &layer, t, s->key_position >= 0 && !short_ ? pos + d : NULL, raw, x);
        plain_project(model, &layer.W_V, NULL, NULL, info->n_kv_heads, raw, x, all);
        memcpy(v + t * e, all + kv * e, (size_t)e * sizeof *v);
    }
    const otimes_rope *rope = offset ? otimes_layer_rope(model, l) : NULL;
    if (rope) {
        assert_ok(otimes_rope_frequencies(model, rope, frequency, NULL), NULL);
        otimes_rope_rotate_key(rope, frequency, (double)*offset, V, e, k);
    }
    for (int64_t a = 0; a < V; a++) {
        for (int64_t b = 0; b < V; b++) {
            for (int64_t j = 0; j < e; j++) {
                p.score[a * V + b] += q[a * e + j] * k[b * e + j] / info->attn_scale;
            }
        }
    }
    plain_centre(V, V, true, p.score);
    for (int64_t o = 0; o < O; o++) {
        assert_ok(otimes_unembed_rows(&unembed, o, 1, u, NULL), NULL);
        for (int64_t j = 0; j < e; j++) {
            double write = 0;
            for (int64_t i = 0; i < d; i++) {
                write += (double)layer.W_O.data[(h * e + j) * d + i] * (double)u[i];
            }
            for (int64_t t = 0; t < V; t++) {
                p.effect[t * O + o] += v[t * e + j] * write;
            }
        }
    }
    plain_centre(V, O, true, p.effect);
    p.largest_score = largest(p.score, V * V);
    p.largest_effect = largest(p.effect, V * O);
    otimes_layer_free(&layer);
    otimes_unembed_free(&unembed);
    free(x), free(all), free(q), free(k), free(v), free(frequency), free(pos), free(u);
    return p;
}

static void plain_free(plain *p)
{
    free(p->score);
    free(p->effect);
}

static bool chosen(const int64_t *ids, int64_t count, int64_t id)
{
    bool found = !ids;
    for (int64_t i = 0; ids && i < count; i++) {
        found = found || ids[i] == id;
    }
    return found;
}

static int falling(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Strengths of all chosen triples with two positive factors, falling, at most per_source (if not 0)
 * of a source. */
static double *all_strengths(const plain *p, const otimes_trigrams_settings *s, int64_t *count)
{
    double *all = malloc((size_t)(p->vocab * p->vocab * p->outs) * sizeof *all);
    *count = 0;
    for (int64_t b = 0; b < p->vocab; b++) {
        const int64_t first = *count;
        for (int64_t a = 0; chosen(s->sources, s->source_count, b) && a < p->vocab; a++) {
            for (int64_t o = 0; o < p->outs; o++) {
                const double score = p->score[a * p->vocab + b],
                             effect = p->effect[b * p->outs + o];
                if (score > 0 && effect > 0 && chosen(s->outs, s->out_count, o) &&
                    chosen(s->destinations, s->destination_count, a)) {
                    all[(*count)++] = score * effect;
                }
            }
        }
        qsort(all + first, (size_t)(*count - first), sizeof *all, falling);
        if (s->per_source > 0 && *count - first > s->per_source) {
            *count = first + s->per_source;
        }
    }
    qsort(all, (size_t)*count, sizeof *all, falling);
    return all;
}

/* ---- one list against the reference ---- */

typedef struct lists {
    const int32_t *source, *destination, *out;
    const float *score, *effect, *strength;
} lists;

static lists lists_of(const otimes_memory_sink *memory)
{
    const void *data[6] = {NULL};
    static const char *const names[] = {"source_id", "destination_id", "out_id",
                                        "score",     "effect",         "strength"};
    for (int i = 0; i < 6; i++) {
        assert_non_null(otimes_memory_sink_array(memory, names[i], &data[i]));
    }
    return (lists){data[0], data[1], data[2], data[3], data[4], data[5]};
}

#define CLOSE 4e-6

static void check_list(const char *name, const plain *p, const otimes_trigrams_settings *s,
                       const lists *got, int64_t first)
{
    int64_t count;
    double *all = all_strengths(p, s, &count);
    const double tolerance = CLOSE * p->largest_score * p->largest_effect;
    for (int64_t i = 0; i < s->top; i++) {
        const int64_t at = first + i, b = got->source[at], a = got->destination[at];
        if (b < 0) { /* what is left is of the size of rounding */
            assert_true(isnan((double)got->strength[at]) && a == -1 && got->out[at] == -1);
            if (i < count && all[i] > tolerance) {
                fail_msg("%s: rank %d: nothing, expected %g", name, (int)i, all[i]);
            }
            continue;
        }
        const double score = p->score[a * p->vocab + b];
        const double effect = p->effect[b * p->outs + got->out[at]];
        assert_true(chosen(s->sources, s->source_count, b));
        assert_true(chosen(s->destinations, s->destination_count, a));
        assert_true(chosen(s->outs, s->out_count, got->out[at]));
        if (fabs((double)got->score[at] - score) > CLOSE * p->largest_score ||
            fabs((double)got->effect[at] - effect) > CLOSE * p->largest_effect ||
            fabs((double)got->strength[at] - (i < count ? all[i] : 0)) > tolerance) {
            fail_msg("%s: rank %d: %d %d %d: %g %g %g, expected %g %g %g", name, (int)i, (int)b,
                     (int)a, (int)got->out[at], (double)got->score[at], (double)got->effect[at],
                     (double)got->strength[at], score, effect, i < count ? all[i] : 0.0);
        }
        for (int64_t before = first; before < at; before++) {
            assert_true(got->strength[before] >= got->strength[at]);
            assert_false(got->source[before] == b && got->destination[before] == a &&
                         got->out[before] == got->out[at]);
        }
    }
    free(all);
}

/* Every list of a run. */
static void check_run(const otimes_model *model, const char *name,
                      const otimes_trigrams_settings *s)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_memory_sink *memory = run(model, s);
    const lists got = lists_of(memory);
    const int64_t offsets = s->offsets ? s->offset_count : 1;
    const int64_t heads = s->heads ? s->head_count : info->n_layers * info->n_heads;
    for (int64_t i = 0; i < heads * offsets; i++) {
        const int64_t at = i / offsets;
        const int64_t l = s->heads ? s->heads[at].layer : at / info->n_heads;
        const int64_t h = s->heads ? s->heads[at].head : at % info->n_heads;
        char what[128];
        snprintf(what, sizeof what, "%s L%dH%d", name, (int)l, (int)h);
        plain p = plain_head(model, s, l, h, s->offsets ? s->offsets + i % offsets : NULL);
        check_list(what, &p, s, &got, i * s->top);
        plain_free(&p);
    }
    otimes_memory_sink_free(&memory);
}

static void goldens(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            golden_open(&g, golden_names[i], processed);
            otimes_trigrams_settings s;
            otimes_trigrams_settings_default(&s);
            s.top = 25;
            check_run(g.model, g.name, &s);
            s.raw_embedding = 1;
            s.per_source = 2;
            check_run(g.model, g.name, &s);
            golden_close(&g);
        }
    }
}

static void offsets_of_rotary_models(void **state)
{
    static const int64_t offsets[] = {0, 1, 7};
    int seen = 0;
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        otimes_err err = {0};
        golden_open(&g, golden_names[i], true);
        otimes_trigrams_settings s;
        otimes_trigrams_settings_default(&s);
        s.offsets = offsets;
        s.offset_count = 3;
        if (otimes_model_describe(g.model)->positions == OTIMES_POSITIONS_ROPE) {
            check_run(g.model, g.name, &s);
            seen++;
        } else {
            otimes_memory_sink *memory;
            assert_ok(otimes_memory_sink_new(&memory, &err), &err);
            assert_int_equal(otimes_trigrams(g.model, &s, otimes_memory_sink_sink(memory), &err),
                             OTIMES_ERR_UNSUPPORTED);
            assert_non_null(strstr(err.msg, "offsets: expected rotary positions, got "));
            otimes_memory_sink_free(&memory);
        }
        golden_close(&g);
    }
    assert_true(seen > 10);
}

static void positions_of_learned_models(void **state)
{
    int seen = 0;
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        golden_open(&g, golden_names[i], true);
        if (otimes_has_positions(g.model)) {
            otimes_trigrams_settings s;
            otimes_trigrams_settings_default(&s);
            s.query_position = 3;
            s.key_position = 1;
            check_run(g.model, g.name, &s);
            s.raw_embedding = 1;
            check_run(g.model, g.name, &s);
            seen++;
        }
        golden_close(&g);
    }
    assert_true(seen > 3);
}

static void chosen_tokens_and_heads(void **state)
{
    static const otimes_trigrams_head heads[] = {{1, 1}, {0, 0}};
    static const int64_t sources[] = {2, 5, 6}, destinations[] = {0, 7}, outs[] = {1, 4, 9, 10};
    (void)state;
    golden g;
    golden_open(&g, "llama", true);
    otimes_trigrams_settings s;
    otimes_trigrams_settings_default(&s);
    s.heads = heads;
    s.head_count = 2;
    s.sources = sources;
    s.source_count = 3;
    check_run(g.model, "sources", &s);
    s.destinations = destinations;
    s.destination_count = 2;
    check_run(g.model, "and destinations", &s);
    s.outs = outs;
    s.out_count = 4;
    check_run(g.model, "and outs", &s);
    s.sources = NULL;
    s.top = 40;
    check_run(g.model, "destinations and outs", &s);
    golden_close(&g);
}

/* The strongest of all lists, wherever they come from. */
static void overall(void **state)
{
    (void)state;
    golden g;
    int64_t count, many;
    golden_open(&g, "gpt2", true);
    otimes_trigrams_settings s;
    otimes_trigrams_settings_default(&s);
    s.top = 7;
    otimes_memory_sink *memory = run(g.model, &s);
    double *each = sink_values(memory, "strength", &many);
    double *best = sink_values(memory, "overall_strength", &count);
    double *layer = sink_values(memory, "overall_layer", &count);
    double *head = sink_values(memory, "overall_head", &count);
    double *source = sink_values(memory, "overall_source_id", &count);
    double *sources = sink_values(memory, "source_id", &many);
    const int64_t heads = otimes_model_describe(g.model)->n_heads;
    for (int64_t i = 0; i < 7; i++) {
        int64_t above = 0, found = 0;
        for (int64_t j = 0; j < many; j++) {
            above += each[j] > best[i];
            found += each[j] == best[i] && sources[j] == source[i] &&
                     (double)(j / 7 / heads) == layer[i] && (double)(j / 7 % heads) == head[i];
        }
        assert_true(above <= i && found > 0);
    }
    free(each), free(best), free(layer), free(head), free(source), free(sources);
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

/* Those of several offsets say which. */
static void overall_offsets(void **state)
{
    static const int64_t offsets[] = {5, 2};
    (void)state;
    golden g;
    int64_t count, many;
    golden_open(&g, "llama", true);
    otimes_trigrams_settings s;
    otimes_trigrams_settings_default(&s);
    s.offsets = offsets;
    s.offset_count = 2;
    otimes_memory_sink *memory = run(g.model, &s);
    double *each = sink_values(memory, "strength", &many);
    double *best = sink_values(memory, "overall_strength", &count);
    double *offset = sink_values(memory, "overall_offset", &count);
    for (int64_t i = 0; i < count; i++) {
        bool found = false;
        for (int64_t j = 0; j < many; j++) {
            found = found || (each[j] == best[i] && offset[i] == (double)offsets[j / 10 % 2]);
        }
        assert_true(found);
    }
    free(each), free(best), free(offset);
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

/* With a place for every source, each that has a triple is there, in whichever wave it came. */
static void every_source(void **state)
{
    enum { TOP = 2100 };
    static const otimes_trigrams_head head[] = {{0, 0}};
    static bool seen[TOP];
    const char *path = shared_path("tinystories656k");
    (void)state;
    if (!path) {
        skip();
    }
    otimes_model *model;
    otimes_err err = {0};
    otimes_trigrams_settings s;
    otimes_trigrams_settings_default(&s);
    s.heads = head;
    s.head_count = 1;
    s.top = TOP;
    s.per_source = 1;
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    otimes_memory_sink *memory = run(model, &s);
    const lists got = lists_of(memory);
    for (int64_t i = 0; i < TOP && got.source[i] >= 0; i++) {
        assert_false(seen[got.source[i]]);
        seen[got.source[i]] = true;
    }
    plain p = plain_head(model, &s, 0, 0, NULL);
    for (int64_t source = 0; source < p.vocab; source++) {
        double score = 0, effect = 0;
        for (int64_t t = 0; t < p.vocab; t++) {
            score = fmax(score, p.score[t * p.vocab + source]);
            effect = fmax(effect, p.effect[source * p.outs + t]);
        }
        assert_true(seen[source] || score < CLOSE * p.largest_score ||
                    effect < CLOSE * p.largest_effect);
    }
    plain_free(&p);
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

/* A vocabulary of many waves: bounds leave sources out, none of which beats the last that is
 * listed, and lists are the same bits on any number of threads. */
static void trained_model(void **state)
{
    enum { TOP = 300 };
    static const otimes_trigrams_head heads[] = {{1, 2}, {0, 1}};
    const char *path = shared_path("tinystories656k");
    double skipped = 0;
    (void)state;
    if (!path) {
        skip();
    }
    otimes_model *model[2];
    otimes_memory_sink *memory[2];
    otimes_err err = {0};
    otimes_trigrams_settings s;
    otimes_trigrams_settings_default(&s);
    s.heads = heads;
    s.head_count = 2;
    s.top = TOP;
    s.per_source = 1;
    for (int i = 0; i < 2; i++) {
        otimes_model_settings m;
        otimes_model_settings_default(&m);
        m.threads = i ? 3 : 1;
        assert_ok(otimes_model_open(&model[i], path, &m, &err), &err);
        memory[i] = run(model[i], &s);
    }
    const lists a = lists_of(memory[0]), b = lists_of(memory[1]);
    assert_memory_equal(a.source, b.source, 2 * TOP * sizeof *a.source);
    assert_memory_equal(a.destination, b.destination, 2 * TOP * sizeof *a.source);
    assert_memory_equal(a.strength, b.strength, 2 * TOP * sizeof *a.strength);
    for (int i = 0; i < 2; i++) {
        int64_t count;
        double *share = sink_values(memory[0], "share_skipped", &count);
        skipped += share[i];
        free(share);
        plain p = plain_head(model[0], &s, heads[i].layer, heads[i].head, NULL);
        for (int64_t source = 0; source < p.vocab; source++) { /* nothing beats the last */
            double score = 0, effect = 0;
            for (int64_t t = 0; t < p.vocab; t++) {
                score = fmax(score, p.score[t * p.vocab + source]);
                effect = fmax(effect, p.effect[source * p.outs + t]);
            }
            bool listed = false;
            for (int64_t k = 0; k < TOP; k++) {
                listed = listed || a.source[i * TOP + k] == source;
            }
            assert_true(listed ||
                        score * effect <= (double)a.strength[(i + 1) * TOP - 1] * (1 + 1e-5));
        }
        plain_free(&p);
    }
    assert_true(skipped > 0.05 && skipped < 2);
    for (int i = 0; i < 2; i++) {
        otimes_memory_sink_free(&memory[i]);
        otimes_model_close(&model[i]);
    }
}

/* A bound holds for rows that are turned, against others along few directions, and is the product
 * itself where there is one direction. */
static void bounds(void **state)
{
    enum { ROWS = 70, OTHERS = 90, E = 12 };
    static float a[ROWS * E], b[OTHERS * E];
    static double turned[ROWS * E], bound[ROWS];
    uint32_t seed = 1;
    otimes_err err = {0};
    (void)state;
    for (int round = 0; round < 24; round++) {
        const otimes_rope rope = {
            .dim = round % 2 ? 8 : E, .adjacent = round % 4 > 1, .magnitude = round % 3 ? 1 : 1.2};
        const double frequency[E] = {1, 0.3, 0.1, 0.05, 0.02, 0.01};
        const trigrams_turn turn = {&rope, frequency, round};
        const double noise = round < 12 ? 0 : 0.3;
        for (int i = 0; i < (ROWS + OTHERS) * E; i++) {
            seed = seed * 1664525 + 1013904223;
            const double random = (double)(seed >> 8) / (1 << 23) - 1;
            const int j = i - ROWS * E;
            if (j < 0) {
                a[i] = (float)random;
                turned[i] = (double)a[i];
            } else {
                b[j] = (float)(noise * random + sin(1 + j % E) * (j / E % 2 ? 1 : -1));
            }
        }
        otimes_rope_rotate_key(&rope, frequency, round, ROWS, E, turned);
        assert_ok(otimes_trigrams_bound(a, ROWS, b, OTHERS, E, &turn, 2, bound, &err), &err);
        for (int i = 0; i < ROWS; i++) {
            double most = 0, square = 0;
            for (int j = 0; j < OTHERS; j++) {
                double sum = 0;
                for (int k = 0; k < E; k++) {
                    sum += turned[i * E + k] * (double)b[j * E + k];
                }
                most = fmax(most, sum);
            }
            for (int k = 0; k < E; k++) { /* what tames L^-1 is in the bound too */
                square += turned[i * E + k] * turned[i * E + k];
            }
            assert_true(bound[i] >= most * (1 - 1e-6));
            assert_true(noise > 0 || bound[i] <= most * 1.01 + 0.2 * sqrt(square));
        }
    }
    memset(b, 0, sizeof b);
    assert_ok(otimes_trigrams_bound(a, ROWS, b, OTHERS, E, NULL, 1, bound, &err), &err);
    assert_true(bound[0] == 0);
}

static void refuse(const char *name, const otimes_trigrams_settings *s, int code, const char *text)
{
    golden g;
    otimes_err err = {0};
    otimes_memory_sink *memory;
    golden_open(&g, name, true);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_int_equal(otimes_trigrams(g.model, s, otimes_memory_sink_sink(memory), &err), code);
    if (!strstr(err.msg, text)) {
        fail_msg("expected '%s', got '%s'", text, err.msg);
    }
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

static void requests_that_cannot_be_met(void **state)
{
    static const otimes_trigrams_head none[] = {{0, 99}};
    static const int64_t far[] = {1000}, back[] = {-1};
    otimes_trigrams_settings s;
    (void)state;
    otimes_trigrams_settings_default(&s);
    s.top = 0;
    refuse("gpt2", &s, OTIMES_ERR_ARGUMENT, "top, per_source: expected 1 to 65536 and at least 0");
    otimes_trigrams_settings_default(&s);
    s.heads = none;
    refuse("gpt2", &s, OTIMES_ERR_ARGUMENT, "heads: expected at least one, got none");
    s.head_count = 1;
    refuse("gpt2", &s, OTIMES_ERR_ARGUMENT, "got 0.99");
    otimes_trigrams_settings_default(&s);
    s.outs = far;
    refuse("gpt2", &s, OTIMES_ERR_ARGUMENT, "outs: expected at least one, got none");
    s.out_count = 1;
    refuse("gpt2", &s, OTIMES_ERR_ARGUMENT, "outs: expected ascending indices from 0 to ");
    otimes_trigrams_settings_default(&s);
    s.offsets = back;
    s.offset_count = 1;
    refuse("llama", &s, OTIMES_ERR_ARGUMENT, "no head sees what comes after");
    otimes_trigrams_settings_default(&s);
    s.query_position = 1;
    refuse("gpt2", &s, OTIMES_ERR_ARGUMENT, "positions: expected query and key from 0 to ");
    s.key_position = 2;
    refuse("gpt2", &s, OTIMES_ERR_ARGUMENT, "positions: expected a key not behind the query");
    refuse("llama", &s, OTIMES_ERR_UNSUPPORTED, "expected learned positions, got rotary");
    refuse("bloom", &s, OTIMES_ERR_UNSUPPORTED, "expected learned positions, got ALiBi");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens),
        cmocka_unit_test(offsets_of_rotary_models),
        cmocka_unit_test(positions_of_learned_models),
        cmocka_unit_test(chosen_tokens_and_heads),
        cmocka_unit_test(overall),
        cmocka_unit_test(overall_offsets),
        cmocka_unit_test(every_source),
        cmocka_unit_test(trained_model),
        cmocka_unit_test(bounds),
        cmocka_unit_test(requests_that_cannot_be_met),
    };
    otimes_set_blas_threads(1); /* products of one thread have the same bits everywhere */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
