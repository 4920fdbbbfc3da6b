/* SPDX-License-Identifier: MIT
 *
 * Opening trained weights, and what a model is.
 *
 * Conventions (row vectors, x @ W, as in TransformerLens): W_E [d_vocab, d_model],
 * W_pos [n_ctx, d_model], W_Q [n_heads, d_model, d_head], W_K and W_V [n_kv_heads, d_model,
 * d_head], W_O [n_heads, d_head, d_model], W_in and W_gate [d_model, d_mlp], W_out [d_mlp,
 * d_model], W_U [d_model, d_vocab_out]. Query head h reads key/value head
 * h / (n_heads / n_kv_heads); key/value weights are never copied per query head.
 */
#ifndef OTIMES_MODEL_H
#define OTIMES_MODEL_H

#include <otimes/common.h>
#include <otimes/sink.h>
#include <otimes/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An opened model: a read-only map of its files, or views of the caller's memory, and what was learned
 * from their headers. Weights stay in the files. Safe to use from several threads at once once opened. */
typedef struct otimes_model otimes_model;

typedef struct otimes_model_settings {
    /* Weight processing, in the order it is applied; each keeps the function the model computes.
     * 1: apply (the default), 0: leave the weights as they are. What does not apply to a model (a
     * fold without a norm, centring under RMSNorm) is left out and reported as not applicable. */
    int fold_ln;                /* norm weights and biases into the weights that read the norm, then
                                   centre the reading side (LayerNorm only) */
    int center_writing_weights; /* LayerNorm only: every row written to the stream has mean 0 */
    int center_unembed;         /* W_U and b_U with mean 0 over the vocabulary: changes logits by a
                                   constant, log-probabilities not at all */
    int fold_value_biases;      /* b_O += sum_h b_V[h] W_O[h]; b_V = 0 */
    int threads;                /* of otimes' own loops; 0 (the default): every available one */
    const char *config_path;    /* configuration file; NULL (the default): what the weight files
                                   say, else config.json or params.json beside them */
    const char *state_dict;     /* which dictionary of a nested checkpoint holds the weights, as
                                   its keys joined by dots ("model"; "" is the top); NULL (the
                                   default): the one whose names an architecture knows */
    int token_text;             /* 1 (the default): read the vocabulary, to label tokens by their
                                   text; 0: leave it, for programs that need no labels */
    uint8_t reserved[64];       /* zero */
} otimes_model_settings;

/* Every field to its default: all processing on. */
OTIMES_API void otimes_model_settings_default(otimes_model_settings *settings);

/* Opens a model: a directory with config.json and model.safetensors or pytorch_model.bin (or shards
 * and their index), or one file: safetensors, PyTorch (zip or older), GGUF, llama2.c; recognised by
 * content. Reads headers only; milliseconds for any size. settings may be NULL for the defaults. On success *model is owned by the caller and
 * released by otimes_model_close; on error it is NULL.
 * Errors: OTIMES_ERR_IO (missing, unreadable), OTIMES_ERR_FORMAT (malformed or truncated file),
 * OTIMES_ERR_MODEL (unknown architecture; absent, unexpected or wrongly shaped tensors, all
 * listed), OTIMES_ERR_UNSUPPORTED, OTIMES_ERR_MEMORY, OTIMES_ERR_ARGUMENT. */
OTIMES_API OTIMES_MUST_CHECK int otimes_model_open(otimes_model **model, const char *path,
                                                   const otimes_model_settings *settings,
                                                   otimes_err *err);

/* A tensor in the caller's memory: element (i, j, ...) is number i * stride[0] + j * stride[1] + ...
 * from data on, in the machine's own byte order. data need not be aligned. */
typedef struct otimes_memory_tensor {
    const char *name;  /* as the architecture's checkpoints call it, "transformer.wte.weight" */
    const char *dtype; /* as safetensors spells it: "F32", "F16", "BF16", "F64", ... */
    int ndim;
    int64_t dim[OTIMES_MAX_DIMS], stride[OTIMES_MAX_DIMS]; /* strides in elements, none negative */
    const void *data;
    int64_t bytes; /* that may be read from data on */
} otimes_memory_tensor;

/* A model in the caller's memory: what its files would hold. */
typedef struct otimes_memory_model {
    const char *name; /* where a path would stand: in errors and results; NULL: "<memory>" */
    const otimes_memory_tensor *tensor; /* [tensor_count], in any order */
    int64_t tensor_count;
    const char *config; /* what config.json would hold; NULL: what tensor names and shapes tell */
    const char *const *token; /* [token_count] texts by id; NULL: none, or the configuration's */
    int64_t token_count;
    const char *const *output_token; /* the same where output tokens are others */
    int64_t output_token_count;
    uint8_t reserved[64]; /* zero */
} otimes_memory_model;

/* Opens a model without a file: the same table of architectures, the same checks and the same
 * processing as otimes_model_open, over tensors that lie in memory already. Nothing of them is
 * copied: what `data` points to must stay where it is until the model is closed, and what is written
 * there in the meantime is what later calls read; it must not change while a call reads it. All else
 * (*source, names, texts) may go when this returns. Nothing is ever written to the tensors, and
 * their pages are not let go. Tensors of one name are refused; two names of one memory are tied
 * weights. Of the settings, config_path comes before `config`, and state_dict knows only "".
 * Token texts are UTF-8; NULL and ids beyond token_count read "[id]", a byte that forms no character
 * <0xHH>. info's format is "memory", its file_bytes those of the tensors.
 * On success *model is owned by the caller and released by otimes_model_close; on error it is NULL.
 * Cost: tensor_count * log(tensor_count), independent of their sizes.
 * Errors: OTIMES_ERR_ARGUMENT (no source; a tensor without name or data, of an unknown dtype, with a
 * negative size or stride, or beyond its bytes), OTIMES_ERR_FORMAT (a name twice, a configuration
 * that is no JSON object), and otherwise those of otimes_model_open; tensors are named. */
OTIMES_API OTIMES_MUST_CHECK int otimes_model_open_memory(otimes_model **model,
                                                          const otimes_memory_model *source,
                                                          const otimes_model_settings *settings,
                                                          otimes_err *err);

/* Path of weight file number index (from 0), as the model opened it; NULL beyond the last, and for a
 * model in memory. Lives until the model is closed. */
OTIMES_API const char *otimes_model_file(const otimes_model *model, int64_t index);

/* Whether the model's files are still as they were when it was opened, by their sizes and times of
 * writing. A file whose name went to another one (a checkpoint replaced by rename) is: what is open
 * stays the old one. Every call that reads weights asks this of their file itself, after it has read
 * them; so what an analysis gives is of one state of the files, or an error. A model in memory is
 * never changed by this. Cost: a system call a file. OTIMES_ERR_IO names the file. */
OTIMES_API OTIMES_MUST_CHECK int otimes_model_unchanged(const otimes_model *model, otimes_err *err);

/* For a program's own handler of SIGBUS, which is what a read of a file ends in that was cut short, or
 * whose disk fails, under its map: puts zeros in the place of the file when `address` (si_addr) lies in
 * one of the model's. The thread that read then goes on, and its call ends with OTIMES_ERR_IO. 1; 0
 * when the address is not the model's. Safe in a handler, in any thread, while the model is open. */
OTIMES_API int otimes_model_mend(const otimes_model *model, const void *address);

/* Releases a model and sets *model to NULL; NULL is fine. */
OTIMES_API void otimes_model_close(otimes_model **model);

typedef enum otimes_norm { OTIMES_NORM_NONE, OTIMES_NORM_LN, OTIMES_NORM_RMS } otimes_norm;

typedef enum otimes_positions {
    OTIMES_POSITIONS_NONE,
    OTIMES_POSITIONS_LEARNED,     /* W_pos is added to the embedding */
    OTIMES_POSITIONS_SHORTFORMER, /* W_pos is added to the inputs of Q and K alone */
    OTIMES_POSITIONS_ROPE,        /* queries and keys are rotated by position */
    OTIMES_POSITIONS_ALIBI        /* scores fall with distance, by a slope for each head */
} otimes_positions;

typedef enum otimes_mlp { OTIMES_MLP_NONE, OTIMES_MLP_PLAIN, OTIMES_MLP_GATED } otimes_mlp;

/* A norm of queries and keys before their product. */
typedef enum otimes_qk_norm {
    OTIMES_QK_NORM_NONE,
    OTIMES_QK_NORM_HEAD, /* RMSNorm over d_head */
    OTIMES_QK_NORM_LN,   /* LayerNorm over d_head */
    OTIMES_QK_NORM_ALL   /* RMSNorm over all heads together */
} otimes_qk_norm;

/* How experts are chosen and weighted. */
typedef enum otimes_routing {
    OTIMES_ROUTING_NONE,
    OTIMES_ROUTING_TOP_SOFTMAX, /* softmax over the scores of the chosen experts */
    OTIMES_ROUTING_SOFTMAX_TOP  /* softmax over all, of which the chosen keep theirs */
} otimes_routing;

/* What became of a processing step. */
typedef enum otimes_step {
    OTIMES_STEP_OFF,            /* possible, not asked for */
    OTIMES_STEP_APPLIED,        /* applied whenever weights are read */
    OTIMES_STEP_NOT_APPLICABLE, /* asked for or not, this model has nothing it could act on */
    OTIMES_STEP_DONE_IN_FILE    /* the file's weights are processed already */
} otimes_step;

/* "off", "applied", "not applicable", "done in the file". */
OTIMES_API const char *otimes_step_name(otimes_step step);
/* "none", "LayerNorm", "RMSNorm". */
OTIMES_API const char *otimes_norm_name(otimes_norm norm);
/* "none", "learned", "shortformer", "rotary", "ALiBi". */
OTIMES_API const char *otimes_positions_name(otimes_positions positions);

/* "none", "per head", "per head (LayerNorm)", "over all heads". */
OTIMES_API const char *otimes_qk_norm_name(otimes_qk_norm norm);

/* What a model is. Strings live until the model is closed. */
typedef struct otimes_model_info {
    const char *path;         /* as it was given to open */
    const char *architecture; /* row of the architecture table, e.g. "gpt2" */
    const char *format;       /* "safetensors", "pytorch", "gguf", "llama2.c", "memory" */
    const char *dtype;      /* of the weights in the file: "F32", "BF16", or "F32, F16" if mixed */
    const char *activation; /* of the MLP as the configuration names it; "" when unknown */
    int64_t n_layers, n_heads, n_kv_heads, d_model, d_head, d_mlp, d_vocab, d_vocab_out, n_ctx;
    otimes_norm norm;
    double eps; /* of the norms */
    otimes_positions positions;
    double rope_theta;      /* base of the rotary frequencies; 0 without */
    int64_t rotary_dim;     /* leading part of d_head that is rotated; 0 without */
    double attn_scale;      /* scores are divided by it */
    int64_t sliding_window; /* keys further back are masked; 0: none */
    otimes_mlp mlp;
    int parallel;      /* attention and MLP read the same stream and write to it together */
    int bidirectional; /* every position attends to every other */
    int pre_norm;      /* a norm stands between the stream and each block */
    int post_norm;     /* a norm stands between a block's output and the stream: W_O and W_out are
                           not what the stream receives */
    int embed_norm;    /* a norm stands between W_E and the stream */
    otimes_qk_norm qk_norm;
    double attn_softcap, final_softcap; /* c tanh(x / c) of scores, of logits; 0: none */
    double clip_qkv;                    /* queries, keys, values are clipped to +-it; 0: not */
    int attention_sinks;                /* rows of a pattern sum to less than 1 */
    int64_t n_experts, n_experts_active, d_expert, d_shared_expert; /* 0 without */
    otimes_routing routing;
    int tied;     /* W_U is W_E transposed in the file */
    int qkv_bias; /* any of b_Q, b_K, b_V exists */
    otimes_step fold_ln, center_writing_weights, center_unembed, fold_value_biases;
    int64_t tensor_count; /* in the files, claimed and ignored */
    int64_t file_bytes;
} otimes_model_info;

/* Facts about an opened model; lives until it is closed. */
OTIMES_API const otimes_model_info *otimes_model_describe(const otimes_model *model);

/* One tensor of the files. */
typedef struct otimes_tensor_info {
    const char *name;  /* as in the file */
    const char *dtype; /* as in the file */
    int ndim;
    int64_t dim[OTIMES_MAX_DIMS];
    int64_t bytes;
    const char *part; /* the canonical weights it holds, e.g. "W_Q, W_K, W_V"; NULL when ignored */
    int64_t layer;    /* -1: belongs to no layer */
} otimes_tensor_info;

/* Tensor number index (0 .. tensor_count-1, in order of name). 0, or OTIMES_ERR_ARGUMENT. */
OTIMES_API OTIMES_MUST_CHECK int otimes_model_tensor(const otimes_model *model, int64_t index,
                                                     otimes_tensor_info *info, otimes_err *err);

/* Text of token id as UTF-8, from the model's tokenizer.json, vocab.json or configuration; bytes
 * that form no character appear as <0xHH>. NULL when the model has no vocabulary beside it or id is
 * out of range. Output tokens differ from input tokens only where d_vocab_out differs. */
OTIMES_API const char *otimes_model_token(const otimes_model *model, int64_t id);
OTIMES_API const char *otimes_model_output_token(const otimes_model *model, int64_t id);

/* sha256 of the weight files as sha256sum prints it: one line "<hex>  <file name>" a file, joined
 * by newlines. Of a model in memory one line "<hex>  <name>", over all tensors in the order of their
 * names' bytes: for each the line "NAME DTYPE [D0,D1,...]", ended by a newline, then its elements in
 * row-major order, whatever the strides. Reads every byte. *text is released with
 * otimes_text_release. OTIMES_ERR_IO, OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_model_sha256(const otimes_model *model, char **text,
                                                     otimes_err *err);

/* The same, with a word to sink->ops->progress, in bytes, every few MB; nothing else of the sink is
 * called. Where that is not 0: OTIMES_ERR_CANCELLED, and *text NULL. */
OTIMES_API OTIMES_MUST_CHECK int otimes_model_sha256_watched(const otimes_model *model,
                                                             otimes_sink *sink, char **text,
                                                             otimes_err *err);

/* Parts of a layer. */
enum {
    OTIMES_PART_Q = 1,
    OTIMES_PART_K = 2,
    OTIMES_PART_V = 4,
    OTIMES_PART_O = 8,
    OTIMES_PART_ATTENTION = 15,
    OTIMES_PART_MLP = 16,
    OTIMES_PART_ALL = 31
};

/* One layer made canonical: orientation of this page, float32, processed as the model's settings
 * say. Tensors that a model lacks or that were not asked for have data NULL. After fold_ln the norm
 * weights are gone (NULL), what is left of the norm is the bare normalisation. */
typedef struct otimes_layer {
    int64_t layer;
    otimes_tensor W_Q, W_K, W_V, W_O;         /* contiguous; shapes above */
    otimes_tensor b_Q, b_K, b_V, b_O;         /* [heads, d_head]; b_O [d_model] */
    otimes_tensor W_in, W_gate, W_out;        /* [d_model, d_mlp] x 2, [d_mlp, d_model] */
    otimes_tensor b_in, b_gate, b_out;        /* [d_mlp] x 2, [d_model] */
    otimes_tensor ln1_w, ln1_b, ln2_w, ln2_b; /* [d_model] */
    otimes_tensor ln1_post_w, ln2_post_w;     /* [d_model]: norms after attention, after MLP */
    otimes_tensor q_norm_w, k_norm_w;         /* [n_heads or n_kv_heads, d_head] */
    otimes_tensor sinks;                      /* [n_heads]: scores of keys that are not there */
    otimes_tensor W_router, b_router;         /* [d_model, n_experts], [n_experts] */
    otimes_tensor shared_W_in, shared_W_gate, shared_W_out; /* [d_model, d_shared_expert] x 2 and
                                                               its transpose's shape */
    otimes_tensor shared_W_router;                          /* [d_model] */
    void *memory; /* what the views show; the layer's own */
} otimes_layer;

/* Reads the asked parts of layer number `index` into memory that *layer owns; the caller releases
 * it with otimes_layer_free. Every number read is checked to be finite, and what processing makes of
 * it.
 * Cost: one pass over the layer's bytes in the file; 4 bytes per weight of memory.
 * Errors: OTIMES_ERR_ARGUMENT (no such layer), OTIMES_ERR_VALUE (tensor and place named),
 * OTIMES_ERR_MEMORY, OTIMES_ERR_IO. */
OTIMES_API OTIMES_MUST_CHECK int otimes_layer_load(const otimes_model *model, int64_t index,
                                                   int parts, otimes_layer *layer, otimes_err *err);

/* Releases a layer and zeroes it; NULL and zeroed are fine. */
OTIMES_API void otimes_layer_free(otimes_layer *layer);

/* One expert of a layer whose MLP is one of experts, canonical and processed like a layer. */
typedef struct otimes_expert {
    int64_t layer, expert;
    otimes_tensor W_in, W_gate, W_out; /* [d_model, d_expert] x 2, [d_expert, d_model] */
    otimes_tensor b_in, b_gate, b_out; /* [d_expert] x 2, [d_model] */
    void *memory;
} otimes_expert;

/* Reads an expert into memory that *out owns, released with otimes_expert_free. Errors as
 * otimes_layer_load; OTIMES_ERR_ARGUMENT also for a layer without experts. */
OTIMES_API OTIMES_MUST_CHECK int otimes_expert_load(const otimes_model *model, int64_t layer,
                                                    int64_t expert, otimes_expert *out,
                                                    otimes_err *err);

/* Releases an expert and zeroes it; NULL and zeroed are fine. */
OTIMES_API void otimes_expert_free(otimes_expert *expert);

/* What differs from layer to layer. */
typedef struct otimes_layer_info {
    int64_t window;    /* keys further back are masked; 0: none */
    double rope_theta; /* base of the rotary frequencies; 0: this layer rotates nothing */
    int experts;       /* its MLP is one of experts */
} otimes_layer_info;

/* 0, or OTIMES_ERR_ARGUMENT for a layer that is not there. */
OTIMES_API OTIMES_MUST_CHECK int otimes_layer_describe(const otimes_model *model, int64_t layer,
                                                       otimes_layer_info *info, otimes_err *err);

/* Rows first .. first+count-1 of W_E (processed), into out [count, d_model].
 * OTIMES_ERR_ARGUMENT, OTIMES_ERR_VALUE, OTIMES_ERR_IO. */
OTIMES_API OTIMES_MUST_CHECK int otimes_embed_rows(const otimes_model *model, int64_t first,
                                                   int64_t count, float *out, otimes_err *err);

/* The norm that follows the embedding, into w and b [d_model]. OTIMES_ERR_UNSUPPORTED when the
 * model has none (info's embed_norm is 0); otherwise as otimes_embed_rows. */
OTIMES_API OTIMES_MUST_CHECK int otimes_embed_norm(const otimes_model *model, float *w, float *b,
                                                   otimes_err *err);

/* Rows of W_pos (processed), into out [count, d_model]. OTIMES_ERR_UNSUPPORTED when the model has
 * no learned positions; otherwise as otimes_embed_rows. */
OTIMES_API OTIMES_MUST_CHECK int otimes_position_rows(const otimes_model *model, int64_t first,
                                                      int64_t count, float *out, otimes_err *err);

/* The unembedding, read by tiles: folding and centring need one pass over it first. */
typedef struct otimes_unembed {
    const otimes_model *model;
    double *mean;       /* [d_model] mean over the vocabulary, taken away; NULL if it is not */
    float *fold;        /* [d_model] final norm weight folded in; NULL if it is not */
    float *bias;        /* [d_vocab_out] b_U, processed; NULL when the model has none */
    float *ln_w, *ln_b; /* [d_model] the final norm's own when not folded; NULL otherwise */
} otimes_unembed;

/* Prepares *out for reading; release with otimes_unembed_free. One pass over W_U when it is centred
 * or a bias is folded. The model must outlive it. Errors as otimes_embed_rows and
 * OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_unembed_open(const otimes_model *model, otimes_unembed *out,
                                                     otimes_err *err);

/* Columns first .. first+count-1 of W_U (processed) as rows, into out [count, d_model]. */
OTIMES_API OTIMES_MUST_CHECK int otimes_unembed_rows(const otimes_unembed *unembed, int64_t first,
                                                     int64_t count, float *out, otimes_err *err);

/* Releases and zeroes; NULL and zeroed are fine. */
OTIMES_API void otimes_unembed_free(otimes_unembed *unembed);

/* Writes the facts every result must carry to a sink: versions, model path, architecture,
 * dimensions, dtype, each processing step. Analyses call it; the sha256 is the caller's to add. */
OTIMES_API OTIMES_MUST_CHECK int otimes_model_attributes(const otimes_model *model,
                                                         otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
