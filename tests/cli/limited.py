# SPDX-License-Identifier: MIT
"""Runs every command of otimes under limits of memory, in the current folder.

usage: limited.py OTIMES ROOT LIMITS

LIMITS of the address space, and as many of private memory alone, for each command: half of them between what
the program needs to begin and what `info` needs, half in the megabytes beyond that. Each run succeeds with the
file that a run without a limit writes, or fails with one line and leaves no file behind.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from pathlib import Path

MB = 1 << 20
KINDS = {"addresses": resource.RLIMIT_AS, "private memory": resource.RLIMIT_DATA}
MOST = 4096 * MB
HANGS = 120
TEXT = ["--text", "One day a little girl was happy. One day a little", "--threads", "2"]
WEIGHTS = ["--threads", "2"]

problems = 0


def cases(root: Path) -> dict[str, list[str]]:
    """The arguments of each command; what it writes is x.h5, or what its last argument says."""
    model, neurons = str(root / "notebooks-data/induction-2l"), str(root / "tests/golden/llama")
    on_texts = ["ablate", "activations", "decompose", "logits", "orders", "paths", "patterns"]
    on_weights = ["compare", "compose", "heads", "info", "qk", "roles", "virtual"]
    found = {name: [model, *TEXT] for name in on_texts} | {name: [model, *WEIGHTS] for name in on_weights}
    found["activations"] += ["--names", "blocks.0.*"]
    found["bigram"] = [model, *WEIGHTS, "--rows", "0-20"]
    found["circuit"] = [model, *WEIGHTS, "--head", "0.0"]
    found["neurons"] = [neurons, *WEIGHTS]
    found["trigrams"] = [model, *WEIGHTS, "--head", "1.0"]
    found["tokens"] = [model, "--text", "One day"]
    found["diff"] = ["one.h5", "two.h5"]
    found = {name: [name, *arguments, "-o", "x.h5"] for name, arguments in found.items()}
    found["convert"] = ["convert", model, *WEIGHTS, "-o", "x.safetensors"]
    found["report"] = ["report", model, *WEIGHTS, "-o", "x.html"]
    return found


def run(otimes: str, arguments: list[str], limits: dict[int, int]) -> subprocess.CompletedProcess[bytes]:
    def limit() -> None:
        for kind, value in limits.items():
            resource.setrlimit(kind, (value, value))

    return subprocess.run([otimes, *arguments], capture_output=True, preexec_fn=limit, timeout=HANGS, check=False)


def results() -> dict[str, bytes]:
    """What lies in the folder, taken away."""
    found = {path.name: path.read_bytes() for path in Path().glob("x.*")}
    for name in found:
        os.unlink(name)
    return found


def begins(otimes: str, kind: int, limit: int) -> bool:
    return run(otimes, ["--version"], {kind: limit}).returncode == 0


def least(works, low: int, high: int) -> int:
    """The least limit that works, to half a megabyte; `high` does."""
    while high - low > MB // 2:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def wrong(done: subprocess.CompletedProcess[bytes], files: dict[str, bytes], whole: dict[str, bytes], failed: int) -> str:
    """What is wrong with a run under a limit; "" if nothing is."""
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    if done.returncode == 0:
        return "" if files == whole and not lines else "another result, or a word about it"
    if done.returncode != failed:
        return f"expected exit status 0 or {failed}, got {done.returncode}"
    if len(lines) != 1 or not lines[0].startswith("otimes") or done.stdout:
        return "expected one line of error"
    return f"left {', '.join(files)} behind" if files else ""


class Command:
    """One command and its result without a limit."""

    def __init__(self, otimes: str, name: str, arguments: list[str]):
        self.otimes, self.name, self.arguments = otimes, name, arguments
        self.failed = 2 if name == "diff" else 1
        self.runs = self.kept = 0
        done = run(otimes, arguments, {})
        self.whole = results()
        if done.returncode != 0 or not self.whole:
            raise SystemExit(f"limited.py: otimes {' '.join(arguments)}: {done.stderr.decode()}")

    def works(self, kind: int, limit: int) -> bool:
        """Whether it succeeds; counts and tells of what must not be."""
        global problems
        try:
            done = run(self.otimes, self.arguments, {kind: limit})
            problem = wrong(done, results(), self.whole, self.failed)
            text = done.stderr.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            results()
            problem, text, done = "it hangs", "", None
        self.runs += 1
        if problem:
            problems += 1
            word = next(word for word, number in KINDS.items() if number == kind)
            print(f"FAILED: otimes {self.name} within {limit} bytes of {word}: {problem}: {text[:500]}")
        good = done is not None and done.returncode == 0
        self.kept += good
        return good


def sweep(command: Command, kind: int, start: int, base: int, count: int, dice: random.Random) -> None:
    """Half of the limits from `start` to `base`, where threads and BLAS have theirs; the others where the command
    itself takes its memory."""
    for i in range(count):
        low, high = (start, base) if i % 2 else (base, base + (60 if command.name == "diff" else 24) * MB)
        command.works(kind, dice.randrange(low, high))


def stacks(otimes: str, model: str) -> None:
    """Threads that cannot begin: their stacks find no room."""
    global problems
    limits = {resource.RLIMIT_STACK: 64 * MOST, resource.RLIMIT_AS: MOST}
    done = run(otimes, ["heads", model, "--threads", "2", "-o", "x.h5"], limits)
    problem = wrong(done, results(), {}, 1)
    if problem or b"expected 2 threads to start" not in done.stderr:
        problems += 1
        print(f"FAILED: threads without room for their stacks: {problem}: {done.stderr.decode()}")


def main() -> None:
    otimes, root, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if not begins(otimes, resource.RLIMIT_AS, MOST):
        raise SystemExit(77)  # sanitizers take more addresses than there is memory
    dice = random.Random(1)
    for name in ["one.h5", "two.h5"]:
        model = str(root / "notebooks-data/induction-2l")
        run(otimes, ["heads", model, "--layers", "0", "-o", name], {})
    everything = cases(root)
    known = set(run(otimes, ["--help"], {}).stdout.decode().split())
    info = Command(otimes, "info", everything["info"])
    start = {kind: least(lambda limit: begins(otimes, kind, limit), MB, MOST) for kind in KINDS.values()}
    base = {kind: least(lambda limit: info.works(kind, limit), start[kind], MOST) for kind in KINDS.values()}
    for name in sorted(everything):
        assert name in known, name
        command = Command(otimes, name, everything[name])
        for kind in KINDS.values():
            weightless = name in ("diff", "tokens")
            sweep(command, kind, start[kind], start[kind] + MB if weightless else base[kind], count, dice)
        print(f"{name}: {command.runs} runs, {command.kept} succeeded", flush=True)
    for word, kind in KINDS.items():
        print(f"{word}: begins with {start[kind] // MB} MB, info with {base[kind] // MB} MB")
    stacks(otimes, str(root / "notebooks-data/induction-2l"))
    raise SystemExit(problems > 0)


if __name__ == "__main__":
    main()
