/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void trace_init(trace *t, const otimes_model *model, const otimes_sequences *batch)
{
    *t = (trace){.model = model, .batch = batch, .lock = PTHREAD_MUTEX_INITIALIZER};
    for (int64_t s = 0; s < batch->count; s++) {
        t->rows += batch->length[s];
    }
}

void trace_free(trace *t)
{
    for (int64_t i = 0; i < t->count; i++) {
        free(t->array[i].data);
        free(t->array[i].visits);
    }
    free(t->array);
    pthread_mutex_destroy(&t->lock);
}

static bool of_keys(otimes_hook hook)
{
    return hook == OTIMES_HOOK_SCORES || hook == OTIMES_HOOK_PATTERN;
}

static bool same_key(const trace_key *a, const trace_key *b)
{
    return a->hook == b->hook && a->layer == b->layer && a->head == b->head &&
           a->sequence == b->sequence && a->expert == b->expert;
}

/* Where a key's array is, or would be: chains of arrays by a mix of the key's numbers. */
static int64_t *slot_of(const trace *t, const trace_key *k)
{
    const uint64_t mix = (uint64_t)k->hook + 37 * (uint64_t)(k->layer + 1) +
                         1009 * (uint64_t)(k->head + 1) + 9973 * (uint64_t)(k->sequence + 1) +
                         99991 * (uint64_t)(k->expert + 1);
    return (int64_t *)&t->chain[mix % TRACE_CHAINS];
}

trace_array *trace_find(const trace *t, trace_key key)
{
    for (int64_t i = *slot_of(t, &key); i > 0; i = t->array[i - 1].next) {
        if (same_key(&t->array[i - 1].key, &key)) {
            return &t->array[i - 1];
        }
    }
    return NULL;
}

static trace_array *need(trace *t, trace_key key, int64_t columns)
{
    trace_array *found = trace_find(t, key);
    if (found) {
        return found;
    }
    if (t->count == t->capacity) {
        t->capacity = 2 * t->capacity + 64;
        t->array = realloc(t->array, (size_t)t->capacity * sizeof *t->array);
    }
    const int64_t rows = of_keys(key.hook) ? t->batch->length[key.sequence] : t->rows;
    trace_array *a = &t->array[t->count++];
    *a = (trace_array){key, rows, of_keys(key.hook) ? rows : columns, NULL, NULL, 0};
    a->next = *slot_of(t, &key);
    *slot_of(t, &key) = t->count;
    a->data = malloc((size_t)(a->rows * a->columns + 1) * sizeof *a->data);
    a->visits = calloc((size_t)a->rows + 1, sizeof *a->visits);
    for (int64_t i = 0; i < a->rows * a->columns; i++) {
        a->data[i] = key.hook == OTIMES_HOOK_PATTERN ? 0 : -INFINITY;
    }
    return a;
}

double trace_factor(const trace *t, trace_key key, int64_t column)
{
    if (t->zero >> key.hook & 1) {
        return 0;
    }
    const bool edited =
        t->edit.on && column % 2 == 0 && t->edit.hook == key.hook && t->edit.layer == key.layer;
    return edited ? (double)t->edit.factor : 1;
}

void trace_put_row(trace *t, trace_key key, int64_t row, int64_t columns, const float *values,
                   const double *wide)
{
    trace_array *a = need(t, key, columns);
    if (row < 0 || row >= a->rows || columns > a->columns) {
        snprintf(t->problem, sizeof t->problem, "row %lld of %lld, %lld columns of %lld",
                 (long long)row, (long long)a->rows, (long long)columns, (long long)a->columns);
        return;
    }
    a->visits[row]++;
    for (int64_t j = 0; j < columns; j++) {
        a->data[row * a->columns + j] = values ? (double)values[j] : wide[j];
    }
}

/* What is wrong with an activation as it is handed over, or NULL. */
static const char *shape_problem(const trace *t, const otimes_activation *a)
{
    const otimes_model_info *info = otimes_model_describe(t->model);
    const bool keys = of_keys(a->hook), by_head = keys || a->hook == OTIMES_HOOK_RESULT;
    const bool by_expert = a->hook == OTIMES_HOOK_EXPERT_POST;
    const int64_t columns = otimes_hook_columns(t->model, a->hook);
    if (!otimes_hook_reached(t->model, a->hook, a->layer)) {
        return "visited, though it is not reached";
    }
    if (a->rows < 1 || !a->data || (a->rows > 1 && a->stride < a->columns)) {
        return "no rows, no data or rows that overlap";
    }
    if (by_head ? a->head < 0 || a->head >= info->n_heads : a->head != -1) {
        return "wrong head";
    }
    if (keys ? a->sequence < 0 || a->sequence >= t->batch->count : a->sequence != -1) {
        return "wrong sequence";
    }
    if (by_expert ? a->expert < 0 || a->expert >= info->n_experts || !a->row_of
                  : a->expert != -1 || a->row_of) {
        return "wrong expert";
    }
    if (keys ? a->columns < 1 || columns != -1 : a->columns != columns) {
        return "wrong number of columns";
    }
    return NULL;
}

int trace_visit(void *context, const otimes_activation *a, otimes_err *err)
{
    trace *t = context;
    const trace_key key = {a->hook, a->layer, a->head, a->sequence, a->expert};
    (void)err;
    pthread_mutex_lock(&t->lock);
    const char *problem = shape_problem(t, a);
    if (problem && !t->problem[0]) {
        snprintf(t->problem, sizeof t->problem, "%s, layer %lld: %s", otimes_hook_name(a->hook),
                 (long long)a->layer, problem);
    }
    for (int64_t i = 0; !t->problem[0] && i < a->rows; i++) {
        const int64_t row = a->row_of ? a->row_of[i] : a->first + i;
        trace_put_row(t, key, row, a->columns, a->data + i * a->stride, NULL);
        for (int64_t j = 0; j < a->columns; j += 2) {
            a->data[i * a->stride + j] *= (float)trace_factor(t, key, j);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return t->problem[0] ? OTIMES_ERR_CANCELLED : 0;
}

otimes_hooks trace_hooks(trace *t, uint64_t points)
{
    return (otimes_hooks){.points = points, .visit = trace_visit, .context = t};
}

/* One array has all of its rows once. */
static void array_is_whole(const trace *t, trace_key key, const char *what)
{
    const trace_array *a = trace_find(t, key);
    char name[128];
    otimes_hook_text(key.hook, key.layer, key.expert, name, sizeof name);
    if (!a) {
        fail_msg("%s: %s, head %d: not visited", what, name, (int)key.head);
        return;
    }
    for (int64_t i = 0; i < a->rows; i++) {
        if (a->visits[i] != 1) {
            fail_msg("%s: %s, head %d: row %d was visited %d times", what, name, (int)key.head,
                     (int)i, a->visits[i]);
        }
    }
}

/* Every token has gone to as many experts as it must, to each at most once. */
static void experts_are_whole(const trace *t, int64_t layer, const char *what)
{
    const otimes_model_info *info = otimes_model_describe(t->model);
    for (int64_t row = 0; row < t->rows; row++) {
        int64_t went = 0;
        for (int64_t e = 0; e < info->n_experts; e++) {
            const trace_key key = {OTIMES_HOOK_EXPERT_POST, layer, -1, -1, e};
            const trace_array *a = trace_find(t, key);
            const int visits = a ? a->visits[row] : 0;
            went += visits;
            if (visits > 1) {
                fail_msg("%s: layer %d, expert %d: row %d twice", what, (int)layer, (int)e,
                         (int)row);
            }
        }
        if (went != info->n_experts_active) {
            fail_msg("%s: layer %d: row %d went to %d experts", what, (int)layer, (int)row,
                     (int)went);
        }
    }
}

static void hook_is_whole(const trace *t, otimes_hook hook, int64_t layer, const char *what)
{
    const int64_t heads = otimes_model_describe(t->model)->n_heads;
    if (hook == OTIMES_HOOK_EXPERT_POST) {
        experts_are_whole(t, layer, what);
    } else if (of_keys(hook)) {
        for (int64_t i = 0; i < heads * t->batch->count; i++) {
            array_is_whole(t, (trace_key){hook, layer, i % heads, i / heads, -1}, what);
        }
    } else if (hook == OTIMES_HOOK_RESULT) {
        for (int64_t h = 0; h < heads; h++) {
            array_is_whole(t, (trace_key){hook, layer, h, -1, -1}, what);
        }
    } else {
        array_is_whole(t, (trace_key){hook, layer, -1, -1, -1}, what);
    }
}

void trace_is_whole(const trace *t, const char *what)
{
    const int64_t layers = otimes_model_describe(t->model)->n_layers;
    if (t->problem[0]) {
        fail_msg("%s: %s", what, t->problem);
    }
    for (int hook = 0; hook < OTIMES_HOOK_COUNT; hook++) {
        for (int64_t layer = -1; layer < layers; layer++) {
            if (otimes_hook_reached(t->model, (otimes_hook)hook, layer)) {
                hook_is_whole(t, (otimes_hook)hook, layer, what);
            }
        }
    }
}

enum { LAYERS = 16 };

/* The largest finite |value| of each hook at each layer (0: of the model), whatever the head,
 * sequence or expert: one score alone may be what is left of two that cancel. */
static void find_largest(const trace *t, double largest[OTIMES_HOOK_COUNT][LAYERS])
{
    memset(largest, 0, sizeof(double) * OTIMES_HOOK_COUNT * LAYERS);
    for (int64_t i = 0; i < t->count; i++) {
        const trace_array *a = &t->array[i];
        assert_true(a->key.layer + 1 < LAYERS);
        double *most = &largest[a->key.hook][a->key.layer + 1];
        for (int64_t k = 0; k < a->rows * a->columns; k++) {
            *most = isinf(a->data[k]) ? *most : fmax(*most, fabs(a->data[k]));
        }
    }
}

double trace_is_close(const trace *got, const trace *want, double relative, const char *what)
{
    static double all[OTIMES_HOOK_COUNT][LAYERS];
    double worst = 0;
    find_largest(want, all);
    for (int64_t i = 0; i < got->count; i++) {
        const trace_array *a = &got->array[i], *b = trace_find(want, a->key);
        char name[128];
        otimes_hook_text(a->key.hook, a->key.layer, a->key.expert, name, sizeof name);
        if (!b || b->rows != a->rows || b->columns != a->columns) {
            fail_msg("%s: %s: the other has none of its shape", what, name);
            return worst;
        }
        const double largest = all[a->key.hook][a->key.layer + 1];
        for (int64_t k = 0; k < a->rows * a->columns; k++) {
            const int64_t row = k / a->columns;
            if (!a->visits[row] != !b->visits[row]) {
                fail_msg("%s: %s: row %d is in one alone", what, name, (int)row);
            }
            const double gap = a->data[k] == b->data[k] ? 0 : fabs(a->data[k] - b->data[k]);
            if (!(gap <= relative * largest)) {
                fail_msg("%s: %s, head %d: [%d, %d] is %.9g, expected %.9g (largest %.3g, allowed "
                         "%.3g)",
                         what, name, (int)a->key.head, (int)row, (int)(k % a->columns), a->data[k],
                         b->data[k], largest, relative * largest);
            }
            worst = largest > 0 ? fmax(worst, gap / largest) : worst;
        }
    }
    return worst;
}
