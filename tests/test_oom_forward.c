/* SPDX-License-Identifier: MIT
 *
 * Memory that ends in a forward pass; oom.h says how.
 */
#include "oom.h"

#include <string.h>

#include <otimes/forward.h>

typedef struct passing {
    const otimes_model *model;
    otimes_forward_settings settings;
    uint64_t points; /* visited, though nothing is done there */
} passing;

static int look(void *context, const otimes_activation *activation, otimes_err *err)
{
    (void)context, (void)activation, (void)err;
    return OTIMES_OK;
}

static const int64_t ids[] = {1, 5, 2, 2, 0, 6}, lengths[] = {2, 6, 1};
static const int64_t *const id[] = {ids, ids, ids};
static const otimes_sequences first_alone = {1, lengths, id}, all = {3, lengths, id};
enum { ROWS = 9, VOCAB = 32 };

/* Two runs, the second of which needs more room, and logits. */
static int run_forward(void *context, otimes_err *err)
{
    static float logits[ROWS * VOCAB];
    const passing *p = context;
    const otimes_hooks hooks = {p->points, look, NULL};
    otimes_forward *forward = context;
    int rc = otimes_forward_open(&forward, p->model, &p->settings, err);
    assert_true(rc == OTIMES_OK || !forward);
    if (rc == OTIMES_OK) {
        rc = otimes_forward_run(forward, &first_alone, &hooks, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_forward_run(forward, &all, &hooks, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_forward_logits(forward, 0, ROWS, logits, err);
    }
    otimes_forward_close(&forward);
    return rc;
}

static void passes(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        otimes_model *model = oom_golden(golden_names[i]);
        assert_true(otimes_model_describe(model)->d_vocab_out <= VOCAB);
        for (int resident = 0; resident < 2; resident++) {
            passing p = {.model = model};
            otimes_forward_settings_default(&p.settings);
            p.settings.resident = resident;
            p.settings.chunk_rows = 4;
            until_it_succeeds(golden_names[i], run_forward, &p, 20);
            p.points = ((uint64_t)1 << OTIMES_HOOK_COUNT) - 1;
            until_it_succeeds(golden_names[i], run_forward, &p, 20);
        }
        otimes_model_close(&model);
    }
}

/* Runs until there is memory enough, with one handle. */
static void insist(const otimes_model *model, const otimes_forward_settings *settings,
                   float *logits)
{
    otimes_err err = {0};
    int rc = OTIMES_ERR_MEMORY;
    otimes_forward *forward;
    assert_ok(otimes_forward_open(&forward, model, settings, &err), &err);
    for (int64_t granted = 0; rc != OTIMES_OK; granted++) {
        assert_int_equal(rc, OTIMES_ERR_MEMORY);
        oom_allow(granted);
        rc = otimes_forward_run(forward, &all, NULL, &err);
        if (rc == OTIMES_OK) {
            rc = otimes_forward_logits(forward, 0, ROWS, logits, &err);
        }
        oom_allow(INT64_MAX);
    }
    otimes_forward_close(&forward);
}

/* A run that found no memory leaves a handle that runs as if nothing had been. */
static void passes_again(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "gemma3_text", "qwen2_moe", "falcon_rw",
                                        "transformer_lens_shortformer"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        otimes_model *model = oom_golden(names[i]);
        for (int resident = 0; resident < 2; resident++) {
            static float want[ROWS * VOCAB], got[ROWS * VOCAB];
            otimes_forward_settings settings;
            otimes_err err = {0};
            otimes_forward *forward;
            otimes_forward_settings_default(&settings);
            settings.resident = resident;
            insist(model, &settings, got);
            assert_ok(otimes_forward_open(&forward, model, &settings, &err), &err);
            assert_ok(otimes_forward_run(forward, &all, NULL, &err), &err);
            assert_ok(otimes_forward_logits(forward, 0, ROWS, want, &err), &err);
            assert_memory_equal(got, want, sizeof got);
            otimes_forward_close(&forward);
        }
        otimes_model_close(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(passes, oom_end),
        cmocka_unit_test_teardown(passes_again, oom_end),
    };
    oom_count_json();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
