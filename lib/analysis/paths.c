/* SPDX-License-Identifier: MIT */
#include <otimes/paths.h>

#include <inttypes.h>

#include "analysis/paths_job.h"
#include "base/sink.h"
#include "model/model.h"
#include "run/order_streams.h"

enum { FEW_LAYERS = 4, LIMIT = 1000000 };

void otimes_paths_settings_default(otimes_paths_settings *settings)
{
    *settings = (otimes_paths_settings){.against = -1,
                                        .order = -1,
                                        .top = 1000,
                                        .limit = LIMIT,
                                        .subsets = -1,
                                        .carriers = 3,
                                        .flows = 1,
                                        .edges = 100};
    otimes_forward_settings_default(&settings->forward);
}

int64_t otimes_paths_position(const paths_job *job, int64_t text, int64_t i)
{
    const otimes_paths_settings *s = job->settings;
    const int64_t length = s->sequences.length[text];
    const int64_t last = s->whose == OTIMES_PATHS_NEXT ? -2 : -1;
    const int64_t asked = s->positions ? s->positions[i] : last;
    return asked < 0 ? asked + length : asked;
}

/* ---- what was asked for ---- */

static int check_token(const paths_job *job, const char *what, int64_t id, int64_t least,
                       otimes_err *err)
{
    const int64_t last = job->info->d_vocab_out - 1;
    return id < least || id > last
               ? otimes_fail(err, OTIMES_ERR_ARGUMENT,
                             "%s: expected an output token from 0 to %" PRId64 ", got %" PRId64,
                             what, last, id)
               : OTIMES_OK;
}

static int check_target(const paths_job *job, otimes_err *err)
{
    const otimes_paths_settings *s = job->settings;
    if (s->loss && s->whose == OTIMES_PATHS_PREDICTED) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "loss: expected a target or the token that follows, got the predicted "
                           "token");
    }
    if (s->loss && s->against >= 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "against: expected none with the loss, got token %" PRId64, s->against);
    }
    if (s->whose == OTIMES_PATHS_NEXT && job->info->d_vocab != job->info->d_vocab_out) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "%s: expected one vocabulary, as the target is the token that follows, "
                           "got %" PRId64 " input and %" PRId64 " output tokens",
                           job->info->path, job->info->d_vocab, job->info->d_vocab_out);
    }
    const int rc =
        s->whose == OTIMES_PATHS_GIVEN ? check_token(job, "target", s->target, 0, err) : OTIMES_OK;
    return rc == OTIMES_OK ? check_token(job, "against", s->against, -1, err) : rc;
}

static int check_number(const char *what, int64_t value, int64_t least, otimes_err *err)
{
    return value < least
               ? otimes_fail(err, OTIMES_ERR_ARGUMENT,
                             "%s: expected at least %" PRId64 ", got %" PRId64, what, least, value)
               : OTIMES_OK;
}

static int check_settings(const paths_job *job, otimes_err *err)
{
    const otimes_paths_settings *s = job->settings;
    const struct {
        const char *what;
        int64_t value, least;
    } list[] = {{"order", s->order, -1},     {"top", s->top, 0},
                {"limit", s->limit, 1},      {"budget", s->budget, 0},
                {"subsets", s->subsets, -1}, {"carriers", s->carriers, 0},
                {"edges", s->edges, 0},      {"memory", s->forward.memory, 0}};
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof list / sizeof *list; i++) {
        rc = check_number(list[i].what, list[i].value, list[i].least, err);
    }
    if (rc == OTIMES_OK && !(s->seconds >= 0)) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "seconds: expected at least 0, got %g",
                         s->seconds);
    }
    if (rc == OTIMES_OK && s->positions && s->position_count < 1) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "positions: expected at least one, got none");
    }
    return rc == OTIMES_OK ? check_target(job, err) : rc;
}

/* Which layers' heads are links. */
static int choose_layers(paths_job *job, otimes_err *err)
{
    const otimes_paths_settings *s = job->settings;
    const int64_t layers = job->info->n_layers;
    int rc = OTIMES_OK;
    if (s->layers) {
        job->allowed = otimes_pool_new(&job->pool, layers, sizeof *job->allowed, &rc, err);
    }
    job->ordinal = otimes_pool_new(&job->pool, layers, sizeof *job->ordinal, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && s->layers && i < s->layer_count; i++) {
        const int64_t l = s->layers[i];
        if (l < 0 || l >= layers) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "layers: expected 0 to %" PRId64 ", got %" PRId64, layers - 1, l);
        }
        job->allowed[l] = true;
    }
    for (int64_t l = 0; rc == OTIMES_OK && l < layers; l++) {
        job->ordinal[l] = !job->allowed || job->allowed[l] ? job->allowed_count++ : -1;
    }
    job->subsets = s->subsets >= 0                    ? s->subsets
                   : job->allowed_count <= FEW_LAYERS ? job->allowed_count
                                                      : 1;
    job->subsets = job->subsets < job->allowed_count ? job->subsets : job->allowed_count;
    const double sets = otimes_layer_sets_count(job->allowed_count, job->subsets);
    if (rc == OTIMES_OK && sets > LIMIT) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT,
                         "subsets: expected at most %d sets of layers, got %.0f sets of up to "
                         "%" PRId64,
                         LIMIT, sets, job->subsets);
    }
    job->sets = (int64_t)sets;
    return rc;
}

/* Positions of each text, which are its cases. */
static int choose_cases(paths_job *job, otimes_err *err)
{
    const otimes_paths_settings *s = job->settings;
    const int64_t texts = s->sequences.count, each = s->positions ? s->position_count : 1;
    int rc = OTIMES_OK;
    job->first_case = otimes_pool_new(&job->pool, texts + 1, sizeof *job->first_case, &rc, err);
    job->case_count = otimes_pool_new(&job->pool, texts, sizeof *job->case_count, &rc, err);
    for (int64_t t = 0; rc == OTIMES_OK && t < texts; t++) {
        const int64_t length = s->sequences.length[t];
        const int64_t last = length - (s->whose == OTIMES_PATHS_NEXT ? 2 : 1);
        for (int64_t i = 0; i < each; i++) {
            const int64_t at = otimes_paths_position(job, t, i);
            if (at < 0 || at > last) {
                return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                                   "text %" PRId64 ": position: expected one from 0 to %" PRId64
                                   "%s, got %" PRId64,
                                   t, last, last < length - 1 ? ", that a token follows" : "",
                                   s->positions ? s->positions[i] : at);
            }
        }
        job->case_count[t] = each;
        job->first_case[t + 1] = job->first_case[t] + each;
    }
    job->cases = rc == OTIMES_OK ? job->first_case[texts] : 0;
    return rc;
}

/* Sources that a text may have at most: both embeddings, and two of each layer. */
static int64_t most_sources(const paths_job *job)
{
    return 2 + 2 * job->info->n_layers;
}

/* Before anything runs: each text must fit. */
static int check_memory(const paths_job *job, otimes_err *err)
{
    const otimes_paths_settings *s = job->settings;
    const otimes_mlp_role role = s->mlp ? OTIMES_MLP_AS_LINK : OTIMES_MLP_AS_SOURCE;
    for (int64_t t = 0; s->forward.memory > 0 && t < s->sequences.count; t++) {
        const int64_t n = s->sequences.length[t];
        otimes_forward_plan pass;
        otimes_forward_plan_of(job->model, &s->forward, n, n, &pass);
        const double need = (double)pass.total +
                            (double)otimes_linear_bytes(job->model, n, role, OTIMES_LINEAR_Z) +
                            (double)otimes_paths_case_bytes(job, n, most_sources(job));
        if (need > (double)s->forward.memory) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "text %" PRId64 ": memory: expected at most %" PRId64
                               " bytes, its %" PRId64 " tokens take %.0f",
                               t, s->forward.memory, n, need);
        }
    }
    return OTIMES_OK;
}

static int begin(paths_job *job, otimes_err *err)
{
    int rc = check_settings(job, err);
    if (rc == OTIMES_OK) {
        rc = choose_layers(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_texts_init(&job->texts, job->model, &job->settings->sequences, err);
    }
    if (rc == OTIMES_OK) {
        rc = choose_cases(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = check_memory(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_layers_open(&job->layers, job->model, &job->settings->forward, err);
        job->pulse = (otimes_pulse){.sink = job->sink, .total = (double)job->cases};
        job->layers.pulse = &job->pulse;
    }
    return rc;
}

/* ---- the run ---- */

/* Whether targets have a bias, which is a path of its own where it is not 0. */
static bool has_bias(const paths_job *job)
{
    return job->layers.unembed.bias || job->layers.unembed.ln_b;
}

/* Numbers that depend on what is a source in this model. */
static int shape(paths_job *job, const otimes_linear *linear, otimes_err *err)
{
    const otimes_paths_settings *s = job->settings;
    if (job->shaped) {
        return OTIMES_OK;
    }
    const double most = (double)(s->top > 0 ? s->top : s->limit);
    job->total = otimes_paths_total(linear, s->order, job->allowed) + has_bias(job);
    if (!(job->total >= 0)) { /* it needs a little memory, and has no other way to fail */
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: the number of paths");
    }
    if (s->top == 0 && job->total > most) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "order: expected at most %" PRId64
                           " paths to list, got %.15g; top lists the largest",
                           s->limit, job->total);
    }
    job->rows = (int64_t)(job->total < most ? job->total : most);
    job->links = s->order >= 0 && s->order < job->allowed_count ? s->order : job->allowed_count;
    for (int64_t l = 0; l < job->info->n_layers; l++) {
        job->links += otimes_linear_has_mlp(linear, l);
    }
    job->source_count = linear->source_count;
    job->carriers = s->carriers < job->texts.longest ? s->carriers : job->texts.longest;
    const int64_t edges = s->flows ? otimes_paths_edge_count(job, linear) : 0;
    job->edges = s->edges < edges ? s->edges : edges;
    job->shaped = true;
    return otimes_paths_name(job, linear, err);
}

typedef struct ticker {
    otimes_pulse *pulse;
    double done; /* cases */
} ticker;

static int tick(void *context, double share, otimes_err *err)
{
    const ticker *t = context;
    return otimes_pulse_say(t->pulse, t->done + share, err);
}

/* A text under way. */
typedef struct text_run {
    otimes_linear linear;
    otimes_flow_scores *scores;
    float *streams; /* by order */
} text_run;

static void text_free(text_run *t)
{
    otimes_free(t->streams);
    otimes_flow_scores_free(&t->scores);
    otimes_linear_free(&t->linear);
}

static int run_pass(paths_job *job, text_run *t, int64_t text, otimes_err *err)
{
    const otimes_paths_settings *s = job->settings;
    const otimes_sequences one = otimes_texts_slice(&job->texts, text, 1);
    otimes_hooks hooks = {0};
    int rc = OTIMES_OK;
    if (s->flows) {
        rc = otimes_flow_scores_init(&t->scores, job->model, one.length[0], &hooks, err);
    }
    return rc == OTIMES_OK
               ? otimes_linear_init(&t->linear, &job->layers, &one,
                                    s->mlp ? OTIMES_MLP_AS_LINK : OTIMES_MLP_AS_SOURCE,
                                    s->flows ? OTIMES_LINEAR_Z : 0, s->flows ? &hooks : NULL, err)
               : rc;
}

static int run_orders(paths_job *job, text_run *t, otimes_err *err)
{
    const int64_t each = t->linear.n * job->info->d_model;
    int rc = OTIMES_NEW(&t->streams, (job->allowed_count + 1) * each, err);
    return rc == OTIMES_OK
               ? otimes_order_streams(&t->linear, job->allowed_count, job->allowed, t->streams, err)
               : rc;
}

static int run_cases(paths_job *job, text_run *t, int64_t text, const paths_writer *writer,
                     ticker *progress, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < job->case_count[text]; i++) {
        paths_case c = {.index = job->first_case[text] + i,
                        .text = text,
                        .at = otimes_paths_position(job, text, i)};
        rc = otimes_paths_case_init(&c, job, &t->linear, err);
        if (rc == OTIMES_OK) {
            rc = otimes_paths_case_run(&c, job, &t->linear, t->streams, t->scores, tick, progress,
                                       err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_paths_write(writer, &c, t->linear.n, err);
        }
        otimes_paths_case_free(&c);
        progress->done++;
        if (rc == OTIMES_OK) {
            rc = tick(progress, 0, err);
        }
    }
    return rc;
}

/* The first text is run in any case: it tells how many sources and paths there are. */
static int run_text(paths_job *job, int64_t text, paths_writer **writer, ticker *progress,
                    otimes_err *err)
{
    text_run t = {0};
    bool done = *writer && otimes_paths_text_done(*writer, text);
    int rc = done ? OTIMES_OK : run_pass(job, &t, text, err);
    if (rc == OTIMES_OK && !done) {
        rc = shape(job, &t.linear, err);
    }
    if (rc == OTIMES_OK && !*writer) {
        rc = otimes_paths_declare(writer, job, err);
        done = rc == OTIMES_OK && otimes_paths_text_done(*writer, text);
    }
    if (rc == OTIMES_OK && !done) {
        rc = run_orders(job, &t, err);
    }
    if (rc == OTIMES_OK && !done) {
        rc = run_cases(job, &t, text, *writer, progress, err);
    }
    if (rc == OTIMES_OK && !done) {
        rc = otimes_paths_end_text(*writer, text, err);
    }
    text_free(&t);
    progress->done = (double)job->first_case[text + 1];
    return rc;
}

static int run_texts(paths_job *job, otimes_err *err)
{
    paths_writer *writer = NULL;
    ticker progress = {&job->pulse, 0};
    int rc = OTIMES_OK;
    for (int64_t t = 0; rc == OTIMES_OK && t < job->settings->sequences.count; t++) {
        rc = run_text(job, t, &writer, &progress, err);
    }
    if (rc == OTIMES_OK) { /* the last texts may have been there */
        rc = tick(&progress, 0, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(job->sink, err);
    }
    otimes_paths_writer_free(&writer);
    return rc;
}

int otimes_paths(const otimes_model *model, const otimes_paths_settings *settings,
                 otimes_sink *sink, otimes_err *err)
{
    paths_job job = {
        .model = model, .info = otimes_model_describe(model), .settings = settings, .sink = sink};
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_attributes(model, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_texts_write(&job.texts, model, sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_texts(&job, err);
    }
    otimes_layers_close(&job.layers);
    otimes_texts_free(&job.texts);
    otimes_text_free(&job.words);
    otimes_pool_free(&job.pool);
    return rc;
}
