/* SPDX-License-Identifier: MIT
 *
 * Comparing results: labels in another order, parts, duplicates, NaN, tolerances at their edge,
 * refusals. What is expected comes from plain searches for every label.
 */
#include "accuracy.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/heads.h>

#include "compared.h"

/* ---- lists of reals ---- */

static compared diff_reals(const double *x, const double *y, int64_t n,
                           const otimes_diff_settings *settings)
{
    const otimes_axis axis = {.name = "place", .length = n};
    otimes_memory_sink *a = new_result("s"), *b = new_result("s");
    add_list(a, "x", OTIMES_F64, &axis, x);
    add_list(b, "x", OTIMES_F64, &axis, y);
    const compared c = diff(a, b, settings);
    otimes_memory_sink_free(&a);
    otimes_memory_sink_free(&b);
    return c;
}

static void the_same_is_equal(void **state)
{
    const double x[] = {1, -0.0, NAN, INFINITY, -INFINITY},
                 y[] = {1, 0.0, -NAN, INFINITY, -INFINITY};
    (void)state;
    compared c = diff_reals(x, y, 5, NULL);
    assert_int_equal(c.equal, 1);
    assert_string_equal(text_of(&c, "status", "x"), "equal");
    assert_int_equal(count_of(&c, "compared", "x"), 5);
    assert_int_equal(count_of(&c, "differing", "x"), 0);
    assert_true(real_of(&c, "max_abs", "x") == 0 && real_of(&c, "max_rel", "x") == 0);
    assert_string_equal(text_of(&c, "where", "x"), "");
    otimes_memory_sink_free(&c.result);
}

/* All numbers here are exact in binary: the bound itself is inside, the next number is not. */
static void tolerances_hold_at_their_edge(void **state)
{
    const otimes_diff_settings both = {.rtol = 0.25, .atol = 0.5}, relative = {.rtol = 0.25};
    const struct {
        double a, b;
        const otimes_diff_settings *settings;
        int equal;
    } cases[] = {
        {3, 2, &both, 1},
        {nextafter(3, 4), 2, &both, 0},
        {1, 2, &both, 1},
        {1 - 0x1p-52, 2, &both, 0},
        {-3, -2, &both, 1},
        {nextafter(-3, -4), -2, &both, 0},
        {3, 4, &relative, 1}, /* of B, not of A */
        {4, 3, &relative, 0},
        {1, INFINITY, &relative, 0}, /* inf <= rtol inf is no equality */
        {INFINITY, -INFINITY, &relative, 0},
        {1, NAN, &both, 0},
        {nextafter(1, 2), 1, NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        compared c = diff_reals(&cases[i].a, &cases[i].b, 1, cases[i].settings);
        if (c.equal != cases[i].equal) {
            fail_msg("%.17g and %.17g: expected equal %d", cases[i].a, cases[i].b, cases[i].equal);
        }
        assert_int_equal(count_of(&c, "differing", "x"), !cases[i].equal);
        otimes_memory_sink_free(&c.result);
    }
}

/* The largest difference wins over what has no size; sizes count equal entries too. */
static void the_worst_is_told(void **state)
{
    const double x[] = {NAN, 1, 8, 100, 5}, y[] = {0, 2, 4, 101, NAN};
    const otimes_diff_settings s = {.rtol = 0.01};
    (void)state;
    compared c = diff_reals(x, y, 5, &s);
    assert_int_equal(c.equal, 0);
    assert_int_equal(count_of(&c, "differing", "x"), 4); /* 100 and 101 are within 1.01 */
    assert_int_equal(count_of(&c, "undefined_in_one", "x"), 2);
    assert_true(real_of(&c, "max_abs", "x") == 4 && real_of(&c, "max_rel", "x") == 0.5);
    assert_string_equal(text_of(&c, "where", "x"), "place 2");
    assert_true(real_of(&c, "value_a", "x") == 8 && real_of(&c, "value_b", "x") == 4);
    otimes_memory_sink_free(&c.result);
    const double none[] = {NAN, NAN}, some[] = {NAN, 7};
    c = diff_reals(none, some, 2, &s);
    assert_true(isnan(real_of(&c, "max_abs", "x")) && real_of(&c, "value_b", "x") == 7);
    assert_string_equal(text_of(&c, "where", "x"), "place 1");
    otimes_memory_sink_free(&c.result);
}

/* ---- everything at random, against plain searches ---- */

static uint64_t seed = 1;

static int64_t draw(int64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((seed >> 33) % (uint64_t)below);
}

enum { DIMS = 4, LONGEST = 6, ENTRIES = LONGEST * LONGEST * LONGEST * LONGEST };

/* Labels of one axis: texts of few kinds, so that they repeat, or numbers. */
typedef struct labels {
    otimes_axis axis;
    const char *text[LONGEST];
    int64_t number[LONGEST];
} labels;

static void draw_labels(labels *l, const char *name, int kind)
{
    static const char *const words[] = {"a", "b", " b", "", "ä"};
    l->axis = (otimes_axis){.name = name, .length = draw(8) ? 1 + draw(LONGEST) : 0};
    for (int64_t i = 0; i < LONGEST; i++) {
        l->text[i] = words[draw(5)];
        l->number[i] = draw(4) - 1;
    }
    l->axis.text = kind == 0 ? l->text : NULL;
    l->axis.number = kind == 1 ? l->number : NULL;
}

static int same_label(const otimes_axis *a, int64_t i, const otimes_axis *b, int64_t j)
{
    return a->text ? !strcmp(a->text[i], b->text[j])
                   : (a->number ? a->number[i] : i) == (b->number ? b->number[j] : j);
}

/* Where label i of A is in B: equal ones meet by their order among equals; -1: not there. */
static int64_t partner(const otimes_axis *a, int64_t i, const otimes_axis *b)
{
    int64_t before = 0;
    for (int64_t k = 0; k < i; k++) {
        before += same_label(a, k, a, i);
    }
    for (int64_t j = 0; j < b->length; j++) {
        if (same_label(a, i, b, j) && before-- == 0) {
            return j;
        }
    }
    return -1;
}

static void put_value(void *data, otimes_type type, int64_t i, int64_t value)
{
    static const uint16_t halves[] = {0x0000, 0x3c00, 0x4000, 0x4200, 0x4400}; /* 0 .. 4 */
    static const char *const texts[] = {"0", "1", "2", "3", "4"};
    switch (type) {
    case OTIMES_F32:
        ((float *)data)[i] = (float)value;
        break;
    case OTIMES_F16:
        ((uint16_t *)data)[i] = halves[value];
        break;
    case OTIMES_F64:
        ((double *)data)[i] = (double)value;
        break;
    case OTIMES_I32:
        ((int32_t *)data)[i] = (int32_t)value;
        break;
    case OTIMES_I64:
        ((int64_t *)data)[i] = value;
        break;
    case OTIMES_TEXT:
        ((const char **)data)[i] = texts[value];
        break;
    }
}

/* An array of one result: its axes in an order of its own. */
typedef struct made {
    labels label[DIMS]; /* by axis of A */
    int order[DIMS];    /* which of them lies at a dimension */
    int64_t value[ENTRIES], count;
    char data[ENTRIES * 8];
    otimes_memory_sink *memory;
} made;

static void make_array(made *m, int ndim, otimes_type type)
{
    otimes_array about = {.name = "x", .type = type, .ndim = ndim};
    m->count = 1;
    for (int d = 0; d < ndim; d++) {
        about.axis[d] = &m->label[m->order[d]].axis;
        m->count *= about.axis[d]->length;
    }
    for (int64_t i = 0; i < m->count; i++) {
        m->value[i] = draw(40) ? 2 : draw(5);
        put_value(m->data, type, i, m->value[i]);
    }
    m->memory = new_result("s");
    add(m->memory, &about, m->data);
}

/* What must come out. */
typedef struct expected {
    int64_t compared, differing, max_abs;
} expected;

static expected expect(const made *a, const made *b, int ndim)
{
    expected e = {0};
    for (int64_t i = 0; i < a->count; i++) {
        int64_t rest = i, at[DIMS], j = 0;
        int found = 1;
        for (int d = ndim - 1; d >= 0; d--) {
            at[d] = rest % a->label[d].axis.length;
            rest /= a->label[d].axis.length;
        }
        for (int d = 0; d < ndim; d++) {
            const int which = b->order[d];
            const int64_t p = partner(&a->label[which].axis, at[which], &b->label[which].axis);
            found = found && p >= 0;
            j = j * b->label[which].axis.length + p;
        }
        if (found) {
            const int64_t gap = llabs((long long)(a->value[i] - b->value[j]));
            e.compared++;
            e.differing += gap > 0;
            e.max_abs = gap > e.max_abs ? gap : e.max_abs;
        }
    }
    return e;
}

static void check_random(const made *a, const made *b, int ndim, otimes_type type, int64_t block)
{
    const otimes_diff_settings s = {.block = block}, common = {.block = block, .common = 1};
    const expected e = expect(a, b, ndim);
    compared c = diff(a->memory, b->memory, &s);
    const int whole = e.compared == a->count && e.compared == b->count && e.differing == 0;
    assert_int_equal(count_of(&c, "compared", "x"), e.compared);
    assert_int_equal(count_of(&c, "differing", "x"), e.differing);
    assert_int_equal(count_of(&c, "only_a", "x"), a->count - e.compared);
    assert_int_equal(count_of(&c, "only_b", "x"), b->count - e.compared);
    assert_string_equal(text_of(&c, "status", "x"), whole ? "equal" : "differs");
    if (type != OTIMES_TEXT && e.compared) {
        assert_true(real_of(&c, "max_abs", "x") == (double)e.max_abs);
    }
    otimes_memory_sink_free(&c.result);
    c = diff(a->memory, b->memory, &common);
    assert_int_equal(c.equal, e.differing == 0);
    otimes_memory_sink_free(&c.result);
}

static void labels_meet_in_any_order(void **state)
{
    static made a, b;
    static const char *const names[] = {"w", "x_axis", "y", "z"};
    static const otimes_type types[] = {OTIMES_F32,  OTIMES_F16, OTIMES_F64,
                                        OTIMES_TEXT, OTIMES_I32, OTIMES_I64};
    static const int64_t blocks[] = {1, 2, 3, 7, 64, 0};
    int permuted = 0;
    (void)state;
    for (int round = 0; round < 300; round++) {
        const int ndim = (int)draw(DIMS + 1), alike = draw(3) == 0;
        const otimes_type type = types[round % 6];
        /* Widths may differ. */
        const otimes_type other = type == OTIMES_TEXT  ? OTIMES_TEXT
                                  : type >= OTIMES_I32 ? types[4 + draw(2)]
                                                       : types[draw(3)];
        for (int d = 0; d < ndim; d++) {
            const int kind = (int)draw(3);
            draw_labels(&a.label[d], names[d], kind);
            draw_labels(&b.label[d], names[d], kind == 0 ? 0 : (int)(1 + draw(2)));
            if (alike) {
                b.label[d] = a.label[d];
                b.label[d].axis.text = kind == 0 ? b.label[d].text : NULL;
                b.label[d].axis.number = kind == 1 ? b.label[d].number : NULL;
            }
            a.order[d] = b.order[d] = d;
        }
        for (int d = ndim - 1; d > 0; d--) {
            const int e = (int)draw(d + 1), kept = b.order[d];
            permuted += e != d;
            b.order[d] = b.order[e];
            b.order[e] = kept;
        }
        make_array(&a, ndim, type);
        make_array(&b, ndim, other);
        for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
            check_random(&a, &b, ndim, type, blocks[i]);
        }
        otimes_memory_sink_free(&a.memory);
        otimes_memory_sink_free(&b.memory);
    }
    assert_true(permuted > 50);
}

/* ---- blocks ---- */

/* Passes reads on and measures them. */
typedef struct watched {
    otimes_reader reader, inner;
    int64_t largest, reads, fails_at;
} watched;

static const otimes_array *watched_array(const otimes_reader *reader, int64_t index)
{
    const watched *w = reader->state;
    return w->inner.ops->array(&w->inner, index);
}

static const otimes_attr *watched_attr(const otimes_reader *reader, int64_t index)
{
    const watched *w = reader->state;
    return w->inner.ops->attribute(&w->inner, index);
}

static int watched_read(const otimes_reader *reader, int64_t index, const int64_t *start,
                        const int64_t *count, void *data, otimes_err *err)
{
    watched *w = (watched *)reader->state;
    int64_t entries = 1;
    for (int d = 0; d < watched_array(reader, index)->ndim; d++) {
        entries *= count[d];
    }
    w->largest = entries > w->largest ? entries : w->largest;
    if (w->reads++ == w->fails_at) {
        snprintf(err->msg, sizeof err->msg, "block is gone");
        return err->code = OTIMES_ERR_IO;
    }
    return w->inner.ops->read(&w->inner, index, start, count, data, err);
}

static void watch(watched *w, const otimes_memory_sink *memory)
{
    static const otimes_reader_ops ops = {
        .array = watched_array, .attribute = watched_attr, .read = watched_read};
    *w = (watched){.reader = {&ops, w, "watched"}, .fails_at = -1};
    otimes_memory_sink_reader(memory, "inner", &w->inner);
}

/* 40 x 50 entries, the columns shifted by 7 in B: two runs, so that blocks stay few. */
static otimes_memory_sink *shifted_table(int shift)
{
    static float value[40 * 50];
    int64_t column[50];
    for (int64_t i = 0; i < 50; i++) {
        column[i] = (i + shift) % 50;
    }
    for (int64_t i = 0; i < 40 * 50; i++) {
        value[i] = (float)(i / 50 * 100 + column[i % 50]);
    }
    const otimes_axis row = {.name = "row", .length = 40};
    const otimes_axis col = {.name = "col", .length = 50, .number = column};
    otimes_memory_sink *memory = new_result("s");
    add(memory, &(otimes_array){.name = "x", .type = OTIMES_F32, .ndim = 2, .axis = {&row, &col}},
        value);
    return memory;
}

static void blocks_are_bounded(void **state)
{
    static const struct {
        int64_t block, reads;
    } cases[] = {{200, 10}, {50, 40}, {30, 40 * 3}, {2000, 1}};
    (void)state;
    otimes_memory_sink *a = shifted_table(0), *b = shifted_table(7);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        watched wa, wb;
        int equal = 0;
        otimes_err err = {0};
        otimes_memory_sink *result;
        const otimes_diff_settings s = {.block = cases[i].block};
        watch(&wa, a);
        watch(&wb, b);
        assert_int_equal(otimes_memory_sink_new(&result, NULL), 0);
        assert_ok(
            otimes_diff(&wa.reader, &wb.reader, &s, otimes_memory_sink_sink(result), &equal, &err),
            &err);
        assert_int_equal(equal, 1);
        const compared c = {result, equal};
        assert_string_equal(text_of(&c, "status", "x"), "equal");
        assert_in_range(wa.largest, 1, cases[i].block);
        assert_in_range(wb.largest, 1, cases[i].block);
        assert_in_range(wa.reads, 1, cases[i].reads);
        assert_int_equal(wa.reads, wb.reads);
        otimes_memory_sink_free(&result);
    }
    otimes_memory_sink_free(&a);
    otimes_memory_sink_free(&b);
}

static int cancel(otimes_sink *sink, double done, double total)
{
    (void)sink;
    return done > 0 && total == 2000;
}

static void errors_of_others_pass(void **state)
{
    (void)state;
    otimes_memory_sink *a = shifted_table(0), *b = shifted_table(7), *result;
    watched wa, wb;
    otimes_err err = {0};
    const otimes_diff_settings s = {.block = 200};
    assert_int_equal(otimes_memory_sink_new(&result, NULL), 0);
    otimes_sink *sink = otimes_memory_sink_sink(result);
    watch(&wa, a);
    watch(&wb, b);
    wb.fails_at = 3;
    assert_int_equal(otimes_diff(&wa.reader, &wb.reader, &s, sink, NULL, &err), OTIMES_ERR_IO);
    assert_string_equal(err.msg, "block is gone");
    assert_int_equal(wa.reads, 4);
    watch(&wb, b);
    otimes_sink_ops ops = *sink->ops;
    ops.progress = cancel;
    otimes_sink stopped = {&ops, sink->state};
    assert_int_equal(otimes_diff(&wa.reader, &wb.reader, &s, &stopped, NULL, &err),
                     OTIMES_ERR_CANCELLED);
    otimes_memory_sink_free(&result);
    otimes_memory_sink_free(&a);
    otimes_memory_sink_free(&b);
}

/* ---- indices and texts ---- */

static void indices_are_compared_by_their_labels(void **state)
{
    static const char *const words[] = {"zero", "one", "two"}, *const turned[] = {"two", "one",
                                                                                  "new"};
    const otimes_axis token = {.name = "token", .length = 3, .text = words};
    const otimes_axis other = {.name = "token", .length = 3, .text = turned};
    const otimes_axis place = {.name = "place", .length = 5};
    const int32_t x[] = {2, 1, -1, 0, 7}, y[] = {0, 1, -1, 2, 7}, z[] = {0, 1, -1, 2, 1};
    const float weight[3] = {0};
    otimes_array about = {
        .name = "id", .type = OTIMES_I32, .ndim = 1, .axis = {&place}, .labels_of = "token"};
    (void)state;
    otimes_memory_sink *a = new_result("s"), *b = new_result("s");
    add_list(a, "w", OTIMES_F32, &token, weight);
    add_list(b, "w", OTIMES_F32, &other, weight);
    add(a, &about, x);
    add(b, &about, y);
    about.name = "other_id";
    add(a, &about, x);
    add(b, &about, z);
    about.labels_of = "not there"; /* plain integers */
    about.name = "plain";
    add(a, &about, x);
    add(b, &about, y);
    compared c = diff(a, b, NULL);
    assert_int_equal(count_of(&c, "differing", "id"), 1); /* "zero" is not "new" */
    assert_string_equal(text_of(&c, "where", "id"), "place 3");
    assert_string_equal(text_of(&c, "text_a", "id"), "'zero'");
    assert_string_equal(text_of(&c, "text_b", "id"), "'new'");
    assert_true(isnan(real_of(&c, "max_abs", "id")));
    assert_int_equal(count_of(&c, "differing", "other_id"), 2);
    assert_int_equal(count_of(&c, "differing", "plain"), 2);
    assert_true(real_of(&c, "max_abs", "plain") == 2);
    assert_int_equal(count_of(&c, "labels_shared", "token"), 2);
    assert_int_equal(count_of(&c, "labels_only_a", "token"), 1);
    assert_int_equal(count_of(&c, "labels_only_b", "token"), 1);
    assert_string_equal(text_of(&c, "first_only_a", "token"), "'zero'");
    assert_string_equal(text_of(&c, "first_only_b", "token"), "'new'");
    end(&c, &a, &b);
}

/* Whole numbers that a double cannot tell apart. */
static void integers_are_exact(void **state)
{
    const otimes_axis place = {.name = "place", .length = 3};
    const int64_t x[] = {INT64_MAX, INT64_MIN, 9}, y[] = {INT64_MAX - 1, INT64_MAX, 9};
    const otimes_diff_settings loose = {.rtol = 10, .atol = 10};
    (void)state;
    otimes_memory_sink *a = new_result("s"), *b = new_result("s");
    add_list(a, "x", OTIMES_I64, &place, x);
    add_list(b, "x", OTIMES_I64, &place, y);
    compared c = diff(a, b, &loose);
    assert_int_equal(count_of(&c, "differing", "x"), 2);
    assert_string_equal(text_of(&c, "where", "x"), "place 1");
    assert_true(real_of(&c, "max_abs", "x") == 0x1p64);
    end(&c, &a, &b);
}

static void texts_are_exact(void **state)
{
    const otimes_axis place = {.name = "place", .length = 4};
    static const char *const x[] = {"a", "", "ä", "c"}, *const y[] = {"a", " ", "ä", "C"};
    (void)state;
    otimes_memory_sink *a = new_result("s"), *b = new_result("s");
    add_list(a, "x", OTIMES_TEXT, &place, x);
    add_list(b, "x", OTIMES_TEXT, &place, y);
    compared c = diff(a, b, NULL);
    assert_int_equal(count_of(&c, "differing", "x"), 2);
    assert_string_equal(text_of(&c, "where", "x"), "place 1");
    assert_string_equal(text_of(&c, "text_a", "x"), "");
    assert_string_equal(text_of(&c, "text_b", "x"), " ");
    end(&c, &a, &b);
}

/* ---- what is wrong ---- */

/* A reader that claims more entries than can be counted; nothing of it is ever read. */
static const otimes_axis huge_axis[2] = {{.name = "p", .length = INT64_MAX / 2},
                                         {.name = "q", .length = 8}};
static const otimes_array huge_array = {
    .name = "x", .type = OTIMES_F32, .ndim = 2, .axis = {&huge_axis[0], &huge_axis[1]}};

static const otimes_array *huge_at(const otimes_reader *reader, int64_t index)
{
    (void)reader;
    return index ? NULL : &huge_array;
}

static void counts_do_not_overflow(void **state)
{
    (void)state;
    watched w;
    otimes_err err = {0};
    otimes_memory_sink *a = new_result("s"), *result;
    watch(&w, a);
    otimes_reader_ops ops = *w.reader.ops;
    ops.array = huge_at;
    const otimes_reader huge = {&ops, &w, "huge"};
    assert_int_equal(otimes_memory_sink_new(&result, NULL), 0);
    otimes_sink *sink = otimes_memory_sink_sink(result);
    assert_int_equal(otimes_diff(&huge, &w.inner, NULL, sink, NULL, &err), OTIMES_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "huge: x: more entries"));
    assert_int_equal(otimes_diff(&w.inner, &huge, NULL, sink, NULL, &err), OTIMES_ERR_FORMAT);
    otimes_memory_sink_free(&result);
    otimes_memory_sink_free(&a);
}

/* ---- the memory sink as a reader ---- */

static void memory_is_read_by_blocks(void **state)
{
    (void)state;
    otimes_memory_sink *memory = shifted_table(7);
    otimes_reader reader;
    otimes_err err = {0};
    const void *all;
    float part[3 * 4];
    const int64_t start[] = {5, 44}, count[] = {3, 4}, outside[] = {38, 0};
    const otimes_array *x = otimes_memory_sink_array(memory, "x", &all);
    otimes_memory_sink_reader(memory, "m", &reader);
    assert_string_equal(reader.name, "m");
    assert_int_equal(otimes_reader_find(&reader, "x"), 0);
    assert_int_equal(otimes_reader_find(&reader, "y"), -1);
    assert_ptr_equal(reader.ops->array(&reader, 0), x);
    assert_null(reader.ops->array(&reader, 1));
    assert_int_equal(otimes_reader_axis(&reader, "col")->number[0], 7);
    assert_null(otimes_reader_axis(&reader, "x"));
    assert_string_equal(otimes_reader_attr(&reader, "schema")->text, "s");
    assert_null(otimes_reader_attr(&reader, "x"));
    assert_ok(reader.ops->read(&reader, 0, start, count, part, &err), &err);
    for (int i = 0; i < 3 * 4; i++) {
        assert_true(part[i] == ((const float *)all)[(5 + i / 4) * 50 + 44 + i % 4]);
    }
    assert_int_equal(reader.ops->read(&reader, 0, outside, count, part, &err), OTIMES_ERR_ARGUMENT);
    otimes_memory_sink_free(&memory);
}

/* ---- results of every golden ---- */

static otimes_memory_sink *heads_of(const otimes_model *model)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_heads(model, NULL, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

/* An array of both results, whose labels are the same. */
static void hold_array(const compared *c, const otimes_memory_sink *a, const otimes_memory_sink *b,
                       const char *name)
{
    int64_t count, other, differing = 0, worst = -1;
    double *x = sink_values(a, name, &count), *y = sink_values(b, name, &other);
    double most = NAN, most_rel = NAN;
    assert_true(x && y && count == other);
    for (int64_t i = 0; i < count; i++) {
        const double gap = fabs(x[i] - y[i]), size = fmax(fabs(x[i]), fabs(y[i]));
        if (gap > 0 && !(gap <= most)) {
            worst = i;
        }
        most = fmax(most, gap);
        most_rel = fmax(most_rel, size > 0 ? gap / size : 0);
        differing += !(x[i] == y[i] || (isnan(x[i]) && isnan(y[i])));
    }
    accuracy_exact("compared", (double)count_of(c, "compared", name), (double)count);
    accuracy_exact("differing", (double)count_of(c, "differing", name), (double)differing);
    accuracy_exact("undefined_in_one", (double)count_of(c, "undefined_in_one", name), 0);
    accuracy_exact("only_a", (double)count_of(c, "only_a", name), 0);
    accuracy_exact("only_b", (double)count_of(c, "only_b", name), 0);
    accuracy_exact("max_abs", real_of(c, "max_abs", name), most);
    accuracy_exact("max_rel", real_of(c, "max_rel", name), most_rel);
    accuracy_exact("value_a", real_of(c, "value_a", name), worst < 0 ? NAN : x[worst]);
    accuracy_exact("value_b", real_of(c, "value_b", name), worst < 0 ? NAN : y[worst]);
    free(x);
    free(y);
}

/* Heads with and without processing. */
static void results_of_goldens(void **state)
{
    static const char *const names[] = {"OV_norm", "QK_singular_values", "full_OV_norm",
                                        "full_QK_positivity"};
    (void)state;
    accuracy_of("diff");
    for (int i = 0; golden_names[i]; i++) {
        golden raw, done;
        otimes_diff_settings settings = {.any_processing = 1};
        golden_open_on(1, &raw, golden_names[i], false);
        golden_open_on(1, &done, golden_names[i], true);
        otimes_memory_sink *a = heads_of(raw.model), *b = heads_of(done.model);
        compared c = diff(a, b, &settings);
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            hold_array(&c, a, b, names[k]);
        }
        for (int axis = 0; axis < 2; axis++) {
            const otimes_model_info *info = otimes_model_describe(raw.model);
            const char *name = axis ? "head" : "layer";
            accuracy_exact("labels_shared", (double)count_of(&c, "labels_shared", name),
                           (double)(axis ? info->n_heads : info->n_layers));
            accuracy_exact("labels_only_a", (double)count_of(&c, "labels_only_a", name), 0);
            accuracy_exact("labels_only_b", (double)count_of(&c, "labels_only_b", name), 0);
        }
        end(&c, &a, &b);
        golden_close(&raw);
        golden_close(&done);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_is_equal),
        cmocka_unit_test(results_of_goldens),
        cmocka_unit_test(tolerances_hold_at_their_edge),
        cmocka_unit_test(the_worst_is_told),
        cmocka_unit_test(labels_meet_in_any_order),
        cmocka_unit_test(blocks_are_bounded),
        cmocka_unit_test(errors_of_others_pass),
        cmocka_unit_test(indices_are_compared_by_their_labels),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(texts_are_exact),
        cmocka_unit_test(counts_do_not_overflow),
        cmocka_unit_test(memory_is_read_by_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
