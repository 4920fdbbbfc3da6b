/* SPDX-License-Identifier: MIT
 *
 * What tokens stand for, for labels: the rules of format/vocab.c.
 */
#include <stdio.h>
#include <string.h>

#include "token/tokenizer.h"
#include "token/utf8.h"

/* Any bytes as a label: what is no character, and NUL, as <0xHH>. */
static int add_bytes(otimes_text *out, const char *bytes, int64_t length, otimes_err *err)
{
    int rc = OTIMES_OK;
    int64_t valid = 0; /* where the characters from `at` on end */
    for (int64_t at = 0, step; rc == OTIMES_OK && at < length; at += step) {
        valid = valid > at ? valid : at + otimes_utf8_valid(bytes + at, length - at);
        const char *nul = memchr(bytes + at, '\0', (size_t)(valid - at));
        step = nul ? nul - (bytes + at) : valid - at;
        if (step > 0) {
            rc = otimes_text_put(out, bytes + at, step, err);
        } else {
            rc = otimes_text_add(out, err, "<0x%02X>", (unsigned char)bytes[at]);
            step = 1;
        }
    }
    return rc;
}

static int add_metaspace(otimes_text *out, const char *text, int64_t length, otimes_err *err)
{
    static const char mark[] = "\xe2\x96\x81";
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < length;) {
        const char *found = memmem(text + at, (size_t)(length - at), mark, 3);
        const int64_t stop = found ? found - text : length;
        rc = add_bytes(out, text + at, stop - at, err);
        if (rc == OTIMES_OK && found) {
            rc = otimes_text_put(out, " ", 1, err);
        }
        at = found ? stop + 3 : length;
    }
    return rc;
}

static int add_label(const otimes_tokenizer *t, otimes_text *out, int64_t id, bool verbatim,
                     char *bytes, otimes_err *err)
{
    if (!otimes_pieces_has(&t->pieces, id)) {
        return otimes_text_add(out, err, "[%lld]", (long long)id);
    }
    const char *text = otimes_pieces_text(&t->pieces, id);
    const int64_t length = t->pieces.length[id];
    if (verbatim) {
        return add_bytes(out, text, length, err);
    }
    if (!t->byte_labels) {
        return add_metaspace(out, text, length, err);
    }
    const int64_t count = otimes_alphabet_decode(text, length, bytes);
    return count < 0 ? add_bytes(out, text, length, err) : add_bytes(out, bytes, count, err);
}

int otimes_labels_make(otimes_tokenizer *t, otimes_err *err)
{
    int64_t longest = 0;
    for (int64_t id = 0; id < t->info.vocab_size; id++) {
        longest = t->pieces.length[id] > longest ? t->pieces.length[id] : longest;
    }
    char *bytes = NULL;
    bool *verbatim = NULL;
    int rc = OTIMES_NEW(&t->label, t->info.vocab_size, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&bytes, longest, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&verbatim, t->info.vocab_size, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < t->added.count; i++) {
        verbatim[t->added.token[i].id] = true;
    }
    for (int64_t id = 0; rc == OTIMES_OK && id < t->info.vocab_size; id++) {
        t->label[id] = t->label_text.length;
        rc = add_label(t, &t->label_text, id, verbatim[id], bytes, err);
        if (rc == OTIMES_OK) { /* the NUL behind a label stays */
            rc = otimes_text_put(&t->label_text, "", 1, err);
        }
    }
    otimes_free(bytes);
    otimes_free(verbatim);
    return rc;
}

const char *otimes_token_text(const otimes_tokenizer *tokenizer, int64_t id)
{
    return id >= 0 && id < tokenizer->info.vocab_size
               ? tokenizer->label_text.data + tokenizer->label[id]
               : NULL;
}
