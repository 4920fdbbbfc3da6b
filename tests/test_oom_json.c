/* SPDX-License-Identifier: MIT
 *
 * jansson has an allocator of its own: 0, 1, 2 ... of its allocations are let through until the
 * metadata of a file, which become JSON, are read. Each time before that the error is the lack of memory,
 * and nothing stays behind. (Of JSON texts jansson 2.14 itself asserts that its buffer can grow.)
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "format/open.h"

static int64_t left, live; /* allocations that succeed yet; blocks that are held */

static void *take(size_t size)
{
    void *block = left-- > 0 ? malloc(size) : NULL;
    live += block != NULL;
    return block;
}

static void give(void *block)
{
    live -= block != NULL;
    free(block);
}

/* Opens until it succeeds, at most `step` allocations later each time. */
static void until_it_opens(int (*open)(const char *path, otimes_err *err), const char *path,
                           int64_t step)
{
    json_malloc_t usual_take;
    json_free_t usual_give;
    json_get_alloc_funcs(&usual_take, &usual_give);
    json_set_alloc_funcs(take, give);
    int64_t allowed = 0, failures = 0;
    int rc = 1;
    while (rc) {
        otimes_err err = {0};
        left = allowed;
        rc = open(path, &err);
        if (rc && rc != OTIMES_ERR_MEMORY) {
            fail_msg("%s: after %lld allocations: %s", path, (long long)allowed, err.msg);
        }
        assert_int_equal(live, 0);
        failures += rc != 0;
        allowed += step;
    }
    json_set_alloc_funcs(usual_take, usual_give);
    assert_true(failures > 3);
}

static int open_model(const char *path, otimes_err *err)
{
    otimes_model *model = NULL;
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    const int rc = otimes_model_open(&model, path, &settings, err);
    otimes_model_close(&model);
    return rc;
}

static int open_file(const char *path, otimes_err *err)
{
    otimes_store store = {0};
    const int rc = otimes_store_open(&store, path, err);
    otimes_store_close(&store);
    return rc;
}

static void metadata(void **state)
{
    (void)state;
    until_it_opens(open_model, source_path("tests/data/gguf/llama/model.gguf"), 1);
}

static void unpickled(void **state)
{
    (void)state;
    until_it_opens(open_file, source_path("tests/data/torch/nested.pt"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata),
        cmocka_unit_test(unpickled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
