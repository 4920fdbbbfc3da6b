/* SPDX-License-Identifier: MIT
 *
 * Models opened from memory: the same as from their files, bit by bit; the caller's memory stays his;
 * what he may hand over wrongly is one clear error.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/compose.h>
#include <otimes/convert.h>
#include <otimes/heads.h>
#include <otimes/info.h>

#include "base/sha256.h"
#include "compared.h"
#include "lent.h"
#include "same.h"
#include "seeded.h"

static otimes_model *open_lent(const lent *l, bool processed)
{
    otimes_model *model;
    otimes_model_settings settings;
    otimes_err err = {0};
    otimes_model_settings_default(&settings);
    settings.fold_ln = settings.center_writing_weights = settings.center_unembed =
        settings.fold_value_biases = processed;
    assert_ok(otimes_model_open_memory(&model, &l->source, &settings, &err), &err);
    return model;
}

/* ---- the same model ---- */

typedef int (*analysis)(const otimes_model *model, otimes_sink *sink, otimes_err *err);

static int all_info(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    return otimes_info(model, NULL, sink, err);
}

static int all_weights(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    return otimes_convert(model, NULL, sink, err);
}

static int all_heads(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    otimes_heads_settings settings;
    otimes_heads_settings_default(&settings);
    settings.biases = 1;
    settings.matrices = OTIMES_HEADS_FACTORS | OTIMES_HEADS_PRODUCTS;
    return otimes_heads(model, &settings, sink, err);
}

static int all_pairs(const otimes_model *model, otimes_sink *sink, otimes_err *err)
{
    otimes_compose_settings settings;
    otimes_compose_settings_default(&settings);
    return otimes_compose(model, &settings, sink, err);
}

/* Every array, axis and fact, but the two that say where the weights were. */
static void same_result(const char *what, analysis run, const otimes_model *a,
                        const otimes_model *b)
{
    otimes_memory_sink *one, *two;
    otimes_err err = {0}, second = {0};
    const void *facts;
    assert_ok(otimes_memory_sink_new(&one, &err), &err);
    assert_ok(otimes_memory_sink_new(&two, &err), &err);
    add_fact(one, "schema", what); /* the program's to add */
    add_fact(two, "schema", what);
    const int rc = run(a, otimes_memory_sink_sink(one), &err);
    assert_int_equal(run(b, otimes_memory_sink_sink(two), &second), rc);
    if (rc != OTIMES_OK) { /* one layer has no pairs, and so on: the same for both */
        assert_int_equal(rc, OTIMES_ERR_UNSUPPORTED);
        otimes_memory_sink_free(&one);
        otimes_memory_sink_free(&two);
        return;
    }
    compared c = diff(one, two, NULL);
    const otimes_array *array = otimes_memory_sink_array(c.result, "fact_a", &facts);
    if (!c.equal || !array || array->axis[0]->length != 2) {
        fail_msg("%s: %s: another result from memory", a->path, what);
    }
    assert_string_equal(text_of(&c, "fact_b", "model_format"), "memory");
    assert_string_equal(text_of(&c, "fact_b", "model_path"), "<memory>");
    end(&c, &one, &two);
}

static void same_labels(const otimes_model *a, const otimes_model *b)
{
    for (int64_t id = 0; id < a->info.d_vocab + 2; id++) {
        const char *x = otimes_model_token(a, id), *y = otimes_model_token(b, id);
        assert_true(!x == !y && (!x || strcmp(x, y) == 0));
        x = otimes_model_output_token(a, id);
        y = otimes_model_output_token(b, id);
        assert_true(!x == !y && (!x || strcmp(x, y) == 0));
    }
}

static void compare_golden(const golden *g, lay how, bool processed)
{
    lent l;
    lent_make(&l, g->model, how);
    otimes_model *model = open_lent(&l, processed);
    otimes_step x[4], y[4];
    steps_of(g->model, x);
    steps_of(model, y);
    assert_memory_equal(x, y, sizeof x);
    assert_string_equal(g->model->info.dtype, model->info.dtype);
    same_description(g->model, model, 0, NULL);
    same_weights(g->model, model, 0);
    same_labels(g->model, model);
    if (how == LAY_ROWS) {
        same_result("info", all_info, g->model, model);
    }
    same_result("convert", all_weights, g->model, model);
    same_result("heads", all_heads, g->model, model);
    same_result("compose", all_pairs, g->model, model);
    otimes_model_close(&model);
    lent_is_untouched(&l);
    lent_free(&l);
}

static void goldens_from_memory(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        if (golden_left_out(i)) {
            continue;
        }
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            golden_open(&g, golden_names[i], processed);
            compare_golden(&g, LAY_ROWS, processed);
            compare_golden(&g, LAY_STRANGE, processed);
            golden_close(&g);
        }
    }
}

/* ---- experts in one tensor ---- */

enum { MOST_LAYERS = 4, NAME = 96 };

/* Where a file has its experts, and what it calls gate, up and down. */
typedef struct expert_names {
    const char *golden, *experts, *gate, *up, *down, *router;
} expert_names;

static const otimes_memory_tensor *expert(const lent *l, const expert_names *names, int64_t layer,
                                          int64_t number, const char *which)
{
    char name[2 * NAME];
    snprintf(name, sizeof name, "model.layers.%d.%s.%d.%s.weight", (int)layer, names->experts,
             (int)number, which);
    return lent_find(l, name);
}

/* [x, 2 n, d] of gate and up, and [x, d, n] of down, as transformers 5 has them in memory. */
static void stack(const lent *l, const expert_names *names, int64_t layer, int64_t count,
                  otimes_memory_tensor stacked[2])
{
    const otimes_memory_tensor *gate = expert(l, names, layer, 0, names->gate);
    const int64_t n = gate->dim[0], d = gate->dim[1], bytes = gate->bytes;
    unsigned char *both = malloc((size_t)(2 * count * bytes)),
                  *out = malloc((size_t)(count * bytes));
    assert_true(both && out);
    for (int64_t i = 0; i < count; i++) {
        const struct {
            const char *which;
            unsigned char *to;
        } parts[] = {{names->gate, both + 2 * i * bytes},
                     {names->up, both + (2 * i + 1) * bytes},
                     {names->down, out + i * bytes}};
        for (int part = 0; part < 3; part++) {
            memcpy(parts[part].to, expert(l, names, layer, i, parts[part].which)->data,
                   (size_t)bytes);
        }
    }
    stacked[0] = (otimes_memory_tensor){.dtype = gate->dtype,
                                        .ndim = 3,
                                        .dim = {count, 2 * n, d},
                                        .stride = {2 * n * d, d, 1},
                                        .data = both,
                                        .bytes = 2 * count * bytes};
    stacked[1] = (otimes_memory_tensor){.dtype = gate->dtype,
                                        .ndim = 3,
                                        .dim = {count, d, n},
                                        .stride = {n * d, n, 1},
                                        .data = out,
                                        .bytes = count * bytes};
}

static void check_stacked(const expert_names *names)
{
    static char name[MOST_LAYERS][3][NAME];
    golden g;
    lent l;
    golden_open(&g, names->golden, true);
    lent_make(&l, g.model, LAY_ROWS);
    const otimes_model_info *info = otimes_model_describe(g.model);
    otimes_memory_tensor *list = calloc((size_t)l.source.tensor_count, sizeof *list);
    otimes_memory_tensor stacked[MOST_LAYERS][2];
    int64_t count = 0;
    assert_non_null(list);
    assert_in_range(info->n_layers, 1, MOST_LAYERS);
    for (int64_t i = 0; i < l.source.tensor_count; i++) {
        if (!strstr(l.tensor[i].name, names->experts) && !strstr(l.tensor[i].name, names->router)) {
            list[count++] = l.tensor[i];
        }
    }
    for (int64_t layer = 0; layer < info->n_layers; layer++) {
        static const char *const ends[] = {"experts.gate_up_proj", "experts.down_proj",
                                           "gate.weight"};
        char router[2 * NAME];
        snprintf(router, sizeof router, "model.layers.%d.%s", (int)layer, names->router);
        stack(&l, names, layer, info->n_experts, stacked[layer]);
        const otimes_memory_tensor three[] = {stacked[layer][0], stacked[layer][1],
                                              *lent_find(&l, router)};
        for (int i = 0; i < 3; i++) {
            snprintf(name[layer][i], NAME, "model.layers.%d.mlp.%s", (int)layer, ends[i]);
            list[count] = three[i];
            list[count++].name = name[layer][i];
        }
    }
    otimes_memory_model source = l.source;
    source.tensor = list;
    source.tensor_count = count;
    otimes_model *model;
    otimes_err err = {0};
    assert_ok(otimes_model_open_memory(&model, &source, NULL, &err), &err);
    same_description(g.model, model, 0, NULL);
    same_weights(g.model, model, 0);
    otimes_model_close(&model);
    for (int64_t layer = 0; layer < info->n_layers; layer++) {
        free((void *)stacked[layer][0].data);
        free((void *)stacked[layer][1].data);
    }
    free(list);
    lent_free(&l);
    golden_close(&g);
}

static void stacked_experts(void **state)
{
    (void)state;
    static const expert_names all[] = {
        {"mixtral", "block_sparse_moe.experts", "w1", "w3", "w2", "block_sparse_moe.gate.weight"},
        {"qwen2_moe", "mlp.experts", "gate_proj", "up_proj", "down_proj", "mlp.gate.weight"},
        {"qwen3_moe", "mlp.experts", "gate_proj", "up_proj", "down_proj", "mlp.gate.weight"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        check_stacked(&all[i]);
    }
}

/* ---- whose memory it is ---- */

/* Of weights in files the pages are let go when they have been read; anonymous pages that are let go
 * are zeros. */
static void memory_is_not_let_go(void **state)
{
    (void)state;
    otimes_model *file = seeded_model(&seeded_wide, 2);
    lent l;
    lent_make(&l, file, LAY_ROWS);
    otimes_model *model = open_lent(&l, true);
    same_weights(file, model, 0);
    same_result("heads", all_heads, file, model);
    lent_is_untouched(&l);
    otimes_model_close(&model);
    otimes_model_close(&file);
    lent_free(&l);
}

static lent lent_golden(const char *name)
{
    lent l;
    golden g;
    golden_open(&g, name, false);
    lent_make(&l, g.model, LAY_ROWS);
    l.source.token = l.source.output_token = NULL; /* the golden's own */
    golden_close(&g);
    return l;
}

/* Nothing is kept of the numbers: a later call reads what stands there then. */
static void changes_are_seen(void **state)
{
    (void)state;
    lent l = lent_golden("gpt2");
    otimes_model *model = open_lent(&l, false);
    float row[64], *W_E = (float *)lent_find(&l, "transformer.wte.weight")->data;
    otimes_err err = {0};
    W_E[2] = 17.5F;
    assert_ok(otimes_embed_rows(model, 0, 1, row, &err), &err);
    assert_true(row[2] == 17.5F);
    otimes_model_close(&model);
    lent_free(&l);
}

/* Names, texts and the list itself may go; only the numbers must stay. */
static void the_rest_is_copied(void **state)
{
    (void)state;
    static char token[] = "token", name[] = "my model";
    const char *tokens[] = {token};
    lent l = lent_golden("gpt2");
    l.source.name = name;
    l.source.token = tokens;
    l.source.token_count = 1;
    otimes_model *model = open_lent(&l, true);
    memset(token, 'x', sizeof token - 1);
    memset(name, 'x', sizeof name - 1);
    memset((char *)l.source.config, 'x', strlen(l.source.config));
    for (int64_t i = 0; i < l.source.tensor_count; i++) {
        memset((char *)l.tensor[i].name, 'x', strlen(l.tensor[i].name));
    }
    otimes_tensor_info info;
    otimes_err err = {0};
    assert_string_equal(otimes_model_token(model, 0), "token");
    assert_string_equal(otimes_model_describe(model)->path, "my model");
    assert_ok(otimes_model_tensor(model, 0, &info, &err), &err);
    assert_true(strncmp(info.name, "transformer.", strlen("transformer.")) == 0);
    otimes_model_close(&model);
    lent_free(&l);
}

/* ---- tied weights, labels, digest ---- */

static void two_names_of_one_memory(void **state)
{
    (void)state;
    lent l = lent_golden("gpt2");
    otimes_model *model, *plain = open_lent(&l, true);
    otimes_memory_tensor *tied = &l.tensor[l.source.tensor_count++]; /* lent_make leaves room */
    otimes_memory_tensor *mask = &l.tensor[l.source.tensor_count++];
    otimes_err err = {0};
    *tied = *lent_find(&l, "transformer.wte.weight");
    tied->name = "lm_head.weight";
    /* Between the two by name, and there too: another view of that memory. */
    *mask = (otimes_memory_tensor){.name = "transformer.h.1.attn.masked_bias",
                                   .dtype = tied->dtype,
                                   .data = tied->data,
                                   .bytes = tied->bytes};
    assert_ok(otimes_model_open_memory(&model, &l.source, NULL, &err), &err);
    l.source.tensor_count -= 2;
    same_weights(plain, model, 0);
    assert_int_equal(model->info.tied, 1);
    assert_int_equal(model->info.file_bytes, plain->info.file_bytes + (int64_t)sizeof(float));
    assert_int_equal(model->info.tensor_count, plain->info.tensor_count + 2);
    otimes_model_close(&model);
    otimes_model_close(&plain);
    lent_free(&l);
}

static void texts_of_tokens(void **state)
{
    (void)state;
    static const char *const tokens[] = {" a", NULL, "", "\xc3\xa9", "\xc3", "a\xed\xa0\x80z"};
    static const char *const labels[] = {
        " a", "[1]", "", "\xc3\xa9", "<0xC3>", "a<0xED><0xA0><0x80>z", "[6]"};
    lent l = lent_golden("gpt2");
    l.source.token = tokens;
    l.source.token_count = 6;
    otimes_model *model = open_lent(&l, true);
    for (int i = 0; i < 7; i++) {
        assert_string_equal(otimes_model_token(model, i), labels[i]);
        assert_string_equal(otimes_model_output_token(model, i), labels[i]);
    }
    otimes_model_close(&model);
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    settings.token_text = 0;
    otimes_err err = {0};
    assert_ok(otimes_model_open_memory(&model, &l.source, &settings, &err), &err);
    assert_null(otimes_model_token(model, 0));
    otimes_model_close(&model);
    lent_free(&l);
}

/* Where none are given, those that the configuration lists. */
static void texts_of_the_configuration(void **state)
{
    (void)state;
    static const char *const given[] = {"given"};
    lent l = lent_golden("transformer_lens_none");
    otimes_model *model = open_lent(&l, true);
    assert_string_equal(otimes_model_token(model, 19), "t");
    assert_string_equal(otimes_model_output_token(model, 16), "Q");
    otimes_model_close(&model);
    l.source.token = l.source.output_token = given;
    l.source.token_count = l.source.output_token_count = 1;
    model = open_lent(&l, true);
    assert_string_equal(otimes_model_token(model, 0), "given");
    assert_string_equal(otimes_model_output_token(model, 0), "given");
    assert_string_equal(otimes_model_output_token(model, 16), "[16]");
    otimes_model_close(&model);
    lent_free(&l);
}

/* By the words of the header's comment, over tensors that lie in order. */
static void digest_of(const otimes_model *model, char hex[OTIMES_SHA256_HEX])
{
    otimes_sha256 sha = {0};
    otimes_err err = {0};
    assert_ok(otimes_sha256_begin(&sha, &err), &err);
    for (int64_t i = 0; i < model->store.entry_count; i++) { /* in order of name */
        const otimes_entry *e = &model->store.entries[i];
        char line[512];
        int length = snprintf(line, sizeof line, "%s %s [", e->name, otimes_dtype_name(e->dtype));
        for (int axis = 0; axis < e->ndim; axis++) {
            length += snprintf(line + length, sizeof line - (size_t)length, "%s%d", axis ? "," : "",
                               (int)e->dim[axis]);
        }
        length += snprintf(line + length, sizeof line - (size_t)length, "]\n");
        assert_ok(otimes_sha256_add(&sha, line, length, &err), &err);
        assert_ok(otimes_sha256_add(&sha, e->data, e->bytes, &err), &err);
    }
    assert_ok(otimes_sha256_finish(&sha, hex, &err), &err);
}

static void check_digest(const otimes_model *file, lay how)
{
    lent l;
    char hex[OTIMES_SHA256_HEX], expected[OTIMES_SHA256_HEX + 16], *text = NULL;
    otimes_err err = {0};
    lent_make(&l, file, how);
    otimes_model *model = open_lent(&l, true);
    digest_of(file, hex);
    snprintf(expected, sizeof expected, "%s  <memory>", hex);
    assert_ok(otimes_model_sha256(model, &text, &err), &err);
    assert_string_equal(text, expected);
    otimes_text_release(&text);
    otimes_model_close(&model);
    lent_free(&l);
}

static void digests(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "mistral", "transformer_lens_rotary"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        golden g;
        golden_open(&g, names[i], true);
        check_digest(g.model, LAY_ROWS);
        check_digest(g.model, LAY_STRANGE);
        golden_close(&g);
    }
    otimes_model *wide = seeded_model(&seeded_wide, 1); /* longer than what is packed at once */
    check_digest(wide, LAY_ROWS);
    check_digest(wide, LAY_STRANGE);
    otimes_model_close(&wide);
}

/* ---- what is wrong ---- */

static void refused_with(const lent *l, const otimes_model_settings *settings, int code,
                         const char *words)
{
    otimes_model *model = (otimes_model *)l;
    otimes_err err = {0};
    assert_int_equal(otimes_model_open_memory(&model, &l->source, settings, &err), code);
    assert_null(model);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, words) || strchr(err.msg, '\n')) {
        fail_msg("expected \"%s\" in one line, got: %s", words, err.msg);
    }
}

static void refused(const lent *l, int code, const char *words)
{
    refused_with(l, NULL, code, words);
}

#define WTE "transformer.wte.weight"

/* One field of one tensor made wrong, and right again. */
static void wrong_tensors(void **state)
{
    (void)state;
    lent l = lent_golden("gpt2");
    otimes_memory_tensor *t = lent_find(&l, WTE), good = *t;
    const int argument = OTIMES_ERR_ARGUMENT;
#define WRONG(change, code, words) \
    do {                           \
        change;                    \
        refused(&l, code, words);  \
        *t = good;                 \
    } while (0)
    WRONG(t->name = NULL, argument, "expected a name, got none");
    WRONG(t->name = "", argument, "expected a name, got none");
    WRONG(t->name = "x", OTIMES_ERR_MODEL, "unexpected x; absent wte.weight");
    WRONG(t->name = "transformer.wpe.weight", OTIMES_ERR_FORMAT,
          "<memory>: tensor transformer.wpe.weight is there more than once");
    WRONG(t->dtype = NULL, argument, WTE ": dtype: expected a known type, got none");
    WRONG(t->dtype = "float32", argument, WTE ": dtype: expected a known type, got float32");
    WRONG(t->dtype = "Q4_0", argument, WTE ": dtype: expected a known type, got Q4_0");
    WRONG(t->dtype = "F64", argument, " bytes for dtype, shape and strides, got ");
    WRONG(t->dtype = "U8", OTIMES_ERR_MODEL, "unreadable type of " WTE);
    WRONG(t->data = NULL, argument, WTE ": expected data, got none");
    WRONG(t->ndim = -1, argument, WTE ": expected 0 to 6 axes, got -1");
    WRONG(t->ndim = 7, argument, WTE ": expected 0 to 6 axes, got 7");
    WRONG(t->ndim = 1, OTIMES_ERR_MODEL, "wrong shape of " WTE ": shape [");
    WRONG(t->dim[1] = -4, argument, WTE ": axis 1: expected a size of 0 or more, got -4");
    WRONG(t->dim[0]++, argument, " bytes for dtype, shape and strides, got ");
    WRONG(t->dim[0]--, OTIMES_ERR_MODEL, "wrong shape of " WTE ": shape [");
    WRONG(t->dim[0] = 0, OTIMES_ERR_MODEL, "wrong shape of " WTE ": shape [0,");
    WRONG(t->dim[0] = INT64_MAX, argument, "whose product fits 63 bits");
    WRONG(t->stride[0]++, argument, " bytes for dtype, shape and strides, got ");
    WRONG(t->stride[0] = -1, argument, WTE ": axis 0: expected a stride of 0 or more, got -1");
    WRONG(t->stride[0] = INT64_MAX / 2, argument, "whose product fits 63 bits");
    WRONG(t->bytes--, argument, " bytes for dtype, shape and strides, got ");
    WRONG(t->bytes = -1, argument, " bytes for dtype, shape and strides, got -1");
#undef WRONG
    otimes_model *model = open_lent(&l, true);
    otimes_model_close(&model);
    lent_free(&l);
}

static void wrong_sources(void **state)
{
    (void)state;
    lent l = lent_golden("gpt2");
    const lent good = l;
    otimes_model_settings settings;
    otimes_model *model = (otimes_model *)&l;
    otimes_err err = {0};
    assert_int_equal(otimes_model_open_memory(&model, NULL, NULL, &err), OTIMES_ERR_ARGUMENT);
    assert_null(model);
    assert_string_equal(err.msg, "model: expected tensors, got none");
    l.source.tensor = NULL;
    refused(&l, OTIMES_ERR_ARGUMENT, "<memory>: tensors: expected a list, got none");
    l.source.tensor_count = -1;
    refused(&l, OTIMES_ERR_ARGUMENT, "<memory>: tensors: expected a list, got none");
    l.source.tensor_count = 0;
    refused(&l, OTIMES_ERR_MODEL, "<memory>: no tensors in it");
    l = good;
    l.source.config = "{";
    refused(&l, OTIMES_ERR_FORMAT, "<memory>: config: not valid JSON: line 1");
    l.source.config = "[]";
    refused(&l, OTIMES_ERR_FORMAT, "<memory>: config: expected a JSON object");
    l.source.config = "{\"model_type\": \"made\"}";
    refused(&l, OTIMES_ERR_MODEL, "<memory>: config: unknown architecture");
    l.source.config = "{\"model_type\": \"gpt2\"}";
    refused(&l, OTIMES_ERR_MODEL, "<memory>: config: expected n_embd, got none");
    l.source.config = NULL; /* known by its tensors, and then it lacks sizes */
    refused(&l, OTIMES_ERR_MODEL, "<memory>: config: expected n_embd, got none");
    l = good;
    otimes_model_settings_default(&settings);
    settings.state_dict = "model";
    refused_with(&l, &settings, OTIMES_ERR_MODEL, "no state dictionary \"model\"");
    otimes_model_settings_default(&settings);
    settings.config_path = "/not/there.json";
    refused_with(&l, &settings, OTIMES_ERR_IO, "/not/there.json: cannot open");
    lent_free(&l);
}

static void not_a_number(void **state)
{
    (void)state;
    lent l = lent_golden("gpt2");
    otimes_memory_tensor *t = lent_find(&l, WTE);
    otimes_model *model = open_lent(&l, true);
    otimes_err err = {0};
    float row[64];
    memset((void *)t->data, 0xff, sizeof(float));
    assert_int_equal(otimes_embed_rows(model, 0, 1, row, &err), OTIMES_ERR_VALUE);
    assert_non_null(strstr(err.msg, "<memory>: " WTE ": expected finite numbers"));
    otimes_model_close(&model);
    lent_free(&l);
}

/* A configuration file that is asked for comes before the text. */
static void config_from_a_file(void **state)
{
    (void)state;
    lent l = lent_golden("gpt2");
    char path[4096];
    otimes_model_settings settings;
    otimes_model *model;
    otimes_err err = {0};
    snprintf(path, sizeof path, "%s", source_path("tests/golden/gpt2/config.json"));
    otimes_model_settings_default(&settings);
    settings.config_path = path;
    free((char *)l.source.config);
    l.source.config = NULL;
    assert_ok(otimes_model_open_memory(&model, &l.source, &settings, &err), &err);
    otimes_model_close(&model);
    lent_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_from_memory),
        cmocka_unit_test(stacked_experts),
        cmocka_unit_test_teardown(memory_is_not_let_go, empty_folder),
        cmocka_unit_test(changes_are_seen),
        cmocka_unit_test(the_rest_is_copied),
        cmocka_unit_test(two_names_of_one_memory),
        cmocka_unit_test(texts_of_tokens),
        cmocka_unit_test(texts_of_the_configuration),
        cmocka_unit_test_teardown(digests, empty_folder),
        cmocka_unit_test(wrong_tensors),
        cmocka_unit_test(wrong_sources),
        cmocka_unit_test(not_a_number),
        cmocka_unit_test(config_from_a_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
