#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the library's binary interface against tests/checks/abi.txt: functions with their signatures,
structs with the offset and size of each field, values of enums, and what the built library exports.

usage: abi.py LIBOTIMES.SO [--update]
--update writes abi.txt anew; a struct with a reserved tail keeps its size all the same.
"""
import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
INCLUDE = ROOT / "lib/include"
KEPT = Path(__file__).with_name("abi.txt")
EXPORTED = '__attribute__((visibility("default")))'


def compiler():
    return os.environ.get("CC", "cc").split()


def own_text():
    """The public headers as the preprocessor leaves them, attributes gone but for a mark at exports."""
    source = "".join(f"#include <otimes/{path.name}>\n" for path in sorted((INCLUDE / "otimes").glob("*.h")))
    command = [*compiler(), "-x", "c", "-std=c11", f"-I{INCLUDE}", "-E", "-"]
    out = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    ours, kept = False, []
    for line in out.splitlines():
        marker = re.match(r'# \d+ "([^"]*)"', line)
        if marker:
            ours = marker[1].startswith(str(INCLUDE))
        elif ours:
            kept.append(line)
    text = " ".join(kept).replace(EXPORTED, "EXPORTED ")
    text = re.sub(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)", " ", text)
    return source, re.sub(r"\s+", " ", text)


def split_at(text, mark):
    """Pieces between marks that stand outside all brackets."""
    pieces, depth, begin = [], 0, 0
    for at, letter in enumerate(text):
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(letter, 0)
        if letter == mark and depth == 0:
            pieces.append(text[begin:at].strip())
            begin = at + 1
    rest = text[begin:].strip()
    return [piece for piece in pieces + [rest] if piece]


def declared_name(declarator):
    pointer = re.search(r"\(\s*\*\s*(\w+)", declarator)
    return pointer[1] if pointer else re.search(r"(\w+)\s*(\[[^\]]*\]\s*)*$", declarator)[1]


def fields_of(body):
    """(name, declaration) of each field; words of a nested enum are left to the enums."""
    for declaration in split_at(body, ";"):
        plain = re.sub(r"enum \{[^}]*\}", "int", declaration)
        for declarator in split_at(plain, ","):
            yield declared_name(declarator), plain


def words_of(body):
    return [word.split("=")[0].strip() for word in split_at(body, ",")]


def describe():
    """Functions and types as lines; fields of structs and words of enums, whose numbers the compiler knows."""
    source, text = own_text()
    plain, structs, enums = [], {}, []
    for declaration in split_at(text, ";"):
        struct = re.search(r"\bstruct (\w+) \{(.*)\}", declaration)
        enum = None if struct else re.search(r"\benum \w* ?\{(.*)\}", declaration)
        if struct:
            structs[struct[1]] = list(fields_of(struct[2]))
            enums += [words_of(body) for body in re.findall(r"enum \{([^}]*)\}", struct[2])]
        elif enum:
            enums.append(words_of(enum[1]))
        elif declaration.startswith("EXPORTED"):
            plain.append("function: " + declaration.removeprefix("EXPORTED").strip())
        elif declaration.startswith("typedef"):
            plain.append("type: " + declaration)
        elif "(" in declaration:
            raise SystemExit(f"abi.py: not marked OTIMES_API: {declaration}")
    return source, sorted(plain), structs, enums


def probe(source, structs, enums):
    """Sizes, offsets and values, as a compiled program prints them."""
    lines = [source, "#include <stdio.h>", "int main(void) {"]

    def say(text, *numbers):
        numbers = "".join(f", (long long)({number})" for number in numbers)
        lines.append(f'    printf("{text}\\n"{numbers});')

    for name, fields in structs.items():
        tag = f"struct {name}"
        say(f"{tag}: %lld bytes, aligned to %lld", f"sizeof({tag})", f"_Alignof({tag})")
        for field, declaration in fields:
            say(f"{tag}: at %lld, %lld bytes: {field}: {declaration}", f"offsetof({tag}, {field})",
                f"sizeof((({tag} *)0)->{field})")
    for words in enums:
        for word in words:
            say(f"enum: {word} = %lld", word)
    lines.append("}")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "probe")
        command = [*compiler(), "-x", "c", "-std=c11", "-w", f"-I{INCLUDE}", "-", "-o", str(program)]
        subprocess.run(command, input="\n".join(lines), text=True, check=True)
        return subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()


def exported_by(library):
    out = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in out.splitlines()}


def wrong_exports(library, functions):
    declared = {re.search(r"(\w+) ?\(", line)[1] for line in functions}
    exported = exported_by(library)
    return ([f"exported, but in no public header: {name}" for name in sorted(exported - declared)] +
            [f"in a public header, but not exported: {name}" for name in sorted(declared - exported)])


def shrunk_tails(before, now):
    """Structs with a reserved tail whose size is another one."""
    reserved = {line.split(":")[0] for line in before if re.search(r": reserved\w*: ", line)}
    sizes = {line for line in now if " bytes, aligned to " in line}
    return [line for line in before if " bytes, aligned to " in line and line.split(":")[0] in reserved and
            line not in sizes]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("library")
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    source, plain, structs, enums = describe()
    functions = [line for line in plain if line.startswith("function: ")]
    now = plain + probe(source, structs, enums)
    before = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.is_file() else []
    problems = wrong_exports(options.library, functions)
    problems += [f"a struct with a reserved tail changed its size: {line}" for line in shrunk_tails(before, now)]
    if options.update and not problems:
        KEPT.write_text("\n".join(now) + "\n", encoding="utf-8")
    elif not options.update:
        problems += [line for line in difflib.unified_diff(before, now, "abi.txt", "now", lineterm="", n=0)
                     if not line.startswith(("---", "+++", "@@"))]
    for problem in problems:
        print(f"abi.py: {problem}")
    if problems and not options.update:
        print(f"abi.py: where that is meant: python3 tests/checks/abi.py {options.library} --update")
    print(f"abi.py: {len(functions)} functions, {len(structs)} structs, {sum(map(len, enums))} enumerators, "
          f"{len(problems)} problems")
    return len(problems) > 0 or not functions or not structs


if __name__ == "__main__":
    sys.exit(main())
