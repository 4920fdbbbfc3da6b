/* SPDX-License-Identifier: MIT
 *
 * What every analysis says of its progress: often, never less than before, all of it at the end. At
 * each word it can be stopped; it then returns OTIMES_ERR_CANCELLED and leaves no block behind.
 *
 * Linked with --wrap for otimes_alloc, otimes_realloc and otimes_free, which count blocks here.
 */
#include "support.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "every.h"
#include "lent.h"

/* ---- blocks ---- */

static atomic_llong live; /* handed out and not given back, by any thread */

void *__real_otimes_alloc(int64_t count, size_t size);
void *__real_otimes_realloc(void *block, int64_t count, size_t size);
void __real_otimes_free(void *block);
void *__wrap_otimes_alloc(int64_t count, size_t size);
void *__wrap_otimes_realloc(void *block, int64_t count, size_t size);
void __wrap_otimes_free(void *block);

void *__wrap_otimes_alloc(int64_t count, size_t size)
{
    void *block = __real_otimes_alloc(count, size);
    live += block != NULL;
    return block;
}

void *__wrap_otimes_realloc(void *block, int64_t count, size_t size)
{
    void *grown = __real_otimes_realloc(block, count, size);
    live += grown != NULL && block == NULL;
    return grown;
}

void __wrap_otimes_free(void *block)
{
    live -= block != NULL;
    __real_otimes_free(block);
}

/* ---- a sink that listens ---- */

typedef struct listener {
    otimes_sink sink;
    int64_t heard, most; /* words, and how many it takes before it says stop; -1: all */
    int64_t steps;       /* words that said more than the one before */
    double done, total;
    int ids;
} listener;

static int take_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    (void)sink, (void)attr, (void)err;
    return 0;
}

static int take_array(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    (void)array, (void)err;
    *id = ((listener *)sink->state)->ids++;
    return 0;
}

static int take_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                      const void *data, otimes_err *err)
{
    (void)sink, (void)id, (void)start, (void)count, (void)data, (void)err;
    return 0;
}

static int hear(otimes_sink *sink, double done, double total)
{
    listener *l = sink->state;
    assert_true(total > 0);
    assert_true(done >= 0 && done <= total);
    assert_true(l->heard == 0 || total == l->total);
    assert_true(l->heard == 0 || done >= l->done);
    l->steps += l->heard == 0 || done > l->done;
    l->done = done;
    l->total = total;
    return ++l->heard == l->most;
}

static int take_end(otimes_sink *sink, otimes_err *err)
{
    (void)sink, (void)err;
    return 0;
}

static const otimes_sink_ops ops = {.attribute = take_attribute,
                                    .declare = take_array,
                                    .write = take_block,
                                    .progress = hear,
                                    .finish = take_end};

/* ---- analyses ---- */

/* Fewest words of each that runs for a while, and fewest of them that say more. */
static const struct {
    const char *name;
    int64_t words, steps;
} all[] = {
    {"ablate", 10, 5},
    {"activations", 4, 3},
    {"bigram", 2, 1},
    {"bigram, rows", 2, 1},
    {"circuit", 9, 7},
    {"compare", 10, 3},
    {"compare, vocabulary", 14, 3},
    {"compose", 2, 1},
    {"decompose", 20, 7},
    {"heads", 4, 4},
    {"logits", 8, 5},
    {"logits, continued", 4, 3},
    {"neurons", 14, 13},
    {"orders", 50, 30},
    {"paths", 150, 5},
    {"paths, MLPs", 500, 6},
    {"patterns", 6, 6},
    {"qk", 14, 13},
    {"roles", 14, 12},
    {"trigrams", 6, 6},
    {"virtual", 12, 10},
};

static run_analysis *find(const char *name)
{
    int i = 0;
    while (strcmp(every_analysis[i].name, name) != 0) {
        i++;
        assert_non_null(every_analysis[i].name);
    }
    return every_analysis[i].run;
}

static int analyse(size_t i, const otimes_model *model, int64_t most, listener *l)
{
    otimes_err err = {0};
    *l = (listener){.sink = {&ops, l}, .most = most};
    const long long before = live;
    const int rc = find(all[i].name)(model, &l->sink, &err);
    if (live != before) {
        fail_msg("%s, stopped at word %lld: %lld blocks left", all[i].name, (long long)most,
                 live - before);
    }
    if (rc != OTIMES_OK && rc != OTIMES_ERR_CANCELLED) {
        fail_msg("%s: %s", all[i].name, err.msg);
    }
    assert_int_equal(rc == OTIMES_OK ? OTIMES_OK : err.code, rc);
    return rc;
}

static void said(void **state)
{
    golden g;
    (void)state;
    golden_open(&g, "gpt_neo", true);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        listener l;
        assert_int_equal(analyse(i, g.model, -1, &l), OTIMES_OK);
        if (l.heard < all[i].words || l.steps < all[i].steps || l.done != l.total) {
            fail_msg("%s: expected at least %lld words, %lld of them more, and all at the end, got "
                     "%lld, %lld and %g of %g",
                     all[i].name, (long long)all[i].words, (long long)all[i].steps,
                     (long long)l.heard, (long long)l.steps, l.done, l.total);
        }
    }
    golden_close(&g);
}

/* At each word where there are few, else at some. */
static void stopped(void **state)
{
    enum { STOPS = 40 };
    golden g;
    (void)state;
    golden_open(&g, "gpt_neo", true);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        listener whole, l;
        assert_int_equal(analyse(i, g.model, -1, &whole), OTIMES_OK);
        const int64_t step = whole.heard / STOPS + 1;
        for (int64_t k = 1; k <= whole.heard; k += step) {
            assert_int_equal(analyse(i, g.model, k, &l), OTIMES_ERR_CANCELLED);
            assert_int_equal(l.heard, k); /* and nothing is said any more */
        }
        assert_int_equal(analyse(i, g.model, whole.heard, &l), OTIMES_ERR_CANCELLED);
    }
    golden_close(&g);
}

/* ---- the digest of the weights ---- */

static int digest(const otimes_model *model, int64_t most, listener *l, otimes_err *err)
{
    char *text = NULL, *plain = NULL;
    otimes_err other = {0};
    *l = (listener){.sink = {&ops, l}, .most = most};
    const long long before = live;
    const int rc = otimes_model_sha256_watched(model, &l->sink, &text, err);
    if (rc == OTIMES_OK) {
        assert_ok(otimes_model_sha256(model, &plain, &other), &other);
        assert_string_equal(text, plain);
    } else {
        assert_null(text);
    }
    otimes_text_release(&text);
    otimes_text_release(&plain);
    assert_true(live == before);
    return rc;
}

static void digest_stopped(const otimes_model *model, int64_t words)
{
    otimes_err err = {0};
    listener whole, l;
    assert_ok(digest(model, -1, &whole, &err), &err);
    assert_true(whole.heard >= words && whole.done == whole.total);
    for (int64_t k = 1; k <= whole.heard; k++) {
        assert_int_equal(digest(model, k, &l, &err), OTIMES_ERR_CANCELLED);
        assert_int_equal(l.heard, k);
    }
}

/* Of files, and of memory with tensors of several MB. */
static void digests(void **state)
{
    static const int64_t vocab = 300000;
    golden g;
    lent l;
    otimes_model *model;
    otimes_model_settings settings;
    otimes_err err = {0};
    (void)state;
    golden_open(&g, "llama_sharded", true);
    digest_stopped(g.model, 2);
    golden_close(&g);
    golden_open(&g, "gpt2", true);
    lent_make(&l, g.model, LAY_ROWS);
    golden_close(&g);
    l.source.token = l.source.output_token = NULL;
    otimes_memory_tensor *W_E = lent_find(&l, "transformer.wte.weight");
    float *rows = calloc((size_t)(vocab * W_E->dim[1]), sizeof *rows);
    assert_non_null(rows);
    W_E->dim[0] = vocab;
    W_E->data = rows;
    W_E->bytes = vocab * W_E->dim[1] * (int64_t)sizeof *rows;
    json_t *config = json_loads(l.source.config, 0, NULL);
    assert_non_null(config);
    json_object_set_new(config, "vocab_size", json_integer(vocab));
    free((char *)l.source.config);
    l.source.config = json_dumps(config, 0);
    json_decref(config);
    otimes_model_settings_default(&settings);
    assert_ok(otimes_model_open_memory(&model, &l.source, &settings, &err), &err);
    digest_stopped(model, 4);
    otimes_model_close(&model);
    free(rows);
    lent_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(said),
        cmocka_unit_test(stopped),
        cmocka_unit_test(digests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
