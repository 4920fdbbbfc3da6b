/* SPDX-License-Identifier: MIT
 *
 * What composes with heads and is no head: sets of heads as one, and the ends of the stream
 * (embedding, positions, MLPs, unembedding), these as d_model x d_model forms.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/compose_job.h"
#include "base/sink.h"
#include "model/model.h"
#include "num/la.h"
#include "num/orthonormal.h"
#include "run/circuit.h"

static compose_part *add(compose_part *list, int64_t *count, const char *name)
{
    compose_part *part = &list[(*count)++];
    snprintf(part->name, sizeof part->name, "%s", name);
    return part;
}

/* ---- wide ends ---- */

/* The form root root^T of exact [d, depth], as an end on the identity. */
static int wide_end(compose_job *job, int64_t depth, const double *exact, double place,
                    otimes_link_end *end, otimes_err *err)
{
    const int64_t d = job->info->d_model;
    double norm;
    int rc = OTIMES_OK;
    float *root = otimes_pool_new(&job->pool, d * depth, sizeof *root, &rc, err);
    float *core = otimes_pool_new(&job->pool, d * d, sizeof *core, &rc, err);
    *end = (otimes_link_end){.rank = d, .place = place};
    return rc == OTIMES_OK
               ? otimes_link_end_make(d, depth, exact, job->dimension, root, core, end, &norm, err)
               : rc;
}

/* From rows F [rank, d] with F^T F the form: of vocabulary and positions. */
static int end_of_rows(compose_job *job, int64_t rank, const double *rows, double place,
                       otimes_link_end *end, otimes_err *err)
{
    const int64_t d = job->info->d_model;
    double *exact;
    int rc = OTIMES_NEW(&exact, d * rank, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < rank; i++) {
        for (int64_t k = 0; k < d; k++) {
            exact[k * rank + i] = rows[i * d + k];
        }
    }
    if (rc == OTIMES_OK) {
        rc = wide_end(job, rank, exact, place, end, err);
    }
    otimes_free(exact);
    return rc;
}

/* From m vectors of the stream, x[i * step + k * stride] the k-th entry of the i-th: through the root of
 * their Gram, which has at most d columns. `post` as in otimes_written_columns; NULL: none. */
static int end_of_vectors(compose_job *job, int64_t m, const float *x, int64_t step, int64_t stride,
                          const float *post, double place, otimes_link_end *end, otimes_err *err)
{
    const int64_t d = job->info->d_model;
    int64_t rank = 0;
    double *rows, *gram = NULL, *root = NULL;
    int rc = OTIMES_NEW(&rows, m * d, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&gram, d * d, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&root, d * d, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < m; i++) {
        for (int64_t k = 0; k < d; k++) {
            rows[i * d + k] = (double)x[i * step + k * stride];
        }
        if (post) {
            otimes_written_columns(job->info, post, 1, rows + i * d);
        }
    }
    if (rc == OTIMES_OK) {
        otimes_la_default->dsyrk(m, d, rows, d, gram, d);
        const int code = otimes_la_default->dpsqrt(d, gram, d, root, d, &rank);
        rc = code == OTIMES_OK ? end_of_rows(job, rank, root, place, end, err)
                               : otimes_fail(err, code, "MLP: %s", otimes_strerror(code));
    }
    otimes_free(rows);
    otimes_free(gram);
    otimes_free(root);
    return rc;
}

static int add_mlp(compose_job *job, int64_t l, otimes_err *err)
{
    otimes_layer layer;
    otimes_layer_info about;
    char name[64];
    const double place = 2 * (double)l + (job->info->parallel ? 0 : 1);
    int rc = otimes_layer_describe(job->model, l, &about, err);
    if (rc != OTIMES_OK || about.experts || job->info->mlp == OTIMES_MLP_NONE) {
        return rc;
    }
    rc = otimes_layer_load(job->model, l, OTIMES_PART_MLP, &layer, err);
    const otimes_tensor *reads[] = {&layer.W_in, &layer.W_gate}, *w = &layer.W_out;
    for (int i = 0; rc == OTIMES_OK && i < 2; i++) {
        if (reads[i]->data) {
            snprintf(name, sizeof name, "L%lld mlp %s", (long long)l, i ? "gate" : "in");
            rc = end_of_vectors(job, reads[i]->dim[1], reads[i]->data, reads[i]->stride[1],
                                reads[i]->stride[0], NULL, place,
                                &add(job->to, &job->tos, name)->reader, err);
        }
    }
    if (rc == OTIMES_OK) {
        snprintf(name, sizeof name, "L%lld mlp", (long long)l);
        rc = end_of_vectors(job, w->dim[0], w->data, w->stride[0], w->stride[1],
                            layer.ln2_post_w.data, place,
                            &add(job->from, &job->froms, name)->writer, err);
    }
    otimes_layer_free(&layer);
    return rc;
}

static int tick(void *context, double share, otimes_err *err)
{
    (void)share;
    return otimes_sink_progress(((const compose_job *)context)->sink, 0, 1, err);
}

static int add_ends(compose_job *job, otimes_err *err)
{
    const double last = 2 * (double)job->info->n_layers;
    otimes_vocab_forms forms = {0};
    otimes_unembed unembed = {0};
    int rc = otimes_unembed_open(job->model, &unembed, err);
    if (rc == OTIMES_OK) {
        rc = otimes_vocab_forms_compute(job->model, &unembed, tick, job, &forms, err);
    }
    if (rc == OTIMES_OK) {
        rc = end_of_rows(job, forms.embed_rank, forms.embed_root, -1,
                         &add(job->from, &job->froms, "embedding")->writer, err);
    }
    if (rc == OTIMES_OK && forms.position_root) {
        rc = end_of_rows(job, forms.position_rank, forms.position_root, -1,
                         &add(job->from, &job->froms, "positions")->writer, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < job->layer_count; i++) {
        rc = add_mlp(job, job->layers[i], err);
    }
    if (rc == OTIMES_OK) {
        rc = end_of_rows(job, forms.unembed_rank, forms.unembed_root, last,
                         &add(job->to, &job->tos, "unembedding")->reader, err);
    }
    otimes_vocab_forms_free(&forms);
    otimes_unembed_free(&unembed);
    return rc;
}

/* ---- sets ---- */

/* x [d, count * e]: the sides of the heads beside one another. */
static int join_sides(const compose_job *job, const otimes_layer *layer,
                      const otimes_compose_set *set, bool output, double *x, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    const int64_t e = info->d_head, width = set->count * e;
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < set->count; i++) {
        otimes_side side = {0};
        const int64_t head = set->heads[i];
        rc = output
                 ? otimes_written_side(layer, info, head, &side, err)
                 : otimes_value_side(layer, head / (info->n_heads / info->n_kv_heads), &side, err);
        for (int64_t k = 0; rc == OTIMES_OK && k < info->d_model; k++) {
            memcpy(x + k * width + i * e, side.x + k * e, (size_t)e * sizeof *x);
        }
        otimes_side_free(&side);
    }
    return rc;
}

/* One end of a set: basis of one side, root = R (other R)^T. */
static int set_end(compose_job *job, int64_t rank, int64_t width, float *basis,
                   const double *factor, const double *other, double place, otimes_link_end *end,
                   otimes_err *err)
{
    double *exact, norm;
    int rc = OTIMES_NEW(&exact, rank * rank, err);
    float *root = otimes_pool_new(&job->pool, rank * rank, sizeof *root, &rc, err);
    float *core = otimes_pool_new(&job->pool, rank * rank, sizeof *core, &rc, err);
    *end = (otimes_link_end){.basis = basis, .rank = rank, .place = place};
    if (rc == OTIMES_OK) {
        otimes_la_default->dgemm(false, true, rank, rank, width, 1.0, factor, width, other, width,
                                 0.0, exact, rank);
        rc = otimes_link_end_make(rank, rank, exact, job->dimension, root, core, end, &norm, err);
    }
    otimes_free(exact);
    return rc;
}

void otimes_compose_set_name(const otimes_compose_set *set, char name[COMPOSE_NAME])
{
    int length = snprintf(name, COMPOSE_NAME, "L%lld", (long long)set->layer);
    for (int64_t i = 0; i < set->count && length < COMPOSE_NAME; i++) {
        length += snprintf(name + length, (size_t)(COMPOSE_NAME - length), "%sH%lld", i ? "+" : "",
                           (long long)set->heads[i]);
    }
}

static int add_set(compose_job *job, const otimes_compose_set *set, otimes_err *err)
{
    const int64_t d = job->info->d_model, width = set->count * job->info->d_head;
    const int64_t rank = width < d ? width : d;
    char name[COMPOSE_NAME];
    otimes_layer layer;
    double *x;
    otimes_compose_set_name(set, name);
    int rc = OTIMES_NEW(&x, d * width + 2 * rank * width, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    double *factor[] = {x + d * width, x + d * width + rank * width};
    float *basis[] = {NULL, NULL};
    rc = otimes_layer_load(job->model, set->layer, OTIMES_PART_V | OTIMES_PART_O, &layer, err);
    for (int output = 0; output < 2; output++) {
        basis[output] = otimes_pool_new(&job->pool, rank * d, sizeof(float), &rc, err);
        if (rc == OTIMES_OK) {
            rc = join_sides(job, &layer, set, output, x, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_orthonormal_rows(d, width, x, basis[output], factor[output], err);
        }
    }
    otimes_layer_free(&layer);
    const double place = 2 * (double)set->layer;
    if (rc == OTIMES_OK) {
        rc = set_end(job, rank, width, basis[1], factor[1], factor[0], place,
                     &add(job->from, &job->froms, name)->writer, err);
    }
    if (rc == OTIMES_OK) {
        rc = set_end(job, rank, width, basis[0], factor[0], factor[1], place,
                     &add(job->to, &job->tos, name)->reader, err);
    }
    otimes_free(x);
    return rc;
}

int64_t otimes_compose_parts_bytes(const compose_job *job)
{
    const int64_t d = job->info->d_model,
                  forms = 2 * d * d * (int64_t)sizeof(float); /* root and core */
    const bool mlp = job->info->mlp != OTIMES_MLP_NONE;
    const int64_t each = mlp ? 2 + (job->info->mlp == OTIMES_MLP_GATED) : 0;
    return job->settings->ends ? (3 + each * job->layer_count) * forms : 0;
}

int otimes_compose_parts(compose_job *job, otimes_err *err)
{
    const otimes_compose_settings *s = job->settings;
    const int64_t most = (s->ends ? 2 + 2 * job->layer_count : 0) + s->set_count;
    int rc = OTIMES_OK;
    job->from = otimes_pool_new(&job->pool, most, sizeof *job->from, &rc, err);
    job->to = otimes_pool_new(&job->pool, most, sizeof *job->to, &rc, err);
    if (rc == OTIMES_OK && s->ends) {
        rc = add_ends(job, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < s->set_count; i++) {
        rc = add_set(job, &s->sets[i], err);
    }
    return rc;
}
