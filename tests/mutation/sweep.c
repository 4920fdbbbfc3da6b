/* SPDX-License-Identifier: MIT
 *
 * Seeded changes of every golden and small checkpoint, so many of each:
 *
 *     mutation [--count N] [--first SEED] [--model NAME] [--seed S]
 *
 * --seed runs one change and tells of it. A process of its own takes each run of seeds: where it
 * crashes or hangs, its model and seed are named and the next process goes on behind it.
 */
#include "mutation.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support.h"

enum { CODES = 10, HANG_SECONDS = 120, MOST_MODELS = 200 };

/* What a process tells the one that waits for it. */
typedef struct tally {
    uint64_t seed; /* the one being run */
    int64_t runs, wrong, outcome[OUTCOMES], code[CODES];
    char what[sizeof((change *)0)->what];
} tally;

typedef struct task {
    char name[160], path[4096];
} task;

typedef struct options {
    uint64_t first, count;
    const char *model;
    bool tell;
} options;

static task tasks[MOST_MODELS];
static int task_count;

static void add_task(const char *name, const char *path)
{
    if (path && access(path, F_OK) == 0 && task_count < MOST_MODELS) {
        snprintf(tasks[task_count].name, sizeof tasks->name, "%s", name);
        snprintf(tasks[task_count++].path, sizeof tasks->path, "%s", path);
    }
}

static void list_tasks(void)
{
    static const char *const shared[] = {"arena_sorted_list/sorted_list_model.pt",
                                         "gpt_nano_sort",
                                         "grokking_induction/induction_head_finite.pth",
                                         "grokking_induction/induction_head_finite.tl.safetensors",
                                         "grokking_induction/induction_head_infinite.pth",
                                         "stories260K/stories260K.bin",
                                         "stories260K/tinyllamas-stories-260k-f32.gguf",
                                         "stories260K/stories260k-v3-q8_0.derived.gguf",
                                         "tinystories656k",
                                         "tracr_induction"};
    char name[160], relative[256];
    for (int i = 0; golden_names[i]; i++) {
        snprintf(relative, sizeof relative, "tests/golden/%s", golden_names[i]);
        add_task(golden_names[i], source_path(relative));
        snprintf(name, sizeof name, "gguf/%s", golden_names[i]);
        snprintf(relative, sizeof relative, "tests/data/gguf/%s/model.gguf", golden_names[i]);
        add_task(name, source_path(relative));
    }
    add_task("induction-2l", source_path("notebooks-data/induction-2l"));
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        add_task(shared[i], shared_path(shared[i]));
    }
}

/* Two in three changes are of the weights. */
static int roll_file(const model_files *files, dice *d)
{
    const bool in_weights = roll(d, 3) > 0;
    for (;;) {
        const int index = (int)roll(d, (uint64_t)files->count);
        const bool is_weights = files->file[index].kind < FILE_CONFIG;
        if (is_weights == in_weights || files->count == 1 || roll(d, 20) == 0) {
            return index;
        }
    }
}

static int weights_file(const model_files *files)
{
    int index = 0;
    while (files->file[index].kind >= FILE_CONFIG) {
        index++;
    }
    return index;
}

/* Weights to mix a model's own with: of the next model in the same format, else of the next one. */
static const bytes *lend(model_files *lender, const task *job, file_kind kind)
{
    for (int i = 1; i <= task_count; i++) {
        const task *other = &tasks[(job - tasks + i) % task_count];
        files_free(lender);
        if (files_load(lender, other->name, other->path) &&
            (lender->file[weights_file(lender)].kind == kind || kind == FILE_LLAMA2C)) {
            break;
        }
    }
    return &lender->file[weights_file(lender)].content;
}

static void change_file(const intact *whole, int index, const bytes *other, bytes *content, dice *d,
                        change *did)
{
    const model_file *file = &whole->files.file[index];
    const bool safetensors = file->kind == FILE_SAFETENSORS;
    bool done = false;
    *content = bytes_new(file->content.length);
    memcpy(content->data, file->content.data, content->length);
    if (safetensors && roll(d, 3) == 0) {
        change_header(content, d, did);
        done = true;
    } else if (file->kind >= FILE_CONFIG && roll(d, 3) > 0) {
        done = change_json(content, d, did);
    }
    if (!done) {
        change_bytes(content, file->kind < FILE_CONFIG ? &whole->where[index] : NULL, other, d,
                     did);
    }
}

/* One change, and what came of it. */
static void run_seed(intact *whole, const bytes *other, uint64_t seed, const char *folder, tally *t,
                     bool tell)
{
    dice d = dice_of(whole->files.name, seed);
    const int index = roll_file(&whole->files, &d);
    const model_file *file = &whole->files.file[index];
    change did = {""};
    bytes content;
    outcome result;
    int code;
    change_file(whole, index, other, &content, &d, &did);
    t->seed = seed;
    snprintf(t->what, sizeof t->what, "%.60s: %.120s", file->name, did.what);
    const char *wrong = judge(whole, index, &content, folder, &result, &code);
    t->runs++;
    t->outcome[result]++;
    t->code[-code]++;
    if (tell || wrong) {
        printf("%s: seed %llu: %s: outcome %d, %s: %s\n", whole->files.name,
               (unsigned long long)seed, t->what, (int)result, otimes_strerror(code),
               wrong ? wrong : "as it should be");
    }
    t->wrong += wrong != NULL;
    file_write(folder, file->name, &file->content);
    free(content.data);
}

/* A file of a few megabytes at most is no reason for a gigabyte. */
static void limit_memory(void)
{
#ifndef __SANITIZE_ADDRESS__
    const struct rlimit limit = {(rlim_t)2 << 30, (rlim_t)2 << 30};
    setrlimit(RLIMIT_AS, &limit);
#endif
}

/* All seeds from `first` to before `end`, in this process. */
static int run_seeds(const task *job, uint64_t first, uint64_t end, const char *folder, tally *t,
                     bool tell)
{
    intact whole;
    model_files lender = {0};
    limit_memory();
    if (!intact_open(&whole, job->name, job->path, folder)) {
        t->wrong++;
        return EXIT_FAILURE;
    }
    const file_kind kind = whole.files.file[weights_file(&whole.files)].kind;
    const bytes *other = lend(&lender, job, kind);
    for (uint64_t seed = first; seed < end; seed++) {
        alarm(HANG_SECONDS);
        run_seed(&whole, other, seed, folder, t, tell);
    }
    files_free(&lender);
    intact_close(&whole);
    return EXIT_SUCCESS;
}

static void empty(const char *folder)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'/*", folder);
    if (system(command) != 0) {
        perror(folder);
    }
}

static void run_task(const task *job, const options *wanted, const char *folder, tally *t)
{
    const uint64_t end = wanted->first + wanted->count;
    uint64_t from = wanted->first;
    while (from < end) {
        int status;
        t->seed = from;
        fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            const int rc = run_seeds(job, from, end, folder, t, wanted->tell);
            fflush(stdout);
            exit(rc);
        }
        waitpid(child, &status, 0);
        empty(folder);
        if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) {
            return;
        }
        printf(
            "%s: seed %llu: %s: %s (status %d)\n", job->name, (unsigned long long)t->seed, t->what,
            WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "it hangs" : "it crashes", status);
        t->wrong++;
        from = t->seed + 1;
    }
}

static void print_tally(const char *name, const tally *t)
{
    printf(
        "%-40s %8lld runs %4lld wrong | refused %lld, partly read %lld, same %lld, touched %lld |",
        name, (long long)t->runs, (long long)t->wrong, (long long)t->outcome[OUTCOME_REFUSED],
        (long long)t->outcome[OUTCOME_PARTLY], (long long)t->outcome[OUTCOME_SAME],
        (long long)t->outcome[OUTCOME_TOUCHED]);
#define PRINT_CODE(error, value, text)                            \
    if (t->code[-(value)]) {                                      \
        printf(" " #error " %lld", (long long)t->code[-(value)]); \
    }
    OTIMES_ERRORS(PRINT_CODE)
#undef PRINT_CODE
    printf("\n");
}

static void add_tally(tally *sum, const tally *t)
{
    sum->runs += t->runs;
    sum->wrong += t->wrong;
    for (int i = 0; i < OUTCOMES; i++) {
        sum->outcome[i] += t->outcome[i];
    }
    for (int i = 0; i < CODES; i++) {
        sum->code[i] += t->code[i];
    }
}

static bool read_options(options *wanted, int argc, char **argv)
{
    *wanted = (options){.first = 1, .count = 10};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--count") == 0) {
            wanted->count = strtoull(value, NULL, 10);
        } else if (strcmp(name, "--first") == 0) {
            wanted->first = strtoull(value, NULL, 10);
        } else if (strcmp(name, "--model") == 0) {
            wanted->model = value;
        } else if (strcmp(name, "--seed") == 0) {
            *wanted = (options){strtoull(value, NULL, 10), 1, wanted->model, true};
        } else {
            return false;
        }
    }
    return argc % 2 == 1;
}

int main(int argc, char **argv)
{
    options wanted;
    char folder[256];
    tally *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    tally sum = {0};
    const char *temporary = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/otimes-mutation-XXXXXX", temporary ? temporary : "/tmp");
    if (!read_options(&wanted, argc, argv) || t == MAP_FAILED || !mkdtemp(folder)) {
        fprintf(stderr, "usage: mutation [--count N] [--first SEED] [--model NAME] [--seed S]\n");
        return EXIT_FAILURE;
    }
    list_tasks();
    for (int i = 0; i < task_count; i++) {
        if (!wanted.model || strcmp(wanted.model, tasks[i].name) == 0) {
            *t = (tally){0};
            run_task(&tasks[i], &wanted, folder, t);
            print_tally(tasks[i].name, t);
            add_tally(&sum, t);
        }
    }
    print_tally("all", &sum);
    rmdir(folder);
    return sum.wrong > 0 || sum.runs == 0;
}
