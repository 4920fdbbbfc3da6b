/* SPDX-License-Identifier: MIT
 *
 * The analysis patterns: scores that are streamed out of strips are those of the whole patterns, of
 * every architecture; and heads whose roles are known have them.
 */
#include "accuracy.h"
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/patterns.h>

#include "model/model.h"

/* Sums of doubles in another order. */
#define SAME (64 * DBL_EPSILON)
/* Logarithms of float32, to an ulp; entropies are at most ln 8 here. */
#define LOGS (4 * (double)FLT_EPSILON)

enum { TEXTS = 4, LONGEST = 8, ROLES = 9 };

/* Repeats at several distances, a neighbour repeated, one and two tokens. */
static const int64_t repeats[] = {2, 5, 2, 2, 5, 1, 2, 5}, one[] = {3}, two[] = {3, 3};
static const int64_t lengths[TEXTS] = {LONGEST, 1, 2, LONGEST};
static const int64_t offsets[] = {2, -1, 7};
static const otimes_pattern_entry entries[] = {{1, 0, 1}, {1, 1, 0.5}, {4, 2, 2}, {7, 7, -1}};
static const int64_t entry_queries[TEXTS] = {3, 0, 1, 3};

static otimes_memory_sink *run(const otimes_model *model, const otimes_patterns_settings *settings)
{
    otimes_memory_sink *result;
    otimes_err err = {0};
    assert_ok(otimes_memory_sink_new(&result, &err), &err);
    assert_ok(otimes_patterns(model, settings, otimes_memory_sink_sink(result), &err), &err);
    return result;
}

/* Fails, and says why. */
static void refuse(const otimes_model *model, const otimes_patterns_settings *settings, int code,
                   const char *why)
{
    otimes_memory_sink *result;
    otimes_err err = {0};
    assert_ok(otimes_memory_sink_new(&result, &err), &err);
    assert_int_equal(otimes_patterns(model, settings, otimes_memory_sink_sink(result), &err), code);
    if (!strstr(err.msg, why)) {
        fail_msg("expected an error about '%s', got: %s", why, err.msg);
    }
    otimes_memory_sink_free(&result);
}

static const void *data_of(const otimes_memory_sink *result, const char *name,
                           const otimes_array **array)
{
    const void *data = NULL;
    *array = otimes_memory_sink_array(result, name, &data);
    if (!*array) {
        fail_msg("%s: not there", name);
    }
    return data;
}

static const double *scores_of(const otimes_memory_sink *result, const char *name)
{
    const otimes_array *array;
    const double *data = data_of(result, name, &array);
    assert_int_equal(array->type, OTIMES_F64);
    return data;
}

/* ---- a plain reference: scores of one head from its whole pattern ---- */

typedef struct mean {
    double sum;
    int64_t count;
} mean;

static void add(mean *m, double value)
{
    m->sum += value;
    m->count++;
}

static double value_of(mean m)
{
    return m.count ? m.sum / (double)m.count : (double)NAN;
}

typedef struct reference {
    mean role[ROLES], offset[3];
    double pattern_sum, all;
    int64_t queries;
} reference;

static const char *const role_names[ROLES] = {"previous_token",  "current_token", "first_token",
                                              "duplicate_token", "induction",     "entropy",
                                              "entropy_share",   "sink",          "next_token"};

/* What one query adds. The row is A[q, 0 .. n-1]. */
static void add_query(reference *r, const otimes_model *model, const int64_t *id, int64_t n,
                      int64_t q, int64_t window, const float *row)
{
    const bool both = otimes_model_describe(model)->bidirectional;
    double same = 0, behind = 0, entropy = 0, sum = 0;
    int64_t sames = 0, behinds = 0, seen = 0;
    for (int64_t k = 0; k < n; k++) {
        const double a = (double)row[k];
        sum += a;
        entropy -= a > 0 ? a * log(a) : 0;
        seen += (both || k <= q) && (window == 0 || q - k < window);
        if (k < q && id[k] == id[q]) {
            same += a;
            sames++;
        }
        if (k + 1 < q && id[k] == id[q]) {
            behind += (double)row[k + 1];
            behinds++;
        }
    }
    add(&r->role[1], (double)row[q]);
    add(&r->role[5], entropy);
    add(&r->role[7], 1 - sum);
    r->all += sum;
    if (q >= 1) {
        add(&r->role[0], (double)row[q - 1]);
        add(&r->role[2], (double)row[0]);
    }
    if (sames) {
        add(&r->role[3], same);
    }
    if (behinds) {
        add(&r->role[4], behind);
    }
    if (seen >= 2) {
        add(&r->role[6], entropy / log((double)seen));
    }
    if (q + 1 < n) {
        add(&r->role[8], (double)row[q + 1]);
    }
    for (int i = 0; i < 3; i++) {
        if (q - offsets[i] >= 0 && q - offsets[i] < n) {
            add(&r->offset[i], (double)row[q - offsets[i]]);
        }
    }
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (entries[i].query == q && entries[i].key < n) {
            r->pattern_sum += entries[i].weight * (double)row[entries[i].key];
        }
    }
}

/* What every pattern must be: nothing where a query cannot look, something where it can, rows that
 * sum to 1 or, with a sink, to less. */
static void assert_row(const otimes_model *model, int64_t n, int64_t q, int64_t window,
                       const float *row)
{
    const otimes_model_info *info = otimes_model_describe(model);
    double sum = 0;
    for (int64_t k = 0; k < LONGEST; k++) {
        const bool seen = (info->bidirectional || k <= q) && (window == 0 || q - k < window);
        if (k >= n) {
            assert_true(isnan(row[k]));
        } else if (!seen) {
            assert_true(row[k] == 0);
        } else {
            assert_true(row[k] > 0 && row[k] <= 1);
            sum += (double)row[k];
        }
    }
    assert_true(sum <= 1 + (double)n * (double)FLT_EPSILON);
    if (!info->attention_sinks) {
        assert_true(sum >= 1 - (double)n * (double)FLT_EPSILON);
    } else {
        assert_true(sum < 1);
    }
}

static void assert_top(const float *row, const int32_t *key, const float *weight, int64_t top,
                       int64_t q, int64_t n, int64_t window, bool both)
{
    int64_t high = both ? n : q + 1, low = window && q >= window ? q - window + 1 : 0;
    int64_t count = high - low < top ? high - low : top;
    for (int64_t i = 0; i < top; i++) {
        if (i >= count) {
            assert_int_equal(key[i], -1);
            assert_true(isnan(weight[i]));
            continue;
        }
        assert_true(key[i] >= low && key[i] < high);
        assert_true(weight[i] == row[key[i]]);
        if (i > 0) {
            assert_true(weight[i] < weight[i - 1] ||
                        (weight[i] == weight[i - 1] && key[i] > key[i - 1]));
        }
    }
    int64_t larger = 0;
    for (int64_t k = low; k < high; k++) {
        larger += row[k] > weight[count - 1];
    }
    assert_true(larger < count);
}

static void assert_score(const char *name, double got, double expected)
{
    accuracy(name, "1, from the pattern as written", got, expected, 1,
             strncmp(name, "entropy", 7) ? SAME : LOGS);
}

/* A head of a text. */
typedef struct place {
    int64_t text, layer, head, at; /* at: [text, layer, head] flat */
} place;

static void assert_head(const golden *g, const otimes_memory_sink *result, const reference *r,
                        const place *p)
{
    const otimes_model_info *info = otimes_model_describe(g->model);
    for (int i = 0; i < ROLES; i++) {
        if ((i == 7 && !info->attention_sinks) || (i == 8 && !info->bidirectional)) {
            const void *none;
            assert_null(otimes_memory_sink_array(result, role_names[i], &none));
            continue;
        }
        assert_score(role_names[i], scores_of(result, role_names[i])[p->at], value_of(r->role[i]));
    }
    for (int i = 0; i < 3; i++) {
        assert_score("offset_score", scores_of(result, "offset_score")[p->at * 3 + i],
                     value_of(r->offset[i]));
    }
    const double queries = (double)r->queries;
    assert_score("pattern_score", scores_of(result, "pattern_score")[p->at],
                 r->queries ? r->pattern_sum / queries : (double)NAN);
    assert_score("pattern_share", scores_of(result, "pattern_share")[p->at],
                 r->queries ? r->pattern_sum / r->all : (double)NAN);
}

/* Tokens are those of the golden's own text in the end. */
static const int64_t *last_text(const golden *g)
{
    static int64_t id[LONGEST];
    int64_t count;
    const double *values = golden_values(g, "tokens", &count);
    assert_non_null(values);
    assert_true(count >= LONGEST);
    for (int i = 0; i < LONGEST; i++) {
        id[i] = (int64_t)values[i];
    }
    return id;
}

static void assert_golden(const golden *g)
{
    const otimes_model_info *info = otimes_model_describe(g->model);
    const int64_t heads = info->n_layers * info->n_heads, top = 3;
    const int64_t *const id[TEXTS] = {repeats, one, two, last_text(g)};
    otimes_patterns_settings s;
    otimes_patterns_settings_default(&s);
    s.sequences = (otimes_sequences){TEXTS, lengths, id};
    s.offsets = offsets;
    s.offset_count = 3;
    s.pattern = entries;
    s.pattern_count = sizeof entries / sizeof *entries;
    s.top = top;
    s.full = 1;
    otimes_memory_sink *result = run(g->model, &s);
    const otimes_array *array;
    const float *pattern = data_of(result, "pattern", &array);
    const int32_t *key = data_of(result, "top_key", &array);
    const float *weight = data_of(result, "top_weight", &array);
    for (int64_t t = 0; t < TEXTS; t++) {
        for (int64_t h = 0; h < heads; h++) {
            const place p = {t, h / info->n_heads, h % info->n_heads, t * heads + h};
            const int64_t window = g->model->layers[p.layer].window, at = p.at * LONGEST;
            reference r = {.queries = entry_queries[t]};
            for (int64_t q = 0; q < lengths[t]; q++) {
                const float *row = pattern + (at + q) * LONGEST;
                assert_row(g->model, lengths[t], q, window, row);
                assert_top(row, key + (at + q) * top, weight + (at + q) * top, top, q, lengths[t],
                           window, info->bidirectional);
                add_query(&r, g->model, id[t], lengths[t], q, window, row);
            }
            assert_head(g, result, &r, &p);
        }
    }
    otimes_memory_sink_free(&result);
}

static void scores_of_every_golden(void **state)
{
    (void)state;
    for (const char *const *name = golden_names; *name; name++) {
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            golden_open(&g, *name, processed);
            assert_golden(&g);
            golden_close(&g);
        }
    }
}

/* How many queries a mean is over: of the text 2 5 2 2 5 1 2 5. */
static void counts_of_queries(void **state)
{
    golden g;
    (void)state;
    golden_open(&g, "gpt2", true);
    const int64_t *const id[] = {repeats, one};
    otimes_patterns_settings s;
    otimes_patterns_settings_default(&s);
    s.sequences = (otimes_sequences){2, lengths, id};
    otimes_memory_sink *result = run(g.model, &s);
    const otimes_array *array;
    const int64_t *count = data_of(result, "query_count", &array);
    const int64_t expected[] = {7, 8, 7, 5, 5, 8, 7, 0, 1, 0, 0, 0, 1, 0};
    assert_int_equal(array->axis[1]->length, 7);
    assert_string_equal(array->axis[1]->text[4], "induction");
    for (int i = 0; i < 14; i++) {
        assert_int_equal(count[i], expected[i]);
    }
    assert_true(
        isnan(scores_of(result, "previous_token")[g.model->info.n_layers * g.model->info.n_heads]));
    assert_true(
        scores_of(result, "current_token")[g.model->info.n_layers * g.model->info.n_heads] == 1);
    otimes_memory_sink_free(&result);
    golden_close(&g);
}

/* What is asked for alone is what is asked for among all. */
static void parts_of_the_whole(void **state)
{
    static const int64_t layers[] = {1}, heads[] = {0, 2}, positions[] = {2, 3, 6};
    static const int64_t text_lengths[] = {LONGEST, 3};
    golden g;
    (void)state;
    golden_open(&g, "gpt2", true);
    const int64_t n_heads = g.model->info.n_heads;
    const int64_t *const id[] = {repeats, repeats + 1};
    otimes_patterns_settings s;
    otimes_patterns_settings_default(&s);
    s.sequences = (otimes_sequences){2, text_lengths, id};
    s.full = 1;
    otimes_memory_sink *whole = run(g.model, &s);
    s.layers = layers;
    s.layer_count = 1;
    s.heads = heads;
    s.head_count = 2;
    s.positions = positions;
    s.position_count = 3;
    otimes_memory_sink *part = run(g.model, &s);
    const otimes_array *array;
    const float *all = data_of(whole, "pattern", &array), *some = data_of(part, "pattern", &array);
    assert_int_equal(array->axis[1]->number[0], 1);
    assert_int_equal(array->axis[2]->number[1], 2);
    assert_int_equal(array->axis[3]->number[2], 6);
    for (int64_t t = 0; t < 2; t++) {
        for (int64_t h = 0; h < 2; h++) {
            mean current = {0, 0};
            for (int64_t q = 0; q < 3; q++) {
                const float *a =
                    all + (((t * g.model->info.n_layers + 1) * n_heads + heads[h]) * LONGEST +
                           positions[q]) *
                              LONGEST;
                const float *b = some + ((t * 2 + h) * 3 + q) * LONGEST;
                if (positions[q] < text_lengths[t]) {
                    assert_memory_equal(a, b, (size_t)text_lengths[t] * sizeof *a);
                    add(&current, (double)b[positions[q]]);
                } else {
                    assert_true(isnan(b[0]));
                }
            }
            assert_score("current_token", scores_of(part, "current_token")[t * 2 + h],
                         value_of(current));
        }
    }
    otimes_memory_sink_free(&whole);
    otimes_memory_sink_free(&part);
    golden_close(&g);
}

/* ---- what is refused ---- */

static void bad_requests(void **state)
{
    static const int64_t beyond[] = {0, 8}, falling[] = {2, 1}, foreign[] = {3, 4000};
    static const otimes_pattern_entry outside[] = {{1, 8, 1}}, unsorted[] = {{2, 1, 1}, {1, 1, 1}};
    const int64_t *const id[] = {repeats}, *const bad[] = {foreign};
    const int64_t length = LONGEST, short_length = 2;
    golden g;
    otimes_patterns_settings s, none;
    (void)state;
    golden_open(&g, "gpt2", true);
    otimes_patterns_settings_default(&none);
    refuse(g.model, &none, OTIMES_ERR_ARGUMENT, "got neither");
    none.sequences = (otimes_sequences){1, &length, id};
    s = none;
    s.positions = beyond;
    s.position_count = 2;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "positions: expected ascending numbers from 0 to 7");
    s.positions = falling;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "got 1");
    s = none;
    s.layers = beyond;
    s.layer_count = 2;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "layers");
    s = none;
    s.heads = beyond;
    s.head_count = 2;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "heads");
    s.head_count = 0;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "got none");
    s = none;
    s.pattern = outside;
    s.pattern_count = 1;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "query 1, key 8");
    s.pattern = unsorted;
    s.pattern_count = 2;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "entry 1");
    s = none;
    s.top = -1;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "top");
    s = none;
    s.sequences = (otimes_sequences){1, &short_length, bad};
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "4000");
    s = none;
    s.forward.memory = 1000;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "memory: expected at most 1000 bytes");
    s = none;
    s.repeated = g.model->info.n_ctx;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "tokens twice");
    s.repeated = 3;
    s.repeated_count = 0;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "one sequence at least");
    s.repeated_count = INT64_MAX / 2;
    refuse(g.model, &s, OTIMES_ERR_MEMORY, "too many");
    s.repeated_count = 1;
    s.bos = 4000;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "bos");
    s.bos = -1;
    s.random_tokens = foreign;
    s.random_token_count = 2;
    refuse(g.model, &s, OTIMES_ERR_ARGUMENT, "random tokens");
    golden_close(&g);
}

/* A sink that stops the analysis after a number of calls of progress. */
typedef struct stopping {
    otimes_sink_ops ops;
    otimes_sink *inner;
    int left;
} stopping;

static int stop_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    const stopping *s = sink->state;
    return s->inner->ops->attribute(s->inner, attr, err);
}

static int stop_declare(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    const stopping *s = sink->state;
    return s->inner->ops->declare(s->inner, array, id, err);
}

static int stop_write(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                      const void *data, otimes_err *err)
{
    const stopping *s = sink->state;
    return s->inner->ops->write(s->inner, id, start, count, data, err);
}

static int stop_progress(otimes_sink *sink, double done, double total)
{
    stopping *s = sink->state;
    assert_true(done <= total);
    return s->left-- <= 0;
}

static int stop_finish(otimes_sink *sink, otimes_err *err)
{
    const stopping *s = sink->state;
    return s->inner->ops->finish(s->inner, err);
}

static void cancelled(void **state)
{
    const int64_t *const id[] = {repeats, repeats};
    const int64_t length[] = {LONGEST, LONGEST};
    golden g;
    otimes_patterns_settings s;
    (void)state;
    golden_open(&g, "gpt2", true);
    otimes_patterns_settings_default(&s);
    s.sequences = (otimes_sequences){2, length, id};
    s.repeated = 2;
    s.forward.chunk_rows = LONGEST;
    int steps = 0;
    for (int rc = OTIMES_ERR_CANCELLED; rc != OTIMES_OK; steps++) {
        otimes_memory_sink *result;
        otimes_err err = {0};
        assert_ok(otimes_memory_sink_new(&result, &err), &err);
        stopping stop = {.ops = {.attribute = stop_attribute,
                                 .declare = stop_declare,
                                 .write = stop_write,
                                 .progress = stop_progress,
                                 .finish = stop_finish},
                         .inner = otimes_memory_sink_sink(result),
                         .left = steps};
        otimes_sink sink = {&stop.ops, &stop};
        rc = otimes_patterns(g.model, &s, &sink, &err);
        assert_true(rc == OTIMES_OK || rc == OTIMES_ERR_CANCELLED);
        otimes_memory_sink_free(&result);
    }
    assert_true(steps > 4); /* each layer of each batch can stop it */
    golden_close(&g);
}

int main(void)
{
    accuracy_of("patterns");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_of_every_golden),
        cmocka_unit_test(counts_of_queries),
        cmocka_unit_test(parts_of_the_whole),
        cmocka_unit_test(bad_requests),
        cmocka_unit_test(cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
