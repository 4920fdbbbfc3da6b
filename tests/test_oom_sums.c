/* SPDX-License-Identifier: MIT
 *
 * Memory that ends while sums over paths are taken; oom.h says how.
 */
#include "oom.h"

#include <otimes/forward.h>

#include "model/model.h"
#include "run/flows.h"
#include "run/forward.h"
#include "run/order_streams.h"

enum { TOKENS = 5 };

typedef struct sums {
    const otimes_model *model;
    otimes_forward *forward; /* its weights are read already */
    otimes_sequences text;
    otimes_mlp_role role;
    float *direction, *streams;
} sums;

/* A pass made linear, what it is asked for, and a target. */
typedef struct made {
    otimes_linear linear;
    otimes_flow_scores *scores;
    otimes_linear_target target;
} made;

static int make(const sums *s, made *m, otimes_err *err)
{
    otimes_hooks hooks;
    *m = (made){.target = {.direction = s->direction}};
    int rc = otimes_flow_scores_init(&m->scores, s->model, TOKENS, &hooks, err);
    if (rc != OTIMES_OK) {
        assert_null(m->scores);
        return rc;
    }
    rc = otimes_linear_init(&m->linear, otimes_forward_layers(s->forward), &s->text, s->role,
                            OTIMES_LINEAR_Z, &hooks, err);
    return rc == OTIMES_OK
               ? otimes_linear_target_logit(&m->linear, TOKENS - 1, 1, -1, &m->target, err)
               : rc;
}

static void unmake(made *m)
{
    otimes_linear_free(&m->linear);
    otimes_flow_scores_free(&m->scores);
}

static int order(void *context, otimes_err *err)
{
    const sums *s = context;
    made m;
    int rc = make(s, &m, err);
    if (rc == OTIMES_OK) {
        rc = otimes_order_streams(&m.linear, s->model->info.n_layers, NULL, s->streams, err);
    }
    unmake(&m);
    return rc;
}

static int see(void *context, int64_t members, const int64_t *layer, double value, otimes_err *err)
{
    (void)context, (void)members, (void)layer, (void)value, (void)err;
    return OTIMES_OK;
}

static int sets(void *context, otimes_err *err)
{
    made m;
    int rc = make(context, &m, err);
    if (rc == OTIMES_OK) {
        rc = otimes_layer_sets(&m.linear, &m.target, 2, see, NULL, err);
    }
    unmake(&m);
    return rc;
}

static int flows(void *context, otimes_err *err)
{
    made m;
    otimes_flows f = {0};
    int rc = make(context, &m, err);
    if (rc == OTIMES_OK) {
        rc = otimes_flows_sweep(&m.linear, &m.target, m.scores, &f, err);
    }
    otimes_flows_free(&f);
    unmake(&m);
    return rc;
}

/* A soft cap and post-norms; norms of queries and keys; biases everywhere; norms of all heads. */
static const char *const models[] = {"gemma2", "qwen3", "gpt2", "olmo2", NULL};

static void sums_over_paths(void **state)
{
    static const int64_t ids[TOKENS] = {1, 2, 3, 1, 2}, length = TOKENS, *const id = ids;
    (void)state;
    for (int i = 0; models[i]; i++) {
        otimes_err err = {0};
        otimes_model *model = oom_golden(models[i]);
        const int64_t d = model->info.d_model;
        const otimes_forward_settings resident = {.resident = 1};
        sums s = {.model = model, .text = {1, &length, &id}};
        assert_ok(otimes_forward_open(&s.forward, model, &resident, &err), &err);
        assert_ok(otimes_forward_run(s.forward, &s.text, NULL, &err), &err);
        s.direction = test_calloc((size_t)d, sizeof(float));
        s.streams = test_calloc((size_t)((model->info.n_layers + 1) * TOKENS * d), sizeof(float));
        for (int role = 0; role < 2; role++) {
            s.role = role ? OTIMES_MLP_AS_LINK : OTIMES_MLP_AS_SOURCE;
            until_it_succeeds("otimes_order_streams", order, &s, 20);
            until_it_succeeds("otimes_layer_sets", sets, &s, 20);
            until_it_succeeds("otimes_flows_sweep", flows, &s, 40);
        }
        test_free(s.direction);
        test_free(s.streams);
        otimes_forward_close(&s.forward);
        otimes_model_close(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(sums_over_paths, oom_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
