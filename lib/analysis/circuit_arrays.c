/* SPDX-License-Identifier: MIT
 *
 * Facts, axes and arrays of `circuit`: all but the entries beyond a threshold, whose number is known at
 * the end.
 */
#include "analysis/circuit_arrays.h"

#include <stdio.h>

#include "base/sink.h"
#include "model/labels.h"
#include "run/table_job.h"

const char *const otimes_circuit_orientations[] = {
    [OTIMES_CIRCUIT_OV] = "row = source token, column = output token",
    [OTIMES_CIRCUIT_QK] = "row = destination token, column = source token",
    [OTIMES_CIRCUIT_K_COMPOSED] =
        "row = destination token, column = token that the earlier head moved",
};

#define COMPOSED "(W_V' W_O' W_K)^T W_E^T / attn_scale, ' of the earlier head"

const char *otimes_circuit_formula(const circuit_job *job)
{
    const bool turned = job->info->positions == OTIMES_POSITIONS_ROPE;
    switch (job->settings->which) {
    case OTIMES_CIRCUIT_OV:
        return "W_E W_V W_O W_U";
    case OTIMES_CIRCUIT_QK:
        return turned ? "W_E W_Q R(offset) W_K^T W_E^T / attn_scale"
                      : "W_E W_Q W_K^T W_E^T / attn_scale";
    case OTIMES_CIRCUIT_K_COMPOSED:
        return turned ? "W_E W_Q R(offset) " COMPOSED : "W_E W_Q " COMPOSED;
    }
    return ""; /* unreached: all cases return */
}

static const char *const which_names[] = {
    [OTIMES_CIRCUIT_OV] = "ov",
    [OTIMES_CIRCUIT_QK] = "qk",
    [OTIMES_CIRCUIT_K_COMPOSED] = "kcomp",
};

/* ---- axes ---- */

static int label_heads(const circuit_job *job, circuit_writer *w, otimes_err *err)
{
    enum { NAME = 48 };
    int rc = OTIMES_OK;
    w->names = otimes_pool_new(&w->pool, job->head_count, NAME, &rc, err);
    w->head_labels = otimes_pool_new(&w->pool, job->head_count, sizeof *w->head_labels, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->head_count; i++) {
        snprintf(w->names + i * NAME, NAME, "%lld.%lld", (long long)job->heads[i].layer,
                 (long long)job->heads[i].head);
        w->head_labels[i] = w->names + i * NAME;
    }
    return rc;
}

/* Chosen tokens of a side have an axis of their own. */
static int side_axis(const circuit_job *job, circuit_writer *w, circuit_side side, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    const int64_t *ids = side == CIRCUIT_ROWS ? s->rows : s->columns;
    const int64_t count = side == CIRCUIT_ROWS ? job->row_count : job->column_count;
    const bool output = side == CIRCUIT_COLUMNS && job->to_output;
    const char *name = side == CIRCUIT_ROWS ? (ids ? "row_token" : "token")
                       : ids                ? "column_token"
                       : output             ? "output_token"
                                            : "source_token";
    const char *long_name = output                                    ? "output token"
                            : side == CIRCUIT_ROWS && !job->to_output ? "destination token"
                            : s->which == OTIMES_CIRCUIT_K_COMPOSED   ? "token that was moved"
                                                                      : "source token";
    const int rc = otimes_token_labels(job->model, output, ids, count, &w->side_labels[side], err);
    w->side[side] = (otimes_axis){name, count, w->side_labels[side],
                                  w->side_labels[side] ? NULL : ids, long_name};
    return rc;
}

static int make_axes(const circuit_job *job, circuit_writer *w, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    const otimes_model_info *info = job->info;
    int rc = label_heads(job, w, err);
    for (int side = 0; rc == OTIMES_OK && side < CIRCUIT_SIDES; side++) {
        rc = side_axis(job, w, (circuit_side)side, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_token_labels(job->model, false, NULL, info->d_vocab, &w->token_labels, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_token_labels(job->model, true, NULL, info->d_vocab_out, &w->output_labels, err);
    }
    w->head = (otimes_axis){"head", job->head_count, w->head_labels, NULL, "layer.head"};
    w->token = (otimes_axis){"token", info->d_vocab, w->token_labels, NULL, "input token"};
    w->output_token =
        (otimes_axis){"output_token", info->d_vocab_out, w->output_labels, NULL, "output token"};
    w->rank = (otimes_axis){"rank", job->top, NULL, NULL, "place, the extreme first"};
    w->bottom_rank = job->bottom == job->top ? w->rank
                                             : (otimes_axis){"bottom_rank", job->bottom, NULL, NULL,
                                                             "place, the smallest first"};
    w->bin = (otimes_axis){"bin", s->bins, NULL, NULL, "bin, from low to high"};
    w->edge = (otimes_axis){"edge", s->bins + 1, NULL, NULL, "edge between bins"};
    w->place = (otimes_axis){"place", s->largest, NULL, NULL, "place, the extreme first"};
    if (rc == OTIMES_OK) { /* ids of rows point into it, whatever axis the rows have */
        rc = otimes_sink_axis(job->sink, s->rows ? &w->token : &w->side[CIRCUIT_ROWS], err);
    }
    return rc == OTIMES_OK && job->to_output ? otimes_sink_axis(job->sink, &w->output_token, err)
                                             : rc;
}

/* ---- declaring ---- */

/* Axes behind the head's. */
typedef enum shape {
    OF_HEAD,
    OF_ROW,
    OF_BIN,
    OF_PLACE,
    ROW_RANK,
    ROW_BOTTOM_RANK,
    COLUMN_RANK,
    COLUMN_BOTTOM_RANK,
    WHOLE
} shape;

/* What the integers of an array are. */
typedef enum pointing { NUMBERS, IDS_OF_ROWS, IDS_OF_COLUMNS } pointing;

static const struct {
    const char *name, *long_name;
    otimes_type type;
    shape axes;
    pointing at;
} list[CIRCUIT_ARRAYS] = {
    [TOP_VALUE] = {"top_value", "largest entries of each row", OTIMES_F32, ROW_RANK, NUMBERS},
    [TOP_ID] = {"top_id", "their columns", OTIMES_I32, ROW_RANK, IDS_OF_COLUMNS},
    [BOTTOM_VALUE] = {"bottom_value", "smallest entries of each row", OTIMES_F32, ROW_BOTTOM_RANK,
                      NUMBERS},
    [BOTTOM_ID] = {"bottom_id", "their columns", OTIMES_I32, ROW_BOTTOM_RANK, IDS_OF_COLUMNS},
    [COLUMN_TOP_VALUE] = {"column_top_value", "largest entries of each column", OTIMES_F32,
                          COLUMN_RANK, NUMBERS},
    [COLUMN_TOP_ID] = {"column_top_id", "their rows", OTIMES_I32, COLUMN_RANK, IDS_OF_ROWS},
    [COLUMN_BOTTOM_VALUE] = {"column_bottom_value", "smallest entries of each column", OTIMES_F32,
                             COLUMN_BOTTOM_RANK, NUMBERS},
    [COLUMN_BOTTOM_ID] = {"column_bottom_id", "their rows", OTIMES_I32, COLUMN_BOTTOM_RANK,
                          IDS_OF_ROWS},
    [ROW_MEAN] = {"row_mean", "mean of the row", OTIMES_F64, OF_ROW, NUMBERS},
    [ROW_STD] = {"row_std", "population standard deviation of the row", OTIMES_F64, OF_ROW,
                 NUMBERS},
    [ROW_LOGSUMEXP] = {"row_logsumexp", "log of the sum of exponentials of the row", OTIMES_F64,
                       OF_ROW, NUMBERS},
    [ROW_MAX] = {"row_max", "largest of the row", OTIMES_F32, OF_ROW, NUMBERS},
    [ROW_MIN] = {"row_min", "smallest of the row", OTIMES_F32, OF_ROW, NUMBERS},
    [DIAGONAL_VALUE] = {"diagonal_value", "entry of the token itself", OTIMES_F32, OF_ROW, NUMBERS},
    [DIAGONAL_RANK] = {"diagonal_rank",
                       "how many entries of the row are larger than the token's own", OTIMES_I64,
                       OF_ROW, NUMBERS},
    [HISTOGRAM] = {"histogram", "entries of the table by bins", OTIMES_I64, OF_BIN, NUMBERS},
    [HISTOGRAM_BELOW] = {"histogram_below", "entries below the first edge", OTIMES_I64, OF_HEAD,
                         NUMBERS},
    [HISTOGRAM_ABOVE] = {"histogram_above", "entries above the last edge", OTIMES_I64, OF_HEAD,
                         NUMBERS},
    [LARGEST_VALUE] = {"largest_value", "largest entries of the table", OTIMES_F32, OF_PLACE,
                       NUMBERS},
    [LARGEST_ROW] = {"largest_row", "their rows", OTIMES_I32, OF_PLACE, IDS_OF_ROWS},
    [LARGEST_COLUMN] = {"largest_column", "their columns", OTIMES_I32, OF_PLACE, IDS_OF_COLUMNS},
    [SMALLEST_VALUE] = {"smallest_value", "smallest entries of the table", OTIMES_F32, OF_PLACE,
                        NUMBERS},
    [SMALLEST_ROW] = {"smallest_row", "their rows", OTIMES_I32, OF_PLACE, IDS_OF_ROWS},
    [SMALLEST_COLUMN] = {"smallest_column", "their columns", OTIMES_I32, OF_PLACE, IDS_OF_COLUMNS},
    [TABLE] = {"table", "the table itself", OTIMES_F32, WHOLE, NUMBERS},
};

static bool is_wanted(const circuit_job *job, shape axes)
{
    const otimes_circuit_settings *s = job->settings;
    switch (axes) {
    case OF_ROW:
        return s->statistics != 0;
    case OF_HEAD:
    case OF_BIN:
        return s->bins > 0;
    case OF_PLACE:
        return s->largest > 0;
    case ROW_RANK:
        return job->listed[CIRCUIT_ROWS] && job->top > 0;
    case ROW_BOTTOM_RANK:
        return job->listed[CIRCUIT_ROWS] && job->bottom > 0;
    case COLUMN_RANK:
        return job->listed[CIRCUIT_COLUMNS] && job->top > 0;
    case COLUMN_BOTTOM_RANK:
        return job->listed[CIRCUIT_COLUMNS] && job->bottom > 0;
    case WHOLE:
        return s->full != OTIMES_CIRCUIT_FULL_NONE;
    }
    return false;
}

static int declare(const circuit_job *job, circuit_writer *w, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    const otimes_axis *row = &w->side[CIRCUIT_ROWS], *column = &w->side[CIRCUIT_COLUMNS];
    const otimes_axis *const behind[][2] = {[OF_HEAD] = {NULL, NULL},
                                            [OF_ROW] = {row, NULL},
                                            [OF_BIN] = {&w->bin, NULL},
                                            [OF_PLACE] = {&w->place, NULL},
                                            [ROW_RANK] = {row, &w->rank},
                                            [ROW_BOTTOM_RANK] = {row, &w->bottom_rank},
                                            [COLUMN_RANK] = {column, &w->rank},
                                            [COLUMN_BOTTOM_RANK] = {column, &w->bottom_rank},
                                            [WHOLE] = {row, column}};
    const char *const labels_of[] = {[NUMBERS] = NULL,
                                     [IDS_OF_ROWS] = "token",
                                     [IDS_OF_COLUMNS] = job->to_output ? "output_token" : "token"};
    int rc = OTIMES_OK;
    for (int at = 0; rc == OTIMES_OK && at < CIRCUIT_ARRAYS; at++) {
        const shape axes = list[at].axes;
        otimes_array *a = &w->array[at];
        w->id[at] = -1;
        if (!is_wanted(job, axes)) {
            continue;
        }
        *a = (otimes_array){.name = list[at].name,
                            .type = list[at].type,
                            .ndim = 1 + (behind[axes][0] != NULL) + (behind[axes][1] != NULL),
                            .axis = {&w->head, behind[axes][0], behind[axes][1]},
                            .long_name = list[at].long_name,
                            .units = "1",
                            .formula = otimes_circuit_formula(job),
                            .orientation = otimes_circuit_orientations[s->which],
                            .labels_of = labels_of[list[at].at]};
        if (at == TABLE) {
            a->type = s->full == OTIMES_CIRCUIT_FULL_F16 ? OTIMES_F16 : OTIMES_F32;
            a->chunk[0] = 1;
            a->chunk[1] = OTIMES_TABLE_STRIP;
            a->chunk[2] = OTIMES_TABLE_BLOCK;
            a->whole = 1;
        }
        rc = otimes_sink_declare(job->sink, a, &w->id[at], err);
    }
    return rc;
}

/* ---- what is known beforehand ---- */

static int write_facts(const circuit_job *job, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    const bool composed = s->which == OTIMES_CIRCUIT_K_COMPOSED;
    const struct {
        const char *name;
        int64_t value;
        bool there;
    } numbers[] = {{"earlier_layer", s->earlier.layer, composed},
                   {"earlier_head", s->earlier.head, composed},
                   {"offset", s->offset, s->which != OTIMES_CIRCUIT_OV},
                   {"row_count", job->row_count, true},
                   {"column_count", job->column_count, true}};
    int rc = otimes_sink_text(job->sink, "circuit", which_names[s->which], err);
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].there) {
            rc = otimes_sink_i64(job->sink, numbers[i].name, numbers[i].value, err);
        }
    }
    if (rc == OTIMES_OK && s->threshold != 0) {
        rc = otimes_sink_f64(job->sink, "threshold", s->threshold, err);
    }
    return rc;
}

static int write_numbers(const circuit_job *job, const otimes_axis *axis, const char *name,
                         const char *long_name, const int64_t *data, otimes_err *err)
{
    const otimes_array array = {.name = name,
                                .type = OTIMES_I64,
                                .ndim = 1,
                                .axis = {axis},
                                .long_name = long_name,
                                .formula = "as chosen",
                                .orientation = "one entry each"};
    return otimes_sink_whole(job->sink, &array, data, err);
}

static int write_edges(const circuit_job *job, const circuit_writer *w, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    const otimes_array array = {.name = "histogram_edge",
                                .type = OTIMES_F64,
                                .ndim = 1,
                                .axis = {&w->edge},
                                .long_name = "edges of the bins",
                                .formula = "low + (high - low) i / bins",
                                .orientation = "bin i from edge i to edge i + 1"};
    double *edges;
    int rc = OTIMES_NEW(&edges, s->bins + 1, err);
    if (rc == OTIMES_OK) {
        for (int64_t i = 0; i <= s->bins; i++) {
            edges[i] = s->low + (s->high - s->low) * ((double)i / (double)s->bins);
        }
        edges[s->bins] = s->high;
        rc = otimes_sink_whole(job->sink, &array, edges, err);
    }
    otimes_free(edges);
    return rc;
}

static int write_choice(const circuit_job *job, circuit_writer *w, otimes_err *err)
{
    const otimes_circuit_settings *s = job->settings;
    int rc = OTIMES_OK;
    int64_t *layer = otimes_pool_new(&w->pool, job->head_count, sizeof *layer, &rc, err);
    int64_t *head = otimes_pool_new(&w->pool, job->head_count, sizeof *head, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < job->head_count; i++) {
        layer[i] = job->heads[i].layer;
        head[i] = job->heads[i].head;
    }
    if (rc == OTIMES_OK) {
        rc = write_numbers(job, &w->head, "head_layer", "its layer", layer, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_numbers(job, &w->head, "head_index", "its query head", head, err);
    }
    if (rc == OTIMES_OK && s->rows) {
        rc = write_numbers(job, &w->side[CIRCUIT_ROWS], "row_id", "id of each row's token", s->rows,
                           err);
    }
    if (rc == OTIMES_OK && s->columns) {
        rc = write_numbers(job, &w->side[CIRCUIT_COLUMNS], "column_id", "id of each column's token",
                           s->columns, err);
    }
    return rc == OTIMES_OK && s->bins > 0 ? write_edges(job, w, err) : rc;
}

int otimes_circuit_writer_new(circuit_job *job, otimes_err *err)
{
    const int64_t largest = job->settings->largest;
    int rc = OTIMES_NEW(&job->writer, 1, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    circuit_writer *w = job->writer;
    w->value = otimes_pool_new(&w->pool, largest, sizeof(float), &rc, err);
    for (int i = 0; i < 2; i++) {
        w->index[i] = otimes_pool_new(&w->pool, largest, sizeof(int32_t), &rc, err);
    }
    if (rc == OTIMES_OK) {
        rc = write_facts(job, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_axes(job, w, err);
    }
    if (rc == OTIMES_OK) {
        rc = declare(job, w, err);
    }
    return rc == OTIMES_OK ? write_choice(job, w, err) : rc;
}

void otimes_circuit_writer_free(circuit_writer **writer)
{
    circuit_writer *w = *writer;
    if (!w) {
        return;
    }
    for (int side = 0; side < CIRCUIT_SIDES; side++) {
        otimes_free(w->side_labels[side]);
    }
    otimes_free(w->token_labels);
    otimes_free(w->output_labels);
    otimes_free(w->halves);
    otimes_pool_free(&w->pool);
    otimes_free(w);
    *writer = NULL;
}
