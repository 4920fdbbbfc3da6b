/* SPDX-License-Identifier: MIT
 *
 * The direct path as a table of vectors: reading of tokens along its two sides.
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "analysis/bigram_job.h"
#include "model/model.h"
#include "run/norm.h"

int64_t otimes_bigram_rank(const bigram_side *side)
{
    return otimes_model_describe(side->vocab.model)->d_model + (side->bias != NULL);
}

/* Source tokens as the unembedding sees them. */
static void finish_sources(const bigram_side *s, int64_t count, float *out)
{
    const otimes_model_info *info = otimes_model_describe(s->vocab.model);
    const int64_t d = info->d_model;
    if (s->embed_norm) {
        otimes_norm_rows(info->norm, info->eps, s->embed_norm, s->embed_norm + d, count, d, out);
    }
    for (int64_t i = 0; s->position && i < count; i++) {
        for (int64_t k = 0; k < d; k++) {
            out[i * d + k] += s->position[k];
        }
    }
    if (s->norm) {
        otimes_norm_rows(info->norm, info->eps, s->norm->ln_w, s->norm->ln_b, count, d, out);
    }
}

static int read_side(const void *context, const int64_t *ids, int64_t first, int64_t count,
                     float *out, otimes_err *err)
{
    const bigram_side *s = context;
    const int64_t d = otimes_model_describe(s->vocab.model)->d_model;
    const int rc = otimes_vocab_side_read(&s->vocab, ids, first, count, out, err);
    if (rc == OTIMES_OK && !s->vocab.unembed) {
        finish_sources(s, count, out);
    }
    for (int64_t i = count - 1; rc == OTIMES_OK && s->bias && i >= 0; i--) {
        const int64_t token = otimes_vocab_side_token(&s->vocab, ids ? ids[i] : first + i);
        memmove(out + i * (d + 1), out + i * d, (size_t)d * sizeof *out);
        out[i * (d + 1) + d] = s->vocab.unembed ? s->bias[token] : 1;
    }
    return rc;
}

otimes_table_side otimes_bigram_side(const bigram_side *side, int64_t count)
{
    return (otimes_table_side){.count = count, .read = read_side, .context = side};
}

void otimes_bigram_cap(const bigram_job *job, int64_t count, float *values)
{
    for (int64_t i = 0; job->softcap > 0 && i < count; i++) {
        values[i] = (float)(job->softcap * tanh((double)values[i] / job->softcap));
    }
}

/* What exact logits need beyond the two matrices. */
static int open_exact(bigram_job *job, otimes_err *err)
{
    const otimes_bigram_settings *s = job->settings;
    const int64_t d = job->info->d_model;
    int rc = OTIMES_OK;
    job->softcap = job->info->final_softcap;
    job->row.norm = &job->unembed;
    job->row.bias = job->column.bias = job->unembed.bias;
    if (job->info->embed_norm) {
        float *norm = otimes_pool_new(&job->pool, 2 * d, sizeof *norm, &rc, err);
        if (rc == OTIMES_OK) {
            rc = otimes_embed_norm(job->model, norm, norm + d, err);
        }
        job->row.embed_norm = norm;
    }
    if (rc == OTIMES_OK && s->position >= 0) {
        float *position = otimes_pool_new(&job->pool, d, sizeof *position, &rc, err);
        if (rc == OTIMES_OK) {
            rc = otimes_position_rows(job->model, s->position, 1, position, err);
        }
        job->row.position = position;
    }
    return rc;
}

int otimes_bigram_open(bigram_job *job, otimes_err *err)
{
    const otimes_bigram_settings *s = job->settings;
    const int64_t bottom = s->bottom < 0 ? s->top : s->bottom;
    job->row_count = s->rows ? s->row_count : job->info->d_vocab;
    job->column_count = s->columns ? s->column_count : job->info->d_vocab_out;
    job->top = s->top < job->column_count ? s->top : job->column_count;
    job->bottom = bottom < job->column_count ? bottom : job->column_count;
    job->row = (bigram_side){.vocab = {.model = job->model, .tokens = s->rows}};
    job->column = (bigram_side){.vocab = {job->model, &job->unembed, s->columns}};
    int rc = otimes_unembed_open(job->model, &job->unembed, err);
    if (rc == OTIMES_OK && s->exact) {
        rc = open_exact(job, err);
    }
    job->table = (otimes_table){.rank = otimes_bigram_rank(&job->row),
                                .row = otimes_bigram_side(&job->row, job->row_count),
                                .column = otimes_bigram_side(&job->column, job->column_count),
                                .threads = job->model->threads};
    return rc;
}

void otimes_bigram_free(bigram_job *job)
{
    otimes_free(job->writer.token_labels);
    otimes_free(job->writer.output_labels);
    otimes_free(job->writer.column_labels);
    otimes_free(job->writer.token_ids);
    otimes_table_rows_free(&job->rows);
    otimes_unembed_free(&job->unembed);
    otimes_pool_free(&job->pool);
}
