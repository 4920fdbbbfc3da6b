/* SPDX-License-Identifier: MIT
 *
 * The page's data as text: JSON that any reader takes and that ends no element, whatever a model's texts hold.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/parse.h>

#include "page_parts.h"
#include "quote.h"

/* One character that is valid. */
static void put_character(FILE *to, const char *text, int length, uint32_t code)
{
    const int escaped = quote_hides(code) || (code < 0x80 && strchr("\"\\<>&", (int)code));
    if (escaped && code < 0x10000) {
        fprintf(to, "\\u%04" PRIx32, code);
    } else {
        fwrite(text, 1, (size_t)length, to);
    }
}

void page_put_string(FILE *to, const char *text)
{
    putc('"', to);
    for (int length; *text; text += length) {
        uint32_t code;
        length = quote_character(text, &code);
        if (length) {
            put_character(to, text, length, code);
        } else {
            fprintf(to, "\\u003c0x%02X\\u003e", (unsigned char)*text);
            length = 1;
        }
    }
    putc('"', to);
}

void page_put_real(FILE *to, double value)
{
    char text[32];
    if (!isfinite(value)) {
        fputs("null", to);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    fputs(text, to);
}

void page_put_base64(FILE *to, const unsigned char *data, size_t bytes)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes; i += 3) {
        const size_t left = bytes - i;
        const unsigned word = (unsigned)data[i] << 16 |
                              (left > 1 ? (unsigned)data[i + 1] << 8 : 0) |
                              (left > 2 ? (unsigned)data[i + 2] : 0);
        const char four[4] = {digit[word >> 18], digit[word >> 12 & 63],
                              left > 1 ? digit[word >> 6 & 63] : '=',
                              left > 2 ? digit[word & 63] : '='};
        fwrite(four, 1, sizeof four, to);
    }
}

/* `,"name":`, without the comma where it is the first. */
static void put_key(FILE *to, int *first, const char *name)
{
    fputs(*first ? "" : ",", to);
    *first = 0;
    page_put_string(to, name);
    putc(':', to);
}

static void put_known(FILE *to, const char *name, const char *text)
{
    int first = 0;
    if (text) {
        put_key(to, &first, name);
        page_put_string(to, text);
    }
}

static void put_value(FILE *to, const otimes_attr *attr)
{
    switch (attr->kind) {
    case OTIMES_ATTR_TEXT:
        page_put_string(to, attr->text);
        break;
    case OTIMES_ATTR_I64:
        fprintf(to, "%" PRId64, attr->i64);
        break;
    case OTIMES_ATTR_F64:
        page_put_real(to, attr->f64);
        break;
    }
}

static int same_group(const page_fact *fact, const char *group)
{
    return fact->group && group ? !strcmp(fact->group, group) : !fact->group && !group;
}

static void put_facts(FILE *to, const page_fact *facts, const char *group, int *first)
{
    for (const page_fact *f = facts; f; f = f->next) {
        if (same_group(f, group)) {
            put_key(to, first, f->attr.name);
            put_value(to, &f->attr);
        }
    }
}

/* Each group where its first fact is. */
static void put_groups(FILE *to, const page_fact *facts, int *first)
{
    for (const page_fact *f = facts; f; f = f->next) {
        const page_fact *g = facts;
        int inner = 1;
        while (f->group && g != f && !same_group(g, f->group)) {
            g = g->next;
        }
        if (f->group && g == f) {
            put_key(to, first, f->group);
            putc('{', to);
            put_facts(to, f, f->group, &inner);
            putc('}', to);
        }
    }
}

static void put_texts(FILE *to, const char *const *text, int64_t count)
{
    putc('[', to);
    for (int64_t i = 0; i < count; i++) {
        fputs(i ? "," : "", to);
        page_put_string(to, text[i] ? text[i] : "");
    }
    putc(']', to);
}

static void put_axis(FILE *to, const page_axis *axis)
{
    fprintf(to, "{\"length\":%" PRId64, axis->length);
    put_known(to, "long_name", axis->long_name);
    if (axis->labels >= 0) {
        fprintf(to, ",\"labels\":%d", axis->labels);
    }
    if (axis->number) {
        fputs(",\"number\":[", to);
        for (int64_t i = 0; i < axis->length; i++) {
            fprintf(to, "%s%" PRId64, i ? "," : "", axis->number[i]);
        }
        putc(']', to);
    }
    putc('}', to);
}

static void put_array(FILE *to, const page_array *array)
{
    static const char *const types[] = {
        [PAGE_F16] = "f16", [PAGE_F32] = "f32", [PAGE_F64] = "f64",
        [PAGE_U16] = "u16", [PAGE_I32] = "i32", [PAGE_TEXT] = "text"};
    const otimes_array *about = &array->about;
    fputs("{\"axes\":[", to);
    for (int i = 0; i < about->ndim; i++) {
        fputs(i ? "," : "", to);
        page_put_string(to, array->axis[i]->name);
    }
    fprintf(to, "],\"type\":\"%s\"", types[array->type]);
    if (array->type == PAGE_TEXT) {
        fputs(",\"text\":", to);
        put_texts(to, array->text, array->count);
    } else {
        fprintf(to, ",\"at\":%zu", array->at);
    }
    put_known(to, "long_name", about->long_name);
    put_known(to, "units", about->units);
    put_known(to, "formula", about->formula);
    put_known(to, "orientation", about->orientation);
    put_known(to, "labels_of", about->labels_of);
    putc('}', to);
}

static void put_section(FILE *to, const page_section *s)
{
    int first = 1;
    fputs("{\"attributes\":{", to);
    put_facts(to, s->facts, NULL, &first);
    fputs("},\"axes\":{", to);
    first = 1;
    for (const page_axis *a = s->axes; a; a = a->next) {
        if (a->used) {
            put_key(to, &first, a->name);
            put_axis(to, a);
        }
    }
    fputs("},\"arrays\":{", to);
    first = 1;
    for (const page_array *a = s->arrays; a; a = a->next) {
        put_key(to, &first, a->about.name);
        put_array(to, a);
    }
    fputs("}}", to);
}

void page_write(const page *all, FILE *to)
{
    int first = 0;
    fputs("<script type=\"application/json\" id=\"otimes-data\">{\"format\":1", to);
    put_facts(to, all->facts, NULL, &first);
    put_groups(to, all->facts, &first);
    fputs(",\n\"labels\":[", to);
    for (int i = 0; i < all->label_count; i++) {
        fputs(i ? ",\n" : "\n", to);
        put_texts(to, all->labels[i].text, all->labels[i].count);
    }
    fputs("],\n\"sections\":{", to);
    first = 1;
    for (const page_section *s = all->sections; s; s = s->next) {
        fputs(first ? "\n" : "", to);
        put_key(to, &first, s->name);
        put_section(to, s);
        putc('\n', to);
    }
    fputs("}}</script>\n<script type=\"application/octet-stream\" id=\"otimes-block\">", to);
    page_put_base64(to, all->block.data, all->block.used);
    fputs("</script>\n", to);
}
