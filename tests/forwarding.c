/* SPDX-License-Identifier: MIT */
#include "forwarding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool has_table(const otimes_model_info *info)
{
    return info->positions == OTIMES_POSITIONS_LEARNED ||
           info->positions == OTIMES_POSITIONS_SHORTFORMER;
}

static void start(made_batch *batch, int64_t count)
{
    assert_true(count <= MADE_TEXTS);
    *batch = (made_batch){.sequences = {.count = count}};
    batch->sequences.length = batch->length;
    batch->sequences.id = batch->id;
    for (int64_t s = 0; s < count; s++) {
        batch->id[s] = batch->ids[s];
    }
}

void batch_random(made_batch *batch, const otimes_model *model, const int64_t *length,
                  int64_t count, uint64_t seed)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t most = has_table(info) ? info->n_ctx : MADE_TOKENS;
    uint64_t state = seed * 2 + 1;
    start(batch, count);
    for (int64_t s = 0; s < count; s++) {
        batch->length[s] = length[s] < most ? length[s] : most;
        for (int64_t i = 0; i < batch->length[s]; i++) {
            state = state * 6364136223846793005U + 1442695040888963407U;
            batch->ids[s][i] = (int64_t)((state >> 33) % (uint64_t)info->d_vocab);
        }
    }
}

void batch_golden(made_batch *batch, const golden *g)
{
    int64_t count;
    const double *tokens = golden_values(g, "tokens", &count);
    assert_non_null(tokens);
    start(batch, 2);
    for (int64_t i = 0; i < count; i++) {
        batch->ids[i / (count / 2)][i % (count / 2)] = (int64_t)tokens[i];
    }
    batch->length[0] = batch->length[1] = count / 2;
}

void batch_pick(made_batch *batch, const made_batch *from, const int64_t *which, int64_t count)
{
    start(batch, count);
    for (int64_t s = 0; s < count; s++) {
        batch->length[s] = from->length[which[s]];
        memcpy(batch->ids[s], from->ids[which[s]], sizeof batch->ids[s]);
    }
}

int64_t batch_rows(const made_batch *batch)
{
    int64_t rows = 0;
    for (int64_t s = 0; s < batch->sequences.count; s++) {
        rows += batch->length[s];
    }
    return rows;
}

float *forward_logits(const otimes_model *model, const otimes_forward_settings *settings,
                      const made_batch *batch, const otimes_hooks *hooks, const char *what)
{
    const int64_t rows = batch_rows(batch), vocab = otimes_model_describe(model)->d_vocab_out;
    otimes_forward *forward;
    otimes_err err = {0};
    float *logits = malloc((size_t)(rows * vocab) * sizeof *logits);
    assert_non_null(logits);
    int rc = otimes_forward_open(&forward, model, settings, &err);
    if (rc == OTIMES_OK) {
        rc = otimes_forward_run(forward, &batch->sequences, hooks, &err);
    }
    if (rc == OTIMES_OK) {
        assert_int_equal(otimes_forward_rows(forward), rows);
        rc = otimes_forward_logits(forward, 0, rows, logits, &err);
    }
    if (rc != OTIMES_OK) {
        fail_msg("%s: error %d: %s", what, rc, err.msg);
    }
    otimes_forward_close(&forward);
    assert_null(forward);
    return logits;
}

double gap_of(const float *a, const float *b, int64_t count)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < count; i++) {
        const double gap = fabs((double)a[i] - (double)b[i]);
        worst = gap <= worst ? worst : gap; /* NaN stays */
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst == 0 ? 0 : worst / largest;
}

/* log sum exp of a row; 0 where logits are compared as they are. */
static double log_sum(const float *row, const double *wide, int64_t columns, bool plain)
{
    double sum = 0;
    for (int64_t j = 0; j < columns; j++) {
        sum += exp(row ? (double)row[j] : wide[j]);
    }
    return plain ? 0 : log(sum);
}

double gap_to_expected(const float *a, const double *b, int64_t rows, int64_t columns, bool plain)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < rows; i++) {
        const float *got = a + i * columns;
        const double *want = b + i * columns;
        const double got_sum = log_sum(got, NULL, columns, plain);
        const double want_sum = log_sum(NULL, want, columns, plain);
        for (int64_t j = 0; j < columns; j++) {
            const double gap = fabs((double)got[j] - got_sum - (want[j] - want_sum));
            worst = gap <= worst ? worst : gap;
            largest = fmax(largest, fabs(want[j]));
        }
    }
    return worst == 0 ? 0 : worst / largest;
}
