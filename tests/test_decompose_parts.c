/* SPDX-License-Identifier: MIT
 *
 * The finer parts of decompose, source positions and neurons, on every golden; requests of all
 * kinds; a published model's numbers.
 */
#include "decomposed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sources and neurons ---- */

static void check_sources(const fixture *f, int64_t targets)
{
    otimes_memory_sink *memory = decompose(f);
    values part = get(memory, "attribution"), source = get(memory, "source_attribution");
    const int64_t heads = f->info->n_heads, layers = f->info->n_layers;
    for (int64_t at = 0; at < TEXTS * f->longest * targets * layers * heads; at++) {
        const int64_t where = at / (targets * layers * heads), h = at % heads;
        const int64_t length = f->length[where / f->longest], position = where % f->longest;
        char label[64];
        snprintf(label, sizeof label, "L%lldH%lld", (long long)(at / heads % layers), (long long)h);
        const int64_t c = component_named(&part, label);
        const double expected = part.x[at / (layers * heads) * part.last + c];
        double sum = 0, size = 0;
        for (int64_t k = 0; k < source.last; k++) {
            const double x = source.x[at * source.last + k];
            assert_true(isnan(x) == (isnan(expected) || k >= length));
            assert_true(f->info->bidirectional || !(k > position && k < length) || isnan(x) ||
                        fabs(x) <= 0);
            sum += isnan(x) ? 0 : x;
            size += isnan(x) ? 0 : fabs(x);
        }
        if (!(isnan(expected) || fabs(sum - expected) <= 64 * EPS * (size + 1))) {
            fail_msg("%s: sources sum to %g, expected %g", f->g.name, sum, expected);
        }
    }
    free(part.x);
    free(source.x);
    otimes_memory_sink_free(&memory);
}

static void sources_of(const char *name, bool processed)
{
    fixture f;
    begin(&f, name, processed);
    f.settings.sources = 1;
    f.settings.norms = 0;
    check_sources(&f, TARGETS);
    if (f.info->d_vocab == f.info->d_vocab_out) {
        f.settings.target = f.settings.against = NULL; /* another one at each position */
        f.settings.target_count = 0;
        check_sources(&f, 1);
    }
    end(&f);
}

static void sources(void **state)
{
    (void)state;
    each_golden(sources_of);
}

static int by_size(const void *a, const void *b)
{
    const double x = fabs(*(const double *)a), y = fabs(*(const double *)b);
    return (x < y) - (x > y);
}

/* The kept ones are the largest of all, and are where they say. */
static void check_top(const fixture *f, const otimes_memory_sink *memory, const double *all,
                      int64_t per_layer, int64_t count, int64_t at)
{
    values value = get(memory, "neuron_value"), layer = get(memory, "neuron_layer");
    values index = get(memory, "neuron_index");
    const int64_t top = value.last;
    double *sorted = malloc((size_t)count * sizeof *sorted);
    memcpy(sorted, all, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_size);
    for (int64_t k = 0; k < top; k++) {
        const double got = value.x[at * top + k];
        if (k >= count) {
            assert_true(isnan(got) && layer.x[at * top + k] < 0);
            continue;
        }
        const int64_t place =
            (int64_t)layer.x[at * top + k] * per_layer + (int64_t)index.x[at * top + k];
        assert_true(place >= 0 && place < count);
        if (!(fabs(fabs(got) - fabs(sorted[k])) <= 0 && fabs(all[place] - got) <= 0)) {
            fail_msg("%s: neuron %lld: %g, expected %g", f->g.name, (long long)k, got, sorted[k]);
        }
    }
    free(sorted);
    free(value.x);
    free(layer.x);
    free(index.x);
}

static void check_neurons(const fixture *f, int64_t targets)
{
    otimes_memory_sink *memory = decompose(f);
    values part = get(memory, "attribution"), sum = get(memory, "neuron_sum");
    values rest = get(memory, "neuron_rest"), all = get(memory, "neuron_attribution");
    const int64_t layers = f->info->n_layers, n = all.last;
    for (int64_t at = 0; at < TEXTS * f->longest * targets; at++) {
        const bool there = !isnan(part.x[at * part.last]);
        for (int64_t l = 0; l < layers; l++) {
            char label[64];
            snprintf(label, sizeof label, "L%lld MLP", (long long)l);
            const int64_t c = component_named(&part, label);
            const double expected = part.x[at * part.last + c];
            double own = 0, size = 1;
            for (int64_t i = 0; i < n; i++) {
                const double x = all.x[(at * layers + l) * n + i];
                assert_true(isnan(x) == !there);
                own += there ? x : 0;
                size += there ? fabs(x) : 0;
            }
            if (!there) {
                assert_true(isnan(sum.x[at * layers + l]));
                continue;
            }
            assert_true(fabs(own - sum.x[at * layers + l]) <= 64 * EPS * size);
            if (!(fabs(own + rest.x[at * layers + l] - expected) <= 64 * EPS * size)) {
                fail_msg("%s: layer %lld: neurons and bias sum to %g, expected %g", f->g.name,
                         (long long)l, own + rest.x[at * layers + l], expected);
            }
        }
        if (there) {
            check_top(f, memory, all.x + at * layers * n, n, layers * n, at);
        }
    }
    free(part.x);
    free(sum.x);
    free(rest.x);
    free(all.x);
    otimes_memory_sink_free(&memory);
}

static void neurons_of(const char *name, bool processed)
{
    fixture f;
    begin(&f, name, processed);
    f.settings.parts = OTIMES_DECOMPOSE_NEURONS;
    f.settings.full = 1;
    f.settings.norms = 0;
    f.settings.top = 7;
    if (f.info->mlp == OTIMES_MLP_NONE) {
        otimes_memory_sink *memory = decompose(&f);
        const void *data;
        assert_null(otimes_memory_sink_array(memory, "neuron_value", &data));
        otimes_memory_sink_free(&memory);
        end(&f);
        return;
    }
    check_neurons(&f, TARGETS);
    if (f.info->d_vocab == f.info->d_vocab_out) {
        f.settings.target = f.settings.against = NULL;
        f.settings.target_count = 0;
        check_neurons(&f, 1);
    }
    end(&f);
}

static void neurons(void **state)
{
    (void)state;
    each_golden(neurons_of);
}

/* ---- requests ---- */

static void assert_same(const otimes_memory_sink *a, const otimes_memory_sink *b, const char *name,
                        int64_t from_a, int64_t from_b, int64_t count)
{
    values x = get(a, name), y = get(b, name);
    for (int64_t i = 0; i < count; i++) {
        const double p = x.x[from_a + i], q = y.x[from_b + i];
        if (!(isnan(p) ? isnan(q) : fabs(p - q) <= 32 * EPS * (fabs(p) + 1))) {
            fail_msg("%s[%lld]: %g, expected %g", name, (long long)i, q, p);
        }
    }
    free(x.x);
    free(y.x);
}

/* The token that follows, as a target of its own; none behind the last. */
static void next_tokens(void **state)
{
    static const char *const names[] = {"gpt2", "gemma2", "qwen2_moe", "bloom", "phi3", NULL};
    (void)state;
    for (int n = 0; names[n]; n++) {
        fixture f;
        begin(&f, names[n], true);
        f.settings.parts = OTIMES_DECOMPOSE_ALL;
        f.settings.target = f.settings.against = NULL;
        f.settings.target_count = 0;
        f.settings.lens = 1;
        otimes_memory_sink *next = decompose(&f);
        values id = get(next, "target_id"), part = get(next, "attribution");
        const int64_t position = 2, c = part.last, last = f.length[0] - 1;
        assert_true(id.x[position] == (double)f.id[0][position + 1]);
        assert_true(id.x[last] == -1);
        assert_true(isnan(part.x[last * c]) && isnan(part.x[last * c + c - 1]));
        f.settings.target = &f.id[0][position + 1];
        f.settings.target_count = 1;
        otimes_memory_sink *given = decompose(&f);
        assert_same(given, next, "attribution", position * c, position * c, c);
        assert_same(given, next, "component_cosine", position * c, position * c, c);
        assert_same(given, next, "neuron_value", position * 10, position * 10, 10);
        values lens = get(given, "lens_log_prob");
        assert_same(given, next, "lens_log_prob", position * lens.last, position * lens.last,
                    lens.last);
        free(lens.x);
        free(id.x);
        free(part.x);
        otimes_memory_sink_free(&next);
        otimes_memory_sink_free(&given);
        end(&f);
    }
}

/* A target of each text's own, as if each were run alone with it. */
static void own_targets(void **state)
{
    static const char *const names[] = {"gpt2", "gemma2", "mixtral", NULL};
    static const int64_t target[] = {3, 1}, against[] = {5, -1};
    (void)state;
    for (int n = 0; names[n]; n++) {
        fixture f;
        begin(&f, names[n], true);
        f.settings.parts = OTIMES_DECOMPOSE_ALL;
        f.settings.sources = 1;
        f.settings.target = f.settings.against = NULL;
        f.settings.target_count = 0;
        f.settings.text_target = target;
        f.settings.text_against = against;
        otimes_memory_sink *own = decompose(&f);
        f.settings.text_target = f.settings.text_against = NULL;
        f.settings.target_count = 1;
        for (int s = 0; s < TEXTS; s++) {
            f.settings.target = &target[s];
            f.settings.against = &against[s];
            otimes_memory_sink *given = decompose(&f);
            static const char *const arrays[] = {"attribution", "against_id", "target_value",
                                                 "neuron_value", "source_attribution"};
            for (int a = 0; a < 5; a++) {
                values all = get(given, arrays[a]);
                const int64_t each = all.count / TEXTS;
                assert_same(given, own, arrays[a], s * each, s * each, each);
                free(all.x);
            }
            otimes_memory_sink_free(&given);
        }
        otimes_memory_sink_free(&own);
        end(&f);
    }
}

/* Some positions: those and no others; texts together or one by one, in any batch. */
static void positions(void **state)
{
    static const int64_t chosen[] = {-1, 1};
    static const char *const names[] = {"gpt2", "gemma2", "mixtral", NULL};
    (void)state;
    for (int n = 0; names[n]; n++) {
        fixture f;
        begin(&f, names[n], true);
        f.settings.parts = OTIMES_DECOMPOSE_ALL;
        f.settings.sources = f.settings.lens = 1;
        otimes_memory_sink *all = decompose(&f);
        f.settings.positions = chosen;
        f.settings.position_count = 2;
        otimes_memory_sink *some = decompose(&f);
        f.settings.forward.chunk_rows = 1;
        f.settings.forward.resident = 1;
        f.settings.forward.memory = 1 << 30; /* as much as it likes */
        otimes_memory_sink *apart = decompose(&f);
        values part = get(some, "attribution"), rank = get(some, "lens_rank");
        for (int64_t where = 0; where < TEXTS * f.longest; where++) {
            const int64_t s = where / f.longest, i = where % f.longest, each = TARGETS * part.last;
            if (i != 1 && i != f.length[s] - 1) {
                assert_true(isnan(part.x[where * each]));
                continue;
            }
            const int64_t sources = TARGETS * f.info->n_layers * f.info->n_heads * f.longest;
            assert_same(all, some, "attribution", where * each, where * each, each);
            assert_same(all, apart, "attribution", where * each, where * each, each);
            assert_same(all, apart, "component_norm", where * part.last, where * part.last,
                        part.last);
            assert_same(all, apart, "source_attribution", where * sources, where * sources,
                        sources);
            const int64_t points = rank.last * TARGETS;
            assert_same(all, apart, "lens_rank", where * points, where * points, points);
        }
        free(part.x);
        free(rank.x);
        otimes_memory_sink_free(&all);
        otimes_memory_sink_free(&some);
        otimes_memory_sink_free(&apart);
        end(&f);
    }
}

static void predicted(void **state)
{
    fixture f;
    (void)state;
    begin(&f, "llama", true);
    f.settings.target = f.settings.against = NULL;
    f.settings.target_count = 0;
    f.settings.predicted = f.settings.lens = 1;
    otimes_memory_sink *memory = decompose(&f);
    values rank = get(memory, "lens_rank"), part = get(memory, "attribution");
    for (int64_t where = 0; where < TEXTS * f.longest; where++) {
        assert_true(rank.x[(where + 1) * rank.last - 1] == (in_text(&f, where) ? 0 : -1));
        assert_true(isnan(part.x[where * part.last]) == !in_text(&f, where));
    }
    free(rank.x);
    free(part.x);
    otimes_memory_sink_free(&memory);
    end(&f);
}

/* The same bits at any number of threads. */
static void threads(void **state)
{
    static const char *const names[] = {"gpt2", "gemma2", "mixtral", NULL};
    static const char *const arrays[] = {
        "attribution",  "component_norm", "component_cosine", "source_attribution",
        "neuron_value", "neuron_sum",     "lens_log_prob",    NULL};
    (void)state;
    for (int n = 0; names[n]; n++) {
        fixture f;
        otimes_memory_sink *first = NULL;
        begin(&f, names[n], true);
        f.settings.parts = OTIMES_DECOMPOSE_ALL;
        f.settings.sources = f.settings.lens = 1;
        for (int count = 1; count <= 3; count++) {
            otimes_model_settings settings;
            otimes_err err = {0};
            char relative[64];
            otimes_model_settings_default(&settings);
            settings.threads = count;
            otimes_model_close(&f.g.model);
            snprintf(relative, sizeof relative, "tests/golden/%s", names[n]);
            assert_ok(otimes_model_open(&f.g.model, source_path(relative), &settings, &err), &err);
            otimes_memory_sink *memory = decompose(&f);
            for (int a = 0; first && arrays[a]; a++) {
                values one = get(first, arrays[a]), other = get(memory, arrays[a]);
                assert_memory_equal(one.x, other.x, (size_t)one.count * sizeof *one.x);
                free(one.x);
                free(other.x);
            }
            if (first) {
                otimes_memory_sink_free(&memory);
            } else {
                first = memory;
            }
        }
        otimes_memory_sink_free(&first);
        end(&f);
    }
}

/* What ARENA published of its list sorter: from the tokens y and z in the list, through one head,
 * to the logits of y and z behind x. */
static void arena(void **state)
{
    static const int64_t lists[4][10] = {{0, 5, 14, 15, 17, 25, 30, 35, 40, 45},
                                         {0, 5, 10, 15, 20, 25, 26, 27, 40, 45},
                                         {0, 5, 10, 15, 20, 25, 30, 31, 32, 45},
                                         {0, 5, 10, 15, 20, 25, 30, 31, 34, 45}};
    static const int64_t x_at[] = {2, 5, 6, 6}, head[] = {1, 1, 0, 0};
    static const double published[4][2][2] = {
        {{8.031645774841309, 1.8018853664398193}, {-1.5294666290283203, 7.16664457321167}},
        {{6.9042439460754395, 1.606835961341858}, {-1.7315101623535156, 7.897982120513916}},
        {{7.440744400024414, 3.6641764640808105}, {-0.8188343644142151, 9.24848461151123}},
        {{7.467800617218018, 1.9267597198486328}, {-1.5720797777175903, 7.911238193511963}}};
    enum { LIST = 10, SEP = 51 };
    const char *path = shared_path("arena_sorted_list/sorted_list_model.pt");
    otimes_err err = {0};
    otimes_model *model;
    (void)state;
    if (!path) {
        skip();
    }
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    for (int n = 0; n < 4; n++) {
        int64_t ids[2 * LIST + 1], length = 2 * LIST + 1;
        const int64_t *const id[] = {ids};
        const int64_t at = LIST + 1 + x_at[n], y = x_at[n] + 1;
        memcpy(ids, lists[n], sizeof lists[n]);
        ids[LIST] = SEP;
        memcpy(ids + LIST + 1, lists[n], sizeof lists[n]);
        otimes_memory_sink *memory;
        otimes_decompose_settings settings;
        otimes_decompose_settings_default(&settings);
        settings.sequences = (otimes_sequences){1, &length, id};
        settings.target = lists[n] + y;
        settings.target_count = 2;
        settings.positions = &at;
        settings.position_count = 1;
        settings.sources = 1;
        assert_ok(otimes_memory_sink_new(&memory, &err), &err);
        assert_ok(otimes_decompose(model, &settings, otimes_memory_sink_sink(memory), &err), &err);
        values source = get(memory, "source_attribution");
        for (int t = 0; t < 2; t++) {
            for (int k = 0; k < 2; k++) {
                const double got = source.x[((at * 2 + t) * 2 + head[n]) * length + y + k];
                if (!(fabs(got - published[n][t][k]) <= 2e-5)) {
                    fail_msg("list %d, target %d, source %d: %.9g, published %.9g", n, t, k, got,
                             published[n][t][k]);
                }
            }
        }
        free(source.x);
        otimes_memory_sink_free(&memory);
    }
    otimes_model_close(&model);
}

/* ---- what cannot be met ---- */

static void refused(const fixture *f, int code, const char *text)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_int_equal(
        otimes_decompose(f->g.model, &f->settings, otimes_memory_sink_sink(memory), &err), code);
    if (!strstr(err.msg, text)) {
        fail_msg("expected '%s' in '%s'", text, err.msg);
    }
    otimes_memory_sink_free(&memory);
}

static void requests_that_cannot_be_met(void **state)
{
    static const int64_t far[] = {0, 4}, before[] = {-5};
    fixture f, fresh;
    (void)state;
    begin(&f, "gpt2", true);
    fresh = f;
    f.settings.layer = f.info->n_layers;
    refused(&f, OTIMES_ERR_ARGUMENT, "layer: expected 0 to");
    f = fresh;
    f.target[1] = f.info->d_vocab_out;
    f.settings.target = f.target;
    refused(&f, OTIMES_ERR_ARGUMENT, "target: expected an output token from 0 to");
    f = fresh;
    f.settings.positions = far;
    f.settings.position_count = 2;
    refused(&f, OTIMES_ERR_ARGUMENT, "text 1: position: expected -4 to 3, got 4");
    f.settings.positions = before;
    f.settings.position_count = 1;
    refused(&f, OTIMES_ERR_ARGUMENT, "text 1: position: expected -4 to 3, got -5");
    f = fresh;
    f.settings.predicted = 1;
    refused(&f, OTIMES_ERR_ARGUMENT, "target: expected targets, targets of each text or predicted");
    f = fresh;
    f.settings.forward.memory = 1000;
    refused(&f, OTIMES_ERR_ARGUMENT, "text 0: memory: expected at most 1000 bytes");
    f = fresh;
    f.settings.top = -1;
    refused(&f, OTIMES_ERR_ARGUMENT, "top: expected at least 0, got -1");
    end(&fresh);
    begin(&f, "gptj", true);
    f.settings.layer = 0;
    f.settings.mid = 1;
    refused(&f, OTIMES_ERR_UNSUPPORTED, "a parallel block");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources),
        cmocka_unit_test(neurons),
        cmocka_unit_test(next_tokens),
        cmocka_unit_test(positions),
        cmocka_unit_test(own_targets),
        cmocka_unit_test(predicted),
        cmocka_unit_test(threads),
        cmocka_unit_test(arena),
        cmocka_unit_test(requests_that_cannot_be_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
