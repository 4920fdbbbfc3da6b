# SPDX-License-Identifier: MIT
"""Runs the notebooks of this folder and keeps what they print, or checks that they still print it.

    python run.py                     execute all, write them in place
    python run.py 3-induction.ipynb   this one
    python run.py --check             execute copies, compare what they print with what is kept

Needs requirements.txt, the package `otimes` and the program (beside this Python, in PATH or in ../build).
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

FOLDER = Path(__file__).resolve().parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# A number with a point in the prose, outside of code, formulas and links.
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*\.\d+")
NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|<!--.*?-->", re.DOTALL)


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells in `folder`, where the commands' paths begin."""
    NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)


def joined(outputs: list[Any]) -> list[Any]:
    """What one cell printed, as one stream: where a pipe cut it is chance."""
    result: list[Any] = []
    for output in outputs:
        if output.output_type == "stream" and result and result[-1].get("name") == output.name:
            result[-1].text += output.text
        else:
            output.get("metadata", {}).clear()
            result.append(output)
    return result


def printed(notebook: Any) -> list[str]:
    """Lines of all text that the cells show. A picture is named, its pixels are matplotlib's own affair."""
    lines = []
    for place, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code":
            continue
        lines.append(f"cell {place}, run {cell.execution_count}")
        for output in cell.outputs:
            if output.output_type == "stream":
                lines += output.text.splitlines()
            else:
                data = output.get("data", {})
                lines += data.get("text/plain", output.output_type).splitlines()
                lines += [kind for kind in sorted(data) if kind.startswith("image/")]
    return lines


def unwelcome(notebook: Any) -> list[str]:
    """What a kept notebook must not have: noise, paths of one machine, numbers in prose that no claim has."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("cells are not executed in order")
    for cell in code:
        found += [f"standard error: {output.text.strip()}" for output in cell.outputs
                  if output.get("name") == "stderr"]
    home = [line for line in printed(notebook) if re.search(r"(?<![\w.:/])/(home|root|tmp|work|usr)\b", line)]
    found += [f"a path of one machine: {line.strip()}" for line in home]
    claims = code[-1].source if code else ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found += [f"{number} stands in the text and not among the claims of the last cell"
                      for number in NUMBER.findall(NOT_PROSE.sub(" ", cell.source))
                      if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", claims)]
    return found


def run_one(path: Path, folder: Path, check: bool) -> list[str]:
    """Problems of one notebook; without `check` it is written in place."""
    kept = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    try:
        execute(fresh, folder)
    except (CellExecutionError, DeadKernelError) as err:
        return [re.sub(r"\x1b\[[0-9;]*m", "", str(err))]
    if not check:
        nbformat.write(fresh, path)
        return unwelcome(fresh)
    return unwelcome(kept) + list(difflib.unified_diff(
        printed(kept), printed(fresh), f"{path.name}, as kept", f"{path.name}, as run", n=1, lineterm=""))


def quiet_jupyter(folder: Path) -> None:
    """Nobody's own settings, history or kernels have a part in what is kept."""
    for name in ("CONFIG", "DATA", "RUNTIME"):
        os.environ[f"JUPYTER_{name}_DIR"] = str(folder / name.lower())
    os.environ.update(IPYTHONDIR=str(folder / "ipython"), JUPYTER_PREFER_ENV_PATH="1",
                      JUPYTER_PLATFORM_DIRS="1", PYDEVD_DISABLE_FILE_VALIDATION="1")
    os.environ.pop("MPLBACKEND", None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of this folder")
    args = parser.parse_args()
    paths = args.notebooks or sorted(FOLDER.glob("[0-9]-*.ipynb"))
    status = 0
    with tempfile.TemporaryDirectory() as scratch:
        quiet_jupyter(Path(scratch))
        beside = [str(Path(sys.executable).parent), str(FOLDER.parent / "build")]
        os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *beside])
        folder = Path(scratch) / "notebooks-data" if args.check else FOLDER
        if args.check:
            shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("build", "__pycache__", ".*"))
        for path in paths:
            shutil.rmtree(folder / "build", ignore_errors=True)  # no notebook lives on another's results
            problems = run_one(path, folder, args.check)
            print(f"{path.name}: {'as kept' if args.check else 'written'}" if not problems
                  else "\n".join([f"{path.name}: not as it should be", *problems]), flush=True)
            status |= bool(problems)
    return status


if __name__ == "__main__":
    sys.exit(main())
