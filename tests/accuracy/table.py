# SPDX-License-Identifier: MIT
"""The largest error of every quantity, as README.md beside this file has it.

Usage: python3 table.py BUILD [--check]

The tests of a build folder note how far each array of each analysis is from its reference
(tests/accuracy.h). Those that have not run since they were built are run. Then the tables of
README.md are written anew, or, with --check, held against what was noted: no error may be off by
more than a factor of FACTOR, and every array of tools/schema must be there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
README = Path(__file__).resolve().parent / "README.md"
SCHEMAS = TESTS.parent / "tools" / "schema"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"

FACTOR = 4.0
# Errors below this are the last bits of sums in double: the order of summation decides them.
FLOOR = 2e-14

# Arrays that no reference in double is to be held against, and why.
TOKENS = "what was given: the tokens of the texts, chosen positions"
FILE = "facts of the file, and an estimate of memory"
IDS = "counts and ids of tokens, held in test_tokenizer and test_tokens"
WORK = "how much work was done"
DRAWN = (
    "means of 64 seeded draws, with an error of their own of some percent, held in test_haar and "
    "test_compare_models"
)
PLACES = "the largest of neuron_attribution, by sorting all of it, in test_decompose_parts"
LINKS = "links of paths: path_value is that of these"
MADE = "what is drawn or chosen from logits, held in test_generate"
EXEMPT = {
    "ablate": {TOKENS: ["token_id", "mask", "length"]},
    "activations": {TOKENS: ["token_id", "mask", "length"]},
    "decompose": {
        TOKENS: ["token_id", "mask", "length"],
        PLACES: ["neuron_value", "neuron_layer", "neuron_index"],
    },
    "info": {FILE: ["tensor_bytes", "tensor_layer", "memory_bytes"]},
    "logits": {
        TOKENS: ["place_position"],
        MADE: ["generated_id", "generated_log_prob", "generated_length"],
    },
    "orders": {TOKENS: ["token_id", "mask", "length"]},
    "paths": {
        TOKENS: ["token_id", "mask", "length"],
        WORK: ["path_expanded"],
        "a bound, which test_path_search holds": ["path_bound"],
        LINKS: ["path_order", "path_source", "path_layer", "path_head"],
    },
    "patterns": {TOKENS: ["token_id", "mask", "length"], "held in test_patterns": ["query_count"]},
    "tokens": {IDS: ["input_index", "position", "id", "begin", "end", "token_count"]},
    "trigrams": {WORK: ["share_skipped"]},
    "virtual": {WORK: ["examined"]},
    "compare": {
        DRAWN: ["largest_cosine_expected", "mean_cosine_expected", "procrustes_expected"],
    },
    "roles": {"drawn as those of patterns": ["repeated_id"]},
}


class Row:
    """One quantity by one measure: the largest error of all programs that noted it."""

    def __init__(self, error: float, bound: float, goldens: int, worst: str, tests: list[str]):
        self.error, self.bound, self.goldens = error, bound, goldens
        self.worst, self.tests = worst, tests


Rows = dict[tuple[str, str, str], Row]  # analysis, array, what the error is a share of


def noting(build: Path) -> dict[str, tuple[list[str], dict[str, str], Path]]:
    """Command, environment and notes of every test that notes errors."""
    tests = json.loads((build / "meson-info" / "intro-tests.json").read_text())
    return {
        test["name"]: (test["cmd"], test["env"], Path(test["env"]["OTIMES_ACCURACY"]))
        for test in tests
        if "OTIMES_ACCURACY" in test["env"]
    }


def read(build: Path) -> Rows:
    """What all tests have noted, run where they have not."""
    rows: Rows = {}
    for name, (command, env, notes) in sorted(noting(build).items()):
        if not notes.exists() or notes.stat().st_mtime < Path(command[0]).stat().st_mtime:
            done = subprocess.run(
                command, env={**os.environ, **env}, capture_output=True, text=True
            )
            if done.returncode != 0 or not notes.exists():
                sys.exit(f"{name} fails, or notes nothing:\n{done.stdout}{done.stderr}")
        for line in notes.read_text().splitlines():
            analysis, array, to, error, bound, _, goldens, worst = line.split("\t")
            row = rows.setdefault((analysis, array, to), Row(-1, 0, 0, "", []))
            if float(error) > row.error:
                row.error, row.bound, row.worst = float(error), float(bound), worst
            row.goldens = max(row.goldens, int(goldens))
            row.tests.append(name)
    return rows


def arrays(analysis: str) -> dict[str, str]:
    """Arrays of an analysis and their types, from its schema page."""
    page = (SCHEMAS / f"{analysis}.md").read_text()
    _, _, after = page.partition("\n## Arrays\n")
    table = after.split("\n## ")[0]
    cells = re.findall(r"^\| `([^`]+)` \| (int32|int64|float\S*(?: or \S+)?|text) \|", table, re.M)
    return dict(cells)


def exempt(analysis: str) -> dict[str, str]:
    return {name: why for why, names in EXEMPT.get(analysis, {}).items() for name in names}


def analyses() -> list[str]:
    return sorted(page.stem for page in SCHEMAS.glob("*.md") if arrays(page.stem))


def missing(rows: Rows) -> list[str]:
    """Arrays without a reference or a reason, and rows without an array."""
    out = []
    noted = {(analysis, array) for analysis, array, _ in rows}
    for analysis in analyses():
        types, spared = arrays(analysis), exempt(analysis)
        for name, kind in types.items():
            if kind != "text" and (analysis, name) not in noted and name not in spared:
                out.append(f"{analysis}: {name}: no error is noted")
        out += [f"{analysis}: {name}: not in the schema" for name in spared if name not in types]
        out += [
            f"{analysis}: {array}: not in the schema"
            for of, array in sorted(noted)
            if of == analysis and array not in types
        ]
    return out


def figure(x: float) -> str:
    return "0" if x == 0 else f"{x:.1e}"


def table(analysis: str, rows: Rows) -> list[str]:
    """Quantities of one analysis; those that share all figures share a line."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for array in arrays(analysis):
        for (of, name, to), row in rows.items():
            if of == analysis and name == array:
                worst = row.worst if row.error > 0 else ""
                key = (
                    figure(row.error),
                    to,
                    figure(row.bound),
                    str(row.goldens),
                    worst,
                    ", ".join(row.tests),
                )
                lines.setdefault(key, []).append(f"`{name}`")
    out = [
        f"### {analysis}",
        "",
        "| quantity | error | share of | allowed | goldens | worst in | test |",
        "|---|---|---|---|---|---|---|",
    ]
    out += [f"| {', '.join(names)} | {' | '.join(key)} |" for key, names in lines.items()]
    for why, names in EXEMPT.get(analysis, {}).items():
        out += ["", f"Not here: {', '.join(f'`{name}`' for name in names)}: {why}."]
    texts = [f"`{name}`" for name, kind in arrays(analysis).items() if kind == "text"]
    if texts:
        out += ["", f"Texts: {', '.join(texts)}."]
    return [*out, ""]


def documented() -> dict[tuple[str, str, str], tuple[float, int]]:
    """Error and number of goldens of every quantity as the page has them."""
    out, analysis = {}, ""
    for line in README.read_text().partition(BEGIN)[2].partition(END)[0].splitlines():
        if line.startswith("### "):
            analysis = line[4:]
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 7:
            for name in re.findall(r"`([^`]+)`", cells[0]):
                out[analysis, name, cells[2]] = (float(cells[1]), int(cells[4]))
    return out


def differences(rows: Rows) -> list[str]:
    """Where the page is wrong."""
    out, page = missing(rows), documented()
    for key in sorted(set(rows) - set(page)):
        out.append(f"{' '.join(key[:2])}, share of {key[2]}: not in the page")
    for key in sorted(set(page) - set(rows)):
        out.append(f"{' '.join(key[:2])}, share of {key[2]}: not noted by any test")
    for key in sorted(set(page) & set(rows)):
        error, goldens = page[key]
        seen = rows[key]
        low, high = sorted(max(x, FLOOR) for x in (error, seen.error))
        if high > FACTOR * low:
            out.append(f"{' '.join(key[:2])}: the page has {error:.1e}, seen is {seen.error:.1e}")
        if goldens != seen.goldens:
            out.append(f"{' '.join(key[:2])}: {goldens} goldens in the page, {seen.goldens} seen")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    rows = read(options.build)
    wrong = differences(rows) if options.check else missing(rows)
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong or options.check:
        return int(bool(wrong))
    head, _, rest = README.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    body = "\n".join(line for analysis in analyses() for line in table(analysis, rows))
    README.write_text(f"{head}{BEGIN}\n\n{body}\n{END}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
