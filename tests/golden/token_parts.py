# SPDX-License-Identifier: MIT
"""What small tokenizers are put together from: steps of a tokenizer.json, and training."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from tokenizers import Tokenizer, trainers
from tokenizers.pre_tokenizers import ByteLevel

Json = dict[str, Any]


# ---------------------------------------------------------------------------------- parts


def byte_level(prefix: bool = False, trim: bool = True, regex: bool = True) -> Json:
    return {
        "type": "ByteLevel",
        "add_prefix_space": prefix,
        "trim_offsets": trim,
        "use_regex": regex,
    }


def split(
    pattern: str, behavior: str = "Isolated", invert: bool = False, regex: bool = True
) -> Json:
    return {
        "type": "Split",
        "pattern": {"Regex" if regex else "String": pattern},
        "behavior": behavior,
        "invert": invert,
    }


def replace(pattern: str, content: str, regex: bool = False) -> Json:
    return {
        "type": "Replace",
        "pattern": {"Regex" if regex else "String": pattern},
        "content": content,
    }


def metaspace(scheme: str = "always", cut: bool = True) -> Json:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}


def sequence(kind: str, *steps: Json) -> Json:
    return {"type": "Sequence", kind: list(steps)}


def template(before: list[str], after: list[str], ids: dict[str, int]) -> Json:
    """TemplateProcessing of one text between special tokens."""

    def special(token: str, type_id: int) -> Json:
        return {"SpecialToken": {"id": token, "type_id": type_id}}

    def part(name: str, type_id: int) -> list[Json]:
        middle = [{"Sequence": {"id": name, "type_id": type_id}}]
        return [special(t, type_id) for t in before] + middle + [special(t, type_id) for t in after]

    return {
        "type": "TemplateProcessing",
        "single": part("A", 0),
        "pair": part("A", 0) + part("B", 1),
        "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in before + after},
    }


def added(token: str, index: int, special: bool = True, **flags: bool) -> Json:
    out = {
        "id": index,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }
    return out | flags


def tokenizer(model: Json, extra: list[Json], **steps: Json | None) -> Json:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": extra,
        "normalizer": steps.get("normalizer"),
        "pre_tokenizer": steps.get("pre_tokenizer"),
        "post_processor": steps.get("post_processor"),
        "decoder": steps.get("decoder"),
        "model": model,
    }


SPLIT_BYTES = {
    "type": "ByteLevel",
    "add_prefix_space": True,
    "trim_offsets": True,
    "use_regex": True,
}
SENTENCEPIECE_DECODER = sequence(
    "decoders",
    replace("▁", " "),
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
)


# ------------------------------------------------------------------------------- training


def train_bpe(
    text: Iterable[str],
    size: int,
    pre_tokenizer: Json | None,
    normalizer: Json | None = None,
    alphabet: int | None = None,
) -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces by id and merges by rank; every byte is a piece where alphabet is None."""
    empty = {"type": "BPE", "vocab": {}, "merges": []}
    tok = Tokenizer.from_str(
        json.dumps(tokenizer(empty, [], pre_tokenizer=pre_tokenizer, normalizer=normalizer))
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        min_frequency=2,
        max_token_length=16,
        initial_alphabet=sorted(ByteLevel.alphabet()) if alphabet is None else [],
    )
    if alphabet is not None:
        text = common_only(text, alphabet)
    tok.train_from_iterator(text, trainer)
    model = json.loads(tok.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return pieces, [tuple(m) for m in model["merges"]]


def by_count(things: Iterable[str]) -> list[str]:
    """The most frequent first; the trainers' own order of equally frequent ones is by chance."""
    counts = Counter(things)
    return sorted(counts, key=lambda thing: (-counts[thing], thing))


def common_only(text: Iterable[str], alphabet: int) -> list[str]:
    """The text without rare characters."""
    lines = list(text)
    keep = {*by_count("".join(lines))[:alphabet], " "}
    return ["".join(c for c in line if c in keep) for line in lines]


def words_of(text: Iterable[str], steps: dict[str, Json]) -> list[str]:
    """What a model of whole words is given."""
    empty = {"type": "WordLevel", "vocab": {}, "unk_token": "<unk>"}
    tok = Tokenizer.from_str(json.dumps(tokenizer(empty, [], **steps)))
    lines = (tok.normalizer.normalize_str(line) for line in text)
    return [word for line in lines for word, _ in tok.pre_tokenizer.pre_tokenize_str(line)]


def number(pieces: Iterable[str]) -> dict[str, int]:
    out: dict[str, int] = {}
    for piece in pieces:
        out.setdefault(piece, len(out))
    return out


def bpe(vocab: dict[str, int], merges: list[tuple[str, str]], pairs: bool, **settings: Any) -> Json:
    base = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    written = [list(m) if pairs else " ".join(m) for m in merges]
    return base | settings | {"vocab": vocab, "merges": written}


def byte_pieces() -> list[str]:
    return [f"<0x{i:02X}>" for i in range(256)]


def sentencepiece_model(text: Iterable[str], **options: Any) -> bytes:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([t.replace("\n", " ") for t in text]),
        model_writer=out,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return out.getvalue()


def proto(model: bytes) -> Any:
    out = model_pb2.ModelProto()
    out.ParseFromString(model)
    return out
