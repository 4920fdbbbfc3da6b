/* SPDX-License-Identifier: MIT */
#include "linearised.h"

#include <stdlib.h>
#include <string.h>

#include "run/forward.h"

static const char *const others[] = {"arena_sorted_list/sorted_list_model.pt",
                                     "grokking_induction/induction_head_infinite.tl.safetensors",
                                     "tracr_induction",
                                     "gpt_nano_sort",
                                     "tinystories656k",
                                     "stories260K/stories260K.bin",
                                     NULL};

void linearised_open(linearised *made, const char *name, otimes_model *model, otimes_mlp_role role,
                     int64_t length, bool early, const otimes_hooks *hooks)
{
    otimes_err err = {0};
    const otimes_forward_settings resident = {.resident = 1};
    made->name = name;
    made->model = model;
    made->info = otimes_model_describe(model);
    made->d = made->info->d_model;
    batch_random(&made->batch, model, &length, 1, 11);
    assert_ok(otimes_forward_open(&made->forward, model, &resident, &err), &err);
    const int rc = otimes_linear_init(&made->linear, otimes_forward_layers(made->forward),
                                      &made->batch.sequences, role, OTIMES_LINEAR_Z, hooks, &err);
    if (rc == OTIMES_ERR_UNSUPPORTED && made->info->clip_qkv > 0) {
        otimes_linear_free(&made->linear);
        return;
    }
    assert_ok(rc, &err);
    made->n = made->linear.n;
    made->q = early ? made->n / 2 : made->n - 1;
    made->target.direction = floats(made->d);
    assert_ok(otimes_linear_target_logit(&made->linear, made->q, 1 % made->info->d_vocab_out, -1,
                                         &made->target, &err),
              &err);
}

bool linearised_begin(linearised *made, int which, int64_t length, bool early,
                      otimes_hooks (*hooks)(void *context, const otimes_model *, int64_t n),
                      void *context)
{
    int goldens = 0;
    const otimes_mlp_role role = which & 1 ? OTIMES_MLP_AS_LINK : OTIMES_MLP_AS_SOURCE;
    otimes_err err = {0};
    memset(made, 0, sizeof *made);
    while (golden_names[goldens]) {
        goldens++;
    }
    const char *name;
    otimes_model *model = NULL;
    if (which < 4 * goldens) {
        name = golden_names[which / 4];
        golden_open(&made->g, name, which & 2);
        model = made->g.model;
    } else {
        const int nth = (which - 4 * goldens) / 2;
        const int count = (int)(sizeof others / sizeof *others) - 1;
        if (nth > count) {
            return false;
        }
        name = nth < count ? others[nth] : "induction-2l";
        const char *path =
            nth < count ? shared_path(name) : source_path("notebooks-data/induction-2l");
        if (!path) {
            return true;
        }
        assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    }
    const otimes_model_info *info = otimes_model_describe(model);
    const bool table = info->positions == OTIMES_POSITIONS_LEARNED ||
                       info->positions == OTIMES_POSITIONS_SHORTFORMER;
    const int64_t n = table && info->n_ctx < length ? info->n_ctx : length;
    const otimes_hooks own = hooks ? hooks(context, model, n) : (otimes_hooks){0};
    linearised_open(made, name, model, role, n, early, hooks ? &own : NULL);
    return true;
}

void linearised_end(linearised *made)
{
    free(made->target.direction);
    otimes_linear_free(&made->linear);
    otimes_forward_close(&made->forward);
    if (made->g.model) {
        golden_close(&made->g);
    } else {
        otimes_model_close(&made->model);
    }
    memset(made, 0, sizeof *made);
}

float *floats(int64_t count)
{
    float *rows = calloc((size_t)count + 1, sizeof *rows);
    assert_non_null(rows);
    return rows;
}

void add_floats(int64_t count, const float *x, float *y)
{
    for (int64_t i = 0; i < count; i++) {
        y[i] += x[i];
    }
}

void add_new_sources(const linearised *made, int64_t layer, bool mlp, float *stream)
{
    for (int64_t s = 0; s < made->linear.source_count; s++) {
        const otimes_linear_source *source = &made->linear.source[s];
        const bool before_mlp = source->layer >= 0 && source->mlp_layer == source->layer;
        if (before_mlp == mlp && source->layer == (mlp ? layer : layer - 1)) {
            add_floats(made->n * made->d, source->rows, stream);
        }
    }
}
