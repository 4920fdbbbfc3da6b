/* SPDX-License-Identifier: MIT
 *
 * Full circuits of several sheets, stopped behind every block and resumed.
 */
#include "resuming.h"

#include <otimes/circuit.h>

#include "seeded.h"

enum { WIDE_VOCAB = 7900, D = 8 };

/* A vocabulary of more than one sheet in a stream of 8. */
static const recipe wide_vocabulary = {
    "wide_vocabulary",
    "{\"model_type\": \"gpt2\", \"n_embd\": 8, \"n_head\": 2, \"n_layer\": 2, \"n_inner\": 8, "
    "\"n_positions\": 16, \"vocab_size\": 7900, \"activation_function\": \"gelu_new\", "
    "\"layer_norm_epsilon\": 1e-5}",
    2,
    0,
    {{"transformer.wte.weight", WIDE_VOCAB, D},
     {"transformer.wpe.weight", 16, D},
     {"transformer.ln_f.weight", D, 0},
     {"transformer.ln_f.bias", D, 0},
     {"transformer.h.%d.ln_1.weight", D, 0},
     {"transformer.h.%d.ln_1.bias", D, 0},
     {"transformer.h.%d.ln_2.weight", D, 0},
     {"transformer.h.%d.ln_2.bias", D, 0},
     {"transformer.h.%d.attn.c_attn.weight", D, 3 * D},
     {"transformer.h.%d.attn.c_attn.bias", 3 * D, 0},
     {"transformer.h.%d.attn.c_proj.weight", D, D},
     {"transformer.h.%d.attn.c_proj.bias", D, 0},
     {"transformer.h.%d.mlp.c_fc.weight", D, D},
     {"transformer.h.%d.mlp.c_fc.bias", D, 0},
     {"transformer.h.%d.mlp.c_proj.weight", D, D},
     {"transformer.h.%d.mlp.c_proj.bias", D, 0}}};

typedef struct circuits {
    const otimes_model *model;
    const otimes_circuit_settings *settings;
} circuits;

static int run_circuits(const void *context, otimes_sink *sink, otimes_err *err)
{
    const circuits *c = context;
    return otimes_circuit(c->model, c->settings, sink, err);
}

/* Sheets that are there are left out: what was written before the last sheet is not written again. */
static void by_sheets(void **state)
{
    (void)state;
    static const int64_t columns[] = {3, 4, 5, 100, 7000};
    static const otimes_circuit_head heads[] = {{0, 1}, {1, 0}};
    otimes_model *model = seeded_model(&wide_vocabulary, 1);
    otimes_circuit_settings s;
    otimes_circuit_settings_default(&s);
    s.heads = heads;
    s.head_count = 2;
    s.top = s.bottom = 2;
    s.columns = columns;
    s.column_count = 5;
    s.sides = OTIMES_CIRCUIT_ROWS | OTIMES_CIRCUIT_COLUMNS;
    s.statistics = 1;
    s.largest = 3;
    s.full = OTIMES_CIRCUIT_FULL_F16;
    const circuits context = {model, &s};
    int blocks;
    const int last = stop_anywhere(&(resumable){run_circuits, &context}, &blocks);
    assert_true(blocks > 70); /* two heads of two sheets of twelve arrays, columns, extremes */
    assert_in_range(last, 1, 8);
    otimes_model_close(&model);
}

/* Counts and entries are of all sheets, which are then gone through again; the blocks are the same. */
static void sums_over_sheets(void **state)
{
    (void)state;
    static const int64_t columns[] = {3, 4, 5, 100, 7000};
    static const otimes_circuit_head heads[] = {{0, 1}, {1, 0}};
    otimes_model *model = seeded_model(&wide_vocabulary, 1);
    otimes_circuit_settings s;
    otimes_circuit_settings_default(&s);
    s.heads = heads;
    s.head_count = 2;
    s.which = OTIMES_CIRCUIT_QK;
    s.top = 1;
    s.bottom = 0;
    s.columns = columns;
    s.column_count = 5;
    s.bins = 4;
    s.low = -1e-3;
    s.high = 1e-3;
    const circuits context = {model, &s};
    int blocks;
    stop_anywhere(&(resumable){run_circuits, &context}, &blocks);
    s.threshold = 1e-5;
    const int last = stop_anywhere(&(resumable){run_circuits, &context}, &blocks);
    assert_int_equal(last, blocks - 6); /* but for three arrays of each head's counts */
    otimes_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(by_sheets, empty_folder),
        cmocka_unit_test_teardown(sums_over_sheets, empty_folder),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
