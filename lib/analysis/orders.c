/* SPDX-License-Identifier: MIT
 *
 * Texts one at a time: a pass made linear, the streams of its paths by order and by layer, and the
 * loss of the logits that each of them gives.
 */
#include <otimes/orders.h>

#include <math.h>
#include <string.h>

#include "analysis/orders_job.h"
#include "base/sink.h"
#include "model/model.h"
#include "run/order_streams.h"
#include "run/pass.h"
#include "run/readout.h"

void otimes_orders_settings_default(otimes_orders_settings *settings)
{
    *settings = (otimes_orders_settings){.shares = 1};
    otimes_forward_settings_default(&settings->forward);
}

/* Tokens of a text that are predicted from position `first` on. */
static int64_t measured(const orders_job *job, int64_t text)
{
    const int64_t count = job->settings->sequences.length[text] - 1 - job->settings->first;
    return count > 0 ? count : 0;
}

static int check_settings(const orders_job *job, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    if (info->d_vocab != info->d_vocab_out) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: orders: expected one vocabulary, whose next token has a loss, got "
                           "%lld input and %lld output tokens",
                           info->path, (long long)info->d_vocab, (long long)info->d_vocab_out);
    }
    if (job->settings->first < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "first: expected at least 0, got %lld",
                           (long long)job->settings->first);
    }
    return OTIMES_OK;
}

/* ---- room ---- */

static int64_t partials_of(const otimes_model_info *info, bool shares)
{
    return info->n_layers + 1 + (shares ? 2 * info->n_layers : 0) + 1;
}

/* Streams of a text: the orders', and two families by layer. */
static int64_t streams_of(const otimes_model_info *info, bool shares)
{
    return (shares ? 3 : 1) * (info->n_layers + 1);
}

static bool takes_shares(const otimes_orders_settings *settings, const otimes_model_info *info)
{
    return settings->shares && info->n_layers > 0;
}

static otimes_mlp_role role_of(const otimes_orders_settings *settings)
{
    return settings->mlp_links ? OTIMES_MLP_AS_LINK : OTIMES_MLP_AS_SOURCE;
}

/* Sums in double, which hold what int64_t might not. */
int64_t otimes_orders_bytes(const otimes_model *model, const otimes_orders_settings *settings)
{
    const otimes_model_info *info = &model->info;
    const otimes_sequences *all = &settings->sequences;
    const bool shares = takes_shares(settings, info);
    const int64_t partials = partials_of(info, shares);
    otimes_forward_plan plan;
    int64_t n = 1;
    for (int64_t t = 0; t < all->count; t++) {
        n = all->length[t] > n ? all->length[t] : n;
    }
    otimes_forward_plan_of(model, &settings->forward, n, n, &plan);
    const double rows = (double)n * (double)(streams_of(info, shares) + partials);
    double bytes = (double)plan.total + 4 * rows * (double)info->d_model;
    bytes += 20 * (double)n * (double)partials;
    bytes += (double)otimes_linear_bytes(model, n, role_of(settings), 0);
    bytes += (double)otimes_orders_layers_bytes(model, n);
    bytes += (double)otimes_readout_bytes(model, settings->forward.resident, n * partials);
    bytes += settings->full ? 4 * (double)n * (double)(info->n_layers + 1) : 0;
    return bytes < 0x1p62 ? (int64_t)bytes : INT64_MAX;
}

static int check_memory(const orders_job *job, otimes_err *err)
{
    const int64_t limit = job->settings->forward.memory;
    const int64_t bytes = limit ? otimes_orders_bytes(job->model, job->settings) : 0;
    return bytes <= limit
               ? OTIMES_OK
               : otimes_fail(err, OTIMES_ERR_ARGUMENT,
                             "memory: expected at least %lld bytes for a text of %lld "
                             "tokens, got %lld",
                             (long long)bytes, (long long)job->texts.longest, (long long)limit);
}

static int new_buffers(orders_job *job, otimes_err *err)
{
    const int64_t n = job->texts.longest, layers = job->info->n_layers, orders = layers + 1;
    const int64_t size = n * job->info->d_model;
    const int64_t families = job->shares ? orders : 0, places = job->partials * n;
    orders_results *r = &job->results;
    otimes_pool *pool = &job->pool;
    int rc = check_memory(job, err);
    job->order = otimes_pool_new(pool, orders * size, sizeof(float), &rc, err);
    job->only = otimes_pool_new(pool, families * size, sizeof(float), &rc, err);
    job->without = otimes_pool_new(pool, families * size, sizeof(float), &rc, err);
    job->normal = otimes_pool_new(pool, job->partials * size, sizeof(float), &rc, err);
    job->target = otimes_pool_new(pool, places, sizeof *job->target, &rc, err);
    job->target_logit = otimes_pool_new(pool, places, sizeof(float), &rc, err);
    job->logsumexp = otimes_pool_new(pool, places, sizeof(double), &rc, err);
    job->mean = otimes_pool_new(pool, job->partials, sizeof(double), &rc, err);
    r->loss = otimes_pool_new(pool, orders, sizeof(double), &rc, err);
    r->gain = otimes_pool_new(pool, orders, sizeof(double), &rc, err);
    r->only = otimes_pool_new(pool, layers, sizeof(double), &rc, err);
    r->without = otimes_pool_new(pool, layers, sizeof(double), &rc, err);
    r->marginal = otimes_pool_new(pool, layers, sizeof(double), &rc, err);
    r->conditional = otimes_pool_new(pool, layers, sizeof(double), &rc, err);
    r->token = otimes_pool_new(pool, job->settings->full ? orders * n : 0, sizeof(float), &rc, err);
    return rc;
}

/* ---- one text ---- */

/* Paths of exactly k heads become those of at most k. */
static void accumulate(int64_t orders, int64_t size, float *streams)
{
    for (int64_t i = size; i < orders * size; i++) {
        streams[i] += streams[i - size];
    }
}

static int make_streams(orders_job *job, otimes_linear *linear, otimes_err *err)
{
    const int64_t layers = job->info->n_layers;
    int rc = otimes_order_streams(linear, layers, NULL, job->order, err);
    if (rc == OTIMES_OK) {
        accumulate(layers + 1, linear->n * job->info->d_model, job->order);
    }
    if (rc == OTIMES_OK && job->shares) {
        rc = otimes_orders_layers(linear, job->only, job->without, err);
    }
    return rc;
}

/* Partial stream i, in the order of job->mean: the orders, each layer alone, all but each layer,
 * the pass itself. */
static float *partial(const orders_job *job, const otimes_linear *linear, int64_t i)
{
    const int64_t layers = job->info->n_layers, size = linear->n * job->info->d_model;
    if (i == job->partials - 1) {
        return linear->stream;
    }
    if (i <= layers) {
        return job->order + i * size;
    }
    const int64_t l = i - layers - 1;
    return l < layers ? job->only + (l + 1) * size : job->without + (l - layers + 1) * size;
}

/* The measured rows of all partial streams behind the final norm, and what comes next there. */
static void take_rows(orders_job *job, const otimes_linear *linear, int64_t text, int64_t rows)
{
    const int64_t d = job->info->d_model, first = job->settings->first;
    const int64_t *id = job->settings->sequences.id[text];
    for (int64_t i = 0; i < job->partials; i++) {
        float *stream = partial(job, linear, i);
        if (job->settings->recompute_norm || i == job->partials - 1) {
            otimes_final_norm(job->model, &job->layers.unembed, linear->n, stream, stream, NULL);
        } else {
            otimes_linear_final(linear, 1, 0, stream, stream);
        }
        memcpy(job->normal + i * rows * d, stream + first * d,
               (size_t)(rows * d) * sizeof *job->normal);
        memcpy(job->target + i * rows, id + first + 1, (size_t)rows * sizeof *id);
    }
}

static double loss_at(const orders_job *job, int64_t at)
{
    return job->logsumexp[at] - (double)job->target_logit[at];
}

static int read_losses(orders_job *job, int64_t rows, otimes_err *err)
{
    const otimes_readout readout = {
        .logsumexp = job->logsumexp, .target = job->target, .target_logit = job->target_logit};
    const int rc =
        otimes_readout_run(&job->layers, job->partials * rows, job->normal, &readout, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->partials; i++) {
        double sum = 0;
        for (int64_t k = i * rows; k < (i + 1) * rows; k++) {
            sum += loss_at(job, k);
        }
        job->mean[i] = sum / (double)rows;
    }
    return rc;
}

static void take_results(orders_job *job, int64_t rows)
{
    const int64_t layers = job->info->n_layers, n = job->texts.longest;
    const double *loss = job->mean, *only = loss + layers + 1, *without = only + layers;
    orders_results *r = &job->results;
    r->predicted = rows;
    r->model = job->mean[job->partials - 1];
    for (int64_t k = 0; k <= layers; k++) {
        r->loss[k] = loss[k];
        r->gain[k] = (k ? loss[k - 1] : log((double)job->info->d_vocab_out)) - loss[k];
    }
    for (int64_t l = 0; job->shares && l < layers; l++) {
        r->only[l] = only[l];
        r->without[l] = without[l];
        r->marginal[l] = loss[0] - only[l];
        r->conditional[l] = without[l] - loss[layers];
    }
    for (int64_t k = 0; job->settings->full && k <= layers; k++) {
        float *row = r->token + k * n;
        for (int64_t p = 0; p < n; p++) {
            const int64_t at = p - job->settings->first;
            row[p] = at >= 0 && at < rows ? (float)loss_at(job, k * rows + at) : NAN;
        }
    }
}

static int run_text(orders_job *job, int64_t text, otimes_err *err)
{
    const otimes_sequences one = otimes_texts_slice(&job->texts, text, 1);
    const int64_t rows = measured(job, text);
    otimes_linear linear = {0};
    int rc = OTIMES_OK;
    if (rows > 0) {
        rc = otimes_linear_init(&linear, &job->layers, &one, role_of(job->settings), 0, NULL, err);
        if (rc == OTIMES_OK) {
            rc = make_streams(job, &linear, err);
        }
        if (rc == OTIMES_OK) {
            take_rows(job, &linear, text, rows);
            rc = read_losses(job, rows, err);
        }
    } else {
        for (int64_t i = 0; i < job->partials; i++) {
            job->mean[i] = NAN;
        }
    }
    if (rc == OTIMES_OK) {
        take_results(job, rows);
    }
    otimes_linear_free(&linear);
    return rc;
}

/* ---- all texts ---- */

/* Beats of a text, roughly: of the pass and what it records, of both sweeps, of its losses. */
static double beats_of(const orders_job *job, int64_t text)
{
    enum { GROUP_ROWS = 1024, SLAB = 2048 };
    const double layers = (double)job->info->n_layers, rows = (double)measured(job, text);
    const double groups = (layers + 1) / 2 * (double)job->settings->sequences.length[text];
    const double sweeps = layers * (1 + groups / GROUP_ROWS) * (job->shares ? 2 : 1);
    const double slabs = 1 + (double)job->partials * rows / SLAB;
    return 3 * layers + sweeps + slabs * (1 + (double)job->info->d_vocab_out / SLAB);
}

static int run_all(orders_job *job, const orders_writer *writer, otimes_err *err)
{
    const otimes_sequences *all = &job->settings->sequences;
    double done = 0;
    int rc = OTIMES_OK;
    for (int64_t t = 0; rc == OTIMES_OK && t < all->count; t++) {
        if (!otimes_orders_is_done(writer, t)) {
            otimes_pulse_part(&job->pulse, done + (double)all->length[t], beats_of(job, t));
            rc = run_text(job, t, err);
            if (rc == OTIMES_OK) {
                rc = otimes_orders_write(writer, t, err);
            }
        }
        done += (double)all->length[t];
        if (rc == OTIMES_OK) {
            rc = otimes_pulse_say(&job->pulse, done, err);
        }
    }
    return rc;
}

static int begin(orders_job *job, otimes_err *err)
{
    int rc = check_settings(job, err);
    job->shares = takes_shares(job->settings, job->info);
    job->partials = partials_of(job->info, job->shares);
    if (rc == OTIMES_OK) {
        rc = otimes_texts_init(&job->texts, job->model, &job->settings->sequences, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_layers_open(&job->layers, job->model, &job->settings->forward, err);
        job->pulse.sink = job->sink;
        for (int64_t t = 0; t < job->settings->sequences.count; t++) {
            job->pulse.total += (double)job->settings->sequences.length[t];
        }
        job->layers.pulse = &job->pulse;
    }
    return rc == OTIMES_OK ? new_buffers(job, err) : rc;
}

int otimes_orders(const otimes_model *model, const otimes_orders_settings *settings,
                  otimes_sink *sink, otimes_err *err)
{
    orders_job job = {
        .model = model, .info = otimes_model_describe(model), .settings = settings, .sink = sink};
    orders_writer writer = {0};
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_orders_declare(&writer, &job, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_all(&job, &writer, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_layers_close(&job.layers);
    otimes_texts_free(&job.texts);
    otimes_pool_free(&job.pool);
    return rc;
}
