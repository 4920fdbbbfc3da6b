/* SPDX-License-Identifier: MIT */
#include "base/sink.h"

size_t otimes_type_size(otimes_type type)
{
    switch (type) {
    case OTIMES_F32:
        return sizeof(float);
    case OTIMES_F16:
        return sizeof(uint16_t);
    case OTIMES_F64:
        return sizeof(double);
    case OTIMES_I32:
        return sizeof(int32_t);
    case OTIMES_I64:
        return sizeof(int64_t);
    case OTIMES_TEXT:
        return sizeof(char *);
    }
    return 0; /* unreached: all cases return */
}

int otimes_sink_text(otimes_sink *sink, const char *name, const char *text, otimes_err *err)
{
    const otimes_attr attr = {.name = name, .kind = OTIMES_ATTR_TEXT, .text = text};
    return sink->ops->attribute(sink, &attr, err);
}

int otimes_sink_i64(otimes_sink *sink, const char *name, int64_t value, otimes_err *err)
{
    const otimes_attr attr = {.name = name, .kind = OTIMES_ATTR_I64, .i64 = value};
    return sink->ops->attribute(sink, &attr, err);
}

int otimes_sink_f64(otimes_sink *sink, const char *name, double value, otimes_err *err)
{
    const otimes_attr attr = {.name = name, .kind = OTIMES_ATTR_F64, .f64 = value};
    return sink->ops->attribute(sink, &attr, err);
}

int otimes_sink_axis(otimes_sink *sink, const otimes_axis *axis, otimes_err *err)
{
    return sink->ops->axis ? sink->ops->axis(sink, axis, err) : OTIMES_OK;
}

int otimes_sink_declare(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    if (!array->long_name || !array->units || !array->formula || !array->orientation) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "%s: expected long_name, units, formula and orientation", array->name);
    }
    for (int i = 0; i < array->ndim; i++) {
        if (!array->axis[i] || array->axis[i]->length < 0) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: axis %d has no length", array->name,
                               i);
        }
    }
    return sink->ops->declare(sink, array, id, err);
}

int otimes_sink_slab(otimes_sink *sink, const otimes_array *array, int id, int64_t first,
                     int64_t count, const void *data, otimes_err *err)
{
    int64_t start[OTIMES_MAX_DIMS] = {first}, extent[OTIMES_MAX_DIMS] = {count};
    for (int i = 1; i < array->ndim; i++) {
        extent[i] = array->axis[i]->length;
    }
    return sink->ops->write(sink, id, start, extent, data, err);
}

int otimes_sink_whole(otimes_sink *sink, const otimes_array *array, const void *data,
                      otimes_err *err)
{
    int id;
    otimes_array whole = *array;
    whole.units = whole.units ? whole.units : "1";
    const int rc = otimes_sink_declare(sink, &whole, &id, err);
    return rc == OTIMES_OK ? otimes_sink_slab(sink, &whole, id, 0, whole.axis[0]->length, data, err)
                           : rc;
}

bool otimes_sink_has(otimes_sink *sink, int id, const int64_t *start, const int64_t *count)
{
    return sink->ops->has && sink->ops->has(sink, id, start, count);
}

int otimes_sink_progress(otimes_sink *sink, double done, double total, otimes_err *err)
{
    done = done < total ? done : total; /* a sum of shares may be rounded up */
    if (sink->ops->progress && sink->ops->progress(sink, done, total) != 0) {
        return otimes_fail(err, OTIMES_ERR_CANCELLED, "cancelled at %.0f %%",
                           total > 0 ? 100 * done / total : 0);
    }
    return OTIMES_OK;
}

int otimes_pulse_say(otimes_pulse *pulse, double done, otimes_err *err)
{
    pulse->done = done > pulse->done ? done : pulse->done;
    pulse->each = 0;
    return pulse->sink ? otimes_sink_progress(pulse->sink, pulse->done, pulse->total, err)
                       : OTIMES_OK;
}

void otimes_pulse_part(otimes_pulse *pulse, double until, double beats)
{
    pulse->until = until;
    pulse->each = until > pulse->done ? (until - pulse->done) / (beats > 1 ? beats : 1) : 0;
}

int otimes_pulse_beat(otimes_pulse *pulse, otimes_err *err)
{
    if (!pulse || !pulse->sink) {
        return OTIMES_OK;
    }
    if (pulse->each > 0) {
        const double done = pulse->done + pulse->each;
        pulse->done = done < pulse->until ? done : pulse->until;
    }
    return otimes_sink_progress(pulse->sink, pulse->done, pulse->total, err);
}

int otimes_sink_finish(otimes_sink *sink, otimes_err *err)
{
    return sink->ops->finish(sink, err);
}
