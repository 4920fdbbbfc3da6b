/* SPDX-License-Identifier: MIT */
#include "token/flow.h"

#include <string.h>

#include "base/mem.h"
#include "token/utf8.h"

void otimes_draft_free(otimes_draft *draft)
{
    otimes_free(draft->text);
    otimes_free(draft->origin);
    *draft = (otimes_draft){0};
}

otimes_flow otimes_flow_of(const otimes_draft *draft)
{
    return (otimes_flow){draft->text ? draft->text : "", draft->length, draft->origin, 0};
}

otimes_flow otimes_flow_part(const otimes_flow *flow, int64_t begin, int64_t end)
{
    return (otimes_flow){flow->text + begin, end - begin,
                         flow->origin ? flow->origin + begin : NULL, flow->base + begin};
}

otimes_span otimes_flow_span(const otimes_flow *flow, int64_t begin, int64_t end)
{
    if (flow->origin && flow->length == 0) { /* unreached: nothing is put into an empty text */
        return (otimes_span){0, 0};
    }
    if (flow->origin) {
        otimes_span span = flow->origin[begin < flow->length ? begin : flow->length - 1];
        span.end = end > begin ? flow->origin[end - 1].end : span.begin;
        return span;
    }
    while (begin > 0 && begin < flow->length && otimes_utf8_continues(flow->text[begin])) {
        begin--;
    }
    while (end < flow->length && otimes_utf8_continues(flow->text[end])) {
        end++;
    }
    return (otimes_span){(int32_t)(flow->base + begin), (int32_t)(flow->base + end)};
}

static int reserve(otimes_draft *draft, int64_t extra, otimes_err *err)
{
    const int64_t needed = draft->length + extra;
    if (draft->most > 0 && needed > draft->most) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "text: the tokenizer's steps make more than %lld bytes of a part of it",
                           (long long)draft->most);
    }
    if (needed > INT32_MAX) { /* unreached: takes a text of 2 GiB */
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "text: more than %d bytes once normalised; encode it in parts",
                           INT32_MAX);
    }
    if (needed > draft->text_capacity) {
        char *grown = otimes_realloc(draft->text, needed + needed / 2 + 64, 1);
        if (!grown) {
            return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: normalised text");
        }
        draft->text = grown;
        draft->text_capacity = needed + needed / 2 + 64;
    }
    if (needed > draft->origin_capacity) {
        otimes_span *grown =
            otimes_realloc(draft->origin, needed + needed / 2 + 64, sizeof draft->origin[0]);
        if (!grown) {
            return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: normalised text");
        }
        draft->origin = grown;
        draft->origin_capacity = needed + needed / 2 + 64;
    }
    return OTIMES_OK;
}

otimes_rewrite otimes_rewrite_begin(const otimes_flow *source, otimes_draft *draft, otimes_err *err)
{
    return (otimes_rewrite){.source = source, .draft = draft, .err = err};
}

void otimes_rewrite_place(otimes_rewrite *rewrite, const char *text, int64_t length,
                          otimes_span span)
{
    if (rewrite->rc == OTIMES_OK) {
        rewrite->rc = reserve(rewrite->draft, length, rewrite->err);
    }
    if (rewrite->rc != OTIMES_OK || length == 0) {
        return;
    }
    otimes_draft *draft = rewrite->draft;
    memcpy(draft->text + draft->length, text, (size_t)length);
    for (int64_t i = 0; i < length; i++) {
        draft->origin[draft->length + i] = span;
    }
    draft->length += length;
}

/* Where the character before the next source byte came from. */
static otimes_span span_before(const otimes_rewrite *rewrite)
{
    if (rewrite->at > 0) {
        return otimes_flow_span(rewrite->source, rewrite->at - 1, rewrite->at);
    }
    return otimes_flow_span(rewrite->source, 0, 0);
}

static void pass(otimes_rewrite *rewrite)
{
    const otimes_flow *source = rewrite->source;
    if (rewrite->at < source->length) {
        rewrite->at += otimes_utf8_size(source->text[rewrite->at]);
    }
}

void otimes_rewrite_put(otimes_rewrite *rewrite, uint32_t code, int change)
{
    char text[OTIMES_UTF8_MOST];
    const int length = otimes_utf8_put(text, code);
    if (change > 0 || rewrite->at >= rewrite->source->length) {
        otimes_rewrite_place(rewrite, text, length, span_before(rewrite));
        return;
    }
    const otimes_span span = otimes_flow_span(rewrite->source, rewrite->at, rewrite->at + 1);
    otimes_rewrite_place(rewrite, text, length, span);
    for (; change <= 0; change++) {
        pass(rewrite);
    }
}

void otimes_rewrite_insert(otimes_rewrite *rewrite, const char *text, int64_t length)
{
    otimes_rewrite_place(rewrite, text, length, span_before(rewrite));
}

void otimes_rewrite_keep(otimes_rewrite *rewrite, int64_t end)
{
    const otimes_flow *source = rewrite->source;
    otimes_draft *draft = rewrite->draft;
    const int64_t begin = rewrite->at, length = end - begin;
    if (length <= 0) {
        return;
    }
    if (rewrite->rc == OTIMES_OK) {
        rewrite->rc = reserve(draft, length, rewrite->err);
    }
    if (rewrite->rc != OTIMES_OK) {
        return;
    }
    memcpy(draft->text + draft->length, source->text + begin, (size_t)length);
    otimes_span *origin = draft->origin + draft->length;
    if (source->origin) {
        memcpy(origin, source->origin + begin, (size_t)length * sizeof *origin);
    } else {
        for (int64_t i = begin; i < end;) {
            const int64_t step = otimes_utf8_size(source->text[i]);
            const otimes_span span = {(int32_t)(source->base + i),
                                      (int32_t)(source->base + i + step)};
            for (const int64_t stop = i + step; i < stop && i < end; i++) {
                *origin++ = span;
            }
        }
    }
    draft->length += length;
    rewrite->at = end;
}

void otimes_rewrite_alphabet(otimes_rewrite *rewrite)
{
    const otimes_flow *source = rewrite->source;
    for (int64_t i = 0; rewrite->rc == OTIMES_OK && i < source->length; i++) {
        char code[OTIMES_UTF8_MOST];
        const int length =
            otimes_utf8_put(code, otimes_byte_to_code((unsigned char)source->text[i]));
        otimes_rewrite_place(rewrite, code, length, otimes_flow_span(source, i, i + 1));
    }
}

int otimes_flow_clean(otimes_flow *flow, const char *text, int64_t bytes, otimes_draft *draft,
                      otimes_err *err)
{
    *flow = (otimes_flow){text, bytes, NULL, 0};
    int64_t at = otimes_utf8_valid(text, bytes);
    if (at == bytes) {
        return OTIMES_OK;
    }
    const otimes_flow source = *flow;
    otimes_rewrite rewrite = otimes_rewrite_begin(&source, draft, err);
    draft->length = 0;
    while (rewrite.rc == OTIMES_OK) {
        otimes_rewrite_keep(&rewrite, at);
        if (at == bytes) {
            break;
        }
        int part;
        otimes_utf8_check(text + at, bytes - at, &part);
        otimes_rewrite_place(&rewrite, "\xef\xbf\xbd", 3,
                             (otimes_span){(int32_t)at, (int32_t)(at + part)});
        at += part;
        rewrite.at = at;
        at += otimes_utf8_valid(text + at, bytes - at);
    }
    *flow = otimes_flow_of(draft);
    return rewrite.rc;
}
