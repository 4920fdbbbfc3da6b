/* SPDX-License-Identifier: MIT
 *
 * write_degenerate FOLDER: every degenerate model as a checkpoint in a folder of its name below it.
 */
#include "degenerate.h"

#include <stdio.h>
#include <sys/stat.h>

static int write_model(const char *folder, degenerate_base base, degenerate_change change)
{
    char path[4096];
    degenerate d;
    snprintf(path, sizeof path, "%s/%s", folder, degenerate_name(base, change));
    if (mkdir(path, 0777) != 0) {
        perror(path);
        return 1;
    }
    degenerate_make(&d, base, change);
    const int rc = degenerate_write(&d, path);
    degenerate_free(&d);
    if (rc != 0) {
        perror(path);
    }
    return rc != 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: write_degenerate FOLDER\n", stderr);
        return 2;
    }
    for (degenerate_base base = 0; base < BASES; base++) {
        for (degenerate_change change = 0; change < CHANGES; change++) {
            if (degenerate_exists(base, change) && write_model(argv[1], base, change) != 0) {
                return 1;
            }
        }
    }
    return 0;
}
