/* SPDX-License-Identifier: MIT
 *
 * The entries that two arrays share, by tiles: along each axis as many entries with consecutive
 * labels as fit, so that neither array is ever in memory as a whole. A tile is read as the smallest
 * block that holds it, from each array in that array's own order of axes.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "analysis/diff_job.h"
#include "base/half.h"
#include "base/sink.h"

/* A text may take so many times the room of a number. */
enum { TEXT_SHARE = 256 };

typedef enum values { REALS, INTEGERS, TEXTS } values;

typedef struct walk {
    diff_job *job;
    const otimes_array *a, *b;
    int64_t x, y; /* which arrays they are */
    diff_array *found;
    values kind;
    int ndim;
    const diff_axis *axis[OTIMES_MAX_DIMS]; /* in A's order */
    int place[OTIMES_MAX_DIMS];             /* of each of them in B */
    const diff_axis *pointed; /* of indices, the axis they point into; NULL: plain numbers */
    int64_t limit[OTIMES_MAX_DIMS];
    int64_t first[OTIMES_MAX_DIMS], count[OTIMES_MAX_DIMS]; /* the tile, in shared entries */
    int64_t start_a[OTIMES_MAX_DIMS], extent_a[OTIMES_MAX_DIMS], stride_a[OTIMES_MAX_DIMS];
    int64_t start_b[OTIMES_MAX_DIMS], extent_b[OTIMES_MAX_DIMS], stride_b[OTIMES_MAX_DIMS];
    int64_t worst_at[OTIMES_MAX_DIMS]; /* indices in A of the entry that is told of */
} walk;

static values kind_of(otimes_type type)
{
    switch (type) {
    case OTIMES_I32:
    case OTIMES_I64:
        return INTEGERS;
    case OTIMES_TEXT:
        return TEXTS;
    case OTIMES_F16:
    case OTIMES_F32:
    case OTIMES_F64:
        return REALS;
    }
    return REALS; /* unreached: all cases return */
}

static int64_t in_a(const diff_axis *axis, int64_t shared)
{
    return axis->same ? shared : axis->in_a[shared];
}

static int64_t in_b(const diff_axis *axis, int64_t shared)
{
    return axis->same ? shared : axis->in_b[shared];
}

/* ---- which axis is which ---- */

static int place_of(const otimes_array *array, const char *axis)
{
    for (int d = 0; d < array->ndim; d++) {
        if (strcmp(array->axis[d]->name, axis) == 0) {
            return d;
        }
    }
    return -1;
}

/* Entries of an array that the other has no label for; -1 when their number overflows. */
static int64_t left_over(const walk *w, bool of_a)
{
    int64_t all = 1, shared = 1;
    for (int d = 0; d < w->ndim; d++) {
        const diff_axis *axis = w->axis[d];
        if (!otimes_mul_i64(all, of_a ? axis->a->length : axis->b->length, &all)) {
            return -1;
        }
        shared *= axis->shared;
    }
    return all - shared;
}

/* False when the arrays cannot be compared, with the reason in found->status. */
static bool line_up(walk *w)
{
    w->ndim = w->a->ndim;
    w->kind = kind_of(w->a->type);
    bool fits = w->a->ndim == w->b->ndim;
    for (int d = 0; d < w->ndim && fits; d++) {
        w->axis[d] = otimes_diff_axis_of(w->job, w->a->axis[d]->name);
        w->place[d] = place_of(w->b, w->a->axis[d]->name);
        fits = w->place[d] >= 0 && w->axis[d]->comparable;
    }
    if (!fits || w->kind != kind_of(w->b->type)) {
        w->found->status = fits ? DIFF_TYPES : DIFF_AXES;
        return false;
    }
    if (w->kind == INTEGERS && w->a->labels_of && w->b->labels_of &&
        strcmp(w->a->labels_of, w->b->labels_of) == 0) {
        const diff_axis *axis = otimes_diff_axis_of(w->job, w->a->labels_of);
        w->pointed = axis && axis->comparable ? axis : NULL;
    }
    return true;
}

/* ---- one entry ---- */

static double real_at(const void *data, otimes_type type, int64_t i)
{
    return type == OTIMES_F32   ? (double)((const float *)data)[i]
           : type == OTIMES_F64 ? ((const double *)data)[i]
                                : (double)otimes_float_of_half(((const uint16_t *)data)[i]);
}

static int64_t integer_at(const void *data, otimes_type type, int64_t i)
{
    return type == OTIMES_I32 ? ((const int32_t *)data)[i] : ((const int64_t *)data)[i];
}

static const char *text_at(const void *data, int64_t i)
{
    const char *text = ((const char *const *)data)[i];
    return text ? text : "";
}

/* Counts a differing entry; true when it is the one to be told of. `gap` -1: it has no size. */
static bool differs(walk *w, const int64_t *at, double gap)
{
    diff_array *found = w->found;
    found->differing++;
    if (found->seen && !(gap > found->worst)) {
        return false;
    }
    found->seen = true;
    found->worst = gap;
    memcpy(w->worst_at, at, sizeof w->worst_at);
    return true;
}

static void measure(diff_array *found, double gap, double size)
{
    const double relative = gap == 0 ? 0 : isinf(gap) ? INFINITY : gap / size;
    found->max_abs = found->max_abs > gap ? found->max_abs : gap; /* NaN gives way */
    found->max_rel = found->max_rel > relative ? found->max_rel : relative;
}

static void see_real(walk *w, const int64_t *at, double x, double y)
{
    const otimes_diff_settings *s = w->job->settings;
    double gap = -1;
    bool equal;
    if (isnan(x) || isnan(y)) {
        equal = isnan(x) && isnan(y);
        w->found->undefined_in_one += !equal;
    } else {
        gap = x == y ? 0 : fabs(x - y); /* equal infinities have no difference */
        measure(w->found, gap, fmax(fabs(x), fabs(y)));
        equal = gap == 0 || (!isinf(gap) && gap <= s->atol + s->rtol * fabs(y));
    }
    if (!equal && differs(w, at, gap)) {
        w->found->value_a = x;
        w->found->value_b = y;
    }
}

static bool same_index(const diff_axis *axis, int64_t x, int64_t y)
{
    const bool inside = x >= 0 && x < axis->a->length;
    return axis->same || !inside ? x == y : axis->b_of_a[x] == y;
}

static void see_integer(walk *w, const int64_t *at, int64_t x, int64_t y)
{
    const double gap =
        x > y ? (double)((uint64_t)x - (uint64_t)y) : (double)((uint64_t)y - (uint64_t)x);
    bool equal = x == y;
    if (w->pointed) {
        equal = same_index(w->pointed, x, y);
    } else {
        measure(w->found, gap, fmax(fabs((double)x), fabs((double)y)));
    }
    if (!equal && differs(w, at, w->pointed ? -1 : gap)) {
        w->found->value_a = (double)x;
        w->found->value_b = (double)y;
    }
}

static int keep(char **text, const char *value, otimes_err *err)
{
    otimes_free(*text);
    *text = otimes_strdup(value);
    return *text ? OTIMES_OK : otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: text");
}

/* Texts live until the next block is read, so the one that is told of is copied. */
static int see_text(walk *w, const int64_t *at, const char *x, const char *y, otimes_err *err)
{
    if (strcmp(x, y) == 0 || !differs(w, at, -1)) {
        return OTIMES_OK;
    }
    const int rc = keep(&w->found->text_a, x, err);
    return rc == OTIMES_OK ? keep(&w->found->text_b, y, err) : rc;
}

/* ---- one tile ---- */

/* The entries along the last axis at one place of the others. */
static int see_row(walk *w, int64_t *at, int64_t offset_a, int64_t offset_b, otimes_err *err)
{
    const void *a = w->job->data_a, *b = w->job->data_b;
    const int last = w->ndim - 1;
    const int64_t n = last < 0 ? 1 : w->count[last];
    int rc = OTIMES_OK;
    for (int64_t k = 0; k < n && rc == OTIMES_OK; k++) {
        int64_t i = offset_a, j = offset_b;
        if (last >= 0) {
            const int64_t shared = w->first[last] + k;
            at[last] = in_a(w->axis[last], shared);
            i += at[last] - w->start_a[last];
            j += (in_b(w->axis[last], shared) - w->start_b[w->place[last]]) *
                 w->stride_b[w->place[last]];
        }
        switch (w->kind) {
        case REALS:
            see_real(w, at, real_at(a, w->a->type, i), real_at(b, w->b->type, j));
            break;
        case INTEGERS:
            see_integer(w, at, integer_at(a, w->a->type, i), integer_at(b, w->b->type, j));
            break;
        case TEXTS:
            rc = see_text(w, at, text_at(a, i), text_at(b, j), err);
            break;
        }
    }
    w->found->compared += n;
    return rc;
}

static void strides(int ndim, const int64_t *extent, int64_t *stride)
{
    int64_t step = 1;
    for (int d = ndim - 1; d >= 0; d--) {
        stride[d] = step;
        step *= extent[d];
    }
}

static int see_tile(walk *w, otimes_err *err)
{
    diff_job *job = w->job;
    int64_t at[OTIMES_MAX_DIMS] = {0}, rows = 1;
    strides(w->ndim, w->extent_a, w->stride_a);
    strides(w->ndim, w->extent_b, w->stride_b);
    int rc = job->a->ops->read(job->a, w->x, w->start_a, w->extent_a, job->data_a, err);
    if (rc == OTIMES_OK) {
        rc = job->b->ops->read(job->b, w->y, w->start_b, w->extent_b, job->data_b, err);
    }
    for (int d = 0; d < w->ndim - 1; d++) {
        rows *= w->count[d];
    }
    for (int64_t r = 0; r < rows && rc == OTIMES_OK; r++) {
        int64_t rest = r, offset_a = 0, offset_b = 0;
        for (int d = w->ndim - 2; d >= 0; d--) {
            const int64_t shared = w->first[d] + rest % w->count[d];
            const int e = w->place[d];
            rest /= w->count[d];
            at[d] = in_a(w->axis[d], shared);
            offset_a += (at[d] - w->start_a[d]) * w->stride_a[d];
            offset_b += (in_b(w->axis[d], shared) - w->start_b[e]) * w->stride_b[e];
        }
        rc = see_row(w, at, offset_a, offset_b, err);
    }
    return rc;
}

/* ---- all tiles ---- */

/* The most entries along each axis: all of the last ones, as many as are left of the one before. */
static void set_limits(walk *w)
{
    const int64_t texts = w->job->block / TEXT_SHARE > 0 ? w->job->block / TEXT_SHARE : 1;
    int64_t room = w->kind == TEXTS ? texts : w->job->block;
    for (int d = w->ndim - 1; d >= 0; d--) {
        const diff_axis *axis = w->axis[d];
        const int64_t longest =
            axis->a->length > axis->b->length ? axis->a->length : axis->b->length;
        w->limit[d] = longest < room ? longest : room;
        room /= w->limit[d] > 0 ? w->limit[d] : 1;
    }
}

/* The entries from first[d] on that lie within the limit in both arrays. */
static void cut(walk *w, int d)
{
    const diff_axis *axis = w->axis[d];
    const int64_t first = w->first[d], begin = in_a(axis, first), limit = w->limit[d];
    int64_t low = in_b(axis, first), high = low, n = 1;
    if (axis->same) {
        n = axis->shared - first < limit ? axis->shared - first : limit;
        high = low + n - 1;
    }
    for (; !axis->same && first + n < axis->shared; n++) {
        const int64_t b = axis->in_b[first + n];
        const int64_t l = b < low ? b : low, h = b > high ? b : high;
        if (h - l >= limit || axis->in_a[first + n] - begin >= limit) {
            break;
        }
        low = l;
        high = h;
    }
    w->count[d] = n;
    w->start_a[d] = begin;
    w->extent_a[d] = in_a(axis, first + n - 1) - begin + 1;
    w->start_b[w->place[d]] = low;
    w->extent_b[w->place[d]] = high - low + 1;
}

/* The tile after this one; false after the last. */
static bool next(walk *w)
{
    for (int d = w->ndim - 1; d >= 0; d--) {
        w->first[d] += w->count[d];
        if (w->first[d] < w->axis[d]->shared) {
            cut(w, d);
            return true;
        }
        w->first[d] = 0;
        cut(w, d);
    }
    return false;
}

static int see_all(walk *w, otimes_err *err)
{
    diff_job *job = w->job;
    int rc = OTIMES_OK;
    for (int d = 0; d < w->ndim; d++) {
        if (w->axis[d]->shared == 0) {
            return OTIMES_OK;
        }
    }
    set_limits(w);
    for (int d = 0; d < w->ndim; d++) {
        cut(w, d);
    }
    const double before = job->done;
    do {
        rc = see_tile(w, err);
        job->done = before + (double)w->found->compared;
        if (rc == OTIMES_OK) {
            rc = otimes_sink_progress(job->sink, job->done, job->total, err);
        }
    } while (rc == OTIMES_OK && next(w));
    return rc;
}

/* ---- the entry that is told of ---- */

static int tell_label(const otimes_axis *axis, double index, char **text, otimes_err *err)
{
    char buffer[DIFF_LABEL];
    return index >= 0 && index < (double)axis->length
               ? keep(text, otimes_diff_label(axis, (int64_t)index, buffer), err)
               : OTIMES_OK;
}

static int tell(walk *w, otimes_err *err)
{
    diff_array *found = w->found;
    otimes_text where = {0};
    char buffer[DIFF_LABEL];
    int rc = OTIMES_OK;
    for (int d = 0; d < w->ndim && rc == OTIMES_OK; d++) {
        rc = otimes_text_add(&where, err, "%s%s %s", d ? ", " : "", w->a->axis[d]->name,
                             otimes_diff_label(w->axis[d]->a, w->worst_at[d], buffer));
    }
    found->where = where.data;
    if (rc == OTIMES_OK && w->pointed) {
        rc = tell_label(w->pointed->a, found->value_a, &found->text_a, err);
        if (rc == OTIMES_OK) {
            rc = tell_label(w->pointed->b, found->value_b, &found->text_b, err);
        }
    }
    return rc;
}

int otimes_diff_values(diff_job *job, int64_t x, int64_t y, diff_array *found, otimes_err *err)
{
    walk w = {.job = job,
              .a = job->a->ops->array(job->a, x),
              .b = job->b->ops->array(job->b, y),
              .x = x,
              .y = y,
              .found = found};
    if (!line_up(&w)) {
        return OTIMES_OK;
    }
    found->only_a = left_over(&w, true);
    found->only_b = left_over(&w, false);
    if (found->only_a < 0 || found->only_b < 0) { /* unreached: too many to hold */
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: %s: more entries than can be counted",
                           found->only_a < 0 ? job->a->name : job->b->name, found->name);
    }
    int rc = see_all(&w, err);
    if (rc == OTIMES_OK && found->seen) {
        rc = tell(&w, err);
    }
    const bool left = !job->settings->common && (found->only_a > 0 || found->only_b > 0);
    found->status = found->differing > 0 || left ? DIFF_DIFFERS : DIFF_EQUAL;
    return rc;
}
