/* SPDX-License-Identifier: MIT */
#include "sink_page.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "page_parts.h"

static page *page_of(otimes_sink *sink)
{
    return sink->state;
}

/* ---- memory ---- */

static void *take(page *all, size_t count, size_t size, const char *what, int *rc, otimes_err *err)
{
    size_t bytes;
    void *memory = NULL;
    if (!__builtin_mul_overflow(count, size, &bytes)) {
        memory = arena_take(&all->memory, bytes);
    }
    if (memory) {
        memset(memory, 0, bytes);
    } else {
        *rc = fail_memory(err, what);
    }
    return memory;
}

/* NULL stays NULL. */
static const char *copy(page *all, const char *text, int *rc, otimes_err *err)
{
    char *copied = text ? arena_copy(&all->memory, text) : NULL;
    if (text && !copied) {
        *rc = fail_memory(err, "page");
    }
    return copied;
}

/* ---- facts ---- */

static int put_fact(page *all, page_fact **list, const char *group, const otimes_attr *attr,
                    otimes_err *err)
{
    int rc = 0;
    page_fact **at = list;
    while (*at && (strcmp((*at)->attr.name, attr->name) != 0 ||
                   strcmp((*at)->group ? (*at)->group : "", group ? group : "") != 0)) {
        at = &(*at)->next;
    }
    page_fact *fact = *at ? *at : take(all, 1, sizeof *fact, attr->name, &rc, err);
    if (rc) {
        return rc;
    }
    fact->group = copy(all, group, &rc, err);
    fact->attr = *attr;
    fact->attr.name = copy(all, attr->name, &rc, err);
    if (attr->kind == OTIMES_ATTR_TEXT) {
        fact->attr.text = copy(all, attr->text ? attr->text : "", &rc, err);
    }
    if (!rc) {
        *at = fact;
    }
    return rc;
}

int page_text(page *all, const char *group, const char *name, const char *text, otimes_err *err)
{
    const otimes_attr attr = {.name = name, .kind = OTIMES_ATTR_TEXT, .text = text};
    return put_fact(all, &all->facts, group, &attr, err);
}

int page_number(page *all, const char *name, int64_t value, otimes_err *err)
{
    const otimes_attr attr = {.name = name, .kind = OTIMES_ATTR_I64, .i64 = value};
    return put_fact(all, &all->facts, NULL, &attr, err);
}

static int same_value(const otimes_attr *a, const otimes_attr *b)
{
    if (a->kind != b->kind) {
        return 0;
    }
    switch (a->kind) {
    case OTIMES_ATTR_TEXT:
        return b->text && !strcmp(a->text, b->text);
    case OTIMES_ATTR_I64:
        return a->i64 == b->i64;
    case OTIMES_ATTR_F64:
        return a->f64 == b->f64;
    }
    return 0;
}

static int attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    page *all = page_of(sink);
    const page_fact *known = all->last == all->sections ? NULL : all->sections->facts;
    while (known && strcmp(known->attr.name, attr->name) != 0) {
        known = known->next;
    }
    return known && same_value(&known->attr, attr)
               ? 0
               : put_fact(all, &all->last->facts, NULL, attr, err);
}

/* ---- axes ---- */

static const char *label(const char *text)
{
    return text ? text : "";
}

static int find_labels(const page *all, const otimes_axis *about)
{
    for (int i = 0; i < all->label_count; i++) {
        int64_t same = 0;
        while (all->labels[i].count == about->length && same < about->length &&
               !strcmp(all->labels[i].text[same], label(about->text[same]))) {
            same++;
        }
        if (all->labels[i].count == about->length && same == about->length) {
            return i;
        }
    }
    return -1;
}

static int add_labels(page *all, const otimes_axis *about, int *index, otimes_err *err)
{
    int rc = 0;
    *index = find_labels(all, about);
    if (*index >= 0) {
        return 0;
    }
    page_labels *grown = realloc(all->labels, (size_t)(all->label_count + 1) * sizeof *grown);
    const char **text = take(all, (size_t)about->length, sizeof *text, about->name, &rc, err);
    all->labels = grown ? grown : all->labels;
    if (!grown) {
        rc = fail_memory(err, about->name);
    }
    for (int64_t i = 0; i < about->length && !rc; i++) {
        text[i] = copy(all, label(about->text[i]), &rc, err);
    }
    if (!rc) {
        *index = all->label_count++;
        grown[*index] = (page_labels){about->length, text};
    }
    return rc;
}

/* Without numbers that everybody knows. */
static int add_numbers(page *all, const otimes_axis *about, page_axis *axis, otimes_err *err)
{
    int rc = 0;
    int64_t known = 0;
    while (known < about->length && about->number[known] == known) {
        known++;
    }
    if (known == about->length) {
        return 0;
    }
    int64_t *number = take(all, (size_t)about->length, sizeof *number, about->name, &rc, err);
    if (!rc) {
        memcpy(number, about->number, (size_t)about->length * sizeof *number);
        axis->number = number;
    }
    return rc;
}

static page_axis *find_axis(const page *all, const char *name)
{
    page_axis *axis = all->last->axes;
    while (axis && strcmp(axis->name, name) != 0) {
        axis = axis->next;
    }
    return axis;
}

static int use_axis(page *all, const otimes_axis *about, page_axis **used, otimes_err *err)
{
    int rc = 0;
    *used = find_axis(all, about->name);
    if (*used) {
        return (*used)->length == about->length
                   ? 0
                   : fail(err, OTIMES_ERR_ARGUMENT,
                          "%s: axis %s: expected length %" PRId64 " as before, got %" PRId64,
                          all->last->name, about->name, (*used)->length, about->length);
    }
    page_axis *axis = take(all, 1, sizeof *axis, about->name, &rc, err);
    if (!axis) {
        return rc;
    }
    axis->labels = -1;
    axis->length = about->length;
    axis->name = copy(all, about->name, &rc, err);
    axis->long_name = copy(all, about->long_name, &rc, err);
    if (!rc && about->text) {
        rc = add_labels(all, about, &axis->labels, err);
    } else if (!rc && about->number) {
        rc = add_numbers(all, about, axis, err);
    }
    if (!rc) {
        page_axis **end = &all->last->axes;
        while (*end) {
            end = &(*end)->next;
        }
        *end = *used = axis;
    }
    return rc;
}

static int announce_axis(otimes_sink *sink, const otimes_axis *about, otimes_err *err)
{
    page_axis *axis;
    return use_axis(page_of(sink), about, &axis, err);
}

/* ---- arrays ---- */

static page_pack pack_of(const page_section *section, const char *name)
{
    const page_rule *rule = section->rules;
    while (rule->name && fnmatch(rule->name, name, 0) != 0) {
        rule++;
    }
    return rule->name ? rule->pack : PAGE_LEAVE;
}

static void fill_undefined(page_array *array)
{
    for (int64_t i = 0; i < array->count; i++) {
        switch (array->about.type) {
        case OTIMES_F32:
            ((float *)array->data)[i] = NAN;
            break;
        case OTIMES_F16:
            ((uint16_t *)array->data)[i] = page_half((double)NAN);
            break;
        case OTIMES_F64:
            ((double *)array->data)[i] = (double)NAN;
            break;
        case OTIMES_I32:
            ((int32_t *)array->data)[i] = -1;
            break;
        case OTIMES_I64:
            ((int64_t *)array->data)[i] = -1;
            break;
        case OTIMES_TEXT:
            break; /* NULL: the empty text */
        }
    }
}

static int make_room(page *all, page_array *array, otimes_err *err)
{
    int rc = 0;
    const size_t each = otimes_type_size(array->about.type);
    array->count = 1;
    for (int i = 0; i < array->about.ndim; i++) {
        if (__builtin_mul_overflow(array->count, array->axis[i]->length, &array->count)) {
            return fail_memory(err, array->about.name);
        }
    }
    if (array->about.type == OTIMES_TEXT) {
        array->text = take(all, (size_t)array->count, each, array->about.name, &rc, err);
        return rc;
    }
    array->data = calloc((size_t)array->count + 1, each);
    if (!array->data) {
        return fail_memory(err, array->about.name);
    }
    fill_undefined(array);
    return 0;
}

static int copy_facts(page *all, const otimes_array *about, page_array *array, otimes_err *err)
{
    int rc = 0;
    array->about = (otimes_array){.name = copy(all, about->name, &rc, err),
                                  .type = about->type,
                                  .ndim = about->ndim,
                                  .long_name = copy(all, about->long_name, &rc, err),
                                  .units = copy(all, about->units, &rc, err),
                                  .formula = copy(all, about->formula, &rc, err),
                                  .orientation = copy(all, about->orientation, &rc, err),
                                  .labels_of = copy(all, about->labels_of, &rc, err)};
    return rc;
}

static int add_array(page *all, const otimes_array *about, page_pack pack, page_array **out,
                     otimes_err *err)
{
    int rc = 0;
    page_array *array = take(all, 1, sizeof *array, about->name, &rc, err);
    if (!rc) {
        rc = copy_facts(all, about, array, err);
    }
    for (int i = 0; i < about->ndim && !rc; i++) {
        rc = use_axis(all, about->axis[i], &array->axis[i], err);
    }
    if (!rc) {
        rc = make_room(all, array, err);
    }
    if (rc) {
        return rc;
    }
    array->pack = pack;
    for (int i = 0; i < about->ndim; i++) {
        array->axis[i]->used = 1;
    }
    page_array **end = &all->last->arrays;
    while (*end) {
        end = &(*end)->next;
    }
    *end = *out = array;
    return 0;
}

static int declare(otimes_sink *sink, const otimes_array *about, int *id, otimes_err *err)
{
    page *all = page_of(sink);
    page_section *section = all->last;
    const page_pack pack = pack_of(section, about->name);
    page_array *array = NULL;
    page_array **grown =
        realloc(section->by_id, (size_t)(section->declared + 1) * sizeof(page_array *));
    if (!grown) {
        return fail_memory(err, about->name);
    }
    section->by_id = grown;
    const int rc = pack == PAGE_LEAVE ? 0 : add_array(all, about, pack, &array, err);
    if (!rc) {
        *id = section->declared++;
        grown[*id] = array;
    }
    return rc;
}

/* One run along the last axis, or the only entry. */
static int write_run(page *all, page_array *array, int64_t at, int64_t count, const void *data,
                     int64_t from, otimes_err *err)
{
    const size_t each = otimes_type_size(array->about.type);
    int rc = 0;
    if (array->about.type != OTIMES_TEXT) {
        memcpy((char *)array->data + each * (size_t)at, (const char *)data + each * (size_t)from,
               each * (size_t)count);
        return 0;
    }
    for (int64_t i = 0; i < count && !rc; i++) {
        array->text[at + i] = copy(all, label(((const char *const *)data)[from + i]), &rc, err);
    }
    return rc;
}

static int write_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                       const void *data, otimes_err *err)
{
    page *all = page_of(sink);
    page_array *array = all->last->by_id[id];
    int64_t at[OTIMES_MAX_DIMS] = {0}, total = 1;
    if (!array) {
        return 0;
    }
    const int ndim = array->about.ndim;
    const int64_t run = ndim ? count[ndim - 1] : 1;
    for (int i = 0; i < ndim; i++) {
        total *= count[i];
    }
    int rc = 0;
    for (int64_t done = 0; done < total && !rc; done += run) {
        int64_t place = 0;
        for (int i = 0; i < ndim; i++) {
            place = place * array->axis[i]->length + start[i] + at[i];
        }
        rc = write_run(all, array, place, run, data, done, err);
        for (int i = ndim - 2; i >= 0 && ++at[i] == count[i]; i--) {
            at[i] = 0;
        }
    }
    return rc;
}

static int finish(otimes_sink *sink, otimes_err *err)
{
    page *all = page_of(sink);
    int rc = 0;
    for (page_array *a = all->last->arrays; a && !rc; a = a->next) {
        page_axis *axis = a->about.labels_of ? find_axis(all, a->about.labels_of) : NULL;
        if (axis) {
            axis->used = 1;
        }
        rc = page_pack_array(&all->block, a, err);
        free(a->data);
        a->data = NULL;
    }
    return rc;
}

static const otimes_sink_ops ops = {.attribute = attribute,
                                    .axis = announce_axis,
                                    .declare = declare,
                                    .write = write_block,
                                    .finish = finish};

/* ---- sections ---- */

int page_new(page **out, otimes_err *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return fail_memory(err, "page");
    }
    (*out)->memory.most = SIZE_MAX;
    return 0;
}

int page_begin(page *all, const char *section, const page_rule *rules, otimes_sink *sink,
               otimes_err *err)
{
    int rc = 0;
    page_section *new = take(all, 1, sizeof *new, section, &rc, err);
    if (rc) {
        return rc;
    }
    new->name = copy(all, section, &rc, err);
    if (rc) {
        return rc;
    }
    new->rules = rules;
    new->labels = all->label_count;
    new->used = all->block.used;
    page_section **end = &all->sections;
    while (*end) {
        end = &(*end)->next;
    }
    *end = all->last = new;
    *sink = (otimes_sink){&ops, all};
    return 0;
}

static void free_section(page_section *section)
{
    for (page_array *a = section->arrays; a; a = a->next) {
        free(a->data);
    }
    free(section->by_id);
}

void page_drop(page *all)
{
    page_section **end = &all->sections;
    while (*end != all->last) {
        end = &(*end)->next;
    }
    all->label_count = all->last->labels;
    all->block.used = all->last->used;
    free_section(all->last);
    *end = NULL;
    all->last = all->sections; /* none is filled until another begins */
}

void page_free(page **all)
{
    if (!*all) {
        return;
    }
    for (page_section *s = (*all)->sections; s; s = s->next) {
        free_section(s);
    }
    arena_free(&(*all)->memory);
    free((*all)->labels);
    free((*all)->block.data);
    free(*all);
    *all = NULL;
}
