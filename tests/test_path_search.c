/* SPDX-License-Identifier: MIT
 *
 * The path search against all paths there are: on every golden and checkpoint, with MLPs as sources and
 * as links. Sums are the pass' own logit, certificates hold at every budget.
 */
#include "forwarding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "run/forward.h"
#include "run/path_search.h"
#include "seeded.h"

enum { MOST = 60000, LISTED = 100 };

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
                              const otimes_path_list *all)
{
    otimes_err err = {0};
    otimes_path_settings own = *settings;
    otimes_path_list paths;
    own.count = LISTED;
    assert_ok(otimes_paths_search(&m->linear, &m->target, &own, &paths, &err), &err);
    assert_true(paths.complete);
    assert_true(paths.total == all->total);
    const int64_t count = all->count < LISTED ? all->count : LISTED;
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
    static const int64_t budget[] = {1, 2, 5, 10, 30, 100, 1000};
    otimes_err err = {0};
    for (int b = 0; b < 7; b++) {
        otimes_path_settings own = *settings;
        otimes_path_list paths;
        own.count = 20;
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

static void hold(made *m, const otimes_path_settings *settings, bool whole)
{
    otimes_path_list all;
    if (otimes_paths_total(&m->linear, settings->max_order, settings->layers) > MOST) {
        return;
    }
    all_paths(m, settings, &all);
    if (whole) {
        sum_is_value(m, &all);
    }
    finds_the_largest(m, settings, &all);
    keeps_its_word(m, settings, &all);
    otimes_paths_free(&all);
}

static void every_way(made *m)
{
    bool layers[64] = {false, true, true, false, true};
    const otimes_path_settings plain = {.max_order = -1}, two = {.max_order = 2},
                               one = {.max_order = 1}, none = {.max_order = 0},
                               some = {.max_order = -1, .layers = layers};
    hold(m, &plain, true);
    hold(m, &two, false);
    hold(m, &one, false);
    hold(m, &none, false);
    hold(m, &some, false);
}

static void goldens(void **state)
{
    (void)state;
    seen.searches = 0;
    seen.chains = seen.expanded = 0;
    for (int i = 0; golden_names[i]; i++) {
        for (int way = 0; way < 4; way++) {
            golden g;
            made m;
            golden_open(&g, golden_names[i], way & 1);
            if (begin(&m, g.model, g.name, way & 2 ? OTIMES_MLP_AS_LINK : OTIMES_MLP_AS_SOURCE, 9,
                      way == 1 ? 5 : 8)) {
                every_way(&m);
            }
            end(&m);
            golden_close(&g);
        }
    }
    assert_true(seen.searches > 500);
    print_message("%d searches expanded %.0f of %.0f chains\n", seen.searches, seen.expanded,
                  seen.chains);
}

static void checkpoint(const char *path, int64_t length)
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
    checkpoint(source_path("notebooks-data/induction-2l"), 40);
    checkpoint(shared_path("arena_sorted_list"), 20);
    checkpoint(shared_path("grokking_induction/induction_head_infinite.tl.safetensors"), 20);
    checkpoint(shared_path("tracr_induction"), 10);
    checkpoint(shared_path("gpt_nano_sort"), 10);
    checkpoint(shared_path("stories260K/stories260K.bin"), 24);
    checkpoint(shared_path("tinystories656k"), 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens),
        cmocka_unit_test(checkpoints),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
