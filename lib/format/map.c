/* SPDX-License-Identifier: MIT */
#include "format/map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int otimes_map_open(otimes_map *map, const char *path, otimes_err *err)
{
    *map = (otimes_map){0};
    /* O_NONBLOCK: a pipe without a writer is told apart below instead of waited for. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return otimes_fail(err, OTIMES_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    struct stat st;
    int rc = OTIMES_OK;
    if (fstat(fd, &st) != 0) {
        rc = otimes_fail(err, OTIMES_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        rc = otimes_fail(err, OTIMES_ERR_IO, "%s: expected a regular file", path);
    } else if (st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            rc = otimes_fail(err, OTIMES_ERR_IO, "%s: cannot map: %s", path, strerror(errno));
        } else {
            *map = (otimes_map){data, st.st_size};
        }
    }
    close(fd);
    return rc;
}

void otimes_map_release(const void *data, int64_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = ((uintptr_t)data + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)data + (uintptr_t)bytes) / page * page;
    if (end > first) {
        /* Advice only: a kernel that refuses it costs memory, not correctness. */
        (void)madvise((void *)first, end - first, MADV_DONTNEED);
    }
}

void otimes_map_close(otimes_map *map)
{
    if (map && map->data) {
        munmap((void *)map->data, (size_t)map->bytes);
    }
    if (map) {
        *map = (otimes_map){0};
    }
}
