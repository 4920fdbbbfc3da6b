/* SPDX-License-Identifier: MIT
 *
 * Runs the analyses of a page one after another, on one bar.
 */
#include "report.h"

#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "output.h"

/* Between an analysis and the page: shows how far all of them are, and ends them when a signal asks. */
typedef struct watched {
    otimes_sink page;
    progress *bar;
    double before, cost, total; /* of sections that are done, of this one, of all */
} watched;

static watched *watched_of(otimes_sink *sink)
{
    return sink->state;
}

static int attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    otimes_sink *to = &watched_of(sink)->page;
    return to->ops->attribute(to, attr, err);
}

static int announce_axis(otimes_sink *sink, const otimes_axis *axis, otimes_err *err)
{
    otimes_sink *to = &watched_of(sink)->page;
    return to->ops->axis(to, axis, err);
}

static int declare(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    otimes_sink *to = &watched_of(sink)->page;
    return to->ops->declare(to, array, id, err);
}

static int write_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                       const void *data, otimes_err *err)
{
    otimes_sink *to = &watched_of(sink)->page;
    return output_stops(sink, 0, 0)
               ? fail(err, OTIMES_ERR_CANCELLED, "%s", otimes_strerror(OTIMES_ERR_CANCELLED))
               : to->ops->write(to, id, start, count, data, err);
}

static int show_progress(otimes_sink *sink, double done, double total)
{
    const watched *w = watched_of(sink);
    const double part = total > 0 ? done / total : 0;
    progress_update(w->bar, w->before + w->cost * part, w->total);
    return output_stops(sink, done, total);
}

static int finish(otimes_sink *sink, otimes_err *err)
{
    otimes_sink *to = &watched_of(sink)->page;
    return to->ops->finish(to, err);
}

static const otimes_sink_ops ops = {.attribute = attribute,
                                    .axis = announce_axis,
                                    .declare = declare,
                                    .write = write_block,
                                    .progress = show_progress,
                                    .finish = finish};

static int is_long(const report *r, const report_section *s)
{
    return s->most > 0 && !r->options->all && s->cost(r) > s->most;
}

/* Why a section is left out, or NULL. */
static const char *absent(const report *r, const report_section *s)
{
    if (r->options->without & s->bit) {
        return "It was left out by --without.";
    }
    if (r->info->n_layers < s->layers) {
        return r->info->n_layers ? "The model has one layer." : "The model has no layers.";
    }
    if (s->needs_text && !r->text.count) {
        return "No text was given; --text TEXT shows what the model does with it.";
    }
    if (s->keeps_weights && !r->options->all && !report_keeps_weights(r->info)) {
        return "The model is so large that its weights would not stay in memory; --all keeps them.";
    }
    return is_long(r, s) ? "The model is so large that it would take long; --all takes the time."
                         : NULL;
}

/* As every result has it in front. */
static int put_schema(otimes_sink *sink, const char *name, otimes_err *err)
{
    char schema[64];
    const int circuit = !strcmp(name, "ov") || !strcmp(name, "qk");
    snprintf(schema, sizeof schema, "otimes-%s", circuit ? "circuit" : name);
    const otimes_attr facts[] = {
        {.name = "schema", .kind = OTIMES_ATTR_TEXT, .text = schema},
        {.name = "schema_version", .kind = OTIMES_ATTR_I64, .i64 = OUTPUT_SCHEMA_VERSION}};
    const int rc = sink->ops->attribute(sink, &facts[0], err);
    return rc ? rc : sink->ops->attribute(sink, &facts[1], err);
}

/* What a model cannot give has its reason on the page; anything else ends the run. */
static int run_section(report *r, const report_section *s, watched *w, otimes_err *err)
{
    otimes_sink sink = {&ops, w};
    char bounded[400] = "";
    otimes_err why = {0};
    int rc = page_begin(r->page, s->name, s->rules, &w->page, err);
    if (!rc) {
        rc = put_schema(&w->page, s->name, err);
    }
    if (rc) {
        return rc;
    }
    rc = s->run(r, &sink, &why);
    if (rc == OTIMES_ERR_UNSUPPORTED) {
        page_drop(r->page);
        return page_text(r->page, "left_out", s->name, why.msg, err);
    }
    if (rc) {
        return fail(err, rc, "%s: %.3900s", s->name, why.msg);
    }
    if (s->bounded) {
        s->bounded(r, bounded, sizeof bounded);
    }
    return *bounded ? page_text(r->page, "bounded", s->name, bounded, err) : 0;
}

int report_run(report *r, progress *bar, otimes_err *err)
{
    char name[64];
    watched w = {.bar = bar};
    int rc = 0;
    for (const report_section *s = report_sections; s->name; s++) {
        w.total += absent(r, s) ? 0 : s->cost(r);
    }
    for (const report_section *s = report_sections; s->name && !rc; s++) {
        const char *reason = absent(r, s);
        if (reason) {
            rc = page_text(r->page, "left_out", s->name, reason, err);
            continue;
        }
        snprintf(name, sizeof name, "report: %s", s->name);
        bar->name = name;
        w.cost = s->cost(r);
        rc = run_section(r, s, &w, err);
        w.before += w.cost;
    }
    bar->name = "report";
    return rc;
}
