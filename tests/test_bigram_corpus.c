/* SPDX-License-Identifier: MIT
 *
 * What `bigram` says of a corpus against plain loops over the
 * table, values of NumPy and SciPy (golden/make_bigram_corpus.py), and a model that is a bigram table.
 */
#include "accuracy.h"
#include "counted.h"
#include "seeded.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <otimes/bigram.h>

#include "format/open.h"

/* ---- the analysis ---- */

static otimes_memory_sink *run(const otimes_model *model, const otimes_bigram_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_bigram(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

static double total_of(const otimes_memory_sink *memory, const char *name)
{
    const otimes_attr *attr = otimes_memory_sink_attr(memory, name);
    assert_non_null(attr);
    return attr->kind == OTIMES_ATTR_F64 ? attr->f64 : (double)attr->i64;
}

static double rank_of(const double *x, int64_t count, double value)
{
    double below = 0, same = 0;
    for (int64_t i = 0; i < count; i++) {
        below += x[i] < value;
        same += x[i] == value;
    }
    return below + (same + 1) / 2;
}

static double correlation(const double *x, const double *y, int64_t count)
{
    double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;
    bool varies_x = false, varies_y = false;
    for (int64_t i = 0; i < count; i++) {
        varies_x = varies_x || x[i] != x[0];
        varies_y = varies_y || y[i] != y[0];
        mean_x += x[i] / (double)count;
        mean_y += y[i] / (double)count;
    }
    for (int64_t i = 0; i < count; i++) {
        xx += (x[i] - mean_x) * (x[i] - mean_x);
        yy += (y[i] - mean_y) * (y[i] - mean_y);
        xy += (x[i] - mean_x) * (y[i] - mean_y);
    }
    return varies_x && varies_y ? xy / sqrt(xx * yy) : NAN;
}

enum { MEASURES = 5, RANKS = 3 };
static const char *const measure_names[MEASURES] = {"corpus_entropy", "corpus_cross_entropy",
                                                    "corpus_kl", "corpus_rank_correlation",
                                                    "corpus_log_correlation"};

/* Counts alone are summed in double; the table is of float32, and so are logarithms of its rows' sums. */
static const double measure_close[MEASURES] = {64 * DBL_EPSILON, 8 * (double)FLT_EPSILON,
                                               8 * (double)FLT_EPSILON, 64 * DBL_EPSILON,
                                               8 * (double)FLT_EPSILON};

/* The measures of one row by their definitions. */
static void measure(const double *table, const double *n, int64_t columns, double *out)
{
    double total = 0, exps = 0, entropy = 0, cross = 0;
    double *ranks = calloc(4 * (size_t)columns, sizeof *ranks);
    assert_non_null(ranks);
    double *count_ranks = ranks + columns, *logs = ranks + 2 * columns;
    for (int64_t o = 0; o < columns; o++) {
        total += n[o];
        exps += exp(table[o]);
    }
    for (int64_t o = 0; o < columns; o++) {
        const double p = n[o] / total;
        entropy -= p > 0 ? p * log(p) : 0;
        cross -= p * (table[o] - log(exps));
        ranks[o] = rank_of(table, columns, table[o]);
        count_ranks[o] = rank_of(n, columns, n[o]);
        logs[o] = log1p(n[o]);
    }
    out[0] = entropy;
    out[1] = cross;
    out[2] = cross - entropy;
    out[3] = correlation(ranks, count_ranks, columns);
    out[4] = correlation(table, logs, columns);
    free(ranks);
}

static bool top_is_same(const double *table, const double *n, int64_t columns)
{
    int64_t best = 0;
    double most = 0;
    for (int64_t o = 0; o < columns; o++) {
        best = table[o] > table[best] ? o : best;
        most = fmax(most, n[o]);
    }
    return n[best] == most;
}

/* Every row and every total of a run with its own full table. */
static void check_run(const otimes_model *model, otimes_bigram_settings *settings, const double *n,
                      int64_t vocab)
{
    int64_t count;
    const int64_t rows = settings->rows ? settings->row_count : vocab;
    settings->full = OTIMES_BIGRAM_FULL_F32;
    otimes_memory_sink *memory = run(model, settings);
    double *table = sink_values(memory, "table", &count), *got[MEASURES];
    double *counts = sink_values(memory, "corpus_count", &count);
    double *top = sink_values(memory, "corpus_top_id", &count);
    double sums[MEASURES] = {0}, weights[MEASURES] = {0}, pairs = 0, distinct = 0, same = 0;
    for (int m = 0; m < MEASURES; m++) {
        got[m] = sink_values(memory, measure_names[m], &count);
        assert_int_equal(count, rows);
    }
    for (int64_t i = 0; i < rows; i++) {
        const double *of = n + (settings->rows ? settings->rows[i] : i) * vocab;
        double want[MEASURES] = {NAN, NAN, NAN, NAN, NAN}, total = 0;
        int64_t most = 0;
        for (int64_t o = 0; o < vocab; o++) {
            total += of[o];
            distinct += of[o] > 0;
            most = of[o] > of[most] ? o : most;
        }
        pairs += total;
        accuracy_exact("corpus_count", counts[i], total);
        accuracy_exact("corpus_top_id", top[i], total > 0 ? (double)most : -1);
        if (total > 0) {
            measure(table + i * vocab, of, vocab, want);
            same += top_is_same(table + i * vocab, of, vocab) ? total : 0;
        }
        for (int m = 0; m < MEASURES; m++) {
            accuracy(measure_names[m], "1, or its value", got[m][i], want[m],
                     fmax(1, fabs(want[m])), measure_close[m]);
            sums[m] += isnan(want[m]) ? 0 : total * want[m];
            weights[m] += isnan(want[m]) ? 0 : total;
        }
    }
    static const char *const totals[MEASURES] = {
        "corpus_total_entropy", "corpus_total_cross_entropy", "corpus_total_kl",
        "corpus_mean_rank_correlation", "corpus_mean_log_correlation"};
    for (int m = 0; m < MEASURES; m++) {
        const double want = sums[m] / weights[m], found = total_of(memory, totals[m]);
        assert_close(totals[m], &found, &want, 1, 2e-6, 2e-6);
        free(got[m]);
    }
    assert_true(total_of(memory, "corpus_pairs") == pairs);
    assert_true(total_of(memory, "corpus_distinct_pairs") == distinct);
    const double agreement = total_of(memory, "corpus_top_agreement"), wanted = same / pairs;
    assert_close("corpus_top_agreement", &agreement, &wanted, 1, 1e-12, 0);
    assert_true(total_of(memory, "corpus_uniform_cross_entropy") == log((double)vocab));
    free(table);
    free(counts);
    free(top);
    otimes_memory_sink_free(&memory);
}

/* Every golden with one vocabulary: bare and exact; tokens that never occur, few and many pairs. */
static void plain_loops(void **state)
{
    (void)state;
    static const int64_t rows[] = {0, 1, 4};
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        golden_open_on(1 + i % 2, &g, golden_names[i], true);
        const int64_t vocab = otimes_model_describe(g.model)->d_vocab;
        if (vocab != otimes_model_describe(g.model)->d_vocab_out) {
            golden_close(&g);
            continue;
        }
        double *n = calloc((size_t)(vocab * vocab), sizeof *n);
        assert_non_null(n);
        otimes_bigram_settings settings;
        otimes_bigram_settings_default(&settings);
        otimes_bigram_counts *counts = counted_texts(7 + (uint64_t)i, vocab, 1 + i % 5 * 3, n);
        settings.corpus = counts;
        check_run(g.model, &settings, n, vocab);
        settings.exact = 1;
        check_run(g.model, &settings, n, vocab);
        settings.rows = rows;
        settings.row_count = 3;
        check_run(g.model, &settings, n, vocab);
        otimes_bigram_counts_free(&counts);
        free(n);
        golden_close(&g);
    }
}

static otimes_model *open_model(const char *path, bool processed, int threads)
{
    otimes_model *model;
    otimes_err err = {0};
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    if (!processed) {
        settings.fold_ln = settings.center_writing_weights = settings.center_unembed =
            settings.fold_value_biases = 0;
    }
    settings.threads = threads;
    assert_ok(otimes_model_open(&model, path, &settings, &err), &err);
    return model;
}

/* Correlations of ranks where the table is a float32 one, the expected of a float64 one: two entries that
 * are equal to rounding may change places, which moves that of a token with one successor by
 * 12 (V/2) / sqrt((V^3 - V) 3 V^2) = 1e-4 and that of others by less. */
static void assert_ranks(const double *got, const double *want, int64_t count)
{
    int64_t moved = 0;
    assert_close("corpus_rank_correlation", got, want, count, 0, 2.2e-4);
    for (int64_t i = 0; i < count; i++) {
        moved += fabs(got[i] - want[i]) > 1e-9;
    }
    assert_in_range(moved, 0, count / 50);
}

/* The bundled model on a page of Python, in float64 by NumPy and SciPy. */
static void bundled_model(void **state)
{
    (void)state;
    enum { COLUMNS = 4, TOTALS = 6 };
    static const int measures[COLUMNS] = {0, 1, 3, 4};
    static const char *const names[] = {"processed", "raw", "exact"};
    static const char *const totals[TOTALS] = {
        "corpus_total_entropy", "corpus_total_cross_entropy",   "corpus_unigram_cross_entropy",
        "corpus_top_agreement", "corpus_mean_rank_correlation", "corpus_mean_log_correlation"};
    golden g = {.name = "induction-2l"};
    otimes_err err = {0};
    int64_t count, id_count;
    assert_ok(
        otimes_store_open(&g.expected, source_path("tests/data/bigram_corpus.safetensors"), &err),
        &err);
    const double *ids = golden_values(&g, "ids", &id_count);
    int64_t *id = calloc((size_t)id_count, sizeof *id);
    assert_non_null(id);
    for (int64_t i = 0; i < id_count; i++) {
        id[i] = (int64_t)ids[i];
    }
    otimes_bigram_counts *counts = counted_none();
    assert_ok(otimes_bigram_counts_add(counts, id, id_count, &err), &err);
    for (int t = 0; t < 3; t++) {
        char key[64];
        otimes_bigram_settings settings;
        otimes_bigram_settings_default(&settings);
        settings.exact = t == 2;
        settings.corpus = counts;
        otimes_model *model =
            open_model(source_path("notebooks-data/induction-2l"), t != 1, 1 + t % 2);
        otimes_memory_sink *memory = run(model, &settings);
        snprintf(key, sizeof key, "%s.rows", names[t]);
        const double *rows = golden_values(&g, key, &count);
        for (int m = 0; m < COLUMNS; m++) {
            int64_t tokens;
            double *got = sink_values(memory, measure_names[measures[m]], &tokens);
            double *want = calloc((size_t)tokens, sizeof *want);
            assert_non_null(want);
            assert_int_equal(tokens * COLUMNS, count);
            for (int64_t i = 0; i < tokens; i++) {
                want[i] = rows[i * COLUMNS + m];
            }
            if (measures[m] == RANKS) {
                assert_ranks(got, want, tokens);
            } else {
                assert_close(measure_names[measures[m]], got, want, tokens, 2e-6, 1e-6);
            }
            free(got);
            free(want);
        }
        snprintf(key, sizeof key, "%s.totals", names[t]);
        const double *want = golden_values(&g, key, &count);
        for (int m = 0; m < TOTALS; m++) {
            const double got = total_of(memory, totals[m]);
            assert_close(totals[m], &got, &want[m], 1, 1e-6, 0);
        }
        assert_true(total_of(memory, "corpus_tokens") == (double)id_count);
        otimes_memory_sink_free(&memory);
        otimes_model_close(&model);
    }
    otimes_bigram_counts_free(&counts);
    otimes_store_close(&g.expected);
    free(id);
}

/* ---- a model that is a table ---- */

enum { V = 12 };

static const char table_config[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 12, \"intermediate_size\": 4, "
    "\"num_attention_heads\": 1, \"num_key_value_heads\": 1, \"num_hidden_layers\": 1, "
    "\"vocab_size\": 12, \"max_position_embeddings\": 4, \"hidden_act\": \"silu\", "
    "\"rms_norm_eps\": 1e-6, \"rope_theta\": 10000.0, \"tie_word_embeddings\": false}";

/* What comes after the first three is zero: the layer does nothing. */
static const struct {
    const char *name;
    int rows, columns;
} table_tensors[] = {{"model.embed_tokens.weight", V, V},
                     {"lm_head.weight", V, V},
                     {"model.norm.weight", V, 0},
                     {"model.layers.0.input_layernorm.weight", V, 0},
                     {"model.layers.0.post_attention_layernorm.weight", V, 0},
                     {"model.layers.0.self_attn.q_proj.weight", V, V},
                     {"model.layers.0.self_attn.k_proj.weight", V, V},
                     {"model.layers.0.self_attn.v_proj.weight", V, V},
                     {"model.layers.0.self_attn.o_proj.weight", V, V},
                     {"model.layers.0.mlp.gate_proj.weight", 4, V},
                     {"model.layers.0.mlp.up_proj.weight", 4, V},
                     {"model.layers.0.mlp.down_proj.weight", V, 4}};

/* W_E = 1, W_U = any table, a norm that leaves the rows of W_E as they are. */
static otimes_model *table_model(const float *table)
{
    float values[6 * V * V + 3 * V + 12 * V] = {0};
    unsigned char bytes[8 + 2048 + sizeof values];
    json_t *header = json_object();
    int end = 0;
    for (size_t t = 0; t < sizeof table_tensors / sizeof *table_tensors; t++) {
        const int rows = table_tensors[t].rows, columns = table_tensors[t].columns, begin = end;
        end += rows * (columns ? columns : 1) * (int)sizeof *values;
        json_t *shape = columns ? json_pack("[i, i]", rows, columns) : json_pack("[i]", rows);
        json_object_set_new(header, table_tensors[t].name,
                            json_pack("{s:s, s:o, s:[i, i]}", "dtype", "F32", "shape", shape,
                                      "data_offsets", begin, end));
    }
    assert_int_equal(end, sizeof values);
    for (int i = 0; i < V; i++) {
        values[i * V + i] = 1;
        values[2 * V * V + i] = (float)sqrt(1.0 / V + 1e-6);
        for (int o = 0; o < V; o++) {
            values[V * V + o * V + i] = table[i * V + o];
        }
    }
    char *text = json_dumps(header, JSON_COMPACT);
    const size_t length = strlen(text);
    assert_true(length <= 2048);
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(length >> 8 * i);
    }
    memcpy(bytes + 8, text, length);
    memcpy(bytes + 8 + length, values, sizeof values);
    write_file("model.safetensors", bytes, 8 + length + sizeof values);
    write_file("config.json", table_config, sizeof table_config - 1);
    json_decref(header);
    free(text);
    return open_model(temp_folder, false, 1);
}

/* The table of a corpus' log-bigrams is that corpus' bigram model: nothing is left to explain. */
static void log_bigrams(void **state)
{
    (void)state;
    double n[V * V] = {0};
    float table[V * V];
    otimes_bigram_counts *counts = counted_texts(11, V, 300, n);
    for (int s = 0; s < V; s++) {
        double total = 0;
        for (int o = 0; o < V; o++) {
            total += n[s * V + o];
        }
        for (int o = 0; o < V; o++) {
            assert_true(n[s * V + o] > 0);
            table[s * V + o] = (float)log(n[s * V + o] / total);
        }
    }
    otimes_model *model = table_model(table);
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    settings.corpus = counts;
    for (int exact = 0; exact < 2; exact++) {
        int64_t count;
        settings.exact = exact;
        otimes_memory_sink *memory = run(model, &settings);
        double *kl = sink_values(memory, "corpus_kl", &count);
        double *ranks = sink_values(memory, "corpus_rank_correlation", &count);
        for (int s = 0; s < V; s++) {
            assert_true(fabs(kl[s]) < 1e-6);
            assert_true(fabs(ranks[s] - 1) < 1e-12);
        }
        assert_true(fabs(total_of(memory, "corpus_total_kl")) < 1e-6);
        assert_true(total_of(memory, "corpus_total_entropy") > 1);
        assert_true(total_of(memory, "corpus_unigram_cross_entropy") >
                    total_of(memory, "corpus_total_entropy"));
        assert_true(total_of(memory, "corpus_top_agreement") == 1);
        free(kl);
        free(ranks);
        otimes_memory_sink_free(&memory);
    }
    otimes_model_close(&model);
    otimes_bigram_counts_free(&counts);
}

/* Rows of equal entries, tokens all of whose successors are as frequent, ties among successors and beside
 * them, an outlier. */
static void ties(void **state)
{
    (void)state;
    static const int64_t pairs[][2] = {{0, 1}, {0, 2}, {0, 2}, {1, 3},
                                       {1, 4}, {1, 4}, {1, 5}, {3, 0}};
    double n[V * V] = {0};
    float table[V * V] = {0};
    otimes_err err = {0};
    otimes_bigram_counts *counts = counted_none();
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        n[pairs[i][0] * V + pairs[i][1]]++;
        assert_ok(otimes_bigram_counts_add(counts, pairs[i], 2, &err), &err);
    }
    for (int64_t o = 0; o < V; o++) { /* every token follows 2 twice */
        const int64_t text[] = {2, o};
        n[2 * V + o] = 2;
        for (int k = 0; k < 2; k++) {
            assert_ok(otimes_bigram_counts_add(counts, text, 2, &err), &err);
        }
        table[V + o] = o == 3 || o == 4 || o == 9 ? 7 : (float)o / 2;
        table[2 * V + o] = (float)(o % 5);
        table[3 * V + o] = (float)-o;
    }
    table[V + 5] = -1e20F; /* beside which all others are one */
    otimes_model *model = table_model(table);
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    settings.corpus = counts;
    check_run(model, &settings, n, V);
    otimes_model_close(&model);
    otimes_bigram_counts_free(&counts);
}

/* ---- more rows than are taken at once ---- */

enum { TALL = 7900, CHOSEN = 5 };

static const recipe tall = {"tall",
                            "{\"model_type\": \"llama\", \"hidden_size\": 16, "
                            "\"intermediate_size\": 8, \"num_attention_heads\": 2, "
                            "\"num_key_value_heads\": 2, \"num_hidden_layers\": 1, "
                            "\"vocab_size\": 7900, \"max_position_embeddings\": 64, "
                            "\"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-5, "
                            "\"rope_theta\": 10000.0, \"tie_word_embeddings\": false}",
                            1,
                            0,
                            {{"lm_head.weight", TALL, 16},
                             {"model.embed_tokens.weight", TALL, 16},
                             {"model.norm.weight", 16, 0},
                             {"model.layers.%d.input_layernorm.weight", 16, 0},
                             {"model.layers.%d.post_attention_layernorm.weight", 16, 0},
                             {"model.layers.%d.self_attn.q_proj.weight", 16, 16},
                             {"model.layers.%d.self_attn.k_proj.weight", 16, 16},
                             {"model.layers.%d.self_attn.v_proj.weight", 16, 16},
                             {"model.layers.%d.self_attn.o_proj.weight", 16, 16},
                             {"model.layers.%d.mlp.gate_proj.weight", 8, 16},
                             {"model.layers.%d.mlp.up_proj.weight", 8, 16},
                             {"model.layers.%d.mlp.down_proj.weight", 16, 8}}};

/* Every token occurs, and one has more successors than levels have buckets. */
static otimes_bigram_counts *count_tall(void)
{
    uint64_t state = 5;
    otimes_err err = {0};
    otimes_bigram_counts *counts = counted_none();
    for (int64_t s = 0; s < TALL; s++) {
        const int64_t text[] = {s, counted_draw(&state, TALL), TALL - 1, s};
        assert_ok(otimes_bigram_counts_add(counts, text, 4, &err), &err);
    }
    return counts;
}

/* Rows are the same alone and among all, at any number of threads. */
static void many_rows(void **state)
{
    (void)state;
    static const int64_t rows[CHOSEN] = {0, 7679, 7680, 7800, TALL - 1};
    otimes_bigram_counts *counts = count_tall();
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    settings.top = 1;
    settings.statistics = 0;
    settings.corpus = counts;
    otimes_model *models[] = {seeded_model(&tall, 1), seeded_model(&tall, 2)};
    otimes_memory_sink *whole[] = {run(models[0], &settings), run(models[1], &settings)};
    settings.rows = rows;
    settings.row_count = CHOSEN;
    otimes_memory_sink *part = run(models[0], &settings);
    assert_true(total_of(whole[0], "corpus_pairs") == 3 * TALL);
    for (int m = 0; m < MEASURES; m++) {
        int64_t count;
        double *one = sink_values(whole[0], measure_names[m], &count);
        double *two = sink_values(whole[1], measure_names[m], &count);
        double *few = sink_values(part, measure_names[m], &count);
        assert_memory_equal(one, two, TALL * sizeof *one);
        assert_false(isnan(one[0]) || isnan(one[TALL - 1]));
        for (int i = 0; i < CHOSEN; i++) {
            assert_close(measure_names[m], &few[i], &one[rows[i]], 1, 1e-6, 1e-6);
        }
        free(one);
        free(two);
        free(few);
    }
    for (int i = 0; i < 2; i++) {
        otimes_memory_sink_free(&whole[i]);
        otimes_model_close(&models[i]);
    }
    otimes_memory_sink_free(&part);
    otimes_bigram_counts_free(&counts);
}

static void requests_that_cannot_be_met(void **state)
{
    (void)state;
    static const int64_t columns[] = {0, 1}, text[] = {1, 2, 1}, large[] = {1, 1000};
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_bigram_settings settings;
    golden g;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    otimes_bigram_counts *counts = counted_none();
    assert_ok(otimes_bigram_counts_add(counts, text, 3, &err), &err);
    otimes_bigram_settings_default(&settings);
    settings.corpus = counts;
    golden_open(&g, "transformer_lens_none", true);
    assert_int_equal(otimes_bigram(g.model, &settings, sink, &err), OTIMES_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "corpus: expected one vocabulary, got "));
    golden_close(&g);
    golden_open(&g, "llama", true);
    settings.columns = columns;
    settings.column_count = 2;
    assert_int_equal(otimes_bigram(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    assert_string_equal(err.msg, "corpus: expected every output token, got 2 chosen columns");
    settings.columns = NULL;
    assert_ok(otimes_bigram_counts_add(counts, large, 2, &err), &err);
    assert_int_equal(otimes_bigram(g.model, &settings, sink, &err), OTIMES_ERR_ARGUMENT);
    assert_string_equal(err.msg, "corpus: expected ids below 19, the model's vocabulary, got 1000");
    golden_close(&g);
    otimes_bigram_counts_free(&counts);
    otimes_memory_sink_free(&memory);
}

int main(void)
{
    accuracy_of("bigram");
    otimes_set_blas_threads(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_loops),
        cmocka_unit_test(bundled_model),
        cmocka_unit_test_teardown(log_bigrams, empty_folder),
        cmocka_unit_test_teardown(ties, empty_folder),
        cmocka_unit_test_teardown(many_rows, empty_folder),
        cmocka_unit_test(requests_that_cannot_be_met),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
