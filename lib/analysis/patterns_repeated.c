/* SPDX-License-Identifier: MIT
 *
 * Scores on random tokens written twice.
 */
#include <math.h>

#include "analysis/patterns_job.h"
#include "base/sink.h"
#include "run/repeated.h"

static const struct {
    int slot;
    const char *name, *long_name, *formula;
} scores[3] = {
    {SLOT_PREVIOUS, "repeated_previous_token",
     "attention to the token before, on random tokens written twice",
     "mean over sequences and q >= 1 of A[q, q-1]"},
    {SLOT_DUPLICATE, "repeated_duplicate_token",
     "attention to the same token in the first copy, on r random tokens written twice",
     "mean over sequences and q of the second copy of A[q, q-r]"},
    {SLOT_INDUCTION, "repeated_induction",
     "attention to the token behind the same token in the first copy, on r random tokens written "
     "twice",
     "mean over sequences and q of the second copy of A[q, q-(r-1)]"},
};

static void make_arrays(patterns_repeated *r)
{
    r->id = (otimes_array){.name = "repeated_id",
                           .type = OTIMES_I64,
                           .ndim = 2,
                           .axis = {&r->sequence, &r->position},
                           .long_name = "tokens of the sequences that are written twice",
                           .units = "1",
                           .formula = "uniform draws of splitmix64 from `seed`",
                           .orientation = "row = sequence, column = position"};
    for (int i = 0; i < 3; i++) {
        r->score[i] = (otimes_array){.name = scores[i].name,
                                     .type = OTIMES_F64,
                                     .ndim = 2,
                                     .axis = {&r->layer, &r->head},
                                     .long_name = scores[i].long_name,
                                     .units = "1",
                                     .formula = scores[i].formula,
                                     .orientation = "one entry a head"};
    }
}

int otimes_patterns_repeated_declare(patterns_repeated *r, patterns_job *job, otimes_err *err)
{
    const otimes_patterns_settings *s = job->settings;
    const otimes_repeated ask = {s->repeated_count,
                                 s->repeated,
                                 s->bos,
                                 s->seed,
                                 s->random_tokens,
                                 s->random_tokens ? s->random_token_count : job->info->d_vocab};
    const int64_t length = otimes_repeated_length(&ask);
    int64_t numbers;
    int rc = OTIMES_OK;
    if (!otimes_mul_i64(s->repeated_count, length, &numbers)) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "repeated: too many sequences");
    }
    const int64_t sums = job->slots * job->layer_count * job->head_count;
    r->ids = otimes_pool_new(&job->pool, numbers, sizeof *r->ids, &rc, err);
    r->sum = otimes_pool_new(&job->pool, sums, sizeof *r->sum, &rc, err);
    r->weight = otimes_pool_new(&job->pool, sums, sizeof *r->weight, &rc, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_repeated_draw(&ask, r->ids);
    r->sequence = (otimes_axis){"sequence", s->repeated_count, NULL, NULL,
                                "sequences of random tokens written twice"};
    r->position = (otimes_axis){"repeated_position", length, NULL, NULL, "position in them"};
    r->layer = (otimes_axis){"layer", job->layer_count, NULL, job->layer, "layer"};
    r->head = (otimes_axis){"head", job->head_count, NULL, job->head, "query head"};
    make_arrays(r);
    rc = otimes_sink_declare(job->sink, &r->id, &r->id_id, err);
    for (int i = 0; rc == OTIMES_OK && i < 3; i++) {
        rc = otimes_sink_declare(job->sink, &r->score[i], &r->score_id[i], err);
    }
    return rc;
}

static void add_up(const patterns_repeated *r, const patterns_batch *batch)
{
    const patterns_job *job = batch->job;
    const int64_t all = job->slots * job->layer_count * job->head_count;
    for (int64_t s = 0; s < batch->count; s++) {
        for (int64_t i = 0; i < all; i++) {
            r->sum[i] += batch->sum[s * all + i];
            r->weight[i] += batch->weight[s * all + i];
        }
    }
}

static int write_scores(const patterns_repeated *r, const patterns_job *job, otimes_err *err)
{
    const int64_t heads = job->layer_count * job->head_count;
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < 3; i++) {
        double *sum = r->sum + scores[i].slot * heads;
        const double *weight = r->weight + scores[i].slot * heads;
        for (int64_t h = 0; h < heads; h++) {
            sum[h] = weight[h] > 0 ? sum[h] / weight[h] : (double)NAN;
        }
        rc = otimes_sink_slab(job->sink, &r->score[i], r->score_id[i], 0, job->layer_count, sum,
                              err);
    }
    return rc;
}

static int run_batches(const patterns_repeated *r, patterns_batch *batch, int64_t at_once,
                       otimes_err *err)
{
    const int64_t count = r->sequence.length, length = r->position.length;
    int rc = OTIMES_OK;
    for (int64_t first = 0; rc == OTIMES_OK && first < count; first += at_once) {
        batch->count = count - first < at_once ? count - first : at_once;
        for (int64_t s = 0; s < batch->count; s++) {
            batch->sequence[s] = (patterns_sequence){
                .text = -1, .length = length, .id = r->ids + (first + s) * length};
        }
        rc = otimes_patterns_batch_run(batch, err);
        if (rc == OTIMES_OK) {
            add_up(r, batch);
        }
    }
    return rc;
}

int otimes_patterns_repeated_run(const patterns_repeated *r, patterns_job *job, otimes_err *err)
{
    const otimes_patterns_settings *s = job->settings;
    const patterns_kind kind = {.period = s->repeated, .first = s->bos >= 0};
    const int64_t length = r->position.length, fit = job->max_rows / length;
    const int64_t most = fit < s->repeated_count ? fit : s->repeated_count;
    const int64_t at_once = most > 0 ? most : 1;
    patterns_batch batch = {.job = job, .kind = &kind};
    int rc = otimes_sink_slab(job->sink, &r->id, r->id_id, 0, s->repeated_count, r->ids, err);
    if (rc == OTIMES_OK) {
        rc = otimes_patterns_batch_init(&batch, at_once, at_once * length, 0, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_batches(r, &batch, at_once, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_scores(r, job, err);
    }
    otimes_patterns_batch_free(&batch);
    return rc;
}
