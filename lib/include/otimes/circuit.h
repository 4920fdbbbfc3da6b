/* SPDX-License-Identifier: MIT
 *
 * circuit: the full circuits of heads, tables of vocabulary by vocabulary (A Mathematical Framework
 * for Transformer Circuits, 2021), of which every entry is seen and none is kept that was not asked for.
 */
#ifndef OTIMES_CIRCUIT_H
#define OTIMES_CIRCUIT_H

#include <otimes/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct otimes_circuit_head {
    int64_t layer, head; /* a query head */
} otimes_circuit_head;

typedef enum otimes_circuit_which {
    OTIMES_CIRCUIT_OV, /* the default */
    OTIMES_CIRCUIT_QK,
    OTIMES_CIRCUIT_K_COMPOSED /* QK whose keys an earlier head has written */
} otimes_circuit_which;

/* Whose extremes are listed; a set of bits. */
enum { OTIMES_CIRCUIT_ROWS = 1, OTIMES_CIRCUIT_COLUMNS = 2 };

typedef enum otimes_circuit_full {
    OTIMES_CIRCUIT_FULL_NONE, /* the default: no table, only what is found in it */
    OTIMES_CIRCUIT_FULL_F32,
    OTIMES_CIRCUIT_FULL_F16
} otimes_circuit_full;

#define OTIMES_CIRCUIT_BINS_MAX (1 << 20)

/* How extremes are found; what is found is the same. */
typedef enum otimes_circuit_way {
    OTIMES_CIRCUIT_FASTEST, /* the default */
    OTIMES_CIRCUIT_BLOCKS,  /* every entry is computed */
    OTIMES_CIRCUIT_SCREEN   /* what cannot be among them is not; no statistics, histogram, table */
} otimes_circuit_way;

typedef struct otimes_circuit_settings {
    const otimes_circuit_head *heads; /* in the order they are written; NULL (the default): all;
                                         K-composed: all of layers after the earlier head's */
    int64_t head_count;
    otimes_circuit_which which;
    otimes_circuit_head earlier; /* of OTIMES_CIRCUIT_K_COMPOSED */
    int64_t offset;              /* rotary models, QK: query position - key position; default 0 */
    int64_t top, bottom; /* entries kept at either end of a row (and column); 0: none; default 10 */
    int sides;           /* default OTIMES_CIRCUIT_ROWS */
    double threshold; /* positive: list all entries of at least it; negative: of at most it; 0 (the
                         default): none */
    int64_t largest;  /* list so many of the largest and of the smallest entries; default 0 */
    int statistics;   /* 1: of every row; default 0 */
    int64_t bins;     /* of a histogram of all entries from `low` to `high`; default 0: none */
    double low, high;
    otimes_circuit_full full; /* also write the table itself */
    otimes_circuit_way way;
    const int64_t *rows; /* tokens that the rows are restricted to, ascending; NULL (the
                                 default): all */
    int64_t row_count;
    const int64_t *columns; /* the same of columns */
    int64_t column_count;
    uint8_t reserved[64]; /* zero */
} otimes_circuit_settings;

OTIMES_API void otimes_circuit_settings_default(otimes_circuit_settings *settings);

/* For each head one table T over the vocabulary,
 *   OV          T = W_E W_V W_O W_U; row = source token, column = output token
 *   QK          T = W_E W_Q R(offset) W_K^T W_E^T / attn_scale, R the layer's rotation (identity
 *               where it has none); row = destination token, column = source token
 *   K-composed  T = W_E W_Q R(offset) (W_V' W_O' W_K)^T W_E^T / attn_scale with V', O' of the
 *               earlier head; row = destination token, column = the token the earlier head moved
 * as processed, without biases, norms of queries and keys and soft caps; where a norm stands between
 * W_O and the stream W_O is what that makes of it up to a positive factor at each position.
 * T = X Y^T, X and Y [tokens, d_head] in float32, projected in double from factors that the SVD of
 * the head balances; what is listed is the float32 next to the sum of X Y in double, whatever the
 * number of threads; statistics, histogram and table are of products in float32.
 *   head_layer, head_index [head]
 *   top_value, top_id, bottom_value, bottom_id [head, token, rank]: columns of the `top` largest and
 *     the `bottom` smallest entries of each row, the extreme first, ties by lower id; the axis of
 *     bottom_* is bottom_rank where there are not as many
 *   column_top_value, column_top_id, ... [head, column, rank]: rows of those of each column
 *   row_mean, row_std, row_logsumexp, row_max, row_min, diagonal_value, diagonal_rank [head, token]:
 *     with `statistics`; the diagonal is T[t, t], its rank how many entries of the row are larger;
 *     NaN and -1 where the other vocabulary is another or t is not among the columns
 *   histogram [head, bin], histogram_edge [edge], histogram_below, histogram_above [head]: counts;
 *     the last bin includes `high`
 *   entry_head, entry_row, entry_column, entry_value [entry]: beyond `threshold`, by place of the
 *     head, row, column
 *   largest_value, largest_row, largest_column [head, place], smallest_...: of the whole (restricted)
 *     table, by otimes' exact search; in double throughout, so that a value may differ from the one
 *     listed for its row in the last place
 *   row_id [row_token], column_id [column_token]: where they are restricted
 *   table [head, token, column]: with `full`
 * Axes: `token` (restricted: row_token), `output_token` of OV or `source_token` (restricted:
 * column_token). A sink that says what it has is not given it again: with a threshold or a histogram
 * the tables are gone through once more all the same.
 * Cost: a table 2 d_vocab^2 d_head flops or fewer; sides 4 d_vocab d_model d_head, in one pass over
 * W_E and W_U for as many heads as fit 256 MB. Without statistics, histogram and table only the
 * extremes are looked for, which is faster.
 * Errors: OTIMES_ERR_ARGUMENT (settings), OTIMES_ERR_UNSUPPORTED (an offset without rotary
 * positions), OTIMES_ERR_MEMORY (also for more than 2^31 - 1 entries beyond the threshold),
 * OTIMES_ERR_CONVERGENCE, OTIMES_ERR_VALUE (a side of the table leaves float32), those of reading weights,
 * the sink's. */
OTIMES_API OTIMES_MUST_CHECK int otimes_circuit(const otimes_model *model,
                                                const otimes_circuit_settings *settings,
                                                otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
