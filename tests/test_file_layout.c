/* SPDX-License-Identifier: MIT
 *
 * Chunks of arrays, the room they take, and what a disk is refused.
 */
#include "support.h"

#include <string.h>

#include "layout.h"
#include "space.h"

static otimes_axis axes[OTIMES_MAX_DIMS];

static otimes_array array_of(otimes_type type, int ndim, const int64_t *length, const int64_t *wish)
{
    otimes_array array = {.name = "x", .type = type, .ndim = ndim};
    for (int i = 0; i < ndim; i++) {
        axes[i] = (otimes_axis){.name = "axis", .length = length[i]};
        array.axis[i] = &axes[i];
        array.chunk[i] = wish ? wish[i] : 0;
    }
    return array;
}

static void chunks(void **state)
{
    static const struct {
        otimes_type type;
        int ndim;
        int64_t length[4], wish[4], chunk[4];
    } list[] = {
        /* Small ones whole; long ones in runs of whole rows; no thin rest at the end. */
        {OTIMES_F32, 2, {50257, 3}, {0}, {50257, 3}},
        {OTIMES_F32, 2, {50257, 20}, {0}, {12565, 20}},
        {OTIMES_F64, 1, {50257}, {0}, {50257}},
        {OTIMES_F64, 1, {200000}, {0}, {100000}},
        {OTIMES_F32, 2, {50257, 50257}, {0}, {5, 50257}},
        {OTIMES_F32, 2, {50257, 50257}, {256, 1024}, {256, 1024}},
        {OTIMES_F32, 2, {300, 50257}, {64, 4096}, {64, 4096}},
        {OTIMES_F32, 2, {300, 50257}, {64, 0}, {64, 3866}},
        {OTIMES_F32, 2, {10, 1000000}, {0}, {1, 250000}},
        {OTIMES_F16, 4, {12, 12, 1024, 1024}, {0}, {1, 1, 512, 1024}},
        {OTIMES_TEXT, 1, {100000}, {0}, {50000}},
        {OTIMES_I64, 1, {5}, {100}, {5}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        const otimes_array array =
            array_of(list[i].type, list[i].ndim, list[i].length, list[i].wish);
        int64_t chunk[OTIMES_MAX_DIMS];
        layout_chunk(&array, chunk);
        for (int k = 0; k < list[i].ndim; k++) {
            if (chunk[k] != list[i].chunk[k]) {
                fail_msg("case %d, axis %d: expected %d, got %d", (int)i, k, (int)list[i].chunk[k],
                         (int)chunk[k]);
            }
        }
    }
}

static void bytes(void **state)
{
    (void)state;
    otimes_array array = array_of(OTIMES_F32, 2, (int64_t[]){50257, 50257}, (int64_t[]){256, 1024});
    assert_int_equal(layout_entry_bytes(&array), 50257LL * 50257 * 4);
    assert_in_range(layout_bytes(&array), 50257LL * 50257 * 4, 50257LL * 50257 * 4 * 103 / 100);
    array = array_of(OTIMES_F64, 2, (int64_t[]){0, 7}, NULL);
    assert_int_equal(layout_bytes(&array), 0);
    array = array_of(OTIMES_F32, 0, NULL, NULL);
    assert_int_equal(layout_bytes(&array), 4);
    array = array_of(OTIMES_F64, 3, (int64_t[]){1LL << 40, 1LL << 40, 3}, NULL);
    assert_int_equal(layout_entry_bytes(&array), INT64_MAX);
    assert_int_equal(layout_bytes(&array), INT64_MAX);
}

static void refused(void **state)
{
    otimes_err err = {0};
    const space_need small = {1000, 1000}, large = {INT64_MAX, INT64_MAX}, plain = {INT64_MAX, 0};
    (void)state;
    write_file("x.tmp", "", 0);
    assert_ok(space_check(in_folder("x"), &small, &err), &err);
    assert_int_equal(space_check(in_folder("x"), &large, &err), OTIMES_ERR_IO);
    assert_non_null(strstr(err.msg, "x: disk space: expected up to 18.4 EB (result 9.2 EB, journal "
                                    "9.2 EB), got "));
    assert_non_null(strstr(err.msg, " free; --no-space-check starts all the same, --no-resume "));
    assert_int_equal(space_check(in_folder("x"), &plain, &err), OTIMES_ERR_IO);
    assert_non_null(strstr(err.msg, "x: disk space: expected up to 9.2 EB, got "));
    assert_null(strstr(err.msg, "journal"));
    /* Where nothing can be asked nothing is refused. */
    assert_ok(space_check(in_folder("absent/x"), &large, &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks),
        cmocka_unit_test(bytes),
        cmocka_unit_test_teardown(refused, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
