/* SPDX-License-Identifier: MIT */
#include "run/common_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "num/la.h"

typedef struct spelled {
    const char *text;
    int64_t id;
} spelled;

static int by_text(const void *a, const void *b)
{
    return strcmp(((const spelled *)a)->text, ((const spelled *)b)->text);
}

/* Input tokens with a text, sorted by it. */
static int64_t list_inputs(const otimes_model *model, spelled *input)
{
    int64_t count = 0;
    for (int64_t id = 0; id < otimes_model_describe(model)->d_vocab; id++) {
        const char *text = otimes_model_token(model, id);
        if (text) {
            input[count++] = (spelled){text, id};
        }
    }
    qsort(input, (size_t)count, sizeof *input, by_text);
    return count;
}

int otimes_common_inputs(const otimes_model *model, int64_t *input_of, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    spelled *input;
    for (int64_t id = 0; id < info->d_vocab_out; id++) {
        input_of[id] = info->d_vocab == info->d_vocab_out ? id : -1;
    }
    if (info->d_vocab == info->d_vocab_out) {
        return OTIMES_OK;
    }
    const int rc = OTIMES_NEW(&input, info->d_vocab, err);
    const int64_t inputs = rc == OTIMES_OK ? list_inputs(model, input) : 0;
    for (int64_t id = 0; rc == OTIMES_OK && id < info->d_vocab_out; id++) {
        const spelled wanted = {otimes_model_output_token(model, id), id};
        const spelled *found =
            wanted.text ? bsearch(&wanted, input, (size_t)inputs, sizeof *input, by_text) : NULL;
        input_of[id] = found ? found->id : -1;
    }
    otimes_free(input);
    return rc;
}

/* M += (row of W_U)^T (row of W_E). */
static int add_token(const otimes_model *model, const otimes_unembed *unembed, int64_t output,
                     int64_t input, float *rows, double *wide, double *sum, otimes_err *err)
{
    const int64_t d = otimes_model_describe(model)->d_model;
    int rc = otimes_unembed_rows(unembed, output, 1, rows, err);
    rc = rc == OTIMES_OK ? otimes_embed_rows(model, input, 1, rows + d, err) : rc;
    for (int64_t j = 0; rc == OTIMES_OK && j < 2 * d; j++) {
        wide[j] = (double)rows[j];
    }
    if (rc == OTIMES_OK) {
        otimes_la_default->dgemm(true, false, d, d, 1, 1.0, wide, d, wide + d, d, 1.0, sum, d);
    }
    return rc;
}

int otimes_common_form(const otimes_model *model, const otimes_unembed *unembed, double *sum,
                       int64_t *count, otimes_err *err)
{
    const otimes_model_info *info = otimes_model_describe(model);
    const int64_t d = info->d_model;
    int64_t *input_of;
    float *rows = NULL;
    double *wide = NULL;
    *count = 0;
    int rc = OTIMES_NEW(&input_of, info->d_vocab_out, err);
    rc = rc == OTIMES_OK ? OTIMES_NEW(&rows, 2 * d, err) : rc;
    rc = rc == OTIMES_OK ? OTIMES_NEW(&wide, 2 * d, err) : rc;
    rc = rc == OTIMES_OK ? otimes_common_inputs(model, input_of, err) : rc;
    for (int64_t id = 0; rc == OTIMES_OK && id < info->d_vocab_out; id++) {
        if (input_of[id] >= 0) {
            rc = add_token(model, unembed, id, input_of[id], rows, wide, sum, err);
            (*count)++;
        }
    }
    otimes_free(input_of);
    otimes_free(rows);
    otimes_free(wide);
    return rc;
}
