/* SPDX-License-Identifier: MIT */
#include "written.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/convert.h>

#include "accuracy.h"
#include "format/open.h"
#include "model/model.h"

void written_make(written *w, const otimes_model *model)
{
    otimes_err err = {0};
    *w = (written){.model = model};
    assert_ok(otimes_memory_sink_new(&w->memory, &err), &err);
    assert_ok(otimes_convert(model, NULL, otimes_memory_sink_sink(w->memory), &err), &err);
    assert_ok(otimes_lens_tensors(model, &w->list, &err), &err);
}

void written_free(written *w)
{
    otimes_memory_sink_free(&w->memory);
    otimes_lens_list_free(&w->list);
}

static int64_t elements(const otimes_array *array)
{
    int64_t count = 1;
    for (int i = 0; i < array->ndim; i++) {
        count *= array->axis[i]->length;
    }
    return count;
}

/* A golden's weight and where the file form keeps it. */
typedef struct place {
    char name[128];
    bool turned; /* [in, out] of the golden is [out, in] */
    bool first;  /* one row for all heads */
} place;

static bool ends_in(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Everything up to the last dot, then `rest`. */
static void rename_last(const char *name, const char *rest, place *to)
{
    const char *dot = strrchr(name, '.');
    assert_non_null(dot);
    snprintf(to->name, sizeof to->name, "%.*s%s", (int)(dot - name), name, rest);
}

static bool rows_agree(const otimes_entry *entry)
{
    const int64_t size = entry->bytes / entry->dim[0];
    for (int64_t i = 1; i < entry->dim[0]; i++) {
        if (memcmp(entry->data, entry->data + i * size, (size_t)size) != 0) {
            return false;
        }
    }
    return entry->dim[0] > 1;
}

/* tools/schema/convert.md in other words. */
static place place_of(const written *w, const char *name, const otimes_entry *entry)
{
    const otimes_model_info *info = otimes_model_describe(w->model);
    const char *const last = strrchr(name, '.') + 1;
    const bool grouped = info->n_kv_heads != info->n_heads;
    char rest[64];
    place to = {.turned = false};
    snprintf(to.name, sizeof to.name, "%s", name);
    if (strstr(name, ".mlp.experts.")) {
        snprintf(rest, sizeof rest, last[0] == 'W' ? ".%s.weight" : ".W%s.bias",
                 last[0] == 'W' ? last : last + 1);
        rename_last(name, rest, &to);
        to.turned = last[0] == 'W';
    } else if (ends_in(name, ".mlp.router.W")) {
        snprintf(to.name, sizeof to.name, "%.*sW_gate.weight", (int)(strlen(name) - 8), name);
        to.turned = true;
    } else if (ends_in(name, ".mlp.router.b")) {
        snprintf(to.name, sizeof to.name, "%.*sW_gate.bias", (int)(strlen(name) - 8), name);
    } else if (grouped && (ends_in(name, ".attn.W_K") || ends_in(name, ".attn.W_V") ||
                           ends_in(name, ".attn.b_K") || ends_in(name, ".attn.b_V"))) {
        snprintf(rest, sizeof rest, "._%s", last);
        rename_last(name, rest, &to);
    } else if (ends_in(name, ".q_norm.w") || ends_in(name, ".k_norm.w")) {
        const void *data;
        to.first = rows_agree(entry) ||
                   (entry->dim[0] == 1 && otimes_memory_sink_array(w->memory, name, &data));
        if (!to.first) {
            rename_last(name, ".heads", &to);
        }
    }
    return to;
}

static bool all_zero(const double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (values[i] != 0) {
            return false;
        }
    }
    return true;
}

static void check_shape(const char *what, const otimes_array *array, const otimes_entry *entry,
                        const place *at)
{
    const int skipped = at->first ? 1 : 0;
    assert_int_equal(array->ndim, entry->ndim - skipped);
    for (int i = 0; i < array->ndim; i++) {
        const int64_t expected = entry->dim[at->turned ? 1 - i : i + skipped];
        if (array->axis[i]->length != expected) {
            fail_msg("%s: axis %d: expected %lld, got %lld", what, i, (long long)expected,
                     (long long)array->axis[i]->length);
        }
    }
}

/* The name with {l} and {x} for the numbers of layer and expert, as the schema page has it. */
static void general_name(const char *name, char out[96])
{
    static const char *const marks[][2] = {{"blocks.", "{l}"}, {"experts.", "{x}"}};
    size_t n = 0;
    for (const char *at = name; *at;) {
        const char *mark = NULL;
        for (int i = 0; i < 2; i++) {
            const size_t length = strlen(marks[i][0]);
            if (strncmp(at, marks[i][0], length) == 0) {
                n += (size_t)snprintf(out + n, 96 - n, "%s", marks[i][0]);
                mark = marks[i][1];
                at += length;
            }
        }
        if (mark) {
            n += (size_t)snprintf(out + n, 96 - n, "%s", mark);
            at += strspn(at, "0123456789");
        } else {
            n += (size_t)snprintf(out + n, 96 - n, "%c", *at++);
        }
    }
}

/* One weight of the golden; false when there is no array of it. */
static bool check_weight(const written *w, const golden *g, const char *name,
                         const otimes_entry *entry, double relative)
{
    int64_t expected_count;
    const void *data;
    const double *expected = golden_values(g, entry->name, &expected_count);
    const place at = place_of(w, name, entry);
    char what[256];
    snprintf(what, sizeof what, "%s: %s as %s", g->name, entry->name, at.name);
    const otimes_array *array = otimes_memory_sink_array(w->memory, at.name, &data);
    if (!array) {
        if (!all_zero(expected, expected_count)) {
            fail_msg("%s: not there", what);
        }
        return false;
    }
    check_shape(what, array, entry, &at);
    const int64_t count = elements(array);
    const float *const got = data;
    assert_int_equal(array->type, OTIMES_F32);
    char general[96];
    double largest = 0;
    general_name(at.name, general);
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(expected[i]));
    }
    accuracy_of("convert");
    for (int64_t i = 0; i < count; i++) {
        const int64_t rows = entry->dim[0], columns = count / rows;
        const int64_t from = at.turned ? i % columns * rows + i / columns : i;
        accuracy(general, "largest of the tensor", (double)got[from], expected[i], largest,
                 relative);
    }
    return true;
}

/* Of experts with matrices of 1000 elements or more the golden has the last of the last layer, raw
 * (tests/golden/README.md): how many arrays it is let off. */
static int64_t large_experts(const written *w, const char *prefix)
{
    const otimes_model_info *info = otimes_model_describe(w->model);
    int64_t count = 0;
    for (int64_t i = 0; i < w->list.count; i++) {
        const otimes_lens_tensor *tensor = &w->list.tensor[i];
        const bool last =
            tensor->layer == info->n_layers - 1 && tensor->expert == info->n_experts - 1;
        const void *data;
        count += tensor->expert >= 0 && !(last && strcmp(prefix, "raw") == 0) &&
                 elements(otimes_memory_sink_array(w->memory, tensor->name, &data)) >= 1000;
    }
    return count;
}

void written_is_golden(const written *w, const golden *g, const char *prefix, double relative)
{
    const size_t skipped = strlen(prefix);
    int64_t found = large_experts(w, prefix);
    for (int64_t i = 0; i < g->expected.entry_count; i++) {
        const otimes_entry *entry = &g->expected.entries[i];
        if (strncmp(entry->name, prefix, skipped) == 0 && entry->name[skipped] == '/') {
            found += check_weight(w, g, entry->name + skipped + 1, entry, relative);
        }
    }
    if (found != w->list.count) {
        fail_msg("%s: %s: %lld arrays, of which the golden has %lld", g->name, prefix,
                 (long long)w->list.count, (long long)found);
    }
}

void written_is_file(const written *w, const char *path)
{
    otimes_store store;
    otimes_err err = {0};
    assert_ok(otimes_store_open(&store, path, &err), &err);
    assert_int_equal(store.entry_count, w->list.count);
    for (int64_t i = 0; i < store.entry_count; i++) {
        const otimes_entry *entry = &store.entries[i];
        const void *data;
        const otimes_array *array = otimes_memory_sink_array(w->memory, entry->name, &data);
        if (!array || array->ndim != entry->ndim || entry->dtype != OTIMES_DTYPE_F32 ||
            memcmp(data, entry->data, (size_t)entry->bytes) != 0) {
            fail_msg("%s: %s: another array in the file", path, entry->name);
        }
        for (int k = 0; k < array->ndim; k++) {
            assert_int_equal(entry->dim[k], array->axis[k]->length);
        }
    }
    otimes_store_close(&store);
}
