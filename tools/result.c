/* SPDX-License-Identifier: MIT
 *
 * The side of the program. What comes from the other process may be anything once that has gone wrong,
 * so it is held against the same bounds as the file itself.
 */
#include "result.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "fail.h"
#include "h5read.h"
#include "result_wire.h"

#define LABELS_MOST ((int64_t)1 << 25)
#define TEXT_BYTES ((size_t)512 << 20) /* of all that are no block, and of a block */

typedef struct result {
    const char *path;
    pid_t child;  /* 0: it has ended */
    int socket;   /* to it */
    FILE *answer; /* from it */
    int broken;   /* it ended, or said what it never says */
    int endless;  /* it was stopped */
    arena texts, block;
    wire_counts n;
    otimes_attr *attrs;
    otimes_axis *axes;
    otimes_array *arrays;
} result;

/* ---- what the other process says ---- */

/* What does not come stays as it was; where a part is lost nothing of it is used. */
static void get(result *self, void *to, size_t size)
{
    size_t got = 0;
    while (got < size && !self->broken) {
        errno = 0;
        got += fread((char *)to + got, 1, size - got, self->answer);
        self->broken = got < size && errno != EINTR;
        clearerr(self->answer);
    }
}

/* NULL for none, or where it is too long. */
static char *get_text(result *self, arena *room)
{
    int64_t length = -1;
    get(self, &length, sizeof length);
    if (self->broken || length == -1) {
        return NULL;
    }
    char *text =
        length >= 0 && length <= H5READ_TEXT_MOST ? arena_take(room, (size_t)length + 1) : NULL;
    if (!text) {
        self->broken = 1;
        return NULL;
    }
    get(self, text, (size_t)length);
    text[length] = '\0';
    return text;
}

/* A text that is never absent. */
static char *get_name(result *self, arena *room)
{
    char *text = get_text(self, room);
    self->broken = self->broken || !text;
    return text;
}

static int fail_damaged(result *self, otimes_err *err)
{
    int status;
    if (self->child > 0) {
        kill(self->child, SIGKILL); /* unless it has ended */
        while (waitpid(self->child, &status, 0) < 0 && errno == EINTR) {
        }
        self->endless = WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF;
        self->child = 0;
    }
    self->broken = 1;
    return fail(err, OTIMES_ERR_IO, "%s: damaged: the HDF5 library %s", self->path,
                self->endless ? "comes to no end on it" : "fails on it");
}

static int get_answer(result *self, otimes_err *err)
{
    wire_answer said = {0};
    get(self, &said, sizeof said);
    said.err.msg[sizeof said.err.msg - 1] = '\0';
    self->broken = self->broken || said.rc > OTIMES_OK || (said.rc && !said.err.msg[0]);
    return self->broken ? fail_damaged(self, err)
           : said.rc    ? fail(err, said.rc, "%s", said.err.msg)
                        : 0;
}

static void get_attr(result *self, otimes_attr *attr)
{
    wire_attr head = {0};
    get(self, &head, sizeof head);
    self->broken = self->broken || head.kind < OTIMES_ATTR_TEXT || head.kind > OTIMES_ATTR_F64;
    attr->name = get_name(self, &self->texts);
    attr->text = get_text(self, &self->texts);
    attr->i64 = head.i64;
    attr->f64 = head.f64;
    switch (head.kind) {
    case OTIMES_ATTR_I64:
        attr->kind = OTIMES_ATTR_I64;
        break;
    case OTIMES_ATTR_F64:
        attr->kind = OTIMES_ATTR_F64;
        break;
    default:
        attr->kind = OTIMES_ATTR_TEXT;
        self->broken = self->broken || !attr->text;
        break;
    }
}

static void get_axis(result *self, otimes_axis *axis)
{
    wire_axis head = {0};
    get(self, &head, sizeof head);
    self->broken = self->broken || head.length < 0 ||
                   (head.labels != LABELS_NONE && head.length > LABELS_MOST);
    axis->name = get_name(self, &self->texts);
    axis->long_name = get_text(self, &self->texts);
    axis->length = head.length;
    if (self->broken || head.labels == LABELS_NONE) {
        return;
    }
    const size_t size = (size_t)head.length * sizeof(int64_t);
    int64_t *number = head.labels == LABELS_NUMBER ? arena_take(&self->texts, size) : NULL;
    char **text = head.labels == LABELS_TEXT ? arena_take(&self->texts, size) : NULL;
    axis->number = number;
    axis->text = (const char *const *)text;
    self->broken = !number && !text;
    if (number) {
        get(self, number, size);
    }
    for (int64_t i = 0; text && i < head.length; i++) {
        text[i] = get_name(self, &self->texts);
    }
}

static void get_array(result *self, otimes_array *array)
{
    wire_array head = {0};
    get(self, &head, sizeof head);
    self->broken = self->broken || head.type < OTIMES_F32 || head.type > OTIMES_TEXT ||
                   head.ndim < 0 || head.ndim > OTIMES_MAX_DIMS;
    for (int64_t d = 0; !self->broken && d < head.ndim; d++) {
        self->broken = head.axis[d] < 0 || head.axis[d] >= self->n.axes;
        array->axis[d] = self->broken ? NULL : &self->axes[head.axis[d]];
    }
    array->type = (otimes_type)head.type;
    array->ndim = (int)head.ndim;
    array->name = get_name(self, &self->texts);
    array->long_name = get_text(self, &self->texts);
    array->units = get_text(self, &self->texts);
    array->formula = get_text(self, &self->texts);
    array->orientation = get_text(self, &self->texts);
    array->labels_of = get_text(self, &self->texts);
}

static int get_all(result *self, otimes_err *err)
{
    int rc = get_answer(self, err);
    if (rc) {
        return rc;
    }
    wire_counts n = {0, 0, 0};
    get(self, &n, sizeof n);
    if (self->broken || n.attrs < 0 || n.axes < 0 || n.arrays < 0 || n.attrs > H5READ_PARTS_MOST ||
        n.axes > H5READ_PARTS_MOST || n.arrays > H5READ_PARTS_MOST) {
        return fail_damaged(self, err);
    }
    self->n = n;
    self->attrs = calloc((size_t)n.attrs + 1, sizeof *self->attrs);
    self->axes = calloc((size_t)n.axes + 1, sizeof *self->axes);
    self->arrays = calloc((size_t)n.arrays + 1, sizeof *self->arrays);
    if (!self->attrs || !self->axes || !self->arrays) {
        return fail_memory(err, self->path);
    }
    for (int64_t i = 0; i < n.attrs && !self->broken; i++) {
        get_attr(self, &self->attrs[i]);
    }
    for (int64_t i = 0; i < n.axes && !self->broken; i++) {
        get_axis(self, &self->axes[i]);
    }
    for (int64_t i = 0; i < n.arrays && !self->broken; i++) {
        get_array(self, &self->arrays[i]);
    }
    return self->broken ? fail_damaged(self, err) : 0;
}

/* ---- the reader ---- */

static const otimes_array *array_at(const otimes_reader *reader, int64_t index)
{
    const result *self = reader->state;
    return index < self->n.arrays ? &self->arrays[index] : NULL;
}

static const otimes_axis *axis_at(const otimes_reader *reader, int64_t index)
{
    const result *self = reader->state;
    return index < self->n.axes ? &self->axes[index] : NULL;
}

static const otimes_attr *attr_at(const otimes_reader *reader, int64_t index)
{
    const result *self = reader->state;
    return index < self->n.attrs ? &self->attrs[index] : NULL;
}

static int read_block(const otimes_reader *reader, int64_t index, const int64_t *start,
                      const int64_t *count, void *data, otimes_err *err)
{
    result *self = (result *)reader->state; /* opened as such */
    const otimes_array *about = &self->arrays[index];
    wire_request request = {.index = index, .entries = 1};
    for (int d = 0; d < about->ndim; d++) {
        request.start[d] = start[d];
        request.count[d] = count[d];
        request.entries *= count[d];
    }
    if (self->broken ||
        send(self->socket, &request, sizeof request, MSG_NOSIGNAL) != (ssize_t)sizeof request) {
        return fail_damaged(self, err);
    }
    const int rc = get_answer(self, err);
    if (!rc && about->type == OTIMES_TEXT) {
        arena_free(&self->block);
        for (int64_t i = 0; i < request.entries; i++) {
            ((char **)data)[i] = get_text(self, &self->block);
        }
    } else if (!rc) {
        get(self, data, (size_t)request.entries * otimes_type_size(about->type));
    }
    return rc ? rc : self->broken ? fail_damaged(self, err) : 0;
}

static const otimes_reader_ops ops = {
    .array = array_at, .axis = axis_at, .attribute = attr_at, .read = read_block};

/* ---- the process ---- */

static int start(result *self, otimes_err *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
        return fail_errno(err, self->path, "no process can be started to read it");
    }
    self->child = fork();
    if (self->child == 0) {
        close(ends[0]);
        result_serve(self->path, ends[1]);
    }
    close(ends[1]);
    self->socket = ends[0];
    if (self->child < 0) {
        self->child = 0;
        return fail_errno(err, self->path, "no process can be started to read it");
    }
    self->answer = fdopen(dup(ends[0]), "r");
    return self->answer ? 0 : fail_errno(err, self->path, "cannot be read");
}

int result_open(otimes_reader *reader, const char *path, otimes_err *err)
{
    *reader = (otimes_reader){0};
    result *self = calloc(1, sizeof *self);
    if (!self) {
        return fail_memory(err, path);
    }
    self->path = path;
    self->socket = -1;
    self->texts.most = self->block.most = TEXT_BYTES;
    *reader = (otimes_reader){&ops, self, path};
    int rc = start(self, err);
    if (!rc) {
        rc = get_all(self, err);
    }
    if (rc) {
        result_close(reader);
    }
    return rc;
}

void result_close(otimes_reader *reader)
{
    result *self = (result *)reader->state;
    if (!self) {
        return;
    }
    if (self->child > 0) {
        kill(self->child, SIGKILL); /* it holds nothing that it would have to finish */
        while (waitpid(self->child, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    if (self->answer) {
        fclose(self->answer);
    }
    if (self->socket >= 0) {
        close(self->socket);
    }
    arena_free(&self->texts);
    arena_free(&self->block);
    free(self->attrs);
    free(self->axes);
    free(self->arrays);
    free(self);
    *reader = (otimes_reader){0};
}
