/* SPDX-License-Identifier: MIT
 *
 * The sink through which Python gets results: a memory sink that also tells of axes and progress, and
 * stops when Python says so. Python is called seldom, however small the steps of an analysis are.
 */
#ifndef BINDING_H
#define BINDING_H

#include <otimes/sink.h>

#include <time.h>

typedef struct otimes_py_sink {
    otimes_sink sink;  /* first: what an analysis is given is this */
    void *self;        /* cffi's handle of the Python object */
    volatile int stop; /* set by any thread: the analysis ends at its next word */
    int wanted;        /* Python wants to hear of progress */
    otimes_sink_ops ops, memory;
    double next; /* when it is told again */
} otimes_py_sink;

static int otimes_py_axis(otimes_sink *sink, const otimes_axis *axis, otimes_err *err);
static int otimes_py_progress(otimes_sink *sink, double done, double total);

static double otimes_py_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int otimes_py_step(otimes_sink *sink, double done, double total)
{
    otimes_py_sink *self = (otimes_py_sink *)(void *)sink;
    if (self->wanted && !self->stop) {
        const double now = otimes_py_now();
        if (now >= self->next || done >= total) {
            self->next = now + 0.05;
            if (otimes_py_progress(sink, done, total)) {
                self->stop = 1;
            }
        }
    }
    return self->stop;
}

/* An analysis that has no word about progress for long can be stopped here too. */
static int otimes_py_write(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                           const void *data, otimes_err *err)
{
    otimes_py_sink *self = (otimes_py_sink *)(void *)sink;
    if (self->stop) {
        if (err) {
            err->code = OTIMES_ERR_CANCELLED;
            err->msg[0] = '\0';
        }
        return OTIMES_ERR_CANCELLED;
    }
    return self->memory.write(sink, id, start, count, data, err);
}

static void otimes_py_sink_begin(otimes_py_sink *sink, otimes_memory_sink *memory, void *self)
{
    const otimes_sink *inner = otimes_memory_sink_sink(memory);
    sink->memory = sink->ops = *inner->ops;
    sink->ops.axis = otimes_py_axis;
    sink->ops.progress = otimes_py_step;
    sink->ops.write = otimes_py_write;
    sink->sink.ops = &sink->ops;
    sink->sink.state = inner->state; /* what the memory sink's functions look at */
    sink->self = self;
    sink->next = otimes_py_now() + 0.05;
    sink->stop = sink->wanted = 0;
}

#endif
