/* SPDX-License-Identifier: MIT
 *
 * Texts that run together, and the memory that they take.
 */
#include "analysis/ablate_job.h"

enum {
    DEFAULT_ROWS = 2048,
    ROW_IDS = 2 * sizeof(int64_t) /* a batch's token and position of a row */
};

/* Streams of one wave where the caller sets no limit; values of a group's results at most. */
#define DEFAULT_BYTES (INT64_C(1) << 30)
#define GROUP_RESULTS (INT64_C(1) << 22)

/* What the kinds of all layers come to. */
static unsigned all_kinds(const ablate_job *job)
{
    unsigned kinds = 0;
    for (int64_t l = 0; l < job->info->n_layers; l++) {
        kinds |= job->list.kinds[l];
    }
    return kinds;
}

/* Whether the clean run's activations at a point are kept: all z, from which ablations begin; of
 * the rest what is resampled. */
static bool keeps(const ablate_job *job, int point)
{
    static const unsigned kinds[ABLATE_POINTS] = {0, ABLATE_KIND(OTIMES_ABLATE_MLP),
                                                  ABLATE_KIND(OTIMES_ABLATE_NEURON)};
    return point == ABLATE_AT_Z || (job->source && (all_kinds(job) & kinds[point]));
}

/* Sums and means of every layer that some ablation changes. */
static int64_t means_bytes(const ablate_job *job)
{
    const otimes_ablate_method method = job->settings->method;
    const int64_t positions = method == OTIMES_ABLATE_MEAN_POSITION ? job->texts.longest
                              : method == OTIMES_ABLATE_MEAN        ? 1
                                                                    : 0;
    int64_t columns = 0;
    for (int64_t l = 0; l < job->info->n_layers; l++) {
        const unsigned kinds = job->list.kinds[l];
        columns += kinds & ABLATE_Z ? job->columns[ABLATE_AT_Z] : 0;
        columns += kinds & ABLATE_KIND(OTIMES_ABLATE_MLP) ? job->columns[ABLATE_AT_MLP] : 0;
        columns += kinds & ABLATE_KIND(OTIMES_ABLATE_NEURON) ? job->columns[ABLATE_AT_POST] : 0;
    }
    return positions * columns * (int64_t)(sizeof(float) + sizeof(double));
}

/* Floats of clean rows that the group keeps beside their stream. */
static int64_t clean_columns(const ablate_job *job)
{
    int64_t columns = 0;
    for (int p = 0; p < ABLATE_POINTS; p++) {
        columns += keeps(job, p) ? job->columns[p] : 0;
    }
    return columns;
}

/* Bytes of one row of one ablation under way. */
static int64_t variant_bytes(const ablate_job *job)
{
    return 4 * job->info->d_model + ROW_IDS;
}

/* Texts that a group of `rows` tokens may have, one at least. */
static int64_t most_texts(const ablate_job *job, int64_t rows)
{
    const otimes_sequences *all = &job->settings->sequences;
    int64_t shortest = job->texts.longest, most = GROUP_RESULTS / job->list.count + 1;
    for (int64_t t = 0; t < all->count; t++) {
        shortest = all->length[t] < shortest ? all->length[t] : shortest;
    }
    most = most < rows / shortest ? most : rows / shortest;
    return most < all->count ? most : all->count;
}

/* Bytes that a group of `rows` tokens takes with one ablation under way. */
static int64_t bytes_of(const ablate_job *job, int64_t rows)
{
    const int64_t d = job->info->d_model, clean = job->source ? 2 : 1;
    const int64_t kept = clean * (2 * d + clean_columns(job)); /* the stream twice */
    const int64_t chunk = job->columns[ABLATE_AT_Z] + 2 * d;
    otimes_forward_plan plan;
    otimes_forward_plan_of(job->model, &job->settings->forward, rows, job->texts.longest, &plan);
    const int64_t results = most_texts(job, rows) * job->list.count * 2 * (int64_t)sizeof(double);
    return plan.total - plan.streams + means_bytes(job) + results +
           rows * (4 * (kept + chunk) + clean * ROW_IDS + variant_bytes(job));
}

/* How many tokens go together, and how many bytes are left for further ablations. */
int otimes_ablate_fit(ablate_job *job, otimes_err *err)
{
    const otimes_forward_settings *f = &job->settings->forward;
    const int64_t longest = job->texts.longest;
    job->group_rows = f->chunk_rows > 0 ? f->chunk_rows : DEFAULT_ROWS;
    if (job->group_rows < longest) {
        job->group_rows = longest;
    }
    job->wave_bytes = DEFAULT_BYTES;
    if (f->memory <= 0) {
        return OTIMES_OK;
    }
    while (job->group_rows > longest && bytes_of(job, job->group_rows) > f->memory) {
        job->group_rows = job->group_rows / 2 > longest ? job->group_rows / 2 : longest;
    }
    const int64_t least = bytes_of(job, job->group_rows);
    job->wave_bytes = f->memory - least + job->group_rows * variant_bytes(job);
    return least <= f->memory
               ? OTIMES_OK
               : otimes_fail(err, OTIMES_ERR_ARGUMENT,
                             "memory: expected at least %lld bytes for a text of %lld tokens and "
                             "one ablation of it, got %lld",
                             (long long)least, (long long)longest, (long long)f->memory);
}

/* Ablations of `rows` tokens that there is room for at once. */
static int64_t slots_of(const ablate_job *job, int64_t rows)
{
    const int64_t room = job->wave_bytes / (rows * variant_bytes(job));
    return room < 1 ? 1 : room < job->list.count ? room : job->list.count;
}

void otimes_ablate_fill_plan(const ablate_job *job, otimes_ablate_plan *plan)
{
    const otimes_sequences *all = &job->settings->sequences;
    int64_t largest = 0;
    for (int64_t t = 0, rows = 0; t < all->count; t++) {
        rows = rows > 0 && rows + all->length[t] > job->group_rows ? 0 : rows;
        rows += all->length[t];
        largest = rows > largest ? rows : largest;
    }
    const int64_t slots = slots_of(job, largest);
    *plan = (otimes_ablate_plan){.ablations = job->list.count,
                                 .waves = (job->list.count + slots - 1) / slots,
                                 .total = bytes_of(job, largest) +
                                          (slots - 1) * largest * variant_bytes(job)};
}

/* ---- groups of texts ---- */

/* Texts from *next on, as many as go together; sets *next behind them. */
static int collect(ablate_job *job, int64_t *next, otimes_err *err)
{
    const otimes_sequences *all = &job->settings->sequences;
    const int64_t room = most_texts(job, job->group_rows);
    ablate_group *g = &job->group;
    bool done = true;
    int rc = OTIMES_OK;
    *g = (ablate_group){0};
    g->text = otimes_pool_new(&g->pool, room, sizeof *g->text, &rc, err);
    g->start = otimes_pool_new(&g->pool, room + 1, sizeof *g->start, &rc, err);
    g->source = otimes_pool_new(&g->pool, room, sizeof *g->source, &rc, err);
    for (; rc == OTIMES_OK && *next < all->count && g->texts < room; ++*next) {
        if (g->texts > 0 && g->rows + all->length[*next] > job->group_rows) {
            break;
        }
        done = done && otimes_ablate_is_done(job, *next);
        g->text[g->texts++] = *next;
        g->rows += all->length[*next];
        g->start[g->texts] = g->rows;
    }
    if (done) {
        job->done += (double)(g->rows * job->list.count);
        g->texts = 0;
    }
    return rc;
}

static void push(const otimes_sequences *all, int64_t text, int64_t *length, const int64_t **id,
                 int64_t *count)
{
    length[*count] = all->length[text];
    id[(*count)++] = all->id[text];
}

/* Finds or adds the clean sequence that a text of the group is resampled from. */
static void place_source(ablate_job *job, int64_t t, int64_t *clean_text, int64_t *length,
                         const int64_t **id, int64_t *count)
{
    ablate_group *g = &job->group;
    const int64_t source = job->source[g->text[t]];
    int64_t at = 0;
    while (at < *count && clean_text[at] != source) {
        at++;
    }
    if (at == *count) {
        clean_text[at] = source;
        push(&job->settings->sequences, source, length, id, count);
    }
    g->source[t] = at;
    g->covered = g->covered && length[at] >= length[t];
}

/* The batches: clean sequences alone, and with the texts once more for each slot. */
static int make_batches(ablate_job *job, otimes_err *err)
{
    ablate_group *g = &job->group;
    const otimes_sequences *all = &job->settings->sequences;
    int64_t count = 0, room;
    int rc = OTIMES_OK;
    job->wave_slots = slots_of(job, g->rows);
    job->chunk_slots = job->group_rows / g->rows < 1 ? 1 : job->group_rows / g->rows;
    job->chunk_slots = job->chunk_slots < job->wave_slots ? job->chunk_slots : job->wave_slots;
    if (!otimes_mul_i64(job->wave_slots + 2, g->texts, &room)) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_MEMORY, "streams: more than can be counted");
    }
    int64_t *text = otimes_pool_new(&g->pool, 2 * g->texts, sizeof *text, &rc, err);
    int64_t *length = otimes_pool_new(&g->pool, room, sizeof *length, &rc, err);
    const int64_t **id = otimes_pool_new(&g->pool, room, sizeof *id, &rc, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t t = 0; t < g->texts; t++) {
        text[t] = g->text[t];
        push(all, g->text[t], length, id, &count);
    }
    g->covered = true;
    for (int64_t t = 0; job->source && t < g->texts; t++) {
        place_source(job, t, text, length, id, &count);
    }
    const otimes_sequences clean = {count, length, id};
    rc = otimes_batch_init(&g->clean, job->model, &clean, NULL, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->wave_slots * g->texts; i++) {
        push(all, g->text[i % g->texts], length, id, &count);
    }
    const otimes_sequences whole = {count, length, id};
    return rc == OTIMES_OK ? otimes_batch_init(&g->all, job->model, &whole, NULL, err) : rc;
}

/* Everything that the group's run works on. */
static int make_buffers(ablate_job *job, otimes_err *err)
{
    const ablate_group *g = &job->group;
    const int64_t d = job->info->d_model, clean = g->clean.rows;
    const int64_t slots = job->chunk_slots * g->rows;
    const int64_t part = clean < job->group_rows ? clean : job->group_rows;
    const int64_t chunk = slots > part ? slots : part;
    const int64_t losses = job->chunk_slots * g->loss_count;
    const int64_t results = g->texts * job->list.count;
    otimes_pool *pool = &job->work;
    int rc = OTIMES_OK;
    job->stream = otimes_pool_new(pool, g->all.rows * d, sizeof(float), &rc, err);
    job->saved = otimes_pool_new(pool, clean * d, sizeof(float), &rc, err);
    for (int p = 0; p < ABLATE_POINTS; p++) {
        job->clean[p] = NULL;
        if (keeps(job, p)) {
            job->clean[p] = otimes_pool_new(pool, clean * job->columns[p], sizeof(float), &rc, err);
        }
    }
    job->z = otimes_pool_new(pool, chunk * job->columns[ABLATE_AT_Z], sizeof(float), &rc, err);
    job->out = otimes_pool_new(pool, chunk * d, sizeof(float), &rc, err);
    job->mlp = otimes_pool_new(pool, chunk * d, sizeof(float), &rc, err);
    job->token_rows = otimes_pool_new(pool, 2 * g->texts * d, sizeof(float), &rc, err);
    job->logsumexp = otimes_pool_new(pool, losses, sizeof(double), &rc, err);
    job->next_logit = otimes_pool_new(pool, losses, sizeof(float), &rc, err);
    job->next = otimes_pool_new(pool, losses, sizeof *job->next, &rc, err);
    job->clean_loss_at = otimes_pool_new(pool, g->loss_count, sizeof(double), &rc, err);
    job->loss_at = otimes_pool_new(pool, losses, sizeof(double), &rc, err);
    job->clean_logit_at = otimes_pool_new(pool, g->logit_count, sizeof(double), &rc, err);
    job->logit_at =
        otimes_pool_new(pool, job->chunk_slots * g->logit_count, sizeof(double), &rc, err);
    job->change =
        otimes_pool_new(pool, job->chunk_slots * job->texts.longest, sizeof(float), &rc, err);
    job->loss_clean = otimes_pool_new(pool, g->texts, sizeof(double), &rc, err);
    job->logit_clean = otimes_pool_new(pool, g->texts, sizeof(double), &rc, err);
    job->loss = otimes_pool_new(pool, results, sizeof(double), &rc, err);
    job->logit = otimes_pool_new(pool, results, sizeof(double), &rc, err);
    return rc;
}

void otimes_ablate_free_group(ablate_job *job)
{
    otimes_batch_free(&job->group.clean);
    otimes_batch_free(&job->group.all);
    otimes_pool_free(&job->group.pool);
    otimes_pool_free(&job->work);
}

int otimes_ablate_next_group(ablate_job *job, int64_t *next, otimes_err *err)
{
    int rc = collect(job, next, err);
    if (rc != OTIMES_OK || job->group.texts == 0) {
        return rc;
    }
    rc = make_batches(job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_ablate_choose_rows(job, err);
    }
    return rc == OTIMES_OK ? make_buffers(job, err) : rc;
}
