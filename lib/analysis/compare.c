/* SPDX-License-Identifier: MIT */
#include <otimes/compare.h>

#include <math.h>
#include <string.h>

#include "analysis/compare_job.h"
#include "base/index.h"
#include "base/sink.h"
#include "model/model.h"

void otimes_compare_settings_default(otimes_compare_settings *settings)
{
    *settings = (otimes_compare_settings){.measures = OTIMES_COMPARE_ALL, .top = 3};
}

/* ---- the request ---- */

static const otimes_model_info *info_of(const compare_job *job, int64_t at)
{
    return otimes_model_describe(job->models[at]);
}

static int64_t group_of(const otimes_model_info *info)
{
    return info->n_heads / info->n_kv_heads;
}

static int check_settings(const compare_job *job, otimes_err *err)
{
    const otimes_compare_settings *s = job->settings;
    const int64_t groups = group_of(info_of(job, 0));
    int rc = OTIMES_OK;
    if (s->measures & ~OTIMES_COMPARE_ALL) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "measures: expected OTIMES_COMPARE_*, got %d",
                         s->measures);
    }
    if (rc == OTIMES_OK && s->top < 0) {
        rc = otimes_fail(err, OTIMES_ERR_ARGUMENT, "top: expected at least 0, got %lld",
                         (long long)s->top);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < job->count; i++) {
        const otimes_model_info *info = info_of(job, i);
        otimes_err own = {0};
        rc = otimes_index_check("layers", s->layers, s->layer_count, info->n_layers, &own);
        if (rc == OTIMES_OK) {
            rc = otimes_index_check("heads", s->heads, s->head_count, info->n_heads, &own);
        }
        if (rc != OTIMES_OK) {
            rc = otimes_fail(err, rc, "%s: %.1000s", info->path, own.msg);
        } else if (s->heads && groups != group_of(info)) {
            rc = otimes_fail(
                err, OTIMES_ERR_UNSUPPORTED,
                "%s: chosen heads: expected groups of %lld query heads for each key and "
                "value head, as in %s, got %lld",
                info->path, (long long)groups, info_of(job, 0)->path, (long long)group_of(info));
        }
    }
    return rc;
}

/* Results of weights processed one way are no measure of those processed another. */
static int check_processing(const compare_job *job, int64_t at, otimes_err *err)
{
    const otimes_model_info *a = info_of(job, 0), *b = info_of(job, at);
    const struct {
        const char *name;
        otimes_step one, two;
    } steps[] = {
        {"fold_ln", a->fold_ln, b->fold_ln},
        {"center_writing_weights", a->center_writing_weights, b->center_writing_weights},
        {"center_unembed", a->center_unembed, b->center_unembed},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const otimes_step one = steps[i].one, two = steps[i].two;
        const bool both = one != OTIMES_STEP_NOT_APPLICABLE && two != OTIMES_STEP_NOT_APPLICABLE;
        if (both && (one == OTIMES_STEP_OFF) != (two == OTIMES_STEP_OFF)) {
            return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                               "%s and %s: expected weights processed alike, got %s %s and %s",
                               a->path, b->path, steps[i].name, otimes_step_name(one),
                               otimes_step_name(two));
        }
    }
    return OTIMES_OK;
}

/* ---- the space ---- */

static bool same_text(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* Whether tokens of one id are one token, in and out; *at is the first that is not. */
static bool same_tokens(const otimes_model *a, const otimes_model *b, int64_t *at)
{
    const otimes_model_info *info = otimes_model_describe(a);
    for (int64_t i = 0; i < info->d_vocab; i++) {
        *at = i;
        if (!same_text(otimes_model_token(a, i), otimes_model_token(b, i))) {
            return false;
        }
    }
    for (int64_t i = 0; i < info->d_vocab_out; i++) {
        *at = i;
        if (!same_text(otimes_model_output_token(a, i), otimes_model_output_token(b, i))) {
            return false;
        }
    }
    return true;
}

static const char *shown(const char *text)
{
    return text ? text : "(unknown)";
}

static int check_vocabulary(const compare_job *job, int64_t at, const char *why, otimes_err *err)
{
    const otimes_model *a = job->models[0], *b = job->models[at];
    const otimes_model_info *one = info_of(job, 0), *two = info_of(job, at);
    int64_t token = 0;
    if (a == b) {
        return OTIMES_OK;
    }
    const bool in = one->d_vocab != two->d_vocab;
    if (in || one->d_vocab_out != two->d_vocab_out) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s and %s: %sexpected one vocabulary, got %lld and %lld %stokens",
                           one->path, two->path, why,
                           (long long)(in ? one->d_vocab : one->d_vocab_out),
                           (long long)(in ? two->d_vocab : two->d_vocab_out), in ? "" : "output ");
    }
    if (!job->settings->same_vocab && !same_tokens(a, b, &token)) {
        return otimes_fail(
            err, OTIMES_ERR_UNSUPPORTED,
            "%s and %s: %sexpected one vocabulary, got %lld tokens each, of which token %lld is "
            "\"%.40s\" and \"%.40s\"; same_vocab (--same-vocab) compares them all the same",
            one->path, two->path, why, (long long)one->d_vocab, (long long)token,
            shown(otimes_model_token(a, token)), shown(otimes_model_token(b, token)));
    }
    return OTIMES_OK;
}

static int choose_space(compare_job *job, otimes_err *err)
{
    const otimes_compare_space asked = job->settings->space;
    const int64_t d = info_of(job, 0)->d_model;
    char why[160] = "";
    int rc = OTIMES_OK;
    job->vocab = asked == OTIMES_COMPARE_VOCAB;
    for (int64_t i = 1; i < job->count && !job->vocab; i++) {
        const otimes_model_info *info = info_of(job, i);
        if (info->d_model != d && asked == OTIMES_COMPARE_STREAM) {
            return otimes_fail(
                err, OTIMES_ERR_UNSUPPORTED, "%s and %s: expected one d_model, got %lld and %lld",
                info_of(job, 0)->path, info->path, (long long)d, (long long)info->d_model);
        }
        if (info->d_model != d) {
            job->vocab = true;
            snprintf(why, sizeof why, "d_model is %lld and %lld; ", (long long)d,
                     (long long)info->d_model);
        }
    }
    for (int64_t i = 1; rc == OTIMES_OK && job->vocab && i < job->count; i++) {
        rc = check_vocabulary(job, i, why, err);
    }
    return rc;
}

/* Checkpoints are of one shape. */
static bool one_shape(const compare_job *job)
{
    const otimes_model_info *a = info_of(job, 0);
    for (int64_t i = 1; i < job->count; i++) {
        const otimes_model_info *b = info_of(job, i);
        if (a->n_layers != b->n_layers || a->n_heads != b->n_heads ||
            a->n_kv_heads != b->n_kv_heads || a->d_model != b->d_model || a->d_head != b->d_head) {
            return false;
        }
    }
    return true;
}

/* ---- arrays ---- */

static bool pair_wanted(const compare_job *job, int array)
{
    static const struct {
        int from, measure;
    } list[] = {{PAIR_COSINE, OTIMES_COMPARE_COSINE},
                {PAIR_CKA, OTIMES_COMPARE_CKA},
                {PAIR_PROCRUSTES, OTIMES_COMPARE_PROCRUSTES},
                {PAIR_KERNEL, OTIMES_COMPARE_KERNEL},
                {PAIR_LARGEST, OTIMES_COMPARE_ANGLES}};
    int measure = 0;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        measure = array >= list[i].from ? list[i].measure : measure;
    }
    return array == PAIR_SIMILARITY ||
           ((job->measures & measure) && (array < PAIR_COSINES || job->settings->cosines));
}

static int new_pairs(compare_job *job, otimes_err *err)
{
    const compare_model *a = &job->model[0];
    compare_pairs *p = &job->pairs;
    int rc = OTIMES_OK;
    for (int64_t i = job->count - job->others; i < job->count; i++) {
        const otimes_model_info *info = info_of(job, i);
        const otimes_compare_settings *s = job->settings;
        const int64_t layers = s->layers ? s->layer_count : info->n_layers;
        const int64_t heads = s->heads ? s->head_count : info->n_heads;
        const int64_t group = info->n_heads / info->n_kv_heads;
        int64_t kv_heads = s->heads ? 0 : info->n_kv_heads;
        for (int64_t k = 0; s->heads && k < heads; k++) {
            kv_heads += k == 0 || s->heads[k] / group != s->heads[k - 1] / group;
        }
        p->layers = layers > p->layers ? layers : p->layers;
        p->heads = heads > p->heads ? heads : p->heads;
        p->kv_heads = kv_heads > p->kv_heads ? kv_heads : p->kv_heads;
    }
    for (int x = 0; x < OTIMES_SIDES; x++) {
        p->components = a->side[x].rows > p->components ? a->side[x].rows : p->components;
    }
    for (int i = 0; i < PAIR_ARRAYS; i++) {
        const bool shared = i >= PAIR_KERNEL && i < PAIR_SIMILARITY &&
                            compare_shared((i - PAIR_KERNEL) % OTIMES_SIDES);
        const bool cosines = i >= PAIR_COSINES && i < PAIR_SIMILARITY;
        const int64_t columns = p->layers * (shared ? p->kv_heads : p->heads);
        int64_t cells;
        if (!pair_wanted(job, i)) {
            continue;
        }
        if (!otimes_mul_i64(a->layers * (shared ? a->kv_heads : a->heads),
                            columns * (cosines ? p->components : 1),
                            &cells)) { /* unreached: too many to hold */
            return otimes_fail(err, OTIMES_ERR_MEMORY, "pairs of heads: too many");
        }
        p->array[i] = otimes_pool_new(&job->pool, cells, sizeof(double), &rc, err);
    }
    return rc;
}

static int new_lists(compare_job *job, otimes_err *err)
{
    const compare_model *a = &job->model[0];
    const int64_t n = a->nodes, top = job->settings->top;
    otimes_pool *pool = &job->pool;
    int rc = OTIMES_OK;
    job->neighbors.layer = otimes_pool_new(pool, n * top, sizeof(int64_t), &rc, err);
    job->neighbors.head = otimes_pool_new(pool, n * top, sizeof(int64_t), &rc, err);
    job->neighbors.similarity = otimes_pool_new(pool, n * top, sizeof(double), &rc, err);
    if (job->self && n > 1) {
        job->tree.linkage = otimes_pool_new(pool, 4 * (n - 1), sizeof(double), &rc, err);
        job->tree.order = otimes_pool_new(pool, n, sizeof(int64_t), &rc, err);
    } else if (!job->self && job->settings->match != OTIMES_COMPARE_MATCH_NONE) {
        compare_matches *m = &job->matches;
        m->layer = otimes_pool_new(pool, n, sizeof(int64_t), &rc, err);
        m->head = otimes_pool_new(pool, n, sizeof(int64_t), &rc, err);
        m->similarity = otimes_pool_new(pool, n, sizeof(double), &rc, err);
        m->layer_similarity =
            otimes_pool_new(pool, a->layers * job->pairs.layers, sizeof(double), &rc, err);
        m->matched_layer = otimes_pool_new(pool, a->layers, sizeof(int64_t), &rc, err);
    }
    for (int c = 0; job->drifts && c < COMPARE_CIRCUITS; c++) {
        for (int k = 0; k < DRIFT_REFERENCES; k++) {
            job->drift.cosine[c][k] = otimes_pool_new(pool, n, sizeof(double), &rc, err);
            job->drift.cka[c][k] = otimes_pool_new(pool, n, sizeof(double), &rc, err);
        }
        job->drift.norm_ratio[c] = otimes_pool_new(pool, n, sizeof(double), &rc, err);
    }
    if (job->drifts && !job->vocab) {
        job->drift.k_composition = otimes_pool_new(pool, n * n, sizeof(double), &rc, err);
    }
    return rc;
}

static int begin(compare_job *job, otimes_err *err)
{
    static const int measure_of[] = {[OTIMES_COMPARE_BY_CKA] = OTIMES_COMPARE_CKA,
                                     [OTIMES_COMPARE_BY_COSINE] = OTIMES_COMPARE_COSINE,
                                     [OTIMES_COMPARE_BY_PROCRUSTES] = OTIMES_COMPARE_PROCRUSTES,
                                     [OTIMES_COMPARE_BY_KERNEL] = OTIMES_COMPARE_KERNEL};
    if (job->count < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "models: expected at least 1, got %lld",
                           (long long)job->count);
    }
    job->self = job->count == 1;
    job->others = job->self ? 1 : job->count - 1;
    job->threads = job->models[0]->threads;
    int rc = check_settings(job, err);
    for (int64_t i = 1; rc == OTIMES_OK && i < job->count; i++) {
        rc = check_processing(job, i, err);
    }
    if (rc == OTIMES_OK) {
        job->measures = job->settings->measures | measure_of[job->settings->similarity] |
                        (job->settings->cosines ? OTIMES_COMPARE_ANGLES : 0);
        rc = choose_space(job, err);
    }
    job->drifts = rc == OTIMES_OK && !job->self && one_shape(job);
    job->model = otimes_pool_new(&job->pool, job->count, sizeof *job->model, &rc, err);
    return rc;
}

/* ---- the work ---- */

static int load(compare_job *job, int64_t at, otimes_err *err)
{
    compare_model *m = &job->model[at];
    return m->model ? OTIMES_OK : otimes_compare_model_load(job, job->models[at], m, err);
}

/* One other model against the first. */
static int compare_with(compare_job *job, int64_t other, compare_writer *writer, otimes_err *err)
{
    const compare_model *a = &job->model[0], *b = &job->model[job->self ? 0 : other + 1];
    const double share = 1 / (double)job->others;
    compare_bridge bridge;
    int rc = otimes_compare_bridge(job, a, b, &bridge, err);
    if (rc == OTIMES_OK) {
        rc = otimes_compare_pairs(job, a, b, &bridge, (double)other * share, share, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_compare_expected(job, a, b, &bridge, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_compare_find_neighbors(job, a, b, err);
    }
    if (rc == OTIMES_OK && job->matches.layer) {
        rc = otimes_compare_find_matches(job, a, b, err);
    }
    if (rc == OTIMES_OK && job->tree.linkage) {
        rc = otimes_compare_cluster(job, a, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_compare_write_other(writer, other, b, err);
    }
    otimes_compare_bridge_free(&bridge);
    return rc;
}

/* Model number `at` beside those before it; what no later one needs is released. */
static int follow(compare_job *job, int64_t at, compare_writer *writer, otimes_err *err)
{
    int rc = load(job, at, err);
    if (rc == OTIMES_OK && job->drifts) {
        rc = load(job, job->count - 1, err);
        if (rc == OTIMES_OK) {
            rc = otimes_compare_drift(job, at, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_compare_write_drift(writer, at, err);
        }
    }
    if (rc == OTIMES_OK && (at > 0 || job->self)) {
        rc = compare_with(job, job->self ? 0 : at - 1, writer, err);
    }
    if (at > 1) {
        otimes_compare_model_free(&job->model[at - 1]);
    }
    return rc;
}

static void free_job(compare_job *job)
{
    for (int64_t i = 0; job->model && i < job->count; i++) {
        otimes_compare_model_free(&job->model[i]);
    }
    otimes_pool_free(&job->pool);
}

int otimes_compare(const otimes_model *const *models, int64_t count,
                   const otimes_compare_settings *settings, otimes_sink *sink, otimes_err *err)
{
    otimes_compare_settings defaults;
    otimes_compare_settings_default(&defaults);
    otimes_pulse pulse = {.sink = sink, .total = 1};
    compare_job job = {.models = models,
                       .count = count,
                       .settings = settings ? settings : &defaults,
                       .sink = sink,
                       .pulse = &pulse};
    compare_writer *writer = NULL;
    int rc = begin(&job, err);
    if (rc == OTIMES_OK) {
        rc = otimes_model_attributes(models[0], sink, err);
    }
    if (rc == OTIMES_OK) {
        rc = load(&job, 0, err);
    }
    if (rc == OTIMES_OK) {
        rc = new_pairs(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = new_lists(&job, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_compare_writer_new(&job, &writer, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        rc = follow(&job, i, writer, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pulse_say(&pulse, 1, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_finish(sink, err);
    }
    otimes_compare_writer_free(writer);
    free_job(&job);
    return rc;
}
