/* SPDX-License-Identifier: MIT
 *
 * Settings that contradict themselves or the model: refused before anything is computed, in words
 * that name the setting. Each analysis' own test has those that need more than one field.
 */
#include "support.h"

#include <math.h>
#include <string.h>

#include <otimes/ablate.h>
#include <otimes/bigram.h>
#include <otimes/compose.h>
#include <otimes/decompose.h>
#include <otimes/heads.h>
#include <otimes/paths.h>
#include <otimes/patterns.h>
#include <otimes/qk.h>
#include <otimes/roles.h>
#include <otimes/trigrams.h>

static const int64_t ids[] = {1, 2, 3, 4}, length = 4;
static const int64_t *const id = ids;
static const otimes_sequences text = {1, &length, &id};

/* Runs `analysis` on a golden with the settings as they stand. */
#define REFUSED(analysis, golden_name, settings, why)                                           \
    do {                                                                                        \
        golden g_;                                                                              \
        otimes_err err_ = {0};                                                                  \
        otimes_memory_sink *memory_ = NULL;                                                     \
        golden_open(&g_, golden_name, true);                                                    \
        assert_ok(otimes_memory_sink_new(&memory_, &err_), &err_);                              \
        assert_int_equal(analysis(g_.model, settings, otimes_memory_sink_sink(memory_), &err_), \
                         OTIMES_ERR_ARGUMENT);                                                  \
        if (!strstr(err_.msg, why)) {                                                           \
            fail_msg("%s: expected '%s', got '%s'", #analysis, why, err_.msg);                  \
        }                                                                                       \
        otimes_memory_sink_free(&memory_);                                                      \
        golden_close(&g_);                                                                      \
    } while (0)

static void ablate(void **state)
{
    static const otimes_ablate_set none = {0};
    otimes_ablate_settings s;
    (void)state;
    otimes_ablate_settings_default(&s);
    s.sequences = text;
    s.method = (otimes_ablate_method)7;
    REFUSED(otimes_ablate, "gpt2", &s, "method: expected zero, mean");
    otimes_ablate_settings_default(&s);
    s.sequences = text;
    s.sets = &none;
    s.set_count = 1;
    REFUSED(otimes_ablate, "gpt2", &s, "set 0: expected members, got none");
}

static void bigram(void **state)
{
    otimes_bigram_settings s;
    (void)state;
    otimes_bigram_settings_default(&s);
    s.exact = 1;
    s.position = 1 << 20;
    REFUSED(otimes_bigram, "gpt2", &s, "position: expected 0 to");
}

static void compose(void **state)
{
    otimes_compose_settings s;
    (void)state;
    otimes_compose_settings_default(&s);
    s.memory = -1;
    REFUSED(otimes_compose, "gpt2", &s, "memory: expected at least 0 bytes, got -1");
    otimes_compose_settings_default(&s);
    s.offsets = ids;
    REFUSED(otimes_compose, "llama", &s, "offsets: expected a list of them");
}

static void decompose(void **state)
{
    otimes_decompose_settings s;
    (void)state;
    otimes_decompose_settings_default(&s);
    s.sequences = text;
    s.forward.memory = -1;
    REFUSED(otimes_decompose, "gpt2", &s, "memory: expected at least 0, got -1");
    s.forward.memory = 0;
    s.forward.chunk_rows = -2;
    REFUSED(otimes_decompose, "gpt2", &s, "chunk_rows: expected at least 0, got -2");
    s.forward.chunk_rows = 0;
    s.positions = ids;
    REFUSED(otimes_decompose, "gpt2", &s, "positions: expected at least one, got none");
    s.positions = NULL;
    s.target = ids;
    REFUSED(otimes_decompose, "gpt2", &s, "target: expected at least one, got none");
    s.target = NULL;
    s.against = ids;
    REFUSED(otimes_decompose, "gpt2", &s, "against: expected targets, got none");
    s.against = NULL;
    s.parts = (otimes_decompose_parts)9;
    REFUSED(otimes_decompose, "gpt2", &s, "parts: expected 0 to 3, got 9");
}

static void heads(void **state)
{
    otimes_heads_settings s;
    (void)state;
    otimes_heads_settings_default(&s);
    s.offset_count = 2;
    REFUSED(otimes_heads, "llama", &s, "offsets: expected a list of them");
    s.offset_count = 0;
    s.components = -1;
    REFUSED(otimes_heads, "llama", &s, "top, components: expected at least 0");
    s.components = 0;
    s.tokens = ids;
    s.token_count = -3;
    REFUSED(otimes_heads, "llama", &s, "tokens: expected a count of at least 0, got -3");
}

static void paths(void **state)
{
    otimes_paths_settings s;
    (void)state;
    otimes_paths_settings_default(&s);
    s.sequences = text;
    s.seconds = NAN;
    REFUSED(otimes_paths, "gpt2", &s, "seconds: expected at least 0, got nan");
    s.seconds = 0;
    s.positions = ids;
    REFUSED(otimes_paths, "gpt2", &s, "positions: expected at least one, got none");
    s.positions = NULL;
    s.whose = OTIMES_PATHS_NEXT;
    REFUSED(
        otimes_paths, "transformer_lens_none", &s,
        "expected one vocabulary, as the target is the token that follows, got 20 input and 17");
}

static void patterns(void **state)
{
    otimes_patterns_settings s;
    (void)state;
    otimes_patterns_settings_default(&s);
    s.repeated = -1;
    REFUSED(otimes_patterns, "gpt2", &s, "repeated: expected a length, got -1");
    s.repeated = 3;
    s.random_tokens = ids;
    REFUSED(otimes_patterns, "gpt2", &s, "random tokens: expected one at least");
}

static void qk(void **state)
{
    otimes_qk_settings s;
    (void)state;
    otimes_qk_settings_default(&s);
    s.offsets = ids;
    REFUSED(otimes_qk, "llama", &s, "offsets: expected a list of them");
    s.offsets = NULL;
    s.entries = -1;
    REFUSED(otimes_qk, "llama", &s, "top, entries: expected at least 0");
}

static void roles(void **state)
{
    otimes_roles_settings s;
    (void)state;
    otimes_roles_settings_default(&s);
    s.random_tokens = ids;
    REFUSED(otimes_roles, "gpt2", &s, "random tokens: expected one at least");
    s.random_tokens = NULL;
    s.layers = ids;
    REFUSED(otimes_roles, "gpt2", &s, "roles: expected layers and heads, got none");
}

static void trigrams(void **state)
{
    otimes_trigrams_settings s;
    (void)state;
    otimes_trigrams_settings_default(&s);
    s.offsets = ids;
    REFUSED(otimes_trigrams, "llama", &s, "offsets: expected a list of them");
}

/* Pieces of a model that it does not have. */
static void pieces(void **state)
{
    (void)state;
    golden g;
    otimes_layer_info layer;
    float w[64], b[64];
    otimes_expert expert;
    otimes_err err = {0};
    golden_open(&g, "mixtral", true);
    assert_int_equal(otimes_expert_load(g.model, 0, 99, &expert, &err), OTIMES_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "layer 0: expert: expected one of"));
    assert_int_equal(otimes_expert_load(g.model, 0, -1, &expert, &err), OTIMES_ERR_ARGUMENT);
    assert_true(otimes_model_describe(g.model)->d_model <= 64);
    assert_int_equal(otimes_embed_norm(g.model, w, b, &err), OTIMES_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "expected a norm after the embedding, got none"));
    assert_int_equal(otimes_layer_describe(g.model, -1, &layer, &err), OTIMES_ERR_ARGUMENT);
    assert_string_equal(err.msg, "layer: expected 0 to 1, got -1");
    assert_int_equal(otimes_layer_describe(g.model, 2, &layer, &err), OTIMES_ERR_ARGUMENT);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ablate),    cmocka_unit_test(bigram), cmocka_unit_test(compose),
        cmocka_unit_test(decompose), cmocka_unit_test(heads),  cmocka_unit_test(paths),
        cmocka_unit_test(patterns),  cmocka_unit_test(qk),     cmocka_unit_test(roles),
        cmocka_unit_test(trigrams),  cmocka_unit_test(pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
