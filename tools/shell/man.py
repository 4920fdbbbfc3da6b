# SPDX-License-Identifier: MIT
"""Manual pages from the program's own table of commands and the schema pages.

usage: man.py COMMANDS.json SCHEMA_FOLDER OUTPUT_FOLDER

COMMANDS.json is what `otimes --commands` prints. Pages bear no date but SOURCE_DATE_EPOCH's, so that the same
source makes the same bytes.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

SPECIAL = {"\\": r"\(rs", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
COMMON_FILES = """
`FILE.tmp`: where FILE is written until it is complete. It is removed when a run fails.
"""
RESUMED_FILES = """
`FILE.journal`: what a run has done, which `--resume` goes on from. It is removed when FILE is complete.

`FILE.part`: large tables that are not complete, beside the journal.
"""
ENVIRONMENT = """
`SOURCE_DATE_EPOCH`: where it is set, the `date` of a result is this many seconds after 1970 instead of the
present.
"""
DESCRIPTION = """
otimes opens trained transformer weights and computes what circuits they contain, exactly: the bigram table,
every head's OV and QK circuit, composition of heads, attributions, paths. MODEL is a directory with weights
and a configuration, as Hugging Face's models are, or one file: safetensors, a PyTorch checkpoint, GGUF.

Most commands print a table to read. With `-o FILE` the result goes to FILE: to HDF5 that is valid netCDF-4,
in which every axis is a labelled dimension and every array has its formula and units, or to TSV. The page
of each command says what stands in it.
"""
SUMMARY = "computes the circuits of transformers from their trained weights"
END = (".EE", ".nh")  # of an example, behind which groff would hyphenate again
STARTED = (
    "otimes info model/",
    "otimes heads model/ -o heads.h5",
    'otimes logits model/ --text "The capital of France is" --top 5',
)


def escape(text: str) -> str:
    """Text as roff takes it: every character stands for itself."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return "".join(SPECIAL.get(c, c if c.isascii() else f"\\[u{ord(c):04X}]") for c in text)


def line(text: str) -> str:
    """An escaped line of text, which must not begin a request."""
    return r"\&" + text if text.startswith((".", "'")) else text


def quoted(text: str) -> str:
    """An argument of a macro."""
    return f'"{escape(text)}"'


def bold(text: str) -> str:
    return rf"\fB{escape(text)}\fR"


def italic(text: str) -> str:
    return rf"\fI{escape(text)}\fR"


CODE = r"`([^`]+)`"
OPTION = r"((?<![\w-])(?:--[a-z][a-z-]*|-[a-zA-Z](?![\w-])))"
STRESSED = r"\*{1,2}(\w[^*]*)\*{1,2}"


def inline(text: str, argument: str | None = None) -> str:
    """Markdown within a line: `code` and options are bold, [links](url) lose their address. The name of an
    option's argument is italic."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(text.split()))
    names = "|".join(re.findall(r"[A-Z][A-Z0-9_]*", argument or "")) or "(?!)"
    marked = rf"{CODE}|{OPTION}|{STRESSED}|(?<![\w#`])({names})(?![\w`-])"
    out, at = "", 0
    for found in re.finditer(marked, text):
        code, option, stressed, name = found.groups()
        out += escape(text[at : found.start()])
        out += bold(code or option) if code or option else italic(stressed or name)
        at = found.end()
    return line(out + escape(text[at:]))


def paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            yield ".PP"
        yield inline(paragraph)


# ---- schema pages ----


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


PLAIN = ("", "when", "meaning", "along it", "there")  # headings of what needs no heading
FORM = ("type", "labels", "axes", "units", "must")


def described(row: list[tuple[str, str]]) -> str:
    """What a row of a table says behind its first cell, as a sentence. Each cell has its heading."""
    cell = dict(row)
    form = ", ".join(cell[name] for name in ("type", "labels") if cell.get(name))
    if "axes" in cell:
        axes = cell["axes"].replace("`", "")
        form += f" [{axes}]" + ("" if cell.get("units", "1") in ("1", "") else f" in {cell['units']}")
    said = [text if name in PLAIN else f"{name}: {text}" for name, text in row if text and name not in FORM]
    lead = ", ".join(part for part in (form, cell.get("must", "")) if part)
    return ": ".join(part for part in (lead, "; ".join(said)) if part)


def table(rows: list[str]) -> Iterator[str]:
    """A table as a list of terms: it fits every width."""
    header, *entries = (cells(row) for row in [rows[0], *rows[2:]])
    longest = max((len(entry[0].replace("`", "")) for entry in entries), default=0)
    for number, entry in enumerate(entries):
        if number == 1:
            yield ".PD 0"
        yield f".TP {min(24, 2 + longest)}"
        yield inline(entry[0])
        yield inline(described(list(zip(header[1:], entry[1:])))) or r"\&"
    yield ".PD"


def blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Blocks of Markdown with their lines: heading, table, item, code, text."""
    kind, held = "", list[str]()
    for raw in [*text.splitlines(), ""]:
        stripped = raw.strip()
        if kind == "code":
            if stripped.startswith("```"):
                yield kind, held
                kind, held = "", []
            else:
                held.append(raw)
            continue
        new = (
            "code" if stripped.startswith("```")
            else "heading" if stripped.startswith("#")
            else "table" if stripped.startswith("|")
            else "item" if raw.startswith("- ")
            else "" if not stripped
            else "item" if kind == "item"
            else "text"
        )
        if kind and (new != kind or new in ("heading",) or (new == "item" and raw.startswith("- "))):
            yield kind, held
            held = []
        kind = new
        if new and new != "code":
            held.append(raw)


def schema(text: str) -> Iterator[str]:
    """A schema page as the section OUTPUT."""
    yield ".SH OUTPUT"
    before = "heading"
    for kind, held in blocks(re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)):
        if kind == "heading" and held[0].startswith("# "):
            yield inline(held[0].lstrip("# ") + ".")
            yield ".PP"
        elif kind == "heading":
            yield f".SS {quoted(held[0].lstrip('# ').replace('`', ''))}"
        elif kind == "table":
            yield from table(held)
        elif kind == "item":
            yield r".IP \(bu 2"
            yield inline(" ".join(held).removeprefix("- "))
        elif kind == "code":
            yield from (".PP", ".EX", *(line(escape(row)) for row in held), *END)
        else:
            yield from (".PP",) if before != "heading" else ()
            yield inline(" ".join(held))
        before = kind


# ---- pages ----


def heading(name: str, version: str) -> Iterator[str]:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    date = time.strftime("%Y-%m-%d", time.gmtime(int(epoch))) if epoch.isdigit() else ""
    yield r".\" SPDX-License-Identifier: MIT"
    yield r".\" Made by tools/shell/man.py: change the command's table or its schema page instead."
    title = f"{name.upper()} 1"
    yield f'.TH {title} "{date}" {quoted("otimes " + version)} "otimes manual"'
    yield from (".nh", ".ad l")


def terms(text: str) -> Iterator[str]:
    """Lines of "`term`: what it is" as a list."""
    for paragraph in text.strip().split("\n\n"):
        term, _, said = " ".join(paragraph.split()).partition(": ")
        yield ".TP"
        yield inline(term)
        yield inline(said)


def exits(text: str) -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for item in text.split(", "):
        status, said = re.split(r"(?<!\+) (?!\+)", item, maxsplit=1)
        yield from (".TP", bold(status), inline(said))


def synopsis(text: str) -> str:
    """Usage with what is to be replaced in italics."""
    parts = re.split(r"([A-Z][\w.]*)", text)
    return "".join(italic(part) if part[:1].isupper() else escape(part) for part in parts)


def option_form(option: Json) -> str:
    """The option as help has it: names bold, its argument italic, words of choices bold."""
    found = re.fullmatch(r"(.*?--(?:\[no-\])?[a-z0-9-]+)(\[?[ =]?)(.*)", option["form"])
    assert found, option["form"]
    names, separator, rest = found.groups()
    marks = r"(, |\[no-\]|[|,\]])"
    names = "".join(escape(p) if re.fullmatch(marks, p) else bold(p) for p in re.split(marks, names) if p)
    if option["argument"]:
        return names + escape(separator) + italic(rest)
    words = (escape(p) + r"\:" if re.fullmatch(marks, p) else bold(p) for p in re.split(marks, rest) if p)
    return names + escape(separator) + "".join(words)


def option_type(option: Json) -> str:
    """What its argument may be, where neither form nor help says."""
    kind = option["kind"]
    if kind == "number":
        low, high = option["low"], option["high"]
        if high < 2**30:
            return f"; an integer from {low} to {high}"
        return f"; an integer, at least {low}" if low >= 0 else "; an integer"
    if kind == "set":
        return "; one or more of these words, with commas between them"
    if kind == "texts" and "several times" not in option["help"]:
        return "; may be given several times"
    return ""


def options(command: Json) -> Iterator[str]:
    yield ".SH OPTIONS"
    for section in command["sections"]:
        yield f".SS {quoted(section['heading'])}"
        for option in section["options"]:
            yield ".TP"
            yield option_form(option)
            yield inline(option["help"] + option_type(option), option["argument"]) + "."


def environment(command: Json, page: Path) -> Iterator[str]:
    """What a result's date is by, and variables that the help of an option names."""
    told = ENVIRONMENT if page.is_file() and "`date`" in page.read_text(encoding="utf-8") else ""
    for option in (option for section in command["sections"] for option in section["options"]):
        for name in re.findall(r"\$([A-Z_]{2,})", option["help"]):
            told += f"\n`{name}`: see `--{option['name']}`.\n"
    if told:
        yield from (".SH ENVIRONMENT", *terms(told))


def example(lines: Iterable[str]) -> Iterator[str]:
    yield ".SH EXAMPLES"
    yield ".EX"
    yield from (line(escape(text)) for text in lines)
    yield from END


def see_also(names: Iterable[str]) -> Iterator[str]:
    yield ".SH SEE ALSO"
    listed = list(names)
    for name in listed:
        yield rf".BR \%{escape(name)} (1){',' if name != listed[-1] else ''}"


def command_page(command: Json, table_of_all: Json, page: Path) -> Iterator[str]:
    name = "otimes-" + command["name"]
    yield from heading(name, table_of_all["version"])
    yield from (".SH NAME", rf"{escape(name)} \- {escape(command['summary'])}")
    usage = f"{bold('otimes ' + command['name'])} [{italic('options')}] {synopsis(command['operands'])}"
    yield from (".SH SYNOPSIS", usage)
    yield ".SH DESCRIPTION"
    yield from paragraphs(command["about"])
    yield ".PP"
    yield from paragraphs(command["operands_about"])
    yield from options(command)
    if page.is_file():
        yield from schema(page.read_text(encoding="utf-8"))
    yield from exits(command["exits"])
    yield from environment(command, page)
    yield from (".SH FILES", *terms(COMMON_FILES + (RESUMED_FILES if command["resumes"] else "")))
    yield from example([command["example"]])
    others = ("otimes-" + c["name"] for c in table_of_all["commands"] if c["group"] == command["group"])
    yield from see_also(["otimes", *(other for other in others if other != name)])


def main_page(all_of: Json) -> Iterator[str]:
    yield from heading("otimes", all_of["version"])
    yield from (".SH NAME", rf"otimes \- {escape(SUMMARY)}")
    yield ".SH SYNOPSIS"
    yield f"{bold('otimes')} {italic('COMMAND')} [{italic('options')}] {italic('MODEL')}"
    yield from (".br", f"{bold('otimes help')} {italic('COMMAND')}")
    yield from (".br", f"{bold('otimes --version')} | {bold('--help')}")
    yield from (".SH DESCRIPTION", *paragraphs(DESCRIPTION))
    yield ".SH COMMANDS"
    for group in dict.fromkeys(command["group"] for command in all_of["commands"]):
        yield f".SS {quoted(group)}"
        for command in all_of["commands"]:
            if command["group"] == group:
                yield from (".TP", rf".BR otimes\-{escape(command['name'])} (1)", inline(command["summary"]))
    yield ".SH OPTIONS"
    yield from (".TP", rf"{bold('-h')}, {bold('--help')}", "list the commands.")
    yield from (".TP", rf"{bold('-V')}, {bold('--version')}", "the version, and what it was built with.")
    yield from exits(all_of["exits"])
    yield from (".SH ENVIRONMENT", *terms(ENVIRONMENT))
    yield from example(STARTED)
    yield from see_also("otimes-" + command["name"] for command in all_of["commands"])


def folded(lines: Iterable[str]) -> Iterator[str]:
    """Lines of at most 80 bytes, where they are text that is filled."""
    before, filled = "", True
    for text in lines:
        filled = before != ".EX" and (filled or before == ".EE")
        while filled and len(text) > 80 and not text.startswith(".") and not before.startswith(".TP"):
            cut = text.rfind(" ", 0, 79)
            if cut <= 0:
                break
            # A line that ends in a full stop would end a sentence.
            yield text[:cut] + (r"\&" if text[:cut].endswith("e.g.") else "")
            text = line(text[cut + 1 :])
        yield text
        before = text


def main() -> None:
    table_path, schemas, output = (Path(argument) for argument in sys.argv[1:])
    all_of = json.loads(table_path.read_text(encoding="utf-8"))
    pages = {"otimes": main_page(all_of)}
    for command in all_of["commands"]:
        pages["otimes-" + command["name"]] = command_page(command, all_of, schemas / f"{command['name']}.md")
    for name, lines in pages.items():
        (output / f"{name}.1").write_text("\n".join(folded(lines)) + "\n", encoding="ascii")


main()
