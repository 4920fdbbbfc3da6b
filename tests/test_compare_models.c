/* SPDX-License-Identifier: MIT
 *
 * Models of our own compared: heads that were moved, turned, cut down; other widths over one
 * vocabulary; checkpoints; random heads and what is expected of them.
 */
#include "comparing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

static double gaussian(uint64_t *seed)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*seed >> 11) / 9007199254740992.0;
    }
    return sum;
}

/* A model of attention and vocabulary alone: sides [layers, heads, d, e], ends [vocab, d]. */
typedef struct toy {
    int64_t d, e, layers, heads, kv_heads, vocab;
    double *side[SIDES], *embed, *unembed;
} toy;

static int64_t heads_of(const toy *t, int side)
{
    return side == SIDE_K || side == SIDE_V ? t->kv_heads : t->heads;
}

static double *random_numbers(int64_t count, uint64_t *seed)
{
    double *x = calloc((size_t)count, sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < count; i++) {
        x[i] = gaussian(seed);
    }
    return x;
}

static toy toy_make(int64_t d, int64_t e, int64_t layers, int64_t heads, int64_t kv_heads,
                    int64_t vocab, uint64_t seed)
{
    toy t = {d, e, layers, heads, kv_heads, vocab, {0}, NULL, NULL};
    for (int x = 0; x < SIDES; x++) {
        t.side[x] = random_numbers(layers * heads_of(&t, x) * d * e, &seed);
    }
    t.embed = random_numbers(vocab * d, &seed);
    t.unembed = random_numbers(vocab * d, &seed);
    return t;
}

static void toy_free(toy *t)
{
    for (int x = 0; x < SIDES; x++) {
        free(t->side[x]);
    }
    free(t->embed);
    free(t->unembed);
}

static double *toy_head(const toy *t, int side, int64_t layer, int64_t head)
{
    return t->side[side] + (layer * heads_of(t, side) + head) * t->d * t->e;
}

/* ---- as a file ---- */

typedef struct writing {
    char header[8192];
    size_t header_length;
    float *data;
    size_t count;
} writing;

static void put_tensor(writing *w, const char *name, int64_t rows, int64_t columns)
{
    const size_t from = w->count, to = from + (size_t)(rows * (columns ? columns : 1));
    char shape[48];
    snprintf(shape, sizeof shape, columns ? "%lld,%lld" : "%lld", (long long)rows,
             (long long)columns);
    w->header_length +=
        (size_t)snprintf(w->header + w->header_length, sizeof w->header - w->header_length,
                         "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                         from ? "," : "{", name, shape, 4 * from, 4 * to);
    assert_true(w->header_length < sizeof w->header);
    w->data = realloc(w->data, to * sizeof *w->data);
    assert_non_null(w->data);
    for (size_t i = from; i < to; i++) {
        w->data[i] = columns ? 0 : 1; /* norms do nothing */
    }
    w->count = to;
}

static void put_ends(writing *w, const toy *t)
{
    const double *of[] = {t->embed, t->unembed};
    static const char *const name[] = {"model.embed_tokens.weight", "lm_head.weight"};
    for (int k = 0; k < 2; k++) {
        const size_t from = w->count;
        put_tensor(w, name[k], t->vocab, t->d);
        for (int64_t i = 0; i < t->vocab * t->d; i++) {
            w->data[from + (size_t)i] = (float)of[k][i];
        }
    }
    put_tensor(w, "model.norm.weight", t->d, 0);
}

static void put_layer(writing *w, const toy *t, int64_t l)
{
    static const char *const part[SIDES] = {"q", "k", "v", "o"};
    char name[96];
    for (int x = 0; x < SIDES; x++) {
        const int64_t wide = heads_of(t, x) * t->e, d = t->d;
        const size_t from = w->count;
        snprintf(name, sizeof name, "model.layers.%lld.self_attn.%s_proj.weight", (long long)l,
                 part[x]);
        put_tensor(w, name, x == SIDE_O ? d : wide, x == SIDE_O ? wide : d);
        for (int64_t k = 0; k < wide; k++) {
            const double *head = toy_head(t, x, l, k / t->e);
            for (int64_t i = 0; i < d; i++) {
                const int64_t at = x == SIDE_O ? i * wide + k : k * d + i;
                w->data[from + (size_t)at] = (float)head[i * t->e + k % t->e];
            }
        }
    }
    for (int k = 0; k < 3; k++) {
        static const char *const mlp[] = {"gate", "up", "down"};
        snprintf(name, sizeof name, "model.layers.%lld.mlp.%s_proj.weight", (long long)l, mlp[k]);
        put_tensor(w, name, k < 2 ? 1 : t->d, k < 2 ? t->d : 1);
    }
    for (int k = 0; k < 2; k++) {
        static const char *const norm[] = {"input", "post_attention"};
        snprintf(name, sizeof name, "model.layers.%lld.%s_layernorm.weight", (long long)l, norm[k]);
        put_tensor(w, name, t->d, 0);
    }
}

static otimes_model *toy_open(const toy *t, const char *name)
{
    writing w = {0};
    char config[512], file[64], weights[64];
    put_ends(&w, t);
    for (int64_t l = 0; l < t->layers; l++) {
        put_layer(&w, t, l);
    }
    strcpy(w.header + w.header_length++, "}");
    const uint64_t length = w.header_length;
    const size_t bytes = 8 + w.header_length + w.count * sizeof(float);
    unsigned char *all = malloc(bytes);
    assert_non_null(all);
    memcpy(all, &length, 8);
    memcpy(all + 8, w.header, w.header_length);
    memcpy(all + 8 + w.header_length, w.data, w.count * sizeof(float));
    snprintf(weights, sizeof weights, "%s.safetensors", name);
    write_file(weights, all, bytes);
    snprintf(config, sizeof config,
             "{\"model_type\": \"llama\", \"hidden_size\": %lld, \"head_dim\": %lld, "
             "\"num_hidden_layers\": %lld, \"num_attention_heads\": %lld, "
             "\"num_key_value_heads\": %lld, \"vocab_size\": %lld, \"intermediate_size\": 1, "
             "\"max_position_embeddings\": 64, \"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-5, "
             "\"rope_theta\": 10000.0, \"tie_word_embeddings\": false}",
             (long long)t->d, (long long)t->e, (long long)t->layers, (long long)t->heads,
             (long long)t->kv_heads, (long long)t->vocab);
    snprintf(file, sizeof file, "%s.json", name);
    write_file(file, config, strlen(config));
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    char path[128];
    snprintf(path, sizeof path, "%s", in_folder(file));
    settings.config_path = path;
    settings.threads = 1;
    otimes_model *model;
    otimes_err err = {0};
    assert_ok(otimes_model_open(&model, in_folder(weights), &settings, &err), &err);
    free(all);
    free(w.data);
    return model;
}

static otimes_compare_settings everything(void)
{
    otimes_compare_settings s;
    otimes_compare_settings_default(&s);
    s.cosines = 1;
    return s;
}

/* ---- moved ---- */

/* Head (l, h) of the second model is head from[l][h] of the first. */
static void moved_heads_are_found(void **state)
{
    enum { LAYERS = 3, HEADS = 4, N = LAYERS * HEADS };
    static const int all[N] = {7, 2, 11, 4, 0, 9, 3, 10, 6, 1, 8, 5};
    static const int within[N] = {9, 8, 11, 10, 3, 1, 0, 2, 6, 7, 5, 4}; /* layers 2, 0, 1 */
    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        const int *from = mode ? within : all;
        toy a = toy_make(12, 4, LAYERS, HEADS, HEADS, 5, 1),
            b = toy_make(12, 4, LAYERS, HEADS, HEADS, 5, 2);
        for (int x = 0; x < SIDES; x++) {
            for (int i = 0; i < N; i++) {
                memcpy(toy_head(&b, x, i / HEADS, i % HEADS),
                       toy_head(&a, x, from[i] / HEADS, from[i] % HEADS),
                       (size_t)(a.d * a.e) * sizeof(double));
            }
        }
        otimes_model *one = toy_open(&a, "one"), *two = toy_open(&b, "two");
        const otimes_model *const both[] = {one, two};
        for (int by = 0; by < 4; by++) {
            otimes_compare_settings s = everything();
            s.similarity = (otimes_compare_similarity)by;
            s.match = mode ? OTIMES_COMPARE_MATCH_LAYERS : OTIMES_COMPARE_MATCH_HEADS;
            otimes_memory_sink *memory = compare(both, 2, &s);
            const int64_t *layer = compared_numbers(memory, "match_layer");
            const int64_t *head = compared_numbers(memory, "match_head");
            const int64_t *layers = compared_numbers(memory, "matched_layer");
            const double *similarity = compared(memory, "match_similarity");
            for (int i = 0; i < N; i++) {
                assert_int_equal(layer[from[i]] * HEADS + head[from[i]], i);
                assert_true(fabs(similarity[from[i]] - 1) < 1e-6);
                assert_true(!mode || layers[from[i] / HEADS] == i / HEADS);
            }
            if (mode) {
                const double *mean = compared(memory, "layer_similarity");
                for (int l = 0; l < LAYERS; l++) {
                    assert_true(fabs(mean[l * LAYERS + layers[l]] - 1) < 1e-6);
                }
            }
            otimes_memory_sink_free(&memory);
        }
        otimes_model_close(&one);
        otimes_model_close(&two);
        toy_free(&a);
        toy_free(&b);
    }
}

/* ---- turned ---- */

/* X := X M of each head of a side, M = I + S; other side: Y := Y M^-T, to second order exact by
 * M^-1 = I - S with S^2 = 0. */
static void turn(toy *t, int left, int right, uint64_t seed)
{
    const int64_t e = t->e, half = e / 2;
    for (int64_t l = 0; l < t->layers; l++) {
        for (int64_t h = 0; h < t->heads; h++) {
            double *S = random_numbers(half * (e - half), &seed);
            double *X = toy_head(t, left, l, h), *Y = toy_head(t, right, l, h);
            for (int64_t i = 0; i < t->d; i++) {
                for (int64_t j = 0; j < half; j++) {
                    for (int64_t k = half; k < e; k++) { /* S maps the first half to the second */
                        X[i * e + k] += X[i * e + j] * S[j * (e - half) + k - half];
                    }
                }
                for (int64_t j = 0; j < half; j++) {
                    for (int64_t k = half; k < e; k++) {
                        Y[i * e + j] -= Y[i * e + k] * S[j * (e - half) + k - half];
                    }
                }
            }
            free(S);
        }
    }
}

static void another_basis_changes_nothing(void **state)
{
    static const char *const names[] = {
        "OV_cosine",       "QK_cosine", "OV_cka",   "QK_cka",   "OV_procrustes", "QK_procrustes",
        "Q_kernel",        "K_kernel",  "V_kernel", "O_kernel", "Q_mean_cosine", "O_largest_cosine",
        "K_angle_cosines", "OV_norm",   "QK_norm",  "OV_cka_z"};
    (void)state;
    toy a = toy_make(16, 4, 2, 3, 3, 5, 3), b = toy_make(16, 4, 2, 3, 3, 5, 3);
    turn(&b, SIDE_V, SIDE_O, 5);
    turn(&b, SIDE_Q, SIDE_K, 6);
    otimes_model *one = toy_open(&a, "one"), *two = toy_open(&b, "two");
    otimes_compare_settings s = everything();
    otimes_memory_sink *plain = compare((const otimes_model *const *)&one, 1, &s);
    otimes_memory_sink *turned = compare((const otimes_model *const *)&two, 1, &s);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t count, again;
        double *x = sink_values(plain, names[i], &count),
               *y = sink_values(turned, names[i], &again);
        assert_int_equal(count, again);
        for (int64_t k = 0; k < count; k++) { /* turned weights are rounded to float anew */
            assert_true(fabs(x[k] - y[k]) <= 1e-5 * fmax(1, fabs(x[k])));
        }
        free(x);
        free(y);
    }
    otimes_memory_sink_free(&plain);
    otimes_memory_sink_free(&turned);
    otimes_model_close(&one);
    otimes_model_close(&two);
    toy_free(&a);
    toy_free(&b);
}

/* ---- cut down ---- */

static void lower_rank_and_nothing(void **state)
{
    (void)state;
    toy t = toy_make(12, 4, 1, 4, 4, 5, 7);
    double *V = toy_head(&t, SIDE_V, 0, 1), *Q = toy_head(&t, SIDE_Q, 0, 2);
    for (int64_t i = 0; i < t.d; i++) {
        V[i * 4 + 2] = V[i * 4] - 2 * V[i * 4 + 1]; /* rank 3 */
        Q[i * 4 + 3] = 0;                           /* rank 2, a column of zeros among them */
        Q[i * 4 + 1] = Q[i * 4];
    }
    memset(toy_head(&t, SIDE_V, 0, 3), 0, (size_t)(t.d * t.e) * sizeof(double));
    otimes_model *model = toy_open(&t, "one");
    const otimes_model *const one[] = {model};
    otimes_compare_settings s = everything();
    otimes_memory_sink *memory = compare(one, 1, &s);
    static const int64_t rank_V[] = {4, 3, 4, 0}, rank_Q[] = {4, 4, 2, 4};
    assert_memory_equal(compared_numbers(memory, "V_rank"), rank_V, sizeof rank_V);
    assert_memory_equal(compared_numbers(memory, "Q_rank"), rank_Q, sizeof rank_Q);
    dense_model dense;
    static const double dimension[SIDES] = {12, 12, 12, 12};
    dense_make(&dense, model, false);
    /* float rounding of V's third column stands 1e-7 beside the two others: it turns nothing kept */
    pairs_are_dense(memory, 0, &dense, &dense, dimension, true, 2e-6);
    const double *ov = compared(memory, "OV_cka"), *qk = compared(memory, "QK_cka");
    for (int i = 0; i < 4; i++) {
        assert_true(isnan(ov[3 * 4 + i]) && isnan(ov[i * 4 + 3]) && !isnan(qk[3 * 4 + i]));
    }
    assert_true(isnan(compared(memory, "similarity")[15]));
    assert_true(compared_numbers(memory, "neighbor_head")[3 * 3] == -1);
    assert_true(isnan(compared(memory, "V_kernel")[15]));
    otimes_memory_sink_free(&memory);
    dense_free(&dense);
    otimes_model_close(&model);
    toy_free(&t);
}

/* ---- two models ---- */

/* Directions that draw in both spaces: 1 / the mean squared cosine of unit vectors of the column spaces
 * of the two centred ends. */
static double shared_dimension(const toy *a, const toy *b, bool out)
{
    const toy *const both[] = {a, b};
    double *basis[2];
    int64_t rank[2];
    for (int k = 0; k < 2; k++) {
        const toy *t = both[k];
        const double *end = out ? t->unembed : t->embed;
        basis[k] = calloc((size_t)(t->vocab * t->d), sizeof(double));
        for (int64_t j = 0; j < t->d; j++) {
            double mean = 0;
            for (int64_t i = 0; i < t->vocab; i++) {
                mean += (double)(float)end[i * t->d + j] / (double)t->vocab;
            }
            for (int64_t i = 0; i < t->vocab; i++) {
                basis[k][i * t->d + j] = (double)(float)end[i * t->d + j] - mean;
            }
        }
        rank[k] = dense_basis(t->vocab, t->d, basis[k]);
    }
    double *cross = dense_cross(a->vocab, rank[0], rank[1], basis[0], basis[1]);
    const double sum = dense_dot(cross, cross, rank[0] * rank[1]);
    free(cross);
    free(basis[0]);
    free(basis[1]);
    return (double)rank[0] * (double)rank[1] / sum;
}

/* Other widths, other numbers of layers, heads and groups, another d_head; and one width by choice. */
static void over_the_vocabulary(void **state)
{
    enum { V = 40 };
    (void)state;
    toy a = toy_make(12, 4, 2, 4, 2, V, 11), b = toy_make(16, 6, 3, 3, 3, V, 12);
    toy c = toy_make(12, 2, 1, 2, 1, V, 13);
    otimes_model *model[] = {toy_open(&a, "one"), toy_open(&b, "two"), toy_open(&c, "three")};
    static const char *const labels[] = {"A", "B", "C"};
    otimes_compare_settings s = everything();
    otimes_err err = {0};
    otimes_memory_sink *memory;
    s.labels = labels;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_int_equal(otimes_compare((const otimes_model *const *)model, 3, &s,
                                    otimes_memory_sink_sink(memory), &err),
                     OTIMES_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "d_model is 12 and 16; expected one vocabulary, got 40 tokens "
                                    "each, of which token 0 is \"(unknown)\""));
    otimes_memory_sink_free(&memory);
    s.same_vocab = 1;
    memory = compare((const otimes_model *const *)model, 3, &s);
    dense_model dense[3];
    const toy *const toys[] = {&a, &b, &c};
    for (int k = 0; k < 3; k++) {
        dense_make(&dense[k], model[k], true);
    }
    for (int k = 1; k < 3; k++) {
        const double in = shared_dimension(&a, toys[k], false);
        const double dimension[SIDES] = {in, in, in, shared_dimension(&a, toys[k], true)};
        /* frames come from Grams of ends of condition 3: a few roundings to float */
        pairs_are_dense(memory, k - 1, &dense[0], &dense[k], dimension, false, 5e-7);
    }
    const void *data;
    const otimes_array *array = otimes_memory_sink_array(memory, "OV_cka", &data);
    const double *ov = data;
    assert_string_equal(array->axis[0]->text[1], "C");
    assert_int_equal(array->axis[3]->length, 3);
    assert_int_equal(array->axis[4]->length, 3);
    for (int64_t i = 0; i < 8; i++) { /* what C lacks */
        for (int64_t j = 0; j < 9; j++) {
            assert_int_equal(isnan(ov[(8 + i) * 9 + j]) != 0, j > 1);
        }
    }
    const int64_t *rank = compared_numbers(memory, "other_V_rank");
    assert_true(rank[0] == 6 && rank[9] == 2 && rank[10] == -1);
    const int64_t *matched = compared_numbers(memory, "match_head");
    int64_t none = 0;
    for (int64_t i = 0; i < 8; i++) {
        none += matched[8 + i] < 0;
    }
    assert_int_equal(none, 6); /* eight heads, of which two have one */
    otimes_memory_sink_free(&memory);
    for (int k = 0; k < 3; k++) {
        dense_free(&dense[k]);
    }
    /* One width: the stream unless the vocabulary is asked for. */
    const otimes_model *const pair[] = {model[0], model[2]};
    s.space = OTIMES_COMPARE_VOCAB;
    memory = compare(pair, 2, &s);
    const double *again = compared(memory, "OV_cka");
    dense_make(&dense[0], model[0], true);
    dense_make(&dense[2], model[2], true);
    const double in = shared_dimension(&a, &c, false);
    const double dimension[SIDES] = {in, in, in, shared_dimension(&a, &c, true)};
    pairs_are_dense(memory, 0, &dense[0], &dense[2], dimension, false, 5e-7);
    const double over = again[0];
    otimes_memory_sink_free(&memory);
    s.space = OTIMES_COMPARE_AUTO;
    memory = compare(pair, 2, &s);
    assert_true(fabs(compared(memory, "OV_cka")[0] - over) > 1e-3);
    assert_non_null(strstr(otimes_memory_sink_attr(memory, "space")->text, "stream"));
    otimes_memory_sink_free(&memory);
    dense_free(&dense[0]);
    dense_free(&dense[2]);
    for (int k = 0; k < 3; k++) {
        otimes_model_close(&model[k]);
    }
    toy_free(&a);
    toy_free(&b);
    toy_free(&c);
}

/* ---- checkpoints ---- */

static void checkpoints_drift(void **state)
{
    enum { N = 6, MODELS = 4 };
    static const char *const names[CIRCUITS][3] = {
        {"OV_cosine_previous", "OV_cosine_first", "OV_cosine_last"},
        {"QK_cosine_previous", "QK_cosine_first", "QK_cosine_last"}};
    uint64_t seed = 21;
    otimes_model *model[MODELS];
    dense_model dense[MODELS];
    (void)state;
    toy t = toy_make(12, 4, 2, 3, 1, 19, 20);
    for (int m = 0; m < MODELS; m++) {
        char name[16];
        for (int x = 0; m && x < SIDES; x++) {
            for (int64_t i = 0; i < t.layers * heads_of(&t, x) * t.d * t.e; i++) {
                t.side[x][i] += 0.4 * gaussian(&seed);
            }
        }
        snprintf(name, sizeof name, "step%d", m);
        model[m] = toy_open(&t, name);
        dense_make(&dense[m], model[m], false);
    }
    otimes_compare_settings s = everything();
    otimes_memory_sink *memory = compare((const otimes_model *const *)model, MODELS, &s);
    const double *k = compared(memory, "k_composition");
    for (int m = 0; m < MODELS; m++) {
        for (int64_t i = 0; i < N; i++) {
            for (int c = 0; c < CIRCUITS; c++) {
                for (int ref = 0; ref < 3; ref++) {
                    const int to = ref == 0 ? m - 1 : ref == 1 ? 0 : MODELS - 1;
                    const double got = compared(memory, names[c][ref])[m * N + i];
                    assert_true(to < 0
                                    ? isnan(got)
                                    : fabs(got - dense_cosine(&dense[to], &dense[m], c, i)) < 1e-6);
                }
            }
            for (int64_t j = 0; j < N; j++) {
                const double got = k[(m * N + i) * N + j];
                assert_true(j / 3 <= i / 3
                                ? isnan(got)
                                : fabs(got - dense_k_composition(&dense[m], i, j)) < 1e-6);
            }
        }
    }
    /* The same numbers as of all pairs. */
    const double *first = compared(memory, "OV_cosine_first"), *all = compared(memory, "OV_cosine");
    const double *cka = compared(memory, "QK_cka_first"), *ckas = compared(memory, "QK_cka");
    const double *norms = compared(memory, "OV_norm"), *ratio = compared(memory, "OV_norm_ratio");
    const double *others = compared(memory, "other_OV_norm");
    for (int m = 1; m < MODELS; m++) {
        for (int64_t i = 0; i < N; i++) {
            assert_true(fabs(first[m * N + i] - all[((m - 1) * N + i) * N + i]) < 1e-6);
            assert_true(fabs(cka[m * N + i] - ckas[((m - 1) * N + i) * N + i]) < 1e-6);
            const double before = m > 1 ? others[(m - 2) * N + i] : norms[i];
            assert_true(fabs(ratio[m * N + i] - others[(m - 1) * N + i] / before) < 1e-12);
        }
    }
    assert_true(fabs(otimes_memory_sink_attr(memory, "k_composition_expected")->f64 -
                     1 / sqrt(12.0)) < 1e-15);
    otimes_memory_sink_free(&memory);
    /* Over the vocabulary drift is there, composition is not. */
    s.space = OTIMES_COMPARE_VOCAB;
    s.same_vocab = 1;
    memory = compare((const otimes_model *const *)model, 3, &s);
    const double *over = compared(memory, "OV_cosine_first");
    const double *whole = compared(memory, "OV_cosine");
    const void *data;
    assert_null(otimes_memory_sink_array(memory, "k_composition", &data));
    assert_true(fabs(over[2 * N + 1] - whole[(N + 1) * N + 1]) < 1e-6);
    otimes_memory_sink_free(&memory);
    for (int m = 0; m < MODELS; m++) {
        dense_free(&dense[m]);
        otimes_model_close(&model[m]);
    }
    toy_free(&t);
}

/* ---- chance ---- */

static double mean_of(const double *array, int64_t n, double *square)
{
    double sum = 0;
    *square = 0;
    for (int64_t i = 0; i < n * n; i++) {
        if (i % n != i / n) {
            sum += array[i] / (double)(n * (n - 1));
            *square += array[i] * array[i] / (double)(n * (n - 1));
        }
    }
    return sum;
}

/* 24 random heads: 276 pairs, nearly independent. Means of z lie within 5 / sqrt(276) of 0 and of z^2
 * within 5 sqrt(2 / 276) of 1; measures lie by as much of their spread about what is expected. */
static void random_heads_are_as_expected(void **state)
{
    enum { N = 24, PAIRS = N * (N - 1) / 2 };
    static const char *const z[] = {"OV_cosine_z", "QK_cosine_z", "OV_cka_z",   "QK_cka_z",
                                    "Q_kernel_z",  "K_kernel_z",  "V_kernel_z", "O_kernel_z"};
    static const struct {
        const char *name, *expected;
        int place; /* along side or circuit */
    } means[] = {{"Q_kernel", "kernel_expected", SIDE_Q},
                 {"O_kernel", "kernel_expected", SIDE_O},
                 {"V_largest_cosine", "largest_cosine_expected", SIDE_V},
                 {"K_mean_cosine", "mean_cosine_expected", SIDE_K},
                 {"OV_procrustes", "procrustes_expected", CIRCUIT_OV},
                 {"QK_procrustes", "procrustes_expected", CIRCUIT_QK}};
    double square;
    (void)state;
    toy t = toy_make(40, 6, 2, N / 2, N / 2, 5, 31);
    otimes_model *model = toy_open(&t, "one");
    otimes_compare_settings s = everything();
    otimes_memory_sink *memory = compare((const otimes_model *const *)&model, 1, &s);
    for (size_t i = 0; i < sizeof z / sizeof *z; i++) {
        assert_true(fabs(mean_of(compared(memory, z[i]), N, &square)) < 5 / sqrt(PAIRS));
        assert_true(fabs(square - 1) < 5 * sqrt(2.0 / PAIRS));
    }
    for (size_t i = 0; i < sizeof means / sizeof *means; i++) {
        const double mean = mean_of(compared(memory, means[i].name), N, &square);
        const double spread = sqrt(square - mean * mean);
        const double expected = compared(memory, means[i].expected)[means[i].place];
        /* 64 draws stand behind an expectation */
        assert_true(fabs(mean - expected) < 5 * spread * (1 / sqrt(PAIRS) + 1 / 8.0));
        assert_true(fabs(mean - expected) < 0.03);
    }
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
    toy_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(moved_heads_are_found, empty_folder),
        cmocka_unit_test_teardown(another_basis_changes_nothing, empty_folder),
        cmocka_unit_test_teardown(lower_rank_and_nothing, empty_folder),
        cmocka_unit_test_teardown(over_the_vocabulary, empty_folder),
        cmocka_unit_test_teardown(checkpoints_drift, empty_folder),
        cmocka_unit_test_teardown(random_heads_are_as_expected, empty_folder),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
