/* SPDX-License-Identifier: MIT
 *
 * Result files of two runs that have one name: none is ever written by both.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "outfile.h"

static char *path; /* of the result */

static void put(const outfile *file, const char *text)
{
    FILE *to = fopen(outfile_name(file), "w");
    assert_non_null(to);
    fputs(text, to);
    fclose(to);
}

static void assert_holds(const char *name, const char *text)
{
    char got[64] = "";
    FILE *from = fopen(name, "r");
    assert_non_null(from);
    got[fread(got, 1, sizeof got - 1, from)] = '\0';
    fclose(from);
    assert_string_equal(got, text);
}

static int has_tmp(void)
{
    struct stat about;
    return !lstat(in_folder("x.tmp"), &about);
}

static void the_second_is_refused(void **state)
{
    (void)state;
    otimes_err err = {0};
    outfile first, second;
    assert_ok(outfile_begin(&first, path, 0, &err), &err);
    assert_int_equal(outfile_begin(&second, path, 0, &err), OTIMES_ERR_IO);
    assert_non_null(strstr(err.msg, "x.tmp: another run is writing this output"));
    outfile_end(&second);
    assert_true(has_tmp());
    put(&first, "first");
    assert_ok(outfile_commit(&first, &err), &err);
    outfile_end(&first);
    assert_holds(path, "first");
    assert_false(has_tmp());
}

/* As on a file system without locks, or while HDF5 has its own. */
static void without_a_lock_the_second_wins(void **state)
{
    (void)state;
    otimes_err err = {0};
    outfile first, second;
    assert_ok(outfile_begin(&first, path, 0, &err), &err);
    put(&first, "first");
    outfile_unlock(&first);
    assert_ok(outfile_begin(&second, path, 0, &err), &err);
    put(&second, "second");
    assert_int_equal(outfile_commit(&first, &err), OTIMES_ERR_IO);
    assert_non_null(strstr(err.msg, "another run"));
    outfile_end(&first);
    assert_true(access(path, F_OK));
    assert_holds(outfile_name(&second), "second");
    assert_ok(outfile_commit(&second, &err), &err);
    outfile_end(&second);
    assert_holds(path, "second");
    assert_false(has_tmp());
}

static void what_a_killed_run_left_is_replaced(void **state)
{
    (void)state;
    otimes_err err = {0};
    outfile file;
    write_file("x.tmp", "left", 4);
    assert_ok(outfile_begin(&file, path, 0, &err), &err);
    assert_holds(outfile_name(&file), "");
    outfile_end(&file);
    assert_false(has_tmp());
    write_file("other", "other", 5);
    assert_int_equal(symlink("other", in_folder("x.tmp")), 0);
    assert_ok(outfile_begin(&file, path, 0, &err), &err);
    put(&file, "result");
    assert_ok(outfile_commit(&file, &err), &err);
    outfile_end(&file);
    assert_holds(in_folder("other"), "other");
    assert_holds(path, "result");
}

static int make_path(void **state)
{
    const int failed = make_folder(state);
    path = failed ? NULL : strdup(in_folder("x"));
    return path ? 0 : -1;
}

static int drop_path(void **state)
{
    free(path);
    return remove_folder(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_second_is_refused, empty_folder),
        cmocka_unit_test_teardown(without_a_lock_the_second_wins, empty_folder),
        cmocka_unit_test_teardown(what_a_killed_run_left_is_replaced, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_path, drop_path);
}
