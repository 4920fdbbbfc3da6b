/* SPDX-License-Identifier: MIT
 *
 * M = W_U W_E where output tokens are not the input tokens: over the tokens whose text is in both,
 * so that a head copies what it can copy.
 */
#include <stdlib.h>
#include <string.h>

#include "analysis/qk_job.h"
#include "num/la.h"

typedef struct spelled {
    const char *text;
    int64_t id;
} spelled;

static int by_text(const void *a, const void *b)
{
    return strcmp(((const spelled *)a)->text, ((const spelled *)b)->text);
}

/* Input tokens with a text, sorted by it. */
static int64_t list_inputs(const qk_job *job, spelled *input)
{
    int64_t count = 0;
    for (int64_t id = 0; id < job->info->d_vocab; id++) {
        const char *text = otimes_model_token(job->model, id);
        if (text) {
            input[count++] = (spelled){text, id};
        }
    }
    qsort(input, (size_t)count, sizeof *input, by_text);
    return count;
}

/* M += (row of W_U)^T (row of W_E). */
static int add_token(qk_job *job, int64_t output, int64_t input, float *rows, double *wide,
                     otimes_err *err)
{
    const int64_t d = job->info->d_model;
    int rc = otimes_unembed_rows(&job->unembed, output, 1, rows, err);
    rc = rc == OTIMES_OK ? otimes_embed_rows(job->model, input, 1, rows + d, err) : rc;
    for (int64_t j = 0; rc == OTIMES_OK && j < 2 * d; j++) {
        wide[j] = (double)rows[j];
    }
    if (rc == OTIMES_OK) {
        otimes_la_default->dgemm(true, false, d, d, 1, 1.0, wide, d, wide + d, d, 1.0, job->common,
                                 d);
    }
    return rc;
}

int otimes_qk_common(qk_job *job, otimes_err *err)
{
    const int64_t d = job->info->d_model;
    spelled *input;
    float *rows = NULL;
    double *wide = NULL;
    if (job->forms.cross) {
        job->common = job->forms.cross;
        job->common_tokens = job->info->d_vocab;
        return OTIMES_OK;
    }
    int rc = OTIMES_NEW(&input, job->info->d_vocab, err);
    rc = rc == OTIMES_OK ? OTIMES_NEW(&rows, 2 * d, err) : rc;
    rc = rc == OTIMES_OK ? OTIMES_NEW(&wide, 2 * d, err) : rc;
    job->common = otimes_pool_new(&job->pool, d * d, sizeof *job->common, &rc, err);
    const int64_t inputs = rc == OTIMES_OK ? list_inputs(job, input) : 0;
    for (int64_t id = 0; rc == OTIMES_OK && id < job->info->d_vocab_out; id++) {
        const spelled wanted = {otimes_model_output_token(job->model, id), id};
        const spelled *found =
            wanted.text ? bsearch(&wanted, input, (size_t)inputs, sizeof *input, by_text) : NULL;
        if (found) {
            rc = add_token(job, id, found->id, rows, wide, err);
            job->common_tokens++;
        }
    }
    if (job->common_tokens == 0) {
        job->common = NULL;
    }
    otimes_free(input);
    otimes_free(rows);
    otimes_free(wide);
    return rc;
}
