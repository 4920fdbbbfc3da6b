/* SPDX-License-Identifier: MIT
 *
 * What the formulas come to on degenerate models: 0, a limit, a tie by its rule, or not defined.
 */
#include "degenerate.h"
#include "degenerate_runs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/common.h>
#include <otimes/roles.h>

/* Of sums in float32 of a dozen terms about 1. */
#define NEAR 1e-5

enum { TOKENS = 11, TEXT = 7 };

/* ---- results ---- */

typedef struct result {
    degenerate d;
    otimes_memory_sink *memory;
} result;

static void begin(result *r, const char *run, degenerate_base base, degenerate_change change)
{
    degenerate_open(&r->d, base, change, base != BARE);
    r->memory = degenerate_result(run, r->d.model);
}

static void end(result *r)
{
    otimes_memory_sink_free(&r->memory);
    degenerate_free(&r->d);
}

/* Freed with free(); fails the test when it is not there. */
static double *values_of(const result *r, const char *name, int64_t *count)
{
    int64_t n;
    double *values = sink_values(r->memory, name, count ? count : &n);
    if (!values) {
        fail_msg("no array %s", name);
    }
    return values;
}

static void expect(const char *what, int64_t at, double got, double wanted, double bound)
{
    if (isnan(wanted) ? !isnan(got) : !(fabs(got - wanted) <= bound)) {
        fail_msg("%s[%lld]: expected %g, got %g", what, (long long)at, wanted, got);
    }
}

static void all_are(const result *r, const char *name, double wanted, double bound)
{
    int64_t count;
    double *values = values_of(r, name, &count);
    assert_true(count > 0);
    for (int64_t i = 0; i < count; i++) {
        expect(name, i, values[i], wanted, bound);
    }
    free(values);
}

/* Entry `at` is `wanted`, and no other is. */
static void alone_is(const result *r, const char *name, int64_t at, double wanted)
{
    int64_t count;
    double *values = values_of(r, name, &count);
    for (int64_t i = 0; i < count; i++) {
        const bool same = isnan(wanted) ? isnan(values[i]) : values[i] == wanted;
        if (same != (i == at)) {
            fail_msg("%s[%lld]: got %g", name, (long long)i, values[i]);
        }
    }
    free(values);
}

/* ---- zero ---- */

/* Of norm 0: no direction, so no share of eigenvalues and no cosine; sums and traces are 0. */
static void zero_head_by_weights(void **state)
{
    enum { HEAD = 1 }; /* L0H1 of [2, 2] */
    (void)state;
    result r;
    begin(&r, "heads", LAYER_NORM, ZERO_HEAD);
    alone_is(&r, "OV_norm", HEAD, 0);
    alone_is(&r, "QK_norm", HEAD, 0);
    alone_is(&r, "full_OV_norm", HEAD, 0);
    alone_is(&r, "OV_trace", HEAD, 0);
    alone_is(&r, "OV_effective_rank", HEAD, 0);
    alone_is(&r, "OV_copying", HEAD, NAN);
    alone_is(&r, "QK_positivity", HEAD, NAN);
    alone_is(&r, "full_OV_copying", HEAD, NAN);
    end(&r);
    begin(&r, "roles", LAYER_NORM, ZERO_HEAD);
    alone_is(&r, "OV_copying", HEAD, NAN);
    end(&r);
    begin(&r, "virtual", BARE, ZERO_HEAD); /* chains from L0H1 are last and have norm 0 */
    double *norm = values_of(&r, "norm", NULL), *ratio = values_of(&r, "ratio", NULL);
    for (int64_t i = 0; i < 4; i++) {
        assert_true((norm[i] == 0) == (i >= 2) && isnan(ratio[i]) == (i >= 2));
    }
    free(norm);
    free(ratio);
    end(&r);
}

/* compose: [circuit, writer, reader] over the heads of two layers. */
static void zero_head_composes_with_nothing(void **state)
{
    (void)state;
    result r;
    begin(&r, "compose, components", LAYER_NORM, ZERO_HEAD);
    int64_t count;
    const void *data;
    double *score = values_of(&r, "score", &count);
    const otimes_array *a = otimes_memory_sink_array(r.memory, "score", &data);
    int64_t defined = 0;
    assert_int_equal(a->ndim, 5);
    for (int64_t i = 0; i < count; i++) {
        defined += !isnan(score[i]);
    }
    assert_int_equal(defined, 3 * 2); /* Q, K, V: L0H0 to both heads of layer 1 */
    free(score);
    alone_is(&r, "component_share_ov", 1, NAN);
    alone_is(&r, "component_share_qk", 1, NAN);
    end(&r);
}

/* It attends evenly and writes nothing: without it nothing changes. */
static void zero_head_on_a_text(void **state)
{
    (void)state;
    result r;
    begin(&r, "ablate", BARE, ZERO_HEAD);
    double *change = values_of(&r, "head_loss_change", NULL);
    expect("head_loss_change", 1, change[1], 0, NEAR);
    assert_true(fabs(change[0]) > 1e-3);
    free(change);
    end(&r);
    begin(&r, "decompose", BARE, ZERO_HEAD);
    int64_t count;
    double *attribution = values_of(&r, "attribution", &count);
    const void *data;
    const otimes_array *a = otimes_memory_sink_array(r.memory, "attribution", &data);
    const otimes_axis *parts = a->axis[a->ndim - 1];
    int found = 0;
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(parts->text[i % parts->length], "L0H1") == 0 && !isnan(attribution[i])) {
            assert_true(attribution[i] == 0);
            found++;
        }
    }
    assert_int_equal(found, TEXT - 1);
    free(attribution);
    end(&r);
}

/* Scores are all 0: a query spreads over the keys it sees. */
static void zero_queries(void **state)
{
    (void)state;
    for (degenerate_base base = 0; base < BASES; base++) {
        result r;
        begin(&r, "patterns", base, ZERO_Q);
        int64_t count;
        double *pattern = values_of(&r, "pattern", &count);
        for (int64_t i = 0; i < count; i++) {
            const int64_t key = i % TEXT, query = i / TEXT % TEXT;
            expect("pattern", i, pattern[i], key <= query ? 1 / (double)(query + 1) : 0, 1e-7);
        }
        free(pattern);
        all_are(&r, "entropy_share", 1, NEAR);
        end(&r);
        begin(&r, "heads", base, ZERO_Q);
        all_are(&r, "QK_norm", 0, 0);
        all_are(&r, "QK_positivity", NAN, 0);
        end(&r);
    }
}

/* Heads read and write nothing: what they take part in is as without them. */
static void zero_values(void **state)
{
    (void)state;
    result r;
    begin(&r, "ablate", BARE, ZERO_V);
    all_are(&r, "head_loss_change", 0, NEAR);
    end(&r);
    begin(&r, "orders", BARE, ZERO_V);
    int64_t count;
    double *loss = values_of(&r, "loss", &count), *model = values_of(&r, "model_loss", NULL);
    for (int64_t k = 0; k < count; k++) {
        expect("loss", k, loss[k], model[0], NEAR);
    }
    free(loss);
    free(model);
    end(&r);
}

static void even_distribution(const result *r, int64_t tokens)
{
    const double even = -log((double)tokens);
    int64_t count;
    all_are(r, "entropy", -even, NEAR);
    all_are(r, "top_log_prob", even, NEAR);
    all_are(r, "loss", -even, NEAR);
    double *rank = values_of(r, "next_rank", &count);
    for (int64_t i = 0; i < count; i++) { /* none is larger; none follows the last */
        assert_true(rank[i] == (i + 1 < count ? 0 : -1));
    }
    free(rank);
}

/* By the lower id where all are one number. */
static void ids_ascend(const result *r, const char *name, int64_t each)
{
    int64_t count;
    double *id = values_of(r, name, &count);
    for (int64_t i = 0; i < count; i++) {
        assert_true(id[i] == (double)(i % each));
    }
    free(id);
}

static void zero_model(void **state)
{
    (void)state;
    for (degenerate_base base = 0; base < BASES; base++) {
        result r;
        begin(&r, "logits", base, ZERO_ALL);
        all_are(&r, "logits", 0, 0);
        even_distribution(&r, TOKENS);
        ids_ascend(&r, "top_id", 10);
        end(&r);
        begin(&r, "generate", base, ZERO_ALL);
        all_are(&r, "generated_id", 0, 0);
        end(&r);
        begin(&r, "orders", base, ZERO_ALL);
        all_are(&r, "loss", log(TOKENS), NEAR);
        end(&r);
        begin(&r, "bigram", base, ZERO_ALL);
        all_are(&r, "top_value", 0, 0);
        all_are(&r, "diagonal_rank", 0, 0);
        end(&r);
        begin(&r, "heads", base, ZERO_ALL);
        all_are(&r, "OV_singular_values", 0, 0);
        all_are(&r, "OV_effective_rank", 0, 0);
        all_are(&r, "OV_copying", NAN, 0);
        end(&r);
    }
}

/* ---- rank ---- */

/* sigma [heads][rank]: beyond `rank` none is more than rounding, and the effective rank is no more. */
static void has_rank(const result *r, const char *sigma, const char *effective, int64_t rank)
{
    int64_t count, heads;
    double *s = values_of(r, sigma, &count), *e = values_of(r, effective, &heads);
    const int64_t each = count / heads;
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t k = 0; k < each; k++) {
            const double share = s[h * each + k] / s[h * each];
            if (k < rank ? !(share > 1e-3) : !(share < 1e-6)) {
                fail_msg("%s: head %lld, value %lld of rank %lld: %g of the largest", sigma,
                         (long long)h, (long long)k, (long long)rank, share);
            }
        }
        assert_true(e[h] >= 1 - NEAR && e[h] <= (double)rank + NEAR);
    }
    free(s);
    free(e);
}

static void deficient_rank(void **state)
{
    static const struct {
        degenerate_change change;
        int64_t rank;
    } cases[] = {
        {RANK_ONE, 1}, {TWIN_COLUMNS, 2}, {NARROW_HEADS, 1}, {ONE_DIMENSION, 1}, {WIDE_HEADS, 8}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        result r;
        begin(&r, "heads", BARE, cases[i].change);
        has_rank(&r, "OV_singular_values", "OV_effective_rank", cases[i].rank);
        has_rank(&r, "QK_singular_values", "QK_effective_rank", cases[i].rank);
        has_rank(&r, "full_OV_singular_values", "full_OV_effective_rank", cases[i].rank);
        if (cases[i].rank == 1) { /* one eigenvalue: its sign */
            int64_t count;
            double *copying = values_of(&r, "OV_copying", &count);
            for (int64_t h = 0; h < count; h++) {
                expect("|OV_copying|", h, fabs(copying[h]), 1, NEAR);
            }
            free(copying);
        }
        end(&r);
    }
}

/* The norm of W_OV itself, entry by entry, where d_head is above d_model and below. */
static void norms_are_dense(void **state)
{
    static const degenerate_change changes[] = {WIDE_HEADS, NARROW_HEADS, ONE_DIMENSION, RANK_ONE};
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        result r;
        begin(&r, "heads", BARE, changes[i]);
        int64_t heads, entries;
        double *norm = values_of(&r, "OV_norm", &heads), *OV = values_of(&r, "OV", &entries);
        for (int64_t h = 0; h < heads; h++) {
            double square = 0;
            for (int64_t k = h * (entries / heads); k < (h + 1) * (entries / heads); k++) {
                square += OV[k] * OV[k];
            }
            expect("OV_norm", h, norm[h], sqrt(square), NEAR * sqrt(square));
        }
        free(norm);
        free(OV);
        end(&r);
    }
}

/* Numbers have one direction: composition is complete, and no chance could be less. */
static void one_dimension(void **state)
{
    (void)state;
    result r;
    begin(&r, "compose, components", BARE, ONE_DIMENSION);
    int64_t count;
    double *score = values_of(&r, "score", &count);
    for (int64_t i = 0; i < count; i++) {
        if (!isnan(score[i])) {
            expect("score", i, score[i], 1, NEAR);
        }
    }
    free(score);
    all_are(&r, "z", NAN, 0);
    end(&r);
    begin(&r, "logits", LAYER_NORM,
          ONE_DIMENSION); /* (x - mean) is 0: every position says the same */
    double *logits = values_of(&r, "logits", &count);
    for (int64_t i = TOKENS; i < count; i++) {
        expect("logits", i, logits[i], logits[i % TOKENS], NEAR);
    }
    free(logits);
    end(&r);
}

/* ---- sizes of 1 and 0 ---- */

static void one_token(void **state)
{
    (void)state;
    for (degenerate_base base = 0; base < BASES; base++) {
        result r;
        begin(&r, "logits", base, ONE_TOKEN);
        all_are(&r, "loss", 0, 0);
        all_are(&r, "entropy", 0, NEAR);
        double *rank = values_of(&r, "next_rank", NULL);
        assert_true(rank[0] == 0 && rank[TEXT - 2] == 0 && rank[TEXT - 1] == -1);
        free(rank);
        end(&r);
        begin(&r, "generate", base, ONE_TOKEN);
        all_are(&r, "generated_id", 0, 0);
        all_are(&r, "generated_log_prob", 0, 0);
        end(&r);
        begin(&r, "generate, drawn", base, ONE_TOKEN);
        all_are(&r, "generated_id", 0, 0);
        end(&r);
    }
}

/* Without layers the logits are those of the direct path. */
static void no_layers(void **state)
{
    (void)state;
    for (degenerate_base base = 1; base < BASES; base++) { /* bare: W_pos besides */
        if (base == BARE) {
            continue;
        }
        result r, b;
        begin(&r, "logits", base, NO_LAYERS);
        begin(&b, "bigram, exact", base, NO_LAYERS);
        int64_t top;
        double *token = values_of(&r, "token_id", NULL), *one = values_of(&r, "top_value", &top);
        double *two = values_of(&b, "top_value", NULL), *id = values_of(&r, "top_id", NULL);
        double *same = values_of(&b, "top_id", NULL);
        const int64_t each = top / TEXT;
        for (int64_t i = 0; i < top; i++) {
            const int64_t at = (int64_t)token[i / each] * each + i % each;
            expect("top_value", i, one[i], two[at], NEAR);
            assert_true(id[i] == same[at]);
        }
        free(token);
        free(one);
        free(two);
        free(id);
        free(same);
        end(&r);
        end(&b);
        begin(&r, "orders", base, NO_LAYERS);
        double *loss = values_of(&r, "loss", &top), *model = values_of(&r, "model_loss", NULL);
        assert_int_equal(top, 1);
        expect("loss", 0, loss[0], model[0], NEAR);
        free(loss);
        free(model);
        end(&r);
    }
}

/* No token follows the only one: no loss; the one key takes all attention. */
static void one_position(void **state)
{
    (void)state;
    for (degenerate_base base = 0; base < BASES; base++) {
        result r;
        begin(&r, "logits", base, ONE_POSITION);
        all_are(&r, "loss", NAN, 0);
        all_are(&r, "predicted_tokens", 0, 0);
        end(&r);
        begin(&r, "patterns", base, ONE_POSITION);
        all_are(&r, "pattern", 1, 0);
        all_are(&r, "current_token", 1, 0);
        all_are(&r, "previous_token", NAN, 0);
        all_are(&r, "entropy", 0, 0);
        end(&r);
        begin(&r, "orders", base, ONE_POSITION);
        all_are(&r, "loss", NAN, 0);
        end(&r);
    }
}

/* ---- ties ---- */

/* What is said of one head is said of its twin, to the last bit; they are the same to compare. */
static void equal_heads(void **state)
{
    static const char *const arrays[] = {"OV_norm", "OV_copying", "QK_norm", "QK_positivity",
                                         "full_OV_norm"};
    (void)state;
    result r;
    begin(&r, "heads", LAYER_NORM, EQUAL_HEADS);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        double *x = values_of(&r, arrays[i], NULL);
        assert_true(x[0] == x[1] && x[2] == x[3] && x[0] != x[2]);
        free(x);
    }
    end(&r);
    begin(&r, "ablate", LAYER_NORM, EQUAL_HEADS);
    double *change = values_of(&r, "head_loss_change", NULL);
    expect("head_loss_change", 1, change[1], change[0], NEAR);
    expect("head_loss_change", 3, change[3], change[2], NEAR);
    free(change);
    end(&r);
    begin(&r, "compare", LAYER_NORM, EQUAL_HEADS);
    double *similarity = values_of(&r, "similarity", NULL);
    for (int64_t i = 0; i < 4; i++) { /* [model, head, head of the other] */
        for (int64_t j = 0; j < 4; j++) {
            if (i / 2 == j / 2) {
                expect("similarity", 4 * i + j, similarity[4 * i + j], 1, NEAR);
            }
        }
    }
    free(similarity);
    end(&r);
}

/* Rows and columns are all one: extremes are the first ids, and nothing varies. */
static void equal_tokens(void **state)
{
    (void)state;
    for (degenerate_base base = 0; base < BASES; base++) {
        result r;
        begin(&r, "circuit qk", base, EQUAL_TOKENS);
        ids_ascend(&r, "top_id", 10);
        ids_ascend(&r, "bottom_id", 10);
        all_are(&r, "diagonal_rank", 0, 0);
        end(&r);
        begin(&r, "logits", base, EQUAL_TOKENS);
        even_distribution(&r, TOKENS);
        end(&r);
    }
}

/* Embeddings without variance are 0 to LayerNorm, and centred they are 0 themselves. */
static void constant_stream(void **state)
{
    (void)state;
    result r;
    begin(&r, "heads", LAYER_NORM, CONSTANT_STREAM);
    all_are(&r, "full_OV_norm", 0, 0);
    all_are(&r, "full_OV_copying", NAN, 0);
    end(&r);
    for (int processed = 0; processed < 2; processed++) {
        degenerate_open(&r.d, LAYER_NORM, CONSTANT_STREAM, processed != 0);
        r.memory = degenerate_result("logits", r.d.model);
        int64_t count;
        double *logits = values_of(&r, "logits", &count);
        for (int64_t i = TOKENS; i < count; i++) { /* biases alone: the same at every position */
            expect("logits", i, logits[i], logits[i % TOKENS], NEAR);
        }
        free(logits);
        end(&r);
    }
}

/* Rows whose tokens are inputs alone: nothing that a head could suppress. */
static void rows_that_are_no_outputs(void **state)
{
    static const char *const tokens[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"};
    static const int64_t only_input[] = {5, 10}, output[] = {4, 5};
    otimes_model *model;
    otimes_memory_sink *memory;
    int64_t count;
    otimes_err err = {0};
    degenerate d;
    otimes_roles_settings settings;
    (void)state;
    otimes_roles_settings_default(&settings);
    settings.repeated = 0;
    settings.row_count = 2;
    degenerate_make(&d, LAYER_NORM, OTHER_OUTPUT);
    d.source.token = d.source.output_token = tokens;
    d.source.token_count = 11;
    d.source.output_token_count = 5;
    assert_ok(otimes_model_open_memory(&model, &d.source, NULL, &err), &err);
    settings.rows = only_input;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_roles(model, &settings, otimes_memory_sink_sink(memory), &err), &err);
    assert_string_equal(otimes_memory_sink_attr(memory, "copy_suppression_score")->text,
                        "not told: none of the rows is an output token");
    double *share = sink_values(memory, "lowest_share", &count);
    assert_true(share && isnan(share[0]));
    free(share);
    otimes_memory_sink_free(&memory);
    settings.rows = output;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_roles(model, &settings, otimes_memory_sink_sink(memory), &err), &err);
    assert_int_equal(otimes_memory_sink_attr(memory, "source_rows")->i64, 1);
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
    degenerate_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_head_by_weights),
        cmocka_unit_test(zero_head_composes_with_nothing),
        cmocka_unit_test(zero_head_on_a_text),
        cmocka_unit_test(zero_queries),
        cmocka_unit_test(zero_values),
        cmocka_unit_test(zero_model),
        cmocka_unit_test(deficient_rank),
        cmocka_unit_test(norms_are_dense),
        cmocka_unit_test(one_dimension),
        cmocka_unit_test(one_token),
        cmocka_unit_test(no_layers),
        cmocka_unit_test(one_position),
        cmocka_unit_test(equal_heads),
        cmocka_unit_test(equal_tokens),
        cmocka_unit_test(constant_stream),
        cmocka_unit_test(rows_that_are_no_outputs),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
