# SPDX-License-Identifier: MIT
"""What tests of the package share: the installed package, the program installed with it, models."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xarray

import otimes

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "notebooks-data" / "induction-2l"
GOLDEN = ROOT / "tests" / "golden"
PROGRAM = Path(os.environ.get("OTIMES_PROGRAM") or Path(sysconfig.get_path("scripts")) / "otimes")
EPOCH = "1700000000"

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture
def model() -> Iterator[otimes.Model]:
    with otimes.open(BUNDLED) as opened:
        yield opened


@pytest.fixture(autouse=True)
def one_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Path]:
    """Runs the program; its result's path."""

    def run(*words: object) -> Path:
        out = tmp_path / f"{words[0]}.h5"
        command = [str(PROGRAM), *map(str, words), "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        assert out.is_file(), done.stderr
        return out

    return run


def as_filed(path: Path) -> xarray.Dataset:
    """A result as xarray gives it; fill values are encoding, and nothing is masked by them."""
    with xarray.open_dataset(path, engine="h5netcdf", mask_and_scale=False) as data:
        for variable in data.variables.values():
            if "_FillValue" in variable.attrs:
                variable.encoding["_FillValue"] = variable.attrs.pop("_FillValue")
        return data.load()
