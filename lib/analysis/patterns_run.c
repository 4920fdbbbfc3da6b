/* SPDX-License-Identifier: MIT
 *
 * One batch of sequences through the model.
 */
#include "analysis/patterns_job.h"
#include "base/sink.h"

/* What a visitor returns to end the pass behind the last layer that is asked for. */
enum { ENOUGH = 1 };

int otimes_patterns_batch_init(patterns_batch *batch, int64_t count, int64_t rows,
                               int64_t pattern_numbers, otimes_err *err)
{
    const patterns_job *job = batch->job;
    otimes_pool *pool = &batch->pool;
    int64_t slots, sums, tops;
    int rc = OTIMES_OK;
    if (!otimes_mul_i64(rows, job->head_count * job->slots, &slots) ||
        !otimes_mul_i64(count, job->slots * job->layer_count * job->head_count, &sums) ||
        !otimes_mul_i64(rows, job->head_count * batch->kind->top,
                        &tops)) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_MEMORY, "patterns: a batch of %lld tokens is too large",
                           (long long)rows);
    }
    batch->sequence = otimes_pool_new(pool, count, sizeof *batch->sequence, &rc, err);
    batch->length = otimes_pool_new(pool, count, sizeof *batch->length, &rc, err);
    batch->id = otimes_pool_new(pool, count, sizeof *batch->id, &rc, err);
    batch->before = otimes_pool_new(pool, rows, sizeof *batch->before, &rc, err);
    batch->seen = otimes_pool_new(pool, job->info->d_vocab, sizeof *batch->seen, &rc, err);
    batch->slot = otimes_pool_new(pool, slots, sizeof *batch->slot, &rc, err);
    batch->sum = otimes_pool_new(pool, sums, sizeof *batch->sum, &rc, err);
    batch->weight = otimes_pool_new(pool, sums, sizeof *batch->weight, &rc, err);
    batch->score = otimes_pool_new(pool, sums, sizeof *batch->score, &rc, err);
    batch->head_sum = otimes_pool_new(pool, 2 * job->slots, sizeof *batch->head_sum, &rc, err);
    batch->offset_score =
        otimes_pool_new(pool, job->settings->offset_count * job->layer_count * job->head_count,
                        sizeof *batch->offset_score, &rc, err);
    batch->top_weight = otimes_pool_new(pool, tops, sizeof *batch->top_weight, &rc, err);
    batch->top_key = otimes_pool_new(pool, tops, sizeof *batch->top_key, &rc, err);
    batch->pattern = otimes_pool_new(pool, pattern_numbers, sizeof *batch->pattern, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->info->d_vocab; i++) {
        batch->seen[i] = -1;
    }
    return rc;
}

void otimes_patterns_batch_free(patterns_batch *batch)
{
    otimes_pool_free(&batch->pool);
    *batch = (patterns_batch){0};
}

/* z of a layer stands behind all of its patterns: a batch is no more than a chunk. */
static int finish_layer(const patterns_batch *batch, const otimes_activation *z, otimes_err *err)
{
    patterns_job *job = batch->job;
    const int64_t layer_slot = job->layer_slot[z->layer];
    int rc = OTIMES_OK;
    if (layer_slot >= 0) {
        otimes_patterns_reduce(batch, layer_slot);
        for (int64_t s = 0; rc == OTIMES_OK && batch->writer && s < batch->count; s++) {
            rc = otimes_patterns_write_layer(batch, layer_slot, s, err);
        }
    }
    job->done += (double)z->rows;
    if (rc == OTIMES_OK) {
        rc = otimes_sink_progress(job->sink, job->done, job->total, err);
    }
    const bool last = layer_slot == job->layer_count - 1;
    return rc == OTIMES_OK && last ? ENOUGH : rc;
}

static int visit(void *context, const otimes_activation *activation, otimes_err *err)
{
    const patterns_batch *batch = context;
    const patterns_job *job = batch->job;
    if (activation->hook == OTIMES_HOOK_Z) {
        return finish_layer(batch, activation, err);
    }
    if (job->layer_slot[activation->layer] >= 0 && job->head_slot[activation->head] >= 0) {
        otimes_patterns_strip(batch, activation);
    }
    return OTIMES_OK;
}

static int64_t queries_of(const patterns_kind *kind, int64_t length)
{
    int64_t count = 0;
    if (!kind->position) {
        return length;
    }
    while (count < kind->position_count && kind->position[count] < length) {
        count++;
    }
    return count;
}

/* Places of the batch's sequences, whose text, length and id are set. */
static void lay_out(patterns_batch *batch)
{
    float *pattern = batch->pattern;
    batch->rows = 0;
    for (int64_t s = 0; s < batch->count; s++) {
        patterns_sequence *sequence = &batch->sequence[s];
        sequence->queries = queries_of(batch->kind, sequence->length);
        sequence->row = batch->rows;
        sequence->pattern = pattern;
        batch->rows += sequence->length;
        if (batch->kind->full) {
            pattern += batch->job->head_count * sequence->queries * sequence->length;
        }
        batch->length[s] = sequence->length;
        batch->id[s] = sequence->id;
    }
}

int otimes_patterns_batch_run(patterns_batch *batch, otimes_err *err)
{
    lay_out(batch);
    otimes_patterns_link(batch);
    const otimes_sequences sequences = {batch->count, batch->length, batch->id};
    const otimes_hooks hooks = {OTIMES_HOOK_BIT(PATTERN) | OTIMES_HOOK_BIT(Z), visit, batch};
    const int rc = otimes_forward_run(batch->job->forward, &sequences, &hooks, err);
    return rc == ENOUGH ? OTIMES_OK : rc;
}
