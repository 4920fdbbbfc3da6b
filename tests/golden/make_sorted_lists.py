# SPDX-License-Identifier: MIT
"""Writes tests/data/ablate/sorted_lists.u8: 500 sequences of 21 token ids, a byte each, of 10 distinct
numbers from 0 to 50, 51, and the same numbers in ascending order. They are the lists that the
published figures of the model arena_sorted_list are about (ARENA, October 2023, seed 43).

    python tests/golden/make_sorted_lists.py
"""

from pathlib import Path

import torch

COUNT, LENGTH, NUMBERS, SEED = 500, 10, 51, 43


def main() -> None:
    torch.manual_seed(SEED)
    lists = torch.rand(COUNT, NUMBERS).argsort(dim=-1)[:, :LENGTH]
    separator = torch.full((COUNT, 1), NUMBERS)
    tokens = torch.cat([lists, separator, lists.sort(dim=-1).values], dim=-1)
    path = Path(__file__).parents[1] / "data" / "ablate" / "sorted_lists.u8"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(tokens.to(torch.uint8).numpy().tobytes())


if __name__ == "__main__":
    main()
