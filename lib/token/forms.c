/* SPDX-License-Identifier: MIT
 *
 * Unicode normal forms (UAX 15), with the account of what became of each character that ranges of
 * tokens need. Composition and its account follow the crate unicode-normalization-alignments, which
 * Hugging Face tokenizers use. Marks are sorted by counting, so that a text of nothing but marks
 * costs no more than another.
 */
#include "token/forms.h"

#include <string.h>

#include "token/unicode.h"
#include "token/utf8.h"

typedef struct item {
    uint32_t code;
    int32_t change; /* as in otimes_rewrite_put */
} item;

typedef struct run {
    item *item, *sorted;
    int64_t count, capacity, sorted_capacity;
} run;

static int add(run *r, uint32_t code, int change, otimes_err *err)
{
    const int rc = OTIMES_GROW(&r->item, r->count, &r->capacity, err);
    if (rc == OTIMES_OK) {
        r->item[r->count++] = (item){code, change};
    }
    return rc;
}

static int decompose(run *r, const char *text, int64_t length, bool compatibility, otimes_err *err)
{
    int rc = OTIMES_OK, step;
    r->count = 0;
    for (int64_t at = 0; rc == OTIMES_OK && at < length; at += step) {
        uint32_t parts[OTIMES_DECOMPOSITION_MOST];
        const int count =
            otimes_unicode_decompose(otimes_utf8_get(text + at, &step), compatibility, parts);
        for (int i = 0; rc == OTIMES_OK && i < count; i++) {
            rc = add(r, parts[i], i > 0, err);
        }
    }
    return rc;
}

/* Marks begin .. end-1 by their class, equals in their order. */
static void sort_marks(run *r, int64_t begin, int64_t end)
{
    int64_t place[257] = {0};
    bool sorted = true;
    for (int64_t i = begin; i < end; i++) {
        place[otimes_combining_class(r->item[i].code) + 1]++;
        sorted = sorted && (i == begin || otimes_combining_class(r->item[i - 1].code) <=
                                              otimes_combining_class(r->item[i].code));
    }
    if (sorted) {
        return;
    }
    for (int i = 1; i < 257; i++) {
        place[i] += place[i - 1];
    }
    for (int64_t i = begin; i < end; i++) {
        r->sorted[place[otimes_combining_class(r->item[i].code)]++] = r->item[i];
    }
    memcpy(r->item + begin, r->sorted, (size_t)(end - begin) * sizeof *r->item);
}

static int order(run *r, otimes_err *err)
{
    if (r->sorted_capacity < r->count) {
        otimes_free(r->sorted);
        r->sorted = NULL;
        r->sorted_capacity = 0;
        const int rc = OTIMES_NEW(&r->sorted, r->count, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
        r->sorted_capacity = r->count;
    }
    int64_t marks = 0; /* how many stand before i */
    for (int64_t i = 0; i <= r->count; i++) {
        if (i < r->count && otimes_combining_class(r->item[i].code) != 0) {
            marks++;
            continue;
        }
        if (marks > 1) {
            sort_marks(r, i - marks, i);
        }
        marks = 0;
    }
    return OTIMES_OK;
}

/* Primary composition in place. A character is blocked from the starter by one between them of its
 * own or a higher class. */
static void compose(run *r)
{
    int64_t kept = 0, starter = -1;
    int last = 0; /* class of what was kept last behind the starter; 0: nothing */
    for (int64_t i = 0; i < r->count; i++) {
        const item next = r->item[i];
        const int class = otimes_combining_class(next.code);
        if (starter >= 0 && (last == 0 || last < class)) {
            const uint32_t composite = otimes_unicode_compose(r->item[starter].code, next.code);
            if (composite) {
                r->item[starter].code = composite;
                r->item[starter].change += next.change - 1;
                continue;
            }
        }
        if (class == 0) {
            starter = kept;
        }
        last = class;
        r->item[kept++] = next;
    }
    r->count = kept;
}

static bool unchanged(const run *r, const char *text, int64_t length)
{
    int64_t at = 0;
    int step;
    for (int64_t i = 0; i < r->count; i++, at += step) {
        if (at >= length || r->item[i].change != 0 ||
            otimes_utf8_get(text + at, &step) != r->item[i].code) {
            return false;
        }
    }
    return at == length;
}

/* Where the next stretch that may change begins: a character beyond ASCII, with the one before it,
 * to which a mark may belong. Nothing composes across what is before an ASCII character. */
static int64_t next_run(const char *text, int64_t length, int64_t from)
{
    int64_t at = from;
    while (at < length && (signed char)text[at] >= 0) {
        at++;
    }
    return at > from && at < length ? at - 1 : at;
}

static int64_t run_end(const char *text, int64_t length, int64_t begin)
{
    int64_t at = begin + 1;
    while (at < length && (signed char)text[at] < 0) {
        at++;
    }
    return at;
}

int otimes_form(otimes_rewrite *rewrite, bool composed, bool compatibility, bool *changed)
{
    const char *text = rewrite->source->text;
    const int64_t length = rewrite->source->length;
    run r = {0};
    *changed = false;
    int rc = OTIMES_OK;
    for (int64_t at = next_run(text, length, 0); rc == OTIMES_OK && at < length;) {
        const int64_t end = run_end(text, length, at);
        rc = decompose(&r, text + at, end - at, compatibility, rewrite->err);
        if (rc == OTIMES_OK) {
            rc = order(&r, rewrite->err);
        }
        if (rc == OTIMES_OK && composed) {
            compose(&r);
        }
        if (rc == OTIMES_OK && !unchanged(&r, text + at, end - at)) {
            *changed = true;
            otimes_rewrite_keep(rewrite, at);
            for (int64_t i = 0; i < r.count; i++) {
                otimes_rewrite_put(rewrite, r.item[i].code, r.item[i].change);
            }
            rewrite->at = end;
            rc = rewrite->rc;
        }
        at = next_run(text, length, end);
    }
    if (rc == OTIMES_OK && *changed) {
        otimes_rewrite_keep(rewrite, length);
        rc = rewrite->rc;
    }
    otimes_free(r.item);
    otimes_free(r.sorted);
    return rc;
}
