/* SPDX-License-Identifier: MIT */
#include "format/llama2c.h"

#include <stdio.h>

#include "base/mem.h"
#include "format/json.h"

#define MAGIC 0x616b3432u /* "ak42" as a number */

enum { SIZES = 7, VERSION_0_HEADER = 28, VERSION_1_HEADER = 256, SHARED_AT = 36 };

/* No transformer is larger, and the bytes of one within these bounds fit 63 bits. */
enum { MOST_WIDE = 1 << 20, MOST_LAYERS = 1 << 12, MOST_VOCAB = 1 << 24, MOST_CONTEXT = 1 << 24 };

typedef struct header {
    int version;
    int64_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
    bool shared;   /* the classifier is the embedding */
    int64_t begin; /* of the data */
} header;

static int32_t int_at(const unsigned char *bytes)
{
    return (int32_t)(bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                     (uint32_t)bytes[3] << 24);
}

static bool has_magic(const otimes_map *map)
{
    return map->bytes >= 8 && (uint32_t)int_at(map->data) == MAGIC;
}

static void read_sizes(const unsigned char *at, header *h)
{
    int64_t *const sizes[SIZES] = {&h->dim,        &h->hidden_dim, &h->n_layers, &h->n_heads,
                                   &h->n_kv_heads, &h->vocab_size, &h->seq_len};
    for (int i = 0; i < SIZES; i++) {
        *sizes[i] = int_at(at + 4 * i);
    }
}

/* The first thing wrong with the sizes, and what was there instead; or NULL. */
static const char *implausible(const header *h, int64_t *got)
{
    const struct {
        int64_t size, most;
        const char *expected;
    } checks[] = {
        {h->dim, MOST_WIDE, "dim of 1 to 2^20"},
        {h->hidden_dim, MOST_WIDE, "hidden_dim of 1 to 2^20"},
        {h->n_layers, MOST_LAYERS, "n_layers of 1 to 2^12"},
        {h->n_heads, h->dim, "n_heads of 1 to dim"},
        {h->n_kv_heads, h->n_heads, "n_kv_heads of 1 to n_heads"},
        {h->vocab_size, MOST_VOCAB, "vocab_size of 1 to 2^24"},
        {h->seq_len, MOST_CONTEXT, "seq_len of 1 to 2^24"},
    };
    for (int i = 0; i < SIZES; i++) {
        *got = checks[i].size;
        if (checks[i].size < 1 || checks[i].size > checks[i].most) {
            return checks[i].expected;
        }
    }
    *got = h->n_heads;
    if (h->dim % (2 * h->n_heads) != 0) {
        return "n_heads that divides half of dim";
    }
    *got = h->n_kv_heads;
    return h->n_heads % h->n_kv_heads != 0 ? "n_kv_heads that divides n_heads" : NULL;
}

static void read_version_0(const otimes_map *map, header *h)
{
    *h = (header){.version = 0, .begin = VERSION_0_HEADER};
    read_sizes(map->data, h);
    h->shared = h->vocab_size > 0;
    h->vocab_size = h->shared ? h->vocab_size : -h->vocab_size;
}

static int read_header(const otimes_file *file, header *h, otimes_err *err)
{
    const otimes_map *map = &file->map;
    if (!has_magic(map)) {
        read_version_0(map, h);
    } else {
        const int version = int_at(map->data + 4);
        if (version != 1) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: llama2.c version: expected 0 or 1 (float32), got %d%s",
                               file->path, version, version == 2 ? " (8 bits)" : "");
        }
        if (map->bytes < VERSION_1_HEADER) {
            return otimes_fail(err, OTIMES_ERR_FORMAT,
                               "%s: header: truncated: expected %d bytes, got %lld", file->path,
                               VERSION_1_HEADER, (long long)map->bytes);
        }
        *h = (header){.version = 1, .begin = VERSION_1_HEADER};
        read_sizes(map->data + 8, h);
        h->shared = map->data[SHARED_AT] != 0;
    }
    int64_t got;
    const char *expected = implausible(h, &got);
    return expected ? otimes_fail(err, OTIMES_ERR_FORMAT, "%s: header: expected %s, got %lld",
                                  file->path, expected, (long long)got)
                    : OTIMES_OK;
}

bool otimes_llama2c_recognise(const otimes_map *map)
{
    header h;
    int64_t got;
    if (has_magic(map)) {
        return true;
    }
    if (map->bytes < VERSION_0_HEADER) {
        return false;
    }
    read_version_0(map, &h);
    return !implausible(&h, &got);
}

/* ---- tensors ---- */

typedef enum part {
    EMBEDDING,
    ATTENTION_NORM,
    WQ,
    WK,
    WV,
    WO,
    FFN_NORM,
    W1,
    W2,
    W3,
    NORM,
    ANGLES,
    OUTPUT,
    PARTS
} part;

static const part version_0[] = {EMBEDDING, ATTENTION_NORM, WQ,     WK,    WV, WO, FFN_NORM, W1, W2,
                                 W3,        NORM,           ANGLES, OUTPUT};
static const part version_1[] = {
    ATTENTION_NORM, FFN_NORM, NORM, EMBEDDING, WQ, WK, WV, WO, W1, W2, W3, OUTPUT};

/* One tensor: a vector has no columns. No name: left out. */
typedef struct shape {
    const char *name;
    bool each_layer;
    int64_t rows, columns;
} shape;

static shape shape_of(part p, const header *h)
{
    const int64_t head = h->dim / h->n_heads, kv = h->n_kv_heads * head;
    const shape shapes[PARTS] = {
        [EMBEDDING] = {"tok_embeddings.weight", false, h->vocab_size, h->dim},
        [ATTENTION_NORM] = {"attention_norm.weight", true, h->dim, 0},
        [WQ] = {"attention.wq.weight", true, h->dim, h->dim},
        [WK] = {"attention.wk.weight", true, kv, h->dim},
        [WV] = {"attention.wv.weight", true, kv, h->dim},
        [WO] = {"attention.wo.weight", true, h->dim, h->dim},
        [FFN_NORM] = {"ffn_norm.weight", true, h->dim, 0},
        [W1] = {"feed_forward.w1.weight", true, h->hidden_dim, h->dim},
        [W2] = {"feed_forward.w2.weight", true, h->dim, h->hidden_dim},
        [W3] = {"feed_forward.w3.weight", true, h->hidden_dim, h->dim},
        [NORM] = {"norm.weight", false, h->dim, 0},
        [ANGLES] = {NULL, false, h->seq_len, head}, /* cosines, then sines, of half as many each */
        [OUTPUT] = {"output.weight", false, h->vocab_size, h->dim},
    };
    return shapes[p];
}

/* All layers of one kind of tensor from byte *at on; moves *at behind them. With store NULL nothing
 * is added. */
static int add_part(otimes_store *store, const unsigned char *data, const shape *s, int64_t layers,
                    int64_t *at, otimes_err *err)
{
    otimes_entry entry = {
        .dtype = OTIMES_DTYPE_F32,
        .ndim = s->columns ? 2 : 1,
        .dim = {s->rows, s->columns},
        .bytes = (s->columns ? s->rows * s->columns : s->rows) * 4,
    };
    char name[64];
    int rc = OTIMES_OK;
    otimes_entry_row_major(&entry);
    for (int64_t l = 0; rc == OTIMES_OK && l < (s->each_layer ? layers : 1); l++) {
        if (store && s->name) {
            entry.name = (char *)s->name;
            if (s->each_layer) {
                snprintf(name, sizeof name, "layers.%lld.%s", (long long)l, s->name);
                entry.name = name;
            }
            entry.data = data + *at;
            rc = otimes_store_add(store, &entry, err);
        }
        *at += entry.bytes;
    }
    return rc;
}

/* Returns by *end where the last tensor ends. */
static int add_parts(otimes_store *store, const unsigned char *data, const header *h, int64_t *end,
                     otimes_err *err)
{
    const part *order = h->version == 0 ? version_0 : version_1;
    const size_t count = h->version == 0 ? sizeof version_0 / sizeof version_0[0]
                                         : sizeof version_1 / sizeof version_1[0];
    int rc = OTIMES_OK;
    *end = h->begin;
    for (size_t i = 0; rc == OTIMES_OK && i < count; i++) {
        const shape s = shape_of(order[i], h);
        if (order[i] != OUTPUT || !h->shared) {
            rc = add_part(store, data, &s, h->n_layers, end, err);
        }
    }
    return rc;
}

static json_t *make_config(const header *h)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "model_type", "llama2.c",
                     "dim", (json_int_t)h->dim, "hidden_dim", (json_int_t)h->hidden_dim, "n_layers",
                     (json_int_t)h->n_layers, "n_heads", (json_int_t)h->n_heads, "n_kv_heads",
                     (json_int_t)h->n_kv_heads, "vocab_size", (json_int_t)h->vocab_size,
                     "max_seq_len", (json_int_t)h->seq_len, "tie_word_embeddings", (int)h->shared);
}

int otimes_llama2c_add(otimes_store *store, const otimes_file *file, otimes_err *err)
{
    header h;
    int64_t end = 0;
    if (store->config) { /* unreached: no index names such files */
        return otimes_fail(err, OTIMES_ERR_FORMAT, "%s: expected one file with metadata, got two",
                           file->path);
    }
    int rc = read_header(file, &h, err);
    if (rc == OTIMES_OK) {
        rc = add_parts(NULL, NULL, &h, &end, err);
    }
    if (rc == OTIMES_OK && end != file->map.bytes) {
        rc = otimes_fail(err, OTIMES_ERR_FORMAT,
                         "%s: truncated or too long: expected %lld bytes for the sizes of its "
                         "header (llama2.c version %d), got %lld",
                         file->path, (long long)end, h.version, (long long)file->map.bytes);
    }
    if (rc == OTIMES_OK) {
        rc = add_parts(store, file->map.data, &h, &end, err);
    }
    if (rc == OTIMES_OK &&
        !(store->config = make_config(&h))) { /* unreached: jansson's own allocator */
        rc = otimes_fail(err, OTIMES_ERR_MEMORY, "%s: out of memory", file->path);
    }
    return rc;
}
