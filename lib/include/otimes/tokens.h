/* SPDX-License-Identifier: MIT
 *
 * tokens: what a tokenizer makes of texts, or ids of text, as data.
 */
#ifndef OTIMES_TOKENS_H
#define OTIMES_TOKENS_H

#include <otimes/sink.h>
#include <otimes/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct otimes_tokens_settings {
    const char *const *text; /* [text_count] texts to encode; NULL (the default): ids instead */
    const int64_t *bytes;    /* [text_count] their lengths; NULL: they end with NUL */
    int64_t text_count;
    const int64_t *id; /* [id_count] without texts: ids to decode, as one sequence */
    int64_t id_count;
    otimes_bos bos;       /* of texts; OTIMES_BOS_AS_TRAINED (0) is the default */
    uint8_t reserved[64]; /* zero */
} otimes_tokens_settings;

OTIMES_API void otimes_tokens_settings_default(otimes_tokens_settings *settings);

/* Encodes texts, or looks up ids; all tokens stand in one row, text after text.
 *   input_index, position, id [place]: which text, the place in it, the token
 *   token [place] (text): what it stands for, as otimes_token_text has it
 *   begin, end [place]: the bytes of the text it stands for; of texts alone
 *   text [input]: the texts, with U+FFFD for what is no UTF-8 and <0x00> for NUL; of texts alone
 *   decoded [input] (text): what the ids decode to, special tokens left out
 *   token_count [input]
 * Cost: that of otimes_encode, and 48 bytes a token.
 * Errors: OTIMES_ERR_ARGUMENT (an id out of range, neither texts nor ids), those of otimes_encode
 * and of the sink. */
OTIMES_API OTIMES_MUST_CHECK int otimes_tokens(const otimes_tokenizer *tokenizer,
                                               const otimes_tokens_settings *settings,
                                               otimes_sink *sink, otimes_err *err);

#ifdef __cplusplus
}
#endif

#endif
