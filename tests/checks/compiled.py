# SPDX-License-Identifier: MIT
"""What the build folder says of each source: its compiler's arguments, for other compilers and checkers."""
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SKIP = 77
# Output and dependencies, and what says how a build is to be rather than what it means.
WITH_VALUE = ("-o", "-MF", "-MQ", "-MT")
DROPPED = ("-c", "-MD", "-MMD", "--coverage", "-fdiagnostics-color=always")
# clang looks for a header of its own OpenMP, which need not be there.
OPENMP = "int omp_get_num_procs(void);\nint omp_get_thread_num(void);\n"


def arguments_of(command):
    """The arguments that other compilers understand too, without the compiler and the source."""
    words = iter(shlex.split(command)[1:])
    kept = []
    for word in words:
        if word in WITH_VALUE:
            next(words)
        elif word.startswith("-") and word not in DROPPED:
            kept.append(word)
    return kept


def sources(build, folders=("lib", "tools", "tests")):
    """{path in the source tree: (folder to run in, path from there, arguments)}, each once."""
    found = {}
    with open(build / "compile_commands.json", encoding="utf-8") as file:
        for entry in json.load(file):
            path = Path(entry["directory"], entry["file"]).resolve()
            name = path.relative_to(ROOT).as_posix() if ROOT in path.parents else ""
            if name.endswith(".c") and name.split("/")[0] in folders:
                found.setdefault(name, (entry["directory"], entry["file"], arguments_of(entry["command"])))
    return dict(sorted(found.items()))


def run_all(commands):
    """Yields (name, output) of each command that fails; two at a time."""

    def run(item):
        name, folder, command = item
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        return name, (done.stdout + done.stderr).strip() if done.returncode else None

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for name, output in pool.map(run, commands):
            if output is not None:
                yield name, output


def tool(name):
    """The first of name, name-19 ... that is there, or None."""
    return next((found for found in map(shutil.which, [name, *(f"{name}-{n}" for n in range(21, 12, -1))])
                 if found), None)


class openmp_folder(tempfile.TemporaryDirectory):
    """A folder with the header that clang may lack."""

    def __enter__(self):
        folder = super().__enter__()
        Path(folder, "omp.h").write_text(OPENMP, encoding="utf-8")
        return folder
