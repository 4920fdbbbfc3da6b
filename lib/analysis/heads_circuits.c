/* SPDX-License-Identifier: MIT
 *
 * The numbers of `heads`: a group of query heads and the key/value head they share.
 */
#include <string.h>

#include "analysis/heads_job.h"
#include "base/mem.h"
#include "run/circuit.h"
#include "run/spectrum.h"

/* A matrix W of the head seen from the residual stream, from the vocabulary and from positions;
 * those not asked for stay empty. */
typedef struct views {
    otimes_side plain, full, position, bias;
    otimes_side cross; /* M W_V: only for eigenvalues of full OV */
} views;

static void free_views(views *v)
{
    otimes_side_free(&v->plain);
    otimes_side_free(&v->full);
    otimes_side_free(&v->position);
    otimes_side_free(&v->bias);
    otimes_side_free(&v->cross);
}

/* Completes a set of views whose plain side is there: root is what the full circuit has on this
 * end. */
static int make_views(const heads_job *job, views *v, const double *root, int64_t root_rank,
                      bool with_positions, otimes_err *err)
{
    int rc = otimes_side_factorise(&v->plain, job->components > 0, err);
    if (rc == OTIMES_OK && root) {
        rc = otimes_side_map(&v->full, root_rank, root, &v->plain, err);
        if (rc == OTIMES_OK) {
            rc = otimes_side_factorise(&v->full, false, err);
        }
    }
    if (rc == OTIMES_OK && with_positions) {
        rc = otimes_side_map(&v->position, job->forms.position_rank, job->forms.position_root,
                             &v->plain, err);
        if (rc == OTIMES_OK) {
            rc = otimes_side_factorise(&v->position, false, err);
        }
    }
    return rc;
}

bool otimes_heads_has(const heads_job *job, heads_circuit circuit)
{
    return circuit == HEADS_OV || circuit == HEADS_QK || job->settings->vocab;
}

bool otimes_heads_has_eigenvalues(const heads_job *job, heads_circuit circuit)
{
    return otimes_heads_has(job, circuit) &&
           (circuit != HEADS_FULL_OV || job->info->d_vocab == job->info->d_vocab_out);
}

/* The full list for one circuit of the head at place `at`; inner_of has the circuit's eigenvalues.
 */
static int measure(heads_job *job, heads_circuit circuit, int64_t at, otimes_factored m,
                   otimes_factored inner_of, double scale, otimes_err *err)
{
    const heads_quantities *out = &job->circuit[circuit];
    const int64_t width = job->width;
    otimes_spectrum spectrum = {0};
    int rc = otimes_spectrum_singular(m, scale, &spectrum, out->singular_values + at * width, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    out->norm[at] = spectrum.norm;
    out->effective_rank[at] = spectrum.effective_rank;
    if (!otimes_heads_has_eigenvalues(job, circuit)) {
        return OTIMES_OK;
    }
    double *inner;
    rc = OTIMES_NEW(&inner, width * width, err);
    if (rc == OTIMES_OK) {
        otimes_factored_inner(inner_of, inner);
        rc = otimes_spectrum_eigen(width, inner, scale, &spectrum,
                                   out->eigenvalues_real + at * width,
                                   out->eigenvalues_imag + at * width, err);
    }
    if (rc == OTIMES_OK) {
        out->trace[at] = spectrum.trace;
        out->positivity[at] = spectrum.positivity;
    }
    otimes_free(inner);
    return rc;
}

/* Leading singular vectors of a circuit, into two sets of directions. */
static int keep_directions(heads_job *job, otimes_factored m, int64_t layer_at, int64_t at,
                           int left_set, int right_set, otimes_err *err)
{
    const int64_t d = job->info->d_model, count = job->components;
    double *values = NULL, *u = NULL, *v = NULL;
    if (count == 0) {
        return OTIMES_OK;
    }
    int rc = OTIMES_NEW(&values, job->width, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&u, count * d, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&v, count * d, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_factored_svd(m, values, count, u, v, err);
    }
    const int64_t place = (layer_at * job->head_count + at) * count * d;
    for (int64_t i = 0; rc == OTIMES_OK && i < count * d; i++) {
        job->direction[left_set][place + i] = (float)u[i];
        job->direction[right_set][place + i] = (float)v[i];
    }
    otimes_free(values);
    otimes_free(u);
    otimes_free(v);
    return rc;
}

/* QK at each offset: the rotation touches the key side's R and nothing else. */
static int measure_offsets(heads_job *job, int64_t at, const views *query, const views *key,
                           otimes_err *err)
{
    const int64_t width = job->width, offsets = job->settings->offset_count;
    otimes_side rotated = key->plain;
    double *r = NULL, *inner = NULL, *turned = NULL;
    int rc = OTIMES_NEW(&r, rotated.r_rows * width, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&inner, width * width, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&turned, width * width, err);
    }
    if (rc == OTIMES_OK) { /* Q^T K: its rows turn as the key side's do */
        otimes_factored_inner((otimes_factored){&key->plain, &query->plain}, inner);
    }
    rotated.r = r;
    for (int64_t o = 0; rc == OTIMES_OK && o < offsets; o++) {
        const double delta = (double)job->settings->offsets[o];
        const int64_t place = at * offsets + o;
        otimes_spectrum spectrum = {0};
        memcpy(r, key->plain.r, (size_t)(rotated.r_rows * width) * sizeof *r);
        memcpy(turned, inner, (size_t)(width * width) * sizeof *turned);
        if (job->rope) {
            otimes_rope_rotate_key(job->rope, job->frequency, delta, rotated.r_rows, width, r);
            otimes_rope_rotate_key(job->rope, job->frequency, delta, width, width, turned);
        }
        rc = otimes_spectrum_singular((otimes_factored){&query->plain, &rotated}, 1, &spectrum,
                                      job->offset_singular_values + place * width, err);
        job->offset_norm[place] = spectrum.norm;
        job->offset_trace[place] = 0;
        for (int64_t i = 0; i < width; i++) {
            job->offset_trace[place] += turned[i * width + i];
        }
    }
    otimes_free(r);
    otimes_free(inner);
    otimes_free(turned);
    return rc;
}

static int measure_blocks(heads_job *job, int64_t at, const views *query, const views *key,
                          otimes_err *err)
{
    const otimes_factored blocks[HEADS_BLOCKS] = {
        [HEADS_TOKEN_TOKEN] = {&query->full, &key->full},
        [HEADS_TOKEN_POSITION] = {&query->full, &key->position},
        [HEADS_POSITION_TOKEN] = {&query->position, &key->full},
        [HEADS_POSITION_POSITION] = {&query->position, &key->position},
    };
    int rc = OTIMES_OK;
    for (int b = 0; rc == OTIMES_OK && b < HEADS_BLOCKS; b++) {
        rc = otimes_factored_norm(blocks[b], &job->block[b][at], err);
        job->block[b][at] /= job->info->attn_scale;
    }
    return rc;
}

static int measure_ov(heads_job *job, const otimes_layer *layer, int64_t layer_at, int64_t at,
                      const views *value, otimes_err *err)
{
    const double *root = job->forms.unembed_root;
    views output = {0};
    int rc = otimes_output_side(layer, job->heads[at], &output.plain, err);
    if (rc == OTIMES_OK) {
        rc = make_views(job, &output, root, job->forms.unembed_rank, false, err);
    }
    const otimes_factored plain = {&value->plain, &output.plain};
    const otimes_factored full = {&value->full, &output.full};
    if (rc == OTIMES_OK) {
        rc = measure(job, HEADS_OV, at, plain, plain, 1, err);
    }
    if (rc == OTIMES_OK && otimes_heads_has(job, HEADS_FULL_OV)) {
        rc = measure(job, HEADS_FULL_OV, at, full, (otimes_factored){&value->cross, &output.plain},
                     1, err);
    }
    if (rc == OTIMES_OK) {
        rc = keep_directions(job, plain, layer_at, at, HEADS_OV_READ, HEADS_OV_WRITE, err);
    }
    free_views(&output);
    return rc;
}

static int measure_qk(heads_job *job, const otimes_layer *layer, int64_t layer_at, int64_t at,
                      const views *key, otimes_err *err)
{
    const double *root = job->forms.embed_root;
    views query = {0};
    int rc = otimes_query_side(layer, job->heads[at], false, &query.plain, err);
    if (rc == OTIMES_OK) {
        rc = make_views(job, &query, root, job->forms.embed_rank, job->positions, err);
    }
    const otimes_factored plain = {&query.plain, &key->plain}, full = {&query.full, &key->full};
    if (rc == OTIMES_OK) {
        rc = measure(job, HEADS_QK, at, plain, plain, 1, err);
    }
    if (rc == OTIMES_OK && otimes_heads_has(job, HEADS_FULL_QK)) {
        rc = measure(job, HEADS_FULL_QK, at, full, full, job->info->attn_scale, err);
    }
    if (rc == OTIMES_OK) {
        rc = keep_directions(job, plain, layer_at, at, HEADS_QK_QUERY, HEADS_QK_KEY, err);
    }
    if (rc == OTIMES_OK && job->positions) {
        rc = measure_blocks(job, at, &query, key, err);
    }
    if (rc == OTIMES_OK && job->settings->offset_count > 0) {
        rc = measure_offsets(job, at, &query, key, err);
    }
    if (rc == OTIMES_OK && job->settings->biases) {
        otimes_spectrum spectrum = {0};
        rc = otimes_query_side(layer, job->heads[at], true, &query.bias, err);
        if (rc == OTIMES_OK) {
            rc = otimes_side_factorise(&query.bias, false, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_spectrum_singular((otimes_factored){&query.bias, &key->bias}, 1, &spectrum,
                                          job->bias_singular_values + at * job->width, err);
        }
        job->bias_norm[at] = spectrum.norm;
    }
    free_views(&query);
    return rc;
}

/* Value and key sides of the group, made once. */
static int make_shared(const heads_job *job, const otimes_layer *layer, int64_t kv_head,
                       views *value, views *key, otimes_err *err)
{
    const otimes_vocab_forms *forms = &job->forms;
    int rc = otimes_value_side(layer, kv_head, &value->plain, err);
    if (rc == OTIMES_OK) {
        rc = make_views(job, value, forms->embed_root, forms->embed_rank, false, err);
    }
    if (rc == OTIMES_OK && forms->cross) {
        rc = otimes_side_map(&value->cross, forms->d_model, forms->cross, &value->plain, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_key_side(layer, kv_head, false, &key->plain, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_views(job, key, forms->embed_root, forms->embed_rank, job->positions, err);
    }
    if (rc == OTIMES_OK && job->settings->biases) {
        rc = otimes_key_side(layer, kv_head, true, &key->bias, err);
        if (rc == OTIMES_OK) {
            rc = otimes_side_factorise(&key->bias, false, err);
        }
    }
    return rc;
}

int otimes_heads_group(heads_job *job, const otimes_layer *layer, int64_t layer_at, int64_t kv_head,
                       int64_t part, int64_t parts, otimes_err *err)
{
    const int64_t group = job->info->n_heads / job->info->n_kv_heads;
    views value = {0}, key = {0};
    bool shared = false;
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < job->head_count; at++) {
        const int64_t head = job->heads[at];
        if (head / group != kv_head || head % parts != part) {
            continue;
        }
        if (!shared) {
            rc = make_shared(job, layer, kv_head, &value, &key, err);
            shared = true;
        }
        if (rc == OTIMES_OK) {
            rc = measure_ov(job, layer, layer_at, at, &value, err);
        }
        if (rc == OTIMES_OK) {
            rc = measure_qk(job, layer, layer_at, at, &key, err);
        }
    }
    free_views(&value);
    free_views(&key);
    return rc;
}
