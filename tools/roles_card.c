/* SPDX-License-Identifier: MIT */
#include "roles_card.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <otimes/roles.h>

#include "number.h"
#include "quote.h"

typedef struct card {
    const otimes_model *model;
    const otimes_memory_sink *result;
    FILE *to;
    const otimes_axis *layer, *head;
    int64_t heads; /* of all layers */
    const int32_t *label, *label_side;
} card;

typedef struct column {
    const char *array, *title;
} column;

static const column by_weights[] = {
    {"previous_token", "previous"}, {"same_token", "same"},     {"OV_copying", "copying"},
    {"induction", "induction"},     {"lowest_share", "lowest"}, {"highest_share", "highest"},
};
static const column by_attention[] = {
    {"repeated_previous_token", "r.previous"}, {"repeated_duplicate_token", "r.duplicate"},
    {"repeated_induction", "r.induction"},     {"repeated_current_token", "r.current"},
    {"repeated_first_token", "r.first"},       {"text_previous_token", "t.previous"},
    {"text_duplicate_token", "t.duplicate"},   {"text_induction", "t.induction"},
    {"text_current_token", "t.current"},       {"text_first_token", "t.first"},
};

enum {
    WEIGHTS = sizeof by_weights / sizeof *by_weights,
    ATTENTION = sizeof by_attention / sizeof *by_attention,
    WIDTH = 12
};

static const void *data_of(const card *c, const char *name)
{
    const void *data = NULL;
    return otimes_memory_sink_array(c->result, name, &data) ? data : NULL;
}

static int64_t fact(const card *c, const char *name)
{
    return otimes_memory_sink_attr(c->result, name)->i64;
}

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

static void put_head(const card *c, int64_t at)
{
    char name[64];
    snprintf(name, sizeof name, "L%" PRId64 "H%" PRId64, c->layer->number[at / c->head->length],
             c->head->number[at % c->head->length]);
    fprintf(c->to, "%-8s", name);
}

/* ---- above the table ---- */

static void put_untold(const card *c)
{
    static const column told[] = {
        {"previous_token_score", "previous"}, {"same_token_score", "same"},
        {"copying_score", "copying"},         {"induction_score", "induction"},
        {"copy_suppression_score", "lowest"},
    };
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        const char *text = otimes_memory_sink_attr(c->result, told[i].array)->text;
        if (strncmp(text, "not told", 8) == 0) {
            fprintf(c->to, "%-10s%s\n", told[i].title, text);
        }
    }
}

static void put_title(const card *c)
{
    const otimes_model_info *info = otimes_model_describe(c->model);
    fputs("model     ", c->to);
    put_shown(c->to, info->path, "");
    fprintf(c->to, ", %" PRId64 " layer%s of %" PRId64 " head%s\n", info->n_layers,
            plural(info->n_layers), info->n_heads, plural(info->n_heads));
    if (fact(c, "repeated") > 0) {
        fprintf(c->to,
                "random    %" PRId64 " sequences of %" PRId64 " random tokens written twice%s, "
                "seed %" PRId64 "\n",
                fact(c, "repeated_count"), fact(c, "repeated"),
                fact(c, "repeated_bos") >= 0 ? " behind BOS" : "", fact(c, "seed"));
    }
    if (fact(c, "texts") > 0) {
        fprintf(c->to, "texts     %" PRId64 " text%s, %" PRId64 " tokens\n", fact(c, "texts"),
                plural(fact(c, "texts")), fact(c, "text_tokens"));
    }
    if (fact(c, "source_rows") > 0) {
        fprintf(c->to,
                "lowest    share of %" PRId64 " token%s whose own output is among the %" PRId64
                " lowest of their rows of E W_OV W_U; E = %s\n",
                fact(c, "source_rows"), plural(fact(c, "source_rows")), fact(c, "extreme_count"),
                otimes_memory_sink_attr(c->result, "effective_embedding")->text);
    }
    put_untold(c);
}

/* ---- the table ---- */

static void put_columns(const card *c, const column *list, int count, int64_t at)
{
    for (int i = 0; i < count; i++) {
        const double *data = data_of(c, list[i].array);
        if (data && at < 0) {
            fprintf(c->to, "%*s", WIDTH, list[i].title);
        } else if (data) {
            number_put(c->to, WIDTH, 3, data[at]);
        }
    }
}

/* The earlier head of the best induction pair. */
static void put_partner(const card *c, int64_t at)
{
    const int64_t *layer = data_of(c, "induction_layer"), *head = data_of(c, "induction_head");
    char name[64] = "";
    if (at < 0) {
        snprintf(name, sizeof name, "with");
    } else if (layer[at] >= 0) {
        snprintf(name, sizeof name, "L%" PRId64 "H%" PRId64, layer[at], head[at]);
    }
    fprintf(c->to, "  %-8s", name);
}

static void put_table(const card *c, const otimes_axis *role)
{
    fprintf(c->to, "\n%-8s", "head");
    put_columns(c, by_weights, WEIGHTS, -1);
    put_partner(c, -1);
    put_columns(c, by_attention, ATTENTION, -1);
    fputs("  roles\n", c->to);
    for (int64_t at = 0; at < c->heads; at++) {
        const char *separator = "  ";
        put_head(c, at);
        put_columns(c, by_weights, WEIGHTS, at);
        put_partner(c, at);
        put_columns(c, by_attention, ATTENTION, at);
        for (int r = 0; r < OTIMES_ROLES; r++) {
            if (c->label[at * OTIMES_ROLES + r] == 1) {
                fprintf(c->to, "%s%s", separator, role->text[r]);
                separator = ", ";
            }
        }
        putc('\n', c->to);
    }
}

/* ---- roles ---- */

static void put_thresholds(const card *c, int role)
{
    const double *least = (const double *)data_of(c, "threshold") + role * OTIMES_ROLE_SIDES;
    const char *separator = "";
    fputs("  (", c->to);
    if (role == OTIMES_ROLE_INDUCTION) {
        fputs("by weights the test of `otimes qk`", c->to);
        separator = ", ";
    } else if (!isnan(least[OTIMES_ROLE_WEIGHTS])) {
        fprintf(c->to, "by weights at least %.3g", least[OTIMES_ROLE_WEIGHTS]);
        separator = ", ";
    }
    if (!isnan(least[OTIMES_ROLE_ATTENTION])) {
        fprintf(c->to, "%sby attention at least %.3g", separator, least[OTIMES_ROLE_ATTENTION]);
    }
    fputs(")\n", c->to);
}

/* Whether a head belongs to a line: 0: to the role; 1, 2: by one side alone, while the other says
 * no. */
static int belongs(const card *c, int64_t at, int role, int line)
{
    const int32_t *side = c->label_side + (at * OTIMES_ROLES + role) * OTIMES_ROLE_SIDES;
    return line == 0 ? c->label[at * OTIMES_ROLES + role] == 1
                     : side[line - 1] == 1 && side[2 - line] == 0;
}

static void put_roles(const card *c, const otimes_axis *role)
{
    static const char *const titles[] = {NULL, "  by weights alone", "  by attention alone"};
    putc('\n', c->to);
    for (int r = 0; r < OTIMES_ROLES; r++) {
        for (int line = 0; line < 3; line++) {
            int64_t count = 0;
            for (int64_t at = 0; at < c->heads; at++) {
                if (!belongs(c, at, r, line)) {
                    continue;
                }
                if (count++ == 0) {
                    fprintf(c->to, "%-20s ", line ? titles[line] : role->text[r]);
                }
                fprintf(c->to, " L%" PRId64 "H%" PRId64, c->layer->number[at / c->head->length],
                        c->head->number[at % c->head->length]);
            }
            if (count == 0 && line == 0) {
                int told = 0;
                for (int64_t at = 0; at < c->heads; at++) {
                    told |= c->label[at * OTIMES_ROLES + r] >= 0;
                }
                fprintf(c->to, "%-20s  %s", role->text[r], told ? "none" : "not told");
            }
            if (line == 0) {
                put_thresholds(c, r);
            } else if (count > 0) {
                putc('\n', c->to);
            }
        }
    }
}

void roles_card(const otimes_model *model, const otimes_memory_sink *result, FILE *to)
{
    const void *data;
    const otimes_array *label = otimes_memory_sink_array(result, "label", &data);
    card c = {.model = model,
              .result = result,
              .to = to,
              .layer = label->axis[0],
              .head = label->axis[1],
              .heads = label->axis[0]->length * label->axis[1]->length,
              .label = data};
    c.label_side = data_of(&c, "label_side");
    put_title(&c);
    put_table(&c, label->axis[2]);
    put_roles(&c, label->axis[2]);
}
