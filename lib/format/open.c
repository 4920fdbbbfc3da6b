/* SPDX-License-Identifier: MIT
 *
 * From a path to a store: which files, and which loader knows them.
 */
#include "format/open.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "format/json.h"
#include "format/safetensors.h"

#define INDEX_NAME "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"

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
    if (otimes_safetensors_recognise(&file->map)) {
        store->format = "safetensors";
        return otimes_safetensors_add(store, file, err);
    }
    return otimes_fail(err, OTIMES_ERR_FORMAT,
                       "%s: unknown format: expected safetensors (8 bytes of header length, then "
                       "a JSON object)",
                       path);
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

static int open_directory(otimes_store *store, const char *path, otimes_err *err)
{
    struct stat st;
    store->directory = otimes_strdup(path);
    if (!store->directory) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: path");
    }
    char *single = otimes_path_join(path, SINGLE_NAME, err);
    if (!single) {
        return OTIMES_ERR_MEMORY;
    }
    if (stat(single, &st) == 0) {
        return open_single(store, single, err);
    }
    otimes_free(single);
    char *index = otimes_path_join(path, INDEX_NAME, err);
    if (!index) {
        return OTIMES_ERR_MEMORY;
    }
    const int rc =
        stat(index, &st) == 0
            ? open_shards(store, index, err)
            : otimes_fail(err, OTIMES_ERR_IO,
                          "%s: no model in this folder: expected " SINGLE_NAME " or " INDEX_NAME,
                          path);
    otimes_free(index);
    return rc;
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
    const int rc =
        S_ISDIR(st.st_mode) ? open_directory(store, path, err) : open_file(store, path, err);
    if (rc != OTIMES_OK) {
        otimes_store_close(store);
    }
    return rc;
}
