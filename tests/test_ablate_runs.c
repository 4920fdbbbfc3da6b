/* SPDX-License-Identifier: MIT
 *
 * Ablations by how they are run: published figures, little memory, threads, interrupted runs, texts
 * together and alone, and requests that cannot be met.
 */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/ablate.h>

static otimes_memory_sink *run_to(const otimes_model *model, const otimes_ablate_settings *settings,
                                  otimes_sink *(*wrap)(otimes_sink *))
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    assert_ok(otimes_ablate(model, settings, wrap ? wrap(sink) : sink, &err), &err);
    return memory;
}

static otimes_memory_sink *run(const otimes_model *model, const otimes_ablate_settings *settings)
{
    return run_to(model, settings, NULL);
}

static const double *doubles(const otimes_memory_sink *memory, const char *name)
{
    const void *data = NULL;
    const otimes_array *array = otimes_memory_sink_array(memory, name, &data);
    assert_non_null(array);
    assert_int_equal(array->type, OTIMES_F64);
    return data;
}

static otimes_model *open_threads(const char *name, int threads)
{
    char relative[128];
    otimes_err err = {0};
    otimes_model *model;
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    settings.threads = threads;
    snprintf(relative, sizeof relative, "tests/golden/%s", name);
    assert_ok(otimes_model_open(&model, source_path(relative), &settings, &err), &err);
    return model;
}

/* ---- published figures ---- */

enum { LISTS = 500, LIST = 21, SEPARATOR = 10 };

/* ARENA's model that sorts lists: its loss after the separator, and what is added to it when each
 * head's z becomes its mean over the lists at each position. The figures are given to 3 digits
 * behind the point; recomputed in float64 they are those below to 4. */
static void sorted_lists(void **state)
{
    static unsigned char bytes[LISTS * LIST];
    static int64_t ids[LISTS][LIST], length[LISTS];
    static const int64_t *id[LISTS];
    static const double published[] = {.9204, 4.9631};
    int64_t positions[LIST - 1 - SEPARATOR];
    otimes_err err = {0};
    otimes_model *model;
    otimes_ablate_settings settings;
    (void)state;
    const char *path = shared_path("arena_sorted_list");
    if (!path) {
        skip();
    }
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    FILE *file = fopen(source_path("tests/data/ablate/sorted_lists.u8"), "rb");
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, sizeof bytes, file), sizeof bytes);
    fclose(file);
    for (int i = 0; i < LISTS * LIST; i++) {
        ids[i / LIST][i % LIST] = bytes[i];
        length[i / LIST] = LIST;
        id[i / LIST] = ids[i / LIST];
    }
    for (int i = 0; i < LIST - 1 - SEPARATOR; i++) {
        positions[i] = SEPARATOR + i;
    }
    otimes_ablate_settings_default(&settings);
    settings.sequences = (otimes_sequences){LISTS, length, id};
    settings.method = OTIMES_ABLATE_MEAN_POSITION;
    settings.positions = positions;
    settings.position_count = LIST - 1 - SEPARATOR;
    otimes_memory_sink *memory = run(model, &settings);
    const double *change = doubles(memory, "head_loss_change"),
                 *clean = doubles(memory, "loss_clean");
    double mean[3] = {0, 0, 0};
    for (int t = 0; t < LISTS; t++) { /* each has as many positions */
        mean[0] += change[2 * t] / LISTS;
        mean[1] += change[2 * t + 1] / LISTS;
        mean[2] += clean[t] / LISTS;
    }
    assert_true(fabs(mean[2] - .0387) < 5e-5);
    for (int h = 0; h < 2; h++) {
        assert_true(fabs(mean[h] - published[h]) < 5e-5);
    }
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

/* ---- one request in many shapes ---- */

enum { TEXTS = 5, LONGEST = 8 };

static const int64_t ids[TEXTS][LONGEST] = {
    {3, 1, 4, 1, 5, 9, 2, 6}, {5, 3, 5}, {8, 9, 7, 9, 3, 2, 3}, {8}, {4, 6, 2, 6, 4, 3, 3, 8}};
static const int64_t length[TEXTS] = {8, 3, 7, 1, 8};
static const int64_t *const id[TEXTS] = {ids[0], ids[1], ids[2], ids[3], ids[4]};
static const int64_t target[TEXTS] = {1, 2, 3, 4, 5};
static const otimes_ablate_member across[] = {
    {OTIMES_ABLATE_HEAD, 1, 0}, {OTIMES_ABLATE_HEAD, 0, 1}, {OTIMES_ABLATE_NEURON, 0, 3}};
static const otimes_ablate_set set = {across, 3};

static void make_request(otimes_ablate_settings *settings)
{
    otimes_ablate_settings_default(settings);
    settings->sequences = (otimes_sequences){TEXTS, length, id};
    settings->components =
        OTIMES_ABLATE_HEADS | OTIMES_ABLATE_LAYERS | OTIMES_ABLATE_MLPS | OTIMES_ABLATE_NEURONS;
    settings->sets = &set;
    settings->set_count = 1;
    settings->target = target;
    settings->full = 1;
}

static const char *const outputs[] = {"loss_clean",
                                      "loss",
                                      "loss_change",
                                      "logit",
                                      "head_loss_change",
                                      "head_logit_change",
                                      "loss_change_at",
                                      "logit_change_at",
                                      "loss_count",
                                      "logit_count",
                                      NULL};

/* Every output of two runs to a relative tolerance; 0: bit by bit. */
static void assert_same(const otimes_memory_sink *a, const otimes_memory_sink *b, double tolerance)
{
    for (int i = 0; outputs[i]; i++) {
        int64_t count, other;
        double *x = sink_values(a, outputs[i], &count), *y = sink_values(b, outputs[i], &other);
        assert_non_null(x);
        assert_non_null(y);
        assert_int_equal(count, other);
        assert_close(outputs[i], x, y, count, 0, tolerance);
        free(x);
        free(y);
    }
}

/* Logits of these models are below 8; see the tolerance of test_ablate.c. */
#define ROUNDING (8 * 64 * FLT_EPSILON)

/* The least memory that the request says it needs, by asking for less. */
static int64_t least_memory(const otimes_model *model, otimes_ablate_settings settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    long long least = 0;
    settings.forward.memory = 1;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_int_equal(otimes_ablate(model, &settings, otimes_memory_sink_sink(memory), &err),
                     OTIMES_ERR_ARGUMENT);
    const char *at = strstr(err.msg, "expected at least ");
    assert_non_null(at);
    least = strtoll(at + strlen("expected at least "), NULL, 10);
    assert_true(least > 1);
    otimes_memory_sink_free(&memory);
    return least;
}

/* As many waves as ablations where memory is least, one where it is not limited. */
static void check_plan(const otimes_model *model, const otimes_ablate_settings *settings, int shape)
{
    otimes_err err = {0};
    otimes_ablate_plan plan;
    assert_ok(otimes_ablate_plan_of(model, settings, &plan, &err), &err);
    assert_true(shape > 1 || plan.waves == 1);
    assert_true(shape != 2 || plan.waves == plan.ablations);
    assert_true(shape != 3 || (plan.waves > 1 && plan.waves < plan.ablations));
    assert_true(settings->forward.memory == 0 || plan.total <= settings->forward.memory);
    assert_true(plan.total > 0);
}

/* Much memory, little memory (an ablation a wave, a text a group), batches of one token, weights
 * kept or not: the same numbers. */
static void waves(void **state)
{
    static const otimes_ablate_method methods[] = {OTIMES_ABLATE_ZERO, OTIMES_ABLATE_MEAN_POSITION,
                                                   OTIMES_ABLATE_RESAMPLE};
    static const char *const names[] = {"gpt2", "gemma2", "phi", "llama"};
    otimes_ablate_settings settings;
    (void)state;
    make_request(&settings);
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        otimes_model *model = open_threads(names[n], 1);
        for (int m = 0; m < 3; m++) {
            settings.method = methods[m];
            settings.forward = (otimes_forward_settings){0};
            otimes_memory_sink *whole = run(model, &settings);
            for (int shape = 0; shape < 4; shape++) {
                settings.forward = (otimes_forward_settings){0};
                settings.forward.resident = shape != 2;
                settings.forward.chunk_rows = shape == 1 ? 1 : 0;
                if (shape > 1) {
                    settings.forward.memory =
                        least_memory(model, settings) + (shape == 3 ? 7000 : 0);
                }
                check_plan(model, &settings, shape);
                otimes_memory_sink *other = run(model, &settings);
                assert_same(other, whole, ROUNDING);
                otimes_memory_sink_free(&other);
            }
            otimes_memory_sink_free(&whole);
        }
        otimes_model_close(&model);
    }
}

static void threads(void **state)
{
    static const char *const names[] = {"gpt2", "mistral"};
    otimes_ablate_settings settings;
    (void)state;
    make_request(&settings);
    settings.method = OTIMES_ABLATE_MEAN;
    for (int n = 0; n < 2; n++) {
        otimes_model *one = open_threads(names[n], 1), *three = open_threads(names[n], 3);
        otimes_memory_sink *a = run(one, &settings), *b = run(three, &settings);
        assert_same(b, a, 0);
        otimes_memory_sink_free(&a);
        otimes_memory_sink_free(&b);
        otimes_model_close(&one);
        otimes_model_close(&three);
    }
}

/* Texts of different length together give what each gives alone. */
static void alone(void **state)
{
    otimes_ablate_settings settings;
    otimes_model *model = open_threads("gpt2", 1);
    (void)state;
    make_request(&settings);
    otimes_memory_sink *together = run(model, &settings);
    const double *change = doubles(together, "loss_change"), *logit = doubles(together, "logit");
    int64_t count;
    free(sink_values(together, "size", &count));
    for (int64_t t = 0; t < TEXTS; t++) {
        settings.sequences = (otimes_sequences){1, length + t, id + t};
        settings.target = target + t;
        otimes_memory_sink *single = run(model, &settings);
        assert_close("loss_change", doubles(single, "loss_change"), change + t * count, count, 0,
                     ROUNDING);
        assert_close("logit", doubles(single, "logit"), logit + t * count, count, 0, ROUNDING);
        assert_true(isnan(change[t * count]) == (length[t] == 1));
        otimes_memory_sink_free(&single);
    }
    otimes_memory_sink_free(&together);
    otimes_model_close(&model);
}

/* Means of other texts: of the same texts the same, of others not. */
static void means_of_others(void **state)
{
    otimes_ablate_settings settings;
    otimes_model *model = open_threads("gpt2", 1);
    (void)state;
    make_request(&settings);
    settings.method = OTIMES_ABLATE_MEAN;
    otimes_memory_sink *own = run(model, &settings);
    settings.mean_sequences = settings.sequences;
    otimes_memory_sink *same = run(model, &settings);
    settings.mean_sequences.count = 2;
    otimes_memory_sink *other = run(model, &settings);
    assert_same(same, own, 0);
    assert_int_equal(otimes_memory_sink_attr(own, "mean_texts")->i64, TEXTS);
    assert_int_equal(otimes_memory_sink_attr(other, "mean_texts")->i64, 2);
    assert_true(fabs(doubles(other, "loss_change")[0] - doubles(own, "loss_change")[0]) > 1e-4);
    otimes_memory_sink_free(&own);
    otimes_memory_sink_free(&same);
    otimes_memory_sink_free(&other);
    otimes_model_close(&model);
}

/* Drawn sources are one cycle through all texts, and another with another seed. */
static void sources(void **state)
{
    otimes_ablate_settings settings;
    otimes_model *model = open_threads("gpt2", 1);
    int different = 0;
    (void)state;
    make_request(&settings);
    settings.method = OTIMES_ABLATE_RESAMPLE;
    for (settings.seed = -1; settings.seed < 6; settings.seed++) {
        int64_t count, at = 0;
        otimes_memory_sink *memory = run(model, &settings);
        double *source = sink_values(memory, "source", &count);
        assert_int_equal(count, TEXTS);
        for (int step = 0; step < TEXTS; step++) {
            assert_true(source[at] >= 0 && source[at] < TEXTS);
            assert_true(step == 0 || at != 0);
            at = (int64_t)source[at];
        }
        assert_int_equal(at, 0);
        different = different || (settings.seed >= 0 && source[0] > 1);
        free(source);
        otimes_memory_sink_free(&memory);
    }
    assert_true(different > 0);
    otimes_model_close(&model);
}

/* ---- going on with an interrupted run ---- */

static otimes_sink *inner;

static int pass_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    (void)sink;
    return inner->ops->attribute(inner, attr, err);
}

static int pass_declare(otimes_sink *sink, const otimes_array *array, int *id_of, otimes_err *err)
{
    (void)sink;
    return inner->ops->declare(inner, array, id_of, err);
}

static int pass_write(otimes_sink *sink, int array, const int64_t *start, const int64_t *count,
                      const void *data, otimes_err *err)
{
    (void)sink;
    return inner->ops->write(inner, array, start, count, data, err);
}

/* Texts 0, 1 and 2 are there. */
static int has_some(otimes_sink *sink, int array, const int64_t *start, const int64_t *count)
{
    (void)sink, (void)array;
    assert_int_equal(count[0], 1);
    return start[0] < 3;
}

static int pass_finish(otimes_sink *sink, otimes_err *err)
{
    (void)sink;
    return inner->ops->finish(inner, err);
}

static otimes_sink *resumed(otimes_sink *sink)
{
    static const otimes_sink_ops ops = {.attribute = pass_attribute,
                                        .declare = pass_declare,
                                        .write = pass_write,
                                        .has = has_some,
                                        .finish = pass_finish};
    static otimes_sink outer = {.ops = &ops};
    inner = sink;
    return &outer;
}

/* Texts go by 0 and 1, 2 and 3, 4: the first two are left out, the third is run again, and all bits
 * are those of a whole run. */
static void resume(void **state)
{
    static const otimes_ablate_method methods[] = {OTIMES_ABLATE_MEAN, OTIMES_ABLATE_RESAMPLE};
    otimes_ablate_settings settings;
    otimes_model *model = open_threads("gpt2", 1);
    int64_t count;
    (void)state;
    make_request(&settings);
    settings.forward.chunk_rows = 11;
    for (int m = 0; m < 2; m++) {
        settings.method = methods[m];
        otimes_memory_sink *whole = run(model, &settings);
        otimes_memory_sink *rest = run_to(model, &settings, resumed);
        const double *all = doubles(whole, "loss_change"), *some = doubles(rest, "loss_change");
        free(sink_values(whole, "size", &count));
        assert_memory_equal(some + 2 * count, all + 2 * count, (size_t)(3 * count) * sizeof *all);
        for (int64_t i = 0; i < 2 * count; i++) {
            assert_true(isnan(some[i]));
            assert_true(!isnan(all[i]));
        }
        otimes_memory_sink_free(&whole);
        otimes_memory_sink_free(&rest);
    }
    otimes_model_close(&model);
}

/* ---- what cannot be ---- */

static void refuse(const char *model_name, const otimes_ablate_settings *settings, int code,
                   const char *text)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_model *model = open_threads(model_name, 1);
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_int_equal(otimes_ablate(model, settings, otimes_memory_sink_sink(memory), &err), code);
    if (!strstr(err.msg, text)) {
        fail_msg("expected '%s' in '%s'", text, err.msg);
    }
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

static void refuse_member(const char *model_name, otimes_ablate_kind kind, int64_t layer,
                          int64_t index, int code, const char *text)
{
    const otimes_ablate_member member[] = {{OTIMES_ABLATE_HEAD, 0, 0}, {kind, layer, index}};
    const otimes_ablate_set pair = {member, 2};
    otimes_ablate_settings settings;
    make_request(&settings);
    settings.components = 0;
    settings.sets = &pair;
    refuse(model_name, &settings, code, text);
}

static void refused_members(void **state)
{
    const int wrong = OTIMES_ERR_ARGUMENT, cannot = OTIMES_ERR_UNSUPPORTED;
    otimes_ablate_settings settings;
    (void)state;
    refuse_member("gpt2", OTIMES_ABLATE_HEAD, 0, 99, wrong, "head: expected 0 to ");
    refuse_member("gpt2", OTIMES_ABLATE_HEAD, -1, 0, wrong, "head: expected layers 0 to ");
    refuse_member("gpt2", OTIMES_ABLATE_MLP, 77, 0, wrong, "MLP: expected layers 0 to ");
    refuse_member("gpt2", OTIMES_ABLATE_NEURON, 0, 12345, wrong, "neuron: expected 0 to ");
    refuse_member("gpt2", OTIMES_ABLATE_HEAD, 0, 0, wrong, "expected each member once");
    refuse_member("gpt2", (otimes_ablate_kind)9, 0, 0, wrong, "got kind 9");
    refuse_member("mixtral", OTIMES_ABLATE_NEURON, 0, 0, cannot, "one of experts");
    refuse_member("transformer_lens", OTIMES_ABLATE_MLP, 0, 0, cannot,
                  "expected a model with MLPs");
    make_request(&settings);
    settings.components = 0;
    settings.set_count = 0;
    refuse("gpt2", &settings, wrong, "expected heads, layers, MLPs, neurons or sets, got none");
    settings.components = 32;
    refuse("gpt2", &settings, wrong, "components: expected");
    settings.components = OTIMES_ABLATE_MLPS;
    refuse("transformer_lens", &settings, cannot, "expected a model with MLPs");
    settings.components = OTIMES_ABLATE_NEURONS;
    refuse("mixtral", &settings, cannot, "one of experts");
}

static void refused_measures(void **state)
{
    static const int64_t far[] = {0, 5}, before[] = {-4}, unknown[TEXTS] = {0, 1, 1 << 20};
    const int wrong = OTIMES_ERR_ARGUMENT;
    otimes_ablate_settings settings;
    (void)state;
    make_request(&settings);
    settings.positions = far;
    settings.position_count = 2;
    refuse("gpt2", &settings, wrong, "positions: text 1: expected -3 to 2, got 5");
    settings.positions = before;
    settings.position_count = 1;
    refuse("gpt2", &settings, wrong, "positions: text 1: expected -3 to 2, got -4");
    make_request(&settings);
    settings.target = unknown;
    refuse("gpt2", &settings, wrong, "target: text 2: expected an output token from 0 to ");
    settings.target = NULL;
    settings.against = target;
    refuse("gpt2", &settings, wrong, "against: expected a target");
    settings.against = NULL;
    settings.loss = 0;
    refuse("gpt2", &settings, wrong, "expected the loss or a target");
    make_request(&settings);
    settings.sets = NULL;
    settings.set_count = 0;
    settings.components = OTIMES_ABLATE_HEADS;
    settings.target = NULL;
    settings.sequences.count = 1;
    settings.method = OTIMES_ABLATE_RESAMPLE;
    refuse("gpt2", &settings, wrong, "resample: expected at least 2 texts, got 1");
    settings.sequences.count = 0;
    settings.method = OTIMES_ABLATE_MEAN;
    refuse("gpt2", &settings, wrong, "expected at least 1, got 0");
    settings.sequences.count = 1;
    settings.method = OTIMES_ABLATE_MEAN_POSITION;
    settings.mean_sequences = (otimes_sequences){1, length + 1, id + 1};
    refuse("gpt2", &settings, wrong, "position 3: expected a text that reaches it");
}

/* Means at positions come from texts that reach them, however much further those go. */
static void longer_means(void **state)
{
    enum { LONG = 8, SHORT = 3 };
    static const int64_t one[LONG] = {1, 3, 2, 5, 4, 0, 6, 7},
                         other[LONG] = {2, 2, 7, 1, 1, 5, 3, 0};
    static const int64_t *const means[] = {one, other};
    static const int64_t all[] = {LONG, LONG}, cut[] = {SHORT, SHORT};
    otimes_ablate_settings settings;
    (void)state;
    make_request(&settings);
    otimes_model *model = open_threads("gpt2", 1);
    settings.sequences = (otimes_sequences){1, length + 1, id + 1};
    settings.method = OTIMES_ABLATE_MEAN_POSITION;
    settings.mean_sequences = (otimes_sequences){2, cut, means};
    otimes_memory_sink *expected = run(model, &settings);
    settings.mean_sequences = (otimes_sequences){2, all, means};
    otimes_memory_sink *got = run(model, &settings);
    assert_same(got, expected, ROUNDING);
    otimes_memory_sink_free(&got);
    otimes_memory_sink_free(&expected);
    otimes_model_close(&model);
}

/* A model whose output tokens are others has no loss, but logits. */
static void two_vocabularies(void **state)
{
    static const int64_t tokens[] = {0, 1, 2, 1}, four = 4, first = 0;
    const int64_t *const view = tokens;
    otimes_err err = {0};
    otimes_model *model;
    otimes_memory_sink *memory;
    otimes_ablate_settings settings;
    (void)state;
    if (!shared_path("tracr_induction")) {
        skip();
    }
    assert_ok(otimes_model_open(&model, shared_path("tracr_induction"), NULL, &err), &err);
    otimes_ablate_settings_default(&settings);
    settings.sequences = (otimes_sequences){1, &four, &view};
    settings.target = &first;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_int_equal(otimes_ablate(model, &settings, otimes_memory_sink_sink(memory), &err),
                     OTIMES_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "loss: expected one vocabulary"));
    otimes_memory_sink_free(&memory);
    settings.loss = 0;
    memory = run(model, &settings);
    assert_true(isfinite(doubles(memory, "logit_change")[0]));
    assert_null(otimes_memory_sink_array(memory, "loss_change", &(const void *){NULL}));
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

int main(void)
{
    otimes_set_blas_threads(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorted_lists),     cmocka_unit_test(waves),
        cmocka_unit_test(threads),          cmocka_unit_test(alone),
        cmocka_unit_test(means_of_others),  cmocka_unit_test(sources),
        cmocka_unit_test(resume),           cmocka_unit_test(refused_members),
        cmocka_unit_test(refused_measures), cmocka_unit_test(two_vocabularies),
        cmocka_unit_test(longer_means),
    };
    return cmocka_run_group_tests_name("ablate_runs", tests, NULL, NULL);
}
