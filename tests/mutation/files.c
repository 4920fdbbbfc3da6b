/* SPDX-License-Identifier: MIT */
#include "mutation.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bytes bytes_new(size_t length)
{
    bytes new = {calloc(length + 1, 1), length};
    if (!new.data) {
        perror("mutation");
        exit(EXIT_FAILURE);
    }
    return new;
}

static bool ends_with(const char *name, const char *end)
{
    const size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

static file_kind kind_of(const char *name)
{
    static const struct {
        const char *end;
        file_kind kind;
    } ends[] = {{".safetensors", FILE_SAFETENSORS},
                {".gguf", FILE_GGUF},
                {".bin", FILE_LLAMA2C},
                {".pt", FILE_TORCH},
                {".pth", FILE_TORCH},
                {"config.json", FILE_CONFIG}};
    for (size_t i = 0; strcmp(name, "tokenizer_config.json") != 0 && i < sizeof ends / sizeof *ends;
         i++) {
        if (ends_with(name, ends[i].end)) {
            return ends[i].kind;
        }
    }
    return FILE_OTHER;
}

/* A file that a model is read from. */
static bool belongs(const char *name)
{
    static const char *const others[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                         "vocab.json", "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (strcmp(name, others[i]) == 0) {
            return true;
        }
    }
    return strncmp(name, "model", 5) == 0 && ends_with(name, ".safetensors");
}

static bool add_file(model_files *files, const char *folder, const char *name)
{
    char path[4096];
    struct stat st;
    model_file *file = &files->file[files->count];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *stream = fopen(path, "rb");
    if (!stream || fstat(fileno(stream), &st) != 0 || files->count == MOST_FILES) {
        if (stream) {
            fclose(stream);
        }
        return false;
    }
    snprintf(file->name, sizeof file->name, "%s", name);
    file->kind = kind_of(name);
    file->content = bytes_new((size_t)st.st_size);
    const bool whole =
        fread(file->content.data, 1, file->content.length, stream) == file->content.length;
    fclose(stream);
    files->count += whole;
    return whole;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const model_file *)a)->name, ((const model_file *)b)->name);
}

static bool add_folder(model_files *files, const char *path)
{
    DIR *folder = opendir(path);
    bool found = false;
    for (const struct dirent *item; folder && (item = readdir(folder));) {
        found |= belongs(item->d_name) && add_file(files, path, item->d_name);
    }
    if (folder) {
        closedir(folder);
    }
    qsort(files->file, (size_t)files->count, sizeof *files->file, by_name);
    return found;
}

bool files_load(model_files *files, const char *name, const char *path)
{
    struct stat st;
    *files = (model_files){0};
    snprintf(files->name, sizeof files->name, "%s", name);
    if (stat(path, &st) != 0) {
        return false;
    }
    if (S_ISDIR(st.st_mode)) {
        return add_folder(files, path);
    }
    const char *slash = strrchr(path, '/');
    char folder[4096];
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    snprintf(files->open, sizeof files->open, "%s", slash + 1);
    const bool there = add_file(files, folder, slash + 1);
    add_file(files, folder, "config.json");
    return there;
}

void files_free(model_files *files)
{
    for (int i = 0; i < files->count; i++) {
        free(files->file[i].content.data);
    }
    *files = (model_files){0};
}

void file_write(const char *folder, const char *name, const bytes *content)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    remove(path);
    FILE *stream = fopen(path, "wb");
    if (!stream || fwrite(content->data, 1, content->length, stream) != content->length ||
        fclose(stream) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
}
