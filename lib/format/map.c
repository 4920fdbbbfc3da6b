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
    if (fstat(fd, &st) != 0) { /* unreached: an open file has a state */
        rc = otimes_fail(err, OTIMES_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        rc = otimes_fail(err, OTIMES_ERR_IO, "%s: expected a regular file", path);
    } else if (st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            rc = otimes_fail(err, OTIMES_ERR_IO, "%s: cannot map: %s", path, strerror(errno));
        } else {
            *map = (otimes_map){data, st.st_size, fd, st.st_mtim, 0};
        }
    }
    if (!map->data) {
        close(fd);
    }
    return rc;
}

int otimes_map_unchanged(const otimes_map *map, const char *path, otimes_err *err)
{
    struct stat now;
    const struct timespec *was = &map->written;
    if (!map->data) {
        return OTIMES_OK;
    }
    if (fstat(map->file, &now) != 0) { /* unreached: an open file has a state */
        return otimes_fail(err, OTIMES_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    }
    if (now.st_size != map->bytes || now.st_mtim.tv_sec != was->tv_sec ||
        now.st_mtim.tv_nsec != was->tv_nsec) {
        return otimes_fail(err, OTIMES_ERR_IO,
                           "%s: changed while it was read: expected %lld bytes of %lld.%09ld, got "
                           "%lld bytes of %lld.%09ld",
                           path, (long long)map->bytes, (long long)was->tv_sec, was->tv_nsec,
                           (long long)now.st_size, (long long)now.st_mtim.tv_sec,
                           now.st_mtim.tv_nsec);
    }
    return __atomic_load_n(&map->mended, __ATOMIC_ACQUIRE)
               ? otimes_fail(err, OTIMES_ERR_IO,
                             "%s: cannot be read: expected %lld bytes, the system fails on some",
                             path, (long long)map->bytes)
               : OTIMES_OK;
}

/* All of it: one call, and no second fault. mmap is a plain system call where there are handlers of
 * SIGBUS to speak of, and so safe in one. */
bool otimes_map_mend(otimes_map *map, const void *address)
{
    const uintptr_t first = (uintptr_t)map->data, at = (uintptr_t)address;
    if (!map->data || at < first || at - first >= (uintptr_t)map->bytes) {
        return false;
    }
    const int before = errno;
    const bool done = mmap((void *)map->data, (size_t)map->bytes, PROT_READ,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
    if (done) {
        __atomic_store_n(&map->mended, 1, __ATOMIC_RELEASE);
    }
    errno = before;
    return done;
}

void otimes_map_release(const void *data, int64_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = (uintptr_t)data, first = (begin + page - 1) / page * page;
    const uintptr_t end = (begin + (uintptr_t)bytes) / page * page;
    if (end > first) {
        /* Advice only: a kernel that refuses it costs memory, not correctness. */
        (void)madvise((char *)data + (first - begin), end - first, MADV_DONTNEED);
    }
}

void otimes_map_close(otimes_map *map)
{
    if (map && map->data) {
        munmap((void *)map->data, (size_t)map->bytes);
        close(map->file);
    }
    if (map) {
        *map = (otimes_map){0};
    }
}
