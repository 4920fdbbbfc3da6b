/* SPDX-License-Identifier: MIT
 *
 * SentencePiece models with settings that no small tokenizer under tests/data/tokens has: ids, and
 * what they decode to, as the library sentencepiece (0.2.3) says; and models that are refused.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/tokenizer.h>

#define MARK "\xe2\x96\x81"

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED };
enum { UNIGRAM = 1, BPE, WORD };
/* Fields of the file, of its trainer_spec and of its normalizer_spec. */
enum { PIECES = 1, TRAINER, NORMALIZER };
enum { MODEL_TYPE = 3, SUFFIX = 24, UNKNOWN_SURFACE = 44, BOS_PIECE = 46, EOS_PIECE = 47 };
enum { DUMMY_PREFIX = 3, ESCAPE_BLANKS = 5 };

typedef struct message {
    unsigned char bytes[1024];
    size_t length;
} message;

/* Seven bits at a time, the lowest first. */
static void put_varint(message *m, unsigned value)
{
    for (; value > 127; value >>= 7) {
        m->bytes[m->length++] = (unsigned char)(value | 128);
    }
    m->bytes[m->length++] = (unsigned char)value;
}

static void put_number(message *m, unsigned field, unsigned value)
{
    put_varint(m, field << 3);
    put_varint(m, value);
}

static void put_bytes(message *m, unsigned field, const void *bytes, size_t length)
{
    put_varint(m, field << 3 | 2);
    put_varint(m, (unsigned)length);
    memcpy(m->bytes + m->length, bytes, length);
    m->length += length;
}

static void put_piece(message *m, const char *text, float score, unsigned type)
{
    message piece = {.length = 0};
    put_bytes(&piece, 1, text, strlen(text));
    piece.bytes[piece.length++] = 2 << 3 | 5;
    memcpy(piece.bytes + piece.length, &score, sizeof score);
    piece.length += sizeof score;
    put_number(&piece, 3, type);
    put_bytes(m, PIECES, piece.bytes, piece.length);
}

/* <unk>, the two names, a, b, ab and pieces with blanks, one of them cut out before merging. */
static message made(const char *bos, const char *eos, unsigned last, const message *trainer,
                    const message *normalizer)
{
    message m = {.length = 0};
    put_piece(&m, "<unk>", 0, UNKNOWN);
    put_piece(&m, bos, 0, CONTROL);
    put_piece(&m, eos, 0, CONTROL);
    put_piece(&m, "a", -1, NORMAL);
    put_piece(&m, "b", -2, NORMAL);
    put_piece(&m, "ab", -3, NORMAL);
    put_piece(&m, MARK, -4, NORMAL);
    put_piece(&m, MARK "ab", -5, NORMAL);
    put_piece(&m, "ab" MARK, -6, NORMAL);
    put_piece(&m, last == NORMAL ? " " : "b" MARK "b", -4, last);
    put_bytes(&m, TRAINER, trainer->bytes, trainer->length);
    put_bytes(&m, NORMALIZER, normalizer->bytes, normalizer->length);
    return m;
}

static otimes_tokenizer *opened(const message *m)
{
    otimes_tokenizer *t = NULL;
    otimes_err err = {0};
    write_file("tokenizer.model", m->bytes, m->length);
    assert_ok(otimes_tokenizer_open(&t, in_folder("tokenizer.model"), &err), &err);
    return t;
}

static void check(const otimes_tokenizer *t, const char *text, const char *back, int64_t count,
                  const int64_t *expected)
{
    otimes_encoding e;
    otimes_err err = {0};
    char *decoded = NULL;
    int64_t bytes;
    assert_ok(otimes_encode(t, text, (int64_t)strlen(text), OTIMES_BOS_NEVER, &e, &err), &err);
    assert_int_equal(e.count, count);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(e.id[i], expected[i]);
    }
    assert_ok(otimes_decode(t, e.id, e.count, 0, &decoded, &bytes, &err), &err);
    assert_string_equal(decoded, back);
    otimes_text_release(&decoded);
    otimes_encoding_free(&e);
}

/* A piece of the user's is found before pairs are merged, across words too. */
static void user_defined(void **state)
{
    (void)state;
    message trainer = {.length = 0}, normalizer = {.length = 0};
    put_number(&trainer, MODEL_TYPE, BPE);
    const message m = made("<s>", "</s>", USER_DEFINED, &trainer, &normalizer);
    otimes_tokenizer *t = opened(&m);
    check(t, "ab", "ab", 1, (int64_t[]){7});
    check(t, "ab bab", "ab bab", 4, (int64_t[]){6, 3, 9, 5});
    check(t, "b bab ab", "b bab ab", 4, (int64_t[]){6, 9, 5, 7});
    check(t, "aab b b", "aab b b", 6, (int64_t[]){6, 3, 3, 9, 6, 4});
    otimes_tokenizer_close(&t);
}

static void blanks(void **state)
{
    (void)state;
    message trainer = {.length = 0}, suffix, normalizer = {.length = 0};
    put_number(&trainer, MODEL_TYPE, UNIGRAM);
    suffix = trainer;
    put_number(&suffix, SUFFIX, 1);
    message m = made("<s>", "</s>", NORMAL, &suffix, &normalizer);
    otimes_tokenizer *t = opened(&m);
    check(t, "ab ab", "ab ab ", 2, (int64_t[]){8, 8});
    otimes_tokenizer_close(&t);
    put_number(&normalizer, DUMMY_PREFIX, 0);
    m = made("<s>", "</s>", NORMAL, &trainer, &normalizer);
    t = opened(&m);
    check(t, "ab ab", "ab ab", 2, (int64_t[]){5, 7});
    otimes_tokenizer_close(&t);
    put_number(&normalizer, ESCAPE_BLANKS, 0);
    m = made("<s>", "</s>", NORMAL, &trainer, &normalizer);
    t = opened(&m);
    check(t, "ab ab", "ab ab", 3, (int64_t[]){5, 9, 5});
    otimes_tokenizer_close(&t);
}

static void names(void **state)
{
    (void)state;
    message trainer = {.length = 0}, normalizer = {.length = 0};
    put_number(&trainer, MODEL_TYPE, UNIGRAM);
    message m = made("[B]", "[E]", NORMAL, &trainer, &normalizer);
    otimes_tokenizer *t = opened(&m);
    check(t, "abz", "ab \xe2\x81\x87 ", 2, (int64_t[]){7, 0});
    assert_int_equal(otimes_tokenizer_describe(t)->bos, -1);
    otimes_tokenizer_close(&t);
    put_bytes(&trainer, UNKNOWN_SURFACE, "??", 2);
    put_bytes(&trainer, BOS_PIECE, "[B]", 3);
    put_bytes(&trainer, EOS_PIECE, "[E]", 3);
    m = made("[B]", "[E]", NORMAL, &trainer, &normalizer);
    t = opened(&m);
    check(t, "abz", "ab??", 2, (int64_t[]){7, 0});
    assert_int_equal(otimes_tokenizer_describe(t)->bos, 1);
    assert_int_equal(otimes_tokenizer_describe(t)->eos, 2);
    otimes_tokenizer_close(&t);
}

static void refuse(const message *m, int code, const char *why)
{
    otimes_tokenizer *t = NULL;
    otimes_err err = {0};
    write_file("tokenizer.model", m->bytes, m->length);
    assert_int_equal(otimes_tokenizer_open(&t, in_folder("tokenizer.model"), &err), code);
    if (!strstr(err.msg, why)) {
        fail_msg("expected '%s', got '%s'", why, err.msg);
    }
    assert_null(t);
}

static void refused(void **state)
{
    (void)state;
    message trainer = {.length = 0}, normalizer = {.length = 0};
    put_number(&trainer, MODEL_TYPE, BPE);
    message m = made("<s>", "</s>", UNUSED, &trainer, &normalizer);
    refuse(&m, OTIMES_ERR_UNSUPPORTED, "piece 9: unused pieces of a BPE model");
    m = made("<s>", "</s>", UNKNOWN, &trainer, &normalizer);
    refuse(&m, OTIMES_ERR_FORMAT, "two unknown pieces, 0 and 9");
    trainer.length = 0;
    put_number(&trainer, MODEL_TYPE, WORD);
    m = made("<s>", "</s>", NORMAL, &trainer, &normalizer);
    refuse(&m, OTIMES_ERR_UNSUPPORTED, "trainer_spec.model_type 3 is not supported");
    m.length = 0;
    put_piece(&m, "a", 0, NORMAL);
    refuse(&m, OTIMES_ERR_FORMAT, "no unknown piece");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(user_defined, empty_folder),
        cmocka_unit_test_teardown(blanks, empty_folder),
        cmocka_unit_test_teardown(names, empty_folder),
        cmocka_unit_test_teardown(refused, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
