/* SPDX-License-Identifier: MIT
 *
 * Faults on purpose, one a run, that the sanitizers of a build must see: a check that sees nothing
 * passes too. planted.sh runs them.
 */
#include "base/mem.h"
#include "base/par.h"

#include <stdio.h>
#include <string.h>

/* What compilers must not know. */
static volatile int64_t big = INT64_MAX, some = 5;
static volatile double huge = 1e30;

static int add_to_one_sum(void *sum, int64_t item, int worker, otimes_err *err)
{
    (void)worker;
    (void)err;
    *(volatile int64_t *)sum += item;
    return OTIMES_OK;
}

static int64_t race(void)
{
    int64_t sum = 0;
    (void)otimes_par_for(100, 2, add_to_one_sum, &sum, NULL);
    return sum;
}

/* The part by which a block has grown. */
static int64_t grown(void)
{
    int64_t *block = otimes_alloc(some, sizeof *block);
    int64_t *longer = block ? otimes_realloc(block, 100 * some, sizeof *block) : NULL;
    const int64_t value = longer && longer[50 * some] > 0;
    otimes_free(longer ? longer : block);
    return value;
}

static int64_t unset(void)
{
    int64_t values[10];
    values[some] = 1;
    return ((volatile int64_t *)values)[some + 1] > 0;
}

static int64_t overrun(void)
{
    int64_t *block = otimes_alloc(some, sizeof *block);
    const int64_t value = block ? ((volatile int64_t *)block)[some] : 0;
    otimes_free(block);
    return value;
}

static volatile int64_t *kept;

__attribute__((noinline)) static void keep(void)
{
    int64_t gone = some;
    kept = &gone;
}

static int64_t returned(void)
{
    keep();
    return *kept;
}

static int64_t leak(void)
{
    int64_t *block = otimes_alloc(some, sizeof *block);
    return block && memchr(block, 1, (size_t)some);
}

static int64_t overflow(void)
{
    return big + some;
}

static int64_t cast(void)
{
    return (int64_t)huge;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int64_t (*plant)(void);
    } faults[] = {{"race", race},         {"grown", grown},       {"unset", unset},
                  {"overrun", overrun},   {"returned", returned}, {"leak", leak},
                  {"overflow", overflow}, {"cast", cast}};
    for (size_t i = 0; argc == 2 && i < sizeof faults / sizeof faults[0]; i++) {
        if (strcmp(argv[1], faults[i].name) == 0) {
            if (faults[i].plant() != 0) { /* a branch, which is where values never set matter */
                puts("not zero");
            }
            return 0;
        }
    }
    return 2;
}
