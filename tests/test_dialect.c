/* SPDX-License-Identifier: MIT
 *
 * The dialect of Oniguruma: what its patterns match, as the library tokenizers (0.23.3), which is
 * built on it, says for each.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "token/pattern.h"

/* Matches stand in angle brackets. */
static const struct {
    const char *pattern, *marked;
} cases[] = {
    {"\\p{Letter}+", "<ab> 12 <\xc3\xa9\xe6\x97\xa5>."},
    {"\\p{Uppercase_Letter}", "a<B>c<\xc3\x89>"},
    {"\\p{^Letter}+", "ab< 12 >\xc3\xa9\xe6\x97\xa5<.>"},
    {"\\P{^Letter}+", "<ab> 12 <\xc3\xa9\xe6\x97\xa5>."},
    {"\\p{Han}+", "ab<\xe6\x97\xa5\xe6\x9c\xac> x"},
    {"\\p{^Han}+", "<ab>\xe6\x97\xa5\xe6\x9c\xac< x>"},
    {"\\p{Alpha}+", "<ab\xe6\x97\xa5>1 <x>"},
    {"\\p{Decimal Number}+", "ab<12> <3>"},
    {"\\u0041+", "<AA>b<A>"},
    {"[\\u0041-\\u0043]+", "<A>a<BC>D"},
    {"\\W+", "ab<, >\xc3\xa9_9< ->x"},
    {"[\\W_]+", "ab<, >\xc3\xa9<_>9< ->x"},
    {"[^\\W]+", "<ab>, <\xc3\xa9_9> -<x>"},
    {"\\h+", "xyz <0aF9>g"},
    {"\\H+", "<xyz >0aF9<g>"},
    {"[\\h]+", "xyz <0aF9>g"},
    {"[\\Hb]+", "<xyz >0a<b>F9<g>"},
    {"\\B.", "a<b> c<d>"},
    {"[[:alpha:]]+", "<ab>1 <\xc3\xa9\xe6\x97\xa5>."},
    {"[[:^alpha:]]+", "ab<1 >\xc3\xa9\xe6\x97\xa5<.>"},
    {"[[:digit:]a]+", "<a>b<1> <9a>."},
    {"[[:alnum:]]+", "<ab1>_ <\xc3\xa9"
                     "9>."},
    {"[[:^alnum:]]+", "ab1<_ >\xc3\xa9"
                      "9<.>"},
    {"[[:word:]]+", "<ab1_> <\xc3\xa9"
                    "9>."},
    {"[[:punct:]]+", "a<.>b<+>c<$> <->"},
    {"[[:xdigit:]]+", "xyz <0aF9>g"},
    {"[[:^xdigit:]]+", "<xyz >0aF9<g>"},
    {"[[:space:]]+", "a< \t>b"},
    {"[[:upper:][:digit:]]+", "a<BC1>d"},
    {"[a-z&&[^aeiou]]+", "a<bcd>e <fgh>"},
    {"[^a-z&&[^aeiou]]+", "<a>bcd<e >fgh"},
    {"[a-z0-9&&[^\\d]&&[^b]]+", "<a>b1<c>2"},
    {"[\\W&&[^ ]]+", "a<,> b<;>c"},
    {"[x[^a-c]]+", "ab<xyz>c"},
    {"[a[bc]d]+", "x<abcd>x"},
    {"[x[a-z&&[^b]]]+", "<a>b<cx>1"},
    {"a{,2}b", "<b> <aab> a<aab>"},
    {"a{2}", "<aa><aa>a"},
    {"a{2,}b", "ab <aab>"},
    {"a{x", "<a{x>}"},
    {"a{", "<a{>b"},
    {"a{,}b", "<a{,}b> aab"},
    {"(?:ab){1,2}+c", "<abababc> <abc>"},
    {"a{,2}+b", "<aaab> <ab>"},
    {"[\\w\xc3\xa9]+(?=,)", "<ab>, <\xc3\xa9>,x"},
    {"\\w+", "<\xe2\x93\x90"
             "b>\xe2\x92\x9c <a>\xe2\x80\x8d<b>"},
};

/* The text without its marks. */
static size_t bare(const char *marked, char *text)
{
    size_t length = 0;
    for (; *marked; marked++) {
        if (*marked != '<' && *marked != '>') {
            text[length++] = *marked;
        }
    }
    text[length] = '\0';
    return length;
}

static char *put(char *to, const char *text, int64_t length)
{
    memcpy(to, text, (size_t)length);
    return to + length;
}

static void mark_matches(const otimes_pattern *pattern, const char *text, int64_t length,
                         char *marked)
{
    otimes_matcher matcher = {0};
    otimes_err err = {0};
    bool found = true;
    int64_t begin, end, done = 0;
    while (done < length) {
        assert_ok(
            otimes_pattern_match(pattern, &matcher, text, length, done, &found, &begin, &end, &err),
            &err);
        if (!found) {
            break;
        }
        assert_true(end > begin);
        marked = put(marked, text + done, begin - done);
        *marked++ = '<';
        marked = put(marked, text + begin, end - begin);
        *marked++ = '>';
        done = end;
    }
    strcpy(marked, text + done);
    otimes_matcher_free(&matcher);
}

static void same_matches(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        otimes_pattern *pattern = NULL;
        otimes_err err = {0};
        char text[64], marked[256];
        const size_t length = bare(cases[i].marked, text);
        assert_ok(otimes_pattern_new(&pattern, cases[i].pattern, (int64_t)strlen(cases[i].pattern),
                                     "test", &err),
                  &err);
        mark_matches(pattern, text, (int64_t)length, marked);
        if (strcmp(marked, cases[i].marked) != 0) {
            fail_msg("%s: expected '%s', got '%s'", cases[i].pattern, cases[i].marked, marked);
        }
        otimes_pattern_free(pattern);
    }
}

static void refused(const char *source, int64_t length, int code, const char *why)
{
    otimes_pattern *pattern = NULL;
    otimes_err err = {0};
    assert_int_equal(otimes_pattern_new(&pattern, source, length, "test", &err), code);
    if (!strstr(err.msg, why)) {
        fail_msg("expected '%s', got '%s'", why, err.msg);
    }
    assert_null(pattern);
}

/* `count` times `open`, then as often `close`. */
static void refused_nested(const char *open, const char *close, int count, const char *why)
{
    char source[4096] = "";
    for (int i = 0; i < count; i++) {
        strcat(source, open);
    }
    strcat(source, "a");
    for (int i = 0; i < count; i++) {
        strcat(source, close);
    }
    refused(source, (int64_t)strlen(source), OTIMES_ERR_FORMAT, why);
}

static void unreadable(void **state)
{
    (void)state;
    refused("\\p{Letter", 9, OTIMES_ERR_FORMAT, "a property without '}'");
    refused("\\u00", 4, OTIMES_ERR_FORMAT, "\\u without four digits");
    refused("\\u00gg", 6, OTIMES_ERR_FORMAT, "\\u without four digits");
    refused("[a\\", 3, OTIMES_ERR_FORMAT, "it ends with a backslash");
    refused("a\0b", 3, OTIMES_ERR_FORMAT, "it holds a NUL");
    refused("\\p", 2, OTIMES_ERR_FORMAT, "test: pattern");
    refused_nested("[a", "]", 100, "classes are nested too deep");
    refused_nested("(", ")", 100, "groups are nested too deep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_matches),
        cmocka_unit_test(unreadable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
