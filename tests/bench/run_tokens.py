# SPDX-License-Identifier: MIT
"""otimes' encoding beside that of Hugging Face tokenizers, on the same text with GPT-2's own
vocabulary, one thread each, in one run. Both must give the same ids.

usage: python tests/bench/run_tokens.py [--bench build/tests/bench_tokens] [--megabytes 10]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import tokenizers
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

TREE = Path(__file__).resolve().parents[2]
DOCUMENT = 20_000  # bytes, about


def documents(megabytes: float) -> list[str]:
    """Python's standard library, in pieces that end with a line."""
    texts: list[str] = []
    left = megabytes * 1e6
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace").replace("\0", " ")
        lines, size = [], 0
        for line in text.splitlines(keepends=True):
            lines.append(line)
            size += len(line)
            if size > DOCUMENT:
                texts.append("".join(lines))
                lines, size = [], 0
        if lines:
            texts.append("".join(lines))
        left -= len(text.encode())
        if left <= 0:
            break
    return texts


def peer(folder: Path) -> Tokenizer:
    files = str(folder / "gpt2_encoder.json"), str(folder / "gpt2_vocab.bpe")
    out = Tokenizer(BPE.from_file(*files))
    out.pre_tokenizer = ByteLevel(add_prefix_space=False)
    out.decoder = ByteLevelDecoder()
    return out


def time_peer(tok: Tokenizer, texts: list[str], repeats: int) -> tuple[list[float], int, int]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        encodings = tok.encode_batch(texts, add_special_tokens=False)
        seconds.append(time.perf_counter() - start)
    ids = [i for e in encodings for i in e.ids]
    total = sum(i * (n + 1) for n, i in enumerate(ids)) % 2**64
    return seconds, len(ids), total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, default=TREE / "build" / "tests" / "bench_tokens")
    parser.add_argument("--weights", type=Path, default=TREE.parent / "shared" / "weights")
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    folder = arguments.weights / "tokenizers"
    texts = documents(arguments.megabytes)
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write("\0".join(texts).encode())
        file.flush()
        command = [arguments.bench, folder / "gpt2_encoder.json", file.name, arguments.repeats]
        line = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True).stdout
    ours = json.loads(line)
    theirs, count, total = time_peer(peer(folder), texts, arguments.repeats)
    if (ours["tokens"], ours["sum"]) != (count, total):
        sys.exit(f"ids differ: {ours['tokens']} tokens here, {count} there")
    megabytes = ours["bytes"] / 1e6
    rates = [megabytes / min(seconds) for seconds in (ours["seconds"], theirs)]
    print(f"{megabytes:.1f} MB in {len(texts)} documents, {count} tokens, the same ids")
    print(f"{platform.processor() or platform.machine()}, one thread, best of {arguments.repeats}")
    print(f"otimes              {rates[0]:7.1f} MB/s")
    print(f"tokenizers {tokenizers.__version__:8} {rates[1]:7.1f} MB/s")
    print(f"ratio               {rates[0] / rates[1]:7.1f}")


if __name__ == "__main__":
    main()
