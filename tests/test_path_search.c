/* SPDX-License-Identifier: MIT
 *
 * The path search against all paths there are: on every golden and checkpoint, with MLPs as sources
 * and as links. Every bound is held against what lies behind it. Sums are the pass' own logit, certificates hold at every budget.
 */
#include "edited.h"
#include "forwarding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "num/la.h"
#include "num/sample.h"
#include "run/forward.h"
#include "run/path_engine.h"
#include "seeded.h"

enum { MOST = 20000, LISTED = 100 };

typedef struct made {
    otimes_forward *forward;
    made_batch batch;
    otimes_linear linear;
    otimes_linear_target target;
    const char *name;
} made;

/* Sums over all tests, for the record. */
static struct {
    int searches;
    double chains, expanded;
} seen;

/* False where values of this text are clipped. */
static bool begin(made *m, const otimes_model *model, const char *name, otimes_mlp_role role,
                  int64_t length, int64_t position)
{
    otimes_err err = {0};
    memset(m, 0, sizeof *m);
    m->name = name;
    const otimes_model_info *info = otimes_model_describe(model);
    batch_random(&m->batch, model, &length, 1, 11);
    assert_ok(otimes_forward_open(&m->forward, model, NULL, &err), &err);
    const int rc = otimes_linear_init(&m->linear, otimes_forward_layers(m->forward),
                                      &m->batch.sequences, role, 0, NULL, &err);
    if (rc == OTIMES_ERR_UNSUPPORTED) {
        assert_true(info->clip_qkv > 0);
        return false;
    }
    assert_ok(rc, &err);
    m->target.direction = calloc((size_t)info->d_model, sizeof(float));
    assert_non_null(m->target.direction);
    position = position < m->linear.n ? position : m->linear.n - 1;
    assert_ok(otimes_linear_target_logit(&m->linear, position, 1, info->d_vocab_out > 2 ? 2 : -1,
                                         &m->target, &err),
              &err);
    return true;
}

static void end(made *m)
{
    free(m->target.direction);
    otimes_linear_free(&m->linear);
    otimes_forward_close(&m->forward);
}

/* ---- all of them ---- */

static void sum_is_value(made *m, const otimes_path_list *all)
{
    double sum = 0, size = 0;
    for (int64_t i = 0; i < all->count; i++) {
        sum += all->value[i];
        size = fmax(size, fabs(all->value[i]));
    }
    const double value = otimes_linear_target_value(&m->linear, &m->target);
    const double scale = fmax(fabs(value), size);
    if (!(fabs(sum - value) <= 2e-5 * scale)) {
        fail_msg("%s: all paths sum to %.9g, the target is worth %.9g", m->name, sum, value);
    }
}

static void all_paths(made *m, const otimes_path_settings *settings, otimes_path_list *all)
{
    otimes_err err = {0};
    assert_ok(otimes_paths_all(&m->linear, &m->target, settings, MOST, all, &err), &err);
    assert_true((double)all->count == all->total);
    assert_true(all->complete);
    for (int64_t i = 1; i < all->count; i++) {
        assert_true(fabs(all->value[i]) <= fabs(all->value[i - 1]));
    }
}

/* ---- search ---- */

static bool same_path(const otimes_path_list *a, int64_t i, const otimes_path_list *b, int64_t k)
{
    const int64_t links = a->links > b->links ? a->links : b->links;
    bool same = a->source[i] == b->source[k] && a->order[i] == b->order[k];
    for (int64_t x = 0; x < links; x++) {
        same = same && (x < a->links ? a->link[i * a->links + x] : -1) ==
                           (x < b->links ? b->link[k * b->links + x] : -1);
    }
    return same;
}

/* A search without a budget lists what all paths begin with. */
static void finds_the_largest(made *m, const otimes_path_settings *settings,
                              const otimes_path_list *all, int64_t listed)
{
    otimes_err err = {0};
    otimes_path_settings own = *settings;
    otimes_path_list paths;
    own.count = listed;
    assert_ok(otimes_paths_search(&m->linear, &m->target, &own, &paths, &err), &err);
    assert_true(paths.complete);
    assert_true(paths.total == all->total);
    const int64_t count = all->count < listed ? all->count : listed;
    for (int64_t i = 0; i < count && all->value[i] != 0; i++) {
        if (i >= paths.count || !same_path(&paths, i, all, i) || paths.value[i] != all->value[i]) {
            fail_msg("%s: order %lld: path %lld of %lld: %.9g, expected %.9g", m->name,
                     (long long)settings->max_order, (long long)i, (long long)all->count,
                     i < paths.count ? paths.value[i] : NAN, all->value[i]);
        }
    }
    seen.searches++;
    seen.chains += (double)all->expanded;
    seen.expanded += (double)paths.expanded;
    otimes_paths_free(&paths);
}

static bool is_listed(const otimes_path_list *paths, const otimes_path_list *all, int64_t k)
{
    for (int64_t i = 0; i < paths->count; i++) {
        if (same_path(paths, i, all, k)) {
            return true;
        }
    }
    return false;
}

/* Wherever it stops, nothing unlisted exceeds its bound. */
static void keeps_its_word(made *m, const otimes_path_settings *settings,
                           const otimes_path_list *all)
{
    static const int64_t budget[] = {1, 2, 5, 10, 30, 100};
    otimes_err err = {0};
    for (int b = 0; b < 6; b++) {
        otimes_path_settings own = *settings;
        otimes_path_list paths;
        own.count = b % 2 ? 20 : 3;
        own.budget = budget[b];
        assert_ok(otimes_paths_search(&m->linear, &m->target, &own, &paths, &err), &err);
        assert_true(paths.expanded <= budget[b]);
        for (int64_t k = 0; k < all->count && fabs(all->value[k]) > paths.bound; k++) {
            if (!is_listed(&paths, all, k)) {
                fail_msg("%s: budget %lld: bound %.9g, an unlisted path is worth %.9g", m->name,
                         (long long)budget[b], paths.bound, all->value[k]);
            }
        }
        otimes_paths_free(&paths);
    }
}

/* ---- bounds ---- */

/* The largest modulus below a suffix; each of its links must have been promised at least its own. */
static double hold_bounds(made *m, otimes_path_engine *engine, const float *state, int64_t reader,
                          int64_t left)
{
    otimes_err err = {0};
    const int64_t sources = m->linear.source_count;
    double *bound = calloc((size_t)engine->links, sizeof *bound);
    double *value = calloc((size_t)sources, sizeof *value), most = 0;
    float *next = calloc((size_t)engine->state, sizeof *next);
    assert_true(bound && value && next);
    assert_ok(engine->ops->bounds(engine, 1, state, &reader, &left, bound, &err), &err);
    assert_ok(engine->ops->values(engine, 1, state, &reader, 0, value, &err), &err);
    for (int64_t s = 0; s < sources; s++) {
        most = fmax(most, fabs(value[s]));
    }
    for (int64_t link = 0; link < engine->links; link++) {
        const bool head = link < engine->heads;
        const int64_t layer = head ? link / m->linear.info->n_heads : link - engine->heads;
        const bool there = head ? left != 0 && layer < otimes_path_heads_below(engine, reader)
                                : layer < otimes_path_mlps_below(engine, reader) &&
                                      otimes_linear_has_mlp(&m->linear, layer);
        if (!there) {
            assert_true(bound[link] == 0);
            continue;
        }
        assert_ok(engine->ops->step(engine, state, link, 0, next, &err), &err);
        const double below = hold_bounds(m, engine, next, link, left < 0 ? -1 : left - head);
        if (!(below <= bound[link])) {
            fail_msg("%s: link %lld: bound %.9g, a path is worth %.9g", m->name, (long long)link,
                     bound[link], below);
        }
        most = fmax(most, below);
    }
    free(next);
    free(value);
    free(bound);
    return most;
}

static void every_bound(made *m, int64_t order)
{
    otimes_err err = {0};
    otimes_path_engine engine;
    const otimes_path_settings settings = {.count = 1, .max_order = order};
    assert_ok(otimes_path_engine_open(&engine, &m->linear, &m->target, &settings, true, &err),
              &err);
    float *state = calloc((size_t)engine.state, sizeof *state);
    assert_non_null(state);
    engine.ops->root(&engine, state);
    hold_bounds(m, &engine, state, -1, order);
    free(state);
    otimes_path_engine_close(&engine);
}

static void hold(made *m, const otimes_path_settings *settings, bool whole, bool budgets)
{
    otimes_path_list all;
    if (otimes_paths_total(&m->linear, settings->max_order, settings->layers) > MOST) {
        return;
    }
    all_paths(m, settings, &all);
    if (whole) {
        sum_is_value(m, &all);
    }
    finds_the_largest(m, settings, &all, LISTED);
    finds_the_largest(m, settings, &all, 4);
    if (budgets) {
        keeps_its_word(m, settings, &all);
    }
    otimes_paths_free(&all);
}

static void every_way(made *m)
{
    bool layers[64] = {false, true, true, false, true};
    const otimes_path_settings plain = {.max_order = -1}, two = {.max_order = 2},
                               one = {.max_order = 1}, none = {.max_order = 0},
                               some = {.max_order = -1, .layers = layers};
    hold(m, &plain, true, true);
    hold(m, &two, false, true);
    hold(m, &one, false, false);
    hold(m, &none, false, false);
    hold(m, &some, false, false);
}

static void goldens(void **state)
{
    (void)state;
    seen.searches = 0;
    seen.chains = seen.expanded = 0;
    int opened = 0;
    for (int i = 0; golden_names[i]; i++) {
        if (golden_left_out(i)) {
            continue;
        }
        for (int way = i % 2; way < 4;
             way += 2) { /* processed, or links; all of it over two models */
            golden g;
            made m;
            golden_open(&g, golden_names[i], (way + way / 2) & 1);
            opened++;
            if (begin(&m, g.model, g.name, way & 2 ? OTIMES_MLP_AS_LINK : OTIMES_MLP_AS_SOURCE, 9,
                      way == 1 ? 5 : 8)) {
                every_way(&m);
                every_bound(&m, -1);
                every_bound(&m, 1);
                every_bound(&m, 2);
            }
            end(&m);
            golden_close(&g);
        }
    }
    assert_true(6 * seen.searches > 25 * (int64_t)opened); /* 500 of 60 goldens */
    print_message("%d searches expanded %.0f of %.0f chains\n", seen.searches, seen.expanded,
                  seen.chains);
}

static void shared_checkpoint(const char *path, int64_t length)
{
    otimes_err err = {0};
    otimes_model *model;
    made m;
    if (!path) {
        return;
    }
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    for (int role = 0; role < 2; role++) {
        seen.searches = 0;
        seen.chains = seen.expanded = 0;
        if (begin(&m, model, path, role ? OTIMES_MLP_AS_LINK : OTIMES_MLP_AS_SOURCE, length,
                  length - 1)) {
            every_way(&m);
        }
        end(&m);
        print_message("%s, MLPs as %s: %d searches expanded %.0f of %.0f chains\n", path,
                      role ? "links" : "sources", seen.searches, seen.expanded, seen.chains);
    }
    otimes_model_close(&model);
}

static void checkpoints(void **state)
{
    (void)state;
    shared_checkpoint(source_path("notebooks-data/induction-2l"), 40);
    shared_checkpoint(shared_path("arena_sorted_list"), 20);
    shared_checkpoint(shared_path("grokking_induction/induction_head_infinite.tl.safetensors"), 20);
    shared_checkpoint(shared_path("tracr_induction"), 10);
    shared_checkpoint(shared_path("gpt_nano_sort"), 10);
    shared_checkpoint(shared_path("stories260K/stories260K.bin"), 24);
    shared_checkpoint(shared_path("tinystories656k"), 24);
}

/* LayerNorms behind attention and MLP too, which centre what is written: no golden has them. */
static void centring_post_norms(void **state)
{
    otimes_model *model;
    otimes_err err = {0};
    checkpoint c;
    (void)state;
    read_golden(&c, "transformer_lens_mlp");
    edit(c.config, "{\"use_normalization_before_and_after\":true}");
    for (int layer = 0; layer < 2; layer++) {
        for (int norm = 1; norm <= 2; norm++) {
            char from[32], to[32];
            snprintf(from, sizeof from, "blocks.%d.ln%d.w", layer, norm);
            snprintf(to, sizeof to, "blocks.%d.ln%d_post.w", layer, norm);
            json_object_set(c.header, to, json_object_get(c.header, from));
        }
    }
    write_config(c.config);
    write_weights(&c);
    drop_checkpoint(&c);
    assert_ok(otimes_model_open(&model, temp_folder, NULL, &err), &err);
    assert_true(otimes_model_describe(model)->post_norm);
    for (int role = 0; role < 2; role++) {
        made m;
        assert_true(begin(&m, model, "centring post-norms",
                          role ? OTIMES_MLP_AS_LINK : OTIMES_MLP_AS_SOURCE, 8, 6));
        every_way(&m);
        every_bound(&m, -1);
        every_bound(&m, 1);
        end(&m);
    }
    otimes_model_close(&model);
}

/* ---- the rest ---- */

typedef struct carrying {
    const otimes_path_list *paths;
    int64_t seen;
} carrying;

static int add_up(void *context, int64_t path, const double *carried, otimes_err *err)
{
    carrying *c = context;
    double sum = 0;
    (void)err;
    assert_int_equal(path, c->seen++);
    for (int64_t t = 0; t < 9; t++) {
        sum += carried[t];
    }
    assert_true(carried[8] == 0); /* behind the target */
    const double value = c->paths->source[path] < 0 ? 0 : c->paths->value[path];
    assert_true(fabs(sum - value) <= 1e-12 * fabs(value));
    return path == 20 ? OTIMES_ERR_CANCELLED : OTIMES_OK;
}

/* Sources' positions of each listed path sum to its value. */
static void where_it_comes_from(void **state)
{
    static const char *const names[] = {"gpt2", "llama", "gemma2", NULL};
    otimes_err err = {0};
    (void)state;
    for (int i = 0; names[i]; i++) {
        for (int role = 0; role < 2; role++) {
            golden g;
            made m;
            golden_open(&g, names[i], true);
            assert_true(begin(&m, g.model, g.name, (otimes_mlp_role)role, 9, 7));
            const otimes_path_settings settings = {.count = 30, .max_order = -1};
            otimes_path_list paths;
            assert_ok(otimes_paths_search(&m.linear, &m.target, &settings, &paths, &err), &err);
            carrying c = {&paths, 0};
            assert_true(paths.count > 21);
            assert_int_equal(otimes_path_positions(&m.linear, &m.target, &paths, add_up, &c, &err),
                             OTIMES_ERR_CANCELLED);
            assert_int_equal(c.seen, 21);
            otimes_paths_free(&paths);
            end(&m);
            golden_close(&g);
        }
    }
}

/* A model larger than a batch: the same list, to the bit, and the same certificate. */
static void any_number_of_threads(void **state)
{
    otimes_err err = {0};
    (void)state;
    for (int role = 0; role < 2; role++) {
        otimes_path_list paths[2];
        for (int way = 0; way < 2; way++) {
            otimes_model *model = seeded_model(&seeded_llama, way ? 3 : 1);
            made m;
            assert_true(begin(&m, model, "seeded", (otimes_mlp_role)role, 40, 39));
            const otimes_path_settings settings = {
                .count = 50, .max_order = -1, .budget = role ? 20 : 300};
            assert_ok(otimes_paths_search(&m.linear, &m.target, &settings, &paths[way], &err),
                      &err);
            end(&m);
            otimes_model_close(&model);
        }
        assert_int_equal(paths[0].count, paths[1].count);
        assert_int_equal(paths[0].expanded, paths[1].expanded);
        assert_true(paths[0].bound == paths[1].bound);
        for (int64_t i = 0; i < paths[0].count; i++) {
            assert_true(same_path(&paths[0], i, &paths[1], i));
            assert_true(paths[0].value[i] == paths[1].value[i]);
        }
        otimes_paths_free(&paths[0]);
        otimes_paths_free(&paths[1]);
    }
}

/* Never below the largest singular value, never far above. */
static void operator_norms(void **state)
{
    enum { ROWS = 24, COLUMNS = 40 };
    (void)state;
    for (int k = 0; k < 20; k++) {
        const int64_t rows = 1 + k, columns = k % 2 ? COLUMNS : rows;
        float c[ROWS * COLUMNS];
        double wide[ROWS * COLUMNS], s[ROWS], work[2 * ROWS * ROWS + ROWS * COLUMNS];
        otimes_err err = {0};
        for (int64_t i = 0; i < rows * columns; i++) {
            const double x = otimes_uniform_of(3, (uint64_t)k, (uint64_t)i) - 0.5;
            c[i] = (float)(x * (k % 3 ? 1e-12 : 1e12));
            wide[i] = (double)c[i];
        }
        assert_ok(otimes_la_default->dsvd(rows, columns, wide, columns, s, NULL, 0, NULL, 0), &err);
        const double norm = otimes_path_operator_norm(rows, columns, c, columns, work);
        assert_true(norm >= s[0] && norm <= 1.04 * s[0]);
    }
}

static int refuse(void *context, double share, otimes_err *err)
{
    (void)context, (void)err;
    assert_true(share >= 0 && share <= 1);
    return OTIMES_ERR_IO;
}

static void refusals(void **state)
{
    otimes_err err = {0};
    golden g;
    made m;
    otimes_path_list paths;
    (void)state;
    golden_open(&g, "gpt2", true);
    assert_true(begin(&m, g.model, g.name, OTIMES_MLP_AS_SOURCE, 9, 8));
    otimes_path_settings settings = {.count = 5, .max_order = -2};
    assert_int_equal(otimes_paths_search(&m.linear, &m.target, &settings, &paths, &err),
                     OTIMES_ERR_ARGUMENT);
    otimes_paths_free(&paths);
    settings = (otimes_path_settings){.max_order = -1};
    assert_int_equal(otimes_paths_all(&m.linear, &m.target, &settings, 3, &paths, &err),
                     OTIMES_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "expected at most 3"));
    otimes_paths_free(&paths);
    settings = (otimes_path_settings){.count = 5, .max_order = -1, .tick = refuse};
    assert_int_equal(otimes_paths_search(&m.linear, &m.target, &settings, &paths, &err),
                     OTIMES_ERR_IO);
    otimes_paths_free(&paths);
    m.target.position = 9;
    assert_int_equal(otimes_paths_search(&m.linear, &m.target, &settings, &paths, &err),
                     OTIMES_ERR_ARGUMENT);
    otimes_paths_free(&paths);
    end(&m);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens),
        cmocka_unit_test(checkpoints),
        cmocka_unit_test_teardown(centring_post_norms, empty_folder),
        cmocka_unit_test(where_it_comes_from),
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(operator_norms),
        cmocka_unit_test(refusals),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
