/* SPDX-License-Identifier: MIT
 *
 * The forward pass and what is read from it, by the calls of run_forward.py:
 * bench_forward CHECKPOINT TOKENS WHAT THREADS REPEATS SAVE. See there for what each workload is,
 * what is printed and what SAVE gets.
 */
#include <otimes/ablate.h>
#include <otimes/decompose.h>
#include <otimes/forward.h>
#include <otimes/parse.h>

#include <ctype.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOKEN = 1000, OTHER = 2000, LAYER = 6, PATTERN_LAYER = 5, PATTERN_HEAD = 3 };
enum { HEAD_LAYER = 9, HEAD = 6, NEURON_LAYER = 11, NEURON = 100, MOST_REPEATS = 100 };

/* One workload's texts, its times, and the numbers that are compared. */
typedef struct bench {
    const otimes_model *model;
    const otimes_model_info *info;
    otimes_sequences texts;
    int64_t rows, repeats;
    double seconds[MOST_REPEATS];
    int64_t held, peak;
    float *values;
    int64_t value_count;
    char checks[512];
    double value;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *room(int64_t count, size_t size)
{
    void *memory = calloc((size_t)count, size);
    if (!memory) {
        fputs("bench_forward: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static void must(int rc, const otimes_err *err)
{
    if (rc) {
        fprintf(stderr, "bench_forward: %s\n", err->msg);
        exit(1);
    }
}

/* ---- memory, as the peers measure it ---- */

static int64_t status_bytes(const char *field)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long long kilobytes = 0;
    const size_t length = strlen(field);
    while (file && fgets(line, sizeof line, file)) {
        if (!strncmp(line, field, length) && line[length] == ':') {
            kilobytes = strtoll(line + length + 1, NULL, 10);
        }
    }
    if (file) {
        fclose(file);
    }
    return (int64_t)kilobytes * 1024;
}

static void begin_peak(bench *b)
{
    malloc_trim(0);
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file) {
        fputs("5", file);
        fclose(file);
    }
    b->held = status_bytes("VmRSS");
}

static void end_peak(bench *b)
{
    b->peak = status_bytes("VmHWM") - b->held;
}

/* ---- texts ---- */

/* The numbers of each line of {"tokens": [...]}. */
static void read_texts(bench *b, const char *path)
{
    FILE *file = fopen(path, "r");
    int64_t *length = room(4096, sizeof *length), count = 0;
    int64_t **id = room(4096, sizeof *id);
    int c, digits = 0;
    int64_t number = 0;
    if (!file) {
        perror(path);
        exit(1);
    }
    for (id[0] = room(4096, sizeof **id); (c = fgetc(file)) != EOF && count < 4095;) {
        if (isdigit(c)) {
            number = 10 * number + (c - '0');
            digits = 1;
            continue;
        }
        if (digits && length[count] < 4096) {
            id[count][length[count]++] = number;
        }
        number = digits = 0;
        if (c == '\n' && length[count] > 0) {
            b->rows += length[count];
            id[++count] = room(4096, sizeof **id);
        }
    }
    fclose(file);
    b->texts = (otimes_sequences){count, length, (const int64_t *const *)id};
}

/* ---- the pass ---- */

/* Everything that the second workload keeps. */
typedef struct kept {
    const bench *b;
    float **pattern;     /* [layer][text][head, query, key] one block a layer */
    float **pre, **post; /* [layer][rows, d_model] */
    int64_t *square;     /* [texts] where a text's patterns begin */
} kept;

static int keep(void *context, const otimes_activation *a, otimes_err *err)
{
    const kept *k = context;
    (void)err;
    float *to;
    int64_t stride = a->columns;
    if (a->hook == OTIMES_HOOK_PATTERN) {
        stride = k->b->texts.length[a->sequence];
        to = k->pattern[a->layer] + k->square[a->sequence] + a->head * stride * stride;
    } else {
        to = a->hook == OTIMES_HOOK_RESID_PRE ? k->pre[a->layer] : k->post[a->layer];
    }
    for (int64_t i = 0; i < a->rows; i++) {
        memcpy(to + (a->first + i) * stride, a->data + i * a->stride,
               (size_t)a->columns * sizeof *to);
    }
    return 0;
}

static kept keep_all(const bench *b)
{
    const int64_t layers = b->info->n_layers;
    int64_t squares = 0;
    kept k = {b, room(layers, sizeof *k.pattern), room(layers, sizeof *k.pre),
              room(layers, sizeof *k.post), room(b->texts.count, sizeof *k.square)};
    for (int64_t t = 0; t < b->texts.count; t++) {
        k.square[t] = squares;
        squares += b->info->n_heads * b->texts.length[t] * b->texts.length[t];
    }
    for (int64_t l = 0; l < layers; l++) {
        k.pattern[l] = room(squares, sizeof(float));
        k.pre[l] = room(b->rows * b->info->d_model, sizeof(float));
        k.post[l] = room(b->rows * b->info->d_model, sizeof(float));
    }
    return k;
}

static void free_kept(const bench *b, kept *k)
{
    for (int64_t l = 0; l < b->info->n_layers; l++) {
        free(k->pattern[l]);
        free(k->pre[l]);
        free(k->post[l]);
    }
    free(k->pattern);
    free(k->pre);
    free(k->post);
    free(k->square);
}

/* Mean of -log p(next token), each text's last row left out. */
static double loss_of(const bench *b, const float *logits)
{
    const int64_t vocab = b->info->d_vocab_out;
    double sum = 0;
    for (int64_t t = 0, row = 0; t < b->texts.count; row += b->texts.length[t++]) {
        for (int64_t i = 0; i + 1 < b->texts.length[t]; i++) {
            const float *x = logits + (row + i) * vocab;
            double max = -INFINITY, total = 0;
            for (int64_t j = 0; j < vocab; j++) {
                max = fmax(max, (double)x[j]);
            }
            for (int64_t j = 0; j < vocab; j++) {
                total += exp((double)x[j] - max);
            }
            sum += max + log(total) - (double)x[b->texts.id[t][i + 1]];
        }
    }
    return sum / (double)(b->rows - b->texts.count);
}

static void take_logits(bench *b, const float *logits)
{
    const int64_t vocab = b->info->d_vocab_out;
    b->value_count = b->texts.count * vocab;
    b->values = room(b->value_count, sizeof *b->values);
    for (int64_t t = 0, end = 0; t < b->texts.count; t++) {
        double mean = 0;
        end += b->texts.length[t];
        const float *x = logits + (end - 1) * vocab;
        for (int64_t j = 0; j < vocab; j++) {
            mean += (double)x[j] / (double)vocab;
        }
        for (int64_t j = 0; j < vocab; j++) {
            b->values[t * vocab + j] = (float)((double)x[j] - mean);
        }
    }
}

/* The residual before block 6 at text 0's last position, less its mean, over its norm; then the
 * pattern of head 5.3 there. */
static void take_activations(bench *b, const kept *k, double *norm)
{
    const int64_t d = b->info->d_model, n = b->texts.length[0];
    const float *x = k->pre[LAYER] + (n - 1) * d;
    const float *pattern = k->pattern[PATTERN_LAYER] + (PATTERN_HEAD * n + n - 1) * n;
    double mean = 0, squares = 0;
    b->value_count = d + n;
    b->values = room(b->value_count, sizeof *b->values);
    for (int64_t j = 0; j < d; j++) {
        mean += (double)x[j] / (double)d;
    }
    for (int64_t j = 0; j < d; j++) {
        squares += ((double)x[j] - mean) * ((double)x[j] - mean);
    }
    *norm = sqrt(squares);
    for (int64_t j = 0; j < d; j++) {
        b->values[j] = (float)(((double)x[j] - mean) / *norm);
    }
    memcpy(b->values + d, pattern, (size_t)n * sizeof *pattern);
}

/* A pass with the weights in memory. */
static otimes_forward *open_forward(const bench *b)
{
    otimes_err err = {0};
    otimes_forward *forward;
    otimes_forward_settings settings;
    otimes_forward_settings_default(&settings);
    settings.resident = 1;
    must(otimes_forward_open(&forward, b->model, &settings, &err), &err);
    const int64_t one = 1, *first = b->texts.id[0];
    const otimes_sequences warm = {1, &one, &first};
    float *logits = room(b->info->d_vocab_out, sizeof *logits);
    must(otimes_forward_run(forward, &warm, NULL, &err), &err);
    must(otimes_forward_logits(forward, 0, 1, logits, &err), &err);
    free(logits);
    return forward;
}

static void run_forward(bench *b, int activations)
{
    otimes_err err = {0};
    otimes_forward *forward = open_forward(b);
    const int64_t vocab = b->info->d_vocab_out;
    float *logits = NULL;
    kept k = {0};
    begin_peak(b);
    for (int64_t r = 0; r < b->repeats; r++) {
        free(logits);
        if (k.b) {
            free_kept(b, &k);
        }
        const double start = now();
        k = activations ? keep_all(b) : k;
        const otimes_hooks hooks = {OTIMES_HOOK_BIT(PATTERN) | OTIMES_HOOK_BIT(RESID_PRE) |
                                        OTIMES_HOOK_BIT(RESID_POST),
                                    keep, &k};
        must(otimes_forward_run(forward, &b->texts, activations ? &hooks : NULL, &err), &err);
        logits = room(b->rows * vocab, sizeof *logits);
        must(otimes_forward_logits(forward, 0, b->rows, logits, &err), &err);
        b->seconds[r] = now() - start;
    }
    end_peak(b);
    take_logits(b, logits);
    b->value = loss_of(b, logits);
    int n = snprintf(b->checks, sizeof b->checks, "\"loss\": %.9g, \"logit\": %.9g", b->value,
                     (double)b->values[TOKEN]);
    if (activations) {
        double norm;
        free(b->values);
        take_activations(b, &k, &norm);
        snprintf(b->checks + n, sizeof b->checks - (size_t)n,
                 ", \"residual_norm\": %.9g, \"pattern\": %.9g", norm,
                 (double)b->values[b->value_count - 1]);
        free_kept(b, &k);
    }
    free(logits);
    otimes_forward_close(&forward);
}

/* ---- what is read from it ---- */

/* A sink that keeps the blocks of text 0 that are compared and counts nothing else. */
typedef struct picking {
    bench *b;
    int heads, neurons, changes; /* ids of the arrays */
    int next;
    int64_t components, first_head; /* of the axis of components */
} picking;

static int take_attribute(otimes_sink *sink, const otimes_attr *attr, otimes_err *err)
{
    (void)sink, (void)attr, (void)err;
    return 0;
}

static int take_array(otimes_sink *sink, const otimes_array *array, int *id, otimes_err *err)
{
    picking *p = sink->state;
    (void)err;
    *id = p->next++;
    if (!strcmp(array->name, "attribution")) {
        const otimes_axis *axis = array->axis[array->ndim - 1];
        p->heads = *id;
        p->components = axis->length;
        for (p->first_head = 0; strcmp(axis->text[p->first_head], "L0H0") != 0;) {
            p->first_head++;
        }
    } else if (!strcmp(array->name, "neuron_attribution")) {
        p->neurons = *id;
    } else if (!strcmp(array->name, "loss_change")) {
        p->changes = *id;
    }
    return 0;
}

/* What a block has of one row of the last axes: text 0, last position. */
static int take_block(otimes_sink *sink, int id, const int64_t *start, const int64_t *count,
                      const void *data, otimes_err *err)
{
    picking *p = sink->state;
    bench *b = p->b;
    const int64_t last = b->texts.length[0] - 1, heads = b->info->n_layers * b->info->n_heads;
    (void)err;
    if (start[0] != 0) {
        return 0;
    }
    if (id == p->changes) {
        for (int64_t i = 0; i < count[1]; i++) {
            b->values[start[1] + i] = (float)((const double *)data)[i];
        }
    } else if ((id == p->heads || id == p->neurons) && start[1] <= last &&
               last < start[1] + count[1]) {
        int64_t each = 1;
        for (int axis = 2; axis < (id == p->heads ? 4 : 5); axis++) {
            each *= count[axis];
        }
        const float *row = (const float *)data + (last - start[1]) * each;
        if (id == p->neurons) {
            memcpy(b->values + heads, row, (size_t)each * sizeof *row);
        }
        for (int64_t l = 0; id == p->heads && l < b->info->n_layers; l++) {
            /* each layer: heads, the bias of attention, the MLP */
            const int64_t stride = (p->components - p->first_head) / b->info->n_layers;
            memcpy(b->values + l * b->info->n_heads, row + p->first_head + l * stride,
                   (size_t)b->info->n_heads * sizeof *row);
        }
    }
    return 0;
}

static int take_end(otimes_sink *sink, otimes_err *err)
{
    (void)sink, (void)err;
    return 0;
}

static const otimes_sink_ops picking_ops = {
    .attribute = take_attribute, .declare = take_array, .write = take_block, .finish = take_end};

static double sum_of(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += (double)x[i];
    }
    return sum;
}

static void run_attribution(bench *b)
{
    otimes_err err = {0};
    otimes_decompose_settings settings;
    const int64_t target = TOKEN, against = OTHER, heads = b->info->n_layers * b->info->n_heads;
    const int64_t neurons = b->info->n_layers * b->info->d_mlp;
    otimes_decompose_settings_default(&settings);
    settings.sequences = b->texts;
    settings.forward.weights = open_forward(b);
    settings.parts = OTIMES_DECOMPOSE_ALL;
    settings.target = &target;
    settings.against = &against;
    settings.target_count = 1;
    settings.norms = 0;
    settings.full = 1;
    b->value_count = heads + neurons;
    b->values = room(b->value_count, sizeof *b->values);
    begin_peak(b);
    for (int64_t r = 0; r < b->repeats; r++) {
        picking p = {.b = b, .heads = -1, .neurons = -1, .changes = -1};
        otimes_sink sink = {&picking_ops, &p};
        const double start = now();
        must(otimes_decompose(b->model, &settings, &sink, &err), &err);
        b->seconds[r] = now() - start;
    }
    end_peak(b);
    otimes_forward_close(&settings.forward.weights);
    b->value = (double)b->values[HEAD_LAYER * b->info->n_heads + HEAD];
    snprintf(b->checks, sizeof b->checks,
             "\"head_9_6\": %.9g, \"neuron_11_100\": %.9g, \"heads_sum\": %.9g, "
             "\"neurons_sum\": %.9g",
             b->value, (double)b->values[heads + NEURON_LAYER * b->info->d_mlp + NEURON],
             sum_of(b->values, heads), sum_of(b->values + heads, neurons));
}

static void run_ablation(bench *b)
{
    otimes_err err = {0};
    otimes_ablate_settings settings;
    otimes_ablate_settings_default(&settings);
    settings.sequences = b->texts;
    settings.forward.weights = open_forward(b);
    b->value_count = b->info->n_layers * b->info->n_heads;
    b->values = room(b->value_count, sizeof *b->values);
    begin_peak(b);
    for (int64_t r = 0; r < b->repeats; r++) {
        picking p = {.b = b, .heads = -1, .neurons = -1, .changes = -1};
        otimes_sink sink = {&picking_ops, &p};
        const double start = now();
        must(otimes_ablate(b->model, &settings, &sink, &err), &err);
        b->seconds[r] = now() - start;
    }
    end_peak(b);
    otimes_forward_close(&settings.forward.weights);
    b->value = (double)b->values[HEAD_LAYER * b->info->n_heads + HEAD];
    snprintf(b->checks, sizeof b->checks, "\"change_9_6\": %.9g, \"changes_sum\": %.9g", b->value,
             sum_of(b->values, b->value_count));
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(bench *b, const char *what)
{
    printf("{\"what\": \"%s\", \"all_seconds\": [", what);
    for (int64_t r = 0; r < b->repeats; r++) {
        printf("%s%.6f", r ? ", " : "", b->seconds[r]);
    }
    qsort(b->seconds, (size_t)b->repeats, sizeof *b->seconds, by_value);
    printf("], \"seconds\": %.6f, \"peak_extra_bytes\": %lld, \"value\": %.9g, \"checks\": {%s}}\n",
           b->seconds[b->repeats / 2], (long long)b->peak, b->value, b->checks);
}

int main(int argc, char **argv)
{
    otimes_err err = {0};
    otimes_model *model;
    otimes_model_settings settings;
    bench b = {0};
    if (argc != 7) {
        fputs("usage: bench_forward CHECKPOINT TOKENS WHAT THREADS REPEATS SAVE\n", stderr);
        return 2;
    }
    otimes_model_settings_default(&settings);
    int64_t threads;
    must(otimes_parse_i64(argv[4], "THREADS", 1, 4096, &threads, &err), &err);
    must(otimes_parse_i64(argv[5], "REPEATS", 1, MOST_REPEATS, &b.repeats, &err), &err);
    settings.threads = (int)threads;
    otimes_set_blas_threads(1);
    must(otimes_model_open(&model, argv[1], &settings, &err), &err);
    b.model = model;
    b.info = otimes_model_describe(model);
    read_texts(&b, argv[2]);
    if (!strcmp(argv[3], "attribution")) {
        run_attribution(&b);
    } else if (!strcmp(argv[3], "ablation")) {
        run_ablation(&b);
    } else {
        run_forward(&b, !strcmp(argv[3], "activations"));
    }
    report(&b, argv[3]);
    FILE *save = fopen(argv[6], "wb");
    if (!save ||
        fwrite(b.values, sizeof *b.values, (size_t)b.value_count, save) != (size_t)b.value_count ||
        fclose(save)) {
        perror(argv[6]);
        return 1;
    }
    otimes_model_close(&model);
    return 0;
}
