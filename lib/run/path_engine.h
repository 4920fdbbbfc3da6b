/* SPDX-License-Identifier: MIT
 *
 * What the path search knows of a model: suffixes and how a link continues one.
 *
 * A suffix is what lies between a link and the target, as the adjoint of the target in the stream in
 * front of that link: alpha [n] ⊗ rho [d_model] while all links are heads (path_rows.c), a field
 * [n, d_model] where MLPs are links (path_fields.c). What a source adds through it is <suffix, x>.
 * Only the first n positions take part: those that the target can see.
 */
#ifndef OTIMES_RUN_PATH_ENGINE_H
#define OTIMES_RUN_PATH_ENGINE_H

#include "run/path_search.h"

typedef struct otimes_path_engine otimes_path_engine;

typedef struct otimes_path_ops {
    /* Room and whatever bounds need, if `search`. */
    int (*open)(otimes_path_engine *engine, bool search, otimes_err *err);
    /* The suffix of the target alone. */
    void (*root)(const otimes_path_engine *engine, float *state);
    /* to := what a link makes of a suffix. Bits do not depend on the worker. */
    int (*step)(otimes_path_engine *engine, const float *from, int64_t link, int worker, float *to,
                otimes_err *err);
    /* value [count, sources] of what each suffix reads, exact where it may reach `floor` in modulus,
     * anything below that otherwise. */
    int (*values)(otimes_path_engine *engine, int64_t count, const float *states,
                  const int64_t *reader, double floor, double *value, otimes_err *err);
    /* bound [count, links]: of each link that may follow, no path through it is worth more whose
     * heads from there on are at most left[i] (-1: any number); 0 for links that may not. */
    int (*bounds)(otimes_path_engine *engine, int64_t count, const float *states,
                  const int64_t *reader, const int64_t *left, double *bound, otimes_err *err);
    /* carried [n] := what a suffix brings from each position of x. */
    void (*positions)(const otimes_path_engine *engine, const float *state, const float *x,
                      double *carried);
    bool parallel; /* step may be called from several threads */
} otimes_path_ops;

struct otimes_path_engine {
    const otimes_path_ops *ops;
    otimes_linear *linear;
    const otimes_linear_target *target;
    const bool *layers; /* NULL: all */
    int64_t max_order;
    int64_t n, d, width; /* positions, d_model, d_head */
    int64_t heads;       /* n_layers * n_heads */
    int64_t links;       /* with MLPs */
    int64_t longest;     /* links of a path at most */
    int64_t state;       /* floats of a suffix */
    int workers;

    /* Weights with their norms taken in: W_O N_post [heads * d_head, d_model], and N W_V transposed
     * [n_layers * n_kv_heads * d_head, d_model]; their Frobenius norms by head. */
    float *W_O, *W_V;
    double *size_O, *size_V;
    float *source_size;        /* [sources, n] norms of the sources' rows; NULL without a search */
    float **unscale, **unpost; /* [n_layers][n] 1/s of the norm that heads read, of the post-norm */

    /* reach [levels, heads, n]: what no prefix that ends with this head exceeds; see path_reach.c. */
    int64_t levels;
    float *reach;
    float *mlp_reach; /* [levels, n_layers, n] likewise in front of an MLP */
    float *work;      /* [workers, work_size] */
    int64_t work_size;
    float *wide; /* of a batch */
    bool *only;  /* [n_heads] none but the one in hand */
    otimes_pool pool;
};

enum { OTIMES_PATH_BATCH = 16 }; /* suffixes that are worked on together */

extern const otimes_path_ops otimes_path_rows, otimes_path_fields;

/* Released by otimes_path_engine_close in any case. */
int otimes_path_engine_open(otimes_path_engine *engine, otimes_linear *linear,
                            const otimes_linear_target *target,
                            const otimes_path_settings *settings, bool search, otimes_err *err);
void otimes_path_engine_close(otimes_path_engine *engine);

/* W_O, W_V and what stands beside them. */
int otimes_path_engine_weights(otimes_path_engine *engine, otimes_err *err);

/* otimes_paths_total, with its error. */
int otimes_path_count(const otimes_linear *linear, int64_t max_order, const bool *layers,
                      double *total, otimes_err *err);

/* reach of heads alone. */
int otimes_path_reach_rows(otimes_path_engine *engine, otimes_err *err);

/* reach with MLPs as links: of each head [levels, heads, n] the values it can be given, of each MLP
 * [levels, n_layers, n] the stream in front of it; levels count heads before. See
 * path_reach_fields.c. */
int otimes_path_reach_fields(otimes_path_engine *engine, otimes_err *err);

/* kappa [layer * n_heads, n_kv_heads] := upper bounds of the norms of W_O N_post N W_V between each
 * head below a layer and the values of its heads. */
int otimes_path_cores(const otimes_path_engine *engine, int64_t layer, float *kappa,
                      otimes_err *err);

/* An upper bound of the largest singular value of C [n, columns], n^(1/128) above it at most.
 * `work` has room for 2 n^2 + n columns. */
double otimes_path_operator_norm(int64_t n, int64_t columns, const float *c, int64_t ldc,
                                 double *work);

/* The level of reach for at most `left` heads before a reader (-1: any number). */
static inline int64_t otimes_path_level(const otimes_path_engine *engine, int64_t left)
{
    return left < 0 || left >= engine->levels ? engine->levels - 1 : left;
}

/* ---- who reads whom; reader -1 is the target ---- */

static inline bool otimes_path_is_head(const otimes_path_engine *engine, int64_t link)
{
    return link >= 0 && link < engine->heads;
}

/* Layers whose heads, and whose MLPs, a reader reads: those below this number. */
int64_t otimes_path_heads_below(const otimes_path_engine *engine, int64_t reader);
int64_t otimes_path_mlps_below(const otimes_path_engine *engine, int64_t reader);
bool otimes_path_reads_source(const otimes_path_engine *engine, int64_t reader, int64_t source);

/* Whether heads of a layer may be links. */
static inline bool otimes_path_layer_takes_part(const otimes_path_engine *engine, int64_t layer)
{
    return !engine->layers || engine->layers[layer];
}

#endif
