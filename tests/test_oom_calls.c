/* SPDX-License-Identifier: MIT
 *
 * Memory that ends in public calls that no other test of it makes, those that need none among them;
 * oom.h says how, oom_covered.py which there are.
 */
#include "oom.h"

#include <otimes/ablate.h>
#include <otimes/convert.h>
#include <otimes/neurons.h>
#include <otimes/operator.h>
#include <otimes/parse.h>

enum { MOST_WIDE = 64 };

/* ---- what a model is ---- */

static int describe(void *context, otimes_err *err)
{
    otimes_tensor_info tensor;
    otimes_layer_info layer;
    int64_t neurons = 0;
    int rc = otimes_model_unchanged(context, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_tensor(context, 0, &tensor, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_layer_describe(context, 0, &layer, err);
    }
    return rc == OTIMES_OK ? otimes_neurons_of(context, 0, &neurons, err) : rc;
}

static int write_attributes(void *context, otimes_err *err)
{
    otimes_memory_sink *memory;
    int rc = otimes_memory_sink_new(&memory, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_attributes(context, otimes_memory_sink_sink(memory), err);
    }
    otimes_memory_sink_free(&memory);
    return rc;
}

static int go_on(otimes_sink *sink, double done, double total)
{
    (void)sink, (void)done, (void)total;
    return 0;
}

static int hash_watched(void *context, otimes_err *err)
{
    static const otimes_sink_ops ops = {.progress = go_on};
    otimes_sink sink = {.ops = &ops};
    char *text = context;
    const int rc = otimes_model_sha256_watched(context, &sink, &text, err);
    assert_true(rc == OTIMES_OK ? text != NULL : text == NULL);
    otimes_text_release(&text);
    return rc;
}

static void what_a_model_is(void **state)
{
    (void)state;
    otimes_model *model = oom_golden("gpt2");
    until_it_succeeds("otimes_model_unchanged, _tensor, otimes_layer_describe, otimes_neurons_of",
                      describe, model, 0);
    until_it_succeeds("otimes_model_attributes", write_attributes, model, 20);
    until_it_succeeds("otimes_model_sha256_watched", hash_watched, model, 1);
    otimes_model_close(&model);
}

/* ---- weights ---- */

static int load_expert(void *context, otimes_err *err)
{
    otimes_expert expert;
    const int rc = otimes_expert_load(context, 0, 1, &expert, err);
    assert_true(rc == OTIMES_OK ? expert.W_in.data != NULL : !expert.memory);
    otimes_expert_free(&expert);
    return rc;
}

static int read_embed_norm(void *context, otimes_err *err)
{
    float w[MOST_WIDE], b[MOST_WIDE];
    return otimes_embed_norm(context, w, b, err);
}

static int read_positions(void *context, otimes_err *err)
{
    float rows[2 * MOST_WIDE];
    return otimes_position_rows(context, 0, 2, rows, err);
}

static int read_unembed(void *context, otimes_err *err)
{
    float rows[2 * MOST_WIDE];
    otimes_unembed unembed;
    int rc = otimes_unembed_open(context, &unembed, err);
    if (rc == OTIMES_OK) {
        rc = otimes_unembed_rows(&unembed, 0, 2, rows, err);
    }
    otimes_unembed_free(&unembed);
    return rc;
}

static void weights(void **state)
{
    (void)state;
    static const struct {
        const char *golden, *call;
        oom_call *run;
        int64_t at_least;
    } cases[] = {
        {"qwen2_moe", "otimes_expert_load", load_expert, 1},
        {"gpt_oss", "otimes_expert_load", load_expert, 1},
        {"bloom", "otimes_embed_norm", read_embed_norm, 0},
        {"gpt2", "otimes_position_rows", read_positions, 0},
        {"transformer_lens_mlp", "otimes_unembed_rows", read_unembed, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        otimes_model *model = oom_golden(cases[i].golden);
        assert_true(otimes_model_describe(model)->d_model <= MOST_WIDE);
        until_it_succeeds(cases[i].call, cases[i].run, model, cases[i].at_least);
        otimes_model_close(&model);
    }
}

static int run_convert(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_convert(a->model, a->settings, sink, err);
}

static void convert(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "qwen2_moe", "bloom", "transformer_lens_none"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        otimes_model *model = oom_golden(names[i]);
        until_it_succeeds("otimes_convert", oom_analyse, &(oom_analysis){model, NULL, run_convert},
                          100);
        otimes_model_close(&model);
    }
}

/* ---- small calls ---- */

static int plan_ablation(void *context, otimes_err *err)
{
    static const int64_t ids[] = {1, 2, 3}, length[] = {3};
    static const int64_t *const id[] = {ids};
    otimes_ablate_settings settings;
    otimes_ablate_plan plan;
    otimes_ablate_settings_default(&settings);
    settings.sequences = (otimes_sequences){1, length, id};
    return otimes_ablate_plan_of(context, &settings, &plan, err);
}

static void plan(void **state)
{
    (void)state;
    otimes_model *model = oom_golden("gpt2");
    until_it_succeeds("otimes_ablate_plan_of", plan_ablation, model, 1);
    otimes_model_close(&model);
}

/* A sum of two terms, of which the traces are taken pair by pair. */
static int take_inner(void *context, otimes_err *err)
{
    static const float x[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    const otimes_factor dense = otimes_factor_dense("A", x, 3, 3, 3, 1);
    otimes_operator *op;
    double inner = 0;
    (void)context;
    int rc = otimes_operator_new(&op, 3, 3, 3, 3, err);
    for (int term = 0; rc == OTIMES_OK && term < 2; term++) {
        rc = otimes_operator_add_term(op, 1, NULL, 0, &dense, 1, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_operator_inner(op, op, 1, &inner, err);
    }
    otimes_operator_free(&op);
    return rc;
}

static int parse_number(void *context, otimes_err *err)
{
    int64_t value;
    return otimes_parse_i64(context, "number", 0, 100, &value, err);
}

static int reserve(void *context, otimes_err *err)
{
    (void)context;
    return otimes_reserve_threads(1, err);
}

static void small_calls(void **state)
{
    (void)state;
    char number[] = "42";
    until_it_succeeds("otimes_operator_inner", take_inner, NULL, 5);
    until_it_succeeds("otimes_parse_i64", parse_number, number, 0);
    until_it_succeeds("otimes_reserve_threads", reserve, NULL, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_a_model_is, oom_end),
        cmocka_unit_test_teardown(weights, oom_end),
        cmocka_unit_test_teardown(convert, oom_end),
        cmocka_unit_test_teardown(plan, oom_end),
        cmocka_unit_test_teardown(small_calls, oom_end),
    };
    oom_count_json();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
