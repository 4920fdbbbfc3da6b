/* SPDX-License-Identifier: MIT
 *
 * What stands in the place of an ablated activation.
 */
#include <string.h>

#include "analysis/ablate_job.h"

/* The columns of a point that a member takes; count 0: it does not act there. */
static void columns_of(const ablate_job *job, const otimes_ablate_member *m, ablate_point point,
                       int64_t *first, int64_t *count)
{
    *first = *count = 0;
    switch (m->kind) {
    case OTIMES_ABLATE_HEAD:
        *first = m->index * job->info->d_head;
        *count = point == ABLATE_AT_Z ? job->info->d_head : 0;
        break;
    case OTIMES_ABLATE_ATTENTION:
        *count = point == ABLATE_AT_Z ? job->columns[ABLATE_AT_Z] : 0;
        break;
    case OTIMES_ABLATE_MLP:
        *count = point == ABLATE_AT_MLP ? job->columns[ABLATE_AT_MLP] : 0;
        break;
    case OTIMES_ABLATE_NEURON:
        *first = m->index;
        *count = point == ABLATE_AT_POST ? 1 : 0;
        break;
    }
}

/* The text of the group that a row belongs to; rows are asked for in ascending order. */
static int64_t text_of(const ablate_group *group, int64_t row, int64_t text)
{
    while (group->start[text + 1] <= row) {
        text++;
    }
    return text;
}

/* Where the values of a row's replacement begin: NULL for zeros. *same: the row stays as it is. */
static const float *replacement(const ablate_job *job, int64_t layer, ablate_point point,
                                int64_t text, int64_t row, bool *same)
{
    const ablate_group *g = &job->group;
    const int64_t position = row - g->start[text], columns = job->columns[point];
    *same = false;
    switch (job->settings->method) {
    case OTIMES_ABLATE_ZERO:
        return NULL;
    case OTIMES_ABLATE_MEAN:
        return job->means.value[point][layer];
    case OTIMES_ABLATE_MEAN_POSITION:
        return job->means.value[point][layer] + position * columns;
    case OTIMES_ABLATE_RESAMPLE: {
        const int64_t first = g->clean.start[g->source[text]];
        *same = position >= g->clean.start[g->source[text] + 1] - first;
        return *same ? NULL : job->clean[point] + (first + position) * columns;
    }
    }
    return NULL;
}

void otimes_ablate_edit(const ablate_job *job, int64_t a, int64_t layer, ablate_point point,
                        int64_t first_row, int64_t rows, float *data, int64_t stride)
{
    const ablate_list *list = &job->list;
    for (int64_t m = list->begin[a]; m < list->begin[a + 1]; m++) {
        int64_t first, count, text = 0;
        columns_of(job, &list->member[m], point, &first, &count);
        if (list->member[m].layer != layer || count == 0) {
            continue;
        }
        for (int64_t i = 0; i < rows; i++) {
            bool same;
            text = text_of(&job->group, first_row + i, text);
            const float *from = replacement(job, layer, point, text, first_row + i, &same);
            float *to = data + i * stride + first;
            if (from) {
                memcpy(to, from + first, (size_t)count * sizeof *to);
            } else if (!same) {
                memset(to, 0, (size_t)count * sizeof *to);
            }
        }
    }
}

bool otimes_ablate_replaces_mlp(const ablate_job *job, int64_t a, int64_t layer)
{
    const ablate_list *list = &job->list;
    for (int64_t m = list->begin[a]; m < list->begin[a + 1]; m++) {
        if (list->member[m].layer == layer && list->member[m].kind == OTIMES_ABLATE_MLP) {
            return true;
        }
    }
    return false;
}
