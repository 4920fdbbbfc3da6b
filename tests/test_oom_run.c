/* SPDX-License-Identifier: MIT
 *
 * Memory that ends while a model is run on texts; oom.h says how.
 */
#include "oom.h"

#include <otimes/ablate.h>
#include <otimes/activations.h>
#include <otimes/decompose.h>
#include <otimes/logits.h>
#include <otimes/orders.h>
#include <otimes/paths.h>
#include <otimes/patterns.h>
#include <otimes/roles.h>

#include "run/path_search.h"
#include "run/table.h"

static int run_patterns(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_patterns(a->model, a->settings, sink, err);
}

static void patterns(void **state)
{
    static const int64_t text[] = {1, 2, 1, 2, 3}, length[] = {5, 2}, offsets[] = {1, 4};
    static const otimes_pattern_entry entry[] = {{1, 0, 1}, {3, 1, 2}};
    const int64_t *const id[] = {text, text};
    otimes_patterns_settings settings;
    (void)state;
    otimes_patterns_settings_default(&settings);
    settings.sequences = (otimes_sequences){2, length, id};
    settings.forward.chunk_rows = 5;
    settings.offsets = offsets;
    settings.offset_count = 2;
    settings.pattern = entry;
    settings.pattern_count = 2;
    settings.top = 2;
    settings.full = 1;
    settings.repeated = 2;
    settings.repeated_count = 2;
    otimes_model *model = oom_golden("gpt2");
    until_it_succeeds("otimes_patterns", oom_analyse,
                      &(oom_analysis){model, &settings, run_patterns}, 100);
    otimes_model_close(&model);
}

static int run_roles(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_roles(a->model, a->settings, sink, err);
}

static void roles(void **state)
{
    static const int64_t text[] = {1, 2, 1}, length[] = {3}, heads[] = {0}, rows[] = {2, 5};
    const int64_t *const id[] = {text};
    otimes_roles_settings settings;
    (void)state;
    otimes_roles_settings_default(&settings);
    settings.sequences = (otimes_sequences){1, length, id};
    settings.heads = heads;
    settings.head_count = 1;
    settings.rows = rows;
    settings.row_count = 2;
    settings.repeated = 2;
    settings.repeated_count = 1;
    otimes_model *model = oom_golden("transformer_lens_mlp");
    until_it_succeeds("otimes_roles", oom_analyse, &(oom_analysis){model, &settings, run_roles},
                      100);
    otimes_model_close(&model);
}

static int run_logits(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_logits(a->model, a->settings, sink, err);
}

static int run_activations(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_activations(a->model, a->settings, sink, err);
}

static void runs_on_texts(void **state)
{
    (void)state;
    static const int64_t first[] = {1, 2, 3}, second[] = {4, 5}, last[] = {-1};
    static const int64_t length[] = {3, 2};
    const int64_t *const ids[] = {first, second};
    otimes_logits_settings plain, places, grown;
    otimes_activations_settings points;
    otimes_logits_settings_default(&plain);
    otimes_activations_settings_default(&points);
    plain.sequences = points.sequences = (otimes_sequences){2, length, ids};
    points.names = "*";
    places = grown = plain;
    places.full = 1;
    places.positions = last;
    places.position_count = 1;
    places.forward.resident = 1;
    places.forward.chunk_rows = 1;
    grown.generate.count = 2;
    grown.generate.temperature = 1;
    for (int i = 0; i < 2; i++) {
        otimes_model *model = oom_golden(i ? "qwen2_moe" : "gpt2");
        until_it_succeeds("otimes_logits", oom_analyse, &(oom_analysis){model, &plain, run_logits},
                          50);
        until_it_succeeds("otimes_logits, places", oom_analyse,
                          &(oom_analysis){model, &places, run_logits}, 50);
        until_it_succeeds("otimes_logits, grown", oom_analyse,
                          &(oom_analysis){model, &grown, run_logits}, 50);
        until_it_succeeds("otimes_activations", oom_analyse,
                          &(oom_analysis){model, &points, run_activations}, 50);
        otimes_model_close(&model);
    }
}

static int run_decompose(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_decompose(a->model, a->settings, sink, err);
}

static void decompose(void **state)
{
    (void)state;
    static const int64_t length[] = {3, 2}, first[] = {1, 2, 3}, second[] = {4, 5};
    static const int64_t *const id[] = {first, second};
    static const int64_t target[] = {1, 2}, against[] = {3, -1}, positions[] = {-1};
    otimes_decompose_settings settings;
    otimes_decompose_settings_default(&settings);
    settings.sequences = (otimes_sequences){2, length, id};
    settings.predicted = 1;
    otimes_model *model = oom_golden("gpt2");
    until_it_succeeds("otimes_decompose", oom_analyse,
                      &(oom_analysis){model, &settings, run_decompose}, 100);
    otimes_model_close(&model);
    settings.predicted = 0;
    settings.target = target;
    settings.against = against;
    settings.target_count = 2;
    settings.positions = positions;
    settings.position_count = 1;
    settings.parts = OTIMES_DECOMPOSE_ALL;
    settings.lens = settings.sources = settings.full = 1;
    settings.forward.resident = 1;
    settings.forward.chunk_rows = 2;
    for (int i = 0; i < 2; i++) {
        model = oom_golden(i ? "qwen2_moe" : "gemma2");
        until_it_succeeds("otimes_decompose, every option", oom_analyse,
                          &(oom_analysis){model, &settings, run_decompose}, 200);
        otimes_model_close(&model);
    }
}

static int run_ablate(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_ablate(a->model, a->settings, sink, err);
}

static void ablate(void **state)
{
    static const int64_t ids[] = {1, 2, 3, 4}, length[] = {4, 3}, target[] = {5, 6};
    static const int64_t *const id[] = {ids, ids + 1};
    static const otimes_ablate_member member[] = {{OTIMES_ABLATE_NEURON, 1, 2},
                                                  {OTIMES_ABLATE_HEAD, 0, 1}};
    static const otimes_ablate_set set = {member, 2};
    otimes_ablate_settings settings;
    (void)state;
    otimes_ablate_settings_default(&settings);
    settings.sequences = (otimes_sequences){2, length, id};
    settings.components |= OTIMES_ABLATE_MLPS;
    settings.sets = &set;
    settings.set_count = 1;
    settings.target = target;
    settings.full = 1;
    otimes_model *model = oom_golden("gpt2");
    for (int m = OTIMES_ABLATE_MEAN; m <= OTIMES_ABLATE_RESAMPLE; m++) {
        settings.method = (otimes_ablate_method)m;
        settings.forward.resident = m == OTIMES_ABLATE_MEAN;
        until_it_succeeds("otimes_ablate", oom_analyse,
                          &(oom_analysis){model, &settings, run_ablate}, 100);
    }
    otimes_model_close(&model);
}

static int run_paths(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_paths(a->model, a->settings, sink, err);
}

static void paths(void **state)
{
    static const int64_t ids[] = {1, 2, 3}, length[] = {3, 2}, positions[] = {-1}, layers[] = {1};
    static const int64_t *const id[] = {ids, ids};
    otimes_paths_settings settings;
    (void)state;
    otimes_paths_settings_default(&settings);
    settings.sequences = (otimes_sequences){2, length, id};
    settings.positions = positions;
    settings.position_count = 1;
    settings.top = 5;
    settings.forward.resident = 1;
    otimes_model *model = oom_golden("gpt2");
    until_it_succeeds("otimes_paths", oom_analyse, &(oom_analysis){model, &settings, run_paths},
                      100);
    settings.positions = NULL;
    settings.layers = layers;
    settings.layer_count = 1;
    settings.top = 0;
    settings.order = 1;
    settings.mlp = settings.loss = 1;
    settings.whose = OTIMES_PATHS_NEXT;
    settings.flows = 0;
    until_it_succeeds("otimes_paths, every option", oom_analyse,
                      &(oom_analysis){model, &settings, run_paths}, 100);
    otimes_model_close(&model);
}

static int run_orders(const oom_analysis *a, otimes_sink *sink, otimes_err *err)
{
    return otimes_orders(a->model, a->settings, sink, err);
}

static void orders(void **state)
{
    static const int64_t ids[] = {1, 2, 3, 4}, length[] = {4, 3};
    static const int64_t *const id[] = {ids, ids + 1};
    otimes_orders_settings settings;
    (void)state;
    otimes_orders_settings_default(&settings);
    settings.sequences = (otimes_sequences){2, length, id};
    settings.full = settings.mlp_links = 1;
    for (int i = 0; i < 2; i++) {
        otimes_model *model = oom_golden(i ? "qwen2_moe" : "gpt2");
        settings.forward.resident = i;
        until_it_succeeds("otimes_orders", oom_analyse,
                          &(oom_analysis){model, &settings, run_orders}, 100);
        otimes_model_close(&model);
    }
}

typedef struct path_call {
    const otimes_model *model;
    otimes_mlp_role role;
    bool all;
} path_call;

static int take_carried(void *context, int64_t path, const double *carried, otimes_err *err)
{
    (void)context, (void)path, (void)carried, (void)err;
    return OTIMES_OK;
}

static int search_paths(void *context, otimes_err *err)
{
    static const int64_t text[] = {1, 2, 1, 2}, length[] = {4};
    const int64_t *const id[] = {text};
    const path_call *call = context;
    float direction[64];
    otimes_forward *forward = NULL;
    otimes_linear linear = {0};
    otimes_path_list paths = {0};
    otimes_linear_target target = {.direction = direction};
    const otimes_path_settings settings = {.count = call->all ? 0 : 9, .max_order = 2};
    const otimes_sequences sequence = {1, length, id};
    int rc = otimes_forward_open(&forward, call->model, NULL, err);
    if (rc == OTIMES_OK) {
        rc = otimes_linear_init(&linear, otimes_forward_layers(forward), &sequence, call->role, 0,
                                NULL, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_linear_target_logit(&linear, 3, 1, -1, &target, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_paths_search(&linear, &target, &settings, &paths, err);
    }
    if (rc == OTIMES_OK && !call->all) {
        rc = otimes_path_positions(&linear, &target, &paths, take_carried, NULL, err);
    }
    otimes_paths_free(&paths);
    otimes_linear_free(&linear);
    otimes_forward_close(&forward);
    return rc;
}

static void path_lists(void **state)
{
    (void)state;
    otimes_model *model = oom_golden("gpt2");
    assert_true(otimes_model_describe(model)->d_model <= 64);
    for (int way = 0; way < 4; way++) {
        path_call call = {model, way & 1 ? OTIMES_MLP_AS_LINK : OTIMES_MLP_AS_SOURCE, way & 2};
        until_it_succeeds("otimes_paths_search", search_paths, &call, 40);
    }
    otimes_model_close(&model);
}

enum { TABLE_ROWS = 200, TABLE_COLUMNS = 1300, TABLE_RANK = 20 };

static int run_table(void *context, otimes_err *err)
{
    static const otimes_table_ask ask = {
        .top = 3, .bottom = 2, .threshold = 12, .way = OTIMES_TABLE_SCREEN};
    return otimes_table_run(context, &ask, err);
}

/* By the screen; the second time with columns so alike that rows are lost and go by blocks. */
static void tables(void **state)
{
    static float row[TABLE_ROWS * TABLE_RANK], column[TABLE_COLUMNS * TABLE_RANK];
    const otimes_table_vectors rows = {TABLE_RANK, row}, columns = {TABLE_RANK, column};
    otimes_table table = {.rank = TABLE_RANK,
                          .row = otimes_table_side_in_memory(&rows, TABLE_ROWS),
                          .column = otimes_table_side_in_memory(&columns, TABLE_COLUMNS),
                          .threads = 1};
    (void)state;
    for (int alike = 0; alike < 2; alike++) {
        for (int64_t i = 0; i < TABLE_ROWS * TABLE_RANK; i++) {
            row[i] = (float)(i * 7919 % 1009) / 504 - 1;
        }
        for (int64_t i = 0; i < TABLE_COLUMNS * TABLE_RANK; i++) {
            column[i] = (float)((alike ? i % TABLE_RANK : i) * 6007 % 1013) / 506 - 1;
        }
        until_it_succeeds("otimes_table_run", run_table, &table, 30);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(patterns, oom_end),
        cmocka_unit_test_teardown(roles, oom_end),
        cmocka_unit_test_teardown(runs_on_texts, oom_end),
        cmocka_unit_test_teardown(decompose, oom_end),
        cmocka_unit_test_teardown(ablate, oom_end),
        cmocka_unit_test_teardown(orders, oom_end),
        cmocka_unit_test_teardown(paths, oom_end),
        cmocka_unit_test_teardown(path_lists, oom_end),
        cmocka_unit_test_teardown(tables, oom_end),
    };
    oom_count_json();
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
