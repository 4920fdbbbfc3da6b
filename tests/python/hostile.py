# SPDX-License-Identifier: MIT
"""A tiny model whose tokens are out to be taken for something else than text.

``hostile.py FOLDER`` makes it of tests/golden/gpt2. ``hostile.py --terminal FILE...`` refuses files with
characters that a terminal would act on, ``hostile.py --page PAGE TAME`` a page that a token has changed: its
elements must be those of a page without such tokens, and its labels the tokens.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden" / "gpt2"

# Token, and its label; None: the same.
TOKENS: list[tuple[str, str | None]] = [
    ("</script><script>alert(1)</script>", None),
    ('"', None),
    ("'", None),
    ("\\", None),
    ("&lt;&amp;", None),
    ("".join(map(chr, range(1, 32))), None),
    ("a\0b", "a<U+0000>b"),
    ("\u200e\u200f\u061c", None),
    ("\u202eevil\u2066", None),
    ("\u2028\u2029\ufeff", None),
    ("\ud800", "<U+D800>"),
    ("\udfffx", "<U+DFFF>x"),
    ("long" * 2500, None),
    ("", None),
    ("\u2581twice", " twice"),
    (" twice", None),
    ("<!--", None),
    ("\x9b2J\x85\x7f", None),
    ("\x1b[2J\x1b]0;title\x07", None),
    ("e\u0301\u05d0\U0001f600", None),
    ("]]>-->", None),
    ("\\u003c\\x41", None),
    ("a", None),
]
LABELS = [text if label is None else label for text, label in TOKENS]
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
UNESCAPED = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\", '"': '"'}


def make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(GOLDEN / name, folder / name)
    blanks = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": False}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": blanks,
        "post_processor": None,
        "decoder": blanks,
        "model": {
            "type": "BPE",
            "unk_token": "a",
            "vocab": {text: i for i, (text, _) in enumerate(TOKENS)},
            "merges": [],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))  # escapes, also of half pairs
    return folder


def unescaped(text: str) -> str:
    """A field of TSV, or what stands in quotes in a table to read."""

    def plain(match: re.Match[str]) -> str:
        code = match.group(1)
        return chr(int(code[1:], 16)) if code[0] in "xu" and len(code) > 1 else UNESCAPED[code]

    return re.sub(r'\\(x[0-9A-F]{2}|u[0-9A-F]{4}|[tnr\\"])', plain, text)


def check_terminal(names: list[str]) -> None:
    for name in names:
        text = Path(name).read_bytes().decode("utf-8")
        found = ACTS.search(text)
        if found:
            where = max(found.start() - 40, 0)
            sys.exit(f"{name}: a terminal acts on {found.group()!r}: {text[where : found.end()]!r}")


class Tags(HTMLParser):
    """Elements and their ends, in order, and the text of the data's element."""

    def __init__(self, path: str) -> None:
        super().__init__(convert_charrefs=False)
        self.seen: list[str] = []
        self.data = ""
        self.inside = False
        self.feed(Path(path).read_bytes().decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(f"<{tag} {attrs}>")
        self.inside = tag == "script" and ("id", "otimes-data") in attrs

    def handle_endtag(self, tag: str) -> None:
        self.seen.append(f"</{tag}>")
        self.inside = False

    def handle_data(self, data: str) -> None:
        self.data += data if self.inside else ""


def check_page(path: str, tame: str) -> None:
    page, other = Tags(path), Tags(tame)
    if page.seen != other.seen:
        sys.exit(f"{path}: expected the elements of {tame}, got others")
    if LABELS not in json.loads(page.data)["labels"]:
        sys.exit(f"{path}: expected the tokens among the labels")
    if ACTS.search(page.data):
        sys.exit(f"{path}: characters that act on what shows them")


if __name__ == "__main__":
    if sys.argv[1] == "--terminal":
        check_terminal(sys.argv[2:])
    elif sys.argv[1] == "--page":
        check_page(*sys.argv[2:])
    else:
        make(Path(sys.argv[1]))
