/* SPDX-License-Identifier: MIT
 *
 * What a forward pass refuses, and what it says.
 */
#include "edited.h"
#include "forwarding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static otimes_model *golden_model(const char *name)
{
    otimes_model *model;
    otimes_err err = {0};
    otimes_model_settings settings;
    char relative[128];
    otimes_model_settings_default(&settings);
    settings.threads = 1;
    snprintf(relative, sizeof relative, "tests/golden/%s", name);
    assert_ok(otimes_model_open(&model, source_path(relative), &settings, &err), &err);
    return model;
}

/* A run is refused with these words; the handle then runs what is right. */
static void refused_run(const otimes_model *model, const otimes_forward_settings *settings,
                        const otimes_sequences *batch, const char *words, const char *what)
{
    static const int64_t ids[] = {1}, lengths[] = {1};
    static const int64_t *const id[] = {ids};
    static const otimes_sequences right = {1, lengths, id};
    otimes_forward *forward;
    otimes_err err = {0};
    assert_ok(otimes_forward_open(&forward, model, settings, &err), &err);
    const int rc = otimes_forward_run(forward, batch, NULL, &err);
    if (rc != OTIMES_ERR_ARGUMENT || err.code != rc) {
        fail_msg("%s: expected to be refused, got %d: %s", what, rc, err.msg);
    }
    check_words(words, err.msg, what);
    assert_null(strchr(err.msg, '\n'));
    assert_int_equal(otimes_forward_run(forward, batch, NULL, NULL), rc);
    assert_int_equal(otimes_forward_rows(forward), 0);
    if (!settings || settings->memory == 0) {
        assert_ok(otimes_forward_run(forward, &right, NULL, &err), &err);
        assert_int_equal(otimes_forward_rows(forward), 1);
    }
    otimes_forward_close(&forward);
}

static void sequences(void **state)
{
    (void)state;
    otimes_model *model = golden_model("gpt2"); /* d_vocab 23, n_ctx 9 */
    static const int64_t ids[] = {0, 22, 3, 4, 5, 6, 7, 8, 9, 10};
    static const int64_t beyond[] = {0, 23}, negative[] = {1, 2, -1};
    static const int64_t far[] = {INT64_MAX}, low[] = {INT64_MIN};
    const int64_t *id[] = {ids, ids};
    int64_t length[] = {2, 3};
    const otimes_sequences none = {0, length, id}, fewer = {-1, length, id}, two = {2, length, id};
    refused_run(model, NULL, &none, "sequences|at least 1|got 0", "no sequence");
    refused_run(model, NULL, &fewer, "sequences|at least 1|got -1", "fewer than none");
    length[1] = 0;
    refused_run(model, NULL, &two, "sequence 1|length|at least 1|got 0", "an empty sequence");
    length[1] = -5;
    refused_run(model, NULL, &two, "sequence 1|length|got -5", "a negative length");
    length[1] = 10;
    refused_run(model, NULL, &two, "sequence 1|at most 9|n_ctx|got 10", "longer than n_ctx");
    length[1] = INT64_MAX;
    refused_run(model, NULL, &two, "sequence 1|at most 9", "much longer than n_ctx");
    length[1] = 2;
    id[1] = beyond;
    refused_run(model, NULL, &two, "sequence 1|token 1|0 to 22|got 23", "an id of d_vocab");
    length[1] = 3;
    id[1] = negative;
    refused_run(model, NULL, &two, "sequence 1|token 2|0 to 22|got -1", "a negative id");
    length[1] = 1;
    id[1] = far;
    refused_run(model, NULL, &two, "sequence 1|token 0|got 9223372036854775807", "a large id");
    id[1] = low;
    refused_run(model, NULL, &two, "sequence 1|token 0|got -9223372036854775808", "a small id");
    otimes_model_close(&model);
}

/* Any length will do where positions are computed, n_ctx and not one more where they are a table. */
static void lengths(void **state)
{
    (void)state;
    static const char *const table[] = {"gpt2", "opt", "transformer_lens_shortformer", NULL};
    static const char *const computed[] = {"llama", "bloom", "transformer_lens_rotary", NULL};
    static const int64_t ids[4096] = {0};
    const int64_t *const id[] = {ids};
    for (int i = 0; table[i]; i++) {
        otimes_model *model = golden_model(table[i]);
        int64_t length = otimes_model_describe(model)->n_ctx;
        const otimes_sequences one = {1, &length, id};
        otimes_forward *forward;
        otimes_err err = {0};
        assert_ok(otimes_forward_open(&forward, model, NULL, &err), &err);
        assert_ok(otimes_forward_run(forward, &one, NULL, &err), &err);
        otimes_forward_close(&forward);
        length++;
        refused_run(model, NULL, &one, "length|n_ctx", table[i]);
        otimes_model_close(&model);
    }
    for (int i = 0; computed[i]; i++) {
        otimes_model *model = golden_model(computed[i]);
        const int64_t length = otimes_model_describe(model)->n_ctx + 5;
        const otimes_sequences one = {1, &length, id};
        otimes_forward *forward;
        otimes_err err = {0};
        assert_true(length <= 4096);
        assert_ok(otimes_forward_open(&forward, model, NULL, &err), &err);
        assert_ok(otimes_forward_run(forward, &one, NULL, &err), &err);
        otimes_forward_close(&forward);
        otimes_model_close(&model);
    }
}

static void settings(void **state)
{
    (void)state;
    otimes_model *model = golden_model("gpt2");
    otimes_forward_settings wrong;
    otimes_forward *forward = (otimes_forward *)model;
    otimes_err err = {0};
    otimes_forward_settings_default(&wrong);
    wrong.chunk_rows = -1;
    assert_int_equal(otimes_forward_open(&forward, model, &wrong, &err), OTIMES_ERR_ARGUMENT);
    assert_null(forward);
    check_words("chunk_rows|got -1", err.msg, "chunk_rows");
    wrong.chunk_rows = 0;
    wrong.memory = -1;
    assert_int_equal(otimes_forward_open(&forward, model, &wrong, &err), OTIMES_ERR_ARGUMENT);
    assert_null(forward);
    check_words("memory|got -1", err.msg, "memory");
    wrong.memory = 0;
    wrong.chunk_rows = INT64_MAX; /* all tokens at once */
    static const int64_t ids[] = {1, 2}, length = 2;
    const int64_t *const id[] = {ids};
    const otimes_sequences one = {1, &length, id};
    assert_ok(otimes_forward_open(&forward, model, &wrong, &err), &err);
    assert_ok(otimes_forward_run(forward, &one, NULL, &err), &err);
    otimes_forward_close(&forward);
    otimes_forward_close(&forward);
    otimes_forward_close(NULL);
    otimes_model_close(&model);
}

static void rows_of_logits(void **state)
{
    (void)state;
    otimes_model *model = golden_model("gpt2");
    static const int64_t ids[] = {1, 2}, length = 2;
    const int64_t *const id[] = {ids};
    const otimes_sequences one = {1, &length, id};
    static const int64_t wrong[][2] = {{-1, 1},        {0, 3},  {1, 2},
                                       {2, 1},         {0, -1}, {INT64_MAX, 1},
                                       {1, INT64_MAX}, {3, 0},  {INT64_MIN, 1}};
    static float logits[2 * 23];
    otimes_forward *forward;
    otimes_err err = {0};
    assert_ok(otimes_forward_open(&forward, model, NULL, &err), &err);
    assert_int_equal(otimes_forward_logits(forward, 0, 1, logits, &err), OTIMES_ERR_ARGUMENT);
    assert_ok(otimes_forward_run(forward, &one, NULL, &err), &err);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        const int rc = otimes_forward_logits(forward, wrong[i][0], wrong[i][1], logits, &err);
        if (rc != OTIMES_ERR_ARGUMENT) {
            fail_msg("rows %lld + %lld: expected to be refused, got %d", (long long)wrong[i][0],
                     (long long)wrong[i][1], rc);
        }
        check_words("rows", err.msg, "rows");
    }
    assert_ok(otimes_forward_logits(forward, 2, 0, logits, &err), &err);
    otimes_forward_close(&forward);
    otimes_model_close(&model);
}

/* ---- memory ---- */

/* The number that a message has before some words. */
static int64_t number_before(const char *message, const char *words)
{
    const char *at = strstr(message, words);
    assert_non_null(at);
    while (at > message && (at[-1] == ' ' || (at[-1] >= '0' && at[-1] <= '9'))) {
        at--;
    }
    return strtoll(at, NULL, 10);
}

/* A limit below the plan is refused with the number of tokens that would fit; that many do fit and
 * one more does not. A limit of exactly the plan is enough. */
static void memory(void **state)
{
    (void)state;
    otimes_model *model = golden_model("llama");
    enum { TEXTS = 40, TOKENS = 10 };
    static const int64_t ids[TOKENS] = {0};
    int64_t length[TEXTS * TOKENS];
    const int64_t *id[TEXTS * TOKENS];
    for (int i = 0; i < TEXTS * TOKENS; i++) {
        length[i] = TOKENS;
        id[i] = ids;
    }
    const otimes_sequences all = {TEXTS, length, id};
    otimes_forward_settings s;
    otimes_forward_plan plan, less;
    otimes_forward *forward;
    otimes_err err = {0};
    otimes_forward_settings_default(&s);
    otimes_forward_plan_of(model, &s, TEXTS * TOKENS, TOKENS, &plan);
    otimes_forward_plan_of(model, &s, TOKENS, TOKENS, &less);
    assert_true(less.total < plan.total);
    s.memory = (plan.total + less.total) / 2;
    refused_run(model, &s, &all, "memory|400 tokens|would fit", "half the memory");
    assert_ok(otimes_forward_open(&forward, model, &s, &err), &err);
    assert_int_equal(otimes_forward_run(forward, &all, NULL, &err), OTIMES_ERR_ARGUMENT);
    const int64_t fit = number_before(err.msg, "tokens would fit");
    assert_true(fit >= TOKENS && fit < TEXTS * TOKENS);
    length[fit / TOKENS] = fit % TOKENS ? fit % TOKENS : TOKENS;
    const otimes_sequences some = {(fit + TOKENS - 1) / TOKENS, length, id};
    assert_ok(otimes_forward_run(forward, &some, NULL, &err), &err);
    assert_int_equal(otimes_forward_rows(forward), fit);
    otimes_forward_plan_of(model, &s, fit + 1, TOKENS, &plan);
    assert_true(plan.total > s.memory);
    otimes_forward_close(&forward);

    length[fit / TOKENS] = TOKENS;
    otimes_forward_plan_of(model, &s, TEXTS * TOKENS, TOKENS, &plan);
    s.memory = plan.total;
    assert_ok(otimes_forward_open(&forward, model, &s, &err), &err);
    assert_ok(otimes_forward_run(forward, &all, NULL, &err), &err);
    otimes_forward_close(&forward);
    s.memory = plan.total - 1;
    refused_run(model, &s, &all, "memory|tokens would fit", "a byte less");
    s.memory = 1;
    refused_run(model, &s, &all, "memory|one token takes", "a byte");
    otimes_model_close(&model);
}

/* ---- models ---- */

static void refused_model(const char *words, const char *what)
{
    otimes_model *model = opens();
    otimes_forward *forward = (otimes_forward *)model;
    otimes_err err = {0};
    const int rc = otimes_forward_open(&forward, model, NULL, &err);
    if (rc != OTIMES_ERR_UNSUPPORTED) {
        fail_msg("%s: expected to be refused, got %d: %s", what, rc, err.msg);
    }
    assert_null(forward);
    check_words(words, err.msg, what);
    otimes_model_close(&model);
}

static void models(void **state)
{
    (void)state;
    write_edited("gpt2", "{\"activation_function\": \"softsign\"}", NULL);
    refused_model("activation|softsign", "an unknown activation function");
    write_edited("llama",
                 "{\"rope_parameters\": {\"rope_type\": \"longrope\", \"rope_theta\": 500.0, "
                 "\"short_factor\": [1.0, 1.0], \"long_factor\": [1.0, 1.0], "
                 "\"original_max_position_embeddings\": 8}}",
                 NULL);
    refused_model("rotary scaling|longrope", "longrope");
}

/* ---- numbers that are none ---- */

static int not_a_number(void *context, const otimes_activation *a, otimes_err *err)
{
    (void)context, (void)err;
    for (int64_t i = 0; i < a->rows; i++) {
        for (int64_t j = 0; j < a->columns; j++) {
            a->data[i * a->stride + j] = NAN;
        }
    }
    return 0;
}

/* What is no number goes through as such: no loop without end, no number made of it. */
static void no_numbers(void **state)
{
    (void)state;
    static const int64_t one[] = {4};
    static const uint64_t points[] = {OTIMES_HOOK_BIT(RESID_PRE), OTIMES_HOOK_BIT(SCORES),
                                      OTIMES_HOOK_BIT(LN2_NORMALIZED)};
    for (int i = 0; golden_names[i]; i++) {
        otimes_model *model = golden_model(golden_names[i]);
        made_batch batch;
        batch_random(&batch, model, one, 1, 71);
        for (size_t p = 0; p < COUNT(points); p++) {
            const otimes_hooks hooks = {points[p], not_a_number, NULL};
            float *logits = forward_logits(model, NULL, &batch, &hooks, golden_names[i]);
            const bool reached = p < 2 || otimes_hook_reached(model, OTIMES_HOOK_LN2_NORMALIZED, 0);
            const int64_t count = batch_rows(&batch) * otimes_model_describe(model)->d_vocab_out;
            for (int64_t k = 0; reached && k < count; k++) {
                if (!isnan(logits[k])) {
                    fail_msg("%s: a number, %g, made of what is none (%d)", golden_names[i],
                             (double)logits[k], (int)p);
                }
            }
            free(logits);
        }
        otimes_model_close(&model);
    }
}

/* Visitors may mask what they like: a row that sees nothing reads nothing. */
static int mask_everything(void *context, const otimes_activation *a, otimes_err *err)
{
    float *patterns = context;
    (void)err;
    for (int64_t i = 0; i < a->rows; i++) {
        for (int64_t j = 0; j < a->columns; j++) {
            if (a->hook == OTIMES_HOOK_SCORES) {
                a->data[i * a->stride + j] = -INFINITY;
            } else {
                *patterns += fabsf(a->data[i * a->stride + j]);
            }
        }
    }
    return 0;
}

static void nothing_seen(void **state)
{
    (void)state;
    static const int64_t one[] = {4};
    for (int i = 0; golden_names[i]; i++) {
        otimes_model *model = golden_model(golden_names[i]);
        made_batch batch;
        float patterns = 0;
        batch_random(&batch, model, one, 1, 73);
        const otimes_hooks hooks = {OTIMES_HOOK_BIT(SCORES) | OTIMES_HOOK_BIT(PATTERN),
                                    mask_everything, &patterns};
        float *logits = forward_logits(model, NULL, &batch, &hooks, golden_names[i]);
        assert_true(patterns == 0);
        assert_true(isfinite(logits[0]));
        free(logits);
        otimes_model_close(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences),  cmocka_unit_test(lengths),
        cmocka_unit_test(settings),   cmocka_unit_test(rows_of_logits),
        cmocka_unit_test(memory),     cmocka_unit_test_teardown(models, empty_folder),
        cmocka_unit_test(no_numbers), cmocka_unit_test(nothing_seen),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
