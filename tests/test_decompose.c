/* SPDX-License-Identifier: MIT
 *
 * decompose against itself and against the forward pass, on every golden, raw and processed: parts
 * sum to the whole at every point, the whole is the model's logit, and each head is what its hook
 * shows.
 */
#include "decomposed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/pass.h"

/* ---- sums ---- */

/* Attributions sum to the value, and norms times cosines to the norm: both by the size of what is
 * summed. */
static void check_sums(const fixture *f)
{
    otimes_memory_sink *memory = decompose(f);
    values part = get(memory, "attribution"), value = get(memory, "target_value");
    values residue = get(memory, "attribution_residue");
    values norm = get(memory, "component_norm"), cosine = get(memory, "component_cosine");
    values whole = get(memory, "residual_norm");
    for (int64_t where = 0; where < TEXTS * f->longest; where++) {
        double along = 0, sizes = 0;
        for (int64_t c = 0; c < norm.last; c++) {
            const double n = norm.x[where * norm.last + c], k = cosine.x[where * norm.last + c];
            along += isnan(k) ? 0 : n * k;
            sizes += isnan(n) ? 0 : n;
        }
        if (!in_text(f, where)) {
            assert_true(isnan(whole.x[where]) && isnan(value.x[where * TARGETS]));
            continue;
        }
        if (!(fabs(along - whole.x[where]) <= 64 * EPS * sizes)) {
            fail_msg("%s: the stream's norm is %g, components along it sum to %g", f->g.name,
                     whole.x[where], along);
        }
        for (int64_t t = 0; t < TARGETS; t++) {
            double sum = 0, size = 0;
            for (int64_t c = 0; c < part.last; c++) {
                const double x = part.x[(where * TARGETS + t) * part.last + c];
                sum += x;
                size += fabs(x);
            }
            const double expected = value.x[where * TARGETS + t];
            /* Components may cancel in the stream and not in their products with p. */
            const double allowed = 64 * EPS * (size + sizes);
            if (!(fabs(sum - expected) <= allowed)) {
                fail_msg("%s: layer %lld mid %d: attributions sum to %g, expected %g", f->g.name,
                         (long long)f->settings.layer, f->settings.mid, sum, expected);
            }
            assert_true(fabs(residue.x[where * TARGETS + t] - (expected - sum)) <= allowed);
        }
    }
    free(part.x);
    free(value.x);
    free(residue.x);
    free(norm.x);
    free(cosine.x);
    free(whole.x);
    otimes_memory_sink_free(&memory);
}

static void sums_of(const char *name, bool processed)
{
    fixture f;
    begin(&f, name, processed);
    for (int parts = OTIMES_DECOMPOSE_LAYERS; parts <= OTIMES_DECOMPOSE_HEADS; parts++) {
        f.settings.parts = (otimes_decompose_parts)parts;
        f.settings.layer = -1;
        f.settings.mid = 0;
        check_sums(&f);
        for (int64_t l = 0; l < f.info->n_layers; l++) {
            f.settings.layer = l;
            for (f.settings.mid = 0; f.settings.mid < 2; f.settings.mid++) {
                if (!f.settings.mid || otimes_hook_reached(f.g.model, OTIMES_HOOK_RESID_MID, l)) {
                    check_sums(&f);
                }
            }
        }
    }
    end(&f);
}

static void sums(void **state)
{
    (void)state;
    each_golden(sums_of);
}

/* ---- the model's logits ---- */

/* [rows, d_vocab_out] of both texts; freed by the caller. */
static float *logits_of(const fixture *f)
{
    otimes_err err = {0};
    otimes_forward *forward;
    assert_ok(otimes_forward_open(&forward, f->g.model, NULL, &err), &err);
    assert_ok(otimes_forward_run(forward, &f->settings.sequences, NULL, &err), &err);
    const int64_t rows = otimes_forward_rows(forward);
    float *logits = malloc((size_t)(rows * f->info->d_vocab_out) * sizeof *logits);
    assert_ok(otimes_forward_logits(forward, 0, rows, logits, &err), &err);
    otimes_forward_close(&forward);
    return logits;
}

static double uncapped(const fixture *f, double logit)
{
    const double cap = f->info->final_softcap;
    return cap > 0 ? cap * atanh(logit / cap) : logit;
}

static void logits_agree(const char *name, bool processed)
{
    fixture f;
    begin(&f, name, processed);
    f.settings.lens = 1;
    float *logits = logits_of(&f);
    otimes_memory_sink *memory = decompose(&f);
    values value = get(memory, "target_value"), rank = get(memory, "lens_rank");
    values lens = get(memory, "logit_lens"), log_prob = get(memory, "lens_log_prob");
    const int64_t u = f.info->d_vocab_out;
    for (int64_t s = 0, row = 0; s < TEXTS; s++) {
        for (int64_t i = 0; i < f.length[s]; i++, row++) {
            double most = 0, sum = 0;
            for (int64_t v = 0; v < u; v++) {
                most = fmax(most, fabs(uncapped(&f, (double)logits[row * u + v])));
                sum += exp((double)logits[row * u + v]);
            }
            for (int64_t t = 0; t < TARGETS; t++) {
                const int64_t at = (s * f.longest + i) * TARGETS + t;
                const int64_t last = (at + 1) * lens.last - 1;
                const double own = (double)logits[row * u + f.target[t]];
                double expected = uncapped(&f, own);
                expected -=
                    f.against[t] < 0 ? 0 : uncapped(&f, (double)logits[row * u + f.against[t]]);
                if (!(fabs(value.x[at] - expected) <= 64 * EPS * (most + 1))) {
                    fail_msg("%s: value %g, expected %g", name, value.x[at], expected);
                }
                int64_t above = 0;
                for (int64_t v = 0; v < u; v++) {
                    above += (double)logits[row * u + v] > own;
                }
                assert_true(fabs(rank.x[last] - (double)above) <= 0);
                assert_true(fabs(log_prob.x[last] - (own - log(sum))) <= 64 * EPS * (most + 1));
                assert_true(fabs(lens.x[last] - value.x[at]) <= 0);
            }
        }
    }
    free(value.x);
    free(rank.x);
    free(lens.x);
    free(log_prob.x);
    free(logits);
    otimes_memory_sink_free(&memory);
    end(&f);
}

static void logits(void **state)
{
    (void)state;
    each_golden(logits_agree);
}

/* The lens at each point is the value that a run up to that point gives. */
static void lens_of(const char *name, bool processed)
{
    fixture f;
    char label[32];
    begin(&f, name, processed);
    f.settings.norms = 0;
    otimes_memory_sink *whole = decompose(&f);
    values lens = get(whole, "logit_lens");
    for (int64_t p = 0; p + 1 < lens.last; p++) {
        long long layer;
        const char *const text = lens.array->axis[3]->text[p];
        assert_int_equal(sscanf(text, "%lld_%31s", &layer, label), 2);
        f.settings.layer = layer;
        f.settings.mid = !strcmp(label, "mid");
        otimes_memory_sink *part = decompose(&f);
        values value = get(part, "target_value");
        for (int64_t at = 0; at < value.count; at++) {
            const double expected = lens.x[at * lens.last + p];
            assert_true(isnan(expected)
                            ? isnan(value.x[at])
                            : fabs(value.x[at] - expected) <= 8 * EPS * (fabs(expected) + 1));
        }
        free(value.x);
        otimes_memory_sink_free(&part);
    }
    free(lens.x);
    otimes_memory_sink_free(&whole);
    end(&f);
}

static void lens_points(void **state)
{
    (void)state;
    each_golden(lens_of);
}

/* ---- each head is its result ---- */

typedef struct results {
    const fixture *f;
    double *seen; /* [layer, head, row, d_model] */
    double *post; /* [layer, row] scale of the post-norm, else 1 */
    int64_t rows;
} results;

static int keep_result(void *context, const otimes_activation *a, otimes_err *err)
{
    const results *r = context;
    const otimes_model_info *info = r->f->info;
    (void)err;
    for (int64_t i = 0; i < a->rows; i++) {
        if (a->hook == OTIMES_HOOK_LN1_POST_SCALE) {
            r->post[a->layer * r->rows + a->first + i] = (double)a->data[i * a->stride];
            continue;
        }
        double *to = r->seen + ((a->layer * info->n_heads + a->head) * r->rows + a->first + i) *
                                   info->d_model;
        for (int64_t j = 0; j < info->d_model; j++) {
            to[j] = (double)a->data[i * a->stride + j];
        }
    }
    return OTIMES_OK;
}

/* Dense, in double: (c - mean c) / s . w_f W_U, c behind the post-norm. */
static double dense(const fixture *f, const otimes_unembed *unembed, const double *result,
                    const float *post_w, double post, double scale, const float *u, double *norm)
{
    const int64_t d = f->info->d_model;
    double mean = 0, sum = 0, squares = 0;
    for (int64_t j = 0; j < d; j++) {
        const double c = result[j] * (post_w ? (double)post_w[j] : 1) / post;
        mean += f->info->norm == OTIMES_NORM_LN ? c / (double)d : 0;
        squares += c * c;
    }
    for (int64_t j = 0; j < d; j++) {
        const double c = result[j] * (post_w ? (double)post_w[j] : 1) / post;
        sum += (c - mean) / scale * (unembed->ln_w ? (double)unembed->ln_w[j] : 1) * (double)u[j];
    }
    *norm = sqrt(squares);
    return sum;
}

static void heads_of(const char *name, bool processed)
{
    fixture f;
    otimes_err err = {0};
    otimes_forward *forward;
    otimes_unembed unembed;
    begin(&f, name, processed);
    f.against[0] = -1;
    const int64_t d = f.info->d_model, heads = f.info->n_heads, layers = f.info->n_layers;
    results r = {.f = &f, .rows = f.length[0] + f.length[1]};
    r.seen = calloc((size_t)(layers * heads * r.rows * d), sizeof *r.seen);
    r.post = calloc((size_t)(layers * r.rows), sizeof *r.post);
    for (int64_t i = 0; i < layers * r.rows; i++) {
        r.post[i] = 1;
    }
    const otimes_hooks hooks = {OTIMES_HOOK_BIT(RESULT) | OTIMES_HOOK_BIT(LN1_POST_SCALE),
                                keep_result, &r};
    assert_ok(otimes_forward_open(&forward, f.g.model, NULL, &err), &err);
    assert_ok(otimes_forward_run(forward, &f.settings.sequences, &hooks, &err), &err);
    otimes_forward_close(&forward);
    assert_ok(otimes_unembed_open(f.g.model, &unembed, &err), &err);
    float *u = malloc((size_t)d * sizeof *u);
    assert_ok(otimes_unembed_rows(&unembed, f.target[0], 1, u, &err), &err);
    otimes_memory_sink *memory = decompose(&f);
    values part = get(memory, "attribution"), scale = get(memory, "norm_scale");
    values norms = get(memory, "component_norm");
    for (int64_t l = 0; l < layers; l++) {
        otimes_layer layer;
        assert_ok(otimes_layer_load(f.g.model, l, OTIMES_PART_O, &layer, &err), &err);
        for (int64_t h = 0; h < heads; h++) {
            char label[64];
            int64_t c = 0;
            snprintf(label, sizeof label, "L%lldH%lld", (long long)l, (long long)h);
            while (strcmp(part.array->axis[3]->text[c], label) != 0) {
                c++;
            }
            for (int64_t row = 0; row < r.rows; row++) {
                const int64_t text = row >= f.length[0];
                const int64_t where = text * f.longest + row - (text ? f.length[0] : 0);
                double norm;
                const double expected = dense(
                    &f, &unembed, r.seen + ((l * heads + h) * r.rows + row) * d,
                    layer.ln1_post_w.data, r.post[l * r.rows + row], scale.x[where], u, &norm);
                const double got = part.x[where * TARGETS * part.last + c];
                if (!(fabs(got - expected) <= 64 * EPS * (norm / scale.x[where] + 1))) {
                    fail_msg("%s: %s: %g, expected %g", name, label, got, expected);
                }
                assert_true(fabs(norms.x[where * norms.last + c] - norm) <= 64 * EPS * norm);
            }
        }
        otimes_layer_free(&layer);
    }
    free(part.x);
    free(scale.x);
    free(norms.x);
    free(u);
    free(r.seen);
    free(r.post);
    otimes_unembed_free(&unembed);
    otimes_memory_sink_free(&memory);
    end(&f);
}

static void heads(void **state)
{
    (void)state;
    each_golden(heads_of);
}

/* ---- processing ---- */

/* Differences of tokens are worth the same in folded weights as in raw ones: every part but those
 * between which value biases are moved, and these together. */
static void folded(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        fixture raw, done;
        begin(&raw, golden_names[i], false);
        begin(&done, golden_names[i], true);
        raw.settings.parts = done.settings.parts = OTIMES_DECOMPOSE_LAYERS;
        otimes_memory_sink *a = decompose(&raw), *b = decompose(&done);
        values x = get(a, "attribution"), y = get(b, "attribution");
        for (int64_t where = 0; where < TEXTS * raw.longest; where++) {
            double size = 1;
            for (int64_t c = 0; c < x.last; c++) {
                size += fabs(x.x[where * TARGETS * x.last + c]);
            }
            for (int64_t c = 0; in_text(&raw, where) && c < x.last; c++) {
                const char *label = x.array->axis[3]->text[c];
                const int64_t other = component_named(&y, label);
                if (!strcmp(label, "bias") || other < 0) {
                    continue; /* a final norm's bias is a constant of p, in one or both */
                }
                const double got = y.x[where * TARGETS * y.last + other];
                const double expected = x.x[where * TARGETS * x.last + c];
                if (!(fabs(got - expected) <= 256 * EPS * size)) {
                    fail_msg("%s: %s: %g processed, %g raw", raw.g.name, label, got, expected);
                }
            }
        }
        free(x.x);
        free(y.x);
        otimes_memory_sink_free(&a);
        otimes_memory_sink_free(&b);
        end(&raw);
        end(&done);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums),  cmocka_unit_test(logits), cmocka_unit_test(lens_points),
        cmocka_unit_test(heads), cmocka_unit_test(folded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
