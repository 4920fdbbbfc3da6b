/* SPDX-License-Identifier: MIT
 *
 * The forward pass of every architecture: its logits against Hugging Face's in float64, every
 * activation against a plain pass in float64, and what must not change a result: how weights are
 * kept, chunks, threads, the company of other sequences.
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

/* Longer than any window, of one token, not a multiple of anything. */
static const int64_t ragged[] = {45, 1, 5, 13};
enum { RAGGED = 4 };

typedef void with_golden(const golden *g, bool processed, const char *what);

/* Runs a test on every golden, raw and processed. */
static void on_every_golden(with_golden *run)
{
    for (int i = 0; golden_names[i]; i++) {
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            char what[128];
            snprintf(what, sizeof what, "%s, %s", golden_names[i], processed ? "processed" : "raw");
            golden_open_on(1, &g, golden_names[i], processed);
            run(&g, processed, what);
            golden_close(&g);
        }
    }
}

/* ---- logits ---- */

/* The plain pass itself is right: Hugging Face's float64 logits, up to the rounding of canonical
 * weights to float32 (and of its rotary angles, which it keeps in float32). */
static void plain_is_expected(const golden *g, bool processed, const char *what)
{
    made_batch batch;
    trace t;
    int64_t count;
    batch_golden(&batch, g);
    trace_init(&t, g->model, &batch.sequences);
    double *got = plain_pass(&t, g->name);
    const double *want = golden_values(g, "logits", &count);
    const int64_t columns = otimes_model_describe(g->model)->d_vocab_out;
    assert_int_equal(count, t.rows * columns);
    float *narrow = malloc((size_t)count * sizeof *narrow);
    for (int64_t i = 0; i < count; i++) {
        narrow[i] = (float)got[i];
    }
    const double gap = gap_to_expected(narrow, want, t.rows, columns, !processed);
    if (!(gap <= 16 * EPS)) {
        fail_msg("%s: the plain pass is %.3g from the expected logits", what, gap);
    }
    free(narrow);
    free(got);
    trace_free(&t);
}

static void the_plain_pass(void **state)
{
    (void)state;
    on_every_golden(plain_is_expected);
}

static void logits_are_expected(const golden *g, bool processed, const char *what)
{
    made_batch batch;
    int64_t count;
    batch_golden(&batch, g);
    const double *want = golden_values(g, "logits", &count);
    const int64_t columns = otimes_model_describe(g->model)->d_vocab_out;
    const int64_t rows = batch_rows(&batch);
    assert_int_equal(count, rows * columns);
    float *got = forward_logits(g->model, NULL, &batch, NULL, what);
    const double gap = gap_to_expected(got, want, rows, columns, !processed);
    print_message("%-45s %.1e\n", what, gap);
    if (!(gap <= 32 * EPS)) {
        fail_msg("%s: logits are %.3g from the expected ones", what, gap);
    }
    free(got);
}

/* Prints |difference| / largest logit (of log-probabilities where processed), for each model. */
static void logits(void **state)
{
    (void)state;
    on_every_golden(logits_are_expected);
}

/* ---- activations ---- */

static double used; /* of what is allowed, in eps times the model's growth */

static void one_way(const golden *g, const made_batch *batch, const trace *want,
                    const double *want_logits, otimes_forward_settings settings, double growth,
                    const char *what)
{
    trace got;
    char text[192];
    trace_init(&got, g->model, &batch->sequences);
    const otimes_hooks hooks = trace_hooks(&got, all_points);
    snprintf(text, sizeof text, "%s, resident %d, chunks of %d", what, settings.resident,
             (int)settings.chunk_rows);
    float *logits = forward_logits(g->model, &settings, batch, &hooks, text);
    trace_is_whole(&got, text);
    const double worst = trace_is_close(&got, want, 16 * EPS * growth, text);
    used = fmax(used, worst / (EPS * growth));
    const int64_t columns = otimes_model_describe(g->model)->d_vocab_out;
    const double gap = gap_to_expected(logits, want_logits, got.rows, columns, true);
    if (!(gap <= 16 * EPS * growth)) {
        fail_msg("%s: logits are %.3g from those of the plain pass", text, gap);
    }
    free(logits);
    trace_free(&got);
}

static void activations_are_plain(const golden *g, bool processed, const char *what)
{
    static const int64_t chunks[] = {0, 1, 3, 17};
    made_batch batch;
    trace want;
    (void)processed;
    batch_random(&batch, g->model, ragged, RAGGED, 7);
    trace_init(&want, g->model, &batch.sequences);
    const double growth = plain_growth(g->model, &batch.sequences, g->name);
    double *logits = plain_pass(&want, g->name);
    trace_is_whole(&want, what);
    for (int resident = 0; resident < 2; resident++) {
        for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
            otimes_forward_settings settings;
            otimes_forward_settings_default(&settings);
            settings.resident = resident;
            settings.chunk_rows = chunks[c];
            one_way(g, &batch, &want, logits, settings, growth, what);
        }
    }
    free(logits);
    trace_free(&want);
}

static void activations(void **state)
{
    (void)state;
    on_every_golden(activations_are_plain);
    print_message("largest: %.1f eps times growth\n", used);
}

/* Visitors called from several threads at once see the same. */
static void many_threads(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        made_batch batch;
        trace want;
        otimes_forward_settings settings;
        golden_open_on(3, &g, golden_names[i], true);
        otimes_forward_settings_default(&settings);
        settings.chunk_rows = 20;
        batch_random(&batch, g.model, ragged, RAGGED, 9);
        trace_init(&want, g.model, &batch.sequences);
        const double growth = plain_growth(g.model, &batch.sequences, g.name);
        double *logits = plain_pass(&want, g.name);
        one_way(&g, &batch, &want, logits, settings, growth, golden_names[i]);
        free(logits);
        trace_free(&want);
        golden_close(&g);
    }
}

/* ---- what changes nothing ---- */

static void same_bits(const float *a, const float *b, int64_t count, const char *what,
                      const char *because)
{
    if (memcmp(a, b, (size_t)count * sizeof *a) != 0) {
        fail_msg("%s: %s: other bits, %.3g apart", what, because, gap_of(a, b, count));
    }
}

static void resident_is_streamed(const golden *g, bool processed, const char *what)
{
    made_batch batch;
    otimes_forward_settings settings;
    (void)processed;
    otimes_forward_settings_default(&settings);
    batch_random(&batch, g->model, ragged, RAGGED, 3);
    const int64_t count = batch_rows(&batch) * otimes_model_describe(g->model)->d_vocab_out;
    float *streamed = forward_logits(g->model, &settings, &batch, NULL, what);
    settings.resident = 1;
    float *resident = forward_logits(g->model, &settings, &batch, NULL, what);
    same_bits(resident, streamed, count, what, "resident weights");
    free(streamed);
    free(resident);
}

static void resident_weights(void **state)
{
    (void)state;
    on_every_golden(resident_is_streamed);
}

/* The same sequences alone, in another order, or beside others, to rounding: 64 eps of the largest
 * logit. */
static void company_is_nothing(const golden *g, bool processed, const char *what)
{
    static const int64_t turned[] = {3, 2, 0, 1};
    made_batch batch, other;
    (void)processed;
    batch_random(&batch, g->model, ragged, RAGGED, 11);
    const int64_t columns = otimes_model_describe(g->model)->d_vocab_out;
    float *whole = forward_logits(g->model, NULL, &batch, NULL, what);
    batch_pick(&other, &batch, turned, RAGGED);
    float *mixed = forward_logits(g->model, NULL, &other, NULL, what);
    int64_t row = 0;
    for (int64_t s = 0; s < RAGGED; s++) {
        made_batch alone;
        int64_t place = 0;
        for (int64_t i = 0; turned[i] != s; i++) {
            place += batch.length[turned[i]];
        }
        batch_pick(&alone, &batch, &s, 1);
        float *own = forward_logits(g->model, NULL, &alone, NULL, what);
        const int64_t count = batch.length[s] * columns;
        const double one = gap_of(whole + row * columns, own, count);
        const double two = gap_of(mixed + place * columns, own, count);
        if (!(one <= 64 * EPS && two <= 64 * EPS)) {
            fail_msg("%s: sequence %d: %.3g in company, %.3g in another order", what, (int)s, one,
                     two);
        }
        free(own);
        row += batch.length[s];
    }
    free(whole);
    free(mixed);
}

static void company(void **state)
{
    (void)state;
    on_every_golden(company_is_nothing);
}

/* One otimes_forward runs batches of any size one after another; rows of its logits can be asked
 * for in parts. */
static void runs_leave_nothing_behind(const golden *g, bool processed, const char *what)
{
    static const int64_t small[] = {2};
    made_batch large_batch, small_batch;
    otimes_err err = {0};
    (void)processed;
    batch_random(&large_batch, g->model, ragged, RAGGED, 5);
    batch_random(&small_batch, g->model, small, 1, 6);
    const int64_t columns = otimes_model_describe(g->model)->d_vocab_out;
    const int64_t rows = batch_rows(&large_batch), few = batch_rows(&small_batch);
    float *large = forward_logits(g->model, NULL, &large_batch, NULL, what);
    float *little = forward_logits(g->model, NULL, &small_batch, NULL, what);
    float *got = malloc((size_t)(rows * columns) * sizeof *got);
    for (int resident = 0; resident < 2; resident++) {
        otimes_forward *forward;
        otimes_forward_settings settings;
        otimes_forward_settings_default(&settings);
        settings.resident = resident;
        assert_ok(otimes_forward_open(&forward, g->model, &settings, &err), &err);
        for (int turn = 0; turn < 2; turn++) {
            assert_ok(otimes_forward_run(forward, &small_batch.sequences, NULL, &err), &err);
            assert_ok(otimes_forward_logits(forward, 0, few, got, &err), &err);
            same_bits(got, little, few * columns, what, "after another run");
            assert_ok(otimes_forward_run(forward, &large_batch.sequences, NULL, &err), &err);
            assert_int_equal(otimes_forward_rows(forward), rows);
            assert_ok(otimes_forward_logits(forward, 0, rows, got, &err), &err);
            same_bits(got, large, rows * columns, what, "after another run");
        }
        for (int64_t i = 0; i < rows; i += 3) {
            const int64_t part = rows - i < 3 ? rows - i : 3;
            assert_ok(otimes_forward_logits(forward, i, part, got, &err), &err);
            const double gap = gap_of(got, large + i * columns, part * columns);
            if (!(gap <= 16 * EPS)) {
                fail_msg("%s: logits of rows %d ...: %.3g from those of all", what, (int)i, gap);
            }
        }
        otimes_forward_close(&forward);
    }
    free(large);
    free(little);
    free(got);
}

static void repeated_runs(void **state)
{
    (void)state;
    on_every_golden(runs_leave_nothing_behind);
}

/* A pass on the weights of another, which stays as it was. */
static void borrowing_changes_nothing(const golden *g, bool processed, const char *what)
{
    (void)processed;
    otimes_err err = {0};
    otimes_forward_settings owner, borrower;
    otimes_forward_settings_default(&owner);
    otimes_forward_settings_default(&borrower);
    owner.resident = 1;
    assert_ok(otimes_forward_open(&borrower.weights, g->model, &owner, &err), &err);
    made_batch batch;
    batch_golden(&batch, g);
    const int64_t count = batch_rows(&batch) * otimes_model_describe(g->model)->d_vocab_out;
    float *own = forward_logits(g->model, &owner, &batch, NULL, what);
    for (int turn = 0; turn < 2; turn++) {
        float *borrowed = forward_logits(g->model, &borrower, &batch, NULL, what);
        assert_memory_equal(borrowed, own, (size_t)count * sizeof *own);
        free(borrowed);
    }
    free(own);
    otimes_forward_close(&borrower.weights);
}

static void borrowed_weights(void **state)
{
    (void)state;
    on_every_golden(borrowing_changes_nothing);
    static const char *const names[] = {"gpt2", "llama"};
    golden g[2];
    otimes_err err = {0};
    otimes_forward *none;
    otimes_forward_settings streamed, borrower;
    otimes_forward_settings_default(&streamed);
    otimes_forward_settings_default(&borrower);
    for (int i = 0; i < 2; i++) {
        golden_open(&g[i], names[i], true);
    }
    assert_ok(otimes_forward_open(&borrower.weights, g[0].model, &streamed, &err), &err);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(otimes_forward_open(&none, g[i].model, &borrower, &err),
                         OTIMES_ERR_ARGUMENT);
        assert_non_null(strstr(err.msg, i ? "of this model" : "resident"));
        assert_null(none);
    }
    otimes_forward_close(&borrower.weights);
    for (int i = 0; i < 2; i++) {
        golden_close(&g[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plain_pass),   cmocka_unit_test(logits),
        cmocka_unit_test(activations),      cmocka_unit_test(many_threads),
        cmocka_unit_test(resident_weights), cmocka_unit_test(company),
        cmocka_unit_test(repeated_runs),    cmocka_unit_test(borrowed_weights),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
