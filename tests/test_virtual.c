/* SPDX-License-Identifier: MIT
 *
 * Virtual heads against dense products in double, the search against full enumeration, and what
 * random subspaces must give.
 */
#include "accuracy.h"
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/virtual.h>

#include "analysis/virtual_job.h"
#include "model/model.h"
#include "num/la.h"
#include "spectra.h"

/* ---- dense ---- */

/* C = A B, [d, d]. */
static void multiply(int64_t d, const double *A, const double *B, double *C)
{
    memset(C, 0, (size_t)(d * d) * sizeof *C);
    for (int64_t i = 0; i < d; i++) {
        for (int64_t k = 0; k < d; k++) {
            for (int64_t j = 0; j < d; j++) {
                C[i * d + j] += A[i * d + k] * B[k * d + j];
            }
        }
    }
}

static double norm_of(const double *A, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += A[i] * A[i];
    }
    return sqrt(sum);
}

/* W_OV of every head, [layers, heads, d, d]. */
static double *dense_heads(const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, e = info->d_head, group = info->n_heads / info->n_kv_heads;
    double *all = calloc((size_t)(info->n_layers * info->n_heads * d * d), sizeof *all);
    assert_non_null(all);
    for (int64_t l = 0; l < info->n_layers; l++) {
        otimes_layer layer;
        otimes_err err = {0};
        assert_ok(otimes_layer_load(model, l, OTIMES_PART_ATTENTION, &layer, &err), &err);
        for (int64_t h = 0; h < info->n_heads; h++) {
            const float *V = layer.W_V.data + h / group * d * e, *O = layer.W_O.data + h * d * e;
            double *W = all + (l * info->n_heads + h) * d * d;
            for (int64_t a = 0; a < d * d; a++) {
                for (int64_t j = 0; j < e; j++) {
                    W[a] += (double)V[a / d * e + j] * (double)O[j * d + a % d];
                }
            }
        }
        otimes_layer_free(&layer);
    }
    return all;
}

/* Every chain of up to `length` heads by plain recursion: strengths by falling size. */
typedef struct listing {
    int64_t layers, heads, d, length, count;
    const double *W; /* [layers * heads, d, d] */
    bool by_norm;
    double *strength; /* of chains of exactly `length` */
} listing;

static void list_all(listing *all, int64_t from_layer, int64_t links, const double *product,
                     double norms)
{
    const int64_t d = all->d;
    if (links == all->length) {
        const double norm = norm_of(product, d * d);
        all->strength = realloc(all->strength, (size_t)(all->count + 1) * sizeof(double));
        assert_non_null(all->strength);
        all->strength[all->count++] = all->by_norm ? norm : norms > 0 ? norm / norms : 0;
        return;
    }
    double *next = calloc((size_t)(d * d), sizeof *next);
    assert_non_null(next);
    for (int64_t n = from_layer * all->heads; n < all->layers * all->heads; n++) {
        const double *W = all->W + n * d * d;
        if (product) {
            multiply(d, product, W, next);
        } else {
            memcpy(next, W, (size_t)(d * d) * sizeof *next);
        }
        list_all(all, n / all->heads + 1, links + 1, next, norms * norm_of(W, d * d));
    }
    free(next);
}

static int falling(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x > y ? -1 : x < y;
}

/* ---- goldens ---- */

static otimes_memory_sink *run(const otimes_model *model, const otimes_virtual_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_virtual(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

static const void *array(const otimes_memory_sink *memory, const char *name)
{
    const void *data = NULL;
    if (!otimes_memory_sink_array(memory, name, &data)) {
        fail_msg("%s is not written", name);
    }
    return data;
}

/* Sums of products of factors of these norms, in double. */
#define NORMS "product of the heads' norms"

static void check_pairs(const otimes_model *model, const otimes_memory_sink *memory,
                        const double *W)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, n = info->n_layers * info->n_heads;
    const double *norm = array(memory, "pair_norm"), *score = array(memory, "pair_score");
    const double *ratio = array(memory, "pair_ratio"), *expected = array(memory, "pair_expected");
    const int64_t dimension = otimes_memory_sink_attr(memory, "baseline_dimension")->i64;
    const double exact = 4 * (double)d * DBL_EPSILON, *alone = array(memory, "head_norm");
    double *product = calloc((size_t)(d * d), sizeof *product);
    for (int64_t i = 0; i < n; i++) {
        const double own = norm_of(W + i * d * d, d * d);
        accuracy("head_norm", "its value", alone[i], own, own, exact);
        for (int64_t j = 0; j < n; j++) {
            const int64_t at = i * n + j;
            if (j / info->n_heads <= i / info->n_heads) {
                assert_true(isnan(norm[at]) && isnan(score[at]) && isnan(ratio[at]) &&
                            isnan(expected[at]));
                continue;
            }
            const double both = norm_of(W + i * d * d, d * d) * norm_of(W + j * d * d, d * d);
            multiply(d, W + i * d * d, W + j * d * d, product);
            const double want = norm_of(product, d * d), chance = both / sqrt((double)dimension);
            accuracy("pair_norm", NORMS, norm[at], want, both, exact);
            accuracy("pair_expected", NORMS, expected[at], chance, both, exact);
            accuracy("pair_score", "1", score[at], want / both, 1, exact);
            accuracy("pair_ratio", "sqrt(dimension)", ratio[at], want / chance,
                     sqrt((double)dimension), exact);
        }
    }
    free(product);
}

/* Of the chain without its products: norms of heads, and of the ends over the vocabulary. */
#define SIZE "norms of the heads and of both ends"
#define MODULI "norm over the sum of moduli"

/* What is told of a chain beside its norm and trace, from its dense product [d, d]. */
static void check_spectrum(const otimes_model *model, const otimes_memory_sink *memory, int64_t at,
                           const double *product, double norms, double links)
{
    const int64_t d = otimes_model_describe(model)->d_model;
    const int64_t e = otimes_model_describe(model)->d_head;
    const double D = (double)otimes_memory_sink_attr(memory, "baseline_dimension")->i64;
    const double *sigma = (const double *)array(memory, "singular_values") + at * e;
    const double exact = 16 * (double)d * DBL_EPSILON, chance = norms * pow(D, -(links - 1) / 2);
    const double norm = norm_of(product, d * d);
    double *copy = calloc((size_t)(d * d), sizeof *copy), *want = calloc((size_t)d, sizeof *want);
    double sum = 0, entropy = 0;
    memcpy(copy, product, (size_t)(d * d) * sizeof *copy);
    assert_int_equal(otimes_la_reference.dsvd(d, d, copy, d, want, NULL, d, NULL, d), OTIMES_OK);
    for (int64_t k = 0; k < e; k++) {
        accuracy("singular_values", NORMS, sigma[k], want[k], norms, exact);
        sum += want[k];
    }
    for (int64_t k = 0; k < e; k++) {
        entropy -= want[k] > 0 ? want[k] / sum * log(want[k] / sum) : 0;
    }
    accuracy("effective_rank", "its value", ((const double *)array(memory, "effective_rank"))[at],
             exp(entropy), exp(entropy), exact * norms / sum);
    accuracy("expected", "its value", ((const double *)array(memory, "expected"))[at], chance,
             chance, exact);
    accuracy("score", "1", ((const double *)array(memory, "score"))[at], norm / norms, 1, exact);
    accuracy("ratio", "dimension to half of the links less 1",
             ((const double *)array(memory, "ratio"))[at], norm / chance, norms / chance, exact);
    double moduli;
    const double copying = spectra_copying(d, product, &moduli);
    accuracy("copying", MODULI, ((const double *)array(memory, "copying"))[at], copying,
             norms / moduli, exact);
    free(copy);
    free(want);
}

/* W_E [in, d] and W_U^T [out, d]. */
typedef struct ends {
    int64_t in, out;
    double *E, *U;
} ends;

static ends ends_of(const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, in = info->d_vocab, out = info->d_vocab_out;
    ends e = {in, out, calloc((size_t)(in * d), sizeof(double)),
              calloc((size_t)(out * d), sizeof(double))};
    float *rows = calloc((size_t)((in + out) * d), sizeof *rows);
    otimes_unembed unembed;
    otimes_err err = {0};
    assert_ok(otimes_unembed_open(model, &unembed, &err), &err);
    assert_ok(otimes_embed_rows(model, 0, in, rows, &err), &err);
    assert_ok(otimes_unembed_rows(&unembed, 0, out, rows + in * d, &err), &err);
    for (int64_t i = 0; i < (in + out) * d; i++) {
        *(i < in * d ? e.E + i : e.U + i - in * d) = (double)rows[i];
    }
    otimes_unembed_free(&unembed);
    free(rows);
    return e;
}

/* E M U^T [in, out], freed by the caller. */
static double *table_of(const ends *e, int64_t d, const double *M)
{
    double *half = calloc((size_t)(e->in * d), sizeof *half);
    double *table = calloc((size_t)(e->in * e->out), sizeof *table);
    for (int64_t i = 0; i < e->in * d; i++) {
        for (int64_t k = 0; k < d; k++) {
            half[i] += e->E[i / d * d + k] * M[k * d + i % d];
        }
    }
    for (int64_t i = 0; i < e->in * e->out; i++) {
        for (int64_t k = 0; k < d; k++) {
            table[i] += half[i / e->out * d + k] * e->U[i % e->out * d + k];
        }
    }
    free(half);
    return table;
}

/* The largest of the table are listed; those that are taken become -infinity. */
static void check_entries(const otimes_memory_sink *memory, int64_t at, int64_t entries, int64_t in,
                          int64_t out, double *table, double norm)
{
    const float *value = (const float *)array(memory, "entry_value") + at * entries;
    const int32_t *source = (const int32_t *)array(memory, "entry_source_id") + at * entries;
    const int32_t *output = (const int32_t *)array(memory, "entry_output_id") + at * entries;
    static const char *const names[] = {"entry_value", "entry_source_id", "entry_output_id"};
    const double share = 8 * (double)FLT_EPSILON;
    for (int64_t k = 0; k < entries && k < in * out; k++) {
        double *entry = table + source[k] * out + output[k];
        for (int i = 0; i < 3; i++) {
            accuracy(names[i], "norm of the table", (double)value[k], *entry, norm, share);
        }
        *entry = -INFINITY;
        for (int64_t i = 0; i < in * out; i++) {
            assert_true(table[i] <= (double)value[k] + share * norm);
        }
    }
}

/* Everything over the vocabulary of a chain with this product [d, d] of heads of these norms. */
static void check_table(const otimes_model *model, const otimes_memory_sink *memory, int64_t at,
                        const ends *v, const double *product, double norms, int64_t entries)
{
    const int64_t d = otimes_model_describe(model)->d_model;
    const int64_t e = otimes_model_describe(model)->d_head, in = v->in, out = v->out;
    const int64_t r = in < out ? in : out;
    double *table = table_of(v, d, product), *sigma = calloc((size_t)r, sizeof *sigma);
    double *copy = calloc((size_t)(in * out), sizeof *copy);
    memcpy(copy, table, (size_t)(in * out) * sizeof *copy);
    assert_int_equal(otimes_la_reference.dsvd(in, out, copy, out, sigma, NULL, r, NULL, r),
                     OTIMES_OK);
    /* Roots of Grams know the ends to the root of eps of their largest, forms of centred ties are rounded. */
    const double norm = norm_of(table, in * out), close = (double)FLT_EPSILON;
    const double size = norms * norm_of(v->E, in * d) * norm_of(v->U, out * d);
    accuracy("full_norm", SIZE, ((const double *)array(memory, "full_norm"))[at], norm, size,
             close);
    for (int64_t k = 0; k < e; k++) {
        accuracy("full_singular_values", SIZE,
                 ((const double *)array(memory, "full_singular_values"))[at * e + k],
                 k < r ? sigma[k] : 0, size, close);
    }
    if (in == out) {
        double diagonal = 0, moduli;
        for (int64_t i = 0; i < in; i++) {
            diagonal += table[i * in + i];
        }
        const double copying = spectra_copying(in, table, &moduli);
        accuracy("full_trace", SIZE, ((const double *)array(memory, "full_trace"))[at], diagonal,
                 size, close);
        accuracy("full_copying", MODULI, ((const double *)array(memory, "full_copying"))[at],
                 copying, size / moduli, close);
        spectra_hold_powers(
            in, table, e, (const double *)array(memory, "full_eigenvalues_real") + at * e,
            (const double *)array(memory, "full_eigenvalues_imag") + at * e, size, close);
    }
    check_entries(memory, at, entries, in, out, table, norm);
    free(table);
    free(sigma);
    free(copy);
}

/* How many chains of each length there are, all of them listed or left out for their bound. */
static void check_census(const otimes_memory_sink *memory, const otimes_model_info *info)
{
    const void *data;
    const int64_t lengths =
        otimes_memory_sink_array(memory, "chains_of_length", &data)->axis[0]->length;
    for (int64_t n = 2; n < lengths + 2; n++) {
        double chains = 1;
        for (int64_t i = 0; i < n; i++) { /* layers over n, times heads of each */
            chains *= (double)(info->n_layers - i) / (double)(i + 1) * (double)info->n_heads;
        }
        const double examined = ((const double *)array(memory, "examined"))[n - 2];
        accuracy_exact("chains_of_length", ((const double *)data)[n - 2], round(chains));
        assert_true(examined >= 1 && examined <= chains);
        accuracy_exact("unlisted", ((const double *)array(memory, "unlisted"))[n - 2], 0);
    }
}

/* The listed chains are the strongest, and their numbers are those of the dense product. */
static void check_chains(const otimes_model *model, const otimes_memory_sink *memory,
                         const double *W, const ends *v, int64_t top, int64_t entries, bool by_norm)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model;
    const void *data;
    const otimes_array *lengths = otimes_memory_sink_array(memory, "chain_length", &data);
    const int64_t *length = data, chains = lengths->axis[0]->length;
    const int64_t *layer = array(memory, "chain_layer"), *head = array(memory, "chain_head");
    const double *norm = array(memory, "norm"), *trace = array(memory, "trace");
    const double *score = array(memory, "score");
    const otimes_array *links = otimes_memory_sink_array(memory, "chain_layer", &data);
    const int64_t longest = links->axis[1]->length;
    double *product = calloc((size_t)(2 * d * d), sizeof *product), *next = product + d * d;
    int64_t at = 0;
    for (int64_t n = 2; n <= longest; n++) {
        listing all = {info->n_layers, info->n_heads, d, n, 0, W, by_norm, NULL};
        list_all(&all, 0, 0, NULL, 1);
        qsort(all.strength, (size_t)all.count, sizeof(double), falling);
        for (int64_t k = 0; k < top && k < all.count; k++, at++) {
            assert_true(at < chains && length[at] == n);
            double norms = 1, sum = 0;
            for (int64_t i = 0; i < n; i++) {
                const int64_t node =
                    layer[at * longest + i] * info->n_heads + head[at * longest + i];
                multiply(d, product, W + node * d * d, next);
                memcpy(product, i ? next : W + node * d * d, (size_t)(d * d) * sizeof *product);
                norms *= norm_of(W + node * d * d, d * d);
            }
            for (int64_t i = 0; i < d; i++) {
                sum += product[i * d + i];
            }
            const double want = norm_of(product, d * d);
            const double close = 4 * DBL_EPSILON * (double)(d * n) * norms;
            accuracy("norm", NORMS, norm[at], want, norms, close / norms);
            accuracy("trace", NORMS, trace[at], sum, norms, close / norms);
            accuracy_exact("chain_length", (double)length[at], (double)n);
            check_spectrum(model, memory, at, product, norms, (double)n);
            check_table(model, memory, at, v, product, norms, entries);
            const double got = by_norm ? norm[at] : score[at];
            for (int i = 0; i < 2; i++) {
                accuracy(i ? "chain_head" : "chain_layer", "strength of the chain it names", got,
                         isnan(got) ? NAN : all.strength[k], by_norm ? norms : 1,
                         4 * DBL_EPSILON * (double)(d * n));
            }
            for (int64_t i = n; i < longest; i++) {
                accuracy_exact("chain_layer", (double)layer[at * longest + i], -1);
                accuracy_exact("chain_head", (double)head[at * longest + i], -1);
            }
        }
        free(all.strength);
    }
    assert_int_equal(at, chains);
    free(product);
}

static void goldens_against_dense(void **state)
{
    enum { TOP = 6, ENTRIES = 4 };
    int checked = 0, longer = 0;
    (void)state;
    for (int g_at = 0; golden_names[g_at]; g_at++) {
        golden g;
        otimes_virtual_settings settings;
        golden_open(&g, golden_names[g_at], g_at % 3 != 2);
        const otimes_model_info *info = otimes_model_describe(g.model);
        otimes_virtual_settings_default(&settings);
        settings.top = TOP;
        settings.entries = ENTRIES;
        settings.length = info->n_layers < 3 ? 2 : 3;
        settings.order = g_at % 2 ? OTIMES_VIRTUAL_BY_NORM : OTIMES_VIRTUAL_BY_RATIO;
        if (info->n_layers < 2) {
            otimes_memory_sink *memory;
            otimes_err err = {0};
            assert_ok(otimes_memory_sink_new(&memory, &err), &err);
            assert_int_equal(
                otimes_virtual(g.model, &settings, otimes_memory_sink_sink(memory), &err),
                OTIMES_ERR_UNSUPPORTED);
            assert_non_null(strstr(err.msg, "expected at least 2 layers, got "));
            otimes_memory_sink_free(&memory);
            golden_close(&g);
            continue;
        }
        double *W = dense_heads(g.model);
        otimes_memory_sink *memory = run(g.model, &settings);
        check_pairs(g.model, memory, W);
        ends v = ends_of(g.model);
        check_chains(g.model, memory, W, &v, TOP, ENTRIES, g_at % 2);
        check_census(memory, info);
        free(v.E);
        free(v.U);
        assert_int_equal(otimes_memory_sink_attr(memory, "complete")->i64, 1);
        checked++;
        longer += settings.length > 2;
        otimes_memory_sink_free(&memory);
        free(W);
        golden_close(&g);
    }
    assert_true(checked > 40);
    print_message("%d goldens, %d with chains of three\n", checked, longer);
}

/* ---- heads of our own ---- */

static double gaussian(uint64_t *seed)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*seed >> 11) / 9007199254740992.0;
    }
    return sum;
}

/* Orthonormal rows in a random space. */
static void random_rows(uint64_t *seed, int64_t rows, int64_t d, double *out)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; k < d; k++) {
            out[i * d + k] = gaussian(seed);
        }
        for (int64_t j = 0; j < i; j++) {
            double dot = 0;
            for (int64_t k = 0; k < d; k++) {
                dot += out[i * d + k] * out[j * d + k];
            }
            for (int64_t k = 0; k < d; k++) {
                out[i * d + k] -= dot * out[j * d + k];
            }
        }
        const double norm = norm_of(out + i * d, d);
        for (int64_t k = 0; k < d; k++) {
            out[i * d + k] /= norm;
        }
    }
}

/* A job whose heads are random, with what it stands on. */
typedef struct random_job {
    otimes_model model;
    otimes_model_info info;
    otimes_virtual_settings settings;
    otimes_memory_sink *memory;
    virtual_job job;
    double *W;
} random_job;

static void make_random(random_job *r, int64_t layers, int64_t heads, int64_t d, int64_t rank,
                        int64_t length, int64_t top, int64_t budget, uint64_t seed)
{
    otimes_err err = {0};
    int rc = OTIMES_OK;
    *r = (random_job){0};
    virtual_job *job = &r->job;
    otimes_virtual_settings_default(&r->settings);
    r->settings.top = top;
    r->settings.budget = budget;
    r->model.threads = 2;
    r->info.d_model = d;
    assert_ok(otimes_memory_sink_new(&r->memory, &err), &err);
    *job = (virtual_job){.model = &r->model,
                         .info = &r->info,
                         .settings = &r->settings,
                         .sink = otimes_memory_sink_sink(r->memory),
                         .layer_count = layers,
                         .head_count = heads,
                         .nodes = layers * heads,
                         .rank = rank,
                         .dimension = 1, /* scores are their own ratios */
                         .length = length};
    job->read = otimes_pool_new(&job->pool, job->nodes * rank * d, sizeof(double), &rc, &err);
    job->write = otimes_pool_new(&job->pool, job->nodes * rank * d, sizeof(double), &rc, &err);
    job->sigma = otimes_pool_new(&job->pool, job->nodes * rank, sizeof(double), &rc, &err);
    job->norm = otimes_pool_new(&job->pool, job->nodes, sizeof(double), &rc, &err);
    job->unit = otimes_pool_new(&job->pool, job->nodes, sizeof(double), &rc, &err);
    job->list = otimes_pool_new(&job->pool, length + 1, sizeof *job->list, &rc, &err);
    job->census = otimes_pool_new(&job->pool, length + 1, sizeof *job->census, &rc, &err);
    r->W = otimes_pool_new(&job->pool, job->nodes * d * d, sizeof(double), &rc, &err);
    assert_ok(rc, &err);
    for (int64_t n = 0; n < job->nodes; n++) {
        double *u = job->read + n * rank * d, *y = job->write + n * rank * d;
        double *s = job->sigma + n * rank;
        random_rows(&seed, rank, d, u);
        random_rows(&seed, rank, d, y);
        for (int64_t k = 0; k < rank; k++) {
            s[k] = exp(gaussian(&seed)) * pow(0.5, (double)k);
            for (int64_t a = 0; a < d * d; a++) {
                r->W[n * d * d + a] += s[k] * u[k * d + a / d] * y[k * d + a % d];
            }
        }
        job->norm[n] = norm_of(s, rank);
        job->unit[n] = job->norm[n];
    }
    for (int64_t n = 0; n <= length; n++) {
        job->list[n] = (virtual_list){.length = n, .capacity = top};
    }
    assert_ok(otimes_virtual_links(job, &err), &err);
    assert_ok(otimes_virtual_search(job, &err), &err);
}

static void free_random(random_job *r)
{
    for (int64_t n = 0; n <= r->job.length; n++) {
        otimes_virtual_list_free(&r->job.list[n]);
    }
    otimes_pool_free(&r->job.pool);
    otimes_memory_sink_free(&r->memory);
}

/* Chains of up to five heads in five layers, all enumerated; with every budget the certificate
 * holds, and without an end the list is exact. */
static void search_equals_enumeration(void **state)
{
    static const int64_t budgets[] = {1000000, 100, 7, 0};
    enum { LAYERS = 5, HEADS = 3, D = 10, RANK = 3, TOP = 12 };
    double saved = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
            random_job r;
            make_random(&r, LAYERS, HEADS, D, RANK, LAYERS, TOP, budgets[b], seed);
            for (int64_t n = 2; n <= LAYERS; n++) {
                const virtual_list *list = &r.job.list[n];
                const virtual_census *c = &r.job.census[n];
                listing all = {LAYERS, HEADS, D, n, 0, r.W, false, NULL};
                list_all(&all, 0, 0, NULL, 1);
                qsort(all.strength, (size_t)all.count, sizeof(double), falling);
                assert_true(c->total == (double)all.count && c->examined <= c->total);
                assert_true(list->count <= TOP);
                assert_true(b > 0 || c->unlisted == 0);
                for (int64_t k = 0, found = 0; k < all.count && k < 3 * TOP; k++) {
                    const double gap = 1e-12;
                    if (found < list->count && fabs(list->value[found] - all.strength[k]) <= gap) {
                        found++;
                    } else { /* it was left out: rightly, or within the bound */
                        const bool weak =
                            list->count == TOP && all.strength[k] <= list->value[TOP - 1] + gap;
                        assert_true(weak || all.strength[k] <= c->unlisted + gap);
                    }
                }
                saved += budgets[b] > 1000 && n == LAYERS ? 1 - c->examined / c->total : 0;
                free(all.strength);
            }
            free_random(&r);
        }
    }
    assert_true(saved > 0); /* something was left out for its bound alone */
}

/* The mean of score^2 over random spaces is 1 / d. */
static void random_subspaces(void **state)
{
    enum { LAYERS = 2, HEADS = 40, D = 24, RANK = 4 };
    random_job r;
    double sum = 0;
    (void)state;
    make_random(&r, LAYERS, HEADS, D, RANK, 2, 1, 0, 99);
    for (int64_t i = 0; i < HEADS; i++) {
        for (int64_t j = HEADS; j < 2 * HEADS; j++) {
            const double score =
                r.job.pair_norm[i * r.job.nodes + j] / (r.job.norm[i] * r.job.norm[j]);
            sum += score * score / (HEADS * HEADS);
        }
    }
    assert_true(fabs(sum * D - 1) < 0.1);
    free_random(&r);
}

/* Centred readers and writers share a space of one dimension less; RMSNorm and raw weights do not. */
static void space_of_subspaces(void **state)
{
    static const struct {
        const char *name;
        bool processed;
        int less;
    } cases[] = {{"gpt2", true, 1}, {"gpt2", false, 0}, {"llama", true, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        golden g;
        golden_open(&g, cases[i].name, cases[i].processed);
        otimes_memory_sink *memory = run(g.model, NULL);
        assert_int_equal(otimes_memory_sink_attr(memory, "baseline_dimension")->i64,
                         otimes_model_describe(g.model)->d_model - cases[i].less);
        otimes_memory_sink_free(&memory);
        golden_close(&g);
    }
}

/* ---- requests ---- */

static void chosen_chains(void **state)
{
    static const otimes_virtual_link one[] = {{0, 1}, {1, 0}}, back[] = {{1, 0}, {0, 1}},
                                     far[] = {{0, 1}, {1, 99}};
    static const int64_t tokens[] = {1, 4, 5};
    golden g;
    otimes_err err = {0};
    otimes_virtual_settings settings;
    (void)state;
    golden_open(&g, "gpt2", true);
    const otimes_model_info *info = otimes_model_describe(g.model);
    otimes_virtual_chain chain = {one, 2};
    otimes_virtual_settings_default(&settings);
    settings.chains = &chain;
    settings.chain_count = 1;
    settings.tokens = tokens;
    settings.token_count = 3;
    otimes_memory_sink *memory = run(g.model, &settings);
    const double *norm = array(memory, "norm"), *pair = array(memory, "pair_norm");
    assert_true(fabs(norm[0] - pair[info->n_heads * info->n_layers + info->n_heads]) <
                1e-12 * norm[0]);
    const int32_t *source = array(memory, "entry_source_id");
    for (int k = 0; k < 5; k++) {
        assert_true(source[k] == 1 || source[k] == 4 || source[k] == 5);
    }
    otimes_memory_sink_free(&memory);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    chain.link = back;
    assert_int_equal(otimes_virtual(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "chain 0: expected ascending layers, got 0 after 1"));
    chain.link = far;
    assert_int_equal(otimes_virtual(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    chain.length = 1;
    assert_int_equal(otimes_virtual(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    otimes_virtual_settings_default(&settings);
    settings.length = info->n_layers + 1;
    assert_int_equal(otimes_virtual(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    settings.length = 2;
    settings.top = -1;
    assert_int_equal(otimes_virtual(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_against_dense), cmocka_unit_test(search_equals_enumeration),
        cmocka_unit_test(random_subspaces),      cmocka_unit_test(space_of_subspaces),
        cmocka_unit_test(chosen_chains),
    };
    accuracy_of("virtual");
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
