# SPDX-License-Identifier: MIT
"""Makes the C source of the compiled module from the public headers, so that nothing is declared twice.

The compiler's own preprocessor reads them; what is left of our files, without attributes, is what
cffi parses, and the C compiler then holds every struct and call against the headers themselves.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess

import cffi

MARKER = re.compile(r'# \d+ "([^"]*)"')
DEFINE = re.compile(r"#define (OTIMES_[A-Z0-9_]+) (.+)")
NUMBER = re.compile(r"[-+(]*(0x)?[0-9][-+0-9a-fA-F.eEuUlL<>() ]*")
NESTED_ENUM = re.compile(r"^    enum (\{[^}]*\}) (\w+);", re.M)
# What binding.h adds to the headers: the sink that results come through, models whose files may
# change, and readers in Python.
BINDING = """
typedef struct otimes_py_sink {
    otimes_sink sink;
    void *self;
    int stop;
    int wanted;
    ...;
} otimes_py_sink;
void otimes_py_sink_begin(otimes_py_sink *sink, otimes_memory_sink *memory, void *self);
void otimes_py_install(void);
void otimes_py_watch(const otimes_model *model);
void otimes_py_forget(const otimes_model *model);
extern "Python" int otimes_py_axis(otimes_sink *sink, const otimes_axis *axis, otimes_err *err);
extern "Python" int otimes_py_progress(otimes_sink *sink, double done, double total);
extern "Python" const otimes_array *otimes_py_reader_array(const otimes_reader *reader, int64_t index);
extern "Python" const otimes_axis *otimes_py_reader_axis(const otimes_reader *reader, int64_t index);
extern "Python" const otimes_attr *otimes_py_reader_attribute(const otimes_reader *reader, int64_t index);
extern "Python" int otimes_py_reader_read(const otimes_reader *reader, int64_t index, const int64_t *start,
                                          const int64_t *count, void *data, otimes_err *err);
"""


def preprocess(cc: list[str], include: str, source: str, *options: str) -> str:
    command = [*cc, "-x", "c", "-std=c11", f"-I{include}", *options, "-E", "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


def own_lines(text: str, include: str) -> str:
    """The preprocessor's lines that come from files under `include`."""
    ours, kept = False, []
    for line in text.splitlines():
        marker = MARKER.match(line)
        if marker:
            ours = os.path.abspath(marker[1]).startswith(os.path.abspath(include) + os.sep)
        elif ours and line.strip():
            kept.append(line)
    return "\n".join(kept) + "\n"


def without_attributes(text: str) -> str:
    """Drops __attribute__((...)), whose parentheses nest."""
    parts = []
    while True:
        before, found, text = text.partition("__attribute__")
        parts.append(before)
        if not found:
            return "".join(parts)
        depth, at = 0, text.index("(")
        while depth or text[at] == "(":
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        text = text[at:]


def named_enums(text: str) -> str:
    """cffi cannot name an enum inside a struct: it is an int there, and its words are constants."""
    words = "".join(f"enum {body};\n" for body, _ in NESTED_ENUM.findall(text))
    return words + NESTED_ENUM.sub(r"    int \2;", text)


def constants(macros: str) -> str:
    """Numbers among the macros, as cffi declares them."""
    lines = []
    for name, value in DEFINE.findall(macros):
        if NUMBER.fullmatch(value.strip()):
            real = re.search(r"\.|^[^x]*e", value.lower()) is not None
            lines.append(f"static const double {name};" if real else f"#define {name} ...")
    return "\n".join(sorted(lines)) + "\n"


def declarations(cc: list[str], include: str, source: str) -> str:
    text = named_enums(without_attributes(own_lines(preprocess(cc, include, source), include)))
    return text + constants(preprocess(cc, include, source, "-dM")) + BINDING


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", dest="output", required=True)
    parser.add_argument("--depfile", required=True)
    parser.add_argument("--include", required=True)
    parser.add_argument("--cc", nargs="+", required=True)
    options = parser.parse_args()
    source = "".join(f"#include <otimes/{name}>\n" for name in sorted(os.listdir(options.include + "/otimes")))
    ffi = cffi.FFI()
    ffi.cdef(declarations(options.cc, options.include, source))
    ffi.set_source("otimes._otimes", source + '#include "binding.h"\n')
    ffi.emit_c_code(options.output)
    rule = preprocess(options.cc, options.include, source, "-MM", "-MT", options.output)
    with open(options.depfile, "w", encoding="utf-8") as file:
        file.write(rule)


if __name__ == "__main__":
    main()
