/* SPDX-License-Identifier: MIT
 *
 * What the similarity of all pairs says: who goes with whom, who is nearest, who belongs together.
 */
#include <math.h>

#include "analysis/compare_job.h"
#include "num/assign.h"
#include "num/cluster.h"

/* Beyond so many heads the best of all orders of leaves is too dear; the tree's own is taken. */
enum { MOST_LEAVES_ORDERED = 600 };

/* Similarity without the columns that b lacks, [a->nodes, b->nodes]; an undefined one is 0. */
static void compact(const compare_job *job, const compare_model *a, const compare_model *b,
                    double *out)
{
    const compare_pairs *p = &job->pairs;
    for (int64_t i = 0; i < a->nodes; i++) {
        for (int64_t j = 0; j < b->nodes; j++) {
            const double s =
                p->array[PAIR_SIMILARITY][(i * p->layers + j / b->heads) * p->heads + j % b->heads];
            out[i * b->nodes + j] = isnan(s) ? 0 : s;
        }
    }
}

/* The heads of layer k of a with those of layer l of b; the sum over the pairs chosen. */
static int assign_layers_heads(const compare_model *a, const compare_model *b, const double *values,
                               int64_t k, int64_t l, int64_t *column_of, double *sum,
                               otimes_err *err)
{
    return otimes_assign(a->heads, b->heads, values + k * a->heads * b->nodes + l * b->heads,
                         b->nodes, true, column_of, NULL, NULL, sum, err);
}

static void put_match(compare_job *job, const compare_model *b, const double *values, int64_t i,
                      int64_t j)
{
    job->matches.layer[i] = j < 0 ? -1 : b->layer[j / b->heads];
    job->matches.head[i] = j < 0 ? -1 : b->head[j % b->heads];
    job->matches.similarity[i] = j < 0 ? NAN : values[i * b->nodes + j];
}

/* Every layer with every layer by the best matching of their heads, and layers one to one. */
static int match_layers(compare_job *job, const compare_model *a, const compare_model *b,
                        const double *values, double *mean, int64_t *column_of, int64_t *layer_of,
                        otimes_err *err)
{
    const int64_t pairs = a->heads < b->heads ? a->heads : b->heads;
    int rc = OTIMES_OK;
    for (int64_t k = 0; k < a->layers; k++) {
        for (int64_t l = 0; l < job->pairs.layers; l++) {
            double sum = NAN;
            if (rc == OTIMES_OK && l < b->layers) {
                rc = assign_layers_heads(a, b, values, k, l, column_of, &sum, err);
                mean[k * b->layers + l] = sum / (double)pairs;
            }
            job->matches.layer_similarity[k * job->pairs.layers + l] = sum / (double)pairs;
        }
    }
    if (rc == OTIMES_OK) {
        rc = otimes_assign(a->layers, b->layers, mean, b->layers, true, layer_of, NULL, NULL, NULL,
                           err);
    }
    for (int64_t k = 0; rc == OTIMES_OK && k < a->layers; k++) {
        job->matches.matched_layer[k] = layer_of[k] < 0 ? -1 : b->layer[layer_of[k]];
    }
    return rc;
}

static int match_within(compare_job *job, const compare_model *a, const compare_model *b,
                        const double *values, const int64_t *layer_of, int64_t *column_of,
                        otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t k = 0; rc == OTIMES_OK && k < a->layers; k++) {
        if (layer_of[k] >= 0) {
            rc = assign_layers_heads(a, b, values, k, layer_of[k], column_of, NULL, err);
        }
        for (int64_t h = 0; rc == OTIMES_OK && h < a->heads; h++) {
            const bool none = layer_of[k] < 0 || column_of[h] < 0;
            put_match(job, b, values, k * a->heads + h,
                      none ? -1 : layer_of[k] * b->heads + column_of[h]);
        }
    }
    return rc;
}

int otimes_compare_find_matches(compare_job *job, const compare_model *a, const compare_model *b,
                                otimes_err *err)
{
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    double *values = otimes_pool_new(&pool, a->nodes * b->nodes, sizeof *values, &rc, err);
    double *mean = otimes_pool_new(&pool, a->layers * b->layers, sizeof *mean, &rc, err);
    int64_t *column_of = otimes_pool_new(&pool, a->nodes, sizeof *column_of, &rc, err);
    int64_t *layer_of = otimes_pool_new(&pool, a->layers, sizeof *layer_of, &rc, err);
    if (rc == OTIMES_OK) {
        compact(job, a, b, values);
        rc = match_layers(job, a, b, values, mean, column_of, layer_of, err);
    }
    if (rc == OTIMES_OK && job->settings->match == OTIMES_COMPARE_MATCH_LAYERS) {
        rc = match_within(job, a, b, values, layer_of, column_of, err);
    } else if (rc == OTIMES_OK) {
        rc = otimes_assign(a->nodes, b->nodes, values, b->nodes, true, column_of, NULL, NULL, NULL,
                           err);
        for (int64_t i = 0; rc == OTIMES_OK && i < a->nodes; i++) {
            put_match(job, b, values, i, column_of[i]);
        }
    }
    otimes_pool_free(&pool);
    return rc;
}

/* The column of largest similarity to row i that is not taken; ties by lower index; -1: none. */
static int64_t next_nearest(const double *row, int64_t count, const bool *taken)
{
    int64_t best = -1;
    for (int64_t j = 0; j < count; j++) {
        if (!taken[j] && !isnan(row[j]) && (best < 0 || row[j] > row[best])) {
            best = j;
        }
    }
    return best;
}

int otimes_compare_find_neighbors(compare_job *job, const compare_model *a, const compare_model *b,
                                  otimes_err *err)
{
    const compare_pairs *p = &job->pairs;
    const int64_t columns = p->layers * p->heads, top = job->settings->top;
    bool *taken;
    const int rc = OTIMES_NEW(&taken, columns, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < a->nodes; i++) {
        const double *row = p->array[PAIR_SIMILARITY] + i * columns;
        for (int64_t j = 0; j < columns; j++) {
            taken[j] = job->self && j == i;
        }
        for (int64_t k = 0; k < top; k++) {
            const int64_t j = next_nearest(row, columns, taken), at = i * top + k;
            job->neighbors.layer[at] = j < 0 ? -1 : b->layer[j / p->heads];
            job->neighbors.head[at] = j < 0 ? -1 : b->head[j % p->heads];
            job->neighbors.similarity[at] = j < 0 ? NAN : row[j];
            if (j >= 0) {
                taken[j] = true;
            }
        }
    }
    otimes_free(taken);
    return rc;
}

int otimes_compare_cluster(compare_job *job, const compare_model *a, otimes_err *err)
{
    const int64_t n = a->nodes;
    double *distance;
    int rc = OTIMES_NEW(&distance, n * n, err);
    if (rc == OTIMES_OK) {
        compact(job, a, a, distance);
        for (int64_t k = 0; k < n * n; k++) {
            distance[k] = 1 - distance[k];
        }
        rc = otimes_cluster(n, distance, n, OTIMES_LINKAGE_AVERAGE, job->tree.linkage, err);
    }
    if (rc == OTIMES_OK) {
        rc = n <= MOST_LEAVES_ORDERED
                 ? otimes_tree_order_optimal(n, distance, n, job->tree.linkage, job->tree.order,
                                             NULL, err)
                 : otimes_tree_order(n, job->tree.linkage, job->tree.order, err);
    }
    otimes_free(distance);
    return rc;
}
