/* SPDX-License-Identifier: MIT
 *
 * Numbers and selections as users write them: what is accepted, what is refused and with which
 * words.
 */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include <otimes/parse.h>

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static void numbers_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"007", 7},
        {"-5", -5},
        {"12345678901", 12345678901},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t value = 99;
        otimes_err err = {0};
        assert_ok(otimes_parse_i64(cases[i].text, "n", INT64_MIN, INT64_MAX, &value, &err), &err);
        assert_true(value == cases[i].value);
    }
}

static void numbers_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "-",
        "+1",
        " 1",
        "1 ",
        "1x",
        "0x10",
        "1.0",
        "1e3",
        "--1",
        "- 1",
        "1,2",
        "nan",
        "9223372036854775808",
        "\t1",
        "1\n",
        "1-",
        "१",
        "-9223372036854775809",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t value = 99;
        otimes_err err = {0};
        const int rc = otimes_parse_i64(cases[i], "threads", INT64_MIN, INT64_MAX, &value, &err);
        assert_int_equal(rc, OTIMES_ERR_ARGUMENT);
        assert_int_equal(err.code, OTIMES_ERR_ARGUMENT);
        assert_non_null(strstr(err.msg, "threads: expected an integer"));
        assert_true(value == 99);
    }
    int64_t value = 99;
    assert_int_equal(otimes_parse_i64(NULL, "n", 0, 1, &value, NULL), OTIMES_ERR_ARGUMENT);
}

static void numbers_in_range(void **state)
{
    (void)state;
    for (int n = -12; n <= 12; n++) {
        char text[16];
        int64_t value = 99;
        otimes_err err = {0};
        snprintf(text, sizeof text, "%d", n);
        const int rc = otimes_parse_i64(text, "k", -10, 10, &value, &err);
        if (n >= -10 && n <= 10) {
            assert_ok(rc, &err);
            assert_int_equal(value, n);
        } else {
            assert_int_equal(rc, OTIMES_ERR_ARGUMENT);
            assert_non_null(strstr(err.msg, "from -10 to 10"));
            assert_non_null(strstr(err.msg, text));
        }
    }
}

/* Expected indices as text, so that a case is one line. */
static void selections_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *text, *indices;
    } cases[] = {
        {"0", " 0"},
        {"9", " 9"},
        {"3-5", " 3 4 5"},
        {"4-4", " 4"},
        {"0,3-5", " 0 3 4 5"},
        {"5,1,5-6,0", " 0 1 5 6"},
        {"2-4,3-6,2", " 2 3 4 5 6"},
        {"007", " 7"},
        {"0-9", " 0 1 2 3 4 5 6 7 8 9"},
        {NULL, " 0 1 2 3 4 5 6 7 8 9"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        otimes_index_list list;
        otimes_err err = {0};
        char got[256] = "";
        assert_ok(otimes_parse_indices(cases[i].text, "layers", 10, &list, &err), &err);
        for (int64_t k = 0; k < list.count; k++) {
            snprintf(got + strlen(got), sizeof got - strlen(got), " %d", (int)list.index[k]);
        }
        assert_string_equal(got, cases[i].indices);
        otimes_index_list_free(&list);
        assert_null(list.index);
        assert_int_equal(list.count, 0);
    }
}

static void selections_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "expected indices"},
        {",", "expected indices"},
        {"1,", "expected indices"},
        {",1", "expected indices"},
        {"1,,2", "expected indices"},
        {"3-1", "expected indices"},
        {"1-", "expected indices"},
        {"-1", "expected indices"},
        {"1--2", "expected indices"},
        {"a", "expected indices"},
        {"1-2-3", "expected indices"},
        {"1 ,2", "expected indices"},
        {"1, 2", "expected indices"},
        {"0x1", "expected indices"},
        {"+1", "expected indices"},
        {"10", "0 to 9, got 10"},
        {"0-10", "0 to 9, got 10"},
        {"1,2,77", "0 to 9, got 77"},
        {"99999999999999999999", "expected indices"},
        {"0-9223372036854775807", "0 to 9, got 9223372036854775807"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        otimes_index_list list = {(int64_t *)&list, 5};
        otimes_err err = {0};
        assert_int_equal(otimes_parse_indices(cases[i].text, "heads", 10, &list, &err),
                         OTIMES_ERR_ARGUMENT);
        assert_non_null(strstr(err.msg, "heads: "));
        if (!strstr(err.msg, cases[i].words)) {
            fail_msg("'%s': expected '%s' in '%s'", cases[i].text, cases[i].words, err.msg);
        }
        assert_null(list.index);
        assert_int_equal(list.count, 0);
    }
}

static void nothing_to_select(void **state)
{
    (void)state;
    otimes_index_list list;
    otimes_err err = {0};
    assert_ok(otimes_parse_indices(NULL, "tokens", 0, &list, &err), &err);
    assert_int_equal(list.count, 0);
    otimes_index_list_free(&list);
    otimes_index_list_free(NULL);
    assert_int_equal(otimes_parse_indices("0", "tokens", 0, &list, &err), OTIMES_ERR_ARGUMENT);
}

/* Every subset of 0 .. 11, written as ranges. */
static void every_subset(void **state)
{
    (void)state;
    enum { LIMIT = 12 };
    for (unsigned subset = 1; subset < 1u << LIMIT; subset++) {
        char text[128] = "";
        for (int i = 0; i < LIMIT; i++) {
            int last = i;
            if (!(subset >> i & 1)) {
                continue;
            }
            while (last + 1 < LIMIT && subset >> (last + 1) & 1) {
                last++;
            }
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d-%d", text[0] ? "," : "",
                     i, last);
            i = last;
        }
        otimes_index_list list;
        otimes_err err = {0};
        unsigned got = 0;
        assert_ok(otimes_parse_indices(text, "set", LIMIT, &list, &err), &err);
        for (int64_t k = 0; k < list.count; k++) {
            assert_true(k == 0 || list.index[k] > list.index[k - 1]);
            got |= 1u << list.index[k];
        }
        assert_int_equal(got, subset);
        otimes_index_list_free(&list);
    }
}

/* Of nothing there is no index, and no range to name. */
static void nothing_to_choose(void **state)
{
    int64_t value;
    otimes_index_list list;
    otimes_err err = {0};
    (void)state;
    assert_int_equal(otimes_parse_i64("0", "layer", 0, -1, &value, &err), OTIMES_ERR_ARGUMENT);
    assert_string_equal(err.msg, "layer: expected none, as there are none, got '0'");
    assert_int_equal(otimes_parse_indices("0", "layers", 0, &list, &err), OTIMES_ERR_ARGUMENT);
    assert_string_equal(err.msg, "layers: expected none, as there are none, got 0");
    assert_ok(otimes_parse_indices(NULL, "layers", 0, &list, &err), &err);
    assert_int_equal(list.count, 0);
    otimes_index_list_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_to_choose),   cmocka_unit_test(numbers_accepted),
        cmocka_unit_test(numbers_refused),     cmocka_unit_test(numbers_in_range),
        cmocka_unit_test(selections_accepted), cmocka_unit_test(selections_refused),
        cmocka_unit_test(nothing_to_select),   cmocka_unit_test(every_subset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
