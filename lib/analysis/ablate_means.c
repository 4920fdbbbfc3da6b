/* SPDX-License-Identifier: MIT
 *
 * Mean activations over texts. Sums are double, in the order of the rows.
 */
#include "analysis/ablate_job.h"

/* The sums while they are gathered. */
typedef struct gathering {
    ablate_job *job;
    const otimes_batch *batch;
    bool by_position;
    double **sum[ABLATE_POINTS]; /* [n_layers][positions, columns] */
} gathering;

static const otimes_hook hook_of[ABLATE_POINTS] = {OTIMES_HOOK_Z, OTIMES_HOOK_MLP_OUT,
                                                   OTIMES_HOOK_MLP_POST};
static const unsigned kinds_of[ABLATE_POINTS] = {ABLATE_Z, ABLATE_KIND(OTIMES_ABLATE_MLP),
                                                 ABLATE_KIND(OTIMES_ABLATE_NEURON)};

static int add_rows(void *context, const otimes_activation *activation, otimes_err *err)
{
    const gathering *g = context;
    int point = 0;
    (void)err;
    while (hook_of[point] != activation->hook) {
        point++;
    }
    double *sum = g->sum[point][activation->layer];
    const int64_t columns = activation->columns;
    for (int64_t i = 0; sum && i < activation->rows; i++) {
        const float *row = activation->data + i * activation->stride;
        double *to =
            sum + (g->by_position ? g->batch->position[activation->first + i] * columns : 0);
        for (int64_t c = 0; c < columns; c++) {
            to[c] += (double)row[c];
        }
    }
    return OTIMES_OK;
}

/* Blocks of the layers where some ablation acts; *last is behind the last of these. */
static int make_room(gathering *g, otimes_pool *sums, int64_t *last, uint64_t *points,
                     otimes_err *err)
{
    ablate_job *job = g->job;
    int rc = OTIMES_OK;
    *last = 0;
    for (int p = 0; p < ABLATE_POINTS; p++) {
        const int64_t layers = job->info->n_layers;
        int64_t count;
        if (!otimes_mul_i64(job->means.positions, job->columns[p],
                            &count)) { /* unreached: too many to hold */
            return otimes_fail(err, OTIMES_ERR_MEMORY, "means: more than can be counted");
        }
        g->sum[p] = otimes_pool_new(sums, layers, sizeof *g->sum[p], &rc, err);
        job->means.value[p] =
            otimes_pool_new(&job->pool, layers, sizeof *job->means.value[p], &rc, err);
        for (int64_t l = 0; rc == OTIMES_OK && l < layers; l++) {
            if (job->list.kinds[l] & kinds_of[p]) {
                g->sum[p][l] = otimes_pool_new(sums, count, sizeof(double), &rc, err);
                job->means.value[p][l] =
                    otimes_pool_new(&job->pool, count, sizeof(float), &rc, err);
                *points |= (uint64_t)1 << hook_of[p];
                *last = l >= *last ? l + 1 : *last;
            }
        }
    }
    return rc;
}

static int run_batch(gathering *g, const otimes_sequences *part, int64_t last, otimes_err *err)
{
    ablate_job *job = g->job;
    otimes_batch batch = {0};
    float *stream = NULL;
    int rc = otimes_batch_init(&batch, job->model, part, NULL, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&stream, batch.rows * job->info->d_model, err);
    }
    g->batch = job->pass.batch = &batch;
    if (rc == OTIMES_OK) {
        rc = otimes_pass_embed(&job->pass, stream, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pass_layers(&job->pass, 0, last, stream, err);
    }
    otimes_free(stream);
    otimes_batch_free(&batch);
    g->batch = job->pass.batch = NULL;
    return rc;
}

static int run_all(gathering *g, const otimes_sequences *all, int64_t last, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t first = 0, count; rc == OTIMES_OK && first < all->count; first += count) {
        int64_t rows = 0;
        for (count = 0; first + count < all->count; count++) {
            rows += all->length[first + count];
            if (count > 0 && rows > g->job->group_rows) {
                break;
            }
        }
        const otimes_sequences part = {count, all->length + first, all->id + first};
        rc = run_batch(g, &part, last, err);
    }
    return rc;
}

/* How many rows each position's mean is of. */
static int64_t rows_at(const otimes_sequences *all, bool by_position, int64_t position)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < all->count; i++) {
        rows += by_position ? all->length[i] > position : all->length[i];
    }
    return rows;
}

static void divide(const gathering *g, const otimes_sequences *all)
{
    const ablate_job *job = g->job;
    for (int64_t at = 0; at < job->means.positions; at++) {
        const double rows = (double)rows_at(all, g->by_position, at);
        for (int p = 0; p < ABLATE_POINTS; p++) {
            const int64_t columns = job->columns[p], first = at * columns;
            for (int64_t l = 0; l < job->info->n_layers; l++) {
                for (int64_t c = first; g->sum[p][l] && c < first + columns; c++) {
                    job->means.value[p][l][c] = (float)(g->sum[p][l][c] / rows);
                }
            }
        }
    }
}

static int64_t longest_of(const otimes_sequences *all)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < all->count; i++) {
        longest = all->length[i] > longest ? all->length[i] : longest;
    }
    return longest;
}

int otimes_ablate_gather(ablate_job *job, otimes_err *err)
{
    const otimes_ablate_settings *s = job->settings;
    const otimes_sequences *all = s->mean_sequences.count > 0 ? &s->mean_sequences : &s->sequences;
    gathering g = {.job = job, .by_position = s->method == OTIMES_ABLATE_MEAN_POSITION};
    otimes_hooks hooks = {.visit = add_rows, .context = &g};
    otimes_pool sums = {0};
    int64_t last;
    if (s->method != OTIMES_ABLATE_MEAN && !g.by_position) {
        return OTIMES_OK;
    }
    if (g.by_position && longest_of(all) < job->texts.longest) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "means: position %lld: expected a text that reaches it, got texts of at "
                           "most %lld tokens",
                           (long long)longest_of(all), (long long)longest_of(all));
    }
    job->means.positions = g.by_position ? job->texts.longest : 1;
    if (g.by_position && longest_of(all) > job->means.positions) {
        job->means.positions = longest_of(all);
    }
    int rc = make_room(&g, &sums, &last, &hooks.points, err);
    job->pass.hooks = &hooks;
    if (rc == OTIMES_OK) {
        rc = run_all(&g, all, last, err);
    }
    if (rc == OTIMES_OK) {
        divide(&g, all);
    }
    job->pass.hooks = NULL;
    otimes_pool_free(&sums);
    return rc;
}
