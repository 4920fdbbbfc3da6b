/* SPDX-License-Identifier: MIT
 *
 * What is read off a forward pass, held against a pass in double on every golden: activations, patterns and
 * their scores, what is said of logits, losses by order.
 */
#include "accuracy.h"
#include "forwarding.h"
#include "plain_heads.h"
#include "plain_pass.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/activations.h>
#include <otimes/logits.h>
#include <otimes/patterns.h>

#define EPS ((double)FLT_EPSILON)

enum { LAYERS = 16 };

/* A golden with texts and their pass in double; an error of eps grows to `growth` eps on its way. */
typedef struct passed {
    golden g;
    const otimes_model_info *info;
    made_batch batch;
    trace pass;
    double *logits, growth;
    int64_t longest;
} passed;

static void begin(passed *p, const char *name, bool processed)
{
    static const int64_t ragged[] = {8, 1, 5};
    golden_open_on(1, &p->g, name, processed);
    p->info = otimes_model_describe(p->g.model);
    batch_random(&p->batch, p->g.model, ragged, 3, 61);
    p->longest = p->batch.length[0];
    p->growth = plain_growth(p->g.model, &p->batch.sequences, name);
    trace_init(&p->pass, p->g.model, &p->batch.sequences);
    p->logits = plain_pass(&p->pass, name);
}

static void end(passed *p)
{
    free(p->logits);
    trace_free(&p->pass);
    golden_close(&p->g);
}

static void on_goldens(void (*check)(const passed *p))
{
    for (int i = 0; golden_names[i]; i++) {
        for (int processed = 0; processed < 2 && !golden_left_out(i); processed++) {
            static passed p;
            begin(&p, golden_names[i], processed);
            check(&p);
            end(&p);
        }
    }
}

static double *array_of(const otimes_memory_sink *memory, const char *name, int64_t *count)
{
    double *values = sink_values(memory, name, count);
    if (!values) {
        fail_msg("%s is not written", name);
    }
    return values;
}

/* Row of the batch where a text begins. */
static int64_t start_of(const passed *p, int64_t text)
{
    int64_t row = 0;
    for (int64_t t = 0; t < text; t++) {
        row += p->batch.length[t];
    }
    return row;
}

/* ---- activations ---- */

static void find_largest(const trace *t, double largest[OTIMES_HOOK_COUNT][LAYERS])
{
    memset(largest, 0, sizeof(double) * OTIMES_HOOK_COUNT * LAYERS);
    for (int64_t i = 0; i < t->count; i++) {
        const trace_array *a = &t->array[i];
        double *most = &largest[a->key.hook][a->key.layer + 1];
        for (int64_t k = 0; k < a->rows * a->columns; k++) {
            *most = isinf(a->data[k]) ? *most : fmax(*most, fabs(a->data[k]));
        }
    }
}

/* The name without a layer's or an expert's number, as the schema page has it. */
static void general_name(const char *name, char out[96])
{
    const char *dot = strncmp(name, "blocks.", 7) ? NULL : strchr(name + 7, '.');
    snprintf(out, 96, "%s%s", dot ? "blocks.{l}" : name, dot ? dot : "");
}

/* Where column j of a row stands in an array of this hook. */
static int64_t place_of(const passed *p, const trace_key *key, int64_t text, int64_t position,
                        int64_t columns, int64_t j)
{
    const int64_t L = p->longest, heads = p->info->n_heads;
    if (key->sequence >= 0) {
        return ((text * heads + key->head) * L + position) * L + j;
    }
    const int64_t row = text * L + position;
    return key->head >= 0     ? (row * heads + key->head) * columns + j
           : key->expert >= 0 ? (row * p->info->n_experts + key->expert) * columns + j
                              : row * columns + j;
}

static void hold_activation(const passed *p, const otimes_memory_sink *memory, const trace_array *a,
                            double largest)
{
    char name[96], general[96];
    int64_t count;
    otimes_activations_name(a->key.hook, a->key.layer, name, sizeof name);
    general_name(name, general);
    double *got = array_of(memory, name, &count);
    for (int64_t t = 0; t < p->batch.sequences.count; t++) {
        const int64_t first = a->key.sequence >= 0 ? 0 : start_of(p, t);
        for (int64_t i = 0; i < p->batch.length[t]; i++) {
            const bool there =
                (a->key.sequence < 0 || a->key.sequence == t) && a->visits[first + i];
            for (int64_t j = 0; there && j < a->columns; j++) {
                const int64_t at = place_of(p, &a->key, t, i, a->columns, j);
                assert_true(at < count);
                accuracy(general, "largest of the layer", got[at],
                         a->data[(first + i) * a->columns + j], largest, 16 * EPS * p->growth);
            }
        }
    }
    free(got);
}

static void activations_of(const passed *p)
{
    static double largest[OTIMES_HOOK_COUNT][LAYERS];
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_activations_settings settings;
    otimes_activations_settings_default(&settings);
    settings.sequences = p->batch.sequences;
    settings.names = "*";
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_activations(p->g.model, &settings, otimes_memory_sink_sink(memory), &err),
              &err);
    find_largest(&p->pass, largest);
    for (int64_t i = 0; i < p->pass.count; i++) {
        const trace_array *a = &p->pass.array[i];
        hold_activation(p, memory, a, largest[a->key.hook][a->key.layer + 1]);
    }
    otimes_memory_sink_free(&memory);
}

static void activations(void **state)
{
    (void)state;
    accuracy_of("activations");
    on_goldens(activations_of);
}

/* ---- patterns ---- */

static otimes_memory_sink *run_patterns(const passed *p, const otimes_patterns_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_patterns(p->g.model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

/* Row q of a head's pattern on a text, a key of its own for each strongest one. */
static void hold_row(const passed *p, const otimes_memory_sink *memory, int64_t at, int64_t length,
                     int64_t top, const double *want)
{
    const double share = 16 * EPS * p->growth;
    const void *pattern, *key, *weight;
    assert_non_null(otimes_memory_sink_array(memory, "pattern", &pattern));
    assert_non_null(otimes_memory_sink_array(memory, "top_key", &key));
    assert_non_null(otimes_memory_sink_array(memory, "top_weight", &weight));
    for (int64_t k = 0; k < length; k++) {
        accuracy("pattern", "1", (double)((const float *)pattern)[at * p->longest + k], want[k], 1,
                 share);
    }
    for (int64_t r = 0; r < top; r++) {
        const int32_t of = ((const int32_t *)key)[at * top + r];
        const double got = (double)((const float *)weight)[at * top + r];
        if (of >= 0) {
            accuracy("top_weight", "1", got, want[of], 1, share);
            accuracy("top_key", "1, of its weight", got, want[of], 1, share);
        }
    }
}

static void whole_patterns(const passed *p)
{
    const int64_t heads = p->info->n_layers * p->info->n_heads;
    otimes_patterns_settings settings;
    otimes_patterns_settings_default(&settings);
    settings.sequences = p->batch.sequences;
    settings.full = 1;
    settings.top = 2;
    otimes_memory_sink *memory = run_patterns(p, &settings);
    for (int64_t at = 0; at < p->batch.sequences.count * heads; at++) {
        const int64_t t = at / heads, l = at % heads / p->info->n_heads, h = at % p->info->n_heads;
        const trace_array *a = trace_find(&p->pass, (trace_key){OTIMES_HOOK_PATTERN, l, h, t, -1});
        for (int64_t q = 0; q < p->batch.length[t]; q++) {
            hold_row(p, memory, at * p->longest + q, p->batch.length[t], settings.top,
                     a->data + q * a->columns);
        }
    }
    otimes_memory_sink_free(&memory);
}

/* Scores of one text, or (repeated) of sequences that end in two copies. */
static void hold_scores(const passed *p, const otimes_memory_sink *memory,
                        const otimes_sequences *texts, const char *prefix, int64_t period)
{
    static const char *const names[] = {"previous_token", "current_token", "first_token",
                                        "duplicate_token", "induction"};
    trace pass;
    trace_init(&pass, p->g.model, texts);
    free(plain_pass(&pass, p->g.name));
    const double share = 16 * EPS * plain_growth(p->g.model, texts, p->g.name);
    for (int64_t at = 0; at < p->info->n_layers * p->info->n_heads; at++) {
        double want[5];
        plain_attention(&pass, at / p->info->n_heads, at % p->info->n_heads, period, want);
        for (int i = 0; i < 5; i++) {
            char name[64];
            const void *data;
            snprintf(name, sizeof name, "%s%s", prefix, names[i]);
            if (otimes_memory_sink_array(memory, name, &data)) {
                accuracy(name, "1", ((const double *)data)[at], want[i], 1, share);
            }
        }
    }
    trace_free(&pass);
}

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

/* Random tokens written twice, as the schema page draws them. */
static void repeated_patterns(const passed *p)
{
    enum { PERIOD = 4, SEQUENCES = 2 };
    const uint64_t vocab = (uint64_t)p->info->d_vocab, end = UINT64_MAX - UINT64_MAX % vocab;
    int64_t length[SEQUENCES] = {2 * PERIOD, 2 * PERIOD};
    otimes_patterns_settings settings;
    const void *data;
    otimes_patterns_settings_default(&settings);
    settings.repeated = PERIOD;
    settings.repeated_count = SEQUENCES;
    settings.seed = 5;
    otimes_memory_sink *memory = run_patterns(p, &settings);
    assert_non_null(otimes_memory_sink_array(memory, "repeated_id", &data));
    const int64_t *id = data;
    uint64_t state = settings.seed;
    for (int64_t i = 0; i < SEQUENCES * PERIOD; i++) {
        const int64_t at = i / PERIOD * 2 * PERIOD + i % PERIOD;
        uint64_t drawn = splitmix64(&state);
        while (drawn >= end) {
            drawn = splitmix64(&state);
        }
        accuracy_exact("repeated_id", (double)id[at], (double)(drawn % vocab));
        accuracy_exact("repeated_id", (double)id[at + PERIOD], (double)(drawn % vocab));
    }
    const int64_t *const ids[SEQUENCES] = {id, id + 2 * PERIOD};
    hold_scores(p, memory, &(otimes_sequences){SEQUENCES, length, ids}, "repeated_", PERIOD);
    otimes_memory_sink_free(&memory);
}

static void patterns_of(const passed *p)
{
    otimes_patterns_settings settings;
    const otimes_sequences first = {1, p->batch.length, p->batch.id};
    whole_patterns(p);
    repeated_patterns(p);
    otimes_patterns_settings_default(&settings);
    settings.sequences = first;
    otimes_memory_sink *memory = run_patterns(p, &settings);
    hold_scores(p, memory, &first, "", 0);
    otimes_memory_sink_free(&memory);
}

static void patterns(void **state)
{
    (void)state;
    accuracy_of("patterns");
    on_goldens(patterns_of);
}

/* ---- logits ---- */

#define SIZE "largest logit, 1 at least"

static void hold_logits(const passed *p, const otimes_memory_sink *memory, double largest)
{
    int64_t count;
    const int64_t out = p->info->d_vocab_out, L = p->longest;
    double *logsumexp = array_of(memory, "logsumexp", &count);
    double *entropy = array_of(memory, "entropy", &count);
    double *top = array_of(memory, "top_value", &count), *id = array_of(memory, "top_id", &count);
    double *next = sink_values(memory, "next_log_prob", &count);
    double *loss = sink_values(memory, "loss", &count);
    const double share = 32 * EPS * p->growth;
    for (int64_t t = 0; t < p->batch.sequences.count; t++) {
        const int64_t n = p->batch.length[t];
        double mean = 0;
        for (int64_t i = 0; i < n; i++) {
            const double *row = p->logits + (start_of(p, t) + i) * out;
            double sum = 0, along = 0;
            for (int64_t j = 0; j < out; j++) {
                sum += exp(row[j] - largest);
                along += exp(row[j] - largest) * row[j];
            }
            const double whole = largest + log(sum);
            accuracy("logsumexp", SIZE, logsumexp[t * L + i], whole, largest, share);
            accuracy("entropy", SIZE, entropy[t * L + i], whole - along / sum, largest, share);
            accuracy("top_value", SIZE, top[t * L + i], row[(int64_t)id[t * L + i]], largest,
                     share);
            if (next && i + 1 < n) {
                const double log_prob = row[p->batch.ids[t][i + 1]] - whole;
                accuracy("next_log_prob", SIZE, next[t * L + i], log_prob, largest, share);
                mean -= log_prob / (double)(n - 1);
            }
        }
        if (loss) {
            accuracy("loss", SIZE, loss[t], n > 1 ? mean : NAN, largest, share);
        }
    }
    free(logsumexp);
    free(entropy);
    free(top);
    free(id);
    free(next);
    free(loss);
}

static void hold_texts(const passed *p, const otimes_memory_sink *memory)
{
    int64_t count;
    double *id = array_of(memory, "token_id", &count), *mask = array_of(memory, "mask", &count);
    double *length = array_of(memory, "length", &count);
    for (int64_t t = 0; t < p->batch.sequences.count; t++) {
        accuracy_exact("length", length[t], (double)p->batch.length[t]);
        for (int64_t i = 0; i < p->longest; i++) {
            const bool in = i < p->batch.length[t];
            accuracy_exact("mask", mask[t * p->longest + i], in);
            accuracy_exact("token_id", id[t * p->longest + i],
                           in ? (double)p->batch.ids[t][i] : -1);
        }
    }
    free(id);
    free(mask);
    free(length);
}

static void logits_of(const passed *p)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_logits_settings settings;
    double largest = 1;
    otimes_logits_settings_default(&settings);
    settings.sequences = p->batch.sequences;
    settings.top = 1;
    for (int64_t i = 0; i < p->pass.rows * p->info->d_vocab_out; i++) {
        largest = fmax(largest, fabs(p->logits[i]));
    }
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_logits(p->g.model, &settings, otimes_memory_sink_sink(memory), &err), &err);
    hold_texts(p, memory);
    hold_logits(p, memory, largest);
    otimes_memory_sink_free(&memory);
}

static void logits(void **state)
{
    (void)state;
    accuracy_of("logits");
    on_goldens(logits_of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations),
        cmocka_unit_test(patterns),
        cmocka_unit_test(logits),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
