/* SPDX-License-Identifier: MIT
 *
 * Composition scores of every golden against dense products in double, published figures, and what is
 * refused.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <otimes/compose.h>

#include "model/model.h"
#include "run/rope.h"

/* ---- dense ---- */

static double *new_matrix(int64_t count)
{
    double *x = calloc((size_t)count + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

/* |A B| / (|A| |B|) for A [m, d], B [d, n]; NaN where one of them is 0. */
static double score_of(int64_t m, int64_t d, int64_t n, const double *A, const double *B)
{
    double sum = 0, a = 0, b = 0;
    for (int64_t i = 0; i < m * d; i++) {
        a += A[i] * A[i];
    }
    for (int64_t i = 0; i < d * n; i++) {
        b += B[i] * B[i];
    }
    double *row = new_matrix(n);
    for (int64_t i = 0; i < m; i++) {
        memset(row, 0, (size_t)n * sizeof *row);
        for (int64_t k = 0; k < d; k++) {
            for (int64_t j = 0; j < n; j++) {
                row[j] += A[i * d + k] * B[k * n + j];
            }
        }
        for (int64_t j = 0; j < n; j++) {
            sum += row[j] * row[j];
        }
    }
    free(row);
    return a > 0 && b > 0 ? sqrt(sum / (a * b)) : NAN;
}

static void transpose(int64_t n, const double *x, double *out)
{
    for (int64_t i = 0; i < n * n; i++) {
        out[i % n * n + i / n] = x[i];
    }
}

/* What a norm behind a block makes of its output, but for its scale: columns of W [., d]. */
static void through_norm(const otimes_model_info *info, const float *w, int64_t rows, double *W)
{
    const int64_t d = info->d_model;
    for (int64_t i = 0; w && i < rows; i++) {
        double mean = 0;
        for (int64_t k = 0; info->norm == OTIMES_NORM_LN && k < d; k++) {
            mean += W[i * d + k] / (double)d;
        }
        for (int64_t k = 0; k < d; k++) {
            W[i * d + k] = (W[i * d + k] - mean) * (double)w[k];
        }
    }
}

/* out [d, d] = A [d, e] B [e, d], or B [d, e] transposed. */
static void outer(int64_t d, int64_t e, const float *A, const double *B, bool transposed,
                  double *out)
{
    memset(out, 0, (size_t)(d * d) * sizeof *out);
    for (int64_t i = 0; i < d * d; i++) {
        for (int64_t j = 0; j < e; j++) {
            out[i] += (double)A[i / d * e + j] * (transposed ? B[i % d * e + j] : B[j * d + i % d]);
        }
    }
}

/* W_OV and W_QK of all heads, at an offset where the layer rotates. */
typedef struct dense {
    int64_t d, e, layers, heads;
    double *OV, *QK, *KQ; /* [layers, heads, d, d] */
} dense;

static double *widen(const float *x, int64_t count)
{
    double *wide = new_matrix(count);
    for (int64_t i = 0; i < count; i++) {
        wide[i] = (double)x[i];
    }
    return wide;
}

static void make_head(dense *m, const otimes_model *model, const otimes_layer *layer, int64_t l,
                      int64_t h, int64_t offset)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = m->d, e = m->e, kv = h / (info->n_heads / info->n_kv_heads);
    const int64_t at = (l * m->heads + h) * d * d;
    const otimes_rope *rope = otimes_layer_rope(model, l);
    double *O = widen(layer->W_O.data + h * e * d, e * d), *frequency = new_matrix(e);
    double *K = widen(layer->W_K.data + kv * d * e, d * e);
    otimes_err err = {0};
    through_norm(info, layer->ln1_post_w.data, e, O);
    outer(d, e, layer->W_V.data + kv * d * e, O, false, m->OV + at);
    if (offset && rope) {
        assert_ok(otimes_rope_frequencies(model, rope, frequency, &err), &err);
        otimes_rope_rotate_key(rope, frequency, (double)offset, d, e, K);
    }
    outer(d, e, layer->W_Q.data + h * d * e, K, true, m->QK + at);
    transpose(d, m->QK + at, m->KQ + at);
    free(O);
    free(K);
    free(frequency);
}

static dense make_dense(const otimes_model *model, int64_t offset)
{
    const otimes_model_info *info = otimes_model_describe(model);
    dense m = {info->d_model, info->d_head, info->n_layers, info->n_heads, NULL, NULL, NULL};
    const int64_t all = m.layers * m.heads * m.d * m.d;
    m.OV = new_matrix(all);
    m.QK = new_matrix(all);
    m.KQ = new_matrix(all);
    for (int64_t l = 0; l < m.layers; l++) {
        otimes_layer layer;
        otimes_err err = {0};
        assert_ok(otimes_layer_load(model, l, OTIMES_PART_ATTENTION, &layer, &err), &err);
        for (int64_t h = 0; h < m.heads; h++) {
            make_head(&m, model, &layer, l, h, offset);
        }
        otimes_layer_free(&layer);
    }
    return m;
}

static void free_dense(dense *m)
{
    free(m->OV);
    free(m->QK);
    free(m->KQ);
}

/* ---- runs ---- */

static otimes_memory_sink *run(const otimes_model *model, const otimes_compose_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_compose(model, settings, otimes_memory_sink_sink(memory), &err), &err);
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

/* Bases and roots are rounded to float (6e-8 of entries at most 1) and products summed in float: 1e-5 of
 * the score, or of what has no digits in weights of float32. */
static void assert_score(const char *what, double got, double want)
{
    if (isnan(want) ? !isnan(got) : !(fabs(got - want) <= 1e-5 * want + 1e-6)) {
        fail_msg("%s: %.9g, expected %.9g", what, got, want);
    }
}

/* What score [l, h, c, l2, h2] must hold, c over Q, K and, of three, V. */
static double *expected_scores(const dense *m, int64_t circuits)
{
    const int64_t n = m->layers * m->heads, square = m->d * m->d;
    double *want = new_matrix(n * circuits * n);
    for (int64_t at = 0; at < n * circuits * n; at++) {
        const int64_t i = at / (circuits * n), c = at / n % circuits, j = at % n;
        const double *R[] = {m->QK + j * square, m->KQ + j * square, m->OV + j * square};
        const bool later = j / m->heads > i / m->heads;
        want[at] = later ? score_of(m->d, m->d, m->d, m->OV + i * square, R[c]) : NAN;
    }
    return want;
}

static void check_scores(const char *what, const float *score, const double *want, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        assert_score(what, (double)score[i], want[i]);
    }
}

/* excess and z say what score says. */
static void check_baseline(const otimes_memory_sink *memory)
{
    const void *data;
    const otimes_array *scores = otimes_memory_sink_array(memory, "score", &data);
    const float *score = data, *excess = array(memory, "excess"), *z = array(memory, "z");
    const double baseline = otimes_memory_sink_attr(memory, "baseline")->f64;
    int64_t cells = 1;
    for (int i = 0; i < scores->ndim; i++) {
        cells *= scores->axis[i]->length;
    }
    for (int64_t i = 0; i < cells; i++) {
        const double s = (double)score[i], over = s - baseline;
        assert_true(isnan(s) == isnan(excess[i]));
        assert_true(isnan(s) || fabs((double)excess[i] - over) <= 3e-7);
        assert_true(isnan(s) || isnan(z[i]) || fabs(over) < 1e-6 || (z[i] > 0) == (over > 0));
    }
}

static void check_model(const char *name, const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    dense m = make_dense(model, 0);
    const int64_t n = m.layers * m.heads;
    double *want = expected_scores(&m, 3);
    static const otimes_compose_route routes[] = {OTIMES_COMPOSE_BY_CORES, OTIMES_COMPOSE_BY_GRAMS};
    for (int r = 0; r < 2; r++) {
        settings.route = routes[r];
        otimes_memory_sink *memory = run(model, &settings);
        check_scores(name, array(memory, "score"), want, 3 * n * n);
        check_baseline(memory);
        const double *ov = array(memory, "ov_norm");
        for (int64_t i = 0; i < info->n_layers * info->n_heads; i++) {
            double sum = 0;
            for (int64_t k = 0; k < m.d * m.d; k++) {
                sum += m.OV[i * m.d * m.d + k] * m.OV[i * m.d * m.d + k];
            }
            assert_true(fabs(ov[i] - sqrt(sum)) <= 1e-12 * (double)m.d * sqrt(sum));
        }
        otimes_memory_sink_free(&memory);
    }
    free(want);
    free_dense(&m);
}

static void check_offsets(const char *name, const otimes_model *model)
{
    static const int64_t offsets[] = {0, 3, -2};
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t n = info->n_layers * info->n_heads;
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    settings.offsets = offsets;
    settings.offset_count = 3;
    otimes_memory_sink *memory = run(model, &settings);
    const float *score = array(memory, "offset_score");
    for (int64_t o = 0; o < 3; o++) {
        dense m = make_dense(model, offsets[o]);
        double *want = expected_scores(&m, 2);
        check_scores(name, score + o * n * 2 * n, want, 2 * n * n);
        free(want);
        free_dense(&m);
    }
    otimes_memory_sink_free(&memory);
}

static void goldens(void **state)
{
    (void)state;
    int rotary = 0, grouped = 0, post = 0;
    for (const char *const *name = golden_names; *name; name++) {
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            golden_open(&g, *name, processed);
            const otimes_model_info *info = otimes_model_describe(g.model);
            if (info->n_layers > 1) {
                check_model(*name, g.model);
                grouped += info->n_kv_heads < info->n_heads;
                post += info->post_norm;
                if (info->positions == OTIMES_POSITIONS_ROPE && processed) {
                    check_offsets(*name, g.model);
                    rotary++;
                }
            }
            golden_close(&g);
        }
    }
    assert_true(rotary > 5 && grouped > 5 && post > 1);
}

/* ---- the ends of the stream, sets, components ---- */

/* rows [n, d] of W_E, W_U or W_pos. */
static double *vocabulary(const otimes_model *model, int what, int64_t *count)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_err err = {0};
    otimes_unembed unembed = {0};
    *count = what == 0 ? info->d_vocab : what == 1 ? info->d_vocab_out : info->n_ctx;
    float *rows = calloc((size_t)(*count * info->d_model), sizeof *rows);
    if (what == 0) {
        assert_ok(otimes_embed_rows(model, 0, *count, rows, &err), &err);
    } else if (what == 1) {
        assert_ok(otimes_unembed_open(model, &unembed, &err), &err);
        assert_ok(otimes_unembed_rows(&unembed, 0, *count, rows, &err), &err);
        otimes_unembed_free(&unembed);
    } else {
        assert_ok(otimes_position_rows(model, 0, *count, rows, &err), &err);
    }
    double *wide = widen(rows, *count * info->d_model);
    free(rows);
    return wide;
}

static void turn(int64_t rows, int64_t columns, double *x)
{
    double *copy = new_matrix(rows * columns);
    for (int64_t i = 0; i < rows * columns; i++) {
        copy[i % columns * rows + i / columns] = x[i];
    }
    memcpy(x, copy, (size_t)(rows * columns) * sizeof *x);
    free(copy);
}

/* The matrix that a part's label names: writers [n, d], readers [d, n]. */
static double *part_matrix(const otimes_model *model, const char *label, bool writer, int64_t *n,
                           int64_t *layer)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model;
    char which[16] = "";
    long long l = 0;
    *layer = -1;
    if (!strcmp(label, "embedding") || !strcmp(label, "positions")) {
        return vocabulary(model, label[0] == 'e' ? 0 : 2, n);
    }
    if (!strcmp(label, "unembedding")) {
        double *W = vocabulary(model, 1, n);
        turn(*n, d, W);
        *layer = info->n_layers;
        return W;
    }
    assert_true(sscanf(label, "L%lld mlp %15s", &l, which) >= 1);
    otimes_layer weights;
    otimes_err err = {0};
    *layer = l;
    assert_ok(otimes_layer_load(model, l, OTIMES_PART_MLP, &weights, &err), &err);
    const otimes_tensor *W = writer                   ? &weights.W_out
                             : !strcmp(which, "gate") ? &weights.W_gate
                                                      : &weights.W_in;
    *n = writer ? W->dim[0] : W->dim[1];
    double *wide = widen(W->data, W->dim[0] * W->dim[1]);
    if (writer) {
        through_norm(info, weights.ln2_post_w.data, *n, wide);
    }
    otimes_layer_free(&weights);
    return wide;
}

static void check_ends(const char *name, const otimes_model *model)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, n = info->n_layers * info->n_heads, square = d * d;
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    settings.ends = 1;
    otimes_memory_sink *memory = run(model, &settings);
    dense m = make_dense(model, 0);
    const void *data;
    const otimes_array *from = otimes_memory_sink_array(memory, "from_score", &data);
    const float *from_score = data, *between = array(memory, "between_score");
    const otimes_array *to = otimes_memory_sink_array(memory, "to_score", &data);
    const float *to_score = data;
    const int64_t tos = to->axis[0]->length;
    for (int64_t p = 0; p < from->axis[0]->length; p++) {
        int64_t rows, at;
        double *L = part_matrix(model, from->axis[0]->text[p], true, &rows, &at);
        for (int64_t j = 0; j < n; j++) {
            const double *R[] = {m.QK + j * square, m.KQ + j * square, m.OV + j * square};
            for (int64_t c = 0; c < 3; c++) {
                assert_score(name, (double)from_score[(p * 3 + c) * n + j],
                             at < j / info->n_heads ? score_of(rows, d, d, L, R[c]) : NAN);
            }
        }
        for (int64_t q = 0; q < tos; q++) {
            int64_t columns, where;
            double *R = part_matrix(model, to->axis[0]->text[q], false, &columns, &where);
            assert_score(name, (double)between[p * tos + q],
                         at < where ? score_of(rows, d, columns, L, R) : NAN);
            free(R);
        }
        free(L);
    }
    for (int64_t q = 0; q < tos; q++) {
        int64_t columns, where;
        double *R = part_matrix(model, to->axis[0]->text[q], false, &columns, &where);
        for (int64_t i = 0; i < n; i++) {
            const int64_t l = i / info->n_heads;
            const bool reads = info->parallel ? l < where : l <= where;
            assert_score(name, (double)to_score[q * n + i],
                         reads ? score_of(d, d, columns, m.OV + i * square, R) : NAN);
        }
        free(R);
    }
    free_dense(&m);
    otimes_memory_sink_free(&memory);
}

static void ends(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "llama", "gemma3_text", "gpt_neox", "olmo2"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        golden g;
        golden_open(&g, names[i], true);
        check_ends(names[i], g.model);
        golden_close(&g);
    }
}

/* A set's W_OV is the sum of its heads'. */
static void sets(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, "gpt2", true);
    static const int64_t first[] = {0, 2}, second[] = {1}, third[] = {0, 1, 2};
    const otimes_compose_set list[] = {{0, first, 2}, {0, second, 1}, {1, third, 3}};
    const otimes_model_info *info = otimes_model_describe(g.model);
    const int64_t d = info->d_model, square = d * d, heads = info->n_heads;
    const int64_t n = info->n_layers * heads;
    assert_true(heads >= 3 && info->n_layers >= 2);
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    settings.sets = list;
    settings.set_count = 3;
    otimes_memory_sink *memory = run(g.model, &settings);
    dense m = make_dense(g.model, 0);
    const float *from = array(memory, "from_score"), *to = array(memory, "to_score");
    const float *between = array(memory, "between_score");
    double *sum[3];
    for (int s = 0; s < 3; s++) {
        sum[s] = new_matrix(square);
        for (int64_t i = 0; i < list[s].count; i++) {
            for (int64_t k = 0; k < square; k++) {
                sum[s][k] += m.OV[(list[s].layer * heads + list[s].heads[i]) * square + k];
            }
        }
    }
    for (int s = 0; s < 3; s++) {
        for (int64_t j = 0; j < n; j++) {
            const double *R[] = {m.QK + j * square, m.KQ + j * square, m.OV + j * square};
            for (int64_t c = 0; c < 3; c++) {
                assert_score("set to head", (double)from[(s * 3 + c) * n + j],
                             list[s].layer < j / heads ? score_of(d, d, d, sum[s], R[c]) : NAN);
            }
            assert_score("head to set", (double)to[s * n + j],
                         j / heads < list[s].layer ? score_of(d, d, d, m.OV + j * square, sum[s])
                                                   : NAN);
        }
        for (int t = 0; t < 3; t++) {
            assert_score("set to set", (double)between[s * 3 + t],
                         list[s].layer < list[t].layer ? score_of(d, d, d, sum[s], sum[t]) : NAN);
        }
    }
    for (int s = 0; s < 3; s++) {
        free(sum[s]);
    }
    free_dense(&m);
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

/* With all components, sum over pairs of pieces of (share share score)^2 is score^2. */
static void components(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "llama"};
    for (int g_at = 0; g_at < 2; g_at++) {
        golden g;
        golden_open(&g, names[g_at], true);
        const otimes_model_info *info = otimes_model_describe(g.model);
        const int64_t n = info->n_layers * info->n_heads, k = info->d_head;
        otimes_compose_settings settings;
        otimes_compose_settings_default(&settings);
        settings.components = k;
        otimes_memory_sink *memory = run(g.model, &settings);
        const float *score = array(memory, "score");
        const float *piece[] = {array(memory, "component_score_q"),
                                array(memory, "component_score_k"),
                                array(memory, "component_score_v")};
        const double *ov = array(memory, "component_share_ov");
        const double *qk = array(memory, "component_share_qk");
        double largest = 0;
        for (int64_t at = 0; at < n * 3 * n; at++) {
            const int64_t i = at / (3 * n), c = at / n % 3, j = at % n;
            double sum = 0;
            for (int64_t a = 0; a < k; a++) {
                for (int64_t b = 0; b < k; b++) {
                    const double s = (double)piece[c][((i * n + j) * k + a) * k + b];
                    sum += pow(ov[i * k + a] * (c == 2 ? ov : qk)[j * k + b] * s, 2);
                    largest = s > largest ? s : largest;
                }
            }
            assert_score("pieces", sqrt(sum), (double)score[at]);
        }
        assert_true(largest > 0.1 && largest <= 1 + 1e-6);
        otimes_memory_sink_free(&memory);
        golden_close(&g);
    }
}

/* Panels of layers give what all layers together give. */
static void panels(void **state)
{
    (void)state;
    golden g;
    golden_open(&g, "gemma3_text", true);
    otimes_compose_settings settings;
    otimes_err err = {0};
    otimes_compose_settings_default(&settings);
    static const int64_t heads[] = {0, 1}, offsets[] = {1};
    const otimes_compose_set set = {1, heads, 2};
    settings.route = OTIMES_COMPOSE_BY_CORES;
    settings.components = 2;
    settings.ends = 1;
    settings.sets = &set;
    settings.set_count = otimes_model_describe(g.model)->n_kv_heads == 1;
    settings.offsets = offsets;
    settings.offset_count = 1;
    otimes_memory_sink *whole = run(g.model, &settings);
    settings.memory = 1;
    otimes_memory_sink *parts;
    assert_ok(otimes_memory_sink_new(&parts, &err), &err);
    assert_int_equal(otimes_compose(g.model, &settings, otimes_memory_sink_sink(parts), &err),
                     OTIMES_ERR_UNSUPPORTED);
    long long least;
    assert_int_equal(sscanf(err.msg, "memory: expected at least %lld bytes", &least), 1);
    otimes_memory_sink_free(&parts);
    settings.memory = least; /* panels of one layer */
    parts = run(g.model, &settings);
    static const char *const names[] = {"score",        "excess",   "z",
                                        "offset_score", "ov_norm",  "component_score_k",
                                        "from_score",   "to_score", "between_score"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int64_t count, other;
        double *a = sink_values(whole, names[i], &count), *b = sink_values(parts, names[i], &other);
        assert_int_equal(count, other);
        assert_close(names[i], b, a, count, 1e-6, 1e-6);
        free(a);
        free(b);
    }
    otimes_memory_sink_free(&whole);
    otimes_memory_sink_free(&parts);
    golden_close(&g);
}

/* ---- models with figures ---- */

static otimes_model *open_model(const char *path, const char *config)
{
    otimes_model *model;
    otimes_err err = {0};
    otimes_model_settings s;
    otimes_model_settings_default(&s);
    s.config_path = config;
    assert_ok(otimes_model_open(&model, path, &s, &err), &err);
    return model;
}

static const json_t *starting_with(const json_t *object, const char *start)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)object, key, value) {
        if (!strncmp(key, start, strlen(start))) {
            return value;
        }
    }
    fail_msg("no %s", start);
    return NULL;
}

static void check_published(const char *file, const json_t *figures)
{
    otimes_model *model = open_model(file, NULL);
    otimes_memory_sink *memory = run(model, NULL);
    const int64_t heads = otimes_model_describe(model)->n_heads;
    const float *score = array(memory, "score");
    static const char *const circuit[] = {"Q", "K", "V"};
    for (int64_t c = 0; c < 3; c++) {
        const json_t *table = json_object_get(figures, circuit[c]);
        assert_true(json_is_array(table));
        for (int64_t j = 0; j < heads; j++) {
            for (int64_t i = 0; i < heads; i++) {
                const double want =
                    json_number_value(json_array_get(json_array_get(table, (size_t)j), (size_t)i));
                const double got = (double)score[(i * 3 + c) * 2 * heads + heads + j];
                assert_true(fabs(got - want) <= 1e-5);
            }
        }
    }
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

static void grokking(void **state)
{
    (void)state;
    const char *path = shared_path("grokking_induction/computed.json");
    if (!path) {
        skip();
    }
    json_t *computed = json_load_file(path, 0, NULL);
    assert_non_null(computed);
    static const char *const names[] = {"induction_head_infinite", "induction_head_finite"};
    for (int i = 0; i < 2; i++) {
        char file[128];
        snprintf(file, sizeof file, "grokking_induction/%s.tl.safetensors", names[i]);
        check_published(shared_path(file),
                        starting_with(json_object_get(computed, names[i]), "composition"));
    }
    json_decref(computed);
}

static void tracr(void **state)
{
    (void)state;
    const char *path = shared_path("tracr_induction");
    if (!path) {
        skip();
    }
    otimes_model *model = open_model(path, NULL);
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    for (int r = 0; r < 3; r++) {
        settings.route = (otimes_compose_route)r;
        otimes_memory_sink *memory = run(model, &settings);
        const float *score = array(memory, "score"); /* [2, 1, 3, 2, 1] */
        assert_true(score[1] == 0 && score[5] == 0);
        assert_true(fabs((double)score[3] - .348155) <= 1e-6);
        otimes_memory_sink_free(&memory);
    }
    otimes_model_close(&model);
}

/* Both pairs of previous-token and induction head stand above all others. */
static void bundled(void **state)
{
    (void)state;
    otimes_model *model = open_model(source_path("notebooks-data/induction-2l"), NULL);
    otimes_memory_sink *memory = run(model, NULL);
    const float *score = array(memory, "score"), *z = array(memory, "z");
    for (int64_t at = 0; at < 4 * 4; at++) {
        const int64_t i = at / 4, j = at % 4, place = (i * 3 + 1) * 8 + 4 + j;
        const bool pair = i == 2 && j < 2;
        assert_true(pair ? score[place] > .16F : score[place] < .12F);
        assert_true(pair ? z[place] > 50 : z[place] < 25);
    }
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

/* ---- what is refused ---- */

static void refused(const otimes_model *model, const otimes_compose_settings *settings, int code,
                    const char *text)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_int_equal(otimes_compose(model, settings, otimes_memory_sink_sink(memory), &err), code);
    if (!strstr(err.msg, text)) {
        fail_msg("expected '%s', got '%s'", text, err.msg);
    }
    otimes_memory_sink_free(&memory);
}

static void bad_input(void **state)
{
    (void)state;
    golden g, rotary;
    static const int64_t far[] = {99}, one[] = {0}, apart[] = {0, 3}, none[] = {0};
    otimes_compose_settings s, plain;
    golden_open(&g, "gpt2", true);
    golden_open(&rotary, "llama", true);
    otimes_compose_settings_default(&plain);
    s = plain;
    s.layers = far;
    s.layer_count = 1;
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "layers");
    s.layers = one;
    refused(g.model, &s, OTIMES_ERR_UNSUPPORTED, "expected at least 2 layers, got 1");
    s = plain;
    s.heads = far;
    s.head_count = 1;
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "heads");
    s = plain;
    s.offsets = one;
    s.offset_count = 1;
    refused(g.model, &s, OTIMES_ERR_UNSUPPORTED, "offsets: expected rotary positions, got learned");
    s = plain;
    s.components = 10000;
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "components");
    const otimes_compose_set sets[] = {{99, none, 1}, {0, far, 1}, {0, apart, 2}, {0, NULL, 0}};
    s = plain;
    s.set_count = 1;
    s.sets = &sets[0];
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "set 0: expected heads of one of");
    s.sets = &sets[1];
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "set");
    s.sets = &sets[3];
    refused(g.model, &s, OTIMES_ERR_ARGUMENT, "set 0");
    s.sets = &sets[2];
    assert_true(otimes_model_describe(rotary.model)->n_kv_heads <
                otimes_model_describe(rotary.model)->n_heads);
    refused(rotary.model, &s, OTIMES_ERR_ARGUMENT,
            "expected heads that share a key/value head, got 0 and 1");
    golden_close(&g);
    golden_close(&rotary);
}

int main(void)
{
    otimes_set_blas_threads(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens),    cmocka_unit_test(ends),    cmocka_unit_test(sets),
        cmocka_unit_test(components), cmocka_unit_test(panels),  cmocka_unit_test(grokking),
        cmocka_unit_test(tracr),      cmocka_unit_test(bundled), cmocka_unit_test(bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
