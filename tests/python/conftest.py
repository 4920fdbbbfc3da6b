# SPDX-License-Identifier: MIT
"""Where the program and its models are, and running it once per command line.

Environment: OTIMES, the program (default build/otimes); OTIMES_SOURCE, the source tree (default:
where this file lies); OTIMES_WEIGHTS, trained checkpoints (default ../shared/weights beside the
source tree; tests that need them skip where they are absent).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray

SOURCE = Path(os.environ.get("OTIMES_SOURCE", Path(__file__).parents[2])).resolve()
PROGRAM = os.environ.get("OTIMES", str(SOURCE / "build" / "otimes"))
WEIGHTS = Path(os.environ.get("OTIMES_WEIGHTS", SOURCE.parent / "shared" / "weights"))
GOLDEN = SOURCE / "tests" / "golden"

sys.dont_write_bytecode = True
sys.path.insert(0, str(GOLDEN))
pytest.register_assert_rewrite("outputs", "results")
import results

Run = Callable[..., xarray.Dataset]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """run(command, model, *options): the result as xarray opens it, fill values left in place. The
    program runs once for each command line."""
    folder = tmp_path_factory.mktemp("results")
    done: dict[tuple[str, ...], Path] = {}
    seen: set[tuple[str, ...]] = set()

    def run_once(command: str, model: Path, *options: str) -> xarray.Dataset:
        line = (command, str(model), *options)
        if line not in done:
            out = folder / (hashlib.sha256("\0".join(line).encode()).hexdigest()[:16] + ".h5")
            finished = subprocess.run(
                [PROGRAM, *line, "-o", str(out), "--quiet"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert finished.returncode == 0, f"{' '.join(line)}: {finished.stderr}"
            done[line] = out
        data = results.read(done[line])
        kind = results.kind(command, data)
        if kind not in seen:
            results.assert_as_xarray(data, done[line])
            seen.add(kind)
        return data

    return run_once


@pytest.fixture(scope="session")
def weights() -> Callable[[str], Path]:
    """weights(name): a trained checkpoint, or the test is skipped."""

    def find(name: str) -> Path:
        path = WEIGHTS / name
        if not path.exists():
            pytest.skip(f"trained checkpoint {name} is not there (looked in {WEIGHTS})")
        return path

    return find
