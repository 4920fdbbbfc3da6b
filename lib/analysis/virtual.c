/* SPDX-License-Identifier: MIT */
#include <otimes/virtual.h>

#include <math.h>
#include <string.h>

#include "analysis/virtual_job.h"
#include "base/index.h"
#include "base/par.h"
#include "base/sink.h"
#include "model/model.h"
#include "run/circuit.h"

void otimes_virtual_settings_default(otimes_virtual_settings *settings)
{
    *settings = (otimes_virtual_settings){
        .length = 2, .top = 10, .budget = 2000000, .vocab = 1, .entries = 5};
}

/* Place of an index in an ascending list, or -1. */
static int64_t place_of(const int64_t *list, int64_t count, int64_t index)
{
    for (int64_t i = 0; i < count; i++) {
        if (list[i] == index) {
            return i;
        }
    }
    return -1;
}

/* ---- the request ---- */

static int check_chain(const virtual_job *job, int64_t at, otimes_err *err)
{
    const otimes_virtual_chain *chain = &job->settings->chains[at];
    if (chain->length < 2) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "chain %lld: expected at least 2 heads, got %lld", (long long)at,
                           (long long)chain->length);
    }
    for (int64_t k = 0; k < chain->length; k++) {
        const otimes_virtual_link *link = &chain->link[k];
        if (place_of(job->layers, job->layer_count, link->layer) < 0 ||
            place_of(job->heads, job->head_count, link->head) < 0) {
            return otimes_fail(
                err, OTIMES_ERR_ARGUMENT,
                "chain %lld: head %lld.%lld: expected one of the chosen heads of %lld "
                "layers of %lld",
                (long long)at, (long long)link->layer, (long long)link->head,
                (long long)job->info->n_layers, (long long)job->info->n_heads);
        }
        if (k > 0 && link->layer <= link[-1].layer) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "chain %lld: expected ascending layers, got %lld after %lld",
                               (long long)at, (long long)link->layer, (long long)link[-1].layer);
        }
    }
    return OTIMES_OK;
}

static int check_settings(const virtual_job *job, otimes_err *err)
{
    const otimes_virtual_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    const int64_t vocab = info->d_vocab < info->d_vocab_out ? info->d_vocab : info->d_vocab_out;
    int rc = otimes_index_check("layers", s->layers, s->layer_count, info->n_layers, err);
    if (rc == OTIMES_OK) {
        rc = otimes_index_check("heads", s->heads, s->head_count, info->n_heads, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_index_check("tokens", s->tokens, s->token_count, vocab, err);
    }
    if (rc == OTIMES_OK && job->layer_count < 2) {
        rc = otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                         "%s: virtual heads: expected at least 2 layers, got %lld", info->path,
                         (long long)job->layer_count);
    }
    if (rc == OTIMES_OK && (s->length < 2 || s->length > job->layer_count)) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "length: expected 2 to %lld heads, got %lld",
                         (long long)job->layer_count, (long long)s->length);
    }
    if (rc == OTIMES_OK && (s->top < 0 || s->entries < 0 || s->budget < 0 || s->chain_count < 0)) {
        rc = otimes_fail(
            err, OTIMES_ERR_ARGUMENT,
            "top, entries, budget, chains: expected at least 0, got %lld, %lld, %lld, %lld",
            (long long)s->top, (long long)s->entries, (long long)s->budget,
            (long long)s->chain_count);
    }
    return rc;
}

static int begin(virtual_job *job, otimes_err *err)
{
    const otimes_virtual_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    const size_t size = sizeof(double);
    job->layer_count = s->layers ? s->layer_count : info->n_layers;
    job->head_count = s->heads ? s->head_count : info->n_heads;
    job->nodes = job->layer_count * job->head_count;
    job->rank = info->d_head < info->d_model ? info->d_head : info->d_model;
    job->length = s->chain_count > 0 ? 2 : s->length;
    job->dimension = (double)otimes_link_dimension(info);
    int rc = check_settings(job, err);
    job->layers = otimes_index_chosen(&job->pool, s->layers, job->layer_count, &rc, err);
    job->heads = otimes_index_chosen(&job->pool, s->heads, job->head_count, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < s->chain_count; i++) {
        rc = check_chain(job, i, err);
    }
    const int64_t vectors = job->nodes * job->rank;
    job->read = otimes_pool_new(&job->pool, vectors * info->d_model, size, &rc, err);
    job->write = otimes_pool_new(&job->pool, vectors * info->d_model, size, &rc, err);
    job->sigma = otimes_pool_new(&job->pool, vectors, size, &rc, err);
    job->norm = otimes_pool_new(&job->pool, job->nodes, size, &rc, err);
    job->unit = otimes_pool_new(&job->pool, job->nodes, size, &rc, err);
    job->list = otimes_pool_new(&job->pool, job->length + 1, sizeof *job->list, &rc, err);
    job->census = otimes_pool_new(&job->pool, job->length + 1, sizeof *job->census, &rc, err);
    for (int64_t n = 0; rc == OTIMES_OK && n <= job->length; n++) {
        job->list[n] = (virtual_list){.length = n, .capacity = s->chain_count > 0 ? 0 : s->top};
    }
    return rc;
}

/* ---- heads ---- */

typedef struct layer_work {
    virtual_job *job;
    const otimes_layer *layer;
    int64_t layer_at;
} layer_work;

/* W_OV = U S Y^T of one head. */
static int factorise_head(void *context, int64_t head_at, int worker, otimes_err *err)
{
    const layer_work *work = context;
    virtual_job *job = work->job;
    const int64_t head = job->heads[head_at], node = work->layer_at * job->head_count + head_at;
    const int64_t r = job->rank, d = job->info->d_model;
    otimes_side value = {0}, output = {0};
    int rc = otimes_value_side(work->layer, head / (job->info->n_heads / job->info->n_kv_heads),
                               &value, err);
    (void)worker;
    if (rc == OTIMES_OK) {
        rc = otimes_side_factorise(&value, true, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_output_side(work->layer, head, &output, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_side_factorise(&output, true, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_factored_svd((otimes_factored){&value, &output}, job->sigma + node * r, r,
                                 job->read + node * r * d, job->write + node * r * d, err);
    }
    if (rc == OTIMES_OK) {
        job->norm[node] = otimes_norm_of_singular_values(job->sigma + node * r, r);
        job->unit[node] = job->settings->order == OTIMES_VIRTUAL_BY_RATIO && job->norm[node] > 0
                              ? job->norm[node]
                              : 1;
    }
    otimes_side_free(&value);
    otimes_side_free(&output);
    return rc;
}

static int read_heads(virtual_job *job, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < job->layer_count; at++) {
        otimes_layer layer;
        layer_work work = {job, &layer, at};
        rc = otimes_layer_load(job->model, job->layers[at], OTIMES_PART_V | OTIMES_PART_O, &layer,
                               err);
        if (rc == OTIMES_OK) {
            rc = otimes_par_for(job->head_count, job->model->threads, factorise_head, &work, err);
        }
        otimes_layer_free(&layer);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(job->sink, (double)at / (double)job->layer_count, 4, err);
        }
    }
    return rc;
}

/* ---- which chains are looked at closely ---- */

static int new_chains(virtual_job *job, otimes_err *err)
{
    int rc = OTIMES_OK;
    job->chain =
        otimes_pool_new(&job->pool, job->chains * job->longest, sizeof *job->chain, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->chains * job->longest; i++) {
        job->chain[i] = -1;
    }
    return rc;
}

static int take_chosen(virtual_job *job, otimes_err *err)
{
    const otimes_virtual_settings *s = job->settings;
    job->chains = s->chain_count;
    job->longest = 2;
    for (int64_t i = 0; i < s->chain_count; i++) {
        job->longest = s->chains[i].length > job->longest ? s->chains[i].length : job->longest;
    }
    const int rc = new_chains(job, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < s->chain_count; i++) {
        for (int64_t k = 0; k < s->chains[i].length; k++) {
            const otimes_virtual_link *link = &s->chains[i].link[k];
            job->chain[i * job->longest + k] =
                (int32_t)(place_of(job->layers, job->layer_count, link->layer) * job->head_count +
                          place_of(job->heads, job->head_count, link->head));
        }
    }
    return rc;
}

static int take_strongest(virtual_job *job, otimes_err *err)
{
    int64_t at = 0;
    job->longest = job->length;
    for (int64_t n = 2; n <= job->length; n++) {
        job->chains += job->list[n].count;
    }
    const int rc = new_chains(job, err);
    for (int64_t n = 2; rc == OTIMES_OK && n <= job->length; n++) {
        for (int64_t i = 0; i < job->list[n].count; i++) {
            memcpy(job->chain + at++ * job->longest, job->list[n].node + i * n,
                   (size_t)n * sizeof *job->chain);
        }
    }
    return rc;
}

static int find_chains(virtual_job *job, otimes_err *err)
{
    int rc = otimes_virtual_search(job, err);
    if (rc == OTIMES_OK) {
        rc = job->settings->chain_count > 0 ? take_chosen(job, err) : take_strongest(job, err);
    }
    return rc;
}

static void free_job(virtual_job *job)
{
    for (int64_t n = 0; job->list && n <= job->length; n++) {
        otimes_virtual_list_free(&job->list[n]);
    }
    otimes_vocab_forms_free(&job->forms);
    otimes_unembed_free(&job->unembed);
    otimes_pool_free(&job->pool);
}

int otimes_virtual(const otimes_model *model, const otimes_virtual_settings *settings,
                   otimes_sink *sink, otimes_err *err)
{
    otimes_virtual_settings defaults;
    otimes_virtual_settings_default(&defaults);
    virtual_job job = {.model = model,
                       .info = otimes_model_describe(model),
                       .settings = settings ? settings : &defaults,
                       .sink = sink};
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_attributes(model, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_heads(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_virtual_links(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = find_chains(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_virtual_measure(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_virtual_write(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_progress(sink, 4, 4, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    free_job(&job);
    return rc;
}
