/* SPDX-License-Identifier: MIT
 *
 * The two containers of torch.save (torch/serialization.py of PyTorch): where the pickle is and
 * where the storages are that its persistent ids name.
 */
#include "format/torch.h"

#include <stdlib.h>
#include <string.h>

#include "format/le.h"
#include "format/torch_gather.h"
#include "format/zip.h"

enum { NEWEST_PROTOCOL = 5, TAR_MAGIC_AT = 257, LEGACY_PROTOCOL = 1001 };

static bool begins_with(const otimes_map *map, int64_t at, const char *bytes, int64_t count)
{
    return at <= map->bytes && count <= map->bytes - at &&
           memcmp(map->data + at, bytes, (size_t)count) == 0;
}

static bool is_zip(const otimes_map *map)
{
    return begins_with(map, 0, "PK\003\004", 4) || begins_with(map, 0, "PK\005\006", 4);
}

static bool is_tar(const otimes_map *map)
{
    return begins_with(map, TAR_MAGIC_AT, "ustar", 5);
}

/* ---- zip: <root>/data.pkl, <root>/data/<key>, <root>/byteorder ---- */

/* An entry below the root; NULL with *rc OK when there is none. */
static const otimes_zip_entry *below_root(const otimes_zip *zip, const char *folder,
                                          otimes_pickle_text name, otimes_text *path, int *rc,
                                          otimes_err *err)
{
    const char *slash = zip->first ? memchr(zip->first, '/', (size_t)zip->first_length) : NULL;
    if (!slash) {
        return NULL;
    }
    path->length = 0;
    *rc = otimes_text_add(path, err, "%.*s%s%.*s", (int)(slash + 1 - zip->first), zip->first,
                          folder, (int)name.length, name.data);
    return *rc == OTIMES_OK ? otimes_zip_find(zip, path->data, path->length) : NULL;
}

static int find_pickle(const otimes_zip *zip, otimes_pickle *pickle, otimes_text *name,
                       otimes_err *err)
{
    int rc = OTIMES_OK;
    const otimes_zip_entry *entry =
        below_root(zip, "", (otimes_pickle_text){"data.pkl", 8}, name, &rc, err);
    if (rc == OTIMES_OK && !entry) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: a zip archive without data.pkl: not a torch checkpoint", zip->path);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_zip_data(zip, entry, &pickle->data, err);
        pickle->bytes = (int64_t)entry->bytes;
    }
    return rc;
}

static int check_byte_order(const otimes_zip *zip, otimes_text *name, otimes_err *err)
{
    const unsigned char *data;
    int rc = OTIMES_OK;
    const otimes_zip_entry *entry =
        below_root(zip, "", (otimes_pickle_text){"byteorder", 9}, name, &rc, err);
    if (rc != OTIMES_OK || !entry) {
        return rc;
    }
    rc = otimes_zip_data(zip, entry, &data, err);
    if (rc == OTIMES_OK && (entry->bytes != 6 || memcmp(data, "little", 6) != 0)) {
        rc = otimes_fail(err, OTIMES_ERR_FORMAT, "%s: byteorder: expected little, got %.*s",
                         zip->path, (int)(entry->bytes < 20 ? entry->bytes : 20),
                         (const char *)data);
    }
    return rc;
}

static int bind_to_zip(const otimes_zip *zip, const otimes_pickle *pickle, otimes_text *name,
                       otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < pickle->storage_count; i++) {
        otimes_torch_storage *storage = pickle->storages[i];
        const int64_t bytes = storage->numel * storage->type->size;
        const otimes_zip_entry *entry =
            below_root(zip, "data/", storage->key->text, name, &rc, err);
        if (rc == OTIMES_OK && !entry) {
            rc = otimes_fail(err, OTIMES_ERR_FORMAT, "%s: storage %s: no such entry in the archive",
                             zip->path, name->data);
        } else if (rc == OTIMES_OK) {
            rc = otimes_zip_data(zip, entry, &storage->data, err);
        }
        if (rc == OTIMES_OK && entry->bytes < (uint64_t)bytes) {
            rc = otimes_fail(err, OTIMES_ERR_FORMAT,
                             "%s: storage %s: expected %lld bytes, got %llu", zip->path, name->data,
                             (long long)bytes, (unsigned long long)entry->bytes);
        }
    }
    return rc;
}

static int add_zip(otimes_store *store, const otimes_file *file, otimes_err *err)
{
    otimes_zip zip;
    otimes_text name = {0};
    otimes_pickle pickle = {.path = file->path};
    otimes_pickle_value *root = NULL;
    int rc = otimes_zip_open(&zip, file->path, &file->map, err);
    if (rc == OTIMES_OK) {
        rc = find_pickle(&zip, &pickle, &name, err);
    }
    if (rc == OTIMES_OK) {
        rc = check_byte_order(&zip, &name, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pickle_load(&pickle, &root, err);
    }
    if (rc == OTIMES_OK) {
        rc = bind_to_zip(&zip, &pickle, &name, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_torch_gather(store, root, pickle.bytes, file->path, err);
    }
    otimes_pickle_free(&pickle);
    otimes_text_free(&name);
    otimes_zip_close(&zip);
    return rc;
}

/* ---- before 1.6: five pickles, then each storage's count and numbers ---- */

/* Length of the first pickle, the number 0x1950a86a20f9469cfc6c, or 0 when it is another. Python
 * writes it in these ways. */
static int64_t magic_length(const otimes_map *map)
{
    static const char digits[] = "L119547037146038801333356L\n.";
    static const char bytes[] = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    int64_t at = 2; /* PROTO */
    if (begins_with(map, 0, digits, sizeof digits - 1)) {
        return sizeof digits - 1;
    }
    if (map->bytes < at || map->data[0] != 0x80 || map->data[1] > NEWEST_PROTOCOL) {
        return 0;
    }
    at += begins_with(map, at, "\x95", 1) ? 9 : 0; /* FRAME */
    return begins_with(map, at, bytes, sizeof bytes - 1) ? at + (int64_t)sizeof bytes - 1 : 0;
}

static int check_header(otimes_pickle *pickle, otimes_err *err)
{
    otimes_pickle_value *protocol = NULL, *system = NULL;
    int rc = otimes_pickle_load(pickle, &protocol, err);
    if (rc == OTIMES_OK &&
        (protocol->kind != OTIMES_PICKLE_INT || protocol->integer != LEGACY_PROTOCOL)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: expected protocol version %d, got another",
                           pickle->path, LEGACY_PROTOCOL);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pickle_load(pickle, &system, err);
    }
    if (rc != OTIMES_OK) {
        return rc;
    }
    const otimes_pickle_value *little = otimes_pickle_member(system, "little_endian");
    if (!little || little->kind != OTIMES_PICKLE_BOOL || !little->integer) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: expected little_endian numbers, got %s",
                           pickle->path, little ? "big-endian ones" : "no word of their order");
    }
    return OTIMES_OK;
}

static int by_key(const void *a, const void *b)
{
    const otimes_pickle_text *x = &(*(otimes_torch_storage *const *)a)->key->text;
    const otimes_pickle_text *y = &(*(otimes_torch_storage *const *)b)->key->text;
    const int64_t common = x->length < y->length ? x->length : y->length;
    const int order = memcmp(x->data, y->data, (size_t)common);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

/* All storages of that key, which ids repeat; *first is the first of *count. */
static void find_storages(const otimes_pickle *pickle, const otimes_pickle_value *key,
                          int64_t *first, int64_t *count)
{
    otimes_torch_storage wanted = {.key = key};
    const otimes_torch_storage *const probe = &wanted;
    int64_t low = 0, high = pickle->storage_count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (by_key(&pickle->storages[middle], &probe) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *first = low;
    while (high < pickle->storage_count && by_key(&pickle->storages[high], &probe) == 0) {
        high++;
    }
    *count = high - low;
}

/* One storage of the file: a count of 8 bytes, and the numbers. */
static int bind_one(otimes_pickle *pickle, const otimes_pickle_value *key, otimes_err *err)
{
    const int64_t left = pickle->bytes - pickle->at - 8;
    int64_t first, count;
    if (key->kind != OTIMES_PICKLE_TEXT || key->text.length > INT32_MAX) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: storage keys: expected texts",
                           pickle->path);
    }
    const int length = (int)key->text.length;
    find_storages(pickle, key, &first, &count);
    if (count == 0 || pickle->storages[first]->data) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: storage %.*s: expected one use, got %s",
                           pickle->path, length, key->text.data, count ? "another" : "none");
    }
    if (left < 0) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: storage %.*s: the file ends before it",
                           pickle->path, length, key->text.data);
    }
    const uint64_t numel = otimes_le64(pickle->data + pickle->at);
    for (int64_t i = first; i < first + count; i++) {
        otimes_torch_storage *storage = pickle->storages[i];
        const int64_t bytes = storage->numel * storage->type->size;
        if (numel != (uint64_t)storage->numel || bytes > left ||
            storage->type->size != pickle->storages[first]->type->size) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: storage %.*s: expected %lld elements of %d bytes, got %llu and "
                               "%lld bytes to the end of the file",
                               pickle->path, length, key->text.data, (long long)storage->numel,
                               storage->type->size, (unsigned long long)numel, (long long)left);
        }
        storage->data = pickle->data + pickle->at + 8;
    }
    pickle->at += 8 + (int64_t)numel * pickle->storages[first]->type->size;
    return OTIMES_OK;
}

static int bind_to_rest(otimes_pickle *pickle, const otimes_pickle_value *keys, otimes_err *err)
{
    int rc = OTIMES_OK;
    if (keys->kind != OTIMES_PICKLE_LIST) {
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: expected a list of storage keys",
                           pickle->path);
    }
    if (pickle->storage_count > 0) { /* qsort takes no NULL */
        qsort(pickle->storages, (size_t)pickle->storage_count, sizeof *pickle->storages, by_key);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < keys->items.count; i++) {
        rc = bind_one(pickle, keys->items.item[i], err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < pickle->storage_count; i++) {
        const otimes_pickle_text *key = &pickle->storages[i]->key->text;
        if (!pickle->storages[i]->data) {
            rc = otimes_fail(err, OTIMES_ERR_FORMAT, "%s: storage %.*s is not in the file",
                             pickle->path, (int)(key->length < 200 ? key->length : 200), key->data);
        }
    }
    return rc;
}

static int add_legacy(otimes_store *store, const otimes_file *file, otimes_err *err)
{
    otimes_pickle pickle = {
        .path = file->path,
        .data = file->map.data,
        .bytes = file->map.bytes,
        .at = magic_length(&file->map),
    };
    otimes_pickle_value *root = NULL, *keys = NULL;
    if (pickle.at == 0) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: a pickle without torch's magic number: not written by torch.save",
                           file->path);
    }
    int rc = check_header(&pickle, err);
    if (rc == OTIMES_OK) {
        rc = otimes_pickle_load(&pickle, &root, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pickle_load(&pickle, &keys, err);
    }
    const int64_t pickle_bytes = pickle.at;
    if (rc == OTIMES_OK) {
        rc = bind_to_rest(&pickle, keys, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_torch_gather(store, root, pickle_bytes, file->path, err);
    }
    otimes_pickle_free(&pickle);
    return rc;
}

/* ---- either ---- */

bool otimes_torch_recognise(const otimes_map *map)
{
    return is_zip(map) || is_tar(map) || magic_length(map) > 0 ||
           (map->bytes >= 2 && map->data[0] == 0x80 && map->data[1] <= NEWEST_PROTOCOL);
}

int otimes_torch_add(otimes_store *store, const otimes_file *file, otimes_err *err)
{
    if (is_zip(&file->map)) {
        return add_zip(store, file, err);
    }
    if (is_tar(&file->map)) {
        return otimes_fail(err, OTIMES_ERR_FORMAT,
                           "%s: a tar archive: checkpoints of torch before 0.1.10 cannot be read",
                           file->path);
    }
    return add_legacy(store, file, err);
}
