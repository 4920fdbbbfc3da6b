/* SPDX-License-Identifier: MIT
 *
 * Flows by queries and keys that nothing turns behind their norm.
 */
#include "linearised.h"

#include <math.h>
#include <string.h>

#include "model/model.h"
#include "run/flows_job.h"

enum { TEXT = 9 };

typedef struct swept {
    linearised m;
    otimes_flow_scores *scores;
    otimes_flows flows;
} swept;

static void end(swept *s)
{
    otimes_flows_free(&s->flows);
    otimes_flow_scores_free(&s->scores);
    linearised_end(&s->m);
}

/* A golden that norms queries and keys, without rotation or rotated by next to nothing; false if it norms
 * none. */
static bool begin_unturned(swept *s, const char *name, bool rotary)
{
    otimes_err err = {0};
    memset(s, 0, sizeof *s);
    golden_open(&s->m.g, name, true);
    otimes_model *model = s->m.g.model;
    if (model->info.qk_norm == OTIMES_QK_NORM_NONE || !model->layers[0].rotary) {
        return false;
    }
    otimes_rope *const ropes[] = {&model->rope, &model->local_rope};
    for (int i = 0; i < 2; i++) {
        ropes[i]->scaling = OTIMES_ROPE_LINEAR;
        ropes[i]->factor = 1e30;
    }
    for (int64_t l = 0; l < model->info.n_layers; l++) {
        model->layers[l].rotary = rotary;
    }
    otimes_hooks hooks;
    assert_ok(otimes_flow_scores_init(&s->scores, model, TEXT, &hooks, &err), &err);
    linearised_open(&s->m, name, model, OTIMES_MLP_AS_LINK, TEXT, false, &hooks);
    assert_ok(otimes_flows_sweep(&s->m.linear, &s->m.target, s->scores, &s->flows, &err), &err);
    return true;
}

/* Of as many edges `got` as `expected` has, the largest. */
static double hold_same(const swept *s, const char *what, int64_t count, const double *got,
                        const double *expected)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs(expected[i]));
    }
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(isnan(got[i]), isnan(expected[i]));
        if (!isnan(expected[i])) {
            if (!(fabs(got[i] - expected[i]) <= 1e-5 * most)) {
                fail_msg("%s: %s %d is %.9g, expected %.9g (of %g)", s->m.name, what, (int)i,
                         got[i], expected[i], most);
            }
        }
    }
    return most;
}

/* What scores are made of is recorded behind a rotation, and made from what is before the norm where there
 * is none: the same edges. */
static void unturned(void **state)
{
    bool found[OTIMES_QK_NORM_ALL + 1] = {false};
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        swept s, t;
        const bool normed = begin_unturned(&s, golden_names[i], false);
        if (normed && begin_unturned(&t, golden_names[i], true)) {
            const int64_t heads = s.flows.heads, sources = s.flows.sources;
            for (int way = OTIMES_EDGE_Q; way <= OTIMES_EDGE_K; way++) {
                const double most = hold_same(&s, "edge between heads", heads * heads,
                                              s.flows.edge[way], t.flows.edge[way]);
                hold_same(&s, "edge from a source", heads * sources, s.flows.source_edge[way],
                          t.flows.source_edge[way]);
                assert_true(most > 0);
            }
            found[s.m.info->qk_norm] = true;
            end(&t);
        }
        end(&s);
    }
    assert_true(found[OTIMES_QK_NORM_HEAD] && found[OTIMES_QK_NORM_LN] &&
                found[OTIMES_QK_NORM_ALL]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(unturned)};
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
