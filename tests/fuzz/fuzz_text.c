/* SPDX-License-Identifier: MIT
 *
 * The small grammars: UTF-8 and the byte alphabet, numbers, lists and ranges, names of heads,
 * patterns of names, lines of JSON. The first byte chooses.
 */
#include <stdlib.h>
#include <string.h>

#include <otimes/parse.h>

#include "base/glob.h"
#include "base/index.h"
#include "jsonl.h"
#include "select.h"
#include "token/quote.h"
#include "token/run.h"
#include "token/utf8.h"
#include "parts.h"

enum { LIMIT = 1000, LAYERS = 12, HEADS = 16 };

static void read_utf8(const char *text, int64_t length)
{
    const int64_t valid = otimes_utf8_valid(text, length);
    int64_t at = 0;
    for (int step, part; at < length; at += step) {
        step = otimes_utf8_check(text + at, length - at, &part);
        FUZZ_REQUIRE(step == otimes_utf8_length(text + at, length - at));
        FUZZ_REQUIRE(part >= 1 && part <= length - at && (step == 0 || step == part));
        if (step == 0) {
            break;
        }
        char again[OTIMES_UTF8_MOST];
        int size;
        const uint32_t code = otimes_utf8_get(text + at, &size);
        FUZZ_REQUIRE(size == step && otimes_utf8_put(again, code) == size);
        FUZZ_REQUIRE(memcmp(again, text + at, (size_t)size) == 0);
        FUZZ_REQUIRE(otimes_utf8_before(text, at + size, &size) == code && size == step);
    }
    FUZZ_REQUIRE(at == valid);
    char *coded = malloc((size_t)(2 * length + 1)), *bytes = malloc((size_t)(2 * length + 1));
    FUZZ_REQUIRE(coded && bytes);
    const int64_t size = otimes_alphabet_encode(text, length, coded);
    FUZZ_REQUIRE(otimes_utf8_valid(coded, size) == size);
    FUZZ_REQUIRE(otimes_alphabet_decode(coded, size, bytes) == length);
    FUZZ_REQUIRE(memcmp(bytes, text, (size_t)length) == 0);
    const otimes_quote quoted = otimes_quoted(text, length);
    const int64_t shown = (int64_t)strlen(quoted.text);
    FUZZ_REQUIRE(otimes_utf8_valid(quoted.text, shown) == shown);
    free(coded);
    free(bytes);
}

static void read_numbers(const char *text)
{
    otimes_err err;
    int64_t value;
    double real;
    if (otimes_parse_i64(text, "n", -LIMIT, LIMIT, &value, &err) == 0) {
        FUZZ_REQUIRE(value >= -LIMIT && value <= LIMIT && value == atoll(text));
    }
    if (parse_real(text, "n", -1, 1, &real, &err) == 0) {
        FUZZ_REQUIRE(real >= -1 && real <= 1);
    }
    if (parse_bytes(text, "n", &value, &err) == 0) {
        FUZZ_REQUIRE(value > 0);
    }
}

static void read_lists(const char *text)
{
    otimes_err err;
    otimes_index_list list = {0};
    if (otimes_parse_indices(text, "n", LIMIT, &list, &err) == 0) {
        FUZZ_REQUIRE(otimes_index_check("n", list.index, list.count, LIMIT, &err) == 0);
    }
    otimes_index_list_free(&list);
    if (select_integers(text, "n", LIMIT, &list, &err) == 0) {
        for (int64_t i = 0; i < list.count; i++) {
            FUZZ_REQUIRE(list.index[i] > -LIMIT && list.index[i] < LIMIT);
        }
        const int64_t count = list.count;
        select_distinct(&list);
        FUZZ_REQUIRE(list.count == count);
    }
    free(list.index);
}

static void read_heads(const char *text)
{
    otimes_err err;
    select_head *heads;
    int64_t count;
    if (select_heads(text, "n", LAYERS, HEADS, &heads, &count, &err) == 0) {
        for (int64_t i = 0; i < count; i++) {
            FUZZ_REQUIRE(heads[i].layer >= 0 && heads[i].layer < LAYERS);
            FUZZ_REQUIRE(heads[i].head >= 0 && heads[i].head < HEADS);
        }
    }
    free(heads);
}

static void read_line(char *line, int64_t length)
{
    otimes_err err;
    jsonl_line got;
    if (jsonl_read(&got, line, length, "text", "line 1", &err) == 0) {
        FUZZ_REQUIRE(got.bytes >= 0 && got.bytes <= length);
        FUZZ_REQUIRE(otimes_utf8_valid(line, got.bytes) == got.bytes);
        for (int64_t i = 0; i < got.ids.count; i++) {
            FUZZ_REQUIRE(got.ids.index[i] >= 0);
        }
    } else {
        FUZZ_REQUIRE(err.code && err.msg[0]);
    }
    free(got.ids.index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const int which = *data++ % 6;
    int64_t length, name_length;
    size--;
    char *text = fuzz_part(&data, &size, which == 0 || which == 5, &length);
    char *name = fuzz_part(&data, &size, 0, &name_length);
    switch (which) {
    case 0:
        read_utf8(text, length);
        break;
    case 1:
        read_numbers(text);
        break;
    case 2:
        read_lists(text);
        break;
    case 3:
        read_heads(text);
        break;
    case 4:
        FUZZ_REQUIRE(otimes_glob_list(text, name) || !strchr(text, '*') || strlen(text) > 1);
        break;
    default:
        read_line(text, length);
        break;
    }
    free(name);
    free(text);
    return 0;
}
