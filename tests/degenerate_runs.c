/* SPDX-License-Identifier: MIT */
#include "degenerate_runs.h"

#include <otimes/ablate.h>
#include <otimes/activations.h>
#include <otimes/bigram.h>
#include <otimes/circuit.h>
#include <otimes/compare.h>
#include <otimes/compose.h>
#include <otimes/convert.h>
#include <otimes/decompose.h>
#include <otimes/heads.h>
#include <otimes/info.h>
#include <otimes/logits.h>
#include <otimes/neurons.h>
#include <otimes/orders.h>
#include <otimes/paths.h>
#include <otimes/patterns.h>
#include <otimes/qk.h>
#include <otimes/roles.h>
#include <otimes/trigrams.h>
#include <otimes/virtual.h>

#include <string.h>

enum { LENGTH = 7 };

/* One text whose last token stands at the last position where there are few. */
typedef struct text {
    otimes_sequences sequences;
    int64_t length, ids[LENGTH];
    const int64_t *id;
} text;

static const otimes_sequences *short_text(text *t, const otimes_model *model, int64_t most)
{
    const otimes_model_info *info = otimes_model_describe(model);
    t->length = info->n_ctx < most ? info->n_ctx : most;
    for (int64_t i = 0; i < t->length; i++) {
        t->ids[i] = (3 * i * i + 1) % info->d_vocab;
    }
    t->id = t->ids;
    t->sequences = (otimes_sequences){1, &t->length, &t->id};
    return &t->sequences;
}

#define RUN(function, analysis, ...)                                                   \
    static int function(const otimes_model *model, otimes_sink *sink, otimes_err *err) \
    {                                                                                  \
        otimes_##analysis##_settings s;                                                \
        otimes_##analysis##_settings_default(&s);                                      \
        __VA_ARGS__                                                                    \
        return otimes_##analysis(model, &s, sink, err);                                \
    }

#define RUN_ON(function, analysis, tokens, ...) \
    RUN(function, analysis, text t; s.sequences = *short_text(&t, model, tokens); __VA_ARGS__)

RUN_ON(run_ablate, ablate, LENGTH, )
RUN_ON(run_ablate_one, ablate, 1, )
RUN_ON(run_activations, activations, LENGTH, s.names = "*";)
RUN(run_bigram, bigram, )
RUN(run_exact, bigram, s.exact = 1;)
RUN(run_ov, circuit, s.statistics = 1; s.largest = 3;
    s.sides = OTIMES_CIRCUIT_ROWS | OTIMES_CIRCUIT_COLUMNS;)
RUN(run_qk_table, circuit, s.which = OTIMES_CIRCUIT_QK; s.statistics = 1;)
RUN(run_k_composed, circuit, s.which = OTIMES_CIRCUIT_K_COMPOSED;)
RUN(run_compose, compose, s.ends = 1;)
RUN(run_components, compose, s.components = 1;)
RUN_ON(run_decompose, decompose, LENGTH, s.parts = OTIMES_DECOMPOSE_ALL; s.lens = 1; s.sources = 1;)
RUN_ON(run_decompose_one, decompose, 1, s.predicted = 1;)
RUN_ON(run_generate, logits, 1, s.generate.count = 4;)
RUN_ON(run_drawn, logits, 1, s.generate.count = 4; s.generate.temperature = 0.7;)
RUN(run_heads, heads, s.top = 1; s.biases = 1; s.matrices = OTIMES_HEADS_PRODUCTS;)
RUN_ON(run_logits, logits, LENGTH, s.full = 1;)
RUN_ON(run_logits_one, logits, 1, )
RUN(run_neurons, neurons, )
RUN_ON(run_orders, orders, LENGTH, )
RUN_ON(run_paths, paths, LENGTH, )
RUN_ON(run_mlp_paths, paths, LENGTH, s.mlp = 1; s.top = 20;)
RUN_ON(run_patterns, patterns, LENGTH, s.full = 1; s.top = 2;)
RUN(run_qk, qk, s.entries = 1;)
RUN(run_roles, roles, )
RUN(run_trigrams, trigrams, )
RUN(run_virtual, virtual, s.entries = 1;)

static int run_info(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    return otimes_info(model, NULL, sink, err);
}

static int run_convert(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    return otimes_convert(model, NULL, sink, err);
}

static int run_compare(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    const otimes_model *const models[] = {model, model};
    static const char *const labels[] = {"one", "two"};
    otimes_compare_settings s;
    otimes_compare_settings_default(&s);
    s.labels = labels;
    return otimes_compare(models, 2, &s, sink, err);
}

const degenerate_run degenerate_runs[] = {{"ablate", run_ablate},
                                          {"ablate, one token", run_ablate_one},
                                          {"activations", run_activations},
                                          {"bigram", run_bigram},
                                          {"bigram, exact", run_exact},
                                          {"circuit ov", run_ov},
                                          {"circuit qk", run_qk_table},
                                          {"circuit kcomp", run_k_composed},
                                          {"compare", run_compare},
                                          {"compose", run_compose},
                                          {"compose, components", run_components},
                                          {"convert", run_convert},
                                          {"decompose", run_decompose},
                                          {"decompose, one token", run_decompose_one},
                                          {"generate", run_generate},
                                          {"generate, drawn", run_drawn},
                                          {"heads", run_heads},
                                          {"info", run_info},
                                          {"logits", run_logits},
                                          {"logits, one token", run_logits_one},
                                          {"neurons", run_neurons},
                                          {"orders", run_orders},
                                          {"paths", run_paths},
                                          {"paths, MLPs", run_mlp_paths},
                                          {"patterns", run_patterns},
                                          {"qk", run_qk},
                                          {"roles", run_roles},
                                          {"trigrams", run_trigrams},
                                          {"virtual", run_virtual},
                                          {NULL, NULL}};

const degenerate_run *degenerate_run_of(const char *name)
{
    for (const degenerate_run *r = degenerate_runs; r->name; r++) {
        if (strcmp(r->name, name) == 0) {
            return r;
        }
    }
    fail_msg("no run %s", name);
    return NULL;
}

otimes_memory_sink *degenerate_result(const char *name, const otimes_model *model)
{
    otimes_memory_sink *memory;
    otimes_err err = {0};
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    const int rc = degenerate_run_of(name)->run(model, otimes_memory_sink_sink(memory), &err);
    if (rc != OTIMES_OK) {
        fail_msg("%s: %s", name, err.msg);
    }
    return memory;
}
