/* SPDX-License-Identifier: MIT
 *
 * Hours of everything in one process: each round opens every model and tokenizer named, runs every
 * analysis on them, stops some, asks for what cannot be, and closes all, in an order that is drawn
 * anew. What comes out must be what came out in the first round, bit by bit, errors and their texts
 * too; blocks in use, resident memory and descriptors must not grow.
 *
 * usage: soak (--minutes M | --rounds N) [--seed S] PATH ...
 * A PATH that ends in /tokenizer: what is before it is opened as a tokenizer, else as a model.
 */
#include <dirent.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <otimes/tokenizer.h>

#include "digest_sink.h"
#include "every.h"

/* Rounds before memory is measured: libraries keep what they needed once. */
enum { WARM_ROUNDS = 2 };

/* What may come in beside blocks of ours: buffers of stdio, dynamic lists of the C library. */
enum { IN_USE_SLACK = 64 << 10 };

/* Resident memory counts what the allocator keeps in pieces. */
#define RESIDENT_GROWTH 1.05
enum { RESIDENT_SLACK = 8 << 20 };

typedef struct job {
    const char *path;
    bool tokenizer, processed;
    int analysis;   /* of every_analysis; beyond: see run_model */
    int64_t stop;   /* at which word about progress; 0: none */
    uint64_t first; /* what came of it in the first round */
    int rc;
} job;

typedef struct jobs {
    job *list;
    int64_t count, capacity;
} jobs;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "soak: %s\n", what);
    exit(2);
}

static void add_job(jobs *all, job new)
{
    if (all->count == all->capacity) {
        all->capacity = 2 * all->capacity + 64;
        all->list = realloc(all->list, (size_t)all->capacity * sizeof *all->list);
        if (!all->list) {
            die("out of memory");
        }
    }
    all->list[all->count++] = new;
}

/* ---- what is done ---- */

static int analysis_count(void)
{
    int count = 0;
    while (every_analysis[count].name) {
        count++;
    }
    return count;
}

/* The canonical weights of all layers, and the digest of the files. */
static int read_weights(const otimes_model *model, digest *d, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    char *text = NULL;
    int rc = otimes_model_sha256(model, &text, err);
    if (rc == OTIMES_OK) {
        digest_text(d, text);
    }
    otimes_text_release(&text);
    for (int64_t l = 0; l < info->n_layers && rc == OTIMES_OK; l++) {
        otimes_layer layer = {0};
        rc = otimes_layer_load(model, l, OTIMES_PART_ALL, &layer, err);
        if (rc == OTIMES_OK) {
            const otimes_tensor *t = &layer.W_Q; /* [n_heads, d_model, d_head] */
            digest_bytes(d, t->data, (size_t)(t->dim[0] * t->dim[1] * t->dim[2]) * sizeof(float));
        }
        otimes_layer_free(&layer);
    }
    return rc;
}

static int run_model(const job *j, digest *d)
{
    otimes_model *model = NULL;
    otimes_model_settings settings;
    otimes_err err = {0};
    otimes_model_settings_default(&settings);
    settings.fold_ln = settings.center_writing_weights = j->processed;
    settings.center_unembed = settings.fold_value_biases = j->processed;
    int rc = otimes_model_open(&model, j->path, &settings, &err);
    if (rc == OTIMES_OK && j->analysis < analysis_count()) {
        digest_sink sink;
        digest_sink_begin(&sink, d, j->stop);
        rc = every_analysis[j->analysis].run(model, &sink.sink, &err);
    } else if (rc == OTIMES_OK) {
        rc = read_weights(model, d, &err);
    }
    digest_number(d, rc);
    if (rc != OTIMES_OK) {
        digest_text(d, err.msg);
    }
    otimes_model_close(&model);
    return rc;
}

/* Words, numbers, spaces, other scripts, bytes that are no text. */
static int run_tokenizer(const job *j, digest *d)
{
    static const char text[] =
        "Once upon a time, 1234 dogs didn't  \n\tsay \xe6\x97\xa5\xe6\x9c\xac "
        "\xf0\x9f\x99\x82 <s> \xff\xc3( na\xc3\xafve";
    otimes_tokenizer *tokenizer = NULL;
    otimes_encoding encoding = {0};
    otimes_err err = {0};
    char *back = NULL;
    int64_t bytes = 0;
    int rc = otimes_tokenizer_open(&tokenizer, j->path, &err);
    if (rc == OTIMES_OK) {
        rc =
            otimes_encode(tokenizer, text, sizeof text - 1, OTIMES_BOS_AS_TRAINED, &encoding, &err);
    }
    if (rc == OTIMES_OK) {
        digest_bytes(d, encoding.id, (size_t)encoding.count * sizeof *encoding.id);
        rc = otimes_decode(tokenizer, encoding.id, encoding.count, 0, &back, &bytes, &err);
    }
    if (rc == OTIMES_OK) {
        digest_bytes(d, back, (size_t)bytes);
    }
    digest_number(d, rc);
    if (rc != OTIMES_OK) {
        digest_text(d, err.msg);
    }
    otimes_text_release(&back);
    otimes_encoding_free(&encoding);
    otimes_tokenizer_close(&tokenizer);
    return rc;
}

static uint64_t run_job(job *j)
{
    digest d;
    digest_begin(&d);
    j->rc = j->tokenizer ? run_tokenizer(j, &d) : run_model(j, &d);
    return d.value;
}

/* ---- lists ---- */

/* Each analysis, processed and not, stopped at its second word, and the weights themselves; of a path
 * that is not there, the error. */
static void list_jobs(jobs *all, const char *path)
{
    static const char ending[] = "/tokenizer";
    const size_t length = strlen(path), tail = sizeof ending - 1;
    if (length > tail && strcmp(path + length - tail, ending) == 0) {
        char *folder = strndup(path, length - tail);
        if (!folder) {
            die("out of memory");
        }
        add_job(all, (job){.path = folder, .tokenizer = true});
        return;
    }
    for (int i = 0; i <= analysis_count(); i++) {
        add_job(all, (job){.path = path, .processed = true, .analysis = i});
        add_job(all, (job){.path = path, .processed = false, .analysis = i});
        add_job(all, (job){.path = path, .processed = true, .analysis = i, .stop = 2});
    }
}

static void free_jobs(jobs *all)
{
    for (int64_t i = 0; i < all->count; i++) {
        if (all->list[i].tokenizer) {
            free((char *)all->list[i].path); /* of its own */
        }
    }
    free(all->list);
}

static uint64_t draw(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15; /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void shuffle(jobs *all, uint64_t *state)
{
    for (int64_t i = all->count - 1; i > 0; i--) {
        const int64_t k = (int64_t)(draw(state) % (uint64_t)(i + 1));
        const job kept = all->list[i];
        all->list[i] = all->list[k];
        all->list[k] = kept;
    }
}

/* ---- what the process holds ---- */

typedef struct held {
    size_t in_use;    /* bytes of blocks not given back */
    int64_t resident; /* bytes */
    int descriptors;
} held;

static int count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    while (folder && readdir(folder)) {
        count++;
    }
    if (folder) {
        closedir(folder);
    }
    return count;
}

static int64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    int64_t kib = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmRSS: %" SCNd64, &kib) == 1) {
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    return kib << 10;
}

static held hold(void)
{
    const struct mallinfo2 info = mallinfo2();
    return (held){info.uordblks + info.hblkhd, resident_bytes(), count_descriptors()};
}

/* ---- rounds ---- */

static int64_t play_round(jobs *all, bool first)
{
    int64_t other = 0;
    for (int64_t i = 0; i < all->count; i++) {
        job *j = &all->list[i];
        const uint64_t got = run_job(j);
        if (first) {
            j->first = got;
        } else if (got != j->first) {
            fprintf(stderr, "soak: %s, %s%s%s: other than in the first round\n", j->path,
                    j->tokenizer                     ? "tokenizer"
                    : j->analysis < analysis_count() ? every_analysis[j->analysis].name
                                                     : "weights",
                    j->processed ? "" : ", raw", j->stop ? ", stopped" : "");
            other++;
        }
    }
    return other;
}

static bool grew(const held *from, const held *to)
{
    return to->in_use > from->in_use + IN_USE_SLACK || to->descriptors > from->descriptors ||
           (double)to->resident > RESIDENT_GROWTH * (double)from->resident + RESIDENT_SLACK;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
    jobs all = {0};
    double minutes = 0;
    int64_t rounds = 0, other = 0, round = 0;
    uint64_t state = 1;
    held warm = {0}, now = {0};
    otimes_set_blas_threads(1); /* the bits do not depend on how many there are */
    for (int i = 1; i < argc; i++) {
        const bool valued = i + 1 < argc;
        if (valued && strcmp(argv[i], "--minutes") == 0) {
            minutes = strtod(argv[++i], NULL);
        } else if (valued && strcmp(argv[i], "--rounds") == 0) {
            rounds = strtoll(argv[++i], NULL, 10);
        } else if (valued && strcmp(argv[i], "--seed") == 0) {
            state = strtoull(argv[++i], NULL, 10);
        } else {
            list_jobs(&all, argv[i]);
        }
    }
    if (all.count == 0 || (minutes > 0) == (rounds > 0)) {
        die("usage: soak (--minutes M | --rounds N) [--seed S] PATH ...");
    }
    const double begin = seconds();
    while (round < rounds || seconds() - begin < 60 * minutes || round <= WARM_ROUNDS) {
        other += play_round(&all, round == 0);
        now = hold();
        if (round == WARM_ROUNDS - 1) {
            warm = now;
        }
        round++;
        printf("round %" PRId64 ": %.0f s, in use %.3f MB, resident %.1f MB, %d descriptors\n",
               round, seconds() - begin, (double)now.in_use / 1e6, (double)now.resident / 1e6,
               now.descriptors);
        fflush(stdout);
        shuffle(&all, &state);
    }
    int64_t errors = 0;
    for (int64_t i = 0; i < all.count; i++) {
        errors += all.list[i].rc != OTIMES_OK && all.list[i].rc != OTIMES_ERR_CANCELLED;
    }
    const bool larger = grew(&warm, &now);
    printf("%" PRId64 " rounds of %" PRId64 " jobs, %" PRId64 " of them errors each time; %" PRId64
           " with another result; %s\n",
           round, all.count, errors, other,
           larger ? "memory or descriptors grew" : "memory and descriptors flat");
    free_jobs(&all);
    return other > 0 || larger;
}
