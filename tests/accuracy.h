/* SPDX-License-Identifier: MIT
 *
 * How far results are from their references: every comparison is an assertion, and the largest error of
 * each quantity is noted for the table in tests/accuracy/README.md.
 */
#ifndef OTIMES_TESTS_ACCURACY_H
#define OTIMES_TESTS_ACCURACY_H

#include <stdbool.h>
#include <stdint.h>

/* Whose arrays are compared from here on: the name of an analysis; static text. */
void accuracy_of(const char *analysis);

/* Of which model the results are: golden_open says so by itself, golden_close sets it to NULL. Without one
 * comparisons are assertions alone. Static text. */
void accuracy_model(const char *name, const char *kind);

/* |got - expected| / scale <= bound, else the test fails. NaN is NaN, what is equal is so by any scale.
 * `to`, a static text, says what the scale is, as the table will: "its value", "largest of the row". */
void accuracy(const char *array, const char *to, double got, double expected, double scale,
              double bound);

/* The same for arrays. */
void accuracy_all(const char *array, const char *to, int64_t count, const double *got,
                  const double *expected, double scale, double bound);

/* Integers, and real numbers that must be the same. */
void accuracy_exact(const char *array, double got, double expected);

/* Counts that are exact but for what lies so near a border that rounding decides. */
void accuracy_between(const char *array, int64_t got, int64_t surely, int64_t perhaps);

#endif
