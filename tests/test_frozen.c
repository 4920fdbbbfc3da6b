/* SPDX-License-Identifier: MIT
 *
 * Frozen quantities on every golden: put back where they came from they change nothing, and with
 * them a pass is affine in its beginning.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "run/forward.h"
#include "run/frozen.h"

typedef struct run {
    golden g;
    otimes_forward *forward;
    otimes_sequences texts;
    int64_t length[2], *id[2];
    int64_t rows, d;
} run;

/* Two texts of different lengths. */
static void begin(run *r, const char *name, bool processed)
{
    otimes_err err = {0};
    memset(r, 0, sizeof *r);
    golden_open(&r->g, name, processed);
    const otimes_model_info *info = otimes_model_describe(r->g.model);
    for (int s = 0; s < 2; s++) {
        r->length[s] = s ? 4 : 6;
        r->id[s] = calloc((size_t)r->length[s], sizeof *r->id[s]);
        for (int64_t i = 0; i < r->length[s]; i++) {
            r->id[s][i] = (7 * i + 3 * s + 1) % info->d_vocab;
        }
        r->rows += r->length[s];
    }
    if (info->n_ctx > 0 && info->n_ctx < r->length[0]) { /* the smallest take three tokens */
        r->rows -= r->length[0] - info->n_ctx;
        r->length[0] = info->n_ctx;
    }
    if (info->n_ctx > 0 && info->n_ctx < r->length[1]) {
        r->rows -= r->length[1] - info->n_ctx;
        r->length[1] = info->n_ctx;
    }
    r->texts = (otimes_sequences){2, r->length, (const int64_t *const *)r->id};
    r->d = info->d_model;
    assert_ok(otimes_forward_open(&r->forward, r->g.model, NULL, &err), &err);
}

static void end(run *r)
{
    otimes_forward_close(&r->forward);
    free(r->id[0]);
    free(r->id[1]);
    golden_close(&r->g);
}

/* Behind the final norm, [rows, d_model]; freed by the caller. */
static float *pass(run *r, const otimes_hooks *hooks)
{
    otimes_err err = {0};
    assert_ok(otimes_forward_run(r->forward, &r->texts, hooks, &err), &err);
    float *copy = malloc((size_t)(r->rows * r->d) * sizeof *copy);
    memcpy(copy, r->forward->stream, (size_t)(r->rows * r->d) * sizeof *copy);
    return copy;
}

static double largest(const float *x, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)x[i]));
    }
    return most;
}

/* The same text again: the same numbers, and the same bits where no factor act(x) / x is taken. */
static void replay(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        for (int processed = 0; processed < 2; processed++) {
            run r;
            otimes_err err = {0};
            otimes_frozen frozen;
            begin(&r, golden_names[i], processed);
            assert_ok(otimes_frozen_init(&frozen, r.g.model, &r.texts, OTIMES_FREEZE_ALL, &err),
                      &err);
            otimes_hooks hooks = otimes_frozen_hooks(&frozen);
            float *plain = pass(&r, NULL), *recorded = pass(&r, &hooks);
            frozen.replay = true;
            float *replayed = pass(&r, &hooks);
            const int64_t count = r.rows * r.d;
            const double allowed = 64 * 1.2e-7 * largest(plain, count);
            for (int64_t j = 0; j < count; j++) {
                if (!(fabs((double)plain[j] - (double)recorded[j]) <= allowed)) {
                    fail_msg("%s: recording changes %g to %g", r.g.name, (double)plain[j],
                             (double)recorded[j]);
                }
                if (recorded[j] != replayed[j]) {
                    fail_msg("%s: replay gives %.9g, expected %.9g", r.g.name, (double)replayed[j],
                             (double)recorded[j]);
                }
            }
            free(plain);
            free(recorded);
            free(replayed);
            otimes_frozen_free(&frozen);
            end(&r);
        }
    }
}

/* ---- additivity ---- */

typedef struct begins {
    otimes_frozen *frozen;
    const float *a, *b; /* [rows, d_model]; the stream begins as their sum, NULL: zero */
} begins;

static int begin_as(void *context, const otimes_activation *a, otimes_err *err)
{
    const begins *w = context;
    if (a->hook != OTIMES_HOOK_EMBED) {
        return otimes_frozen_visit(w->frozen, a, err);
    }
    for (int64_t i = 0; i < a->rows; i++) {
        for (int64_t j = 0; j < a->columns; j++) {
            const int64_t at = (a->first + i) * a->columns + j;
            a->data[i * a->stride + j] = (w->a ? w->a[at] : 0) + (w->b ? w->b[at] : 0);
        }
    }
    return OTIMES_OK;
}

static float *pass_from(run *r, otimes_frozen *frozen, const float *a, const float *b)
{
    begins context = {frozen, a, b};
    const otimes_hooks hooks = {frozen->points | OTIMES_HOOK_BIT(EMBED), begin_as, &context};
    return pass(r, &hooks);
}

/* f(a + b) + f(0) = f(a) + f(b). Returns by how much it fails, relative to the largest. */
static double nonlinearity(const char *name, bool processed, int what)
{
    run r;
    otimes_err err = {0};
    otimes_frozen frozen;
    begin(&r, name, processed);
    assert_ok(otimes_frozen_init(&frozen, r.g.model, &r.texts, what, &err), &err);
    const otimes_hooks hooks = otimes_frozen_hooks(&frozen);
    free(pass(&r, &hooks));
    frozen.replay = true;
    const int64_t count = r.rows * r.d;
    float *a = malloc((size_t)count * sizeof *a), *b = malloc((size_t)count * sizeof *b);
    for (int64_t i = 0; i < count; i++) {
        a[i] = (float)sin(1.7 * (double)i + 0.3);
        b[i] = (float)cos(0.9 * (double)i);
    }
    float *fa = pass_from(&r, &frozen, a, NULL), *fb = pass_from(&r, &frozen, b, NULL);
    float *both = pass_from(&r, &frozen, a, b), *zero = pass_from(&r, &frozen, NULL, NULL);
    const double size = largest(fa, count) + largest(fb, count) + largest(zero, count);
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        worst =
            fmax(worst, fabs((double)both[i] + (double)zero[i] - (double)fa[i] - (double)fb[i]));
    }
    free(a);
    free(b);
    free(fa);
    free(fb);
    free(both);
    free(zero);
    otimes_frozen_free(&frozen);
    end(&r);
    return worst / size;
}

static void additivity(void **state)
{
    int affine = 0;
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        golden g;
        golden_open(&g, golden_names[i], true);
        const bool is_affine = otimes_frozen_is_affine(g.model);
        golden_close(&g);
        for (int processed = 0; is_affine && processed < 2; processed++) {
            /* A few layers of products of d_model to d_mlp terms, each rounded. */
            const double off = nonlinearity(golden_names[i], processed, OTIMES_FREEZE_ALL);
            if (!(off < 64 * 1.2e-7)) {
                fail_msg("%s: f(a + b) + f(0) differs from f(a) + f(b) by %g", golden_names[i],
                         off);
            }
            affine++;
        }
    }
    assert_true(affine > 80);
    /* Each of the three is needed. */
    assert_true(nonlinearity("gpt2", true, OTIMES_FREEZE_ALL & ~OTIMES_FREEZE_PATTERNS) > 1e-4);
    assert_true(nonlinearity("gpt2", true, OTIMES_FREEZE_ALL & ~OTIMES_FREEZE_SCALES) > 1e-4);
    assert_true(nonlinearity("gpt2", true, OTIMES_FREEZE_ALL & ~OTIMES_FREEZE_GATES) > 1e-4);
}

/* What is stated is what is taken. */
static void bytes(void **state)
{
    (void)state;
    for (int i = 0; golden_names[i]; i++) {
        run r;
        otimes_err err = {0};
        otimes_frozen frozen;
        int64_t kept = 0;
        begin(&r, golden_names[i], true);
        const otimes_model_info *info = otimes_model_describe(r.g.model);
        assert_ok(otimes_frozen_init(&frozen, r.g.model, &r.texts, OTIMES_FREEZE_ALL, &err), &err);
        for (int64_t l = 0; l < info->n_layers; l++) {
            kept += otimes_frozen_at(&frozen, OTIMES_HOOK_PATTERN, l) ? info->n_heads : 0;
        }
        kept *= r.length[0] * r.length[0] + r.length[1] * r.length[1];
        assert_int_equal(otimes_frozen_bytes(r.g.model, &r.texts, OTIMES_FREEZE_PATTERNS),
                         kept * (int64_t)sizeof(float));
        assert_true(otimes_frozen_bytes(r.g.model, &r.texts, OTIMES_FREEZE_ALL) >=
                    kept * (int64_t)sizeof(float));
        otimes_frozen_free(&frozen);
        end(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replay),
        cmocka_unit_test(additivity),
        cmocka_unit_test(bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
