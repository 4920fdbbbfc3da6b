/* SPDX-License-Identifier: MIT */
#include "run_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/parse.h>

#include "fail.h"
#include "select.h"

enum { LIBRARY_BATCH = 2048 };

/* What the texts come to. */
typedef struct load {
    int64_t tokens, longest;
    int64_t batches, batch_tokens; /* of the largest batch */
} load;

/* As the analyses cut them: whole texts while they fit. */
static load load_of(const otimes_sequences *texts, int64_t batch)
{
    load l = {0};
    for (int64_t i = 0, rows = 0; i < texts->count; i++) {
        const int64_t length = texts->length[i];
        const int begins = !i || length > batch - rows;
        rows = begins ? length : rows + length;
        l.tokens += length;
        l.longest = length > l.longest ? length : l.longest;
        l.batches += begins;
        l.batch_tokens = rows > l.batch_tokens ? rows : l.batch_tokens;
    }
    return l;
}

static void put_size(const char *what, int64_t bytes, const char *remark)
{
    printf("%-20s %10.1f MiB  %s\n", what, (double)bytes / (1 << 20), remark);
}

static void put_plan(const otimes_model *model, const otimes_sequences *texts,
                     const otimes_forward_settings *settings, const load *l)
{
    otimes_forward_plan plan;
    otimes_forward_plan_of(model, settings, l->batch_tokens, l->longest, &plan);
    printf("texts                %10lld      %lld tokens, the longest of %lld\n",
           (long long)texts->count, (long long)l->tokens, (long long)l->longest);
    printf("batches              %10lld      of at most %lld tokens\n", (long long)l->batches,
           (long long)l->batch_tokens);
    put_size("memory of a pass", plan.total,
             settings->memory && plan.total > settings->memory ? "more than --memory allows"
                                                               : "at its peak, beside the file");
    put_size("  weights", plan.weights,
             settings->resident ? "kept for all batches" : "a layer at a time");
    put_size("  residual streams", plan.streams, "");
    put_size("  a chunk's work", plan.chunk, "");
    put_size("  scores", plan.workers, "");
    put_size("  reading layers", plan.loading, "before logits are read");
    put_size("  reading logits", plan.readout, "");
    printf("Not counted: the numbers that a command keeps until it writes them.\n");
}

int run_options_forward(const common_options *options, const otimes_model *model,
                        const otimes_sequences *texts, otimes_forward_settings *settings,
                        otimes_err *err)
{
    const int64_t batch = options->batch ? options->batch : LIBRARY_BATCH;
    const load l = load_of(texts, batch);
    *settings = (otimes_forward_settings){.resident = !options->stream && l.batches > 1,
                                          .chunk_rows = batch};
    const int rc =
        options->memory ? parse_bytes(options->memory, "--memory", &settings->memory, err) : 0;
    if (!rc && options->plan) {
        put_plan(model, texts, settings, &l);
        return RUN_PLANNED;
    }
    return rc;
}
