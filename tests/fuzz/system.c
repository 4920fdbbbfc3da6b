/* SPDX-License-Identifier: MIT
 *
 * The system as the library sees it during an execution, put in its place by the linker: a folder of
 * files in memory. A file is its input's own bytes, so a read beyond its end is one beyond an
 * allocation; and an execution costs no call of the system's.
 *
 * The names that end in 64 are what the C library makes of the plain ones for large files.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system.h"

enum { MOST_FILES = 16, FIRST_DESCRIPTOR = 1 << 20 };

static struct {
    const char *name;
    const unsigned char *data;
    size_t bytes;
    int opened, mapped;
} files[MOST_FILES];

static int file_count;
static bool running;

int __real_access(const char *path, int mode);
int __real_close(int fd);
int __real_fstat64(int fd, struct stat *st);
int __real_madvise(void *data, size_t bytes, int advice);
void *__real_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *data, size_t bytes);
int __real_open64(const char *path, int flags, ...);
DIR *__real_opendir(const char *path);
int __real_stat64(const char *path, struct stat *st);

int __wrap_access(const char *path, int mode);
int __wrap_close(int fd);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_madvise(void *data, size_t bytes, int advice);
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *data, size_t bytes);
int __wrap_open64(const char *path, int flags, ...);
DIR *__wrap_opendir(const char *path);
int __wrap_stat64(const char *path, struct stat *st);

void fuzz_file(const char *name, const void *data, size_t bytes)
{
    if (file_count == MOST_FILES) {
        fuzz_fail("more than %d files", MOST_FILES);
    }
    files[file_count].name = name;
    files[file_count].data = data;
    files[file_count++].bytes = bytes;
}

void fuzz_system_begin(void)
{
    file_count = 0;
    memset(files, 0, sizeof files);
    running = true;
}

void fuzz_system_end(void)
{
    running = false;
    for (int i = 0; i < file_count; i++) {
        if (files[i].opened != 0 || files[i].mapped != 0) {
            fuzz_fail("%s: left open %d times, mapped %d times", files[i].name, files[i].opened,
                      files[i].mapped);
        }
    }
}

/* Number of the file, -1 when the folder has none of that name; other paths are no one's business. */
static int find(const char *path)
{
    const size_t folder = sizeof FUZZ_FOLDER - 1;
    const char *name = path + folder + 1;
    if (strncmp(path, FUZZ_FOLDER "/", folder + 1) != 0 || strchr(name, '/') ||
        strcmp(name, "..") == 0) {
        fuzz_fail("%s: a path outside of the folder", path);
    }
    for (int i = 0; i < file_count; i++) {
        if (strcmp(files[i].name, name) == 0) {
            return i;
        }
    }
    errno = ENOENT;
    return -1;
}

static bool is_ours(int fd)
{
    return fd >= FIRST_DESCRIPTOR && fd < FIRST_DESCRIPTOR + file_count;
}

static int find_data(const void *data)
{
    for (int i = 0; i < file_count; i++) {
        if (files[i].mapped > 0 && files[i].data == data) {
            return i;
        }
    }
    return -1;
}

static int describe(int file, struct stat *st)
{
    if (file < 0) {
        return -1;
    }
    *st = (struct stat){.st_mode = S_IFREG | 0444, .st_size = (off_t)files[file].bytes};
    st->st_ino = (ino_t)file + 1;
    return 0;
}

int __wrap_access(const char *path, int mode)
{
    if (!running) {
        return __real_access(path, mode);
    }
    return find(path) < 0 ? -1 : 0;
}

int __wrap_stat64(const char *path, struct stat *st)
{
    if (!running) {
        return __real_stat64(path, st);
    }
    if (strcmp(path, FUZZ_FOLDER) == 0) {
        *st = (struct stat){.st_mode = S_IFDIR | 0555};
        return 0;
    }
    return describe(find(path), st);
}

/* The library makes no files, so the mode is never given. */
int __wrap_open64(const char *path, int flags, ...)
{
    if (!running) {
        return __real_open64(path, flags);
    }
    if ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0) {
        fuzz_fail("%s: opened to be written", path);
    }
    const int file = find(path);
    if (file < 0) {
        return -1;
    }
    files[file].opened++;
    return FIRST_DESCRIPTOR + file;
}

int __wrap_fstat64(int fd, struct stat *st)
{
    return is_ours(fd) ? describe(fd - FIRST_DESCRIPTOR, st) : __real_fstat64(fd, st);
}

int __wrap_close(int fd)
{
    if (!is_ours(fd)) {
        return __real_close(fd);
    }
    files[fd - FIRST_DESCRIPTOR].opened--;
    return 0;
}

void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (!is_ours(fd)) {
        return __real_mmap64(at, bytes, protection, flags, fd, offset);
    }
    files[fd - FIRST_DESCRIPTOR].mapped++;
    return (void *)files[fd - FIRST_DESCRIPTOR].data;
}

int __wrap_munmap(void *data, size_t bytes)
{
    const int file = find_data(data);
    if (file < 0) {
        return __real_munmap(data, bytes);
    }
    files[file].mapped--;
    return 0;
}

/* Advice on pages that are no map's would throw their content away. */
int __wrap_madvise(void *data, size_t bytes, int advice)
{
    return running ? 0 : __real_madvise(data, bytes, advice);
}

DIR *__wrap_opendir(const char *path)
{
    if (!running) {
        return __real_opendir(path);
    }
    errno = EACCES;
    return NULL;
}
