/* SPDX-License-Identifier: MIT */
#include "run/rope.h"

#include <math.h>

/* Llama 3.1: wavelengths beyond the original context are stretched by factor, short ones kept,
 * those between interpolated. */
static double llama3(const otimes_rope *rope, double frequency)
{
    const double turns = rope->original_n_ctx * frequency / (2 * M_PI);
    if (turns < rope->low_freq_factor) {
        return frequency / rope->factor;
    }
    if (turns > rope->high_freq_factor) {
        return frequency;
    }
    const double smooth =
        (turns - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    return (1 - smooth) * frequency / rope->factor + smooth * frequency;
}

/* YaRN: the pair that turns `turns` times within the original context. */
static double pair_of_turns(const otimes_rope *rope, double turns)
{
    return (double)rope->dim * log(rope->original_n_ctx / (turns * 2 * M_PI)) /
           (2 * log(rope->theta));
}

/* Pairs before the band keep their frequency, those behind it are divided by factor (arXiv
 * 2309.00071; the ends as Hugging Face transformers rounds and clips them). */
static double yarn(const otimes_rope *rope, int64_t pair, double frequency)
{
    double low = pair_of_turns(rope, rope->beta_fast), high = pair_of_turns(rope, rope->beta_slow);
    if (rope->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)rope->dim - 1);
    high = low == high ? high + 0.001 : high;
    const double ramp = fmin(fmax(((double)pair - low) / (high - low), 0), 1);
    return ramp * frequency / rope->factor + (1 - ramp) * frequency;
}

const otimes_rope *otimes_layer_rope(const otimes_model *model, int64_t layer)
{
    const otimes_layer_kind *kind = &model->layers[layer];
    return !kind->rotary ? NULL : kind->local ? &model->local_rope : &model->rope;
}

static int check_scaling(const otimes_model *model, const otimes_rope *rope, otimes_err *err)
{
    if (rope->scaling == OTIMES_ROPE_OTHER || rope->dim < 2 || rope->dim % 2 != 0 ||
        rope->dim > model->info.d_head) {
        return otimes_fail(
            err, OTIMES_ERR_UNSUPPORTED,
            "%s: rotary scaling: expected default, linear, llama3 or yarn over an even part "
            "of d_head, got %s over %lld",
            model->path, rope->scaling_name, (long long)rope->dim);
    }
    return OTIMES_OK;
}

int otimes_rope_check(const otimes_model *model, otimes_err *err)
{
    int rc = OTIMES_OK;
    for (int64_t layer = 0; rc == OTIMES_OK && layer < model->info.n_layers; layer++) {
        const otimes_rope *rope = otimes_layer_rope(model, layer);
        rc = rope ? check_scaling(model, rope, err) : OTIMES_OK;
    }
    return rc;
}

int otimes_rope_frequencies(const otimes_model *model, const otimes_rope *rope, double *frequency,
                            otimes_err *err)
{
    if (model->info.positions != OTIMES_POSITIONS_ROPE) {
        return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                           "%s: offsets: expected rotary positions, got %s", model->path,
                           otimes_positions_name(model->info.positions));
    }
    const int rc = check_scaling(model, rope, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    for (int64_t i = 0; i < rope->dim / 2; i++) {
        const double plain = pow(rope->theta, -2.0 * (double)i / (double)rope->dim);
        switch (rope->scaling) {
        case OTIMES_ROPE_LINEAR:
            frequency[i] = plain / rope->factor;
            break;
        case OTIMES_ROPE_LLAMA3:
            frequency[i] = llama3(rope, plain);
            break;
        case OTIMES_ROPE_YARN:
            frequency[i] = yarn(rope, i, plain);
            break;
        case OTIMES_ROPE_PLAIN:
        case OTIMES_ROPE_OTHER:
            frequency[i] = plain;
            break;
        }
    }
    return OTIMES_OK;
}

void otimes_rope_rotate_key(const otimes_rope *rope, const double *frequency, double delta,
                            int64_t rows, int64_t d_head, double *x)
{
    const int64_t half = rope->dim / 2;
    for (int64_t i = 0; i < half; i++) {
        const int64_t first = rope->adjacent ? 2 * i : i;
        const int64_t second = rope->adjacent ? 2 * i + 1 : i + half;
        const double grown = rope->magnitude * rope->magnitude; /* of the query and of the key */
        const double c = grown * cos(delta * frequency[i]), s = grown * sin(delta * frequency[i]);
        for (int64_t row = 0; row < rows; row++) {
            double *pair = x + row * d_head;
            const double a = pair[first], b = pair[second];
            /* R(p) turns (a, b) into (a cos - b sin, b cos + a sin); this is its inverse. */
            pair[first] = a * c + b * s;
            pair[second] = b * c - a * s;
        }
    }
}
