/* SPDX-License-Identifier: MIT
 *
 * ../shared/weights/tinystories656k beside Hugging Face transformers in float64: the text it goes on
 * with, and its logits (tests/golden/make_tinystories.py).
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/logits.h>

#include "format/json.h"
#include "format/open.h"

/* What transformers says. */
typedef struct story {
    json_t *json;
    int64_t prompt_length, length, every;
    int64_t *id; /* [length], the prompt first */
    const char *text;
} story;

static story read_story(void)
{
    otimes_err err = {0};
    story s = {NULL, 0, 0, 0, NULL, NULL};
    assert_ok(otimes_json_load(&s.json, source_path("tests/data/tinystories/story.json"), &err),
              &err);
    const json_t *ids = otimes_json_member(s.json, "ids");
    s.prompt_length = (int64_t)json_array_size(otimes_json_member(s.json, "prompt_ids"));
    s.length = (int64_t)json_array_size(ids);
    s.every = (int64_t)json_integer_value(otimes_json_member(s.json, "every"));
    s.text = json_string_value(otimes_json_member(s.json, "text"));
    s.id = calloc((size_t)s.length, sizeof *s.id);
    assert_non_null(s.id);
    for (int64_t i = 0; i < s.length; i++) {
        s.id[i] = (int64_t)json_integer_value(json_array_get(ids, (size_t)i));
    }
    return s;
}

static void free_story(story *s)
{
    json_decref(s->json);
    free(s->id);
}

static otimes_model *open_model(bool raw)
{
    otimes_err err = {0};
    otimes_model *model;
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    settings.fold_ln = settings.center_unembed = !raw;
    const char *path = shared_path("tinystories656k");
    if (!path) {
        print_message("skipped: ../shared/weights/tinystories656k is not here\n");
        skip();
    }
    assert_ok(otimes_model_open(&model, path, &settings, &err), &err);
    return model;
}

static otimes_memory_sink *run(const otimes_model *model, const otimes_logits_settings *settings)
{
    otimes_err err = {0};
    otimes_memory_sink *memory;
    assert_ok(otimes_memory_sink_new(&memory, &err), &err);
    assert_ok(otimes_logits(model, settings, otimes_memory_sink_sink(memory), &err), &err);
    return memory;
}

/* Every token greedily chosen, and the text they decode to behind BOS. */
static void the_same_story(void **state)
{
    (void)state;
    otimes_model *model = open_model(false);
    otimes_err err = {0};
    otimes_tokenizer *tokenizer;
    story s = read_story();
    const int64_t *const ids[] = {s.id};
    assert_ok(otimes_tokenizer_open(&tokenizer, shared_path("tinystories656k"), &err), &err);
    otimes_logits_settings settings;
    otimes_logits_settings_default(&settings);
    settings.sequences = (otimes_sequences){1, &s.prompt_length, ids};
    settings.generate.count = s.length - s.prompt_length;
    otimes_memory_sink *memory = run(model, &settings);
    int64_t count, bytes;
    double *got = sink_values(memory, "generated_id", &count);
    assert_int_equal(count, s.length - s.prompt_length);
    for (int64_t i = 0; i < count; i++) {
        if ((int64_t)got[i] != s.id[s.prompt_length + i]) {
            fail_msg("token %d: got %d, expected %d", (int)i, (int)got[i],
                     (int)s.id[s.prompt_length + i]);
        }
        s.id[s.prompt_length + i] = (int64_t)got[i];
    }
    char *text;
    assert_ok(otimes_decode(tokenizer, s.id + 1, s.length - 1, 1, &text, &bytes, &err), &err);
    assert_string_equal(text, s.text);
    otimes_text_release(&text);
    free(got);
    otimes_memory_sink_free(&memory);
    otimes_tokenizer_close(&tokenizer);
    free_story(&s);
    otimes_model_close(&model);
}

static void the_same_logits(void **state)
{
    (void)state;
    otimes_model *model = open_model(true);
    const int64_t vocab = otimes_model_describe(model)->d_vocab_out;
    otimes_err err = {0};
    story s = read_story();
    otimes_store store;
    const int64_t *const ids[] = {s.id};
    otimes_logits_settings settings;
    otimes_logits_settings_default(&settings);
    settings.sequences = (otimes_sequences){1, &s.length, ids};
    settings.full = 1;
    otimes_memory_sink *memory = run(model, &settings);
    assert_ok(
        otimes_store_open(&store, source_path("tests/data/tinystories/logits.safetensors"), &err),
        &err);
    const otimes_entry *entry = otimes_store_find(&store, "logits");
    assert_non_null(entry);
    const double *expected = (const void *)entry->data;
    int64_t count;
    double *got = sink_values(memory, "logits", &count);
    const int64_t rows = (s.length + s.every - 1) / s.every;
    assert_int_equal(entry->dim[0], rows);
    for (int64_t i = 0; i < rows; i++) {
        /* Two layers in float32: a few eps of the largest logit. */
        assert_close("logits", got + i * s.every * vocab, expected + i * vocab, vocab, 4e-6, 0);
    }
    free(got);
    otimes_store_close(&store);
    otimes_memory_sink_free(&memory);
    free_story(&s);
    otimes_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_story),
        cmocka_unit_test(the_same_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
