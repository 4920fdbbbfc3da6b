/* SPDX-License-Identifier: MIT
 *
 * SentencePiece's .model, a protobuf ModelProto (google/sentencepiece,
 * src/sentencepiece_model.proto; the numbers of fields below are from there). It is read here
 * rather than by libsentencepiece: that knows nothing of tokenizer.json, which needs Unigram, the
 * charsmap and exact ranges anyway.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "token/formats.h"
#include "token/protobuf.h"
#include "token/utf8.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };
enum { UNIGRAM = 1, BPE = 2 };

static const char mark[] = "\xe2\x96\x81"; /* U+2581, for blanks */

typedef struct proto {
    otimes_tokenizer *tokenizer;
    float *score;
    unsigned char *type;
    int64_t count, most; /* pieces */
    uint64_t model_type;
    bool byte_fallback, suffix, dummy_prefix, trim_blanks, escape_blanks;
    otimes_message charsmap, unknown_surface, bos, eos;
} proto;

static int broken(const proto *p, const char *what, otimes_err *err)
{
    return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: %s: broken protobuf message",
                       p->tokenizer->path, what);
}

static int read_piece(proto *p, otimes_message message, otimes_err *err)
{
    otimes_field field;
    otimes_message text = {0};
    uint64_t type = NORMAL;
    float score = 0;
    while (otimes_message_next(&message, &field)) {
        if (field.number == 1 && field.wire == 2) {
            text = field.bytes;
        } else if (field.number == 2 && field.wire == 5) {
            const uint32_t bits = (uint32_t)field.value;
            memcpy(&score, &bits, sizeof bits);
        } else if (field.number == 3 && field.wire == 0) {
            type = field.value;
        }
    }
    const int64_t length = text.end - text.at;
    if (message.broken) {
        return broken(p, "a piece", err);
    }
    if (!isfinite(score) || type < NORMAL || type > BYTE || length == 0 ||
        otimes_utf8_valid((const char *)text.at, length) != length) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: piece %lld: expected text in UTF-8, a finite score and type 1 to "
                           "6, got %lld bytes, %g and %llu",
                           p->tokenizer->path, (long long)p->count, (long long)length,
                           (double)score, (unsigned long long)type);
    }
    p->score[p->count] = score;
    p->type[p->count] = (unsigned char)type;
    return otimes_pieces_add(&p->tokenizer->pieces, p->count++, (const char *)text.at, length,
                             p->tokenizer->path, err);
}

static int read_trainer(proto *p, otimes_message message, otimes_err *err)
{
    otimes_field field;
    while (otimes_message_next(&message, &field)) {
        if (field.wire == 0 && field.number == 3) {
            p->model_type = field.value;
        } else if (field.wire == 0 && field.number == 24) {
            p->suffix = field.value != 0;
        } else if (field.wire == 0 && field.number == 35) {
            p->byte_fallback = field.value != 0;
        } else if (field.wire == 2 && field.number == 44) {
            p->unknown_surface = field.bytes;
        } else if (field.wire == 2 && field.number == 46) {
            p->bos = field.bytes;
        } else if (field.wire == 2 && field.number == 47) {
            p->eos = field.bytes;
        }
    }
    return message.broken ? broken(p, "trainer_spec", err) : OTIMES_OK;
}

static int read_normalizer(proto *p, otimes_message message, otimes_err *err)
{
    otimes_field field;
    while (otimes_message_next(&message, &field)) {
        if (field.wire == 2 && field.number == 2) {
            p->charsmap = field.bytes;
        } else if (field.wire == 0 && field.number == 3) {
            p->dummy_prefix = field.value != 0;
        } else if (field.wire == 0 && field.number == 4) {
            p->trim_blanks = field.value != 0;
        } else if (field.wire == 0 && field.number == 5) {
            p->escape_blanks = field.value != 0;
        }
    }
    return message.broken ? broken(p, "normalizer_spec", err) : OTIMES_OK;
}

static int read_all(proto *p, otimes_message message, otimes_err *err)
{
    otimes_field field;
    int rc = OTIMES_OK;
    while (rc == OTIMES_OK && otimes_message_next(&message, &field)) {
        if (field.wire == 2 && field.number == 1) {
            rc = read_piece(p, field.bytes, err);
        } else if (field.wire == 2 && field.number == 2) {
            rc = read_trainer(p, field.bytes, err);
        } else if (field.wire == 2 && field.number == 3) {
            rc = read_normalizer(p, field.bytes, err);
        }
    }
    return rc == OTIMES_OK && message.broken ? broken(p, "the model", err) : rc;
}

/* ---- what is made of it ---- */

static int64_t control_id(const proto *p, otimes_message text, const char *fallback)
{
    const otimes_pieces *pieces = &p->tokenizer->pieces;
    const int32_t id = text.at
                           ? otimes_pieces_find(pieces, (const char *)text.at, text.end - text.at)
                           : otimes_pieces_find(pieces, fallback, (int64_t)strlen(fallback));
    return id >= 0 && p->type[id] == CONTROL ? id : -1;
}

static int make_special(proto *p, otimes_err *err)
{
    otimes_tokenizer *t = p->tokenizer;
    int rc = OTIMES_OK;
    t->speller.unknown = -1;
    for (int64_t id = 0; rc == OTIMES_OK && id < p->count; id++) {
        if (p->type[id] == UNKNOWN && t->speller.unknown >= 0) {
            rc = otimes_fail(err, OTIMES_ERR_FORMAT, "%s: two unknown pieces, %d and %lld", t->path,
                             t->speller.unknown, (long long)id);
        } else if (p->type[id] == UNKNOWN) {
            t->speller.unknown = (int32_t)id;
        } else if (p->type[id] == CONTROL) {
            rc = otimes_ids_add(&t->hidden, id, err);
        } else if (p->type[id] == USER_DEFINED) {
            rc = otimes_trie_add(&t->speller.frozen, otimes_pieces_text(&t->pieces, id),
                                 t->pieces.length[id], (int32_t)id, err);
        }
    }
    if (rc == OTIMES_OK && t->speller.unknown < 0) {
        rc = otimes_fail(err, OTIMES_ERR_FORMAT, "%s: no unknown piece", t->path);
    }
    t->info.bos = control_id(p, p->bos, "<s>");
    t->info.eos = control_id(p, p->eos, "</s>");
    t->bos_by_default = true;
    return rc;
}

static int make_normalizer(proto *p, otimes_err *err)
{
    otimes_tokenizer *t = p->tokenizer;
    int rc = OTIMES_OK;
    otimes_step *step = otimes_steps_add(&t->normalizer, OTIMES_STEP_SENTENCEPIECE, &rc, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    step->prepend = p->dummy_prefix ? OTIMES_PREPEND_ALWAYS : OTIMES_PREPEND_NEVER;
    step->trim_blanks = p->trim_blanks;
    step->escape_blanks = p->escape_blanks;
    step->suffix = p->suffix;
    step->frozen = t->speller.frozen.nodes > 0 ? &t->speller.frozen : NULL;
    const int64_t length = p->charsmap.end - p->charsmap.at;
    return length == 0 ? OTIMES_OK
                       : otimes_charsmap_new(&step->charsmap, p->charsmap.at, length, t->path, err);
}

static int make_decoder(proto *p, otimes_err *err)
{
    otimes_tokenizer *t = p->tokenizer;
    int rc = OTIMES_OK;
    otimes_step *step;
    if (p->dummy_prefix || p->trim_blanks) {
        step = otimes_steps_add(&t->decoder, OTIMES_STEP_STRIP_FIRST, &rc, err);
        if (rc == OTIMES_OK) {
            step->start = p->trim_blanks ? 2 : 1;
            rc = otimes_string_set(t, &step->content, mark, 3, err);
        }
    }
    step = otimes_steps_add(&t->decoder, OTIMES_STEP_REPLACE, &rc, err);
    if (rc == OTIMES_OK) {
        rc = otimes_string_set(t, &step->text, mark, 3, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_string_set(t, &step->content, " ", 1, err);
    }
    otimes_steps_add(&t->decoder, OTIMES_STEP_BYTE_FALLBACK, &rc, err);
    otimes_steps_add(&t->decoder, OTIMES_STEP_FUSE, &rc, err);
    otimes_string surface = {0};
    if (rc == OTIMES_OK) {
        static const char usual[] = " \xe2\x81\x87 "; /* U+2047 */
        const otimes_message *own = &p->unknown_surface;
        const bool text = own->at && otimes_utf8_valid((const char *)own->at, own->end - own->at) ==
                                         own->end - own->at;
        rc = otimes_string_set(t, &surface, text ? (const char *)own->at : usual,
                               text ? own->end - own->at : (int64_t)sizeof usual - 1, err);
        t->unknown_surface = surface.data;
    }
    return rc;
}

/* Scores in float, and a user-defined piece before anything else, as unigram_model.cc has it, whose
 * highest score begins at the smallest positive float. */
static int make_unigram(proto *p, otimes_err *err)
{
    otimes_tokenizer *t = p->tokenizer;
    otimes_speller *speller = &t->speller;
    float lowest = FLT_MAX, highest = FLT_MIN;
    speller->rule = OTIMES_RULE_UNIGRAM;
    speller->single = true;
    for (int64_t id = 0; id < p->count; id++) {
        lowest = p->type[id] == NORMAL && p->score[id] < lowest ? p->score[id] : lowest;
        highest = p->type[id] == NORMAL && p->score[id] > highest ? p->score[id] : highest;
    }
    speller->unknown_score = (double)(lowest - 10.0f);
    int rc = OTIMES_NEW(&speller->score, p->count, err);
    for (int64_t id = 0; rc == OTIMES_OK && id < p->count; id++) {
        const int32_t length = t->pieces.length[id];
        speller->score[id] = (double)p->score[id];
        if (p->type[id] == USER_DEFINED) {
            speller->score[id] = (double)((float)length * highest) - 0.1;
        }
        if (p->type[id] == NORMAL || p->type[id] == USER_DEFINED) {
            rc = otimes_trie_add(&speller->trie, otimes_pieces_text(&t->pieces, id), length,
                                 (int32_t)id, err);
        }
    }
    return rc;
}

static int make_bpe(proto *p, otimes_err *err)
{
    otimes_tokenizer *t = p->tokenizer;
    bool *merges;
    int rc = OTIMES_NEW(&merges, p->count, err);
    for (int64_t id = 0; rc == OTIMES_OK && id < p->count; id++) {
        merges[id] = p->type[id] == NORMAL || p->type[id] == USER_DEFINED;
        if (p->type[id] == UNUSED) {
            rc = otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                             "%s: piece %lld: unused pieces of a BPE model are not supported",
                             t->path, (long long)id);
        }
    }
    if (rc == OTIMES_OK) {
        rc = otimes_merges_from_scores(t, p->score, merges, true, err);
    }
    otimes_free(merges);
    return rc;
}

static int make(proto *p, otimes_err *err)
{
    otimes_tokenizer *t = p->tokenizer;
    t->info.vocab_size = p->count;
    t->speller.byte_fallback = p->byte_fallback;
    t->speller.late_fallback = true;
    t->speller.fuse_unknown = true;
    int rc = make_special(p, err);
    if (rc == OTIMES_OK) {
        rc = make_normalizer(p, err);
    }
    if (rc == OTIMES_OK) {
        rc = make_decoder(p, err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    switch (p->model_type) {
    case UNIGRAM:
        return make_unigram(p, err);
    case BPE:
        return make_bpe(p, err);
    default:
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: trainer_spec.model_type %llu is not supported: expected 1 "
                           "(unigram) or 2 (bpe)",
                           t->path, (unsigned long long)p->model_type);
    }
}

/* How many fields can be pieces: room for their scores. */
static int64_t count_pieces(otimes_message message)
{
    otimes_field field;
    int64_t count = 0;
    while (otimes_message_next(&message, &field)) {
        count += field.number == 1;
    }
    return count;
}

int otimes_tokenizer_from_sentencepiece(otimes_tokenizer *t, const otimes_map *map, otimes_err *err)
{
    const otimes_message all = {map->data, map->data + map->bytes, false};
    proto p = {.tokenizer = t,
               .model_type = UNIGRAM,
               .dummy_prefix = true,
               .trim_blanks = true,
               .escape_blanks = true};
    p.most = count_pieces(all);
    int rc = OTIMES_NEW(&p.score, p.most, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&p.type, p.most, err);
    }
    if (rc == OTIMES_OK) {
        rc = read_all(&p, all, err);
    }
    if (rc == OTIMES_OK) {
        rc = make(&p, err);
    }
    otimes_free(p.score);
    otimes_free(p.type);
    return rc;
}
