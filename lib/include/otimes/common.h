/* SPDX-License-Identifier: MIT
 *
 * What every header of otimes shares: export marks, the list of error codes and the caller's
 * error text.
 */
#ifndef OTIMES_COMMON_H
#define OTIMES_COMMON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OTIMES_VERSION_MAJOR 0
#define OTIMES_VERSION_MINOR 1
#define OTIMES_VERSION_PATCH 0

#if defined(__GNUC__)
#define OTIMES_API __attribute__((visibility("default")))
#define OTIMES_MUST_CHECK __attribute__((warn_unused_result))
#define OTIMES_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define OTIMES_API
#define OTIMES_MUST_CHECK
#define OTIMES_PRINTF(fmt, args)
#endif

/* Every error of the library: name, code, what it means. 0 is success. */
#define OTIMES_ERRORS(X)                                                                          \
    X(ARGUMENT, -1, "an argument or a setting is not valid")                                      \
    X(MEMORY, -2, "memory could not be had")                                                      \
    X(IO, -3, "a file could not be opened, read or written")                                      \
    X(FORMAT, -4, "a file's bytes contradict its format")                                         \
    X(MODEL, -5, "weights and configuration contradict each other or name no known architecture") \
    X(VALUE, -6, "a weight, or what is made of weights, is NaN or infinite")                      \
    X(CONVERGENCE, -7, "an iterative matrix routine did not converge")                            \
    X(UNSUPPORTED, -8, "the request is not possible for this model")                              \
    X(CANCELLED, -9, "the caller's sink asked to stop")

enum otimes_code {
    OTIMES_OK = 0,
#define OTIMES_ERROR_ENUM(name, code, text) OTIMES_ERR_##name = (code),
    OTIMES_ERRORS(OTIMES_ERROR_ENUM)
#undef OTIMES_ERROR_ENUM
};

#define OTIMES_ERR_TEXT 4096

/* The caller's error: code and one line that says what, where, expected and got. Every call that
 * takes one accepts NULL. Written only on failure. */
typedef struct otimes_err {
    int code;
    char msg[OTIMES_ERR_TEXT];
} otimes_err;

/* The meaning of a code in words; static text, never NULL. */
OTIMES_API const char *otimes_strerror(int code);

/* Releases text that a call gave out and sets *text to NULL; NULL is fine. */
OTIMES_API void otimes_text_release(char **text);

/* "0.1.0"; static text. */
OTIMES_API const char *otimes_version(void);

/* How the library was built, e.g. "OpenBLAS 0.3.21 ... openmp"; static text. */
OTIMES_API const char *otimes_build_blas(void);

/* Number of threads that otimes' own loops take when a setting says 0: the processors this process
 * may use. */
OTIMES_API int otimes_threads_available(void);

/* Sets the number of threads of the BLAS library for the whole process. The library itself never
 * does this. A program sets 1, once, before its first analysis: otimes' loops keep all processors
 * busy with products of one thread each, and results are then the same bits at any number of
 * threads. */
OTIMES_API void otimes_set_blas_threads(int threads);

/* Starts the threads of otimes' own loops, and has the BLAS library take the memory it keeps for each
 * of them (OpenBLAS: 128 MB of addresses, of which little is used). Both would come with the first
 * loop and the first product, where neither library can say that there is no memory: the one ends the
 * process, the other tries for ever. A program under a limit of memory or of processes calls this
 * once, after otimes_set_blas_threads. threads: as in settings; 0: every available one.
 * Errors: OTIMES_ERR_MEMORY, OTIMES_ERR_ARGUMENT (threads below 0). */
OTIMES_API OTIMES_MUST_CHECK int otimes_reserve_threads(int threads, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
