/* SPDX-License-Identifier: MIT */
#include "decomposed.h"

#include <stdlib.h>
#include <string.h>

void begin(fixture *f, const char *name, bool processed)
{
    golden_open(&f->g, name, processed);
    f->info = otimes_model_describe(f->g.model);
    f->longest = 0;
    for (int s = 0; s < TEXTS; s++) {
        const int64_t wanted = s ? 4 : 6, most = f->info->n_ctx;
        f->length[s] = most > 0 && most < wanted ? most : wanted;
        f->longest = f->length[s] > f->longest ? f->length[s] : f->longest;
        f->id[s] = calloc((size_t)wanted, sizeof *f->id[s]);
        for (int64_t i = 0; i < wanted; i++) {
            f->id[s][i] = (5 * i + 3 * s + 1) % f->info->d_vocab;
        }
    }
    f->target[0] = 1;
    f->against[0] = f->info->d_vocab_out - 1;
    f->target[1] = 2 % f->info->d_vocab_out;
    f->against[1] = -1;
    otimes_decompose_settings_default(&f->settings);
    f->settings.sequences = (otimes_sequences){TEXTS, f->length, (const int64_t *const *)f->id};
    f->settings.target = f->target;
    f->settings.against = f->against;
    f->settings.target_count = TARGETS;
}

void end(fixture *f)
{
    for (int s = 0; s < TEXTS; s++) {
        free(f->id[s]);
    }
    golden_close(&f->g);
}

otimes_memory_sink *decompose(const fixture *f)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    const int rc =
        otimes_decompose(f->g.model, &f->settings, otimes_memory_sink_sink(memory), &err);
    if (rc != OTIMES_OK) {
        fail_msg("%s: error %d: %s", f->g.name, rc, err.msg);
    }
    return memory;
}

values get(const otimes_memory_sink *memory, const char *name)
{
    const void *data;
    values v = {0};
    v.x = sink_values(memory, name, &v.count);
    assert_non_null(v.x);
    v.array = otimes_memory_sink_array(memory, name, &data);
    v.last = v.array->axis[v.array->ndim - 1]->length;
    return v;
}

void each_golden(void (*check)(const char *name, bool processed))
{
    for (int i = 0; golden_names[i]; i++) {
        if (golden_left_out(i)) {
            continue;
        }
        check(golden_names[i], false);
        check(golden_names[i], true);
    }
}

bool in_text(const fixture *f, int64_t where)
{
    return where % f->longest < f->length[where / f->longest];
}

int64_t component_named(const values *part, const char *label)
{
    for (int64_t c = 0; c < part->last; c++) {
        if (!strcmp(part->array->axis[3]->text[c], label)) {
            return c;
        }
    }
    return -1;
}
