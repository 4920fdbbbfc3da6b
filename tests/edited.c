/* SPDX-License-Identifier: MIT */
#include "edited.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void read_golden(checkpoint *c, const char *name)
{
    char relative[128];
    snprintf(relative, sizeof relative, "tests/golden/%s/config.json", name);
    c->config = json_load_file(source_path(relative), 0, NULL);
    snprintf(relative, sizeof relative, "tests/golden/%s/model.safetensors", name);
    FILE *file = fopen(source_path(relative), "rb");
    unsigned char length_bytes[8];
    assert_true(c->config && file);
    assert_int_equal(fread(length_bytes, 1, 8, file), 8);
    size_t length = 0;
    for (int i = 7; i >= 0; i--) {
        length = length << 8 | length_bytes[i];
    }
    char *text = malloc(length);
    c->data = malloc(1 << 20);
    assert_true(text && c->data);
    assert_int_equal(fread(text, 1, length, file), length);
    c->data_bytes = fread(c->data, 1, 1 << 20, file);
    c->header = json_loadb(text, length, 0, NULL);
    assert_non_null(c->header);
    free(text);
    fclose(file);
}

void drop_checkpoint(checkpoint *c)
{
    json_decref(c->config);
    json_decref(c->header);
    free(c->data);
}

size_t bytes_of(const json_t *tensor)
{
    otimes_dtype dtype;
    size_t index;
    json_t *size;
    assert_true(otimes_dtype_parse(json_string_value(json_object_get(tensor, "dtype")), &dtype));
    size_t bytes = otimes_dtype_size(dtype);
    json_array_foreach (json_object_get(tensor, "shape"), index, size) {
        bytes *= (size_t)json_integer_value(size);
    }
    return bytes;
}

/* Tensors one after another as the header lists them; those without data_offsets are zeros. */
void write_weights(const checkpoint *c)
{
    unsigned char *data = calloc(1, 1 << 20);
    json_t *header = json_deep_copy(c->header), *tensor;
    const char *name;
    size_t at = 0;
    assert_non_null(data);
    json_object_foreach (header, name, tensor) {
        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        const size_t bytes = bytes_of(tensor);
        const json_t *offsets = json_object_get(tensor, "data_offsets");
        assert_true(at + bytes <= 1 << 20);
        if (offsets) {
            memcpy(data + at, c->data + json_integer_value(json_array_get(offsets, 0)), bytes);
        }
        json_object_set_new(tensor, "data_offsets",
                            json_pack("[I, I]", (json_int_t)at, (json_int_t)(at + bytes)));
        at += bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    const size_t length = strlen(text);
    unsigned char *whole = malloc(8 + length + at);
    assert_non_null(whole);
    for (int i = 0; i < 8; i++) {
        whole[i] = (unsigned char)(length >> 8 * i);
    }
    memcpy(whole + 8, text, length);
    memcpy(whole + 8 + length, data, at);
    write_file("model.safetensors", whole, 8 + length + at);
    free(whole);
    free(text);
    free(data);
    json_decref(header);
}

void write_config(const json_t *config)
{
    assert_int_equal(json_dump_file(config, in_folder("config.json"), 0), 0);
}

void edit(json_t *object, const char *changes)
{
    json_error_t problem;
    json_t *patch = json_loads(changes, 0, &problem), *value;
    const char *key;
    if (!patch) {
        fail_msg("%s: %s", changes, problem.text);
    }
    json_object_foreach (patch, key, value) {
        if (json_is_string(value) && strcmp(json_string_value(value), "DELETE") == 0) {
            json_object_del(object, key);
        } else {
            json_object_set(object, key, value);
        }
    }
    json_decref(patch);
}

void write_edited(const char *golden_name, const char *config, const char *weights)
{
    checkpoint c;
    read_golden(&c, golden_name);
    edit(c.config, config ? config : "{}");
    edit(c.header, weights ? weights : "{}");
    write_config(c.config);
    write_weights(&c);
    drop_checkpoint(&c);
}

void check_words(const char *words, const char *message, const char *what)
{
    char list[1024];
    snprintf(list, sizeof list, "%s", words);
    for (char *word = strtok(list, "|"); word; word = strtok(NULL, "|")) {
        if (!strstr(message, word)) {
            fail_msg("%s: expected '%s' in '%s'", what, word, message);
        }
    }
}

void refused_path(const char *path, const otimes_model_settings *settings, int code,
                  const char *words, const char *what)
{
    otimes_model *model = (otimes_model *)temp_folder;
    otimes_err err = {0};
    const int rc = otimes_model_open(&model, path, settings, &err);
    if (rc != code || err.code != code) {
        fail_msg("%s: expected error %d, got %d: %s", what, code, rc, err.msg);
    }
    assert_null(model);
    assert_null(strchr(err.msg, '\n'));
    check_words(words, err.msg, what);
    assert_int_equal(otimes_model_open(&model, path, settings, NULL), code);
}

void refused(int code, const char *words, const char *what)
{
    refused_path(temp_folder, NULL, code, words, what);
}

otimes_model *opens(void)
{
    otimes_model *model;
    otimes_err err = {0};
    assert_ok(otimes_model_open(&model, temp_folder, NULL, &err), &err);
    return model;
}

void run_cases(const bad_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char what[512];
        write_edited(cases[i].golden, cases[i].config, cases[i].weights);
        snprintf(what, sizeof what, "%s %s %s", cases[i].golden,
                 cases[i].config ? cases[i].config : "", cases[i].weights ? cases[i].weights : "");
        refused(cases[i].code, cases[i].words, what);
    }
}
