/* SPDX-License-Identifier: MIT
 *
 * A page's data: which types numbers get and that none is touched beside those written, texts of any
 * bytes, numbers that read back, what is left out.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "page_parts.h"
#include "quote.h"
#include "sink_page.h"

static const page_rule all_kept[] = {
    {"half*", PAGE_HALF}, {"left", PAGE_LEAVE}, {"*", PAGE_KEEP}, {NULL, PAGE_LEAVE}};

static page *new_page(otimes_sink *sink)
{
    page *all = NULL;
    otimes_err err = {0};
    assert_ok(page_new(&all, &err), &err);
    assert_ok(page_begin(all, "first", all_kept, sink, &err), &err);
    return all;
}

static int declare(otimes_sink *sink, const char *name, otimes_type type, int ndim,
                   const otimes_axis *axes, const char *labels_of)
{
    otimes_array array = {.name = name, .type = type, .ndim = ndim, .labels_of = labels_of};
    otimes_err err = {0};
    int id = -1;
    for (int i = 0; i < ndim; i++) {
        array.axis[i] = &axes[i];
    }
    assert_ok(sink->ops->declare(sink, &array, &id, &err), &err);
    return id;
}

static void put(otimes_sink *sink, int id, int64_t start, int64_t count, const void *data)
{
    otimes_err err = {0};
    assert_ok(sink->ops->write(sink, id, &start, &count, data, &err), &err);
}

static void finish(otimes_sink *sink)
{
    otimes_err err = {0};
    assert_ok(sink->ops->finish(sink, &err), &err);
}

/* What was written: the object, and the block's bytes, which the caller releases. */
static json_t *written(const page *all, unsigned char **block, size_t *bytes)
{
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    page_write(all, to);
    assert_int_equal(fclose(to), 0);
    char *begin = strchr(text, '>') + 1, *end = strstr(begin, "</script>");
    assert_memory_equal(text, "<script type=\"application/json\" id=\"otimes-data\">", 49);
    json_error_t problem;
    json_t *json = json_loadb(begin, (size_t)(end - begin), JSON_REJECT_DUPLICATES, &problem);
    if (!json) {
        fail_msg("%s at %d: %.200s", problem.text, problem.position, begin);
    }
    begin = strstr(end, "id=\"otimes-block\">") + 18;
    end = strstr(begin, "</script>");
    assert_string_equal(end, "</script>\n");
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    *block = calloc((size_t)(end - begin) + 4, 1);
    *bytes = 0;
    unsigned word = 0;
    int have = 0;
    for (const char *c = begin; c < end && *c != '='; c++) {
        word = word << 6 | (unsigned)(strchr(digits, *c) - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            (*block)[(*bytes)++] = (unsigned char)(word >> have);
        }
    }
    assert_int_equal((end - begin) % 4, 0);
    free(text);
    return json;
}

static const json_t *array_of(const json_t *json, const char *name)
{
    const json_t *sections = json_object_get(json, "sections");
    return json_object_get(json_object_get(json_object_get(sections, "first"), "arrays"), name);
}

/* Type and bytes of an array. */
static const unsigned char *expect(const json_t *json, const unsigned char *block, const char *name,
                                   const char *type)
{
    const json_t *array = array_of(json, name);
    if (!array) {
        fail_msg("%s is not there", name);
    }
    assert_string_equal(json_string_value(json_object_get(array, "type")), type);
    const json_int_t at = json_integer_value(json_object_get(array, "at"));
    assert_int_equal(at % 8, 0);
    return block + at;
}

/* ---- halves ---- */

static double value_of(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double size = exponent == 31 ? (fraction ? (double)NAN : INFINITY)
                        : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                       : ldexp(fraction, -24);
    return bits >> 15 ? -size : size;
}

/* Each half is itself; between two the nearer one, of equals the even one; IEEE 754-2008, 4.3.1. */
static void halves(void **state)
{
    (void)state;
    for (int i = 0; i < 0x7c00; i++) {
        const double low = value_of((uint16_t)i),
                     high = i == 0x7bff ? 65536 : value_of((uint16_t)(i + 1));
        const double middle = (low + high) / 2;
        assert_int_equal(page_half(low), i);
        assert_int_equal(page_half(-low), i | 0x8000);
        assert_int_equal(page_half(middle), i + (i & 1));
        assert_int_equal(page_half(nextafter(middle, 0)), i);
        assert_int_equal(page_half(nextafter(middle, 1e9)), i + 1);
    }
    assert_int_equal(page_half(1e300), 0x7c00);
    assert_int_equal(page_half(-INFINITY), 0xfc00);
    assert_true(isnan(value_of(page_half((double)NAN))));
}

/* ---- types ---- */

#define N 5
#define GUARD 77

/* Entries 1 to 3 of 5 are written; what stands beside them in the caller's memory is none of it. */
static void types(void **state)
{
    (void)state;
    otimes_sink sink;
    page *all = new_page(&sink);
    const otimes_axis axis = {.name = "i", .length = N};
    const float f32[] = {GUARD, 1, -2.5F, 0.1F, GUARD}, small[] = {GUARD, 0.01F, 0, -0.015F, GUARD};
    const float large[] = {GUARD, 1, 65505, 0, GUARD};
    const double f64[] = {GUARD, 1, 1e39, -2, GUARD};
    const int32_t i32[] = {GUARD, 65534, -1, 3, GUARD}, wide[] = {GUARD, 65535, 0, 3, GUARD};
    const int64_t i64[] = {GUARD, INT32_MIN, -1, INT32_MAX, GUARD};
    const int64_t huge[] = {GUARD, 8030261248, 0, -1, GUARD};
    const struct {
        const char *name, *type, *labels_of;
        otimes_type from;
        const void *data;
        size_t entry;
    } cases[] = {
        {"half", "f16", NULL, OTIMES_F32, f32, 4},
        {"f32", "f32", NULL, OTIMES_F32, f32, 4},
        {"half_small", "f32", NULL, OTIMES_F32, small, 4},
        {"half_large", "f32", NULL, OTIMES_F32, large, 4},
        {"f64", "f64", NULL, OTIMES_F64, f64, 8},
        {"ids", "u16", "i", OTIMES_I32, i32, 4},
        {"numbers", "i32", NULL, OTIMES_I32, i32, 4},
        {"wide", "i32", "i", OTIMES_I32, wide, 4},
        {"i64", "i32", NULL, OTIMES_I64, i64, 8},
        {"huge", "f64", NULL, OTIMES_I64, huge, 8},
        {"left", NULL, NULL, OTIMES_F32, f32, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int id = declare(&sink, cases[i].name, cases[i].from, 1, &axis, cases[i].labels_of);
        put(&sink, id, 1, 3, (const char *)cases[i].data + cases[i].entry);
    }
    finish(&sink);
    unsigned char *block;
    size_t bytes;
    json_t *json = written(all, &block, &bytes);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].type) {
            (void)expect(json, block, cases[i].name, cases[i].type);
        }
    }
    assert_null(array_of(json, "left"));
    const unsigned char *at = expect(json, block, "half", "f16");
    const unsigned char halves_there[] = {0x00, 0x7e, 0x00, 0x3c, 0x00, 0xc1, 0x66, 0x2e,
                                          0x00, 0x7e, 0,    0,    0,    0,    0,    0};
    assert_memory_equal(at, halves_there, sizeof halves_there);
    const unsigned char ids_there[] = {0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 3, 0, 0xff, 0xff};
    assert_memory_equal(expect(json, block, "ids", "u16"), ids_there, sizeof ids_there);
    const int32_t numbers[] = {-1, 65534, -1, 3, -1},
                  from_i64[] = {-1, INT32_MIN, -1, INT32_MAX, -1};
    assert_memory_equal(expect(json, block, "numbers", "i32"), numbers, sizeof numbers);
    assert_memory_equal(expect(json, block, "i64", "i32"), from_i64, sizeof from_i64);
    double reals[N];
    memcpy(reals, expect(json, block, "huge", "f64"), sizeof reals);
    assert_true(reals[0] == -1 && reals[1] == 8030261248.0 && reals[3] == -1 && reals[4] == -1);
    memcpy(reals, expect(json, block, "f64", "f64"), sizeof reals);
    assert_true(isnan(reals[0]) && reals[1] == 1 && reals[2] == 1e39 && reals[3] == -2 &&
                isnan(reals[4]));
    float singles[N];
    memcpy(singles, expect(json, block, "f32", "f32"), sizeof singles);
    assert_true(isnan(singles[0]) && isnan(singles[4]));
    assert_memory_equal(singles + 1, f32 + 1, 3 * sizeof *f32);
    json_decref(json);
    free(block);
    page_free(&all);
}

/* Blocks of three axes against the same entries set one by one. */
static void blocks(void **state)
{
    (void)state;
    enum { A = 3, B = 4, C = 5 };
    otimes_sink sink;
    page *all = new_page(&sink);
    const otimes_axis axes[] = {
        {.name = "a", .length = A}, {.name = "b", .length = B}, {.name = "c", .length = C}};
    const int id = declare(&sink, "x", OTIMES_F32, 3, axes, NULL);
    const int scalar = declare(&sink, "s", OTIMES_F32, 0, NULL, NULL);
    const int none =
        declare(&sink, "none", OTIMES_I32, 1, &(otimes_axis){.name = "z", .length = 0}, NULL);
    const float one = 7;
    float mirror[A][B][C], data[2 * 3 * 2 + 2];
    otimes_err err = {0};
    for (int i = 0; i < A * B * C; i++) {
        (&mirror[0][0][0])[i] = NAN;
    }
    const int64_t start[] = {1, 0, 2}, count[] = {2, 3, 2};
    for (int i = 0; i < 12; i++) {
        data[i + 1] = (float)i;
        mirror[1 + i / 6][i / 2 % 3][2 + i % 2] = (float)i;
    }
    data[0] = data[13] = GUARD;
    assert_ok(sink.ops->write(&sink, id, start, count, data + 1, &err), &err);
    assert_ok(sink.ops->write(&sink, scalar, NULL, NULL, &one, &err), &err);
    put(&sink, none, 0, 0, data);
    finish(&sink);
    unsigned char *block;
    size_t bytes;
    json_t *json = written(all, &block, &bytes);
    float got[A][B][C];
    memcpy(got, expect(json, block, "x", "f32"), sizeof got);
    for (int i = 0; i < A * B * C; i++) {
        const float x = (&got[0][0][0])[i], y = (&mirror[0][0][0])[i];
        assert_true(x == y || (isnan(x) && isnan(y)));
    }
    assert_memory_equal(expect(json, block, "s", "f32"), &one, sizeof one);
    (void)expect(json, block, "none", "i32");
    json_decref(json);
    free(block);
    page_free(&all);
}

/* ---- texts ---- */

/* Any bytes but NUL come out as text, and end no element. */
static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *read;
    } cases[] = {
        {"", ""},
        {"</script><script>alert(1)</script>", NULL},
        {"<!--", NULL},
        {"]]>&lt;&amp;", NULL},
        {"\"\\/'", NULL},
        {"\x01\x1f\n\t\r\x7f", NULL},
        {"\xc2\x85\xc2\x9b", NULL},
        {"\xe2\x80\xa8\xe2\x80\xa9", NULL},
        {"\xe2\x80\x8e\xe2\x80\x8f\xe2\x80\xae\xe2\x81\xa6", NULL},
        {"\xf0\x9f\x98\x80 e\xcc\x81", NULL},
        {"\xed\xa0\x80", "<0xED><0xA0><0x80>"}, /* half of a surrogate pair */
        {"\xff"
         "a\xc3",
         "<0xFF>a<0xC3>"},
        {"\xc0\x80", "<0xC0><0x80>"},
        {"\xe2\x82", "<0xE2><0x82>"},
        {"\xf4\x90\x80\x80", "<0xF4><0x90><0x80><0x80>"},
    };
    enum { COUNT = sizeof cases / sizeof *cases };
    for (int i = 0; i < COUNT; i++) {
        char *text = NULL;
        size_t length = 0;
        FILE *to = open_memstream(&text, &length);
        page_put_string(to, cases[i].text);
        assert_int_equal(fclose(to), 0);
        assert_null(strpbrk(text, "<>&\x01\x1f\n\t\r\x7f"));
        for (const char *hidden = "\xe2\x80\xa8\0\xe2\x80\xa9\0\xe2\x80\xae\0\xc2\x85\0"; *hidden;
             hidden += strlen(hidden) + 1) {
            assert_null(strstr(text, hidden));
        }
        json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_string_equal(json_string_value(json), cases[i].read ? cases[i].read : cases[i].text);
        json_decref(json);
        free(text);
    }
}

/* Random bytes: always JSON, never an end of an element. */
static void any_bytes(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        char bytes[9], *text = NULL;
        size_t length = 0;
        for (size_t i = 0; i + 1 < sizeof bytes; i++) {
            seed = seed * 1103515245 + 12345;
            bytes[i] = (char)(1 + (seed >> 16) % 255);
        }
        bytes[sizeof bytes - 1] = '\0';
        FILE *to = open_memstream(&text, &length);
        page_put_string(to, bytes);
        assert_int_equal(fclose(to), 0);
        json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_non_null(json);
        assert_null(strpbrk(text, "<>&"));
        json_decref(json);
        free(text);
    }
}

static void reals(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {1e-5, "1e-05"},
                 {0.1, "0.1"},
                 {5.656854249492381, "5.656854249492381"},
                 {1.0 / 3, "0.3333333333333333"},
                 {5e-324, "4.94065645841247e-324"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {-1.5, "-1.5"},
                 {1e300, "1e+300"},
                 {NAN, "null"},
                 {INFINITY, "null"},
                 {-INFINITY, "null"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        size_t length = 0;
        FILE *to = open_memstream(&text, &length);
        page_put_real(to, cases[i].value);
        assert_int_equal(fclose(to), 0);
        assert_string_equal(text, cases[i].text);
        assert_true(!isfinite(cases[i].value) || strtod(text, NULL) == cases[i].value);
        free(text);
    }
}

static void base64(void **state)
{
    (void)state;
    /* RFC 4648, section 10. */
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        size_t length = 0;
        FILE *to = open_memstream(&text, &length);
        page_put_base64(to, (const unsigned char *)cases[i][0], strlen(cases[i][0]));
        assert_int_equal(fclose(to), 0);
        assert_string_equal(text, cases[i][1]);
        free(text);
    }
}

/* ---- terminals ---- */

static void expect_quoted(const char *text, const char *expected)
{
    char *got = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&got, &length);
    put_quoted(to, text);
    assert_int_equal(fclose(to), 0);
    assert_string_equal(got, expected);
    int width = 0;
    for (const char *c = got; *c; c++) {
        width += (*c & 0xc0) != 0x80;
    }
    assert_int_equal(quoted_width(text), width);
    free(got);
}

static void quoted(void **state)
{
    (void)state;
    expect_quoted("", "\"\"");
    expect_quoted(" a\"b\\", "\" a\\\"b\\\\\"");
    expect_quoted("\x1b[2J\n\t\r\x07\x7f", "\"\\x1B[2J\\n\\t\\r\\x07\\x7F\"");
    expect_quoted("\xc2\x9b"
                  "2J\xc2\xa0",
                  "\"\\u009B2J\xc2\xa0\"");
    expect_quoted("a\xe2\x80\xae"
                  "b\xe2\x81\xa9\xd8\x9c",
                  "\"a\\u202Eb\\u2069\\u061C\"");
    expect_quoted("\xe2\x80\xa8\xe2\x80\x8f\xef\xbb\xbf", "\"\\u2028\\u200F\\uFEFF\"");
    expect_quoted("\xed\xa0\x80\xff\xe2\x82", "\"\\xED\\xA0\\x80\\xFF\\xE2\\x82\"");
    expect_quoted("\xd7\xa9\xe2\x80\x8d\xf0\x9f\x98\x80",
                  "\"\xd7\xa9\xe2\x80\x8d\xf0\x9f\x98\x80\"");
}

/* ---- sections ---- */

static int fact(otimes_sink *sink, const char *name, double value)
{
    otimes_err err = {0};
    const otimes_attr attr = {.name = name, .kind = OTIMES_ATTR_F64, .f64 = value};
    return sink->ops->attribute(sink, &attr, &err);
}

/* One list of labels for one vocabulary; a dropped section leaves nothing; facts of the first are not
 * repeated, and a later fact holds. */
static void sections(void **state)
{
    (void)state;
    static const char *const words[] = {"a", "b"}, *const others[] = {"a", "c"};
    static const int64_t plain[] = {0, 1}, odd[] = {0, 5};
    otimes_sink sink;
    otimes_err err = {0};
    page *all = new_page(&sink);
    const otimes_axis token = {.name = "token", .length = 2, .text = words};
    const otimes_axis out = {.name = "out", .length = 2, .text = words};
    const otimes_axis counted = {.name = "counted", .length = 2, .number = plain};
    const otimes_axis listed = {.name = "listed", .length = 2, .number = odd};
    const otimes_axis unused = {.name = "unused", .length = 2, .number = odd};
    const float numbers[] = {1, 2};
    assert_int_equal(fact(&sink, "x", 1), 0);
    assert_int_equal(fact(&sink, "x", 2), 0);
    assert_ok(sink.ops->axis(&sink, &out, &err), &err);
    assert_ok(sink.ops->axis(&sink, &unused, &err), &err);
    put(&sink, declare(&sink, "a", OTIMES_F32, 1, &token, NULL), 0, 2, numbers);
    put(&sink, declare(&sink, "b", OTIMES_F32, 1, &counted, "out"), 0, 2, numbers);
    put(&sink, declare(&sink, "c", OTIMES_F32, 1, &listed, NULL), 0, 2, numbers);
    finish(&sink);
    assert_ok(page_begin(all, "dropped", all_kept, &sink, &err), &err);
    const otimes_axis other = {.name = "token", .length = 2, .text = others};
    put(&sink, declare(&sink, "a", OTIMES_F32, 1, &other, NULL), 0, 2, numbers);
    finish(&sink);
    (void)declare(&sink, "late", OTIMES_F32, 1, &other, NULL); /* not packed when it is dropped */
    page_drop(all);
    assert_ok(page_begin(all, "second", all_kept, &sink, &err), &err);
    assert_int_equal(fact(&sink, "x", 2), 0);
    assert_int_equal(fact(&sink, "y", 3), 0);
    finish(&sink);
    assert_ok(page_text(all, "left_out", "dropped", "no", &err), &err);
    assert_ok(page_text(all, NULL, "otimes", "1", &err), &err);
    assert_ok(page_text(all, "left_out", "more", "none", &err), &err);
    assert_ok(page_number(all, "text_cut", 3, &err), &err);
    unsigned char *block;
    size_t bytes;
    json_t *json = written(all, &block, &bytes);
    json_t *expected = json_loads(
        "{\"format\": 1, \"otimes\": \"1\", \"text_cut\": 3, \"left_out\": {\"dropped\": \"no\", "
        "\"more\": \"none\"},"
        " \"labels\": [[\"a\", \"b\"]], \"sections\": {\"first\": {\"attributes\": {\"x\": 2}, "
        "\"axes\": {"
        "\"token\": {\"length\": 2, \"labels\": 0}, \"out\": {\"length\": 2, \"labels\": 0},"
        " \"counted\": {\"length\": 2}, \"listed\": {\"length\": 2, \"number\": [0, 5]}}, "
        "\"arrays\": {"
        "\"a\": {\"axes\": [\"token\"], \"type\": \"f32\", \"at\": 0},"
        " \"b\": {\"axes\": [\"counted\"], \"type\": \"f32\", \"at\": 8, \"labels_of\": \"out\"},"
        " \"c\": {\"axes\": [\"listed\"], \"type\": \"f32\", \"at\": 16}}},"
        " \"second\": {\"attributes\": {\"y\": 3}, \"axes\": {}, \"arrays\": {}}}}",
        0, NULL);
    assert_non_null(expected);
    char *got = json_dumps(json, JSON_SORT_KEYS), *wanted = json_dumps(expected, JSON_SORT_KEYS);
    assert_string_equal(got, wanted);
    free(got);
    free(wanted);
    assert_int_equal(bytes, 24);
    json_decref(expected);
    json_decref(json);
    free(block);
    page_free(&all);
    page_free(&all);
}

/* An axis keeps its length within a section. */
static void lengths(void **state)
{
    (void)state;
    otimes_sink sink;
    otimes_err err = {0};
    int id;
    page *all = new_page(&sink);
    const otimes_axis two = {.name = "i", .length = 2}, three = {.name = "i", .length = 3};
    (void)declare(&sink, "a", OTIMES_F32, 1, &two, NULL);
    const otimes_array array = {.name = "b", .type = OTIMES_F32, .ndim = 1, .axis = {&three}};
    assert_int_equal(sink.ops->declare(&sink, &array, &id, &err), OTIMES_ERR_ARGUMENT);
    assert_string_equal(err.msg, "first: axis i: expected length 2 as before, got 3");
    page_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves),  cmocka_unit_test(types),     cmocka_unit_test(blocks),
        cmocka_unit_test(texts),   cmocka_unit_test(any_bytes), cmocka_unit_test(reals),
        cmocka_unit_test(base64),  cmocka_unit_test(quoted),    cmocka_unit_test(sections),
        cmocka_unit_test(lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
