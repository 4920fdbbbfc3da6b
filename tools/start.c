/* SPDX-License-Identifier: MIT
 *
 * What must be there before any library of the program begins: OpenBLAS takes memory for each processor
 * while it is loaded, and where it gets none it tries for ever.
 */
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __linux__

enum {
    BLOCK_MB = 128, /* the largest that OpenBLAS has for any x86-64 */
    OTHERS_MB = 4   /* for what other libraries take before it */
};

/* The C library has not begun either: its environment is not there, so it is searched here. */
static const char *variable(char **environment, const char *name)
{
    const size_t length = strlen(name);
    for (; *environment; environment++) {
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=') {
            return *environment + length + 1;
        }
    }
    return NULL;
}

static long number(const char *text)
{
    long value = 0;
    for (; *text >= '0' && *text <= '9' && value < 1000000; text++) {
        value = 10 * value + (*text - '0');
    }
    return value;
}

/* As OpenBLAS counts them. */
static long threads_of(char **environment)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    const long processors =
        syscall(SYS_sched_getaffinity, 0, sizeof cpus, &cpus) > 0 ? CPU_COUNT(&cpus) : 1;
    const char *text = variable(environment, "OPENBLAS_NUM_THREADS");
    text = text ? text : variable(environment, "OMP_NUM_THREADS");
    const long wanted = text ? number(text) : 0;
    return wanted > 0 && wanted < processors ? wanted : processors;
}

static void check_memory(int argc, char **argv, char **environment)
{
    static const char problem[] =
        "otimes: out of memory: OpenBLAS takes 128 MB of addresses for each processor when it is "
        "loaded; OPENBLAS_NUM_THREADS=1 takes less\n";
    const size_t bytes = ((size_t)threads_of(environment) * BLOCK_MB + OTHERS_MB) << 20;
    (void)argc, (void)argv;
    const long block = syscall(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
    if (block > 0) {
        syscall(SYS_munmap, block, bytes);
        return;
    }
    syscall(SYS_write, STDERR_FILENO, problem, sizeof problem - 1);
    syscall(SYS_exit_group, 1);
}

/* Called before the initialisers of shared libraries. */
__attribute__((section(".preinit_array"),
               used)) static void (*const before_all)(int, char **, char **) = check_memory;

#endif
