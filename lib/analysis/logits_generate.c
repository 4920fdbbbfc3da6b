/* SPDX-License-Identifier: MIT
 *
 * Texts continued token by token. Keys and values of what was read are kept, so that a step costs
 * one token of each text; texts at their end leave the batch.
 */
#include <math.h>
#include <string.h>

#include "analysis/logits_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"
#include "num/sample.h"
#include "run/forward.h"
#include "token/shown.h"

/* One batch as it grows. */
typedef struct growth {
    logits_job *job;
    const otimes_generate_settings *how;
    otimes_pass pass;
    otimes_kv kv;
    int64_t step;
    int64_t growing;     /* texts that are not at their end */
    int64_t *who;        /* [growing] which text of the batch a slot of the cache belongs to */
    int64_t *fed_length; /* [growing] */
    const int64_t **fed; /* [growing] tokens that are read at this step */
    float *normal;       /* [growing, d_model] */
    double *logsumexp;   /* [growing] */
    float *best_value;   /* [growing] */
    int32_t *best_id;    /* [growing] */
    float *logits;       /* [growing, d_vocab_out] where tokens are drawn */
    otimes_candidate *scratch; /* [workers, d_vocab_out] */
    int64_t *id;               /* [texts, steps] what came */
    float *log_prob;           /* [texts, steps] */
    int64_t *length;           /* [texts] */
} growth;

/* The arrays; alive until the sink is finished. */
typedef struct outputs {
    otimes_axis step;
    otimes_array id, log_prob, completion, length;
    int id_id, log_prob_id, completion_id, length_id;
} outputs;

/* ---- before it starts ---- */

static int check_lengths(const logits_job *job, otimes_err *err)
{
    const otimes_sequences *all = &job->settings->sequences;
    const int64_t steps = job->settings->generate.count, room = job->info->n_ctx;
    const bool table = job->info->positions == OTIMES_POSITIONS_LEARNED ||
                       job->info->positions == OTIMES_POSITIONS_SHORTFORMER;
    for (int64_t t = 0; table && t < all->count; t++) {
        if (steps - 1 > room - all->length[t]) { /* the last one is not read */
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "generate: text %lld: expected at most %lld tokens behind %lld "
                               "(n_ctx is %lld), got %lld",
                               (long long)t, (long long)(room - all->length[t] + 1),
                               (long long)all->length[t], (long long)room, (long long)steps);
        }
    }
    return OTIMES_OK;
}

static int check_generate(const logits_job *job, otimes_err *err)
{
    const otimes_generate_settings *g = &job->settings->generate;
    if (job->info->bidirectional || !job->next) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: generate: expected a model that reads forwards and whose output "
                           "tokens are its input tokens",
                           job->info->path);
    }
    if (g->count < 0 || g->count > INT32_MAX) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "generate: expected 0 to %d, got %lld",
                           INT32_MAX, (long long)g->count);
    }
    if (!(g->temperature >= 0) || !isfinite(g->temperature)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "temperature: expected at least 0, got %g",
                           g->temperature);
    }
    if (!(g->top_p > 0 && g->top_p <= 1)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "top_p: expected above 0 and at most 1, got %g", g->top_p);
    }
    if (g->top_k < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "top_k: expected at least 0, got %lld",
                           (long long)g->top_k);
    }
    return check_lengths(job, err);
}

/* Texts from `first` on whose cache has max_rows tokens, one at least. */
static int64_t batch_of(const logits_job *job, int64_t first, int64_t *rows, int64_t *capacity)
{
    const otimes_sequences *all = &job->settings->sequences;
    int64_t count = 0;
    *rows = *capacity = 0;
    for (int64_t t = first; t < all->count; t++, count++) {
        const int64_t end = all->length[t] + job->settings->generate.count;
        const int64_t longest = end > *capacity ? end : *capacity;
        if (count && (count + 1) > job->max_rows / longest) {
            break;
        }
        *rows += all->length[t];
        *capacity = longest;
    }
    return count;
}

static int check_memory(const logits_job *job, otimes_err *err)
{
    const otimes_model_info *m = job->info;
    const bool draws = job->settings->generate.temperature > 0;
    const int threads = otimes_par_workers(INT32_MAX, job->model->threads);
    int64_t rows, capacity;
    int rc = OTIMES_OK;
    for (int64_t first = 0, count; rc == OTIMES_OK && first < job->settings->sequences.count;
         first += count) {
        count = batch_of(job, first, &rows, &capacity);
        const double cache =
            8.0 * (double)(m->n_layers * m->n_kv_heads * m->d_head) * (double)(count * capacity);
        const double table =
            draws ? 4.0 * (double)m->d_vocab_out * (double)(count + 2 * threads) : 0;
        const double own = cache + table + 4.0 * (double)(count * (m->d_model + 3 * capacity));
        rc = otimes_forward_plan_check(job->model, &job->forward, rows, job->texts.longest,
                                       own < 0x1p62 ? (int64_t)own : INT64_MAX / 2, err);
    }
    return rc;
}

/* ---- one step ---- */

static int draw(void *context, int64_t slot, int worker, otimes_err *err)
{
    growth *g = context;
    const int64_t out = g->job->info->d_vocab_out;
    const float *row = g->logits + slot * out;
    const double uniform = otimes_uniform_of(
        g->how->seed, (uint64_t)(g->job->first_text + g->who[slot]), (uint64_t)g->step);
    (void)err;
    g->best_id[slot] = otimes_sample(row, out, g->how->temperature, g->how->top_k, g->how->top_p,
                                     uniform, g->scratch + worker * out);
    g->best_value[slot] = row[g->best_id[slot]];
    return OTIMES_OK;
}

/* One logit that is no number leaves nothing to choose by. */
static int check_logits(const growth *g, otimes_err *err)
{
    for (int64_t s = 0; s < g->growing; s++) {
        if (!isfinite(g->logsumexp[s])) {
            return otimes_fail(err, OTIMES_ERR_VALUE,
                               "%s: text %lld: token %lld of its continuation: expected logits "
                               "that float32 holds, got some beyond",
                               g->job->info->path, (long long)(g->job->first_text + g->who[s]),
                               (long long)g->step);
        }
    }
    return OTIMES_OK;
}

/* The next token of each growing text, from the last row that was read of it. */
static int choose(growth *g, const otimes_batch *batch, otimes_err *err)
{
    logits_job *job = g->job;
    const int64_t d = job->info->d_model;
    const bool draws = g->how->temperature > 0;
    const otimes_readout readout = {.logsumexp = g->logsumexp,
                                    .top = draws ? 0 : 1,
                                    .top_value = g->best_value,
                                    .top_id = g->best_id,
                                    .logits = draws ? g->logits : NULL};
    for (int64_t s = 0; s < g->growing; s++) {
        memcpy(g->normal + s * d, job->stream + (batch->start[s + 1] - 1) * d,
               (size_t)d * sizeof *g->normal);
    }
    otimes_final_norm(job->model, &job->layers.unembed, g->growing, g->normal, g->normal, NULL);
    int rc = otimes_readout_run(&job->layers, g->growing, g->normal, &readout, err);
    if (rc == OTIMES_OK) {
        rc = check_logits(g, err);
    }
    if (rc == OTIMES_OK && draws) {
        rc = otimes_par_for(g->growing, job->model->threads, draw, g, err);
    }
    for (int64_t s = 0; rc == OTIMES_OK && s < g->growing; s++) {
        const int64_t who = g->who[s], at = who * g->how->count + g->step;
        g->id[at] = g->best_id[s];
        g->log_prob[at] = (float)((double)g->best_value[s] - g->logsumexp[s]);
        g->length[who]++;
    }
    return rc;
}

/* The cache of one slot takes the place of another's. */
static void move_slot(growth *g, int64_t from, int64_t to)
{
    const otimes_model_info *m = g->job->info;
    const int64_t width = m->n_kv_heads * m->d_head, place = g->kv.capacity * width;
    const size_t bytes = (size_t)(g->kv.length[from] * width) * sizeof(float);
    for (int64_t l = 0; l < m->n_layers; l++) {
        memcpy(g->kv.k[l] + to * place, g->kv.k[l] + from * place, bytes);
        memcpy(g->kv.v[l] + to * place, g->kv.v[l] + from * place, bytes);
    }
    g->kv.length[to] = g->kv.length[from];
    g->who[to] = g->who[from];
}

/* Texts whose stop token has come leave; the rest read what came. */
static void go_on(growth *g)
{
    for (int64_t s = 0; s < g->growing;) {
        const int64_t *came = g->id + g->who[s] * g->how->count + g->step;
        if (*came == g->how->stop) {
            g->growing--;
            if (s < g->growing) {
                move_slot(g, g->growing, s);
            }
            continue;
        }
        g->fed[s] = came;
        g->fed_length[s++] = 1;
    }
    g->kv.count = g->growing;
    g->step++;
}

static int run_step(growth *g, otimes_err *err)
{
    const otimes_sequences fed = {g->growing, g->fed_length, g->fed};
    otimes_batch batch = {0};
    int rc = otimes_batch_init(&batch, g->job->model, &fed, g->kv.length, err);
    g->pass.batch = &batch;
    if (rc == OTIMES_OK) {
        rc = otimes_pass_embed(&g->pass, g->job->stream, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pass_layers(&g->pass, 0, g->job->info->n_layers, g->job->stream, err);
    }
    if (rc == OTIMES_OK) {
        otimes_kv_advance(&g->kv, &batch);
        rc = choose(g, &batch, err);
    }
    otimes_batch_free(&batch);
    return rc;
}

/* ---- a batch ---- */

static int new_growth(growth *g, int64_t rows, int64_t capacity, otimes_pool *pool, otimes_err *err)
{
    logits_job *job = g->job;
    const int64_t n = job->batch.count, steps = g->how->count, out = job->info->d_vocab_out;
    const bool draws = g->how->temperature > 0;
    const int workers = otimes_par_workers(n, job->model->threads);
    int rc = otimes_kv_init(&g->kv, job->model, n, capacity, err);
    job->stream = otimes_pool_new(pool, rows * job->info->d_model, sizeof(float), &rc, err);
    g->who = otimes_pool_new(pool, n, sizeof *g->who, &rc, err);
    g->fed_length = otimes_pool_new(pool, n, sizeof *g->fed_length, &rc, err);
    g->fed = otimes_pool_new(pool, n, sizeof *g->fed, &rc, err);
    g->normal = otimes_pool_new(pool, n * job->info->d_model, sizeof *g->normal, &rc, err);
    g->logsumexp = otimes_pool_new(pool, n, sizeof *g->logsumexp, &rc, err);
    g->best_value = otimes_pool_new(pool, n, sizeof *g->best_value, &rc, err);
    g->best_id = otimes_pool_new(pool, n, sizeof *g->best_id, &rc, err);
    g->logits = otimes_pool_new(pool, draws ? n * out : 0, sizeof *g->logits, &rc, err);
    g->scratch = otimes_pool_new(pool, draws ? workers * out : 0, sizeof *g->scratch, &rc, err);
    g->id = otimes_pool_new(pool, n * steps, sizeof *g->id, &rc, err);
    g->log_prob = otimes_pool_new(pool, n * steps, sizeof *g->log_prob, &rc, err);
    g->length = otimes_pool_new(pool, n, sizeof *g->length, &rc, err);
    for (int64_t s = 0; rc == OTIMES_OK && s < n; s++) {
        g->who[s] = s;
        g->fed[s] = job->batch.id[s];
        g->fed_length[s] = job->batch.length[s];
    }
    return rc;
}

/* The text and what follows it, decoded. */
static int write_completion(const growth *g, int64_t who, const outputs *o, otimes_err *err)
{
    const logits_job *job = g->job;
    const int64_t before = job->batch.length[who], after = g->length[who];
    int64_t *ids, bytes = 0;
    char *text = NULL;
    otimes_text shown = {0};
    int rc = OTIMES_NEW(&ids, before + after, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    memcpy(ids, job->batch.id[who], (size_t)before * sizeof *ids);
    memcpy(ids + before, g->id + who * g->how->count, (size_t)after * sizeof *ids);
    rc = otimes_decode(g->how->tokenizer, ids, before + after, 1, &text, &bytes, err);
    if (rc == OTIMES_OK) {
        rc = otimes_shown_add(&shown, text, bytes, err);
    }
    if (rc == OTIMES_OK) {
        const char *data = shown.data;
        rc = otimes_sink_slab(job->sink, &o->completion, o->completion_id, job->first_text + who, 1,
                              &data, err);
    }
    otimes_free(ids);
    otimes_text_release(&text);
    otimes_text_free(&shown);
    return rc;
}

/* The last array of a text is there only when all of it is. */
static int write_text(const growth *g, int64_t who, const outputs *o, otimes_err *err)
{
    otimes_sink *sink = g->job->sink;
    const int64_t text = g->job->first_text + who, at = who * g->how->count;
    const int64_t start[OTIMES_MAX_DIMS] = {text};
    const int64_t extent[OTIMES_MAX_DIMS] = {1, g->length[who]};
    int rc = sink->ops->write(sink, o->id_id, start, extent, g->id + at, err);
    if (rc == OTIMES_OK) {
        rc = sink->ops->write(sink, o->log_prob_id, start, extent, g->log_prob + at, err);
    }
    if (rc == OTIMES_OK && g->how->tokenizer) {
        rc = write_completion(g, who, o, err);
    }
    return rc == OTIMES_OK
               ? otimes_sink_slab(sink, &o->length, o->length_id, text, 1, &g->length[who], err)
               : rc;
}

/* `done` of all steps lie behind this batch. */
static int run_batch(logits_job *job, int64_t rows, int64_t capacity, int64_t done,
                     const outputs *o, otimes_err *err)
{
    const double steps = (double)job->settings->generate.count;
    otimes_pool pool = {0};
    growth g = {.job = job, .how = &job->settings->generate, .growing = job->batch.count};
    int rc = new_growth(&g, rows, capacity, &pool, err);
    if (rc == OTIMES_OK) {
        rc = otimes_pass_init(&g.pass, &job->layers, NULL, NULL, job->max_rows, err);
    }
    g.pass.kv = &g.kv;
    while (rc == OTIMES_OK && g.growing > 0 && g.step < g.how->count) {
        rc = run_step(&g, err);
        if (rc == OTIMES_OK) {
            go_on(&g);
            rc = otimes_pulse_say(&job->pulse,
                                  (double)done * steps + (double)(job->batch.count * g.step), err);
        }
    }
    for (int64_t who = 0; rc == OTIMES_OK && who < job->batch.count; who++) {
        rc = write_text(&g, who, o, err);
    }
    otimes_pass_free(&g.pass);
    otimes_kv_free(&g.kv);
    otimes_pool_free(&pool);
    job->stream = NULL;
    return rc;
}

/* ---- all of it ---- */

static int declare(outputs *o, const logits_job *job, otimes_err *err)
{
    const otimes_axis *text = &job->texts.text;
    const otimes_array all = {.ndim = 1, .axis = {text, &o->step}, .units = "1"};
    o->step =
        (otimes_axis){"step", job->settings->generate.count, NULL, NULL, "tokens as they came"};
    o->id = o->log_prob = o->completion = o->length = all;
    o->id.name = "generated_id";
    o->id.type = OTIMES_I64;
    o->id.ndim = o->log_prob.ndim = 2;
    o->id.long_name = "tokens that follow each text";
    o->id.formula = job->settings->generate.temperature > 0 ? "drawn from softmax(logits / T)"
                                                            : "argmax of logits";
    o->id.orientation = o->log_prob.orientation = "row = text, column = step";
    o->id.labels_of = "output_token";
    o->log_prob.name = "generated_log_prob";
    o->log_prob.type = OTIMES_F32;
    o->log_prob.long_name = "their log-probabilities, without temperature and choice";
    o->log_prob.units = "nat";
    o->log_prob.formula = "logit - logsumexp";
    o->completion.name = "completion";
    o->completion.type = OTIMES_TEXT;
    o->completion.long_name = "text and what follows it, special tokens left out";
    o->completion.formula = "decoded token_id and generated_id";
    o->completion.orientation = o->length.orientation = "one entry a text";
    o->length.name = "generated_length";
    o->length.type = OTIMES_I64;
    o->length.long_name = "how many tokens follow each text, a stop token counted";
    o->length.formula = "count";
    int rc = otimes_sink_declare(job->sink, &o->id, &o->id_id, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_declare(job->sink, &o->log_prob, &o->log_prob_id, err);
    }
    if (rc == OTIMES_OK && job->settings->generate.tokenizer) {
        rc = otimes_sink_declare(job->sink, &o->completion, &o->completion_id, err);
    }
    return rc == OTIMES_OK ? otimes_sink_declare(job->sink, &o->length, &o->length_id, err) : rc;
}

static int write_facts(logits_job *job, otimes_err *err)
{
    const otimes_generate_settings *g = &job->settings->generate;
    int rc = otimes_logits_facts(job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_sink_f64(job->sink, "temperature", g->temperature, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(job->sink, "top_k", g->top_k, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_f64(job->sink, "top_p", g->top_p, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_i64(job->sink, "seed", (int64_t)g->seed, err);
    }
    return rc == OTIMES_OK ? otimes_sink_i64(job->sink, "stop_token", g->stop, err) : rc;
}

static bool is_done(const logits_job *job, const outputs *o, int64_t text)
{
    const int64_t start[OTIMES_MAX_DIMS] = {text}, count[OTIMES_MAX_DIMS] = {1};
    return otimes_sink_has(job->sink, o->length_id, start, count);
}

static int run_all(logits_job *job, const outputs *o, otimes_err *err)
{
    const otimes_sequences *all = &job->settings->sequences;
    int64_t rows, capacity;
    int rc = OTIMES_OK;
    for (int64_t first = 0, count; rc == OTIMES_OK && first < all->count; first += count) {
        count = batch_of(job, first, &rows, &capacity);
        bool done = true;
        for (int64_t t = first; done && t < first + count; t++) {
            done = is_done(job, o, t);
        }
        job->first_text = first;
        job->batch = otimes_texts_slice(&job->texts, first, count);
        if (!done) {
            rc = run_batch(job, rows, capacity, first, o, err);
        }
    }
    if (rc == OTIMES_OK) { /* texts may have ended before */
        rc = otimes_pulse_say(&job->pulse, job->pulse.total, err);
    }
    return rc;
}

int otimes_logits_generate(logits_job *job, otimes_err *err)
{
    outputs o = {0};
    const char **labels = NULL;
    otimes_axis output_token;
    int rc = check_generate(job, err);
    if (rc == OTIMES_OK) {
        rc = check_memory(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_facts(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_logits_output_axis(job, &output_token, &labels, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare(&o, job, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_all(job, &o, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(job->sink, err);
    }
    otimes_free(labels);
    return rc;
}
