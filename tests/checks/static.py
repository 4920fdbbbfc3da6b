#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compilers and checkers over every source that the build folder compiles; whatever one says is an error.

usage: static.py BUILD warnings|tidy|cppcheck [--all]
warnings: gcc and clang, their front ends over lib, tools and tests; with --all gcc compiles in full, so
          that what it sees in its later passes counts too
tidy:     clang-tidy over lib and tools, as .clang-tidy says; with --all its path-sensitive analyser too
cppcheck: lib and tools
Exit 77 where the tool is not there.
"""
import argparse
import subprocess
import sys
from pathlib import Path

from compiled import ROOT, SKIP, openmp_folder, run_all, sources, tool

# What only clang has, and gcc must not be asked for. Tests free several blocks in one statement.
CLANG = ["-Wconditional-uninitialized", "-Wunreachable-code", "-Wmissing-noreturn", "-Wstring-conversion",
         "-Wloop-analysis", "-Wshorten-64-to-32", "-Wbitwise-instead-of-logical"]
CLANG_OURS = ["-Wcomma"]
# Flags of the build that the other compiler does not know.
FOREIGN = ["-Wno-unknown-warning-option", "-Wno-unused-command-line-argument"]
# It knows the C library without its headers. What the build makes it does without: the report's page is one array
# that takes it minutes.
CPPCHECK = ["--enable=warning,performance,portability", "--inline-suppr", "--error-exitcode=1", "--quiet",
            "--std=c11", "--suppress=missingIncludeSystem", "-D_GNU_SOURCE", "-D__GNUC__", "-D__x86_64__",
            "-j2", "-Ilib", "-Ilib/include", "-Itools"]


def with_compiler(build, compiler, extra, ours=()):
    for name, (folder, path, arguments) in sources(build).items():
        own = list(ours) if not name.startswith("tests/") else []
        yield name, folder, [compiler, *arguments, *extra, *own, "-Werror", path]


def warnings(build, everything):
    gcc, clang = tool("gcc"), tool("clang")
    missing = [name for name, found in (("gcc", gcc), ("clang", clang)) if not found]
    found = []
    if gcc:
        how = ["-c", "-o", "/dev/null"] if everything else ["-fsyntax-only"]
        found += run_all(with_compiler(build, gcc, how))
    if clang:
        with openmp_folder() as openmp:
            found += run_all(with_compiler(build, clang, ["-fsyntax-only", f"-idirafter{openmp}", *FOREIGN, *CLANG],
                                           CLANG_OURS))
    return found, missing


def tidy(build, everything):
    program = tool("clang-tidy")
    if not program:
        return [], ["clang-tidy"]
    checks = [] if everything else ["--checks=-clang-analyzer-*"]
    with openmp_folder() as openmp:
        return list(run_all(
            (name, folder, [program, "--quiet", *checks, path, "--", *arguments, f"-idirafter{openmp}", *FOREIGN])
            for name, (folder, path, arguments) in sources(build, ("lib", "tools")).items())), []


def cppcheck(_build, _everything):
    program = tool("cppcheck")
    if not program:
        return [], ["cppcheck"]
    command = [program, *CPPCHECK, "lib", "tools"]
    return list(run_all([("lib, tools", ROOT, command)])), []


CHECKS = {"warnings": warnings, "tidy": tidy, "cppcheck": cppcheck}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    if not (options.build / "compile_commands.json").is_file():
        sys.exit(f"static.py: {options.build}: no compile_commands.json")
    found, missing = CHECKS[options.check](options.build.resolve(), options.all)
    for name, output in found:
        print(f"== {name}\n{output}")
    for name in missing:
        print(f"static.py: no {name} here: its part is left out")
    print(f"static.py: {options.check}: {len(found)} sources with findings")
    return 1 if found else SKIP if missing else 0


if __name__ == "__main__":
    sys.exit(main())
