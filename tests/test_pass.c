/* SPDX-License-Identifier: MIT
 *
 * The forward pass from inside: a cache of keys and values against whole sequences, stages against
 * the pass that calls them, the readout of logits against a plain one.
 */
#include "forwarding.h"
#include "plain_pass.h"
#include "seeded.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/pass.h"
#include "run/readout.h"

#define EPS ((double)FLT_EPSILON)

/* A pass with what it borrows. */
typedef struct running {
    otimes_layers layers;
    otimes_batch batch;
    otimes_pass pass;
    int64_t d, columns;
    float *stream; /* [rows, d_model] */
} running;

static void start(running *r, const otimes_model *model, const otimes_sequences *sequences,
                  const int64_t *past, const otimes_hooks *hooks)
{
    otimes_err err = {0};
    r->d = otimes_model_describe(model)->d_model;
    r->columns = otimes_model_describe(model)->d_vocab_out;
    assert_ok(otimes_layers_open(&r->layers, model, false, &err), &err);
    assert_ok(otimes_batch_init(&r->batch, model, sequences, past, &err), &err);
    assert_ok(otimes_pass_init(&r->pass, &r->layers, &r->batch, hooks, 0, &err), &err);
    r->stream = calloc((size_t)(r->batch.rows * r->d) + 1, sizeof *r->stream);
    assert_non_null(r->stream);
}

static void finish(running *r)
{
    otimes_pass_free(&r->pass);
    otimes_batch_free(&r->batch);
    otimes_layers_close(&r->layers);
    free(r->stream);
}

static void embed(running *r)
{
    otimes_err err = {0};
    assert_ok(otimes_pass_embed(&r->pass, r->stream, &err), &err);
}

static void layers(running *r, int64_t first, int64_t last)
{
    otimes_err err = {0};
    assert_ok(otimes_pass_layers(&r->pass, first, last, r->stream, &err), &err);
}

static void whole(running *r)
{
    embed(r);
    layers(r, 0, otimes_model_describe(r->layers.model)->n_layers);
}

typedef void with_golden(const golden *g, const char *what);

static void on_every_golden(with_golden *run)
{
    for (int i = 0; golden_names[i]; i++) {
        for (int processed = 0; processed < 2; processed++) {
            golden g;
            char what[128];
            snprintf(what, sizeof what, "%s, %s", golden_names[i], processed ? "processed" : "raw");
            golden_open_on(1, &g, golden_names[i], processed);
            run(&g, what);
            golden_close(&g);
        }
    }
}

/* ---- the cache ---- */

/* Two sequences fed in ragged pieces; those of a model with a table of positions end before the
 * last piece. */
enum { SEQUENCES = 2, PIECES = 6 };
static const int64_t pieces[PIECES][SEQUENCES] = {{1, 3}, {3, 1}, {1, 1}, {1, 1}, {2, 1}, {21, 14}};

static void cache_is_whole(const golden *g, const char *what)
{
    const otimes_model_info *info = otimes_model_describe(g->model);
    const int64_t lengths[SEQUENCES] = {29, 21};
    const bool table = info->positions == OTIMES_POSITIONS_LEARNED ||
                       info->positions == OTIMES_POSITIONS_SHORTFORMER;
    if (info->bidirectional) { /* earlier tokens would see later ones */
        return;
    }
    made_batch batch;
    otimes_err err = {0};
    running all;
    otimes_kv kv;
    int64_t past[SEQUENCES] = {0, 0};
    batch_random(&batch, g->model, lengths, SEQUENCES, 41);
    batch.length[0] = table ? 8 : lengths[0];
    batch.length[1] = table ? 7 : lengths[1];
    const double growth = plain_growth(g->model, &batch.sequences, g->name);
    start(&all, g->model, &batch.sequences, NULL, NULL);
    whole(&all);
    assert_ok(otimes_kv_init(&kv, g->model, SEQUENCES, batch.length[0], &err), &err);
    for (int i = 0; i < (table ? PIECES - 1 : PIECES); i++) {
        const int64_t *id[SEQUENCES] = {batch.ids[0] + past[0], batch.ids[1] + past[1]};
        const otimes_sequences next = {SEQUENCES, pieces[i], id};
        running part;
        start(&part, g->model, &next, past, NULL);
        part.pass.kv = &kv;
        whole(&part);
        otimes_kv_advance(&kv, &part.batch);
        for (int64_t s = 0; s < SEQUENCES; s++) {
            const float *got = part.stream + part.batch.start[s] * part.d;
            const float *want = all.stream + (all.batch.start[s] + past[s]) * all.d;
            const double gap = gap_of(got, want, pieces[i][s] * part.d);
            if (!(gap <= 16 * EPS * growth)) {
                fail_msg("%s: sequence %d, piece %d behind %d tokens: %.3g from the whole", what,
                         (int)s, i, (int)past[s], gap);
            }
            past[s] += pieces[i][s];
            assert_int_equal(kv.length[s], past[s]);
        }
        finish(&part);
    }
    assert_int_equal(past[0], batch.length[0]);
    assert_int_equal(past[1], batch.length[1]);
    otimes_kv_free(&kv);
    otimes_kv_free(&kv);
    finish(&all);
}

static void cache(void **state)
{
    (void)state;
    on_every_golden(cache_is_whole);
}

/* ---- stages ---- */

static const int64_t ragged[] = {6, 1, 9};
enum { RAGGED = 3 };

/* All layers together, and one after another by hand: z, what attention writes, the MLP. */
static void stages_are_layers(const golden *g, const char *what)
{
    const otimes_model_info *info = otimes_model_describe(g->model);
    made_batch batch;
    otimes_err err = {0};
    running together, apart;
    batch_random(&batch, g->model, ragged, RAGGED, 43);
    start(&together, g->model, &batch.sequences, NULL, NULL);
    start(&apart, g->model, &batch.sequences, NULL, NULL);
    whole(&together);
    embed(&apart);
    const int64_t rows = apart.batch.rows, size = rows * apart.d;
    float *z = calloc((size_t)(rows * info->n_heads * info->d_head), sizeof *z);
    float *out = calloc((size_t)size, sizeof *out), *mlp = calloc((size_t)size, sizeof *mlp);
    assert_true(z && out && mlp);
    for (int64_t l = 0; l < info->n_layers; l++) {
        const otimes_ready_layer *ready;
        float *x = apart.stream;
        assert_ok(otimes_layers_get(&apart.layers, l, &ready, &err), &err);
        /* Sequences 1 and 2, then 0: any run of them will do. */
        const int64_t first = apart.batch.start[1], wide = info->n_heads * info->d_head;
        assert_ok(otimes_pass_attention_z(&apart.pass, ready, 1, 2, x + first * apart.d,
                                          z + first * wide, &err),
                  &err);
        assert_ok(otimes_pass_attention_z(&apart.pass, ready, 0, 1, x, z, &err), &err);
        assert_ok(otimes_pass_attention_out(&apart.pass, ready, 0, rows, z, out, &err), &err);
        for (int64_t i = 0; !info->parallel && i < size; i++) {
            x[i] += out[i];
        }
        assert_ok(otimes_pass_mlp_out(&apart.pass, ready, 0, rows, x, mlp, &err), &err);
        for (int64_t i = 0; i < size; i++) {
            x[i] += (info->parallel ? out[i] : 0) + mlp[i];
        }
    }
    const double gap = gap_of(apart.stream, together.stream, size);
    if (!(gap <= 32 * EPS)) {
        fail_msg("%s: stages by hand: %.3g", what, gap);
    }
    free(z);
    free(out);
    free(mlp);
    finish(&together);
    finish(&apart);
}

static void stages(void **state)
{
    (void)state;
    on_every_golden(stages_are_layers);
}

/* Layers in two goes, with the streams held elsewhere between them: the same bits. */
static void goes_are_one(const golden *g, const char *what)
{
    const int64_t count = otimes_model_describe(g->model)->n_layers;
    made_batch batch;
    running one, two;
    batch_random(&batch, g->model, ragged, RAGGED, 47);
    start(&one, g->model, &batch.sequences, NULL, NULL);
    start(&two, g->model, &batch.sequences, NULL, NULL);
    whole(&one);
    embed(&two);
    layers(&two, 0, 0);
    layers(&two, 0, 1);
    layers(&two, 1, count);
    if (memcmp(one.stream, two.stream, (size_t)(one.batch.rows * one.d) * sizeof(float)) != 0) {
        fail_msg("%s: layers in two goes: other bits", what);
    }
    finish(&one);
    finish(&two);
}

static void goes(void **state)
{
    (void)state;
    on_every_golden(goes_are_one);
}

/* ---- the end ---- */

/* The final norm in place, elsewhere, and of any point of the stream. */
static void norms_agree(const golden *g, const char *what)
{
    made_batch batch;
    otimes_err err = {0};
    running r;
    batch_random(&batch, g->model, ragged, RAGGED, 53);
    start(&r, g->model, &batch.sequences, NULL, NULL);
    whole(&r);
    const int64_t rows = r.batch.rows, size = rows * r.d;
    float *normal = calloc((size_t)size, sizeof *normal),
          *lens = calloc((size_t)size, sizeof *lens);
    float *scale = calloc((size_t)rows, sizeof *scale), *root = calloc((size_t)rows, sizeof *root);
    assert_true(normal && lens && scale && root);
    const otimes_unembed *u = &r.layers.unembed;
    assert_ok(otimes_pass_final(&r.pass, u, 0, rows, r.stream, normal, scale, &err), &err);
    otimes_final_norm(g->model, u, rows, r.stream, lens, root);
    const double gap = fmax(gap_of(lens, normal, size), gap_of(root, scale, rows));
    if (!(gap <= 2 * EPS)) {
        fail_msg("%s: the final norm outside of a pass: %.3g", what, gap);
    }
    assert_ok(otimes_pass_final(&r.pass, u, 0, rows, r.stream, r.stream, NULL, &err), &err);
    assert_memory_equal(r.stream, normal, (size_t)size * sizeof *normal);
    otimes_final_norm(g->model, u, 1, lens, lens, NULL); /* in place */
    free(normal);
    free(lens);
    free(scale);
    free(root);
    finish(&r);
}

static void final_norms(void **state)
{
    (void)state;
    on_every_golden(norms_agree);
}

typedef struct answers {
    double logsumexp[64], entropy[64];
    int64_t target[64], target_rank[64];
    float target_logit[64], top_value[64 * 32];
    int32_t top_id[64 * 32];
} answers;

/* One row's readout from its logits in double. */
static void check_row(const answers *a, int64_t row, const float *logits, int64_t columns,
                      int64_t top, const char *what)
{
    double sum = 0, mean = 0, largest = 0;
    for (int64_t j = 0; j < columns; j++) {
        sum += exp((double)logits[j]);
        largest = fmax(largest, fabs((double)logits[j]));
    }
    for (int64_t j = 0; j < columns; j++) {
        mean += exp((double)logits[j]) / sum * (double)logits[j];
    }
    const double close = 16 * EPS * (1 + largest);
    assert_true(fabs(a->logsumexp[row] - log(sum)) <= close);
    assert_true(fabs(a->entropy[row] - (log(sum) - mean)) <= close);
    const int64_t target = a->target[row];
    int64_t rank = 0;
    for (int64_t j = 0; target >= 0 && j < columns; j++) {
        rank += logits[j] > logits[target];
    }
    assert_int_equal(a->target_rank[row], target < 0 ? -1 : rank);
    assert_true(target < 0 ? isnan(a->target_logit[row]) : a->target_logit[row] == logits[target]);
    for (int64_t k = 0; k < top; k++) {
        const float value = a->top_value[row * top + k];
        const int32_t id = a->top_id[row * top + k];
        if (k >= columns) {
            assert_true(isnan(value) && id == -1);
            continue;
        }
        int64_t before = 0; /* how many come earlier: larger, or equal with a lower id */
        for (int64_t j = 0; j < columns; j++) {
            before += logits[j] > value || (logits[j] == value && j < id);
        }
        if (id < 0 || logits[id] != value || before != k) {
            fail_msg("%s: row %d: number %d of the largest is token %d", what, (int)row, (int)k,
                     (int)id);
        }
    }
}

static void readout_is_plain(const golden *g, const char *what)
{
    static answers a;
    made_batch batch;
    otimes_err err = {0};
    running r;
    batch_random(&batch, g->model, ragged, RAGGED, 59);
    start(&r, g->model, &batch.sequences, NULL, NULL);
    whole(&r);
    const int64_t rows = r.batch.rows, top = 32; /* more than any golden's vocabulary */
    assert_true(rows <= 64);
    assert_ok(
        otimes_pass_final(&r.pass, &r.layers.unembed, 0, rows, r.stream, r.stream, NULL, &err),
        &err);
    float *logits = calloc((size_t)(rows * r.columns), sizeof *logits);
    float *want = forward_logits(g->model, NULL, &batch, NULL, what);
    assert_non_null(logits);
    for (int64_t i = 0; i < rows; i++) {
        a.target[i] = i % 5 == 4 ? -1 : i * 607 % r.columns;
    }
    const otimes_readout everything = {a.logsumexp,    a.entropy,     a.target,
                                       a.target_logit, a.target_rank, top,
                                       a.top_value,    a.top_id,      logits};
    assert_ok(otimes_readout_run(&r.layers, rows, r.stream, &everything, &err), &err);
    assert_true(gap_of(logits, want, rows * r.columns) <= 16 * EPS);
    for (int64_t i = 0; i < rows; i++) {
        check_row(&a, i, logits + i * r.columns, r.columns, top, what);
    }
    /* One thing alone, without the logits. */
    static answers b;
    const otimes_readout one = {.logsumexp = b.logsumexp};
    assert_ok(otimes_readout_run(&r.layers, rows, r.stream, &one, &err), &err);
    for (int64_t i = 0; i < rows; i++) {
        assert_true(fabs(b.logsumexp[i] - a.logsumexp[i]) <= 16 * EPS * (1 + fabs(a.logsumexp[i])));
    }
    free(logits);
    free(want);
    finish(&r);
}

static void readouts(void **state)
{
    (void)state;
    on_every_golden(readout_is_plain);
}

/* A vocabulary of two blocks: the largest logit of a row may come with the second. */
static void readouts_by_blocks(void **state)
{
    (void)state;
    golden g = {.name = "seeded", .model = seeded_model(&seeded_llama, 1)};
    readout_is_plain(&g, "seeded");
    otimes_model_close(&g.model);
}

/* ---- batches ---- */

static void batches(void **state)
{
    (void)state;
    golden g;
    otimes_batch batch;
    otimes_err err = {0};
    static const int64_t ids[] = {1, 2, 3}, lengths[] = {3, 1}, past[] = {0, 6};
    static const int64_t *id[] = {ids, ids};
    const otimes_sequences two = {2, lengths, id};
    golden_open_on(1, &g, "gpt2", true); /* n_ctx is 9 */
    assert_ok(otimes_batch_init(&batch, g.model, &two, past, &err), &err);
    assert_int_equal(batch.count, 2);
    assert_int_equal(batch.rows, 4);
    assert_int_equal(batch.longest, 7);
    assert_int_equal(batch.start[1], 3);
    assert_int_equal(batch.start[2], 4);
    assert_int_equal(batch.position[2], 2);
    assert_int_equal(batch.position[3], 6);
    assert_int_equal(batch.id[2], 3);
    otimes_batch_free(&batch);
    otimes_batch_free(&batch);
    otimes_batch_free(NULL);
    otimes_kv_free(NULL);
    static const int64_t too_far[] = {7, 0};
    assert_int_equal(otimes_batch_init(&batch, g.model, &two, too_far, &err), OTIMES_ERR_ARGUMENT);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cache),    cmocka_unit_test(stages),
        cmocka_unit_test(goes),     cmocka_unit_test(final_norms),
        cmocka_unit_test(readouts), cmocka_unit_test_teardown(readouts_by_blocks, empty_folder),
        cmocka_unit_test(batches),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
