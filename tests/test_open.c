/* SPDX-License-Identifier: MIT
 *
 * Bad models: goldens copied and spoilt in one place each. Every one is a single error with the
 * right code that names file, tensor or key, expected and got.
 */
#include "edited.h"
#include "same.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void configurations(void **state)
{
    (void)state;
    static const bad_case cases[] = {
        {"gpt2", "{\"model_type\":\"bert\"}", NULL, MODEL,
         "config.json|unknown architecture|bloom, cohere, falcon, gemma|got bert"},
        {"gpt2", "{\"model_type\":\"\"}", NULL, MODEL, "unknown architecture"},
        {"gpt2", "{\"model_type\":\"GPT2\"}", NULL, MODEL, "unknown architecture|got GPT2"},
        {"gpt2", "{\"model_type\":\"gpt2|llama\"}", NULL, MODEL, "unknown architecture"},
        {"gpt2", "{\"model_type\":7}", NULL, MODEL, "unknown architecture|no text"},
        {"gpt2", "{\"model_type\":[\"gpt2\"]}", NULL, MODEL, "unknown architecture|no text"},
        {"llama", "{\"model_type\":\"DELETE\"}", NULL, MODEL, "unknown architecture|no model_type"},
        {"gpt2", "{\"n_embd\":\"DELETE\"}", NULL, MODEL, "config.json|expected n_embd, got none"},
        {"gpt2", "{\"n_embd\":null}", NULL, MODEL, "expected n_embd, got none"},
        {"gpt2", "{\"n_embd\":\"12\"}", NULL, MODEL, "config.json|n_embd: expected an integer"},
        {"gpt2", "{\"n_embd\":12.0}", NULL, MODEL, "n_embd: expected an integer"},
        {"gpt2", "{\"n_embd\":true}", NULL, MODEL, "n_embd: expected an integer"},
        {"gpt2", "{\"n_embd\":[12]}", NULL, MODEL, "n_embd: expected an integer"},
        {"gpt2", "{\"n_embd\":{}}", NULL, MODEL, "n_embd: expected an integer"},
        {"gpt2", "{\"n_embd\":-12}", NULL, MODEL, "n_embd: expected"},
        {"gpt2", "{\"n_embd\":0}", NULL, MODEL, "n_embd"},
        {"gpt2", "{\"n_embd\":1000000000000000000}", NULL, MODEL, "n_embd: expected"},
        {"gpt2", "{\"n_embd\":9223372036854775807}", NULL, MODEL, "n_embd: expected"},
        {"gpt2", "{\"n_embd\":999999999}", NULL, MODEL, "wte.weight|999999999"},
        {"gpt2", "{\"n_head\":0}", NULL, MODEL, "n_head"},
        {"gpt2", "{\"n_head\":-3}", NULL, MODEL, "n_head"},
        {"gpt2", "{\"n_head\":5}", NULL, MODEL, "multiple of 5 heads, got 12"},
        {"gpt2", "{\"n_head\":13}", NULL, MODEL, "multiple of 13 heads, got 12"},
        {"gpt2", "{\"n_layer\":0}", NULL, MODEL, "n_layer"},
        {"gpt2", "{\"n_layer\":-1}", NULL, MODEL, "n_layer"},
        {"gpt2", "{\"n_layer\":1}", NULL, MODEL, "unexpected transformer.h.1.ln_1.weight"},
        {"gpt2", "{\"n_layer\":3}", NULL, MODEL, "absent h.2.ln_1.weight"},
        {"gpt2", "{\"n_layer\":1000000000}", NULL, MODEL, "1000000000 layers"},
        {"gpt2", "{\"n_layer\":1e18}", NULL, MODEL, "n_layer: expected an integer"},
        {"gpt2", "{\"vocab_size\":24}", NULL, MODEL, "wte.weight: shape [23,12], expected [24,12]"},
        {"gpt2", "{\"vocab_size\":0}", NULL, MODEL, "vocab_size"},
        {"gpt2", "{\"n_positions\":8}", NULL, MODEL, "wpe.weight: shape [9,12], expected [8,12]"},
        {"gpt2", "{\"n_positions\":0}", NULL, MODEL, "n_positions"},
        {"gpt2", "{\"n_inner\":21}", NULL, MODEL,
         "mlp.c_fc.weight: shape [12,20], expected [12,21]"},
        {"gpt2", "{\"layer_norm_epsilon\":\"1e-5\"}", NULL, MODEL,
         "layer_norm_epsilon: expected a number"},
        {"gpt2", "{\"layer_norm_epsilon\":-1e-5}", NULL, MODEL, "layer_norm_epsilon"},
        {"gpt2", "{\"add_cross_attention\":true}", NULL, UNSUPPORTED,
         "config.json|add_cross_attention"},
        {"gpt2", "{\"scale_attn_by_inverse_layer_idx\":1}", NULL, UNSUPPORTED,
         "scale_attn_by_inverse_layer_idx"},
        {"gpt2", "{\"scale_attn_by_inverse_layer_idx\":\"yes\"}", NULL, UNSUPPORTED,
         "scale_attn_by_inverse"},
        {"llama", "{\"num_key_value_heads\":3}", NULL, MODEL,
         "multiple of 3 key/value heads, got 4"},
        {"llama", "{\"num_key_value_heads\":8}", NULL, MODEL,
         "multiple of 8 key/value heads, got 4"},
        {"llama", "{\"num_key_value_heads\":-2}", NULL, MODEL, "num_key_value_heads"},
        {"llama", "{\"num_key_value_heads\":1}", NULL, MODEL,
         "k_proj.weight: shape [8,16], expected [4,16]"},
        {"llama", "{\"head_dim\":6}", NULL, MODEL,
         "q_proj.weight: shape [16,16], expected [24,16]"},
        {"llama",
         "{\"head_dim\":1000000000,\"num_attention_heads\":1000000000,\"hidden_size\":1000000000}",
         NULL, MODEL, "too large"},
        {"llama", "{\"rope_parameters\":{\"rope_theta\":\"x\"}}", NULL, MODEL,
         "rope_theta: expected a number"},
        {"llama", "{\"rope_theta\":-1}", NULL, MODEL, "rope_theta"},
        {"llama", "{\"rope_theta\":0}", NULL, MODEL, "rope_theta"},
        {"llama", "{\"intermediate_size\":\"DELETE\"}", NULL, MODEL,
         "expected intermediate_size, got none"},
        {"llama", "{\"tie_word_embeddings\":false}", "{\"lm_head.weight\":\"DELETE\"}", MODEL,
         "absent lm_head.weight"},
        {"transformer_lens", "{\"normalization_type\":\"BN\"}", NULL, MODEL,
         "normalization_type: expected LN"},
        {"transformer_lens", "{\"normalization_type\":5}", NULL, MODEL,
         "normalization_type: expected LN"},
        {"transformer_lens", "{\"normalization_type\":\"RMS\"}", NULL, MODEL,
         "unexpected blocks.0.ln1.b|unexpected ln_final.b"},
        {"transformer_lens", "{\"positional_embedding_type\":\"sinusoidal\"}", NULL, MODEL,
         "positional_embedding_type"},
        {"transformer_lens", "{\"attn_scale\":\"two\"}", NULL, MODEL, "attn_scale"},
        {"transformer_lens", "{\"d_model\":14}", NULL, MODEL,
         "embed.W_E: shape [21,13], expected [21,14]"},
        {"transformer_lens", "{\"use_qk_norm\":true}", NULL, MODEL,
         "use_qk_norm|attn.q_norm.w, got none"},
        {"transformer_lens", "{\"num_experts\":4}", NULL, MODEL,
         "num_experts|mlp.router.W, got none"},
        {"transformer_lens_none", "{\"tie_word_embeddings\":true}", NULL, MODEL,
         "tie_word_embeddings|one vocabulary at both ends, got 20 input and 17 output tokens"},
        {"transformer_lens_none", "{\"tokens\":[1]}", NULL, FORMAT,
         "config.json: entry 0: expected text"},
    };
    run_cases(cases, COUNT(cases));
}

static void weights(void **state)
{
    (void)state;
    static const bad_case cases[] = {
        {"gpt2", NULL, "{\"transformer.wte.weight\":\"DELETE\"}", MODEL, "absent wte.weight"},
        {"gpt2", NULL, "{\"transformer.h.1.ln_2.bias\":\"DELETE\"}", MODEL,
         "1 problem|absent h.1.ln_2.bias"},
        {"gpt2", NULL, "{\"extra\":{\"dtype\":\"F32\",\"shape\":[2]}}", MODEL,
         "1 problem|unexpected extra"},
        {"gpt2", NULL, "{\"transformer.h.01.ln_1.bias\":{\"dtype\":\"F32\",\"shape\":[12]}}", MODEL,
         "unexpected transformer.h.01.ln_1.bias"},
        {"gpt2", NULL, "{\"transformer.h.2.ln_1.bias\":{\"dtype\":\"F32\",\"shape\":[12]}}", MODEL,
         "unexpected transformer.h.2.ln_1.bias"},
        {"gpt2", NULL,
         "{\"transformer.h.0.attn.c_attn.weight\":{\"dtype\":\"F32\",\"shape\":[36,12]}}", MODEL,
         "1 problem|h.0.attn.c_attn.weight: shape [36,12], expected [12,36]"},
        {"gpt2", NULL, "{\"transformer.h.0.ln_1.weight\":{\"dtype\":\"F32\",\"shape\":[12,1]}}",
         MODEL, "ln_1.weight: shape [12,1], expected [12]"},
        {"gpt2", NULL, "{\"transformer.h.0.ln_1.weight\":{\"dtype\":\"F32\",\"shape\":[]}}", MODEL,
         "ln_1.weight: shape [], expected [12]"},
        {"gpt2", NULL, "{\"transformer.h.0.ln_1.weight\":{\"dtype\":\"F32\",\"shape\":[0]}}", MODEL,
         "ln_1.weight: shape [0], expected [12]"},
        {"gpt2", NULL, "{\"transformer.wte.weight\":{\"dtype\":\"I32\",\"shape\":[23,12]}}", MODEL,
         "1 problem|unreadable type of transformer.wte.weight"},
        {"gpt2", NULL, "{\"transformer.wte.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[23,12]}}",
         MODEL,
         "unreadable type of transformer.wte.weight: expected a floating-point or block type"},
        {"gpt2", NULL, "{\"wte.weight\":{\"dtype\":\"F32\",\"shape\":[23,12]}}", MODEL,
         "wte.weight"},
        {"transformer_lens", NULL,
         "{\"blocks.0.attn._W_K\":{\"dtype\":\"F32\",\"shape\":[3,13,5]}}", MODEL,
         "blocks.0.attn._W_K"},
        {"transformer_lens", NULL, "{\"blocks.1.mlp.W_in\":{\"dtype\":\"F32\",\"shape\":[13,9]}}",
         MODEL, "1 problem|unexpected blocks.1.mlp.W_in"},
        {"transformer_lens", NULL, "{\"embed.W_E\":\"DELETE\"}", MODEL, "absent embed.W_E"},
        {"qwen2", NULL, "{\"model.layers.1.self_attn.q_proj.bias\":\"DELETE\"}", MODEL,
         "absent layers.1.self_attn.q_proj.bias"},
        /* everything at once, each by name */
        {"gpt2", NULL,
         "{\"transformer.wpe.weight\":\"DELETE\",\"transformer.h.0.attn.c_proj.weight\":\"DELETE\","
         "\"transformer.h.1.mlp.c_fc.weight\":{\"dtype\":\"F32\",\"shape\":[20,12]},"
         "\"transformer.ln_f.bias\":{\"dtype\":\"I64\",\"shape\":[12]},"
         "\"score.weight\":{\"dtype\":\"F32\",\"shape\":[2,12]},"
         "\"transformer.h.7.ln_1.bias\":{\"dtype\":\"F32\",\"shape\":[12]}}",
         MODEL,
         "not a gpt2 model: 6 problems|absent wpe.weight|absent h.0.attn.c_proj.weight|"
         "wrong shape of transformer.h.1.mlp.c_fc.weight|unreadable type of transformer.ln_f.bias|"
         "unexpected score.weight|unexpected transformer.h.7.ln_1.bias"},
    };
    run_cases(cases, COUNT(cases));
}

/* More problems than the text holds are counted. */
static void hundreds_of_problems(void **state)
{
    (void)state;
    checkpoint c;
    read_golden(&c, "gpt2");
    for (int i = 0; i < 500; i++) {
        char name[64];
        snprintf(name, sizeof name, "unexpected.tensor.with.a.longer.name.%03d", i);
        json_object_set_new(c.header, name, json_pack("{s:s, s:[i]}", "dtype", "U8", "shape", 1));
    }
    write_config(c.config);
    write_weights(&c);
    drop_checkpoint(&c);
    refused(MODEL, "500 problems|longer.name.000|; and | more", "500 tensors");
}

static void unusual_but_valid(void **state)
{
    (void)state;
    static const struct {
        const char *golden, *config, *weights;
    } cases[] = {
        {"gpt2", NULL, NULL},
        {"gpt2", "{\"model_type\":\"DELETE\"}", NULL},
        {"gpt2", "{\"scale_attn_by_inverse_layer_idx\":null,\"add_cross_attention\":0}", NULL},
        {"gpt2", NULL, "{\"transformer.h.0.attn.bias\":{\"dtype\":\"BOOL\",\"shape\":[1,1,9,9]}}"},
        {"gpt2", NULL, "{\"transformer.h.1.attn.masked_bias\":{\"dtype\":\"F32\",\"shape\":[]}}"},
        {"gpt2", NULL, "{\"transformer.h.0.attn.c_attn.bias\":\"DELETE\"}"},
        {"gpt2", NULL, "{\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[23,12]}}"},
        {"llama", "{\"head_dim\":null,\"rope_parameters\":null}", NULL},
        {"llama", "{\"rope_parameters\":[1]}", NULL},
        {"llama", "{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}}", NULL},
        {"transformer_lens",
         "{\"n_layers\":\"DELETE\",\"d_model\":\"DELETE\",\"n_heads\":\"DELETE\","
         "\"d_head\":\"DELETE\",\"d_vocab\":\"DELETE\",\"n_ctx\":\"DELETE\"}",
         NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_edited(cases[i].golden, cases[i].config, cases[i].weights);
        otimes_model *model = opens();
        assert_string_equal(otimes_model_describe(model)->architecture, cases[i].golden);
        otimes_model_close(&model);
    }
}

/* ---- files ---- */

/* Numbers that no key gives are named "" in the table of architectures. */
static void a_key_without_a_name(void **state)
{
    (void)state;
    static const char *const names[] = {"gemma", "olmo", "bloom", "cohere"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char relative[64];
        snprintf(relative, sizeof relative, "tests/golden/%s", names[i]);
        write_edited(names[i], "{\"\": 16}", NULL);
        otimes_model *changed = opens();
        otimes_model *own = open_as(source_path(relative), true);
        same_weights(own, changed, 0);
        same_description(own, changed, 0, NULL);
        otimes_model_close(&own);
        otimes_model_close(&changed);
    }
}

static void no_model_at_all(void **state)
{
    (void)state;
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    refused_path(NULL, NULL, OTIMES_ERR_ARGUMENT, "expected a path", "NULL");
    refused_path("", NULL, OTIMES_ERR_ARGUMENT, "expected a path", "no path");
    refused_path(in_folder("missing"), NULL, OTIMES_ERR_IO, "missing|cannot open", "missing");
    refused(OTIMES_ERR_IO, "no model in this folder|model.safetensors", "empty folder");
    write_file("config.json", "{}", 2);
    refused(OTIMES_ERR_IO, "no model in this folder", "a configuration alone");
    write_edited("gpt2", NULL, NULL);
    settings.config_path = "/nowhere/config.json";
    refused_path(temp_folder, &settings, OTIMES_ERR_IO, "/nowhere/config.json", "config_path");
    otimes_model_close(NULL);
}

/* A folder whose one checkpoint has a name of its own. */
static void one_file_in_a_folder(void **state)
{
    (void)state;
    write_edited("gpt2", NULL, NULL);
    char usual[512];
    snprintf(usual, sizeof usual, "%s", in_folder("model.safetensors"));
    assert_int_equal(rename(usual, in_folder("mine.safetensors")), 0);
    otimes_model *model = opens();
    otimes_model_close(&model);
    write_file("other.gguf", "GGUF", 4);
    refused(OTIMES_ERR_IO, "several models in this folder|got 2 files", "two checkpoints");
    write_file("other.gguf", "none", 4);
    model = opens();
    otimes_model_close(&model);
}

static void configuration_files(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *words;
    } cases[] = {
        {"", FORMAT, "config.json|not valid JSON"},
        {"{", FORMAT, "config.json|not valid JSON|line 1"},
        {"[]", FORMAT, "config.json|expected a JSON object"},
        {"{\"n_embd\":1e999}", FORMAT, "config.json|not valid JSON"},
        {"{\"n_embd\":10000000000000000000}", FORMAT, "config.json|not valid JSON"},
        {"{\"n_embd\":1,\"n_embd\":1}", FORMAT, "config.json|duplicate"},
        {"{}", MODEL, "config.json|expected n_embd"},
    };
    write_edited("gpt2", NULL, NULL);
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_file("config.json", cases[i].text, strlen(cases[i].text));
        refused(cases[i].code, cases[i].words, cases[i].text);
    }
    unlink(in_folder("config.json"));
    refused(MODEL, "expected n_embd, got none", "no configuration");
}

static void cut_short(void **state)
{
    (void)state;
    static unsigned char bytes[1 << 16];
    write_edited("gpt2", NULL, NULL);
    FILE *file = fopen(in_folder("model.safetensors"), "rb");
    assert_non_null(file);
    const size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (size_t i = 0; i < length; i += 97) {
        write_file("model.safetensors", bytes, i);
        refused(FORMAT, "model.safetensors", "cut short");
    }
}

/* TransformerLens' files without a configuration: learned from the weights, but for a norm without
 * parameters, which nothing shows. */
static void without_a_configuration(void **state)
{
    (void)state;
    write_edited("transformer_lens", NULL, NULL);
    unlink(in_folder("config.json"));
    otimes_model *model = opens();
    const otimes_model_info *info = otimes_model_describe(model);
    assert_true(info->n_layers == 3 && info->n_heads == 3 && info->d_model == 13);
    assert_true(info->d_head == 5 && info->d_vocab == 21 && info->n_ctx == 9);
    assert_true(info->norm == OTIMES_NORM_LN && info->positions == OTIMES_POSITIONS_LEARNED);
    otimes_model_close(&model);
    write_edited("transformer_lens_none", NULL, NULL);
    unlink(in_folder("config.json"));
    refused(MODEL, "normalization_type|configuration file", "no configuration, no norms");
    write_edited("llama", NULL, NULL);
    unlink(in_folder("config.json"));
    refused(MODEL, "unknown architecture|no configuration", "llama without a configuration");
}

/* ---- numbers that are none ---- */

/* Reads all there is; the first error. */
static int read_all(const otimes_model *model, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t most = info->d_vocab + info->d_vocab_out + info->n_ctx;
    float *rows = malloc((size_t)(most * info->d_model) * sizeof *rows);
    otimes_unembed unembed = {0};
    assert_non_null(rows);
    int rc = otimes_embed_rows(model, 0, info->d_vocab, rows, err);
    if (rc == OTIMES_OK && info->positions == OTIMES_POSITIONS_LEARNED) {
        rc = otimes_position_rows(model, 0, info->n_ctx, rows, err);
    }
    for (int64_t l = 0; rc == OTIMES_OK && l < info->n_layers; l++) {
        otimes_layer layer;
        rc = otimes_layer_load(model, l, OTIMES_PART_ALL, &layer, err);
        assert_true(rc == OTIMES_OK || (!layer.memory && !layer.W_Q.data));
        otimes_layer_free(&layer);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_unembed_open(model, &unembed, err);
        assert_true(rc == OTIMES_OK || (!unembed.fold && !unembed.bias && !unembed.mean));
    }
    if (rc == OTIMES_OK) {
        rc = otimes_unembed_rows(&unembed, 0, info->d_vocab_out, rows, err);
    }
    otimes_unembed_free(&unembed);
    free(rows);
    return rc;
}

/* NaN, infinity or its negative as the type spells it, into one element. */
static void spoil(checkpoint *c, const json_t *tensor, int kind)
{
    static const uint16_t halves[] = {0x7e00, 0x7c00, 0xfc00}, bfloats[] = {0x7fc0, 0x7f80, 0xff80};
    static const uint32_t singles[] = {0x7fc00000, 0x7f800000, 0xff800000};
    const char *dtype = json_string_value(json_object_get(tensor, "dtype"));
    const size_t begin =
        (size_t)json_integer_value(json_array_get(json_object_get(tensor, "data_offsets"), 0));
    const size_t size = strcmp(dtype, "F32") == 0 ? 4 : 2, count = bytes_of(tensor) / size;
    const void *bits = size == 4                   ? (const void *)&singles[kind]
                       : strcmp(dtype, "F16") == 0 ? (const void *)&halves[kind]
                                                   : (const void *)&bfloats[kind];
    const size_t place = kind == 0 ? 0 : kind == 1 ? count - 1 : count / 2;
    memcpy(c->data + begin + place * size, bits, size);
}

static void check_spoilt(const char *golden_name, const char *tensor_name, int kind, bool processed)
{
    checkpoint c;
    otimes_model *model;
    otimes_model_settings settings;
    otimes_err err = {0};
    otimes_model_settings_default(&settings);
    settings.fold_ln = settings.center_writing_weights = processed;
    settings.center_unembed = settings.fold_value_biases = processed;
    read_golden(&c, golden_name);
    spoil(&c, json_object_get(c.header, tensor_name), kind);
    write_config(c.config);
    write_weights(&c);
    assert_ok(otimes_model_open(&model, temp_folder, &settings, &err), &err);
    const int rc = read_all(model, &err);
    if (rc != OTIMES_ERR_VALUE || !strstr(err.msg, tensor_name) || !strstr(err.msg, temp_folder) ||
        !strstr(err.msg, kind == 0 ? "nan" : "inf")) {
        fail_msg("%s %s: expected a value error that names it, got %d: %s", golden_name,
                 tensor_name, rc, err.msg);
    }
    otimes_model_close(&model);
    drop_checkpoint(&c);
}

static void nan_and_infinity_in_every_tensor(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "llama", "mistral", "qwen2",
                                        "transformer_lens_mlp"};
    for (size_t n = 0; n < COUNT(names); n++) {
        checkpoint c;
        const char *tensor;
        json_t *value;
        int round = 0;
        read_golden(&c, names[n]);
        json_object_foreach (c.header, tensor, value) {
            if (strcmp(tensor, "__metadata__") != 0) {
                check_spoilt(names[n], tensor, round % 3, round / 3 % 2);
                check_spoilt(names[n], tensor, (round + 1) % 3, (round / 3 + 1) % 2);
                round++;
            }
        }
        drop_checkpoint(&c);
    }
}

/* A buffer that is no weight may hold anything. */
static void nan_in_an_ignored_tensor(void **state)
{
    (void)state;
    checkpoint c;
    otimes_err err = {0};
    read_golden(&c, "gpt2_old");
    spoil(&c, json_object_get(c.header, "h.0.attn.bias"), 0);
    write_config(c.config);
    write_weights(&c);
    drop_checkpoint(&c);
    otimes_model *model = opens();
    assert_ok(read_all(model, &err), &err);
    otimes_model_close(&model);
}

/* ---- requests that do not fit an opened model ---- */

static void requests_out_of_range(void **state)
{
    (void)state;
    static const int64_t rows[][2] = {
        {-1, 1},        {0, -1},        {23, 1},        {22, 2},        {0, 24},
        {INT64_MAX, 1}, {1, INT64_MAX}, {INT64_MIN, 1}, {0, INT64_MIN}, {INT64_MAX, INT64_MAX}};
    static const int64_t layers[] = {-1, 2, INT64_MAX, INT64_MIN};
    float out[24 * 12];
    otimes_layer layer;
    otimes_unembed unembed;
    otimes_tensor_info info;
    otimes_err err = {0};
    write_edited("gpt2", NULL, NULL);
    otimes_model *model = opens();
    assert_ok(otimes_unembed_open(model, &unembed, &err), &err);
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(otimes_embed_rows(model, rows[i][0], rows[i][1], out, &err),
                         OTIMES_ERR_ARGUMENT);
        assert_non_null(strstr(err.msg, "W_E: rows: expected 0 to 22"));
        assert_int_equal(otimes_unembed_rows(&unembed, rows[i][0], rows[i][1], out, &err),
                         OTIMES_ERR_ARGUMENT);
        assert_int_equal(otimes_position_rows(model, rows[i][0], rows[i][1], out, &err),
                         OTIMES_ERR_ARGUMENT);
    }
    assert_ok(otimes_embed_rows(model, 23, 0, out, &err), &err);
    for (size_t i = 0; i < COUNT(layers); i++) {
        assert_int_equal(otimes_layer_load(model, layers[i], OTIMES_PART_ALL, &layer, &err),
                         OTIMES_ERR_ARGUMENT);
        assert_true(strstr(err.msg, "expected 0 to 1") && !layer.memory);
        otimes_layer_free(&layer);
    }
    assert_int_equal(otimes_model_tensor(model, -1, &info, &err), OTIMES_ERR_ARGUMENT);
    assert_int_equal(
        otimes_model_tensor(model, otimes_model_describe(model)->tensor_count, &info, &err),
        OTIMES_ERR_ARGUMENT);
    assert_null(otimes_model_token(model, -1));
    assert_null(otimes_model_token(model, 1 << 30));
    otimes_unembed_free(&unembed);
    otimes_model_close(&model);
    write_edited("llama", NULL, NULL);
    model = opens();
    assert_int_equal(otimes_position_rows(model, 0, 1, out, &err), OTIMES_ERR_UNSUPPORTED);
    otimes_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(configurations, empty_folder),
        cmocka_unit_test_teardown(weights, empty_folder),
        cmocka_unit_test_teardown(hundreds_of_problems, empty_folder),
        cmocka_unit_test_teardown(unusual_but_valid, empty_folder),
        cmocka_unit_test_teardown(a_key_without_a_name, empty_folder),
        cmocka_unit_test_teardown(no_model_at_all, empty_folder),
        cmocka_unit_test_teardown(one_file_in_a_folder, empty_folder),
        cmocka_unit_test_teardown(configuration_files, empty_folder),
        cmocka_unit_test_teardown(cut_short, empty_folder),
        cmocka_unit_test_teardown(without_a_configuration, empty_folder),
        cmocka_unit_test_teardown(nan_and_infinity_in_every_tensor, empty_folder),
        cmocka_unit_test_teardown(nan_in_an_ignored_tensor, empty_folder),
        cmocka_unit_test_teardown(requests_out_of_range, empty_folder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
