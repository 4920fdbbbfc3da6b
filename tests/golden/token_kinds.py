# SPDX-License-Identifier: MIT
"""Small tokenizers, one of each kind that models come with. Each has the structure of a published
tokenizer.json (named beside it); vocabulary and merges are trained here on made-up text.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from token_parts import (
    SENTENCEPIECE_DECODER,
    SPLIT_BYTES,
    Json,
    added,
    bpe,
    by_count,
    byte_level,
    byte_pieces,
    metaspace,
    number,
    proto,
    replace,
    sentencepiece_model,
    sequence,
    split,
    template,
    tokenizer,
    train_bpe,
    words_of,
)

# Patterns as the models' files spell them.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TAIL = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + _TAIL,
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + _TAIL,
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
DEEPSEEK = [
    r"[\r\n]",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ]+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s+$",
    r"[一-龥ࠀ-一가-퟿]+",
]


# ---------------------------------------------------------------------- byte-level kinds

Text = list[str]
Made = Json | bytes


def simple_byte_level(
    text: Text,
    specials: list[str],
    pre_tokenizer: Json,
    first: bool,
    pairs: bool,
    size: int = 512,
    whole: int = 0,
    before: str | None = None,
    post_processor: Json | None = None,
    normalizer: Json | None = None,
    flags: dict[str, dict[str, bool]] | None = None,
    **settings: Any,
) -> Json:
    """A byte-level BPE whose special tokens stand before or after its pieces. `whole` words stand
    in the vocabulary without merges that lead to them; `before` begins each text."""
    pieces, merges = train_bpe(text, size, pre_tokenizer, normalizer)
    if whole:
        cut = len(pieces) - whole
        reachable = set(pieces[:cut])
        merges = [m for m in merges if m[0] + m[1] in reachable and set(m) <= reachable]
    vocab = number([*specials, *pieces] if first else [*pieces, *specials])
    tokens = [added(s, vocab[s], **(flags or {}).get(s, {})) for s in specials]
    if not first:
        for s in specials:
            del vocab[s]  # such files list them among the added tokens alone
    ids = {t["content"]: t["id"] for t in tokens}
    if before:
        start = template([before], [], ids)
        post_processor = sequence("processors", post_processor, start) if post_processor else start
    return tokenizer(
        bpe(vocab, merges, pairs, **settings),
        tokens,
        normalizer=normalizer,
        pre_tokenizer=pre_tokenizer,
        post_processor=post_processor,
        decoder=SPLIT_BYTES,
    )


def gpt2(text: Text) -> Made:
    return simple_byte_level(
        text, ["<|endoftext|>"], byte_level(), True, False, post_processor=byte_level(trim=False)
    )


def opt(text: Text) -> Made:
    return simple_byte_level(
        text,
        ["<s>", "<pad>", "</s>", "<unk>"],
        byte_level(),
        True,
        False,
        before="</s>",
        flags={s: {"normalized": True} for s in ("<s>", "<pad>", "</s>", "<unk>")},
    )


def llama3(text: Text) -> Made:
    return simple_byte_level(
        text,
        ["<|begin_of_text|>", "<|end_of_text|>"],
        sequence("pretokenizers", split(LLAMA3), byte_level(regex=False)),
        False,
        True,
        whole=60,
        before="<|begin_of_text|>",
        post_processor=byte_level(prefix=True, trim=False),
        ignore_merges=True,
    )


def qwen2(text: Text) -> Made:
    return simple_byte_level(
        text,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "WORD"],
        sequence("pretokenizers", split(QWEN2), byte_level(trim=False, regex=False)),
        False,
        False,
        normalizer={"type": "NFC"},
        post_processor=byte_level(trim=False, regex=False),
        unk_token=None,
        continuing_subword_prefix="",
        end_of_word_suffix="",
        flags={"WORD": {"special": False, "single_word": True, "normalized": True}},
    )


def falcon(text: Text) -> Made:
    return simple_byte_level(
        text,
        ["<|endoftext|>", "<fim>"],
        sequence(
            "pretokenizers",
            {"type": "Punctuation", "behavior": "Contiguous"},
            byte_level(),
            {"type": "Digits", "individual_digits": False},
            split("[0-9][0-9][0-9]"),
        ),
        True,
        False,
    )


def bloom(text: Text) -> Made:
    return simple_byte_level(
        text,
        ["<unk>", "<s>", "</s>", "<pad>"],
        sequence("pretokenizers", split(BLOOM), byte_level(regex=False)),
        True,
        False,
        post_processor=byte_level(prefix=True, trim=False, regex=False),
    )


def starcoder2(text: Text) -> Made:
    return simple_byte_level(
        text,
        ["<|endoftext|>", "<fim>"],
        sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level()),
        True,
        False,
    )


def gpt_oss(text: Text) -> Made:
    return simple_byte_level(
        text,
        ["<|startoftext|>", "<|endoftext|>"],
        sequence("pretokenizers", split(O200K, "Removed", True), byte_level(regex=False)),
        False,
        True,
        post_processor=byte_level(prefix=True),
    )


def deepseek(text: Text) -> Made:
    return simple_byte_level(
        text,
        ["<s>", "</s>"],
        sequence(
            "pretokenizers",
            *(split(p) for p in DEEPSEEK),
            {"type": "Digits", "individual_digits": True},
            byte_level(regex=False),
        ),
        False,
        False,
        before="<s>",
        flags={"<s>": {"normalized": True}},
    )


def splits(text: Text) -> Made:
    """Every behaviour of Split, which published tokenizers use but one or two of at a time."""
    return simple_byte_level(
        text,
        ["<s>"],
        sequence(
            "pretokenizers",
            split("\n", "Removed", regex=False),
            split("e", "MergedWithPrevious", regex=False),
            split("t+", "MergedWithNext"),
            split("[aeiou]", "Contiguous"),
            split(r"\d+", "MergedWithNext", True),
            {"type": "Punctuation", "behavior": "MergedWithPrevious"},
            byte_level(prefix=True, regex=False),
        ),
        True,
        True,
        post_processor=byte_level(trim=True),
    )


def roberta(text: Text) -> Made:
    """tokenizers trims ranges (trim_offsets) when they count characters already: by the blanks of a
    token it moves an end by as many characters of the text, whatever stands there."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    out = simple_byte_level(
        text,
        specials,
        byte_level(prefix=True),
        True,
        False,
        flags={s: {"normalized": s != "<mask>"} for s in specials} | {"<mask>": {"lstrip": True}},
    )
    out["post_processor"] = {
        "type": "RobertaProcessing",
        "sep": ["</s>", 2],
        "cls": ["<s>", 0],
        "trim_offsets": True,
        "add_prefix_space": True,
    }
    return out


# ------------------------------------------------------------- kinds with a visible blank


def fallback_bpe(
    text: Text,
    specials: list[str],
    normalizer: Json | None,
    pre_tokenizer: Json | None,
    decoder: Json,
    extra: list[str] | None = None,
    size: int = 460,
) -> Json:
    """A BPE of characters in which bytes stand for what the vocabulary lacks; each text begins
    with the second special token."""
    pieces, merges = train_bpe(text, size, metaspace(), alphabet=130)
    vocab = number([*specials, *byte_pieces(), *(extra or []), *pieces])
    tokens = [added(s, vocab[s]) for s in specials]
    tokens += [added(s, vocab[s], special=False) for s in extra or []]
    return tokenizer(
        bpe(vocab, merges, True, unk_token="<unk>", fuse_unk=True, byte_fallback=True),
        tokens,
        normalizer=normalizer,
        pre_tokenizer=pre_tokenizer,
        post_processor=template([specials[1]], [], vocab),
        decoder=decoder,
    )


def llama2(text: Text) -> Made:
    return fallback_bpe(
        text,
        ["<unk>", "<s>", "</s>"],
        sequence("normalizers", {"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")),
        None,
        SENTENCEPIECE_DECODER,
    )


def mistral3(text: Text) -> Made:
    return fallback_bpe(
        text,
        ["<unk>", "<s>", "</s>", "[INST]"],
        None,
        metaspace("first", False),
        SENTENCEPIECE_DECODER,
    )


def gemma(text: Text) -> Made:
    return fallback_bpe(
        text,
        ["<unk>", "<bos>", "<eos>", "<start_of_turn>"],
        replace(" ", "▁"),
        split(" ", "MergedWithPrevious", regex=False),
        sequence("decoders", replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}),
        ["\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁▁"],
    )


def bpe_unknown(text: Text) -> Made:
    """Without byte fallback: runs of unknown characters are one token or several."""
    pieces, merges = train_bpe(text, 300, metaspace(), alphabet=90)
    vocab = number(["<unk>", "<s>", *pieces])
    return tokenizer(
        bpe(vocab, merges, False, unk_token="<unk>"),
        [added("<unk>", 0), added("<s>", 1)],
        pre_tokenizer={"type": "Metaspace", "replacement": "▁", "add_prefix_space": True},
        decoder={"type": "Metaspace", "replacement": "▁", "add_prefix_space": True},
    )


def unigram_model(text: Text, size: int, **options: Any) -> bytes:
    return sentencepiece_model(text, vocab_size=size, model_type="unigram", **options)


def unigram(model: bytes, specials: list[str], byte_fallback: bool) -> Json:
    """The pieces of a trained .model after the special tokens of ours."""
    pieces = [[s, 0.0] for s in specials]
    if byte_fallback:
        pieces += [[b, 0.0] for b in byte_pieces()]
    pieces += [[p.piece, p.score] for p in proto(model).pieces if p.type == 1]
    return {
        "type": "Unigram",
        "unk_id": specials.index("<unk>"),
        "vocab": pieces,
        "byte_fallback": byte_fallback,
    }


def charsmap(model: bytes) -> Json:
    table = base64.b64encode(proto(model).normalizer_spec.precompiled_charsmap).decode()
    return {"type": "Precompiled", "precompiled_charsmap": table}


def t5(text: Text) -> Made:
    model = unigram_model(text, 420, character_coverage=0.99)
    vocab = unigram(model, ["<pad>", "</s>", "<unk>"], False)
    return tokenizer(
        vocab,
        [added("<pad>", 0), added("</s>", 1), added("<unk>", 2)],
        normalizer=sequence(
            "normalizers",
            charsmap(model),
            {"type": "Strip", "strip_left": False, "strip_right": True},
            replace(" {2,}", "▁", True),
        ),
        pre_tokenizer=metaspace(),
        post_processor=template([], ["</s>"], {"</s>": 1}),
        decoder=metaspace(),
    )


def xlmr(text: Text) -> Made:
    model = unigram_model(text, 600, character_coverage=0.999, normalization_rule_name="identity")
    vocab = unigram(model, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], False)
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    return tokenizer(
        vocab,
        [added(n, i) for i, n in enumerate(names)] + [added("<mask>", 4, lstrip=True)],
        normalizer=sequence("normalizers", {"type": "NFKC"}, replace(" {2,}", " ", True)),
        pre_tokenizer=sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace()),
        post_processor=template(["<s>"], ["</s>"], {"<s>": 0, "</s>": 2}),
        decoder=metaspace(),
    )


def unigram_bytes(text: Text) -> Made:
    model = unigram_model(text, 500, character_coverage=0.98, normalization_rule_name="identity")
    vocab = unigram(model, ["<unk>", "<s>", "</s>"], True)
    return tokenizer(
        vocab,
        [added("<unk>", 0), added("<s>", 1), added("</s>", 2, rstrip=True)],
        normalizer=replace(" ", "▁"),
        pre_tokenizer=metaspace("first", False),
        post_processor=template(["<s>"], [], {"<s>": 1}),
        decoder=sequence("decoders", {"type": "ByteFallback"}, metaspace("first", False)),
    )


# --------------------------------------------------------------------- kinds of whole words


def wordpiece(text: Text, lower: bool) -> tuple[Json, list[Json]]:
    """Common characters, words, and parts of words where they stand."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    steps = {"normalizer": bert_normalizer(lower), "pre_tokenizer": {"type": "BertPreTokenizer"}}
    words = words_of(text, steps)
    letters = sorted(by_count("".join(words))[:140])
    starts = by_count(w[:n] for w in words for n in (2, 3, 4))[:120]
    rest = by_count("##" + w[at : at + n] for w in words for at in (1, 2, 3) for n in (2, 3, 4))
    pieces = [*specials, *letters, *("##" + c for c in letters)]
    vocab = number([*pieces, *by_count(words)[:150], *starts, *rest[:150]])
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": vocab,
    }
    return model, [added(s, vocab[s]) for s in specials]


def bert_normalizer(lower: bool) -> Json:
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": lower,
    }


def bert(text: Text) -> Made:
    model, extra = wordpiece(text, True)
    return tokenizer(
        model,
        extra,
        normalizer=bert_normalizer(True),
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=template(["[CLS]"], ["[SEP]"], {"[CLS]": 2, "[SEP]": 3}),
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )


def bert_cased(text: Text) -> Made:
    model, extra = wordpiece(text, False)
    return tokenizer(
        model | {"max_input_chars_per_word": 12},
        extra,
        normalizer=bert_normalizer(False),
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor={"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": False},
    )


def wordlevel(text: Text) -> Made:
    """Whole words, after every normalizer that nothing else here has."""
    normalizer = sequence(
        "normalizers",
        {"type": "Nmt"},
        {"type": "NFKD"},
        {"type": "StripAccents"},
        {"type": "Lowercase"},
        {"type": "NFD"},
    )
    steps = {"normalizer": normalizer, "pre_tokenizer": {"type": "Whitespace"}}
    vocab = number(["<unk>", *sorted(by_count(words_of(text, steps))[:400]), "WORD"])
    return tokenizer(
        {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
        [
            added("<unk>", 0),
            added("WORD", vocab["WORD"], False, single_word=True, lstrip=True, rstrip=True),
        ],
        **steps,
    )


# ------------------------------------------------------------------------ SentencePiece


def sp_unigram(text: Text) -> Made:
    return unigram_model(text, 500, character_coverage=0.995)


def sp_unigram_bytes(text: Text) -> Made:
    return unigram_model(
        text,
        800,
        character_coverage=0.98,
        byte_fallback=True,
        normalization_rule_name="identity",
        user_defined_symbols=["[INST]", "WORD"],
        split_digits=True,
    )


def sp_bpe(text: Text) -> Made:
    return sentencepiece_model(
        text,
        vocab_size=500,
        model_type="bpe",
        character_coverage=0.98,
        normalization_rule_name="identity",
    )


def sp_bpe_bytes(text: Text) -> Made:
    return sentencepiece_model(
        text,
        vocab_size=800,
        model_type="bpe",
        character_coverage=0.98,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
    )


KINDS: dict[str, Callable[[Text], Made]] = {
    make.__name__: make
    for make in (
        gpt2, opt, llama3, qwen2, falcon, bloom, starcoder2, gpt_oss, deepseek, splits, roberta,
        llama2, mistral3, gemma, bpe_unknown, t5, xlmr, unigram_bytes, bert, bert_cased, wordlevel,
        sp_unigram, sp_unigram_bytes, sp_bpe, sp_bpe_bytes,
    )
}  # fmt: skip
