/* SPDX-License-Identifier: MIT
 *
 * The memory plan against the memory: seeded models of middling size are written and run, every
 * block that the library takes is counted, and the largest sum is held against what
 * otimes_forward_plan_of said.
 *
 * Linked with --wrap for otimes_alloc, otimes_realloc and otimes_free, as test_oom.c is.
 */
#include "seeded.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/forward.h>

/* ---- counting ---- */

static int64_t live, peak; /* bytes; from several threads */

void *__real_otimes_alloc(int64_t count, size_t size);
void *__real_otimes_realloc(void *block, int64_t count, size_t size);
void __real_otimes_free(void *block);
void *__wrap_otimes_alloc(int64_t count, size_t size);
void *__wrap_otimes_realloc(void *block, int64_t count, size_t size);
void __wrap_otimes_free(void *block);

static void add(int64_t bytes)
{
    const int64_t now = __atomic_add_fetch(&live, bytes, __ATOMIC_SEQ_CST);
    int64_t most = __atomic_load_n(&peak, __ATOMIC_SEQ_CST);
    while (now > most && !__atomic_compare_exchange_n(&peak, &most, now, false, __ATOMIC_SEQ_CST,
                                                      __ATOMIC_SEQ_CST)) {
    }
}

static int64_t size_of(void *block)
{
    return block ? (int64_t)malloc_usable_size(block) : 0;
}

void *__wrap_otimes_alloc(int64_t count, size_t size)
{
    void *block = __real_otimes_alloc(count, size);
    add(size_of(block));
    return block;
}

void *__wrap_otimes_realloc(void *block, int64_t count, size_t size)
{
    const int64_t before = size_of(block);
    void *grown = __real_otimes_realloc(block, count, size);
    add(grown ? size_of(grown) - before : 0);
    return grown;
}

void __wrap_otimes_free(void *block)
{
    add(-size_of(block));
    __real_otimes_free(block);
}

/* ---- batches ---- */

enum { MOST = 400, LONGEST = 3000 };

/* `count` sequences of `length` tokens each: all views of the same ids. */
static otimes_sequences texts_of(int64_t count, int64_t length)
{
    static int64_t lengths[MOST], ids[LONGEST];
    static const int64_t *id[MOST];
    assert_true(count <= MOST && length <= LONGEST);
    for (int64_t i = 0; i < LONGEST; i++) {
        ids[i] = i * 37 % 64;
    }
    for (int64_t s = 0; s < count; s++) {
        lengths[s] = length;
        id[s] = ids;
    }
    return (otimes_sequences){count, lengths, id};
}

/* ---- the test ---- */

typedef struct shape {
    const recipe *recipe;
    int64_t count, length, chunk_rows;
    int resident, threads;
} shape;

static const shape shapes[] = {
    {&seeded_llama, 1, 1, 0, 0, 1}, /* one token: weights alone */
    {&seeded_llama, 1, 1, 0, 1, 1},     {&seeded_llama, 400, 8, 0, 0, 1},   /* many short ones */
    {&seeded_llama, 400, 8, 0, 1, 2},   {&seeded_llama, 400, 8, 256, 1, 2}, /* in small chunks */
    {&seeded_llama, 1, 3000, 0, 0, 1}, /* a long one, longer than a chunk */
    {&seeded_llama, 1, 3000, 0, 1, 4},  {&seeded_mixtral, 60, 40, 0, 0, 1},
    {&seeded_mixtral, 60, 40, 0, 1, 2}, {&seeded_gpt2, 8, 512, 0, 0, 2},
    {&seeded_gpt2, 100, 12, 0, 1, 1},   {&seeded_phi, 20, 100, 0, 0, 1},
    {&seeded_phi, 2, 1500, 0, 1, 2},    {&seeded_wide, 1, 4, 0, 0, 1},
    {&seeded_wide, 1, 4, 0, 1, 1},      {&seeded_wide, 1, 4, 0, 1, 3},
};

/* Plans that are more than 5 % off. */
static int off;

static void hold(const shape *s)
{
    otimes_model *model = seeded_model(s->recipe, s->threads);
    const otimes_sequences texts = texts_of(s->count, s->length);
    const int64_t rows = s->count * s->length;
    otimes_forward *forward;
    otimes_forward_plan plan;
    otimes_forward_settings settings;
    otimes_err err = {0};
    const int64_t vocab = otimes_model_describe(model)->d_vocab_out;
    float *logits = malloc((size_t)(rows * vocab) * sizeof *logits);
    assert_non_null(logits);
    otimes_forward_settings_default(&settings);
    settings.resident = s->resident;
    settings.chunk_rows = s->chunk_rows;
    otimes_forward_plan_of(model, &settings, rows, s->length, &plan);
    const int64_t before = live;
    peak = live;
    assert_ok(otimes_forward_open(&forward, model, &settings, &err), &err);
    assert_ok(otimes_forward_run(forward, &texts, NULL, &err), &err);
    const int64_t of_run = peak - before;
    assert_ok(otimes_forward_logits(forward, 0, rows, logits, &err), &err);
    const int64_t most = peak - before;
    otimes_forward_close(&forward);
    assert_int_equal(live, before);
    const double ratio = (double)most / (double)plan.total;
    /* How many threads hold a layer that is being read at one time is theirs to decide. */
    const int64_t readers = s->resident ? s->threads : 1;
    const int64_t alone =
        plan.total - (plan.loading > plan.readout ? plan.loading : plan.readout) +
        (plan.loading / readers > plan.readout ? plan.loading / readers : plan.readout);
    print_message("%-8s %4d x %4d, %s, chunks of %4d, %d threads: plan %9lld, run %9lld, with "
                  "logits %9lld: %.3f\n",
                  s->recipe->name, (int)s->count, (int)s->length,
                  s->resident ? "resident" : "streamed", (int)s->chunk_rows, s->threads,
                  (long long)plan.total, (long long)of_run, (long long)most, ratio);
    free(logits);
    otimes_model_close(&model);
    off += !((double)most >= 0.95 * (double)alone && ratio <= 1.05);
}

static void plans(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        hold(&shapes[i]);
    }
    if (off) {
        fail_msg("%d plans are more than 5 %% off", off);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(plans, empty_folder)};
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
