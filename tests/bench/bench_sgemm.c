/* SPDX-License-Identifier: MIT
 *
 * How fast this machine multiplies the matrices of one forward pass of GPT-2 small, float32, by
 * OpenBLAS with its own threads and nothing between the products:
 * bench_sgemm TEXTS LENGTH [THREADS] [REPEATS]. The forward pass is held against it. Every layer
 * has weights of its own, as a model does; scores are whole squares, since a matrix product knows
 * no causal mask. Prints one line of JSON: seconds (median), each product's part of their mean,
 * flops and a checksum.
 */
#include <otimes/parse.h>

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LAYERS = 12, D_MODEL = 768, HEADS = 12, D_HEAD = 64, D_MLP = 3072, VOCAB = 50257 };
enum { QKV, SCORES, VALUES, W_O, W_IN, W_OUT, W_U, PRODUCTS };

static const char *const product_names[PRODUCTS] = {"qkv",  "scores", "values", "W_O",
                                                    "W_in", "W_out",  "W_U"};

typedef struct weights {
    float *qkv, *o, *in, *out; /* [d_model, 3 d_model] and so on, of one layer */
} weights;

typedef struct pass {
    weights layer[LAYERS];
    float *embedding; /* [d_vocab, d_model]; W_U is its transpose */
    float *x, *y, *z; /* [rows, d_model] */
    float *qkv, *mlp, *logits;
    float *scores; /* [length, length] of one head */
    int texts, length;
    double seconds[PRODUCTS], flops;
} pass;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Numbers in [-scale, scale) from a 64-bit linear congruential generator; NULL without memory. */
static float *numbers(int64_t count, float scale)
{
    uint64_t state = 1;
    float *out = malloc((size_t)count * sizeof *out);
    for (int64_t i = 0; out && i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        out[i] = scale * ((float)(state >> 40) / 8388608.0f - 1);
    }
    return out;
}

/* C [m, n] = A [m, k] B, B being [k, n] or, transposed, [n, k]. */
static void product(pass *p, int what, CBLAS_TRANSPOSE transposed, int m, int n, int k,
                    const float *A, int lda, const float *B, int ldb, float *C, int ldc)
{
    const double start = now();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, transposed, m, n, k, 1, A, lda, B, ldb, 0, C, ldc);
    p->seconds[what] += now() - start;
    p->flops += 2.0 * m * n * k;
}

static void attention(pass *p)
{
    const int length = p->length, wide = 3 * D_MODEL;
    for (int text = 0; text < p->texts; text++) {
        for (int head = 0; head < HEADS; head++) {
            const int64_t row = (int64_t)text * length;
            const float *q = p->qkv + row * wide + head * D_HEAD;
            product(p, SCORES, CblasTrans, length, length, D_HEAD, q, wide, q + D_MODEL, wide,
                    p->scores, length);
            product(p, VALUES, CblasNoTrans, length, D_HEAD, length, p->scores, length,
                    q + 2 * D_MODEL, wide, p->z + row * D_MODEL + head * D_HEAD, D_MODEL);
        }
    }
}

static double run(pass *p)
{
    const int rows = p->texts * p->length;
    const double start = now();
    p->flops = 0;
    for (int i = 0; i < LAYERS; i++) {
        const weights *w = &p->layer[i];
        product(p, QKV, CblasNoTrans, rows, 3 * D_MODEL, D_MODEL, p->x, D_MODEL, w->qkv,
                3 * D_MODEL, p->qkv, 3 * D_MODEL);
        attention(p);
        product(p, W_O, CblasNoTrans, rows, D_MODEL, D_MODEL, p->z, D_MODEL, w->o, D_MODEL, p->y,
                D_MODEL);
        product(p, W_IN, CblasNoTrans, rows, D_MLP, D_MODEL, p->y, D_MODEL, w->in, D_MLP, p->mlp,
                D_MLP);
        product(p, W_OUT, CblasNoTrans, rows, D_MODEL, D_MLP, p->mlp, D_MLP, w->out, D_MODEL, p->y,
                D_MODEL);
    }
    product(p, W_U, CblasTrans, rows, VOCAB, D_MODEL, p->y, D_MODEL, p->embedding, D_MODEL,
            p->logits, VOCAB);
    return now() - start;
}

/* False without memory. */
static int make(pass *p)
{
    const int64_t rows = (int64_t)p->texts * p->length, d = D_MODEL;
    p->embedding = numbers(VOCAB * d, 0.05f);
    p->x = numbers(rows * d, 1);
    p->y = numbers(rows * d, 1);
    p->z = numbers(rows * d, 1);
    p->qkv = numbers(rows * 3 * d, 1);
    p->mlp = numbers(rows * D_MLP, 1);
    p->logits = numbers(rows * VOCAB, 1);
    p->scores = numbers((int64_t)p->length * p->length, 1);
    int made = p->embedding && p->x && p->y && p->z && p->qkv && p->mlp && p->logits && p->scores;
    for (int i = 0; i < LAYERS && made; i++) {
        weights *w = &p->layer[i];
        w->qkv = numbers(3 * d * d, 0.05f);
        w->o = numbers(d * d, 0.05f);
        w->in = numbers(d * D_MLP, 0.05f);
        w->out = numbers(d * D_MLP, 0.05f);
        made = w->qkv && w->o && w->in && w->out;
    }
    return made;
}

static void release(pass *p)
{
    for (int i = 0; i < LAYERS; i++) {
        free(p->layer[i].qkv);
        free(p->layer[i].o);
        free(p->layer[i].in);
        free(p->layer[i].out);
    }
    free(p->embedding);
    free(p->x);
    free(p->y);
    free(p->z);
    free(p->qkv);
    free(p->mlp);
    free(p->logits);
    free(p->scores);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const pass *p, double *seconds, int64_t repeats)
{
    const int64_t size = (int64_t)p->texts * p->length * VOCAB;
    double sum = 0;
    for (int64_t i = 0; i < size; i++) {
        sum += p->logits[i];
    }
    printf("{\"what\": \"sgemm\", \"shape\": \"%dx%d\", \"threads\": %d, \"all_seconds\": [",
           p->texts, p->length, openblas_get_num_threads());
    for (int64_t i = 0; i < repeats; i++) {
        printf("%s%.6f", i ? ", " : "", seconds[i]);
    }
    qsort(seconds, (size_t)repeats, sizeof *seconds, ascending);
    const double middle = seconds[repeats / 2];
    printf("], \"seconds\": %.6f, \"flops\": %.0f, \"gflops\": %.2f, \"parts\": {", middle,
           p->flops, 1e-9 * p->flops / middle);
    for (int i = 0; i < PRODUCTS; i++) {
        printf("%s\"%s\": %.6f", i ? ", " : "", product_names[i], p->seconds[i] / (double)repeats);
    }
    printf("}, \"value\": %.6e}\n", sum);
}

int main(int argc, char **argv)
{
    static pass p; /* large for a stack */
    otimes_err err = {0};
    int64_t texts = 0, length = 0, threads = 2, repeats = 3;
    double seconds[100];
    if (argc < 3 || argc > 5) {
        fputs("usage: bench_sgemm TEXTS LENGTH [THREADS] [REPEATS]\n", stderr);
        return 2;
    }
    int rc = otimes_parse_i64(argv[1], "TEXTS", 1, 64, &texts, &err);
    if (!rc) {
        rc = otimes_parse_i64(argv[2], "LENGTH", 1, 4096, &length, &err);
    }
    if (!rc && argc > 3) {
        rc = otimes_parse_i64(argv[3], "THREADS", 1, 1024, &threads, &err);
    }
    if (!rc && argc > 4) {
        rc = otimes_parse_i64(argv[4], "REPEATS", 1, 100, &repeats, &err);
    }
    if (rc) {
        fprintf(stderr, "bench_sgemm: %s\n", err.msg);
        return 1;
    }
    p.texts = (int)texts;
    p.length = (int)length;
    openblas_set_num_threads((int)threads);
    rc = !make(&p);
    if (rc) {
        fputs("bench_sgemm: out of memory\n", stderr);
    } else {
        run(&p); /* starts the threads */
        memset(p.seconds, 0, sizeof p.seconds);
        for (int64_t i = 0; i < repeats; i++) {
            seconds[i] = run(&p);
        }
        report(&p, seconds, repeats);
    }
    release(&p);
    return rc;
}
