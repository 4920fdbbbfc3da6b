/* SPDX-License-Identifier: MIT */
#include "checked_circuit.h"

#include "accuracy.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "run/rope.h"

otimes_memory_sink *run_circuit(const otimes_model *model, const otimes_circuit_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_circuit(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

/* ---- a plain reference ---- */

/* Both sides are rounded to float32, d_head products of them are summed in it. */
static const double share = 4 * FLT_EPSILON;

static double *plain_embedding(const otimes_model *model, const otimes_unembed *unembed,
                               int64_t count)
{
    const int64_t d = otimes_model_describe(model)->d_model;
    otimes_err err = {0};
    float *row = calloc((size_t)d, sizeof *row);
    double *all = calloc((size_t)(count * d), sizeof *all);
    assert_true(row && all);
    for (int64_t t = 0; t < count; t++) {
        assert_ok(unembed ? otimes_unembed_rows(unembed, t, 1, row, &err)
                          : otimes_embed_rows(model, t, 1, row, &err),
                  &err);
        for (int64_t i = 0; i < d; i++) {
            all[t * d + i] = (double)row[i];
        }
    }
    free(row);
    return all;
}

/* Matrix `head` of W [heads, rows, columns]. */
static double *plain_matrix(const otimes_tensor *W, int64_t head)
{
    double *m = calloc((size_t)(W->dim[1] * W->dim[2]), sizeof *m);
    assert_non_null(m);
    for (int64_t i = 0; i < W->dim[1]; i++) {
        for (int64_t j = 0; j < W->dim[2]; j++) {
            m[i * W->dim[2] + j] =
                (double)W->data[head * W->stride[0] + i * W->stride[1] + j * W->stride[2]];
        }
    }
    return m;
}

/* A [m, k] B [k, n]; A is freed. */
static double *times(double *a, const double *b, int64_t m, int64_t k, int64_t n)
{
    double *c = calloc((size_t)(m * n), sizeof *c);
    assert_non_null(c);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t l = 0; l < k; l++) {
            for (int64_t j = 0; j < n; j++) {
                c[i * n + j] += a[i * k + l] * b[l * n + j];
            }
        }
    }
    free(a);
    return c;
}

static double *transposed(double *a, int64_t m, int64_t n)
{
    double *c = calloc((size_t)(m * n), sizeof *c);
    assert_non_null(c);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            c[j * m + i] = a[i * n + j];
        }
    }
    free(a);
    return c;
}

/* W_O [e, d] as the stream gets it: what a norm behind it takes away and scales. */
static double *plain_write(const otimes_model_info *info, const otimes_layer *layer, int64_t head)
{
    const int64_t d = info->d_model, e = info->d_head;
    const float *w = layer->ln1_post_w.data;
    double *O = plain_matrix(&layer->W_O, head);
    for (int64_t j = 0; w && j < e; j++) {
        double mean = 0;
        for (int64_t i = 0; info->norm == OTIMES_NORM_LN && i < d; i++) {
            mean += O[j * d + i] / (double)d;
        }
        for (int64_t i = 0; i < d; i++) {
            O[j * d + i] = (O[j * d + i] - mean) * (double)w[i];
        }
    }
    return O;
}

/* Queries [rows, e] as they stand `offset` behind the keys: q R(offset). */
static void turn_queries(const otimes_model *model, int64_t layer, int64_t offset, int64_t rows,
                         double *q)
{
    const int64_t e = otimes_model_describe(model)->d_head;
    const otimes_rope *rope = otimes_layer_rope(model, layer);
    otimes_err err = {0};
    double *frequency = calloc((size_t)e, sizeof *frequency);
    assert_non_null(frequency);
    if (rope) {
        assert_ok(otimes_rope_frequencies(model, rope, frequency, &err), &err);
    }
    for (int64_t i = 0; rope && i < rows * (rope->dim / 2); i++) {
        const int64_t pair = i % (rope->dim / 2);
        double *row = q + i / (rope->dim / 2) * e;
        double *x = row + (rope->adjacent ? 2 * pair : pair);
        double *y = row + (rope->adjacent ? 2 * pair + 1 : pair + rope->dim / 2);
        const double grown = rope->magnitude * rope->magnitude;
        const double c = grown * cos((double)offset * frequency[pair]);
        const double s = grown * sin((double)offset * frequency[pair]), a = *x;
        *x = a * c - *y * s;
        *y = *y * c + a * s;
    }
    free(frequency);
}

static double *plain_qk(const otimes_model *model, const otimes_circuit_settings *s,
                        const otimes_layer *layer, int64_t head)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, e = info->d_head, v = info->d_vocab;
    const int64_t group = info->n_heads / info->n_kv_heads;
    otimes_err err = {0};
    double *Q = plain_matrix(&layer->W_Q, head), *K = plain_matrix(&layer->W_K, head / group);
    double *keys = plain_embedding(model, NULL, v);
    if (s->which == OTIMES_CIRCUIT_K_COMPOSED) {
        otimes_layer before;
        assert_ok(otimes_layer_load(model, s->earlier.layer, OTIMES_PART_ATTENTION, &before, &err),
                  &err);
        double *V = plain_matrix(&before.W_V, s->earlier.head / group);
        double *O = plain_write(info, &before, s->earlier.head);
        keys = times(times(keys, V, v, d, e), O, v, e, d);
        free(V);
        free(O);
        otimes_layer_free(&before);
    }
    double *queries = times(plain_embedding(model, NULL, v), Q, v, d, e);
    turn_queries(model, layer->layer, s->offset, v, queries);
    keys = transposed(times(keys, K, v, d, e), v, e);
    double *table = times(queries, keys, v, e, v);
    for (int64_t i = 0; i < v * v; i++) {
        table[i] /= info->attn_scale;
    }
    free(Q);
    free(K);
    free(keys);
    return table;
}

static double *plain_ov(const otimes_model *model, const otimes_layer *layer, int64_t head)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model, e = info->d_head;
    otimes_unembed unembed;
    otimes_err err = {0};
    assert_ok(otimes_unembed_open(model, &unembed, &err), &err);
    double *V = plain_matrix(&layer->W_V, head / (info->n_heads / info->n_kv_heads));
    double *O = plain_write(info, layer, head);
    double *U =
        transposed(plain_embedding(model, &unembed, info->d_vocab_out), info->d_vocab_out, d);
    double *values = times(plain_embedding(model, NULL, info->d_vocab), V, info->d_vocab, d, e);
    double *writes = times(O, U, e, d, info->d_vocab_out);
    double *table = times(values, writes, info->d_vocab, e, info->d_vocab_out);
    free(writes);
    free(V);
    free(U);
    otimes_unembed_free(&unembed);
    return table;
}

plain plain_table(const otimes_model *model, const otimes_circuit_settings *s,
                  const otimes_circuit_head *head)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const bool ov = s->which == OTIMES_CIRCUIT_OV;
    otimes_layer layer;
    otimes_err err = {0};
    plain p = {.rows = info->d_vocab, .columns = ov ? info->d_vocab_out : info->d_vocab};
    assert_ok(otimes_layer_load(model, head->layer, OTIMES_PART_ATTENTION, &layer, &err), &err);
    p.value = ov ? plain_ov(model, &layer, head->head) : plain_qk(model, s, &layer, head->head);
    otimes_layer_free(&layer);
    for (int64_t i = 0; i < p.rows * p.columns; i++) {
        p.largest = fmax(p.largest, fabs(p.value[i]));
    }
    p.close = share * p.largest;
    return p;
}

/* An entry, or what is the size of one, held against the table. */
static void hold(const plain *p, const char *array, double got, double expected, double times)
{
    accuracy(array, "largest of the table", got, expected, p->largest, times * share);
}

static int64_t id_at(const int64_t *ids, int64_t place)
{
    return ids ? ids[place] : place;
}

/* Rows (or columns) `first` and on of the table as the request restricts it. */
typedef struct part {
    const plain *p;
    const int64_t *rows, *columns; /* NULL: all */
    int64_t row_count, column_count;
    bool turned; /* of the transposed table */
} part;

static part part_of(const plain *p, const otimes_circuit_settings *s, bool turned)
{
    const int64_t rows = s->rows ? s->row_count : p->rows;
    const int64_t columns = s->columns ? s->column_count : p->columns;
    return turned ? (part){p, s->columns, s->rows, columns, rows, true}
                  : (part){p, s->rows, s->columns, rows, columns, false};
}

static double entry_of(const part *t, int64_t row, int64_t column)
{
    const int64_t r = id_at(t->rows, row), c = id_at(t->columns, column);
    return t->p->value[t->turned ? c * t->p->columns + r : r * t->p->columns + c];
}

static int64_t place_of(const int64_t *ids, int64_t count, int64_t id)
{
    for (int64_t i = 0; ids && i < count; i++) {
        if (ids[i] == id) {
            return i;
        }
    }
    return ids ? -1 : id;
}

static int falling(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

const void *circuit_data(const otimes_memory_sink *memory, const char *name)
{
    const void *data = NULL;
    if (!otimes_memory_sink_array(memory, name, &data)) {
        fail_msg("%s: not there", name);
    }
    return data;
}

/* ---- what was written of one head ---- */

/* The value at an end of a list, under its own name. */
static void hold_listed(const part *t, const char *which, const char *what, double got,
                        double expected)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%s", which, what);
    hold(t->p, name, got, expected, 1);
}

/* One row's list of one end: each value stands where its id says, they fall, equal ones by id, and no
 * other entry is beyond the last. */
static void check_list(const part *t, const char *which, int64_t row, const float *value,
                       const int32_t *id, int64_t top, bool *listed)
{
    const double sign = strstr(which, "bottom") ? -1 : 1;
    const int64_t kept = top < t->column_count ? top : t->column_count;
    memset(listed, 0, (size_t)t->column_count * sizeof *listed);
    for (int64_t k = 0; k < kept; k++) {
        const double got = (double)value[k], before = k ? (double)value[k - 1] : got;
        const int64_t place = place_of(t->columns, t->column_count, id[k]);
        assert_in_range(place, 0, t->column_count - 1);
        hold_listed(t, which, "value", got, entry_of(t, row, place));
        hold_listed(t, which, "id", got, entry_of(t, row, place));
        assert_false(listed[place]);
        assert_true(sign * before > sign * got || k == 0 || (before == got && id[k - 1] < id[k]));
        listed[place] = true;
    }
    for (int64_t j = 0; kept > 0 && j < t->column_count; j++) {
        if (!listed[j] &&
            !(sign * entry_of(t, row, j) <= sign * (double)value[kept - 1] + t->p->close)) {
            fail_msg("%s[%d]: %d is not listed: %g, beyond %g", which, (int)row, (int)j,
                     entry_of(t, row, j), (double)value[kept - 1]);
        }
    }
    for (int64_t k = kept; k < top; k++) {
        assert_true(isnan((double)value[k]) && id[k] == -1);
    }
}

static void check_lists(const otimes_memory_sink *memory, const char *which, const part *t,
                        int64_t at, int64_t top)
{
    char name[64];
    snprintf(name, sizeof name, "%s_value", which);
    const float *value = (const float *)circuit_data(memory, name) + at * t->row_count * top;
    snprintf(name, sizeof name, "%s_id", which);
    const int32_t *id = (const int32_t *)circuit_data(memory, name) + at * t->row_count * top;
    bool *listed = calloc((size_t)t->column_count, sizeof *listed);
    assert_non_null(listed);
    for (int64_t i = 0; i < t->row_count; i++) {
        check_list(t, which, i, value + i * top, id + i * top, top, listed);
    }
    free(listed);
}

static void check_statistics(const otimes_memory_sink *memory, const part *t, int64_t at,
                             bool one_vocabulary)
{
    const int64_t first = at * t->row_count;
    const double *mean = (const double *)circuit_data(memory, "row_mean") + first;
    const double *std = (const double *)circuit_data(memory, "row_std") + first;
    const double *logsumexp = (const double *)circuit_data(memory, "row_logsumexp") + first;
    const float *most = (const float *)circuit_data(memory, "row_max") + first;
    const float *least = (const float *)circuit_data(memory, "row_min") + first;
    const float *own = (const float *)circuit_data(memory, "diagonal_value") + first;
    const int64_t *rank = (const int64_t *)circuit_data(memory, "diagonal_rank") + first;
    const double n = (double)t->column_count, close = t->p->close;
    for (int64_t i = 0; i < t->row_count; i++) {
        const int64_t place =
            one_vocabulary ? place_of(t->columns, t->column_count, id_at(t->rows, i)) : -1;
        const double diagonal = place >= 0 ? entry_of(t, i, place) : NAN;
        double sum = 0, square = 0, high = -INFINITY, low = INFINITY, exps = 0;
        int64_t surely = 0, maybe = 0;
        for (int64_t j = 0; j < t->column_count; j++) {
            const double x = entry_of(t, i, j);
            sum += x / n;
            high = fmax(high, x);
            low = fmin(low, x);
            surely += j != place && x > diagonal + 2 * close;
            maybe += j != place && x > diagonal - 2 * close;
        }
        for (int64_t j = 0; j < t->column_count; j++) {
            const double x = entry_of(t, i, j);
            square += (x - sum) * (x - sum) / n;
            exps += exp(x - high);
        }
        hold(t->p, "row_mean", mean[i], sum, 1);
        hold(t->p, "row_std", std[i], sqrt(square), 2);
        accuracy("row_logsumexp", "largest of the table, 1 at least", logsumexp[i],
                 high + log(exps), fmax(t->p->largest, 1), 4 * share);
        hold(t->p, "row_max", (double)most[i], high, 1);
        hold(t->p, "row_min", (double)least[i], low, 1);
        if (place < 0) {
            assert_true(isnan((double)own[i]) && rank[i] == -1);
        } else {
            hold(t->p, "diagonal_value", (double)own[i], diagonal, 1);
            accuracy_between("diagonal_rank", rank[i], surely, maybe);
        }
    }
}

static void check_histogram(const otimes_memory_sink *memory, const otimes_circuit_settings *s,
                            const part *t, int64_t at)
{
    const int64_t *count = (const int64_t *)circuit_data(memory, "histogram") + at * s->bins;
    const int64_t below = ((const int64_t *)circuit_data(memory, "histogram_below"))[at];
    const int64_t above = ((const int64_t *)circuit_data(memory, "histogram_above"))[at];
    const double *edge = circuit_data(memory, "histogram_edge");
    int64_t all = below + above;
    for (int64_t b = 0; b <= s->bins; b++) {
        accuracy("histogram_edge", "the range", edge[b],
                 s->low + (s->high - s->low) * (double)b / (double)s->bins, s->high - s->low,
                 4 * DBL_EPSILON);
    }
    for (int64_t b = 0; b < s->bins + 2; b++) { /* entries up to each edge */
        const int64_t upto = b == 0 ? below : b <= s->bins ? count[b - 1] : above;
        const double low = b == 0 ? -INFINITY : edge[b - 1];
        const double high = b <= s->bins ? edge[b] : INFINITY;
        int64_t surely = 0, maybe = 0;
        for (int64_t i = 0; i < t->row_count * t->column_count; i++) {
            const double x = entry_of(t, i / t->column_count, i % t->column_count);
            surely += x >= low + t->p->close && x < high - t->p->close;
            maybe += x >= low - t->p->close && x <= high + t->p->close;
        }
        accuracy_between(b == 0         ? "histogram_below"
                         : b <= s->bins ? "histogram"
                                        : "histogram_above",
                         upto, surely, maybe);
        all += b > 0 && b <= s->bins ? upto : 0;
    }
    assert_int_equal(all, t->row_count * t->column_count);
}

/* All that are surely beyond are there, none that surely is not; in order. */
static void check_entries(const otimes_memory_sink *memory, const otimes_circuit_settings *s,
                          const part *t, int64_t at)
{
    int64_t count, surely = 0, found = 0, last = -1;
    free(sink_values(memory, "entry_value", &count));
    const float *value = circuit_data(memory, "entry_value");
    const int32_t *head = circuit_data(memory, "entry_head"),
                  *row = circuit_data(memory, "entry_row");
    const int32_t *column = circuit_data(memory, "entry_column");
    const double sign = s->threshold > 0 ? 1 : -1;
    for (int64_t i = 0; i < t->row_count * t->column_count; i++) {
        surely += sign * entry_of(t, i / t->column_count, i % t->column_count) >=
                  fabs(s->threshold) + t->p->close;
    }
    for (int64_t i = 0; i < count; i++) {
        if (head[i] != at) {
            continue;
        }
        const int64_t r = place_of(t->rows, t->row_count, row[i]);
        const int64_t c = place_of(t->columns, t->column_count, column[i]);
        assert_true(sign * (double)value[i] >= fabs(s->threshold));
        hold_listed(t, "entry", "value", (double)value[i], entry_of(t, r, c));
        hold_listed(t, "entry", "row", (double)value[i], entry_of(t, r, c));
        hold_listed(t, "entry", "column", (double)value[i], entry_of(t, r, c));
        accuracy_exact("entry_head", (double)head[i], (double)at);
        assert_true(r * t->column_count + c > last);
        last = r * t->column_count + c;
        surely -= sign * entry_of(t, r, c) >= fabs(s->threshold) + t->p->close;
        found++;
    }
    assert_int_equal(surely, 0);
    assert_true(found > 0);
}

static void check_strongest(const otimes_memory_sink *memory, const otimes_circuit_settings *s,
                            const part *t, int64_t at, bool smallest)
{
    const int64_t all = t->row_count * t->column_count;
    const char *which = smallest ? "smallest" : "largest";
    char name[3][32];
    for (int i = 0; i < 3; i++) {
        static const char *const parts[] = {"value", "row", "column"};
        snprintf(name[i], sizeof name[i], "%s_%s", which, parts[i]);
    }
    const float *value = (const float *)circuit_data(memory, name[0]) + at * s->largest;
    const int32_t *row = (const int32_t *)circuit_data(memory, name[1]) + at * s->largest;
    const int32_t *column = (const int32_t *)circuit_data(memory, name[2]) + at * s->largest;
    double *sorted = calloc((size_t)all, sizeof *sorted);
    assert_non_null(sorted);
    for (int64_t i = 0; i < all; i++) {
        sorted[i] = (smallest ? -1 : 1) * entry_of(t, i / t->column_count, i % t->column_count);
    }
    qsort(sorted, (size_t)all, sizeof *sorted, falling);
    for (int64_t k = 0; k < s->largest; k++) {
        if (k >= all) {
            assert_true(isnan((double)value[k]) && row[k] == -1 && column[k] == -1);
            continue;
        }
        const int64_t r = place_of(t->rows, t->row_count, row[k]);
        const int64_t c = place_of(t->columns, t->column_count, column[k]);
        assert_true(r >= 0 && c >= 0);
        hold_listed(t, which, "value", (double)value[k], (smallest ? -1 : 1) * sorted[k]);
        hold_listed(t, which, "row", (double)value[k], entry_of(t, r, c));
        hold_listed(t, which, "column", (double)value[k], entry_of(t, r, c));
    }
    free(sorted);
}

static void hold_ids(const otimes_memory_sink *memory, const char *name, const int64_t *ids)
{
    int64_t count;
    double *got = sink_values(memory, name, &count);
    for (int64_t i = 0; got && i < count; i++) {
        accuracy_exact(name, got[i], (double)id_at(ids, i));
    }
    free(got);
}

void check_circuit(const otimes_model *model, const otimes_circuit_settings *s,
                   const otimes_circuit_head *heads, int64_t head_count)
{
    const otimes_model_info *info = otimes_model_describe(model);
    otimes_memory_sink *memory = run_circuit(model, s);
    const bool one = s->which != OTIMES_CIRCUIT_OV || info->d_vocab == info->d_vocab_out;
    int64_t count;
    double *layer = sink_values(memory, "head_layer", &count);
    double *head = sink_values(memory, "head_index", &count);
    assert_int_equal(count, head_count);
    accuracy_of("circuit");
    hold_ids(memory, "row_id", s->rows);
    hold_ids(memory, "column_id", s->columns);
    for (int64_t at = 0; at < head_count; at++) {
        plain p = plain_table(model, s, &heads[at]);
        accuracy_exact("head_layer", layer[at], (double)heads[at].layer);
        accuracy_exact("head_index", head[at], (double)heads[at].head);
        const part t = part_of(&p, s, false), turned = part_of(&p, s, true);
        const int64_t longest = t.row_count > t.column_count ? t.row_count : t.column_count;
        const int64_t top = s->top < longest ? s->top : longest;
        const int64_t bottom = s->bottom < longest ? s->bottom : longest;
        if (s->sides & OTIMES_CIRCUIT_ROWS) {
            check_lists(memory, "top", &t, at, top);
            check_lists(memory, "bottom", &t, at, bottom);
        }
        if (s->sides & OTIMES_CIRCUIT_COLUMNS) {
            check_lists(memory, "column_top", &turned, at, top);
            check_lists(memory, "column_bottom", &turned, at, bottom);
        }
        if (s->statistics) {
            check_statistics(memory, &t, at, one);
        }
        if (s->bins > 0) {
            check_histogram(memory, s, &t, at);
        }
        if (s->threshold != 0) {
            check_entries(memory, s, &t, at);
        }
        if (s->largest > 0) {
            check_strongest(memory, s, &t, at, false);
            check_strongest(memory, s, &t, at, true);
        }
        const float *table =
            s->full == OTIMES_CIRCUIT_FULL_F32 ? circuit_data(memory, "table") : NULL;
        for (int64_t i = 0; table && i < t.row_count * t.column_count; i++) {
            const double expected = entry_of(&t, i / t.column_count, i % t.column_count);
            hold(&p, "table", (double)table[at * t.row_count * t.column_count + i], expected, 1);
        }
        free(p.value);
    }
    free(layer);
    free(head);
    otimes_memory_sink_free(&memory);
}
