/* SPDX-License-Identifier: MIT */
#include "resuming.h"

#include <string.h>

#include "journal.h"

static uint64_t mix(uint64_t sum, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i++) {
        sum = (sum ^ at[i]) * UINT64_C(1099511628211); /* FNV-1a */
    }
    return sum;
}

static int get_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    (void)sink, (void)attr, (void)err;
    return 0;
}

static int get_array(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    received *r = sink->state;
    (void)err;
    assert_in_range(r->arrays, 0, 63);
    r->size[r->arrays] = otimes_type_size(array->type);
    r->ndim[r->arrays] = array->ndim;
    *id = r->arrays++;
    return 0;
}

static int get_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                     const void *data, otimes_err *err)
{
    received *r = sink->state;
    size_t bytes = r->size[id];
    (void)err;
    for (int i = 0; i < r->ndim[id]; i++) {
        bytes *= (size_t)count[i];
    }
    uint64_t sum = mix(UINT64_C(14695981039346656037), &id, sizeof id);
    sum = mix(sum, start, (size_t)r->ndim[id] * sizeof *start);
    sum = mix(sum, count, (size_t)r->ndim[id] * sizeof *count);
    assert_in_range(r->blocks, 0, MOST_BLOCKS - 1);
    r->sum[r->blocks++] = mix(sum, data, bytes);
    return 0;
}

static int get_end(otimes_sink *sink, otimes_err *err)
{
    (void)err;
    ((received *)sink->state)->finished = 1;
    return 0;
}

static const otimes_sink_ops target_ops = {
    .attribute = get_attribute, .declare = get_array, .write = get_block, .finish = get_end};

/* ---- between the analysis and the journal ---- */

typedef struct stopping {
    otimes_sink *journal;
    int stop_at; /* blocks; 0: never */
    int blocks;  /* that the analysis wrote */
} stopping;

static otimes_sink *behind(otimes_sink *sink)
{
    return ((stopping *)sink->state)->journal;
}

static int pass_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    return behind(sink)->ops->attribute(behind(sink), attr, err);
}

static int pass_array(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    return behind(sink)->ops->declare(behind(sink), array, id, err);
}

static int pass_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                      const void *data, otimes_err *err)
{
    stopping *s = sink->state;
    const int rc = behind(sink)->ops->write(behind(sink), id, start, count, data, err);
    s->blocks++;
    return rc == 0 && s->blocks == s->stop_at ? OTIMES_ERR_CANCELLED : rc;
}

static int pass_question(otimes_sink *sink, int id, const int64_t *start, const int64_t *count)
{
    return behind(sink)->ops->has(behind(sink), id, start, count);
}

static int pass_end(otimes_sink *sink, otimes_err *err)
{
    return behind(sink)->ops->finish(behind(sink), err);
}

static const otimes_sink_ops front_ops = {.attribute = pass_attribute,
                                          .declare = pass_array,
                                          .write = pass_block,
                                          .has = pass_question,
                                          .finish = pass_end};

int run_until(const resumable *analysis, int resume, int stop_at, received *got)
{
    otimes_err err = {0};
    otimes_sink target = {&target_ops, got}, journal = {NULL, NULL};
    stopping s = {&journal, stop_at, 0};
    otimes_sink front = {&front_ops, &s};
    memset(got, 0, sizeof *got);
    assert_ok(journal_open(&journal, &target, in_folder("x.h5"), "version 1\n", resume, &err),
              &err);
    const int rc = analysis->run(analysis->context, &front, &err);
    if (stop_at > 0) {
        assert_int_equal(rc, OTIMES_ERR_CANCELLED);
    } else {
        assert_ok(rc, &err);
    }
    assert_int_equal(got->finished, stop_at == 0);
    journal_close(&journal);
    return s.blocks;
}

int stop_anywhere(const resumable *analysis, int *blocks)
{
    received whole, now;
    *blocks = run_until(analysis, 0, 0, &whole);
    int last = *blocks;
    assert_int_equal(whole.blocks, *blocks);
    for (int at = 1; at < *blocks; at++) {
        run_until(analysis, 0, at, &now);
        const int rest = run_until(analysis, 1, 0, &now);
        assert_int_equal(now.blocks, whole.blocks);
        assert_memory_equal(now.sum, whole.sum, (size_t)*blocks * sizeof *whole.sum);
        assert_in_range(rest, 1, last);
        last = rest;
    }
    return last;
}
