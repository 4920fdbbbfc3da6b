/* SPDX-License-Identifier: MIT
 *
 * Where results come from: the mirror of a sink. A reader knows the arrays of a result with their
 * labelled axes and its facts, and reads blocks of an array, so that what is made of results is
 * written once and never holds a whole table in memory.
 */
#ifndef OTIMES_READER_H
#define OTIMES_READER_H

#include <otimes/sink.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct otimes_reader otimes_reader;

/* What a reader does. What is handed out belongs to it and lives as long as it is open; all are
 * called from one thread. */
typedef struct otimes_reader_ops {
    /* The array at index in the result's own order, NULL from the first index beyond them on. Axes
     * of one name are one axis; exactly one of their `text`, `number` may be set. */
    const otimes_array *(*array)(const otimes_reader *reader, int64_t index);
    /* The axis at index, those that no array has included; NULL beyond them. May be NULL: then
     * the axes are those of the arrays. */
    const otimes_axis *(*axis)(const otimes_reader *reader, int64_t index);
    /* The fact at index; NULL beyond them. */
    const otimes_attr *(*attribute)(const otimes_reader *reader, int64_t index);
    /* Reads the block of array `index` that begins at start[] and has count[] entries along each
     * axis into data: contiguous, row-major, of the array's type. Texts live until the next block
     * of texts is read. 0 or a negative code with text in err. */
    int (*read)(const otimes_reader *reader, int64_t index, const int64_t *start,
                const int64_t *count, void *data, otimes_err *err);
} otimes_reader_ops;

struct otimes_reader {
    const otimes_reader_ops *ops;
    const void *state; /* the reader's own */
    const char *name;  /* of the result, for errors and facts: a file's path */
};

/* The index of the array of that name, or -1. */
OTIMES_API int64_t otimes_reader_find(const otimes_reader *reader, const char *name);

/* The axis of that name, or NULL. */
OTIMES_API const otimes_axis *otimes_reader_axis(const otimes_reader *reader, const char *name);

/* The fact of that name, or NULL. */
OTIMES_API const otimes_attr *otimes_reader_attr(const otimes_reader *reader, const char *name);

/* What a memory sink holds, as a reader; lives as long as the sink and needs no release. Axes that
 * no array has are not kept there. Blocks outside an array: OTIMES_ERR_ARGUMENT. */
OTIMES_API void otimes_memory_sink_reader(const otimes_memory_sink *memory, const char *name,
                                          otimes_reader *reader);

#ifdef __cplusplus
}
#endif

#endif
