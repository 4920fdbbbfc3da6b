/* SPDX-License-Identifier: MIT */
#include "folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "parts.h"

enum { NAMES = 8 };

static char folder[64], names[NAMES][128];
static int made, at;

static void remove_folder(void)
{
    for (int i = 0; i < NAMES; i++) {
        unlink(names[i]);
    }
    rmdir(folder);
}

const char *fuzz_disk_folder(void)
{
    if (!made) {
        snprintf(folder, sizeof folder, "/dev/shm/otimes-fuzz-XXXXXX");
        FUZZ_REQUIRE(mkdtemp(folder));
        atexit(remove_folder);
        made = 1;
    }
    return folder;
}

const char *fuzz_disk_file(const char *name, const void *data, size_t size)
{
    char *path = names[at++ % NAMES];
    snprintf(path, sizeof names[0], "%s/%s", fuzz_disk_folder(), name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    return path;
}
