/* SPDX-License-Identifier: MIT */
#include "forked.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FAILED = 100 };

int forked(int (*body)(void *context, otimes_err *err), void *context, const int *count)
{
    int status;
    const pid_t child = fork();
    if (!child) {
        otimes_err err = {0};
        const int rc = body(context, &err);
        if (rc) {
            fprintf(stderr, "%s\n", err.msg);
        }
        _exit(rc ? FAILED : *count);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return -1;
    }
    assert_int_not_equal(WEXITSTATUS(status), FAILED);
    return WEXITSTATUS(status);
}
