# SPDX-License-Identifier: MIT
"""What it takes to look into a checkpoint of Llama 7B's shape: ``info`` and ``heads``.

``run_open_7b.py --otimes build/otimes [--checkpoint FOLDER] [--keep]``. Makes the 13.5 GB
checkpoint when it is not there and removes what it made. Peak memory is ru_maxrss, which counts
resident pages of the mapped file; the anonymous part stands beside it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import measure, megabytes

HERE = Path(__file__).parent
LIMITS = {"info": 100e6, "info -o": 100e6, "heads": 2e9}  # bytes resident


def row(name: str, result: dict[str, Any]) -> str:
    return (
        f"| {name} | {result['seconds']:.3f} s | {megabytes(result['peak_bytes'])} | "
        f"{megabytes(result['peak_anonymous_bytes'])} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otimes", default=os.environ.get("OTIMES", "build/otimes"))
    parser.add_argument(
        "--checkpoint", type=Path, default=Path(tempfile.gettempdir()) / "otimes-llama-7b"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--layers", help="heads of these layers alone, as --layers has them; default: all"
    )
    parser.add_argument("--no-heads", action="store_true", help="info alone")
    parser.add_argument("--keep", action="store_true", help="leave the checkpoint there")
    arguments = parser.parse_args()
    made = not (arguments.checkpoint / "config.json").is_file()
    if made:
        subprocess.run(
            [sys.executable, str(HERE / "make_llama_7b.py"), str(arguments.checkpoint)], check=True
        )
    model = str(arguments.checkpoint)
    results = {}
    try:
        with tempfile.TemporaryDirectory() as scratch:
            info = [arguments.otimes, "info", model]
            results["info"] = min((measure(info) for _ in range(5)), key=lambda r: r["seconds"])
            heads = [
                arguments.otimes,
                "heads",
                model,
                "-o",
                scratch + "/heads.h5",
                "--quiet",
                "--threads",
                str(arguments.threads),
                "--offsets",
                "0,1,2,8",
            ]
            if arguments.layers:
                heads += ["--layers", arguments.layers]
            if not arguments.no_heads:  # an HDF5 result carries the sha256 of all weights
                results["info -o"] = measure([*info, "-o", scratch + "/info.h5"])
                results["heads"] = measure(heads)
    finally:
        if made and not arguments.keep:
            shutil.rmtree(arguments.checkpoint)
    print("| command | wall time | peak memory | of it anonymous (sampled) |\n|---|---|---|---|")
    for name, result in results.items():
        print(row(name, result))
    over = [k for k, v in results.items() if v["peak_bytes"] > LIMITS[k]]
    if over:
        raise SystemExit(
            f"more than {', '.join(f'{k}: {megabytes(LIMITS[k])}' for k in over)} resident"
        )


if __name__ == "__main__":
    main()
