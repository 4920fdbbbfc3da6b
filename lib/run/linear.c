/* SPDX-License-Identifier: MIT
 *
 * The recording pass, and the two ends.
 */
#include "run/linear.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/model.h"
#include "num/dot.h"
#include "run/linear_layer.h"
#include "run/pass.h"
#include "run/readout.h"
#include "run/target.h"

/* ---- recording ---- */

typedef struct recorder {
    otimes_linear *linear;
    const otimes_hooks *also;
    uint64_t own;
    float *embed, *positions; /* [n, d_model]; NULL: not told apart */
    float **mlp;              /* [n_layers]; NULL where it is no source */
} recorder;

static bool splits_embedding(const otimes_model_info *info)
{
    return info->positions == OTIMES_POSITIONS_LEARNED && !info->embed_norm;
}

bool otimes_linear_has_mlp(const otimes_linear *linear, int64_t layer)
{
    return linear->role == OTIMES_MLP_AS_LINK && linear->info->mlp != OTIMES_MLP_NONE &&
           !otimes_layer_has_experts(linear->model, layer);
}

static void keep_rows(const otimes_activation *a, float *to)
{
    for (int64_t i = 0; to && i < a->rows; i++) {
        memcpy(to + (a->first + i) * a->columns, a->data + i * a->stride,
               (size_t)a->columns * sizeof *to);
    }
}

static int check_clip(const recorder *r, const otimes_activation *a, otimes_err *err)
{
    const float limit = (float)r->linear->info->clip_qkv;
    for (int64_t i = 0; i < a->rows; i++) {
        for (int64_t k = 0; k < a->columns; k++) {
            if (fabsf(a->data[i * a->stride + k]) >= limit) {
                return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                                   "%s: layer %" PRId64
                                   ": paths need values that are linear in the "
                                   "stream, got one clipped to %g (clip_qkv) at position %" PRId64,
                                   r->linear->info->path, a->layer, (double)limit, a->first + i);
            }
        }
    }
    return OTIMES_OK;
}

static int record(const recorder *r, const otimes_activation *a, otimes_err *err)
{
    otimes_linear *linear = r->linear;
    switch ((int)a->hook) {
    case OTIMES_HOOK_EMBED:
        keep_rows(a, r->embed);
        return OTIMES_OK;
    case OTIMES_HOOK_POS_EMBED:
        keep_rows(a, r->positions);
        return OTIMES_OK;
    case OTIMES_HOOK_RESID_PRE:
        keep_rows(a, a->layer == 0 && !r->positions ? r->embed : NULL);
        return OTIMES_OK;
    case OTIMES_HOOK_V:
        return check_clip(r, a, err);
    case OTIMES_HOOK_Z:
        keep_rows(a, linear->z[a->layer]);
        return OTIMES_OK;
    case OTIMES_HOOK_MLP_OUT:
        keep_rows(a, r->mlp[a->layer]);
        return OTIMES_OK;
    default:
        return OTIMES_OK;
    }
}

static int visit(void *context, const otimes_activation *a, otimes_err *err)
{
    const recorder *r = context;
    const uint64_t point = (uint64_t)1 << a->hook;
    int rc = OTIMES_OK;
    if (point & r->linear->frozen.points) {
        rc = otimes_frozen_visit(&r->linear->frozen, a, err);
    }
    if (rc == OTIMES_OK && point & r->own) {
        rc = record(r, a, err);
    }
    if (rc == OTIMES_OK && r->also && point & r->also->points) {
        rc = r->also->visit(r->also->context, a, err);
    }
    return rc;
}

static int run_pass(recorder *r, const otimes_sequences *sequence, otimes_err *err)
{
    otimes_linear *linear = r->linear;
    const otimes_model *model = linear->model;
    const size_t bytes = (size_t)(linear->n * linear->info->d_model) * sizeof(float);
    otimes_batch batch = {0};
    otimes_pass pass = {0};
    const otimes_hooks hooks = {.points = linear->frozen.points | r->own |
                                          (r->also ? r->also->points : 0),
                                .visit = visit,
                                .context = r};
    float *normal = NULL;
    int rc = otimes_batch_init(&batch, model, sequence, NULL, err);
    if (rc == OTIMES_OK) {
        rc = otimes_pass_init(&pass, linear->layers, &batch, &hooks, 0, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&normal, linear->n * linear->info->d_model, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pass_embed(&pass, linear->stream, err);
    }
    if (rc == OTIMES_OK && linear->info->n_layers == 0 && !r->positions) {
        memcpy(r->embed, linear->stream, bytes);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pass_layers(&pass, 0, linear->info->n_layers, linear->stream, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_pass_final(&pass, &linear->layers->unembed, 0, linear->n, linear->stream,
                               normal, linear->final_scale, err);
    }
    otimes_free(normal);
    otimes_pass_free(&pass);
    otimes_batch_free(&batch);
    return rc;
}

/* ---- sources ---- */

static bool is_zero(const float *x, int64_t count)
{
    int64_t i = 0;
    while (i < count && x[i] == 0) {
        i++;
    }
    return i == count;
}

static void add_source(otimes_linear *linear, otimes_source_kind kind, int64_t layer,
                       int64_t mlp_layer, float *rows)
{
    linear->source[linear->source_count++] = (otimes_linear_source){kind, layer, mlp_layer, rows};
}

/* A bias of a layer, computed as what the layer makes of a stream of zeros. */
static int add_bias(otimes_linear *linear, const otimes_ready_layer *layer, bool mlp,
                    otimes_err *err)
{
    const int64_t l = layer->layer, count = linear->n * linear->info->d_model;
    int rc = OTIMES_OK;
    float *rows = otimes_pool_new(&linear->pool, count, sizeof *rows, &rc, err);
    if (rc == OTIMES_OK) {
        rc = mlp ? otimes_linear_mlp_bias(linear, layer, rows, err)
                 : otimes_linear_attention_bias(linear, layer, rows, err);
    }
    if (rc != OTIMES_OK || is_zero(rows, count)) {
        return rc;
    }
    if (mlp) {
        add_source(linear, OTIMES_SOURCE_MLP_BIAS, l, l + 1, rows);
    } else {
        add_source(linear, OTIMES_SOURCE_ATTN_BIAS, l, linear->info->parallel ? l + 1 : l, rows);
    }
    return OTIMES_OK;
}

static int collect(otimes_linear *linear, const recorder *r, otimes_err *err)
{
    const int64_t layers = linear->info->n_layers;
    int rc = OTIMES_OK;
    linear->source =
        otimes_pool_new(&linear->pool, 2 + 2 * layers, sizeof *linear->source, &rc, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    add_source(linear, OTIMES_SOURCE_EMBED, -1, 0, r->embed);
    if (r->positions) {
        add_source(linear, OTIMES_SOURCE_POS_EMBED, -1, 0, r->positions);
    }
    for (int64_t l = 0; rc == OTIMES_OK && l < layers; l++) {
        const otimes_ready_layer *layer;
        rc = otimes_layers_get(linear->layers, l, &layer, err);
        if (rc == OTIMES_OK) {
            rc = add_bias(linear, layer, false, err);
        }
        if (rc == OTIMES_OK && r->mlp[l]) {
            add_source(linear, OTIMES_SOURCE_MLP, l, l + 1, r->mlp[l]);
        } else if (rc == OTIMES_OK && otimes_linear_has_mlp(linear, l)) {
            rc = add_bias(linear, layer, true, err);
        }
    }
    return rc;
}

static int make_room(otimes_linear *linear, recorder *r, int keep, otimes_err *err)
{
    const otimes_model_info *info = linear->info;
    const int64_t count = linear->n * info->d_model;
    int rc = OTIMES_OK;
    linear->final_scale = otimes_pool_new(&linear->pool, linear->n, sizeof(float), &rc, err);
    linear->stream = otimes_pool_new(&linear->pool, count, sizeof(float), &rc, err);
    r->embed = otimes_pool_new(&linear->pool, count, sizeof(float), &rc, err);
    r->mlp = otimes_pool_new(&linear->pool, info->n_layers, sizeof *r->mlp, &rc, err);
    r->own = OTIMES_HOOK_BIT(EMBED);
    if (splits_embedding(info)) {
        r->positions = otimes_pool_new(&linear->pool, count, sizeof(float), &rc, err);
        r->own |= OTIMES_HOOK_BIT(POS_EMBED);
    } else {
        r->own |= OTIMES_HOOK_BIT(RESID_PRE);
    }
    for (int64_t l = 0; rc == OTIMES_OK && info->mlp != OTIMES_MLP_NONE && l < info->n_layers;
         l++) {
        if (!otimes_linear_has_mlp(linear, l)) {
            r->mlp[l] = otimes_pool_new(&linear->pool, count, sizeof(float), &rc, err);
            r->own |= OTIMES_HOOK_BIT(MLP_OUT);
        }
    }
    if (keep & OTIMES_LINEAR_Z) {
        const int64_t wide = linear->n * info->n_heads * info->d_head;
        float **z = otimes_pool_new(&linear->pool, info->n_layers, sizeof *z, &rc, err);
        for (int64_t l = 0; rc == OTIMES_OK && l < info->n_layers; l++) {
            z[l] = otimes_pool_new(&linear->pool, wide, sizeof **z, &rc, err);
        }
        linear->z = z;
        r->own |= OTIMES_HOOK_BIT(Z);
    }
    r->own |= info->clip_qkv > 0 ? OTIMES_HOOK_BIT(V) : 0;
    return rc;
}

int otimes_linear_init(otimes_linear *linear, otimes_layers *layers,
                       const otimes_sequences *sequence, otimes_mlp_role role, int keep,
                       const otimes_hooks *hooks, otimes_err *err)
{
    const otimes_model *model = layers->model;
    const int what = OTIMES_FREEZE_PATTERNS | OTIMES_FREEZE_SCALES |
                     (role == OTIMES_MLP_AS_LINK ? OTIMES_FREEZE_GATES : 0);
    *linear = (otimes_linear){.model = model, .info = &model->info, .layers = layers, .role = role};
    if (sequence->count != 1 || sequence->length[0] < 1) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "sequence: expected one of at least one token, got %" PRId64
                           " sequences",
                           sequence->count);
    }
    linear->n = sequence->length[0];
    recorder r = {.linear = linear, .also = hooks};
    int rc = otimes_frozen_init(&linear->frozen, model, sequence, what, err);
    if (rc == OTIMES_OK) {
        rc = make_room(linear, &r, keep, err);
    }
    if (rc == OTIMES_OK) {
        rc = run_pass(&r, sequence, err);
    }
    return rc == OTIMES_OK ? collect(linear, &r, err) : rc;
}

void otimes_linear_free(otimes_linear *linear)
{
    otimes_frozen_free(&linear->frozen);
    otimes_pool_free(&linear->pool);
    otimes_pool_free(&linear->space);
    *linear = (otimes_linear){0};
}

int64_t otimes_linear_bytes(const otimes_model *model, int64_t n, otimes_mlp_role role, int keep)
{
    const otimes_model_info *info = &model->info;
    const otimes_sequences one = {.count = 1, .length = &n};
    const int what = OTIMES_FREEZE_PATTERNS | OTIMES_FREEZE_SCALES |
                     (role == OTIMES_MLP_AS_LINK ? OTIMES_FREEZE_GATES : 0);
    const int64_t wide = keep & OTIMES_LINEAR_Z ? info->n_layers * info->n_heads * info->d_head : 0;
    const int64_t fields = (5 + 2 * info->n_layers) * info->d_model + wide + 1;
    int64_t bytes, total = otimes_frozen_bytes(model, &one, what);
    if (!otimes_mul_i64(n, fields * (int64_t)sizeof(float), &bytes) ||
        __builtin_add_overflow(total, bytes, &total)) { /* unreached: too many to hold */
        return INT64_MAX;
    }
    return total;
}

void otimes_linear_source_label(const otimes_linear *linear, int64_t source, char *text,
                                size_t size)
{
    static const char *const what[] = {[OTIMES_SOURCE_ATTN_BIAS] = "attn bias",
                                       [OTIMES_SOURCE_MLP] = "mlp",
                                       [OTIMES_SOURCE_MLP_BIAS] = "mlp bias"};
    const otimes_linear_source *s = &linear->source[source];
    if (s->kind == OTIMES_SOURCE_EMBED || s->kind == OTIMES_SOURCE_POS_EMBED) {
        snprintf(text, size, "%s", s->kind == OTIMES_SOURCE_EMBED ? "embed" : "pos_embed");
    } else {
        snprintf(text, size, "L%" PRId64 " %s", s->layer, what[s->kind]);
    }
}

/* ---- the two ends ---- */

static int check_target(const otimes_linear *linear, int64_t position, int64_t token,
                        int64_t against, otimes_err *err)
{
    const int64_t vocab = linear->info->d_vocab_out;
    if (position < 0 || position >= linear->n) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "position: expected 0 to %" PRId64 ", got %" PRId64, linear->n - 1,
                           position);
    }
    if (token < 0 || token >= vocab || against < -1 || against >= vocab) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "target: expected an output token below %" PRId64 ", got %" PRId64,
                           vocab, token < 0 || token >= vocab ? token : against);
    }
    return OTIMES_OK;
}

static void through_scale(const otimes_linear *linear, otimes_linear_target *target)
{
    const float scale = linear->final_scale[target->position];
    for (int64_t i = 0; i < linear->info->d_model; i++) {
        target->direction[i] /= scale;
    }
}

int otimes_linear_target_logit(const otimes_linear *linear, int64_t position, int64_t token,
                               int64_t against, otimes_linear_target *target, otimes_err *err)
{
    int rc = check_target(linear, position, token, against, err);
    if (rc == OTIMES_OK) {
        target->position = position;
        rc = otimes_target_direction(linear->model, &linear->layers->unembed, token, against,
                                     target->direction, &target->offset, err);
    }
    if (rc == OTIMES_OK) {
        through_scale(linear, target);
    }
    return rc;
}

/* logit [d_vocab_out] becomes the loss' derivative by what each logit is before the soft cap. */
static void loss_slopes(const otimes_model_info *info, int64_t token, double logsumexp,
                        float *logit)
{
    const double cap = info->final_softcap;
    for (int64_t j = 0; j < info->d_vocab_out; j++) {
        const double y = (double)logit[j], slope = cap > 0 ? 1 - (y / cap) * (y / cap) : 1;
        logit[j] = (float)((exp(y - logsumexp) - (j == token)) * slope);
    }
}

/* direction := sum_j weight[j] W_U[:, j], in double; *offset likewise of b_U. */
static int sum_unembed(const otimes_linear *linear, const float *weight, float *direction,
                       double *offset, otimes_err *err)
{
    enum { TILE = 512 };
    const otimes_unembed *unembed = &linear->layers->unembed;
    const int64_t d = linear->info->d_model, vocab = linear->info->d_vocab_out;
    float *scratch = NULL;
    double *sum = NULL;
    *offset = 0;
    int rc = OTIMES_NEW(&scratch, TILE * d, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&sum, d, err);
    }
    for (int64_t first = 0; rc == OTIMES_OK && first < vocab; first += TILE) {
        const int64_t count = vocab - first < TILE ? vocab - first : TILE;
        const float *rows;
        rc = otimes_layers_unembed(linear->layers, first, count, scratch, &rows, err);
        for (int64_t j = 0; rc == OTIMES_OK && j < count; j++) {
            const double w = (double)weight[first + j];
            *offset += unembed->bias ? w * (double)unembed->bias[first + j] : 0;
            for (int64_t i = 0; i < d; i++) {
                sum[i] += w * (double)rows[j * d + i];
            }
        }
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < d; i++) {
        direction[i] = (float)sum[i];
    }
    otimes_free(sum);
    otimes_free(scratch);
    return rc;
}

int otimes_linear_target_loss(const otimes_linear *linear, int64_t position, int64_t token,
                              otimes_linear_target *target, otimes_err *err)
{
    const otimes_model_info *info = linear->info;
    const otimes_unembed *unembed = &linear->layers->unembed;
    float *normal = NULL, *logit = NULL;
    double logsumexp = 0;
    int rc = check_target(linear, position, token, -1, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&normal, info->d_model, err);
    }
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&logit, info->d_vocab_out, err);
    }
    if (rc == OTIMES_OK) {
        const otimes_readout readout = {.logsumexp = &logsumexp, .logits = logit};
        otimes_final_norm(linear->model, unembed, 1, linear->stream + position * info->d_model,
                          normal, NULL);
        rc = otimes_readout_run(linear->layers, 1, normal, &readout, err);
    }
    if (rc == OTIMES_OK) {
        target->position = position;
        loss_slopes(info, token, logsumexp, logit);
        rc = sum_unembed(linear, logit, target->direction, &target->offset, err);
    }
    if (rc == OTIMES_OK) {
        otimes_target_through_norm(linear->model, unembed, target->direction, &target->offset);
        through_scale(linear, target);
    }
    otimes_free(logit);
    otimes_free(normal);
    return rc;
}

double otimes_linear_target_value(const otimes_linear *linear, const otimes_linear_target *target)
{
    const int64_t d = linear->info->d_model;
    return otimes_dot(target->direction, linear->stream + target->position * d, d) + target->offset;
}

void otimes_linear_final(const otimes_linear *linear, int64_t streams, int64_t biased,
                         const float *x, float *normal)
{
    const otimes_unembed *unembed = &linear->layers->unembed;
    const int64_t d = linear->info->d_model, n = linear->n;
    otimes_linear_scale_rows(linear, unembed->ln_w,
                             linear->info->norm == OTIMES_NORM_NONE ? NULL : linear->final_scale,
                             false, 0, streams * n, x, normal);
    for (int64_t i = 0; biased >= 0 && unembed->ln_b && i < n; i++) {
        float *row = normal + (biased * n + i) * d;
        for (int64_t k = 0; k < d; k++) {
            row[k] += unembed->ln_b[k];
        }
    }
}
