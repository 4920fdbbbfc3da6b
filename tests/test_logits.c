/* SPDX-License-Identifier: MIT
 *
 * Logits of every architecture against Hugging Face's in float64, what is read from them against
 * plain loops over the whole row, and texts run together against texts run alone.
 */
#include "accuracy.h"
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <otimes/logits.h>

#include "model/model.h"
#include "num/sample.h"

/* Products and the stream are float32: an entry is off by a few roundings for each of the layers,
 * 2^-24 each, of the size of the largest logit. */
#define CLOSE (32 * (double)FLT_EPSILON)
#define ROW "largest of the row, 1 at least"

static otimes_memory_sink *run(const otimes_model *model, const otimes_logits_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_logits(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

/* The texts of a golden model, which are all of one length. */
typedef struct texts {
    int64_t length[2], *id[2];
} texts;

static void texts_of(const golden *g, texts *t)
{
    int64_t count;
    const double *tokens = golden_values(g, "tokens", &count);
    assert_non_null(tokens);
    for (int s = 0; s < 2; s++) {
        t->length[s] = count / 2;
        t->id[s] = malloc((size_t)count * sizeof(int64_t));
        for (int64_t i = 0; i < count / 2; i++) {
            t->id[s][i] = (int64_t)tokens[s * count / 2 + i];
        }
    }
}

static void free_texts(texts *t)
{
    free(t->id[0]);
    free(t->id[1]);
}

static otimes_logits_settings settings_of(const texts *t)
{
    otimes_logits_settings settings;
    otimes_logits_settings_default(&settings);
    settings.sequences = (otimes_sequences){2, t->length, (const int64_t *const *)t->id};
    settings.full = 1;
    return settings;
}

static double largest(const double *values, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs(values[i]));
    }
    return most;
}

static double logsumexp_of(const double *row, int64_t count)
{
    double high = row[0], sum = 0;
    for (int64_t o = 0; o < count; o++) {
        high = fmax(high, row[o]);
    }
    for (int64_t o = 0; o < count; o++) {
        sum += exp(row[o] - high);
    }
    return high + log(sum);
}

/* Hugging Face's logits of raw weights; log-probabilities of processed ones, whose logits may
 * differ by what the unembedding was centred by. */
static void logits_of_goldens(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            texts t;
            int64_t count, expected_count;
            golden_open(&g, golden_names[i], processed);
            texts_of(&g, &t);
            const int64_t out = otimes_model_describe(g.model)->d_vocab_out;
            const otimes_logits_settings settings = settings_of(&t);
            otimes_memory_sink *memory = run(g.model, &settings);
            double *got = sink_values(memory, "logits", &count);
            const double *expected = golden_values(&g, "logits", &expected_count);
            assert_int_equal(count, expected_count);
            const double scale = largest(expected, count);
            for (int64_t r = 0; r < count; r += out) {
                const double shift =
                    processed ? logsumexp_of(got + r, out) - logsumexp_of(expected + r, out) : 0;
                for (int64_t o = r; o < r + out; o++) {
                    accuracy("logits", "largest logit, 1 at least", got[o] - shift, expected[o],
                             fmax(scale, 1), CLOSE);
                }
            }
            free(got);
            otimes_memory_sink_free(&memory);
            free_texts(&t);
            golden_close(&g);
        }
    }
}

/* ---- what is read from a row ---- */

typedef struct values {
    double *logits, *top, *id, *top_log_prob, *logsumexp, *entropy, *next, *rank, *loss;
    int64_t out, ranks, rows; /* rows of a text */
} values;

static values values_of(const otimes_model *model, const otimes_memory_sink *memory)
{
    int64_t count, tops;
    values v = {.out = otimes_model_describe(model)->d_vocab_out};
    v.logits = sink_values(memory, "logits", &count);
    v.top = sink_values(memory, "top_value", &tops);
    v.id = sink_values(memory, "top_id", &tops);
    v.top_log_prob = sink_values(memory, "top_log_prob", &tops);
    v.entropy = sink_values(memory, "entropy", &count);
    v.logsumexp = sink_values(memory, "logsumexp", &count);
    v.rows = count / 2;
    v.ranks = tops / count;
    v.next = sink_values(memory, "next_log_prob", &count);
    v.rank = sink_values(memory, "next_rank", &count);
    v.loss = sink_values(memory, "loss", &count);
    return v;
}

static void free_values(values *v)
{
    double *const all[] = {v->logits,  v->top,  v->id,   v->top_log_prob, v->logsumexp,
                           v->entropy, v->next, v->rank, v->loss};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

/* Row r of the values; `next` is the token behind it, -1 for none. */
static void check_row(const values *v, int64_t r, int64_t next)
{
    const double *row = v->logits + r * v->out;
    const double lse = logsumexp_of(row, v->out), size = fmax(largest(row, v->out), 1);
    double entropy = 0;
    for (int64_t o = 0; o < v->out; o++) {
        entropy -= exp(row[o] - lse) * (row[o] - lse);
    }
    /* of float32 logits and exponentials */
    accuracy("logsumexp", ROW, v->logsumexp[r], lse, size, (double)FLT_EPSILON);
    accuracy("entropy", ROW, v->entropy[r], entropy, size, 8 * (double)FLT_EPSILON);
    for (int64_t k = 0; k < v->ranks; k++) {
        const int64_t at = r * v->ranks + k, id = (int64_t)v->id[at];
        int64_t better = 0;
        for (int64_t o = 0; o < v->out; o++) {
            better += row[o] > row[id] || (row[o] == row[id] && o < id);
        }
        accuracy_exact("top_id", (double)better, (double)k);
        accuracy_exact("top_value", v->top[at], row[id]);
        accuracy("top_log_prob", ROW, v->top_log_prob[at], row[id] - lse, size,
                 2 * (double)FLT_EPSILON);
    }
    if (!v->next) {
        return;
    }
    if (next < 0) {
        assert_true(isnan(v->next[r]) && v->rank[r] == -1);
        return;
    }
    int64_t above = 0;
    for (int64_t o = 0; o < v->out; o++) {
        above += row[o] > row[next];
    }
    accuracy_exact("next_rank", v->rank[r], (double)above);
    accuracy("next_log_prob", ROW, v->next[r], row[next] - lse, size, 2 * (double)FLT_EPSILON);
}

static void readings_of_rows(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        texts t;
        int64_t one;
        golden_open(&g, golden_names[i], i % 2);
        texts_of(&g, &t);
        otimes_logits_settings settings = settings_of(&t);
        settings.top = 4;
        otimes_memory_sink *memory = run(g.model, &settings);
        values v = values_of(g.model, memory);
        const otimes_model_info *info = otimes_model_describe(g.model);
        assert_int_equal(v.next != NULL, info->d_vocab == info->d_vocab_out);
        for (int s = 0; s < 2; s++) {
            double sum = 0;
            for (int64_t p = 0; p < v.rows; p++) {
                check_row(&v, s * v.rows + p, p + 1 < v.rows ? t.id[s][p + 1] : -1);
                sum -= v.next && p + 1 < v.rows ? v.next[s * v.rows + p] : 0;
            }
            if (v.loss) {
                const double loss = sum / (double)(v.rows - 1);
                accuracy("loss", "its value", v.loss[s], loss, loss, 64 * DBL_EPSILON);
            }
        }
        double *predicted = sink_values(memory, "predicted_tokens", &one);
        assert_int_equal(predicted != NULL, v.loss != NULL);
        if (predicted) {
            accuracy_exact("predicted_tokens", predicted[0], (double)(v.rows - 1));
        }
        free(predicted);
        free_values(&v);
        otimes_memory_sink_free(&memory);
        free_texts(&t);
        golden_close(&g);
    }
}

/* ---- texts together and alone ---- */

/* Values of one text within an array of `row` numbers a position, then NaN (or -1) to its end. */
static void check_part(const char *what, const double *all, int64_t longest, const double *alone,
                       int64_t length, int64_t row, double tolerance)
{
    assert_close(what, all, alone, length * row, tolerance, 0);
    for (int64_t i = length * row; i < longest * row; i++) {
        assert_true(isnan(all[i]) || all[i] == -1);
    }
}

static void compare_ragged(const char *name, int64_t chunk_rows, int resident)
{
    static const char *const arrays[] = {"logits", "top_value", "logsumexp", "next_log_prob",
                                         "next_rank"};
    golden g;
    texts t;
    int64_t count, one;
    golden_open(&g, name, true);
    texts_of(&g, &t);
    const int64_t n = t.length[0], length[3] = {n - 3, n, 1};
    const int64_t *const id[3] = {t.id[1], t.id[0], t.id[1] + 2};
    otimes_logits_settings settings = settings_of(&t);
    settings.sequences = (otimes_sequences){3, length, id};
    settings.forward.chunk_rows = chunk_rows;
    settings.forward.resident = resident;
    otimes_memory_sink *together = run(g.model, &settings);
    for (int s = 0; s < 3; s++) {
        settings.sequences = (otimes_sequences){1, &length[s], &id[s]};
        otimes_memory_sink *alone = run(g.model, &settings);
        for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++) {
            double *whole = sink_values(together, arrays[a], &count);
            double *part = sink_values(alone, arrays[a], &one);
            assert_int_equal(whole != NULL, part != NULL);
            if (whole) {
                const int64_t row = one / length[s];
                char what[128];
                snprintf(what, sizeof what, "%s: %s of text %d", name, arrays[a], s);
                check_part(what, whole + s * n * row, n, part, length[s], row, CLOSE);
            }
            free(whole);
            free(part);
        }
        otimes_memory_sink_free(&alone);
    }
    otimes_memory_sink_free(&together);
    free_texts(&t);
    golden_close(&g);
}

static void ragged_texts(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        compare_ragged(golden_names[i], 0, 0);
        compare_ragged(golden_names[i], 4, i % 2); /* a batch a text */
    }
}

/* ---- positions ---- */

static void chosen_positions(void **state)
{
    (void)state;
    static const int64_t positions[] = {-1, 2, 0};
    golden g;
    texts t;
    int64_t count;
    golden_open(&g, "llama", true);
    texts_of(&g, &t);
    t.length[1] -= 2;
    otimes_logits_settings settings = settings_of(&t);
    otimes_memory_sink *all = run(g.model, &settings);
    settings.positions = positions;
    settings.position_count = 3;
    otimes_memory_sink *some = run(g.model, &settings);
    double *whole = sink_values(all, "logits", &count),
           *next = sink_values(all, "next_log_prob", &count);
    double *part = sink_values(some, "logits", &count);
    double *place = sink_values(some, "place_position", &count);
    double *part_next = sink_values(some, "next_log_prob", &count);
    double *loss = sink_values(some, "loss", &count);
    const int64_t out = otimes_model_describe(g.model)->d_vocab_out, n = t.length[0];
    for (int s = 0; s < 2; s++) {
        const int64_t at[3] = {t.length[s] - 1, 2, 0};
        for (int i = 0; i < 3; i++) {
            assert_int_equal(place[s * 3 + i], at[i]);
            assert_close("logits", part + (s * 3 + i) * out, whole + (s * n + at[i]) * out, out,
                         2e-6, 0);
            assert_close("next_log_prob", &part_next[s * 3 + i], &next[s * n + at[i]], 1, 2e-6, 0);
        }
        assert_true(fabs(loss[s] + (part_next[s * 3 + 1] + part_next[s * 3 + 2]) / 2) < 1e-12);
    }
    const void *data;
    assert_string_equal(otimes_memory_sink_array(some, "top_id", &data)->axis[1]->name, "place");
    free(whole);
    free(next);
    free(part);
    free(place);
    free(part_next);
    free(loss);
    otimes_memory_sink_free(&all);
    otimes_memory_sink_free(&some);
    free_texts(&t);
    golden_close(&g);
}

/* ---- threads, and runs that go on ---- */

static void threads(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        double *bits[2];
        int64_t count = 0;
        for (int k = 0; k < 2; k++) {
            golden g;
            texts t;
            golden_open(&g, golden_names[i], true);
            g.model->threads = 1 + 2 * k;
            texts_of(&g, &t);
            const otimes_logits_settings settings = settings_of(&t);
            otimes_memory_sink *memory = run(g.model, &settings);
            bits[k] = sink_values(memory, "logits", &count);
            otimes_memory_sink_free(&memory);
            free_texts(&t);
            golden_close(&g);
        }
        assert_memory_equal(bits[0], bits[1], (size_t)count * sizeof *bits[0]);
        free(bits[0]);
        free(bits[1]);
    }
}

static int has_first_text(otimes_sink *sink, int id, const int64_t *start, const int64_t *count)
{
    (void)sink, (void)id, (void)count;
    return start[0] == 0;
}

/* A text that the sink has is not computed again when it is a batch of its own. */
static void going_on(void **state)
{
    (void)state;
    golden g;
    texts t;
    int64_t count;
    otimes_err err = {0};
    otimes_memory_sink *memory;
    golden_open(&g, "gpt2", true);
    texts_of(&g, &t);
    for (int64_t rows = 1; rows <= 2048; rows += 2047) {
        otimes_logits_settings settings = settings_of(&t);
        settings.forward.chunk_rows = rows;
        assert_ok(otimes_memory_sink_new(&memory, &err), &err);
        otimes_sink *inner = otimes_memory_sink_sink(memory);
        otimes_sink_ops ops = *inner->ops;
        ops.has = has_first_text;
        otimes_sink going = {&ops, inner->state};
        assert_ok(otimes_logits(g.model, &settings, &going, &err), &err);
        double *logits = sink_values(memory, "logits", &count);
        assert_true(isnan(logits[0]) == (rows == 1));
        assert_true(!isnan(logits[count / 2]));
        free(logits);
        otimes_memory_sink_free(&memory);
    }
    free_texts(&t);
    golden_close(&g);
}

/* ---- published cases ---- */

/* The continuation of an induction model compiled by hand, all 30 inputs of cases.json. */
static void tracr_induction(void **state)
{
    (void)state;
    otimes_err err = {0};
    otimes_model *model;
    json_error_t parsed;
    const char *path = shared_path("tracr_induction/cases.json");
    json_t *cases = path ? json_load_file(path, 0, &parsed) : NULL;
    if (!cases) {
        print_message("skipped: ../shared/weights/tracr_induction is not here\n");
        skip();
    }
    assert_ok(otimes_model_open(&model, shared_path("tracr_induction"), NULL, &err), &err);
    size_t at, right = 0;
    json_t *one;
    json_array_foreach (cases, at, one) {
        const json_t *ids = json_object_get(one, "ids"), *wanted = json_object_get(one, "expected");
        int64_t id[16], length = (int64_t)json_array_size(ids), count;
        const int64_t *const list[] = {id};
        assert_true(length <= 16);
        for (int64_t i = 0; i < length; i++) {
            id[i] = json_integer_value(json_array_get(ids, (size_t)i));
        }
        otimes_logits_settings settings;
        otimes_logits_settings_default(&settings);
        settings.sequences = (otimes_sequences){1, &length, list};
        otimes_memory_sink *memory = run(model, &settings);
        assert_null(sink_values(memory, "loss", &count));
        double *top = sink_values(memory, "top_id", &count);
        /* BOS stands before what `expected` runs along; only its last entry is defined. */
        const char *last = json_string_value(json_array_get(wanted, json_array_size(wanted) - 1));
        const char *got =
            otimes_model_output_token(model, (int64_t)top[(length - 1) * (count / length)]);
        right += got && strcmp(got + strlen(got) - strlen(last), last) == 0;
        free(top);
        otimes_memory_sink_free(&memory);
    }
    assert_int_equal(right, 30);
    json_decref(cases);
    otimes_model_close(&model);
}

/* A list of ten different numbers below 51, 51, and the list in order. */
static void sorted_list(int64_t number, int64_t *id)
{
    bool used[51] = {false};
    for (int64_t i = 0; i < 10; i++) {
        int64_t left =
            (int64_t)(otimes_uniform_of(5, (uint64_t)number, (uint64_t)i) * (double)(51 - i));
        int64_t v = 0;
        for (; used[v] || left-- > 0; v++) {
        }
        used[v] = true;
        id[i] = v;
    }
    id[10] = 51;
    for (int64_t v = 0, at = 11; v < 51; v++) {
        if (used[v]) {
            id[at++] = v;
        }
    }
}

/* The loss that the author of a model that sorts lists reports for it, 0.039 nats (ARENA, monthly
 * problem of October 2023): over 2000 lists the mean has a standard error of 0.001. */
static void sorting_loss(void **state)
{
    (void)state;
    enum { LISTS = 2000, TOKENS = 21, FIRST = 10 };
    otimes_err err = {0};
    otimes_model *model;
    otimes_logits_settings settings;
    const char *path = shared_path("arena_sorted_list");
    if (!path) {
        print_message("skipped: ../shared/weights/arena_sorted_list is not here\n");
        skip();
    }
    int64_t *id = malloc(LISTS * TOKENS * sizeof *id), length[LISTS], count;
    const int64_t *ids[LISTS];
    for (int64_t n = 0; n < LISTS; n++) {
        sorted_list(n, id + n * TOKENS);
        ids[n] = id + n * TOKENS;
        length[n] = TOKENS;
    }
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    otimes_logits_settings_default(&settings);
    settings.sequences = (otimes_sequences){LISTS, length, ids};
    settings.top = 0;
    otimes_memory_sink *memory = run(model, &settings);
    double *next = sink_values(memory, "next_log_prob", &count), loss = 0;
    for (int64_t n = 0; n < LISTS; n++) {
        for (int64_t p = FIRST; p + 1 < TOKENS; p++) {
            loss -= next[n * TOKENS + p] / (LISTS * (TOKENS - 1 - FIRST));
        }
    }
    print_message("loss of the sorting model: %.4f\n", loss);
    assert_true(fabs(loss - 0.039) < 0.0005 + 4 * 0.001);
    free(next);
    free(id);
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

/* ---- what cannot be met ---- */

static void expect_refusal(const otimes_model *model, const otimes_logits_settings *settings,
                           int code, const char *text)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    const int rc = otimes_logits(model, settings, otimes_memory_sink_sink(memory), &err);
    if (rc != code || !strstr(err.msg, text)) {
        fail_msg("expected %d '%s', got %d '%s'", code, text, rc, err.msg);
    }
    otimes_memory_sink_free(&memory);
}

static void requests_that_cannot_be_met(void **state)
{
    (void)state;
    static const int64_t far[] = {-9}, long_text[64] = {0}, bad[] = {1, 99};
    const int64_t *const ids[] = {long_text, bad};
    int64_t length[] = {3, 2};
    golden g;
    otimes_logits_settings settings;
    golden_open(&g, "gpt2", true);
    otimes_logits_settings_default(&settings);
    settings.sequences = (otimes_sequences){0, length, ids};
    expect_refusal(g.model, &settings, OTIMES_ERR_ARGUMENT, "expected at least");
    settings.sequences.count = 2;
    expect_refusal(g.model, &settings, OTIMES_ERR_ARGUMENT, "99");
    settings.sequences.count = 1;
    settings.positions = far;
    settings.position_count = 1;
    expect_refusal(g.model, &settings, OTIMES_ERR_ARGUMENT,
                   "positions: text 0: expected -3 to 2, got -9");
    settings.position_count = 0;
    expect_refusal(g.model, &settings, OTIMES_ERR_ARGUMENT, "positions: expected at least one");
    settings.positions = NULL;
    settings.top = -1;
    expect_refusal(g.model, &settings, OTIMES_ERR_ARGUMENT, "top: expected at least 0");
    settings.top = 1;
    settings.forward.memory = 1000;
    expect_refusal(g.model, &settings, OTIMES_ERR_ARGUMENT, "memory: expected at most 1000");
    settings.forward.memory = 0;
    length[0] = 64;
    expect_refusal(g.model, &settings, OTIMES_ERR_ARGUMENT, "n_ctx");
    golden_close(&g);
}

/* A sink that asks to stop is obeyed. */
static int stop_at_once(otimes_sink *sink, double done, double total)
{
    (void)sink, (void)done, (void)total;
    return 1;
}

static void cancelled(void **state)
{
    (void)state;
    static const int64_t id[] = {1, 2, 3}, length = 3;
    const int64_t *const ids[] = {id};
    golden g;
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_logits_settings settings;
    otimes_logits_settings_default(&settings);
    settings.sequences = (otimes_sequences){1, &length, ids};
    golden_open(&g, "gpt2", true);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    otimes_sink *inner = otimes_memory_sink_sink(memory);
    otimes_sink_ops ops = *inner->ops;
    ops.progress = stop_at_once;
    otimes_sink stopping = {&ops, inner->state};
    assert_int_equal(otimes_logits(g.model, &settings, &stopping, &err), OTIMES_ERR_CANCELLED);
    settings.generate.count = 2;
    assert_int_equal(otimes_logits(g.model, &settings, &stopping, &err), OTIMES_ERR_CANCELLED);
    otimes_memory_sink_free(&memory);
    golden_close(&g);
}

int main(void)
{
    accuracy_of("logits");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_of_goldens),
        cmocka_unit_test(readings_of_rows),
        cmocka_unit_test(ragged_texts),
        cmocka_unit_test(chosen_positions),
        cmocka_unit_test(threads),
        cmocka_unit_test(going_on),
        cmocka_unit_test(tracr_induction),
        cmocka_unit_test(sorting_loss),
        cmocka_unit_test(requests_that_cannot_be_met),
        cmocka_unit_test(cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
