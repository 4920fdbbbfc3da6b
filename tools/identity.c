/* SPDX-License-Identifier: MIT */
#include "identity.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fail.h"

/* Files are told apart as make does it: a hash of weights would take as long as reading them. */
static void put_file(FILE *to, const char *what, const char *path, const char *name)
{
    struct stat about;
    if (!stat(path, &about) && S_ISREG(about.st_mode)) {
        fprintf(to, "%s %s: %lld bytes of %lld.%09ld\n", what, name, (long long)about.st_size,
                (long long)about.st_mtim.tv_sec, about.st_mtim.tv_nsec);
    } else {
        fprintf(to, "%s %s\n", what, name);
    }
}

/* Whether a file can be one of the model's; results may lie in the same folder. */
static int is_of_model(const struct dirent *entry)
{
    static const char *const ends[] = {".bin", ".ckpt", ".gguf", ".json",        ".model", ".pt",
                                       ".pth", ".txt",  ".th",   ".safetensors", NULL};
    const char *dot = strrchr(entry->d_name, '.');
    for (const char *const *end = ends; dot && *end; end++) {
        if (!strcmp(dot, *end)) {
            return 1;
        }
    }
    return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void put_model(FILE *to, const char *path)
{
    struct dirent **entry = NULL;
    const int n = scandir(path, &entry, is_of_model, by_name);
    put_file(to, "model", path, path);
    for (int i = 0; i < n; i++) {
        char *inside = NULL;
        if (asprintf(&inside, "%s/%s", path, entry[i]->d_name) >= 0) {
            put_file(to, "model", inside, entry[i]->d_name);
            free(inside);
        }
        free(entry[i]);
    }
    free(entry);
}

int identity_of(char **text, const common_options *options, const char *command_line,
                otimes_err *err)
{
    size_t size;
    *text = NULL;
    FILE *to = open_memstream(text, &size);
    if (!to) {
        return fail_memory(err, "--resume");
    }
    fprintf(to, "version %s\ncommand %s\n", otimes_version(), command_line);
    for (int i = 0; i < options->operand_count; i++) {
        put_model(to, options->operand[i]);
    }
    if (options->config) {
        put_file(to, "config", options->config, options->config);
    }
    if (options->text_file) {
        put_file(to, "texts", options->text_file, options->text_file);
    }
    if (fclose(to)) {
        free(*text);
        *text = NULL;
        return fail_memory(err, "--resume");
    }
    return 0;
}

int identity_ignores(const char *word)
{
    static const char *const words[] = {"--resume",      "--no-resume",      "--quiet",
                                        "--progress",    "--no-progress",    "-q",
                                        "--space-check", "--no-space-check", NULL};
    for (const char *const *w = words; *w; w++) {
        if (!strcmp(word, *w)) {
            return 1;
        }
    }
    return 0;
}
