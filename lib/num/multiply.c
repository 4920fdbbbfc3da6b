/* SPDX-License-Identifier: MIT */
#include "num/multiply.h"

#include "base/mem.h"
#include "base/par.h"
#include "num/la.h"

/* Tiles of C are squares, smaller where that gives each thread one; what is packed is at most DEPTH
 * long, so that both operands of a tile stay in a cache of a megabyte. */
enum { LARGEST = 512, SMALLEST = 128, ENOUGH = 16, DEPTH = 256 };

typedef struct multiply {
    const otimes_view *a, *b;
    double alpha;
    bool add, wide;
    void *c;
    int64_t side, across; /* of tiles; tiles in a row of them */
    int64_t step;         /* of the inner dimension */
    unsigned char *packed;
    int64_t packed_bytes; /* of one worker */
} multiply;

/* What a BLAS takes. */
typedef struct operand {
    bool transposed;
    int64_t ld;
    const void *data;
} operand;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static size_t width(bool wide)
{
    return wide ? sizeof(double) : sizeof(float);
}

static bool has_rows(const otimes_view *v)
{
    return v->column_stride == 1 && v->row_stride >= v->columns;
}

static bool has_columns(const otimes_view *v)
{
    return v->row_stride == 1 && v->column_stride >= v->rows;
}

static bool readable(const otimes_view *v, bool wide)
{
    return (wide ? v->wide != NULL : v->narrow != NULL) && (has_rows(v) || has_columns(v));
}

static void pack(const otimes_view *v, int64_t i, int64_t j, int64_t rows, int64_t columns,
                 bool wide, void *to)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++) {
            const double value = otimes_view_at(v, i + r, j + c);
            if (wide) {
                ((double *)to)[r * columns + c] = value;
            } else {
                ((float *)to)[r * columns + c] = (float)value;
            }
        }
    }
}

/* Rows i .. i+rows-1 and columns j .. j+columns-1 of v, in place or packed. */
static operand block(const otimes_view *v, int64_t i, int64_t j, int64_t rows, int64_t columns,
                     bool wide, void *packed)
{
    if (!readable(v, wide)) {
        pack(v, i, j, rows, columns, wide, packed);
        return (operand){false, columns, packed};
    }
    const int64_t at = i * v->row_stride + j * v->column_stride;
    return (operand){!has_rows(v), has_rows(v) ? v->row_stride : v->column_stride,
                     wide ? (const void *)(v->wide + at) : (const void *)(v->narrow + at)};
}

static int run_tile(void *context, int64_t item, int worker, otimes_err *err)
{
    const multiply *p = context;
    const int64_t i = item / p->across * p->side, j = item % p->across * p->side;
    const int64_t m = least(p->side, p->a->rows - i), n = least(p->side, p->b->columns - j);
    const int64_t depth = p->a->columns, ldc = p->b->columns, at = i * ldc + j;
    unsigned char *room = p->packed + worker * p->packed_bytes;
    (void)err;
    for (int64_t l = 0; l < depth; l += p->step) {
        const int64_t k = least(p->step, depth - l);
        const operand a = block(p->a, i, l, m, k, p->wide, room);
        const operand b = block(p->b, l, j, k, n, p->wide, room + p->packed_bytes / 2);
        const bool add = p->add || l > 0;
        if (p->wide) {
            otimes_la_default->dgemm(a.transposed, b.transposed, m, n, k, p->alpha, a.data, a.ld,
                                     b.data, b.ld, add, (double *)p->c + at, ldc);
        } else {
            otimes_la_default->sgemm(a.transposed, b.transposed, m, n, k, (float)p->alpha, a.data,
                                     a.ld, b.data, b.ld, add, (float *)p->c + at, ldc);
        }
    }
    return OTIMES_OK;
}

int otimes_multiply(int threads, const otimes_view *a, const otimes_view *b, double alpha, bool add,
                    bool wide, void *c, otimes_err *err)
{
    multiply p = {
        .a = a, .b = b, .alpha = alpha, .add = add, .wide = wide, .c = c, .side = LARGEST};
    const int64_t m = a->rows, n = b->columns, k = a->columns;
    while (p.side > SMALLEST &&
           ((m + p.side - 1) / p.side) * ((n + p.side - 1) / p.side) < ENOUGH) {
        p.side /= 2;
    }
    p.across = (n + p.side - 1) / p.side;
    const int64_t tiles = (m + p.side - 1) / p.side * p.across;
    const bool packs = !readable(a, wide) || !readable(b, wide);
    const double operations = 0.03 * (double)m * (double)n * (double)k;
    threads = otimes_par_worth(threads, operations);
    p.step = packs ? DEPTH : k;
    if (packs) {
        const int64_t tile = least(p.side, m > n ? m : n) * least(DEPTH, k);
        p.packed_bytes = 2 * tile * (int64_t)width(wide);
    }
    int rc = OTIMES_NEW(&p.packed, otimes_par_workers(tiles, threads) * p.packed_bytes, err);
    if (rc == OTIMES_OK) {
        rc = otimes_par_for(tiles, threads, run_tile, &p, err);
    }
    otimes_free(p.packed);
    return rc;
}
