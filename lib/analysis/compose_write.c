/* SPDX-License-Identifier: MIT
 *
 * The arrays of `compose`, declared at once and written pair of panels by pair of panels.
 */
#include <math.h>

#include "analysis/compose_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "num/la.h"

enum {
    EXCESS,
    Z,
    COMPONENT_Q,
    COMPONENT_K,
    COMPONENT_V,
    OFFSET_Z,
    OFFSET_SCORE,
    FROM_SCORE,
    FROM_Z,
    TO_SCORE,
    TO_Z,
    BETWEEN_SCORE,
    BETWEEN_Z,
    OV_NORM,
    QK_NORM,
    SHARE_OV,
    SHARE_QK,
    SCORE, /* the last that is written of a pair of panels, by which it is known to be there */
    ARRAYS
};

struct compose_output {
    otimes_axis layer, head, later_layer, later_head, circuit, rotated, offset;
    otimes_axis component, later_component, from, to;
    otimes_array array[ARRAYS];
    int id[ARRAYS]; /* -1: not declared */
    const char **from_names, **to_names;
};

static const char *const circuit_names[] = {"Q", "K", "V"};

/* ---- declaring ---- */

static void make_axes(compose_job *job, struct compose_output *o)
{
    const otimes_compose_settings *s = job->settings;
    o->layer =
        (otimes_axis){"layer", job->layer_count, NULL, job->layers, "layer of the earlier head"};
    o->head = (otimes_axis){"head", job->head_count, NULL, job->heads, "earlier query head"};
    o->later_layer = (otimes_axis){"later_layer", job->layer_count, NULL, job->layers,
                                   "layer of the later head"};
    o->later_head =
        (otimes_axis){"later_head", job->head_count, NULL, job->heads, "later query head"};
    o->circuit = (otimes_axis){"circuit", COMPOSE_CIRCUITS, circuit_names, NULL,
                               "what the later head reads it with"};
    o->rotated = (otimes_axis){"rotated_circuit", 2, circuit_names, NULL,
                               "what the later head reads it with"};
    o->offset = (otimes_axis){"offset", s->offset_count, NULL, s->offsets,
                              "query position less key position"};
    o->component = (otimes_axis){"component", s->components, NULL, NULL,
                                 "singular component of the earlier head, largest first"};
    o->later_component = (otimes_axis){"later_component", s->components, NULL, NULL,
                                       "singular component of the later head, largest first"};
    o->from = (otimes_axis){"from", job->froms, o->from_names, NULL, "part that writes"};
    o->to = (otimes_axis){"to", job->tos, o->to_names, NULL, "part that reads"};
}

#define HEAD &o->layer, &o->head
#define LATER &o->later_layer, &o->later_head
#define PAIR HEAD, &o->circuit, LATER
#define TURNED &o->offset, HEAD, &o->rotated, LATER
#define PIECES HEAD, LATER, &o->component, &o->later_component
#define SCORE_FORMULA "|L R| / (|L| |R|), L = W_OV(earlier), R = W_QK, W_QK^T, W_OV(later)"
#define Z_NAME "deviations of score^2 from the mean of Haar-random subspaces"
#define Z_FORMULA "(score^2 - 1/D) / (|G_L'| |G_R'| sqrt(2 / ((D-1)(D+2)))), G' = G/tr G - I/D"
#define PIECES_NAME "composition score of rank-1 pieces"
#define PIECES_FORMULA "|<v, u>|, v written by W_OV(earlier), u read by "

static void describe(const compose_job *job, struct compose_output *o)
{
    const otimes_compose_settings *s = job->settings;
    const bool heads = job->layer_count > 1, turned = heads && s->offset_count > 0;
    const bool from = job->froms > 0, to = job->tos > 0;
    const struct {
        int at;
        bool wanted;
        const char *name;
        otimes_type type;
        const otimes_axis *axis[OTIMES_MAX_DIMS];
        const char *long_name, *formula;
    } table[] = {
        {SCORE, heads, "score", OTIMES_F32, {PAIR}, "composition score", SCORE_FORMULA},
        {EXCESS,
         heads,
         "excess",
         OTIMES_F32,
         {PAIR},
         "composition score over the random baseline",
         "score - 1/sqrt(D)"},
        {Z, heads, "z", OTIMES_F32, {PAIR}, Z_NAME, Z_FORMULA},
        {OFFSET_SCORE,
         turned,
         "offset_score",
         OTIMES_F32,
         {TURNED},
         "composition score at a rotary offset",
         "score with W_Q R(offset) W_K^T in the place of W_QK"},
        {OFFSET_Z,
         turned,
         "offset_z",
         OTIMES_F32,
         {TURNED},
         Z_NAME ", at a rotary offset",
         Z_FORMULA},
        {COMPONENT_Q,
         heads && s->components > 0,
         "component_score_q",
         OTIMES_F32,
         {PIECES},
         PIECES_NAME,
         PIECES_FORMULA "W_QK(later)"},
        {COMPONENT_K,
         heads && s->components > 0,
         "component_score_k",
         OTIMES_F32,
         {PIECES},
         PIECES_NAME,
         PIECES_FORMULA "W_QK^T(later)"},
        {COMPONENT_V,
         heads && s->components > 0,
         "component_score_v",
         OTIMES_F32,
         {PIECES},
         PIECES_NAME,
         PIECES_FORMULA "W_OV(later)"},
        {SHARE_OV,
         s->components > 0,
         "component_share_ov",
         OTIMES_F64,
         {HEAD, &o->component},
         "singular value of W_OV over its norm",
         "sigma / |W_OV|"},
        {SHARE_QK,
         s->components > 0,
         "component_share_qk",
         OTIMES_F64,
         {HEAD, &o->component},
         "singular value of W_QK over its norm",
         "sigma / |W_QK|"},
        {OV_NORM,
         true,
         "ov_norm",
         OTIMES_F64,
         {HEAD},
         "Frobenius norm of what the head writes",
         "|W_OV|"},
        {QK_NORM, true, "qk_norm", OTIMES_F64, {HEAD}, "Frobenius norm", "|W_Q W_K^T|"},
        {FROM_SCORE,
         from,
         "from_score",
         OTIMES_F32,
         {&o->from, &o->circuit, LATER},
         "composition score of a part and a later head",
         "|L R| / (|L| |R|), L = what the part writes"},
        {FROM_Z, from, "from_z", OTIMES_F32, {&o->from, &o->circuit, LATER}, Z_NAME, Z_FORMULA},
        {TO_SCORE,
         to,
         "to_score",
         OTIMES_F32,
         {&o->to, HEAD},
         "composition score of a head and a later part",
         "|W_OV R| / (|W_OV| |R|), R = what the part reads with"},
        {TO_Z, to, "to_z", OTIMES_F32, {&o->to, HEAD}, Z_NAME, Z_FORMULA},
        {BETWEEN_SCORE,
         from && to,
         "between_score",
         OTIMES_F32,
         {&o->from, &o->to},
         "composition score of two parts",
         "|L R| / (|L| |R|)"},
        {BETWEEN_Z, from && to, "between_z", OTIMES_F32, {&o->from, &o->to}, Z_NAME, Z_FORMULA},
    };
    for (int i = 0; i < ARRAYS; i++) {
        o->id[i] = -1;
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        otimes_array *array = &o->array[table[i].at];
        *array = (otimes_array){.name = table[i].name,
                                .type = table[i].type,
                                .long_name = table[i].long_name,
                                .units = "1",
                                .formula = table[i].formula,
                                .orientation = "row vectors: what L writes, R reads, x L R"};
        while (array->ndim < OTIMES_MAX_DIMS && table[i].axis[array->ndim]) {
            array->axis[array->ndim] = table[i].axis[array->ndim];
            array->ndim++;
        }
        o->id[table[i].at] = table[i].wanted ? 0 : -1;
    }
}

static const char **names_of(compose_job *job, const compose_part *part, int64_t count, int *rc,
                             otimes_err *err)
{
    const char **names = otimes_pool_new(&job->pool, count, sizeof *names, rc, err);
    for (int64_t i = 0; names && i < count; i++) {
        names[i] = part[i].name;
    }
    return names;
}

int otimes_compose_begin(compose_job *job, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    const bool unfolded = info->norm != OTIMES_NORM_NONE && info->fold_ln == OTIMES_STEP_OFF;
    int rc = OTIMES_OK;
    struct compose_output *o = otimes_pool_new(&job->pool, 1, sizeof *o, &rc, err);
    job->output = o;
    if (rc != OTIMES_OK) {
        return rc;
    }
    o->from_names = names_of(job, job->from, job->froms, &rc, err);
    o->to_names = names_of(job, job->to, job->tos, &rc, err);
    if (rc == OTIMES_OK) {
        make_axes(job, o);
        describe(job, o);
        rc = otimes_sink_i64(job->sink, "baseline_dimension", job->dimension, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_f64(job->sink, "baseline", 1 / sqrt((double)job->dimension), err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(
            job->sink, "reading_side",
            unfolded ? "without the weights and the centring of its norm" : "as processed", err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_text(job->sink, "writing_side",
                              info->post_norm ? "W_O through the norm behind it, up to its scale"
                                              : "W_O as it is",
                              err);
    }
    for (int i = 0; rc == OTIMES_OK && i < ARRAYS; i++) {
        if (o->id[i] == 0) {
            rc = otimes_sink_declare(job->sink, &o->array[i], &o->id[i], err);
        }
    }
    return rc;
}

/* ---- writing ---- */

static int put(compose_job *job, int array, const int64_t *start, const int64_t *count,
               const void *data, otimes_err *err)
{
    return job->sink->ops->write(job->sink, job->output->id[array], start, count, data, err);
}

bool otimes_compose_has(compose_job *job, const compose_panel *from, const compose_panel *to)
{
    const int64_t start[] = {from->first, 0, 0, to->first, 0};
    const int64_t count[] = {from->count, job->head_count, COMPOSE_CIRCUITS, to->count,
                             job->head_count};
    const int id = job->output->id[SCORE];
    return id >= 0 && otimes_sink_has(job->sink, id, start, count);
}

/* score - 1/sqrt(D), without losing what they have in common. */
static double excess_of(double square, double dimension)
{
    return (square - 1 / dimension) / (sqrt(square) + 1 / sqrt(dimension));
}

static float score_of(double square)
{
    return (float)sqrt(square > 0 ? square : isnan(square) ? NAN : 0);
}

/* Scores of heads into a buffer in the order of the array. */
typedef struct blocks {
    compose_job *job;
    const compose_panel *from, *to;
    const double *square;
    int64_t readers; /* of a row of square */
    float *score, *z, *excess;
} blocks;

static void fill_heads(const blocks *b, int64_t circuits, int64_t first_reader)
{
    const int64_t heads = b->job->head_count, row = b->to->count * heads;
    for (int64_t i = 0; i < b->from->count * heads; i++) {
        for (int64_t j = 0; j < b->to->count * circuits * heads; j++) {
            const int64_t layer = j / (circuits * heads), circuit = j / heads % circuits;
            const int64_t at = (i * circuits + circuit) * row + layer * heads + j % heads;
            const double square = b->square[i * b->readers + first_reader + j];
            b->score[at] = score_of(square);
            b->z[at] = (float)otimes_link_z(b->job->dimension, &b->from->writer[i],
                                            &b->to->reader[first_reader + j], square);
            b->excess[at] = (float)excess_of(square, (double)b->job->dimension);
        }
    }
}

static int put_heads(const blocks *b, otimes_err *err)
{
    compose_job *job = b->job;
    const int64_t start[] = {b->from->first, 0, 0, b->to->first, 0};
    const int64_t count[] = {b->from->count, job->head_count, COMPOSE_CIRCUITS, b->to->count,
                             job->head_count};
    fill_heads(b, COMPOSE_CIRCUITS, 0);
    int rc = put(job, EXCESS, start, count, b->excess, err);
    if (rc == OTIMES_OK) {
        rc = put(job, Z, start, count, b->z, err);
    }
    return rc == OTIMES_OK ? put(job, SCORE, start, count, b->score, err) : rc;
}

static int put_offsets(const blocks *b, otimes_err *err)
{
    compose_job *job = b->job;
    int rc = OTIMES_OK;
    for (int64_t o = 0; rc == OTIMES_OK && o < job->settings->offset_count; o++) {
        const int64_t start[] = {o, b->from->first, 0, 0, b->to->first, 0};
        const int64_t count[] = {1, b->from->count, job->head_count,
                                 2, b->to->count,   job->head_count};
        fill_heads(b, 2, (COMPOSE_CIRCUITS + 2 * o) * b->to->count * job->head_count);
        rc = put(job, OFFSET_Z, start, count, b->z, err);
        if (rc == OTIMES_OK) {
            rc = put(job, OFFSET_SCORE, start, count, b->score, err);
        }
    }
    return rc;
}

/* ---- components ---- */

/* One circuit of one earlier layer against a panel: [heads, to->count, heads, k, k]. */
static int put_layer_components(const blocks *b, int64_t at, int circuit, float *out,
                                double *product, otimes_err *err)
{
    static const int side[] = {OTIMES_SIDE_Q, OTIMES_SIDE_K, OTIMES_SIDE_V};
    compose_job *job = b->job;
    const int64_t heads = job->head_count, k = job->settings->components, d = job->info->d_model;
    const int64_t rows = heads * k, columns = b->to->count * heads * k;
    const int64_t start[] = {b->from->first + at, 0, b->to->first, 0, 0, 0};
    const int64_t count[] = {1, heads, b->to->count, heads, k, k};
    otimes_la_default->dgemm(false, true, rows, columns, d, 1.0,
                             b->from->vectors[OTIMES_SIDE_O] + at * rows * d, d,
                             b->to->vectors[side[circuit]], d, 0.0, product, columns);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            const int64_t later = b->to->first + j / (heads * k);
            const int64_t pair = i / k * b->to->count * heads + j / k;
            out[(pair * k + i % k) * k + j % k] =
                b->from->first + at < later ? (float)fabs(product[i * columns + j]) : NAN;
        }
    }
    return put(job, COMPONENT_Q + circuit, start, count, out, err);
}

static int put_components(const blocks *b, otimes_err *err)
{
    const int64_t k = b->job->settings->components, rows = b->job->head_count * k;
    const int64_t columns = b->to->count * rows;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    float *out = otimes_pool_new(&pool, rows * columns, sizeof *out, &rc, err);
    double *product = otimes_pool_new(&pool, rows * columns, sizeof *product, &rc, err);
    for (int64_t at = 0; rc == OTIMES_OK && at < b->from->count; at++) {
        for (int c = 0; rc == OTIMES_OK && c < COMPOSE_CIRCUITS; c++) {
            rc = put_layer_components(b, at, c, out, product, err);
        }
    }
    otimes_pool_free(&pool);
    return rc;
}

/* ---- parts ---- */

/* Parts to the panel's heads. */
static int put_from(const blocks *b, otimes_err *err)
{
    compose_job *job = b->job;
    const int64_t heads = job->head_count, row = b->to->count * heads;
    const int64_t own = b->from->count * heads;
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < job->froms; i++) {
        const int64_t start[] = {i, 0, b->to->first, 0};
        const int64_t count[] = {1, COMPOSE_CIRCUITS, b->to->count, heads};
        for (int64_t j = 0; j < COMPOSE_CIRCUITS * row; j++) {
            const int64_t at = j / heads % COMPOSE_CIRCUITS * row +
                               j / (COMPOSE_CIRCUITS * heads) * heads + j % heads;
            const double square = b->square[(own + i) * b->readers + j];
            b->score[at] = score_of(square);
            b->z[at] = (float)otimes_link_z(job->dimension, &job->from[i].writer, &b->to->reader[j],
                                            square);
        }
        rc = put(job, FROM_SCORE, start, count, b->score, err);
        if (rc == OTIMES_OK) {
            rc = put(job, FROM_Z, start, count, b->z, err);
        }
    }
    return rc;
}

/* The panel's heads to parts. */
static int put_to(const blocks *b, otimes_err *err)
{
    compose_job *job = b->job;
    const int64_t own = b->from->count * job->head_count, first = b->readers - job->tos;
    int rc = OTIMES_OK;
    for (int64_t j = 0; rc == OTIMES_OK && j < job->tos; j++) {
        const int64_t start[] = {j, b->from->first, 0};
        const int64_t count[] = {1, b->from->count, job->head_count};
        for (int64_t i = 0; i < own; i++) {
            const double square = b->square[i * b->readers + first + j];
            b->score[i] = score_of(square);
            b->z[i] = (float)otimes_link_z(job->dimension, &b->from->writer[i], &job->to[j].reader,
                                           square);
        }
        rc = put(job, TO_SCORE, start, count, b->score, err);
        if (rc == OTIMES_OK) {
            rc = put(job, TO_Z, start, count, b->z, err);
        }
    }
    return rc;
}

/* Parts to parts, which every panel that meets itself has. */
static int put_between(const blocks *b, otimes_err *err)
{
    const compose_job *job = b->job;
    const int64_t own = b->from->count * job->head_count, first = b->readers - job->tos;
    const int64_t start[] = {0, 0}, count[] = {job->froms, job->tos};
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    float *score = otimes_pool_new(&pool, job->froms * job->tos, sizeof *score, &rc, err);
    float *z = otimes_pool_new(&pool, job->froms * job->tos, sizeof *z, &rc, err);
    for (int64_t k = 0; rc == OTIMES_OK && k < job->froms * job->tos; k++) {
        const int64_t i = k / job->tos, j = k % job->tos;
        const double square = b->square[(own + i) * b->readers + first + j];
        score[k] = score_of(square);
        z[k] =
            (float)otimes_link_z(job->dimension, &job->from[i].writer, &job->to[j].reader, square);
    }
    if (rc == OTIMES_OK) {
        rc = put(b->job, BETWEEN_SCORE, start, count, score, err);
    }
    if (rc == OTIMES_OK) {
        rc = put(b->job, BETWEEN_Z, start, count, z, err);
    }
    otimes_pool_free(&pool);
    return rc;
}

int otimes_compose_put(compose_job *job, const compose_panel *from, const compose_panel *to,
                       const double *square, int64_t readers, otimes_err *err)
{
    const int64_t cells =
        (from->count * job->head_count + 1) * to->count * job->head_count * COMPOSE_CIRCUITS;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    blocks b = {.job = job, .from = from, .to = to, .square = square, .readers = readers};
    b.score = otimes_pool_new(&pool, cells, sizeof *b.score, &rc, err);
    b.z = otimes_pool_new(&pool, cells, sizeof *b.z, &rc, err);
    b.excess = otimes_pool_new(&pool, cells, sizeof *b.excess, &rc, err);
    if (rc == OTIMES_OK && from == to) {
        rc = put_from(&b, err);
    }
    if (rc == OTIMES_OK && from == to) {
        rc = put_to(&b, err);
    }
    if (rc == OTIMES_OK && from == to && from->first == 0 && job->froms * job->tos > 0) {
        rc = put_between(&b, err);
    }
    if (rc == OTIMES_OK && job->output->id[COMPONENT_Q] >= 0) {
        rc = put_components(&b, err);
    }
    if (rc == OTIMES_OK && job->output->id[OFFSET_SCORE] >= 0) {
        rc = put_offsets(&b, err);
    }
    if (rc == OTIMES_OK && job->output->id[SCORE] >= 0) {
        rc = put_heads(&b, err);
    }
    otimes_pool_free(&pool);
    return rc;
}

int otimes_compose_put_panel(compose_job *job, const compose_panel *panel, otimes_err *err)
{
    const int64_t start[] = {panel->first, 0, 0};
    const int64_t count[] = {panel->count, job->head_count, job->settings->components};
    int rc = put(job, OV_NORM, start, count, panel->ov_norm, err);
    if (rc == OTIMES_OK) {
        rc = put(job, QK_NORM, start, count, panel->qk_norm, err);
    }
    for (int i = 0; rc == OTIMES_OK && i < 2 && job->settings->components > 0; i++) {
        rc = put(job, i ? SHARE_QK : SHARE_OV, start, count, panel->share[i], err);
    }
    return rc;
}
