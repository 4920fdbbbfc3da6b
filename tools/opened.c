/* SPDX-License-Identifier: MIT
 *
 * The handler runs in whatever thread reads, and looks at the list without a lock: a slot is filled
 * once its model is whole, and emptied before it is released.
 */
#include "opened.h"

#include <assert.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fail.h"
#include "guard.h"

static const otimes_model *slots[OPENED_MAX];
static otimes_err changed; /* of one that is closed by now */
static const char *volatile opening;

static int mend(const void *address)
{
    for (int i = 0; i < OPENED_MAX; i++) {
        const otimes_model *model = __atomic_load_n(&slots[i], __ATOMIC_ACQUIRE);
        if (model && otimes_model_mend(model, address)) {
            return 1;
        }
    }
    return 0;
}

static void read_failed(int signal_number, siginfo_t *about, void *context)
{
    (void)context;
    if (about->si_code != BUS_ADRERR && about->si_code != BUS_OBJERR) { /* no read of a file */
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    } else if (!mend(about->si_addr)) {
        guard_fail(opening ? opening : "a file",
                   "cut short, or its disk failed, while it was read");
    }
}

void opened_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = read_failed;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &action, NULL);
}

int opened_open(otimes_model **model, const char *path, const otimes_model_settings *settings,
                otimes_err *err)
{
    opening = path;
    int slot = 0, rc = otimes_model_open(model, path, settings, err);
    opening = NULL;
    while (slot < OPENED_MAX && slots[slot]) {
        slot++;
    }
    assert(slot < OPENED_MAX);
    if (!rc) {
        __atomic_store_n(&slots[slot], *model, __ATOMIC_RELEASE);
    }
    return rc;
}

void opened_close(otimes_model **model)
{
    for (int i = 0; *model && i < OPENED_MAX; i++) {
        if (slots[i] == *model) {
            changed.code = changed.code ? changed.code : otimes_model_unchanged(*model, &changed);
            __atomic_store_n(&slots[i], NULL, __ATOMIC_RELEASE);
        }
    }
    otimes_model_close(model);
}

int opened_same(const char *a, const char *b)
{
    struct stat first, second;
    return !stat(a, &first) && !stat(b, &second) && S_ISREG(first.st_mode) &&
           first.st_ino == second.st_ino && first.st_dev == second.st_dev;
}

int opened_has(const char *path)
{
    const char *file;
    for (int i = 0; i < OPENED_MAX; i++) {
        for (int64_t k = 0; slots[i] && (file = otimes_model_file(slots[i], k)); k++) {
            if (opened_same(path, file)) {
                return 1;
            }
        }
    }
    return 0;
}

int opened_unchanged(otimes_err *err)
{
    int rc = changed.code ? fail(err, changed.code, "%s", changed.msg) : 0;
    for (int i = 0; !rc && i < OPENED_MAX; i++) {
        rc = slots[i] ? otimes_model_unchanged(slots[i], err) : 0;
    }
    return rc;
}

int opened_changed(void)
{
    static struct timespec last;
    static int found;
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double passed =
        (double)(now.tv_sec - last.tv_sec) + 1e-9 * (double)(now.tv_nsec - last.tv_nsec);
    if (!found && passed > 0.1) {
        last = now;
        found = opened_unchanged(NULL) != 0;
    }
    return found;
}
