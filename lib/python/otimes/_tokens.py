# SPDX-License-Identifier: MIT
"""Text to token ids and back, by the model's own tokenizer, under TransformerLens' names."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray

from otimes._config import Opened
from otimes._errors import ArgumentError, Failure, UnsupportedError
from otimes._otimes import ffi, lib
from otimes._results import SCHEMA_VERSION, Progress, Sink, date, text_of
from otimes._settings import Filled, file_name, flag, flag_or_none, integer, integers, shown, texts_of, utf8

Ids = npt.NDArray[np.int64]
Texts = str | Sequence[str]
Tokens_ = Ids | Sequence[int] | Sequence[Sequence[int]] | Sequence[Ids]

BOS = {None: lib.OTIMES_BOS_AS_TRAINED, False: lib.OTIMES_BOS_NEVER, True: lib.OTIMES_BOS_ALWAYS}


class AnyTokenizer(Protocol):
    """What a Model asks of a tokenizer; ids of special tokens are -1 where there is none."""

    bos: int
    eos: int
    unknown: int
    adds_bos: bool
    vocab_size: int

    def encode(self, text: str, bos: bool | None) -> Ids: ...

    def decode(self, ids: Ids, skip_special: bool) -> str: ...


class Tokenizer:
    """The library's tokenizer."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        failure, box = Failure(), ffi.new("otimes_tokenizer **")
        failure.check(lib.otimes_tokenizer_open(box, file_name(path, "tokenizer"), failure.err))
        self.pointer = ffi.gc(box[0], close_tokenizer)
        info = lib.otimes_tokenizer_describe(self.pointer)
        self.kind, self.path = text_of(info.kind) or "", text_of(info.path) or ""
        self.vocab_size: int = info.vocab_size
        self.bos: int = info.bos
        self.eos: int = info.eos
        self.unknown: int = info.unknown
        self.adds_bos = bool(info.adds_bos)

    def encode(self, text: str, bos: bool | None = None) -> Ids:
        """Ids of a text. bos: whether one stands in front; None: as the tokenizer's files say."""
        failure, data = Failure(), utf8(text, "text")
        found = ffi.gc(ffi.new("otimes_encoding *"), lib.otimes_encoding_free)
        failure.check(lib.otimes_encode(self.pointer, data, len(data), BOS[bos], found, failure.err))
        if not found.count:
            return np.empty(0, np.int64)
        ids: Ids = np.frombuffer(ffi.buffer(found.id, 8 * found.count), np.int64).copy()
        return ids

    def decode(self, ids: Ids, skip_special: bool = False) -> str:
        failure, text, size = Failure(), ffi.new("char **"), ffi.new("int64_t *")
        data = ffi.from_buffer("int64_t[]", ids) if ids.size else ffi.NULL
        failure.check(lib.otimes_decode(self.pointer, data, ids.size, skip_special, text, size, failure.err))
        decoded: str = ffi.buffer(text[0], size[0])[:].decode("utf-8", "replace")
        lib.otimes_text_release(text)
        return decoded


def close_tokenizer(pointer: Any, close: Any = lib.otimes_tokenizer_close, new: Any = ffi.new) -> None:
    close(new("otimes_tokenizer **", pointer))


def folder_now() -> str:
    """The current folder; "" where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def tokenizer_path(path: str) -> str:
    """Where a model's tokenizer is: beside the weights, or in them (GGUF)."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
        with open(path if regular else os.devnull, "rb") as file:
            gguf = file.read(4) == b"GGUF"
    except OSError:
        return path
    return os.path.dirname(path) or "." if regular and not gguf else path


def sequences_of(tokens: Any) -> list[Ids]:
    """One sequence of ids or several: a flat list, a list of lists, an array [pos] or [batch, pos]."""
    if isinstance(tokens, (str, bytes)):
        raise ArgumentError(f"tokens: expected ids, got {shown(tokens)}")
    if isinstance(tokens, np.ndarray):
        if tokens.ndim not in (1, 2) or tokens.dtype.kind not in "iu":
            raise ArgumentError(f"tokens: expected integers [pos] or [text, pos], got {tokens.dtype} "
                                f"{list(tokens.shape)}")
        rows: list[Any] = [tokens] if tokens.ndim == 1 else list(tokens)
    else:
        if isinstance(tokens, (Mapping, Set)):
            raise ArgumentError(f"tokens: expected a sequence of ids, got {shown(tokens)}")
        entries = list(tokens) if isinstance(tokens, Iterable) else [tokens]
        flat = not entries or np.ndim(entries[0]) == 0
        rows = [entries] if flat else entries
    return [integers(row, "tokens") for row in rows]


class Tokens(Opened):
    """The part of a Model that knows texts."""

    _tokenizer_from: Any
    _tokenizer: AnyTokenizer | None
    _labels: npt.NDArray[np.object_] | None
    _folder: str  # where the process was when the model was opened

    def _begin_tokens(self, tokenizer: Any) -> None:
        self._tokenizer_from, self._tokenizer, self._labels = tokenizer, None, None
        self._folder = folder_now()

    def _forget_tokens(self) -> None:
        self._tokenizer = None

    @property
    def tokenizer(self) -> AnyTokenizer:
        """The model's own tokenizer. Raises where there is none beside the weights."""
        self._open_handle()
        if self._tokenizer is None:
            given = self._tokenizer_from
            if given is None or isinstance(given, (str, os.PathLike)):
                path = self._cfg.path if given is None else os.fspath(given)
                if self._folder != folder_now():  # opened by a path relative to where we were then
                    path = os.path.join(self._folder, path)
                given = Tokenizer(tokenizer_path(path) if given is None else path)
            self._tokenizer = given
        return self._tokenizer

    def _tokenizer_or_none(self) -> AnyTokenizer | None:
        try:
            return self.tokenizer
        except (OSError, ValueError, UnsupportedError):
            return None

    @property
    def tokens_text(self) -> npt.NDArray[np.object_]:
        """What each input token stands for [d_vocab], as results label them; "" where nobody says."""
        if self._labels is None:
            pointer, count = self._open_handle().pointer, self._cfg.d_vocab
            labels = np.empty(count, object)
            for i in range(count):
                labels[i] = text_of(lib.otimes_model_token(pointer, i)) or ""
            labels.flags.writeable = False
            self._labels = labels
        return self._labels

    def _label(self, index: int, output: bool = False) -> str | None:
        call = lib.otimes_model_output_token if output else lib.otimes_model_token
        return text_of(call(self._open_handle().pointer, index))

    def _encode(self, text: Any, prepend_bos: bool | None) -> Ids:
        if not isinstance(text, str):
            raise ArgumentError(f"text: expected text, got {shown(text)}")
        ids = self.tokenizer.encode(text, flag_or_none(prepend_bos, "prepend_bos"))
        beyond = ids[ids >= self._cfg.d_vocab]
        if beyond.size:
            raise UnsupportedError(f"text: expected ids below {self._cfg.d_vocab}, the model's vocabulary, "
                                   f"got {beyond[0]}")
        return ids

    def to_tokens(self, text: Texts, prepend_bos: bool | None = None, truncate: bool = False) -> Ids:
        """Ids of a text [1, pos], or of several texts of one length [text, pos]; nothing is padded.

        prepend_bos: None as the model was trained (TransformerLens: True), or a choice of one's own.
        truncate: to n_ctx.
        """
        rows = [self._encode(t, prepend_bos) for t in texts_of(text, "text")]
        if flag(truncate, "truncate") and self._cfg.n_ctx:
            rows = [row[: self._cfg.n_ctx] for row in rows]
        lengths = sorted({len(row) for row in rows})
        if len(lengths) != 1:
            raise ArgumentError(f"text: expected texts of one number of tokens, got {lengths}: analyses take "
                                "texts of any length as texts=[...]")
        return np.stack(rows)

    def to_string(self, tokens: Tokens_ | int) -> str | list[str]:
        """The text of ids: of [pos] or one id a text, of [batch, pos] a list of texts."""
        several = np.ndim(tokens) > 1 if isinstance(tokens, np.ndarray) else (
            isinstance(tokens, Sequence) and len(tokens) > 0 and np.ndim(tokens[0]) == 1)
        texts = [self.tokenizer.decode(row, False) for row in sequences_of(tokens)]
        return texts if several else texts[0]

    def to_str_tokens(self, text: str | Ids | Sequence[int], prepend_bos: bool | None = None) -> list[str]:
        """What each token of a text, or each id, stands for."""
        rows = [self._encode(text, prepend_bos)] if isinstance(text, str) else sequences_of(text)
        if len(rows) != 1:
            raise ArgumentError(f"tokens: expected the ids of one text, got those of {len(rows)}")
        return [self.to_single_str_token(int(i)) for i in rows[0]]

    def to_single_str_token(self, token: int) -> str:
        """What an id stands for."""
        index = integer(token, "token")
        if not 0 <= index < self._cfg.d_vocab:
            raise ArgumentError(f"token: expected 0 to {self._cfg.d_vocab - 1}, got {index}")
        return self._label(index) or ""

    def to_single_token(self, text: str) -> int:
        """The id of a text that is one token, without BOS."""
        ids = self._encode(text, False)
        if len(ids) != 1:
            pieces = " ".join(repr(self.to_single_str_token(int(i))) for i in ids)
            raise ArgumentError(f"token: {shown(text)}: expected one token of the vocabulary, got {len(ids)}: {pieces}")
        return int(ids[0])

    def _token(self, token: int | str, what: str, output: bool = True) -> int:
        """A token as the command line takes it: an id, a label, "#7", or text that is one token."""
        limit = self._cfg.d_vocab_out if output else self._cfg.d_vocab
        if not isinstance(token, str):
            index = integer(token, what)
            if not 0 <= index < limit:
                raise ArgumentError(f"{what}: expected 0 to {limit - 1}, got {index}")
            return index
        for index in range(limit):
            if self._label(index, output) == token:
                return index
        digits = token.removeprefix("#")
        if digits.isascii() and digits.isdigit() and int(digits) < limit:
            return int(digits)
        if output and self._cfg.d_vocab != limit or self._tokenizer_or_none() is None:
            raise ArgumentError(f"{what}: {shown(token)}: expected a token of the vocabulary or an id from 0 to "
                                f"{limit - 1}, as 7 or '#7'")
        try:
            return self.to_single_token(token)
        except ArgumentError as error:
            raise ArgumentError(str(error).replace("token", what, 1)) from None

    def _token_list(self, tokens: Any, what: str, output: bool = True) -> list[int]:
        """One token or several, each an id or a text."""
        single = isinstance(tokens, (str, int, np.integer))
        if not single and not isinstance(tokens, Iterable):
            raise ArgumentError(f"{what}: expected a token or a sequence of them, got {shown(tokens)}")
        found = [self._token(t, what, output) for t in ([tokens] if single else tokens)]
        if not found:
            raise ArgumentError(f"{what}: expected at least one token, got none")
        return found

    def _sequences(self, text: Texts | None, texts: Sequence[str] | None, tokens: Tokens_ | None,
                   prepend_bos: bool | None, truncate: bool) -> list[Ids] | None:
        """What texts or ids a call is about; None without any."""
        given = [name for name, value in (("text", text), ("texts", texts), ("tokens", tokens)) if value is not None]
        if len(given) > 1:
            raise ArgumentError(f"{given[0]}: cannot stand beside {given[1]}")
        if not given:
            return None
        flag(truncate, "truncate")
        if tokens is not None:
            rows = sequences_of(tokens)
        else:
            source: Any = texts if text is None else text
            rows = [self._encode(t, prepend_bos) for t in texts_of(source, given[0])]
        if not rows or any(not len(row) for row in rows):
            raise ArgumentError(f"{given[0]}: expected at least one token, got none")
        n_ctx = self._cfg.n_ctx
        for row in rows:
            if n_ctx and len(row) > n_ctx and not truncate:
                raise ArgumentError(f"{given[0]}: expected at most {n_ctx} tokens (n_ctx), got {len(row)}; "
                                    "truncate=True cuts it")
        return [row[:n_ctx] for row in rows] if n_ctx and truncate else rows


def tokens(path: str | os.PathLike[str], text: Texts | None = None, *, ids: Sequence[int] | Ids | None = None,
           prepend_bos: bool | None = None, progress: Progress = False) -> xarray.Dataset:
    """What a model's tokenizer makes of texts, or ids of text: id, token, begin and end of each place.

    Needs no weights: `path` is a model's folder or a tokenizer's file.
    """
    return tokens_of(Tokenizer(path), text, ids, prepend_bos, progress, f"otimes.tokens({os.fspath(path)!r}, ")


def tokens_of(tokenizer: Tokenizer, text: Texts | None, ids: Any, prepend_bos: bool | None, progress: Progress,
              said: str) -> xarray.Dataset:
    if (text is None) == (ids is None):
        raise ArgumentError(f"text: expected a text or ids, got {'neither' if text is None else 'both'}")
    if ids is not None and prepend_bos is not None:
        raise ArgumentError("ids: cannot stand beside prepend_bos")
    values: dict[str, Any] = {"bos": BOS[flag_or_none(prepend_bos, "prepend_bos")], "id": ids}
    if text is not None:
        data = [utf8(t, "text") for t in texts_of(text, "text")]
        values |= {"text": data, "bytes": [len(d) for d in data]}
    settings, sink = Filled("otimes_tokens_settings", values), Sink("tokens", progress)
    sink.run(lambda to, err: lib.otimes_tokens(tokenizer.pointer, settings.struct, to, err))
    given = f"text={text!r}" if ids is None else f"ids={list(ids)!r}"
    first = {"schema": "otimes-tokens", "schema_version": np.int64(SCHEMA_VERSION),
             "command_line": f"{said}{shown_long(given)})", "date": date()}
    return sink.dataset(first, {})


def shown_long(text: str) -> str:
    """An argument in a result's command line, cut where it is long."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 400 else text[:397] + "..."
