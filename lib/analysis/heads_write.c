/* SPDX-License-Identifier: MIT
 *
 * The arrays of `heads`: what each is called and where its numbers lie.
 */
#include <stddef.h>
#include <stdio.h>

#include "analysis/heads_job.h"
#include "base/mem.h"
#include "base/sink.h"
#include "model/labels.h"
#include "num/la.h"
#include "run/directions.h"

/* --- the list of quantities of a circuit --- */

static const struct {
    const char *suffix, *long_name, *formula;
    size_t field; /* in heads_quantities */
    bool per_component, of_eigenvalues;
} quantity_list[] = {
    {"norm", "Frobenius norm", "sqrt(sum sigma^2)", offsetof(heads_quantities, norm), false, false},
    {"singular_values", "singular values (descending)", "QR of both factors, SVD of the core",
     offsetof(heads_quantities, singular_values), true, false},
    {"effective_rank", "effective rank", "exp(entropy(sigma / sum sigma))",
     offsetof(heads_quantities, effective_rank), false, false},
    {"eigenvalues_real", "real parts of the non-zero eigenvalues (by falling modulus)", "eig(B A)",
     offsetof(heads_quantities, eigenvalues_real), true, true},
    {"eigenvalues_imag", "imaginary parts of the non-zero eigenvalues (by falling modulus)",
     "eig(B A)", offsetof(heads_quantities, eigenvalues_imag), true, true},
    {"trace", "trace", "sum lambda", offsetof(heads_quantities, trace), false, true},
    {"positivity", "sum of eigenvalues over sum of their moduli (positivity)",
     "Re(sum lambda) / sum |lambda|", offsetof(heads_quantities, positivity), false, true},
};

enum { QUANTITIES = sizeof quantity_list / sizeof quantity_list[0] };

static const struct {
    const char *name, *formula, *orientation;
} circuit_list[HEADS_CIRCUITS] = {
    [HEADS_OV] = {"OV", "W_V W_O", "row = source residual, column = written at destination"},
    [HEADS_QK] = {"QK", "W_Q W_K^T", "row = destination (query), column = source (key)"},
    [HEADS_FULL_OV] = {"full_OV", "W_E W_V W_O W_U", "row = source token, column = output token"},
    [HEADS_FULL_QK] = {"full_QK", "W_E W_Q W_K^T W_E^T / attn_scale",
                       "row = destination token, column = source token"},
};

static const char *const block_names[HEADS_BLOCKS] = {
    [HEADS_TOKEN_TOKEN] = "QK_position_token_token",
    [HEADS_TOKEN_POSITION] = "QK_position_token_position",
    [HEADS_POSITION_TOKEN] = "QK_position_position_token",
    [HEADS_POSITION_POSITION] = "QK_position_position_position",
};

static const char *const block_formulas[HEADS_BLOCKS] = {
    [HEADS_TOKEN_TOKEN] = "|W_E W_QK W_E^T| / attn_scale",
    [HEADS_TOKEN_POSITION] = "|W_E W_QK W_pos^T| / attn_scale",
    [HEADS_POSITION_TOKEN] = "|W_pos W_QK W_E^T| / attn_scale",
    [HEADS_POSITION_POSITION] = "|W_pos W_QK W_pos^T| / attn_scale",
};

static const struct {
    const char *id, *value, *long_name, *formula;
} direction_list[HEADS_DIRECTIONS] = {
    [HEADS_OV_READ] = {"OV_read_id", "OV_read_value", "what the OV circuit reads", "W_E u"},
    [HEADS_OV_WRITE] = {"OV_write_id", "OV_write_value", "what the OV circuit writes", "v^T W_U"},
    [HEADS_QK_QUERY] = {"QK_query_id", "QK_query_value", "what the query asks with", "W_E u"},
    [HEADS_QK_KEY] = {"QK_key_id", "QK_key_value", "what the key answers to", "W_E v"},
};

enum {
    ARRAYS = HEADS_CIRCUITS * QUANTITIES + 3 + 2 + HEADS_BLOCKS + 2 * HEADS_DIRECTIONS + 7,
    NAME = 48
};

/* An array with the buffer that holds a layer of it. */
typedef struct output {
    char name[NAME];
    char long_name[2 * NAME];
    otimes_array array;
    const void *data;
    int id;
} output;

struct heads_writer {
    heads_job *job;
    otimes_sink *sink;
    otimes_axis layer, head, component, offset, top_component, end, rank, token, output_token;
    otimes_axis residual_in, residual_out, head_dim, query_position, key_position;
    const char **token_labels, **output_labels;
    output outputs[ARRAYS];
    int count;
    output *matrix[7]; /* OV_A, OV_B, QK_A, QK_B, OV, QK, QK_positions; NULL: not asked for */
    output *direction_id[HEADS_DIRECTIONS], *direction_value[HEADS_DIRECTIONS];
};

enum { OV_A, OV_B, QK_A, QK_B, OV_PRODUCT, QK_PRODUCT, QK_POSITIONS };

/* Adds an array over (layer, head, up to four more axes) and declares it. */
static output *declare(heads_writer *w, const char *name, otimes_type type, const char *long_name,
                       const char *formula, const char *orientation,
                       const otimes_axis *const more[4], const char *labels_of, const void *data,
                       int *rc, otimes_err *err)
{
    output *out = &w->outputs[w->count];
    if (*rc != OTIMES_OK) {
        return NULL;
    }
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(out->long_name, sizeof out->long_name, "%s", long_name);
    out->array = (otimes_array){.name = out->name,
                                .type = type,
                                .ndim = 2,
                                .axis = {&w->layer, &w->head},
                                .long_name = out->long_name,
                                .units = "1",
                                .formula = formula,
                                .orientation = orientation,
                                .labels_of = labels_of};
    for (int i = 0; more && i < 4 && more[i]; i++) {
        out->array.axis[out->array.ndim++] = more[i];
    }
    out->data = data;
    *rc = otimes_sink_declare(w->sink, &out->array, &out->id, err);
    w->count++;
    return out;
}

static int declare_circuits(heads_writer *w, otimes_err *err)
{
    const otimes_axis *const by_component[4] = {&w->component};
    int rc = OTIMES_OK;
    for (int c = 0; c < HEADS_CIRCUITS; c++) {
        for (int q = 0; q < QUANTITIES; q++) {
            if (!otimes_heads_has(w->job, (heads_circuit)c) ||
                (quantity_list[q].of_eigenvalues &&
                 !otimes_heads_has_eigenvalues(w->job, (heads_circuit)c))) {
                continue;
            }
            const bool copying = (c == HEADS_OV || c == HEADS_FULL_OV) &&
                                 quantity_list[q].field == offsetof(heads_quantities, positivity);
            char name[NAME], long_name[2 * NAME];
            snprintf(name, sizeof name, "%s_%s", circuit_list[c].name,
                     copying ? "copying" : quantity_list[q].suffix);
            snprintf(long_name, sizeof long_name, "%s of %s",
                     copying ? "copying score (sum of eigenvalues over sum of moduli)"
                             : quantity_list[q].long_name,
                     circuit_list[c].formula);
            const void *data = (const char *)&w->job->circuit[c] + quantity_list[q].field;
            declare(w, name, OTIMES_F64, long_name, quantity_list[q].formula,
                    circuit_list[c].orientation,
                    quantity_list[q].per_component ? by_component : NULL, NULL,
                    *(double *const *)data, &rc, err);
        }
    }
    return rc;
}

static int declare_variants(heads_writer *w, otimes_err *err)
{
    const heads_job *job = w->job;
    const char *qk = circuit_list[HEADS_QK].orientation;
    const otimes_axis *const by_component[4] = {&w->component};
    const otimes_axis *const by_offset[4] = {&w->offset};
    const otimes_axis *const by_both[4] = {&w->offset, &w->component};
    int rc = OTIMES_OK;
    if (job->settings->offset_count > 0) {
        declare(w, "QK_offset_norm", OTIMES_F64, "Frobenius norm of QK under RoPE",
                "|W_Q R(offset) W_K^T|", qk, by_offset, NULL, job->offset_norm, &rc, err);
        declare(w, "QK_offset_trace", OTIMES_F64, "trace of QK under RoPE",
                "tr(W_Q R(offset) W_K^T)", qk, by_offset, NULL, job->offset_trace, &rc, err);
        declare(w, "QK_offset_singular_values", OTIMES_F64, "singular values of QK under RoPE",
                "W_Q R(offset) W_K^T", qk, by_both, NULL, job->offset_singular_values, &rc, err);
    }
    if (job->settings->biases) {
        declare(w, "QK_bias_norm", OTIMES_F64, "Frobenius norm of QK with its biases",
                "|(W_Q; b_Q) (W_K; b_K)^T|", qk, NULL, NULL, job->bias_norm, &rc, err);
        declare(w, "QK_bias_singular_values", OTIMES_F64, "singular values of QK with its biases",
                "(W_Q; b_Q) (W_K; b_K)^T", qk, by_component, NULL, job->bias_singular_values, &rc,
                err);
    }
    for (int b = 0; job->positions && b < HEADS_BLOCKS; b++) {
        declare(w, block_names[b], OTIMES_F64,
                "Frobenius norm of a block of QK over tokens and positions", block_formulas[b], qk,
                NULL, NULL, job->block[b], &rc, err);
    }
    return rc;
}

static int declare_directions(heads_writer *w, otimes_err *err)
{
    static const char ends[] =
        "M = sum sigma u v^T; end = sign of the product, rank = from the extreme";
    const otimes_axis *const more[4] = {&w->top_component, &w->end, &w->rank};
    int rc = OTIMES_OK;
    for (int i = 0; w->job->components > 0 && i < HEADS_DIRECTIONS; i++) {
        const char *labels = i == HEADS_OV_WRITE ? "output_token" : "token";
        w->direction_id[i] =
            declare(w, direction_list[i].id, OTIMES_I32, direction_list[i].long_name,
                    direction_list[i].formula, ends, more, labels, NULL, &rc, err);
        w->direction_value[i] =
            declare(w, direction_list[i].value, OTIMES_F32, direction_list[i].long_name,
                    direction_list[i].formula, ends, more, NULL, NULL, &rc, err);
    }
    return rc;
}

static int declare_matrices(heads_writer *w, otimes_err *err)
{
    const int asked = w->job->settings->matrices;
    const otimes_axis *const left[4] = {&w->residual_in, &w->head_dim};
    const otimes_axis *const right[4] = {&w->head_dim, &w->residual_out};
    const otimes_axis *const square[4] = {&w->residual_in, &w->residual_out};
    const otimes_axis *const places[4] = {&w->query_position, &w->key_position};
    const struct {
        int flag;
        const char *name, *long_name, *formula;
        const otimes_axis *const *axes;
        heads_circuit circuit;
    } list[] = {
        [OV_A] = {OTIMES_HEADS_FACTORS, "OV_A", "left factor of OV", "W_V", left, HEADS_OV},
        [OV_B] = {OTIMES_HEADS_FACTORS, "OV_B", "right factor of OV", "W_O", right, HEADS_OV},
        [QK_A] = {OTIMES_HEADS_FACTORS, "QK_A", "left factor of QK", "W_Q", left, HEADS_QK},
        [QK_B] = {OTIMES_HEADS_FACTORS, "QK_B", "right factor of QK", "W_K^T", right, HEADS_QK},
        [OV_PRODUCT] = {OTIMES_HEADS_PRODUCTS, "OV", "OV circuit", "W_V W_O", square, HEADS_OV},
        [QK_PRODUCT] = {OTIMES_HEADS_PRODUCTS, "QK", "QK circuit", "W_Q W_K^T", square, HEADS_QK},
        [QK_POSITIONS] = {OTIMES_HEADS_POSITIONS, "QK_positions", "QK circuit over positions",
                          "W_pos W_Q W_K^T W_pos^T / attn_scale", places, HEADS_QK},
    };
    int rc = OTIMES_OK;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        if (asked & list[i].flag) {
            w->matrix[i] = declare(w, list[i].name, OTIMES_F32, list[i].long_name, list[i].formula,
                                   circuit_list[list[i].circuit].orientation, list[i].axes, NULL,
                                   NULL, &rc, err);
        }
    }
    return rc;
}

static int make_axes(heads_writer *w, otimes_err *err)
{
    static const char *const ends[] = {"top", "bottom"};
    const heads_job *job = w->job;
    const otimes_model_info *info = job->info;
    w->layer = (otimes_axis){"layer", job->layer_count, NULL, job->layers, "layer"};
    w->head = (otimes_axis){"head", job->head_count, NULL, job->heads, "query head"};
    w->component = (otimes_axis){"component", job->width, NULL, NULL, "component, largest first"};
    w->offset = (otimes_axis){"offset", job->settings->offset_count, NULL, job->settings->offsets,
                              "query position - key position"};
    w->top_component = (otimes_axis){"top_component", job->components, NULL, NULL,
                                     "singular component, largest first"};
    w->end = (otimes_axis){"end", 2, ends, NULL, "end of a direction"};
    w->rank = (otimes_axis){"rank", job->settings->top, NULL, NULL, "place, the extreme first"};
    w->residual_in = (otimes_axis){"residual_in", info->d_model, NULL, NULL, "row of the stream"};
    w->residual_out =
        (otimes_axis){"residual_out", info->d_model, NULL, NULL, "column of the stream"};
    w->head_dim = (otimes_axis){"head_dim", info->d_head, NULL, NULL, "inside of a head"};
    w->query_position =
        (otimes_axis){"query_position", info->n_ctx, NULL, NULL, "destination position"};
    w->key_position = (otimes_axis){"key_position", info->n_ctx, NULL, NULL, "source position"};
    (void)err;
    return OTIMES_OK;
}

/* Texts of the vocabulary, once, so that ids in the file can be read without the tokenizer. */
static int declare_tokens(heads_writer *w, otimes_err *err)
{
    const otimes_model_info *info = w->job->info;
    if (w->job->components == 0) {
        return OTIMES_OK;
    }
    int rc = otimes_token_labels(w->job->model, false, NULL, info->d_vocab, &w->token_labels, err);
    if (rc == OTIMES_OK) {
        rc = otimes_token_labels(w->job->model, true, NULL, info->d_vocab_out, &w->output_labels,
                                 err);
    }
    w->token = (otimes_axis){"token", info->d_vocab, w->token_labels, NULL, "input token"};
    w->output_token =
        (otimes_axis){"output_token", info->d_vocab_out, w->output_labels, NULL, "output token"};
    if (rc == OTIMES_OK) {
        rc = otimes_sink_axis(w->sink, &w->token, err);
    }
    return rc == OTIMES_OK ? otimes_sink_axis(w->sink, &w->output_token, err) : rc;
}

int otimes_heads_writer_new(heads_writer **writer, heads_job *job, otimes_sink *sink,
                            otimes_err *err)
{
    int rc = OTIMES_NEW(writer, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    heads_writer *w = *writer;
    w->job = job;
    w->sink = sink;
    rc = make_axes(w, err);
    if (rc == OTIMES_OK) {
        rc = declare_tokens(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_circuits(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_variants(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_directions(w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare_matrices(w, err);
    }
    if (rc != OTIMES_OK) {
        otimes_heads_writer_free(writer);
    }
    return rc;
}

/* One head's block of a matrix array. */
static int write_matrix(heads_writer *w, int which, int64_t layer_at, int64_t at, const float *data,
                        otimes_err *err)
{
    const output *out = w->matrix[which];
    const int64_t start[OTIMES_MAX_DIMS] = {layer_at, at};
    const int64_t count[OTIMES_MAX_DIMS] = {1, 1, out->array.axis[2]->length,
                                            out->array.axis[3]->length};
    return w->sink->ops->write(w->sink, out->id, start, count, data, err);
}

/* K^T [d_head, d_model] of one head, for a row-major file. */
static void transpose(const float *source, int64_t rows, int64_t columns, float *out)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            out[j * rows + i] = source[i * columns + j];
        }
    }
}

/* The weights of one head of a layer. */
typedef struct head_weights {
    const float *Q, *K, *V, *O;
} head_weights;

static int write_products(heads_writer *w, const head_weights *head, int64_t layer_at, int64_t at,
                          otimes_err *err)
{
    const int64_t d = w->job->info->d_model, e = w->job->info->d_head;
    float *product;
    int rc = OTIMES_NEW(&product, d * d, err);
    if (rc == OTIMES_OK) {
        otimes_la_default->sgemm(false, false, d, d, e, 1.0f, head->V, e, head->O, d, 0.0f, product,
                                 d);
        rc = write_matrix(w, OV_PRODUCT, layer_at, at, product, err);
    }
    if (rc == OTIMES_OK) {
        otimes_la_default->sgemm(false, true, d, d, e, 1.0f, head->Q, e, head->K, e, 0.0f, product,
                                 d);
        rc = write_matrix(w, QK_PRODUCT, layer_at, at, product, err);
    }
    otimes_free(product);
    return rc;
}

static int write_positions(heads_writer *w, const head_weights *head, int64_t layer_at, int64_t at,
                           otimes_err *err)
{
    const otimes_la *la = otimes_la_default;
    const int64_t d = w->job->info->d_model, e = w->job->info->d_head, n = w->job->info->n_ctx;
    float *pos = NULL, *queries = NULL, *keys = NULL, *table = NULL;
    int rc = OTIMES_NEW(&pos, n * d, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&queries, n * e, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&keys, n * e, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&table, n * n, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_position_rows(w->job->model, 0, n, pos, err);
    }
    if (rc == OTIMES_OK) {
        la->sgemm(false, false, n, e, d, 1.0f, pos, d, head->Q, e, 0.0f, queries, e);
        la->sgemm(false, false, n, e, d, 1.0f, pos, d, head->K, e, 0.0f, keys, e);
        la->sgemm(false, true, n, n, e, (float)(1 / w->job->info->attn_scale), queries, e, keys, e,
                  0.0f, table, n);
        rc = write_matrix(w, QK_POSITIONS, layer_at, at, table, err);
    }
    otimes_free(pos);
    otimes_free(queries);
    otimes_free(keys);
    otimes_free(table);
    return rc;
}

static int write_factors(heads_writer *w, const head_weights *head, int64_t layer_at, int64_t at,
                         otimes_err *err)
{
    const int64_t d = w->job->info->d_model, e = w->job->info->d_head;
    float *key;
    int rc = OTIMES_NEW(&key, d * e, err);
    if (rc == OTIMES_OK) {
        transpose(head->K, d, e, key);
        rc = write_matrix(w, QK_B, layer_at, at, key, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_matrix(w, OV_A, layer_at, at, head->V, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_matrix(w, OV_B, layer_at, at, head->O, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_matrix(w, QK_A, layer_at, at, head->Q, err);
    }
    otimes_free(key);
    return rc;
}

int otimes_heads_write_layer(heads_writer *w, const otimes_layer *layer, int64_t layer_at,
                             otimes_err *err)
{
    const heads_job *job = w->job;
    const int64_t group = job->info->n_heads / job->info->n_kv_heads;
    const int asked = job->settings->matrices;
    int rc = OTIMES_OK;
    for (int i = 0; rc == OTIMES_OK && i < w->count; i++) {
        if (w->outputs[i].data) {
            rc = otimes_sink_slab(w->sink, &w->outputs[i].array, w->outputs[i].id, layer_at, 1,
                                  w->outputs[i].data, err);
        }
    }
    for (int64_t at = 0; rc == OTIMES_OK && asked && at < job->head_count; at++) {
        const int64_t h = job->heads[at], kv = h / group;
        const head_weights head = {layer->W_Q.data + h * layer->W_Q.stride[0],
                                   layer->W_K.data + kv * layer->W_K.stride[0],
                                   layer->W_V.data + kv * layer->W_V.stride[0],
                                   layer->W_O.data + h * layer->W_O.stride[0]};
        if (asked & OTIMES_HEADS_FACTORS) {
            rc = write_factors(w, &head, layer_at, at, err);
        }
        if (rc == OTIMES_OK && asked & OTIMES_HEADS_PRODUCTS) {
            rc = write_products(w, &head, layer_at, at, err);
        }
        if (rc == OTIMES_OK && asked & OTIMES_HEADS_POSITIONS) {
            rc = write_positions(w, &head, layer_at, at, err);
        }
    }
    return rc;
}

int otimes_heads_write_directions(heads_writer *w, otimes_err *err)
{
    heads_job *job = w->job;
    const otimes_heads_settings *settings = job->settings;
    const int64_t count = job->layer_count * job->head_count * job->components;
    float *value = NULL;
    int32_t *id = NULL;
    if (job->components == 0) {
        return OTIMES_OK;
    }
    int rc = OTIMES_NEW(&value, count * 2 * settings->top, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&id, count * 2 * settings->top, err);
    }
    for (int i = 0; rc == OTIMES_OK && i < HEADS_DIRECTIONS; i++) {
        rc = otimes_directions_read(job->model, i == HEADS_OV_WRITE ? &job->unembed : NULL,
                                    settings->tokens, settings->token_count, count,
                                    job->direction[i], settings->top, job->model->threads, value,
                                    id, err);
        if (rc == OTIMES_OK) {
            rc = otimes_sink_slab(w->sink, &w->direction_id[i]->array, w->direction_id[i]->id, 0,
                                  job->layer_count, id, err);
        }
        if (rc == OTIMES_OK) {
            rc = otimes_sink_slab(w->sink, &w->direction_value[i]->array, w->direction_value[i]->id,
                                  0, job->layer_count, value, err);
        }
    }
    otimes_free(value);
    otimes_free(id);
    return rc;
}

void otimes_heads_writer_free(heads_writer **writer)
{
    if (writer && *writer) {
        otimes_free((*writer)->token_labels);
        otimes_free((*writer)->output_labels);
        otimes_free(*writer);
        *writer = NULL;
    }
}
