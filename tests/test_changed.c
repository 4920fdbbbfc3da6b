/* SPDX-License-Identifier: MIT
 *
 * Weights whose file changes while the model is open: every call that reads them fails with the file's
 * name, none crashes, and a file that merely lost its name is read as before.
 */
#include "edited.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <otimes/heads.h>

#include "base/mem.h"
#include "base/par.h"
#include "model/model.h"

#define WEIGHTS "model.safetensors"

static const otimes_model *watched;

static void mend(int signal_number, siginfo_t *about, void *context)
{
    (void)context;
    if (!watched || !otimes_model_mend(watched, about->si_addr)) {
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
}

/* cmocka has handlers of its own in each test, until here. */
static otimes_model *open_watched(const char *golden_name)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = mend;
    action.sa_flags = SA_SIGINFO;
    assert_int_equal(sigaction(SIGBUS, &action, NULL), 0);
    write_edited(golden_name, NULL, NULL);
    otimes_model *model = opens();
    watched = model;
    return model;
}

static void close_watched(otimes_model *model)
{
    watched = NULL;
    otimes_model_close(&model);
}

/* ---- ways to change it ---- */

static void write_to(int flags, const char *text)
{
    const int fd = open(in_folder(WEIGHTS), O_WRONLY | flags);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void empty(void)
{
    assert_int_equal(truncate(in_folder(WEIGHTS), 0), 0);
}

static void cut(void)
{
    assert_int_equal(truncate(in_folder(WEIGHTS), 100), 0);
}

static void lengthen(void)
{
    write_to(O_APPEND, "more");
}

static void begin_anew(void)
{
    write_to(O_TRUNC, "what a training run begins to write");
}

static void date_back(void)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 86400}};
    assert_int_equal(utimensat(AT_FDCWD, in_folder(WEIGHTS), times, 0), 0);
}

/* ---- every way to read it ---- */

static int read_layer(const otimes_model *model, otimes_err *err)
{
    otimes_layer layer;
    const int rc = otimes_layer_load(model, 0, OTIMES_PART_ALL, &layer, err);
    otimes_layer_free(&layer);
    return rc;
}

static int read_embedding(const otimes_model *model, otimes_err *err)
{
    float *rows = calloc((size_t)otimes_model_describe(model)->d_model, sizeof *rows);
    const int rc = otimes_embed_rows(model, 0, 1, rows, err);
    free(rows);
    return rc;
}

static int read_unembedding(const otimes_model *model, otimes_err *err)
{
    otimes_unembed unembed;
    const int rc = otimes_unembed_open(model, &unembed, err);
    otimes_unembed_free(&unembed);
    return rc;
}

static int read_all(const otimes_model *model, otimes_err *err)
{
    char *text = NULL;
    const int rc = otimes_model_sha256(model, &text, err);
    otimes_text_release(&text);
    return rc;
}

static int analyse(const otimes_model *model, otimes_err *err)
{
    otimes_memory_sink *memory;
    otimes_heads_settings settings;
    otimes_heads_settings_default(&settings);
    assert_ok(otimes_memory_sink_new(&memory, err), err);
    const int rc = otimes_heads(model, &settings, otimes_memory_sink_sink(memory), err);
    otimes_memory_sink_free(&memory);
    return rc;
}

static int (*const readers[])(const otimes_model *, otimes_err *) = {
    read_layer, read_embedding, read_unembedding, read_all, analyse, otimes_model_unchanged};

static void each_call_fails(void **state)
{
    (void)state;
    void (*const changes[])(void) = {empty, cut, lengthen, begin_anew, date_back};
    for (size_t how = 0; how < COUNT(changes); how++) {
        for (size_t reader = 0; reader < COUNT(readers); reader++) {
            otimes_err err = {0};
            otimes_model *model = open_watched("gpt2");
            assert_ok(readers[reader](model, &err), &err);
            changes[how]();
            assert_int_equal(readers[reader](model, &err), OTIMES_ERR_IO);
            check_words(WEIGHTS ": changed while it was read: expected |, got ", err.msg,
                        "changed");
            assert_null(strchr(err.msg, '\n'));
            close_watched(model);
            empty_folder(NULL);
        }
    }
}

static void another_name_is_no_change(void **state)
{
    (void)state;
    otimes_err err = {0};
    otimes_model *model = open_watched("gpt2");
    write_file("new", "other", 5);
    char *new_name = strdup(in_folder("new"));
    assert_int_equal(rename(new_name, in_folder(WEIGHTS)), 0);
    free(new_name);
    for (size_t reader = 0; reader < COUNT(readers); reader++) {
        assert_ok(readers[reader](model, &err), &err);
    }
    close_watched(model);
}

/* ---- reads that the system fails ---- */

static int read_in_thread(void *context, int64_t item, int thread, otimes_err *err)
{
    const otimes_model *model = context;
    (void)thread;
    return readers[item % (int64_t)COUNT(readers)](model, err);
}

static void in_every_thread(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        otimes_err err = {0};
        otimes_model *model = open_watched("llama");
        empty();
        assert_int_equal(otimes_par_for(64, 8, read_in_thread, model, &err), OTIMES_ERR_IO);
        check_words(WEIGHTS ": changed while it was read", err.msg, "threads");
        close_watched(model);
        empty_folder(NULL);
    }
}

/* A disk that fails leaves size and time as they are. */
static void mended_is_no_read(void **state)
{
    (void)state;
    for (size_t reader = 0; reader < COUNT(readers); reader++) {
        otimes_err err = {0};
        otimes_model *model = open_watched("gpt2");
        const otimes_map *map = &model->store.files[0].map;
        assert_false(otimes_model_mend(model, map->data - 1));
        assert_false(otimes_model_mend(model, map->data + map->bytes));
        assert_ok(otimes_model_unchanged(model, &err), &err);
        assert_true(otimes_model_mend(model, map->data + map->bytes - 1));
        assert_int_equal(map->data[0], 0);
        assert_int_equal(readers[reader](model, &err), OTIMES_ERR_IO);
        check_words(WEIGHTS ": cannot be read: ", err.msg, "mended");
        close_watched(model);
        empty_folder(NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_call_fails, empty_folder),
        cmocka_unit_test_teardown(another_name_is_no_change, empty_folder),
        cmocka_unit_test_teardown(in_every_thread, empty_folder),
        cmocka_unit_test_teardown(mended_is_no_read, empty_folder),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
