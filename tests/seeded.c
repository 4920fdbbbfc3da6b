/* SPDX-License-Identifier: MIT */
#include "seeded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { D = 128, KV = 64, MLP = 512, VOCAB = SEEDED_VOCAB, CTX = 512, LAYERS = 2 };

const recipe seeded_llama = {
    "llama",
    "{\"model_type\": \"llama\", \"hidden_size\": 128, \"intermediate_size\": 512, "
    "\"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"num_hidden_layers\": 2, "
    "\"vocab_size\": 3000, \"max_position_embeddings\": 2048, \"hidden_act\": \"silu\", "
    "\"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"tie_word_embeddings\": false}",
    LAYERS,
    0,
    {{"lm_head.weight", VOCAB, D},
     {"model.embed_tokens.weight", VOCAB, D},
     {"model.norm.weight", D, 0},
     {"model.layers.%d.input_layernorm.weight", D, 0},
     {"model.layers.%d.post_attention_layernorm.weight", D, 0},
     {"model.layers.%d.self_attn.q_proj.weight", D, D},
     {"model.layers.%d.self_attn.k_proj.weight", KV, D},
     {"model.layers.%d.self_attn.v_proj.weight", KV, D},
     {"model.layers.%d.self_attn.o_proj.weight", D, D},
     {"model.layers.%d.mlp.gate_proj.weight", MLP, D},
     {"model.layers.%d.mlp.up_proj.weight", MLP, D},
     {"model.layers.%d.mlp.down_proj.weight", D, MLP}}};

const recipe seeded_mistral = {
    "mistral",
    "{\"model_type\": \"mistral\", \"sliding_window\": 37, \"hidden_size\": 128, "
    "\"intermediate_size\": 512, "
    "\"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"num_hidden_layers\": 2, "
    "\"vocab_size\": 3000, \"max_position_embeddings\": 2048, \"hidden_act\": \"silu\", "
    "\"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"tie_word_embeddings\": false}",
    LAYERS,
    0,
    {{"lm_head.weight", VOCAB, D},
     {"model.embed_tokens.weight", VOCAB, D},
     {"model.norm.weight", D, 0},
     {"model.layers.%d.input_layernorm.weight", D, 0},
     {"model.layers.%d.post_attention_layernorm.weight", D, 0},
     {"model.layers.%d.self_attn.q_proj.weight", D, D},
     {"model.layers.%d.self_attn.k_proj.weight", KV, D},
     {"model.layers.%d.self_attn.v_proj.weight", KV, D},
     {"model.layers.%d.self_attn.o_proj.weight", D, D},
     {"model.layers.%d.mlp.gate_proj.weight", MLP, D},
     {"model.layers.%d.mlp.up_proj.weight", MLP, D},
     {"model.layers.%d.mlp.down_proj.weight", D, MLP}}};

const recipe seeded_mixtral = {
    "mixtral",
    "{\"model_type\": \"mixtral\", \"hidden_size\": 128, \"intermediate_size\": 256, "
    "\"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"num_hidden_layers\": 2, "
    "\"num_local_experts\": 6, \"num_experts_per_tok\": 2, \"sliding_window\": null, "
    "\"vocab_size\": 3000, \"max_position_embeddings\": 2048, \"hidden_act\": \"silu\", "
    "\"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"tie_word_embeddings\": false}",
    LAYERS,
    6,
    {{"lm_head.weight", VOCAB, D},
     {"model.embed_tokens.weight", VOCAB, D},
     {"model.norm.weight", D, 0},
     {"model.layers.%d.input_layernorm.weight", D, 0},
     {"model.layers.%d.post_attention_layernorm.weight", D, 0},
     {"model.layers.%d.self_attn.q_proj.weight", D, D},
     {"model.layers.%d.self_attn.k_proj.weight", KV, D},
     {"model.layers.%d.self_attn.v_proj.weight", KV, D},
     {"model.layers.%d.self_attn.o_proj.weight", D, D},
     {"model.layers.%d.block_sparse_moe.gate.weight", 6, D},
     {"model.layers.%d.block_sparse_moe.experts.%d.w1.weight", 256, D},
     {"model.layers.%d.block_sparse_moe.experts.%d.w3.weight", 256, D},
     {"model.layers.%d.block_sparse_moe.experts.%d.w2.weight", D, 256}}};

const recipe seeded_gpt2 = {
    "gpt2",
    "{\"model_type\": \"gpt2\", \"n_embd\": 128, \"n_head\": 8, \"n_layer\": 2, \"n_inner\": 512, "
    "\"n_positions\": 512, \"vocab_size\": 3000, \"activation_function\": \"gelu_new\", "
    "\"layer_norm_epsilon\": 1e-5}",
    LAYERS,
    0,
    {{"transformer.wte.weight", VOCAB, D},
     {"transformer.wpe.weight", CTX, D},
     {"transformer.ln_f.weight", D, 0},
     {"transformer.ln_f.bias", D, 0},
     {"transformer.h.%d.ln_1.weight", D, 0},
     {"transformer.h.%d.ln_1.bias", D, 0},
     {"transformer.h.%d.ln_2.weight", D, 0},
     {"transformer.h.%d.ln_2.bias", D, 0},
     {"transformer.h.%d.attn.c_attn.weight", D, 3 * D},
     {"transformer.h.%d.attn.c_attn.bias", 3 * D, 0},
     {"transformer.h.%d.attn.c_proj.weight", D, D},
     {"transformer.h.%d.attn.c_proj.bias", D, 0},
     {"transformer.h.%d.mlp.c_fc.weight", D, MLP},
     {"transformer.h.%d.mlp.c_fc.bias", MLP, 0},
     {"transformer.h.%d.mlp.c_proj.weight", MLP, D},
     {"transformer.h.%d.mlp.c_proj.bias", D, 0}}};

/* A parallel block with biases. */
const recipe seeded_phi = {
    "phi",
    "{\"model_type\": \"phi\", \"hidden_size\": 128, \"intermediate_size\": 512, "
    "\"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"num_hidden_layers\": 2, "
    "\"vocab_size\": 3000, \"max_position_embeddings\": 2048, \"hidden_act\": \"gelu_new\", "
    "\"layer_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"partial_rotary_factor\": 0.5, "
    "\"qk_layernorm\": false, \"tie_word_embeddings\": false}",
    LAYERS,
    0,
    {{"lm_head.weight", VOCAB, D},
     {"lm_head.bias", VOCAB, 0},
     {"model.embed_tokens.weight", VOCAB, D},
     {"model.final_layernorm.weight", D, 0},
     {"model.final_layernorm.bias", D, 0},
     {"model.layers.%d.input_layernorm.weight", D, 0},
     {"model.layers.%d.input_layernorm.bias", D, 0},
     {"model.layers.%d.self_attn.q_proj.weight", D, D},
     {"model.layers.%d.self_attn.k_proj.weight", KV, D},
     {"model.layers.%d.self_attn.v_proj.weight", KV, D},
     {"model.layers.%d.self_attn.dense.weight", D, D},
     {"model.layers.%d.self_attn.q_proj.bias", D, 0},
     {"model.layers.%d.self_attn.k_proj.bias", KV, 0},
     {"model.layers.%d.self_attn.v_proj.bias", KV, 0},
     {"model.layers.%d.self_attn.dense.bias", D, 0},
     {"model.layers.%d.mlp.fc1.weight", MLP, D},
     {"model.layers.%d.mlp.fc1.bias", MLP, 0},
     {"model.layers.%d.mlp.fc2.weight", D, MLP},
     {"model.layers.%d.mlp.fc2.bias", D, 0}}};

/* Attention larger than anything else: what reading it takes beside what is kept. */
const recipe seeded_wide = {
    "wide",
    "{\"model_type\": \"llama\", \"hidden_size\": 1024, \"intermediate_size\": 64, "
    "\"num_attention_heads\": 8, \"num_key_value_heads\": 8, \"num_hidden_layers\": 2, "
    "\"vocab_size\": 64, \"max_position_embeddings\": 2048, \"hidden_act\": \"silu\", "
    "\"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"tie_word_embeddings\": false}",
    LAYERS,
    0,
    {{"lm_head.weight", 64, 1024},
     {"model.embed_tokens.weight", 64, 1024},
     {"model.norm.weight", 1024, 0},
     {"model.layers.%d.input_layernorm.weight", 1024, 0},
     {"model.layers.%d.post_attention_layernorm.weight", 1024, 0},
     {"model.layers.%d.self_attn.q_proj.weight", 1024, 1024},
     {"model.layers.%d.self_attn.k_proj.weight", 1024, 1024},
     {"model.layers.%d.self_attn.v_proj.weight", 1024, 1024},
     {"model.layers.%d.self_attn.o_proj.weight", 1024, 1024},
     {"model.layers.%d.mlp.gate_proj.weight", 64, 1024},
     {"model.layers.%d.mlp.up_proj.weight", 64, 1024},
     {"model.layers.%d.mlp.down_proj.weight", 1024, 64}}};

/* Header and data of a checkpoint as they grow. */
typedef struct writer {
    json_t *header;
    float *data;
    int64_t count, capacity;
    uint64_t state;
} writer;

/* Uniform in +-0.1, seeded. */
static void put(writer *w, const char *name, const tensor *t)
{
    const int64_t elements = t->rows * (t->columns ? t->columns : 1);
    if (w->count + elements > w->capacity) {
        w->capacity = 2 * w->capacity + elements;
        w->data = realloc(w->data, (size_t)w->capacity * sizeof *w->data);
        assert_non_null(w->data);
    }
    json_t *shape = t->columns ? json_pack("[I, I]", (json_int_t)t->rows, (json_int_t)t->columns)
                               : json_pack("[I]", (json_int_t)t->rows);
    json_object_set_new(w->header, name,
                        json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape,
                                  "data_offsets", (json_int_t)(4 * w->count),
                                  (json_int_t)(4 * (w->count + elements))));
    for (int64_t i = 0; i < elements; i++) {
        w->state = w->state * 6364136223846793005U + 1442695040888963407U;
        w->data[w->count++] = 0.2F * ((float)(w->state >> 40) / 0x1p24F - 0.5F);
    }
}

static void write_tensor(writer *w, const recipe *r, const tensor *t)
{
    const char *layer = strstr(t->name, "%d");
    const int layers = layer ? r->layers : 1,
              experts = layer && strstr(layer + 2, "%d") ? r->experts : 1;
    for (int l = 0; l < layers; l++) {
        for (int x = 0; x < experts; x++) {
            char name[128] = "";
            const char *from = t->name;
            for (int number = 0; *from; number++) {
                const char *hole = strstr(from, "%d");
                const size_t n = strlen(name);
                if (!hole) {
                    snprintf(name + n, sizeof name - n, "%s", from);
                    break;
                }
                snprintf(name + n, sizeof name - n, "%.*s%d", (int)(hole - from), from,
                         number ? x : l);
                from = hole + 2;
            }
            put(w, name, t);
        }
    }
}

otimes_model *seeded_model(const recipe *r, int threads)
{
    writer w = {.header = json_object(), .state = 1};
    otimes_model *model;
    otimes_model_settings settings;
    otimes_err err = {0};
    for (const tensor *t = r->tensors; t->name; t++) {
        write_tensor(&w, r, t);
    }
    char *text = json_dumps(w.header, JSON_COMPACT);
    const size_t length = strlen(text), bytes = 8 + length + (size_t)w.count * sizeof *w.data;
    unsigned char *whole = malloc(bytes);
    assert_non_null(whole);
    for (int i = 0; i < 8; i++) {
        whole[i] = (unsigned char)(length >> 8 * i);
    }
    memcpy(whole + 8, text, length);
    memcpy(whole + 8 + length, w.data, (size_t)w.count * sizeof *w.data);
    write_file("model.safetensors", whole, bytes);
    write_file("config.json", r->config, strlen(r->config));
    free(whole);
    free(text);
    free(w.data);
    json_decref(w.header);
    otimes_model_settings_default(&settings);
    settings.threads = threads;
    assert_ok(otimes_model_open(&model, temp_folder, &settings, &err), &err);
    return model;
}
