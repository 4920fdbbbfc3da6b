/* SPDX-License-Identifier: MIT
 *
 * diff: two results compared array by array, axes by name and entries by label.
 */
#ifndef OTIMES_DIFF_H
#define OTIMES_DIFF_H

#include <otimes/reader.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct otimes_diff_settings {
    double rtol, atol; /* a and b are equal where |a - b| <= atol + rtol |b|; default 0: the same */
    int common;        /* 1: what only one result has is no difference; default 0 */
    int any_processing; /* 1: compare results of different processing and settings; default 0 */
    int64_t block;      /* entries of an array that are in memory at once; 0 (the default): 2^21 */
    uint8_t reserved[64]; /* zero */
} otimes_diff_settings;

OTIMES_API void otimes_diff_settings_default(otimes_diff_settings *settings);

/* Compares result a with result b. Arrays correspond by name, their axes by name in whatever order,
 * entries by label: the k-th of equal labels with the k-th. Numbers are compared by value whatever
 * their width, NaN equals NaN; integers and texts exactly; indices (labels_of) by the labels that
 * they point at where both results have that axis.
 * Refused unless any_processing: another schema or schema_version, weights processed otherwise,
 * another setting of the analysis, a result that has no schema. Facts of the model and of where a
 * result came from never refuse; where they differ they are listed.
 * Writes
 *   status [array]: equal, differs, only in A, only in B, axes differ (other names or kinds of
 *     labels), types differ (numbers and texts, integers and reals)
 *   compared, differing, undefined_in_one, only_a, only_b [array]: numbers of entries; only_a counts
 *     those of A whose labels B lacks
 *   max_abs [array]: largest |a - b|; max_rel [array]: largest |a - b| / max(|a|, |b|), both over
 *     all entries, equal ones included, NaN where there is no number
 *   where, text_a, text_b, value_a, value_b [array]: labels and values of the differing entry with
 *     the largest |a - b|, the first of equals; of texts and undefined entries the first
 *   labels_shared, labels_only_a, labels_only_b, first_only_a, first_only_b [axis]
 *   fact_kind, fact_a, fact_b [fact]: facts that differ; kind processing, result, model, provenance
 * and the attribute `equal`. *equal (may be NULL): 1 when every array and axis is equal, and every
 * fact that is a result.
 * Cost: each array is read once where labels run alike; memory for two blocks of `block` entries and
 * for the labels of axes. Where labels are permuted along an axis longer than a block, entries are
 * read one by one along it.
 * Errors: OTIMES_ERR_ARGUMENT (a setting is not valid), OTIMES_ERR_UNSUPPORTED (refused: both values
 * are named), OTIMES_ERR_FORMAT (a result contradicts itself), those of the readers and the sink. */
OTIMES_API OTIMES_MUST_CHECK int otimes_diff(const otimes_reader *a, const otimes_reader *b,
                                             const otimes_diff_settings *settings,
                                             otimes_sink *sink, int *equal, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
