/* SPDX-License-Identifier: MIT
 *
 * The sink through which Python gets results: a memory sink that also tells of axes and progress, and
 * stops when Python says so. Python is called seldom, however small the steps of an analysis are.
 * And what keeps a process alive whose checkpoint is written over while it is open.
 */
#ifndef BINDING_H
#define BINDING_H

#include <otimes/model.h>
#include <otimes/sink.h>

#include <signal.h>
#include <string.h>
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

/* Models that are open, for the handler; one beyond these is not looked after. */
#define OTIMES_PY_MODELS 1024
static const otimes_model *otimes_py_models[OTIMES_PY_MODELS];
static struct sigaction otimes_py_before;

/* A fault of others is theirs: the read happens again, under the handler that was there before. */
static void otimes_py_read_failed(int signal_number, siginfo_t *about, void *context)
{
    (void)context;
    for (int i = 0; i < OTIMES_PY_MODELS; i++) {
        const otimes_model *model = __atomic_load_n(&otimes_py_models[i], __ATOMIC_ACQUIRE);
        if (model && otimes_model_mend(model, about->si_addr)) {
            return;
        }
    }
    sigaction(signal_number, &otimes_py_before, NULL);
}

static void otimes_py_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = otimes_py_read_failed;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &action, &otimes_py_before);
}

static void otimes_py_watch(const otimes_model *model)
{
    for (int i = 0; i < OTIMES_PY_MODELS; i++) {
        const otimes_model *none = NULL;
        if (__atomic_compare_exchange_n(&otimes_py_models[i], &none, model, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            return;
        }
    }
}

static void otimes_py_forget(const otimes_model *model)
{
    for (int i = 0; i < OTIMES_PY_MODELS; i++) {
        const otimes_model *own = model;
        if (__atomic_compare_exchange_n(&otimes_py_models[i], &own, NULL, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            return;
        }
    }
}

#endif
