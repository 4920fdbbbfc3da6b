/* SPDX-License-Identifier: MIT
 *
 * The strongest triples of one head. With the source fixed, strength is a product of one function
 * of the destination and one of the output, so two sorted lists a source hold all that can be among
 * the strongest; sources whose bounds (trigrams_bound.c) fall short of the weakest kept are never
 * multiplied. Sources go by falling bound, in waves whose sizes do not depend
 * on the number of threads; what a wave is held against is what was kept before it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/trigrams_job.h"
#include "base/par.h"
#include "base/sink.h"
#include "num/la.h"
#include "num/topk.h"
#include "run/rope.h"

enum { TILE_SOURCES = 64, FIRST_TILES = 4, WAVE_TILES = 32, BLOCK = 1024 };

/* Products round; so much they may exceed the bound. */
#define SLACK 1.0001

typedef struct candidate {
    double bound;
    int64_t source; /* place among the chosen */
} candidate;

/* What one thread works with. */
typedef struct scratch {
    float *rows, *product;      /* [TILE_SOURCES, d_head], [TILE_SOURCES, BLOCK] */
    float *score, *effect;      /* [TILE_SOURCES, top] */
    int32_t *destination, *out; /* the same */
    double *turned;             /* [TILE_SOURCES, d_head] */
    trigram_list own;           /* of one source, with per_source */
    otimes_topk scores[TILE_SOURCES], effects[TILE_SOURCES];
} scratch;

typedef struct search {
    trigrams_job *job;
    double delta;
    candidate *order;                    /* [sources] by falling bound */
    double *effect_bound;                /* [sources] */
    int64_t wave_first, wave_tiles, end; /* candidates of the wave at hand */
    double threshold;                    /* strength of the weakest kept; 0: there is room */
    int64_t destinations_kept, outs_kept;
    scratch *scratch; /* [workers] */
    trigram_list tile[WAVE_TILES];
    int64_t scores_done[WAVE_TILES], effects_done[WAVE_TILES]; /* rows multiplied */
    otimes_pool pool;
} search;

static double strength(const trigram *t)
{
    return (double)t->score * (double)t->effect;
}

bool otimes_trigram_before(const trigram *a, const trigram *b)
{
    const double x = strength(a), y = strength(b);
    if (x != y) {
        return x > y;
    }
    if (a->source != b->source) {
        return a->source < b->source;
    }
    return a->destination != b->destination ? a->destination < b->destination : a->out < b->out;
}

static void sift_down(const trigram_list *list, int64_t at)
{
    for (;;) {
        int64_t last = at;
        for (int64_t child = 2 * at + 1; child <= 2 * at + 2 && child < list->count; child++) {
            last = otimes_trigram_before(&list->item[last], &list->item[child]) ? child : last;
        }
        if (last == at) {
            return;
        }
        const trigram swapped = list->item[at];
        list->item[at] = list->item[last];
        list->item[last] = swapped;
        at = last;
    }
}

static void insert(trigram_list *list, const trigram *t)
{
    if (list->count == list->capacity) {
        if (list->count > 0 && otimes_trigram_before(t, &list->item[0])) {
            list->item[0] = *t;
            sift_down(list, 0);
        }
        return;
    }
    int64_t at = list->count++;
    while (at > 0 && otimes_trigram_before(&list->item[(at - 1) / 2], t)) {
        list->item[at] = list->item[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    list->item[at] = *t;
}

static void merge(trigram_list *into, const trigram_list *from)
{
    for (int64_t i = 0; i < from->count; i++) {
        insert(into, &from->item[i]);
    }
}

static int by_place(const void *a, const void *b)
{
    return otimes_trigram_before(a, b) ? -1 : otimes_trigram_before(b, a);
}

static int by_bound(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->bound != y->bound) {
        return x->bound > y->bound ? -1 : 1;
    }
    return x->source < y->source ? -1 : x->source > y->source;
}

static int bound_sources(search *s, otimes_err *err)
{
    const trigrams_job *job = s->job;
    const trigram_rows *r = &job->rows;
    const int64_t e = job->info->d_head;
    const trigrams_turn turned = {r->rope, r->frequency, s->delta};
    const int threads = job->model->threads;
    double *scores;
    int rc = OTIMES_NEW(&scores, job->sources, err);
    if (rc == OTIMES_OK) {
        rc = otimes_trigrams_bound(r->keys, job->sources, r->queries, job->destinations, e,
                                   r->rope ? &turned : NULL, threads, scores, err);
    }
    if (rc == OTIMES_OK) {
        rc = otimes_trigrams_bound(r->values, job->sources, r->outs, job->outs, e, NULL, threads,
                                   s->effect_bound, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < job->sources; i++) {
        s->effect_bound[i] *= SLACK;
        s->order[i] = (candidate){scores[i] * SLACK * s->effect_bound[i], i};
    }
    if (rc == OTIMES_OK) {
        qsort(s->order, (size_t)job->sources, sizeof *s->order, by_bound);
    }
    otimes_free(scores);
    return rc;
}

static int new_list(search *s, int64_t capacity, trigram_list *list, int *rc, otimes_err *err)
{
    list->capacity = capacity;
    list->item = otimes_pool_new(&s->pool, capacity, sizeof *list->item, rc, err);
    return *rc;
}

static int new_scratch(search *s, scratch *c, otimes_err *err)
{
    const int64_t e = s->job->info->d_head;
    const int64_t n = TILE_SOURCES * s->destinations_kept, m = TILE_SOURCES * s->outs_kept;
    int rc = OTIMES_OK;
    c->rows = otimes_pool_new(&s->pool, TILE_SOURCES * e, sizeof(float), &rc, err);
    c->product = otimes_pool_new(&s->pool, TILE_SOURCES * BLOCK, sizeof(float), &rc, err);
    c->turned = otimes_pool_new(&s->pool, TILE_SOURCES * e, sizeof(double), &rc, err);
    c->score = otimes_pool_new(&s->pool, n, sizeof(float), &rc, err);
    c->destination = otimes_pool_new(&s->pool, n, sizeof(int32_t), &rc, err);
    c->effect = otimes_pool_new(&s->pool, m, sizeof(float), &rc, err);
    c->out = otimes_pool_new(&s->pool, m, sizeof(int32_t), &rc, err);
    const int64_t limit = s->job->settings->per_source, top = s->job->top;
    return new_list(s, limit < top ? limit : top, &c->own, &rc, err);
}

static int begin(search *s, otimes_err *err)
{
    trigrams_job *job = s->job;
    const int workers = otimes_par_workers(WAVE_TILES, job->model->threads);
    int rc = OTIMES_OK;
    s->destinations_kept = job->top < job->destinations ? job->top : job->destinations;
    s->outs_kept = job->top < job->outs ? job->top : job->outs;
    s->order = otimes_pool_new(&s->pool, job->sources, sizeof *s->order, &rc, err);
    s->effect_bound = otimes_pool_new(&s->pool, job->sources, sizeof(double), &rc, err);
    s->scratch = otimes_pool_new(&s->pool, workers, sizeof *s->scratch, &rc, err);
    for (int i = 0; rc == OTIMES_OK && i < workers; i++) {
        rc = new_scratch(s, &s->scratch[i], err);
    }
    for (int i = 0; i < WAVE_TILES; i++) {
        new_list(s, job->top, &s->tile[i], &rc, err);
    }
    return rc == OTIMES_OK ? bound_sources(s, err) : rc;
}

/* The largest entries of each row of c->rows times columns^T. */
static void scan(const search *s, const scratch *c, int64_t rows, const float *columns,
                 int64_t count, otimes_topk *top)
{
    const int64_t e = s->job->info->d_head;
    for (int64_t first = 0; first < count; first += BLOCK) {
        const int64_t width = count - first < BLOCK ? count - first : BLOCK;
        otimes_la_default->sgemm(false, true, rows, width, e, 1, c->rows, e, columns + first * e, e,
                                 0, c->product, BLOCK);
        for (int64_t i = 0; i < rows; i++) {
            otimes_topk_scan(&top[i], c->product + i * BLOCK, width, (int32_t)first);
        }
    }
    for (int64_t i = 0; i < rows; i++) {
        otimes_topk_finish(&top[i]);
    }
}

/* Keys of the candidates, turned by the offset. */
static void gather_keys(const search *s, scratch *c, const candidate *of, int64_t rows)
{
    const trigram_rows *r = &s->job->rows;
    const int64_t e = s->job->info->d_head;
    for (int64_t i = 0; i < rows; i++) {
        memcpy(c->rows + i * e, r->keys + of[i].source * e, (size_t)e * sizeof *c->rows);
    }
    if (!r->rope) {
        return;
    }
    for (int64_t i = 0; i < rows * e; i++) {
        c->turned[i] = (double)c->rows[i];
    }
    otimes_rope_rotate_key(r->rope, r->frequency, s->delta, rows, e, c->turned);
    for (int64_t i = 0; i < rows * e; i++) {
        c->rows[i] = (float)c->turned[i];
    }
}

/* All triples of a source that can be in a list of `top`: those that fewer stand before. */
static void combine(const search *s, scratch *c, const otimes_topk *scores,
                    const otimes_topk *effects, int64_t source, trigram_list *list)
{
    const int64_t top = s->job->top, limit = s->job->settings->per_source;
    trigram_list *into = limit > 0 ? &c->own : list;
    c->own.count = 0;
    for (int64_t i = 0; i < scores->count && scores->value[i] > 0; i++) {
        for (int64_t j = 0; j < effects->count && effects->value[j] > 0 && (i + 1) * (j + 1) <= top;
             j++) {
            const trigram t = {(int32_t)source, scores->index[i], effects->index[j],
                               scores->value[i], effects->value[j]};
            insert(into, &t);
        }
    }
    if (limit > 0) {
        merge(list, &c->own);
    }
}

static int search_tile(void *context, int64_t item, int worker, otimes_err *err)
{
    search *s = context;
    const trigrams_job *job = s->job;
    scratch *c = &s->scratch[worker];
    const int64_t first = s->wave_first + item * TILE_SOURCES, e = job->info->d_head;
    const int64_t rows = s->end - first < TILE_SOURCES ? s->end - first : TILE_SOURCES;
    const candidate *of = s->order + first;
    int64_t kept[TILE_SOURCES], left = 0;
    (void)err;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t n = s->destinations_kept, m = s->outs_kept;
        c->scores[i] = (otimes_topk){n, 0, 1, c->score + i * n, c->destination + i * n};
        c->effects[i] = (otimes_topk){m, 0, 1, c->effect + i * m, c->out + i * m};
    }
    gather_keys(s, c, of, rows);
    scan(s, c, rows, job->rows.queries, job->destinations, c->scores);
    for (int64_t i = 0; i < rows; i++) { /* the score is known now: a sharper bound */
        const double score = c->scores[i].count > 0 ? (double)c->scores[i].value[0] : 0;
        const double bound = score * s->effect_bound[of[i].source];
        if (score > 0 && bound >= s->threshold) {
            memcpy(c->rows + left * e, job->rows.values + of[i].source * e,
                   (size_t)e * sizeof *c->rows);
            kept[left++] = i;
        }
    }
    scan(s, c, left, job->rows.outs, job->outs, c->effects);
    for (int64_t i = 0; i < left; i++) {
        combine(s, c, &c->scores[kept[i]], &c->effects[i], of[kept[i]].source, &s->tile[item]);
    }
    s->scores_done[item] = rows;
    s->effects_done[item] = left;
    return OTIMES_OK;
}

/* One wave; false in *more when no candidate is left that could matter. */
static int search_wave(search *s, bool *more, otimes_err *err)
{
    trigrams_job *job = s->job;
    const int64_t most = s->wave_first + s->wave_tiles * TILE_SOURCES;
    const trigram_list *best = &job->best;
    s->threshold = best->count == best->capacity ? strength(&best->item[0]) : 0;
    for (s->end = s->wave_first; s->end < job->sources && s->end < most; s->end++) {
        if (s->order[s->end].bound < s->threshold) {
            break;
        }
    }
    const int64_t rows = s->end - s->wave_first, tiles = (rows + TILE_SOURCES - 1) / TILE_SOURCES;
    for (int64_t t = 0; t < tiles; t++) {
        s->tile[t].count = 0;
    }
    const double operations =
        (double)rows * (double)(job->destinations + job->outs) * (double)job->info->d_head / 8;
    const int rc = otimes_par_for(tiles, otimes_par_worth(job->model->threads, operations),
                                  search_tile, s, err);
    for (int64_t t = 0; rc == OTIMES_OK && t < tiles; t++) {
        merge(&job->best, &s->tile[t]);
        job->skipped -= (double)s->scores_done[t] * (double)job->destinations;
        job->skipped -= (double)s->effects_done[t] * (double)job->outs;
    }
    *more = s->end == most && s->end < job->sources;
    s->wave_first = s->end;
    s->wave_tiles = s->wave_tiles < WAVE_TILES ? 2 * s->wave_tiles : WAVE_TILES;
    return rc;
}

int otimes_trigrams_search(trigrams_job *job, int64_t offset, const trigrams_ticker *ticker,
                           otimes_err *err)
{
    const double all = (double)job->sources * ((double)job->destinations + (double)job->outs);
    search s = {.job = job, .delta = (double)offset, .wave_tiles = FIRST_TILES};
    bool more = true;
    job->best.count = 0;
    job->skipped = all;
    int rc = begin(&s, err);
    while (rc == OTIMES_OK && more) {
        rc = search_wave(&s, &more, err);
        if (rc == OTIMES_OK) {
            const double share = (double)s.end / (double)job->sources;
            rc = otimes_sink_progress(ticker->sink, ticker->done + share, ticker->total, err);
        }
    }
    if (rc == OTIMES_OK) {
        qsort(job->best.item, (size_t)job->best.count, sizeof *job->best.item, by_place);
        job->skipped /= all;
    }
    otimes_pool_free(&s.pool);
    return rc;
}
