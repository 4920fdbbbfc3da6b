/* SPDX-License-Identifier: MIT
 *
 * Every score of `roles` against plain loops in double on every golden; heads that are known, and
 * heads that are built to copy and to suppress.
 */
#include "accuracy.h"
#include "edited.h"
#include "forwarding.h"
#include "plain_heads.h"
#include "plain_pass.h"
#include "seeded.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/qk.h>
#include <otimes/roles.h>

#include "run/rope.h"

static const double EPS = (double)FLT_EPSILON;

static otimes_memory_sink *run(const otimes_model *model, const otimes_roles_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_roles(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

static const void *array(const otimes_memory_sink *memory, const char *name)
{
    const void *data = NULL;
    if (!otimes_memory_sink_array(memory, name, &data)) {
        fail_msg("%s is not written", name);
    }
    return data;
}

static double value(const otimes_memory_sink *memory, const char *name, int64_t at)
{
    return ((const double *)array(memory, name))[at];
}

static bool told(const otimes_memory_sink *memory, const char *fact)
{
    return strncmp(otimes_memory_sink_attr(memory, fact)->text, "not told", 8) != 0;
}

static void *zeros(int64_t count)
{
    void *memory = calloc((size_t)count + 1, sizeof(double));
    assert_non_null(memory);
    return memory;
}

/* ---- scores by weights ---- */

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Share of ranks below `extreme` and their median lie between those of the bounds, which are as far
 * apart as rounding makes them. */
static void check_ranks(const otimes_memory_sink *memory, const char *end, int64_t at,
                        int64_t count, double extreme, double *least, double *most)
{
    char share[32], rank[32];
    double low = 0, high = 0;
    snprintf(share, sizeof share, "%s_share", end);
    snprintf(rank, sizeof rank, "%s_rank", end);
    for (int64_t i = 0; i < count; i++) {
        low += most[i] < extreme;
        high += least[i] < extreme;
    }
    qsort(least, (size_t)count, sizeof *least, by_size);
    qsort(most, (size_t)count, sizeof *most, by_size);
    const int64_t a = (count - 1) / 2, b = count / 2;
    const double got = value(memory, share, at), median = value(memory, rank, at);
    assert_true(fabs(got * (double)count - round(got * (double)count)) < 1e-9);
    accuracy_between(share, (int64_t)round(got * (double)count), (int64_t)low, (int64_t)high);
    accuracy_between(rank, (int64_t)(2 * median), (int64_t)(least[a] + least[b]),
                     (int64_t)(most[a] + most[b]));
}

static void check_suppression(const plain_head *p, const otimes_memory_sink *memory, int64_t at,
                              const double *E, const int64_t *ids, int64_t count)
{
    double *bound = zeros(4 * count);
    const double extreme = (double)otimes_memory_sink_attr(memory, "extreme_count")->i64;
    plain_ranks(p, E, ids, count, bound);
    check_ranks(memory, "lowest", at, count, extreme, bound, bound + count);
    check_ranks(memory, "highest", at, count, extreme, bound + 2 * count, bound + 3 * count);
    free(bound);
}

static void check_head(const plain_head *p, const otimes_layer *layer,
                       const otimes_memory_sink *memory, int64_t at, const double *E,
                       const int64_t *ids, int64_t count)
{
    bool reliable;
    if (told(memory, "previous_token_score")) {
        const bool turns = p->info->positions != OTIMES_POSITIONS_ROPE ||
                           otimes_layer_rope(p->model, p->layer) != NULL;
        accuracy("previous_token", "1", value(memory, "previous_token", at),
                 turns ? plain_previous(p, layer) : NAN, 1, 1e-13);
    }
    const double same = plain_same_token(p, &reliable);
    if (told(memory, "same_token_score") && reliable) {
        /* |W_E W_QK W_E^T| is that of roots, exact to eps |E|^2, which cancels; tied forms are float32
         * rounded after they are centred in double. */
        accuracy("same_token", "1 + its value", value(memory, "same_token", at), same,
                 1 + fabs(same), 16 * EPS);
    }
    if (told(memory, "copying_score")) {
        const double want = plain_copying(p), got = value(memory, "OV_copying", at);
        if (!(isnan(want) || isnan(got))) {
            accuracy("OV_copying", "1", got, want, 1, 16 * EPS);
        }
    }
    if (told(memory, "copy_suppression_score")) {
        check_suppression(p, memory, at, E, ids, count);
    }
}

/* The best pair of `qk`, which its own test holds against dense products. */
static void check_induction(const golden *g, const otimes_memory_sink *memory)
{
    const otimes_model_info *info = otimes_model_describe(g->model);
    const double least = value(memory, "threshold", OTIMES_ROLE_PREVIOUS * OTIMES_ROLE_SIDES);
    otimes_qk_settings settings;
    otimes_memory_sink *pairs;
    otimes_err err = {0};
    otimes_qk_settings_default(&settings);
    settings.top = settings.entries = 0;
    assert_ok(otimes_memory_sink_new(&pairs, &err), &err);
    assert_ok(otimes_qk(g->model, &settings, otimes_memory_sink_sink(pairs), &err), &err);
    const void *data;
    const int64_t count = otimes_memory_sink_array(pairs, "induction", &data)->axis[0]->length;
    const double *product = data, *previous = array(pairs, "previous_token");
    const int64_t *layer = array(pairs, "later_layer"), *head = array(pairs, "later_head");
    const int32_t *is = array(pairs, "is_induction"), *side = array(memory, "label_side");
    const int64_t *with = array(memory, "induction_layer");
    const int64_t *with_head = array(memory, "induction_head");
    for (int64_t at = 0; at < info->n_layers * info->n_heads; at++) {
        double best = 0;
        bool any = false, perhaps = false;
        for (int64_t i = 0; i < count; i++) {
            const bool mine = layer[i] * info->n_heads + head[i] == at && previous[i] >= least;
            best = mine && product[i] > best ? product[i] : best;
            any |= mine && is[i] == 1;
            perhaps |= mine && is[i] == -1;
        }
        assert_int_equal(side[(at * OTIMES_ROLES + OTIMES_ROLE_INDUCTION) * 2], any       ? 1
                                                                                : perhaps ? -1
                                                                                          : 0);
        accuracy("induction", "1", value(memory, "induction", at), best, 1, 1e-12);
        accuracy_exact("induction_layer", with[at] >= 0, best > 0);
        accuracy_exact("induction_head", with_head[at] >= 0, best > 0);
        if (best > 0) {
            assert_true(value(memory, "previous_token", with[at] * info->n_heads + with_head[at]) >=
                        least);
        }
    }
    otimes_memory_sink_free(&pairs);
}

/* ---- scores by attention ---- */

static void check_attention(const golden *g, const otimes_memory_sink *memory,
                            const otimes_sequences *batch, const char *kind, int64_t period)
{
    static const char *const names[] = {"previous_token", "current_token", "first_token",
                                        "duplicate_token", "induction"};
    const otimes_model_info *info = otimes_model_describe(g->model);
    const double close = 64 * EPS * plain_growth(g->model, batch, g->name);
    trace t;
    trace_init(&t, g->model, batch);
    free(plain_pass(&t, g->name));
    for (int64_t at = 0; at < info->n_layers * info->n_heads; at++) {
        double want[5];
        plain_attention(&t, at / info->n_heads, at % info->n_heads, period, want);
        for (int i = 0; i < 5; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s_%s", kind, names[i]);
            const double got = value(memory, name, at);
            accuracy(name, "1", got, want[i], 1, close);
        }
    }
    trace_free(&t);
}

/* ---- labels ---- */

static void check_labels(const otimes_memory_sink *memory)
{
    const void *data;
    const otimes_array *label = otimes_memory_sink_array(memory, "label", &data);
    const int32_t *is = data, *side = array(memory, "label_side");
    const int64_t heads = label->axis[0]->length * label->axis[1]->length;
    static const char *const by_weights[OTIMES_ROLES] = {[OTIMES_ROLE_PREVIOUS] = "previous_token",
                                                         [OTIMES_ROLE_SAME] = "same_token",
                                                         [OTIMES_ROLE_COPYING] = "OV_copying",
                                                         [OTIMES_ROLE_SUPPRESSION] =
                                                             "lowest_share"};
    static const char *const by_attention[OTIMES_ROLES] = {
        [OTIMES_ROLE_PREVIOUS] = "repeated_previous_token",
        [OTIMES_ROLE_INDUCTION] = "repeated_induction",
        [OTIMES_ROLE_DUPLICATE] = "repeated_duplicate_token",
        [OTIMES_ROLE_CURRENT] = "text_current_token",
        [OTIMES_ROLE_FIRST] = "text_first_token"};
    for (int64_t at = 0; at < heads * OTIMES_ROLES; at++) {
        const int64_t role = at % OTIMES_ROLES, head = at / OTIMES_ROLES;
        const char *const score[2] = {by_weights[role], by_attention[role]};
        for (int64_t s = 0; s < 2; s++) {
            const double least = value(memory, "threshold", role * 2 + s);
            const double got = score[s] ? value(memory, score[s], head) : NAN;
            const int want = isnan(got) ? -1 : got >= least;
            if (!(role == OTIMES_ROLE_INDUCTION && s == 0)) {
                accuracy_exact("label_side", side[at * 2 + s], want);
            }
        }
        const int32_t w = side[at * 2], a = side[at * 2 + 1];
        accuracy_exact("label", is[at], w == 0 || a == 0 ? 0 : w == 1 || a == 1 ? 1 : -1);
    }
}

/* Even attention over n tokens, of which a query sees all or those up to itself: mean of one weight of
 * queries first .. n-1. */
static double even(bool both_ways, int64_t first, int64_t n)
{
    double sum = 0;
    for (int64_t q = first; q < n; q++) {
        sum += 1 / (double)(both_ways ? n : q + 1) / (double)(n - first);
    }
    return sum;
}

/* Thresholds of the run below: repeated ones of 7 tokens, texts of 7 and 2. */
static void check_thresholds(const golden *g, const otimes_memory_sink *memory)
{
    const otimes_model_info *info = otimes_model_describe(g->model);
    const bool both = info->bidirectional;
    const int64_t n = otimes_memory_sink_attr(memory, "average_positions")->i64;
    const double want[][3] = {
        {OTIMES_ROLE_PREVIOUS, 0, fmax(0.2, n > 1 ? 2 * even(false, 1, n) : 0)},
        {OTIMES_ROLE_SAME, 0, fmax(1, 3 / sqrt((double)info->d_vocab))},
        {OTIMES_ROLE_COPYING, 0, 0.5},
        {OTIMES_ROLE_SUPPRESSION, 0,
         fmax(0.5,
              5 * fmax(1, floor(0.05 * (double)info->d_vocab_out)) / (double)info->d_vocab_out)},
        {OTIMES_ROLE_PREVIOUS, 1, fmax(0.3, 2 * even(both, 1, 7))},
        {OTIMES_ROLE_INDUCTION, 1, fmax(0.3, 2 * even(both, 4, 7))},
        {OTIMES_ROLE_DUPLICATE, 1, fmax(0.3, 2 * even(both, 4, 7))},
        {OTIMES_ROLE_CURRENT, 1, fmax(0.3, 2 * (7 * even(both, 0, 7) + 2 * even(both, 0, 2)) / 9)},
        {OTIMES_ROLE_FIRST, 1, fmax(0.5, 2 * (6 * even(both, 1, 7) + even(both, 1, 2)) / 7)}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        accuracy("threshold", "1",
                 value(memory, "threshold", (int64_t)(want[i][0] * 2 + want[i][1])), want[i][2], 1,
                 EPS);
    }
}

/* Whether the head has the label, by every side or by one. */
static int label_of(const otimes_memory_sink *memory, int64_t layer, int64_t head, otimes_role role)
{
    const void *data;
    const otimes_array *label = otimes_memory_sink_array(memory, "label", &data);
    return ((const int32_t *)data)[(layer * label->axis[1]->length + head) * OTIMES_ROLES + role];
}

/* ---- every golden ---- */

static void check_told(const char *name, const otimes_memory_sink *memory, int64_t heads,
                       bool rope_everywhere)
{
    static const struct {
        const char *score, *fact;
    } list[] = {
        {"same_token", "same_token_score"},
        {"induction", "induction_score"},
        {"lowest_share", "copy_suppression_score"},
        {"highest_share", "copy_suppression_score"},
        {"lowest_rank", "copy_suppression_score"},
        {"highest_rank", "copy_suppression_score"},
        {"OV_copying", "copying_score"},
        {"previous_token", "previous_token_score"},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        for (int64_t at = 0; at < heads; at++) {
            const double x = value(memory, list[i].score, at);
            const bool may_lack = i == 7 && !rope_everywhere;
            if (isinf(x) || isnan(x) != !told(memory, list[i].fact)) {
                if (!(may_lack && isnan(x))) {
                    fail_msg("%s: %s is %g, but the result says: %s", name, list[i].score, x,
                             otimes_memory_sink_attr(memory, list[i].fact)->text);
                }
            }
        }
    }
}

static void check_golden(const golden *g, bool processed)
{
    static const int64_t text[] = {3, 1, 2, 1, 2, 3, 1}, length[] = {7, 2};
    const int64_t *const id[] = {text, text};
    const otimes_model_info *info = otimes_model_describe(g->model);
    const int64_t heads = info->n_layers * info->n_heads;
    otimes_roles_settings settings;
    otimes_roles_settings_default(&settings);
    settings.repeated = 3;
    settings.repeated_count = 2;
    settings.bos = 4;
    settings.row_count = 0;
    settings.forward.chunk_rows = 9; /* a chunk is not a batch */
    settings.sequences = (otimes_sequences){2, length, id};
    otimes_memory_sink *memory = run(g->model, &settings);
    bool rope = true;
    for (int64_t l = 0; l < info->n_layers; l++) {
        rope &= info->positions != OTIMES_POSITIONS_ROPE || otimes_layer_rope(g->model, l) != NULL;
    }
    check_told(g->name, memory, heads, rope);
    check_labels(memory);
    check_thresholds(g, memory);
    if (processed) {
        const int64_t *again = array(memory, "repeated_id");
        const int64_t seven[] = {7, 7};
        const int64_t *const twice[] = {again, again + 7};
        check_attention(g, memory, &(otimes_sequences){2, seven, twice}, "repeated", 3);
        check_attention(g, memory, &settings.sequences, "text", 0);
    }
    if (told(memory, "induction_score") && info->n_layers > 1) {
        check_induction(g, memory);
    }
    plain_head p = plain_open(g->model);
    const bool suppression = told(memory, "copy_suppression_score");
    const int64_t rows = otimes_memory_sink_attr(memory, "source_rows")->i64;
    const int64_t *ids = suppression ? array(memory, "row_id") : NULL;
    double *E = suppression ? plain_effective(&p, g->name, ids, rows) : NULL;
    for (int64_t i = 0; ids && p.v == p.out && i < rows; i++) {
        accuracy_exact("row_id", (double)ids[i], (double)i);
    }
    for (int64_t l = 0; l < info->n_layers; l++) {
        otimes_layer layer;
        otimes_err err = {0};
        assert_ok(otimes_layer_load(g->model, l, OTIMES_PART_ATTENTION, &layer, &err), &err);
        for (int64_t h = 0; h < info->n_heads; h++) {
            plain_take(&p, &layer, h);
            check_head(&p, &layer, memory, l * info->n_heads + h,
                       E ? E + (l > 0) * rows * p.d : NULL, ids, rows);
        }
        otimes_layer_free(&layer);
    }
    free(E);
    plain_close(&p);
    otimes_memory_sink_free(&memory);
}

static void goldens(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            golden_open_on(1, &g, golden_names[i], processed);
            check_golden(&g, processed);
            golden_close(&g);
        }
    }
}

/* What cannot be told of whom. */
static void reasons(void **state)
{
    static const struct {
        const char *name, *fact, *why;
    } list[] = {
        {"bloom", "previous_token_score", "not told: positions are not in the weights"},
        {"bloom", "copying_score", "not told: a norm stands between W_E and the stream"},
        {"transformer_lens_bidirectional", "previous_token_score",
         "not told: attention looks both ways"},
        {"transformer_lens_bidirectional", "copying_score", "eigenvalues of W_E W_OV W_U"},
        {"gemma2", "same_token_score", "not told: scores are not the bilinear form alone"},
        {"gemma2", "copy_suppression_score", "not told: a norm stands between W_O and the stream"},
        {"qwen3", "induction_score", "not told: scores are not the bilinear form alone"},
        {"qwen3", "copy_suppression_score", "diagonal in rows of E W_OV W_U"},
        {"olmo_clip", "copying_score", "not told: values are clipped"},
    };
    otimes_roles_settings settings;
    (void)state;
    otimes_roles_settings_default(&settings);
    settings.repeated = 0;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        golden g;
        golden_open(&g, list[i].name, true);
        otimes_memory_sink *memory = run(g.model, &settings);
        assert_string_equal(otimes_memory_sink_attr(memory, list[i].fact)->text, list[i].why);
        otimes_memory_sink_free(&memory);
        golden_close(&g);
    }
}

/* ---- models that are larger than a tile, and chosen layers and heads ---- */

static void tiles(void **state)
{
    enum { ROWS = 70 }; /* more than a strip */
    static const int64_t layers[] = {1}, heads[] = {1, 3};
    int64_t rows[ROWS];
    otimes_roles_settings settings;
    otimes_layer layer;
    otimes_err err = {0};
    otimes_model *model = seeded_model(&seeded_llama, 2);
    (void)state;
    otimes_roles_settings_default(&settings);
    for (int64_t i = 0; i < ROWS; i++) {
        rows[i] = 42 * i;
    }
    settings.rows = rows;
    settings.row_count = ROWS;
    settings.layers = layers;
    settings.layer_count = 1;
    settings.heads = heads;
    settings.head_count = 2;
    settings.repeated = 5;
    otimes_memory_sink *memory = run(model, &settings);
    plain_head p = plain_open(model);
    double *E = plain_effective(&p, "llama", rows, ROWS);
    assert_ok(otimes_layer_load(model, 1, OTIMES_PART_ATTENTION, &layer, &err), &err);
    assert_int_equal(otimes_memory_sink_attr(memory, "extreme_count")->i64, SEEDED_VOCAB / 20);
    for (int h = 0; h < 2; h++) {
        plain_take(&p, &layer, heads[h]);
        check_suppression(&p, memory, h, E + ROWS * p.d, rows, ROWS);
    }
    otimes_layer_free(&layer);
    free(E);
    plain_close(&p);
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

/* Outputs that are inputs in another order, and some that are none; rows at even distances. */
static void other_vocabulary(void **state)
{
    static const int64_t rows[] = {4, 7, 11, 15};
    otimes_roles_settings settings;
    otimes_layer layer;
    otimes_err err = {0};
    (void)state;
    otimes_roles_settings_default(&settings);
    settings.row_count = 4;
    settings.repeated = 0;
    write_edited("transformer_lens_none",
                 "{\"outputs\": [\"A\", \"q\", \"p\", \"o\", \"n\", \"m\", \"l\", \"k\", \"j\", "
                 "\"i\", \"h\", \"B\", \"g\", \"f\", \"e\", \"r\", \"s\"]}",
                 NULL);
    otimes_model *model = opens();
    otimes_memory_sink *memory = run(model, &settings);
    plain_head p = plain_open(model);
    double *E = plain_effective(&p, "transformer_lens_none", rows, 4);
    assert_int_equal(otimes_memory_sink_attr(memory, "common_tokens")->i64, 15);
    assert_memory_equal(array(memory, "row_id"), rows, sizeof rows);
    assert_ok(otimes_layer_load(model, 1, OTIMES_PART_ATTENTION, &layer, &err), &err);
    for (int h = 0; h < 4; h++) {
        plain_take(&p, &layer, h);
        check_head(&p, &layer, memory, 4 + h, E + 4 * p.d, rows, 4);
    }
    otimes_layer_free(&layer);
    free(E);
    plain_close(&p);
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

/* ---- heads that are known ---- */

static void expect(const char *name, const otimes_memory_sink *memory, otimes_role role,
                   const char *wanted)
{
    const void *data;
    const otimes_array *label = otimes_memory_sink_array(memory, "label", &data);
    char got[256] = "";
    for (int64_t l = 0; l < label->axis[0]->length; l++) {
        for (int64_t h = 0; h < label->axis[1]->length; h++) {
            if (label_of(memory, l, h, role) == 1) {
                const size_t at = strlen(got);
                snprintf(got + at, sizeof got - at, "%s%d.%d", at ? " " : "", (int)l, (int)h);
            }
        }
    }
    if (strcmp(got, wanted) != 0) {
        fail_msg("%s: role %d: expected heads %s, got %s", name, (int)role, wanted, got);
    }
}

static otimes_memory_sink *run_path(const char *path, const otimes_roles_settings *settings)
{
    otimes_model *model;
    otimes_err err = {0};
    assert_ok(otimes_model_open(&model, path, NULL, &err), &err);
    otimes_memory_sink *memory = run(model, settings);
    otimes_model_close(&model);
    return memory;
}

static void known_heads(void **state)
{
    (void)state;
    otimes_memory_sink *memory = run_path(source_path("notebooks-data/induction-2l"), NULL);
    expect("bundled", memory, OTIMES_ROLE_PREVIOUS, "0.2");
    expect("bundled", memory, OTIMES_ROLE_INDUCTION, "1.0 1.1 1.3");
    expect("bundled", memory, OTIMES_ROLE_COPYING, "1.0 1.1 1.2 1.3");
    expect("bundled", memory, OTIMES_ROLE_SUPPRESSION, "");
    otimes_memory_sink_free(&memory);
    /* The previous-token head is found though neither it nor its layer is asked for. */
    static const int64_t one[] = {1};
    otimes_roles_settings settings;
    otimes_roles_settings_default(&settings);
    settings.layers = settings.heads = one;
    settings.layer_count = settings.head_count = 1;
    memory = run_path(source_path("notebooks-data/induction-2l"), &settings);
    assert_int_equal(label_of(memory, 0, 0, OTIMES_ROLE_INDUCTION), 1);
    assert_int_equal(*(const int64_t *)array(memory, "induction_layer"), 0);
    assert_int_equal(*(const int64_t *)array(memory, "induction_head"), 2);
    otimes_memory_sink_free(&memory);
}

/* The models of others: what their own pages say of their heads. */
static void known_heads_of_others(void **state)
{
    static const char *const paths[] = {"grokking_induction/induction_head_infinite.tl.safetensors",
                                        "tracr_induction",
                                        "arena_sorted_list/sorted_list_model.pt"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        if (!shared_path(paths[i])) {
            skip();
        }
    }
    otimes_memory_sink *memory = run_path(shared_path(paths[0]), NULL);
    expect(paths[0], memory, OTIMES_ROLE_PREVIOUS, "0.2");
    expect(paths[0], memory, OTIMES_ROLE_INDUCTION, "1.1 1.2 1.3");
    otimes_memory_sink_free(&memory);
    memory = run_path(shared_path(paths[1]), NULL);
    expect(paths[1], memory, OTIMES_ROLE_PREVIOUS, "0.0");
    expect(paths[1], memory, OTIMES_ROLE_INDUCTION, "1.0");
    otimes_memory_sink_free(&memory);
    memory = run_path(shared_path(paths[2]), NULL); /* 0.1 copies most tokens */
    expect(paths[2], memory, OTIMES_ROLE_COPYING, "0.1");
    expect(paths[2], memory, OTIMES_ROLE_SUPPRESSION, "0.0");
    otimes_memory_sink_free(&memory);
}

/* ---- heads that are built ---- */

static float *tensor_of(const checkpoint *c, const char *name)
{
    const json_t *offsets = json_object_get(json_object_get(c->header, name), "data_offsets");
    assert_non_null(offsets);
    return (float *)(void *)(c->data + json_integer_value(json_array_get(offsets, 0)));
}

/* Embeddings (u, -u, 0) with u on the unit sphere, mean 0; unembeddings u. Reads and writes of u alone
 * then give u u^T: 1 on the diagonal and less beside it. */
static void build(float sign_0, float sign_1)
{
    enum { D = 13, E = 5, V = 21 };
    static const char *const norms[] = {"blocks.0.ln1", "ln_final"};
    checkpoint c;
    read_golden(&c, "transformer_lens");
    float *W_E = tensor_of(&c, "embed.W_E"), *W_U = tensor_of(&c, "unembed.W_U");
    float *W_V = tensor_of(&c, "blocks.0.attn.W_V"), *W_O = tensor_of(&c, "blocks.0.attn.W_O");
    uint32_t random = 1;
    memset(W_E, 0, V * D * sizeof *W_E);
    memset(W_U, 0, V * D * sizeof *W_U);
    for (int v = 0; v < V; v++) {
        float u[E], length = 0;
        for (int j = 0; j < E; j++) {
            random = random * 1664525U + 1013904223U;
            u[j] = (float)(random >> 8) / (float)(1 << 23) - 1;
            length += u[j] * u[j];
        }
        for (int j = 0; j < E; j++) {
            W_E[v * D + j] = W_U[j * V + v] = u[j] / sqrtf(length);
            W_E[v * D + E + j] = -u[j] / sqrtf(length);
        }
    }
    for (int h = 0; h < 2; h++) {
        memset(W_V + h * D * E, 0, D * E * sizeof *W_V);
        memset(W_O + h * D * E, 0, D * E * sizeof *W_O);
        for (int j = 0; j < E; j++) {
            W_V[(h * D + j) * E + j] = 1;
            W_O[(h * E + j) * D + j] = h ? sign_1 : sign_0;
        }
    }
    for (int n = 0; n < 2; n++) {
        char name[32];
        for (int b = 0; b < 2; b++) {
            snprintf(name, sizeof name, "%s.%s", norms[n], b ? "b" : "w");
            float *x = tensor_of(&c, name);
            for (int j = 0; j < D; j++) {
                x[j] = b ? 0 : 1;
            }
        }
    }
    write_weights(&c);
    write_config(c.config);
    drop_checkpoint(&c);
}

static void built_heads(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        build(which ? 1 : -1, which ? -1 : 1);
        otimes_model *model = opens();
        otimes_memory_sink *memory = run(model, NULL);
        const int64_t suppresses = which, copies = 1 - which;
        assert_int_equal(label_of(memory, 0, suppresses, OTIMES_ROLE_SUPPRESSION), 1);
        assert_int_equal(label_of(memory, 0, suppresses, OTIMES_ROLE_COPYING), 0);
        assert_int_equal(label_of(memory, 0, copies, OTIMES_ROLE_SUPPRESSION), 0);
        assert_int_equal(label_of(memory, 0, copies, OTIMES_ROLE_COPYING), 1);
        assert_true(value(memory, "lowest_share", suppresses) == 1);
        assert_true(value(memory, "lowest_rank", suppresses) == 0);
        assert_true(value(memory, "highest_share", suppresses) == 0);
        assert_true(value(memory, "highest_share", copies) == 1);
        accuracy("OV_copying", "1", value(memory, "OV_copying", suppresses), -1, 1, 1e-5);
        accuracy("OV_copying", "1", value(memory, "OV_copying", copies), 1, 1, 1e-5);
        otimes_memory_sink_free(&memory);
        otimes_model_close(&model);
    }
    /* A head that writes nothing suppresses nothing. */
    build(0, 0);
    otimes_model *model = opens();
    otimes_memory_sink *memory = run(model, NULL);
    assert_true(value(memory, "lowest_share", 0) == 0);
    assert_true(value(memory, "lowest_rank", 0) == 20);
    assert_true(isnan(value(memory, "OV_copying", 0)));
    assert_int_equal(label_of(memory, 0, 0, OTIMES_ROLE_COPYING), -1);
    otimes_memory_sink_free(&memory);
    otimes_model_close(&model);
}

/* ---- what is wrong ---- */

static void bad_settings(void **state)
{
    static const int64_t falling[] = {1, 0}, beyond[] = {0, 99};
    golden g;
    (void)state;
    golden_open(&g, "gpt2", true);
    for (int i = 0; i < 8; i++) {
        otimes_roles_settings s;
        otimes_memory_sink *memory;
        otimes_err err = {0};
        otimes_roles_settings_default(&s);
        assert_ok(otimes_memory_sink_new(&memory, &err), &err);
        s.layers = i == 0 ? falling : NULL;
        s.heads = i == 1 ? beyond : NULL;
        s.rows = i == 2 ? beyond : NULL;
        s.layer_count = s.head_count = 2;
        s.row_count = i == 2 ? 2 : i == 3 ? -1 : 4;
        s.repeated = i == 4 ? 1000 : i == 5 ? -2 : 2;
        s.repeated_count = i == 6 ? 0 : 1;
        s.bos = i == 7 ? 1000 : -1;
        assert_int_equal(otimes_roles(g.model, &s, otimes_memory_sink_sink(memory), &err),
                         OTIMES_ERR_ARGUMENT);
        assert_true(strlen(err.msg) > 10);
        otimes_memory_sink_free(&memory);
    }
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens),
        cmocka_unit_test(reasons),
        cmocka_unit_test_teardown(tiles, empty_folder),
        cmocka_unit_test_teardown(other_vocabulary, empty_folder),
        cmocka_unit_test(known_heads),
        cmocka_unit_test(known_heads_of_others),
        cmocka_unit_test_teardown(built_heads, empty_folder),
        cmocka_unit_test(bad_settings),
    };
    accuracy_of("roles");
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
