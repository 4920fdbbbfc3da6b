/* SPDX-License-Identifier: MIT */
#include "ablate_members.h"

#include <stdlib.h>
#include <string.h>

#include <otimes/parse.h>

#include "fail.h"

/* More than any model has of anything, so that ranges stay countable. */
#define MAX_INDEX (INT64_C(1) << 20)

static int add_member(ablate_members *all, otimes_ablate_kind kind, int64_t layer, int64_t index,
                      otimes_err *err)
{
    /* Grown when the count reaches a power of two. */
    if ((all->used & (all->used - 1)) == 0) {
        const size_t room = all->used ? 2 * (size_t)all->used : 1;
        otimes_ablate_member *grown = realloc(all->member, room * sizeof *grown);
        if (!grown) {
            return fail_memory(err, "--set");
        }
        all->member = grown;
    }
    all->member[all->used++] = (otimes_ablate_member){kind, layer, index};
    return 0;
}

/* Members from `first` on become an ablation. */
static int add_ablation(ablate_members *all, int64_t first, otimes_err *err)
{
    int64_t *grown = realloc(all->begin, ((size_t)all->count + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, "--set");
    }
    all->begin = grown;
    all->begin[all->count++] = first;
    return 0;
}

static int fail_syntax(const char *option, const char *item, otimes_err *err)
{
    return fail(err, OTIMES_ERR_ARGUMENT,
                strcmp(option, "--neurons") == 0
                    ? "%s: expected LAYER.NEURON or LAYER.FIRST-LAST, got '%s'"
                    : "%s: expected LAYER.HEAD, LAYER.FIRST-LAST, LAYER.attn, LAYER.mlp or "
                      "LAYER.nNEURON, got '%s'",
                option, item);
}

/* "7" or "3-5" without anything around it. */
static int parse_range(char *text, int64_t *first, int64_t *last)
{
    char *dash = strchr(text, '-');
    if (dash) {
        *dash = '\0';
    }
    int rc = otimes_parse_i64(text, "", 0, MAX_INDEX, first, NULL);
    *last = *first;
    if (!rc && dash) {
        rc = otimes_parse_i64(dash + 1, "", *first, MAX_INDEX, last, NULL);
        *dash = '-';
    }
    return rc;
}

/* One item of a list; `kind` is what a bare number means. */
static int parse_item(ablate_members *all, const char *item, const char *option,
                      otimes_ablate_kind kind, otimes_err *err)
{
    char copy[64];
    int64_t layer, first = 0, last = 0;
    const size_t length = strlen(item);
    if (length >= sizeof copy) {
        return fail_syntax(option, item, err);
    }
    memcpy(copy, item, length + 1);
    char *what = strchr(copy, '.');
    if (!what) {
        return fail_syntax(option, item, err);
    }
    *what++ = '\0';
    int rc = otimes_parse_i64(copy, "", 0, MAX_INDEX, &layer, NULL);
    if (kind == OTIMES_ABLATE_HEAD && !strcmp(what, "attn")) {
        kind = OTIMES_ABLATE_ATTENTION;
    } else if (kind == OTIMES_ABLATE_HEAD && !strcmp(what, "mlp")) {
        kind = OTIMES_ABLATE_MLP;
    } else {
        const int neuron = kind == OTIMES_ABLATE_HEAD && *what == 'n';
        kind = neuron ? OTIMES_ABLATE_NEURON : kind;
        rc = rc ? rc : parse_range(what + neuron, &first, &last);
    }
    if (rc) {
        return fail_syntax(option, item, err);
    }
    for (int64_t i = first; i <= last && !rc; i++) {
        rc = add_member(all, kind, layer, i, err);
    }
    return rc;
}

static int parse_list(ablate_members *all, const char *text, const char *option,
                      otimes_ablate_kind kind, otimes_err *err)
{
    char *copy = strdup(text), *item = copy;
    int rc = copy ? 0 : fail_memory(err, option);
    for (int more = 1; more && !rc;) {
        char *end = item + strcspn(item, ",");
        more = *end != '\0';
        *end = '\0';
        rc = parse_item(all, item, option, kind, err);
        item = end + 1;
    }
    free(copy);
    return rc;
}

int ablate_members_add_set(ablate_members *all, const char *text, otimes_err *err)
{
    const int64_t first = all->used;
    const int rc = parse_list(all, text, "--set", OTIMES_ABLATE_HEAD, err);
    return rc ? rc : add_ablation(all, first, err);
}

int ablate_members_add_neurons(ablate_members *all, const char *text, otimes_err *err)
{
    const int64_t first = all->used;
    int rc = parse_list(all, text, "--neurons", OTIMES_ABLATE_NEURON, err);
    for (int64_t i = first; i < all->used && !rc; i++) {
        rc = add_ablation(all, i, err);
    }
    return rc;
}

int ablate_members_end(ablate_members *all, otimes_err *err)
{
    all->set = malloc((size_t)(all->count + 1) * sizeof *all->set);
    if (!all->set) {
        return fail_memory(err, "--set");
    }
    for (int64_t i = 0; i < all->count; i++) {
        const int64_t end = i + 1 < all->count ? all->begin[i + 1] : all->used;
        all->set[i] = (otimes_ablate_set){all->member + all->begin[i], end - all->begin[i]};
    }
    return 0;
}

void ablate_members_free(ablate_members *all)
{
    free(all->member);
    free(all->begin);
    free(all->set);
    *all = (ablate_members){0};
}
