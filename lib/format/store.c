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
    if (!kept->name) {
        return otimes_fail(err, OTIMES_ERR_MEMORY, "out of memory: tensor name");
    }
    store->entry_count++;
    return OTIMES_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const otimes_entry *)a)->name, ((const otimes_entry *)b)->name);
}

int otimes_store_settle(otimes_store *store, otimes_err *err)
{
    if (store->entry_count > 0) { /* qsort takes no NULL */
        qsort(store->entries, (size_t)store->entry_count, sizeof *store->entries, by_name);
    }
    for (int64_t i = 1; i < store->entry_count; i++) {
        if (strcmp(store->entries[i - 1].name, store->entries[i].name) == 0) {
            return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: tensor %s is there more than once",
                               store->directory, store->entries[i].name);
        }
    }
    return OTIMES_OK;
}

const otimes_entry *otimes_store_find(const otimes_store *store, const char *name)
{
    const otimes_entry key = {.name = (char *)name};
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
        otimes_free(store->entries[i].name);
    }
    otimes_free(store->files);
    otimes_free(store->entries);
    otimes_free(store->directory);
    *store = (otimes_store){0};
}
