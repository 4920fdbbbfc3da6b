/* SPDX-License-Identifier: MIT
 *
 * Large arrays that are kept once: where their entries lie, and runs killed at every block, whose file
 * is in the end that of a run that was not, whatever became of what they had left.
 */
#include "forked.h"
#include "support.h"

#include <hdf5.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sink.h"
#include "journal.h"
#include "layout.h"
#include "partfile.h"
#include "sink_h5.h"

/* ---- places ---- */

static uint64_t random_state = 5;

/* 0 .. below-1 */
static int64_t draw(int64_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((random_state >> 33) % (uint64_t)below);
}

enum { BASE = 100, ENTRIES_MAX = 4 * 7 * 30 * 30, FILE_MAX = BASE + 64 * ENTRIES_MAX };

typedef struct shape {
    otimes_axis axis[OTIMES_MAX_DIMS];
    otimes_array array;
    int64_t chunk[OTIMES_MAX_DIMS];
} shape;

static void draw_shape(shape *s)
{
    static const int64_t most[] = {4, 7, 30, 30};
    *s = (shape){.array = {.name = "x", .type = OTIMES_I32, .ndim = 1 + (int)draw(4)}};
    const int skip = 4 - s->array.ndim;
    for (int i = 0; i < s->array.ndim; i++) {
        s->axis[i] = (otimes_axis){.name = "axis", .length = 1 + draw(most[skip + i])};
        s->array.axis[i] = &s->axis[i];
        s->array.chunk[i] = 1 + draw(s->axis[i].length);
    }
    layout_chunk(&s->array, s->chunk);
}

/* Where HDF5 has an entry whose chunks lie one behind the other, and the entry's number. */
static int64_t place(const shape *s, const int64_t *index, int64_t *number)
{
    int64_t chunk = 0, within = 0, size = 1;
    *number = 0;
    for (int i = 0; i < s->array.ndim; i++) {
        const int64_t across = (s->axis[i].length + s->chunk[i] - 1) / s->chunk[i];
        chunk = chunk * across + index[i] / s->chunk[i];
        within = within * s->chunk[i] + index[i] % s->chunk[i];
        size *= s->chunk[i];
        *number = *number * s->axis[i].length + index[i];
    }
    return BASE + 4 * (chunk * size + within);
}

static bool next_index(const shape *s, const int64_t *start, const int64_t *count, int64_t *index)
{
    for (int i = s->array.ndim - 1; i >= 0; i--) {
        if (++index[i] < start[i] + count[i]) {
            return true;
        }
        index[i] = start[i];
    }
    return false;
}

/* Cuts the array into blocks along every axis, in a grid of `step`, and writes or reads each. */
static void all_blocks(const shape *s, partfile *part, const int64_t *step, bool write)
{
    int32_t data[ENTRIES_MAX];
    otimes_err err = {0};
    int64_t start[OTIMES_MAX_DIMS] = {0};
    for (bool more = true; more;) {
        int64_t count[OTIMES_MAX_DIMS], index[OTIMES_MAX_DIMS], number, n = 0;
        for (int i = 0; i < s->array.ndim; i++) {
            const int64_t left = s->axis[i].length - start[i];
            count[i] = left < step[i] ? left : step[i];
            index[i] = start[i];
        }
        if (write) {
            do {
                place(s, index, &number);
                data[n++] = (int32_t)number + 1;
            } while (next_index(s, start, count, index));
            assert_ok(partfile_write(part, 0, start, count, data, &err), &err);
        } else {
            assert_true(partfile_read(part, 0, start, count, data));
            do {
                place(s, index, &number);
                assert_int_equal(data[n++], number + 1);
            } while (next_index(s, start, count, index));
        }
        more = false;
        for (int i = s->array.ndim - 1; i >= 0 && !more; i--) {
            start[i] += step[i];
            more = start[i] < s->axis[i].length;
            start[i] = more ? start[i] : 0;
        }
    }
}

static size_t read_file(const char *name, unsigned char *bytes, size_t most)
{
    FILE *file = fopen(in_folder(name), "rb");
    assert_non_null(file);
    const size_t size = fread(bytes, 1, most, file);
    fclose(file);
    return size;
}

/* Every entry at its place, zeros in chunks beyond the array, all else as in the other file. */
static void places(void **state)
{
    unsigned char *other = malloc(FILE_MAX), *got = malloc(FILE_MAX), *expected = malloc(FILE_MAX);
    (void)state;
    assert_true(other && got && expected);
    for (int round = 0; round < 300; round++) {
        shape s;
        partfile part;
        otimes_err err = {0};
        int64_t step[OTIMES_MAX_DIMS], index[OTIMES_MAX_DIMS] = {0}, number;
        const int64_t none[OTIMES_MAX_DIMS] = {0};
        int id;
        draw_shape(&s);
        const int64_t end = BASE + layout_bytes(&s.array), size = end + draw(50);
        memset(other, 0xee, FILE_MAX);
        memcpy(expected, other, FILE_MAX);
        memset(expected + BASE, 0, (size_t)(end - BASE));
        do {
            const int64_t at = place(&s, index, &number);
            const int32_t value = (int32_t)number + 1;
            assert_in_range(at, BASE, end - 4);
            memcpy(expected + at, &value, sizeof value);
        } while (next_index(
            &s, none,
            (int64_t[]){s.axis[0].length, s.axis[1].length, s.axis[2].length, s.axis[3].length},
            index));
        write_file("x.other", (const char *)other, (size_t)size);
        write_file("x.part", (const char *)other, FILE_MAX); /* of an earlier run */
        assert_ok(partfile_open(&part, in_folder("x"), &err), &err);
        assert_ok(partfile_add(&part, &s.array, BASE, &id, &err), &err);
        for (int pass = 0; pass < 2; pass++) {
            for (int i = 0; i < s.array.ndim; i++) {
                step[i] = 1 + draw(s.axis[i].length);
            }
            all_blocks(&s, &part, step, pass == 0);
        }
        assert_ok(partfile_complete(&part, in_folder("x.other"), &err), &err);
        partfile_close(&part, 1);
        assert_int_equal(read_file("x.part", got, FILE_MAX), size);
        assert_memory_equal(got, expected, (size_t)size);
    }
    free(other);
    free(got);
    free(expected);
}

/* ---- runs ---- */

enum { ROWS = 1030, COLUMNS = 1100, STEP = 103, WIDE = 550, BLOCKS = 2 * ROWS / STEP };

static const char identity[] = "version 1\ncommand otimes test\n";

static const otimes_axis row_axis = {.name = "row", .length = ROWS},
                         column_axis = {.name = "column", .length = COLUMNS};

typedef struct run {
    int resume, kill_at, fail_at;
    int left_out; /* a block that is not written */
    int small;    /* without the tables */
    int computed;
} run;

static int wrote(run *r)
{
    r->computed++;
    if (r->computed == r->kill_at) {
        kill(getpid(), SIGKILL);
    }
    return r->computed == r->fail_at ? OTIMES_ERR_VALUE : 0;
}

static int put_block(run *r, otimes_sink *sink, int id, int at, otimes_err *err)
{
    static float data[STEP * WIDE];
    const int64_t start[] = {(int64_t)(at / 2) * STEP, (int64_t)(at % 2) * WIDE};
    const int64_t count[] = {STEP, WIDE};
    if (otimes_sink_has(sink, id, start, count) || at + 1 == r->left_out) {
        return 0;
    }
    for (int i = 0; i < STEP * WIDE; i++) {
        data[i] = (float)((start[0] + i / WIDE) * COLUMNS + start[1] + i % WIDE);
    }
    const int rc = sink->ops->write(sink, id, start, count, data, err);
    return rc ? rc : wrote(r);
}

static int analyse(run *r, otimes_sink *sink, otimes_err *err)
{
    otimes_array table = {.name = "table",
                          .type = OTIMES_F32,
                          .ndim = 2,
                          .axis = {&row_axis, &column_axis},
                          .long_name = "x",
                          .units = "1",
                          .formula = "x",
                          .orientation = "x",
                          .chunk = {200, 256},
                          .whole = 1},
                 twice = table, sum = table;
    int ids[3], rc = otimes_sink_text(sink, "schema", "test", err);
    twice.name = "twice";
    sum.name = "sum";
    sum.ndim = 1;
    if (!rc && r->small) {
        const float value = 1;
        rc = otimes_sink_declare(sink, &sum, &ids[1], err);
        return rc ? rc
                  : sink->ops->write(sink, ids[1], (int64_t[]){0}, (int64_t[]){1}, &value, err);
    }
    rc = rc ? rc : otimes_sink_declare(sink, &table, &ids[0], err);
    rc = rc ? rc : otimes_sink_declare(sink, &sum, &ids[1], err);
    for (int at = 0; at < BLOCKS && !rc; at++) {
        float value = (float)at;
        rc = put_block(r, sink, ids[0], at, err);
        if (!rc && !otimes_sink_has(sink, ids[1], (int64_t[]){at}, (int64_t[]){1})) {
            rc = sink->ops->write(sink, ids[1], (int64_t[]){at}, (int64_t[]){1}, &value, err);
        }
    }
    /* One that comes when the first is there. */
    rc = rc ? rc : otimes_sink_declare(sink, &twice, &ids[2], err);
    for (int at = BLOCKS - 1; at >= 0 && !rc; at--) {
        rc = put_block(r, sink, ids[2], at, err);
    }
    return rc;
}

static int run_h5(run *r, const char *name, otimes_err *err)
{
    otimes_sink target = {NULL, NULL}, sink = {NULL, NULL};
    int64_t text;
    int rc = journal_open(&sink, &target, in_folder(name), identity, r->resume, err);
    if (!rc) {
        journal_keep_by(&sink, &sink_h5_keeper);
        rc = sink_h5_open(&target, in_folder(name), err);
    }
    if (!rc) {
        rc = analyse(r, &sink, err);
    }
    if (!rc) {
        rc = otimes_sink_finish(&sink, err);
    }
    if (journal_keeps(&sink, &text)) {
        sink_h5_keep_part(&target);
    }
    journal_close(&sink);
    sink_h5_close(&target);
    return rc;
}

typedef struct named {
    run run;
    const char *name;
} named;

static int run_named(void *context, otimes_err *err)
{
    named *n = context;
    return run_h5(&n->run, n->name, err);
}

/* Blocks computed, or -1 when it was killed. */
static int in_process(run r, const char *name)
{
    named n = {r, name};
    return forked(run_named, &n, &n.run.computed);
}

static void assert_absent(const char *name)
{
    assert_int_equal(access(in_folder(name), F_OK), -1);
}

static void assert_result(void)
{
    enum { MOST = 12 << 20 };
    unsigned char *a = malloc(MOST), *b = malloc(MOST);
    assert_true(a && b);
    const size_t size = read_file("whole.h5", a, MOST);
    assert_in_range(size, 2 * ROWS * COLUMNS * sizeof(float), MOST - 1);
    assert_int_equal(read_file("x.h5", b, MOST), size);
    assert_memory_equal(a, b, size);
    free(a);
    free(b);
    assert_absent("x.h5.part");
    assert_absent("x.h5.tmp");
    assert_absent("x.h5.journal");
    unlink(in_folder("x.h5"));
}

/* HDF5 itself finds every entry. */
static void read_by_hdf5(void **state)
{
    (void)state;
    float *got = malloc(sizeof(float) * ROWS * COLUMNS);
    assert_non_null(got);
    assert_int_equal(in_process((run){0}, "whole.h5"), 2 * BLOCKS);
    assert_absent("whole.h5.part");
    const hid_t file = H5Fopen(in_folder("whole.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    for (int i = 0; i < 2; i++) {
        const hid_t id = H5Dopen2(file, i ? "twice" : "table", H5P_DEFAULT);
        assert_true(H5Dread(id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, got) >= 0);
        for (int k = 0; k < ROWS * COLUMNS; k++) {
            if (got[k] != (float)k) {
                fail_msg("entry %d: %g", k, (double)got[k]);
            }
        }
        H5Dclose(id);
    }
    H5Fclose(file);
    free(got);
}

static int64_t size_of(const char *name)
{
    struct stat about;
    return stat(in_folder(name), &about) ? -1 : (int64_t)about.st_size;
}

static void killed_anywhere(void **state)
{
    (void)state;
    assert_int_equal(in_process((run){0}, "whole.h5"), 2 * BLOCKS);
    for (int at = 1; at <= 2 * BLOCKS; at += 6) {
        assert_int_equal(in_process((run){.kill_at = at}, "x.h5"), -1);
        assert_in_range(size_of("x.h5.journal"), 1, 20000); /* no entry of the tables */
        assert_int_equal(in_process((run){.resume = 1}, "x.h5"), 2 * BLOCKS - at);
        assert_result();
    }
    /* And again. */
    int killed = 0, computed;
    while ((computed = in_process((run){.resume = 1, .kill_at = 11}, "x.h5")) < 0) {
        killed++;
    }
    assert_int_equal(killed, 2 * BLOCKS / 11);
    assert_result();
    /* Or a run that begins anew beside what is left. */
    assert_int_equal(in_process((run){.kill_at = 5}, "x.h5"), -1);
    assert_int_equal(in_process((run){0}, "x.h5"), 2 * BLOCKS);
    assert_result();
    assert_int_equal(in_process((run){.kill_at = 5}, "x.h5"), -1);
    assert_in_range(size_of("x.h5.part"), 1, INT64_MAX);
    assert_int_equal(in_process((run){.small = 1}, "x.h5"), 0);
    assert_absent("x.h5.part");
    assert_absent("x.h5.journal");
}

/* What is not there as it was written is computed again, with all that came after it. */
static void damaged(void **state)
{
    (void)state;
    assert_int_equal(in_process((run){0}, "whole.h5"), 2 * BLOCKS);
    for (int kind = 0; kind < 4; kind++) {
        assert_int_equal(in_process((run){.kill_at = 30}, "x.h5"), -1);
        FILE *part = fopen(in_folder("x.h5.part"), "r+b");
        assert_non_null(part);
        int left = -1;
        switch (kind) {
        case 0: /* one byte in the middle of the first table */
            fseek(part, ROWS * COLUMNS * 2, SEEK_SET);
            const int byte = fgetc(part);
            fseek(part, -1, SEEK_CUR);
            fputc(byte ^ 1, part);
            break;
        case 1:
            assert_int_equal(ftruncate(fileno(part), 1000000), 0);
            break;
        case 2:
            assert_int_equal(ftruncate(fileno(part), 0), 0);
            left = 2 * BLOCKS;
            break;
        default:
            unlink(in_folder("x.h5.part"));
            left = 2 * BLOCKS;
        }
        fclose(part);
        const int computed = in_process((run){.resume = 1}, "x.h5");
        assert_in_range(computed, left < 0 ? 2 * BLOCKS - 29 : left, 2 * BLOCKS);
        assert_result();
    }
}

static void expect_failure(run r, int code, const char *part)
{
    otimes_err err = {0};
    assert_int_equal(run_h5(&r, "x.h5", &err), code);
    if (!strstr(err.msg, part)) {
        fail_msg("expected '%s' in: %s", part, err.msg);
    }
    assert_absent("x.h5");
    assert_absent("x.h5.tmp");
}

static void failed(void **state)
{
    (void)state;
    /* A promise that is not kept. */
    expect_failure((run){.left_out = 4}, OTIMES_ERR_VALUE,
                   "table: expected 1133000 entries, got 1076350");
    assert_int_not_equal(size_of("x.h5.part"), -1); /* to be resumed */
    expect_failure((run){.left_out = 4, .resume = 1}, OTIMES_ERR_VALUE, "got 1076350");
    expect_failure((run){.fail_at = 1}, OTIMES_ERR_VALUE, "");
    assert_in_range(size_of("x.h5.journal"), 1, 20000);
    assert_in_range(size_of("x.h5.part"), 1, 1 << 20); /* begun anew */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(places, empty_folder),
        cmocka_unit_test_teardown(read_by_hdf5, empty_folder),
        cmocka_unit_test_teardown(killed_anywhere, empty_folder),
        cmocka_unit_test_teardown(damaged, empty_folder),
        cmocka_unit_test_teardown(failed, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
