/* SPDX-License-Identifier: MIT
 *
 * Opens a tokenizer of any format, recognised by content.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/open.h"
#include "token/formats.h"
#include "token/gguf.h"

/* What is looked for in a folder, in this order. */
static const char *const names[] = {"tokenizer.json",    "vocab.json",      "encoder.json",
                                    "gpt2_encoder.json", "tokenizer.model", "tokenizer.bin"};

static int file_in(const char *folder, char **path, otimes_err *err)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *path = otimes_path_join(folder, names[i], err);
        if (!*path) {
            return OTIMES_ERR_MEMORY;
        }
        if (access(*path, F_OK) == 0) {
            return OTIMES_OK;
        }
        otimes_free(*path);
        *path = NULL;
    }
    return otimes_fail(err, OTIMES_ERR_IO,
                       "%s: no tokenizer here: expected tokenizer.json, vocab.json with merges.txt,"
                       " encoder.json with vocab.bpe, tokenizer.model or tokenizer.bin",
                       folder);
}

static int from_json(otimes_tokenizer *t, const otimes_map *map, otimes_err *err)
{
    json_t *root;
    int rc = otimes_json_parse_tokens(&root, map->data, map->bytes, t->path, err);
    if (rc == OTIMES_OK) {
        rc = json_is_object(json_object_get(root, "model"))
                 ? otimes_tokenizer_from_json(t, root, err)
                 : otimes_tokenizer_from_gpt2(t, root, t->path, err);
    }
    json_decref(root);
    return rc;
}

/* JSON begins with a brace. A vocabulary of llama2.c begins with the length of its longest token,
 * in four bytes of which the upper two are 0; SentencePiece's ModelProto with a piece of some
 * bytes. */
static int from_file(otimes_tokenizer *t, const otimes_map *map, otimes_err *err)
{
    int64_t blank = 0;
    while (blank < map->bytes && map->data[blank] && strchr(" \t\r\n", map->data[blank])) {
        blank++;
    }
    if (blank < map->bytes && map->data[blank] == '{') {
        return from_json(t, map, err);
    }
    if (map->bytes >= 4 && map->data[2] == 0 && map->data[3] == 0) {
        return otimes_tokenizer_from_llama2c(t, map, err);
    }
    if (map->bytes >= 4 && map->data[0] == 0x0a) {
        return otimes_tokenizer_from_sentencepiece(t, map, err);
    }
    return otimes_fail(err, OTIMES_ERR_FORMAT,
                       "%s: no tokenizer: expected JSON, a SentencePiece model, a vocabulary of "
                       "llama2.c or GGUF",
                       t->path);
}

static int open_file(otimes_tokenizer **tokenizer, const char *path, otimes_err *err)
{
    otimes_map map;
    otimes_tokenizer *t = NULL;
    otimes_token_settings settings = {0};
    int rc = otimes_map_open(&map, path, err);
    if (rc == OTIMES_OK) {
        rc = otimes_tokenizer_new(&t, path, err);
    }
    if (rc == OTIMES_OK) {
        rc = from_file(t, &map, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_token_settings_read(&settings, path, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_token_settings_apply(t, &settings, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_tokenizer_settle(t, err);
    }
    otimes_token_settings_free(&settings);
    otimes_map_close(&map);
    if (rc != OTIMES_OK) {
        otimes_tokenizer_close(&t);
    }
    *tokenizer = t;
    return rc;
}

static bool is_gguf(const char *path)
{
    otimes_map map;
    if (otimes_map_open(&map, path, NULL) != OTIMES_OK) {
        return false;
    }
    const bool is = map.bytes >= 4 && memcmp(map.data, "GGUF", 4) == 0;
    otimes_map_close(&map);
    return is;
}

static int open_gguf(otimes_tokenizer **tokenizer, const char *path, otimes_err *err)
{
    otimes_store store;
    int rc = otimes_store_open(&store, path, err);
    if (rc == OTIMES_OK) {
        rc = otimes_tokenizer_from_gguf(tokenizer, store.config, path, err);
        otimes_store_close(&store);
    }
    return rc;
}

int otimes_tokenizer_open(otimes_tokenizer **tokenizer, const char *path, otimes_err *err)
{
    struct stat status;
    *tokenizer = NULL;
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        char *file;
        int rc = file_in(path, &file, err);
        if (rc == OTIMES_OK) {
            rc = open_file(tokenizer, file, err);
            otimes_free(file);
        }
        return rc;
    }
    return is_gguf(path) ? open_gguf(tokenizer, path, err) : open_file(tokenizer, path, err);
}
