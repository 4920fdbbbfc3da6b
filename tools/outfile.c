/* SPDX-License-Identifier: MIT */
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"
#include "guard.h"
#include "opened.h"

static char *join(const char *a, const char *b)
{
    const size_t size = strlen(a) + strlen(b) + 1;
    char *text = malloc(size);
    if (text) {
        snprintf(text, size, "%s%s", a, b);
    }
    return text;
}

/* Sets *device when path exists and is neither file nor folder. */
static int check_name(const char *path, int allow_device, int *device, otimes_err *err)
{
    struct stat about;
    *device = 0;
    if (!*path) {
        return fail(err, OTIMES_ERR_IO, "output: expected a file name, got an empty one");
    }
    if (stat(path, &about)) {
        if (errno != ENOENT) {
            return fail_errno(err, path, "cannot be written");
        }
        return 0;
    }
    if (S_ISDIR(about.st_mode)) {
        return fail(err, OTIMES_ERR_IO, "%s: expected a file to write, got a directory", path);
    }
    *device = !S_ISREG(about.st_mode);
    if (*device && !allow_device) {
        return fail(err, OTIMES_ERR_IO, "%s: expected a regular file, got a device or pipe", path);
    }
    if (opened_has(path)) {
        return fail(err, OTIMES_ERR_IO, "%s: expected another file than the model's own", path);
    }
    /* Renaming would replace a write-protected file; its owner protected it for a reason. */
    if (access(path, W_OK)) {
        return fail_errno(err, path, "cannot be written");
    }
    return 0;
}

/* Whether .tmp is still the file that this run made. */
static int is_own(const outfile *file)
{
    struct stat own, named;
    return !fstat(file->own, &own) && !lstat(file->tmp, &named) && own.st_ino == named.st_ino &&
           own.st_dev == named.st_dev;
}

static int fail_in_use(const outfile *file, otimes_err *err)
{
    return fail(err, OTIMES_ERR_IO, "%s: another run is writing this output", file->tmp);
}

/* What a killed run has left is replaced; what is locked is another run's. File systems without locks
 * do without: there is_own tells in the end. */
static int remove_left(const outfile *file, otimes_err *err)
{
    struct stat about;
    const int fd = open(file->tmp, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? 0 : fail_errno(err, file->tmp, "cannot be created");
    }
    const int regular = !fstat(fd, &about) && S_ISREG(about.st_mode);
    const int in_use = flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    close(fd);
    if (!regular) {
        return fail(err, OTIMES_ERR_IO, "%s: expected a file or none, got a device or pipe",
                    file->tmp);
    }
    return in_use ? fail_in_use(file, err) : 0;
}

/* A file of its own, never the one that another run may have open. */
static int create_own(outfile *file, otimes_err *err)
{
    const int rc = remove_left(file, err);
    if (rc) {
        return rc;
    }
    unlink(file->tmp);
    file->own = open(file->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file->own < 0) {
        return errno == EEXIST ? fail_in_use(file, err)
                               : fail_errno(err, file->tmp, "cannot be created");
    }
    flock(file->own, LOCK_EX | LOCK_NB);
    return 0;
}

int outfile_begin(outfile *file, const char *path, int allow_device, otimes_err *err)
{
    int device;
    *file = (outfile){.own = -1};
    int rc = check_name(path, allow_device, &device, err);
    if (rc) {
        return rc;
    }
    file->path = join(path, "");
    if (!file->path) {
        return fail_memory(err, path);
    }
    if (device) {
        return 0;
    }
    file->tmp = join(path, ".tmp");
    if (!file->tmp) {
        outfile_end(file);
        return fail_memory(err, path);
    }
    rc = create_own(file, err);
    if (rc) {
        free(file->tmp); /* not ours to remove */
        file->tmp = NULL;
        outfile_end(file);
        return rc;
    }
    guard_output(file->tmp);
    return 0;
}

void outfile_unlock(const outfile *file)
{
    if (file->tmp) {
        flock(file->own, LOCK_UN);
    }
}

const char *outfile_name(const outfile *file)
{
    return file->tmp ? file->tmp : file->path;
}

static int bring_to_disk(const char *path, otimes_err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(err, path, "cannot be opened again");
    }
    int failed = fsync(fd);
    /* Some file systems know no fsync; that is not this file's failure. */
    if (failed && (errno == EINVAL || errno == ENOTSUP)) {
        failed = 0;
    }
    if (failed) {
        failed = fail_errno(err, path, "cannot be brought to disk");
    }
    close(fd);
    return failed;
}

/* Closed, it is no longer ours. */
static void forget_tmp(outfile *file)
{
    guard_output(NULL);
    close(file->own);
    free(file->tmp);
    file->tmp = NULL;
}

/* Brings `from` to disk and gives it the final name. */
static int take_name(outfile *file, const char *from, otimes_err *err)
{
    flock(file->own, LOCK_EX | LOCK_NB);
    int rc = bring_to_disk(from, err);
    if (!rc) {
        rc = opened_unchanged(err);
    }
    if (!rc && !is_own(file)) {
        rc = fail_in_use(file, err);
    }
    return !rc && rename(from, file->path) ? fail_errno(err, file->path, "cannot take this name")
                                           : rc;
}

int outfile_commit(outfile *file, otimes_err *err)
{
    const int rc = file->tmp ? take_name(file, file->tmp, err) : 0;
    if (!rc && file->tmp) {
        forget_tmp(file);
    }
    return rc;
}

int outfile_commit_other(outfile *file, const char *other, otimes_err *err)
{
    const int rc = take_name(file, other, err);
    if (!rc) {
        unlink(file->tmp);
        forget_tmp(file);
    }
    return rc;
}

void outfile_end(outfile *file)
{
    if (file->tmp) {
        if (is_own(file)) {
            unlink(file->tmp);
        }
        forget_tmp(file);
    }
    free(file->path);
    memset(file, 0, sizeof *file);
}
