/* SPDX-License-Identifier: MIT
 *
 * From a path to a store: which files, and which loader knows them.
 */
#include "format/open.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "format/gguf.h"
#include "format/json.h"
#include "format/llama2c.h"
#include "format/safetensors.h"
#include "format/torch.h"

/* What a model's folder may hold, in the order it is looked for: weights in one file, or an index of
 * shards. */
static const struct {
    const char *single, *index;
} folder_names[] = {
    {"model.safetensors", "model.safetensors.index.json"},
    {"pytorch_model.bin", "pytorch_model.bin.index.json"},
    {"consolidated.00.pth", NULL},
};

/* Every format, asked in this order whether it knows a file by its first bytes: the surer the sign,
 * the earlier. GGUF before safetensors, whose opening brace is also a count of 123 or 379 tensors;
 * llama2.c last, since its version 0 is known by nothing but plausible sizes. */
static const struct {
    const char *name;
    bool (*recognise)(const otimes_map *map);
    int (*add)(otimes_store *store, const otimes_file *file, otimes_err *err);
    bool marked; /* by more than plausible numbers */
} formats[] = {
    {"gguf", otimes_gguf_recognise, otimes_gguf_add, true},
    {"safetensors", otimes_safetensors_recognise, otimes_safetensors_add, true},
    {"pytorch", otimes_torch_recognise, otimes_torch_add, true},
    {"llama2.c", otimes_llama2c_recognise, otimes_llama2c_add, false},
};

static int unknown_format(const char *path, otimes_err *err)
{
    otimes_text known = {0};
    int rc = OTIMES_OK;
    for (size_t i = 0; rc == OTIMES_OK && i < sizeof formats / sizeof formats[0]; i++) {
        rc = otimes_text_add(&known, err, "%s%s", i ? ", " : "", formats[i].name);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_fail(err, OTIMES_ERR_FORMAT, "%s: unknown format: expected the beginning of %s",
                         path, known.data);
    }
    otimes_text_free(&known);
    return rc;
}

/* Maps one more file, takes over `path`, and adds its tensors by the loader that knows it. */
static int add_file(otimes_store *store, char *path, otimes_err *err)
{
    if (!path) {
        return OTIMES_ERR_MEMORY;
    }
    otimes_file *file = &store->files[store->file_count++];
    file->path = path;
    const int rc = otimes_map_open(&file->map, path, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (formats[i].recognise(&file->map)) {
            store->format = formats[i].name;
            return formats[i].add(store, file, err);
        }
    }
    return unknown_format(path, err);
}

/* A shard's name comes from a file of strangers: it must stay in the model's folder. */
static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && !strchr(name, '/') && strcmp(name, "..") != 0 &&
           strcmp(name, ".") != 0;
}

static int check_weight_map(const otimes_store *store, const json_t *weight_map,
                            const char *index_path, otimes_err *err)
{
    const char *tensor;
    json_t *shard;
    json_object_foreach ((json_t *)weight_map, tensor, shard) {
        if (!otimes_store_find(store, tensor)) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: weight_map: %s is in none of the shards", index_path, tensor);
        }
    }
    return OTIMES_OK;
}

static int open_shards(otimes_store *store, const char *index_path, otimes_err *err)
{
    json_t *index, *seen = NULL;
    int rc = otimes_json_load(&index, index_path, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    json_t *weight_map = json_object_get(index, "weight_map");
    if (json_object_size(weight_map) == 0) {
        rc =
            otimes_fail(err, OTIMES_ERR_FORMAT, "%s: expected a weight_map of tensors", index_path);
        goto done;
    }
    seen = json_object();
    rc = seen ? OTIMES_NEW(&store->files, (int64_t)json_object_size(weight_map), err)
              : otimes_fail(err, OTIMES_ERR_MEMORY, "%s: out of memory", index_path);
    const char *tensor;
    json_t *shard;
    json_object_foreach (weight_map, tensor, shard) {
        const char *name = json_string_value(shard);
        if (rc != OTIMES_OK) {
            break;
        }
        if (!name || !is_plain_name(name)) {
            rc = otimes_fail(err, OTIMES_ERR_FORMAT,
                             "%s: weight_map: %s: expected a file name in the same folder",
                             index_path, tensor);
        } else if (!json_object_get(seen, name)) {
            rc = json_object_set_new(seen, name, json_true()) == 0
                     ? add_file(store, otimes_path_join(store->directory, name, err), err)
                     : otimes_fail(err, OTIMES_ERR_MEMORY, "%s: out of memory", index_path);
        }
    }
    if (rc == OTIMES_OK) {
        rc = otimes_store_settle(store, err);
    }
    if (rc == OTIMES_OK) {
        rc = check_weight_map(store, weight_map, index_path, err);
    }
done:
    json_decref(seen);
    json_decref(index);
    return rc;
}

static int open_single(otimes_store *store, char *path, otimes_err *err)
{
    int rc = OTIMES_NEW(&store->files, 1, err);
    if (rc != OTIMES_OK) {
        otimes_free(path);
        return rc;
    }
    rc = add_file(store, path, err);
    return rc == OTIMES_OK ? otimes_store_settle(store, err) : rc;
}

/* Opens directory/name if it is there; *found says so. */
static int open_if_there(otimes_store *store, const char *name, bool shards, bool *found,
                         otimes_err *err)
{
    struct stat st;
    char *path = otimes_path_join(store->directory, name, err);
    if (!path) {
        return OTIMES_ERR_MEMORY;
    }
    *found = stat(path, &st) == 0;
    if (*found && !shards) {
        return open_single(store, path, err);
    }
    const int rc = *found ? open_shards(store, path, err) : OTIMES_OK;
    otimes_free(path);
    return rc;
}

/* By its first bytes; those of llama2.c have no mark and prove nothing here. */
static bool has_mark(const char *path)
{
    otimes_map map;
    bool known = false;
    if (otimes_map_open(&map, path, NULL) != OTIMES_OK) {
        return false;
    }
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        known |= formats[i].marked && formats[i].recognise(&map);
    }
    otimes_map_close(&map);
    return known;
}

/* A folder without any of the usual names: the one file in it that is a checkpoint. */
static int open_only_file(otimes_store *store, otimes_err *err)
{
    char *found = NULL;
    int count = 0, rc = OTIMES_OK;
    DIR *folder = opendir(store->directory);
    const struct dirent *item;
    while (folder && rc == OTIMES_OK && (item = readdir(folder))) {
        char *path = otimes_path_join(store->directory, item->d_name, err);
        rc = path ? OTIMES_OK : OTIMES_ERR_MEMORY;
        if (path && has_mark(path)) {
            otimes_free(found);
            found = path;
            count++;
        } else {
            otimes_free(path);
        }
    }
    if (folder) {
        closedir(folder);
    }
    if (rc == OTIMES_OK && count == 1) {
        return open_single(store, found, err);
    }
    otimes_free(found);
    if (rc != OTIMES_OK) {
        return rc;
    }
    return count
               ? otimes_fail(err, OTIMES_ERR_IO,
                             "%s: several models in this folder: expected one, got %d files; name "
                             "the file",
                             store->directory, count)
               : otimes_fail(err, OTIMES_ERR_IO,
                             "%s: no model in this folder: expected model.safetensors, "
                             "pytorch_model.bin, the index of either, or one file of a known "
                             "format",
                             store->directory);
}

static int open_directory(otimes_store *store, const char *path, otimes_err *err)
{
    store->directory = otimes_strdup(path);
    if (!store->directory) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: path");
    }
    for (size_t i = 0; i < sizeof folder_names / sizeof folder_names[0]; i++) {
        bool found = false;
        int rc = open_if_there(store, folder_names[i].single, false, &found, err);
        if (rc == OTIMES_OK && !found && folder_names[i].index) {
            rc = open_if_there(store, folder_names[i].index, true, &found, err);
        }
        if (rc != OTIMES_OK || found) {
            return rc;
        }
    }
    return open_only_file(store, err);
}

static int open_file(otimes_store *store, const char *path, otimes_err *err)
{
    const char *slash = strrchr(path, '/');
    store->directory = slash ? otimes_strndup(path, slash == path ? 1 : (size_t)(slash - path))
                             : otimes_strdup(".");
    char *copy = store->directory ? otimes_strdup(path) : NULL;
    if (!copy) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: path");
    }
    return open_single(store, copy, err);
}

int otimes_store_open(otimes_store *store, const char *path, otimes_err *err)
{
    struct stat st;
    *store = (otimes_store){0};
    if (stat(path, &st) != 0) {
        return otimes_fail(err, OTIMES_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    int rc = S_ISDIR(st.st_mode) ? open_directory(store, path, err) : open_file(store, path, err);
    /* One that is being written may have any fault. */
    const int changed = otimes_store_unchanged(store, NULL, err);
    rc = changed != OTIMES_OK ? changed : rc;
    if (rc == OTIMES_OK) {
        otimes_store_join(store);
    } else {
        otimes_store_close(store);
    }
    return rc;
}
