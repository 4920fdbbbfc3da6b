/* SPDX-License-Identifier: MIT
 *
 * Facts of two results. What is not known here may be a setting that changes every number, so it
 * is held to be one: only what is listed may differ without being asked for.
 */
#include <inttypes.h>
#include <string.h>

#include "analysis/diff_job.h"
#include "token/quote.h"

/* Who made the result, when, of which files; which parts were asked for. */
static const char *const provenance[] = {"otimes_version",
                                         "command_line",
                                         "date",
                                         "model_path",
                                         "model_sha256",
                                         "names",
                                         "result_a",
                                         "result_b",
                                         "tokenizer_path",
                                         "tokenizer_sha256",
                                         NULL};

/* What the model is: two models can be compared as far as their labels agree. */
static const char *const of_model[] = {"architecture",
                                       "model_format",
                                       "dtype",
                                       "norm",
                                       "positions",
                                       "residual_write",
                                       "attention_score",
                                       "embedding_write",
                                       "n_layers",
                                       "n_heads",
                                       "n_kv_heads",
                                       "d_model",
                                       "d_head",
                                       "d_mlp",
                                       "d_vocab",
                                       "d_vocab_out",
                                       "n_ctx",
                                       "tied",
                                       "norm_eps",
                                       "attn_scale",
                                       "final_softcap",
                                       "uniform_loss",
                                       "baseline_dimension",
                                       "bidirectional",
                                       "next_token",
                                       "otimes_config",
                                       "tokenizer_kind",
                                       "vocab_size",
                                       "bos_id",
                                       NULL};

/* What an analysis found and says as a fact. */
static const char *const results[] = {"complete", "equal", NULL};

static bool is_one_of(const char *name, const char *const *list)
{
    while (*list && strcmp(*list, name) != 0) {
        list++;
    }
    return *list != NULL;
}

static diff_kind kind_of(const char *name)
{
    return is_one_of(name, provenance) ? DIFF_PROVENANCE
           : is_one_of(name, of_model) ? DIFF_MODEL
           : is_one_of(name, results)  ? DIFF_RESULT
                                       : DIFF_PROCESSING;
}

static const char *text_of(const otimes_attr *attr)
{
    return attr->text ? attr->text : "";
}

static bool same_fact(const otimes_attr *a, const otimes_attr *b)
{
    if (!a || !b || a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case OTIMES_ATTR_TEXT:
        return strcmp(text_of(a), text_of(b)) == 0;
    case OTIMES_ATTR_I64:
        return a->i64 == b->i64;
    case OTIMES_ATTR_F64:
        return a->f64 == b->f64 || (a->f64 != a->f64 && b->f64 != b->f64);
    }
    return false;
}

/* *text becomes the fact as it is read; stays NULL where there is none. */
static int show(const otimes_attr *attr, char **text, otimes_err *err)
{
    otimes_text out = {0};
    int rc = OTIMES_OK;
    if (!attr) {
        return OTIMES_OK;
    }
    switch (attr->kind) {
    case OTIMES_ATTR_TEXT:
        rc = otimes_text_add(&out, err, "%s", text_of(attr));
        break;
    case OTIMES_ATTR_I64:
        rc = otimes_text_add(&out, err, "%" PRId64, attr->i64);
        break;
    case OTIMES_ATTR_F64:
        rc = otimes_text_add(&out, err, "%.17g", attr->f64);
        break;
    }
    *text = out.data;
    return rc;
}

static int add_fact(diff_job *job, const char *name, const otimes_attr *a, const otimes_attr *b,
                    otimes_err *err)
{
    int rc = OTIMES_GROW(&job->facts, job->fact_count, &job->fact_capacity, err);
    if (rc != OTIMES_OK) {
        return rc;
    }
    diff_fact *fact = &job->facts[job->fact_count++];
    *fact = (diff_fact){.name = name, .kind = kind_of(name)};
    rc = show(a, &fact->a, err);
    return rc == OTIMES_OK ? show(b, &fact->b, err) : rc;
}

static int refuse(const diff_job *job, const diff_fact *fact, otimes_err *err)
{
    const otimes_quote a = otimes_quoted(fact->a ? fact->a : "", -1);
    const otimes_quote b = otimes_quoted(fact->b ? fact->b : "", -1);
    return otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                       "%s: expected results of one processing, got %s in %s and %s in %s",
                       fact->name, fact->a ? a.text : "none", job->a->name,
                       fact->b ? b.text : "none", job->b->name);
}

static int need_schema(const otimes_reader *reader, otimes_err *err)
{
    const otimes_attr *schema = otimes_reader_attr(reader, "schema");
    return schema && schema->kind == OTIMES_ATTR_TEXT
               ? OTIMES_OK
               : otimes_fail(err, OTIMES_ERR_UNSUPPORTED,
                             "%s: expected a result of otimes, got a file without the attribute "
                             "schema",
                             reader->name);
}

int otimes_diff_facts(diff_job *job, otimes_err *err)
{
    const bool any = job->settings->any_processing;
    const otimes_attr *a, *b;
    int rc = any ? OTIMES_OK : need_schema(job->a, err);
    if (rc == OTIMES_OK && !any) {
        rc = need_schema(job->b, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && (a = job->a->ops->attribute(job->a, i)) != NULL; i++) {
        b = otimes_reader_attr(job->b, a->name);
        rc = same_fact(a, b) ? OTIMES_OK : add_fact(job, a->name, a, b, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && (b = job->b->ops->attribute(job->b, i)) != NULL; i++) {
        a = otimes_reader_attr(job->a, b->name);
        rc = a ? OTIMES_OK : add_fact(job, b->name, NULL, b, err);
    }
    for (int64_t i = 0; rc == OTIMES_OK && i < job->fact_count; i++) {
        const diff_fact *fact = &job->facts[i];
        if (fact->kind == DIFF_PROCESSING && !any) {
            rc = refuse(job, fact, err);
        }
        job->equal = job->equal && fact->kind != DIFF_RESULT;
    }
    return rc;
}
