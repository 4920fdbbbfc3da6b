/* SPDX-License-Identifier: MIT
 *
 * Where results go. An analysis declares named arrays with labelled axes and writes blocks of
 * them; a sink keeps them in memory, in HDF5, as text, or nowhere. So an analysis is written once
 * and a table larger than memory streams through any of them.
 */
#ifndef OTIMES_SINK_H
#define OTIMES_SINK_H

#include <otimes/common.h>
#include <otimes/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum otimes_type {
    OTIMES_F32, /* float; undefined entries are NaN */
    OTIMES_F16, /* IEEE half as uint16_t bits; undefined entries are NaN */
    OTIMES_F64, /* double; undefined entries are NaN */
    OTIMES_I32, /* int32_t; undefined entries are -1 */
    OTIMES_I64, /* int64_t; undefined entries are -1 */
    OTIMES_TEXT /* const char *, UTF-8 without NUL */
} otimes_type;

/* Bytes of one element; sizeof(char *) for text. */
OTIMES_API size_t otimes_type_size(otimes_type type);

/* An axis, shared by all arrays that name it. Same name means same axis: length and labels of the
 * first declaration hold, and a later one must agree in length. Exactly one of `text`, `number`
 * may be set; with neither the labels are 0, 1, 2 ... All pointers stay valid until finish. */
typedef struct otimes_axis {
    const char *name;
    int64_t length;
    const char *const *text; /* [length] labels as UTF-8 */
    const int64_t *number;   /* [length] labels as integers, e.g. layers or offsets */
    const char *long_name;   /* what runs along the axis, for a reader; may be NULL */
} otimes_axis;

/* A named array of results. Everything is copied or used before finish; the caller's storage must
 * live as long as the sink is open. */
typedef struct otimes_array {
    const char *name;
    otimes_type type;
    int ndim;
    const otimes_axis *axis[OTIMES_MAX_DIMS];
    const char *long_name;   /* one line for a reader */
    const char *units;       /* "1" when it has none */
    const char *formula;     /* how it was computed, in the notation of the documentation */
    const char *orientation; /* what its axes mean together, e.g. "row = source, column = output" */
    const char *labels_of;   /* for indices: the axis whose labels they are; NULL otherwise */
    int64_t chunk[OTIMES_MAX_DIMS]; /* suggested storage chunk; 0 lets the sink choose */
    int whole; /* 1: every entry will be written, in blocks without overlap: a sink may set its room
                  aside at once. 0: some may stay undefined */
} otimes_array;

/* A fact about the whole result: who, from what, how. Text, or an integer, or a real number. */
typedef struct otimes_attr {
    const char *name;
    enum { OTIMES_ATTR_TEXT, OTIMES_ATTR_I64, OTIMES_ATTR_F64 } kind;
    const char *text;
    int64_t i64;
    double f64;
} otimes_attr;

typedef struct otimes_sink otimes_sink;

/* What a sink does. Each returns 0 or a negative code with text in err. All are called from the
 * thread that called the analysis. `axis`, `has` and
 * `progress` may be NULL. */
typedef struct otimes_sink_ops {
    /* Facts about the result; called any number of times before finish. A later fact of the same
     * name replaces the earlier one. */
    int (*attribute)(otimes_sink *sink, const otimes_attr *attr, otimes_err *err);
    /* Announces an axis that no array may come to have, so that indices into it (labels_of) can be
     * read; may be NULL. */
    int (*axis)(otimes_sink *sink, const otimes_axis *axis, otimes_err *err);
    /* Announces an array; *id is what write and has call it. */
    int (*declare)(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err);
    /* Writes the block that begins at start[] and has count[] entries along each axis (ndim of
     * each); data is contiguous, row-major, of the array's type. */
    int (*write)(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                 const void *data, otimes_err *err);
    /* Whether an interrupted run wrote the block, so that its computation can be left out. What was
     * written in the same run need not be known. */
    int (*has)(otimes_sink *sink, int id, const int64_t *start, const int64_t *count);
    /* Work done of the total, in units of the analysis' own. Non-zero cancels the analysis, which
     * then returns OTIMES_ERR_CANCELLED. */
    int (*progress)(otimes_sink *sink, double done, double total);
    /* All arrays are complete. Not called after an error. */
    int (*finish)(otimes_sink *sink, otimes_err *err);
} otimes_sink_ops;

struct otimes_sink {
    const otimes_sink_ops *ops;
    void *state; /* the sink's own */
};

/* A sink in memory, for programs and tests. */
typedef struct otimes_memory_sink otimes_memory_sink;

/* Creates an empty memory sink; release with otimes_memory_sink_free. OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_memory_sink_new(otimes_memory_sink **memory,
                                                        otimes_err *err);

/* The sink to hand to an analysis; belongs to `memory`. */
OTIMES_API otimes_sink *otimes_memory_sink_sink(otimes_memory_sink *memory);

/* An array as it was declared, with its data (row-major, contiguous, of its type) in *data; NULL
 * when no array has that name. Axis labels are copies. All live until the sink is freed. */
OTIMES_API const otimes_array *otimes_memory_sink_array(const otimes_memory_sink *memory,
                                                        const char *name, const void **data);

/* A fact by name, or NULL. */
OTIMES_API const otimes_attr *otimes_memory_sink_attr(const otimes_memory_sink *memory,
                                                      const char *name);

/* Releases everything and sets *memory to NULL; NULL is fine. */
OTIMES_API void otimes_memory_sink_free(otimes_memory_sink **memory);

#ifdef __cplusplus
}
#endif

#endif
