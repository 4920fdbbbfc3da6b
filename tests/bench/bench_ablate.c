/* SPDX-License-Identifier: MIT
 *
 * All heads of a model ablated in one run, beside a forward pass for each: what a pass takes,
 * readout of the loss included, times the number of heads. Passes go by one text, and by as many
 * copies of it as otimes_ablate lets through a layer together.
 *
 *     bench_ablate MODEL TOKENS [THREADS]
 *
 * Times of this process' processors, so that others on the machine matter less.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <otimes/ablate.h>

#include "run/pass.h"
#include "run/readout.h"

enum { ROWS = 2048, REPEATS = 3 };

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void check(int rc, const otimes_err *err)
{
    if (rc) {
        fprintf(stderr, "bench_ablate: %s\n", err->msg);
        exit(1);
    }
}

static int zero_head(void *context, const otimes_activation *a, otimes_err *err)
{
    const otimes_model_info *info = context;
    (void)err;
    for (int64_t i = 0; a->layer == 0 && i < a->rows; i++) {
        for (int64_t c = 0; c < info->d_head; c++) {
            a->data[i * a->stride + c] = 0;
        }
    }
    return 0;
}

/* One pass over all sequences with a head replaced, and the loss of each row if asked for. */
static void pass_once(otimes_layers *layers, const otimes_sequences *all, int loss, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(layers->model);
    const otimes_hooks hooks = {OTIMES_HOOK_BIT(Z), zero_head, (void *)info};
    otimes_batch batch;
    otimes_pass pass;
    check(otimes_batch_init(&batch, layers->model, all, NULL, err), err);
    check(otimes_pass_init(&pass, layers, &batch, &hooks, ROWS, err), err);
    float *stream = malloc((size_t)(batch.rows * info->d_model) * sizeof *stream);
    double *logsumexp = malloc((size_t)batch.rows * sizeof *logsumexp);
    float *logit = malloc((size_t)batch.rows * sizeof *logit);
    check(otimes_pass_embed(&pass, stream, err), err);
    check(otimes_pass_layers(&pass, 0, info->n_layers, stream, err), err);
    check(otimes_pass_final(&pass, &layers->unembed, 0, batch.rows, stream, stream, NULL, err),
          err);
    const otimes_readout ask = {.logsumexp = logsumexp, .target = batch.id, .target_logit = logit};
    if (loss) {
        check(otimes_readout_run(layers, batch.rows, stream, &ask, err), err);
    }
    free(stream);
    free(logsumexp);
    free(logit);
    otimes_pass_free(&pass);
    otimes_batch_free(&batch);
}

/* Seconds of the processors and of the wall for one pass, the least of several. */
static void time_pass(otimes_layers *layers, const otimes_sequences *all, int loss, double *cpu,
                      double *wall)
{
    otimes_err err = {0};
    *cpu = *wall = 1e30;
    for (int i = 0; i <= REPEATS; i++) {
        const double c = seconds(CLOCK_PROCESS_CPUTIME_ID), w = seconds(CLOCK_MONOTONIC);
        pass_once(layers, all, loss, &err);
        const double dc = seconds(CLOCK_PROCESS_CPUTIME_ID) - c, dw = seconds(CLOCK_MONOTONIC) - w;
        *cpu = i > 0 && dc < *cpu ? dc : *cpu; /* the first one reads the weights */
        *wall = i > 0 && dw < *wall ? dw : *wall;
    }
}

/* With the loss, or with the logit of a token alone. */
static void time_ablate(const otimes_model *model, const otimes_sequences *one, int loss,
                        double *cpu, double *wall)
{
    const int64_t target = 0;
    otimes_err err = {0};
    otimes_memory_sink *memory;
    otimes_ablate_settings settings;
    otimes_ablate_settings_default(&settings);
    settings.sequences = *one;
    settings.forward.resident = 1;
    settings.loss = loss;
    settings.target = loss ? NULL : &target;
    const double c = seconds(CLOCK_PROCESS_CPUTIME_ID), w = seconds(CLOCK_MONOTONIC);
    check(otimes_memory_sink_new(&memory, &err), &err);
    check(otimes_ablate(model, &settings, otimes_memory_sink_sink(memory), &err), &err);
    *cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - c;
    *wall = seconds(CLOCK_MONOTONIC) - w;
    otimes_memory_sink_free(&memory);
}

int main(int argc, char **argv)
{
    otimes_err err = {0};
    otimes_model *model;
    otimes_layers layers;
    otimes_model_settings settings;
    const int64_t tokens = argc > 2 ? atoll(argv[2]) : 0;
    if (argc < 3 || tokens < 2) {
        fprintf(stderr, "usage: bench_ablate MODEL TOKENS [THREADS]\n");
        return 2;
    }
    otimes_model_settings_default(&settings);
    settings.threads = argc > 3 ? atoi(argv[3]) : 0;
    otimes_set_blas_threads(1);
    check(otimes_model_open(&model, argv[1], &settings, &err), &err);
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t copies = ROWS / tokens > 0 ? ROWS / tokens : 1;
    const int64_t heads = info->n_layers * info->n_heads;
    int64_t *ids = malloc((size_t)tokens * sizeof *ids);
    int64_t *length = malloc((size_t)copies * sizeof *length);
    const int64_t **id = malloc((size_t)copies * sizeof *id);
    for (int64_t i = 0; i < tokens; i++) {
        ids[i] = i * 7919 % info->d_vocab;
    }
    for (int64_t i = 0; i < copies; i++) {
        length[i] = tokens;
        id[i] = ids;
    }
    const otimes_sequences one = {1, length, id}, many = {copies, length, id};
    printf("%lld heads, %lld tokens: seconds of the processors, of the wall\n", (long long)heads,
           (long long)tokens);
    const otimes_forward_settings kept = {.resident = 1};
    for (int loss = 1; loss >= 0; loss--) {
        double cpu[3], wall[3];
        check(otimes_layers_open(&layers, model, &kept, &err), &err);
        time_pass(&layers, &one, loss, &cpu[0], &wall[0]);
        time_pass(&layers, &many, loss, &cpu[1], &wall[1]);
        otimes_layers_close(&layers);
        time_ablate(model, &one, loss, &cpu[2], &wall[2]);
        for (int i = 0; i < 2; i++) {
            cpu[i] *= (double)heads / (double)(i ? copies : 1);
            wall[i] *= (double)heads / (double)(i ? copies : 1);
        }
        printf("%s\n", loss ? "loss" : "a logit");
        printf("  a pass for each        %8.2f %8.2f\n", cpu[0], wall[0]);
        printf("  passes of %2lld together  %8.2f %8.2f\n", (long long)copies, cpu[1], wall[1]);
        printf("  otimes_ablate          %8.2f %8.2f\n", cpu[2], wall[2]);
        printf("  times less             %8.2f %8.2f than a pass for each\n", cpu[0] / cpu[2],
               wall[0] / wall[2]);
        printf("  times less             %8.2f %8.2f than passes together\n", cpu[1] / cpu[2],
               wall[1] / wall[2]);
    }
    free(ids);
    free(length);
    free(id);
    otimes_model_close(&model);
    return 0;
}
