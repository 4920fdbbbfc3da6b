/* SPDX-License-Identifier: MIT */
#include "random_tokens.h"

#include <stdlib.h>

#include <otimes/tokenizer.h>

#include "fail.h"
#include "select.h"
#include "text.h"

/* Every id but those the tokenizer keeps for itself; none are left out of a vocabulary that has no
 * others. */
static int all_but_special(const otimes_tokenizer_info *tokenizer, int64_t d_vocab,
                           const char *option, otimes_index_list *list, otimes_err *err)
{
    list->index = malloc((size_t)d_vocab * sizeof *list->index);
    if (!list->index) {
        return fail_memory(err, option);
    }
    for (int64_t id = 0; id < d_vocab; id++) {
        if (id != tokenizer->bos && id != tokenizer->eos && id != tokenizer->unknown) {
            list->index[list->count++] = id;
        }
    }
    if (!list->count) {
        otimes_index_list_free(list);
    }
    return 0;
}

int random_tokens_read(const common_options *options, const otimes_model_info *info,
                       const char *text, const char *option, otimes_index_list *from, int64_t *bos,
                       otimes_err *err)
{
    otimes_tokenizer *tokenizer = NULL;
    *bos = -1;
    int rc = select_indices(text, option, info->d_vocab, from, err);
    if (rc) {
        return rc;
    }
    if (text_tokenizer(&tokenizer, options, err)) {
        rc = options->bos > 0 ? err->code : 0;
    } else {
        const otimes_tokenizer_info *t = otimes_tokenizer_describe(tokenizer);
        const int wanted = options->bos < 0 ? t->adds_bos : options->bos;
        if (wanted && (t->bos < 0 || t->bos >= info->d_vocab)) {
            rc = fail(err, OTIMES_ERR_UNSUPPORTED, "--bos: %s has no BOS token", t->path);
        }
        *bos = !rc && wanted ? t->bos : -1;
        if (!rc && !text) {
            rc = all_but_special(t, info->d_vocab, option, from, err);
        }
    }
    otimes_tokenizer_close(&tokenizer);
    return rc;
}
