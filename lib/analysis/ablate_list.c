/* SPDX-License-Identifier: MIT
 *
 * The ablations of a request: families and sets, checked and put in order.
 */
#include <stdlib.h>

#include "analysis/ablate_job.h"
#include "base/index.h"
#include "model/model.h"

static const char *const kind_names[] = {"head", "attention", "MLP", "neuron"};

/* How many of its kind a layer has; 0: it can have no such member. */
static int64_t limit_of(const ablate_job *job, otimes_ablate_kind kind)
{
    switch (kind) {
    case OTIMES_ABLATE_HEAD:
        return job->info->n_heads;
    case OTIMES_ABLATE_ATTENTION:
        return 1;
    case OTIMES_ABLATE_MLP:
        return job->has_mlp;
    case OTIMES_ABLATE_NEURON:
        return job->columns[ABLATE_AT_POST];
    }
    return -1; /* unreached: all cases return */
}

static int check_member(const ablate_job *job, const otimes_ablate_member *m, otimes_err *err)
{
    const otimes_model_info *info = job->info;
    if ((unsigned)m->kind > OTIMES_ABLATE_NEURON) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "member: expected a head, attention, an MLP or a neuron, got kind %d",
                           (int)m->kind);
    }
    const char *name = kind_names[m->kind];
    const int64_t limit = limit_of(job, m->kind);
    if (m->layer < 0 || m->layer >= info->n_layers) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "%s: expected layers 0 to %lld, got %lld",
                           name, (long long)info->n_layers - 1, (long long)m->layer);
    }
    if (m->kind == OTIMES_ABLATE_NEURON && otimes_layer_has_experts(job->model, m->layer)) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: layer %lld: expected an MLP of its own, got one of experts, which "
                           "can only be ablated as a whole",
                           name, (long long)m->layer);
    }
    if (limit < 1) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: layer %lld: expected a model with MLPs, got one without", name,
                           (long long)m->layer);
    }
    if (m->index < 0 || m->index >= limit) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "%s: expected 0 to %lld in layer %lld, got %lld", name,
                           (long long)limit - 1, (long long)m->layer, (long long)m->index);
    }
    return OTIMES_OK;
}

static int compare(const void *a, const void *b)
{
    const otimes_ablate_member *x = a, *y = b;
    if (x->layer != y->layer) {
        return x->layer < y->layer ? -1 : 1;
    }
    if (x->kind != y->kind) {
        return x->kind < y->kind ? -1 : 1;
    }
    return (x->index > y->index) - (x->index < y->index);
}

/* Closes the ablation whose members were added last: sorts them, finds one that is there twice. */
static int end_ablation(const ablate_job *job, ablate_list *list, int64_t used, otimes_err *err)
{
    const int64_t first = list->begin[list->count], n = used - first;
    otimes_ablate_member *m = list->member + first;
    qsort(m, (size_t)n, sizeof *m, compare);
    for (int64_t i = 0; i < n; i++) {
        const int rc = check_member(job, &m[i], err);
        if (rc != OTIMES_OK) {
            return rc;
        }
        if (i > 0 && !compare(&m[i], &m[i - 1])) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "set: expected each member once, got %s %lld of layer %lld again",
                               kind_names[m[i].kind], (long long)m[i].index, (long long)m[i].layer);
        }
        list->kinds[m[i].layer] |= ABLATE_KIND(m[i].kind);
    }
    list->first_layer[list->count] = m[0].layer;
    list->size[list->count] = n;
    list->begin[++list->count] = used;
    return OTIMES_OK;
}

static int64_t layer_at(const ablate_job *job, int64_t i)
{
    return job->settings->layers ? job->settings->layers[i] : i;
}

/* Members of one family in a layer. */
static int64_t family_size(const ablate_job *job, otimes_ablate_kind kind)
{
    return kind == OTIMES_ABLATE_HEAD ? job->list.heads : limit_of(job, kind);
}

static int add_family(ablate_job *job, otimes_ablate_kind kind, int64_t *used, otimes_err *err)
{
    ablate_list *list = &job->list;
    /* One at least, so that a family without members is refused by name. */
    const int64_t each = family_size(job, kind) > 0 ? family_size(job, kind) : 1;
    int rc = OTIMES_OK;
    for (int64_t l = 0; rc == OTIMES_OK && l < list->layers; l++) {
        for (int64_t i = 0; rc == OTIMES_OK && i < each; i++) {
            const bool chosen = kind == OTIMES_ABLATE_HEAD && job->settings->heads;
            list->member[(*used)++] = (otimes_ablate_member){kind, layer_at(job, l),
                                                             chosen ? job->settings->heads[i] : i};
            rc = end_ablation(job, list, *used, err);
        }
    }
    return rc;
}

static int add_sets(ablate_job *job, int64_t *used, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t s = 0; rc == OTIMES_OK && s < job->settings->set_count; s++) {
        const otimes_ablate_set *set = &job->settings->sets[s];
        for (int64_t i = 0; i < set->count; i++) {
            job->list.member[(*used)++] = set->member[i];
        }
        rc = end_ablation(job, &job->list, *used, err);
    }
    return rc;
}

/* Ablations and members that the settings come to. */
static int count_all(const ablate_job *job, int64_t *ablations, int64_t *members, otimes_err *err)
{
    const otimes_ablate_settings *s = job->settings;
    *ablations = 0;
    for (int k = 0; k <= OTIMES_ABLATE_NEURON; k++) {
        const int64_t each = family_size(job, (otimes_ablate_kind)k);
        int64_t total;
        if (s->components >> k & 1) {
            if (!otimes_mul_i64(job->list.layers, each > 0 ? each : 1, &total) ||
                __builtin_add_overflow(*ablations, total,
                                       ablations)) { /* unreached: too many to hold */
                return otimes_fail(err, OTIMES_ERR_ARGUMENT, "ablations: more than can be counted");
            }
        }
    }
    *members = *ablations;
    *ablations += s->set_count;
    for (int64_t i = 0; i < s->set_count; i++) {
        if (s->sets[i].count < 1 || !s->sets[i].member) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT, "set %lld: expected members, got none",
                               (long long)i);
        }
        *members += s->sets[i].count;
    }
    if (*ablations < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "ablations: expected heads, layers, MLPs, neurons or sets, got none");
    }
    return OTIMES_OK;
}

static int check_selection(ablate_job *job, otimes_err *err)
{
    const otimes_ablate_settings *s = job->settings;
    if (s->components & ~15 || s->set_count < 0) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "components: expected heads, layers, MLPs or neurons, got %d",
                           s->components);
    }
    int rc = otimes_index_check("layers", s->layers, s->layer_count, job->info->n_layers, err);
    if (rc == OTIMES_OK) {
        rc = otimes_index_check("heads", s->heads, s->head_count, job->info->n_heads, err);
    }
    job->list.layers = s->layers ? s->layer_count : job->info->n_layers;
    job->list.heads = s->heads ? s->head_count : job->info->n_heads;
    return rc;
}

/* "L5H1", "L3 attention", "L3 MLP", "L0N12" of one member; "0.3+1.mlp+2.attn+0.n12" of several. */
static int add_label(otimes_text *text, const otimes_ablate_member *m, int64_t count,
                     otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < count; i++) {
        const long long layer = m[i].layer, index = m[i].index;
        const char *plus = i > 0 ? "+" : "";
        switch (m[i].kind) {
        case OTIMES_ABLATE_HEAD:
            rc = count == 1 ? otimes_text_add(text, err, "L%lldH%lld", layer, index)
                            : otimes_text_add(text, err, "%s%lld.%lld", plus, layer, index);
            break;
        case OTIMES_ABLATE_ATTENTION:
            rc = count == 1 ? otimes_text_add(text, err, "L%lld attention", layer)
                            : otimes_text_add(text, err, "%s%lld.attn", plus, layer);
            break;
        case OTIMES_ABLATE_MLP:
            rc = count == 1 ? otimes_text_add(text, err, "L%lld MLP", layer)
                            : otimes_text_add(text, err, "%s%lld.mlp", plus, layer);
            break;
        case OTIMES_ABLATE_NEURON:
            rc = count == 1 ? otimes_text_add(text, err, "L%lldN%lld", layer, index)
                            : otimes_text_add(text, err, "%s%lld.n%lld", plus, layer, index);
            break;
        }
    }
    return rc;
}

/* Texts of all ablations in one block, behind list->label. */
static int make_labels(ablate_job *job, otimes_err *err)
{
    ablate_list *list = &job->list;
    otimes_text text = {0};
    int64_t *at = NULL;
    int rc = OTIMES_NEW(&at, list->count, err);
    for (int64_t a = 0; rc == OTIMES_OK && a < list->count; a++) {
        at[a] = text.length;
        rc = add_label(&text, list->member + list->begin[a], list->size[a], err);
        if (rc == OTIMES_OK) {
            rc = otimes_text_add(&text, err, "%c", '\n');
        }
    }
    char *block = NULL;
    if (rc == OTIMES_OK) {
        block = otimes_pool_new(&job->pool, text.length + 1, 1, &rc, err);
        list->label = otimes_pool_new(&job->pool, list->count, sizeof *list->label, &rc, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < text.length; i++) {
        block[i] = text.data[i] == '\n' ? '\0' : text.data[i];
    }
    for (int64_t a = 0; rc == OTIMES_OK && a < list->count; a++) {
        list->label[a] = block + at[a];
    }
    otimes_free(at);
    otimes_text_free(&text);
    return rc;
}

static int make_room(ablate_job *job, int64_t ablations, int64_t members, otimes_err *err)
{
    ablate_list *list = &job->list;
    otimes_pool *pool = &job->pool;
    int rc = OTIMES_OK;
    list->member = otimes_pool_new(pool, members, sizeof *list->member, &rc, err);
    list->begin = otimes_pool_new(pool, ablations + 1, sizeof *list->begin, &rc, err);
    list->order = otimes_pool_new(pool, ablations, sizeof *list->order, &rc, err);
    list->first_layer = otimes_pool_new(pool, ablations, sizeof *list->first_layer, &rc, err);
    list->size = otimes_pool_new(pool, ablations, sizeof *list->size, &rc, err);
    list->kinds = otimes_pool_new(pool, job->info->n_layers, sizeof *list->kinds, &rc, err);
    return rc;
}

int otimes_ablate_list_init(ablate_job *job, otimes_err *err)
{
    ablate_list *list = &job->list;
    int64_t ablations = 0, members = 0, used = 0, placed = 0;
    int rc = check_selection(job, err);
    if (rc == OTIMES_OK) {
        rc = count_all(job, &ablations, &members, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_room(job, ablations, members, err);
    }
    for (int k = 0; rc == OTIMES_OK && k <= OTIMES_ABLATE_NEURON; k++) {
        if (job->settings->components >> k & 1) {
            rc = add_family(job, (otimes_ablate_kind)k, &used, err);
        }
    }
    if (rc == OTIMES_OK) {
        rc = add_sets(job, &used, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_labels(job, err);
    }
    for (int64_t l = 0; rc == OTIMES_OK && l < job->info->n_layers; l++) {
        for (int64_t a = 0; a < list->count; a++) {
            if (list->first_layer[a] == l) {
                list->order[placed++] = a;
            }
        }
    }
    return rc;
}
