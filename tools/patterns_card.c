/* SPDX-License-Identifier: MIT */
#include "patterns_card.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "number.h"
#include "quote.h"

enum {
    NAMED_HEADS = 8,  /* of a role */
    TABLE_HEADS = 48, /* all of them are listed up to here */
    SHOWN_HEADS = 4,  /* whose strongest keys are listed */
    SHOWN_KEYS = 4
};

/* What a head is called for, and from where on. Half of the attention on the first token is rest:
 * a head that finds nothing looks there. */
static const struct {
    const char *array, *title;
    double least;
} roles[] = {
    {"repeated_induction", "induction, random tokens", 0.3},
    {"induction", "induction, text", 0.3},
    {"repeated_previous_token", "previous token, random tokens", 0.3},
    {"previous_token", "previous token, text", 0.3},
    {"repeated_duplicate_token", "duplicate token, random tokens", 0.3},
    {"duplicate_token", "duplicate token, text", 0.3},
    {"next_token", "next token", 0.3},
    {"current_token", "current token", 0.3},
    {"pattern_score", "your pattern", 0.3},
    {"first_token", "first token (rest)", 0.5},
    {"sink", "sink (rest)", 0.5},
};

static const struct {
    const char *array, *title;
} columns[] = {
    {"previous_token", "previous"},
    {"current_token", "current"},
    {"next_token", "next"},
    {"first_token", "first"},
    {"duplicate_token", "duplicate"},
    {"induction", "induction"},
    {"entropy", "entropy"},
    {"sink", "sink"},
    {"pattern_score", "pattern"},
    {"repeated_previous_token", "r.previous"},
    {"repeated_duplicate_token", "r.duplicate"},
    {"repeated_induction", "r.induction"},
};

typedef struct card {
    const otimes_model *model;
    const otimes_memory_sink *result;
    FILE *to;
    const otimes_axis *layer, *head;
    int64_t heads; /* of all layers */
} card;

/* An array of the result; NULL data where it was not written. */
static const otimes_array *find(const card *c, const char *name, const void **data)
{
    *data = NULL;
    return otimes_memory_sink_array(c->result, name, data);
}

/* The place of a score among those that query_count counts. */
static int64_t counted_as(const otimes_axis *score, const char *name)
{
    int64_t at = 0;
    while (at < score->length && strcmp(score->text[at], name) != 0) {
        at++;
    }
    return at;
}

static int has(const card *c, const char *name)
{
    const void *data;
    return find(c, name, &data) != NULL;
}

/* A score of one head, over the queries of all texts together; NaN where there are none. */
static double score_of(const card *c, const char *name, int64_t head)
{
    const void *data, *counts;
    const otimes_array *array = find(c, name, &data);
    double sum = 0, weight = 0;
    if (strncmp(name, "repeated_", 9) == 0) {
        return ((const double *)data)[head];
    }
    const otimes_axis *score = find(c, "query_count", &counts)->axis[1];
    const int64_t *count = (const int64_t *)counts + counted_as(score, name);
    for (int64_t t = 0; t < array->axis[0]->length; t++) {
        const double w = (double)count[t * score->length];
        sum += w > 0 ? w * ((const double *)data)[t * c->heads + head] : 0;
        weight += w;
    }
    return weight > 0 ? sum / weight : (double)NAN;
}

static int64_t attribute(const card *c, const char *name)
{
    const otimes_attr *attr = otimes_memory_sink_attr(c->result, name);
    return attr ? attr->i64 : 0;
}

static void put_head(const card *c, int64_t at)
{
    char name[64];
    snprintf(name, sizeof name, "L%" PRId64 "H%" PRId64, c->layer->number[at / c->head->length],
             c->head->number[at % c->head->length]);
    fprintf(c->to, "%-6s", name);
}

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

static void put_title(const card *c)
{
    const otimes_model_info *info = otimes_model_describe(c->model);
    const void *data;
    fputs("model   ", c->to);
    put_shown(c->to, info->path, "");
    fprintf(c->to, ", %" PRId64 " layer%s of %" PRId64 " head%s\n", info->n_layers,
            plural(info->n_layers), info->n_heads, plural(info->n_heads));
    const otimes_array *length = find(c, "length", &data);
    if (length) {
        const int64_t texts = length->axis[0]->length, *tokens = data;
        int64_t all = 0;
        for (int64_t i = 0; i < texts; i++) {
            all += tokens[i];
        }
        fprintf(c->to, "texts   %" PRId64 " text%s, %" PRId64 " token%s\n", texts, plural(texts),
                all, plural(all));
    }
    if (attribute(c, "repeated")) {
        fprintf(c->to,
                "random  %" PRId64 " sequences of %" PRId64 " random tokens written twice%s, seed "
                "%" PRId64 "\n",
                attribute(c, "repeated_count"), attribute(c, "repeated"),
                attribute(c, "repeated_bos") >= 0 ? " behind BOS" : "", attribute(c, "seed"));
    }
}

/* ---- roles ---- */

typedef struct ranked {
    double score;
    int64_t head;
} ranked;

static int by_score(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    const int falling = (x->score < y->score) - (x->score > y->score);
    return falling ? falling : (x->head > y->head) - (x->head < y->head);
}

/* Heads with at least `least`, the strongest first; how many. -1: the score is of none. */
static int64_t rank(const card *c, const char *name, double least, ranked *list)
{
    int64_t count = 0, defined = 0;
    for (int64_t h = 0; h < c->heads; h++) {
        const double score = score_of(c, name, h);
        defined += !isnan(score);
        if (score >= least) {
            list[count++] = (ranked){score, h};
        }
    }
    qsort(list, (size_t)count, sizeof *list, by_score);
    return defined ? count : -1;
}

static void put_role(const card *c, size_t role, ranked *list)
{
    if (!has(c, roles[role].array)) {
        return;
    }
    const int64_t count = rank(c, roles[role].array, roles[role].least, list);
    fprintf(c->to, "%-32s", roles[role].title);
    for (int64_t i = 0; i < count && i < NAMED_HEADS; i++) {
        fputs(i ? "  " : "", c->to);
        put_head(c, list[i].head);
        fprintf(c->to, "%4.2f", list[i].score);
    }
    if (count > NAMED_HEADS) {
        fprintf(c->to, "  and %" PRId64 " more", count - NAMED_HEADS);
    }
    fputs(count < 0 ? "no query to see it on\n" : count ? "\n" : "none\n", c->to);
}

static int put_roles(const card *c, otimes_err *err)
{
    ranked *list = malloc((size_t)c->heads * sizeof *list);
    if (!list) {
        return fail_memory(err, "heads");
    }
    fputs("\nheads by role, with the share of attention that plays it (0.30 and more; at rest: "
          "0.50 and more)\n",
          c->to);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        put_role(c, i, list);
    }
    free(list);
    return 0;
}

/* ---- every head ---- */

static void put_score(const card *c, double score, int width)
{
    fputs("  ", c->to);
    number_put(c->to, width, 2, score);
}

static void put_table(const card *c)
{
    if (c->heads > TABLE_HEADS) {
        fprintf(c->to, "\n%" PRId64 " heads in all: -o FILE or --format tsv has their scores\n",
                c->heads);
        return;
    }
    fputs("\nhead  ", c->to);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        if (has(c, columns[i].array)) {
            fprintf(c->to, "  %s", columns[i].title);
        }
    }
    putc('\n', c->to);
    for (int64_t h = 0; h < c->heads; h++) {
        put_head(c, h);
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
            if (has(c, columns[i].array)) {
                put_score(c, score_of(c, columns[i].array, h), (int)strlen(columns[i].title));
            }
        }
        putc('\n', c->to);
    }
    if (has(c, "repeated_induction")) {
        fputs("r.: on random tokens written twice\n", c->to);
    }
}

/* ---- the strongest keys ---- */

static void put_token(const card *c, const int64_t *id, int64_t position)
{
    const char *text = otimes_model_token(c->model, id[position]);
    fprintf(c->to, "%4" PRId64 " ", position);
    if (text) {
        put_quoted(c->to, text);
    } else {
        fprintf(c->to, "#%" PRId64, id[position]);
    }
}

/* Of one head in the first text: a query a line, what it looks at behind it. */
static void put_keys(const card *c, const otimes_array *top_key, const int32_t *key,
                     const float *weight, int64_t head)
{
    const void *data;
    const int64_t queries = top_key->axis[3]->length, top = top_key->axis[4]->length;
    const int64_t *id = find(c, "token_id", &data) ? data : NULL;
    const int64_t length = find(c, "length", &data) ? *(const int64_t *)data : 0;
    fputs("\n", c->to);
    put_head(c, head);
    fputs("  query <- strongest keys\n", c->to);
    for (int64_t q = 0; id && q < queries; q++) {
        const int64_t position = top_key->axis[3]->number[q], at = (head * queries + q) * top;
        if (position >= length) {
            break;
        }
        put_token(c, id, position);
        fputs("  <-", c->to);
        for (int64_t k = 0; k < top && k < SHOWN_KEYS && key[at + k] >= 0; k++) {
            put_token(c, id, key[at + k]);
            fprintf(c->to, " %.2f", (double)weight[at + k]);
        }
        putc('\n', c->to);
    }
}

/* How clearly a head plays a role on the texts; rest is none. */
static double clearest(const card *c, int64_t head)
{
    static const char *const names[] = {"induction", "duplicate_token", "previous_token",
                                        "current_token"};
    double best = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const double score = score_of(c, names[i], head);
        best = score > best ? score : best; /* not by NaN */
    }
    return best;
}

/* Of the heads that are clearest in what they do. */
static int put_strongest(const card *c, otimes_err *err)
{
    const void *key, *weight;
    const otimes_array *top_key = find(c, "top_key", &key);
    if (!top_key || !find(c, "top_weight", &weight)) {
        return 0;
    }
    ranked *list = malloc((size_t)c->heads * sizeof *list);
    if (!list) {
        return fail_memory(err, "heads");
    }
    for (int64_t h = 0; h < c->heads; h++) {
        list[h] = (ranked){clearest(c, h), h};
    }
    qsort(list, (size_t)c->heads, sizeof *list, by_score);
    for (int64_t i = 0; i < c->heads && i < SHOWN_HEADS; i++) {
        put_keys(c, top_key, key, weight, list[i].head);
    }
    if (c->heads > SHOWN_HEADS) {
        fputs("\n--layers and --heads choose other heads\n", c->to);
    }
    free(list);
    return 0;
}

int patterns_card(const otimes_model *model, const otimes_memory_sink *result, FILE *to,
                  otimes_err *err)
{
    card c = {.model = model, .result = result, .to = to};
    const void *data;
    const otimes_array *any = find(&c, "previous_token", &data);
    const int behind = any != NULL; /* the axis of texts */
    any = any ? any : find(&c, "repeated_previous_token", &data);
    c.layer = any->axis[behind];
    c.head = any->axis[behind + 1];
    c.heads = c.layer->length * c.head->length;
    put_title(&c);
    const int rc = put_roles(&c, err);
    if (!rc) {
        put_table(&c);
    }
    return rc ? rc : put_strongest(&c, err);
}
