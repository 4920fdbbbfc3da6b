/* SPDX-License-Identifier: MIT */
#include "run/texts.h"

#include <string.h>

#include "base/sink.h"
#include "model/model.h"
#include "run/pass.h"

int otimes_texts_init(otimes_texts *texts, const otimes_model *model,
                      const otimes_sequences *sequences, otimes_err *err)
{
    otimes_batch batch;
    *texts = (otimes_texts){.sequences = sequences};
    int rc = otimes_batch_init(&batch, model, sequences, NULL, err); /* for its checks */
    texts->longest = batch.longest;
    otimes_batch_free(&batch);
    texts->text = (otimes_axis){.name = "text", .length = sequences->count, .long_name = "texts"};
    texts->position = (otimes_axis){.name = "position",
                                    .length = texts->longest,
                                    .long_name = "places of tokens in their text"};
    return rc;
}

void otimes_texts_free(otimes_texts *texts)
{
    if (texts) {
        otimes_pool_free(&texts->pool);
    }
}

static int write_text(otimes_sink *sink, int id, int64_t text, int64_t count, const void *data,
                      otimes_err *err)
{
    const int64_t start[] = {text, 0}, shape[] = {1, count};
    return sink->ops->write(sink, id, start, shape, data, err);
}

/* One row for each text, of its length alone but for the mask. */
typedef struct row {
    int token_id, token, mask;
    const char **label;
    int32_t *there;
} row;

static int write_row(const otimes_texts *texts, const otimes_model *model, otimes_sink *sink,
                     const row *r, int64_t text, otimes_err *err)
{
    const int64_t length = texts->sequences->length[text], *id = texts->sequences->id[text];
    int rc = write_text(sink, r->token_id, text, length, id, err);
    for (int64_t i = 0; i < texts->longest; i++) {
        r->there[i] = i < length;
        r->label[i] = i < length && r->token >= 0 ? otimes_model_token(model, id[i]) : NULL;
        r->label[i] = r->label[i] ? r->label[i] : "";
    }
    if (rc == OTIMES_OK && r->token >= 0) {
        rc = write_text(sink, r->token, text, texts->longest, r->label, err);
    }
    return rc == OTIMES_OK ? write_text(sink, r->mask, text, texts->longest, r->there, err) : rc;
}

static int declare(otimes_texts *texts, bool labels, otimes_sink *sink, row *r, int *length,
                   otimes_err *err)
{
    const otimes_axis *text = &texts->text, *position = &texts->position;
    texts->token_id = (otimes_array){.name = "token_id",
                                     .type = OTIMES_I64,
                                     .ndim = 2,
                                     .axis = {text, position},
                                     .long_name = "tokens of each text",
                                     .units = "1",
                                     .formula = "row of the vocabulary",
                                     .orientation = "row = text, column = position"};
    texts->token = texts->mask = texts->token_id;
    texts->token.name = "token";
    texts->token.type = OTIMES_TEXT;
    texts->token.long_name = "what each token stands for";
    texts->token.formula = "UTF-8; <0xHH> for a byte that is no character; empty beyond the text";
    texts->mask.name = "mask";
    texts->mask.type = OTIMES_I32;
    texts->mask.long_name = "whether there is a token";
    texts->mask.formula = "1 where position < length, else 0";
    texts->length = (otimes_array){.name = "length",
                                   .type = OTIMES_I64,
                                   .ndim = 1,
                                   .axis = {text},
                                   .long_name = "tokens of each text",
                                   .units = "1",
                                   .formula = "special tokens included",
                                   .orientation = "one entry a text"};
    r->token = -1;
    int rc = otimes_sink_declare(sink, &texts->token_id, &r->token_id, err);
    if (rc == OTIMES_OK && labels) {
        rc = otimes_sink_declare(sink, &texts->token, &r->token, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_sink_declare(sink, &texts->mask, &r->mask, err);
    }
    return rc == OTIMES_OK ? otimes_sink_declare(sink, &texts->length, length, err) : rc;
}

int otimes_texts_write(otimes_texts *texts, const otimes_model *model, otimes_sink *sink,
                       otimes_err *err)
{
    row r = {0};
    int length = 0, rc = OTIMES_OK;
    r.label = otimes_pool_new(&texts->pool, texts->longest, sizeof *r.label, &rc, err);
    r.there = otimes_pool_new(&texts->pool, texts->longest, sizeof *r.there, &rc, err);
    if (rc == OTIMES_OK) {
        rc = declare(texts, otimes_model_token(model, 0) != NULL, sink, &r, &length, err);
    }
    for (int64_t t = 0; rc == OTIMES_OK && t < texts->text.length; t++) {
        rc = write_row(texts, model, sink, &r, t, err);
    }
    return rc == OTIMES_OK ? otimes_sink_slab(sink, &texts->length, length, 0, texts->text.length,
                                              texts->sequences->length, err)
                           : rc;
}

int64_t otimes_texts_batch(const otimes_texts *texts, int64_t first, int64_t max_rows)
{
    const otimes_sequences *all = texts->sequences;
    int64_t count = 1, rows = all->length[first];
    while (first + count < all->count && all->length[first + count] <= max_rows - rows) {
        rows += all->length[first + count];
        count++;
    }
    return count;
}

otimes_sequences otimes_texts_slice(const otimes_texts *texts, int64_t first, int64_t count)
{
    const otimes_sequences *all = texts->sequences;
    return (otimes_sequences){count, all->length + first, all->id + first};
}
