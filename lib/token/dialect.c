/* SPDX-License-Identifier: MIT
 *
 * Tokenizers are written for Oniguruma (or Rust's regex), whose dialect differs from PCRE2's where
 * it matters here; doc/RE of kkos/oniguruma describes it. Rewritten are
 *   \s \w \b \h      by Unicode properties: PCRE2's \s has U+180E, its \w lacks marks;
 *   [a[bc]&&[^d]]    nested classes and intersections;
 *   \p{Letter}       long names of categories, and those of POSIX;
 *   \uHHHH, (?m), {,n}, and {n,m}+, which is not possessive.
 */
#include "token/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "token/quote.h"
#include "token/utf8.h"

enum { DEEPEST = 64 };

#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define ANY "(?s:.)"

typedef struct reader {
    const char *at, *end, *source;
    const char *where;
    otimes_err *err;
    int depth;
} reader;

static int unreadable(const reader *in, const char *why)
{
    return otimes_fail(in->err, OTIMES_ERR_FORMAT, "%s: pattern %s cannot be read: %s", in->where,
                       otimes_quoted(in->source, in->end - in->source).text, why);
}

static int add(const reader *in, otimes_text *out, const char *text, int64_t length)
{
    return otimes_text_add(out, in->err, "%.*s", (int)length, text);
}

static const char *long_name(const char *name, size_t length)
{
    static const char *const names[][2] = {
        {"Letter", "L"},
        {"Cased_Letter", "L&"},
        {"Uppercase_Letter", "Lu"},
        {"Lowercase_Letter", "Ll"},
        {"Titlecase_Letter", "Lt"},
        {"Modifier_Letter", "Lm"},
        {"Other_Letter", "Lo"},
        {"Mark", "M"},
        {"Nonspacing_Mark", "Mn"},
        {"Spacing_Mark", "Mc"},
        {"Enclosing_Mark", "Me"},
        {"Number", "N"},
        {"Decimal_Number", "Nd"},
        {"Letter_Number", "Nl"},
        {"Other_Number", "No"},
        {"Punctuation", "P"},
        {"Connector_Punctuation", "Pc"},
        {"Dash_Punctuation", "Pd"},
        {"Open_Punctuation", "Ps"},
        {"Close_Punctuation", "Pe"},
        {"Initial_Punctuation", "Pi"},
        {"Final_Punctuation", "Pf"},
        {"Other_Punctuation", "Po"},
        {"Symbol", "S"},
        {"Math_Symbol", "Sm"},
        {"Currency_Symbol", "Sc"},
        {"Modifier_Symbol", "Sk"},
        {"Other_Symbol", "So"},
        {"Separator", "Z"},
        {"Space_Separator", "Zs"},
        {"Line_Separator", "Zl"},
        {"Paragraph_Separator", "Zp"},
        {"Other", "C"},
        {"Control", "Cc"},
        {"Format", "Cf"},
        {"Unassigned", "Cn"},
        {"Alpha", "Alphabetic"},
        {"Space", "White_Space"},
        {"Digit", "Nd"},
        {"Upper", "Uppercase"},
        {"Lower", "Lowercase"},
        {"Cntrl", "Cc"},
    };
    char bare[64];
    size_t count = 0;
    for (size_t i = 0; i < length && count + 1 < sizeof bare; i++) {
        if (name[i] != ' ' && name[i] != '-' && name[i] != '_') {
            bare[count++] = name[i];
        }
    }
    bare[count] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t j = 0;
        for (const char *c = names[i][0]; *c; c++) {
            if (*c != '_' && (j >= count || (bare[j++] | 32) != (*c | 32))) {
                j = sizeof bare;
                break;
            }
        }
        if (j == count) {
            return names[i][1];
        }
    }
    return NULL;
}

/* \p{...} behind its p or P. */
static int property(reader *in, otimes_text *out, char letter)
{
    if (in->at == in->end || *in->at != '{') {
        return otimes_text_add(out, in->err, "\\%c", letter);
    }
    const char *name = ++in->at;
    const char *close = memchr(name, '}', (size_t)(in->end - name));
    if (!close) {
        return unreadable(in, "a property without '}'");
    }
    in->at = close + 1;
    if (name < close && *name == '^') {
        letter = letter == 'p' ? 'P' : 'p';
        name++;
    }
    const char *other = long_name(name, (size_t)(close - name));
    if (!other &&
        otimes_pattern_is_script(name, close - name)) { /* else PCRE2 takes extensions in */
        return otimes_text_add(out, in->err, "\\%c{sc:%.*s}", letter, (int)(close - name), name);
    }
    return other ? otimes_text_add(out, in->err, "\\%c{%s}", letter, other)
                 : otimes_text_add(out, in->err, "\\%c{%.*s}", letter, (int)(close - name), name);
}

/* One class being read: `flat` are members that can stand in brackets, `others` patterns for one
 * character joined by '|', `met` the operands of && so far. */
typedef struct class_parts {
    otimes_text flat, others, met;
    bool negated;
} class_parts;

static void parts_free(class_parts *parts)
{
    otimes_text_free(&parts->flat);
    otimes_text_free(&parts->others);
    otimes_text_free(&parts->met);
}

static const char *or_empty(const otimes_text *text)
{
    return text->data ? text->data : "";
}

/* The members read since the last && as one pattern. */
static int add_union(const reader *in, otimes_text *out, const class_parts *parts)
{
    if (parts->others.length == 0) {
        return otimes_text_add(out, in->err, "[%s]", or_empty(&parts->flat));
    }
    if (parts->flat.length == 0) {
        return otimes_text_add(out, in->err, "(?:%s)", parts->others.data + 1);
    }
    return otimes_text_add(out, in->err, "(?:[%s]%s)", parts->flat.data, parts->others.data);
}

static int add_class(const reader *in, otimes_text *out, const class_parts *parts)
{
    if (parts->others.length == 0 && parts->met.length == 0) {
        return otimes_text_add(out, in->err, "[%s%s]", parts->negated ? "^" : "",
                               or_empty(&parts->flat));
    }
    int rc = otimes_text_add(out, in->err, "%s%s",
                             parts->negated ? "(?:(?!" : "(?:", or_empty(&parts->met));
    if (rc == OTIMES_OK) {
        rc = add_union(in, out, parts);
    }
    return rc == OTIMES_OK ? otimes_text_add(out, in->err, "%s", parts->negated ? ")" ANY ")" : ")")
                           : rc;
}

/* \uHHHH behind its u. */
static int unicode_escape(reader *in, otimes_text *out)
{
    if (in->end - in->at < 4 || strspn(in->at, "0123456789abcdefABCDEF") < 4) {
        return unreadable(in, "\\u without four digits");
    }
    in->at += 4;
    return otimes_text_add(out, in->err, "\\x{%.4s}", in->at - 4);
}

/* An escape that means the same in and outside of brackets. Copies what is not known. */
static int plain_escape(reader *in, otimes_text *out)
{
    const char *start = in->at - 1;
    const char letter = *in->at;
    in->at += otimes_utf8_size(letter);
    switch (letter) {
    case 's':
        return otimes_text_add(out, in->err, "\\p{White_Space}");
    case 'S':
        return otimes_text_add(out, in->err, "\\P{White_Space}");
    case 'p':
    case 'P':
        return property(in, out, letter);
    case 'u':
        return unicode_escape(in, out);
    default:
        return add(in, out, start, in->at - start);
    }
}

static int class_escape(reader *in, class_parts *parts)
{
    if (++in->at >= in->end) {
        return unreadable(in, "it ends with a backslash");
    }
    switch (*in->at) {
    case 'w':
        in->at++;
        return otimes_text_add(&parts->flat, in->err, WORD);
    case 'W':
        in->at++;
        return otimes_text_add(&parts->others, in->err, "|[^" WORD "]");
    case 'h':
        in->at++;
        return otimes_text_add(&parts->flat, in->err, "0-9a-fA-F");
    case 'H':
        in->at++;
        return otimes_text_add(&parts->others, in->err, "|[^0-9a-fA-F]");
    default:
        return plain_escape(in, &parts->flat);
    }
}

/* [:alpha:] and its kin; *done false when what stands here is none. */
static int posix(reader *in, class_parts *parts, bool *done)
{
    static const char *const names[][3] = {
        {"alpha", "\\p{Alphabetic}", "\\P{Alphabetic}"},
        {"digit", "\\p{Nd}", "\\P{Nd}"},
        {"space", "\\p{White_Space}", "\\P{White_Space}"},
        {"upper", "\\p{Uppercase}", "\\P{Uppercase}"},
        {"lower", "\\p{Lowercase}", "\\P{Lowercase}"},
        {"cntrl", "\\p{Cc}", "\\P{Cc}"},
        {"alnum", "\\p{Alphabetic}\\p{Nd}", NULL},
        {"word", WORD, NULL},
        {"punct", "\\p{P}\\p{S}", NULL},
        {"xdigit", "0-9a-fA-F", NULL},
    };
    *done = false;
    if (in->end - in->at < 4 || in->at[1] != ':') {
        return OTIMES_OK;
    }
    const char *name = in->at + 2;
    const bool negated = *name == '^';
    name += negated;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const size_t length = strlen(names[i][0]);
        if ((size_t)(in->end - name) < length + 2 || memcmp(name, names[i][0], length) != 0 ||
            memcmp(name + length, ":]", 2) != 0) {
            continue;
        }
        *done = true;
        in->at = name + length + 2;
        if (negated && !names[i][2]) {
            return otimes_text_add(&parts->others, in->err, "|[^%s]", names[i][1]);
        }
        return otimes_text_add(&parts->flat, in->err, "%s", names[i][negated ? 2 : 1]);
    }
    return OTIMES_OK;
}

static int read_class(reader *in, class_parts *parts);

static int nested_class(reader *in, class_parts *parts)
{
    bool done;
    int rc = posix(in, parts, &done);
    if (done || rc != OTIMES_OK) {
        return rc;
    }
    class_parts inner = {0};
    rc = read_class(in, &inner);
    if (rc == OTIMES_OK && !inner.negated && inner.others.length == 0 && inner.met.length == 0) {
        rc = otimes_text_add(&parts->flat, in->err, "%s", or_empty(&inner.flat));
    } else if (rc == OTIMES_OK) {
        rc = otimes_text_add(&parts->others, in->err, "|");
        if (rc == OTIMES_OK) {
            rc = add_class(in, &parts->others, &inner);
        }
    }
    parts_free(&inner);
    return rc;
}

static int intersection(reader *in, class_parts *parts)
{
    in->at += 2;
    int rc = otimes_text_add(&parts->met, in->err, "(?=");
    if (rc == OTIMES_OK) {
        rc = add_union(in, &parts->met, parts);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_text_add(&parts->met, in->err, ")");
    }
    otimes_text_free(&parts->flat);
    otimes_text_free(&parts->others);
    return rc;
}

/* From the '[' to behind its ']'. */
static int read_class(reader *in, class_parts *parts)
{
    if (++in->depth > DEEPEST) {
        return unreadable(in, "classes are nested too deep");
    }
    in->at++;
    if (in->at < in->end && *in->at == '^') {
        parts->negated = true;
        in->at++;
    }
    int rc = OTIMES_OK;
    for (const char *first = in->at; rc == OTIMES_OK && in->at < in->end;) {
        if (*in->at == ']' && in->at > first) {
            in->at++;
            in->depth--;
            return OTIMES_OK;
        }
        if (*in->at == '\\') {
            rc = class_escape(in, parts);
        } else if (*in->at == '[') {
            rc = nested_class(in, parts);
        } else if (in->end - in->at >= 2 && in->at[0] == '&' && in->at[1] == '&') {
            rc = intersection(in, parts);
        } else {
            const int length = otimes_utf8_size(*in->at);
            rc = otimes_text_add(&parts->flat, in->err, "%s%.*s", *in->at == ']' ? "\\" : "",
                                 length, in->at);
            in->at += length;
        }
    }
    return rc != OTIMES_OK ? rc : unreadable(in, "a class without ']'");
}

static int escape(reader *in, otimes_text *out)
{
    if (++in->at >= in->end) {
        return unreadable(in, "it ends with a backslash");
    }
    const char *text = NULL;
    switch (*in->at) {
    case 'w':
        text = "[" WORD "]";
        break;
    case 'W':
        text = "[^" WORD "]";
        break;
    case 'h':
        text = "[0-9a-fA-F]";
        break;
    case 'H':
        text = "[^0-9a-fA-F]";
        break;
    case 'b':
        text = "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))";
        break;
    case 'B':
        text = "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))";
        break;
    default:
        return plain_escape(in, out);
    }
    in->at++;
    return otimes_text_add(out, in->err, "%s", text);
}

/* An interval {n}, {n,}, {n,m} or {,m}, with `atom` the place in out where what it repeats begins;
 * or a brace that is none. */
static int brace(reader *in, otimes_text *out, int64_t atom)
{
    const char *at = in->at + 1;
    const char *low = at;
    at += strspn(at, "0123456789");
    const bool has_low = at > low;
    bool interval = has_low;
    if (*at == ',') {
        const char *high = ++at;
        at += strspn(at, "0123456789");
        interval = has_low || at > high;
    }
    if (!interval || *at != '}') {
        in->at++;
        return otimes_text_add(out, in->err, "\\{");
    }
    at++;
    const char *text = in->at + 1;
    in->at = at;
    const bool again = at < in->end && *at == '+';
    if (!again) {
        return otimes_text_add(out, in->err, "{%s%.*s", has_low ? "" : "0", (int)(at - text), text);
    }
    in->at++;
    char *repeated = otimes_strdup(out->data + atom);
    if (!repeated) { /* unreached: memory alone can lack here */
        return otimes_fail(in->err, OTIMES_ERR_MEMORY, "out of memory: pattern");
    }
    out->length = atom;
    out->data[atom] = '\0';
    const int rc = otimes_text_add(out, in->err, "(?:%s{%s%.*s)+", repeated, has_low ? "" : "0",
                                   (int)(at - text), text);
    otimes_free(repeated);
    return rc;
}

/* "(" and the letters of options behind "(?", of which m is PCRE2's s. */
static int open_group(reader *in, otimes_text *out)
{
    in->at++;
    int rc = otimes_text_add(out, in->err, "(");
    if (rc != OTIMES_OK || in->at == in->end || *in->at != '?') {
        return rc;
    }
    in->at++;
    rc = otimes_text_add(out, in->err, "?");
    for (; rc == OTIMES_OK && in->at < in->end && *in->at && strchr("imx-", *in->at); in->at++) {
        rc = otimes_text_add(out, in->err, "%c", *in->at == 'm' ? 's' : *in->at);
    }
    if (rc == OTIMES_OK && in->at < in->end && *in->at && strchr(":=!<>", *in->at)) {
        rc = otimes_text_add(out, in->err, "%c", *in->at++);
    }
    return rc;
}

static int translate(reader *in, otimes_text *out)
{
    int64_t opened[DEEPEST], atom = 0;
    int groups = 0;
    int rc = OTIMES_OK;
    while (rc == OTIMES_OK && in->at < in->end) {
        const int64_t start = out->length;
        if (*in->at == '(') {
            if (groups == DEEPEST) {
                return unreadable(in, "groups are nested too deep");
            }
            opened[groups++] = start;
            rc = open_group(in, out);
            continue;
        }
        if (*in->at == '{') {
            rc = brace(in, out, atom);
            continue;
        }
        if (*in->at == '\\') {
            rc = escape(in, out);
        } else if (*in->at == '[') {
            class_parts parts = {0};
            rc = read_class(in, &parts);
            if (rc == OTIMES_OK) {
                rc = add_class(in, out, &parts);
            }
            parts_free(&parts);
        } else {
            const int length = otimes_utf8_size(*in->at);
            rc = add(in, out, in->at, length);
            in->at += length;
            if (in->at[-length] == ')' && groups > 0) {
                atom = opened[--groups];
                continue;
            }
            if (strchr("*+?", in->at[-length])) {
                continue; /* repeats the atom before it */
            }
        }
        atom = start;
    }
    return rc;
}

int otimes_pattern_translate(otimes_text *out, const char *source, int64_t length,
                             const char *where, otimes_err *err)
{
    char *copy = otimes_strndup(source, (size_t)length); /* NUL-terminated, for strspn */
    if (!copy) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: pattern");
    }
    reader in = {copy, copy + length, copy, where, err, 0};
    int rc = memchr(copy, '\0', (size_t)length) ? unreadable(&in, "it holds a NUL") : OTIMES_OK;
    if (rc == OTIMES_OK) {
        rc = otimes_text_add(out, err, "%s", "");
    }
    if (rc == OTIMES_OK) {
        rc = translate(&in, out);
    }
    otimes_free(copy);
    return rc;
}
