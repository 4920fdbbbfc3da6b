/* SPDX-License-Identifier: MIT
 *
 * Every analysis on every degenerate model: a result, or the error that is due. In a result nothing is
 * infinite but the score of a key that is not seen, what is not defined is where it may be, and ids are
 * ids. What the numbers are is in test_degenerate_values.c.
 */
#include "degenerate.h"
#include "degenerate_runs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/common.h>

#include "base/dtype.h"

#define B(change) ((uint64_t)1 << (change))

/* ---- what is refused ---- */

enum { LN_BASE = 1 << LAYER_NORM, BARE_BASE = 1 << BARE, EVERY_BASE = (1 << BASES) - 1 };

/* Whether a row of an embedding is read depends on the tokens that come. */
enum { EITHER = 1 };

typedef struct refusal {
    const char *runs; /* their names begin so */
    int bases;
    uint64_t changes;
    int code;
    const char *word; /* of the message */
} refusal;

#define W_O_READERS                                                                               \
    "ablate|activations|circuit|compare|compose|convert|decompose|generate|heads|logits|neurons|" \
    "orders|paths|patterns|qk|roles|trigrams|virtual"
#define W_E_READERS                                                                            \
    "ablate|activations|bigram|circuit|compose|convert|decompose|heads|logits|neurons|orders|" \
    "paths|"                                                                                   \
    "patterns|qk|roles|trigrams|virtual"

/* The first that fits is due. */
static const refusal refusals[] = {
    {"neurons", BARE_BASE, ~(uint64_t)0, OTIMES_ERR_UNSUPPORTED, "expected a model with MLPs"},
    {"neurons", EVERY_BASE, B(NO_MLP) | B(NO_LAYERS), OTIMES_ERR_UNSUPPORTED, "MLPs"},
    {"compose, components|qk|virtual", EVERY_BASE, B(NO_LAYERS) | B(ONE_LAYER),
     OTIMES_ERR_UNSUPPORTED, "expected at least 2 layers"},
    {"compose", EVERY_BASE, B(NO_LAYERS), OTIMES_ERR_UNSUPPORTED, "expected at least 1 layer,"},
    {"patterns|roles", EVERY_BASE, B(NO_LAYERS), OTIMES_ERR_UNSUPPORTED, "expected layers"},
    {"ablate", EVERY_BASE, B(NO_LAYERS), OTIMES_ERR_ARGUMENT, "got none"},
    {"circuit kcomp", EVERY_BASE, B(NO_LAYERS) | B(ONE_LAYER), OTIMES_ERR_ARGUMENT,
     "earlier head: expected"},
    {"generate", LN_BASE | BARE_BASE, B(ONE_POSITION), OTIMES_ERR_ARGUMENT, "n_ctx is 1"},
    {"generate", EVERY_BASE, B(OTHER_OUTPUT), OTIMES_ERR_UNSUPPORTED, "output tokens"},
    {"decompose, one token", EVERY_BASE, B(OTHER_OUTPUT), OTIMES_OK, ""}, /* of the predicted one */
    {"ablate|decompose|orders", EVERY_BASE, B(OTHER_OUTPUT), OTIMES_ERR_UNSUPPORTED,
     "one vocabulary"},
    {W_O_READERS, EVERY_BASE, B(NAN_WEIGHT), OTIMES_ERR_VALUE,
     "blocks.1.attn.W_O: expected finite numbers, got nan"},
    {W_O_READERS, EVERY_BASE, B(INFINITE_WEIGHT), OTIMES_ERR_VALUE,
     "blocks.1.attn.W_O: expected finite numbers, got -inf"},
    {"compose, components", EVERY_BASE, B(NAN_EMBEDDING), OTIMES_OK, ""},
    {"ablate, one token|decompose, one token|generate|logits, one token", EVERY_BASE,
     B(NAN_EMBEDDING), EITHER, ""},
    {W_E_READERS, EVERY_BASE, B(NAN_EMBEDDING), OTIMES_ERR_VALUE,
     "embed.W_E: expected finite numbers, got nan"},
};

/* Whether a '|'-separated list has a name that `text` begins with. */
static bool begins_with(const char *list, const char *text)
{
    while (*list) {
        const size_t n = strcspn(list, "|");
        if (strncmp(list, text, n) == 0) {
            return true;
        }
        list += n + (list[n] == '|');
    }
    return false;
}

static const refusal *refusal_of(const char *run, degenerate_base base, degenerate_change change)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const refusal *r = &refusals[i];
        if (r->bases >> base & 1 && r->changes >> change & 1 && begins_with(r->runs, run)) {
            return r;
        }
    }
    return NULL;
}

/* ---- what may be undefined ---- */

/* Norms, and with them float32 itself, are too small for weights of 1e-40 behind a norm's weight of
 * 1e-40: canonical weights are 0. In one dimension LayerNorm leaves nothing. */
#define GONE (B(ZERO_ALL) | B(DENORMAL_WEIGHTS) | B(SMALLEST_BF16) | B(ONE_DIMENSION))
#define NO_OV (GONE | B(ZERO_HEAD) | B(ZERO_V))
#define NO_QK (GONE | B(ZERO_HEAD) | B(ZERO_Q))
#define NO_CIRCUIT (NO_OV | NO_QK)
/* Tokens that are all alike, or 0 where embeddings are centred. */
#define NO_EMBEDDING (GONE | B(CONSTANT_STREAM) | B(ONE_TOKEN))
#define ALIKE (NO_EMBEDDING | B(EQUAL_TOKENS))
#define ALWAYS (~(uint64_t)0)
#define RAW ((uint64_t)1 << 63) /* weights as they are in the file, whatever the model */

typedef struct undefined {
    const char *run, *arrays; /* '|'-separated, whole names or their beginnings before a '*' */
    uint64_t changes;
} undefined;

static const undefined may_be[] = {
    /* pairs that do not stand in that order; ends that are 0 */
    {"compose", "*score|*excess|*z|component_score_*", ALWAYS},
    {"compose", "component_share_ov", NO_OV},
    {"compose", "component_share_qk", NO_QK},
    {"virtual", "pair_*", ALWAYS},
    {"neurons", "in_score|gate_score|q_score|k_score|v_score|b_in|b_gate", ALWAYS},
    {"paths", "carrier_value|head_edge|source_edge|mlp_*", ALWAYS},
    /* no token follows */
    {"logits", "next_log_prob|loss", ALWAYS},
    {"decompose", "attribution*|target_*|logit_lens|component_*|source*|neuron*|lens_*", ALWAYS},
    {"ablate, one token", "loss*|head_loss_change", ALWAYS},
    {"ablate", "loss*|head_loss_change", B(ONE_POSITION)},
    {"orders", "*", B(ONE_POSITION)},
    /* no query, no such key */
    {"patterns", "induction|pattern|top_weight", ALWAYS},
    {"patterns", "previous_token|duplicate_token|first_token|entropy_share", B(ONE_POSITION)},
    {"qk", "previous_token",
     B(ONE_POSITION) | RAW}, /* with a norm's weights apart it is not told */
    {"roles", "previous_token|induction", B(ONE_POSITION) | RAW},
    {"roles", "same_token", NO_QK | ALIKE | RAW},
    {"roles", "repeated_*", B(ONE_POSITION)},
    {"roles", "threshold", ALWAYS},
    /* 0 / 0 */
    {"heads", "OV_copying", NO_OV},
    {"heads", "QK_positivity", NO_QK},
    {"heads", "full_OV_copying", NO_OV | NO_EMBEDDING},
    {"heads", "full_QK_positivity", NO_QK | NO_EMBEDDING},
    {"virtual", "copying|ratio|score", NO_OV},
    {"virtual", "full_copying", NO_OV | NO_EMBEDDING},
    {"qk", "K_copying|full_copying|K_ratio|score", NO_CIRCUIT | NO_EMBEDDING},
    {"qk", "OV_copying", NO_OV | NO_EMBEDDING | B(OTHER_OUTPUT)},
    {"qk", "diagonal_excess", NO_CIRCUIT | ALIKE},
    {"roles", "OV_copying", RAW | NO_OV | NO_EMBEDDING | B(OTHER_OUTPUT)},
    {"roles", "highest_*|lowest_*|induction", B(OTHER_OUTPUT) | RAW},
    {"neurons", "*_skew|*_kurtosis", ALIKE},
    {"neurons", "cos_*", GONE},
    {"paths", "path_share|path_running_share", ALIKE},
    {"paths", "path_value|path_running|path_left", ALIKE}, /* a bias of the target that is 0 */
    {"paths, MLPs", "path_*", NO_CIRCUIT | ALIKE},         /* fewer paths than are asked for */
    {"compare", "*", NO_CIRCUIT | B(WIDE_HEADS) | B(NO_LAYERS)},
    {"compare", "*_previous|*_norm_ratio|k_composition",
     ALWAYS}, /* of the first model, of one layer */
    {"compare", "neighbor_similarity", B(ONE_HEAD) | B(ONE_LAYER)},
    /* behind the end of a list or a row */
    {"trigrams", "*score|*effect|*strength", NO_CIRCUIT | ALIKE | B(NO_LAYERS) | B(SMALLEST_F16)},
    {"circuit ov", "diagonal_value", B(OTHER_OUTPUT)},
    {"circuit|bigram", "*top_value|*bottom_value|top_log_prob", B(OTHER_OUTPUT) | B(ONE_TOKEN)},
    {"circuit ov", "largest_value|smallest_value", B(ONE_TOKEN)},
    {"bigram", "diagonal_value", B(OTHER_OUTPUT)},
    {"logits", "top_value|top_log_prob", B(OTHER_OUTPUT) | B(ONE_TOKEN)},
};

/* A pattern with a '*' at one end, or a whole name. */
static bool fits(const char *pattern, size_t length, const char *name)
{
    const size_t n = strlen(name);
    if (length > 0 && pattern[0] == '*') {
        return n >= length - 1 && strncmp(name + n - (length - 1), pattern + 1, length - 1) == 0;
    }
    if (length > 0 && pattern[length - 1] == '*') {
        return strncmp(pattern, name, length - 1) == 0;
    }
    return n == length && strncmp(pattern, name, n) == 0;
}

static bool is_listed(const char *list, const char *name)
{
    while (*list) {
        const size_t n = strcspn(list, "|");
        if (fits(list, n, name)) {
            return true;
        }
        list += n + (list[n] == '|');
    }
    return false;
}

static bool may_be_undefined(const char *run, uint64_t changes, const char *array)
{
    for (size_t i = 0; i < sizeof may_be / sizeof *may_be; i++) {
        if (may_be[i].changes & changes && begins_with(may_be[i].run, run) &&
            is_listed(may_be[i].arrays, array)) {
            return true;
        }
    }
    return false;
}

/* ---- a sink that looks at every number ---- */

enum { MOST_ARRAYS = 400 };

typedef struct seen {
    char name[64];
    otimes_type type;
    int ndim;
    int64_t ids; /* of what the integers are, how many there are; 0: no ids */
} seen;

typedef struct watch {
    otimes_sink sink;
    const char *run;
    degenerate_base base;
    degenerate_change change;
    bool processed;
    const otimes_model_info *info;
    seen array[MOST_ARRAYS];
    int count;
    int64_t numbers;
} watch;

static int take_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    (void)sink, (void)attr, (void)err;
    return 0;
}

static int take_array(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    watch *w = sink->state;
    (void)err;
    assert_true(w->count < MOST_ARRAYS && strlen(array->name) < sizeof w->array->name);
    seen *s = &w->array[w->count];
    *s = (seen){.type = array->type, .ndim = array->ndim};
    strcpy(s->name, array->name);
    if (array->labels_of && strcmp(array->labels_of, "token") == 0) {
        s->ids = w->info->d_vocab;
    } else if (array->labels_of && strcmp(array->labels_of, "output_token") == 0) {
        s->ids = w->info->d_vocab_out;
    }
    *id = w->count++;
    return 0;
}

static void check_real(const watch *w, const seen *s, double value)
{
    const bool score = strstr(s->name, "hook_attn_scores") != NULL;
    const char *model = degenerate_name(w->base, w->change);
    if (isinf(value) && !(score && value < 0)) {
        fail_msg("%s on %s: %s is infinite", w->run, model, s->name);
    }
    const uint64_t changes = B(w->change) | (w->processed ? 0 : RAW);
    if (isnan(value) && !may_be_undefined(w->run, changes, s->name)) {
        fail_msg("%s on %s: %s is not defined", w->run, model, s->name);
    }
}

static void check_index(const watch *w, const seen *s, int64_t value)
{
    if (s->ids > 0 && (value < -1 || value >= s->ids)) {
        fail_msg("%s on %s: %s: expected an id below %lld, got %lld", w->run,
                 degenerate_name(w->base, w->change), s->name, (long long)s->ids, (long long)value);
    }
}

static int take_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                      const void *data, otimes_err *err)
{
    watch *w = sink->state;
    const seen *s = &w->array[id];
    int64_t n = 1;
    (void)start, (void)err;
    for (int i = 0; i < s->ndim; i++) {
        n *= count[i];
    }
    w->numbers += n;
    for (int64_t i = 0; i < n; i++) {
        switch (s->type) {
        case OTIMES_F32:
            check_real(w, s, (double)((const float *)data)[i]);
            break;
        case OTIMES_F64:
            check_real(w, s, ((const double *)data)[i]);
            break;
        case OTIMES_I32:
            check_index(w, s, ((const int32_t *)data)[i]);
            break;
        case OTIMES_I64:
            check_index(w, s, ((const int64_t *)data)[i]);
            break;
        case OTIMES_F16:
        case OTIMES_TEXT:
            break;
        }
    }
    return 0;
}

static int take_end(otimes_sink *sink, otimes_err *err)
{
    (void)sink, (void)err;
    return 0;
}

static const otimes_sink_ops watching = {
    .attribute = take_attribute, .declare = take_array, .write = take_block, .finish = take_end};

/* ---- all of it ---- */

static void run_one(const degenerate_run *run, const otimes_model *model, degenerate_base base,
                    degenerate_change change, bool processed)
{
    static watch w;
    otimes_err err = {0};
    w = (watch){.sink = {&watching, &w},
                .run = run->name,
                .base = base,
                .change = change,
                .processed = processed,
                .info = otimes_model_describe(model)};
    const int rc = run->run(model, &w.sink, &err);
    const refusal *due = refusal_of(run->name, base, change);
    const int code = !due ? OTIMES_OK : due->code == EITHER ? rc : due->code;
    const char *name = degenerate_name(base, change);
    if (rc != code || (due && !strstr(err.msg, due->word))) {
        fail_msg("%s on %s: expected %d with \"%s\", got %d: %s", run->name, name, code,
                 due ? due->word : "", rc, err.msg);
    }
    assert_null(strchr(err.msg, '\n'));
    assert_true(rc != OTIMES_OK || w.numbers > 0 || change == NO_LAYERS);
}

/* Where products leave float32: test_degenerate_range.c. */
static bool leaves_float32(degenerate_change change)
{
    return change == HUGE_WEIGHTS || change == LARGEST_WEIGHTS || change == LARGEST_BF16 ||
           change == LARGEST_F16;
}

static void run_base(degenerate_base base, bool processed)
{
    for (degenerate_change change = 0; change < CHANGES; change++) {
        if (!degenerate_exists(base, change) || leaves_float32(change)) {
            continue;
        }
        degenerate d;
        degenerate_open(&d, base, change, processed);
        for (const degenerate_run *run = degenerate_runs; run->name; run++) {
            run_one(run, d.model, base, change, processed);
        }
        degenerate_free(&d);
    }
}

static void layer_norm(void **state)
{
    (void)state;
    run_base(LAYER_NORM, true);
    run_base(LAYER_NORM, false);
}

static void rotary(void **state)
{
    (void)state;
    run_base(ROTARY, true);
    run_base(ROTARY, false);
}

static void bare(void **state)
{
    (void)state;
    run_base(BARE, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layer_norm),
        cmocka_unit_test(rotary),
        cmocka_unit_test(bare),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
