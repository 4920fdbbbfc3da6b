/* SPDX-License-Identifier: MIT */
#include "ablate_card.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "number.h"

enum { SHOWN = 10, GRID_COLUMNS = 12 };

/* A measure over the measured positions of all texts; change NULL where it was not taken. */
typedef struct measure {
    double clean;
    double *change; /* [ablations] */
} measure;

typedef struct ranked {
    double change;
    int64_t at;
} ranked;

static const void *data_of(const otimes_memory_sink *result, const char *name, const char *what)
{
    char whole[40];
    const void *data = NULL;
    snprintf(whole, sizeof whole, "%s%s", name, what);
    return otimes_memory_sink_array(result, whole, &data) ? data : NULL;
}

/* Mean of one column of [texts, columns], each text by its number of positions. */
static double mean(const double *values, int64_t columns, const int64_t *count, int64_t texts)
{
    double sum = 0, positions = 0;
    for (int64_t t = 0; t < texts; t++) {
        if (count[t] > 0) {
            sum += (double)count[t] * values[t * columns];
            positions += (double)count[t];
        }
    }
    return sum / positions; /* NaN of none */
}

static int read_measure(measure *m, const otimes_memory_sink *result, const char *name,
                        int64_t texts, int64_t ablations, otimes_err *err)
{
    const int64_t *count = data_of(result, name, "_count");
    const double *clean = data_of(result, name, "_clean");
    const double *change = data_of(result, name, "_change");
    *m = (measure){NAN, NULL};
    if (!count || !clean || !change) {
        return 0;
    }
    m->change = malloc((size_t)ablations * sizeof *m->change);
    if (!m->change) {
        return fail_memory(err, name);
    }
    m->clean = mean(clean, 1, count, texts);
    for (int64_t a = 0; a < ablations; a++) {
        m->change[a] = mean(change + a, ablations, count, texts);
    }
    return 0;
}

/* Descending; what is not defined last, of equals the first one first. */
static int by_change(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    const double p = isnan(x->change) ? -INFINITY : x->change;
    const double q = isnan(y->change) ? -INFINITY : y->change;
    return p != q ? (p < q) - (p > q) : (x->at > y->at) - (x->at < y->at);
}

static void put_row(FILE *to, const char *label, int width, const measure *loss,
                    const measure *logit, int64_t a)
{
    fprintf(to, "  %-*s", width, label);
    const measure *const both[] = {loss, logit};
    for (int i = 0; i < 2; i++) {
        if (both[i]->change) {
            fputs("  ", to);
            number_put(to, 9, 4, both[i]->clean + both[i]->change[a]);
            fputs("  ", to);
            number_put_signed(to, 9, 4, both[i]->change[a]);
        }
    }
    putc('\n', to);
}

static void put_rows(FILE *to, const otimes_axis *axis, const ranked *order, int64_t first,
                     int64_t last, const measure *loss, const measure *logit)
{
    int width = 8;
    for (int64_t i = first; i < last; i++) {
        const int length = (int)strlen(axis->text[order[i].at]);
        width = length > width ? length : width;
    }
    fprintf(to, "  %-*s%s%s\n", width, "ablated", loss->change ? "       loss     change" : "",
            logit->change ? "      logit     change" : "");
    for (int64_t i = first; i < last; i++) {
        put_row(to, axis->text[order[i].at], width, loss, logit, order[i].at);
    }
}

/* The ends of the ordering: where the logit falls most, or the loss rises most, first. */
static int put_ordering(FILE *to, const otimes_axis *axis, const measure *loss,
                        const measure *logit, otimes_err *err)
{
    const int64_t count = axis->length;
    ranked *order = malloc((size_t)count * sizeof *order);
    if (!order) {
        return fail_memory(err, "ablation");
    }
    for (int64_t a = 0; a < count; a++) {
        order[a] = (ranked){logit->change ? -logit->change[a] : loss->change[a], a};
    }
    qsort(order, (size_t)count, sizeof *order, by_change);
    fprintf(to, "\n%s\n", logit->change ? "What the logit needs most" : "What the loss needs most");
    if (count <= 2 * SHOWN) {
        put_rows(to, axis, order, 0, count, loss, logit);
    } else {
        put_rows(to, axis, order, 0, SHOWN, loss, logit);
        fprintf(to, "\nand least, of %" PRId64 "\n", count);
        put_rows(to, axis, order, count - SHOWN / 2, count, loss, logit);
    }
    free(order);
    return 0;
}

static int64_t label_of(const otimes_axis *axis, int64_t i)
{
    return axis->number ? axis->number[i] : i;
}

/* Layers down, heads across, in strips that fit a page. Heads are the first of the ablations. */
static void put_grid(FILE *to, const otimes_memory_sink *result, const char *name,
                     const char *heading, const double *change)
{
    const void *data = NULL;
    const otimes_array *array = otimes_memory_sink_array(result, name, &data);
    if (!array) {
        return;
    }
    const otimes_axis *layer = array->axis[1], *head = array->axis[2];
    for (int64_t first = 0; first < head->length; first += GRID_COLUMNS) {
        const int64_t left = head->length - first, n = left < GRID_COLUMNS ? left : GRID_COLUMNS;
        fprintf(to, "\n%s\n       ", heading);
        for (int64_t h = first; h < first + n; h++) {
            char label[24];
            snprintf(label, sizeof label, "H%" PRId64, label_of(head, h));
            fprintf(to, " %7s", label);
        }
        putc('\n', to);
        for (int64_t l = 0; l < layer->length; l++) {
            char label[24];
            snprintf(label, sizeof label, "L%" PRId64, label_of(layer, l));
            fprintf(to, "  %-5s", label);
            for (int64_t h = first; h < first + n; h++) {
                putc(' ', to);
                number_put_signed(to, 7, 3, change[l * head->length + h]);
            }
            putc('\n', to);
        }
    }
}

static void put_head(FILE *to, const otimes_memory_sink *result, int64_t texts, const measure *loss,
                     const measure *logit, const char *target)
{
    fprintf(to, "method      %s\n", otimes_memory_sink_attr(result, "method")->text);
    fprintf(to, "texts       %" PRId64 "\n", texts);
    if (loss->change) {
        fputs("loss        ", to);
        number_put(to, 0, 4, loss->clean);
        fputs(" nats with nothing ablated\n", to);
    }
    if (logit->change) {
        fputs("logit       ", to);
        number_put(to, 0, 4, logit->clean);
        fprintf(to, " of %s\n", target ? target : "the target");
    }
}

int ablate_card(FILE *to, const otimes_memory_sink *result, const char *target, otimes_err *err)
{
    const void *data = NULL;
    const otimes_array *sizes = otimes_memory_sink_array(result, "size", &data);
    const otimes_array *lengths = otimes_memory_sink_array(result, "length", &data);
    if (!sizes || !lengths) {
        return fail(err, OTIMES_ERR_ARGUMENT, "ablate: expected results, got none");
    }
    const otimes_axis *ablation = sizes->axis[0];
    const int64_t texts = lengths->axis[0]->length;
    measure loss = {NAN, NULL}, logit = {NAN, NULL};
    int rc = read_measure(&loss, result, "loss", texts, ablation->length, err);
    if (!rc) {
        rc = read_measure(&logit, result, "logit", texts, ablation->length, err);
    }
    if (!rc) {
        put_head(to, result, texts, &loss, &logit, target);
        rc = put_ordering(to, ablation, &loss, &logit, err);
    }
    if (!rc && logit.change) {
        put_grid(to, result, "head_logit_change", "Change of the logit, layer by head",
                 logit.change);
    } else if (!rc) {
        put_grid(to, result, "head_loss_change", "Change of the loss, layer by head", loss.change);
    }
    free(loss.change);
    free(logit.change);
    return rc;
}
