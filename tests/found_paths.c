/* SPDX-License-Identifier: MIT */
#include "found_paths.h"

#include <math.h>
#include <stdlib.h>

values get(const fixture *f, const char *name)
{
    const void *data;
    values v = {0};
    v.x = sink_values(f->memory, name, &v.count);
    v.array = otimes_memory_sink_array(f->memory, name, &data);
    if (!v.x) {
        fail_msg("%s: no array %s", f->name, name);
    }
    return v;
}

const char *text_at(const fixture *f, const char *name, int64_t at)
{
    const void *data;
    assert_non_null(otimes_memory_sink_array(f->memory, name, &data));
    return ((const char *const *)data)[at];
}

void set_up(fixture *f, const char *name, const otimes_model *model)
{
    const int64_t length = TOKENS;
    f->name = name;
    f->model = model;
    f->info = otimes_model_describe(model);
    batch_random(&f->batch, model, &length, 1, 5);
    f->n = f->batch.length[0];
    otimes_paths_settings_default(&f->settings);
    f->settings.sequences = f->batch.sequences;
    f->settings.whose = OTIMES_PATHS_GIVEN;
    f->settings.target = 1;
    f->settings.top = 0;
    f->settings.carriers = TOKENS;
    f->settings.edges = 7;
}

int run(fixture *f, otimes_err *err)
{
    otimes_memory_sink_free(&f->memory);
    assert_ok(otimes_memory_sink_new(&f->memory, err), err);
    return otimes_paths(f->model, &f->settings, otimes_memory_sink_sink(f->memory), err);
}

bool is_near(const fixture *f, const char *what, double got, double expected, double size)
{
    const bool near = fabs(got - expected) <= 1e-5 * size;
    if (!near) {
        print_error("%s: %s: %.9g, expected %.9g\n", f->name, what, got, expected);
    }
    return near;
}

void open_bundled(fixture *f)
{
    otimes_err err = {0};
    otimes_model *model;
    assert_ok(otimes_model_open(&model, source_path("notebooks-data/induction-2l"), NULL, &err),
              &err);
    set_up(f, "induction-2l", model);
}

void close_model(fixture *f)
{
    otimes_model *model = (otimes_model *)f->model;
    otimes_memory_sink_free(&f->memory);
    otimes_model_close(&model);
}
