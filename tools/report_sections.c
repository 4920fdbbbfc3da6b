/* SPDX-License-Identifier: MIT
 *
 * The sections of a page: what each takes of its analysis, and when there is no time for it.
 */
#include "report.h"

#include <stdio.h>

#include <otimes/bigram.h>
#include <otimes/circuit.h>
#include <otimes/compose.h>
#include <otimes/decompose.h>
#include <otimes/heads.h>
#include <otimes/info.h>
#include <otimes/logits.h>
#include <otimes/paths.h>
#include <otimes/patterns.h>
#include <otimes/roles.h>

/* Operations. On two processors some 1e11 are a second. */
#define ROLES_MOST 3e13
#define COMPOSE_MOST 2e14
#define HEADS_MOST 2e14
#define PATHS_MOST 4e13
#define STATISTICS_MOST 3e11
/* Numbers that a page has room for: patterns, and what heads moved from where. */
#define PATTERNS_MOST 2e6
#define SOURCES_MOST 1e6

enum { PATTERNS_TOP = 8, RANDOM_TOKENS = 32, RANDOM_COUNT = 16, LOGITS_TOP = 10, SEARCH = 20000 };

static double heads_of(const report *r)
{
    return (double)(r->info->n_layers * r->info->n_heads);
}

static double length_of(const report *r)
{
    return r->text.count ? (double)r->text.length[0] : 0;
}

static int64_t count_of(const otimes_index_list *list, int64_t all)
{
    return list->index ? list->count : all;
}

static double pass_cost(const report *r, double tokens)
{
    return 2 * tokens * report_weights(r->info);
}

/* ---- info ---- */

static double cheap(const report *r)
{
    (void)r;
    return 1e9;
}

static int run_info(const report *r, otimes_sink *sink, otimes_err *err)
{
    otimes_info_settings settings;
    otimes_info_settings_default(&settings);
    return otimes_info(r->model, &settings, sink, err);
}

/* ---- heads ---- */

static double heads_cost(const report *r)
{
    const double d = (double)r->info->d_model, h = (double)r->info->d_head;
    return 6 * (double)r->info->d_vocab * d * d + heads_of(r) * 100 * d * h * h;
}

static int run_heads(const report *r, otimes_sink *sink, otimes_err *err)
{
    otimes_heads_settings settings;
    otimes_heads_settings_default(&settings);
    return otimes_heads(r->model, &settings, sink, err);
}

/* ---- circuits ---- */

static double circuit_cost(const report *r)
{
    const otimes_model_info *m = r->info;
    const double rows = (double)count_of(&r->circuit, m->d_vocab);
    const double columns = (double)count_of(&r->circuit, m->d_vocab_out);
    const double sides = 4 * (rows + columns) * (double)m->d_model;
    return heads_of(r) * (double)m->d_head * (4 * rows * columns + sides);
}

static void circuit_bounded(const report *r, char *text, size_t size)
{
    if (r->circuit.index) {
        snprintf(text, size,
                 "Entries were looked for among %lld of %lld tokens: those with the lowest ids%s. "
                 "--vocab N takes more, --all takes all, for as long as that is.",
                 (long long)r->circuit.count, (long long)r->info->d_vocab,
                 r->text.count ? " and those of the text" : "");
    }
}

static int run_circuit(const report *r, otimes_circuit_which which, otimes_sink *sink,
                       otimes_err *err)
{
    otimes_circuit_settings settings;
    otimes_circuit_settings_default(&settings);
    settings.which = which;
    settings.top = settings.bottom = 0;
    settings.largest = r->options->entries;
    settings.rows = settings.columns = r->circuit.index;
    settings.row_count = settings.column_count = r->circuit.count;
    return otimes_circuit(r->model, &settings, sink, err);
}

static int run_ov(const report *r, otimes_sink *sink, otimes_err *err)
{
    return run_circuit(r, OTIMES_CIRCUIT_OV, sink, err);
}

static int run_qk(const report *r, otimes_sink *sink, otimes_err *err)
{
    return run_circuit(r, OTIMES_CIRCUIT_QK, sink, err);
}

/* ---- compose ---- */

static double compose_cost(const report *r)
{
    const double d = (double)r->info->d_model, h = (double)r->info->d_head, n = heads_of(r);
    const double cores = 2 * h * h * d, grams = d * d;
    return 1.5 * n * n * (cores < grams ? cores : grams);
}

static int run_compose(const report *r, otimes_sink *sink, otimes_err *err)
{
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    return otimes_compose(r->model, &settings, sink, err);
}

/* ---- roles ---- */

static double roles_cost(const report *r)
{
    const otimes_model_info *m = r->info;
    otimes_roles_settings settings;
    otimes_roles_settings_default(&settings);
    const double rows = (double)(settings.row_count + m->d_model);
    return heads_of(r) * 2 * (double)m->d_vocab_out * (double)m->d_head * rows +
           pass_cost(r, 2 * RANDOM_TOKENS * RANDOM_COUNT + length_of(r));
}

static int has_roles(const report *r)
{
    return !(r->options->without & REPORT_ROLES) &&
           (r->options->all || roles_cost(r) <= ROLES_MOST);
}

static int run_roles(const report *r, otimes_sink *sink, otimes_err *err)
{
    otimes_roles_settings settings;
    otimes_roles_settings_default(&settings);
    settings.sequences = r->text;
    settings.bos = r->bos;
    settings.random_tokens = r->random.index;
    settings.random_token_count = r->random.count;
    settings.forward.resident = r->text.count && report_keeps_weights(r->info);
    return otimes_roles(r->model, &settings, sink, err);
}

/* ---- bigram ---- */

static double bigram_products(const report *r)
{
    const otimes_model_info *m = r->info;
    return (double)count_of(&r->rows, m->d_vocab) * (double)m->d_vocab_out * (double)m->d_model;
}

static int has_statistics(const report *r)
{
    return r->options->all || bigram_products(r) <= STATISTICS_MOST;
}

static double bigram_cost(const report *r)
{
    return bigram_products(r) * (has_statistics(r) ? 2 : 0.5);
}

static void bigram_bounded(const report *r, char *text, size_t size)
{
    int used = 0;
    if (r->rows.index) {
        used = snprintf(text, size,
                        "Rows are those of %lld of %lld tokens: of those with the lowest ids%s. ",
                        (long long)r->rows.count, (long long)r->info->d_vocab,
                        r->text.count ? " and of those in the text" : "");
    }
    if (!has_statistics(r)) {
        used += snprintf(text + used, size - (size_t)used,
                         "Probabilities are left out, which take the sum of each row. ");
    }
    if (used) {
        snprintf(text + used, size - (size_t)used,
                 "--all takes all of it, for as long as that is.");
    }
}

static int run_bigram(const report *r, otimes_sink *sink, otimes_err *err)
{
    otimes_bigram_settings settings;
    otimes_bigram_settings_default(&settings);
    if (r->options->common.top >= 0) {
        settings.top = r->options->common.top;
    }
    settings.statistics = has_statistics(r);
    settings.rows = r->rows.index;
    settings.row_count = r->rows.count;
    return otimes_bigram(r->model, &settings, sink, err);
}

/* ---- on the text ---- */

static double patterns_cost(const report *r)
{
    const double random = has_roles(r) ? 0 : 2 * RANDOM_TOKENS * RANDOM_COUNT;
    return pass_cost(r, length_of(r) + random);
}

static double logits_cost(const report *r)
{
    return pass_cost(r, length_of(r));
}

static int run_logits(const report *r, otimes_sink *sink, otimes_err *err)
{
    otimes_logits_settings settings;
    otimes_logits_settings_default(&settings);
    settings.sequences = r->text;
    settings.top = LOGITS_TOP;
    return otimes_logits(r->model, &settings, sink, err);
}

static int run_patterns(const report *r, otimes_sink *sink, otimes_err *err)
{
    otimes_patterns_settings settings;
    const double entries = heads_of(r) * length_of(r) * length_of(r);
    otimes_patterns_settings_default(&settings);
    settings.sequences = r->text;
    settings.full = entries <= PATTERNS_MOST;
    if (!has_roles(r) && (!r->info->n_ctx || r->info->n_ctx > 2 * RANDOM_TOKENS)) {
        settings.repeated = RANDOM_TOKENS; /* which roles would have run */
        settings.repeated_count = RANDOM_COUNT;
        settings.bos = r->bos;
        settings.random_tokens = r->random.index;
        settings.random_token_count = r->random.count;
    }
    settings.top = settings.full ? 0 : PATTERNS_TOP;
    return otimes_patterns(r->model, &settings, sink, err);
}

static void patterns_bounded(const report *r, char *text, size_t size)
{
    if (heads_of(r) * length_of(r) * length_of(r) > PATTERNS_MOST) {
        snprintf(text, size, "Of each query the %d keys that it attends to most.", PATTERNS_TOP);
    }
}

static double decompose_cost(const report *r)
{
    const otimes_model_info *m = r->info;
    const double lenses = length_of(r) * (double)(2 * m->n_layers + 1);
    return pass_cost(r, 2 * length_of(r)) +
           2 * lenses * (double)m->d_vocab_out * (double)m->d_model;
}

static int run_decompose(const report *r, otimes_sink *sink, otimes_err *err)
{
    otimes_decompose_settings settings;
    otimes_decompose_settings_default(&settings);
    settings.sequences = r->text;
    settings.parts = OTIMES_DECOMPOSE_HEADS;
    settings.predicted = r->target < 0;
    settings.target = r->target < 0 ? NULL : &r->target;
    settings.target_count = r->target >= 0;
    settings.norms = settings.lens = 1;
    settings.sources = heads_of(r) * length_of(r) * length_of(r) <= SOURCES_MOST;
    return otimes_decompose(r->model, &settings, sink, err);
}

static double paths_cost(const report *r)
{
    return pass_cost(r, length_of(r) * (double)(r->info->n_layers + 8) / 2);
}

static int run_paths(const report *r, otimes_sink *sink, otimes_err *err)
{
    otimes_paths_settings settings;
    otimes_paths_settings_default(&settings);
    settings.sequences = r->text;
    settings.whose = r->target < 0 ? OTIMES_PATHS_PREDICTED : OTIMES_PATHS_GIVEN;
    settings.target = r->target;
    settings.top = r->options->paths;
    settings.budget = r->options->all ? 0 : SEARCH;
    settings.forward.resident = 1; /* the search comes to each layer again and again */
    return otimes_paths(r->model, &settings, sink, err);
}

/* ---- the table ---- */

static const page_rule info_rules[] = {{"parameters", PAGE_KEEP}, {NULL, PAGE_LEAVE}};
static const page_rule all_rules[] = {{"*", PAGE_KEEP}, {NULL, PAGE_LEAVE}};
static const page_rule circuit_rules[] = {
    {"head_*", PAGE_KEEP}, {"largest_*", PAGE_KEEP}, {"smallest_*", PAGE_KEEP}, {NULL, PAGE_LEAVE}};
static const page_rule compose_rules[] = {
    {"score", PAGE_HALF}, {"z", PAGE_HALF}, {"*_norm", PAGE_KEEP}, {NULL, PAGE_LEAVE}};
static const page_rule roles_rules[] = {
    {"row_id", PAGE_LEAVE}, {"repeated_id", PAGE_LEAVE}, {"*", PAGE_KEEP}, {NULL, PAGE_LEAVE}};
static const page_rule bigram_rules[] = {{"row_mean", PAGE_LEAVE}, {"row_std", PAGE_LEAVE},
                                         {"*_id", PAGE_KEEP},      {"*_rank", PAGE_KEEP},
                                         {"*", PAGE_HALF},         {NULL, PAGE_LEAVE}};
static const page_rule patterns_rules[] = {{"repeated_id", PAGE_LEAVE},
                                           {"pattern", PAGE_HALF},
                                           {"top_weight", PAGE_HALF},
                                           {"*", PAGE_KEEP},
                                           {NULL, PAGE_LEAVE}};
static const page_rule decompose_rules[] = {
    {"source_attribution", PAGE_HALF}, {"*", PAGE_KEEP}, {NULL, PAGE_LEAVE}};
static const page_rule paths_rules[] = {{"head_edge", PAGE_LEAVE},
                                        {"mlp_edge", PAGE_LEAVE},
                                        {"source_edge", PAGE_LEAVE},
                                        {"*", PAGE_KEEP},
                                        {NULL, PAGE_LEAVE}};

/* What comes first is seen first where a model takes long. */
const report_section report_sections[] = {
    {.name = "info", .rules = info_rules, .cost = cheap, .run = run_info},
    {.name = "heads",
     .bit = REPORT_HEADS,
     .rules = all_rules,
     .cost = heads_cost,
     .most = HEADS_MOST,
     .run = run_heads},
    {.name = "ov",
     .bit = REPORT_CIRCUITS,
     .rules = circuit_rules,
     .cost = circuit_cost,
     .bounded = circuit_bounded,
     .run = run_ov},
    {.name = "qk",
     .bit = REPORT_CIRCUITS,
     .rules = circuit_rules,
     .cost = circuit_cost,
     .bounded = circuit_bounded,
     .run = run_qk},
    {.name = "compose",
     .bit = REPORT_COMPOSE,
     .layers = 2,
     .rules = compose_rules,
     .cost = compose_cost,
     .most = COMPOSE_MOST,
     .run = run_compose},
    {.name = "roles",
     .bit = REPORT_ROLES,
     .rules = roles_rules,
     .cost = roles_cost,
     .most = ROLES_MOST,
     .run = run_roles},
    {.name = "bigram",
     .bit = REPORT_BIGRAM,
     .rules = bigram_rules,
     .cost = bigram_cost,
     .bounded = bigram_bounded,
     .run = run_bigram},
    {.name = "logits",
     .bit = REPORT_LOGITS,
     .needs_text = 1,
     .rules = all_rules,
     .cost = logits_cost,
     .run = run_logits},
    {.name = "patterns",
     .bit = REPORT_PATTERNS,
     .needs_text = 1,
     .rules = patterns_rules,
     .cost = patterns_cost,
     .bounded = patterns_bounded,
     .run = run_patterns},
    {.name = "decompose",
     .bit = REPORT_DECOMPOSE,
     .needs_text = 1,
     .rules = decompose_rules,
     .cost = decompose_cost,
     .run = run_decompose},
    {.name = "paths",
     .bit = REPORT_PATHS,
     .needs_text = 1,
     .rules = paths_rules,
     .cost = paths_cost,
     .most = PATHS_MOST,
     .keeps_weights = 1,
     .run = run_paths},
    {.name = NULL},
};
