/* SPDX-License-Identifier: MIT
 *
 * From text to token ids and back, as the model's own tokenizer does it.
 *
 * Text is UTF-8. Bytes that form no character are read as U+FFFD, one for each maximal part of a
 * character, as Python's errors="replace" reads them.
 */
#ifndef OTIMES_TOKENIZER_H
#define OTIMES_TOKENIZER_H

#include <otimes/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An opened tokenizer. Safe to use from several threads at once. */
typedef struct otimes_tokenizer otimes_tokenizer;

/* Opens a tokenizer, recognised by content: a folder that holds tokenizer.json (Hugging Face
 * tokenizers), or vocab.json and merges.txt (GPT-2; also encoder.json and vocab.bpe), or
 * tokenizer.model (SentencePiece), or tokenizer.bin (llama2.c); or one of these files; or a GGUF
 * file. Whether texts begin with BOS is what the file says (a post-processor, add_bos_token), else
 * tokenizer_config.json beside it, else what the format's own program does. On success *tokenizer
 * is owned by the caller and released by otimes_tokenizer_close; on error it is NULL.
 * Errors: OTIMES_ERR_IO (missing, unreadable), OTIMES_ERR_FORMAT (malformed, contradictory),
 * OTIMES_ERR_UNSUPPORTED (a kind of model or step that is not known, named), OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_tokenizer_open(otimes_tokenizer **tokenizer,
                                                       const char *path, otimes_err *err);

/* Releases a tokenizer and sets *tokenizer to NULL; NULL is fine. */
OTIMES_API void otimes_tokenizer_close(otimes_tokenizer **tokenizer);

/* What a tokenizer is. Strings live until it is closed. */
typedef struct otimes_tokenizer_info {
    const char *kind;          /* "BPE", "byte-level BPE", "Unigram", "WordLevel", "WordPiece" */
    const char *path;          /* the file it was read from */
    int64_t vocab_size;        /* ids are 0 .. vocab_size-1, gaps included */
    int64_t bos, eos, unknown; /* ids; -1 without */
    int adds_bos;              /* texts begin with bos unless a caller says otherwise */
} otimes_tokenizer_info;

OTIMES_API const otimes_tokenizer_info *
otimes_tokenizer_describe(const otimes_tokenizer *tokenizer);

/* Whether a text begins with BOS. */
typedef enum otimes_bos {
    OTIMES_BOS_AS_TRAINED, /* what the tokenizer's own files say, at both ends */
    OTIMES_BOS_NEVER,      /* no special token is added at either end */
    OTIMES_BOS_ALWAYS      /* as trained, with a BOS in front if that has none */
} otimes_bos;

/* Ids of a text, with the range of its bytes that each stands for: whole characters, also where a
 * token holds a part of one; begin = end = 0 for special tokens added at the ends. */
typedef struct otimes_encoding {
    int64_t count;
    int64_t *id, *begin, *end; /* [count] */
    void *memory;              /* what the pointers show; the encoding's own */
} otimes_encoding;

/* Encodes `bytes` bytes of text, at most 2^31 - 1, into *encoding, released with
 * otimes_encoding_free. Added tokens that occur in the text are recognised where the tokenizer's
 * own program does so: SentencePiece and llama2.c read "<s>" as text. Linear in the length but for
 * the BPE of one word, which is n log n; takes up to 80 bytes of memory for a byte of text.
 * Errors: OTIMES_ERR_ARGUMENT (a negative or too large length), OTIMES_ERR_UNSUPPORTED (BOS asked
 * for where there is none; text the vocabulary cannot express and no unknown token; a pattern of
 * the tokenizer that takes too many steps on this text; steps that make a text more than 64 times
 * as long), OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_encode(const otimes_tokenizer *tokenizer, const char *text,
                                               int64_t bytes, otimes_bos bos,
                                               otimes_encoding *encoding, otimes_err *err);

/* Releases and zeroes; NULL and zeroed are fine. */
OTIMES_API void otimes_encoding_free(otimes_encoding *encoding);

/* The text of ids as the tokenizer's decoder joins them, NUL-terminated, *bytes without the NUL;
 * bytes that form no character become U+FFFD. skip_special: leave special tokens out. *text is
 * released with otimes_text_release.
 * Errors: OTIMES_ERR_ARGUMENT (an id out of range, named), OTIMES_ERR_UNSUPPORTED (a decoder that makes
 * more than 64 times as much of the tokens' texts, or takes too many steps), OTIMES_ERR_MEMORY. */
OTIMES_API OTIMES_MUST_CHECK int otimes_decode(const otimes_tokenizer *tokenizer, const int64_t *id,
                                               int64_t count, int skip_special, char **text,
                                               int64_t *bytes, otimes_err *err);

/* Id of a token by its exact text in the vocabulary ("<s>", "Ġthe"), -1 without. */
OTIMES_API int64_t otimes_token_id(const otimes_tokenizer *tokenizer, const char *piece);

/* What token id stands for, for labels: UTF-8 text, a byte that forms no character and NUL as
 * <0xHH>. NULL when id is out of range; lives until the tokenizer is closed. */
OTIMES_API const char *otimes_token_text(const otimes_tokenizer *tokenizer, int64_t id);

#ifdef __cplusplus
}
#endif

#endif
