/* SPDX-License-Identifier: MIT
 *
 * Names of sources, heads and sets of layers; paths as labels and as formulas.
 */
#include "analysis/paths_job.h"

#include <inttypes.h>
#include <stdio.h>

enum { NAME_SIZE = 48 };

/* ---- names ---- */

static int name_parts(paths_job *job, const otimes_linear *linear, otimes_err *err)
{
    const int64_t each = job->info->n_heads, layers = job->info->n_layers;
    const int64_t heads = layers * each, parts = heads + layers;
    int rc = OTIMES_OK;
    char *text = otimes_pool_new(&job->pool, linear->source_count + parts, NAME_SIZE, &rc, err);
    job->source_label =
        otimes_pool_new(&job->pool, linear->source_count, sizeof *job->source_label, &rc, err);
    job->part_label = otimes_pool_new(&job->pool, parts, sizeof *job->part_label, &rc, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < linear->source_count; i++, text += NAME_SIZE) {
        otimes_linear_source_label(linear, i, text, NAME_SIZE);
        job->source_label[i] = text;
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < heads; i++, text += NAME_SIZE) {
        snprintf(text, NAME_SIZE, "L%" PRId64 "H%" PRId64, i / each, i % each);
        job->part_label[i] = text;
    }
    for (int64_t l = 0; rc == OTIMES_OK && l < layers; l++, text += NAME_SIZE) {
        snprintf(text, NAME_SIZE, "L%" PRId64 " mlp", l);
        job->part_label[heads + l] = text;
    }
    return rc;
}

int otimes_paths_end_word(otimes_text *words, otimes_err *err)
{
    return otimes_text_add(words, err, "%c", 0);
}

/* The next of the sets of `count` out of `total`, in the order of their members; false: none. */
static bool next_set(int64_t *member, int64_t count, int64_t total)
{
    int64_t i = count;
    while (i > 0 && member[i - 1] == total - count + i - 1) {
        i--;
    }
    if (i == 0) {
        return false;
    }
    member[i - 1]++;
    for (; i < count; i++) {
        member[i] = member[i - 1] + 1;
    }
    return true;
}

/* "{}", "L0", "L0 L2"; `layer` by ordinal. */
static int add_set(paths_job *job, const int64_t *layer, int64_t members, const int64_t *member,
                   otimes_err *err)
{
    int rc = members ? OTIMES_OK : otimes_text_add(&job->words, err, "{}");
    for (int64_t i = 0; rc == OTIMES_OK && i < members; i++) {
        rc = otimes_text_add(&job->words, err, "%sL%" PRId64, i ? " " : "", layer[member[i]]);
    }
    return rc == OTIMES_OK ? otimes_paths_end_word(&job->words, err) : rc;
}

static int name_sets(paths_job *job, otimes_err *err)
{
    const int64_t total = job->allowed_count;
    otimes_pool pool = {0};
    int rc = OTIMES_OK;
    int64_t *layer = otimes_pool_new(&pool, total, sizeof *layer, &rc, err);
    int64_t *member = otimes_pool_new(&pool, total, sizeof *member, &rc, err);
    job->set_label = otimes_pool_new(&job->pool, job->sets, sizeof *job->set_label, &rc, err);
    for (int64_t l = 0; rc == OTIMES_OK && l < job->info->n_layers; l++) {
        if (job->ordinal[l] >= 0) {
            layer[job->ordinal[l]] = l;
        }
    }
    for (int64_t size = 0; rc == OTIMES_OK && size <= job->subsets; size++) {
        for (int64_t i = 0; i < size; i++) {
            member[i] = i;
        }
        do {
            rc = add_set(job, layer, size, member, err);
        } while (rc == OTIMES_OK && next_set(member, size, total));
    }
    const char *at = job->words.data;
    for (int64_t i = 0; rc == OTIMES_OK && i < job->sets; i++) {
        job->set_label[i] = at;
        while (*at++) {
        }
    }
    otimes_pool_free(&pool);
    return rc;
}

int otimes_paths_name(paths_job *job, const otimes_linear *linear, otimes_err *err)
{
    const int rc = name_parts(job, linear, err);
    return rc == OTIMES_OK ? name_sets(job, err) : rc;
}

/* Sets of k out of n. Those that are asked for are few, so that no product overflows. */
static int64_t choose(int64_t n, int64_t k)
{
    int64_t product = 1;
    for (int64_t i = 0; i < k; i++) {
        product = product * (n - i) / (i + 1);
    }
    return k < 0 || k > n ? 0 : product;
}

int64_t otimes_paths_set_index(const paths_job *job, int64_t members, const int64_t *layer)
{
    const int64_t total = job->allowed_count;
    int64_t index = 0, from = 0;
    for (int64_t size = 0; size < members; size++) {
        index += choose(total, size);
    }
    for (int64_t i = 0; i < members; i++) {
        const int64_t own = job->ordinal[layer[i]];
        if (own < 0) {
            return -1;
        }
        for (; from < own; from++) {
            index += choose(total - 1 - from, members - 1 - i);
        }
        from = own + 1;
    }
    return members <= job->subsets ? index : -1;
}

/* ---- one path ---- */

static const int32_t *links_of(const otimes_path_list *list, int64_t path, int64_t *count)
{
    const int32_t *link = list->link + path * list->links;
    for (*count = 0; *count < list->links && link[*count] >= 0;) {
        ++*count;
    }
    return link;
}

int otimes_paths_label(const paths_job *job, const otimes_path_list *list, int64_t path,
                       otimes_text *words, otimes_err *err)
{
    const int32_t source = list->source[path];
    int64_t count;
    const int32_t *link = links_of(list, path, &count);
    int rc = otimes_text_add(words, err, "%s", source < 0 ? "bias" : job->source_label[source]);
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        rc = otimes_text_add(words, err, " → %s", job->part_label[link[i]]);
    }
    return rc == OTIMES_OK ? otimes_paths_end_word(words, err) : rc;
}

/* What a source is a row of, or made with. */
static int add_source(const otimes_linear *linear, int32_t source, otimes_text *words,
                      otimes_err *err)
{
    static const char *const symbol[] = {[OTIMES_SOURCE_EMBED] = "W_E",
                                         [OTIMES_SOURCE_POS_EMBED] = "W_pos",
                                         [OTIMES_SOURCE_ATTN_BIAS] = "b_O",
                                         [OTIMES_SOURCE_MLP] = "MLP",
                                         [OTIMES_SOURCE_MLP_BIAS] = "b_out"};
    const otimes_linear_source *s = &linear->source[source];
    return s->kind == OTIMES_SOURCE_EMBED || s->kind == OTIMES_SOURCE_POS_EMBED
               ? otimes_text_add(words, err, "·%s", symbol[s->kind])
               : otimes_text_add(words, err, "·%s[%" PRId64 "]", symbol[s->kind], s->layer);
}

int otimes_paths_formula(const paths_job *job, const otimes_linear *linear,
                         const otimes_path_list *list, int64_t path, otimes_text *words,
                         otimes_err *err)
{
    const int64_t each = job->info->n_heads, heads = job->info->n_layers * each;
    int64_t count, seen = 0;
    const int32_t *link = links_of(list, path, &count);
    int rc = OTIMES_OK;
    if (list->source[path] < 0) {
        rc = otimes_text_add(words, err, "b_U");
        return rc == OTIMES_OK ? otimes_paths_end_word(words, err) : rc;
    }
    for (int64_t i = count - 1; rc == OTIMES_OK && i >= 0; i--) {
        if (link[i] < heads) {
            rc = otimes_text_add(words, err, "%sA[%" PRId64 ".%" PRId64 "]", seen++ ? "·" : "",
                                 link[i] / each, link[i] % each);
        }
    }
    if (rc == OTIMES_OK) {
        rc = otimes_text_add(words, err, "%s ⊗ W_U", seen ? "" : "Id");
    }
    for (int64_t i = count - 1; rc == OTIMES_OK && i >= 0; i--) {
        rc = link[i] < heads ? otimes_text_add(words, err, "·OV[%" PRId64 ".%" PRId64 "]",
                                               link[i] / each, link[i] % each)
                             : otimes_text_add(words, err, "·MLP[%" PRId64 "]", link[i] - heads);
    }
    if (rc == OTIMES_OK) {
        rc = add_source(linear, list->source[path], words, err);
    }
    return rc == OTIMES_OK ? otimes_paths_end_word(words, err) : rc;
}

/* ---- the certificate ---- */

typedef struct number {
    char text[40];
} number;

/* "5,461", and beyond what one reads so "2.33e+13". */
static number count_text(double count)
{
    number n;
    char digits[24];
    if (!(count < 1e12)) {
        snprintf(n.text, sizeof n.text, "%.3g", count);
        return n;
    }
    const int length = snprintf(digits, sizeof digits, "%.0f", count);
    int at = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            n.text[at++] = ',';
        }
        n.text[at++] = digits[i];
    }
    n.text[at] = '\0';
    return n;
}

int otimes_paths_certify(const paths_job *job, const otimes_path_list *list, otimes_text *words,
                         otimes_err *err)
{
    const number listed = count_text((double)list->count), total = count_text(list->total);
    const number expanded = count_text((double)list->expanded);
    const int64_t order = job->settings->order;
    char within[80] = "";
    if (order >= 0 && order < job->allowed_count) {
        snprintf(within, sizeof within, " through at most %" PRId64 " head%s", order,
                 order == 1 ? "" : "s");
    }
    if ((double)list->count >= list->total) {
        return otimes_text_add(words, err, "exact: all %s paths%s%c", total.text, within, 0);
    }
    if (list->complete) {
        return otimes_text_add(words, err,
                               "exact: the %s largest of %s paths%s (%s chains expanded)%c",
                               listed.text, total.text, within, expanded.text, 0);
    }
    return otimes_text_add(
        words, err, "no unlisted path exceeds %.3g in modulus (%s chains expanded of %s paths%s)%c",
        list->bound, expanded.text, total.text, within, 0);
}
