/* SPDX-License-Identifier: MIT
 *
 * A tokenizer is data: steps that rewrite text, steps that cut it into words, a vocabulary with a
 * rule to spell words in it, tokens put at the ends, steps that join tokens to text. Each file
 * format only fills this in; encode.c and decode.c run it. The steps are those of Hugging Face
 * tokenizers, which the other formats are special cases of.
 */
#ifndef OTIMES_TOKEN_TOKENIZER_H
#define OTIMES_TOKEN_TOKENIZER_H

#include <otimes/tokenizer.h>

#include "base/mem.h"
#include "token/bpe.h"
#include "token/charsmap.h"
#include "token/pattern.h"
#include "token/pieces.h"
#include "token/trie.h"

typedef enum otimes_step_kind {
    /* Normalizers. */
    OTIMES_STEP_PREPEND, /* content, unless the text is empty */
    OTIMES_STEP_REPLACE, /* what matches by content; a decoder too */
    OTIMES_STEP_FORM,    /* to a Unicode normal form: compose, compatibility */
    OTIMES_STEP_LOWERCASE,
    OTIMES_STEP_STRIP,         /* blanks: left, right */
    OTIMES_STEP_STRIP_ACCENTS, /* drops category M */
    OTIMES_STEP_NMT,
    OTIMES_STEP_CHARSMAP, /* as Hugging Face applies it, by graphemes */
    OTIMES_STEP_BERT,
    OTIMES_STEP_SENTENCEPIECE, /* all that SentencePiece does to a text */
    /* Pre-tokenizers. */
    OTIMES_STEP_SPLIT,
    OTIMES_STEP_METASPACE, /* a decoder too */
    OTIMES_STEP_DIGITS,
    OTIMES_STEP_PUNCTUATION,
    OTIMES_STEP_WHITESPACE_SPLIT,
    OTIMES_STEP_BERT_SPLIT,
    /* All three. */
    OTIMES_STEP_BYTE_LEVEL,
    /* Decoders. */
    OTIMES_STEP_BYTE_FALLBACK,
    OTIMES_STEP_FUSE,
    OTIMES_STEP_STRIP_TOKEN, /* `content` up to start times and stop times */
    OTIMES_STEP_STRIP_FIRST, /* `content` off the first token that has text: once, or all */
    OTIMES_STEP_WORDPIECE,
    OTIMES_STEP_BPE_SUFFIX,
} otimes_step_kind;

typedef enum otimes_behaviour {
    OTIMES_REMOVED,
    OTIMES_ISOLATED,
    OTIMES_MERGED_WITH_PREVIOUS,
    OTIMES_MERGED_WITH_NEXT,
    OTIMES_CONTIGUOUS
} otimes_behaviour;

typedef enum otimes_prepend {
    OTIMES_PREPEND_NEVER,
    OTIMES_PREPEND_FIRST,
    OTIMES_PREPEND_ALWAYS
} otimes_prepend;

typedef struct otimes_string {
    char *data;
    int64_t length;
} otimes_string;

/* One step; each kind reads the fields it needs. */
typedef struct otimes_step {
    otimes_step_kind kind;
    otimes_string text, content; /* what to look for, what to put; text is used without a pattern */
    otimes_pattern *pattern;
    otimes_charsmap *charsmap;
    const otimes_trie *frozen; /* SENTENCEPIECE: texts that stay as they are */
    otimes_behaviour behaviour;
    otimes_prepend prepend;
    bool invert, cut;                        /* SPLIT; METASPACE and BYTE_LEVEL: cut at all */
    bool compose, compatibility;             /* FORM */
    bool left, right;                        /* STRIP */
    bool clean, chinese;                     /* BERT, WORDPIECE (clean) */
    bool nonspacing;                         /* STRIP_ACCENTS: Mn alone */
    bool trim_blanks, escape_blanks, suffix; /* SENTENCEPIECE */
    int64_t start, stop;                     /* STRIP_TOKEN, STRIP_FIRST */
} otimes_step;

typedef struct otimes_steps {
    otimes_step *step;
    int64_t count, capacity;
} otimes_steps;

/* A token that is found in the text itself. */
typedef struct otimes_added_token {
    int32_t id;
    bool special, normalized, left, right, single_word; /* left, right: takes blanks there too */
} otimes_added_token;

typedef struct otimes_added {
    otimes_added_token *token;
    int64_t count, capacity;
    otimes_trie raw, normalized; /* values index token */
} otimes_added;

typedef enum otimes_rule {
    OTIMES_RULE_BPE,
    OTIMES_RULE_UNIGRAM,
    OTIMES_RULE_WORDLEVEL,
    OTIMES_RULE_WORDPIECE
} otimes_rule;

/* How a word becomes ids. */
typedef struct otimes_speller {
    otimes_rule rule;
    bool byte_level;    /* pieces are written in GPT-2's alphabet, words are plain bytes */
    bool ignore_merges; /* a word that is a piece is that piece */
    bool byte_fallback; /* a character without a piece is spelt by byte_id */
    bool late_fallback; /* after merging, as SentencePiece does, not before */
    bool fuse_unknown;
    int32_t unknown;              /* id, or -1 */
    int32_t byte_id[256];         /* of "<0xHH>", or of a byte in the byte alphabet; -1 */
    int32_t ascii_id[128];        /* of one ASCII character */
    otimes_string prefix, suffix; /* of pieces within a word, at its end */
    otimes_merges merges;
    otimes_trie frozen;  /* BPE: texts that are one symbol and never merge */
    otimes_string blank; /* BPE without words: a text may be cut before this ... */
    otimes_trie joins;   /* ... but behind these characters */
    otimes_trie trie;    /* Unigram, WordPiece */
    double *score;       /* Unigram: [ids] */
    double unknown_score;
    bool single;       /* sums in float, as SentencePiece has them */
    int32_t within;    /* WordPiece: the node of the prefix of pieces within a word */
    int64_t word_most; /* WordPiece: characters of a word, beyond which it is unknown */
} otimes_speller;

typedef struct otimes_ids {
    int32_t *id;
    int64_t count, capacity;
} otimes_ids;

struct otimes_tokenizer {
    otimes_tokenizer_info info;
    char *path;
    otimes_pieces pieces; /* may hold ids beyond info.vocab_size that only merging sees */
    otimes_steps normalizer, splitter, decoder;
    otimes_added added;
    otimes_speller speller;
    otimes_ids before, after;       /* what is put at the ends */
    otimes_ids hidden;              /* special, but not found in texts */
    bool bos_by_default;            /* where neither the file nor its settings say */
    bool post_decides;              /* the file itself said what is put at the ends */
    bool trim_offsets, keep_prefix; /* tokens' ranges without blanks; but for an added one */
    bool byte_labels;               /* labels are read in the byte alphabet */
    const char *unknown_surface; /* what the unknown token decodes to, or NULL for its own text */
    bool *special;               /* [info.vocab_size] what decoding may leave out */
    int64_t *label;              /* [info.vocab_size] where each begins in label_text */
    otimes_text label_text;
    otimes_pool pool; /* strings of steps */
};

/* For the formats: appends a zeroed step, NULL with *rc set on error. */
otimes_step *otimes_steps_add(otimes_steps *steps, otimes_step_kind kind, int *rc, otimes_err *err);

/* A copy in the tokenizer's pool. */
int otimes_string_set(otimes_tokenizer *tokenizer, otimes_string *string, const char *text,
                      int64_t length, otimes_err *err);

int otimes_ids_add(otimes_ids *ids, int64_t id, otimes_err *err);

/* A tokenizer that holds nothing yet. */
int otimes_tokenizer_new(otimes_tokenizer **tokenizer, const char *path, otimes_err *err);

/* When a format has filled everything in: tables made of the pieces, patterns of added tokens,
 * labels. */
int otimes_tokenizer_settle(otimes_tokenizer *tokenizer, otimes_err *err);

/* A token that is found in texts; its text becomes a piece if it is none. */
int otimes_added_add(otimes_tokenizer *tokenizer, const char *text, int64_t length,
                     otimes_added_token token, otimes_err *err);

/* Where a text may be cut that no step has cut (cuts.c). */
int otimes_cuts_make(otimes_tokenizer *tokenizer, otimes_err *err);

/* Texts of all ids for labels. */
int otimes_labels_make(otimes_tokenizer *tokenizer, otimes_err *err);

#endif
