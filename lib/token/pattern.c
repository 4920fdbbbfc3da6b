/* SPDX-License-Identifier: MIT */
#include "token/pattern.h"

#include <stdio.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "token/quote.h"
#include "token/utf8.h"

struct otimes_pattern {
    pcre2_code *code;
    char *name; /* for errors */
    bool compiled;
};

enum {
    STACK_FIRST = 32 * 1024,
    STACK_MOST = 8 * 1024 * 1024,
    STEPS_FREE = 1000, /* of a start */
    STEPS_LEAST = 1000 * 1000,
    STEPS_A_BYTE = 64,
    STEPS_MORE = 8,    /* times as many when they were not enough */
    HEAP_LEAST = 1024, /* in KiB, as are the next two */
    HEAP_A_BYTE = 1,
    HEAP_MOST = 256 * 1024,
};

static void *take(PCRE2_SIZE size, void *unused)
{
    (void)unused;
    return otimes_alloc((int64_t)size, 1);
}

static void give(void *block, void *unused)
{
    (void)unused;
    otimes_free(block);
}

static int no_memory(otimes_err *err)
{
    return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: matching a pattern");
}

static int compile(otimes_pattern *pattern, const otimes_text *source, const char *original,
                   const char *where, otimes_err *err)
{
    pcre2_general_context *memory = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *context = memory ? pcre2_compile_context_create(memory) : NULL;
    int code = PCRE2_ERROR_NOMEMORY;
    PCRE2_SIZE offset = 0;
    if (context) {
        /* Oniguruma's ^ and $ look at lines always. */
        pattern->code =
            pcre2_compile((PCRE2_SPTR)source->data, (PCRE2_SIZE)source->length,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code,
                          &offset, context);
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(memory);
    if (pattern->code) {
        pattern->compiled = pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE) == 0;
        return OTIMES_OK;
    }
    if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED || !context) {
        return no_memory(err);
    }
    PCRE2_UCHAR reason[160];
    if (pcre2_get_error_message(code, reason, sizeof reason) <
        0) { /* unreached: every code has a text */
        reason[0] = '\0';
    }
    return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: pattern %s cannot be read: %s", where,
                       otimes_quoted(original, -1).text, (const char *)reason);
}

bool otimes_pattern_is_script(const char *name, int64_t length)
{
    char source[80];
    int code;
    PCRE2_SIZE offset;
    if (length < 3 || length > 60) { /* names of two letters are categories */
        return false;
    }
    snprintf(source, sizeof source, "\\p{sc:%.*s}", (int)length, name);
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)source, PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
    pcre2_code_free(compiled);
    return compiled != NULL;
}

int otimes_pattern_new(otimes_pattern **pattern, const char *source, int64_t length,
                       const char *where, otimes_err *err)
{
    otimes_text translated = {0};
    *pattern = NULL;
    int rc = otimes_pattern_translate(&translated, source, length, where, err);
    otimes_pattern *made = NULL;
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&made, 1, err);
    }
    if (rc == OTIMES_OK) {
        made->name = otimes_strndup(source, (size_t)length);
        rc = made->name ? compile(made, &translated, made->name, where, err) : no_memory(err);
    }
    otimes_text_free(&translated);
    if (rc != OTIMES_OK) {
        otimes_pattern_free(made);
        return rc;
    }
    *pattern = made;
    return OTIMES_OK;
}

void otimes_pattern_free(otimes_pattern *pattern)
{
    if (pattern) {
        pcre2_code_free(pattern->code);
        otimes_free(pattern->name);
        otimes_free(pattern);
    }
}

void otimes_matcher_free(otimes_matcher *matcher)
{
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    pcre2_jit_stack_free(matcher->stack);
    *matcher = (otimes_matcher){0};
}

static int prepare(otimes_matcher *matcher, otimes_err *err)
{
    pcre2_general_context *memory = pcre2_general_context_create(take, give, NULL);
    if (memory) {
        matcher->context = pcre2_match_context_create(memory);
        matcher->data = pcre2_match_data_create(1, memory);
        matcher->stack = pcre2_jit_stack_create(STACK_FIRST, STACK_MOST, memory);
    }
    pcre2_general_context_free(memory);
    if (!matcher->context || !matcher->data) {
        otimes_matcher_free(matcher);
        return no_memory(err);
    }
    if (matcher->stack) { /* there is none in a PCRE2 without its compiler */
        pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
    }
    return OTIMES_OK;
}

static int too_many(const otimes_pattern *pattern, otimes_err *err)
{
    return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                       "text: the tokenizer's pattern %s takes too many steps on it",
                       otimes_quoted(pattern->name, -1).text);
}

/* The first match from `from` on, place by place. A limit of PCRE2 counts for each place at which a
 * match is tried anew, so that a text of many such places has no limit at all: here what goes beyond
 * the free steps counts for the text. What is linear passes, what explodes is stopped. Returns what
 * PCRE2 does. */
static int match_slowly(const otimes_pattern *pattern, otimes_matcher *matcher, const char *text,
                        int64_t length, int64_t from)
{
    const int64_t most = STEPS_LEAST + STEPS_A_BYTE * (matcher->passed + length - from);
    const int64_t heap = HEAP_LEAST + HEAP_A_BYTE * length;
    int rc = PCRE2_ERROR_NOMATCH;
    pcre2_set_heap_limit(matcher->context, (uint32_t)(heap < HEAP_MOST ? heap : HEAP_MOST));
    while (rc == PCRE2_ERROR_NOMATCH && from <= length) {
        for (int64_t steps = STEPS_FREE;; steps *= STEPS_MORE) {
            const int64_t left = most - matcher->spent;
            if (left <= 0) {
                return PCRE2_ERROR_MATCHLIMIT;
            }
            steps = steps < left ? steps : left;
            steps = steps < UINT32_MAX ? steps : UINT32_MAX;
            pcre2_set_match_limit(matcher->context, (uint32_t)steps);
            rc = pcre2_match(pattern->code, (PCRE2_SPTR)text, (PCRE2_SIZE)length, (PCRE2_SIZE)from,
                             PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT | PCRE2_ANCHORED, matcher->data,
                             matcher->context);
            if (rc != PCRE2_ERROR_MATCHLIMIT) {
                break;
            }
            matcher->spent += steps;
        }
        from += from < length ? otimes_utf8_size(text[from]) : 1;
    }
    return rc;
}

int otimes_pattern_match(const otimes_pattern *pattern, otimes_matcher *matcher, const char *text,
                         int64_t length, int64_t from, bool *found, int64_t *begin, int64_t *end,
                         otimes_err *err)
{
    if (!matcher->context) {
        const int rc = prepare(matcher, err);
        if (rc != OTIMES_OK) {
            return rc;
        }
    }
    int rc = PCRE2_ERROR_MATCHLIMIT;
    if (pattern->compiled) {
        pcre2_set_match_limit(matcher->context, STEPS_FREE);
        rc = pcre2_jit_match(pattern->code, (PCRE2_SPTR)text, (PCRE2_SIZE)length, (PCRE2_SIZE)from,
                             0, matcher->data, matcher->context);
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT || rc == PCRE2_ERROR_MATCHLIMIT) {
        rc = match_slowly(pattern, matcher, text, length, from);
    }
    *found = rc >= 0;
    if (rc == PCRE2_ERROR_NOMEMORY) { /* unreached: PCRE2's own allocator */
        return no_memory(err);
    }
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
        return too_many(pattern, err);
    }
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(matcher->data);
    *begin = *found ? (int64_t)range[0] : length;
    *end = *found ? (int64_t)range[1] : length;
    if (*begin < from || *begin > *end) { /* unreached: by \K, refused in lookarounds since 10.38 */
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "text: the tokenizer's pattern %s moves its start back",
                           otimes_quoted(pattern->name, -1).text);
    }
    matcher->passed += *end - from;
    return OTIMES_OK;
}
