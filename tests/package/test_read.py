# SPDX-License-Identifier: MIT
"""otimes.read over a result of every command: as xarray opens it, complex pairs joined, lazy, and closed
when told so; files that are no results, locked, hostile."""

from __future__ import annotations

import gc
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import pytest
import xarray
from conftest import BUNDLED, GOLDEN, PROGRAM, ROOT

from otimes import _read
from otimes._read import read

WITH_MLP = GOLDEN / "gpt2"
TEXT = ("--text", "self.x = self.")
COMMANDS: dict[str, tuple[Any, ...]] = {
    "info": (BUNDLED,),
    "tokens": (BUNDLED, *TEXT),
    "logits": (BUNDLED, *TEXT),
    "activations": (BUNDLED, *TEXT, "--names", "blocks.0.*"),
    "bigram": (BUNDLED, "--top", 3),
    "convert": (BUNDLED,),
    "heads": (BUNDLED, "--top", 3),
    "circuit": (BUNDLED, "--which", "ov", "--head", "1.1", "--top", 2),
    "compose": (BUNDLED,),
    "virtual": (BUNDLED,),
    "compare": (BUNDLED,),
    "neurons": (WITH_MLP, "--top", 3),
    "trigrams": (BUNDLED, "--top", 20),
    "qk": (BUNDLED,),
    "roles": (BUNDLED,),
    "decompose": (BUNDLED, *TEXT, "--target", "w"),
    "paths": (BUNDLED, *TEXT, "--next"),
    "patterns": (BUNDLED, *TEXT),
    "ablate": (BUNDLED, *TEXT),
    "orders": (BUNDLED, *TEXT),
}
Result = Callable[[str], Path]


def write(path: Path, command: str, *options: Any) -> Path:
    line = [str(PROGRAM), command, *map(str, options), "-o", str(path), "--quiet"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(line)}: {done.stderr}"
    return path


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """result(command): the file that it wrote, once for all tests, never to be changed."""
    folder = tmp_path_factory.mktemp("read")

    def find(command: str) -> Path:
        path = folder / f"{command}.h5"
        if command == "diff" and not path.exists():
            write(path, "diff", find("heads"), find("heads"))
        return path if path.exists() else write(path, command, *COMMANDS[command])

    return find


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_knows_every_schema() -> None:
    """The table of schemas is that of the pages."""
    pages = {}
    for page in (ROOT / "tools" / "schema").glob("*.md"):
        found = re.search(r"^# Schema `(otimes-\w+)`, version (\d+)$", page.read_text(), re.MULTILINE)
        if found:
            pages[found[1]] = int(found[2])
    assert pages == _read.SCHEMAS
    assert {name.removeprefix("otimes-") for name in pages} == {*COMMANDS, "diff"}


@pytest.mark.parametrize("command", [*COMMANDS, "diff"])
def test_every_command(result: Result, command: str) -> None:
    """What xarray reads, but for the pairs of complex arrays; nothing is left open."""
    gc.collect()
    before = open_files()
    with read(result(command), complex=False) as ours, xarray.open_dataset(
        result(command), engine="h5netcdf", decode_times=False, decode_timedelta=False
    ) as theirs:
        xarray.testing.assert_identical(ours, theirs)
        assert ours.attrs["schema"] == f"otimes-{command}" and list(ours) == list(theirs)
        assert {n: ours[n].dtype for n in ours.variables} == {n: theirs[n].dtype for n in theirs.variables}
    with read(result(command)) as joined, read(result(command), complex=False) as pairs:
        names = [str(n).removesuffix("_real") for n in pairs if not str(n).endswith("_imag")]
        assert list(joined) == names and joined.attrs == pairs.attrs
        for name in joined:
            if name in pairs:
                xarray.testing.assert_identical(joined[name], pairs[name])
            else:
                assert np.array_equal(joined[name].real, pairs[f"{name}_real"])
                assert np.array_equal(joined[name].imag, pairs[f"{name}_imag"])
    gc.collect()
    assert open_files() == before


@pytest.mark.parametrize("command", ["heads", "qk", "virtual"])
def test_complex_arrays(result: Result, command: str) -> None:
    with read(result(command)) as data:
        found = [name for name in data if data[name].dtype == np.complex128]
        assert found and not [name for name in data if str(name).endswith(("_real", "_imag"))]
        for name in found:
            array = data[name]
            assert array.attrs["units"] == "1" and array.attrs["formula"].startswith("eig(")
            assert array.attrs["long_name"].startswith("non-zero eigenvalues")
            assert "component" in array.dims and "component" in array.coords


def test_complex_arrays_are_read_when_asked_for(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    read_now: list[Any] = []
    original = _read._Joined._read
    monkeypatch.setattr(_read._Joined, "_read", lambda self, key: read_now.append(key) or original(self, key))
    with read(result("heads")) as data:
        whole = data["OV_eigenvalues"]
        part = whole.isel(layer=1, head=[0, 3], component=slice(None, None, -5))
        assert not read_now and not whole.variable._in_memory
        values = part.values
        assert read_now == [(1, read_now[0][1], read_now[0][2])], "one part, read once"
        with read(result("heads"), complex=False) as pairs:
            expected = (pairs["OV_eigenvalues_real"] + 1j * pairs["OV_eigenvalues_imag"]).values
        assert np.array_equal(values, expected[1][[0, 3]][:, ::-5])
        assert np.array_equal(whole.sel(layer=1, head=2), expected[1, 2])
        assert np.array_equal(whole[..., whole.component % 2 == 1], expected[..., 1::2])
        again = whole.values
        assert np.array_equal(again, expected)
        count = len(read_now)
        assert whole.values is not None and len(read_now) == count, "kept after the first time"
        whole[0, 0, 0] = 5
        assert data["OV_eigenvalues"].values[0, 0, 0] == 5
    with read(result("heads")) as data:
        assert np.array_equal(data["OV_eigenvalues"], expected), "the file is only read"


def test_arrays_stay_in_the_file(result: Result) -> None:
    with read(result("convert")) as data:
        assert not [name for name, v in data.data_vars.items() if v.variable._in_memory]
        row = data["embed.W_E"].isel({data["embed.W_E"].dims[0]: 3})
        assert row.shape == (data.attrs["d_model"],) and not data["embed.W_E"].variable._in_memory


def test_undefined_numbers_kept_or_masked(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.write_text("import os\nx\n")
    path = write(tmp_path / "logits.h5", "logits", BUNDLED, "--text-file", texts)
    with read(path) as kept, read(path, masked=True) as masked:
        assert kept["token_id"].dtype.kind == "i" and kept["token_id"].attrs["undefined"] == -1
        absent = ~kept["mask"].values.astype(bool)
        assert absent.any() and (kept["token_id"].values[absent] == -1).all()
        assert masked["token_id"].dtype == np.float64 and masked["token_id"].attrs["undefined"] == -1
        assert np.array_equal(np.isnan(masked["token_id"].values), absent)
        assert np.array_equal(masked["token_id"].values[~absent], kept["token_id"].values[~absent])
        xarray.testing.assert_identical(kept["logsumexp"], masked["logsumexp"])


def test_chosen_arrays(result: Result) -> None:
    with read(result("heads"), array="OV_norm") as data:
        assert list(data) == ["OV_norm"] and set(data.coords) == {"layer", "head"}
        assert data.attrs["schema"] == "otimes-heads"
    with read(result("heads"), array=["full_OV_eigen*", "QK_trace"]) as data:
        assert sorted(data) == ["QK_trace", "full_OV_eigenvalues"]
    with read(result("heads"), array="*_real", complex=False) as data:
        assert len(data) == 4
    with read(result("activations"), array="blocks.0.attn.hook_[qk]") as data:
        assert len(data) == 2
    before = open_files()
    for wrong in ("nothing", "ov_norm", ["OV_norm", "*_real"], [""]):
        with pytest.raises(ValueError, match="heads.h5: array: expected one of OV_norm, .*, got '"):
            read(result("heads"), array=wrong)
    assert open_files() == before


def test_chunks(result: Result) -> None:
    try:
        import dask  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="chunks: needs dask"):
            read(result("heads"), chunks={"layer": 1})
        return
    with read(result("heads"), chunks={"layer": 1}) as data:
        assert data["OV_eigenvalues"].chunks[0] == (1, 1)
        assert np.array_equal(data["OV_norm"].compute(), read(result("heads"))["OV_norm"])


# Opening and closing


def test_again_and_again(result: Result) -> None:
    """Closed or only dropped: no file stays open."""
    path = result("qk")
    read(path).close()
    before = open_files()
    for i in range(40):
        data = read(path, array="full_eigenvalues")
        if i % 4 < 2:
            assert data["full_eigenvalues"].values.any()
        if i % 2:
            data.close()
        del data
    gc.collect()
    assert open_files() == before


@pytest.mark.parametrize(
    "arguments, text",
    [
        ((None,), "read: path: expected text, got NoneType"),
        ((b"x",), "read: path: expected text, got bytes"),
        (("x", {"complex": "no"}), "read: complex: expected True or False, got 'no'"),
        (("x", {"masked": 1}), "read: masked: expected True or False, got 1"),
        (("x", {"array": 3}), "read: array: expected a name or several, got 3"),
    ],
)
def test_arguments_of_another_kind(arguments: tuple[Any, ...], text: str) -> None:
    path, *options = arguments
    with pytest.raises(TypeError, match=re.escape(text)):
        read(path, **(options[0] if options else {}))


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "a\nb", "\u202eb"])
def test_names_in_errors_are_harmless(name: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read(name)
    assert str(caught.value).isprintable() and str(caught.value).endswith(": no such file")


def test_closes_on_leaving_and_lets_the_file_be_replaced(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    shutil.copy(result("heads"), path)
    before = open_files()
    with read(path) as first:
        assert open_files() == before + 1
        write(path, "heads", BUNDLED, "--no-vocab")
        with read(path) as second:
            assert "full_OV_norm" not in second and second["OV_norm"].values.all()
        assert first["full_OV_norm"].values.all(), "the file that was opened, not the one of its name"
    assert open_files() == before


def test_beside_other_readers(result: Result) -> None:
    path = result("heads")
    with h5netcdf.File(path, "r") as other, read(path) as data, read(path) as again:
        assert np.array_equal(data["OV_norm"], other["OV_norm"][...])
        assert np.array_equal(again["OV_eigenvalues"], data["OV_eigenvalues"])


HOLDER = """
import sys, h5py
file = h5py.File(sys.argv[1], "a")
print("open", flush=True)
sys.stdin.read()
"""


def test_while_another_process_holds_it_for_writing(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "held.h5"
    shutil.copy(result("heads"), path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        with read(path) as data:
            assert data["OV_norm"].values.all()
        holder.communicate("")


def test_in_a_folder_that_is_read_only(result: Result, tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    folder.mkdir()
    shutil.copy(result("heads"), folder / "x.h5")
    (folder / "x.h5").chmod(0o444)
    folder.chmod(0o555)
    try:
        with read(folder / "x.h5") as data:
            assert data["OV_eigenvalues"].values.any()
        assert os.listdir(folder) == ["x.h5"]
    finally:
        folder.chmod(0o755)


def test_by_relative_path_after_a_change_of_folder(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(result("heads"), tmp_path / "~x:y.h5")
    monkeypatch.chdir(tmp_path)
    with read("~x:y.h5") as data:
        monkeypatch.chdir("/")
        assert data["OV_norm"].values.all()


def test_survives_pickling(result: Result) -> None:
    with read(result("heads")) as data:
        again = pickle.loads(pickle.dumps(data))
        xarray.testing.assert_identical(again, data)
        again.close()


# What is no result


def test_files_that_are_none(result: Result, tmp_path: Path) -> None:
    text = tmp_path / "text.h5"
    text.write_text("no HDF5")
    empty = tmp_path / "empty.h5"
    empty.touch()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(result("heads").read_bytes()[:20000])
    before = open_files()
    with pytest.raises(FileNotFoundError, match=r"none\.h5: no such file"):
        read(tmp_path / "none.h5")
    with pytest.raises(IsADirectoryError, match="is a directory"):
        read(tmp_path)
    for path in (text, empty, cut):
        with pytest.raises(OSError, match=f"{path.name}: cannot be read as HDF5"):
            read(path)
    for wrong in (3, None, b"x.h5"):
        with pytest.raises(TypeError):
            read(wrong)  # type: ignore[arg-type]
    gc.collect()
    assert open_files() == before


@pytest.mark.parametrize(
    "attributes,message",
    [
        ({}, "schema: expected a result of otimes, got none"),
        ({"schema": "CF-1.8", "schema_version": 1}, "expected a result of otimes, got 'CF-1.8'"),
        ({"schema": 5, "schema_version": 1}, "expected a result of otimes, got "),
        ({"schema": "otimes-next", "schema_version": 1}, "expected one of otimes-ablate.*got 'otimes-next'"),
        ({"schema": "otimes-heads"}, "schema_version: expected a number from 1 on, got None"),
        ({"schema": "otimes-heads", "schema_version": "1"}, "schema_version: expected a number"),
        ({"schema": "otimes-heads", "schema_version": 0}, "schema_version: expected a number from 1 on"),
        ({"schema": "otimes-heads", "schema_version": 2}, "expected 1 at most, got 2: written by a newer"),
    ],
)
def test_schemas_that_are_not_known(tmp_path: Path, attributes: dict[str, Any], message: str) -> None:
    path = tmp_path / "x.h5"
    xarray.Dataset({"a": ("i", [1.0])}, attrs=attributes).to_netcdf(path, engine="h5netcdf")
    before = open_files()
    with pytest.raises(ValueError, match=rf"x\.h5: .*{message}"):
        read(path)
    gc.collect()
    assert open_files() == before


def test_what_it_does_not_know_stays(tmp_path: Path) -> None:
    """Arrays, axes and attributes beyond the page; halves of pairs that do not match."""
    path = tmp_path / "x.h5"
    arrays = {
        "lone_real": ("i", [1.0]), "other_imag": ("i", [1.0]),
        "odd_real": ("i", [1.0]), "odd_imag": ("j", [1.0, 2.0]),
        "mixed_real": ("i", [1.0]), "mixed_imag": ("i", np.array([1], np.int64)),
        "taken": ("i", [1.0]), "taken_real": ("i", [1.0]), "taken_imag": ("i", [1.0]),
        "narrow_real": ("i", np.ones(1, np.float32)), "narrow_imag": ("i", np.ones(1, np.float32)),
        "_real": ("i", [1.0]), "time": ("i", [1.0], {"units": "days since 2000-01-01"}),
        "span": ("i", [1.0], {"units": "seconds"}),
    }  # fmt: skip
    attributes = {"schema": "otimes-heads", "schema_version": 1, "more": "yes"}
    xarray.Dataset(arrays, attrs=attributes).to_netcdf(path, engine="h5netcdf")
    with read(path) as data:
        assert set(data) == {*arrays, "narrow"} - {"narrow_real", "narrow_imag"}
        assert data["narrow"].dtype == np.complex64 and data.attrs["more"] == "yes"
        assert data["time"].values[0] == 1 and data["span"].dtype == np.float64


# Labels are data

HOSTILE = [
    "</script><script>alert(1)</script>", '"quoted"', "it's", "back\\slash", "tab\tline\nreturn\r",
    "\x1b[31mred", "\u202eright to left\u202c", "\u2028", "\ufeff", "%s%n", "$(touch x)", "=1+1", "\x7f\x9b",
    "\u0000nul", "\ud800", "\u3000", "é\u0301",
]  # fmt: skip


def hostile_model(folder: Path) -> Path:
    """The bundled model with other texts for its first tokens."""
    shutil.copytree(BUNDLED, folder, ignore=shutil.ignore_patterns("checkpoints"))
    page = json.loads((folder / "tokenizer.json").read_text())
    page["added_tokens"] += [
        {"id": i + 1, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for i, text in enumerate(HOSTILE)
    ]  # fmt: skip
    old = {i: word for word, i in page["model"]["vocab"].items()}
    for i, text in enumerate(HOSTILE):
        del page["model"]["vocab"][old[i + 1]]
        page["model"]["vocab"][text] = i + 1
    gone = {old[i + 1] for i in range(len(HOSTILE))}
    page["model"]["merges"] = [
        m for m in page["model"]["merges"] if not gone & {*m, "".join(m)}
    ]  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(page))
    return folder


def test_hostile_labels_come_back(tmp_path: Path) -> None:
    """As written where a file can hold it; NUL and what is no character as the program names them."""
    model = hostile_model(tmp_path / "model")
    path = write(tmp_path / "bigram.h5", "bigram", model, "--top", 1)
    expected = [text.replace("\u0000", "<U+0000>").replace("\ud800", "<U+D800>") for text in HOSTILE]
    with read(path) as data:
        assert data["token"].values[1 : len(HOSTILE) + 1].tolist() == expected
        for i, text in enumerate(expected):
            found = data["top_value"].sel(token=text)
            assert np.array_equal(found, data["top_value"].values[i + 1]), text
