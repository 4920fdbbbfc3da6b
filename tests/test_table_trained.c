/* SPDX-License-Identifier: MIT
 *
 * The table engine on trained weights: the bigram tables of all checkpoints for every k from 1 to 100, and
 * full OV and QK tables of their heads, against every entry.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>

#include "num/la.h"
#include "sanitized.h"
#include "tabled.h"

#ifdef SANITIZED
enum { K_STEP = 11, HEAD_ROWS = 20 };
#else
enum { K_STEP = 1, HEAD_ROWS = 64 };
#endif

/* Of the states of one training run some rows are looked at, of all else every one. */
enum { MOST_K = 100, FEW_ROWS = 140, MOVED_K = 20, STATE_ROWS = 256 };

/* Of a model in several formats the heads are looked at in one. */
static const char *const with_heads[] = {
    "arena_sorted_list/sorted_list_model.pt",
    "gpt_nano_sort",
    "grokking_induction/induction_head_finite.tl.safetensors",
    "grokking_induction/induction_head_infinite.tl.safetensors",
    "stories260K/stories260K.bin",
    "stories260K/stories260k-v3-q8_0.derived.gguf",
    "tinystories656k",
    "tracr_induction"};

static const char *const other_formats[] = {"grokking_induction/induction_head_finite.pth",
                                            "grokking_induction/induction_head_infinite.pth",
                                            "stories260K/stories260k-v3-f32.derived.gguf",
                                            "stories260K/tinyllamas-stories-260k-f32.gguf"};

static const char *const bundled[] = {"",
                                      "checkpoints/step-00000.safetensors",
                                      "checkpoints/step-00300.safetensors",
                                      "checkpoints/step-00600.safetensors",
                                      "checkpoints/step-00700.safetensors",
                                      "checkpoints/step-00800.safetensors",
                                      "checkpoints/step-00900.safetensors",
                                      "checkpoints/step-01000.safetensors",
                                      "checkpoints/step-01500.safetensors",
                                      "checkpoints/step-03000.safetensors",
                                      "checkpoints/step-07000.safetensors"};

typedef struct trained {
    otimes_model *model;
    const otimes_model_info *info;
    otimes_unembed unembed;
    float *W_E, *W_U; /* [d_vocab, d_model], [d_vocab_out, d_model] */
} trained;

static float *floats_of(int64_t count)
{
    float *values = calloc((size_t)count + 1, sizeof *values);
    assert_non_null(values);
    return values;
}

static trained open_trained(const char *path)
{
    trained m = {0};
    otimes_err err = {0};
    assert_ok(otimes_model_open(&m.model, path, NULL, &err), &err);
    m.info = otimes_model_describe(m.model);
    m.W_E = floats_of(m.info->d_vocab * m.info->d_model);
    m.W_U = floats_of(m.info->d_vocab_out * m.info->d_model);
    assert_ok(otimes_embed_rows(m.model, 0, m.info->d_vocab, m.W_E, &err), &err);
    assert_ok(otimes_unembed_open(m.model, &m.unembed, &err), &err);
    assert_ok(otimes_unembed_rows(&m.unembed, 0, m.info->d_vocab_out, m.W_U, &err), &err);
    return m;
}

static void close_trained(trained *m)
{
    free(m->W_E);
    free(m->W_U);
    otimes_unembed_free(&m->unembed);
    otimes_model_close(&m->model);
}

/* By the screen, and by blocks as well: k at the top and the others up to 100 at the bottom, another number of
 * threads and threshold for each k. */
static void hold(const tabled *t, int64_t k, bool transposed, bool blocks, const char *what)
{
    static const int threads[] = {1, 2, 3, 7};
    const int64_t entries = t->rows * t->columns;
    tabled_ask ask = {.top = k,
                      .bottom = MOST_K + 1 - k,
                      .threshold = entries ? (double)t->entry[k * 7919 % entries] : 0,
                      .threads = threads[k % 4],
                      .transposed = transposed};
    ask.threshold *= k % 8 ? 4 : 1; /* few are beyond it, or about half */
    ask.way = OTIMES_TABLE_SCREEN;
    tabled_hold(t, &ask, what);
    if (blocks) {
        ask.way = OTIMES_TABLE_BLOCKS;
        tabled_hold(t, &ask, what);
    }
}

/* Rows first .. of a table, in its memory. */
static tabled some_rows(const tabled *t, int64_t first, int64_t rows)
{
    tabled part = *t;
    part.x += first * t->rank;
    part.entry += first * t->columns;
    part.rows = rows;
    return part;
}

/* Small tables whole for every k, of larger ones other rows each time. With a bias the table has one more
 * dimension: exact logits without the norm. */
static void hold_bigram(const trained *m, int64_t rows_at_most, const char *name,
                        tabled_moved *moved)
{
    const int64_t d = m->info->d_model, extra = m->unembed.bias ? 1 : 0;
    const int64_t tokens = m->info->d_vocab;
    tabled t =
        tabled_new(tokens < rows_at_most ? tokens : rows_at_most, m->info->d_vocab_out, d + extra);
    for (int64_t i = 0; i < t.rows; i++) {
        for (int64_t k = 0; k < d; k++) {
            t.x[i * t.rank + k] = m->W_E[i * d + k];
        }
        t.x[i * t.rank + t.rank - 1] = extra ? 1 : t.x[i * t.rank + t.rank - 1];
    }
    for (int64_t j = 0; j < t.columns; j++) {
        for (int64_t k = 0; k < d; k++) {
            t.y[j * t.rank + k] = m->W_U[j * d + k];
        }
        t.y[j * t.rank + t.rank - 1] = extra ? m->unembed.bias[j] : t.y[j * t.rank + t.rank - 1];
    }
    tabled_multiply(&t);
    for (int64_t k = 1; k <= MOST_K; k += K_STEP) {
        const int64_t rows = t.rows < FEW_ROWS ? t.rows : t.rows / 60;
        const int64_t first = t.rows > rows ? (k * rows + k) % (t.rows - rows) : 0;
        const tabled part = some_rows(&t, first, rows);
        hold(&part, k, k % 5 == 2, true, name);
    }
    hold(&t, MOVED_K, false, true, name);
    tabled_beside_product(&t, MOVED_K, false, name, moved);
    tabled_free(&t);
}

/* Rows first .. of `ends` times W [d, width], W^T given where `transposed`. */
static void project(const float *ends, int64_t count, int64_t d, const float *W, int64_t width,
                    bool transposed, float *out)
{
    otimes_la_default->sgemm(false, transposed, count, width, d, 1, ends, d, W,
                             transposed ? d : width, 0, out, width);
}

/* Full OV and QK of every head, for some rows; number k at the ends goes up from head to head. */
static void hold_heads(const trained *m, const char *name)
{
    const otimes_model_info *info = m->info;
    const int64_t d = info->d_model, width = info->d_head, size = d * width;
    const int64_t rows = info->d_vocab < HEAD_ROWS ? info->d_vocab : HEAD_ROWS;
    int64_t k = 1;
    for (int64_t l = 0; l < info->n_layers; l++) {
        otimes_layer layer;
        otimes_err err = {0};
        assert_ok(otimes_layer_load(m->model, l, OTIMES_PART_ATTENTION, &layer, &err), &err);
        for (int64_t h = 0; h < info->n_heads; h++, k = k % MOST_K + 1) {
            const int64_t shared_head = h / (info->n_heads / info->n_kv_heads);
            const int64_t first = (h + 1) * (info->d_vocab - rows) / (info->n_heads + 1);
            tabled ov = tabled_new(rows, info->d_vocab_out, width),
                   qk = tabled_new(rows, info->d_vocab, width);
            project(m->W_E + first * d, rows, d, layer.W_V.data + shared_head * size, width, false,
                    ov.x);
            project(m->W_U, ov.columns, d, layer.W_O.data + h * size, width, true, ov.y);
            project(m->W_E + first * d, rows, d, layer.W_Q.data + h * size, width, false, qk.x);
            project(m->W_E, qk.columns, d, layer.W_K.data + shared_head * size, width, false, qk.y);
            tabled_multiply(&ov);
            tabled_multiply(&qk);
            char what[128];
            snprintf(what, sizeof what, "%s, OV of L%dH%d", name, (int)l, (int)h);
            hold(&ov, k, h % 2, h % 4 == 1, what);
            snprintf(what, sizeof what, "%s, QK of L%dH%d", name, (int)l, (int)h);
            hold(&qk, MOST_K + 1 - k, h % 2, h % 4 == 2, what);
            tabled_free(&ov);
            tabled_free(&qk);
        }
        otimes_layer_free(&layer);
    }
}

static void hold_model(const char *path, const char *name, int64_t rows, bool heads,
                       tabled_moved *moved)
{
    trained m = open_trained(path);
    hold_bigram(&m, rows, name, moved);
    if (heads) {
        hold_heads(&m, name);
    }
    close_trained(&m);
}

static void report(const tabled_moved *moved)
{
    print_message("the float32 product has another column in %d of %d places\n", (int)moved->moved,
                  (int)moved->places);
    assert_int_equal(moved->rows_not_finite, 0);
}

static void shared_checkpoints(void **state)
{
    tabled_moved moved = {0};
    (void)state;
    if (!shared_path("")) {
        skip();
    }
    for (size_t i = 0; i < sizeof with_heads / sizeof *with_heads; i++) {
        hold_model(shared_path(with_heads[i]), with_heads[i], INT64_MAX, true, &moved);
    }
    for (size_t i = 0; i < sizeof other_formats / sizeof *other_formats; i++) {
        hold_model(shared_path(other_formats[i]), other_formats[i], INT64_MAX, false, &moved);
    }
    report(&moved);
}

static void bundled_checkpoints(void **state)
{
    tabled_moved moved = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bundled / sizeof *bundled; i++) {
        char path[128];
        snprintf(path, sizeof path, "notebooks-data/induction-2l/%s", bundled[i]);
        hold_model(source_path(path), path, i > 0 ? STATE_ROWS : INT64_MAX, true, &moved);
    }
    report(&moved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_checkpoints),
        cmocka_unit_test(bundled_checkpoints),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
