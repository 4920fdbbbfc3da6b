/* SPDX-License-Identifier: MIT
 *
 * What a run says of itself at given moments: speed is that of the last while, and never that of what
 * an interrupted run had done.
 */
#include "support.h"

#include "progress.h"

static progress begun_at(double time)
{
    return (progress){.name = "x", .begin = time, .before = {.time = time}, .next = {.time = time}};
}

/* Notes a moment; the text must be `expected`. NULL: any. */
static void expect_text(progress *bar, double time, double part, double bytes, const char *expected)
{
    char text[160];
    const progress_mark at = {time, part, bytes};
    progress_note(bar, &at);
    progress_text(bar, &at, text, sizeof text);
    if (expected) {
        assert_string_equal(text, expected);
    }
}

static void steady(void **state)
{
    progress bar = begun_at(1000);
    (void)state;
    expect_text(&bar, 1000.25, 0.1, 0, "otimes x:  10.0 %"); /* too early to say */
    expect_text(&bar, 1002, 0.1, 0, "otimes x:  10.0 %, 5 %/s, 0:18 left");
    bar = begun_at(1000);
    expect_text(&bar, 1000, 0, 0, "otimes x:   0.0 %");
    expect_text(&bar, 1010, 0, 0, "otimes x:   0.0 %");
    expect_text(&bar, 1020, 0.01, 0, "otimes x:   1.0 %, 3 %/min, 33:00 left");
    bar = begun_at(0);
    expect_text(&bar, 100, 0.001, 2e9, "otimes x:   0.1 %, 3.6 %/h, 20 MB/s, 1 d 3 h left");
    expect_text(&bar, 101, 0.5, 9e6, "otimes x:  50.0 %, 29.7 %/min, 1:41 left");
    expect_text(&bar, 102, 1, 0, "otimes x: 100.0 %, 58.8 %/min, 0:00 left");
}

/* What was fast at first is forgotten. */
static void recent(void **state)
{
    progress bar = begun_at(0);
    (void)state;
    for (int t = 1; t <= 100; t++) {
        expect_text(&bar, t, 0.004 * t, 1e6 * t, NULL);
    }
    for (int t = 101; t < 200; t++) {
        expect_text(&bar, t, 0.4 + 0.001 * (t - 100), 1e8, NULL);
    }
    expect_text(&bar, 200, 0.5, 1e8, "otimes x:  50.0 %, 6 %/min, 0 MB/s, 8:20 left");
    /* Hours later it is that of some minutes. */
    bar = begun_at(0);
    for (int t = 10; t <= 36000; t += 10) {
        expect_text(&bar, t, t < 28000 ? 0.00001 * t : 0.28 + 0.00002 * (t - 28000), 0, NULL);
    }
    expect_text(&bar, 36010, 0.4402, 0, "otimes x:  44.0 %, 7.2 %/h, 7:46:30 left");
}

static void skipped(void **state)
{
    progress bar = begun_at(0);
    (void)state;
    progress_skip(&bar);
    expect_text(&bar, 50, 0.5, 0, "otimes x:  50.0 %");
    expect_text(&bar, 60, 0.55, 0, "otimes x:  55.0 %, 30 %/min, 1:30 left");
    progress_skip(&bar);
    expect_text(&bar, 61, 0.75, 0, "otimes x:  75.0 %");
    expect_text(&bar, 71, 0.80, 0, "otimes x:  80.0 %, 30 %/min, 0:40 left");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady),
        cmocka_unit_test(recent),
        cmocka_unit_test(skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
