/* SPDX-License-Identifier: MIT
 *
 * From strips of patterns to scores.
 */
#include <math.h>
#include <string.h>

#include "analysis/patterns_job.h"
#include "num/topk.h"
#include "run/pattern_row.h"

#define ABSENT OTIMES_PATTERN_ABSENT

typedef struct pattern_row {
    otimes_pattern_row row;
    const patterns_sequence *sequence;
    int64_t low, high; /* keys low .. high-1 are seen */
} pattern_row;

static double at(const pattern_row *row, int64_t key)
{
    return otimes_pattern_at(&row->row, key);
}

/* sum a, and -sum a ln a, where zeros count for nothing as their limit does. Four sums side by side
 * keep the order of additions that of the keys alone. */
static void measure(const pattern_row *row, double *total, double *entropy)
{
    double sum[4] = {0, 0, 0, 0}, spread[4] = {0, 0, 0, 0};
    for (int64_t i = row->low; i < row->high; i++) {
        const float a = row->row.weight[i];
        const int64_t lane = (i - row->low) & 3;
        sum[lane] += (double)a;
        spread[lane] -= a == 0 ? 0 : (double)a * (double)logf(a);
    }
    *total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    *entropy = (spread[0] + spread[1]) + (spread[2] + spread[3]);
}

/* Duplicate and induction where the repetition is known: diagonals of the second half. */
static double diagonal(const pattern_row *row, const patterns_kind *kind, int64_t back)
{
    return row->row.query >= kind->first + kind->period ? at(row, row->row.query - back) : ABSENT;
}

/* What the weights of the user's pattern take of a row; entries beyond the text do not count. */
static double user_pattern(const patterns_job *job, const pattern_row *row)
{
    double sum = 0;
    bool any = false;
    for (int64_t i = job->pattern_start[row->row.query]; i < job->pattern_start[row->row.query + 1];
         i++) {
        const otimes_pattern_entry *entry = &job->settings->pattern[i];
        if (entry->key < row->sequence->length) {
            sum += entry->weight * at(row, entry->key);
            any = true;
        }
    }
    return any ? sum : ABSENT;
}

static void score_row(const patterns_batch *batch, const pattern_row *row, double *slot)
{
    const patterns_job *job = batch->job;
    const patterns_kind *kind = batch->kind;
    const int64_t q = row->row.query, n = row->sequence->length, seen = row->high - row->low;
    double total;
    slot[SLOT_PREVIOUS] = q >= 1 ? at(row, q - 1) : ABSENT;
    if (kind->period > 0) {
        slot[SLOT_DUPLICATE] = diagonal(row, kind, kind->period);
        slot[SLOT_INDUCTION] = diagonal(row, kind, kind->period - 1);
        return;
    }
    slot[SLOT_CURRENT] = at(row, q);
    slot[SLOT_FIRST] = q >= 1 ? at(row, 0) : ABSENT;
    slot[SLOT_DUPLICATE] = otimes_pattern_earlier_same(&row->row, 0);
    slot[SLOT_INDUCTION] = otimes_pattern_earlier_same(&row->row, 1);
    measure(row, &total, &slot[SLOT_ENTROPY]);
    slot[SLOT_ENTROPY_SHARE] = seen >= 2 ? slot[SLOT_ENTROPY] / log((double)seen) : ABSENT;
    slot[SLOT_SINK] = 1 - total;
    slot[SLOT_NEXT] = q + 1 < n ? at(row, q + 1) : ABSENT;
    slot[SLOT_PATTERN] = job->pattern_start ? user_pattern(job, row) : ABSENT;
    slot[SLOT_PATTERN_SHARE] = ABSENT;
    for (int64_t i = 0; i < job->settings->offset_count; i++) {
        const int64_t key = q - job->settings->offsets[i];
        slot[PATTERNS_SLOTS + i] = key >= 0 && key < n ? at(row, key) : ABSENT;
    }
}

/* Keys that a query sees: up to itself, or all, those within the window. */
static void find_seen(const patterns_job *job, int64_t layer, pattern_row *row)
{
    const int64_t q = row->row.query, window = job->layer_info[layer].window;
    row->low = window > 0 && q - window + 1 > 0 ? q - window + 1 : 0;
    row->high = job->info->bidirectional ? row->sequence->length : q + 1;
    row->high = row->high < row->row.columns ? row->high : row->row.columns;
    row->low = row->low < row->high ? row->low : row->high;
}

static void keep_strongest(const patterns_batch *batch, const pattern_row *row, int64_t place)
{
    otimes_topk top = {.capacity = batch->kind->top,
                       .sign = 1,
                       .value = batch->top_weight + place * batch->kind->top,
                       .index = batch->top_key + place * batch->kind->top};
    otimes_topk_scan(&top, row->row.weight + row->low, row->high - row->low, (int32_t)row->low);
    otimes_topk_finish(&top);
}

static void keep_row(const pattern_row *row, int64_t place)
{
    const int64_t n = row->sequence->length, seen = row->row.columns < n ? row->row.columns : n;
    float *to = row->sequence->pattern + place * n;
    memcpy(to, row->row.weight, (size_t)seen * sizeof *to);
    memset(to + seen, 0, (size_t)(n - seen) * sizeof *to);
}

/* The place of a position among the asked-for ones, or -1. */
static int64_t place_of(const patterns_kind *kind, int64_t query)
{
    int64_t low = 0, high = kind->position_count;
    if (!kind->position) {
        return query;
    }
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (kind->position[middle] < query) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < kind->position_count && kind->position[low] == query ? low : -1;
}

void otimes_patterns_strip(const patterns_batch *batch, const otimes_activation *strip)
{
    const patterns_job *job = batch->job;
    const int64_t head = job->head_slot[strip->head];
    const patterns_sequence *sequence = &batch->sequence[strip->sequence];
    for (int64_t i = 0; i < strip->rows; i++) {
        pattern_row row = {.sequence = sequence,
                           .row = {.weight = strip->data + i * strip->stride,
                                   .columns = strip->columns,
                                   .query = strip->first + i,
                                   .before = sequence->before}};
        const int64_t place = place_of(batch->kind, row.row.query);
        if (place < 0) {
            continue;
        }
        find_seen(job, strip->layer, &row);
        score_row(batch, &row,
                  batch->slot + (head * batch->rows + sequence->row + place) * job->slots);
        if (batch->kind->top > 0) {
            keep_strongest(batch, &row,
                           sequence->row * job->head_count + head * sequence->queries + place);
        }
        if (batch->kind->full) {
            keep_row(&row, head * sequence->queries + place);
        }
    }
}

/* Sums over the queries of one head, in their order. */
static void reduce_head(const patterns_batch *batch, const patterns_sequence *sequence,
                        int64_t head, double *sum, double *weight)
{
    const int64_t slots = batch->job->slots;
    const double *slot = batch->slot + (head * batch->rows + sequence->row) * slots;
    memset(sum, 0, (size_t)slots * sizeof *sum);
    memset(weight, 0, (size_t)slots * sizeof *weight);
    for (int64_t q = 0; q < sequence->queries; q++) {
        for (int64_t s = 0; s < slots; s++) {
            const double value = slot[q * slots + s];
            if (value != ABSENT) {
                sum[s] += value;
                weight[s]++;
            }
        }
    }
    sum[SLOT_PATTERN_SHARE] = weight[SLOT_PATTERN] > 0 ? sum[SLOT_PATTERN] : 0;
    weight[SLOT_PATTERN_SHARE] = weight[SLOT_PATTERN] > 0 ? weight[SLOT_SINK] - sum[SLOT_SINK] : 0;
}

void otimes_patterns_reduce(const patterns_batch *batch, int64_t layer_slot)
{
    const patterns_job *job = batch->job;
    const int64_t heads = job->head_count, slots = job->slots, all = job->layer_count * heads;
    for (int64_t s = 0; s < batch->count; s++) {
        for (int64_t h = 0; h < heads; h++) {
            double *sum = batch->head_sum, *weight = batch->head_sum + slots;
            reduce_head(batch, &batch->sequence[s], h, sum, weight);
            for (int64_t i = 0; i < slots; i++) {
                const int64_t to = (s * slots + i) * all + layer_slot * heads + h;
                batch->sum[to] = sum[i];
                batch->weight[to] = weight[i];
                batch->score[to] = weight[i] != 0 ? sum[i] / weight[i] : (double)NAN;
            }
        }
    }
}

void otimes_patterns_link(patterns_batch *batch)
{
    for (int64_t s = 0; s < batch->count; s++) {
        patterns_sequence *sequence = &batch->sequence[s];
        int64_t *before = batch->before + sequence->row;
        otimes_pattern_link(sequence->id, sequence->length, batch->seen, before);
        sequence->before = before;
    }
}
