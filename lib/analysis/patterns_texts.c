/* SPDX-License-Identifier: MIT
 *
 * Texts cut into batches.
 */
#include "analysis/patterns_job.h"
#include "run/forward.h"

/* Numbers of patterns that `full` keeps of one layer of a batch, unless one text has more. */
enum { FULL_NUMBERS = 1 << 26 };

/* How many of the texts from `first` on make up a batch: as many as stay below max_rows tokens and,
 * with full, below FULL_NUMBERS of patterns; one at least. */
static int64_t batch_of(const patterns_job *job, const patterns_kind *kind,
                        const patterns_plan *plan, int64_t first, int64_t *rows, int64_t *numbers)
{
    const otimes_sequences *all = &job->settings->sequences;
    int64_t count = 0;
    *rows = *numbers = 0;
    while (first + count < plan->count) {
        const int64_t length = all->length[plan->text[first + count]];
        int64_t more = 0;
        if (kind->full && (!otimes_mul_i64(length, length, &more) ||
                           !otimes_mul_i64(more, job->head_count, &more))) {
            more = INT64_MAX / 4;
        }
        if (count > 0 && (*rows + length > job->max_rows || *numbers + more > FULL_NUMBERS)) {
            break;
        }
        *rows += length;
        *numbers += more;
        count++;
    }
    return count;
}

/* What the pass and the buffers here take, against what the caller allows. */
static int check_memory(const patterns_job *job, const patterns_kind *kind,
                        const patterns_plan *plan, int64_t longest, otimes_err *err)
{
    int64_t a_query, own;
    if (!otimes_mul_i64(job->head_count, 8 * (job->slots + kind->top), &a_query) ||
        !otimes_mul_i64(plan->rows, a_query, &own) || plan->numbers > INT64_MAX / 8 ||
        __builtin_add_overflow(own, 4 * plan->numbers, &own)) {
        own = INT64_MAX / 4;
    }
    return otimes_forward_plan_check(job->model, &job->settings->forward, plan->rows, longest, own,
                                     err);
}

int otimes_patterns_plan_texts(const patterns_writer *writer, patterns_plan *plan, otimes_err *err)
{
    patterns_job *job = writer->job;
    const otimes_sequences *all = &job->settings->sequences;
    int rc = OTIMES_OK;
    plan->text = otimes_pool_new(&job->pool, all->count, sizeof *plan->text, &rc, err);
    for (int64_t t = 0; rc == OTIMES_OK && t < all->count; t++) {
        if (!otimes_patterns_is_done(writer, t)) {
            plan->text[plan->count++] = t;
            plan->tokens += all->length[t];
        }
    }
    for (int64_t first = 0; rc == OTIMES_OK && first < plan->count;) {
        int64_t rows, numbers;
        const int64_t count = batch_of(job, writer->kind, plan, first, &rows, &numbers);
        plan->sequences = count > plan->sequences ? count : plan->sequences;
        plan->rows = rows > plan->rows ? rows : plan->rows;
        plan->numbers = numbers > plan->numbers ? numbers : plan->numbers;
        first += count;
    }
    return rc == OTIMES_OK ? check_memory(job, writer->kind, plan, writer->texts->longest, err)
                           : rc;
}

static int finish_batch(const patterns_batch *batch, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t s = 0; rc == OTIMES_OK && s < batch->count; s++) {
        rc = otimes_patterns_write_scores(batch, s, err);
    }
    return rc;
}

static int run_batches(patterns_batch *batch, const patterns_plan *plan, otimes_err *err)
{
    const otimes_sequences *all = &batch->job->settings->sequences;
    int rc = OTIMES_OK;
    for (int64_t first = 0; rc == OTIMES_OK && first < plan->count; first += batch->count) {
        int64_t rows, numbers;
        batch->count = batch_of(batch->job, batch->kind, plan, first, &rows, &numbers);
        for (int64_t s = 0; s < batch->count; s++) {
            const int64_t text = plan->text[first + s];
            batch->sequence[s] =
                (patterns_sequence){.text = text, .length = all->length[text], .id = all->id[text]};
        }
        rc = otimes_patterns_batch_run(batch, err);
        if (rc == OTIMES_OK) {
            rc = finish_batch(batch, err);
        }
    }
    return rc;
}

int otimes_patterns_run_texts(const patterns_writer *writer, const patterns_plan *plan,
                              otimes_err *err)
{
    patterns_job *job = writer->job;
    patterns_batch batch = {.job = job, .writer = writer, .kind = writer->kind};
    int rc = otimes_patterns_batch_init(&batch, plan->sequences, plan->rows, plan->numbers, err);
    if (rc == OTIMES_OK) {
        rc = run_batches(&batch, plan, err);
    }
    otimes_patterns_batch_free(&batch);
    return rc;
}
