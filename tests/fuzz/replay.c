/* SPDX-License-Identifier: MIT
 *
 * A target without the engine: runs every file that is named, and every file in the folders that are.
 * Usage: replay_TARGET FILE|FOLDER...
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static long count;

/* On the heap and exactly as long as the file, as the engine has it. */
static void run_file(const char *path)
{
    struct stat st;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &st) != 0) {
        fuzz_fail("%s: %s", path, strerror(errno));
    }
    const size_t bytes = (size_t)st.st_size;
    unsigned char *data = malloc(bytes);
    if ((bytes > 0 && !data) || fread(data, 1, bytes, file) != bytes) {
        fuzz_fail("%s: cannot be read", path);
    }
    fclose(file);
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(data, bytes);
    free(data);
    count++;
}

static int is_input(const struct dirent *item)
{
    return item->d_name[0] != '.';
}

static void run_folder(const char *path)
{
    struct dirent **items;
    const int found = scandir(path, &items, is_input, alphasort);
    if (found < 0) {
        fuzz_fail("%s: %s", path, strerror(errno));
    }
    for (int i = 0; i < found; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, items[i]->d_name);
        run_file(name);
        free(items[i]);
    }
    free(items);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct stat st;
        const int folder = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
        (folder ? run_folder : run_file)(argv[i]);
    }
    printf("%ld inputs\n", count);
    return count > 0 ? 0 : 1;
}
