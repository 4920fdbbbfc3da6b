/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "command.h"

#define MAX_WORD 40

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits from a to b: letters put in, left out, replaced, or two neighbours swapped. Words longer
 * than MAX_WORD are far from everything. */
static size_t distance(const char *a, const char *b)
{
    size_t d[MAX_WORD + 1][MAX_WORD + 1];
    const size_t n = strlen(a), m = strlen(b);
    if (n > MAX_WORD || m > MAX_WORD) {
        return n + m;
    }
    for (size_t i = 0; i <= n; i++) {
        d[i][0] = i;
    }
    for (size_t j = 0; j <= m; j++) {
        d[0][j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            d[i][j] = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            d[i][j] = least(d[i][j], least(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
            }
        }
    }
    return d[n][m];
}

const char *nearest_word(const char *word, const char *const *candidates)
{
    const char *best = NULL;
    /* A third of the letters may differ, without the dashes of an option. */
    size_t nearest = strlen(word + strspn(word, "-")) / 3 + 1;
    for (; *candidates; candidates++) {
        const size_t d = distance(word, *candidates);
        if (d < nearest) {
            nearest = d;
            best = *candidates;
        }
    }
    return best;
}
