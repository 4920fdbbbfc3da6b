# SPDX-License-Identifier: MIT
"""otimes.plot: every picture of every schema, what it shows, hostile text, refusals.

The results are made by the program: OTIMES_PROGRAM, OTIMES, beside this Python, or build/otimes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import warnings
import xml.etree.ElementTree as xml
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import matplotlib
import numpy as np
import otimes
import otimes.plot
import pytest
import xarray
from matplotlib.figure import Figure
from matplotlib.text import Text
from otimes.plot import PlotError, all_kinds, draw, kinds, open_result, save
from otimes.plot._text import LEFT_TO_RIGHT, plain, shown

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "notebooks-data" / "induction-2l"
GPT2 = ROOT / "tests" / "golden" / "gpt2"
LLAMA = ROOT / "tests" / "golden" / "llama"
TEXT = ("--text", "self.name = name; self.path = path")
CHECKPOINTS = [BUNDLED / "checkpoints" / f"step-{step:05d}.safetensors" for step in (0, 800, 7000)]

CIRCUIT = ("--full", "--statistics", "--largest", 4, "--histogram", "-8:8:20", "--threshold", 2, "--top", 3)

# Every picture is drawn of at least one of these.
RESULTS: dict[str, tuple[Any, ...]] = {
    "ablate": ("ablate", BUNDLED, *TEXT, "--full"),
    "ablate_logit": ("ablate", BUNDLED, *TEXT, "--target", "w"),
    "activations": ("activations", BUNDLED, *TEXT, "--names", "*"),
    "bigram": ("bigram", BUNDLED, "--top", 4, "--bottom", 4, "--full"),
    "bigram_corpus": ("bigram", BUNDLED, "--top", 4, "--corpus", ROOT / "README.md"),
    "circuit": ("circuit", BUNDLED, "--head", "0.2,1.1", "--rows", "0-39", "--columns", "0-39", *CIRCUIT),
    "circuit_qk": ("circuit", BUNDLED, "--which", "qk", "--head", "1.1", "--side", "column", "--largest", 2),
    "compare": ("compare", BUNDLED),
    "compare_models": ("compare", *CHECKPOINTS, "--labels", "0,800,7000"),
    "compose": ("compose", BUNDLED, "--ends", "--components", 2),
    "compose_rotary": ("compose", LLAMA, "--offsets", "0,1,2"),
    "convert": ("convert", GPT2),
    "decompose": ("decompose", GPT2, "--tokens", "1,5,9,3,1", "--components", "all", "--lens", "--sources"),
    "diff": ("diff", "heads", "heads_raw", "--any-processing"),
    "heads": ("heads", BUNDLED, "--top", 3, "--components", 2, "--matrices", "products"),
    "heads_raw": ("heads", BUNDLED, "--raw"),
    "heads_rotary": ("heads", LLAMA, "--offsets", "0,1,2,4"),
    "info": ("info", BUNDLED),
    "logits": ("logits", BUNDLED, *TEXT),
    "logits_generate": ("logits", BUNDLED, *TEXT, "--generate", 6),
    "neurons": ("neurons", GPT2, "--top", 3, "--null", 3),
    "orders": ("orders", BUNDLED, *TEXT, "--full"),
    "paths": ("paths", BUNDLED, *TEXT, "--next"),
    "patterns": ("patterns", BUNDLED, *TEXT, "--full", "--repeated", 8, "--offsets", "0,1,2", "--top", 3),
    "qk": ("qk", BUNDLED, "--entries", 3),
    "roles": ("roles", BUNDLED, "--repeated", 8),
    "tokens": ("tokens", BUNDLED, *TEXT),
    "trigrams": ("trigrams", BUNDLED),
    "virtual": ("virtual", BUNDLED),
}  # fmt: skip
SIGNATURES = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}
HOSTILE = [
    "$\\frac{", "</script><b>", "\x00\x07\x1b[31m", "\u202eabc", "\u05d0\u05d1", "\u0627\u0644",
    "a\u0300" * 9,
    "\u4e2d\u6587", "x" * 5000, "_^{}%&#~", "\U0001f600", "\ue000\ufffe", '"\\', "\n\r\t", " ", "",
]  # fmt: skip


def program() -> str:
    """The program that writes results."""
    beside = Path(sysconfig.get_path("scripts")) / "otimes"
    given = os.environ.get("OTIMES_PROGRAM") or os.environ.get("OTIMES")
    return given or str(beside if beside.exists() else ROOT / "build" / "otimes")


Result = Callable[[str], Path]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The file of one of RESULTS, made when first asked for."""
    folder = tmp_path_factory.mktemp("results")

    def make(name: str) -> Path:
        out = folder / f"{name}.h5"
        if not out.exists():
            words = [
                make(word) if word in RESULTS and RESULTS[name][0] == "diff" and word != "diff" else word
                for word in RESULTS[name]
            ]
            line = [program(), *map(str, words), "-q", "-o", str(out)]
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            assert done.returncode in (0, 1) and out.exists(), done.stderr
        return out

    return make


def words_of(figure: Figure) -> list[str]:
    """Every text that is to be seen."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def test_every_schema_has_a_picture() -> None:
    listed = re.search(r"^analyses = \[(.*?)\]", (ROOT / "meson.build").read_text(), re.M | re.S)
    assert listed
    analyses = set(re.findall(r"'(\w+)'", listed[1]))
    assert len(analyses) >= 21
    assert {kind.schema for kind in all_kinds()} == analyses


def test_every_picture_is_drawn_below(result: Result) -> None:
    drawn = {(kind.schema, kind.name) for name in RESULTS for kind in kinds(result(name))}
    assert drawn == {(kind.schema, kind.name) for kind in all_kinds()}


def test_names_are_no_twins() -> None:
    names = [(kind.schema, kind.name) for kind in all_kinds()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", RESULTS)
def test_draws_all(name: str, result: Result, tmp_path: Path) -> None:
    """The standard picture in all formats, the others as svg."""
    with open_result(str(result(name))) as data:
        for place, kind in enumerate(kinds(data)):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                figure = draw(data, kind.name)
                for suffix in ("svg",) if place else tuple(SIGNATURES):
                    out = tmp_path / f"{kind.name}.{suffix}"
                    save(figure, out, dpi=40)
                    assert out.read_bytes().startswith(SIGNATURES[suffix]), f"{kind.name}.{suffix}"
            assert_well_formed(figure, f"{name}: {kind.name}")
            xml.parse(tmp_path / f"{kind.name}.svg")
    assert not list(tmp_path.glob("*.tmp"))


def assert_well_formed(figure: Figure, what: str) -> None:
    """A title and something drawn; scales around 0 where values have both signs; no text is mathematics."""
    said = {text.get_gid(): text for text in figure.texts}
    assert said["title"].get_text(), what
    marks = sum(
        len(ax.images) + len(ax.patches) + len(ax.lines) + len(ax.collections) + len(ax.texts)
        for ax in figure.axes
    )
    assert marks > 0, what
    for ax in figure.axes:
        for image in ax.images:
            cells = np.ma.compressed(np.ma.masked_invalid(image.get_array()))
            low, high = image.get_clim()
            if cells.size and cells.min() < 0 and high > 0:
                assert low == -high, f"{what}: scale {low} to {high}"
    width, height = figure.get_size_inches()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for text in figure.findobj(Text):
        assert not text.get_parse_math(), what
    for text in figure.texts:  # nothing that is said around the panels is cut off
        box = text.get_window_extent(renderer)
        assert box.x1 <= width * figure.dpi + 1 and box.y1 <= height * figure.dpi + 1, (
            f"{what}: {text.get_text()}"
        )


@pytest.mark.parametrize("name", ["heads", "decompose", "paths", "compare", "bigram", "patterns"])
def test_equal_results_give_equal_bytes(name: str, result: Result, tmp_path: Path) -> None:
    for suffix in SIGNATURES:
        bytes_of = []
        for turn in range(2):
            out = tmp_path / f"{turn}.{suffix}"
            save(result(name), out, dpi=50)
            bytes_of.append(out.read_bytes())
        assert bytes_of[0] == bytes_of[1], suffix


@pytest.mark.parametrize("what", ["scores", "eigenvalues"])
def test_last_bits_of_a_layout_do_not_show(
    what: str, result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of kiwisolver go by addresses in memory: here they are made to differ."""
    plain, noise = Figure.draw_without_rendering, np.random.default_rng(1)

    def laid_out(figure: Figure) -> None:
        plain(figure)
        figure.set_layout_engine("none")
        for axes in figure.axes:
            bounds = np.asarray(axes.get_position(True).bounds) + noise.normal(0, 1e-13, 4)
            axes.set_position(tuple(bounds), which="original")

    save(result("heads"), tmp_path / "a.svg", what=what)
    monkeypatch.setattr(Figure, "draw_without_rendering", laid_out)
    save(result("heads"), tmp_path / "b.svg", what=what)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_settings_of_the_caller_stay_and_do_not_matter(result: Result, tmp_path: Path) -> None:
    save(result("orders"), tmp_path / "a.svg")
    with matplotlib.rc_context(
        {"font.size": 31, "axes.facecolor": "red", "svg.fonttype": "none", "text.parse_math": True}
    ):
        before = dict(matplotlib.rcParams)
        save(result("orders"), tmp_path / "b.svg")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_threads_leave_the_callers_settings(result: Result, tmp_path: Path) -> None:
    path, before = result("orders"), dict(matplotlib.rcParams)
    save(path, tmp_path / "alone.svg")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: save(path, tmp_path / f"{i}.svg"), range(8)))
    assert dict(matplotlib.rcParams) == before
    assert {(tmp_path / f"{i}.svg").read_bytes() for i in range(8)} == {(tmp_path / "alone.svg").read_bytes()}


@pytest.mark.parametrize(
    "options, text",
    [
        ({"size": "3x4"}, "size: expected (width, height)"),
        ({"size": (float("nan"), 3)}, "size: expected (width, height)"),
        ({"size": 3}, "size: expected (width, height)"),
        ({"dpi": 0}, "dpi: expected dots per inch above 0, got 0"),
        ({"dpi": float("nan")}, "dpi: expected dots"),
        ({"dpi": "a"}, "dpi: expected dots"),
        ({"dark": "no"}, "dark: expected True or False"),
        ({"select": "x"}, "select: expected"),
        ({"top": True}, "top: expected a number, got True"),
    ],
)
def test_arguments_of_another_kind(options: dict[str, Any], text: str, result: Result, tmp_path: Path) -> None:
    with pytest.raises(PlotError, match=re.escape(text)):
        save(result("orders"), tmp_path / "x.png", **options)
    assert list(tmp_path.iterdir()) == []


def test_no_results() -> None:
    nothing: Any = None
    with pytest.raises(PlotError, match="result: expected a Dataset or the name of a file, got None"):
        draw(nothing)


def test_a_drawn_figure_takes_no_choices(result: Result, tmp_path: Path) -> None:
    with pytest.raises(PlotError, match="what: expected a result to draw, got a figure"):
        save(draw(result("orders")), tmp_path / "x.png", what="orders")


@pytest.mark.parametrize("version", [2, 1.5, [1, 2]])
def test_newer_schemas_are_refused(version: Any, result: Result, tmp_path: Path) -> None:
    with open_result(str(result("orders"))) as data:
        with pytest.raises(PlotError, match="schema_version: expected 1 to 1, got "):
            draw(data.assign_attrs(schema_version=version))


def test_heads(result: Result) -> None:
    with open_result(str(result("heads"))) as data:
        figure = draw(data, "scores")
        maps = [ax.images[0].get_array() for ax in figure.axes if ax.images]
        for cells, array in zip(maps, ("full_OV_copying", "full_QK_positivity", "full_OV_effective_rank")):
            np.testing.assert_array_equal(np.asarray(cells), data[array].values)
        assert f"{float(data.full_OV_copying[1, 1]):.2f}" in words_of(figure)
        planes = draw(data, "eigenvalues")
        dots = [ax.collections[0] for ax in planes.axes if ax.collections and ax.get_title(loc="center")]
        assert len(dots) == 8 and all(len(d.get_offsets()) == data.sizes["component"] for d in dots)
        assert any("L1H1  +1.00" in text for text in words_of(planes))
        one = draw(data, "eigenvalues", layer=1, head="1")
        assert sum("L1H1" in text for text in words_of(one)) == 1 and not any(
            "L0" in t for t in words_of(one)
        )
        table = words_of(draw(data, "directions", layer=1))
        first = shown(data["token"].values[int(data.OV_read_id[1, 1, 0, 0, 0])], 18)
        assert first in table


def test_results_read_any_way_are_drawn_alike(result: Result, tmp_path: Path) -> None:
    path = result("heads")
    for what in ("eigenvalues", "directions"):
        save(path, tmp_path / "own.svg", what=what)
        for masked in (False, True):
            with otimes.read(path, masked=masked) as joined:
                assert masked is False or joined.OV_read_id.dtype.kind == "f"
                save(joined, tmp_path / "read.svg", what=what)
            assert (tmp_path / "read.svg").read_bytes() == (tmp_path / "own.svg").read_bytes()
        with xarray.open_dataset(path, engine="h5netcdf") as data:
            save(data, tmp_path / "xarray.svg", what=what)
        assert (tmp_path / "xarray.svg").read_bytes() == (tmp_path / "own.svg").read_bytes()


def test_waterfalls_add_up(result: Result) -> None:
    with open_result(str(result("decompose"))) as data:
        figure = draw(data, "waterfall", position=2)
        bars = figure.axes[0].patches
        ends = [bar.get_x() + bar.get_width() for bar in bars]
        assert len(bars) == data.sizes["component"] + 1
        wanted = float(data.target_value[0, 2, 0])
        assert abs(ends[-1] - wanted) <= 1e-4 * max(1.0, abs(wanted)) and abs(ends[-2] - ends[-1]) < 1e-9
    with open_result(str(result("paths"))) as data:
        case = data.sizes["case"] - 1
        bars = draw(data, "waterfall").axes[0].patches
        frozen = float(data.frozen_value[case])
        assert abs(bars[-1].get_width() - frozen) <= 1e-9 * max(1.0, abs(frozen))


def test_patterns(result: Result) -> None:
    with open_result(str(result("patterns"))) as data:
        figure = draw(data, "pattern")
        panes = [ax for ax in figure.axes if ax.images]
        length = int(data["length"][0])
        assert len(panes) == 8
        for pane, (layer, head) in zip(panes, np.ndindex(2, 4)):
            cells = np.asarray(pane.images[0].get_array())
            np.testing.assert_array_equal(cells, data.pattern.values[0, layer, head, :length, :length])
            assert pane.images[0].get_clim() == (0, 1)


def test_composition_shows_what_can_compose(result: Result) -> None:
    with open_result(str(result("compose"))) as data:
        figure = draw(data)
        maps = [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]
        excess = data.excess.values
        assert [m.shape for m in maps] == [(4, 4)] * 3
        for circuit, cells in enumerate(maps):
            np.testing.assert_array_equal(cells, excess[0, :, circuit, 1, :].T.astype(float))


def test_dendrogram_joins_all(result: Result) -> None:
    with open_result(str(result("compare"))) as data:
        lines = draw(data, "dendrogram").axes[0].collections[0].get_segments()
        assert len(lines) == data.sizes["node"] - 1
        assert max(line[:, 1].max() for line in lines) == pytest.approx(
            float(data.linkage[-1, 2]), rel=0, abs=0
        )


def large(layers: int, heads: int) -> xarray.Dataset:
    """The scores of a model with many heads."""
    rng = np.random.default_rng(0)
    signed, ranks, sizes = (
        ("OV_copying", "QK_positivity"),
        ("OV_effective_rank", "QK_effective_rank"),
        ("OV_norm", "QK_norm"),
    )
    cells = {
        **dict.fromkeys(signed, (-1, 1)),
        **dict.fromkeys(ranks, (1, 64)),
        **dict.fromkeys(sizes, (0, 9)),
    }
    data = {name: (("layer", "head"), rng.uniform(*ends, (layers, heads))) for name, ends in cells.items()}
    where = {"layer": range(layers), "head": range(heads)}
    return xarray.Dataset(data, where, {"schema": "otimes-heads", "model_path": "large"})


def test_large_models_stay_readable() -> None:
    figure = draw(large(48, 64))
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for ax in figure.axes:
        if ax.images:
            for axis in (ax.xaxis, ax.yaxis):
                boxes = [
                    t.get_window_extent(renderer)
                    for t in axis.get_ticklabels()
                    if t.get_visible() and t.get_text()
                ]
                assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


# Text of tokens is data


@pytest.mark.parametrize("token", [*HOSTILE, "\ud800", "a\udcffb"])
def test_shown_is_harmless(token: str) -> None:
    text = shown(token)
    bare = text.replace(LEFT_TO_RIGHT, "")
    assert bare.startswith('"') and bare.rstrip("…").endswith('"') and len(bare) < 40
    assert not re.search(
        "[\x00-\x1f\x7f-\x9f\u200b-\u200d\u202a-\u202e\u2066-\u2069\ud800-\udfff\ue000]", bare
    )
    text.encode()
    assert len(shown(token, 5).replace(LEFT_TO_RIGHT, "")) <= 8


def test_shown_is_as_the_program_quotes() -> None:
    assert shown(' a"\\\n') == '" a\\"\\\\\\n"'
    assert shown("\x07\u202e\ud800") == '"\\x07\\u202E\\uD800"'
    assert shown("x" * 30, 10) == '"' + "x" * 10 + '"…'
    assert shown("\u05d0") == f'{LEFT_TO_RIGHT}"\u05d0"{LEFT_TO_RIGHT}'
    assert plain("a/$b$\n") == "a/$b$\\n"


def poisoned(source: Path, out: Path) -> Path:
    """A result in which every text of tokens, heads and paths is hostile."""
    out.write_bytes(source.read_bytes())
    ends = [text.encode() for text in HOSTILE] + [b"\xff\xfe", b"a\xed\xa0\x80b"]
    with h5py.File(out, "r+") as file:
        for name in list(file):
            if h5py.check_string_dtype(file[name].dtype) and name in (
                "token",
                "output_token",
                "source_token",
                "text",
                "path_label",
                "certificate",
            ):
                flat = file[name][...].reshape(-1)
                cells = np.array(
                    [ends[i % len(ends)].replace(b"\0", b"") for i in range(flat.size)], dtype=object
                )
                file[name][...] = cells.reshape(file[name].shape)
        file.attrs["model_path"] = "models/$\\alpha$\u202e</title>"
    return out


@pytest.mark.parametrize(
    "name", ["bigram", "circuit_qk", "logits", "heads", "trigrams", "qk", "paths", "tokens", "patterns"]
)
def test_hostile_tokens_are_text(name: str, result: Result, tmp_path: Path) -> None:
    source = poisoned(result(name), tmp_path / "hostile.h5")
    with open_result(str(source)) as data, warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in kinds(data)[:2]:
            figure = draw(data, kind.name)
            for word in words_of(figure):
                assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", word), repr(
                    word
                )
            for suffix in SIGNATURES:
                save(figure, tmp_path / f"hostile.{suffix}", dpi=40)
            assert b"</script>" not in (tmp_path / "hostile.svg").read_bytes()
            xml.parse(tmp_path / "hostile.svg")


# Refusals


def refused(*words: object, **more: Any) -> str:
    with pytest.raises(PlotError) as caught:
        draw(*words, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refusals(result: Result, tmp_path: Path) -> None:
    heads = result("heads_raw")
    assert "expected scores, eigenvalues, spectra" in refused(heads, "nope")
    assert "(otimes heads --offsets" in refused(heads, "offsets")
    assert refused(heads, layer=7) == 'layer: expected 0 to 1, got "7"'
    assert refused(heads, text=0) == "text: the picture scores of heads has no such choice"
    assert "rows: the picture scores" in refused(heads, rows="x")
    assert refused(result("decompose"), position=99) == "position: expected -5 to 4, got 99"
    assert "target: expected 0 to 0" in refused(result("decompose"), target=4)
    assert "top: expected 1 and more" in refused(result("bigram"), top=0)
    assert "pair: expected one of" in refused(result("qk"), "eigenvalues", pair="L9H9 L9H9")
    assert "expected HDF5" in refused(ROOT / "README.md")
    assert "No such file" in refused(tmp_path / "none.h5")
    cut = tmp_path / "cut.h5"
    cut.write_bytes(heads.read_bytes()[:9000])
    assert "damaged" in refused(cut)
    other = xarray.Dataset(attrs={"schema": "otimes-unheard"})
    assert 'got "otimes-unheard"' in refused(other)
    assert "got none" in refused(xarray.Dataset())
    for path, why in (
        (tmp_path / "x.gif", "expected a name that ends in"),
        (tmp_path / "no" / "x.png", "No such file"),
        (tmp_path / "x", "ends in"),
    ):
        with pytest.raises(PlotError, match=why):
            save(heads, path)
    assert not list(tmp_path.glob("*.tmp"))


def test_damaged_anywhere_is_one_line(result: Result, tmp_path: Path) -> None:
    """Bytes of a small result overturned, one run each: a picture or a line, never more."""
    whole = result("heads_raw").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(12):
        broken = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 60_000), 40):
            broken[at] ^= int(rng.integers(1, 256))
        path = tmp_path / "broken.h5"
        path.write_bytes(broken)
        done = command(path, "-o", tmp_path / "x.svg")
        assert done.returncode in (0, 1) or done.returncode < 0, (
            done.stderr
        )  # HDF5 itself may fall: the program says so
        assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 1, done.stderr


def command(*words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        [sys.executable, "-m", "otimes.plot", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_command(result: Result, tmp_path: Path) -> None:
    listed = command(result("heads_raw"), "--list")
    assert listed.returncode == 0 and listed.stderr == ""
    assert re.search(r"^eigenvalues +all eigenvalues", listed.stdout, re.M)
    assert re.search(r"^offsets .*\(needs --offsets", listed.stdout, re.M)
    out = tmp_path / "x.png"
    drawn = command(
        result("heads_raw"), "--what", "spectra", "--dark", "--dpi", 50, "--size", "5x3", "-o", out
    )
    assert (drawn.returncode, drawn.stdout, drawn.stderr) == (0, "", "")
    size = [int.from_bytes(out.read_bytes()[at : at + 4]) for at in (16, 20)]
    assert size == [250, 150]
    for words, why in (
        ((result("heads_raw"),), "--output"),
        ((tmp_path / "none.h5", "-o", out), "No such file"),
        ((result("heads_raw"), "--what", "x", "-o", out), "what: expected scores"),
    ):
        done = command(*words)
        assert done.returncode == 1 and done.stdout == "" and why in done.stderr
        assert done.stderr.startswith("otimes plot: ") and done.stderr.count("\n") == 1


def test_needs_nothing_compiled() -> None:
    line = "import sys, otimes.plot; assert not any('_otimes' in name for name in sys.modules), 'loaded'"
    environment = {**os.environ, "PYTHONPATH": str(Path(otimes.plot.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", line], check=True, env=environment)


def test_a_result_of_no_heads_is_refused() -> None:
    nothing = xarray.Dataset({"OV_norm": (("layer", "head"), np.zeros((0, 2)))}, attrs={"schema": "otimes-heads"})
    with pytest.raises(PlotError, match="layer: expected at least one to draw"):
        draw(nothing)
