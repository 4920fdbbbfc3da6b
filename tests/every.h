/* SPDX-License-Identifier: MIT
 *
 * Every analysis of a model, asked for something small that any model can answer, through the public
 * headers alone.
 */
#ifndef OTIMES_TESTS_EVERY_H
#define OTIMES_TESTS_EVERY_H

#include <otimes/model.h>
#include <otimes/sink.h>

typedef int run_analysis(const otimes_model *model, otimes_sink *sink, otimes_err *err);

typedef struct every {
    const char *name; /* of the analysis, behind a comma what is asked for */
    run_analysis *run;
} every;

/* In order of names; ends with a NULL name. */
extern const every every_analysis[];

#endif
