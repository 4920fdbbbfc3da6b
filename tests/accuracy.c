/* SPDX-License-Identifier: MIT */
#include "accuracy.h"

#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The largest error of a quantity so far. */
typedef struct note {
    const char *analysis, *to;
    char array[64], worst[96]; /* of which model */
    double error, bound;
    uint64_t goldens; /* which, by their place in golden_names */
    int64_t values;
} note;

enum { MOST_NOTES = 256 };

static struct {
    const char *analysis, *model, *kind;
    uint64_t bit; /* of the golden */
    note note[MOST_NOTES];
    int count, last; /* notes; the one that was used last */
} book;

void accuracy_of(const char *analysis)
{
    book.analysis = analysis;
}

void accuracy_model(const char *name, const char *kind)
{
    book.model = name;
    book.kind = kind;
    book.bit = 0;
    for (int i = 0; name && golden_names[i]; i++) {
        book.bit |= strcmp(golden_names[i], name) == 0 ? (uint64_t)1 << i : 0;
    }
}

/* Writes what was noted to the file that OTIMES_ACCURACY names. */
static void write_notes(void)
{
    const char *path = getenv("OTIMES_ACCURACY");
    FILE *file = path ? fopen(path, "w") : NULL;
    for (int i = 0; file && i < book.count; i++) {
        const note *n = &book.note[i];
        int goldens = 0;
        for (int bit = 0; bit < 64; bit++) {
            goldens += (int)(n->goldens >> bit & 1);
        }
        fprintf(file, "%s\t%s\t%s\t%.3g\t%.3g\t%lld\t%d\t%s\n", n->analysis, n->array, n->to,
                n->error, n->bound, (long long)n->values, goldens, n->worst);
    }
    if (file && fclose(file) != 0) {
        perror(path);
    }
}

static bool is_of(const note *n, const char *array, const char *to)
{
    return n->analysis == book.analysis && !strcmp(n->array, array) && !strcmp(n->to, to);
}

static note *note_of(const char *array, const char *to)
{
    for (int i = 0; i < book.count; i++) {
        const int at = (book.last + i) % book.count;
        if (is_of(&book.note[at], array, to)) {
            book.last = at;
            return &book.note[at];
        }
    }
    if (book.count == 0) {
        atexit(write_notes);
    }
    assert_true(book.count < MOST_NOTES && book.analysis);
    book.last = book.count;
    note *n = &book.note[book.count++];
    *n = (note){.analysis = book.analysis, .to = to};
    snprintf(n->array, sizeof n->array, "%s", array);
    return n;
}

static void take(const char *array, const char *to, double error, double bound)
{
    note *n = note_of(array, to);
    n->values++;
    n->goldens |= book.bit;
    if (n->values == 1 || error > n->error) {
        n->error = error;
        n->bound = bound;
        snprintf(n->worst, sizeof n->worst, "%s%s%s", book.model, book.kind ? ", " : "",
                 book.kind ? book.kind : "");
    }
}

void accuracy(const char *array, const char *to, double got, double expected, double scale,
              double bound)
{
    const bool same = got == expected || (isnan(got) && isnan(expected));
    const double error = same ? 0 : fabs(got - expected) / scale;
    if (book.model && !isnan(error)) {
        take(array, to, error, bound);
    }
    if (!(error <= bound)) {
        fail_msg("%s of %s, %s: expected %.17g, got %.17g: %.3g of %s (%.3g), allowed %.3g", array,
                 book.model ? book.model : "a model", book.kind ? book.kind : "", expected, got,
                 error, to, scale, bound);
    }
}

void accuracy_all(const char *array, const char *to, int64_t count, const double *got,
                  const double *expected, double scale, double bound)
{
    for (int64_t i = 0; i < count; i++) {
        accuracy(array, to, got[i], expected[i], scale, bound);
    }
}

void accuracy_exact(const char *array, double got, double expected)
{
    accuracy(array, "exact", got, expected, 1, 0);
}

void accuracy_between(const char *array, int64_t got, int64_t surely, int64_t perhaps)
{
    if (book.model) {
        take(array, "exact but for ties within rounding", 0, 0);
    }
    if (got < surely || got > perhaps) {
        fail_msg("%s of %s: expected %lld to %lld, got %lld", array,
                 book.model ? book.model : "a model", (long long)surely, (long long)perhaps,
                 (long long)got);
    }
}
