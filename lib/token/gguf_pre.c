/* SPDX-License-Identifier: MIT
 *
 * Names of pre-tokenizers in GGUF files and the patterns they stand for (ggml-org/llama.cpp,
 * src/llama-vocab.cpp). Where llama.cpp rewrites a model's pattern for an engine that lacks
 * categories, the model's own stands here.
 */
#include "token/gguf.h"

#include <string.h>

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define BLANKS "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define OTHERS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"
#define LLAMA3 CONTRACTION "|" WORD "|\\p{N}{1,3}|" OTHERS "|" BLANKS
#define SENTENCE "\xe2\x80\xa6\xe3\x80\x82\xef\xbc\x8c\xe3\x80\x81\xe0\xa5\xa4\xdb\x94\xd8\x8c"
#define HAN_HANGUL "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define BLOOM " ?[^(\\s|.,!?" SENTENCE ")]+"

static const otimes_gguf_pre table[] = {
    {"|gpt-2|phi-2|jina-es|jina-de|jina-v2-es|jina-v2-de|gigachat|a.x-4.0|exaone4|mpt|olmo|jais|"
     "trillion|granite-docling|mellum|",
     {GPT2},
     false,
     false},
    {"|llama3|llama-v3|llama-bpe|falcon3|falcon-h1|pixtral|midm-2.0|lfm2|", {LLAMA3}, true, true},
    {"|dbrx|smaug-bpe|glm4|chatglm-bpe|", {LLAMA3}, false, false},
    {"|qwen2|deepseek-r1-qwen|stablelm2|hunyuan|megrez|",
     {CONTRACTION "|" WORD "|\\p{N}|" OTHERS "|" BLANKS},
     false,
     false},
    {"|starcoder|refact|command-r|smollm|codeshell|exaone|minerva-7b|",
     {"\\p{N}", GPT2},
     false,
     false},
    {"|falcon|", {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}, false, false},
    {"|default|", {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false},
    {"|bloom|poro-chat|gpt3-finnish|", {BLOOM}, false, false},
    {"|viking|", {BLOOM, "\\p{N}"}, false, false},
    {"|tekken|",
     {BEFORE UPPER "*" LOWER "+|" BEFORE UPPER "+" LOWER
                   "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" BLANKS},
     true,
     true},
    {"|gpt-4o|llama4|",
     {BEFORE UPPER "*" LOWER "+" CONTRACTION "?|" BEFORE UPPER "+" LOWER "*" CONTRACTION
                   "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" BLANKS},
     false,
     false},
    {"|deepseek-coder|",
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN_HANGUL, "\\p{N}"},
     false,
     false},
    {"|deepseek-v3|",
     {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"
      "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" BLANKS},
     false,
     false},
};

const otimes_gguf_pre *otimes_gguf_pre_find(const char *name)
{
    const size_t length = strlen(name);
    for (size_t i = 0; length > 0 && i < sizeof table / sizeof table[0]; i++) {
        for (const char *at = table[i].names; at[1]; at = strchr(at + 1, '|')) {
            if (strncmp(at + 1, name, length) == 0 && at[1 + length] == '|') {
                return &table[i];
            }
        }
    }
    return NULL;
}
