/* SPDX-License-Identifier: MIT */
#include "format/vocab.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "format/json.h"
#include "format/store.h"

enum { LONGEST_CHARACTER = 4 };

/* Length of the UTF-8 character at the start of text, or 0; NUL is no character of a label. */
static int character_length(const unsigned char *text, int64_t length)
{
    return text[0] == '\0' ? 0 : otimes_utf8_length((const char *)text, length);
}

/* Any bytes as a label. */
static int add_bytes(otimes_text *label, const unsigned char *bytes, int64_t length,
                     otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t at = 0; rc == OTIMES_OK && at < length;) {
        const int step = character_length(bytes + at, length - at);
        rc = step > 0 ? otimes_text_put(label, (const char *)bytes + at, step, err)
                      : otimes_text_add(label, err, "<0x%02X>", bytes[at]);
        at += step > 0 ? step : 1;
    }
    return rc;
}

static uint32_t code_point(const unsigned char *text, int length)
{
    static const unsigned char mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = text[0] & mask[length];
    for (int i = 1; i < length; i++) {
        code = code << 6 | (text[i] & 0x3f);
    }
    return code;
}

/* GPT-2's bytes_to_unicode, inverted: printable bytes stand for themselves, the others take the
 * code points from U+0100 in order. -1: stands for no byte. */
static int byte_of_code_point(uint32_t code)
{
    if ((code >= '!' && code <= '~') || (code >= 0xa1 && code <= 0xac) ||
        (code >= 0xae && code <= 0xff)) {
        return (int)code;
    }
    if (code < 0x100 || code >= 0x100 + 68) {
        return -1;
    }
    const int rank = (int)code - 0x100; /* among 00-20, 7f-a0, ad */
    return rank < 33 ? rank : rank < 67 ? 0x7f + rank - 33 : 0xad;
}

/* False (and nothing kept) when a character stands for no byte: an added token, kept as it is. */
static bool decode_byte_level(const char *token, unsigned char *bytes, int64_t *count)
{
    const unsigned char *text = (const unsigned char *)token;
    int64_t length = (int64_t)strlen(token);
    *count = 0;
    while (length > 0) {
        const int step = character_length(text, length);
        const int byte = step > 0 ? byte_of_code_point(code_point(text, step)) : -1;
        if (byte < 0) {
            return false;
        }
        bytes[(*count)++] = (unsigned char)byte;
        text += step;
        length -= step;
    }
    return true;
}

static int add_metaspace(otimes_text *label, const char *token, otimes_err *err)
{
    static const char metaspace[] = "\xe2\x96\x81"; /* U+2581 */
    int rc = OTIMES_OK;
    while (rc == OTIMES_OK && token) {
        const char *mark = strstr(token, metaspace);
        rc = mark ? otimes_text_add(label, err, "%.*s ", (int)(mark - token), token)
                  : otimes_text_add(label, err, "%s", token);
        token = mark ? mark + sizeof metaspace - 1 : NULL;
    }
    return rc;
}

typedef enum coding { CODING_VERBATIM, CODING_BYTE_LEVEL, CODING_METASPACE } coding;

static int set_text(otimes_vocab *vocab, int64_t id, const char *token, coding how, otimes_err *err)
{
    if (id < 0 || id >= vocab->count) {
        return OTIMES_OK; /* a tokenizer may know tokens that the model has no row for */
    }
    otimes_text label = {0};
    int rc = otimes_text_add(&label, err, "%s", ""); /* an empty token has a label too */
    if (rc == OTIMES_OK && how == CODING_BYTE_LEVEL) {
        unsigned char *bytes;
        int64_t count;
        rc = OTIMES_NEW(&bytes, (int64_t)strlen(token), err);
        if (rc == OTIMES_OK) {
            rc = decode_byte_level(token, bytes, &count)
                     ? add_bytes(&label, bytes, count, err)
                     : otimes_text_add(&label, err, "%s", token);
        }
        otimes_free(bytes);
    } else if (rc == OTIMES_OK && how == CODING_METASPACE) {
        rc = add_metaspace(&label, token, err);
    } else if (rc == OTIMES_OK) {
        rc = otimes_text_add(&label, err, "%s", token);
    }
    if (rc != OTIMES_OK) {
        otimes_text_free(&label);
        return rc;
    }
    otimes_free(vocab->text[id]);
    vocab->text[id] = label.data;
    return OTIMES_OK;
}

static int begin(otimes_vocab *vocab, int64_t count, otimes_err *err)
{
    const int rc = OTIMES_NEW(&vocab->text, count, err);
    vocab->count = rc == OTIMES_OK ? count : 0;
    return rc;
}

static int name_the_rest(otimes_vocab *vocab, otimes_err *err)
{
    for (int64_t id = 0; id < vocab->count; id++) {
        if (!vocab->text[id]) {
            char name[32];
            snprintf(name, sizeof name, "[%lld]", (long long)id);
            vocab->text[id] = otimes_strdup(name);
            if (!vocab->text[id]) {
                return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: token labels");
            }
        }
    }
    return OTIMES_OK;
}

/* {"token": id, ...} or, for Unigram, [["token", score], ...]. */
static int set_all(otimes_vocab *vocab, const json_t *tokens, coding how, const char *path,
                   otimes_err *err)
{
    const char *token;
    json_t *item;
    size_t index;
    int rc = OTIMES_OK;
    json_object_foreach ((json_t *)tokens, token, item) {
        if (!json_is_integer(item)) {
            return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: vocab: %s: expected an integer id",
                               path, token);
        }
        rc = set_text(vocab, json_integer_value(item), token, how, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
    }
    json_array_foreach (tokens, index, item) {
        token = json_string_value(json_array_get(item, 0));
        if (!token) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: vocab: entry %zu: expected [text, score]", path, index);
        }
        rc = set_text(vocab, (int64_t)index, token, how, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
    }
    return OTIMES_OK;
}

/* Whether a step of that type occurs in a pre-tokenizer or decoder, which may be a sequence. */
static bool has_step(const json_t *step, const char *type)
{
    const char *own = json_string_value(json_object_get(step, "type"));
    if (own && strcmp(own, type) == 0) {
        return true;
    }
    const char *const lists[] = {"pretokenizers", "decoders"};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        size_t index;
        json_t *inner;
        json_array_foreach (json_object_get(step, lists[i]), index, inner) {
            own = json_string_value(json_object_get(inner, "type"));
            if (own && strcmp(own, type) == 0) {
                return true;
            }
        }
    }
    return false;
}

static int read_tokenizer(otimes_vocab *vocab, const json_t *root, const char *path,
                          otimes_err *err)
{
    const bool byte_level = has_step(json_object_get(root, "decoder"), "ByteLevel") ||
                            has_step(json_object_get(root, "pre_tokenizer"), "ByteLevel");
    const json_t *tokens = json_object_get(json_object_get(root, "model"), "vocab");
    if (!json_is_object(tokens) && !json_is_array(tokens)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: expected model.vocab", path);
    }
    int rc = set_all(vocab, tokens, byte_level ? CODING_BYTE_LEVEL : CODING_METASPACE, path, err);
    size_t index;
    json_t *added;
    json_array_foreach (json_object_get(root, "added_tokens"), index, added) {
        const json_t *id = json_object_get(added, "id");
        const char *content = json_string_value(json_object_get(added, "content"));
        if (rc != OTIMES_OK) {
            break;
        }
        rc = json_is_integer(id) && content
                 ? set_text(vocab, json_integer_value(id), content, CODING_VERBATIM, err)
                 : otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: added_tokens: entry %zu: expected id and content", path, index);
    }
    return rc;
}

int otimes_vocab_from_json(otimes_vocab *vocab, const json_t *root, bool is_tokenizer,
                           int64_t count, const char *path, otimes_err *err)
{
    *vocab = (otimes_vocab){0};
    int rc = begin(vocab, count, err);
    if (rc == OTIMES_OK) {
        rc = is_tokenizer ? read_tokenizer(vocab, root, path, err)
                          : set_all(vocab, root, CODING_BYTE_LEVEL, path, err);
    }
    if (rc == OTIMES_OK) {
        rc = name_the_rest(vocab, err);
    }
    if (rc != OTIMES_OK) {
        otimes_vocab_free(vocab);
    }
    return rc;
}

static int load_file(otimes_vocab *vocab, const char *path, bool is_tokenizer, int64_t count,
                     otimes_err *err)
{
    json_t *root;
    int rc = otimes_json_load_tokens(&root, path, err);
    if (rc == OTIMES_OK) {
        rc = otimes_vocab_from_json(vocab, root, is_tokenizer, count, path, err);
        json_decref(root);
    }
    return rc;
}

int otimes_vocab_load(otimes_vocab *vocab, const char *directory, int64_t count, otimes_err *err)
{
    static const struct {
        const char *name;
        bool is_tokenizer;
    } files[] = {{"tokenizer.json", true}, {"vocab.json", false}};
    *vocab = (otimes_vocab){0};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = otimes_path_join(directory, files[i].name, err);
        if (!path) {
            return OTIMES_ERR_MEMORY;
        }
        const bool there = access(path, F_OK) == 0;
        const int rc =
            there ? load_file(vocab, path, files[i].is_tokenizer, count, err) : OTIMES_OK;
        otimes_free(path);
        if (there) {
            return rc;
        }
    }
    return OTIMES_OK;
}

int otimes_vocab_from_list(otimes_vocab *vocab, const json_t *list, int64_t count, const char *name,
                           otimes_err *err)
{
    *vocab = (otimes_vocab){0};
    if (!list) {
        return OTIMES_OK;
    }
    size_t index;
    json_t *item;
    int rc = begin(vocab, count, err);
    json_array_foreach (list, index, item) {
        if (rc != OTIMES_OK) {
            break;
        }
        rc = json_is_string(item)
                 ? set_text(vocab, (int64_t)index, json_string_value(item), CODING_VERBATIM, err)
                 : otimes_fail(err, OTIMES_ERR_FORMAT, "%s: entry %zu: expected text", name, index);
    }
    if (rc == OTIMES_OK) {
        rc = name_the_rest(vocab, err);
    }
    if (rc != OTIMES_OK) {
        otimes_vocab_free(vocab);
    }
    return rc;
}

int otimes_vocab_from_texts(otimes_vocab *vocab, const char *const *texts, int64_t given,
                            int64_t count, otimes_err *err)
{
    *vocab = (otimes_vocab){0};
    int rc = texts ? begin(vocab, count, err) : OTIMES_OK;
    for (int64_t id = 0; rc == OTIMES_OK && id < vocab->count && id < given; id++) {
        otimes_text label = {0};
        if (!texts[id]) {
            continue;
        }
        rc = otimes_text_add(&label, err, "%s", ""); /* an empty token has a label too */
        if (rc == OTIMES_OK) {
            rc = add_bytes(&label, (const unsigned char *)texts[id], (int64_t)strlen(texts[id]),
                           err);
        }
        vocab->text[id] = label.data;
    }
    if (rc == OTIMES_OK) {
        rc = name_the_rest(vocab, err);
    }
    if (rc != OTIMES_OK) {
        otimes_vocab_free(vocab);
    }
    return rc;
}

void otimes_vocab_free(otimes_vocab *vocab)
{
    for (int64_t i = 0; i < vocab->count; i++) {
        otimes_free(vocab->text[i]);
    }
    otimes_free(vocab->text);
    *vocab = (otimes_vocab){0};
}
