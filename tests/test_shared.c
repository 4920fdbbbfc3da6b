/* SPDX-License-Identifier: MIT
 *
 * One model and one tokenizer used by several threads of the caller at once: each gets what it gets
 * alone.
 */
#include "support.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/bigram.h>
#include <otimes/forward.h>
#include <otimes/heads.h>
#include <otimes/tokenizer.h>

enum { CALLERS = 3, TOKENS = 7, TEXT = 4000 };

typedef struct caller {
    const otimes_model *model;
    const otimes_tokenizer *tokenizer;
    pthread_barrier_t *start; /* NULL: alone */
    int rc;
    otimes_err err;
    float *logits; /* [TOKENS, d_vocab_out] */
    otimes_memory_sink *bigram, *heads;
    otimes_encoding encoding;
} caller;

static int run_pass(caller *c)
{
    static const int64_t ids[TOKENS] = {3, 1, 4, 1, 5, 9, 2}, length = TOKENS;
    static const int64_t *const id = ids;
    const otimes_sequences texts = {1, &length, &id};
    otimes_forward *pass;
    int rc = otimes_forward_open(&pass, c->model, NULL, &c->err);
    if (rc == OTIMES_OK) {
        rc = otimes_forward_run(pass, &texts, NULL, &c->err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_forward_logits(pass, 0, TOKENS, c->logits, &c->err);
    }
    otimes_forward_close(&pass);
    return rc;
}

static int run_analyses(caller *c)
{
    otimes_bigram_settings bigram;
    otimes_heads_settings heads;
    otimes_bigram_settings_default(&bigram);
    otimes_heads_settings_default(&heads);
    bigram.full = OTIMES_BIGRAM_FULL_F32;
    const int rc = otimes_bigram(c->model, &bigram, otimes_memory_sink_sink(c->bigram), &c->err);
    return rc != OTIMES_OK
               ? rc
               : otimes_heads(c->model, &heads, otimes_memory_sink_sink(c->heads), &c->err);
}

static int encode(caller *c)
{
    char text[TEXT];
    for (int i = 0; i < TEXT; i++) {
        text[i] = "he the t"[i * i % 8];
    }
    return otimes_encode(c->tokenizer, text, TEXT, OTIMES_BOS_AS_TRAINED, &c->encoding, &c->err);
}

static void *call(void *context)
{
    caller *c = context;
    if (c->start) {
        pthread_barrier_wait(c->start);
    }
    c->rc = encode(c);
    c->rc = c->rc == OTIMES_OK ? run_pass(c) : c->rc;
    c->rc = c->rc == OTIMES_OK ? run_analyses(c) : c->rc;
    return NULL;
}

static void begin(caller *c, const otimes_model *model, const otimes_tokenizer *tokenizer,
                  pthread_barrier_t *start)
{
    const size_t count = (size_t)(TOKENS * otimes_model_describe(model)->d_vocab_out);
    *c = (caller){.model = model, .tokenizer = tokenizer, .start = start};
    c->logits = calloc(count, sizeof *c->logits);
    assert_non_null(c->logits);
    assert_ok(otimes_memory_sink_new(&c->bigram, &c->err), &c->err);
    assert_ok(otimes_memory_sink_new(&c->heads, &c->err), &c->err);
}

static void end(caller *c)
{
    free(c->logits);
    otimes_memory_sink_free(&c->bigram);
    otimes_memory_sink_free(&c->heads);
    otimes_encoding_free(&c->encoding);
}

static void same_array(const otimes_memory_sink *a, const otimes_memory_sink *b, const char *name)
{
    int64_t count, as_many;
    double *one = sink_values(a, name, &count), *other = sink_values(b, name, &as_many);
    assert_non_null(one);
    assert_non_null(other);
    assert_int_equal(count, as_many);
    assert_memory_equal(one, other, (size_t)count * sizeof *one);
    free(one);
    free(other);
}

static void as_alone(const caller *c, const caller *alone)
{
    const int64_t vocab = otimes_model_describe(c->model)->d_vocab_out;
    assert_ok(c->rc, &c->err);
    assert_int_equal(c->encoding.count, alone->encoding.count);
    assert_memory_equal(c->encoding.id, alone->encoding.id, (size_t)c->encoding.count * 8);
    assert_memory_equal(c->logits, alone->logits, (size_t)(TOKENS * vocab) * sizeof(float));
    same_array(c->bigram, alone->bigram, "table");
    same_array(c->heads, alone->heads, "OV_singular_values");
    same_array(c->heads, alone->heads, "QK_norm");
}

static void callers_share(const char *name)
{
    caller alone, together[CALLERS];
    pthread_t thread[CALLERS];
    pthread_barrier_t start;
    otimes_tokenizer *tokenizer;
    otimes_err err = {0};
    golden g;
    golden_open(&g, name, true);
    assert_ok(otimes_tokenizer_open(&tokenizer, source_path("tests/golden/llama"), &err), &err);
    assert_int_equal(pthread_barrier_init(&start, NULL, CALLERS), 0);
    for (int i = 0; i < CALLERS; i++) {
        begin(&together[i], g.model, tokenizer, &start);
        assert_int_equal(pthread_create(&thread[i], NULL, call, &together[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    begin(&alone, g.model, tokenizer, NULL);
    call(&alone);
    assert_ok(alone.rc, &alone.err);
    for (int i = 0; i < CALLERS; i++) {
        as_alone(&together[i], &alone);
        end(&together[i]);
    }
    end(&alone);
    pthread_barrier_destroy(&start);
    otimes_tokenizer_close(&tokenizer);
    golden_close(&g);
}

static void each_as_alone(void **state)
{
    static const char *const models[] = {"llama", "gpt2", "mixtral", "gemma2"};
    (void)state;
    otimes_set_blas_threads(1);
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        callers_share(models[m]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_as_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
