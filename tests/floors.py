#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The floor plan held against the sources: who includes whom, which interface lives where, what the
library never does, lengths and blanks.

usage: floors.py [ROOT] [--objects PATH ...] [--library PATH ...]
--objects: also reads the symbols of these archives or objects of the library with nm.
--library: also reads what these shared libraries import.
"""
import argparse
import re
import subprocess
import sys
from pathlib import Path

FLOORS = ["base", "num", "format", "token", "model", "run", "analysis"]
LONGEST = 700
SOURCES = (".c", ".h", ".py", ".sh", ".build")

# Outside interfaces: what says that a file uses one, and the files that may.
INTERFACES = [
    ("BLAS or LAPACK", r"#\s*include\s*<(cblas|lapacke?|lapack)\b|\b(cblas|LAPACKE|openblas)_\w+\s*\(",
     ["lib/num/la_blas.c", "tests/bench/bench_sgemm.c"]),
    ("OpenMP", r"#\s*include\s*<omp\.h>|#\s*pragma\s+omp\b", ["lib/base/par.c"]),
    ("the allocator", r"\b(malloc|calloc|realloc|free|aligned_alloc|posix_memalign|strdup|strndup)\s*\(",
     ["lib/base/mem.c", "lib/base/alloc.c"]),
    ("jansson", r"#\s*include\s*<jansson\.h>", ["lib/format/json.h", "lib/format/vocab.h", "tools/jsonl.c"]),
    ("PCRE2", r"#\s*include\s*<pcre2", ["lib/token/pattern.c"]),
    ("utf8proc", r"#\s*include\s*<utf8proc", ["lib/token/unicode.c"]),
    ("SLEEF", r"#\s*include\s*<sleef", ["lib/num/vmath_sleef.c"]),
    ("OpenSSL", r"#\s*include\s*<openssl/", ["lib/base/sha256.c"]),
    ("HDF5", r"#\s*include\s*<hdf5", ["tools/sink_h5.c", "tools/h5write_parts.c", "tools/h5write_parts.h", "tools/h5read.c", "tools/h5read_parts.c", "tools/h5read_parts.h"]),
    ("memory maps", r"#\s*include\s*<sys/mman\.h>", ["lib/format/map.c", "tools/start.c"]),
    ("an architecture's name", r'"(gpt2|gpt_neox?|gptj|llama|mistral|mixtral|qwen\d\w*|gemma\d?\w*|falcon|bloom|opt|phi3?|transformer_lens)"',
     ["lib/model/arch_table.c", "lib/token/gguf.c"]),  # there they are kinds of tokenizers
]
LIBRARY_ONLY = {"the allocator", "an architecture's name"}

# What no file of the library does; the module of the Python package is a process' own, as the program is.
SETS_SIGNALS = "sets the locale or signals"
SIGNALS_MAY = "lib/python/binding.h"
FORBIDDEN = [
    ("writes to stdout or stderr", r"\b(printf|puts|putchar|vprintf|perror)\s*\(|\bstd(out|err)\b"),
    ("ends the process", r"\b(exit|_exit|quick_exit|abort)\s*\("),
    ("opens a file to write", r"\bO_(WRONLY|RDWR|CREAT|TRUNC|APPEND)\b"),
    ("reads the environment", r"\b(secure_)?getenv\s*\("),
    (SETS_SIGNALS, r"\b(setlocale|signal|sigaction|atexit)\s*\("),
    ("uses a function without bounds", r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok)\s*\("),
]

# What the library must not ask of the system, by the names its shared object imports.
REFUSED_IMPORTS = [
    ("the network", r"socket|connect|bind|listen|accept4?|send(to|msg)?|recv(from|msg)?|getaddrinfo|gethostby\w+"),
    ("other programs", r"system|popen|v?fork|clone|posix_spawnp?|exec[lv]p?e?|fexecve|dlm?open|wait(pid)?"),
    ("the environment", r"(secure_)?getenv|setenv|putenv|unsetenv|environ|setlocale|getpw\w+"),
    ("files other than to read", r"f(re)?open(64)?|creat(64)?|p?write(v|64)?|f(write|puts|putc|printf)|unlink(at)?|"
                                 r"rename(at2?)?|mkdir(at)?|rmdir|(f?truncate)(64)?|(sym)?link(at)?|f?ch(mod|own)|mk\w*temp\w*"),
    ("stdout or stderr", r"puts|putchar|v?printf|perror|stdout|stderr"),
    ("an end of the process", r"exit|_exit|_Exit|quick_exit|abort|raise|kill"),
    ("signals", r"signal|sigaction|sigprocmask|alarm|setitimer|atexit|on_exit"),
]

# What sanitizers and OpenMP put into objects.
MADE_BY_COMPILERS = (".gomp_critical", "_gomp_critical", "__odr_asan", "__asan", "__ubsan", ".L",
                     "_sub_I", "_sub_D", "__tsan")


class Problems:
    def __init__(self, root):
        self.root, self.count = root, 0

    def add(self, path, line, text):
        self.count += 1
        name = path.relative_to(self.root) if isinstance(path, Path) else path
        print(f"floors.py: {name}{f':{line}' if line else ''}: {text}")


def without_comments(text):
    """The code with comments blanked out, line numbers kept; strings stay."""
    pattern = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', re.S)

    def blank(match):
        part = match.group(0)
        return re.sub(r"[^\n]", " ", part) if part.startswith("/") else part

    return pattern.sub(blank, text)


def without_strings(code):
    return re.sub(r'"(?:\\.|[^"\\\n])*"', lambda m: '"' + " " * (len(m.group(0)) - 2) + '"', code)


def lines_that_match(pattern, code):
    for number, line in enumerate(code.splitlines(), 1):
        if re.search(pattern, line):
            yield number, line.strip()


def includes_of(code):
    for number, line in enumerate(code.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1), match.group(2)


def check_floors(root, code_of, problems):
    """Own or lower floors only; `otimes/x.h` of an analysis belongs to the top floor."""
    lib = root / "lib"
    analyses = {path.stem for path in (lib / "analysis").glob("*.c")}
    graph = {}
    for path, code in code_of.items():
        if lib not in path.parents or path.relative_to(lib).parts[0] in ("include", "python"):
            continue
        floor = FLOORS.index(path.relative_to(lib).parts[0])
        for number, mark, name in includes_of(code):
            head, _, tail = name.partition("/")
            if mark == '"' and head not in FLOORS:
                problems.add(path, number, f'"{name}" does not begin with a floor')
            elif mark == '"':
                if FLOORS.index(head) > floor:
                    problems.add(path, number, f"{FLOORS[floor]} includes {name} of a higher floor")
                if not (lib / name).is_file():
                    problems.add(path, number, f"{name} does not exist")
                graph.setdefault(path.relative_to(lib).as_posix(), set()).add(name)
            elif head == "otimes" and Path(tail).stem in analyses:
                check_public_analysis(path, number, tail, floor, problems)
    check_analyses(code_of, lib, analyses, problems)
    for circle in circles(graph):
        problems.add("lib", 0, "a circle of includes: " + " -> ".join(circle))


def check_public_analysis(path, number, header, floor, problems):
    own = path.stem == Path(header).stem or path.stem.startswith(Path(header).stem + "_")
    if FLOORS[floor] != "analysis":
        problems.add(path, number, f"{FLOORS[floor]} includes otimes/{header} of an analysis")
    elif not own:
        problems.add(path, number, f"includes another analysis' otimes/{header}")


def check_analyses(code_of, lib, analyses, problems):
    """analysis/heads_write.c belongs to heads: the longest analysis with a public header."""
    public = {path.stem for path in (lib / "include/otimes").glob("*.h")}
    owners = sorted(analyses & public, key=len, reverse=True)

    def owner(stem):
        return next((o for o in owners if stem == o or stem.startswith(o + "_")), stem)

    for path, code in code_of.items():
        if path.parent != lib / "analysis":
            continue
        for number, mark, name in includes_of(code):
            if mark == '"' and name.startswith("analysis/") and owner(Path(name).stem) != owner(path.stem):
                problems.add(path, number, f"includes {name} of another analysis")


def circles(graph):
    """Circles of headers: each begins at its smallest name."""
    found = []
    done = set()

    def visit(node, trail):
        if node in trail:
            circle = trail[trail.index(node):]
            if node == min(circle):
                found.append(circle + [node])
            return
        if node in done:
            return
        for other in sorted(graph.get(node, ())):
            visit(other, trail + [node])
        done.add(node)

    for node in sorted(graph):
        visit(node, [])
    return found


def check_public_headers(root, code_of, problems):
    for path, code in code_of.items():
        if path.parent == root / "lib/include/otimes":
            for number, mark, name in includes_of(code):
                system = name in ("stddef.h", "stdint.h", "stdbool.h")
                if mark != "<" or not (name.startswith("otimes/") or system):
                    problems.add(path, number, f"a public header includes {name}")


def check_tools(root, code_of, problems):
    """Public headers, its own, and the system's."""
    tools = root / "tools"
    generated = {"commands.h", "report_page.h", "tools_config.h"}
    for path, code in code_of.items():
        if tools not in path.parents:
            continue
        for number, mark, name in includes_of(code):
            if mark == '"' and not (tools / name).is_file() and name not in generated:
                problems.add(path, number, f'"{name}" is not a header of tools')
            if mark == "<" and name.startswith("otimes/") and not (root / "lib/include" / name).is_file():
                problems.add(path, number, f"<{name}> is not a public header")
            if mark == "<" and name.split("/")[0] in FLOORS:
                problems.add(path, number, f"<{name}> is inside the library")


def check_interfaces(root, code_of, problems):
    for path, code in code_of.items():
        name = path.relative_to(root).as_posix()
        in_library = name.startswith("lib/")
        if not in_library and not name.startswith("tools/"):
            continue
        bare = without_strings(code)
        for what, pattern, allowed in INTERFACES:
            if name in allowed or (what in LIBRARY_ONLY and not in_library):
                continue
            text = code if what == "an architecture's name" else bare
            for number, line in lines_that_match(pattern, text):
                problems.add(path, number, f"{what} belongs to {', '.join(allowed)}: {line}")
        for what, pattern in FORBIDDEN if in_library else []:
            if what == SETS_SIGNALS and path == root / SIGNALS_MAY:
                continue
            for number, line in lines_that_match(pattern, bare):
                problems.add(path, number, f"the library {what}: {line}")


def check_style(root, problems):
    for folder in ("lib", "tools", "tests", "notebooks-data"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCES and path.is_file() and "venv" not in path.parts:
                check_file(path, problems)
    check_file(root / "meson.build", problems)


def check_file(path, problems):
    data = path.read_bytes()
    lines = data.split(b"\n")
    if b"SPDX-License-Identifier: MIT" not in b"\n".join(lines[:3]):
        problems.add(path, 1, "no SPDX line")
    if len(lines) - 1 > LONGEST:
        problems.add(path, 0, f"{len(lines) - 1} lines, at most {LONGEST}")
    if data and not data.endswith(b"\n"):
        problems.add(path, len(lines), "no newline at the end")
    if data.endswith(b"\n\n"):
        problems.add(path, len(lines), "blank lines at the end")
    for number, line in enumerate(lines, 1):
        if b"\r" in line:
            problems.add(path, number, "a carriage return")
        if b"\t" in line:
            problems.add(path, number, "a tab")
        if line.rstrip(b" \t\r") != line.rstrip(b"\r"):
            problems.add(path, number, "a blank at the end of the line")


def symbols_of(path):
    """(member, name, class, section) of everything defined, as nm tells it."""
    out = subprocess.run(["nm", "--defined-only", "--format=sysv", path], capture_output=True,
                         text=True, check=True)
    member = Path(path).name
    for line in out.stdout.splitlines():
        heading = re.match(r"Symbols from .*\[(.+)\]:", line)
        member = heading.group(1) if heading else member
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == 7 and parts[0] != "Name":
            yield member, parts[0], parts[2], parts[6]


def check_symbols(objects, problems):
    """No changing globals, and every name that others can see bears the prefix. Tables of pointers
    lie in .data.rel.ro, which is read-only once loaded."""
    for path in objects:
        seen = 0
        for member, name, kind, section in symbols_of(path):
            seen += 1
            if name.startswith(MADE_BY_COMPILERS):
                continue
            if kind.isupper() and not name.startswith("otimes_"):
                problems.add(member, 0, f"{name}: a visible symbol without the prefix otimes_")
            if re.match(r"\.t?(data|bss)(?!\.rel\.ro)|\*COM\*|COMMON", section):
                problems.add(member, 0, f"{name}: changing data in {section}")
        if not seen:
            problems.add(str(path), 0, "no symbols were read")


def check_imports(libraries, problems):
    """What a shared library asks of others; open is only ever O_RDONLY, which the sources show."""
    for path in libraries:
        out = subprocess.run(["nm", "-D", "--undefined-only", path], capture_output=True, text=True, check=True)
        names = [line.split()[1].split("@")[0] for line in out.stdout.splitlines()]
        if not names:
            problems.add(str(path), 0, "no imports were read")
        for name in names:
            for what, pattern in REFUSED_IMPORTS:
                if re.fullmatch(pattern, name):
                    problems.add(str(path), 0, f"{name}: the library uses {what}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--objects", nargs="*", default=[])
    parser.add_argument("--library", nargs="*", default=[])
    options = parser.parse_args()
    root = options.root.resolve()
    problems = Problems(root)
    code_of = {}
    for folder in ("lib", "tools"):
        for path in sorted((root / folder).rglob("*.[ch]")):
            code_of[path] = without_comments(path.read_text(encoding="utf-8"))
    if not code_of:
        problems.add("lib", 0, "no sources")
    check_floors(root, code_of, problems)
    check_public_headers(root, code_of, problems)
    check_tools(root, code_of, problems)
    check_interfaces(root, code_of, problems)
    check_style(root, problems)
    check_symbols(options.objects, problems)
    check_imports(options.library, problems)
    print(f"floors.py: {len(code_of)} sources, {problems.count} problems")
    return problems.count > 0


if __name__ == "__main__":
    sys.exit(main())
