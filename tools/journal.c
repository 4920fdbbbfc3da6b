/* SPDX-License-Identifier: MIT
 *
 * The sink of a journal. Blocks of an interrupted run are taken over when the first block is
 * written or asked for, in their old order and only as far as their arrays are declared: what was
 * declared between blocks then comes between them again.
 */
#include "journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "journal_file.h"
#include "stop.h"

/* What was declared is gone when a block comes: the analysis owns it. */
typedef struct array {
    char *text; /* "name type axis=length ..." */
    int name;   /* bytes of it that are the name */
    int by_text;
    otimes_type type;
    int ndim;
    int64_t length[OTIMES_MAX_DIMS];
    int id;         /* the target's */
    int64_t widest; /* entries along the first axis that a block taken over has at most */
    int64_t end;    /* where the furthest block along the first axis ends */
} array;

typedef struct state {
    otimes_sink *target;
    const journal_keeper *keeper; /* NULL: the target keeps nothing */
    journal_file file;
    char *block; /* one that the target kept */
    int64_t block_capacity;
    journal_record *past; /* blocks taken over; in order of compare_blocks where sorted */
    int64_t past_count, past_capacity;
    int sorted;
    array *arrays;
    int array_count;
    int described; /* arrays that have their record */
    int asked;     /* array whose blocks were asked for; -1: none */
    int finished;
    otimes_err failed; /* of a question, which cannot say so itself */
} state;

/* ---- arrays and blocks ---- */

/* Number of entries of a block, or -1 when it is none of the array. */
static int64_t block_entries(const array *of, const int64_t *start, const int64_t *count)
{
    int64_t n = 1;
    for (int i = 0; i < of->ndim; i++) {
        const int64_t length = of->length[i];
        if (start[i] < 0 || count[i] < 0 || start[i] > length || count[i] > length - start[i] ||
            __builtin_mul_overflow(n, count[i], &n)) {
            return -1;
        }
    }
    return n;
}

/* "name type axis=length ..."; released with free. NULL: no memory. */
static char *describe(const otimes_array *about)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to) {
        return NULL;
    }
    fprintf(to, "%s %d", about->name, (int)about->type);
    for (int i = 0; i < about->ndim; i++) {
        fprintf(to, " %s=%lld", about->axis[i]->name, (long long)about->axis[i]->length);
    }
    if (fclose(to)) {
        free(text);
        return NULL;
    }
    return text;
}

static int compare_blocks(const void *a, const void *b)
{
    const journal_record *x = a, *y = b;
    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }
    for (int i = 0; i < OTIMES_MAX_DIMS; i++) {
        if (x->start[i] != y->start[i]) {
            return x->start[i] < y->start[i] ? -1 : 1;
        }
    }
    for (int i = 0; i < OTIMES_MAX_DIMS; i++) {
        if (x->count[i] != y->count[i]) {
            return x->count[i] < y->count[i] ? -1 : 1;
        }
    }
    return 0;
}

/* Index of the first past block that is not before `key`. */
static int64_t first_not_before(state *self, const journal_record *key)
{
    int64_t low = 0, high = self->past_count;
    if (!self->sorted && self->past_count) {
        qsort(self->past, (size_t)self->past_count, sizeof *self->past, compare_blocks);
        self->sorted = 1;
    }
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (compare_blocks(&self->past[middle], key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static journal_record make_block(const state *self, int id, const int64_t *start,
                                 const int64_t *count)
{
    journal_record block = {.kind = JOURNAL_BLOCK, .id = id};
    const size_t size = (size_t)self->arrays[id].ndim * sizeof *start;
    memcpy(block.start, start, size);
    memcpy(block.count, count, size);
    return block;
}

static void note_end(array *of, const journal_record *block)
{
    const int64_t end = block->start[0] + block->count[0];
    of->end = of->end < end ? end : of->end;
}

/* ---- taking over ---- */

/* Texts lie one behind the other, each with its NUL. */
static int pass_on_texts(state *self, const journal_record *block, int64_t n, otimes_err *err)
{
    const array *to = &self->arrays[block->id];
    const char *data = self->file.data, *end = data + block->bytes;
    int64_t found = 0;
    const char **text = malloc((size_t)(n < block->bytes ? n : block->bytes) * sizeof *text + 1);
    if (!text) {
        return fail_memory(err, self->file.path);
    }
    for (const char *at = data; found < n && at < end && memchr(at, '\0', (size_t)(end - at));) {
        text[found++] = at;
        at += strlen(at) + 1;
    }
    const int rc =
        found < n
            ? fail(err, OTIMES_ERR_FORMAT, "%s: %.*s: expected a block of %lld texts, got %lld",
                   self->file.path, to->name, to->text, (long long)n, (long long)found)
            : self->target->ops->write(self->target, to->id, block->start, block->count, text, err);
    free(text);
    return rc;
}

static int pass_on(state *self, const journal_record *block, otimes_err *err)
{
    const array *to = &self->arrays[block->id];
    const int64_t n = block_entries(to, block->start, block->count);
    const int64_t size = (int64_t)otimes_type_size(to->type);
    int64_t bytes = -1;
    if (n >= 0 && to->type == OTIMES_TEXT) {
        return pass_on_texts(self, block, n, err);
    }
    if (n < 0 || __builtin_mul_overflow(n, size, &bytes) || bytes != block->bytes) {
        return fail(err, OTIMES_ERR_FORMAT,
                    "%s: %.*s: expected a block of the array, got %lld bytes", self->file.path,
                    to->name, to->text, (long long)block->bytes);
    }
    return self->target->ops->write(self->target, to->id, block->start, block->count,
                                    self->file.data, err);
}

/* *there is 0 when the target no longer has the block as it was written. */
static int pass_on_kept(state *self, const journal_record *block, int *there, otimes_err *err)
{
    const array *of = &self->arrays[block->id];
    const int64_t n = block_entries(of, block->start, block->count);
    int64_t bytes;
    uint64_t sum;
    *there = 0;
    if (n < 0 || block->bytes != sizeof sum || !self->keeper ||
        !self->keeper->keeps(self->target, of->id) ||
        __builtin_mul_overflow(n, (int64_t)otimes_type_size(of->type), &bytes)) {
        return 0;
    }
    if (bytes > self->block_capacity) {
        free(self->block);
        self->block = malloc((size_t)bytes);
        self->block_capacity = self->block ? bytes : 0;
        if (!self->block) {
            return fail_memory(err, self->file.path);
        }
    }
    memcpy(&sum, self->file.data, sizeof sum);
    *there = self->keeper->read(self->target, of->id, block->start, block->count, self->block) &&
             journal_sum(self->block, bytes) == sum;
    if (*there) {
        self->keeper->adopt(self->target, of->id, block->count);
    }
    return 0;
}

static int remember(state *self, const journal_record *block, otimes_err *err)
{
    array *of = &self->arrays[block->id];
    if (self->past_count == self->past_capacity) {
        const int64_t capacity = self->past_capacity ? 2 * self->past_capacity : 256;
        journal_record *grown = realloc(self->past, (size_t)capacity * sizeof *grown);
        if (!grown) {
            return fail_memory(err, self->file.path);
        }
        self->past = grown;
        self->past_capacity = capacity;
    }
    journal_record *kept = &self->past[self->past_count++];
    *kept = *block;
    kept->check = journal_check(0, block, self->file.data); /* of what it says alone */
    self->sorted = 0;
    of->widest = of->widest < block->count[0] ? block->count[0] : of->widest;
    note_end(of, block);
    return 0;
}

/* An array must be what it was. */
static int check_array(state *self, const journal_record *record, otimes_err *err)
{
    const char *now = self->arrays[record->id].text;
    const int bytes = (int)record->bytes;
    int rc = 0;
    if ((int64_t)strlen(now) != record->bytes || memcmp(now, self->file.data, (size_t)bytes) != 0) {
        rc = fail(err, OTIMES_ERR_ARGUMENT,
                  "--resume: %s: expected the array '%.*s' as in the interrupted run, got '%s'",
                  self->file.path, bytes, self->file.data, now);
    }
    self->described = record->id + 1;
    return rc;
}

/* The record at hand, of an array that is declared. */
static int take_record(state *self, const journal_record *r, otimes_err *err)
{
    int rc = 0, there = 1;
    switch ((journal_kind)r->kind) {
    case JOURNAL_ARRAY:
        rc = check_array(self, r, err);
        break;
    case JOURNAL_BLOCK:
        rc = pass_on(self, r, err);
        break;
    case JOURNAL_KEPT:
        rc = pass_on_kept(self, r, &there, err);
        break;
    }
    if (!rc && !there) {
        journal_file_drop(&self->file);
        return 0;
    }
    if (!rc && r->kind != JOURNAL_ARRAY) {
        rc = remember(self, r, err);
    }
    if (!rc) {
        journal_file_advance(&self->file, r);
    }
    return rc;
}

static int take_over(state *self, otimes_err *err)
{
    journal_record r;
    int rc;
    while ((rc = journal_file_peek(&self->file, &r, err)) == 1) {
        if (r.id >= self->array_count) {
            return 0;
        }
        if (stop_signal()) {
            return fail(err, OTIMES_ERR_CANCELLED, "%s", otimes_strerror(OTIMES_ERR_CANCELLED));
        }
        rc = take_record(self, &r, err);
        if (rc) {
            return rc;
        }
    }
    return rc;
}

/* ---- new blocks ---- */

/* Whether the past run wrote just this block. Its ids and texts must then have been these, being
 * what the model was run on; numbers of another machine may round differently. */
static int is_past(state *self, const journal_record *block, const void *data, int *past,
                   otimes_err *err)
{
    const array *of = &self->arrays[block->id];
    int same = of->type == OTIMES_F16 || of->type == OTIMES_F32 || of->type == OTIMES_F64;
    *past = 0;
    for (int64_t i = first_not_before(self, block);
         i < self->past_count && !compare_blocks(&self->past[i], block); i++) {
        *past = 1;
        same = same || self->past[i].check == journal_check(0, block, data);
    }
    return !*past || same
               ? 0
               : fail(err, OTIMES_ERR_ARGUMENT,
                      "--resume: %s: expected the %.*s of the interrupted run, got others; without "
                      "--resume it starts anew",
                      self->file.path, of->name, of->text);
}

static int append_array(state *self, int id, otimes_err *err)
{
    const char *text = self->arrays[id].text;
    journal_record r = {.kind = JOURNAL_ARRAY, .id = id, .bytes = (int64_t)strlen(text)};
    return journal_file_append(&self->file, &r, text, err);
}

static int append_block(state *self, journal_record *block, const void *data, otimes_err *err)
{
    int rc = 0;
    for (; !rc && self->described <= block->id; self->described += !rc) {
        rc = append_array(self, self->described, err);
    }
    if (!rc) {
        rc = journal_file_append(&self->file, block, data, err);
    }
    if (!rc) {
        note_end(&self->arrays[block->id], block);
    }
    return rc;
}

/* The texts of a block one behind the other; released with free. NULL: no memory. */
static char *join_texts(const char *const *text, int64_t n, int64_t *bytes)
{
    *bytes = 0;
    for (int64_t i = 0; i < n; i++) {
        *bytes += (int64_t)strlen(text[i]) + 1;
    }
    char *joined = malloc((size_t)*bytes + 1), *to = joined;
    for (int64_t i = 0; joined && i < n; i++) {
        to = stpcpy(to, text[i]) + 1;
    }
    return joined;
}

/* ---- the sink ---- */

static int attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    otimes_sink *target = ((state *)sink->state)->target;
    return target->ops->attribute(target, attr, err);
}

static int announce_axis(otimes_sink *sink, const otimes_axis *axis, otimes_err *err)
{
    otimes_sink *target = ((state *)sink->state)->target;
    return target->ops->axis ? target->ops->axis(target, axis, err) : 0;
}

static int declare(otimes_sink *sink, const otimes_array *about, int *id, otimes_err *err)
{
    state *self = sink->state;
    array *grown = realloc(self->arrays, (size_t)(self->array_count + 1) * sizeof *grown);
    if (!grown) {
        return fail_memory(err, self->file.path);
    }
    self->arrays = grown;
    array *made = &self->arrays[self->array_count];
    *made = (array){.name = (int)strlen(about->name), .type = about->type, .ndim = about->ndim};
    const int rc = self->target->ops->declare(self->target, about, &made->id, err);
    if (rc) {
        return rc;
    }
    for (int i = 0; i < about->ndim; i++) {
        made->length[i] = about->axis[i]->length;
    }
    made->by_text = about->ndim > 0 && !strcmp(about->axis[0]->name, JOURNAL_AXIS);
    made->text = describe(about);
    if (!made->text) {
        return fail_memory(err, self->file.path);
    }
    *id = self->array_count++;
    return 0;
}

static int write_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                       const void *data, otimes_err *err)
{
    state *self = sink->state;
    const array *to = &self->arrays[id];
    journal_record block = make_block(self, id, start, count);
    const int64_t n = block_entries(to, start, count);
    char *joined = NULL;
    const void *kept = data;
    uint64_t sum;
    int past = 0;
    if (self->failed.code) {
        return fail(err, self->failed.code, "%s", self->failed.msg);
    }
    int rc = take_over(self, err);
    if (rc || n < 0) { /* the target says what is wrong with such a block */
        return rc ? rc : self->target->ops->write(self->target, to->id, start, count, data, err);
    }
    if (self->keeper && self->keeper->keeps(self->target, to->id)) {
        sum = journal_sum(data, n * (int64_t)otimes_type_size(to->type));
        kept = &sum;
        block.kind = JOURNAL_KEPT;
        block.bytes = sizeof sum;
    } else if (to->type == OTIMES_TEXT) {
        kept = joined = join_texts(data, n, &block.bytes);
        rc = joined ? 0 : fail_memory(err, self->file.path);
    } else if (__builtin_mul_overflow(n, (int64_t)otimes_type_size(to->type), &block.bytes)) {
        rc = fail_memory(err, self->file.path);
    }
    if (!rc) {
        rc = is_past(self, &block, kept, &past, err);
    }
    if (!rc && !past) {
        rc = self->target->ops->write(self->target, to->id, start, count, data, err);
    }
    if (!rc && !past) {
        rc = append_block(self, &block, kept, err);
    }
    free(joined);
    return rc;
}

/* Entries that two blocks of the array have in common. */
static int64_t common_entries(const array *of, const journal_record *a, const journal_record *b)
{
    int64_t n = 1;
    for (int i = 0; i < of->ndim; i++) {
        const int64_t a_end = a->start[i] + a->count[i], b_end = b->start[i] + b->count[i];
        const int64_t low = a->start[i] > b->start[i] ? a->start[i] : b->start[i];
        const int64_t high = a_end < b_end ? a_end : b_end;
        n *= high > low ? high - low : 0;
    }
    return n;
}

/* One block taken over, or several without overlap, that hold all of it. */
static int has(otimes_sink *sink, int id, const int64_t *start, const int64_t *count)
{
    state *self = sink->state;
    const array *of = &self->arrays[id];
    const journal_record block = make_block(self, id, start, count);
    const int64_t n = block_entries(of, start, count);
    int64_t there = 0;
    if (n < 0) {
        return 0;
    }
    self->asked = id;
    if (!self->failed.code && take_over(self, &self->failed)) {
        return 0;
    }
    int64_t i = first_not_before(self, &block);
    if (i < self->past_count && !compare_blocks(&self->past[i], &block)) {
        return 1;
    }
    /* None that begins earlier reaches it. */
    const journal_record from = {.id = id, .start = {start[0] - of->widest + 1}};
    for (i = first_not_before(self, &from); i < self->past_count && self->past[i].id == id &&
                                            self->past[i].start[0] < start[0] + count[0];
         i++) {
        there += common_entries(of, &block, &self->past[i]);
    }
    return n > 0 && there == n;
}

static int finish(otimes_sink *sink, otimes_err *err)
{
    state *self = sink->state;
    if (self->failed.code) {
        return fail(err, self->failed.code, "%s", self->failed.msg);
    }
    const int rc = self->target->ops->finish(self->target, err);
    self->finished = !rc;
    return rc;
}

static const otimes_sink_ops ops = {.attribute = attribute,
                                    .axis = announce_axis,
                                    .declare = declare,
                                    .write = write_block,
                                    .has = has,
                                    .finish = finish};

int journal_open(otimes_sink *sink, otimes_sink *target, const char *path, const char *identity,
                 int resume, otimes_err *err)
{
    state *self = calloc(1, sizeof *self);
    const size_t size = strlen(path) + sizeof ".journal";
    char *name = malloc(size);
    *sink = (otimes_sink){&ops, self};
    if (!self || !name) {
        free(name);
        free(self);
        sink->state = NULL;
        return fail_memory(err, path);
    }
    snprintf(name, size, "%s.journal", path);
    self->target = target;
    self->asked = -1;
    const int rc = journal_file_open(&self->file, name, identity, resume, err);
    free(name);
    if (rc) {
        journal_close(sink);
    }
    return rc;
}

void journal_keep_by(otimes_sink *sink, const journal_keeper *keeper)
{
    state *self = sink->state;
    self->keeper = keeper;
}

int journal_keeps(const otimes_sink *sink, int64_t *texts)
{
    const state *self = sink->state;
    const array *of = self && self->asked >= 0 ? &self->arrays[self->asked] : NULL;
    *texts = of && of->by_text ? of->end : 0;
    return self && !self->finished && ((of && of->end > 0) || self->file.resumed);
}

void journal_close(otimes_sink *sink)
{
    state *self = sink->state;
    int64_t texts;
    if (!self) {
        return;
    }
    journal_file_close(&self->file, journal_keeps(sink, &texts));
    for (int i = 0; i < self->array_count; i++) {
        free(self->arrays[i].text);
    }
    free(self->block);
    free(self->past);
    free(self->arrays);
    free(self);
    sink->state = NULL;
}
