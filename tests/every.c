/* SPDX-License-Identifier: MIT */
#include "every.h"

#include <otimes/ablate.h>
#include <otimes/activations.h>
#include <otimes/bigram.h>
#include <otimes/circuit.h>
#include <otimes/compare.h>
#include <otimes/compose.h>
#include <otimes/convert.h>
#include <otimes/decompose.h>
#include <otimes/diff.h>
#include <otimes/heads.h>
#include <otimes/info.h>
#include <otimes/logits.h>
#include <otimes/neurons.h>
#include <otimes/orders.h>
#include <otimes/paths.h>
#include <otimes/patterns.h>
#include <otimes/qk.h>
#include <otimes/roles.h>
#include <otimes/trigrams.h>
#include <otimes/virtual.h>

/* ---- two texts ---- */

enum { LONGEST = 9 };

typedef struct texts {
    int64_t ids[LONGEST], length[2];
    const int64_t *id[2];
    otimes_sequences both; /* the second is the first without its first token, and shorter by two */
} texts;

static void make_texts(texts *t, const otimes_model *model)
{
    static const int64_t ids[LONGEST] = {3, 1, 4, 1, 5, 9, 2, 6, 5};
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t room = info->n_ctx > 0 && info->n_ctx < LONGEST ? info->n_ctx : LONGEST;
    for (int i = 0; i < LONGEST; i++) {
        t->ids[i] = ids[i] % info->d_vocab;
    }
    t->length[0] = room;
    t->length[1] = room > 3 ? room - 2 : 1;
    t->id[0] = t->ids;
    t->id[1] = t->ids + (room > 3);
    t->both = (otimes_sequences){2, t->length, t->id};
}

/* ---- analyses with settings ---- */

#define RUN(name, ...)                                                                   \
    static int run_##name(const otimes_model *model, otimes_sink *sink, otimes_err *err) \
    {                                                                                    \
        otimes_##name##_settings s;                                                      \
        otimes_##name##_settings_default(&s);                                            \
        __VA_ARGS__                                                                      \
        return otimes_##name(model, &s, sink, err);                                      \
    }

#define RUN_TEXTS(name, ...)                                                             \
    static int run_##name(const otimes_model *model, otimes_sink *sink, otimes_err *err) \
    {                                                                                    \
        otimes_##name##_settings s;                                                      \
        texts t;                                                                         \
        make_texts(&t, model);                                                           \
        otimes_##name##_settings_default(&s);                                            \
        s.sequences = t.both;                                                            \
        __VA_ARGS__                                                                      \
        return otimes_##name(model, &s, sink, err);                                      \
    }

RUN_TEXTS(ablate, )
RUN_TEXTS(activations, s.names = "*";)
RUN(bigram, )
RUN(circuit, )
RUN(compose, )
RUN(convert, )
RUN_TEXTS(decompose, s.predicted = 1; s.parts = OTIMES_DECOMPOSE_ALL; s.lens = 1;)
RUN(heads, s.top = 2;)
RUN(info, )
RUN_TEXTS(logits, )
RUN(neurons, )
RUN_TEXTS(orders, )
RUN_TEXTS(paths, s.whose = OTIMES_PATHS_NEXT; s.top = 20;)
RUN_TEXTS(patterns, s.repeated = 2; s.repeated_count = 2;)
RUN(qk, s.entries = 2;)
RUN_TEXTS(roles, s.repeated = 2; s.repeated_count = 2;)
RUN(trigrams, )
RUN(virtual, s.top = 3; s.length = 3;)

/* ---- and those that are asked otherwise ---- */

static int run_rows(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    otimes_bigram_settings s;
    texts t;
    make_texts(&t, model);
    otimes_bigram_settings_default(&s);
    s.row_count = 1;
    s.rows = t.ids;
    return otimes_bigram(model, &s, sink, err);
}

static int compare_with_itself(const otimes_model *model, const otimes_compare_settings *settings,
                               otimes_sink *sink, otimes_err *err)
{
    const otimes_model *const models[] = {model, model};
    return otimes_compare(models, 2, settings, sink, err);
}

static int run_compare(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    otimes_compare_settings s;
    otimes_compare_settings_default(&s);
    return compare_with_itself(model, &s, sink, err);
}

static int run_compare_vocab(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    otimes_compare_settings s;
    otimes_compare_settings_default(&s);
    s.space = OTIMES_COMPARE_VOCAB;
    return compare_with_itself(model, &s, sink, err);
}

/* What its heads are, found twice. */
static int run_diff(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    otimes_memory_sink *a = NULL, *b = NULL;
    otimes_reader first, second;
    otimes_diff_settings s;
    int equal = 0;
    otimes_diff_settings_default(&s);
    int rc = otimes_memory_sink_new(&a, err);
    if (rc == OTIMES_OK) {
        rc = otimes_memory_sink_new(&b, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_heads(model, otimes_memory_sink_sink(a), err);
    }
    if (rc == OTIMES_OK) {
        rc = run_heads(model, otimes_memory_sink_sink(b), err);
    }
    if (rc == OTIMES_OK) {
        otimes_memory_sink_reader(a, "a", &first);
        otimes_memory_sink_reader(b, "b", &second);
        rc = otimes_diff(&first, &second, &s, sink, &equal, err);
    }
    otimes_memory_sink_free(&b);
    otimes_memory_sink_free(&a);
    return rc;
}

static int run_generate(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    otimes_logits_settings s;
    texts t;
    make_texts(&t, model);
    t.length[0] = t.length[1] = 1; /* room for what is added */
    otimes_logits_settings_default(&s);
    s.sequences = t.both;
    s.generate.count = 2;
    s.generate.temperature = 1;
    s.generate.seed = 7;
    return otimes_logits(model, &s, sink, err);
}

static int run_mlp_paths(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    otimes_paths_settings s;
    texts t;
    make_texts(&t, model);
    otimes_paths_settings_default(&s);
    s.sequences = t.both;
    s.whose = OTIMES_PATHS_NEXT;
    s.top = 5;
    s.budget = 40;
    s.mlp = 1;
    return otimes_paths(model, &s, sink, err);
}

const every every_analysis[] = {
    {"ablate", run_ablate},
    {"activations", run_activations},
    {"bigram", run_bigram},
    {"bigram, rows", run_rows},
    {"circuit", run_circuit},
    {"compare", run_compare},
    {"compare, vocabulary", run_compare_vocab},
    {"compose", run_compose},
    {"convert", run_convert},
    {"decompose", run_decompose},
    {"diff", run_diff},
    {"heads", run_heads},
    {"info", run_info},
    {"logits", run_logits},
    {"logits, continued", run_generate},
    {"neurons", run_neurons},
    {"orders", run_orders},
    {"paths", run_paths},
    {"paths, MLPs", run_mlp_paths},
    {"patterns", run_patterns},
    {"qk", run_qk},
    {"roles", run_roles},
    {"trigrams", run_trigrams},
    {"virtual", run_virtual},
    {NULL, NULL},
};
