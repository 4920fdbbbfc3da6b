# SPDX-License-Identifier: MIT
"""Wall time and peak memory of one command: ``measure.py COMMAND ...`` prints them as JSON.

A process of its own, and without NumPy: a child's ru_maxrss begins at what its parent held when it
was started, here some 10 MB. ru_maxrss counts pages of mapped files that happen to be resident, so
the largest anonymous part (what the program asked for itself) is sampled beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

INTERVAL = 0.005  # seconds between samples


def status_bytes(pid: int, field: str) -> int:
    """One kB field of /proc/PID/status in bytes; 0 once the process is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def run(command: list[str]) -> dict[str, Any]:
    """Runs the command, its output thrown away, and reports what it took."""
    peak = {"anonymous": 0}
    over = threading.Event()
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def sample() -> None:
        while not over.wait(INTERVAL):
            peak["anonymous"] = max(peak["anonymous"], status_bytes(child.pid, "RssAnon"))

    watcher = threading.Thread(target=sample)
    watcher.start()
    _, code, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    over.set()
    watcher.join()
    child.returncode = os.waitstatus_to_exitcode(code)  # it has been waited for
    return {
        "exit": child.returncode,
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
        "peak_anonymous_bytes": peak["anonymous"],
    }


def measure(command: list[str]) -> dict[str, Any]:
    """The same from a larger program: through a fresh interpreter. A failing command ends it."""
    out = subprocess.run([sys.executable, __file__, *command], stdout=subprocess.PIPE, check=True)
    result = json.loads(out.stdout)
    if result["exit"]:
        raise SystemExit(f"{' '.join(command)}: exit {result['exit']}")
    return result


def measure_text(command: list[str]) -> tuple[dict[str, Any], str]:
    """The same of a command whose standard output is wanted."""
    with tempfile.NamedTemporaryFile("w+") as out:
        result = measure(["sh", "-c", 'exec "$@" > "$0"', out.name, *command])
        return result, out.read()


def megabytes(count: float) -> str:
    return f"{count / 1e6:.0f} MB"


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1:])))
