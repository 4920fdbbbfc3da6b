/* SPDX-License-Identifier: MIT
 *
 * Models and batches larger than the blocks that a pass works in (strips of 128 queries, 1024 rows
 * of an MLP, 2048 tokens of the vocabulary), on several threads: against the plain pass, and the same
 * bits at any number of threads.
 */
#include "forwarding.h"
#include "plain_pass.h"
#include "seeded.h"
#include "trace.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPS ((double)FLT_EPSILON)

static const recipe *const recipes[] = {&seeded_llama, &seeded_mistral, &seeded_mixtral,
                                        &seeded_gpt2, &seeded_phi};
enum { RECIPES = sizeof recipes / sizeof *recipes };

/* 1292 tokens: of one strip of queries, of one more, of two, of one less. */
static const int64_t lengths[] = {256, 1, 140, 256, 129, 128, 255, 127};
enum { TEXTS = 8 };

static const uint64_t all_points = ((uint64_t)1 << OTIMES_HOOK_COUNT) - 1;

/* Of the largest entry: some roundings of sums over up to 512 terms, in either branch of each layer. */
static const double limit = 16 * EPS;

static void large_is_plain(const recipe *r, int resident, int64_t chunk_rows)
{
    made_batch batch;
    trace want, got;
    otimes_forward_settings settings;
    otimes_model *model = seeded_model(r, 3);
    otimes_forward_settings_default(&settings);
    settings.resident = resident;
    settings.chunk_rows = chunk_rows;
    batch_random(&batch, model, lengths, TEXTS, 61);
    trace_init(&want, model, &batch.sequences);
    trace_init(&got, model, &batch.sequences);
    const otimes_hooks hooks = trace_hooks(&got, all_points);
    double *want_logits = plain_pass(&want, r->name);
    float *logits = forward_logits(model, &settings, &batch, &hooks, r->name);
    float *unseen = forward_logits(model, &settings, &batch, NULL, r->name);
    trace_is_whole(&got, r->name);
    const double seen_gap = trace_is_close(&got, &want, limit, r->name);
    const double gap = gap_to_expected(logits, want_logits, got.rows, SEEDED_VOCAB, true);
    const double gap_unseen = gap_to_expected(unseen, want_logits, got.rows, SEEDED_VOCAB, true);
    print_message("%-8s activations %.1e, logits %.1e, unseen %.1e\n", r->name, seen_gap, gap,
                  gap_unseen);
    assert_true(gap <= limit && gap_unseen <= limit);
    free(want_logits);
    free(logits);
    free(unseen);
    trace_free(&want);
    trace_free(&got);
    otimes_model_close(&model);
}

static void large_passes(void **state)
{
    (void)state;
    for (int i = 0; i < RECIPES; i++) {
        if (golden_left_out(1) && i / 2 != 1) { /* experts in chunks and all resident stay */
            continue;
        }
        large_is_plain(recipes[i], i % 2, i % 3 == 2 ? 300 : 0);
    }
}

/* The bits of logits, with and without hooks, at 1, 2 and 5 threads. */
static void threads(void **state)
{
    (void)state;
    static const uint64_t points[] = {0, OTIMES_HOOK_BIT(PATTERN), OTIMES_HOOK_BIT(RESULT)};
    for (int i = 0; i < RECIPES; i++) {
        float *one[3] = {NULL, NULL, NULL};
        for (int n = 1; n <= 5; n += n == 1 ? 1 : 3) {
            otimes_model *model = seeded_model(recipes[i], n);
            for (int p = 0; p < 3; p++) {
                made_batch batch;
                trace t;
                batch_random(&batch, model, lengths, TEXTS, 67);
                trace_init(&t, model, &batch.sequences);
                const otimes_hooks hooks = trace_hooks(&t, points[p]);
                float *logits = forward_logits(model, NULL, &batch, &hooks, recipes[i]->name);
                const size_t bytes = (size_t)(t.rows * SEEDED_VOCAB) * sizeof *logits;
                if (one[p] && memcmp(one[p], logits, bytes) != 0) {
                    fail_msg("%s: other logits on %d threads", recipes[i]->name, n);
                }
                if (one[p]) {
                    free(logits);
                } else {
                    one[p] = logits;
                }
                trace_free(&t);
            }
            otimes_model_close(&model);
        }
        for (int p = 0; p < 3; p++) {
            free(one[p]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(large_passes, empty_folder),
        cmocka_unit_test_teardown(threads, empty_folder),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
