/* SPDX-License-Identifier: MIT */
#include "space.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fail.h"

/* Bytes on disk of `path` with an ending; 0 where it is not. */
static int64_t bytes_there(const char *path, const char *ending)
{
    struct stat about;
    char *name = NULL;
    int64_t bytes = 0;
    if (asprintf(&name, "%s%s", path, ending) >= 0) {
        bytes = stat(name, &about) ? 0 : (int64_t)about.st_blocks * 512;
        free(name);
    }
    return bytes;
}

/* Free bytes of the disk under `path`, a file or the place where one will be; -1: it does not say. */
static double free_bytes(const char *path)
{
    struct statvfs disk;
    char *name = NULL;
    double bytes = -1;
    if (asprintf(&name, "%s.tmp", path) < 0) {
        return -1;
    }
    if (!statvfs(name, &disk) && disk.f_blocks > 0) { /* tmpfs without a limit has 0 */
        bytes = (double)disk.f_bavail * (double)disk.f_frsize;
    }
    free(name);
    return bytes;
}

typedef char quantity[32];

static const char *put_bytes(quantity text, double bytes)
{
    static const char *const unit[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
    int at = 0;
    while (bytes >= 999.95 && at < 6) {
        bytes /= 1000;
        at++;
    }
    snprintf(text, sizeof(quantity), at ? "%.1f %s" : "%.0f %s", bytes, unit[at]);
    return text;
}

int space_check(const char *path, const space_need *need, otimes_err *err)
{
    quantity all, result, journal, got;
    char parts[96] = "";
    const double there = (double)bytes_there(path, ".tmp") + (double)bytes_there(path, ".part") +
                         (double)bytes_there(path, ".journal");
    const double wanted = (double)need->result + (double)need->journal;
    const double room = free_bytes(path);
    if (room < 0 || wanted <= room + there) {
        return 0;
    }
    if (need->journal) {
        snprintf(parts, sizeof parts, " (result %s, journal %s)",
                 put_bytes(result, (double)need->result),
                 put_bytes(journal, (double)need->journal));
    }
    return fail(err, OTIMES_ERR_IO,
                "%s: disk space: expected up to %s%s, got %s free; --no-space-check starts all the "
                "same%s",
                path, put_bytes(all, wanted), parts, put_bytes(got, room + there),
                need->journal ? ", --no-resume keeps no journal" : "");
}
