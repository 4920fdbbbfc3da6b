/* SPDX-License-Identifier: MIT */
#include "oom.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* ---- the allocator of the tests ---- */

static int64_t allowed = INT64_MAX; /* allocations before the next failure */
static bool denied;                 /* whether one was */
static int64_t live;                /* blocks handed out and not given back */
static int64_t json_bytes, json_before, json_most, largest_block;

void *__real_otimes_alloc(int64_t count, size_t size);
void *__real_otimes_realloc(void *block, int64_t count, size_t size);
void __real_otimes_free(void *block);
void *__wrap_otimes_alloc(int64_t count, size_t size);
void *__wrap_otimes_realloc(void *block, int64_t count, size_t size);
void __wrap_otimes_free(void *block);

/* All calls run on one thread: what is allowed is then used up in the same order each time. After
 * the first denial there is nothing more, as when memory really ends. */
static bool take(void)
{
    denied = denied || allowed == 0;
    allowed -= allowed > 0;
    return !denied;
}

void *__wrap_otimes_alloc(int64_t count, size_t size)
{
    void *block = take() ? __real_otimes_alloc(count, size) : NULL;
    const int64_t bytes = count * (int64_t)size;
    live += block != NULL;
    largest_block = bytes > largest_block ? bytes : largest_block;
    return block;
}

void *__wrap_otimes_realloc(void *block, int64_t count, size_t size)
{
    void *grown = take() ? __real_otimes_realloc(block, count, size) : NULL;
    live += grown != NULL && block == NULL;
    return grown;
}

void __wrap_otimes_free(void *block)
{
    live -= block != NULL;
    __real_otimes_free(block);
}

enum { HEAD = 16 }; /* what malloc keeps of each block for itself */

static void *json_alloc(size_t size)
{
    void *block = malloc(size);
    live += block != NULL;
    json_bytes += (int64_t)malloc_usable_size(block) + HEAD;
    json_most = json_bytes > json_most ? json_bytes : json_most;
    return block;
}

static void json_release(void *block)
{
    json_bytes -= block ? (int64_t)malloc_usable_size(block) + HEAD : 0;
    live -= block != NULL;
    free(block);
}

/* ---- the loop ---- */

void oom_allow(int64_t allocations)
{
    allowed = allocations;
    denied = false;
}

void until_it_succeeds(const char *what, oom_call *run, void *context, int64_t at_least)
{
    int64_t granted = 0;
    for (;; granted++) {
        static otimes_err err;
        const int64_t before = live;
        memset(&err, 0, sizeof err);
        oom_allow(granted);
        const int rc = run(context, &err);
        const bool was_denied = denied;
        oom_allow(INT64_MAX);
        if (live != before) {
            fail_msg("%s, %d allocations allowed: %d blocks were left behind", what, (int)granted,
                     (int)(live - before));
        }
        if (rc == OTIMES_OK && !was_denied) {
            break;
        }
        if (rc != OTIMES_ERR_MEMORY || err.code != rc || err.msg[0] == '\0') {
            fail_msg("%s, %d allocations allowed: error %d, %d: '%s'", what, (int)granted, rc,
                     err.code, err.msg);
        }
    }
    if (granted < at_least) {
        fail_msg("%s: succeeded with %d allocations, expected at least %d", what, (int)granted,
                 (int)at_least);
    }
}

otimes_model *oom_golden(const char *name)
{
    char relative[128] = "tests/golden/";
    otimes_model *model;
    otimes_model_settings settings;
    otimes_err err = {0};
    otimes_model_settings_default(&settings);
    settings.threads = 1;
    strcat(relative, name);
    assert_ok(otimes_model_open(&model, source_path(relative), &settings, &err), &err);
    return model;
}

/* The sink's own memory is rationed with the rest. */
int oom_analyse(void *context, otimes_err *err)
{
    const oom_analysis *a = context;
    otimes_memory_sink *memory;
    int rc = otimes_memory_sink_new(&memory, err);
    if (rc == OTIMES_OK) {
        rc = a->run(a, otimes_memory_sink_sink(memory), err);
    }
    otimes_memory_sink_free(&memory);
    return rc;
}

int oom_end(void **state)
{
    (void)state;
    oom_allow(INT64_MAX);
    return 0;
}

void oom_count_json(void)
{
    json_set_alloc_funcs(json_alloc, json_release);
}

void oom_sizes(int64_t *json_peak, int64_t *largest)
{
    *json_peak = json_most - json_before;
    *largest = largest_block;
    json_most = json_before = json_bytes;
    largest_block = 0;
}
