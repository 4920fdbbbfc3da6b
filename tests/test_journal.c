/* SPDX-License-Identifier: MIT
 *
 * A run over texts, killed at every point and resumed: the result is that of a run that was not,
 * byte for byte, and no text that was complete is computed twice.
 */
#include "forked.h"
#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sink.h"
#include "journal.h"
#include "journal_file.h"
#include "sink_h5.h"

enum { TEXTS = 5, HEADS = 3, LENGTH = 7 };

static const char identity[] = "version 1\ncommand otimes test\nmodel m: 3 bytes of 4.5\n";

/* A run: what differs about it, and what came of it. */
typedef struct run {
    int resume;
    int kill_at;          /* the process ends after this many blocks; 0: never */
    int fail_at;          /* the analysis fails there instead */
    int id;               /* of the first token */
    int heads;            /* 0: HEADS */
    const char *identity; /* NULL: that above */
    int computed;         /* texts */
    int blocks;           /* written */
    int keeps;
    int64_t texts;
} run;

static const otimes_axis text_axis = {.name = "text", .length = TEXTS},
                         position_axis = {.name = "position", .length = LENGTH};

static otimes_array array_of(const char *name, otimes_type type, int ndim, const otimes_axis *a,
                             const otimes_axis *b, const otimes_axis *c)
{
    return (otimes_array){.name = name,
                          .type = type,
                          .ndim = ndim,
                          .axis = {a, b, c},
                          .long_name = name,
                          .units = "1",
                          .formula = "none",
                          .orientation = "none"};
}

static int put(run *r, otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
               const void *data, otimes_err *err)
{
    const int rc = sink->ops->write(sink, id, start, count, data, err);
    r->blocks++;
    if (!rc && r->blocks == r->kill_at) {
        kill(getpid(), SIGKILL);
    }
    if (!rc && r->blocks == r->fail_at) {
        err->code = OTIMES_ERR_VALUE;
        return OTIMES_ERR_VALUE;
    }
    return rc;
}

/* One text: the array asked for is written last. Texts differ in length; one has none at all. */
static int one_text(run *r, otimes_sink *sink, const int *id, int64_t t, int64_t heads,
                    otimes_err *err)
{
    const int64_t length = (t * 3 + 2) % (LENGTH + 1);
    float value[HEADS * LENGTH + 1];
    char word[32];
    const char *text = word;
    if (otimes_sink_has(sink, id[2], (int64_t[]){t, 0, 0}, (int64_t[]){1, heads, length})) {
        return 0;
    }
    r->computed++;
    for (int i = 0; i < HEADS * LENGTH; i++) {
        value[i] = (float)(100 * t + i);
    }
    snprintf(word, sizeof word, "text %d", (int)t);
    word[t == 1 ? 0 : strlen(word)] = 0;
    int rc = put(r, sink, id[0], (int64_t[]){t, 0}, (int64_t[]){1, length}, value, err);
    if (!rc) {
        rc = put(r, sink, id[1], &t, (int64_t[]){1}, &text, err);
    }
    return rc ? rc
              : put(r, sink, id[2], (int64_t[]){t, 0, 0}, (int64_t[]){1, heads, length}, value,
                    err);
}

/* What an analysis does. */
static int analyse(run *r, otimes_sink *sink, otimes_err *err)
{
    otimes_axis head_axis;
    otimes_array array[5];
    const int64_t heads = r->heads ? r->heads : HEADS;
    int32_t token[TEXTS * LENGTH];
    const double total[HEADS] = {1, 2, 3};
    int id[5], rc = otimes_sink_text(sink, "schema", "test", err);
    head_axis = (otimes_axis){.name = "head", .length = heads};
    array[0] = array_of("log_prob", OTIMES_F32, 2, &text_axis, &position_axis, NULL);
    array[1] = array_of("word", OTIMES_TEXT, 1, &text_axis, NULL, NULL);
    array[2] = array_of("pattern", OTIMES_F32, 3, &text_axis, &head_axis, &position_axis);
    array[3] = array_of("token_id", OTIMES_I32, 2, &text_axis, &position_axis, NULL);
    for (int i = 0; i < 4 && !rc; i++) {
        rc = otimes_sink_declare(sink, &array[i], &id[i], err);
    }
    for (int i = 0; i < TEXTS * LENGTH; i++) {
        token[i] = i ? i : r->id;
    }
    memset(array, 0, sizeof array); /* sinks have copies */
    array[4] = array_of("total", OTIMES_F64, 1, &head_axis, NULL, NULL);
    if (!rc) {
        rc = put(r, sink, id[3], (int64_t[]){0, 0}, (int64_t[]){TEXTS, LENGTH}, token, err);
    }
    for (int64_t t = 0; t < TEXTS && !rc; t++) {
        rc = one_text(r, sink, id, t, heads, err);
    }
    if (!rc) { /* known when all is done */
        rc = otimes_sink_declare(sink, &array[4], &id[4], err);
    }
    if (!rc) {
        rc = put(r, sink, id[4], (int64_t[]){0}, &heads, total, err);
    }
    return rc ? rc : otimes_sink_i64(sink, "texts", TEXTS, err);
}

static int start(run *r, otimes_sink *target, otimes_sink *sink, const char *name, otimes_err *err)
{
    return journal_open(sink, target, in_folder(name), r->identity ? r->identity : identity,
                        r->resume, err);
}

/* ---- HDF5, killed ---- */

static int run_h5(run *r, const char *name, otimes_err *err)
{
    otimes_sink target = {NULL, NULL}, sink = {NULL, NULL};
    int rc = start(r, &target, &sink, name, err);
    if (!rc) {
        rc = sink_h5_open(&target, in_folder(name), err);
    }
    if (!rc) {
        rc = analyse(r, &sink, err);
    }
    if (!rc) {
        rc = otimes_sink_finish(&sink, err);
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

/* In a process of its own; texts computed, or -1 when it was killed. */
static int in_process(run r, const char *name)
{
    named n = {r, name};
    return forked(run_named, &n, &n.run.computed);
}

static char *bytes_of(const char *name, size_t *size)
{
    FILE *file = fopen(in_folder(name), "rb");
    assert_non_null(file);
    char *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    *size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void assert_same_file(const char *a, const char *b)
{
    size_t m, n;
    char *x = bytes_of(a, &m), *y = bytes_of(b, &n);
    assert_int_equal(m, n);
    assert_memory_equal(x, y, m);
    free(x);
    free(y);
}

static void assert_absent(const char *name)
{
    assert_int_equal(access(in_folder(name), F_OK), -1);
}

/* token_id, then three blocks a text, then the total. */
static int texts_of_blocks(int blocks)
{
    const int texts = (blocks - 1) / 3;
    return texts < TEXTS ? texts : TEXTS;
}

static void killed_anywhere(void **state)
{
    (void)state;
    assert_int_equal(in_process((run){0}, "whole.h5"), TEXTS);
    assert_absent("whole.h5.journal");
    sleep(1); /* nor does the time make a difference */
    for (int at = 1; at <= 3 * TEXTS + 2; at++) {
        assert_int_equal(in_process((run){.kill_at = at}, "x.h5"), -1);
        assert_absent("x.h5");
        assert_int_equal(in_process((run){.resume = 1}, "x.h5"), TEXTS - texts_of_blocks(at));
        assert_same_file("x.h5", "whole.h5");
        assert_absent("x.h5.journal");
        assert_absent("x.h5.tmp");
        unlink(in_folder("x.h5"));
    }
}

static void killed_again_and_again(void **state)
{
    (void)state;
    assert_int_equal(in_process((run){0}, "whole.h5"), TEXTS);
    for (int step = 4; step <= 6; step++) { /* the ids and a text at least */
        int killed = 0, computed;
        while ((computed = in_process((run){.resume = 1, .kill_at = step}, "x.h5")) < 0) {
            killed++;
            assert_in_range(killed, 1, 3 * TEXTS + 2);
        }
        assert_in_range(killed, 1, 3 * TEXTS + 2);
        assert_same_file("x.h5", "whole.h5");
        unlink(in_folder("x.h5"));
    }
}

/* Without --resume a run begins anew. */
static void not_asked_for(void **state)
{
    (void)state;
    assert_int_equal(in_process((run){0}, "whole.h5"), TEXTS);
    assert_int_equal(in_process((run){.kill_at = 9, .id = 1}, "x.h5"), -1);
    assert_int_equal(in_process((run){0}, "x.h5"), TEXTS);
    assert_same_file("x.h5", "whole.h5");
    assert_int_equal(in_process((run){.resume = 1}, "x.h5"), TEXTS); /* nothing interrupted */
    assert_same_file("x.h5", "whole.h5");
}

/* ---- in memory ---- */

static const char *const names[] = {"log_prob", "word", "pattern", "token_id", "total"};

static void assert_same_arrays(const otimes_memory_sink *a, const otimes_memory_sink *b)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const void *x = NULL, *y = NULL;
        const otimes_array *of = otimes_memory_sink_array(a, names[i], &x);
        assert_non_null(of);
        assert_non_null(otimes_memory_sink_array(b, names[i], &y));
        int64_t n = 1;
        for (int k = 0; k < of->ndim; k++) {
            n *= of->axis[k]->length;
        }
        if (of->type != OTIMES_TEXT) {
            assert_memory_equal(x, y, (size_t)n * otimes_type_size(of->type));
            continue;
        }
        for (int64_t k = 0; k < n; k++) {
            assert_string_equal(((const char *const *)x)[k], ((const char *const *)y)[k]);
        }
    }
}

/* Into *memory, of which the caller frees what is there. */
static int run_memory(run *r, const char *name, otimes_memory_sink **memory, otimes_err *err)
{
    otimes_sink sink = {NULL, NULL};
    assert_ok(otimes_memory_sink_new(memory, err), err);
    int rc = start(r, otimes_memory_sink_sink(*memory), &sink, name, err);
    if (!rc) {
        rc = analyse(r, &sink, err);
    }
    if (!rc) {
        rc = otimes_sink_finish(&sink, err);
    }
    r->keeps = journal_keeps(&sink, &r->texts);
    journal_close(&sink);
    return rc;
}

static void expect_failure(run r, int code, const char *part)
{
    otimes_memory_sink *memory = NULL;
    otimes_err err = {0};
    assert_int_equal(run_memory(&r, "x.h5", &memory, &err), code);
    if (!strstr(err.msg, part)) {
        fail_msg("expected '%s' in: %s", part, err.msg);
    }
    otimes_memory_sink_free(&memory);
}

/* A run that failed after some blocks: what its journal holds. */
static char *interrupted(int blocks, size_t *size)
{
    expect_failure((run){.fail_at = blocks}, OTIMES_ERR_VALUE, "");
    return bytes_of("x.h5.journal", size);
}

static void kept_or_not(void **state)
{
    (void)state;
    for (int at = 1; at <= 3 * TEXTS + 2; at++) {
        otimes_memory_sink *memory = NULL;
        otimes_err err = {0};
        run r = {.fail_at = at};
        assert_int_equal(run_memory(&r, "x.h5", &memory, &err), OTIMES_ERR_VALUE);
        otimes_memory_sink_free(&memory);
        assert_int_equal(r.texts, texts_of_blocks(at));
        assert_int_equal(r.keeps, r.texts > 0);
        assert_int_equal(!access(in_folder("x.h5.journal"), F_OK), r.keeps);
        unlink(in_folder("x.h5.journal"));
    }
}

/* What does not fit is refused in a line, and stays to be resumed by what does. */
static void refused(void **state)
{
    (void)state;
    size_t size, now_size;
    char *before = interrupted(8, &size);
    expect_failure((run){.resume = 1, .identity = "version 1\ncommand otimes other\nmodel m\n"},
                   OTIMES_ERR_ARGUMENT,
                   "x.h5.journal: expected 'command otimes test' as in the interrupted run, got "
                   "'command otimes other'");
    expect_failure((run){.resume = 1, .identity = "version 1\n"}, OTIMES_ERR_ARGUMENT,
                   "expected 'command otimes test' as in the interrupted run, got ''");
    expect_failure((run){.resume = 1, .heads = 2}, OTIMES_ERR_ARGUMENT,
                   "expected the array 'pattern 0 text=5 head=3 position=7' as in the interrupted "
                   "run, got 'pattern 0 text=5 head=2 position=7'");
    expect_failure((run){.resume = 1, .id = 9}, OTIMES_ERR_ARGUMENT,
                   "expected the token_id of the interrupted run, got others");
    const int other = open(in_folder("x.h5.journal"), O_RDWR);
    assert_int_equal(flock(other, LOCK_EX), 0);
    expect_failure((run){.resume = 1}, OTIMES_ERR_IO, "another run is writing this output");
    expect_failure((run){0}, OTIMES_ERR_IO, "another run is writing this output");
    close(other);
    char *now = bytes_of("x.h5.journal", &now_size);
    assert_int_equal(size, now_size);
    assert_memory_equal(before, now, size);
    free(now);
    free(before);
    /* Not to be written over, with --resume or without. */
    write_file("x.h5.journal", "my own journal", 14);
    expect_failure((run){.resume = 1}, OTIMES_ERR_IO, "got another file");
    expect_failure((run){0}, OTIMES_ERR_IO, "got another file");
    now = bytes_of("x.h5.journal", &now_size);
    assert_int_equal(now_size, 14);
    free(now);
}

static void write_journal(const char *bytes, size_t size)
{
    write_file("x.h5.journal", bytes, size);
}

/* A journal may end anywhere, and hold anything: the result is right, or there is none. */
static void cut_and_damaged(void **state)
{
    (void)state;
    size_t size;
    otimes_memory_sink *whole = NULL;
    otimes_err err = {0};
    run plain = {0};
    assert_ok(run_memory(&plain, "whole.h5", &whole, &err), &err);
    char *bytes = interrupted(3 * TEXTS + 2, &size);
    int refusals = 0, dropped = 0;
    for (size_t i = 0; i < 2 * size; i++) {
        otimes_memory_sink *memory = NULL;
        run r = {.resume = 1};
        if (i < size) { /* cut */
            write_journal(bytes, i);
        } else {
            bytes[i - size] ^= 0x10;
            write_journal(bytes, size);
            bytes[i - size] ^= 0x10;
        }
        const int rc = run_memory(&r, "x.h5", &memory, &err);
        assert_true(rc == 0 || i >= size); /* what is cut never fails */
        if (rc) {
            refusals++;
            assert_non_null(strstr(err.msg, "x.h5.journal: "));
        } else {
            assert_same_arrays(memory, whole);
            dropped += r.computed > 0;
        }
        otimes_memory_sink_free(&memory);
    }
    assert_in_range(refusals, 1, 200); /* the preamble and the identity */
    assert_in_range(dropped, size, 2 * size);
    otimes_memory_sink_free(&whole);
    free(bytes);
}

/* The place behind the record that begins at `at`. */
static size_t behind(const char *bytes, size_t at)
{
    journal_record r;
    memcpy(&r, bytes + at, sizeof r);
    return at + sizeof r + (size_t)r.bytes;
}

/* A record that is whole in itself but not where it was written: taken out, or there twice. */
static void out_of_order(void **state)
{
    (void)state;
    size_t size;
    otimes_memory_sink *whole = NULL;
    otimes_err err = {0};
    run plain = {0};
    assert_ok(run_memory(&plain, "whole.h5", &whole, &err), &err);
    char *bytes = interrupted(3 * TEXTS + 2, &size), *changed = malloc(2 * size);
    assert_non_null(changed);
    int records = 0;
    for (size_t at = 32 + strlen(identity), next; at < size; at = next, records++) {
        next = behind(bytes, at);
        for (int twice = 0; twice < 2; twice++) {
            otimes_memory_sink *memory = NULL;
            run r = {.resume = 1};
            const size_t from = twice ? at : next, kept = twice ? next : at;
            memcpy(changed, bytes, kept);
            memcpy(changed + kept, bytes + from, size - from);
            write_journal(changed, kept + size - from);
            assert_ok(run_memory(&r, "x.h5", &memory, &err), &err);
            assert_same_arrays(memory, whole);
            otimes_memory_sink_free(&memory);
        }
    }
    assert_int_equal(records, 3 * TEXTS + 2 + 5); /* blocks, and the arrays they are of */
    otimes_memory_sink_free(&whole);
    free(changed);
    free(bytes);
}

/* Several blocks may make up one that is asked for, and one may hold many that are. */
static void parts_and_batches(void **state)
{
    (void)state;
    const otimes_array table = array_of("table", OTIMES_I64, 2, &text_axis, &position_axis, NULL);
    const otimes_array other = array_of("other", OTIMES_I64, 2, &position_axis, &text_axis, NULL);
    static const struct {
        int64_t start[2], count[2];
    } written[] = {{{0, 0}, {1, 3}}, {{0, 3}, {1, 2}}, {{1, 0}, {3, 4}}, {{4, 0}, {1, 0}}};
    static const struct {
        int64_t start[2], count[2];
        int there;
    } asked[] = {{{0, 0}, {1, 5}, 1}, {{0, 1}, {1, 3}, 1}, {{0, 0}, {1, 6}, 0}, {{2, 0}, {1, 4}, 1},
                 {{3, 1}, {1, 2}, 1}, {{3, 0}, {1, 5}, 0}, {{0, 0}, {4, 3}, 1}, {{0, 0}, {4, 4}, 1},
                 {{0, 0}, {5, 1}, 0}, {{4, 0}, {1, 1}, 0}, {{4, 0}, {1, 0}, 1}, {{3, 0}, {1, 0}, 0},
                 {{0, 0}, {6, 1}, 0}, {{-1, 0}, {1, 1}, 0}};
    const int64_t data[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    for (int resume = 0; resume < 2; resume++) {
        otimes_memory_sink *memory = NULL;
        otimes_sink sink = {NULL, NULL};
        otimes_err err = {0};
        run r = {.resume = resume};
        int id, other_id;
        assert_ok(otimes_memory_sink_new(&memory, &err), &err);
        assert_ok(start(&r, otimes_memory_sink_sink(memory), &sink, "x.h5", &err), &err);
        assert_ok(otimes_sink_declare(&sink, &other, &other_id, &err), &err);
        assert_ok(otimes_sink_declare(&sink, &table, &id, &err), &err);
        for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
            const int there = otimes_sink_has(&sink, id, asked[i].start, asked[i].count);
            assert_int_equal(there, resume && asked[i].there);
        }
        /* Nor need texts be the first axis, of which alone it is told how far the run came. */
        for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
            const int there = otimes_sink_has(&sink, other_id, written[i].start, written[i].count);
            assert_int_equal(there, resume);
        }
        assert_false(otimes_sink_has(&sink, other_id, (int64_t[]){5, 0}, (int64_t[]){1, 1}));
        for (size_t i = 0; i < sizeof written / sizeof *written && !resume; i++) {
            assert_ok(sink.ops->write(&sink, id, written[i].start, written[i].count, data, &err),
                      &err);
            assert_ok(
                sink.ops->write(&sink, other_id, written[i].start, written[i].count, data, &err),
                &err);
        }
        /* A block outside of its array is the target's to refuse, and not kept. */
        assert_int_equal(
            sink.ops->write(&sink, id, (int64_t[]){4, 6}, (int64_t[]){1, 2}, data, &err),
            OTIMES_ERR_ARGUMENT);
        r.keeps = journal_keeps(&sink, &r.texts);
        assert_true(r.keeps);
        assert_int_equal(r.texts, 0);
        journal_close(&sink);
        otimes_memory_sink_free(&memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(killed_anywhere, empty_folder),
        cmocka_unit_test_teardown(killed_again_and_again, empty_folder),
        cmocka_unit_test_teardown(not_asked_for, empty_folder),
        cmocka_unit_test_teardown(kept_or_not, empty_folder),
        cmocka_unit_test_teardown(refused, empty_folder),
        cmocka_unit_test_teardown(cut_and_damaged, empty_folder),
        cmocka_unit_test_teardown(out_of_order, empty_folder),
        cmocka_unit_test_teardown(parts_and_batches, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
