/* SPDX-License-Identifier: MIT
 *
 * Ids to text, with the semantics of huggingface/tokenizers, tokenizers/src/decoders: each step
 * takes a list of texts and gives another.
 */
#include <string.h>

#include "token/run.h"
#include "token/utf8.h"

/* A list of texts, one behind the other. */
typedef struct texts {
    char *data;
    int64_t length, capacity;
    int64_t *end; /* where each ends */
    int64_t count, end_capacity;
} texts;

typedef struct decoding {
    texts in, out;
    int64_t most; /* bytes that steps may make */
    otimes_matcher matcher;
    int rc;
    otimes_err *err;
} decoding;

static void texts_free(texts *list)
{
    otimes_free(list->data);
    otimes_free(list->end);
}

/* Appends to the text that is being written. */
static void put(decoding *d, const char *data, int64_t length)
{
    if (d->rc == OTIMES_OK && d->out.length + length > d->most) {
        d->rc = otimes_fail(d->err, OTIMES_ERR_UNSUPPORTED,
                            "tokens: the tokenizer's decoder makes more than %lld bytes of them",
                            (long long)d->most);
    }
    if (d->rc == OTIMES_OK) {
        d->rc = OTIMES_ROOM(&d->out.data, d->out.length + length + 1, &d->out.capacity, d->err);
    }
    if (d->rc == OTIMES_OK && length > 0) {
        memcpy(d->out.data + d->out.length, data, (size_t)length);
        d->out.length += length;
    }
}

static void end_text(decoding *d)
{
    if (d->rc == OTIMES_OK) {
        d->rc = OTIMES_GROW(&d->out.end, d->out.count, &d->out.end_capacity, d->err);
    }
    if (d->rc == OTIMES_OK) {
        d->out.end[d->out.count++] = d->out.length;
    }
}

static void turn_over(decoding *d)
{
    const texts list = d->in;
    d->in = d->out;
    d->out = list;
    d->out.length = d->out.count = 0;
}

static const char *text_at(const texts *list, int64_t i, int64_t *length)
{
    const int64_t begin = i > 0 ? list->end[i - 1] : 0;
    *length = list->end[i] - begin;
    return list->data ? list->data + begin : ""; /* nothing was put: all are empty */
}

/* Bytes as text: each maximal part of a character becomes U+FFFD, or each byte if `single`. */
static void put_lossy(decoding *d, const char *bytes, int64_t length, bool single)
{
    if (single && otimes_utf8_valid(bytes, length) != length) {
        for (int64_t i = 0; i < length; i++) {
            put(d, "\xef\xbf\xbd", 3);
        }
        return;
    }
    for (int64_t at = 0; at < length;) {
        const int64_t valid = otimes_utf8_valid(bytes + at, length - at);
        put(d, bytes + at, valid);
        at += valid;
        if (at < length) {
            int part;
            otimes_utf8_check(bytes + at, length - at, &part);
            put(d, "\xef\xbf\xbd", 3);
            at += part;
        }
    }
}

/* All texts become the bytes they stand for, and one text; what is not in the byte alphabet stands
 * for itself. */
static void byte_level(decoding *d)
{
    char *bytes = NULL;
    int64_t used = 0, length;
    d->rc = OTIMES_NEW(&bytes, d->in.length, d->err);
    for (int64_t i = 0; d->rc == OTIMES_OK && i < d->in.count; i++) {
        const char *text = text_at(&d->in, i, &length);
        const int64_t count = otimes_alphabet_decode(text, length, bytes + used);
        if (count < 0) {
            memcpy(bytes + used, text, (size_t)length);
        }
        used += count < 0 ? length : count;
    }
    if (d->rc == OTIMES_OK) {
        put_lossy(d, bytes, used, false);
        end_text(d);
    }
    otimes_free(bytes);
}

/* "<0x41>", digits of either case; -1 for anything else. */
static int byte_of(const char *text, int64_t length)
{
    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') {
        return -1;
    }
    int byte = 0;
    for (int i = 3; i < 5; i++) {
        const char c = text[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) {
            return -1;
        }
        byte = 16 * byte + digit;
    }
    return byte;
}

static void byte_fallback(decoding *d)
{
    char *run;
    int64_t used = 0;
    d->rc = OTIMES_NEW(&run, d->in.count, d->err);
    for (int64_t i = 0; d->rc == OTIMES_OK && i <= d->in.count; i++) {
        int64_t length = 0;
        const char *text = i < d->in.count ? text_at(&d->in, i, &length) : NULL;
        const int byte = text ? byte_of(text, length) : -1;
        if (byte >= 0) {
            run[used++] = (char)byte;
            continue;
        }
        if (used > 0) {
            put_lossy(d, run, used, true);
            end_text(d);
            used = 0;
        }
        if (text) {
            put(d, text, length);
            end_text(d);
        }
    }
    otimes_free(run);
}

static void metaspace(decoding *d, const otimes_step *step)
{
    int64_t length, size = step->text.length;
    for (int64_t i = 0; i < d->in.count; i++) {
        const char *text = text_at(&d->in, i, &length);
        for (int64_t at = 0, one; at < length; at += one) {
            one = otimes_utf8_size(text[at]);
            if (one != size || memcmp(text + at, step->text.data, (size_t)size) != 0) {
                put(d, text + at, one);
            } else if (i > 0 || step->prepend == OTIMES_PREPEND_NEVER) {
                put(d, " ", 1);
            }
        }
        end_text(d);
    }
}

static void replace_text(decoding *d, const otimes_step *step, const char *text, int64_t length)
{
    int64_t done = 0, from = 0, last = -1;
    while (d->rc == OTIMES_OK && from <= length) {
        bool found = false;
        int64_t begin = 0, end = 0;
        if (step->pattern) {
            d->rc = otimes_pattern_match(step->pattern, &d->matcher, text, length, from, &found,
                                         &begin, &end, d->err);
        } else if (step->text.length > 0) {
            const char *at = memmem(text + from, (size_t)(length - from), step->text.data,
                                    (size_t)step->text.length);
            found = at != NULL;
            begin = at ? at - text : 0;
            end = begin + step->text.length;
        }
        if (d->rc != OTIMES_OK || !found) {
            break;
        }
        if (end > begin || end != last) {
            put(d, text + done, begin - done);
            put(d, step->content.data, step->content.length);
            done = last = end;
        }
        from = end > begin ? end : end + (end < length ? otimes_utf8_size(text[end]) : 1);
    }
    put(d, text + done, length - done);
}

/* `content`, one character, off either end of each text. */
static void strip(decoding *d, const otimes_step *step)
{
    int64_t length, size = step->content.length;
    for (int64_t i = 0; i < d->in.count; i++) {
        const char *text = text_at(&d->in, i, &length);
        int64_t left = 0;
        for (; size > 0 && left < step->start && length >= size &&
               memcmp(text, step->content.data, (size_t)size) == 0;
             left++) {
            text += size;
            length -= size;
        }
        for (int64_t right = 0; size > 0 && right < step->stop && length >= size &&
                                memcmp(text + length - size, step->content.data, (size_t)size) == 0;
             right++) {
            length -= size;
        }
        put(d, text, length);
        end_text(d);
    }
}

/* SentencePiece drops the blank that it put in front: off the first text that has one or has
 * anything else. With start > 1 all blanks go until there is anything else. */
static void strip_first(decoding *d, const otimes_step *step)
{
    int64_t length, size = step->content.length;
    bool done = false;
    for (int64_t i = 0; i < d->in.count; i++) {
        const char *text = text_at(&d->in, i, &length);
        if (!done && length >= size && memcmp(text, step->content.data, (size_t)size) == 0) {
            text += size;
            length -= size;
            done = step->start <= 1;
        }
        done = done || length > 0;
        put(d, text, length);
        end_text(d);
    }
}

static void put_replaced(decoding *d, const char *text, int64_t length)
{
    /* The contractions that WordPiece's cleanup sets right, in its order. */
    static const char *const pairs[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    char *one = otimes_strndup(text, (size_t)length), *two = NULL;
    int rc = one ? OTIMES_NEW(&two, 2 * length + 1, d->err)
                 : otimes_fail(d->err, OTIMES_ERR_MEMORY, "out of memory: decoding");
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof pairs / sizeof pairs[0]; i++) {
        const int64_t size = (int64_t)strlen(pairs[i][0]), put_size = (int64_t)strlen(pairs[i][1]);
        int64_t used = 0;
        for (int64_t at = 0; at < length;) {
            if (length - at >= size && memcmp(one + at, pairs[i][0], (size_t)size) == 0) {
                memcpy(two + used, pairs[i][1], (size_t)put_size);
                used += put_size;
                at += size;
            } else {
                two[used++] = one[at++];
            }
        }
        char *const other = one;
        one = two;
        two = other;
        length = used;
    }
    d->rc = d->rc == OTIMES_OK ? rc : d->rc;
    put(d, one, length);
    otimes_free(one);
    otimes_free(two);
}

static void wordpiece(decoding *d, const otimes_step *step)
{
    int64_t length, size = step->content.length;
    for (int64_t i = 0; d->rc == OTIMES_OK && i < d->in.count; i++) {
        const char *text = text_at(&d->in, i, &length);
        const int64_t before = d->out.length;
        if (i > 0 && length >= size && memcmp(text, step->content.data, (size_t)size) == 0) {
            text += size;
            length -= size;
        } else if (i > 0) {
            put(d, " ", 1);
        }
        put(d, text, length);
        if (step->clean && d->rc == OTIMES_OK) {
            const int64_t written = d->out.length - before;
            d->out.length = before;
            put_replaced(d, d->out.data + before, written);
        }
        end_text(d);
    }
}

static void bpe_suffix(decoding *d, const otimes_step *step)
{
    int64_t length;
    for (int64_t i = 0; i < d->in.count; i++) {
        otimes_step blank = *step;
        char space[] = " ";
        blank.content = (otimes_string){space, i + 1 < d->in.count};
        const char *text = text_at(&d->in, i, &length);
        replace_text(d, &blank, text, length);
        end_text(d);
    }
}

static void copy_all(decoding *d, bool fuse, const otimes_step *replaced)
{
    int64_t length;
    for (int64_t i = 0; i < d->in.count; i++) {
        const char *text = text_at(&d->in, i, &length);
        if (replaced) {
            replace_text(d, replaced, text, length);
        } else {
            put(d, text, length);
        }
        if (!fuse) {
            end_text(d);
        }
    }
    if (fuse) {
        end_text(d);
    }
}

static void run_step(decoding *d, const otimes_step *step)
{
    switch (step->kind) {
    case OTIMES_STEP_BYTE_LEVEL:
        byte_level(d);
        break;
    case OTIMES_STEP_BYTE_FALLBACK:
        byte_fallback(d);
        break;
    case OTIMES_STEP_METASPACE:
        metaspace(d, step);
        break;
    case OTIMES_STEP_REPLACE:
        copy_all(d, false, step);
        break;
    case OTIMES_STEP_FUSE:
        copy_all(d, true, NULL);
        break;
    case OTIMES_STEP_STRIP_TOKEN:
        strip(d, step);
        break;
    case OTIMES_STEP_STRIP_FIRST:
        strip_first(d, step);
        break;
    case OTIMES_STEP_WORDPIECE:
        wordpiece(d, step);
        break;
    case OTIMES_STEP_BPE_SUFFIX:
        bpe_suffix(d, step);
        break;
    default:                      /* unreached: readers make no other step */
        copy_all(d, false, NULL); /* no decoder */
        break;
    }
    turn_over(d);
}

static void gather(decoding *d, const otimes_tokenizer *t, const int64_t *id, int64_t count,
                   bool skip_special)
{
    for (int64_t i = 0; d->rc == OTIMES_OK && i < count; i++) {
        if (id[i] < 0 || id[i] >= t->info.vocab_size) {
            d->rc = otimes_fail(d->err, OTIMES_ERR_ARGUMENT,
                                "token %lld: expected an id from 0 to %lld, got %lld", (long long)i,
                                (long long)t->info.vocab_size - 1, (long long)id[i]);
            return;
        }
        if (!otimes_pieces_has(&t->pieces, id[i]) || (skip_special && t->special[id[i]])) {
            continue;
        }
        if (id[i] == t->info.unknown && t->unknown_surface) {
            put(d, t->unknown_surface, (int64_t)strlen(t->unknown_surface));
        } else {
            put(d, otimes_pieces_text(&t->pieces, id[i]), t->pieces.length[id[i]]);
        }
        end_text(d);
    }
    turn_over(d);
}

int otimes_decode(const otimes_tokenizer *tokenizer, const int64_t *id, int64_t count,
                  int skip_special, char **text, int64_t *bytes, otimes_err *err)
{
    decoding d = {.most = INT64_MAX, .err = err};
    *text = NULL;
    *bytes = 0;
    gather(&d, tokenizer, id, count, skip_special);
    d.most = otimes_flow_most(d.in.length + d.in.count);
    for (int64_t i = 0; d.rc == OTIMES_OK && i < tokenizer->decoder.count; i++) {
        run_step(&d, &tokenizer->decoder.step[i]);
    }
    /* Without a decoder tokens are words. */
    const bool words = tokenizer->decoder.count == 0;
    int64_t length;
    for (int64_t i = 0; d.rc == OTIMES_OK && i < d.in.count; i++) {
        const char *part = text_at(&d.in, i, &length);
        put(&d, " ", words && i > 0);
        put(&d, part, length);
    }
    put(&d, "", 0);
    if (d.rc == OTIMES_OK) {
        d.out.data[d.out.length] = '\0';
        *text = d.out.data;
        *bytes = d.out.length;
        d.out.data = NULL;
    }
    texts_free(&d.in);
    texts_free(&d.out);
    otimes_matcher_free(&d.matcher);
    return d.rc;
}
