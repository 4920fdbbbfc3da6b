# SPDX-License-Identifier: MIT
"""Long calls: other threads go on, progress is told, Ctrl-C stops them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray
from conftest import BUNDLED, ROOT

import otimes

MAKER = ROOT / "tests" / "bench" / "make_gpt2.py"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose tables take seconds."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    d, heads, vocab, n_ctx = 128, 8, 12000, 64
    write_gpt2(folder / "model.safetensors", rng, d, vocab, n_ctx, layers=2)
    (folder / "config.json").write_text(
        f'{{"model_type": "gpt2", "n_layer": 2, "n_head": {heads}, "n_embd": {d}, "vocab_size": {vocab}, '
        f'"n_positions": {n_ctx}, "n_ctx": {n_ctx}, "layer_norm_epsilon": 1e-05, '
        f'"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"]}}')
    return str(folder)


def write_gpt2(path: os.PathLike[str], rng: np.random.Generator, d: int, vocab: int, n_ctx: int, layers: int) -> None:
    import json
    import struct

    tensors = {"wte.weight": (vocab, d), "wpe.weight": (n_ctx, d), "ln_f.weight": (d,), "ln_f.bias": (d,)}
    for layer in range(layers):
        tensors |= {f"h.{layer}.{name}": shape for name, shape in {
            "ln_1.weight": (d,), "ln_1.bias": (d,), "ln_2.weight": (d,), "ln_2.bias": (d,),
            "attn.c_attn.weight": (d, 3 * d), "attn.c_attn.bias": (3 * d,), "attn.c_proj.weight": (d, d),
            "attn.c_proj.bias": (d,), "mlp.c_fc.weight": (d, 4 * d), "mlp.c_fc.bias": (4 * d,),
            "mlp.c_proj.weight": (4 * d, d), "mlp.c_proj.bias": (d,)}.items()}
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in tensors.values():
            file.write(rng.standard_normal(shape, np.float32).tobytes())


def test_other_threads_go_on(large: str) -> None:
    """Python code runs while the library computes: it waits for nothing that the call holds."""
    with otimes.open(large, sha256=False) as model:
        inside, counted, done = threading.Event(), [], threading.Event()

        def count() -> None:
            inside.wait()
            while not done.is_set():
                counted.append(len(counted))
                if len(counted) >= 1000:
                    break

        other = threading.Thread(target=count)
        other.start()

        def progress(now: float, total: float) -> None:
            if not inside.is_set():
                inside.set()
            seen.append(len(counted))

        seen: list[int] = []
        model.bigram(top=5, progress=progress)
        during = len(counted)
        done.set()
        other.join()
        assert inside.is_set() and len(seen) > 1
        assert during >= 1000


def test_a_call_inside_the_library_lets_others_run(model: otimes.Model) -> None:
    """Without any progress function, so that no callback hands the GIL over."""
    begin, counted, found = threading.Event(), [], []

    def count() -> None:
        begin.wait()
        for i in range(1000):
            counted.append(i)

    def call() -> None:  # not in the main thread, where a thread of its own makes the call
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)  # from here on nobody gives the GIL away but who releases it
        try:
            begin.set()
            found.append(len(counted))
            model.heads()
            found.append(len(counted))
        finally:
            sys.setswitchinterval(interval)

    threads = [threading.Thread(target=count), threading.Thread(target=call)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0, 1000]


def test_threads_share_a_model(model: otimes.Model) -> None:
    texts = [f"Once upon a time there were {i} cats" for i in range(8)]
    alone = [model.logits(text) for text in texts]
    weights = np.array(model.W_Q)

    def work(i: int) -> tuple[xarray.Dataset, np.ndarray, xarray.Dataset]:
        return model.logits(texts[i]), np.array(model.W_Q[i % 2]), model.heads()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    heads = model.heads()
    for i, (logits, w, h) in enumerate(found):
        xarray.testing.assert_identical(logits, alone[i])
        xarray.testing.assert_identical(h, heads)
        np.testing.assert_array_equal(w, weights[i % 2])


def test_close_during_a_call(large: str) -> None:
    """The call that runs ends as if nothing had happened; later ones are refused."""
    model = otimes.open(large, sha256=False)
    expected = model.circuit("1.0", top=3)
    result = model.circuit("1.0", top=3, progress=lambda done, total: model.close())
    assert model.closed
    xarray.testing.assert_equal(result, expected)
    with pytest.raises(otimes.ArgumentError, match="closed"):
        model.heads()


def test_progress_is_told(large: str) -> None:
    with otimes.open(large, sha256=False) as model:
        seen: list[tuple[float, float]] = []
        model.bigram(top=3, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 2
    assert all(0 <= done <= total for done, total in seen)
    shares = [done / total for done, total in seen]
    assert shares == sorted(shares)
    assert seen[-1][0] == seen[-1][1]


def test_bar(large: str, capsys: pytest.CaptureFixture[str]) -> None:
    with otimes.open(large, sha256=False) as model:
        model.bigram(top=3, progress=True)
        captured = capsys.readouterr()
        assert "otimes bigram" in captured.err and "100%" in captured.err
        model.bigram(top=3)
        assert capsys.readouterr() == ("", "")


def test_what_progress_raises_comes_back(large: str) -> None:
    class Enough(Exception):
        pass

    def enough(done: float, total: float) -> None:
        raise Enough("of it")

    with otimes.open(large, sha256=False) as model:
        with pytest.raises(Enough, match="of it"):
            model.bigram(progress=enough)
        with ThreadPoolExecutor(1) as pool, pytest.raises(Enough, match="of it"):
            pool.submit(model.bigram, progress=enough).result()
        assert model.heads(vocab=False)["OV_norm"].shape == (2, 8)


INTERRUPTED = """
import os, signal, sys, threading
import otimes
model = otimes.open(sys.argv[1], sha256=False)
state = []
def interrupt(done, total):
    if not state:
        state.append(done)
        os.kill(os.getpid(), signal.SIGINT)
try:
    getattr(model, sys.argv[2])(**eval(sys.argv[3]), progress=interrupt if sys.argv[4] == "progress" else False)
    print("ended")
except KeyboardInterrupt:
    print("interrupted", model.heads(vocab=False)["OV_norm"].shape)
"""


@pytest.mark.parametrize("name, arguments", [("bigram", "{}"), ("circuit", "{}"), ("trigrams", "{}")])
def test_ctrl_c(name: str, arguments: str, large: str) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, large, name, arguments, "progress"],
                          capture_output=True, text=True, check=False)
    assert done.stdout == "interrupted (2, 8)\n", done.stderr
    assert done.stderr == ""


def test_ctrl_c_from_outside(large: str) -> None:
    """As a terminal sends it, in the midst of a call that would take very long."""
    code = """
import sys, otimes
model = otimes.open(sys.argv[1], sha256=False)
try:
    print("begin", flush=True)
    for _ in range(1000):
        model.circuit(statistics=True)
    print("ended")
except KeyboardInterrupt:
    print("interrupted", model.heads(vocab=False)["OV_norm"].shape)
"""
    child = subprocess.Popen([sys.executable, "-c", code, large], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "begin\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate()
    assert out == "interrupted (2, 8)\n", err


def test_nested_calls(model: otimes.Model) -> None:
    """A progress function may use the package itself."""
    shapes: list[tuple[int, ...]] = []

    def look(done: float, total: float) -> None:
        with otimes.open(BUNDLED, sha256=False) as other:
            shapes.append(other.heads(vocab=False)["OV_norm"].shape)

    model.compose(progress=look)
    assert shapes and set(shapes) == {(2, 4)}


FORKED = """
import os, sys
import otimes
def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            print(work(), flush=True)
        except otimes.UnsupportedError as error:
            print(str(error)[:45], flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
fresh = lambda: otimes.open(sys.argv[1]).heads()["OV_norm"].shape
child(fresh)
model = otimes.open(sys.argv[1])
model.heads()
child(model.heads)
child(fresh)
print(model.heads()["OV_norm"].shape)
"""


def test_fork_is_refused_and_never_waits() -> None:
    """A forked process has none of the library's threads."""
    done = subprocess.run([sys.executable, "-c", FORKED, str(BUNDLED)], capture_output=True, text=True, check=False)
    refused = "otimes: expected a process of its own, got on\n"
    assert done.stdout == "(2, 4)\n" + 2 * refused + "(2, 4)\n", done.stderr
