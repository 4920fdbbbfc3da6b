/* SPDX-License-Identifier: MIT */
#include <otimes/compose.h>

#include <stdlib.h>
#include <string.h>

#include "analysis/compose_job.h"
#include "base/index.h"
#include "base/sink.h"
#include "model/model.h"
#include "run/circuit.h"
#include "run/rope.h"

static const int64_t default_memory = INT64_C(7) << 30;

void otimes_compose_settings_default(otimes_compose_settings *settings)
{
    *settings = (otimes_compose_settings){0};
}

/* ---- the request ---- */

static int check_set(const compose_job *job, int64_t at, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    const otimes_compose_set *set = &job->settings->sets[at];
    const int64_t group = info->n_heads / info->n_kv_heads;
    if (set->layer < 0 || set->layer >= info->n_layers || set->count < 1 || !set->heads) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "set %lld: expected heads of one of %lld layers, got layer %lld",
                           (long long)at, (long long)info->n_layers, (long long)set->layer);
    }
    const int rc = otimes_index_check("set", set->heads, set->count, info->n_heads, err);
    for (int64_t i = 1; rc == OTIMES_OK && group > 1 && i < set->count; i++) {
        if (set->heads[i] / group != set->heads[0] / group) {
            return otimes_fail(
                err, OTIMES_ERR_ARGUMENT,
                "set %lld: heads %lld and %lld of layer %lld: expected heads that share a "
                "key/value head, got %lld and %lld",
                (long long)at, (long long)set->heads[0], (long long)set->heads[i],
                (long long)set->layer, (long long)(set->heads[0] / group),
                (long long)(set->heads[i] / group));
        }
    }
    return rc;
}

static int check_sets(const compose_job *job, otimes_err *err)
{
    const otimes_compose_set *sets = job->settings->sets;
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < job->settings->set_count; i++) {
        rc = check_set(job, i, err);
        for (int64_t j = 0; rc == OTIMES_OK && j < i; j++) {
            if (sets[i].layer == sets[j].layer && sets[i].count == sets[j].count &&
                !memcmp(sets[i].heads, sets[j].heads,
                        (size_t)sets[i].count * sizeof *sets[i].heads)) {
                char name[COMPOSE_NAME];
                otimes_compose_set_name(&sets[i], name);
                rc = otimes_fail(err, OTIMES_ERR_ARGUMENT,
                                 "set %lld: expected each set once, got %.200s again", (long long)i,
                                 name);
            }
        }
    }
    return rc;
}

static int check_settings(const compose_job *job, otimes_err *err)
{
    const otimes_compose_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    int rc = otimes_index_check("layers", s->layers, s->layer_count, info->n_layers, err);
    if (rc == OTIMES_OK) {
        rc = otimes_index_check("heads", s->heads, s->head_count, info->n_heads, err);
    }
    const int64_t least = s->ends ? 1 : 2;
    if (rc == OTIMES_OK && job->layer_count < least) {
        rc = otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                         "%s: composition of heads: expected at least %lld layer%s, got %lld",
                         info->path, (long long)least, least > 1 ? "s" : "",
                         (long long)job->layer_count);
    }
    if (rc == OTIMES_OK && s->offsets && info->positions != OTIMES_POSITIONS_ROPE) {
        rc = otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                         "%s: offsets: expected rotary positions, got %s", info->path,
                         otimes_positions_name(info->positions));
    }
    if (rc == OTIMES_OK && s->offsets) {
        rc = s->offset_count < 1
                 ? otimes_fail(err, OTIMES_ERR_ARGUMENT, "offsets: expected a list of them")
                 : otimes_rope_check(job->model, err);
    }
    if (rc == OTIMES_OK && (s->components < 0 || s->components > info->d_head)) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "components: expected 0 to %lld, got %lld",
                         (long long)info->d_head, (long long)s->components);
    }
    if (rc == OTIMES_OK && s->memory < 0) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "memory: expected at least 0 bytes, got %lld",
                         (long long)s->memory);
    }
    return rc == OTIMES_OK ? check_sets(job, err) : rc;
}

/* Layers of a panel: all, or as many as let two panels fit beside the parts. */
static int plan_panels(compose_job *job, otimes_err *err)
{
    const int64_t memory = job->settings->memory > 0 ? job->settings->memory : default_memory;
    const int64_t layer = otimes_compose_layer_bytes(job), parts = otimes_compose_parts_bytes(job);
    int64_t fit = memory > parts ? (memory - parts) / layer : 0;
    if (fit < job->layer_count) {
        fit /= 2;
    }
    if (fit < 1) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "memory: expected at least %lld bytes, for two layers of %s%s, got %lld",
                           (long long)(parts + 2 * layer), job->info->path,
                           parts > 0 ? " and the ends of its stream" : "", (long long)memory);
    }
    job->panel_layers = fit < job->layer_count ? fit : job->layer_count;
    job->panels = (job->layer_count + job->panel_layers - 1) / job->panel_layers;
    return OTIMES_OK;
}

static int begin(compose_job *job, otimes_err *err)
{
    const otimes_compose_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    job->layer_count = s->layers ? s->layer_count : info->n_layers;
    job->head_count = s->heads ? s->head_count : info->n_heads;
    job->dimension = otimes_link_dimension(info);
    job->centred = job->dimension < info->d_model;
    int rc = check_settings(job, err);
    job->layers = otimes_index_chosen(&job->pool, s->layers, job->layer_count, &rc, err);
    job->heads = otimes_index_chosen(&job->pool, s->heads, job->head_count, &rc, err);
    return rc == OTIMES_OK ? plan_panels(job, err) : rc;
}

/* ---- pairs of panels ---- */

static int tick(void *context, double share, otimes_err *err)
{
    const compose_job *job = context;
    return otimes_sink_progress(job->sink, job->share_before + job->share_each * share, 1, err);
}

/* Copies of ends, then of the parts' one behind the other. */
static void take(otimes_link_end *out, const otimes_link_end *ends, int64_t count,
                 const compose_part *part, int64_t parts, bool writers)
{
    memcpy(out, ends, (size_t)count * sizeof *out);
    for (int64_t i = 0; i < parts; i++) {
        out[count + i] = writers ? part[i].writer : part[i].reader;
    }
}

static int link_panels(compose_job *job, const compose_panel *from, const compose_panel *to,
                       otimes_err *err)
{
    const bool whole = from == to;
    const int64_t heads = job->head_count, froms = whole ? job->froms : 0;
    const int64_t tos = whole ? job->tos : 0;
    const int64_t own = from->count * heads;
    const int64_t read = to->count * heads * (COMPOSE_CIRCUITS + 2 * job->settings->offset_count);
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    otimes_link_end *writer = otimes_pool_new(&pool, own + froms, sizeof *writer, &rc, err);
    otimes_link_end *reader = otimes_pool_new(&pool, read + tos, sizeof *reader, &rc, err);
    double *square = otimes_pool_new(&pool, (own + froms) * (read + tos), sizeof *square, &rc, err);
    if (rc == OTIMES_OK) {
        take(writer, from->writer, own, job->from, froms, true);
        take(reader, to->reader, read, job->to, tos, false);
        const otimes_links links = {
            .d_model = job->info->d_model,
            .centred = job->centred,
            .writer = writer,
            .reader = reader,
            .writers = own + froms,
            .readers = read + tos,
            .route = (otimes_link_route)job->settings->route,
            .threads = job->model->threads,
            .tick = tick,
            .context = job,
        };
        rc = otimes_links_compute(&links, square, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_compose_put(job, from, to, square, read + tos, err);
    }
    otimes_pool_free(&pool);
    return rc;
}

static int one_pair(compose_job *job, int64_t p, const compose_panel *to, otimes_err *err)
{
    const int64_t first = p * job->panel_layers;
    compose_panel loaded = {.first = first, .count = job->panel_layers};
    const compose_panel *from = to;
    int rc = OTIMES_OK;
    if (first != to->first) {
        if (otimes_compose_has(job, &loaded, to)) {
            return OTIMES_OK;
        }
        rc = otimes_compose_panel_load(job, first, job->panel_layers, &loaded, err);
        from = &loaded;
    }
    if (rc == OTIMES_OK) {
        rc = link_panels(job, from, to, err);
    }
    otimes_compose_panel_free(&loaded);
    return rc;
}

/* What is not of a pair comes first, and the panel with itself last: where its score is there, all of
 * the panel is. */
static int one_panel(compose_job *job, int64_t q, otimes_err *err)
{
    const int64_t first = q * job->panel_layers, left = job->layer_count - first;
    compose_panel to = {.first = first,
                        .count = left < job->panel_layers ? left : job->panel_layers};
    if (otimes_compose_has(job, &to, &to)) {
        return OTIMES_OK;
    }
    int rc = otimes_compose_panel_load(job, first, to.count, &to, err);
    if (rc == OTIMES_OK) {
        rc = otimes_compose_put_panel(job, &to, err);
    }
    for (int64_t p = 0; rc == OTIMES_OK && p <= q; p++) {
        const int64_t before = q * (q + 1) / 2 + p;
        job->share_before = job->share_each * (double)before;
        rc = one_pair(job, p, &to, err);
    }
    otimes_compose_panel_free(&to);
    return rc;
}

int otimes_compose(const otimes_model *model, const otimes_compose_settings *settings,
                   otimes_sink *sink, otimes_err *err)
{
    otimes_compose_settings defaults;
    otimes_compose_settings_default(&defaults);
    compose_job job = {.model = model,
                       .info = otimes_model_describe(model),
                       .settings = settings ? settings : &defaults,
                       .sink = sink};
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_attributes(model, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_compose_parts(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_compose_begin(&job, err);
    }
    job.share_each = 2.0 / (double)(job.panels * (job.panels + 1));
    for (int64_t q = 0; rc == OTIMES_OK && q < job.panels; q++) {
        rc = one_panel(&job, q, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_progress(sink, 1, 1, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_pool_free(&job.pool);
    return rc;
}
