/* SPDX-License-Identifier: MIT */
#include "token/json_steps.h"

#include <string.h>

#include "token/formats.h"
#include "token/quote.h"
#include "token/utf8.h"

/* ---- members ---- */

int otimes_member_bool(const json_t *json, const char *key, bool *value, const char *where,
                       otimes_err *err)
{
    const json_t *member = json_object_get(json, key);
    if (!member || json_is_null(member)) {
        return OTIMES_OK;
    }
    if (!json_is_boolean(member)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: %s: expected true or false", where, key);
    }
    *value = json_is_true(member);
    return OTIMES_OK;
}

int otimes_member_i64(const json_t *json, const char *key, int64_t *value, const char *where,
                      otimes_err *err)
{
    const json_t *member = json_object_get(json, key);
    if (!member || json_is_null(member)) {
        return OTIMES_OK;
    }
    if (!json_is_integer(member)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: %s: expected an integer", where, key);
    }
    *value = json_integer_value(member);
    return OTIMES_OK;
}

int otimes_member_text(const json_t *json, const char *key, const char **value, const char *where,
                       otimes_err *err)
{
    const json_t *member = json_object_get(json, key);
    if (!member || json_is_null(member)) {
        return OTIMES_OK;
    }
    if (!json_is_string(member)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: %s: expected text", where, key);
    }
    *value = json_string_value(member);
    return OTIMES_OK;
}

/* What readers of steps share. Errors stick in rc. */
typedef struct reader {
    otimes_tokenizer *tokenizer;
    const char *section; /* for errors: path and section */
    otimes_err *err;
    int rc;
    int depth;
} reader;

enum { DEEPEST = 32 };

static bool get_bool(reader *r, const json_t *json, const char *key, bool fallback)
{
    if (r->rc == OTIMES_OK) {
        r->rc = otimes_member_bool(json, key, &fallback, r->section, r->err);
    }
    return fallback;
}

static int64_t get_i64(reader *r, const json_t *json, const char *key, int64_t fallback)
{
    if (r->rc == OTIMES_OK) {
        r->rc = otimes_member_i64(json, key, &fallback, r->section, r->err);
    }
    return fallback;
}

static const char *get_text(reader *r, const json_t *json, const char *key, const char *fallback)
{
    if (r->rc == OTIMES_OK) {
        r->rc = otimes_member_text(json, key, &fallback, r->section, r->err);
    }
    if (r->rc == OTIMES_OK && !fallback) {
        r->rc = otimes_fail(r->err, OTIMES_ERR_FORMAT, "%s: %s: missing", r->section, key);
    }
    return fallback ? fallback : "";
}

static void set_string(reader *r, otimes_string *string, const char *text)
{
    if (r->rc == OTIMES_OK) {
        r->rc = otimes_string_set(r->tokenizer, string, text, (int64_t)strlen(text), r->err);
    }
}

/* A step whose fields all can be written to: of the list, or `spare` when there is an error. */
static otimes_step *new_step(reader *r, otimes_steps *steps, otimes_step_kind kind,
                             otimes_step *spare)
{
    otimes_step *step = otimes_steps_add(steps, kind, &r->rc, r->err);
    *spare = (otimes_step){.kind = kind};
    return step ? step : spare;
}

static void set_pattern(reader *r, otimes_step *step, const char *source)
{
    if (r->rc == OTIMES_OK) {
        r->rc =
            otimes_pattern_new(&step->pattern, source, (int64_t)strlen(source), r->section, r->err);
    }
}

/* {"String": text} or {"Regex": pattern}. */
static void read_pattern(reader *r, otimes_step *step, const json_t *json)
{
    const json_t *pattern = json_object_get(json, "pattern");
    const char *string = json_string_value(json_object_get(pattern, "String"));
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    if (r->rc == OTIMES_OK && !string == !regex) {
        r->rc = otimes_fail(r->err, OTIMES_ERR_FORMAT, "%s: pattern: expected String or Regex",
                            r->section);
    } else if (string) {
        set_string(r, &step->text, string);
    } else {
        set_pattern(r, step, regex);
    }
}

static int unknown_type(reader *r, const char *type)
{
    return r->rc = otimes_fail(r->err, OTIMES_ERR_UNSUPPORTED, "%s: type %s is not supported",
                               r->section, otimes_quoted(type, -1).text);
}

typedef void (*read_one)(reader *r, const json_t *json, const char *type);

/* A step, or those of a Sequence, whose list is under `list`. */
static void read_steps(reader *r, const json_t *json, const char *list, read_one one)
{
    if (r->rc != OTIMES_OK || !json || json_is_null(json)) {
        return;
    }
    if (!json_is_object(json) || ++r->depth > DEEPEST) {
        r->rc = otimes_fail(r->err, OTIMES_ERR_FORMAT, "%s: expected an object with a type%s",
                            r->section, r->depth > DEEPEST ? ", not nested so deep" : "");
        return;
    }
    const char *type = get_text(r, json, "type", NULL);
    if (r->rc == OTIMES_OK && strcmp(type, "Sequence") == 0) {
        const json_t *steps = json_object_get(json, list);
        size_t index;
        json_t *step;
        if (!json_is_array(steps)) {
            r->rc =
                otimes_fail(r->err, OTIMES_ERR_FORMAT, "%s: %s: expected a list", r->section, list);
        }
        json_array_foreach (steps, index, step) {
            read_steps(r, step, list, one);
        }
    } else if (r->rc == OTIMES_OK) {
        one(r, json, type);
    }
    r->depth--;
}

static int read_section(otimes_tokenizer *tokenizer, const json_t *json, const char *name,
                        const char *list, read_one one, otimes_err *err)
{
    otimes_text section = {0};
    int rc = otimes_text_add(&section, err, "%s: %s", tokenizer->path, name);
    if (rc == OTIMES_OK) {
        reader r = {.tokenizer = tokenizer, .section = section.data, .err = err};
        read_steps(&r, json, list, one);
        rc = r.rc;
    }
    otimes_text_free(&section);
    return rc;
}

/* ---- normalizers ---- */

static void read_form(reader *r, const char *type)
{
    otimes_step spare, *step = new_step(r, &r->tokenizer->normalizer, OTIMES_STEP_FORM, &spare);
    step->compatibility = type[2] == 'K';
    step->compose = type[strlen(type) - 1] == 'C';
}

static void read_bert(reader *r, const json_t *json)
{
    otimes_steps *steps = &r->tokenizer->normalizer;
    otimes_step spare, *step = new_step(r, steps, OTIMES_STEP_BERT, &spare);
    step->clean = get_bool(r, json, "clean_text", true);
    step->chinese = get_bool(r, json, "handle_chinese_chars", true);
    const bool lower = get_bool(r, json, "lowercase", true);
    if (get_bool(r, json, "strip_accents", lower)) {
        read_form(r, "NFD");
        new_step(r, steps, OTIMES_STEP_STRIP_ACCENTS, &spare)->nonspacing = true;
    }
    if (lower) {
        new_step(r, steps, OTIMES_STEP_LOWERCASE, &spare);
    }
}

static void read_normalizer(reader *r, const json_t *json, const char *type)
{
    otimes_steps *steps = &r->tokenizer->normalizer;
    otimes_step spare, *step;
    if (strcmp(type, "Prepend") == 0) {
        step = new_step(r, steps, OTIMES_STEP_PREPEND, &spare);
        set_string(r, &step->content, get_text(r, json, "prepend", NULL));
    } else if (strcmp(type, "Replace") == 0) {
        step = new_step(r, steps, OTIMES_STEP_REPLACE, &spare);
        set_string(r, &step->content, get_text(r, json, "content", NULL));
        read_pattern(r, step, json);
    } else if (strcmp(type, "NFC") == 0 || strcmp(type, "NFD") == 0 || strcmp(type, "NFKC") == 0 ||
               strcmp(type, "NFKD") == 0) {
        read_form(r, type);
    } else if (strcmp(type, "Lowercase") == 0) {
        new_step(r, steps, OTIMES_STEP_LOWERCASE, &spare);
    } else if (strcmp(type, "Strip") == 0) {
        step = new_step(r, steps, OTIMES_STEP_STRIP, &spare);
        step->left = get_bool(r, json, "strip_left", true);
        step->right = get_bool(r, json, "strip_right", true);
    } else if (strcmp(type, "StripAccents") == 0) {
        new_step(r, steps, OTIMES_STEP_STRIP_ACCENTS, &spare);
    } else if (strcmp(type, "Nmt") == 0) {
        new_step(r, steps, OTIMES_STEP_NMT, &spare);
    } else if (strcmp(type, "Precompiled") == 0) {
        step = new_step(r, steps, OTIMES_STEP_CHARSMAP, &spare);
        const char *base64 = get_text(r, json, "precompiled_charsmap", NULL);
        if (r->rc == OTIMES_OK) {
            r->rc = otimes_charsmap_from_base64(&step->charsmap, base64, r->section, r->err);
        }
    } else if (strcmp(type, "BertNormalizer") == 0) {
        read_bert(r, json);
    } else if (strcmp(type, "ByteLevel") == 0) {
        new_step(r, steps, OTIMES_STEP_BYTE_LEVEL, &spare);
        r->tokenizer->byte_labels = true;
    } else {
        unknown_type(r, type);
    }
}

/* ---- pre-tokenizers ---- */

static void read_behaviour(reader *r, otimes_step *step, const json_t *json, const char *fallback)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name = get_text(r, json, "behavior", fallback);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) {
            step->behaviour = (otimes_behaviour)i;
            return;
        }
    }
    if (r->rc == OTIMES_OK) {
        r->rc = otimes_fail(r->err, OTIMES_ERR_UNSUPPORTED, "%s: behavior %s is not supported",
                            r->section, otimes_quoted(name, -1).text);
    }
}

/* prepend_scheme, or add_prefix_space of older files. */
static otimes_prepend read_prepend(reader *r, const json_t *json)
{
    const bool add = get_bool(r, json, "add_prefix_space", true);
    const char *scheme = get_text(r, json, "prepend_scheme", add ? "always" : "never");
    const otimes_prepend prepend = strcmp(scheme, "always") == 0  ? OTIMES_PREPEND_ALWAYS
                                   : strcmp(scheme, "first") == 0 ? OTIMES_PREPEND_FIRST
                                                                  : OTIMES_PREPEND_NEVER;
    if (r->rc == OTIMES_OK && prepend == OTIMES_PREPEND_NEVER && strcmp(scheme, "never") != 0) {
        r->rc =
            otimes_fail(r->err, OTIMES_ERR_UNSUPPORTED, "%s: prepend_scheme %s is not supported",
                        r->section, otimes_quoted(scheme, -1).text);
    }
    return prepend;
}

static void read_metaspace(reader *r, otimes_step *step, const json_t *json)
{
    const char *mark = get_text(r, json, "replacement", "\xe2\x96\x81");
    set_string(r, &step->text, mark);
    step->prepend = read_prepend(r, json);
    step->behaviour = OTIMES_MERGED_WITH_NEXT;
    step->cut = get_bool(r, json, "split", true);
    if (r->rc == OTIMES_OK && (mark[0] == '\0' || mark[otimes_utf8_size(mark[0])] != '\0')) {
        r->rc = otimes_fail(r->err, OTIMES_ERR_FORMAT, "%s: replacement: expected one character",
                            r->section);
    }
}

/* GPT-2's pattern (openai/gpt-2, src/encoder.py). */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static void read_byte_level(reader *r, const json_t *json)
{
    otimes_step spare, *step = new_step(r, &r->tokenizer->splitter, OTIMES_STEP_BYTE_LEVEL, &spare);
    step->cut = get_bool(r, json, "use_regex", true);
    step->prepend =
        get_bool(r, json, "add_prefix_space", true) ? OTIMES_PREPEND_ALWAYS : OTIMES_PREPEND_NEVER;
    set_string(r, &step->content, " ");
    if (step->cut) {
        set_pattern(r, step, gpt2_pattern);
    }
    r->tokenizer->byte_labels = true;
}

int otimes_gpt2_split(otimes_tokenizer *tokenizer, otimes_err *err)
{
    int rc = OTIMES_OK;
    otimes_step *step = otimes_steps_add(&tokenizer->splitter, OTIMES_STEP_BYTE_LEVEL, &rc, err);
    if (rc == OTIMES_OK) {
        rc = otimes_pattern_new(&step->pattern, gpt2_pattern, (int64_t)strlen(gpt2_pattern),
                                tokenizer->path, err);
    }
    return rc;
}

static void read_splitter(reader *r, const json_t *json, const char *type)
{
    otimes_steps *steps = &r->tokenizer->splitter;
    otimes_step spare, *step;
    if (strcmp(type, "ByteLevel") == 0) {
        read_byte_level(r, json);
    } else if (strcmp(type, "Split") == 0) {
        step = new_step(r, steps, OTIMES_STEP_SPLIT, &spare);
        step->invert = get_bool(r, json, "invert", false);
        read_behaviour(r, step, json, NULL);
        read_pattern(r, step, json);
    } else if (strcmp(type, "Metaspace") == 0) {
        step = new_step(r, steps, OTIMES_STEP_METASPACE, &spare);
        read_metaspace(r, step, json);
    } else if (strcmp(type, "Digits") == 0) {
        step = new_step(r, steps, OTIMES_STEP_DIGITS, &spare);
        step->behaviour =
            get_bool(r, json, "individual_digits", false) ? OTIMES_ISOLATED : OTIMES_CONTIGUOUS;
    } else if (strcmp(type, "Punctuation") == 0) {
        step = new_step(r, steps, OTIMES_STEP_PUNCTUATION, &spare);
        read_behaviour(r, step, json, "Isolated");
    } else if (strcmp(type, "Whitespace") == 0) {
        /* Rust's \w has the joiners, Oniguruma's does not. */
        step = new_step(r, steps, OTIMES_STEP_SPLIT, &spare);
        step->behaviour = OTIMES_REMOVED;
        step->invert = true;
        set_pattern(r, step, "[\\w\\x{200c}\\x{200d}]+|[^\\w\\s\\x{200c}\\x{200d}]+");
    } else if (strcmp(type, "WhitespaceSplit") == 0) {
        step = new_step(r, steps, OTIMES_STEP_WHITESPACE_SPLIT, &spare);
        step->behaviour = OTIMES_REMOVED;
    } else if (strcmp(type, "CharDelimiterSplit") == 0) {
        step = new_step(r, steps, OTIMES_STEP_SPLIT, &spare);
        step->behaviour = OTIMES_REMOVED;
        set_string(r, &step->text, get_text(r, json, "delimiter", NULL));
    } else if (strcmp(type, "BertPreTokenizer") == 0) {
        new_step(r, steps, OTIMES_STEP_BERT_SPLIT, &spare);
    } else {
        unknown_type(r, type);
    }
}

/* ---- decoders ---- */

static void read_decoder(reader *r, const json_t *json, const char *type)
{
    otimes_steps *steps = &r->tokenizer->decoder;
    otimes_step spare, *step;
    if (strcmp(type, "ByteLevel") == 0) {
        new_step(r, steps, OTIMES_STEP_BYTE_LEVEL, &spare);
        r->tokenizer->byte_labels = true;
    } else if (strcmp(type, "Metaspace") == 0) {
        step = new_step(r, steps, OTIMES_STEP_METASPACE, &spare);
        read_metaspace(r, step, json);
    } else if (strcmp(type, "ByteFallback") == 0) {
        new_step(r, steps, OTIMES_STEP_BYTE_FALLBACK, &spare);
    } else if (strcmp(type, "Fuse") == 0) {
        new_step(r, steps, OTIMES_STEP_FUSE, &spare);
    } else if (strcmp(type, "Strip") == 0) {
        step = new_step(r, steps, OTIMES_STEP_STRIP_TOKEN, &spare);
        set_string(r, &step->content, get_text(r, json, "content", NULL));
        step->start = get_i64(r, json, "start", 0);
        step->stop = get_i64(r, json, "stop", 0);
    } else if (strcmp(type, "Replace") == 0) {
        step = new_step(r, steps, OTIMES_STEP_REPLACE, &spare);
        set_string(r, &step->content, get_text(r, json, "content", NULL));
        read_pattern(r, step, json);
    } else if (strcmp(type, "WordPiece") == 0) {
        step = new_step(r, steps, OTIMES_STEP_WORDPIECE, &spare);
        set_string(r, &step->content, get_text(r, json, "prefix", "##"));
        step->clean = get_bool(r, json, "cleanup", true);
    } else if (strcmp(type, "BPEDecoder") == 0) {
        step = new_step(r, steps, OTIMES_STEP_BPE_SUFFIX, &spare);
        set_string(r, &step->text, get_text(r, json, "suffix", "</w>"));
    } else {
        unknown_type(r, type);
    }
}

/* ---- post-processors ---- */

static void add_end(reader *r, otimes_ids *ids, const json_t *id)
{
    if (r->rc == OTIMES_OK && !json_is_integer(id)) {
        r->rc = otimes_fail(r->err, OTIMES_ERR_FORMAT, "%s: expected the integer id of a token",
                            r->section);
    }
    if (r->rc == OTIMES_OK && !otimes_pieces_has(&r->tokenizer->pieces, json_integer_value(id))) {
        r->rc = otimes_fail(r->err, OTIMES_ERR_FORMAT, "%s: id %lld is not in the vocabulary",
                            r->section, (long long)json_integer_value(id));
    }
    if (r->rc == OTIMES_OK) {
        r->rc = otimes_ids_add(ids, json_integer_value(id), r->err);
    }
}

/* Only one step may put tokens at the ends. */
static void decide(reader *r)
{
    if (r->rc == OTIMES_OK && r->tokenizer->post_decides) {
        r->rc = otimes_fail(r->err, OTIMES_ERR_UNSUPPORTED,
                            "%s: more than one step puts tokens at the ends", r->section);
    }
    r->tokenizer->post_decides = true;
}

/* {"single": [{"SpecialToken": {"id": name}}, {"Sequence": {"id": "A"}}, ...],
 *  "special_tokens": {name: {"ids": [...]}}} */
static void read_template(reader *r, const json_t *json)
{
    otimes_ids *ids = &r->tokenizer->before;
    size_t index;
    json_t *part;
    decide(r);
    json_array_foreach (json_object_get(json, "single"), index, part) {
        const char *name =
            json_string_value(json_object_get(json_object_get(part, "SpecialToken"), "id"));
        const char *sequence =
            json_string_value(json_object_get(json_object_get(part, "Sequence"), "id"));
        if (r->rc == OTIMES_OK && sequence && strcmp(sequence, "A") == 0 &&
            ids == &r->tokenizer->before) {
            ids = &r->tokenizer->after;
            continue;
        }
        const json_t *special =
            json_object_get(json_object_get(json, "special_tokens"), name ? name : "");
        const json_t *list = json_object_get(special, "ids");
        if (r->rc == OTIMES_OK && (!name || !json_is_array(list))) {
            r->rc = otimes_fail(r->err, OTIMES_ERR_FORMAT,
                                "%s: single: entry %zu: expected the sequence A once, or a special "
                                "token with ids",
                                r->section, index);
        }
        size_t at;
        json_t *id;
        json_array_foreach (list, at, id) {
            add_end(r, ids, id);
        }
    }
    if (r->rc == OTIMES_OK && ids == &r->tokenizer->before) {
        r->rc = otimes_fail(r->err, OTIMES_ERR_FORMAT, "%s: single: the sequence A is missing",
                            r->section);
    }
}

static void read_trim(reader *r, const json_t *json)
{
    r->tokenizer->trim_offsets = get_bool(r, json, "trim_offsets", true);
    r->tokenizer->keep_prefix = get_bool(r, json, "add_prefix_space", true);
}

static void read_post(reader *r, const json_t *json, const char *type)
{
    const bool roberta = strcmp(type, "RobertaProcessing") == 0;
    if (strcmp(type, "TemplateProcessing") == 0) {
        read_template(r, json);
    } else if (strcmp(type, "ByteLevel") == 0) {
        read_trim(r, json);
    } else if (roberta || strcmp(type, "BertProcessing") == 0) {
        decide(r);
        add_end(r, &r->tokenizer->before, json_array_get(json_object_get(json, "cls"), 1));
        add_end(r, &r->tokenizer->after, json_array_get(json_object_get(json, "sep"), 1));
        if (roberta) {
            read_trim(r, json);
        }
    } else {
        unknown_type(r, type);
    }
}

int otimes_json_normalizer(otimes_tokenizer *tokenizer, const json_t *json, otimes_err *err)
{
    return read_section(tokenizer, json, "normalizer", "normalizers", read_normalizer, err);
}

int otimes_json_splitter(otimes_tokenizer *tokenizer, const json_t *json, otimes_err *err)
{
    return read_section(tokenizer, json, "pre_tokenizer", "pretokenizers", read_splitter, err);
}

int otimes_json_decoder(otimes_tokenizer *tokenizer, const json_t *json, otimes_err *err)
{
    return read_section(tokenizer, json, "decoder", "decoders", read_decoder, err);
}

int otimes_json_post(otimes_tokenizer *tokenizer, const json_t *json, otimes_err *err)
{
    return read_section(tokenizer, json, "post_processor", "processors", read_post, err);
}
