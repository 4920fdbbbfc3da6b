# SPDX-License-Identifier: MIT
"""otimes roles as a reader meets it: the page held against every fourth architecture, and labels
that follow from scores and thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import GOLDEN, Run
from test_outputs import MODELS, assert_schema

SCORES = ("previous_token", "current_token", "first_token", "duplicate_token", "induction")
WEIGHTS = {
    "previous-token": "previous_token",
    "same-token": "same_token",
    "copying": "OV_copying",
    "copy-suppression": "lowest_share",
}


@pytest.mark.parametrize("name", MODELS[::4])
def test_roles(run: Run, name: str) -> None:
    """All the arrays of the page and no other; labels by weights are scores over thresholds."""
    data = run("roles", GOLDEN / name, "--tokens", "3,1,3", "--repeated", "2", "--count", "2")
    sometimes = {f"{kind}_{score}" for kind in ("text", "repeated") for score in SCORES}
    sometimes.add("repeated_id")
    if not data.attrs["copy_suppression_score"].startswith("not told"):
        sometimes.add("row_id")
    assert_schema(data, "roles", sometimes)
    for role, score in WEIGHTS.items():
        values = data[score].values
        least = float(data.threshold.sel(role=role, side="weights"))
        want = np.where(np.isnan(values), -1, values >= least)
        assert (data.label_side.sel(role=role, side="weights").values == want).all(), role


def test_choices(run: Run) -> None:
    """Axes are those asked for; without a run there is nothing by attention."""
    data = run("roles", GOLDEN / "gpt2", "--no-run", "--layers", "1", "--heads", "0,2")
    assert_schema(data, "roles", {"row_id"})
    assert list(data.layer.values) == [1] and list(data["head"].values) == [0, 2]
    assert (data.label_side.sel(side="attention").values == -1).all()
    assert data.attrs["repeated"] == 0 and data.attrs["texts"] == 0
