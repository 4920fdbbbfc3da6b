#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Puts the report page's style, scripts and libraries into one HTML text, as a C array for the program.

Usage: assemble.py page.html FILE... -o report_page.h     (C)
       assemble.py page.html FILE... --html -o page.html  (the text itself, to look at)

In page.html a line `<!-- otimes: NAME -->` stands for the file of that name: between <style> tags
for .css, <script> tags for .js. One line `<!-- otimes: data -->` stays: the program writes its data
there.
"""
import argparse
import pathlib
import re
import sys

MARK = re.compile(r"^[ \t]*<!-- otimes: (\S+) -->[ \t]*\n", re.M)


def wrapped(path: pathlib.Path) -> str:
    text = path.read_text(encoding="utf-8")
    tag = {".css": "style", ".js": "script"}[path.suffix]
    if f"</{tag}" in text.lower():
        sys.exit(f"{path}: expected no </{tag} inside, it would end the page's own")
    return f"<{tag}>\n{text.rstrip()}\n</{tag}>\n"


def assembled(page: pathlib.Path, files: list[pathlib.Path]) -> tuple[str, str]:
    """What stands before the data, and what behind."""
    by_name = {path.name: path for path in files}
    text = page.read_text(encoding="utf-8")
    named = MARK.findall(text)
    if named.count("data") != 1 or sorted(named) != sorted([*by_name, "data"]):
        sys.exit(f"{page}: expected one mark each for data, {', '.join(by_name)}; got {', '.join(named)}")
    before, after = re.split(r"^[ \t]*<!-- otimes: data -->[ \t]*\n", text, flags=re.M)
    put = lambda mark: wrapped(by_name[mark.group(1)])  # noqa: E731
    return MARK.sub(put, before), MARK.sub(put, after)


def c_array(name: str, text: str) -> str:
    data = text.encode("utf-8")
    lines = [",".join(map(str, data[i : i + 32])) for i in range(0, len(data), 32)]
    return f"static const unsigned char {name}[{len(data)}] = {{\n" + ",\n".join(lines) + "\n};\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("files", type=pathlib.Path, nargs="*")
    parser.add_argument("--html", action="store_true")
    parser.add_argument("-o", dest="output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    before, after = assembled(arguments.page, arguments.files)
    if arguments.html:
        text = before + "<!-- otimes: data -->\n" + after
    else:
        text = c_array("report_before", before) + c_array("report_after", after)
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
