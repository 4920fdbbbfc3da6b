# SPDX-License-Identifier: MIT
"""otimes diff on files that Python wrote: labels in another order against xarray's own alignment, and
files that are no results or claim what they do not have."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from conftest import GOLDEN, PROGRAM, Run
from test_outputs import assert_schema

MOST_MEMORY = 1 << 20  # KiB resident, at the peak


def diff(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """What came of it; more memory than is due fails."""
    line = [PROGRAM, "diff", *map(str, words)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout and child.stderr
        out, error = child.stdout.read(), child.stderr.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert used.ru_maxrss < MOST_MEMORY, f"{words}: {used.ru_maxrss} KiB"
    return subprocess.CompletedProcess(line, child.returncode, out, error)


def refused(*words: str | Path) -> str:
    done = diff(*words)
    assert done.returncode == 2, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("otimes diff: "), done.stderr
    return done.stderr


def save(data: xarray.Dataset, path: Path) -> Path:
    data.attrs["schema"] = "made"
    data.to_netcdf(path, engine="h5netcdf")
    return path


def test_schema(run: Run, tmp_path: Path) -> None:
    """A comparison of two results is a result like any other."""
    out = tmp_path / "diff.h5"
    for name, options in (("whole.h5", []), ("part.h5", ["--heads", "0,2"])):
        words = [PROGRAM, "heads", GOLDEN / "gpt2", *options, "-q", "-o", tmp_path / name]
        subprocess.run(list(map(str, words)), check=True)
    done = diff(tmp_path / "whole.h5", tmp_path / "part.h5", "-o", out)
    assert done.returncode == 1 and not done.stderr
    data = xarray.open_dataset(out, engine="h5netcdf", mask_and_scale=False)
    assert_schema(data, "diff", set())
    assert data.attrs["equal"] == 0 and data.attrs["compared_schema"] == "otimes-heads"
    assert set(data.array.values) == set(map(str, run("heads", GOLDEN / "gpt2").data_vars))
    assert int(data.labels_only_a.sel(axis="head")) == 1 and (data.differing == 0).all()


def test_alignment(tmp_path: Path) -> None:
    """Axes and labels in another order, parts of them: as xarray aligns them."""
    random = np.random.default_rng(5)
    words = [f"t{i}" for i in range(40)]
    whole = xarray.Dataset(
        {"x": (("layer", "token", "rank"), random.standard_normal((3, 40, 5)).astype("f4"))},
        {"layer": [0, 2, 5], "token": words, "rank": np.arange(5)},
    )
    other = whole.isel(token=random.permutation(40)[:31], layer=[2, 0]).transpose(
        "rank", "layer", "token"
    )
    other = other + 0.25 * (random.random(other.x.shape) < 0.1)
    a, b = save(whole, tmp_path / "a.nc"), save(other, tmp_path / "b.nc")
    left, right = xarray.align(whole.x, other.x, join="inner")
    gap = np.abs(left - right.astype("f8"))
    out = tmp_path / "out.h5"
    assert diff(a, b, "-o", out).returncode == 1
    found = xarray.open_dataset(out, engine="h5netcdf").sel(array="x")
    assert int(found.compared) == gap.size and int(found.differing) == int((gap > 0).sum())
    assert int(found.only_a) == whole.x.size - gap.size and int(found.only_b) == 0
    assert float(found.max_abs) == float(gap.max())
    assert diff(a, b, "--common", "--atol", "0.26").returncode == 0
    assert diff(a, b, "--atol", "0.26").returncode == 1


def test_other_writers(tmp_path: Path) -> None:
    """Chunked and compressed, big-endian, with dimensions that have no labels."""
    for name, kind, options in (
        ("a.h5", "<f8", {}),
        ("b.h5", ">f4", {"chunks": (7, 3), "compression": "gzip"}),
    ):
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["schema"] = np.bytes_("made")  # a fixed length, as netCDF's libraries write
            file.attrs["counts"] = [1, 2]  # no fact of ours
            x = file.create_dataset("x", data=np.arange(70.0).reshape(10, 7).astype(kind), **options)
            for d, scale in enumerate(("row", "column")):
                file.create_dataset(scale, shape=(x.shape[d],), dtype=">f4")
                file[scale].make_scale("This is a netCDF dimension but not a netCDF variable.")
                x.dims[d].attach_scale(file[scale])
            file.create_group("inside")["y"] = 1
    done = diff(tmp_path / "a.h5", tmp_path / "b.h5")
    assert done.returncode == 0 and done.stdout == "equal: 1 arrays, 70 entries\n", done


def hostile(path: Path, name: str) -> None:
    """A file that is HDF5 and yet no result."""
    with h5py.File(path, "w") as file:
        if name != "no schema":
            file.attrs["schema"] = "made"
        file["p"] = np.arange(4)
        file["p"].make_scale("p")
        if name == "no scale":
            file["x"] = np.zeros(4)
        elif name == "compound":
            file["x"] = np.zeros(4, dtype=[("a", "f4"), ("b", "i4")])
            file["x"].dims[0].attach_scale(file["p"])
        elif name == "complex":
            file["x"] = np.zeros(4, dtype="c16")
            file["x"].dims[0].attach_scale(file["p"])
        elif name == "fixed text":
            file["x"] = np.array([b"ab"] * 4)
            file["x"].dims[0].attach_scale(file["p"])
        elif name == "seven dimensions":
            file["x"] = np.zeros((1,) * 7)
        elif name == "length":
            file["x"] = np.zeros(3)
            file["x"].dims[0].attach_scale(file["p"])
        elif name == "real labels":
            file["q"] = np.arange(4.0)
            file["q"].make_scale("q")
        elif name == "two dimensions":
            file["q"] = np.zeros((2, 2), "i8")
            file["q"].make_scale("q")
        elif name == "labels without end":
            file.create_dataset("q", shape=(1 << 40,), dtype="i8", chunks=(1 << 16,))[5] = 9
            file["q"].make_scale("q")
        elif name == "texts without end":
            kind = h5py.string_dtype()
            file.create_dataset("q", shape=(1 << 40,), dtype=kind, chunks=(1 << 10,))[0] = "a"
            file["q"].make_scale("q")
        elif name == "a long text":
            file.create_dataset("q", data=["a" * (1 << 24)], dtype=h5py.string_dtype())
            file["q"].make_scale("q")
        elif name == "many arrays":
            for i in range((1 << 14) + 1):
                file[f"q{i}"] = 0.0
        elif name == "huge chunk":
            file.create_dataset("q", shape=(1 << 30,), dtype="f4", chunks=(1 << 28,))
            file.create_dataset("long", shape=(1 << 30,), dtype="i1").make_scale("long")
            file["q"].dims[0].attach_scale(file["long"])
        elif name == "more than can be counted":
            q = file.create_dataset("q", shape=(1 << 40, 1 << 40), dtype="f4", chunks=(64, 64))
            for d in range(2):
                scale = file.create_dataset(f"d{d}", shape=(1 << 40,), dtype="i8", chunks=(64,))
                scale.make_scale(f"d{d}")
                q.dims[d].attach_scale(scale)


HOSTILE = {
    "no schema": "expected a result of otimes",
    "no scale": "x: expected a dimension scale for each dimension, got none for 0",
    "compound": "x: expected numbers of at most 8 bytes or UTF-8 texts",
    "complex": "x: expected numbers of at most 8 bytes or UTF-8 texts",
    "fixed text": "x: expected numbers of at most 8 bytes or UTF-8 texts",
    "seven dimensions": "x: expected an array of at most 6 dimensions",
    "length": "x: axis p: expected length 4, got 3",
    "real labels": "q: expected labels that are texts or integers",
    "two dimensions": "q: expected an axis of one dimension",
    "labels without end": "axis q: expected at most 33554432 labels",
    "texts without end": "axis q: expected at most 33554432 labels",
    "a long text": "q: cannot be read: damaged, or its texts are too long",
    "many arrays": "expected at most 16384 arrays, axes or facts, got more",
    "huge chunk": "q: expected chunks of at most 256 MiB",
    "more than can be counted": "q: more entries than can be counted",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(tmp_path: Path, name: str) -> None:
    """One line that names the place; memory stays bounded."""
    good, bad = tmp_path / "good.h5", tmp_path / "bad.h5"
    hostile(good, "")
    hostile(bad, name)
    assert diff(good, good).returncode == 0
    for words in ((good, bad), (bad, good)):
        line = refused(*words)
        assert f"{bad}: " in line and HOSTILE[name] in line, line
