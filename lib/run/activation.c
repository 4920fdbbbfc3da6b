/* SPDX-License-Identifier: MIT */
#include "run/activation.h"

#include <strings.h>

#include "model/model.h"
#include "num/vmath.h"

static const struct {
    const char *name;
    otimes_activation_kind kind;
} names[] = {
    {"clamped swiglu", OTIMES_ACT_CLAMPED_SWIGLU},
    {"gelu", OTIMES_ACT_GELU},
    {"gelu_bloom", OTIMES_ACT_GELU_TANH},
    {"gelu_fast", OTIMES_ACT_GELU_TANH},
    {"gelu_new", OTIMES_ACT_GELU_TANH},
    {"gelu_python", OTIMES_ACT_GELU},
    {"gelu_pytorch_tanh", OTIMES_ACT_GELU_TANH},
    {"quick_gelu", OTIMES_ACT_GELU_QUICK},
    {"relu", OTIMES_ACT_RELU},
    {"silu", OTIMES_ACT_SILU},
    {"swish", OTIMES_ACT_SILU},
};

int otimes_activation_of(const otimes_model *model, otimes_activation_kind *kind, otimes_err *err)
{
    const char *name = model->info.activation;
    *kind = OTIMES_ACT_RELU;
    if (model->info.mlp == OTIMES_MLP_NONE) {
        return OTIMES_OK;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcasecmp(name, names[i].name)) { /* torch writes ReLU */
            *kind = names[i].kind;
            return OTIMES_OK;
        }
    }
    return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                       "%s: activation: expected relu, silu, gelu or one of its kin, got %s",
                       model->path, *name ? name : "none");
}

void otimes_activate(otimes_activation_kind kind, int64_t count, float *x)
{
    switch (kind) {
    case OTIMES_ACT_RELU:
        for (int64_t i = 0; i < count; i++) {
            x[i] = x[i] < 0 ? 0 : x[i]; /* what is no number stays so */
        }
        break;
    case OTIMES_ACT_SILU:
        otimes_vsilu(count, x);
        break;
    case OTIMES_ACT_GELU:
        otimes_vgelu(count, x);
        break;
    case OTIMES_ACT_GELU_TANH:
        otimes_vgelu_tanh(count, x, 0.7978845608028654f);
        break;
    case OTIMES_ACT_GELU_QUICK:
    case OTIMES_ACT_CLAMPED_SWIGLU:
        otimes_vswish(count, x, 1.702f);
        break;
    }
}
