/* SPDX-License-Identifier: MIT
 *
 * The journal of an interrupted run. Once a run is interrupted; its journal is then damaged in the
 * ways that the input says, and the run goes on from it: it must end as one that was not interrupted,
 * or with an error. An input that begins with an odd byte is all records of the journal instead, with
 * checksums that are right; only what is then written may differ.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "folder.h"
#include "journal.h"
#include "journal_file.h"
#include "parts.h"

enum { TEXTS = 3, WIDTH = 2, ARRAYS = 4, MOST = 1 << 14 };

static const char identity[] = "version 1\ncommand otimes test\n";
static const char *const words[TEXTS] = {"one", "", "three"};
static const int32_t ids[TEXTS] = {7, 8, 9};
static const double total = 0.5;

static unsigned char genuine[MOST];
static size_t genuine_bytes, records_at;

static float value_of(int64_t text, int64_t i)
{
    return (float)(10 * text + i + 1);
}

static int declare(otimes_sink *sink, const otimes_axis *text, const otimes_axis *place, int *id,
                   otimes_err *err)
{
    const otimes_array arrays[ARRAYS] = {
        {.name = "token_id", .type = OTIMES_I32, .ndim = 1, .axis = {text}},
        {.name = "word", .type = OTIMES_TEXT, .ndim = 1, .axis = {text}},
        {.name = "pattern", .type = OTIMES_F32, .ndim = 2, .axis = {text, place}},
        {.name = "total", .type = OTIMES_F64, .ndim = 0}};
    int rc = 0;
    for (int i = 0; i < ARRAYS && !rc; i++) {
        otimes_array array = arrays[i];
        array.long_name = array.units = array.formula = array.orientation = "1";
        rc = sink->ops->declare(sink, &array, &id[i], err);
    }
    return rc;
}

/* A run that ends after `most` texts, as if it was interrupted there. */
static int run(otimes_sink *sink, int most, otimes_err *err)
{
    const otimes_axis text = {.name = JOURNAL_AXIS, .length = TEXTS},
                      place = {.name = "position", .length = WIDTH};
    int id[ARRAYS];
    int rc = declare(sink, &text, &place, id, err);
    if (!rc) {
        rc = sink->ops->write(sink, id[0], (int64_t[]){0}, (int64_t[]){TEXTS}, ids, err);
    }
    for (int64_t t = 0; t < most && !rc; t++) {
        const float values[WIDTH] = {value_of(t, 0), value_of(t, 1)};
        const int64_t start[2] = {t, 0}, count[2] = {1, WIDTH};
        if (sink->ops->has(sink, id[2], start, count)) {
            continue;
        }
        rc = sink->ops->write(sink, id[1], start, count, &words[t], err);
        if (!rc) {
            rc = sink->ops->write(sink, id[2], start, count, values, err);
        }
    }
    if (!rc) {
        rc = sink->ops->write(sink, id[3], (int64_t[]){0}, (int64_t[]){0}, &total, err);
    }
    return rc ? rc : most < TEXTS ? OTIMES_ERR_CANCELLED : sink->ops->finish(sink, err);
}

static void check(const otimes_memory_sink *memory)
{
    const void *data;
    FUZZ_REQUIRE(otimes_memory_sink_array(memory, "token_id", &data));
    FUZZ_REQUIRE(memcmp(data, ids, sizeof ids) == 0);
    FUZZ_REQUIRE(otimes_memory_sink_array(memory, "word", &data));
    for (int t = 0; t < TEXTS; t++) {
        FUZZ_REQUIRE(strcmp(((const char *const *)data)[t], words[t]) == 0);
    }
    FUZZ_REQUIRE(otimes_memory_sink_array(memory, "pattern", &data));
    for (int i = 0; i < TEXTS * WIDTH; i++) {
        FUZZ_REQUIRE(((const float *)data)[i] == value_of(i / WIDTH, i % WIDTH));
    }
    FUZZ_REQUIRE(otimes_memory_sink_array(memory, "total", &data));
    FUZZ_REQUIRE(*(const double *)data == total);
}

static void resume(int resume, int most, int honest)
{
    char path[128];
    otimes_memory_sink *memory;
    otimes_sink sink;
    otimes_err err = {0};
    snprintf(path, sizeof path, "%s/out", fuzz_disk_folder());
    FUZZ_REQUIRE(otimes_memory_sink_new(&memory, &err) == 0);
    int rc = journal_open(&sink, otimes_memory_sink_sink(memory), path, identity, resume, &err);
    if (!rc) {
        rc = run(&sink, most, &err);
    }
    if (!rc && honest) {
        check(memory);
    }
    FUZZ_REQUIRE(rc == 0 || rc == OTIMES_ERR_CANCELLED || (err.code == rc && err.msg[0]));
    journal_close(&sink);
    otimes_memory_sink_free(&memory);
}

/* The journal that a run leaves which ends after two texts. */
static void make_genuine(void)
{
    char path[128];
    resume(0, TEXTS - 1, 0);
    snprintf(path, sizeof path, "%s/out.journal", fuzz_disk_folder());
    FILE *file = fopen(path, "rb");
    FUZZ_REQUIRE(file);
    genuine_bytes = fread(genuine, 1, MOST, file);
    records_at = 32 + sizeof identity - 1; /* behind preamble and identity */
    FUZZ_REQUIRE(genuine_bytes > records_at + sizeof(journal_record) && genuine_bytes < MOST);
    fclose(file);
}

/* Checksums of records as the journal's reader expects them. */
static void seal(unsigned char *file, size_t bytes)
{
    journal_record r;
    uint64_t before = 0;
    for (size_t at = records_at; at + sizeof r <= bytes; at += sizeof r + (size_t)r.bytes) {
        memcpy(&r, file + at, sizeof r);
        if (r.bytes < 0 || (size_t)r.bytes > bytes - at - sizeof r) {
            break;
        }
        before = r.check = journal_check(before, &r, file + at + sizeof r);
        memcpy(file + at, &r, sizeof r);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char file[MOST + 256];
    if (size == 0 || size > MOST / 2) {
        return 0;
    }
    if (!genuine_bytes) {
        make_genuine();
    }
    size_t bytes = genuine_bytes;
    memcpy(file, genuine, genuine_bytes);
    if (data[0] % 2) {
        memcpy(file + records_at, data + 1, size - 1);
        bytes = records_at + size - 1;
        seal(file, bytes);
    } else {
        bytes = fuzz_damage(file, bytes, MOST, data + 1, size - 1);
    }
    fuzz_disk_file("out.journal", file, bytes);
    resume(1, TEXTS, data[0] % 2 == 0);
    return 0;
}
