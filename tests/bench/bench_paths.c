/* SPDX-License-Identifier: MIT
 *
 * Sums over paths in units of a frozen pass: the same text through the model with recorded patterns
 * and scales in the place of its own. Weights are in memory; everything is measured in one process.
 *
 *     bench_paths MODEL TOKENS COUNT [THREADS] [REPEATS]
 *
 * TOKENS is a number of seeded random ids, or a file of ids; COUNT how many of the largest paths to
 * the last position's largest logit are looked for. One line of JSON: seconds of a frozen pass, of
 * the recording that all else begins with, of all order totals, of all flows (edges by queries, keys
 * and values), of the search, and what the search says of itself.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/model.h"
#include "num/sample.h"
#include "run/flows.h"
#include "run/forward.h"
#include "run/order_streams.h"
#include "run/path_search.h"
#include "run/readout.h"

enum { LONGEST = 4096 };

typedef struct bench {
    otimes_model *model;
    const otimes_model_info *info;
    otimes_forward *forward;
    int64_t id[LONGEST], length;
    const int64_t *ids;
    otimes_sequences text;
    int repeats;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(int rc, const otimes_err *err)
{
    if (rc) {
        fprintf(stderr, "bench_paths: %s\n", err->msg);
        exit(1);
    }
}

static void *room(int64_t count, size_t size)
{
    void *block = calloc((size_t)count, size);
    if (!block) {
        fprintf(stderr, "bench_paths: no memory\n");
        exit(1);
    }
    return block;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(int count, double *seconds)
{
    qsort(seconds, (size_t)count, sizeof *seconds, by_size);
    return seconds[count / 2];
}

static void read_tokens(bench *b, const char *tokens)
{
    char *end;
    const long count = strtol(tokens, &end, 10);
    if (*end == '\0' && count > 0 && count <= LONGEST) {
        for (b->length = 0; b->length < count; b->length++) {
            b->id[b->length] =
                (int64_t)(otimes_uniform_of(1, 2, (uint64_t)b->length) * (double)b->info->d_vocab);
        }
    } else {
        FILE *file = fopen(tokens, "r");
        long id;
        while (file && b->length < LONGEST && fscanf(file, "%ld", &id) == 1) {
            b->id[b->length++] = id;
        }
        if (file) {
            fclose(file);
        }
    }
    b->ids = b->id;
    b->text = (otimes_sequences){1, &b->length, &b->ids};
}

static double frozen_pass(bench *b)
{
    otimes_err err = {0};
    otimes_frozen frozen;
    double seconds[32];
    check(otimes_frozen_init(&frozen, b->model, &b->text,
                             OTIMES_FREEZE_PATTERNS | OTIMES_FREEZE_SCALES, &err),
          &err);
    const otimes_hooks hooks = otimes_frozen_hooks(&frozen);
    check(otimes_forward_run(b->forward, &b->text, &hooks, &err), &err);
    frozen.replay = true;
    for (int i = 0; i < b->repeats; i++) {
        const double start = now();
        check(otimes_forward_run(b->forward, &b->text, &hooks, &err), &err);
        seconds[i] = now() - start;
    }
    otimes_frozen_free(&frozen);
    return median(b->repeats, seconds);
}

static int64_t largest_logit(const bench *b, const otimes_linear *linear)
{
    otimes_err err = {0};
    const int64_t d = b->info->d_model;
    float *normal = room(d, sizeof *normal), value;
    int32_t id;
    const otimes_readout readout = {.top = 1, .top_value = &value, .top_id = &id};
    otimes_final_norm(b->model, &linear->layers->unembed, 1, linear->stream + (linear->n - 1) * d,
                      normal, NULL);
    check(otimes_readout_run(linear->layers, 1, normal, &readout, &err), &err);
    free(normal);
    return id;
}

static double order_totals(const bench *b, otimes_linear *linear,
                           const otimes_linear_target *target, double *total)
{
    otimes_err err = {0};
    const int64_t d = b->info->d_model, orders = b->info->n_layers, count = linear->n * d;
    float *streams = room((orders + 1) * count, sizeof *streams);
    double seconds[32];
    for (int i = 0; i < b->repeats; i++) {
        const double start = now();
        check(otimes_order_streams(linear, orders, NULL, streams, &err), &err);
        seconds[i] = now() - start;
    }
    for (int64_t k = 0; k <= orders; k++) {
        total[k] = k == 0 ? target->offset : 0;
        for (int64_t i = 0; i < d; i++) {
            total[k] += (double)target->direction[i] *
                        (double)streams[k * count + target->position * d + i];
        }
    }
    free(streams);
    return median(b->repeats, seconds);
}

static double flows(const bench *b, otimes_linear *linear, const otimes_linear_target *target,
                    const otimes_flow_scores *scores)
{
    otimes_err err = {0};
    double seconds[32];
    for (int i = 0; i < b->repeats; i++) {
        otimes_flows f = {0};
        const double start = now();
        check(otimes_flows_sweep(linear, target, scores, &f, &err), &err);
        seconds[i] = now() - start;
        otimes_flows_free(&f);
    }
    return median(b->repeats, seconds);
}

static void measure(bench *b, int64_t count)
{
    otimes_err err = {0};
    otimes_linear linear;
    otimes_flow_scores *scores = NULL;
    otimes_hooks hooks = {0};
    otimes_path_list paths = {0};
    double *total = room(b->info->n_layers + 1, sizeof *total), residue = 0;
    const double pass = frozen_pass(b);
    check(otimes_flow_scores_init(&scores, b->model, b->length, &hooks, &err), &err);
    double start = now();
    check(otimes_linear_init(&linear, otimes_forward_layers(b->forward), &b->text,
                             OTIMES_MLP_AS_SOURCE, OTIMES_LINEAR_Z, &hooks, &err),
          &err);
    const double recording = now() - start;
    otimes_linear_target target = {.direction = room(b->info->d_model, sizeof(float))};
    const int64_t token = largest_logit(b, &linear);
    check(otimes_linear_target_logit(&linear, linear.n - 1, token, -1, &target, &err), &err);
    const double value = otimes_linear_target_value(&linear, &target);
    const double orders = order_totals(b, &linear, &target, total);
    for (int64_t k = 0; k <= b->info->n_layers; k++) {
        residue += total[k];
    }
    residue -= value;
    const double edges = flows(b, &linear, &target, scores);
    const otimes_path_settings settings = {.count = count, .max_order = -1, .seconds = 100 * pass};
    start = now();
    check(otimes_paths_search(&linear, &target, &settings, &paths, &err), &err);
    const double search = now() - start;
    printf("{\"tokens\": %lld, \"frozen_pass\": %.5g, \"recording\": %.5g, \"orders\": %.5g, "
           "\"flows\": %.5g, \"search\": %.5g, \"orders_in_passes\": %.4g, "
           "\"flows_in_passes\": %.4g, \"search_in_passes\": %.4g, \"value\": %.9g, "
           "\"orders_residue\": %.3g, \"paths\": %lld, \"largest\": %.6g, \"smallest_listed\": "
           "%.6g, \"bound\": %.6g, \"complete\": %s, \"expanded\": %lld, \"valued\": %lld, "
           "\"of_paths\": %.6g, \"order_totals\": [",
           (long long)b->length, pass, recording, orders, edges, search, orders / pass,
           edges / pass, search / pass, value, residue, (long long)paths.count,
           paths.count ? fabs(paths.value[0]) : 0,
           paths.count ? fabs(paths.value[paths.count - 1]) : 0, paths.bound,
           paths.complete ? "true" : "false", (long long)paths.expanded, (long long)paths.valued,
           paths.total);
    for (int64_t k = 0; k <= b->info->n_layers; k++) {
        printf("%s%.9g", k ? ", " : "", total[k]);
    }
    printf("]}\n");
    free(total);
    free(target.direction);
    otimes_paths_free(&paths);
    otimes_linear_free(&linear);
    otimes_flow_scores_free(&scores);
}

int main(int argc, char **argv)
{
    otimes_err err = {0};
    bench b = {.repeats = argc > 5 ? atoi(argv[5]) : 5};
    if (argc < 4 || b.repeats < 1 || b.repeats > 32) {
        fprintf(stderr, "usage: bench_paths MODEL TOKENS COUNT [THREADS] [REPEATS]\n");
        return 2;
    }
    otimes_model_settings settings;
    otimes_model_settings_default(&settings);
    settings.threads = argc > 4 ? atoi(argv[4]) : 2;
    otimes_set_blas_threads(1); /* as the program does: our loops are the parallel ones */
    check(otimes_model_open(&b.model, argv[1], &settings, &err), &err);
    b.info = otimes_model_describe(b.model);
    read_tokens(&b, argv[2]);
    otimes_forward_settings forward;
    otimes_forward_settings_default(&forward);
    forward.resident = 1;
    check(otimes_forward_open(&b.forward, b.model, &forward, &err), &err);
    measure(&b, atoll(argv[3]));
    otimes_forward_close(&b.forward);
    otimes_model_close(&b.model);
    return 0;
}
