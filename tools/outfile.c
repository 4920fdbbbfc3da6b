/* SPDX-License-Identifier: MIT */
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"
#include "guard.h"

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
    /* Renaming would replace a write-protected file; its owner protected it for a reason. */
    if (access(path, W_OK)) {
        return fail_errno(err, path, "cannot be written");
    }
    return 0;
}

int outfile_begin(outfile *file, const char *path, int allow_device, otimes_err *err)
{
    int device, fd;
    memset(file, 0, sizeof *file);
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
    fd = open(file->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        rc = fail_errno(err, file->tmp, "cannot be created");
        free(file->tmp); /* not ours to remove */
        file->tmp = NULL;
        outfile_end(file);
        return rc;
    }
    close(fd);
    guard_output(file->tmp);
    return 0;
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

static void forget_tmp(outfile *file)
{
    guard_output(NULL);
    free(file->tmp);
    file->tmp = NULL;
}

int outfile_commit(outfile *file, otimes_err *err)
{
    if (!file->tmp) {
        return 0;
    }
    const int rc = bring_to_disk(file->tmp, err);
    if (rc) {
        return rc;
    }
    if (rename(file->tmp, file->path)) {
        return fail_errno(err, file->path, "cannot take this name");
    }
    forget_tmp(file);
    return 0;
}

int outfile_commit_other(outfile *file, const char *other, otimes_err *err)
{
    const int rc = bring_to_disk(other, err);
    if (rc) {
        return rc;
    }
    unlink(file->tmp);
    forget_tmp(file);
    return rename(other, file->path) ? fail_errno(err, file->path, "cannot take this name") : 0;
}

void outfile_end(outfile *file)
{
    if (file->tmp) {
        guard_output(NULL);
        unlink(file->tmp);
    }
    free(file->tmp);
    free(file->path);
    memset(file, 0, sizeof *file);
}
