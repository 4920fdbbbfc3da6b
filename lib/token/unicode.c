/* SPDX-License-Identifier: MIT */
#include "token/unicode.h"

#include <stdlib.h>

#include <utf8proc.h>

static utf8proc_category_t category(uint32_t code)
{
    return utf8proc_category((utf8proc_int32_t)code);
}

bool otimes_is_space(uint32_t code)
{
    if (code < 0x80) {
        return code == ' ' || (code >= '\t' && code <= '\r');
    }
    return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
           code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

bool otimes_is_word(uint32_t code)
{
    if (code < 0x80) {
        return (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') ||
               (code >= 'a' && code <= 'z') || code == '_';
    }
    switch (category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* Other_Alphabetic among the symbols: circled letters and their kin; joiners */
        return (code >= 0x24b6 && code <= 0x24e9) || (code >= 0x1f130 && code <= 0x1f149) ||
               (code >= 0x1f150 && code <= 0x1f169) || (code >= 0x1f170 && code <= 0x1f189) ||
               code == 0x200c || code == 0x200d;
    }
}

bool otimes_is_number(uint32_t code)
{
    if (code < 0x80) {
        return code >= '0' && code <= '9';
    }
    const utf8proc_category_t is = category(code);
    return is == UTF8PROC_CATEGORY_ND || is == UTF8PROC_CATEGORY_NL || is == UTF8PROC_CATEGORY_NO;
}

bool otimes_is_punctuation(uint32_t code)
{
    if (code < 0x80) {
        return (code >= '!' && code <= '/') || (code >= ':' && code <= '@') ||
               (code >= '[' && code <= '`') || (code >= '{' && code <= '~');
    }
    const utf8proc_category_t is = category(code);
    return is >= UTF8PROC_CATEGORY_PC && is <= UTF8PROC_CATEGORY_PO;
}

bool otimes_is_mark(uint32_t code)
{
    const utf8proc_category_t is = code < 0x300 ? UTF8PROC_CATEGORY_CN : category(code);
    return is == UTF8PROC_CATEGORY_MN || is == UTF8PROC_CATEGORY_MC || is == UTF8PROC_CATEGORY_ME;
}

bool otimes_is_nonspacing(uint32_t code)
{
    return code >= 0x300 && category(code) == UTF8PROC_CATEGORY_MN;
}

bool otimes_is_other(uint32_t code)
{
    switch (category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CO:
        return true;
    case UTF8PROC_CATEGORY_CF: /* less those that are younger than Unicode 8 */
        return code != 0x890 && code != 0x891 && code != 0x8e2 && code != 0x110cd &&
               (code < 0x13430 || code > 0x1343f);
    default:
        return false;
    }
}

int otimes_lower(uint32_t code, uint32_t out[2])
{
    if (code == 0x130) { /* the one character whose lower case is two, in every language */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = code < 0x80 ? code + (code >= 'A' && code <= 'Z' ? 32u : 0)
                         : (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
    return 1;
}

int otimes_unicode_decompose(uint32_t code, bool compatibility,
                             uint32_t out[OTIMES_DECOMPOSITION_MOST])
{
    utf8proc_int32_t buffer[OTIMES_DECOMPOSITION_MOST];
    const utf8proc_option_t options =
        UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatibility ? UTF8PROC_COMPAT : 0);
    int last = UTF8PROC_BOUNDCLASS_START;
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        (utf8proc_int32_t)code, buffer, OTIMES_DECOMPOSITION_MOST, options, &last);
    if (count < 1 ||
        count > OTIMES_DECOMPOSITION_MOST) { /* unreached: no character has a longer one */
        out[0] = code;
        return 1;
    }
    for (int i = 0; i < count; i++) {
        out[i] = (uint32_t)buffer[i];
    }
    return (int)count;
}

int otimes_combining_class(uint32_t code)
{
    return code < 0x300 ? 0 : utf8proc_get_property((utf8proc_int32_t)code)->combining_class;
}

uint32_t otimes_unicode_compose(uint32_t first, uint32_t second)
{
    utf8proc_int32_t pair[2] = {(utf8proc_int32_t)first, (utf8proc_int32_t)second};
    return utf8proc_normalize_utf32(pair, 2, UTF8PROC_STABLE | UTF8PROC_COMPOSE) == 1
               ? (uint32_t)pair[0]
               : 0;
}

bool otimes_grapheme_ends(uint32_t before, uint32_t after, int32_t *state)
{
    return utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)after,
                                            state);
}
