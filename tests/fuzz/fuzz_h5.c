/* SPDX-License-Identifier: MIT
 *
 * A result in HDF5 that is read back. One is written; the input says how it is damaged. The HDF5
 * library may then do what it likes: the reader's process must see nothing but an error or a result.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "folder.h"
#include "parts.h"
#include "result.h"
#include "results.h"
#include "sink_h5.h"

enum { MOST = 1 << 16 };

static unsigned char genuine[MOST];
static size_t genuine_bytes;

static const char *path_of(void)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/x.h5", fuzz_disk_folder());
    return path;
}

static void write_result(otimes_sink *sink)
{
    static const char *const labels[] = {"a", "\xc3\xa9", "long label"};
    static const int64_t numbers[] = {3, 5};
    static const float values[] = {0, 1, 2, 3, 4, 5};
    static const otimes_axis token = {.name = "token", .length = 3, .text = labels},
                             layer = {.name = "layer", .length = 2, .number = numbers};
    const otimes_attr schema = {.name = "schema", .kind = OTIMES_ATTR_TEXT, .text = "test"},
                      version = {.name = "version", .kind = OTIMES_ATTR_I64, .i64 = 1};
    const otimes_array array = {.name = "score",
                                .type = OTIMES_F32,
                                .ndim = 2,
                                .axis = {&layer, &token},
                                .long_name = "score",
                                .units = "1",
                                .formula = "none",
                                .orientation = "none"},
                       word = {.name = "word",
                               .type = OTIMES_TEXT,
                               .ndim = 1,
                               .axis = {&token},
                               .long_name = "word",
                               .units = "1",
                               .formula = "none",
                               .orientation = "none"};
    const int64_t zero[2] = {0, 0};
    otimes_err err;
    int id;
    FUZZ_REQUIRE(sink->ops->attribute(sink, &schema, &err) == 0);
    FUZZ_REQUIRE(sink->ops->attribute(sink, &version, &err) == 0);
    FUZZ_REQUIRE(sink->ops->declare(sink, &array, &id, &err) == 0);
    FUZZ_REQUIRE(sink->ops->write(sink, id, zero, (int64_t[]){2, 3}, values, &err) == 0);
    FUZZ_REQUIRE(sink->ops->declare(sink, &word, &id, &err) == 0);
    FUZZ_REQUIRE(sink->ops->write(sink, id, zero, (int64_t[]){3}, labels, &err) == 0);
    FUZZ_REQUIRE(sink->ops->finish(sink, &err) == 0);
}

static void make_genuine(void)
{
    otimes_sink sink;
    otimes_err err;
    FUZZ_REQUIRE(sink_h5_open(&sink, path_of(), &err) == 0);
    write_result(&sink);
    sink_h5_close(&sink);
    FILE *file = fopen(path_of(), "rb");
    FUZZ_REQUIRE(file);
    genuine_bytes = fread(genuine, 1, MOST, file);
    FUZZ_REQUIRE(genuine_bytes > 0 && genuine_bytes < MOST);
    fclose(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char file[MOST];
    otimes_reader reader;
    otimes_err err = {0};
    if (!genuine_bytes) {
        make_genuine();
    }
    memcpy(file, genuine, genuine_bytes);
    fuzz_disk_file("x.h5", file, fuzz_damage(file, genuine_bytes, MOST, data, size));
    const int rc = result_open(&reader, path_of(), &err);
    FUZZ_REQUIRE(rc == 0 || (err.code == rc && err.msg[0]));
    if (rc == 0) {
        fuzz_read_result(&reader);
    }
    result_close(&reader);
    return 0;
}
