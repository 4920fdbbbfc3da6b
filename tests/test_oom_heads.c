/* SPDX-License-Identifier: MIT
 *
 * Memory that ends while heads and neurons are analysed; oom.h says how.
 */
#include "oom.h"

#include <otimes/circuit.h>
#include <otimes/compare.h>
#include <otimes/compose.h>
#include <otimes/neurons.h>
#include <otimes/qk.h>
#include <otimes/trigrams.h>
#include <otimes/virtual.h>

static int run_virtual(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_virtual(a->model, a->settings, sink, err);
}

static int run_qk(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_qk(a->model, a->settings, sink, err);
}

static void virtual_heads(void **state)
{
    (void)state;
    static const otimes_virtual_link link[] = {{0, 1}, {1, 0}};
    static const otimes_virtual_chain chain = {link, 2};
    static const int64_t tokens[] = {0, 5, 6};
    otimes_virtual_settings settings;
    otimes_virtual_settings_default(&settings);
    settings.top = 2;
    settings.length = 3;
    otimes_model *model = oom_golden("transformer_lens");
    until_it_succeeds("otimes_virtual", oom_analyse, &(oom_analysis){model, &settings, run_virtual},
                      100);
    otimes_model_close(&model);
    settings.length = 2;
    settings.chains = &chain;
    settings.chain_count = 1;
    settings.tokens = tokens;
    settings.token_count = 3;
    model = oom_golden("transformer_lens_none");
    until_it_succeeds("otimes_virtual, a chain", oom_analyse,
                      &(oom_analysis){model, &settings, run_virtual}, 100);
    otimes_model_close(&model);
}

static int run_compose(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_compose(a->model, a->settings, sink, err);
}

static void composition(void **state)
{
    (void)state;
    static const int64_t heads[] = {0, 1}, offsets[] = {1};
    static const otimes_compose_set set = {0, heads, 2};
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    settings.route = OTIMES_COMPOSE_BY_GRAMS;
    settings.components = 1;
    settings.ends = 1;
    settings.sets = &set;
    settings.set_count = 1;
    otimes_model *model = oom_golden("gpt2");
    until_it_succeeds("otimes_compose", oom_analyse, &(oom_analysis){model, &settings, run_compose},
                      100);
    otimes_model_close(&model);
    otimes_compose_settings_default(&settings);
    settings.offsets = offsets;
    settings.offset_count = 1;
    settings.memory = 1700000; /* panels of layers */
    model = oom_golden("gemma3_text");
    until_it_succeeds("otimes_compose, offsets", oom_analyse,
                      &(oom_analysis){model, &settings, run_compose}, 100);
    otimes_model_close(&model);
}

static int run_neurons(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_neurons(a->model, a->settings, sink, err);
}

static void neurons(void **state)
{
    (void)state;
    static const int64_t chosen[] = {0, 6, 16};
    otimes_neurons_settings settings;
    otimes_neurons_settings_default(&settings);
    otimes_model *model = oom_golden("gemma2");
    until_it_succeeds("otimes_neurons", oom_analyse, &(oom_analysis){model, &settings, run_neurons},
                      100);
    otimes_model_close(&model);
    settings.neurons = chosen;
    settings.neuron_count = 3;
    settings.heads = OTIMES_NEURONS_HEADS_FULL;
    settings.null_directions = 2;
    model = oom_golden("qwen2_moe");
    until_it_succeeds("otimes_neurons, experts", oom_analyse,
                      &(oom_analysis){model, &settings, run_neurons}, 100);
    otimes_model_close(&model);
}

static int run_compare(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_compare(&a->model, 1, a->settings, sink, err);
}

/* The same model three times, as checkpoints. */
static int run_checkpoints(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    const otimes_model *const models[] = {a->model, a->model, a->model};
    return otimes_compare(models, 3, a->settings, sink, err);
}

/* Another beside it, of its vocabulary's size and another width. */
static otimes_model *wider;

static int run_widths(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    const otimes_model *const models[] = {a->model, wider};
    return otimes_compare(models, 2, a->settings, sink, err);
}

static void compared_heads(void **state)
{
    static const int64_t head[] = {1}, first[] = {0};
    (void)state;
    otimes_compare_settings settings;
    otimes_compare_settings_default(&settings);
    settings.heads = head;
    settings.head_count = 1;
    settings.cosines = 1;
    settings.layers = first;
    settings.layer_count = 1;
    otimes_model *model = oom_golden("transformer_lens");
    until_it_succeeds("otimes_compare", oom_analyse, &(oom_analysis){model, &settings, run_compare},
                      100);
    settings.measures = OTIMES_COMPARE_CKA;
    settings.cosines = 0;
    settings.match = OTIMES_COMPARE_MATCH_LAYERS;
    until_it_succeeds("otimes_compare, checkpoints", oom_analyse,
                      &(oom_analysis){model, &settings, run_checkpoints}, 100);
    otimes_model_close(&model);
    model = oom_golden("gptj");
    wider = oom_golden("gpt_neo");
    settings.same_vocab = 1;
    settings.match = OTIMES_COMPARE_MATCH_HEADS;
    until_it_succeeds("otimes_compare, two widths", oom_analyse,
                      &(oom_analysis){model, &settings, run_widths}, 100);
    otimes_model_close(&model);
    otimes_model_close(&wider);
}

static int run_trigrams(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_trigrams(a->model, a->settings, sink, err);
}

static void trigrams(void **state)
{
    (void)state;
    static const otimes_trigrams_head heads[] = {{1, 0}, {0, 1}};
    static const int64_t tokens[] = {0, 5, 6, 7}, offsets[] = {0, 3};
    otimes_trigrams_settings settings;
    otimes_trigrams_settings_default(&settings);
    settings.heads = heads;
    settings.head_count = 2;
    settings.sources = tokens;
    settings.source_count = 4;
    settings.per_source = 1;
    otimes_model *model = oom_golden("llama_scaled");
    settings.offsets = offsets;
    settings.offset_count = 2;
    until_it_succeeds("otimes_trigrams, offsets", oom_analyse,
                      &(oom_analysis){model, &settings, run_trigrams}, 40);
    otimes_model_close(&model);

    otimes_trigrams_settings_default(&settings);
    settings.query_position = settings.key_position = 1;
    model = oom_golden("gpt2");
    until_it_succeeds("otimes_trigrams, positions", oom_analyse,
                      &(oom_analysis){model, &settings, run_trigrams}, 40);
    otimes_model_close(&model);

    otimes_trigrams_settings_default(&settings);
    model = oom_golden("bloom");
    until_it_succeeds("otimes_trigrams, a norm behind the embedding", oom_analyse,
                      &(oom_analysis){model, &settings, run_trigrams}, 40);
    otimes_model_close(&model);
}

static int run_circuit(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_circuit(a->model, a->settings, sink, err);
}

static void circuits(void **state)
{
    (void)state;
    static const otimes_circuit_head head = {1, 1};
    static const int64_t columns[] = {0, 5, 6};
    otimes_circuit_settings settings;
    otimes_circuit_settings_default(&settings);
    settings.top = 2;
    settings.bottom = 1;
    settings.sides = OTIMES_CIRCUIT_ROWS | OTIMES_CIRCUIT_COLUMNS;
    for (int way = OTIMES_CIRCUIT_BLOCKS; way <= OTIMES_CIRCUIT_SCREEN; way++) {
        settings.way = (otimes_circuit_way)way;
        otimes_model *model = oom_golden("transformer_lens");
        until_it_succeeds("otimes_circuit", oom_analyse,
                          &(oom_analysis){model, &settings, run_circuit}, 40);
        otimes_model_close(&model);
    }
    settings.way = OTIMES_CIRCUIT_FASTEST;
    settings.which = OTIMES_CIRCUIT_K_COMPOSED;
    settings.earlier = (otimes_circuit_head){0, 1};
    settings.heads = &head;
    settings.head_count = 1;
    settings.offset = 2;
    settings.columns = columns;
    settings.column_count = 3;
    settings.statistics = 1;
    settings.bins = 2;
    settings.high = 1;
    settings.largest = 2;
    settings.threshold = 1e-6;
    settings.full = OTIMES_CIRCUIT_FULL_F16;
    otimes_model *model = oom_golden("qwen2");
    until_it_succeeds("otimes_circuit, everything", oom_analyse,
                      &(oom_analysis){model, &settings, run_circuit}, 60);
    otimes_model_close(&model);
}

static void qk(void **state)
{
    (void)state;
    static const int64_t tokens[] = {0, 5, 6}, heads[] = {1};
    static const char *const names[] = {"transformer_lens", "qwen2"};
    otimes_qk_settings settings;
    otimes_qk_settings_default(&settings);
    settings.top = 1;
    settings.entries = 2;
    settings.tokens = tokens;
    settings.token_count = 3;
    settings.heads = heads;
    settings.head_count = 1;
    for (int i = 0; i < 2; i++) {
        otimes_model *model = oom_golden(names[i]);
        until_it_succeeds("otimes_qk", oom_analyse, &(oom_analysis){model, &settings, run_qk}, 100);
        otimes_model_close(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(virtual_heads, oom_end),
        cmocka_unit_test_teardown(composition, oom_end),
        cmocka_unit_test_teardown(neurons, oom_end),
        cmocka_unit_test_teardown(compared_heads, oom_end),
        cmocka_unit_test_teardown(trigrams, oom_end),
        cmocka_unit_test_teardown(circuits, oom_end),
        cmocka_unit_test_teardown(qk, oom_end),
    };
    oom_count_json();
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
