/* SPDX-License-Identifier: MIT
 *
 * A result that another process reads (result_wire.h), where that process says anything. The input
 * is steps: a byte that says what follows, and of texts their length and bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "parts.h"
#include "result.h"
#include "result_wire.h"
#include "results.h"

enum { MOST_SAID = 1 << 16, CHILD = 1 << 20, SOCKET = 1 << 28 };

static unsigned char *said;
static size_t said_bytes;

static void say(const void *data, size_t bytes)
{
    if (bytes <= MOST_SAID - said_bytes) {
        memcpy(said + said_bytes, data, bytes);
        said_bytes += bytes;
    }
}

static void say_number(int64_t number)
{
    say(&number, sizeof number);
}

static void say_answer(int rc)
{
    wire_answer answer = {.rc = rc};
    answer.err.code = rc;
    memset(answer.err.msg, rc ? 'e' : 0, sizeof answer.err.msg); /* without an end */
    say(&answer, sizeof answer);
}

static void say_all(const uint8_t *data, size_t size)
{
    say_answer(0);
    while (size > 0) {
        const unsigned what = *data;
        const size_t left = size - 1, length = left > 0 && data[1] < left ? data[1] : 0;
        size_t used = 1;
        switch (what % 8) {
        case 0: /* a small number */
            say_number(left ? (int64_t)data[1] - 1 : -1);
            used += left > 0;
            break;
        case 1: /* a text */
        case 2:
            say_number((int64_t)length);
            say(data + 2, length);
            used += left > 0 ? 1 + length : 0;
            break;
        case 3: /* any number */
            say(data + 1, left < 8 ? left : 8);
            used += left < 8 ? left : 8;
            break;
        case 4:
            say_number(-1);
            break;
        case 5:
            say_answer(0);
            break;
        case 6:
            say_answer(-1 - (int)(what / 8 % 8));
            break;
        default: /* a byte, after which nothing lies where it should */
            say(data, 1);
            break;
        }
        data += used;
        size -= used;
    }
}

/* ---- the system's place: no process, no socket, so nothing to close ---- */

int __wrap_socketpair(int domain, int type, int protocol, int ends[2]);
pid_t __wrap_fork(void);
int __wrap_dup(int descriptor);
FILE *__wrap_fdopen(int descriptor, const char *mode);
ssize_t __wrap_send(int descriptor, const void *data, size_t bytes, int flags);
int __wrap_kill(pid_t process, int signal);
pid_t __wrap_waitpid(pid_t process, int *status, int options);

static int child_lives;

int __wrap_socketpair(int domain, int type, int protocol, int ends[2])
{
    (void)domain, (void)type, (void)protocol;
    ends[0] = SOCKET;
    ends[1] = SOCKET + 1;
    return 0;
}

pid_t __wrap_fork(void)
{
    child_lives = 1;
    return CHILD;
}

int __wrap_dup(int descriptor)
{
    return descriptor;
}

FILE *__wrap_fdopen(int descriptor, const char *mode)
{
    FUZZ_REQUIRE(descriptor == SOCKET);
    return fmemopen(said, said_bytes, mode);
}

ssize_t __wrap_send(int descriptor, const void *data, size_t bytes, int flags)
{
    (void)data;
    FUZZ_REQUIRE(descriptor == SOCKET && flags == MSG_NOSIGNAL);
    return (ssize_t)bytes;
}

int __wrap_kill(pid_t process, int signal)
{
    (void)signal;
    FUZZ_REQUIRE(process == CHILD && child_lives);
    return 0;
}

pid_t __wrap_waitpid(pid_t process, int *status, int options)
{
    (void)options;
    FUZZ_REQUIRE(process == CHILD && child_lives);
    child_lives = 0;
    if (status) {
        *status = 0;
    }
    return process;
}

void result_serve(const char *path, int socket)
{
    (void)path, (void)socket;
    fuzz_fail("the process that reads was begun in the program's own");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    otimes_reader reader;
    otimes_err err = {0};
    said = malloc(MOST_SAID);
    FUZZ_REQUIRE(said);
    said_bytes = 0;
    say_all(data, size);
    const int rc = result_open(&reader, "x.h5", &err);
    FUZZ_REQUIRE(rc == 0 || (err.code == rc && err.msg[0]));
    if (rc == 0) {
        fuzz_read_result(&reader);
    }
    result_close(&reader);
    FUZZ_REQUIRE(!child_lives);
    free(said);
    return 0;
}
