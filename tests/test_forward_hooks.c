/* SPDX-License-Identifier: MIT
 *
 * Visitors that change what they see: every hook of every architecture, held against the plain pass
 * with the same change; and visitors that stop a pass.
 */
#include "forwarding.h"
#include "plain_pass.h"
#include "trace.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPS ((double)FLT_EPSILON)
static const uint64_t all_points = ((uint64_t)1 << OTIMES_HOOK_COUNT) - 1;
static const int64_t ragged[] = {9, 1, 4};
enum { RAGGED = 3 };

/* Calls a test for every hook and layer that a model reaches. `growth` is plain_growth of `batch`.
 */
typedef void at_hook(const golden *g, const made_batch *batch, double growth, otimes_hook hook,
                     int64_t layer, const char *what);

static void on_hooks_of(const golden *g, const char *kind, at_hook *run)
{
    const int64_t layers = otimes_model_describe(g->model)->n_layers;
    made_batch batch;
    batch_random(&batch, g->model, ragged, RAGGED, 17);
    const double growth = plain_growth(g->model, &batch.sequences, g->name);
    for (int hook = 0; hook < OTIMES_HOOK_COUNT; hook++) {
        for (int64_t layer = -1; layer < layers; layer++) {
            char what[160];
            snprintf(what, sizeof what, "%s, %s, %s at %d", g->name, kind,
                     otimes_hook_name((otimes_hook)hook), (int)layer);
            if (otimes_hook_reached(g->model, (otimes_hook)hook, layer)) {
                run(g, &batch, growth, (otimes_hook)hook, layer, what);
            }
        }
    }
}

static void on_every_hook(at_hook *run)
{
    for (int i = 0; golden_names[i]; i++) {
        if (golden_left_out(i)) {
            continue;
        }
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            golden_open_on(1, &g, golden_names[i], processed);
            on_hooks_of(&g, processed ? "processed" : "raw", run);
            golden_close(&g);
        }
    }
}

/* ---- changes ---- */

/* How an edited pass is conditioned: by how much a slightly larger edit moves it, relative to that;
 * what the unedited one says of it is taken as the least. */
static double growth_of_edited(const golden *g, const made_batch *batch, double growth,
                               const trace *want)
{
    static const float factor = 1 + 0x1p-16F;
    trace more;
    trace_init(&more, g->model, &batch->sequences);
    more.edit = want->edit;
    more.edit.factor *= factor;
    free(plain_pass(&more, g->name));
    const double gap = trace_is_close(&more, want, HUGE_VAL, g->name);
    trace_free(&more);
    return fmax(growth, gap / (double)(factor - 1));
}

/* Every other column of what a hook shows is multiplied by 1.25: everything behind it is what a
 * plain pass makes of that, and the hooks before it stay what they were. `points` are those that
 * are visited. */
static void edited(const golden *g, const made_batch *batch, double growth, uint64_t points,
                   trace_edit edit, const char *what)
{
    trace want, got;
    trace_init(&want, g->model, &batch->sequences);
    trace_init(&got, g->model, &batch->sequences);
    want.edit = got.edit = edit;
    double *want_logits = plain_pass(&want, g->name);
    growth = growth_of_edited(g, batch, growth, &want);
    const otimes_hooks hooks = trace_hooks(&got, points);
    float *logits = forward_logits(g->model, NULL, batch, &hooks, what);
    trace_is_close(&got, &want, 32 * EPS * growth, what);
    for (int64_t i = 0; i < got.count; i++) {
        assert_true(points >> got.array[i].key.hook & 1);
    }
    if (points == all_points) {
        trace_is_whole(&got, what);
    }
    const int64_t columns = otimes_model_describe(g->model)->d_vocab_out;
    const double gap = gap_to_expected(logits, want_logits, got.rows, columns, true);
    if (!(gap <= 32 * EPS * growth)) {
        fail_msg("%s: logits are %.3g from those of the plain pass", what, gap);
    }
    free(logits);
    free(want_logits);
    trace_free(&want);
    trace_free(&got);
}

static void change_is_plain(const golden *g, const made_batch *batch, double growth,
                            otimes_hook hook, int64_t layer, const char *what)
{
    edited(g, batch, growth, all_points, (trace_edit){true, hook, layer, 1.25F}, what);
}

static void changes(void **state)
{
    (void)state;
    on_every_hook(change_is_plain);
}

/* With no other hook asked for: what a pass leaves out when nobody looks must not leave out the
 * change. */
static void lone_change_is_plain(const golden *g, const made_batch *batch, double growth,
                                 otimes_hook hook, int64_t layer, const char *what)
{
    edited(g, batch, growth, (uint64_t)1 << hook, (trace_edit){true, hook, layer, 1.25F}, what);
}

static void lone_changes(void **state)
{
    (void)state;
    on_every_hook(lone_change_is_plain);
}

/* By how much a change must move the logits. Positions that are added to the inputs of queries and
 * keys alone are shown, not taken back; where queries, keys and what attention writes have norms of
 * their own, the scale of what they read only meets eps. */
static double least_move(const otimes_model *model, otimes_hook hook)
{
    const otimes_model_info *info = otimes_model_describe(model);
    if (hook == OTIMES_HOOK_POS_EMBED && info->positions == OTIMES_POSITIONS_SHORTFORMER) {
        return -1;
    }
    const bool normed =
        hook == OTIMES_HOOK_LN1_SCALE && info->post_norm && info->qk_norm != OTIMES_QK_NORM_NONE;
    return normed ? 0 : 1000 * EPS;
}

/* A change reaches the logits at all: the two tests above would pass if nothing were ever changed
 * on either side. */
static void change_shows(const golden *g, const made_batch *batch, double growth, otimes_hook hook,
                         int64_t layer, const char *what)
{
    trace t;
    (void)growth;
    float *before = forward_logits(g->model, NULL, batch, NULL, what);
    trace_init(&t, g->model, &batch->sequences);
    t.edit = (trace_edit){true, hook, layer, 1.25F};
    const otimes_hooks hooks = trace_hooks(&t, (uint64_t)1 << hook);
    float *after = forward_logits(g->model, NULL, batch, &hooks, what);
    const int64_t count = t.rows * otimes_model_describe(g->model)->d_vocab_out;
    const double gap = gap_of(after, before, count);
    const double least = least_move(g->model, hook);
    if (least < 0 ? gap != 0 : !(gap > least)) {
        fail_msg("%s: a change moves the logits by %.3g", what, gap);
    }
    free(before);
    free(after);
    trace_free(&t);
}

static void changes_show(void **state)
{
    (void)state;
    on_every_hook(change_shows);
}

/* ---- identities ---- */

/* Sets what it sees to zero. */
static int zero(void *context, const otimes_activation *a, otimes_err *err)
{
    (void)context;
    (void)err;
    for (int64_t i = 0; i < a->rows; i++) {
        memset(a->data + i * a->stride, 0, (size_t)a->columns * sizeof *a->data);
    }
    return 0;
}

/* Zero z and zero results write the same: nothing but b_O. */
static void zero_heads(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        if (golden_left_out(i)) {
            continue;
        }
        golden g;
        made_batch batch;
        golden_open_on(1, &g, golden_names[i], true);
        batch_random(&batch, g.model, ragged, RAGGED, 29);
        const int64_t count = batch_rows(&batch) * otimes_model_describe(g.model)->d_vocab_out;
        const otimes_hooks z = {OTIMES_HOOK_BIT(Z), zero, NULL};
        const otimes_hooks result = {OTIMES_HOOK_BIT(RESULT), zero, NULL};
        const otimes_hooks pattern = {OTIMES_HOOK_BIT(PATTERN), zero, NULL};
        const otimes_hooks value = {OTIMES_HOOK_BIT(V), zero, NULL};
        const otimes_hooks *all[] = {&result, &pattern, &value};
        float *want = forward_logits(g.model, NULL, &batch, &z, golden_names[i]);
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
            float *got = forward_logits(g.model, NULL, &batch, all[k], golden_names[i]);
            const double gap = gap_of(got, want, count);
            if (!(gap <= 16 * EPS)) {
                fail_msg("%s: zeros %d: %.3g", golden_names[i], (int)k, gap);
            }
            free(got);
        }
        free(want);
        golden_close(&g);
    }
}

/* The last residual of every token becomes that of the first: so do its logits. */
static int first_row_everywhere(void *context, const otimes_activation *a, otimes_err *err)
{
    float *row = context;
    (void)err;
    for (int64_t i = 0; i < a->rows; i++) {
        if (a->first + i == 0) {
            memcpy(row, a->data, (size_t)a->columns * sizeof *row);
        }
        memcpy(a->data + i * a->stride, row, (size_t)a->columns * sizeof *row);
    }
    return 0;
}

static void last_residual(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        if (golden_left_out(i)) {
            continue;
        }
        golden g;
        made_batch batch;
        float row[64];
        golden_open_on(1, &g, golden_names[i], true);
        const otimes_model_info *info = otimes_model_describe(g.model);
        assert_true(info->d_model <= 64);
        batch_random(&batch, g.model, ragged, RAGGED, 31);
        const otimes_hooks hooks = {OTIMES_HOOK_BIT(RESID_POST), first_row_everywhere, row};
        float *got = forward_logits(g.model, NULL, &batch, &hooks, golden_names[i]);
        const int64_t rows = batch_rows(&batch), columns = info->d_vocab_out;
        for (int64_t r = 1; r < rows; r++) {
            if (!(gap_of(got + r * columns, got, columns) <= 4 * EPS)) {
                fail_msg("%s: row %d has logits of its own", golden_names[i], (int)r);
            }
        }
        free(got);
        golden_close(&g);
    }
}

/* ---- stops ---- */

typedef struct stopper {
    otimes_hook hook;
    int64_t layer;
    int code;
} stopper;

static int stop(void *context, const otimes_activation *a, otimes_err *err)
{
    const stopper *s = context;
    if (a->hook == s->hook && a->layer == s->layer) {
        if (err) {
            err->code = s->code;
            snprintf(err->msg, sizeof err->msg, "stopped on purpose");
        }
        return s->code;
    }
    return 0;
}

static void stop_is_returned(const golden *g, const made_batch *batch, double growth,
                             otimes_hook hook, int64_t layer, const char *what)
{
    otimes_forward *forward;
    otimes_err err = {0};
    stopper s = {hook, layer, OTIMES_ERR_CANCELLED};
    const otimes_hooks hooks = {all_points, stop, &s};
    (void)growth;
    const int64_t count = batch_rows(batch) * otimes_model_describe(g->model)->d_vocab_out;
    float *want = forward_logits(g->model, NULL, batch, NULL, what);
    float *got = malloc((size_t)count * sizeof *got);
    assert_ok(otimes_forward_open(&forward, g->model, NULL, &err), &err);
    const int rc = otimes_forward_run(forward, &batch->sequences, &hooks, &err);
    if (rc != OTIMES_ERR_CANCELLED || strcmp(err.msg, "stopped on purpose") != 0) {
        fail_msg("%s: expected to be stopped, got %d: %s", what, rc, err.msg);
    }
    assert_int_equal(otimes_forward_rows(forward), 0);
    assert_int_equal(otimes_forward_run(forward, &batch->sequences, &hooks, NULL), rc);
    /* After it, the pass runs as if nothing had been. */
    assert_ok(otimes_forward_run(forward, &batch->sequences, NULL, &err), &err);
    assert_ok(otimes_forward_logits(forward, 0, batch_rows(batch), got, &err), &err);
    assert_memory_equal(got, want, (size_t)count * sizeof *got);
    otimes_forward_close(&forward);
    free(want);
    free(got);
}

static void stops(void **state)
{
    (void)state;
    on_every_hook(stop_is_returned);
}

/* Out of another thread too: scores and patterns are seen from several. */
static void stops_of_threads(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        golden_open_on(3, &g, golden_names[i], true);
        made_batch batch;
        batch_random(&batch, g.model, ragged, RAGGED, 17);
        for (int64_t layer = 0; layer < otimes_model_describe(g.model)->n_layers; layer++) {
            stop_is_returned(&g, &batch, 1, OTIMES_HOOK_SCORES, layer, golden_names[i]);
            stop_is_returned(&g, &batch, 1, OTIMES_HOOK_PATTERN, layer, golden_names[i]);
        }
        golden_close(&g);
    }
}

/* ---- names ---- */

static void names(void **state)
{
    char text[64], small[8];
    (void)state;
    assert_string_equal(otimes_hook_name(OTIMES_HOOK_Q), "blocks.{l}.attn.hook_q");
    assert_null(otimes_hook_name(OTIMES_HOOK_COUNT));
    assert_null(otimes_hook_name((otimes_hook)-1));
    otimes_hook_text(OTIMES_HOOK_Q, 12, -1, text, sizeof text);
    assert_string_equal(text, "blocks.12.attn.hook_q");
    otimes_hook_text(OTIMES_HOOK_EXPERT_POST, 3, 41, text, sizeof text);
    assert_string_equal(text, "blocks.3.mlp.experts.41.hook_post");
    otimes_hook_text(OTIMES_HOOK_LN_FINAL_SCALE, -1, -1, text, sizeof text);
    assert_string_equal(text, "ln_final.hook_scale");
    memset(small, 'x', sizeof small);
    otimes_hook_text(OTIMES_HOOK_Q, 12, -1, small, 7);
    assert_string_equal(small, "blocks");
    assert_int_equal(small[7], 'x');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),        cmocka_unit_test(changes),
        cmocka_unit_test(lone_changes), cmocka_unit_test(changes_show),
        cmocka_unit_test(zero_heads),   cmocka_unit_test(last_residual),
        cmocka_unit_test(stops),        cmocka_unit_test(stops_of_threads),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
