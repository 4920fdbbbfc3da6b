/* SPDX-License-Identifier: MIT
 *
 * UTF-8 against its definition: every code point, every pair of bytes, and what must be refused.
 */
#include "support.h"

#include <string.h>

#include "base/utf8.h"

/* RFC 3629's table of bits. */
static int encode(uint32_t point, char *out)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    const int length = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (int i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (point & 0x3f));
        point >>= 6;
    }
    out[0] = (char)(0xff00 >> length | point);
    return length;
}

static void every_code_point(void **state)
{
    (void)state;
    for (uint32_t point = 0; point < 0x200000; point++) {
        char text[5] = {0};
        const int length = encode(point, text);
        const bool valid = point < 0xd800 || (point > 0xdfff && point <= 0x10ffff);
        assert_int_equal(otimes_utf8_length(text, 5), valid ? length : 0);
        for (int cut = 0; cut < length; cut++) {
            assert_int_equal(otimes_utf8_length(text, cut), 0);
        }
    }
}

static void what_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "\x80",         "\xbf",         "\xc0\x80",         "\xc1\xbf",
        "\xe0\x80\x80", "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
        "\xc3(",        "\xe2\x82(",    "\xe2(\xac",        "\xf8\x88\x80\x80\x80",
        "\xff",         "\xfe",         "\xf4\x90\x80\x80", "\xed\xa0\x80",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(otimes_utf8_length(wrong[i], (int64_t)strlen(wrong[i])), 0);
    }
    assert_int_equal(otimes_utf8_valid("", 0), 0);
    assert_int_equal(otimes_utf8_valid("a\0b\xe2\x82\xac", 6), 6);
    assert_int_equal(otimes_utf8_valid("a\0b\xe2\x82\xac", 5), 3);
    assert_int_equal(otimes_utf8_valid("ab\xff"
                                       "c",
                                       4),
                     2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
