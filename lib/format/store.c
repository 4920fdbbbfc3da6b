/* SPDX-License-Identifier: MIT */
#include "format/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

char *otimes_path_join(const char *directory, const char *name, otimes_err *err)
{
    otimes_text path = {0};
    const size_t length = strlen(directory);
    const char *slash = length > 0 && directory[length - 1] == '/' ? "" : "/";
    if (otimes_text_add(&path, err, "%s%s%s", directory, slash, name) != OTIMES_OK) {
        otimes_text_free(&path);
    }
    return path.data;
}

int otimes_store_add(otimes_store *store, const otimes_entry *entry, otimes_err *err)
{
    const int rc = OTIMES_GROW(&store->entries, store->entry_count, &store->entry_capacity, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    otimes_entry *kept = &store->entries[store->entry_count];
    *kept = *entry;
    kept->name = otimes_strdup(entry->name);
    kept->group = otimes_strdup(entry->group ? entry->group : "");
    kept->alias_of = entry->alias_of ? otimes_strdup(entry->alias_of) : NULL;
    store->entry_count++;
    return kept->name && kept->group && !kept->alias_of == !entry->alias_of
               ? OTIMES_OK
               : otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: tensor name");
}

/* Where the next axis begins; of the outermost, which has none, the product need not fit. */
static int64_t next_stride(int64_t stride, int64_t dim)
{
    return (int64_t)((uint64_t)stride * (uint64_t)dim);
}

void otimes_entry_row_major(otimes_entry *entry)
{
    int64_t stride = 1;
    for (int i = 0; i < entry->ndim; i++) {
        stride = entry->dim[i] == 0 ? 0 : stride;
    }
    for (int i = entry->ndim - 1; i >= 0; i--) {
        entry->stride[i] = stride;
        stride = next_stride(stride, entry->dim[i]);
    }
}

void otimes_entry_settle_strides(otimes_entry *entry)
{
    int64_t next = 1;
    for (int i = entry->ndim - 1; i >= 0; i--) {
        if (entry->bytes == 0 || entry->dim[i] == 1) {
            entry->stride[i] = entry->bytes == 0 ? 0 : next;
        }
        next = entry->bytes == 0 ? 0 : next_stride(entry->stride[i], entry->dim[i]);
    }
}

static int by_name(const void *a, const void *b)
{
    const otimes_entry *x = a, *y = b;
    const int order = strcmp(x->group, y->group);
    return order ? order : strcmp(x->name, y->name);
}

int otimes_store_settle(otimes_store *store, otimes_err *err)
{
    if (store->entry_count > 0) { /* qsort takes no NULL */
        qsort(store->entries, (size_t)store->entry_count, sizeof *store->entries, by_name);
    }
    for (int64_t i = 1; i < store->entry_count; i++) {
        if (by_name(&store->entries[i - 1], &store->entries[i]) == 0) {
            return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: tensor %s is there more than once",
                               store->directory, store->entries[i].name);
        }
    }
    return OTIMES_OK;
}

int64_t otimes_store_group(const otimes_store *store, int64_t first)
{
    int64_t end = first;
    while (end < store->entry_count &&
           strcmp(store->entries[end].group, store->entries[first].group) == 0) {
        end++;
    }
    return end - first;
}

int64_t otimes_store_bytes(const otimes_store *store)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < store->file_count; i++) {
        bytes += store->files[i].map.bytes;
    }
    for (int64_t i = 0; store->lent && i < store->entry_count; i++) {
        const otimes_entry *entry = &store->entries[i];
        bytes += entry->alias_of ? 0 : entry->bytes;
    }
    return bytes;
}

static bool is_inside(const otimes_map *map, const void *data)
{
    const uintptr_t first = (uintptr_t)map->data, at = (uintptr_t)data;
    return at >= first && at - first < (uintptr_t)map->bytes;
}

int otimes_store_unchanged(const otimes_store *store, const otimes_entry *entry, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t i = 0; rc == OTIMES_OK && i < store->file_count; i++) {
        const otimes_file *file = &store->files[i];
        if (!entry || is_inside(&file->map, entry->data) || is_inside(&file->map, entry->scales)) {
            rc = otimes_map_unchanged(&file->map, file->path, err);
        }
    }
    return rc;
}

bool otimes_store_mend(otimes_store *store, const void *address)
{
    bool done = false;
    for (int64_t i = 0; !done && i < store->file_count; i++) {
        done = otimes_map_mend(&store->files[i].map, address);
    }
    return done;
}

static void free_entry(otimes_entry *entry)
{
    otimes_free(entry->name);
    otimes_free(entry->group);
    otimes_free(entry->alias_of);
}

void otimes_store_choose(otimes_store *store, const char *group)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < store->entry_count; i++) {
        otimes_entry *entry = &store->entries[i];
        if (strcmp(entry->group, group) == 0) {
            store->entries[kept++] = *entry;
        } else {
            free_entry(entry);
        }
    }
    store->entry_count = kept;
}

const otimes_entry *otimes_store_find(const otimes_store *store, const char *name)
{
    const otimes_entry key = {
        .name = (char *)name,
        .group = store->entry_count ? store->entries[0].group : NULL,
    };
    return store->entry_count
               ? bsearch(&key, store->entries, (size_t)store->entry_count, sizeof key, by_name)
               : NULL;
}

void otimes_store_close(otimes_store *store)
{
    if (!store) {
        return;
    }
    for (int64_t i = 0; i < store->file_count; i++) {
        otimes_map_close(&store->files[i].map);
        otimes_free(store->files[i].path);
    }
    for (int64_t i = 0; i < store->entry_count; i++) {
        free_entry(&store->entries[i]);
    }
    otimes_free(store->files);
    otimes_free(store->entries);
    otimes_free(store->directory);
    json_decref(store->config);
    *store = (otimes_store){0};
}

/* ---- blocks and their scales ---- */

static const otimes_dtype packed_type = OTIMES_DTYPE_MXFP4_APART;

static bool is_row_major(const otimes_entry *entry)
{
    otimes_entry packed = *entry;
    otimes_entry_row_major(&packed);
    return memcmp(packed.stride, entry->stride, (size_t)entry->ndim * sizeof *entry->stride) == 0;
}

/* Among the first `count` entries, or NULL. The two endings are equally long. */
static otimes_entry *find_blocks(const otimes_store *store, int64_t count, otimes_entry *scales)
{
    const size_t length = strlen(scales->name), ending = strlen("scales");
    if (length <= ending || strcmp(scales->name + length - ending - 1, "_scales") != 0) {
        return NULL;
    }
    memcpy(scales->name + length - ending, "blocks", ending);
    otimes_entry *blocks = bsearch(scales, store->entries, (size_t)count, sizeof *scales, by_name);
    memcpy(scales->name + length - ending, "scales", ending);
    return blocks;
}

/* False, and nothing changed, when the two do not fit. */
static bool join(otimes_entry *blocks, const otimes_entry *scales)
{
    const int last = scales->ndim - 1;
    bool fits = blocks->dtype == OTIMES_DTYPE_U8 && scales->dtype == OTIMES_DTYPE_U8 && last >= 0 &&
                blocks->ndim == scales->ndim + 1 && !blocks->alias_of == !scales->alias_of &&
                is_row_major(blocks) && is_row_major(scales) &&
                blocks->dim[last + 1] == (int64_t)otimes_dtype_size(packed_type);
    for (int i = 0; fits && i <= last; i++) {
        fits = blocks->dim[i] == scales->dim[i];
    }
    int64_t row;
    if (!fits || !otimes_mul_i64(scales->dim[last], otimes_dtype_block(packed_type), &row)) {
        return false;
    }
    blocks->dtype = packed_type;
    blocks->ndim = scales->ndim;
    blocks->dim[last] = row;
    otimes_entry_row_major(blocks);
    blocks->scales = scales->data;
    blocks->bytes += scales->bytes;
    return true;
}

/* X_blocks stands before X_scales: among those kept already. */
void otimes_store_join(otimes_store *store)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < store->entry_count; i++) {
        otimes_entry *entry = &store->entries[i];
        otimes_entry *blocks = find_blocks(store, kept, entry);
        if (blocks && join(blocks, entry)) {
            free_entry(entry);
        } else {
            store->entries[kept++] = *entry;
        }
    }
    store->entry_count = kept;
}
