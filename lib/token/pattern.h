/* SPDX-License-Identifier: MIT
 *
 * Regular expressions, through PCRE2 with its compiler.
 */
#ifndef OTIMES_TOKEN_PATTERN_H
#define OTIMES_TOKEN_PATTERN_H

#include "base/mem.h"

typedef struct otimes_pattern otimes_pattern;

/* A pattern in the dialect of Oniguruma, in which tokenizers are written. `where` is for the
 * errors: OTIMES_ERR_FORMAT for a pattern that cannot be read, OTIMES_ERR_MEMORY. */
int otimes_pattern_new(otimes_pattern **pattern, const char *source, int64_t length,
                       const char *where, otimes_err *err);
void otimes_pattern_free(otimes_pattern *pattern);

/* What matching needs: one for a thread. A zeroed one is ready. */
typedef struct otimes_matcher {
    void *data, *context, *stack;
    int64_t spent, passed; /* steps beyond the free ones; bytes that are matched or passed over */
} otimes_matcher;

void otimes_matcher_free(otimes_matcher *matcher);

/* The first match in well-formed text at byte `from` or behind; it may be empty. *found says
 * whether there is one. OTIMES_ERR_UNSUPPORTED when it takes too many steps, OTIMES_ERR_MEMORY. */
int otimes_pattern_match(const otimes_pattern *pattern, otimes_matcher *matcher, const char *text,
                         int64_t length, int64_t from, bool *found, int64_t *begin, int64_t *end,
                         otimes_err *err);

/* Whether PCRE2 knows a script of that name. */
bool otimes_pattern_is_script(const char *name, int64_t length);

/* The pattern as PCRE2 is to read it (dialect.c). */
int otimes_pattern_translate(otimes_text *out, const char *source, int64_t length,
                             const char *where, otimes_err *err);

#endif
