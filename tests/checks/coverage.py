#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Which lines of lib/ the tests reached, from a build folder with -Db_coverage=true whose tests have run.

usage: coverage.py BUILD [--least PERCENT] [--files]
A line that no test can reach says so: /* unreached: why */ at the end of a line covers the statement or the
block that begins there. Fails below PERCENT (95) of all lines, for a line that is neither reached nor marked,
and for a mark at what was reached.
"""
import argparse
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MARK = re.compile(r"/\* unreached: .+\*/\s*$")


def counts_of(build, note):
    """gcov's report on one object."""
    done = subprocess.run(["gcov", "--json-format", "--stdout", note], cwd=build, capture_output=True, check=True)
    return json.loads(done.stdout or b"{}")


def count_lines(build):
    """{path in the tree: {line: times}}: a line of a header counts where any object reached it."""
    notes = sorted(build.glob("libotimes.so*.p/*.gcno"))
    total = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for report in pool.map(lambda note: counts_of(build, note), notes):
            for file in report.get("files", []):
                path = Path(build, file["file"]).resolve()
                if ROOT / "lib" in path.parents:
                    lines = total.setdefault(path.relative_to(ROOT).as_posix(), {})
                    for line in file["lines"]:
                        lines[line["line_number"]] = lines.get(line["line_number"], 0) + line["count"]
    return dict(sorted(total.items()))


def without_strings(line):
    return re.sub(r"""'(\\.|[^'\\])'|"(\\.|[^"\\])*"|/\*.*?\*/""", "", line)


def marked_lines(text):
    """[set of lines] of each mark: from its line to the end of the statement, block or case that begins there."""
    marks = []
    for at, line in enumerate(text):
        if MARK.search(line):
            end, depth = at, 0
            label = without_strings(line).strip().endswith(":")
            while end < len(text):
                code = without_strings(text[end]).strip()
                depth += sum(code.count(c) for c in "({") - sum(code.count(c) for c in ")}")
                if end == at and code.endswith("{"):  # a block, whatever closes before it
                    depth = 1
                if end > at and code.startswith("} else"):  # its line is another block's
                    break
                end += 1
                if label and not code.startswith(("break;", "return")):
                    continue
                if depth <= 0 and code.endswith((";", "}")):
                    break
            marks.append(set(range(at + 1, end + 1)))
    return marks


def ranges(lines):
    """"3, 5-9" of sorted numbers."""
    parts = []
    for line in lines:
        if parts and parts[-1][1] == line - 1:
            parts[-1][1] = line
        else:
            parts.append([line, line])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def check_file(name, counts):
    """(lines, reached, marked, problems)"""
    marks = marked_lines((ROOT / name).read_text(encoding="utf-8").splitlines())
    problems = [f"{name}:{min(mark)}: said to be unreached, but a test came there" for mark in marks
                if any(counts.get(line) for line in mark - {min(mark)}) or
                (len(mark) == 1 and counts.get(min(mark)))]
    excused = set().union(*marks)
    missed = [line for line in sorted(counts) if not counts[line]]
    unsaid = [line for line in missed if line not in excused]
    if unsaid:
        problems.append(f"{name}:{unsaid[0]}: unreached: {ranges(unsaid)}")
    return len(counts), len(counts) - len(missed), len(missed) - len(unsaid), problems


def say(what, lines, reached, marked):
    print(f"{what:40} {reached:6} of {lines:6} lines, {100 * reached / max(lines, 1):6.2f} %, {marked} said to be unreached")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--least", type=float, default=95)
    parser.add_argument("--files", action="store_true", help="also one row for each file")
    options = parser.parse_args()
    problems, folders, total = [], {}, [0, 0, 0]
    for name, counts in count_lines(options.build.resolve()).items():
        *numbers, found = check_file(name, counts)
        problems += found
        if options.files:
            say(name, *numbers)
        folder = folders.setdefault(os.path.dirname(name), [0, 0, 0])
        for sums in (folder, total):
            sums[:] = [a + b for a, b in zip(sums, numbers)]
    for problem in problems:
        print(f"coverage.py: {problem}")
    for folder, numbers in folders.items():
        say(folder, *numbers)
    say("lib", *total)
    lines, reached, _ = total
    return not lines or bool(problems) or 100 * reached < options.least * lines


if __name__ == "__main__":
    sys.exit(main())
