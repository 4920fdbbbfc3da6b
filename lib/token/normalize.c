/* SPDX-License-Identifier: MIT
 *
 * Normalizers, with the semantics of huggingface/tokenizers, tokenizers/src/normalizers, and, for
 * files of its own, of google/sentencepiece, src/normalizer.cc.
 */
#include "token/run.h"

#include <string.h>

#include "token/forms.h"
#include "token/unicode.h"
#include "token/utf8.h"

enum { GRAPHEME_MOST = 5 }; /* bytes of a grapheme that a charsmap is asked for as a whole */

static void prepend(otimes_rewrite *rewrite, const otimes_string *content)
{
    const otimes_flow *source = rewrite->source;
    if (source->length > 0) {
        otimes_rewrite_place(rewrite, content->data, content->length,
                             otimes_flow_span(source, 0, 1));
        otimes_rewrite_keep(rewrite, source->length);
    }
}

/* The next match of a step's pattern or string. */
static int next_match(const otimes_step *step, otimes_scratch *scratch, const otimes_flow *flow,
                      int64_t from, bool *found, int64_t *begin, int64_t *end, otimes_err *err)
{
    if (step->pattern) {
        return otimes_pattern_match(step->pattern, &scratch->matcher, flow->text, flow->length,
                                    from, found, begin, end, err);
    }
    const char *at = step->text.length == 0
                         ? NULL
                         : memmem(flow->text + from, (size_t)(flow->length - from), step->text.data,
                                  (size_t)step->text.length);
    *found = at != NULL;
    *begin = at ? at - flow->text : 0;
    *end = *begin + step->text.length;
    return OTIMES_OK;
}

/* What is put stands for the last character that it replaces. */
static void replace(const otimes_step *step, otimes_scratch *scratch, otimes_rewrite *rewrite,
                    bool *changed)
{
    const otimes_flow *source = rewrite->source;
    int64_t from = 0, last = -1;
    *changed = false;
    while (rewrite->rc == OTIMES_OK && from <= source->length) {
        bool found;
        int64_t begin, end;
        rewrite->rc = next_match(step, scratch, source, from, &found, &begin, &end, rewrite->err);
        if (rewrite->rc != OTIMES_OK || !found) {
            break;
        }
        if (end > begin || end != last) {
            *changed = true;
            otimes_rewrite_keep(rewrite, begin);
            rewrite->at = end;
            otimes_rewrite_insert(rewrite, step->content.data, step->content.length);
            last = end;
        }
        from = end > begin ? end
                           : end + (end < source->length ? otimes_utf8_size(source->text[end]) : 1);
    }
    if (*changed) {
        otimes_rewrite_keep(rewrite, source->length);
    }
}

static void lowercase(otimes_rewrite *rewrite)
{
    const otimes_flow *source = rewrite->source;
    while (rewrite->rc == OTIMES_OK && rewrite->at < source->length) {
        int length;
        uint32_t lower[2];
        const int count = otimes_lower(otimes_utf8_get(source->text + rewrite->at, &length), lower);
        otimes_rewrite_put(rewrite, lower[0], 0);
        if (count > 1) {
            otimes_rewrite_put(rewrite, lower[1], 1);
        }
    }
}

static void strip(const otimes_step *step, otimes_rewrite *rewrite)
{
    const otimes_flow *source = rewrite->source;
    int64_t begin = 0, end = source->length;
    int length;
    while (step->left && begin < end &&
           otimes_is_space(otimes_utf8_get(source->text + begin, &length))) {
        begin += length;
    }
    while (step->right && end > begin &&
           otimes_is_space(otimes_utf8_before(source->text, end, &length))) {
        end -= length;
    }
    rewrite->at = begin;
    otimes_rewrite_keep(rewrite, end);
}

/* Keeps what `drop` does not say. */
static void filter(otimes_rewrite *rewrite, bool (*drop)(uint32_t))
{
    const otimes_flow *source = rewrite->source;
    int length;
    for (int64_t at = 0; rewrite->rc == OTIMES_OK && at < source->length; at += length) {
        if (drop(otimes_utf8_get(source->text + at, &length))) {
            otimes_rewrite_keep(rewrite, at);
            rewrite->at = at + length;
        }
    }
    otimes_rewrite_keep(rewrite, source->length);
}

/* The rules of SentencePiece's nmt_nfkc for controls and blanks. */
static void nmt(otimes_rewrite *rewrite)
{
    const otimes_flow *source = rewrite->source;
    int length;
    for (int64_t at = 0; rewrite->rc == OTIMES_OK && at < source->length; at += length) {
        const uint32_t code = otimes_utf8_get(source->text + at, &length);
        if ((code >= 0x01 && code <= 0x08) || code == 0x0b || (code >= 0x0e && code <= 0x1f) ||
            code == 0x7f || code == 0x8f || code == 0x9f) {
            otimes_rewrite_keep(rewrite, at);
            rewrite->at = at + length;
        } else if (code == 0x09 || code == 0x0a || code == 0x0c || code == 0x0d || code == 0x1680 ||
                   (code >= 0x200b && code <= 0x200f) || code == 0x2028 || code == 0x2029 ||
                   code == 0x2581 || code == 0xfeff || code == 0xfffd) {
            otimes_rewrite_keep(rewrite, at);
            otimes_rewrite_put(rewrite, ' ', 0);
        }
    }
    otimes_rewrite_keep(rewrite, source->length);
}

static int64_t characters(const char *text, int64_t length)
{
    int64_t count = 0;
    for (int64_t i = 0; i < length; i++) {
        count += !otimes_utf8_continues(text[i]);
    }
    return count;
}

/* Puts `text` for the next `used` source bytes: of more characters than before, the last are the
 * inserted ones; of fewer, the last stands for one and the rest is dropped. */
static void substitute(otimes_rewrite *rewrite, const char *text, int64_t used)
{
    const int64_t length = (int64_t)strlen(text);
    const int64_t old = characters(rewrite->source->text + rewrite->at, used);
    const int64_t count = characters(text, length);
    const int64_t end = rewrite->at + used;
    int step;
    for (int64_t at = 0, i = 0; at < length; at += step, i++) {
        const uint32_t code = otimes_utf8_get(text + at, &step);
        otimes_rewrite_put(rewrite, code,
                           i >= old                        ? 1
                           : i == count - 1 && count < old ? (int)(count - old)
                                                           : 0);
    }
    rewrite->at = end;
}

/* A grapheme whole if it is short and the map knows a beginning of it, else character by character;
 * the shortest beginning counts. */
static void map_grapheme(const otimes_charsmap *map, otimes_rewrite *rewrite, int64_t end)
{
    const otimes_flow *source = rewrite->source;
    int64_t used;
    if (end - rewrite->at <= GRAPHEME_MOST) {
        const char *whole =
            otimes_charsmap_find(map, source->text + rewrite->at, end - rewrite->at, 0, &used);
        if (whole) {
            substitute(rewrite, whole, end - rewrite->at);
            return;
        }
    }
    while (rewrite->rc == OTIMES_OK && rewrite->at < end) {
        const char *text = source->text + rewrite->at;
        const int length = otimes_utf8_size(text[0]);
        const char *found = otimes_charsmap_find(map, text, length, 0, &used);
        if (found) {
            substitute(rewrite, found, length);
        } else {
            otimes_rewrite_keep(rewrite, rewrite->at + length);
        }
    }
}

static void map_graphemes(const otimes_charsmap *map, otimes_rewrite *rewrite)
{
    const otimes_flow *source = rewrite->source;
    int32_t state = 0;
    int step;
    uint32_t before = 0;
    for (int64_t at = 0; rewrite->rc == OTIMES_OK && at < source->length; at += step) {
        const uint32_t code = otimes_utf8_get(source->text + at, &step);
        if (at > 0 && otimes_grapheme_ends(before, code, &state)) {
            map_grapheme(map, rewrite, at);
        }
        before = code;
    }
    map_grapheme(map, rewrite, source->length);
}

static bool bert_drops(uint32_t code)
{
    return code == 0 || code == OTIMES_REPLACEMENT ||
           (code != '\t' && code != '\n' && code != '\r' && otimes_is_other(code));
}

static bool is_chinese(uint32_t code)
{
    return (code >= 0x4e00 && code <= 0x9fff) || (code >= 0x3400 && code <= 0x4dbf) ||
           (code >= 0x20000 && code <= 0x2a6df) || (code >= 0x2a700 && code <= 0x2b73f) ||
           (code >= 0x2b740 && code <= 0x2b81f) || (code >= 0x2b920 && code <= 0x2ceaf) ||
           (code >= 0xf900 && code <= 0xfaff) || (code >= 0x2f800 && code <= 0x2fa1f);
}

/* The first half of BertNormalizer: controls dropped, blanks made spaces, ideographs set apart. */
static void bert_clean(const otimes_step *step, otimes_rewrite *rewrite)
{
    const otimes_flow *source = rewrite->source;
    int length;
    for (int64_t at = 0; rewrite->rc == OTIMES_OK && at < source->length; at += length) {
        const uint32_t code = otimes_utf8_get(source->text + at, &length);
        if (step->clean && bert_drops(code)) {
            rewrite->at = at + length;
        } else if (step->clean && otimes_is_space(code)) {
            rewrite->at = at;
            otimes_rewrite_put(rewrite, ' ', 0);
        } else if (step->chinese && is_chinese(code)) {
            rewrite->at = at;
            otimes_rewrite_put(rewrite, ' ', 0);
            otimes_rewrite_put(rewrite, code, 1);
            otimes_rewrite_put(rewrite, ' ', 1);
        } else {
            rewrite->at = at;
            otimes_rewrite_keep(rewrite, at + length);
        }
    }
}

/* As SentencePiece has it, a token stands for what lies from the beginning of its source to that of
 * the next: blanks that were dropped go to the token before them. */
typedef struct sentence {
    const otimes_step *step;
    otimes_rewrite *rewrite;
    otimes_string blank;
    int64_t last; /* in the draft, where the last character begins */
    int64_t kept; /* the draft without blanks at its end */
    bool begun;
    bool fresh;       /* what comes next is of another source than what was put last */
    bool after_blank; /* a blank would be one too many */
} sentence;

/* What was put last stands for the source up to `begin`. */
static void close_last(sentence *sen, int32_t begin)
{
    otimes_draft *draft = sen->rewrite->draft;
    for (int64_t i = sen->last; i < draft->length; i++) {
        draft->origin[i].end = begin;
    }
    sen->last = draft->length;
}

static void put_character(sentence *sen, const char *text, int64_t length, int32_t begin)
{
    const bool blank =
        length == sen->blank.length && memcmp(text, sen->blank.data, (size_t)length) == 0;
    if (sen->fresh) {
        close_last(sen, begin);
        sen->fresh = false;
    }
    otimes_rewrite_place(sen->rewrite, text, length, (otimes_span){begin, begin});
    sen->kept = blank ? sen->kept : sen->rewrite->draft->length;
}

/* The blank in front stands before the first run that is anything but a blank to be dropped. */
static void put_prefix(sentence *sen, const char *text, int64_t length, int32_t begin)
{
    const bool dropped = sen->step->trim_blanks && length == 1 && text[0] == ' ';
    if (!sen->begun && !dropped) {
        sen->begun = true;
        if (sen->step->prepend != OTIMES_PREPEND_NEVER && !sen->step->suffix) {
            put_character(sen, sen->blank.data, sen->blank.length, begin);
            sen->fresh = true;
        }
    }
}

static void put_run(sentence *sen, const char *text, int64_t length, int32_t begin)
{
    sen->fresh = true;
    put_prefix(sen, text, length, begin);
    for (int64_t i = 0, one; i < length; i += one) {
        const bool is_blank = text[i] == ' ';
        one = otimes_utf8_size(text[i]);
        if (is_blank && sen->after_blank) {
            continue;
        }
        sen->after_blank = sen->step->trim_blanks && is_blank;
        put_character(sen, is_blank ? sen->blank.data : text + i,
                      is_blank ? sen->blank.length : one, begin);
    }
}

/* All that SentencePiece does to a text: its map by longest beginnings, runs of blanks to one, a
 * blank in front, U+2581 for blanks. */
static void sentencepiece(const otimes_step *step, otimes_rewrite *rewrite)
{
    char mark[] = "\xe2\x96\x81", space[] = " ";
    const otimes_flow *source = rewrite->source;
    otimes_draft *draft = rewrite->draft;
    sentence sen = {.step = step, .rewrite = rewrite, .after_blank = step->trim_blanks};
    sen.blank = step->escape_blanks ? (otimes_string){mark, 3} : (otimes_string){space, 1};
    while (rewrite->rc == OTIMES_OK && rewrite->at < source->length) {
        const char *text = source->text + rewrite->at, *put = NULL;
        const int64_t rest = source->length - rewrite->at;
        int32_t id;
        int64_t used = step->frozen ? otimes_trie_longest(step->frozen, text, rest, &id) : 0;
        if (used == 0) {
            used = otimes_utf8_size(text[0]);
            put =
                step->charsmap ? otimes_charsmap_find(step->charsmap, text, rest, 1, &used) : NULL;
        }
        put_run(&sen, put ? put : text, put ? (int64_t)strlen(put) : used,
                otimes_flow_span(source, rewrite->at, rewrite->at + used).begin);
        rewrite->at += used;
    }
    if (rewrite->rc != OTIMES_OK || draft->length == 0) {
        return;
    }
    int32_t end = otimes_flow_span(source, 0, source->length).end;
    if (draft->length > sen.kept && step->trim_blanks) {
        end = draft->origin[sen.kept].begin;
    }
    close_last(&sen, end);
    draft->length = step->trim_blanks ? sen.kept : draft->length;
    if (step->suffix && step->prepend != OTIMES_PREPEND_NEVER) {
        otimes_rewrite_place(rewrite, sen.blank.data, sen.blank.length, (otimes_span){end, end});
    }
}

static int run_step(const otimes_step *step, otimes_scratch *scratch, const otimes_flow *flow,
                    otimes_draft *out, bool *changed, otimes_err *err)
{
    otimes_rewrite rewrite = otimes_rewrite_begin(flow, out, err);
    out->length = 0;
    *changed = true;
    switch (step->kind) {
    case OTIMES_STEP_PREPEND:
        prepend(&rewrite, &step->content);
        break;
    case OTIMES_STEP_REPLACE:
        replace(step, scratch, &rewrite, changed);
        break;
    case OTIMES_STEP_FORM:
        return otimes_form(&rewrite, step->compose, step->compatibility, changed);
    case OTIMES_STEP_LOWERCASE:
        lowercase(&rewrite);
        break;
    case OTIMES_STEP_STRIP:
        strip(step, &rewrite);
        break;
    case OTIMES_STEP_STRIP_ACCENTS:
        filter(&rewrite, step->nonspacing ? otimes_is_nonspacing : otimes_is_mark);
        break;
    case OTIMES_STEP_NMT:
        nmt(&rewrite);
        break;
    case OTIMES_STEP_CHARSMAP:
        map_graphemes(step->charsmap, &rewrite);
        break;
    case OTIMES_STEP_BERT:
        bert_clean(step, &rewrite);
        break;
    case OTIMES_STEP_SENTENCEPIECE:
        sentencepiece(step, &rewrite);
        break;
    case OTIMES_STEP_BYTE_LEVEL:
        otimes_rewrite_alphabet(&rewrite);
        break;
    default:              /* unreached: readers make no other step */
        *changed = false; /* no normalizer */
        break;
    }
    return rewrite.rc;
}

int otimes_normalize(const otimes_steps *steps, otimes_scratch *scratch, otimes_flow *flow,
                     otimes_err *err)
{
    int rc = OTIMES_OK;
    scratch->normal[0].most = scratch->normal[1].most = otimes_flow_most(flow->length);
    for (int64_t i = 0; rc == OTIMES_OK && i < steps->count && flow->length > 0; i++) {
        otimes_draft *out = &scratch->normal[scratch->turn ^ 1];
        bool changed;
        rc = run_step(&steps->step[i], scratch, flow, out, &changed, err);
        if (rc == OTIMES_OK && changed) {
            *flow = otimes_flow_of(out);
            scratch->turn ^= 1;
        }
    }
    return rc;
}
