/* SPDX-License-Identifier: MIT
 *
 * The memory sink, and the short forms that analyses call sinks by.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/sink.h"

static otimes_memory_sink *new_sink(void)
{
    otimes_memory_sink *memory = NULL;
    otimes_err err = {0};
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    return memory;
}

static int declare(otimes_memory_sink *memory, const otimes_array *array)
{
    int id = -1;
    otimes_err err = {0};
    otimes_array full = *array; /* what every array must say of itself */
    full.long_name = full.long_name ? full.long_name : "a test's array";
    full.units = full.units ? full.units : "1";
    full.formula = full.formula ? full.formula : "none";
    full.orientation = full.orientation ? full.orientation : "none";
    assert_ok(otimes_sink_declare(otimes_memory_sink_sink(memory), &full, &id, &err), &err);
    return id;
}

static const void *data_of(const otimes_memory_sink *memory, const char *name)
{
    const void *data = NULL;
    assert_non_null(otimes_memory_sink_array(memory, name, &data));
    return data;
}

static int write_block(otimes_memory_sink *memory, int id, const int64_t *start,
                       const int64_t *count, const void *data, otimes_err *err)
{
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    return sink->ops->write(sink, id, start, count, data, err);
}

/* ---- blocks ---- */

static const int64_t shape[4] = {3, 1, 4, 5};

/* Random blocks of a four-dimensional array against the same blocks set one by one in a mirror. */
static void random_blocks(void **state)
{
    (void)state;
    const otimes_axis axes[] = {{.name = "a", .length = 3},
                                {.name = "b", .length = 1},
                                {.name = "c", .length = 4},
                                {.name = "d", .length = 5}};
    const otimes_array array = {.name = "x",
                                .type = OTIMES_I64,
                                .ndim = 4,
                                .axis = {&axes[0], &axes[1], &axes[2], &axes[3]}};
    otimes_memory_sink *memory = new_sink();
    const int id = declare(memory, &array);
    int64_t mirror[60], next = 1;
    memset(mirror, 0xff, sizeof mirror); /* -1: nothing was written */
    assert_memory_equal(data_of(memory, "x"), mirror, sizeof mirror);
    srand(7);
    for (int round = 0; round < 500; round++) {
        int64_t start[OTIMES_MAX_DIMS] = {0}, count[OTIMES_MAX_DIMS] = {0}, block[60], size = 0;
        for (int i = 0; i < 4; i++) {
            start[i] = rand() % (shape[i] + 1);
            count[i] = rand() % (shape[i] - start[i] + 1);
        }
        for (int64_t i = 0; i < count[0] * count[1] * count[2] * count[3]; i++) {
            int64_t rest = i, place = 0, stride = 1;
            for (int k = 3; k >= 0; k--) {
                place += (start[k] + rest % count[k]) * stride;
                rest /= count[k];
                stride *= shape[k];
            }
            block[size++] = mirror[place] = next++;
        }
        otimes_err err = {0};
        assert_ok(write_block(memory, id, start, count, block, &err), &err);
        assert_memory_equal(data_of(memory, "x"), mirror, sizeof mirror);
    }
    otimes_memory_sink_free(&memory);
}

static void blocks_out_of_range(void **state)
{
    (void)state;
    static const int64_t cases[][4] = {
        {-1, 0, 1, 1},        {0, -1, 1, 1}, {0, 0, -1, 1},        {0, 0, 1, -1},
        {3, 0, 1, 1},         {0, 5, 1, 1},  {0, 0, 4, 1},         {0, 0, 1, 6},
        {2, 4, 2, 1},         {2, 4, 1, 2},  {INT64_MAX, 0, 1, 1}, {0, 1, 1, INT64_MAX},
        {INT64_MIN, 0, 1, 1},
    };
    const otimes_axis rows = {.name = "row", .length = 3},
                      columns = {.name = "column", .length = 5};
    const otimes_array array = {
        .name = "table", .type = OTIMES_F64, .ndim = 2, .axis = {&rows, &columns}};
    otimes_memory_sink *memory = new_sink();
    const int id = declare(memory, &array);
    const double block[64] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int64_t start[OTIMES_MAX_DIMS] = {cases[i][0], cases[i][1]};
        const int64_t count[OTIMES_MAX_DIMS] = {cases[i][2], cases[i][3]};
        otimes_err err = {0};
        assert_int_equal(write_block(memory, id, start, count, block, &err), OTIMES_ERR_ARGUMENT);
        assert_non_null(strstr(err.msg, "table"));
    }
    const double *data = data_of(memory, "table");
    for (int i = 0; i < 15; i++) {
        assert_true(isnan(data[i]));
    }
    otimes_memory_sink_free(&memory);
}

static void undefined_entries(void **state)
{
    (void)state;
    static const char *const names[] = {"f32", "f16", "f64", "i32", "i64", "text"};
    static const size_t sizes[] = {4, 2, 8, 4, 8, sizeof(char *)};
    const otimes_axis axis = {.name = "n", .length = 1};
    otimes_memory_sink *memory = new_sink();
    for (int t = OTIMES_F32; t <= OTIMES_TEXT; t++) {
        const otimes_array array = {
            .name = names[t], .type = (otimes_type)t, .ndim = 1, .axis = {&axis}};
        declare(memory, &array);
        assert_int_equal(otimes_type_size((otimes_type)t), sizes[t]);
    }
    assert_true(isnan(*(const float *)data_of(memory, "f32")));
    assert_int_equal(*(const uint16_t *)data_of(memory, "f16") & 0x7fff, 0x7fff);
    assert_true(isnan(*(const double *)data_of(memory, "f64")));
    assert_int_equal(*(const int32_t *)data_of(memory, "i32"), -1);
    assert_int_equal(*(const int64_t *)data_of(memory, "i64"), -1);
    assert_null(*(const char *const *)data_of(memory, "text"));
    otimes_memory_sink_free(&memory);
}

static void numbers_and_empty_arrays(void **state)
{
    (void)state;
    const otimes_axis none = {.name = "none", .length = 0};
    const otimes_array single = {.name = "single", .type = OTIMES_F64};
    const otimes_array empty = {.name = "empty", .type = OTIMES_F64, .ndim = 1, .axis = {&none}};
    otimes_memory_sink *memory = new_sink();
    otimes_err err = {0};
    const int64_t zeros[OTIMES_MAX_DIMS] = {0};
    const double value = 2.5;
    assert_ok(write_block(memory, declare(memory, &single), zeros, zeros, &value, &err), &err);
    assert_true(*(const double *)data_of(memory, "single") == 2.5);
    assert_ok(write_block(memory, declare(memory, &empty), zeros, zeros, NULL, &err), &err);
    assert_non_null(data_of(memory, "empty"));
    otimes_memory_sink_free(&memory);
}

/* ---- what is kept is the sink's own ---- */

static void text_is_copied(void **state)
{
    (void)state;
    char first[] = "alpha", second[] = "", third[] = "\xe2\x82\xac";
    const char *texts[] = {first, second, third, NULL};
    const otimes_axis axis = {.name = "n", .length = 4};
    const otimes_array array = {.name = "words", .type = OTIMES_TEXT, .ndim = 1, .axis = {&axis}};
    otimes_memory_sink *memory = new_sink();
    otimes_err err = {0};
    const int id = declare(memory, &array);
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    assert_ok(otimes_sink_slab(sink, &array, id, 0, 4, texts, &err), &err);
    first[0] = third[0] = 'X';
    texts[1] = NULL;
    const char *const *kept = data_of(memory, "words");
    assert_string_equal(kept[0], "alpha");
    assert_string_equal(kept[1], "");
    assert_string_equal(kept[2], "\xe2\x82\xac");
    assert_null(kept[3]);
    assert_ok(otimes_sink_slab(sink, &array, id, 2, 1, texts, &err), &err);
    assert_string_equal(kept[2], "Xlpha");
    assert_string_equal(kept[0], "alpha");
    otimes_memory_sink_free(&memory);
}

static void declarations_are_copied(void **state)
{
    (void)state;
    char name[] = "norm", label[] = "L0", axis_name[] = "layer";
    const char *labels[] = {label, "L1"};
    int64_t numbers[] = {4, 9};
    otimes_axis named = {axis_name, 2, labels, NULL, "layers"};
    otimes_axis numbered = {"offset", 2, NULL, numbers, NULL};
    otimes_array array = {.name = name,
                          .type = OTIMES_F64,
                          .ndim = 2,
                          .axis = {&named, &numbered},
                          .long_name = "Frobenius norm",
                          .units = "1",
                          .formula = "|W|",
                          .orientation = "row",
                          .labels_of = "token",
                          .chunk = {1, 2}};
    otimes_memory_sink *memory = new_sink();
    declare(memory, &array);
    name[0] = label[0] = axis_name[0] = '?';
    numbers[1] = 0;
    labels[1] = NULL;
    named.length = numbered.length = 77;
    memset(&array, 0, sizeof array);
    const void *data;
    const otimes_array *kept = otimes_memory_sink_array(memory, "norm", &data);
    assert_non_null(kept);
    assert_int_equal(kept->ndim, 2);
    assert_string_equal(kept->axis[0]->name, "layer");
    assert_string_equal(kept->axis[0]->long_name, "layers");
    assert_int_equal(kept->axis[0]->length, 2);
    assert_string_equal(kept->axis[0]->text[0], "L0");
    assert_string_equal(kept->axis[0]->text[1], "L1");
    assert_null(kept->axis[0]->number);
    assert_int_equal(kept->axis[1]->number[1], 9);
    assert_null(kept->axis[1]->text);
    assert_null(kept->axis[1]->long_name);
    assert_string_equal(kept->long_name, "Frobenius norm");
    assert_string_equal(kept->units, "1");
    assert_string_equal(kept->formula, "|W|");
    assert_string_equal(kept->orientation, "row");
    assert_string_equal(kept->labels_of, "token");
    otimes_memory_sink_free(&memory);
}

/* More arrays than the first room for them: addresses handed out stay good. */
static void many_arrays(void **state)
{
    (void)state;
    otimes_memory_sink *memory = new_sink();
    const otimes_axis axis = {.name = "n", .length = 2};
    char names[100][8];
    const void *first_data = NULL, *again = NULL;
    const otimes_array *first = NULL;
    for (int i = 0; i < 100; i++) {
        names[i][0] = 'a' + (char)(i / 10);
        names[i][1] = '0' + (char)(i % 10);
        names[i][2] = '\0';
        const otimes_array array = {
            .name = names[i], .type = OTIMES_I32, .ndim = 1, .axis = {&axis}};
        const int32_t values[] = {i, -i};
        otimes_err err = {0};
        const int id = declare(memory, &array);
        assert_ok(otimes_sink_slab(otimes_memory_sink_sink(memory), &array, id, 0, 2, values, &err),
                  &err);
        if (i == 0) {
            first = otimes_memory_sink_array(memory, "a0", &first_data);
        }
    }
    assert_ptr_equal(otimes_memory_sink_array(memory, "a0", &again), first);
    assert_ptr_equal(again, first_data);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(((const int32_t *)data_of(memory, names[i]))[1], -i);
    }
    assert_null(otimes_memory_sink_array(memory, "a", &again));
    otimes_memory_sink_free(&memory);
}

/* ---- facts ---- */

static void attributes_replace(void **state)
{
    (void)state;
    otimes_memory_sink *memory = new_sink();
    otimes_sink *sink = otimes_memory_sink_sink(memory);
    otimes_err err = {0};
    char text[] = "llama", name[] = "architecture";
    assert_null(otimes_memory_sink_attr(memory, "architecture"));
    assert_ok(otimes_sink_text(sink, name, text, &err), &err);
    name[0] = text[0] = '?';
    for (int64_t i = 0; i < 40; i++) {
        const char other[] = {'k', '0' + (char)(i % 10), 'a' + (char)(i / 10), '\0'};
        assert_ok(otimes_sink_i64(sink, other, i, &err), &err);
    }
    assert_ok(otimes_sink_f64(sink, "k3a", 0.5, &err), &err);
    assert_ok(otimes_sink_text(sink, "k4a", "four", &err), &err);
    assert_ok(otimes_sink_i64(sink, "k4a", INT64_MIN, &err), &err);
    const otimes_attr *attr = otimes_memory_sink_attr(memory, "architecture");
    assert_int_equal(attr->kind, OTIMES_ATTR_TEXT);
    assert_string_equal(attr->text, "llama");
    attr = otimes_memory_sink_attr(memory, "k3a");
    assert_int_equal(attr->kind, OTIMES_ATTR_F64);
    assert_true(attr->f64 == 0.5);
    attr = otimes_memory_sink_attr(memory, "k4a");
    assert_int_equal(attr->kind, OTIMES_ATTR_I64);
    assert_true(attr->i64 == INT64_MIN);
    assert_true(otimes_memory_sink_attr(memory, "k9d")->i64 == 39);
    otimes_memory_sink_free(&memory);
}

/* ---- short forms ---- */

static void axes_must_have_a_length(void **state)
{
    (void)state;
    otimes_memory_sink *memory = new_sink();
    const otimes_axis good = {.name = "n", .length = 2}, bad = {.name = "m", .length = -1};
    const otimes_axis huge = {.name = "h", .length = (int64_t)1 << 40};
    const struct {
        const otimes_axis *axis[2];
        const char *formula;
        int code;
    } cases[] = {
        {{&good, NULL}, "f", OTIMES_ERR_ARGUMENT},
        {{&good, &bad}, "f", OTIMES_ERR_ARGUMENT},
        {{&good, &good}, NULL, OTIMES_ERR_ARGUMENT},
        {{&huge, &huge}, "f", OTIMES_ERR_MEMORY},
    };
    const void *data;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const otimes_array array = {.name = "x",
                                    .type = OTIMES_F64,
                                    .ndim = 2,
                                    .axis = {cases[i].axis[0], cases[i].axis[1]},
                                    .long_name = "x",
                                    .units = "1",
                                    .formula = cases[i].formula,
                                    .orientation = "none"};
        int id = -5;
        otimes_err err = {0};
        assert_int_equal(otimes_sink_declare(otimes_memory_sink_sink(memory), &array, &id, &err),
                         cases[i].code);
        assert_non_null(strstr(err.msg, "x: "));
        assert_null(otimes_memory_sink_array(memory, "x", &data));
    }
    assert_ok(otimes_sink_axis(otimes_memory_sink_sink(memory), &good, NULL), &(otimes_err){0});
    otimes_memory_sink_free(&memory);
}

/* A sink that only counts: stops at half, refuses to finish. */
static int stop_at_half(otimes_sink *sink, double done, double total)
{
    *(int *)sink->state += 1;
    return done >= total / 2;
}

static int refuse_to_finish(otimes_sink *sink, otimes_err *err)
{
    (void)sink;
    return otimes_fail(err, OTIMES_ERR_IO, "full");
}

static void progress_and_finish(void **state)
{
    (void)state;
    int calls = 0;
    const otimes_sink_ops ops = {.progress = stop_at_half, .finish = refuse_to_finish};
    otimes_sink sink = {&ops, &calls};
    otimes_err err = {0};
    assert_ok(otimes_sink_progress(&sink, 4, 10, &err), &err);
    assert_int_equal(otimes_sink_progress(&sink, 5, 10, &err), OTIMES_ERR_CANCELLED);
    assert_string_equal(err.msg, "cancelled at 50 %");
    assert_int_equal(otimes_sink_progress(&sink, 0, 0, &err), OTIMES_ERR_CANCELLED);
    assert_int_equal(calls, 3);
    assert_int_equal(otimes_sink_finish(&sink, &err), OTIMES_ERR_IO);

    otimes_memory_sink *memory = new_sink();
    assert_ok(otimes_sink_progress(otimes_memory_sink_sink(memory), 1, 1, &err), &err);
    assert_ok(otimes_sink_finish(otimes_memory_sink_sink(memory), &err), &err);
    otimes_memory_sink_free(&memory);
    assert_null(memory);
    otimes_memory_sink_free(&memory);
    otimes_memory_sink_free(NULL);
}

/* Who keeps nothing of an earlier run has no block of it. */
static void nothing_is_there(void **state)
{
    (void)state;
    const otimes_axis texts = {.name = "text", .length = 3};
    const otimes_array array = {.name = "x", .type = OTIMES_F32, .ndim = 1, .axis = {&texts}};
    otimes_memory_sink *memory = new_sink();
    const int id = declare(memory, &array);
    assert_false(
        otimes_sink_has(otimes_memory_sink_sink(memory), id, (int64_t[]){0}, (int64_t[]){1}));
    otimes_memory_sink_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_blocks),
        cmocka_unit_test(blocks_out_of_range),
        cmocka_unit_test(undefined_entries),
        cmocka_unit_test(numbers_and_empty_arrays),
        cmocka_unit_test(text_is_copied),
        cmocka_unit_test(declarations_are_copied),
        cmocka_unit_test(many_arrays),
        cmocka_unit_test(attributes_replace),
        cmocka_unit_test(axes_must_have_a_length),
        cmocka_unit_test(progress_and_finish),
        cmocka_unit_test(nothing_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
