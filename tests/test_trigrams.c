/* SPDX-License-Identifier: MIT
 *
 * Skip-trigrams against every triple of toy vocabularies, in plain float64 loops from the weights.
 */
#include "accuracy.h"
#include "triples.h"

#include <float.h>
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

/* ---- strengths ---- */

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
static double *all_strengths(const triples *p, const otimes_trigrams_settings *s, int64_t *count)
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

/* Sides of float32, d_head products of them summed in it, and centred: shares of the largest entry. */
#define CLOSE (16 * (double)FLT_EPSILON)

#define PRODUCT "largest score times largest effect"

static void check_list(const char *name, const triples *p, const otimes_trigrams_settings *s,
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
        const double strength = i < count ? all[i] : 0;
        accuracy("score", "largest score", (double)got->score[at], score, p->largest_score, CLOSE);
        accuracy("effect", "largest effect", (double)got->effect[at], effect, p->largest_effect,
                 CLOSE);
        accuracy("strength", PRODUCT, (double)got->strength[at], strength,
                 p->largest_score * p->largest_effect, CLOSE);
        for (int k = 0; k < 3; k++) {
            static const char *const ids[] = {"source_id", "destination_id", "out_id"};
            accuracy(ids[k], PRODUCT, score * effect, strength,
                     p->largest_score * p->largest_effect, CLOSE);
        }
        for (int64_t before = first; before < at; before++) {
            assert_true(got->strength[before] >= got->strength[at]);
            assert_false(got->source[before] == b && got->destination[before] == a &&
                         got->out[before] == got->out[at]);
        }
    }
    free(all);
}

/* Overall lists are the strongest of those of all heads and offsets, as they stand there. */
static void check_overall(const otimes_model *model, const otimes_memory_sink *memory,
                          const otimes_trigrams_settings *s)
{
    static const char *const same[] = {"strength", "score",          "effect",
                                       "out_id",   "destination_id", "source_id"};
    const int64_t heads = otimes_model_describe(model)->n_heads;
    const int64_t offsets = s->offsets ? s->offset_count : 1;
    double *each[6], *best[6];
    int64_t many = 0, top = 0;
    for (int k = 0; k < 6; k++) {
        char name[48];
        snprintf(name, sizeof name, "overall_%s", same[k]);
        each[k] = sink_values(memory, same[k], &many);
        best[k] = sink_values(memory, name, &top);
    }
    double *layer = sink_values(memory, "overall_layer", &top);
    double *head = sink_values(memory, "overall_head", &top);
    double *offset = sink_values(memory, "overall_offset", &top);
    for (int64_t i = 0; i < top && !isnan(best[0][i]); i++) {
        int64_t above = 0, from = -1;
        for (int64_t j = 0; j < many; j++) {
            const int64_t at = j / s->top / offsets;
            bool is = (double)(s->heads ? s->heads[at].layer : at / heads) == layer[i] &&
                      (double)(s->heads ? s->heads[at].head : at % heads) == head[i] &&
                      (!s->offsets || (double)s->offsets[j / s->top % offsets] == offset[i]);
            for (int k = 3; k < 6; k++) {
                is &= each[k][j] == best[k][i];
            }
            from = is ? j : from;
            above += each[0][j] > best[0][i];
        }
        assert_true(above <= i && from >= 0);
        for (int k = 0; k < 6; k++) {
            char name[48];
            snprintf(name, sizeof name, "overall_%s", same[k]);
            accuracy_exact(name, best[k][i], each[k][from]);
        }
        accuracy_between("overall_layer", above, 0, i);
        accuracy_between("overall_head", above, 0, i);
        accuracy_between("overall_offset", above, 0, i);
    }
    for (int k = 0; k < 6; k++) {
        free(each[k]);
        free(best[k]);
    }
    free(layer);
    free(head);
    free(offset);
}

/* Labels, and the share of what was not computed. */
static void check_heads(const otimes_model *model, const otimes_memory_sink *memory,
                        const otimes_trigrams_settings *s)
{
    const int64_t each = otimes_model_describe(model)->n_heads;
    int64_t count, shares;
    double *layer = sink_values(memory, "layer", &count),
           *head = sink_values(memory, "head", &count);
    double *skipped = sink_values(memory, "share_skipped", &shares);
    for (int64_t i = 0; i < count; i++) {
        accuracy_exact("layer", layer[i], (double)(s->heads ? s->heads[i].layer : i / each));
        accuracy_exact("head", head[i], (double)(s->heads ? s->heads[i].head : i % each));
    }
    for (int64_t i = 0; i < shares; i++) { /* what the strongest are found in is never left out */
        assert_true(skipped[i] >= 0 && skipped[i] < 1);
    }
    free(layer);
    free(head);
    free(skipped);
}

/* Every list of a run. */
static void check_run(const otimes_model *model, const char *name,
                      const otimes_trigrams_settings *s)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_memory_sink *memory = run(model, s);
    const lists got = lists_of(memory);
    check_overall(model, memory, s);
    check_heads(model, memory, s);
    const int64_t offsets = s->offsets ? s->offset_count : 1;
    const int64_t heads = s->heads ? s->head_count : info->n_layers * info->n_heads;
    for (int64_t i = 0; i < heads * offsets; i++) {
        const int64_t at = i / offsets;
        const int64_t l = s->heads ? s->heads[at].layer : at / info->n_heads;
        const int64_t h = s->heads ? s->heads[at].head : at % info->n_heads;
        char what[128];
        snprintf(what, sizeof what, "%s L%dH%d", name, (int)l, (int)h);
        triples p = triples_of(model, s, l, h, s->offsets ? s->offsets + i % offsets : NULL);
        check_list(what, &p, s, &got, i * s->top);
        triples_free(&p);
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
    triples p = triples_of(model, &s, 0, 0, NULL);
    for (int64_t source = 0; source < p.vocab; source++) {
        double score = 0, effect = 0;
        for (int64_t t = 0; t < p.vocab; t++) {
            score = fmax(score, p.score[t * p.vocab + source]);
            effect = fmax(effect, p.effect[source * p.outs + t]);
        }
        assert_true(seen[source] || score < CLOSE * p.largest_score ||
                    effect < CLOSE * p.largest_effect);
    }
    triples_free(&p);
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
        triples p = triples_of(model[0], &s, heads[i].layer, heads[i].head, NULL);
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
        triples_free(&p);
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
    accuracy_of("trigrams");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens),
        cmocka_unit_test(offsets_of_rotary_models),
        cmocka_unit_test(positions_of_learned_models),
        cmocka_unit_test(chosen_tokens_and_heads),
        cmocka_unit_test(every_source),
        cmocka_unit_test(trained_model),
        cmocka_unit_test(bounds),
        cmocka_unit_test(requests_that_cannot_be_met),
    };
    otimes_set_blas_threads(1); /* products of one thread have the same bits everywhere */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
