/* SPDX-License-Identifier: MIT
 *
 * Operators as sums of terms: made, added, composed, transposed, written as formulas. No number
 * behind a factor is read here.
 */
#include "run/operator.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* ---- terms ---- */

int otimes_operator_new(otimes_operator **op, int64_t n_out, int64_t n_in, int64_t d_out,
                        int64_t d_in, otimes_err *err)
{
    *op = NULL;
    if (n_out < 1 || n_in < 1 || d_out < 1 || d_in < 1) {
        return otimes_fail(
            err, OTIMES_ERR_ARGUMENT,
            "operator: from [%lld, %lld] to [%lld, %lld]: expected at least 1 of each",
            (long long)n_in, (long long)d_in, (long long)n_out, (long long)d_out);
    }
    const int rc = OTIMES_NEW(op, 1, err);
    if (rc == OTIMES_OK) {
        **op = (otimes_operator){.n_out = n_out, .n_in = n_in, .d_out = d_out, .d_in = d_in};
    }
    return rc;
}

/* Drops all terms but the first `count`. */
static void cut(otimes_operator *op, int64_t count)
{
    while (op->count > count) {
        otimes_free(op->term[--op->count].over);
    }
}

void otimes_operator_free(otimes_operator **op)
{
    if (op && *op) {
        cut(*op, 0);
        otimes_free((*op)->term);
        otimes_free(*op);
        *op = NULL;
    }
}

/* One more term, whose factors the caller fills in: over_count and then through_count. */
static int grow(otimes_operator *op, double scale, int64_t over_count, int64_t through_count,
                otimes_factor **factors, otimes_err *err)
{
    otimes_term term = {.scale = scale, .over_count = over_count, .through_count = through_count};
    int rc = OTIMES_GROW(&op->term, op->count, &op->capacity, err);
    if (rc == OTIMES_OK) {
        rc = OTIMES_NEW(&term.over, over_count + through_count, err);
    }
    if (rc == OTIMES_OK) {
        op->term[op->count++] = term;
        *factors = term.over;
    }
    return rc;
}

/* Copies factors and returns where the next ones go. */
static otimes_factor *put(otimes_factor *to, const otimes_factor *from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] = from[i];
    }
    return to + count;
}

static bool is_made(const otimes_factor *f)
{
    return f->kind > OTIMES_FACTOR_NONE && f->kind <= OTIMES_FACTOR_SELECTION && f->rows > 0 &&
           f->columns > 0 && (f->kind != OTIMES_FACTOR_PAIR || f->rank > 0);
}

/* Factors must lead from `in` to `out`: what is left of each has as many columns as it has rows. */
static int check(const char *side, int64_t out, int64_t in, const otimes_factor *factor,
                 int64_t count, otimes_err *err)
{
    int64_t expected = out;
    if (count < 0 || (count > 0 && !factor)) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "operator: %s: expected an array of 0 or more factors, got %lld%s", side,
                           (long long)count, factor ? "" : " at NULL");
    }
    for (int64_t i = 0; i < count; i++) {
        const otimes_factor *f = &factor[i], *before = i > 0 ? &factor[i - 1] : NULL;
        if (!is_made(f)) {
            return otimes_fail(
                err, OTIMES_ERR_ARGUMENT,
                "operator: \"%s\" is no matrix: expected weights that are loaded, an "
                "index in range and sizes above 0, got [%lld, %lld]",
                f->name, (long long)f->rows, (long long)f->columns);
        }
        if (f->rows != expected && before) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "operator: %s [%lld, %lld] · %s [%lld, %lld]: expected %lld rows of "
                               "the second, got %lld",
                               before->name, (long long)before->rows, (long long)before->columns,
                               f->name, (long long)f->rows, (long long)f->columns,
                               (long long)expected, (long long)f->rows);
        }
        if (f->rows != expected) {
            return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                               "operator: %s [%lld, %lld] gives %lld %s, expected %lld", f->name,
                               (long long)f->rows, (long long)f->columns, (long long)f->rows, side,
                               (long long)expected);
        }
        expected = f->columns;
    }
    if (expected != in) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT, "operator: %s takes %lld %s, expected %lld",
                           count > 0 ? factor[count - 1].name : "Id", (long long)expected, side,
                           (long long)in);
    }
    return OTIMES_OK;
}

int otimes_operator_add_term(otimes_operator *op, double scale, const otimes_factor *over,
                             int64_t over_count, const otimes_factor *through,
                             int64_t through_count, otimes_err *err)
{
    otimes_factor *factors = NULL;
    int rc = check("positions", op->n_out, op->n_in, over, over_count, err);
    if (rc == OTIMES_OK) {
        rc = check("features", op->d_out, op->d_in, through, through_count, err);
    }
    if (rc == OTIMES_OK) {
        rc = grow(op, scale, over_count, through_count, &factors, err);
    }
    if (rc == OTIMES_OK) {
        put(put(factors, over, over_count), through, through_count);
    }
    return rc;
}

int64_t otimes_operator_terms(const otimes_operator *op)
{
    return op->count;
}

/* ---- the algebra ---- */

void otimes_operator_scale(otimes_operator *op, double scale)
{
    for (int64_t i = 0; i < op->count; i++) {
        op->term[i].scale *= scale;
    }
}

int otimes_operator_add(otimes_operator *op, double scale, const otimes_operator *other,
                        otimes_err *err)
{
    const int64_t own = op->count, count = other->count;
    if (op->n_out != other->n_out || op->n_in != other->n_in || op->d_out != other->d_out ||
        op->d_in != other->d_in) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "operator: a sum: expected from [%lld, %lld] to [%lld, %lld], got from "
                           "[%lld, %lld] to [%lld, %lld]",
                           (long long)op->n_in, (long long)op->d_in, (long long)op->n_out,
                           (long long)op->d_out, (long long)other->n_in, (long long)other->d_in,
                           (long long)other->n_out, (long long)other->d_out);
    }
    for (int64_t i = 0; i < count; i++) {
        const otimes_term t = other->term[i]; /* of op itself, these move as it grows */
        otimes_factor *factors;
        const int rc = grow(op, scale * t.scale, t.over_count, t.through_count, &factors, err);
        if (rc != OTIMES_OK) {
            cut(op, own);
            return rc;
        }
        put(factors, t.over, t.over_count + t.through_count);
    }
    return OTIMES_OK;
}

int otimes_operator_compose(otimes_operator **product, const otimes_operator *left,
                            const otimes_operator *right, otimes_err *err)
{
    *product = NULL;
    if (left->n_in != right->n_out || left->d_in != right->d_out) {
        return otimes_fail(err, OTIMES_ERR_ARGUMENT,
                           "operator: a product: the left takes [%lld, %lld], the right gives "
                           "[%lld, %lld]",
                           (long long)left->n_in, (long long)left->d_in, (long long)right->n_out,
                           (long long)right->d_out);
    }
    int rc = otimes_operator_new(product, left->n_out, right->n_in, left->d_out, right->d_in, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < left->count; i++) {
        for (int64_t j = 0; rc == OTIMES_OK && j < right->count; j++) {
            const otimes_term *a = &left->term[i], *b = &right->term[j];
            otimes_factor *to;
            rc = grow(*product, a->scale * b->scale, a->over_count + b->over_count,
                      a->through_count + b->through_count, &to, err);
            if (rc == OTIMES_OK) {
                to = put(to, a->over, a->over_count);
                to = put(to, b->over, b->over_count);
                to = put(to, otimes_term_through(a), a->through_count);
                put(to, otimes_term_through(b), b->through_count);
            }
        }
    }
    if (rc != OTIMES_OK) {
        otimes_operator_free(product);
    }
    return rc;
}

static otimes_factor *put_transposed(otimes_factor *to, const otimes_factor *from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        to[i] = otimes_factor_transpose(from[count - 1 - i]);
    }
    return to + count;
}

int otimes_operator_transpose(otimes_operator **transpose, const otimes_operator *op,
                              otimes_err *err)
{
    int rc = otimes_operator_new(transpose, op->n_in, op->n_out, op->d_in, op->d_out, err);
    for (int64_t i = 0; rc == OTIMES_OK && i < op->count; i++) {
        const otimes_term *t = &op->term[i];
        otimes_factor *to;
        rc = grow(*transpose, t->scale, t->over_count, t->through_count, &to, err);
        if (rc == OTIMES_OK) {
            to = put_transposed(to, t->over, t->over_count);
            put_transposed(to, otimes_term_through(t), t->through_count);
        }
    }
    if (rc != OTIMES_OK) {
        otimes_operator_free(transpose);
    }
    return rc;
}

/* ---- the formula ---- */

typedef struct writer {
    char *text;
    size_t size;
    int64_t length;
    bool full;
} writer;

/* A piece is written whole or, with all behind it, not at all. */
static void write_piece(writer *w, const char *piece)
{
    const size_t length = strlen(piece);
    w->full = w->full || w->length + (int64_t)length >= (int64_t)w->size;
    if (!w->full) {
        memcpy(w->text + w->length, piece, length + 1);
    }
    w->length += (int64_t)length;
}

static void write_product(writer *w, const otimes_factor *factor, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        write_piece(w, i > 0 ? "·" : "");
        write_piece(w, factor[i].name);
        write_piece(w, factor[i].transposed ? "^T" : "");
    }
    write_piece(w, count > 0 ? "" : "Id");
}

int64_t otimes_operator_print(const otimes_operator *op, char *text, size_t size)
{
    writer w = {.text = text, .size = size};
    if (size > 0) {
        text[0] = '\0';
    }
    for (int64_t i = 0; i < op->count; i++) {
        const otimes_term *t = &op->term[i];
        const bool negative = signbit(t->scale);
        const double scale = i > 0 ? fabs(t->scale) : t->scale;
        char number[32];
        snprintf(number, sizeof number, "%g ", scale);
        write_piece(&w, i == 0 ? "" : negative ? " - " : " + ");
        write_piece(&w, scale == 1 ? "" : scale == -1 ? "-" : number);
        write_product(&w, t->over, t->over_count);
        write_piece(&w, " ⊗ ");
        write_product(&w, otimes_term_through(t), t->through_count);
    }
    write_piece(&w, op->count > 0 ? "" : "0");
    return w.length;
}
