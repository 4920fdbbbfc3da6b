/* SPDX-License-Identifier: MIT
 *
 * Weights at the ends of float32 and of the 16-bit types: what does not depend on their scale stays what
 * it is, and what leaves float32 is an error or says so, with no id, rank or text made of it.
 */
#include "degenerate.h"
#include "degenerate_runs.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <otimes/common.h>

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* ---- scale ---- */

/* Shares, cosines and ratios are the same at 1, 1e-40 and 1e30. Below 1e-38 a weight has fewer digits:
 * 1e-40 has 16 bits. */
static void what_has_no_scale(void **state)
{
    static const struct {
        const char *run, *array;
    } list[] = {{"heads", "OV_copying"},
                {"heads", "QK_positivity"},
                {"heads", "OV_effective_rank"},
                {"heads", "full_OV_copying"},
                {"heads", "full_OV_effective_rank"},
                {"compose", "score"},
                {"compose", "from_score"},
                {"compose", "to_score"},
                {"compose, components", "component_share_ov"},
                {"compare", "similarity"},
                {"compare", "OV_cosine"},
                {"virtual", "ratio"},
                {"virtual", "copying"}};
    static const struct {
        degenerate_change change;
        double bound;
    } scales[] = {{HUGE_WEIGHTS, 1e-5}, {DENORMAL_WEIGHTS, 1e-2}};
    (void)state;
    degenerate plain, scaled;
    degenerate_open(&plain, BARE, PLAIN, false);
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
        degenerate_open(&scaled, BARE, scales[s].change, false);
        for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
            otimes_memory_sink *one = degenerate_result(list[i].run, plain.model);
            otimes_memory_sink *two = degenerate_result(list[i].run, scaled.model);
            int64_t count, same;
            double *expected = sink_values(one, list[i].array, &count);
            double *got = sink_values(two, list[i].array, &same);
            assert_non_null(expected);
            assert_non_null(got);
            assert_int_equal(count, same);
            assert_close(list[i].array, got, expected, count, 0, scales[s].bound);
            free(expected);
            free(got);
            otimes_memory_sink_free(&one);
            otimes_memory_sink_free(&two);
        }
        degenerate_free(&scaled);
    }
    degenerate_free(&plain);
}

/* ---- the file's own numbers ---- */

static void extremes_are_read(void **state)
{
    static const struct {
        degenerate_change change;
        double magnitude;
    } list[] = {{LARGEST_BF16, 0x1.fep127},
                {SMALLEST_BF16, 0x1p-133},
                {LARGEST_F16, 65504},
                {SMALLEST_F16, 0x1p-24},
                {LARGEST_WEIGHTS, (double)FLT_MAX}};
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        degenerate d;
        degenerate_open(&d, ROTARY, list[i].change, false);
        otimes_memory_sink *memory = degenerate_result("convert", d.model);
        int64_t count;
        double *x = sink_values(memory, "blocks.0.attn.W_Q", &count);
        assert_non_null(x);
        for (int64_t k = 0; k < count; k++) {
            assert_true(fabs(x[k]) == list[i].magnitude);
        }
        free(x);
        otimes_memory_sink_free(&memory);
        degenerate_free(&d);
    }
}

/* ---- beyond float32 ---- */

static const degenerate_change large[] = {HUGE_WEIGHTS, LARGEST_WEIGHTS, LARGEST_BF16, LARGEST_F16};

/* A norm's weight times a matrix's is no number of float32: no analysis goes on with it. */
static void processing_overflows(void **state)
{
    (void)state;
    for (degenerate_base base = LAYER_NORM; base <= ROTARY; base++) {
        for (size_t i = 0; i < 3; i++) { /* 65504^2 is */
            degenerate d;
            degenerate_open(&d, base, large[i], true);
            for (const degenerate_run *run = degenerate_runs; run->name; run++) {
                otimes_memory_sink *memory;
                otimes_err err = {0};
                assert_ok(otimes_memory_sink_new(&memory, &err), &err);
                const int rc = run->run(d.model, otimes_memory_sink_sink(memory), &err);
                const bool reads = strcmp(run->name, "info") != 0;
                if (rc != (reads ? OTIMES_ERR_VALUE : OTIMES_OK) ||
                    (reads && !strstr(err.msg, "holds after processing"))) {
                    fail_msg("%s on %s: got %d: %s", run->name, degenerate_name(base, large[i]), rc,
                             err.msg);
                }
                otimes_memory_sink_free(&memory);
            }
            degenerate_free(&d);
        }
    }
}

/* Numbers as they are, products beyond: a result, or the error that says what is beyond. */
static void products_overflow(void **state)
{
    (void)state;
    for (degenerate_base base = 0; base < BASES; base++) {
        for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
            degenerate d;
            degenerate_open(&d, base, large[i], false);
            for (const degenerate_run *run = degenerate_runs; run->name; run++) {
                otimes_memory_sink *memory;
                otimes_err err = {0};
                assert_ok(otimes_memory_sink_new(&memory, &err), &err);
                const int rc = run->run(d.model, otimes_memory_sink_sink(memory), &err);
                const bool no_mlp = base == BARE && begins_with(run->name, "neurons");
                if (rc != OTIMES_OK && rc != (no_mlp ? OTIMES_ERR_UNSUPPORTED : OTIMES_ERR_VALUE)) {
                    fail_msg("%s on %s: got %d: %s", run->name, degenerate_name(base, large[i]), rc,
                             err.msg);
                }
                otimes_memory_sink_free(&memory);
            }
            degenerate_free(&d);
        }
    }
}

/* Logits that are no numbers have no order: no id, no rank. */
static void logits_overflow(void **state)
{
    (void)state;
    degenerate d;
    degenerate_open(&d, BARE, HUGE_WEIGHTS, false);
    otimes_memory_sink *memory = degenerate_result("logits", d.model);
    int64_t count;
    double *logits = sink_values(memory, "logits", &count);
    for (int64_t i = 0; i < count; i++) {
        assert_true(isnan(logits[i]));
    }
    free(logits);
    static const char *const undefined[] = {"top_id", "next_rank"};
    for (size_t k = 0; k < 2; k++) {
        double *ids = sink_values(memory, undefined[k], &count);
        for (int64_t i = 0; i < count; i++) {
            assert_true(ids[i] == -1);
        }
        free(ids);
    }
    otimes_memory_sink_free(&memory);
    degenerate_free(&d);
}

/* What looks for the largest of them says that there is none. */
static void searches_overflow(void **state)
{
    static const struct {
        const char *run, *words;
    } list[] = {{"generate", "expected logits that float32 holds"},
                {"generate, drawn", "expected logits that float32 holds"},
                {"paths", "expected logits that float32 holds"},
                {"trigrams", "over the vocabulary: expected numbers that float32 holds"},
                {"circuit ov", "vectors of a table"}};
    (void)state;
    degenerate d;
    degenerate_open(&d, BARE, HUGE_WEIGHTS, false);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        otimes_memory_sink *memory;
        otimes_err err = {0};
        assert_ok(otimes_memory_sink_new(&memory, &err), &err);
        const int rc =
            degenerate_run_of(list[i].run)->run(d.model, otimes_memory_sink_sink(memory), &err);
        if (rc != OTIMES_ERR_VALUE || !strstr(err.msg, list[i].words)) {
            fail_msg("%s: expected \"%s\", got %d: %s", list[i].run, list[i].words, rc, err.msg);
        }
        otimes_memory_sink_free(&memory);
    }
    degenerate_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_no_scale),    cmocka_unit_test(extremes_are_read),
        cmocka_unit_test(processing_overflows), cmocka_unit_test(products_overflow),
        cmocka_unit_test(logits_overflow),      cmocka_unit_test(searches_overflow),
    };
    otimes_set_blas_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
