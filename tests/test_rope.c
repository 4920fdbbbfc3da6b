/* SPDX-License-Identifier: MIT
 *
 * Rotary positions against dense rotations built from their definition, and the frequencies against
 * the formulas of Hugging Face transformers written out again in long double.
 */
#include "support.h"

#include "la_matrix.h"

#include "run/rope.h"

enum { D_HEAD = 12, ROWS = 5 };

static otimes_model model_of(const otimes_rope *rope, int64_t d_head)
{
    static char path[] = "model", scaling[] = "longrope";
    otimes_model model = {.path = path, .rope = *rope};
    model.rope.scaling_name = scaling;
    model.info.positions = OTIMES_POSITIONS_ROPE;
    model.info.d_head = d_head;
    return model;
}

/* The row convention q R(p): (a, b) becomes (a cos - b sin, b cos + a sin). */
static void dense_rotation(const otimes_rope *rope, const double *frequency, double p,
                           double out[D_HEAD][D_HEAD])
{
    for (int i = 0; i < D_HEAD; i++) {
        for (int j = 0; j < D_HEAD; j++) {
            out[i][j] = i == j;
        }
    }
    for (int i = 0; i < rope->dim / 2; i++) {
        const int a = rope->adjacent ? 2 * i : i,
                  b = rope->adjacent ? 2 * i + 1 : i + (int)rope->dim / 2;
        out[a][a] = out[b][b] = cos(p * frequency[i]);
        out[a][b] = sin(p * frequency[i]);
        out[b][a] = -out[a][b];
    }
}

static double row_times(const double *row, const double m[D_HEAD][D_HEAD], int column, bool turned)
{
    double sum = 0;
    for (int k = 0; k < D_HEAD; k++) {
        sum += row[k] * (turned ? m[column][k] : m[k][column]);
    }
    return sum;
}

static const otimes_rope ropes[] = {
    {.magnitude = 1, .theta = 10000, .dim = D_HEAD},
    {.magnitude = 1, .theta = 10000, .dim = D_HEAD, .adjacent = true},
    {.magnitude = 1, .theta = 500, .dim = 4},
    {.magnitude = 1, .theta = 500, .dim = 6, .adjacent = true},
    {.magnitude = 1, .theta = 500, .dim = 2},
};

enum { ROPES = sizeof ropes / sizeof ropes[0] };

static void frequencies_of(const otimes_rope *rope, double *frequency)
{
    const otimes_model model = model_of(rope, D_HEAD);
    otimes_err err = {0};
    assert_ok(otimes_rope_frequencies(&model, &model.rope, frequency, &err), &err);
}

static void fill(double *x, int count)
{
    for (int i = 0; i < count; i++) {
        x[i] = normal();
    }
}

static void rotation_by_its_definition(void **state)
{
    (void)state;
    static const double offsets[] = {0, 1, 2, 8, -3, 0.5, 1000};
    for (int r = 0; r < ROPES; r++) {
        double frequency[D_HEAD / 2], x[ROWS * D_HEAD], y[ROWS * D_HEAD], R[D_HEAD][D_HEAD];
        frequencies_of(&ropes[r], frequency);
        for (size_t o = 0; o < sizeof offsets / sizeof offsets[0]; o++) {
            fill(x, ROWS * D_HEAD);
            memcpy(y, x, sizeof y);
            otimes_rope_rotate_key(&ropes[r], frequency, offsets[o], ROWS, D_HEAD, y);
            dense_rotation(&ropes[r], frequency, offsets[o], R);
            for (int i = 0; i < ROWS * D_HEAD; i++) {
                assert_at_most(fabs(y[i] - row_times(x + i / D_HEAD * D_HEAD, R, i % D_HEAD, true)),
                               1e-14);
            }
        }
    }
}

/* R(a) R(b) = R(a + b), R(0) = 1, lengths stay. */
static void rotations_add_up(void **state)
{
    (void)state;
    for (int r = 0; r < ROPES; r++) {
        double frequency[D_HEAD / 2], x[ROWS * D_HEAD], y[ROWS * D_HEAD], z[ROWS * D_HEAD];
        frequencies_of(&ropes[r], frequency);
        for (int round = 0; round < 50; round++) {
            const double a = (double)below(200) - 100, b = (double)below(200) - 100;
            double before = 0, after = 0;
            fill(x, ROWS * D_HEAD);
            memcpy(y, x, sizeof y);
            memcpy(z, x, sizeof z);
            otimes_rope_rotate_key(&ropes[r], frequency, a, ROWS, D_HEAD, y);
            otimes_rope_rotate_key(&ropes[r], frequency, b, ROWS, D_HEAD, y);
            otimes_rope_rotate_key(&ropes[r], frequency, a + b, ROWS, D_HEAD, z);
            for (int i = 0; i < ROWS * D_HEAD; i++) {
                assert_at_most(fabs(y[i] - z[i]), 1e-12);
                before += x[i] * x[i];
                after += y[i] * y[i];
            }
            assert_at_most(fabs(before - after), 1e-12 * before);
            otimes_rope_rotate_key(&ropes[r], frequency, -a - b, ROWS, D_HEAD, y);
            for (int i = 0; i < ROWS * D_HEAD; i++) {
                assert_at_most(fabs(y[i] - x[i]), 1e-12);
            }
        }
    }
}

/* q R(p) . k R(p') = q R(p - p') k^T: what the circuit at an offset means. */
static void score_depends_on_the_offset(void **state)
{
    (void)state;
    for (int r = 0; r < ROPES; r++) {
        double frequency[D_HEAD / 2], q[D_HEAD], k[D_HEAD], Rp[D_HEAD][D_HEAD], Rk[D_HEAD][D_HEAD];
        frequencies_of(&ropes[r], frequency);
        for (int round = 0; round < 50; round++) {
            const double p = (double)below(300), s = (double)below(300);
            double score = 0, at_offset = 0;
            fill(q, D_HEAD);
            fill(k, D_HEAD);
            dense_rotation(&ropes[r], frequency, p, Rp);
            dense_rotation(&ropes[r], frequency, s, Rk);
            for (int i = 0; i < D_HEAD; i++) {
                score += row_times(q, Rp, i, false) * row_times(k, Rk, i, false);
            }
            otimes_rope_rotate_key(&ropes[r], frequency, p - s, 1, D_HEAD, k);
            for (int i = 0; i < D_HEAD; i++) {
                at_offset += q[i] * k[i];
            }
            assert_at_most(fabs(score - at_offset), 1e-11);
        }
    }
}

/* Adjacent pairs are half-split pairs with the entries of a head reordered. */
static void adjacent_is_half_split_reordered(void **state)
{
    (void)state;
    double frequency[D_HEAD / 2], x[D_HEAD], split[D_HEAD], adjacent[D_HEAD];
    frequencies_of(&ropes[0], frequency);
    fill(x, D_HEAD);
    for (int i = 0; i < D_HEAD; i++) {
        split[i] = x[i];
        adjacent[i < D_HEAD / 2 ? 2 * i : 2 * i - D_HEAD + 1] = x[i];
    }
    otimes_rope_rotate_key(&ropes[0], frequency, 3, 1, D_HEAD, split);
    otimes_rope_rotate_key(&ropes[1], frequency, 3, 1, D_HEAD, adjacent);
    for (int i = 0; i < D_HEAD; i++) {
        assert_at_most(fabs(split[i] - adjacent[i < D_HEAD / 2 ? 2 * i : 2 * i - D_HEAD + 1]),
                       1e-15);
    }
}

static void nothing_to_rotate(void **state)
{
    (void)state;
    double frequency[D_HEAD / 2];
    frequencies_of(&ropes[2], frequency);
    otimes_rope_rotate_key(&ropes[2], frequency, 1, 0, D_HEAD, NULL);
}

/* ---- frequencies ---- */

static long double inverse_frequency(long double theta, int64_t i, int64_t dim)
{
    return 1 / powl(theta, (long double)(2 * i) / dim);
}

/* modeling_rope_utils.py, _compute_llama3_parameters, by wavelengths. */
static long double llama3(const otimes_rope *rope, long double frequency)
{
    const long double wavelength = 2 * acosl(-1) / frequency;
    const long double low = rope->original_n_ctx / rope->low_freq_factor;
    const long double high = rope->original_n_ctx / rope->high_freq_factor;
    if (wavelength > low) {
        return frequency / rope->factor;
    }
    if (wavelength < high) {
        return frequency;
    }
    const long double smooth = (rope->original_n_ctx / wavelength - rope->low_freq_factor) /
                               (rope->high_freq_factor - rope->low_freq_factor);
    return (1 - smooth) * frequency / rope->factor + smooth * frequency;
}

static void frequencies_and_scalings(void **state)
{
    (void)state;
    static const otimes_rope cases[] = {
        {.theta = 10000, .dim = 128},
        {.theta = 500000, .dim = 64},
        {.theta = 10000, .dim = 2},
        {.theta = 10000, .dim = 32, .scaling = OTIMES_ROPE_LINEAR, .factor = 4},
        {.theta = 500000,
         .dim = 128,
         .scaling = OTIMES_ROPE_LLAMA3,
         .factor = 8,
         .low_freq_factor = 1,
         .high_freq_factor = 4,
         .original_n_ctx = 8192}, /* Llama 3.1 */
        {.theta = 500000,
         .dim = 64,
         .scaling = OTIMES_ROPE_LLAMA3,
         .factor = 32,
         .low_freq_factor = 1,
         .high_freq_factor = 4,
         .original_n_ctx = 8192}, /* Llama 3.2 */
        {.theta = 500,
         .dim = 8,
         .scaling = OTIMES_ROPE_LLAMA3,
         .factor = 4,
         .low_freq_factor = 1,
         .high_freq_factor = 4,
         .original_n_ctx = 64},
    };
    int kept = 0, stretched = 0, between = 0;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        const otimes_rope *rope = &cases[c];
        const otimes_model model = model_of(rope, rope->dim);
        double frequency[64];
        otimes_err err = {0};
        assert_ok(otimes_rope_frequencies(&model, &model.rope, frequency, &err), &err);
        for (int64_t i = 0; i < rope->dim / 2; i++) {
            const long double plain = inverse_frequency(rope->theta, i, rope->dim);
            const long double expected = rope->scaling == OTIMES_ROPE_LINEAR ? plain / rope->factor
                                         : rope->scaling == OTIMES_ROPE_LLAMA3 ? llama3(rope, plain)
                                                                               : plain;
            assert_at_most((double)fabsl(frequency[i] / expected - 1), 64 * DBL_EPSILON);
            if (rope->scaling == OTIMES_ROPE_LLAMA3) {
                kept += expected == plain;
                stretched += expected == plain / rope->factor;
                between += expected < plain && expected > plain / rope->factor;
            }
        }
    }
    assert_true(kept > 10 && stretched > 10 && between > 3); /* all three bands were met */
}

/* YaRN as transformers 5 computes it in float32, with ends of the band that are whole numbers or not. */
static void yarn(void **state)
{
    static const struct {
        bool truncate;
        double frequency[8];
    } cases[] = {
        {true,
         {1.0, 0.3162277638912201, 0.10000000149011612, 0.025693506002426147, 0.00624999962747097,
          0.0013834965648129582, 0.0002500000118743628, 7.905694656074047e-05}},
        {false,
         {1.0, 0.3162277638912201, 0.10000000149011612, 0.028613610193133354, 0.006556970998644829,
          0.0012856319081038237, 0.0002500000118743628, 7.905694656074047e-05}},
    };
    (void)state;
    for (int c = 0; c < 2; c++) {
        const otimes_rope rope = {.theta = 10000,
                                  .dim = 16,
                                  .scaling = OTIMES_ROPE_YARN,
                                  .factor = 4,
                                  .original_n_ctx = 4096,
                                  .beta_fast = 32,
                                  .beta_slow = 1,
                                  .truncate = cases[c].truncate};
        const otimes_model model = model_of(&rope, rope.dim);
        double frequency[8];
        otimes_err err = {0};
        assert_ok(otimes_rope_frequencies(&model, &model.rope, frequency, &err), &err);
        for (int i = 0; i < 8; i++) {
            assert_at_most(fabs(frequency[i] / cases[c].frequency[i] - 1), 8 * (double)FLT_EPSILON);
        }
    }
}

static void what_cannot_be_rotated(void **state)
{
    (void)state;
    static const struct {
        otimes_rope rope;
        otimes_positions positions;
        const char *words;
    } cases[] = {
        {{.theta = 10000, .dim = 8},
         OTIMES_POSITIONS_LEARNED,
         "expected rotary positions, got learned"},
        {{.theta = 10000, .dim = 8}, OTIMES_POSITIONS_NONE, "expected rotary positions, got none"},
        {{.theta = 10000, .dim = 8, .scaling = OTIMES_ROPE_OTHER},
         OTIMES_POSITIONS_ROPE,
         "longrope"},
        {{.theta = 10000, .dim = 7}, OTIMES_POSITIONS_ROPE, "over 7"},
        {{.theta = 10000, .dim = 0}, OTIMES_POSITIONS_ROPE, "over 0"},
        {{.theta = 10000, .dim = -2}, OTIMES_POSITIONS_ROPE, "over -2"},
        {{.theta = 10000, .dim = 14}, OTIMES_POSITIONS_ROPE, "over 14"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        otimes_model model = model_of(&cases[c].rope, D_HEAD);
        double frequency[D_HEAD] = {0};
        otimes_err err = {0};
        model.info.positions = cases[c].positions;
        assert_int_equal(otimes_rope_frequencies(&model, &model.rope, frequency, &err),
                         OTIMES_ERR_UNSUPPORTED);
        if (!strstr(err.msg, cases[c].words)) {
            fail_msg("expected '%s' in '%s'", cases[c].words, err.msg);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotation_by_its_definition),
        cmocka_unit_test(rotations_add_up),
        cmocka_unit_test(score_depends_on_the_offset),
        cmocka_unit_test(adjacent_is_half_split_reordered),
        cmocka_unit_test(nothing_to_rotate),
        cmocka_unit_test(frequencies_and_scalings),
        cmocka_unit_test(yarn),
        cmocka_unit_test(what_cannot_be_rotated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
