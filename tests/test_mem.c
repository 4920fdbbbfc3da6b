/* SPDX-License-Identifier: MIT
 *
 * Checked sizes, memory, growing lists and text, error texts.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static void checked_products(void **state)
{
    (void)state;
    static const struct {
        int64_t a, b;
        bool fits;
        int64_t product;
    } cases[] = {
        {0, 0, true, 0},
        {0, INT64_MAX, true, 0},
        {INT64_MAX, 1, true, INT64_MAX},
        {3037000499, 3037000499, true, 9223372030926249001},
        {3037000500, 3037000500, false, 0},
        {INT64_MAX, 2, false, 0},
        {INT64_MAX / 2, 2, true, INT64_MAX - 1},
        {INT64_MAX / 2 + 1, 2, false, 0},
        {INT64_MAX, INT64_MAX, false, 0},
        {-1, 1, false, 0},
        {1, -1, false, 0},
        {-1, -1, false, 0},
        {INT64_MIN, -1, false, 0},
        {-1, 0, false, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int swapped = 0; swapped < 2; swapped++) {
            const int64_t a = swapped ? cases[i].b : cases[i].a;
            const int64_t b = swapped ? cases[i].a : cases[i].b;
            int64_t product = -7;
            assert_int_equal(otimes_mul_i64(a, b, &product), cases[i].fits);
            assert_true(!cases[i].fits || product == cases[i].product);
        }
    }
}

static void memory_is_zeroed(void **state)
{
    (void)state;
    for (int64_t count = 0; count < 200; count++) {
        unsigned char *block = otimes_alloc(count, 7);
        assert_non_null(block);
        for (int64_t i = 0; i < 7 * count; i++) {
            assert_int_equal(block[i], 0);
        }
        memset(block, 0xff, (size_t)(7 * count)); /* so that reuse would show */
        otimes_free(block);
    }
    otimes_free(NULL);
}

static void sizes_that_overflow(void **state)
{
    (void)state;
    assert_null(otimes_alloc(INT64_MAX, 2));
    assert_null(otimes_alloc((int64_t)1 << 61, sizeof(double)));
    assert_null(otimes_alloc(-1, 1));
    int *block = otimes_alloc(3, sizeof *block);
    assert_non_null(block);
    block[2] = 42;
    assert_null(otimes_realloc(block, (int64_t)1 << 62, sizeof *block));
    assert_null(otimes_realloc(block, -1, sizeof *block));
    assert_int_equal(block[2], 42);
    block = otimes_realloc(block, 1000, sizeof *block);
    assert_non_null(block);
    assert_int_equal(block[2], 42);
    block = otimes_realloc(block, 0, sizeof *block);
    assert_non_null(block);
    otimes_free(block);
}

/* The error names the variable that wanted memory. */
static void new_or_an_error(void **state)
{
    (void)state;
    otimes_err err = {0};
    struct {
        double *rows;
    } job = {0};
    assert_int_equal(OTIMES_NEW(&job.rows, (int64_t)1 << 61, &err), OTIMES_ERR_MEMORY);
    assert_null(job.rows);
    assert_int_equal(err.code, OTIMES_ERR_MEMORY);
    assert_string_equal(err.msg, "out of memory: job.rows: 2305843009213693952 items of 8 bytes");
    assert_int_equal(OTIMES_NEW(&job.rows, (int64_t)1 << 61, NULL), OTIMES_ERR_MEMORY);
    assert_ok(OTIMES_NEW(&job.rows, 5, &err), &err);
    assert_true(job.rows[4] == 0);
    otimes_free(job.rows);
}

static void copies_of_text(void **state)
{
    (void)state;
    char *copy = otimes_strdup("weights");
    assert_string_equal(copy, "weights");
    otimes_free(copy);
    copy = otimes_strndup("weights", 3);
    assert_string_equal(copy, "wei");
    otimes_free(copy);
    copy = otimes_strndup("", 0);
    assert_string_equal(copy, "");
    otimes_free(copy);
}

static void lists_grow(void **state)
{
    (void)state;
    otimes_err err = {0};
    int64_t *list = NULL, capacity = 0, changes = 0;
    for (int64_t count = 0; count < 10000; count++) {
        const int64_t before = capacity;
        assert_ok(OTIMES_GROW(&list, count, &capacity, &err), &err);
        assert_true(capacity > count);
        changes += capacity != before;
        list[count] = count * count;
    }
    for (int64_t i = 0; i < 10000; i++) {
        assert_int_equal(list[i], i * i);
    }
    assert_true(changes < 12); /* geometric */
    otimes_free(list);
}

static void text_grows(void **state)
{
    (void)state;
    otimes_text text = {0};
    otimes_err err = {0};
    assert_ok(otimes_text_add(&text, &err, "%s", ""), &err);
    assert_string_equal(text.data, "");
    for (int i = 0; i < 1000; i++) {
        assert_ok(otimes_text_add(&text, &err, "%d,%.*s", i % 10, i % 7, "abcdefg"), &err);
        assert_int_equal(text.length, (int64_t)strlen(text.data));
        assert_true(text.length < text.capacity);
    }
    const char *at = text.data;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(*at++, '0' + i % 10);
        assert_int_equal(*at++, ',');
        assert_memory_equal(at, "abcdefg", (size_t)(i % 7));
        at += i % 7;
    }
    otimes_text_free(&text);
    assert_null(text.data);
    assert_true(text.length == 0 && text.capacity == 0);
    otimes_text_free(&text);
}

/* A text that fits to the byte, one less and one more, from every starting length. */
static void text_at_the_edge(void **state)
{
    (void)state;
    for (int first = 0; first < 70; first++) {
        for (int second = 0; second < 140; second += 3) {
            otimes_text text = {0};
            otimes_err err = {0};
            assert_ok(otimes_text_add(&text, &err, "%*s", first, ""), &err);
            assert_ok(otimes_text_add(&text, &err, "%*s", second, ""), &err);
            assert_int_equal((int)strlen(text.data), first + second);
            otimes_text_free(&text);
        }
    }
}

static void error_texts(void **state)
{
    (void)state;
    static char longer[OTIMES_ERR_TEXT + 100];
    otimes_err err = {0};
    memset(longer, 'x', sizeof longer - 1);
    assert_int_equal(otimes_fail(&err, OTIMES_ERR_IO, "%s", longer), OTIMES_ERR_IO);
    assert_int_equal((int)strlen(err.msg), OTIMES_ERR_TEXT - 1);
    assert_int_equal(otimes_fail(NULL, OTIMES_ERR_IO, "%s", "lost"), OTIMES_ERR_IO);
    assert_string_equal(otimes_strerror(OTIMES_OK), "no error");
    const char *const unknown = otimes_strerror(-1000);
    assert_non_null(unknown);
    assert_string_equal(otimes_strerror(7), unknown);
#define DIFFERENT(name, code, text)                                \
    assert_string_equal(otimes_strerror(OTIMES_ERR_##name), text); \
    assert_int_equal(OTIMES_ERR_##name, code);                     \
    assert_string_not_equal(text, unknown);
    OTIMES_ERRORS(DIFFERENT)
#undef DIFFERENT
    assert_string_equal(otimes_version(), "0.1.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checked_products),    cmocka_unit_test(memory_is_zeroed),
        cmocka_unit_test(sizes_that_overflow), cmocka_unit_test(new_or_an_error),
        cmocka_unit_test(copies_of_text),      cmocka_unit_test(lists_grow),
        cmocka_unit_test(text_grows),          cmocka_unit_test(text_at_the_edge),
        cmocka_unit_test(error_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
