/* SPDX-License-Identifier: MIT
 *
 * The process that reads. It ends without a word when it crashes, and leaves alone what it has in
 * common with the program: the output that is being written, text that waits to be written.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "fail.h"
#include "h5read.h"
#include "result_wire.h"

/* Of computing, for a block or for all that is no block. */
enum { SECONDS_LEAST = 5, BYTES_A_SECOND = 1 << 24 };

static void put(FILE *to, const void *data, size_t size)
{
    fwrite(data, 1, size, to);
}

static void put_text(FILE *to, const char *text)
{
    const int64_t length = text ? (int64_t)strlen(text) : -1;
    put(to, &length, sizeof length);
    if (length > 0) {
        put(to, text, (size_t)length);
    }
}

static int64_t axis_index(const otimes_reader *reader, const otimes_axis *axis)
{
    int64_t i = 0;
    while (reader->ops->axis(reader, i) != axis) {
        i++;
    }
    return i;
}

static void put_attr(FILE *to, const otimes_attr *attr)
{
    const wire_attr head = {.kind = attr->kind, .i64 = attr->i64, .f64 = attr->f64};
    put(to, &head, sizeof head);
    put_text(to, attr->name);
    put_text(to, attr->text);
}

static void put_axis(FILE *to, const otimes_axis *axis)
{
    const wire_axis head = {.length = axis->length,
                            .labels = axis->text     ? LABELS_TEXT
                                      : axis->number ? LABELS_NUMBER
                                                     : LABELS_NONE};
    put(to, &head, sizeof head);
    put_text(to, axis->name);
    put_text(to, axis->long_name);
    for (int64_t i = 0; axis->text && i < axis->length; i++) {
        put_text(to, axis->text[i]);
    }
    if (axis->number) {
        put(to, axis->number, (size_t)axis->length * sizeof *axis->number);
    }
}

static void put_array(FILE *to, const otimes_reader *reader, const otimes_array *array)
{
    wire_array head = {.type = array->type, .ndim = array->ndim};
    for (int d = 0; d < array->ndim; d++) {
        head.axis[d] = axis_index(reader, array->axis[d]);
    }
    put(to, &head, sizeof head);
    put_text(to, array->name);
    put_text(to, array->long_name);
    put_text(to, array->units);
    put_text(to, array->formula);
    put_text(to, array->orientation);
    put_text(to, array->labels_of);
}

static void put_all(FILE *to, const otimes_reader *reader)
{
    const otimes_reader_ops *ops = reader->ops;
    wire_counts n = {0, 0, 0};
    while (ops->attribute(reader, n.attrs)) {
        n.attrs++;
    }
    while (ops->axis(reader, n.axes)) {
        n.axes++;
    }
    while (ops->array(reader, n.arrays)) {
        n.arrays++;
    }
    put(to, &n, sizeof n);
    for (int64_t i = 0; i < n.attrs; i++) {
        put_attr(to, ops->attribute(reader, i));
    }
    for (int64_t i = 0; i < n.axes; i++) {
        put_axis(to, ops->axis(reader, i));
    }
    for (int64_t i = 0; i < n.arrays; i++) {
        put_array(to, reader, ops->array(reader, i));
    }
}

static void answer(FILE *to, const otimes_reader *reader, const wire_request *r)
{
    const otimes_type type = reader->ops->array(reader, r->index)->type;
    wire_answer said = {.rc = 0};
    void *data = calloc((size_t)r->entries + 1, otimes_type_size(type));
    said.rc = data ? reader->ops->read(reader, r->index, r->start, r->count, data, &said.err)
                   : fail_memory(&said.err, reader->name);
    put(to, &said, sizeof said);
    for (int64_t i = 0; !said.rc && type == OTIMES_TEXT && i < r->entries; i++) {
        put_text(to, ((const char *const *)data)[i]);
    }
    if (!said.rc && type != OTIMES_TEXT) {
        put(to, data, (size_t)r->entries * otimes_type_size(type));
    }
    free(data);
}

static void begin_work(const char *path)
{
    struct stat about;
    const off_t bytes = stat(path, &about) ? 0 : about.st_size;
    const struct itimerval most = {.it_value = {.tv_sec = SECONDS_LEAST + bytes / BYTES_A_SECOND}};
    setitimer(ITIMER_PROF, &most, NULL);
}

/* It dies of what HDF5 does and with the program, and of nothing that is meant for that. */
static void leave_program(void)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGPROF, SIGPIPE};
    static const int others[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    const struct rlimit none = {0, 0};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        signal(own[i], SIG_DFL);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        signal(others[i], SIG_IGN);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &none);
    const int nowhere = open("/dev/null", O_WRONLY); /* the C library speaks before it aborts */
    if (nowhere >= 0) {
        dup2(nowhere, STDERR_FILENO);
    }
}

void result_serve(const char *path, int socket)
{
    otimes_reader reader;
    wire_answer opened = {.rc = 0};
    wire_request request;
    FILE *from = fdopen(socket, "r"), *to = fdopen(dup(socket), "w");
    leave_program();
    if (!from || !to) {
        _exit(1);
    }
    begin_work(path);
    opened.rc = h5read_open(&reader, path, &opened.err);
    put(to, &opened, sizeof opened);
    if (!opened.rc) {
        put_all(to, &reader);
    }
    while (!fflush(to) && fread(&request, sizeof request, 1, from) == 1) {
        begin_work(path);
        answer(to, &reader, &request);
    }
    _exit(0);
}
